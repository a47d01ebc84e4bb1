//! The confirmation that a sweep goes on with, in a plan: how many launches it is expected to
//! take, how long, what of the budget is kept for it, and how precisely it shows the gain. The
//! rule by which it ends is decided in `strategy`; what a launch takes, by the estimate or by
//! earlier runs.

use serde::Serialize;

use super::super::confirm::SHARES;
use super::super::estimate::{begun, mean_gpus};
use super::super::{Budget, Confirm, Grid, Limits};
use super::strategies::AT_REST;
use super::{Begun, Differences, Range};
use crate::statistics::SIGNIFICANCE;
use crate::strategy::confirm::{
    Expected, FIRST_LOOK, LEAST_PAIRS, MAX_PAIRS, difference_to_show, expected, half_width,
};

/// The confirmation of the leading configuration against the baseline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedConfirmation {
    /// What was asked for.
    #[serde(flatten)]
    pub asked: Confirm,
    /// What is kept of the budget, where there is one; what the strategy leaves comes to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserve: Option<Limits>,
    /// Kept repeats of each launch.
    pub repeats: u64,
    /// Launches of both together that reach the claim: where values differ as is assumed, and
    /// where their variance is twice that.
    pub launches: Range<u64>,
    /// Hours of them.
    pub hours: Range<f64>,
    /// Whether the hours come from earlier runs; else they are assumed.
    pub measured: bool,
    /// Half of the gain's 95 % interval to come to with the fewer launches, as a fraction: that
    /// of the claim, or what the fewest launches or the most of a confirmation come to.
    pub half_width: f64,
    /// The smallest true difference that these show, as a fraction, with the probability that
    /// the strategies' differences have.
    pub can_show: Option<f64>,
    /// Launches that the reserve alone allows to begin, of the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begun_within_reserve: Option<Begun>,
    /// Half of the interval after the fewest of them; `None` where these show nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_width_within_reserve: Option<f64>,
    /// What would do, where these show nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_show: Option<ToShow>,
    /// The budget of strategy and confirmation together.
    #[serde(skip)]
    whole: Limits,
    /// Seconds of one launch, at the least and at the most.
    #[serde(skip)]
    each: (f64, f64),
    /// GPUs of a launch, on average over the configurations.
    #[serde(skip)]
    mean_gpus: f64,
}

/// What a confirmation needs to show a gain at all.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ToShow {
    /// Launches of both together.
    pub launches: u32,
    /// The share of this budget that is enough for them; `None` where none is that may be kept.
    pub share: Option<f64>,
    /// The budget that is enough with this share.
    pub budget: Limits,
}

impl PlannedConfirmation {
    /// That of a grid; `None` where it asks for none, or has nothing to compare.
    pub(super) fn of(grid: &Grid, differences: &Differences, each: (f64, f64)) -> Option<Self> {
        let asked = grid.confirm?;
        if grid.nothing_to_confirm().is_some() {
            return None;
        }
        let limits = grid.limits();
        let mut planned = Self {
            asked,
            reserve: (!limits.is_empty()).then(|| limits.reserve(asked)),
            repeats: differences.repeats,
            launches: Range { low: 0, high: 0 },
            hours: Range { low: 0.0, high: 0.0 },
            measured: false,
            half_width: asked.claim / 2.0,
            can_show: None,
            begun_within_reserve: None,
            half_width_within_reserve: None,
            to_show: None,
            whole: limits,
            each,
            mean_gpus: mean_gpus(&grid.configurations),
        };
        planned.differ_by(differences);
        Some(planned)
    }

    /// The same by what a launch took in earlier runs, in seconds.
    pub(super) fn took(&mut self, each: f64, differences: &Differences) {
        (self.each, self.measured) = ((each, each), true);
        self.differ_by(differences);
    }

