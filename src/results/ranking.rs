//! The ranking: which configurations can be ranked, in which order, and what
//! that order carries. Computed as plain values first; the frame and the
//! terminal table tell the same ranking.
//!
//! - Only `ok` repeats count, never a warm-up (repeat 0).
//! - Configurations that failed, ran with another flag than they asked for, or
//!   violate a constraint are rows without a rank, with the reason; they are
//!   never scored as "worst". A constraint that is merely not shown to hold
//!   leaves the rank and is remarked.
//! - `rank` is the order of the geometric means. `rank_label` says what the
//!   order carries: all that cannot be told apart from rank 1 share `1-n`. Below
//!   that group a label is the place by mean; neighbours there are not claimed
//!   to differ from each other, only from rank 1.

use std::collections::BTreeSet;

use super::arm::{self, Arm};
use super::eligibility::failures;
use super::measured::Measured;
pub use super::verdict::{ConstraintVerdict, Verdict};
use crate::configuration::Flags;
use crate::engine::LaunchFailure;
use crate::metric::{Direction, Form, Goal, MetricRef, Objective};
use crate::statistics::{self, Components, Interval, SIGNIFICANCE};
use crate::sweep::record::{LaunchOutcome, Manifest, SweepRecord};

/// The ranking of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking {
    /// The sweep's name.
    pub sweep: String,
    /// Whether every figure is simulated.
    pub simulated: bool,
    /// What was sought.
    pub objective: Objective,
    /// Metrics with an estimate: the objective, the constraints, then the
    /// others of the catalogue that have a direction and are no count.
    pub metrics: Vec<MetricRef>,
    /// Metrics with a bound, in the grid's order.
    pub constrained: Vec<MetricRef>,
    /// Ranked configurations by rank, then the others in the grid's order.
    pub rows: Vec<RankedConfiguration>,
    /// What the first rank carries.
    pub verdict: Verdict,
    /// Variance components of the objective on log scale; `None` where nothing was measured.
    pub components: Option<Components>,
}

/// One configuration and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct RankedConfiguration {
    /// Place by geometric mean, from 1; `None` where not eligible.
    pub rank: Option<u32>,
    /// What the place carries: `1`, or `1-3` for those that cannot be told apart from rank 1.
    pub rank_label: Option<String>,
    /// The configuration's name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Further names of the same content, requested or run.
    pub aliases: Vec<String>,
    /// Whether the others are compared with it.
    pub baseline: bool,
    /// What the grid varied of it.
    pub varied: Flags,
    /// Whether it has a rank.
    pub eligible: bool,
    /// Why not, where not.
    pub reason: Option<String>,
    /// What a reader should know of an eligible one.
    pub remarks: Vec<String>,
    /// Launches that were started, failed ones too.
    pub launches: u32,
    /// Repeats of the objective that count.
    pub repeats: u32,
    /// Launches that failed.
    pub failures: u32,
    /// Class of the last failure.
    pub failure_class: Option<&'static str>,
    /// Estimates, parallel to [`Ranking::metrics`].
    pub estimates: Vec<Option<Estimate>>,
    /// Verdicts, parallel to [`Ranking::constrained`].
    pub constraints: Vec<ConstraintVerdict>,
    /// Adjusted p-value of the difference to rank 1
    /// ([`statistics::differences_to_first`]); `None` for rank 1 and without a rank.
    pub p_first: Option<f64>,
    /// Objective as a ratio to the baseline's; `None` for the baseline itself.
    pub baseline_ratio: Option<Ratio>,
}

/// Geometric mean of a metric and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Geometric mean in the metric's unit.
    pub geomean: f64,
    /// Interval of it (t on logs, pooled variance components).
    pub interval: Interval,
    /// Launches that gave a value.
    pub launches: usize,
    /// Values.
    pub repeats: usize,
    /// Whether the interval rests on an assumed variance.
    pub assumed: bool,
}

/// A ratio of geometric means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The ratio.
    pub ratio: f64,
    /// Its 95 % interval, not adjusted for multiplicity.
    pub interval: Interval,
}

