//! From a grid's `docker` block to an engine, and to the production that it names.

use std::time::Duration;

use super::daemon::{DaemonSettings, STARTING, connect, connect_within};
use super::patience::Daemon;
use super::production::{Comparison, DockerProduction};
use super::sources::{Located, named_by, source_of};
use super::{DockerEngine, DockerError, DockerSpec, identity};
use crate::engine::compose::{self, ComposeSource, ServiceSpec};
use crate::engine::place::Place;
use crate::engine::production::{Production as _, ProductionError};
use crate::engine::readiness::over_http;
use crate::engine::stack::{with_image, with_model};
use crate::engine::{EngineError, api_key};
use crate::grid::{DockerBlock, ProductionName};
use crate::secret::Secrets;
use crate::server::ApiKey;

/// The engine of a grid's block: reads its compose service, finds its image.
///
/// # Errors
/// What the block asks for and cannot be had, before anything is started.
pub async fn of_block(
    block: &DockerBlock,
    secrets: &Secrets,
    place: &Place,
) -> Result<DockerEngine, EngineError> {
    let docker = local_daemon().await?;
    let located = source_of(block, block.service.as_deref()).await?;
    let source = located.map(|it| it.source);
    let key = key_of(block, source.as_ref())?;
    let service = match source {
        Some(source) => {
            let mut service = with_image(compose::read(&source).await?, block);
            let own = identity(&docker, &service.image).await?.own;
            // What the block takes away (`null`) is not in any configuration's flags.
            let view = with_model(service.view(Some(own)), block).overlaid(&block.flags);
            service.entrypoint = view.entrypoint().map(<[String]>::to_vec);
            service.command = view.command().map(<[String]>::to_vec);
            service
        }
        None => plain_image(&docker, block).await?,
    };
    let spec = DockerSpec {
        api_key: key,
        gpus: block.gpus.unwrap_or(true),
        caches: block.caches.unwrap_or(true),
        introspect: block.introspect,
        secrets: secrets.clone(),
        allocated: place.gpus.clone(),
        haste: place.haste.clone(),
        ..DockerSpec::new(service)
    };
    Ok(DockerEngine::new(docker, spec, over_http()).await?)
}

async fn local_daemon() -> Result<Daemon, DockerError> {
    Ok(connect(&DaemonSettings::of_environment()).await?)
}

/// The key that the block's variable holds: in the environment, else in the files of
/// variables that the compose tool reads.
///
/// # Errors
/// It is set nowhere.
pub(in crate::engine) fn key_of(
    block: &DockerBlock,
    source: Option<&ComposeSource>,
) -> Result<Option<ApiKey>, EngineError> {
    key_named(block.api_key_env.as_deref(), source)
}

/// The same by the variable's name.
pub(super) fn key_named(
    name: Option<&str>,
    source: Option<&ComposeSource>,
) -> Result<Option<ApiKey>, EngineError> {
    let Some(name) = name else { return Ok(None) };
    api_key(Some(name)).or_else(|missing| {
        let files = source.map(ComposeSource::variable_files).unwrap_or_default();
        match compose::env_value(&files, name) {
            Some((value, ..)) if !value.is_empty() => Ok(Some(ApiKey::new(value))),
            _ => Err(missing),
        }
    })
}

/// A plain image's command: the model, and an address that can be published.
async fn plain_image(docker: &Daemon, block: &DockerBlock) -> Result<ServiceSpec, EngineError> {
    let image = block.image.clone().unwrap_or_default();
    let entrypoint = identity(docker, &image).await?.own.entrypoint;
    // `vllm serve` takes the model first; the older API server knows only `--model`.
    let takes_model = entrypoint.iter().any(|word| word == "serve" || word == "simulate");
    let mut command = Vec::new();
    if let Some(model) = &block.model {
        if !takes_model {
            command.push("--model".to_owned());
        }
        command.push(model.clone());
    }
    command.extend(["--host", "0.0.0.0", "--port", "8000"].map(str::to_owned));
    Ok(ServiceSpec::of_image(image, command).with_all_gpus())
}

