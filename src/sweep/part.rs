//! What follows the strategy's part of a sweep whose grid asks for a confirmation, and what of
//! the budget is left for it: values alone. Who knows the ranking decides; the loop begins it.

use std::time::Duration;

use crate::history::confirmation::Confirmation;
use crate::history::record::SweepRecord;

/// What may still be spent; nothing where it is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Left {
    /// Time.
    pub time: Option<Duration>,
    /// Launches that may be begun.
    pub launches: Option<u32>,
    /// GPU hours.
    pub gpu_hours: Option<f64>,
}

impl Left {
    /// The less of both, in each part.
    #[must_use]
    pub(super) fn least(self, other: Self) -> Self {
        fn less<T: PartialOrd>(a: Option<T>, b: Option<T>) -> Option<T> {
            match (a, b) {
                (Some(a), Some(b)) => Some(if b < a { b } else { a }),
                (a, b) => a.or(b),
            }
        }
        Self {
            time: less(self.time, other.time),
            launches: less(self.launches, other.launches),
            gpu_hours: less(self.gpu_hours, other.gpu_hours),
        }
    }

    /// Whether no launch may be begun any more.
    pub fn is_spent(&self) -> bool {
        self.is_over() || self.is_counted_out()
    }

    /// The same of the time.
    pub(super) fn is_over(&self) -> bool {
        self.time.is_some_and(|it| it.is_zero())
    }

    /// The same of what is counted.
    fn is_counted_out(&self) -> bool {
        self.launches == Some(0) || self.gpu_hours == Some(0.0)
    }
}

/// What follows the strategy's part.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// This confirmation begins, or goes on.
    Confirmation(Confirmation),
    /// Nothing: none is asked for, or it is over.
    Nothing,
    /// Nothing, since there is nothing to confirm; why.
    NothingToConfirm(String),
}

/// Decides what follows the strategy's part, by the sweep as it is then and what is left of the
/// whole budget; called once.
pub type Decide = Box<dyn Fn(&SweepRecord, Left) -> Next + Send + Sync>;
