//! Cache volumes: they turn a relaunch of 400 s into one of 80 s. Ours are
//! added where the service has none. Compiled code belongs to one image, what vLLM compiles
//! to one model, too: a cache of another model makes the engine crash at its start. The
//! Hugging Face cache (20 GB) is shared. They stay between sweeps. Whether the container's
//! user can write them is in `access`, what an engine does with them in `used`.

use std::collections::{BTreeMap, HashMap};

use bollard::errors::Error;
use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptions};
use sha2::{Digest as _, Sha256};

use super::image::ImageIdentity;
use super::patience::Daemon;
use crate::configuration::hexadecimal;
use crate::engine::compose::{Mount, MountKind, ServiceSpec};

mod access;
mod used;

pub(super) use used::UsedCaches;

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

/// What a cache's contents are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    /// The hub: any image and any model.
    Hub,
    /// One image.
    Image,
    /// One model in one image.
    Model,
}

/// A cache that a service lacks, without its model.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lacking {
    name: &'static str,
    target: String,
    of: Of,
}

/// The caches of ours that a service of an image can have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caches {
    lacking: Vec<Lacking>,
    /// The image's id, shortened.
    image: String,
    /// The container's user, where it is not root: its volumes are its own.
    user: Option<u64>,
    /// Whether the service has a place of its own for the hub's cache.
    has_hub: bool,
    /// Why some are not among them.
    pub left_out: Option<String>,
}

impl Caches {
    /// Those for a container whose user is root.
    fn of_root(service: &ServiceSpec, image: &ImageIdentity) -> Self {
        Self::at_home(service, image, "/root")
    }

    /// Those of a user with this home.
    fn at_home(service: &ServiceSpec, image: &ImageIdentity, home: &str) -> Self {
        let variable = |name: &str| {
            let of_image = || image.variable(name).map(str::to_owned);
            service.environment.get(name).cloned().or_else(of_image)
        };
        let home = variable("HOME").unwrap_or_else(|| home.to_owned());
        let home = home.trim_end_matches('/');
        let place = |name: &str, default: &str| {
            variable(name).unwrap_or_else(|| format!("{home}/{default}"))
        };
        let all = [
            ("huggingface", place("HF_HOME", ".cache/huggingface"), Of::Hub),
            ("vllm", place("VLLM_CACHE_ROOT", ".cache/vllm"), Of::Model),
            ("triton", place("TRITON_CACHE_DIR", ".triton"), Of::Image),
            ("flashinfer", format!("{home}/.cache/flashinfer"), Of::Image),
        ];
        let lacks = |target: &str| !service.mounts.iter().any(|it| covers(&it.target, target));
        let has_hub = !lacks(&all[0].1);
        let lacking = all
            .into_iter()
            .filter(|(_, target, _)| lacks(target))
            .map(|(name, target, of)| Lacking { name, target, of })
            .collect();
        let image = image.id.trim_start_matches("sha256:").chars().take(12).collect();
        Self { lacking, image, user: None, has_hub, left_out: None }
    }

    /// Finds them; the daemon is asked where the container's user is not root.
    pub async fn find(docker: &Daemon, service: &ServiceSpec, image: &ImageIdentity) -> Self {
        match access::user_of(service, image) {
            None => Self::of_root(service, image),
            Some(user) => access::of_user(docker, service, image, &user).await,
        }
    }

    /// The volumes for a model, as [`model_key`] has it.
    pub fn volumes(&self, model: Option<&str>) -> Vec<Cache> {
        let user = self.user.map_or_else(String::new, |user| format!("-u{user}"));
        let volume = |cache: &Lacking| {
            let (name, image) = (cache.name, &self.image);
            match (cache.of, model) {
                (Of::Hub, _) => format!("vllm-grid-{name}{user}"),
                (Of::Image, _) | (Of::Model, None) => format!("vllm-grid-{name}-{image}{user}"),
                (Of::Model, Some(model)) => format!("vllm-grid-{name}-{image}-{model}{user}"),
            }
        };
        let cache = |cache: &Lacking| Cache {
            volume: volume(cache),
            target: cache.target.clone(),
            compiled: cache.of != Of::Hub,
        };
        self.lacking.iter().map(cache).collect()
    }

    /// Whether the service lacks none.
    pub fn is_empty(&self) -> bool {
        self.lacking.is_empty() && self.left_out.is_none()
    }

    /// Whether the hub's cache outlives a container: a mount of the service that is on the
    /// disk has it, or one of ours, where those `are_on`.
    pub(super) fn keep_hub(&self, service: &ServiceSpec, are_on: bool) -> bool {
        let on_disk = !service.mounts.iter().any(|mount| mount.kind == MountKind::Tmpfs);
        if self.has_hub {
            on_disk
        } else {
            are_on && self.lacking.iter().any(|it| it.of == Of::Hub)
        }
    }
}

