//! What a report's data cost: a made-up sweep of 200 configurations and 10,400 repeats, with
//! records of 64 requests each and telemetry of 800 launches.

use std::path::Path;
use std::time::{Duration, Instant};

use polars::prelude::{Column, DataFrame, NamedFrom as _, ParquetWriter, Series};
use vllm_grid::bench::{RecordSink as _, RepeatKey};
use vllm_grid::client::record::{Chunk, RequestRecord};
use vllm_grid::grid::{GridFile, ReadOptions};
use vllm_grid::history::launch::LaunchOutcome;
use vllm_grid::history::record::{LaunchRecord, Manifest, SweepRecord};
use vllm_grid::metric::{Measurement, MetricReasons, MetricValue, Status};
use vllm_grid::results::analysis::Analysis;
use vllm_grid::results::ranking::rank;
use vllm_grid::results::records::{ParquetRecords, file_name};

const LAUNCHES: u32 = 4;
const REPEATS: u32 = 13;
const REQUESTS: u32 = 64;
/// Samples of a launch: ten minutes with one GPU.
const SAMPLES: i64 = 3600;

const GRID: &str = "name: large
engine:
  simulated: {model: Qwen/Qwen3-8B, gpu: rtx-4090, gpus: 1, seed: 1, speed: 25, flags: {max-model-len: 8192}}
parameters:
  gpu-memory-utilization: [0.7, 0.75, 0.8, 0.85, 0.9]
  max-num-seqs: [8, 16, 32, 64, 128]
  max-num-batched-tokens: [1024, 2048, 4096, 8192]
  enable-prefix-caching: [true, false]
workloads:
  load: {concurrency: [16], requests: 64}
objective: {maximize: load.output_throughput}
strategy: grid
";

/// What it took: the ranking, the analysis, and the memory that the analysis added.
pub(super) struct Cost {
    pub(super) ranking: Duration,
    pub(super) analysis: Duration,
    pub(super) bytes: u64,
}

pub(super) fn cost(place: &Path) -> Cost {
    let run = place.join("large-sweep");
    let record = sweep(place);
    files(&run, &record);
    let began = Instant::now();
    let ranking = rank(&record);
    let of_ranking = began.elapsed();
    // From here on the peak is the analysis's own.
    std::fs::write("/proc/self/clear_refs", "5").expect("the peak is reset");
    let before = status("VmRSS:");
    let began = Instant::now();
    let analysis = Analysis::of(&record, &ranking, &run);
    let took = began.elapsed();
    assert_eq!(analysis.notes, Vec::<String>::new());
    assert_eq!(analysis.distributions[0].curves.len(), record.manifest.configurations.len());
    Cost { ranking: of_ranking, analysis: took, bytes: status("VmHWM:").saturating_sub(before) }
}

/// A line of this process's status, in bytes.
fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a known line");
    line.split_whitespace().next().and_then(|it| it.parse::<u64>().ok()).expect("kB") * 1024
}

fn sweep(place: &Path) -> SweepRecord {
    let path = place.join("large-sweep.yaml");
    std::fs::write(&path, GRID).expect("writable");
    let grid = GridFile::read(&path, &ReadOptions::default()).expect("a grid").without_service();
    let start: jiff::Timestamp = "2026-11-24T18:00:00Z".parse().expect("a time");
    let mut record = SweepRecord::new(Manifest::of(&grid, "large".to_owned(), start));
    let count = record.manifest.configurations.len() as u32;
    for number in 0..LAUNCHES * count {
        let at =
            |second: i64| start + jiff::SignedDuration::from_secs(i64::from(number) * 600 + second);
        let configuration = &record.manifest.configurations[(number % count) as usize];
        let measured = (0..=REPEATS).map(|repeat| measurement(repeat, number));
        record.launches.push(LaunchRecord {
            launch: number + 1,
            trial: number,
            started_at: Some(at(0)),
            ready_at: Some(at(60)),
            ended_at: Some(at(590)),
            configuration: configuration.name.clone(),
            measurements: measured.collect(),
            measured_at: (0..=i64::from(REPEATS)).map(|repeat| at(80 + 35 * repeat)).collect(),
            outcome: Some(LaunchOutcome::Measured),
            ..LaunchRecord::default()
        });
    }
    record
}

