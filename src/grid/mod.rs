//! Reads and checks a grid file and expands it into configurations. Every fault
//! is found in one pass, with file, line, column and a snippet, before anything
//! is launched. Pure: knows no engine, no network, no runtime.

mod advice;
mod engine_block;
mod error;
mod estimate;
mod expand;
mod fields;
mod flag_map;
mod goal;
mod inert_flags;
mod join;
mod missing_metrics;
mod name;
mod node;
pub mod plan;
mod read;
mod unmeasured;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use error::{Finding, Findings};
pub use error::{GridError, GridErrors};
pub use join::ServiceBase;
use node::Span;

use crate::configuration::{Configuration, Flags, Identity, hexadecimal};
use crate::metric::{MetricRef, Objective};
use crate::strategy::StrategySpec;
use crate::workload::{Datasets, Spec, Workload};

/// A checked and expanded grid.
#[derive(Clone, Debug)]
pub struct Grid {
    /// The grid's name: the sweep's folder begins with it.
    pub name: String,
    /// The file that it came from.
    pub path: PathBuf,
    /// The file's bytes: a sweep keeps a copy.
    pub source: Vec<u8>,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// The engine block that was chosen.
    pub engine: EngineBlock,
    /// Name of the baseline configuration, where the grid names one.
    pub baseline: Option<String>,
    /// Every configuration, equals merged.
    pub configurations: Vec<Configuration>,
    /// Canonical names of the flags that differ between configurations, in the file's order.
    pub varied: Vec<String>,
    /// The benchmark suite.
    pub workloads: Vec<Workload>,
    /// The files that their prompts come from, as far as they were read.
    pub datasets: Datasets,
    /// What is sought.
    pub objective: Objective,
    /// How launches are chosen.
    pub strategy: StrategySpec,
    /// Seconds that the sweep may take, where limited.
    pub budget_seconds: Option<u64>,
    /// What a person should read before the night.
    pub warnings: Vec<Warning>,
    /// Names that the file gives to configurations.
    chosen: Vec<String>,
    places: Places,
    /// What was noticed while the file was read; advice comes beside it.
    noticed: Vec<Finding>,
}

/// Where the file says what there is advice on.
#[derive(Clone, Debug, Default)]
struct Places {
    /// The key `objective`.
    objective: Span,
    /// The metrics of the objective and of its constraints.
    metrics: Vec<(MetricRef, Span)>,
    /// The flags that it sets somewhere, by their canonical names, in its order.
    flags: Vec<(String, Span)>,
    budget: Option<Span>,
}

/// Configurations of one grid, unless more are asked for.
pub const MAX_CONFIGURATIONS: usize = 10_000;

/// How a grid is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// The engine block to take; the first one where `None`.
    pub engine: Option<String>,
    /// Flags outside vLLM's table are faults, not warnings.
    pub strict: bool,
    /// Most configurations that may come out, before exclusion and merging.
    pub max_configurations: usize,
    /// Folder that paths in the file are relative to; the file's own where
    /// `None`. A sweep's copy of a grid stands for the original.
    pub base: Option<PathBuf>,
    /// Read the files that prompts come from, and check them.
    pub datasets: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            engine: None,
            strict: false,
            max_configurations: MAX_CONFIGURATIONS,
            base: None,
            datasets: true,
        }
    }
}

impl Grid {
    /// Reads, checks and expands a grid file.
    ///
    /// # Errors
    /// Every fault of the file.
    pub fn read(path: &Path, options: &ReadOptions) -> Result<Self, GridErrors> {
        let mut findings = Findings::default();
        let Some(bytes) = bytes_of(path, &mut findings) else {
            return Err(findings.into_faults(path, String::new()));
        };
        let Some(text) = text_of(&bytes, &mut findings) else {
            let text = error::strike_secret_lines(&String::from_utf8_lossy(&bytes));
            return Err(findings.into_faults(path, text));
        };
        let root = match node::parse(text) {
            Ok(root) => root,
            Err(syntax) => {
                findings.fault(&syntax.span, format!("not readable as YAML: {}", syntax.message));
                return Err(findings.into_faults(path, error::strike_secret_lines(text)));
            }
        };
        let shown = error::strike_secrets(text, &root);
        let folder = options.base.as_deref().or(path.parent()).unwrap_or(Path::new(""));
        let Some(document) = read::document(&root, folder, options, &mut findings) else {
            return Err(findings.into_faults(path, shown));
        };
        let sha256 = hexadecimal(&Sha256::digest(&bytes));
        if let Some(mut grid) = assemble(document, path, sha256, options, &mut findings) {
            grid.noticed = std::mem::take(&mut findings.warnings);
            findings.faults.extend(grid.advise(text));
            if findings.faults.is_empty() {
                grid.source = bytes;
                return Ok(grid);
            }
        }
        Err(findings.into_faults(path, shown))
    }

    /// Fills the warnings: what was noticed in the file's `text`, and what is to be
    /// said of the flags as they are now. Gives what makes the grid pointless.
    fn advise(&mut self, text: &str) -> Vec<Finding> {
        let mut findings = Findings { warnings: self.noticed.clone(), ..Findings::default() };
        advice::all(self, &mut findings);
        self.warnings = findings.take_warnings(&self.path, text);
        findings.faults
    }

