//! A metric over all arms: its values on the scale on which they are compared,
//! what is known of each mean, and how sure a difference is.
//!
//! - Ratios: geometric means; the variance of the logarithms is pooled over the arms. Of
//!   the objective the machine's own level is taken out ([`Level`]); bounds and other
//!   metrics are judged by each arm's own launches.
//! - An objective that may be zero, and never was, is compared as ratios too. Of events
//!   that were counted in every repeat the relative spread is pooled over the arms.
//! - Everything that may be zero or negative: arithmetic means, from the arm's own
//!   spread, since counts of different arms share none. Where the values of few
//!   launches are equal, or there is one launch, the same spread is assumed as of
//!   ratios (4 % between launches), relative to the arm's own mean.
//! - Events and shares: exact intervals from the counts; where what is counted is
//!   not the same again, hulled with the interval of the spread, since failures
//!   and late answers come together.

use super::arm::{self, Arm};
use super::bounded::ConstraintVerdict;
use super::estimate::{Estimate, Ratio};
use super::hosts;
use super::level::{Level, Residual};
use super::machine::{Detectable, MachineCourse, MachineReport};
use super::sheet::Read;
use crate::history::record::SweepRecord;
use crate::metric::{Constraint, Goal, Metric, Scale};
use crate::statistics::{
    self, Belief, Chances, Components, Events, Interval, Prior, Share, Uncertainty, two_sided_p,
};

mod claims;
mod shown;

/// A mean that is nearly the best one is at most this many times it, or this part of it.
const NEAR: f64 = 1.05;

/// A metric's values over all arms.
pub(super) struct Measured {
    /// That of the catalogue, or ratios of an objective that never was zero.
    scale: Scale,
    /// Whether it may be zero, and is compared as ratios since it never was.
    is_switched: bool,
    /// The objective's launches with the machine's level taken out.
    level: Option<Level>,
    /// By arm, the first one that it can be compared with; none where all ran on one host.
    groups: Vec<usize>,
    /// Of events that were counted in every repeat: the spread relative to each arm's
    /// mean, pooled.
    relative: Option<Components>,
    /// The smallest and the largest possible value.
    range: Interval,
    /// The case that it is of; `None` where it names none and there are several.
    pub(super) case: Option<String>,
    /// Values by arm, as far as there is a case.
    arms: Option<Vec<statistics::GroupedValues>>,
    /// Counts by arm, of shares.
    shares: Vec<Option<Share>>,
    /// Logs by arm, of ratios; `None` where there is no value, or one that is not positive.
    logs: Vec<Option<statistics::GroupedValues>>,
    /// Pooled over the logs.
    components: Components,
    /// Launches from which an arm can be in a claim.
    claimed_from: usize,
}

