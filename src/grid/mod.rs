//! Reads and checks a grid file and expands it into configurations. Every error is found in one
//! pass, with file, line, column and a snippet. Pure: knows no engine, no network, no runtime.

mod advice;
mod budget;
mod confirm;
mod duration;
mod engine_block;
mod error;
mod estimate;
mod expand;
mod fields;
mod file;
mod flag_map;
mod gates;
mod goal;
mod hosts;
mod image_name;
mod inert_flags;
mod name;
mod node;
mod objectives;
pub mod plan;
mod read;
mod request;
pub mod schema;
mod secrets;
mod service;
mod stack_keys;
mod strategy_block;
mod unmeasured;
mod window;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

pub use budget::{Budget, Part as BudgetPart};
pub use confirm::{Confirm, Limits, nothing_to_confirm};
pub use duration::read as duration_seconds;
pub use error::{GridError, GridErrors};
pub use estimate::mean_gpus;
pub use file::GridFile;
pub use hosts::{Sharing, SlurmBlock};
use node::Span;
pub use service::ServiceBase;
pub use window::Window;

use crate::configuration::{Configuration, Flags, Identity, Stack};
use crate::gate::{Gate, Gates};
use crate::metric::{MetricRef, Objective};
use crate::simulator::drift::Drift;
use crate::simulator::fault_plan::FaultPlan;
use crate::strategy::{Order, Prediction, StrategySpec, Task};
use crate::workload::{Datasets, Workload};

/// A checked and expanded grid, complete: made from a [`GridFile`] once it is clear
/// what the compose service asks for by itself, where there is one.
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
    /// The same for each stack of its configurations that is not the block's own, as the
    /// compose service was read for it; of stacks without a service, nothing.
    pub stacks: BTreeMap<Stack, EngineBlock>,
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
    /// Whether the file names no strategy.
    pub is_default_strategy: bool,
    /// What is predicted of its configurations, once that was asked for.
    pub predicted: Option<Prediction>,
    /// Seconds that the sweep may take, where limited.
    pub budget_seconds: Option<u64>,
    /// What else it may spend.
    pub budget: Budget,
    /// The confirmation that the sweep goes on with, where it does.
    pub confirm: Option<Confirm>,
    /// What is looked at in a launch before it is measured.
    pub gates: Gates,
    /// Times of the day in which it may launch; always where it names none.
    pub window: Option<Window>,
    /// The cluster whose jobs its launches are; this machine where it names none.
    pub hosts: Option<SlurmBlock>,
    /// What a person should read before the night.
    pub warnings: Vec<Warning>,
    places: Places,
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
    /// Rows of `include` that start something else than the engine block names, with their
    /// names, by what they start.
    rows: BTreeMap<Stack, Vec<(Span, Option<String>)>>,
    /// The first axis that does so.
    axes: Option<Span>,
    budget: Option<Span>,
    window: Option<Span>,
    confirm: Option<Span>,
    hosts: Option<Span>,
}

/// What in a grid file asks for a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Line and column, from 1, where there is one.
    pub(crate) at: Option<(usize, usize)>,
    /// What it is called; empty for the engine block itself.
    pub(crate) name: String,
}

/// Configurations of one grid, unless more are asked for.
pub const MAX_CONFIGURATIONS: usize = 10_000;

