//! Containers on the daemon that start, stop or replace others: a watchdog, autoheal,
//! watchtower, whatever has the daemon's socket. In mid-sweep one of them may start
//! production, restart a candidate, or put another image in its place. They are found by
//! what they are made of; what they would do is not tried.

use std::collections::HashMap;

use bollard::models::{ContainerInspectResponse, MountPoint};
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder};

use super::Findings;
use crate::engine::docker::Daemon;
use crate::engine::docker::daemon::status;
use crate::grid::{DockerBlock, ProductionName};

/// The label of the service that the compose tool made a container of.
const SERVICE: &str = "com.docker.compose.service";
/// The label of its project.
const PROJECT: &str = "com.docker.compose.project";
/// Whether a mounted path is a daemon's socket, or a folder that it is in.
fn holds_socket(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    let is_socket = path.ends_with("docker.sock") || path.ends_with("podman.sock");
    is_socket || matches!(path, "" | "/var" | "/run" | "/var/run" | "/run/docker" | "/run/podman")
}

/// What a running container is made of, as far as it shows what it does to others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    name: String,
    service: Option<String>,
    project: Option<String>,
    image: String,
    environment: Vec<String>,
    command: Vec<String>,
    /// Whether it has the daemon's socket.
    has_socket: bool,
    /// Whether the daemon can be reached over the network by what it is told.
    has_host: bool,
}

impl Seen {
    fn of(seen: ContainerInspectResponse) -> Self {
        let config = seen.config.unwrap_or_default();
        let environment = config.env.unwrap_or_default();
        let is_socket = |mount: &MountPoint| {
            let reaches = |path: &Option<String>| path.as_deref().is_some_and(holds_socket);
            reaches(&mount.source) || reaches(&mount.destination)
        };
        let mut labels = config.labels.unwrap_or_default();
        let command = [config.entrypoint, config.cmd].into_iter().flatten().flatten().collect();
        Self {
            name: seen.name.unwrap_or_default().trim_start_matches('/').to_owned(),
            service: labels.remove(SERVICE),
            project: labels.remove(PROJECT),
            image: config.image.unwrap_or_default(),
            has_host: environment.iter().any(|it| it.starts_with("DOCKER_HOST=")),
            has_socket: seen.mounts.iter().flatten().any(is_socket),
            environment,
            command,
        }
    }

