//! Production on the local daemon: found by its exact name or by compose's own
//! labels, handled by id.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use async_trait::async_trait;
use bollard::errors::Error;
use bollard::models::{ContainerInspectResponse, ContainerSummary};
use bollard::query_parameters::{
    InspectContainerOptions, ListContainersOptions, ListContainersOptionsBuilder,
    StartContainerOptions,
};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::body::GRACE;
use super::compared::{self, Other, what_runs};
use super::container;
use super::daemon::status;
use super::fingerprint;
use super::image::identity;
use super::patience::{ACTION, Daemon, PATIENCE};
use super::state::restarts_again;
use crate::configuration::{canonical, hexadecimal};
use crate::engine::compose::{self, ComposeError, ComposeSource, ServiceSpec};
use crate::engine::production::{Production, ProductionError, RESTORE};
use crate::engine::readiness::Connect;
use crate::grid::ProductionName;
use crate::history::production::{Companion, ProductionFacts};
use crate::secret::Secrets;
use crate::server::ApiKey;

mod address;
mod proof;
mod running;

pub use running::Running;

/// The service that the compose tool made a container of.
const SERVICE_LABEL: &str = "com.docker.compose.service";

/// Seconds that Docker gives a container to stop where nothing else is said.
const DEFAULT_GRACE: i32 = 10;

/// Production's container beside its description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// The container's name.
    pub name: String,
    /// Whether it runs.
    pub running: bool,
    /// How often it was restarted by its policy, where it does not stay up.
    pub restarts: Option<i64>,
    /// The compose service that it was made of.
    pub service: Option<String>,
    /// Each difference as a sentence.
    pub differences: Vec<String>,
}

/// Production's container on a daemon.
pub struct DockerProduction {
    docker: Daemon,
    name: ProductionName,
    /// Where its service is described, where it is a service.
    source: Option<ComposeSource>,
    api_key: Option<ApiKey>,
    /// What is stopped before it.
    pause: Vec<ProductionName>,
    /// The variable that was to hold the key, and does not.
    missing_key: Option<String>,
    connect: Connect,
}

impl DockerProduction {
    /// Production by that name; `source` is the compose file of a service.
    pub fn new(
        docker: Daemon,
        name: ProductionName,
        source: Option<ComposeSource>,
        api_key: Option<ApiKey>,
        connect: Connect,
    ) -> Self {
        Self { docker, name, source, api_key, pause: Vec::new(), missing_key: None, connect }
    }

    /// The same with what is stopped before it.
    #[must_use]
    pub(super) fn pausing(self, pause: Vec<ProductionName>) -> Self {
        Self { pause, ..self }
    }

    /// The same where the variable of its key is not set: it is started all the same, and not
    /// proven where its own container shows no key.
    #[must_use]
    pub(super) fn with_missing_key(self, variable: Option<String>) -> Self {
        Self { missing_key: variable, ..self }
    }

    async fn inspect(&self, id: &str) -> Result<Option<ContainerInspectResponse>, ProductionError> {
        let inspect = || self.docker.inspect_container(id, None::<InspectContainerOptions>);
        match self.docker.ask(inspect).await {
            Ok(seen) => Ok(Some(seen)),
            Err(error) if status(&error) == Some(404) => Ok(None),
            Err(error) => Err(self.daemon(&error)),
        }
    }

    fn daemon(&self, error: &Error) -> ProductionError {
        ProductionError::Daemon(self.docker.words(error))
    }

    async fn listed(
        &self,
        options: Option<ListContainersOptions>,
    ) -> Result<Vec<ContainerSummary>, ProductionError> {
        let list = || self.docker.list_containers(options.clone());
        self.docker.ask(list).await.map_err(|error| self.daemon(&error))
    }

    /// Why it could not be started: a port that somebody took has a name.
    async fn not_started(&self, id: &str, error: &Error) -> ProductionError {
        let text = error.to_string();
        let Some(port) = taken_port(&text) else { return self.daemon(error) };
        let running = self.listed(None).await.unwrap_or_default();
        let has_it = |seen: &&ContainerSummary| {
            let mut ports = seen.ports.iter().flatten();
            seen.id.as_deref() != Some(id) && ports.any(|it| it.public_port == Some(port))
        };
        let by = running.iter().find(has_it).and_then(|seen| seen.names.as_ref()?.first().cloned());
        let by = by.map(|name| name.trim_start_matches('/').to_owned());
        ProductionError::PortTaken { port, by }
    }

