//! Answers that loop under load. The canary asks a few requests at once; some configurations
//! loop only when many are in flight, so the load's own answers are sampled. Forced to go on
//! beyond their end, sound models loop at times too: what counts is how much more often than
//! the baseline, or without one than the configuration that does so least.

use std::fmt;

use serde::Serialize;

use super::evidence::Evidence;
use crate::history::values::{kept, value};
use crate::metric::{Measurement, MetricRef, MetricValue};
use crate::statistics::{lower_bound, upper_bound};

/// In column spelling.
const LOAD: &str = "load";
/// Sampled answers from which on a configuration says how often others may loop.
const ENOUGH: u64 = 16;

/// Sampled answers of a configuration, and those of them that loop, are empty or broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sampled {
    /// The configuration.
    pub configuration: String,
    /// Those that repeat.
    pub repeating: u64,
    /// All that were judged.
    pub sampled: u64,
}

/// How many sampled answers of a load repeat, and of whom it is compared with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Repeating {
    /// `load[concurrency=8].repetition`.
    pub metric: MetricRef,
    /// Of the configuration itself.
    pub own: Sampled,
    /// Of the baseline, or without one of the configuration whose answers repeat least;
    /// `None` where it is this one, or nobody was measured so.
    pub compared: Option<Sampled>,
    /// What the first such answer shows.
    pub example: Option<String>,
}

impl Repeating {
    /// Whether it is no chance: at least twice as often, and the exact bounds (95 % each) do
    /// not meet.
    pub fn is_clear(&self) -> bool {
        let Some(compared) = &self.compared else { return false };
        let own = lower_bound(self.own.repeating, self.own.sampled);
        let other = upper_bound(compared.repeating, compared.sampled);
        let apart = own.zip(other).is_some_and(|(own, other)| own > other);
        apart && self.own.share() >= 2.0 * compared.share()
    }
}

impl Sampled {
    fn share(&self) -> f64 {
        self.repeating as f64 / self.sampled.max(1) as f64
    }
}

/// What the sampled answers of a configuration show, by case; only cases where some repeat.
pub(super) fn repeating(evidence: &Evidence<'_>, index: usize) -> Vec<Repeating> {
    let workloads = &evidence.sweep.manifest.workloads;
    let loads = workloads.iter().filter(|workload| workload.kind().key == LOAD);
    let mut cases: Vec<String> = loads.flat_map(crate::workload::Workload::cases).collect();
    cases.sort_unstable();
    cases.dedup();
    let several = cases.len() > 1;
    let of_case = |case: &String| {
        let own = sampled(evidence, index, case).filter(|own| own.repeating > 0)?;
        Some(Repeating {
            metric: MetricRef {
                workload: LOAD.to_owned(),
                case: several.then(|| case.clone()),
                name: "repetition".to_owned(),
            },
            compared: compared(evidence, index, case),
            example: example(evidence, index, case),
            own,
        })
    };
    cases.iter().filter_map(of_case).collect()
}

/// The baseline's answers, else those of the configuration that repeats least.
fn compared(evidence: &Evidence<'_>, index: usize, case: &str) -> Option<Sampled> {
    let baseline = evidence.compared_baseline();
    if baseline == Some(index) {
        return None;
    }
    let of_baseline = baseline.and_then(|at| sampled(evidence, at, case)).filter(is_enough);
    of_baseline.or_else(|| {
        let others = (0..evidence.arms.len()).filter(|at| *at != index);
        let others = others.filter_map(|at| sampled(evidence, at, case)).filter(is_enough);
        others.min_by(|a, b| a.share().total_cmp(&b.share()))
    })
}

fn is_enough(sampled: &Sampled) -> bool {
    sampled.sampled >= ENOUGH
}

/// `None` where nothing was judged.
fn sampled(evidence: &Evidence<'_>, index: usize, case: &str) -> Option<Sampled> {
    let count = |name: &str| -> u64 {
        repeats(evidence, index, case).filter_map(|it| value(it, name)).sum::<f64>() as u64
    };
    let sampled = count("sampled_answers");
    (sampled > 0).then(|| Sampled {
        configuration: evidence.arms[index].configuration.name.clone(),
        repeating: count("repeating_answers"),
        sampled,
    })
}

fn example(evidence: &Evidence<'_>, index: usize, case: &str) -> Option<String> {
    repeats(evidence, index, case).find_map(|it| match it.metrics.get("repetition_example") {
        Some(Some(MetricValue::Text(text))) => Some(text.clone()),
        _ => None,
    })
}

fn repeats<'a>(
    evidence: &Evidence<'a>,
    index: usize,
    case: &'a str,
) -> impl Iterator<Item = &'a Measurement> {
    evidence.arms[index].launches.clone().into_iter().flat_map(|launch| kept(launch, LOAD, case))
}

impl fmt::Display for Sampled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} sampled", self.repeating, self.sampled)
    }
}

/// `answers loop under load: 12 of 32 sampled, 0 of 32 of the configuration plain`.
impl fmt::Display for Repeating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "answers loop under load: {}", self.own)?;
        if let Some(case) = &self.metric.case {
            write!(f, " in {case}")?;
        }
        if let Some(compared) = &self.compared {
            write!(f, ", {compared} of {}", compared.configuration)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(own: (u64, u64), compared: Option<(u64, u64)>) -> Repeating {
        let sampled = |name: &str, (repeating, sampled)| Sampled {
            configuration: name.to_owned(),
            repeating,
            sampled,
        };
        Repeating {
            metric: "load[concurrency=8].repetition".parse().unwrap(),
            own: sampled("fast", own),
            compared: compared.map(|it| sampled("plain", it)),
            example: None,
        }
    }

    #[test]
    fn what_loops_clearly_more_often_than_the_baseline_is_no_chance() {
        assert!(of((12, 32), Some((0, 32))).is_clear());
        assert!(of((64, 64), Some((20, 64))).is_clear());
        assert!(of((8, 96), Some((0, 96))).is_clear());
        // Chance, and a model that loops anyway.
        assert!(!of((3, 32), Some((0, 32))).is_clear());
        assert!(!of((64, 64), Some((64, 64))).is_clear());
        assert!(!of((900, 1000), Some((800, 1000))).is_clear(), "not twice as often");
        assert!(!of((32, 32), None).is_clear(), "nothing to compare with");
        assert_eq!(
            of((12, 32), Some((0, 32))).to_string(),
            "answers loop under load: 12 of 32 sampled in concurrency=8, 0 of 32 sampled of plain"
        );
    }
}
