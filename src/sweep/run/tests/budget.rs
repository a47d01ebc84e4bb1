//! Budgets in launches and GPU hours, beside that of time.

use super::*;
use crate::grid::Budget;
use crate::history::journal::is_budget_spent;
use crate::strategy::{ModelStrategy, StrategySpec};

fn limited(configurations: usize, budget: Budget) -> Setup {
    let mut setup = Setup::new(configurations, 1);
    setup.manifest.budget = budget;
    setup
}

fn launches(count: u32) -> Budget {
    Budget { launches: Some(count), gpu_hours: None }
}

/// So many seconds of one GPU; all but the baseline have two.
fn gpu_seconds(configurations: usize, seconds: u64) -> Setup {
    let hours = seconds as f64 / 3600.0;
    let mut setup = limited(configurations, Budget { launches: None, gpu_hours: Some(hours) });
    for configuration in &mut setup.manifest.configurations[1..] {
        configuration.flags.insert("tensor-parallel-size".to_owned(), 2.into());
    }
    setup
}

#[tokio::test(start_paused = true)]
async fn launches_that_were_begun_count_in_all_sessions_and_skipped_ones_do_not() {
    let unfit = |order: &LaunchOrder, _| {
        (order.configuration.name == "c0").then_some(FailureClass::BadFlag)
    };
    let mut setup = limited(4, launches(3)).boots(unfit);
    setup.manifest = Manifest { budget: launches(3), ..manifest(4, 2, 2) };
    let again = || {
        let setup = limited(4, launches(3)).boots(unfit);
        Setup { manifest: Manifest { budget: launches(3), ..manifest(4, 2, 2) }, ..setup }
    };
    let cancel = setup.cancel.clone();
    tokio::spawn(async move {
        // In the boot of the second one.
        sleep(Duration::from_secs(BOOT + 1)).await;
        cancel.cancel();
    });
    let ran = setup.run().await;
    assert_eq!(ran.outcomes(), [(0, "failed"), (1, "interrupted")]);
    let ran = ran.again(again()).run().await;
    assert_eq!(ran.ending(), Ending::BudgetSpent);
    assert_eq!(ran.outcomes(), [(0, "failed"), (1, "interrupted"), (1, "measured")]);
    let end = ran.entries().pop().expect("an end");
    assert_eq!(end, "session ended: budget spent: 3 launches");
    let ran = ran.again(again()).run().await;
    assert_eq!((ran.ending(), ran.record.launches.len()), (Ending::BudgetSpent, 3));
}

#[tokio::test(start_paused = true)]
async fn not_even_the_rest_of_a_trial_is_launched_beyond_the_count() {
    let lost = |launch, repeat| match (launch, repeat) {
        (1, 2) => Repeated::Lost,
        _ => Repeated::Value(1.0),
    };
    let ran = limited(2, launches(1)).repeats(lost).run().await;
    assert_eq!(ran.ending(), Ending::BudgetSpent);
    assert_eq!(ran.outcomes(), [(0, "failed")]);
    let end = ran.entries().pop().expect("an end");
    assert_eq!(end, "session ended: budget spent: 1 launch");
}

#[tokio::test(start_paused = true)]
async fn gpu_hours_are_those_of_each_launch() {
    // The first takes one LAUNCH of them, the second two.
    let ran = gpu_seconds(3, LAUNCH + 1).run().await;
    assert_eq!(ran.ending(), Ending::BudgetSpent);
    assert_eq!(ran.outcomes(), [(0, "measured"), (1, "measured")], "it began in time");
    assert_eq!(
        ran.record.launches.iter().map(|it| it.gpus).collect::<Vec<_>>(),
        [Some(1), Some(2)]
    );
    let end = ran.entries().pop().expect("an end");
    assert!(end.starts_with("session ended: budget spent: 0.0"), "{end}");
    let ran = gpu_seconds(3, 3 * LAUNCH + 1).run().await;
    assert_eq!((ran.ending(), ran.record.launches.len()), (Ending::Complete, 3));
}

/// Launches and seconds that are left.
type Left = (Option<u32>, Option<u64>);

/// Launches until nothing is left, and keeps what it saw of the budget.
struct Watching(Arc<Mutex<Vec<Left>>>);

impl Strategy for Watching {
    fn next(&self, situation: Situation<'_>) -> Action {
        let time = situation.budget_left.map(|it| it.as_secs_f64().round() as u64);
        self.0.lock().expect("no panic").push((situation.launches_left, time));
        let trial = situation.observations.len() as u32;
        let purpose = crate::strategy::Purpose::Screen;
        Action::Launch { trial, configuration: 0, purpose, repeats: 2 }
    }

    fn trials(&self) -> u32 {
        9
    }
}

