use super::*;
use crate::grid::{GridFile, ReadOptions};
use crate::machine::Gpu;

const SIMULATED: &str =
    "{simulated: {model: Qwen/Qwen3-8B, gpu: rtx-4090, flags: {max-model-len: 8192}}}";

/// A grid of an engine block, workloads, an objective and parameters.
fn grid(engine: &str, workloads: &str, objective: &str, axes: &str) -> Grid {
    let text = format!(
        "name: p\nengine: {engine}\nworkloads: {workloads}\nobjective: {objective}\n\
         strategy: {{model: {{predicted: true}}}}\nparameters: {axes}\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grid.yaml");
    std::fs::write(&path, text).unwrap();
    let file = GridFile::read(&path, &ReadOptions::default());
    file.unwrap_or_else(|errors| panic!("{errors:?}")).without_service()
}

/// Values by configuration.
fn values(grid: &Grid) -> Vec<f64> {
    match of_grid(grid, None) {
        Prediction::Made { logarithms, .. } => logarithms.iter().map(|it| it.exp()).collect(),
        Prediction::Missing { why } => panic!("{why}"),
    }
}

fn why(grid: &Grid, machine: Option<&Machine>) -> String {
    match of_grid(grid, machine) {
        Prediction::Missing { why } => why,
        made @ Prediction::Made { .. } => panic!("{made:?}"),
    }
}

#[test]
fn more_places_mean_more_throughput_until_all_requests_have_one() {
    let load = "{load: {concurrency: 16, prompt-tokens: 300, output-tokens: 64}}";
    let objective = "{maximize: load.output_throughput}";
    let grid = grid(SIMULATED, load, objective, "{max-num-seqs: [2, 8, 16, 64]}");
    let values = values(&grid);
    assert!(values[0] < 0.5 * values[1] && values[1] < 0.9 * values[2], "{values:?}");
    assert!((values[2] / values[3] - 1.0).abs() < 1e-9, "{values:?}");
    let made = of_grid(&grid, None);
    let Prediction::Made { by, .. } = &made else { panic!() };
    assert!(by.starts_with("the simulator of Qwen/Qwen3-8B on 1 x rtx-4090 expects "), "{by}");
    assert!(by.ends_with(" as load.output_throughput of 4 of 4 configurations"), "{by}");
    // As the manifest keeps it.
    let text = serde_json::to_string(&made).unwrap();
    assert_eq!(serde_json::from_str::<Prediction>(&text).unwrap(), made);
}

#[test]
fn what_does_not_start_is_neither_good_nor_bad() {
    let cache = "{kv-cache: {prefix-tokens: 4096}}";
    let axes = "{kv-cache-dtype: [auto, fp8], gpu-memory-utilization: [0.5, 0.9]}";
    let grid = grid(SIMULATED, cache, "{minimize: kv-cache.tpot_ms}", axes);
    let values = values(&grid);
    let Prediction::Made { by, .. } = of_grid(&grid, None) else { panic!() };
    assert!(by.ends_with("2 of 4 configurations"), "{by}");
    let starts = |it: &crate::configuration::Configuration| {
        it.flags.get("gpu-memory-utilization") == Some(&0.9.into())
    };
    let (known, others): (Vec<_>, Vec<_>) =
        grid.configurations.iter().zip(&values).partition(|(it, _)| starts(it));
    let mean = (known[0].1 * known[1].1).sqrt();
    assert_eq!((known.len(), others.len()), (2, 2));
    assert!(others.iter().all(|(_, it)| (*it / mean - 1.0).abs() < 1e-9), "{values:?}");
}

#[test]
fn a_cache_is_worth_what_is_sent_again() {
    let cache = "{kv-cache: {prefix-tokens: 4096}}";
    let axes = "{enable-prefix-caching: [true, false]}";
    let resent = values(&grid(SIMULATED, cache, "{minimize: kv-cache.ttft_resent_ms}", axes));
    assert!(resent[1] > 5.0 * resent[0], "{resent:?}");
    let turns = "{conversation: {turns: 6, turn-tokens: 600}}";
    let last = values(&grid(SIMULATED, turns, "{minimize: conversation.ttft_last_ms}", axes));
    assert!(last[1] > 2.0 * last[0], "{last:?}");
}

