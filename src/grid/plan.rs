//! What a grid would run, as data: written as JSON by `plan --format json`,
//! shown to a person by `report`. Borrows from the grid, so that a
//! plan of 100,000 configurations costs little more than the grid itself.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

pub use super::budget::{Budget, Part};
pub use super::duration::spoken;
use super::estimate::{Estimate, begun, ends_first, mean_gpus, of_gate};
use super::{EngineBlock, Grid, Limits, Warning, Window};
use crate::configuration::Configuration;
use crate::gate::Gate;
use crate::strategy::{Prediction, StrategySpec};
use crate::workload::RequestFields;

mod cluster;
mod confirmation;
mod strategies;

pub use cluster::{AtOnce, PlannedCluster, SeenPartition};
pub use confirmation::{PlannedConfirmation, ToShow};
pub use strategies::{CanShow, Differences, PlannedStrategy, Range, by_default};

/// Version of the plan's JSON form.
pub const SCHEMA_VERSION: u32 = 1;

/// What a grid would run.
#[derive(Clone, Debug, Serialize)]
pub struct Plan<'a> {
    /// Version of this form.
    pub schema_version: u32,
    /// The grid's name.
    pub name: &'a str,
    /// `docker`, `process` or `simulated`.
    pub engine: &'static str,
    /// The words before each configuration's arguments: `vllm serve MODEL`, or
    /// the command of the engine `process`. Without the model where a compose
    /// file names it.
    pub command: Vec<&'a str>,
    /// The baseline's name, where there is one.
    pub baseline: Option<&'a str>,
    /// Every configuration, in the order of the grid.
    pub configurations: Vec<Planned<'a>>,
    /// What is merged into the body of each request, by workload; those without are left out.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<&'static str, &'a RequestFields>,
    /// The variables of the compose files that the service uses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<PlannedVariable>,
    /// The gates of its launches, in their order; empty where they are off.
    pub gates: Vec<PlannedGate>,
    /// What a person should read before the night.
    pub warnings: &'a [Warning],
    /// Launches in all: the most, where the sweep chooses them.
    pub launches: u64,
    /// Launches at the least, where the sweep chooses them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least_launches: Option<u64>,
    /// Each strategy that there is with what it would take and show: the grid's own with its
    /// options, the others with the same repeats.
    pub strategies: Vec<PlannedStrategy>,
    /// What the differences are reckoned from that the strategies can show.
    pub differences: Differences,
    /// What is predicted of the configurations, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicted: Option<&'a str>,
    /// Which strategy a grid has that names none, why, and how to have another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_strategy: Option<String>,
    /// How long they may take.
    pub estimated_hours: Hours,
    /// Hours after which none is begun, where limited.
    pub budget_hours: Option<f64>,
    /// Launches that the budget allows the strategy to begin, where there is one.
    pub begun_within_budget: Option<Begun>,
    /// What else the budget limits, where it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<PlannedBudget>,
    /// What of the budget the strategy may spend, where a part is kept for a confirmation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy_budget: Option<Limits>,
    /// The confirmation that follows, where the grid asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm: Option<PlannedConfirmation>,
    /// Hours with it, where it is known or assumed what a launch takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hours_in_all: Option<Range<f64>>,
    /// The times of the day in which it launches, where limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<PlannedWindow>,
    /// How long it would take as earlier runs of the same service did, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub earlier_runs: Option<EarlierRuns>,
    /// What it comes to on the grid's cluster, where it names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<PlannedCluster<'a>>,
    /// What the strategy may spend.
    #[serde(skip)]
    limits: Limits,
}

/// A gate, and about how long it takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PlannedGate {
    /// Which.
    pub gate: Gate,
    /// Whether each launch goes through it; else the first one of each configuration.
    pub each_launch: bool,
    /// Seconds if everything is as fast as can be assumed.
    pub low_seconds: f64,
    /// Seconds if everything is as slow as can be assumed.
    pub high_seconds: f64,
    /// Seconds that it took in earlier runs of the same service: the median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub earlier_seconds: Option<f64>,
}

/// A variable of compose files, and where its value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedVariable {
    /// Its name.
    pub name: String,
    /// Its value; masked where it is a secret.
    pub value: String,
    /// `grid`, `environment`, `file`, `default` or `unset`.
    pub from: &'static str,
    /// The file, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Line in it, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

