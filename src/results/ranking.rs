//! The ranking: which configurations can be ranked, in which order, and what
//! that order carries. Computed as plain values first; the frame and the
//! terminal table tell the same ranking.
//!
//! - Only `ok` repeats count, never a warm-up (repeat 0).
//! - Configurations that failed, lost more than a quarter of their repeats to
//!   failures, ran with another flag than they asked for, or violate a constraint are rows without a rank, with the reason; they are
//!   never scored as "worst". A constraint that is merely not shown to hold
//!   leaves the rank and is remarked.
//! - `rank` is the order of the means: geometric ones, or arithmetic ones of metrics
//!   that may be zero or negative ([`Scale`]). `rank_label` says what the
//!   order carries: all that cannot be told apart from rank 1 share `1-n`. Below
//!   that group a label is the place by mean; neighbours there are not claimed
//!   to differ from each other, only from rank 1.

use std::collections::BTreeSet;

use super::arm::{self, Arm};
use super::eligibility::failures;
use super::failed_repeats::{Place, Repeats};
use super::measured::Measured;
use super::preference::preferred;
pub use super::verdict::{ConstraintVerdict, RankingVerdict};
use crate::configuration::Flags;
use crate::history::launch::LaunchFailure;
use crate::history::launch::LaunchOutcome;
use crate::history::record::{Manifest, SweepRecord};
use crate::metric::{Constraint, Direction, Form, Goal, MetricRef, Objective, Scale};
use crate::statistics::{Chances, Components, Interval, SIGNIFICANCE};

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
    pub verdict: RankingVerdict,
    /// How the objective is compared.
    pub scale: Scale,
    /// Variance components of the objective on log scale; `None` where nothing was
    /// measured, and where it is not compared by logarithms.
    pub components: Option<Components>,
}

/// One configuration and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct RankedConfiguration {
    /// Place by mean, from 1; `None` where not eligible.
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
    /// What a reader should know of an eligible one beside its bounds;
    /// [`all_remarks`](Self::all_remarks) has those too.
    pub remarks: Vec<String>,
    /// Launches that were started, failed ones too.
    pub launches: u32,
    /// Repeats of the objective that count.
    pub repeats: u32,
    /// Launches that failed.
    pub failures: u32,
    /// Repeats of any workload and case that failed.
    pub failed_repeats: u32,
    /// Repeats of any workload and case that were void.
    pub void_repeats: u32,
    /// Class of the last failure.
    pub failure_class: Option<&'static str>,
    /// Estimates, parallel to [`Ranking::metrics`].
    pub estimates: Vec<Option<Estimate>>,
    /// How it stands against the bounds, parallel to [`Ranking::constrained`].
    pub constraints: Vec<Bounded>,
    /// Adjusted p-value of the difference to rank 1
    /// ([`adjusted_to_first`](crate::statistics::adjusted_to_first)); `None` for rank 1 and without a rank.
    pub p_first: Option<f64>,
    /// Probability that it is the best of the ranked ones, and that it is less than
    /// 5 % from it ([`chances`](crate::statistics::chances)); `None` without a rank,
    /// and where the objective may be zero.
    pub chances: Option<Chances>,
    /// Whether it is the one to take of several first ones that cannot be told apart.
    pub preferred: bool,
    /// Objective as a ratio to the baseline's; `None` for the baseline itself.
    pub baseline_ratio: Option<Ratio>,
    /// The same as a difference, where means may be zero, with its 95 % interval.
    pub baseline_difference: Option<(f64, Interval)>,
}

/// A bounded metric of one configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounded {
    /// The metric.
    pub metric: MetricRef,
    /// Its bounds: one as a rule.
    pub bounds: Vec<Constraint>,
    /// What is held against them.
    pub estimate: Option<Estimate>,
    /// The worst verdict.
    pub verdict: ConstraintVerdict,
}

