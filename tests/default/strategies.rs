//! A sweep that chooses its launches itself, as a person has it before and during the night: a
//! grid that names `adaptive` or `model` is planned, swept, stopped and continued. How well the
//! strategies choose is not asked here.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Ran, Workplace, signal};

/// Four configurations, of which the strategy chooses.
fn grid(strategy: &str, speed: u32) -> String {
    format!(
        "
name: race
engine:
  simulated: {{model: Qwen/Qwen3-0.6B, gpu: rtx-4090, seed: 1, speed: {speed},
              flags: {{max-model-len: 4096}}}}
baseline: seqs8
parameters:
  max-num-seqs: [8, 16, 32, 64]
workloads:
  kv-cache: {{prefix-tokens: [512], prompts: 2, output-tokens: 2, warmup: 0}}
objective: {{minimize: kv_cache.ttft_resent_ms}}
strategy: {strategy}
"
    )
}

/// Where earlier runs are looked for.
const RUN: &str = "runs/one";

const ADAPTIVE: &str = "{adaptive: {max-launches: 12, repeats: 2, seed: 1}}";

fn launches(place: &Workplace) -> Vec<(u64, String)> {
    let entries = place.journal(RUN).into_iter().map(|it| it["line"]["entry"].clone());
    let started = entries.filter(|it| it["kind"] == "launch_started");
    let of = |it: Value| {
        let name = it["configuration"].as_str().unwrap().to_owned();
        (it["slot"].as_u64().unwrap(), name)
    };
    started.map(of).collect()
}

/// What `list` says of the only run.
fn extent(place: &Workplace) -> Value {
    let listed = place.run(&["list", RUN, "--format", "json"]).expect(0).out;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let run = &listed["runs"][0];
    if run["extent"].is_null() { run["shown"]["extent"].clone() } else { run["extent"].clone() }
}

/// The sweep has its manifest, and says that it lacks nothing.
fn assert_complete(place: &Workplace, ran: &Ran) {
    let extent = extent(place);
    assert_eq!(extent["state"], "complete", "{extent}");
    assert_eq!(extent["done"], extent["of"], "{extent}");
    assert_eq!(extent["of_least"], Value::Null, "{extent}");
    let table = place.run(&["list", RUN]).expect(0).out;
    assert!(table.contains("complete") && !table.contains(" of "), "{table}");
    assert!(!ran.out.contains("launches are over"), "{}", ran.out);
    let said = place.run(&["confirm", RUN, "--dry-run"]).out;
    assert!(!said.contains("not complete"), "{said}");
}

#[test]
fn a_sweep_with_adaptive_is_planned_and_runs_to_its_own_end() {
    let place = Workplace::new(&grid(ADAPTIVE, 400));
    let plan = place.run(&["plan", "grid.yaml"]).expect(0).out;
    assert!(plan.contains("> adaptive") && plan.contains("8 to 12 launches"), "{plan}");
    let ran = place.run(&["sweep", "grid.yaml", "--output", RUN]).expect(0);
    let launches = launches(&place);
    // Each configuration at least once, the baseline first, and never more than are allowed.
    let names: std::collections::BTreeSet<&str> =
        launches.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names.len(), 4, "{launches:?}");
    assert_eq!(launches[0].1, "seqs8");
    assert!(launches.len() <= 12, "{launches:?}");
    assert_complete(&place, &ran);
    let manifest = std::fs::read_to_string(place.path("runs/one/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let options = &manifest["strategy"]["adaptive"];
    assert_eq!((&options["max-launches"], &options["repeats"]), (&12.into(), &2.into()));
    // A complete one needs nothing.
    place.run(&["resume", RUN]).expect(0);
    assert_eq!(self::launches(&place), launches);
    // The next plan knows what its launches took, and how much repeats differed.
    let plan = place.run(&["plan", "grid.yaml"]).expect(0).out;
    assert!(plan.contains("time: as in earlier runs of this service"), "{plan}");
    let said = plan.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("(SD, as in earlier runs)"), "{plan}");
}

#[test]
fn a_stopped_race_says_how_far_it_is_and_continues_where_it_was() {
    let place = Workplace::new(&grid(ADAPTIVE, 60));
    let child = place.start(&["sweep", "grid.yaml", "--output", RUN]);
    place.wait_for(RUN, "launch_ended", 2);
    signal(&child, Signal::INT);
    let stopped = Ran::of(child.wait_with_output().unwrap());
    assert_eq!(stopped.code, Some(4), "{}", stopped.err);
    let before = extent(&place);
    assert_eq!(before["state"], "interrupted", "{before}");
    let done = before["done"].as_u64().unwrap();
    // At the least both blocks, at the most what the grid allows.
    assert_eq!((&before["of_least"], &before["of"]), (&8.into(), &12.into()), "{before}");
    let said = place.run(&["confirm", RUN, "--dry-run", "--configuration", "seqs64"]);
    let said = said.out + &said.err;
    assert!(said.contains(&format!("not complete ({done} of 8 to 12 launches)")), "{said}");

    // Another strategy is another sweep.
    let other = grid("{adaptive: {max-launches: 11, repeats: 2, seed: 1}}", 60);
    std::fs::write(place.path("grid.yaml"), other).unwrap();
    let refused = place.run(&["resume", RUN]).expect(2).err;
    assert!(refused.contains("grid.yaml"), "{refused}");
    std::fs::write(place.path("grid.yaml"), grid(ADAPTIVE, 60)).unwrap();

    let first = launches(&place);
    let ran = place.run(&["resume", RUN]).expect(0);
    let all = launches(&place);
    assert_eq!(all[..first.len()], first, "what was launched stays");
    let mut trials: Vec<u64> = all.iter().map(|(trial, _)| *trial).collect();
    trials.dedup();
    assert!(trials.is_sorted() && trials.len() <= 12, "{all:?}");
    assert_complete(&place, &ran);
}

