//! Gates in whole sweeps on the simulated engine: what speed does not show ends a launch, takes
//! the rank, and stands in the journal with its evidence.

use serde_json::Value;

use crate::support::{Workplace, texts};

/// `fast` is the fastest of three, and has this fault.
fn grid(fault: &str, gates: &str) -> String {
    format!(
        "name: gates
engine:
  simulated: {{model: Qwen/Qwen3-0.6B, gpu: rtx-4090, speed: 20, faults: ['{fault}'], flags: {{max-model-len: 8192}}}}
baseline: plain
include:
  - {{name: plain, max-num-seqs: 4}}
  - {{name: fast, max-num-seqs: 64, max-num-batched-tokens: 1024}}
  - {{name: other, max-num-seqs: 8}}
workloads: {{load: {{concurrency: [16], prompt-tokens: 256, output-tokens: 32}}}}
objective: {{maximize: load.output_throughput}}
strategy: {{grid: {{launches: 1, repeats: 1, seed: 1}}}}
{gates}
"
    )
}

/// Rank, class and reason of a configuration.
fn row(place: &Workplace, name: &str) -> [String; 3] {
    let ranking = place.ranking("run");
    let names = texts(&ranking, "configuration");
    let at = names.iter().position(|it| it.as_deref() == Some(name)).unwrap();
    ["rank_label", "failure_class", "reason"]
        .map(|column| texts(&ranking, column)[at].clone().unwrap_or_default())
}

/// Reports of a gate, by configuration's launch.
fn reports(place: &Workplace, gate: &str) -> Vec<Value> {
    let entries = place.journal("run").into_iter().map(|line| line["line"]["entry"].clone());
    let of = |it: &Value| it["kind"] == "gate_finished" && it["report"]["gate"] == gate;
    entries.filter(of).map(|it| it["report"].clone()).collect()
}

#[test]
fn a_planted_loop_that_is_the_fastest_has_no_rank() {
    let fault = "fast spoil=loop,period=12,after=30,word=tides";
    let place = Workplace::alone(&grid(fault, ""));
    let ran = place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    let [rank, class, reason] = row(&place, "fast");
    assert_eq!((rank.as_str(), class.as_str()), ("", "gate_failed"), "{}", ran.out);
    assert!(reason.starts_with("the gate `canary` failed: english: "), "{reason}");
    assert!(ran.out.contains("failed a gate"), "{}", ran.out);
    assert!(!row(&place, "other")[0].is_empty(), "the others are ranked: {}", ran.out);
    let failed =
        reports(&place, "canary").into_iter().find(|it| it["verdict"] == "failed").unwrap();
    let evidence = failed["findings"][0]["evidence"].as_str().unwrap();
    assert!(evidence.len() > 40, "{failed}");
    assert_eq!(place.entries("run", "launch_ready"), 3);

    // Nobody looks, and it wins: that is said.
    let place = Workplace::new(&grid(fault, "gates: off"));
    let ran = place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    assert!(row(&place, "fast")[0].starts_with('1'), "{}", ran.out);
    assert!(ran.out.contains("Gates: off"), "{}", ran.out);
    assert!(reports(&place, "canary").is_empty());
}

#[test]
fn what_the_baseline_fails_on_fails_nobody_there() {
    // Of random weights: all loop on the same prompts.
    let all = "plain spoil=wall,character=newline,after=5', 'fast spoil=wall,character=newline,after=5', \
               'other spoil=wall,character=newline,after=5";
    let place = Workplace::alone(&grid(all, ""));
    let ran = place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    assert!(reports(&place, "canary").iter().all(|it| it["verdict"] == "passed"), "{}", ran.err);
    assert!(row(&place, "fast")[0].starts_with('1'), "{}", ran.out);
    let said = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        said.contains("fails `canary` on") && said.contains("nobody is judged there"),
        "{said}"
    );
}

