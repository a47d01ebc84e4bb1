//! The race in worlds without noise or with little of it: what is launched when, what is out,
//! and that the same history always has the same continuation.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::{Finished, InFlight, Limits, ObservedRepeat, TrialOutcome};
use super::eligible::{Eligible, Judged};
use super::*;
use crate::metric::Goal;
use crate::strategy::{Purpose, Strategy as _, StrategySpec};

mod bounds;
mod kept;

/// What is true, and how launches go.
#[derive(Clone, Debug)]
struct World {
    /// Mean value of each configuration.
    means: Vec<f64>,
    /// SD of the logarithms between launches, and between repeats.
    noise: f64,
    /// Value of the only constraint, where there is one.
    bounded: Vec<f64>,
    /// Configurations that never work.
    broken: BTreeSet<usize>,
    /// Every so many launches one gives nothing.
    fails: Option<u32>,
    /// Trials during which the machine is slower by 80 %.
    slow: std::ops::Range<u32>,
}

impl World {
    fn of(means: &[f64]) -> Self {
        let (bounded, broken) = (Vec::new(), BTreeSet::new());
        Self { means: means.to_vec(), noise: 0.03, bounded, broken, fails: None, slow: 0..0 }
    }

    /// One launch: five minutes, by its number alone.
    fn observe(&self, trial: u32, configuration: usize, repeats: u32) -> Observation {
        let mut random = ChaCha8Rng::seed_from_u64(u64::from(trial));
        let mut noise = || self.noise * 3.0_f64.sqrt() * (2.0 * random.random::<f64>() - 1.0);
        let at = |second: u32| {
            let seconds = i64::from(trial * 300 + second);
            Some(jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(seconds))
        };
        let outcome = if self.broken.contains(&configuration) {
            TrialOutcome::Infeasible
        } else if self.fails.is_some_and(|every| trial % every == every - 1) {
            TrialOutcome::Failed
        } else {
            TrialOutcome::Measured
        };
        let level = if self.slow.contains(&trial) { 1.8_f64.ln() } else { 0.0 };
        let offset = noise() + level;
        let kept = if outcome == TrialOutcome::Measured { repeats } else { 0 };
        let repeat = |repeat: u32| ObservedRepeat {
            launch: trial + 1,
            repeat,
            at: at(60 + 40 * repeat),
            objective: Some(self.means[configuration] * (offset + noise()).exp()),
            constraints: self.bounded.get(configuration).map(|it| Some(*it)).into_iter().collect(),
        };
        Observation {
            trial,
            configuration,
            purpose: Purpose::Screen,
            host: String::new(),
            started_at: at(0),
            duration: Duration::from_mins(5),
            repeat_seconds: Some(40.0),
            outcome,
            repeats: (1..=kept).map(repeat).collect(),
        }
    }

    fn task(&self) -> Task {
        let mut task = Task::plain(self.means.len(), Some(0));
        if !self.bounded.is_empty() {
            task.constraints = vec![Limits { min: None, max: Some(1.0) }];
        }
        task
    }
}

fn adaptive(task: &Task) -> Adaptive {
    Adaptive::new(AdaptiveStrategy::default(), task.clone())
}

fn next(strategy: &Adaptive, observations: &[Observation], in_flight: &[InFlight]) -> Action {
    strategy.next(Situation { observations, in_flight, ..Situation::default() })
}

/// Runs a strategy to its end, one launch at a time; with why it ended.
fn run(strategy: &Adaptive, world: &World) -> (Vec<Observation>, Finished) {
    let mut observations = Vec::new();
    loop {
        match next(strategy, &observations, &[]) {
            Action::Launch { trial, configuration, purpose, repeats } => {
                let observed = world.observe(trial, configuration, repeats);
                observations.push(Observation { purpose, ..observed });
            }
            Action::Finish { why } => return (observations, why),
            other => panic!("nothing is in flight: {other:?}"),
        }
        assert!(observations.len() <= strategy.trials() as usize, "it does not end");
    }
}

fn order(observations: &[Observation]) -> Vec<usize> {
    observations.iter().map(|it| it.configuration).collect()
}

fn counts(observations: &[Observation]) -> BTreeMap<usize, usize> {
    let mut counts = BTreeMap::new();
    for observation in observations {
        *counts.entry(observation.configuration).or_default() += 1;
    }
    counts
}

