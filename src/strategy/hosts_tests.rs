//! Strategies on several hosts: launches of a configuration are spread, duels stay on one
//! host, and the same history has the same continuation.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::Strategy as Chooses;
use super::super::adaptive::Adaptive;
use super::super::confirm::Confirm;
use super::super::grid::Blocks;
use super::super::{
    AdaptiveStrategy, GridStrategy, InFlight, ObservedRepeat, Order, Task, TrialOutcome,
};
use super::*;
use crate::strategy::is_kept;

/// What is true.
struct World {
    /// Mean value of each configuration.
    means: Vec<f64>,
    /// Factor of each host.
    hosts: Vec<(&'static str, f64)>,
}

const HOSTS: [&str; 4] = ["a", "b", "c", "d"];

impl World {
    fn of(means: &[f64], factors: &[f64]) -> Self {
        let hosts = HOSTS.into_iter().zip(factors.iter().copied()).collect();
        Self { means: means.to_vec(), hosts }
    }

    /// A launch that began at `from` and ended at `to`, in seconds.
    fn observe(&self, it: &Running, repeats: u32) -> Observation {
        let mut random = ChaCha8Rng::seed_from_u64(u64::from(it.trial));
        let at = |seconds: f64| {
            let seconds = jiff::SignedDuration::from_secs_f64(seconds);
            Some(jiff::Timestamp::UNIX_EPOCH + seconds)
        };
        let factor = self.hosts.iter().find(|host| host.0 == it.host).unwrap().1;
        let launch: f64 = random.random_range(-0.02..0.02);
        let mut repeat = |repeat: u32| ObservedRepeat {
            launch: it.trial + 1,
            repeat,
            at: at(it.from + (it.to - it.from) * f64::from(repeat) / f64::from(repeats)),
            objective: Some(
                self.means[it.configuration]
                    * factor
                    * (launch + random.random_range(-0.01..0.01)).exp(),
            ),
            constraints: Vec::new(),
        };
        Observation {
            trial: it.trial,
            configuration: it.configuration,
            purpose: it.purpose,
            host: it.host.to_owned(),
            started_at: at(it.from),
            duration: Duration::from_secs_f64(it.to - it.from),
            repeat_seconds: Some(40.0),
            outcome: TrialOutcome::Measured,
            repeats: (1..=repeats).map(&mut repeat).collect(),
        }
    }
}

/// A launch on its host.
struct Running {
    trial: u32,
    configuration: usize,
    purpose: Purpose,
    host: &'static str,
    from: f64,
    to: f64,
    repeats: u32,
}

/// One decision: what was known, and what was launched.
struct Step {
    observations: usize,
    in_flight: Vec<InFlight>,
    host: &'static str,
    action: Action,
}

fn flying(it: &Running) -> InFlight {
    InFlight {
        trial: it.trial,
        configuration: it.configuration,
        purpose: it.purpose,
        host: it.host.to_owned(),
        started_at: None,
    }
}

/// Runs a strategy on all hosts of a world, each with one place; launches take from four to
/// eight minutes.
fn run(strategy: &dyn Chooses, world: &World, seed: u64) -> (Vec<Observation>, Vec<Step>) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut over: Vec<Observation> = Vec::new();
    let (mut running, mut steps): (Vec<Running>, Vec<Step>) = (Vec::new(), Vec::new());
    let mut now = 0.0;
    loop {
        let in_flight: Vec<InFlight> = running.iter().map(flying).collect();
        let hosts = world.hosts.iter().map(|it| it.0);
        let mut free: Vec<&'static str> =
            hosts.filter(|host| running.iter().all(|it| it.host != *host)).collect();
        let turn = random.random_range(0..free.len().max(1));
        let turn = turn.min(free.len());
        free.rotate_left(turn);
        let situation =
            Situation { observations: &over, in_flight: &in_flight, ..Situation::default() };
        match ask(strategy, situation, &free) {
            Some((host, Action::Launch { trial, configuration, purpose, repeats })) => {
                let taken = over.iter().map(|it| it.trial).chain(running.iter().map(|it| it.trial));
                assert!(taken.into_iter().all(|it| it != trial), "{trial} is asked for twice");
                let action = Action::Launch { trial, configuration, purpose, repeats };
                steps.push(Step { observations: over.len(), in_flight, host, action });
                let to = now + random.random_range(240.0..480.0);
                let from = now;
                running.push(Running { trial, configuration, purpose, host, from, to, repeats });
                assert!(running.len() <= world.hosts.len(), "one place each");
            }
            Some((_, Action::Finish { .. })) => {
                assert!(running.is_empty(), "it ends while something runs");
                return (over, steps);
            }
            Some((host, Action::Wait)) if running.is_empty() => panic!("{host} waits for nothing"),
            Some((_, Action::Wait)) | None => {
                let next =
                    (0..running.len()).min_by(|a, b| running[*a].to.total_cmp(&running[*b].to));
                let ended = running.swap_remove(next.unwrap());
                now = ended.to;
                over.push(world.observe(&ended, ended.repeats));
                // As a journal has them: in the order of their first launches.
                over.sort_by_key(|it| it.started_at);
            }
            Some((_, other)) => panic!("{other:?}"),
        }
        assert!(over.len() <= strategy.trials() as usize, "it does not end");
    }
}

