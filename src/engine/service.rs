//! The compose service that a grid names: it is read, what it starts is seen through,
//! and its flags come under the grid's. The grid itself knows no compose tool.

use std::time::Duration;

use tokio::time::timeout;

use super::command_view::{CommandView, ImageCommand, Part};
use super::compose::{self, ComposeError, ComposeSource, ServiceSpec};
use super::docker::daemon::{DaemonSettings, connect, late};
use super::docker::{DockerError, LIMIT, Located, WHAT, identity, source_within};
use super::service_flags;
use super::service_view::{of_process, view_of};
use crate::grid::{ComposeFiles, EngineBlock, Grid, GridFile, Warning};
use crate::secret::Secrets;

/// Whether what an image runs has to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A plan works without a daemon, with a warning.
    Plan,
    /// A sweep does not: what it measures must not depend on how long the daemon takes.
    Sweep,
}

impl Need {
    /// Time for the daemon to say what the image runs, and what production was made from.
    fn patience(self) -> Duration {
        match self {
            Self::Plan => Duration::from_secs(2),
            Self::Sweep => LIMIT,
        }
    }
}

/// What a grid's engine starts, as far as that is written outside of the grid.
#[derive(Clone, Debug, Default)]
pub struct Started {
    /// The compose service, where the grid names one.
    pub service: Option<ReadService>,
    /// What is not known of what starts.
    pub warnings: Vec<Unknown>,
}

/// Something that is not known, and where that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The place in a compose file; `None` for the grid's own engine block.
    place: Option<compose::Place>,
    message: String,
}

/// A compose service, and what it starts.
#[derive(Clone, Debug)]
pub struct ReadService {
    /// The service.
    pub spec: ServiceSpec,
    /// What it starts.
    pub view: CommandView,
    /// Where that is written.
    pub place: compose::Place,
    /// The files that it was read from.
    pub source: ComposeSource,
    /// The variables of its files, and where their values come from.
    pub variables: Vec<compose::VariableUse>,
}

impl ReadService {
    /// Adds the secrets of the service, and of the file that its `--config` names.
    pub fn reveal_to(&self, secrets: &Secrets) {
        self.spec.reveal_to(secrets);
        self.view.reveal_config_to(secrets);
    }
}

/// Learns the secrets that a grid leads to, before anything of it is read: the key, and
/// what the compose file and the variables beside it hold. Messages may repeat them.
pub fn learn(file: &GridFile, secrets: &Secrets) {
    let names =
        file.configurations().iter().flat_map(|it| [&it.name].into_iter().chain(&it.aliases));
    secrets.keep(names.cloned());
    let key = match file.engine() {
        EngineBlock::Docker(block) => {
            learn_files(&block.compose, secrets);
            &block.api_key_env
        }
        EngineBlock::Process(block) => {
            of_process(&block.command).reveal_config_to(secrets);
            &block.api_key_env
        }
        EngineBlock::Simulated(_) => return,
    };
    if let Some(key) = key.as_ref().and_then(|name| std::env::var(name).ok()) {
        secrets.add(&key);
    }
}

/// A file that cannot be read is reported by whoever needs it.
fn learn_files(named: &ComposeFiles, secrets: &Secrets) {
    let Ok((files, _)) = compose::found(named) else { return };
    ComposeSource::of(named, files).reveal_to(secrets);
}

/// Reads the compose service that a grid names, where it names one, and refuses flags
/// of the grid that could not act.
///
/// # Errors
/// When the compose tool is missing, the service cannot be read, the grid sets flags
/// that would be ignored, or a sweep's daemon does not answer.
pub async fn read(file: &GridFile, need: Need) -> Result<Started, ComposeError> {
    let block = match file.engine() {
        EngineBlock::Docker(block) => block,
        EngineBlock::Process(block) => {
            let view = of_process(&block.command);
            let place = "the command of the engine `process`";
            let warning = service_flags::check(&view, place, &block.flags, file.configurations())?;
            return Ok(Started { service: None, warnings: in_grid(warning) });
        }
        EngineBlock::Simulated(_) => return Ok(Started::default()),
    };
    let located = source_within(block, block.service.as_deref(), need.patience()).await?;
    let Some(located) = located else {
        let Some(image) = &block.image else { return Ok(Started::default()) };
        let warning = match image_command(image, need).await? {
            Ok(own) => {
                let view = CommandView::new(None, Some(Vec::new()), Some(own));
                let place = format!("the entry point of image {image}");
                service_flags::check(&view, &place, &block.flags, file.configurations())?
                    .map(|unknown| format!("{place}: {unknown}"))
            }
            Err(unknown) => unknown,
        };
        return Ok(Started { service: None, warnings: in_grid(warning) });
    };
    let Located { source, notes, unanswered } = located;
    let spec = compose::read(&source).await?;
    // Where the service has an entry point, the image's command does not count, either.
    let (image, not_asked) = match spec.entrypoint {
        Some(_) => (None, None),
        None => match image_command(&spec.image, need).await? {
            Ok(own) => (Some(own), None),
            Err(unknown) => (None, unknown),
        },
    };
    let unanswered = match (unanswered, need) {
        // It is there again: what is read must not depend on that.
        (Some(why), Need::Sweep) if image.is_some() => {
            return Err(ComposeError::NoAnswer { what: WHAT.to_owned(), why });
        }
        (_, Need::Sweep) => None,
        (why, Need::Plan) => {
            why.map(|why| format!("{WHAT} is not known: {why}; what the grid names is read"))
        }
    };
    let view = view_of(&spec, image);
    let place = place_of(&source, &view);
    let unknown = service_flags::check(
        &view,
        &described(&source, &view, &place),
        &block.flags,
        file.configurations(),
    )?;
    let at = |message| Unknown { place: Some(place.clone()), message };
    let warnings = unknown.into_iter().chain(not_asked).map(at).collect::<Vec<_>>();
    let variables = compose::variables_of(&source);
    let notes = notes
        .into_iter()
        .chain(unanswered)
        .chain(spec.said.iter().map(|said| format!("the compose tool says: {said}")))
        .chain(compose::forgotten(&source, &variables));
    let warnings = in_grid(notes).into_iter().chain(warnings).collect();
    Ok(Started { service: Some(ReadService { spec, view, place, source, variables }), warnings })
}

