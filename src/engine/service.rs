//! The compose service that a grid names: it is read, what it starts is seen through,
//! and its flags come under the grid's. The grid itself knows no compose tool.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::timeout;

use super::command_view::{CommandView, ImageCommand, Part};
use super::compose::{self, ComposeError, ComposeSource, ServiceSpec};
use super::docker::daemon::{DaemonSettings, connect, late};
use super::docker::{DockerError, LIMIT, Located, WHAT, identity, named_by, source_within};
use super::service_flags;
use super::service_view::{of_process, view_of};
use super::stack::{block_of, with_model};
use crate::configuration::{Configuration, Stack};
use crate::grid::{ComposeFiles, DockerBlock, EngineBlock, Grid, GridFile, ServiceBase, Warning};
use crate::secret::Secrets;

mod variables;

use variables::{idle, misplaced};

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
    /// What each stack of the configurations starts that is not the engine block's own.
    pub stacks: BTreeMap<Stack, ReadStack>,
    /// What is not known of what starts.
    pub warnings: Vec<Unknown>,
}

/// What a stack starts.
#[derive(Clone, Debug)]
pub struct ReadStack {
    /// The engine block with what the stack names in its place.
    pub block: EngineBlock,
    /// Its compose service, where it has one.
    pub service: Option<ReadService>,
}

impl Started {
    /// The engine block's own service, else the first one that is started in its place.
    pub fn first(&self) -> Option<&ReadService> {
        self.services().next()
    }

    /// Every service that was read.
    pub fn services(&self) -> impl Iterator<Item = &ReadService> {
        let others = self.stacks.values().filter_map(|stack| stack.service.as_ref());
        self.service.iter().chain(others)
    }

    /// Adds the secrets of all that was read.
    pub fn reveal_to(&self, secrets: &Secrets) {
        self.services().for_each(|service| service.reveal_to(secrets));
    }
}

/// Something that is not known, and where that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The place in a compose file; `None` for the grid's own engine block.
    place: Option<compose::Place>,
    message: String,
}

impl Unknown {
    /// The same of a stack that is not the engine block's own.
    fn of(self, stack: &Stack) -> Self {
        match self.place {
            Some(_) => self,
            None => Self { message: format!("{stack}: {}", self.message), ..self },
        }
    }
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
            for stack in stacks_of(file).into_iter().filter(|it| it.has_service()) {
                if let EngineBlock::Docker(block) = block_of(file.engine(), stack) {
                    learn_files(&block.compose, secrets);
                }
            }
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

/// The stacks of a grid's configurations that are not the engine block's own, each once.
fn stacks_of(file: &GridFile) -> BTreeSet<&Stack> {
    file.configurations().iter().map(|it| &it.stack).filter(|it| !it.is_own()).collect()
}

/// Reads the compose service that a grid names, where it names one, and those that its
/// configurations start in its place, and refuses flags of the grid that could not act.
///
/// # Errors
/// When the compose tool is missing, a service cannot be read, the grid sets flags
/// that would be ignored, or a sweep's daemon does not answer.
pub async fn read(file: &GridFile, need: Need) -> Result<Started, ComposeError> {
    let (started, mut faults) = read_until(file, need, true).await;
    faults.pop().map_or(Ok(started), |fault| Err(fault.error))
}

/// The same for who looks for everything that is wrong: what can be read, and every fault.
pub async fn read_each(file: &GridFile, need: Need) -> (Started, Vec<Fault>) {
    read_until(file, need, false).await
}

/// Why something that is started cannot be read.
#[derive(Debug)]
pub struct Fault {
    /// What it is.
    pub stack: Stack,
    /// Names of the configurations that start it.
    pub configurations: Vec<String>,
    /// Why.
    pub error: ComposeError,
}

impl Fault {
    fn of(file: &GridFile, stack: &Stack, error: ComposeError) -> Self {
        let of_stack = file.configurations().iter().filter(|it| it.stack == *stack);
        let configurations = of_stack.map(|it| it.name.clone()).collect();
        Self { stack: stack.clone(), configurations, error }
    }
}

async fn read_until(file: &GridFile, need: Need, first: bool) -> (Started, Vec<Fault>) {
    let mut reader = Reader { need, read: Vec::new() };
    let (mut started, mut faults) = (Started::default(), Vec::new());
    let mut own = file.engine().clone();
    match reader.own(&mut own, file).await {
        Ok((service, unknown)) => (started.service, started.warnings) = (service, unknown),
        Err(error) => faults.push(Fault::of(file, &Stack::default(), error)),
    }
    for stack in stacks_of(file) {
        if first && !faults.is_empty() {
            break;
        }
        match reader.stack(&own, file, stack).await {
            Ok((read, unknown)) => {
                started.warnings.extend(unknown.into_iter().map(|it| it.of(stack)));
                started.warnings.dedup();
                started.stacks.insert(stack.clone(), read);
            }
            Err(error) => faults.push(Fault::of(file, stack, error)),
        }
    }
    (started, faults)
}

/// Reads what engine blocks start; the compose tool runs once for each source.
struct Reader {
    need: Need,
    read: Vec<(ComposeSource, ServiceSpec)>,
}

impl Reader {
    /// What the engine block itself starts; it is the block with the files that decide.
    async fn own(
        &mut self,
        own: &mut EngineBlock,
        file: &GridFile,
    ) -> Result<(Option<ReadService>, Vec<Unknown>), ComposeError> {
        let located = match file.engine() {
            EngineBlock::Docker(block) => {
                source_within(block, block.service.as_deref(), self.need.patience()).await?
            }
            _ => None,
        };
        if let Some(located) = &located {
            // What production was made from decides for those that only vary it, too.
            keep(own, &located.source);
        }
        match self.block(own, file, &Stack::default(), located).await {
            // Each configuration gives them values.
            Err(ComposeError::Unset(_))
                if !file.configurations().iter().any(|it| it.stack.is_own()) =>
            {
                Ok((None, Vec::new()))
            }
            read => read,
        }
    }

