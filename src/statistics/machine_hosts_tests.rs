//! Several hosts: each has a level of its own, and only what a chain of common hosts connects
//! is compared.

use proptest::prelude::*;

use super::*;

/// A number that looks random, from -0.5 to 0.5, by its place alone.
fn ripple(at: usize) -> f64 {
    let hashed = (at as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let hashed = (hashed ^ (hashed >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (hashed >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
}

/// Configuration and host of each launch, measured five minutes apart with this noise.
fn measured(
    order: &[(usize, usize)],
    effects: &[f64],
    levels: &[f64],
    noise: f64,
) -> Vec<LaunchMean> {
    let launch = |(at, &(configuration, host)): (usize, &(usize, usize))| {
        let mean = effects[configuration] + levels[host] + noise * ripple(at);
        let logs = [-0.01, 0.0, 0.01].map(|repeat| mean + repeat);
        LaunchMean::of(configuration, at as f64 * 300.0, &logs).on(host)
    };
    order.iter().enumerate().map(launch).collect()
}

/// Every configuration as often on one host as on the other.
fn spread(configurations: usize, blocks: usize) -> Vec<(usize, usize)> {
    let places = (0..configurations * blocks).map(|at| (at % configurations, at / configurations));
    places.map(|(configuration, block)| (configuration, (configuration + block) % 2)).collect()
}

/// Five launches of each of three configurations in turn: the first one mostly on the second
/// host, the last one mostly on the first.
fn confounded() -> Vec<(usize, usize)> {
    let hosts = [[1, 1, 0, 1, 1], [0, 1, 1, 0, 1], [0, 0, 1, 0, 0]];
    (0..15).map(|at| (at % 3, hosts[at % 3][at / 3])).collect()
}

fn best_first(fit: &MachineFit) -> Vec<usize> {
    let mut order: Vec<usize> = (0..fit.effects().len()).collect();
    order.sort_by(|a, b| fit.effects()[*a].total_cmp(&fit.effects()[*b]));
    order
}

#[test]
fn a_slower_host_is_taken_out_and_without_it_the_order_is_wrong() {
    let (effects, levels) = ([0.0, 0.1, 0.2], [0.0, 1.3_f64.ln()]);
    let order = confounded();
    let two = measured(&order, &effects, &levels, 0.01);
    let found = fit(&two, 3, MAX_JUMPS).unwrap();
    assert_eq!(best_first(&found), [0, 1, 2]);
    for (a, b) in [(1, 0), (2, 0), (2, 1)] {
        let (difference, error) = found.difference(a, b).unwrap();
        assert!((difference - effects[a] + effects[b]).abs() < 0.02, "{a} {b}: {difference}");
        assert!(error.variance.sqrt() < 0.02, "{error:?}");
    }
    // The same launches on a single host that is quiet.
    let quiet = measured(&order, &effects, &[0.0, 0.0], 0.01);
    let quiet: Vec<LaunchMean> = quiet.into_iter().map(|it| it.on(0)).collect();
    assert_eq!(best_first(&fit(&quiet, 3, MAX_JUMPS).unwrap()), [0, 1, 2]);
    // Who takes both hosts for one machine gets them wrong.
    let as_one: Vec<LaunchMean> = two.iter().map(|it| it.on(0)).collect();
    let wrong = fit(&as_one, 3, 0).unwrap();
    assert_ne!(best_first(&wrong), [0, 1, 2], "{:?}", wrong.effects());
}

#[test]
fn hosts_are_compared_and_described_one_by_one() {
    let mut launches = measured(&spread(4, 6), &[0.0, 0.1, 0.2, -0.1], &[0.0, 1.3_f64.ln()], 0.02);
    let found = fit(&launches, 4, MAX_JUMPS).unwrap();
    let (difference, error) = found.between_hosts(&launches, 1, 0).unwrap();
    assert!((difference - 1.3_f64.ln()).abs() < 0.02, "{difference}");
    assert!((0.002..0.03).contains(&error.variance.sqrt()), "{error:?}");
    assert_eq!(found.between_hosts(&launches, 0, 2), None, "it has no launch");
    // That one host is slower is no movement of it.
    let all = found.state(&launches);
    assert!(all.range < 1.1 && !all.moved, "{all:?}");
    // The second host jumps in the middle of the night, and the first one does not.
    for launch in launches.iter_mut().filter(|it| it.host == 1 && it.time > 3600.0) {
        launch.mean += 0.6;
    }
    let found = fit(&launches, 4, MAX_JUMPS).unwrap();
    assert_eq!(found.jumps.len(), 1, "{found:?}");
    assert_eq!(launches[found.jumps[0]].host, 1);
    assert!(found.p_calm_of(1) < 0.05 && found.p_calm_of(0) > 0.5, "{found:?}");
    let (steady, moved) =
        (found.state_of(&launches, 0).unwrap(), found.state_of(&launches, 1).unwrap());
    assert!(!steady.moved && steady.range < 1.1, "{steady:?}");
    assert!(moved.moved && (1.7..2.0).contains(&moved.range), "{moved:?}");
    let levels = found.levels(&launches);
    for (launch, level) in launches.iter().zip(&levels) {
        let of_host = if launch.host == 1 { 1.3_f64.ln() } else { 0.0 };
        let jump = if launch.host == 1 && launch.time > 3600.0 { 0.6 } else { 0.0 };
        assert!((level - of_host - jump).abs() < 0.05, "{level} at {launch:?}");
    }
}

#[test]
fn what_no_host_connects_is_not_compared_and_the_rest_is() {
    // 0 and 2 on the first host, 1 and 3 on the second, 4 alone on a third one.
    let order: Vec<(usize, usize)> =
        (0..20).map(|at| [(0, 0), (1, 1), (2, 0), (3, 1), (4, 2)][at % 5]).collect();
    let launches = measured(&order, &[0.0, 0.5, 0.1, 0.8, 0.3], &[0.0, 0.4, -0.2], 0.01);
    let found = fit(&launches, 5, MAX_JUMPS).unwrap();
    assert_eq!(found.groups(), [0, 1, 0, 1, 4]);
    for (a, b) in [(0, 1), (2, 3), (4, 0), (1, 4)] {
        assert!(!found.is_comparable(a, b) && found.difference(a, b).is_none());
    }
    let (difference, error) = found.difference(3, 1).unwrap();
    assert!((difference - 0.3).abs() < 0.02 && error.variance > 0.0, "{difference}");
    assert!((found.difference(2, 0).unwrap().0 - 0.1).abs() < 0.02);
    assert_eq!(found.between_hosts(&launches, 0, 1), None);
    assert!(found.errors(&[1, 3]).is_some() && found.errors(&[0, 1]).is_none());
    // One launch of each on a host of its own: nothing can be said, and nothing breaks.
    let alone = measured(&[(0, 0), (1, 1), (0, 0)], &[0.0, 0.1], &[0.0, 0.3], 0.0);
    assert_eq!(fit(&alone, 2, MAX_JUMPS).unwrap().difference(0, 1), None);
    // One common host is enough.
    let mut order = order;
    order.extend([(4, 0), (1, 2)]);
    let launches = measured(&order, &[0.0, 0.5, 0.1, 0.8, 0.3], &[0.0, 0.4, -0.2], 0.01);
    let found = fit(&launches, 5, MAX_JUMPS).unwrap();
    assert_eq!(found.groups(), [0; 5]);
    assert!((found.difference(1, 0).unwrap().0 - 0.5).abs() < 0.06, "{:?}", found.effects());
}

#[test]
fn the_number_of_a_host_does_not_matter() {
    for vector in super::tests::vectors() {
        let launches = super::tests::launches(&vector);
        let count = launches.iter().map(|it| it.configuration).max().unwrap() + 1;
        let elsewhere: Vec<LaunchMean> = launches.iter().map(|it| it.on(3)).collect();
        let (one, other) =
            (fit(&launches, count, MAX_JUMPS).unwrap(), fit(&elsewhere, count, MAX_JUMPS).unwrap());
        assert_eq!((one.effects(), one.p_calm), (other.effects(), other.p_calm));
        assert_eq!(one.difference(0, 1), other.difference(0, 1));
        assert_eq!(one.state(&launches), other.state(&elsewhere));
        assert_eq!(one.smoothed(&launches), other.smoothed(&elsewhere));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn estimates_are_true_whatever_the_hosts_levels(
        effects in prop::collection::vec(-0.5..0.5_f64, 2..7),
        levels in prop::collection::vec(-1.0..1.0_f64, 2),
        blocks in 2_usize..5,
        noise in 0.001..0.02_f64,
    ) {
        let count = effects.len();
        let launches = measured(&spread(count, blocks), &effects, &levels, noise);
        let found = fit(&launches, count, MAX_JUMPS).unwrap();
        for c in 1..count {
            // All are connected after two blocks.
            let (difference, error) = found.difference(c, 0).unwrap();
            let off = difference - effects[c] + effects[0];
            prop_assert!(off.abs() < 2.0 * noise + 0.005, "{off} at {c}");
            prop_assert!(off.abs() < 5.0 * error.variance.sqrt(), "{off}, {error:?}");
        }
        let (difference, error) = found.between_hosts(&launches, 1, 0).unwrap();
        let off = difference - levels[1] + levels[0];
        prop_assert!(off.abs() < 5.0 * error.variance.sqrt() && off.abs() < 2.0 * noise + 0.005);
    }
}
