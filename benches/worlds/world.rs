//! A simulated night: a machine whose speed moves, launches that take time, and what they
//! measured, as the record that a real sweep leaves. The order of launches is the
//! strategy's own; the analysis sees nothing but the record.

use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, json};
use vllm_grid::configuration::{Configuration, Identity, Stack};
use vllm_grid::history::launch::LaunchOutcome;
use vllm_grid::history::record::{LaunchRecord, Manifest, SCHEMA_VERSION, SweepRecord};
use vllm_grid::metric::{Goal, Measurement, MetricRef, MetricValue, Objective, Status};
use vllm_grid::strategy::grid::Blocks;
use vllm_grid::strategy::{GridStrategy, Order, StrategySpec};
use vllm_grid::workload::Workload;

/// Seconds from the start to ready, and of one repeat: uniform.
pub(crate) const BOOT: (f64, f64) = (80.0, 300.0);
pub(crate) const REPEAT: (f64, f64) = (30.0, 60.0);

/// How much slower the discarded first repeat is.
pub(crate) const WARMUP: f64 = 1.42;

/// What the machine's speed does besides; levels are logarithms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Machine {
    /// Nothing.
    Calm,
    /// Ornstein and Uhlenbeck: SD, and minutes in which it forgets itself.
    Wander(f64, f64),
    /// Two states this factor apart, each for a time of its own.
    Jumps(f64, Spell),
    /// So much slower at the end of eight hours, steadily.
    Ramp(f64),
}

/// Minutes that a state of the machine lasts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Spell {
    /// Between both, uniform.
    Uniform(f64, f64),
    /// Exponential: it ends as probably in each minute, so many are shorter than a launch.
    Exponential(f64),
}

/// Two states of which `drift.md` leaves out how long they last: with these, the one-way
/// analysis is as wide as it says (0.286 in 2 hours, 0.279 in 4).
pub(crate) const JUMPS: Machine = Machine::Jumps(1.8, Spell::Uniform(30.0, 70.0));
/// The same mean, harder.
pub(crate) const BURSTS: Machine = Machine::Jumps(1.8, Spell::Exponential(50.0));
pub(crate) const OU25_60: Machine = Machine::Wander(0.25, 60.0);
pub(crate) const OU25_120: Machine = Machine::Wander(0.25, 120.0);
pub(crate) const OU3_90: Machine = Machine::Wander(0.03, 90.0);

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Calm => write!(f, "calm"),
            Self::Wander(sd, minutes) => write!(f, "OU{:.0}/{minutes:.0}", sd * 100.0),
            Self::Jumps(factor, Spell::Uniform(..)) => write!(f, "jumps x{factor}"),
            Self::Jumps(factor, Spell::Exponential(_)) => write!(f, "bursts x{factor}"),
            Self::Ramp(part) => write!(f, "ramp {:.0}%", part * 100.0),
        }
    }
}

/// SDs of the logarithm between launches of a configuration, and between repeats of a launch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noise {
    pub(crate) launch: f64,
    pub(crate) repeat: f64,
}

impl fmt::Display for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sL {:.0}% s {:.0}%", self.launch * 100.0, self.repeat * 100.0)
    }
}

/// What a night has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Night {
    pub(crate) machine: Machine,
    pub(crate) noise: Noise,
    /// Launches of each configuration, as far as the hours allow.
    pub(crate) launches: u32,
    /// Kept repeats of a launch.
    pub(crate) repeats: u32,
    /// Where the night has an end.
    pub(crate) hours: Option<f64>,
}

/// Random numbers of one world: the same whatever runs beside it.
pub(crate) fn random(seed: u64, cell: &str, world: usize) -> ChaCha8Rng {
    // FNV-1a: a cell has the same worlds wherever it stands in a list.
    let hash = cell.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ hash);
    random.set_stream(world as u64);
    random
}

