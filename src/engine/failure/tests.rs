use super::*;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/vllm-logs/");

fn recorded(name: &str) -> String {
    std::fs::read_to_string(format!("{FIXTURES}{name}")).expect("the fixture is in the repository")
}

fn exit(code: i32) -> Exit {
    Exit { code: Some(code), oom_killed: false }
}

#[test]
fn recorded_failures_have_their_class() {
    let cases = [
        ("fail-bad-choice.log", 1, FailureClass::BadFlag, Some("tool-call-parser")),
        ("fail-bad-type.log", 2, FailureClass::BadFlag, Some("max-num-seqs")),
        ("fail-gpu-util.log", 1, FailureClass::BadFlag, Some("gpu-memory-utilization")),
        ("fail-unknown-flag.log", 2, FailureClass::BadFlag, Some("no-such-flag")),
        ("docker-nochunk-smallbatch.log", 1, FailureClass::BadFlag, Some("max-num-batched-tokens")),
        ("fail-kv-too-small.log", 1, FailureClass::KvCacheTooSmall, None),
        ("gpus-all-error.txt", 128, FailureClass::NoGpu, None),
    ];
    for (name, code, class, flag) in cases {
        let classified = classify(&recorded(name), exit(code), false);
        assert_eq!(classified.class, class, "{name}: {:?}", classified.lines);
        assert_eq!(classified.flag.as_deref(), flag, "{name}");
        assert!(!classified.lines.is_empty(), "{name}");
    }
}

#[test]
fn a_context_that_does_not_fit_keeps_the_estimate() {
    let classified = classify(&recorded("fail-kv-too-small.log"), exit(1), false);
    assert_eq!(classified.estimated_max_model_len, Some(7680));
    assert_eq!(classified.lines.len(), 1, "said twice, kept once: {:?}", classified.lines);
    assert!(classified.lines[0].starts_with("ValueError: To serve at least one request"));

    let old = "ValueError: The model's max seq len (131072) is larger than the maximum number of \
               tokens that can be stored in KV cache (24576). Try increasing";
    let classified = classify(old, exit(1), false);
    assert_eq!(classified.class, FailureClass::KvCacheTooSmall);
    assert_eq!(classified.estimated_max_model_len, Some(24576));
}

#[test]
fn a_dead_engine_exits_with_zero_and_is_a_crash() {
    for name in ["kill-enginecore.log", "kill-worker.log"] {
        let classified = classify(&recorded(name), exit(0), true);
        assert_eq!(classified.class, FailureClass::EngineDied, "{name}");
        assert!(classified.lines[0].contains("EngineCore encountered an issue"), "{name}");
    }
    // Nothing in the log says why, and yet nobody asked it to end.
    let started = recorded("startup.log");
    assert_eq!(classify(&started, exit(0), true).class, FailureClass::EngineDied);
    assert_eq!(classify("", exit(0), false).class, FailureClass::EngineDied);
}

#[test]
fn the_kernel_s_word_on_memory_stands_above_the_log() {
    let oom = Exit { code: Some(137), oom_killed: true };
    let classified = classify(&recorded("docker-oom.log"), oom, false);
    assert_eq!(classified.class, FailureClass::HostMemory);
    assert!(!classified.lines.is_empty());
    // A worker was killed, the engine noticed, the API server left with 0.
    let worker = Exit { code: Some(0), oom_killed: true };
    assert_eq!(
        classify(&recorded("kill-worker.log"), worker, true).class,
        FailureClass::HostMemory
    );
    assert_eq!(classify(&recorded("docker-oom.log"), exit(137), false).class, FailureClass::Killed);
}

