//! Prints the figures that the README and the issues name, each measured in this
//! run: the quickstart sweep, the plan of a large grid, the time that the sweep
//! loop itself takes around a launch, the journal's, and a report's data. `cargo bench
//! --bench figures`; `-- journal` or `-- analysis` for one of the last two alone.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use vllm_grid::bench::{RecordSink, RepeatKey};
use vllm_grid::client::record::RequestRecord;
use vllm_grid::engine;
use vllm_grid::event::{NoticeKind, Phase};
use vllm_grid::grid::{GridFile, ReadOptions};
use vllm_grid::history::journal::Entry;
use vllm_grid::secret::Secrets;
use vllm_grid::sweep::context::SweepContext;
use vllm_grid::sweep::events::{Event, Events};
use vllm_grid::sweep::run::Sweep;

mod analysis;
mod journal;

const BINARY: &str = env!("CARGO_BIN_EXE_vllm-grid");

fn main() {
    let place = tempfile::tempdir().expect("a folder for what this writes");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let asked = |name: &str| std::env::args().any(|argument| argument == name);
    if !asked("journal") {
        report(place.path());
    }
    if asked("analysis") {
        return;
    }
    if !asked("journal") {
        sweeps(place.path(), &runtime);
    }
    let (run, sample) = runtime.block_on(journal::sample(place.path()));
    let (median, longest) = journal::appended(place.path(), &sample);
    row("journal of a repeat, median", milliseconds(median), "< 20 ms");
    row("  longest of 300", milliseconds(longest), "-");
    let ready = journal::resumed(BINARY, &run, &sample);
    row("resume of 10,000 repeats to launch", milliseconds(ready), "< 1000 ms");
}

fn report(place: &Path) {
    let cost = analysis::cost(place);
    row("ranking of 200 configurations, 10,400 repeats", milliseconds(cost.ranking), "-");
    row("  their analysis", milliseconds(cost.analysis), "< 5000 ms");
    row("  its peak memory", format!("{:.0} MB", cost.bytes as f64 / 1e6), "< 300 MB");
}

fn sweeps(place: &Path, runtime: &tokio::runtime::Runtime) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let size = std::fs::metadata(BINARY).expect("the binary is built").len();
    row("release binary", format!("{:.1} MiB", size as f64 / 1_048_576.0), "< 54 MiB");

    let mut command = Command::new(BINARY);
    command.arg("sweep").arg(root.join("grids/quickstart.yaml"));
    command.arg("--output").arg(place.join("quickstart"));
    command.env("VLLM_GRID_STATE", place.join("state"));
    command.env("VLLM_GRID_CLAIMS", place.join("state"));
    let run = measured(command);
    row("sweep grids/quickstart.yaml", run.time(), "< 60 s");
    row("  peak memory", run.memory(), "< 150 MB");

    let grid = place.join("large.yaml");
    std::fs::write(&grid, large_grid()).expect("the folder can be written");
    let plan = std::fs::File::create(place.join("plan.json")).expect("writable");
    let mut command = Command::new(BINARY);
    command.arg("plan").arg(&grid).args(["--max-configurations", "100000", "--format", "json"]);
    command.stdout(plan);
    let run = measured(command);
    row("plan of 100,000 configurations", run.time(), "< 1 s");
    row("  peak memory", run.memory(), "< 300 MB");

    let (first, dead) = runtime.block_on(around_a_launch(place));
    row("ready to first request, median", milliseconds(first), "< 20 ms");
    row("dead time between launches, median", milliseconds(dead), "< 100 ms");
}

