//! What a report shows besides the ranking, from made-up sweeps and from the one in `runs/`.

use std::path::Path;

use serde_json::json;
use vllm_grid::history::folder::Folder;
use vllm_grid::history::launch::{FailureClass, LaunchOutcome};
use vllm_grid::history::record::SweepRecord;
use vllm_grid::metric::{Goal, Measurement, MetricValue, Status};
use vllm_grid::results::analysis::{Analysis, Axis, Quantity, Records};
use vllm_grid::results::ranking::{Ranking, rank};
use vllm_grid::workload::Workload;

use super::builder::{Building as _, around, conversations, measured, sweep};

/// Without any file.
pub(crate) fn of(record: &SweepRecord) -> Analysis {
    Analysis::of(record, &rank(record), Path::new("/nonexistent"))
}

pub(crate) fn row(ranking: &Ranking, name: &str) -> usize {
    ranking.rows.iter().position(|row| row.name == name).expect("a row")
}

fn axis<'a>(analysis: &'a Analysis, name: &str) -> &'a Axis {
    analysis.effects.axes.iter().find(|axis| axis.name == name).expect("an axis")
}

/// Two launches around each value of all combinations of three axes. `value` gets their
/// places.
fn factorial(value: impl Fn(usize, usize, usize) -> f64) -> SweepRecord {
    let seqs = [16, 32];
    let tokens = [2048, 4096, 8192];
    let caching = [true, false];
    let mut names = Vec::new();
    for a in 0..2 {
        for b in 0..3 {
            for c in 0..2 {
                names.push((format!("s{a}t{b}c{c}"), (a, b, c)));
            }
        }
    }
    let all: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
    let mut record = sweep(&all);
    for (name, (a, b, c)) in &names {
        let flags = json!({"max-num-seqs": seqs[*a], "max-num-batched-tokens": tokens[*b],
            "enable-prefix-caching": caching[*c]});
        record = record.flags(name, flags);
    }
    for (round, off) in [(0, 0.99), (1, 1.01)] {
        for (at, (name, (a, b, c))) in names.iter().enumerate() {
            // A little of its own, so that not all errors are zero.
            let own = 1.0 + 0.004 * ((at * 7 + round) % 5) as f64;
            record = record.launch(name, &around(off * own * value(*a, *b, *c)));
        }
    }
    record
}

