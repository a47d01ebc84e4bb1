//! What the journal costs: a line for each repeat, and a sweep of 10,000 repeats that is
//! resumed, from the start of the process to its next launch.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use vllm_grid::bench::{NoRecords, RecordSink};
use vllm_grid::engine;
use vllm_grid::grid::{GridFile, ReadOptions};
use vllm_grid::history::journal::{self, Entry, Journal};
use vllm_grid::metric::Measurement;
use vllm_grid::secret::Secrets;
use vllm_grid::sweep::context::SweepContext;
use vllm_grid::sweep::events::{Event, Events};
use vllm_grid::sweep::run::Sweep;

const LAUNCHES: u32 = 1000;
const REPEATS: u32 = 10;
const GRID: &str = "name: long\nengine:\n  simulated: {model: Qwen/Qwen3-1.7B, gpu: rtx-4090, speed: 50, \
                    flags: {max-model-len: 8192}}\nparameters:\n  max-num-seqs: [8]\nworkloads:\n  \
                    kv-cache: {prefix-tokens: [1024], prompts: 1, output-tokens: 2}\nobjective:\n  \
                    minimize: kv_cache.ttft_resent_ms\nstrategy: {grid: {launches: 1001, repeats: 10}}\n";

/// Median and maximum time of the line of a repeat, on the disk of `place`.
pub(super) fn appended(place: &Path, sample: &[Entry]) -> (Duration, Duration) {
    let path = place.join("appended.jsonl");
    let (mut journal, _) = Journal::open(&path).expect("a new journal");
    let repeat = sample.iter().find(|entry| matches!(entry, Entry::RepeatFinished { .. }));
    let repeat = repeat.expect("a launch has repeats");
    let mut times: Vec<Duration> = (0..300)
        .map(|_| {
            let began = Instant::now();
            journal.append(jiff::Timestamp::now(), repeat.clone()).expect("appended");
            began.elapsed()
        })
        .collect();
    times.sort();
    (times[times.len() / 2], times[times.len() - 1])
}

/// The entries of one real launch, in the folder of its sweep.
pub(super) async fn sample(place: &Path) -> (PathBuf, Vec<Entry>) {
    let path = place.join("long.yaml");
    std::fs::write(&path, GRID).expect("writable");
    let file = GridFile::read(&path, &ReadOptions::default()).expect("a good grid");
    let grid = file.without_service();
    let run = place.join("long");
    let mut sweep = Sweep::begin(&grid, Some(&run), jiff::Timestamp::now(), &Secrets::default())
        .expect("a new sweep");
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let events = Events::to(move |event| {
        if matches!(&event, Event::Written(line) if matches!(line.entry, Entry::LaunchEnded { .. }))
        {
            stop.cancel();
        }
    });
    let engine = engine::of_grid(&grid, &Secrets::default()).await.expect("the simulated engine");
    let records = |_: &Path| Box::new(NoRecords) as Box<dyn RecordSink>;
    let context = SweepContext::of(&grid, engine, records).with_events(events).with_cancel(cancel);
    sweep.run(&context).await.expect("a sweep");
    let lines = journal::read(&run.join("journal.jsonl")).expect("a journal");
    let of_launch = lines.into_iter().map(|line| line.entry).filter(|entry| {
        !matches!(entry, Entry::SessionStarted { .. } | Entry::SessionEnded { .. })
    });
    (run, of_launch.collect())
}

/// From the start of `resume` to the line of its next launch.
pub(super) fn resumed(binary: &str, run: &Path, sample: &[Entry]) -> Duration {
    lengthen(run, sample);
    let path = run.join("journal.jsonl");
    let before = std::fs::metadata(&path).expect("a journal").len() as usize;
    let mut command = Command::new(binary);
    command.arg("resume").arg(run).current_dir(run.parent().expect("a parent"));
    command.env("VLLM_GRID_STATE", run.with_file_name("state"));
    command.env("VLLM_GRID_CLAIMS", run.with_file_name("state"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let mut child = command.spawn().expect("the binary starts");
    let took = loop {
        let now = std::fs::metadata(&path).expect("a journal").len() as usize;
        if now > before {
            let text = std::fs::read(&path).expect("a journal");
            let after = String::from_utf8_lossy(&text[before..]);
            if after.contains("launch_started") {
                break began.elapsed();
            }
        }
        assert!(began.elapsed() < Duration::from_mins(2), "no launch within two minutes");
        assert!(child.try_wait().expect("our own child").is_none(), "it ended without a launch");
        std::thread::sleep(Duration::from_millis(1));
    };
    child.kill().expect("our own child");
    child.wait().expect("our own child");
    took
}

/// Writes the journal of a sweep that was killed after 10,000 repeats, and as many files as
/// it has.
fn lengthen(run: &Path, sample: &[Entry]) {
    // Without waiting for a disk, where there is memory for it.
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory } else { run };
    let place = tempfile::tempdir_in(place).expect("a folder");
    let path = place.path().join("journal.jsonl");
    let (mut journal, _) = Journal::open(&path).expect("a new journal");
    let mut append = |entry| {
        journal.append(jiff::Timestamp::now(), entry).expect("appended");
    };
    append(Entry::SessionStarted {
        schema_version: vllm_grid::history::record::SCHEMA_VERSION,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        suite_version: None,
    });
    for launch in 1..=LAUNCHES {
        let mut repeat = 0;
        for entry in sample {
            let entry = numbered(entry.clone(), launch);
            if let Entry::RepeatFinished { measurement: Measurement { repeat: it, .. }, .. } =
                &entry
            {
                repeat = repeat.max(*it);
            }
            append(entry);
        }
        assert_eq!(repeat, REPEATS);
        let folder = run.join(format!("launches/{launch}-seqs8"));
        std::fs::create_dir_all(folder.join("records")).expect("made");
        std::fs::write(folder.join("engine.log"), "log").expect("written");
        for repeat in 0..=REPEATS {
            let name = format!("records/kv-cache-{repeat}.parquet");
            std::fs::write(folder.join(name), "records").expect("written");
        }
    }
    drop(journal);
    std::fs::copy(&path, run.join("journal.jsonl")).expect("copied");
}

/// The same of another launch.
fn numbered(mut entry: Entry, number: u32) -> Entry {
    match &mut entry {
        Entry::LaunchStarted { launch, trial, .. } => (*launch, *trial) = (number, number - 1),
        Entry::LaunchReady { launch, .. }
        | Entry::RepeatFinished { launch, .. }
        | Entry::LaunchEnded { launch, .. } => *launch = number,
        _ => {}
    }
    entry
}
