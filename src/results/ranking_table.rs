//! The ranking as a person reads it in a spreadsheet: which columns `ranking.csv` has, and
//! in which order. `ranking.parquet` has every column. What a column holds is in
//! `ranking_frame`.

use std::collections::BTreeSet;

use polars::prelude::DataFrame;

use super::ResultsError;
use super::flag_columns::OF_FLAGS;
use super::ranked::Ranking;
use crate::metric::{MetricRef, RankingFigure};

/// Columns of the output contract that are there whether or not they have a value; besides
/// them the figures and the verdicts of the objective and of bounded metrics.
const ALWAYS: [&str; 12] = [
    "rank",
    "rank_label",
    "configuration",
    "configuration_id",
    "aliases",
    "baseline",
    "simulated",
    "eligible",
    "reason",
    "launches",
    "repeats",
    "failures",
];

/// Whose place it is.
const PLACE: [&str; 6] =
    ["rank", "rank_label", "configuration", "candidate", "baseline", "simulated"];

/// The objective compared with the baseline, by the launches of the sweep and by fresh ones.
const GAIN: [&str; 10] = [
    "baseline_ratio",
    "baseline_ratio.low",
    "baseline_ratio.high",
    "baseline_difference",
    "baseline_difference.low",
    "baseline_difference.high",
    "p_baseline",
    "confirmed_ratio",
    "confirmed_ratio.low",
    "confirmed_ratio.high",
];

/// What it rests on, and what went wrong.
const COUNTS: [&str; 14] = [
    "launches",
    "repeats",
    "failures",
    "failed_repeats",
    "void_repeats",
    "missing_repeats",
    "failure_class",
    "eligible",
    "reason",
    "in_claims",
    "not_again",
    "not_again_after",
    "front",
    "remarks",
];

impl Ranking {
    /// `frame` (of [`frame_with_flags`](Self::frame_with_flags)) without the columns in which
    /// no row has a value, in a reader's order: place, objective, gain, bounds, counts, flags
    /// with their proofs, then the rest. Columns of the output contract stay.
    ///
    /// # Errors
    /// When polars refuses the columns; a bug, since they are those of the frame.
    pub(crate) fn table(&self, frame: &DataFrame) -> Result<DataFrame, ResultsError> {
        let judged = self.judged_columns();
        let has_value =
            |name: &str| frame.column(name).is_ok_and(|column| column.null_count() < column.len());
        let is_shown =
            |name: &str| ALWAYS.contains(&name) || judged.contains(name) || has_value(name);
        let mut seen = BTreeSet::new();
        let all = self.reading_order(frame);
        let shown: Vec<String> = all
            .into_iter()
            .filter(|name| frame.column(name).is_ok() && is_shown(name))
            .filter(|name| seen.insert(name.clone()))
            .collect();
        let columns = shown.iter().map(|name| frame.column(name).cloned());
        let columns = columns.collect::<Result<_, _>>()?;
        Ok(DataFrame::new(frame.height(), columns)?)
    }

    /// The columns that every sweep of this objective has.
    fn judged_columns(&self) -> BTreeSet<String> {
        let contract = [RankingFigure::Geomean, RankingFigure::Low, RankingFigure::High];
        let metrics = std::iter::once(&self.objective.metric).chain(&self.constrained);
        let figures = metrics.flat_map(|it| contract.map(|figure| it.ranking_column(figure)));
        let verdicts = self.constrained.iter().map(MetricRef::constraint_column);
        figures.chain(verdicts).collect()
    }

    /// Every column, some of them twice: the first place counts.
    fn reading_order(&self, frame: &DataFrame) -> Vec<String> {
        let figures = |metric: &MetricRef| {
            let order = [
                RankingFigure::Geomean,
                RankingFigure::Mean,
                RankingFigure::Low,
                RankingFigure::High,
            ];
            order.map(|figure| metric.ranking_column(figure))
        };
        let words = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let mut order: Vec<String> = words(&PLACE);
        order.extend(figures(&self.objective.metric));
        order.extend::<Vec<String>>(words(&GAIN));
        for metric in &self.constrained {
            order.push(metric.constraint_column());
            order.extend(figures(metric));
        }
        order.extend::<Vec<String>>(words(&COUNTS));
        let names = frame.get_column_names();
        let [flag, _, _] = OF_FLAGS;
        let flags = names.iter().filter_map(|name| name.strip_prefix(&format!("{flag}.")));
        let flags: Vec<&str> = flags.collect();
        for name in flags {
            order.extend(OF_FLAGS.map(|prefix| format!("{prefix}.{name}")));
        }
        let of_variables =
            |name: &&str| name.starts_with("environment.") || name.starts_with("variable.");
        let names = || names.iter().map(|name| name.as_str());
        order.extend(names().filter(of_variables).map(str::to_owned));
        for metric in &self.metrics {
            order.extend(figures(metric));
        }
        order.extend(names().map(str::to_owned));
        order
    }
}