/// A window of the day, and in how many of its nights a plan fits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PlannedWindow {
    /// The window.
    pub window: Window,
    /// Seconds of each that are kept free, for production among others.
    pub kept_seconds: f64,
    /// Nights at the least and at the most; `None` where no launch fits.
    pub nights: Option<(u64, u64)>,
}

impl PlannedWindow {
    /// So many launches, each of seconds, both at the least and at the most.
    fn of(window: Window, kept_seconds: f64, launches: (u64, u64), each: (f64, f64)) -> Self {
        let nights = |launches: u64, launch: f64| {
            let usable = window.seconds() - kept_seconds;
            let of_one = (usable / launch.max(1.0)).floor();
            (of_one >= 1.0).then(|| (launches as f64 / of_one).ceil() as u64)
        };
        let nights = nights(launches.0, each.0).zip(nights(launches.1, each.1));
        Self { window, kept_seconds, nights }
    }
}

/// How long a plan would take by what earlier runs of the same service took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct EarlierRuns {
    /// How many there are.
    pub runs: usize,
    /// Hours in all: of the most launches, where the sweep chooses them.
    pub hours: f64,
    /// Hours of the fewest launches, where the sweep chooses them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least_hours: Option<f64>,
    /// Configurations without a launch in them: the others' times stand for theirs.
    pub unknown_configurations: usize,
    /// Launches that are begun within the budget, where there is one.
    pub begun_within_budget: Option<u64>,
}

/// A number of launches that a budget allows to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Begun {
    /// If everything is as slow as can be assumed.
    pub least: u64,
    /// If everything is as fast as can be assumed.
    pub most: u64,
}

impl Begun {
    /// Within all parts of a grid's budget; `None` where it has none.
    fn of(parts: &[(Part, (u64, u64))]) -> Option<Self> {
        let least = parts.iter().map(|(_, (least, _))| *least).min()?;
        let most = parts.iter().map(|(_, (_, most))| *most).min()?;
        Some(Self { least, most })
    }
}

/// What a budget limits besides time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedBudget {
    /// The limits.
    #[serde(flatten)]
    pub limits: Budget,
    /// GPUs of a launch, on average over the configurations.
    pub mean_gpus: f64,
    /// Which parts may be the first to end the sweep, by assumption; none where all launches
    /// are begun.
    pub ends_first: Vec<Part>,
}

impl PlannedBudget {
    fn of(grid: &Grid, ends_first: Vec<Part>) -> Option<Self> {
        let (limits, mean_gpus) = (grid.budget, mean_gpus(&grid.configurations));
        (!limits.is_empty()).then_some(Self { limits, mean_gpus, ends_first })
    }
}

/// What the strategy may spend, as seconds and launches.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    time: Option<f64>,
    /// What the GPU hours are for a launch with the mean of GPUs.
    gpu_seconds: Option<f64>,
    launches: Option<u64>,
}

impl Ends {
    fn of(plan: &Plan<'_>) -> Self {
        let Limits { seconds, besides } = plan.limits;
        let gpus = plan.budget.as_ref().map_or(1.0, |it| it.mean_gpus);
        let gpu_seconds = besides.gpu_hours.map(|hours| hours * 3600.0 / gpus);
        let time = seconds.map(|it| it as f64);
        Self { time, gpu_seconds, launches: besides.launches.map(u64::from) }
    }

    /// Launches that are begun, where so many take so many seconds, and on average so many run
    /// beside each other; `None` without a budget.
    fn begun(self, all_seconds: f64, launches: u64, beside: f64) -> Option<u64> {
        let time = self.time.map(|it| it * beside);
        let seconds = time.into_iter().chain(self.gpu_seconds).reduce(f64::min);
        let time = seconds.map(|seconds| begun(seconds, all_seconds, launches));
        time.into_iter().chain(self.launches.map(|it| it.min(launches))).min()
    }
}

/// One configuration of a plan.
#[derive(Clone, Debug)]
pub struct Planned<'a> {
    /// The configuration.
    pub configuration: &'a Configuration,
    /// Whether the others are compared with it.
    pub baseline: bool,
    /// The words before its arguments, where they are not the plan's: of another model, or of
    /// another service.
    pub command: Option<Vec<&'a str>>,
}

