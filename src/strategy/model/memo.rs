//! What was fitted and decided already. One turn of a sweep asks for the next launch and for
//! what is left, both from the same launches. Nothing is answered here that
//! was not computed: an entry is found by all that it was made from, compared whole, so that
//! the strategy stays a function of what it is asked.

use std::sync::{Mutex, PoisonError};

use super::process::{Launch, Process};
use crate::strategy::{Action, InFlight, Observation, Situation};

/// Looks that are kept: all of a screen of a thousand configurations.
const LOOKS: usize = 64;

/// Beliefs and actions that are kept: what callers of one turn ask for.
const FEW: usize = 4;

/// What a look at a screen showed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Look {
    /// Share of what the launches differ by that the axes predict.
    pub(super) r2: f64,
    /// Whether those that were not launched are hardly better.
    pub(super) is_seen: bool,
}

/// Answers of one strategy.
#[derive(Debug, Default)]
pub(super) struct Memo {
    looks: Mutex<Vec<(Vec<Observation>, Option<Look>)>>,
    beliefs: Mutex<Vec<(Vec<Launch>, Option<Process>)>>,
    actions: Mutex<Vec<(Asked, Action)>>,
}

/// A situation, as far as anything is decided by it: of the budget by the launches that it
/// leaves, where they are few.
#[derive(Debug)]
struct Asked {
    observations: Vec<Observation>,
    in_flight: Vec<InFlight>,
    launches_left: Option<u32>,
    host: Option<String>,
}

impl Memo {
    /// A look at these launches.
    pub(super) fn look(
        &self,
        known: &[&Observation],
        make: impl FnOnce() -> Option<Look>,
    ) -> Option<Look> {
        let is_same = |it: &Vec<Observation>| it.iter().eq(known.iter().copied());
        let owned = || known.iter().copied().cloned().collect();
        recalled(&self.looks, LOOKS, is_same, owned, make)
    }

    /// What these launches make believe.
    pub(super) fn belief(
        &self,
        launches: &[Launch],
        make: impl FnOnce() -> Option<Process>,
    ) -> Option<Process> {
        recalled(&self.beliefs, FEW, |it| it == launches, || launches.to_vec(), make)
    }

    /// What to do in a situation.
    pub(super) fn action(
        &self,
        situation: &Situation<'_>,
        make: impl FnOnce() -> Action,
    ) -> Action {
        let Situation { observations, in_flight, launches_left, host, .. } = *situation;
        let is_same = |it: &Asked| {
            it.observations == observations
                && it.in_flight == in_flight
                && it.launches_left == launches_left
                && it.host.as_deref() == host
        };
        let owned = || Asked {
            observations: observations.to_vec(),
            in_flight: in_flight.to_vec(),
            launches_left,
            host: host.map(str::to_owned),
        };
        recalled(&self.actions, FEW, is_same, owned, make)
    }
}

/// The answer that is kept, else the one that is made now; nothing is locked meanwhile. Of too
/// many the oldest one goes.
fn recalled<K, V: Clone>(
    kept: &Mutex<Vec<(K, V)>>,
    most: usize,
    is_same: impl Fn(&K) -> bool,
    owned: impl FnOnce() -> K,
    make: impl FnOnce() -> V,
) -> V {
    // An answer is whole or not there, whoever panicked.
    let lock = || kept.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, value)) = lock().iter().find(|(key, _)| is_same(key)) {
        return value.clone();
    }
    let value = make();
    let mut kept = lock();
    if kept.len() >= most {
        kept.remove(0);
    }
    kept.push((owned(), value.clone()));
    value
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;
    use crate::strategy::Finished;

    #[test]
    fn the_same_is_made_once_and_anything_else_anew() {
        let memo = Memo::default();
        let made = Cell::new(0);
        let launch = |cost| Launch { configuration: 0, host: 0, time: 0.0, cost, noise: 1e-4 };
        let ask = |cost: f64| {
            memo.belief(&[launch(cost)], || {
                made.set(made.get() + 1);
                None
            })
        };
        ask(1.0);
        ask(1.0);
        assert_eq!(made.get(), 1);
        // More than are kept: the first one is made again.
        (0..FEW).for_each(|at| assert!(ask(2.0 + at as f64).is_none()));
        ask(1.0);
        assert_eq!(made.get(), 2 + FEW);
    }

    #[test]
    fn what_runs_and_what_is_left_belong_to_a_situation_and_its_time_does_not() {
        let memo = Memo::default();
        let flying = [InFlight {
            trial: 3,
            configuration: 1,
            purpose: crate::strategy::Purpose::Screen,
            host: String::new(),
            started_at: None,
        }];
        let idle = Situation::default();
        let busy = Situation { in_flight: &flying, ..idle };
        let finish = |why: &str| Action::Finish { why: Finished::Confirmed(why.to_owned()) };
        assert_eq!(memo.action(&idle, || finish("idle")), finish("idle"));
        assert_eq!(memo.action(&busy, || Action::Wait), Action::Wait);
        let later = Situation { budget_left: Some(Duration::from_secs(1)), ..idle };
        assert_eq!(memo.action(&later, || Action::Wait), finish("idle"));
        let fewer = Situation { launches_left: Some(1), ..idle };
        assert_eq!(memo.action(&fewer, || finish("fewer")), finish("fewer"));
    }
}