#[test]
fn one_configuration_two_and_a_model_run_too() {
    let two = grid("adaptive", 400).replace("[8, 16, 32, 64]", "[8, 16]");
    let one = grid("adaptive", 400).replace("[8, 16, 32, 64]", "[8]");
    let model = grid("{model: {max-launches: 8, repeats: 1, predicted: true}}", 400);
    for (grid, least) in [(one, 1), (two, 2), (model, 1)] {
        let place = Workplace::new(&grid.replace("adaptive\n", "{adaptive: {repeats: 1}}\n"));
        place.run(&["plan", "grid.yaml"]).expect(0);
        let ran = place.run(&["sweep", "grid.yaml", "--output", RUN]);
        assert!(matches!(ran.code, Some(0 | 1)), "{}{}", ran.out, ran.err);
        let launches = launches(&place);
        assert!(launches.len() >= least, "{launches:?}");
        // Neighbours are never the same configuration where there are two.
        let alternate = launches.windows(2).all(|pair| pair[0].1 != pair[1].1);
        assert!(least != 2 || alternate, "{launches:?}");
        assert_eq!(extent(&place)["state"], "complete", "{launches:?}");
    }
}

/// Throughput under load by places in the batch.
fn loaded(engine: &str) -> String {
    format!(
        "
name: race
engine: {engine}
parameters:
  max-num-seqs: [2, 1, 8, 4]
workloads:
  load: {{concurrency: 8, requests: 24, prompt-tokens: 256, output-tokens: 32}}
objective: {{maximize: load.output_throughput}}
gates: off
strategy: {{model: {{max-launches: 8, repeats: 1, predicted: true}}}}
"
    )
}

#[test]
fn what_the_simulator_expects_is_said_kept_and_near_what_it_serves() {
    let engine = "{simulated: {model: Qwen/Qwen3-8B, gpu: rtx-4090, seed: 1, speed: 15,
                               flags: {max-model-len: 4096}}}";
    let place = Workplace::new(&loaded(engine));
    let plan = place.run(&["plan", "grid.yaml"]).expect(0).out;
    let plan = plan.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(plan.contains("predicted: the simulator of Qwen/Qwen3-8B on 1 x rtx-4090"), "{plan}");
    assert!(plan.contains("of 4 of 4 configurations") && !plan.contains("no effect"), "{plan}");
    let ran = place.run(&["sweep", "grid.yaml", "--output", RUN]);
    assert!(matches!(ran.code, Some(0 | 1)), "{}{}", ran.out, ran.err);
    let said = format!("{}{}", ran.out, ran.err);
    assert!(said.contains("predicted: the simulator of Qwen/Qwen3-8B"), "{said}");
    let manifest = std::fs::read_to_string(place.path("runs/one/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let expected = manifest["predicted"]["made"]["logarithms"].as_array().unwrap();
    // A block of all of them comes first.
    let measured: Vec<(String, f64)> = throughput(&place);
    let mut pairs: Vec<(f64, f64)> = Vec::new();
    for (configuration, expected) in
        manifest["configurations"].as_array().unwrap().iter().zip(expected)
    {
        let own = measured.iter().filter(|(name, _)| configuration["name"] == name.as_str());
        let values: Vec<f64> = own.map(|(_, value)| value.ln()).collect();
        assert!(!values.is_empty(), "{configuration} was not measured: {measured:?}");
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        pairs.push((expected.as_f64().unwrap(), mean));
    }
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert!(pairs.windows(2).all(|pair| pair[0].1 < pair[1].1), "another order: {pairs:?}");
    // Launches differ by 3 %, and a busy machine makes the client late.
    let near = |(expected, measured): &(f64, f64)| (measured - expected).abs() < 0.3;
    assert!(pairs.iter().all(near), "{pairs:?}");
}

/// Kept values of the objective by configuration.
fn throughput(place: &Workplace) -> Vec<(String, f64)> {
    let (mut running, mut values) = (String::new(), Vec::new());
    for line in place.journal(RUN) {
        let entry = &line["line"]["entry"];
        if entry["kind"] == "launch_started" {
            entry["configuration"].as_str().unwrap().clone_into(&mut running);
        }
        let measured = &entry["measurement"];
        let value = measured["metrics"]["output_throughput"].as_f64();
        values.extend(value.filter(|_| measured["repeat"] != 0).map(|it| (running.clone(), it)));
    }
    values
}

#[test]
fn where_nothing_is_predicted_the_plan_and_each_session_say_why() {
    let process = "{process: {command: [vllm, serve, meta-llama/Llama-3.1-8B]}}";
    let place = Workplace::new(&loaded(process));
    let plan = place.run(&["plan", "grid.yaml"]).expect(0).out;
    let plan = plan.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(plan.contains("`predicted: true` has no effect"), "{plan}");
    // The same for every configuration: one request at a time.
    let place =
        Workplace::new(&grid("{model: {max-launches: 8, repeats: 1, predicted: true}}", 400));
    let why = "has no effect, and the model begins without a prediction: the simulator expects \
               the same of every configuration";
    let plan = place.run(&["plan", "grid.yaml"]).expect(0).out;
    assert!(plan.split_whitespace().collect::<Vec<_>>().join(" ").contains(why), "{plan}");
    for arguments in [&["sweep", "grid.yaml", "--output", RUN][..], &["resume", RUN]] {
        let ran = place.run(arguments);
        assert!(ran.said().contains(why), "{arguments:?}: {}{}", ran.out, ran.err);
    }
}
