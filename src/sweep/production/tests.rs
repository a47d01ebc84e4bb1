use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use super::*;
use crate::history::production::ProductionFacts;

/// No stop is asked for.
pub(super) fn never() -> CancellationToken {
    CancellationToken::new()
}

/// What a stop comes to, once it is done.
#[derive(Clone, Copy, Default, PartialEq)]
enum Stops {
    #[default]
    Well,
    Fails,
    Panics,
}

/// A production that records what is done to it.
#[derive(Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is another behaviour")]
pub(super) struct Fake {
    containers: Mutex<Vec<ProductionFacts>>,
    actions: Mutex<Vec<String>>,
    pub(super) silent: bool,
    by_service: bool,
    /// Whether what is looked for by labels is not found.
    hides: bool,
    stops: Stops,
    /// How many of the next proofs find that it has ended.
    ends: Mutex<u32>,
    /// Seconds until it ends.
    ends_after: u64,
    /// Whether it answers before it ends.
    answers: bool,
    /// How long a proof takes.
    pub(super) takes: Duration,
}

pub(super) fn facts(id: &str, running: bool) -> ProductionFacts {
    ProductionFacts {
        id: id.to_owned(),
        name: "prod".to_owned(),
        image_id: "sha256:1".to_owned(),
        started_at: "2026-11-24T08:00:00Z".to_owned(),
        command_sha256: "0".to_owned(),
        configuration_sha256: "0".to_owned(),
        running,
        ..ProductionFacts::default()
    }
}

impl Fake {
    pub(super) fn running() -> Self {
        Self { containers: Mutex::new(vec![facts("a", true)]), by_service: true, ..Self::default() }
    }

    pub(super) fn set(&self, containers: Vec<ProductionFacts>) {
        *self.containers.lock().expect("no panic") = containers;
    }

    fn did(&self, action: String) {
        self.actions.lock().expect("no panic").push(action);
    }

    pub(super) fn actions(&self) -> String {
        self.actions.lock().expect("no panic").join(" ")
    }

    pub(super) fn turn(&self, id: &str, running: bool) {
        for facts in
            self.containers.lock().expect("no panic").iter_mut().filter(|facts| facts.id == id)
        {
            facts.running = running;
        }
    }
}

#[async_trait]
impl Production for Fake {
    async fn find(&self) -> Result<Option<ProductionFacts>, ProductionError> {
        Ok(self.containers.lock().expect("no panic").first().filter(|_| !self.hides).cloned())
    }

    async fn look(&self, id: &str) -> Result<Option<ProductionFacts>, ProductionError> {
        Ok(self
            .containers
            .lock()
            .expect("no panic")
            .iter()
            .find(|it| it.id == id || it.name == id)
            .cloned())
    }

    async fn companions(&self) -> Result<Vec<Companion>, ProductionError> {
        let all = self.containers.lock().expect("no panic");
        let running = all.iter().filter(|it| it.running && it.name == "watch");
        Ok(running.map(|it| Companion { id: it.id.clone(), name: it.name.clone() }).collect())
    }

    async fn stop(&self, id: &str) -> Result<(), ProductionError> {
        self.did(format!("stop {id}"));
        self.turn(id, false);
        assert!(self.stops != Stops::Panics, "a bug");
        if self.stops == Stops::Fails {
            Err(ProductionError::Daemon("no".to_owned()))
        } else {
            Ok(())
        }
    }

    async fn start(&self, id: &str) -> Result<(), ProductionError> {
        self.did(format!("start {id}"));
        self.turn(id, true);
        Ok(())
    }

    async fn make_again(&self) -> Result<ProductionFacts, ProductionError> {
        if !self.by_service {
            return Err(ProductionError::Removed("a container".to_owned()));
        }
        self.did("up".to_owned());
        self.set(vec![facts("b", true)]);
        Ok(facts("b", true))
    }

    async fn prove(&self, id: &str, limit: Duration) -> Result<(), String> {
        self.did(format!("prove {id}"));
        sleep(self.takes.min(limit)).await;
        if self.takes > limit {
            return Err("no completion".to_owned());
        }
        let ends = {
            let mut ends = self.ends.lock().expect("no panic");
            let left = ends.checked_sub(1);
            *ends = left.unwrap_or(0);
            left.is_some()
        };
        if ends {
            sleep(Duration::from_secs(self.ends_after)).await;
            self.turn(id, false);
            return if self.answers { Ok(()) } else { Err("it ended with code 1".to_owned()) };
        }
        if self.silent { Err("silent".to_owned()) } else { Ok(()) }
    }
}

pub(super) type Noted = Vec<ProductionStep>;

