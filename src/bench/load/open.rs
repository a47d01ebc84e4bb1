//! Open loops: requests are sent when a schedule says, however many are in flight.

use std::sync::Arc;
use std::time::Duration;

use super::figures::{self, Plan};
use super::generate::{Generated, Schedule};
use super::prompts::{Prompts, Recipe};
use super::verdict::Done;
use super::{Run, Stop};
use crate::bench::clock::Clock;

impl Run<'_, '_> {
    /// One open loop, its requests numbered from `first`.
    pub(super) async fn open(
        &mut self,
        recipe: Recipe,
        clock: Clock,
        first: u32,
        rate: f64,
        expected: Duration,
    ) -> Result<Done, Stop> {
        let requests = self.requests();
        let limit = requests.map(|requests| u32::try_from(requests).unwrap_or(u32::MAX));
        let arrivals = derive_seed(&recipe.seed);
        let prompts = Prompts::build(recipe.clone(), first, limit).await;
        // Twice what is in flight on average, for the crowds of a Poisson stream.
        let flying = (2.0 * rate * expected.as_secs_f64()).ceil() as usize + 8;
        let flying = flying.min(requests.map_or(4096, |requests| requests as usize)).min(4096);
        let (lanes, slots) = self.slots(flying).await?;
        let purpose = format!("rate={rate}");
        let mut generator = self.generator(prompts, clock, flying as u64, &purpose);
        if let (None, Some(seconds)) = (requests, self.spec.duration) {
            let whole = Duration::from_secs_f64(seconds).as_nanos() as u64;
            generator.until_ns = Some(clock.elapsed_ns() + whole);
        }
        let schedule = Schedule::new(self.spec.arrivals, rate, arrivals);
        let health = Arc::clone(&generator.health);
        let Generated { records, .. } = generator.open(&lanes, slots, schedule).await;
        let done = self.done(&recipe, records, first, &health);
        let plan =
            Plan { open: true, window: figures::open_window(&done.records), slo: self.spec.slo };
        Ok(Done { plan, ..done })
    }
}

fn derive_seed(text: &str) -> u64 {
    crate::bench::prompts::derive(&["arrivals", text])
}
