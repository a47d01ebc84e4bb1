//! `doctor GRID`: what would prevent a launch, line by line.

use vllm_grid::engine::doctor::{Finding, Severity, diagnose};
use vllm_grid::engine::service::{self, Faults, Need};

use crate::cli::GridArgs;
use crate::exit::{CommandError, Exit, print};
use crate::output::secrets;

/// `doctor`: exit code 3 where a sweep would fail.
pub(crate) async fn doctor(args: &GridArgs) -> Result<Exit, CommandError> {
    let file = super::read_grid(args)?;
    let started = service::read(&file, Need::Plan).await;
    started.reveal_to(secrets());
    // What is wrong with the engine block's own service is among the findings.
    let faults = Faults::of(&file, &started.faults, |fault| !fault.is_of_block());
    let grid = service::complete(file, &started);
    let mut findings = diagnose(&grid, &started, secrets()).await;
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
    Ok(if problem { Exit::Environment } else { Exit::Done })
}
