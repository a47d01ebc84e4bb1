//! What a sweep leaves behind, as data: the manifest that is written once, and
//! what the journal adds up to. Results are computed from these alone.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::block::Block;
use super::confirmation::ConfirmationRecord;
pub use super::launch_record::LaunchRecord;
use super::production::{Replaced, Unproven};
use crate::configuration::{Configuration, canonical, hexadecimal};
use crate::gate::Gates;
use crate::grid::{Budget, Confirm, EngineBlock, Grid, SlurmBlock, Window};
use crate::machine::Machine;
use crate::metric::Objective;
use crate::strategy::{Order, Prediction, Purpose, Remaining, Strategy, StrategySpec, Task};
use crate::workload::{DatasetFile, SUITE_VERSION, Workload};

/// Version of every file format that this crate writes.
pub const SCHEMA_VERSION: u32 = 1;

/// What a sweep is, fixed at its start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SCHEMA_VERSION`] of the writer.
    pub schema_version: u32,
    /// Version of this tool.
    pub tool_version: String,
    /// The run's id, which no other run has: 128 random bits. An older version did not
    /// write it; [`Manifest::run_id`] gives one in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// The sweep's name: its folder's.
    pub sweep: String,
    /// The grid's name.
    pub grid: String,
    /// The grid file, relative to the sweep's folder.
    pub grid_path: PathBuf,
    /// SHA-256 of the grid file: a resume refuses when it changed.
    pub grid_sha256: String,
    /// When the sweep was started, RFC 3339 UTC.
    pub created_at: String,
    /// `docker`, `process` or `simulated`.
    pub engine: String,
    /// Whether every figure is simulated.
    pub simulated: bool,
    /// What was launched, whatever its flags; an older version did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// The machine that was simulated, where its speed moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulated_machine: Option<SimulatedMachine>,
    /// Name of the baseline configuration, where the grid names one.
    pub baseline: Option<String>,
    /// Every configuration, equals merged, in the grid's order.
    pub configurations: Vec<Configuration>,
    /// Canonical names of the flags that differ between configurations, in the grid's order.
    pub varied: Vec<String>,
    /// The benchmark suite.
    pub workloads: Vec<Workload>,
    /// Hash of the workloads before secrets were masked; versions that wrote none compare
    /// the masked ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workloads_sha256: Option<String>,
    /// The files that its prompts come from: a resume refuses when one changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub datasets: Vec<DatasetFile>,
    /// What is minimised or maximised, and within which bounds.
    pub objective: Objective,
    /// How launches are chosen.
    pub strategy: StrategySpec,
    /// The rule that orders them; an older version did not write it.
    #[serde(default)]
    pub order: Order,
    /// What was predicted when it began, where that was asked for; an older version did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<Prediction>,
    /// Seconds that the sweep may take, where limited.
    pub budget_seconds: Option<u64>,
    /// What else it may spend; an older version did not write it.
    #[serde(default, skip_serializing_if = "Budget::is_empty")]
    pub budget: Budget,
    /// The confirmation that the sweep goes on with, where it does; an older version did not
    /// write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<Confirm>,
    /// Operating system, kernel and processor of the host: results of different hosts do not mix.
    pub host: String,
    /// The cluster whose jobs make its launches, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<SlurmBlock>,
    /// The machine; an older version did not write it, and launches on a cluster have their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
    /// The image that is launched, where the engine launches one; an older version did not
    /// write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// What is started, as the grid or its compose file names it: a part of the configurations'
    /// ids. An older version did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// What candidates are made of besides image and flags: variables, volumes and the like of
    /// the compose service, each by its name with a hash of its value; without what bears the
    /// name of a secret. An older version did not write it, and there is none without a container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_parts: Option<BTreeMap<String, String>>,
    /// What is looked at in a launch before it is measured; an older version had no gates, and
    /// did not write them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gates: Option<Gates>,
    /// Times of the day in which it may launch; always where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// [`SUITE_VERSION`] of the writer; an older version did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite_version: Option<u32>,
}

