//! How long launches and repeats took, by what was journalled: what a plan and a running
//! sweep reckon with. Earlier sweeps count where they measured the same service on the
//! same host; of another one nothing is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;

use super::folder::Folder;
use super::launch::LaunchOutcome;
use super::record::{LaunchRecord, Manifest, Service, SweepRecord};
use super::values::{case_of, kept, value};
use crate::configuration::Configuration;
use crate::gate::{Gate, GateVerdict, Gates};
use crate::grid::Grid;
use crate::metric::MetricRef;
use crate::statistics::median;
use crate::strategy::{Order, StrategySpec};
use crate::workload::Workload;

/// Sweeps that are looked at, newest first: a journal can have thousands of lines, and
/// more sweeps of the same service hardly change a median.
const SWEEPS: usize = 10;

/// One repeat of one case: its options, and whether it is a warm-up.
type Pass = (String, String, bool);

/// A gate with its settings: other ones take another time.
type GateKey = (Gate, String);

/// Times that were measured, by the configuration's id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timing {
    /// Seconds of a launch besides its repeats: boot, proof, stop.
    around: BTreeMap<String, Vec<f64>>,
    passes: BTreeMap<Pass, BTreeMap<String, Vec<f64>>>,
    /// Of gates that asked something.
    gates: BTreeMap<GateKey, BTreeMap<String, Vec<f64>>>,
    /// Sum of squares within launches, and its degrees of freedom.
    repeats: (f64, usize),
    /// Sweeps that they come from.
    sweeps: usize,
}

/// What a sweep would take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// Seconds in all, of the fewest launches and of the most.
    pub seconds: (f64, f64),
    /// Configurations without a launch of their own: the others' times stand for theirs.
    pub unknown: usize,
}

impl Timing {
    /// Sweeps that it knows launches of.
    pub fn sweeps(&self) -> usize {
        self.sweeps
    }

    /// Whether it knows no launch.
    pub fn is_empty(&self) -> bool {
        self.around.is_empty()
    }

    /// Whether it knows a launch of this configuration.
    pub fn knows(&self, id: &str) -> bool {
        self.around.contains_key(id)
    }

    /// Adds what a sweep's launches took. Only whole launches count.
    pub fn learn(&mut self, record: &SweepRecord) {
        let ids: BTreeMap<&str, &str> = record
            .manifest
            .configurations
            .iter()
            .map(|known| (known.name.as_str(), known.id.as_str()))
            .collect();
        let specs = specs(&record.manifest.workloads);
        let gates = record.manifest.gates.as_ref();
        let mut learned = false;
        for launch in &record.launches {
            let whole = launch.outcome == Some(LaunchOutcome::Measured);
            if let (true, Some(id)) = (whole, ids.get(launch.configuration.as_str())) {
                learned |= self.learn_launch(launch, id, &specs, gates).is_some();
            }
        }
        self.sweeps += usize::from(learned);
    }

