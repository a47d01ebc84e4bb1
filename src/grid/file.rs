//! A grid file, read and checked, before it is known what its compose service asks
//! for by itself. The second step makes a [`Grid`] of it, with the service's flags
//! or without: a grid is never half complete.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::error::{self, Finding, Findings};
use super::node::{self, Span};
use super::secrets;
use super::service::{self, ServiceBase};
use super::{
    EngineBlock, Grid, GridErrors, Places, ReadOptions, advice, budget, expand, goal, hosts, read,
    stack_keys, strategy_block,
};
use crate::configuration::{Configuration, Stack, hexadecimal};
use crate::input::{self, InputError};
use crate::metric::MetricRef;
use crate::strategy::{DefaultStrategy, StrategySpec, Task};
use crate::workload::{Spec, Workload, nearest};

/// Values of parameters in all configurations together: what fits into memory.
const MAX_SETTINGS: u128 = 20_000_000;

/// A grid file that was read and checked.
#[derive(Clone, Debug)]
pub struct GridFile {
    /// The grid with the flags that the file itself sets.
    grid: Grid,
    /// Names that the file gives to configurations.
    chosen: Vec<String>,
    /// Warnings of reading; advice on the flags comes after them.
    noticed: Vec<Finding>,
}

impl GridFile {
    /// Reads, checks and expands a grid file.
    ///
    /// # Errors
    /// Every error of the file.
    pub fn read(path: &Path, options: &ReadOptions) -> Result<Self, GridErrors> {
        let mut findings = Findings::default();
        let Some(bytes) = bytes_of(path, &mut findings) else {
            return Err(findings.into_errors(path, String::new()));
        };
        Self::parse(bytes, path, options)
    }

    /// Checks and expands the bytes of a grid file; `path` is its name, and other files are
    /// relative to it.
    ///
    /// # Errors
    /// Every error of the file.
    pub fn parse(bytes: Vec<u8>, path: &Path, options: &ReadOptions) -> Result<Self, GridErrors> {
        let mut findings = Findings::default();
        let Some(text) = text_of(&bytes, &mut findings) else {
            let text = error::strike_secret_lines(&String::from_utf8_lossy(&bytes));
            return Err(findings.into_errors(path, text));
        };
        let root = match node::parse(text) {
            Ok(root) => root,
            Err(syntax) => {
                findings.error(&syntax.span, format!("not readable as YAML: {}", syntax.message));
                return Err(findings.into_errors(path, error::strike_secret_lines(text)));
            }
        };
        let shown = error::strike_secrets(text, &root);
        let folder = options.base.as_deref().or(path.parent()).unwrap_or(Path::new(""));
        let document = read::document(&root, folder, options, &mut findings);
        secrets::refuse(&root, &mut findings);
        let Some(document) = document else {
            return Err(findings.into_errors(path, shown));
        };
        let sha256 = hexadecimal(&Sha256::digest(&bytes));
        if let Some(mut file) = assemble(document, path, sha256, options, &mut findings) {
            file.noticed = std::mem::take(&mut findings.warnings);
            file.grid.source = bytes;
            findings.errors.extend(file.advise());
            if findings.errors.is_empty() {
                return Ok(file);
            }
        }
        Err(findings.into_errors(path, shown))
    }

    /// The engine block that was chosen: it names the service, where there is one.
    pub fn engine(&self) -> &EngineBlock {
        &self.grid.engine
    }

    /// The grid with the flags that the file itself sets: for places in it.
    pub(crate) fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The configurations with the flags that the file itself sets.
    pub fn configurations(&self) -> &[Configuration] {
        &self.grid.configurations
    }

    /// The grid with a service's own flags under every configuration. Ids become those
    /// of the complete request; configurations that are now the same are one. Grids of
    /// other engines are not changed by a service.
    pub fn with_service(self, base: ServiceBase) -> Grid {
        self.with_services(Some(base), &BTreeMap::new())
    }

