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

/// The start of a log in which a failure of `lines` is printed by the engine's core.
fn printed(lines: &[&str]) -> String {
    let mut log =
        "(APIServer pid=1) INFO 11-20 02:10:08 [utils.py:1233] vLLM API server version 0.18.0\n"
            .to_owned();
    for line in lines {
        log += "(EngineCore_DP0 pid=301) ERROR 11-20 02:11:52 [core.py:880] ";
        log += line;
        log.push('\n');
    }
    log + "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore_DP0': 1}\n"
}

#[test]
fn other_releases_say_the_same_in_other_words() {
    use FailureClass::{
        BadFlag, Environment, GpuMemoryChanged, HostMemory, KvCacheTooSmall, NoGpu, OutOfMemory,
    };
    let cases = [
        (
            "ValueError: To serve at least one request with the models's max seq len (32768), (4.50 GiB KV cache is needed, which is larger than the available KV cache memory (2.91 GiB). Based on the available memory, the estimated maximum model length is 21184. Try",
            KvCacheTooSmall,
        ),
        (
            "ValueError: To serve at least one request with the model's max seq len (32768), 4.50 GiB KV cache is needed, which is larger than the available KV cache memory (2.91 GiB). Based on the available memory, Estimated maximum model length is 21,184.",
            KvCacheTooSmall,
        ),
        ("RuntimeError: CUDA error: out of memory", OutOfMemory),
        ("torch.AcceleratorError: CUDA error: out of memory", OutOfMemory),
        (
            "torch.cuda.OutOfMemoryError: HIP out of memory. Tried to allocate 2.00 GiB.",
            OutOfMemory,
        ),
        ("RuntimeError: HIP error: out of memory", OutOfMemory),
        (
            "RuntimeError: NCCL error: Failed to CUDA calloc async 608 bytes: out of memory",
            OutOfMemory,
        ),
        ("OSError: You are trying to access a gated repo.", FailureClass::Credentials),
        ("RuntimeError: CUDA driver error: out of memory", OutOfMemory),
        ("torch.distributed.DistBackendError: Cuda failure 2 'out of memory'", OutOfMemory),
        (
            "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            OutOfMemory,
        ),
        ("OSError: [Errno 12] Cannot allocate memory", HostMemory),
        (
            "RuntimeError: [enforce fail at alloc_cpu.cpp:114] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.",
            HostMemory,
        ),
        (
            "AssertionError: Error in memory profiling. Initial free memory 12.41 GiB, current free memory 17.03 GiB. This happens when other processes sharing the same container release GPU memory while vLLM is profiling during initialization.",
            GpuMemoryChanged,
        ),
        (
            "AssertionError: Error in memory profiling. Initial free memory 123456, current free memory 234567. This happens when the GPU memory was not properly cleaned up before initializing the vLLM instance.",
            GpuMemoryChanged,
        ),
        ("RuntimeError: No HIP GPUs are available", NoGpu),
        ("  Value error, Unknown quantization method: awk. Must be one of ['awq',", BadFlag),
        (
            "vllm: error: ambiguous option: --max-num could match --max-num-seqs, --max-num-batched-tokens",
            BadFlag,
        ),
        (
            "huggingface_hub.errors.LocalEntryNotFoundError: Cannot find the requested files in the disk cache and outgoing traffic has been disabled.",
            Environment,
        ),
    ];
    for (line, class) in cases {
        let classified = classify(&printed(&[line]), exit(1), false);
        assert_eq!(classified.class, class, "{line}");
        let estimate = line.contains("aximum model length").then_some(21184);
        assert_eq!(classified.estimated_max_model_len, estimate, "{line}");
        assert_eq!(classified.lines, [line], "the line explains it");
    }
    // Not every word of memory is a device's.
    let other = "INFO the request queue ran out of memory slots";
    assert_eq!(classify(other, exit(1), false).class, FailureClass::Unknown);
}