/// Ranks the configurations of a sweep by its objective.
pub fn rank(sweep: &SweepRecord) -> Ranking {
    let objective = &sweep.manifest.objective;
    let arms = arm::arms(sweep);
    let metrics = metrics(&sweep.manifest);
    let measured: Vec<Measured> =
        metrics.iter().map(|metric| Measured::new(sweep, &arms, metric)).collect();
    let mut constrained: Vec<MetricRef> = Vec::new();
    for constraint in &objective.constraints {
        if !constrained.contains(&constraint.metric) {
            constrained.push(constraint.metric.clone());
        }
    }
    let context = Context { sweep, arms: &arms, metrics: &metrics, measured: &measured };
    let mut rows: Vec<RankedConfiguration> =
        (0..arms.len()).map(|index| context.row(index, &constrained)).collect();
    let order = context.order(&rows);
    let verdict = place(&mut rows, &order, &measured[0]);
    context.compare_with_baseline(&mut rows);
    let mut places: Vec<usize> = order;
    places.extend((0..rows.len()).filter(|&index| !rows[index].eligible));
    Ranking {
        sweep: sweep.manifest.sweep.clone(),
        simulated: sweep.manifest.simulated,
        objective: objective.clone(),
        components: measured[0].logs.iter().any(Option::is_some).then_some(measured[0].components),
        rows: places.into_iter().map(|index| rows[index].clone()).collect(),
        metrics,
        constrained,
        verdict,
    }
}

/// The objective first, then what is bounded, then the rest of the catalogue:
/// a metric once, whether or not a reference names its only case.
fn metrics(manifest: &Manifest) -> Vec<MetricRef> {
    let objective = &manifest.objective;
    let named = std::iter::once(&objective.metric)
        .chain(objective.constraints.iter().map(|constraint| &constraint.metric))
        .cloned();
    let listed = manifest.workloads.iter().flat_map(|workload| {
        let several = workload.cases().len() > 1;
        workload.cases().into_iter().flat_map(move |case| {
            let metrics = workload.kind().all_metrics();
            let told = metrics.filter(|m| {
                m.direction != Direction::Neutral && m.form() == Form::Number && m.unit != "1"
            });
            told.map(move |metric| MetricRef {
                workload: metric.workload.to_owned(),
                case: several.then(|| case.clone()),
                name: metric.name.to_owned(),
            })
            .collect::<Vec<_>>()
        })
    });
    let mut seen = BTreeSet::new();
    named
        .chain(listed)
        .filter(|metric| {
            let case = arm::resolve(manifest, metric);
            seen.insert((metric.workload.clone(), case, metric.name.clone()))
        })
        .collect()
}

/// What rows are made from.
pub(super) struct Context<'a> {
    pub(super) sweep: &'a SweepRecord,
    /// By configuration, in the manifest's order.
    pub(super) arms: &'a [Arm<'a>],
    /// The objective first.
    pub(super) metrics: &'a [MetricRef],
    /// Parallel to `metrics`.
    pub(super) measured: &'a [Measured],
}

