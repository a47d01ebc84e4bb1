//! The loop with a fake engine and a fake measurement, in virtual time.

use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::super::eta::Foreknown;
use super::super::events::{Event, SoFar};
use super::super::fakes::{
    Actions, BOOT, FakeEngine, FakeMeasure, FakeProduction, REPEAT, Repeated, STOP, manifest,
};
use super::super::launch::FIRST_LOG;
use super::super::launch::TrialOrder;
use super::super::part::Decide;
use super::super::scope;
use super::*;
use crate::engine::LaunchOrder;
use crate::event::{Notice, Phase};
use crate::history::HistoryError;
use crate::history::confirmation::Confirmation;
use crate::history::disk::Free;
use crate::history::journal::{self, Line};
use crate::history::launch::{FailureClass, LaunchFailure, LaunchOutcome};
use crate::history::production::{PendingRestore, pending_restore};
use crate::history::record::Manifest;
use crate::secret::Secrets;
use crate::server::proof::Proof;
use crate::strategy::{
    Action, Finished, InFlight, Observation, Situation, Strategy, Task, TrialOutcome,
};
use crate::workload::SUITE_VERSION;

mod blocks;
mod breaker;
mod budget;
mod clocks;
mod confirm;
mod early;
mod errors;
mod files;
mod gates;
mod infeasible;
mod jobs;
mod nights;
mod parts;
mod production;
mod proof;
mod several;
mod so_far;
mod stops;
mod strategy;
mod window;

/// What a launch of one warm-up and two kept repeats takes.
const LAUNCH: u64 = BOOT + 3 * REPEAT + STOP;

/// A sweep's set-up with fakes; what it shows of itself is kept.
struct Setup {
    folder: tempfile::TempDir,
    actions: Actions,
    seen: Arc<Mutex<Vec<Event>>>,
    engine: FakeEngine,
    measure: FakeMeasure,
    production: Option<FakeProduction>,
    strategy: Option<Box<dyn Strategy>>,
    confirm: Option<Confirmation>,
    /// What changed and was accepted: a later session begins a block with it.
    accepted: Vec<String>,
    cancel: CancellationToken,
    manifest: Manifest,
    /// Lines after which the disk is full for one write.
    disk: Option<u32>,
    /// Whether the journal has its reserve then.
    reserve: bool,
    /// What is free on its disk.
    free: Option<fn(&std::path::Path) -> std::io::Result<Free>>,
    clock: Clock,
    owner: Option<Owner>,
    next: Option<Decide>,
    window: Option<crate::grid::Window>,
    /// How the machine is read again before a further night.
    machine: Option<super::super::measured_with::ReadMachine>,
    elsewhere: Option<Arc<dyn super::super::hosts::Hosts>>,
}

impl Setup {
    /// `configurations` with `launches` of two kept repeats each.
    fn new(configurations: usize, launches: u32) -> Self {
        let actions = Actions::default();
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            engine: FakeEngine::new(&actions),
            measure: FakeMeasure::new(&actions),
            actions,
            seen: Arc::default(),
            production: None,
            strategy: None,
            confirm: None,
            accepted: Vec::new(),
            cancel: CancellationToken::new(),
            manifest: manifest(configurations, launches, 2),
            disk: None,
            reserve: false,
            free: None,
            clock: Clock::from("2026-11-24T06:00:00Z".parse().expect("a time")),
            owner: None,
            next: None,
            window: None,
            machine: None,
            elsewhere: None,
        }
    }

    fn boots(
        mut self,
        boots: impl Fn(&LaunchOrder, u32) -> Option<FailureClass> + Send + Sync + 'static,
    ) -> Self {
        self.engine.boots = Box::new(move |order, attempt| {
            boots(order, attempt).map(|class| LaunchFailure::new(class, "it failed"))
        });
        self
    }

    fn repeats(mut self, repeats: impl Fn(u32, u32) -> Repeated + Send + Sync + 'static) -> Self {
        self.measure.repeats = Box::new(repeats);
        self
    }

    fn proves(mut self, proofs: impl Fn(&TrialOrder) -> Proof + Send + Sync + 'static) -> Self {
        self.measure.proofs = Box::new(proofs);
        self
    }

    fn places(mut self, places: usize) -> Self {
        self.engine.places = places;
        self
    }

    fn guarded(mut self) -> Self {
        self.production = Some(FakeProduction::running(&self.actions));
        self
    }

    /// Begins a sweep, or continues the one in the folder, and runs it.
    async fn run(self) -> Ran {
        let folder = self.folder.path().join("run");
        let mut sweep = if folder.exists() {
            Sweep::resume(Folder::existing(&folder).expect("a sweep"), &Secrets::default())
                .expect("it can be resumed")
        } else {
            let now = jiff::Timestamp::UNIX_EPOCH;
            let (folder, _) = Folder::create("g", now, Some(&folder)).expect("a new folder");
            Sweep::write(folder, self.manifest.clone(), b"", &Secrets::default())
                .expect("a new sweep")
        };
        if let Some(lines) = self.disk {
            sweep.journal.fill_disk_after(lines, self.reserve);
        }
        sweep.files.free = self.free.unwrap_or(sweep.files.free);
        if let Some(owner) = self.owner {
            sweep = sweep.owned_by(owner);
        }
        let configurations = &self.manifest.configurations;
        let names: Vec<&str> = configurations.iter().map(|known| known.name.as_str()).collect();
        let (mut strategy, count) = (self.strategy, names.len());
        if let Some(asked) = self.confirm {
            strategy =
                Some(Box::new(asked.strategy(&names, 1.0).expect("two of its configurations")));
            sweep = sweep.confirming(asked).expect("two of its configurations");
        }
        if !self.accepted.is_empty() {
            let block = blocks::block_of(&sweep, self.accepted);
            sweep = sweep.accepting(Some(block));
        }
        let listener = Arc::clone(&self.seen);
        let context = SweepContext {
            engine: Arc::new(self.engine),
            measure: Arc::new(self.measure),
            elsewhere: self.elsewhere,
            strategy: strategy
                .unwrap_or_else(|| self.manifest.strategy.build(&Task::plain(count, Some(0)))),
            production: self.production.map(|known| Box::new(known) as Box<dyn Production>),
            events: Events::to(move |event| listener.lock().expect("no panic").push(event)),
            cancel: self.cancel,
            clock: self.clock,
            foreknown: Foreknown::default(),
            next: self.next,
            window: self.window,
            machine: self.machine,
        };
        let ending = sweep.run(&context).await;
        let record = sweep.record().clone();
        Ran { ending, record, folder: self.folder, actions: self.actions, seen: self.seen }
    }
}

