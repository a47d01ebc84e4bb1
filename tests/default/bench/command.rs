//! The workload `command`: an external benchmark, here a shell.

use serde_json::json;
use vllm_grid::metric::{Measurement, Status};
use vllm_grid::server::{ApiKey, Server};

use crate::bench::counting::{Behaviour, Counting};
use crate::bench::simulated::{measure, number, workload};
use crate::support::in_time;

async fn run(script: &str, timeout: f64) -> Measurement {
    let counting = Counting::start(Behaviour::default()).await;
    let mut server = Server::open(counting.endpoint(), None).await.expect("it serves");
    server.endpoint.api_key = Some(ApiKey::new("sk-secret"));
    let command = workload(
        "command",
        &json!({
            "command": ["sh", "-c", script, "benchmark", "{url}", "{model}", "{result}"],
            "timeout": timeout, "warmup": 0,
        }),
    );
    let mut measured = measure(&server, &[command], 1).await;
    measured.ended.expect("a living server");
    measured.measurements.remove(0)
}

#[tokio::test]
async fn its_figures_become_metrics_and_the_key_is_in_the_environment() {
    let row = run(
        r#"test "$OPENAI_API_KEY $VLLM_API_KEY" = "sk-secret sk-secret" || exit 3
           case "$1 $2" in "http://127.0.0.1:"*" m") ;; *) exit 4;; esac
           echo '{"duration": 2.5, "completed": 7, "mean_ttft_ms": 12.25, "request_goodput:": 1.5,
                  "p99_itl_ms": "high", "label": "x", "ttfts": [1, 2]}' > "$3""#,
        60.0,
    )
    .await;
    assert_eq!((row.status, row.reason.as_deref()), (Status::Ok, None));
    let value = |name| number(&row, name);
    assert_eq!((value("duration"), value("completed")), (Some(2.5), Some(7.0)));
    assert_eq!((value("mean_ttft_ms"), value("request_goodput")), (Some(12.25), Some(1.5)));
    assert_eq!((value("p99_itl_ms"), value("output_throughput")), (None, None));
    assert!(!row.metrics.contains_key("ttfts"));
}

#[tokio::test]
async fn the_fields_of_requests_reach_it_where_it_takes_them() {
    let counting = Counting::start(Behaviour::default()).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let script = r#"test "$1" = '{"temperature":0.7,"chat_template_kwargs":{"a":"b c"}}' || exit 3
                    echo '{"completed": 1}' > "$2""#;
    let command = workload(
        "command",
        &json!({
            "command": ["sh", "-c", script, "benchmark", "{request}", "{result}"], "warmup": 0,
            "request": {"temperature": 0.7, "top_k": null, "chat_template_kwargs": {"a": "b c"}},
        }),
    );
    let measured = measure(&server, &[command], 1).await;
    let row = &measured.measurements[0];
    assert_eq!((row.status, row.reason.as_deref()), (Status::Ok, None));
}

#[tokio::test]
async fn what_goes_wrong_is_reported_without_the_key() {
    let reason = async |script: &str, timeout| {
        let row = run(script, timeout).await;
        assert_eq!(row.status, Status::Failed);
        row.reason.expect("a reason")
    };
    let failed = reason("echo \"no $OPENAI_API_KEY here\" >&2; exit 7", 60.0).await;
    assert!(failed.contains("exit status: 7") && failed.contains("no *** here"), "{failed}");
    let pipe = in_time("nothing waits", reason("rm -f $3; mkfifo $3", 60.0)).await;
    assert!(pipe.contains("this is a pipe"), "{pipe}");
    assert!(reason("truncate -s 6G $3", 60.0).await.contains("larger than 256 MiB"));
    assert!(reason("exit 0", 60.0).await.contains("no result file"));
    assert!(reason("echo '[1]' > $3", 60.0).await.contains("no JSON object"));
    assert!(reason("echo '{\"a\": 1}' > $3", 60.0).await.contains("none of the figures"));
    let slow = in_time("its time is over", reason("sleep 600 & sleep 600", 0.3)).await;
    assert!(slow.contains("did not end within 0.3 s"), "{slow}");
}

#[tokio::test]
async fn requests_that_failed_are_no_measurement() {
    let of = async |result: &str| {
        let row = run(&format!("echo '{result}' > \"$3\""), 60.0).await;
        (row.status, row.reason.clone().unwrap_or_default(), row)
    };
    // As `vllm bench serve` leaves it, with exit code 0.
    let nothing = r#"{"completed": 0, "failed": 40, "output_throughput": 0.0, "mean_ttft_ms": 0.0,
                      "median_ttft_ms": 0.0, "std_ttft_ms": 0.0, "p99_ttft_ms": 0.0}"#;
    let (status, reason, row) = of(nothing).await;
    assert_eq!((status, &*reason), (Status::Failed, "no request completed"));
    assert_eq!((number(&row, "mean_ttft_ms"), number(&row, "completed")), (None, Some(0.0)));

    let some = |completed: u64, failed: u64| {
        format!(r#"{{"completed": {completed}, "failed": {failed}, "mean_ttft_ms": 5.5}}"#)
    };
    let (status, reason, _) = of(&some(4, 36)).await;
    assert_eq!((status, &*reason), (Status::Failed, "36 of 40 requests failed"));
    let (status, reason, _) = of(&some(199, 1)).await;
    assert_eq!((status, &*reason), (Status::Ok, "1 of 200 requests failed"));
    // Without `failed`, as older releases leave it.
    let (status, reason, _) = of(r#"{"completed": 4, "num_prompts": 40}"#).await;
    assert_eq!(status, Status::Ok);
    assert!(reason.starts_with("4 of 40 requests completed"), "{reason}");
    // Answers of one token have no time per further one, and one request no deviation.
    let one = r#"{"completed": 1, "mean_tpot_ms": 0, "median_tpot_ms": 0, "p99_tpot_ms": 0,
                  "mean_ttft_ms": 7.5, "std_ttft_ms": 0}"#;
    let (status, reason, row) = of(one).await;
    assert_eq!((status, &*reason), (Status::Ok, ""));
    assert_eq!((number(&row, "mean_tpot_ms"), number(&row, "p99_tpot_ms")), (None, None));
    assert_eq!((number(&row, "mean_ttft_ms"), number(&row, "std_ttft_ms")), (Some(7.5), Some(0.0)));
}

#[tokio::test]
async fn without_a_command_it_is_skipped() {
    let counting = Counting::start(Behaviour::default()).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let measured = measure(&server, &[workload("command", &json!({"warmup": 0}))], 1).await;
    assert_eq!(measured.measurements[0].status, Status::Skipped);
}