    /// Index of the baseline among the configurations.
    pub fn baseline_index(&self) -> Option<usize> {
        let name = self.baseline.as_deref()?;
        self.configurations.iter().position(|configuration| configuration.answers_to(name))
    }

    /// The configuration of that name or alias.
    pub fn configuration(&self, name: &str) -> Option<&Configuration> {
        self.configurations.iter().find(|configuration| configuration.answers_to(name))
    }
}

/// The file's bytes, if it is a file and not absurdly large.
fn bytes_of(path: &Path, findings: &mut Findings) -> Option<Vec<u8>> {
    if path.is_dir() {
        findings.fault_of_file("this is a folder, not a grid file");
        return None;
    }
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(node::MAX_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) if bytes.len() as u64 > node::MAX_BYTES => {
            let limit = node::MAX_BYTES >> 20;
            findings.fault_of_file(format!("the file is larger than {limit} MiB: this is no grid"));
            None
        }
        Ok(_) => Some(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            findings.fault_of_file("there is no such file");
            None
        }
        Err(error) => {
            findings.fault_of_file(format!("the file cannot be read: {error}"));
            None
        }
    }
}

/// The file's text without a byte order mark.
fn text_of<'a>(bytes: &'a [u8], findings: &mut Findings) -> Option<&'a str> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        findings.fault_of_file("the file is UTF-16, not UTF-8").help("save it as UTF-8");
        return None;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => {
            let at = error.valid_up_to();
            let message = format!("the file is not UTF-8: byte 0x{:02x} here", bytes[at]);
            // The text is shown with a replacement character of three bytes in this place.
            findings.fault(&(at..at + 3), message).help("save it as UTF-8");
            None
        }
    }
}

/// Expands a document and puts the grid together.
fn assemble(
    document: read::Document,
    path: &Path,
    sha256: String,
    options: &ReadOptions,
    findings: &mut Findings,
) -> Option<Grid> {
    let engine = document.engine?;
    let draft = &document.draft;
    let faults = findings.faults.len();
    let masks = draft.masks(&engine, findings);
    let count = draft.count();
    if count > options.max_configurations as u128 {
        let span = draft.axes.first().map(|axis| &axis.span);
        let span = span.or_else(|| draft.include.first().map(|row| &row.span)).cloned();
        let number = if count == u128::MAX {
            "more configurations than can be counted".to_owned()
        } else {
            format!("{count} configurations before exclusion")
        };
        let message = format!("{number}, and {} are allowed", options.max_configurations);
        let help = "try fewer values, or raise the limit with --max-configurations";
        findings.fault(&span.unwrap_or(0..0), message).help(help);
    }
    if !document.draft_is_whole || findings.faults.len() > faults {
        return None;
    }
    let mut expansion = draft.expand(&engine, &masks);
    if expansion.configurations.is_empty() {
        let span = draft.exclude.first().map_or(0..0, |row| row.span.clone());
        findings.fault(&span, "the rows of `exclude` together match every combination");
        return None;
    }
    let baseline = match &document.baseline {
        None => None,
        Some((name, _)) if name == expand::PRODUCTION => {
            Some(expand::add_production(&engine, &mut expansion.configurations))
        }
        Some((name, span)) => baseline(name, span, &expansion.configurations, findings),
    };
    let goal::Sought { objective, named, span } = document.sought?;
    let (budget_seconds, budget) = document.budget.unzip();
    Some(Grid {
        name: document.name?,
        path: path.to_owned(),
        source: Vec::new(),
        sha256,
        engine,
        baseline,
        configurations: expansion.configurations,
        varied: expansion.varied,
        workloads: judged(document.workloads, &named),
        datasets: document.datasets,
        objective,
        strategy: document.strategy,
        budget_seconds,
        warnings: Vec::new(),
        chosen: draft.include.iter().filter_map(|row| row.name.clone()).collect(),
        places: Places { objective: span, metrics: named, flags: draft.settable(), budget },
        noticed: Vec::new(),
    })
}

/// The suite, which knows the cases that configurations are judged by.
fn judged(mut workloads: Vec<Workload>, named: &[(MetricRef, Span)]) -> Vec<Workload> {
    for workload in &mut workloads {
        let key = workload.kind().key;
        let Spec::Load(load) = &mut workload.spec else { continue };
        let own = named.iter().filter(|(metric, _)| metric.workload == key);
        load.judged = own.filter_map(|(metric, _)| metric.case.clone()).collect();
        load.judged.sort_unstable();
        load.judged.dedup();
    }
    workloads
}

fn baseline(
    name: &str,
    span: &node::Span,
    configurations: &[Configuration],
    findings: &mut Findings,
) -> Option<String> {
    if let Some(found) = configurations.iter().find(|it| it.answers_to(name)) {
        return Some(found.name.clone());
    }
    let names: Vec<&str> = configurations.iter().flat_map(Configuration::names).collect();
    let help = match crate::workload::nearest(name, &names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "name a configuration, or `production` for the engine block's own flags".to_owned(),
    };
    findings
        .fault(span, format!("the baseline `{name}` is not among the configurations"))
        .help(help);
    None
}

