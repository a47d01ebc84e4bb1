//! What a grid varies besides flags: variables of the compose file, images, models, whole
//! services. Each is in id, name and plan; what cannot have an effect is an error.

use std::collections::BTreeMap;

use serde_json::json;
use vllm_grid::configuration::Stack;
use vllm_grid::grid::{Grid, GridFile, ReadOptions, ServiceBase};

use crate::grid_errors::shown;

const TAIL: &str = "workloads: {kv-cache: }\nobjective: {minimize: kv_cache.ttft_resent_ms}\n";

fn read(engine: &str, body: &str) -> Result<GridFile, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("grid.yaml");
    let text = format!("name: g\nengine: {{{engine}}}\n{body}{TAIL}");
    std::fs::write(&path, &text).expect("a file");
    let read = GridFile::read(&path, &ReadOptions::default());
    crate::grid_schema::agrees(&text, read.as_ref());
    read.map_err(|errors| shown(&errors))
}

fn names(grid: &Grid) -> Vec<&str> {
    grid.configurations.iter().map(|it| it.name.as_str()).collect()
}

const COMPOSE: &str = "docker: {compose: c.yaml, service: llm, flags: {seed: 1}}";

#[test]
fn variables_images_and_models_are_axes_like_flags() {
    let grid = read(
        COMPOSE,
        "variables: {TAG: [a, b]}\nimage: ['r/vllm:1', 'r/vllm:2']\nmodel: Qwen/Qwen3-8B\n\
         parameters: {max-num-seqs: [8, 16]}\nexclude: [{image: 'r/vllm:2', variables: {TAG: b}}]\n",
    );
    let grid = grid.expect("a good grid").without_service();
    assert_eq!(
        names(&grid),
        [
            "seqs8-TAG-a-vllm-1",
            "seqs8-TAG-a-vllm-2",
            "seqs8-TAG-b-vllm-1",
            "seqs16-TAG-a-vllm-1",
            "seqs16-TAG-a-vllm-2",
            "seqs16-TAG-b-vllm-1"
        ]
    );
    let first = &grid.configurations[0];
    assert_eq!(first.stack.to_string(), "image r/vllm:1, model Qwen/Qwen3-8B, TAG=a");
    assert_eq!(first.image.as_deref(), Some("r/vllm:1"));
    assert_eq!(first.model.as_deref(), Some("Qwen/Qwen3-8B"));
    let ids: std::collections::BTreeSet<&String> =
        grid.configurations.iter().map(|it| &it.id).collect();
    assert_eq!(ids.len(), 6, "all of it is in the id");
}

#[test]
fn a_row_may_name_a_service_whose_own_flags_come_under_the_grid_s() {
    let file = read(
        COMPOSE,
        "baseline: old\ninclude:\n  - {name: old}\n  - {name: new, compose: n.yaml, service: next, \
         env-file: [n.env], max-num-seqs: 4}\n",
    );
    let file = file.expect("a good grid");
    let base = |image: &str, flags: serde_json::Value| ServiceBase {
        image: image.to_owned(),
        model: Some("m".to_owned()),
        flags: flags.as_object().expect("flags").clone().into_iter().collect(),
    };
    let stack = Stack {
        compose: vec!["n.yaml".to_owned()],
        env_files: vec!["n.env".to_owned()],
        service: Some("next".to_owned()),
        ..Stack::default()
    };
    assert_eq!(file.configurations()[1].stack, stack);
    let others =
        BTreeMap::from([(stack, base("i:2", json!({"max-num-seqs": 9, "dtype": "half"})))]);
    let grid = file.with_services(Some(base("i:1", json!({"max-num-seqs": 9}))), &others);
    let of = |name: &str| grid.configuration(name).expect("it is there");
    let flags = |name: &str| serde_json::to_value(&of(name).flags).expect("JSON");
    assert_eq!(flags("old"), json!({"max-num-seqs": 9, "seed": 1}));
    assert_eq!(flags("new"), json!({"max-num-seqs": 4, "dtype": "half", "seed": 1}));
    assert_eq!(of("new").image.as_deref(), Some("i:2"));
    assert_eq!(of("new").stack.service_label().as_deref(), Some("n.yaml#next"));
}

#[test]
fn the_same_service_under_another_name_is_another_configuration() {
    let file = read(
        COMPOSE,
        "include:\n  - {name: a, service: a}\n  - {name: b, service: b}\n  - {name: c, service: a}\n",
    );
    let grid = file.expect("a good grid").without_service();
    assert_eq!(names(&grid), ["a", "b"], "what asks for the same is one");
    assert_ne!(grid.configurations[0].id, grid.configurations[1].id);
}

