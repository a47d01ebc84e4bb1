//! A daemon that fails while a sweep guards production: the sweep goes on where it comes back,
//! and where it does not, whoever reads the last line knows that production is down.

use std::io::{BufRead as _, BufReader};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::daemon::{Daemon, Life};
use crate::support::proxy::{Fault, Proxy};
use crate::support::{Ran, Workplace, signal, until};

const GRID: &str = "
name: outage
engine:
  docker: {image: 'example:1', model: m, gpus: false, caches: false, flags: {max-model-len: 4096},
           production: {container: shop}KEY}
parameters: {max-num-seqs: [16]}
workloads:
  load: {concurrency: 2, requests: 24, prompt-tokens: 64, output-tokens: 32, warmup: 1}
objective: {maximize: load.output_throughput}
strategy: {grid: {launches: 1, repeats: 2, seed: 1}}
";

/// A grid whose production `shop` serves, on a daemon behind a proxy.
struct Site {
    place: Workplace,
    daemon: Daemon,
    proxy: Proxy,
}

impl Site {
    fn new(key: &str) -> Self {
        let place = Workplace::new(&GRID.replace("KEY", key));
        let daemon = Daemon::start(|_| Life::Serves).serving("shop");
        let proxy = Proxy::start(place.path("d.sock"), &daemon.socket());
        Self { place, daemon, proxy }
    }

    /// `patience` are seconds; the start of production is tried for two and a half times as long.
    fn start(&self, arguments: &[&str], patience: &str) -> Child {
        let mut command = self.place.command(arguments);
        command.env("DOCKER_HOST", self.proxy.host()).env("VLLM_GRID_DAEMON_PATIENCE", patience);
        command.spawn().unwrap()
    }

    fn sweep(&self, patience: &str) -> Child {
        let sweep = self.start(&["sweep", "grid.yaml", "--output", "run"], patience);
        self.place.wait_for("run", "launch_ready", 1);
        sweep
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.start(arguments, "0.4").wait_with_output().unwrap())
    }

    /// Debts of this kind in the state folder.
    fn noted(&self, kind: &str) -> usize {
        let notes = std::fs::read_dir(self.place.path("state/debts")).unwrap().flatten();
        let of_kind = format!(".{kind}.json");
        notes.filter(|it| it.file_name().to_string_lossy().ends_with(&of_kind)).count()
    }

    fn assert_as_found(&self) {
        assert!(self.daemon.runs("shop"), "production runs");
        assert_eq!(self.daemon.containers(), ["shop"], "nothing of ours is left");
    }
}

fn last_line(ran: &Ran) -> &str {
    ran.err.trim_end().lines().next_back().unwrap_or_default()
}

/// Without blanks, wherever lines are broken.
fn letters(text: &str) -> String {
    text.split(['\n', ' ', '│']).collect()
}

const DOWN: &str = "PRODUCTION IS DOWN: container shop (shop); start it: `vllm-grid recover run`, \
                    or by hand: `docker start shop`";

#[test]
fn a_daemon_that_refuses_for_half_a_second_costs_nothing() {
    let site = Site::new("");
    let sweep = site.sweep("120");
    site.proxy.during(Fault::Refuse, Duration::from_millis(500));
    site.proxy.during(Fault::Status(503, "starting"), Duration::from_millis(300));
    let ran = Ran::of(sweep.wait_with_output().unwrap()).expect(0);
    assert!(!ran.said().contains("PRODUCTION"), "{}", ran.err);
    site.assert_as_found();
    assert_eq!(site.daemon.created().len(), 1, "one launch");
    let journal = site.place.journal("run");
    let void = journal.iter().filter(|it| it["line"]["entry"]["measurement"]["status"] == "void");
    assert_eq!(void.count(), 0, "no repeat is lost: {journal:?}");
}

