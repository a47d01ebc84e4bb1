//! `doctor GRID`: what stands in a launch's way, line by line.

use vllm_grid::engine::doctor::{Severity, diagnose};

use crate::cli::GridArgs;
use crate::exit::{Exit, Failure, print};

/// `doctor`: exit code 3 where a sweep would fail.
pub(crate) async fn doctor(args: &GridArgs) -> Result<Exit, Failure> {
    let grid = super::read_grid(args)?;
    let findings = diagnose(&grid).await;
    let mut text = String::new();
    for finding in &findings {
        let word = finding.severity.as_str();
        text.push_str(&format!("{word:8} {}: {}\n", finding.subject, finding.text));
        if let Some(advice) = &finding.advice {
            text.push_str(&format!("         -> {advice}\n"));
        }
    }
    print(&text)?;
    let problem = findings.iter().any(|finding| finding.severity == Severity::Problem);
    Ok(if problem { Exit::Environment } else { Exit::Done })
}
