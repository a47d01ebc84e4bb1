//! Dead time per launch with containers: everything but the server's own boot and
//! the measurement. Ours stands beside a script that does `docker-compose up -d`,
//! asks `/health` every 15 s and goes `down`, in one run, on the same image (our
//! binary as a simulated vLLM) with the same boot times. Needs Docker and
//! docker-compose: `cargo bench --bench dead_time`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use vllm_grid::bench::RecordSink;
use vllm_grid::engine;
use vllm_grid::event::{NoticeKind, Phase};
use vllm_grid::grid::{GridFile, ReadOptions};
use vllm_grid::history::journal::Entry;
use vllm_grid::history::launch::LaunchOutcome;
use vllm_grid::results::records::ParquetRecords;
use vllm_grid::secret::Secrets;
use vllm_grid::sweep::context::SweepContext;
use vllm_grid::sweep::events::{Event, Events};
use vllm_grid::sweep::run::Sweep;

const BINARY: &str = env!("CARGO_BIN_EXE_vllm-grid");
const SPEED: u64 = 10;
/// Seconds that the simulated servers boot: where in 15 s a server gets ready is chance.
const BOOTS: [u64; 3] = [3, 7, 11];
const PORT: u16 = 18_377;
const EVERY: Duration = Duration::from_secs(15);

fn main() {
    if let Some(missing) = ["docker", "docker-compose"].into_iter().find(|tool| !answers(tool)) {
        println!("dead time: `{missing}` does not answer on this machine, so nothing is measured");
        return;
    }
    let place = tempfile::tempdir().expect("a folder for what this writes");
    let image = format!("vllm-grid-dead-time:{}", std::process::id());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/docker/image.sh");
    run(Command::new(script).args([BINARY, &image]));

    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let ours = runtime.block_on(ours(place.path(), &image));
    row("dead time per launch, median", &ours, "<= 1.0 s");
    let theirs: Vec<f64> = BOOTS.iter().map(|boot| scripted(place.path(), &image, *boot)).collect();
    row("  a script that polls every 15 s", &theirs, "");
    run(Command::new("docker").args(["rmi", &image]));
}

fn answers(tool: &str) -> bool {
    let arguments: &[&str] = if tool == "docker" { &["info"] } else { &["version"] };
    let output = Command::new(tool).args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("it can be run");
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {printed}");
}

fn row(what: &str, seconds: &[f64], goal: &str) {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let each: Vec<String> = seconds.iter().map(|each| format!("{each:.2}")).collect();
    let goal = if goal.is_empty() { String::new() } else { format!("   goal {goal}") };
    println!("{what:34} {:>6.2} s{goal}   (each: {})", sorted[sorted.len() / 2], each.join(", "));
}

/// The flags of both, with a boot of `seconds`.
fn boot(seconds: u64) -> String {
    (seconds * SPEED).to_string()
}

/// What a person's script does around a measurement, less the boot itself.
fn scripted(place: &Path, image: &str, seconds: u64) -> f64 {
    let file = place.join("compose.yaml");
    let service = format!(
        "version: '2.4'\nservices:\n  vllm:\n    image: {image}\n    command: Qwen/Qwen3-0.6B \
         --max-model-len 4096 --port 8000 --sim-speed {SPEED} --sim-boot-seconds {}\n    ports: \
         ['127.0.0.1:{PORT}:8000']\n",
        boot(seconds)
    );
    std::fs::write(&file, service).expect("writable");
    let compose = |arguments: &[&str]| {
        run(Command::new("docker-compose").arg("-f").arg(&file).args(arguments));
    };
    let began = Instant::now();
    compose(&["up", "-d"]);
    let health = format!("http://127.0.0.1:{PORT}/health");
    while !Command::new("curl").args(["-sf", &health]).output().expect("curl").status.success() {
        std::thread::sleep(EVERY);
    }
    compose(&["down"]);
    began.elapsed().as_secs_f64() - seconds as f64
}

/// Each launch of a sweep in this process, from its start to the next one's,
/// less its boot and its measurement.
async fn ours(place: &Path, image: &str) -> Vec<f64> {
    let rows: Vec<String> = BOOTS
        .iter()
        .map(|seconds| {
            format!("  - {{name: boot{seconds}, sim-boot-seconds: {}}}\n", boot(*seconds))
        })
        .collect();
    let text = format!(
        "name: dead\nengine:\n  docker:\n    image: {image}\n    model: Qwen/Qwen3-0.6B\n    gpus: \
         false\n    flags: {{max-model-len: 4096, sim-speed: {SPEED}}}\ninclude:\n{}workloads:\n  \
         kv-cache: {{prefix-tokens: [512], prompts: 1, output-tokens: 2}}\nobjective:\n  minimize: \
         kv_cache.ttft_resent_ms\nstrategy: {{grid: {{launches: 2, repeats: 1}}}}\n",
        rows.concat()
    );
    let path = place.join("dead.yaml");
    std::fs::write(&path, text).expect("writable");
    let grid = GridFile::read(&path, &ReadOptions::default())
        .unwrap_or_else(|errors| panic!("{}", errors.render(100, false)))
        .without_service();
    let output = place.join("dead");
    let mut sweep = Sweep::begin(&grid, Some(&output), jiff::Timestamp::now(), &Secrets::default())
        .expect("a new sweep");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&seen);
    let events = Events::to(move |event| {
        listener.lock().expect("no panic").push((Instant::now(), event));
    });
    let records = |of: &Path| Box::new(ParquetRecords::in_launch(of)) as Box<dyn RecordSink>;
    let engine = engine::of_grid(&grid, &Secrets::default()).await.expect("the Docker engine");
    let context = SweepContext::of(&grid, engine, records).with_events(events);
    sweep.run(&context).await.expect("a sweep");
    dead_times(&seen.lock().expect("no panic"))
}

fn dead_times(seen: &[(Instant, Event)]) -> Vec<f64> {
    let mut times = Vec::new();
    let mut launch: Option<(Instant, f64)> = None;
    let (mut first, mut last) = (None, None);
    for (at, event) in seen {
        let entry = match event {
            Event::Written(line) => &line.entry,
            Event::SoFar(_) | Event::TakenUp(_) => continue,
            Event::Notice(notice) => {
                if let NoticeKind::Phase(Phase::Measuring { .. }) = notice.kind {
                    first.get_or_insert(*at);
                }
                continue;
            }
        };
        match entry {
            Entry::LaunchStarted { .. } | Entry::SessionEnded { .. } => {
                if let (Some((began, boot)), Some(first), Some(last)) =
                    (launch.take(), first.take(), last.take())
                {
                    let measured = Instant::duration_since(&last, first).as_secs_f64();
                    times.push(at.duration_since(began).as_secs_f64() - boot - measured);
                }
                if let Entry::LaunchStarted { configuration, .. } = entry {
                    let seconds = configuration.trim_start_matches("boot").parse::<f64>();
                    launch = Some((*at, seconds.expect("the name says it")));
                }
            }
            Entry::RepeatFinished { .. } => last = Some(*at),
            Entry::LaunchEnded { outcome: LaunchOutcome::Failed(failure), .. } => {
                panic!("a launch failed: {}", failure.message)
            }
            _ => {}
        }
    }
    times
}
