//! What sweeps differ in besides what was measured. A ratio between two sweeps is
//! the effect of all of it at once, so it is listed before any figure. Only what
//! manifests and journals contain; a sweep with blocks is its latest one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::compared::{Run, RunDifference};
use crate::configuration::canonical;
use crate::history::launch::LaunchFacts;
use crate::history::record::LaunchRecord;
use crate::machine::{Fact, Machine};

/// What each server measures by itself: it differs a little from launch to launch.
const MEASURED: &[&str] = &["kv-cache-max-concurrency", "kv-cache-size-tokens", "num-gpu-blocks"];

/// Everything that differs between the sweeps. `shared` are the names, by sweep, of
/// the configurations that all of them have.
pub(super) fn differences(runs: &[Run], shared: &[BTreeSet<String>]) -> Vec<RunDifference> {
    let kinds = |run: &Run| -> BTreeSet<&str> {
        run.record.manifest.workloads.iter().map(|workload| workload.kind().name).collect()
    };
    let everywhere =
        runs.iter().map(kinds).reduce(|known, more| &known & &more).unwrap_or_default();
    let workloads: Vec<_> = runs.iter().map(|run| workloads(run, &everywhere)).collect();
    // What the servers were asked comes first: other requests, other figures.
    let is_asked = |it: &RunDifference| it.what.ends_with(".request");
    let (mut all, options): (Vec<_>, Vec<_>) =
        of_maps("", &workloads).into_iter().partition(is_asked);
    all.extend(about_machines(runs));
    all.extend(about_runs(runs));
    all.extend(options);
    let effective: Vec<_> =
        runs.iter().zip(shared).map(|(run, names)| effective(run, names)).collect();
    all.extend(of_maps("effective.", &effective));
    all
}

fn about_runs(runs: &[Run]) -> Vec<RunDifference> {
    type Read = fn(&Run) -> Option<String>;
    let read: [(&str, Read); 11] = [
        ("figures", |run| {
            let simulated = run.record.manifest.simulated;
            Some(if simulated { "simulated" } else { "measured" }.to_owned())
        }),
        ("suite version", |run| run.record.manifest.suite_version.map(|it| it.to_string())),
        ("host", |run| Some(run.record.manifest.host.clone())),
        ("engine", |run| Some(run.record.manifest.engine.clone())),
        ("engine version", |run| joined(&versions(run))),
        ("image", |run| joined(&images(run))),
        ("seed", |run| Some(run.record.manifest.strategy.seed().to_string())),
        ("datasets", |run| {
            let files = run.record.manifest.datasets.iter();
            let files =
                files.map(|file| format!("{} {}", file.path.display(), short(&file.sha256)));
            Some(joined(&files.collect()).unwrap_or_else(none))
        }),
        ("bounds", |run| {
            let bounds = run.record.manifest.objective.constraints.iter();
            let bounds = bounds.map(|it| format!("{}: {}", it.metric, super::number::bound(it)));
            Some(joined(&bounds.collect()).unwrap_or_else(none))
        }),
        ("grid file", |run| {
            let manifest = &run.record.manifest;
            Some(format!("{} {}", manifest.grid, short(&manifest.grid_sha256)))
        }),
        ("version of vllm-grid", |run| Some(run.record.manifest.tool_version.clone())),
    ];
    let all = read.into_iter().map(|(what, read)| {
        let values: Vec<Option<String>> = runs.iter().map(read).collect();
        RunDifference { what: what.to_owned(), values }
    });
    // Where all recorded their machine, its facts say what is different about the host.
    let machines = runs.iter().all(|run| run.record.manifest.machine.is_some());
    all.filter(|it| differs(it) && !(machines && it.what == "host")).collect()
}

