//! Where the launches of a grid are made, where that is not this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use vllm_grid::grid::{Grid, Sharing};
use vllm_grid::sweep::hosts::Hosts;
use vllm_grid::sweep::hosts::slurm::cluster::{Cluster, Setting, shared};
use vllm_grid::sweep::hosts::slurm::tool::Commands;
use vllm_grid::sweep::run::Sweep;

use crate::exit::{CommandError, Exit};
use crate::output::secrets;

/// For how long what a job wrote may come after its end, in seconds: on a file system that is
/// known to be faster, or slower, than the default.
const LATE: &str = "VLLM_GRID_SLURM_LATE";

/// The cluster that a grid names.
pub(super) fn of(grid: &Grid, sweep: &Sweep) -> Result<Option<Arc<dyn Hosts>>, CommandError> {
    let Some((block, seconds)) = grid.hosts.as_ref().zip(grid.job_seconds()) else {
        return Ok(None);
    };
    let record = sweep.record();
    // A block's trials go on from those before it.
    let first = if sweep.begins_block() { record.next_first_trial() } else { record.first_trial() };
    let sharing = grid.sharing(block.at_once);
    let connects_from = sharing.connects_from.saturating_add(first);
    let setting = Setting {
        block: block.clone(),
        seconds,
        run_id: sweep.record().manifest.run_id(),
        run: shared(sweep.folder().path()),
        program: program()?,
        secrets: secrets().clone(),
        sharing: Sharing { connects_from, ..sharing },
    };
    // A block that begins counts none of those before.
    let so_far = (!sweep.begins_block()).then(|| sweep.record());
    let cluster = Cluster::new(setting, Arc::new(Commands), so_far);
    Ok(Some(Arc::new(match late()? {
        Some(late) => cluster.late_by(late),
        None => cluster,
    })))
}

/// This program, as nodes are to run it.
fn program() -> Result<PathBuf, CommandError> {
    let program = std::env::current_exe();
    let program = program.map_err(|error| {
        let what =
            format!("the path of this program is not known, and jobs are to run it: {error}");
        CommandError::message(Exit::Environment, what)
    })?;
    Ok(shared(Path::new(&program)))
}

fn late() -> Result<Option<Duration>, CommandError> {
    let Ok(text) = std::env::var(LATE) else { return Ok(None) };
    let seconds: Option<u64> = text.parse().ok();
    seconds.map(Duration::from_secs).map(Some).ok_or_else(|| {
        CommandError::message(Exit::Usage, format!("{LATE} is a number of seconds, not `{text}`"))
    })
}
