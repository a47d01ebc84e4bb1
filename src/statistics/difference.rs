//! p-values of differences to the arm that came first, with the search for it paid for.

use super::holm::holm;

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
