//! Builds what a sweep leaves behind, without a sweep.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vllm_grid::configuration::{Configuration, Flags, Identity, Stack};
use vllm_grid::history::launch::LaunchOutcome;
use vllm_grid::history::launch::{FailureClass, LaunchFacts, LaunchFailure};
use vllm_grid::history::record::{LaunchRecord, Manifest, SCHEMA_VERSION, SweepRecord};
use vllm_grid::metric::{
    Constraint, Goal, Measurement, MetricValue, MetricValues, Objective, Status,
};
use vllm_grid::server::effective::{Effective, FlagProof};
use vllm_grid::strategy::{GridStrategy, Order, StrategySpec};
use vllm_grid::workload::{KvCache, RequestFields, Spec, Workload};

/// A sweep with `kv-cache` and the objective `kv_cache.ttft_resent_ms`, minimised.
pub(crate) fn sweep(names: &[&str]) -> SweepRecord {
    SweepRecord::new(Manifest {
        schema_version: SCHEMA_VERSION,
        tool_version: "0.1.0".to_owned(),
        run_id: None,
        sweep: "test-20261124T061353Z".to_owned(),
        grid: "test".to_owned(),
        grid_path: "test.yaml".into(),
        grid_sha256: "0".repeat(64),
        created_at: "2026-11-24T06:13:53Z".to_owned(),
        engine: "simulated".to_owned(),
        simulated: true,
        service: None,
        simulated_machine: None,
        baseline: None,
        configurations: names.iter().map(|name| configuration(name, &json!({}))).collect(),
        varied: Vec::new(),
        workloads_sha256: None,
        datasets: Vec::new(),
        workloads: vec![Workload {
            spec: Spec::KvCache(KvCache::default()),
            repeats: None,
            warmup: 1,
            request: RequestFields::default(),
        }],
        objective: Objective {
            metric: "kv_cache.ttft_resent_ms".parse().unwrap(),
            goal: Goal::Minimize,
            constraints: Vec::new(),
            further: Vec::new(),
        },
        strategy: StrategySpec::Grid(GridStrategy::default()),
        order: Order::Separated,
        predicted: None,
        budget_seconds: None,
        budget: vllm_grid::grid::Budget::default(),
        confirm: None,
        host: "a test".to_owned(),
        hosts: None,
        machine: None,
        image_id: None,
        image: None,
        service_parts: None,
        gates: None,
        window: None,
        suite_version: None,
    })
}

pub(crate) fn configuration(name: &str, flags: &Value) -> Configuration {
    let varied: Flags = serde_json::from_value(flags.clone()).unwrap();
    let mut flags = varied.clone();
    flags.retain(|_, value| !value.is_null());
    let environment = BTreeMap::new();
    let id = Identity {
        engine: "simulated",
        image: None,
        model: Some(name),
        flags: &flags,
        environment: &environment,
        stack: &Stack::default(),
    }
    .id();
    Configuration {
        name: name.to_owned(),
        aliases: Vec::new(),
        id,
        flags,
        varied,
        environment,
        ..Default::default()
    }
}

/// What a test says of a sweep.
pub(crate) trait Building {
    /// Sets what the grid varied of a configuration.
    fn flags(self, name: &str, flags: Value) -> Self;
    fn baseline(self, name: &str) -> Self;
    fn constraint(self, metric: &str, min: Option<f64>, max: Option<f64>) -> Self;
    /// A launch whose repeats 1, 2, ... gave these values of `ttft_resent_ms`.
    fn launch(self, name: &str, values: &[f64]) -> Self;
    /// The same, of any metric.
    fn launch_of(self, name: &str, metric: &str, values: &[f64]) -> Self;
    fn failed(self, name: &str, class: FailureClass, message: &str) -> Self;
    /// The last launch's repeats all ended so many seconds after the sweep's start.
    fn at(self, seconds: i64) -> Self;
    /// The last launch showed a flag with a verdict.
    fn shown(self, flag: &str, value: Value, proof: FlagProof) -> Self;
    /// Adds a value to the last launch's repeats 1, 2, ...
    fn and(self, metric: &str, values: &[f64]) -> Self;
    /// Adds a measurement to the last launch.
    fn measurement(self, measurement: Measurement) -> Self;
}

/// A repeat of the default workload that is void, since the client was late.
pub(crate) fn late(repeat: u32) -> Measurement {
    Measurement {
        workload: "kv-cache".to_owned(),
        case: String::new(),
        repeat,
        status: Status::Void,
        metric_reasons: BTreeMap::new(),
        reason: Some("the client was the bottleneck: send lag 30.1 ms".to_owned()),
        metrics: MetricValues::new(),
    }
}

