//! Containers on the daemon that start, stop or replace others: a watchdog, autoheal,
//! watchtower, whatever has the daemon's socket. In mid-sweep one of them may start
//! production, restart a candidate, or put another image in its place. They are found by
//! what they are made of; what they would do is not tried.

use std::collections::HashMap;

use bollard::models::{ContainerInspectResponse, MountPoint};
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder};

use super::Findings;
use crate::engine::docker::Daemon;
use crate::grid::{DockerBlock, ProductionName};

/// The label of the service that the compose tool made a container of.
const SERVICE: &str = "com.docker.compose.service";
/// Names of the daemon's socket inside of a container, as its end.
const SOCKET: &str = "docker.sock";

/// What a running container is made of, as far as it shows what it does to others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    name: String,
    service: Option<String>,
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
            let ends = |path: &Option<String>| path.as_ref().is_some_and(|it| it.ends_with(SOCKET));
            ends(&mount.source) || ends(&mount.destination)
        };
        let command = [config.entrypoint, config.cmd].into_iter().flatten().flatten().collect();
        Self {
            name: seen.name.unwrap_or_default().trim_start_matches('/').to_owned(),
            service: config.labels.and_then(|mut labels| labels.remove(SERVICE)),
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
            let by_label = self.command.iter().any(|word| word == "--label-enable")
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
    fn is_paused(&self, block: &DockerBlock) -> bool {
        block.pause.iter().any(|name| match name {
            ProductionName::Container(name) => *name == self.name,
            ProductionName::Service(service) => self.service.as_ref() == Some(service),
        })
    }
}

/// Looks for them. A daemon that does not answer is a finding of its own.
pub(super) async fn look(findings: &mut Findings, block: &DockerBlock, docker: &Daemon) {
    let filters = HashMap::from([("status", vec!["running"])]);
    let options = ListContainersOptionsBuilder::new().filters(&filters).build();
    let list = || docker.list_containers(Some(options.clone()));
    let Ok(running) = docker.ask(list).await else { return };
    let mut found = 0;
    for id in running.into_iter().filter_map(|it| it.id) {
        let inspect = || docker.inspect_container(&id, None::<InspectContainerOptions>);
        // One that ended meanwhile does nothing any more.
        let Ok(seen) = docker.ask(inspect).await else { continue };
        let seen = Seen::of(seen);
        if let Some(threat) = seen.threat().filter(|_| !seen.is_paused(block)) {
            found += 1;
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
    if found == 0 {
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
    fn what_is_stopped_with_production_is_no_threat() {
        let block = |pause| DockerBlock { pause, ..DockerBlock::default() };
        let mut watchdog = seen("alpine:3", &[], true);
        watchdog.service = Some("dog".to_owned());
        assert!(!watchdog.is_paused(&block(Vec::new())));
        assert!(watchdog.is_paused(&block(vec![ProductionName::Service("dog".to_owned())])));
        assert!(watchdog.is_paused(&block(vec![ProductionName::Container("w".to_owned())])));
        assert!(!watchdog.is_paused(&block(vec![ProductionName::Container("dog".to_owned())])));
    }
}
