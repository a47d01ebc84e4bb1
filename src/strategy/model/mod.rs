//! The strategy `model`: a part of all configurations is launched, the rest is predicted by
//! what the axes do, and the best ones then meet in the duels of `adaptive`.

use super::adaptive::Adaptive;
use super::{Action, ModelStrategy, Situation, Strategy, Task};

/// A screen by a model, then a race.
#[derive(Clone, Debug)]
pub struct Modelled {
    race: Adaptive,
}

impl Modelled {
    /// The screen and the race of a sweep.
    pub fn new(spec: ModelStrategy, task: Task) -> Self {
        Self { race: Adaptive::new(spec.racing, task) }
    }
}

impl Strategy for Modelled {
    fn next(&self, situation: Situation<'_>) -> Action {
        self.race.next(situation)
    }

    fn trials(&self) -> u32 {
        self.race.trials()
    }
}
