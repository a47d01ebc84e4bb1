//! A column of interval bars for the ranking's table in a wide terminal: one common scale,
//! the baseline's position in each row. Only what the table's figures say is drawn; which
//! gains are confirmed is decided in [`crate::results`].

use super::fields::Field;
use super::text::width;
use crate::results::confirmed::ConfirmedGain;
use crate::results::number;
use crate::results::ranking::{Estimate, RankedConfiguration, Ranking};

/// Columns of a terminal from which on there are bars.
const FROM: usize = 100;

/// More than this between the ends, as a ratio, is drawn on a logarithmic scale.
const DECADE: f64 = 10.0;

/// The bars, and how to read them.
pub(super) struct Bars {
    pub(super) field: Field,
    /// One sentence for below the table.
    pub(super) note: String,
}

impl Bars {
    /// Columns of a bar, where nothing else needs them, in a terminal of so many columns; `None`
    /// in a narrow one, and where fewer than two configurations have a figure or all figures are
    /// the same.
    pub(super) fn full(ranking: &Ranking, columns: usize) -> Option<usize> {
        let full = (columns / 5).clamp(20, 30);
        (columns >= FROM && Scale::of(ranking, full).is_some()).then_some(full)
    }

    /// Bars of so many columns, or of as many as the ends of the scale need.
    pub(super) fn of(ranking: &Ranking, columns: usize) -> Option<Self> {
        let scale = Scale::of(ranking, columns)?;
        let confirmed: Vec<bool> =
            ranking.rows.iter().map(|row| is_confirmed(ranking, row)).collect();
        let rows = ranking.rows.iter().zip(&confirmed);
        let cells = rows.map(|(row, confirmed)| scale.bar(row, *confirmed)).collect();
        let note = scale.note(ranking, &confirmed);
        Some(Self { field: Field::new(scale.header(), cells), note })
    }
}

/// Positions of values in a bar.
struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
    columns: usize,
    /// Position of the baseline, where it is compared with.
    baseline: Option<usize>,
}

impl Scale {
    fn of(ranking: &Ranking, columns: usize) -> Option<Self> {
        let shown: Vec<&Estimate> = ranking.rows.iter().filter_map(estimate).collect();
        if shown.len() < 2 {
            return None;
        }
        let ends = |it: &&Estimate| it.interval.map_or([it.mean; 2], |it| [it.low, it.high]);
        let values = shown.iter().flat_map(ends).chain(shown.iter().map(|it| it.mean));
        let (low, high) = values
            .filter(|it| it.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), it| {
                (low.min(it), high.max(it))
            });
        if low >= high {
            return None;
        }
        let logarithmic = low > 0.0 && high / low > DECADE;
        let mut scale = Self { low, high, logarithmic, columns, baseline: None };
        let ends = scale.ends();
        scale.columns = columns.max(width(&ends[0]) + 1 + width(&ends[1]));
        let baseline = ranking.rows.iter().find(|row| row.baseline && row.eligible);
        let baseline = baseline.and_then(estimate).map(|it| scale.position(it.mean));
        Some(Self { baseline, ..scale })
    }

    /// Column of a value, counted from 0.
    fn position(&self, value: f64) -> usize {
        let place = |it: f64| if self.logarithmic { it.ln() } else { it };
        // Differences first halved: the ends may be far from each other.
        let of = |it: f64| place(it) / 2.0 - place(self.low) / 2.0;
        let last = (self.columns - 1) as f64;
        let part = of(value.clamp(self.low, self.high)) / of(self.high);
        (part * last).round().clamp(0.0, last) as usize
    }

    fn ends(&self) -> [String; 2] {
        [self.low, self.high].map(|it| {
            let decimals = number::decimals(it);
            if number::is_huge(it) { format!("{it:.0e}") } else { format!("{it:.decimals$}") }
        })
    }

    /// The ends of the scale, at the ends of the column.
    fn header(&self) -> String {
        let [low, high] = self.ends();
        let space = self.columns.saturating_sub(width(&low) + width(&high));
        let middle = if self.logarithmic && space >= 5 { "log" } else { "" };
        format!("{low}{middle:^space$}{high}")
    }

    fn bar(&self, row: &RankedConfiguration, confirmed: bool) -> String {
        let mut cells = vec![' '; self.columns];
        let shown = estimate(row);
        if let Some((estimate, interval)) = shown.and_then(|it| Some((it, it.interval?))) {
            let (from, to) = (self.position(interval.low), self.position(interval.high));
            // An interval that rests on an assumption has `~` in the figure.
            cells[from..=to].fill(if estimate.assumed { '╌' } else { '─' });
            (cells[from], cells[to]) = ('├', '┤');
        }
        if let Some(at) = self.baseline {
            cells[at] = match cells[at] {
                ' ' => '│',
                _ => '┼',
            };
        }
        let Some(estimate) = shown else { return cells.iter().collect() };
        let own_line = row.baseline && self.baseline.is_some();
        if !own_line {
            cells[self.position(estimate.mean)] = if confirmed { '●' } else { '○' };
        }
        cells.iter().collect()
    }

    fn note(&self, ranking: &Ranking, confirmed: &[bool]) -> String {
        let mut parts = vec!["bars: the same figures and intervals".to_owned()];
        if self.baseline.is_some() {
            parts.push("│ the baseline's position".to_owned());
        }
        if confirmed.contains(&true) {
            parts.push("● confirmed to be better by fresh launches".to_owned());
        }
        let hollow = |(row, confirmed): (&RankedConfiguration, &bool)| {
            let own_line = row.baseline && self.baseline.is_some();
            estimate(row).is_some() && !own_line && !confirmed
        };
        if ranking.rows.iter().zip(confirmed).any(hollow) {
            parts.push("○ unconfirmed".to_owned());
        }
        parts.join("; ")
    }
}

/// The objective's figure, where it can be drawn.
fn estimate(row: &RankedConfiguration) -> Option<&Estimate> {
    let finite = |it: &&Estimate| {
        let interval = it.interval.is_none_or(|it| it.low.is_finite() && it.high.is_finite());
        it.mean.is_finite() && interval
    };
    row.estimates.first()?.as_ref().filter(finite)
}

/// Whether fresh launches showed it to be better than the baseline.
fn is_confirmed(ranking: &Ranking, row: &RankedConfiguration) -> bool {
    let against = ranking.rows.iter().any(|row| row.baseline);
    against && ranking.confirmed_of(&row.name).is_some_and(ConfirmedGain::is_confirmed)
}
