//! How far a sweep is: launches that are over of those that its strategy asks for, and
//! whether somebody still works on it. Read from the files alone; a sweep that runs is
//! not disturbed.

use std::collections::BTreeMap;

use jiff::ZonedDateTime;
use serde::{Serialize, Serializer};

use super::HistoryError;
use super::folder::Folder;
use super::journal::{self, Entry, JournalError, Line};
use super::record::SweepRecord;
use crate::grid::Window;
use crate::strategy::Purpose;

/// How far a sweep is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Extent {
    /// Trials of the strategy that are over: measured, failed or skipped.
    pub done: u32,
    /// Of how many: at the most, where the sweep chooses its launches; those that are over,
    /// once it is complete.
    pub of: u32,
    /// Of how many at the least, where the sweep chooses its launches and is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of_least: Option<u32>,
    /// Whether more will come.
    #[serde(flatten)]
    pub state: State,
    /// The confirmation of it that was begun last, where that one is not over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<Confirming>,
    /// What the sweep or its confirmation waits for, where it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits: Option<Waits>,
    /// Jobs of a cluster that have no end in the journal, where nobody works on it: they may
    /// still run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<String>,
}

/// The window that is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Waits {
    /// The times of the day; `None` where an older version wrote the manifest.
    pub window: Option<Window>,
    /// When it opens, local time with its offset.
    #[serde(serialize_with = "with_offset")]
    pub until: Option<ZonedDateTime>,
}

#[expect(clippy::ref_option, reason = "as serde calls it")]
fn with_offset<S: Serializer>(at: &Option<ZonedDateTime>, to: S) -> Result<S::Ok, S::Error> {
    let text = at.as_ref().map(|at| at.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string());
    text.serialize(to)
}

/// A confirmation that is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Confirming {
    /// Somebody works on it.
    Running,
    /// Somebody works on it when the window opens.
    Waiting,
    /// Stopped or killed: `resume` continues it.
    Interrupted,
    /// The strategy's part is over, and the confirmation that the grid asks for was not begun:
    /// `resume` begins it.
    Pending,
}

/// Whether more of a sweep will come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Everything was done.
    Complete,
    /// Somebody works on it.
    Running,
    /// Somebody works on it when its window opens; production serves until then.
    Waiting,
    /// Stopped or killed before everything was done.
    Interrupted,
    /// The budget ended before everything was done.
    BudgetSpent,
    /// It gave up.
    Stopped {
        /// Why.
        reason: String,
    },
}

impl Extent {
    /// Whether something of the sweep is missing.
    pub fn is_partial(&self) -> bool {
        self.state != State::Complete
    }

    /// How many of how many: `12 of 30 to 52`.
    pub fn launches(&self) -> String {
        let Self { done, of, of_least, .. } = self;
        match of_least.filter(|least| least < of) {
            Some(least) => format!("{done} of {least} to {of}"),
            None => format!("{done} of {of}"),
        }
    }

