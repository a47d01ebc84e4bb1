//! The rule of a confirmation, on observations and in simulated worlds.

use super::super::{InFlight, ObservedRepeat};
use std::time::Duration;

use super::*;
use crate::statistics::CONFIDENCE;

const FIRST: u32 = 1_000_000;

fn confirm() -> Confirm {
    let (candidate, baseline) = (3, 1);
    Confirm {
        candidate,
        baseline,
        first_trial: FIRST,
        repeats: 3,
        claim: CLAIM,
        seed: 7,
        pace: 1.0,
    }
}

/// A trial of 100 s with these values; without any it failed.
fn trial(place: u32, configuration: usize, values: &[f64]) -> Observation {
    let at = |seconds: u32| {
        jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(i64::from(seconds))
    };
    let repeats = (1..).zip(values).map(|(repeat, value)| ObservedRepeat {
        launch: place + 10,
        repeat,
        at: Some(at(100 * place + 20 * repeat)),
        objective: Some(*value),
        constraints: Vec::new(),
    });
    let failed = values.is_empty();
    Observation {
        trial: FIRST + place,
        configuration,
        purpose: Purpose::Confirm,
        host: String::new(),
        started_at: Some(at(100 * place)),
        duration: Duration::from_secs(100),
        repeat_seconds: Some(20.0),
        outcome: if failed { TrialOutcome::Failed } else { TrialOutcome::Measured },
        repeats: repeats.collect(),
    }
}

fn next(observations: &[Observation]) -> Action {
    confirm().next(Situation { observations, in_flight: &[], ..Situation::default() })
}

/// Runs it on what `world` gives for a place and a configuration.
fn run(world: impl Fn(u32, usize) -> Vec<f64>) -> (Vec<Observation>, Ended) {
    let mut observations = Vec::new();
    while let Action::Launch { trial: number, configuration, purpose, repeats } =
        next(&observations)
    {
        assert_eq!((purpose, repeats), (Purpose::Confirm, 3));
        let place = number - FIRST;
        assert_eq!(place as usize, observations.len(), "no trial is left out");
        observations.push(trial(place, configuration, &world(place, configuration)));
    }
    let ended = confirm().ended(&observations).expect("it is over");
    (observations, ended)
}

/// Values around 100 or 120 that differ by about `spread`.
fn calm(spread: f64) -> impl Fn(u32, usize) -> Vec<f64> {
    move |place, configuration| {
        let mean = if configuration == 3 { 120.0 } else { 100.0 };
        let launch = [-1.0, 0.4, 0.9, -0.5, 0.2][place as usize % 5];
        [-1.0, 0.2, 0.8].map(|repeat| mean * (spread * (launch + repeat)).exp()).to_vec()
    }
}

#[test]
fn both_alternate_strictly_from_a_seeded_start_until_the_sixth_pair_shows_enough() {
    let (observations, ended) = run(calm(0.01));
    assert_eq!((observations.len(), ended), (12, Ended::Precise));
    let order: Vec<usize> = observations.iter().map(|it| it.configuration).collect();
    assert!(order.windows(2).all(|pair| pair[0] != pair[1]), "{order:?}");
    assert_eq!(order[0] == 3, candidate_first(7));
    assert!((1..20).any(candidate_first) && !(1..20).all(candidate_first));
}

#[test]
fn each_first_of_two_opens_a_pair() {
    let confirm = confirm();
    let opens = |place| confirm.opens_pair(Situation::default(), confirm.first_trial + place);
    assert_eq!([0, 1, 2, 3].map(opens), [true, false, true, false]);
    assert!(!confirm.opens_pair(Situation::default(), confirm.first_trial + 2 * MAX_PAIRS));
}

