//! Launches whose engine is a container of a node's Docker daemon, outside of the job's control
//! group: what a killed job leaves behind is removed by the run's next launch on that node, or by
//! `recover`, and nothing else is touched. All nodes have one daemon here, as they are one machine.

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::rig::Rig;
use crate::support::{Ran, signal, until};
use crate::{changed, ended};

/// A small image of this program; removed at the end.
struct Image(String);

impl Image {
    fn new() -> Self {
        let name = format!("vllm-grid-test:slurm-{}", std::process::id());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/docker/image.sh");
        let binary = std::env::var("VLLM_GRID_TEST_BINARY")
            .unwrap_or_else(|_| env!("CARGO_BIN_EXE_vllm-grid").to_owned());
        let made = Command::new(script).args([&binary, &name]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self(name)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rmi", "--force", &self.0]).output();
    }
}

fn docker(words: &[&str]) -> String {
    let output = Command::new("docker").args(words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Containers of a node, running or not, whatever run they are of.
fn on(node: &str) -> Vec<String> {
    let filter = format!("label=vllm-grid.node={node}");
    let listed = docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter]);
    listed.lines().map(str::to_owned).collect()
}

const ENGINE: &str = "  simulated: {model: Qwen/Qwen3-8B, gpu: rtx-4090, seed: 1, speed: 20, \
                      flags: {max-model-len: 8192}}\n";

fn rig(image: &Image) -> Rig {
    let engine = "  docker: {compose: compose.yaml, service: vllm, gpus: false, caches: false}\n";
    let grid = changed(&[(ENGINE, engine)]);
    let rig = Rig::start(&grid, &[]);
    let service = format!(
        "services:\n  vllm:\n    image: {}\n    command: Qwen/Qwen3-8B --max-model-len 8192 \
         --sim-speed 4 --port 9000\n",
        image.0
    );
    std::fs::write(rig.place.path("compose.yaml"), service).unwrap();
    rig
}

/// With this machine's own daemon: other tests have none.
fn command(rig: &Rig, words: &[&str]) -> Command {
    let mut command = rig.command(words);
    command.env_remove("DOCKER_HOST").env_remove("VLLM_GRID_DAEMON_PATIENCE");
    command
}

#[test]
#[ignore = "needs Slurm"]
fn a_container_that_outlives_its_job_is_removed_by_the_next_launch_there_or_by_recover() {
    let image = Image::new();
    let rig = rig(&image);
    let child = command(&rig, &["sweep", "grid.yaml", "--output", "run"]).spawn().unwrap();
    let node = rig.node_of(1);
    rig.place.wait_for("run", "repeat_finished", 2);
    let left = on(&node);
    assert_eq!(left.len(), 1, "{left:?}");
    let job = docker(&["inspect", "-f", "{{index .Config.Labels \"vllm-grid.job\"}}", &left[0]]);
    assert!(rig.jobs().contains(&job), "{job}");
    // The daemon goes on when its node's processes die.
    rig.kill(&node);
    until("the launch is lost", || rig.losses() == ["node_failed"]);
    assert_eq!(on(&node), left);
    rig.script("revive_node.sh", &[&node]);
    let name = format!("nodename={node}");
    rig.slurm_may_fail(&["scontrol", "update", &name, "state=resume"]);
    ended(child).expect(0);
    rig.is_whole(8, 2);
    assert!(!on(&node).contains(&left[0]), "the run's next launch there removed it");

    // A second run, of which everything dies: `recover` removes what it left, and nothing else.
    let mut child = command(&rig, &["sweep", "grid.yaml", "--output", "other"]).spawn().unwrap();
    rig.place.wait_for("other", "launch_ready", 1);
    let foreign = docker(&["create", "--label", "vllm-grid.node=n1", &image.0]);
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    for node in crate::NODES {
        rig.kill(node);
    }
    let all = || crate::NODES.iter().flat_map(|it| on(it)).filter(|it| *it != foreign).count();
    assert!(all() > 0);
    let ran = Ran::of(command(&rig, &["recover", "other"]).output().unwrap()).expect(0);
    assert_eq!(all(), 0, "{}{}", ran.out, ran.err);
    assert_eq!(on("n1"), std::slice::from_ref(&foreign));
    docker(&["rm", &foreign]);
}