/// The steps as words.
pub(super) fn words(steps: &[ProductionStep]) -> Vec<String> {
    steps
        .iter()
        .map(|step| {
            serde_json::to_value(step).expect("JSON")["step"].as_str().expect("a tag").to_owned()
        })
        .collect()
}

#[tokio::test]
async fn production_is_stopped_first_started_last_and_proven() {
    let fake = Fake::running();
    let mut steps: Noted = Vec::new();
    let mut note = |step| {
        steps.push(step);
        Ok::<(), ()>(())
    };
    let emit = Emit::nowhere();
    let mut guard = Guard::stop_production(&fake, &[], &mut note, &emit, &never())
        .await
        .expect("it is stopped");
    guard.check(&fake, &mut note, &Emit::nowhere()).await.expect("nobody started it");
    guard.restore(&fake, &mut note, &emit, &never()).await.expect("proven");
    guard.restore(&fake, &mut note, &emit, &never()).await.expect("once is enough");
    assert_eq!(fake.actions(), "stop a start a prove a");
    assert_eq!(words(&steps), ["stopping", "stopped", "started_not_proven", "proven"]);
    assert_eq!(pending_restore(&steps), PendingRestore::Nothing);
    let text = serde_json::to_string(&steps).expect("JSON");
    assert_eq!(serde_json::from_str::<Noted>(&text).expect("read again"), steps);
}

#[tokio::test]
async fn what_did_not_run_is_not_started() {
    for containers in [vec![], vec![facts("a", false)]] {
        let fake = Fake::default();
        fake.set(containers);
        let mut note = |_| Ok::<(), ()>(());
        let emit = Emit::nowhere();
        let mut guard = Guard::stop_production(&fake, &[], &mut note, &emit, &never())
            .await
            .expect("it is stopped");
        guard.restore(&fake, &mut note, &emit, &never()).await.expect("nothing to do");
        assert_eq!(fake.actions(), "");
    }
}

#[tokio::test]
async fn production_that_somebody_replaced_is_told_of_with_what_differs() {
    let of = |running: bool, image: &str, command: &str| ProductionFacts {
        image_id: format!("sha256:{image}"),
        command_sha256: command.to_owned(),
        ..facts("b", running)
    };
    for (now, actions, words_of_it) in [
        // A file that was changed, and a container that was only created.
        (
            of(false, "2", "1"),
            "stop a start b prove b",
            "another image (1, now 2), another command",
        ),
        // Made again as it was, and it runs, as after the last look of the sweep.
        (of(true, "1", "0"), "stop a prove b", "of the same image and command"),
    ] {
        let fake = Fake::running();
        let mut steps: Noted = Vec::new();
        let mut note = |step| {
            steps.push(step);
            Ok::<(), ()>(())
        };
        let emit = Emit::nowhere();
        let mut guard = Guard::stop_production(&fake, &[], &mut note, &emit, &never())
            .await
            .expect("it is stopped");
        fake.set(vec![now]);
        guard.restore(&fake, &mut note, &emit, &never()).await.expect("proven");
        assert_eq!(fake.actions(), actions);
        assert_eq!(words(&steps)[2..], ["replaced", "proven"]);
        let text = steps[2].replaced().expect("it is").to_string();
        let begins = "production was replaced by somebody during the sweep: a -> b";
        assert!(text.starts_with(begins) && text.ends_with(words_of_it), "{text}");
    }
    // One that runs in mid-sweep stops the sweep, and is told of as well.
    let fake = Fake::running();
    let mut steps: Noted = Vec::new();
    let mut note = |step| {
        steps.push(step);
        Ok::<(), ()>(())
    };
    let mut guard = Guard::stop_production(&fake, &[], &mut note, &Emit::nowhere(), &never())
        .await
        .expect("it is stopped");
    fake.set(vec![of(true, "1", "1")]);
    guard.check(&fake, &mut note, &Emit::nowhere()).await.expect_err("it runs");
    assert_eq!(words(&steps)[2..], ["replaced", "started_by_somebody"]);
}

