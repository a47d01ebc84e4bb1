//! Whole sweeps over a cluster in virtual time, while nodes die, jobs are preempted, cancelled
//! and started twice, Slurm is silent and the controller is killed, at random moments of a
//! printed seed: each must come to what one host comes to. Numbers of schedules and of
//! configurations are variables: `VLLM_GRID_CLUSTERS`, `VLLM_GRID_CLUSTER_SIZE`. The real Slurm
//! has tests and a campaign of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::time::{sleep, timeout};

use crate::bench::suite::BenchError;
use crate::bench::{NoRecords, RecordSink};
use crate::engine::Launched;
use crate::gate::{Gate, GateOrder, GateReport};
use crate::grid::{Grid, GridFile, ReadOptions, Sharing};
use crate::history::folder::Folder;
use crate::history::record::SweepRecord;
use crate::metric::{Measurement, MetricReasons, MetricValue, Status};
use crate::results::ranking;
use crate::secret::Secrets;
use crate::server::proof::Proof;
use crate::strategy::Task;
use crate::sweep::context::SweepContext;
use crate::sweep::fakes::{Actions, FakeEngine};
use crate::sweep::hosts::Hosts;
use crate::sweep::hosts::slurm::cluster::{Cluster, Setting};
use crate::sweep::hosts::slurm::fake::FakeSlurm;
use crate::sweep::launch::{Job, Measure, MeasureSession, TrialOrder};
use crate::sweep::run::{Ending, Sweep};
use crate::sweep::{Pass, SweepError};

const NODES: [&str; 3] = ["n1", "n2", "n3"];
/// Seconds of a repeat.
const REPEAT: u64 = 5;
const SEED: u64 = 20_261_129;

fn variable(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|it| it.parse().ok()).unwrap_or(otherwise)
}

fn grid(place: &Path, configurations: u64, launches: u64) -> Grid {
    let text = format!(
        "name: cluster
engine: {{simulated: {{model: Qwen/Qwen3-1.7B, gpu: rtx-4090}}}}
hosts: {{slurm: {{at-once: 3}}}}
baseline: seqs1
parameters: {{max-num-seqs: [{}]}}
include: [{{name: seqs1, max-num-seqs: 1}}]
workloads: {{kv-cache: {{prefix-tokens: [512]}}}}
objective: {{minimize: kv_cache.ttft_resent_ms}}
strategy: {{grid: {{launches: {launches}, repeats: 2, seed: 1}}}}
",
        (1..=configurations).map(|it| it.to_string()).collect::<Vec<_>>().join(", ")
    );
    let path = place.join("grid.yaml");
    std::fs::write(&path, text).expect("written");
    let options = ReadOptions::default();
    GridFile::read(&path, &options).expect("a grid").without_service()
}

/// The same value of a repeat wherever it is measured, times what the node is slower.
struct Told {
    slower: f64,
}

#[async_trait]
impl Measure for Told {
    async fn prove(&self, _: &TrialOrder, _: &mut dyn Launched) -> Proof {
        Proof::default()
    }

    fn records(&self, _: &Path) -> Box<dyn RecordSink> {
        Box::new(NoRecords)
    }

    async fn begin<'a>(&'a self, job: Job<'a>) -> Result<Box<dyn MeasureSession + 'a>, BenchError> {
        Ok(Box::new(Session { slower: self.slower, job }))
    }
}

struct Session<'a> {
    slower: f64,
    job: Job<'a>,
}

