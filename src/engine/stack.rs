//! Several things to start in one sweep: each stack of a grid's configurations (another
//! service, other variables, another image or model) has an engine block and an engine of
//! its own, and each launch goes to the one of its configuration. What a single one starts
//! is not known here.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::command_view::CommandView;
use super::compose::ServiceSpec;
use super::service_view::of_process;
use super::{Engine, LaunchOrder, Launched};
use crate::configuration::{Configuration, Stack};
use crate::event::Emit;
use crate::grid::{ComposeFiles, DockerBlock, EngineBlock};
use crate::history::launch::{FailureClass, LaunchFailure};
use crate::ownership::{Ledger, Uses};

/// The engine block with what a stack names in its place.
pub fn block_of(engine: &EngineBlock, stack: &Stack) -> EngineBlock {
    let mut block = engine.clone();
    match &mut block {
        EngineBlock::Docker(block) => of_docker(block, stack),
        EngineBlock::Process(block) => {
            if let Some(model) = &stack.model {
                block.command = of_process(&block.command).with_model(model).words();
            }
        }
        EngineBlock::Simulated(block) => {
            if let Some(model) = &stack.model {
                block.model.clone_from(model);
            }
        }
    }
    block
}

fn of_docker(block: &mut DockerBlock, stack: &Stack) {
    block.base = None;
    if stack.has_service() {
        let folder = block.compose.folder.clone();
        let at = |path: &String| folder.join(path);
        if !stack.compose.is_empty() {
            // Other files: what the block names to read its own with is not theirs.
            block.compose = ComposeFiles {
                files: stack.compose.iter().map(at).collect(),
                exact: stack.exact,
                folder: folder.clone(),
                ..ComposeFiles::default()
            };
        }
        if !stack.env_files.is_empty() {
            block.compose.env_files = stack.env_files.iter().map(at).collect();
        }
        if let Some(directory) = &stack.project_directory {
            block.compose.project_directory = Some(at(directory));
        }
        if let Some(service) = &stack.service {
            block.service = Some(service.clone());
        }
        (block.image, block.model) = (None, None);
    }
    block.compose.variables.extend(stack.variables.clone());
    // Beside a service both replace what it says.
    if let Some(image) = &stack.image {
        block.image = Some(image.clone());
    }
    if let Some(model) = &stack.model {
        block.model = Some(model.clone());
    }
}

/// A service with the image that the block names, where it names one.
pub(super) fn with_image(service: ServiceSpec, block: &DockerBlock) -> ServiceSpec {
    match &block.image {
        Some(image) => ServiceSpec { image: image.clone(), ..service },
        None => service,
    }
}

/// A service's command with the model that the block names, where it names one.
pub(super) fn with_model(view: CommandView, block: &DockerBlock) -> CommandView {
    match &block.model {
        Some(model) if view.read().0.as_ref() != Some(model) => view.with_model(model),
        _ => view,
    }
}

/// The engines of a grid's stacks as one.
pub(super) struct Stacks {
    engines: BTreeMap<Stack, Arc<dyn Engine>>,
    name: &'static str,
}

impl Stacks {
    pub(super) fn new(engines: BTreeMap<Stack, Arc<dyn Engine>>) -> Self {
        let name = engines.values().next().map_or("none", |engine| engine.name());
        Self { engines, name }
    }

    fn of(&self, configuration: &Configuration) -> Option<&Arc<dyn Engine>> {
        self.engines.get(&configuration.stack)
    }
}

#[async_trait]
impl Engine for Stacks {
    fn name(&self) -> &'static str {
        self.name
    }

    fn places(&self) -> usize {
        // Each has the same machine.
        self.engines.values().map(|engine| engine.places()).min().unwrap_or(1)
    }

    /// There is none that every launch uses: the image of each stack is one of its parts.
    fn image_id(&self) -> Option<String> {
        None
    }

    fn service_parts(&self) -> Option<BTreeMap<String, String>> {
        let mut all = BTreeMap::new();
        for (stack, engine) in &self.engines {
            let image = engine.image_id().map(|id| ("image id".to_owned(), id));
            for (part, hash) in engine.service_parts()?.into_iter().chain(image) {
                let name = if stack.is_own() { part } else { format!("{part} ({stack})") };
                all.insert(name, hash);
            }
        }
        Some(all)
    }

    async fn runtime(&self) -> Option<String> {
        self.engines.values().next()?.runtime().await
    }

    fn uses(&self, configurations: &[Configuration]) -> Uses {
        let of = |(stack, engine): (&Stack, &Arc<dyn Engine>)| {
            let own = configurations.iter().filter(|it| it.stack == *stack).cloned();
            engine.uses(&own.collect::<Vec<_>>())
        };
        self.engines.iter().map(of).reduce(Uses::and).unwrap_or_default()
    }

    fn owned_by(&self, ledger: &Arc<Ledger>) {
        self.engines.values().for_each(|engine| engine.owned_by(ledger));
    }

    async fn launch(
        &self,
        order: &LaunchOrder,
        emit: &Emit,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn Launched>, LaunchFailure> {
        let Some(engine) = self.of(&order.configuration) else {
            let what = &order.configuration.stack;
            let message = format!("no engine was made for {what}; this is a bug");
            return Err(LaunchFailure::new(FailureClass::Environment, message));
        };
        engine.launch(order, emit, cancel).await
    }

    async fn clean_up(&self, configuration: &Configuration, failure: &LaunchFailure, emit: &Emit) {
        if let Some(engine) = self.of(configuration) {
            engine.clean_up(configuration, failure, emit).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Cleaned(Mutex<Vec<String>>);

    #[async_trait]
    impl Engine for Cleaned {
        fn name(&self) -> &'static str {
            "cleaned"
        }

        async fn launch(
            &self,
            _: &LaunchOrder,
            _: &Emit,
            _: &CancellationToken,
        ) -> Result<Box<dyn Launched>, LaunchFailure> {
            Err(LaunchFailure::new(FailureClass::Environment, "it launches nothing"))
        }

        async fn clean_up(&self, configuration: &Configuration, _: &LaunchFailure, _: &Emit) {
            self.0.lock().expect("one thread").push(configuration.name.clone());
        }
    }

    #[tokio::test]
    async fn what_one_configuration_spoilt_is_cleaned_for_it_alone() {
        let stack = |image: &str| Stack { image: Some(image.to_owned()), ..Stack::default() };
        let engines = ["a", "b"].map(|image| (stack(image), Arc::new(Cleaned::default())));
        let all = engines.clone().map(|(stack, engine)| (stack, engine as Arc<dyn Engine>));
        let stacks = Stacks::new(all.into());
        let spoilt =
            Configuration { name: "b8".to_owned(), stack: stack("b"), ..Configuration::default() };
        let failure = LaunchFailure::new(FailureClass::CompileCache, "corrupt");
        stacks.clean_up(&spoilt, &failure, &Emit::nowhere()).await;
        let cleaned = engines.map(|(_, engine)| engine.0.lock().expect("one thread").clone());
        assert_eq!(cleaned, [vec![], vec!["b8".to_owned()]]);
    }
}