#[test]
fn the_shipped_example_has_everything_that_was_measured() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("runs/example");
    let record = Folder::existing(&folder).unwrap().record().unwrap();
    let ranking = rank(&record);
    let analysis = Analysis::of(&record, &ranking, &folder);
    assert_eq!(analysis.notes, Vec::<String>::new());
    let first = &ranking.rows[0];
    assert_eq!(analysis.repeats[0].len(), first.repeats as usize);
    let [distribution] = &analysis.distributions[..] else {
        panic!("{:?}", analysis.distributions)
    };
    assert_eq!((distribution.workload.as_str(), distribution.unit), ("load", "ms"));
    let ranked = ranking.rows.iter().filter(|row| row.repeats > 0).count();
    assert_eq!(distribution.curves.len(), ranked);
    // The median of all requests is about the mean of the repeats' medians.
    let place = ranking.metrics.iter().position(|it| it.name == "median_ttft_ms").unwrap();
    for curve in &distribution.curves {
        let row = &ranking.rows[curve.configuration];
        assert_eq!(curve.requests, 40 * row.repeats as usize, "{}", row.name);
        let mean = row.estimates[place].unwrap().mean;
        assert!((curve.p50 / mean - 1.0).abs() < 0.5, "{}: {} {mean}", row.name, curve.p50);
    }
    assert_eq!((analysis.effects.axes.len(), &analysis.effects.without), (3, &None));
    let seqs = axis(&analysis, "max-num-seqs");
    assert!(seqs.p.unwrap() < 0.01 && seqs.values[1].effect.value > 1.0, "{seqs:?}");
    let pareto = analysis.pareto.as_ref().unwrap();
    assert_eq!(pareto.y.to_string(), "load.median_ttft_ms");
    assert!(pareto.points.iter().any(|it| it.on_front));
    let course = &analysis.course;
    assert!(course.launches.iter().all(|it| it.started <= it.ready || it.ready.is_none()));
    let measured = course.launches.iter().filter(|it| it.failure.is_none());
    for span in measured {
        assert!(span.ready < span.warm && span.warm < span.measured, "{span:?}");
        assert!(span.measured <= span.ended, "{span:?}");
    }
    assert!(course.launches.iter().any(|it| it.failure.is_some()));
    assert_eq!(
        course.level.len(),
        record.launches.iter().filter(|it| it.outcome == Some(LaunchOutcome::Measured)).count()
    );
    assert!(course.level.iter().all(|(_, level, band)| band.contains(*level)));
    let host = course.series.iter().find(|it| it.quantity == Quantity::HostCpu).unwrap();
    assert!(host.points.len() <= 600 && host.points.iter().any(Option::is_none));
    let times: Vec<_> = host.points.iter().flatten().map(|(at, ..)| *at).collect();
    assert!(times.is_sorted());
    let throughput = analysis.uses.iter().find(|it| it.name == "throughput").unwrap();
    assert_eq!((throughput.best, throughput.shown), (Some(0), true), "{throughput:?}");
    assert!(throughput.ratio.unwrap().interval.unwrap().low > 1.0);
    let reasoning = analysis.uses.iter().find(|it| it.name == "reasoning").unwrap();
    assert_eq!((reasoning.best, reasoning.without.is_some()), (None, true));
}

#[test]
fn a_report_that_follows_a_sweep_reads_the_files_of_new_launches_only() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("runs/example");
    let whole = Folder::existing(&folder).unwrap().record().unwrap();
    let mut records = Records::default();
    let files_of = |number: u32| {
        let launches = std::fs::read_dir(folder.join("launches")).unwrap().flatten();
        let begins = format!("{number}-");
        let own = launches.filter(|it| it.file_name().to_string_lossy().starts_with(&begins));
        // A warm-up is of no distribution.
        let is_kept = |it: &std::fs::DirEntry| !it.file_name().to_string_lossy().contains("-0.");
        let files = |path: &Path| {
            std::fs::read_dir(path).into_iter().flatten().flatten().filter(is_kept).count()
        };
        let count = |path: &Path| {
            files(&path.join("records")) + usize::from(path.join("telemetry.parquet").is_file())
        };
        own.map(|it| count(&it.path())).sum::<usize>()
    };
    for count in 1..=whole.launches.len() {
        let mut record = whole.clone();
        record.launches.truncate(count);
        let before = records.files_read();
        let analysis = Analysis::of_cached(&record, &rank(&record), &folder, &mut records);
        let new = files_of(record.launches[count - 1].launch);
        assert_eq!(records.files_read() - before, new, "launch {count}");
        let fresh = Analysis::of(&record, &rank(&record), &folder);
        assert_eq!(analysis.distributions, fresh.distributions, "launch {count}");
        assert_eq!(analysis.notes, fresh.notes, "launch {count}");
        let names =
            |it: &Analysis| it.course.series.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&analysis), names(&fresh));
        assert!(analysis.course.series.iter().all(|it| it.points.len() <= 600));
    }
}

