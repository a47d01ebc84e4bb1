//! The objectives after the first one, as a table below the ranking: the figures of each
//! configuration with their intervals, and whether it is on the front. The ranking itself has
//! space for one objective.

use super::fields::{Field, folded};
use super::names::narrow;
use super::text::{plain, wrap};
use crate::history::record::Manifest;
use crate::history::values::case_of;
use crate::metric::{Aim, Goal};
use crate::results::front::FrontPlace;
use crate::results::number;
use crate::results::ranking::{RankedConfiguration, Ranking};

/// Columns of a name at most.
const NAME: usize = 24;

/// Rows at most; files have all.
const ROWS: usize = 24;

/// The table, of about `columns` columns; `None` where there is one objective, and where nothing
/// was measured of the others.
pub(super) fn render(ranking: &Ranking, manifest: &Manifest, columns: usize) -> Option<String> {
    let aims: Vec<(&Aim, usize)> = ranking
        .objective
        .further
        .iter()
        .filter_map(|aim| Some((aim, place_of(ranking, manifest, aim)?)))
        .collect();
    let has = |row: &&RankedConfiguration| aims.iter().any(|(_, at)| row.estimates[*at].is_some());
    let rows: Vec<&RankedConfiguration> = ranking.rows.iter().filter(has).collect();
    let left = rows.len().saturating_sub(ROWS);
    let rows = &rows[..rows.len() - left];
    let names: Vec<String> = rows.iter().map(|row| plain(&row.name)).collect();
    let baseline = rows.iter().position(|row| row.baseline);
    let label = || narrow(&names, baseline, NAME..=columns / 2).shown;
    let fields = aims.iter().map(|(aim, at)| {
        let unit = number::unit(&aim.metric);
        let cell = |row: &&RankedConfiguration| {
            let estimate = row.estimates[*at].as_ref();
            estimate.map_or("-".to_owned(), |estimate| number::estimate(estimate, unit))
        };
        Field::new(heading(aim), rows.iter().map(cell).collect()).right()
    });
    let front = ranking.front.as_ref().map(|front| {
        let word =
            |row: &&RankedConfiguration| front.place_of(&row.name).map_or("-", word_of).to_owned();
        Field::new("on the front", rows.iter().map(word).collect())
    });
    let fields: Vec<Field> = fields.chain(front).collect();
    if rows.is_empty() {
        return None;
    }
    let mut text = folded(&Field::new("also sought", label()), &fields, columns);
    if left > 0 {
        let note = format!("{left} more are in ranking.csv, and in what `export` writes");
        text.push_str("\n\n");
        text.push_str(&wrap(&note, columns, "  "));
    }
    Some(text)
}

/// Where a row has the objective's estimate, however its only case is named.
fn place_of(ranking: &Ranking, manifest: &Manifest, aim: &Aim) -> Option<usize> {
    let metric = &aim.metric;
    ranking.metrics.iter().position(|known| {
        (&known.workload, &known.name) == (&metric.workload, &metric.name)
            && case_of(manifest, known) == case_of(manifest, metric)
    })
}

/// `min mean_ttft_ms at concurrency=8 [95%]`.
fn heading(aim: &Aim) -> String {
    let case = aim.metric.case.as_ref().map_or_else(String::new, |case| format!(" at {case}"));
    let way = match aim.goal {
        Goal::Minimize => "min",
        Goal::Maximize => "max",
    };
    plain(&format!("{way} {}{case} [95%]", aim.metric.name))
}

fn word_of(place: FrontPlace) -> &'static str {
    match place {
        FrontPlace::Surely => "surely",
        FrontPlace::ByMeans => "by means",
        FrontPlace::Open => "not shown to be off",
        FrontPlace::Off => "off",
    }
}
