//! The five promises as checks of what is on disk: after each death, and at the end.

use std::collections::BTreeSet;
use std::fmt;

use super::victim;
use super::world::{Did, PRODUCTION, World};
use crate::history::folder::Folder;
use crate::history::journal::{self, Entry, Line};
use crate::history::launch::LaunchOutcome;
use crate::history::production::{PendingRestore, pending_restore};
use crate::history::record::SweepRecord;
use crate::history::replay::{production_steps, replay};
use crate::metric::Status;
use crate::results::{frame, ranking};
use crate::strategy::{Action, Situation};
use crate::sweep::observations::observations;

/// Which promise is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Two candidates, or one that is left at the end.
    Leaked,
    /// An entry that was on disk is not.
    Lost,
    /// Production is down at the end, or nobody would know it.
    Down,
    /// Finished work is measured again, or the order is another one.
    Order,
    /// The final rows differ from an undisturbed sweep's.
    Rows,
    /// What failed by itself is launched again.
    Relaunched,
    /// A command refuses or fails where it should work.
    Refused,
}

/// A broken promise.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.what)
    }
}

fn fault(kind: Kind, what: impl Into<String>) -> Fault {
    Fault { kind, what: what.into() }
}

/// What an undisturbed sweep comes to.
#[derive(Debug, PartialEq)]
pub(super) struct Outcome {
    rows: Vec<String>,
    /// Trials in the order of their first launches, with their configurations.
    order: Vec<(u32, String)>,
    ranking: Vec<String>,
}

impl Outcome {
    pub(super) fn of(world: &World) -> Result<Self, String> {
        let folder = Folder::existing(&world.run()).map_err(|error| error.to_string())?;
        let record = folder.record().map_err(|error| error.to_string())?;
        let mut order: Vec<(u32, String)> = Vec::new();
        for launch in &record.launches {
            if order.iter().all(|(trial, _)| *trial != launch.trial) {
                order.push((launch.trial, launch.configuration.clone()));
            }
        }
        let ranked = ranking::rank(&record);
        let ranking = ranked.rows.iter().map(|row| {
            // Not the estimates: they allow for a machine that changes with time, and a sweep
            // that was killed took longer.
            let of = &row.name;
            format!("{of} {:?} {} {}", row.rank, row.eligible, row.repeats)
        });
        Ok(Self { rows: rows(&record), order, ranking: ranking.collect() })
    }