#[async_trait]
impl MeasureSession for Session<'_> {
    async fn gate(&mut self, gate: Gate, order: &GateOrder) -> Result<GateReport, BenchError> {
        Ok(GateReport::judged(gate, Vec::new(), BTreeMap::new(), &order.against))
    }

    async fn repeat(&mut self, pass: &Pass) -> Result<Measurement, BenchError> {
        tokio::select! {
            () = self.job.cancel.cancelled() => return Err(BenchError::Cancelled),
            () = sleep(Duration::from_secs(REPEAT)) => {}
        }
        let order = self.job.order;
        let seqs = order.launch.configuration.flags.get("max-num-seqs").map(ToString::to_string);
        let seqs: f64 = seqs.and_then(|it| it.parse().ok()).expect("a number");
        let key = [u64::from(order.trial), u64::from(pass.repeat)];
        let seed = key.iter().fold(7_u64, |sum, it| sum.wrapping_mul(0x0100_0000_01b3) ^ it);
        let noise: f64 = ChaCha8Rng::seed_from_u64(seed).random_range(-0.01..0.01);
        // A tenth of the distance between two of them.
        let value = self.slower * 1000.0 * (1.0 + seqs / 10.0) * (1.0 + noise);
        Ok(Measurement {
            workload: pass.workload.kind().name.to_owned(),
            case: pass.case.clone(),
            repeat: pass.repeat,
            status: Status::Ok,
            reason: None,
            metrics: [("ttft_resent_ms".to_owned(), Some(MetricValue::Number(value)))].into(),
            metric_reasons: MetricReasons::new(),
        })
    }
}

fn cluster(slurm: &FakeSlurm, sweep: &Sweep) -> Arc<dyn Hosts> {
    let record = sweep.record();
    let setting = Setting {
        block: record.manifest.hosts.clone().expect("a cluster"),
        seconds: 600,
        run_id: record.manifest.run_id(),
        run: sweep.folder().path().to_owned(),
        program: PathBuf::from("/opt/vllm-grid"),
        secrets: Secrets::default(),
        sharing: Sharing::of(
            &record.manifest.strategy,
            &Task::sized(&record.manifest.configurations, None),
            3,
        ),
    };
    Arc::new(Cluster::new(setting, Arc::new(slurm.clone()), Some(record)))
}

fn slurm(slow: &'static str, by: f64) -> FakeSlurm {
    let slurm = FakeSlurm::new(
        &NODES,
        Arc::new(FakeEngine::new(&Actions::default())),
        Arc::new(Told { slower: 1.0 }),
    );
    slurm.measures(move |node| Arc::new(Told { slower: if node == slow { by } else { 1.0 } }))
}

/// One session, on a cluster or on this host, for so many seconds at most; whether it ended.
async fn session(grid: &Grid, run: &Path, on: Option<&FakeSlurm>, seconds: u64) -> bool {
    let secrets = Secrets::default();
    let mut sweep = if let Ok(folder) = Folder::existing(run) {
        Sweep::resume(folder, &secrets).expect("a sweep").with_configurations(grid)
    } else {
        let now = jiff::Timestamp::UNIX_EPOCH;
        Sweep::begin_with(grid, Some(run), now, &secrets, None).expect("a new sweep")
    };
    let engine = Arc::new(FakeEngine::new(&Actions::default()));
    let nowhere = |_: &Path| Box::new(NoRecords) as Box<dyn RecordSink>;
    let context = SweepContext {
        measure: Arc::new(Told { slower: 1.0 }),
        elsewhere: on.map(|it| cluster(it, &sweep)),
        ..SweepContext::of(grid, engine, nowhere)
    };
    match timeout(Duration::from_secs(seconds), sweep.run(&context)).await {
        // Somebody cancels one job after the other: a person looks at that.
        Ok(Err(SweepError::Stopped { message, environment: true, .. }))
            if message.contains("launches in a row were lost") =>
        {
            false
        }
        Ok(ending) => {
            assert_eq!(ending.expect("it ends well"), Ending::Complete);
            true
        }
        Err(_) => false,
    }
}

/// What happens to a cluster, again and again.
async fn disturb(slurm: FakeSlurm, mut dice: ChaCha8Rng) {
    loop {
        sleep(Duration::from_secs(dice.random_range(5..60))).await;
        let node = NODES[dice.random_range(0..NODES.len())];
        match dice.random_range(0..8) {
            0 => {
                slurm.dies(node);
                sleep(Duration::from_secs(dice.random_range(1..90))).await;
                slurm.takes_jobs(node, true);
            }
            1 => slurm.ends(node, "PREEMPTED", dice.random_range(0..6)),
            2 => slurm.ends(node, "CANCELLED", dice.random_range(0..6)),
            3 => slurm.requeues(node),
            4 => {
                slurm.takes_jobs(node, false);
                sleep(Duration::from_secs(dice.random_range(1..60))).await;
                slurm.takes_jobs(node, true);
            }
            5 => slurm.loses_answer(),
            6 => {
                for _ in 0..dice.random_range(1..5) {
                    slurm.answers(
                        "squeue",
                        FakeSlurm::refusal("Unable to contact slurm controller"),
                    );
                }
            }
            _ => {
                let full = FakeSlurm::refusal("Resource temporarily unavailable");
                slurm.answers("sbatch", full);
            }
        }
    }
}