    fn learn_launch(
        &mut self,
        launch: &LaunchRecord,
        id: &str,
        specs: &[(&str, String)],
        settings: Option<&Gates>,
    ) -> Option<()> {
        let facts = launch.facts.as_ref()?;
        let mut before = if let Some(ready) = launch.ready_at {
            ready
        } else {
            let started: Timestamp = facts.started_at.parse().ok()?;
            let boot = jiff::SignedDuration::try_from_secs_f64(facts.boot_seconds).ok()?;
            started.checked_add(boot).ok()?
        };
        let whole = launch.ended_at?.duration_since(launch.started_at?).as_secs_f64();
        let mut measured = 0.0;
        // Nothing is learned of a launch where anything in it is unknown.
        let (mut gates, mut passes) = (Vec::new(), Vec::new());
        if launch.measured_at.len() != launch.measurements.len() {
            return None;
        }
        for (report, at) in launch.gates.iter().zip(&launch.gated_at) {
            let seconds = at.duration_since(before).as_secs_f64().max(0.0);
            before = *at;
            measured += seconds;
            if report.verdict != GateVerdict::Skipped {
                gates.extend(settings.map(|it| (gate_key(it, report.gate), seconds)));
            }
        }
        for (measurement, at) in launch.measurements.iter().zip(&launch.measured_at) {
            let seconds = at.duration_since(before).as_secs_f64().max(0.0);
            before = *at;
            measured += seconds;
            let (_, spec) = specs.iter().find(|(name, _)| *name == measurement.workload)?;
            let pass = (spec.clone(), measurement.case.clone(), measurement.repeat == 0);
            passes.push((pass, seconds));
        }
        for (key, seconds) in gates {
            self.gates.entry(key).or_default().entry(id.to_owned()).or_default().push(seconds);
        }
        for (pass, seconds) in passes {
            self.passes.entry(pass).or_default().entry(id.to_owned()).or_default().push(seconds);
        }
        self.around.entry(id.to_owned()).or_default().push((whole - measured).max(0.0));
        Some(())
    }

    /// Seconds of one launch of a configuration: from its own launches where there are
    /// any, else from all others. `None` where a workload was never measured so.
    pub fn launch_seconds(&self, id: &str, workloads: &[Workload], repeats: u32) -> Option<f64> {
        self.launch_seconds_by(typical, id, workloads, repeats)
    }

    /// The same if everything takes as long as it ever took.
    pub fn longest_launch_seconds(
        &self,
        id: &str,
        workloads: &[Workload],
        repeats: u32,
    ) -> Option<f64> {
        self.launch_seconds_by(longest, id, workloads, repeats)
    }

    /// The same from what this configuration itself took; `None` where it was never launched, or
    /// never measured so.
    pub fn own_longest_launch_seconds(
        &self,
        id: &str,
        workloads: &[Workload],
        repeats: u32,
    ) -> Option<f64> {
        self.launch_seconds_by(own_longest, id, workloads, repeats)
    }

    fn launch_seconds_by(
        &self,
        pick: fn(&BTreeMap<String, Vec<f64>>, &str) -> Option<f64>,
        id: &str,
        workloads: &[Workload],
        repeats: u32,
    ) -> Option<f64> {
        let mut seconds = pick(&self.around, id)?;
        for (workload, (_, spec)) in workloads.iter().zip(specs(workloads)) {
            let kept = workload.repeats.unwrap_or(u64::from(repeats));
            for case in workload.cases() {
                for (warmup, count) in [(true, workload.warmup), (false, kept)] {
                    if count > 0 {
                        let pass = (spec.clone(), case.clone(), warmup);
                        seconds += pick(self.passes.get(&pass)?, id)? * count as f64;
                    }
                }
            }
        }
        Some(seconds)
    }

    /// Seconds that a gate with these settings took in this configuration's launches: the
    /// median; `None` where it was never asked so.
    pub fn own_gate_seconds(&self, id: &str, gates: &Gates, gate: Gate) -> Option<f64> {
        median(self.gates.get(&gate_key(gates, gate))?.get(id)?)
    }

    /// The longest of these.
    pub fn own_longest_gate_seconds(&self, id: &str, gates: &Gates, gate: Gate) -> Option<f64> {
        own_longest(self.gates.get(&gate_key(gates, gate))?, id)
    }

    /// Seconds that a gate with these settings took: from this configuration's launches where
    /// there are any, else from all others. `None` where it was never asked so.
    pub fn gate_seconds(&self, id: &str, gates: &Gates, gate: Gate) -> Option<f64> {
        typical(self.gates.get(&gate_key(gates, gate))?, id)
    }

    /// The same if it takes as long as it ever took.
    pub fn longest_gate_seconds(&self, id: &str, gates: &Gates, gate: Gate) -> Option<f64> {
        longest(self.gates.get(&gate_key(gates, gate))?, id)
    }