    /// Whether a configuration has more trials than the blocks of a sweep, which are two here.
    pub(super) fn is_chosen(&self) -> bool {
        let of = |name: &str| self.order.iter().filter(|(_, known)| known == name).count();
        let counts: BTreeSet<usize> = self.order.iter().map(|(_, name)| of(name)).collect();
        counts.iter().any(|count| *count > 2)
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    fn compare(&self, other: &Self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.order != other.order {
            faults.push(fault(Kind::Order, format!("{:?} for {:?}", other.order, self.order)));
        }
        for (kind, mine, theirs) in
            [("row", &self.rows, &other.rows), ("ranked", &self.ranking, &other.ranking)]
        {
            if mine != theirs {
                let missing = mine.iter().find(|row| !theirs.contains(row));
                let surplus = theirs.iter().find(|row| !mine.contains(row));
                let what = format!("{kind}: missing {missing:?}, surplus {surplus:?}");
                faults.push(fault(Kind::Rows, what));
            }
        }
        faults
    }
}

/// The rows of the results that count: kept repeats, and what failed by itself. Not their
/// launches' numbers and times: a launch that was killed is made again. What passed, and was
/// void or lost in the launch of then, need not happen again.
fn rows(record: &SweepRecord) -> Vec<String> {
    let mut frame = frame::results(record).expect("columns of one length");
    for column in ["launch", "started_at"] {
        let _ = frame.drop_in_place(column).expect("the column");
    }
    let names: Vec<String> = frame.get_column_names().iter().map(ToString::to_string).collect();
    let text = |row: usize, column: &str| -> String {
        let value = frame.column(column).expect("the column").get(row).expect("the row");
        value.to_string()
    };
    let counts = |row: &usize| {
        let status = text(*row, "status").replace('"', "");
        let class = text(*row, "failure_class").replace('"', "");
        match status.as_str() {
            "ok" => text(*row, "repeat") != "0",
            "failed" => class == "out_of_memory",
            "skipped" => true,
            _ => false,
        }
    };
    let line = |row: usize| {
        let values = names.iter().map(|name| (name, text(row, name)));
        let known = values.filter(|(_, value)| value != "null");
        known.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    };
    let mut rows: Vec<String> = (0..frame.height()).filter(counts).map(line).collect();
    rows.sort();
    rows
}

/// What must hold at every instant.
pub(super) fn at_any_time(world: &World) -> Vec<Fault> {
    let mut faults = Vec::new();
    let log = world.log();
    let candidates = world.candidates();
    if candidates.len() > 1 {
        faults.push(fault(Kind::Leaked, format!("candidates: {candidates:?}")));
    }
    for did in &log {
        match did {
            Did::Violated(what) => faults.push(fault(Kind::Leaked, what.clone())),
            Did::Unowed(what) => faults.push(fault(Kind::Down, what.clone())),
            _ => {}
        }
    }
    faults.extend(world.debts().1.iter().map(|note| fault(Kind::Down, note.to_string())));
    let is_down = !world.state().running;
    if is_down && !world.owes_production() {
        faults.push(fault(Kind::Down, "production is down, and no debt shows it"));
    }
    let lines = match journal::read(&world.run().join("journal.jsonl")) {
        Ok(lines) => lines,
        Err(_) if !world.run().join("journal.jsonl").exists() => Vec::new(),
        Err(error) => {
            faults.push(fault(Kind::Lost, error.to_string()));
            return faults;
        }
    };
    let acked: Vec<&Line> = log
        .iter()
        .filter_map(|did| if let Did::Acked(line) = did { Some(&**line) } else { None })
        .collect();
    // The last one may be on disk and not yet acknowledged.
    let kept = acked.iter().filter(|line| lines.contains(line)).count();
    if kept < acked.len() {
        let what =
            format!("{} entries of {} are not in the journal", acked.len() - kept, acked.len());
        faults.push(fault(Kind::Lost, what));
    }
    let pending = pending_restore(&production_steps(&lines));
    if is_down && pending == PendingRestore::Nothing {
        faults.push(fault(Kind::Down, "production is down, and no step shows it"));
    }
    faults.extend(repeated(&log));
    faults
}

/// Whether a strategy that is built anew from any part of the journal asks for what the sweep
/// then began, and after all of it for nothing.
pub(super) fn rebuilt(world: &World) -> Vec<Fault> {
    let asked = || -> Result<Vec<Fault>, String> {
        let folder = Folder::existing(&world.run()).map_err(|error| error.to_string())?;
        let manifest = folder.manifest().map_err(|error| error.to_string())?;
        let lines = journal::read(&folder.journal_path()).map_err(|error| error.to_string())?;
        let mut faults = Vec::new();
        let mut begun = BTreeSet::new();
        let mut compare = |known: &[Line], began: Option<(u32, &str)>| {
            let record = replay(manifest.clone(), known).map_err(|error| error.to_string())?;
            let observations = observations(&record, |_| true);
            let strategy = victim::strategy(&manifest);
            let asks =
                strategy.next(Situation { observations: &observations, ..Situation::default() });
            let name = |it: usize| manifest.configurations[it].name.as_str();
            let is_same = match (&asks, began) {
                (Action::Launch { trial, configuration, .. }, Some(began)) => {
                    (*trial, name(*configuration)) == began
                }
                (Action::Finish { .. }, None) => true,
                _ => false,
            };
            if !is_same {
                let what = format!("after {} lines {asks:?} for {began:?}", known.len());
                faults.push(fault(Kind::Order, what));
            }
            Ok::<(), String>(())
        };
        for (known, line) in lines.iter().enumerate() {
            let Entry::LaunchStarted { trial, configuration, .. } = &line.entry else { continue };
            // What is launched again was asked for once.
            if begun.insert(*trial) {
                compare(&lines[..known], Some((*trial, configuration)))?;
            }
        }
        compare(&lines, None)?;
        Ok(faults)
    };
    asked().unwrap_or_else(|what| vec![fault(Kind::Refused, what)])
}

/// How many launches were shortened.
pub(super) fn shortened(log: &[Did]) -> usize {
    let is = |did: &&Did| matches!(did, Did::Acked(line) if matches!(line.entry, Entry::LaunchShortened { .. }));
    log.iter().filter(is).count()
}

/// What was measured or launched though its end was known, or though it was left out.
fn repeated(log: &[Did]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut trials: Vec<(u32, u32)> = Vec::new();
    let mut configurations: Vec<(u32, String)> = Vec::new();
    let mut finished = BTreeSet::new();
    let mut infeasible = BTreeSet::new();
    let mut behind: Vec<(u32, u32)> = Vec::new();
    for did in log {
        match did {
            Did::Acked(line) => match &line.entry {
                Entry::LaunchStarted { launch, trial, configuration, .. } => {
                    trials.push((*launch, *trial));
                    configurations.push((*launch, configuration.clone()));
                }
                Entry::RepeatFinished { launch, measurement: it } if it.status == Status::Ok => {
                    let trial = trials.iter().find(|(known, _)| known == launch);
                    let trial = trial.map_or(0, |(_, trial)| *trial);
                    let key = (trial, it.workload.clone(), it.case.clone(), it.repeat);
                    if it.repeat > 0 && !finished.insert(key.clone()) {
                        faults.push(fault(Kind::Order, format!("kept twice: {key:?}")));
                    }
                }
                Entry::LaunchShortened { launch, behind: it } => {
                    let trial = trials.iter().find(|(known, _)| known == launch);
                    behind.extend(trial.map(|(_, trial)| (*trial, it.repeats)));
                }
                Entry::LaunchEnded { launch, outcome: LaunchOutcome::Failed(failure) }
                    if failure.class.is_deterministic() =>
                {
                    let known = configurations.iter().find(|(known, _)| known == launch);
                    infeasible.extend(known.map(|(_, name)| name.clone()));
                }
                _ => {}
            },
            Did::Measures { trial, workload, case, repeat } => {
                let key = (*trial, workload.clone(), case.clone(), *repeat);
                if finished.contains(&key) {
                    faults.push(fault(Kind::Order, format!("measured again: {key:?}")));
                }
                if behind.iter().any(|(known, most)| known == trial && repeat > most) {
                    faults.push(fault(Kind::Order, format!("measured though left out: {key:?}")));
                }
            }
            Did::Launched { configuration, .. } if infeasible.contains(configuration) => {
                faults.push(fault(Kind::Relaunched, configuration.clone()));
            }
            _ => {}
        }
    }
    faults
}

/// What must hold when a sweep is complete.
pub(super) fn at_the_end(world: &World, undisturbed: &Outcome) -> Vec<Fault> {
    let mut faults = at_rest(world);
    faults.extend(rebuilt(world));
    match Outcome::of(world) {
        Ok(outcome) => faults.extend(undisturbed.compare(&outcome)),
        Err(what) => faults.push(fault(Kind::Rows, what)),
    }
    faults
}

/// What must hold whenever a process ended by itself.
pub(super) fn at_rest(world: &World) -> Vec<Fault> {
    let mut faults = at_any_time(world);
    faults.extend(settled(world));
    faults
}

/// The same of what is outside the run's folder, where that is lost.
pub(super) fn settled(world: &World) -> Vec<Fault> {
    let mut faults = Vec::new();
    let candidates = world.candidates();
    if !candidates.is_empty() {
        faults.push(fault(Kind::Leaked, format!("left: {candidates:?}")));
    }
    let state = world.state();
    if !state.running || !state.proven || state.id != PRODUCTION {
        faults.push(fault(Kind::Down, format!("at the end: {state:?}")));
    }
    let (debts, damaged) = world.debts();
    if !debts.is_empty() || !damaged.is_empty() {
        let owed: Vec<_> = debts.iter().map(|debt| &debt.owed).collect();
        faults.push(fault(Kind::Down, format!("still owed: {owed:?} {damaged:?}")));
    }
    faults
}

mod tests {
    use super::*;
    use crate::history::journal::Journal;
    use crate::history::launch::{Behind, FailureClass, LaunchFailure};
    use crate::metric::{Measurement, MetricReasons};
    use crate::ownership::debt::ProductionOwed;
    use crate::ownership::{Holder, Ledger, Owed, StateFolder, Uses};
    use crate::strategy::Purpose;

