//! The block that a person reads first, from crafted sweeps: one snapshot for each state.

use serde_json::json;
use unicode_width::UnicodeWidthStr;
use vllm_grid::grid::Window;
use vllm_grid::history::extent::{Extent, State, Waits};
use vllm_grid::history::launch::{FailureClass, LaunchOutcome};
use vllm_grid::history::record::SweepRecord;
use vllm_grid::metric::{Constraint, Goal};
use vllm_grid::report::reading::render;
use vllm_grid::results::confirmed::{ConfirmedGain, OfBoth};
use vllm_grid::results::ranking::{Ranking, Ratio, rank};
use vllm_grid::results::reading::next::Hours;
use vllm_grid::results::reading::{Place, Reading};
use vllm_grid::statistics::Interval;
use vllm_grid::workload::Workload;

use crate::results::builder::{Building, around, sweep};

pub(crate) fn place() -> Place {
    Place {
        run: "runs/my-service-20261128T010203Z".to_owned(),
        grid: Some("my-grid.yaml".to_owned()),
        extent: None,
        confirm: Some(Hours { low: 1.5, high: 4.0 }),
        production: None,
        exported: true,
        not_launched: Vec::new(),
    }
}

/// The block of a ranking at 80 columns, checked at others.
pub(crate) fn block_of(record: &SweepRecord, ranking: &Ranking, place: &Place) -> String {
    let reading = Reading::of(ranking, &record.manifest, place);
    for columns in [20, 40, 60, 100, 200] {
        check(&render(&reading, columns), columns.clamp(40, 100));
    }
    let text = render(&reading, 80);
    check(&text, 80);
    text
}

pub(crate) fn block(record: &SweepRecord) -> String {
    block_of(record, &rank(record), &place())
}

/// What holds of every block: its width, its labels, the length of its sentences.
fn check(text: &str, columns: usize) {
    const LABELS: [&str; 9] =
        ["PARTIAL", "RESULT", "WHY", "FIX", "USE", "BOUNDS", "TRUST", "FAILED", "NEXT"];
    let mut parts: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.starts_with("SIMULATED  ") {
            continue;
        }
        let long = line.strip_prefix("PRODUCTION ").map(|rest| ("PRODUCTION", rest));
        let (label, rest) =
            long.unwrap_or_else(|| (line[..9.min(line.len())].trim_end(), &line[9..]));
        assert!(label.is_empty() || long.is_some() || LABELS.contains(&label), "{line}");
        assert!(!rest.starts_with(' ') && !rest.is_empty(), "{line:?}");
        assert!(!line.contains(|letter: char| letter.is_control()), "{line:?}");
        // One word alone may be wider: it is never broken.
        let whole = rest.starts_with("vllm-grid ") || !rest.contains(' ');
        assert!(line.width() <= columns || whole, "{columns}: {line}");
        match parts.last_mut() {
            Some(part) if label.is_empty() => part.extend([" ", rest]),
            _ => parts.push(format!("{label} {rest}")),
        }
    }
    // What is under USE are figures and arguments, and no sentences.
    let sentences = parts.iter().filter(|part| !part.starts_with("USE "));
    for sentence in sentences.flat_map(|part| part.split(". ")) {
        let words = sentence.split_whitespace().filter(|word| !word.starts_with("--")).count();
        // The label is one of them.
        assert!(words <= 26, "{words} words: {sentence}");
    }
    let text = text.to_lowercase().replace("window", "");
    assert!(!text.contains("win"), "no figure wins: {text}");
}

/// `load` at 8 and 64 in flight: output throughput at 64, bounded by the median TTFT at 8.
pub(crate) fn service(names: &[&str]) -> SweepRecord {
    let mut record = sweep(names);
    record.manifest.simulated = false;
    "docker".clone_into(&mut record.manifest.engine);
    let options = json!({"concurrency": [8, 64], "requests": 128});
    let options = options.as_object().expect("an object");
    record.manifest.workloads = vec![Workload::from_options("load", options).unwrap()];
    let objective = &mut record.manifest.objective;
    objective.metric = "load[concurrency=64].output_throughput".parse().unwrap();
    objective.goal = Goal::Maximize;
    let metric = "load[concurrency=8].median_ttft_ms".parse().unwrap();
    objective.constraints = vec![Constraint { metric, min: None, max: Some(1500.0) }];
    record
}

