//! What to do after a reading: commands and changes, as data. Commands are named with
//! the paths that the reader used.

use serde::Serialize;

use super::failed::{Cause, FailedGroup};
use super::{NoDecision, Place, Statement};
use crate::history::extent::{Confirming, State};
use crate::history::journal;
use crate::history::launch::FailureClass;
use crate::history::record::{Manifest, SweepRecord};
use crate::results::chosen::Chosen;
use crate::results::confirmable::outlook;
use crate::results::confirmed::ConfirmedGain;
use crate::results::disturbance::Undecided;
use crate::results::exclusion::Exclusion;
use crate::results::not_counted::Unswept;
use crate::results::preference::within_bounds;
use crate::results::ranked::{RankedConfiguration, Ranking};
use crate::strategy::confirm::{Ended, MAX_PAIRS};

mod confirming;

/// Launches of each configuration that a sweep should have.
const LAUNCHES: u32 = 4;

/// More launches than this are no advice.
pub const MOST_LAUNCHES: usize = 100;

/// How long something takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Hours {
    /// At least, in hours.
    pub low: f64,
    /// At most, in hours.
    pub high: f64,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "next", rename_all = "snake_case")]
pub enum NextStep {
    /// Start and prove production, which the run stopped: before anything else.
    Recover {
        /// The sweep's folder.
        run: String,
    },
    /// Confirm the gain by fresh launches.
    Confirm {
        /// The sweep's folder.
        run: String,
        /// The configuration, where it is not the ranking's candidate, or is confirmed only
        /// where it is named.
        configuration: Option<String>,
        /// What it is compared with, where that is not the grid's baseline.
        #[serde(skip_serializing_if = "Option::is_none")]
        baseline: Option<String>,
        /// The claim that was asked for, as a fraction, where it is not the run's usual one.
        claim: Option<f64>,
        /// How long that takes, where it is known.
        hours: Option<Hours>,
        /// Whether it continues one that was begun.
        goes_on: bool,
        /// Whether it begins anew what ended without a result.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        again: bool,
    },
    /// Continue the sweep.
    Resume {
        /// The sweep's folder.
        run: String,
        /// Trials of the sweep that are left.
        left: u32,
        /// Whether it continues a confirmation, and not yet the sweep.
        confirmation: bool,
    },
    /// It runs, or waits for its window: read again later.
    Wait {
        /// The sweep's folder.
        run: String,
        /// Trials of the sweep that are left.
        left: u32,
        /// Whether a confirmation runs, and not the sweep.
        confirmation: bool,
    },
    /// Write what deploys it.
    Apply {
        /// The sweep's folder.
        run: String,
    },
    /// Launch vLLM with the flags: of a simulated engine there is nothing to deploy.
    UseFlags,
    /// Change the grid.
    Change {
        /// What.
        change: Change,
    },
    /// Sweep the grid again, after the changes before it.
    Sweep {
        /// The grid file; `None` where it is not known.
        grid: Option<String>,
    },
}

/// What to change in a grid.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// More launches of each configuration.
    Launches {
        /// How many.
        launches: u32,
    },
    /// More warm-up before the kept repeats.
    Warmup,
    /// A longer budget.
    Budget,
    /// More launches of a sweep that chooses them.
    MaxLaunches,
    /// A greater probability that the leader of a sweep that chooses its launches is good
    /// enough.
    Probability {
        /// The one that was asked for.
        asked: f64,
    },
    /// Nothing else on the machine.
    Disturbance {
        /// How many launches of each configuration, where there were fewer than that.
        launches: Option<u32>,
    },
    /// More CPU for the client.
    Client,
    /// Name a baseline.
    Baseline,
    /// Name another baseline: the present one breaks a bound.
    OtherBaseline {
        /// One that keeps the bounds.
        configuration: String,
    },
    /// Add configurations.
    Configurations,
    /// Wider bounds, or other configurations.
    Bounds,
    /// What a reason of the measurements asks for.
    Reason {
        /// In its own words.
        text: String,
    },
    /// What the groups of `failed` advise.
    Failures,
    /// What a configuration fails by in its confirmation; its launches' logs say it.
    Values {
        /// The configuration.
        configuration: String,
    },
    /// What launches ask of a cluster, which refuses it.
    Cluster,
}

