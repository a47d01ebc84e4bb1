//! A run whose names are not seen here, as in another network namespace, that begins while
//! this one works: two candidates never have the same GPUs.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use vllm_grid::configuration::{Configuration, Flags};
use vllm_grid::engine::compose::ServiceSpec;
use vllm_grid::engine::docker::daemon::{DaemonSettings, connect};
use vllm_grid::engine::docker::{DockerEngine, DockerSpec};
use vllm_grid::engine::readiness::over_http;
use vllm_grid::engine::{Engine as _, LaunchOrder};
use vllm_grid::event::Emit;
use vllm_grid::ownership::{Holder, Ledger, StateFolder, Uses, new_run_id};

use crate::daemon::{Daemon, Life};
use crate::support::{Ran, Workplace, until};

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

/// Labels of a candidate of a living run that is counted in another container.
fn labels(uses: &str) -> Value {
    let holder =
        Holder { state: new_run_id(), pid_namespace: "pid:[1]".to_owned(), ..Holder::this() };
    json!({
        "vllm-grid.sweep": "theirs", "vllm-grid.folder": "/home/other/run",
        "vllm-grid.run": new_run_id(), "vllm-grid.uses": uses,
        "vllm-grid.holder": serde_json::to_string(&holder).unwrap(),
    })
}

#[test]
fn no_launch_is_made_beside_a_candidate_of_a_run_that_began_meanwhile() {
    let place = Workplace::new(GRID);
    let daemon = Daemon::start(|_| Life::Serves).serving("shop");
    let start = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        command.env("DOCKER_HOST", daemon.host()).spawn().unwrap()
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

/// Both look before either has created anything.
#[test]
fn of_two_that_are_created_at_once_the_younger_is_withdrawn_and_never_started() {
    for (theirs, goes) in [("0-older", false), ("z-younger", false), ("z-younger", true)] {
        let place = Workplace::new(GRID);
        let daemon = Daemon::start(|_| Life::Serves).serving("shop");
        daemon.shows_at_creation(theirs, &labels("cpu"));
        let mut sweep = place.command(&["sweep", "grid.yaml", "--output", "run"]);
        let sweep = sweep.env("DOCKER_HOST", daemon.host()).spawn().unwrap();
        if goes {
            until("theirs is created", || daemon.containers().iter().any(|it| it == theirs));
            daemon.loses(theirs);
            Ran::of(sweep.wait_with_output().unwrap()).expect(0);
            assert_eq!(daemon.started().len(), 3, "both candidates, and production again");
            continue;
        }
        let ran = Ran::of(sweep.wait_with_output().unwrap()).expect(3);
        let said = words(&ran);
        for part in ["nothing more is launched", &format!("container {theirs}"), "resume"] {
            assert!(said.contains(part), "{theirs}: {part}: {said}");
        }
        assert_eq!(daemon.created().len(), 1);
        assert_eq!(daemon.started(), ["shop"], "nothing was started beside {theirs}");
        let mut left = [theirs, "shop"];
        left.sort_unstable();
        assert_eq!(daemon.containers(), left, "nothing of theirs is touched");
    }
}

/// A run whose names nobody sees, with a state folder of its own.
async fn launcher(daemon: &Daemon, place: &Path) -> DockerEngine {
    let settings = DaemonSettings { docker_host: Some(daemon.host()), ..DaemonSettings::default() };
    let service = ServiceSpec::of_image("example:1".to_owned(), vec!["m".to_owned()]);
    let spec = DockerSpec { gpus: false, caches: false, ..DockerSpec::new(service) };
    let docker = connect(&settings).await.unwrap();
    let engine = DockerEngine::new(docker, spec, over_http()).await.unwrap();
    let state = StateFolder::at(&place.join("state")).unwrap();
    let holder = Holder::this().in_state(&state).of_run(&new_run_id(), place);
    engine.owned_by(&Arc::new(Ledger::of_run(&state, "beside", &holder, &Uses::Cpu)));
    engine
}

fn order(place: &Path) -> LaunchOrder {
    let folder = place.join("launches/1-c");
    std::fs::create_dir_all(&folder).unwrap();
    let configuration = Configuration {
        name: "c".to_owned(),
        aliases: Vec::new(),
        id: "0".to_owned(),
        flags: Flags::default(),
        varied: Flags::default(),
        environment: std::collections::BTreeMap::new(),
        ..Configuration::default()
    };
    let (sweep, worked) = ("beside".to_owned(), std::time::Duration::ZERO);
    LaunchOrder { sweep, launch: 1, configuration, folder, worked }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_that_look_at_once_start_one_candidate() {
    let daemon = Daemon::start(|_| Life::Serves).creating_together(2);
    let places = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [one, other] = places.each_ref().map(tempfile::TempDir::path);
    let (first, second) = tokio::join!(launcher(&daemon, one), launcher(&daemon, other));
    let (emit, cancel) = (Emit::nowhere(), CancellationToken::new());
    let (one, other) = (order(one), order(other));
    let (first, second) =
        tokio::join!(first.launch(&one, &emit, &cancel), second.launch(&other, &emit, &cancel));
    assert_eq!(daemon.created().len(), 2, "both looked and created");
    assert_eq!(daemon.started().len(), 1);
    let ((Ok(launched), Err(refused)) | (Err(refused), Ok(launched))) = (first, second) else {
        panic!("one of two is to be launched")
    };
    assert!(refused.message.contains("is in use: process"), "{}", refused.message);
    assert_eq!(daemon.containers().len(), 1, "the other one is removed");
    launched.stop().await.unwrap();
    assert!(daemon.is_empty());
}
