//! The strategy `adaptive`: a block or two of all configurations, then adjacent duels of the
//! leader and its challenger until the leader is probably good enough. Analysis and stop rule
//! are those of `../shared/facts/drift.md`, section "Racing".

use std::collections::HashSet;

use super::{Action, AdaptiveStrategy, Purpose, Situation, Strategy, Task, order};

/// A race of configurations.
#[derive(Clone, Debug)]
pub struct Adaptive {
    spec: AdaptiveStrategy,
    opening: Vec<(usize, Purpose)>,
}

impl Adaptive {
    /// The race of a sweep.
    #[expect(clippy::needless_pass_by_value, reason = "it will keep the task")]
    pub fn new(spec: AdaptiveStrategy, task: Task) -> Self {
        let opening = order::blocks(1, spec.seed, task.configurations, task.baseline, task.order);
        Self { spec, opening }
    }
}

impl Strategy for Adaptive {
    fn next(&self, situation: Situation<'_>) -> Action {
        let over = situation.observations.iter().map(|it| it.trial);
        let taken: HashSet<u32> =
            over.chain(situation.in_flight.iter().map(|it| it.trial)).collect();
        match (0..).zip(&self.opening).find(|(trial, _)| !taken.contains(trial)) {
            Some((trial, &(configuration, purpose))) => {
                Action::Launch { trial, configuration, purpose, repeats: self.spec.repeats }
            }
            None if situation.in_flight.is_empty() => {
                Action::Finish { why: "every configuration had its launches".to_owned() }
            }
            None => Action::Wait,
        }
    }

    fn trials(&self) -> u32 {
        self.opening.len() as u32
    }
}
