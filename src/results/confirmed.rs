//! Gains that fresh launches confirm, or do not: the only ones to publish. A gain from the
//! launches that chose a configuration is too large. The analysis is that of the ranking
//! (`level`), on the launches of one confirmation alone. Bounds are judged by the same launches:
//! who was chosen since it seemed to keep a bound may break it.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::arm::{self, Arm};
use super::bounded::{Bounded, ConstraintVerdict};
use super::bounds::constrained;
use super::estimate::Ratio;
use super::evidence::Evidence;
use super::exclusion::Exclusion;
use super::gated;
use super::level::{Level, SEPARABLE};
use super::machine::MachineReport;
use super::measured::Measured;
use super::number;
use super::sheet;
use crate::configuration::Configuration;
use crate::history::confirmation::ConfirmationRecord;
use crate::history::launch::LaunchOutcome;
use crate::history::record::{LaunchRecord, SweepRecord};
use crate::history::values::case_of;
use crate::metric::{Goal, MetricRef};
use crate::statistics::Interval;
use crate::strategy::confirm::{Ended, IN_A_ROW, LOOKS};

/// What fresh launches show of one configuration against another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConfirmedGain {
    /// Number of the confirmation in the run, from 1.
    pub number: u32,
    /// The configuration that is confirmed.
    pub candidate: String,
    /// The one that it is compared with.
    pub baseline: String,
    /// The objective's ratio to the baseline's, with its 95 % interval; `None` where there are
    /// too few launches, or a value that is not positive.
    pub effect: Option<Ratio>,
    /// Half of the interval on log scale: 0.05 is about 5 %.
    pub half_width: Option<f64>,
    /// The half-width was to be at most half of this fraction.
    pub claim: f64,
    /// Pairs of launches that are over.
    pub pairs: u32,
    /// Launches that gave values.
    pub launches: OfBoth,
    /// Launches that failed.
    pub failed: OfBoth,
    /// The nodes of a cluster that they ran on, in order of their names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// When the first launch began.
    pub from: Option<Timestamp>,
    /// When the last one ended.
    pub until: Option<Timestamp>,
    /// Whether the candidate is shown to be better: the whole interval is on that side.
    pub shown: bool,
    /// Whether all launches that were asked for were made.
    pub complete: bool,
    /// Why it ended; `None` where it was interrupted, and while it runs.
    pub ended: Option<Ended>,
    /// Why it was over before it was continued; `None` where it was not.
    pub earlier: Option<Ended>,
    /// Which of both gave no values any more, where it ended since.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without_values: Vec<String>,
    /// What the machine did meanwhile.
    pub machine: Option<MachineReport>,
    /// The candidate's bounded metrics by these launches; by those of the sweep, or of its
    /// confirmations before, where these leave open what those show to be broken.
    pub bounds: Vec<Bounded>,
    /// Why the candidate is not to serve, whatever it gains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unfit: Option<Unfit>,
}

/// Why a configuration is not to serve, whatever its other launches gained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "unfit", rename_all = "snake_case")]
pub enum Unfit {
    /// A gate ended a launch of it, of the sweep or of a confirmation.
    GateFailed {
        /// What the gate found.
        message: String,
    },
    /// The confirmation ended since its launches gave no values any more.
    Failing,
}

/// What a confirmation comes to: the one decision that the result, `apply`, the tables and the
/// pictures rest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is no result yet.
    Unfinished,
    /// The candidate is shown to be better, serves, and breaks no bound.
    Confirmed,
    /// It is not to serve.
    Unfit,
    /// It is shown to break a bound.
    BreaksABound,
    /// It is not shown to be better.
    NotShown,
}

/// A number for each of both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OfBoth {
    /// Of the configuration that is confirmed.
    pub candidate: usize,
    /// Of the one that it is compared with.
    pub baseline: usize,
}

/// The gains of a sweep's confirmations, in the order of their numbers. `own`: what its own
/// launches show of the bounds, by configuration.
pub(super) fn confirmed(sweep: &SweepRecord, own: &[Vec<Bounded>]) -> Vec<ConfirmedGain> {
    let mut gains: Vec<ConfirmedGain> = Vec::new();
    for confirmation in &sweep.confirmations {
        gains.extend(gain(sweep, confirmation, own, &gains));
    }
    gains
}

