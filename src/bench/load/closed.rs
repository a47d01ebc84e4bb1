//! Closed loops: each slot sends its next request when the one before has ended.
//! A burst is one of one request each.

use std::sync::Arc;
use std::time::Duration;

use super::figures::Plan;
use super::generate::Generated;
use super::prompts::{Prompts, Recipe};
use super::verdict::{Done, Note};
use super::{Run, Stop};
use crate::bench::clock::Clock;

impl Run<'_, '_> {
    /// So many slots, whose starts are spread over one expected request time.
    pub(super) async fn closed(
        &mut self,
        recipe: Recipe,
        clock: Clock,
        count: u64,
        expected: Duration,
    ) -> Result<Done, Stop> {
        let requests = self.spec.requests_of(self.kind);
        let limit = requests.map(|requests| u32::try_from(requests).unwrap_or(u32::MAX));
        let prompts = Prompts::build(recipe.clone(), 0, limit).await;
        let (lanes, slots) = self.slots(count as usize).await?;
        let mut generator = self.generator(prompts, clock, count, "load");
        if let (None, Some(seconds)) = (requests, self.spec.duration) {
            let whole = expected + Duration::from_secs_f64(seconds);
            generator.until_ns = Some(clock.elapsed_ns() + whole.as_nanos() as u64);
        }
        let health = Arc::clone(&generator.health);
        let Generated { records, busy } = generator.closed(&lanes, slots, expected).await;
        let mut done = self.done(&recipe, records, 0, &health);
        done.plan = Plan { open: false, window: busy, slo: self.spec.slo };
        if busy.is_none() {
            let text = "throughput is not told: the slots were never all busy";
            done.note = Some(Note::Remark(text.to_owned()));
        }
        Ok(done)
    }

    /// `width` requests at once, numbered from `first`, unless the load itself has
    /// fewer: a warm-up as wide as what it warms up.
    pub(super) async fn burst(
        &mut self,
        recipe: Recipe,
        clock: Clock,
        first: u32,
        width: u64,
        purpose: &str,
    ) -> Result<Done, Stop> {
        let width = self.spec.requests_of(self.kind).map_or(width, |all| all.min(width));
        let limit = u32::try_from(width).unwrap_or(u32::MAX);
        let prompts = Prompts::build(recipe.clone(), first, Some(limit)).await;
        let (lanes, slots) = self.slots(width as usize).await?;
        let generator = self.generator(prompts, clock, width, purpose);
        let health = Arc::clone(&generator.health);
        let Generated { records, busy } = generator.burst(&lanes, slots).await;
        let mut done = self.done(&recipe, records, first, &health);
        done.plan = Plan { open: false, window: busy, slo: self.spec.slo };
        Ok(done)
    }
}
