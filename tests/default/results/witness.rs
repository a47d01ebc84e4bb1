//! What the machine's witnesses say of a sweep: what explains its time effect, repeats during
//! which others saturated the host, and comparisons that are therefore not decided.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use vllm_grid::history::record::SweepRecord;
use vllm_grid::metric::Goal;
use vllm_grid::report::table;
use vllm_grid::results::decision::Claim;
use vllm_grid::results::disturbance::{Inseparable, Undecided};
use vllm_grid::results::findings::Finding;
use vllm_grid::results::ranking::{Ranking, RankingVerdict, Remark, rank};
use vllm_grid::results::reading::{Place, Reading};

use crate::results::builder::{Building, late, sweep};
use crate::results::noise::normal;

/// A launch of which the host's CPU and the part that others use of it are known.
pub(crate) fn launch(
    record: SweepRecord,
    name: &str,
    values: &[f64],
    (cpu, others): (f64, f64),
    minute: i64,
) -> SweepRecord {
    let of = |value: f64| vec![value; values.len()];
    let record = record.launch(name, values);
    let record = record.and("host_cpu_mean", &of(cpu)).and("host_cpu_others_mean", &of(others));
    record.at(minute * 60)
}

pub(crate) const BUSY: (f64, f64) = (0.99, 0.55);
pub(crate) const QUIET: (f64, f64) = (0.6, 0.05);

