use std::sync::Mutex;

use async_trait::async_trait;

use super::*;
use crate::history::production::ProductionFacts;

/// A production whose life is written down.
#[derive(Default)]
struct Fake {
    containers: Mutex<Vec<ProductionFacts>>,
    deeds: Mutex<Vec<String>>,
    silent: bool,
    by_service: bool,
    stop_fails: bool,
}

fn facts(id: &str, running: bool) -> ProductionFacts {
    ProductionFacts {
        id: id.to_owned(),
        name: "prod".to_owned(),
        image_id: "sha256:1".to_owned(),
        started_at: "2026-11-24T08:00:00Z".to_owned(),
        configuration_sha256: "0".to_owned(),
        running,
    }
}

impl Fake {
    fn running() -> Self {
        Self { containers: Mutex::new(vec![facts("a", true)]), by_service: true, ..Self::default() }
    }

    fn set(&self, containers: Vec<ProductionFacts>) {
        *self.containers.lock().expect("no panic") = containers;
    }

    fn did(&self, deed: String) {
        self.deeds.lock().expect("no panic").push(deed);
    }

    fn deeds(&self) -> String {
        self.deeds.lock().expect("no panic").join(" ")
    }

    fn turn(&self, id: &str, running: bool) {
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
        Ok(self.containers.lock().expect("no panic").first().cloned())
    }

    async fn look(&self, id: &str) -> Result<Option<ProductionFacts>, ProductionError> {
        Ok(self.containers.lock().expect("no panic").iter().find(|facts| facts.id == id).cloned())
    }

    async fn stop(&self, id: &str) -> Result<(), ProductionError> {
        self.did(format!("stop {id}"));
        self.turn(id, false);
        if self.stop_fails { Err(ProductionError::Daemon("no".to_owned())) } else { Ok(()) }
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

    async fn prove(&self, id: &str, _limit: Duration) -> Result<(), String> {
        self.did(format!("prove {id}"));
        if self.silent { Err("silent".to_owned()) } else { Ok(()) }
    }
}

type Noted = Vec<ProductionStep>;

/// The steps as words.
fn words(steps: &[ProductionStep]) -> Vec<String> {
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
    let mut guard = Guard::stop_production(&fake, &[], &mut note, &emit).await.expect("it stands");
    guard.check(&fake, &mut note).await.expect("nobody started it");
    guard.leave(&fake, &mut note, &emit, PROOF).await.expect("proven");
    guard.leave(&fake, &mut note, &emit, PROOF).await.expect("once is enough");
    assert_eq!(fake.deeds(), "stop a start a prove a");
    assert_eq!(words(&steps), ["stopping", "stopped", "started_not_proven", "proven"]);
    assert_eq!(pending_restore(&steps), PendingRestore::Nothing);
    let text = serde_json::to_string(&steps).expect("JSON");
    assert_eq!(serde_json::from_str::<Noted>(&text).expect("read again"), steps);
}

#[tokio::test]
async fn what_did_not_run_is_left_so() {
    for containers in [vec![], vec![facts("a", false)]] {
        let fake = Fake::default();
        fake.set(containers);
        let mut note = |_| Ok::<(), ()>(());
        let emit = Emit::nowhere();
        let mut guard =
            Guard::stop_production(&fake, &[], &mut note, &emit).await.expect("it stands");
        guard.leave(&fake, &mut note, &emit, PROOF).await.expect("nothing to do");
        assert_eq!(fake.deeds(), "");
    }
}

#[tokio::test]
async fn somebody_who_starts_it_is_found_and_it_runs_on() {
    // The same container started, or another one made under the same name.
    for now in [facts("a", true), facts("z", true)] {
        let fake = Fake::running();
        let mut steps: Noted = Vec::new();
        let mut note = |step| {
            steps.push(step);
            Ok::<(), ()>(())
        };
        let emit = Emit::nowhere();
        let mut guard =
            Guard::stop_production(&fake, &[], &mut note, &emit).await.expect("it stands");
        fake.set(vec![now]);
        let fault = guard.check(&fake, &mut note).await.expect_err("it runs");
        assert!(matches!(fault, GuardError::StartedBySomebody(_)));
        guard.leave(&fake, &mut note, &emit, PROOF).await.expect("it is left alone");
        assert_eq!(fake.deeds(), "stop a", "and not touched");
        assert_eq!(pending_restore(&steps), PendingRestore::Nothing);
    }
}

#[tokio::test]
async fn somebody_who_removed_it_costs_a_new_one_where_there_is_a_service() {
    let fake = Fake::running();
    let mut steps: Noted = Vec::new();
    let mut note = |step| {
        steps.push(step);
        Ok::<(), ()>(())
    };
    let emit = Emit::nowhere();
    let mut guard = Guard::stop_production(&fake, &[], &mut note, &emit).await.expect("it stands");
    fake.set(vec![]);
    guard.check(&fake, &mut note).await.expect("nothing runs");
    guard.leave(&fake, &mut note, &emit, PROOF).await.expect("made again");
    assert_eq!(fake.deeds(), "stop a up prove b");
    assert_eq!(words(&steps)[2..], ["made_again", "proven"]);

    let fake = Fake { by_service: false, ..Fake::running() };
    let mut note = |_| Ok::<(), ()>(());
    let mut guard = Guard::stop_production(&fake, &[], &mut note, &emit).await.expect("it stands");
    fake.set(vec![]);
    let fault = guard
        .leave(&fake, &mut note, &emit, PROOF)
        .await
        .expect_err("a name alone makes no container");
    assert!(matches!(fault, GuardError::Production(ProductionError::Removed(_))));
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
        // Killed right after the deed that follows a step, too: before `Stopped` it may be down.
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
                recover(&fake, &known, &mut note, &Emit::nowhere()).await.expect("recovered");
            }
            let now = fake.find().await.expect("there").expect("there");
            assert!(now.running, "killed after {killed_after}, down {down}: {}", fake.deeds());
            let proofs = fake.deeds().matches("prove").count();
            assert_eq!(proofs, usize::from(killed_after > 0 && !proven), "{}", fake.deeds());
        }
    }
}

