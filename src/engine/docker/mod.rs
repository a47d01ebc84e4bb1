//! The Docker engine: a container per launch, on the local daemon, made from
//! the user's compose service or a plain image. It touches nothing that it did
//! not create: containers and cache volumes bear its labels, containers are
//! addressed by id. Production is the sweep's to guard, not this engine's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use async_trait::async_trait;
use bollard::query_parameters::InspectNetworkOptions;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::command_view::CommandView;
use super::compose::{Mount, ServiceSpec, parts};
use super::haste::Haste;
use super::log::{EngineLog, LogWriter};
use super::place::Allocated;
use super::readiness::{Connect, Limits};
use super::service_view::view_of;
use super::{Engine, LaunchOrder, Launched, devices, leftovers};
use crate::configuration::{Configuration, Flags};
use crate::event::Emit;
use crate::history::launch::{FailureClass, LaunchFacts, LaunchFailure};
use crate::ownership::{Ledger, Uses};
use crate::secret::Secrets;
use crate::server::effective::Inspected;
use crate::server::{ApiKey, GpuIds};

mod arguments;
mod block;
mod body;
pub mod caches;
pub mod cleanup;
mod compared;
mod container;
pub mod daemon;
mod fingerprint;
mod follow;
pub mod gate;
pub(super) mod gpus;
mod image;
mod launched;
mod naming;
mod offline;
pub mod owed;
mod patience;
pub mod production;
#[cfg(test)]
pub(crate) mod scripted;
mod sources;
mod state;
mod stats;
mod transport;
mod wait;

pub(super) use block::key_of;
pub use block::{
    compare_production, find_companions, of_block, production_of, production_to_recover,
};
use body::{Addition, body};
pub use caches::Caches;
use caches::UsedCaches;
use container::{Container, Left};
use gate::Gate;
pub(super) use gate::Gates;
pub use image::{ImageIdentity, identity};
use launched::LaunchedContainer;
pub use naming::label;
use naming::{container_name, labels};
use offline::Offline;
pub use patience::Daemon;
pub use production::{Comparison, DockerProduction, Running};
pub use sources::{LIMIT, Located, WHAT, named_by, source_of, source_within};

/// What is launched, and how.
#[derive(Clone, Debug)]
pub struct DockerSpec {
    /// The service, or a plain image.
    pub service: ServiceSpec,
    /// The key that requests carry; without it, the one that the service names.
    pub api_key: Option<ApiKey>,
    /// Whether GPUs are asked for; off for CPU images.
    pub gpus: bool,
    /// Whether our cache volumes replace those that the service lacks.
    pub caches: bool,
    /// Whether vLLM's development endpoints are switched on (they need no key).
    pub introspect: bool,
    /// How long to wait for readiness.
    pub limits: Limits,
    /// What its logs are written without; the service's own are added.
    pub secrets: Secrets,
    /// The GPUs that candidates are kept on; `None` leaves them what the service asks for.
    pub allocated: Option<Allocated>,
    /// What shortens the time of a stop.
    pub haste: Haste,
}

impl DockerSpec {
    /// `service` with everything as usual.
    pub fn new(service: ServiceSpec) -> Self {
        Self {
            service,
            api_key: None,
            gpus: true,
            caches: true,
            introspect: false,
            limits: Limits::default(),
            secrets: Secrets::default(),
            allocated: None,
            haste: Haste::default(),
        }
    }
}

/// Why the engine cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DockerError {
    /// The daemon.
    #[error(transparent)]
    Daemon(#[from] daemon::DaemonError),
    /// The service asks for what the place does not have.
    #[error("{0}")]
    Place(String),
    /// The image is not on this machine.
    #[error("image {0} is not on this machine: `docker pull {0}` (a sweep never pulls)")]
    NoImage(String),
    /// The daemon refused.
    #[error("{what}: {message}")]
    Refused {
        /// What was asked.
        what: String,
        /// Its answer.
        message: String,
    },
}

