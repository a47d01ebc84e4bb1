//! Why a configuration has no rank, as data with its figures, and the one wording
//! of it for people and files. Who is excluded is decided in `eligibility`.

use std::fmt;

use serde::Serialize;

use super::arm::OverriddenFlag;
use super::bounded::Bounded;
use super::failed_repeats::LostRepeats;
use super::missing::MissingValues;
use super::not_again::Dropped;
use super::under_load::Repeating;
use crate::history::launch::FailureClass;
use crate::metric::MetricRef;

/// Why a configuration has no rank.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Exclusion {
    /// It ran with other flags than it asked for.
    Overridden {
        /// The flags.
        flags: Vec<OverriddenFlag>,
        /// The configuration that asked for what ran, where there is one.
        counted_as: Option<String>,
    },
    /// Its proven values are those of another configuration: both are one.
    RanAs {
        /// The configuration that has the launches of both.
        counted_as: String,
    },
    /// A gate ended one of its launches: it answers wrongly, or not what clients rely on.
    GateFailed {
        /// What the gate found.
        message: String,
    },
    /// Its answers loop under load, and those that it is compared with do not.
    LoopsUnderLoad(Repeating),
    /// The objective or a bounded metric has no value.
    NotMeasured {
        /// The metric.
        metric: MetricRef,
        /// Why.
        cause: MissingValue,
    },
    /// Some values of the objective have no logarithm.
    NotPositive {
        /// The objective.
        metric: MetricRef,
        /// Values that are zero or negative.
        not_positive: usize,
        /// All values.
        values: usize,
    },
    /// Too many repeats failed to rank it by the rest.
    FailedRepeats(LostRepeats),
    /// Too many repeats have no value of the objective or of a bounded metric.
    MissingValues(MissingValues),
    /// Its launches fail too often: the lower bound of their failure rate is above a quarter.
    FailedLaunches {
        /// How many, for reasons of its own.
        failed: usize,
        /// Of how many.
        launches: usize,
        /// The class of the last failure.
        class: FailureClass,
        /// Since when a sweep that chooses its launches launched it no more.
        #[serde(skip_serializing_if = "Option::is_none")]
        dropped: Option<Dropped>,
    },
    /// The whole interval of a bounded metric is beyond the bound.
    Violated {
        /// The metric.
        #[serde(flatten)]
        bounded: Bounded,
        /// Since when a sweep that chooses its launches launched it no more.
        #[serde(skip_serializing_if = "Option::is_none")]
        dropped: Option<Dropped>,
    },
}

/// Why a metric has no value.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MissingValue {
    /// The metric names no case, and there are several.
    AmbiguousCase,
    /// The launch failed.
    LaunchFailed {
        /// The class of the failure.
        class: FailureClass,
        /// What happened.
        message: String,
        /// Tokens of context that fit by the engine's estimate, where the message does not
        /// have them.
        estimated_max_model_len: Option<u64>,
        /// Since when a sweep that chooses its launches launched it no more.
        #[serde(skip_serializing_if = "Option::is_none")]
        dropped: Option<Dropped>,
    },
    /// The strategy skipped it.
    Skipped {
        /// Why.
        reason: String,
    },
    /// Not launched so far.
    NotLaunched,
    /// Not launched before the sweep ended.
    Cut {
        /// Why it ended.
        reason: String,
    },
    /// Not launched in a sweep that is over: the strategy chose others.
    LeftOut {
        /// The last launch by which that was decided.
        after_launch: u32,
    },
    /// Its last launch has no end: it is under way, or was interrupted.
    NotFinished {
        /// Whether it may be under way: nobody ended it, and no later session began.
        is_open: bool,
        /// Whether a job of a cluster makes it, which outlives its session.
        is_job: bool,
    },
    /// No repeat is valid.
    NoValidRepeat {
        /// What the first one says.
        reason: String,
    },
    /// Repeats are valid and have no value of it.
    NoValue {
        /// How many.
        valid_repeats: usize,
        /// What the metric needs is in its definition.
        definition: &'static str,
        /// What the first of them says.
        reason: Option<String>,
    },
    /// Nothing is known.
    Unexplained,
}

