//! How long a grid may take, by assumption: what each repeat asks of a server, and
//! how long the fastest and the slowest server that one may have would need for it.
//! Nothing of this is measured, and the plan says so.

use super::duration::spoken;
use super::{EngineBlock, Grid};
use crate::strategy::StrategySpec;
use crate::workload::{
    Command, Conversation, Dataset, Load, LoadCase, Scenario, Spec, Stability, Workload,
};

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

/// Tokens of a puzzle with all that belongs to it, and of a task with its tools.
const PUZZLE: u64 = 400;
const TASK: u64 = 700;
/// Rates that a search for the highest one may try, by experience, requests that are
/// in flight on average at one of them, and request times that each takes at the least:
/// its arrivals last three and a half, and the last one comes to its end.
const SEARCH: u64 = 10;
const IN_FLIGHT: u64 = 8;
const STEP: u64 = 5;
/// Requests of an open loop's warm-up at the least.
const OPEN_WARMUP: u64 = 32;

/// One side of a range.
type Side = fn(Seconds) -> f64;

/// How much a grid will launch, and how long that may take.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Estimate {
    pub(super) launches: u64,
    pub(super) low_seconds: f64,
    pub(super) high_seconds: f64,
    pub(super) assumptions: Vec<String>,
}

impl Estimate {
    /// Launches that are begun within a budget, at the least and at the most: none is
    /// begun after it.
    pub(super) fn begun_within(&self, budget: f64) -> (u64, u64) {
        let within = |all: f64| {
            let begun = (budget / all * self.launches as f64).ceil();
            if begun < self.launches as f64 { begun as u64 } else { self.launches }
        };
        (within(self.high_seconds), within(self.low_seconds))
    }

    pub(super) fn of(grid: &Grid) -> Self {
        let StrategySpec::Grid(strategy) = &grid.strategy;
        let launches = grid.configurations.len() as u64 * u64::from(strategy.launches);
        let (boot, stop, speed) = match &grid.engine {
            EngineBlock::Docker(_) | EngineBlock::Process(_) => (REAL_BOOT, REAL_STOP, 1.0),
            EngineBlock::Simulated(block) => {
                (SIMULATED_BOOT, Seconds { low: 0.0, high: 0.1 }, block.speed)
            }
        };
        let seconds = |side: Side| {
            let measured: f64 = grid
                .workloads
                .iter()
                .map(|workload| {
                    let kept = workload.repeats.unwrap_or(u64::from(strategy.repeats));
                    let repeat = |is_warmup| seconds(grid, workload, is_warmup, speed, side);
                    kept as f64 * repeat(false) + workload.warmup as f64 * repeat(true)
                })
                .sum();
            launches as f64 * (side(boot) / speed + measured + side(stop))
        };
        Self {
            launches,
            low_seconds: seconds(|range| range.low),
            high_seconds: seconds(|range| range.high),
            assumptions: assumptions(grid, boot, speed),
        }
    }
}

/// Seconds of one repeat of all cases, if everything is as slow as can be assumed;
/// of a workload with a duration, that.
pub(super) fn longest(grid: &Grid, workload: &Workload) -> f64 {
    match &workload.spec {
        Spec::Stability(Stability { duration: Some(seconds), .. }) => *seconds,
        _ => seconds(grid, workload, false, 1.0, |range| range.high),
    }
}

/// Seconds of one repeat of all cases.
fn seconds(grid: &Grid, workload: &Workload, is_warmup: bool, speed: f64, side: Side) -> f64 {
    let served = works(grid, workload, is_warmup).into_iter().map(|work| {
        let read = work.prompts / 1000.0 * side(PREFILL);
        let served = (read + work.tokens * side(TOKEN)) / speed;
        served.max(work.scheduled) + work.looks * side(AROUND)
    });
    // What programs of others take nobody knows; each is ended at its timeout.
    let foreign =
        foreign(workload).map_or(0.0, |spec| side(Seconds { low: 0.0, high: spec.timeout }));
    served.sum::<f64>() + foreign
}