/// Starts servers as containers.
pub struct DockerEngine {
    docker: Daemon,
    spec: DockerSpec,
    /// The service's parts, as it is described.
    parts: BTreeMap<String, String>,
    image: ImageIdentity,
    connect: Connect,
    gate: tokio::sync::Mutex<Gate>,
    offline: Mutex<Offline>,
    caches: UsedCaches,
    /// Containers that could not be removed.
    left: Left,
    /// The run that it launches for.
    owner: OnceLock<Arc<Ledger>>,
}

impl DockerEngine {
    /// Fixes the image's identity; launches use it, whatever its tag points at later.
    pub async fn new(
        docker: Daemon,
        mut spec: DockerSpec,
        connect: Connect,
    ) -> Result<Self, DockerError> {
        let image = identity(&docker, &spec.service.image).await?;
        if spec.api_key.is_none() {
            spec.api_key = service_key(&spec.service);
        }
        spec.service.reveal_to(&spec.secrets);
        view_of(&spec.service, Some(image.own.clone())).reveal_config_to(&spec.secrets);
        spec.secrets.add_pairs(image.environment.iter().map(String::as_str));
        if let Some(key) = &spec.api_key {
            spec.secrets.add(key.reveal());
        }
        let parts = parts::of(&spec.service);
        if let Some(gpus) = spec.allocated.as_ref().filter(|_| spec.gpus) {
            gpus.give(&mut spec.service).map_err(DockerError::Place)?;
        }
        let gate = Gate::new(docker.clone(), &spec.service, &image.id, spec.gpus);
        let (gate, offline) = (tokio::sync::Mutex::new(gate), Mutex::default());
        let (caches, owner) = (UsedCaches::new(spec.caches), OnceLock::new());
        let left = Left::default();
        Ok(Self { docker, spec, parts, image, connect, gate, offline, caches, left, owner })
    }

    /// The same beside others that may launch on the same GPUs.
    pub(super) fn behind(mut self, gates: &Gates) -> Self {
        self.gate = tokio::sync::Mutex::new(self.gate.into_inner().among(gates));
        self
    }

    /// What the image is.
    pub fn image(&self) -> &ImageIdentity {
        &self.image
    }

    /// What a configuration makes of what the service starts, or the image by itself.
    ///
    /// # Errors
    /// Where the configuration has flags, and vLLM's arguments cannot be seen.
    pub fn command(&self, configuration: &Configuration) -> Result<CommandView, LaunchFailure> {
        let view = view_of(&self.spec.service, Some(self.image.own.clone()));
        match view.unreadable() {
            Some(why) if !configuration.varied.is_empty() || !configuration.flags.is_empty() => {
                let image = &self.spec.service.image;
                let message = format!("flags cannot be passed to what {image} starts: {why}");
                Err(LaunchFailure::new(FailureClass::BadFlag, message))
            }
            _ => Ok(with_known_port(view.configured(configuration))),
        }
    }

    /// What has served; a panic elsewhere leaves it whole.
    fn offline(&self) -> MutexGuard<'_, Offline> {
        self.offline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn environment(&self, order: &LaunchOrder, command: &CommandView) -> BTreeMap<String, String> {
        let mut environment = order.configuration.environment.clone();
        let asks_already = command.has("api-key")
            || view_of(&self.spec.service, None).config().contains_key("api-key")
            || self.spec.service.environment.contains_key("VLLM_API_KEY");
        if let Some(key) = self.spec.api_key.as_ref().filter(|_| !asks_already) {
            environment.insert("VLLM_API_KEY".to_owned(), key.reveal().to_owned());
        }
        if self.spec.introspect {
            environment.insert("VLLM_SERVER_DEV_MODE".to_owned(), "1".to_owned());
        }
        let of_service = &self.spec.service.environment;
        let (model, _) = command.read();
        if self.offline().applies_to(&order.configuration, model.as_deref())
            && !of_service.contains_key(offline::VARIABLE)
        {
            environment.insert(offline::VARIABLE.to_owned(), "1".to_owned());
        }
        if let Some(gpus) = self.spec.allocated.as_ref().filter(|_| self.spec.gpus) {
            // What is refused was refused before: a word is made the list that it stands for.
            let _checked = gpus.confine(&mut environment);
        }
        environment
    }

