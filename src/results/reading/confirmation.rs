//! What a reading says of the confirmation that it rests on: whether the gain is shown, and
//! whether the configuration serves and keeps its bounds. What fresh launches show, and which
//! confirmation counts, is decided elsewhere.

use super::Statement;
use crate::metric::MetricRef;
use crate::results::bounded::Bounded;
use crate::results::confirmed::{ConfirmedGain, Standing};
use crate::results::ranked::{RankedConfiguration, Ranking};

/// What a confirmation with a result says. Where nothing is confirmed, what serves is kept, unless
/// something is known against that, too.
pub(super) fn statement(ranking: &Ranking, gain: &ConfirmedGain) -> Statement {
    let (configuration, baseline) = (gain.candidate.clone(), gain.baseline.clone());
    let not_kept = ranking.not_kept(&baseline);
    match (gain.standing(), gain.unfit.clone()) {
        (Standing::Confirmed, _) => {
            let open = metrics(gain.open());
            Statement::Better { configuration, baseline, confirmed: true, open }
        }
        (Standing::Unfit, Some(cause)) => {
            Statement::Unfit { configuration, baseline, cause, not_kept }
        }
        (Standing::BreaksABound, _) => {
            let (metrics, better) = (metrics(gain.broken()), gain.shown);
            Statement::BoundBroken { configuration, baseline, metrics, better, not_kept }
        }
        _ => {
            let worse = gain.is_worse(ranking.objective.goal);
            Statement::NotConfirmed { configuration, baseline, worse, not_kept }
        }
    }
}

/// The bounded metrics of a row: by the fresh launches where there are any.
pub(super) fn bounds(row: &RankedConfiguration, confirmed: Option<&ConfirmedGain>) -> Vec<Bounded> {
    let fresh = |own: &Bounded| confirmed?.bounds.iter().find(|it| it.metric == own.metric);
    row.constraints.iter().map(|own| fresh(own).unwrap_or(own).clone()).collect()
}

fn metrics<'a>(of: impl Iterator<Item = &'a Bounded>) -> Vec<MetricRef> {
    of.map(|it| it.metric.clone()).collect()
}
