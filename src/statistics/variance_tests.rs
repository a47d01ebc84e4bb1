//! Known answers, and coverage in virtual time.

use super::*;
use crate::statistics::{SIGNIFICANCE, adjusted_to_first, two_sided_p};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Nothing is believed before there are data.
const NOTHING: Prior = Prior { launch_sd: 0.0, launch_df: 1.0, repeat_sd: 0.0, repeat_df: 1.0 };

/// The difference of an arm to the first one.
#[derive(Clone, Copy, Debug)]
struct Difference {
    interval: Interval,
    p: f64,
}

/// Differences of `others` to `first`, the arm with the best mean.
///
/// Each comparison has its one-sided p-value, paid for by `adjusted_to_first`.
fn differences_to_first(
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
            let (_, interval, _) = raw?;
            Some(Difference { interval, p: p? })
        })
        .collect()
}

fn close(got: f64, wanted: f64) {
    assert!((got - wanted).abs() < 1e-9, "got {got}, wanted {wanted}");
}

#[test]
fn a_balanced_table_gives_the_textbook_components() {
    // Two arms of two launches of two repeats.
    // GroupedValues 1: launches (1, 3) and (5, 7): means 2 and 6. GroupedValues 2: (0, 2), (0, 2).
    let arms = [
        GroupedValues::new(vec![vec![1.0, 3.0], vec![5.0, 7.0]]),
        GroupedValues::new(vec![vec![0.0, 2.0], vec![0.0, 2.0]]),
    ];
    let components = Components::pool(&arms, NOTHING);
    // SSW = 4 * 2 = 8 with 4 df; SSB = 2 * (4 + 4) = 16 with 2 df; MSB = 8; sL2 = (8 - 2) / 2.
    close(components.repeat_variance, 2.0);
    close(components.launch_variance, 3.0);
    assert!(!components.assumed());
    let of_mean = components.of_mean(&arms[0]);
    // sL2 / launches + s2 / repeats, with exactly the 2 df of MSB.
    close(of_mean.variance, 3.0 / 2.0 + 2.0 / 4.0);
    close(of_mean.degrees_of_freedom, 2.0);
}

#[test]
fn unequal_launches_are_corrected_for() {
    // One arm: launches of 3 and 1 repeats. n0 = (4 - 10/4) / 1 = 1.5.
    let arm = GroupedValues::new(vec![vec![0.0, 1.0, 2.0], vec![5.0], vec![]]);
    assert_eq!((arm.launches(), arm.repeats()), (2, 4));
    let components = Components::pool([&arm], NOTHING);
    // SSW = 2, 2 df. Mean 2; SSB = 3 * 1 + 1 * 9 = 12. sL2 = (12 - 1) / 1.5.
    close(components.repeat_variance, 1.0);
    close(components.launch_variance, 11.0 / 1.5);
    close(components.of_mean(&arm).variance, 11.0 / 1.5 * 10.0 / 16.0 + 1.0 / 4.0);
}

#[test]
fn one_launch_each_is_an_assumption_and_says_so() {
    let arms = [
        GroupedValues::new(vec![vec![0.0, 0.2, 0.4]]),
        GroupedValues::new(vec![vec![1.0, 1.2, 1.4]]),
    ];
    let components = Components::pool(&arms, Prior::LOG);
    assert!(components.launch_assumed && components.assumed());
    close(components.launch_variance, 0.04 * 0.04);
    close(components.repeat_variance, 0.04);
    close(components.of_mean(&arms[0]).variance, 0.0016 + 0.04 / 3.0);
    // A single value is all assumption, and still has a finite interval.
    let single = GroupedValues::new(vec![vec![0.0]]);
    let components = Components::pool([&single], Prior::LOG);
    assert!(components.repeat_assumed);
    let interval = components.interval(&single).unwrap();
    assert!(interval.low.is_finite() && interval.low < 0.0);
}

#[test]
fn launches_that_agree_do_not_push_the_variance_below_its_floor() {
    let arm = GroupedValues::new(vec![vec![1.0, 1.0], vec![1.0, 1.0]]);
    let components = Components::pool([&arm], Prior::LOG);
    close(components.launch_variance, 0.0016);
    assert!(components.floored() && !components.assumed());
}

#[test]
fn no_logarithm_of_zero() {
    assert_eq!(GroupedValues::new(vec![vec![1.0, 0.0]]).log(), None);
    assert_eq!(GroupedValues::new(vec![vec![1.0, -2.0]]).log(), None);
    close(GroupedValues::new(vec![vec![1.0, 100.0]]).log().unwrap().mean().unwrap().exp(), 10.0);
    assert_eq!(GroupedValues::new(vec![]).mean(), None);
}

/// A sweep in virtual time: `launches[arm][launch]` repeats of noise around 0.
struct World {
    launch_sd: f64,
    repeat_sd: f64,
}

impl World {
    fn sweep(&self, rng: &mut ChaCha8Rng, launches: &[Vec<usize>]) -> Vec<GroupedValues> {
        launches
            .iter()
            .map(|launches| {
                GroupedValues::new(
                    launches
                        .iter()
                        .map(|repeats| {
                            let launch = self.launch_sd * normal(rng);
                            (0..*repeats).map(|_| launch + self.repeat_sd * normal(rng)).collect()
                        })
                        .collect(),
                )
            })
            .collect()
    }
}

