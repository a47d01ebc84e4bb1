//! Figures and metrics as people speak of them: `+41% [+36%, +46%]`, `median TTFT at 8 in
//! flight`, `about 1.5 to 4 h`. Parts that belong together are held by [`GLUE`].

use super::names::short;
use super::text::{cut, plain};
use crate::metric::{Goal, MetricRef};
use crate::results::number;
pub(super) use crate::results::number::is_speed;
use crate::results::ranking::Effect;
use crate::results::reading::next::Hours;
use crate::statistics::Interval;

/// A space at which no line is broken; it is printed as a space.
pub(super) const GLUE: char = '\u{a0}';

/// Columns of a name at most: one line of the block.
const NAME: usize = 60;

/// Columns of a sentence from outside at most.
const SENTENCE: usize = 240;

/// `median TTFT at 8 in flight`.
pub(super) fn metric(metric: &MetricRef) -> String {
    let name = name(&metric.name);
    match metric.case.as_deref().and_then(|case| case.split_once('=')) {
        Some(("concurrency", number)) => format!("{name} at {number}{GLUE}in{GLUE}flight"),
        Some(("rate", number)) => format!("{name} at {number}{GLUE}requests/s"),
        Some((key, value)) => format!("{name} at {key}={value}"),
        None => match &metric.case {
            Some(case) => format!("{name} at {case}"),
            None => name,
        },
    }
}

/// `median_ttft_ms` as `median TTFT`; names that are no such statistic as they are.
fn name(name: &str) -> String {
    let words: Vec<&str> = name.split('_').collect();
    match words.as_slice() {
        [statistic, what @ ("ttft" | "tpot" | "itl" | "e2el"), "ms"] => {
            format!("{statistic}{GLUE}{}", what.to_uppercase())
        }
        _ => name.to_owned(),
    }
}

/// Which way of a metric is better.
pub(super) fn wanted(goal: Goal) -> &'static str {
    match goal {
        Goal::Minimize => "less is better",
        Goal::Maximize => "more is better",
    }
}

/// `+41% [+36%, +46%]`, `x6.3 [x5.1, x7.9]`, `+12 tokens [-3, 27]`; and ` (better)` or
/// ` (worse)` where the sign does not say it; neither where the interval has no effect in it.
pub(super) fn gain(effect: Effect, goal: Goal, metric: &MetricRef) -> (String, &'static str) {
    let (text, plain, none) = match effect {
        Effect::Ratio(ratio) => {
            let plain = goal == Goal::Maximize && ratio.ratio > 1.0;
            (change(ratio.ratio, ratio.interval), plain, is_one(ratio.ratio))
        }
        Effect::Difference { difference, interval } => {
            (number::difference(difference, interval), false, is_one(1.0 + difference))
        }
    };
    let unit = match effect {
        Effect::Ratio(_) => "",
        Effect::Difference { .. } => number::unit(metric),
    };
    let text = if unit.is_empty() { text } else { format!("{text} {unit}") };
    let (interval, nothing) = match effect {
        Effect::Ratio(ratio) => (ratio.interval, 1.0),
        Effect::Difference { interval, .. } => (interval, 0.0),
    };
    let word = match effect.is_better(goal) {
        _ if plain || none || interval.contains(nothing) => "",
        true => " (better)",
        false => " (worse)",
    };
    (glued(&text), word)
}

/// No effect at all, as of equal values.
fn is_one(ratio: f64) -> bool {
    (ratio - 1.0).abs() < f64::EPSILON
}

/// A ratio as a change with its interval.
pub(super) fn change(ratio: f64, interval: Interval) -> String {
    let text = number::factor(ratio, interval);
    glued(&text.unwrap_or_else(|| number::distinct(ratio, interval, &percent)))
}

/// `+6%`; no sign of nothing.
fn percent(ratio: f64, decimals: usize) -> String {
    let text = format!("{:+.decimals$}%", (ratio - 1.0) * 100.0);
    let digits = |letter: char| !matches!(letter, '+' | '-' | '.' | '0' | '%');
    if text.contains(digits) { text } else { text.replace(['+', '-'], "") }
}

/// `about 1.5 to 4 h`, `about 20 to 50 min`.
pub(super) fn hours(hours: Hours) -> String {
    let minutes = (hours.low * 60.0, hours.high * 60.0);
    let (low, high, unit) = if minutes.1 < 90.0 {
        let whole = |minutes: f64| format!("{:.0}", minutes.max(1.0));
        (whole(minutes.0), whole(minutes.1), "min")
    } else {
        (rounded(hours.low), rounded(hours.high), "h")
    };
    let text = if low == high {
        format!("about {low} {unit}")
    } else {
        format!("about {low} to {high} {unit}")
    };
    glued(&text)
}

