//! What is said of production that a killed sweep stopped, before and after somebody else
//! started it again: the journal alone does not tell, so its engine is asked.

use std::io::Write as _;
use std::os::unix::net::UnixStream;

use super::words;
use crate::daemon::{Daemon, Life};
use crate::support::proxy::{Fault, Proxy};
use crate::support::{Ran, Workplace, until};

const GRID: &str = "
name: again
engine:
  docker: {image: 'example:1', model: m, gpus: false, caches: false, flags: {max-model-len: 4096},
           production: {container: shop}, api-key-env: AGAIN_KEY}
parameters: {max-num-seqs: [16]}
workloads:
  load: {concurrency: 2, requests: 24, prompt-tokens: 64, output-tokens: 32, warmup: 1}
objective: {maximize: load.output_throughput}
strategy: {grid: {launches: 1, repeats: 2, seed: 1}}
";

struct Site {
    place: Workplace,
    daemon: Daemon,
    proxy: Proxy,
}

impl Site {
    /// A sweep that was killed while its candidate ran.
    fn killed() -> Self {
        let place = Workplace::new(GRID);
        let daemon = Daemon::start(|_| Life::Serves).serving("shop");
        let proxy = Proxy::start(place.path("d.sock"), &daemon.socket());
        let site = Self { place, daemon, proxy };
        let mut sweep = site.command(&["sweep", "grid.yaml", "--output", "run"], true);
        let mut sweep = sweep.spawn().unwrap();
        site.place.wait_for("run", "launch_ready", 1);
        sweep.kill().unwrap();
        sweep.wait().unwrap();
        until("it is down", || !site.daemon.runs("shop"));
        site
    }

    fn command(&self, arguments: &[&str], key: bool) -> std::process::Command {
        let mut command = self.place.command(arguments);
        command.env("DOCKER_HOST", self.proxy.host()).env("VLLM_GRID_DAEMON_PATIENCE", "0.4");
        command.envs(key.then_some(("AGAIN_KEY", "sk-of-production-again")));
        command
    }

    fn run(&self, arguments: &[&str], key: bool) -> Ran {
        Ran::of(self.command(arguments, key).output().unwrap())
    }

    /// Somebody starts production by hand.
    fn somebody_starts(&self) {
        let mut stream = UnixStream::connect(self.daemon.socket()).unwrap();
        let request = "POST /containers/shop/start HTTP/1.1\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        until("it runs", || self.daemon.runs("shop"));
    }

    /// What `--on-finish` was told at the end of a resume that was refused.
    fn verdict(&self) -> String {
        let write = "sh -c 'echo \"$VLLM_GRID_VERDICT\" > told'";
        self.run(&["resume", "run", "--on-finish", write], false).expect(3);
        std::fs::read_to_string(self.place.path("told")).unwrap()
    }

    fn report(&self) -> (String, serde_json::Value) {
        let text = words(&self.run(&["report", "run"], false));
        let json = self.run(&["report", "run", "--format", "json"], false).out;
        (text, serde_json::from_str(&json).unwrap())
    }
}

const DOWN: &str = "PRODUCTION IS DOWN: container shop (shop)";

#[test]
fn production_that_somebody_started_again_is_not_called_down_by_the_journal_alone() {
    let site = Site::killed();
    let refused = site.run(&["resume", "run"], false).expect(3);
    let last = refused.err.trim_end().lines().next_back().unwrap();
    assert!(last.starts_with(&format!("{DOWN}; start it: `vllm-grid recover run`")), "{last}");
    assert!(site.verdict().starts_with("PRODUCTION IS DOWN"), "{}", site.verdict());

    site.proxy.set(Fault::Refuse);
    let refused = words(&site.run(&["resume", "run"], false).expect(3));
    assert!(refused.contains(DOWN), "{refused}");
    assert!(refused.contains("whether it runs now is not known: the Docker daemon"), "{refused}");
    site.proxy.set(Fault::None);

    site.somebody_starts();
    let runs = "production runs again (container shop (shop), started by somebody else); not \
                proven since: `vllm-grid recover run`";
    let refused = words(&site.run(&["resume", "run"], false).expect(3));
    assert!(refused.contains(runs), "{refused}");
    assert!(!refused.contains("PRODUCTION IS DOWN"), "it runs: {refused}");
    assert!(site.verdict().starts_with(runs), "{}", site.verdict());

    site.run(&["recover", "run"], true).expect(0);
    let refused = words(&site.run(&["resume", "run"], false).expect(3));
    assert!(!refused.contains("production runs again"), "it is proven: {refused}");
}

#[test]
fn a_report_names_production_that_is_not_proven_and_what_proves_it_first() {
    let site = Site::killed();
    let (text, json) = site.report();
    assert!(text.contains("PRODUCTION container shop (shop) was stopped at 20"), "{text}");
    assert!(text.contains("UTC, not proven since."), "{text}");
    assert!(text.contains("NEXT vllm-grid recover run (starts production"), "{text}");
    let production = &json["reading"]["production"];
    assert_eq!((&production["name"], &production["started"]), (&"shop".into(), &false.into()));
    assert_eq!(json["reading"]["next"][0], serde_json::json!({"next": "recover", "run": "run"}));
    // It asks no engine.
    site.somebody_starts();
    assert_eq!(site.report(), (text, json));
    site.run(&["recover", "run"], true).expect(0);
    let (text, json) = site.report();
    assert!(!text.contains("PRODUCTION") && !text.contains("recover run"), "{text}");
    assert_eq!(json["reading"]["production"], serde_json::Value::Null);
}

#[test]
fn a_report_of_a_sweep_that_runs_does_not_miss_its_production() {
    let place = Workplace::new(GRID);
    let daemon = Daemon::start(|_| Life::Serves).serving("shop");
    let mut sweep = place.command(&["sweep", "grid.yaml", "--output", "run"]);
    sweep.env("DOCKER_HOST", daemon.host()).env("AGAIN_KEY", "sk-of-production-again");
    let mut sweep = sweep.spawn().unwrap();
    place.wait_for("run", "launch_ready", 1);
    let json = place.run(&["report", "run", "--format", "json"]).out;
    let is_over = sweep.try_wait().unwrap().is_some();
    sweep.wait().unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(is_over || json["reading"]["production"].is_null(), "it is stopped on purpose: {json}");
}

#[test]
fn a_run_folder_without_its_grid_is_named_with_what_replaces_it() {
    let site = Site::killed();
    std::fs::remove_file(site.place.path("run/grid.yaml")).unwrap();
    let refused = words(&site.run(&["resume", "run"], true).expect(2));
    assert!(refused.contains("run/grid.yaml is missing: it is the copy"), "{refused}");
    assert!(refused.contains("run/grid.yaml`, then try again"), "{refused}");
    assert!(refused.contains(DOWN), "{refused}");
}