/// Box and Muller.
pub(crate) fn normal(random: &mut ChaCha8Rng) -> f64 {
    let (u, v): (f64, f64) = (random.random(), random.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

pub(crate) fn uniform((low, high): (f64, f64), random: &mut ChaCha8Rng) -> f64 {
    low + (high - low) * random.random::<f64>()
}

/// The machine over time; asked for ever later times.
pub(crate) struct Speed {
    machine: Machine,
    time: f64,
    level: f64,
    /// When it jumps next, s.
    next: f64,
}

impl Speed {
    pub(crate) fn new(machine: Machine, random: &mut ChaCha8Rng) -> Self {
        let (level, next) = match machine {
            Machine::Wander(sd, _) => (sd * normal(random), 0.0),
            Machine::Jumps(factor, spell) => {
                let slow = random.random::<bool>();
                let elapsed = random.random::<f64>();
                (if slow { factor.ln() } else { 0.0 }, elapsed * spell.seconds(random))
            }
            Machine::Calm | Machine::Ramp(_) => (0.0, 0.0),
        };
        Self { machine, time: 0.0, level, next }
    }

    /// Its mean level from one time to a later one, s.
    pub(crate) fn between(&mut self, from: f64, to: f64, random: &mut ChaCha8Rng) -> f64 {
        match self.machine {
            Machine::Calm => 0.0,
            Machine::Ramp(part) => part.ln_1p() * f64::midpoint(from, to) / (8.0 * 3600.0),
            Machine::Wander(sd, minutes) => {
                let at = f64::midpoint(from, to);
                let kept = (-(at - self.time) / (60.0 * minutes)).exp();
                self.level = kept * self.level + sd * (1.0 - kept * kept).sqrt() * normal(random);
                self.time = at;
                self.level
            }
            Machine::Jumps(factor, spell) => {
                let (mut sum, mut start) = (0.0, from);
                while self.next < to {
                    if self.next > start {
                        sum += self.level * (self.next - start);
                        start = self.next;
                    }
                    self.level = factor.ln() - self.level;
                    self.next += spell.seconds(random);
                }
                (sum + self.level * (to - start)) / (to - from)
            }
        }
    }
}

impl Spell {
    fn seconds(self, random: &mut ChaCha8Rng) -> f64 {
        let minutes = match self {
            Self::Uniform(low, high) => uniform((low, high), random),
            Self::Exponential(mean) => -mean * (1.0 - random.random::<f64>()).ln(),
        };
        60.0 * minutes
    }
}

/// What launches of one sweep have in common.
pub(crate) struct Sweep {
    /// True logarithms by configuration, the first being the baseline.
    pub(crate) effects: Vec<f64>,
    pub(crate) record: SweepRecord,
}

impl Sweep {
    /// Of configurations `c0` (the baseline), `c1` and so on, whose memory varies, minimising
    /// a latency.
    pub(crate) fn new(effects: Vec<f64>) -> Self {
        let metric = MetricRef::of("kv-cache", "ttft_resent_ms");
        let workload = Workload::from_options("kv-cache", &Map::new()).expect("defaults");
        Self::of(effects, workload, metric, Goal::Minimize)
    }

    pub(crate) fn of(effects: Vec<f64>, workload: Workload, metric: MetricRef, goal: Goal) -> Self {
        let record = SweepRecord {
            manifest: Manifest {
                schema_version: SCHEMA_VERSION,
                tool_version: env!("CARGO_PKG_VERSION").to_owned(),
                run_id: None,
                sweep: "world".to_owned(),
                grid: "world".to_owned(),
                grid_path: "world.yaml".into(),
                grid_sha256: "0".repeat(64),
                created_at: "2026-11-24T18:00:00Z".to_owned(),
                engine: "simulated".to_owned(),
                simulated: true,
                service: None,
                simulated_machine: None,
                baseline: Some("c0".to_owned()),
                configurations: (0..effects.len()).map(configuration).collect(),
                varied: vec!["gpu-memory-utilization".to_owned(), "max-num-seqs".to_owned()],
                workloads: vec![workload],
                workloads_sha256: None,
                datasets: Vec::new(),
                objective: Objective { metric, goal, constraints: Vec::new(), further: Vec::new() },
                strategy: StrategySpec::Grid(GridStrategy::default()),
                order: Order::Separated,
                predicted: None,
                budget_seconds: None,
                budget: vllm_grid::grid::Budget::default(),
                confirm: None,
                host: "a simulated world".to_owned(),
                hosts: None,
                machine: None,
                image_id: None,
                image: None,
                service_parts: None,
                gates: None,
                window: None,
                suite_version: None,
            },
            launches: Vec::new(),
            earlier: Vec::new(),
            replaced: Vec::new(),
            confirmations: Vec::new(),
            unproven: None,
            ended: None,
            not_confirmed: None,
        };
        Self { effects, record }
    }

    /// A whole night in the strategy's order.
    pub(crate) fn night(mut self, night: &Night, random: &mut ChaCha8Rng) -> Self {
        let (launches, repeats) = (night.launches, night.repeats);
        let strategy = GridStrategy { launches, repeats, auto: false, seed: random.random() };
        let order = Blocks::new(strategy, self.effects.len(), Some(0), Order::Separated).order();
        let mut speed = Speed::new(night.machine, random);
        let mut time = 0.0;
        for configuration in order {
            let end = self.launch(configuration, time, &mut speed, night, random);
            if night.hours.is_some_and(|hours| end > hours * 3600.0) {
                self.record.launches.pop();
                break;
            }
            time = end;
        }
        self
    }

    /// One launch; when it ends, s.
    pub(crate) fn launch(
        &mut self,
        configuration: usize,
        start: f64,
        speed: &mut Speed,
        night: &Night,
        random: &mut ChaCha8Rng,
    ) -> f64 {
        let offset = self.effects[configuration] + night.noise.launch * normal(random);
        let mut time = start + uniform(BOOT, random);
        let mut launch = LaunchRecord {
            launch: self.record.launches.len() as u32 + 1,
            trial: self.record.launches.len() as u32,
            started_at: Some(clock(start)),
            configuration: format!("c{configuration}"),
            outcome: Some(LaunchOutcome::Measured),
            ..LaunchRecord::default()
        };
        for repeat in 0..=night.repeats {
            let end = time + uniform(REPEAT, random);
            let level = speed.between(time, end, random);
            let log = offset + level + night.noise.repeat * normal(random);
            let first = if repeat == 0 { WARMUP } else { 1.0 };
            launch.measurements.push(self.measurement(repeat, 200.0 * first * log.exp()));
            launch.measured_at.push(clock(end));
            time = end;
        }
        self.record.launches.push(launch);
        time
    }

    /// A repeat of the workload's only case, with the objective's value.
    pub(crate) fn measurement(&self, repeat: u32, value: f64) -> Measurement {
        let metric = &self.record.manifest.objective.metric;
        Measurement {
            workload: self.record.manifest.workloads[0].kind().name.to_owned(),
            case: String::new(),
            repeat,
            status: Status::Ok,
            reason: None,
            metric_reasons: std::collections::BTreeMap::new(),
            metrics: [(metric.name.clone(), Some(MetricValue::Number(value)))].into(),
        }
    }

    /// The same night with other true values.
    pub(crate) fn with_effects(&self, effects: Vec<f64>) -> Self {
        let mut record = self.record.clone();
        for launch in &mut record.launches {
            let at = index(&launch.configuration);
            let factor = (effects[at] - self.effects[at]).exp();
            for value in launch.measurements.iter_mut().flat_map(|it| it.metrics.values_mut()) {
                if let Some(MetricValue::Number(number)) = value {
                    *number *= factor;
                }
            }
        }
        Self { effects, record }
    }
}

/// Index of a configuration of a world.
pub(crate) fn index(name: &str) -> usize {
    name[1..].parse().expect("c0, c1, ...")
}

pub(crate) fn clock(seconds: f64) -> Timestamp {
    let start = Timestamp::new(1_795_543_200, 0).expect("a time");
    start + SignedDuration::from_secs_f64(seconds)
}

/// Four levels of memory, so that a preference acts.
fn configuration(at: usize) -> Configuration {
    let memory = [0.90, 0.80, 0.95, 0.85][at % 4];
    let sequences = 8 * (1 + at / 4);
    let flags: vllm_grid::configuration::Flags = serde_json::from_value(
        json!({"gpu-memory-utilization": memory, "max-num-seqs": sequences}),
    )
    .expect("flags");
    let environment = BTreeMap::new();
    let name = format!("c{at}");
    let id = Identity {
        engine: "simulated",
        image: None,
        model: Some("world"),
        flags: &flags,
        environment: &environment,
        stack: &Stack::default(),
    }
    .id();
    Configuration {
        name,
        aliases: Vec::new(),
        id,
        varied: flags.clone(),
        flags,
        environment,
        stack: Stack::default(),
        image: None,
        model: None,
    }
}
