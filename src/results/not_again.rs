//! Why a sweep that chooses its launches launched a configuration no more, and since when:
//! by its record and the final analysis, not by what the strategy thought at that time.
//! Who fails or breaks a bound has no rank, and its reason is there; since when one that breaks
//! a bound was launched no more is found here, too.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::arm::Arm;
use super::estimate::{Effect, Ratio};
use super::evidence::Evidence;
use super::number;
use crate::history::launch::LaunchOutcome;
use crate::history::record::LaunchRecord;
use crate::metric::{Goal, MetricRef};
use crate::statistics::Interval;
use crate::strategy::Purpose;

/// Launches of the last two duels: who has one of them was in the race when it ended.
const LAST_DUELS: usize = 4;

/// Since when a configuration was launched no more although the sweep went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Its last launch.
    pub after_launch: u32,
    /// When that one began; `None` where that is not known.
    pub at: Option<Timestamp>,
}

/// A configuration that was launched no more although the sweep went on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NotAgain {
    /// Since when.
    #[serde(flatten)]
    pub dropped: Dropped,
    /// Why.
    pub why: WhyNotAgain,
}

/// Why a configuration was launched no more.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum WhyNotAgain {
    /// By all launches it is behind rank 1.
    Behind {
        /// Rank 1.
        leader: String,
        /// The objective, compared with rank 1.
        effect: Effect,
        /// The objective's metric.
        metric: MetricRef,
        /// Which way is better.
        goal: Goal,
    },
    /// By its own launches it is ahead of the one that the last duels chose, but they are too
    /// few to choose it by.
    AheadByFew {
        /// The one that the duels chose.
        leader: String,
        /// Its own launches with a value.
        launches: usize,
    },
    /// The sweep ended before it could be launched again.
    SweepEnded {
        /// Why it ended.
        reason: String,
    },
}

/// Of each arm, why it was launched no more: `None` of one that was in the race when it
/// ended, of the unranked, and while the sweep goes on. `order`: ranked arms, best first;
/// `leader`: the one of them to take.
pub(super) fn not_again(
    evidence: &Evidence<'_>,
    order: &[usize],
    leader: Option<usize>,
) -> Vec<Option<NotAgain>> {
    let (Some(ended), Some(leader)) = (&evidence.sweep.ended, leader) else {
        return vec![None; evidence.arms.len()];
    };
    // Before the duels an end that came too early says nothing of who would have met.
    let is_cut = last_duels(evidence).is_empty() && !ended.complete;
    let place = |index: usize| order.iter().position(|it| *it == index);
    let why = |index: usize| {
        if is_cut {
            Some(WhyNotAgain::SweepEnded { reason: ended.reason.clone() })
        } else if place(index) < place(leader) && evidence.measured[0].has_too_few(index) {
            let launches = evidence.measured[0].values(index)?.launches();
            let leader = evidence.arms[leader].configuration.name.clone();
            Some(WhyNotAgain::AheadByFew { leader, launches })
        } else {
            behind(evidence, index, leader)
        }
    };
    let not_again = |(index, dropped): (usize, Option<Dropped>)| {
        let dropped = dropped.filter(|_| index != leader && order.contains(&index))?;
        Some(NotAgain { dropped, why: why(index)? })
    };
    dropped(evidence, order).into_iter().enumerate().map(not_again).collect()
}

/// Of each arm, since when a sweep that chose its launches launched it no more: `None` of one
/// that was in the race when it ended, and while the sweep goes on. `order`: ranked arms.
pub(super) fn dropped(evidence: &Evidence<'_>, order: &[usize]) -> Vec<Option<Dropped>> {
    let (arms, sweep) = (evidence.arms, evidence.sweep);
    if sweep.ended.is_none() || !sweep.manifest.strategy.chooses() {
        return vec![None; arms.len()];
    }
    let last = last_duels(evidence);
    let count = |arm: &Arm<'_>| started(arm).filter(|it| it.purpose != Purpose::Sentinel).count();
    let most = order.iter().map(|&index| count(&arms[index])).max().unwrap_or_default();
    let dropped = |arm: &Arm<'_>| {
        let launch = started(arm).max_by_key(|it| it.launch)?;
        let is_in = if last.is_empty() {
            // Everything had a block, and some perhaps another one.
            count(arm) >= most
        } else {
            started(arm).any(|it| last.contains(&it.launch))
        };
        let dropped = Dropped { after_launch: launch.launch, at: launch.started_at };
        (!is_in).then_some(dropped)
    };
    arms.iter().map(dropped).collect()
}

/// The launches of the last two duels so far; none before any. A model's second block, which is
/// launched to decide, too, is no duel.
fn last_duels(evidence: &Evidence<'_>) -> Vec<u32> {
    let finals = || evidence.sweep.own_launches().filter(|it| it.purpose == Purpose::Final);
    let trials: BTreeMap<u32, &str> =
        finals().map(|it| (it.trial, it.configuration.as_str())).collect();
    let strategy = &evidence.sweep.manifest.strategy;
    let Some(first) = strategy.first_duel(trials.into_iter()) else { return Vec::new() };
    let duels = finals().rev().filter(|it| is_started(it) && it.trial >= first);
    duels.take(LAST_DUELS).map(|it| it.launch).collect()
}

