//! `plan`: what would run. Launches nothing.

use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;
use vllm_grid::configuration::Stack;
use vllm_grid::engine::command::Change;
use vllm_grid::engine::command_view::{Shown, changes};
use vllm_grid::engine::compose::{Origin, VariableUse};
use vllm_grid::engine::service::{self, Faults, Need, ReadService, Started};
use vllm_grid::grid::plan::{Plan, PlannedVariable, SeenPartition};
use vllm_grid::grid::{DockerBlock, EngineBlock, Grid, SlurmBlock};
use vllm_grid::history::timing;
use vllm_grid::report;
use vllm_grid::sweep::hosts::slurm::partition::{self, Unseen};
use vllm_grid::sweep::hosts::slurm::tool::Commands;

use super::show;
use crate::cli::{Format, PlanArgs};
use crate::exit::{CommandError, Exit, print};
use crate::output::secrets;

/// `plan`: what would run.
pub(crate) async fn plan(args: &PlanArgs) -> Result<Exit, CommandError> {
    let file = super::read_grid(&args.grid)?;
    let started = service::read(&file, Need::Plan).await;
    started.reveal_to(secrets());
    // What is wrong with a service is wrong everywhere; others are planned all the same.
    let mistakes = Faults::of(&file, &started.faults, |fault| !fault.is_excused());
    if let Some(mistakes) = mistakes.clone().filter(|_| started.has_nothing(&file)) {
        return Err(mistakes.into());
    }
    let excused = Faults::excused(&file, &started.faults);
    let mut grid = service::complete(file, &started);
    grid.warnings.extend(excused);
    super::production::of_plan(&mut grid, started.first().map(|it| &it.spec)).await;
    super::prediction::of_plan(&mut grid).await;
    super::check_source(&grid)?;
    let seen = match &grid.hosts {
        Some(block) => Some(partition(block).await),
        None => None,
    };
    match &seen {
        Some(Ok(seen)) => grid.warn_of_partition(seen),
        // Without an answer nothing is known to be wrong.
        Some(Err(Unseen::NoAnswer(_))) | None => {}
        Some(Err(why)) => grid.warn_of_cluster(format!("{why}: no launch begins")),
    }
    let plan = expected(Plan::new(&grid), &grid).with_variables(variables(&grid, &started));
    let plan = match seen {
        Some(seen) => plan.with_cluster(&grid, seen.map_err(|why| why.to_string())),
        None => plan,
    };
    match args.format {
        Format::Json => show::print_json(&plan)?,
        Format::Text => {
            print(&report::plan::render(&plan, show::width()))?;
            print(&all_changes(&grid, &started))?;
        }
    }
    mistakes.map_or(Ok(Exit::Done), |mistakes| Err(mistakes.into()))
}

/// How long a cluster is waited for: its controller may be down, and a plan needs nobody.
const CLUSTER: Duration = Duration::from_secs(12);

/// The grid's partition, or why it was not seen.
async fn partition(block: &SlurmBlock) -> Result<SeenPartition, Unseen> {
    let seen = timeout(CLUSTER, partition::see(&Commands, block)).await;
    seen.unwrap_or_else(|_| {
        Err(Unseen::NoAnswer(format!("sinfo did not answer within {} s", CLUSTER.as_secs())))
    })
}

/// The plan with what earlier runs of the same service took, where there are any.
fn expected<'a>(plan: Plan<'a>, grid: &Grid) -> Plan<'a> {
    let earlier = timing::earlier(Path::new("runs"), grid, None);
    let plan = plan.with_earlier_gates(|gate| earlier.seconds_of_gate(&grid.gates, gate));
    let plan = match earlier.repeat_sd() {
        Some(sd) => plan.with_repeat_sd(sd),
        None => plan,
    };
    let unknown = earlier.expected(grid, &grid.strategy).map_or(0, |it| it.unknown);
    plan.with_earlier(earlier.sweeps(), unknown, |strategy| {
        earlier.expected(grid, strategy).map(|it| it.seconds)
    })
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

/// The variables of all services, each value once: the values that the grid varies come
/// from several readings.
fn variables(grid: &Grid, started: &Started) -> Vec<PlannedVariable> {
    let mut all: Vec<PlannedVariable> = Vec::new();
    let is_started = grid.configurations.iter().any(|it| it.stack.is_own());
    let own = started.service.iter().filter(|_| is_started || started.stacks.is_empty());
    let services = own.chain(started.stacks.values().filter_map(|it| it.service.as_ref()));
    for variable in services.flat_map(|it| it.variables.iter().map(planned)) {
        if !all.contains(&variable) {
            all.push(variable);
        }
    }
    all
}

/// What each configuration changes in the command of its service.
fn all_changes(grid: &Grid, started: &Started) -> String {
    let mut text = String::new();
    if let (EngineBlock::Docker(block), Some(service)) = (&grid.engine, &started.service) {
        text.push_str(&service_changes(grid, &Stack::default(), block, service));
    }
    for (stack, read) in &started.stacks {
        if let (EngineBlock::Docker(block), Some(service)) = (&read.block, &read.service) {
            text.push_str(&service_changes(grid, stack, block, service));
        }
    }
    text
}

/// What the configurations of one stack change in the command of its service; nothing where
/// none has it.
fn service_changes(
    grid: &Grid,
    stack: &Stack,
    block: &DockerBlock,
    service: &ReadService,
) -> String {
    let configurations: Vec<_> =
        grid.configurations.iter().filter(|it| it.stack == *stack).collect();
    if configurations.is_empty() {
        return String::new();
    }
    let name = block.service.as_deref().unwrap_or_default();
    let with = if stack.is_own() { String::new() } else { format!(" with {stack}") };
    let mut text = format!("\nchanges to the command of the service `{name}`{with}\n");
    for configuration in configurations {
        text.push_str("  ");
        text.push_str(&configuration.name);
        text.push('\n');
        let lines: Vec<(String, Change)> =
            match changes(&service.described, &service.view, &block.flags, configuration) {
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