/// Box and Muller.
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

const SWEEPS: usize = 2000;

/// Share of sweeps whose interval of the first arm covers the truth.
fn coverage(world: &World, launches: &[Vec<usize>], seed: u64) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let covered = (0..SWEEPS)
        .filter(|_| {
            let arms = world.sweep(&mut rng, launches);
            let components = Components::pool(&arms, Prior::LOG);
            components.interval(&arms[0]).unwrap().contains(0.0)
        })
        .count();
    covered as f64 / SWEEPS as f64
}

#[test]
fn an_interval_of_95_percent_covers_in_95_percent_of_sweeps() {
    let noisy = World { launch_sd: 0.1, repeat_sd: 0.2 };
    let drifting = World { launch_sd: 0.15, repeat_sd: 0.05 };
    let quiet = World { launch_sd: 0.04, repeat_sd: 0.2 };
    for (what, world, launches) in [
        ("8 arms, 2 launches, 5 repeats", &noisy, vec![vec![5; 2]; 8]),
        ("3 arms, 3 launches, 5 repeats", &noisy, vec![vec![5; 3]; 3]),
        ("one relaunched arm among 6 stays honest", &drifting, {
            let mut launches = vec![vec![5]; 6];
            launches[0] = vec![5, 5, 5];
            launches
        }),
        ("interrupted launches", &noisy, vec![vec![5, 5, 1]; 8]),
        ("repeats dominate", &quiet, vec![vec![5; 2]; 12]),
        ("the assumed variance is right", &quiet, vec![vec![5]; 12]),
    ] {
        let covered = coverage(world, &launches, 20_261_124);
        assert!((0.925..=0.975).contains(&covered), "{what}: {covered}");
    }
}

/// Repeats alone must not look like precision: without the launch component
/// this would cover about two thirds.
#[test]
fn many_repeats_of_a_launch_prove_little() {
    let world = World { launch_sd: 0.1, repeat_sd: 0.1 };
    let covered = coverage(&world, &vec![vec![30, 30]; 6], 7);
    assert!((0.925..=0.975).contains(&covered), "{covered}");
}

/// Share of sweeps of equal arms in which a difference to the first is claimed.
fn false_differences(arms: usize, launches: usize, seed: u64) -> f64 {
    let world = World { launch_sd: 0.05, repeat_sd: 0.2 };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let wrong = (0..SWEEPS)
        .filter(|_| {
            let mut arms = world.sweep(&mut rng, &vec![vec![5; launches]; arms]);
            arms.sort_by(|a, b| a.mean().unwrap().total_cmp(&b.mean().unwrap()));
            let components = Components::pool(&arms, Prior::LOG);
            let others: Vec<&GroupedValues> = arms[1..].iter().collect();
            differences_to_first(&arms[0], &others, &components)
                .iter()
                .any(|difference| difference.unwrap().p < SIGNIFICANCE)
        })
        .count();
    wrong as f64 / SWEEPS as f64
}

#[test]
fn equal_configurations_differ_in_at_most_5_percent_of_sweeps() {
    for (arms, launches) in [(2, 2), (2, 3), (3, 2), (12, 2)] {
        let wrong = false_differences(arms, launches, 99);
        // 5 % and three standard errors of 2,000 sweeps.
        assert!(wrong <= 0.065, "{arms} arms, {launches} launches: {wrong}");
    }
}

#[test]
fn a_real_difference_is_found() {
    let world = World { launch_sd: 0.04, repeat_sd: 0.1 };
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let arms = world.sweep(&mut rng, &vec![vec![5; 2]; 4]);
    let slow = GroupedValues::new(
        arms[3].values().iter().map(|v| v.iter().map(|x| x + 1.5_f64.ln()).collect()).collect(),
    );
    let all = [arms[0].clone(), arms[1].clone(), slow];
    let components = Components::pool(&all, Prior::LOG);
    let found = differences_to_first(&all[0], &[&all[1], &all[2]], &components);
    assert!(found[0].unwrap().p > SIGNIFICANCE);
    assert!(found[1].unwrap().p < SIGNIFICANCE);
    assert!(found[1].unwrap().interval.contains(1.5_f64.ln()));
}

#[test]
fn independent_uncertainties_add_up_as_welch_says() {
    let of = |variance, degrees_of_freedom| Uncertainty { variance, degrees_of_freedom };
    // Equal ones: twice the degrees of freedom.
    let sum = of(0.5, 4.0).plus(of(0.5, 4.0));
    assert!((sum.variance - 1.0).abs() < 1e-12 && (sum.degrees_of_freedom - 8.0).abs() < 1e-12);
    // Welch's test of 1, 2, 3, 4 and 2, 4, 9, by hand: 22.5625 / (0.0579 + 9.3889).
    let sum = of(5.0 / 3.0 / 4.0, 3.0).plus(of(13.0 / 3.0, 2.0));
    assert!((sum.degrees_of_freedom - 2.3884).abs() < 1e-3, "{sum:?}");
    // What is certain adds nothing.
    let sum = of(0.5, 4.0).plus(of(0.0, f64::INFINITY));
    assert_eq!(sum, of(0.5, 4.0));
}
