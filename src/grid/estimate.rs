//! How long a grid may take, by assumption: what each repeat asks of a server, as the
//! workloads say it, with boots and stops around it. Nothing of this is measured, and
//! the plan says so.

use super::budget::Part;
use super::duration::spoken;
use super::{EngineBlock, Grid};
use crate::clean::counted;
use crate::configuration::Configuration;
use crate::gate::Gate;
use crate::strategy::{Remaining, StrategySpec};
use crate::workload::{PREFILL, Seconds, TOKEN, Workload};

/// Start to first answer: 80 s with warm caches to 460 s without, as seen
/// of a 32B model on two RTX 4090.
const REAL_BOOT: Seconds = Seconds { low: 80.0, high: 460.0 };
/// The simulator's boot before it is divided by its speed.
const SIMULATED_BOOT: Seconds = Seconds { low: 10.0, high: 120.0 };
/// From SIGTERM until the process has exited and the GPU's memory is free again.
const REAL_STOP: Seconds = Seconds { low: 5.0, high: 60.0 };

/// How much a grid will launch, and how long that may take.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Estimate {
    /// At the least and at the most: they differ where the sweep chooses its launches.
    pub(super) launches: (u64, u64),
    /// Of the fewest launches, if everything is as fast as can be assumed.
    pub(super) low_seconds: f64,
    /// Of the most launches, if everything is as slow as can be assumed.
    pub(super) high_seconds: f64,
    /// Of the most launches, if everything is as fast as can be assumed.
    most_fast_seconds: f64,
    /// Of one launch with every gate and the most repeats, if everything is as slow as can be
    /// assumed.
    pub(super) longest_seconds: f64,
    /// Launches that run beside each other on a cluster, on average; 1 on this machine.
    pub(super) beside: f64,
    pub(super) assumptions: Vec<String>,
}

impl Estimate {
    /// Launches that each part of the budget allows the strategy to begin, at the least and at the
    /// most: none is begun after it, and never more than the strategy asks for.
    pub(super) fn begun_within(&self, grid: &Grid) -> Vec<(Part, (u64, u64))> {
        let most = self.launches.1;
        let within = |limit: f64| {
            (begun(limit, self.high_seconds, most), begun(limit, self.most_fast_seconds, most))
        };
        let gpus = mean_gpus(&grid.configurations);
        let limits = grid.strategy_limits();
        let time = limits.seconds.map(|it| (Part::Time, within(it as f64 * self.beside)));
        let count = limits.besides.launches.map(|it| u64::from(it).min(most));
        let count = count.map(|it| (Part::Launches, (it, it)));
        let hours = limits.besides.gpu_hours.map(|it| (Part::GpuHours, within(it * 3600.0 / gpus)));
        [time, count, hours].into_iter().flatten().collect()
    }

    /// Seconds of one launch, at the least and at the most.
    pub(super) fn of_one(&self) -> (f64, f64) {
        let most = self.launches.1.max(1) as f64;
        (self.most_fast_seconds / most, self.high_seconds / most)
    }

    /// With the grid's own strategy.
    pub(super) fn of(grid: &Grid) -> Self {
        Self::by(grid, &grid.strategy)
    }

    /// With another one.
    pub(super) fn by(grid: &Grid, strategy: &StrategySpec) -> Self {
        let Remaining { low, high } = strategy.expected_launches(&grid.sizes());
        let launches = (u64::from(low), u64::from(high));
        let at_once = grid.hosts.as_ref().map_or(1, |it| it.at_once);
        let rounds = strategy.rounds(&grid.sizes(), at_once);
        let (boot, stop, speed) = match &grid.engine {
            EngineBlock::Docker(_) | EngineBlock::Process(_) => (REAL_BOOT, REAL_STOP, 1.0),
            EngineBlock::Simulated(block) => {
                (SIMULATED_BOOT, Seconds { low: 0.0, high: 0.1 }, block.speed)
            }
        };
        let repeats = |workload: &Workload, kept: u32| {
            let kept = workload.repeats.unwrap_or(u64::from(kept));
            let one = |is_warmup| -> Seconds {
                let works = workload.cost(&grid.datasets, is_warmup).into_iter();
                works.map(|work| work.seconds(speed)).sum()
            };
            one(false) * kept as f64 + one(true) * workload.warmup as f64
        };
        let of_each =
            |kept: u32| -> Seconds { grid.workloads.iter().map(|it| repeats(it, kept)).sum() };
        let measured = of_each(strategy.repeats());
        let all = |launches: u64| {
            let gates = Gate::ALL.into_iter().map(|gate| {
                let first = launches.min(grid.configurations.len() as u64);
                let times = if gate.is_of_each_launch() { launches } else { first };
                grid.gates.work(gate).seconds(speed) * times as f64
            });
            (boot * (1.0 / speed) + measured + stop) * launches as f64 + gates.sum::<Seconds>()
        };
        let (fewest, most) = (all(launches.0), all(launches.1));
        let gates = Gate::ALL.into_iter().map(|gate| grid.gates.work(gate).seconds(speed));
        let longest = boot * (1.0 / speed) + of_each(strategy.most_repeats()) + stop;
        let longest = longest + gates.sum::<Seconds>();
        Self {
            launches,
            low_seconds: fewest.low,
            high_seconds: most.high,
            most_fast_seconds: most.low,
            longest_seconds: longest.high,
            beside: f64::from(high.max(1)) / f64::from(rounds.high.max(1)),
            assumptions: assumptions(grid, boot, speed),
        }
    }
}

