//! The work of one process on a run: the sweep, a confirmation, or both; then the results are
//! written and shown, however it ended. What is to be done is decided by the commands.

use std::path::Path;
use std::sync::Arc;

use vllm_grid::bench::RecordSink;
use vllm_grid::engine::Engine;
use vllm_grid::engine::production::Production;
use vllm_grid::grid::Grid;
use vllm_grid::history::HistoryError;
use vllm_grid::history::confirmation::Confirmation;
use vllm_grid::history::journal::JournalError;
use vllm_grid::history::timing::{self, Timing};
use vllm_grid::results::ranking;
use vllm_grid::results::records::ParquetRecords;
use vllm_grid::sweep::SweepError;
use vllm_grid::sweep::context::SweepContext;
use vllm_grid::sweep::run::{Ending, Sweep};

use super::owning::Owning;
use super::show::{self, Writer};
use super::{follow, report};
use crate::cli::Format;
use crate::exit::{CommandError, Exit};
use crate::output::secrets;
use crate::progress::{Confirms, Progress};
use crate::signals::Shutdown;

/// What a session works on.
pub(super) struct Work {
    sweep: Sweep,
    confirming: Option<Confirming>,
    /// What a person reads before anything is launched.
    said: Vec<String>,
    /// What it holds and owes while it works.
    owning: Option<Owning>,
}

/// A confirmation.
struct Confirming {
    /// As far as known.
    launches: u32,
    how: Confirms,
}

impl Work {
    /// The sweep itself.
    pub(super) fn of(sweep: Sweep, said: Vec<String>) -> Self {
        Self { sweep, confirming: None, said, owning: None }
    }

    /// A confirmation of about so many launches.
    pub(super) fn confirming(
        sweep: Sweep,
        asked: Confirmation,
        launches: u32,
        said: Vec<String>,
    ) -> Result<Self, CommandError> {
        let unknown = || {
            let what = "the confirmation is of a configuration that the sweep does not have";
            CommandError::message(Exit::Usage, what)
        };
        let how = follow::how(sweep.record(), &asked);
        let sweep = sweep.confirming(asked).ok_or_else(unknown)?;
        Ok(Self { sweep, confirming: Some(Confirming { launches, how }), said, owning: None })
    }

    /// The same, with what it holds and owes.
    pub(super) fn owned(mut self, owning: Owning) -> Self {
        self.said.extend(owning.said.iter().cloned());
        self.sweep = self.sweep.owned_by(owning.owner.clone());
        self.owning = Some(owning);
        self
    }
}

/// Runs the loop, then writes and shows what there is, however it ended.
pub(super) async fn run(
    work: Work,
    grid: &Grid,
    engine: Arc<dyn Engine>,
    shutdown: &Shutdown,
) -> Result<Exit, CommandError> {
    let Work { mut sweep, confirming, said, mut owning } = work;
    shutdown.names(sweep.folder().path());
    let records = |folder: &Path| -> Box<dyn RecordSink> {
        Box::new(ParquetRecords::in_launch(folder).without(secrets().clone()))
    };
    let serves = owning.as_mut().and_then(|it| it.serves.take());
    let mut context = SweepContext::of(grid, engine, records)
        .with_hosts(super::hosts::of(grid, &sweep)?)
        .with_strategy(sweep.record().manifest.build_strategy())
        .with_production(serves.map(|it| Box::new(it) as Box<dyn Production>))
        .with_cancel(shutdown.token().clone());
    // How long a confirmation takes is said before it begins, and by its own sweep.
    if confirming.is_none() {
        context = context.with_earlier(earlier(grid, &sweep).await);
    }
    let launches = match &confirming {
        Some(it) => (it.launches, it.launches),
        None => sweep.launches_in_all(&context),
    };
    let progress = Progress::of_sweep(&sweep, launches);
    let predicts = confirming.is_none();
    match confirming {
        Some(Confirming { how, .. }) => progress.confirms(how),
        None if sweep.record().manifest.confirm.is_some() => {
            context = context
                .with_next(follow::decide(progress.clone(), sweep.folder().path().to_owned()));
        }
        None => {}
    }
    for line in &said {
        progress.say(line);
    }
    if predicts {
        super::prediction::say(&sweep.record().manifest, &progress);
    }
    // What the budget leaves for the grid's own launches is nothing to a confirmation by hand.
    for warning in grid.warnings.iter().filter(|it| predicts || !it.of_budget) {
        progress.warn(&warning.message);
    }
    for line in sweep.too_long(&context) {
        progress.warn(&line);
    }
    let events = shutdown.watches(progress.events());
    if let Some(owning) = &mut owning {
        owning.begin();
    }
    let ending = sweep.run(&context.with_events(events)).await;
    if let Some(owning) = owning {
        owning.end(&progress).await;
    }
    let first = shutdown.production_down().or_else(|| is_gone(&ending).then(|| GONE.to_owned()));
    progress.close(first.as_deref());
    let (also, outcome) = outcome(ending, show(&sweep, sweep.confirmation()));
    if let Some(also) = also {
        also.print();
    }
    outcome
}

