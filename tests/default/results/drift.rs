//! A machine whose speed moves: what is still shown, and what is said of the machine.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use vllm_grid::history::record::SweepRecord;
use vllm_grid::metric::Goal;
use vllm_grid::report::table;
use vllm_grid::results::findings::Finding;
use vllm_grid::results::machine::{Conclusion, DesignLimit};
use vllm_grid::results::ranking::{Ranking, RankingVerdict, Remark, rank};

use crate::results::builder::{Building, sweep};
use crate::results::noise::normal;

fn findings_of(record: &SweepRecord) -> Vec<Finding> {
    rank(record).findings()
}

/// Tokens per second of a real machine, one launch after another 28 minutes apart.
fn evening(names: [&str; 5]) -> SweepRecord {
    let mut record = sweep(&["A", "B"]).baseline("B");
    record.manifest.objective.goal = Goal::Maximize;
    for (at, (name, value)) in (0..).zip(names.iter().zip([683.0, 119.0, 872.0, 138.0, 870.0])) {
        record = record.launch(name, &[value]).at(at * 1680);
    }
    record
}

#[test]
fn the_owners_evening_is_a_ratio_of_6_3() {
    let ranking = rank(&evening(["A", "B", "A", "B", "A"]));
    let ratio = ranking.rows[0].baseline_ratio.unwrap();
    let (low, high) = (ratio.interval.low, ratio.interval.high);
    assert_eq!(format!("{:.1} [{low:.1}, {high:.1}]", ratio.ratio), "6.3 [5.1, 7.9]");
    assert_eq!(ranking.verdict, RankingVerdict::First { name: "A".to_owned() });
    assert!(ranking.decision.unwrap().claims());
}

#[test]
fn all_of_one_before_all_of_the_other_cannot_be_separated_from_the_machine() {
    let limits = |names| rank(&evening(names)).machine.unwrap().limits;
    let few = DesignLimit::FewLaunches { launches: 2 };
    assert_eq!(limits(["A", "A", "A", "B", "B"]), [DesignLimit::OneAfterTheOther]);
    assert_eq!(limits(["A", "B", "A", "B", "A"]), []);
    let two = sweep(&["a", "b"]);
    let two = two.launch("a", &[1.0]).launch("b", &[1.1]).launch("b", &[1.2]).launch("a", &[1.0]);
    assert_eq!(rank(&two).machine.unwrap().limits, [few]);
    let findings = findings_of(&two);
    let is_warned =
        |finding: &Finding| matches!(finding, Finding::NotSeparable { limits } if *limits == [few]);
    assert!(findings.iter().any(is_warned), "{findings:?}");
}

/// Two configurations that differ by 10 %, launched in turns every 7 minutes; the
/// machine is slower by 1.8 in every other 50 minutes, or calm.
fn stepping(step: f64, launches: i64) -> SweepRecord {
    let mut random = ChaCha8Rng::seed_from_u64(12);
    let mut record = sweep(&["plain", "fast"]).baseline("plain");
    for at in 0..2 * launches {
        let (name, ms) = if at % 2 == 0 { ("plain", 1.1) } else { ("fast", 1.0) };
        let slow = if at * 420 / 3000 % 2 == 1 { step } else { 1.0 };
        let launch = 0.03 * normal(&mut random);
        let values: Vec<f64> = (0..3)
            .map(|_| 500.0 * ms * slow * (launch + 0.05 * normal(&mut random)).exp())
            .collect();
        record = record.launch(name, &values).at(at * 420);
    }
    record
}

#[test]
fn jumps_of_the_machine_are_taken_out_and_reported_with_their_times() {
    let record = stepping(1.8, 10);
    let ranking = rank(&record);
    let machine = ranking.machine.as_ref().unwrap();
    assert_eq!(machine.conclusion, Conclusion::Moved, "{machine:?}");
    assert!(machine.p_calm < 0.05 && machine.share > 0.9, "{machine:?}");
    assert!((1.6..2.4).contains(&machine.speed_range), "{machine:?}");
    let launches: Vec<u32> = machine.jumps.iter().map(|jump| jump.before_launch).collect();
    assert_eq!(launches, [9, 16], "{machine:?}");
    let times: Vec<String> = machine.jumps.iter().map(ToString::to_string).collect();
    assert_eq!(times, ["18:52", "19:41"]);
    // What is left is the difference.
    assert_eq!(ranking.verdict, RankingVerdict::First { name: "fast".to_owned() });
    assert!(ranking.decision.as_ref().unwrap().claims());
    let ratio = ranking.rows[0].baseline_ratio.unwrap();
    assert!((ratio.ratio * 1.1 - 1.0).abs() < 0.05 && ratio.interval.high < 1.0, "{ratio:?}");
    assert!(ranking.findings().iter().any(|it| matches!(it, Finding::Machine(_))));
}

#[test]
fn a_calm_machine_is_said_to_be_calm() {
    let ranking = rank(&stepping(1.0, 6));
    let machine = ranking.machine.unwrap();
    assert_eq!((machine.conclusion, machine.jumps.len()), (Conclusion::Calm, 0), "{machine:?}");
    assert_eq!(machine.limits, []);
}

