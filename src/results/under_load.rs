//! Answers that loop under load. The canary asks a few requests at once; some configurations
//! loop only when many are in flight, so the load's own answers are sampled. Forced to go on
//! beyond their end, sound models loop at times too: what counts is how much more often than
//! the baseline. Without a usable baseline it is remarked and excludes nobody: the one that
//! loops least is found by the same figures, and would be the least by chance as well.

use std::cell::OnceCell;
use std::fmt;

use serde::Serialize;

use super::evidence::Evidence;
use crate::history::values::{kept, value};
use crate::metric::{Measurement, MetricRef, MetricValue};
use crate::statistics::{SIGNIFICANCE, Share};

/// In column spelling.
const LOAD: &str = "load";
/// Sampled answers of one repeat from which on the baseline says how often others may loop.
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
    /// Repeats that they are of. These may send the same prompts, as those of a data set do: an
    /// answer that loops in each of them is one prompt that loops.
    pub repeats: u64,
}

/// How many sampled answers of a load repeat, and of whom it is compared with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Repeating {
    /// `load[concurrency=8].repetition`.
    pub metric: MetricRef,
    /// Of the configuration itself.
    pub own: Sampled,
    /// Of the baseline; `None` where there is none, it is this one, or it was not measured so.
    pub compared: Option<Sampled>,
    /// How many configurations are compared with the baseline so, in all cases together.
    pub comparisons: usize,
    /// What the first such answer shows.
    pub example: Option<String>,
}

impl Repeating {
    /// Whether it is no chance: at least twice as often as the baseline, by Fisher's exact test
    /// of the prompts of one repeat, at a level of 5 % for all comparisons together (Bonferroni).
    pub fn is_clear(&self) -> bool {
        let Some(compared) = &self.compared else { return false };
        let (own, other) = (self.own.of_one_repeat(), compared.of_one_repeat());
        let Some((own, other)) = own.zip(other) else { return false };
        let level = SIGNIFICANCE / self.comparisons.max(1) as f64;
        own.happened > 0.0
            && own.value() >= 2.0 * other.value()
            && own.p_of_difference(other) < level
    }
}

impl Sampled {
    /// The mean over the repeats, of as many prompts as one has: what is sure to be distinct.
    fn of_one_repeat(&self) -> Option<Share> {
        let tried = self.sampled.checked_div(self.repeats).filter(|it| *it > 0)?;
        let happened = self.repeating as f64 / self.sampled as f64 * tried as f64;
        Some(Share { happened, tried })
    }

    fn is_enough(&self) -> bool {
        self.of_one_repeat().is_some_and(|it| it.tried >= ENOUGH)
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
    // Most loop nowhere: the others are counted only for those that do.
    let comparisons = OnceCell::new();
    let of_case = |case: &String| {
        let own = sampled(evidence, index, case).filter(|own| own.repeating > 0)?;
        Some(Repeating {
            metric: MetricRef {
                workload: LOAD.to_owned(),
                case: several.then(|| case.clone()),
                name: "repetition".to_owned(),
            },
            compared: compared(evidence, index, case),
            comparisons: *comparisons.get_or_init(|| compared_in(evidence, &cases)),
            example: example(evidence, index, case),
            own,
        })
    };
    cases.iter().filter_map(of_case).collect()
}

/// The baseline's answers, where there are enough of them.
fn compared(evidence: &Evidence<'_>, index: usize, case: &str) -> Option<Sampled> {
    let baseline = evidence.compared_baseline().filter(|at| *at != index)?;
    sampled(evidence, baseline, case).filter(Sampled::is_enough)
}

/// How many configurations have answers that are compared with the baseline's, in all cases.
fn compared_in(evidence: &Evidence<'_>, cases: &[String]) -> usize {
    let is_compared = |index: &usize, case: &String| {
        compared(evidence, *index, case).is_some() && sampled(evidence, *index, case).is_some()
    };
    let of_case = |case| (0..evidence.arms.len()).filter(|at| is_compared(at, case)).count();
    cases.iter().map(of_case).sum()
}

/// `None` where nothing was judged.
fn sampled(evidence: &Evidence<'_>, index: usize, case: &str) -> Option<Sampled> {
    let of = |repeat: &Measurement| {
        let count = |name: &str| value(repeat, name).map_or(0, |it| it as u64);
        (count("repeating_answers"), count("sampled_answers"))
    };
    let judged: Vec<(u64, u64)> =
        repeats(evidence, index, case).map(of).filter(|(_, sampled)| *sampled > 0).collect();
    (!judged.is_empty()).then(|| Sampled {
        configuration: evidence.arms[index].configuration.name.clone(),
        repeating: judged.iter().map(|(repeating, _)| repeating).sum(),
        sampled: judged.iter().map(|(_, sampled)| sampled).sum(),
        repeats: judged.len() as u64,
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

/// `answers loop under load: 12 of 32 sampled, 0 of 32 sampled of plain`.
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
            repeats: 1,
        };
        Repeating {
            metric: "load[concurrency=8].repetition".parse().unwrap(),
            own: sampled("fast", own),
            compared: compared.map(|it| sampled("plain", it)),
            comparisons: 1,
            example: None,
        }
    }

    #[test]
    fn what_loops_clearly_more_often_than_the_baseline_is_no_chance() {
        assert!(of((12, 32), Some((0, 32))).is_clear());
        assert!(of((64, 64), Some((20, 64))).is_clear());
        assert!(of((8, 64), Some((0, 64))).is_clear());
        // Chance, and a model that loops anyway.
        assert!(!of((3, 32), Some((0, 32))).is_clear());
        assert!(!of((0, 32), Some((0, 32))).is_clear());
        assert!(!of((64, 64), Some((64, 64))).is_clear());
        assert!(!of((900, 1000), Some((800, 1000))).is_clear(), "not twice as often");
        assert!(!of((32, 32), None).is_clear(), "nothing to compare with");
        assert_eq!(
            of((12, 32), Some((0, 32))).to_string(),
            "answers loop under load: 12 of 32 sampled in concurrency=8, 0 of 32 sampled of plain"
        );
    }

    #[test]
    fn a_prompt_that_loops_in_each_repeat_is_one() {
        let repeated = |own: (u64, u64), repeats| {
            let mut of = of(own, Some((0, own.1)));
            for sampled in [Some(&mut of.own), of.compared.as_mut()].into_iter().flatten() {
                sampled.repeats = repeats;
            }
            of
        };
        assert!(repeated((9, 576), 1).is_clear(), "nine of 576 prompts");
        assert!(!repeated((9, 576), 9).is_clear(), "one of 64, nine times");
        assert!(repeated((90, 576), 9).is_clear(), "ten of 64");
        let few =
            Sampled { configuration: "plain".to_owned(), repeating: 0, sampled: 40, repeats: 4 };
        assert!(!few.is_enough(), "ten prompts, whatever the number of repeats");
    }

    #[test]
    fn of_many_that_are_compared_one_loops_more_often_by_chance() {
        let mut one = of((6, 32), Some((0, 32)));
        assert!(one.is_clear());
        one.comparisons = 60;
        assert!(!one.is_clear());
        one.own.repeating = 20;
        assert!(one.is_clear(), "what loops on most prompts is found among many");
    }
}