#[tokio::test]
async fn a_resumed_sweep_owes_what_the_earlier_one_stopped() {
    let fake = Fake::running();
    fake.set(vec![facts("a", false)]);
    let earlier = [ProductionStep::Stopped { id: "a".to_owned() }];
    let mut note = |_| Ok::<(), ()>(());
    let emit = Emit::nowhere();
    let mut guard =
        Guard::stop_production(&fake, &earlier, &mut note, &emit).await.expect("it stands");
    guard.leave(&fake, &mut note, &emit, PROOF).await.expect("proven");
    assert_eq!(fake.deeds(), "start a prove a");
}

#[tokio::test]
async fn what_does_not_answer_is_started_and_said_to_be_unproven() {
    let fake = Fake { silent: true, ..Fake::running() };
    let mut steps: Noted = Vec::new();
    let mut note = |step| {
        steps.push(step);
        Ok::<(), ()>(())
    };
    let emit = Emit::nowhere();
    let mut guard = Guard::stop_production(&fake, &[], &mut note, &emit).await.expect("it stands");
    let fault = guard.leave(&fake, &mut note, &emit, PROOF).await.expect_err("silent");
    assert!(fault.to_string().contains("not proven: silent"), "{fault}");
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
    let mut guard = Guard::stop_production(&fake, &[], &mut note, &emit).await.expect("it stands");
    let fault = guard.leave(&fake, &mut note, &emit, PROOF).await.expect_err("it is told");
    assert!(matches!(fault, GuardError::Journal("disk full")));
    assert_eq!(fake.deeds(), "stop a start a prove a");
}

#[tokio::test]
async fn a_stop_that_fails_half_way_is_put_right() {
    let fake = Fake { stop_fails: true, ..Fake::running() };
    let mut note = |_| Ok::<(), ()>(());
    let emit = Emit::nowhere();
    let fault =
        Guard::stop_production(&fake, &[], &mut note, &emit).await.expect_err("no stop_production");
    assert!(matches!(fault, GuardError::Production(ProductionError::Daemon(_))));
    assert_eq!(fake.deeds(), "stop a start a prove a");
}

#[tokio::test]
async fn a_panic_is_caught_until_production_is_back() {
    let caught = caught(async { panic!("a bug") }).await;
    assert!(caught.is_err());
}