    fn world(place: &tempfile::TempDir) -> World {
        World::new(&place.path().join("world"), "")
    }

    fn kinds(faults: &[Fault]) -> Vec<Kind> {
        faults.iter().map(|fault| fault.kind).collect()
    }

    fn acked(entry: Entry) -> Did {
        Did::Acked(Box::new(Line {
            sequence: 1,
            at: jiff::Timestamp::UNIX_EPOCH,
            elapsed_ms: None,
            happened_at: None,
            entry,
        }))
    }

    fn started() -> Entry {
        Entry::LaunchStarted {
            launch: 1,
            trial: 0,
            configuration: "a".to_owned(),
            purpose: Purpose::Screen,
            planned: 1,
            repeats: Some(1),
            host: None,
            bar: None,
            gpus: None,
        }
    }

    #[test]
    fn a_world_in_which_nothing_happened_breaks_no_promise() {
        let place = tempfile::tempdir().expect("a folder");
        assert!(at_rest(&world(&place)).is_empty());
    }

    #[test]
    fn candidates_that_are_left_and_production_that_is_down_are_seen() {
        let place = tempfile::tempdir().expect("a folder");
        let world = world(&place);
        std::fs::write(world.path().join("candidates/1"), "").expect("written");
        assert_eq!(kinds(&at_rest(&world)), [Kind::Leaked]);
        std::fs::write(world.path().join("candidates/2"), "").expect("written");
        assert_eq!(kinds(&at_any_time(&world)), [Kind::Leaked]);
        let down = r#"{"id": "production-1", "running": false, "proven": false}"#;
        std::fs::write(world.path().join("production.json"), down).expect("written");
        let found = at_any_time(&world);
        assert_eq!(kinds(&found), [Kind::Leaked, Kind::Down, Kind::Down]);
        assert!(found[1].what.contains("no debt") && found[2].what.contains("no step"));
    }

