//! What a grid would run, as data: written as JSON by `plan --format json`,
//! told to a person by [`crate::report::plan`]. Borrows from the grid, so that a
//! plan of 100,000 configurations costs little more than the grid itself.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::{EngineBlock, Grid, Warning};
use crate::configuration::Configuration;
use crate::strategy::StrategySpec;
use crate::workload::{Command, Dataset, LoadCase, Spec, Stability, Workload};

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
    /// What a person should read before the night.
    pub warnings: &'a [Warning],
    /// Launches in all.
    pub launches: u64,
    /// How long they may take.
    pub estimated_hours: Hours,
}

/// One configuration of a plan.
#[derive(Clone, Copy, Debug)]
pub struct Planned<'a> {
    /// The configuration.
    pub configuration: &'a Configuration,
    /// Whether the others are compared with it.
    pub baseline: bool,
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
        let mut planned = serializer.serialize_struct("Planned", 7)?;
        planned.serialize_field("name", &self.configuration.name)?;
        planned.serialize_field("aliases", &self.configuration.aliases)?;
        planned.serialize_field("id", &self.configuration.id)?;
        planned.serialize_field("baseline", &self.baseline)?;
        planned.serialize_field("flags", &self.configuration.flags)?;
        planned.serialize_field("environment", &self.configuration.environment)?;
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
        let configurations = grid
            .configurations
            .iter()
            .map(|configuration| Planned {
                configuration,
                baseline: baseline.is_some_and(|name| configuration.answers_to(name)),
            })
            .collect();
        Self {
            schema_version: SCHEMA_VERSION,
            name: &grid.name,
            engine: grid.engine.name(),
            command: command(&grid.engine),
            baseline,
            configurations,
            warnings: &grid.warnings,
            launches: estimate.launches,
            estimated_hours: Hours {
                low: estimate.low_seconds / 3600.0,
                high: estimate.high_seconds / 3600.0,
                assumptions: estimate.assumptions,
            },
        }
    }
}

fn command(engine: &EngineBlock) -> Vec<&str> {
    match engine {
        EngineBlock::Process(block) => block.command.iter().map(String::as_str).collect(),
        _ => ["vllm", "serve"].into_iter().chain(engine.model()).collect(),
    }
}

/// A duration in the unit that a person would choose.
pub fn spoken(seconds: f64) -> String {
    let hours = seconds / 3600.0;
    if seconds < 120.0 {
        format!("{seconds:.0} s")
    } else if hours < 2.0 {
        format!("{:.0} min", seconds / 60.0)
    } else if hours < 100.0 {
        format!("{hours:.1} h")
    } else {
        format!("{:.0} days", hours / 24.0)
    }
}

/// Seconds that something may take, by assumption.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Seconds {
    low: f64,
    high: f64,
}

/// Start to first answer: 80 s with warm caches to 460 s without, as the user's
/// service showed (`users-system.md`).
const REAL_BOOT: Seconds = Seconds { low: 80.0, high: 460.0 };
/// The simulator's boot before it is divided by its speed.
const SIMULATED_BOOT: Seconds = Seconds { low: 10.0, high: 120.0 };
/// SIGTERM to gone, and the GPU's memory free again.
const REAL_STOP: Seconds = Seconds { low: 5.0, high: 60.0 };
/// Prefill of 1000 tokens, on anything from an H100 to two RTX 4090 with a 32B model.
const PREFILL: Seconds = Seconds { low: 0.05, high: 0.8 };
/// One output token.
const TOKEN: Seconds = Seconds { low: 0.005, high: 0.06 };
/// What the client does around a request: reading the server's counters.
const AROUND: Seconds = Seconds { low: 0.02, high: 0.5 };

/// How much a grid will launch, and how long that may take.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Estimate {
    pub(super) launches: u64,
    pub(super) low_seconds: f64,
    pub(super) high_seconds: f64,
    assumptions: Vec<String>,
}