fn row(what: &str, value: impl std::fmt::Display, goal: &str) {
    println!("{what:38} {value:>12}   goal {goal}");
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// Five axes of ten values.
fn large_grid() -> String {
    let axis = |name: &str, from: u64, step: u64| {
        let values: Vec<String> = (0..10).map(|i| (from + i * step).to_string()).collect();
        format!("  {name}: [{}]\n", values.join(", "))
    };
    format!(
        "name: large\nengine:\n  simulated: {{model: Qwen/Qwen3-8B, gpu: h100}}\nparameters:\n\
         \x20 gpu-memory-utilization: [0.80, 0.81, 0.82, 0.83, 0.84, 0.85, 0.86, 0.87, 0.88, 0.89]\n\
         {}{}{}{}workloads:\n  kv-cache: {{}}\nobjective:\n  minimize: kv_cache.ttft_resent_ms\n",
        axis("max-num-seqs", 8, 8),
        axis("max-num-batched-tokens", 2048, 512),
        axis("max-model-len", 8192, 1024),
        axis("seed", 0, 1),
    )
}

struct Run {
    time: Duration,
    /// `VmHWM`, kB, as last seen before the end.
    peak_kb: u64,
}

impl Run {
    fn time(&self) -> String {
        format!("{:.2} s", self.time.as_secs_f64())
    }

    fn memory(&self) -> String {
        format!("{:.0} MB", self.peak_kb as f64 / 1e3)
    }
}

fn measured(mut command: Command) -> Run {
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let mut child = command.spawn().expect("the binary starts");
    let mut peak_kb = 0;
    let status = loop {
        peak_kb = peak(&child).max(peak_kb);
        if let Some(status) = child.try_wait().expect("our own child") {
            break status;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let time = began.elapsed();
    assert!(status.success(), "{command:?} ended with {status}");
    Run { time, peak_kb }
}

fn peak(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
    let status = status.unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// Notes when the first request of each launch was sent after its repeat began.
struct FirstSent(Arc<Mutex<Vec<(RepeatKey, u64)>>>);

impl RecordSink for FirstSent {
    fn store(&self, key: &RepeatKey, records: &[RequestRecord]) -> std::io::Result<()> {
        let sent = records.first().map_or(0, |record| record.sent_ns);
        self.0.lock().expect("one thread").push((key.clone(), sent));
        Ok(())
    }
}

/// Medians of (ready to first request, last repeat to next launch), over the
/// launches of a sweep in this process.
async fn around_a_launch(place: &Path) -> (Duration, Duration) {
    let path = place.join("dead.yaml");
    let grid = "name: dead\nengine:\n  simulated: {model: Qwen/Qwen3-1.7B, gpu: rtx-4090, speed: 50, \
                flags: {max-model-len: 8192}}\nparameters:\n  max-num-seqs: [8, 16, 32]\nworkloads:\n  \
                kv-cache: {prefix-tokens: [1024], prompts: 1, output-tokens: 2}\nobjective:\n  \
                minimize: kv_cache.ttft_resent_ms\nstrategy: {grid: {launches: 4, repeats: 1}}\n";
    std::fs::write(&path, grid).expect("writable");
    let file = GridFile::read(&path, &ReadOptions::default()).expect("a good grid");
    let grid = file.without_service();
    let output = place.join("dead");
    let mut sweep = Sweep::begin(&grid, Some(&output), jiff::Timestamp::now(), &Secrets::default())
        .expect("a new sweep");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&seen);
    let events = Events::to(move |event| {
        listener.lock().expect("no panic").push((Instant::now(), event));
    });
    let sent = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&sent);
    let records = move |_: &Path| Box::new(FirstSent(Arc::clone(&sink))) as Box<dyn RecordSink>;
    let engine = engine::of_grid(&grid, &Secrets::default()).await.expect("the simulated engine");
    let context = SweepContext::of(&grid, engine, records).with_events(events);
    sweep.run(&context).await.expect("a sweep");
    let seen = seen.lock().expect("no panic");
    let sent = sent.lock().expect("no panic");
    (first_requests(&seen, &sent), dead_times(&seen))
}

/// From "ready" to the first request's bytes at the socket.
fn first_requests(seen: &[(Instant, Event)], sent: &[(RepeatKey, u64)]) -> Duration {
    let mut firsts: Vec<u64> = Vec::new();
    for (key, sent_ns) in sent {
        if firsts.len() < key.launch as usize {
            firsts.push(*sent_ns);
        }
    }
    let mut times = Vec::new();
    let mut ready = None;
    for (at, event) in seen {
        let Event::Notice(notice) = event else { continue };
        match notice.kind {
            NoticeKind::Phase(Phase::Ready { .. }) => ready = Some(*at),
            NoticeKind::Phase(Phase::Measuring { .. }) => {
                if let Some(ready) = ready.take() {
                    let sent = Duration::from_nanos(firsts[times.len()]);
                    times.push(at.duration_since(ready) + sent);
                }
            }
            _ => {}
        }
    }
    median(times)
}

/// From the last repeat of a launch to the start of the next one.
fn dead_times(seen: &[(Instant, Event)]) -> Duration {
    let mut times = Vec::new();
    let mut last = None;
    for (at, event) in seen {
        let Event::Written(line) = event else { continue };
        match line.entry {
            Entry::RepeatFinished { .. } => last = Some(*at),
            Entry::LaunchStarted { .. } => {
                times.extend(last.map(|last| at.duration_since(last)));
            }
            _ => {}
        }
    }
    median(times)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
