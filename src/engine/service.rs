//! The compose service that a grid names: it is read, what it starts is seen through,
//! and its flags come under the grid's. The grid itself knows no compose tool.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::command_view::{CommandView, Part};
use super::compose::{self, ComposeError, ComposeSource, Printed, ServiceSpec};
use super::docker::{LIMIT, Located, WHAT, named_by, source_within};
use super::service_flags;
use super::service_view::{of_process, view_of};
use super::stack::{block_of, with_image, with_model};
use crate::configuration::{Configuration, Stack};
use crate::grid::{ComposeFiles, DockerBlock, EngineBlock, Grid, GridFile, ServiceBase};
use crate::secret::Secrets;

mod faults;
mod image;
mod pause;
mod said;

pub use faults::{Fault, Faults};
use image::image_command;
pub use said::Unknown;

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
    /// What cannot be read, or cannot do what the grid asks for.
    pub faults: Vec<Fault>,
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

    /// Whether there is no configuration whose service can be read.
    pub fn has_nothing(&self, file: &GridFile) -> bool {
        let is_at_fault = |stack: &Stack| self.faults.iter().any(|it| it.is_of(stack));
        file.configurations().iter().all(|it| is_at_fault(&it.stack))
    }

    /// What was read, where there is no fault.
    ///
    /// # Errors
    /// All faults, each with its place in the grid.
    pub fn sound(self, file: &GridFile) -> Result<Self, Faults> {
        match Faults::of(file, &self.faults, |_| true) {
            Some(faults) => Err(faults),
            None => Ok(self),
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
/// configurations start in its place, and refuses flags of the grid that could not act. What
/// cannot be read is among the faults, and keeps nothing else from being read.
pub async fn read(file: &GridFile, need: Need) -> Started {
    let mut reader = Reader { need, file, printed: Vec::new(), started: Started::default() };
    let own = reader.own().await;
    for stack in stacks_of(file) {
        if reader.started.faults.iter().any(Fault::is_final) {
            break;
        }
        reader.stack(&own, stack).await;
    }
    reader.started
}

/// Reads what engine blocks start; the compose tool runs once for all services of the same
/// files and variables.
struct Reader<'a> {
    need: Need,
    file: &'a GridFile,
    /// What the tool printed, by what it was printed of; there the service is left out.
    printed: Vec<(ComposeSource, Result<Printed, ComposeError>)>,
    started: Started,
}

/// What a block starts, and what is not known of it.
type Read = Result<(Option<ReadService>, Vec<Unknown>), ComposeError>;

impl Reader<'_> {
    /// The engine block as it is read for its own configurations: what production was made
    /// from decides for those that only vary it, too.
    async fn own(&mut self) -> EngineBlock {
        let own_stack = Stack::default();
        let mut own = self.file.engine().clone();
        let located = match &own {
            EngineBlock::Docker(block) => {
                source_within(block, block.service.as_deref(), self.need.patience()).await
            }
            _ => Ok(None),
        };
        let located = match located {
            Ok(located) => located,
            Err(error) => {
                self.started.faults.push(Fault::of(&own_stack, error));
                return own;
            }
        };
        if let Some(located) = &located {
            keep(&mut own, &located.source);
        }
        let source = located.as_ref().map(|it| it.source.clone());
        let is_started = self.file.configurations().iter().any(|it| it.stack.is_own());
        match self.block(&own, &own_stack, located).await {
            Ok((service, unknown)) => {
                self.started.service = service;
                self.started.warnings.extend(unknown);
            }
            // Each configuration gives them values.
            Err(ComposeError::Unset(_)) if !is_started => {}
            Err(error) => self.started.faults.push(Fault::of(&own_stack, error)),
        }
        if let (EngineBlock::Docker(block), Some(source)) = (&own, source) {
            self.companions(block, &source).await;
        }
        own
    }

    /// A stack in the place of the engine block's own.
    async fn stack(&mut self, own: &EngineBlock, stack: &Stack) {
        let mut block = block_of(own, stack);
        let located = match &block {
            EngineBlock::Docker(block) => named_by(block, block.service.as_deref()),
            _ => Ok(None),
        };
        let read = match located {
            Ok(located) => self.block(&block, stack, located).await,
            Err(error) => Err(error),
        };
        match read {
            Ok((service, unknown)) => {
                if let Some(service) = &service {
                    keep(&mut block, &service.source);
                }
                self.started.warnings.extend(unknown);
                self.started.stacks.insert(stack.clone(), ReadStack { block, service });
            }
            Err(error) => self.started.faults.push(Fault::of(stack, error)),
        }
    }

    /// What is stopped with production, against the services of its compose files.
    async fn companions(&mut self, block: &DockerBlock, source: &ComposeSource) {
        if block.production.is_none() {
            return;
        }
        let Ok(related) = self.printed(source).await.and_then(|it| it.relations()) else { return };
        let looked = pause::look(block, source, &related);
        let grid = self.file.grid();
        let keys = ["engine", "docker", "production"];
        let list = ["engine", "docker", "production", "pause"];
        for (name, error) in looked.faults {
            let at = grid.place_of_item(&list, &name).or_else(|| grid.place_of(&list));
            self.started.faults.push(Fault::of(&Stack::default(), error).at(at));
        }
        let at = grid.place_of(&keys);
        let warnings = looked.warnings.into_iter();
        self.started.warnings.extend(warnings.map(|it| Unknown::of(&Stack::default(), it).at(at)));
    }

    /// What a block starts for a stack, and what is not known of it.
    async fn block(
        &mut self,
        engine: &EngineBlock,
        stack: &Stack,
        located: Option<Located>,
    ) -> Read {
        let of_stack = self.file.configurations().iter().filter(|it| it.stack == *stack);
        let configurations: Vec<Configuration> = of_stack.cloned().collect();
        let in_grid = |said: Option<String>| {
            said.into_iter().map(|it| Unknown::of(stack, it)).collect::<Vec<_>>()
        };
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
    ) -> Read {
        let Located { source, notes, unanswered } = located;
        let spec = with_image(self.printed(&source).await?.service(&source)?, block);
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
        let at = |message| Unknown::of(stack, message).in_compose_file(&place);
        let of_command = unknown.into_iter().chain(not_asked).map(at).collect::<Vec<_>>();
        let variables = compose::variables_of(&source);
        let notes = notes
            .into_iter()
            .chain(unanswered)
            .chain(spec.said.iter().map(|said| format!("the compose tool says: {said}")))
            .chain(compose::forgotten(&source, &variables))
            .map(|note| Unknown::of(stack, note));
        let grid = self.file.grid();
        let warnings = notes
            .chain(said::idle_variables(grid, stack, &variables, &source))
            .chain(said::misplaced(grid, stack, configurations, &variables, &spec))
            .chain(of_command)
            .collect();
        Ok((Some(ReadService { spec, view, place, source, variables }), warnings))
    }

    /// What the compose tool prints of the files, which it is asked for once.
    async fn printed(&mut self, source: &ComposeSource) -> Result<Printed, ComposeError> {
        let of = ComposeSource { service: String::new(), ..source.clone() };
        if let Some((_, printed)) = self.printed.iter().find(|(known, _)| *known == of) {
            return printed.clone();
        }
        let printed = compose::printed(source).await;
        self.printed.push((of, printed.clone()));
        printed
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
    let said = said::once(&grid, &started.warnings);
    grid.warnings.extend(said);
    grid
}
