//! The workload `stability` against the simulated server.

use crate::counting::{Behaviour, Counting};
use crate::simulated::{Simulated, measure, number, workload};
use serde_json::json;
use vllm_grid::metric::Status;
use vllm_grid::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn blocks_of_the_same_mix_and_what_they_tell() {
    let line = "Qwen/Qwen3-1.7B --max-model-len 2048 --sim-speed 20";
    let simulated = Simulated::start(line).await;
    let stability = workload(
        "stability",
        &json!({
            "prompt_tokens": [100, 400, 4000], "output_tokens": [2, 8],
        }),
    );
    let measured = measure(&simulated.server, &[stability], 1).await;
    measured.ended.expect("a living server");
    let [warmup, kept] = &measured.measurements[..] else { panic!("a warm-up and a repeat") };
    assert_eq!(number(warmup, "requests"), Some(4.0), "one block of what fits");
    assert_eq!(kept.status, Status::Ok);
    let reason = kept.reason.as_deref().expect("what is left out is said");
    assert!(reason.starts_with("2 lengths of the mix do not fit"), "{reason}");
    // 20 asked for: six blocks of four, so that both halves hold the same mix.
    assert_eq!(number(kept, "requests"), Some(24.0));
    assert_eq!(number(kept, "failure_rate"), Some(0.0));
    let bound = number(kept, "failure_rate_high").expect("told");
    assert!((bound - (1.0 - 0.05f64.powf(1.0 / 24.0))).abs() < 1e-6, "{bound}");
    let slope = |name: &str| number(kept, name).expect("told");
    assert!(slope("ttft_drift_per_request_low") < slope("ttft_drift_per_request"));
    assert!(slope("ttft_drift_per_request") < slope("ttft_drift_per_request_high"));
    assert!(slope("e2el_halves_ratio_low") < 3.0 && slope("e2el_halves_ratio_high") > 1.0 / 3.0);
    assert_eq!(number(kept, "restarts"), Some(0.0));
    let (_, records) = measured.records.last().expect("kept");
    let lengths = |records: &[vllm_grid::bench::record::RequestRecord]| {
        let mut lengths: Vec<String> = records.iter().map(|r| r.purpose.clone()).collect();
        lengths.sort_unstable();
        lengths
    };
    assert_eq!(lengths(&records[..12]), lengths(&records[12..]), "halves compare like with like");
}

#[tokio::test(flavor = "multi_thread")]
async fn some_failures_are_a_rate_and_many_are_a_failure() {
    let behaviour = Behaviour { refuse_after: Some(8), ..Behaviour::default() };
    let counting = Counting::start(behaviour).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let stability = workload(
        "stability",
        &json!({
            "prompt_tokens": 100, "output_tokens": 2, "warmup": 0,
        }),
    );
    let measured = measure(&server, &[stability], 1).await;
    let row = &measured.measurements[0];
    assert_eq!(row.status, Status::Failed);
    assert!(number(row, "failure_rate").expect("told") > 0.0);
    assert!(number(row, "requests").expect("told") < 20.0, "it does not go on for ever");
}

/// What voids other workloads is what this one is to find out.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_a_finding() {
    let restarted = Behaviour { restart_at: Some(14), ..Behaviour::default() };
    let one = async |behaviour: &Behaviour, name: &str, options: serde_json::Value| {
        let counting = Counting::start(behaviour.clone()).await;
        let server = Server::open(counting.endpoint(), None).await.expect("it serves");
        let mut measured = measure(&server, &[workload(name, &options)], 1).await;
        measured.ended.expect("a living server");
        measured.measurements.remove(0)
    };
    let stability = json!({"prompt_tokens": 100, "output_tokens": 2, "warmup": 0});
    let row = one(&restarted, "stability", stability.clone()).await;
    assert_eq!((row.status, number(&row, "restarts")), (Status::Ok, Some(1.0)));
    let reason = row.reason.as_deref().expect("said");
    assert_eq!(reason, "restarts of the server: 1; foreign traffic is not told across them");
    assert_eq!(number(&row, "requests"), Some(20.0), "it goes on");
    let failing = Behaviour { refuse_after: Some(16), ..restarted.clone() };
    let row = one(&failing, "stability", stability.clone()).await;
    assert_eq!((row.status, number(&row, "restarts")), (Status::Failed, Some(1.0)));
    assert!(
        row.reason.as_deref().expect("said").contains("restarts of the server: 1"),
        "{:?}",
        row.reason
    );
    let silent = Behaviour { metrics: false, ..restarted.clone() };
    let row = one(&silent, "stability", stability).await;
    assert_eq!((row.status, number(&row, "restarts")), (Status::Ok, None));
    let load = json!({"prompt_tokens": 100, "output_tokens": 2, "requests": 20, "warmup": 0});
    assert_eq!(one(&restarted, "load", load).await.status, Status::Void);
}