/// One launch of it.
pub(crate) fn served(record: SweepRecord, name: &str, tokens: f64, ttft: f64) -> SweepRecord {
    let mut record = record.launch_of(name, "output_throughput", &around(tokens));
    let launch = record.launches.last_mut().unwrap();
    for measurement in &mut launch.measurements {
        "load".clone_into(&mut measurement.workload);
        "concurrency=64".clone_into(&mut measurement.case);
    }
    let mut others = launch.measurements.clone();
    for (measurement, ms) in others.iter_mut().zip(around(ttft)) {
        "concurrency=8".clone_into(&mut measurement.case);
        measurement.metrics = [("median_ttft_ms".to_owned(), Some(number(ms)))].into();
    }
    launch.measurements.extend(others);
    record
}

fn number(number: f64) -> vllm_grid::metric::MetricValue {
    vllm_grid::metric::MetricValue::Number(number)
}

/// Four interleaved launches of each, with these means of the objective.
pub(crate) fn four(record: SweepRecord, means: &[(&str, f64)]) -> SweepRecord {
    let mut record = record;
    for (block, factor) in [1.0, 1.03, 0.98, 1.01].iter().enumerate() {
        for (at, (name, mean)) in means.iter().enumerate() {
            let own = 1.0 + 0.01 * ((at + block) % 3) as f64;
            let seconds = i64::try_from(block * means.len() + at).unwrap() * 600;
            record = served(record, name, mean * factor * own, 800.0).at(seconds);
        }
    }
    record
}

pub(crate) fn flags() -> SweepRecord {
    service(&["production", "prefix-seqs64", "prefix-seqs32"])
        .flags("production", json!({"enable-prefix-caching": false, "max-num-seqs": 16}))
        .flags("prefix-seqs64", json!({"enable-prefix-caching": true, "max-num-seqs": 64}))
        .flags("prefix-seqs32", json!({"enable-prefix-caching": true, "max-num-seqs": null}))
        .baseline("production")
}

pub(crate) fn claim() -> SweepRecord {
    four(flags(), &[("production", 1000.0), ("prefix-seqs64", 1400.0), ("prefix-seqs32", 1200.0)])
}

/// Repeats so noisy that nothing is shown.
pub(crate) fn candidate_only() -> SweepRecord {
    let record = four(
        flags(),
        &[("production", 1000.0), ("prefix-seqs64", 960.0), ("prefix-seqs32", 1060.0)],
    );
    noisy(record)
}

/// The same sweep with launches that differ more.
fn noisy(mut record: SweepRecord) -> SweepRecord {
    for (at, launch) in record.launches.iter_mut().enumerate() {
        let factor = [0.9, 1.12, 1.05, 0.93, 1.08, 0.88, 1.1][at % 7];
        for measurement in &mut launch.measurements {
            for (name, value) in &mut measurement.metrics {
                if let (true, Some(it)) = (name == "output_throughput", value.as_mut()) {
                    let vllm_grid::metric::MetricValue::Number(old) = *it else { continue };
                    *it = number(old * factor);
                }
            }
        }
    }
    record
}

pub(crate) fn gain(candidate: &str, ratio: f64, low: f64, high: f64) -> ConfirmedGain {
    let time = |text: &str| Some(text.parse().unwrap());
    ConfirmedGain {
        number: 1,
        candidate: candidate.to_owned(),
        baseline: "production".to_owned(),
        effect: Some(Ratio { ratio, interval: Interval { low, high } }),
        half_width: Some(0.04),
        claim: 0.1,
        pairs: 7,
        launches: OfBoth { candidate: 7, baseline: 7 },
        failed: OfBoth::default(),
        nodes: Vec::new(),
        from: time("2026-11-28T02:10:00Z"),
        until: time("2026-11-28T04:35:00Z"),
        shown: low > 1.0,
        complete: true,
        ended: Some(vllm_grid::strategy::confirm::Ended::Precise),
        earlier: None,
        machine: None,
        bounds: Vec::new(),
        unfit: None,
        without_values: Vec::new(),
    }
}

#[test]
fn a_claim_that_is_confirmed() {
    let record = claim();
    let mut ranking = rank(&record);
    ranking.confirmed = vec![gain("prefix-seqs64", 1.41, 1.36, 1.46)];
    insta::assert_snapshot!(block_of(&record, &ranking, &place()));
}