#[test]
fn twelve_have_two_shuffled_blocks_and_then_the_best_two_meet_in_duels() {
    let mut means = vec![150.0; 12];
    (means[4], means[9]) = (100.0, 101.0);
    let world = World { noise: 0.2, ..World::of(&means) };
    let (observations, why) = run(&adaptive(&world.task()), &world);
    let order = order(&observations);
    assert_eq!(order[0], 0, "the baseline opens");
    for block in [&order[..12], &order[12..24]] {
        assert_eq!(block.iter().collect::<BTreeSet<_>>().len(), 12);
    }
    assert!(order.windows(2).all(|pair| pair[0] != pair[1]), "{order:?}");
    let duels = &observations[24..];
    assert!(duels.iter().all(|it| it.purpose == Purpose::Final));
    let members: BTreeSet<usize> = duels[..2].iter().map(|it| it.configuration).collect();
    assert_eq!(members, BTreeSet::from([4, 9]));
    let Finished::GoodEnough(leader) = why else { panic!("{why:?}") };
    assert!(members.contains(&leader.configuration) && leader.probability >= 0.9, "{leader:?}");
}

#[test]
fn the_first_of_each_duel_opens_a_pair_and_nothing_of_the_blocks_does() {
    let mut means = vec![150.0; 14];
    (means[4], means[9]) = (100.0, 101.0);
    let world = World { noise: 0.2, ..World::of(&means) };
    let strategy = adaptive(&world.task());
    let (observations, _) = run(&strategy, &world);
    let opens = |known: usize| {
        let situation = Situation { observations: &observations[..known], ..Situation::default() };
        strategy.opens_pair(situation, observations[known].trial)
    };
    let start = observations.iter().position(|it| it.purpose == Purpose::Final).unwrap();
    assert!((0..start).all(|known| !opens(known)));
    let pair = |first: usize| [opens(first), opens(first + 1)];
    assert!(observations.len() >= start + 4, "{}", observations.len());
    assert_eq!([pair(start), pair(start + 2)], [[true, false]; 2]);
}

#[test]
fn of_many_only_those_near_the_best_are_launched_again() {
    let mut means = vec![200.0; 48];
    for (near, mean) in [(7, 100.0), (20, 103.0), (33, 108.0)] {
        means[near] = mean;
    }
    let world = World::of(&means);
    let (observations, _) = run(&adaptive(&world.task()), &world);
    let opening = &observations[..51];
    let sentinels = opening.iter().filter(|it| it.purpose == Purpose::Sentinel);
    assert_eq!(sentinels.map(|it| it.trial).collect::<Vec<_>>(), [13, 26, 39]);
    let counts = counts(&observations);
    assert!(counts[&7] >= 3 && counts[&20] >= 2, "{counts:?}");
    let again = counts.iter().filter(|(arm, count)| **arm != 0 && **count > 1).count();
    assert!(again <= 9, "{counts:?}");
    assert!(observations.len() < 80, "{}", observations.len());
}

#[test]
fn a_jump_of_the_machine_is_taken_out_after_two_blocks() {
    let means: Vec<f64> = (0..12).map(|it| 100.0 * 1.1_f64.powi(it)).collect();
    let world = World { slow: 7..17, ..World::of(&means) };
    let strategy = adaptive(&world.task());
    let (observations, _) = run(&strategy, &world);
    let leader = strategy.leader(&observations[..24]).expect("a leader");
    assert!(leader.configuration == 0 && leader.probability > 0.9, "{leader:?}");
}

#[test]
fn what_is_to_be_maximised_is() {
    let mut means = vec![100.0; 6];
    means[2] = 150.0;
    let world = World::of(&means);
    let strategy = adaptive(&Task { goal: Goal::Maximize, ..world.task() });
    let (observations, _) = run(&strategy, &world);
    assert_eq!(strategy.leader(&observations).map(|it| it.configuration), Some(2));
}

#[test]
fn values_that_may_be_zero_or_negative_are_compared_as_they_are() {
    let world = World::of(&[1.0, 0.0, 3.0, 2.0]);
    let strategy = adaptive(&Task { goal: Goal::Maximize, ..world.task() });
    let (observations, _) = run(&strategy, &world);
    assert_eq!(strategy.leader(&observations).map(|it| it.configuration), Some(2));
    assert_eq!(strategy.bar(&observations[..4], 1), None);
    let below = World::of(&[-1.0, -5.0, -3.0]);
    let strategy = adaptive(&below.task());
    let (observations, _) = run(&strategy, &below);
    assert_eq!(strategy.leader(&observations).map(|it| it.configuration), Some(1));
}

