//! The grids that the repository ships, and reading a grid from outside.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use vllm_grid::grid::plan::Plan;
use vllm_grid::grid::{Grid, GridFile, ReadOptions, ServiceBase};

fn shipped(name: &str) -> PathBuf {
    Path::new("grids").join(name)
}

fn file(name: &str, engine: Option<&str>) -> GridFile {
    let options = ReadOptions { engine: engine.map(str::to_owned), ..ReadOptions::default() };
    GridFile::read(&shipped(name), &options)
        .unwrap_or_else(|errors| panic!("{}", errors.render(100, false)))
}

fn read(name: &str, engine: Option<&str>) -> Grid {
    file(name, engine).without_service()
}

#[test]
fn twelve_names_of_the_first_campaign_are_eleven_configurations() {
    for engine in ["docker", "simulated"] {
        let grid = read("qwen3-twelve.yaml", Some(engine));
        assert_eq!(grid.configurations.len(), 11);
        let fifth = grid.configuration("chunked_only_high_tokens").expect("an alias");
        assert_eq!(fifth.name, "chunked_only_default");
        assert_eq!(fifth.aliases, ["chunked_only_high_tokens"]);
        assert_eq!(grid.baseline.as_deref(), Some("baseline_reference"));
    }
}

#[test]
fn rows_without_a_limit_do_not_inherit_the_service_s() {
    let flags = [("max-num-seqs".to_owned(), 32.into())].into();
    let service = ServiceBase { image: "i:1".to_owned(), model: None, flags };
    let grid = file("qwen3-twelve.yaml", Some("docker")).with_service(service);
    assert_eq!(grid.configurations.len(), 11);
    let limit = |name: &str| {
        let configuration = grid.configuration(name).expect("a row");
        configuration.flags.get("max-num-seqs").and_then(serde_json::Value::as_u64)
    };
    for name in ["baseline_reference", "prefix_only_095", "prefix_only_092", "prefix_only_090"] {
        assert_eq!(limit(name), None, "{name}");
    }
    assert_eq!(limit("chunked_only_default"), None);
    assert_eq!(limit("combined_conservative"), Some(32));
    assert_eq!(limit("prefix_high_seqs"), Some(128));
}

#[test]
fn the_first_engine_block_is_taken_unless_another_is_asked_for() {
    assert_eq!(read("qwen3-validated.yaml", None).engine.name(), "docker");
    assert_eq!(read("qwen3-validated.yaml", Some("simulated")).engine.name(), "simulated");
}

#[test]
fn a_plan_has_names_arguments_warnings_and_hours() {
    let grid = read("qwen3-validated.yaml", Some("simulated"));
    insta::assert_snapshot!(vllm_grid::report::plan::render(&Plan::new(&grid), 80));
    let grid = read("quickstart.yaml", None);
    insta::assert_snapshot!(vllm_grid::report::plan::render(&Plan::new(&grid), 100));
}

/// As `HEAD` with so many configurations.
fn of_sizes(configurations: usize, more: &str) -> Grid {
    let values: Vec<String> = (1..=configurations).map(|it| it.to_string()).collect();
    parsed(&format!(
        "name: g\n\
         engine: {{simulated: {{model: Qwen/Qwen3-0.6B, gpu: rtx-4090}}}}\n\
         parameters: {{max-num-seqs: [{}]}}\n\
         workloads: {{load: {{concurrency: 64, requests: 256}}}}\n\
         objective: {{maximize: load.output_throughput}}\n{more}\n",
        values.join(", ")
    ))
}

/// What follows the warnings.
fn end_of_plan(plan: &Plan<'_>) -> String {
    let text = vllm_grid::report::plan::render(plan, 80);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    text[text.find("\n  strategy ").expect("the strategies")..].to_owned()
}

