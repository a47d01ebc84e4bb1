//! Sweeps that launch vLLM itself, in containers of a compose service and as processes.

use std::path::Path;

use polars::prelude::DataFrame;

use crate::site::{ENVIRONMENT, FLAGS, alone, docker, image, model, programs};
use crate::support::{Ran, Workplace, numbers, texts};

const KEY: &str = "sk-of-the-compose-file";

/// A service as somebody with a GPU runs it, all but the image.
fn compose() -> String {
    format!(
        "services:
  vllm:
    image: {}
    command: --model /models/tiny-qwen3 --served-model-name tiny {FLAGS} --max_num_seqs=16
    environment:
      VLLM_API_KEY: {KEY}
    ipc: host
    restart: unless-stopped
    ports: ['127.0.0.1:8000:8000']
    deploy:
      resources:
        reservations:
          devices: [{{driver: nvidia, count: all, capabilities: [gpu]}}]
",
        image()
    )
}

const IN_CONTAINERS: &str = "
name: vllm-cpu
engine:
  docker: {compose: compose.yaml, service: vllm, gpus: false, introspect: true}
baseline: noprefix-seqs4
parameters:
  enable-prefix-caching: [true, false]
  max-num-seqs: [4, 8]
include:
  - {name: too_small, max-num-seqs: 4, enable-prefix-caching: true, kv-cache-memory-bytes: 2M}
workloads:
  kv-cache: {prefix-tokens: [4096], prompts: 2, output-tokens: 8}
objective: {minimize: kv_cache.ttft_resent_ms}
strategy: {grid: {launches: 1, repeats: 3, seed: 1}}
";

/// The rows of a configuration that were measured to be ranked.
fn kept(results: &DataFrame, configuration: &str) -> Vec<usize> {
    let names = texts(results, "configuration");
    let repeats = numbers(results, "repeat");
    (0..results.height())
        .filter(|&row| names[row].as_deref() == Some(configuration))
        .filter(|&row| repeats[row].is_some_and(|repeat| repeat > 0.0))
        .collect()
}

/// A column's value in every one of these rows.
fn all(results: &DataFrame, rows: &[usize], column: &str) -> String {
    let values = texts(results, column);
    let mut values: Vec<String> =
        rows.iter().map(|&row| values[row].clone().unwrap_or_else(|| "null".to_owned())).collect();
    values.dedup();
    values.join(", ")
}

/// How every row ended, for whoever reads a failure of a specification.
pub(crate) fn described(results: &DataFrame) -> String {
    let columns = ["configuration", "repeat", "status", "reason"].map(|name| texts(results, name));
    let rows = (0..results.height()).map(|row| {
        columns.iter().map(|column| column[row].clone().unwrap_or_default()).collect::<Vec<_>>()
    });
    rows.map(|row| row.join(" | ")).collect::<Vec<_>>().join("\n")
}

pub(crate) fn everything_in(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            text += &everything_in(&path);
        } else {
            text += &String::from_utf8_lossy(&std::fs::read(path).unwrap());
        }
    }
    text
}

