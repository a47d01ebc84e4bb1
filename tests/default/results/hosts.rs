//! A sweep on several hosts: a slower one is taken out and named, and what ran on no common
//! host is not compared.

use vllm_grid::history::record::SweepRecord;
use vllm_grid::results::decision::Claim;
use vllm_grid::results::disturbance::Undecided;
use vllm_grid::results::ranking::{Ranking, RankingVerdict, rank};

use crate::results::builder::{Building, sweep};

/// Launches of one configuration on one host, with small noise that both hosts share.
fn launched(order: &[(&str, &str)], slow: f64, single: bool) -> SweepRecord {
    let mut record = sweep(&["quick", "middle", "long"]).baseline("middle");
    for (at, (name, host)) in (0..).zip(order) {
        let ms = match *name {
            "quick" => 100.0,
            "middle" => 110.0,
            _ => 121.0,
        };
        let factor = if *host == "b" { slow } else { 1.0 };
        let noise = 1.0 + 0.004 * f64::from(at * 7 % 5 - 2);
        let ms = ms * factor * noise;
        record = record.launch(name, &[ms, ms * 1.01]).at(i64::from(at) * 400);
        let host = if single { "a" } else { host };
        record.launches.last_mut().unwrap().host = Some(host.to_owned());
    }
    record
}

/// The quickest one mostly on the slow host, the longest one mostly on the other.
const CONFOUNDED: [(&str, &str); 15] = [
    ("quick", "b"),
    ("middle", "a"),
    ("long", "a"),
    ("quick", "b"),
    ("middle", "b"),
    ("long", "a"),
    ("quick", "a"),
    ("middle", "b"),
    ("long", "b"),
    ("quick", "b"),
    ("middle", "a"),
    ("long", "a"),
    ("quick", "b"),
    ("middle", "b"),
    ("long", "a"),
];

fn names(ranking: &Ranking) -> Vec<&str> {
    ranking.rows.iter().map(|row| row.name.as_str()).collect()
}

#[test]
fn a_slower_host_is_taken_out_and_named() {
    let record = launched(&CONFOUNDED, 1.3, false);
    let ranking = rank(&record);
    let quiet = rank(&launched(&CONFOUNDED, 1.0, true));
    assert_eq!(names(&quiet), ["quick", "middle", "long"]);
    assert_eq!(names(&ranking), names(&quiet));
    assert_eq!(ranking.verdict, quiet.verdict);
    assert_eq!(ranking.verdict, RankingVerdict::First { name: "quick".to_owned() });
    let ratio = |ranking: &Ranking| ranking.rows[0].baseline_ratio.unwrap().ratio;
    assert!((ratio(&ranking) - ratio(&quiet)).abs() < 0.01);
    assert!(ranking.decision.as_ref().unwrap().claims());
    let machine = ranking.machine.as_ref().unwrap();
    assert_eq!(machine.hosts.iter().map(|it| it.launches).sum::<usize>(), 15);
    let slower = machine.hosts.iter().find_map(|it| it.slower.as_ref()).unwrap();
    assert!((slower.by - 0.3).abs() < 0.02, "{slower}");
    assert!(slower.interval.low > 0.25 && slower.interval.high < 0.35, "{slower}");
    assert!(slower.to_string().starts_with("host b is 30% slower than host a ["), "{slower}");
    // That the hosts differ is no movement of either.
    assert!(machine.speed_range < 1.1, "{machine:?}");
    // The same launches, as if one machine had made them.
    let as_one = rank(&launched(&CONFOUNDED, 1.3, true));
    assert_ne!(names(&as_one), ["quick", "middle", "long"], "{:?}", as_one.rows);
    assert_eq!(as_one.machine.unwrap().hosts, []);
}

#[test]
fn a_slower_host_of_rates_has_fewer() {
    let mut record = launched(&CONFOUNDED, 1.3, false);
    record.manifest.objective.goal = vllm_grid::metric::Goal::Maximize;
    // Larger is better: the host with the larger values is the faster one.
    let machine = rank(&record).machine.unwrap();
    let slower = machine.hosts.iter().find_map(|it| it.slower.as_ref()).unwrap();
    assert_eq!((slower.host.as_str(), slower.than.as_str()), ("a", "b"));
    assert!((slower.by - (1.0 - 1.0 / 1.3)).abs() < 0.02, "{slower}");
}

#[test]
fn what_no_host_connects_has_no_winner() {
    let order: Vec<(&str, &str)> =
        (0..12).map(|at| [("quick", "a"), ("middle", "b"), ("long", "b")][at % 3]).collect();
    let ranking = rank(&launched(&order, 1.3, false));
    let RankingVerdict::Undecided { names, causes, .. } = &ranking.verdict else {
        panic!("{:?}", ranking.verdict)
    };
    assert_eq!(names.len(), 3);
    let apart = |it: &Undecided| matches!(it, Undecided::Apart { first, configurations } if first == "quick" && configurations.len() == 2);
    assert!(causes.iter().any(apart), "{causes:?}");
    assert!(ranking.verdict.to_string().contains("insufficient data"), "{}", ranking.verdict);
    let decision = ranking.decision.as_ref().unwrap();
    assert!(
        matches!(decision.claim, Claim::NotShown { effect: None, p: None, .. }),
        "{decision:?}"
    );
    assert_eq!(decision.candidate.p_within_5_percent, None);
    assert_eq!(ranking.rows[0].baseline_ratio, None);
    // Those on one host are compared as ever.
    let long = ranking.rows.iter().find(|row| row.name == "long").unwrap();
    assert!((long.baseline_ratio.unwrap().ratio - 1.1).abs() < 0.02);
    // One common host decides it.
    let order: Vec<(&str, &str)> = (0..18)
        .map(|at| [("quick", "a"), ("middle", "b"), ("long", "b"), ("middle", "a")][at % 4])
        .collect();
    let ranking = rank(&launched(&order, 1.3, false));
    assert_eq!(ranking.verdict, RankingVerdict::First { name: "quick".to_owned() });
}
