//! Sweeps of each strategy in virtual time on the simulator's machine that drifts, so that the
//! same seed always gives the same: how often equal configurations are called different, and
//! what is said of those that a strategy dropped.

use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use vllm_grid::history::launch::FailureClass;
use vllm_grid::history::record::{SweepEnd, SweepRecord};
use vllm_grid::results::decision::Decision;
use vllm_grid::results::not_again::WhyNotAgain;
use vllm_grid::results::ranking::{RankedConfiguration, Ranking, RankingVerdict, Remark, rank};
use vllm_grid::simulator::drift::Drift;
use vllm_grid::statistics::SIGNIFICANCE;
use vllm_grid::strategy::{
    Action, AdaptiveStrategy, GridStrategy, ModelStrategy, Observation, ObservedRepeat, Purpose,
    Situation, StrategySpec, TrialOutcome,
};

use crate::results::builder::{Building, sweep};
use crate::results::noise::normal;

/// A launch boots for three minutes, and a repeat takes one.
const BOOT: f64 = 180.0;
const REPEAT: f64 = 60.0;

/// A sweep in virtual time.
struct Night<'a> {
    /// Names, each with its value as a factor; the first is the baseline.
    names: &'a [(&'a str, f64)],
    /// One that does not fit.
    failing: Option<&'a str>,
    drift: &'a str,
    seed: u64,
}

impl Night<'_> {
    /// Runs the strategy to its own end.
    fn run(&self, spec: StrategySpec) -> SweepRecord {
        let names: Vec<&str> = self.names.iter().map(|it| it.0).collect();
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut machine = Drift::parse(self.drift).unwrap().machine(self.seed);
        let mut record = sweep(&names).baseline(names[0]);
        for (at, name) in names.iter().enumerate() {
            let flags = json!({"max-num-seqs": at % 4, "block-size": at / 4});
            record = record.flags(name, flags);
        }
        record.manifest.strategy = spec;
        let strategy = record.manifest.build_strategy();
        let mut observations: Vec<Observation> = Vec::new();
        let mut now = 0.0;
        loop {
            let situation = Situation { observations: &observations, ..Situation::default() };
            let (trial, configuration, purpose, repeats) = match strategy.next(situation) {
                Action::Launch { trial, configuration, purpose, repeats } => {
                    (trial, configuration, purpose, repeats)
                }
                Action::Finish { why } => {
                    let reason = why.said(&|it| names[it].to_owned());
                    record.ended = Some(SweepEnd { complete: true, reason });
                    return record;
                }
                other => panic!("nothing is in flight: {other:?}"),
            };
            let (name, factor) = self.names[configuration];
            let fails = self.failing == Some(name);
            let began = now;
            now += BOOT;
            let of_launch = 0.03 * normal(&mut random);
            let repeats = if fails { 0 } else { repeats };
            let mut observed = Vec::new();
            for repeat in 1..=repeats {
                let noise = (of_launch + 0.05 * normal(&mut random)).exp();
                now += REPEAT;
                observed.push(ObservedRepeat {
                    launch: trial + 1,
                    repeat,
                    at: Some(at(now)),
                    objective: Some(200.0 * factor * noise / machine.speed(now - REPEAT / 2.0)),
                    constraints: Vec::new(),
                });
            }
            let values: Vec<f64> = observed.iter().filter_map(|it| it.objective).collect();
            record = if fails {
                record.failed(name, FailureClass::KvCacheTooSmall, "it does not fit")
            } else {
                record.launch(name, &values)
            };
            let launch = record.launches.last_mut().unwrap();
            (launch.trial, launch.purpose, launch.started_at) = (trial, purpose, Some(at(began)));
            launch.measured_at = observed.iter().filter_map(|it| it.at).collect();
            observations.push(Observation {
                trial,
                configuration,
                purpose,
                host: String::new(),
                started_at: Some(at(began)),
                duration: Duration::from_secs_f64(now - began),
                repeat_seconds: (!fails).then_some(REPEAT),
                outcome: if fails { TrialOutcome::Infeasible } else { TrialOutcome::Measured },
                repeats: observed,
            });
        }
    }
}

fn at(seconds: f64) -> jiff::Timestamp {
    let start: jiff::Timestamp = "2026-11-24T18:00:00Z".parse().unwrap();
    start + jiff::SignedDuration::from_secs_f64(seconds)
}

fn racing(max_launches: u32, seed: u64) -> AdaptiveStrategy {
    AdaptiveStrategy { max_launches: Some(max_launches), seed, ..AdaptiveStrategy::default() }
}

/// Each strategy; those that choose have about as many launches as the grid.
fn strategies(seed: u64) -> [StrategySpec; 3] {
    let model = ModelStrategy { racing: racing(16, seed), predicted: false };
    [
        StrategySpec::Grid(GridStrategy { seed, ..GridStrategy::default() }),
        StrategySpec::Adaptive(racing(16, seed)),
        StrategySpec::Model(model),
    ]
}

