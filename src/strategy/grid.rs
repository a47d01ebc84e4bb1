//! The strategy `grid`: every configuration, `launches` times, in blocks. Each
//! block is a shuffle of its own, so that drift over the night is spread over
//! the configurations instead of becoming the last flag's effect.

use std::collections::HashSet;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::{Action, GridStrategy, PastLaunch, PastOutcome, Strategy};

/// Blocks of all configurations, each shuffled by its own seed.
#[derive(Clone, Debug)]
pub struct Blocks {
    order: Vec<usize>,
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
        Self { order }
    }

    /// Configuration indices in the order of launching.
    pub fn order(&self) -> &[usize] {
        &self.order
    }
}

impl Strategy for Blocks {
    fn next(&self, history: &[PastLaunch]) -> Action {
        let settled: HashSet<u32> = history
            .iter()
            .filter(|past| past.outcome != PastOutcome::Interrupted)
            .map(|past| past.slot)
            .collect();
        let infeasible = |configuration| {
            history.iter().any(|past| {
                past.configuration == configuration && past.outcome == PastOutcome::Infeasible
            })
        };
        let open = (0..).zip(&self.order).find(|(slot, _)| !settled.contains(slot));
        let Some((slot, &configuration)) = open else { return Action::Finish };
        if infeasible(configuration) {
            let reason = "failed in an earlier launch, and would fail so again".to_owned();
            return Action::Skip { slot, configuration, reason };
        }
        Action::Launch { slot, configuration }
    }

    fn launches(&self) -> u32 {
        self.order.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(launches: u32, seed: u64, configurations: usize) -> Blocks {
        Blocks::new(GridStrategy { launches, repeats: 1, seed }, configurations, None)
    }

    fn run(strategy: &Blocks, outcome: impl Fn(u32, usize) -> PastOutcome) -> Vec<PastLaunch> {
        let mut history = Vec::new();
        loop {
            let past = match strategy.next(&history) {
                Action::Launch { slot, configuration } => {
                    PastLaunch { slot, configuration, outcome: outcome(slot, configuration) }
                }
                Action::Skip { slot, configuration, .. } => {
                    PastLaunch { slot, configuration, outcome: PastOutcome::Skipped }
                }
                Action::Finish => return history,
            };
            history.push(past);
        }
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
    fn an_infeasible_configuration_is_launched_once_and_then_skipped_with_a_reason() {
        let history = run(&blocks(3, 1, 4), |_, configuration| {
            if configuration == 2 { PastOutcome::Infeasible } else { PastOutcome::Measured }
        });
        let of_two: Vec<PastOutcome> = history
            .iter()
            .filter(|past| past.configuration == 2)
            .map(|past| past.outcome)
            .collect();
        assert_eq!(of_two, [PastOutcome::Infeasible, PastOutcome::Skipped, PastOutcome::Skipped]);
    }

    #[test]
    fn an_interrupted_slot_comes_again_first() {
        let strategy = blocks(2, 1, 3);
        let first = strategy.order()[0];
        let history =
            [PastLaunch { slot: 0, configuration: first, outcome: PastOutcome::Interrupted }];
        assert_eq!(strategy.next(&history), Action::Launch { slot: 0, configuration: first });
    }
}
