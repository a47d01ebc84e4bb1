//! A grid that names no strategy: which one it has, what the plan says of it, and that a sweep
//! keeps the one that it began with, also where another version chose it.

use std::fmt::Write as _;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};
use vllm_grid::grid::plan::Plan;
use vllm_grid::grid::{Grid, GridFile, ReadOptions, ServiceBase};

use crate::support::{Ran, Workplace, signal};

fn file(engine: &str, body: &str) -> GridFile {
    let text = format!(
        "name: g\nengine: {{{engine}}}\n{body}\nworkloads: {{load: {{concurrency: 64, requests: 256}}}}\n\
         objective: {{maximize: load.output_throughput}}\n"
    );
    GridFile::parse(text.into(), Path::new("g.yaml"), &ReadOptions::default())
        .unwrap_or_else(|errors| panic!("{}", errors.render(100, false)))
}

fn read(body: &str) -> Grid {
    file("simulated: {model: Qwen/Qwen3-0.6B, gpu: rtx-4090}", body).without_service()
}

/// Axes with so many values each: their product.
fn axes(of: &[usize]) -> String {
    let names = ["max-num-seqs", "max-num-batched-tokens", "seed"];
    let mut text = "parameters:\n".to_owned();
    for (name, count) in names.iter().zip(of) {
        let values: Vec<String> = (0..*count).map(|it| (2048 + 8 * it).to_string()).collect();
        let _ = writeln!(text, "  {name}: [{}]", values.join(", "));
    }
    text
}

/// Rows by name, each with values of its own.
fn rows(count: usize) -> String {
    let row = |it: usize| {
        let (seqs, tokens) = (8 + it, 2048 + 8 * it);
        format!("  - {{name: r{it}, max-num-seqs: {seqs}, max-num-batched-tokens: {tokens}}}\n")
    };
    "include:\n".to_owned() + &(0..count).map(row).collect::<String>()
}

/// The strategies of the plan: from their table to the end of what is said of them.
fn strategies(grid: &Grid) -> String {
    let text = vllm_grid::report::plan::render(&Plan::new(grid), 80);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let table = &text[text.find("\n  strategy ").expect("the strategies") + 1..];
    table[..table.find("\n\n").expect("the launches")].to_owned()
}

