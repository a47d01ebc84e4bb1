//! Many steps as one: while nothing arrives, ends or lacks a block, steps of decoding differ in
//! nothing but how long their sequences are. They are booked together, so that a load in
//! virtual time costs as much as it has events, not tokens. How long they take is the caller's.

use super::{Plan, Scheduler, state_mut, text};

impl Scheduler {
    /// How many steps like `plan`, which was completed just now, follow if nothing arrives:
    /// each request gets a token that is not its last one, and has a block for it.
    pub fn steps_alike(&self, plan: &Plan) -> u64 {
        let decodes = plan.work.iter().all(|work| work.samples && work.tokens == 1);
        // What waits stays out: the same budget, places and fewer blocks kept it out before.
        let is_same = plan.admitted.is_empty() && plan.preempted.is_empty();
        if !decodes || !is_same || plan.work.len() != self.running.len() {
            return 0;
        }
        let left = |id| {
            let state = self.state(id);
            state.output_tokens - state.generated
        };
        let soonest = self.running.iter().map(|id| left(*id)).min().unwrap_or(0);
        let mut steps = soonest.saturating_sub(1);
        while steps > 0 && self.missing(steps) > self.cache.free_blocks() {
            steps /= 2;
        }
        steps
    }

    /// Blocks that so many further tokens of all that run need.
    fn missing(&self, steps: u64) -> usize {
        let size = self.cache.block_size();
        let of = |id: &u64| {
            let state = self.state(*id);
            ((state.computed + steps).div_ceil(size) as usize).saturating_sub(state.blocks.len())
        };
        self.running.iter().map(of).sum()
    }

    /// Books as many further tokens of all that run, the last of them at `now`; at most
    /// [`Self::steps_alike`].
    pub fn leap(&mut self, steps: u64, now: f64) {
        for place in 0..self.running.len() {
            let id = self.running[place];
            let is_caching = self.cache.caching();
            let state = state_mut(&mut self.states, id);
            if is_caching {
                for index in state.generated..state.generated + steps {
                    state.chain.extend(&[text::token_id(state.output_seed, index)]);
                }
            }
            let has_blocks = self.allocate(id, steps);
            debug_assert!(has_blocks, "more steps than there are blocks for");
            let state = state_mut(&mut self.states, id);
            state.computed += steps;
            state.generated += steps;
            state.times.last_token = now;
        }
    }
}