/// Mean of a metric and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// In the metric's unit: geometric, or arithmetic where the metric may be zero
    /// or negative.
    pub mean: f64,
    /// Geometric mean, where all values have a logarithm.
    pub geomean: Option<f64>,
    /// Interval of the mean; `None` where equal values leave nothing to make one of.
    pub interval: Option<Interval>,
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
    let places = context.judged_places(&constrained);
    let mut rows: Vec<RankedConfiguration> =
        (0..arms.len()).map(|index| context.row(index, &constrained, &places)).collect();
    let order = context.order(&rows);
    let verdict = place(&mut rows, &order, &measured[0]);
    context.compare_with_baseline(&mut rows);
    context.weigh(&mut rows, &order, &verdict);
    let mut places: Vec<usize> = order;
    places.extend((0..rows.len()).filter(|&index| !rows[index].eligible));
    Ranking {
        sweep: sweep.manifest.sweep.clone(),
        simulated: sweep.manifest.simulated,
        objective: objective.clone(),
        scale: metrics[0].known().map_or(Scale::Ratios, |known| known.scale),
        components: measured[0].components(),
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
    fn row(
        &self,
        index: usize,
        constrained: &[MetricRef],
        judged: &[Place],
    ) -> RankedConfiguration {
        let arm = &self.arms[index];
        let constraints = self.constraints(index, constrained);
        let repeats = Repeats::of(arm, judged);
        let reason = self.reason(index, &constraints, &repeats);
        let failures: Vec<&LaunchFailure> = failures(arm).collect();
        let remarks = match reason {
            None => self.remarks(index, &repeats, &failures),
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
            failed_repeats: repeats.iter().map(Repeats::failed).sum::<usize>() as u32,
            void_repeats: repeats.iter().map(Repeats::void).sum::<usize>() as u32,
            failure_class: failures.last().map(|failure| failure.class.as_str()),
            estimates,
            constraints,
            p_first: None,
            chances: None,
            preferred: false,
            baseline_ratio: None,
            baseline_difference: None,
        }
    }

    /// How an arm stands against the bounds of each bounded metric.
    fn constraints(&self, index: usize, constrained: &[MetricRef]) -> Vec<Bounded> {
        let bounds_of = |metric: &MetricRef| -> Vec<Constraint> {
            let all = self.sweep.manifest.objective.constraints.iter();
            all.filter(|bound| bound.metric == *metric).cloned().collect()
        };
        constrained
            .iter()
            .map(|metric| {
                let (measured, bounds) = (self.of(metric), bounds_of(metric));
                let verdicts =
                    bounds.iter().filter_map(|bound| Some(measured?.verdict(index, bound)));
                Bounded {
                    verdict: verdicts.max().unwrap_or(ConstraintVerdict::NotMeasured),
                    estimate: measured.and_then(|measured| measured.judged(index)),
                    metric: metric.clone(),
                    bounds,
                }
            })
            .collect()
    }

    /// What was measured of a metric, however a reference names its only case.
    pub(super) fn of(&self, metric: &MetricRef) -> Option<&Measured> {
        let case = |metric: &MetricRef| arm::resolve(&self.sweep.manifest, metric);
        let same = |known: &MetricRef| {
            (known.workload == metric.workload && known.name == metric.name)
                && case(known) == case(metric)
        };
        let position = self.metrics.iter().position(same)?;
        self.measured.get(position)
    }

    /// Eligible rows, best mean first; equal ones in the grid's order.
    fn order(&self, rows: &[RankedConfiguration]) -> Vec<usize> {
        let mean = |index: usize| rows[index].estimates[0].map_or(f64::NAN, |e| e.mean);
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
        for (index, row) in rows.iter_mut().enumerate() {
            if index == named || index == baseline || !row.eligible {
                continue;
            }
            row.baseline_ratio = measured.ratio(index, baseline);
            row.baseline_difference = measured.difference(index, baseline);
        }
    }
}

impl Context<'_> {
    /// Chances of the ranked ones; which of those that cannot be told apart to take.
    fn weigh(&self, rows: &mut [RankedConfiguration], order: &[usize], verdict: &RankingVerdict) {
        let goal = self.sweep.manifest.objective.goal;
        let chances = self.measured[0].chances(order, goal);
        for (&index, chances) in order.iter().zip(chances) {
            rows[index].chances = chances;
        }
        let RankingVerdict::Tie { names } = verdict else { return };
        let group = &order[..names.len()];
        let configuration = |index: usize| self.arms[index].configuration;
        let tied: Vec<_> =
            group.iter().map(|&index| (&rows[index], configuration(index))).collect();
        if let Some(preferred) = preferred(&tied, self.baseline().map(configuration)) {
            rows[group[preferred]].preferred = true;
        }
    }
}

/// Ranks, labels and p-values; what the first rank carries.
fn place(
    rows: &mut [RankedConfiguration],
    order: &[usize],
    objective: &Measured,
) -> RankingVerdict {
    let Some((&first, others)) = order.split_first() else {
        let reason = match rows {
            [] => "there is no configuration".to_owned(),
            [row] => row.reason.clone().unwrap_or_default(),
            _ => format!("none of {} configurations is eligible", rows.len()),
        };
        return RankingVerdict::Nothing { reason };
    };
    let p_values = objective.p_to_first(first, others);
    // The last place that is not told apart closes the group: with unequal
    // numbers of launches a better mean may be known better.
    let mut group = 1;
    for (place, (&index, p)) in others.iter().zip(&p_values).enumerate() {
        rows[index].p_first = *p;
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
        return RankingVerdict::Only { name: name(first) };
    }
    if objective.assumed(order) {
        let once = |index: &&usize| objective.launched_once(**index);
        let more_launches = order.iter().filter(once).count().max(1) as u32;
        return RankingVerdict::Insufficient { leader: name(first), more_launches };
    }
    match group {
        1 => RankingVerdict::First { name: name(first) },
        _ => {
            RankingVerdict::Tie { names: order[..group].iter().map(|&index| name(index)).collect() }
        }
    }
}
