//! The soak: one sweep of many launches on Docker. Descriptors and memory of the sweep's
//! process, and the daemon's containers, networks and volumes, are looked at after each
//! launch; what grows with the launches would end a long night.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::Asked;
use crate::containers::{self, Project, docker};
use crate::place::{Place, within};

/// Memory may grow by so much from the first launches to the end, in MB.
const GROWTH: f64 = 5.0;

/// What is there after a launch.
#[derive(Clone, Copy, Debug)]
struct Sample {
    launches: usize,
    descriptors: usize,
    threads: usize,
    memory_mb: f64,
    containers: usize,
    networks: usize,
    volumes: usize,
}

impl Sample {
    fn of(pid: u32, launches: usize, project: &Project) -> Option<Self> {
        let process = format!("/proc/{pid}");
        let count = |arguments: &[&str]| docker(arguments).lines().count();
        let entries =
            |of: &str| Some(std::fs::read_dir(Path::new(&process).join(of)).ok()?.count());
        let status = std::fs::read_to_string(format!("{process}/status")).ok()?;
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kb: f64 = memory.trim().trim_end_matches(" kB").parse().ok()?;
        Some(Self {
            launches,
            descriptors: entries("fd")?,
            threads: entries("task")?,
            memory_mb: kb / 1e3,
            containers: project.candidates().len(),
            networks: count(&["network", "ls", "-q"]),
            volumes: count(&["volume", "ls", "-q"]),
        })
    }
}

/// Runs it; whether everything stayed flat.
pub(crate) fn run(asked: &Asked) -> bool {
    let began = Instant::now();
    let launches = asked.count.unwrap_or(200).max(10).next_multiple_of(2);
    let grid = format!(
        "name: soak\nengine:\n  docker:\n    compose: compose.yaml\n    service: vllm\n    \
         production: {{service: vllm}}\n    gpus: false\n    caches: false\nparameters:\n  \
         enable-prefix-caching: [true, false]\nworkloads:\n  kv-cache: {{prefix-tokens: [512], \
         prompts: 2, output-tokens: 4}}\nobjective: {{minimize: kv_cache.ttft_resent_ms}}\n\
         strategy: {{grid: {{launches: {}, repeats: 1, seed: {}}}}}\n",
        launches / 2,
        asked.seed % 1000
    );
    let place = Place::new(&grid);
    let project = Project::up(&place);
    let mut child = place.start(&["sweep", "grid.yaml", "--output", "run"]);
    let mut samples: Vec<Sample> = Vec::new();
    let mut faults: Vec<String> = Vec::new();
    let status = loop {
        if let Some(status) = within(&mut child, Duration::from_millis(100)) {
            break Some(status);
        }
        if began.elapsed() > Duration::from_secs(60 + 15 * launches as u64) {
            child.kill().expect("our own child");
            child.wait().expect("our own child");
            break None;
        }
        let ended = place.lines().iter().filter(|it| it.contains("\"launch_ended\"")).count();
        if samples.last().map_or(0, |last| last.launches) < ended {
            samples.extend(Sample::of(child.id(), ended, &project));
        }
    };
    if !status.is_some_and(|status| status.success()) {
        faults.push(format!("the sweep ended with {status:?}: {}", place.said()));
    }
    let left = project.candidates().len();
    if left > 0 || !project.production_runs() {
        faults.push(format!("{left} containers are left, or production is down"));
    }
    faults.extend(project.faults());
    drop(project);
    containers::remove_image();
    // The first launches fill caches and pools.
    let warm = samples.iter().find(|it| it.launches >= (launches / 2).min(20)).copied();
    let (Some(warm), Some(last)) = (warm, samples.last().copied()) else {
        println!("soak: too few launches were seen: {faults:?}");
        return false;
    };
    let growth = last.memory_mb - warm.memory_mb;
    let most = |of: fn(&Sample) -> usize| {
        let later = samples.iter().filter(|it| it.launches >= warm.launches);
        later.map(of).max().unwrap_or(0)
    };
    if growth > GROWTH {
        faults.push(format!("memory grew by {growth:.1} MB"));
    }
    // A launch may be in flight while it is counted: one container, some descriptors.
    for (what, from, to, more) in [
        ("descriptors", warm.descriptors, most(|it| it.descriptors), 12),
        ("threads", warm.threads, most(|it| it.threads), 8),
        ("containers", warm.containers, most(|it| it.containers), 1),
        ("networks", warm.networks, most(|it| it.networks), 0),
        ("volumes", warm.volumes, most(|it| it.volumes), 0),
    ] {
        if to > from + more {
            faults.push(format!("{what}: {to} where {from} were"));
        }
    }
    println!(
        "soak: {launches} launches in {:.0} s: {} faults",
        began.elapsed().as_secs_f64(),
        faults.len()
    );
    println!("  from launch {}: {warm:?}\n  to the end:  {last:?}", warm.launches);
    for fault in &faults {
        println!("FAULT {fault}");
    }
    let line = serde_json::json!({
        "name": "soak", "seed": asked.seed, "launches": last.launches,
        "from_launch": warm.launches, "memory_growth_mb": (growth * 10.0).round() / 10.0,
        "memory_mb": last.memory_mb.round(),
        "descriptors": [warm.descriptors, last.descriptors],
        "threads": [warm.threads, last.threads],
        "containers": [warm.containers, last.containers],
        "networks": [warm.networks, last.networks], "volumes": [warm.volumes, last.volumes],
        "seconds": began.elapsed().as_secs_f64().round(), "faults": faults,
        "ok": faults.is_empty(),
    });
    asked.write("soak", &line);
    faults.is_empty()
}
