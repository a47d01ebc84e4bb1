//! `doctor GRID`: what would prevent a launch, line by line. Of a grid on a cluster, the cluster
//! and, by one short job, a node: there the same command looks at the engine.

use std::path::Path;
use std::time::Duration;

use vllm_grid::engine::doctor::{self, Finding, Severity, diagnose};
use vllm_grid::engine::service::{self, Faults, Need, Started};
use vllm_grid::grid::{Grid, SlurmBlock};
use vllm_grid::sweep::hosts::slurm::check::{Check, NodeAnswer, NodeFinding, check};
use vllm_grid::sweep::hosts::slurm::tool::Commands;

use crate::cli::DoctorArgs;
use crate::exit::{CommandError, Exit, print};
use crate::output::{print_error, secrets};
use crate::signals::Shutdown;

/// `doctor`: exit code 3 where a sweep would fail, 4 where a stop was asked for before.
pub(crate) async fn doctor(args: &DoctorArgs, shutdown: &Shutdown) -> Result<Exit, CommandError> {
    let file = super::read_grid(&args.grid)?;
    let started = service::read(&file, Need::Plan).await;
    started.reveal_to(secrets());
    // What is wrong with the engine block's own service is among the findings.
    let faults = Faults::of(&file, &started.faults, |fault| !fault.is_of_block());
    let grid = service::complete(file, &started);
    if let Some(folder) = &args.on_node {
        return on_node(&grid, &started, folder).await;
    }
    let mut findings = match &grid.hosts {
        Some(block) => on_cluster(args, &grid, block, shutdown).await?,
        None => diagnose(&grid, &started, secrets()).await,
    };
    findings.extend(faults.iter().flat_map(Faults::lines).map(Finding::of_service));
    let lines: Vec<String> = findings
        .iter()
        .map(|finding| {
            let word = finding.severity.as_str();
            let line = format!("{word:8} {}: {}\n", finding.subject, finding.text);
            match &finding.advice {
                Some(advice) => format!("{line}         -> {advice}\n"),
                None => line,
            }
        })
        .collect();
    print(&lines.concat())?;
    let problem = findings.iter().any(|finding| finding.severity == Severity::Problem);
    Ok(match problem {
        _ if shutdown.token().is_cancelled() => Exit::Interrupted,
        true => Exit::Environment,
        false => Exit::Done,
    })
}

/// On a node: what is found is written for the login node.
async fn on_node(grid: &Grid, started: &Started, folder: &Path) -> Result<Exit, CommandError> {
    let found = diagnose(grid, started, secrets()).await;
    let found = found.iter().map(NodeFinding::of).collect::<Vec<_>>();
    let masked = secrets().masked(found);
    let found = masked.map_err(|error| CommandError::new(Exit::Environment, error))?;
    let given = NodeAnswer::give(folder, found).await;
    given.map_err(|error| {
        let text = format!("{}: {error}", folder.display());
        CommandError::message(Exit::Environment, text)
    })?;
    Ok(Exit::Done)
}

/// The cluster, and a node of it by one job.
async fn on_cluster(
    args: &DoctorArgs,
    grid: &Grid,
    block: &SlurmBlock,
    shutdown: &Shutdown,
) -> Result<Vec<Finding>, CommandError> {
    let here = |error| CommandError::new(Exit::Environment, error);
    let program = std::env::current_exe().map_err(here)?;
    let path = std::path::absolute(&args.grid.grid).map_err(here)?;
    let current = std::env::current_dir().map_err(here)?;
    let runs = current.join("runs");
    let mut words: Vec<String> = vec![program.display().to_string(), "doctor".to_owned()];
    words.push(path.display().to_string());
    words.extend(["--engine".to_owned(), grid.engine.name().to_owned()]);
    words.push(format!("--max-configurations={}", args.grid.max_configurations));
    words.extend(args.grid.strict.then(|| "--strict".to_owned()));
    let wait = Duration::from_secs(args.wait);
    // The job is cancelled and its folder removed before the process ends.
    shutdown.waits();
    print_error("one short job is submitted, and cancelled where it waits for too long");
    let mut findings = doctor::of_controller();
    let asked = Check {
        grid,
        block,
        words: &words,
        place: if runs.is_dir() { &runs } else { &current },
        wait,
        cancel: shutdown.token(),
    };
    findings.extend(check(&Commands, asked).await);
    Ok(findings)
}