/// What was measured: values by configuration, trial and repeat.
fn measured(record: &SweepRecord) -> BTreeMap<(String, u32, u32), String> {
    let mut all = BTreeMap::new();
    for launch in &record.launches {
        for it in launch.measurements.iter().filter(|it| it.repeat > 0) {
            let key = (launch.configuration.clone(), launch.trial, it.repeat);
            let value = serde_json::to_string(&it.metrics).expect("data");
            assert!(all.insert(key.clone(), value).is_none(), "measured twice: {key:?}");
        }
    }
    all
}

fn order(record: &SweepRecord) -> Vec<String> {
    ranking::rank(record).rows.iter().map(|it| it.name.clone()).collect()
}

async fn alone(grid: &Grid, place: &Path) -> SweepRecord {
    let run = place.join("alone");
    assert!(session(grid, &run, None, 1_000_000).await);
    Folder::existing(&run).expect("a sweep").record().expect("a legal journal")
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_to_a_cluster_a_sweep_comes_to_what_one_host_comes_to() {
    let place = tempfile::tempdir().expect("a folder");
    let grid = grid(place.path(), variable("VLLM_GRID_CLUSTER_SIZE", 6), 2);
    let expected = measured(&alone(&grid, place.path()).await);
    let mut lost = 0;
    for schedule in 0..variable("VLLM_GRID_CLUSTERS", 6) {
        let seed = variable("VLLM_GRID_CRASH_SEED", SEED) + schedule;
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        let (slurm, run) = (slurm("none", 1.0), place.path().join(format!("run{schedule}")));
        let disturbed = tokio::spawn(disturb(slurm.clone(), ChaCha8Rng::seed_from_u64(!seed)));
        // Each session dies at some moment, until one lives long enough.
        let mut sessions = 1;
        while !session(&grid, &run, Some(&slurm), dice.random_range(20..400)).await {
            sessions += 1;
            sleep(Duration::from_secs(dice.random_range(0..120))).await;
        }
        disturbed.abort();
        let record = Folder::existing(&run).and_then(|it| it.record()).expect("a legal journal");
        assert_eq!(measured(&record), expected, "seed {seed}, {sessions} sessions");
        assert_eq!(slurm.living(), 0, "seed {seed}: jobs are left");
        lost += record.launches.len() - expected.len() / 2;
    }
    assert!(lost > 0, "nothing was disturbed");
}

#[tokio::test(start_paused = true)]
async fn a_slow_node_changes_no_ranking_and_without_its_level_it_would() {
    let place = tempfile::tempdir().expect("a folder");
    let grid = grid(place.path(), 8, 2);
    let quiet = order(&alone(&grid, place.path()).await);
    let (slurm, run) = (slurm("n2", 1.3), place.path().join("run"));
    assert!(session(&grid, &run, Some(&slurm), 1_000_000).await);
    let mut record = Folder::existing(&run).and_then(|it| it.record()).expect("a legal journal");
    let ranking = ranking::rank(&record);
    assert_eq!(order(&record), quiet);
    let hosts = ranking.machine.map(|it| it.hosts).unwrap_or_default();
    let slower: Vec<String> =
        hosts.iter().filter_map(|it| it.slower.as_ref()).map(ToString::to_string).collect();
    assert!(slower.iter().any(|it| it.starts_with("host n2 is ")), "{slower:?}");
    for launch in &mut record.launches {
        launch.host = Some("one".to_owned());
    }
    assert_ne!(order(&record), quiet, "the ranking does not need the nodes' levels");
}