impl Context<'_> {
    fn row(&self, index: usize, constrained: &[MetricRef]) -> RankedConfiguration {
        let arm = &self.arms[index];
        let constraints = self.constraints(index, constrained);
        let reason = self.reason(index, constrained, &constraints);
        let failures: Vec<&LaunchFailure> = failures(arm).collect();
        let remarks = match reason {
            None => self.remarks(index, constrained, &constraints, &failures),
            Some(_) => Vec::new(),
        };
        let estimates: Vec<Option<Estimate>> =
            self.measured.iter().map(|measured| measured.estimate(index)).collect();
        let mut aliases = arm.configuration.aliases.clone();
        for &further in &arm.further {
            let further = self.arms[further].configuration;
            aliases.push(further.name.clone());
            aliases.extend(further.aliases.iter().cloned());
        }
        let started = arm
            .launches
            .iter()
            .filter(|l| !matches!(l.outcome, Some(LaunchOutcome::Skipped { .. })));
        RankedConfiguration {
            rank: None,
            rank_label: None,
            name: arm.configuration.name.clone(),
            id: arm.configuration.id.clone(),
            aliases,
            baseline: self.baseline() == Some(index),
            varied: arm.configuration.varied.clone(),
            eligible: reason.is_none(),
            remarks,
            reason,
            launches: started.count() as u32,
            repeats: self.measured[0].values(index).map_or(0, |values| values.repeats() as u32),
            failures: failures.len() as u32,
            failure_class: failures.last().map(|failure| failure.class.as_str()),
            estimates,
            constraints,
            p_first: None,
            baseline_ratio: None,
        }
    }

    /// The worst verdict per bounded metric.
    fn constraints(&self, index: usize, constrained: &[MetricRef]) -> Vec<ConstraintVerdict> {
        let manifest = &self.sweep.manifest;
        let same = |a: &MetricRef, b: &MetricRef| {
            (a.workload == b.workload && a.name == b.name)
                && arm::resolve(manifest, a) == arm::resolve(manifest, b)
        };
        constrained
            .iter()
            .map(|metric| {
                let position = self.metrics.iter().position(|known| same(known, metric));
                let bounds = manifest.objective.constraints.iter();
                bounds
                    .filter(|bound| bound.metric == *metric)
                    .filter_map(|bound| Some(self.measured[position?].verdict(index, bound)))
                    .max()
                    .unwrap_or(ConstraintVerdict::NotMeasured)
            })
            .collect()
    }

    /// Eligible rows, best geometric mean first; equal ones in the grid's order.
    fn order(&self, rows: &[RankedConfiguration]) -> Vec<usize> {
        let mean = |index: usize| rows[index].estimates[0].map_or(f64::NAN, |e| e.geomean);
        let mut order: Vec<usize> = (0..rows.len()).filter(|&i| rows[i].eligible).collect();
        order.sort_by(|&a, &b| match self.sweep.manifest.objective.goal {
            Goal::Minimize => mean(a).total_cmp(&mean(b)),
            Goal::Maximize => mean(b).total_cmp(&mean(a)),
        });
        order
    }

    fn baseline(&self) -> Option<usize> {
        let name = self.sweep.manifest.baseline.as_ref()?;
        self.arms.iter().position(|arm| {
            arm.configuration.name == *name || arm.configuration.aliases.contains(name)
        })
    }

    fn compare_with_baseline(&self, rows: &mut [RankedConfiguration]) {
        let measured = &self.measured[0];
        let Some(named) = self.baseline() else { return };
        // A baseline whose flags were overridden is compared as what it ran as.
        let baseline = self.arms[named].same_as.unwrap_or(named);
        let Some(base) = measured.logs[baseline].as_ref() else { return };
        for (index, row) in rows.iter_mut().enumerate() {
            if index == named || index == baseline || !row.eligible {
                continue;
            }
            let Some(logs) = measured.logs[index].as_ref() else { continue };
            let Some(difference) = logs.mean().zip(base.mean()).map(|(a, b)| a - b) else {
                continue;
            };
            let error = measured.components.of_difference(logs, base);
            let interval =
                Interval::around(difference, error.variance.sqrt(), error.degrees_of_freedom);
            row.baseline_ratio = Some(Ratio { ratio: difference.exp(), interval: interval.exp() });
        }
    }
}

/// Ranks, labels and p-values; what the first rank carries.
fn place(rows: &mut [RankedConfiguration], order: &[usize], objective: &Measured) -> Verdict {
    let Some((&first, others)) = order.split_first() else {
        let reason = match rows {
            [] => "there is no configuration".to_owned(),
            [row] => row.reason.clone().unwrap_or_default(),
            _ => format!("none of {} configurations is eligible", rows.len()),
        };
        return Verdict::Nothing { reason };
    };
    let logs = |index: usize| objective.logs[index].as_ref();
    let others_logs: Vec<&statistics::Arm> = others.iter().filter_map(|&i| logs(i)).collect();
    let differences = logs(first).map_or_else(Vec::new, |first| {
        statistics::differences_to_first(first, &others_logs, &objective.components)
    });
    // The last place that is not told apart closes the group: with unequal
    // numbers of launches a better mean may be known better.
    let mut group = 1;
    for (place, (&index, difference)) in others.iter().zip(&differences).enumerate() {
        rows[index].p_first = difference.map(|difference| difference.p);
        if rows[index].p_first.is_none_or(|p| p >= SIGNIFICANCE) {
            group = place + 2;
        }
    }
    for (place, &index) in order.iter().enumerate() {
        rows[index].rank = Some(place as u32 + 1);
        rows[index].rank_label = Some(match (place < group, group) {
            (true, 2..) => format!("1-{group}"),
            _ => (place + 1).to_string(),
        });
    }
    let name = |index: usize| rows[index].name.clone();
    if others.is_empty() {
        return Verdict::Only { name: name(first) };
    }
    if objective.components.assumed() {
        let once = |i: &&usize| logs(**i).is_some_and(|logs| logs.launches() < 2);
        let more_launches = order.iter().filter(once).count().max(1) as u32;
        return Verdict::Insufficient { leader: name(first), more_launches };
    }
    match group {
        1 => Verdict::First { name: name(first) },
        _ => Verdict::Tie { names: order[..group].iter().map(|&index| name(index)).collect() },
    }
}
