//! When a ladder of loads is at its end, and the search for the highest rate
//! that meets an SLO. Pure.

use std::collections::BTreeMap;

use crate::workload::{Load, LoadCase};

/// Gain in output throughput below which a rung is saturated, and as a share of what
/// the load grew by: the lesser of both, for rungs that are near each other.
const MIN_GAIN: f64 = 0.05;
const MIN_GAIN_SHARE: f64 = 0.25;

/// What kept repeats gave, by case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rungs(BTreeMap<String, Vec<Rung>>);

/// What one repeat gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rung {
    /// Tokens per second of the window; `None` where there was none.
    pub(crate) output_throughput: Option<f64>,
    /// Tokens per second of the whole repeat, the pipe being filled and emptied included.
    pub(crate) whole: f64,
    /// Slots of a closed loop; arrivals per second of an open one, as they came.
    pub(crate) load: f64,
    pub(crate) requests: f64,
    pub(crate) median_e2el_ms: f64,
}

impl Rung {
    /// The load of the whole repeat, up to a factor, if requests take this time: the
    /// requests in flight on average of a closed loop, the requests per second of an
    /// open one, whose last arrival comes to its end, too.
    fn whole_load(&self, is_closed: bool, e2el_ms: f64) -> f64 {
        if is_closed {
            self.requests / (self.requests / self.load).ceil()
        } else {
            self.requests / (self.requests / self.load + e2el_ms / 1e3)
        }
    }

    /// What output throughput and load grew by from a lower rung to this one, as
    /// shares: of the windows, or of the whole repeats where one has none.
    fn growth(&self, low: &Self, is_closed: bool) -> (f64, f64) {
        let grown = |high: f64, low: f64| high / low - 1.0;
        if let Some((its, lows)) = self.output_throughput.zip(low.output_throughput) {
            return (grown(its, lows), grown(self.load, low.load));
        }
        let load = |rung: &Self| rung.whole_load(is_closed, low.median_e2el_ms);
        (grown(self.whole, low.whole), grown(load(self), load(low)))
    }
}

impl Rungs {
    /// Notes a kept repeat.
    pub(crate) fn note(&mut self, case: &str, rung: Rung) {
        self.0.entry(case.to_owned()).or_default().push(rung);
    }

    fn median(&self, case: &str) -> Option<Rung> {
        let rungs = self.0.get(case)?;
        let middle = |read: fn(&Rung) -> f64| {
            crate::statistics::distribution::Distribution::of(rungs.iter().map(read)).median()
        };
        let windowed = rungs.iter().all(|rung| rung.output_throughput.is_some());
        Some(Rung {
            output_throughput: middle(|rung| rung.output_throughput.unwrap_or(f64::NAN))
                .filter(|_| windowed),
            whole: middle(|rung| rung.whole)?,
            load: middle(|rung| rung.load)?,
            requests: middle(|rung| rung.requests)?,
            median_e2el_ms: middle(|rung| rung.median_e2el_ms)?,
        })
    }

    /// Why a case is beyond the end of its ladder: a rung below it gained less
    /// than 5 % output throughput over the one before, or than a quarter of what the
    /// load grew by where that is less, while requests took longer.
    pub(crate) fn beyond(&self, load: &Load, case: LoadCase) -> Option<String> {
        if !load.stop_at_saturation {
            return None;
        }
        let height = |case| match case {
            LoadCase::Concurrency(count) => Some((true, count as f64)),
            LoadCase::Rate(rate) => Some((false, rate)),
            LoadCase::MaxRate => None,
        };
        let (is_closed, own_height) = height(case)?;
        let mut measured: Vec<(f64, String, Rung)> = load
            .named_cases()
            .into_iter()
            .filter_map(|(case, name)| {
                let (its, at) = height(case)?;
                let rung = self.median(&name)?;
                (its == is_closed && at < own_height).then_some((at, name, rung))
            })
            .collect();
        measured.sort_by(|a, b| a.0.total_cmp(&b.0));
        measured.windows(2).find_map(|pair| {
            let ((_, below, low), (_, name, high)) = (&pair[0], &pair[1]);
            let (gain, increase) = high.growth(low, is_closed);
            let slower = high.median_e2el_ms > low.median_e2el_ms;
            // Poisson arrivals may come no faster at a rate that is little higher.
            let no_gain = increase > 0.0 && gain < MIN_GAIN.min(MIN_GAIN_SHARE * increase);
            (no_gain && slower).then(|| {
                format!(
                    "saturated at {name}: output throughput {:+.1}% over {below} with {:+.1}% \
                     of load, while the median E2E grew from {:.0} to {:.0} ms",
                    gain * 100.0,
                    increase * 100.0,
                    low.median_e2el_ms,
                    high.median_e2el_ms
                )
            })
        })
    }
}