    /// The same with what each further stack's service asks for by itself. `own` is `None`
    /// where the engine block names an image and no service.
    pub fn with_services(
        mut self,
        own: Option<ServiceBase>,
        others: &BTreeMap<Stack, ServiceBase>,
    ) -> Grid {
        let EngineBlock::Docker(block) = &mut self.grid.engine else { return self.grid };
        block.base = own;
        service::lay_under(&mut self.grid, others, &self.chosen);
        if self.grid.is_default_strategy {
            // Some of them may have become one.
            self.grid.strategy = DefaultStrategy::of(&self.grid.configurations).spec();
        }
        let pointless = self.advise();
        if !pointless.is_empty() {
            // The file itself is right: what the service's flags make pointless is a warning.
            self.noticed.extend(pointless.into_iter().map(Finding::into_warning));
            self.advise();
        }
        self.grid
    }

    /// The same with the configurations of one stack alone: what others start is not read.
    #[must_use]
    pub fn of_stack(mut self, stack: &Stack) -> Self {
        self.grid.configurations.retain(|it| it.stack == *stack);
        self
    }

    /// The same with the strategy that a sweep of it began with, whatever the default is now.
    #[must_use]
    pub fn with_strategy(mut self, strategy: StrategySpec) -> Self {
        self.grid.strategy = strategy;
        self.grid.is_default_strategy = false;
        // What it makes pointless was so when the sweep began.
        self.advise();
        self
    }

    /// The grid with the flags of the file alone: complete where it names no compose
    /// service. Of one that does, ids and equals are those of the file's flags.
    pub fn without_service(self) -> Grid {
        self.grid
    }

    /// Fills the grid's warnings: those of reading, and advice on the flags as they are
    /// now. Returns what makes the grid pointless.
    fn advise(&mut self) -> Vec<Finding> {
        let mut findings = Findings { warnings: self.noticed.clone(), ..Findings::default() };
        advice::all(&self.grid, &mut findings);
        self.grid.warnings = findings.take_warnings(&self.grid.path, &text(&self.grid.source));
        findings.errors
    }
}

/// A grid's text: its bytes without a byte order mark.
pub(super) fn text(source: &[u8]) -> Cow<'_, str> {
    match String::from_utf8_lossy(source) {
        Cow::Borrowed(text) => Cow::Borrowed(without_mark(text)),
        Cow::Owned(text) => Cow::Owned(without_mark(&text).to_owned()),
    }
}

fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The file's bytes, if it is a file and not absurdly large.
fn bytes_of(path: &Path, findings: &mut Findings) -> Option<Vec<u8>> {
    let error = match input::read(path, node::MAX_BYTES) {
        Ok(bytes) => return Some(bytes),
        Err(error) => error,
    };
    let message = match &error {
        InputError::NoFile(what) => format!("this is {what}, not a grid file"),
        InputError::TooLarge { .. } => format!("{error}: this is no grid"),
        other => other.to_string(),
    };
    let is_pipe = matches!(error, InputError::NoFile("a pipe"));
    let finding = findings.error_of_file(message);
    if is_pipe {
        finding.help("write the grid into a file: it is read more than once");
    }
    None
}