fn shown(record: &SweepRecord) -> String {
    // Lines are broken where the terminal ends.
    let ranking = rank(record);
    let reading = Reading::of(&ranking, &record.manifest, &Place::default());
    let block = vllm_grid::report::reading::render(&reading, 100);
    let text = block + &table::render(&ranking, &record.manifest, 100, true);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn causes(ranking: &Ranking) -> &[Undecided] {
    match &ranking.verdict {
        RankingVerdict::Undecided { causes, .. } => causes,
        other => panic!("{other:?}"),
    }
}

/// A real server on a machine on which others computed: 31.8 ms [3.2, 321.1] against 280 ms
/// [28, 2828] was called a tie, without a word about the machine.
fn incident() -> SweepRecord {
    let mut record = sweep(&["a", "b"]).baseline("a");
    record = launch(record, "a", &[13.0, 14.1, 12.4], BUSY, 0);
    record = launch(record, "b", &[960.0, 900.0, 1010.0], BUSY, 7);
    record = launch(record, "b", &[85.0, 80.0, 92.0], BUSY, 14);
    launch(record, "a", &[80.0, 70.0, 77.0], BUSY, 21)
}

#[test]
fn a_huge_spread_while_others_computed_is_no_tie() {
    let ranking = rank(&incident());
    let RankingVerdict::Undecided { names, ranks, .. } = &ranking.verdict else {
        panic!("{:?}", ranking.verdict)
    };
    assert_eq!((&names[..], &ranks[..]), (&["a".to_owned()][..], &[1][..]));
    let [Undecided::Disturbed { configurations, because }, Undecided::TooWide { factor, .. }] =
        causes(&ranking)
    else {
        panic!("{:?}", causes(&ranking))
    };
    assert!(matches!(because, Inseparable::Design { .. }), "{because:?}");
    assert_eq!((configurations[0].disturbed, configurations[0].repeats), (6, 6));
    assert!((configurations[0].host_cpu.expect("sampled") - 0.99).abs() < 1e-9);
    assert!(*factor > 2.0, "{factor}");
    let text = ranking.verdict.to_string();
    let expected = "that a ranks first is not shown: others saturated the host in 6 of 6 \
                    repeats of a and 6 of 6 repeats of b, and fewer than 3 launches cannot \
                    separate that; with 2 launches each a difference under a factor of ";
    assert!(text.starts_with(expected), "{text}");
    assert!(!ranking.decision.as_ref().expect("a candidate").claims());
    let printed = shown(&incident());
    assert!(!printed.contains("tie:"), "{printed}");
    assert!(printed.contains("others saturated the host"), "{printed}");
}

#[test]
fn what_would_be_a_tie_is_not_decided_either() {
    let mut record = sweep(&["a", "b"]).baseline("a");
    for (minute, (name, ms)) in (0..).zip([("a", 40.0), ("b", 95.0), ("b", 40.0), ("a", 90.0)]) {
        record = launch(record, name, &[ms, 1.1 * ms, 0.9 * ms], BUSY, minute * 7);
    }
    let ranking = rank(&record);
    let text = ranking.verdict.to_string();
    let expected = "nothing is decided between ranks 1-2: others saturated the host in 6 of 6";
    assert!(text.starts_with(expected), "{text}");
    assert!(causes(&ranking).iter().any(|cause| matches!(cause, Undecided::TooWide { .. })));
    assert!(!ranking.rows.iter().any(|row| row.preferred), "nothing decides what to take");
}

#[test]
fn with_one_launch_of_one_the_machine_is_spoken_of_too() {
    let mut record = incident();
    record.launches.truncate(3);
    let ranking = rank(&record);
    assert!(
        matches!(ranking.verdict, RankingVerdict::Insufficient { .. }),
        "{:?}",
        ranking.verdict
    );
    let said = |finding: &Finding| {
        matches!(finding, Finding::NothingDecided { causes }
            if matches!(causes[0], Undecided::Disturbed { .. }))
    };
    assert!(ranking.findings().iter().any(said));
    assert!(shown(&record).contains("others saturated the host"));
}

#[test]
fn a_huge_spread_alone_decides_nothing_and_says_so() {
    let mut record = incident();
    for repeat in record.launches.iter_mut().flat_map(|launch| &mut launch.measurements) {
        repeat.metrics.retain(|name, _| !name.starts_with("host"));
    }
    let ranking = rank(&record);
    let [Undecided::TooWide { factor, launches: 2, .. }] = causes(&ranking) else {
        panic!("{:?}", ranking.verdict)
    };
    assert!((2.0..1000.0).contains(factor), "{factor}");
}

/// Launches in turns; `state` says what the host did during each of `fast` and of `slow`.
fn turns(blocks: i64, slower: f64, states: [(f64, f64); 2]) -> SweepRecord {
    let mut record = sweep(&["fast", "slow"]).baseline("slow");
    for block in 0..blocks {
        let noise = 1.0 + 0.01 * (block % 3) as f64;
        let fast = [100.0 * noise, 101.0 * noise, 99.0 * noise];
        record = launch(record, "fast", &fast, states[0], block * 14);
        let slow = fast.map(|value| value * slower);
        record = launch(record, "slow", &slow, states[1], block * 14 + 7);
    }
    record
}

#[test]
fn others_that_disturb_evenly_condemn_nothing() {
    let ranking = rank(&turns(4, 1.5, [BUSY, BUSY]));
    assert_eq!(ranking.verdict, RankingVerdict::First { name: "fast".to_owned() });
    assert!(ranking.decision.as_ref().unwrap().claims());
    let [Remark::Disturbed(of)] = &ranking.rows[0].remarks[..] else {
        panic!("{:?}", ranking.rows[0].remarks)
    };
    assert_eq!((of.disturbed, of.repeats), (12, 12));
    let text = Remark::Disturbed(of.clone()).to_string();
    let expected = "others saturated the host in 12 of 12 repeats (CPU at 99%, 55% of all cores \
                    used by others)";
    assert_eq!(text, expected);
    // A tie stays one, too.
    let tie = rank(&turns(4, 1.001, [BUSY, BUSY]));
    assert!(matches!(tie.verdict, RankingVerdict::Tie { .. }), "{:?}", tie.verdict);
}

#[test]
fn others_that_disturb_one_configuration_only_leave_nothing_to_claim() {
    let ranking = rank(&turns(4, 1.5, [QUIET, BUSY]));
    let [Undecided::Disturbed { configurations, because: Inseparable::Uneven }] = causes(&ranking)
    else {
        panic!("{:?}", ranking.verdict)
    };
    assert_eq!(configurations.len(), 1);
    assert_eq!(configurations[0].configuration, "slow");
    let decision = ranking.decision.as_ref().unwrap();
    assert!(matches!(&decision.claim, Claim::NotShown { p: Some(p), .. } if *p < 0.05));
    let text = ranking.verdict.to_string();
    assert!(text.starts_with("that fast ranks first is not shown: others saturated"), "{text}");
    // Without the disturbance it is a claim.
    let calm = rank(&turns(4, 1.5, [QUIET, QUIET]));
    assert!(calm.decision.unwrap().claims());
}

#[test]
fn a_few_disturbed_repeats_and_hosts_that_were_not_sampled_change_nothing() {
    let mut record = turns(2, 1.001, [QUIET, QUIET]);
    let plain = rank(&record).verdict;
    assert!(matches!(plain, RankingVerdict::Tie { .. }), "{plain:?}");
    record = record.and("host_cpu_mean", &[0.99]).and("host_cpu_others_mean", &[0.6]);
    let ranking = rank(&record);
    assert_eq!(ranking.verdict, plain, "1 of 6");
    let remarked = ranking.rows.iter().any(|row| !row.remarks.is_empty());
    assert!(remarked, "it is marked all the same");
}

#[test]
fn a_client_that_was_late_is_said_instead_of_a_tie() {
    let mut record = turns(4, 1.001, [QUIET, QUIET]);
    for (at, launch) in record.launches.iter_mut().enumerate() {
        let count = if at % 2 == 0 { 2 } else { 0 };
        launch.measurements.extend((4..4 + count).map(late));
        launch.measured_at.clear();
    }
    let ranking = rank(&record);
    let [Undecided::ClientLate { configurations }] = causes(&ranking) else {
        panic!("{:?}", ranking.verdict)
    };
    assert_eq!(configurations.len(), 1);
    assert_eq!((configurations[0].late, configurations[0].repeats), (8, 20));
    let text = ranking.verdict.to_string();
    assert!(text.ends_with("the client was late in 8 of 20 repeats of fast"), "{text}");
}

/// Tokens per second of a machine that slows down by 1.7 when its CPU is at 91 % instead of
/// 66 %, in turns every 7 minutes; `told`: whether the witness is what slows it down.
fn evenings(told: bool) -> SweepRecord {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut record = sweep(&["plain", "fast"]).baseline("plain");
    record.manifest.objective.goal = Goal::Maximize;
    for at in 0..20_i64 {
        let is_slow = (5..=9).contains(&at) || at >= 15;
        let (name, rate) = if at % 2 == 0 { ("plain", 500.0) } else { ("fast", 550.0) };
        let slow = if is_slow { 1.7 } else { 1.0 };
        let mut near = |value: f64, by: f64| value * (by * normal(&mut random)).exp();
        let base = near(rate / slow, 0.03);
        let values = [near(base, 0.04), near(base, 0.04), near(base, 0.04)];
        let busy = if told { is_slow } else { at % 7 < 3 };
        let cpu = near(if busy { 0.91 } else { 0.66 }, 0.02);
        record = record
            .launch(name, &values)
            .and("host_cpu_mean", &[cpu; 3])
            .and("host_steal_mean", &[0.0; 3])
            .and("host_memory_available_mean", &[near(8e9, 0.1); 3])
            .and("gpu_temperature_mean", &[near(60.0, 0.03); 3])
            // It follows the server's own work, and is no cause.
            .and("gpu_power_mean", &[200.0 / slow; 3])
            .at(at * 420);
    }
    record
}

#[test]
fn a_witness_that_explains_the_machine_is_named_with_its_figures() {
    let ranking = rank(&evenings(true));
    let witness = ranking.witness.as_ref().unwrap_or_else(|| panic!("{:?}", ranking.machine));
    assert_eq!((witness.witness, witness.looked_at), ("host_cpu_mean", 4));
    assert!((-1.0..-0.85).contains(&witness.r) && witness.p < 0.01, "{witness:?}");
    assert!((0.88..0.94).contains(&witness.slow), "{witness:?}");
    assert!((0.62..0.72).contains(&witness.fast), "{witness:?}");
    assert_eq!((witness.launches, witness.slow_launches), (20, 6));
    let text = witness.to_string();
    assert!(text.starts_with("ttft_resent_ms fell with the host's CPU (r = -0.9"), "{text}");
    assert!(text.ends_with("91% in slow launches, 66% in fast ones)"), "{text}");
    let findings = ranking.findings();
    let position = |of: fn(&Finding) -> bool| findings.iter().position(of).expect("found");
    let machine = position(|it| matches!(it, Finding::Machine(_)));
    assert_eq!(position(|it| matches!(it, Finding::Witness(_))), machine + 1);
    assert!(shown(&evenings(true)).contains("fell with the host's CPU"));
}

#[test]
fn a_witness_that_does_not_explain_it_is_not_named() {
    let ranking = rank(&evenings(false));
    assert_eq!(ranking.witness, None);
    // Nor is one of a machine that did not move.
    let calm = rank(&turns(6, 1.1, [QUIET, (0.61, 0.06)]));
    assert_eq!(calm.witness, None);
}
