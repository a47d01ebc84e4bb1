//! Where the best mean of a sweep that chose its launches is that of a configuration which it
//! launched too rarely: what is taken, what is said of both, and what is advised. And what is not
//! said while nothing shows what launches differ by.

use vllm_grid::history::journal::BUDGET_SPENT;
use vllm_grid::history::record::{SweepEnd, SweepRecord};
use vllm_grid::report::reading::render;
use vllm_grid::results::confirmable::{self, Refusal};
use vllm_grid::results::not_again::WhyNotAgain;
use vllm_grid::results::ranking::{Exclusion, rank};
use vllm_grid::results::reading::Reading;
use vllm_grid::results::reading::next::{Change, NextStep};
use vllm_grid::strategy::{AdaptiveStrategy, ModelStrategy, Purpose, StrategySpec};

use crate::results::builder::{Building, around, sweep};
use crate::results::race::Race;
use crate::results::reading::place;

fn reading(record: &SweepRecord) -> Reading {
    Reading::of(&rank(record), &record.manifest, &place())
}

fn text(record: &SweepRecord) -> String {
    render(&reading(record), 80).split_whitespace().collect::<Vec<_>>().join(" ")
}

const NAMES: [&str; 5] = ["production", "lucky", "c2", "c3", "c4"];

/// A screen in which `lucky` had one fast launch, then a block and three duels of c2 and c3 by
/// what the model believed.
fn modelled() -> Race {
    let screen =
        [("production", 150.0), ("lucky", 92.0), ("c2", 100.0), ("c3", 104.0), ("c4", 160.0)];
    let duels =
        [("c2", 101.0), ("c3", 105.0), ("c2", 99.0), ("c3", 103.0), ("c2", 100.0), ("c3", 106.0)];
    let mut race = Race::of(&NAMES);
    let racing = AdaptiveStrategy { max_launches: Some(40), ..AdaptiveStrategy::default() };
    race.record.manifest.strategy = StrategySpec::Model(ModelStrategy { racing, predicted: false });
    let repeats = |value: f64| [value * 0.98, value * 1.01, value * 1.01];
    for (name, value) in screen {
        race = race.launched(name, Purpose::Screen, &repeats(value));
    }
    for (name, value) in duels {
        race = race.launched(name, Purpose::Final, &repeats(value));
    }
    race
}

const REASON: &str = "c2 is within 5% of the best of those launched with probability 0.97";

fn over() -> SweepRecord {
    let mut record = modelled().ended(true, REASON);
    record.manifest.baseline = Some("production".to_owned());
    record
}

#[test]
fn what_the_duels_ended_on_is_taken_and_not_the_best_mean_of_one_launch() {
    let ranking = rank(&over());
    assert_eq!(ranking.rows[0].name, "lucky", "the ranking is that of the means");
    let candidate = &ranking.decision.as_ref().unwrap().candidate;
    assert_eq!((candidate.configuration.as_str(), candidate.rank), ("c2", 2));
    let lucky = candidate.passed_over.as_ref().unwrap();
    assert_eq!((lucky.configuration.as_str(), lucky.launches), ("lucky", 1));
    let why = &ranking.rows[0].not_again().unwrap().why;
    let expected = WhyNotAgain::AheadByFew { leader: "c2".to_owned(), launches: 1 };
    assert_eq!(*why, expected);
    insta::assert_snapshot!(render(&reading(&over()), 80));
}

#[test]
fn a_best_mean_of_as_many_launches_as_a_claim_needs_is_taken() {
    let mut race = modelled();
    for _ in 0..2 {
        race = race.launched("lucky", Purpose::Screen, &[91.0, 93.0, 92.0]);
    }
    let record =
        race.launched("c2", Purpose::Final, &[100.0]).launched("c3", Purpose::Final, &[104.0]);
    let candidate = rank(&record.ended(true, REASON)).decision.unwrap().candidate;
    assert_eq!((candidate.configuration.as_str(), candidate.passed_over), ("lucky", None));
}

#[test]
fn before_any_duel_the_best_mean_is_taken() {
    let mut record = over();
    record.launches.truncate(NAMES.len());
    let candidate = rank(&record).decision.unwrap().candidate;
    assert_eq!((candidate.configuration.as_str(), candidate.passed_over), ("lucky", None));
}