/// The file's text without a byte order mark.
fn text_of<'a>(bytes: &'a [u8], findings: &mut Findings) -> Option<&'a str> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        findings.error_of_file("the file is UTF-16, not UTF-8").help("save it as UTF-8");
        return None;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(without_mark(text)),
        Err(error) => {
            let at = error.valid_up_to();
            let message = format!("the file is not UTF-8: byte 0x{:02x} here", bytes[at]);
            // The text is shown with a replacement character of three bytes in this place.
            findings.error(&(at..at + 3), message).help("save it as UTF-8");
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
) -> Option<GridFile> {
    let engine = document.engine?;
    let draft = &document.draft;
    let errors = findings.errors.len();
    let masks = draft.masks(&engine, findings);
    check_size(draft, options, findings);
    stack_keys::refuse_idle(&engine, draft, findings);
    if !document.draft_is_whole || findings.errors.len() > errors {
        return None;
    }
    let mut expansion = draft.expand(&engine, &masks);
    if expansion.configurations.is_empty() {
        let span = draft.exclude.first().map_or(0..0, |row| row.span.clone());
        findings.error(&span, "the rows of `exclude` together match every combination");
        return None;
    }
    for (given, name) in &expansion.renamed {
        let row = draft.include.iter().find(|row| row.name.as_ref() == Some(given));
        let message = format!(
            "`{given}` is the name of this row, so the combination that would be called so is `{name}`"
        );
        findings.warning(row.map(|row| &row.span), message);
    }
    let baseline = match &document.baseline {
        None => None,
        Some((name, _)) if name == expand::PRODUCTION => {
            Some(expand::add_production(&engine, &mut expansion.configurations))
        }
        Some((name, span)) => baseline(name, span, &expansion.configurations, findings),
    };
    let named = baseline.as_deref();
    let index = named.and_then(|it| expansion.configurations.iter().position(|c| c.answers_to(it)));
    let task = Task::sized(&expansion.configurations, index);
    strategy_block::enough(&document.strategy, &task, findings);
    let goal::Sought { objective, named, span } = document.sought?;
    if let Some(budget) = &document.budget {
        budget::refuse_idle(&engine, budget, findings);
    }
    let limits = document.budget.as_ref();
    let budget_place = limits.map(|it| it.span.clone());
    let (budget_seconds, budget) =
        limits.map_or_else(Default::default, |it| (it.seconds, it.besides));
    let (window, window_place) = document.window.unzip();
    let (hosts, hosts_place) = document.hosts.unzip();
    if let Some(place) = &hosts_place {
        hosts::refuse_with(&engine, window_place.as_ref(), place, findings);
    }
    let (confirm, confirm_place) = document.confirm.unzip();
    let grid = Grid {
        name: document.name?,
        path: path.to_owned(),
        source: Vec::new(),
        sha256,
        engine,
        stacks: BTreeMap::new(),
        baseline,
        is_default_strategy: document.strategy.spec.is_none(),
        strategy: document
            .strategy
            .spec
            .unwrap_or_else(|| DefaultStrategy::of(&expansion.configurations).spec()),
        configurations: expansion.configurations,
        varied: expansion.varied,
        workloads: judged(document.workloads, &named),
        datasets: document.datasets,
        objective,
        predicted: None,
        budget_seconds,
        budget,
        confirm,
        gates: document.gates,
        window,
        hosts,
        warnings: Vec::new(),
        places: Places {
            objective: span,
            metrics: named,
            flags: draft.settable(),
            rows: rows(draft),
            axes: draft.axes.iter().find(|axis| axis.kind.is_of_stack()).map(|it| it.span.clone()),
            budget: budget_place,
            window: window_place,
            confirm: confirm_place,
            hosts: hosts_place,
        },
    };
    let chosen = draft.include.iter().filter_map(|row| row.name.clone()).collect();
    Some(GridFile { grid, chosen, noticed: Vec::new() })
}

/// Refuses more configurations than are allowed, or than fit into memory.
fn check_size(draft: &expand::Draft, options: &ReadOptions, findings: &mut Findings) {
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
        findings.error(&span.unwrap_or(0..0), message).help(help);
    }
    let settings = count.saturating_mul(draft.axes.len() as u128);
    if count <= options.max_configurations as u128 && settings > MAX_SETTINGS {
        let span = draft.axes.first().map_or(0..0, |axis| axis.span.clone());
        let axes = draft.axes.len();
        let message = format!("{count} configurations of {axes} parameters do not fit into memory");
        let help = "parameters with one value belong into the engine block's `flags`";
        findings.error(&span, message).help(help);
    }
}

/// The rows that start something else than the engine block names, by what they start.
fn rows(draft: &expand::Draft) -> BTreeMap<Stack, Vec<(Span, Option<String>)>> {
    let mut rows: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for row in &draft.include {
        rows.entry(row.stack()).or_default().push((row.span.clone(), row.name.clone()));
    }
    rows.remove(&Stack::default());
    rows
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
    span: &Span,
    configurations: &[Configuration],
    findings: &mut Findings,
) -> Option<String> {
    if let Some(found) = configurations.iter().find(|it| it.answers_to(name)) {
        return Some(found.name.clone());
    }
    let names: Vec<&str> = configurations.iter().flat_map(Configuration::names).collect();
    let help = match nearest(name, &names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "name a configuration, or `production` for the engine block's own flags".to_owned(),
    };
    findings
        .error(span, format!("the baseline `{name}` is not among the configurations"))
        .help(help);
    None
}
