//! What failed, grouped by its cause, with advice for each. The names of a group are one
//! pattern where a pattern says which they are.

use serde::Serialize;

use crate::history::launch::FailureClass;
use crate::history::record::Manifest;
use crate::metric::MetricRef;
use crate::results::exclusion::{Exclusion, MissingValue};
use crate::results::ranked::{RankedConfiguration, Ranking};
use crate::results::reading::Unfinished;
use crate::results::remark::Remark;

/// Configurations that share a cause.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FailedGroup {
    /// Their names as one pattern (`util0.95-*`); `None` where no pattern tells them from
    /// the others.
    pub pattern: Option<String>,
    /// Their names.
    pub configurations: Vec<String>,
    /// Configurations of the sweep.
    pub of: usize,
    /// Launches that booted and lived, where it is about launches; of all of them together.
    pub lived: Option<Lived>,
    /// Repeats that failed, where it is about repeats; of all of them together.
    pub repeats: Option<u32>,
    /// Whether they have a rank all the same.
    pub ranked: bool,
    /// Why.
    pub cause: Cause,
    /// Longest context in tokens that fits all of them, by the engine's estimates.
    pub estimated_max_model_len: Option<u64>,
    /// What to do; `None` where nothing is known to help.
    pub advice: Option<&'static str>,
    /// Whether later launches showed that the cause is there no more.
    pub passed: bool,
}

/// Launches that booted and lived until they were stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Lived {
    /// How many.
    pub lived: u32,
    /// Of how many that did not fail by what others did.
    pub launches: u32,
}

/// Why configurations have no rank, or lost launches or repeats.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// Launches failed.
    Launch {
        /// The class of the last failure.
        class: FailureClass,
    },
    /// It was not launched.
    Skipped {
        /// Why not.
        reason: String,
    },
    /// Repeats failed: too many where there is no rank.
    Repeats,
    /// No repeat is valid, or none has a value.
    NotMeasured {
        /// Of this metric.
        metric: MetricRef,
    },
    /// Answers loop under load, clearly more often than those that they are compared with.
    LoopsUnderLoad,
    /// Too many values are missing.
    Values {
        /// Of this metric.
        metric: MetricRef,
    },
    /// Values are zero or negative, and have no logarithm.
    NotPositive {
        /// Of this metric.
        metric: MetricRef,
    },
    /// It ran with other flags than it asked for.
    Overridden,
    /// The whole interval is beyond a bound.
    BoundBroken {
        /// Of this metric.
        metric: MetricRef,
    },
}

impl Cause {
    /// Whether launches failed.
    pub fn is_launch(&self) -> bool {
        matches!(self, Self::Launch { .. } | Self::Skipped { .. })
    }
}

impl FailedGroup {
    /// How many configurations it has.
    pub fn count(&self) -> usize {
        self.configurations.len()
    }
}

/// The groups, in the order of their first configurations in the ranking: without a rank
/// first.
pub(super) fn failed(ranking: &Ranking, manifest: &Manifest, exported: bool) -> Vec<FailedGroup> {
    let of = ranking.rows.len();
    let mut groups: Vec<FailedGroup> = Vec::new();
    let (ranked, excluded): (Vec<_>, Vec<_>) = ranking.rows.iter().partition(|row| row.eligible);
    for row in excluded.into_iter().chain(ranked) {
        for (cause, estimate) in causes(row) {
            let lived = matches!(cause, Cause::Launch { .. })
                .then_some(Lived { lived: row.lived, launches: row.settled });
            let repeats = matches!(cause, Cause::Repeats).then_some(row.failed_repeats);
            match groups.iter_mut().find(|it| it.cause == cause && it.ranked == row.eligible) {
                Some(group) => {
                    group.configurations.push(row.name.clone());
                    group.lived = group.lived.zip(lived).map(|(a, b)| Lived {
                        lived: a.lived + b.lived,
                        launches: a.launches + b.launches,
                    });
                    group.repeats = group.repeats.zip(repeats).map(|(a, b)| a + b);
                    let known = group.estimated_max_model_len;
                    group.estimated_max_model_len = known.zip(estimate).map(|(a, b)| a.min(b));
                }
                None => groups.push(FailedGroup {
                    pattern: None,
                    configurations: vec![row.name.clone()],
                    of,
                    lived,
                    repeats,
                    ranked: row.eligible,
                    advice: None,
                    passed: false,
                    cause,
                    estimated_max_model_len: estimate,
                }),
            }
        }
    }
    let names: Vec<&str> = manifest.configurations.iter().map(|it| it.name.as_str()).collect();
    for group in &mut groups {
        group.pattern = pattern(&group.configurations, &names);
        group.advice = advice(&group.cause, group.estimated_max_model_len, exported);
        // What passed, and left them a rank, needs nothing to be done.
        if group.ranked && is_of_environment(&group.cause) && ranking.environment_works {
            (group.advice, group.passed) = (None, true);
        }
    }
    groups
}