/// What decides what to do after a statement.
pub(super) struct After<'a> {
    pub(super) ranking: &'a Ranking,
    pub(super) groups: &'a [FailedGroup],
    /// The confirmation that the statement rests on.
    pub(super) confirmed: Option<&'a ConfirmedGain>,
    /// A confirmation that was begun and has no result.
    pub(super) begun: Option<&'a ConfirmedGain>,
    pub(super) manifest: &'a Manifest,
    pub(super) place: &'a Place,
    /// Whether first repeats were measured before the server was warm.
    pub(super) cold: bool,
}

/// What to do.
pub(super) fn next(statement: &Statement, after: &After<'_>) -> Vec<NextStep> {
    let owed = after.place.production.is_some();
    let first = owed.then(|| NextStep::Recover { run: after.run() });
    first.into_iter().chain(of_sweep(statement, after)).collect()
}

/// What to do about the sweep itself.
fn of_sweep(statement: &Statement, after: &After<'_>) -> Vec<NextStep> {
    if let Some(steps) = after.of_cluster().or_else(|| after.goes_on()) {
        return steps;
    }
    match statement {
        Statement::Better { confirmed: true, open, .. } => after.confirmed(!open.is_empty()),
        Statement::BoundBroken { configuration, .. } => {
            after.instead_of(configuration, Change::Bounds)
        }
        Statement::Unfit { configuration, .. } => {
            after.instead_of(configuration, Change::Configurations)
        }
        Statement::NotConfirmed { .. } => after.again(Change::Configurations),
        // What was begun is ended first, whatever the sweep alone could show.
        _ if after.pending().is_some() => after.confirm(),
        _ if after.begun.is_some() => after.anew(),
        Statement::Better { .. }
        | Statement::NotShown { .. }
        | Statement::NoClaim { baseline: Some(_), .. }
            if after.cold =>
        {
            after.again(Change::Warmup)
        }
        Statement::Better { .. }
        | Statement::NotShown { .. }
        | Statement::NoClaim { baseline: Some(_), .. } => after.confirm(),
        Statement::Only { of, .. } if *of > 1 && after.is_correctable() => after.correct(),
        Statement::Only { of, .. } if *of > 1 && after.is_spent() => after.again(Change::Budget),
        Statement::BaselineIsBest { .. }
        | Statement::NoClaim { .. }
        | Statement::First { .. }
        | Statement::NotDistinguishable { .. }
            if after.is_short() =>
        {
            after.again(after.more())
        }
        Statement::NoClaim { .. } if after.manifest.baseline.is_none() => {
            after.again(Change::Baseline)
        }
        Statement::BaselineIsBest { of, worse, .. } if after.is_blunt(*of, *worse) => {
            after.again(after.more())
        }
        Statement::BaselineIsBest { .. } | Statement::Only { .. } | Statement::NoClaim { .. } => {
            after.again(Change::Configurations)
        }
        Statement::First { .. } | Statement::NotDistinguishable { .. } => {
            after.again(Change::Baseline)
        }
        Statement::LaunchedOnce { .. } if after.is_spent() => after.again(Change::Budget),
        Statement::LaunchedOnce { .. } => after.again(Change::Launches { launches: LAUNCHES }),
        Statement::BaselineNotRanked { baseline, candidate, .. } => {
            after.without_baseline(baseline, candidate)
        }
        Statement::NoDecision { cause } => after.undecided(cause),
    }
}

