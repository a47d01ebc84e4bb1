//! When the sweep will end, as it is told while it runs: what [`super::super::eta`] reckons,
//! with the windows in which the work is done.

use super::super::context::SweepContext;
use super::super::eta::{Eta, eta};
use super::super::scope::Scope;
use super::Sweep;
use crate::strategy::Situation;

impl Sweep {
    /// When it will end, as far as is known now. How many launches a confirmation takes is
    /// known when it ends.
    pub(super) fn tell_eta(&self, context: &SweepContext) {
        if !matches!(self.scope, Scope::Sweep) {
            return;
        }
        let worked = self.worked().as_secs_f64();
        let eta = eta(&self.record, &context.foreknown, self.launches_in_all(context), worked);
        self.events.eta(self.in_window(context, eta));
    }

    /// Launches of what is worked on, one for each trial, those that are over included: at the
    /// least and at the most, which differ where the strategy chooses them.
    pub fn launches_in_all(&self, context: &SweepContext) -> (u32, u32) {
        let begins = self.accepted.is_some();
        let (observations, in_flight) = if begins {
            (Vec::new(), Vec::new())
        } else {
            (self.scope.observations(&self.record), self.scope.in_flight(&self.record))
        };
        let begun = (observations.len() + in_flight.len()) as u32;
        let remaining = self.strategy(context).remaining(Situation {
            observations: &observations,
            in_flight: &in_flight,
            budget_left: self.budget_left(),
            launches_left: self.launches_left(),
            launches_made: Some(self.scope.launches_made(&self.record)),
            host: None,
        });
        (begun.saturating_add(remaining.low), begun.saturating_add(remaining.high))
    }

    /// The same estimate where work is done in windows only.
    fn in_window(&self, context: &SweepContext, mut eta: Eta) -> Eta {
        let Some(window) = context.window else { return eta };
        let (now, kept) = (self.clock.local(), self.kept(context).as_secs_f64());
        let until = |work: f64| window.seconds_until_done(&now, work, kept);
        eta.seconds = (until(eta.seconds.0), until(eta.seconds.1));
        if let Some(budget) = &mut eta.budget {
            budget.seconds = until(budget.seconds);
        }
        eta
    }
}