/// Said where the error itself has what is left of the sweep, and what to do with it.
const GONE: &str = "the sweep is not complete; the error below says what is left of it";

/// Whether the journal's path became another file's, or nobody's.
fn is_gone(ending: &Result<Ending, SweepError>) -> bool {
    let Err(SweepError::History(HistoryError::Journal(error))) = ending else { return false };
    matches!(error, JournalError::Gone { .. })
}

/// What earlier sweeps took: whole journals are read, so not on the runtime's own threads.
async fn earlier(grid: &Grid, sweep: &Sweep) -> Timing {
    let (grid, own) = (grid.clone(), sweep.record().manifest.sweep.clone());
    let read = move || timing::earlier(Path::new("runs"), &grid, Some(&own));
    tokio::task::spawn_blocking(read).await.unwrap_or_default()
}

/// How the process ends after a sweep and the showing of it, and what else is to be
/// reported: how the sweep ended counts more than how the showing did.
fn outcome(
    ending: Result<Ending, SweepError>,
    shown: Result<Exit, CommandError>,
) -> (Option<CommandError>, Result<Exit, CommandError>) {
    match (ending, shown) {
        (Ok(Ending::Complete | Ending::BudgetSpent), shown) => (None, shown),
        (Ok(Ending::Interrupted | Ending::WindowClosed), shown) => {
            (shown.err(), Ok(Exit::Interrupted))
        }
        // A disk that refused the journal refuses the results, too: it is reported once.
        (
            Err(
                error @ SweepError::History(
                    HistoryError::Io { .. }
                    | HistoryError::Journal(
                        JournalError::Io { .. }
                        | JournalError::Full { .. }
                        | JournalError::Gone { .. },
                    ),
                ),
            ),
            _,
        ) => (None, Err(error.into())),
        (Err(error), shown) => (shown.err(), Err(error.into())),
    }
}

/// Writes the results and shows the ranking; after a confirmation its gain says how the
/// process ends.
fn show(sweep: &Sweep, confirmation: Option<u32>) -> Result<Exit, CommandError> {
    // As it is written: without secrets.
    let record = sweep.folder().record()?;
    let ranking = ranking::rank(&record);
    let folder = sweep.folder();
    // A table that cannot be written hides nothing of what was measured.
    let tables = show::write(folder.path(), &record, &ranking);
    let ranked = show::ranked(folder, &record, &ranking, Format::Text, Writer::Ourselves)?;
    let exit = match confirmation {
        Some(number) => show::confirmed(&ranking, number)?,
        None => ranked,
    };
    // After the verdict is shown: it takes a moment.
    let pages = report::write(folder, folder.path(), &record, &ranking, Writer::Ourselves);
    match tables.and(pages) {
        Ok(_) => Ok(exit),
        Err(error) => Err(not_written(&error, folder.path())),
    }
}

/// The error of a table or a page, with what is not lost by it.
fn not_written(error: &CommandError, run: &Path) -> CommandError {
    let run = crate::progress::quoted(run);
    let what = format!(
        "{error}; what was measured is kept, and shown above: `vllm-grid export {run}` writes the \
         tables and the report again"
    );
    CommandError::message(error.exit(), what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopped() -> SweepError {
        let message = "five launches failed".to_owned();
        SweepError::Stopped { message, log_lines: Vec::new(), environment: false }
    }

    fn full(path: &str) -> HistoryError {
        let error = std::io::ErrorKind::StorageFull.into();
        HistoryError::Io { path: path.into(), error }
    }

    #[test]
    fn a_full_disk_is_reported_once_and_other_errors_each() {
        let shown = || Err(CommandError::from(full("results.csv")));
        let (also, outcome_of) = outcome(Err(full("journal.jsonl").into()), shown());
        assert!(also.is_none());
        assert_eq!(outcome_of.unwrap_err().print(), Exit::Environment);
        let (also, outcome_of) = outcome(Err(stopped()), shown());
        assert_eq!(also.expect("both").print(), Exit::Environment);
        assert_eq!(outcome_of.unwrap_err().print(), Exit::Engine);
        let (also, outcome_of) = outcome(Ok(Ending::Interrupted), shown());
        assert!(also.is_some() && matches!(outcome_of, Ok(Exit::Interrupted)));
        let (also, outcome_of) = outcome(Ok(Ending::Complete), shown());
        assert!(also.is_none() && outcome_of.is_err());
    }
}