    /// Seconds that a gate with these settings took in all launches: the median; `None` where
    /// it was never asked so.
    pub fn seconds_of_gate(&self, gates: &Gates, gate: Gate) -> Option<f64> {
        let times = self.gates.get(&gate_key(gates, gate))?;
        let all: Vec<f64> = times.values().flatten().copied().collect();
        median(&all)
    }

    /// What a whole sweep of a grid with a strategy would take; a gate that was never asked with
    /// its settings is taken by assumption. Of a strategy that chooses its launches the
    /// configurations' mean stands for each.
    pub fn expected(&self, grid: &Grid, strategy: &StrategySpec) -> Option<Expected> {
        let baseline = grid.baseline.as_deref();
        let all = grid.configurations.len();
        let (mut own, mut sum, mut unknown) = (0.0, (0.0, 0.0), 0);
        for configuration in &grid.configurations {
            let is_baseline = baseline.is_some_and(|name| configuration.answers_to(name));
            let count = strategy.launches_of(Order::Opened, all, is_baseline);
            let (each, once) = self.of_configuration(grid, configuration, strategy.repeats())?;
            own += each * f64::from(count) + once * f64::from(count.min(1));
            sum = (sum.0 + each, sum.1 + once);
            unknown += usize::from(!self.knows(&configuration.id));
        }
        let launches = strategy.expected_launches(&grid.sizes());
        let mean = |launches: u32| {
            let share = f64::from(launches) / all.max(1) as f64;
            sum.0 * share + sum.1 * share.min(1.0)
        };
        let seconds =
            if strategy.chooses() { (mean(launches.low), mean(launches.high)) } else { (own, own) };
        Some(Expected { seconds, unknown })
    }

    /// Seconds of each launch of a configuration, and of its first launch besides: gates that
    /// are asked once.
    fn of_configuration(
        &self,
        grid: &Grid,
        configuration: &Configuration,
        repeats: u32,
    ) -> Option<(f64, f64)> {
        let id = &configuration.id;
        let (mut each, mut once) = (self.launch_seconds(id, &grid.workloads, repeats)?, 0.0);
        for gate in grid.gates.of_launch(|_| false) {
            let known = self.gate_seconds(id, &grid.gates, gate);
            // What was never asked takes its time, too.
            let (low, high) = grid.assumed_gate_seconds(gate);
            let seconds = known.unwrap_or(f64::midpoint(low, high));
            *(if gate.is_of_each_launch() { &mut each } else { &mut once }) += seconds;
        }
        Some((each, once))
    }

    /// SD between kept repeats of one launch, of the logarithm of the objective that was looked
    /// for while learning; `None` where no launch had two of them.
    pub fn repeat_sd(&self) -> Option<f64> {
        let (squares, freedom) = self.repeats;
        (freedom > 0).then(|| (squares / freedom as f64).sqrt())
    }

    /// Adds how much the repeats of each launch differed in a metric.
    fn learn_repeats(&mut self, record: &SweepRecord, sought: &Sought) {
        let metric = &sought.metric;
        let is_same = specs(&record.manifest.workloads)
            .into_iter()
            .any(|it| sought.spec.as_ref() == Some(&it));
        let Some(case) = case_of(&record.manifest, metric).filter(|_| is_same) else { return };
        for launch in record.launches.iter().filter(|it| it.is_over()) {
            let values = kept(launch, &metric.workload, &case);
            let logs: Vec<f64> = values
                .filter_map(|it| value(it, &metric.name))
                .filter(|value| *value > 0.0)
                .map(f64::ln)
                .collect();
            let mean = logs.iter().sum::<f64>() / logs.len().max(1) as f64;
            self.repeats.0 += logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>();
            self.repeats.1 += logs.len().saturating_sub(1);
        }
    }
}