/// Steps that a search takes at most.
const MAX_STEPS: u32 = 16;
/// The search ends when the bracket is this narrow.
const NARROW: f64 = 1.05;

/// A search by bisection, on a scale of ratios.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    rate: f64,
    met: Option<f64>,
    fails: Option<f64>,
    steps: u32,
    floor: f64,
}

/// Below a tenth of what one request at a time allows, requests hardly meet: what
/// fails there fails at any rate.
const ALONE: f64 = 0.1;

impl Search {
    /// Begins at the rate of one request at a time.
    pub(crate) fn from(rate: f64) -> Self {
        Self { rate, met: None, fails: None, steps: 0, floor: rate * ALONE }
    }

    /// The rate to try next; `None` when the search is over.
    pub(crate) fn next(&self) -> Option<f64> {
        let narrow =
            matches!((self.met, self.fails), (Some(low), Some(high)) if high / low < NARROW);
        let alone = self.met.is_none() && self.rate < self.floor;
        (!narrow && !alone && self.steps < MAX_STEPS).then_some(self.rate)
    }

    /// The present rate met the SLO, or did not.
    pub(crate) fn tried(&mut self, met: bool) {
        self.steps += 1;
        let side = if met { &mut self.met } else { &mut self.fails };
        *side = Some(self.rate);
        self.rate = match (self.met, self.fails) {
            (Some(low), Some(high)) => (low * high).sqrt(),
            (Some(low), None) => low * 2.0,
            (None, Some(high)) => high / 2.0,
            (None, None) => self.rate,
        };
    }

    /// The highest rate that met it.
    pub(crate) fn met(&self) -> Option<f64> {
        self.met
    }

    /// The lowest rate that did not.
    #[cfg(test)]
    pub(crate) fn fails(&self) -> Option<f64> {
        self.fails
    }
}

/// The rates of a search's warm-up: doubled until one breaks the SLO. Twice, for the
/// first time may be for the cold.
#[derive(Clone, Debug)]
pub(crate) struct Rising {
    rate: f64,
    broken: u32,
    steps: u32,
}

impl Rising {
    /// Begins at the rate of one request at a time.
    pub(crate) fn from(rate: f64) -> Self {
        Self { rate, broken: 0, steps: 0 }
    }

    /// The rate to try next; `None` when the last one was as high as they get.
    pub(crate) fn next(&self) -> Option<f64> {
        (self.broken < 2 && self.steps < MAX_STEPS).then_some(self.rate)
    }