/// A limit that leaves one launch behind the two blocks: the baseline has it, by numbers that show
/// that it is no duel.
#[test]
fn what_a_claim_lacked_decides_nothing_between_the_others() {
    let means = [("production", 150.0), ("lucky", 140.0), ("c2", 100.0), ("c3", 104.0)];
    let repeats = |value: f64| [value * 0.98, value * 1.01, value * 1.01];
    let mut race = Race::of(&NAMES[..4]);
    for (turn, factor) in [0.99, 1.01].into_iter().enumerate() {
        for (name, value) in means.iter().cycle().skip(turn).take(4) {
            race = race.launched(name, Purpose::Screen, &repeats(value * factor));
        }
    }
    race = race.launched("production", Purpose::Final, &repeats(151.0));
    let last = race.record.launches.last_mut().unwrap();
    last.trial += 2;
    let mut record = race.ended(true, "9 launches are made, and no more may be");
    record.manifest.baseline = Some("production".to_owned());
    let racing = AdaptiveStrategy { max_launches: Some(9), ..AdaptiveStrategy::default() };
    record.manifest.strategy = StrategySpec::Adaptive(racing);
    let ranking = rank(&record);
    let candidate = &ranking.decision.as_ref().unwrap().candidate;
    assert_eq!((candidate.configuration.as_str(), candidate.rank), ("c2", 1));
    assert_eq!(candidate.passed_over, None);
    for row in ranking.rows.iter().filter(|row| row.name != "production" && row.name != "c2") {
        let why = row.not_again().map(|it| it.why.as_str());
        assert_eq!(why, Some("sweep_ended"), "{}", row.name);
    }
}

#[test]
fn more_launches_are_advised_only_where_their_number_ended_the_sweep() {
    let record = over();
    let chosen = rank(&record).chosen.unwrap();
    assert!(chosen.is_short() && !chosen.is_cut(), "it ended of its own will: {chosen:?}");
    assert!(matches!(reading(&record).next[..], [NextStep::Confirm { .. }]));
    let mut cut = record;
    if let StrategySpec::Model(spec) = &mut cut.manifest.strategy {
        spec.racing.max_launches = Some(cut.launches.len() as u32);
    }
    assert!(rank(&cut).chosen.unwrap().is_cut());
    let next = reading(&cut).next;
    assert_eq!(next[1], NextStep::Change { change: Change::MaxLaunches });
}

#[test]
fn the_two_probabilities_are_told_apart() {
    let said = text(&over());
    assert!(
        said.contains(
            "of those launched with probability 0.97. The probability under USE is \
                           reckoned afterwards, and counts every ranked configuration as a rival."
        ),
        "{said}"
    );
}

/// However far apart the values are: only an assumption says what launches differ by.
#[test]
fn launches_that_show_no_scatter_give_no_probability() {
    let record = sweep(&["a", "b"]).launch("a", &[10.0]).launch("b", &[1000.0]);
    let ranking = rank(&record);
    assert!(ranking.rows.iter().all(|row| row.chances.is_none()));
    assert_eq!(ranking.decision.as_ref().unwrap().candidate.p_within_5_percent, None);
    assert!(!text(&record).contains("probability"), "{}", text(&record));
    // Repeats of one launch share what launches differ by.
    let repeated = sweep(&["a", "b"]).launch("a", &around(10.0)).launch("b", &around(1000.0));
    assert!(rank(&repeated).rows.iter().all(|row| row.chances.is_none()));
    let twice = repeated.launch("a", &around(11.0));
    assert!(rank(&twice).rows.iter().all(|row| row.chances.is_some()));
}

#[test]
fn a_race_that_launched_nothing_twice_is_short_of_launches() {
    let race = Race::of(&["a", "b"]);
    let race = race.launched("a", Purpose::Screen, &[10.0]);
    let record = race.launched("b", Purpose::Screen, &[1000.0]).ended(true, "2 launches are made");
    let mut record = record;
    if let StrategySpec::Adaptive(spec) = &mut record.manifest.strategy {
        spec.max_launches = Some(2);
    }
    let chosen = rank(&record).chosen.unwrap();
    assert_eq!(chosen.probability, None);
    let said = text(&record);
    assert!(said.contains("4% between launches is assumed: nothing was launched twice."), "{said}");
    assert_eq!(reading(&record).next[0], NextStep::Change { change: Change::MaxLaunches });
}