/// Several reasons as one text; `None` without any.
pub(crate) fn joined(exclusions: &[Exclusion]) -> Option<String> {
    let texts: Vec<String> = exclusions.iter().map(Exclusion::to_string).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

fn since(dropped: Option<Dropped>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    dropped.map_or(Ok(()), |dropped| write!(f, "; {dropped}"))
}

impl Exclusion {
    /// Where it is a reason to launch a configuration no more: since when that was.
    pub(super) fn set_dropped(&mut self, since: Option<Dropped>) {
        match self {
            Self::FailedLaunches { dropped, .. }
            | Self::Violated { dropped, .. }
            | Self::NotMeasured { cause: MissingValue::LaunchFailed { dropped, .. }, .. } => {
                *dropped = since;
            }
            _ => (),
        }
    }

    /// The same in a word.
    pub(super) fn dropped(&self) -> Option<(&'static str, Dropped)> {
        match self {
            Self::Violated { dropped, .. } => Some(("breaks_a_bound", (*dropped)?)),
            Self::FailedLaunches { dropped, .. }
            | Self::NotMeasured { cause: MissingValue::LaunchFailed { dropped, .. }, .. } => {
                Some(("fails", (*dropped)?))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overridden { flags, counted_as } => {
                let flags: Vec<String> = flags.iter().map(OverriddenFlag::to_string).collect();
                write!(f, "overridden: ran with {}", flags.join(", "))?;
                match counted_as {
                    Some(name) => write!(f, "; counted as {name}"),
                    None => Ok(()),
                }
            }
            Self::RanAs { counted_as } => {
                write!(f, "ran with the same values as {counted_as}; counted as {counted_as}")
            }
            Self::GateFailed { message } => f.write_str(message),
            Self::LoopsUnderLoad(repeating) => {
                write!(f, "{repeating}")?;
                match &repeating.example {
                    Some(example) => write!(f, "; the first: {example}"),
                    None => Ok(()),
                }
            }
            Self::NotMeasured { metric, cause } => cause.write(metric, f),
            Self::NotPositive { metric, not_positive, values } => write!(
                f,
                "{not_positive} of {values} values of {metric} are zero or negative: there is no \
                 geometric mean to rank by"
            ),
            Self::FailedRepeats(repeats) => {
                write!(f, "{repeats}: what the others measured is not ranked")
            }
            Self::MissingValues(missing) => {
                write!(f, "{missing}: what the others measured is not ranked")
            }
            Self::FailedLaunches { failed, launches, class, dropped } => {
                write!(f, "{failed} of {launches} launches failed ({})", class.as_str())?;
                since(*dropped, f)
            }
            Self::Violated { bounded, dropped } => {
                write!(f, "breaks the bound of {bounded}")?;
                since(*dropped, f)
            }
        }
    }
}

impl MissingValue {
    fn write(&self, metric: &MetricRef, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AmbiguousCase => write!(f, "{metric} names no case, and there are several"),
            Self::LaunchFailed { class, message, estimated_max_model_len, dropped } => {
                let word = if class.is_deterministic() { "infeasible" } else { "failed" };
                write!(f, "{word} ({}): {message}", class.as_str())?;
                if let Some(tokens) = estimated_max_model_len {
                    write!(f, "; the engine estimates that {tokens} tokens of context fit")?;
                }
                since(*dropped, f)
            }
            Self::Skipped { reason } => write!(f, "not launched: {reason}"),
            Self::NotLaunched => write!(f, "not launched so far"),
            Self::Cut { reason } => {
                write!(f, "not launched: the sweep ended before that ({reason})")
            }
            Self::LeftOut { after_launch } => write!(
                f,
                "not launched: by what the launches up to {after_launch} showed of its settings, \
                 others were chosen"
            ),
            Self::NotFinished { .. } => write!(f, "its launch is not finished"),
            Self::NoValidRepeat { reason } => write!(f, "{metric} was not measured: {reason}"),
            Self::NoValue { valid_repeats, definition, reason } => write!(
                f,
                "{metric} was not measured: {valid_repeats} valid repeats have no value of it ({})",
                reason.as_deref().unwrap_or(definition).trim_end_matches('.')
            ),
            Self::Unexplained => write!(f, "{metric} was not measured"),
        }
    }
}
