//! Closed loops: each slot sends its next request when the one before has ended.
//! A burst is one of one request each.

use std::time::Duration;

use super::outcome::{LoopResult, note_of_idleness};
use super::prompts::{Amount, Prompts, Recipe};
use super::{Run, Stop, window};

impl Run<'_, '_> {
    /// So many slots, whose starts are spread over one expected request time.
    pub(super) async fn closed(
        &mut self,
        recipe: Recipe,
        count: u64,
        expected: Duration,
    ) -> Result<LoopResult, Stop> {
        let requests = self.spec.requests_of(self.kind);
        let amount = match requests {
            Some(requests) => Amount::exactly(requests),
            None => Amount::About(u64::MAX),
        };
        let prompts = self.built(Prompts::build(recipe.clone(), 0, amount)).await?;
        let (lanes, slots) = self.slots(count as usize).await?;
        let about = requests.unwrap_or(count);
        let mut generator = self.generator(prompts, count, about, "load");
        if let (None, Some(seconds)) = (requests, self.spec.duration) {
            let whole = expected + Duration::from_secs_f64(seconds);
            generator.until_ns = Some(generator.clock.elapsed_ns() + whole.as_nanos() as u64);
        }
        let watch = generator.watch();
        let ran = self.watched(generator.closed(&lanes, slots, expected)).await?;
        let mut result = self.loop_result(&recipe, ran, 0, watch);
        let busy = result.plan.window;
        result.plan.window = result.window(|records| window::closed(records, busy, count));
        result.note = note_of_idleness(&result.records).filter(|_| self.judges_client());
        Ok(result)
    }

    /// `width` requests at once, numbered from `first`, unless the load itself has
    /// fewer: a warm-up as wide as what it warms up.
    pub(super) async fn burst(
        &mut self,
        recipe: Recipe,
        first: u32,
        width: u64,
        purpose: &str,
    ) -> Result<LoopResult, Stop> {
        let width = self.spec.requests_of(self.kind).map_or(width, |all| all.min(width));
        let prompts =
            self.built(Prompts::build(recipe.clone(), first, Amount::exactly(width))).await?;
        let (lanes, slots) = self.slots(width as usize).await?;
        let generator = self.generator(prompts, width, width, purpose);
        let watch = generator.watch();
        let ran = self.watched(generator.burst(&lanes, slots)).await?;
        let mut result = self.loop_result(&recipe, ran, first, watch);
        // Its slots are all busy for less than one request.
        result.plan.window = None;
        Ok(result)
    }
}