impl Estimate {
    pub(super) fn of(grid: &Grid) -> Self {
        let StrategySpec::Grid(strategy) = &grid.strategy;
        let launches = grid.configurations.len() as u64 * u64::from(strategy.launches);
        let (boot, stop, speed) = match &grid.engine {
            EngineBlock::Docker(_) | EngineBlock::Process(_) => (REAL_BOOT, REAL_STOP, 1.0),
            EngineBlock::Simulated(block) => {
                (SIMULATED_BOOT, Seconds { low: 0.0, high: 0.1 }, block.speed)
            }
        };
        let seconds = |side: fn(Seconds) -> f64| {
            let served: f64 = grid
                .workloads
                .iter()
                .map(|workload| {
                    let kept = workload.repeats.unwrap_or(u64::from(strategy.repeats));
                    (kept + workload.warmup) as f64 * repeat(grid, workload, side)
                })
                .sum();
            let requests = requests(grid, u64::from(strategy.repeats));
            let foreign = side(foreign(grid, u64::from(strategy.repeats)));
            let ours = (side(boot) + served) / speed + side(stop) + requests * side(AROUND);
            launches as f64 * (ours + foreign)
        };
        Self {
            launches,
            low_seconds: seconds(|range| range.low),
            high_seconds: seconds(|range| range.high),
            assumptions: assumptions(grid, boot, speed),
        }
    }
}

/// Requests of one repeat of a workload, with the lengths of prompt and answer.
fn requests_of(grid: &Grid, workload: &Workload) -> Vec<(u64, u64, u64)> {
    let dataset = workload.dataset().and_then(|path| grid.datasets.known(path));
    match &workload.spec {
        // A miss, the same again, and one unrelated, for each prompt.
        Spec::KvCache(spec) => spec
            .prefix_tokens
            .iter()
            .map(|tokens| (spec.prompts * 3, *tokens, spec.output_tokens))
            .collect(),
        Spec::Load(spec) => {
            load_requests(spec, dataset.map_or(spec.prompt_tokens, Dataset::prompt_tokens))
        }
        Spec::Stability(spec) => stability_requests(spec),
        Spec::LongContext(spec) => {
            let depths = spec.depths.len() as u64;
            // An answer is a code: little of what it may be.
            spec.contexts.iter().map(|tokens| (depths, *tokens, spec.max_tokens / 4)).collect()
        }
        // It sends its own: see [`foreign`].
        Spec::Command(_) => Vec::new(),
        // How long answers get is the model's: half of what they may.
        Spec::Reasoning(spec) => {
            vec![(spec.kinds.len() as u64 * spec.instances, 400, spec.max_tokens / 2)]
        }
        Spec::ToolCalling(spec) => spec
            .scenarios
            .iter()
            .map(|scenario| (scenario.turns() * spec.instances, 700, spec.max_tokens / 8))
            .collect(),
        // On average half of the longest context is history.
        Spec::Conversation(spec) => {
            let longest = dataset.map_or(spec.longest(), |dataset| {
                dataset.conversation_tokens(spec.turns) + spec.turns * spec.output_tokens
            });
            vec![(spec.conversations * spec.turns, longest / 2, spec.output_tokens)]
        }
    }
}

/// Steps that a search for the highest rate may take, by experience.
const SEARCH: u64 = 10;

/// Requests that run side by side cost the time of one: each slot's are told.
fn load_requests(spec: &crate::workload::Load, prompt_tokens: u64) -> Vec<(u64, u64, u64)> {
    let lengths = |requests| (requests, prompt_tokens, spec.output_tokens);
    let alone =
        prompt_tokens as f64 / 1000.0 * PREFILL.high + spec.output_tokens as f64 * TOKEN.high;
    spec.named_cases()
        .into_iter()
        .map(|(case, _)| {
            let rounds = match (case, spec.requests_of(case), spec.duration) {
                (LoadCase::Concurrency(count), Some(requests), _) => requests.div_ceil(count),
                (LoadCase::Rate(rate), Some(requests), _) => {
                    (requests as f64 / rate / alone).ceil() as u64
                }
                (LoadCase::MaxRate, requests, _) => SEARCH * requests.unwrap_or(1).div_ceil(8),
                (_, None, duration) => (duration.unwrap_or(0.0) / alone).ceil() as u64,
            };
            lengths(rounds.max(1))
        })
        .collect()
}

