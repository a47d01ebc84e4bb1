//! `doctor GRID`: what would prevent a launch, line by line.

use vllm_grid::engine::doctor::{Severity, diagnose};

use crate::cli::GridArgs;
use crate::exit::{CommandError, Exit, print};

/// `doctor`: exit code 3 where a sweep would fail.
pub(crate) async fn doctor(args: &GridArgs) -> Result<Exit, CommandError> {
    let mut grid = super::read_grid(args)?;
    // What prevents this is among the findings.
    let _joined = super::join_service(&mut grid).await;
    let findings = diagnose(&grid).await;
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
