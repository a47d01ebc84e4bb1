//! Sweeps on the process engine: a local server command, relaunched per
//! configuration in its own process group. The server is our own `simulate`.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::until;

const BINARY: &str = env!("CARGO_BIN_EXE_vllm-grid");

fn place(speed: u32, launches: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let grid = format!(
        "name: local\nengine:\n  process:\n    command: ['{BINARY}', simulate, Qwen/Qwen3-0.6B, --sim-speed, '{speed}']\n    \
         flags: {{max-model-len: 4096}}\n    api-key-env: GRID_TEST_KEY\n\
         parameters:\n  max-num-seqs: [8]\ninclude:\n  - {{name: too_small, gpu-memory-utilization: 0.06}}\n\
         workloads:\n  kv-cache: {{prefix-tokens: [512], prompts: 2, output-tokens: 4}}\n\
         objective: {{minimize: kv_cache.ttft_resent_ms}}\nstrategy: {{grid: {{launches: {launches}, repeats: 1, seed: 1}}}}\n"
    );
    std::fs::write(folder.path().join("grid.yaml"), grid).unwrap();
    folder
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(folder).env("GRID_TEST_KEY", "sk-local");
    command.env("VLLM_GRID_STATE", folder.join("state"));
    command.env("VLLM_GRID_CLAIMS", folder.join("state"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Whether a process has this text in its command line.
fn runs(text: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .any(|line| String::from_utf8_lossy(&line).replace('\0', " ").contains(text))
}

#[test]
fn a_command_is_relaunched_per_configuration_and_nothing_of_it_is_left() {
    // The speed distinguishes this test's servers from others'.
    let folder = place(401, 1);
    let output =
        command(folder.path(), &["sweep", "grid.yaml", "--output", "run"]).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{printed}");
    let results = std::fs::read_to_string(folder.path().join("run/results.csv")).unwrap();
    assert!(
        results
            .lines()
            .any(|line| line.contains("too_small") && line.contains("kv_cache_too_small")),
        "{results}"
    );
    assert!(results.contains(",true,process,"), "simulated, and marked so: {results}");
    assert!(!runs("--sim-speed 401 "));
    let journal = std::fs::read_to_string(folder.path().join("run/journal.jsonl")).unwrap();
    assert!(!journal.contains("sk-local"));
}

#[test]
fn after_a_kill_the_server_is_found_and_ended() {
    let folder = place(3, 1);
    let mut sweep: Child =
        command(folder.path(), &["sweep", "grid.yaml", "--output", "run"]).spawn().unwrap();
    let noted = || {
        let launches = std::fs::read_dir(folder.path().join("run/launches"));
        let mut launches = launches.into_iter().flatten().flatten();
        launches.any(|launch| {
            let note = std::fs::read_to_string(launch.path().join("process.json"));
            note.is_ok_and(|note| note.ends_with('}'))
        })
    };
    until("a server is noted", || noted() && runs("--sim-speed 3 "));
    kill_process(Pid::from_raw(sweep.id().cast_signed()).unwrap(), Signal::KILL).unwrap();
    sweep.wait().unwrap();
    assert!(runs("--sim-speed 3 "), "an orphan");
    let recovered = command(folder.path(), &["recover", "run"]).output().unwrap();
    let printed = String::from_utf8_lossy(&recovered.stdout).into_owned();
    assert!(printed.contains("killed the process of"), "{printed}");
    until("the server has ended", || !runs("--sim-speed 3 "));
}

/// vLLM is several processes: here the server's memory is a child's, and its CPU
/// that of a grandchild in a group of its own.
#[test]
fn what_all_processes_of_the_server_use_is_in_the_telemetry() {
    let folder = tempfile::tempdir().unwrap();
    // 64 MiB of text, held by a shell that burns what CPU it gets as long as its parent lives.
    let busy = "x=0123456789abcdef; i=0; while [ $i -lt 22 ]; do x=$x$x; i=$((i+1)); done; \
                while [ -d /proc/$PPID ]; do :; done";
    let script = format!("(setsid sh -c '{busy}' & wait) & exec '{BINARY}' simulate \"$@\"");
    std::fs::write(folder.path().join("serve.sh"), script).unwrap();
    let grid = format!(
        "name: local\nengine:\n  process:\n    command: [sh, {}, Qwen/Qwen3-0.6B, --sim-speed, '20']\n    \
         flags: {{max-model-len: 4096}}\nparameters:\n  max-num-seqs: [8]\n\
         workloads:\n  load: {{concurrency: 1, duration: 3, prompt-tokens: 64, output-tokens: 16, warmup: 0}}\n  \
         stability: {{duration: 2, prompt-tokens: 64, output-tokens: 16, warmup: 0}}\n\
         objective: {{maximize: load.output_throughput}}\nstrategy: {{grid: {{launches: 1, repeats: 1, seed: 1}}}}\n",
        folder.path().join("serve.sh").display()
    );
    std::fs::write(folder.path().join("grid.yaml"), grid).unwrap();
    let output =
        command(folder.path(), &["sweep", "grid.yaml", "--output", "run"]).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{printed}");
    let results = crate::support::parquet(&folder.path().join("run/results.parquet"));
    let of = |column: &str| -> Vec<f64> {
        crate::support::numbers(&results, column).into_iter().flatten().collect()
    };
    // How much it gets depends on the machine; that it gets some does not.
    assert!(of("load.engine_cpu_mean")[0] > 0.0, "{:?}", of("load.engine_cpu_mean"));
    // More than the server alone: some 40 MiB.
    let memory = of("load.engine_memory_max")[0];
    assert!((f64::from(64 << 20)..f64::from(1 << 30)).contains(&memory), "{memory}");
    assert!(!of("stability.memory_growth_bytes").is_empty());
    let whose = crate::support::texts(&results, "stability.memory_growth_of");
    assert!(whose.contains(&Some("engine".to_owned())), "{whose:?}");
    assert_eq!(of("stability.restarts"), [0.0], "as the server's own counters show");
    assert!(of("load.gpu_power_mean").is_empty(), "of a simulated server GPUs report nothing");
    let launch = std::fs::read_dir(folder.path().join("run/launches")).unwrap().next();
    let samples =
        crate::support::parquet(&launch.unwrap().unwrap().path().join("telemetry.parquet"));
    let cores = crate::support::numbers(&samples, "engine.cpu_cores");
    assert!(cores.iter().flatten().count() >= 3, "each second: {cores:?}");
    assert!(crate::support::numbers(&samples, "engine.restarts").iter().all(Option::is_none));
}

/// A `vllm` that offers its model under another name than it was told to.
#[test]
fn a_server_that_offers_another_model_is_not_measured() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("vllm");
    let script = format!(
        "#!/bin/sh\nshift\nexec '{BINARY}' simulate \"$@\" --served-model-name other more\n"
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let sweep = |command: &str, run: &str| {
        let grid = format!(
            "name: local\nengine:\n  process:\n    command: ['{}', serve, Qwen/Qwen3-0.6B, --sim-speed, '400'{command}]\n    \
             flags: {{max-model-len: 4096}}\nparameters:\n  max-num-seqs: [8]\n\
             workloads:\n  kv-cache: {{prefix-tokens: [512], prompts: 1, output-tokens: 2}}\n\
             objective: {{minimize: kv_cache.ttft_resent_ms}}\nstrategy: {{grid: {{launches: 1, repeats: 1, seed: 1}}}}\n",
            program.display()
        );
        std::fs::write(folder.path().join("grid.yaml"), grid).unwrap();
        let sweep = command_of_sweep(folder.path(), run);
        (sweep.status.code(), String::from_utf8_lossy(&sweep.stderr).into_owned())
    };
    for (named, asked) in [("", "Qwen/Qwen3-0.6B"), (", --served-model-name, asked", "asked")] {
        let run = format!("run-{}", named.len());
        let (code, printed) = sweep(named, &run);
        let words = printed.replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ");
        let says = format!("does not serve the model `{asked}`; it serves `other`, `more`");
        assert!(words.contains(&says), "{printed}");
        assert_ne!(code, Some(0), "{printed}");
        let journal = std::fs::read_to_string(folder.path().join(&run).join("journal.jsonl"));
        assert!(journal.unwrap().contains("\"class\":\"not_serving\""));
    }
    // One of several names is enough, and it is the one that is measured.
    let (code, printed) = sweep(", --served-model-name, gone, more", "several");
    assert_eq!(code, Some(0), "{printed}");
}

fn command_of_sweep(folder: &Path, run: &str) -> std::process::Output {
    command(folder, &["sweep", "grid.yaml", "--output", run]).output().unwrap()
}
