//! Two models whose tokenizers differ, swept as an axis: tokens are not one unit, characters are.

use crate::site::{FLAGS, alone, another_model, docker, image};
use crate::support::{Workplace, numbers, texts};
use crate::sweep::described;

/// The second model comes by a bind mount, as most people have theirs.
fn compose() -> String {
    let (image, another) = (image(), another_model());
    format!(
        "services:
  vllm:
    image: {image}
    command: --model /models/tiny-qwen3 --served-model-name tiny {FLAGS} --max-num-seqs 4
    ports: ['127.0.0.1:8000:8000']
    volumes: ['{}:/models/bytes:ro']
",
        another.display()
    )
}

const GRID: &str = "
name: two-models
engine:
  docker: {compose: compose.yaml, service: vllm, gpus: false}
model: [/models/tiny-qwen3, /models/bytes]
gates: off
parameters: {max-num-seqs: 4}
workloads:
  load: {concurrency: [2], requests: 12, prompt-tokens: 200, output-tokens: 40}
objective: {maximize: load.output_characters_throughput}
strategy: {grid: {launches: 1, repeats: 2, seed: 1}}
";

#[test]
#[ignore = "needs vLLM"]
fn two_models_with_tokenizers_of_their_own_are_compared_by_characters() {
    let _turn = alone();
    let place = Workplace::new(GRID);
    std::fs::write(place.path("compose.yaml"), compose()).unwrap();
    let plan = place.run_on_docker(&["plan", "grid.yaml"]).expect(0);
    let said = format!("{}{}", plan.out, plan.err);
    assert!(said.contains("tokens are not one unit"), "{said}");

    place.run_on_docker(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    let results = place.results("run");
    let (models, statuses) = (texts(&results, "model"), texts(&results, "status"));
    let [tokens, characters] = ["output_throughput", "output_characters_throughput"]
        .map(|name| numbers(&results, &format!("load.{name}")));
    let of_each = ["/models/tiny-qwen3", "/models/bytes"].map(|model| {
        let of_it = |row: &usize| models[*row].as_deref() == Some(model);
        let ok = |row: &usize| statuses[*row].as_deref() == Some("ok");
        // A busy machine makes a repeat void, and it is measured once more.
        let rows: Vec<usize> = (0..results.height()).filter(of_it).filter(ok).collect();
        assert!(rows.len() >= 3, "a warm-up and two repeats of {model}: {}", described(&results));
        // The warm-up has no figures.
        let ratio = |row: &usize| Some(characters[*row]? / tokens[*row]?);
        let ratios: Vec<f64> = rows.iter().filter_map(ratio).collect();
        assert!(ratios.len() >= 2, "{tokens:?} {characters:?}");
        ratios.iter().sum::<f64>() / ratios.len() as f64
    });
    assert!(of_each[0] > 2.0 * of_each[1], "characters of a token, in each model: {of_each:?}");

    // A compile cache belongs to one model; the hub's and the kernels' are shared.
    let id = docker(&["image", "inspect", "-f", "{{.Id}}", &image()]);
    let short = &id["sha256:".len()..][..12];
    let caches = docker(&["volume", "ls", "-q", "--filter", "label=vllm-grid.cache"]);
    let caches: Vec<&str> = caches.lines().filter(|name| name.contains(short)).collect();
    assert_eq!(caches.len(), 4, "two of vLLM's, Triton's and FlashInfer's: {caches:?}");
    docker(&[&["volume", "rm"], &caches[..]].concat());
}
