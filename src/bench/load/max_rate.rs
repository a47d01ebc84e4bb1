//! The search for the highest rate that holds an SLO: open loops at rising and
//! falling rates. Which rate comes next is in `ladder`.

use std::time::Duration;

use super::figures;
use super::ladder::Search;
use super::prompts::Recipe;
use super::verdict::{Done, Note, void_of_lag};
use super::{Run, Stop};
use crate::bench::clock::Clock;
use crate::bench::traffic::Sent;

impl Run<'_, '_> {
    /// Open loops at rising and falling rates; the result is that of the highest
    /// rate that held the SLO.
    pub(super) async fn search(
        &mut self,
        recipe: Recipe,
        clock: Clock,
        expected: Duration,
    ) -> Result<Done, Stop> {
        let mut search = Search::from(1.0 / expected.as_secs_f64().max(1e-3));
        let mut best: Option<Done> = None;
        let (mut all, mut last) = (Sent::NOTHING, None);
        let mut first = 0;
        while let Some(rate) = search.next() {
            let done = match self.open(recipe.clone(), clock, first, rate, expected).await {
                Ok(done) => done,
                Err(stop) => {
                    self.keep_aside(best);
                    self.keep_aside(last);
                    return Err(stop);
                }
            };
            if self.bench.cancel().is_cancelled() {
                return Err(Stop::Cancelled);
            }
            first += u32::try_from(done.all.requests).unwrap_or(u32::MAX);
            all = all.and(done.all);
            // A client that lags cannot say what the server holds.
            if let Some(note) = void_of_lag(&done.records) {
                self.keep_aside(best);
                self.keep_aside(last);
                return Ok(Done { note: Some(note), all, ..done });
            }
            let held = figures::held_share(&done.records, &done.plan) >= self.spec.slo_share;
            search.tried(held);
            let lesser = if held && best.as_ref().is_none_or(|best| rate > best.rate) {
                best.replace(Done { rate, ..done })
            } else {
                last.replace(done)
            };
            self.keep_aside(lesser);
            // One step warms up.
            if self.is_warmup {
                break;
            }
        }
        let (mut done, max_rate, remark) = match (best, search.found()) {
            (Some(best), Some((rate, bounded))) => {
                self.keep_aside(last);
                let remark = (!bounded).then_some("no rate was found that breaks the SLO");
                (best, Some(rate), remark)
            }
            _ => (last.unwrap_or_default(), None, Some("no rate was found that holds the SLO")),
        };
        done.max_rate = max_rate;
        done.all = all;
        done.note = remark.map(|remark| Note::Remark(remark.to_owned()));
        Ok(done)
    }

    /// Keeps the requests of a rate that is not the one told.
    fn keep_aside(&mut self, lesser: Option<Done>) {
        self.bench.keep_aside(lesser.into_iter().flat_map(Done::into_records));
    }
}