impl Manifest {
    /// The run's id as 32 hexadecimal digits: the one that was written, else one that
    /// follows from its name and its beginning.
    pub fn run_id(&self) -> String {
        let is_id = |id: &&String| {
            id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        self.run_id.as_ref().filter(is_id).cloned().unwrap_or_else(|| {
            let named = format!("{}\n{}", self.sweep, self.created_at);
            hexadecimal(&Sha256::digest(named.as_bytes()))[..32].to_owned()
        })
    }

    /// Seconds of the machine in one second of the journal: a simulated one whose speed
    /// moves has a time of its own.
    pub fn machine_pace(&self) -> f64 {
        self.simulated_machine.as_ref().map_or(1.0, |machine| machine.speed)
    }

    /// Launches that its strategy is expected to take: exact where nothing is chosen during the
    /// sweep.
    pub fn expected_launches(&self) -> Remaining {
        let named = self.baseline.as_deref();
        let baseline =
            named.and_then(|name| self.configurations.iter().position(|it| it.answers_to(name)));
        let sizes = Task::sized(&self.configurations, baseline);
        self.strategy.expected_launches(&Task { order: self.order, ..sizes })
    }

    /// The strategy that the sweep began with, with its order.
    pub fn build_strategy(&self) -> Box<dyn Strategy> {
        let named = self.baseline.as_deref();
        let baseline =
            named.and_then(|name| self.configurations.iter().position(|it| it.answers_to(name)));
        let objective = &self.objective;
        let task = Task::of(&self.configurations, baseline, objective, self.order);
        let task = task.with_prediction(self.predicted.as_ref());
        self.strategy.build(&Task { pace: self.machine_pace(), ..task })
    }

    /// Makes it that of a block: the grid stays, what is measured with is the block's.
    fn change(&mut self, block: &Block) {
        self.tool_version.clone_from(&block.tool_version);
        self.suite_version = Some(block.suite_version);
        self.host.clone_from(&block.host);
        self.machine.clone_from(&block.machine);
        self.image_id.clone_from(&block.image_id);
        self.datasets.clone_from(&block.datasets);
        if block.service_parts.is_some() {
            self.service_parts.clone_from(&block.service_parts);
        }
        if let Some(image) = &block.image {
            self.image = Some(image.clone());
            for (configuration, id) in self.configurations.iter_mut().zip(&block.ids) {
                configuration.id.clone_from(id);
            }
        }
    }

    /// The manifest of a new sweep of a grid.
    pub fn of(grid: &Grid, sweep: String, now: jiff::Timestamp) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            run_id: None,
            sweep,
            grid: grid.name.clone(),
            grid_path: grid.path.clone(),
            grid_sha256: grid.sha256.clone(),
            created_at: now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            engine: grid.engine.name().to_owned(),
            simulated: matches!(grid.engine, EngineBlock::Simulated(_)),
            service: Some(Service::of(&grid.engine)),
            simulated_machine: SimulatedMachine::of(grid),
            baseline: grid.baseline.clone(),
            configurations: grid.configurations.clone(),
            varied: grid.varied.clone(),
            workloads: grid.workloads.clone(),
            workloads_sha256: workloads_sha256(&grid.workloads),
            datasets: grid.datasets.files(),
            objective: grid.objective.clone(),
            strategy: grid.strategy.clone(),
            order: Order::Opened,
            predicted: grid.predicted.clone(),
            budget_seconds: grid.budget_seconds,
            budget: grid.budget,
            confirm: grid.confirm,
            host: grid.hosts.as_ref().map_or_else(host, SlurmBlock::named),
            hosts: grid.hosts.clone(),
            machine: None,
            image_id: None,
            image: grid.engine.image(),
            service_parts: None,
            gates: Some(grid.gates.clone()),
            window: grid.window,
            suite_version: Some(SUITE_VERSION),
        }
    }
}

