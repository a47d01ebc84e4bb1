//! Numbers for people: a sensible number of digits, always a decimal point.

use super::estimate::Estimate;
use crate::metric::{Constraint, Goal, MetricRef};
use crate::statistics::Interval;
use crate::strategy::probable;

/// The unit of a metric as it is written after a number; empty for shares and counts.
pub(crate) fn unit(metric: &MetricRef) -> &'static str {
    metric
        .known()
        .map(|known| known.unit)
        .filter(|unit| !matches!(*unit, "1" | "share" | "text"))
        .unwrap_or_default()
}

/// Whether less time of a request or more throughput is sought: `faster` is the word then. Any
/// other rate, and a time that is to be long, is better or worse.
pub(crate) fn is_speed(metric: &MetricRef, goal: Goal) -> bool {
    let unit = metric.known().map_or("", |known| known.unit);
    match goal {
        Goal::Minimize => unit == "ms",
        Goal::Maximize => unit.ends_with("/s") && metric.name.ends_with("throughput"),
    }
}

/// `214 ms [205, 224]`; `~` before an interval that rests on an assumption.
pub(crate) fn estimate(estimate: &Estimate, unit: &str) -> String {
    estimate_of(estimate.mean, estimate.interval, estimate.assumed, unit)
}

/// The same of its parts.
pub(crate) fn estimate_of(
    mean: f64,
    interval: Option<Interval>,
    assumed: bool,
    unit: &str,
) -> String {
    let space = if unit.is_empty() { "" } else { " " };
    let mark = if assumed { "~" } else { "" };
    match interval {
        Some(interval) => {
            let (value, interval) = with_interval(mean, interval);
            format!("{value}{space}{unit} {mark}{interval}")
        }
        None => format!("{}{space}{unit}", alone(mean)),
    }
}

/// `at most 4000 ms`, `0.5 to 0.9`.
pub(crate) fn bound(bound: &Constraint) -> String {
    let unit = unit(&bound.metric);
    let text = match (bound.min.map(given), bound.max.map(given)) {
        (Some(min), Some(max)) => format!("{min} to {max}"),
        (Some(min), None) => format!("at least {min}"),
        (None, Some(max)) => format!("at most {max}"),
        (None, None) => return "anything".to_owned(),
    };
    if unit.is_empty() { text } else { format!("{text} {unit}") }
}

/// `0.83 [0.79, 0.88]`.
pub(crate) fn ratio(value: f64, interval: Interval) -> String {
    let (value, interval) = with_interval(value, interval);
    format!("{value} {interval}")
}

/// A fraction as a percentage, with a decimal below 10 where there is one: `5%`, `0.5%`.
pub(crate) fn whole_percent(fraction: f64) -> String {
    let percent = fraction * 100.0;
    let tenths = (percent * 10.0).round() / 10.0;
    if percent < 10.0 && tenths.fract() != 0.0 {
        format!("{tenths:.1}%")
    } else {
        format!("{percent:.0}%")
    }
}

/// A probability with two digits, and never as certain: `0.97`, `above 0.99`.
pub(crate) fn probability(p: f64) -> String {
    probable(p)
}

/// From this ratio on a factor says more than per cent.
pub(crate) const FACTOR: f64 = 2.5;

/// A ratio with its interval, in the one form that all outputs have: `x6.3 [x5.1, x7.9]` where a
/// factor says more than per cent.
pub(crate) fn factor(ratio: f64, interval: Interval) -> Option<String> {
    let write = |it: f64, decimals: usize| {
        if is_huge(it) { format!("x{it:.2e}") } else { format!("x{it:.0$}", decimals + 1) }
    };
    (ratio >= FACTOR).then(|| distinct(ratio, interval, &write))
}

/// With as many decimals, up to two, as the ends of the interval differ in.
pub(crate) fn distinct(
    ratio: f64,
    interval: Interval,
    write: &dyn Fn(f64, usize) -> String,
) -> String {
    let apart =
        |decimals: &usize| write(interval.low, *decimals) != write(interval.high, *decimals);
    let decimals = (0..3).find(apart).unwrap_or(0);
    let [value, low, high] = [ratio, interval.low, interval.high].map(|it| write(it, decimals));
    format!("{value} [{low}, {high}]")
}

/// A ratio as a change: `+41% [+36%, +46%]`; with a decimal where the interval would vanish,
/// and where the change is below 1 %.
pub(crate) fn percent(ratio: f64, interval: Interval) -> String {
    if let Some(factor) = factor(ratio, interval) {
        return factor;
    }
    let change = |ratio: f64| (ratio - 1.0) * 100.0;
    let narrow = change(interval.high) - change(interval.low) < 3.0;
    let small = (0.05..1.0).contains(&change(ratio).abs());
    let decimals = usize::from(narrow || small);
    let text = |ratio: f64| match format!("{:+.decimals$}%", change(ratio)) {
        _ if is_huge(change(ratio)) => format!("{:+.2e}%", change(ratio)),
        // A minus would say that something was lost.
        text if text.chars().all(|it| !it.is_ascii_digit() || it == '0') => text.replace('-', "+"),
        text => text,
    };
    format!("{} [{}, {}]", text(ratio), text(interval.low), text(interval.high))
}

