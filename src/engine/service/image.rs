//! What an image runs by itself, as the daemon says it: a plan does without the answer, a
//! sweep does not.

use tokio::time::timeout;

use super::Need;
use crate::engine::command_view::ImageCommand;
use crate::engine::compose::ComposeError;
use crate::engine::docker::daemon::{DaemonSettings, connect, in_all, late};
use crate::engine::docker::{DockerError, identity};

/// What an image runs by itself; where that is not known, what a person should know of it.
///
/// # Errors
/// A sweep's daemon does not answer in time. Where there is none, or no such image, its
/// engine does not start, either.
pub(super) async fn image_command(
    image: &str,
    need: Need,
) -> Result<Result<ImageCommand, Option<String>>, ComposeError> {
    let settings = DaemonSettings::of_environment().within(need.patience());
    let limit = settings.patience.unwrap_or(need.patience());
    let asked = async {
        let docker = connect(&settings).await.map_err(|error| {
            // What a sweep owes is told with that, before its engine needs the daemon.
            error.unanswered(limit).filter(|_| need == Need::Plan)
        })?;
        identity(&docker, image).await.map_err(|error| match error {
            DockerError::NoImage(_) => None,
            error => Some(error.to_string()),
        })
    };
    let why = match timeout(in_all(limit), asked).await.unwrap_or_else(|_| Err(Some(late(limit)))) {
        Ok(known) => return Ok(Ok(known.own)),
        // A plan on a machine without the image assumes that it starts vLLM, as vLLM's own does.
        Err(None) => return Ok(Err(None)),
        Err(Some(why)) => why,
    };
    let what = format!("what image {image} starts by itself");
    match need {
        Need::Sweep => Err(ComposeError::NoAnswer { what, why }),
        Need::Plan => Ok(Err(Some(format!(
            "{what} is not known, so flags, ids and what is equal may be others in a sweep: {why}"
        )))),
    }
}