/// `before`: the confirmations with lower numbers.
fn gain(
    sweep: &SweepRecord,
    confirmation: &ConfirmationRecord,
    own: &[Vec<Bounded>],
    before: &[ConfirmedGain],
) -> Option<ConfirmedGain> {
    let asked = &confirmation.asked;
    let number = asked.number;
    let known = &sweep.manifest.configurations;
    let place = |name: &str| known.iter().position(|it| it.name == name);
    let (candidate, baseline) = (place(&asked.candidate)?, place(&asked.baseline)?);
    let arms = [candidate, baseline].map(|it| arm_of(sweep, &known[it], number));
    let metric = &sweep.manifest.objective.metric;
    let case = case_of(&sweep.manifest, metric);
    let level = case.as_deref().and_then(|case| Level::new(&arms, metric, case, sweep));
    let difference = level.as_ref().and_then(|level| level.difference(0, 1));
    let interval = difference.map(|(centre, error)| {
        let deviation = LOOKS * error.variance.sqrt();
        (centre, Interval::around(centre, deviation, error.degrees_of_freedom))
    });
    let effect = interval.map(|(centre, it)| Ratio { ratio: centre.exp(), interval: it.exp() });
    let gave = |arm: &Arm<'_>| {
        let case = case.as_deref().unwrap_or_default();
        arm.launches.iter().filter(|it| gives(it, metric, case)).count()
    };
    let both = |count: &dyn Fn(&Arm<'_>) -> usize| OfBoth {
        candidate: count(&arms[0]),
        baseline: count(&arms[1]),
    };
    let launches = both(&gave);
    let enough = launches.candidate.min(launches.baseline) >= SEPARABLE;
    let is_better = |it: &Ratio| match sweep.manifest.objective.goal {
        Goal::Maximize => it.interval.low > 1.0,
        Goal::Minimize => it.interval.high < 1.0,
    };
    let all = || arms.iter().flat_map(|arm| &arm.launches);
    // What was shown last, unless these launches show something else.
    let known = before.iter().rfind(|it| it.candidate == asked.candidate).map(|it| &it.bounds);
    let known = known.or_else(|| own.get(candidate)).map_or(&[][..], Vec::as_slice);
    let ended = confirmation.ended.or(confirmation.earlier);
    let gave_nothing =
        |arm: &Arm<'_>| case.as_deref().is_some_and(|it| is_failing(arm, metric, it));
    let is_failing = ended == Some(Ended::Failing);
    // One of both fails: the candidate, unless the other one does. Where both do, nothing is shown
    // of it.
    let fails = is_failing && !gave_nothing(&arms[1]);
    let failing = arms.iter().filter(|arm| is_failing && gave_nothing(arm));
    let without_values = failing.map(|arm| arm.configuration.name.clone()).collect();
    Some(ConfirmedGain {
        number,
        candidate: asked.candidate.clone(),
        baseline: asked.baseline.clone(),
        shown: enough && effect.as_ref().is_some_and(is_better),
        effect,
        half_width: interval.map(|(centre, it)| it.high - centre),
        claim: asked.claim,
        pairs: pairs(&arms),
        launches,
        failed: both(&failures),
        nodes: nodes(sweep, all()),
        from: all().filter_map(|it| it.started_at).min(),
        until: all().filter_map(|it| it.ended_at).max(),
        complete: confirmation.ended.is_some_and(Ended::is_final),
        ended: confirmation.ended,
        earlier: confirmation.earlier,
        without_values,
        machine: level.map(|level| level.report(&[0, 1], Some(1))),
        bounds: bounds(sweep, &arms, known),
        unfit: gate_failed(sweep, &known_arm(sweep, &arms[0], number))
            .or_else(|| fails.then_some(Unfit::Failing)),
    })
}

/// The nodes on which launches gave something, where they are a cluster's.
fn nodes<'a: 'b, 'b>(
    sweep: &SweepRecord,
    launches: impl Iterator<Item = &'b &'a LaunchRecord>,
) -> Vec<String> {
    if sweep.manifest.hosts.is_none() {
        return Vec::new();
    }
    let all: BTreeSet<&String> =
        launches.filter(|it| it.has_kept()).filter_map(|it| it.host.as_ref()).collect();
    all.into_iter().cloned().collect()
}

/// The first arm with all its launches up to this confirmation: one answer that a gate refuses
/// excludes it in the sweep, and it is no better by when it was given.
fn known_arm<'a>(sweep: &'a SweepRecord, arm: &Arm<'a>, number: u32) -> Arm<'a> {
    let of = |it: &&LaunchRecord| {
        it.configuration == arm.configuration.name && it.confirmation.is_none_or(|it| it <= number)
    };
    let launches = sweep.launches.iter().filter(of).collect();
    let (configuration, overrides) = (arm.configuration, Vec::new());
    Arm { configuration, launches, overrides, further: Vec::new(), same_as: None }
}

fn gate_failed(sweep: &SweepRecord, arm: &Arm<'_>) -> Option<Unfit> {
    match gated::failed(sweep, arm)? {
        Exclusion::GateFailed { message } => Some(Unfit::GateFailed { message }),
        _ => None,
    }
}