/// The groups that a configuration is in, and the context that would fit: one without a
/// rank, where it has none.
fn causes(row: &RankedConfiguration) -> Vec<(Cause, Option<u64>)> {
    if !row.eligible {
        return exclusion(row).into_iter().collect();
    }
    let launch = row.remarks.iter().find_map(|remark| match remark {
        Remark::FailedLaunches { class, .. } => Some(Cause::Launch { class: *class }),
        _ => None,
    });
    let repeats = (row.failed_repeats > 0).then_some(Cause::Repeats);
    launch.into_iter().chain(repeats).map(|cause| (cause, None)).collect()
}

fn exclusion(row: &RankedConfiguration) -> Option<(Cause, Option<u64>)> {
    row.exclusions.iter().find_map(|exclusion| {
        Some(match exclusion {
            Exclusion::NotMeasured { metric, cause } => return unmeasured(metric, cause),
            Exclusion::FailedLaunches { class, .. } => (Cause::Launch { class: *class }, None),
            Exclusion::GateFailed { .. } => {
                (Cause::Launch { class: FailureClass::GateFailed }, None)
            }
            Exclusion::LoopsUnderLoad(_) => (Cause::LoopsUnderLoad, None),
            Exclusion::FailedRepeats(_) => (Cause::Repeats, None),
            Exclusion::MissingValues(missing) => {
                (Cause::Values { metric: missing.metric.clone() }, None)
            }
            Exclusion::NotPositive { metric, .. } => {
                (Cause::NotPositive { metric: metric.clone() }, None)
            }
            Exclusion::Violated { bounded, .. } => {
                (Cause::BoundBroken { metric: bounded.metric.clone() }, None)
            }
            Exclusion::Overridden { .. } => (Cause::Overridden, None),
            // It is another name of a ranked one.
            Exclusion::RanAs { .. } => return None,
        })
    })
}

fn unmeasured(metric: &MetricRef, cause: &MissingValue) -> Option<(Cause, Option<u64>)> {
    let metric = || metric.clone();
    Some(match cause {
        MissingValue::LaunchFailed { class, estimated_max_model_len, .. } => {
            (Cause::Launch { class: *class }, *estimated_max_model_len)
        }
        MissingValue::Skipped { reason } => (Cause::Skipped { reason: reason.clone() }, None),
        // What is still to come has not failed.
        MissingValue::NotLaunched
        | MissingValue::Cut { .. }
        | MissingValue::LeftOut { .. }
        | MissingValue::NotFinished { .. } => return None,
        MissingValue::AmbiguousCase
        | MissingValue::NoValidRepeat { .. }
        | MissingValue::NoValue { .. }
        | MissingValue::Unexplained => (Cause::NotMeasured { metric: metric() }, None),
    })
}

/// What a person can do, as an instruction; classes whose log alone tells name the log.
/// `exported`: the tables are there to be read.
fn advice(cause: &Cause, estimate: Option<u64>, exported: bool) -> Option<&'static str> {
    Some(match cause {
        Cause::Launch { class } => match class {
            FailureClass::KvCacheTooSmall if estimate.is_some() => "lower max-model-len",
            FailureClass::KvCacheTooSmall => "raise gpu-memory-utilization or lower max-model-len",
            FailureClass::OutOfMemory => "lower gpu-memory-utilization or max-num-seqs",
            FailureClass::MemoryNotFree | FailureClass::GpuMemoryChanged => {
                "stop what else uses the GPU"
            }
            FailureClass::BadFlag => "take the flag out, or correct its value",
            FailureClass::FlagNotApplied => "see what starts vLLM: it changes the flags",
            FailureClass::Credentials => "set HF_TOKEN and accept the model's licence",
            FailureClass::NoGpu => "check the NVIDIA runtime and the GPU reservation",
            FailureClass::CompileCache => "remove the compile cache",
            FailureClass::SharedMemory => "set `ipc: host` or a larger `shm_size`",
            FailureClass::HostMemory => "give the host or the container more memory",
            FailureClass::Killed => "find out who stopped it",
            FailureClass::Timeout => "read engine.log, or allow more time to boot",
            FailureClass::TimeLimit => "raise `hosts: slurm: time`",
            FailureClass::Environment => "run doctor on the grid",
            FailureClass::GateFailed => "read the answer in the journal: no speed makes up for it",
            FailureClass::NotServing => "check the key and the model's name",
            FailureClass::EngineDied | FailureClass::NoProgress | FailureClass::Unknown => {
                "read engine.log"
            }
        },
        Cause::Repeats | Cause::NotMeasured { .. } | Cause::Values { .. } if exported => {
            "read the reasons in results.csv"
        }
        Cause::Repeats | Cause::NotMeasured { .. } | Cause::Values { .. } => {
            "read the reasons in the tables that `export` writes"
        }
        Cause::LoopsUnderLoad => "read `load.repetition_example`: no speed makes up for it",
        Cause::Overridden => "ask for the values that it ran with",
        Cause::BoundBroken { .. } | Cause::Skipped { .. } | Cause::NotPositive { .. } => {
            return None;
        }
    })
}

