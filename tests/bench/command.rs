//! The workload `command`: an external benchmark, here a shell.

use std::time::{Duration, Instant};

use serde_json::json;
use vllm_grid::metric::{Measurement, Status};
use vllm_grid::server::{ApiKey, Server};

use crate::counting::{Behaviour, Counting};
use crate::simulated::{measure, number, workload};

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
    let told = |name| number(&row, name);
    assert_eq!((told("duration"), told("completed")), (Some(2.5), Some(7.0)));
    assert_eq!((told("mean_ttft_ms"), told("request_goodput")), (Some(12.25), Some(1.5)));
    assert_eq!((told("p99_itl_ms"), told("output_throughput")), (None, None));
    assert!(!row.metrics.contains_key("ttfts"));
}

#[tokio::test]
async fn what_goes_wrong_is_told_without_the_key() {
    let reason = async |script: &str, timeout| {
        let row = run(script, timeout).await;
        assert_eq!(row.status, Status::Failed);
        row.reason.expect("a reason")
    };
    let failed = reason("echo \"no $OPENAI_API_KEY here\" >&2; exit 7", 60.0).await;
    assert!(failed.contains("exit status: 7") && failed.contains("no *** here"), "{failed}");
    assert!(reason("exit 0", 60.0).await.contains("no result file"));
    assert!(reason("echo '[1]' > $3", 60.0).await.contains("no JSON object"));
    assert!(reason("echo '{\"a\": 1}' > $3", 60.0).await.contains("none of the figures"));
    let began = Instant::now();
    let slow = reason("sleep 600 & sleep 600", 0.3).await;
    assert!(slow.contains("did not end within 0.3 s"), "{slow}");
    assert!(began.elapsed() < Duration::from_mins(1));
}

#[tokio::test]
async fn without_a_command_it_is_skipped() {
    let counting = Counting::start(Behaviour::default()).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let measured = measure(&server, &[workload("command", &json!({"warmup": 0}))], 1).await;
    assert_eq!(measured.measurements[0].status, Status::Skipped);
}
