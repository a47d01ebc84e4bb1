use proptest::prelude::*;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::*;

/// All combinations of levels, the last factor fastest.
fn grid(levels: &[usize]) -> Vec<Factor> {
    let all: usize = levels.iter().product();
    let mut behind = all;
    let factors = levels.iter().map(|&levels| {
        behind /= levels;
        Factor { levels, of: (0..all).map(|at| at / behind % levels).collect() }
    });
    factors.collect()
}

/// A standard normal variable, by twelve uniform ones.
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
}

fn noise(n: usize, deviation: f64, seed: u64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| deviation * normal(&mut rng)).collect()
}

/// R: `anova(lm(y ~ a + b))` of a balanced table of 2 x 3, worked out by hand: the sum of
/// squares of a is 6 * 1.5^2 = 13.5, that of the rest 1, with 2 degrees of freedom.
#[test]
fn a_table_gives_the_figures_of_the_textbook() {
    let factors = grid(&[2, 3]);
    let values = [1.0, 2.0, 3.0, 3.5, 5.5, 6.0];
    let model = Additive::fit(&values, &factors, None);
    assert_eq!(model.freedom(), 2);
    let effect = model.effect(0).expect("two levels");
    assert!((effect.levels[0].0 + 1.5).abs() < 1e-12 && (effect.levels[1].0 - 1.5).abs() < 1e-12);
    let error = model.error().expect("two degrees of freedom");
    // Residuals are (0.25, -0.25, 0) and their opposites.
    assert!((error.variance - 0.125).abs() < 1e-12, "{error:?}");
    // F = 13.5 / 0.125 = 108 with 1 and 2 degrees of freedom: t = 10.392, p = 0.009132.
    assert!((effect.p.expect("an error") - 0.009_132).abs() < 1e-5, "{effect:?}");
    let (_, known) = effect.levels[0];
    assert!((known.expect("an error").variance - 0.125 / 6.0).abs() < 1e-12);
}

proptest! {
    #[test]
    fn planted_effects_that_add_up_are_found_in_a_part_of_a_grid(
        seed in any::<u64>(), left_out in prop::collection::btree_set(0usize..24, 0..6)
    ) {
        let whole = grid(&[2, 3, 4]);
        let kept: Vec<usize> = (0..24).filter(|at| !left_out.contains(at)).collect();
        let factors: Vec<Factor> = whole
            .iter()
            .map(|it| Factor { levels: it.levels, of: kept.iter().map(|at| it.of[*at]).collect() })
            .collect();
        let planted = [vec![0.1, -0.1], vec![0.3, 0.0, -0.3], vec![0.0; 4]];
        let values: Vec<f64> = noise(kept.len(), 0.01, seed)
            .iter()
            .enumerate()
            .map(|(at, noise)| {
                noise + factors.iter().zip(&planted).map(|(it, of)| of[it.of[at]]).sum::<f64>()
            })
            .collect();
        let model = Additive::fit(&values, &factors, None);
        for (at, planted) in planted.iter().enumerate() {
            let effect = model.effect(at).expect("estimable");
            for ((found, known), wanted) in effect.levels.iter().zip(planted) {
                let deviation = known.expect("an error").variance.sqrt();
                prop_assert!((found - wanted).abs() < 8.0 * deviation.max(0.003), "{effect:?}");
            }
            prop_assert!(at == 2 || effect.p.expect("an error") < 0.001, "{effect:?}");
        }
    }
}

/// Of 600 tables without any effect, p below 0.05 in about 30; the same of interactions.
#[test]
fn without_an_effect_p_is_uniform() {
    let factors = grid(&[2, 3, 2]);
    let (mut effects, mut interactions) = (Vec::new(), Vec::new());
    for seed in 0..600 {
        let values = noise(12, 1.0, seed);
        let model = Additive::fit(&values, &factors, None);
        effects.push(model.effect(1).and_then(|it| it.p).expect("a p-value"));
        interactions.push(model.interaction(0, 1).expect("a p-value"));
    }
    for p in [&effects, &interactions] {
        for share in [0.05, 0.5] {
            let below = p.iter().filter(|p| **p < share).count() as f64 / 600.0;
            let tolerance = 4.0 * (share * (1.0 - share) / 600.0_f64).sqrt();
            assert!((below - share).abs() < tolerance, "{below} of p below {share}");
        }
    }
}

#[test]
fn a_planted_interaction_is_found_and_the_others_are_not() {
    let factors = grid(&[2, 2, 4]);
    let values: Vec<f64> = noise(16, 0.01, 7)
        .iter()
        .enumerate()
        .map(|(at, noise)| {
            let both = factors[0].of[at] == 1 && factors[1].of[at] == 1;
            noise + if both { 0.2 } else { 0.0 }
        })
        .collect();
    let model = Additive::fit(&values, &factors, None);
    assert!(model.interaction(0, 1).expect("replicates") < 1e-6);
    assert!(model.interaction(0, 2).expect("replicates") > 0.05);
}

/// A plain table has no replicates: what each value is known by itself decides then.
#[test]
fn two_factors_alone_need_the_values_own_error() {
    let factors = grid(&[2, 2]);
    let values = [0.0, 0.0, 0.0, 0.5];
    let alone = Additive::fit(&values, &factors, None);
    assert_eq!(alone.interaction(0, 1), None);
    let least = Uncertainty { variance: 0.01_f64.powi(2), degrees_of_freedom: 8.0 };
    let known = Additive::fit(&values, &factors, Some(least));
    assert!(known.interaction(0, 1).expect("an error") < 1e-4);
    // Nothing is estimated better than its own values are known.
    let same = Additive::fit(&[0.0; 4], &factors, Some(least)).effect(0).expect("estimable");
    assert!((same.levels[0].1.expect("an error").variance - 0.01_f64.powi(2) / 4.0).abs() < 1e-12);
    assert_eq!(same.p, Some(1.0));
}

#[test]
fn what_always_changes_together_is_not_estimable_and_the_rest_is() {
    let mut factors = grid(&[2, 3]);
    factors.push(factors[0].clone());
    let values = [1.0, 2.0, 3.0, 3.5, 5.5, 6.0];
    let model = Additive::fit(&values, &factors, None);
    assert_eq!((model.effect(0), model.effect(2)), (None, None));
    assert!(model.effect(1).is_some());
    let one = [Factor { levels: 1, of: vec![0; 6] }];
    assert_eq!(Additive::fit(&values, &one, None).effect(0), None);
}
