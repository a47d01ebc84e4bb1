//! One launch inside the loop: start, prove, measure repeat by repeat, stop. Every
//! repeat is in the journal before the next one begins.

use super::{Sweep, SweepContext};
use crate::bench::suite::{Bench, BenchError, BenchSettings};
use crate::client::Limits;
use crate::engine::{LaunchOrder, Launched};
use crate::event::{Emit, Event, Phase};
use crate::history::HistoryError;
use crate::history::journal::Entry;
use crate::history::launch::LaunchOutcome;
use crate::history::launch::{FailureClass, LaunchFailure};
use crate::metric::{Measurement, MetricValue, Status};
use crate::server::effective::{self, add_inspected};
use crate::sweep::SweepError;
use crate::sweep::pass::{self, Pass};
use crate::telemetry::{Telemetry, TelemetrySettings};

impl Sweep {
    pub(super) async fn launch(
        &mut self,
        context: &mut SweepContext<'_>,
        slot: u32,
        configuration: usize,
    ) -> Result<LaunchOutcome, SweepError> {
        let passes = pass::missing(&self.record, slot);
        let (launch, name) = self.start_entry(slot, configuration)?;
        context.emit.emit(Event::LaunchStarted {
            launch,
            configuration: name.clone(),
            repeats: passes.len() as u32,
        });
        let folder = self.folder.launch(launch, &name);
        std::fs::create_dir_all(&folder)
            .map_err(|fault| HistoryError::Io { path: folder.clone(), fault })?;
        let order = LaunchOrder {
            sweep: self.record.manifest.sweep.clone(),
            launch,
            configuration: self.record.manifest.configurations[configuration].clone(),
            folder,
        };
        let outcome = match context.engine.launch(&order, context.emit, context.cancel).await {
            Err(failure) if failure.cancelled => LaunchOutcome::Interrupted,
            Err(failure) => LaunchOutcome::Failed(failure),
            Ok(launched) => self.measure_and_stop(context, &order, launched, &passes).await?,
        };
        self.append(Entry::LaunchEnded { launch, outcome: outcome.clone() })?;
        tell(context.emit, launch, name, &outcome);
        Ok(outcome)
    }

    /// Measures and stops the server whatever measuring came to.
    async fn measure_and_stop(
        &mut self,
        context: &mut SweepContext<'_>,
        order: &LaunchOrder,
        mut launched: Box<dyn Launched>,
        passes: &[Pass],
    ) -> Result<LaunchOutcome, SweepError> {
        let measured = self.measure(context, order, launched.as_mut(), passes).await;
        context.emit.phase(Phase::Stopping);
        let stopped = launched.stop().await;
        let outcome = measured?;
        match stopped {
            Err(failure) if matches!(outcome, LaunchOutcome::Measured) => {
                context.emit.emit(Event::Warning(format!("stopping: {}", failure.message)));
                Ok(outcome)
            }
            _ => Ok(outcome),
        }
    }