fn measurement(repeat: u32, seed: u32) -> Measurement {
    let noise = f64::from((seed * 131 + repeat * 31) % 97) / 97.0;
    let value = |it: f64| Some(MetricValue::Number(it));
    Measurement {
        workload: "load".to_owned(),
        case: String::new(),
        repeat,
        status: Status::Ok,
        reason: None,
        metrics: [
            ("output_throughput".to_owned(), value(100.0 + f64::from(seed % 200) / 10.0 + noise)),
            ("median_ttft_ms".to_owned(), value(80.0 + noise)),
        ]
        .into(),
        metric_reasons: MetricReasons::new(),
    }
}

/// The same few files under all names.
fn files(run: &Path, record: &SweepRecord) {
    let template = run.join("template");
    std::fs::create_dir_all(&template).expect("made");
    let key =
        |repeat| RepeatKey { launch: 1, workload: "load".to_owned(), case: String::new(), repeat };
    for repeat in 1..=REPEATS {
        let records: Vec<RequestRecord> =
            (0..REQUESTS).map(|index| request(index, repeat)).collect();
        ParquetRecords::in_launch(&template).store(&key(repeat), &records).expect("stored");
    }
    for launch in &record.launches {
        let folder = run.join(format!("launches/{}-{}", launch.launch, launch.configuration));
        std::fs::create_dir_all(folder.join("records")).expect("made");
        telemetry(&folder.join("telemetry.parquet"), launch);
        for repeat in 1..=REPEATS {
            let name = Path::new("records").join(file_name(&key(repeat)));
            std::fs::copy(template.join(&name), folder.join(&name)).expect("copied");
        }
    }
}

fn request(index: u32, repeat: u32) -> RequestRecord {
    let sent_ns = u64::from(index) * 10_000_000;
    let first = sent_ns + 50_000_000 + u64::from((index * 37 + repeat * 11) % 61) * 1_000_000;
    let at = |chunk: u64| Chunk { at_ns: first + chunk * 9_000_000, bytes: 4 };
    RequestRecord {
        index,
        purpose: "load".to_owned(),
        scheduled_ns: sent_ns,
        sent_ns,
        first_token_ns: Some(first),
        last_token_ns: Some(first + 63 * 9_000_000),
        end_ns: Some(first + 64 * 9_000_000),
        response_id: Some(format!("chatcmpl-{repeat}-{index}")),
        chunks: (0..64).map(at).collect(),
        http_status: Some(200),
        ..RequestRecord::default()
    }
}

fn telemetry(path: &Path, launch: &LaunchRecord) {
    let start = launch.started_at.expect("a start").as_millisecond();
    let rows = || 0..SAMPLES;
    let every = |each: i64, value: f64| -> Vec<Option<f64>> {
        rows().map(|row| (row % each == 0).then_some(value + row as f64 / 1e4)).collect()
    };
    let times: Vec<i64> = rows().map(|row| start + row * 160).collect();
    let gpu: Vec<Option<u32>> = rows().map(|row| (row % 3 != 0).then_some(0)).collect();
    let columns: Vec<Column> = vec![
        Series::new("at_unix_ms".into(), times).into(),
        Series::new("gpu.index".into(), gpu).into(),
        Series::new("host.cpu".into(), every(6, 0.3)).into(),
        Series::new("gpu.memory_bytes".into(), every(2, 2e10)).into(),
        Series::new("gpu.power_w".into(), every(2, 300.0)).into(),
        Series::new("gpu.temperature_c".into(), every(2, 60.0)).into(),
        Series::new("server.kv_cache_usage".into(), every(6, 0.2)).into(),
    ];
    let mut frame = DataFrame::new(SAMPLES as usize, columns).expect("equal lengths");
    let file = std::fs::File::create(path).expect("writable");
    ParquetWriter::new(file).finish(&mut frame).expect("written");
}
