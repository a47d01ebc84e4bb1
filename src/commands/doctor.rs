//! `doctor GRID`: what would prevent a launch, line by line.

use vllm_grid::engine::doctor::{Severity, diagnose};
use vllm_grid::engine::service::{self, Need};

use crate::cli::GridArgs;
use crate::exit::{CommandError, Exit, print};
use crate::output::secrets;

/// `doctor`: exit code 3 where a sweep would fail.
pub(crate) async fn doctor(args: &GridArgs) -> Result<Exit, CommandError> {
    let file = super::read_grid(args)?;
    // What cannot be read is among the findings.
    let (started, faults) = service::read_each(&file, Need::Plan).await;
    started.reveal_to(secrets());
    let grid = service::complete(file, &started);
    let findings = diagnose(&grid, &started, &faults, secrets()).await;
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
