//! Which configuration of a sweep is to be deployed: the one whose gain fresh launches show,
//! or the one that a person names. How it is deployed is not known here.

use super::bounded::{Bounded, ConstraintVerdict};
use super::confirmable::{self, named};
use super::confirmed::Unfit;
use super::exclusion::Exclusion;
use super::ranked::{RankedConfiguration, Ranking};
use super::reading::{Choice, Reading, Statement};
use crate::history::launch::LaunchOutcome;
use crate::history::record::SweepRecord;
use crate::metric::MetricRef;

/// What is to be deployed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Its name.
    pub configuration: String,
    /// What a person should know of it, one sentence each.
    pub warnings: Vec<String>,
}

/// Why nothing is to be deployed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The name means none.
    #[error(transparent)]
    Name(#[from] confirmable::Refusal),
    /// The result is to keep the baseline.
    #[error(
        "the result is to keep `{baseline}`{}",
        unconfirmed.as_ref().map_or_else(String::new, |it| {
            format!(", and the gain of the candidate `{it}` is unconfirmed")
        })
    )]
    Keep {
        /// The baseline.
        baseline: String,
        /// The candidate, where there is one that is not confirmed.
        unconfirmed: Option<String>,
    },
    /// Nothing is confirmed, and the baseline is not to be kept either.
    #[error(
        "nothing is to be deployed by the result: `{candidate}` is not confirmed, and `{baseline}` \
         {why}"
    )]
    NotKept {
        /// The baseline.
        baseline: String,
        /// Why it is not to be kept, said after its name.
        why: &'static str,
        /// The one that is not confirmed.
        candidate: String,
    },
    /// The gain comes from the launches that chose the candidate.
    #[error("the gain of `{0}` is unconfirmed")]
    Unconfirmed(String),
    /// There is nothing that it was compared with.
    #[error("no gain is shown, since nothing was compared with a baseline")]
    NoBaseline,
    /// Nothing is decided.
    #[error("nothing is decided")]
    Undecided,
    /// It failed.
    #[error("`{configuration}` is not applied: {reason}")]
    Failed {
        /// Its name.
        configuration: String,
        /// Why.
        reason: String,
    },
}

impl Refusal {
    /// The commands that do what a person may want all the same; `run` is the sweep's folder as a
    /// command takes it.
    pub fn advice(&self, run: &str) -> Option<String> {
        let apply = |name: &str| {
            format!("`vllm-grid apply {run} --configuration {}`", shell_words::quote(name))
        };
        let confirm = || format!("`vllm-grid confirm {run}` measures it on fresh launches; ");
        let report = format!("`vllm-grid report {run}`");
        Some(match self {
            Self::Name(refusal) => return refusal.advice(run),
            Self::Keep { unconfirmed, .. } => {
                let first = unconfirmed.as_ref().map_or_else(String::new, |_| confirm());
                format!("{first}{} applies another configuration all the same", apply("NAME"))
            }
            Self::NotKept { .. } => {
                format!("{} applies a configuration all the same", apply("NAME"))
            }
            Self::Unconfirmed(name) => {
                format!("{}{} applies it all the same", confirm(), apply(name))
            }
            Self::NoBaseline => format!(
                "{report} has the ranking; {} applies a configuration all the same",
                apply("NAME")
            ),
            Self::Undecided => format!(
                "{report} says why and what to do; {} applies a configuration that was measured all \
                 the same",
                apply("NAME")
            ),
            Self::Failed { .. } => return None,
        })
    }
}

/// The configuration to deploy.
///
/// # Errors
/// Why there is none, or not the named one.
pub fn chosen(
    record: &SweepRecord,
    ranking: &Ranking,
    reading: &Reading,
    name: Option<&str>,
) -> Result<Chosen, Refusal> {
    let serving = |configuration: &str| {
        let row = named(ranking, configuration)?;
        match failed(record, ranking, row) {
            Some(reason) => Err(Refusal::Failed { configuration: row.name.clone(), reason }),
            None => Ok(row),
        }
    };
    let Some(name) = name else {
        let chosen = by_result(reading)?;
        serving(&chosen.configuration)?;
        return Ok(chosen);
    };
    let row = serving(name)?;
    let configuration = row.name.clone();
    let mut warnings = Vec::new();
    if let Some(reason) = row.reason() {
        warnings.push(format!("{configuration} has no rank ({reason})"));
    }
    let gain = ranking.confirmed_of(&configuration);
    if gain.is_none_or(|it| !it.shown) && !row.baseline {
        warnings
            .push(format!("that {configuration} is better than what serves now is not confirmed"));
    }
    if gain.is_some_and(|it| it.unfit == Some(Unfit::Failing)) {
        warnings.push(format!("{configuration} gave no values any more in its confirmation"));
    }
    // A bound that the sweep alone shows to be broken is in the reason.
    let bounds = gain.map_or(&row.constraints, |it| &it.bounds);
    let of = |verdict: &dyn Fn(&Bounded) -> bool| -> Vec<MetricRef> {
        bounds.iter().filter(|it| verdict(it)).map(|it| it.metric.clone()).collect()
    };
    let broken = of(&|it| gain.is_some() && it.verdict == ConstraintVerdict::Violated);
    if !broken.is_empty() {
        warnings.push(format!("{configuration} breaks the bound of {}", listed(&broken)));
    }
    warnings.extend(open(&configuration, &of(&Bounded::is_open)));
    Ok(Chosen { configuration, warnings })
}