/// How a grid is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// The engine block to take; the first one where `None`.
    pub engine: Option<String>,
    /// Flags outside vLLM's table are errors, not warnings.
    pub strict: bool,
    /// Most configurations that may come out, before exclusion and merging.
    pub max_configurations: usize,
    /// Folder that paths in the file are relative to; the file's own where
    /// `None`. A sweep's copy of a grid is read in place of the original.
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
    /// Index of the baseline among the configurations.
    pub fn baseline_index(&self) -> Option<usize> {
        let name = self.baseline.as_deref()?;
        self.configurations.iter().position(|configuration| configuration.answers_to(name))
    }

    /// The whole budget.
    pub fn limits(&self) -> Limits {
        Limits { seconds: self.budget_seconds, besides: self.budget }
    }

    /// What of the budget the strategy may spend.
    pub fn strategy_limits(&self) -> Limits {
        self.limits().of_strategy(self.confirm)
    }

    /// What its strategy decides about.
    pub fn task(&self) -> Task {
        let baseline = self.baseline_index();
        Task::of(&self.configurations, baseline, &self.objective, Order::Opened)
            .with_prediction(self.predicted.as_ref())
    }

    /// The same with nothing but how much there is to decide about: it costs little, however
    /// many configurations there are.
    pub(crate) fn sizes(&self) -> Task {
        Task::sized(&self.configurations, self.baseline_index())
    }

    /// Line and column, from 1, of a key in the file: `["engine", "docker", "api-key-env"]`.
    pub fn place_of(&self, keys: &[&str]) -> Option<(usize, usize)> {
        let text = file::text(&self.source);
        let root = node::parse(&text).ok()?;
        Some(error::place(&text, root.key(keys)?.span.start))
    }

    /// Line and column, from 1, of the item of a list that is this text, or has it as a value.
    pub(crate) fn place_of_item(&self, keys: &[&str], item: &str) -> Option<(usize, usize)> {
        let text = file::text(&self.source);
        let root = node::parse(&text).ok()?;
        Some(error::place(&text, root.keyed(keys)?.1.item(item)?.span.start))
    }

    /// Whether a row asks for a stack.
    pub(crate) fn is_of_row(&self, stack: &Stack) -> bool {
        self.places.rows.contains_key(stack)
    }

    /// What asks for a stack: rows, else axes, or the engine block for its own.
    pub(crate) fn entries_of(&self, stack: &Stack) -> Vec<Entry> {
        if stack.is_own() {
            let of = |key: &&str| self.place_of(&["engine", self.engine.name(), key]);
            let at = ["command", "image", "compose", "service"].iter().find_map(of);
            return vec![Entry { at, name: String::new() }];
        }
        let text = file::text(&self.source);
        let at = |span: &Span| error::place(&text, span.start);
        let shown = || stack.to_string();
        match self.places.rows.get(stack) {
            Some(rows) => {
                let named = |name: &Option<String>| name.as_ref().map(|it| format!("`{it}`"));
                let entry = |(span, name): &(Span, Option<String>)| Entry {
                    at: Some(at(span)),
                    name: named(name).unwrap_or_else(shown),
                };
                rows.iter().map(entry).collect()
            }
            None => vec![Entry { at: self.places.axes.as_ref().map(at), name: shown() }],
        }
    }

    /// Seconds of one launch by assumption, at the least and at the most.
    pub fn assumed_launch_seconds(&self) -> (f64, f64) {
        estimate::Estimate::of(self).of_one()
    }

    /// Seconds that a gate takes by assumption, at the least and at the most.
    pub fn assumed_gate_seconds(&self, gate: Gate) -> (f64, f64) {
        let seconds = estimate::of_gate(self, gate);
        (seconds.low, seconds.high)
    }

    /// Seconds that are kept free at the end of a window: to stop the last server, and for
    /// production, where the grid names it and nobody saw yet how long it takes to start.
    pub fn kept_of_window_seconds(&self) -> f64 {
        let has_production =
            matches!(&self.engine, EngineBlock::Docker(block) if block.production.is_some());
        if has_production { 16.0 * 60.0 } else { 60.0 }
    }

    /// The workload that a metric comes from.
    pub(crate) fn workload_of(&self, metric: &MetricRef) -> Option<&Workload> {
        self.workloads.iter().find(|it| it.kind().key == metric.workload)
    }

    /// The configuration of that name or alias.
    pub fn configuration(&self, name: &str) -> Option<&Configuration> {
        self.configurations.iter().find(|configuration| configuration.answers_to(name))
    }
}

/// The first of some configurations, and how many more there are.
fn some(configurations: &[&Configuration]) -> String {
    match configurations {
        [] => String::new(),
        [one] => format!("`{}`", one.name),
        [first, rest @ ..] => format!("`{}` and {} more", first.name, rest.len()),
    }
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
    /// Whether it is about what the budget allows the launches that the grid asks for.
    #[serde(skip)]
    pub of_budget: bool,
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
                Some(format!("{}#{}", block.compose.names(), block.service.as_deref()?))
            }),
            Self::Process(block) => Some(shell_words::join(&block.command)),
            Self::Simulated(block) => Some(format!(
                "{} x {}, {} GiB in use",
                block.gpus, block.gpu, block.other_memory_gib
            )),
        }
    }

    /// Whether flags come from a service that was not read.
    fn lacks_service(&self) -> bool {
        matches!(self, Self::Docker(block) if block.service.is_some() && block.base.is_none())
    }

    /// Image and model that a configuration with that stack starts, as far as they are known.
    /// `base`: what the stack's service asks for by itself, once it is read.
    fn started(
        &self,
        stack: &Stack,
        base: Option<&ServiceBase>,
    ) -> (Option<String>, Option<String>) {
        let image = || match (base, self) {
            (Some(base), _) => Some(base.image.clone()),
            (None, Self::Docker(block)) if stack.has_service() => {
                let service = stack.service.as_deref().or(block.service.as_deref());
                let names = Some(stack.compose.join(",")).filter(|it| !it.is_empty());
                let names = names.unwrap_or_else(|| block.compose.names());
                Some(format!("{names}#{}", service.unwrap_or_default()))
            }
            _ => self.image(),
        };
        let model = || match base {
            Some(base) => base.model.clone(),
            None if stack.has_service() => None,
            None => self.model().map(str::to_owned),
        };
        (stack.image.clone().or_else(image), stack.model.clone().or_else(model))
    }

    /// The id that a configuration has where this image, or command, is started.
    pub fn id_with(&self, image: Option<&str>, configuration: &Configuration) -> String {
        self.identity(image, configuration.model.as_deref(), configuration).id()
    }

    /// What a configuration's id is computed from.
    fn identity<'a>(
        &'a self,
        image: Option<&'a str>,
        model: Option<&'a str>,
        configuration: &'a Configuration,
    ) -> Identity<'a> {
        let Configuration { flags, environment, stack, .. } = configuration;
        Identity { engine: self.name(), image, model, flags, environment, stack }
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