/// What one repeat of a case asks of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Work {
    /// Prompt tokens. They are read one after another, whoever asks: reading one
    /// prompt keeps all of a GPU busy.
    prompts: f64,
    /// Tokens that are generated one after another; those side by side count once.
    tokens: f64,
    /// Seconds in which requests are begun, where a rate or a duration decides.
    scheduled: f64,
    /// Requests that the client looks at the server's counters for.
    looks: f64,
}

impl Work {
    /// Requests one at a time, each of so many prompt and output tokens.
    fn alone(requests: u64, prompt: u64, output: u64) -> Self {
        let requests = requests as f64;
        Self {
            prompts: requests * prompt as f64,
            tokens: requests * output as f64,
            scheduled: 0.0,
            looks: requests,
        }
    }
}

fn works(grid: &Grid, workload: &Workload, is_warmup: bool) -> Vec<Work> {
    let dataset = workload.dataset().and_then(|path| grid.datasets.known(path));
    // Of several like requests a warm-up sends one.
    let of = |requests: u64| if is_warmup { requests.min(1) } else { requests };
    match &workload.spec {
        // A miss, the same again, and one unrelated, for each prompt.
        Spec::KvCache(spec) => spec
            .prefix_tokens
            .iter()
            .map(|tokens| Work::alone(spec.prompts * 3, *tokens, spec.output_tokens))
            .collect(),
        Spec::Load(spec) => {
            let prompt = dataset.map_or(spec.prompt_tokens, Dataset::prompt_tokens);
            let cases = spec.named_cases().into_iter();
            cases.map(|(case, _)| load(spec, case, prompt, is_warmup)).collect()
        }
        Spec::Stability(spec) => vec![stability(spec, is_warmup)],
        // An answer is a code: little of what it may be.
        Spec::LongContext(spec) => {
            let depths = of(spec.depths.len() as u64);
            let contexts = spec.contexts.iter();
            contexts.map(|tokens| Work::alone(depths, *tokens, spec.max_tokens / 4)).collect()
        }
        // It sends its own: see [`foreign`].
        Spec::Command(_) => Vec::new(),
        // How long answers get is the model's: half of what they may.
        Spec::Reasoning(spec) => {
            let one = Work::alone(of(spec.instances), PUZZLE, spec.max_tokens / 2);
            vec![one; spec.kinds.len()]
        }
        Spec::ToolCalling(spec) => {
            let tasks = |scenario: &Scenario| scenario.turns() * of(spec.instances);
            let scenarios = spec.scenarios.iter();
            scenarios.map(|one| Work::alone(tasks(one), TASK, spec.max_tokens / 8)).collect()
        }
        Spec::Conversation(spec) => vec![conversation(spec, dataset)],
    }
}

