//! The search for the highest rate that meets an SLO: open loops at rising and
//! falling rates. Which step comes next is in `hunt`, what one shows in `step`.

use std::time::Duration;

use super::figures;
use super::hunt::{Ask, Found, Hunt};
use super::ladder::Rising;
use super::open::{MAX_FLYING, OpenLoop, WARMUP};
use super::outcome::{LoopResult, Note, void_of_lag};
use super::prompts::Recipe;
use super::step::{Extent, TRIES, met_share};
use super::{Run, Stop};

/// The steps of one repeat. What was sent at one rate is reported; the rest is kept aside.
#[derive(Default)]
struct Steps(Vec<LoopResult>);

impl Steps {
    /// The number of the next request.
    fn next(&self) -> u32 {
        let sent: usize = self.0.iter().map(LoopResult::requests).sum();
        u32::try_from(sent).unwrap_or(u32::MAX)
    }
}

/// A step showed nothing, and neither does the search.
struct Useless {
    note: Option<Note>,
}

impl Run<'_, '_> {
    /// Open loops at rising and falling rates; the result is that of the highest
    /// rate that held the SLO and was confirmed.
    pub(super) async fn search(
        &mut self,
        recipe: Recipe,
        expected: Duration,
    ) -> Result<LoopResult, Stop> {
        let asked = Extent::of(self.spec.requests_of(self.kind), self.spec);
        let mut hunt = Hunt::new(asked, expected);
        let mut steps = Steps::default();
        while let Some(ask) = hunt.next() {
            if let Some(useless) = self.step(&recipe, ask, &mut steps).await? {
                return Ok(self.reported(steps, None, useless.note));
            }
            if let Some(step) = steps.0.last() {
                hunt.shown(&step.records, &step.plan, self.spec.slo_share);
            }
        }
        let remarks = hunt.remarks();
        let note = (!remarks.is_empty()).then(|| Note::Remark(remarks.join("; ")));
        Ok(self.reported(steps, hunt.found(), note))
    }

    /// One step, and again where the client was late; why the search shows nothing,
    /// where it does not.
    async fn step(
        &mut self,
        recipe: &Recipe,
        Ask { rate, extent, time, pattern }: Ask,
        steps: &mut Steps,
    ) -> Result<Option<Useless>, Stop> {
        let mut tries = 0;
        loop {
            tries += 1;
            let first = steps.next();
            let recipe = recipe.clone();
            let step = self.open(recipe, first, OpenLoop { rate, extent, pattern }, time).await;
            self.keep_step(step, steps)?;
            let Some(step) = steps.0.last() else { return Ok(None) };
            // With foreign requests it shows nothing of what the server can serve.
            if step.observations.foreign.is_some() {
                return Ok(Some(Useless { note: None }));
            }
            // Nor does a client that lags, which a passing load on this machine makes it.
            match void_of_lag(&step.records).filter(|_| self.judges_client()) {
                None => return Ok(None),
                Some(note) if tries >= TRIES => return Ok(Some(Useless { note: Some(note) })),
                Some(_) => {}
            }
        }
    }

    /// The warm-up of a search, as wide as the search gets: a burst for the pace,
    /// rising rates until one breaks the SLO, then twice as many requests at once as
    /// that one has in flight. The last of these is reported.
    pub(super) async fn warm_search(&mut self, recipe: Recipe) -> Result<LoopResult, Stop> {
        let mut steps = Steps::default();
        let cold = self.burst(recipe.clone(), 0, WARMUP, "burst").await;
        let Some((mut expected, _)) = self.keep_step(cold, &mut steps)? else {
            return Ok(self.reported(steps, None, None));
        };
        let most = self.spec.requests_of(self.kind).unwrap_or(MAX_FLYING).min(MAX_FLYING);
        let mut rising = Rising::from(one_at_a_time(expected));
        let mut width = 0;
        while let Some(rate) = rising.next().filter(|_| width < most) {
            let first = steps.next();
            let extent = Extent::Requests(self.warmup_requests(rate, expected));
            let open = OpenLoop { rate, extent, pattern: 0 };
            let step = self.open(recipe.clone(), first, open, expected).await;
            if let Some((_, median)) = self.keep_step(step, &mut steps)? {
                expected = median;
            }
            width = (2.0 * rate * expected.as_secs_f64()).ceil() as u64;
            rising.tried(steps.0.last().is_some_and(|step| self.meets_slo(step)));
        }
        let (first, width) = (steps.next(), width.clamp(WARMUP, MAX_FLYING));
        let burst = self.burst(recipe, first, width, "burst").await;
        self.keep_step(burst, &mut steps)?;
        Ok(self.reported(steps, None, None))
    }

    /// Whether the SLO was met so far: a warm-up is not long enough to say more.
    fn meets_slo(&self, step: &LoopResult) -> bool {
        met_share(&step.records, &step.plan) >= self.spec.slo_share
    }

    /// Keeps a step; the least and the median time of its requests. One that
    /// could not be done ends the repeat, and what was sent before is kept aside.
    fn keep_step(
        &mut self,
        step: Result<LoopResult, Stop>,
        steps: &mut Steps,
    ) -> Result<Option<(Duration, Duration)>, Stop> {
        let step = step.and_then(|step| {
            if self.repeat.session.cancel().is_cancelled() {
                Err(Stop::Cancelled)
            } else {
                Ok(step)
            }
        });
        match step {
            Ok(step) => {
                let times = figures::times(&step.records);
                // The first rate is that of one request at a time.
                let is_first = steps.0.iter().all(|earlier| !earlier.plan.open);
                if let Some((_, median)) = times.filter(|_| step.plan.open && is_first) {
                    self.expect(median);
                }
                steps.0.push(step);
                Ok(times)
            }
            Err(stop) => {
                self.keep_aside(std::mem::take(&mut steps.0));
                Err(stop)
            }
        }
    }

    /// What is reported: the step of a rate, or the last one. Somebody else's requests
    /// make all of it void.
    fn reported(&mut self, steps: Steps, found: Option<Found>, note: Option<Note>) -> LoopResult {
        let mut steps = steps.0;
        let foreign = steps.iter_mut().find_map(|step| step.observations.foreign.take());
        let is_it =
            |step: &LoopResult| found.is_none_or(|found| step.rate.total_cmp(&found.rate).is_eq());
        let place = steps.iter().rposition(is_it);
        let mut reported = place.map(|place| steps.remove(place)).unwrap_or_default();
        self.keep_aside(steps);
        reported.observations.foreign = foreign;
        LoopResult { note, max_rate: found.map(|found| found.served), ..reported }
    }

    /// Keeps the requests of steps that are not reported.
    fn keep_aside(&mut self, steps: Vec<LoopResult>) {
        self.repeat.keep_aside(steps.into_iter().flat_map(LoopResult::into_records));
    }
}

/// The rate of one request at a time.
fn one_at_a_time(expected: Duration) -> f64 {
    1.0 / expected.as_secs_f64().max(1e-3)
}