/// With one decimal below ten.
fn rounded(value: f64) -> String {
    let text = if value < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") };
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// A name from outside: plain, on one line, and no longer than a few of them.
pub(super) fn name_of(name: &str) -> String {
    let name = short(&plain(name), NAME);
    if name.is_empty() { "(no name)".to_owned() } else { glued(&name) }
}

/// The same of a word that must stay as it is, to be copied.
pub(super) fn clean(word: &str) -> String {
    crate::clean::plain(word).into_owned()
}

/// A sentence from outside, with a capital letter.
pub(super) fn plain_sentence(text: &str) -> String {
    let text = cut(&plain(text), SENTENCE);
    let mut letters = text.chars();
    let first = letters.next().map(|it| it.to_uppercase().to_string()).unwrap_or_default();
    first + letters.as_str()
}

/// A text that no line breaks.
pub(super) fn glued(text: &str) -> String {
    text.replace(' ', &GLUE.to_string())
}

/// `faster than`, `better on accuracy than`.
pub(super) fn better(of: &MetricRef, goal: Goal) -> String {
    if is_speed(of, goal) {
        "faster than".to_owned()
    } else {
        format!("better on {} than", metric(of))
    }
}

/// `the bound of median TTFT`.
pub(super) fn bounds_of(metrics: &[MetricRef]) -> String {
    let named: Vec<String> = metrics.iter().map(metric).collect();
    let plural = if named.len() == 1 { "" } else { "s" };
    format!("the bound{plural} of {}", named.join(" and "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::ranking::Ratio;

    fn of(ratio: f64, low: f64, high: f64) -> String {
        change(ratio, Interval { low, high }).replace(GLUE, " ")
    }

    #[test]
    fn ratios_are_changes_in_per_cent_and_large_ones_are_factors() {
        assert_eq!(of(1.41, 1.36, 1.46), "+41% [+36%, +46%]");
        assert_eq!(of(1.06, 0.96, 1.17), "+6% [-4%, +17%]");
        assert_eq!(of(0.088, 0.079, 0.098), "-91% [-92%, -90%]");
        assert_eq!(of(6.3, 5.1, 7.9), "x6.3 [x5.1, x7.9]");
        assert_eq!(of(1e300, 9e299, 2e300), "x1.00e300 [x9.00e299, x2.00e300]");
        assert_eq!(of(1.0, 0.9, 1.1), "0% [-10%, +10%]");
        assert_eq!(of(1.004, 1.001, 1.004), "+0.4% [+0.1%, +0.4%]");
    }

    #[test]
    fn the_direction_is_said_where_the_sign_does_not_say_it() {
        let ratio = |ratio: f64| {
            Effect::Ratio(Ratio {
                ratio,
                interval: Interval { low: ratio - 0.1, high: ratio + 0.1 },
            })
        };
        let ms: MetricRef = "load[concurrency=8].median_ttft_ms".parse().unwrap();
        let said = |effect, goal| {
            let (figure, word) = gain(effect, goal, &ms);
            figure.replace(GLUE, " ") + word
        };
        assert_eq!(said(ratio(0.77), Goal::Minimize), "-23% [-33%, -13%] (better)");
        assert_eq!(said(ratio(1.2), Goal::Minimize), "+20% [+10%, +30%] (worse)");
        assert_eq!(said(ratio(1.2), Goal::Maximize), "+20% [+10%, +30%]");
        assert_eq!(said(ratio(0.85), Goal::Maximize), "-15% [-25%, -5%] (worse)");
        // An interval with no effect in it shows no direction.
        assert_eq!(said(ratio(0.97), Goal::Maximize), "-3% [-13%, +7%]");
        assert_eq!(said(ratio(0.97), Goal::Minimize), "-3% [-13%, +7%]");
        let interval = Interval { low: -3.0, high: 9.0 };
        let few = Effect::Difference { difference: 3.0, interval };
        assert_eq!(said(few, Goal::Minimize), "+3.00 [-3.00, 9.00] ms");
        assert_eq!(metric(&ms).replace(GLUE, " "), "median TTFT at 8 in flight");
        let [share, throughput, boot] = [
            "kv_cache.hit_tokens_share",
            "load[concurrency=8].output_throughput",
            "launch.boot_seconds",
        ]
        .map(|it| it.parse::<MetricRef>().unwrap());
        assert!(is_speed(&ms, Goal::Minimize) && is_speed(&throughput, Goal::Maximize));
        // What it is better on is said.
        assert!(!is_speed(&ms, Goal::Maximize) && !is_speed(&throughput, Goal::Minimize));
        assert!(!is_speed(&share, Goal::Maximize) && !is_speed(&boot, Goal::Minimize));
    }

    #[test]
    fn times_are_as_exact_as_they_are_known() {
        let said = |low, high| hours(Hours { low, high }).replace(GLUE, " ");
        assert_eq!(said(1.5, 4.0), "about 1.5 to 4 h");
        assert_eq!(said(0.3, 0.8), "about 18 to 48 min");
        assert_eq!(said(0.001, 0.001), "about 1 min");
    }
}