    #[test]
    fn debts_that_are_left_or_cannot_be_read_are_seen() {
        let place = tempfile::tempdir().expect("a folder");
        let world = world(&place);
        let state = StateFolder::at(&world.state_folder()).expect("a state folder");
        let run = crate::ownership::new_run_id();
        let holder = Holder::this().in_state(&state).of_run(&run, &world.run());
        let owed = ProductionOwed { id: PRODUCTION.to_owned(), ..ProductionOwed::default() };
        let ledger = Ledger::of_run(&state, "a", &holder, &Uses::Nothing);
        ledger.owe(Owed::Production(owed)).expect("noted");
        assert!(at_any_time(&world).is_empty(), "it may be paid in a moment");
        assert_eq!(kinds(&settled(&world)), [Kind::Down]);
        let note = world.state_folder().join("debts").join(format!("{run}.production.json"));
        std::fs::write(note, "{").expect("written");
        assert_eq!(kinds(&at_any_time(&world)), [Kind::Down]);
    }

    #[test]
    fn an_entry_that_was_acknowledged_and_is_not_in_the_journal_is_lost() {
        let place = tempfile::tempdir().expect("a folder");
        let world = world(&place);
        std::fs::create_dir(world.run()).expect("a folder");
        let (mut journal, _) =
            Journal::open(&world.run().join("journal.jsonl")).expect("a journal");
        let line = journal.append(jiff::Timestamp::UNIX_EPOCH, started()).expect("written");
        world.did(&Did::Acked(Box::new(line)));
        assert!(at_any_time(&world).is_empty());
        drop(journal);
        let file = std::fs::OpenOptions::new().write(true).open(world.run().join("journal.jsonl"));
        file.and_then(|file| file.set_len(20)).expect("cut");
        assert_eq!(kinds(&at_any_time(&world)), [Kind::Lost]);
    }

    #[test]
    fn work_that_is_made_again_is_seen() {
        let measurement = Measurement {
            workload: "kv-cache".to_owned(),
            case: String::new(),
            repeat: 1,
            status: Status::Ok,
            reason: None,
            metrics: crate::metric::MetricValues::new(),
            metric_reasons: MetricReasons::new(),
        };
        let measures = Did::Measures {
            trial: 0,
            workload: "kv-cache".to_owned(),
            case: String::new(),
            repeat: 1,
        };
        let launched = Did::Launched { launch: 2, configuration: "a".to_owned() };
        let finished = acked(Entry::RepeatFinished { launch: 1, measurement });
        let failure = LaunchFailure::new(FailureClass::KvCacheTooSmall, "");
        let failed = Entry::LaunchEnded { launch: 1, outcome: LaunchOutcome::Failed(failure) };
        let once = [acked(started()), measures.clone(), finished.clone(), launched.clone()];
        assert!(repeated(&once).is_empty());
        let again = [acked(started()), finished.clone(), measures];
        assert_eq!(kinds(&repeated(&again)), [Kind::Order]);
        assert_eq!(
            kinds(&repeated(&[acked(started()), finished.clone(), finished])),
            [Kind::Order]
        );
        let relaunched = [acked(started()), acked(failed), launched];
        assert_eq!(kinds(&repeated(&relaunched)), [Kind::Relaunched]);
    }

    #[test]
    fn what_was_left_out_and_is_measured_after_all_is_seen() {
        let measures = |repeat| Did::Measures {
            trial: 0,
            workload: "kv-cache".to_owned(),
            case: String::new(),
            repeat,
        };
        let behind = Behind { repeats: 1, value: 2.0, bar: 1.0 };
        let shortened = acked(Entry::LaunchShortened { launch: 1, behind });
        let log = [acked(started()), measures(1), shortened, measures(1), measures(2)];
        assert_eq!(kinds(&repeated(&log)), [Kind::Order]);
        assert_eq!(self::shortened(&log), 1);
    }
}