    /// The present rate met the SLO, or did not.
    pub(crate) fn tried(&mut self, met: bool) {
        self.steps += 1;
        if met {
            (self.rate, self.broken) = (self.rate * 2.0, 0);
        } else {
            self.broken += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ladder_ends_where_more_gives_no_more() {
        let load = Load { concurrency: vec![1, 8, 64, 128], ..Load::default() };
        let mut rungs = Rungs::default();
        let beyond = |rungs: &Rungs, count| rungs.beyond(&load, LoadCase::Concurrency(count));
        rungs.note("concurrency=1", rung(1.0, 50.0, 1000.0));
        rungs.note("concurrency=8", rung(8.0, 300.0, 1300.0));
        assert_eq!(beyond(&rungs, 64), None);
        // The median of the repeats counts.
        for (throughput, e2el) in [(290.0, 9000.0), (312.0, 9400.0), (311.0, 9300.0)] {
            rungs.note("concurrency=64", rung(64.0, throughput, e2el));
        }
        let reason = beyond(&rungs, 128).expect("saturated");
        assert!(
            reason.starts_with(
                "saturated at concurrency=64: output throughput +3.7% over concurrency=8 with \
                 +700.0% of load, while the median E2E grew from 1300 to 9300 ms"
            ),
            "{reason}"
        );
        assert_eq!(beyond(&rungs, 64), None, "the saturated rung itself is measured");
        assert_eq!(rungs.beyond(&load, LoadCase::Rate(900.0)), None, "another ladder");
        let on = Load { stop_at_saturation: false, ..load.clone() };
        assert_eq!(rungs.beyond(&on, LoadCase::Concurrency(128)), None);
    }

    /// A repeat of 300 requests with a window.
    fn rung(load: f64, throughput: f64, median_e2el_ms: f64) -> Rung {
        let output_throughput = Some(throughput);
        Rung { output_throughput, whole: 1.0, load, requests: 300.0, median_e2el_ms }
    }

    #[test]
    fn a_ladder_with_rungs_near_each_other_ends_where_the_load_brings_nothing() {
        let load = Load { rate: vec![20.0, 20.8, 22.0, 30.0], ..Load::default() };
        let at_22 = |next: Rung| {
            let mut rungs = Rungs::default();
            rungs.note("rate=20", rung(20.0, 2000.0, 500.0));
            rungs.note("rate=20.8", next);
            rungs.beyond(&load, LoadCase::Rate(22.0))
        };
        assert_eq!(at_22(rung(20.8, 2080.0, 503.0)), None, "all that was asked for was served");
        assert!(at_22(rung(20.8, 2010.0, 540.0)).is_some());
        // What came was no more than before, as chance had it.
        assert_eq!(at_22(rung(19.7, 1970.0, 503.0)), None);
    }

    #[test]
    fn rungs_without_a_window_end_a_ladder_too() {
        let load = Load { rate: vec![16.0, 32.0, 64.0], ..Load::default() };
        // 300 requests of 100 tokens; at 32 a second they come within 9.4 s.
        let at_64 = |e2el_ms: f64, seconds: f64| {
            let mut rungs = Rungs::default();
            let (requests, whole) = (300.0, 30_000.0 / seconds);
            let low = Rung { whole: 30_000.0 / 30.8, ..rung(16.0, 1600.0, 12_000.0) };
            rungs.note("rate=16", low);
            let (output_throughput, median_e2el_ms) = (None, e2el_ms);
            let high = Rung { output_throughput, whole, load: 32.0, requests, median_e2el_ms };
            rungs.note("rate=32", high);
            rungs.beyond(&load, LoadCase::Rate(64.0))
        };
        // Each as long as before: the last one ends 12 s after it came.
        assert_eq!(at_64(12_100.0, 21.4), None);
        let reason = at_64(21_000.0, 30.5).expect("no more is served");
        assert!(reason.starts_with("saturated at rate=32: output throughput +1.0%"), "{reason}");
    }

    #[test]
    fn the_search_closes_in_on_the_limit() {
        for (start, limit) in [(1.0, 37.5), (300.0, 37.5), (0.1, 0.02)] {
            let mut search = Search::from(start);
            while let Some(rate) = search.next() {
                search.tried(rate <= limit);
            }
            let found = search.met().expect("it is met somewhere");
            assert!(found <= limit && found > limit / NARROW, "{found} {limit}");
            assert!(search.fails().is_some_and(|fails| fails > limit && fails < NARROW * found));
        }
        let mut search = Search::from(1.0);
        let mut steps = 0;
        while search.next().is_some() {
            search.tried(false);
            steps += 1;
        }
        assert_eq!(
            (search.met(), steps),
            (None, 4),
            "it does not continue to slower and slower rates"
        );
    }

    #[test]
    fn a_warm_up_rises_until_a_rate_breaks_twice() {
        let rates = |met: &dyn Fn(usize, f64) -> bool| {
            let (mut rising, mut tried) = (Rising::from(1.0), Vec::new());
            while let Some(rate) = rising.next() {
                rising.tried(met(tried.len(), rate));
                tried.push(rate);
            }
            tried
        };
        assert_eq!(rates(&|_, rate| rate < 4.0), [1.0, 2.0, 4.0, 4.0]);
        assert_eq!(rates(&|step, rate| step > 0 && rate < 4.0), [1.0, 1.0, 2.0, 4.0, 4.0]);
        assert_eq!(rates(&|_, _| true).len(), MAX_STEPS as usize);
    }
}