/// What an engine launches, whatever the flags: launches of it take similar times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// The compose file's name with the service, the image, the command, or the
    /// simulated GPUs with their speed.
    pub source: String,
    /// The model, where it is known.
    pub model: Option<String>,
}

impl Service {
    /// What a grid's engine launches.
    pub fn of(engine: &EngineBlock) -> Self {
        let image = || engine.image().unwrap_or_default();
        let source = match engine {
            EngineBlock::Docker(block) => match &block.service {
                // The names alone: a newer image is still the same service.
                Some(service) => format!("{}#{service}", block.compose.names()),
                None => image(),
            },
            EngineBlock::Process(_) => image(),
            EngineBlock::Simulated(block) => format!("{}, speed {}", image(), block.speed),
        };
        Self { source, model: engine.model().map(str::to_owned) }
    }

    /// Whether both are the same; a model that one of them does not know does not differ.
    pub fn is_same(&self, other: &Self) -> bool {
        let models = self.model.as_ref().zip(other.model.as_ref());
        self.source == other.source && models.is_none_or(|(own, others)| own == others)
    }
}

/// A simulated machine whose speed moves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SimulatedMachine {
    /// How its speed moves, as the grid says it.
    pub drift: String,
    /// Seed of its course.
    pub seed: u64,
    /// Its seconds in one second of the sweep.
    pub speed: f64,
}

impl SimulatedMachine {
    fn of(grid: &Grid) -> Option<Self> {
        let EngineBlock::Simulated(block) = &grid.engine else { return None };
        let drift = block.drift.as_ref()?;
        let (text, seed) = (drift.text().to_owned(), drift.seed(block.seed));
        Some(Self { drift: text, seed, speed: block.speed })
    }
}

/// Hash of workloads as they were requested.
pub fn workloads_sha256(workloads: &[Workload]) -> Option<String> {
    let content = canonical(&serde_json::to_value(workloads).ok()?);
    Some(hexadecimal(&Sha256::digest(content.as_bytes())))
}

/// Operating system, kernel and processor of this machine.
pub fn host() -> String {
    use sysinfo::{CpuRefreshKind, RefreshKind, System};
    let cpus = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing());
    let system = System::new_with_specifics(cpus).ok();
    let cpus = system.as_ref().map_or(&[][..], System::cpus);
    let processor = cpus.first().map(|cpu| cpu.brand().trim().to_owned());
    [
        System::long_os_version().ok(),
        System::kernel_version().ok(),
        Some(System::cpu_arch()),
        processor,
        Some(format!("{} cores", cpus.len())),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join(", ")
}

/// A block that is over, since another one began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EarlierBlock {
    /// Its number, from 1.
    pub number: u32,
    /// Its launches, in order.
    pub launches: Vec<LaunchRecord>,
    /// Its confirmations.
    pub confirmations: Vec<ConfirmationRecord>,
    /// Ids of the manifest's configurations in it, in their order.
    #[serde(default)]
    pub ids: Vec<String>,
    /// The block that followed it, with what changed.
    pub next: Block,
}

/// A sweep as its files describe it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SweepRecord {
    /// What it is.
    pub manifest: Manifest,
    /// What was launched in the latest block, in order: what counts.
    pub launches: Vec<LaunchRecord>,
    /// Confirmations of the latest block, in the order of their numbers.
    #[serde(default)]
    pub confirmations: Vec<ConfirmationRecord>,
    /// Earlier blocks. The manifest above has what the latest one is measured with.
    #[serde(default)]
    pub earlier: Vec<EarlierBlock>,
    /// Containers that serve production in place of what was stopped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<Replaced>,
    /// Production that was stopped and is not proven since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unproven: Option<Unproven>,
    /// How the last session that worked on the sweep itself ended; `None` while it goes on,
    /// and where it was killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<SweepEnd>,
    /// Why the confirmation that the grid asks for cannot be made, where that was found when the
    /// strategy's part was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_confirmed: Option<String>,
}