/// A baseline whose engine died answered nothing: that excuses nobody.
#[test]
fn a_baseline_that_is_lost_in_a_gate_is_asked_again_and_excuses_nobody() {
    let faults = "plain@1 die-after=14 linger', 'fast spoil=loop,period=12,after=30,word=tides";
    let place = Workplace::alone(&grid(faults, ""));
    let ran = place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    assert_eq!(row(&place, "fast")[1], "gate_failed", "{}", ran.out);
    assert!(!row(&place, "plain")[0].is_empty(), "its second launch is measured: {}", ran.out);
    assert!(!ran.out.contains("the baseline plain fails"), "{}", ran.out);
    assert_eq!(place.entries("run", "launch_ready"), 4);
}

#[test]
fn a_prompt_beyond_a_chunk_or_a_block_is_to_be_survived_once_for_each_configuration() {
    let survival = "gates: {survival: {prompt-tokens: [2000]}}";
    for (fault, words) in [
        ("fast die-on-second-chunk", "prompt-tokens="),
        ("fast spoil=error,longer-than=1500", "HTTP 500"),
    ] {
        let place = Workplace::alone(&grid(fault, survival));
        let ran = place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
        let [rank, class, reason] = row(&place, "fast");
        assert_eq!((rank.as_str(), class.as_str()), ("", "gate_failed"), "{}", ran.out);
        assert!(
            reason.starts_with("the gate `survival` failed: ") && reason.contains(words),
            "{reason}"
        );
        let passed = reports(&place, "survival").into_iter().find(|it| it["verdict"] == "passed");
        let metrics = passed.expect("the others survive")["metrics"].clone();
        let metrics = metrics.as_object().expect("figures");
        assert!(
            metrics.keys().all(|it| it.starts_with("survival.prefill_throughput[")),
            "{metrics:?}"
        );
        assert!(metrics.len() >= 2, "2000 tokens, and near the limit: {metrics:?}");
    }
}

#[test]
fn gates_of_a_grid_are_read_with_their_faults() {
    let refused = |gates: &str| {
        let place = Workplace::new(&grid("fast die-after=1", gates));
        place.run(&["plan", "grid.yaml"]).expect(2).err
    };
    assert!(refused("gates: {canari: {}}").contains("did you mean `canary`?"));
    assert!(refused("gates: {survival: {prompt-tokens: []}}").contains("is empty"));
    assert!(refused("gates: {survival: {prompt-tokens: [0, -1, x]}}").contains("above zero"));
    assert!(
        refused("gates: {survival: {prompt-tokens: [200000000]}}").contains("at most 100 million")
    );
    let warns = |gates: &str| {
        let place = Workplace::new(&grid("fast die-after=1", gates));
        let ran = place.run(&["plan", "grid.yaml"]).expect(0);
        format!("{}{}", ran.out, ran.err).contains("`gates` has no `canary`")
    };
    assert!(warns("gates: {survival: {}}"));
    assert!(!warns("gates: {canary: off, survival: {}}") && !warns(""));
    assert!(refused("gates: on").contains("`gates` must be `off` or gates"));
    for good in ["gates: {survival: }", "gates: {canary: off, function: {}}", "gates: off"] {
        let place = Workplace::new(&grid("fast die-after=1", good));
        place.run(&["plan", "grid.yaml"]).expect(0);
    }
}

/// Only when many are in flight: the canary sends sixteen, the load more.
#[test]
fn what_loops_only_under_load_has_no_rank_however_fast_it_is() {
    let under_load = |faults: &str| {
        grid(faults, "")
            .replace("concurrency: [16]", "concurrency: [32], requests: 128")
            .replace("output-tokens: 32", "output-tokens: 64")
    };
    let place = Workplace::alone(&under_load("fast spoil=loop,period=6,after=4,in-flight=20"));
    let ran = place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    let said = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
    let [rank, class, reason] = row(&place, "fast");
    assert_eq!((rank.as_str(), class.as_str()), ("", ""), "no launch failed: {said}");
    assert!(reason.starts_with("answers loop under load: "), "{reason}");
    assert!(reason.contains("sampled of plain; the first: "), "{reason}");
    assert!(said.contains("answers loop under load"), "{said}");
    assert!(reports(&place, "canary").iter().all(|it| it["verdict"] == "passed"), "{}", ran.err);
    assert!(!row(&place, "other")[0].is_empty(), "the others are ranked: {said}");

    // Where the baseline loops too, it is only reported.
    let place = Workplace::alone(&under_load(
        "plain spoil=loop,period=6,after=4,in-flight=20', 'fast spoil=loop,period=6,after=4,in-flight=20",
    ));
    let ran = place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    assert!(!row(&place, "fast")[0].is_empty(), "{}", ran.out);
    let said = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("answers loop under load"), "{said}");
}

