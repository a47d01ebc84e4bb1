//! Fields of requests from outside: every request of every workload has them, and a server
//! that refuses one is quoted together with where it came from.

use serde_json::{Value, json};
use vllm_grid::metric::Status;
use vllm_grid::server::Server;
use vllm_grid::workload::{KINDS, Workload};

use crate::bench::counting::{Behaviour, Counting};
use crate::bench::simulated::{measure, workload};

const QUICK: std::time::Duration = std::time::Duration::from_millis(1);

/// Small runs of every workload that sends requests itself.
fn runs() -> Vec<(&'static str, Value)> {
    vec![
        ("kv-cache", json!({"prefix_tokens": 300, "prompts": 1, "output_tokens": 2})),
        ("conversation", json!({"conversations": 1, "turns": 2, "output_tokens": 2})),
        ("reasoning", json!({"kinds": "logic", "instances": 1, "max_tokens": 600})),
        ("tool-calling", json!({"scenarios": "named", "instances": 1})),
        ("stability", json!({"prompt_tokens": 100, "output_tokens": 2, "requests": 2})),
        (
            "load",
            json!({"concurrency": 2, "requests": 10, "prompt_tokens": 100,
                        "shared_prefix_tokens": 50, "output_tokens": 2}),
        ),
        ("load", json!({"rate": 100, "requests": 8, "prompt_tokens": 100, "output_tokens": 2})),
        ("long-context", json!({"contexts": 500, "depths": 0.5, "max_tokens": 16})),
    ]
}

/// What the server was sent for one workload.
async fn bodies(workload: Workload) -> Vec<Value> {
    let behaviour = Behaviour { miss: QUICK, hit: QUICK, ..Behaviour::default() };
    let counting = Counting::start(behaviour).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let name = workload.kind().name;
    measure(&server, &[workload], 1).await.ended.expect("a living server");
    let bodies = counting.bodies();
    assert!(!bodies.is_empty(), "{name}");
    bodies
}

#[tokio::test]
async fn every_request_of_every_workload_has_them() {
    let named: Vec<&str> = runs().iter().map(|(name, _)| *name).collect();
    for kind in KINDS.iter().filter(|kind| kind.name != "command") {
        assert!(named.contains(&kind.name), "{} is tried", kind.name);
    }
    for (name, mut options) in runs() {
        let plain = bodies(workload(name, &options)).await;
        assert!(plain.iter().all(|body| body.get("top_k").is_none()), "{name}");
        options["request"] = json!({
            "temperature": 0.7, "top_k": 20,
            "chat_template_kwargs": {"enable_thinking": true, "style": "short"},
        });
        for body in bodies(workload(name, &options)).await {
            assert_eq!(body["temperature"], json!(0.7), "{name}: {body}");
            assert_eq!(body["top_k"], json!(20), "{name}: {body}");
            let arguments = json!({"enable_thinking": true, "style": "short"});
            assert_eq!(body["chat_template_kwargs"], arguments, "{name}: {body}");
            // What measuring sets is as it was.
            assert_eq!((&body["model"], &body["stream"]), (&json!("m"), &json!(true)), "{name}");
            assert!(body["max_tokens"].is_u64(), "{name}: {body}");
        }
    }
}

#[tokio::test]
async fn null_takes_out_what_a_workload_sets() {
    let options = json!({"prefix_tokens": 300, "prompts": 1, "output_tokens": 2});
    let kv_cache = workload("kv-cache", &options);
    assert!(bodies(kv_cache).await.iter().all(|body| body["temperature"] == json!(0.0)));
    let mut without = options;
    without["request"] = json!({"temperature": null});
    let Value::Object(without) = without else { panic!("an object") };
    let kv_cache = Workload::from_options("kv-cache", &without).expect("good options");
    assert!(bodies(kv_cache).await.iter().all(|body| body.get("temperature").is_none()));
}

#[tokio::test]
async fn a_field_that_the_server_refuses_is_named_with_its_place() {
    let counting = Counting::start(Behaviour::default()).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    for (name, mut options) in runs() {
        options["request"] = json!({"temperature": -1, "top_k": 20});
        let measured = measure(&server, &[workload(name, &options)], 1).await;
        let failed = measured.measurements.last().expect("a repeat");
        assert_eq!(failed.status, Status::Failed, "{name}: {:?}", failed.reason);
        let reason = failed.reason.as_deref().unwrap_or_default();
        assert!(reason.contains("HTTP 400: temperature must be non-negative."), "{name}: {reason}");
        assert!(reason.contains("`temperature` is a field of `request`"), "{name}: {reason}");
    }
    // One that has no such fields is not blamed on them.
    let refusing = Behaviour { refuse_after: Some(1), ..Behaviour::default() };
    let counting = Counting::start(refusing).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let measured = measure(&server, &[workload("kv-cache", &json!({}))], 1).await;
    let reason = measured.measurements[0].reason.clone().unwrap_or_default();
    assert!(reason.ends_with("HTTP 400: no more"), "{reason}");
}
