//! Engines start and stop servers. A launch is described by an order that can
//! be written to a file, and ends in a ready [`Server`] or in a classified
//! failure; measuring is not known here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::configuration::{Configuration, Stack};
use crate::event::Emit;
use crate::grid::{EngineBlock, Grid};
use crate::history::launch::{LaunchFacts, LaunchFailure};
use crate::ownership::{Ledger, Uses};
use crate::secret::Secrets;
use crate::server::proof::ProcessReading;
use crate::server::{ApiKey, Server};
use place::Place;

pub mod apply;
pub mod command;
pub mod command_view;
pub mod compose;
pub mod config_file;
mod devices;
pub mod docker;
pub mod doctor;
pub mod elsewhere;
pub mod failure;
pub mod haste;
pub mod leftovers;
pub mod log;
pub mod place;
pub mod process;
pub mod production;
pub mod readiness;
mod server_process;
pub mod service;
pub mod service_flags;
pub mod service_view;
pub mod shell;
pub mod simulated;
pub mod stack;

/// Why a grid's engine block makes no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Something that the engine has no knowledge of.
    #[error("{0}")]
    Unknown(String),
    /// The command of the process engine cannot be used.
    #[error(transparent)]
    Process(#[from] process::ProcessError),
    /// The compose service cannot be read.
    #[error(transparent)]
    Compose(#[from] compose::ComposeError),
    /// The Docker engine cannot work.
    #[error(transparent)]
    Docker(#[from] docker::DockerError),
    /// Production cannot be handled.
    #[error(transparent)]
    Production(#[from] production::ProductionError),
    /// A variable that the block names is not there.
    #[error("the variable {0} (`api-key-env`) is not set, or empty")]
    NoKey(String),
}

/// The engine of a grid: one for each stack that its configurations have. Logs are written
/// without `secrets`.
///
/// # Errors
/// What a block asks for and cannot be had, before anything is started.
pub async fn of_grid(grid: &Grid, secrets: &Secrets) -> Result<Arc<dyn Engine>, EngineError> {
    let stacks: BTreeSet<&Stack> = grid.configurations.iter().map(|it| &it.stack).collect();
    let mut engines: BTreeMap<Stack, Arc<dyn Engine>> = BTreeMap::new();
    let (gates, here) = (docker::Gates::default(), Place::default());
    for stack in stacks {
        let block = match grid.stacks.get(stack) {
            Some(block) => block.clone(),
            None => stack::block_of(&grid.engine, stack),
        };
        engines.insert(stack.clone(), of_block(&block, secrets, &gates, &here).await?);
    }
    if engines.len() > 1 {
        return Ok(Arc::new(stack::Stacks::new(engines)));
    }
    match engines.into_values().next() {
        Some(engine) => Ok(engine),
        None => of_block(&grid.engine, secrets, &gates, &here).await,
    }
}

/// The engine of one configuration of a grid, at a place that a cluster gave.
///
/// # Errors
/// What its block asks for and cannot be had there, before anything is started.
pub async fn at_place(
    grid: &Grid,
    configuration: &Configuration,
    place: &Place,
    secrets: &Secrets,
) -> Result<Arc<dyn Engine>, EngineError> {
    let block = match grid.stacks.get(&configuration.stack) {
        Some(block) => block.clone(),
        None => stack::block_of(&grid.engine, &configuration.stack),
    };
    if let (EngineBlock::Docker(_), Some(gpus)) = (&block, &place.gpus) {
        gpus.check(&configuration.environment).map_err(EngineError::Unknown)?;
    }
    of_block(&block, secrets, &docker::Gates::default(), place).await
}

/// The engine of one block.
async fn of_block(
    block: &EngineBlock,
    secrets: &Secrets,
    gates: &docker::Gates,
    place: &Place,
) -> Result<Arc<dyn Engine>, EngineError> {
    match block {
        EngineBlock::Simulated(block) => {
            let mut engine = simulated::SimulatedEngine::new(block.clone())?;
            if place.job.is_some() {
                engine = engine.on_node(&place.node);
            }
            Ok(Arc::new(engine.without(secrets.clone())))
        }
        EngineBlock::Process(block) => {
            let mut spec = process::ProcessSpec::new(block.command.clone());
            spec.api_key = api_key(block.api_key_env.as_deref())?;
            spec.introspect = block.introspect;
            spec.secrets = secrets.clone();
            spec.haste = place.haste.clone();
            Ok(Arc::new(process::ProcessEngine::new(spec, readiness::over_http())?))
        }
        EngineBlock::Docker(block) => {
            Ok(Arc::new(docker::of_block(block, secrets, place).await?.behind(gates)))
        }
    }
}

/// The key that a named variable holds.
fn api_key(variable: Option<&str>) -> Result<Option<ApiKey>, EngineError> {
    let Some(name) = variable else { return Ok(None) };
    match std::env::var(name) {
        Ok(key) if !key.is_empty() => Ok(Some(ApiKey::new(key))),
        _ => Err(EngineError::NoKey(name.to_owned())),
    }
}

/// What one launch is to be: data alone, so that it can travel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LaunchOrder {
    /// The sweep's name.
    pub sweep: String,
    /// Number of the launch in the sweep, from 1.
    pub launch: u32,
    /// What is launched.
    pub configuration: Configuration,
    /// The launch's folder: the engine's log goes to `engine.log` in it.
    pub folder: PathBuf,
    /// How long the sweep has worked, all its sessions together: a simulated machine's
    /// time continues from launch to launch.
    #[serde(default)]
    pub worked: std::time::Duration,
}

/// Starts servers. Several launches may run at once, as many as it has places for.
#[async_trait]
pub trait Engine: Send + Sync {
    /// `docker`, `process` or `simulated`.
    fn name(&self) -> &'static str;

    /// How many servers can run at once without being in each other's way.
    fn places(&self) -> usize {
        1
    }

    /// The image that every launch uses, whatever its tag points at later; `None` where
    /// there is none.
    fn image_id(&self) -> Option<String> {
        None
    }

    /// What servers are made of besides image and flags: name and hash of each part, so that
    /// a change between two sessions can be named; `None` where nothing is known of it.
    fn service_parts(&self) -> Option<BTreeMap<String, String>> {
        None
    }

    /// What runs containers, with its version and its system; `None` where it is not asked
    /// for, or does not answer.
    async fn runtime(&self) -> Option<String> {
        None
    }

    /// What servers of these configurations use of the machine: two runs that share any of
    /// it do not run at once.
    fn uses(&self, _configurations: &[Configuration]) -> Uses {
        Uses::Nothing
    }

    /// For which run it launches from now on: what it starts is marked and noted as that
    /// run's.
    fn owned_by(&self, _ledger: &Arc<Ledger>) {}

    /// Starts a server and waits until it answers a completion. Cancelling
    /// stops whatever was started before this returns. It tries once: another
    /// attempt is not decided here.
    async fn launch(
        &self,
        order: &LaunchOrder,
        emit: &Emit,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn Launched>, LaunchFailure>;

    /// Removes what made a launch of `configuration` fail, as far as the engine can, before it
    /// is tried again. What other configurations use stays.
    async fn clean_up(&self, configuration: &Configuration, failure: &LaunchFailure, emit: &Emit) {
        let _nothing_to_remove = (configuration, failure, emit);
    }

    /// Tries once more to end what a stop of this engine's could not end.
    ///
    /// # Errors
    /// Something of it is left: nothing is to be started beside it.
    async fn end_left(&self) -> Result<(), LaunchFailure> {
        Ok(())
    }
}

/// A running server that we started.
#[async_trait]
pub trait Launched: Send + Sync {
    /// The server.
    fn server(&self) -> &Server;

    /// What is known of the launch.
    fn facts(&self) -> &LaunchFacts;

    /// The engine's log so far.
    fn log(&self) -> String;

    /// `Err` with the reason when the server is no longer the one that was
    /// launched: exited, restarted, replaced.
    async fn check(&mut self) -> Result<(), LaunchFailure>;

    /// What whoever runs it says was started; `None` where nobody does.
    fn inspected(&self) -> Option<&crate::server::effective::Inspected> {
        None
    }

    /// What the server's own process was started with; of its environment only `variables`.
    async fn process(&self, variables: &[String]) -> ProcessReading {
        let _no_process_of_its_own = variables;
        ProcessReading::None
    }

    /// What it uses, as far as the engine sees it; `None` where it does not.
    fn probe(&self) -> Option<std::sync::Arc<dyn crate::server::ResourceProbe>> {
        None
    }

    /// Stops it and waits until nothing of it is left.
    ///
    /// # Errors
    /// Something of it is left; [`Engine::end_left`] tries again.
    async fn stop(self: Box<Self>) -> Result<(), LaunchFailure>;
}