/// Launches of so many that are begun within a budget, where all of them take so many seconds.
pub(super) fn begun(budget: f64, all_seconds: f64, launches: u64) -> u64 {
    let begun = (budget / all_seconds * launches as f64).ceil();
    if begun < launches as f64 { begun as u64 } else { launches }
}

/// GPUs of a launch, on average over the configurations: at least one.
pub fn mean_gpus(configurations: &[Configuration]) -> f64 {
    let all: f64 = configurations.iter().map(|it| f64::from(it.gpus())).sum();
    (all / configurations.len().max(1) as f64).max(1.0)
}

/// Which parts may be the first to end a sweep of so many launches: none where all are begun.
pub(super) fn ends_first(begun: &[(Part, (u64, u64))], launches: u64) -> Vec<Part> {
    let end = |of: fn(&(u64, u64)) -> u64| begun.iter().map(|(_, it)| of(it)).min();
    let (least, most) = (end(|it| it.0), end(|it| it.1));
    let ends = |it: &&(Part, (u64, u64))| {
        let slow = Some(it.1.0) == least && it.1.0 < launches;
        let fast = Some(it.1.1) == most && it.1.1 < launches;
        slow || fast
    };
    begun.iter().filter(ends).map(|it| it.0).collect()
}

/// Seconds that a gate takes, by assumption.
pub(super) fn of_gate(grid: &Grid, gate: Gate) -> Seconds {
    let speed = match &grid.engine {
        EngineBlock::Docker(_) | EngineBlock::Process(_) => 1.0,
        EngineBlock::Simulated(block) => block.speed,
    };
    grid.gates.work(gate).seconds(speed)
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
        if let Some(part) = workload.assumption() {
            let name = workload.kind().name;
            assumed.push(format!("answers of `{name}` {part} of its `max-tokens` long"));
        }
    }
    for workload in &grid.workloads {
        let works = workload.cost(&grid.datasets, false);
        if let Some(work) = works.iter().find(|work| work.program > 0.0) {
            let (name, timeout) = (workload.kind().name, spoken(work.program));
            assumed.push(format!(
                "the time of `{name}` is unknown: 0 to its timeout of {timeout} for each repeat"
            ));
        }
    }
    if grid.gates.has(Gate::Survival) {
        assumed.push("`survival` without compiling, and without its longest prompt".to_owned());
    }
    if grid.strategy.chooses_repeats() {
        assumed.push(format!("`repeats: auto` is {}", counted(grid.strategy.repeats(), "repeat")));
    }
    assumed.push("nothing of this was measured".to_owned());
    assumed
}

impl Grid {
    /// Seconds of the longest launch by assumption: each gate and most repeats are made in it.
    pub fn longest_launch_seconds(&self) -> f64 {
        Estimate::of(self).longest_seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_that_leaves_the_fewest_launches_ends_first() {
        let all = [(Part::Time, (20, 50)), (Part::Launches, (40, 40)), (Part::GpuHours, (60, 96))];
        assert_eq!(ends_first(&all, 96), [Part::Time, Part::Launches], "slow, and fast");
        assert_eq!(ends_first(&all[1..], 96), [Part::Launches]);
        assert_eq!(ends_first(&all, 20), [], "all are begun");
    }

    #[test]
    fn gpus_are_a_mean_and_at_least_one() {
        let two = [("tensor-parallel-size".to_owned(), 2.into())].into_iter().collect();
        let two = Configuration { flags: two, ..Configuration::default() };
        assert!((mean_gpus(&[two, Configuration::default()]) - 1.5).abs() < 1e-12);
        assert!((mean_gpus(&[]) - 1.0).abs() < 1e-12);
    }
}