#[test]
fn files_that_are_missing_or_damaged_are_counted_and_the_rest_is_used() {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("runs/example");
    let record = Folder::existing(&from).unwrap().record().unwrap();
    let to = tempfile::tempdir().unwrap();
    for launch in std::fs::read_dir(from.join("launches")).unwrap() {
        let launch = launch.unwrap().path();
        let records = to.path().join("launches").join(launch.file_name().unwrap()).join("records");
        std::fs::create_dir_all(&records).unwrap();
        let _ = std::fs::copy(
            launch.join("telemetry.parquet"),
            records.with_file_name("telemetry.parquet"),
        );
        for file in std::fs::read_dir(launch.join("records")).into_iter().flatten() {
            let file = file.unwrap();
            std::fs::copy(file.path(), records.join(file.file_name())).unwrap();
        }
    }
    let launch = to.path().join("launches/8-noprefix-util0.9-seqs8");
    std::fs::write(launch.join("records/load-1.parquet"), "nonsense").unwrap();
    std::fs::remove_file(launch.join("records/load-2.parquet")).unwrap();
    std::fs::write(launch.join("telemetry.parquet"), "nonsense").unwrap();
    let analysis = Analysis::of(&record, &rank(&record), to.path());
    let expected = [
        "1 file of records is missing",
        "1 file of records could not be read",
        "1 file of telemetry could not be read",
    ];
    assert_eq!(analysis.notes, expected);
    assert_eq!(analysis.distributions.len(), 1);
    assert!(!analysis.course.series.is_empty());
    let without = Analysis::of(&record, &rank(&record), &to.path().join("nothing"));
    assert!(without.distributions.is_empty() && without.course.series.is_empty());
    assert!(without.notes[0].contains("has no launches"), "{:?}", without.notes);
    assert!(!without.course.level.is_empty(), "what needs no file is there");
}

#[test]
fn a_planted_effect_of_an_axis_is_found_and_the_others_have_none() {
    let record = factorial(|_, tokens, _| [100.0, 90.0, 81.0][tokens]);
    let analysis = of(&record);
    assert!(analysis.effects.ratios && analysis.effects.without.is_none());
    assert_eq!(analysis.effects.interactions, []);
    let tokens = axis(&analysis, "max-num-batched-tokens");
    assert!(tokens.p.unwrap() < 1e-6, "{tokens:?}");
    let values: Vec<&str> = tokens.values.iter().map(|it| it.value.as_str()).collect();
    assert_eq!(values, ["2048", "4096", "8192"], "in the grid's order");
    for (value, wanted) in tokens.values.iter().zip([1.0 / 0.9, 1.0, 0.9]) {
        assert!(value.effect.interval.unwrap().contains(wanted), "{value:?} {wanted}");
        assert_eq!((value.configurations, value.effect.launches, value.effect.repeats), (4, 8, 40));
    }
    for name in ["max-num-seqs", "enable-prefix-caching"] {
        assert!(axis(&analysis, name).p.unwrap() > 0.05, "{name}");
    }
}

#[test]
fn a_planted_interaction_is_found_with_its_cells() {
    let record = factorial(|seqs, _, caching| if seqs == 1 && caching == 1 { 60.0 } else { 100.0 });
    let analysis = of(&record);
    let [interaction] = &analysis.effects.interactions[..] else {
        panic!("{:?}", analysis.effects.interactions)
    };
    let names = (interaction.first.as_str(), interaction.second.as_str());
    assert!(
        [("max-num-seqs", "enable-prefix-caching"), ("enable-prefix-caching", "max-num-seqs")]
            .contains(&names)
    );
    let least = interaction.cells.iter().min_by(|a, b| a.2.value.total_cmp(&b.2.value)).unwrap();
    assert!((least.2.value / 60.0 - 1.0).abs() < 0.03 && least.2.launches == 6, "{least:?}");
    assert_eq!(interaction.cells.len(), 4);
}

