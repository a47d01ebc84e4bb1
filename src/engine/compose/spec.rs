//! What a container is made of, as far as it comes from the user: the keys that
//! are carried over, resolved and typed.

use std::collections::BTreeMap;
use std::fmt;

use crate::engine::command::redacted;
use crate::engine::command_view::{CommandView, ImageCommand};
use crate::secret::Secrets;

use super::options::Options;

/// A service as a candidate keeps it.
#[derive(Clone, Default, PartialEq)]
pub struct ServiceSpec {
    /// Image reference.
    pub image: String,
    /// Command; `None` leaves the image's.
    pub command: Option<Vec<String>>,
    /// Entry point; `None` leaves the image's, empty removes it.
    pub entrypoint: Option<Vec<String>>,
    /// Environment variables; those without a value are left out.
    pub environment: BTreeMap<String, String>,
    /// Volumes, binds and tmpfs mounts.
    pub mounts: Vec<Mount>,
    /// `ipc`.
    pub ipc: Option<String>,
    /// `shm_size` in bytes.
    pub shm_size: Option<u64>,
    /// Limits of the processes.
    pub ulimits: Vec<Ulimit>,
    /// `runtime`.
    pub runtime: Option<String>,
    /// GPU requests.
    pub gpus: Vec<GpuRequest>,
    /// Networks by the names that the daemon knows.
    pub networks: Vec<String>,
    /// `host:address`.
    pub extra_hosts: Vec<String>,
    /// `user`.
    pub user: Option<String>,
    /// `working_dir`.
    pub working_dir: Option<String>,
    /// Security options.
    pub security_opt: Vec<String>,
    /// Added capabilities.
    pub cap_add: Vec<String>,
    /// Dropped capabilities.
    pub cap_drop: Vec<String>,
    /// `host path:container path[:permissions]`.
    pub devices: Vec<String>,
    /// `path[:options]`.
    pub tmpfs: Vec<String>,
    /// Memory, CPUs, name servers and the like.
    pub options: Options,
    /// Keys of the service that were replaced on purpose.
    pub replaced: Vec<String>,
    /// Variables without a value that the compose tool warned of: other services use them.
    pub said: Vec<String>,
}

impl ServiceSpec {
    /// Adds the secrets of its environment, entry point and command.
    pub fn reveal_to(&self, secrets: &Secrets) {
        let environment = self.environment.iter();
        secrets.add_environment(environment.map(|(name, value)| (&**name, &**value)));
        let arguments = self.entrypoint.iter().chain(&self.command).flatten();
        secrets.add_arguments(arguments.map(String::as_str));
    }

    /// A plain image with a command.
    pub fn of_image(image: impl Into<String>, command: Vec<String>) -> Self {
        Self { image: image.into(), command: Some(command), ..Self::default() }
    }

    /// The same with a request for all GPUs, as `docker run --gpus all` makes it.
    #[must_use]
    pub fn with_all_gpus(mut self) -> Self {
        self.gpus = vec![GpuRequest {
            count: Some(-1),
            capabilities: vec!["gpu".to_owned()],
            ..GpuRequest::default()
        }];
        self
    }

    /// What it starts; `image` is what the image runs by itself, where that is known.
    pub fn view(&self, image: Option<ImageCommand>) -> CommandView {
        CommandView::new(self.entrypoint.clone(), self.command.clone(), image)
    }

    /// The port that the server listens on inside the container: `--port`, else 8000.
    pub fn port(&self) -> u16 {
        self.view(None).port()
    }
}

/// Values of variables are left out: some are keys.
impl fmt::Debug for ServiceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arguments: Vec<String> =
            self.entrypoint.iter().chain(&self.command).flatten().cloned().collect();
        f.debug_struct("ServiceSpec")
            .field("image", &self.image)
            .field("arguments", &redacted(&arguments))
            .field("environment", &self.environment.keys().collect::<Vec<_>>())
            .field("mounts", &self.mounts)
            .field("networks", &self.networks)
            .field("gpus", &self.gpus)
            .field("replaced", &self.replaced)
            .finish_non_exhaustive()
    }
}

/// What a mount is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MountKind {
    /// A path of the host.
    #[default]
    Bind,
    /// A named volume, or an anonymous one without a source.
    Volume,
    /// Memory.
    Tmpfs,
}

/// One mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// What it is.
    pub kind: MountKind,
    /// Path of the host, or the volume's name as the daemon knows it.
    pub source: Option<String>,
    /// Path in the container.
    pub target: String,
    /// Whether it is read-only.
    pub read_only: bool,
    /// Whether a missing path of the host is created.
    pub create_host_path: bool,
    /// Size of a tmpfs in bytes.
    pub tmpfs_size: Option<u64>,
    /// Mode of a tmpfs, as a number.
    pub tmpfs_mode: Option<i64>,
    /// Options of the short form besides `ro` and `rw`: `z`, `Z`, `rshared`, `nocopy`.
    pub options: Vec<String>,
    /// Folder of a named volume that is mounted in place of the whole.
    pub subpath: Option<String>,
}

/// A limit of the container's processes; -1 is no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ulimit {
    /// Its name (`memlock`).
    pub name: String,
    /// Soft limit.
    pub soft: i64,
    /// Hard limit.
    pub hard: i64,
}

/// A request for GPUs. `count` and `device_ids` exclude each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuRequest {
    /// `nvidia`, mostly.
    pub driver: Option<String>,
    /// How many; -1 is all.
    pub count: Option<i64>,
    /// Which ones, by index or UUID.
    pub device_ids: Vec<String>,
    /// One set of capabilities, all of which are needed.
    pub capabilities: Vec<String>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
}
