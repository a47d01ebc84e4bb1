//! The strategy `grid`: every configuration, `launches` times, in blocks. Which order
//! blocks have is in `order`; how many repeats a launch has where the sweep chooses
//! them itself, in `repeats`; which launches of a block a host gets where there are several,
//! in `hosts`.

use std::collections::HashSet;

use super::hosts::{Place, Turn};
use super::order::{self, Order};
use super::{Action, Finished, GridStrategy, Purpose, Situation, Strategy, repeats};

/// Blocks of all configurations, each shuffled by its own seed.
#[derive(Clone, Debug)]
pub struct Blocks {
    order: Vec<(usize, Purpose)>,
    /// Launches of one block.
    block: usize,
    configurations: usize,
    spec: GridStrategy,
}

impl Blocks {
    /// The blocks for so many configurations.
    pub fn new(
        spec: GridStrategy,
        configurations: usize,
        baseline: Option<usize>,
        rule: Order,
    ) -> Self {
        let order = order::blocks(spec.launches, spec.seed, configurations, baseline, rule);
        let block = rule.per_block(configurations, baseline.is_some());
        Self { order, block, configurations, spec }
    }

    /// Configuration indices in the order of launching.
    pub fn order(&self) -> Vec<usize> {
        self.order.iter().map(|(configuration, _)| *configuration).collect()
    }

    /// The first trial of a trial's block.
    fn start_of_block(&self, trial: u32) -> u32 {
        let block = self.block.max(1) as u32;
        trial / block * block
    }

    /// Kept repeats of a trial. Chosen ones are the same for a whole block, by the blocks
    /// before it: a resumed sweep chooses the same.
    fn repeats(&self, trial: u32, situation: &Situation<'_>) -> u32 {
        if !self.spec.auto {
            return self.spec.repeats;
        }
        let start = self.start_of_block(trial);
        let before: Vec<_> = situation.observations.iter().filter(|it| it.trial < start).collect();
        repeats::chosen(&before, self.configurations).unwrap_or(self.spec.repeats)
    }
}

impl Strategy for Blocks {
    fn next(&self, situation: Situation<'_>) -> Action {
        let over = situation.observations.iter().map(|observation| observation.trial);
        let taken: HashSet<u32> =
            over.chain(situation.in_flight.iter().map(|trial| trial.trial)).collect();
        let places = (0..).zip(&self.order).map(|(trial, &(it, purpose))| (trial, it, purpose));
        let mut left = places.filter(|(trial, ..)| !taken.contains(trial)).peekable();
        let Some(&(next, ..)) = left.peek() else {
            if !situation.in_flight.is_empty() {
                return Action::Wait;
            }
            return Action::Finish { why: Finished::AllLaunched };
        };
        let first = self.start_of_block(next);
        let pending: Vec<Place> =
            left.take_while(|place| self.start_of_block(place.0) == first).collect();
        match Turn::of(&situation).choose(&pending, first) {
            Some((trial, configuration, purpose)) => Action::Launch {
                trial,
                configuration,
                purpose,
                repeats: self.repeats(trial, &situation),
            },
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

    use super::super::{InFlight, Observation, ObservedRepeat, TrialOutcome};
    use super::*;

    fn blocks(launches: u32, seed: u64, configurations: usize) -> Blocks {
        let spec = GridStrategy { launches, repeats: 1, auto: false, seed };
        Blocks::new(spec, configurations, None, Order::Separated)
    }

    fn observation(trial: u32, configuration: usize) -> Observation {
        Observation {
            trial,
            configuration,
            purpose: Purpose::Screen,
            host: String::new(),
            started_at: None,
            duration: Duration::ZERO,
            repeat_seconds: None,
            outcome: TrialOutcome::Measured,
            repeats: Vec::new(),
        }
    }

    fn in_flight(trial: u32, configuration: usize) -> InFlight {
        let (purpose, host) = (Purpose::Screen, String::new());
        InFlight { trial, configuration, purpose, host, started_at: None }
    }

    fn next(strategy: &Blocks, observations: &[Observation], in_flight: &[InFlight]) -> Action {
        strategy.next(Situation { observations, in_flight, ..Situation::default() })
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
        let spec = GridStrategy { launches: 2, repeats: 1, auto: false, seed: 7 };
        let (with, without) = (Blocks::new(spec, 6, Some(4), Order::Separated), blocks(2, 7, 6));
        assert_eq!(with.order()[0], 4);
        assert_eq!(with.order()[6..], without.order()[6..]);
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
        let order = strategy.order();
        let running = [in_flight(0, order[0])];
        assert_eq!(next(&strategy, &[], &running), launch(1, order[1]));
        let running = [in_flight(0, order[0]), in_flight(1, order[1])];
        assert_eq!(next(&strategy, &[], &running), Action::Wait);
    }

    fn observed(value: f64) -> ObservedRepeat {
        ObservedRepeat { objective: Some(value), ..ObservedRepeat::default() }
    }

    /// Launches of 190 s and repeats of 45 s whose values spread by 20 %.
    fn noisy(trial: u32, configuration: usize) -> Observation {
        let at =
            jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(i64::from(trial) * 330);
        let launch = 1.0 + 0.02 * f64::from(trial % 3);
        Observation {
            started_at: Some(at),
            duration: Duration::from_secs(190 + 3 * 45),
            repeat_seconds: Some(45.0),
            repeats: [0.8, 1.25, 1.0].map(|factor| observed(100.0 * launch * factor)).to_vec(),
            ..observation(trial, configuration)
        }
    }

    #[test]
    fn repeats_are_chosen_block_by_block_where_the_sweep_chooses_them() {
        let spec = GridStrategy { launches: 4, repeats: 3, auto: true, seed: 1 };
        let strategy = Blocks::new(spec, 3, None, Order::Separated);
        let order = strategy.order();
        let mut observations: Vec<Observation> = Vec::new();
        let mut asked = Vec::new();
        for (trial, configuration) in (0..).zip(order) {
            let Action::Launch { repeats, .. } = next(&strategy, &observations, &[]) else {
                panic!("launches are left")
            };
            asked.push(repeats);
            observations.push(noisy(trial, configuration));
        }
        // Two blocks to learn from; then more, since repeats are noisy and boots are slow.
        assert_eq!(asked[..6], [3; 6]);
        assert!(asked[6..].iter().all(|repeats| *repeats > 3), "{asked:?}");
        assert_eq!(asked[6..9], [asked[6]; 3]);
    }
}
