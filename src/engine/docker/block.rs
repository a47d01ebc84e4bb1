//! From a grid's `docker` block to an engine, and to the production that it names.

use bollard::Docker;

use super::daemon::{DaemonSettings, connect};
use super::production::DockerProduction;
use super::{DockerEngine, DockerError, DockerSpec, identity};
use crate::engine::compose::{self, ComposeSource, ServiceSpec};
use crate::engine::readiness::over_http;
use crate::engine::{EngineError, api_key};
use crate::grid::{DockerBlock, ProductionName};

/// The engine of a grid's block: reads its compose service, finds its image,
/// which must be `image_id` where earlier sessions of the sweep used that.
///
/// # Errors
/// What the block asks for and cannot be had, before anything is started.
pub async fn of_block(
    block: &DockerBlock,
    image_id: Option<String>,
) -> Result<DockerEngine, EngineError> {
    let key = api_key(block.api_key_env.as_deref())?;
    let docker = local_daemon().await?;
    let service = match source_of(block, block.service.as_deref()) {
        Some(source) => {
            let mut service = compose::read(&source).await?;
            let own = identity(&docker, &service.image).await?.own;
            // What the block takes away (`null`) is not in any configuration's flags.
            let view = service.view(Some(own)).overlaid(&block.flags);
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
        image_id,
        ..DockerSpec::new(service)
    };
    Ok(DockerEngine::new(docker, spec, over_http(None)).await?)
}

async fn local_daemon() -> Result<Docker, DockerError> {
    Ok(connect(&DaemonSettings::of_environment()).await?)
}

/// Where a service of the block's compose file is described.
pub fn source_of(block: &DockerBlock, service: Option<&str>) -> Option<ComposeSource> {
    Some(ComposeSource {
        files: vec![block.compose.clone()?],
        profiles: block.profiles.clone(),
        service: service?.to_owned(),
    })
}

/// A plain image's command: the model, and an address that can be published.
async fn plain_image(docker: &Docker, block: &DockerBlock) -> Result<ServiceSpec, EngineError> {
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

/// The production that the block names; `None` where it names none.
///
/// # Errors
/// A key that is not set, or a daemon that does not answer.
pub async fn production_of(block: &DockerBlock) -> Result<Option<DockerProduction>, EngineError> {
    let Some(name) = block.production.clone() else { return Ok(None) };
    let key = api_key(block.api_key_env.as_deref())?;
    let source = match &name {
        ProductionName::Service(service) => source_of(block, Some(service)),
        ProductionName::Container(_) => None,
    };
    let docker = local_daemon().await?;
    Ok(Some(DockerProduction::new(docker, name, source, key, over_http(None))))
}
