//! The compose service that a grid names: it is read, what it starts is seen through,
//! and its flags come under the grid's. The grid itself knows no compose tool.

use std::time::Duration;

use tokio::time::timeout;

use super::command_view::{CommandView, ImageCommand, Part};
use super::compose::{self, ComposeError, ComposeSource, ServiceSpec};
use super::docker::daemon::{DaemonSettings, connect};
use super::docker::{identity, source_of};
use super::service_flags;
use super::service_view::{of_process, view_of};
use crate::grid::{EngineBlock, Grid, GridFile, Warning};
use crate::secret::Secrets;

/// Time for the daemon to say what the image runs.
const DAEMON: Duration = Duration::from_secs(2);

/// A compose service, and what it starts.
#[derive(Clone, Debug)]
pub struct ReadService {
    /// The service.
    pub spec: ServiceSpec,
    /// What it starts.
    pub view: CommandView,
    /// Where that is written.
    pub place: compose::Place,
    /// What is not known of it.
    pub warning: Option<String>,
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
    let (key, compose) = match file.engine() {
        EngineBlock::Docker(block) => (&block.api_key_env, block.compose.as_deref()),
        EngineBlock::Process(block) => {
            of_process(&block.command).reveal_config_to(secrets);
            (&block.api_key_env, None)
        }
        EngineBlock::Simulated(_) => return,
    };
    if let Some(key) = key.as_ref().and_then(|name| std::env::var(name).ok()) {
        secrets.add(&key);
    }
    let Some(compose) = compose else { return };
    // A file that cannot be read is reported by whoever needs it.
    if let Ok(text) = std::fs::read_to_string(compose) {
        secrets.add_text(&text);
    }
    if let Ok(text) = std::fs::read_to_string(compose.with_file_name(".env")) {
        secrets.add_dotenv(&text);
        secrets.add_text(&text);
    }
}

/// Reads the compose service that a grid names, where it names one, and refuses flags
/// of the grid that could not act.
///
/// # Errors
/// When the compose tool is missing, the service cannot be read, or the grid sets
/// flags that would be ignored.
pub async fn read(file: &GridFile) -> Result<Option<ReadService>, ComposeError> {
    let block = match file.engine() {
        EngineBlock::Docker(block) => block,
        EngineBlock::Process(block) => {
            let view = of_process(&block.command);
            let place = "the command of the engine `process`";
            service_flags::check(&view, place, &block.flags, file.configurations())?;
            return Ok(None);
        }
        EngineBlock::Simulated(_) => return Ok(None),
    };
    let Some(source) = source_of(block, block.service.as_deref()) else {
        let Some(image) = &block.image else { return Ok(None) };
        if let Some(own) = image_command(image).await {
            let view = CommandView::new(None, Some(Vec::new()), Some(own));
            let place = format!("the entry point of image {image}");
            service_flags::check(&view, &place, &block.flags, file.configurations())?;
        }
        return Ok(None);
    };
    let spec = compose::read(&source).await?;
    // Where the service has an entry point, the image's command does not count, either.
    let image = match spec.entrypoint {
        Some(_) => None,
        None => image_command(&spec.image).await,
    };
    let view = view_of(&spec, image);
    let place = place_of(&source, &view);
    let warning = service_flags::check(
        &view,
        &described(&source, &view, &place),
        &block.flags,
        file.configurations(),
    )?;
    Ok(Some(ReadService { spec, view, place, warning }))
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

/// What an image runs by itself, where a daemon answers that has it.
async fn image_command(image: &str) -> Option<ImageCommand> {
    let known = async {
        let docker = connect(&DaemonSettings::of_environment()).await.ok()?;
        identity(&docker, image).await.ok()
    };
    timeout(DAEMON, known).await.ok().flatten().map(|known| known.own)
}

/// The grid with the flags of the service that was read for it.
pub fn complete(file: GridFile, service: Option<&ReadService>) -> Grid {
    let Some(service) = service else { return file.without_service() };
    let mut grid = file.with_service(service_flags::of(&service.spec.image, &service.view));
    grid.warnings.extend(service.warning.clone().map(|message| Warning {
        file: service.place.file.clone(),
        line: service.place.line,
        column: service.place.line.map(|_| 1),
        message,
    }));
    grid
}
