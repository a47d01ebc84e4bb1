//! The command that compares finished or stopped sweeps, from their manifests and
//! journals alone.

use std::path::Path;

use vllm_grid::history::folder::Folder;
use vllm_grid::metric::MetricRef;
use vllm_grid::report;
use vllm_grid::results::comparison::{self, Outcome, Run};

use super::show::{print_json, read, width};
use crate::cli::{CompareArgs, ComparisonFormat};
use crate::exit::{CommandError, Exit, print};

/// `compare`: the last sweep against the first; the others are shown too. With a limit, the
/// exit code is the answer.
pub(crate) fn compare(args: &CompareArgs) -> Result<Exit, CommandError> {
    let metric = args.metric.as_deref().map(str::parse::<MetricRef>).transpose();
    let metric = metric.map_err(|error| CommandError::new(Exit::Usage, error))?;
    let run = |path: &Path| -> Result<Run, CommandError> {
        let record = read(&Folder::existing(path)?)?;
        Ok(Run { folder: path.display().to_string(), record })
    };
    let runs =
        args.runs.iter().map(|path| run(path)).collect::<Result<Vec<Run>, CommandError>>()?;
    let comparison = comparison::compare_within(runs, metric.as_ref(), args.fail_if_worse)
        .map_err(|error| CommandError::new(Exit::Usage, error))?;
    match args.format {
        ComparisonFormat::Json => print_json(&comparison)?,
        ComparisonFormat::Markdown => print(&report::comparison_markdown::render(&comparison))?,
        ComparisonFormat::Text => print(&report::comparison::render(&comparison, width()))?,
    }
    if let Some(worse) = &comparison.worse_than {
        return Ok(match worse.outcome {
            Outcome::Worse => Exit::NothingRanked,
            Outcome::NotShown => Exit::Done,
            Outcome::NotComparable => Exit::Usage,
        });
    }
    let compared = comparison.configurations.iter().any(|it| it.change.is_some());
    Ok(if compared { Exit::Done } else { Exit::NothingRanked })
}
