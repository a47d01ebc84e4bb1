//! What a strategy sees, and what its answers do.

use super::super::super::early::EarlyStop;
use super::super::super::pass;
use super::*;
use crate::gate::GateOrder;
use crate::metric::Constraint;
use crate::strategy::{Bar, ObservedRepeat, Purpose};

/// Answers with the given actions, and keeps what it saw.
struct Scripted {
    actions: Mutex<Vec<Action>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

#[derive(Clone, Debug)]
struct Seen {
    observations: Vec<Observation>,
    in_flight: Vec<InFlight>,
    budget_left: Option<Duration>,
}

impl Strategy for Scripted {
    fn next(&self, situation: Situation<'_>) -> Action {
        self.seen.lock().expect("no panic").push(Seen {
            observations: situation.observations.to_vec(),
            in_flight: situation.in_flight.to_vec(),
            budget_left: situation.budget_left,
        });
        let mut actions = self.actions.lock().expect("no panic");
        if actions.is_empty() { finish() } else { actions.remove(0) }
    }

    fn trials(&self) -> u32 {
        0
    }
}

fn finish() -> Action {
    Action::Finish { why: Finished::AllLaunched }
}

fn launch(trial: u32, configuration: usize, purpose: Purpose) -> Action {
    Action::Launch { trial, configuration, purpose, repeats: 1 }
}

#[tokio::test(start_paused = true)]
async fn a_strategy_sees_figures_what_is_in_flight_and_what_is_left_of_the_budget() {
    let mut setup = Setup::new(2, 1).places(2);
    setup.manifest.budget_seconds = Some(600);
    let bound = Constraint {
        metric: "kv_cache.ttft_miss_ms".parse().expect("a metric"),
        min: None,
        max: Some(1.0),
    };
    setup.manifest.objective.constraints.push(bound);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let skip = Action::Skip {
        trial: 9,
        configuration: 1,
        purpose: Purpose::Final,
        reason: "not worth it".to_owned(),
    };
    let actions = vec![
        launch(4, 1, Purpose::Sentinel),
        skip,
        Action::Wait,
        launch(5, 0, Purpose::Confirm),
        Action::Wait,
    ];
    let scripted = Scripted { actions: Mutex::new(actions), seen: Arc::clone(&seen) };
    setup.strategy = Some(Box::new(scripted));
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    assert_eq!(ran.outcomes(), [(4, "measured"), (9, "skipped"), (5, "measured")]);

    let seen = seen.lock().expect("no panic");
    assert!(seen[0].observations.is_empty() && seen[0].in_flight.is_empty());
    assert_eq!(seen[0].budget_left, Some(Duration::from_mins(10)));
    let flying = &seen[2].in_flight[0];
    assert_eq!((flying.trial, flying.configuration), (4, 1));
    assert_eq!((flying.purpose, flying.host.as_str()), (Purpose::Sentinel, "here"));
    let last = seen.last().expect("asked");
    let [first, skipped, second] = last.observations.as_slice() else { panic!("{last:?}") };
    let took = BOOT + 2 * REPEAT + STOP;
    assert_eq!((first.trial, first.configuration, first.purpose), (4, 1, Purpose::Sentinel));
    assert_eq!((first.outcome, first.duration.as_secs()), (TrialOutcome::Measured, took));
    let one = |launch, value, at: i64| ObservedRepeat {
        launch,
        repeat: 1,
        at: first.started_at.map(|began| began + jiff::SignedDuration::from_secs(at)),
        objective: Some(value),
        constraints: vec![None],
    };
    assert_eq!(first.repeats, [one(1, 101.0, 20)], "of the first launch, without the warm-up");
    assert_eq!((skipped.outcome, skipped.repeats.len()), (TrialOutcome::Skipped, 0));
    assert_eq!(skipped.purpose, Purpose::Final);
    assert_eq!((second.trial, second.purpose), (5, Purpose::Confirm));
    assert_eq!(second.repeats, [one(3, 301.0, 41)]);
    assert_eq!(
        ran.entries().last().expect("an end"),
        "session ended: every configuration had its launches"
    );
    assert_eq!(
        second.started_at.expect("a time").duration_since(first.started_at.expect("a time")),
        jiff::SignedDuration::from_secs(took.cast_signed())
    );
    assert_eq!(last.budget_left, Some(Duration::from_secs(600 - 2 * took)));
}

#[tokio::test(start_paused = true)]
async fn a_later_session_launches_an_interrupted_trial_again_without_the_strategy() {
    let scripted = |actions| {
        let seen = Arc::default();
        let strategy = Scripted { actions: Mutex::new(actions), seen: Arc::clone(&seen) };
        (Some(Box::new(strategy) as Box<dyn Strategy>), seen)
    };
    let mut setup = Setup::new(2, 1);
    (setup.strategy, _) = scripted(vec![launch(3, 1, Purpose::Confirm)]);
    let cancel = setup.cancel.clone();
    tokio::spawn(async move {
        sleep(Duration::from_secs(BOOT + REPEAT + 1)).await;
        cancel.cancel();
    });
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Interrupted);