#[test]
fn noisier_values_need_more_pairs_and_40_are_the_end() {
    let (some, ended) = run(calm(0.09));
    assert!((13..80).contains(&some.len()) && some.len() % 2 == 0, "{}", some.len());
    assert_eq!(ended, Ended::Precise);
    let (all, ended) = run(calm(0.3));
    assert_eq!((all.len(), ended), (2 * MAX_PAIRS as usize, Ended::Pairs));
    let look = look(&confirm().launches(&all.iter().collect::<Vec<_>>())).expect("a gain");
    assert!(look.half_width > CLAIM / 2.0);
}

#[test]
fn an_estimate_is_looked_at_after_whole_pairs_only() {
    let (observations, _) = run(calm(0.01));
    for known in 0..12 {
        assert_eq!(confirm().ended(&observations[..known]), None, "after {known}");
    }
}

#[test]
fn what_others_launched_and_what_runs_does_not_count() {
    let (mut observations, _) = run(calm(0.01));
    for other in &mut observations {
        other.trial -= FIRST;
    }
    assert!(matches!(next(&observations), Action::Launch { trial: FIRST, .. }));
    let host = String::new();
    let flying = [InFlight {
        trial: FIRST,
        configuration: 3,
        purpose: Purpose::Confirm,
        host,
        started_at: None,
    }];
    let situation = Situation { observations: &[], in_flight: &flying, ..Situation::default() };
    assert_eq!(confirm().next(situation), Action::Wait);
}

#[test]
fn a_launch_that_fails_now_and_then_is_made_up_for_by_further_pairs() {
    let world = calm(0.01);
    let (observations, ended) =
        run(|place, it| if matches!(place, 2 | 5) { Vec::new() } else { world(place, it) });
    assert_eq!((observations.len(), ended), (14, Ended::Precise), "six launches of each count");
}

#[test]
fn one_that_fails_three_times_in_a_row_ends_it() {
    let world = calm(0.01);
    let (observations, ended) =
        run(|place, it| if place > 3 && it == 3 { Vec::new() } else { world(place, it) });
    let lost = observations.iter().filter(|it| it.repeats.is_empty()).count();
    assert_eq!((lost, ended), (3, Ended::Failing));
    let mut infeasible = vec![trial(0, 1, &[1.0])];
    infeasible.push(Observation { outcome: TrialOutcome::Infeasible, ..trial(1, 3, &[]) });
    assert_eq!(confirm().ended(&infeasible), Some(Ended::Failing), "it would fail so again");
}

#[test]
fn a_value_that_is_zero_ends_it() {
    let (observations, ended) = run(|_, it| if it == 3 { vec![0.0] } else { vec![1.0] });
    assert_eq!((observations.len(), ended), (2, Ended::NotPositive));
}

#[test]
fn expected_pairs_are_those_that_simulations_took() {
    let (launch, cost) = (0.03_f64.powi(2), Cost { boot: 190.0, repeat: 63.0 });
    let of = |launch, repeat_sd: f64, drift: f64| {
        let noise = Noise { launch, repeat: repeat_sd.powi(2), drift: drift.powi(2) / 3600.0 };
        expected(cost, noise, 3, CLAIM)
    };
    // In simulation: 14 to 16 launches on a calm machine, 29 and 39 on one that moves.
    let calm = of(launch, 0.05, 0.0);
    assert_eq!((calm.pairs_low, calm.pairs, calm.reachable), (8, 8, None));
    assert!((20..=34).contains(&(2 * of(launch, 0.05, 0.25).pairs)));
    assert!((34..=42).contains(&(2 * of(launch, 0.05, 0.354).pairs)));
    assert!((44..=56).contains(&(2 * of(0.08_f64.powi(2), 0.05, 0.0).pairs)));
    // Repeats of 20 %: 60 launches reach 5 to 6 %.
    let noisy = of(launch, 0.2, 0.0);
    assert_eq!((noisy.pairs, noisy.pairs_high), (MAX_PAIRS, MAX_PAIRS));
    assert!((0.05..0.06).contains(&noisy.reachable.expect("not reached")), "{noisy:?}");
    assert!((calm.launch_seconds - f64::from(190 + 3 * 63)).abs() < 1e-9);
}

