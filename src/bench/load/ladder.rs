//! When a ladder of loads is at its end, and the search for the highest rate
//! that holds an SLO. Pure.

use std::collections::BTreeMap;

use crate::workload::{Load, LoadCase};

/// Gain in output throughput below which a rung is saturated.
const LEAST_GAIN: f64 = 0.05;

/// What kept repeats gave, by case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rungs(BTreeMap<String, Vec<Rung>>);

#[derive(Clone, Copy, Debug)]
struct Rung {
    output_throughput: f64,
    median_e2el_ms: f64,
}

impl Rungs {
    /// Notes a kept repeat.
    pub(crate) fn note(&mut self, case: &str, output_throughput: f64, median_e2el_ms: f64) {
        let rungs = self.0.entry(case.to_owned()).or_default();
        rungs.push(Rung { output_throughput, median_e2el_ms });
    }

    fn median(&self, case: &str) -> Option<Rung> {
        let rungs = self.0.get(case)?;
        let middle = |read: fn(&Rung) -> f64| {
            super::distribution::Distribution::of(rungs.iter().map(read)).median()
        };
        Some(Rung {
            output_throughput: middle(|rung| rung.output_throughput)?,
            median_e2el_ms: middle(|rung| rung.median_e2el_ms)?,
        })
    }

    /// Why a case is beyond the end of its ladder: a rung below it gained less
    /// than 5 % output throughput over the one before, while requests took longer.
    pub(crate) fn beyond(&self, load: &Load, case: LoadCase) -> Option<String> {
        if !load.stop_at_saturation {
            return None;
        }
        let height = |case| match case {
            LoadCase::Concurrency(count) => Some((true, count as f64)),
            LoadCase::Rate(rate) => Some((false, rate)),
            LoadCase::MaxRate => None,
        };
        let (ladder, wanted) = height(case)?;
        let mut measured: Vec<(f64, String, Rung)> = load
            .named_cases()
            .into_iter()
            .filter_map(|(case, name)| {
                let (its, at) = height(case)?;
                let rung = self.median(&name)?;
                (its == ladder && at < wanted).then_some((at, name, rung))
            })
            .collect();
        measured.sort_by(|a, b| a.0.total_cmp(&b.0));
        measured.windows(2).find_map(|pair| {
            let ((_, below, low), (_, name, high)) = (&pair[0], &pair[1]);
            let gain = high.output_throughput / low.output_throughput - 1.0;
            let slower = high.median_e2el_ms > low.median_e2el_ms;
            (gain < LEAST_GAIN && slower).then(|| {
                format!(
                    "saturated at {name}: output throughput {:+.1} % over {below}, while the \
                     median E2E grew from {:.0} to {:.0} ms",
                    gain * 100.0,
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
    holds: Option<f64>,
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
        Self { rate, holds: None, fails: None, steps: 0, floor: rate * ALONE }
    }

    /// The rate to try next; `None` when the search is over.
    pub(crate) fn next(&self) -> Option<f64> {
        let narrow =
            matches!((self.holds, self.fails), (Some(low), Some(high)) if high / low < NARROW);
        let alone = self.holds.is_none() && self.rate < self.floor;
        (!narrow && !alone && self.steps < MAX_STEPS).then_some(self.rate)
    }

    /// The present rate held the SLO, or did not.
    pub(crate) fn tried(&mut self, held: bool) {
        self.steps += 1;
        let side = if held { &mut self.holds } else { &mut self.fails };
        *side = Some(self.rate);
        self.rate = match (self.holds, self.fails) {
            (Some(low), Some(high)) => (low * high).sqrt(),
            (Some(low), None) => low * 2.0,
            (None, Some(high)) => high / 2.0,
            (None, None) => self.rate,
        };
    }

    /// The highest rate that held, and whether a higher one is known to fail.
    pub(crate) fn found(&self) -> Option<(f64, bool)> {
        Some((self.holds?, self.fails.is_some()))
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

    /// The present rate held the SLO, or did not.
    pub(crate) fn tried(&mut self, held: bool) {
        self.steps += 1;
        if held {
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
        rungs.note("concurrency=1", 50.0, 1000.0);
        rungs.note("concurrency=8", 300.0, 1300.0);
        assert_eq!(beyond(&rungs, 64), None);
        // The median of the repeats counts.
        for (throughput, e2el) in [(290.0, 9000.0), (312.0, 9400.0), (311.0, 9300.0)] {
            rungs.note("concurrency=64", throughput, e2el);
        }
        let reason = beyond(&rungs, 128).expect("saturated");
        assert!(
            reason.starts_with(
                "saturated at concurrency=64: output throughput +3.7 % over concurrency=8"
            ),
            "{reason}"
        );
        assert_eq!(beyond(&rungs, 64), None, "the saturated rung itself is measured");
        assert_eq!(rungs.beyond(&load, LoadCase::Rate(900.0)), None, "another ladder");
        let on = Load { stop_at_saturation: false, ..load.clone() };
        assert_eq!(rungs.beyond(&on, LoadCase::Concurrency(128)), None);
    }

    #[test]
    fn the_search_closes_in_on_the_limit() {
        for (start, limit) in [(1.0, 37.5), (300.0, 37.5), (0.1, 0.02)] {
            let mut search = Search::from(start);
            while let Some(rate) = search.next() {
                search.tried(rate <= limit);
            }
            let (found, bounded) = search.found().expect("it holds somewhere");
            assert!(bounded && found <= limit && found > limit / NARROW, "{found} {limit}");
        }
        let mut search = Search::from(1.0);
        let mut steps = 0;
        while search.next().is_some() {
            search.tried(false);
            steps += 1;
        }
        assert_eq!(
            (search.found(), steps),
            (None, 4),
            "it does not go on to slower and slower rates"
        );
    }

    #[test]
    fn a_warm_up_rises_until_a_rate_breaks_twice() {
        let rates = |held: &dyn Fn(usize, f64) -> bool| {
            let (mut rising, mut tried) = (Rising::from(1.0), Vec::new());
            while let Some(rate) = rising.next() {
                rising.tried(held(tried.len(), rate));
                tried.push(rate);
            }
            tried
        };
        assert_eq!(rates(&|_, rate| rate < 4.0), [1.0, 2.0, 4.0, 4.0]);
        assert_eq!(rates(&|step, rate| step > 0 && rate < 4.0), [1.0, 1.0, 2.0, 4.0, 4.0]);
        assert_eq!(rates(&|_, _| true).len(), MAX_STEPS as usize);
    }
}