    async fn measure(
        &mut self,
        context: &mut SweepContext<'_>,
        order: &LaunchOrder,
        launched: &mut dyn Launched,
        passes: &[Pass],
    ) -> Result<LaunchOutcome, SweepError> {
        let server = launched.server().clone();
        let facts = launched.facts().clone();
        context.emit.phase(Phase::Ready { seconds: facts.boot_seconds });
        let log = launched.log();
        let mut effective = effective::of(&server, Some(&log), &order.configuration.flags).await;
        if let Some(inspected) = launched.inspected() {
            add_inspected(&mut effective, inspected);
        }
        self.append(Entry::LaunchReady { launch: order.launch, facts, effective })?;
        let sink = (context.records)(&order.folder);
        let settings = BenchSettings {
            salt: format!("{} {}", order.sweep, self.record.manifest.created_at),
            seed: self.record.manifest.strategy.seed(),
            launch: order.launch,
            limits: Limits::default(),
        };
        let bench = Bench::new(&server, &*sink, context.emit, context.cancel, settings).await;
        let telemetry = Telemetry::start(&TelemetrySettings {
            only: None,
            gpus: !server.simulated,
            probe: launched.probe(),
        });
        let mut bench = match bench {
            Ok(bench) => bench.with_telemetry(telemetry).with_datasets(context.datasets.clone()),
            Err(fault) => return Ok(LaunchOutcome::Failed(died(launched, &fault).await)),
        };
        for pass in passes {
            // Boxed: a repeat's state is large.
            match Box::pin(bench.repeat(&pass.workload, &pass.case, pass.repeat)).await {
                Ok(measurement) => {
                    if let Err(failure) = launched.check().await {
                        let unsettled = unsettled(measurement, &failure.message);
                        self.repeat_finished(context, order.launch, unsettled)?;
                        return Ok(LaunchOutcome::Failed(failure));
                    }
                    if let Err(fault) = self.check_production(context).await {
                        let void = void(measurement, &fault.to_string());
                        self.repeat_finished(context, order.launch, void)?;
                        return Err(fault);
                    }
                    self.repeat_finished(context, order.launch, measurement)?;
                }
                Err(BenchError::Cancelled) => return Ok(LaunchOutcome::Interrupted),
                Err(BenchError::Records(fault)) => {
                    return Err(HistoryError::Io { path: order.folder.clone(), fault }.into());
                }
                Err(fault) => {
                    let failure = died(launched, &fault).await;
                    if let BenchError::EngineGone { measurement, .. } = fault {
                        self.repeat_finished(context, order.launch, *measurement)?;
                    }
                    return Ok(LaunchOutcome::Failed(failure));
                }
            }
        }
        Ok(LaunchOutcome::Measured)
    }

    fn repeat_finished(
        &mut self,
        context: &SweepContext<'_>,
        launch: u32,
        measurement: Measurement,
    ) -> Result<(), SweepError> {
        self.append(Entry::RepeatFinished { launch, measurement: measurement.clone() })?;
        context.emit.emit(Event::RepeatFinished(measurement));
        Ok(())
    }
}

/// A measurement during which the server did not sit still; one that counts its
/// restarts is there to tell them.
fn unsettled(measurement: Measurement, reason: &str) -> Measurement {
    match measurement.metrics.get("restarts") {
        Some(Some(MetricValue::Number(count))) if *count > 0.0 => measurement,
        _ => void(measurement, reason),
    }
}

/// A measurement that the server or production did not sit still for.
fn void(mut measurement: Measurement, reason: &str) -> Measurement {
    measurement.status = Status::Void;
    measurement.reason = Some(reason.to_owned());
    measurement
}

/// A failure in mid-measurement: the engine's own account where it has one.
async fn died(launched: &mut dyn Launched, fault: &BenchError) -> LaunchFailure {
    match launched.check().await {
        Err(failure) => failure,
        Ok(()) => LaunchFailure::new(FailureClass::EngineDied, fault.to_string()),
    }
}

fn tell(emit: &Emit, launch: u32, configuration: String, outcome: &LaunchOutcome) {
    match outcome {
        LaunchOutcome::Failed(failure) => emit.emit(Event::LaunchFailed {
            launch,
            configuration,
            class: failure.class.as_str().to_owned(),
            message: failure.message.clone(),
        }),
        LaunchOutcome::Interrupted => {
            emit.emit(Event::LaunchInterrupted { launch, configuration });
        }
        _ => emit.emit(Event::LaunchFinished { launch, configuration }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_voids_what_does_not_count_restarts() {
        let measured = |name: &str, count: f64| Measurement {
            workload: "stability".to_owned(),
            case: String::new(),
            repeat: 1,
            status: Status::Failed,
            reason: None,
            metrics: [(name.to_owned(), Some(MetricValue::Number(count)))].into(),
        };
        let told = measured("restarts", 1.0);
        assert_eq!(unsettled(told.clone(), "restarted"), told);
        for other in [measured("restarts", 0.0), measured("failed", 1.0)] {
            let void = unsettled(other, "restarted");
            assert_eq!((void.status, void.reason.as_deref()), (Status::Void, Some("restarted")));
        }
    }
}