    /// What a stack starts in its place.
    async fn stack(
        &mut self,
        own: &EngineBlock,
        file: &GridFile,
        stack: &Stack,
    ) -> Result<(ReadStack, Vec<Unknown>), ComposeError> {
        let mut block = block_of(own, stack);
        let located = match &block {
            EngineBlock::Docker(block) => named_by(block, block.service.as_deref())?,
            _ => None,
        };
        let (service, unknown) = self.block(&block, file, stack, located).await?;
        if let Some(service) = &service {
            keep(&mut block, &service.source);
        }
        Ok((ReadStack { block, service }, unknown))
    }

    /// What a block starts for a stack, and what is not known of it.
    async fn block(
        &mut self,
        engine: &EngineBlock,
        file: &GridFile,
        stack: &Stack,
        located: Option<Located>,
    ) -> Result<(Option<ReadService>, Vec<Unknown>), ComposeError> {
        let of_stack = file.configurations().iter().filter(|it| it.stack == *stack);
        let configurations: Vec<Configuration> = of_stack.cloned().collect();
        let block = match engine {
            EngineBlock::Docker(block) => block,
            EngineBlock::Process(block) => {
                let view = of_process(&block.command);
                let place = "the command of the engine `process`";
                takes_model(&view, place, stack)?;
                let warning = service_flags::check(&view, place, &block.flags, &configurations)?;
                return Ok((None, in_grid(warning)));
            }
            EngineBlock::Simulated(_) => return Ok((None, Vec::new())),
        };
        let Some(located) = located else {
            let Some(image) = &block.image else { return Ok((None, Vec::new())) };
            let warning = match image_command(image, self.need).await? {
                Ok(own) => {
                    let view = CommandView::new(None, Some(Vec::new()), Some(own));
                    let place = format!("the entry point of image {image}");
                    service_flags::check(&view, &place, &block.flags, &configurations)?
                        .map(|unknown| format!("{place}: {unknown}"))
                }
                Err(unknown) => unknown,
            };
            return Ok((None, in_grid(warning)));
        };
        self.service(block, located, stack, &configurations).await
    }

    async fn service(
        &mut self,
        block: &DockerBlock,
        located: Located,
        stack: &Stack,
        configurations: &[Configuration],
    ) -> Result<(Option<ReadService>, Vec<Unknown>), ComposeError> {
        let Located { source, notes, unanswered } = located;
        let mut spec = self.spec(&source).await?;
        if let Some(image) = &block.image {
            spec.image.clone_from(image);
        }
        // Where the service has an entry point, the image's command does not count, either.
        let (image, not_asked) = match spec.entrypoint {
            Some(_) => (None, None),
            None => match image_command(&spec.image, self.need).await? {
                Ok(own) => (Some(own), None),
                Err(unknown) => (None, unknown),
            },
        };
        let unanswered = match (unanswered, self.need) {
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
        let written = described(&source, &view, &place);
        takes_model(&view, &written, stack)?;
        let view = with_model(view, block);
        let unknown = service_flags::check(&view, &written, &block.flags, configurations)?;
        let at = |message| Unknown { place: Some(place.clone()), message };
        let warnings = unknown.into_iter().chain(not_asked).map(at).collect::<Vec<_>>();
        let variables = compose::variables_of(&source);
        let notes = notes
            .into_iter()
            .chain(unanswered)
            .chain(spec.said.iter().map(|said| format!("the compose tool says: {said}")))
            .chain(compose::forgotten(&source, &variables))
            .chain(idle(stack, &variables, &source))
            .chain(misplaced(configurations, &variables, &spec));
        let warnings = in_grid(notes).into_iter().chain(warnings).collect();
        Ok((Some(ReadService { spec, view, place, source, variables }), warnings))
    }

    async fn spec(&mut self, source: &ComposeSource) -> Result<ServiceSpec, ComposeError> {
        if let Some((_, spec)) = self.read.iter().find(|(known, _)| known == source) {
            return Ok(spec.clone());
        }
        let spec = compose::read(source).await?;
        self.read.push((source.clone(), spec.clone()));
        Ok(spec)
    }
}

/// Refuses a model for what it cannot be given to.
fn takes_model(view: &CommandView, place: &str, stack: &Stack) -> Result<(), ComposeError> {
    match (view.unreadable(), &stack.model) {
        (Some(why), Some(_)) => Err(ComposeError::Unreadable {
            place: place.to_owned(),
            why: why.clone(),
            flags: vec!["model".to_owned()],
        }),
        _ => Ok(()),
    }
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
        variables: source.variables.clone(),
        located: true,
    };
}

/// The grid with the flags of the services that were read for it, and what is not known.
pub fn complete(file: GridFile, started: &Started) -> Grid {
    let base = |service: &ReadService| service_flags::of(&service.spec.image, &service.view);
    let own = started.service.as_ref();
    let others: BTreeMap<Stack, ServiceBase> = started
        .stacks
        .iter()
        .filter_map(|(stack, read)| Some((stack.clone(), base(read.service.as_ref()?))))
        .collect();
    let mut grid = if own.is_some() || !others.is_empty() {
        file.with_services(own.map(base), &others)
    } else {
        file.without_service()
    };
    if let Some(service) = own {
        keep(&mut grid.engine, &service.source);
    }
    let blocks = started.stacks.iter().map(|(stack, read)| (stack.clone(), read.block.clone()));
    grid.stacks = blocks.collect();
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