#[test]
fn what_breaks_a_bound_or_fails_is_launched_no_more_and_never_wins() {
    let mut world = World::of(&[120.0, 50.0, 60.0, 100.0, 130.0]);
    world.bounded = vec![0.5, 2.0, 0.5, 0.5, 0.5];
    world.broken = BTreeSet::from([2]);
    let strategy = adaptive(&world.task());
    let (observations, _) = run(&strategy, &world);
    let counts = counts(&observations);
    assert_eq!((counts[&1], counts[&2]), (1, 1), "{counts:?}");
    assert_eq!(strategy.leader(&observations).map(|it| it.configuration), Some(3));
}

/// Whether it is not out, or is the baseline that only breaks a bound and lacks launches for a
/// claim.
fn may_be_launched(
    strategy: &Adaptive,
    before: &[Observation],
    configuration: usize,
    purpose: Purpose,
) -> bool {
    let known: Vec<&Observation> = before.iter().collect();
    let judged = Judged::of(&strategy.race.task, &known);
    let own = before.iter().filter(|it| it.configuration == configuration);
    let valued = own.filter(|it| !it.repeats.is_empty()).count();
    let is_for_claim = judged.reference(&strategy.race.task) == Some(configuration)
        && purpose == Purpose::Final
        && valued < 3;
    judged.eligible[configuration].is_in() || is_for_claim
}

#[test]
fn a_baseline_that_breaks_a_bound_is_launched_until_a_claim_can_be_made() {
    // The baseline is the fastest one, or the slowest; other ones keep the bound, or only one.
    for (own, others) in [(90.0, 0.5), (900.0, 0.5), (90.0, 2.0), (900.0, 2.0)] {
        let mut world = World::of(&[own, 100.0, 140.0, 150.0, 160.0]);
        world.bounded = vec![2.0, 0.5, others, others, others];
        let strategy = adaptive(&world.task());
        let (observations, why) = run(&strategy, &world);
        let of = counts(&observations);
        assert!(of[&0] == 3 && of[&1] >= 3, "{own} {others}: {of:?}");
        let leader = strategy.leader(&observations).expect("a leader");
        assert_eq!(leader.configuration, 1);
        let is_alone = matches!(why, Finished::OnlyOne { configuration: 1 });
        assert_eq!(is_alone, others > 1.0, "{why:?}");
    }
    // Where nothing keeps it, nothing is claimed.
    let mut world = World::of(&[90.0, 100.0]);
    world.bounded = vec![2.0, 2.0];
    let (observations, why) = run(&adaptive(&world.task()), &world);
    assert_eq!((observations.len(), why), (2, Finished::NothingLeft));
}

#[test]
fn what_is_left_at_the_beginning_is_what_a_plan_expects() {
    for configurations in [2, 12, 13, 48] {
        let task = Task::plain(configurations, Some(0));
        let planned = StrategySpec::Adaptive(AdaptiveStrategy::default()).expected_launches(&task);
        assert_eq!(adaptive(&task).remaining(Situation::default()), planned, "{configurations}");
    }
}

#[test]
fn where_nothing_is_left_it_says_so() {
    let mut world = World::of(&[1.0, 2.0, 3.0]);
    world.broken = BTreeSet::from([0, 1, 2]);
    let (observations, why) = run(&adaptive(&world.task()), &world);
    assert_eq!(observations.len(), 3);
    assert_eq!(why, Finished::NothingLeft);
    world.broken = BTreeSet::from([0, 2]);
    let (_, why) = run(&adaptive(&world.task()), &world);
    assert_eq!(why, Finished::OnlyOne { configuration: 1 });
}