impl Measured {
    /// What configurations are ranked by: ratios have the machine's level taken out.
    pub(super) fn objective(sweep: &SweepRecord, arms: &[Arm<'_>], read: Read<'_>) -> Self {
        let chooses = sweep.manifest.strategy.chooses();
        let metric = read.metric;
        let mut measured = Self::new(arms, read);
        if measured.scale == Scale::Differences && measured.all_positive() {
            let Self { case, arms: by_arm, .. } = measured;
            measured = Self::on(Scale::Ratios, arms, Read { metric, case, by_arm });
            measured.is_switched = true;
        }
        measured.groups = hosts::groups(sweep, arms, metric, measured.case.as_deref());
        if let (Scale::Ratios, Some(case)) = (measured.scale, &measured.case) {
            let level = if chooses { Level::of_race } else { Level::new };
            measured.level = level(arms, metric, case, sweep);
        }
        measured
    }

    /// Any other metric, of its values.
    pub(super) fn new(arms: &[Arm<'_>], read: Read<'_>) -> Self {
        let scale = read.metric.known().map_or(Scale::Ratios, |known| known.scale);
        Self::on(scale, arms, read)
    }

    fn on(scale: Scale, arms: &[Arm<'_>], read: Read<'_>) -> Self {
        let Read { metric, case, by_arm: values } = read;
        let known = metric.known();
        let signed = known.is_none_or(Metric::may_be_negative);
        let low = if signed { f64::NEG_INFINITY } else { 0.0 };
        let high = if known.is_some_and(|it| it.unit == "share") { 1.0 } else { f64::INFINITY };
        let share = |a: &Arm<'_>| match scale {
            Scale::Share(counted) => arm::share(&a.launches, metric, case.as_ref()?, counted),
            Scale::Ratios | Scale::Differences | Scale::Events => None,
        };
        let logs: Vec<Option<statistics::GroupedValues>> = (0..arms.len())
            .map(|index| {
                let values = values.as_ref()?.get(index).filter(|_| scale == Scale::Ratios)?;
                values.log().filter(|logs| logs.repeats() > 0)
            })
            .collect();
        // What ran under two names is pooled once.
        let own = arms.iter().zip(&logs).filter(|(arm, _)| arm.same_as.is_none());
        let components = Components::pool(own.filter_map(|(_, logs)| logs.as_ref()), Prior::LOG);
        let shares = arms.iter().map(share).collect();
        let mut measured = Self {
            scale,
            is_switched: false,
            level: None,
            groups: Vec::new(),
            relative: None,
            range: Interval { low, high },
            case,
            arms: values,
            shares,
            logs,
            components,
            claimed_from: 2,
        };
        if scale == Scale::Events && measured.all_positive() {
            measured.relative = measured.relative_spread(arms);
        }
        measured
    }

    /// Whether there are values, and none of them is zero or negative.
    fn all_positive(&self) -> bool {
        let all = || self.arms.iter().flatten().flat_map(|arm| arm.values().iter().flatten());
        all().next().is_some() && all().all(|value| *value > 0.0)
    }

    fn relative_spread(&self, arms: &[Arm<'_>]) -> Option<Components> {
        let own = arms.iter().zip(self.arms.as_ref()?).filter(|(arm, _)| arm.same_as.is_none());
        let relative: Vec<statistics::GroupedValues> =
            own.filter_map(|(_, values)| Some(values.times(1.0 / values.mean()?))).collect();
        Some(Components::pool(&relative, Prior::around(1.0)))
    }

    /// The arm's own variance components; of events, what all arms share of them.
    fn own(&self, values: &statistics::GroupedValues) -> Components {
        let mean = values.mean().unwrap_or_default();
        match &self.relative {
            Some(relative) => relative.scaled(mean.abs()),
            None => Components::pool([values], Prior::around(mean)),
        }
    }

    /// How configurations are compared by it.
    pub(super) fn scale(&self) -> Scale {
        self.scale
    }

    /// Launch-to-launch SD and SD of a repeat with the machine's level taken out.
    pub(super) fn deviations(&self) -> Option<(f64, f64)> {
        self.level.as_ref().map(Level::deviations)
    }

    /// What the machine did; `None` where no time effect is taken out.
    pub(super) fn machine(
        &self,
        ranked: &[usize],
        baseline: Option<usize>,
    ) -> Option<MachineReport> {
        Some(self.level.as_ref()?.report(ranked, baseline))
    }

    /// The machine's level over the launches; `None` likewise.
    pub(super) fn course(&self) -> Option<MachineCourse> {
        self.level.as_ref().map(Level::course)
    }

    /// The smallest difference to `first` that its launches can show.
    pub(super) fn detectable(&self, first: usize, others: &[usize]) -> Option<Detectable> {
        self.level.as_ref()?.detectable(first, others)
    }

    /// What is left of each launch of the objective, in the order of time.
    pub(super) fn residuals(&self) -> Vec<Residual> {
        self.level.as_ref().map_or_else(Vec::new, Level::residuals)
    }

    /// What is left of an arm's launches when it and the machine's level are taken out.
    pub(super) fn rests(&self, index: usize) -> Vec<f64> {
        self.level.as_ref().map_or_else(Vec::new, |level| level.rests(index))
    }

    pub(super) fn values(&self, index: usize) -> Option<&statistics::GroupedValues> {
        self.arms.as_ref()?.get(index).filter(|values| values.repeats() > 0)
    }

    /// The pooled variance components of ratios that were measured.
    pub(super) fn components(&self) -> Option<Components> {
        self.logs.iter().any(Option::is_some).then_some(self.components)
    }

    /// Whether something was launched twice: a probability by a spread that is only assumed
    /// would call any difference beyond it certain.
    pub(super) fn knows_scatter(&self) -> bool {
        self.level.is_some() || !self.components.launch_assumed
    }

    /// What the arms are compared by; `None` where a ratio has no logarithm.
    pub(super) fn estimate(&self, index: usize) -> Option<Estimate> {
        self.at_mean_speed(index).or_else(|| self.by_own_launches(index))
    }

    /// With the machine's level taken out.
    fn at_mean_speed(&self, index: usize) -> Option<Estimate> {
        let (level, logs) = (self.level.as_ref()?, self.logs[index].as_ref()?);
        let (mean, error) = (level.mean(index)?, level.error(index)?);
        let interval = Interval::around(mean, error.variance.sqrt(), error.degrees_of_freedom);
        Some(Estimate {
            mean: mean.exp(),
            geomean: Some(mean.exp()),
            interval: Some(interval.exp()),
            launches: logs.launches(),
            repeats: logs.repeats(),
            assumed: logs.launches() < 2,
        })
    }

    fn by_own_launches(&self, index: usize) -> Option<Estimate> {
        if self.scale != Scale::Ratios {
            return self.plain(index);
        }
        let logs = self.logs[index].as_ref()?;
        let geomean = logs.mean()?.exp();
        Some(Estimate {
            mean: geomean,
            geomean: Some(geomean),
            interval: Some(self.components.interval(logs)?.exp()),
            launches: logs.launches(),
            repeats: logs.repeats(),
            assumed: self.components.assumed(),
        })
    }

    /// What a bound is compared with: the same, or plain values where there is no
    /// logarithm. It does not depend on any other arm.
    pub(super) fn judged(&self, index: usize) -> Option<Estimate> {
        self.by_own_launches(index).or_else(|| self.plain(index))
    }

    /// Arithmetic mean, and the interval that counts or the arm's own spread give.
    fn plain(&self, index: usize) -> Option<Estimate> {
        let values = self.values(index)?;
        let own = self.own(values);
        let spread = own.interval(values).filter(|interval| interval.high > interval.low);
        let spread = spread.map(|it| Interval { low: it.low.max(self.range.low), ..it });
        let share = self.shares[index];
        let exact = match self.scale {
            Scale::Share(_) => share.map(Share::interval),
            Scale::Events => Some(events(values).interval()),
            Scale::Ratios | Scale::Differences => None,
        };
        let interval = match (exact, spread) {
            (Some(exact), _) if self.asked_again() => Some(exact),
            (Some(exact), Some(spread)) => Some(self.hull(exact, spread)),
            (exact, spread) => exact.or(spread),
        };
        let by_spread = spread.is_some() && !(exact.is_some() && self.asked_again());
        Some(Estimate {
            mean: share.map_or(values.mean()?, Share::value),
            geomean: values.log().and_then(|logs| logs.mean()).map(f64::exp),
            interval,
            launches: values.launches(),
            repeats: values.repeats(),
            assumed: by_spread && own.assumed(),
        })
    }

    fn asked_again(&self) -> bool {
        matches!(self.scale, Scale::Share(counted) if counted.asked_again)
    }

    /// The wider of both at each end; a share is 1 at most.
    fn hull(&self, exact: Interval, spread: Interval) -> Interval {
        let max = if self.scale == Scale::Events { f64::INFINITY } else { 1.0 };
        Interval { low: exact.low.min(spread.low), high: exact.high.max(spread.high).min(max) }
    }

    /// Whether the arm is within a bound.
    pub(super) fn verdict(&self, index: usize, bound: &Constraint) -> ConstraintVerdict {
        let Some(judged) = self.judged(index) else { return ConstraintVerdict::NotMeasured };
        judged.interval.map_or(ConstraintVerdict::NotShown, |interval| judge(interval, bound))
    }

    /// The difference of two arms' logarithms, the machine's level taken out where it is known.
    fn log_difference(&self, a: usize, b: usize) -> Option<(f64, Uncertainty)> {
        if !self.is_comparable(a, b) {
            return None;
        }
        let with_level = self.level.as_ref().and_then(|level| level.difference(a, b));
        with_level.or_else(|| {
            let (of_a, of_b) = (self.logs[a].as_ref()?, self.logs[b].as_ref()?);
            Some((of_a.mean()? - of_b.mean()?, self.components.of_difference(of_a, of_b)))
        })
    }

    /// The difference of two arms' logarithms by their launches alone, no time effect taken
    /// out, and half the width of its interval.
    pub(super) fn by_launches_alone(&self, a: usize, b: usize) -> Option<(f64, f64)> {
        if !self.is_comparable(a, b) {
            return None;
        }
        let (of_a, of_b) = (self.logs[a].as_ref()?, self.logs[b].as_ref()?);
        let error = self.components.of_difference(of_a, of_b);
        let t = statistics::t_quantile(0.975, error.degrees_of_freedom);
        Some((of_a.mean()? - of_b.mean()?, t * error.variance.sqrt()))
    }

    /// Whether an arm's mean is within this part of another's.
    pub(super) fn is_within(&self, arm: usize, of: usize, part: f64) -> bool {
        let (Some(arm), Some(of)) = (self.estimate(arm), self.estimate(of)) else { return false };
        // As if a mean were exact: 1.01 times it is within 1 %.
        let rounding = 1e-9;
        if self.scale == Scale::Ratios {
            return (arm.mean / of.mean).ln().abs() <= part.ln_1p() + rounding;
        }
        (arm.mean - of.mean).abs() <= of.mean.abs() * part + rounding
    }

    /// The probability that each of these arms is the best, and that it is less
    /// than 5 % from it; `None` where no ratio is taken, and of none where two of them cannot
    /// be compared, or where nothing shows what launches differ by.
    pub(super) fn chances(&self, arms: &[usize], goal: Goal) -> Vec<Option<Chances>> {
        let is_apart = |arm: &usize| !self.is_comparable(arms[0], *arm);
        if !self.knows_scatter() || arms.iter().any(is_apart) {
            return vec![None; arms.len()];
        }
        let sign = if goal == Goal::Minimize { 1.0 } else { -1.0 };
        let of_levels = self.level.as_ref().and_then(|level| level.errors(arms));
        let belief = |(at, index): (usize, &usize)| {
            let logs = self.logs[*index].as_ref()?;
            let level = self.level.as_ref().and_then(|level| level.mean(*index));
            let (mean, error) = match (level, &of_levels) {
                (Some(mean), Some(errors)) => (mean, errors[at]),
                _ => (logs.mean()?, self.components.of_mean(logs)),
            };
            Some(Belief {
                mean: sign * mean,
                error: error.variance.sqrt(),
                degrees_of_freedom: error.degrees_of_freedom,
            })
        };
        match arms.iter().enumerate().map(belief).collect::<Option<Vec<Belief>>>() {
            Some(beliefs) => {
                statistics::chances(&beliefs, NEAR.ln()).into_iter().map(Some).collect()
            }
            None => vec![None; arms.len()],
        }
    }

    /// How well the difference is known by the spread of the noisier one, taken for both.
    fn noisier_error(
        &self,
        of_a: &statistics::GroupedValues,
        other: &Self,
        of_b: &statistics::GroupedValues,
    ) -> Uncertainty {
        let (own_a, own_b) = (self.own(of_a), other.own(of_b));
        let a_is_noisier = own_a.of_mean(of_a).variance >= own_b.of_mean(of_b).variance;
        if a_is_noisier { own_a } else { own_b }.of_difference(of_a, of_b)
    }

    /// Whether every value of these arms is 0.
    pub(super) fn all_zero(&self, arms: &[usize]) -> bool {
        let zero = |index: &usize| {
            let values = self.values(*index);
            values.is_some_and(|values| values.values().iter().flatten().all(|it| *it == 0.0))
        };
        !arms.is_empty() && arms.iter().all(zero)
    }

    /// The arm's mean over the other's; `None` where means may be zero.
    pub(super) fn ratio(&self, index: usize, to: usize) -> Option<Ratio> {
        self.ratio_missing(1.0 - statistics::CONFIDENCE, index, to)
    }

    /// The same with an interval that misses the true ratio with this probability.
    pub(super) fn ratio_missing(&self, error: f64, index: usize, to: usize) -> Option<Ratio> {
        if self.scale != Scale::Ratios {
            return None;
        }
        let (difference, of) = self.log_difference(index, to)?;
        let (deviation, freedom) = (of.variance.sqrt(), of.degrees_of_freedom);
        let interval = Interval::missing(error, difference, deviation, freedom);
        Some(Ratio { ratio: difference.exp(), interval: interval.exp() })
    }

    /// The arm's mean minus the other's where ratios are not taken, with the
    /// interval that both intervals make by squaring and adding (G. Y. Zou, A.
    /// Donner, Stat. Med. 27, 2008; of shares R. G. Newcombe, Stat. Med. 17, 1998).
    pub(super) fn difference(&self, index: usize, to: usize) -> Option<(f64, Interval)> {
        self.is_comparable(index, to).then(|| self.difference_across(index, self, to))?
    }

    /// The same to an arm of another sweep.
    fn difference_across(&self, index: usize, base: &Self, to: usize) -> Option<(f64, Interval)> {
        if self.scale == Scale::Ratios && !self.is_switched {
            return None;
        }
        let (a, b) = (self.plain(index)?, base.plain(to)?);
        let difference = a.mean - b.mean;
        let (Some(of_a), Some(of_b)) = (a.interval, b.interval) else {
            // One does not vary: the other's spread is taken for both, as for the p-value.
            let error = self.noisier_error(self.values(index)?, base, base.values(to)?);
            let deviation = error.variance.sqrt();
            let interval = || Interval::around(difference, deviation, error.degrees_of_freedom);
            return (deviation > 0.0).then(|| (difference, interval()));
        };
        let low = difference - (a.mean - of_a.low).hypot(of_b.high - b.mean);
        let high = difference + (of_a.high - a.mean).hypot(b.mean - of_b.low);
        Some((difference, Interval { low, high }))
    }

    /// The arm compared with one of another sweep, measured by the same metric. The
    /// sweeps share no variance: each has its own, and both count.
    pub(super) fn contrast(&self, index: usize, base: &Self, to: usize) -> Option<Contrast> {
        if self.scale != Scale::Ratios {
            let (value, interval) = self.difference_across(index, base, to)?;
            let p = self.p_of_difference(index, base, to).map(|p| (2.0 * p).min(1.0));
            return Some(Contrast { value, interval, p, log: None });
        }
        let (logs, others) = (self.logs[index].as_ref()?, base.logs[to].as_ref()?);
        let difference = logs.mean()? - others.mean()?;
        let error = self.components.of_mean(logs).plus(base.components.of_mean(others));
        let (deviation, df) = (error.variance.sqrt(), error.degrees_of_freedom);
        Some(Contrast {
            value: difference.exp(),
            interval: Interval::around(difference, deviation, df).exp(),
            p: (deviation > 0.0).then(|| two_sided_p(difference / deviation, df)),
            log: Some((difference, error)),
        })
    }
}

/// An arm compared with another: a ratio of geometric means, or a difference of
/// arithmetic ones where the metric may be zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Contrast {
    pub(super) value: f64,
    /// 95 %, not adjusted for multiplicity.
    pub(super) interval: Interval,
    /// Two-sided, not adjusted; `None` where nothing could be tested.
    pub(super) p: Option<f64>,
    /// Of a ratio: its logarithm, and how well it is known.
    pub(super) log: Option<(f64, Uncertainty)>,
}

/// All events that the repeats counted.
fn events(values: &statistics::GroupedValues) -> Events {
    Events { counted: values.values().iter().flatten().sum(), repeats: values.repeats() }
}

fn judge(interval: Interval, bound: &Constraint) -> ConstraintVerdict {
    let (min, max) = (bound.min.unwrap_or(f64::NEG_INFINITY), bound.max.unwrap_or(f64::INFINITY));
    if interval.low > max || interval.high < min {
        ConstraintVerdict::Violated
    } else if interval.high <= max && interval.low >= min {
        ConstraintVerdict::Holds
    } else {
        ConstraintVerdict::NotShown
    }
}
