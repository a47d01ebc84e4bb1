//! `recover`: removes what a dead sweep left, starts production again.

use std::path::{Path, PathBuf};

use vllm_grid::engine::docker::caches;
use vllm_grid::engine::docker::daemon::{DaemonSettings, connect};
use vllm_grid::engine::leftovers::quoted;
use vllm_grid::event::{Notice, NoticeKind};
use vllm_grid::ownership::{Makeshift, StateFolder};
use vllm_grid::sweep::events::{Event, Events};
use vllm_grid::sweep::recover;

use super::owning::unusable;
use crate::cli::RecoverArgs;
use crate::exit::{CommandError, Exit, print};
use crate::signals::Shutdown;

/// `recover`: exit code 3 where anything is left undone, 4 where a stop was asked for before.
pub(crate) async fn recover(args: &RecoverArgs, shutdown: &Shutdown) -> Result<Exit, CommandError> {
    // Without its state folder, folders and labels still tell what is to be done.
    let (state, unread) = match StateFolder::of_environment() {
        Ok(state) => (state, None),
        Err(error) => {
            let makeshift = Makeshift::new().map_err(unusable)?;
            (makeshift.folder().clone(), Some((error, makeshift)))
        }
    };
    let folders = if args.runs.is_empty() { runs() } else { args.runs.clone() };
    let events = Events::to(|event| {
        if let Event::Notice(Notice { kind: NoticeKind::Warning(text), .. }) = event {
            // A reader that went away needs no warning.
            let _ = print(&format!("{text}\n"));
        }
    });
    let emit = shutdown.watches(events).emit();
    let (all, stop) = (args.runs.is_empty(), shutdown.token());
    let done = recover::run(&state, &folders, all, &emit, stop).await;
    let mut lines: Vec<String> = Vec::new();
    let mut report = |what: &str, names: &[String]| {
        lines.extend(names.iter().map(|name| format!("{what} {name}\n")));
    };
    let paths = |paths: &[PathBuf]| -> Vec<String> {
        paths.iter().map(|path| path.display().to_string()).collect()
    };
    let settled = done.settled.iter();
    let settled =
        settled.map(|it| format!("{} (recovered before, or it ended well)", it.display()));
    report("nothing is owed:", &settled.collect::<Vec<_>>());
    report("removed container", &done.removed);
    report("killed the process of", &done.killed);
    report("cancelled job", &done.cancelled);
    report("production runs and answers again, stopped by", &paths(&done.production));
    report("not touched, it is running:", &done.living);
    report("not touched, it is being recovered:", &done.recovering);
    report("not touched:", &done.elsewhere);
    let (mut problems, mut stopped) = (done.problems, done.stopped);
    if let Some((error, makeshift)) = unread {
        problems.push(error.to_string());
        problems.extend(makeshift.remove().err().map(|kept| still_noted(&kept)));
    }
    if args.caches {
        match stop.run_until_cancelled(remove_caches()).await {
            Some(Ok(names)) => report("removed cache volume", &names),
            Some(Err(problem)) => problems.push(problem),
            None => {
                stopped = true;
                problems
                    .push("cache volumes are left: a stop was asked for before that".to_owned());
            }
        }
    }
    if lines.is_empty() && problems.is_empty() {
        let no_daemon = done.no_daemon.map(|it| format!(" ({it})")).unwrap_or_default();
        lines.push(format!("nothing to recover{no_daemon}\n"));
    }
    lines.extend(problems.iter().map(|problem| format!("not done: {problem}\n")));
    print(&lines.concat())?;
    Ok(if stopped {
        Exit::Interrupted
    } else if problems.is_empty() {
        Exit::Done
    } else {
        Exit::Environment
    })
}

/// What is owed and noted only where no other command looks.
fn still_noted(kept: &Path) -> String {
    let kept = quoted(kept);
    format!(
        "what is still owed is noted in {kept}: run `VLLM_GRID_STATE={kept} vllm-grid recover`, and \
         remove that folder afterwards"
    )
}

fn runs() -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(Path::new("runs")) else { return Vec::new() };
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    folders
}

async fn remove_caches() -> Result<Vec<String>, String> {
    let docker =
        connect(&DaemonSettings::of_environment()).await.map_err(|error| error.to_string())?;
    caches::remove_all(&docker).await.map_err(|error| docker.words(&error))
}