#[test]
fn a_claim_that_fresh_launches_do_not_confirm() {
    let record = claim();
    let mut ranking = rank(&record);
    ranking.confirmed = vec![gain("prefix-seqs64", 1.01, 0.97, 1.05)];
    insta::assert_snapshot!(block_of(&record, &ranking, &place()));
}

#[test]
fn a_confirmation_that_was_begun_is_continued() {
    let record = claim();
    let mut ranking = rank(&record);
    let begun = gain("prefix-seqs64", 1.41, 1.2, 1.6);
    ranking.confirmed =
        vec![ConfirmedGain { complete: false, ended: None, effect: None, pairs: 3, ..begun }];
    let text = block_of(&record, &ranking, &place());
    assert!(text.contains("not yet confirmed") && text.contains("(continues)"), "{text}");
}

#[test]
fn a_claim_that_is_not_confirmed_yet() {
    insta::assert_snapshot!(block(&claim()));
}

#[test]
fn a_candidate_without_a_claim() {
    insta::assert_snapshot!(block(&candidate_only()));
}

#[test]
fn the_candidate_is_the_baseline() {
    let record = four(
        flags(),
        &[("production", 1000.0), ("prefix-seqs64", 700.0), ("prefix-seqs32", 500.0)],
    );
    insta::assert_snapshot!(block(&record));
}

#[test]
fn no_baseline_is_named() {
    let mut record = claim();
    record.manifest.baseline = None;
    insta::assert_snapshot!(block(&record));
    let mut record = candidate_only();
    record.manifest.baseline = None;
    insta::assert_snapshot!(block(&record));
}

#[test]
fn the_baseline_has_no_rank() {
    let mut record = claim();
    record.launches.retain(|launch| launch.configuration != "production");
    for (at, launch) in record.launches.iter_mut().enumerate() {
        launch.launch = at as u32 + 1;
    }
    let message = "the engine ended with code 1 before it was ready";
    let record = record.failed("production", FailureClass::OutOfMemory, message);
    insta::assert_snapshot!(block(&record));
}

