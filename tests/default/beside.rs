//! A run whose names are not seen here, as in another network namespace, that begins while
//! this one works: two candidates never have the same GPUs.

use serde_json::json;
use vllm_grid::ownership::{Holder, new_run_id};

use crate::daemon::{Daemon, Life};
use crate::support::{Ran, Workplace};

const GRID: &str = "
name: beside
engine:
  docker: {image: 'example:1', model: m, gpus: false, caches: false, flags: {max-model-len: 4096},
           production: {container: shop}}
parameters: {max-num-seqs: [8, 16]}
workloads:
  load: {concurrency: 2, requests: 24, prompt-tokens: 64, output-tokens: 32, warmup: 1}
objective: {maximize: load.output_throughput}
strategy: {grid: {launches: 1, repeats: 1, seed: 1}}
";

fn words(ran: &Ran) -> String {
    let drawn = |c: char| c.is_whitespace() || "│×╰─▶".contains(c);
    let text = format!("{} {}", ran.out, ran.err);
    text.split(drawn).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[test]
fn no_launch_is_made_beside_a_candidate_of_a_run_that_began_meanwhile() {
    let place = Workplace::new(GRID);
    let daemon = Daemon::start(|_| Life::Serves).serving("shop");
    let start = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        command.env("DOCKER_HOST", daemon.host()).spawn().unwrap()
    };
    let holder =
        Holder { state: new_run_id(), pid_namespace: "pid:[1]".to_owned(), ..Holder::this() };
    let labels = |uses: &str| {
        json!({
            "vllm-grid.sweep": "theirs", "vllm-grid.folder": "/home/other/run",
            "vllm-grid.run": new_run_id(), "vllm-grid.uses": uses,
            "vllm-grid.holder": serde_json::to_string(&holder).unwrap(),
        })
    };
    daemon.shows("others", &labels("3"));
    let sweep = start(&["sweep", "grid.yaml", "--output", "run"]);
    place.wait_for("run", "launch_ready", 1);
    daemon.shows("theirs", &labels("cpu"));
    let ran = Ran::of(sweep.wait_with_output().unwrap()).expect(3);
    let said = words(&ran);
    for part in ["nothing more is launched", "container theirs", "/home/other/run", "resume"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(daemon.created().len(), 1, "the second launch is not made");
    assert!(daemon.runs("shop"), "production is back");
    assert_eq!(daemon.containers(), ["others", "shop", "theirs"], "nothing of theirs is touched");

    let refused = start(&["sweep", "grid.yaml", "--output", "other"]).wait_with_output().unwrap();
    let said = words(&Ran::of(refused).expect(3));
    assert!(said.contains("container theirs") && !said.contains("others"), "{said}");
    daemon.loses("theirs");
    Ran::of(start(&["resume", "run"]).wait_with_output().unwrap()).expect(0);
    assert_eq!(daemon.created().len(), 2, "what was measured is not measured again");
}
