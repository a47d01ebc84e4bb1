//! Repeats during which others saturated the host, or the client itself was late: how they
//! are known, and what they can keep from being decided, as data with its one wording. When
//! they do is in `undecided`.

use crate::clean::counted;
use std::fmt;

use serde::Serialize;

use super::evidence::Evidence;
use super::machine::DesignLimit;
use crate::history::values::{kept, value};
use crate::metric::{CLIENT_LATE, Measurement, Status};

/// The host's CPU from which it is saturated, as a share.
const SATURATED: f64 = 0.9;
/// The part of it that others must use for the saturation to be theirs.
const OTHERS: f64 = 0.2;
/// CPU that a hypervisor gives to others, as a share, from which it is missed.
const STOLEN: f64 = 0.1;
/// Share of the time that something waited for a core, from which it counts as saturated.
const PRESSED: f64 = 0.5;
/// More late repeats than this part of what was tried say that this client measures itself.
const MAX_LATE: f64 = 0.25;

/// Whether others saturated the host during a repeat: `None` where it was not sampled, and where
/// the CPU was full and who used it is not known.
///
/// They did where the CPU was 90 % busy or waited for half of the time, and others used 20 % of
/// it; where a hypervisor gave 10 % to others; and likewise on the Windows host of WSL2.
pub fn is_disturbed(repeat: &Measurement) -> Option<bool> {
    let of = |name| crate::history::values::number(repeat, name);
    let at_least = |name, least: f64| of(name).map(|value| value >= least);
    let full =
        either(at_least("host_cpu_mean", SATURATED), at_least("host_cpu_pressure_mean", PRESSED));
    let by_others = both(full, at_least("host_cpu_others_mean", OTHERS));
    let on_windows =
        both(at_least("windows_cpu_mean", SATURATED), at_least("windows_cpu_others_mean", OTHERS));
    let shown = either(either(by_others, at_least("host_steal_mean", STOLEN)), on_windows);
    // Where the CPU was full and who used it is not known, nothing is known.
    let unknown = full == Some(true) && by_others.is_none();
    shown.filter(|disturbed| *disturbed || !unknown)
}

/// True where one is; unknown where none is known.
fn either(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a || b),
        (known, None) | (None, known) => known,
    }
}

fn both(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    Some(a? && b?)
}

/// Repeats of one configuration that others disturbed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DisturbedRepeats {
    /// Its name.
    pub configuration: String,
    /// Repeats of the objective during which others saturated the host.
    pub disturbed: usize,
    /// Repeats that count.
    pub repeats: usize,
    /// Mean CPU of the host during the marked ones, as a share.
    pub host_cpu: Option<f64>,
    /// Mean part of it that others used.
    pub others: Option<f64>,
}

/// Repeats of one configuration that were void since the client itself was late.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LateRepeats {
    /// Its name.
    pub configuration: String,
    /// How many were void for it.
    pub late: usize,
    /// Repeats that were tried.
    pub repeats: usize,
}

/// Why nothing can be decided.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Undecided {
    /// Others saturated the host, and the design cannot separate that.
    Disturbed {
        /// Configurations with marked repeats.
        configurations: Vec<DisturbedRepeats>,
        /// Why it cannot be separated.
        because: Inseparable,
    },
    /// The client itself was late.
    ClientLate {
        /// Configurations with such repeats.
        configurations: Vec<LateRepeats>,
    },
    /// No chain of common hosts connects them with rank 1: a difference may be that of hosts.
    Apart {
        /// Rank 1.
        first: String,
        /// The others.
        configurations: Vec<String>,
    },
    /// Even a large difference would not have been seen.
    TooWide {
        /// The smallest difference that can be seen, as a factor.
        factor: f64,
        /// Launches of a configuration, as a rule.
        launches: usize,
        /// Whether the difference that the ranking shows is smaller than that.
        hides_rank_1: bool,
    },
}

/// Why others cannot be separated from a configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum Inseparable {
    /// The design does not.
    Design {
        /// What is wrong with it.
        limits: Vec<DesignLimit>,
    },
    /// No time effect is taken out.
    NoTimeEffect,
    /// They disturbed one configuration far more than another.
    Uneven,
}

impl Undecided {
    /// Whether a difference that the statistics show is not shown either.
    pub(super) fn overrules_claims(&self) -> bool {
        match self {
            Self::Disturbed { because, .. } => *because != Inseparable::NoTimeEffect,
            Self::ClientLate { .. } => false,
            Self::Apart { .. } => true,
            Self::TooWide { hides_rank_1, .. } => *hides_rank_1,
        }
    }
}

/// The marked repeats of an arm's objective; `None` where there is none.
pub(super) fn of_arm(evidence: &Evidence<'_>, index: usize) -> Option<DisturbedRepeats> {
    let (objective, arm) = (&evidence.metrics[0], &evidence.arms[index]);
    let case = evidence.measured[0].case.as_ref()?;
    let all = arm.launches.iter().flat_map(|launch| kept(launch, &objective.workload, case));
    let counted: Vec<&Measurement> =
        all.filter(|repeat| value(repeat, &objective.name).is_some()).collect();
    let marked: Vec<&&Measurement> =
        counted.iter().filter(|repeat| is_disturbed(repeat) == Some(true)).collect();
    let mean = |name| {
        let values: Vec<f64> = marked.iter().filter_map(|repeat| value(repeat, name)).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    (!marked.is_empty()).then(|| DisturbedRepeats {
        configuration: arm.configuration.name.clone(),
        disturbed: marked.len(),
        repeats: counted.len(),
        host_cpu: mean("host_cpu_mean"),
        others: mean("host_cpu_others_mean"),
    })
}

/// More than a quarter of what was tried was void since the client was late.
pub(super) fn late_repeats(evidence: &Evidence<'_>, index: usize) -> Option<LateRepeats> {
    let (objective, arm) = (&evidence.metrics[0], &evidence.arms[index]);
    let case = evidence.measured[0].case.as_ref()?;
    let all = arm.launches.iter().flat_map(|launch| kept(launch, &objective.workload, case));
    let tried: Vec<&Measurement> = all.filter(|it| it.status != Status::Skipped).collect();
    let is_late = |repeat: &&&Measurement| {
        repeat.status == Status::Void
            && repeat.reason.as_ref().is_some_and(|reason| reason.starts_with(CLIENT_LATE))
    };
    let late = tried.iter().filter(is_late).count();
    (late as f64 > MAX_LATE * tried.len() as f64).then(|| LateRepeats {
        configuration: arm.configuration.name.clone(),
        late,
        repeats: tried.len(),
    })
}

impl fmt::Display for DisturbedRepeats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { configuration, disturbed, repeats, .. } = self;
        write!(f, "{disturbed} of {} of {configuration}", counted(*repeats, "repeat"))
    }
}