/// Something that is allowed but probably not meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// The grid file.
    pub file: PathBuf,
    /// Line from 1, where there is one.
    pub line: Option<usize>,
    /// Column from 1, where there is one.
    pub column: Option<usize>,
    /// What and why.
    pub message: String,
}

/// One engine block of a grid.
#[derive(Clone, Debug, PartialEq)]
pub enum EngineBlock {
    /// Containers.
    Docker(DockerBlock),
    /// A local `vllm serve`.
    Process(ProcessBlock),
    /// The embedded simulated engine.
    Simulated(SimulatedBlock),
}

impl EngineBlock {
    /// `docker`, `process` or `simulated`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Docker(_) => "docker",
            Self::Process(_) => "process",
            Self::Simulated(_) => "simulated",
        }
    }

    /// The flags of every configuration.
    pub fn flags(&self) -> &Flags {
        match self {
            Self::Docker(block) => &block.flags,
            Self::Process(block) => &block.flags,
            Self::Simulated(block) => &block.flags,
        }
    }

    /// The model, where the grid names it.
    pub fn model(&self) -> Option<&str> {
        match self {
            Self::Docker(block) => {
                block.model.as_deref().or_else(|| block.base.as_ref()?.model.as_deref())
            }
            Self::Process(_) => None,
            Self::Simulated(block) => Some(&block.model),
        }
    }

    /// What is started, as far as it is known: the image, the compose file's name
    /// with the service until that is read, the command, or the simulated machine.
    pub fn image(&self) -> Option<String> {
        match self {
            Self::Docker(block) => block.image.clone().or_else(|| {
                if let Some(base) = &block.base {
                    return Some(base.image.clone());
                }
                // The name alone: the same request has the same id on every machine.
                let file = block.compose.as_ref()?.file_name()?.to_string_lossy().into_owned();
                Some(format!("{file}#{}", block.service.as_deref().unwrap_or_default()))
            }),
            Self::Process(block) => Some(shell_words::join(&block.command)),
            Self::Simulated(block) => Some(format!(
                "{} x {}, {} GiB in use",
                block.gpus, block.gpu, block.other_memory_gib
            )),
        }
    }

    /// Whether flags come from a service that is not read yet.
    fn awaits_base(&self) -> bool {
        matches!(self, Self::Docker(block) if block.compose.is_some() && block.base.is_none())
    }

    /// What a configuration's id is computed from.
    fn identity<'a>(
        &'a self,
        image: Option<&'a str>,
        flags: &'a Flags,
        environment: &'a BTreeMap<String, String>,
    ) -> Identity<'a> {
        Identity { engine: self.name(), image, model: self.model(), flags, environment }
    }
}

/// How a grid names production.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProductionName {
    /// A container's name.
    Container(String),
    /// A service of the compose file.
    Service(String),
}

/// `docker:` of a grid.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DockerBlock {
    /// Compose file, resolved against the grid's folder.
    pub compose: Option<PathBuf>,
    /// Service in it.
    pub service: Option<String>,
    /// Plain image, instead of a compose service.
    pub image: Option<String>,
    /// Model, where the grid names it.
    pub model: Option<String>,
    /// Flags of every configuration.
    pub flags: Flags,
    /// Name of the variable that holds the API key.
    pub api_key_env: Option<String>,
    /// What serves production and makes room for the sweep.
    pub production: Option<ProductionName>,
    /// Profiles of the compose file that are active.
    pub profiles: Vec<String>,
    /// Whether GPUs are asked for; `None` means yes. `false` is for CPU images.
    pub gpus: Option<bool>,
    /// Whether our cache volumes stand in for missing ones; `None` means yes.
    pub caches: Option<bool>,
    /// Whether vLLM's development endpoints are switched on; they need no key.
    pub introspect: bool,
    /// What the compose service asks for by itself, once it is read ([`Grid::join_base`]).
    pub base: Option<ServiceBase>,
}

/// `process:` of a grid.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessBlock {
    /// Command and first arguments; `[vllm, serve, MODEL]` where not given.
    pub command: Vec<String>,
    /// Flags of every configuration.
    pub flags: Flags,
    /// Name of the variable that holds the API key.
    pub api_key_env: Option<String>,
    /// Whether vLLM's development endpoints are switched on; they need no key.
    pub introspect: bool,
}

/// `simulated:` of a grid.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatedBlock {
    /// A model that the simulator has a profile of.
    pub model: String,
    /// A GPU that the simulator has a profile of.
    pub gpu: String,
    /// Number of GPUs.
    pub gpus: u32,
    /// GiB on each GPU that something else holds.
    pub other_memory_gib: f64,
    /// Seed of the noise.
    pub seed: u64,
    /// All times are divided by it, boot included.
    pub speed: f64,
    /// Flags of every configuration.
    pub flags: Flags,
}