/// Production beside the service that describes it: `service` where that is the
/// grid's own, else it is read. `None` where the block names no production, and its
/// service has no container.
///
/// # Errors
/// Production is not there: what was looked for, and what runs. Or the daemon's error.
pub async fn compare_production(
    block: &DockerBlock,
    service: Option<&ServiceSpec>,
    secrets: &Secrets,
) -> Result<Option<Comparison>, EngineError> {
    let Some(production) = production_of(block).await? else {
        // The service itself may serve now, whether the grid says so or not.
        let located = source_of(block, block.service.as_deref()).await?;
        let (Some(Located { source, .. }), Some(service)) = (located, service) else {
            return Ok(None);
        };
        let name = ProductionName::Service(source.service.clone());
        let docker = local_daemon().await?;
        let candidate = DockerProduction::new(docker, name, Some(source), None, over_http());
        return match candidate.compare(Some(service), secrets).await {
            Ok(found) => Ok(Some(found).filter(|it| it.running)),
            Err(ProductionError::Missing { .. } | ProductionError::Name(_)) => Ok(None),
            Err(error) => Err(error.into()),
        };
    };
    let Some(ProductionName::Service(named)) = &block.production else {
        // Whatever it is of: what is measured is compared with the service of the grid.
        let mut found = production.compare(service, secrets).await?;
        if let (Some(is), Some(own)) = (&found.service, &block.service)
            && is != own
        {
            let other = format!("it is of the service `{is}`, candidates are made of `{own}`");
            found.differences.insert(0, other);
        }
        return Ok(Some(found));
    };
    if block.service.as_ref() == Some(named) {
        return Ok(Some(production.compare(service, secrets).await?));
    }
    // Whether it is there is asked first: reading a service takes the compose tool's time.
    let found = production.compare(None, secrets).await?;
    let Some(Located { source, .. }) = source_of(block, Some(named)).await? else {
        return Ok(Some(found));
    };
    match compose::read(&source).await {
        Ok(service) => {
            service.reveal_to(secrets);
            Ok(Some(production.compare(Some(&service), secrets).await?))
        }
        Err(_) => Ok(Some(found)),
    }
}

/// Looks for the containers that the block stops with production.
///
/// # Errors
/// Names in `pause` that fit none, or production itself; or the daemon's error.
pub async fn find_companions(block: &DockerBlock) -> Result<(), EngineError> {
    if block.pause.is_empty() {
        return Ok(());
    }
    if let Some(production) = production_of(block).await? {
        production.companions().await?;
    }
    Ok(())
}

/// The production that the block names; `None` where it names none. A variable of its key
/// that is not set is no error: it is started all the same, and then not proven.
///
/// # Errors
/// A daemon that does not answer.
pub async fn production_of(block: &DockerBlock) -> Result<Option<DockerProduction>, EngineError> {
    production_on(block, Duration::ZERO).await
}

/// The same where the daemon may be about to start: it is asked again for half a minute.
///
/// # Errors
/// A daemon that does not answer.
pub async fn production_to_recover(
    block: &DockerBlock,
) -> Result<Option<DockerProduction>, EngineError> {
    production_on(block, STARTING).await
}

async fn production_on(
    block: &DockerBlock,
    wait: Duration,
) -> Result<Option<DockerProduction>, EngineError> {
    let Some(name) = block.production.clone() else { return Ok(None) };
    // First: a daemon that is about to start does not say yet what production was made from.
    let docker = connect_within(&DaemonSettings::of_environment(), wait).await;
    let docker = docker.map_err(DockerError::from)?;
    let of_project = block.pause.iter().find_map(|it| match it {
        ProductionName::Service(service) => Some(service),
        ProductionName::Container(_) => None,
    });
    let source = match (&name, of_project) {
        (ProductionName::Service(service), _) => source_of(block, Some(service)).await?,
        // Its companions are found by the project of the compose files.
        (ProductionName::Container(_), Some(service)) => named_by(block, Some(service))?,
        (ProductionName::Container(_), None) => None,
    };
    let source = source.map(|it| it.source);
    let (key, missing) = match key_of(block, source.as_ref()) {
        Err(EngineError::NoKey(variable)) => (None, Some(variable)),
        key => (key?, None),
    };
    let production = DockerProduction::new(docker, name, source, key, over_http());
    Ok(Some(production.with_missing_key(missing).pausing(block.pause.clone())))
}