/// What a sweep came to.
struct Ran {
    ending: Result<Ending, SweepError>,
    record: SweepRecord,
    folder: tempfile::TempDir,
    actions: Actions,
    seen: Arc<Mutex<Vec<Event>>>,
}

impl Ran {
    fn ending(&self) -> Ending {
        *self.ending.as_ref().expect("it ends in good order")
    }

    /// A later session of the same sweep.
    fn again(self, setup: Setup) -> Setup {
        Setup { folder: self.folder, ..setup }
    }

    fn lines(&self) -> Vec<Line> {
        journal::read(&self.folder.path().join("run/journal.jsonl")).expect("a journal")
    }

    /// The journal's entries in short.
    fn entries(&self) -> Vec<String> {
        self.lines().iter().map(|line| short(&line.entry)).collect()
    }

    fn outcomes(&self) -> Vec<(u32, &str)> {
        let of = |launch: &crate::history::record::LaunchRecord| {
            let word = match &launch.outcome {
                Some(LaunchOutcome::Measured) => "measured",
                Some(LaunchOutcome::Failed(_)) => "failed",
                Some(LaunchOutcome::Skipped { .. }) => "skipped",
                Some(LaunchOutcome::Interrupted) => "interrupted",
                Some(LaunchOutcome::Lost { .. }) => "lost",
                Some(LaunchOutcome::Unknown) => "unknown",
                None => "open",
            };
            (launch.trial, word)
        };
        self.record.launches.iter().map(of).collect()
    }
}