#[test]
fn answers_that_are_lost_do_nothing_twice() {
    let site = Site::new("");
    let asked = std::sync::Mutex::new(std::collections::BTreeMap::<String, u32>::new());
    // The first answer to each thing that is done never arrives.
    site.proxy.by_request(move |line| {
        let what = line.split('?').next().unwrap_or_default().to_owned();
        let acts = what.ends_with("/create") || what.ends_with("/start") || what.ends_with("/stop");
        if !acts && !what.starts_with("DELETE") {
            return Fault::None;
        }
        let mut asked = asked.lock().unwrap();
        let count = asked.entry(what).or_default();
        *count += 1;
        if *count == 1 { Fault::LoseAnswer } else { Fault::None }
    });
    let ran = Ran::of(site.sweep("120").wait_with_output().unwrap()).expect(0);
    assert_eq!(site.daemon.created().len(), 1, "{}", ran.err);
    site.assert_as_found();
}

#[test]
fn a_daemon_that_is_gone_for_good_ends_the_sweep_with_production_s_name() {
    for fault in [Fault::Refuse, Fault::Stall] {
        let site = Site::new("");
        let sweep = site.sweep("0.4");
        site.proxy.set(fault);
        if fault == Fault::Stall {
            // It takes its time, and a second signal ends it at once.
            signal(&sweep, Signal::INT);
            let mut sweep = sweep;
            let mut lines =
                BufReader::new(sweep.stderr.take().unwrap()).lines().map(Result::unwrap);
            let mut said: Vec<String> = Vec::new();
            while !said.last().is_some_and(|line| line.contains("stopping; a second signal")) {
                said.push(lines.next().unwrap_or_else(|| panic!("it ended: {said:?}")));
            }
            // What comes within 300 ms counts as the same wish.
            std::thread::sleep(std::time::Duration::from_millis(400));
            signal(&sweep, Signal::INT);
            said.extend(lines);
            assert_eq!(sweep.wait().unwrap().code(), Some(130), "{said:?}");
            assert_eq!(said.last().map(|line| line.trim_end()), Some(DOWN), "{said:?}");
        } else {
            let ran = Ran::of(sweep.wait_with_output().unwrap()).expect(3);
            assert_eq!(last_line(&ran), DOWN, "{}", ran.err);
            let text = letters(&ran.err);
            assert!(text.contains("isnotstarted:production:theDockerdaemonatunix://"), "{text}");
            assert!(!text.contains("hyper") && !text.contains("legacyclient"), "{text}");
        }
        // What may be left of its candidates stays noted as well.
        assert_eq!(site.noted("containers"), 1, "{fault:?}");
        // `recover` says the same as long as nobody answers, and does it then.
        if fault == Fault::Refuse {
            site.proxy.set(Fault::None);
            // Who reads the report in the morning must learn it.
            let says = || site.run(&["report", "run"]).err.contains("did not prove that it runs");
            assert!(says());
            let ran = site.run(&["recover", "run"]).expect(0);
            assert!(!says(), "it is proven");
            assert!(ran.out.contains("production runs and answers again"), "{}", ran.out);
            site.assert_as_found();
            assert_eq!(site.noted("containers"), 0, "it is paid");
        }
    }
}

#[test]
fn a_port_that_is_taken_at_the_end_is_named() {
    let site = Site::new("");
    site.proxy.by_request(|line| {
        let taken = "Bind for 127.0.0.1:8000 failed: port is already allocated";
        let is_start = line.starts_with("POST /containers/shop/start");
        if is_start { Fault::Status(500, taken) } else { Fault::None }
    });
    let ran = Ran::of(site.sweep("0.4").wait_with_output().unwrap()).expect(3);
    assert_eq!(last_line(&ran), DOWN, "{}", ran.err);
    assert!(letters(&ran.err).contains("itsport8000istakenby"), "{}", ran.err);
    assert!(!ran.err.contains("vllm-grid resume"), "production comes first: {}", ran.err);
    let failed = site.run(&["recover", "run"]).expect(3);
    assert!(failed.out.contains("port 8000") && failed.err.contains("PRODUCTION IS DOWN"));
    site.proxy.by_request(|_| Fault::None);
    site.run(&["recover", "run"]).expect(0);
    site.assert_as_found();
}

