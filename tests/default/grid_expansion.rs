//! What a grid expands to, against a naive model of the same rules.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::{Value, json};
use vllm_grid::configuration::Configuration;
use vllm_grid::grid::plan::Plan;
use vllm_grid::grid::{Grid, GridErrors, GridFile, ReadOptions};

type Axis = (String, Vec<Value>);
type Row = BTreeMap<String, Value>;

/// A folder whose grid files are read; kept until the test is over.
fn read_value(grid: &Value) -> Result<Grid, GridErrors> {
    let folder = tempfile::tempdir().expect("a folder");
    let path: PathBuf = folder.path().join("grid.yaml");
    // JSON is YAML.
    fs::write(&path, grid.to_string()).expect("a file");
    let read = GridFile::read(&path, &ReadOptions::default()).map(GridFile::without_service);
    crate::grid_schema::agrees(&grid.to_string(), read.as_ref());
    read
}

fn grid(body: Value) -> Value {
    let mut grid = json!({
        "name": "g",
        "engine": {"simulated": {"model": "m", "gpu": "rtx-4090", "flags": {"block-size": 16}}},
        "workloads": {"kv-cache": null},
        "objective": {"minimize": "kv_cache.ttft_resent_ms"},
    });
    if let (Value::Object(grid), Value::Object(body)) = (&mut grid, body) {
        grid.extend(body);
    }
    grid
}

fn good(body: Value) -> Grid {
    read_value(&grid(body)).unwrap_or_else(|errors| panic!("{}", errors.render(100, false)))
}

fn names(grid: &Grid) -> Vec<&str> {
    grid.configurations.iter().map(|it| it.name.as_str()).collect()
}

#[test]
fn the_last_axis_turns_fastest_and_names_show_what_differs() {
    let grid = good(json!({"parameters": {
        "gpu-memory-utilization": [0.85, 0.9],
        "enable-prefix-caching": true,
        "enable_chunked_prefill": [true, false],
        "max-num-seqs": [null, 32],
    }}));
    insta::assert_snapshot!(names(&grid).join("\n"));
    assert_eq!(grid.varied, ["gpu-memory-utilization", "enable-chunked-prefill", "max-num-seqs"]);
    let first = &grid.configurations[0];
    assert!(!first.flags.contains_key("max-num-seqs"), "null is not passed");
    assert_eq!(first.varied["max-num-seqs"], Value::Null);
    assert_eq!(first.flags["block-size"], 16, "the engine's own flags are passed");
}

#[test]
fn null_takes_a_flag_of_the_engine_away() {
    let grid = good(json!({"parameters": {"block-size": [null, 16, 32]}}));
    assert_eq!(names(&grid), ["blockdefault", "block16", "block32"]);
    assert!(!grid.configurations[0].flags.contains_key("block-size"));
}

