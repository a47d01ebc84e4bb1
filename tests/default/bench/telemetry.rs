//! What is sampled during a measurement, where it is kept, and that what is not seen
//! is absent.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::Arc;

use async_trait::async_trait;
use polars::prelude::*;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;
use vllm_grid::bench::suite::{Bench, BenchSettings};
use vllm_grid::client::Limits;
use vllm_grid::event::Emit;
use vllm_grid::metric::Status;
use vllm_grid::results::records::ParquetRecords;
use vllm_grid::server::{ResourceProbe, ResourceSample};
use vllm_grid::telemetry::{Telemetry, TelemetrySettings};

use crate::bench::counting::{Behaviour, Counting};
use crate::bench::simulated::{Simulated, number, settings, workload};

/// An engine that knows what its server uses.
struct Probe;

#[async_trait]
impl ResourceProbe for Probe {
    async fn sample(&self) -> Option<ResourceSample> {
        Some(ResourceSample { memory_bytes: Some(123_000), ..ResourceSample::default() })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_keeps_its_telemetry_and_repeats_tell_what_it_adds_up_to() {
    let simulated = Simulated::start("Qwen/Qwen3-1.7B --max-model-len 8192 --sim-speed 20").await;
    let folder = tempfile::tempdir().expect("a folder");
    let sink = ParquetRecords::in_launch(folder.path());
    let (emit, cancel) = (Emit::nowhere(), CancellationToken::new());
    let settings = BenchSettings { launch: 1, limits: Limits::default(), ..settings() };
    let telemetry =
        TelemetrySettings { probe: Some(Arc::new(Probe)), ..TelemetrySettings::default() };
    let mut bench = Bench::new(&simulated.server, &sink, &emit, &cancel, settings)
        .await
        .expect("an address")
        .with_telemetry(Telemetry::start(&telemetry));
    let load = workload(
        "load",
        &json!({
            "concurrency": 2, "duration": 3, "prompt_tokens": 64, "output_tokens": 8,
        }),
    );
    let measured = bench.repeat(&load, "", 1).await.expect("a living server");
    assert_eq!(measured.status, Status::Ok, "{:?}", measured.reason);
    let value = |name| number(&measured, name);
    assert!(value("client_cpu_mean").expect("sampled") > 0.0);
    assert!(value("client_cpu_max") >= value("client_cpu_mean"));
    assert!((0.0..=1.0).contains(&value("host_cpu_mean").expect("sampled")));
    assert!(value("host_memory_used_max").expect("sampled") > 1e6);
    assert_eq!(value("engine_memory_max"), Some(123_000.0));
    // The probe does not tell the server's CPU: what others use is not guessed.
    assert_eq!(measured.metrics["host_cpu_others_mean"], None);
    assert!(value("host_memory_available_min").expect("sampled") > 1e6);
    assert!(value("host_load_mean").expect("sampled") >= 0.0);
    for elsewhere in ["windows_cpu_mean", "gpu_other_processes_max", "engine_throttled_share"] {
        assert_eq!(measured.metrics[elsewhere], None, "{elsewhere}");
    }
    for absent in ["gpu_power_mean", "energy_per_1000_tokens", "engine_cpu_mean", "host_cpu_p95"] {
        assert_eq!(measured.metrics[absent], None, "{absent} is named and absent");
    }
    assert!(value("max_running").expect("looked at each second") >= 1.0);

    let file = std::fs::File::open(folder.path().join("telemetry.parquet")).expect("kept");
    let frame = ParquetReader::new(file).finish().expect("Parquet");
    let sources: Vec<&str> =
        frame.column("source").unwrap().str().unwrap().iter().flatten().collect();
    let of = |source: &str| sources.iter().filter(|known| **known == source).count();
    assert!(of("host") >= 2 && of("engine") >= 2, "{sources:?}");
    // Before, after, and each second between them.
    assert!(of("server") >= 4, "{sources:?}");
    assert_eq!(of("gpu"), 0);
    let at = frame.column("at_unix_ms").unwrap().i64().unwrap();
    let now = jiff::Timestamp::now().as_millisecond();
    assert!(at.iter().flatten().all(|at| (now - 120_000..=now).contains(&at)));
    assert_eq!(frame.column("gpu.power_w").unwrap().null_count(), frame.height());
    let available = frame.column("host.memory_available_bytes").unwrap().u64().unwrap();
    assert_eq!(frame.height() - available.null_count(), of("host"));
    let tokens = frame.column("server.generation_tokens").unwrap().u64().unwrap();
    assert!(tokens.iter().flatten().max() > tokens.iter().flatten().min());
}

/// The whole program with a server that is slow enough to be looked at: what it
/// printed as JSON of its one repeat, and what it logged.
async fn with_gpus(local: &[&str], adjust: impl FnOnce(&mut Command)) -> (Value, String) {
    let counting = Counting::start(Behaviour {
        miss: std::time::Duration::from_millis(300),
        ..Behaviour::default()
    })
    .await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_vllm-grid"));
    command
        .args(["bench", &counting.endpoint().base_url, "--workload", "load", "--repeats", "1"])
        .args(["--set", "concurrency=2", "--set", "requests=10", "--set", "warmup=0"])
        .args(["--set", "prompt_tokens=64", "--set", "output_tokens=4", "--format", "json"])
        .args(local)
        .stdin(Stdio::null());
    adjust(&mut command);
    let output = command.output().await.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    (serde_json::from_slice(&output.stdout).expect("JSON"), said)
}

/// What it says of ids of which no GPU has the last, before it looks for a server.
async fn refused_gpus(adjust: impl FnOnce(&mut Command)) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vllm-grid"));
    command.args(["bench", "http://127.0.0.1:9", "--local-gpus", "0,1,7"]).stdin(Stdio::null());
    adjust(&mut command);
    let output = command.output().await.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    // Lines are folded to the terminal's width, within words, too.
    said.chars().filter(|c| !c.is_whitespace() && *c != '\u{2502}').collect()
}

/// A folder for the search path with an `nvidia-smi` of two GPUs in it, which lists
/// them, and notes each start that goes on.
fn scripted_smi() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let tool = folder.path().join("nvidia-smi");
    let script = format!(
        "#!/bin/sh\n\
         case \"$1\" in *=index,uuid) printf '0, GPU-00\\n1, GPU-11\\n'; exit;; esac\n\
         echo \"$$ $*\" >> {}\nwhile :; do\n\
         echo '0, GPU-00, 50, 1024, 100.00, 60, [N/A], 10501, 0x0000000000000000'\n\
         echo '1, GPU-11, 70, 1024, 200.00, 71, 2520, 10501, 0x0000000000000004'\n\
         sleep 0.1\ndone\n",
        folder.path().join("started").display()
    );
    std::fs::write(&tool, script).expect("written");
    std::fs::set_permissions(&tool, PermissionsExt::from_mode(0o755)).expect("its mode");
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").expect("a path"));
    (folder, path)
}