/// Configurations that have no value yet, as their launch has no end; `runs`: somebody works
/// on the sweep.
pub(super) fn unfinished(ranking: &Ranking, runs: bool) -> Unfinished {
    let mut unfinished = Unfinished::default();
    for row in &ranking.rows {
        let open = row.exclusions.iter().find_map(|exclusion| match exclusion {
            Exclusion::NotMeasured {
                cause: MissingValue::NotFinished { is_open, is_job }, ..
            } => Some((*is_open, *is_job)),
            _ => None,
        });
        match open {
            Some((true, _)) if runs => unfinished.running.push(row.name.clone()),
            // Whether its job still runs is not in the files.
            Some((true, true)) | None => {}
            Some(_) => unfinished.interrupted.push(row.name.clone()),
        }
    }
    unfinished
}

fn is_of_environment(cause: &Cause) -> bool {
    matches!(cause, Cause::Launch { class: FailureClass::Environment })
}

/// One pattern for the names: the segments that they share, `*` for the others. `None`
/// where that is nothing, or where it also fits a name that is not one of them.
fn pattern(group: &[String], all: &[&str]) -> Option<String> {
    let (first, others) = group.split_first()?;
    if others.is_empty() {
        return None;
    }
    let split: Vec<Vec<&str>> = group.iter().map(|name| segments(name)).collect();
    let prefix = shared(split.iter().map(|it| it.iter().copied()).collect());
    let suffix = shared(split.iter().map(|it| it.iter().rev().copied()).collect());
    let shortest = split.iter().map(Vec::len).min()?;
    let suffix = suffix.min(shortest - prefix.min(shortest));
    let own = segments(first);
    let head: String = own[..prefix].concat();
    let tail: String = own[own.len() - suffix..].concat();
    let pattern = format!("{head}*{tail}");
    let in_group = |name: &&&str| group.iter().any(|it| it == **name);
    let fits = |name: &&str| {
        name.len() >= head.len() + tail.len() && name.starts_with(&head) && name.ends_with(&tail)
    };
    let strangers = all.iter().filter(|name| !in_group(name)).any(fits);
    (prefix + suffix > 0 && !strangers).then_some(pattern)
}

/// The parts of a name, each with the mark (`-` or `_`) that ends it.
fn segments(name: &str) -> Vec<&str> {
    name.split_inclusive(['-', '_']).collect()
}

/// How many segments all begin with.
fn shared<'a>(mut names: Vec<impl Iterator<Item = &'a str>>) -> usize {
    let mut count = 0;
    loop {
        let mut next = names.iter_mut().map(Iterator::next);
        let Some(Some(first)) = next.next() else { return count };
        if !next.all(|other| other == Some(first)) {
            return count;
        }
        count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(group: &[&str], others: &[&str]) -> Option<String> {
        let group: Vec<String> = group.iter().map(|it| (*it).to_owned()).collect();
        let mut all: Vec<&str> = group.iter().map(String::as_str).collect();
        all.extend(others);
        pattern(&group, &all)
    }

    #[test]
    fn a_pattern_is_of_whole_segments_and_fits_no_other_name() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(of(&["util0.95-a", "util0.95-b"], &["util0.9-a"]), some("util0.95-*"));
        assert_eq!(of(&["a-seqs8", "b-seqs8"], &["a-seqs16"]), some("*seqs8"));
        assert_eq!(of(&["x_a_8", "x_b_8"], &["y_a_8"]), some("x_*8"));
        // Never inside a value, and never a stranger.
        assert_eq!(of(&["util0.95", "util0.9"], &[]), None);
        assert_eq!(of(&["util0.95-a", "util0.95-b"], &["util0.95-c"]), None);
        assert_eq!(of(&["alone-a"], &["b"]), None);
        assert_eq!(of(&["a-b", "a"], &[]), None);
    }
}