/// A machine whose level moves.
#[derive(Clone, Copy)]
enum Machine {
    Calm,
    /// An Ornstein-Uhlenbeck level of SD 25 % and a time constant of one hour.
    Drifting,
}

struct World(ChaCha8Rng);

impl World {
    fn normal(&mut self) -> f64 {
        let (a, b): (f64, f64) = (self.0.random(), self.0.random());
        (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }

    /// What one confirmation finds of a true effect, and its launches.
    fn confirmation(&mut self, machine: Machine, effect: f64) -> (Look, usize) {
        let (seconds, mut level, mut launches) = (380.0, 0.25 * self.normal(), Vec::new());
        for place in 0..2 * MAX_PAIRS {
            let keeps = (-seconds / 3600.0_f64).exp();
            level = level * keeps + 0.25 * (1.0 - keeps * keeps).sqrt() * self.normal();
            let arm = place as usize % 2;
            let speed = match machine {
                Machine::Calm => 0.0,
                Machine::Drifting => level,
            };
            let mean = effect * arm as f64 + speed + 0.03 * self.normal();
            let logs: Vec<f64> = (0..3).map(|_| mean + 0.05 * self.normal()).collect();
            launches.push(LaunchMean::of(arm, f64::from(place) * seconds, &logs));
            if place % 2 == 1 && step(&launches, place.div_ceil(2), CLAIM).is_some() {
                break;
            }
        }
        (look(&launches).expect("a gain"), launches.len())
    }
}

#[test]
fn intervals_cover_and_gains_are_not_biased_although_it_stops_when_it_likes() {
    let worlds = 100;
    for (machine, most) in [(Machine::Calm, 18.0), (Machine::Drifting, 46.0)] {
        let mut world = World(ChaCha8Rng::seed_from_u64(90_210));
        let effect = 1.1_f64.ln();
        let found: Vec<(Look, usize)> =
            (0..worlds).map(|_| world.confirmation(machine, effect)).collect();
        let covers = |look: &Look| (look.effect - effect).abs() <= look.half_width;
        let covered = found.iter().filter(|(look, _)| covers(look)).count();
        let n = f64::from(worlds);
        let bias = found.iter().map(|(look, _)| look.effect - effect).sum::<f64>() / n;
        let launches = found.iter().map(|(_, launches)| *launches as f64).sum::<f64>() / n;
        assert!(covered as f64 >= (CONFIDENCE - 0.03) * n, "{covered} of {worlds} cover");
        assert!(bias.abs() <= 0.01, "bias {bias}");
        assert!(launches <= most, "{launches} launches on average");
    }
}

/// By the sum of quantiles: 2 launches of each with SD 3 % and no repeat noise have 2 degrees
/// of freedom, where t is 4.303 (level 5 %) and 1.061 (power .8).
#[test]
fn a_difference_is_shown_by_the_launches_that_it_needs() {
    let cost = Cost { boot: 190.0, repeat: 45.0 };
    let noise = Noise { launch: 0.03_f64.powi(2), repeat: 0.0, drift: 0.0 };
    let shown = |launches: u32| {
        let freedom = 2.0 * f64::from(launches) - 2.0;
        difference_to_show(cost, noise, 3, (launches, freedom), (0.05, 0.8))
    };
    assert_eq!(shown(1), None);
    let two = shown(2).expect("a difference");
    assert!((two - (4.303 + 1.061) * 0.03).abs() < 1e-4, "{two}");
    for launches in 2..40 {
        let least = shown(launches).expect("a difference");
        let needed = |difference| launches_to_show(cost, noise, 3, difference, (0.05, 0.8), 100);
        assert_eq!(needed(least * 1.0001), Some(launches));
        assert!(needed(least * 0.9999) > Some(launches));
    }
}