#[test]
fn axes_that_always_change_together_are_named() {
    let names = ["a", "b", "c", "d"];
    let mut record = sweep(&names);
    for (at, name) in names.iter().enumerate() {
        let (one, other) = (at % 2, at / 2);
        let flags = json!({"max-num-seqs": 8 << one, "max-num-batched-tokens": 2048 << one,
            "enable-prefix-caching": other == 0});
        record = record.flags(name, flags);
    }
    for _ in 0..2 {
        for (name, value) in names.iter().zip([100.0, 110.0, 100.0, 110.0]) {
            record = record.launch(name, &around(value));
        }
    }
    let effects = of(&record).effects;
    assert_eq!(effects.axes.len(), 1);
    assert_eq!(effects.axes[0].name, "enable-prefix-caching");
    assert_eq!(effects.without, None, "something is said of one axis");
    assert_eq!(effects.confounded, ["max-num-batched-tokens", "max-num-seqs"]);
    // Two configurations that differ in everything.
    let mut two = sweep(&["a", "b"])
        .flags("a", json!({"max-num-seqs": 8, "max-num-batched-tokens": 2048}))
        .flags("b", json!({"max-num-seqs": 16, "max-num-batched-tokens": 4096}));
    for name in ["a", "b", "a", "b"] {
        two = two.launch(name, &around(100.0));
    }
    let effects = of(&two).effects;
    assert!(effects.axes.is_empty() && effects.without.unwrap().contains("always change together"));
}

/// A configuration without any of the flags: which of them makes its difference cannot be seen.
#[test]
fn what_alone_has_values_of_several_axes_is_left_out_and_named() {
    let mut record = factorial(|_, tokens, _| [100.0, 90.0, 81.0][tokens]);
    let plain = super::builder::configuration("plain", &json!({}));
    record.manifest.configurations.insert(0, plain);
    for _ in 0..2 {
        record = record.launch("plain", &around(500.0));
    }
    let (ranking, effects) = (rank(&record), of(&record).effects);
    assert_eq!(effects.left_out, [row(&ranking, "plain")]);
    assert_eq!((effects.axes.len(), effects.without), (3, None));
    assert_eq!(effects.configurations, 12, "of thirteen");
    assert!(effects.axes.iter().all(|axis| axis.values.iter().all(|it| it.value != "not set")));
}

#[test]
fn a_hit_is_paired_with_its_miss_and_what_has_none_is_named() {
    let state = |mut record: SweepRecord, state: &str| {
        for repeat in &mut record.launches.last_mut().unwrap().measurements {
            let state = MetricValue::Text(state.to_owned());
            repeat.metrics.insert("hit_state".to_owned(), Some(state));
        }
        record
    };
    let mut record = sweep(&["on", "off", "failed"]);
    for _ in 0..2 {
        record = record.launch("on", &around(100.0));
        record = record.and("ttft_miss_ms", &around(900.0)).and("ttft_hit_ms", &around(100.0));
        record = state(record, "certified");
        record = record.launch("off", &around(950.0)).and("ttft_miss_ms", &around(900.0));
        record = state(record, "not_applicable");
        record = record.failed("failed", FailureClass::OutOfMemory, "no memory");
    }
    let (ranking, hits) = (rank(&record), of(&record).hits);
    assert_eq!(hits.pairs.len(), 1);
    let pair = &hits.pairs[0];
    assert_eq!(pair.configuration, row(&ranking, "on"));
    assert!(pair.miss.value > 8.0 * pair.hit.value && pair.hit.launches == 2, "{pair:?}");
    let reasons: Vec<&str> = hits.without.iter().map(|(_, why)| why.as_str()).collect();
    assert_eq!(
        reasons,
        ["not_applicable: prefix caching is off", "not measured: no repeat is valid"]
    );
}

#[test]
fn turns_are_medians_over_the_launches() {
    let list = |values: &[f64]| Some(values.iter().copied().map(Some).collect());
    let mut record = conversations([list(&[100.0, 120.0, 140.0]), list(&[110.0, 130.0])]);
    let mut other = record.launches[0].clone();
    other.launch = 2;
    for repeat in &mut other.measurements {
        let times = MetricValue::List(vec![Some(200.0), None, Some(220.0)]);
        repeat.metrics.insert("ttft_by_turn_ms".to_owned(), Some(times));
    }
    record.launches.push(other);
    let turns = of(&record).turns.unwrap();
    let [line] = &turns.lines[..] else { panic!("{turns:?}") };
    assert_eq!(line.launches, 2);
    let wanted =
        [Some((152.5, 105.0, 200.0)), Some((125.0, 125.0, 125.0)), Some((180.0, 140.0, 220.0))];
    assert_eq!(line.turns, wanted);
    // No repeat has any.
    assert_eq!(of(&conversations([None, None])).turns, None);
}