    /// Production as it is, and how it differs from `service`, its description in the
    /// grid's compose file. Its secrets become known.
    ///
    /// # Errors
    /// It is not there: what was looked for and what runs. Or the daemon's error.
    pub async fn compare(
        &self,
        service: Option<&ServiceSpec>,
        secrets: &Secrets,
    ) -> Result<Comparison, ProductionError> {
        let Some(facts) = self.find().await? else { return Err(self.missing().await) };
        let Some(seen) = self.inspect(&facts.id).await? else { return Err(self.missing().await) };
        let restarts = restarts_again(&seen, Timestamp::now());
        let config = seen.config.unwrap_or_default();
        let environment = config.env.unwrap_or_default();
        secrets.add_pairs(environment.iter().map(String::as_str));
        let arguments = [&config.entrypoint, &config.cmd].into_iter().flatten().flatten();
        secrets.add_arguments(arguments.map(String::as_str));
        let mut comparison = Comparison {
            name: facts.name,
            running: facts.running,
            restarts,
            service: config.labels.as_ref().and_then(|it| it.get(SERVICE_LABEL).cloned()),
            differences: Vec::new(),
        };
        let Some(service) = service else { return Ok(comparison) };
        let names = |pairs: &[String]| -> BTreeSet<String> {
            pairs.iter().map(|it| it.split('=').next().unwrap_or(it).to_owned()).collect()
        };
        let of_image = identity(&self.docker, &facts.image_id).await.ok();
        let running = compared::Running {
            entrypoint: config.entrypoint.unwrap_or_default(),
            command: config.cmd.unwrap_or_default(),
            image: config.image.unwrap_or_default(),
            image_id: facts.image_id,
            variables: names(&environment),
            of_image: of_image.map(|image| names(&image.environment)).unwrap_or_default(),
            labels: config.labels.unwrap_or_default(),
        };
        let now = identity(&self.docker, &service.image).await.ok().map(|image| image.id);
        let files = self.source.as_ref().map_or(&[][..], |source| &source.files);
        let described = compared::Described { service, image_id: now.as_deref(), files };
        comparison.differences = compared::differences(described, &running);
        Ok(comparison)
    }

    /// Why there is nothing to compare.
    async fn missing(&self) -> ProductionError {
        let project = self.source.as_ref().map(compose::project_name);
        let exported = compose::project_is_exported();
        let (looked_for, service) = match (&self.name, &project) {
            (ProductionName::Container(name), _) => (format!("named `{name}`"), None),
            (ProductionName::Service(service), None) => {
                (format!("of the service `{service}`"), Some(service.as_str()))
            }
            (ProductionName::Service(service), Some(project)) => {
                let by = if exported { " (COMPOSE_PROJECT_NAME is exported)" } else { "" };
                let text =
                    format!("of the service `{service}` in the compose project `{project}`{by}");
                (text, Some(service.as_str()))
            }
        };
        let running = match self.listed(None).await {
            Ok(running) => running,
            Err(error) => return error,
        };
        let running: Vec<Other> =
            running.into_iter().map(|seen| Other::of(seen.names, seen.labels)).collect();
        let what_runs = what_runs(&running, service, project.as_deref());
        ProductionError::Missing { looked_for, what_runs }
    }

    async fn container(&self, name: &str) -> Result<Option<ProductionFacts>, ProductionError> {
        // The daemon takes the beginning of an id for a name, too.
        let seen = self.inspect(name).await?.map(|seen| facts(&seen));
        Ok(seen.filter(|seen| seen.name == *name))
    }

    async fn named(
        &self,
        name: &ProductionName,
    ) -> Result<Option<ProductionFacts>, ProductionError> {
        match name {
            ProductionName::Service(service) => self.service(service).await,
            ProductionName::Container(name) => self.container(name).await,
        }
    }

    fn no_companion(&self, name: &ProductionName) -> String {
        let project = || self.source.as_ref().map(compose::project_name).unwrap_or_default();
        match name {
            ProductionName::Container(name) => {
                format!("`pause` names the container `{name}`, and there is none")
            }
            ProductionName::Service(service) => format!(
                "`pause` names the service `{service}`, and the compose project `{}` has no container \
                 of it",
                project()
            ),
        }
    }

