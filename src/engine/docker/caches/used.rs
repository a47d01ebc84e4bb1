//! What an engine does with its cache volumes: finds out once which there can be, makes
//! them for a launch, and drops those of the last launch where their contents are corrupt.

use std::sync::{Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::super::image::ImageIdentity;
use super::super::patience::Daemon;
use super::{Cache, Caches};
use crate::engine::compose::{Mount, ServiceSpec};
use crate::event::Emit;

/// The cache volumes of an engine.
#[derive(Debug, Default)]
pub(in crate::engine::docker) struct UsedCaches {
    /// Whether ours are added at all.
    are_on: bool,
    found: OnceCell<Caches>,
    /// Those of the last launch.
    last: Mutex<Vec<Cache>>,
}

impl UsedCaches {
    /// None so far.
    pub(in crate::engine::docker) fn new(are_on: bool) -> Self {
        Self { are_on, ..Self::default() }
    }

    async fn found(
        &self,
        docker: &Daemon,
        service: &ServiceSpec,
        image: &ImageIdentity,
        emit: &Emit,
    ) -> &Caches {
        self.found
            .get_or_init(async || {
                let found = Caches::find(docker, service, image).await;
                if let Some(why) = &found.left_out {
                    emit.warn(why.clone());
                }
                found
            })
            .await
    }

    /// The mounts of a launch of this model, their volumes made where they are not there.
    pub(in crate::engine::docker) async fn mounts(
        &self,
        docker: &Daemon,
        service: &ServiceSpec,
        image: &ImageIdentity,
        model: Option<&str>,
        emit: &Emit,
    ) -> Vec<Mount> {
        if !self.are_on {
            return Vec::new();
        }
        let volumes = self.found(docker, service, image, emit).await.volumes(model);
        let (mut mounts, mut made) = (Vec::new(), Vec::new());
        for cache in volumes {
            match cache.ensure(docker).await {
                Ok(()) => {
                    mounts.push(cache.mount());
                    made.push(cache);
                }
                Err(error) => {
                    emit.warn(format!("no cache {}: {}", cache.volume, docker.words(&error)));
                }
            }
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = made;
        mounts
    }

    /// Whether the hub's cache outlives a container, after a launch.
    pub(in crate::engine::docker) fn keep_hub(
        &self,
        service: &ServiceSpec,
        image: &ImageIdentity,
    ) -> bool {
        match self.found.get() {
            Some(found) => found.keep_hub(service, self.are_on),
            // Ours are off.
            None => Caches::of_root(service, image).keep_hub(service, self.are_on),
        }
    }

    /// Drops the compiled code that the last launch had.
    pub(in crate::engine::docker) async fn drop_compiled(&self, docker: &Daemon, emit: &Emit) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for cache in last.into_iter().filter(|cache| cache.compiled) {
            let outcome = match cache.remove(docker).await {
                Ok(()) => format!("compile cache {} was corrupt and is dropped", cache.volume),
                Err(error) => {
                    let why = docker.words(&error);
                    format!("compile cache {} cannot be dropped: {why}", cache.volume)
                }
            };
            emit.warn(outcome);
        }
    }
}