/// `+12 [-3, 27]`.
pub(crate) fn difference(value: f64, interval: Interval) -> String {
    let sign = if value > 0.0 { "+" } else { "" };
    format!("{sign}{}", ratio(value, interval))
}

/// Three significant digits, whole where that is more.
fn alone(value: f64) -> String {
    fixed(value, decimals(value))
}

/// Three significant digits of the value, and up to two more where the interval
/// would vanish otherwise; the ends have as many decimals as the value.
fn with_interval(value: f64, interval: Interval) -> (String, String) {
    let enough = |decimals: &usize| {
        format!("{:.decimals$}", interval.low) != format!("{:.decimals$}", interval.high)
    };
    // For 0 the interval's own size decides.
    let fewest = decimals(if value == 0.0 { interval.high } else { value });
    let decimals = (fewest..=fewest + 2).find(enough).unwrap_or(fewest);
    let text = |number| fixed(number, decimals);
    (text(value), format!("[{}, {}]", text(interval.low), text(interval.high)))
}

/// Zero is written as `0`, however many decimals its neighbours have.
fn fixed(number: f64, decimals: usize) -> String {
    match number {
        0.0 => "0".to_owned(),
        _ if is_huge(number) => format!("{number:.2e}"),
        _ => format!("{number:.decimals$}"),
    }
}

/// From here on digits say nothing; `1.00e300` is written in place of 300 of them.
pub(crate) fn is_huge(number: f64) -> bool {
    number.is_finite() && number.abs() >= 1e15
}

/// A number as it was given.
pub(crate) fn given(number: f64) -> String {
    if is_huge(number) { format!("{number:e}") } else { number.to_string() }
}

/// Decimals that make three significant digits; none where that is more.
pub(crate) fn decimals(value: f64) -> usize {
    if value == 0.0 || !value.is_finite() {
        return 0;
    }
    let magnitude = value.abs().log10().floor();
    (2.0 - magnitude).clamp(0.0, 9.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: f64, low: f64, high: f64) -> String {
        ratio(value, Interval { low, high })
    }

    #[test]
    fn digits_are_as_many_as_the_figure_carries() {
        assert_eq!(shown(214.28, 204.9, 224.1), "214 [205, 224]");
        assert_eq!(shown(2141.7, 2050.2, 2240.8), "2142 [2050, 2241]");
        assert_eq!(shown(0.8312, 0.79, 0.88), "0.831 [0.790, 0.880]");
        assert_eq!(shown(0.000_213_4, 0.000_2, 0.000_22), "0.000213 [0.000200, 0.000220]");
        // An interval narrower than the digits is still seen.
        assert_eq!(shown(214.28, 214.21, 214.34), "214.3 [214.2, 214.3]");
        assert_eq!(shown(214.0, 214.0, 214.0), "214 [214, 214]");
        assert_eq!(shown(0.0, 0.0, 0.3689), "0 [0, 0.369]");
        assert_eq!(shown(1e300, 9e299, 1.1e300), "1.00e300 [9.00e299, 1.10e300]");
        assert_eq!(shown(1e14, 9e13, 1e14), "100000000000000 [90000000000000, 100000000000000]");
        assert_eq!(difference(12.0, Interval { low: -3.0, high: 27.04 }), "+12.0 [-3.0, 27.0]");
    }

    #[test]
    fn changes_and_percentages_have_the_digits_that_they_carry() {
        let change = |value, low, high| percent(value, Interval { low, high });
        assert_eq!(change(1.412, 1.361, 1.464), "+41% [+36%, +46%]");
        assert_eq!(change(0.998, 0.951, 1.047), "-0.2% [-4.9%, +4.7%]");
        assert_eq!(change(1.0001, 0.951, 1.047), "+0% [-5%, +5%]");
        assert_eq!(change(1.041, 1.032, 1.05), "+4.1% [+3.2%, +5.0%]");
        assert_eq!(change(1e300, 1e299, 1e301), "x1.00e300 [x1.00e299, x1.00e301]");
        let metric = "kv_cache.ttft_resent_ms".parse().unwrap();
        let most = |max| bound(&Constraint { metric, min: None, max: Some(max) });
        assert_eq!(most(1e300), "at most 1e300 ms");
        let all = [0.05, 0.005, 0.061, 0.12].map(whole_percent);
        assert_eq!(all, ["5%", "0.5%", "6.1%", "12%"]);
    }

    #[test]
    fn the_unit_follows_the_number() {
        let metric: MetricRef = "kv_cache.ttft_resent_ms".parse().unwrap();
        assert_eq!(unit(&metric), "ms");
        let share: MetricRef = "kv_cache.hit_tokens_share".parse().unwrap();
        assert_eq!(unit(&share), "");
        let interval = Interval { low: 205.0, high: 224.0 };
        let figure = Estimate {
            mean: 214.0,
            geomean: Some(214.0),
            interval: Some(interval),
            launches: 1,
            repeats: 5,
            assumed: true,
        };
        assert_eq!(estimate(&figure, "ms"), "214 ms ~[205, 224]");
    }

    #[test]
    fn no_probability_is_certain() {
        let all = [0.0, 0.0049, 0.005, 0.97, 0.994, 0.996, 1.0].map(probability);
        let expected =
            ["below 0.01", "below 0.01", "0.01", "0.97", "0.99", "above 0.99", "above 0.99"];
        assert_eq!(all, expected);
    }
}