/// With which claim a confirmation would go on; `None` where it may have no more launches. A claim
/// that its interval is narrow enough for would launch nothing.
fn further(gain: &ConfirmedGain) -> Option<(&ConfirmedGain, f64)> {
    match gain.ended {
        Some(Ended::Precise) => {
            let narrower = gain.half_width.map_or(f64::INFINITY, round_down);
            Some((gain, (gain.claim / 2.0).min(narrower)))
        }
        None | Some(Ended::Budget) => Some((gain, gain.claim)),
        Some(_) => None,
    }
}

/// The next smaller claim as it is written in a command: two decimals of a per cent, of which
/// one at least is left.
fn round_down(claim: f64) -> f64 {
    ((claim * 1e4).floor() / 1e4).max(1e-4)
}

/// Whether these steps refer to what failed.
pub(super) fn names_failed(steps: &[NextStep]) -> bool {
    steps.iter().any(|it| matches!(it, NextStep::Change { change: Change::Failures }))
}

impl After<'_> {
    /// A claim, where a command has to name it.
    fn unusual(&self, claim: f64) -> Option<f64> {
        Some(claim).filter(|it| (it - self.manifest.usual_claim()).abs() > 1e-9)
    }

    fn run(&self) -> String {
        self.place.run.clone()
    }

    /// Waiting or continuing, where something is not over: `resume` continues what was begun
    /// last, so a confirmation comes before the rest of the sweep.
    fn goes_on(&self) -> Option<Vec<NextStep>> {
        let extent = self.place.extent.as_ref()?;
        let (run, left) = (self.run(), extent.of - extent.done);
        let wait = |confirmation| vec![NextStep::Wait { run: self.run(), left, confirmation }];
        match (&extent.state, extent.confirmation) {
            (State::Running | State::Waiting, _) => Some(wait(false)),
            (_, Some(Confirming::Running | Confirming::Waiting)) => Some(wait(true)),
            (State::Interrupted | State::Stopped { .. }, begun) => {
                let first = NextStep::Resume { run: self.run(), left, confirmation: true };
                let rest = NextStep::Resume { run, left, confirmation: false };
                Some(begun.map(|_| first).into_iter().chain([rest]).collect())
            }
            (_, Some(Confirming::Pending)) => {
                Some(vec![NextStep::Resume { run, left: 0, confirmation: true }])
            }
            // Also of one that a person began: `resume` continues what was begun last.
            (_, Some(Confirming::Interrupted)) if self.manifest.confirm.is_some() => {
                Some(vec![NextStep::Resume { run, left: 0, confirmation: true }])
            }
            (State::Complete | State::BudgetSpent, _) => None,
        }
    }

    /// Whether a sweep that stopped would stop so again: a run keeps what its grid asks of the
    /// cluster. What the cluster took before, it refuses for a reason of its own.
    fn is_refused(&self, state: &State) -> bool {
        let is_refused = matches!(state, State::Stopped { reason } if journal::is_refused(reason));
        is_refused && !self.has_rank()
    }

    fn has_rank(&self) -> bool {
        self.ranking.rows.iter().any(|row| row.eligible)
    }

    fn has_pending(&self) -> bool {
        self.ranking.rows.iter().any(|row| self.ranking.is_pending(&row.name))
    }

    /// Whether the limit of a job ended launches, so that no continuation shows a gain: a run keeps
    /// its limit. One in which others were measured or still are to be, the baseline among them, is
    /// worth its end.
    fn is_out_of_time(&self) -> bool {
        let cause = Cause::Launch { class: FailureClass::TimeLimit };
        let mut out_of_time = self.groups.iter().filter(|it| !it.ranked && it.cause == cause);
        let baseline = self.manifest.baseline.as_ref();
        let is_needed =
            |it: &FailedGroup| baseline.is_some_and(|name| it.configurations.contains(name));
        let is_hopeless = !self.has_rank() && !self.has_pending();
        out_of_time.any(|it| is_hopeless || is_needed(it))
    }

    /// What to change where a sweep that did not end asks something of a cluster that it does not
    /// get.
    fn of_cluster(&self) -> Option<Vec<NextStep>> {
        let state = &self.place.extent.as_ref()?.state;
        if self.is_refused(state) {
            return Some(self.again(Change::Cluster));
        }
        let is_left = matches!(state, State::Interrupted | State::Stopped { .. });
        let text = "raise `hosts: slurm: time`".to_owned();
        (is_left && self.is_out_of_time()).then(|| self.again(Change::Reason { text }))
    }

    fn again(&self, change: Change) -> Vec<NextStep> {
        vec![NextStep::Change { change }, NextStep::Sweep { grid: self.place.grid.clone() }]
    }

    /// Whether the sweep chose its launches and ended before its leader was good enough with
    /// the probability that was asked for.
    fn is_short(&self) -> bool {
        self.ranking.chosen.as_ref().is_some_and(Chosen::is_short)
    }

    /// Whether it would have launched more, had it been allowed to.
    fn is_cut(&self) -> bool {
        self.ranking.chosen.as_ref().is_some_and(Chosen::is_cut)
    }

    /// What gives more launches: of each configuration, or of those that the sweep chooses. One
    /// that ended of its own will ends no later, however many it may make.
    fn more(&self) -> Change {
        match &self.ranking.chosen {
            None => Change::Launches { launches: self.more_launches() },
            Some(_) if self.is_short() && self.is_spent() => Change::Budget,
            Some(_) if self.is_cut() => Change::MaxLaunches,
            Some(chosen) => Change::Probability { asked: chosen.asked },
        }
    }

    /// What FAILED names; where it names nothing, launches are missing.
    fn correct(&self) -> Vec<NextStep> {
        if self.groups.iter().any(|it| !it.passed) {
            return self.again(Change::Failures);
        }
        if self.is_spent() {
            return self.again(Change::Budget);
        }
        self.again(self.more())
    }

    /// A baseline that breaks a bound is not corrected: another one keeps it.
    fn without_baseline(&self, baseline: &str, candidate: &str) -> Vec<NextStep> {
        let mut rows = self.ranking.rows.iter();
        let breaks = |row: &RankedConfiguration| {
            let mut all = row.exclusions.iter();
            all.any(|it| matches!(it, Exclusion::Violated { .. }))
        };
        if !rows.any(|row| row.name == baseline && breaks(row)) {
            return self.correct();
        }
        let mut ranked = self.ranking.rows.iter().filter(|row| row.eligible);
        // Against itself nothing has a gain.
        match ranked.find(|row| row.name != candidate && within_bounds(row)) {
            Some(row) => self.again(Change::OtherBaseline { configuration: row.name.clone() }),
            None => self.again(Change::Bounds),
        }
    }

    /// Whether something is to be done about what has no rank.
    fn is_correctable(&self) -> bool {
        self.groups.iter().any(|it| !it.ranked && it.advice.is_some())
    }

    /// Whether some are not distinguishable, where a difference that is often wanted would
    /// not have been seen.
    fn is_blunt(&self, of: usize, worse: usize) -> bool {
        let detectable = self.ranking.detectable.as_ref();
        worse + 1 < of && detectable.is_some_and(|it| it.difference > it.wanted)
    }

    /// Whether the budget ended the sweep: it cannot be resumed then.
    fn is_spent(&self) -> bool {
        self.place.extent.as_ref().is_some_and(|it| it.state == State::BudgetSpent)
    }

    fn undecided(&self, cause: &NoDecision) -> Vec<NextStep> {
        match cause {
            NoDecision::NoConfiguration => self.again(Change::Configurations),
            NoDecision::Missing(missing) => {
                match missing.first_reason.as_deref().and_then(remedy) {
                    Some(text) => self.again(Change::Reason { text: text.to_owned() }),
                    None => self.correct(),
                }
            }
            NoDecision::BoundsBroken { .. } => self.again(Change::Bounds),
            NoDecision::NotCarried { .. } => self.again(self.carried()),
            NoDecision::NotLaunched { .. } | NoDecision::Unswept(_) if self.is_spent() => {
                self.again(Change::Budget)
            }
            NoDecision::NotLaunched { of } | NoDecision::Unswept(Unswept { of, .. }) => {
                let left = *of as u32;
                vec![NextStep::Resume { run: self.run(), left, confirmation: false }]
            }
            NoDecision::AllFailed { .. } | NoDecision::Excluded { .. } => self.correct(),
        }
    }

    /// What removes the first cause for which the measurement carries nothing.
    fn carried(&self) -> Change {
        let causes = self.ranking.not_decided_by();
        let has = |of: &dyn Fn(&Undecided) -> bool| causes.iter().any(|it| of(it));
        if has(&|it| matches!(it, Undecided::Disturbed { .. })) {
            let wide = has(&|it| matches!(it, Undecided::TooWide { .. }));
            let few = self.launches() < LAUNCHES;
            let launches = (few || wide).then(|| self.more_launches());
            let launches = launches.filter(|_| self.ranking.chosen.is_none());
            return Change::Disturbance { launches };
        }
        if has(&|it| matches!(it, Undecided::ClientLate { .. })) {
            return Change::Client;
        }
        self.more()
    }

    /// Most launches of a ranked configuration.
    fn launches(&self) -> u32 {
        let ranked = self.ranking.rows.iter().filter(|row| row.eligible);
        let launches = ranked.filter_map(|row| row.estimates.first()?.map(|it| it.launches));
        launches.max().map_or(0, |most| u32::try_from(most).unwrap_or(u32::MAX))
    }

    /// More than there are: what shows a difference that is often wanted, where that is known
    /// and can be had; or else twice as many.
    fn more_launches(&self) -> u32 {
        let there = self.launches();
        let detectable = self.ranking.detectable.as_ref();
        let needed = detectable.filter(|it| it.needed_launches <= MOST_LAUNCHES);
        let needed = needed.and_then(|it| u32::try_from(it.needed_launches).ok());
        let more = needed.filter(|it| *it > there);
        more.unwrap_or_else(|| there.saturating_mul(2)).max(LAUNCHES)
    }
}