#[test]
fn a_grid_that_names_none_has_one_by_its_size_and_the_plan_says_why() {
    let cases = [
        ("one", axes(&[1]), 1, "grid"),
        ("five", axes(&[5]), 5, "grid"),
        ("six", axes(&[2, 3]), 6, "adaptive"),
        ("39 by two axes", axes(&[3, 13]), 39, "adaptive"),
        ("40 by two axes", axes(&[8, 5]), 40, "model"),
        ("40 by one axis", axes(&[40]), 40, "adaptive"),
        ("40 rows that share nothing", rows(40), 40, "adaptive"),
        ("1000 by three axes", axes(&[10, 10, 10]), 1_000, "model"),
        ("1001 by three axes", axes(&[7, 11, 13]), 1_001, "adaptive"),
    ];
    let mut text = String::new();
    for (what, body, count, name) in cases {
        let grid = read(&body);
        assert_eq!((grid.configurations.len(), grid.strategy.name()), (count, name), "{what}");
        assert!(grid.is_default_strategy);
        assert_eq!(grid.strategy.chooses_repeats(), name != "grid", "{what}");
        let plan = serde_json::to_value(Plan::new(&grid)).expect("JSON");
        let chosen: Vec<&Value> = plan["strategies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|it| it["chosen"] == true)
            .collect();
        assert_eq!(chosen.len(), 1, "{plan}");
        assert_eq!(chosen[0]["strategy"], name, "{what}");
        let _ = writeln!(text, "## {what}\n{}\n", strategies(&grid));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_strategy_that_is_named_is_what_is_taken_and_nothing_is_said_of_a_default() {
    let fixed = "{adaptive: {repeats: 3}}";
    for (of, strategy, name, auto) in [
        (&[8, 5][..], "grid", "grid", false),
        (&[8, 5], "adaptive", "adaptive", true),
        (&[8, 5], fixed, "adaptive", false),
        (&[2], "model", "model", true),
        (&[7, 11, 13], "{grid: {launches: 1}}", "grid", false),
    ] {
        let grid = read(&format!("{}strategy: {strategy}", axes(of)));
        assert_eq!((grid.strategy.name(), grid.is_default_strategy), (name, false), "{strategy}");
        assert_eq!(grid.strategy.chooses_repeats(), auto, "{strategy}");
        let plan = Plan::new(&grid);
        assert_eq!(plan.default_strategy, None, "{strategy}");
        assert!(!strategies(&grid).contains("names no strategy"), "{strategy}");
    }
    let of_1001 = axes(&[7, 11, 13]) + "strategy: model";
    let refused = GridFile::parse(
        format!(
            "name: g\nengine: {{simulated: {{model: m, gpu: h100}}}}\n{of_1001}\nworkloads: {{load: }}\n\
             objective: {{minimize: load.median_ttft_ms}}\n"
        )
        .into(),
        Path::new("g.yaml"),
        &ReadOptions::default(),
    );
    let said = refused.expect_err("too many").render(200, false);
    assert!(
        said.contains("`model` takes at most 1000 configurations, and there are 1001"),
        "{said}"
    );
}

#[test]
fn configurations_that_the_service_makes_one_are_counted_once() {
    let rows = "include:\n  - {name: a, block-size: 16}\n  - {name: b, block-size: 16, max-num-seqs: 32}\n\
                \x20 - {name: c, max-num-seqs: 1}\n  - {name: d, max-num-seqs: 2}\n\
                \x20 - {name: e, max-num-seqs: 3}\n  - {name: f, max-num-seqs: 4}";
    let file = file("docker: {compose: c.yaml, service: s}", rows);
    assert_eq!(file.configurations().len(), 6);
    let of_file = file.clone().without_service();
    assert_eq!(of_file.strategy.name(), "adaptive");
    let flags = [("max-num-seqs".to_owned(), 32.into())].into();
    let grid = file.with_service(ServiceBase { image: "i:1".to_owned(), model: None, flags });
    assert_eq!((grid.configurations.len(), grid.strategy.name()), (5, "grid"));
}

/// A budget is a good end of duels: only what may cut the blocks is warned of.
#[test]
fn a_budget_is_warned_of_where_it_may_cut_the_blocks() {
    let warned = |budget: &str| {
        let grid = read(&format!("{}budget: {budget}", axes(&[2, 3])));
        let all = grid.warnings.iter().map(|it| it.message.clone());
        all.filter(|it| it.contains("the budget of")).collect::<Vec<_>>().join("\n")
    };
    // 12 launches take up to 2 hours, by assumption, and 48 up to 8.
    for fits in ["2h", "8h", "{launches: 12}", "{time: 3h, launches: 20}"] {
        assert_eq!(warned(fits), "", "{fits}");
    }
    let slow = warned("1h");
    assert!(slow.contains("the budget of 60 min may end the sweep after 7 of them"), "{slow}");
    let few = warned("{launches: 11}");
    assert_eq!(few, "the budget of 11 launches ends the sweep before its 12 to 48");
}

/// Six configurations, quick; a budget ends what would be chosen.
fn grid(speed: u32) -> String {
    format!(
        "
name: six
engine:
  simulated: {{model: Qwen/Qwen3-0.6B, gpu: rtx-4090, seed: 1, speed: {speed},
              flags: {{max-model-len: 4096}}}}
baseline: seqs8
parameters:
  max-num-seqs: [8, 16, 32, 64, 128, 256]
workloads:
  kv-cache: {{prefix-tokens: [512], prompts: 2, output-tokens: 2, warmup: 0}}
objective: {{minimize: kv_cache.ttft_resent_ms}}
budget: {{launches: 12}}
"
    )
}

fn manifest(place: &Workplace, run: &str) -> Value {
    let bytes = std::fs::read(place.path(run).join("manifest.json")).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// Configurations of the launches, in their order, with the kept repeats that were measured.
fn launched(place: &Workplace, run: &str) -> Vec<String> {
    let entries = place.journal(run).into_iter().map(|it| it["line"]["entry"].clone());
    let started = entries.filter(|it| it["kind"] == "launch_started");
    started.map(|it| it["configuration"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_sweep_keeps_the_strategy_of_its_manifest_whatever_the_default_is_now() {
    let place = Workplace::new(&grid(60));
    let child = place.start(&["sweep", "grid.yaml", "--output", "older"]);
    place.wait_for("older", "launch_ended", 2);
    signal(&child, Signal::INT);
    let stopped = Ran::of(child.wait_with_output().unwrap());
    assert_eq!(stopped.code, Some(4), "{}", stopped.err);
    let mut older = manifest(&place, "older");
    let written = older["strategy"].clone();
    assert_eq!(
        (&written["adaptive"]["auto"], &written["adaptive"]["repeats"]),
        (&json!(true), &json!(3))
    );
    // As a version wrote it whose default was `grid`.
    older["strategy"] = json!({"grid": {"launches": 1, "repeats": 2, "seed": 1}});
    std::fs::write(place.path("older/manifest.json"), older.to_string()).unwrap();
    let begun = launched(&place, "older");
    let ran = place.run(&["resume", "older"]).expect(0);
    let all = launched(&place, "older");
    assert_eq!(all[..begun.len()], begun, "what was launched stays: {}", ran.out);
    // One block, in which each has its launch; what was stopped may have begun once more.
    let mut names = all.clone();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 6, "{all:?}");
    assert!(all.len() <= 7, "{all:?}");
    assert_eq!(manifest(&place, "older")["strategy"], older["strategy"]);
    let listed: Value =
        serde_json::from_str(&place.run(&["list", "older", "--format", "json"]).expect(0).out)
            .unwrap();
    assert!(listed.to_string().contains("\"complete\""), "{listed}");

    // The same grid is swept anew by today's default, and compared with it.
    place.run(&["sweep", "grid.yaml", "--output", "newer"]);
    assert_eq!(manifest(&place, "newer")["strategy"], written);
    let newer = launched(&place, "newer");
    assert_eq!(newer.len(), 12, "two blocks, and the budget: {newer:?}");
    place.run(&["compare", "older", "newer"]).expect(0);
}
