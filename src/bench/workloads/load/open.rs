//! Open loops: requests are sent when a schedule says, however many are in flight.

use std::time::Duration;

use super::figures::Plan;
use super::generate::Schedule;
use super::outcome::LoopResult;
use super::prompts::{Amount, Prompts, Recipe};
use super::step::Extent;
use super::{Run, Stop, window};

/// Requests of a warm-up at the least.
pub(super) const WARMUP: u64 = 32;
/// Connections that are opened ahead at the most.
pub(super) const MAX_FLYING: u64 = 4096;

/// What is sent in an open loop.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenLoop {
    /// Requests per second.
    pub(super) rate: f64,
    /// For how long they are begun.
    pub(super) extent: Extent,
    /// Which arrivals are drawn.
    pub(super) pattern: u32,
}

impl Run<'_, '_> {
    /// Requests that warm up for a rate: twice as many as are in flight by then, so
    /// that the pipe is full for as long as it took to fill; no more than the load
    /// itself sends.
    pub(super) fn warmup_requests(&self, rate: f64, expected: Duration) -> u64 {
        let enough = (2.0 * rate * expected.as_secs_f64()).ceil() as u64;
        let all = self
            .spec
            .requests_of(self.kind)
            .unwrap_or_else(|| (rate * self.spec.duration.unwrap_or(f64::INFINITY)).ceil() as u64);
        enough.max(WARMUP).min(all)
    }

    /// One open loop, its requests numbered from `first`.
    pub(super) async fn open(
        &mut self,
        recipe: Recipe,
        first: u32,
        OpenLoop { rate, extent, pattern }: OpenLoop,
        expected: Duration,
    ) -> Result<LoopResult, Stop> {
        let (amount, most) = match extent {
            Extent::Requests(requests) => (Amount::exactly(requests), requests),
            Extent::Seconds(lasting) => {
                (Amount::About((2.0 * rate * lasting) as u64 + WARMUP), MAX_FLYING)
            }
        };
        let arrivals = self.arrivals_seed(pattern);
        let prompts = self.built(Prompts::build(recipe.clone(), first, amount)).await?;
        // Twice what is in flight on average, for the crowds of a Poisson stream.
        let flying = (2.0 * rate * expected.as_secs_f64()).ceil() as u64 + 8;
        let flying = flying.min(most).min(MAX_FLYING);
        let (lanes, slots) = self.slots(flying as usize).await?;
        let purpose = format!("rate={rate}");
        let about = match extent {
            Extent::Requests(requests) => requests,
            Extent::Seconds(lasting) => (rate * lasting) as u64,
        };
        let mut generator = self.generator(prompts, flying, about, &purpose);
        if let Extent::Seconds(lasting) = extent {
            let whole = Duration::from_secs_f64(lasting).as_nanos() as u64;
            generator.until_ns = Some(generator.clock.elapsed_ns() + whole);
        }
        let schedule = match extent {
            Extent::Requests(requests) => {
                Schedule::of(self.spec.arrivals, rate, arrivals, requests)
            }
            Extent::Seconds(_) => Schedule::new(self.spec.arrivals, rate, arrivals),
        };
        let watch = generator.watch();
        let ran = self.watched(generator.open(&lanes, slots, schedule)).await?;
        let mut result = self.loop_result(&recipe, ran, first, watch);
        let window = result.window(window::open);
        Ok(LoopResult { plan: Plan { open: true, window, slo: self.spec.slo }, rate, ..result })
    }

    /// The same for every configuration of a block, and another one for each block,
    /// repeat and pattern: comparisons are paired, and no pattern that is lucky for one
    /// configuration decides a sweep.
    fn arrivals_seed(&self, pattern: u32) -> u64 {
        let block = self.repeat.session.settings().block.to_string();
        self.repeat.seed_number(&["arrivals", self.case, &block, &pattern.to_string()])
    }
}
