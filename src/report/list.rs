//! The runs below a folder as a table for a terminal: when, what, how far, and the verdict in
//! a few words. What a run showed is decided in [`crate::results::listed`].

use super::fields::{Field, folded};
use super::text::{plain, wrap};
use crate::history::extent::{Confirming, Extent, State};
use crate::results::listed::{Listed, ListedRun, Shown};
use crate::results::number;
use crate::results::ranking::Effect;
use crate::results::reading::{NoDecision, Statement};

/// Columns of a run's folder and of a candidate's name at most.
const NAME: usize = 44;

/// The runs as text of about `columns` columns (at least 60 are used). Ends with a newline.
pub fn render(listed: &Listed, columns: usize) -> String {
    let columns = columns.max(60);
    if listed.runs.is_empty() {
        return wrap(&format!("no run below {}", plain(&listed.folder)), columns, "  ") + "\n";
    }
    let cells = |read: &dyn Fn(&ListedRun) -> String| listed.runs.iter().map(read).collect();
    let shown = |read: &dyn Fn(&Shown) -> String| -> Vec<String> {
        let of = |run: &ListedRun| run.shown.as_ref().map_or_else(|| "-".to_owned(), read);
        listed.runs.iter().map(of).collect()
    };
    let when = |run: &ListedRun| run.created_at.as_deref().map_or_else(|| "-".to_owned(), minute);
    let mut runs = Field::new("run", cells(&|run| plain(&run.run)));
    runs.cut(NAME);
    let verdict = |run: &ListedRun| match &run.shown {
        Some(shown) => phrase(&shown.verdict),
        None => "cannot be read".to_owned(),
    };
    let mut candidate = Field::new("candidate", shown(&candidate));
    candidate.cut(NAME);
    let fields = [
        Field::new("when (UTC)", cells(&when)),
        Field::new("engine", cells(&engine)),
        Field::new("state", shown(&|it| state(&it.extent))),
        Field::new("verdict", cells(&verdict)),
        candidate,
        Field::new("gain [95%]", shown(&gain)).right(),
    ];
    let mut blocks = vec![folded(&runs, &fields, columns)];
    let broken = listed.runs.iter().filter_map(|run| {
        let error = run.error.as_ref()?;
        Some(wrap(&format!("{}: {}", plain(&run.run), plain(error)), columns, "  "))
    });
    let broken: Vec<String> = broken.collect();
    if !broken.is_empty() {
        blocks.push(broken.join("\n"));
    }
    blocks.join("\n\n") + "\n"
}

/// `2026-11-28 10:48` of `2026-11-28T10:48:25Z`.
fn minute(created_at: &str) -> String {
    plain(created_at).chars().take(16).collect::<String>().replacen('T', " ", 1)
}

fn engine(run: &ListedRun) -> String {
    let engine = run.engine.as_deref().map_or_else(|| "-".to_owned(), plain);
    // An engine of another name whose figures are simulated is marked, too.
    if run.simulated == Some(true) && engine != "simulated" {
        format!("{engine}, SIMULATED")
    } else if run.simulated == Some(true) {
        "SIMULATED".to_owned()
    } else {
        engine
    }
}

/// `complete`, or how far it is.
fn state(extent: &Extent) -> String {
    let launches = extent.launches();
    let state = match &extent.state {
        State::Complete => "complete".to_owned(),
        State::Running => format!("running, {launches}"),
        State::Waiting => format!("waiting, {launches}"),
        State::Interrupted => format!("interrupted, {launches}"),
        State::BudgetSpent => format!("budget spent, {launches}"),
        State::Stopped { .. } => format!("stopped, {launches}"),
    };
    match extent.confirmation {
        None => state,
        Some(Confirming::Running) => format!("{state}; confirming"),
        Some(Confirming::Waiting) => format!("{state}; confirmation waiting"),
        Some(Confirming::Interrupted) => format!("{state}; confirmation interrupted"),
        Some(Confirming::Pending) => format!("{state}; confirmation not begun"),
    }
}

/// The verdict in a few words; the candidate has a column of its own.
fn phrase(verdict: &Statement) -> String {
    match verdict {
        Statement::Better { baseline, confirmed, .. } => {
            let mark = if *confirmed { "" } else { ", unconfirmed" };
            format!("better than {}{mark}", plain(baseline))
        }
        Statement::BoundBroken { .. } => "breaks a bound".to_owned(),
        Statement::Unfit { .. } => "failed its confirmation".to_owned(),
        Statement::NotConfirmed { worse: false, .. } => "not confirmed".to_owned(),
        Statement::NotConfirmed { worse: true, .. } => "worse on fresh launches".to_owned(),
        Statement::NotShown { .. } => "no difference shown".to_owned(),
        Statement::BaselineIsBest { .. } => "keep the baseline".to_owned(),
        Statement::BaselineNotRanked { .. } => "baseline has no rank".to_owned(),
        Statement::First { of, .. } => format!("first of {of}"),
        Statement::NotDistinguishable { configurations, .. } => {
            format!("{} not distinguishable", configurations.len())
        }
        Statement::Only { of, .. } => format!("1 of {of} could be ranked"),
        Statement::LaunchedOnce { .. } => "launched once".to_owned(),
        Statement::NoClaim { .. } => "no claim".to_owned(),
        Statement::NoDecision { cause } => match cause {
            NoDecision::NoConfiguration => "no configuration",
            NoDecision::Unswept(_) => "confirmations only",
            NoDecision::Missing(_) => "no decision: metric missing",
            NoDecision::NotLaunched { .. } | NoDecision::AllFailed { not_launched: 1.., .. } => {
                "nothing measured"
            }
            NoDecision::AllFailed { .. } => "all failed",
            NoDecision::BoundsBroken { .. } => "all break a bound",
            NoDecision::NotCarried { .. } => "nothing decided",
            NoDecision::Excluded { .. } => "none can be ranked",
        }
        .to_owned(),
    }
}

fn candidate(shown: &Shown) -> String {
    let Some(name) = &shown.candidate else { return "-".to_owned() };
    let mark = match (shown.candidate_is_baseline, shown.confirmed) {
        (true, _) => "baseline",
        (false, true) => "confirmed",
        (false, false) => "unconfirmed",
    };
    format!("{} ({mark})", plain(name))
}

fn gain(shown: &Shown) -> String {
    match shown.gain.as_ref().map(|gain| gain.effect) {
        None => "-".to_owned(),
        Some(Effect::Ratio(ratio)) => number::percent(ratio.ratio, ratio.interval),
        Some(Effect::Difference { difference, interval }) => {
            number::difference(difference, interval)
        }
    }
}