/// Whether so many last launches of an arm gave nothing that its confirmation ends.
fn is_failing(arm: &Arm<'_>, metric: &MetricRef, case: &str) -> bool {
    let settled = |it: &&&LaunchRecord| it.outcome.as_ref().is_some_and(LaunchOutcome::is_settled);
    let last = arm.launches.iter().rev().filter(settled).take(IN_A_ROW);
    let nothing = last.filter(|it| !gives(it, metric, case));
    nothing.count() == IN_A_ROW
}

/// The bounded metrics of the first of these arms. Both arms say what launches differ by.
fn bounds(sweep: &SweepRecord, arms: &[Arm<'_>; 2], own: &[Bounded]) -> Vec<Bounded> {
    let metrics = constrained(&sweep.manifest.objective);
    let read = sheet::read(&sweep.manifest, arms, &metrics).into_iter();
    let measured: Vec<Measured> = read.map(|it| Measured::new(arms, it)).collect();
    let evidence = Evidence { sweep, arms, metrics: &metrics, measured: &measured };
    let broken = |metric: &MetricRef| {
        let mut own = own.iter();
        own.find(|it| it.metric == *metric && it.verdict == ConstraintVerdict::Violated)
    };
    let fresh = evidence.constraints(0, &metrics).into_iter();
    fresh
        .map(|fresh| match broken(&fresh.metric) {
            Some(broken) if fresh.is_open() => broken.clone(),
            _ => fresh,
        })
        .collect()
}

/// A configuration with the launches of one confirmation.
fn arm_of<'a>(sweep: &'a SweepRecord, configuration: &'a Configuration, number: u32) -> Arm<'a> {
    let own = sweep
        .launches
        .iter()
        .filter(|it| it.confirmation == Some(number) && it.configuration == configuration.name);
    let (launches, overrides) = (own.collect(), Vec::new());
    Arm { configuration, launches, overrides, further: Vec::new(), same_as: None }
}

fn gives(launch: &LaunchRecord, metric: &MetricRef, case: &str) -> bool {
    !arm::timed_values(launch, metric, case).is_empty()
}

fn failures(arm: &Arm<'_>) -> usize {
    let failed = |it: &&&LaunchRecord| matches!(&it.outcome, Some(LaunchOutcome::Failed(failure)) if !failure.cancelled);
    arm.launches.iter().filter(failed).count()
}

/// Trials of both, of which each is over.
fn pairs(arms: &[Arm<'_>; 2]) -> u32 {
    let over = |arm: &Arm<'_>| {
        let settled =
            |it: &&&LaunchRecord| it.outcome.as_ref().is_some_and(LaunchOutcome::is_settled);
        let mut trials: Vec<u32> = arm.launches.iter().filter(settled).map(|it| it.trial).collect();
        trials.sort_unstable();
        trials.dedup();
        trials.len()
    };
    over(&arms[0]).min(over(&arms[1])) as u32
}

impl ConfirmedGain {
    /// Whether there is a result: it came to an end, now or before it was continued, and has a
    /// gain from at least three launches of each, or shows that the candidate is not to serve.
    pub fn is_result(&self) -> bool {
        let gain = self.effect.is_some() && self.has_enough();
        self.ended.or(self.earlier).is_some() && (self.unfit.is_some() || gain)
    }

    /// Whether both gave values in as many launches as a gain takes.
    fn has_enough(&self) -> bool {
        self.launches.candidate.min(self.launches.baseline) >= SEPARABLE
    }

    /// Whether it has no result, and further launches may bring one.
    pub fn can_go_on(&self) -> bool {
        !self.is_result() && matches!(self.ended, None | Some(Ended::Budget))
    }

    /// Why it ended, by name where one of both gave no values.
    pub fn why_ended(&self) -> Option<String> {
        let ended = self.ended?;
        Some(match (ended, self.without_values.as_slice()) {
            (Ended::Failing, [name]) => format!("{name} gave no values any more"),
            (Ended::Failing, [_, _]) => "both gave no values any more".to_owned(),
            _ => ended.to_string(),
        })
    }

    /// What it comes to.
    pub fn standing(&self) -> Standing {
        if !self.is_result() {
            Standing::Unfinished
        } else if self.unfit.is_some() {
            Standing::Unfit
        } else if self.breaks_a_bound() {
            Standing::BreaksABound
        } else if self.shown {
            Standing::Confirmed
        } else {
            Standing::NotShown
        }
    }

    /// Whether the candidate is not to be used, whatever it gains.
    pub fn is_refuted(&self) -> bool {
        matches!(self.standing(), Standing::Unfit | Standing::BreaksABound)
    }

    /// Whether the candidate is shown to be worse: the whole interval is on that side.
    pub fn is_worse(&self, goal: Goal) -> bool {
        let interval = self.effect.filter(|_| self.is_result()).map(|it| it.interval);
        interval.is_some_and(|it| match goal {
            Goal::Maximize => it.high < 1.0,
            Goal::Minimize => it.low > 1.0,
        })
    }

    /// Whether the candidate is shown to be better, serves, and breaks no bound.
    pub fn is_confirmed(&self) -> bool {
        self.standing() == Standing::Confirmed
    }

    /// Whether the candidate is shown to break a bound.
    pub fn breaks_a_bound(&self) -> bool {
        self.broken().next().is_some()
    }

    /// The bounded metrics of the candidate that are shown to break their bounds.
    pub fn broken(&self) -> impl Iterator<Item = &Bounded> {
        self.bounds.iter().filter(|it| it.verdict == ConstraintVerdict::Violated)
    }

    /// Those of which it is not shown whether they keep them.
    pub fn open(&self) -> impl Iterator<Item = &Bounded> {
        self.bounds.iter().filter(|it| it.is_open())
    }

    /// Whether it ended since the interval was narrow enough.
    pub fn is_precise(&self) -> bool {
        self.ended == Some(Ended::Precise)
    }

    /// The gain in the objective's own direction, as `+41% [+36%, +46%]`.
    pub fn percent(&self) -> Option<String> {
        self.effect.map(|effect| number::percent(effect.ratio, effect.interval))
    }
}

impl fmt::Display for ConfirmedGain {
    /// One sentence for a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { candidate, baseline, .. } = self;
        let launches = format!("{} + {} launches", self.launches.candidate, self.launches.baseline);
        if !self.is_result() {
            return self.without_result(f, &launches);
        }
        let Some(gain) = self.percent() else {
            write!(f, "{candidate} against {baseline}: not confirmed, no gain after {launches}")?;
            self.unfit.iter().try_for_each(|it| write!(f, "; {candidate} {it}"))?;
            return self.end(f);
        };
        match self.standing() {
            Standing::BreaksABound if self.shown => {
                write!(f, "{candidate} breaks a bound, though it is better than {baseline}")?;
            }
            Standing::Confirmed => {
                write!(f, "{candidate} is better than {baseline}, confirmed on fresh launches")?;
            }
            Standing::Unfit => write!(f, "{candidate} against {baseline}, not confirmed")?,
            _ => write!(f, "{candidate} is not confirmed to be better than {baseline}")?,
        }
        write!(f, ": {gain} ({launches})")?;
        self.unfit.iter().try_for_each(|it| write!(f, "; {candidate} {it}"))?;
        for bounded in self.broken() {
            write!(f, "; broken is the bound of {bounded}")?;
        }
        for bounded in self.open() {
            write!(f, "; not shown to be within the bound of {bounded}")?;
        }
        self.end(f)
    }
}