/// What tells a model from others in a volume's name: its own name, the folder of the host
/// that is mounted where it lies, and the variables that a shell puts in its place.
pub fn model_key(model: &str, mounts: &[Mount], environment: &BTreeMap<String, String>) -> String {
    let mut hash = Sha256::new();
    hash.update(model);
    for mount in mounts.iter().filter(|mount| covers(&mount.target, model)) {
        hash.update(format!("\n{}", mount.source.as_deref().unwrap_or_default()));
    }
    if crate::flags::is_unexpanded(&serde_json::Value::from(model)) {
        for (name, value) in environment.iter().filter(|(name, _)| model.contains(&***name)) {
            hash.update(format!("\n{name}={value}"));
        }
    }
    hexadecimal(&hash.finalize())[..8].to_owned()
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

    pub(super) fn image(environment: &[&str]) -> ImageIdentity {
        ImageIdentity {
            id: "sha256:0123456789abcdef".to_owned(),
            environment: environment.iter().map(|it| (*it).to_owned()).collect(),
            ..ImageIdentity::default()
        }
    }

    fn mount(target: &str) -> Mount {
        Mount {
            kind: MountKind::Volume,
            source: Some("v".to_owned()),
            target: target.to_owned(),
            create_host_path: true,
            ..Mount::default()
        }
    }

    pub(super) fn spec(targets: &[&str], environment: &[(&str, &str)]) -> ServiceSpec {
        ServiceSpec {
            mounts: targets.iter().map(|target| mount(target)).collect(),
            environment: environment
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
            ..ServiceSpec::default()
        }
    }

    fn targets(spec: &ServiceSpec) -> Vec<String> {
        let caches = Caches::of_root(spec, &image(&[]));
        caches.volumes(None).into_iter().map(|cache| cache.target).collect()
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
    fn variables_of_the_image_name_folders_where_the_service_has_none() {
        let image = image(&["VLLM_CACHE_ROOT=/cache", "HF_HOME=/image", "HOME=/h/"]);
        let caches = Caches::of_root(&spec(&[], &[("HF_HOME", "/service")]), &image);
        let targets: Vec<String> = caches.volumes(None).into_iter().map(|it| it.target).collect();
        assert_eq!(targets, ["/service", "/cache", "/h/.triton", "/h/.cache/flashinfer"]);
    }

    #[test]
    fn compiled_code_is_of_one_image_what_vllm_compiles_of_one_model_too() {
        let caches = Caches::of_root(&spec(&[], &[]), &image(&[]));
        let volumes = |model: &str| {
            let key = model_key(model, &[], &BTreeMap::new());
            caches.volumes(Some(&key)).into_iter().map(|it| it.volume).collect::<Vec<_>>()
        };
        let (one, other) = (volumes("example/a-8b"), volumes("example/b-8b"));
        assert_eq!(one[0], "vllm-grid-huggingface", "the hub's is shared");
        assert_eq!(
            one[2..],
            ["vllm-grid-triton-0123456789ab", "vllm-grid-flashinfer-0123456789ab"]
        );
        let same = |at: usize| one[at] == other[at];
        assert_eq!([same(0), same(1), same(2), same(3)], [true, false, true, true]);
        assert!(one[1].starts_with("vllm-grid-vllm-0123456789ab-"), "{one:?}");
        assert_eq!(one, volumes("example/a-8b"), "kept from launch to launch");
        let compiled: Vec<bool> = caches.volumes(None).iter().map(|it| it.compiled).collect();
        assert_eq!(compiled, [false, true, true, true]);
    }

    #[test]
    fn one_word_for_two_models_has_two_keys() {
        let from = |folder: &str| Mount { source: Some(folder.to_owned()), ..mount("/model") };
        let nothing = BTreeMap::new();
        let mounted = |folder| model_key("/model", &[from(folder)], &nothing);
        assert_ne!(mounted("/data/a"), mounted("/data/b"), "two folders of the host");
        assert_eq!(mounted("/data/a"), mounted("/data/a"));
        let set = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let expanded = |name, value| model_key("${MODEL}", &[], &set(name, value));
        assert_ne!(expanded("MODEL", "a"), expanded("MODEL", "b"), "what a shell puts there");
        assert_eq!(expanded("KEY", "a"), expanded("KEY", "b"), "no part of it");
        let named = |value| model_key("example/MODEL", &[], &set("MODEL", value));
        assert_eq!(named("a"), named("b"), "a name of its own");
    }

    #[test]
    fn a_hub_s_cache_that_goes_with_the_container_is_none() {
        let service = ServiceSpec::of_image("i", Vec::new());
        let caches = Caches::of_root(&service, &image(&[]));
        assert!(caches.keep_hub(&service, true) && !caches.keep_hub(&service, false));
        let none = Caches { lacking: Vec::new(), ..caches };
        assert!(!none.keep_hub(&service, true), "its user cannot write one of ours");
        let own = spec(&["/root/.cache/huggingface"], &[]);
        assert!(Caches::of_root(&own, &image(&[])).keep_hub(&own, false));
        let mut gone = own.clone();
        gone.mounts[0].kind = MountKind::Tmpfs;
        assert!(!Caches::of_root(&gone, &image(&[])).keep_hub(&gone, true));
    }
}
