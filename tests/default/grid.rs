//! The grids that the repository ships, and reading a grid from outside.

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

#[test]
fn a_plan_as_json_has_the_form_of_the_contract() {
    let grid = read("qwen3-twelve.yaml", None);
    let plan = serde_json::to_value(Plan::new(&grid)).expect("a plan is JSON");
    insta::assert_json_snapshot!(plan);
}