pub(crate) fn measured(repeat: u32, metric: &str, number: f64) -> Measurement {
    Measurement {
        workload: "kv-cache".to_owned(),
        case: String::new(),
        repeat,
        status: Status::Ok,
        reason: None,
        metrics: MetricValues::from([(metric.to_owned(), Some(MetricValue::Number(number)))]),
        metric_reasons: vllm_grid::metric::MetricReasons::new(),
    }
}

impl Building for SweepRecord {
    fn flags(mut self, name: &str, flags: Value) -> Self {
        let made = configuration(name, &flags);
        for flag in made.varied.keys() {
            if !self.manifest.varied.contains(flag) {
                self.manifest.varied.push(flag.clone());
            }
        }
        let configurations = &mut self.manifest.configurations;
        *configurations.iter_mut().find(|c| c.name == name).unwrap() = made;
        self
    }

    fn baseline(mut self, name: &str) -> Self {
        self.manifest.baseline = Some(name.to_owned());
        self
    }

    fn constraint(mut self, metric: &str, min: Option<f64>, max: Option<f64>) -> Self {
        let metric = metric.parse().unwrap();
        self.manifest.objective.constraints.push(Constraint { metric, min, max });
        self
    }

    fn launch(self, name: &str, values: &[f64]) -> Self {
        self.launch_of(name, "ttft_resent_ms", values)
    }

    fn launch_of(mut self, name: &str, metric: &str, values: &[f64]) -> Self {
        let launch = self.launches.len() as u32 + 1;
        self.launches.push(LaunchRecord {
            launch,
            configuration: name.to_owned(),
            facts: Some(LaunchFacts {
                started_at: format!("2026-11-24T06:{launch:02}:00Z"),
                boot_seconds: 1.5,
                image_id: None,
                engine_version: Some("0.33.0".to_owned()),
                simulated: false,
            }),
            effective: BTreeMap::new(),
            measurements: values
                .iter()
                .zip(1..)
                .map(|(value, repeat)| measured(repeat, metric, *value))
                .collect(),
            outcome: Some(LaunchOutcome::Measured),
            ..LaunchRecord::default()
        });
        self
    }

    fn failed(mut self, name: &str, class: FailureClass, message: &str) -> Self {
        self.launches.push(LaunchRecord {
            launch: self.launches.len() as u32 + 1,
            configuration: name.to_owned(),
            facts: None,
            effective: BTreeMap::new(),
            measurements: Vec::new(),
            outcome: Some(LaunchOutcome::Failed(LaunchFailure {
                class,
                message: message.to_owned(),
                log_lines: Vec::new(),
                exit_code: Some(1),
                estimated_max_model_len: None,
                missing_path: None,
                cancelled: false,
                shortage: false,
                left: false,
            })),
            ..LaunchRecord::default()
        });
        self
    }

    fn at(mut self, seconds: i64) -> Self {
        let start: jiff::Timestamp = "2026-11-24T18:00:00Z".parse().unwrap();
        let launch = self.launches.last_mut().unwrap();
        let time = start + jiff::SignedDuration::from_secs(seconds);
        launch.measured_at = vec![time; launch.measurements.len()];
        self
    }

    fn shown(mut self, flag: &str, value: Value, proof: FlagProof) -> Self {
        let shown = Effective { value: Some(value), proof: Some(proof), source: "log".to_owned() };
        self.launches.last_mut().unwrap().effective.insert(flag.to_owned(), shown);
        self
    }

    fn and(mut self, metric: &str, values: &[f64]) -> Self {
        for (repeat, number) in (1..).zip(values) {
            self.launches
                .last_mut()
                .unwrap()
                .measurements
                .iter_mut()
                .find(|m| m.repeat == repeat)
                .unwrap()
                .metrics
                .insert(metric.to_owned(), Some(MetricValue::Number(*number)));
        }
        self
    }

    fn measurement(mut self, measurement: Measurement) -> Self {
        self.launches.last_mut().unwrap().measurements.push(measurement);
        self
    }
}

/// A sweep of two repeats of `conversation`, each with these times by turn.
pub(crate) fn conversations(by_turn: [Option<Vec<Option<f64>>>; 2]) -> SweepRecord {
    let mut record = sweep(&["a"]).launch("a", &[]);
    let workload = Workload::from_options("conversation", &serde_json::Map::new());
    record.manifest.workloads = vec![workload.unwrap()];
    for (repeat, times) in (1..).zip(by_turn) {
        let times = times.map(MetricValue::List);
        record = record.measurement(Measurement {
            workload: "conversation".to_owned(),
            metrics: MetricValues::from([("ttft_by_turn_ms".to_owned(), times)]),
            ..measured(repeat, "", 0.0)
        });
    }
    record
}

/// Five repeats around a value, with a spread of about 5 %.
pub(crate) fn around(value: f64) -> Vec<f64> {
    [0.95, 1.04, 1.0, 0.98, 1.06].map(|factor| value * factor).to_vec()
}
