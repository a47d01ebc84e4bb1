//! The strategy `grid`: every configuration, `launches` times, in blocks. Each
//! block is a shuffle of its own, so that drift over the night is spread over
//! the configurations instead of becoming the last flag's effect.

use std::collections::HashSet;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::{Action, GridStrategy, Purpose, Situation, Strategy};

/// Blocks of all configurations, each shuffled by its own seed.
#[derive(Clone, Debug)]
pub struct Blocks {
    order: Vec<usize>,
    repeats: u32,
}

impl Blocks {
    /// The blocks for so many configurations. The baseline opens the first one:
    /// what does not work with flags that are known to work is not worth a night.
    pub fn new(spec: GridStrategy, configurations: usize, baseline: Option<usize>) -> Self {
        let mut order = Vec::with_capacity(configurations * spec.launches as usize);
        for block in 0..spec.launches {
            let mut members: Vec<usize> = (0..configurations).collect();
            let mut random = ChaCha8Rng::seed_from_u64(spec.seed);
            random.set_stream(u64::from(block));
            members.shuffle(&mut random);
            if let (0, Some(baseline)) = (block, baseline) {
                members.retain(|member| *member != baseline);
                members.insert(0, baseline);
            }
            order.extend(members);
        }
        Self { order, repeats: spec.repeats }
    }

    /// Configuration indices in the order of launching.
    pub fn order(&self) -> &[usize] {
        &self.order
    }
}

impl Strategy for Blocks {
    fn next(&self, situation: Situation<'_>) -> Action {
        let over = situation.observations.iter().map(|observation| observation.trial);
        let taken: HashSet<u32> =
            over.chain(situation.in_flight.iter().map(|trial| trial.trial)).collect();
        match (0..).zip(&self.order).find(|(trial, _)| !taken.contains(trial)) {
            Some((trial, &configuration)) => Action::Launch {
                trial,
                configuration,
                purpose: Purpose::Screen,
                repeats: self.repeats,
            },
            None if situation.in_flight.is_empty() => {
                Action::Finish { why: "every configuration had its launches".to_owned() }
            }
            None => Action::Wait,
        }
    }

    fn trials(&self) -> u32 {
        self.order.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{InFlight, Observation, TrialOutcome};
    use super::*;

    fn blocks(launches: u32, seed: u64, configurations: usize) -> Blocks {
        Blocks::new(GridStrategy { launches, repeats: 1, seed }, configurations, None)
    }

    fn observation(trial: u32, configuration: usize) -> Observation {
        Observation {
            trial,
            configuration,
            purpose: Purpose::Screen,
            host: String::new(),
            started_at: None,
            duration: Duration::ZERO,
            outcome: TrialOutcome::Measured,
            repeats: Vec::new(),
        }
    }

    fn in_flight(trial: u32, configuration: usize) -> InFlight {
        let (purpose, host) = (Purpose::Screen, String::new());
        InFlight { trial, configuration, purpose, host, started_at: None }
    }

    fn next(strategy: &Blocks, observations: &[Observation], in_flight: &[InFlight]) -> Action {
        strategy.next(Situation { observations, in_flight, budget_left: None })
    }

    fn launch(trial: u32, configuration: usize) -> Action {
        Action::Launch { trial, configuration, purpose: Purpose::Screen, repeats: 1 }
    }

    #[test]
    fn every_block_holds_every_configuration_once() {
        let strategy = blocks(3, 7, 10);
        for block in strategy.order().chunks(10) {
            let mut members = block.to_vec();
            members.sort_unstable();
            assert_eq!(members, (0..10).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_baseline_opens_the_first_block_alone() {
        let spec = GridStrategy { launches: 2, repeats: 1, seed: 7 };
        let (with, without) = (Blocks::new(spec, 10, Some(4)), blocks(2, 7, 10));
        assert_eq!(with.order()[0], 4);
        assert_eq!(with.order()[10..], without.order()[10..]);
    }

    #[test]
    fn blocks_differ_from_each_other_and_by_seed() {
        let strategy = blocks(2, 7, 10);
        assert_ne!(strategy.order()[..10], strategy.order()[10..]);
        assert_ne!(strategy.order(), blocks(2, 8, 10).order());
        assert_eq!(strategy.order(), blocks(2, 7, 10).order());
    }

    #[test]
    fn every_trial_is_launched_once_in_order_and_then_it_finishes() {
        let strategy = blocks(2, 1, 3);
        let mut observations = Vec::new();
        while let Action::Launch { trial, configuration, .. } = next(&strategy, &observations, &[])
        {
            observations.push(observation(trial, configuration));
        }
        let order: Vec<usize> = observations.iter().map(|known| known.configuration).collect();
        assert_eq!(order, strategy.order());
        assert!(matches!(next(&strategy, &observations, &[]), Action::Finish { .. }));
    }

    #[test]
    fn what_is_in_flight_is_not_launched_again_but_waited_for() {
        let strategy = blocks(1, 1, 2);
        let order = strategy.order().to_vec();
        let running = [in_flight(0, order[0])];
        assert_eq!(next(&strategy, &[], &running), launch(1, order[1]));
        let running = [in_flight(0, order[0]), in_flight(1, order[1])];
        assert_eq!(next(&strategy, &[], &running), Action::Wait);
    }
}
