//! `apply`: writes what deploys a tested configuration, or compares what runs with it.
//! Nothing is started, and no file of the user's is changed.

use std::fmt::Write as _;
use std::path::Path;

use vllm_grid::configuration::Configuration;
use vllm_grid::engine::apply::check::{self, CheckError, Checked, Compared};
use vllm_grid::engine::apply::{self, ApplyError, Deployment, Line, Order, Tested};
use vllm_grid::engine::docker::daemon::{DaemonSettings, connect};
use vllm_grid::engine::docker::identity;
use vllm_grid::engine::{service, service_view, stack};
use vllm_grid::grid::{DockerBlock, EngineBlock, GridFile, ReadOptions};
use vllm_grid::history::folder::Folder;
use vllm_grid::history::launch::LaunchOutcome;
use vllm_grid::history::record::{Manifest, SweepRecord};
use vllm_grid::results::applicable::{self, Chosen};
use vllm_grid::results::ranking;

use super::follow::advised;
use super::show;
use crate::cli::ApplyArgs;
use crate::exit::{CommandError, Exit, print};
use crate::output::{remark, secrets};
use crate::progress::quoted;

/// The override's name.
const OVERRIDE: &str = "compose.vllm-grid.yaml";

/// What is applied or checked.
struct Target {
    configuration: Configuration,
    /// The engine block with what the configuration's stack names in its place.
    engine: EngineBlock,
    tested: Tested,
    simulated: bool,
    /// `configuration NAME of RUN`.
    of: String,
}

/// `apply`: what deploys the configuration; with `--check`, what runs beside it.
pub(crate) async fn apply(args: &ApplyArgs) -> Result<Exit, CommandError> {
    let folder = Folder::existing(&args.run)?;
    let record = show::read(&folder)?;
    let target = target(args, &folder, &record)?;
    if args.check {
        return checked(args, &target).await;
    }
    if target.simulated {
        remark("warning: every figure of this sweep is simulated: none comes from a GPU");
    }
    match &target.engine {
        EngineBlock::Simulated(_) => Err(refused(
            "the engine `simulated` has nothing to deploy: sweep the grid with an engine `docker` or \
             `process`",
        )),
        EngineBlock::Process(block) => {
            let line = apply::of_process(block, &target.configuration, secrets());
            printed(&target, &line.map_err(|error| failed(&error))?)
        }
        EngineBlock::Docker(block) if block.service.is_none() => {
            let takes_model = takes_model(block).await;
            let line = apply::of_image(block, takes_model, &target.configuration, secrets());
            printed(&target, &line.map_err(|error| failed(&error))?)
        }
        EngineBlock::Docker(block) => {
            let default = || folder.path().join("apply").join(OVERRIDE);
            let output = args.output.clone().unwrap_or_else(default);
            deployed(&target, block, &output).await
        }
    }
}

fn refused(text: &str) -> CommandError {
    CommandError::message(Exit::Usage, format!("nothing was written: {text}"))
}

fn failed(error: &ApplyError) -> CommandError {
    let exit = if error.is_mistake() { Exit::Usage } else { Exit::Environment };
    if matches!(error, ApplyError::HalfWritten { .. }) {
        return CommandError::message(exit, error.to_string());
    }
    CommandError::message(exit, format!("nothing was written: {error}"))
}

