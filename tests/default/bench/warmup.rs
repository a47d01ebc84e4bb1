//! The warm-up of a load is as wide as what it warms up.

use std::time::Duration;

use crate::bench::counting::{Behaviour, Counting};
use crate::bench::simulated::{Measured, measure, number, workload};
use serde_json::{Value, json};
use vllm_grid::metric::Status;
use vllm_grid::server::Server;

/// A warm-up alone, on a server that takes long enough for every request that is due
/// to be under way.
async fn measured(options: Value, behaviour: Behaviour) -> Measured {
    let counting = Counting::start(behaviour).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let mut all = json!({"prompt_tokens": 64, "output_tokens": 4, "arrivals": "constant"});
    all.as_object_mut().expect("an object").extend(options.as_object().cloned().expect("too"));
    measure(&server, &[workload("load", &all)], 0).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_loop_warms_up_with_all_its_slots_at_once() {
    // The first request shows what a cold one takes, which no other one does.
    let cold = Behaviour {
        miss: Duration::from_millis(500),
        cold: Duration::from_millis(1500),
        ..Behaviour::default()
    };
    let measured = measured(json!({"concurrency": 24, "requests": 48}), cold).await;
    let [warmup] = &measured.measurements[..] else { panic!("a warm-up alone") };
    assert_eq!((warmup.status, number(warmup, "completed")), (Status::Ok, Some(24.0)));
    assert_eq!(number(warmup, "max_concurrent_requests"), Some(24.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_loop_warms_up_until_its_pipe_is_full() {
    let slow = Behaviour { miss: Duration::from_millis(500), ..Behaviour::default() };
    let measured = measured(json!({"rate": 100, "requests": 300}), slow).await;
    let [warmup] = &measured.measurements[..] else { panic!("a warm-up alone") };
    // 100 a second, each of half a second or more: 50 at once, in a warm-up of twice as many.
    let completed = number(warmup, "completed").expect("counted");
    assert!((100.0..=300.0).contains(&completed), "{completed}");
    let wide = number(warmup, "max_concurrent_requests").expect("counted");
    assert!(wide >= 45.0, "{wide} at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_warms_up_with_as_many_at_once_as_its_highest_rate_has() {
    let options = json!({"find_max_rate": true, "slo_e2el_ms": 60_000, "requests": 100});
    let slow = Behaviour { miss: Duration::from_millis(100), ..Behaviour::default() };
    let measured = measured(options, slow).await;
    let [warmup] = &measured.measurements[..] else { panic!("a warm-up alone") };
    assert_eq!((warmup.status, number(warmup, "completed")), (Status::Ok, Some(100.0)));
    assert_eq!(number(warmup, "max_rate"), None, "a warm-up finds nothing out");
    let wide = number(warmup, "max_concurrent_requests").expect("counted");
    assert!(wide > 64.0, "{wide} at once");
    // Ever higher rates before it, each under its own name, reported nowhere.
    let (_, records) = &measured.records[0];
    let mut purposes: Vec<&str> = records.iter().map(|record| record.purpose.as_str()).collect();
    purposes.dedup();
    let rates: Vec<f64> =
        purposes.iter().filter_map(|name| name.strip_prefix("rate=")?.parse().ok()).collect();
    let doubled = |pair: &[f64]| (pair[1] / pair[0] - 2.0).abs() < 1e-9;
    assert!(rates.len() >= 4 && rates.windows(2).all(doubled), "{rates:?}");
    assert_eq!(purposes.last(), Some(&"burst"));
}
