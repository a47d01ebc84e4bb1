//! Runs that are in each other's way, and what a killed one leaves: with the process
//! engine, whose servers are our own `simulate`, and with a stand-in for the Docker daemon.

use std::path::PathBuf;
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Ran, Workplace, signal, until};

const BINARY: &str = env!("CARGO_BIN_EXE_vllm-grid");

/// A grid of two configurations on the process engine. The mark tells its servers apart
/// from those of other tests.
fn grid(mark: &str) -> String {
    format!(
        "name: local\nengine:\n  process:\n    command: ['{BINARY}', simulate, Qwen/Qwen3-0.6B, --sim-speed, '40']\n    \
         flags: {{max-model-len: 4096, served-model-name: {mark}}}\n\
         parameters:\n  max-num-seqs: [8, 16]\n\
         workloads:\n  kv-cache: {{prefix-tokens: [512], prompts: 2, output-tokens: 4}}\n\
         objective: {{minimize: kv_cache.ttft_resent_ms}}\nstrategy: {{grid: {{launches: 1, repeats: 1, seed: 1}}}}\n"
    )
}

/// Living processes with this text among their arguments that were started by nobody else
/// than the process engine.
fn servers(mark: &str) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|it| it.file_name().to_str()?.parse::<i32>().ok());
    let has_mark = |id: &i32| {
        let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(" simulate ") && line.contains(mark)
    };
    ids.filter(has_mark).collect()
}

fn kill(mut child: Child) {
    signal(&child, Signal::KILL);
    child.wait().unwrap();
}

fn kill_servers(mark: &str) {
    for id in servers(mark) {
        let _gone = kill_process(Pid::from_raw(id).unwrap(), Signal::KILL);
    }
    until("the servers are gone", || servers(mark).is_empty());
}

/// A sweep in `run` that was killed when its first server was ready.
fn killed_at_ready(place: &Workplace, mark: &str) -> i32 {
    let sweep = place.start(&["sweep", "grid.yaml", "--output", "run"]);
    place.wait_for("run", "launch_ready", 1);
    kill(sweep);
    let left = servers(mark);
    assert_eq!(left.len(), 1, "an orphan");
    left[0]
}