    async fn service(&self, service: &str) -> Result<Option<ProductionFacts>, ProductionError> {
        let mut labels = vec![
            format!("{SERVICE_LABEL}={service}"),
            "com.docker.compose.oneoff=False".to_owned(),
        ];
        if let Some(source) = &self.source {
            labels.push(format!("com.docker.compose.project={}", compose::project_name(source)));
        }
        let filters = HashMap::from([("label", labels)]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let found = self.listed(Some(options)).await?;
        let ids: Vec<String> = found.into_iter().filter_map(|seen| seen.id).collect();
        match ids.as_slice() {
            [] => Ok(None),
            [id] => self.look(id).await,
            several => Err(ProductionError::Name(format!(
                "service `{service}` has {} containers: name one by `production: {{container: NAME}}`",
                several.len()
            ))),
        }
    }
}

/// Why the compose tool made nothing. What it was refused may be granted a moment later: only
/// what lacks in the files, or the tool itself, stays so.
fn not_made(error: &ComposeError) -> ProductionError {
    let text = error.to_string();
    let stays = match error {
        ComposeError::Tool { message, .. } => {
            let message = message.to_ascii_lowercase();
            let of_files = [
                "no such service",
                "no configuration file provided",
                "no such file or directory",
                "yaml:",
                "validating ",
                "interpolation format",
                "missing mandatory value",
                "required variable",
                "unsupported config option",
                "is invalid",
                "undefined volume",
                "undefined network",
                "has neither an image nor a build context",
            ];
            of_files.iter().any(|words| message.contains(words))
        }
        ComposeError::NotRun { .. } => false,
        _ => true,
    };
    match taken_port(&text) {
        Some(port) => ProductionError::PortTaken { port, by: None },
        None if stays => ProductionError::Removed(text),
        None => ProductionError::Daemon(format!("it is not made again: {text}")),
    }
}

/// The port of this host that a daemon's refusal says is taken.
fn taken_port(refusal: &str) -> Option<u16> {
    let is_taken = ["port is already allocated", "address already in use"];
    if !is_taken.iter().any(|words| refusal.contains(words)) {
        return None;
    }
    let mut ports = refusal.split_whitespace().filter_map(|word| {
        let (_, port) = word.trim_end_matches(':').rsplit_once(':')?;
        port.split('/').next()?.parse().ok()
    });
    ports.next_back()
}

fn facts(seen: &ContainerInspectResponse) -> ProductionFacts {
    let state = seen.state.as_ref();
    let mut config = seen.config.clone();
    let id = seen.id.as_deref().unwrap_or_default();
    if let Some(config) = &mut config {
        // By default it is the beginning of the id: one that was made again has another.
        config.hostname.take_if(|name| !name.is_empty() && id.starts_with(name.as_str()));
    }
    let command = config.as_ref().map(|config| (&config.entrypoint, &config.cmd));
    let command = canonical(&serde_json::to_value(command).unwrap_or_default());
    let whole = serde_json::to_value((&config, &seen.host_config)).unwrap_or_default();
    let digest = Sha256::digest(canonical(&whole).as_bytes());
    ProductionFacts {
        id: seen.id.clone().unwrap_or_default(),
        name: seen.name.as_deref().unwrap_or_default().trim_start_matches('/').to_owned(),
        image_id: seen.image.clone().unwrap_or_default(),
        started_at: state.and_then(|state| state.started_at.clone()).unwrap_or_default(),
        command_sha256: hexadecimal(&Sha256::digest(command.as_bytes())),
        configuration_sha256: hexadecimal(&digest),
        parts: fingerprint::of(seen),
        running: state.and_then(|state| state.running) == Some(true),
        paused: Vec::new(),
    }
}

#[async_trait]
impl Production for DockerProduction {
    async fn find(&self) -> Result<Option<ProductionFacts>, ProductionError> {
        self.named(&self.name).await
    }

    async fn look(&self, id: &str) -> Result<Option<ProductionFacts>, ProductionError> {
        Ok(self.inspect(id).await?.map(|seen| facts(&seen)))
    }

    fn patience(&self) -> Duration {
        self.docker.patience().mul_f64(RESTORE.as_secs_f64() / PATIENCE.as_secs_f64())
    }