    /// How far the sweep in a folder is. `ours`: the caller itself works on it, and stops now.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn read(
        folder: &Folder,
        record: &SweepRecord,
        ours: bool,
        now: &ZonedDateTime,
    ) -> Result<Self, HistoryError> {
        let path = folder.journal_path();
        let lines = match journal::read(&path) {
            Ok(lines) => lines,
            // A sweep that has not begun to launch.
            Err(JournalError::Io { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => {
                Vec::new()
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self::of(record, &lines, now, || !ours && journal::is_written(&path)))
    }

    /// The same of a journal's lines; `written` finds out whether somebody writes it.
    pub fn of(
        record: &SweepRecord,
        lines: &[Line],
        now: &ZonedDateTime,
        written: impl Fn() -> bool,
    ) -> Self {
        let expected = record.manifest.expected_launches();
        // The last launch of a trial says whether it is over.
        let mut trials: BTreeMap<u32, bool> = BTreeMap::new();
        for launch in record.launches.iter().filter(|it| it.purpose != Purpose::Confirm) {
            trials.insert(launch.trial, launch.is_over());
        }
        let done = trials.values().filter(|over| **over).count() as u32;
        let (own, last_confirms) = without_confirmations(of_latest_block(lines));
        let confirms = last_confirms && record.confirmations.iter().any(|it| it.open);
        let begun = record.unfinished_confirmation().is_some();
        let (all, of) = (done >= expected.high, expected.high.max(done));
        let of_least = record.manifest.strategy.chooses().then(|| expected.low.max(done));
        let extent = |state: State, confirmation: Option<Confirming>| {
            // It ended when nothing was left to choose from, not when the most was launched.
            let ended = state == State::Complete && of_least.is_some();
            let (of, of_least) = if ended { (done, None) } else { (of, of_least) };
            let confirmation = confirmation.or_else(|| pending(record, &state, &written));
            let jobs = left_jobs(record, &written);
            Self { done, of, of_least, state, confirmation, waits: None, jobs }
        };
        let Some(window) = waited_for(lines.last(), record.manifest.window, now) else {
            let (state, confirmation) = states(&own, all, confirms, begun, &written);
            return extent(state, confirmation);
        };
        let (state, confirmation) = states(&own, all, confirms, begun, || false);
        let extent = extent(state, confirmation);
        match (written(), last_confirms && begun) {
            (true, confirms) if confirms || extent.confirmation.is_some() => {
                Self { confirmation: Some(Confirming::Waiting), waits: Some(window), ..extent }
            }
            (true, false) if extent.state != State::Complete => {
                Self { state: State::Waiting, waits: Some(window), ..extent }
            }
            _ => extent,
        }
    }
}

/// Jobs without an end that nobody follows.
fn left_jobs(record: &SweepRecord, written: impl Fn() -> bool) -> Vec<String> {
    let open = record.launches.iter().filter(|it| it.outcome.is_none());
    let jobs: Vec<String> = open.filter_map(|it| it.job.clone()).collect();
    if jobs.is_empty() || written() { Vec::new() } else { jobs }
}

/// The confirmation that the grid asks for, where the strategy's part is over and it was not
/// begun. Whoever works on the sweep then is about to begin it.
fn pending(record: &SweepRecord, state: &State, written: impl Fn() -> bool) -> Option<Confirming> {
    let is_over = matches!(state, State::Complete | State::BudgetSpent);
    let is_asked = record.manifest.confirm.is_some() && record.not_confirmed.is_none();
    let is_left = is_over && is_asked && record.confirmation_of_grid().is_none();
    is_left.then(|| if written() { Confirming::Running } else { Confirming::Pending })
}

/// What whoever holds the journal waits for, where no session is open: a window that closed,
/// or one that is not open yet.
fn waited_for(last: Option<&Line>, window: Option<Window>, now: &ZonedDateTime) -> Option<Waits> {
    let here = |at: jiff::Timestamp| at.to_zoned_datetime(now.time_zone().clone());
    let since = match last {
        None => None,
        Some(Line { at, entry: Entry::SessionEnded { reason, .. }, .. }) => {
            (reason == journal::WINDOW_CLOSED).then(|| here(*at))
        }
        Some(_) => return None,
    };
    if since.is_none() && window?.closes(now).is_some() {
        return None;
    }
    let opens = |it: Window| here(it.opens_after(since.as_ref().unwrap_or(now)));
    Some(Waits { window, until: window.map(opens) })
}

/// The lines since the latest block began: how an earlier one ended says nothing of it.
fn of_latest_block(lines: &[Line]) -> &[Line] {
    let begins = |line: &Line| matches!(line.entry, Entry::BlockStarted { .. });
    &lines[lines.iter().rposition(begins).unwrap_or_default()..]
}

/// The lines of sessions that worked on the sweep itself, and whether the last one did not.
fn without_confirmations(lines: &[Line]) -> (Vec<Line>, bool) {
    let mut own: Vec<Line> = Vec::new();
    let mut session = 0;
    let mut confirms = false;
    for line in lines {
        match &line.entry {
            Entry::SessionStarted { .. } => (session, confirms) = (own.len(), false),
            Entry::ConfirmationStarted { .. } => {
                confirms = true;
                own.truncate(session);
            }
            _ => {}
        }
        if !confirms {
            own.push(line.clone());
        }
    }
    (own, confirms)
}

/// How far the sweep is by its own lines, and the confirmation that is not over. Who writes
/// while a confirmation is the last session does not work on the sweep.
fn states(
    own: &[Line],
    all: bool,
    confirms: bool,
    begun: bool,
    written: impl FnOnce() -> bool,
) -> (State, Option<Confirming>) {
    let interrupted = || begun.then_some(Confirming::Interrupted);
    if !confirms {
        return (state(own, all, written), interrupted());
    }
    let confirmation = if written() { Some(Confirming::Running) } else { interrupted() };
    (state(own, all, || false), confirmation)
}

fn state(lines: &[Line], all: bool, written: impl FnOnce() -> bool) -> State {
    let ended = |line: &Line| match &line.entry {
        Entry::SessionEnded { complete, reason } => Some((*complete, reason.clone())),
        _ => None,
    };
    if all || lines.iter().filter_map(ended).any(|(complete, _)| complete) {
        return State::Complete;
    }
    match lines.last().and_then(ended) {
        Some((_, reason)) if journal::is_budget_spent(&reason) => State::BudgetSpent,
        Some((_, reason)) if reason == "interrupted" || reason == journal::WINDOW_CLOSED => {
            State::Interrupted
        }
        Some((_, reason)) => State::Stopped { reason },
        None if written() => State::Running,
        None => State::Interrupted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::Configuration;
    use crate::history::launch::LaunchOutcome;
    use crate::history::record::LaunchRecord;
    use crate::history::replay::tests::manifest;
    use crate::strategy::{AdaptiveStrategy, GridStrategy, ModelStrategy, Order, StrategySpec};

    fn line(sequence: u64, entry: Entry) -> Line {
        Line {
            sequence,
            at: jiff::Timestamp::UNIX_EPOCH,
            elapsed_ms: None,
            happened_at: None,
            entry,
        }
    }

    fn ended(complete: bool, reason: &str) -> Vec<Line> {
        let (schema_version, tool_version) = (1, String::new());
        let suite_version = None;
        let started = Entry::SessionStarted { schema_version, tool_version, suite_version };
        let entry = Entry::SessionEnded { complete, reason: reason.to_owned() };
        vec![line(1, started), line(2, entry)]
    }

    /// So many hours after midnight in a place two hours east of Greenwich.
    fn now(hours: i64) -> ZonedDateTime {
        let zone = jiff::tz::TimeZone::posix("EET-2").expect("a time zone");
        let at = jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(24 + hours - 2);
        at.to_zoned_datetime(zone)
    }

    /// A sweep with a window of which some launches are missing.
    fn windowed(lines: &[Line], hours: i64, is_written: bool) -> Extent {
        let mut manifest = manifest();
        manifest.window = Window::read("23:00-06:30");
        Extent::of(&SweepRecord::new(manifest), lines, &now(hours), || is_written)
    }

    #[test]
    fn a_sweep_that_waits_for_its_window_says_until_when() {
        let mut closed = ended(false, journal::WINDOW_CLOSED);
        closed[1].at = now(5).timestamp();
        let waiting = [
            ("before its first launch", Vec::new()),
            ("resumed", ended(false, "interrupted")),
            ("resumed with a new budget", ended(false, journal::BUDGET_SPENT)),
            ("between two nights", closed.clone()),
        ];
        for (when, lines) in waiting {
            let json = serde_json::to_value(windowed(&lines, 12, true)).expect("JSON");
            assert_eq!(json["state"], "waiting", "{when}");
            let waits =
                serde_json::json!({"window": "23:00-06:30", "until": "1970-01-02T23:00:00+02:00"});
            assert_eq!(json["waits"], waits, "{when}");
            let nobody = windowed(&lines, 12, false);
            assert_eq!(nobody.waits, None, "{when}");
            assert_ne!(nobody.state, State::Waiting, "{when}");
        }
        // The window is still open, and has no room for a launch.
        let late = windowed(&closed, 6, true);
        let until = late.waits.and_then(|it| it.until).map(|it| it.date().day());
        assert_eq!((late.state, until), (State::Waiting, Some(2)));
        assert_eq!(windowed(&[], 1, true).state, State::Running, "it begins at once");
        let open = &ended(false, "")[..1];
        assert_eq!(windowed(open, 12, true).state, State::Running, "it stops what runs");
        assert_eq!(windowed(&ended(true, "complete"), 12, true).state, State::Complete);
    }

    #[test]
    fn a_confirmation_that_waits_for_the_window_is_not_called_interrupted() {
        let asked = serde_json::json!({
            "number": 1, "candidate": "a", "baseline": "b", "claim": 0.1, "repeats": 3, "seed": 1,
            "budget_seconds": null
        });
        let asked: crate::history::confirmation::Confirmation =
            serde_json::from_value(asked).expect("a confirmation");
        let mut manifest = manifest();
        manifest.window = Window::read("23:00-06:30");
        let mut record = SweepRecord::new(manifest);
        let session = (jiff::Timestamp::UNIX_EPOCH, jiff::Timestamp::UNIX_EPOCH);
        let confirmation = crate::history::confirmation::ConfirmationRecord {
            asked: asked.clone(),
            ended: None,
            of_grid: false,
            by_person: Vec::new(),
            earlier: None,
            open: false,
            session,
        };
        record.confirmations.push(confirmation);
        let mut lines = ended(false, "interrupted");
        let mut confirming = ended(false, journal::WINDOW_CLOSED);
        confirming.insert(1, line(3, Entry::ConfirmationStarted { confirmation: asked }));
        lines.extend(confirming);
        let extent = Extent::of(&record, &lines, &now(12), || true);
        assert_eq!(extent.confirmation, Some(Confirming::Waiting));
        assert_eq!(extent.state, State::Interrupted, "the sweep itself");
        assert!(extent.waits.is_some());
        let killed = Extent::of(&record, &lines, &now(12), || false);
        assert_eq!((killed.confirmation, killed.waits), (Some(Confirming::Interrupted), None));
    }

    #[test]
    fn the_last_session_says_whether_more_will_come() {
        let never = || panic!("a session that ended holds no lock");
        assert_eq!(state(&ended(true, "complete"), false, never), State::Complete);
        for spent in ["budget spent", "budget spent: 40 launches"] {
            assert_eq!(state(&ended(false, spent), false, never), State::BudgetSpent);
        }
        assert_eq!(state(&ended(false, "interrupted"), false, never), State::Interrupted);
        let killed = state(&ended(false, journal::WINDOW_CLOSED), false, never);
        assert_eq!(killed, State::Interrupted, "`resume` waits for the next one");
        let reason = "5 launches failed".to_owned();
        assert_eq!(state(&ended(false, &reason), false, never), State::Stopped { reason });
        // Every trial is over: whoever writes now does something else.
        assert_eq!(state(&ended(false, "interrupted"), true, never), State::Complete);
        let open = &ended(true, "")[..1];
        assert_eq!(state(open, false, || true), State::Running);
        assert_eq!(state(open, false, || false), State::Interrupted);
    }

    #[test]
    fn a_sweep_of_an_older_version_is_complete_by_its_own_order() {
        let mut manifest = manifest();
        let one = manifest.configurations[0].clone();
        let named = |at: u32| Configuration { name: format!("c{at}"), ..one.clone() };
        manifest.configurations = (0..7).map(named).collect();
        manifest.baseline = Some("c0".to_owned());
        let spec = GridStrategy { launches: 2, repeats: 5, auto: false, seed: 1 };
        (manifest.strategy, manifest.order) = (StrategySpec::Grid(spec), Order::Shuffled);
        let launch = |trial| LaunchRecord {
            trial,
            outcome: Some(LaunchOutcome::Measured),
            ..LaunchRecord::default()
        };
        let launches = (0..14).map(launch).collect();
        let record = SweepRecord {
            manifest,
            launches,
            confirmations: Vec::new(),
            earlier: Vec::new(),
            replaced: Vec::new(),
            unproven: None,
            not_confirmed: None,
            ended: None,
        };
        let extent = Extent::of(&record, &ended(false, "interrupted"), &now(0), || false);
        assert_eq!((extent.done, extent.of, extent.state), (14, 14, State::Complete));
        let mut newer = record;
        newer.manifest.order = Order::Separated;
        let extent = Extent::of(&newer, &ended(false, "interrupted"), &now(0), || false);
        assert_eq!((extent.done, extent.of), (14, 16), "the baseline is launched twice");
    }

    /// Four configurations, so many launches, and how its only session ended.
    fn adaptive(launches: u32, complete: bool, reason: &str) -> Extent {
        let mut manifest = manifest();
        let one = manifest.configurations[0].clone();
        let named = |at: u32| Configuration { name: format!("c{at}"), ..one.clone() };
        manifest.configurations = (0..4).map(named).collect();
        manifest.baseline = None;
        manifest.strategy = StrategySpec::Adaptive(AdaptiveStrategy::default());
        let mut record = SweepRecord::new(manifest);
        let launch = |trial| LaunchRecord {
            trial,
            outcome: Some(LaunchOutcome::Measured),
            ..LaunchRecord::default()
        };
        record.launches = (0..launches).map(launch).collect();
        Extent::of(&record, &ended(complete, reason), &now(0), || false)
    }

    #[test]
    fn the_least_of_a_model_is_what_its_axes_ask_for() {
        let mut manifest = manifest();
        let one = manifest.configurations[0].clone();
        let varied = |at: i64| {
            let axes = [("a", at % 4), ("b", at / 4 % 3), ("c", at / 12)];
            axes.into_iter().map(|(name, level)| (name.to_owned(), level.into())).collect()
        };
        let named =
            |at| Configuration { name: format!("c{at}"), varied: varied(at), ..one.clone() };
        manifest.configurations = (0..48).map(named).collect();
        manifest.strategy = StrategySpec::Model(ModelStrategy::default());
        // 3 + 2 + 3 levels beyond the first ones, and 4; a third more; and one of the last ones.
        assert_eq!(manifest.expected_launches().low, 17);
    }

    #[test]
    fn a_sweep_that_ended_by_its_own_choice_lacks_nothing() {
        let over = adaptive(14, true, "c1 is probably within 5 % of the best");
        assert_eq!((over.state.clone(), &*over.launches()), (State::Complete, "14 of 14"));
        let json = serde_json::to_value(&over).expect("JSON");
        assert_eq!((&json["of"], json.get("of_least")), (&14.into(), None));
        let stopped = adaptive(5, false, "interrupted");
        // Two blocks of four at the least.
        let most = stopped.of;
        let said = (stopped.state.clone(), stopped.launches());
        assert_eq!(said, (State::Interrupted, format!("5 of 8 to {most}")));
        assert_eq!(serde_json::to_value(&stopped).expect("JSON")["of_least"], 8);
        assert_eq!(adaptive(9, false, "interrupted").launches(), format!("9 of 9 to {most}"));
        let spent = adaptive(9, false, journal::BUDGET_SPENT);
        assert_eq!(spent.state, State::BudgetSpent);
        // All that there can be is everything.
        assert_eq!(adaptive(most, false, "interrupted").state, State::Complete);
    }

    #[test]
    fn a_manifest_without_an_order_has_the_older_one() {
        let mut json = serde_json::to_value(manifest()).expect("JSON");
        assert_eq!(json["order"], "separated");
        json.as_object_mut().expect("an object").remove("order");
        let older: crate::history::record::Manifest = serde_json::from_value(json).expect("read");
        assert_eq!(older.order, Order::Shuffled);
    }

    #[test]
    fn a_confirmation_does_not_complete_a_sweep_that_was_interrupted() {
        let asked = serde_json::json!({
            "number": 1, "candidate": "a", "baseline": "b", "claim": 0.1, "repeats": 3, "seed": 1,
            "budget_seconds": null
        });
        let asked = serde_json::from_value(asked).expect("a confirmation");
        let mut lines = ended(false, "interrupted");
        let mut confirming = ended(true, "the interval is narrow enough");
        confirming.insert(1, line(3, Entry::ConfirmationStarted { confirmation: asked }));
        lines.extend(confirming);
        assert_eq!(state(&lines, false, || false), State::Complete, "what this test is about");
        let (own, confirms) = without_confirmations(&lines);
        assert!(confirms);
        assert_eq!(state(&own, false, || false), State::Interrupted);
    }

    #[test]
    fn a_confirmation_that_runs_is_no_sweep_that_runs() {
        let asked = serde_json::json!({
            "number": 1, "candidate": "a", "baseline": "b", "claim": 0.1, "repeats": 3, "seed": 1,
            "budget_seconds": null
        });
        let asked = serde_json::from_value(asked).expect("a confirmation");
        let mut lines = ended(false, "interrupted");
        lines.push(ended(true, "")[0].clone());
        assert!(!without_confirmations(&lines).1, "the sweep continues");
        lines.push(line(4, Entry::ConfirmationStarted { confirmation: asked }));
        let (own, confirms) = without_confirmations(&lines);
        assert!(confirms);
        let (state, confirmation) = states(&own, false, confirms, false, || true);
        assert_eq!((state, confirmation), (State::Interrupted, Some(Confirming::Running)));
        let (_, confirmation) = states(&own, false, confirms, true, || false);
        assert_eq!(confirmation, Some(Confirming::Interrupted));
        let open = &ended(true, "")[..1];
        let (state, confirmation) = states(open, false, false, false, || true);
        assert_eq!((state, confirmation), (State::Running, None));
    }
}