fn hosts_of(observations: &[Observation]) -> BTreeMap<usize, Vec<&str>> {
    let mut hosts: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for it in observations {
        hosts.entry(it.configuration).or_default().push(&it.host);
    }
    hosts
}

/// Whether chains of common hosts connect all configurations.
fn is_connected(observations: &[Observation], configurations: usize) -> bool {
    let numbers = numbers(observations.iter().map(|it| it.host.as_str()));
    let ran = observations.iter().map(|it| (it.configuration, numbers[it.host.as_str()]));
    connected(configurations, ran).iter().all(|group| *group == 0)
}

fn grid(configurations: usize, launches: u32, seed: u64) -> Blocks {
    let spec = GridStrategy { launches, repeats: 2, auto: false, seed };
    Blocks::new(spec, configurations, Some(0), Order::Opened)
}

fn adaptive(configurations: usize, seed: u64) -> Adaptive {
    let spec = AdaptiveStrategy { seed, ..AdaptiveStrategy::default() };
    Adaptive::new(spec, Task::plain(configurations, Some(0)))
}

#[test]
fn the_second_launch_is_on_another_host_than_the_first() {
    let world = World::of(&[100.0; 6], &[1.0, 1.3]);
    for seed in 0..20 {
        let (observations, _) = run(&grid(6, 2, seed), &world, seed);
        assert_eq!(observations.len(), 12);
        let twice = hosts_of(&observations);
        let same = twice.values().filter(|hosts| hosts[0] == hosts[1]).count();
        // Where one host is done sooner, it may be left with its own.
        assert!(same <= 2, "seed {seed}: {twice:?}");
    }
}

#[test]
fn three_blocks_on_three_equally_fast_hosts_are_a_latin_square() {
    let strategy = grid(3, 3, 5);
    let mut observations: Vec<Observation> = Vec::new();
    let world = World::of(&[1.0, 2.0, 3.0], &[1.0, 1.0, 1.0]);
    for block in 0..3 {
        let mut running = Vec::new();
        for host in ["b", "c", "a"] {
            let in_flight: Vec<InFlight> = running.iter().map(flying).collect();
            let (known, host_asks) = (&observations, Some(host));
            let action = strategy.next(Situation {
                observations: known,
                in_flight: &in_flight,
                host: host_asks,
                ..Situation::default()
            });
            let Action::Launch { trial, configuration, purpose, repeats } = action else {
                panic!("{action:?}")
            };
            let from = 300.0 * f64::from(block);
            let to = from + 300.0;
            running.push(Running { trial, configuration, purpose, host, from, to, repeats });
        }
        observations.extend(running.iter().map(|it| world.observe(it, 2)));
    }
    for hosts in hosts_of(&observations).values() {
        assert_eq!(hosts.iter().collect::<BTreeSet<_>>().len(), 3, "{hosts:?}");
    }
}