fn open(configuration: &str, metrics: &[MetricRef]) -> Option<String> {
    let some = !metrics.is_empty();
    some.then(|| {
        format!("whether {configuration} keeps the bound of {} is not shown", listed(metrics))
    })
}

/// What the result says.
fn by_result(reading: &Reading) -> Result<Chosen, Refusal> {
    let keep = |baseline: &str, candidate: Option<&String>| Refusal::Keep {
        baseline: baseline.to_owned(),
        unconfirmed: candidate.cloned(),
    };
    Err(match &reading.result {
        Statement::Better { configuration, confirmed: true, open: metrics, .. } => {
            let warnings = open(configuration, metrics).into_iter().collect();
            return Ok(Chosen { configuration: configuration.clone(), warnings });
        }
        Statement::NotConfirmed { configuration, baseline, not_kept: Some(why), .. }
        | Statement::BoundBroken { configuration, baseline, not_kept: Some(why), .. }
        | Statement::Unfit { configuration, baseline, not_kept: Some(why), .. } => {
            Refusal::NotKept { baseline: baseline.clone(), why, candidate: configuration.clone() }
        }
        Statement::Better { configuration, .. } => Refusal::Unconfirmed(configuration.clone()),
        Statement::NotConfirmed { baseline, .. }
        | Statement::BoundBroken { baseline, .. }
        | Statement::Unfit { baseline, .. }
        | Statement::BaselineIsBest { baseline, .. } => keep(baseline, None),
        Statement::NotShown { baseline, candidate }
        | Statement::NoClaim { baseline: Some(baseline), candidate, .. } => {
            keep(baseline, Some(candidate))
        }
        Statement::NoClaim { .. } => match &reading.choice {
            Some(Choice { is_baseline: true, configuration, .. }) => keep(configuration, None),
            _ => Refusal::NoBaseline,
        },
        Statement::First { .. }
        | Statement::NotDistinguishable { .. }
        | Statement::Only { .. }
        | Statement::BaselineNotRanked { .. } => Refusal::NoBaseline,
        Statement::LaunchedOnce { candidate, .. } => match &reading.choice {
            Some(Choice { is_baseline: true, configuration, .. }) => {
                keep(configuration, Some(candidate))
            }
            _ => Refusal::NoBaseline,
        },
        Statement::NoDecision { .. } => Refusal::Undecided,
    })
}

fn listed(metrics: &[MetricRef]) -> String {
    let metrics: Vec<String> = metrics.iter().map(MetricRef::to_string).collect();
    metrics.join(" and ")
}

/// Why a configuration may not serve: a gate failed, or no launch of it was measured.
fn failed(record: &SweepRecord, ranking: &Ranking, row: &RankedConfiguration) -> Option<String> {
    let gate = row.exclusions.iter().find(|it| matches!(it, Exclusion::GateFailed { .. }));
    if gate.is_some() {
        return row.reason();
    }
    // In whichever confirmation, and however far that came.
    let unfit = ranking.confirmed.iter().filter(|it| it.candidate == row.name);
    let gate = |it: &&Unfit| matches!(it, Unfit::GateFailed { .. });
    if let Some(unfit) = unfit.filter_map(|it| it.unfit.as_ref()).find(gate) {
        return Some(unfit.to_string());
    }
    let is_own = |name: &str| name == row.name || row.aliases.iter().any(|it| it == name);
    let of_row = record.launches.iter().filter(|it| is_own(&it.configuration));
    let was_measured = of_row.clone().any(|it| it.outcome == Some(LaunchOutcome::Measured));
    if was_measured || row.eligible {
        return None;
    }
    Some(match row.reason() {
        Some(reason) => format!("no launch of it was measured to its end ({reason})"),
        None => "no launch of it was measured to its end".to_owned(),
    })
}