fn load(spec: &Load, case: LoadCase, prompt: u64, is_warmup: bool) -> Work {
    let all = spec.requests_of(case);
    let work = |requests: u64, rounds: u64, scheduled: f64| Work {
        prompts: requests as f64 * prompt as f64,
        tokens: rounds as f64 * spec.output_tokens as f64,
        scheduled,
        looks: 1.0,
    };
    let warmup = |requests: u64| all.map_or(requests, |all| all.min(requests));
    let duration = spec.duration.unwrap_or(0.0);
    match (all, case) {
        (_, LoadCase::Concurrency(count)) if is_warmup => work(warmup(count), 1, 0.0),
        // Twice as many as are in flight at the slowest server.
        (_, LoadCase::Rate(rate)) if is_warmup => {
            let alone =
                prompt as f64 / 1000.0 * PREFILL.high + spec.output_tokens as f64 * TOKEN.high;
            let requests = warmup(OPEN_WARMUP.max((2.0 * rate * alone).ceil() as u64));
            work(requests, 1, requests as f64 / rate)
        }
        // A burst, rates that double from one request at a time on, and a burst.
        (_, LoadCase::MaxRate) if is_warmup => {
            let requests = warmup(OPEN_WARMUP);
            work(SEARCH * requests, 2 * requests, 0.0)
        }
        // Begun in that time or in what requests need, and the last one comes to its end.
        (None, LoadCase::MaxRate) => {
            work(SEARCH * STEP * IN_FLIGHT, SEARCH * STEP, SEARCH as f64 * duration)
        }
        (None, _) => work(1, 1, duration),
        (Some(requests), LoadCase::Concurrency(count)) => {
            work(requests, requests.div_ceil(count), 0.0)
        }
        (Some(requests), LoadCase::Rate(rate)) => work(requests, 1, requests as f64 / rate),
        // The first rate is that of one request at a time, and each is twice the one
        // before: together they last as long as twice as many requests, one at a time.
        (Some(requests), LoadCase::MaxRate) => {
            let prompts = SEARCH * requests.max(STEP * IN_FLIGHT);
            work(prompts, 2 * requests + SEARCH * STEP, 0.0)
        }
    }
}

fn stability(spec: &Stability, is_warmup: bool) -> Work {
    let mix = spec.mix();
    let blocks = match spec.duration {
        _ if is_warmup => 1,
        Some(_) => 2,
        None => 2 * spec.requests.div_ceil(2 * mix.len() as u64),
    };
    let sum = |length: fn(&(u64, u64)) -> u64| mix.iter().map(length).sum::<u64>();
    Work {
        prompts: blocks as f64 * sum(|(prompt, _)| *prompt) as f64,
        tokens: blocks as f64 * sum(|(_, output)| *output) as f64,
        scheduled: spec.duration.filter(|_| !is_warmup).unwrap_or(0.0),
        looks: 1.0,
    }
}

/// On average half of the longest context is history.
fn conversation(spec: &Conversation, dataset: Option<&Dataset>) -> Work {
    let longest = dataset.map_or(spec.longest(), |dataset| {
        dataset.conversation_tokens(spec.turns) + spec.turns * spec.output_tokens
    });
    Work::alone(spec.conversations * spec.turns, longest / 2, spec.output_tokens)
}

