//! Which configuration of a sweep is to be deployed: the one whose gain fresh launches show,
//! or the one that a person names. How it is deployed is not known here.

use super::confirmable::{self, named};
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
        "the result is to keep `{baseline}`{unconfirmed}: `--configuration NAME` applies another \
         configuration all the same"
    )]
    Keep {
        /// The baseline.
        baseline: String,
        /// The candidate, where there is one that is not confirmed.
        unconfirmed: String,
    },
    /// The gain comes from the launches that chose the candidate.
    #[error(
        "the gain of `{0}` is unconfirmed: `vllm-grid confirm RUN` measures it on fresh launches; \
         `--configuration {0}` applies it all the same"
    )]
    Unconfirmed(String),
    /// There is nothing that it was compared with.
    #[error(
        "no gain is shown, since nothing was compared with a baseline: `--configuration NAME` applies \
         a configuration all the same (`vllm-grid report` has the ranking)"
    )]
    NoBaseline,
    /// Nothing is decided.
    #[error(
        "nothing is decided: `vllm-grid report` says why and what to do; `--configuration NAME` \
         applies a configuration that was measured all the same"
    )]
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
    let Some(name) = name else { return by_result(reading) };
    let row = named(ranking, name)?;
    let configuration = row.name.clone();
    if let Some(reason) = failed(record, row) {
        return Err(Refusal::Failed { configuration, reason });
    }
    let mut warnings = Vec::new();
    if let Some(reason) = row.reason() {
        warnings.push(format!("{configuration} has no rank ({reason})"));
    }
    let is_confirmed = matches!(&reading.result,
        Statement::Better { configuration: it, confirmed: true, .. } if *it == configuration);
    if let Statement::BoundBroken { configuration: it, metrics, .. } = &reading.result
        && *it == configuration
    {
        warnings.push(format!("{configuration} breaks the bound of {}", listed(metrics)));
    } else if !is_confirmed && !row.baseline {
        warnings
            .push(format!("that {configuration} is better than what serves now is not confirmed"));
    }
    Ok(Chosen { configuration, warnings })
}

/// What the result says.
fn by_result(reading: &Reading) -> Result<Chosen, Refusal> {
    let keep = |baseline: &str, candidate: Option<&String>| Refusal::Keep {
        baseline: baseline.to_owned(),
        unconfirmed: candidate.map_or_else(String::new, |name| {
            format!(
                ", and the gain of the candidate `{name}` is unconfirmed (`vllm-grid confirm RUN` \
                 measures it on fresh launches)"
            )
        }),
    };
    Err(match &reading.result {
        Statement::Better { configuration, confirmed: true, open, .. } => {
            let configuration = configuration.clone();
            let open = (!open.is_empty()).then(|| {
                let metrics = listed(open);
                format!("whether {configuration} keeps the bound of {metrics} is not shown")
            });
            return Ok(Chosen { configuration, warnings: open.into_iter().collect() });
        }
        Statement::Better { configuration, .. } => Refusal::Unconfirmed(configuration.clone()),
        Statement::NotConfirmed { baseline, .. }
        | Statement::BoundBroken { baseline, .. }
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
fn failed(record: &SweepRecord, row: &RankedConfiguration) -> Option<String> {
    let gate = row.exclusions.iter().find(|it| matches!(it, Exclusion::GateFailed { .. }));
    if gate.is_some() {
        return row.reason();
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
