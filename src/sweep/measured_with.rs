//! What a sweep measures with besides its grid: the machine, the image, production's
//! container. Read before anything is launched, and a plain value from then on, so that
//! tests make one. What a difference means is in [`super::difference`].

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;

use crate::engine::Engine;
use crate::engine::production::Production;
use crate::grid::SlurmBlock;
use crate::history::journal::Entry;
use crate::history::production::{Configured, ProductionStep};
use crate::history::record::host;
use crate::machine::Machine;
use crate::telemetry;
use crate::workload::SUITE_VERSION;

/// How the machine is read.
pub type ReadMachine = Box<dyn Fn() -> BoxFuture<'static, Machine> + Send + Sync>;

/// The machine that this program runs on.
pub fn this_machine() -> ReadMachine {
    Box::new(|| Box::pin(telemetry::machine()))
}

/// What is measured with.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredWith {
    /// Version of this tool.
    pub tool_version: String,
    /// Version of the suite.
    pub suite_version: u32,
    /// Operating system, kernel and processor, as one text.
    pub host: String,
    /// The machine; `None` where launches are made on others, which are compared when they begin.
    pub machine: Option<Machine>,
    /// The image that is launched, where the engine launches one.
    pub image_id: Option<String>,
    /// What candidates are made of besides image and flags, where they are containers.
    pub service_parts: Option<BTreeMap<String, String>>,
    /// The configuration of production's container, where there is one.
    pub production: Option<Configured>,
}

impl MeasuredWith {
    /// What a run measures with whose launches are jobs of a cluster.
    pub fn on(block: &SlurmBlock) -> Self {
        Self {
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            suite_version: SUITE_VERSION,
            host: block.named(),
            machine: None,
            image_id: None,
            service_parts: None,
            production: None,
        }
    }

    /// What this program would measure with now.
    pub async fn read(engine: &dyn Engine, production: Option<&dyn Production>) -> Self {
        Self::read_by(&this_machine(), engine, production).await
    }

    /// The same, with the machine read so.
    pub(super) async fn read_by(
        machine: &ReadMachine,
        engine: &dyn Engine,
        production: Option<&dyn Production>,
    ) -> Self {
        let (machine, container_runtime) = tokio::join!(machine(), engine.runtime());
        let production = match production {
            // One that cannot be asked is the guard's to report, which stops it.
            Some(production) => production.find().await.ok().flatten(),
            None => None,
        };
        Self {
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            suite_version: SUITE_VERSION,
            host: host(),
            machine: Some(seen_from(machine, container_runtime)),
            image_id: engine.image_id(),
            service_parts: engine.service_parts(),
            production: production.map(|it| it.configured()),
        }
    }
}

/// Keeps the configuration of production's container as the latest block saw it first: a later
/// night may find another one.
pub(super) fn see_production(seen: &mut Option<Configured>, entry: &Entry) {
    match entry {
        Entry::BlockStarted { block } => *seen = block.production(),
        Entry::Production { production: ProductionStep::Stopping { facts } } => {
            seen.get_or_insert_with(|| facts.configured());
        }
        _ => {}
    }
}

/// The machine with what runs containers. Docker Desktop has a virtual machine: its GPUs are
/// not always seen from here, so that none seen is none known.
fn seen_from(machine: Machine, container_runtime: Option<String>) -> Machine {
    let elsewhere = container_runtime.as_deref().is_some_and(|it| it.contains("Desktop"));
    let gpus = machine.gpus.filter(|gpus| !(elsewhere && gpus.is_empty()));
    Machine { gpus, container_runtime, ..machine }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_that_only_a_container_sees_are_not_known() {
        let none = || Machine { gpus: Some(Vec::new()), ..Machine::default() };
        let of = |runtime: &str| seen_from(none(), Some(runtime.to_owned()));
        assert_eq!(of("Docker 27.0.1 (Docker Desktop)").gpus, None);
        assert_eq!(of("Docker 26.1.3 (Debian GNU/Linux 12)").gpus, Some(Vec::new()));
        assert_eq!(seen_from(none(), None).gpus, Some(Vec::new()));
    }
}