/// A repeat of a case of `load`.
fn load(case: &str, repeat: u32, throughput: f64, ttft: f64) -> Measurement {
    let metrics = [("output_throughput", throughput), ("median_ttft_ms", ttft)];
    let metrics = metrics.map(|(name, it)| (name.to_owned(), Some(MetricValue::Number(it))));
    Measurement {
        workload: "load".to_owned(),
        case: case.to_owned(),
        metrics: metrics.into(),
        ..measured(repeat, "", 0.0)
    }
}

/// Concurrency, throughput and latency of a step.
pub(crate) type Step = (u64, f64, f64);

/// Two launches of each configuration, each with the steps that it has.
pub(crate) fn loads(steps: &[(&str, &[Step])]) -> SweepRecord {
    let names: Vec<&str> = steps.iter().map(|(name, _)| *name).collect();
    let mut record = sweep(&names);
    let options = json!({"concurrency": [64, 1, 8], "rate": [2]});
    let workload = Workload::from_options("load", options.as_object().unwrap()).unwrap();
    record.manifest.workloads = vec![workload];
    record.manifest.objective.metric = "load[concurrency=8].output_throughput".parse().unwrap();
    record.manifest.objective.goal = Goal::Maximize;
    for off in [0.99, 1.01] {
        for (name, steps) in steps {
            record = record.launch(name, &[]);
            for (count, throughput, ttft) in *steps {
                for repeat in 1..=3 {
                    let case = format!("concurrency={count}");
                    let own = off * (1.0 + 0.003 * f64::from(repeat));
                    let repeat = load(&case, repeat, own * throughput, own * ttft);
                    record = record.measurement(repeat);
                }
            }
        }
    }
    record
}

