//! What is said where a sweep chose its launches by what it measured: claims between those
//! with three launches or more alone, how launches were chosen, and of each configuration
//! that was launched no more why and since when.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use vllm_grid::history::journal::BUDGET_SPENT;
use vllm_grid::history::record::{SweepEnd, SweepRecord};
use vllm_grid::metric::{Aim, Goal, MetricValue};
use vllm_grid::report::reading::render;
use vllm_grid::report::table;
use vllm_grid::results::decision::Claim;
use vllm_grid::results::findings::Finding;
use vllm_grid::results::front::FrontPlace;
use vllm_grid::results::not_again::WhyNotAgain;
use vllm_grid::results::ranking::{Ranking, RankingVerdict, Remark, rank};
use vllm_grid::results::reading::next::{Change, NextStep};
use vllm_grid::results::reading::{Reading, Statement};
use vllm_grid::statistics::SIGNIFICANCE;
use vllm_grid::strategy::{AdaptiveStrategy, Purpose, StrategySpec};

use crate::results::builder::{Building, sweep};
use crate::results::noise::normal;
use crate::results::reading::{block_of, place};

/// A race by hand: launches one after the other, ten minutes each.
pub(crate) struct Race {
    pub(crate) record: SweepRecord,
}

impl Race {
    pub(crate) fn of(names: &[&str]) -> Self {
        let mut record = sweep(names);
        record.manifest.strategy = StrategySpec::Adaptive(AdaptiveStrategy::default());
        Self { record }
    }

    pub(crate) fn launched(mut self, name: &str, purpose: Purpose, values: &[f64]) -> Self {
        let seconds = 600 * i64::try_from(self.record.launches.len()).unwrap();
        self.record = self.record.launch(name, values).at(seconds);
        let launch = self.record.launches.last_mut().unwrap();
        let start: jiff::Timestamp = "2026-11-24T01:00:00Z".parse().unwrap();
        launch.started_at = Some(start + jiff::SignedDuration::from_secs(seconds));
        (launch.trial, launch.purpose) = (launch.launch - 1, purpose);
        self
    }

    /// Three repeats around a value, of which launches differ by about 1 %.
    fn near(self, name: &str, purpose: Purpose, value: f64) -> Self {
        let turn = self.record.launches.len();
        let own = value * [0.993, 1.004, 1.009, 0.997, 1.001][turn % 5];
        self.launched(name, purpose, &[own * 0.98, own * 1.01, own * 1.01])
    }

    fn block(self, of: &[(&str, f64)]) -> Self {
        of.iter().fold(self, |race, (name, value)| race.near(name, Purpose::Screen, *value))
    }

    fn duel(self, of: [(&str, f64); 2]) -> Self {
        of.iter().fold(self, |race, (name, value)| race.near(name, Purpose::Final, *value))
    }

    pub(crate) fn ended(mut self, complete: bool, reason: &str) -> SweepRecord {
        self.record.ended = Some(SweepEnd { complete, reason: reason.to_owned() });
        self.record
    }
}

const ALL: [(&str, f64); 6] = [
    ("production", 150.0),
    ("c1", 140.0),
    ("c2", 120.0),
    ("c3", 100.0),
    ("c4", 102.0),
    ("c5", 190.0),
];
const NAMES: [&str; 6] = ["production", "c1", "c2", "c3", "c4", "c5"];

/// Two blocks of all, but of c5 which is far behind, then three duels of c3 and c4.
fn raced() -> Race {
    let mut race = Race::of(&NAMES).block(&ALL).block(&[ALL[3], ALL[1], ALL[0], ALL[4], ALL[2]]);
    for turn in 0..3 {
        let pair = [ALL[3], ALL[4]];
        race = race.duel(if turn % 2 == 0 { pair } else { [pair[1], pair[0]] });
    }
    race
}

fn complete() -> SweepRecord {
    let mut record = raced().ended(true, "the leader is good enough");
    record.manifest.baseline = Some("production".to_owned());
    record
}

fn label<'a>(ranking: &'a Ranking, name: &str) -> &'a str {
    let row = ranking.rows.iter().find(|row| row.name == name).unwrap();
    row.rank_label.as_deref().unwrap()
}

fn reading(record: &SweepRecord) -> Reading {
    Reading::of(&rank(record), &record.manifest, &place())
}

