//! Which confirmation a reading rests on, and what it says: whether the gain is shown, and
//! whether the configuration keeps its bounds. What fresh launches show is computed elsewhere.

use super::Statement;
use crate::metric::{Goal, MetricRef};
use crate::results::bounded::Bounded;
use crate::results::confirmed::ConfirmedGain;
use crate::results::ranked::{RankedConfiguration, Ranking};

/// The confirmation that counts: the candidate's last one with a result, or the last one
/// that showed another configuration to be better, where the candidate has none or breaks a
/// bound.
pub(super) fn confirmation(ranking: &Ranking) -> Option<&ConfirmedGain> {
    let results = || ranking.confirmed.iter().rev().filter(|it| it.is_result());
    let of_candidate = results().find(|it| is_of_candidate(ranking, it));
    let begun = ranking.confirmed.iter().any(|it| is_of_candidate(ranking, it));
    let other = || results().find(|it| it.is_confirmed() && !is_of_candidate(ranking, it));
    match of_candidate {
        Some(gain) if gain.breaks_a_bound() => other().or(Some(gain)),
        Some(gain) => Some(gain),
        None if begun => None,
        None => other(),
    }
}

/// The candidate's last confirmation, where it has no result yet.
pub(super) fn pending(ranking: &Ranking) -> Option<&ConfirmedGain> {
    let last = ranking.confirmed.iter().rfind(|it| is_of_candidate(ranking, it));
    last.filter(|it| !it.is_result())
}

fn is_of_candidate(ranking: &Ranking, gain: &ConfirmedGain) -> bool {
    let decision = ranking.decision.as_ref();
    decision.is_some_and(|it| it.candidate.configuration == gain.candidate)
}

/// What a confirmation with a result says.
pub(super) fn statement(gain: &ConfirmedGain, goal: Goal) -> Statement {
    let (configuration, baseline) = (gain.candidate.clone(), gain.baseline.clone());
    if gain.breaks_a_bound() {
        let (metrics, better) = (metrics(gain.broken()), gain.shown);
        return Statement::BoundBroken { configuration, baseline, metrics, better };
    }
    if gain.shown {
        let open = metrics(gain.open());
        return Statement::Better { configuration, baseline, confirmed: true, open };
    }
    Statement::NotConfirmed { configuration, baseline, worse: gain.is_worse(goal) }
}

/// The bounded metrics of a row: by the fresh launches where there are any.
pub(super) fn bounds(row: &RankedConfiguration, confirmed: Option<&ConfirmedGain>) -> Vec<Bounded> {
    let fresh = |own: &Bounded| confirmed?.bounds.iter().find(|it| it.metric == own.metric);
    row.constraints.iter().map(|own| fresh(own).unwrap_or(own).clone()).collect()
}

fn metrics<'a>(of: impl Iterator<Item = &'a Bounded>) -> Vec<MetricRef> {
    of.map(|it| it.metric.clone()).collect()
}