impl Planned<'_> {
    /// The arguments that pass the configuration's flags to `vllm serve`. Host,
    /// port and key are the tool's own and are added at the launch.
    pub fn argv(&self) -> Vec<String> {
        crate::flags::argv(&self.configuration.flags)
    }
}

impl Serialize for Planned<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut planned = serializer.serialize_struct("Planned", 11)?;
        planned.serialize_field("name", &self.configuration.name)?;
        planned.serialize_field("aliases", &self.configuration.aliases)?;
        planned.serialize_field("id", &self.configuration.id)?;
        planned.serialize_field("baseline", &self.baseline)?;
        planned.serialize_field("flags", &self.configuration.flags)?;
        planned.serialize_field("environment", &self.configuration.environment)?;
        planned.serialize_field("stack", &self.configuration.stack)?;
        planned.serialize_field("image", &self.configuration.image)?;
        planned.serialize_field("model", &self.configuration.model)?;
        match &self.command {
            Some(command) => planned.serialize_field("command", command)?,
            None => planned.skip_field("command")?,
        }
        planned.serialize_field("argv", &self.argv())?;
        planned.end()
    }
}

/// A range of hours, assumed and not measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hours {
    /// If everything is as fast as can be assumed.
    pub low: f64,
    /// If everything is as slow as can be assumed.
    pub high: f64,
    /// What was assumed.
    pub assumptions: Vec<String>,
}

impl<'a> Plan<'a> {
    /// The plan of a grid.
    pub fn new(grid: &'a Grid) -> Self {
        let estimate = Estimate::of(grid);
        let baseline = grid.baseline.as_deref();
        let budget = grid.budget_seconds.map(|seconds| seconds as f64);
        let parts = estimate.begun_within(grid);
        let begun_within_budget = Begun::of(&parts);
        let command = command(&grid.engine, grid.engine.model());
        let configurations = grid
            .configurations
            .iter()
            .map(|configuration| Planned {
                configuration,
                baseline: baseline.is_some_and(|name| configuration.answers_to(name)),
                command: Some(command_of(grid, configuration)).filter(|own| *own != command),
            })
            .collect();
        let differences = Differences::assumed(grid);
        let strategies = strategies::all(grid, &differences);
        let confirm = PlannedConfirmation::of(grid, &differences, estimate.of_one());
        let (low, high) = (estimate.low_seconds / 3600.0, estimate.high_seconds / 3600.0);
        let in_all = PlannedConfirmation::after(confirm.as_ref(), estimate.launches);
        let limited = grid.confirm.is_some() && !grid.limits().is_empty();
        Self {
            schema_version: SCHEMA_VERSION,
            name: &grid.name,
            engine: grid.engine.name(),
            command,
            baseline,
            configurations,
            requests: requests(grid),
            variables: Vec::new(),
            gates: gates(grid),
            warnings: &grid.warnings,
            launches: estimate.launches.1,
            least_launches: Some(estimate.launches.0).filter(|_| grid.strategy.chooses()),
            default_strategy: strategies::by_default(grid),
            predicted: grid.predicted.as_ref().and_then(Prediction::by),
            strategies,
            differences,
            estimated_hours: Hours { low, high, assumptions: estimate.assumptions },
            budget_hours: budget.map(|seconds| seconds / 3600.0),
            begun_within_budget,
            budget: PlannedBudget::of(grid, ends_first(&parts, estimate.launches.1)),
            strategy_budget: limited.then(|| grid.strategy_limits()),
            hours_in_all: confirm.as_ref().map(|it| it.with((low, high))),
            confirm,
            limits: grid.strategy_limits(),
            window: grid.window.map(|window| {
                let (kept, each) = (grid.kept_of_window_seconds(), grid.assumed_launch_seconds());
                PlannedWindow::of(window, kept, in_all, each)
            }),
            earlier_runs: None,
            cluster: None,
        }
    }

    /// The same with the variables that the service uses.
    #[must_use]
    pub fn with_variables(self, variables: Vec<PlannedVariable>) -> Self {
        Self { variables, ..self }
    }

    /// The same with the seconds that its gates took in earlier runs.
    #[must_use]
    pub fn with_earlier_gates(mut self, seconds: impl Fn(Gate) -> Option<f64>) -> Self {
        for gate in &mut self.gates {
            gate.earlier_seconds = seconds(gate.gate);
        }
        self
    }