    /// The GPUs that a candidate sees; `None` where only the daemon knows.
    fn gpus(&self, candidate: &Configuration) -> Option<GpuIds> {
        if !self.spec.gpus {
            return Some(GpuIds::default());
        }
        gpus::assigned(&gpus::choosing(&self.spec.service, &candidate.environment))
    }

    /// Mounts of our cache volumes; `environment` is what a launch adds to the service's.
    async fn cache_mounts(
        &self,
        command: &CommandView,
        environment: &BTreeMap<String, String>,
        emit: &Emit,
    ) -> Vec<Mount> {
        let service = &self.spec.service;
        let mut all = service.environment.clone();
        all.extend(environment.clone());
        let key = command.read().0.map(|model| caches::model_key(&model, &service.mounts, &all));
        self.caches.mounts(&self.docker, service, &self.image, key.as_deref(), emit).await
    }

    /// The service's networks, as far as they exist. A project's own `_default`
    /// exists only while the project is up; candidates then use Docker's bridge.
    async fn networks(&self) -> Result<Vec<String>, LaunchFailure> {
        let mut networks = Vec::new();
        for name in &self.spec.service.networks {
            let ask = || self.docker.inspect_network(name, None::<InspectNetworkOptions>);
            match self.docker.ask(ask).await {
                Ok(_) => networks.push(name.clone()),
                Err(error) if daemon::status(&error) == Some(404) && name.ends_with("_default") => {
                }
                Err(error) => {
                    let message = format!("network {name}: {}", self.docker.words(&error));
                    return Err(LaunchFailure::new(FailureClass::Environment, message));
                }
            }
        }
        Ok(networks)
    }

    async fn start(&self, order: &LaunchOrder, emit: &Emit) -> Result<Started, LaunchFailure> {
        let command = self.command(&order.configuration)?;
        let port = command.port();
        let networks = self.networks().await?;
        let environment = self.environment(order, &command);
        let is_offline = environment.contains_key(offline::VARIABLE)
            && !order.configuration.environment.contains_key(offline::VARIABLE);
        let mounts = self.cache_mounts(&command, &environment, emit).await;
        let addition = Addition {
            image_id: &self.image.id,
            environment,
            labels: labels(order, self.owner.get().map(|ledger| &**ledger)),
            mounts,
            gpus: self.spec.gpus,
            network: networks.first().map(String::as_str),
            entrypoint: command.entrypoint().map(<[String]>::to_vec),
            command: command.command().map(<[String]>::to_vec),
            port,
        };
        let (log, file) =
            EngineLog::create(&order.folder, &self.spec.secrets).map_err(|error| {
                LaunchFailure::new(
                    FailureClass::Environment,
                    format!("the launch's folder: {error}"),
                )
            })?;
        let name = container_name(order);
        if let Some(owner) = self.owner.get() {
            leftovers::none_now(&self.docker, owner).await?;
        }
        let service = &self.spec.service;
        let platform = service.options.platform.as_deref();
        let container =
            Container::create_on(&self.docker, &name, platform, body(service, &addition)).await?;
        let container = container.noted_in(&self.left).hastened(&self.spec.haste);
        let names = command.served_names().unwrap_or_default();
        let mut started = Started { container, log, at: Instant::now(), port, names, is_offline };
        // Another run may have looked at the same moment as this one, and created its own.
        let alone = match self.owner.get() {
            Some(owner) => {
                leftovers::none_beside(&self.docker, owner, started.container.id()).await
            }
            None => Ok(()),
        };
        let further = networks.get(1..).unwrap_or_default();
        let outcome = match alone {
            Ok(()) => started.start(further, file, emit).await,
            beside @ Err(_) => beside,
        };
        match outcome {
            Ok(()) => Ok(started),
            Err(failure) => match started.container.stop_and_remove(0).await {
                Ok(()) => Err(failure),
                Err(left) => Err(failure.leaving(&left)),
            },
        }
    }
}