/// How a session of a sweep ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepEnd {
    /// Whether everything was done that was to be done.
    pub complete: bool,
    /// Why it ended.
    pub reason: String,
}

impl SweepRecord {
    /// A sweep of which nothing was launched.
    pub fn new(manifest: Manifest) -> Self {
        Self {
            manifest,
            launches: Vec::new(),
            confirmations: Vec::new(),
            earlier: Vec::new(),
            replaced: Vec::new(),
            unproven: None,
            ended: None,
            not_confirmed: None,
        }
    }

    /// Number of the latest block, from 1.
    pub fn block(&self) -> u32 {
        self.earlier.len() as u32 + 1
    }

    /// Number of the latest block's first trial.
    pub fn first_trial(&self) -> u32 {
        self.earlier.last().map_or(0, |it| it.next.first_trial)
    }

    /// Number of the first trial of a block that would begin now.
    pub fn next_first_trial(&self) -> u32 {
        // Trials of confirmations have numbers of their own.
        let own = self.launches.iter().filter(|it| it.purpose != Purpose::Confirm);
        own.map(|it| it.trial + 1).max().unwrap_or_default().max(self.first_trial())
    }

    /// Number of the next confirmation: those of all blocks have numbers of their own.
    pub fn next_confirmation(&self) -> u32 {
        let earlier: usize = self.earlier.iter().map(|it| it.confirmations.len()).sum();
        (earlier + self.confirmations.len()) as u32 + 1
    }

    /// The launches of all blocks in order, each with its block's number.
    pub fn all_launches(&self) -> impl DoubleEndedIterator<Item = (u32, &LaunchRecord)> {
        let earlier =
            self.earlier.iter().flat_map(|it| it.launches.iter().map(|one| (it.number, one)));
        let latest = self.block();
        earlier.chain(self.launches.iter().map(move |one| (latest, one)))
    }

    /// Id of a configuration in a block: another image that a person accepted gives another one.
    pub fn id_in(&self, block: u32, configuration: &Configuration) -> String {
        let known = self.manifest.configurations.iter();
        let place = known.map(|it| &it.name).position(|name| *name == configuration.name);
        let earlier = self.earlier.iter().find(|it| it.number == block);
        let id = earlier.zip(place).and_then(|(earlier, place)| earlier.ids.get(place));
        id.unwrap_or(&configuration.id).clone()
    }

    /// Begins a block: the launches and confirmations so far count no longer.
    pub fn begin_block(&mut self, block: &Block) {
        let number = self.block();
        let ids = self.manifest.configurations.iter().map(|it| it.id.clone()).collect();
        self.manifest.change(block);
        (self.ended, self.not_confirmed) = (None, None);
        self.earlier.push(EarlierBlock {
            number,
            launches: std::mem::take(&mut self.launches),
            confirmations: std::mem::take(&mut self.confirmations),
            ids,
            next: block.clone(),
        });
    }

    /// The launches of the sweep itself: those that confirm something are left out.
    pub fn own_launches(&self) -> impl DoubleEndedIterator<Item = &LaunchRecord> {
        self.launches.iter().filter(|launch| launch.confirmation.is_none())
    }

    /// The confirmation that the last session which confirmed left unfinished.
    pub fn unfinished_confirmation(&self) -> Option<&ConfirmationRecord> {
        let last = self.confirmations.iter().max_by_key(|it| it.session.0);
        last.filter(|it| it.ended.is_none())
    }

    /// The host that a launch ran on.
    pub fn host_of<'a>(&'a self, launch: &'a LaunchRecord) -> &'a str {
        launch.host.as_deref().unwrap_or(&self.manifest.host)
    }
}
