//! The frame `ranking`: one row per configuration, in the ranking's order.

use polars::prelude::{Column, DataFrame};

use super::ResultsError;
use super::columns::column;
use super::estimate::{Estimate, Ratio};
use super::flag_columns::{self, Asked};
use super::ranked::{RankedConfiguration, Ranking};
use super::remark::Remark;
use crate::history::record::{LaunchRecord, SweepRecord};
use crate::metric::{MetricRef, RankingFigure, Scale};
use crate::statistics::{Chances, Interval};

impl Ranking {
    /// The frame `ranking`: the contract's columns, then `sweep`, `assumed`
    /// (the objective's interval rests on an assumed variance), `p_first`,
    /// `baseline_ratio` with `.low` and `.high`, `failure_class`, `remarks`,
    /// `failed_repeats`, `void_repeats`, `p_best` and `p_within_5_percent`,
    /// `preferred` (of the first ones that are not distinguishable), and of metrics
    /// that may be zero or negative `<metric>.mean`, the mean that their `.low`
    /// and `.high` are of: arithmetic, or geometric of an objective that never was zero. Where the objective is one: `baseline_difference`
    /// with `.low` and `.high`. `p_baseline` (of "better than the baseline"),
    /// `missing_repeats`, `candidate` (what to take), and what fresh launches showed:
    /// `confirmed_ratio` with `.low` and `.high` (of the last finished confirmation) are
    /// the last. A sweep that chose its launches has `in_claims`, `not_again` and
    /// `not_again_after` besides, and one with several objectives `front`.
    ///
    /// # Errors
    /// When polars refuses the columns; a bug, since they are all of one length.
    pub fn frame(&self) -> Result<DataFrame, ResultsError> {
        let rows = &self.rows;
        let mut columns = place_columns(self);
        for (index, metric) in self.metrics.iter().enumerate() {
            for figure in [RankingFigure::Geomean, RankingFigure::Low, RankingFigure::High] {
                columns.push(self.figure_column(index, metric, figure));
            }
        }
        for (index, metric) in self.constrained.iter().enumerate() {
            let verdicts = rows.iter().map(|row| Some(row.constraints[index].verdict.as_str()));
            columns.push(column(&metric.constraint_column(), verdicts.collect()));
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
        let remarks =
            |row: &RankedConfiguration| row.all_remarks().iter().map(Remark::to_string).collect();
        columns.push(joined("remarks", rows, remarks));
        columns.push(count(rows, "failed_repeats", |row| row.failed_repeats));
        columns.push(count(rows, "void_repeats", |row| row.void_repeats));
        let chance =
            |read: fn(Chances) -> f64| rows.iter().map(|row| row.chances.map(read)).collect();
        columns.push(column("p_best", chance(|chances| chances.best)));
        columns.push(column("p_within_5_percent", chance(|chances| chances.near)));
        columns.push(column("preferred", rows.iter().map(|row| Some(row.preferred)).collect()));
        columns.extend(self.plain_columns());
        columns.push(column("p_baseline", rows.iter().map(|row| row.p_baseline).collect()));
        let candidate = self.decision.as_ref().map(|it| it.candidate.configuration.as_str());
        let is_candidate = |row: &RankedConfiguration| Some(candidate == Some(row.name.as_str()));
        columns.push(count(rows, "missing_repeats", |row| row.missing_repeats));
        columns.push(column("candidate", rows.iter().map(is_candidate).collect()));
        let confirmed = |read: fn(&Ratio) -> f64| {
            let of = |row: &RankedConfiguration| self.confirmed_of(&row.name)?.effect;
            rows.iter().map(|row| of(row).as_ref().map(read)).collect()
        };
        columns.push(column("confirmed_ratio", confirmed(|r| r.ratio)));
        columns.push(column("confirmed_ratio.low", confirmed(|r| r.interval.low)));
        columns.push(column("confirmed_ratio.high", confirmed(|r| r.interval.high)));
        columns.extend(self.race_columns());
        Ok(DataFrame::new(rows.len(), columns)?)
    }

    /// What only sweeps have that chose their launches, and those with several objectives.
    fn race_columns(&self) -> Vec<Column> {
        let rows = &self.rows;
        let mut columns = Vec::new();
        if self.chosen.is_some() {
            let in_claims =
                |row: &RankedConfiguration| row.eligible.then(|| self.is_in_claims(row));
            columns.push(column("in_claims", rows.iter().map(in_claims).collect()));
            let why = |row: &RankedConfiguration| Some(row.dropped()?.0.to_owned());
            columns.push(texts(rows, "not_again", why));
            let after = |row: &RankedConfiguration| row.dropped().map(|it| it.1.after_launch);
            columns.push(column("not_again_after", rows.iter().map(after).collect()));
        }
        if let Some(front) = &self.front {
            let place = |row: &RankedConfiguration| Some(front.place_of(&row.name)?.as_str());
            columns.push(column("front", rows.iter().map(place).collect()));
        }
        columns
    }

    /// The frame with what each configuration asks for and what its servers showed, as
    /// `ranking.parquet` has it: `flag.*`, `effective.*`, `verdict.*`, `environment.*` and
    /// `variable.*` follow the columns of [`frame`](Self::frame). Of launches that showed
    /// different values there is none, and every proof with `|` between them.
    ///
    /// # Errors
    /// When polars refuses the columns; a bug, since they are all of one length.
    pub fn frame_with_flags(&self, sweep: &SweepRecord) -> Result<DataFrame, ResultsError> {
        let launches: Vec<Vec<&LaunchRecord>> = self
            .rows
            .iter()
            .map(|row| sweep.own_launches().filter(|it| it.configuration == row.name).collect())
            .collect();
        let configurations = &sweep.manifest.configurations;
        let rows: Vec<Asked<'_>> = self
            .rows
            .iter()
            .zip(&launches)
            .map(|(row, launches)| Asked {
                configuration: configurations.iter().find(|it| it.name == row.name),
                launches,
            })
            .collect();
        let mut columns = self.frame()?.columns().to_vec();
        columns.extend(flag_columns::of_flags(sweep, &rows));
        columns.extend(flag_columns::of_variables(sweep, &rows));
        Ok(DataFrame::new(rows.len(), columns)?)
    }

    fn figure_column(&self, index: usize, metric: &MetricRef, figure: RankingFigure) -> Column {
        let read = |estimate: &Estimate| match figure {
            RankingFigure::Geomean => estimate.geomean,
            RankingFigure::Mean => Some(estimate.mean),
            RankingFigure::Low => estimate.interval.map(|interval| interval.low),
            RankingFigure::High => estimate.interval.map(|interval| interval.high),
        };
        let values = self.rows.iter().map(|row| row.estimates[index].as_ref().and_then(read));
        column(&metric.ranking_column(figure), values.collect())
    }

    /// Arithmetic means and differences, where no ratio is taken.
    fn plain_columns(&self) -> Vec<Column> {
        let rows = &self.rows;
        let is_plain =
            |metric: &MetricRef| metric.known().is_some_and(|it| it.scale != Scale::Ratios);
        let mut columns = Vec::new();
        for (index, metric) in self.metrics.iter().enumerate().filter(|(_, it)| is_plain(it)) {
            columns.push(self.figure_column(index, metric, RankingFigure::Mean));
        }
        if is_plain(&self.objective.metric) {
            let mut push = |name: &str, read: fn((f64, Interval)) -> f64| {
                let values = rows.iter().map(|row| row.baseline_difference.map(read));
                columns.push(column(name, values.collect()));
            };
            push("baseline_difference", |(difference, _)| difference);
            push("baseline_difference.low", |(_, interval)| interval.low);
            push("baseline_difference.high", |(_, interval)| interval.high);
        }
        columns
    }
}

fn place_columns(ranking: &Ranking) -> Vec<Column> {
    let rows = &ranking.rows;
    let state = |read: fn(&RankedConfiguration) -> bool| rows.iter().map(move |r| Some(read(r)));
    vec![
        column("rank", rows.iter().map(|row| row.rank).collect()),
        texts(rows, "rank_label", |row| row.rank_label.clone()),
        texts(rows, "configuration", |row| Some(row.name.clone())),
        texts(rows, "configuration_id", |row| Some(row.id.clone())),
        joined("aliases", rows, |row| row.aliases.clone()),
        column("baseline", state(|row| row.baseline).collect()),
        column("simulated", vec![Some(ranking.simulated); rows.len()]),
        column("eligible", state(|row| row.eligible).collect()),
        texts(rows, "reason", RankedConfiguration::reason),
        count(rows, "launches", |row| row.launches),
        count(rows, "repeats", |row| row.repeats),
        count(rows, "failures", |row| row.failures),
    ]
}

fn count(
    rows: &[RankedConfiguration],
    name: &str,
    read: fn(&RankedConfiguration) -> u32,
) -> Column {
    column(name, rows.iter().map(|row| Some(read(row))).collect())
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
    read: impl Fn(&RankedConfiguration) -> Vec<String>,
) -> Column {
    texts(rows, name, |row| Some(read(row).join("|")).filter(|text| !text.is_empty()))
}
