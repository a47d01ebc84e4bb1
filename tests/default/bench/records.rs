//! Request records: every request that was sent is among them, also those that no
//! metric is of.

use serde_json::{Value, json};
use vllm_grid::server::Server;

use crate::bench::counting::{Behaviour, Counting};
use crate::bench::simulated::{measure, number, workload};

/// Measures a warm-up and a repeat; how many requests the server saw, and the
/// records of the repeats in order.
async fn sent(name: &str, options: Value) -> (usize, crate::bench::simulated::Measured) {
    let miss = std::time::Duration::from_millis(5);
    let counting = Counting::start(Behaviour { miss, ..Behaviour::default() }).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let before = counting.served();
    let measured = measure(&server, &[workload(name, &options)], 1).await;
    measured.ended.as_ref().expect("a living server");
    (counting.served() - before, measured)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_that_was_sent_is_in_the_records() {
    let search = |slo: f64| {
        json!({"find_max_rate": true, "requests": 6, "prompt_tokens": 64, "output_tokens": 4,
               "slo_e2el_ms": slo})
    };
    for (name, options) in [
        ("kv-cache", json!({"prefix_tokens": 600, "prompts": 2, "output_tokens": 2})),
        ("conversation", json!({"conversations": 1, "turns": 3, "output_tokens": 4})),
        ("reasoning", json!({"kinds": "logic", "instances": 1})),
        ("tool-calling", json!({"scenarios": "single", "instances": 1})),
        ("stability", json!({"prompt_tokens": [100, 300], "output_tokens": 4, "requests": 4})),
        ("long-context", json!({"contexts": 1000, "max_tokens": 64})),
        ("load", json!({"concurrency": 3, "requests": 9, "prompt_tokens": 64, "output_tokens": 4})),
        ("load", search(0.01)),
        ("load", search(60_000.0)),
    ] {
        let (seen, measured) = sent(name, options.clone()).await;
        let recorded: usize = measured.records.iter().map(|(_, records)| records.len()).sum();
        assert_eq!(recorded, seen, "{name} {options}");
        for (key, records) in &measured.records {
            let indices: Vec<usize> = records.iter().map(|record| record.index as usize).collect();
            assert_eq!(indices, (0..records.len()).collect::<Vec<_>>(), "{key:?}");
            let times = records.windows(2).map(|pair| (pair[0].scheduled_ns, pair[1].scheduled_ns));
            assert!(times.into_iter().all(|(early, late)| early <= late), "one clock: {key:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_calibration_is_named_so_and_part_of_no_figure() {
    for (name, counted, options) in [
        ("kv-cache", "requests", json!({"prefix_tokens": 600, "prompts": 2, "output_tokens": 2})),
        ("conversation", "requests", json!({"conversations": 1, "turns": 3, "output_tokens": 4})),
        ("stability", "requests", json!({"prompt_tokens": 100, "output_tokens": 4, "requests": 4})),
        ("long-context", "requests", json!({"contexts": 1000, "max_tokens": 64})),
        ("load", "completed", json!({"concurrency": 3, "requests": 9, "output_tokens": 4})),
    ] {
        let (_, measured) = sent(name, options).await;
        let of = |calibrations: bool| {
            let all = measured.records.iter().flat_map(|(_, records)| records);
            all.filter(|record| (record.purpose == "calibration") == calibrations).count()
        };
        assert!(of(true) > 0, "{name}");
        let reported =
            measured.measurements.iter().map(|row| number(row, counted).expect("counted"));
        let reported: f64 = reported.sum();
        assert_eq!(reported as usize, of(false), "{name}");
    }
}
