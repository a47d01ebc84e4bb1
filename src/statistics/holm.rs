//! Holm's step-down adjustment of p-values.

/// Adjusted p-values in the order of `p_values`: rejecting those below `alpha`
/// keeps the probability of any false rejection at `alpha`, however the tests
/// depend on each other.
///
/// S. Holm, *A simple sequentially rejective multiple test procedure*,
/// Scand. J. Statist. 6 (1979).
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut largest: f64 = 0.0;
    for (position, &index) in order.iter().enumerate() {
        let hypotheses_left = (p_values.len() - position) as f64;
        largest = largest.max((p_values[index] * hypotheses_left).min(1.0));
        adjusted[index] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_published_example_is_reproduced() {
        // R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (got, wanted) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((got - wanted).abs() < 1e-12, "{adjusted:?}");
        }
        assert!(holm(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn it_lies_between_nothing_and_bonferroni(p in prop::collection::vec(0.0f64..=1.0, 1..30)) {
            let adjusted = holm(&p);
            for (raw, got) in p.iter().zip(&adjusted) {
                prop_assert!(*got >= *raw);
                prop_assert!(*got <= (raw * p.len() as f64).min(1.0));
            }
            // The order of the p-values is kept.
            for i in 0..p.len() {
                for j in 0..p.len() {
                    if p[i] < p[j] {
                        prop_assert!(adjusted[i] <= adjusted[j]);
                    }
                }
            }
        }
    }
}