#[test]
fn a_plan_has_each_strategy_with_launches_time_and_what_it_can_show() {
    let cases = [
        ("grid is named", 12, "strategy: grid"),
        ("adaptive is named", 12, "baseline: seqs1\nstrategy: adaptive"),
        ("of 48", 48, "strategy: {model: {max-launches: 100, repeats: 5}}"),
        ("two alternate", 2, "strategy: adaptive"),
        ("one has nothing to be compared with", 1, "strategy: adaptive"),
        ("a budget that may cut duels", 12, "strategy: adaptive\nbudget: 2h"),
        ("a budget that ends in the first block", 12, "strategy: adaptive\nbudget: 10m"),
        (
            "a budget that ends in the second block",
            48,
            "baseline: seqs1\nstrategy: adaptive\nbudget: {launches: 52}",
        ),
        ("a budget that cuts nothing", 12, "strategy: adaptive\nbudget: 48h"),
    ];
    let mut text = String::new();
    for (what, configurations, more) in cases {
        let grid = of_sizes(configurations, more);
        let _ = writeln!(text, "## {what}{}", end_of_plan(&Plan::new(&grid)));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_plan_by_earlier_runs_has_their_time_and_noise_and_what_the_budget_cuts() {
    let grid = of_sizes(12, "strategy: adaptive\nbudget: 2h");
    // 5 min for each launch.
    let took = |spec: &vllm_grid::strategy::StrategySpec| {
        let all = spec.expected_launches(&grid.task());
        Some((f64::from(all.low) * 300.0, f64::from(all.high) * 300.0))
    };
    let plan = Plan::new(&grid).with_repeat_sd(0.2).with_earlier(3, 2, took);
    let text = end_of_plan(&plan);
    insta::assert_snapshot!(text);
    let json = serde_json::to_value(&plan).expect("JSON");
    assert_eq!((&json["launches"], &json["least_launches"]), (&96.into(), &24.into()));
    let adaptive = &json["strategies"][1];
    assert_eq!(adaptive["strategy"], "adaptive");
    assert_eq!(adaptive["chosen"], true);
    assert_eq!(adaptive["measured"], true);
    assert_eq!(adaptive["launches"], serde_json::json!({"low": 24, "high": 96}));
    assert_eq!(adaptive["begun_within_budget"], serde_json::json!({"least": 24, "most": 24}));
    assert_eq!(json["earlier_runs"]["begun_within_budget"], 24);
    assert_eq!(json["differences"]["repeat_sd"], 0.2);
    // The budget ends it before the two best ones have three launches each.
    assert_eq!(adaptive["can_show"], serde_json::Value::Null);
    // Noisier repeats hide larger differences.
    let calm = serde_json::to_value(Plan::new(&grid)).expect("JSON");
    let json = serde_json::to_value(Plan::new(&grid).with_repeat_sd(0.2)).expect("JSON");
    let low = |json: &serde_json::Value| json["strategies"][1]["can_show"]["low"].as_f64();
    assert!(low(&json) > low(&calm), "{json}");
}

#[test]
fn a_plan_as_json_has_the_form_of_the_contract() {
    let grid = read("qwen3-twelve.yaml", None);
    let plan = serde_json::to_value(Plan::new(&grid)).expect("a plan is JSON");
    insta::assert_json_snapshot!(plan);
}

const WITH_REQUEST: &str = "name: g\n\
    engine: {simulated: {model: Qwen/Qwen3-0.6B, gpu: rtx-4090}}\n\
    parameters: {max-num-seqs: [8, 16]}\n\
    request: {temperature: 0.7, top_k: 20, chat_template_kwargs: {enable_thinking: true, a: 1}}\n\
    workloads:\n\
    \x20 kv-cache:\n\
    \x20 load: {requests: 64, request: {top_k: null, chat_template_kwargs: {a: 2}}}\n\
    \x20 reasoning: {thinking: false, temperature: 0.1}\n\
    \x20 command: {command: [bench, '{url}']}\n\
    objective: {minimize: kv_cache.ttft_resent_ms}\n";

fn parsed(text: &str) -> Grid {
    let read = GridFile::parse(text.into(), Path::new("g.yaml"), &ReadOptions::default());
    read.unwrap_or_else(|errors| panic!("{}", errors.render(100, false))).without_service()
}

#[test]
fn fields_of_requests_are_the_grids_and_over_them_the_workloads() {
    let grid = parsed(WITH_REQUEST);
    let plan = Plan::new(&grid);
    let json = serde_json::to_value(&plan).expect("JSON");
    let common = serde_json::json!({"enable_thinking": true, "a": 1});
    assert_eq!(
        json["requests"],
        serde_json::json!({
            "command": {"temperature": 0.7, "top_k": 20, "chat_template_kwargs": common},
            "kv-cache": {"temperature": 0.7, "top_k": 20, "chat_template_kwargs": common},
            "load": {
                "temperature": 0.7, "top_k": null,
                "chat_template_kwargs": {"enable_thinking": true, "a": 2},
            },
            // Its own options are over the grid's fields, too.
            "reasoning": {"top_k": 20, "chat_template_kwargs": {"a": 1}},
        })
    );
    let text = vllm_grid::report::plan::render(&plan, 200);
    assert!(text.contains("merged into each request's body (null: left out)"), "{text}");
    let line = "  load: temperature: 0.7, top_k: null, chat_template_kwargs: \
                {\"enable_thinking\":true,\"a\":2}\n";
    assert!(text.contains(line), "{text}");
    let unsent = plan.warnings.iter().find(|warning| warning.message.contains("{request}"));
    assert_eq!(unsent.map(|warning| (warning.line, warning.column)), Some((Some(4), Some(1))));
    // What is stored is what is read.
    let stored = serde_json::to_value(&grid.workloads).expect("JSON");
    let read: Vec<vllm_grid::workload::Workload> = serde_json::from_value(stored).expect("read");
    assert_eq!(read, grid.workloads);
}

#[test]
fn a_grid_without_fields_of_requests_plans_and_stores_what_it_did() {
    let grid = parsed(&WITH_REQUEST.replace("request: {", "# {").replace(", # {top", "} # {"));
    let text = serde_json::to_string(&(Plan::new(&grid), &grid.workloads)).expect("JSON");
    assert!(!text.contains("\"request\":") && !text.contains("\"requests\":{"), "{text}");
}
