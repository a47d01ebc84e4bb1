//! The grids that the repository ships, and reading a grid from outside.

use std::path::{Path, PathBuf};

use vllm_grid::grid::plan::Plan;
use vllm_grid::grid::{Grid, ReadOptions};

fn shipped(name: &str) -> PathBuf {
    Path::new("grids").join(name)
}

fn read(name: &str, engine: Option<&str>) -> Grid {
    let options = ReadOptions { engine: engine.map(str::to_owned), ..ReadOptions::default() };
    Grid::read(&shipped(name), &options)
        .unwrap_or_else(|faults| panic!("{}", faults.render(100, false)))
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
fn the_first_engine_block_is_taken_unless_another_is_asked_for() {
    assert_eq!(read("qwen3-validated.yaml", None).engine.name(), "docker");
    assert_eq!(read("qwen3-validated.yaml", Some("simulated")).engine.name(), "simulated");
}

#[test]
fn a_plan_tells_names_arguments_warnings_and_hours() {
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
