//! A report as one JSON document: the reading, what it rests on, and every estimate.
//! Described key by key in `docs/report-json.md`; `schema_version` grows when a key
//! changes its meaning or goes.

use serde::Serialize;

use crate::configuration::Flags;
use crate::history::extent::Extent;
use crate::history::record::{Manifest, SCHEMA_VERSION};
use crate::metric::{MetricRef, Objective, Scale};
use crate::results::bounded::Bounded;
use crate::results::confirmed::ConfirmedGain;
use crate::results::decision::Decision;
use crate::results::exclusion::Exclusion;
use crate::results::findings::Finding;
use crate::results::number;
use crate::results::ranking::{
    Effect, Estimate, RankedConfiguration, Ranking, RankingVerdict, Remark,
};
use crate::results::reading::Reading;
use crate::statistics::Interval;

/// A report as data.
#[derive(Debug, Serialize)]
pub struct Document<'a> {
    schema_version: u32,
    tool_version: &'static str,
    run: &'a str,
    sweep: &'a str,
    created_at: &'a str,
    engine: &'a str,
    simulated: bool,
    baseline: Option<&'a str>,
    objective: &'a Objective,
    unit: &'static str,
    scale: Scale,
    extent: Option<&'a Extent>,
    reading: &'a Reading,
    verdict: &'a RankingVerdict,
    decision: Option<&'a Decision>,
    confirmed: &'a [ConfirmedGain],
    findings: Vec<Finding>,
    configurations: Vec<Row<'a>>,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    id: &'a str,
    aliases: &'a [String],
    baseline: bool,
    rank: Option<u32>,
    rank_label: Option<&'a str>,
    eligible: bool,
    reason: Option<String>,
    exclusions: &'a [Exclusion],
    remarks: Vec<Remark>,
    varied: &'a Flags,
    launches: u32,
    repeats: u32,
    failures: u32,
    failure_class: Option<&'static str>,
    lived: u32,
    settled: u32,
    failed_repeats: u32,
    void_repeats: u32,
    missing_repeats: u32,
    effect: Option<Effect>,
    p_first: Option<f64>,
    p_baseline: Option<f64>,
    p_best: Option<f64>,
    p_within_5_percent: Option<f64>,
    candidate: bool,
    constraints: &'a [Bounded],
    estimates: Vec<Measured<'a>>,
}

/// The mean of a metric.
#[derive(Debug, Serialize)]
struct Measured<'a> {
    metric: &'a MetricRef,
    unit: &'static str,
    mean: f64,
    geomean: Option<f64>,
    interval: Option<Interval>,
    launches: usize,
    repeats: usize,
    assumed: bool,
}

impl<'a> Document<'a> {
    /// The document of a ranking and its reading. `run`: the folder as the reader named it.
    pub fn of(
        ranking: &'a Ranking,
        manifest: &'a Manifest,
        reading: &'a Reading,
        run: &'a str,
        extent: Option<&'a Extent>,
    ) -> Self {
        let candidate = ranking.decision.as_ref().map(|it| it.candidate.configuration.as_str());
        let row = |row: &'a RankedConfiguration| self::row(row, ranking, candidate);
        Self {
            schema_version: SCHEMA_VERSION,
            tool_version: env!("CARGO_PKG_VERSION"),
            run,
            sweep: &ranking.sweep,
            created_at: &manifest.created_at,
            engine: &manifest.engine,
            simulated: ranking.simulated,
            baseline: manifest.baseline.as_deref(),
            objective: &ranking.objective,
            unit: number::unit(&ranking.objective.metric),
            scale: ranking.scale,
            extent,
            reading,
            verdict: &ranking.verdict,
            decision: ranking.decision.as_ref(),
            confirmed: &ranking.confirmed,
            findings: ranking.findings(),
            configurations: ranking.rows.iter().map(row).collect(),
        }
    }
}

fn row<'a>(row: &'a RankedConfiguration, ranking: &'a Ranking, candidate: Option<&str>) -> Row<'a> {
    let measured = |(metric, estimate): (&'a MetricRef, &Option<Estimate>)| {
        let Estimate { mean, geomean, interval, launches, repeats, assumed } = (*estimate)?;
        let unit = number::unit(metric);
        Some(Measured { metric, unit, mean, geomean, interval, launches, repeats, assumed })
    };
    let estimates = ranking.metrics.iter().zip(&row.estimates);
    Row {
        name: &row.name,
        id: &row.id,
        aliases: &row.aliases,
        baseline: row.baseline,
        rank: row.rank,
        rank_label: row.rank_label.as_deref(),
        eligible: row.eligible,
        reason: row.reason(),
        exclusions: &row.exclusions,
        remarks: row.all_remarks(),
        varied: &row.varied,
        launches: row.launches,
        repeats: row.repeats,
        failures: row.failures,
        failure_class: row.failure_class,
        lived: row.lived,
        settled: row.settled,
        failed_repeats: row.failed_repeats,
        void_repeats: row.void_repeats,
        missing_repeats: row.missing_repeats,
        effect: row.effect(),
        p_first: row.p_first,
        p_baseline: row.p_baseline,
        p_best: row.chances.map(|it| it.best),
        p_within_5_percent: row.chances.map(|it| it.near),
        candidate: candidate == Some(row.name.as_str()),
        constraints: &row.constraints,
        estimates: estimates.filter_map(measured).collect(),
    }
}