#[test]
fn launches_that_are_clearly_behind_are_told_by_a_bar_in_blocks_only() {
    let world = World::of(&[100.0, 100.0, 250.0, 110.0]);
    let strategy = adaptive(&world.task());
    let (observations, _) = run(&strategy, &world);
    assert_eq!(strategy.bar(&[], 1), None, "nobody leads yet");
    assert_eq!(strategy.bar(&observations[..4], 0), None, "the baseline has all its repeats");
    let bar = strategy.bar(&observations[..4], 2).expect("a bar");
    assert!(bar.repeats == 1 && (115.0..180.0).contains(&bar.value), "{bar:?}");
    assert_eq!(strategy.bar(&observations[..8], 2), None, "duels have all their repeats");
}

#[test]
fn both_of_a_duel_have_as_many_repeats_where_the_sweep_chooses_them() {
    let mut world = World::of(&[100.0, 102.0, 104.0, 130.0]);
    world.noise = 0.15;
    let spec = AdaptiveStrategy { auto: true, ..AdaptiveStrategy::default() };
    let strategy = Adaptive::new(spec, world.task());
    let (observations, _) = run(&strategy, &world);
    let repeats: Vec<usize> = observations.iter().map(|it| it.repeats.len()).collect();
    assert!(repeats[..8].iter().all(|it| *it == 3));
    let mut pairs = repeats[8..].chunks(2).filter(|pair| pair.len() == 2);
    assert!(pairs.all(|pair| pair[0] == pair[1]), "{repeats:?}");
    assert!(repeats[8..].iter().any(|it| *it != 3), "{repeats:?}");
}

#[test]
fn what_is_left_is_known_as_far_as_it_is_planned() {
    let world = World::of(&[100.0, 150.0, 170.0, 190.0]);
    let strategy = adaptive(&world.task());
    let (observations, _) = run(&strategy, &world);
    let left = |known: usize| {
        let observations = &observations[..known];
        strategy.remaining(Situation { observations, in_flight: &[], ..Situation::default() })
    };
    assert_eq!(left(0), Remaining { low: 8, high: strategy.trials() });
    assert_eq!(left(5), Remaining { low: 3, high: strategy.trials() - 5 });
    assert_eq!(left(observations.len()), Remaining { low: 0, high: 0 });
}

#[test]
fn a_greatest_number_of_launches_is_kept() {
    let world = World { noise: 0.3, ..World::of(&[100.0; 5]) };
    let spec = AdaptiveStrategy { max_launches: Some(13), ..AdaptiveStrategy::default() };
    let (observations, why) = run(&Adaptive::new(spec, world.task()), &world);
    assert_eq!(observations.len(), 13);
    let is_spent = matches!(why, Finished::Spent { launches: 13, leader: Some(_) });
    assert!(is_spent, "{why:?}");
}

prop_compose! {
    fn worlds()(
        means in prop::collection::vec(50.0..300.0_f64, 1..17),
        noise in 0.0..0.3_f64,
        bounds in prop::collection::vec(prop_oneof![Just(0.5), Just(0.97), Just(1.02), Just(2.0)], 17),
        is_bounded in any::<bool>(),
        broken in prop::collection::btree_set(0..17_usize, 0..4),
        fails in prop::option::of(2..9_u32),
    ) -> World {
        let bounded = if is_bounded { bounds[..means.len()].to_vec() } else { Vec::new() };
        World { means, noise, bounded, broken, fails, slow: 0..0 }
    }
}

