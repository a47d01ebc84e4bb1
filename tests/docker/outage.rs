//! A real daemon behind a proxy that fails in mid-sweep.

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use crate::support::proxy::{Fault, Proxy};
use crate::{Site, code, read, text};

/// The sweep of a site whose daemon is asked through the proxy, with a measurement of some
/// seconds.
fn sweep(site: &Site, patience: &str) -> (Proxy, Child) {
    let grid = site.folder.path().join("grid.yaml");
    let text = read(&grid);
    let (head, _) = text.split_once("workloads:").unwrap();
    let measured = "workloads:\n  load: {concurrency: 2, duration: 3, prompt-tokens: 64, output-tokens: 16}\n\
                    objective: {maximize: load.output_throughput}\nstrategy: {grid: {launches: 1, repeats: 1, seed: 1}}\n";
    std::fs::write(&grid, format!("{head}{measured}")).unwrap();
    let socket = site.folder.path().join("d.sock");
    let proxy = Proxy::start(socket, Path::new("/var/run/docker.sock"));
    let mut command = site.command(&["sweep", "grid.yaml", "--output", "run"]);
    command.env("DOCKER_HOST", proxy.host()).env("VLLM_GRID_DAEMON_PATIENCE", patience);
    (proxy, command.spawn().unwrap())
}

#[test]
#[ignore = "needs Docker"]
fn a_daemon_that_fails_for_a_moment_costs_no_repeat() {
    let site = Site::new("");
    let (proxy, sweep) = sweep(&site, "120");
    for (launch, fault) in [Fault::Refuse, Fault::Stall].into_iter().enumerate() {
        site.until_journalled("launch_ready", launch + 1);
        proxy.during(fault, Duration::from_millis(500));
        proxy.during(Fault::Reset, Duration::from_millis(200));
        proxy.during(Fault::Status(503, "starting"), Duration::from_millis(200));
    }
    // While the candidate is stopped and production started, too.
    site.until_journalled("repeat_finished", 4);
    proxy.during(Fault::Refuse, Duration::from_millis(800));
    let (code, printed) = code(sweep);
    assert_eq!(code, Some(0), "{printed}");
    site.assert_as_found();
    assert!(!site.journal().contains("\"status\":\"void\""), "{}", site.journal());
    assert!(!printed.contains("PRODUCTION IS DOWN"), "{printed}");
}

#[test]
#[ignore = "needs Docker"]
fn a_daemon_that_stalls_for_good_ends_the_sweep_and_is_recovered() {
    let site = Site::new("");
    let (proxy, sweep) = sweep(&site, "3");
    site.until_journalled("launch_ready", 1);
    proxy.set(Fault::Stall);
    let stalled = Instant::now();
    let (code, printed) = code(sweep);
    assert_eq!(code, Some(3), "{printed}");
    // Half a minute is the longest that one question may take.
    assert!(stalled.elapsed() < Duration::from_mins(3), "{:?}", stalled.elapsed());
    let last = printed.trim_end().lines().next_back().unwrap_or_default();
    let name = site.folder.path().file_name().unwrap().to_str().unwrap();
    assert!(last.starts_with("PRODUCTION IS DOWN: container "), "{printed}");
    assert!(last.contains(&format!("{name}-production ({})", &site.production[..12])), "{last}");
    assert!(last.contains("`vllm-grid recover run`"), "{last}");
    assert!(!site.production_runs() && site.candidates().len() == 1);
    // What is owed is asked for where it was stopped: by that daemon's socket.
    proxy.set(Fault::None);
    let recovered = site.command(&["recover", "run"]).output().unwrap();
    assert!(recovered.status.success(), "{}", text(&recovered));
    site.assert_as_found();
}