#[test]
fn production_is_started_without_the_key_that_would_prove_it() {
    let site = Site::new(", api-key-env: OUTAGE_KEY");
    let ran = site.run(&["sweep", "grid.yaml", "--output", "run"]).expect(3);
    assert!(ran.err.contains("OUTAGE_KEY") && site.daemon.runs("shop"), "{}", ran.err);
    assert!(!site.place.path("run").exists(), "nothing is begun without it");

    let mut command = site.place.command(&["sweep", "grid.yaml", "--output", "run"]);
    command.env("DOCKER_HOST", site.proxy.host()).env("OUTAGE_KEY", "sk-of-the-outage");
    let mut sweep = command.spawn().unwrap();
    site.place.wait_for("run", "launch_ready", 1);
    sweep.kill().unwrap();
    sweep.wait().unwrap();
    until("it is down", || !site.daemon.runs("shop"));
    let refused = site.run(&["resume", "run"]).expect(3);
    assert_eq!(last_line(&refused), DOWN, "whatever ends it: {}", refused.err);
    let ran = site.run(&["recover", "run"]).expect(3);
    assert!(ran.out.contains("not proven: OUTAGE_KEY is not set"), "{}", ran.out);
    assert!(site.daemon.runs("shop"), "started all the same");
    assert!(!ran.err.contains("PRODUCTION IS DOWN"), "it is not down: {}", ran.err);
}

#[test]
fn a_daemon_that_fails_before_the_first_launch_leaves_no_folder() {
    let site = Site::new("");
    let folder = site.place.path("run");
    let (mut ended, mut refused) = (0, 0);
    // Every connection begins with the daemon's version: each in turn is refused.
    loop {
        let asked = Arc::new(AtomicU32::new(0));
        let late = Arc::new(AtomicBool::new(false));
        let (count, is_late, seen) = (Arc::clone(&asked), Arc::clone(&late), folder.clone());
        site.proxy.by_request(move |line| {
            if !line.contains("/version") {
                return Fault::None;
            }
            // What is left of the run is asked for at its end.
            let begins = seen.exists() && !seen.join("launches").exists();
            is_late.fetch_or(begins, Ordering::SeqCst);
            let before = count.fetch_add(1, Ordering::SeqCst);
            if before == refused { Fault::Status(503, "starting") } else { Fault::None }
        });
        let ran = site.run(&["sweep", "grid.yaml", "--output", "run"]);
        assert!(
            !late.load(Ordering::SeqCst),
            "no connection is begun between the folder and the first launch"
        );
        site.assert_as_found();
        if ran.code == Some(0) {
            std::fs::remove_dir_all(&folder).unwrap();
        } else {
            assert_eq!(ran.code, Some(3), "{}", ran.err);
            assert!(!folder.exists(), "connection {refused}: {}", ran.err);
            ended += 1;
        }
        refused += 1;
        let connections = asked.load(Ordering::SeqCst);
        if refused >= connections.max(1) && ran.code == Some(0) {
            assert!(ended > 1, "{ended} of {connections} connections");
            return;
        }
    }
}

#[test]
fn production_that_somebody_replaced_is_in_the_report() {
    let replaced =
        "Production was replaced by somebody during the sweep: shop -> another, with other options";
    for (is_started, code) in [(false, 0), (true, 3)] {
        let site = Site::new("");
        let sweep = site.sweep("0.4");
        site.daemon.replace("shop", is_started);
        let ran = Ran::of(sweep.wait_with_output().unwrap()).expect(code);
        let said = letters(&format!("{} {}", ran.out, ran.err));
        assert!(said.contains(&letters(replaced)), "{} {}", ran.out, ran.err);
        assert!(!said.contains("PRODUCTIONISDOWN"), "{} {}", ran.out, ran.err);
        assert_eq!(said.contains("somebodystartedproduction(shop)"), is_started, "{said}");
        assert!(site.daemon.runs("another"), "it serves");
        assert_eq!(site.daemon.containers(), ["another"], "nothing of ours is left");
        let report = site.run(&["report", "run"]);
        assert!(letters(&report.out).contains(&letters(replaced)), "{}", report.out);
        let report = site.run(&["report", "run", "--format", "json"]);
        let report: serde_json::Value = serde_json::from_str(&report.out).unwrap();
        let kept = report.to_string();
        assert!(
            kept.contains("\"removed\":\"shop\"") && kept.contains("\"id\":\"another\""),
            "{kept}"
        );
        // Nothing is owed for a container that is no more.
        site.run(&["recover", "run"]).expect(0);
    }
}