#[tokio::test]
async fn what_somebody_removed_is_made_again_where_there_is_a_service() {
    let fake = Fake::running();
    let mut steps: Noted = Vec::new();
    let mut note = |step| {
        steps.push(step);
        Ok::<(), ()>(())
    };
    let emit = Emit::nowhere();
    let mut guard = Guard::stop_production(&fake, &[], &mut note, &emit, &never())
        .await
        .expect("it is stopped");
    fake.set(vec![]);
    guard.check(&fake, &mut note, &Emit::nowhere()).await.expect("nothing runs");
    guard.restore(&fake, &mut note, &emit, &never()).await.expect("made again");
    assert_eq!(fake.actions(), "stop a up prove b");
    assert_eq!(words(&steps)[2..], ["made_again", "proven"]);

    let fake = Fake { by_service: false, ..Fake::running() };
    let mut note = |_| Ok::<(), ()>(());
    let mut guard = Guard::stop_production(&fake, &[], &mut note, &emit, &never())
        .await
        .expect("it is stopped");
    fake.set(vec![]);
    let error = guard
        .restore(&fake, &mut note, &emit, &never())
        .await
        .expect_err("a name alone makes no container");
    let text = error.to_string();
    assert!(text.contains("PRODUCTION IS DOWN") && text.contains("cannot be made again"), "{text}");
}

/// By `docker run`, or by compose in another project: the labels are others.
#[tokio::test]
async fn what_has_its_name_and_not_its_labels_is_started_and_no_second_one_is_made() {
    let fake = Fake { hides: true, ..Fake::running() };
    fake.set(vec![facts("b", false)]);
    let steps = [ProductionStep::Stopping { facts: facts("a", true) }];
    let mut note = |_| Ok::<(), ()>(());
    recover(&fake, &steps, &mut note, &Emit::nowhere(), &never()).await.expect("proven");
    assert_eq!(fake.actions(), "start b prove b");
}

#[tokio::test]
async fn a_kill_at_any_moment_is_recovered_any_number_of_times() {
    // The steps of a whole sweep, and production's state right after each.
    let all = [
        (ProductionStep::Stopping { facts: facts("a", true) }, true),
        (ProductionStep::Stopped { id: "a".to_owned() }, false),
        (ProductionStep::StartedNotProven { id: "a".to_owned() }, true),
        (ProductionStep::Proven { id: "a".to_owned() }, true),
    ];
    for killed_after in 0..=all.len() {
        // Killed right after the action that follows a step, too: before `Stopped` it may be down.
        for down in [false, true] {
            let fake = Fake::running();
            let running = killed_after.checked_sub(1).is_none_or(|last| all[last].1);
            let proven = killed_after == all.len();
            fake.set(vec![facts("a", running && !(down && !proven && killed_after > 0))]);
            let mut steps: Noted =
                all[..killed_after].iter().map(|(step, _)| step.clone()).collect();
            for _ in 0..3 {
                let known = steps.clone();
                let mut note = |step| {
                    steps.push(step);
                    Ok::<(), ()>(())
                };
                recover(&fake, &known, &mut note, &Emit::nowhere(), &never())
                    .await
                    .expect("recovered");
            }
            let now = fake.find().await.expect("there").expect("there");
            assert!(now.running, "killed after {killed_after}, down {down}: {}", fake.actions());
            let proofs = fake.actions().matches("prove").count();
            assert_eq!(proofs, usize::from(killed_after > 0 && !proven), "{}", fake.actions());
        }
    }
}

#[tokio::test]
async fn a_resumed_sweep_restores_what_the_earlier_one_stopped() {
    let fake = Fake::running();
    fake.set(vec![facts("a", false)]);
    let earlier = [ProductionStep::Stopped { id: "a".to_owned() }];
    let mut note = |_| Ok::<(), ()>(());
    let emit = Emit::nowhere();
    let mut guard = Guard::stop_production(&fake, &earlier, &mut note, &emit, &never())
        .await
        .expect("it is stopped");
    guard.restore(&fake, &mut note, &emit, &never()).await.expect("proven");
    assert_eq!(fake.actions(), "start a prove a");
}

#[tokio::test]
async fn what_does_not_answer_is_started_and_reported_as_unproven() {
    let fake = Fake { silent: true, ..Fake::running() };
    let mut steps: Noted = Vec::new();
    let mut note = |step| {
        steps.push(step);
        Ok::<(), ()>(())
    };
    let emit = Emit::nowhere();
    let mut guard = Guard::stop_production(&fake, &[], &mut note, &emit, &never())
        .await
        .expect("it is stopped");
    let error = guard.restore(&fake, &mut note, &emit, &never()).await.expect_err("silent");
    assert!(error.to_string().contains("not proven: silent"), "{error}");
    assert_eq!(
        pending_restore(&steps),
        PendingRestore::Proof("a".to_owned()),
        "`recover` tries again"
    );
}

#[tokio::test]
async fn a_full_disk_does_not_keep_production_down() {
    let fake = Fake::running();
    let mut lines = 0;
    let mut note = |_| {
        lines += 1;
        if lines > 2 { Err("disk full") } else { Ok(()) }
    };
    let emit = Emit::nowhere();
    let mut guard = Guard::stop_production(&fake, &[], &mut note, &emit, &never())
        .await
        .expect("it is stopped");
    let error = guard.restore(&fake, &mut note, &emit, &never()).await.expect_err("it is reported");
    assert!(matches!(error, GuardError::Journal("disk full")));
    assert_eq!(fake.actions(), "stop a start a prove a");
}