fn in_grid(message: impl IntoIterator<Item = String>) -> Vec<Unknown> {
    message.into_iter().map(|message| Unknown { place: None, message }).collect()
}

/// Where what a service starts is written.
pub fn place_of(source: &ComposeSource, view: &CommandView) -> compose::Place {
    source.place_of(view.part().key())
}

/// Where it is written, and what it is, for a message.
pub fn described(source: &ComposeSource, view: &CommandView, place: &compose::Place) -> String {
    let service = &source.service;
    match view.part() {
        Part::Image => format!("{place}: the image's own command (service `{service}`)"),
        part => format!("{place}: `{}` of the service `{service}`", part.key()),
    }
}

/// What an image runs by itself; where that is not known, what a person should know of it.
///
/// # Errors
/// A sweep's daemon does not answer in time. Where there is none, or no such image, its
/// engine does not start, either.
async fn image_command(
    image: &str,
    need: Need,
) -> Result<Result<ImageCommand, Option<String>>, ComposeError> {
    let settings = DaemonSettings::of_environment().within(need.patience());
    let limit = settings.patience.unwrap_or(need.patience());
    let asked = async {
        let docker = connect(&settings).await.map_err(|error| {
            // What a sweep owes is told with that, before its engine needs the daemon.
            error.unanswered(limit).filter(|_| need == Need::Plan)
        })?;
        identity(&docker, image).await.map_err(|error| match error {
            DockerError::NoImage(_) => None,
            error => Some(error.to_string()),
        })
    };
    let why =
        match timeout(limit + limit / 4, asked).await.unwrap_or_else(|_| Err(Some(late(limit)))) {
            Ok(known) => return Ok(Ok(known.own)),
            // A plan on a machine without the image assumes that it starts vLLM, as vLLM's own does.
            Err(None) => return Ok(Err(None)),
            Err(Some(why)) => why,
        };
    let what = format!("what image {image} starts by itself");
    match need {
        Need::Sweep => Err(ComposeError::NoAnswer { what, why }),
        Need::Plan => Ok(Err(Some(format!(
            "{what} is not known, so flags, ids and what is equal may be others in a sweep: {why}"
        )))),
    }
}

/// What is read later is read from the same files.
fn keep(engine: &mut EngineBlock, source: &ComposeSource) {
    let EngineBlock::Docker(block) = engine else { return };
    block.compose = ComposeFiles {
        files: source.files.clone(),
        exact: true,
        env_files: source.env_files.clone(),
        project_directory: source.project_directory.clone(),
        folder: block.compose.folder.clone(),
        located: true,
    };
}

/// The grid with the flags of the service that was read for it, and what is not known.
pub fn complete(file: GridFile, started: &Started) -> Grid {
    let mut grid = match &started.service {
        Some(service) => {
            let base = service_flags::of(&service.spec.image, &service.view);
            let mut grid = file.with_service(base);
            keep(&mut grid.engine, &service.source);
            grid
        }
        None => file.without_service(),
    };
    for Unknown { place, message } in &started.warnings {
        let (file, line, column) = if let Some(place) = place {
            (place.file.clone(), place.line, place.line.map(|_| 1))
        } else {
            let of = |key| grid.place_of(&["engine", grid.engine.name(), key]);
            let at = of("command")
                .or_else(|| of("image"))
                .or_else(|| of("compose"))
                .or_else(|| of("service"));
            (grid.path.clone(), at.map(|it| it.0), at.map(|it| it.1))
        };
        grid.warnings.push(Warning { file, line, column, message: message.clone() });
    }
    grid
}
