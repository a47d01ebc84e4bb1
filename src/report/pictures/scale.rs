//! Scales: from values to units of a drawing, and the values at which an axis has ticks.
//! Linear, logarithmic or of time. Values to places are mapped here in floating point;
//! the ticks are those of plotters' coordinates. How an axis looks is in `axis`.

use jiff::Timestamp;
use plotters::coord::ranged1d::Ranged;
use plotters::coord::types::RangedCoordf64;

use crate::statistics::Interval;

/// A value that is larger than this is not drawn: nothing measured is.
const LARGEST: f64 = 1e100;

/// From this ratio on positions are logarithmic.
const DECADE: f64 = 10.0;

/// Part of the range that is added at both ends, so that no mark stands on the edge.
const MARGIN: f64 = 0.04;

/// How values become places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Linear,
    Logarithmic,
}

/// Values on one axis of a drawing.
#[derive(Clone, Debug)]
pub struct Scale {
    kind: Kind,
    /// The least and the greatest value of the axis.
    values: (f64, f64),
    /// Where they stand, in units; the first may be the greater.
    places: (f64, f64),
}

impl Scale {
    /// For positions (dots, lines): logarithmic where all values are positive and span more
    /// than a decade. Zero is not included. Values that are not finite are left out;
    /// without any the axis is from 0 to 1.
    pub fn positions(values: impl IntoIterator<Item = f64>, places: (f64, f64)) -> Self {
        let (low, high) = extent(values);
        if low > 0.0 && high / low > DECADE {
            return Self::new(Kind::Logarithmic, (low, high), places);
        }
        Self::new(Kind::Linear, (low, high), places)
    }

    /// The same, never logarithmic: for ratios and shares.
    pub fn linear(values: impl IntoIterator<Item = f64>, places: (f64, f64)) -> Self {
        Self::new(Kind::Linear, extent(values), places)
    }

    /// For positions of what is spread by factors (times of requests): always logarithmic.
    /// Values that are not positive stand at the lower end; without positive ones it is linear.
    pub fn logarithmic(values: impl IntoIterator<Item = f64>, places: (f64, f64)) -> Self {
        let (low, high) = extent(values.into_iter().filter(|it| *it > 0.0));
        let kind = if low > 0.0 { Kind::Logarithmic } else { Kind::Linear };
        Self::new(kind, (low, high), places)
    }

    /// For lengths (bars, areas): linear, from zero.
    pub fn lengths(values: impl IntoIterator<Item = f64>, places: (f64, f64)) -> Self {
        let (low, high) = extent(values.into_iter().chain([0.0]));
        let (low, high) = if high - low < 1e-12 { (0.0, 1.0) } else { (low, high) };
        // Only the end that is not zero gets room.
        let room = (high - low) * MARGIN;
        let low = if low < 0.0 { low - room } else { 0.0 };
        let high = if high > 0.0 { high + room } else { 0.0 };
        Self { kind: Kind::Linear, values: (low, high), places }
    }

    /// Exactly from one value to another, without room at the ends.
    pub fn exact(low: f64, high: f64, places: (f64, f64)) -> Self {
        let (low, high) = widened(extent([low, high]));
        Self { kind: Kind::Linear, values: (low, high), places }
    }

    fn new(kind: Kind, extent: (f64, f64), places: (f64, f64)) -> Self {
        let (low, high) = widened(extent);
        // A ratio that no number can hold has no logarithmic axis.
        let kind = if (high / low).is_finite() { kind } else { Kind::Linear };
        let values = match kind {
            Kind::Linear => {
                let room = (high - low) * MARGIN;
                (low - room, high + room)
            }
            Kind::Logarithmic => {
                let room = (high / low).powf(MARGIN);
                (low / room, high * room)
            }
        };
        Self { kind, values, places }
    }

    /// Whether the axis is to say that it is logarithmic.
    pub fn is_logarithmic(&self) -> bool {
        self.kind == Kind::Logarithmic
    }

