//! What others do to the container of one configuration of three, in mid-measurement: the
//! class is right, the rest of its trial is measured by one more launch, the others are
//! measured and ranked, and nothing of ours is left.

use std::process::Command;

use serde_json::Value;

use crate::support::{parquet, texts};
use crate::{Site, docker, image, text};

const GRID: &str = "name: faults\nengine:\n  docker: {compose: compose.yaml, service: vllm, gpus: false, caches: false}\n\
baseline: good\ninclude:\n  - {name: good, max-num-seqs: 8}\n  - {name: bad, max-num-seqs: 64}\n  \
- {name: other, max-num-seqs: 16}\nworkloads:\n  \
kv-cache: {prefix-tokens: [2048], prompts: 4, output-tokens: 250, warmup: 0}\n\
objective: {minimize: kv_cache.ttft_resent_ms}\nstrategy: {grid: {launches: 1, repeats: 3, seed: 1}}\n";

/// A repeat takes a second, so that there is time to act within the three of a launch.
fn compose() -> String {
    format!(
        "version: '2.4'\nservices:\n  vllm:\n    image: {}\n    command: Qwen/Qwen3-0.6B \
         --max-model-len 8192 --sim-speed 10 --sim-boot-seconds 5\n",
        image()
    )
}

fn entries(site: &Site) -> Vec<Value> {
    let lines = site.journal();
    let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.map(|line| line["line"]["entry"].clone()).collect()
}

/// The number of the first launch of `bad`, once its server is ready.
fn ready(site: &Site) -> Option<Value> {
    let entries = entries(site);
    let bad =
        entries.iter().find(|it| it["kind"] == "launch_started" && it["configuration"] == "bad")?;
    let launch = bad["launch"].clone();
    let is_ready = entries.iter().any(|it| it["kind"] == "launch_ready" && it["launch"] == launch);
    is_ready.then_some(launch)
}

/// Runs a sweep; somebody does this to the container of `bad` as soon as it serves.
fn happens(name: &str, act: &[&str], class: &str) {
    let act = |container: &str| drop(docker(&[act, &[container]].concat()));
    happens_at(&Site::of(GRID, |_| compose()), name, act, class);
}

/// The same at a site of its own.
fn happens_at(site: &Site, name: &str, act: impl FnOnce(&str), class: &str) {
    let sweep = site.sweep();
    site.until("bad is ready", |site| ready(site).is_some());
    let filters = [
        format!("label=vllm-grid.folder={}", site.run().display()),
        "label=vllm-grid.configuration=bad".to_owned(),
    ];
    let container = docker(&["ps", "-q", "--filter", &filters[0], "--filter", &filters[1]]);
    act(&container);
    let output = sweep.wait_with_output().unwrap();
    let said = text(&output);
    let entries = entries(site);
    let of_bad: Vec<&Value> = entries
        .iter()
        .filter(|it| it["kind"] == "launch_started" && it["configuration"] == "bad")
        .map(|it| &it["launch"])
        .collect();
    let classes: Vec<&str> = entries
        .iter()
        .filter(|it| it["kind"] == "launch_ended")
        .filter_map(|it| it["outcome"]["class"].as_str())
        .collect();
    let well = classes == [class] && of_bad.len() == 2 && output.status.code() == Some(0);
    note(name, &classes, well);
    assert!(well, "{name}: {classes:?}, launches {of_bad:?}, {said}");
    let mut ranked: Vec<String> =
        texts(&parquet(&site.run().join("ranking.parquet")), "configuration")
            .into_iter()
            .flatten()
            .collect();
    ranked.sort();
    assert_eq!(ranked, ["bad", "good", "other"], "{said}");
    assert!(site.candidates().is_empty(), "nothing is left");
}

fn note(name: &str, classes: &[&str], ok: bool) {
    use std::io::Write as _;

    let Some(folder) = std::env::var_os("VLLM_GRID_CAMPAIGN_OUT") else { return };
    let line =
        serde_json::json!({"fault": format!("docker: {name}"), "classes": classes, "ok": ok});
    let path = std::path::Path::new(&folder).join("faults.jsonl");
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

#[test]
#[ignore = "needs Docker"]
fn somebody_restarts_the_container() {
    happens("restart by somebody", &["restart", "-t", "1"], "killed");
}

#[test]
#[ignore = "needs Docker"]
fn somebody_kills_the_container() {
    happens("SIGKILL", &["kill"], "killed");
}

#[test]
#[ignore = "needs Docker"]
fn somebody_stops_the_container_which_ends_with_code_0() {
    happens("exit code 0", &["stop", "-t", "5"], "engine_died");
}

#[test]
#[ignore = "needs Docker"]
fn somebody_removes_the_container() {
    happens("removal", &["rm", "-f"], "killed");
}

/// Runs a script in a container, which may end meanwhile.
fn inside(container: &str, script: &str) {
    let output = Command::new("docker").args(["exec", container, "sh", "-c", script]).output();
    output.unwrap();
}

/// Memory of the container that nobody can take back: files in its memory file system. The
/// kernel kills the largest process, which is the engine.
#[test]
#[ignore = "needs Docker"]
fn the_kernel_kills_the_engine_at_the_container_s_memory_limit() {
    let limits = "    mem_limit: 192m\n    memswap_limit: 192m\n    shm_size: 1g\n";
    let site = Site::of(GRID, |_| compose() + limits);
    let fill = |container: &str| {
        inside(container, "cat /dev/zero > /dev/shm/fill");
        let killed = || {
            let state = ["inspect", "-f", "{{.State.OOMKilled}}", container];
            let seen = Command::new("docker").args(state).output().unwrap();
            // It may be removed already.
            !String::from_utf8_lossy(&seen.stdout).contains("false")
        };
        site.until("the daemon sees it", |_| killed());
    };
    happens_at(&site, "memory limit of the container", fill, "host_memory");
    let failed = entries(&site).into_iter().find(|it| it["outcome"]["class"] == "host_memory");
    let failed = failed.unwrap();
    assert_eq!(failed["outcome"]["exit_code"], 137, "{failed}");
}

/// The engine is a child of the container's first process, a shell that ends with its code.
#[test]
#[ignore = "needs Docker"]
fn somebody_kills_the_engine_s_process_in_the_container() {
    let site = Site::of(GRID, |_| {
        let own = "    entrypoint: [/bin/vllm, serve]\n    volumes: ['./vllm:/bin/vllm:ro']\n    command:";
        compose().replace("    command:", own)
    });
    let launcher = site.folder.path().join("vllm");
    std::fs::write(&launcher, crate::PARENT).unwrap();
    crate::executable(&launcher);
    // By its command line; the pattern does not find this script.
    let kill =
        "for it in /proc/[0-9]*; do grep -q 'sim[u]late' $it/cmdline && kill -9 ${it#/proc/}; done";
    happens_at(&site, "SIGKILL of the engine's process", |it| inside(it, kill), "killed");
}