impl fmt::Display for LateRepeats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { configuration, late, repeats } = self;
        write!(f, "{late} of {} of {configuration}", counted(*repeats, "repeat"))
    }
}

/// One or two by name; of more, the repeats of all together.
fn listed<T: fmt::Display>(
    configurations: &[T],
    repeats: impl Iterator<Item = (usize, usize)>,
) -> String {
    match configurations {
        [] => String::new(),
        [one] => one.to_string(),
        [a, b] => format!("{a} and {b}"),
        more => {
            let add = |sum: (usize, usize), it: (usize, usize)| (sum.0 + it.0, sum.1 + it.1);
            let (marked, of) = repeats.fold((0, 0), add);
            format!("{marked} of {of} repeats of {} configurations", more.len())
        }
    }
}

impl fmt::Display for Undecided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disturbed { configurations, because } => {
                let repeats = configurations.iter().map(|it| (it.disturbed, it.repeats));
                let repeats = listed(configurations, repeats);
                match because {
                    Inseparable::Uneven if configurations.len() > 1 => {
                        write!(f, "others saturated the host in {repeats}, and some far more")
                    }
                    _ => write!(f, "others saturated the host in {repeats}, and {because}"),
                }
            }
            Self::ClientLate { configurations } => {
                let repeats = configurations.iter().map(|it| (it.late, it.repeats));
                write!(f, "the client was late in {}", listed(configurations, repeats))
            }
            Self::Apart { first, configurations } => {
                let others = match configurations.as_slice() {
                    [one] => one.clone(),
                    more => format!("{} configurations", more.len()),
                };
                write!(
                    f,
                    "insufficient data: {others} and {first} ran on different hosts, and no \
                     configuration connects these"
                )
            }
            Self::TooWide { factor, launches, .. } => {
                let plural = if *launches == 1 { "" } else { "es" };
                write!(
                    f,
                    "with {launches} launch{plural} each a difference under a factor of \
                     {factor:.1} cannot be seen"
                )
            }
        }
    }
}

impl fmt::Display for Inseparable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Design { limits } if limits.contains(&DesignLimit::OneAfterTheOther) => {
                write!(f, "one was launched before the other")
            }
            Self::Design { .. } => write!(f, "fewer than 3 launches cannot separate that"),
            Self::NoTimeEffect => write!(f, "no time effect is taken out"),
            Self::Uneven => write!(f, "far less in those of the other"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::numbers;

    fn disturbed(values: &[(&str, f64)]) -> Option<bool> {
        is_disturbed(&Measurement {
            workload: "load".to_owned(),
            case: String::new(),
            repeat: 1,
            status: Status::Ok,
            metric_reasons: std::collections::BTreeMap::new(),
            reason: None,
            metrics: numbers(values.iter().map(|(name, value)| (*name, Some(*value)))),
        })
    }

    #[test]
    fn others_must_saturate_the_host() {
        let of =
            |cpu, others| disturbed(&[("host_cpu_mean", cpu), ("host_cpu_others_mean", others)]);
        assert_eq!(of(0.97, 0.5), Some(true));
        assert_eq!(of(0.97, 0.05), Some(false), "the server itself is busy");
        assert_eq!(of(0.5, 0.4), Some(false), "there is CPU left");
        assert_eq!(disturbed(&[("host_cpu_mean", 0.97)]), None, "whose it is, is not known");
        let unknown = [("host_cpu_mean", 0.97), ("host_steal_mean", 0.0)];
        assert_eq!(disturbed(&unknown), None, "nor where steal is known");
        let pressed = [("host_cpu_pressure_mean", 0.7), ("host_steal_mean", 0.0)];
        assert_eq!(disturbed(&pressed), None);
        let idle = [("host_cpu_mean", 0.3), ("host_steal_mean", 0.0)];
        assert_eq!(disturbed(&idle), Some(false));
        let stolen = [("host_cpu_mean", 0.97), ("host_steal_mean", 0.2)];
        assert_eq!(disturbed(&stolen), Some(true));
        assert_eq!(disturbed(&[]), None);
        assert_eq!(disturbed(&[("host_steal_mean", 0.2)]), Some(true));
        assert_eq!(disturbed(&[("host_steal_mean", 0.01)]), Some(false));
        let pressed = [("host_cpu_pressure_mean", 0.7), ("host_cpu_others_mean", 0.3)];
        assert_eq!(disturbed(&pressed), Some(true));
        let windows = [
            ("host_cpu_mean", 0.3),
            ("host_cpu_others_mean", 0.1),
            ("windows_cpu_mean", 0.95),
            ("windows_cpu_others_mean", 0.6),
        ];
        assert_eq!(disturbed(&windows), Some(true));
    }
}