#[test]
fn scalars_lists_lists_of_lists_and_mappings_are_distinguished() {
    let grid = good(json!({"parameters": {
        "cudagraph-capture-sizes": [[1, 2, 4], 8],
        "hf-overrides": {"rope_parameters": {"factor": 4.0}},
    }}));
    let argv: Vec<Vec<String>> =
        grid.configurations.iter().map(|it| vllm_grid::flags::argv(&it.flags)).collect();
    let tail = ["--hf-overrides", r#"{"rope_parameters":{"factor":4.0}}"#];
    let one = ["--block-size", "16", "--cudagraph-capture-sizes", "1", "2", "4"];
    let two = ["--block-size", "16", "--cudagraph-capture-sizes", "8"];
    assert_eq!(argv, [[&one[..], &tail].concat(), [&two[..], &tail].concat()]);
}

#[test]
fn included_rows_are_added_to_the_product_and_are_not_crossed_with_it() {
    let grid = good(json!({
        "parameters": {"max-num-seqs": [8, 16]},
        "environment": {"VLLM_USE_V1": [0, "1"]},
        "include": [
            {"name": "alone", "enforce-eager": true},
            {"max-num-seqs": 8, "environment": {"VLLM_USE_V1": 0}},
            {"name": "chosen", "max-num-seqs": 16, "environment": {"VLLM_USE_V1": "1"}},
        ],
    }));
    let described: Vec<String> = grid
        .configurations
        .iter()
        .map(|it| format!("{} {:?} {:?} {:?}", it.name, it.aliases, it.varied, it.environment))
        .collect();
    insta::assert_snapshot!(described.join("\n"));
}

#[test]
fn equal_requests_are_one_configuration_whatever_their_spelling() {
    let grid = good(json!({"include": [
        {"name": "a", "max-model-len": "16k", "gpu-memory-utilization": 1},
        {"name": "b", "max_model_len": 16000, "device-memory-utilization": 1.0},
        {"name": "c", "max-model-len": 16000, "gpu-memory-utilization": 1.0, "block-size": 16},
        {"name": "d", "max-model-len": 16000, "gpu-memory-utilization": 1.0, "enforce-eager": null},
        {"name": "e", "max-model-len": "16K", "gpu-memory-utilization": 1.0},
    ]}));
    assert_eq!(names(&grid), ["a", "e"]);
    assert_eq!(grid.configurations[0].aliases, ["b", "c", "d"]);
}

#[test]
fn production_is_the_engines_own_flags() {
    let varied = json!({"max-num-seqs": [8, 16]});
    let grid = good(json!({"baseline": "production", "parameters": varied}));
    assert_eq!(names(&grid), ["production", "seqs8", "seqs16"]);
    assert_eq!(grid.baseline.as_deref(), Some("production"));
    let grid = good(json!({"baseline": "production", "parameters": {"max-num-seqs": [null, 16]}}));
    assert_eq!(names(&grid), ["seqsdefault", "seqs16"]);
    assert_eq!(grid.configurations[0].aliases, ["production"]);
    assert_eq!(grid.baseline.as_deref(), Some("seqsdefault"));
}

#[test]
fn a_baseline_can_be_named_by_its_alias() {
    let rows = json!([{"name": "a", "max-num-seqs": 8}, {"name": "b", "max-num-seqs": 8}]);
    assert_eq!(good(json!({"baseline": "b", "include": rows})).baseline.as_deref(), Some("a"));
}

#[test]
fn what_cannot_act_or_cannot_start_or_cannot_finish_is_said_before_the_night() {
    let grid = good(json!({
        "parameters": {
            "enable-prefix-caching": [true, false],
            "max-num-seqs": [8, 16],
            "enable-chunked-prefill": false,
            "max-num-batched-tokens": 2048,
            "max-model-len": [2048, 4096],
        },
        "workloads": {"kv-cache": {"prefix-tokens": 1024}},
        "strategy": "grid",
        "budget": "30s",
    }));
    let warnings: Vec<&str> = grid.warnings.iter().map(|it| it.message.as_str()).collect();
    insta::assert_snapshot!(warnings.join("\n"));
    let quiet =
        good(json!({"parameters": {"enable-prefix-caching": [true, false]}, "budget": "8h"}));
    assert_eq!(quiet.warnings, []);
}

#[test]
fn a_load_of_one_request_at_a_time_is_no_load() {
    let warned = |concurrency: Value, objective: &str| {
        let grid = good(json!({
            "parameters": {"max-num-seqs": [4, 16]},
            "workloads": {"load": {"concurrency": concurrency}},
            "objective": {"maximize": objective},
        }));
        grid.warnings.into_iter().map(|it| it.message).collect::<Vec<_>>()
    };
    let alone = "load[concurrency=1].output_throughput";
    for reported in [warned(json!([1]), "load.output_throughput"), warned(json!([1, 8]), alone)] {
        let [reported] = &reported[..] else { panic!("one warning: {reported:?}") };
        assert!(reported.contains("`load`, which sends one request at a time"), "{reported}");
        assert!(reported.ends_with("judge it under load with more requests at once"), "{reported}");
    }
    assert!(warned(json!([1, 8]), "load[concurrency=8].output_throughput").is_empty());
}

fn warnings(body: Value) -> Vec<String> {
    good(body).warnings.into_iter().map(|it| it.message).collect()
}

#[test]
fn limits_that_no_load_reaches_are_warned_of() {
    let warned = |values: Value, workloads: Value, constraints: Value| {
        let reported = warnings(json!({
            "parameters": {"max-num-seqs": values},
            "workloads": workloads,
            "objective": {"maximize": "load[concurrency=32].output_throughput",
                          "constraints": constraints},
        }));
        assert!(reported.len() <= 1, "{reported:?}");
        reported.into_iter().next().unwrap_or_default()
    };
    let load = || json!({"load": {"concurrency": [8, 32, 64]}});
    for values in [json!([null, 32, 64]), json!([32, 64]), json!([64, 128])] {
        let reported = warned(values.clone(), load(), json!([]));
        assert!(reported.contains("has 32 requests in flight, and no value is below"), "{values}");
    }
    assert_eq!(warned(json!([16, 32, 64]), load(), json!([])), "", "16 binds");
    assert_eq!(warned(json!([null, 16]), load(), json!([])), "");
    let elsewhere = |metric: &str| json!([{"metric": metric, "max": 1000}]);
    let at_64 = elsewhere("load[concurrency=64].median_ttft_ms");
    assert_eq!(warned(json!([32, 64]), load(), at_64), "", "a constraint is where it acts");
    let at_8 = elsewhere("load[concurrency=8].median_ttft_ms");
    assert_ne!(warned(json!([32, 64]), load(), at_8), "");
    let rate = json!({"load": {"concurrency": [32], "rate": 4}});
    let at_rate = elsewhere("load[rate=4].median_ttft_ms");
    assert_eq!(warned(json!([32, 64]), rate, at_rate), "", "an open loop has any number");
}

#[test]
fn a_cache_for_prompts_that_share_nothing_is_warned_of() {
    let warned = |workloads: Value, objective: Value| {
        let reported = warnings(json!({
            "parameters": {"enable-prefix-caching": [true, false]},
            "workloads": workloads, "objective": objective,
        }));
        reported.iter().any(|it| it.contains("share no beginning"))
    };
    let throughput = || json!({"maximize": "load.output_throughput"});
    assert!(warned(json!({"load": {}}), throughput()));
    assert!(!warned(json!({"load": {"shared-prefix-tokens": 64}}), throughput()));
    let miss = json!({"minimize": "kv_cache.ttft_miss_ms"});
    assert!(warned(json!({"kv-cache": {}}), miss));
    assert!(!warned(json!({"kv-cache": {}}), json!({"minimize": "kv_cache.ttft_resent_ms"})));
    assert!(!warned(json!({"conversation": {}}), json!({"minimize": "conversation.mean_ttft_ms"})));
    let both = json!({"maximize": "load.output_throughput",
                      "constraints": [{"metric": "conversation.ttft_last_ms", "max": 900}]});
    assert!(!warned(json!({"load": {}, "conversation": {}}), both), "there it acts");
}

#[test]
fn cases_longer_than_the_context_are_reported() {
    let grid = |contexts: Value, workloads: Value, metric: &str| {
        grid(json!({
            "parameters": {"max-model-len": contexts},
            "workloads": workloads, "objective": {"minimize": metric},
        }))
    };
    let reported = |document: &Value| match read_value(document) {
        Ok(grid) => grid.warnings.into_iter().map(|it| format!("? {}", it.message)).collect(),
        Err(errors) => {
            errors.errors.into_iter().map(|it| format!("! {}", it.message)).collect::<Vec<_>>()
        }
    };
    let long = |contexts: Value| json!({"long-context": {"contexts": contexts, "max-tokens": 256}});
    let ttft = "long_context.median_ttft_ms";
    // 40000 with half a percent, and an answer.
    assert_eq!(
        reported(&grid(json!([8192]), long(json!([40000])), ttft)),
        [
            "! long_context.median_ttft_ms is never measured: it needs a context of 40456 tokens, and \
          max-model-len is 8192"
        ]
    );
    assert_eq!(reported(&grid(json!([40456]), long(json!([40000])), ttft)), [""; 0]);
    assert_eq!(
        reported(&grid(json!([8192, 16384, 65536]), long(json!([40000])), ttft)),
        [
            "? long_context.median_ttft_ms is not measured in `ctx8192` and 1 more, which will not be \
          ranked: it needs a context of 40456 tokens, and max-model-len is 16384 or less there"
        ]
    );
    // Nobody is judged by it.
    let first = "long_context[context=1000].median_ttft_ms";
    assert_eq!(
        reported(&grid(json!([8192]), long(json!([1000, 40000])), first)),
        ["? `long-context`, context=40000, is skipped: it needs a context of 40456 tokens, and \
          max-model-len is 8192"]
    );
    for (workload, options, metric) in [
        ("load", json!({"prompt-tokens": 200_000}), "load.median_ttft_ms"),
        ("kv-cache", json!({"prefix-tokens": 9000}), "kv_cache.ttft_resent_ms"),
        ("conversation", json!({"turns": 100}), "conversation.mean_ttft_ms"),
        ("stability", json!({"prompt-tokens": [9000, 16000]}), "stability.median_ttft_ms"),
    ] {
        let one = json!({workload: options});
        let errors = reported(&grid(json!([8192]), one.clone(), metric));
        assert!(matches!(&errors[..], [it] if it.starts_with("! ")), "{workload}: {errors:?}");
        assert_eq!(reported(&grid(json!([262_144]), one, metric)), [""; 0], "{workload}");
    }
    let mixed = json!({"stability": {"prompt-tokens": [128, 16000]}});
    let metric = "stability.median_ttft_ms";
    assert_eq!(reported(&grid(json!([8192]), mixed, metric)), [""; 0], "a part of it fits");
}

#[test]
fn figures_that_a_configuration_cannot_have_are_reported() {
    let warned = |parameters: Value, workload: &str, metric: &str| {
        warnings(json!({
            "parameters": parameters, "workloads": {workload: {}}, "objective": {"minimize": metric},
        }))
    };
    let caching = || json!({"enable-prefix-caching": [true, false]});
    assert_eq!(
        warned(caching(), "kv-cache", "kv_cache.ttft_hit_ms"),
        ["kv_cache.ttft_hit_ms is absent where prefix caching is off: `noprefix` will not be \
          ranked: `kv_cache.ttft_resent_ms` is measured with and without"]
    );
    let on = json!({"enable-prefix-caching": true, "block-size": [16, 32]});
    assert_eq!(warned(on, "kv-cache", "kv_cache.ttft_hit_ms"), [""; 0]);
    let energy = warned(caching(), "kv-cache", "kv_cache.energy_per_1000_tokens");
    assert!(energy[0].contains("absent on the simulated engine"), "{energy:?}");
    let host = warned(caching(), "kv-cache", "kv_cache.host_cpu_mean");
    assert_eq!(host, [""; 0]);
}

#[test]
fn objectives_without_a_direction_are_warned_of() {
    let warned = |metric: &str| {
        let workloads = json!({"load": {"shared-prefix-tokens": 64}});
        let goal = json!({"minimize": metric});
        let reported = warnings(
            json!({"parameters": {"block-size": [16, 32]}, "workloads": workloads, "objective": goal}),
        );
        reported.iter().any(|it| it.contains("neither less nor more is better"))
    };
    assert!(warned("load.total_input_tokens"));
    assert!(!warned("load.median_ttft_ms"));
    assert!(!warned("load.duration"), "of a given number of requests");
    assert!(!warned("load.host_cpu_mean"), "what the machine uses may be sought");
}

#[test]
fn of_several_budgets_the_plan_says_which_ends_first() {
    let planned = |budget: serde_json::Value| {
        let grid = good(json!({
            "engine": {"process": {"command": ["vllm", "serve", "m"]}},
            "parameters": {"tensor-parallel-size": [1, 2]},
            "strategy": {"grid": {"launches": 4, "repeats": 5}}, "budget": budget,
        }));
        let text = vllm_grid::report::plan::render(&Plan::new(&grid), 200);
        let line = text.lines().find(|line| line.starts_with("budget ")).expect("a budget");
        let warnings: Vec<String> = grid.warnings.iter().map(|it| it.message.clone()).collect();
        let plan = serde_json::to_value(Plan::new(&grid)).expect("JSON");
        (line.to_owned(), warnings.join("\n"), plan["budget"].clone())
    };
    // A launch takes at least 116 s and at most 767 s.
    let (line, warned, plan) = planned(json!({"time": "8h", "launches": 5, "gpu-hours": 100}));
    assert_eq!(
        line,
        "budget 8.0 h, 5 launches, 100 GPU hours (1.5 GPUs a launch): ends the sweep after 5 of 8 \
         launches, by its launches (assumed)"
    );
    assert_eq!(warned, "the budget of 5 launches ends the sweep before its 8");
    assert_eq!(plan["ends_first"], json!(["launches"]));
    assert_eq!((&plan["launches"], &plan["mean_gpus"]), (&json!(5), &json!(1.5)));
    let (line, warned, _) = planned(json!({"launches": 1, "gpu_hours": 0.5}));
    assert!(
        line.ends_with("ends the sweep after 1 of 8 launches, by its launches (assumed)"),
        "{line}"
    );
    assert!(
        warned.contains("1 launch ends the sweep before its 8, and configurations without"),
        "{warned}"
    );
    // 20 minutes of the clock: slow launches end by them, and fast ones by nothing.
    let (line, warned, plan) = planned(json!({"gpu-hours": 0.5}));
    assert!(
        line.contains("0.5 GPU hours (1.5 GPUs a launch): may end the sweep after 2"),
        "{line}"
    );
    assert!(warned.contains("the budget of 0.5 GPU hours may end the sweep after 2"), "{warned}");
    assert_eq!(plan["ends_first"], json!(["gpu-hours"]));
    let (line, _, plan) = planned(json!({"launches": 8}));
    assert_eq!(line, "budget 8 launches: all 8 launches are begun within it (assumed)");
    assert_eq!(plan["ends_first"], json!([]));
}

#[test]
fn a_budget_that_may_be_too_short_is_warned_of_and_shown_in_the_plan() {
    let planned = |budget: &str| {
        let grid = good(json!({
            "engine": {"process": {"command": ["vllm", "serve", "m"]}},
            "parameters": {"enable-prefix-caching": [true, false]},
            "strategy": {"grid": {"launches": 4, "repeats": 5}}, "budget": budget,
        }));
        let plan = Plan::new(&grid);
        let text = vllm_grid::report::plan::render(&plan, 80);
        let line = text.lines().find(|line| line.starts_with("budget ")).expect("a budget");
        let warnings: Vec<String> = grid.warnings.iter().map(|it| it.message.clone()).collect();
        (line.to_owned(), warnings.join("\n"))
    };
    // A launch takes at least 116 s and at most 767 s.
    let (line, reported) = planned("8h");
    assert_eq!(line, "budget 8.0 h: all 8 launches are begun within it (assumed)");
    assert_eq!(reported, "");
    let (line, reported) = planned("30m");
    assert_eq!(line, "budget 30 min: may end the sweep after 3 of 8 launches (assumed)");
    assert!(
        reported.ends_with("the budget of 30 min may end the sweep after 3 of them"),
        "{reported}"
    );
    let (_, reported) = planned("16m");
    assert!(reported.ends_with("after 2 of them"), "{reported}");
    let (line, reported) = planned("5m");
    assert_eq!(line, "budget 5 min: ends the sweep after 1 to 3 of 8 launches (assumed)");
    assert!(reported.contains("ends the sweep before that, after 1 to 3"), "{reported}");
    // The last one begins before the budget is spent, if all are fast.
    let (line, reported) = planned("15m");
    assert_eq!(line, "budget 15 min: may end the sweep after 2 of 8 launches (assumed)");
    assert!(reported.contains("may end the sweep after 2 of them"), "{reported}");
}

#[test]
fn cases_that_configurations_are_judged_by_are_known_to_the_load() {
    let judged = |objective: Value| {
        let workloads = json!({"load": {"concurrency": [8, 32, 128]}});
        let parameters = json!({"max-num-seqs": [8, 128]});
        let grid =
            good(json!({"parameters": parameters, "workloads": workloads, "objective": objective}));
        match grid.workloads[0].spec.clone() {
            vllm_grid::workload::Spec::Load(load) => load.judged,
            other => panic!("{other:?}"),
        }
    };
    let objective = json!({
        "maximize": "load[concurrency=128].output_throughput",
        "constraints": [{"metric": "load[concurrency=8].median_ttft_ms", "max": 900},
                        {"metric": "load[concurrency=8].failed", "max": 0}],
    });
    assert_eq!(judged(objective), ["concurrency=128", "concurrency=8"]);
}

#[test]
fn ids_are_the_same_on_every_machine() {
    let grid = good(json!({"parameters": {"max-num-seqs": [8]}}));
    assert_eq!(grid.configurations[0].id, "672f291143f59a2b");
}

/// Axes of known flags with values that never repeat.
fn axes() -> impl Strategy<Value = Vec<Axis>> {
    let pool = vec![
        ("gpu-memory-utilization", json!([0.8, 0.85, 0.9, 0.92, null])),
        ("enable-prefix-caching", json!([true, false, null])),
        ("enable-chunked-prefill", json!([false, true])),
        ("max-num-seqs", json!([8, 16, 32, null])),
        ("block-size", json!([16, 32, null])),
        ("kv-cache-dtype", json!(["auto", "fp8"])),
    ];
    let axis = |(name, values): (&'static str, Value)| {
        let values: Vec<Value> = values.as_array().expect("a list").clone();
        let count = values.len();
        prop::sample::subsequence(values, 1..=count).prop_map(move |v| (name.to_owned(), v))
    };
    prop::sample::subsequence(pool, 1..=6)
        .prop_flat_map(move |chosen| chosen.into_iter().map(axis).collect::<Vec<_>>())
}

/// The product as nested loops would make it.
fn product(axes: &[Axis]) -> Vec<Row> {
    axes.iter().fold(vec![Row::new()], |rows, (name, values)| {
        rows.iter()
            .flat_map(|row| {
                values.iter().map(|value| {
                    let mut row = row.clone();
                    row.insert(name.clone(), value.clone());
                    row
                })
            })
            .collect()
    })
}

fn matches(exclude: &Row, row: &Row) -> bool {
    exclude.iter().all(|(name, value)| row.get(name) == Some(value))
}

/// What is passed: the engine's own flags overlaid, nulls dropped.
fn passed(row: &Row) -> Row {
    let mut flags = Row::from([("block-size".to_owned(), json!(16))]);
    flags.extend(row.clone());
    flags.retain(|_, value| !value.is_null());
    flags
}

/// Axes with exclusions and included rows, both drawn from the axes.
fn grids() -> impl Strategy<Value = (Vec<Axis>, Vec<Row>, Vec<Row>)> {
    axes().prop_flat_map(|axes| {
        let row = {
            let axes = axes.clone();
            prop::collection::vec(any::<prop::sample::Index>(), axes.len()).prop_map(move |picks| {
                let pick = |((name, values), pick): (&Axis, prop::sample::Index)| {
                    (name.clone(), pick.get(values).clone())
                };
                axes.iter().zip(picks).map(pick).collect::<Row>()
            })
        };
        let partial = (row.clone(), any::<u8>()).prop_map(|(row, keep)| {
            let kept = row.into_iter().enumerate().filter(|(at, _)| keep >> at & 1 == 1);
            kept.map(|(_, setting)| setting).collect::<Row>()
        });
        let excludes = prop::collection::vec(partial, 0..3);
        let includes = prop::collection::vec(row, 0..3);
        (Just(axes), excludes, includes)
    })
}

#[test]
fn a_figure_per_hour_from_minutes_is_warned_of() {
    let warned = |stability: Value, metric: &str| {
        let grid = good(json!({
            "parameters": {"max-num-seqs": 8}, "workloads": {"stability": stability},
            "objective": {"minimize": metric},
        }));
        grid.warnings.iter().any(|warning| warning.message.contains("lasts less than 10 min"))
    };
    let hourly = "stability.ttft_drift_per_hour";
    assert!(warned(json!({}), hourly), "twenty requests");
    assert!(warned(json!({"duration": 500}), hourly));
    assert!(!warned(json!({"duration": 7200}), hourly));
    assert!(!warned(json!({"requests": 10_000}), hourly));
    assert!(!warned(json!({}), "stability.ttft_drift_per_request"));
}

#[test]
fn what_a_load_decides_itself_and_will_not_measure_is_warned_of() {
    let warnings = |load: Value, objective: Value| {
        let grid = good(json!({
            "parameters": {"max-num-seqs": 8}, "workloads": {"load": load}, "objective": objective,
        }));
        let all = grid.warnings.iter().map(|warning| warning.message.clone());
        all.collect::<Vec<String>>().join("\n")
    };
    let slow = json!({"rate": 0.5});
    let text = warnings(slow.clone(), json!({"maximize": "load.output_throughput"}));
    let expected = "load.output_throughput does not tell configurations apart: at 0.5 requests/s";
    assert!(text.contains(expected), "{text}");
    let text = warnings(slow, json!({"minimize": "load.p95_ttft_ms"}));
    assert!(!text.contains("tell configurations apart"), "{text}");
    let few = json!({"concurrency": [4, 64], "requests": 128});
    let text = warnings(few, json!({"maximize": "load[concurrency=4].output_throughput"}));
    let expected = "load[concurrency=64].output_throughput will be absent: at concurrency 64, 128 \
                    requests end before a steady state; raise `requests` (256 would do)";
    assert!(text.contains(expected) && !text.contains("=4].output"), "{text}");
    // How the first half compares with the second is no merit.
    let grid = good(json!({
        "parameters": {"max-num-seqs": 8}, "workloads": {"stability": {}},
        "objective": {"minimize": "stability.e2el_halves_ratio"},
    }));
    assert!(grid.warnings.iter().any(|it| it.message.contains("neither less nor more is better")));
}

#[test]
fn what_a_program_of_others_takes_is_unknown_and_bounded_by_its_timeout() {
    let hours = |workloads: Value| {
        let strategy = json!({"grid": {"launches": 2, "repeats": 5}});
        let parameters = json!({"max-num-seqs": 8});
        let grid =
            good(json!({"parameters": parameters, "workloads": workloads, "strategy": strategy}));
        let hours = Plan::new(&grid).estimated_hours;
        (hours.low, hours.high, hours.assumptions.join("; "))
    };
    let (low, high, _) = hours(json!({"kv-cache": null}));
    let command = json!({"command": ["true"], "timeout": 1800, "repeats": 3});
    let (with_low, with_high, reported) = hours(json!({"kv-cache": null, "command": command}));
    assert!((with_low - low).abs() < 1e-9, "{with_low} {low}");
    // Two launches of three repeats and a warm-up, half an hour each.
    assert!((with_high - high - 4.0).abs() < 1e-9, "{with_high} {high}");
    assert!(
        reported.contains(
            "the time of `command` is unknown: 0 to its timeout of 30 min for each repeat"
        ),
        "{reported}"
    );
    // Without a program there is nothing to run.
    let (_, without, reported) = hours(json!({"kv-cache": null, "command": {"timeout": 1800}}));
    assert!((without - high).abs() < 1e-9, "{without} {high}");
    assert!(!reported.contains("unknown"), "{reported}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn expansion_agrees_with_nested_loops((axes, excludes, includes) in grids()) {
        let all = product(&axes);
        let kept: Vec<&Row> =
            all.iter().filter(|row| !excludes.iter().any(|it| matches(it, row))).collect();
        let include: Vec<Value> = includes
            .iter()
            .enumerate()
            .map(|(at, row)| {
                let mut row: serde_json::Map<String, Value> = row.clone().into_iter().collect();
                row.insert("name".to_owned(), json!(format!("row{at}")));
                Value::Object(row)
            })
            .collect();
        let parameters: serde_json::Map<String, Value> =
            axes.iter().map(|(name, values)| (name.clone(), json!(values))).collect();
        let document =
            grid(json!({"parameters": parameters, "include": include, "exclude": excludes}));
        let everything = excludes.iter().any(|it| all.iter().all(|row| matches(it, row)));
        let read = read_value(&document);
        if everything || (kept.is_empty() && includes.is_empty()) {
            prop_assert!(read.is_err());
            return Ok(());
        }
        let read = read.map_err(|errors| TestCaseError::fail(errors.render(100, false)))?;

        // The same requests, in the order of the loops, each once.
        let mut expected: Vec<Row> = Vec::new();
        for row in kept.iter().copied().chain(&includes) {
            let flags = passed(row);
            if !expected.contains(&flags) {
                expected.push(flags);
            }
        }
        let rows = read.configurations.iter().map(|it| it.flags.clone());
        let got: Vec<Row> = rows.map(|flags| flags.into_iter().collect()).collect();
        prop_assert_eq!(&got, &expected);

        // Every name once, usable as a folder's name, one per request that was made.
        let names: Vec<&str> = read.configurations.iter().flat_map(Configuration::names).collect();
        prop_assert_eq!(names.len(), kept.len() + includes.len());
        prop_assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        for name in &names {
            prop_assert!(!name.is_empty() && name.len() <= 80);
            prop_assert!(name.chars().all(|it| it.is_ascii_alphanumeric() || "._+-".contains(it)));
        }

        // Ids distinguish requests, and what varies is what differs.
        let ids: HashSet<&str> = read.configurations.iter().map(|it| it.id.as_str()).collect();
        prop_assert_eq!(ids.len(), got.len());
        let differing: BTreeSet<&str> = axes
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| got.iter().any(|row| row.get(*name) != got[0].get(*name)))
            .collect();
        prop_assert_eq!(read.varied.iter().map(String::as_str).collect::<BTreeSet<_>>(), differing);

        // Read again, it is the same in the same order.
        let again = read_value(&document).map_err(|_| TestCaseError::fail("read once, not twice"))?;
        prop_assert_eq!(again.configurations, read.configurations);
    }
}

#[test]
fn repeats_may_be_left_to_the_sweep() {
    let planned = |strategy: Value| {
        let grid = good(json!({"parameters": {"max-num-seqs": 8}, "strategy": strategy}));
        let assumptions = Plan::new(&grid).estimated_hours.assumptions.join("; ");
        (serde_json::to_value(&grid.strategy).unwrap(), assumptions)
    };
    let (auto, assumptions) = planned(json!({"grid": {"launches": 5, "repeats": "auto"}}));
    assert_eq!(auto, json!({"grid": {"launches": 5, "repeats": 3, "auto": true, "seed": 1}}));
    assert!(assumptions.contains("`repeats: auto` is 3 repeats"), "{assumptions}");
    let (default, _) = planned(json!({"grid": null}));
    assert_eq!(default, json!({"grid": {"launches": 4, "repeats": 3, "seed": 1}}));
}
