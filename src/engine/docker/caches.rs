//! Cache volumes: they turn a relaunch of 400 s into one of 80 s. Ours are
//! added where the service has none; those with compiled code belong to one
//! image, the Hugging Face cache (20 GB) is shared. They stay between sweeps.

use std::collections::HashMap;

use bollard::errors::Error;
use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptions};

use super::patience::Daemon;
use crate::engine::compose::{Mount, MountKind, ServiceSpec};

/// Marks our cache volumes.
pub const CACHE_LABEL: &str = "vllm-grid.cache";

/// One of our caches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// The volume's name.
    pub volume: String,
    /// Where it is mounted.
    pub target: String,
    /// Whether it holds compiled code, which can be corrupt.
    pub compiled: bool,
}

/// The caches that a service of this image lacks.
pub fn missing(spec: &ServiceSpec, image_id: &str) -> Vec<Cache> {
    let home = spec.environment.get("HOME").map_or("/root", String::as_str);
    let image: String = image_id.trim_start_matches("sha256:").chars().take(12).collect();
    let place = |variable: &str, default: &str| {
        spec.environment.get(variable).cloned().unwrap_or_else(|| format!("{home}/{default}"))
    };
    let all = [
        ("huggingface".to_owned(), place("HF_HOME", ".cache/huggingface"), false),
        (format!("vllm-{image}"), place("VLLM_CACHE_ROOT", ".cache/vllm"), true),
        (format!("triton-{image}"), place("TRITON_CACHE_DIR", ".triton"), true),
        (format!("flashinfer-{image}"), format!("{home}/.cache/flashinfer"), true),
    ];
    all.into_iter()
        .filter(|(_, target, _)| !spec.mounts.iter().any(|mount| covers(&mount.target, target)))
        .map(|(name, target, compiled)| Cache {
            volume: format!("vllm-grid-{name}"),
            target,
            compiled,
        })
        .collect()
}

fn covers(mounted: &str, target: &str) -> bool {
    let mounted = mounted.trim_end_matches('/');
    target == mounted || target.strip_prefix(mounted).is_some_and(|rest| rest.starts_with('/'))
}

impl Cache {
    pub(super) fn mount(&self) -> Mount {
        Mount {
            kind: MountKind::Volume,
            source: Some(self.volume.clone()),
            target: self.target.clone(),
            read_only: false,
            create_host_path: true,
            ..Mount::default()
        }
    }

    /// Makes the volume, labelled, where it is not there.
    pub(super) async fn ensure(&self, docker: &Daemon) -> Result<(), Error> {
        let kind = if self.compiled { "compiled" } else { "models" };
        let request = VolumeCreateRequest {
            name: Some(self.volume.clone()),
            labels: Some(HashMap::from([(CACHE_LABEL.to_owned(), kind.to_owned())])),
            ..VolumeCreateRequest::default()
        };
        docker.ask(|| docker.create_volume(request.clone())).await.map(|_| ())
    }

    pub(super) async fn remove(&self, docker: &Daemon) -> Result<(), Error> {
        docker.ask(|| docker.remove_volume(&self.volume, None::<RemoveVolumeOptions>)).await
    }
}

/// Names of all our cache volumes on this daemon.
pub async fn list(docker: &Daemon) -> Result<Vec<String>, Error> {
    let filters = HashMap::from([("label", vec![CACHE_LABEL])]);
    let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
    let listed = docker.ask(|| docker.list_volumes(Some(options.clone()))).await?;
    let volumes = listed.volumes.unwrap_or_default();
    Ok(volumes.into_iter().map(|volume| volume.name).collect())
}

/// Removes our cache volumes; those in use stay. Returns the names removed.
pub async fn remove_all(docker: &Daemon) -> Result<Vec<String>, Error> {
    let mut removed = Vec::new();
    for name in list(docker).await? {
        let remove = || docker.remove_volume(&name, None::<RemoveVolumeOptions>);
        match docker.ask(remove).await {
            Ok(()) => removed.push(name.clone()),
            Err(error) if super::daemon::status(&error) == Some(409) => {
                tracing::warn!(volume = name, "in use, not removed");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(targets: &[&str], environment: &[(&str, &str)]) -> ServiceSpec {
        let mount = |target: &&str| Mount {
            kind: MountKind::Volume,
            source: Some("v".to_owned()),
            target: (*target).to_owned(),
            read_only: false,
            create_host_path: true,
            ..Mount::default()
        };
        ServiceSpec {
            mounts: targets.iter().map(mount).collect(),
            environment: environment
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
            ..ServiceSpec::default()
        }
    }

    fn targets(spec: &ServiceSpec) -> Vec<String> {
        missing(spec, "sha256:0123456789abcdef").into_iter().map(|cache| cache.target).collect()
    }

    #[test]
    fn only_what_is_missing_is_added() {
        assert_eq!(
            targets(&spec(&[], &[])),
            [
                "/root/.cache/huggingface",
                "/root/.cache/vllm",
                "/root/.triton",
                "/root/.cache/flashinfer"
            ]
        );
        assert_eq!(targets(&spec(&["/root/.cache/huggingface/"], &[])).len(), 3);
        assert_eq!(targets(&spec(&["/root/.cache"], &[])), ["/root/.triton"]);
        assert_eq!(targets(&spec(&["/root/.cache/hugging"], &[])).len(), 4);
        assert_eq!(targets(&spec(&["/models"], &[("HF_HOME", "/models/hf")])).len(), 3);
    }

    #[test]
    fn compiled_code_belongs_to_one_image() {
        for cache in missing(&spec(&[], &[]), "sha256:0123456789abcdef") {
            assert_eq!(cache.compiled, cache.volume.ends_with("-0123456789ab"), "{cache:?}");
        }
    }
}