    /// Where a value stands, in units. What is beyond the axis stands at its end.
    pub fn at(&self, value: f64) -> f64 {
        let (low, high) = self.values;
        let share = match self.kind {
            _ if value.is_nan() => 0.0,
            Kind::Linear => (value - low) / (high - low),
            Kind::Logarithmic if value <= 0.0 => 0.0,
            Kind::Logarithmic => (value / low).ln() / (high / low).ln(),
        };
        let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
        self.places.0 + share * (self.places.1 - self.places.0)
    }

    /// Whether a value is on the axis.
    pub fn contains(&self, value: f64) -> bool {
        self.values.0 <= value && value <= self.values.1
    }

    /// At most about `most` values for ticks, rising.
    pub fn ticks(&self, most: usize) -> Vec<f64> {
        let (low, high) = self.values;
        if self.kind == Kind::Logarithmic {
            let ticks = decades(low, high, most);
            if ticks.len() > 1 {
                return ticks;
            }
        }
        // Around 1, so that neither the smallest nor the largest ranges lose their digits.
        let power = (high - low).log10().floor() as i32;
        let unit = 10_f64.powi(power);
        // Where numbers have no digits left for steps, plotters would look for them for ever.
        if !unit.is_normal() || low.abs().max(high.abs()) / unit > 1e9 {
            return Vec::new();
        }
        let coordinate = RangedCoordf64::from(low / unit..high / unit);
        let ticks = coordinate.key_points(most.max(2)).into_iter();
        // Multiplied or divided by a whole power: 0.3 rather than 0.30000000000000004.
        let scaled = |it: f64| {
            let it = (it * 1e6).round() / 1e6;
            if power < 0 { it / 10_f64.powi(-power) } else { it * unit }
        };
        ticks.map(scaled).filter(|it| self.contains(*it)).collect()
    }

    /// The same as text, each with as many decimals as the step between them needs.
    pub fn labelled_ticks(&self, most: usize) -> Vec<(f64, String)> {
        let ticks = self.ticks(most);
        let step = ticks.windows(2).map(|it| it[1] - it[0]).fold(f64::INFINITY, f64::min);
        let text = |value: f64| {
            let step = if self.is_logarithmic() || !step.is_finite() { value.abs() } else { step };
            short(value, step)
        };
        ticks.into_iter().map(|value| (value, text(value))).collect()
    }
}

/// Smallest and greatest of the values that can be drawn.
fn extent(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let drawn = values.into_iter().filter(|it| it.abs() < LARGEST);
    let (low, high) = drawn
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), it| (low.min(it), high.max(it)));
    if low > high { (0.0, 1.0) } else { (low, high) }
}

/// Equal values, and those that differ in their last digits only, get an axis too.
fn widened((low, high): (f64, f64)) -> (f64, f64) {
    let size = low.abs().max(high.abs());
    if size < 1e-12 {
        return if high > low { (low, low + 1e-12) } else { (0.0, 1.0) };
    }
    if high - low > size * 1e-6 {
        return (low, high);
    }
    (low - size * 0.05, high + size * 0.05)
}

/// Powers of ten, and 2 and 5 times these where there is room. Not those of plotters: its
/// logarithmic coordinate leaves out what is below the first power in the range.
fn decades(low: f64, high: f64, most: usize) -> Vec<f64> {
    let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let of = |factors: &[f64]| -> Vec<f64> {
        let ticks = powers.clone().flat_map(|power| {
            // Divided by a whole power below one: 0.2 rather than 0.2000000001.
            let scaled = move |factor: &f64| {
                if power < 0 { factor / 10_f64.powi(-power) } else { factor * 10_f64.powi(power) }
            };
            factors.iter().map(scaled).collect::<Vec<_>>()
        });
        ticks.filter(|it| low <= *it && *it <= high).collect()
    };
    let most = most.max(2);
    let ticks = of(&[1.0, 2.0, 5.0]);
    if ticks.len() <= most {
        return ticks;
    }
    // Over many decades a part of the powers.
    let powers = of(&[1.0]);
    let step = powers.len().div_ceil(most).max(1);
    powers.into_iter().step_by(step).collect()
}