#[test]
fn ids_without_a_stack_are_what_they_were() {
    let plain = read(COMPOSE, "parameters: {max-num-seqs: 8}\n").expect("good").without_service();
    let nulls = read(COMPOSE, "image: null\nmodel: null\nparameters: {max-num-seqs: 8}\n");
    let nulls = nulls.expect("good").without_service();
    assert_eq!(plain.configurations[0].id, nulls.configurations[0].id);
    // As an earlier version computed it: stored runs are still recognised.
    assert_eq!(plain.configurations[0].id, "44bdb6da72d193b5");
}

#[test]
fn what_the_engine_can_do_nothing_with_is_an_error() {
    let simulated = "simulated: {model: Qwen/Qwen3-0.6B, gpu: rtx-4090}";
    let said = |engine: &str, body: &str| read(engine, body).expect_err("refused");
    let image = said(simulated, "image: [a, b]\n");
    assert!(image.contains("the engine `simulated` has no image"), "{image}");
    let variable = said("docker: {image: i}", "variables: {TAG: [a, b]}\n");
    assert!(variable.contains("`TAG` is a variable of a compose file"), "{variable}");
    assert!(variable.contains("belongs under `environment`"), "{variable}");
    let service = said(simulated, "include: [{name: a, service: x}]\n");
    assert!(service.contains("the engine `simulated` has no services"), "{service}");
    let file = said("docker: {image: i}", "include: [{name: a, service: x}]\n");
    assert!(file.contains("not its `compose` file"), "{file}");
    let flag = said(COMPOSE, "parameters: {image: [a, b], model: [c, d]}\n");
    assert!(flag.contains("`image` is an axis of its own"), "{flag}");
    assert!(flag.contains("to vary it, write `model` with a list"), "{flag}");
    let odd = said(COMPOSE, "image: [1, '', '-x', 'a b']\nmodel: [{a: 1}]\n");
    assert_eq!(odd.matches("\n  × ").count(), 5, "{odd}");
}

#[test]
fn an_image_that_no_registry_can_have_is_refused_wherever_it_stands() {
    let bad = ["a:1:2", "vllm/VLLM:1", "http://r/a:1", "r/a:", "r//a"];
    for name in bad {
        for (engine, body) in [
            (COMPOSE, format!("image: ['r/vllm:1', '{name}']\nparameters: {{max-num-seqs: 8}}\n")),
            (COMPOSE, format!("include:\n  - {{name: a}}\n  - {{name: b, image: '{name}'}}\n")),
            ("docker: {image: 'IMAGE'}", "parameters: {max-num-seqs: 8}\n".to_owned()),
        ] {
            let said = read(&engine.replace("IMAGE", name), &body).expect_err(name);
            assert!(said.contains("is no name of an image"), "{name}: {said}");
            assert!(said.contains("grid.yaml:"), "{name}: {said}");
        }
    }
    let good = format!("host:5000/a/b:tag@sha256:{:064x}", 1);
    let file = read(COMPOSE, &format!("image: ['r/vllm:1', '{good}']\n")).expect("a good grid");
    assert_eq!(file.configurations().len(), 2);
}

#[test]
fn a_row_s_name_is_never_taken_from_a_combination_in_silence() {
    let engine = "simulated: {model: Qwen/Qwen3-0.6B, gpu: rtx-4090}";
    let of = |row: &str| {
        let body = format!("parameters: {{max-num-seqs: [8, 16]}}\ninclude:\n  - {row}\n");
        let grid = read(engine, &body).expect("a good grid").without_service();
        let all: Vec<Vec<String>> =
            grid.configurations.iter().map(|it| it.names().map(str::to_owned).collect()).collect();
        let said = grid.warnings.into_iter().find(|it| it.message.contains("name of this row"));
        (all, said)
    };
    let (all, said) = of("{name: seqs8, max-num-seqs: 32}");
    assert_eq!(all, [["seqs8-2"], ["seqs16"], ["seqs8"]]);
    let said = said.expect("it is said");
    assert_eq!(said.line, Some(5));
    assert!(said.message.contains("`seqs8`") && said.message.contains("`seqs8-2`"), "{said:?}");
    // The same request by its own name is that configuration.
    let (all, said) = of("{name: seqs8, max-num-seqs: 8}");
    assert_eq!(all, [["seqs8"], ["seqs16"]]);
    assert_eq!(said, None);
}

#[test]
fn models_that_differ_are_not_one_unit() {
    let engine = "simulated: {model: Qwen/Qwen3-0.6B, gpu: rtx-4090}";
    let of = |models: &str| {
        let file = read(engine, &format!("model: [{models}]\nparameters: {{max-num-seqs: 8}}\n"));
        let grid = file.expect("good").without_service();
        grid.warnings.iter().any(|it| it.message.contains("tokens are not one unit"))
    };
    assert!(of("Qwen/Qwen3-0.6B, Qwen/Qwen3-8B"));
    assert!(!of("Qwen/Qwen3-8B"));
}