#[test]
fn a_faster_simulation_is_measured_by_a_clock_that_is_not() {
    let axes = "{max-num-seqs: [2, 64]}";
    let fast = SIMULATED.replace("gpu:", "speed: 10, gpu:");
    let open = "{load: {rate: 20, output-tokens: 64}}";
    let slow_open = "{load: {rate: 2, output-tokens: 64}}";
    let ttft = |engine: &str, load: &str| {
        values(&grid(engine, load, "{minimize: load.median_e2el_ms}", axes))
    };
    for (fast, plain) in ttft(&fast, open).iter().zip(ttft(SIMULATED, slow_open)) {
        assert!((10.0 * fast / plain - 1.0).abs() < 1e-6, "{fast} {plain}");
    }
    let closed = "{load: {concurrency: 8, output-tokens: 64}}";
    let rate =
        |engine: &str| values(&grid(engine, closed, "{maximize: load.output_throughput}", axes));
    for (fast, plain) in rate(&fast).iter().zip(rate(SIMULATED)) {
        assert!((fast / plain / 10.0 - 1.0).abs() < 1e-6, "{fast} {plain}");
    }
}

#[test]
fn a_rate_within_an_slo_is_found() {
    let load = "{load: {find-max-rate: true, slo-ttft-ms: 400, output-tokens: 64}}";
    let objective = "{maximize: load.max_rate}";
    let values = values(&grid(SIMULATED, load, objective, "{max-num-seqs: [2, 64]}"));
    assert!(values[1] > 2.0 * values[0] && values[0] > 0.2, "{values:?}");
}

#[test]
fn what_is_not_known_is_said() {
    let load = "{load: {concurrency: 16}}";
    let (objective, axes) = ("{minimize: load.median_ttft_ms}", "{max-num-seqs: [2, 8]}");
    let own = |engine: &str| grid(engine, load, objective, axes);
    let process = |model: &str, more: &str| {
        own(&format!("{{process: {{command: [vllm, serve, {model}{more}]}}}}"))
    };
    let machine = |names: &[&str]| {
        let gpu = |name: &&str| Gpu { name: Some((*name).to_owned()), ..Gpu::default() };
        Machine { gpus: Some(names.iter().map(gpu).collect()), ..Machine::default() }
    };
    let ours = machine(&["NVIDIA GeForce RTX 4090"]);
    let plain = process("Qwen/Qwen3-8B", "");
    assert!(why(&plain, None).contains("not known here"));
    assert!(why(&plain, Some(&machine(&[]))).contains("no GPU"));
    let other = why(&plain, Some(&machine(&["NVIDIA RTX A6000"])));
    assert!(other.contains("NVIDIA RTX A6000") && other.contains("rtx-4090"), "{other}");
    let mixed = machine(&["NVIDIA GeForce RTX 4090", "NVIDIA A100-SXM4-80GB"]);
    assert!(why(&plain, Some(&mixed)).contains("several kinds"));
    let known = process("Qwen/Qwen3-8B", ", --max-model-len, '8192'");
    assert!(matches!(of_grid(&known, Some(&ours)), Prediction::Made { .. }));
    let large = why(&process("Qwen/Qwen3-14B", ""), Some(&ours));
    assert!(large.contains("to exit with 1: "), "{large}");
    let llama = process("meta-llama/Llama-3.1-8B", "");
    assert!(why(&llama, Some(&ours)).contains("no model `meta-llama/Llama-3.1-8B`"));
    let tools = grid(
        SIMULATED,
        "{tool-calling: {}}",
        "{maximize: 'tool-calling[scenario=single].accuracy'}",
        axes,
    );
    assert!(why(&tools, None).starts_with("tool_calling[scenario=single].accuracy is "));
    let same = grid(SIMULATED, load, objective, "{max-num-seqs: [32, 64]}");
    assert!(why(&same, None).contains("the same of every configuration"));
}
