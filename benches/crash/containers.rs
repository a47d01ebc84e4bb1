//! Containers of a night on Docker: the daemon's own events say how many candidates existed
//! at once, and whether production ran beside one.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use crate::place::{BINARY, Place};

/// An image of our own binary as a simulated vLLM; removed by [`remove_image`].
pub(crate) fn image() -> &'static str {
    static IMAGE: OnceLock<String> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let image = format!("vllm-grid-crash:{}", std::process::id());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/docker/image.sh");
        succeeded(Command::new(script).args([BINARY, &image]));
        image
    })
}

pub(crate) fn remove_image() {
    let _ = Command::new("docker").args(["rmi", image()]).output();
}

fn succeeded(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().expect("it can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output
}

pub(crate) fn docker(arguments: &[&str]) -> String {
    let output = succeeded(Command::new("docker").args(arguments));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Removes what is listed.
fn removed(how: &[&str], listed: &[&str]) {
    let listed = docker(listed);
    let ids: Vec<&str> = listed.split_whitespace().collect();
    if !ids.is_empty() {
        let _ = Command::new("docker").args(how).args(ids).output();
    }
}

/// A compose project in which production runs, and the events of its containers.
pub(crate) struct Project {
    compose: PathBuf,
    label: String,
    production: String,
    events: PathBuf,
    listeners: Vec<Child>,
}

impl Project {
    /// Writes the compose file, starts production, listens.
    pub(crate) fn up(place: &Place) -> Self {
        let name = place.name();
        let compose = place.path("compose.yaml");
        let text = format!(
            "version: '2.4'\nservices:\n  vllm:\n    image: {}\n    container_name: {name}-production\n    \
             command: Qwen/Qwen3-0.6B --max-model-len 4096 --max_num_seqs=64 --sim-speed 20 \
             --sim-boot-seconds 4 --port 9000\n    \
             ports: ['127.0.0.1::9000']\n    restart: unless-stopped\n    labels: {{site: {name}}}\n",
            image()
        );
        std::fs::write(&compose, text).expect("written");
        let mut up = Command::new("docker-compose");
        succeeded(up.args(["-p", &name, "-f"]).arg(&compose).args(["up", "-d"]));
        let production = docker(&["inspect", "-f", "{{.Id}}", &format!("{name}-production")]);
        let label = format!("label=vllm-grid.folder={}", place.run().display());
        let events = place.path("events");
        let file = File::create(&events).expect("a file");
        let listen = |filter: &str| {
            let mut listener = Command::new("docker");
            listener.args(["events", "--format", "{{.TimeNano}} {{.Action}} {{.ID}}"]);
            listener.args(["--filter", "type=container", "--filter", filter]);
            let output = file.try_clone().expect("a descriptor");
            listener.stdin(Stdio::null()).stdout(output).stderr(Stdio::null());
            listener.spawn().expect("docker starts")
        };
        let listeners = vec![listen(&label), listen(&format!("container={production}"))];
        Self { compose, label, production, events, listeners }
    }

    /// The id of production's container.
    pub(crate) fn production(&self) -> &str {
        &self.production
    }

    /// Our containers, exited ones included.
    pub(crate) fn candidates(&self) -> Vec<String> {
        let all = docker(&["ps", "-aq", "--filter", &self.label]);
        all.lines().map(str::to_owned).collect()
    }

    pub(crate) fn production_runs(&self) -> bool {
        docker(&["inspect", "-f", "{{.State.Running}}", &self.production]) == "true"
    }

    /// What the events show that must never be.
    pub(crate) fn faults(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.events).unwrap_or_default();
        let mut events: Vec<(u128, &str, &str)> = text
            .lines()
            .filter_map(|line| {
                let mut words = line.split(' ');
                let at = words.next()?.parse().ok()?;
                Some((at, words.next()?, words.next()?))
            })
            .collect();
        events.sort_unstable();
        let mut faults = Vec::new();
        let (mut exist, mut run) = (BTreeSet::new(), BTreeSet::new());
        let mut serves = true;
        for (_, action, id) in events {
            if id == self.production {
                match action {
                    "start" => serves = true,
                    "die" => serves = false,
                    _ => {}
                }
            } else {
                match action {
                    "create" => drop(exist.insert(id)),
                    "destroy" => drop(exist.remove(id)),
                    "start" => drop(run.insert(id)),
                    "die" => drop(run.remove(id)),
                    _ => {}
                }
            }
            if exist.len() > 1 {
                faults.push(format!("candidates at once: {exist:?}"));
            }
            if serves && !run.is_empty() {
                faults.push("production and a candidate run at once".to_owned());
            }
        }
        faults.dedup();
        faults
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        for listener in &mut self.listeners {
            let _ = listener.kill();
            let _ = listener.wait();
        }
        // The compose tool would take seconds for what its labels say.
        let folder = self.compose.parent().and_then(Path::file_name).expect("a name");
        let name = folder.to_string_lossy().to_lowercase();
        let project = format!("label=com.docker.compose.project={name}");
        for label in [&self.label, &project] {
            removed(&["rm", "-f", "-v"], &["ps", "-aq", "--filter", label]);
        }
        removed(&["network", "rm"], &["network", "ls", "-q", "--filter", &project]);
    }
}