/// The configuration that is asked for, with what it was measured with.
fn target(args: &ApplyArgs, folder: &Folder, record: &SweepRecord) -> Result<Target, CommandError> {
    let ranking = ranking::rank(record);
    let reading = show::reading(folder, record, &ranking)?;
    let name = args.configuration.as_deref();
    let Chosen { configuration, warnings } =
        applicable::chosen(record, &ranking, &reading, name)
            .map_err(|it| refused(&advised(&it, it.advice(&quoted(&args.run)))))?;
    for warning in warnings {
        remark(&format!("warning: {warning}"));
    }
    let manifest = &record.manifest;
    let found = manifest.configurations.iter().find(|it| it.answers_to(&configuration));
    let Some(found) = found.cloned() else {
        return Err(refused(&format!("the sweep's manifest does not have `{configuration}`")));
    };
    let file = grid(folder, manifest)?;
    service::learn(&file, secrets());
    let mut measured = record.launches.iter().rev().filter(|it| {
        it.configuration == configuration && it.outcome == Some(LaunchOutcome::Measured)
    });
    let image_id = measured.find_map(|it| it.facts.as_ref()?.image_id.clone());
    let simulated = manifest.simulated
        || record.launches.iter().any(|it| it.facts.as_ref().is_some_and(|facts| facts.simulated));
    Ok(Target {
        engine: stack::block_of(file.engine(), &found.stack),
        tested: Tested { parts: manifest.service_parts.clone(), image_id },
        simulated,
        of: format!("configuration {configuration} of {}", folder.path().display()),
        configuration: found,
    })
}

/// The sweep's copy of its grid, with paths relative to the original.
fn grid(folder: &Folder, manifest: &Manifest) -> Result<GridFile, CommandError> {
    let original = folder.original_grid(manifest);
    // What is printed is to be read; behind a link `..` means another folder.
    let direct = show::direct(&original);
    let is_same = original.canonicalize().ok() == direct.canonicalize().ok();
    let original = if is_same { direct } else { original };
    let options = ReadOptions {
        engine: Some(manifest.engine.clone()),
        base: original.parent().map(Path::to_owned),
        max_configurations: usize::MAX,
        ..ReadOptions::default()
    };
    GridFile::read(&folder.grid_path(), &options)
        .map_err(|errors| CommandError::explained(Exit::Usage, errors))
}

/// Whether the image takes the model as its first argument; vLLM's own does.
async fn takes_model(block: &DockerBlock) -> bool {
    let image = block.image.as_deref().unwrap_or_default();
    let Ok(docker) = connect(&DaemonSettings::of_environment()).await else { return true };
    let Ok(seen) = identity(&docker, image).await else { return true };
    seen.own.entrypoint.iter().any(|word| word == "serve" || word == "simulate")
}

fn printed(target: &Target, line: &Line) -> Result<Exit, CommandError> {
    let mut text = format!("# {}\n", target.of);
    if let Some(before) = &line.before {
        let _ = writeln!(text, "-{before}");
        let _ = writeln!(text, "+{}", line.line);
        text.push('\n');
    }
    let _ = writeln!(text, "{}", line.line);
    print(&text)?;
    Ok(Exit::Done)
}

/// The override of the service, written and shown.
async fn deployed(
    target: &Target,
    block: &DockerBlock,
    output: &Path,
) -> Result<Exit, CommandError> {
    let is_own = !target.configuration.stack.has_service();
    let located = apply::located(block, is_own).await.map_err(|error| failed(&error.into()))?;
    let Some((source, found)) = located else {
        return Err(refused("the grid names no service"));
    };
    let order = Order {
        block,
        configuration: &target.configuration,
        tested: &target.tested,
        output,
        of: &target.of,
        secrets: secrets(),
    };
    let deployment = apply::of_service(&order, source).await.map_err(|error| failed(&error))?;
    for note in found.iter().chain(&deployment.notes) {
        remark(&format!("note: {note}"));
    }
    if !is_own {
        remark(&format!(
            "note: this is the service `{}`, and not what serves now: stop that one first",
            deployment.service
        ));
    }
    print(&shown(&deployment))?;
    Ok(Exit::Done)
}

fn shown(deployment: &Deployment) -> String {
    let Deployment { service, difference, files, command, back, .. } = deployment;
    let mut text = String::new();
    if difference.is_empty() {
        let _ = writeln!(text, "the service `{service}` has all of it already: nothing changes");
    } else {
        let over = files.first().map(|it| it.display().to_string()).unwrap_or_default();
        let _ = writeln!(text, "--- {service}, as its files say\n+++ {service}, with {over}");
    }
    for line in difference {
        let _ = writeln!(text, "{line}");
    }
    text.push('\n');
    for file in files {
        let _ = writeln!(text, "written: {}", file.display());
    }
    let _ = writeln!(text, "deploy:  {command}\nback:    {back}");
    text
}