fn text(record: &SweepRecord) -> String {
    render(&reading(record), 100).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn only_those_with_three_launches_are_in_a_claim() {
    let ranking = rank(&complete());
    for row in &ranking.rows {
        let few = !matches!(row.name.as_str(), "c3" | "c4");
        assert_eq!(ranking.is_in_claims(row), !few, "{}", row.name);
        assert!(!few || row.p_first.is_none() && row.p_baseline.is_none(), "{}", row.name);
        assert!(row.estimates[0].is_some_and(|it| it.interval.is_some()), "all have an estimate");
    }
    // c4 is 2 % behind by five launches each; the others have no claim at all.
    let labels: Vec<&str> = NAMES.iter().map(|name| label(&ranking, name)).collect();
    let in_claims = [label(&ranking, "c3"), label(&ranking, "c4")];
    assert!(in_claims == ["1-2", "1-2"] || in_claims == ["1", "2"], "{labels:?}");
    assert_eq!([labels[2], labels[1], labels[0], labels[5]], ["(3)", "(4)", "(5)", "(6)"]);
    let chosen = ranking.chosen.as_ref().unwrap();
    assert_eq!((chosen.strategy, chosen.in_claims, chosen.unclaimed), ("adaptive", 2, 4));
}

#[test]
fn the_same_launches_of_a_grid_carry_what_they_always_did() {
    let mut record = complete();
    record.manifest.strategy = sweep(&[]).manifest.strategy;
    let ranking = rank(&record);
    assert!(ranking.chosen.is_none());
    let c2 = ranking.rows.iter().find(|row| row.name == "c2").unwrap();
    assert!(c2.p_first.is_some_and(|p| p < SIGNIFICANCE), "launched twice: {:?}", c2.p_first);
    assert!(ranking.rows.iter().all(|row| row.remarks.is_empty()));
    let said = |it: &Finding| matches!(it, Finding::Chosen(_));
    assert!(!ranking.findings().iter().any(said));
}

#[test]
fn a_baseline_that_was_launched_twice_leaves_no_gain_and_asks_for_a_confirmation() {
    let record = complete();
    let ranking = rank(&record);
    let claim = &ranking.decision.as_ref().unwrap().claim;
    let Claim::TooFewLaunches { baseline, effect: Some(_), of_candidate, of_baseline, needed } =
        claim
    else {
        panic!("{claim:?}")
    };
    assert_eq!((baseline.as_str(), *of_candidate, *of_baseline, *needed), ("production", 5, 2, 3));
    insta::assert_snapshot!(block_of(&record, &ranking, &place()));
}

#[test]
fn a_baseline_with_three_launches_is_compared() {
    let mut race = raced();
    race = race.duel([ALL[3], ALL[0]]).duel([ALL[4], ALL[3]]);
    let mut record = race.ended(true, "");
    record.manifest.baseline = Some("production".to_owned());
    let ranking = rank(&record);
    let claim = &ranking.decision.as_ref().unwrap().claim;
    assert!(matches!(claim, Claim::Better { .. }), "{claim:?}");
    let said = text(&record);
    assert!(said.contains("c3 is faster than production: not yet confirmed"), "{said}");
    assert!(said.contains("Launches were chosen by what was measured (adaptive)"), "{said}");
    assert!(said.contains("NEXT vllm-grid confirm"), "{said}");
}

#[test]
fn where_nobody_has_three_launches_nothing_is_claimed() {
    let race = Race::of(&NAMES).block(&ALL).block(&ALL);
    let record = race.ended(true, "");
    let ranking = rank(&record);
    assert_eq!(
        ranking.verdict,
        RankingVerdict::Unclaimed { leader: "c3".to_owned(), few: 6, of: 6, claimed_from: 3 }
    );
    assert_eq!(label(&ranking, "c3"), "(1)");
    assert!(ranking.rows.iter().all(|row| row.p_first.is_none()));
    let said = text(&record);
    let expected = "RESULT No order is claimed: 6 of 6 configurations were launched fewer than 3 \
                    times. Best estimate: c3.";
    assert!(said.contains(expected), "{said}");
    assert!(!said.contains("Set `launches"), "{said}");
}

#[test]
fn without_a_baseline_the_first_is_the_best_of_those_with_enough_launches() {
    let mut race = Race::of(&NAMES).block(&ALL).block(&ALL);
    for _ in 0..3 {
        race = race.duel([ALL[3], ALL[2]]);
    }
    let record = race.ended(true, "");
    let ranking = rank(&record);
    assert_eq!(ranking.verdict, RankingVerdict::First { name: "c3".to_owned() });
    let Statement::First { of: 2, unclaimed: 4, .. } = reading(&record).result else {
        panic!("{:?}", reading(&record).result)
    };
    let said = text(&record);
    let expected = "c3 is the best of 2 configurations with enough launches: the others are \
                    shown to be worse.";
    assert!(said.contains(expected), "{said}");
    assert!(said.contains("4 configurations were launched fewer than 3 times"), "{said}");
}

/// The reason of each row that was launched no more.
fn reasons(record: &SweepRecord) -> Vec<(String, u32, WhyNotAgain)> {
    let ranking = rank(record);
    let of = |row: &vllm_grid::results::ranking::RankedConfiguration| {
        row.remarks.iter().find_map(|it| match it {
            Remark::NotLaunchedAgain(it) => {
                Some((row.name.clone(), it.dropped.after_launch, it.why.clone()))
            }
            _ => None,
        })
    };
    ranking.rows.iter().filter_map(of).collect()
}

#[test]
fn a_configuration_that_was_launched_no_more_says_since_when_and_why() {
    let record = complete();
    let all = reasons(&record);
    let names: Vec<(&str, u32)> = all.iter().map(|it| (it.0.as_str(), it.1)).collect();
    // c3 and c4 were in the race when it ended.
    // c5 had no launch in the second block, which ended with launch 11.
    assert_eq!(names, [("c2", 11), ("c1", 11), ("production", 11), ("c5", 6)]);
    let behind =
        |it: &WhyNotAgain| matches!(it, WhyNotAgain::Behind { leader, .. } if leader == "c3");
    assert!(all.iter().all(|it| behind(&it.2)), "{all:?}");
    let ranking = rank(&record);
    let c2 = ranking.rows.iter().find(|row| row.name == "c2").unwrap();
    let said = c2.remarks[0].to_string();
    let since = "not launched again after the second block (02:40 UTC): ";
    assert!(said.starts_with(since), "{said}");
    assert!(said.ends_with("] slower than c3 by the launches until then"), "{said}");
    let c5 = ranking.rows.iter().find(|row| row.name == "c5").unwrap().remarks[0].to_string();
    assert!(c5.starts_with("not launched again after the first block (01:50 UTC): "), "{c5}");
    insta::assert_snapshot!(table::render(&ranking, &record.manifest, 120, false));
}

#[test]
fn who_failed_or_breaks_a_bound_has_that_reason_alone() {
    let mut record = complete();
    record = record.constraint("kv_cache.ttft_resent_ms", None, Some(165.0));
    let ranking = rank(&record);
    let c5 = ranking.rows.iter().find(|row| row.name == "c5").unwrap();
    assert!(!c5.eligible && c5.remarks.is_empty(), "{c5:?}");
    assert!(reasons(&record).iter().all(|it| it.0 != "c5"));
}

#[test]
fn while_a_race_goes_on_nobody_is_out_of_it() {
    let mut record = complete();
    record.ended = None;
    assert!(reasons(&record).is_empty());
}

#[test]
fn what_the_budget_cut_off_says_so() {
    let race = Race::of(&NAMES).block(&ALL).block(&ALL[3..5]);
    let mut record = race.ended(false, BUDGET_SPENT);
    record.manifest.baseline = Some("production".to_owned());
    let all = reasons(&record);
    assert_eq!(all.len(), 4, "{all:?}");
    let cut = WhyNotAgain::SweepEnded { reason: BUDGET_SPENT.to_owned() };
    assert!(all.iter().all(|it| it.2 == cut), "{all:?}");
    let said = rank(&record).rows.last().unwrap().remarks[0].to_string();
    let expected = "not launched again after its last launch (01:50 UTC): \
                    the sweep ended before that (budget spent)";
    assert_eq!(said, expected);
}

/// As many launches as allowed are an end of the strategy's own, and cut it off all the same.
#[test]
fn what_the_greatest_number_of_launches_cut_off_says_so() {
    let mut record = Race::of(&NAMES).block(&ALL).block(&ALL[3..5]).ended(true, "8 are made");
    if let StrategySpec::Adaptive(spec) = &mut record.manifest.strategy {
        spec.max_launches = Some(8);
    }
    let cut = WhyNotAgain::SweepEnded { reason: "8 are made".to_owned() };
    let all = reasons(&record);
    assert!(all.len() == 4 && all.iter().all(|it| it.2 == cut), "{all:?}");
    // In the first block, too: of one that was launched, and of one that was not.
    record.launches.truncate(5);
    if let StrategySpec::Adaptive(spec) = &mut record.manifest.strategy {
        spec.max_launches = Some(5);
    }
    let all = reasons(&record);
    assert!(all.len() == 4 && all.iter().all(|it| it.2 == cut), "{all:?}");
    let ranking = rank(&record);
    let c5 = ranking.rows.iter().find(|row| row.name == "c5").unwrap();
    let expected = "not launched: the sweep ended before that (8 are made)";
    assert_eq!(c5.reason().as_deref(), Some(expected));
}

/// What was known when it was decided, not what later launches made of it.
#[test]
fn a_reason_is_of_the_launches_until_then() {
    let record = complete();
    let mut later = record.clone();
    let duels = later.launches.iter_mut().filter(|it| it.purpose == Purpose::Final);
    for value in duels.flat_map(|it| &mut it.measurements).flat_map(|it| it.metrics.values_mut()) {
        if let Some(MetricValue::Number(number)) = value {
            *number *= 1.2;
        }
    }
    let c2 = |record: &SweepRecord| reasons(record).into_iter().find(|it| it.0 == "c2").unwrap();
    assert_eq!(c2(&record), c2(&later));
}

#[test]
fn an_end_right_after_the_blocks_is_said_of_each_configuration() {
    let race = || Race::of(&NAMES).block(&ALL).block(&ALL);
    let record = race().ended(true, "the leader is good enough");
    let all = reasons(&record);
    // c3 leads; the second block ended with launch 12.
    let names: Vec<(&str, u32)> = all.iter().map(|it| (it.0.as_str(), it.1)).collect();
    assert_eq!(names, [("c4", 12), ("c2", 12), ("c1", 12), ("production", 12), ("c5", 12)]);
    let is_last = |it: &WhyNotAgain| matches!(it, WhyNotAgain::Behind { leader, is_last: true, comparisons: 30, .. } if leader == "c3");
    assert!(all.iter().all(|it| is_last(&it.2)), "{all:?}");
    let ranking = rank(&record);
    let said = |name: &str| {
        let row = ranking.rows.iter().find(|row| row.name == name).unwrap();
        row.remarks[0].to_string()
    };
    let end = "not launched again after the second block (02:50 UTC): ";
    assert!(said("c5").starts_with(end), "{}", said("c5"));
    assert!(said("c5").ends_with("] slower than c3, with which the sweep ended"), "{}", said("c5"));
    let c4 = said("c4");
    assert!(c4.contains("not shown to be slower than c3, with which the sweep ended ("), "{c4}");

    // By a budget: one sentence for all of them.
    let record = race().ended(false, BUDGET_SPENT);
    let all = reasons(&record);
    let cut = WhyNotAgain::SweepEnded { reason: BUDGET_SPENT.to_owned() };
    assert!(all.len() == 5 && all.iter().all(|it| it.2 == cut && it.1 == 12), "{all:?}");
    let text = table::render(&rank(&record), &record.manifest, 300, false);
    let grouped = "c4, c2, c1, production, c5: not launched again after the second block (02:50 \
                   UTC): the sweep ended before that (budget spent)\n";
    assert_eq!(text.matches(grouped).count(), 1, "{text}");
    assert_eq!(text.matches("the sweep ended before that").count(), 1, "{text}");
}

/// The best of many is so by chance: nobody is slower than it for that.
#[test]
fn among_equal_configurations_none_is_shown_to_be_slower() {
    let names: Vec<String> = (0..12).map(|at| format!("c{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let is_slower = |it: &WhyNotAgain| it.to_string().contains("% [");
    let mut wrong = 0;
    for seed in 0..20 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut race = Race::of(&names);
        for _ in 0..2 {
            for name in &names {
                let own = 100.0 * (0.1 * normal(&mut rng)).exp();
                race = race.launched(name, Purpose::Screen, &[own * 0.99, own * 1.01]);
            }
        }
        let all = reasons(&race.ended(true, "the leader is good enough"));
        assert_eq!(all.len(), 11, "{all:?}");
        wrong += usize::from(all.iter().any(|it| is_slower(&it.2)));
    }
    assert!(wrong <= 2, "{wrong} of 20");
}

#[test]
fn what_was_launched_for_a_confirmation_was_launched_again() {
    let mut record = complete();
    assert!(reasons(&record).iter().any(|it| it.0 == "production"));
    let mut launch = record.launches[0].clone();
    (launch.launch, launch.trial, launch.confirmation) = (99, 1_000_000, Some(1));
    launch.purpose = Purpose::Confirm;
    record.launches.push(launch);
    assert!(reasons(&record).iter().all(|it| it.0 != "production"));
}

#[test]
fn a_race_that_ended_before_it_was_sure_is_confirmed_or_swept_for_longer() {
    // Launches that differ by 10 % leave c3, c4 and c2 too near each other.
    let mut race = raced();
    for (at, launch) in race.record.launches.iter_mut().enumerate() {
        let factor = [0.88, 1.12, 1.07, 0.92, 1.1, 0.86, 1.13][at % 7];
        for measurement in &mut launch.measurements {
            for value in measurement.metrics.values_mut().flatten() {
                let MetricValue::Number(old) = *value else { continue };
                *value = MetricValue::Number(old * factor);
            }
        }
    }
    let mut record = race.ended(true, "as many launches as allowed");
    if let StrategySpec::Adaptive(spec) = &mut record.manifest.strategy {
        spec.max_launches = Some(record.launches.len() as u32);
    }
    record.manifest.baseline = Some("production".to_owned());
    let short = rank(&record).chosen.unwrap();
    assert!(short.is_short(), "{short:?}");
    let next = reading(&record).next;
    assert!(matches!(next[0], NextStep::Confirm { .. }), "{next:?}");
    assert_eq!(next[1], NextStep::Change { change: Change::MaxLaunches });
    let said = text(&record);
    let expected = "Or choose by more launches: raise `max-launches` in the grid (";
    assert!(said.contains(expected) && said.contains("sweep again:"), "{said}");
    // One that was sure enough is confirmed.
    assert!(!rank(&complete()).chosen.unwrap().is_short());
    let next = reading(&complete()).next;
    assert!(matches!(next[..], [NextStep::Confirm { .. }]), "{next:?}");
}

#[test]
fn what_was_launched_once_is_marked_as_assumed() {
    let ranking = rank(&complete());
    let of = |name: &str| {
        let row = ranking.rows.iter().find(|row| row.name == name).unwrap();
        row.estimates[0].unwrap()
    };
    assert!(of("c5").assumed && of("c5").launches == 1);
    assert!(!of("c2").assumed && !of("c3").assumed);
    // The others' spread carries it: no narrower than what was launched twice.
    let width = |name: &str| {
        let it = of(name).interval.unwrap();
        (it.high / it.low).ln()
    };
    assert!(width("c5") > width("c2") && width("c2") > width("c3"));
}

/// The objective and a throughput that is to be as large as possible: a, b and c are a front,
/// d is behind in both.
fn of_two(spread: f64) -> SweepRecord {
    let mut record = sweep(&["a", "b", "c", "d"]);
    let metric = "kv_cache.ttft_miss_ms".parse().unwrap();
    record.manifest.objective.further = vec![Aim { metric, goal: Goal::Minimize }];
    for block in 0..4 {
        for (at, (name, resent, miss)) in (0..).zip([
            ("a", 100.0, 400.0),
            ("b", 150.0, 300.0),
            ("c", 200.0, 200.0),
            ("d", 300.0, 500.0),
        ]) {
            let turn = [-1.0, 0.5, 1.0, -0.5][(block + at) % 4] * spread;
            let values = |mean: f64| [0.99, 1.0, 1.01].map(|it| mean * it * (1.0 + turn));
            let seconds = i64::try_from(block * 4 + at).unwrap() * 600;
            record = record.launch(name, &values(resent)).at(seconds);
            record = record.and("ttft_miss_ms", &values(miss));
        }
    }
    record
}

#[test]
fn of_several_objectives_the_front_is_named() {
    let record = of_two(0.01);
    let front = rank(&record).front.unwrap();
    assert_eq!(front.names(FrontPlace::Surely), ["a", "b", "c"]);
    assert_eq!(front.names(FrontPlace::Off), ["d"]);
    let said = text(&record);
    let expected = "Surely on the front of ttft_resent_ms and ttft_miss_ms: a, b, c. ";
    assert!(said.contains(expected), "{said}");
    let frame = rank(&record).frame().unwrap();
    let column: Vec<_> = frame.column("front").unwrap().str().unwrap().iter().flatten().collect();
    assert_eq!(column, ["surely", "surely", "surely", "off"]);
}

#[test]
fn the_terminal_shows_the_figures_of_each_objective() {
    let record = of_two(0.01);
    let text = vllm_grid::report::table::render(&rank(&record), &record.manifest, 80, true);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn what_launches_do_not_show_is_on_the_front_by_its_means_alone() {
    let record = of_two(0.6);
    let front = rank(&record).front.unwrap();
    assert!(front.names(FrontPlace::Surely).is_empty(), "{front:?}");
    assert!(!front.names(FrontPlace::ByMeans).is_empty(), "{front:?}");
    let said = text(&record);
    assert!(said.contains("On the front of ttft_resent_ms and ttft_miss_ms by means: "), "{said}");
}

#[test]
fn one_objective_has_no_front() {
    let mut record = of_two(0.01);
    record.manifest.objective.further.clear();
    let ranking = rank(&record);
    assert!(ranking.front.is_none());
    assert!(!text(&record).contains("front"));
}
