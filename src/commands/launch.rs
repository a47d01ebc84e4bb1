//! `launch`: what a cluster's job does on its node. It takes the order that the controller wrote,
//! reads the grid from the run's folder, makes the one launch, and writes what comes of it into
//! the launch's folder. Whatever keeps it from launching is told there, too.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures_util::FutureExt as _;
use vllm_grid::bench::RecordSink;
use vllm_grid::engine::haste::Haste;
use vllm_grid::engine::place::{Allocated, Place, known};
use vllm_grid::engine::process::noted::{Killed, kill_orphaned};
use vllm_grid::engine::{self, Engine};
use vllm_grid::grid::EngineBlock;
use vllm_grid::history::launch::LaunchOutcome;
use vllm_grid::machine::Machine;
use vllm_grid::ownership::{Holder, Ledger, OfJob, StateFolder, aside};
use vllm_grid::results::records::ParquetRecords;
use vllm_grid::sweep::hosts::job::begun::Begun;
use vllm_grid::sweep::hosts::job::node::{self, OrderError, Start, Taken};
use vllm_grid::sweep::hosts::job::{End, JobOrder};
use vllm_grid::sweep::measure::SuiteMeasure;
use vllm_grid::telemetry;

use super::descriptors;
use crate::exit::{CommandError, Exit};
use crate::output::secrets;
use crate::signals::Shutdown;

/// How long a server may take to end once the cluster asks for it: some clusters kill the job
/// five seconds later.
const GRACE: Duration = Duration::from_secs(2);

/// `launch`.
#[derive(Args, Debug)]
pub(crate) struct LaunchArgs {
    /// The order: `job.json` in the launch's folder
    pub(crate) order: PathBuf,
}

/// `launch`: carries an order out.
pub(crate) async fn launch(args: &LaunchArgs, shutdown: &Shutdown) -> Result<Exit, CommandError> {
    let start = start();
    let order = match node::order(&args.order) {
        Ok(order) => order,
        Err(error) => {
            if let Err(also) = node::refuse(&args.order, &start, &error) {
                refused(also).print();
            }
            return Err(refused(error));
        }
    };
    let taken = Taken::take(order, start.clone(), secrets()).map_err(refused)?;
    let end = Box::pin(make(taken, &start, shutdown)).await.map_err(refused)?;
    match end {
        End::Outcome(LaunchOutcome::Interrupted) => Ok(Exit::Interrupted),
        End::Outcome(_) => Ok(Exit::Done),
        End::Unable { message, .. } | End::Unstopped { message, .. } => {
            Err(CommandError::message(Exit::Environment, message))
        }
    }
}

