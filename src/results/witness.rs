//! What explains the time effect of a machine that moved: the witness among the metrics of
//! resources that went with its level, launch by launch. Only witnesses that go with a slower
//! machine in the direction that can slow it down are looked at, so that what merely follows
//! the server's own work is not called a cause. The test is [`strongest`].

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::evidence::Evidence;
use super::level::Residual;
use crate::history::values::{kept, value};
use crate::metric::{Goal, MetricRef};
use crate::statistics::{self, Correlated, strongest};

/// A witness of the machine.
struct Witness {
    /// Name of the metric in any workload.
    metric: &'static str,
    /// What it is, for people.
    words: &'static str,
    /// 1 where more of it slows a machine down, -1 where less does.
    harm: f64,
}

const fn more(metric: &'static str, words: &'static str) -> Witness {
    Witness { metric, words, harm: 1.0 }
}

const fn less(metric: &'static str, words: &'static str) -> Witness {
    Witness { metric, words, harm: -1.0 }
}

const WITNESSES: [Witness; 18] = [
    more("host_cpu_mean", "the host's CPU"),
    more("host_cpu_others_mean", "the CPU that others use on the host"),
    more("host_cpu_pressure_mean", "the time that the host's CPU was waited for"),
    more("host_load_mean", "the host's load per core"),
    more("host_steal_mean", "the CPU that the hypervisor gives to others"),
    more("host_iowait_mean", "the time that the host waited for disks"),
    less("host_memory_available_mean", "the host's available memory"),
    more("host_thermal_throttles", "the times that heat slowed the host's CPU down"),
    more("client_throttled_share", "the CPU limit of this program"),
    more("engine_throttled_share", "the CPU limit of the server's container"),
    more("gpu_throttled_share", "the slowing down of the GPUs"),
    more("gpu_temperature_mean", "the GPUs' temperature"),
    less("gpu_sm_clock_mean", "the GPUs' clock"),
    more("gpu_other_processes_max", "other processes on the GPUs"),
    more("gpu_other_memory_max", "the GPU memory of other processes"),
    more("windows_cpu_mean", "the CPU of the Windows host"),
    more("windows_cpu_others_mean", "the CPU that others use on the Windows host"),
    more("windows_vmmem_cpu_mean", "the CPU of the WSL2 machine"),
];

/// A witness that fewer launches than this part of all have is not looked at.
const KNOWN: f64 = 0.75;

/// From this number of launches on the slow and the fast ones are a third each, else a half.
const THIRDS: usize = 9;

/// The witness that went with the machine's level.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WitnessReport {
    /// The objective.
    pub objective: MetricRef,
    /// Whether a slow machine makes it fall.
    pub falls: bool,
    /// Name of the witness, a metric of the same workload.
    pub witness: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// The same in words.
    pub words: &'static str,
    /// Correlation of the objective's logarithm with the witness over the launches,
    /// configurations taken out.
    pub r: f64,
    /// p-value, adjusted for the number of witnesses.
    pub p: f64,
    /// Witnesses that were looked at.
    pub looked_at: usize,
    /// Launches that were compared.
    pub launches: usize,
    /// Mean of the witness in the slow launches.
    pub slow: f64,
    /// Mean in the fast ones.
    pub fast: f64,
    /// Launches that are called slow; as many are called fast.
    pub slow_launches: usize,
}

/// The witness that explains what is left of the launches; `None` where none is shown to.
pub(super) fn explain(evidence: &Evidence<'_>, rests: &[Residual]) -> Option<WitnessReport> {
    let objective = &evidence.metrics[0];
    let case = evidence.measured[0].case.as_deref()?;
    let seen = Seen::of(evidence, objective, case, rests)?;
    let goal = evidence.sweep.manifest.objective.goal;
    // In logarithms: more is slower.
    let slower = if goal == Goal::Minimize { 1.0 } else { -1.0 };
    let level: Vec<f64> = seen.launches.iter().map(|rest| slower * rest.left).collect();
    let harmful = |(witness, values): &(&Witness, Vec<f64>)| -> Vec<f64> {
        values.iter().map(|value| witness.harm * value).collect()
    };
    let series: Vec<Vec<f64>> = seen.witnesses.iter().map(harmful).collect();
    let (places, count) = numbered(&seen.launches);
    let Correlated { series: at, r, p } = strongest(&level, &places, count, &series)?;
    let (witness, values) = &seen.witnesses[at];
    let (slow, fast, slow_launches) = slow_and_fast(&level, values)?;
    let known = MetricRef::of(&objective.workload, witness.metric);
    Some(WitnessReport {
        objective: objective.clone(),
        falls: goal == Goal::Maximize,
        witness: witness.metric,
        unit: known.known()?.unit,
        words: witness.words,
        r: slower * witness.harm * r,
        p,
        looked_at: series.len(),
        launches: level.len(),
        slow,
        fast,
        slow_launches,
    })
}