/// The configuration with the flags of the process engine's own command, which its launches
/// had, too.
fn whole(target: &Target) -> Configuration {
    let mut configuration = target.configuration.clone();
    if let EngineBlock::Process(block) = &target.engine {
        let (_, mut flags) = service_view::of_process(&block.command).read();
        flags.retain(|name, _| !configuration.varied.contains_key(name));
        flags.extend(configuration.flags);
        configuration.flags = flags;
    }
    configuration
}

/// What runs, compared with what was tested.
async fn checked(args: &ApplyArgs, target: &Target) -> Result<Exit, CommandError> {
    let configuration = &whole(target);
    let by_url = |url: String, own: Option<&String>| {
        let key = args.api_key_env.clone().or_else(|| own.cloned());
        async move { check::of_url(&url, key.as_deref(), configuration, secrets()).await }
    };
    let outcome = match (&args.url, &target.engine) {
        (_, EngineBlock::Simulated(_)) => {
            return Err(CommandError::message(
                Exit::Usage,
                "the engine `simulated` deploys nothing, so there is nothing to check",
            ));
        }
        (Some(url), EngineBlock::Process(block)) => {
            by_url(url.clone(), block.api_key_env.as_ref()).await
        }
        (Some(url), EngineBlock::Docker(block)) => {
            by_url(url.clone(), block.api_key_env.as_ref()).await
        }
        (None, EngineBlock::Docker(block)) if block.service.is_some() => {
            let is_own = !configuration.stack.has_service();
            let located =
                apply::located(block, is_own).await.map_err(|error| failed(&error.into()))?;
            let Some((source, _)) = located else {
                return Err(refused("the grid names no service"));
            };
            let image_id = target.tested.image_id.as_deref();
            check::of_service(block, source, configuration, image_id, secrets()).await
        }
        (None, _) => {
            return Err(CommandError::message(
                Exit::Usage,
                "name the server to look at: --url http://127.0.0.1:8000",
            ));
        }
    };
    let found = outcome.map_err(|error: CheckError| {
        CommandError::message(Exit::Environment, format!("nothing could be compared: {error}"))
    })?;
    said(target, &found)
}

fn said(target: &Target, found: &Checked) -> Result<Exit, CommandError> {
    for note in &found.notes {
        remark(&format!("note: {note}"));
    }
    let width = found.all.iter().map(|it| it.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for row in &found.all {
        let _ = writeln!(text, "  {:<width$}  {}", row.name, compared(row));
    }
    let differences = found.differences().count();
    let of = &target.of;
    let (shown, all) = (found.shown().count(), found.all.len());
    let exit = if differences > 0 {
        let _ = writeln!(text, "different: {} differs from {of} in {differences}", found.what);
        Exit::DIFFERENT
    } else if found.is_equal() {
        let _ = writeln!(text, "equal: {} runs with {of} (all {all} are shown)", found.what);
        Exit::Done
    } else {
        let _ = writeln!(
            text,
            "nothing is shown to differ: of {all} that were tested with {of}, {shown} are shown of {}",
            found.what
        );
        Exit::Done
    };
    print(&text)?;
    Ok(exit)
}

fn compared(row: &Compared) -> String {
    let runs = row.runs.as_deref().unwrap_or("not shown");
    match (&row.tested, row.differs) {
        (Some(tested), true) if row.runs.is_none() => {
            format!("DIFFERS: runs without it, tested {tested}")
        }
        (Some(tested), true) => format!("DIFFERS: runs {runs}, tested {tested} ({})", row.proof),
        (None, true) => format!("DIFFERS: runs {runs}, and was not a part of what was tested"),
        _ => format!("{runs} ({})", row.proof),
    }
}