/// With the kind, for a message: "service `vllm`".
impl std::fmt::Display for ProductionName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Container(name) => write!(f, "container `{name}`"),
            Self::Service(name) => write!(f, "service `{name}`"),
        }
    }
}

/// Which compose files a grid names, and with what they are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComposeFiles {
    /// The files in the order of `-f`; none: what the compose tool finds in `folder`.
    pub files: Vec<PathBuf>,
    /// Whether they are a list: then nothing is read besides, no override beside a file
    /// with the tool's default name.
    pub exact: bool,
    /// `--env-file`, in this order; none: `.env`.
    pub env_files: Vec<PathBuf>,
    /// `--project-directory`.
    pub project_directory: Option<PathBuf>,
    /// The grid's folder.
    pub folder: PathBuf,
    /// Values of interpolation variables, for the compose tool alone; they count most.
    pub variables: BTreeMap<String, String>,
    /// Whether `files`, `env_files` and `project_directory` are what the block's service was
    /// read from, so that nothing is looked for again.
    pub located: bool,
}

impl ComposeFiles {
    /// The files' names without their folders.
    pub fn names(&self) -> String {
        let name = |file: &PathBuf| Some(file.file_name()?.to_string_lossy().into_owned());
        self.files.iter().filter_map(name).collect::<Vec<_>>().join(",")
    }
}

/// `docker:` of a grid.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DockerBlock {
    /// Compose files and what the compose tool reads with them, resolved against the
    /// grid's folder.
    pub compose: ComposeFiles,
    /// Service in them.
    pub service: Option<String>,
    /// Plain image, instead of a compose service.
    pub image: Option<String>,
    /// Model, where the grid names it.
    pub model: Option<String>,
    /// Flags of every configuration.
    pub flags: Flags,
    /// Name of the variable with the API key.
    pub api_key_env: Option<String>,
    /// What serves production and is stopped for the sweep.
    pub production: Option<ProductionName>,
    /// What is stopped before production, and started after it answers.
    pub pause: Vec<ProductionName>,
    /// Profiles of the compose file that are active.
    pub profiles: Vec<String>,
    /// Whether GPUs are asked for; `None` means yes. `false` is for CPU images.
    pub gpus: Option<bool>,
    /// Whether our cache volumes replace missing ones; `None` means yes.
    pub caches: Option<bool>,
    /// Whether vLLM's development endpoints are switched on; they need no key.
    pub introspect: bool,
    /// What the compose service asks for by itself, once it is read.
    pub base: Option<ServiceBase>,
}

/// `process:` of a grid.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessBlock {
    /// Command and first arguments; `[vllm, serve, MODEL]` where not given.
    pub command: Vec<String>,
    /// Flags of every configuration.
    pub flags: Flags,
    /// Name of the variable with the API key.
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
    /// GiB on each GPU that something else uses.
    pub other_memory_gib: f64,
    /// Seed of the noise.
    pub seed: u64,
    /// All times are divided by it, boot included.
    pub speed: f64,
    /// By what all times are multiplied on a host of this name; 1 on the others.
    pub hosts: BTreeMap<String, f64>,
    /// How the machine's speed moves over the sweep; it does not where `None`.
    pub drift: Option<Drift>,
    /// Faults of some configurations; none where it is empty.
    pub faults: FaultPlan,
    /// Flags of every configuration.
    pub flags: Flags,
}