#[test]
fn lines_of_the_table_have_their_class() {
    let cases = [
        (
            "ValueError: No available memory for the cache blocks. Try increasing",
            FailureClass::KvCacheTooSmall,
        ),
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.32 GiB.",
            FailureClass::OutOfMemory,
        ),
        (
            "RuntimeError: CUDA out of memory occurred when warming up sampler with 1024 dummy requests",
            FailureClass::OutOfMemory,
        ),
        (
            "ValueError: Free memory on device (3.2/23.4 GiB) on startup is less than desired GPU memory utilization (0.9, 21.1 GiB).",
            FailureClass::MemoryNotFree,
        ),
        ("huggingface_hub.errors.GatedRepoError: 403 Client Error.", FailureClass::Credentials),
        (
            "requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: https://huggingface.co/api/models/x",
            FailureClass::Credentials,
        ),
        (
            "RuntimeError: Failed to infer device type, please set the environment variable",
            FailureClass::NoGpu,
        ),
        (
            "RuntimeError: corrupted compilation artifact at /root/.cache/vllm",
            FailureClass::CompileCache,
        ),
        (
            "RuntimeError: /dev/shm is too small: 160 MiB required, 64 MiB free",
            FailureClass::SharedMemory,
        ),
        (
            "OSError: [Errno 98] error while attempting to bind on address ('0.0.0.0', 8000): address already in use",
            FailureClass::Environment,
        ),
    ];
    for (line, class) in cases {
        let log = format!(
            "(EngineCore pid=7) INFO 11-24 06:18:47 [core.py:133] Initializing\n\
             (EngineCore pid=7) ERROR 11-24 06:18:47 [core.py:1510] {line}\n\
             RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {{'EngineCore': 1}}\n"
        );
        let classified = classify(&log, exit(1), false);
        assert_eq!(classified.class, class, "{line}");
        assert_eq!(classified.lines, [line], "the prefix is removed");
    }
}

#[test]
fn what_points_at_a_cause_is_not_the_cause() {
    let log = "starting\nSomeNewError: flux capacitor is missing\nfurther\n\
               RuntimeError: Engine core initialization failed. See root cause above.\n";
    let classified = classify(log, exit(1), false);
    assert_eq!(classified.class, FailureClass::Unknown);
    assert!(classified.lines.iter().any(|line| line.contains("flux capacitor")));
}

#[test]
fn an_unknown_failure_shows_its_errors_and_its_end() {
    use std::fmt::Write as _;

    let mut log = "SomeNewError: flux capacitor is missing\n".to_owned();
    for line in 0..100 {
        writeln!(log, "line {line}").expect("a String takes it");
    }
    let classified = classify(&log, exit(3), false);
    assert_eq!(classified.class, FailureClass::Unknown);
    assert_eq!(classified.lines[0], "SomeNewError: flux capacitor is missing");
    assert_eq!(classified.lines[1], "line 88");
    assert_eq!(classified.lines.last().map(String::as_str), Some("line 99"));
}

#[test]
fn refused_requests_of_a_ready_server_are_not_its_failure() {
    let log = "INFO:     127.0.0.1:1 - \"GET /v1/models HTTP/1.1\" 401 Unauthorized\n\
               Input should be a valid integer [type=int_type, input_value='x', input_type=str]\n";
    assert_eq!(classify(log, exit(0), true).class, FailureClass::EngineDied);
    assert_eq!(classify(log, exit(137), true).class, FailureClass::Killed);
    assert_ne!(
        classify(log.lines().next().unwrap_or_default(), exit(1), false).class,
        FailureClass::Credentials
    );
}

#[test]
fn a_heartbeat_is_not_a_failure() {
    let log = "INFO 11-24 06:18:47 [shm_broadcast.py:1] No available shared memory broadcast block found in 60 seconds.\n";
    assert_eq!(classify(log, exit(1), false).class, FailureClass::Unknown);
}

#[test]
fn a_missing_command_is_the_environment() {
    assert_eq!(
        classify("sh: 1: vllm: not found", exit(127), false).class,
        FailureClass::Environment
    );
}

#[test]
fn secrets_are_replaced() {
    let mut lines = vec!["args: --api-key sk-123 and sk-123".to_owned(), "else".to_owned()];
    redact(&mut lines, &["sk-123", ""]);
    assert_eq!(lines, ["args: --api-key *** and ***", "else"]);
}