fn refused(error: OrderError) -> CommandError {
    let exit = match &error {
        OrderError::Unreadable { .. } => Exit::Usage,
        OrderError::Version { .. } | OrderError::Unwritable { .. } => Exit::Environment,
        OrderError::Begun { .. } | OrderError::Restarted { .. } => Exit::BegunBefore,
    };
    CommandError::new(exit, error)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Which start of which job this process is, as Slurm says.
fn start() -> Start {
    // Of a node's several names it is the one that the cluster has.
    let host = variable("SLURMD_NODENAME").or_else(|| sysinfo::System::host_name().ok());
    Start {
        host: host.unwrap_or_else(|| "a node without a name".to_owned()),
        job: variable("SLURM_JOB_ID"),
        restarts: variable("SLURM_RESTART_COUNT").and_then(|it| it.parse().ok()).unwrap_or(0),
    }
}

/// What the cluster gave to the job.
async fn place(start: &Start, shutdown: &Shutdown) -> Place {
    let node = start.host.clone();
    let job = start.job.clone().map(|id| OfJob { id, node: node.clone() });
    // A driver may take a second to answer.
    let known = if job.is_some() { aside(known).await } else { Vec::new() };
    let gpus = Allocated::of_slurm(variable, &known);
    Place { node, job, gpus, haste: Haste::after(shutdown.token(), GRACE) }
}

/// Tells where it runs, makes the launch, and tells how it ended.
async fn make(mut taken: Taken, start: &Start, shutdown: &Shutdown) -> Result<End, OrderError> {
    let place = place(start, shutdown).await;
    let begin = async { taken.begin(machine(&place).await) };
    let prepared = AssertUnwindSafe(prepare(taken.order(), &place)).catch_unwind();
    let prepared = async {
        tokio::select! {
            biased;
            () = shutdown.token().cancelled() => None,
            prepared = prepared => Some(prepared),
        }
    };
    let (told, prepared) = tokio::join!(begin, Box::pin(prepared));
    told?;
    let prepared = match prepared {
        // A panic asks for a stop, too.
        None if !shutdown.panicked() => {
            return taken.end(End::Outcome(LaunchOutcome::Interrupted));
        }
        None | Some(Err(_)) => {
            let what = "vllm-grid has a bug: the job's log has the report";
            return taken.unable(what.to_owned());
        }
        Some(Ok(Err(message))) => return taken.unable(format!("{}: {message}", start.host)),
        Some(Ok(Ok(prepared))) => prepared,
    };
    let Prepared { begun, engine } = prepared;
    let records = |folder: &Path| -> Box<dyn RecordSink> {
        Box::new(ParquetRecords::in_launch(folder).without(secrets().clone()))
    };
    let measure = SuiteMeasure::new(begun.grid.datasets.clone(), Box::new(records));
    taken.with(begun.configuration);
    taken.launch(&*engine, &measure, shutdown.token()).await
}

/// The node as a machine, with the job's GPUs.
async fn machine(place: &Place) -> Machine {
    let machine = telemetry::machine().await;
    let Some(ids) = place.gpus.as_ref().map(Allocated::ids) else { return machine };
    // A part of a GPU is of none by its name.
    if ids.iter().any(|id| id.starts_with("MIG-")) {
        return machine;
    }
    machine.with_gpus(|gpu| ids.include(gpu.index, gpu.uuid.as_deref().unwrap_or_default()))
}

/// What a launch is made with.
struct Prepared {
    begun: Begun,
    engine: Arc<dyn Engine>,
}

/// Reads the grid from the run's folder, and makes the configuration's engine; the error is
/// why this node cannot launch.
async fn prepare(order: &JobOrder, place: &Place) -> Result<Prepared, String> {
    let begun = Begun::read(order, secrets()).await.map_err(|error| error.to_string())?;
    let in_process = matches!(begun.grid.engine, EngineBlock::Simulated(_));
    let descriptors = descriptors::check(&begun.grid.workloads, in_process);
    descriptors.map_err(|error| error.to_string())?;
    let (grid, configuration) = (&begun.grid, &begun.configuration);
    let engine = engine::at_place(grid, configuration, place, secrets()).await;
    let engine = engine.map_err(|error| error.to_string())?;
    begun.check(&*engine).map_err(|error| error.to_string())?;
    if let EngineBlock::Process(_) = &grid.engine {
        // Not every cluster ends what a killed job leaves.
        for folder in node::others_on(order, &place.node) {
            if let Killed::Stubborn(ids) = kill_orphaned(&folder).await {
                let left = folder.display();
                return Err(format!("processes {ids:?} of {left} live and cannot be killed"));
            }
        }
    }
    if let (EngineBlock::Docker(_), Some(job)) = (&grid.engine, &place.job) {
        let state = StateFolder::of_environment().map_err(|error| error.to_string())?;
        let holder = Holder::this().in_state(&state).of_run(&order.run_id, &order.run);
        let uses = engine.uses(std::slice::from_ref(configuration));
        let ledger = Ledger::of_run(&state, &order.order.launch.sweep, &holder, &uses);
        engine.owned_by(&Arc::new(ledger.in_job(job)));
    }
    Ok(Prepared { begun, engine })
}