#[tokio::test(start_paused = true)]
async fn a_strategy_sees_what_is_left_of_each() {
    let seen: Arc<Mutex<Vec<_>>> = Arc::default();
    let mut setup = gpu_seconds(2, 90);
    setup.manifest.budget.launches = Some(2);
    setup.manifest.budget_seconds = Some(1000);
    setup.strategy = Some(Box::new(Watching(Arc::clone(&seen))));
    assert_eq!(setup.run().await.ending(), Ending::BudgetSpent);
    // One and two GPUs: 90 GPU seconds last for 60 s.
    let after = |launches: u64| (90 - launches * LAUNCH) * 2 / 3;
    let seen = seen.lock().expect("no panic").clone();
    let counts: Vec<Option<u32>> = seen.iter().map(|it| it.0).collect();
    assert_eq!(counts, [Some(2), Some(1), Some(0)]);
    for (left, launches) in seen.iter().zip(0..) {
        let seconds = left.1.expect("GPU hours are limited");
        assert!(seconds.abs_diff(after(launches)) <= 1, "{seen:?}");
    }
}

/// Asks for pairs, one half after the other.
struct Pairs;

impl Strategy for Pairs {
    fn next(&self, situation: Situation<'_>) -> Action {
        let trial = situation.observations.len() as u32;
        let purpose = crate::strategy::Purpose::Final;
        Action::Launch { trial, configuration: trial as usize % 2, purpose, repeats: 2 }
    }

    fn trials(&self) -> u32 {
        9
    }

    fn opens_pair(&self, _: Situation<'_>, trial: u32) -> bool {
        trial.is_multiple_of(2)
    }
}

#[tokio::test(start_paused = true)]
async fn a_pair_for_which_there_is_one_launch_is_not_begun() {
    let run = async |count: u32| {
        let mut setup = limited(2, launches(count));
        setup.strategy = Some(Box::new(Pairs));
        let ran = setup.run().await;
        assert_eq!(ran.ending(), Ending::BudgetSpent);
        let end = ran.entries().pop().expect("an end");
        (ran.record.launches.len(), end)
    };
    let left = "session ended: budget spent: 1 launch is left, and a pair needs 2".to_owned();
    assert_eq!(run(3).await, (2, left.clone()));
    assert_eq!(run(1).await, (0, left));
    assert_eq!(run(4).await, (4, "session ended: budget spent: 4 launches".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn pairs_of_a_later_block_are_counted_from_its_own_first_trial() {
    // Three launches of a first block, so that the second one begins with an odd number.
    let mut setup = limited(2, launches(6));
    setup.strategy = Some(Box::new(Three));
    let first = setup.run().await;
    assert_eq!((first.ending(), first.record.launches.len()), (Ending::Complete, 3));
    let mut again = limited(2, launches(6));
    again.accepted = vec!["driver: 550 -> 560".to_owned()];
    again.strategy = Some(Box::new(Pairs));
    let ran = first.again(again).run().await;
    assert_eq!((ran.record.first_trial(), ran.ending()), (3, Ending::BudgetSpent));
    assert_eq!(ran.record.launches.len(), 2, "a pair, and not the half of another one");
}

/// Three launches.
struct Three;

impl Strategy for Three {
    fn next(&self, situation: Situation<'_>) -> Action {
        let trial = situation.observations.len() as u32;
        let purpose = crate::strategy::Purpose::Screen;
        match trial {
            0..3 => Action::Launch { trial, configuration: 0, purpose, repeats: 2 },
            _ => Action::Finish { why: crate::strategy::Finished::AllLaunched },
        }
    }

    fn trials(&self) -> u32 {
        3
    }
}

/// What a model knows at its own end it knows at a budget's end, too.
#[tokio::test(start_paused = true)]
async fn a_model_that_a_budget_ends_says_how_many_were_never_launched() {
    let model = StrategySpec::Model(ModelStrategy::default());
    let of = |configurations, budget| {
        let mut setup = limited(configurations, budget);
        setup.manifest.strategy = model.clone();
        setup
    };
    let timed = || {
        let mut setup = of(7, Budget::default());
        setup.manifest.budget_seconds = Some(LAUNCH + 1);
        setup
    };
    let counted = (of(7, launches(2)), "budget spent: 2 launches", 2);
    for (setup, reason, made) in [counted, (timed(), "budget spent", 1)] {
        let ran = setup.run().await;
        assert_eq!(ran.ending(), Ending::BudgetSpent);
        let end = ran.record.ended.as_ref().expect("an end");
        // Without axes every configuration is to be launched.
        let guard = format!(
            "; every configuration was to be launched, and {} were not any more, since the axes \
             predicted 0% of the differences between {made} launches",
            7 - made
        );
        assert_eq!(end.reason, format!("{reason}{guard}"));
        assert!(is_budget_spent(&end.reason));
    }
}