#[test]
fn colours_change_nothing() {
    let coloured = "\u{1b}[0;36m(APIServer pid=1)\u{1b}[0;0m pydantic_core._pydantic_core.ValidationError: 1 validation error for CacheConfig\n\
         \u{1b}[0;36m(APIServer pid=1)\u{1b}[0;0m cache_dtype\n\
         \u{1b}[0;36m(APIServer pid=1)\u{1b}[0;0m   Input should be 'auto' or 'fp8' [type=literal_error, input_value='fp8_inc', input_type=str]\n";
    let plain = clean::lines(coloured).into_owned();
    for log in [coloured, plain.as_str()] {
        let classified = classify(log, exit(1), false);
        assert_eq!(classified.class, FailureClass::BadFlag);
        assert_eq!(classified.flag.as_deref(), Some("kv-cache-dtype"));
        assert_eq!(classified.lines.len(), 3, "class, field, reason: {:?}", classified.lines);
        assert!(!classified.lines.concat().contains('\u{1b}'));
    }
    let core = "\u{1b}[0;36m(EngineCore_DP0 pid=301)\u{1b}[0;0m \u{1b}[31mERROR\u{1b}[0m \u{1b}[90m11-20 02:11:52\u{1b}[0m \u{1b}[90m[core.py:880]\u{1b}[0m RuntimeError: CUDA out of memory";
    let classified = classify(core, exit(1), false);
    assert_eq!(classified.lines, ["RuntimeError: CUDA out of memory"]);
}

#[test]
fn a_model_that_is_not_there_is_named() {
    let cases = [
        (
            "  Value error, Invalid repository ID or local directory specified: '/models/Qwen3-8B'.",
            "/models/Qwen3-8B",
        ),
        (
            "OSError: Incorrect path_or_model_id: '/models/q'. Please provide either the path to a local folder",
            "/models/q",
        ),
        (
            "huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '/m/a b'. Use `repo_type` argument if needed.",
            "/m/a b",
        ),
        (
            "OSError: /models/é does not appear to have a file named config.json. Checkout",
            "/models/é",
        ),
        ("ValueError: No supported config format found in /models/x.", "/models/x"),
        (
            "FileNotFoundError: [Errno 2] No such file or directory: '/models/y/config.json'",
            "/models/y",
        ),
        (
            "Repository Not Found for url: https://huggingface.co/api/models/a/b.",
            "https://huggingface.co/api/models/a/b",
        ),
        ("ValueError: No model weights found in: `/models/x`", "/models/x"),
        ("RuntimeError: Cannot find any model weights with `/models/x`", "/models/x"),
        (
            "OSError: a/b is not a local folder and is not a valid model identifier listed on 'https://huggingface.co/models'",
            "a/b",
        ),
    ];
    for (line, path) in cases {
        let failure = LaunchFailure::of_exit(&printed(&[line]), exit(1), false);
        assert_eq!(failure.class, FailureClass::Environment, "{line}");
        assert_eq!(failure.missing_path.as_deref(), Some(path), "{line}");
        assert!(failure.message.contains(&format!("`{path}`")), "{}", failure.message);
    }
}

/// As vLLM ends with `HF_HUB_OFFLINE=1` and an empty cache.
const NO_SNAPSHOT: &str = "huggingface_hub.errors.LocalEntryNotFoundError: Cannot find an appropriate cached snapshot folder for the specified revision on the local disk and outgoing traffic has been disabled. To enable repo look-ups and downloads online, pass 'local_files_only=False' as input.";