    /// The same with what values differ by.
    pub(super) fn differ_by(&mut self, differences: &Differences) {
        let (cost, noise) = (AT_REST, differences.noise());
        let repeats = u32::try_from(self.repeats).unwrap_or(u32::MAX);
        let Expected { pairs, pairs_high, reachable, .. } =
            expected(cost, noise, repeats, self.asked.claim);
        let launches = |pairs: u32| 2 * u64::from(pairs.min(MAX_PAIRS));
        self.launches = Range { low: launches(pairs), high: launches(pairs_high) };
        let asked = self.asked.claim / 2.0;
        let comes_to = || half_width(cost, noise, repeats, pairs).exp_m1();
        self.half_width = match reachable {
            Some(reached) => reached,
            // Before that it is not looked at.
            None if pairs == FIRST_LOOK => comes_to().min(asked),
            None => asked,
        };
        let freedom = 2.0 * f64::from(pairs) - 2.0;
        let asked = (SIGNIFICANCE, differences.power);
        let shown = difference_to_show(cost, noise, repeats, (pairs, freedom), asked);
        self.can_show = shown.map(f64::exp_m1);
        let (fast, slow) = self.each;
        let Range { low, high } = self.launches;
        self.hours = Range { low: low as f64 * fast / 3600.0, high: high as f64 * slow / 3600.0 };
        self.begun_within_reserve = self.reserve.and_then(|it| self.begun(it));
        let pairs = self.begun_within_reserve.map(|it| u32::try_from(it.least / 2));
        let pairs = pairs.and_then(Result::ok).filter(|pairs| *pairs >= LEAST_PAIRS);
        let shows_nothing = self.begun_within_reserve.is_some() && pairs.is_none();
        self.to_show = shows_nothing.then(|| self.to_show());
        self.half_width_within_reserve =
            pairs.map(|pairs| half_width(cost, noise, repeats, pairs).exp_m1());
    }

    /// Hours with those of the strategy, at the least and at the most: as many as the budget of
    /// both allows.
    pub(super) fn with(&self, (low, high): (f64, f64)) -> Range<f64> {
        let (fast, slow) = self.each;
        let within = |hours: f64, each: f64| {
            let besides = self.whole.besides;
            let time = self.whole.seconds.map(|it| it as f64 / 3600.0);
            let gpus = besides.gpu_hours.map(|it| it / self.mean_gpus);
            let count = besides.launches.map(|it| f64::from(it) * each / 3600.0);
            [time, gpus, count].into_iter().flatten().fold(hours, f64::min)
        };
        Range {
            low: within(low + self.hours.low, fast),
            high: within(high + self.hours.high, slow),
        }
    }

    /// So many launches of the strategy with those of a confirmation, where one follows.
    pub(super) fn after(confirm: Option<&Self>, (least, most): (u64, u64)) -> (u64, u64) {
        let own = confirm.map_or(Range { low: 0, high: 0 }, |it| it.launches);
        (least + own.low, most + own.high)
    }

    /// What the fewest launches take that show a gain, of those that are as slow as can be.
    fn to_show(&self) -> ToShow {
        let launches = 2 * LEAST_PAIRS;
        let seconds = f64::from(launches) * self.each.1;
        let hours = seconds / 3600.0 * self.mean_gpus;
        let Limits { seconds: whole, besides } = self.whole;
        let parts = [
            besides.launches.map(|it| f64::from(launches) / f64::from(it)),
            whole.map(|it| seconds / it as f64),
            besides.gpu_hours.map(|it| hours / it),
        ];
        let share = parts.into_iter().flatten().fold(0.0, f64::max);
        // Whole per cent, and no more than a grid may keep.
        let share = Some((share * 100.0 - 1e-9).ceil() / 100.0).filter(|it| *it <= SHARES.1);
        let of = self.asked.share;
        let budget = Limits {
            seconds: whole.map(|it| ((seconds / of).ceil() as u64).max(it)),
            besides: Budget {
                // What is kept is rounded up.
                launches: besides.launches.map(|it| {
                    let fewer = (f64::from(launches - 1) / of + 1e-9).floor();
                    (fewer as u32 + 1).max(it)
                }),
                gpu_hours: besides
                    .gpu_hours
                    .map(|it| ((hours / of * 100.0).ceil() / 100.0).max(it)),
            },
        };
        ToShow { launches, share, budget }
    }

    /// Launches of the most that are begun within so much.
    fn begun(&self, within: Limits) -> Option<Begun> {
        let (most, (fast, slow)) = (self.launches.high, self.each);
        let gpus = within.besides.gpu_hours.map(|hours| hours * 3600.0 / self.mean_gpus);
        let time = within.seconds.map(|it| it as f64).into_iter().chain(gpus).reduce(f64::min);
        let count = within.besides.launches.map(|it| u64::from(it).min(most));
        let side = |each: f64| {
            let time = time.map(|it| begun(it, (each * most as f64).max(1e-9), most));
            time.into_iter().chain(count).min()
        };
        side(slow).zip(side(fast)).map(|(least, most)| Begun { least, most })
    }
}
