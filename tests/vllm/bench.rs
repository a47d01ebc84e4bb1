//! Every workload of `bench` against one running vLLM. The model's weights are
//! random: what it says is nonsense, how it streams and counts is not.

use serde_json::Value;

use crate::site::{ENVIRONMENT, alone, model, programs, running};
use crate::support::{Ran, Workplace};

/// `bench` of one workload: what it printed, and how it ended.
fn bench(workload: &str, settings: &[&str], repeats: u32) -> Ran {
    let (place, repeats) = (Workplace::new(""), repeats.to_string());
    let mut arguments = vec!["bench", &running().url, "--workload", workload];
    arguments.extend(["--repeats", &repeats, "--format", "json"]);
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    Ran::of(place.command(&arguments).envs(ENVIRONMENT).output().unwrap())
}

/// What it measured, and of whom.
fn measurements(ran: &Ran) -> Vec<Value> {
    let printed: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(printed["simulated"], false);
    assert_eq!(printed["server"]["max_model_len"], 8192);
    assert!(printed["server"]["version"].as_str().unwrap().starts_with("0.32.0"), "{printed}");
    let measurements = printed["measurements"].as_array().unwrap().clone();
    assert!(!measurements.is_empty());
    measurements
}

/// One repeat of every case, all of them valid.
fn measure(workload: &str, settings: &[&str]) -> Vec<Value> {
    let mut measurements = measurements_of(workload, settings);
    // vLLM takes both cores of a small machine: a client that came late is tried again.
    for _ in 0..3 {
        if !measurements.iter().any(came_late) {
            break;
        }
        measurements = measurements_of(workload, settings);
    }
    for measurement in &measurements {
        assert_eq!(measurement["status"], "ok", "{measurement}");
        assert_eq!(number(measurement, "failed"), 0.0);
    }
    measurements
}

fn measurements_of(workload: &str, settings: &[&str]) -> Vec<Value> {
    measurements(&bench(workload, settings, 1))
}

fn came_late(measurement: &Value) -> bool {
    let reason = measurement["reason"].as_str().unwrap_or_default();
    measurement["status"] == "void" && reason.contains("the client was the bottleneck")
}

fn number(measurement: &Value, name: &str) -> f64 {
    let value = measurement["metrics"][name].as_f64();
    value.unwrap_or_else(|| panic!("{name} was not measured: {measurement}"))
}

/// Somebody else asks in between: no figure of this workload counts.
fn assert_void_beside_others(workload: &str, settings: &[&str]) {
    let ran = {
        let _others = running().busy_with_others();
        bench(workload, settings, 1).expect(1)
    };
    for measurement in measurements(&ran) {
        assert_eq!(measurement["status"], "void", "{measurement}");
        let reason = measurement["reason"].as_str().unwrap();
        assert!(reason.contains("foreign traffic"), "{reason}");
    }
}

#[test]
#[ignore = "needs vLLM"]
fn kv_cache_hits_are_certified_by_vllm() {
    let _turn = alone();
    let settings = ["prefix_tokens=4096", "prompts=2", "output_tokens=8"];
    let [kept] = &measure("kv-cache", &settings)[..] else { panic!("one case") };
    assert_eq!(kept["metrics"]["hit_state"], "certified");
    assert!(number(kept, "ttft_miss_ms") > 2.0 * number(kept, "ttft_hit_ms"), "{kept}");
    assert!(number(kept, "ttft_independent_ms") > 2.0 * number(kept, "ttft_hit_ms"), "{kept}");
    assert_void_beside_others("kv-cache", &settings);
}

#[test]
#[ignore = "needs vLLM"]
fn load_tells_throughput_and_what_vllm_counts_of_it() {
    let _turn = alone();
    let settings =
        ["concurrency=1,4", "requests=12", "prompt_tokens=64", "output_tokens=16", "warmup=1"];
    let measurements = measure("load", &settings);
    assert_eq!(measurements.len(), 2, "a case each");
    for kept in &measurements {
        assert_eq!(number(kept, "completed"), 12.0);
        assert_eq!(number(kept, "total_output_tokens"), 12.0 * 16.0);
        assert!((64.0..80.0).contains(&number(kept, "prompt_tokens")), "as vLLM counts: {kept}");
        assert!(number(kept, "output_throughput") > 0.0);
        assert!(number(kept, "median_ttft_ms") < number(kept, "median_e2el_ms"));
        assert_eq!(number(kept, "preemptions"), 0.0);
        assert!(number(kept, "mean_queue_ms") >= 0.0);
    }
    assert_eq!(number(&measurements[1], "max_concurrent_requests"), 4.0);
    assert_void_beside_others("load", &settings);
}