/// Whether an arm took part in the last two duels so far.
pub(super) fn is_in_last_duels(evidence: &Evidence<'_>, index: usize) -> bool {
    let last = last_duels(evidence);
    started(&evidence.arms[index]).any(|it| last.contains(&it.launch))
}

/// `None` where values are equal and do not vary.
fn behind(evidence: &Evidence<'_>, index: usize, first: usize) -> Option<WhyNotAgain> {
    let objective = &evidence.measured[0];
    let difference = || {
        let (difference, interval) = objective.difference(index, first)?;
        Some(Effect::Difference { difference, interval })
    };
    let effect = objective.ratio(index, first).map(Effect::Ratio).or_else(difference)?;
    let sought = &evidence.sweep.manifest.objective;
    Some(WhyNotAgain::Behind {
        leader: evidence.arms[first].configuration.name.clone(),
        effect,
        metric: sought.metric.clone(),
        goal: sought.goal,
    })
}

fn started<'a>(arm: &'a Arm<'_>) -> impl Iterator<Item = &'a LaunchRecord> {
    arm.launches.iter().copied().filter(|it| is_started(it))
}

fn is_started(launch: &LaunchRecord) -> bool {
    !matches!(launch.outcome, Some(LaunchOutcome::Skipped { .. }))
}

impl WhyNotAgain {
    /// The word used in files.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Behind { .. } => "behind",
            Self::AheadByFew { .. } => "ahead_by_few",
            Self::SweepEnded { .. } => "sweep_ended",
        }
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not launched again after launch {}", self.after_launch)?;
        match self.at {
            Some(at) => write!(f, " ({} UTC)", at.strftime("%H:%M")),
            None => Ok(()),
        }
    }
}

impl fmt::Display for NotAgain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.dropped, self.why)
    }
}

impl fmt::Display for WhyNotAgain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SweepEnded { reason } => write!(f, "the sweep ended before that ({reason})"),
            Self::AheadByFew { leader, launches } => {
                let plural = if *launches == 1 { "" } else { "es" };
                write!(
                    f,
                    "ahead of {leader} by {launches} launch{plural} alone, which may be chance"
                )
            }
            Self::Behind { leader, effect: Effect::Ratio(ratio), metric, goal } => {
                let (part, low, high) = lost(*ratio, *goal);
                let word = if number::is_speed(metric, *goal) { "slower" } else { "worse" };
                write!(f, "{part:.0}% [{low:.0}, {high:.0}] {word} than {leader} by all launches")
            }
            Self::Behind {
                leader, effect: Effect::Difference { difference, interval }, ..
            } => {
                let difference = number::difference(*difference, *interval);
                write!(f, "{difference} against {leader} by all launches")
            }
        }
    }
}

/// How much is lost, in per cent, with its interval.
fn lost(Ratio { ratio, interval }: Ratio, goal: Goal) -> (f64, f64, f64) {
    let Interval { low, high } = interval;
    let percent = |it: f64| {
        let percent = if goal == Goal::Minimize { it - 1.0 } else { 1.0 - it };
        // No sign of nothing.
        (percent * 100.0).round() + 0.0
    };
    match goal {
        Goal::Minimize => (percent(ratio), percent(low), percent(high)),
        Goal::Maximize => (percent(ratio), percent(high), percent(low)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(ratio: [f64; 3], metric: &str, goal: Goal) -> String {
        let [ratio, low, high] = ratio;
        let effect = Effect::Ratio(Ratio { ratio, interval: Interval { low, high } });
        let metric = metric.parse().unwrap();
        let at = "2026-11-24T03:12:40Z".parse().ok();
        let why = WhyNotAgain::Behind { leader: "c3".to_owned(), effect, metric, goal };
        NotAgain { dropped: Dropped { after_launch: 14, at }, why }.to_string()
    }

    #[test]
    fn it_says_since_when_and_by_how_much() {
        assert_eq!(
            said([1.14, 1.09, 1.19], "kv_cache.ttft_resent_ms", Goal::Minimize),
            "not launched again after launch 14 (03:12 UTC): 14% [9, 19] slower than c3 by all \
             launches"
        );
        let throughput = "load[concurrency=8].output_throughput";
        let text = said([0.86, 0.81, 0.91], throughput, Goal::Maximize);
        assert!(text.ends_with(": 14% [9, 19] slower than c3 by all launches"), "{text}");
        let ttft = "load[concurrency=8].mean_ttft_ms";
        let text = said([0.86, 0.81, 0.91], ttft, Goal::Maximize);
        assert!(text.ends_with(": 14% [9, 19] worse than c3 by all launches"), "{text}");
        let text = said([1.001, 0.97, 1.04], "kv_cache.ttft_resent_ms", Goal::Minimize);
        assert!(text.ends_with(": 0% [-3, 4] slower than c3 by all launches"), "{text}");
    }

    #[test]
    fn an_end_that_came_too_early_is_the_reason() {
        let why = WhyNotAgain::SweepEnded { reason: "budget spent".to_owned() };
        assert_eq!(
            NotAgain { dropped: Dropped { after_launch: 3, at: None }, why }.to_string(),
            "not launched again after launch 3: the sweep ended before that (budget spent)"
        );
    }
}
