//! What `predicted: true` of the strategy `model` begins with: the simulator's expectation is
//! made before a sweep begins, shown by a plan, and kept in the manifest for every session.

use vllm_grid::grid::{EngineBlock, Grid, Warning};
use vllm_grid::history::record::Manifest;
use vllm_grid::machine::Machine;
use vllm_grid::prediction;
use vllm_grid::strategy::Prediction;
use vllm_grid::telemetry;

use crate::progress::Progress;

/// Adds what is expected on the sweep's machine, where the grid asks for it.
pub(super) fn of_sweep(grid: &mut Grid, machine: Option<&Machine>) {
    if grid.strategy.is_predicted() {
        grid.predicted = Some(prediction::of_grid(grid, machine));
    }
}

/// The same on the plan's machine; what is missing is a warning.
pub(super) async fn of_plan(grid: &mut Grid) {
    if !grid.strategy.is_predicted() {
        return;
    }
    let machine = match grid.engine {
        EngineBlock::Simulated(_) => None,
        EngineBlock::Docker(_) | EngineBlock::Process(_) => Some(telemetry::machine().await),
    };
    let made = prediction::of_grid(grid, machine.as_ref());
    if let Prediction::Missing { why } = &made {
        let place = grid.place_of(&["strategy", "model", "predicted"]);
        grid.warnings.push(Warning {
            of_budget: false,
            file: grid.path.clone(),
            line: place.map(|(line, _)| line),
            column: place.map(|(_, column)| column),
            message: without(why),
        });
    }
    grid.predicted = Some(made);
}

/// Says what a session begins with.
pub(super) fn say(manifest: &Manifest, progress: &Progress) {
    match (&manifest.predicted, manifest.strategy.is_predicted()) {
        (Some(Prediction::Made { by, .. }), _) => progress.say(&format!("predicted: {by}")),
        (Some(Prediction::Missing { why }), _) => progress.warn(&without(why)),
        (None, true) => {
            progress.warn(&without("the version that began this sweep made no prediction"));
        }
        (None, false) => {}
    }
}

fn without(why: &str) -> String {
    format!("`predicted: true` has no effect, and the model begins without a prediction: {why}")
}
