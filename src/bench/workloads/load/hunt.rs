//! What a search for the highest rate does next: it looks for the rate by bisection in
//! short steps, tests a near verdict again before it decides, and confirms what it found
//! in a fresh step that is longer. A rate that is refused there is lowered, and confirmed
//! again. Pure: the steps are done elsewhere.

use std::time::Duration;

use super::figures::{self, Plan};
use super::ladder::Search;
use super::step::{self, Extent, StepFinding, TRIES};
use crate::client::record::RequestRecord;

/// What a rate is divided by that a longer step refused, and from the third one on: then
/// the short steps were far off.
const STEP_DOWN: f64 = 1.04;
const LARGE_STEP_DOWN: f64 = 1.08;
/// So many rates may be refused by longer steps before the search gives up.
const REFUSALS: u32 = 8;

/// A step to be done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ask {
    /// Requests per second.
    pub(crate) rate: f64,
    /// For how long they are begun.
    pub(crate) extent: Extent,
    /// What a request takes, as far as it is known.
    pub(crate) time: Duration,
    /// Which arrivals are drawn: a step that tests a verdict again has others, the same
    /// in every search.
    pub(crate) pattern: u32,
}

/// A rate that was confirmed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Found {
    /// At which requests came, per second.
    pub(crate) rate: f64,
    /// At which they were served: less what was left over at the end.
    pub(crate) served: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Looking,
    Confirming,
    Over,
}

/// A search while it runs.
#[derive(Clone, Debug)]
pub(crate) struct Hunt {
    asked: Extent,
    search: Search,
    phase: Phase,
    next: Ask,
    /// Steps at this rate so far.
    tries: u32,
    /// Whether a near verdict on this rate was tested again.
    retested: bool,
    refusals: u32,
    /// Time of the requests in flight at a moment.
    pipe: Duration,
    found: Option<Found>,
    /// The lowest rate that did not hold.
    fails: Option<f64>,
    /// The last rate that neither held nor broke the SLO, and why.
    unsettled: Option<(f64, String)>,
    refused: Option<String>,
}

impl Hunt {
    /// Begins at the rate of one request at a time, each of which takes `time`.
    pub(crate) fn new(asked: Extent, time: Duration) -> Self {
        let search = Search::from(1.0 / time.as_secs_f64().max(1e-3));
        let rate = search.next().unwrap_or_default();
        let next = Ask { rate, extent: asked.stretched(rate, time), time, pattern: 0 };
        Self {
            asked,
            search,
            phase: Phase::Looking,
            next,
            tries: 0,
            retested: false,
            refusals: 0,
            pipe: time,
            found: None,
            fails: None,
            unsettled: None,
            refused: None,
        }
    }

    /// The step to do next; `None` when the search is over.
    pub(crate) fn next(&self) -> Option<Ask> {
        (self.phase != Phase::Over).then_some(self.next)
    }

    /// What was confirmed.
    pub(crate) fn found(&self) -> Option<Found> {
        self.found
    }

    /// What the step that was asked for has shown.
    pub(crate) fn shown(&mut self, records: &[RequestRecord], plan: &Plan, share: f64) {
        self.tries += 1;
        let finding = match self.phase {
            Phase::Confirming => StepFinding::confirming(records, plan, share),
            Phase::Looking | Phase::Over => StepFinding::of(records, plan, share),
        };
        if let Some((_, median)) = figures::times(records) {
            if self.is_longer_step_needed(finding, median) {
                return;
            }
            if finding == StepFinding::Met {
                self.next.time = median.max(self.next.time);
                self.pipe = self.pipe.max(Duration::from_nanos(step::in_flight_time(records)));
            }
        }
        if self.phase == Phase::Looking && !self.retested && finding.is_near(records, plan, share) {
            self.retested = true;
            self.next.extent = self.next.extent.times(2).at_most(self.asked);
            self.next.pattern = 1;
            return;
        }
        let rate = self.next.rate;
        if let Some(reason) = finding.reason(rate, records) {
            self.unsettled = Some((rate, reason));
        }
        if finding != StepFinding::Met {
            self.fails = Some(self.fails.map_or(rate, |fails| fails.min(rate)));
        }
        match self.phase {
            Phase::Looking => self.looked(finding == StepFinding::Met),
            Phase::Confirming if finding == StepFinding::Met => {
                let served = step::served(rate, records, plan);
                (self.found, self.phase) = (Some(Found { rate, served }), Phase::Over);
            }
            Phase::Confirming => {
                let growing = finding == StepFinding::Growing;
                let served = if growing { step::served(rate, records, plan) } else { rate };
                // Of requests that share a server up to twice as many are left over as are too many.
                self.refuse(f64::midpoint(rate, served));
            }
            Phase::Over => {}
        }
    }

    /// Whether the pipe was not full, and can be filled.
    fn is_longer_step_needed(&mut self, finding: StepFinding, median: Duration) -> bool {
        let longer = self.asked.stretched(self.next.rate, median);
        let needed = finding == StepFinding::Short
            && self.tries < TRIES
            && longer.is_longer(self.next.extent);
        if needed {
            self.next.extent = longer;
        }
        needed
    }

    fn looked(&mut self, met: bool) {
        self.search.tried(met);
        if let Some(rate) = self.search.next() {
            let extent = self.asked.stretched(rate, self.next.time);
            self.ask(Ask { rate, extent, pattern: 0, ..self.next });
        } else if let Some(rate) = self.search.met() {
            self.phase = Phase::Confirming;
            self.confirm(rate);
        } else {
            self.phase = Phase::Over;
        }
    }

    /// A longer step refused the rate; it served no more than `most`.
    fn refuse(&mut self, most: f64) {
        let rate = self.next.rate;
        self.refusals += 1;
        self.refused = Some(format!("a longer step refused {rate:.3}/s"));
        if self.refusals < REFUSALS {
            let by = if self.refusals < 3 { STEP_DOWN } else { LARGE_STEP_DOWN };
            self.confirm(most.min(rate / by));
        } else {
            self.phase = Phase::Over;
        }
    }

    fn confirm(&mut self, rate: f64) {
        let extent = self.asked.confirming(rate, self.pipe);
        self.ask(Ask { rate, extent, pattern: 2 + self.refusals, ..self.next });
    }

    fn ask(&mut self, next: Ask) {
        (self.next, self.tries, self.retested) = (next, 0, false);
    }

    /// What is to be known of the search.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        match (self.search.met(), self.found, self.fails) {
            (None, ..) => remarks.push("no rate was found that meets the SLO".to_owned()),
            (_, None, _) => remarks.push("no rate was confirmed by a longer step".to_owned()),
            (_, Some(_), None) => remarks.push("no rate was found that breaks the SLO".to_owned()),
            (_, Some(_), Some(_)) => {}
        }
        remarks.extend(self.refused.clone());
        // Where the next higher rate broke the SLO, the others are of no interest.
        let is_bound = |rate: f64| self.fails.is_some_and(|fails| fails.total_cmp(&rate).is_eq());
        let unsettled = self.unsettled.as_ref().filter(|(rate, _)| is_bound(*rate));
        remarks.extend(unsettled.map(|(_, reason)| reason.clone()));
        remarks
    }
}