/// Jumps are not looked for where most configurations have too few launches, although those
/// with a rank have enough.
#[test]
fn launches_of_unranked_configurations_count_too() {
    let mut record = sweep(&["a", "b", "x", "y", "z"]);
    for _ in 0..4 {
        record = record.launch("a", &[1.0, 1.01]).and("p99_ttft_ms", &[5.0, 5.0]);
        record = record.launch("b", &[1.1, 1.11]).and("p99_ttft_ms", &[5.0, 5.0]);
    }
    for name in ["x", "y", "z"] {
        record = record.launch(name, &[1.2, 1.21]).and("p99_ttft_ms", &[90.0, 90.0]);
    }
    let ranked = |record: &SweepRecord| rank(record).rows.iter().filter(|it| it.eligible).count();
    assert_eq!(ranked(&record), 5);
    let bounded = record.constraint("kv_cache.p99_ttft_ms", None, Some(10.0));
    assert_eq!(ranked(&bounded), 2);
    let machine = rank(&bounded).machine.unwrap();
    assert_eq!(machine.conclusion, Conclusion::Unknown, "{machine:?}");
    assert_eq!(machine.limits, [DesignLimit::FewLaunches { launches: 1 }]);
}

#[test]
fn a_sweep_that_is_too_large_for_the_time_effect_says_so() {
    let names: Vec<String> = (0..420).map(|at| format!("c{at:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut record = sweep(&names);
    for at in 0..421 {
        record = record.launch(names[at % 420], &[100.0 + (at % 7) as f64]);
    }
    let ranking = rank(&record);
    assert_eq!(ranking.machine, None);
    let expected = Finding::TooLargeForTimeEffect { configurations: 420, launches: 421 };
    assert!(ranking.findings().contains(&expected));
    let text = table::render(&ranking, &record.manifest, 300, true);
    let note = "no time effect is taken out: 421 launches of 420 configurations are too many";
    assert!(text.contains(note), "{text}");
}

#[test]
fn the_means_are_those_at_the_nights_mean_speed() {
    let ranking = rank(&stepping(1.8, 10));
    let means: Vec<f64> = ranking.rows.iter().map(|row| row.estimates[0].unwrap().mean).collect();
    let ratio = ranking.rows[0].baseline_ratio.unwrap().ratio;
    assert!((means[0] / means[1] - ratio).abs() < 1e-9);
    // Between both speeds, nearer to that of most launches.
    assert!((520.0..750.0).contains(&means[0]), "{means:?}");
}

/// Sweeps of four names of one configuration on a machine that drifts: `shuffled` blocks,
/// the level a random walk of 30 % per square root of an hour.
fn with_a_claim(sweeps: usize, launches: usize) -> usize {
    let _turn = crate::support::alone::beside();
    let mut random = ChaCha8Rng::seed_from_u64(8);
    let names = ["a", "b", "c", "d"];
    let mut one = || {
        let mut record = sweep(&names).baseline("a");
        let (mut level, mut at) = (0.0, 0);
        for block in 0..launches {
            for place in 0..4 {
                let name = names[(place * (1 + 2 * (block % 2)) + block) % 4];
                level += 0.3 * (400.0_f64 / 3600.0).sqrt() * normal(&mut random);
                let launch = level + 0.03 * normal(&mut random);
                let values: Vec<f64> =
                    (0..3).map(|_| 200.0 * (launch + 0.05 * normal(&mut random)).exp()).collect();
                record = record.launch(name, &values).at(at);
                at += 400;
            }
        }
        rank(&record).decision.is_some_and(|decision| decision.claims())
    };
    (0..sweeps).filter(|_| one()).count()
}

#[test]
fn on_a_drifting_machine_four_names_of_one_configuration_claim_nothing() {
    // 5 % and three standard errors of 100.
    let claims = with_a_claim(100, 4);
    assert!(claims <= 11, "{claims} of 100");
}

fn two_groups() -> Ranking {
    let mut record = sweep(&["a", "b"]);
    for at in 0..6 {
        let b = if at % 2 == 0 { 150.0 } else { 100.0 };
        record = record.launch("a", &[100.0, 101.0, 99.0]).at(at * 800);
        record = record.launch("b", &[b, b * 1.01, b * 0.99]).at(at * 800 + 400);
    }
    rank(&record)
}

#[test]
fn launches_in_two_groups_are_flagged_and_the_machine_is_not_blamed() {
    let ranking = two_groups();
    let remarks = |name: &str| {
        let row = ranking.rows.iter().find(|row| row.name == name).unwrap();
        row.remarks.clone()
    };
    let [Remark::TwoGroups { low: 3, high: 3, ratio }] = remarks("b")[..] else {
        panic!("{:?}", remarks("b"))
    };
    assert!((1.3..1.6).contains(&ratio), "{ratio}");
    assert_eq!(remarks("a"), []);
    assert_ne!(ranking.machine.as_ref().unwrap().conclusion, Conclusion::Moved);
}

/// The machine makes two groups of every configuration; that is no property of one.
#[test]
fn two_groups_that_the_machine_makes_are_not_flagged() {
    let ranking = rank(&stepping(1.8, 10));
    let grouped = |row: &vllm_grid::results::ranking::RankedConfiguration| {
        row.remarks.iter().any(|it| matches!(it, Remark::TwoGroups { .. }))
    };
    assert!(!ranking.rows.iter().any(grouped));
}

#[test]
fn a_first_kept_repeat_that_is_slow_again_and_again_is_flagged() {
    let mut record = sweep(&["a", "b"]);
    for at in 0..3 {
        record = record.launch("a", &[100.0, 101.0, 99.0]).at(at * 800);
        record = record.launch("b", &[140.0, 101.0, 99.0]).at(at * 800 + 400);
    }
    let slow = |record: &SweepRecord| -> Vec<String> {
        let ranking = rank(record);
        let is_slow = |it: &&Remark| matches!(it, Remark::SlowFirstRepeat { .. });
        let slow = ranking.rows.iter().filter(|row| row.remarks.iter().find(is_slow).is_some());
        slow.map(|row| row.name.clone()).collect()
    };
    assert_eq!(slow(&record), ["b"]);
    // Where more is better, a first repeat that is higher is not slow.
    record.manifest.objective.goal = Goal::Maximize;
    assert!(slow(&record).is_empty());
}
