//! Numbers for people: a sensible number of digits, always a decimal point.

use crate::metric::{MetricRef, catalogue};
use crate::results::ranking::Estimate;
use crate::statistics::Interval;

/// The unit of a metric as it stands behind a number; empty for shares and counts.
pub(super) fn unit(metric: &MetricRef) -> &'static str {
    catalogue()
        .into_iter()
        .find(|known| known.workload == metric.workload && known.name == metric.name)
        .map(|known| known.unit)
        .filter(|unit| !matches!(*unit, "1" | "share" | "text"))
        .unwrap_or_default()
}

/// `214 ms [205, 224]`; `~` before an interval that rests on an assumption.
pub(super) fn estimate(estimate: &Estimate, unit: &str) -> String {
    let space = if unit.is_empty() { "" } else { " " };
    let mark = if estimate.assumed { "~" } else { "" };
    let (value, interval) = with_interval(estimate.geomean, estimate.interval);
    format!("{value}{space}{unit} {mark}{interval}")
}

/// `0.83 [0.79, 0.88]`.
pub(super) fn ratio(value: f64, interval: Interval) -> String {
    let (value, interval) = with_interval(value, interval);
    format!("{value} {interval}")
}

/// Three significant digits of the value, and up to two more where the interval
/// would vanish otherwise; the ends have as many decimals as the value.
fn with_interval(value: f64, interval: Interval) -> (String, String) {
    let enough = |decimals: &usize| {
        format!("{:.decimals$}", interval.low) != format!("{:.decimals$}", interval.high)
    };
    let least = decimals(value);
    let decimals = (least..=least + 2).find(enough).unwrap_or(least);
    (
        format!("{value:.decimals$}"),
        format!("[{:.decimals$}, {:.decimals$}]", interval.low, interval.high),
    )
}

/// Decimals that make three significant digits; none where that is more.
pub(super) fn decimals(value: f64) -> usize {
    if value == 0.0 || !value.is_finite() {
        return 0;
    }
    let magnitude = value.abs().log10().floor();
    (2.0 - magnitude).clamp(0.0, 9.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(value: f64, low: f64, high: f64) -> String {
        ratio(value, Interval { low, high })
    }

    #[test]
    fn digits_are_as_many_as_the_figure_carries() {
        assert_eq!(told(214.28, 204.9, 224.1), "214 [205, 224]");
        assert_eq!(told(2141.7, 2050.2, 2240.8), "2142 [2050, 2241]");
        assert_eq!(told(0.8312, 0.79, 0.88), "0.831 [0.790, 0.880]");
        assert_eq!(told(0.000_213_4, 0.000_2, 0.000_22), "0.000213 [0.000200, 0.000220]");
        // An interval narrower than the digits is still seen.
        assert_eq!(told(214.28, 214.21, 214.34), "214.3 [214.2, 214.3]");
        assert_eq!(told(214.0, 214.0, 214.0), "214 [214, 214]");
    }

    #[test]
    fn the_unit_stands_behind_the_number() {
        let metric: MetricRef = "kv_cache.ttft_resent_ms".parse().unwrap();
        assert_eq!(unit(&metric), "ms");
        let share: MetricRef = "kv_cache.hit_tokens_share".parse().unwrap();
        assert_eq!(unit(&share), "");
        let interval = Interval { low: 205.0, high: 224.0 };
        let figure = Estimate { geomean: 214.0, interval, launches: 1, repeats: 5, assumed: true };
        assert_eq!(estimate(&figure, "ms"), "214 ms ~[205, 224]");
    }
}