/// Witnesses over the launches that have all of them.
struct Seen<'a> {
    launches: Vec<&'a Residual>,
    witnesses: Vec<(&'static Witness, Vec<f64>)>,
}

impl<'a> Seen<'a> {
    fn of(
        evidence: &Evidence<'_>,
        objective: &MetricRef,
        case: &str,
        rests: &'a [Residual],
    ) -> Option<Self> {
        let launches = &evidence.sweep.launches;
        let by_number: BTreeMap<u32, _> = launches.iter().map(|it| (it.launch, it)).collect();
        let mean = |number: u32, witness: &Witness| -> Option<f64> {
            let repeats = kept(by_number.get(&number)?, &objective.workload, case)
                .filter(|repeat| value(repeat, &objective.name).is_some());
            let values: Vec<f64> = repeats.filter_map(|it| value(it, witness.metric)).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let all = WITNESSES.iter().map(|witness| {
            let means: Vec<Option<f64>> = rests.iter().map(|it| mean(it.launch, witness)).collect();
            (witness, means)
        });
        let is_known = |(_, means): &(&Witness, Vec<Option<f64>>)| {
            means.iter().flatten().count() as f64 >= KNOWN * rests.len() as f64
        };
        let known: Vec<(&Witness, Vec<Option<f64>>)> = all.filter(is_known).collect();
        let complete = |at: &usize| known.iter().all(|(_, means)| means[*at].is_some());
        let kept: Vec<usize> = (0..rests.len()).filter(complete).collect();
        let witnesses = known
            .iter()
            .map(|(witness, means)| (*witness, kept.iter().filter_map(|at| means[*at]).collect()))
            .collect();
        let seen = Self { launches: kept.iter().map(|at| &rests[*at]).collect(), witnesses };
        (!known.is_empty() && kept.len() >= statistics::LEAST_LAUNCHES).then_some(seen)
    }
}

/// The configurations of launches as numbers from 0, and how many there are.
fn numbered(launches: &[&Residual]) -> (Vec<usize>, usize) {
    let mut known: BTreeMap<usize, usize> = BTreeMap::new();
    let places = launches
        .iter()
        .map(|launch| {
            let next = known.len();
            *known.entry(launch.place).or_insert(next)
        })
        .collect();
    (places, known.len())
}

/// Means of a witness in the slowest and in the fastest launches, and how many each are.
fn slow_and_fast(level: &[f64], values: &[f64]) -> Option<(f64, f64, usize)> {
    let mut order: Vec<usize> = (0..level.len()).collect();
    order.sort_by(|a, b| level[*b].total_cmp(&level[*a]));
    let group = level.len() / if level.len() >= THIRDS { 3 } else { 2 };
    let mean = |of: &[usize]| of.iter().map(|at| values[*at]).sum::<f64>() / of.len() as f64;
    let (slow, fast) = (order.get(..group)?, order.get(order.len() - group..)?);
    (group > 0).then(|| (mean(slow), mean(fast), group))
}

impl fmt::Display for WitnessReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let went = if self.falls { "fell" } else { "rose" };
        let (slow, fast) = (self.figure(self.slow), self.figure(self.fast));
        write!(
            f,
            "{} {went} with {} (r = {:.2}: {slow} in slow launches, {fast} in fast ones)",
            self.objective.name, self.words, self.r
        )
    }
}

impl WitnessReport {
    /// A value of the witness, for people.
    pub fn figure(&self, value: f64) -> String {
        match self.unit {
            "share" => format!("{:.0}%", value * 100.0),
            "bytes" => format!("{:.1} GB", value / 1e9),
            "1" | "ratio" => format!("{value:.1}"),
            unit => format!("{value:.1} {unit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::KINDS;

    #[test]
    fn every_witness_is_in_the_catalogue_of_every_workload() {
        for kind in KINDS {
            for witness in &WITNESSES {
                let metric = MetricRef::of(kind.key, witness.metric);
                assert!(metric.known().is_some(), "{metric}");
            }
        }
    }
}
