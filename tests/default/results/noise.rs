//! What noise does to the ranking: in virtual time, with fixed seeds.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vllm_grid::history::record::SweepRecord;
use vllm_grid::results::ranking::{RankingVerdict, rank};

use crate::results::builder::{Building, measured, sweep};

/// Box and Muller.
pub(crate) fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// One configuration under several names: launches differ by 3 %, repeats by
/// 20 %, and the warm-up is 42 % slower (the worlds of `selection.md`).
fn equal_configurations(names: &[&str], launches: u32, rng: &mut ChaCha8Rng) -> SweepRecord {
    let mut record = sweep(names);
    for _ in 0..launches {
        for name in names {
            let launch = 0.03 * normal(rng);
            let values: Vec<f64> =
                (0..5).map(|_| 200.0 * (launch + 0.2 * normal(rng)).exp()).collect();
            record = record.launch(name, &values).measurement(measured(0, "ttft_resent_ms", 284.0));
        }
    }
    record
}

#[test]
fn one_configuration_under_two_names_differs_in_at_most_18_of_200_sweeps() {
    let _turn = crate::support::alone::beside();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let different = (0..200)
        .filter(|_| {
            let record = equal_configurations(&["a", "b"], 2, &mut rng);
            matches!(rank(&record).verdict, RankingVerdict::First { .. })
        })
        .count();
    assert!(different <= 18, "{different} of 200");
}

#[test]
fn the_best_of_twelve_equal_ones_is_not_distinguishable() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let sweeps = 100;
    let different = (0..sweeps)
        .filter(|_| {
            let ranking = rank(&equal_configurations(&names, 2, &mut rng));
            ranking.rows.iter().any(|row| row.rank_label.as_deref() != Some("1-12"))
        })
        .count();
    // 5 % and three standard errors.
    assert!(different <= 11, "{different} of {sweeps}");
}

/// Knuth.
fn poisson(mean: f64, rng: &mut ChaCha8Rng) -> f64 {
    let (mut product, mut count) = (rng.random::<f64>(), 0.0);
    while product > (-mean).exp() {
        product *= rng.random::<f64>();
        count += 1.0;
    }
    count
}

/// Counts have no pooled variance: equal ones, in bursts by launch or not, must not
/// differ more often either.
#[test]
fn equal_counts_under_two_names_differ_in_at_most_18_of_200_sweeps() {
    let _turn = crate::support::alone::beside();
    for (mean, bursts) in [(0.5, 0.0), (3.0, 0.0), (3.0, 0.7)] {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut sweep = || {
            let mut record = sweep(&["a", "b"]);
            record.manifest.objective.metric = "kv_cache.failed".parse().unwrap();
            for name in ["a", "b", "a", "b"] {
                let launch = mean * (bursts * normal(&mut rng)).exp();
                let counts: Vec<f64> = (0..5).map(|_| poisson(launch, &mut rng)).collect();
                record = record.launch_of(name, "failed", &counts);
            }
            rank(&record)
        };
        let different =
            (0..200).filter(|_| matches!(sweep().verdict, RankingVerdict::First { .. })).count();
        assert!(different <= 18, "{different} of 200 at {mean}, bursts {bursts}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever was measured, a ranking is a permutation of the configurations,
    /// ranked ones first, and no figure is made up.
    #[test]
    fn a_ranking_is_complete_and_makes_nothing_up(
        launches in prop::collection::vec(
            (0usize..4, prop::collection::vec(-1.0f64..500.0, 0..5)), 0..12),
    ) {
        let names = ["a", "b", "c", "d"];
        let mut record = sweep(&names).constraint("kv_cache.ttft_resent_ms", None, Some(300.0));
        for (index, values) in &launches {
            record = record.launch(names[*index], values);
        }
        let ranking = rank(&record);
        let mut found: Vec<&str> = ranking.rows.iter().map(|row| row.name.as_str()).collect();
        found.sort_unstable();
        prop_assert_eq!(found, names);
        let ranked = ranking.rows.iter().filter(|row| row.eligible).count();
        for (place, row) in ranking.rows.iter().enumerate() {
            let expected = (place < ranked).then_some(place as u32 + 1);
            prop_assert_eq!(row.rank, expected);
            prop_assert_eq!(row.rank_label.is_some(), row.eligible);
            prop_assert_eq!(row.reason().is_none(), row.eligible);
            let measured = launches.iter().filter(|(i, _)| names[*i] == row.name);
            let values: Vec<f64> = measured.flat_map(|(_, values)| values.clone()).collect();
            prop_assert_eq!(row.repeats as usize, values.len());
            let usable = !values.is_empty() && values.iter().all(|value| *value > 0.0);
            prop_assert_eq!(row.estimates[0].is_some(), usable);
            if let Some(estimate) = row.estimates[0] {
                let interval = estimate.interval.unwrap();
                prop_assert!(interval.contains(estimate.mean));
                prop_assert!(interval.high.is_finite());
            }
        }
        prop_assert_eq!(ranking.verdict.ranked(), ranked > 0);
        prop_assert!(ranking.frame().is_ok());
    }
}