    fn variable(&self, name: &str) -> Option<&str> {
        let mut pairs = self.environment.iter().filter_map(|pair| pair.split_once('='));
        pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// What it could do to a sweep; `None` where it reaches no daemon.
    fn threat(&self) -> Option<String> {
        if !self.has_socket && !self.has_host {
            return None;
        }
        let is = |word: &str| self.image.contains(word) || self.name.contains(word);
        if is("watchtower") {
            let enables = |word: &String| {
                word == "--label-enable"
                    || word.starts_with("--label-enable=") && !word.ends_with("=false")
            };
            let by_label = self.command.iter().any(enables)
                || self.variable("WATCHTOWER_LABEL_ENABLE").is_some_and(|it| it != "false");
            let which = if by_label { "those with its label" } else { "all containers" };
            return Some(format!(
                "it replaces {which} where an image is updated: candidates and production would change \
                 in mid-sweep"
            ));
        }
        if is("autoheal") {
            let label = self.variable("AUTOHEAL_CONTAINER_LABEL").unwrap_or("autoheal");
            return Some(if label.eq_ignore_ascii_case("all") {
                "it restarts each container that is unhealthy (label `all`): a candidate of an image with a \
                 health check, too"
                    .to_owned()
            } else {
                format!(
                    "it restarts unhealthy containers with the label `{label}`: production, if it has it"
                )
            });
        }
        Some(
            "it has the daemon's socket and can start, stop and replace containers in mid-sweep"
                .to_owned(),
        )
    }

    /// Whether the grid stops it with production.
    fn is_paused(&self, block: &DockerBlock, project: Option<&str>) -> bool {
        block.pause.iter().any(|name| match name {
            ProductionName::Container(name) => *name == self.name,
            ProductionName::Service(service) => {
                self.service.as_ref() == Some(service) && self.project.as_deref() == project
            }
        })
    }
}

/// Looks for them. A daemon that does not answer is a finding of its own.
/// `project`: the compose project of production's companions, where there is one.
pub(super) async fn look(
    findings: &mut Findings,
    block: &DockerBlock,
    project: Option<&str>,
    docker: &Daemon,
) {
    let filters = HashMap::from([("status", vec!["running"])]);
    let options = ListContainersOptionsBuilder::new().filters(&filters).build();
    let list = || docker.list_containers(Some(options.clone()));
    let Ok(running) = docker.ask(list).await else { return };
    let mut is_clean = true;
    for id in running.into_iter().filter_map(|it| it.id) {
        let inspect = || docker.inspect_container(&id, None::<InspectContainerOptions>);
        // One that ended meanwhile does nothing any more.
        let seen = match docker.ask(inspect).await {
            Ok(seen) => Seen::of(seen),
            Err(error) if status(&error) == Some(404) => continue,
            Err(error) => {
                is_clean = false;
                findings.warning("restarters", docker.words(&error), "");
                continue;
            }
        };
        if let Some(threat) = seen.threat().filter(|_| !seen.is_paused(block, project)) {
            is_clean = false;
            let advice = match &block.production {
                Some(_) => format!(
                    "`production: {{..., pause: [{{container: {}}}]}}` stops it with production",
                    seen.name
                ),
                None => format!("stop it for the night: `docker stop {}`", seen.name),
            };
            findings.warning("restarters", format!("{}: {threat}", seen.name), &advice);
        }
    }
    if is_clean {
        findings.ok("restarters", "no running container is known to act on others");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(image: &str, environment: &[&str], socket: bool) -> Seen {
        Seen {
            name: "w".to_owned(),
            image: image.to_owned(),
            environment: environment.iter().map(|it| (*it).to_owned()).collect(),
            has_socket: socket,
            ..Seen::default()
        }
    }

    #[test]
    fn what_reaches_the_daemon_is_named_with_what_it_could_do() {
        let threat = |seen: &Seen| seen.threat().unwrap_or_default();
        assert_eq!(seen("alpine:3", &[], false).threat(), None);
        assert!(threat(&seen("alpine:3", &[], true)).contains("has the daemon's socket"));
        let heal = |label: &[&str]| threat(&seen("willfarrell/autoheal:1.2", label, true));
        assert!(heal(&["AUTOHEAL_CONTAINER_LABEL=all"]).contains("label `all`"));
        assert!(heal(&[]).contains("the label `autoheal`"));
        let tower = seen("containrrr/watchtower", &["WATCHTOWER_LABEL_ENABLE=true"], true);
        assert!(threat(&tower).contains("those with its label"));
        assert!(threat(&seen("containrrr/watchtower", &[], true)).contains("all containers"));
        // A name alone acts on nothing.
        assert_eq!(seen("willfarrell/autoheal:1.2", &[], false).threat(), None);
        let over_tcp =
            Seen { has_host: true, ..seen("x", &["DOCKER_HOST=tcp://proxy:2375"], false) };
        assert!(over_tcp.threat().is_some());
    }

    #[test]
    fn a_socket_is_seen_in_a_mounted_folder_too() {
        for path in ["/var/run/docker.sock", "/run/user/1000/podman.sock", "/var/run/", "/"] {
            assert!(holds_socket(path), "{path}");
        }
        assert!(!holds_socket("/var/run/other.sock") && !holds_socket("/srv/run"));
    }

    #[test]
    fn what_is_stopped_with_production_is_no_threat() {
        let block = |pause| DockerBlock { pause, ..DockerBlock::default() };
        let mut watchdog = seen("alpine:3", &[], true);
        (watchdog.service, watchdog.project) = (Some("dog".to_owned()), Some("p".to_owned()));
        let service = || vec![ProductionName::Service("dog".to_owned())];
        assert!(!watchdog.is_paused(&block(Vec::new()), Some("p")));
        assert!(watchdog.is_paused(&block(service()), Some("p")));
        assert!(!watchdog.is_paused(&block(service()), Some("another")), "of another project");
        let container = |name: &str| vec![ProductionName::Container(name.to_owned())];
        assert!(watchdog.is_paused(&block(container("w")), None));
        assert!(!watchdog.is_paused(&block(container("dog")), Some("p")));
    }
}