fn stability_requests(spec: &crate::workload::Stability) -> Vec<(u64, u64, u64)> {
    let mix = spec.mix();
    let alone = |(prompt, output): &(u64, u64)| {
        *prompt as f64 / 1000.0 * PREFILL.high + *output as f64 * TOKEN.high
    };
    let block: f64 = mix.iter().map(alone).sum();
    let blocks = match spec.duration {
        Some(seconds) => (seconds / block).ceil() as u64,
        None => 2 * spec.requests.div_ceil(2 * mix.len() as u64),
    };
    mix.into_iter().map(|(prompt, output)| (blocks.max(1), prompt, output)).collect()
}

/// Seconds that the server needs for one repeat of all cases.
fn repeat(grid: &Grid, workload: &Workload, side: fn(Seconds) -> f64) -> f64 {
    requests_of(grid, workload)
        .into_iter()
        .map(|(requests, prompt, output)| {
            let prefill = prompt as f64 / 1000.0 * side(PREFILL);
            requests as f64 * (prefill + output as f64 * side(TOKEN))
        })
        .sum()
}

/// Seconds of one repeat of all cases, if everything is as slow as can be assumed;
/// of a workload with a duration, that.
pub(super) fn longest(grid: &Grid, workload: &Workload) -> f64 {
    match &workload.spec {
        Spec::Stability(Stability { duration: Some(seconds), .. }) => *seconds,
        _ => repeat(grid, workload, |range| range.high),
    }
}

/// Requests of one launch.
fn requests(grid: &Grid, repeats: u64) -> f64 {
    grid.workloads
        .iter()
        .map(|workload| {
            let passes = workload.repeats.unwrap_or(repeats) + workload.warmup;
            let each: u64 =
                requests_of(grid, workload).iter().map(|(requests, _, _)| requests).sum();
            (passes * each) as f64
        })
        .sum()
}

/// The programs that `command` runs, where it has one, with their workload.
fn commands(grid: &Grid) -> impl Iterator<Item = (&Workload, &Command)> {
    grid.workloads.iter().filter_map(|workload| match &workload.spec {
        Spec::Command(spec) if !spec.command.is_empty() => Some((workload, spec)),
        _ => None,
    })
}

/// What programs of others take in one launch: nobody knows how long they run, but
/// each is ended at its timeout.
fn foreign(grid: &Grid, repeats: u64) -> Seconds {
    let most = |(workload, spec): (&Workload, &Command)| {
        (workload.repeats.unwrap_or(repeats) + workload.warmup) as f64 * spec.timeout
    };
    Seconds { low: 0.0, high: commands(grid).map(most).sum() }
}

fn assumptions(grid: &Grid, boot: Seconds, speed: f64) -> Vec<String> {
    let range =
        |seconds: Seconds, unit: &str| format!("{} to {} {unit}", seconds.low, seconds.high);
    let boot = match &grid.engine {
        EngineBlock::Simulated(_) => {
            format!("a simulated boot of {}, divided by speed {speed}", range(boot, "s"))
        }
        _ => format!("a boot of {} (with and without warm caches)", range(boot, "s")),
    };
    let mut assumed = vec![
        boot,
        format!("prefill of 1000 tokens in {}", range(PREFILL, "s")),
        format!("an output token in {}", range(TOKEN, "s")),
    ];
    if grid.workloads.iter().any(|workload| workload.dataset().is_some()) {
        assumed.push("a dataset's token in 4 bytes".to_owned());
    }
    assumed.extend(commands(grid).map(|(workload, spec)| {
        let name = workload.kind().name;
        let timeout = spoken(spec.timeout);
        format!("the time of `{name}` is unknown: 0 to its timeout of {timeout} for each repeat")
    }));
    assumed.push("nothing of this was measured".to_owned());
    assumed
}
