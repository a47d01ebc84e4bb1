//! What can be shown between arms: p-values, which arms have enough launches to be in a
//! claim, and how probably the first one is good enough. The means and their intervals are
//! in the module above.

use super::{Measured, NEAR, events};
use crate::metric::{Goal, Scale};
use crate::statistics::{self, two_sided_p};

impl Measured {
    /// The same where launches were chosen by what was measured: from how many on an arm can
    /// be in a claim.
    #[must_use]
    pub(in crate::results) fn claimed_from(mut self, launches: usize) -> Self {
        self.claimed_from = launches;
        self
    }

    /// Whether launches were chosen by what was measured.
    pub(in crate::results) fn is_choosing(&self) -> bool {
        self.claimed_from > 2
    }

    /// Whether an arm with values has too few launches for a claim.
    pub(in crate::results) fn has_too_few(&self, index: usize) -> bool {
        self.values(index).is_some_and(|values| values.launches() < self.claimed_from)
    }

    /// Whether a chain of common hosts connects two arms: otherwise a difference between
    /// them may be that of their hosts.
    pub(in crate::results) fn is_comparable(&self, a: usize, b: usize) -> bool {
        self.groups.get(a) == self.groups.get(b)
    }

    /// Whether the choice of launches leaves both enough of them, and hosts connect them.
    /// Where it does not choose, a scale has its own rule for what was launched once.
    fn can_be_compared(&self, a: usize, b: usize) -> bool {
        let enough = !self.is_choosing() || !(self.has_too_few(a) || self.has_too_few(b));
        enough && self.is_comparable(a, b)
    }

    /// The probability that the first of these arms, best first, is within 5 % of the best:
    /// 1 - sum of P(another one is more than 5 % better), each normal. This is the rule that
    /// ends a race; `None` where ratios are not taken, and where nothing shows what launches
    /// differ by.
    pub(in crate::results) fn p_good_enough(&self, order: &[usize], goal: Goal) -> Option<f64> {
        let (&first, others) = order.split_first()?;
        let sign = if goal == Goal::Minimize { 1.0 } else { -1.0 };
        let mut missed = 0.0;
        for &other in others {
            let (difference, error) = self.log_difference(other, first)?;
            let reach = (sign * difference + NEAR.ln()) / error.variance.sqrt().max(1e-12);
            let beyond = two_sided_p(reach, f64::INFINITY) / 2.0;
            missed += if reach >= 0.0 { beyond } else { 1.0 - beyond };
        }
        let is_known = self.scale == Scale::Ratios && self.knows_scatter();
        is_known.then(|| (1.0 - missed).max(0.0))
    }

    /// Adjusted p-values of "the first is better" for each of the others.
    pub(in crate::results) fn p_to_first(
        &self,
        first: usize,
        others: &[usize],
    ) -> Vec<Option<f64>> {
        if self.scale != Scale::Ratios {
            let p = |&other: &usize| {
                self.can_be_compared(first, other).then(|| self.p_of_difference(first, self, other))
            };
            let one_sided: Vec<Option<f64>> = others.iter().map(|it| p(it).flatten()).collect();
            return statistics::adjusted_to_first(&one_sided);
        }
        let one_sided: Vec<Option<f64>> =
            others.iter().map(|&other| Some(self.p_of_ratio(first, other)? / 2.0)).collect();
        statistics::adjusted_to_first(&one_sided)
    }

    /// Two-sided p-value of "both are equal"; `None` where one has too few launches.
    pub(in crate::results) fn p_of_ratio(&self, a: usize, b: usize) -> Option<f64> {
        if self.has_too_few(a) || self.has_too_few(b) {
            return None;
        }
        let (difference, error) = self.log_difference(a, b)?;
        let deviation = error.variance.sqrt();
        Some(match (deviation > 0.0, difference == 0.0) {
            (true, _) => two_sided_p(difference / deviation, error.degrees_of_freedom),
            (false, true) => 1.0,
            (false, false) => 0.0,
        })
    }

    /// p-values of "better than `base`" for each of these arms, not adjusted: two-sided where
    /// a ratio is taken, so that they agree with its interval.
    pub(in crate::results) fn p_better(
        &self,
        base: usize,
        arms: &[usize],
        goal: Goal,
    ) -> Vec<Option<f64>> {
        arms.iter()
            .map(|&arm| {
                let (own, other) = (self.estimate(arm)?.mean, self.estimate(base)?.mean);
                let better = if goal == Goal::Minimize { own < other } else { own > other };
                let p = match self.scale {
                    Scale::Ratios => self.p_of_ratio(arm, base)?,
                    _ => self.p_unless_once(arm, base)?,
                };
                Some(if better { p } else { 1.0 })
            })
            .collect()
    }

    /// Two-sided, on the plain scale.
    pub(in crate::results) fn p_unless_once(&self, a: usize, b: usize) -> Option<f64> {
        let by_launches = !self.asked_again() && (self.launched_once(a) || self.launched_once(b));
        let by_launches = by_launches || !self.can_be_compared(a, b);
        (!by_launches).then(|| self.p_of_difference(a, self, b))?.map(|p| (2.0 * p).min(1.0))
    }

    /// One-sided p-value of a difference on the plain scale: the larger of what
    /// the counts and what the spread give, that of the noisier arm taken for both.
    /// `b` is an arm of `other`: of the same sweep, or of another one.
    pub(super) fn p_of_difference(&self, a: usize, other: &Self, b: usize) -> Option<f64> {
        let (of_a, of_b) = (self.values(a)?, other.values(b)?);
        let exact = match self.scale {
            Scale::Share(_) => Some(self.shares[a]?.p_of_difference(other.shares[b]?)),
            Scale::Events => Some(events(of_a).p_of_difference(events(of_b))),
            Scale::Ratios | Scale::Differences => None,
        };
        let error = self.noisier_error(of_a, other, of_b);
        let t = (of_a.mean()? - of_b.mean()?) / error.variance.sqrt();
        let spread = (error.variance > 0.0).then(|| two_sided_p(t, error.degrees_of_freedom) / 2.0);
        match (exact, spread) {
            (Some(exact), Some(spread)) if !self.asked_again() => Some(exact.max(spread)),
            (exact, spread) => exact.or(spread),
        }
    }

    /// Whether an order of these arms rests on a spread that was not measured.
    pub(in crate::results) fn assumed(&self, ranked: &[usize]) -> bool {
        match self.scale {
            Scale::Share(counted) if counted.asked_again => false,
            _ => ranked.iter().any(|index| self.launched_once(*index)),
        }
    }

    /// Whether one launch alone gave values.
    pub(in crate::results) fn launched_once(&self, index: usize) -> bool {
        self.values(index).is_some_and(|values| values.launches() < 2)
    }
}