/// The objective whose repeats are looked at, and the workload that it comes from.
struct Sought {
    metric: MetricRef,
    spec: Option<(&'static str, String)>,
}

impl Sought {
    fn of(grid: &Grid) -> Self {
        let metric = grid.objective.metric.clone();
        let own = grid.workloads.iter().find(|it| it.kind().key == metric.workload);
        let spec = own.and_then(|it| specs(std::slice::from_ref(it)).pop());
        Self { metric, spec }
    }
}

/// The configuration's own median, else that of all medians.
fn typical(times: &BTreeMap<String, Vec<f64>>, id: &str) -> Option<f64> {
    if let Some(own) = times.get(id) {
        return median(own);
    }
    let medians: Vec<f64> = times.values().filter_map(|values| median(values)).collect();
    median(&medians)
}

/// The configuration's own longest, else the longest of all.
fn longest(times: &BTreeMap<String, Vec<f64>>, id: &str) -> Option<f64> {
    let all = || times.values().flatten().copied().reduce(f64::max);
    own_longest(times, id).or_else(all)
}

/// The configuration's own longest.
fn own_longest(times: &BTreeMap<String, Vec<f64>>, id: &str) -> Option<f64> {
    times.get(id)?.iter().copied().reduce(f64::max)
}

fn gate_key(gates: &Gates, gate: Gate) -> GateKey {
    let settings = match gate {
        Gate::Canary => serde_json::to_string(&gates.canary),
        Gate::Survival => serde_json::to_string(&gates.survival),
        Gate::Function => serde_json::to_string(&gates.function),
    };
    (gate, settings.unwrap_or_default())
}

/// Name and options of each workload, without how often it is repeated.
fn specs(workloads: &[Workload]) -> Vec<(&'static str, String)> {
    let spec = |workload: &Workload| serde_json::to_string(&workload.spec).unwrap_or_default();
    workloads.iter().map(|workload| (workload.kind().name, spec(workload))).collect()
}

/// What earlier sweeps in a folder took that launched the same service on this host.
/// A sweep that cannot be read is left out; so is `except`.
pub fn earlier(runs: &Path, grid: &Grid, except: Option<&str>) -> Timing {
    let (asked, sought) = (Asked::of(grid), Sought::of(grid));
    let mut timing = Timing::default();
    let Ok(entries) = std::fs::read_dir(runs) else { return timing };
    let mut sweeps: Vec<(String, Folder)> = entries
        .flatten()
        .filter_map(|entry| {
            let folder = Folder::existing(&entry.path()).ok()?;
            let manifest = folder.manifest().ok()?;
            let is_it = asked.is_same(&manifest) && except != Some(manifest.sweep.as_str());
            is_it.then_some((manifest.created_at, folder))
        })
        .collect();
    sweeps.sort_by(|(a, _), (b, _)| b.cmp(a));
    for (_, folder) in sweeps.iter().take(SWEEPS) {
        match folder.record() {
            Ok(record) => {
                timing.learn(&record);
                timing.learn_repeats(&record, &sought);
            }
            Err(error) => tracing::debug!("left out of the estimate: {error}"),
        }
    }
    timing
}

/// What a sweep must have launched to tell something of a grid.
struct Asked {
    engine: &'static str,
    host: String,
    service: Service,
    ids: BTreeSet<String>,
}

impl Asked {
    fn of(grid: &Grid) -> Self {
        Self {
            engine: grid.engine.name(),
            host: super::record::host(),
            service: Service::of(&grid.engine),
            ids: grid.configurations.iter().map(|known| known.id.clone()).collect(),
        }
    }

    /// Older manifests do not name the service: there a configuration in common, whose
    /// id has image, model and flags in it, shows that it is the same.
    fn is_same(&self, manifest: &Manifest) -> bool {
        let shared = || manifest.configurations.iter().any(|it| self.ids.contains(&it.id));
        manifest.engine == self.engine
            && manifest.host == self.host
            && manifest.service.as_ref().map_or_else(shared, |it| it.is_same(&self.service))
    }
}

#[cfg(test)]
#[path = "timing_tests.rs"]
mod tests;
