//! `plan`: what would run. Launches nothing.

use std::path::Path;

use vllm_grid::engine::command::Change;
use vllm_grid::engine::command_view::{Shown, changes};
use vllm_grid::engine::compose::{ComposeError, Origin, VariableUse};
use vllm_grid::engine::service::{self, Need, ReadService};
use vllm_grid::grid::plan::{Plan, PlannedVariable};
use vllm_grid::grid::{DockerBlock, EngineBlock, Grid, Warning};
use vllm_grid::history::timing;
use vllm_grid::report;

use super::show;
use crate::cli::{Format, PlanArgs};
use crate::exit::{CommandError, Exit, print};
use crate::output::secrets;

/// `plan`: what would run.
pub(crate) async fn plan(args: &PlanArgs) -> Result<Exit, CommandError> {
    let file = super::read_grid(&args.grid)?;
    let (mut grid, service) = match service::read(&file, Need::Plan).await {
        Ok(started) => (service::complete(file, &started), started.service),
        Err(error) => {
            let mut grid = file.without_service();
            let warning = planned_without(&grid, error)?;
            grid.warnings.push(warning);
            (grid, None)
        }
    };
    if let Some(service) = &service {
        service.reveal_to(secrets());
    }
    super::production::of_plan(&mut grid, service.as_ref().map(|it| &it.spec)).await;
    super::check_source(&grid)?;
    let used = service.as_ref().map(|it| it.variables.iter().map(planned).collect());
    let plan = expected(Plan::new(&grid), &grid).with_variables(used.unwrap_or_default());
    match args.format {
        Format::Json => show::print_json(&plan)?,
        Format::Text => {
            print(&report::plan::render(&plan, show::width()))?;
            if let (EngineBlock::Docker(block), Some(service)) = (&grid.engine, &service) {
                print(&service_changes(&grid, block, service))?;
            }
        }
    }
    Ok(Exit::Done)
}

/// The plan with what earlier runs of the same service took, where there are any.
fn expected<'a>(plan: Plan<'a>, grid: &Grid) -> Plan<'a> {
    let earlier = timing::earlier(Path::new("runs"), grid, None);
    match earlier.expected(grid) {
        Some(expected) => plan.with_earlier(earlier.sweeps(), expected.seconds, expected.unknown),
        None => plan,
    }
}

/// A machine without the compose tool, or without the service's variables, can
/// still plan what the grid itself sets, with a warning. What is wrong with
/// the service is wrong everywhere.
fn planned_without(grid: &Grid, error: ComposeError) -> Result<Warning, CommandError> {
    let (file, line, column) = match &error {
        ComposeError::NoTool | ComposeError::Tool { .. } => (&grid.path, None, None),
        ComposeError::Unset(variables) => match variables.first() {
            Some(first) => (&first.file, first.at.map(|it| it.0), first.at.map(|it| it.1)),
            None => (&grid.path, None, None),
        },
        _ => return Err(CommandError::new(Exit::Usage, error)),
    };
    let message = format!(
        "the command of the service is not read, so flags, ids and what is equal are the grid's own \
         alone; a sweep will not start like this: {error}"
    );
    Ok(Warning { file: file.clone(), line, column, message })
}

/// A variable as the plan shows it.
fn planned(variable: &VariableUse) -> PlannedVariable {
    let (from, file, line) = match &variable.origin {
        Origin::Grid => ("grid", None, None),
        Origin::Environment => ("environment", None, None),
        Origin::File { file, line } => ("file", Some(file.clone()), Some(*line)),
        Origin::Default => ("default", None, None),
        Origin::Unset => ("unset", None, None),
    };
    let VariableUse { name, value, .. } = variable;
    PlannedVariable { name: name.clone(), value: value.clone(), from, file, line }
}

/// What each configuration changes in the command of the compose service.
fn service_changes(grid: &Grid, block: &DockerBlock, service: &ReadService) -> String {
    let name = block.service.as_deref().unwrap_or_default();
    let mut text = format!("\nchanges to the command of the service `{name}`\n");
    for configuration in &grid.configurations {
        text.push_str("  ");
        text.push_str(&configuration.name);
        text.push('\n');
        let lines: Vec<(String, Change)> = match changes(&service.view, &block.flags, configuration)
        {
            Shown::Options(changes) => {
                changes.into_iter().map(|change| (String::new(), change)).collect()
            }
            Shown::Lines(lines) => {
                lines.into_iter().map(|it| (format!("{:>4} ", it.line), it.change)).collect()
            }
        };
        if lines.is_empty() {
            text.push_str("    none: unchanged\n");
        }
        for (number, change) in &lines {
            let (sign, option) = match change {
                Change::Removed(option) => ("-", option),
                Change::Added(option) => ("+", option),
            };
            text.extend(["    ", number, sign, " ", option, "\n"]);
        }
    }
    text
}