/// What a reason asks for, behind its last semicolon or colon: `...; raise requests`.
pub fn remedy(reason: &str) -> Option<&str> {
    split(reason).map(|(_, remedy)| remedy)
}

/// A reason without what it asks for.
pub fn explanation(reason: &str) -> &str {
    split(reason).map_or(reason, |(explanation, _)| explanation)
}

fn split(reason: &str) -> Option<(&str, &str)> {
    const VERBS: [&str; 8] = ["raise", "lower", "set", "use", "ask", "give", "name", "choose"];
    let at = reason.rfind([';', ':'])?;
    let (explanation, remedy) = (reason[..at].trim(), reason[at + 1..].trim());
    let verb = remedy.split(' ').next()?;
    VERBS.contains(&verb).then_some((explanation, remedy))
}

/// About how long a confirmation of these two takes, by what the sweep measured of them;
/// `None` where no launch was timed.
pub fn confirm_hours(record: &SweepRecord, candidate: &str, baseline: &str) -> Option<Hours> {
    let claim = record.manifest.usual_claim();
    let expected = outlook(record, [candidate, baseline], claim, None).expected?;
    let hours = |pairs: u32| 2.0 * f64::from(pairs) * expected.launch_seconds / 3600.0;
    Some(match expected.reachable {
        Some(_) => Hours { low: hours(MAX_PAIRS), high: hours(MAX_PAIRS) },
        None => Hours { low: hours(expected.pairs_low), high: hours(expected.pairs_high) },
    })
}
