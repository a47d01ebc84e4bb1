//! What serves production beside what the grid takes it for: `plan` and `sweep` say it
//! as warnings of the grid. `doctor` has findings of its own.

use std::time::Duration;

use tokio::time::timeout;
use vllm_grid::engine::EngineError;
use vllm_grid::engine::compose::ServiceSpec;
use vllm_grid::engine::docker::owed;
use vllm_grid::engine::docker::{Comparison, compare_production, find_companions};
use vllm_grid::engine::leftovers::{production_now, stopped_by};
use vllm_grid::engine::production::ProductionError;
use vllm_grid::grid::{EngineBlock, Grid, Warning};
use vllm_grid::history::folder::Folder;
use vllm_grid::history::production::{Down, Now};
use vllm_grid::ownership::StateFolder;

use crate::output::secrets;

/// Longest that a plan, or a message, waits for the daemon: both work without one, too.
const PATIENCE: Duration = Duration::from_secs(3);

/// How the production that the run in a folder stopped is now: asked for a short time, since
/// who waits for an error is to read it.
pub(super) async fn now(folder: &Folder, stopped: &Down) -> Now {
    let run_id = folder.manifest().ok().map(|it| it.run_id());
    let state = StateFolder::of_environment().ok();
    production_now(state.as_ref(), run_id.as_deref(), stopped, PATIENCE).await
}

/// What is said of production in a plan; without a daemon, nothing.
pub(super) async fn of_plan(grid: &mut Grid, service: Option<&ServiceSpec>) {
    let EngineBlock::Docker(block) = &grid.engine else { return };
    let compared = compare_production(block, service, secrets());
    match timeout(PATIENCE, compared).await {
        Ok(Ok(Some(found))) => warn(grid, &found).await,
        Ok(Err(EngineError::Production(
            error @ (ProductionError::Missing { .. } | ProductionError::Name(_)),
        ))) => {
            push(grid, format!("{error}; a sweep will not start like this"));
        }
        Ok(Ok(None) | Err(_)) | Err(_) => {}
    }
    let EngineBlock::Docker(block) = &grid.engine else { return };
    if let Ok(Err(EngineError::Production(error @ ProductionError::Name(_)))) =
        timeout(PATIENCE, find_companions(block)).await
    {
        let place = grid.place_of(&["engine", "docker", "production", "pause"]);
        push_at(grid, place, format!("{error}; a sweep will not start like this"));
    }
}

/// The same before a sweep, which needs the production that its grid names.
///
/// # Errors
/// It is not there, or the daemon's error.
pub(super) async fn of_sweep(
    grid: &mut Grid,
    service: Option<&ServiceSpec>,
) -> Result<(), EngineError> {
    let EngineBlock::Docker(block) = &grid.engine else { return Ok(()) };
    if let Some(found) = compare_production(block, service, secrets()).await? {
        warn(grid, &found).await;
    }
    let EngineBlock::Docker(block) = &grid.engine else { return Ok(()) };
    find_companions(block).await
}

async fn warn(grid: &mut Grid, found: &Comparison) {
    let name = &found.name;
    if !found.running {
        let stopped = timeout(PATIENCE, who_stopped(name)).await.ok().flatten();
        push(
            grid,
            match stopped {
                Some((what, advice)) => format!("{what}: {advice}"),
                None => format!("production ({name}) does not run: it is not changed"),
            },
        );
    }
    for difference in &found.differences {
        push(grid, format!("production ({name}): {difference}"));
    }
}

/// Who stopped the production of this name, where a run did.
async fn who_stopped(name: &str) -> Option<(String, String)> {
    let state = StateFolder::of_environment().ok()?;
    let docker = match owed::socket() {
        Ok(socket) => owed::connect_to(&socket).await.ok(),
        Err(_) => None,
    };
    stopped_by(&state, name, docker.as_ref()).await
}

/// A warning at the place where the grid names production, or its service.
fn push(grid: &mut Grid, message: String) {
    let of = |key| grid.place_of(&["engine", "docker", key]);
    let place = of("production").or_else(|| of("service"));
    push_at(grid, place, message);
}

fn push_at(grid: &mut Grid, place: Option<(usize, usize)>, message: String) {
    let (line, column) = (place.map(|it| it.0), place.map(|it| it.1));
    let file = grid.path.clone();
    grid.warnings.push(Warning { file, line, column, message, of_budget: false });
}