#[test]
fn the_ladder_is_in_the_order_of_the_load_and_ends_where_it_was_ended() {
    let record = loads(&[
        ("wide", &[(64, 900.0, 300.0), (1, 20.0, 40.0), (8, 150.0, 60.0)]),
        ("narrow", &[(1, 21.0, 40.0), (8, 100.0, 90.0)]),
    ])
    .constraint("load[concurrency=8].median_ttft_ms", None, Some(500.0));
    let (ranking, analysis) = (rank(&record), of(&record));
    let ladder = analysis.ladder.unwrap();
    assert_eq!((ladder.latency.name.as_str(), ladder.limit), ("median_ttft_ms", None));
    // A constraint is of one case.
    assert_eq!(ladder.limits, [("concurrency=8".to_owned(), 500.0)]);
    let limits = ["concurrency=8", "concurrency=64"].map(|case| ladder.limit_of(case));
    assert_eq!(limits, [Some(500.0), None]);
    let path = |name: &str| {
        let path = ladder.paths.iter().find(|it| it.configuration == row(&ranking, name)).unwrap();
        path.steps.iter().map(|step| step.case.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(path("wide"), ["concurrency=1", "concurrency=8", "concurrency=64"]);
    assert_eq!(path("narrow"), ["concurrency=1", "concurrency=8"]);
    assert!(analysis.notes.iter().any(|it| it.contains("1 rate is left out")));
    // The bounded metric is the second one of the picture.
    let pareto = analysis.pareto.unwrap();
    assert_eq!(pareto.y.to_string(), "load[concurrency=8].median_ttft_ms");
    assert_eq!(pareto.points.iter().map(|it| it.on_front).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn neither_of_two_that_are_each_better_in_one_is_off_the_front() {
    let record = loads(&[
        ("fast", &[(8, 100.0, 50.0)]),
        ("much", &[(8, 150.0, 80.0)]),
        ("neither", &[(8, 90.0, 70.0)]),
    ]);
    let (ranking, pareto) = (rank(&record), of(&record).pareto.unwrap());
    assert_eq!(pareto.y_goal, Goal::Minimize);
    for (name, on_front) in [("fast", true), ("much", true), ("neither", false)] {
        let point = pareto.points.iter().find(|it| it.configuration == row(&ranking, name));
        assert_eq!(point.unwrap().on_front, on_front, "{name}");
    }
}

/// Within the SLO is nearly every request: a median that is below it says less.
#[test]
fn an_slo_is_no_bound_of_a_median() {
    let mut record = loads(&[("a", &[(1, 20.0, 40.0), (8, 150.0, 60.0)])]);
    let options = json!({"concurrency": [1, 8], "slo-ttft-ms": 100});
    let workload = Workload::from_options("load", options.as_object().unwrap()).unwrap();
    record.manifest.workloads = vec![workload];
    let ladder = of(&record).ladder.unwrap();
    assert_eq!((ladder.latency.name.as_str(), ladder.limit), ("median_ttft_ms", None));
    for repeat in record.launches.iter_mut().flat_map(|it| &mut it.measurements) {
        let p95 = Some(MetricValue::Number(90.0));
        repeat.metrics.insert("p95_ttft_ms".to_owned(), p95);
    }
    let ladder = of(&record).ladder.unwrap();
    assert_eq!((ladder.latency.name.as_str(), ladder.limit), ("p95_ttft_ms", Some(100.0)));
}

#[test]
fn fewer_launches_separate_what_differs_more() {
    let record = |other: f64| {
        let mut record = sweep(&["base", "other"]).baseline("base");
        for off in [0.96, 1.04, 1.0, 1.0] {
            record = record.launch("base", &around(100.0 * off));
            record = record.launch("other", &around(other * (2.0 - off)));
        }
        record
    };
    let needed = |other: f64| {
        let record = record(other);
        let found = of(&record).separations;
        let [it] = &found[..] else { panic!("{found:?}") };
        assert_eq!(it.have, 4);
        assert!((it.ratio * 100.0 / other - 1.0).abs() < 0.05, "{it:?}");
        it.launches
    };
    let (near, far) = (needed(94.0).unwrap(), needed(80.0).unwrap());
    assert!(far < near && near < 200, "{far} {near}");
    // 80 % power for a difference of next to nothing takes more than can be launched.
    assert_eq!(needed(99.99), None);
    // With more that are compared, ranks and claims are adjusted over more.
    let mut many = record(94.0);
    for name in ["c", "d", "e", "f", "g", "h"] {
        many.manifest.configurations.push(super::builder::configuration(name, &json!({})));
        for off in [0.96, 1.04, 1.0, 1.0] {
            many = many.launch(name, &around(150.0 * off));
        }
    }
    let found = of(&many).separations;
    assert!(found[0].launches.unwrap() > near, "{found:?} {near}");
}

#[test]
fn a_neighbour_of_the_candidate_is_suggested() {
    let names = ["s16", "s32", "s64"];
    let mut record = sweep(&names);
    for (name, seqs) in names.iter().zip([16, 32, 64]) {
        record = record.flags(name, json!({"max-num-seqs": seqs}));
    }
    for off in [0.99, 1.0, 1.01] {
        for (name, value) in names.iter().zip([100.0, 80.0, 60.0]) {
            record = record.launch(name, &around(off * value));
        }
    }
    let neighbours = of(&record).neighbours;
    let [it] = &neighbours[..] else { panic!("{neighbours:?}") };
    let said = (it.axis.as_str(), it.value.as_str(), it.side, it.suggestion.as_str());
    assert_eq!(said, ("max-num-seqs", "64", "above", "128"));
}

#[test]
fn whatever_a_sweep_lacks_is_left_out() {
    let one = sweep(&["a"]).launch("a", &around(100.0));
    let failed = sweep(&["a", "b"])
        .baseline("a")
        .flags("b", json!({"max-num-seqs": 8}))
        .failed("a", FailureClass::OutOfMemory, "no memory")
        .failed("b", FailureClass::OutOfMemory, "no memory");
    let zeros = sweep(&["a", "b"])
        .flags("b", json!({"max-num-seqs": 8}))
        .launch("a", &[0.0, 0.0])
        .launch("b", &[0.0, 5.0]);
    for record in [sweep(&[]), sweep(&["a", "b"]), one, failed, zeros] {
        let analysis = of(&record);
        assert_eq!(analysis.repeats.len(), record.manifest.configurations.len());
        assert!(analysis.effects.axes.is_empty() && analysis.effects.without.is_some());
        assert!(analysis.uses.iter().all(|it| !it.shown && it.best.is_none()));
        assert_eq!((analysis.pareto, analysis.ladder, analysis.turns), (None, None, None));
        assert!(analysis.separations.is_empty() && analysis.neighbours.is_empty());
        assert_eq!(analysis.course.launches.len(), record.launches.len());
        assert!(analysis.course.launches.iter().all(|it| it.ended.is_none() && it.warm.is_none()));
        assert!(analysis.course.level.is_empty(), "no times, no level over time");
    }
}

#[test]
fn an_objective_of_differences_has_effects_in_its_unit() {
    let names = ["a", "b", "c", "d"];
    let mut record = sweep(&names);
    record.manifest.objective.metric = "kv_cache.failed".parse().unwrap();
    for (at, name) in names.iter().enumerate() {
        let flags = json!({"max-num-seqs": 8 << (at % 2), "enable-prefix-caching": at < 2});
        record = record.flags(name, flags);
    }
    for _ in 0..3 {
        for (at, name) in names.iter().enumerate() {
            let value = if at % 2 == 0 { 0.0 } else { 4.0 };
            record = record.launch_of(name, "failed", &[value, value + 1.0, value]);
        }
    }
    let analysis = of(&record);
    assert!(!analysis.effects.ratios);
    let seqs = axis(&analysis, "max-num-seqs");
    assert!((seqs.values[1].effect.value - 2.0).abs() < 1e-9, "{seqs:?}");
    assert!(analysis.course.level.is_empty() && analysis.separations.is_empty());
}

#[test]
fn the_course_has_skipped_launches_left_out_and_interrupted_ones_marked() {
    let at = |second: i64| jiff::Timestamp::from_second(second).unwrap();
    let mut record = sweep(&["a"]).launch("a", &around(100.0)).launch("a", &around(100.0));
    let warm_up = Measurement { status: Status::Ok, ..measured(0, "ttft_resent_ms", 300.0) };
    let first = &mut record.launches[0];
    first.measurements.insert(0, warm_up);
    first.measured_at = (0..6).map(|it| at(100 + 10 * it)).collect();
    (first.started_at, first.ready_at, first.ended_at) =
        (Some(at(10)), Some(at(60)), Some(at(170)));
    record.launches[1].outcome = Some(LaunchOutcome::Interrupted);
    record = record.launch("a", &[]);
    record.launches[2].outcome =
        Some(LaunchOutcome::Skipped { reason: "no memory".to_owned(), by_strategy: false });
    let course = of(&record).course;
    assert_eq!(course.launches.len(), 2);
    let first = &course.launches[0];
    let times = [first.started, first.ready, first.warm, first.measured, first.ended];
    assert_eq!(times, [10, 60, 100, 150, 170].map(|second| Some(at(second))));
    assert_eq!((first.unfinished, course.launches[1].unfinished), (false, true));
}