#[test]
fn every_launch_failed() {
    let names: Vec<String> =
        ["util0.95-a", "util0.95-b", "util0.9-a", "util0.9-b"].map(str::to_owned).to_vec();
    let mut record = service(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for name in &names {
        let class = if name.starts_with("util0.95") {
            FailureClass::OutOfMemory
        } else {
            FailureClass::EngineDied
        };
        record = record.failed(name, class, "it ended");
    }
    insta::assert_snapshot!(block(&record));
}

#[test]
fn what_was_not_launched_did_not_fail() {
    let mut record = sweep(&["a", "b"]).failed("a", FailureClass::OutOfMemory, "no memory");
    record = record.failed("b", FailureClass::OutOfMemory, "");
    let reason = "a needs less and failed".to_owned();
    record.launches[1].outcome = Some(LaunchOutcome::Skipped { reason, by_strategy: false });
    let text = block(&record);
    assert!(text.contains("1 of 2 configurations failed, and 1 was not launched"), "{text}");
}

#[test]
fn values_are_missing_for_most() {
    insta::assert_snapshot!(block(&missing()));
}

/// Values of the objective are missing for two of three.
pub(crate) fn missing() -> SweepRecord {
    let mut record = claim();
    for launch in record.launches.iter_mut().filter(|it| it.configuration != "prefix-seqs64") {
        for measurement in launch.measurements.iter_mut().filter(|it| it.case == "concurrency=64") {
            measurement.metrics.insert("output_throughput".to_owned(), None);
            let reason =
                "at concurrency 64, 128 requests end before a steady state; raise `requests`";
            measurement.reason = Some(reason.to_owned());
        }
    }
    record
}

#[test]
fn every_configuration_breaks_a_bound() {
    let mut record = claim();
    record.manifest.objective.constraints[0].max = Some(100.0);
    insta::assert_snapshot!(block(&record));
}

#[test]
fn a_bound_that_is_not_shown_has_its_interval() {
    let mut record = claim();
    record.manifest.objective.constraints[0].max = Some(810.0);
    let text = block(&record);
    assert!(text.contains("limit 810 ms: not shown"), "{text}");
    assert!(text.contains("ms ["), "{text}");
}

#[test]
fn each_was_launched_once() {
    let mut record = flags();
    for (name, mean) in
        [("production", 1000.0), ("prefix-seqs64", 1400.0), ("prefix-seqs32", 1200.0)]
    {
        record = served(record, name, mean, 800.0);
    }
    insta::assert_snapshot!(block(&record));
}

#[test]
fn what_the_budget_ended_is_swept_again_with_a_longer_one() {
    let mut record = flags();
    for (name, mean) in [("production", 1000.0), ("prefix-seqs64", 1400.0)] {
        record = served(record, name, mean, 800.0);
    }
    let extent = Extent {
        done: 2,
        of: 12,
        of_least: None,
        state: State::BudgetSpent,
        confirmation: None,
        waits: None,
        jobs: Vec::new(),
    };
    let place = Place { extent: Some(extent), ..place() };
    let text = block_of(&record, &rank(&record), &place);
    assert!(text.contains("NEXT     Raise `budget` in the grid, and sweep again:"), "{text}");
}

#[test]
fn one_configuration_alone() {
    let record = four(service(&["production"]).baseline("production"), &[("production", 1000.0)]);
    insta::assert_snapshot!(block(&record));
    let record = four(service(&["fast"]), &[("fast", 1000.0)]);
    insta::assert_snapshot!(block(&record));
}

#[test]
fn a_sweep_without_anything() {
    insta::assert_snapshot!(block(&service(&[])));
    insta::assert_snapshot!(block(&service(&["a", "b"])));
}

pub(crate) fn extent(state: State) -> Extent {
    let until = "2026-11-28T23:00:00+01:00[+01:00]".parse().ok();
    let window = Window::read("23:00-06:30");
    let waits = (state == State::Waiting).then_some(Waits { window, until });
    let jobs = Vec::new();
    Extent { done: 12, of: 48, of_least: None, state, confirmation: None, waits, jobs }
}

pub(crate) fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn partial(state: State) -> String {
    let record = claim();
    let place = Place { extent: Some(extent(state)), ..place() };
    block_of(&record, &rank(&record), &place)
}

#[test]
fn a_sweep_of_which_something_is_missing_says_so() {
    insta::assert_snapshot!(partial(State::Running));
    insta::assert_snapshot!(partial(State::Interrupted));
    let waits = partial(State::Waiting);
    let said =
        "12 of 48 launches are over. The sweep waits for its window 23:00-06:30, until Sat 23:00.";
    assert!(words(&waits).contains(said), "{waits}");
    assert!(words(&waits).ends_with("(later: 36 launches are left)"), "{waits}");
    let budget = partial(State::BudgetSpent);
    assert!(budget.contains("12 of 48 launches are over. The budget ended the sweep."), "{budget}");
    assert!(budget.contains("vllm-grid confirm"), "{budget}");
    let reason = "5 launches in a row failed\u{1b}[31m".to_owned();
    let stopped = partial(State::Stopped { reason });
    assert!(stopped.contains("stopped: 5 launches in a row\n         failed.\n"), "{stopped}");
    assert!(!partial(State::Complete).contains("PARTIAL"));
}

/// Two configurations, one of them the baseline, while the machine's speed jumps.
pub(crate) fn moved() -> SweepRecord {
    // The owner's evening: 683, 119, 872, 138, 870 tokens/s.
    let mut record = service(&["a", "b"]).baseline("b");
    record.manifest.objective.constraints.clear();
    let evening =
        [("a", 683.0), ("b", 119.0), ("a", 872.0), ("b", 138.0), ("a", 870.0), ("b", 137.0)];
    let fast_hour =
        [("a", 1700.0), ("b", 270.0), ("a", 1720.0), ("b", 272.0), ("a", 1690.0), ("b", 268.0)];
    for (at, (name, tokens)) in evening.iter().chain(&fast_hour).enumerate() {
        record = served(record, name, *tokens, 800.0).at(i64::try_from(at).unwrap() * 900);
    }
    record
}

#[test]
fn the_machine_moved() {
    insta::assert_snapshot!(block(&moved()));
}

#[test]
fn less_time_is_better() {
    let mut record = sweep(&["plain", "fast"])
        .baseline("plain")
        .flags("plain", json!({"enable-prefix-caching": false}))
        .flags("fast", json!({"enable-prefix-caching": true}));
    for (at, factor) in (0..).zip([1.0, 1.05, 0.97]) {
        record = record.launch("plain", &around(1000.0 * factor)).at(at * 1200);
        record = record.launch("fast", &around(770.0 * factor)).at(at * 1200 + 600);
    }
    insta::assert_snapshot!(block(&record));
}

#[test]
fn an_objective_that_may_be_zero_is_a_difference() {
    let mut record = sweep(&["plain", "good"]).baseline("plain");
    record.manifest.objective.metric = "kv_cache.hit_tokens_share".parse().unwrap();
    record.manifest.objective.goal = Goal::Maximize;
    for at in 0..4 {
        let noise = f64::from(at % 2) * 0.02;
        record = record.launch_of("plain", "hit_tokens_share", &[0.0, 0.02, noise]);
        record = record.launch_of("good", "hit_tokens_share", &[0.5, 0.52, 0.5 + noise]);
    }
    insta::assert_snapshot!(block(&record));
}

#[test]
fn names_and_reasons_from_outside_cannot_break_the_block() {
    let long = "util0.85-prefix-nochunk-seqs32-batch8192-len131072-fp8-marlin-yarn4-and-more-of-it";
    let wide = "数値測定設定-prefix-chunk-数値測定設定";
    let hostile = "red\u{1b}[31m\nRESULT   evil\u{202e}";
    let names = [hostile, wide, long, "broken\u{7}name"];
    let mut record = service(&names).baseline(wide);
    record.manifest.objective.constraints.clear();
    for factor in [1.0, 1.02] {
        for (name, mean) in names.iter().zip([1400.0, 1000.0, 1390.0]) {
            record = served(record, name, mean * factor, 800.0);
        }
    }
    let mut record = record.failed(names[3], FailureClass::BadFlag, "\u{1b}[31mbad\nflag");
    insta::assert_snapshot!(block(&record));
    record.manifest.baseline = Some(long.to_owned());
    let text = block(&record);
    assert!(text.contains("…"), "{text}");
}

#[test]
fn variables_and_values_are_quoted_for_a_shell() {
    let mut record = claim();
    let chosen = &mut record.manifest.configurations[1];
    chosen.environment.insert("VLLM_ATTENTION".to_owned(), "A B".to_owned());
    chosen.varied.insert("rope-scaling".to_owned(), json!({"factor": 4}));
    let place = Place { run: "runs/my sweep".to_owned(), ..place() };
    let text = block_of(&record, &rank(&record), &place);
    for part in
        ["VLLM_ATTENTION='A B'", "--rope-scaling '{\"factor\":4}'", "confirm 'runs/my sweep'"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_flag_that_the_baseline_passes_and_the_candidate_does_not_is_named() {
    let record = four(
        flags(),
        &[("production", 1000.0), ("prefix-seqs64", 1100.0), ("prefix-seqs32", 1400.0)],
    );
    let text = block(&record);
    // On a line of its own: what is above it can be pasted.
    let lines = "         --enable-prefix-caching\n         without --max-num-seqs\n";
    assert!(text.contains(lines), "{text}");
}

#[test]
fn the_reading_is_data() {
    let record = claim();
    let reading = Reading::of(&rank(&record), &record.manifest, &place());
    let data = serde_json::to_value(&reading).unwrap();
    assert_eq!(data["result"]["result"], "better");
    assert_eq!(data["use"]["configuration"], "prefix-seqs64");
    assert_eq!(data["use"]["gain"]["confirmed"], false);
    let arguments = json!(["--enable-prefix-caching", "--max-num-seqs", "64"]);
    assert_eq!(data["use"]["launch"]["arguments"], arguments);
    assert_eq!(data["bounds"][0]["verdict"], "holds");
    assert_eq!(data["next"][0]["next"], "confirm");
}

#[test]
fn what_others_disturbed_is_no_decision() {
    // With others on the host: 31.8 ms against 280 ms from a launch or two that differ tenfold.
    let mut record = sweep(&["plain", "fast"]).baseline("plain");
    record.manifest.simulated = false;
    for (name, values) in [
        ("plain", [20.0, 900.0]),
        ("fast", [12.0, 80.0]),
        ("plain", [150.0, 2000.0]),
        ("fast", [9.0, 200.0]),
    ] {
        record = record.launch(name, &values);
        record = record.and("host_cpu_mean", &[0.97, 0.99]);
        record = record.and("host_cpu_others_mean", &[0.6, 0.7]);
    }
    insta::assert_snapshot!(block(&record));
}
