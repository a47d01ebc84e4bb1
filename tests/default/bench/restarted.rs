//! A server that somebody restarts during a measurement, and that is back before anybody looks:
//! its counters tell, whenever they can be read again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use vllm_grid::bench::suite::{Bench, BenchError};
use vllm_grid::event::Emit;
use vllm_grid::metric::{Measurement, Status};
use vllm_grid::telemetry::{Telemetry, TelemetrySettings};

use crate::bench::scripted::{delta, server};
use crate::bench::simulated::{Kept, settings, workload};
use crate::support::in_time;

/// A server whose `/health` is always good.
#[derive(Debug, Default)]
struct Restarting {
    /// The stream that breaks off with the server, from 1; 0: none.
    breaks: usize,
    /// Looks at the counters that find it booting.
    boots_for: usize,
    /// What it had counted before it was started again, and counts from then on.
    counted: (usize, usize),
    streams: AtomicUsize,
    /// Looks since it was started again; 0: it was not.
    looks: AtomicUsize,
}

impl Restarting {
    fn restart(&self) {
        self.looks.store(1, Ordering::Relaxed);
    }
}

async fn answer(State(this): State<Arc<Restarting>>, request: Request) -> Response {
    let counters = |requests: usize| {
        format!("vllm:request_success_total {requests}\nvllm:prompt_tokens_total 9\n")
            .into_response()
    };
    match request.uri().path() {
        "/health" => StatusCode::OK.into_response(),
        "/metrics" if this.looks.load(Ordering::Relaxed) == 0 => counters(this.counted.0),
        "/metrics" if this.looks.fetch_add(1, Ordering::Relaxed) > this.boots_for => {
            counters(this.counted.1)
        }
        "/v1/chat/completions" => {
            let number = this.streams.fetch_add(1, Ordering::Relaxed) + 1;
            let token = delta(r#"{"content":"a"}"#);
            if number == this.breaks {
                this.restart();
                let broken = [Ok(token), Err(std::io::Error::other("it ends"))];
                let body = Body::from_stream(futures_util::stream::iter(broken));
                return ([("content-type", "text/event-stream")], body).into_response();
            }
            let usage =
                json!({"choices": [], "usage": {"prompt_tokens": 512, "completion_tokens": 1}});
            let text = format!("{token}data: {usage}\n\ndata: [DONE]\n\n");
            ([("content-type", "text/event-stream")], text).into_response()
        }
        _ => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// Two repeats; what is done between them.
async fn repeats(
    restarting: Restarting,
    options: &serde_json::Value,
    between: impl Fn(&Restarting),
) -> Vec<Result<Measurement, BenchError>> {
    let restarting = Arc::new(restarting);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = server(&format!("http://{}", listener.local_addr().expect("bound")));
    let router = Router::new().fallback(answer).with_state(Arc::clone(&restarting));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let (kept, emit, cancel) = (Kept::default(), Emit::nowhere(), CancellationToken::new());
    let bench = Bench::new(&server, &kept, &emit, &cancel, settings()).await.expect("an address");
    let none = TelemetrySettings { gpus: false, only: None, probe: None, in_process: true };
    let mut bench = bench.with_telemetry(Telemetry::start(&none)).accepting_late_client();
    let workload = workload("load", options);
    let case = workload.cases().remove(0);
    let first = in_time("a repeat", bench.repeat(&workload, &case, 1)).await;
    between(&restarting);
    vec![first, in_time("a repeat", bench.repeat(&workload, &case, 2)).await]
}

fn died(ended: &Result<Measurement, BenchError>) -> (&Measurement, &str) {
    match ended {
        Err(BenchError::EngineDied { measurement, message }) => (measurement, message),
        other => panic!("{other:?}"),
    }
}

fn load() -> serde_json::Value {
    json!({"prompt_tokens": 512, "output_tokens": 1, "concurrency": 1, "requests": 12, "warmup": 0})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_with_a_server_that_is_soon_back_is_its_end() {
    for (breaks, boots_for, counted) in [
        // The first request alone, and the counters are read when it still boots.
        (1, 1, (5, 0)),
        (1, 0, (5, 0)),
        // It has counted more since than before, but not all that it answered.
        (8, 0, (2, 4)),
    ] {
        let restarting = Restarting { breaks, boots_for, counted, ..Restarting::default() };
        let ended = repeats(restarting, &load(), |_| {}).await;
        let (row, message) = died(&ended[0]);
        assert_eq!(row.status, Status::Failed, "{row:?}");
        // The head may be lost with it.
        assert!(message.contains(" broke "), "{message}");
        assert!(message.ends_with("; the server was restarted, as its counters show"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_alone_is_no_end() {
    let restarting = Restarting { breaks: 8, counted: (2, 99), ..Restarting::default() };
    let ended = repeats(restarting, &load(), |_| {}).await;
    let Ok(row) = &ended[0] else { panic!("{ended:?}") };
    assert_eq!(row.status, Status::Failed, "{row:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_restarted_between_two_repeats_is_not_the_one_that_was_launched() {
    let restarting = Restarting { counted: (50, 0), ..Restarting::default() };
    let ended = repeats(restarting, &load(), Restarting::restart).await;
    assert!(ended[0].is_ok(), "{ended:?}");
    let (row, message) = died(&ended[1]);
    assert_eq!((row.status, row.repeat), (Status::Failed, 2));
    assert_eq!(message, "the server was restarted before the repeat, as its counters show");
}
