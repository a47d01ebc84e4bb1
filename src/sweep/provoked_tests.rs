//! Every failure class that the simulator can provoke, in real containers:
//! class, exit code, the lines that explain it, and whether it is tried again.
//! `cargo build && cargo test --lib provoked -- --ignored`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

use tokio_util::sync::CancellationToken;

use super::launch::boot;
use crate::engine::docker::DockerSpec;
use crate::engine::docker::tests::Place;
use crate::engine::log::EngineLog;
use crate::engine::readiness::Limits;
use crate::event::{Emit, NoticeKind};
use crate::history::launch::{FailureClass, LaunchFailure};
use crate::server::effective::FlagProof;
use crate::server::proof::ProcessReading;

/// How a provoked launch ended, and how often it was tried.
async fn provoked(
    arguments: &[&str],
    adjust: impl FnOnce(&mut DockerSpec),
) -> (LaunchFailure, usize) {
    let place = Place::new(&arguments.join("-").replace("--", "")).await;
    let engine = place.engine(arguments, adjust).await;
    let tries = Arc::new(Mutex::new(1));
    let counted = Arc::clone(&tries);
    let emit = Emit::to(move |notice| {
        if matches!(&notice.kind, NoticeKind::Warning(text) if text.ends_with("trying once more")) {
            *counted.lock().expect("no panic") += 1;
        }
    });
    let order = place.order(&json!({}));
    let launched = boot(&engine, &order, &emit, &CancellationToken::new()).await;
    let failure = launched.err().unwrap_or_else(|| panic!("{arguments:?} got ready"));
    assert!(place.containers().is_empty(), "{arguments:?} left something");
    let log = std::fs::read_to_string(order.folder.join(EngineLog::NAME)).expect("the log is kept");
    for line in &failure.log_lines {
        assert!(log.contains(line.trim()), "{arguments:?}: {line} is of the log");
    }
    let tries = *tries.lock().expect("no panic");
    (failure, tries)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker"]
async fn every_class_is_recognised_by_its_lines_and_tried_again_only_where_it_can_end_otherwise() {
    let cases = [
        (
            "kv_cache_too_small",
            FailureClass::KvCacheTooSmall,
            1,
            "estimated maximum model length",
            1,
        ),
        ("out_of_memory", FailureClass::OutOfMemory, 1, "CUDA out of memory", 1),
        ("memory_not_free", FailureClass::MemoryNotFree, 1, "Free memory on device", 2),
        ("gpu_memory_changed", FailureClass::GpuMemoryChanged, 1, "Error in memory profiling", 2),
        ("bad_flag", FailureClass::BadFlag, 2, "unrecognized arguments", 1),
        ("credentials", FailureClass::Credentials, 1, "gated repo", 1),
        ("no_gpu", FailureClass::NoGpu, 1, "Failed to infer device type", 1),
        ("compile_cache", FailureClass::CompileCache, 1, "corrupted compilation artifact", 2),
        ("shared_memory", FailureClass::SharedMemory, 1, "/dev/shm", 1),
        ("engine_died", FailureClass::EngineDied, 0, "EngineDeadError", 2),
        ("environment", FailureClass::Environment, 1, "No space left on device", 2),
        ("unknown", FailureClass::Unknown, 1, "AssertionError", 1),
        // Without the daemon's OOMKilled it is a kill like any other.
        ("host_memory", FailureClass::Killed, 137, "", 2),
        ("killed", FailureClass::Killed, 137, "", 2),
    ];
    for (word, class, code, line, tries) in cases {
        let (failure, tried) = provoked(&["--sim-fail", word], |_| {}).await;
        assert_eq!((failure.class, failure.exit_code), (class, Some(code)), "{word}: {failure:?}");
        let logged = failure.log_lines.iter().any(|it| it.contains(line));
        assert!(logged || line.is_empty(), "{word}: {:?}", failure.log_lines);
        assert_eq!(tried, tries, "{word}");
        assert_eq!(
            failure.estimated_max_model_len,
            (word == "kv_cache_too_small").then_some(15264),
            "{word}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker"]
async fn what_never_serves_is_given_up() {
    let limits = Limits {
        starting: Duration::from_secs(3),
        loading: Duration::from_secs(3),
        compiling: Duration::from_secs(3),
        serving: Duration::from_secs(3),
        proof: Duration::from_secs(3),
        ..Limits::default()
    };
    let cases: [(&[&str], FailureClass); 4] = [
        (&["--sim-silent-boot", "--sim-boot-seconds", "1e9"], FailureClass::Timeout),
        (&["--sim-unhealthy"], FailureClass::Timeout),
        (&["--sim-fail", "not_serving"], FailureClass::NotServing),
        (&["--sim-freeze-after", "0"], FailureClass::NotServing),
    ];
    for (arguments, class) in cases {
        let (failure, tried) = provoked(arguments, |spec| spec.limits = limits).await;
        assert_eq!((failure.class, tried), (class, 1), "{arguments:?}: {failure:?}");
        assert!(!failure.message.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker"]
async fn an_engine_that_dies_in_mid_stream_is_a_crash_with_its_lines() {
    let place = Place::new("dies").await;
    let mut engine = place.engine(&["--sim-die-after", "20"], |_| {}).await;
    let mut launched = place.launch(&mut engine, &json!({})).await.expect("ready");
    let url = format!("{}/v1/chat/completions", launched.server().endpoint.base_url);
    let body = json!({
        "model": "Qwen/Qwen3-0.6B", "max_tokens": 200, "ignore_eos": true, "stream": true,
        "messages": [{"role": "user", "content": "count"}],
    });
    let answer = std::process::Command::new("curl")
        .args([
            "-s",
            "-m",
            "20",
            "-H",
            "content-type: application/json",
            "-d",
            &body.to_string(),
            &url,
        ])
        .output()
        .expect("curl");
    let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert!(answer.contains("EngineCore encountered an issue"), "{answer}");
    let mut failure = None;
    for _ in 0..50 {
        failure = launched.check().await.err();
        if failure.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let failure = failure.expect("it exits");
    assert_eq!(
        (failure.class, failure.exit_code),
        (FailureClass::EngineDied, Some(0)),
        "{failure:?}"
    );
    assert!(failure.log_lines.iter().any(|line| line.contains("EngineCore")), "{failure:?}");
    launched.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker"]
async fn an_overridden_flag_and_the_container_s_own_record_are_seen() {
    let place = Place::new("override").await;
    let arguments = ["--sim-override", "enable-prefix-caching=false", "--api-key", "sk-hidden"];
    let mut engine = place.engine(&arguments, |_| {}).await;
    let requested = json!({"enable-prefix-caching": true, "max-num-seqs": 9});
    let launched = place.launch(&mut engine, &requested).await.expect("ready");
    let log = launched.log();
    let flags = place.order(&requested).configuration.flags;
    let mut values = crate::server::effective::of(launched.server(), Some(&log), &flags).await;
    assert_eq!(values["enable-prefix-caching"].proof, Some(FlagProof::Overridden), "{values:?}");
    let inspected = launched.inspected().expect("a container has a record").clone();
    crate::server::effective::add_inspected(&mut values, &inspected);
    assert_eq!(values["image"].value, Some(json!(engine.image().id)));
    assert_eq!(inspected.flags.get("max-num-seqs"), Some(&json!(9)));
    assert!(!format!("{inspected:?}").contains("sk-hidden"));
    launched.stop().await.expect("stopped");
}

/// The server is the container's first process, and programs are taken out of the image one
/// after another: the shell, then `cat`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker"]
async fn the_process_is_read_whatever_programs_the_image_has() {
    use crate::engine::compose::{Mount, MountKind};

    for missing in [&[][..], &["/bin/sh"], &["/bin/cat"], &["/bin/sh", "/bin/cat"]] {
        let place = Place::new(&format!("process{}", missing.join("").replace('/', "-"))).await;
        let take_out = |target: &&str| Mount {
            kind: MountKind::Bind,
            source: Some("/dev/null".to_owned()),
            target: (*target).to_owned(),
            read_only: true,
            create_host_path: false,
            ..Mount::default()
        };
        let mounts: Vec<Mount> = missing.iter().map(take_out).collect();
        let engine = place.engine(&["--api-key", "sk-hidden"], |spec| {
            spec.service.mounts.extend(mounts);
            spec.service.environment.insert("NCCL_P2P_DISABLE".to_owned(), "1".to_owned());
        });
        let requested = json!({"max-num-seqs": 9, "hf-overrides": {"a": "b c"}});
        let launched = place.launch(&mut engine.await, &requested).await.expect("ready");
        let reading = launched.process(&["NCCL_P2P_DISABLE".to_owned()]).await;
        assert!(!format!("{reading:?}").contains("sk-hidden"));
        let ProcessReading::Whole(process) = reading else { panic!("{missing:?}: {reading:?}") };
        assert_eq!(process.flags.get("max-num-seqs"), Some(&json!(9)), "{missing:?}");
        assert_eq!(process.flags.get("hf-overrides"), Some(&json!({"a": "b c"})), "{missing:?}");
        let environment = process.environment.unwrap_or_default();
        let set: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        // Where this test is not the container's user, the environment is not readable.
        assert!(set == [("NCCL_P2P_DISABLE", "1")] || !missing.is_empty(), "{missing:?}: {set:?}");
        launched.stop().await.expect("stopped");
    }
}