#[tokio::test]
async fn a_stop_that_fails_half_way_is_undone() {
    let fake = Fake { stops: Stops::Fails, ..Fake::running() };
    let mut note = |_| Ok::<(), ()>(());
    let emit = Emit::nowhere();
    let error = Guard::stop_production(&fake, &[], &mut note, &emit, &never())
        .await
        .expect_err("it cannot be stopped");
    assert!(matches!(error, GuardError::Production(ProductionError::Daemon(_))));
    assert_eq!(fake.actions(), "stop a start a prove a");
}

/// Restores what the fake has, after it was stopped: what the guard says, the steps, and
/// whether production is known to be down in the end.
async fn restored(fake: &Fake) -> (Result<(), GuardError<()>>, Noted, bool) {
    let is_down = std::sync::Arc::new(Mutex::new(false));
    let kept = std::sync::Arc::clone(&is_down);
    let emit = Emit::to(move |notice| match notice.kind {
        NoticeKind::ProductionDown { .. } => *kept.lock().expect("no panic") = true,
        NoticeKind::ProductionUp { .. } => *kept.lock().expect("no panic") = false,
        _ => {}
    });
    let mut steps: Noted = Vec::new();
    let mut note = |step| {
        steps.push(step);
        Ok::<(), ()>(())
    };
    let mut guard = Guard {
        stopped: Some(Down { id: "a".to_owned(), name: "prod".to_owned() }),
        ..Guard::default()
    };
    let restored = guard.restore(fake, &mut note, &emit, &never()).await;
    let is_down = *is_down.lock().expect("no panic");
    (restored, steps, is_down)
}

#[tokio::test(start_paused = true)]
async fn what_ends_again_while_it_boots_is_started_again() {
    // The container runs first where a stop that failed was still under way.
    for (running, ends, ends_after, answers) in
        [(false, 1, 1, false), (true, 1, 0, false), (false, 5, 20, false), (false, 1, 480, true)]
    {
        let fake = Fake { ends: Mutex::new(ends), ends_after, answers, ..Fake::running() };
        fake.set(vec![facts("a", running)]);
        let (restored, steps, is_down) = restored(&fake).await;
        assert!(restored.is_ok() && !is_down, "{}", fake.actions());
        let starts = fake.actions().matches("start").count();
        assert_eq!(starts as u32, ends + u32::from(!running), "{}", fake.actions());
        assert_eq!(words(&steps)[..2], ["started_not_proven", "stopped"]);
        assert_eq!(pending_restore(&steps), PendingRestore::Nothing);
    }
}

#[tokio::test(start_paused = true)]
async fn what_never_keeps_running_is_down_after_minutes_and_by_name() {
    for ends_after in [0, 30, 480] {
        let fake = Fake { ends: Mutex::new(u32::MAX), ends_after, ..Fake::running() };
        fake.set(vec![facts("a", false)]);
        let begun = Instant::now();
        let (restored, steps, is_down) = restored(&fake).await;
        let minutes = begun.elapsed().as_secs() / 60;
        assert!((4..20).contains(&minutes), "{ends_after} s: {minutes} minutes");
        let error = restored.expect_err("it never runs");
        assert!(matches!(error, GuardError::Down { .. }) && is_down, "{error}");
        let text = error.to_string();
        for part in
            ["PRODUCTION IS DOWN: container prod (a)", "it ended with code 1", "docker logs prod"]
        {
            assert!(text.contains(part), "{text}");
        }
        assert!(fake.actions().matches("start").count() > 1, "{}", fake.actions());
        assert_eq!(pending_restore(&steps), PendingRestore::Start("a".to_owned()));
    }
}

#[tokio::test]
async fn a_panic_while_it_is_stopped_restores_it_before_it_continues() {
    let fake = Fake { stops: Stops::Panics, ..Fake::running() };
    let mut note = |_| Ok::<(), ()>(());
    let emit = Emit::nowhere();
    let stopping = caught(Guard::stop_production(&fake, &[], &mut note, &emit, &never())).await;
    assert!(stopping.is_err(), "the panic continues");
    assert_eq!(fake.actions(), "stop a start a prove a");
}

#[tokio::test]
async fn a_panic_is_caught_until_production_is_back() {
    let caught = caught(async { panic!("a bug") }).await;
    assert!(caught.is_err());
}