    async fn companions(&self) -> Result<Vec<Companion>, ProductionError> {
        let mut running: Vec<Companion> = Vec::new();
        let mut faults = Vec::new();
        let own = if self.pause.is_empty() { None } else { self.find().await? };
        for name in &self.pause {
            match self.named(name).await {
                Ok(Some(facts)) if own.as_ref().is_some_and(|own| own.id == facts.id) => {
                    faults.push(format!("`pause` names production itself ({name})"));
                }
                Ok(Some(facts)) if facts.running => {
                    // Its service and its container may both be named.
                    if running.iter().all(|known| known.id != facts.id) {
                        running.push(Companion { id: facts.id, name: facts.name });
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => faults.push(self.no_companion(name)),
                Err(ProductionError::Name(fault)) => faults.push(fault),
                Err(error) => return Err(error),
            }
        }
        if faults.is_empty() { Ok(running) } else { Err(ProductionError::Name(faults.join("; "))) }
    }

    async fn pause(&self, id: &str) -> Result<(), ProductionError> {
        // Its own grace: what takes long to stop is not killed for being a companion.
        let Some(seen) = self.inspect(id).await? else { return Ok(()) };
        let own = seen.config.and_then(|config| config.stop_timeout);
        let grace = own.and_then(|own| i32::try_from(own).ok()).unwrap_or(DEFAULT_GRACE);
        container::stop(&self.docker, id, grace).await.map_err(|error| self.daemon(&error))
    }

    async fn stop(&self, id: &str) -> Result<(), ProductionError> {
        container::stop(&self.docker, id, GRACE).await.map_err(|error| self.daemon(&error))
    }

    async fn start(&self, id: &str) -> Result<(), ProductionError> {
        let start = || self.docker.start_container(id, None::<StartContainerOptions>);
        match self.docker.asked(ACTION, start).await {
            Err(error) if status(&error) != Some(304) => Err(self.not_started(id, &error).await),
            _ => Ok(()),
        }
    }

    async fn make_again(&self) -> Result<ProductionFacts, ProductionError> {
        let removed = |why: String| ProductionError::Removed(why);
        let (ProductionName::Service(_), Some(source)) = (&self.name, &self.source) else {
            return Err(removed("the grid names a container, not a compose service".to_owned()));
        };
        compose::up(source).await.map_err(|error| not_made(&error))?;
        self.find().await?.ok_or_else(|| removed("the compose tool made no container".to_owned()))
    }

    async fn prove(&self, id: &str, limit: Duration) -> Result<(), String> {
        self.proven(id, limit).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_compose_tool_could_not_do_may_pass_unless_the_files_are_to_blame() {
        let failed = |message: &str| ComposeError::Tool {
            command: "`docker compose up -d --no-deps vllm`".to_owned(),
            message: message.to_owned(),
        };
        for message in [
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock",
            "Error response from daemon: could not select device driver \"nvidia\"",
            "Get \"https://registry-1.docker.io/v2/\": net/http: TLS handshake timeout",
            "Error response from daemon: Conflict. The container name \"/vllm\" is already in use",
        ] {
            let error = not_made(&failed(message));
            assert!(matches!(error, ProductionError::Daemon(_)), "{error:?}");
            assert!(error.to_string().contains(message), "{error}");
        }
        let timed_out = ComposeError::NotRun { command: "up".to_owned(), why: "late".to_owned() };
        assert!(matches!(not_made(&timed_out), ProductionError::Daemon(_)));
        let taken = "Error response from daemon: driver failed programming external connectivity: Bind \
                     for 0.0.0.0:8000 failed: port is already allocated";
        let taken = not_made(&failed(taken));
        assert_eq!(taken, ProductionError::PortTaken { port: 8000, by: None });
        for message in [
            "no such service: vllm",
            "open /srv/shop/compose.yaml: no such file or directory",
            "yaml: line 3: did not find expected key",
            "validating /srv/shop/compose.yaml: services.vllm additional properties not allowed",
            "required variable MODEL is missing a value",
        ] {
            let error = not_made(&failed(message));
            assert!(matches!(error, ProductionError::Removed(_)), "{error:?}");
        }
        assert!(matches!(not_made(&ComposeError::NoTool), ProductionError::Removed(_)));
    }
}
