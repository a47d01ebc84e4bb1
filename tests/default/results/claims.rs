//! What a claim against the baseline rests on: the candidate and the baseline, and nothing
//! that happened to others.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use vllm_grid::history::record::SweepRecord;
use vllm_grid::report::pictures;
use vllm_grid::report::reading::render;
use vllm_grid::results::analysis::Analysis;
use vllm_grid::results::decision::Decision;
use vllm_grid::results::disturbance::{Inseparable, Undecided};
use vllm_grid::results::findings::Finding;
use vllm_grid::results::ranking::{Ranking, RankingVerdict, rank};
use vllm_grid::results::reading::{NoDecision, Reading, Statement};

use crate::results::builder::{Building, around, sweep};
use crate::results::noise::normal;
use crate::results::reading::place;
use crate::results::witness::{BUSY, QUIET, launch};

fn reading(record: &SweepRecord, ranking: &Ranking) -> (Reading, String) {
    let reading = Reading::of(ranking, &record.manifest, &place());
    let text = render(&reading, 100);
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    (reading, flat)
}

/// `a` and `b` tie, both 1.5 times as fast as `p`; what the host did during each.
fn tie(states: [(f64, f64); 3]) -> SweepRecord {
    let mut record = sweep(&["a", "b", "p"]).baseline("p");
    for block in 0..4 {
        let noise = 1.0 + 0.01 * (block % 3) as f64;
        for (at, (name, ms)) in (0..).zip([("a", 100.0), ("b", 100.1), ("p", 150.0)]) {
            let values = [0.99, 1.0, 1.01].map(|factor| ms * noise * factor);
            record = launch(record, name, &values, states[at as usize], block * 21 + at * 7);
        }
    }
    record
}

fn claims(ranking: &Ranking) -> bool {
    ranking.decision.as_ref().is_some_and(Decision::claims)
}

#[test]
fn a_disturbed_baseline_leaves_no_claim_although_the_tie_stands() {
    assert!(claims(&rank(&tie([QUIET; 3]))), "without the disturbance it is one");
    let record = tie([QUIET, QUIET, BUSY]);
    let ranking = rank(&record);
    assert!(matches!(ranking.verdict, RankingVerdict::Tie { .. }), "{:?}", ranking.verdict);
    assert!(!claims(&ranking), "{:?}", ranking.decision);
    let [Undecided::Disturbed { configurations, because: Inseparable::Uneven }] =
        &ranking.overruled[..]
    else {
        panic!("{:?}", ranking.overruled)
    };
    assert_eq!((configurations[0].configuration.as_str(), configurations.len()), ("p", 1));
    let said = |it: &Finding| matches!(it, Finding::NothingDecided { .. });
    assert!(ranking.findings().iter().any(said));
    let (reading, text) = reading(&record, &ranking);
    let Statement::NoDecision { cause: NoDecision::NotCarried { configurations } } =
        &reading.result
    else {
        panic!("{:?}", reading.result)
    };
    assert_eq!(configurations[1], "p");
    assert!(text.contains("Others saturated the host in 12 of 12 repeats of p."), "{text}");
}

#[test]
fn a_claim_stands_although_one_that_it_does_not_compare_was_disturbed() {
    let record = tie([QUIET, BUSY, QUIET]);
    let ranking = rank(&record);
    assert!(
        matches!(ranking.verdict, RankingVerdict::Undecided { .. }),
        "between a and b nothing is decided: {:?}",
        ranking.verdict
    );
    assert_eq!(ranking.decision.as_ref().unwrap().candidate.configuration, "a");
    assert!(claims(&ranking));
    let (reading, _) = reading(&record, &ranking);
    assert!(
        matches!(&reading.result, Statement::Better { configuration, .. } if configuration == "a"),
        "{:?}",
        reading.result
    );
    // The picture and the terminal say both, too.
    let analysis = Analysis::of(&record, &ranking, std::path::Path::new("/nonexistent"));
    assert_eq!(
        pictures::ranking(&analysis, &ranking).title,
        "Simulated: a is better than p, not confirmed yet; between two configurations nothing is decided"
    );
    let table = vllm_grid::report::table::render(&ranking, &record.manifest, 100, false);
    let table = table.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(table.contains("nothing is decided between ranks 1-2"), "{table}");
}

/// Launches that differ by this SD on log scale; `p` is twenty times slower.
pub(crate) fn wide(launches: i64, deviation: f64, seed: u64) -> SweepRecord {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut record = sweep(&["a", "b", "p"]);
    for block in 0..launches {
        for (at, (name, ms)) in (0..).zip([("a", 100.0), ("b", 103.0), ("p", 2000.0)]) {
            let values = around(ms * f64::exp(deviation * normal(&mut random)));
            record = record.launch(name, &values).at(block * 3000 + at * 1000);
        }
    }
    record
}

/// Whether the difference of the first two would not have been seen.
fn hides(ranking: &Ranking) -> bool {
    let wide = |it: &Undecided| matches!(it, Undecided::TooWide { hides_rank_1: true, .. });
    ranking.undecided.iter().any(wide)
}

#[test]
fn a_baseline_that_is_far_slower_is_claimed_however_wide_the_launches_differ() {
    let mut hidden = 0;
    for seed in 0..20 {
        let record = wide(2, 0.3, seed).baseline("p");
        let ranking = rank(&record);
        if !hides(&ranking) {
            continue;
        }
        hidden += 1;
        assert!(claims(&ranking), "{seed}: {:?}", ranking.decision);
        let (reading, _) = reading(&record, &ranking);
        assert!(matches!(reading.result, Statement::Better { .. }), "{:?}", reading.result);
    }
    assert!(hidden > 0, "what this is about");
}

#[test]
fn causes_stay_short_however_many_configurations_they_have() {
    let names = ["a", "b", "c", "d", "e"];
    let mut record = sweep(&names).baseline("a");
    for block in 0..2 {
        for (at, name) in (0..).zip(names) {
            let values = around(100.0 + f64::from(at));
            record = launch(record, name, &values, BUSY, i64::from(block * 50 + at * 7));
        }
    }
    let ranking = rank(&record);
    let cause = ranking.undecided.first().expect("two launches each cannot separate it");
    let text = cause.to_string();
    let expected = "others saturated the host in 50 of 50 repeats of 5 configurations, and ";
    assert!(text.starts_with(expected), "{text}");
}