#[tokio::test(flavor = "multi_thread")]
async fn gpus_are_seen_through_nvidia_smi_where_there_is_no_nvml() {
    if nvml_wrapper::Nvml::init().is_ok() {
        // Real GPUs are seen instead.
        return;
    }
    let (folder, path) = scripted_smi();
    let (printed, _) = with_gpus(&["--local-gpus", "all"], |command| {
        command.env("PATH", path);
    })
    .await;
    assert_eq!(printed["server"]["local_gpus"], json!("all"));
    let metrics = &printed["measurements"][0]["metrics"];
    assert_eq!(metrics["gpu_power_mean"], json!(300.0), "the sum of both");
    assert_eq!(metrics["gpu_temperature_max"], json!(71.0));
    assert_eq!(metrics["gpu_utilization_mean"], json!(0.6));
    assert_eq!(metrics["gpu_throttled_share"], json!(1.0));
    assert_eq!(metrics["gpu_sm_clock_mean"], Value::Null, "one of them does not report its clock");
    assert!(metrics["energy_per_1000_tokens"].as_f64().expect("power is known") > 0.0);
    assert_eq!(metrics["engine_memory_max"], Value::Null);

    let notes = std::fs::read_to_string(folder.path().join("started")).expect("noted");
    let [start] = notes.lines().collect::<Vec<_>>()[..] else { panic!("started once: {notes}") };
    assert!(start.ends_with(" -lms 250"), "{start}");
    let process = start.split(' ').next().expect("its number");
    assert!(!std::path::Path::new("/proc").join(process).exists(), "it ended with the program");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_gpus_that_the_server_is_said_to_run_on_are_looked_at() {
    if nvml_wrapper::Nvml::init().is_ok() {
        return;
    }
    let (_folder, path) = scripted_smi();
    let (printed, _) = with_gpus(&["--local-gpus", "GPU-11"], |command| {
        command.env("PATH", path);
    })
    .await;
    assert_eq!(printed["measurements"][0]["metrics"]["gpu_power_mean"], json!(200.0));

    // Fewer than were listed would be reported as all of them.
    let (_folder, path) = scripted_smi();
    let said = refused_gpus(|command| {
        command.env("PATH", path);
    })
    .await;
    let expected = "noGPU7onthismachine,whichhas0(GPU-00),1(GPU-11)";
    assert!(said.contains(expected), "{said}");

    // A local address may be a tunnel: unless it is said, nothing is looked at.
    let (folder, path) = scripted_smi();
    let (printed, said) = with_gpus(&[], |command| {
        command.env("PATH", path);
    })
    .await;
    assert_eq!(printed["server"]["local_gpus"], Value::Null);
    let metrics = &printed["measurements"][0]["metrics"];
    for absent in ["gpu_power_mean", "gpu_utilization_max", "energy_per_1000_tokens"] {
        assert_eq!(metrics[absent], Value::Null, "{absent}");
    }
    assert!(!folder.path().join("started").exists());
    assert!(
        said.contains("warning: no GPU is looked at") && said.contains("--local-gpus"),
        "{said}"
    );
}

/// A driver's library of two GPUs, made of `nvml.c`; the second one has no power sensor.
#[tokio::test(flavor = "multi_thread")]
async fn gpus_are_seen_through_nvml_first_of_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/default/bench/nvml.c");
    // Rust's own linker is a C compiler.
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-nostdlib", "-O1", source, "-o"])
        .arg(folder.path().join("libnvidia-ml.so.1"))
        .output()
        .await
        .expect("a C compiler");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (printed, _) = with_gpus(&["--local-gpus", "all"], |command| {
        command.env("LD_LIBRARY_PATH", folder.path());
    })
    .await;
    let metrics = &printed["measurements"][0]["metrics"];
    assert_eq!(metrics["gpu_utilization_mean"], json!(0.6));
    assert_eq!(metrics["gpu_memory_used_max"], json!(3.0 * f64::from(1 << 30)));
    assert_eq!(metrics["gpu_temperature_max"], json!(61.0));
    assert_eq!(metrics["gpu_sm_clock_mean"], json!(1980.0));
    assert_eq!(metrics["gpu_throttled_share"], json!(1.0), "the first one, by heat");
    for absent in ["gpu_power_mean", "energy_per_1000_tokens", "gpu_temperature_p95"] {
        assert_eq!(metrics[absent], Value::Null, "{absent}");
    }
    let said = refused_gpus(|command| {
        command.env("LD_LIBRARY_PATH", folder.path());
    })
    .await;
    let expected = "noGPU7onthismachine,whichhas0(GPU-0),1(GPU-1)";
    assert!(said.contains(expected), "{said}");
}