#[test]
fn both_halves_of_a_duel_and_of_a_pair_run_on_one_host() {
    let mut means = vec![150.0; 6];
    (means[2], means[4]) = (100.0, 101.0);
    let world = World::of(&means, &[1.0, 1.3, 0.8]);
    let mut found = 0;
    for seed in 0..6 {
        let (observations, _) = run(&adaptive(6, seed), &world, seed);
        let duels = observations.iter().filter(|it| it.purpose == Purpose::Final);
        let mut pairs: BTreeMap<u32, Vec<&Observation>> = BTreeMap::new();
        for it in duels {
            pairs.entry(it.trial / 2).or_default().push(it);
        }
        for pair in pairs.values().filter(|pair| pair.len() == 2) {
            assert_eq!(pair[0].host, pair[1].host);
            assert_ne!(pair[0].configuration, pair[1].configuration);
            found += 1;
        }
    }
    assert!(found >= 3, "{found} duels");
    let confirm = Confirm {
        candidate: 2,
        baseline: 0,
        first_trial: 0,
        repeats: 3,
        claim: 0.1,
        seed: 1,
        pace: 1.0,
    };
    let (pairs, _) = run(&confirm, &world, 4);
    for pair in pairs.chunks(2) {
        assert_eq!(pair[0].host, pair[1].host);
    }
    assert!(pairs.len() < 30, "{} launches", pairs.len());
}

#[test]
fn the_last_launches_of_a_limit_are_on_one_host_and_are_those_of_a_claim() {
    let world = World::of(&[110.0, 100.0, 101.0, 130.0, 120.0], &[1.0, 1.3, 0.8]);
    let (mut alone, mut beside) = (0, 0);
    for (seed, limit) in (0..12).flat_map(|seed| [11, 12, 13].map(|limit| (seed, limit))) {
        let max_launches = Some(limit);
        let spec = AdaptiveStrategy { max_launches, seed, ..AdaptiveStrategy::default() };
        let strategy = Adaptive::new(spec, Task::plain(5, Some(0)));
        let (observations, _) = run(&strategy, &world, seed);
        let what = format!("seed {seed}, {limit} launches");
        assert!(observations.len() <= limit as usize, "{what}");
        let trials: BTreeSet<u32> = observations.iter().map(|it| it.trial).collect();
        let mut kept: Vec<&Observation> = observations
            .iter()
            .filter(|it| it.trial >= 10 && is_kept(|trial| trials.contains(&trial), it.trial))
            .collect();
        kept.sort_by_key(|it| it.trial);
        alone += kept.len();
        for two in kept.windows(2).filter(|two| two[0].trial + 4 == two[1].trial) {
            assert_eq!(two[0].host, two[1].host, "{what}");
            beside += 1;
        }
        let of = |arm| observations.iter().filter(|it| it.configuration == arm).count();
        assert!(of(0) >= 3, "{what}");
        let leads = |known: usize| strategy.leader(&observations[..known]).unwrap().configuration;
        let all = observations.len();
        // The last launches may make another one lead; with one, only the baseline has it.
        let known = [0, 1, 2, 3].map(|last| of(leads(all - last)));
        assert!(limit == 11 || known.iter().any(|it| *it >= 3), "{what}: {known:?}");
    }
    assert!(alone > 0, "{alone} {beside}");
}

#[test]
fn the_leader_is_the_best_one_and_not_the_one_on_the_fastest_host() {
    let world = World::of(&[100.0, 120.0, 90.0, 130.0, 110.0], &[1.0, 1.6, 0.7]);
    for seed in 0..8 {
        let strategy = adaptive(5, seed);
        let (observations, _) = run(&strategy, &world, seed);
        let leader = strategy.leader(&observations).unwrap();
        assert_eq!(leader.configuration, 2, "seed {seed}");
        assert!(leader.probability >= 0.9, "{leader:?}");
    }
}