/// The program that `command` runs, where it has one.
fn foreign(workload: &Workload) -> Option<&Command> {
    match &workload.spec {
        Spec::Command(spec) if !spec.command.is_empty() => Some(spec),
        _ => None,
    }
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
        format!("prefill of 1000 tokens in {}, one prompt after another", range(PREFILL, "s")),
        format!("an output token in {}", range(TOKEN, "s")),
    ];
    if grid.workloads.iter().any(|workload| workload.dataset().is_some()) {
        assumed.push("a dataset's token in 4 bytes".to_owned());
    }
    for workload in &grid.workloads {
        match &workload.spec {
            Spec::Reasoning(_) => {
                assumed.push("answers of `reasoning` half as long as they may be".to_owned());
            }
            Spec::ToolCalling(_) => {
                assumed.push("those of `tool-calling` an eighth of it".to_owned());
            }
            Spec::LongContext(_) => {
                assumed.push("those of `long-context` a quarter of it".to_owned());
            }
            _ => {}
        }
    }
    assumed.extend(grid.workloads.iter().filter_map(foreign).map(|spec| {
        let timeout = spoken(spec.timeout);
        format!("the time of `command` is unknown: 0 to its timeout of {timeout} for each repeat")
    }));
    assumed.push("nothing of this was measured".to_owned());
    assumed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::{GridFile, ReadOptions};
    use serde_json::{Value, json};

    /// Seconds of a repeat, fast and slow, on the simulated engine at speed 10.
    fn repeat(workloads: &Value, is_warmup: bool) -> (f64, f64) {
        let name = workloads.as_object().and_then(|all| all.keys().next()).expect("one").clone();
        let kind = crate::workload::KINDS.iter().find(|kind| kind.name == name).expect("a kind");
        let grid = json!({
            "name": "x",
            "engine": {"simulated": {"model": "Qwen/Qwen3-0.6B", "gpu": "h100", "speed": 10}},
            "parameters": {"max-num-seqs": 8},
            "workloads": workloads,
            "objective": {"maximize": format!("{}.{}", kind.key, kind.metrics[0].name)},
        });
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("grid.yaml");
        std::fs::write(&path, grid.to_string()).expect("written");
        let grid = GridFile::read(&path, &ReadOptions::default())
            .unwrap_or_else(|errors| panic!("{}", errors.render(100, false)))
            .without_service();
        let of = |side: Side| seconds(&grid, &grid.workloads[0], is_warmup, 10.0, side);
        (of(|range| range.low), of(|range| range.high))
    }

    fn near(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-9, "{value} is not {expected}");
    }

    #[test]
    fn under_load_prompts_are_read_one_after_another_and_answers_written_side_by_side() {
        let load = json!({"load": {"concurrency": 64, "requests": 256, "prompt-tokens": 1000,
                                   "output-tokens": 100}});
        let (low, high) = repeat(&load, false);
        near(low, (256.0 * PREFILL.low + 400.0 * TOKEN.low) / 10.0 + AROUND.low);
        near(high, (256.0 * PREFILL.high + 400.0 * TOKEN.high) / 10.0 + AROUND.high);
        // As wide as the load, once.
        near(
            repeat(&load, true).1,
            (64.0 * PREFILL.high + 100.0 * TOKEN.high) / 10.0 + AROUND.high,
        );
    }

    #[test]
    fn a_rate_and_a_duration_take_their_time_however_fast_the_server_is() {
        let open = json!({"load": {"rate": 2, "requests": 300, "prompt-tokens": 100,
                                   "output-tokens": 10}});
        near(repeat(&open, false).0, 150.0 + AROUND.low);
        let closed = json!({"load": {"concurrency": 2, "duration": 60}});
        near(repeat(&closed, false).0, 60.0 + AROUND.low);
        let search = json!({"load": {"find-max-rate": true, "slo-ttft-ms": 500, "duration": 60}});
        near(repeat(&search, false).0, 600.0 + AROUND.low);
        // However few are asked for, each of ten rates is kept up for some request times.
        let few = json!({"load": {"find-max-rate": true, "slo-ttft-ms": 500, "requests": 3,
                                  "prompt-tokens": 1000, "output-tokens": 512}});
        let rounds = (2.0 * 3.0 + 50.0) * 512.0 * TOKEN.high;
        near(repeat(&few, false).1, (400.0 * PREFILL.high + rounds) / 10.0 + AROUND.high);
        // 76.8 + 600 ms at the slowest: 271 requests fill the pipe, and are in flight as long again.
        let wide = json!({"load": {"rate": 200, "requests": 3000, "prompt-tokens": 96,
                                   "output-tokens": 10}});
        near(repeat(&wide, true).0, 271.0 / 200.0 + AROUND.low);
        let hours = json!({"stability": {"duration": 7200}});
        near(repeat(&hours, false).1, 7200.0 + AROUND.high);
        assert!(repeat(&hours, true).1 < 60.0, "a warm-up is one block");
    }

    #[test]
    fn a_warm_up_asks_once_where_a_repeat_asks_several_times() {
        for (workload, times) in [
            (json!({"reasoning": {"instances": 5, "kinds": "logic"}}), 5.0),
            (json!({"tool-calling": {"instances": 3, "scenarios": "chain"}}), 3.0),
            (json!({"long-context": {"contexts": [10_000], "depths": [0.1, 0.9]}}), 2.0),
            (json!({"kv-cache": null}), 1.0),
        ] {
            let (kept, warmup) = (repeat(&workload, false), repeat(&workload, true));
            near(kept.1, times * warmup.1);
            near(kept.0, times * warmup.0);
        }
    }
}
