//! Launches whose engine is a container of a node's Docker daemon, outside of the job's control
//! group: what a killed job leaves behind is removed by the run's next launch on that node, and
//! nothing else is touched. All nodes have one daemon here, as they are one machine. That `recover`
//! on a node removes it, too, is not shown here: nodes have numbers of processes of their own, and
//! what may live is left alone.

use std::path::Path;
use std::process::Command;

use crate::rig::Rig;
use crate::support::until;
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

    /// Its containers, running or not, on a node or on all, whatever run they are of.
    fn containers(&self, node: Option<&str>) -> Vec<String> {
        let ancestor = format!("ancestor={}", self.0);
        let mut words = vec!["ps", "--all", "--quiet", "--no-trunc", "--filter", &ancestor];
        let of_node = node.map(|it| format!("label=vllm-grid.node={it}"));
        words.extend(of_node.iter().flat_map(|it| ["--filter", it]));
        docker(&words).lines().map(str::to_owned).collect()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        for left in self.containers(None) {
            let _ = Command::new("docker").args(["rm", "--force", &left]).output();
        }
        let _ = Command::new("docker").args(["rmi", "--force", &self.0]).output();
    }
}

fn docker(words: &[&str]) -> String {
    let output = Command::new("docker").args(words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
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
fn a_container_that_outlives_its_job_is_removed_by_the_next_launch_there() {
    let image = Image::new();
    let rig = rig(&image);
    let on = |node: &str| image.containers(Some(node));
    let child = command(&rig, &["sweep", "grid.yaml", "--output", "run"]).spawn().unwrap();
    let node = rig.node_of(1);
    rig.place.wait_for("run", "repeat_finished", 2);
    let left = on(&node);
    let foreign = docker(&["create", "--label", "vllm-grid.node=elsewhere", &image.0]);
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
    assert_eq!(
        image.containers(None),
        std::slice::from_ref(&foreign),
        "and nothing else is left, or touched"
    );
}