#[test]
fn who_breaks_a_bound_says_since_when_it_was_launched_no_more() {
    let record = over().constraint("kv_cache.ttft_resent_ms", None, Some(130.0));
    let ranking = rank(&record);
    let row = ranking.rows.iter().find(|row| row.name == "c4").unwrap();
    let [Exclusion::Violated { dropped: Some(dropped), .. }] = row.exclusions.as_slice() else {
        panic!("{row:?}")
    };
    assert_eq!(dropped.after_launch, 5);
    let reason = row.reason().unwrap();
    assert!(reason.starts_with("breaks the bound of kv_cache.ttft_resent_ms: "), "{reason}");
    let since = "; not launched again after its last launch (01:40 UTC)";
    assert!(reason.ends_with(since), "{reason}");
    let frame = ranking.frame().unwrap();
    let column: Vec<_> =
        frame.column("not_again").unwrap().str().unwrap().iter().flatten().collect();
    assert!(column.contains(&"breaks_a_bound"), "{column:?}");
    // While the sweep goes on, and where launches are not chosen, nobody is dropped.
    let mut open = record.clone();
    open.ended = None;
    let mut of_grid = record;
    of_grid.manifest.strategy = sweep(&[]).manifest.strategy;
    for record in [open, of_grid] {
        let ranking = rank(&record);
        let row = ranking.rows.iter().find(|row| row.name == "c4").unwrap();
        assert!(!row.reason().unwrap().contains("not launched again"), "{row:?}");
    }
}

/// A model launches its second block to decide, too: who has had its launch of it has won nothing
/// against one that was still waiting for its own.
#[test]
fn a_second_block_that_was_cut_is_no_duel() {
    let mut race = modelled();
    race.record.launches.truncate(NAMES.len());
    for (name, value) in [("c2", 101.0), ("c3", 105.0), ("c4", 158.0)] {
        race = race.launched(name, Purpose::Final, &[value * 0.98, value * 1.01, value * 1.01]);
    }
    let remark = "7 of 12 configurations were never launched";
    let record = race.ended(false, &format!("{BUDGET_SPENT}: 8 launches; {remark}"));
    let said = text(&record);
    assert!(
        said.contains(&format!("When it ended (budget spent: 8 launches): {remark}.")),
        "{said}"
    );
    let ranking = rank(&record);
    let candidate = &ranking.decision.as_ref().unwrap().candidate;
    assert_eq!((candidate.configuration.as_str(), &candidate.passed_over), ("lucky", &None));
    let row = ranking.rows.iter().find(|row| row.name == "production").unwrap();
    let why = &row.not_again().unwrap().why;
    // The remark is of the sweep, and is not said of each configuration.
    let reason = "budget spent: 8 launches".to_owned();
    assert_eq!(*why, WhyNotAgain::OthersFirst { reason });
}

/// The command that is advised may not be refused.
#[test]
fn a_candidate_whose_bound_is_open_by_few_launches_is_named_where_it_is_to_be_confirmed() {
    let mut record = over();
    record.launches.retain(|it| it.configuration != "lucky");
    record.launches.truncate(6);
    record.ended = Some(SweepEnd { complete: false, reason: BUDGET_SPENT.to_owned() });
    let mut record = record.constraint("kv_cache.ttft_miss_ms", None, Some(1000.0));
    for launch in std::mem::take(&mut record.launches) {
        let open = launch.configuration == "c2";
        record.launches.push(launch);
        record = record.and("ttft_miss_ms", &[if open { 995.0 } else { 100.0 }; 3]);
    }
    let ranking = rank(&record);
    let refused = confirmable::pair(&record, &ranking, None, None).unwrap_err();
    let [Refusal::BoundOpen { name, .. }] = refused.as_slice() else { panic!("{refused:?}") };
    let next = reading(&record).next;
    let NextStep::Confirm { configuration: Some(named), .. } = &next[0] else { panic!("{next:?}") };
    assert_eq!(named, name);
    confirmable::pair(&record, &ranking, Some(named), None).unwrap();
}
