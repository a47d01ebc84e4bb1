//! Why a sweep that chooses its launches launched a configuration no more, and since when: it
//! was not taken into the next block or the duels, or a duel was its last one. Both are found in
//! the record: what it was behind by is reckoned from the launches until then, by the analysis
//! of the ranking. Who fails or breaks a bound has no rank, and its reason is there; since when
//! it was launched no more is found here, too.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::arm::{self, Arm};
use super::chosen;
use super::duels::{first_duel, is_started, last_duels, started, took_part};
use super::estimate::{Effect, Ratio};
use super::evidence::Evidence;
use super::measured::Measured;
use super::{number, sheet};
use crate::clean::counted;
use crate::history::journal;
use crate::history::record::{LaunchRecord, SweepRecord};
use crate::metric::{Goal, MetricRef};
use crate::statistics::{Interval, SIGNIFICANCE};
use crate::strategy::{Place, Purpose, StrategySpec};

/// After what it was decided to launch a configuration no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum After {
    /// The first block, of which each configuration is.
    FirstBlock,
    /// The screen of a model.
    Screen,
    /// The second block.
    SecondBlock,
    /// Its last duel.
    Duel,
    /// Its last launch.
    Launch,
}

/// Since when a configuration was launched no more although the sweep went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// After what.
    pub after: After,
    /// The last launch of that, by its number in the journal: what is launched again for the
    /// rest of a trial has a number of its own.
    pub after_launch: u32,
    /// When that one ended, or else began; `None` where that is not known.
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
    /// By the launches until then it is behind the best of those that were launched further, or
    /// behind the one that the sweep ended with.
    Behind {
        /// That one.
        leader: String,
        /// The objective, compared with that one. The interval of a ratio is adjusted for the
        /// search.
        effect: Effect,
        /// Ordered pairs among which this one was found, which the interval is adjusted for.
        comparisons: usize,
        /// Whether nothing was launched further: the sweep ended there.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_last: bool,
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
    /// The sweep ended in, or behind, a second block of the best ones, which it was not in yet.
    OthersFirst {
        /// Why it ended.
        reason: String,
    },
}

/// Of each arm, why it was launched no more: `None` of one that was in the race when it
/// ended, or that was launched for a confirmation, of the unranked, and while the sweep goes
/// on. `order`: ranked arms, best first; `leader`: the one of them to take.
pub(super) fn not_again(
    evidence: &Evidence<'_>,
    order: &[usize],
    leader: Option<usize>,
) -> Vec<Option<NotAgain>> {
    let Some(leader) = leader else { return vec![None; evidence.arms.len()] };
    let place = |index: usize| order.iter().position(|it| *it == index);
    let mut until = BTreeMap::new();
    let mut why = |index: usize, dropped: &Dropped| {
        if let Some(reason) = cut_before_duels(evidence) {
            return Some(if matches!(dropped.after, After::FirstBlock | After::Screen) {
                WhyNotAgain::OthersFirst { reason }
            } else {
                WhyNotAgain::SweepEnded { reason }
            });
        }
        if place(index) < place(leader) && evidence.measured[0].has_too_few(index) {
            let launches = evidence.measured[0].values(index)?.launches();
            let leader = evidence.arms[leader].configuration.name.clone();
            return Some(WhyNotAgain::AheadByFew { leader, launches });
        }
        let last = dropped.after_launch;
        let until = until.entry(last).or_insert_with(|| Until::of(evidence, last));
        behind(evidence, until, index, (order, leader))
    };
    let mut found = dropped(evidence);
    for (index, dropped) in found.iter_mut().enumerate() {
        dropped.take_if(|_| index == leader || !order.contains(&index));
    }
    let of = |(index, dropped): (usize, Option<Dropped>)| {
        let dropped = dropped?;
        Some(NotAgain { dropped, why: why(index, &dropped)? })
    };
    found.into_iter().enumerate().map(of).collect()
}

/// Why a sweep ended, where that was before its duels and not by its own choice: nothing was
/// decided by then of who would have met in them.
pub(super) fn cut_before_duels(evidence: &Evidence<'_>) -> Option<String> {
    let ended = evidence.sweep.ended.as_ref()?;
    let is_before = is_cut(evidence.sweep) && last_duels(evidence).is_empty();
    // What was remarked then is said once, of all.
    is_before.then(|| journal::budget_and_remark(&ended.reason).0.to_owned())
}