#[test]
#[ignore = "needs vLLM"]
fn a_compose_service_is_swept_and_what_vllm_counts_certifies_the_winner() {
    let _turn = alone();
    let place = Workplace::new(IN_CONTAINERS);
    std::fs::write(place.path("compose.yaml"), compose()).unwrap();
    let before = docker(&["ps", "-aq", "--filter", "label=vllm-grid.sweep"]);
    let ran = place.run_on_docker(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    assert!(!ran.out.contains("SIMULATED"), "{}", ran.out);

    caching_is_first_and_certified(&place, &ran);
    what_runs_is_shown(&place.results("run"));
    too_little_memory_is_a_row(&place.results("run"), &place.ranking("run"));
    nothing_is_left(&place, &before);
}

fn caching_is_first_and_certified(place: &Workplace, ran: &Ran) {
    let results = place.results("run");
    let ranking = place.ranking("run");
    let order: Vec<String> = texts(&ranking, "configuration").into_iter().flatten().collect();
    let (first, second) = (&order[..2], &order[2..4]);
    assert!(first.iter().all(|name| name.starts_with("prefix-seqs")), "{}", ran.out);
    assert!(second.iter().all(|name| name.starts_with("noprefix-seqs")), "{}", ran.out);
    let resent = numbers(&ranking, "kv_cache.ttft_resent_ms.geomean");
    assert!(resent[2].unwrap() > 2.0 * resent[1].unwrap(), "the cache shows: {resent:?}");

    assert_eq!(all(&results, &(0..results.height()).collect::<Vec<_>>(), "simulated"), "false");
    for name in ["prefix-seqs4", "prefix-seqs8"] {
        let rows = kept(&results, name);
        assert_eq!(
            (rows.len(), all(&results, &rows, "status").as_str()),
            (3, "ok"),
            "{}",
            described(&results)
        );
        let state = all(&results, &rows, "kv_cache.hit_state");
        assert_eq!(state, "certified", "{}", described(&results));
        for row in rows {
            let value = |column: &str| numbers(&results, column)[row];
            assert!(value("kv_cache.hit_tokens_share") > Some(0.9), "whole blocks of 128 tokens");
            assert!(value("kv_cache.ttft_hit_ms") < value("kv_cache.ttft_miss_ms"));
            assert!(value("kv_cache.prompt_tokens") >= Some(4096.0));
        }
    }
    for name in ["noprefix-seqs4", "noprefix-seqs8"] {
        let rows = kept(&results, name);
        assert_eq!(
            (rows.len(), all(&results, &rows, "status").as_str()),
            (3, "ok"),
            "{}",
            described(&results)
        );
        assert_eq!(all(&results, &rows, "kv_cache.hit_state"), "not_applicable");
        assert_eq!(all(&results, &rows, "kv_cache.ttft_hit_ms"), "null");
    }
}

fn what_runs_is_shown(results: &DataFrame) {
    for (name, caching, sequences) in [
        ("prefix-seqs4", "true", "4"),
        ("prefix-seqs8", "true", "8"),
        ("noprefix-seqs4", "false", "4"),
        ("noprefix-seqs8", "false", "8"),
    ] {
        let shown = |column: &str| all(results, &kept(results, name), column);
        assert_eq!(shown("effective.enable-prefix-caching"), caching, "{name}");
        assert_eq!(shown("verdict.enable-prefix-caching"), "honoured", "{name}");
        assert_eq!(shown("effective.max-num-seqs"), sequences, "{name}");
        assert_eq!(shown("verdict.max-num-seqs"), "honoured", "the development endpoints show it");
        assert_eq!(shown("effective.max-model-len"), "8192", "the service's own, shown");
        assert_eq!(shown("effective.block-size"), "128");
        assert_eq!(shown("effective.enforce-eager"), "true");
        assert_eq!(shown("effective.kv-cache-size-tokens"), "131072", "64 MiB of this model");
        assert!(shown("engine_version").starts_with("0.32.0"), "{name}");
        assert!(shown("image_id").starts_with("sha256:"), "{name}");
    }
}

fn too_little_memory_is_a_row(results: &DataFrame, ranking: &DataFrame) {
    let names = texts(results, "configuration");
    let rows: Vec<usize> =
        (0..results.height()).filter(|&row| names[row].as_deref() == Some("too_small")).collect();
    assert_eq!(rows.len(), 1, "launched once: it cannot go otherwise the next time");
    assert_eq!(all(results, &rows, "status"), "failed");
    assert_eq!(all(results, &rows, "failure_class"), "kv_cache_too_small");
    let estimated = numbers(results, "estimated_max_model_len")[rows[0]].unwrap();
    assert!((1024.0..8192.0).contains(&estimated), "2 MiB hold about 4096 tokens: {estimated}");
    let reason = all(results, &rows, "reason");
    assert!(reason.contains(&format!("max-model-len {estimated} would fit")), "{reason}");

    let place = texts(ranking, "configuration")
        .iter()
        .position(|name| name.as_deref() == Some("too_small"));
    assert_eq!(place, Some(4), "last");
    assert_eq!(texts(ranking, "failure_class")[4].as_deref(), Some("kv_cache_too_small"));
    assert_eq!(texts(ranking, "eligible")[4].as_deref(), Some("false"));
}

fn nothing_is_left(place: &Workplace, before: &str) {
    let ours = format!("label=vllm-grid.folder={}", place.path("run").display());
    assert_eq!(docker(&["ps", "-aq", "--filter", &ours]), "");
    for id in docker(&["ps", "-aq", "--filter", "label=vllm-grid.sweep"]).lines() {
        // Another sweep's may run beside this one on the same daemon.
        let label = "{{index .Config.Labels \"vllm-grid.folder\"}}";
        assert!(before.contains(id) || !docker(&["inspect", "-f", label, id]).is_empty(), "{id}");
    }
    // The caches are kept for the next sweep, labelled; vLLM's has the model in its name, too. A
    // test leaves none.
    let image = docker(&["image", "inspect", "-f", "{{.Id}}", &image()]);
    let image = &image["sha256:".len()..][..12];
    let caches = docker(&["volume", "ls", "-q", "--filter", "label=vllm-grid.cache"]);
    let caches: Vec<&str> = caches.lines().filter(|name| name.contains(image)).collect();
    assert_eq!(caches.len(), 3, "vLLM's, Triton's and FlashInfer's: {caches:?}");
    docker(&[&["volume", "rm"], &caches[..]].concat());

    assert!(!everything_in(&place.path("run")).contains(KEY), "no secret is written down");
}

#[test]
#[ignore = "needs vLLM"]
fn a_process_is_swept_the_same_way() {
    let _turn = alone();
    let environment: Vec<String> =
        ENVIRONMENT.iter().map(|(name, value)| format!("{name}: '{value}'")).collect();
    let grid = format!(
        "
name: vllm-process
engine:
  process: {{command: vllm serve {} --served-model-name tiny {FLAGS}}}
include:
  - {{name: one, enable-prefix-caching: true, max-num-seqs: 4, environment: {{{}}}}}
# Random weights answer what no gate lets pass: as the baseline they are reported.
baseline: one
gates: {{canary: , survival: {{prompt-tokens: [2000]}}, function: }}
workloads:
  kv-cache: {{prefix-tokens: [4096], prompts: 2, output-tokens: 8}}
objective: {{minimize: kv_cache.ttft_resent_ms}}
strategy: {{grid: {{launches: 1, repeats: 2, seed: 1}}}}
",
        model().display(),
        environment.join(", ")
    );
    let place = Workplace::new(&grid);
    let path = std::env::var("PATH").unwrap();
    let mut command = place.command(&["sweep", "grid.yaml", "--output", "run"]);
    command.env("PATH", format!("{}:{path}", programs().display()));
    Ran::of(command.output().unwrap()).expect(0);

    let results = place.results("run");
    let name = texts(&results, "configuration")[0].clone().unwrap();
    let rows = kept(&results, &name);
    let shown = |column: &str| all(&results, &rows, column);
    assert_eq!((rows.len(), shown("status").as_str()), (2, "ok"), "{}", described(&results));
    assert_eq!((shown("engine").as_str(), shown("simulated").as_str()), ("process", "false"));
    assert_eq!(shown("kv_cache.hit_state"), "certified", "{}", described(&results));
    assert_eq!(shown("verdict.enable-prefix-caching"), "honoured");
    assert_eq!(shown("effective.max-num-seqs"), "4");
    assert_eq!(
        shown("verdict.max-num-seqs"),
        "passed",
        "without dev mode only the process shows it"
    );
    assert_eq!(shown("effective.max-model-len"), "8192");
    assert_eq!(shown("environment.OMP_NUM_THREADS"), "1");
    assert_eq!(shown("verdict.environment.OMP_NUM_THREADS"), "passed");
    let entries = place.journal("run").into_iter().map(|line| line["line"]["entry"].clone());
    let gates: Vec<_> = entries.filter(|it| it["kind"] == "gate_finished").collect();
    let ended: Vec<_> = gates.iter().map(|it| it["report"]["verdict"].clone()).collect();
    assert_eq!(ended, ["passed", "passed", "passed"], "{gates:?}");
    let throughput = &gates[1]["report"]["metrics"];
    let measured = throughput.as_object().unwrap().values().all(|it| it.as_f64() > Some(0.0));
    assert!(measured && throughput.as_object().unwrap().len() >= 2, "{throughput}");
    let groups = std::fs::read_dir(place.path("run/launches")).unwrap().flatten();
    assert!(groups.into_iter().all(|launch| !launch.path().join("process.json").exists()));
}
