//! What an image is on this machine. A sweep fixes it at its start, whatever its
//! tag points at later; nothing is ever pulled.

use super::patience::Daemon;
use super::{DockerError, daemon, refused};
use crate::engine::command_view::ImageCommand;

/// What an image is, fixed for a whole sweep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageIdentity {
    /// The image id (`sha256:...`).
    pub id: String,
    /// The repository's digest, where the image came from one.
    pub digest: Option<String>,
    /// What it runs by itself.
    pub own: ImageCommand,
    /// Its own environment, as `NAME=value`.
    pub environment: Vec<String>,
    /// Who its containers run as; empty for root.
    pub user: String,
}

impl ImageIdentity {
    /// The value of a variable of its own environment.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let pairs = self.environment.iter().filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

/// What `image` is on this machine.
pub async fn identity(docker: &Daemon, image: &str) -> Result<ImageIdentity, DockerError> {
    let seen = docker.ask(|| docker.inspect_image(image)).await;
    let seen = seen.map_err(|error| match daemon::status(&error) {
        Some(404) => DockerError::NoImage(image.to_owned()),
        _ => refused("asking for the image", &docker.words(&error)),
    })?;
    let config = seen.config.unwrap_or_default();
    Ok(ImageIdentity {
        id: seen.id.unwrap_or_default(),
        digest: seen.repo_digests.unwrap_or_default().into_iter().next(),
        own: ImageCommand {
            entrypoint: config.entrypoint.unwrap_or_default(),
            command: config.cmd.unwrap_or_default(),
        },
        environment: config.env.unwrap_or_default(),
        user: config.user.unwrap_or_default(),
    })
}