struct Started {
    container: Container,
    log: EngineLog,
    at: Instant,
    port: u16,
    /// Names of the model that it is to offer, where they are known.
    names: Vec<String>,
    /// Whether we keep it from asking the hub.
    is_offline: bool,
}

impl Started {
    async fn start(
        &mut self,
        further_networks: &[String],
        file: LogWriter,
        emit: &Emit,
    ) -> Result<(), LaunchFailure> {
        for network in further_networks {
            self.container.join_network(network).await?;
        }
        self.at = Instant::now();
        self.container.start(file, emit).await
    }
}

#[async_trait]
impl Engine for DockerEngine {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn image_id(&self) -> Option<String> {
        Some(self.image.id.clone())
    }

    fn service_parts(&self) -> Option<BTreeMap<String, String>> {
        Some(self.parts.clone())
    }

    async fn runtime(&self) -> Option<String> {
        daemon::runtime(&self.docker).await
    }

    fn uses(&self, configurations: &[Configuration]) -> Uses {
        devices::of_service(&self.spec.service, self.spec.gpus, configurations)
    }

    fn owned_by(&self, ledger: &Arc<Ledger>) {
        // There is one run in the life of an engine.
        let _ = self.owner.set(Arc::clone(ledger));
    }

    async fn launch(
        &self,
        order: &LaunchOrder,
        emit: &Emit,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn Launched>, LaunchFailure> {
        self.gate.lock().await.pass(&order.configuration, emit, cancel).await?;
        let mut started = self.start(order, emit).await?;
        let ready = self.wait(&mut started, emit, cancel).await;
        let failure = match ready {
            Ok((server, identity)) => {
                let facts = LaunchFacts {
                    started_at: identity.started_at.clone(),
                    boot_seconds: started.at.elapsed().as_secs_f64(),
                    image_id: Some(self.image.id.clone()),
                    engine_version: server.version.clone(),
                    simulated: server.simulated,
                };
                if self.caches.keep_hub(&self.spec.service, &self.image) {
                    self.offline().served(&order.configuration);
                }
                let flags = CommandView::of_vector(&started.container.words().await).read().1;
                let inspected = Inspected { image: identity.image_id.clone(), flags };
                return Ok(Box::new(LaunchedContainer {
                    started,
                    server,
                    facts,
                    identity,
                    inspected,
                    gpus: self.gpus(&order.configuration),
                }));
            }
            Err(failure) if started.is_offline => {
                self.offline().blamed(failure, &started.log.text())
            }
            Err(failure) => failure,
        };
        // What never served has nothing to finish.
        match started.container.stop_and_remove(10).await {
            Ok(()) => Err(failure),
            Err(left) => Err(failure.leaving(&left)),
        }
    }

    async fn clean_up(&self, _: &Configuration, failure: &LaunchFailure, emit: &Emit) {
        if failure.class == FailureClass::CompileCache {
            self.caches.drop_compiled(&self.docker, emit).await;
        }
    }

    async fn end_left(&self) -> Result<(), LaunchFailure> {
        self.left.remove(&self.docker).await
    }
}

fn refused(what: &str, message: &str) -> DockerError {
    let message = crate::clean::plain(message).into_owned();
    DockerError::Refused { what: what.to_owned(), message }
}

/// A port that only the container can expand is replaced: it must be published.
fn with_known_port(command: CommandView) -> CommandView {
    if command.has("port") && command.value("port").is_none() {
        let port = Value::from(command.port());
        return command.overlaid(&Flags::from([("port".to_owned(), port)]));
    }
    command
}

/// The key that the service itself asks for, in its command, in the file that `--config`
/// names, or by a variable.
fn service_key(service: &ServiceSpec) -> Option<ApiKey> {
    let view = view_of(service, None);
    let by_variable = || service.environment.get(&view.variable("api-key")?).cloned();
    view.value("api-key")
        .or_else(by_variable)
        .or_else(|| service.environment.get("VLLM_API_KEY").cloned())
        .filter(|key| !key.is_empty())
        .map(ApiKey::new)
}

#[cfg(test)]
pub(crate) mod tests;