/// Runs it with so many places at once; the trials end in any order.
fn run_at_once(strategy: &Adaptive, world: &World, places: usize, seed: u64) -> Vec<Observation> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut observations: Vec<Observation> = Vec::new();
    let mut flying: Vec<Observation> = Vec::new();
    loop {
        let in_flight: Vec<InFlight> = flying
            .iter()
            .map(|it| InFlight {
                trial: it.trial,
                configuration: it.configuration,
                purpose: it.purpose,
                host: String::new(),
                started_at: it.started_at,
            })
            .collect();
        let action = next(strategy, &observations, &in_flight);
        let is_full = flying.len() == places;
        match action {
            Action::Launch { trial, configuration, purpose, repeats } if !is_full => {
                let taken = observations.iter().chain(&flying).any(|it| it.trial == trial);
                assert!(!taken, "trial {trial} is asked for twice");
                let twice = flying.iter().any(|it| it.configuration == configuration);
                assert!(!twice, "{configuration} would run twice at once");
                let observed = world.observe(trial, configuration, repeats);
                flying.push(Observation { purpose, ..observed });
            }
            Action::Finish { .. } => {
                assert!(flying.is_empty(), "it ends while something runs");
                return observations;
            }
            Action::Wait if flying.is_empty() => panic!("it waits for nothing"),
            _ => {
                let over = flying.swap_remove(random.random_range(0..flying.len()));
                observations.push(over);
                // As a journal has them: in the order of their first launches.
                observations.sort_by_key(|it| it.trial);
            }
        }
        assert!(observations.len() + flying.len() <= strategy.trials() as usize);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn it_ends_within_its_trials_and_launches_nothing_that_is_out(world in worlds(), seed in 0..99_u64) {
        let spec = AdaptiveStrategy { seed, ..AdaptiveStrategy::default() };
        let strategy = Adaptive::new(spec, world.task());
        let (observations, _) = run(&strategy, &world);
        for known in 0..observations.len() {
            let Observation { configuration, purpose, .. } = observations[known];
            let may = may_be_launched(&strategy, &observations[..known], configuration, purpose);
            prop_assert!(may, "{configuration} is out");
        }
    }

    #[test]
    fn every_prefix_of_a_history_has_the_same_continuation(
        world in worlds(), seed in 0..99_u64, more in prop::option::of(0..20_u32),
    ) {
        let max_launches = more.map(|more| world.means.len() as u32 + more);
        let own = AdaptiveStrategy { max_launches, seed, ..AdaptiveStrategy::default() };
        let spec = AdaptiveStrategy { auto: seed % 2 == 0, ..own };
        let (observations, why) = run(&Adaptive::new(spec.clone(), world.task()), &world);
        for known in (0..=observations.len()).step_by(3).chain([observations.len()]) {
            let rebuilt = Adaptive::new(spec.clone(), world.task());
            match (next(&rebuilt, &observations[..known], &[]), observations.get(known)) {
                (Action::Launch { trial, configuration, purpose, .. }, Some(it)) => {
                    prop_assert_eq!((trial, configuration, purpose), (it.trial, it.configuration, it.purpose));
                }
                (Action::Finish { why: again }, None) => prop_assert_eq!(&again, &why),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }

    #[test]
    fn several_at_once_are_never_the_same_and_it_waits_for_what_it_needs(
        world in worlds(), places in 1..5_usize, seed in 0..99_u64, more in prop::option::of(0..20_u32),
    ) {
        let max_launches = more.map(|more| world.means.len() as u32 + more);
        let spec = AdaptiveStrategy { max_launches, ..AdaptiveStrategy::default() };
        let strategy = Adaptive::new(spec, world.task());
        let observations = run_at_once(&strategy, &world, places, seed);
        if places == 1 {
            prop_assert_eq!(order(&observations), order(&run(&strategy, &world).0));
        }
    }
}

#[test]
fn an_end_before_anything_was_launched_twice_claims_no_probability() {
    let world = World::of(&[400.0, 100.0, 410.0, 390.0]);
    let ended = |most: u32| {
        let spec = AdaptiveStrategy { max_launches: Some(most), ..AdaptiveStrategy::default() };
        run(&Adaptive::new(spec, world.task()), &world).1
    };
    assert_eq!(ended(4), Finished::Spent { launches: 4, leader: None });
    let Finished::Spent { leader: Some(leader), .. } = ended(6) else { panic!("{:?}", ended(6)) };
    assert_eq!(leader.configuration, 1);
}

#[test]
fn who_is_out_for_a_failure_keeps_no_bound_and_who_may_keep_it_is_known_by_the_same_figures() {
    let mut world = World::of(&[200.0, 100.0, 210.0, 190.0]);
    world.bounded = vec![0.5, 1.5, 0.99, 0.5];
    world.broken = BTreeSet::from([3]);
    let observed: Vec<Observation> = (0..4).map(|it| world.observe(it, it as usize, 3)).collect();
    let judged = Judged::of(&world.task(), &observed.iter().collect::<Vec<_>>());
    assert_eq!(
        judged.eligible,
        [Eligible::Yes, Eligible::No, Eligible::Perhaps, Eligible::No],
        "{judged:?}"
    );
    let [kept, out, open, failed] = judged.keeps[..] else { panic!("{judged:?}") };
    assert!(kept > 0.99 && out < 0.01 && (0.5..0.9).contains(&open), "{judged:?}");
    assert!(failed < f64::EPSILON);
}