/// What the machines differ in, fact by fact. A sweep that did not record its machine differs
/// in nothing: what is not known is said elsewhere.
fn about_machines(runs: &[Run]) -> Vec<RunDifference> {
    let machines: Option<Vec<&Machine>> =
        runs.iter().map(|run| run.record.manifest.machine.as_ref()).collect();
    let Some(machines) = machines else { return Vec::new() };
    let facts: Vec<Vec<Fact>> = machines.iter().map(|it| it.facts()).collect();
    let Some(first) = facts.first() else { return Vec::new() };
    let of = |(at, fact): (usize, &Fact)| RunDifference {
        what: fact.what.to_owned(),
        values: facts.iter().map(|facts| facts[at].value.clone()).collect(),
    };
    first.iter().enumerate().map(of).filter(differs).collect()
}

/// What is compared of sweeps that recorded it, and is not of these.
pub(super) fn not_recorded(runs: &[Run]) -> Vec<&'static str> {
    let manifests = || runs.iter().map(|run| &run.record.manifest);
    let mut all = Vec::new();
    if manifests().any(|it| it.machine.is_none()) {
        all.extend(["GPU", "driver", "CUDA version", "power limit"]);
    }
    if manifests().any(|it| it.suite_version.is_none()) {
        all.push("suite version");
    }
    // No sweep records them.
    all.push("model weights");
    all
}

fn differs(differences: &RunDifference) -> bool {
    differences.values.windows(2).any(|pair| pair[0] != pair[1])
}

/// The keys whose values are not the same everywhere.
fn of_maps(prefix: &str, maps: &[BTreeMap<String, String>]) -> Vec<RunDifference> {
    let keys: BTreeSet<&String> = maps.iter().flat_map(BTreeMap::keys).collect();
    let all = keys.into_iter().map(|key| {
        let values = maps.iter().map(|map| map.get(key).cloned()).collect();
        RunDifference { what: format!("{prefix}{key}"), values }
    });
    all.filter(differs).collect()
}

/// The options of the workloads that run `everywhere`; any other is one entry.
fn workloads(run: &Run, everywhere: &BTreeSet<&str>) -> BTreeMap<String, String> {
    let mut options = BTreeMap::new();
    for workload in &run.record.manifest.workloads {
        let name = workload.kind().name;
        options.insert(format!("workload {name}"), "measured".to_owned());
        let Ok(Value::Object(mut all)) = serde_json::to_value(workload) else { continue };
        all.retain(|_, _| everywhere.contains(name));
        for (option, value) in all {
            options.insert(format!("{name}.{}", option.replace('_', "-")), canonical(&value));
        }
    }
    options
}

/// What the servers of these configurations chose by themselves.
fn effective(run: &Run, names: &BTreeSet<String>) -> BTreeMap<String, String> {
    let mut shown: BTreeMap<&String, BTreeSet<String>> = BTreeMap::new();
    let launches = run.record.launches.iter().filter(|it| names.contains(&it.configuration));
    for (flag, effective) in launches.flat_map(|launch| &launch.effective) {
        // What was asked for is a part of the configuration; the image is listed above.
        let own = effective.proof.is_none() && flag != "image";
        if let Some(value) = effective.value.as_ref().filter(|_| own)
            && !MEASURED.contains(&flag.as_str())
        {
            shown.entry(flag).or_default().insert(canonical(value));
        }
    }
    shown
        .into_iter()
        .map(|(flag, values)| (flag.clone(), values.into_iter().collect::<Vec<_>>().join(", ")))
        .collect()
}

/// Versions of the engine that its launches reported.
pub(super) fn versions(run: &Run) -> BTreeSet<String> {
    facts(run).filter_map(|facts| facts.engine_version.clone()).collect()
}

/// Images that its launches ran.
pub(super) fn images(run: &Run) -> BTreeSet<String> {
    facts(run).filter_map(|facts| facts.image_id.clone()).collect()
}

fn facts(run: &Run) -> impl Iterator<Item = &LaunchFacts> {
    run.record.launches.iter().filter_map(|launch: &LaunchRecord| launch.facts.as_ref())
}

fn joined(values: &BTreeSet<String>) -> Option<String> {
    let text = values.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    (!text.is_empty()).then_some(text)
}

/// What a manifest that has nothing of a kind says by that.
fn none() -> String {
    "none".to_owned()
}

/// Enough of a checksum to distinguish two.
fn short(checksum: &str) -> &str {
    checksum.get(..8).unwrap_or(checksum)
}