/// A prompt without a chat template around it.
#[test]
#[ignore = "needs vLLM"]
fn plain_completions_are_measured_as_chats_are() {
    let _turn = alone();
    let settings = ["endpoint=completions", "prefix_tokens=2048", "prompts=2", "output_tokens=4"];
    let [kept] = &measure("kv-cache", &settings)[..] else { panic!("one case") };
    assert_eq!(kept["metrics"]["hit_state"], "certified");
    assert!((2048.0..2080.0).contains(&number(kept, "prompt_tokens")), "{kept}");
    let settings = [
        "endpoint=completions",
        "concurrency=2",
        "requests=6",
        "prompt_tokens=64",
        "output_tokens=8",
    ];
    let [kept] = &measure("load", &settings)[..] else { panic!("one case") };
    assert_eq!(number(kept, "completed"), 6.0);
    assert_eq!(number(kept, "total_output_tokens"), 6.0 * 8.0);
    let settings =
        ["endpoint=completions", "requests=4", "prompt_tokens=64,256", "output_tokens=8"];
    let [kept] = &measure("stability", &settings)[..] else { panic!("one case") };
    assert_eq!(number(kept, "requests"), 4.0);
}

#[test]
#[ignore = "needs vLLM"]
fn an_open_loop_begins_requests_on_its_own_schedule() {
    let _turn = alone();
    let settings = ["rate=4", "arrivals=constant", "requests=8", "prompt_tokens=512"];
    let ran = bench("load", &[&settings[..], &["output_tokens=8"]].concat(), 4);
    let measurements = measurements(&ran);
    // A busy machine may delay the client in all four: then nothing was measured, and it says so.
    ran.expect(i32::from(measurements.iter().all(came_late)));
    for kept in &measurements {
        assert_eq!(number(kept, "completed"), 8.0);
        assert!(number(kept, "duration") > 1.7, "seven gaps of 250 ms: {kept}");
        assert!(number(kept, "mean_scheduled_ttft_ms") >= number(kept, "mean_ttft_ms"));
        // A client that a busy machine delays is found by its own figures.
        let bound = (0.05 * number(kept, "median_ttft_ms")).max(1.0);
        let status = if number(kept, "max_send_lag_ms") > bound { "void" } else { "ok" };
        assert_eq!(kept["status"], status, "{kept}");
    }
}

#[test]
#[ignore = "needs vLLM"]
fn conversation_grows_by_what_vllm_answered_and_finds_it_in_the_cache() {
    let _turn = alone();
    let settings = ["conversations=1", "turns=5", "turn_tokens=300", "output_tokens=16"];
    let [kept] = &measure("conversation", &settings)[..] else { panic!("one case") };
    assert_eq!(number(kept, "turns"), 5.0);
    let grown = number(kept, "prompt_tokens_last") - number(kept, "prompt_tokens_first");
    // Four messages of about 300 tokens, and four answers.
    assert!((4.0 * 250.0..4.0 * 450.0).contains(&grown), "{grown}");
    assert_eq!(kept["metrics"]["cache_state"], "certified");
    assert!(number(kept, "cache_share") > 0.2, "whole blocks of the history: {kept}");
    assert!(number(kept, "ttft_slope_low") < number(kept, "ttft_slope_high"));
    assert_void_beside_others("conversation", &settings);
}

#[test]
#[ignore = "needs vLLM"]
fn reasoning_scores_nonsense_as_nonsense() {
    let _turn = alone();
    let settings = ["instances=2", "max_tokens=48"];
    let measurements = measure("reasoning", &settings);
    assert_eq!(measurements.len(), 3, "planning, logic, code review");
    for kept in &measurements {
        assert_eq!((number(kept, "asked"), number(kept, "accuracy")), (2.0, 0.0));
        assert_eq!(number(kept, "truncated"), 2.0, "it never ends by itself: {kept}");
        assert_eq!(number(kept, "mean_output_tokens"), 48.0);
        assert_eq!(kept["metrics"]["mean_answer_ttft_ms"], Value::Null, "it never came to answer");
    }
    assert_void_beside_others("reasoning", &settings);
}