fn claims_something(ranking: &Ranking) -> bool {
    let below = |p: Option<f64>| p.is_some_and(|p| p < SIGNIFICANCE);
    matches!(ranking.verdict, RankingVerdict::First { .. })
        || ranking.decision.as_ref().is_some_and(Decision::claims)
        || ranking.rows.iter().any(|row| below(row.p_first) || below(row.p_baseline))
}

#[test]
fn no_strategy_calls_equal_ones_different_more_often_than_its_level_allows() {
    let _turn = crate::support::alone::beside();
    let names = &[("a", 1.0), ("b", 1.0), ("c", 1.0), ("d", 1.0)];
    let drifts = ["walk:sd=25%,tau=60m", "two-state:factor=1.8,dwell=40m"];
    let mut claims = [0; 3];
    for seed in 0..20 {
        let drift = drifts[(seed % 2) as usize];
        let night = Night { names, failing: None, drift, seed: 170_000 + seed };
        for (claims, spec) in claims.iter_mut().zip(strategies(seed)) {
            let record = night.run(spec);
            // As many as a claim needs, or there would be nothing to see.
            assert!(record.launches.len() >= 8, "{}", record.launches.len());
            *claims += usize::from(claims_something(&rank(&record)));
        }
    }
    // Of 20 with a level of 5 %: more than 3 in 1 of 60 tries.
    assert!(claims.iter().all(|count| *count <= 3), "{claims:?} of 20 each");
}

/// Twelve of two axes, of which one is the best, two are near, and one does not fit.
const TWELVE: [(&str, f64); 12] = [
    ("production", 1.5),
    ("c1", 1.6),
    ("c2", 1.0),
    ("c3", 1.9),
    ("c4", 1.45),
    ("c5", 1.5),
    ("c6", 1.05),
    ("c7", 1.8),
    ("c8", 1.4),
    ("c9", 1.55),
    ("c10", 1.06),
    ("c11", 1.7),
];

#[test]
fn of_each_one_that_a_strategy_dropped_it_is_said_why_and_since_when() {
    let [_, adaptive, model] = strategies(1);
    for spec in [adaptive, model] {
        let named = spec.name();
        let most = match spec {
            StrategySpec::Model(it) => {
                StrategySpec::Model(ModelStrategy { racing: racing(60, 1), ..it })
            }
            _ => StrategySpec::Adaptive(racing(60, 1)),
        };
        let drift = "walk:sd=10%,tau=60m";
        let night = Night { names: &TWELVE, failing: Some("c3"), drift, seed: 4 };
        let record = night.run(most);
        let ranking = rank(&record);
        let first = &ranking.rows[0].name;
        assert!(["c2", "c6", "c10"].contains(&first.as_str()), "{named}: {first}");
        // The end of the sweep names what it is about.
        let reason = &record.ended.as_ref().unwrap().reason;
        let is_named = TWELVE.iter().any(|(it, _)| reason.contains(&format!("{it} is ")));
        assert!(is_named && !reason.contains("of the grid"), "{reason}");
        let finals = record.launches.iter().rev().filter(|it| it.purpose == Purpose::Final);
        let racing: Vec<&str> = finals.take(4).map(|it| it.configuration.as_str()).collect();
        let mut dropped = 0;
        for row in ranking.rows.iter().skip(1) {
            let own = record.launches.iter().rfind(|it| it.configuration == row.name);
            let Some(last) = own else { continue };
            let out = not_again(row);
            if row.name == "c3" {
                // It failed: that is the reason, and no other.
                assert!(!row.eligible && out.is_none(), "{row:?}");
                let reason = row.reason().unwrap();
                assert!(
                    reason.contains("; not launched again after its last launch ("),
                    "{reason}"
                );
                assert_eq!(record.launches.iter().filter(|it| it.configuration == "c3").count(), 1);
            } else if racing.contains(&row.name.as_str()) {
                assert_eq!(out, None, "{named}: {}", row.name);
            } else {
                let Some((after, why)) = out else { panic!("{named}: {row:?}") };
                assert!(after >= last.launch, "{named}: {}", row.name);
                let is_behind =
                    matches!(&why, WhyNotAgain::Behind { leader, .. } if *leader != row.name);
                assert!(is_behind, "{named}: {why:?}");
                dropped += 1;
            }
        }
        assert!(dropped >= 5, "{named}: {dropped}");
    }
}

fn not_again(row: &RankedConfiguration) -> Option<(u32, WhyNotAgain)> {
    row.remarks.iter().find_map(|it| match it {
        Remark::NotLaunchedAgain(it) => Some((it.dropped.after_launch, it.why.clone())),
        _ => None,
    })
}