fn words(ran: &Ran) -> String {
    let text = format!("{} {}", ran.out, ran.err);
    text.split(['\n', ' ', '│', '×', '╰', '─', '▶'])
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn a_resumed_run_has_one_server_at_a_time_whatever_its_dead_session_left() {
    let mark = "own-resumed";
    let place = Workplace::new(&grid(mark));
    let orphan = killed_at_ready(&place, mark);
    let mut resumed = place.start(&["resume", "run"]);
    let mut most = 0;
    loop {
        let now = servers(mark);
        most = most.max(now.len());
        let started = place.entries("run", "session_started") > 1;
        assert!(!started || !now.contains(&orphan), "it is gone before anything is launched");
        if resumed.try_wait().unwrap().is_some() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(3));
    }
    let resumed = Ran::of(resumed.wait_with_output().unwrap()).expect(0);
    assert_eq!(most, 1, "{}", resumed.err);
    assert!(words(&resumed).contains("killed the process of"), "{}", resumed.err);
    assert!(servers(mark).is_empty());
    let left: Vec<_> = std::fs::read_dir(place.path("state/debts")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Without any note, as after a kill between start and note: the environment tells.
#[test]
fn a_process_that_was_not_noted_is_found_by_its_environment() {
    let mark = "own-unnoted";
    let place = Workplace::new(&grid(mark));
    killed_at_ready(&place, mark);
    for launch in std::fs::read_dir(place.path("run/launches")).unwrap().flatten() {
        std::fs::remove_file(launch.path().join("process.json")).unwrap();
    }
    std::fs::remove_dir_all(place.path("state")).unwrap();
    let recovered = place.run(&["recover", "run"]).expect(0);
    assert!(recovered.out.contains("killed the process of"), "{}", recovered.out);
    assert!(servers(mark).is_empty());
    let again = place.run(&["recover", "run"]).expect(0);
    assert_eq!(again.out, "nothing to recover\n");
}

#[test]
fn what_a_dead_run_left_is_found_without_its_folder_and_in_a_renamed_one() {
    let mark = "own-moved";
    let place = Workplace::new(&grid(mark));
    killed_at_ready(&place, mark);
    // A new sweep, and the resumption of another run, are refused by name.
    let refused = place.run(&["sweep", "grid.yaml", "--output", "other"]).expect(3);
    let said = words(&refused);
    assert!(said.contains("that run is dead") && said.contains("vllm-grid recover"), "{said}");
    assert!(!place.path("other").exists(), "nothing was begun");
    let doctor = place.run(&["doctor", "grid.yaml"]).expect(3);
    assert!(doctor.out.contains("problem  leftovers: process"), "{}", doctor.out);

    std::fs::rename(place.path("run"), place.path("renamed")).unwrap();
    let recovered = place.run(&["recover", "renamed"]).expect(0);
    assert!(recovered.out.contains("killed the process of"), "{}", recovered.out);
    assert!(servers(mark).is_empty());
    let finished = place.run(&["resume", "renamed"]).expect(0);
    assert!(!words(&finished).contains("killed"), "{}", finished.err);

    killed_at_ready(&place, mark);
    let folder = place.path("run");
    std::fs::remove_dir_all(&folder).unwrap();
    // From elsewhere, by the path that it had.
    let mut elsewhere = place.command(&["recover", folder.to_str().unwrap()]);
    elsewhere.current_dir("/");
    let recovered = Ran::of(elsewhere.output().unwrap()).expect(0);
    assert!(recovered.out.contains("killed the process of"), "{}", recovered.out);
    assert!(servers(mark).is_empty());
}

/// Of the same user, with the same claims: its notes are where this one does not look.
#[test]
fn what_a_dead_run_of_another_state_folder_left_is_refused_and_removed() {
    let mark = "own-other-state";
    let place = Workplace::new(&grid(mark));
    let elsewhere = |arguments: &[&str], claims: &str| {
        let mut command = place.command(arguments);
        command.env("VLLM_GRID_STATE", place.path("other-state"));
        command.env("VLLM_GRID_CLAIMS", place.path(claims));
        Ran::of(command.output().unwrap())
    };
    for named in [true, false] {
        killed_at_ready(&place, mark);
        let manifest = std::fs::read_to_string(place.path("run/manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        let run = manifest["run_id"].as_str().unwrap();
        let refused =
            words(&elsewhere(&["sweep", "grid.yaml", "--output", "other"], "state").expect(3));
        let advice = format!("vllm-grid recover {run}");
        assert!(refused.contains("that run is dead") && refused.contains(&advice), "{refused}");
        assert!(!place.path("other").exists(), "nothing was begun");
        let doctor = elsewhere(&["doctor", "grid.yaml"], "state").expect(3);
        assert!(doctor.out.contains("problem  leftovers: process"), "{}", doctor.out);
        elsewhere(&["recover", run], "other-claims").expect(3);
        assert_eq!(servers(mark).len(), 1, "that run may live, by its claims");
        // Without a name, the daemon that is named is asked for labels, and does not answer.
        let recovered = if named {
            elsewhere(&["recover", run], "state").expect(0)
        } else {
            elsewhere(&["recover"], "state").expect(3)
        };
        let killed = format!("killed the process of the run {run}");
        assert!(recovered.out.contains(&killed), "{}", recovered.out);
        assert!(servers(mark).is_empty());
        std::fs::remove_dir_all(place.path("run")).unwrap();
    }
}

#[test]
fn two_sweeps_of_one_machine_do_not_run_at_once_and_a_living_one_is_not_touched() {
    let mark = "own-two";
    let place = Workplace::new(&grid(mark));
    let mut first = place.start(&["sweep", "grid.yaml", "--output", "run"]);
    place.wait_for("run", "launch_ready", 1);
    let second = place.run(&["sweep", "grid.yaml", "--output", "other"]).expect(3);
    let said = words(&second);
    let holder = format!("process {}", first.id());
    for part in ["this machine's CPU", &holder, "/run", "since", "nothing was launched"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!place.path("other").exists());
    // Wherever its folder is. Stopped, so that it does not notice the move meanwhile.
    signal(&first, Signal::STOP);
    std::fs::rename(place.path("run"), place.path("moved")).unwrap();
    // Without a name, labels are asked for, and the daemon that is named does not answer.
    for (arguments, exit) in
        [(&["recover", "moved"][..], 0), (&["recover", "run"], 0), (&["recover"], 3)]
    {
        let recovered = place.run(arguments).expect(exit);
        let (moved, begun) = (place.path("moved"), place.path("run"));
        let now = format!("{} (begun as {})", moved.display(), begun.display());
        let said = format!("not touched, it is running: {now}");
        assert!(recovered.out.contains(&said), "{}", recovered.out);
    }
    assert_eq!(servers(mark).len(), 1);
    let refused = place.run(&["resume", "moved"]).expect(3);
    assert!(words(&refused).contains(&holder), "{}", refused.err);
    signal(&first, Signal::KILL);
    first.wait().unwrap();
    kill_servers(mark);
}

#[test]
fn a_folder_that_nobody_knows_is_said_and_a_run_that_left_nothing_is_fine() {
    let place = Workplace::new(&grid("own-none"));
    let recovered = place.run(&["recover", "nowhere"]).expect(3);
    assert!(recovered.out.contains("nowhere holds no run"), "{}", recovered.out);
    let unasked = place.run(&["recover"]).expect(3);
    assert!(unasked.out.contains("/nonexistent/docker.sock"), "{}", unasked.out);
    assert!(!unasked.out.contains("nothing to recover"), "{}", unasked.out);
    let torn = place.path("state/debts/0123456789abcdef0123456789abcdef.production.json");
    std::fs::write(&torn, "").unwrap();
    let recovered = place.run(&["recover"]).expect(3);
    assert!(recovered.out.contains("docker ps -a"), "{}", recovered.out);
    std::fs::remove_file(torn).unwrap();
    let owned_by_nobody: PathBuf = place.path("grid.yaml").join("state");
    let mut command = place.command(&["recover"]);
    command.env("VLLM_GRID_STATE", owned_by_nobody);
    let refused = Ran::of(command.output().unwrap()).expect(3);
    assert!(
        words(&refused).contains("not done: the state folder cannot be used"),
        "{}",
        refused.out
    );
    // A folder that depends on where one is holds no debt that is found again.
    for arguments in [&["recover"][..], &["sweep", "grid.yaml", "--output", "new"]] {
        let mut command = place.command(arguments);
        command.env("VLLM_GRID_STATE", "here/state");
        let refused = Ran::of(command.output().unwrap()).expect(3);
        assert!(words(&refused).contains("is relative (here/state)"), "{}", words(&refused));
    }
    assert!(!place.path("here").exists() && !place.path("new").exists());
}