/// The places that a mark with an interval takes.
pub fn ends(value: f64, interval: Option<Interval>) -> impl Iterator<Item = f64> {
    [Some(value), interval.map(|it| it.low), interval.map(|it| it.high)].into_iter().flatten()
}

/// `0.25`, `1500`, `20k`, `1.5M`: a tick's value where ticks are `step` apart.
pub fn short(value: f64, step: f64) -> String {
    let size = value.abs();
    let (divisor, suffix) = match size {
        _ if size >= 1e15 => return format!("{value:.0e}"),
        _ if size >= 1e9 => (1e9, "G"),
        _ if size >= 1e6 => (1e6, "M"),
        _ if size >= 1e4 => (1e3, "k"),
        _ if size > 0.0 && size < 1e-4 => return format!("{value:.0e}"),
        _ => (1.0, ""),
    };
    let step = (step / divisor).abs();
    let decimals = if step > 0.0 && step.is_finite() {
        // 0.25 needs one more than its size says; 0.3 does not.
        let least = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
        let exact = |decimals: &usize| {
            let rounded = (value / divisor * 10_f64.powf(*decimals as f64)).round();
            (rounded / 10_f64.powf(*decimals as f64) - value / divisor).abs() < step * 1e-3
        };
        (least..=least + 2).find(exact).unwrap_or(least)
    } else {
        0
    };
    let text = format!("{:.decimals$}", value / divisor);
    let text =
        if text.chars().all(|it| matches!(it, '-' | '0' | '.')) { "0".to_owned() } else { text };
    text + suffix
}

/// Points in time on one axis.
#[derive(Clone, Debug)]
pub struct TimeScale {
    start: Timestamp,
    scale: Scale,
}

/// Steps between ticks in seconds, up to a day.
const STEPS: [i64; 17] =
    [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200];

const DAY: i64 = 86_400;

impl TimeScale {
    /// From the first to the last of some points in time, which stand at the ends of
    /// `places`; `None` without any.
    pub fn new(times: impl IntoIterator<Item = Timestamp>, places: (f64, f64)) -> Option<Self> {
        let mut times = times.into_iter();
        let first = times.next()?;
        let (start, end) =
            times.fold((first, first), |(start, end), it| (start.min(it), end.max(it)));
        let seconds = end.duration_since(start).as_secs_f64().max(1.0);
        Some(Self { start, scale: Scale::exact(0.0, seconds, places) })
    }

    /// Where a time stands, in units. What is beyond the axis stands at its end.
    pub fn at(&self, time: Timestamp) -> f64 {
        self.scale.at(time.duration_since(self.start).as_secs_f64())
    }

    /// When it begins.
    pub fn start(&self) -> Timestamp {
        self.start
    }

    /// Seconds from its start to its end.
    pub fn seconds(&self) -> f64 {
        self.scale.values.1
    }

    /// At most about `most` whole times of the clock (UTC) with their texts: `03:30`, with
    /// seconds where ticks are less than a minute apart; a day's first one is its date.
    pub fn ticks(&self, most: usize) -> Vec<(Timestamp, String)> {
        let seconds = self.seconds();
        let fits = |step: &i64| seconds / *step as f64 <= most.max(2) as f64;
        let days = (1..).map(|days| days * DAY);
        let step = STEPS.into_iter().chain(days).find(fits).unwrap_or(DAY);
        let from = self.start.as_second();
        let first = from + (-from).rem_euclid(step);
        let end = from + seconds.ceil() as i64;
        let mut ticks = Vec::new();
        for second in (first..=end).step_by(step as usize) {
            let Ok(time) = Timestamp::from_second(second) else { continue };
            if time < self.start || second > end {
                continue;
            }
            ticks.push((time, clock(time, step)));
        }
        ticks
    }
}

fn clock(time: Timestamp, step: i64) -> String {
    let form = match time.as_second().rem_euclid(DAY) {
        0 => "%-d %b",
        _ if step < 60 => "%H:%M:%S",
        _ => "%H:%M",
    };
    time.strftime(form).to_string()
}

#[cfg(test)]
#[path = "scale_tests.rs"]
mod tests;