#[test]
fn a_model_that_the_hub_s_client_does_not_name_is_the_one_that_was_started() {
    let missing = |lines: &[&str]| {
        let failure = LaunchFailure::of_exit(&printed(lines), exit(1), false);
        assert_eq!(failure.class, FailureClass::Environment, "{lines:?}");
        (failure.missing_path, failure.message)
    };
    for started in [
        "non-default args: {'model_tag': 'facebook/opt-125m', 'model': 'facebook/opt-125m', 'seed': 1}",
        "non-default args: {'model_tag': 'facebook/opt-125m', 'seed': 1}",
        "Initializing a V1 LLM engine (v0.12.0) with config: model='facebook/opt-125m', speculative_config=None",
    ] {
        let (path, message) = missing(&[started, NO_SNAPSHOT]);
        assert_eq!(path.as_deref(), Some("facebook/opt-125m"), "{started}");
        assert!(message.contains("`facebook/opt-125m` is not there"), "{message}");
    }
    let (path, message) = missing(&[
        "OSError: We couldn't connect to 'https://huggingface.co' to load this file, couldn't find it in the cached files and it looks like a/b is not the path to a directory containing a file named config.json.",
    ]);
    assert_eq!(path.as_deref(), Some("a/b"), "{message}");
    // Nothing tells what it is: the model itself was found.
    let started = "non-default args: {'model': 'a/b'}";
    for lines in [&[NO_SNAPSHOT][..], &[started, "Resolved architecture: A", NO_SNAPSHOT]] {
        let (path, message) = missing(lines);
        assert_eq!(path, None, "{lines:?}");
        assert!(message.contains("is not in its cache"), "{message}");
    }
}

#[test]
fn a_path_is_not_a_name_on_the_hub() {
    for path in ["/models/m", "./m", "../m", "~/m", ".", ".cache/m"] {
        assert!(is_local(path), "{path}");
    }
    for name in ["example/model-8b", "gpt2", ""] {
        assert!(!is_local(name), "{name}");
    }
}

#[test]
fn what_the_hub_lacks_is_distinguished_from_reports_about_it() {
    let reported = "INFO 11-20 02:10:08 [config.py:1] HF_HUB_OFFLINE is True, replace model_id [a/b] to model_path [/hub/a]\n";
    assert!(!misses_hub(reported));
    for line in [
        "huggingface_hub.errors.OfflineModeIsEnabled: Cannot reach https://huggingface.co/api/models/a/b: offline mode is enabled. To disable it, please unset the `HF_HUB_OFFLINE` environment variable.",
        "ValueError: Invalid repository ID or local directory specified: 'unsloth/Qwen3-0.6B-GGUF:Q8_0'",
        "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the cached files.",
    ] {
        assert!(misses_hub(&format!("{reported}(APIServer pid=1) {line}\n")), "{line}");
    }
}

#[test]
fn a_wedged_engine_is_explained_by_its_workers_silence_and_the_end_of_its_log() {
    let heartbeat = "(EngineCore pid=9) INFO 11-20 02:10:08 [shm_broadcast.py:542] No available \
                     shared memory broadcast block found in 60 seconds.";
    let mut log: Vec<String> = vec![heartbeat.to_owned()];
    log.extend((0..30).map(|line| format!("INFO 11-20 02:10:08 [a.py:1] line {line}")));
    let failure = LaunchFailure::of_no_progress(&log.join("\n"), "nothing moves");
    assert_eq!((failure.class, &*failure.message), (FailureClass::NoProgress, "nothing moves"));
    assert!(failure.log_lines[0].starts_with("No available shared memory"), "{failure:?}");
    assert_eq!(failure.log_lines.last().map(String::as_str), Some("line 29"));
    assert!(!FailureClass::NoProgress.is_deterministic());
}

#[test]
fn a_process_that_cannot_be_started_for_a_limit_of_ours_is_no_failure_of_its_configuration() {
    use rustix::io::Errno;

    for (errno, names) in [(Errno::MFILE, "ulimit -n"), (Errno::AGAIN, "ulimit -u")] {
        let failure = LaunchFailure::of_io("`vllm` cannot be started", &errno.into());
        assert!(failure.shortage && failure.message.contains(names), "{failure:?}");
    }
    let failure = LaunchFailure::of_io("`vllm` cannot be started", &Errno::NOENT.into());
    assert!(!failure.shortage && failure.class == FailureClass::Environment, "{failure:?}");
}