#[test]
fn a_rival_on_hosts_of_its_own_is_not_beaten_and_is_launched_next() {
    // Blocks as somebody else launched them: the third configuration on a host of its own.
    let world = World::of(&[100.0, 150.0, 200.0], &[1.0, 0.3]);
    let order = [(0, "a"), (1, "a"), (2, "b"), (0, "a"), (1, "a"), (2, "b")];
    let launch = |(trial, &(configuration, host)): (u32, &(usize, &'static str))| {
        let from = 600.0 * f64::from(trial);
        let purpose = Purpose::Screen;
        world.observe(
            &Running { trial, configuration, purpose, host, from, to: from + 300.0, repeats: 3 },
            3,
        )
    };
    let observations: Vec<Observation> = (0..).zip(&order).map(launch).collect();
    let strategy = adaptive(3, 1);
    let leader = strategy.leader(&observations).unwrap();
    assert_eq!(leader.configuration, 0, "the best of those that can be compared");
    assert!((0.3..=0.5).contains(&leader.probability), "{leader:?}");
    let known = &observations;
    let next = |observations: &[Observation], host| {
        strategy.next(Situation { observations, host: Some(host), ..Situation::default() })
    };
    let Action::Launch { trial, configuration, purpose, repeats } = next(known, "a") else {
        panic!("the duels begin")
    };
    assert_eq!((trial, purpose), (6, Purpose::Final));
    let first =
        Running { trial, configuration, purpose, host: "a", from: 4000.0, to: 4300.0, repeats };
    let mut with_first = observations.clone();
    with_first.push(world.observe(&first, repeats));
    assert_eq!(next(&with_first, "b"), Action::Wait);
    let Action::Launch { configuration: other, .. } = next(&with_first, "a") else {
        panic!("the other half is left")
    };
    assert_eq!(BTreeSet::from([configuration, other]), BTreeSet::from([0, 2]));
    // Where the host is not there any more, the pair ends on another one.
    let situation = Situation { observations: &with_first, ..Situation::default() };
    let (host, action) = ask(&strategy, situation, &["b"]).unwrap();
    assert!(host == "b" && matches!(action, Action::Launch { .. }), "{action:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn two_blocks_on_three_hosts_connect_all(
        configurations in 2..13_usize, seed in 0..999_u64,
        factors in prop::collection::vec(0.5..2.0_f64, 2..4),
    ) {
        let world = World::of(&vec![100.0; configurations], &factors);
        let (observations, _) = run(&grid(configurations, 2, seed), &world, seed);
        prop_assert!(is_connected(&observations, configurations), "{:?}", hosts_of(&observations));
        // The two blocks of a race, too, before its duels.
        let (observations, _) = run(&adaptive(configurations, seed), &world, seed);
        let blocks: Vec<Observation> =
            observations.iter().filter(|it| it.purpose == Purpose::Screen).cloned().collect();
        prop_assert_eq!(blocks.len(), 2 * configurations);
        prop_assert!(is_connected(&blocks, configurations), "{:?}", hosts_of(&blocks));
    }

    #[test]
    fn every_launch_follows_from_what_was_known_and_who_asked(
        configurations in 2..15_usize, seed in 0..999_u64,
    ) {
        let means: Vec<f64> = (0..configurations).map(|it| 100.0 + 7.0 * (it * 5 % 11) as f64).collect();
        let world = World::of(&means, &[1.0, 1.3, 0.9]);
        let (first, steps) = run(&adaptive(configurations, seed), &world, seed);
        let (again, _) = run(&adaptive(configurations, seed), &world, seed);
        prop_assert_eq!(&first, &again);
        let rebuilt = adaptive(configurations, seed);
        for step in steps.iter().step_by(3) {
            // What had ended by then, by the trials that ran or were over.
            let in_flight = &step.in_flight;
            let begun: Vec<u32> = steps.iter().take_while(|it| !std::ptr::eq(*it, step)).filter_map(|it| match it.action {
                Action::Launch { trial, .. } => Some(trial),
                _ => None,
            }).collect();
            let known: Vec<Observation> = first.iter()
                .filter(|it| begun.contains(&it.trial) && in_flight.iter().all(|other| other.trial != it.trial))
                .cloned().collect();
            prop_assert_eq!(known.len(), step.observations);
            let situation = Situation { observations: &known, in_flight, ..Situation::default() };
            let action = rebuilt.next(Situation { host: Some(step.host), ..situation });
            prop_assert!(action == step.action || rebuilt.next(situation) == step.action);
        }
    }

    #[test]
    fn one_host_that_asks_is_as_if_nobody_did(configurations in 1..15_usize, seed in 0..999_u64) {
        let means: Vec<f64> = (0..configurations).map(|it| 100.0 + 7.0 * (it * 5 % 11) as f64).collect();
        let world = World::of(&means, &[1.0]);
        for strategy in [
            Box::new(adaptive(configurations, seed)) as Box<dyn Chooses>,
            Box::new(grid(configurations, 2, seed)),
        ] {
            let (observations, steps) = run(&*strategy, &world, seed);
            for (known, step) in steps.iter().enumerate() {
                let situation = Situation { observations: &observations[..known], ..Situation::default() };
                prop_assert_eq!(&strategy.next(situation), &step.action);
                // Not as it is asked in the end, where it would wait for nobody.
                let asks = Situation { host: Some("a"), ..situation };
                prop_assert_eq!(&strategy.next(asks), &step.action);
            }
        }
    }
}