    /// The same with what so many earlier runs of the same service make expect: seconds of a
    /// strategy at the least and at the most, where they are known, and configurations that
    /// they did not launch.
    #[must_use]
    pub fn with_earlier(
        mut self,
        runs: usize,
        unknown_configurations: usize,
        seconds: impl Fn(&StrategySpec) -> Option<(f64, f64)>,
    ) -> Self {
        let ends = Ends::of(&self);
        for strategy in &mut self.strategies {
            if let Some(seconds) = seconds(&strategy.spec) {
                strategy.took(seconds, ends);
                strategy.differ_by(&self.differences);
            }
        }
        let own = self.strategies.iter().find(|it| it.is_chosen);
        let took = own.and_then(|own| Some((seconds(&own.spec)?, own.beside)));
        let Some(((least, most), beside)) = took else { return self };
        self.earlier_runs = Some(EarlierRuns {
            runs,
            hours: most / 3600.0,
            least_hours: self.least_launches.map(|_| least / 3600.0),
            unknown_configurations,
            begun_within_budget: ends.begun(most, self.launches, beside),
        });
        let each = most / (self.launches.max(1) as f64);
        if let Some(confirm) = &mut self.confirm {
            confirm.took(each, &self.differences);
            self.hours_in_all = Some(confirm.with((least / 3600.0, most / 3600.0)));
        }
        let launches = PlannedConfirmation::after(self.confirm.as_ref(), self.launch_range());
        self.window = self
            .window
            .map(|it| PlannedWindow::of(it.window, it.kept_seconds, launches, (each, each)));
        self
    }

    /// The same with the SD between repeats of one launch that earlier runs showed, as a
    /// fraction.
    #[must_use]
    pub fn with_repeat_sd(mut self, sd: f64) -> Self {
        self.differences.repeat_sd = sd;
        self.differences.repeat_sd_measured = true;
        for strategy in &mut self.strategies {
            strategy.differ_by(&self.differences);
        }
        if let Some(confirm) = &mut self.confirm {
            confirm.differ_by(&self.differences);
            let hours = &self.estimated_hours;
            self.hours_in_all = Some(confirm.with((hours.low, hours.high)));
        }
        self
    }

    /// Launches at the least and at the most.
    pub fn launch_range(&self) -> (u64, u64) {
        (self.least_launches.unwrap_or(self.launches), self.launches)
    }

    /// The grid's own strategy.
    pub fn chosen(&self) -> Option<&PlannedStrategy> {
        self.strategies.iter().find(|it| it.is_chosen)
    }
}

/// A range as it is written: one number where both are the same.
pub fn range((low, high): (u64, u64)) -> String {
    if low == high { low.to_string() } else { format!("{low} to {high}") }
}

fn gates(grid: &Grid) -> Vec<PlannedGate> {
    let of = |gate: Gate| {
        let seconds = of_gate(grid, gate);
        PlannedGate {
            gate,
            each_launch: gate.is_of_each_launch(),
            low_seconds: seconds.low,
            high_seconds: seconds.high,
            earlier_seconds: None,
        }
    };
    Gate::ALL.into_iter().filter(|gate| grid.gates.has(*gate)).map(of).collect()
}

fn requests(grid: &Grid) -> BTreeMap<&'static str, &RequestFields> {
    let with = grid.workloads.iter().filter(|workload| !workload.request.is_empty());
    with.map(|workload| (workload.kind().name, &workload.request)).collect()
}

/// The words before a configuration's arguments.
fn command_of<'a>(grid: &'a Grid, configuration: &'a Configuration) -> Vec<&'a str> {
    if configuration.stack.is_own() {
        return command(&grid.engine, grid.engine.model());
    }
    let block = grid.stacks.get(&configuration.stack).unwrap_or(&grid.engine);
    // What a stack's own service names is known of the configuration alone.
    command(block, configuration.model.as_deref().or_else(|| block.model()))
}

fn command<'a>(engine: &'a EngineBlock, model: Option<&'a str>) -> Vec<&'a str> {
    match engine {
        EngineBlock::Process(block) => block.command.iter().map(String::as_str).collect(),
        _ => ["vllm", "serve"].into_iter().chain(model).collect(),
    }
}