fn short(entry: &Entry) -> String {
    match entry {
        Entry::SessionStarted { .. } => "session".to_owned(),
        Entry::LaunchStarted { launch, trial, configuration, planned, .. } => {
            format!("start {launch} trial {trial} {configuration} ({planned})")
        }
        Entry::LaunchReady { launch, .. } => format!("ready {launch}"),
        Entry::GateFinished { launch, report } => {
            format!("gate {launch} {} {}", report.gate, report.verdict)
        }
        Entry::RepeatFinished { launch, measurement } => {
            format!("repeat {launch}.{} {}", measurement.repeat, measurement.status.as_str())
        }
        Entry::LaunchShortened { launch, behind: it } => {
            format!("behind {launch}: {} beyond {}, {} repeats", it.value, it.bar, it.repeats)
        }
        Entry::JobSubmitted { launch, job } => format!("job {launch} {job}"),
        Entry::LaunchPlaced { launch, host, .. } => format!("placed {launch} {host}"),
        Entry::LaunchEnded { launch, outcome } => {
            let outcome = serde_json::to_value(outcome).expect("JSON");
            format!("end {launch} {}", outcome["outcome"].as_str().expect("a tag"))
        }
        Entry::Production { production } => {
            let step = serde_json::to_value(production).expect("JSON");
            format!("production {}", step["step"].as_str().expect("a tag"))
        }
        Entry::BlockStarted { block } => format!("block {}", block.number),
        Entry::ConfirmationStarted { confirmation: it } => {
            format!("confirm {}: {} against {}", it.number, it.candidate, it.baseline)
        }
        Entry::ConfirmationEnded { confirmation, ended } => {
            format!("confirmed {confirmation}: {ended:?}")
        }
        Entry::NothingToConfirm { why } => format!("nothing to confirm: {why}"),
        Entry::SessionEnded { reason, .. } => format!("session ended: {reason}"),
        Entry::Unknown => "unknown".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn one_launch_after_another_each_entry_durable_before_the_next_action() {
    let ran = Setup::new(2, 1).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    assert_eq!(
        ran.actions.take(),
        [
            "boot 1 c0",
            "repeat 1.0",
            "repeat 1.1",
            "repeat 1.2",
            "stop 1", //
            "boot 2 c1",
            "repeat 2.0",
            "repeat 2.1",
            "repeat 2.2",
            "stop 2",
        ]
    );
    assert_eq!(
        ran.entries(),
        [
            "session",
            "start 1 trial 0 c0 (3)",
            "ready 1",
            "repeat 1.0 ok",
            "repeat 1.1 ok",
            "repeat 1.2 ok",
            "end 1 measured",
            "start 2 trial 1 c1 (3)",
            "ready 2",
            "repeat 2.0 ok",
            "repeat 2.1 ok",
            "repeat 2.2 ok",
            "end 2 measured",
            "session ended: every configuration had its launches",
        ]
    );
    let lines = ran.lines();
    let seconds = lines[lines.len() - 1].at.duration_since(lines[0].at).as_secs();
    assert_eq!(seconds, 2 * LAUNCH.cast_signed(), "time stamps are the virtual clock's");
}

#[tokio::test(start_paused = true)]
async fn the_stream_has_every_line_of_the_journal_and_each_notice_names_its_launch() {
    let ran = Setup::new(2, 1).run().await;
    let seen = ran.seen.lock().expect("no panic");
    let written: Vec<Line> = seen
        .iter()
        .filter_map(|event| match event {
            Event::Written(line) => Some(line.clone()),
            Event::SoFar(_) | Event::TakenUp(_) | Event::Notice(_) => None,
        })
        .collect();
    assert_eq!(written, ran.lines());
    let phases: Vec<(Option<u32>, &str)> = seen
        .iter()
        .filter_map(|event| match event {
            Event::Notice(Notice { launch, kind: NoticeKind::Phase(phase) }) => {
                let name = match phase {
                    Phase::Booting(_) => "booting",
                    Phase::Ready { .. } => "ready",
                    Phase::Gate(_) => "gate",
                    Phase::Measuring { .. } => "measuring",
                    Phase::Stopping => "stopping",
                    Phase::Elsewhere(_) => "elsewhere",
                };
                Some((*launch, name))
            }
            _ => None,
        })
        .collect();
    let of = |launch| ["booting", "ready", "stopping"].map(|name| (Some(launch), name));
    assert_eq!(phases, [of(1), of(2)].concat());
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_starts_no_launch_in_this_session_or_the_next() {
    let mut setup = Setup::new(3, 1);
    setup.manifest.budget_seconds = Some(LAUNCH + 1);
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::BudgetSpent);
    assert_eq!(ran.outcomes(), [(0, "measured"), (1, "measured")], "the second one began in time");
    assert_eq!(ran.entries().last().expect("an end"), "session ended: budget spent");

    let ran = ran.again(Setup::new(3, 1)).run().await;
    assert_eq!(ran.ending(), Ending::BudgetSpent);
    assert_eq!(ran.actions.take(), [""; 0], "earlier sessions count");
}

#[tokio::test(start_paused = true)]
async fn what_may_end_otherwise_is_cleaned_up_and_tried_once_more() {
    for class in [FailureClass::MemoryNotFree, FailureClass::CompileCache, FailureClass::Killed] {
        let ran = Setup::new(1, 1).boots(move |_, attempt| (attempt == 1).then_some(class)).run();
        let ran = ran.await;
        assert_eq!(ran.ending(), Ending::Complete);
        let actions = ran.actions.take();
        assert_eq!(actions[..3], ["boot 1 c0", "clean up", "boot 1 c0"], "{class:?}");
        let launch = ran.folder.path().join("run/launches/1-c0");
        let log = |name: &str| std::fs::read_to_string(launch.join(name)).expect("a log");
        assert_eq!((log(FIRST_LOG).as_str(), log("engine.log").as_str()), ("1", "2"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_attempt_that_fails_says_so() {
    let ran = Setup::new(1, 1).boots(|_, _| Some(FailureClass::Killed)).run().await;
    let Some(LaunchOutcome::Failed(failure)) = &ran.record.launches[0].outcome else {
        panic!("{:?}", ran.record)
    };
    assert_eq!(failure.message, "twice; the second time it failed");
    assert_eq!(ran.actions.take(), ["boot 1 c0", "clean up", "boot 1 c0"]);
}

#[tokio::test(start_paused = true)]
async fn what_would_fail_again_is_not() {
    for class in [FailureClass::BadFlag, FailureClass::KvCacheTooSmall, FailureClass::Timeout] {
        let ran = Setup::new(1, 1).boots(move |_, _| Some(class)).run().await;
        assert_eq!(ran.actions.take(), ["boot 1 c0"], "{class:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_lost_in_mid_measurement_costs_one_more_launch_for_the_rest() {
    let lost = |launch, repeat| {
        if (launch, repeat) == (1, 1) { Repeated::Lost } else { Repeated::Value(1.0) }
    };
    let ran = Setup::new(2, 1).repeats(lost).run().await;
    assert_eq!(ran.outcomes(), [(0, "failed"), (0, "measured"), (1, "measured")]);
    // A failed repeat is kept as a result; a void one is measured again.
    assert_eq!(
        ran.entries()[1..9],
        [
            "start 1 trial 0 c0 (3)",
            "ready 1",
            "repeat 1.0 ok",
            "repeat 1.1 failed",
            "end 1 failed",
            "start 2 trial 0 c0 (2)",
            "ready 2",
            "repeat 2.0 ok",
        ]
    );
    let in_the_last = |launch, repeat| {
        if (launch, repeat) == (1, 2) { Repeated::Lost } else { Repeated::Value(1.0) }
    };
    let ran = Setup::new(2, 1).repeats(in_the_last).run().await;
    assert_eq!(ran.outcomes(), [(0, "failed"), (1, "measured")], "nothing was left to measure");
    let void = |launch, repeat| {
        if (launch, repeat) == (1, 1) { Repeated::Void } else { Repeated::Value(1.0) }
    };
    let ran = Setup::new(1, 1).repeats(void).run().await;
    assert_eq!(ran.outcomes(), [(0, "measured"), (0, "measured")]);
    let again: Vec<String> = ran.actions.take().split_off(5);
    assert_eq!(again, ["boot 2 c0", "repeat 2.0", "repeat 2.1", "stop 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_repeat_and_the_server_and_a_resume_measures_nothing_twice() {
    let setup = Setup::new(2, 1);
    let (cancel, seen) = (setup.cancel.clone(), Arc::clone(&setup.seen));
    let all = Arc::clone(&seen);
    let said = tokio::spawn(async move {
        // In the second kept repeat of the first launch.
        sleep(Duration::from_secs(BOOT + 2 * REPEAT + 1)).await;
        cancel.cancel();
        sleep(Duration::from_millis(1)).await;
        let seen = seen.lock().expect("no panic");
        let interrupted =
            |event: &&Event| matches!(event, Event::Notice(n) if n.kind == NoticeKind::Interrupted);
        assert_eq!(seen.iter().filter(interrupted).count(), 1, "it is said at once");
    });
    let ran = setup.run().await;
    said.await.expect("it is said");
    let is_interrupted =
        |event: &Event| matches!(event, Event::Notice(n) if n.kind == NoticeKind::Interrupted);
    let is_eta = |event: &Event| matches!(event, Event::SoFar(SoFar::Eta(_)));
    let all = all.lock().expect("no panic").clone();
    let mut after = all.iter().skip_while(|it| !is_interrupted(it));
    assert!(all.iter().any(is_eta) && !after.any(is_eta), "nothing ends later than now");
    assert_eq!(ran.ending(), Ending::Interrupted);
    assert_eq!(
        ran.actions.take(),
        ["boot 1 c0", "repeat 1.0", "repeat 1.1", "repeat 1.2", "stop 1"]
    );
    assert_eq!(
        ran.entries()[3..],
        ["repeat 1.0 ok", "repeat 1.1 ok", "end 1 interrupted", "session ended: interrupted"]
    );

    let ran = ran.again(Setup::new(2, 1)).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    assert_eq!(
        ran.actions.take(),
        [
            "boot 2 c0",
            "repeat 2.0",
            "repeat 2.2",
            "stop 2", //
            "boot 3 c1",
            "repeat 3.0",
            "repeat 3.1",
            "repeat 3.2",
            "stop 3",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_stop_during_a_boot_leaves_no_attempt_behind() {
    let setup = Setup::new(2, 1);
    let cancel = setup.cancel.clone();
    tokio::spawn(async move {
        sleep(Duration::from_secs(BOOT / 2)).await;
        cancel.cancel();
    });
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Interrupted);
    assert_eq!(ran.outcomes(), [(0, "interrupted")]);
    assert_eq!(ran.actions.take(), ["boot 1 c0"]);
}