#[test]
#[ignore = "needs vLLM"]
fn tool_calls_are_scored_by_their_values_and_not_by_their_form() {
    let _turn = alone();
    // A forced call cannot wait for the end of a thought that never ends.
    let settings = ["instances=2", "max_tokens=48", "thinking=false", "warmup=0"];
    let measurements = measure("tool-calling", &settings);
    assert_eq!(measurements.len(), 7, "a case for each scenario");
    for kept in &measurements {
        assert_eq!((number(kept, "asked"), number(kept, "calls_right")), (2.0, 0.0), "{kept}");
        let case = kept["case"].as_str().unwrap();
        if ["scenario=required", "scenario=named"].contains(&case) {
            assert!(number(kept, "calls_made") >= 1.0, "vLLM forces calls: {kept}");
        }
        // The half of the pair that needs no call can be right by chance.
        let most = if case == "scenario=balanced" { 0.5 } else { 0.0 };
        assert!(number(kept, "accuracy") <= most, "{kept}");
    }
    assert_void_beside_others("tool-calling", &settings);
}

#[test]
#[ignore = "needs vLLM"]
fn stability_tells_failures_and_drift_with_their_bounds() {
    let _turn = alone();
    let settings = ["prompt_tokens=128,512", "output_tokens=4,16", "requests=8"];
    let [kept] = &measure("stability", &settings)[..] else { panic!("one case") };
    assert_eq!((number(kept, "requests"), number(kept, "failure_rate")), (8.0, 0.0));
    assert!((0.2..0.4).contains(&number(kept, "failure_rate_high")), "eight show little: {kept}");
    let ratio = |end: &str| number(kept, &format!("e2el_halves_ratio{end}"));
    assert!(ratio("_low") < ratio("") && ratio("") < ratio("_high"));
    assert_void_beside_others("stability", &settings);
}

#[test]
#[ignore = "needs vLLM"]
fn long_contexts_are_read_as_far_as_the_context_allows() {
    let _turn = alone();
    let settings = ["contexts=1000,6000,10000", "depths=0.1,0.9", "max_tokens=16"];
    let measurements = measurements(&bench("long-context", &settings, 1).expect(0));
    let [short, long, too_long] = &measurements[..] else { panic!("three cases") };
    for (kept, tokens) in [(short, 1000.0), (long, 6000.0)] {
        assert_eq!((&kept["status"], number(kept, "accuracy")), (&Value::from("ok"), 0.0));
        assert_eq!((number(kept, "asked"), number(kept, "truncated")), (2.0, 2.0));
        let counted = number(kept, "prompt_tokens");
        assert!((counted / tokens - 1.0).abs() < 0.05, "as vLLM counts: {counted}");
    }
    assert!(number(long, "median_ttft_ms") > 2.0 * number(short, "median_ttft_ms"));
    assert_eq!(too_long["status"], "skipped");
    let reason = too_long["reason"].as_str().unwrap();
    assert!(reason.contains("do not fit into the context of 8192"), "{reason}");
    let fitting = ["contexts=1000", "depths=0.1,0.9", "max_tokens=16"];
    assert_void_beside_others("long-context", &fitting);
}

#[test]
#[ignore = "needs vLLM"]
fn the_figures_of_vllms_own_benchmark_become_metrics() {
    let _turn = alone();
    let vllm = format!(
        "command={},bench,serve,--base-url,{{url}},--model,{{model}},--tokenizer,{},\
         --dataset-name,random,--random-input-len,64,--random-output-len,8,--num-prompts,8,\
         --save-result,--result-filename,{{result}}",
        programs().join("vllm").display(),
        model().display()
    );
    let measurements = measurements(&bench("command", &[&vllm, "warmup=0"], 1).expect(0));
    let [kept] = &measurements[..] else { panic!("one case") };
    assert_eq!((&kept["status"], number(kept, "completed")), (&Value::from("ok"), 8.0), "{kept}");
    assert_eq!(number(kept, "total_output_tokens"), 64.0);
    assert!(number(kept, "mean_ttft_ms") > 0.0 && number(kept, "output_throughput") > 0.0);
}
