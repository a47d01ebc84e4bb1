//! Differences to the arm that came first, with the search for it paid for.

use super::holm::holm;
use super::interval::{Interval, two_sided_p};
use super::variance::{Components, GroupedValues};

/// The difference of an arm to the first one, on the arms' scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Mean of the arm minus mean of the first.
    pub estimate: f64,
    /// Its interval, not adjusted for multiplicity.
    pub interval: Interval,
    /// Adjusted p-value, see [`differences_to_first`].
    pub p: f64,
}

/// Differences of `others` to `first`, the arm with the best mean.
///
/// Each comparison has its one-sided p-value, paid for by [`adjusted_to_first`].
pub fn differences_to_first(
    first: &GroupedValues,
    others: &[&GroupedValues],
    components: &Components,
) -> Vec<Option<Difference>> {
    let raw: Vec<Option<(f64, Interval, f64)>> = others
        .iter()
        .map(|arm| {
            let estimate = arm.mean()? - first.mean()?;
            let of_difference = components.of_difference(arm, first);
            let (error, df) = (of_difference.variance.sqrt(), of_difference.degrees_of_freedom);
            let p = match (error > 0.0, estimate == 0.0) {
                (true, _) => two_sided_p(estimate / error, df),
                (false, true) => 1.0,
                (false, false) => 0.0,
            };
            Some((estimate, Interval::around(estimate, error, df), p / 2.0))
        })
        .collect();
    let one_sided: Vec<Option<f64>> = raw.iter().map(|raw| Some(raw.as_ref()?.2)).collect();
    raw.into_iter()
        .zip(adjusted_to_first(&one_sided))
        .map(|(raw, p)| {
            let (estimate, interval, _) = raw?;
            Some(Difference { estimate, interval, p: p? })
        })
        .collect()
}

/// One-sided p-values of "the first is better than this one", with the search for
/// the first paid for; what could not be tested stays so.
///
/// Holm over the comparisons, times the number of arms: the first was chosen by
/// these very data, so each arm could have been it (union bound). With two arms
/// this is the ordinary two-sided test. The probability of any false "the first is
/// better" is at most the level.
pub fn adjusted_to_first(one_sided: &[Option<f64>]) -> Vec<Option<f64>> {
    let tested: Vec<f64> = one_sided.iter().flatten().copied().collect();
    let arms = tested.len() as f64 + 1.0;
    let mut adjusted = holm(&tested).into_iter().map(|p| (p * arms).min(1.0));
    one_sided.iter().map(|p| p.and_then(|_| adjusted.next())).collect()
}
