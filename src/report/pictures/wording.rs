//! Words of the pictures: figures with their interval and what they rest on, numbers of
//! things, lists of names. Nothing is drawn here.

use super::super::spoken;
use super::palette::Palette;
use crate::metric::MetricRef;
use crate::results::analysis::Figure;
use crate::results::number;
use crate::results::ranking::Ranking;

/// Names that a sentence has at most.
const NAMES: usize = 3;

/// `214 ms [205, 224]`.
pub(super) fn figure(figure: &Figure, unit: &str) -> String {
    number::estimate_of(figure.value, figure.interval, false, unit)
}

/// `3 launches, 9 repeats`.
pub(super) fn rests_on(figure: &Figure) -> String {
    format!("{}, {}", some(figure.launches, "launch"), some(figure.repeats, "repeat"))
}

/// `1 launch`, `3 launches`.
pub(super) fn some(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ if what == "axis" => format!("{count} axes"),
        _ if what.ends_with("ch") => format!("{count} {what}es"),
        _ => format!("{count} {what}s"),
    }
}

/// A number at the start of a sentence: `Six`, `25`.
pub(super) fn capital(count: usize) -> String {
    let words = [
        "No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten",
        "Eleven", "Twelve",
    ];
    words.get(count).map_or_else(|| count.to_string(), |it| (*it).to_owned())
}

/// The same inside a sentence: `six`, `25`.
pub(super) fn small(count: usize) -> String {
    capital(count).to_lowercase()
}

/// A sentence with a capital letter; a configuration's name that begins it stays as it is.
pub(super) fn begun(text: &str, palette: &Palette) -> String {
    let with_capital = spoken::plain_sentence(text);
    if !palette.begins_with_name(text) {
        return with_capital;
    }
    let plain = super::super::text::plain(text);
    let first = plain.chars().next().map_or(0, char::len_utf8);
    let capital = plain[..first].to_uppercase().len();
    format!("{}{}", &plain[..first], &with_capital[capital..])
}

/// A metric as it is spoken of, plain.
pub(super) fn metric(metric: &MetricRef) -> String {
    spoken::metric(metric).replace(spoken::GLUE, " ")
}

/// `a, b, c and 4 more`; each name of at most 40 columns.
pub(super) fn names(palette: &Palette, configurations: &[usize]) -> String {
    let name = |it: &usize| palette.short_name(*it, 40.0 * super::COLUMN);
    let shown: Vec<String> = configurations.iter().take(NAMES).map(name).collect();
    let text = shown.join(", ");
    match configurations.len().saturating_sub(NAMES) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

/// The index of the baseline, and that of the candidate where it is another one.
pub(super) fn spoken_of(ranking: &Ranking) -> (Option<usize>, Option<usize>) {
    let baseline = ranking.rows.iter().position(|row| row.baseline);
    let candidate = ranking.subject();
    let candidate = candidate.and_then(|name| ranking.rows.iter().position(|it| it.name == name));
    (baseline, candidate.filter(|it| Some(*it) != baseline))
}

/// `p = 0.003`, `p < 0.001`.
pub(super) fn p_value(p: f64) -> String {
    if p < 0.001 { "p < 0.001".to_owned() } else { format!("p = {p:.3}") }
}

/// What a load is: `8 in flight`, `2 requests/s`; other cases as they are.
pub(super) fn load(case: &str) -> String {
    match case.split_once('=') {
        Some(("concurrency", number)) => format!("{number} in flight"),
        Some(("rate", number)) => format!("{number} requests/s"),
        _ => super::palette::shown(case),
    }
}

/// `ms [95 %]` in the heading of a table.
pub(super) fn heading(what: &str, unit: &str) -> String {
    if unit.is_empty() { format!("{what} [95%]") } else { format!("{what}, {unit} [95%]") }
}