/// Whether a sweep ended, and not by its own choice.
fn is_cut(sweep: &SweepRecord) -> bool {
    sweep.ended.as_ref().is_some_and(|it| !it.complete || chosen::is_spent(sweep))
}

/// Of each arm, since when a sweep that chose its launches launched it no more: `None` of one
/// that was in the last duels, or that was launched for a confirmation, and while the sweep
/// goes on. One that ended right after its blocks decided so of all of them.
fn dropped(evidence: &Evidence<'_>) -> Vec<Option<Dropped>> {
    let (arms, sweep) = (evidence.arms, evidence.sweep);
    if sweep.ended.is_none() || !sweep.manifest.strategy.chooses() {
        return vec![None; arms.len()];
    }
    let last = last_duels(evidence);
    let (phases, is_cut) = (Phases::of(sweep), is_cut(sweep));
    let final_phase = |arm: &Arm<'_>| {
        let own = started(arm).filter(|it| it.purpose != Purpose::Sentinel);
        own.map(|it| phases.of_launch(it)).max()
    };
    let is_modelled = matches!(sweep.manifest.strategy, StrategySpec::Model(_));
    let first = if is_modelled { After::Screen } else { After::FirstBlock };
    let has_values = |index: usize| evidence.measured[0].values(index).is_some();
    let has_all = |(index, arm): (usize, &Arm<'_>)| {
        !has_values(index) || final_phase(arm) == Some(phases.last())
    };
    // What a claim lacked is launched behind the blocks alone.
    let is_whole = phases.last() > 1 || arms.iter().enumerate().all(has_all);
    let of = |arm: &Arm<'_>| {
        let final_phase = final_phase(arm)?;
        let is_in = !last.is_empty() && took_part(arm, &last);
        let name = &arm.configuration.name;
        let confirms = |it: &LaunchRecord| it.confirmation.is_some() && it.configuration == *name;
        if is_in || sweep.launches.iter().any(confirms) {
            return None;
        }
        if last.is_empty() && is_cut {
            let selects = sweep.manifest.strategy.selects(sweep.manifest.configurations.len());
            let is_of_others = final_phase == 0 && phases.last() > 0 && selects;
            return if is_of_others {
                Some(at(first, phases.last_of(0)?))
            } else if final_phase > 0 {
                // In the middle of a block they were still in the race.
                let block = phases.last_of(final_phase).filter(|_| is_whole)?;
                Some(at(After::SecondBlock, block))
            } else {
                after_own(arm)
            };
        }
        let after = match final_phase {
            0 => first,
            1 => After::SecondBlock,
            _ => return Some(Dropped { after: After::Duel, ..after_own(arm)? }),
        };
        Some(at(after, phases.last_of(final_phase)?))
    };
    arms.iter().map(of).collect()
}

/// The same of one that has no rank, since it fails or breaks a bound: after which of its own
/// launches that was.
pub(super) fn unranked_since(evidence: &Evidence<'_>) -> Vec<Option<Dropped>> {
    let all = dropped(evidence).into_iter().zip(evidence.arms);
    all.map(|(dropped, arm)| dropped.and_then(|_| after_own(arm))).collect()
}

fn after_own(arm: &Arm<'_>) -> Option<Dropped> {
    Some(at(After::Launch, started(arm).max_by_key(|it| it.launch)?))
}

fn at(after: After, launch: &LaunchRecord) -> Dropped {
    Dropped { after, after_launch: launch.launch, at: launch.ended_at.or(launch.started_at) }
}

/// The parts of a race: its first block, its second one, and the duels.
struct Phases<'a> {
    launches: Vec<(u32, &'a LaunchRecord)>,
}

impl<'a> Phases<'a> {
    fn of(sweep: &'a SweepRecord) -> Self {
        let manifest = &sweep.manifest;
        let first_duel = first_duel(sweep);
        let phase = |it: &LaunchRecord| {
            let duel = first_duel.filter(|_| it.purpose == Purpose::Final);
            let place = Place {
                trial: it.trial.saturating_sub(sweep.first_trial()),
                is_final: it.purpose == Purpose::Final,
                duel: duel.and_then(|first| it.trial.checked_sub(first)),
            };
            let (count, baseline) = (manifest.configurations.len(), manifest.baseline.is_some());
            manifest.strategy.round(manifest.order, place, count, baseline).min(2)
        };
        let launches = sweep.own_launches().filter(|it| is_started(it));
        Self { launches: launches.map(|it| (phase(it), it)).collect() }
    }

