//! Whether the last of two sweeps is shown to be worse than the first by more than a share:
//! the question of a CI. One statement for all configurations that both sweeps measured, at
//! the 5 % level together. What becomes of the answer (an exit code) is the binary's.
//!
//! Claimed is what the whole one-sided bound carries: at 95 % for one configuration, at
//! 1 - 0.05/k for k of them (Bonferroni). Means that are compared as ratios have the bound
//! of their logarithms; others the bound that both intervals make by squaring and adding,
//! as their difference has it. Not judged is what a sweep that chose its launches has too few
//! of for a claim.

use super::compared::{ComparedConfiguration, Judgement, NotJudged, Outcome, Standing, WorseThan};
use super::estimate::Estimate;
use super::exclusion::joined;
use super::shift::LogChange;
use crate::metric::{Goal, Scale};
use crate::statistics::{SIGNIFICANCE, t_quantile};

/// What the comparison knows of one configuration.
pub(super) struct OneChange<'a> {
    pub(super) configuration: &'a ComparedConfiguration,
    /// Its change on log scale, where ratios are taken.
    pub(super) log: Option<LogChange>,
    /// The means of the first and of the last sweep, as their difference is made of them.
    pub(super) means: Option<(Estimate, Estimate)>,
}

/// Judges the change from the first to the last sweep. `mixed`: some figures are simulated
/// and others are not, so that a change says nothing.
pub(super) fn judge(
    all: &[OneChange<'_>],
    (goal, scale): (Goal, Scale),
    share: f64,
    mixed: bool,
) -> WorseThan {
    let mut not_judged = Vec::new();
    let mut tested = Vec::new();
    for one in all {
        match reason_against(one.configuration) {
            Some((reason, missing)) => not_judged.push(NotJudged {
                configuration: one.configuration.configuration.clone(),
                reason,
                missing,
            }),
            None => tested.push(one),
        }
    }
    let level = SIGNIFICANCE / tested.len().max(1) as f64;
    let judged: Vec<Judgement> = tested
        .into_iter()
        .filter_map(|one| {
            let (limit, bound) = match scale {
                Scale::Ratios => of_ratio(one.log?, goal, share, level),
                _ => of_difference(one.means?, goal, share, level)?,
            };
            let worse = match goal {
                Goal::Minimize => bound > limit,
                Goal::Maximize => bound < limit,
            };
            let configuration = one.configuration.configuration.clone();
            Some(Judgement { configuration, limit, bound, worse })
        })
        .collect();
    let incomplete = judged.is_empty() || not_judged.iter().any(|it| it.missing);
    let outcome = if mixed {
        Outcome::NotComparable
    } else if judged.iter().any(|it| it.worse) {
        Outcome::Worse
    } else if incomplete {
        Outcome::NotComparable
    } else {
        Outcome::NotShown
    };
    WorseThan { share, level: SIGNIFICANCE, outcome, judged, not_judged }
}

/// Why a configuration is not judged, and whether a figure is missing that was asked for.
fn reason_against(it: &ComparedConfiguration) -> Option<(String, bool)> {
    let (first, last) = (it.runs.first()?, it.runs.last()?);
    match (first, last) {
        (None, _) => return Some(("the first sweep does not have it".to_owned(), false)),
        (_, None) => return Some(("the last sweep does not have it".to_owned(), false)),
        (Some(first), Some(last)) if it.change.is_none() => {
            // What the first sweep could not measure cannot get worse.
            let missing = first.figure.is_some();
            let (which, standing) = if missing { ("last", last) } else { ("first", first) };
            let why = joined(&standing.exclusions)
                .map_or_else(String::new, |reason| format!(": {reason}"));
            return Some((format!("no comparable figure in the {which} sweep{why}"), missing));
        }
        _ => {}
    }
    if let Some(why) = too_few(first.as_ref(), last.as_ref()) {
        return Some((why, false));
    }
    // One launch shows nothing; a second one would. With one repeat in each of several launches
    // the spread of repeats is assumed, and that of launches, which is what counts, is measured.
    let assumed = it.change.is_some_and(|change| change.assumed);
    let once = [first, last]
        .into_iter()
        .flatten()
        .any(|standing| standing.figure.as_ref().is_some_and(|figure| figure.launches < 2));
    (assumed && once)
        .then(|| ("launched once in one of the sweeps: nothing can be shown".to_owned(), false))
}

/// What is lacking where a sweep chose its launches, and has too few of a configuration.
fn too_few(first: Option<&Standing>, last: Option<&Standing>) -> Option<String> {
    let lacks = |which: &str, standing: Option<&Standing>| {
        let standing = standing?;
        let launches = standing.figure.as_ref().map_or(0, |figure| figure.launches);
        Some((format!("{launches} in the {which} sweep"), standing.claims_need?))
    };
    let lacking: Vec<(String, usize)> =
        [lacks("first", first), lacks("last", last)].into_iter().flatten().collect();
    let needed = lacking.iter().map(|(_, needed)| *needed).max()?;
    let few: Vec<String> = lacking.into_iter().map(|(few, _)| few).collect();
    let few = few.join(" and ");
    Some(format!("not enough launches: {few}, claims need {needed} where launches are chosen"))
}

/// Limit and bound of a ratio.
fn of_ratio((log, error): LogChange, goal: Goal, share: f64, level: f64) -> (f64, f64) {
    let reach = t_quantile(1.0 - level, error.degrees_of_freedom) * error.variance.sqrt();
    match goal {
        Goal::Minimize => (1.0 + share, (log - reach).exp()),
        Goal::Maximize => (1.0 - share, (log + reach).exp()),
    }
}

/// Limit and bound of a difference, of which the limit is a share of the first mean: the
/// first mean's own uncertainty counts in both. `None` where an interval is missing.
fn of_difference(
    (first, last): (Estimate, Estimate),
    goal: Goal,
    share: f64,
    level: f64,
) -> Option<(f64, f64)> {
    let (of_first, of_last) = (first.interval?, last.interval?);
    let sign = if first.mean < 0.0 { -1.0 } else { 1.0 };
    let worse = if goal == Goal::Minimize { 1.0 } else { -1.0 };
    // last - factor * first is the part of the change beyond the limit.
    let factor = 1.0 + worse * sign * share;
    let widen = widening(level, first.launches.min(last.launches));
    let limit = (factor - 1.0) * first.mean;
    let beyond = last.mean - factor * first.mean;
    // `factor` is not negative: a share is below 1.
    let bound = match goal {
        Goal::Minimize => {
            let (below, above) = (last.mean - of_last.low, of_first.high - first.mean);
            beyond - widen * below.hypot(factor * above)
        }
        Goal::Maximize => {
            let (above, below) = (of_last.high - last.mean, first.mean - of_first.low);
            beyond + widen * above.hypot(factor * below)
        }
    };
    Some((limit, bound + limit))
}

/// How much of the half of a 95 % interval a one-sided bound at this level has. Never less
/// than with many launches, where the interval does not come of their spread.
fn widening(level: f64, launches: usize) -> f64 {
    let of = |df: f64| t_quantile(1.0 - level, df) / t_quantile(0.975, df);
    of(launches.saturating_sub(1).max(1) as f64).max(of(f64::INFINITY))
}