    let mut setup = Setup::new(2, 1);
    let (strategy, seen) = scripted(Vec::new());
    setup.strategy = strategy;
    let ran = ran.again(setup).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    assert_eq!(ran.outcomes(), [(3, "interrupted"), (3, "measured")]);
    let last = &ran.record.launches[1];
    assert_eq!((last.configuration.as_str(), last.purpose), ("c1", Purpose::Confirm));
    assert_eq!((last.measurements.len(), last.repeats), (2, Some(1)), "as it was asked for");
    let seen = seen.lock().expect("no panic");
    assert_eq!(seen.len(), 1, "it is asked once, when the trial is over");
    assert_eq!(seen[0].observations.len(), 1);
    assert_eq!(seen[0].observations[0].outcome, TrialOutcome::Measured);
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_holds_for_an_interrupted_trial_too() {
    let setup = |budget| {
        let mut setup = Setup::new(1, 1);
        setup.manifest.budget_seconds = Some(budget);
        setup
    };
    let first = setup(BOOT);
    let cancel = first.cancel.clone();
    tokio::spawn(async move {
        sleep(Duration::from_secs(BOOT + 1)).await;
        cancel.cancel();
    });
    let ran = first.run().await;
    assert_eq!(ran.ending(), Ending::Interrupted);
    let ran = ran.again(setup(BOOT)).run().await;
    assert_eq!(ran.ending(), Ending::BudgetSpent);
    assert_eq!(ran.outcomes(), [(0, "interrupted")]);
}

#[tokio::test(start_paused = true)]
async fn a_strategy_that_waits_for_nothing_is_an_error_and_no_hang() {
    let mut setup = Setup::new(1, 1);
    let scripted = Scripted { actions: Mutex::new(vec![Action::Wait]), seen: Arc::default() };
    setup.strategy = Some(Box::new(scripted));
    let error = setup.run().await.ending.expect_err("nothing is in flight").to_string();
    assert!(error.contains("waits"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_order_can_be_written_to_a_file() {
    let folder = Path::new("run/launches/1-c0").to_owned();
    let mut manifest = manifest(1, 1, 2);
    let configuration = manifest.configurations.remove(0);
    let record = SweepRecord::new(manifest);
    let order = TrialOrder {
        launch: LaunchOrder {
            sweep: "s".to_owned(),
            launch: 1,
            configuration,
            folder,
            worked: Duration::ZERO,
        },
        trial: 0,
        purpose: Purpose::Final,
        round: 0,
        salt: "s 1".to_owned(),
        seed: 1,
        gates: GateOrder::default(),
        passes: pass::missing(&record, 0, 2),
        beside: None,
        early: EarlyStop::of(&record, 0, Bar { value: 0.1, repeats: 1 }),
    };
    assert!(order.early.is_some());
    let text = serde_json::to_string(&order).expect("JSON");
    assert_eq!(serde_json::from_str::<TrialOrder>(&text).expect("read again"), order);
    assert_eq!(order.passes.len(), 3);
}