impl ConfirmedGain {
    /// What is to be known where there is no result: that it ended, or that it is too short for one
    /// or not finished.
    fn without_result(&self, f: &mut fmt::Formatter<'_>, launches: &str) -> fmt::Result {
        let Self { candidate, baseline, .. } = self;
        write!(f, "{candidate} against {baseline}: ")?;
        match (self.why_ended(), self.percent()) {
            (Some(why), _) if !self.can_go_on() => {
                write!(f, "ended without a result after {launches}: {why}")
            }
            (why, Some(gain)) if self.has_enough() => {
                write!(f, "not finished: {gain} ({launches}); {}", stopped(why))
            }
            (why, _) => write!(
                f,
                "too short to say anything ({launches}, of which a gain takes {SEPARABLE} + \
                 {SEPARABLE} at the least); {}",
                stopped(why)
            ),
        }
    }

    /// Why it ended, where that is not as it was asked for.
    fn end(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ended {
            Some(Ended::Precise) => Ok(()),
            // Said already, of the candidate.
            Some(Ended::Failing) if self.unfit == Some(Unfit::Failing) => Ok(()),
            Some(ended) => {
                let half = number::whole_percent(self.claim / 2.0);
                let why = self.why_ended().unwrap_or_else(|| ended.to_string());
                write!(f, "; {why} before the interval was within {half}")
            }
            None => write!(f, "; continued for a narrower interval, which is not reached yet"),
        }
    }
}

/// Why one is not finished.
fn stopped(why: Option<String>) -> String {
    why.unwrap_or_else(|| "interrupted, or still running".to_owned())
}

impl fmt::Display for Unfit {
    /// What is said after the configuration's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GateFailed { message } => write!(f, "failed a gate: {message}"),
            Self::Failing => f.write_str("gave no values any more"),
        }
    }
}
