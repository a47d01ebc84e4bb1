//! The frame `ranking`: one row per configuration, in the ranking's order.

use polars::prelude::{Column, DataFrame};

use super::ResultsError;
use super::columns::column;
use super::ranking::{Estimate, RankedConfiguration, Ranking, Ratio};

impl Ranking {
    /// The frame `ranking`: the contract's columns, then `sweep`, `assumed`
    /// (the objective's interval rests on an assumed variance), `p_first`,
    /// `baseline_ratio` with `.low` and `.high`, `failure_class`, `remarks`.
    ///
    /// # Errors
    /// When polars refuses the columns; a bug, since they are all of one length.
    pub fn frame(&self) -> Result<DataFrame, ResultsError> {
        let rows = &self.rows;
        let mut columns = place_columns(self);
        for (index, metric) in self.metrics.iter().enumerate() {
            let mut push = |end: &str, read: &dyn Fn(&Estimate) -> f64| {
                let values = rows.iter().map(|row| row.estimates[index].as_ref().map(read));
                columns.push(column(&format!("{metric}.{end}"), values.collect()));
            };
            push("geomean", &|estimate| estimate.geomean);
            push("low", &|estimate| estimate.interval.low);
            push("high", &|estimate| estimate.interval.high);
        }
        for (index, metric) in self.constrained.iter().enumerate() {
            let verdicts = rows.iter().map(|row| Some(row.constraints[index].as_str()));
            columns.push(column(&format!("constraint.{metric}"), verdicts.collect()));
        }
        let ratio = |read: &dyn Fn(&Ratio) -> f64| {
            rows.iter().map(|row| row.baseline_ratio.as_ref().map(read)).collect()
        };
        columns.push(texts(rows, "sweep", |_| Some(self.sweep.clone())));
        let assumed = |row: &RankedConfiguration| row.estimates.first()?.map(|e| e.assumed);
        columns.push(column("assumed", rows.iter().map(assumed).collect()));
        columns.push(column("p_first", rows.iter().map(|row| row.p_first).collect()));
        columns.push(column("baseline_ratio", ratio(&|r| r.ratio)));
        columns.push(column("baseline_ratio.low", ratio(&|r| r.interval.low)));
        columns.push(column("baseline_ratio.high", ratio(&|r| r.interval.high)));
        columns.push(texts(rows, "failure_class", |row| row.failure_class.map(str::to_owned)));
        columns.push(joined("remarks", rows, |row| &row.remarks));
        Ok(DataFrame::new(rows.len(), columns)?)
    }
}

fn place_columns(ranking: &Ranking) -> Vec<Column> {
    let rows = &ranking.rows;
    let count = |read: fn(&RankedConfiguration) -> u32| rows.iter().map(move |r| Some(read(r)));
    let state = |read: fn(&RankedConfiguration) -> bool| rows.iter().map(move |r| Some(read(r)));
    vec![
        column("rank", rows.iter().map(|row| row.rank).collect()),
        texts(rows, "rank_label", |row| row.rank_label.clone()),
        texts(rows, "configuration", |row| Some(row.name.clone())),
        texts(rows, "configuration_id", |row| Some(row.id.clone())),
        joined("aliases", rows, |row| &row.aliases),
        column("baseline", state(|row| row.baseline).collect()),
        column("simulated", vec![Some(ranking.simulated); rows.len()]),
        column("eligible", state(|row| row.eligible).collect()),
        texts(rows, "reason", |row| row.reason.clone()),
        column("launches", count(|row| row.launches).collect()),
        column("repeats", count(|row| row.repeats).collect()),
        column("failures", count(|row| row.failures).collect()),
    ]
}

fn texts(
    rows: &[RankedConfiguration],
    name: &str,
    read: impl Fn(&RankedConfiguration) -> Option<String>,
) -> Column {
    column(name, rows.iter().map(read).collect())
}

/// Several texts in one, `|` between them; null without any. Not a list: pyarrow
/// cannot give lists of polars' strings to pandas, and CSV has none.
fn joined(
    name: &str,
    rows: &[RankedConfiguration],
    read: impl Fn(&RankedConfiguration) -> &Vec<String>,
) -> Column {
    texts(rows, name, |row| Some(read(row).join("|")).filter(|text| !text.is_empty()))
}