    fn of_launch(&self, launch: &LaunchRecord) -> u32 {
        let own = self.launches.iter().find(|(_, it)| it.launch == launch.launch);
        own.map_or(0, |(phase, _)| *phase)
    }

    fn last(&self) -> u32 {
        self.launches.iter().map(|(phase, _)| *phase).max().unwrap_or_default()
    }

    fn last_of(&self, phase: u32) -> Option<&'a LaunchRecord> {
        let own = self.launches.iter().filter(|(of, _)| *of == phase);
        own.map(|(_, it)| *it).max_by_key(|it| it.launch)
    }
}

/// What was known after a launch.
struct Until {
    objective: Option<Measured>,
    /// The arms that were launched further.
    further: Vec<usize>,
}

impl Until {
    fn of(evidence: &Evidence<'_>, launch: u32) -> Self {
        let mut sweep = evidence.sweep.clone();
        sweep.launches.retain(|it| it.launch <= launch);
        let arms = arm::arms(&sweep);
        let read = sheet::read(&sweep.manifest, &arms, &evidence.metrics[..1]).into_iter().next();
        let objective = read.map(|read| Measured::objective(&sweep, &arms, read));
        let is_further =
            |index: &usize| started(&evidence.arms[*index]).any(|it| it.launch > launch);
        let further = (0..evidence.arms.len()).filter(is_further).collect();
        Self { objective, further }
    }
}

/// `None` where nothing can be compared, and where values are equal and do not vary.
fn behind(
    evidence: &Evidence<'_>,
    until: &Until,
    index: usize,
    (order, last_leader): (&[usize], usize),
) -> Option<WhyNotAgain> {
    let objective = until.objective.as_ref()?;
    let sought = &evidence.sweep.manifest.objective;
    let is_last = until.further.is_empty();
    let own = [last_leader];
    let further: &[usize] = if is_last { &own } else { &until.further };
    let known = further.iter().filter(|it| **it != index && order.contains(it));
    let known = known.filter_map(|it| Some((*it, objective.estimate(*it)?.mean)));
    // Any could have led, and each of the others been behind it.
    let all = order.iter().filter(|it| objective.estimate(**it).is_some()).count();
    let comparisons = (all * all.saturating_sub(1)).max(1);
    let (leader, _) = known.min_by(|a, b| match sought.goal {
        Goal::Minimize => a.1.total_cmp(&b.1),
        Goal::Maximize => b.1.total_cmp(&a.1),
    })?;
    let difference = || {
        let (difference, interval) = objective.difference(index, leader)?;
        Some(Effect::Difference { difference, interval })
    };
    // One-sided, and so of two alone that of every other interval.
    let error = (2.0 * SIGNIFICANCE / comparisons as f64).min(SIGNIFICANCE);
    let ratio = objective.ratio_missing(error, index, leader).map(Effect::Ratio);
    let effect = ratio.or_else(difference)?;
    Some(WhyNotAgain::Behind {
        leader: evidence.arms[leader].configuration.name.clone(),
        effect,
        comparisons,
        is_last,
        metric: sought.metric.clone(),
        goal: sought.goal,
    })
}

impl WhyNotAgain {
    /// The word used in files.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Behind { .. } => "behind",
            Self::AheadByFew { .. } => "ahead_by_few",
            Self::SweepEnded { .. } => "sweep_ended",
            Self::OthersFirst { .. } => "others_first",
        }
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = match self.after {
            After::FirstBlock => "the first block",
            After::Screen => "the screen",
            After::SecondBlock => "the second block",
            After::Duel => "its last duel",
            After::Launch => "its last launch",
        };
        write!(f, "not launched again after {after} (")?;
        // Two numbers of launches would be confused: progress counts what was launched again once.
        match self.at {
            Some(at) => write!(f, "{} UTC)", at.strftime("%H:%M")),
            None => write!(f, "launch {} of the journal)", self.after_launch),
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
            Self::OthersFirst { reason } => {
                write!(
                    f,
                    "others were launched a second time first, and the sweep ended ({reason})"
                )
            }
            Self::SweepEnded { reason } => write!(f, "the sweep ended before that ({reason})"),
            Self::AheadByFew { leader, launches } => {
                let launches = counted(*launches as u64, "launch");
                write!(f, "ahead of {leader} by {launches} alone, which may be chance")
            }
            Self::Behind {
                leader, effect: Effect::Ratio(ratio), metric, goal, is_last, ..
            } => {
                let until = until(*is_last);
                let word = if number::is_speed(metric, *goal) { "slower" } else { "worse" };
                let [part, low, high] = lost(*ratio, *goal);
                if low > 0.0 {
                    let [part, low, high] = [part, low, high].map(percent);
                    write!(f, "{part}% [{low}, {high}] {word} than {leader}{until}")
                } else {
                    let [low, high] = [low, high].map(percent);
                    write!(f, "not shown to be {word} than {leader}{until} ([{low}, {high}]%)")?;
                    f.write_str(if *is_last { "" } else { ", but others were worth more launches" })
                }
            }
            Self::Behind {
                leader,
                effect: Effect::Difference { difference, interval },
                is_last,
                ..
            } => {
                let difference = number::difference(*difference, *interval);
                write!(f, "{difference} against {leader}{}", until(*is_last))
            }
        }
    }
}