/// Seconds of a simulated card between two entries of a journal.
fn between(place: &Workplace, from: &str, to: &str) -> f64 {
    let at = |kind: &str| {
        let lines = place.journal("run");
        let line = lines.iter().find(|line| line["line"]["entry"]["kind"] == kind).unwrap();
        line["line"]["elapsed_ms"].as_f64().unwrap() / 1000.0
    };
    at(to) - at(from)
}

#[test]
fn the_canary_takes_fifteen_seconds_of_a_simulated_card_at_most() {
    let speed = 2.0;
    let grid = format!(
        "name: time
engine:
  simulated: {{model: Qwen/Qwen3-32B-AWQ, gpu: rtx-4090, gpus: 2, speed: {speed},
    flags: {{tensor-parallel-size: 2, quantization: awq_marlin, max-model-len: 8192}}}}
include: [{{name: plain, max-num-seqs: 32}}]
workloads: {{load: {{concurrency: [1], requests: 12, prompt-tokens: 64, output-tokens: 8, warmup: 0}}}}
objective: {{maximize: load.total_token_throughput}}
strategy: {{grid: {{launches: 1, repeats: 1, seed: 1}}}}
gates: {{canary: {{}}, function: {{}}}}
"
    );
    let place = Workplace::alone(&grid);
    let ran = place.run(&["sweep", "grid.yaml", "--output", "run"]);
    assert_eq!(place.entries("run", "launch_ready"), 1, "{}", ran.err);
    let seconds = between(&place, "launch_ready", "gate_finished") * speed;
    println!("canary: {seconds:.1} s on two simulated RTX 4090 with Qwen3-32B-AWQ");
    assert!((1.0..=15.0).contains(&seconds), "{seconds} s");

    // What it took is what the next plan says.
    let planned = place.run(&["plan", "grid.yaml"]).expect(0).out;
    assert!(planned.contains("canary in each launch: "), "{planned}");
    assert!(planned.contains("function in the first launch of each configuration: "), "{planned}");
}

#[test]
fn canary_and_function_are_under_three_percent_of_the_overnight_grid() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("grids/qwen3-overnight.yaml")).unwrap();
    let compose = root.join("compose/qwen3-32b-awq.yaml").display().to_string();
    let text = text.replace("../compose/qwen3-32b-awq.yaml", &compose);
    let place = Workplace::new(&format!("{text}\ngates: {{canary: {{}}, function: {{}}}}\n"));
    let args = ["plan", "grid.yaml", "--engine", "docker", "--format", "json"];
    let plan: Value = serde_json::from_str(&place.run(&args).expect(0).out).unwrap();
    let configurations = plan["configurations"].as_array().unwrap().len() as f64;
    for (side, launches) in [("low", "least_launches"), ("high", "launches")] {
        let launches = plan[launches].as_f64().unwrap();
        let gates = plan["gates"].as_array().unwrap().iter().map(|gate| {
            let times = if gate["each_launch"] == true { launches } else { configurations };
            gate[format!("{side}_seconds")].as_f64().unwrap() * times
        });
        let share = gates.sum::<f64>() / (plan["estimated_hours"][side].as_f64().unwrap() * 3600.0);
        println!("canary and function: {:.2} % of the night ({side})", share * 100.0);
        assert!(share > 0.0 && share < 0.03, "{side}: {share}");
    }
}
