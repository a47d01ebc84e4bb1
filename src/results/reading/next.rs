//! What to do after a reading: commands and changes, as data. Commands are named with
//! the paths that the reader used.

use serde::Serialize;

use super::{NoDecision, Place, Statement};
use crate::history::extent::State;
use crate::history::record::{Manifest, SweepRecord};
use crate::results::confirmable::outlook;
use crate::results::confirmed::ConfirmedGain;
use crate::strategy::confirm::{CLAIM, MAX_PAIRS};

/// Launches of each configuration that a sweep should have.
const LAUNCHES: u32 = 4;

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
    /// Confirm the gain by fresh launches.
    Confirm {
        /// The sweep's folder.
        run: String,
        /// The configuration, where it is not the ranking's candidate.
        configuration: Option<String>,
        /// The claim that was asked for, as a fraction, where it is not the usual one.
        claim: Option<f64>,
        /// How long that takes, where it is known.
        hours: Option<Hours>,
        /// Whether it continues one that was begun.
        goes_on: bool,
    },
    /// Continue the sweep.
    Resume {
        /// The sweep's folder.
        run: String,
        /// Trials that are left.
        left: u32,
    },
    /// It runs: read again later.
    Wait {
        /// The sweep's folder.
        run: String,
        /// Trials that are left.
        left: u32,
    },
    /// Write the flags where the service is described.
    UseFlags {
        /// Whether that is a compose file.
        compose: bool,
    },
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
    /// A longer budget.
    Budget,
    /// Nothing else on the machine, and more launches.
    Disturbance {
        /// How many of each configuration.
        launches: u32,
    },
    /// Name a baseline.
    Baseline,
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
}

/// What to do.
pub(super) fn next(
    statement: &Statement,
    pending: Option<&ConfirmedGain>,
    manifest: &Manifest,
    place: &Place,
) -> Vec<NextStep> {
    let run = || place.run.clone();
    if let Some(extent) = &place.extent {
        let left = extent.of - extent.done;
        match extent.state {
            State::Running => return vec![NextStep::Wait { run: run(), left }],
            State::Interrupted | State::Stopped { .. } => {
                return vec![NextStep::Resume { run: run(), left }];
            }
            State::Complete | State::BudgetSpent => {}
        }
    }
    let again = |change: Change| {
        vec![NextStep::Change { change }, NextStep::Sweep { grid: place.grid.clone() }]
    };
    let confirm = || {
        vec![NextStep::Confirm {
            run: run(),
            configuration: None,
            claim: pending.map(|it| it.claim).filter(|claim| (claim - CLAIM).abs() > 1e-9),
            hours: place.confirm,
            goes_on: pending.is_some(),
        }]
    };
    match statement {
        Statement::Better { confirmed: true, .. } => {
            vec![NextStep::UseFlags { compose: manifest.engine == "docker" }]
        }
        Statement::Better { .. } | Statement::NotShown { .. } => confirm(),
        Statement::NotConfirmed { .. }
        | Statement::BaselineIsBest { .. }
        | Statement::Only { .. } => again(Change::Configurations),
        Statement::First { .. } | Statement::NotDistinguishable { .. } => again(Change::Baseline),
        Statement::LaunchedOnce { .. } if is_spent(place) => again(Change::Budget),
        Statement::LaunchedOnce { .. } => again(Change::Launches { launches: LAUNCHES }),
        Statement::BaselineNotRanked { .. } => again(Change::Failures),
        Statement::NoDecision { cause: NoDecision::NotLaunched { .. } } if is_spent(place) => {
            again(Change::Budget)
        }
        Statement::NoDecision { cause: NoDecision::NotLaunched { of } } => {
            vec![NextStep::Resume { run: run(), left: *of as u32 }]
        }
        Statement::NoDecision { cause } => undecided(cause, &again),
    }
}

/// Whether the budget ended the sweep: it cannot be resumed then.
fn is_spent(place: &Place) -> bool {
    place.extent.as_ref().is_some_and(|it| it.state == State::BudgetSpent)
}

fn undecided(cause: &NoDecision, again: &dyn Fn(Change) -> Vec<NextStep>) -> Vec<NextStep> {
    match cause {
        NoDecision::NoConfiguration => again(Change::Configurations),
        NoDecision::Missing(missing) => match missing.first_reason.as_deref().and_then(remedy) {
            Some(text) => again(Change::Reason { text: text.to_owned() }),
            None => again(Change::Failures),
        },
        NoDecision::BoundsBroken { .. } => again(Change::Bounds),
        NoDecision::NotCarried { .. } => again(Change::Disturbance { launches: LAUNCHES }),
        NoDecision::NotLaunched { .. }
        | NoDecision::AllFailed { .. }
        | NoDecision::Excluded { .. } => again(Change::Failures),
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
    let expected = outlook(record, [candidate, baseline], CLAIM, None).expected?;
    let hours = |pairs: u32| 2.0 * f64::from(pairs) * expected.launch_seconds / 3600.0;
    Some(match expected.reachable {
        Some(_) => Hours { low: hours(MAX_PAIRS), high: hours(MAX_PAIRS) },
        None => Hours { low: hours(expected.pairs_low), high: hours(expected.pairs_high) },
    })
}