fn until(is_last: bool) -> &'static str {
    if is_last { ", with which the sweep ended" } else { " by the launches until then" }
}

/// How much is lost, in per cent, with its interval.
fn lost(Ratio { ratio, interval }: Ratio, goal: Goal) -> [f64; 3] {
    let Interval { low, high } = interval;
    let percent = |it: f64| 100.0 * if goal == Goal::Minimize { it - 1.0 } else { 1.0 - it };
    match goal {
        Goal::Minimize => [ratio, low, high].map(percent),
        Goal::Maximize => [ratio, high, low].map(percent),
    }
}

/// Above this a number of per cent says no more.
const MOST_PERCENT: f64 = 9999.0;

/// A whole number, or one decimal of less than one.
fn percent(value: f64) -> String {
    // Few launches and many comparisons leave nothing known; and no sign of nothing.
    if value.abs() > MOST_PERCENT {
        format!("{}{MOST_PERCENT}", if value > 0.0 { ">" } else { "<-" })
    } else if value.abs() < 1.0 {
        format!("{:.1}", (value * 10.0).round() / 10.0 + 0.0)
    } else {
        format!("{:.0}", value.round() + 0.0)
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
        let leader = "c3".to_owned();
        let (comparisons, is_last) = (6, false);
        let why = WhyNotAgain::Behind { leader, effect, comparisons, is_last, metric, goal };
        let dropped = Dropped { after: After::SecondBlock, after_launch: 14, at };
        NotAgain { dropped, why }.to_string()
    }

    #[test]
    fn it_says_since_when_and_by_how_much() {
        let ttft = "kv_cache.ttft_resent_ms";
        assert_eq!(
            said([1.14, 1.09, 1.19], ttft, Goal::Minimize),
            "not launched again after the second block (03:12 UTC): 14% \
             [9, 19] slower than c3 by the launches until then"
        );
        let throughput = "load[concurrency=8].output_throughput";
        let text = said([0.86, 0.81, 0.91], throughput, Goal::Maximize);
        assert!(
            text.ends_with(": 14% [9, 19] slower than c3 by the launches until then"),
            "{text}"
        );
        let mean_ttft = "load[concurrency=8].mean_ttft_ms";
        let text = said([0.86, 0.81, 0.91], mean_ttft, Goal::Maximize);
        assert!(text.ends_with(": 14% [9, 19] worse than c3 by the launches until then"), "{text}");
        let text = said([1.004, 1.002, 1.006], ttft, Goal::Minimize);
        assert!(text.contains(": 0.4% [0.2, 0.6] slower than c3"), "{text}");
    }

    #[test]
    fn nothing_is_called_slower_that_is_not_shown_to_be() {
        let text = said([1.001, 0.97, 1.04], "kv_cache.ttft_resent_ms", Goal::Minimize);
        let expected = ": not shown to be slower than c3 by the launches until then ([-3, 4]%), but \
                        others were worth more launches";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn an_end_that_came_too_early_is_the_reason() {
        let why = WhyNotAgain::SweepEnded { reason: "budget spent".to_owned() };
        let dropped = Dropped { after: After::Launch, after_launch: 3, at: None };
        assert_eq!(
            NotAgain { dropped, why }.to_string(),
            "not launched again after its last launch (launch 3 of the journal): the sweep ended \
             before that (budget spent)"
        );
    }
}
