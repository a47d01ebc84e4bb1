//! A `recover` that is stopped by one signal, and one whose state folder holds what is no
//! plain file: it ends, and says what is still owed.

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;

use super::*;
use crate::support::{PATIENCE, in_time_command, signal, until};

fn note(site: &Site, run: &str) -> PathBuf {
    site.place.path(&format!("state/debts/{run}.production.json"))
}

/// What a command says that must end soon, though it would wait for long, and its exit code.
fn ended(mut child: Child) -> (String, Option<i32>) {
    let begun = std::time::Instant::now();
    until("it ends", || child.try_wait().unwrap().is_some());
    assert!(begun.elapsed() < PATIENCE / 4, "{:?}", begun.elapsed());
    let ran = Ran::of(child.wait_with_output().unwrap());
    (words(&ran), ran.code)
}

#[test]
fn the_first_signal_ends_a_recover_that_waits_for_an_answer_of_production() {
    let mut site = Site::new();
    site.server.kill().unwrap();
    let (folder, run) = site.owes();
    let path = folder.display().to_string();
    for arguments in [&["recover"][..], &["recover", &path]] {
        // A proof may take 45 minutes.
        let recover = site.command(arguments, Some(KEY)).spawn().unwrap();
        until("it is started", || site.is_running());
        std::thread::sleep(std::time::Duration::from_millis(300));
        signal(&recover, Signal::INT);
        let (said, code) = ended(recover);
        assert_eq!(code, Some(4), "{said}");
        for part in ["not done:", "is not proven: a stop was asked for", "vllm-grid recover"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(site.is_running() && note(&site, &run).exists(), "it is owed still");
        site.state.lock().unwrap().running = false;
    }
}

/// Neither is the run: what the first one does, it is called.
#[test]
fn a_recover_beside_another_one_calls_it_so() {
    let mut site = Site::new();
    site.server.kill().unwrap();
    let (folder, run) = site.owes();
    let first = site.command(&["recover"], Some(KEY)).spawn().unwrap();
    until("it is started", || site.is_running());
    let path = folder.display().to_string();
    let (who, host) = (format!("pid {} of", first.id()), format!("host {}", Holder::this().host));
    for arguments in [&["recover"][..], &["recover", &path], &["recover", &run]] {
        let said = words(&site.run(arguments, Some(KEY)).expect(0));
        let start = "not touched, it is being recovered:";
        for part in [start, "another `recover`", &who, &host] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(letters(&said).contains(&letters(&format!("folder {path}"))), "{said}");
        assert!(!said.contains("it is running"), "{said}");
    }
    let said = words(&site.run(&["sweep", "grid.yaml"], Some(KEY)).expect(3));
    assert!(said.contains("production (shop-vllm) is in use: a `recover`"), "{said}");
    assert!(said.contains(&who) && said.contains("Wait until it ends"), "{said}");
    // Of another state folder, whose notes it does not see: by its name and its arguments.
    let elsewhere = Workplace::new(GRID);
    site.owes_in(&elsewhere, Holder { started: 1, ..Holder::this() });
    let mut command = elsewhere.command(&["recover"]);
    command.env("DOCKER_HOST", site.socket()).env("VLLM_GRID_CLAIMS", site.place.path("state"));
    let said = words(&Ran::of(command.output().unwrap()).expect(3));
    assert!(said.contains("in use: another `recover`") && said.contains(&who), "{said}");
    signal(&first, Signal::INT);
    assert_eq!(ended(first).1, Some(4));
}

#[test]
fn the_first_signal_ends_a_recover_that_cannot_start_production() {
    let site = Site::new();
    let (_, run) = site.owes();
    site.state.lock().unwrap().broken = true;
    let mut command = site.command(&["recover"], Some(KEY));
    command.env("VLLM_GRID_DAEMON_PATIENCE", "600");
    let recover = command.spawn().unwrap();
    until("it was tried", || site.state.lock().unwrap().refused > 0);
    signal(&recover, Signal::TERM);
    let (said, code) = ended(recover);
    // As of a sweep: production that is down counts more.
    assert_eq!(code, Some(3), "{said}");
    for part in ["PRODUCTION IS DOWN: container shop-vllm", "a stop was asked for", "docker start"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(note(&site, &run).exists());
    site.state.lock().unwrap().broken = false;
    site.run(&["recover"], Some(KEY)).expect(0);
    assert!(site.is_running());
}

#[test]
fn the_first_signal_ends_a_recover_whose_daemon_stalls_and_names_what_is_noted() {
    let site = Site::new();
    let (folder, run) = site.owes();
    site.state.lock().unwrap().stalls = true;
    let mut command = site.command(&["recover"], Some(KEY));
    command.env("VLLM_GRID_DAEMON_PATIENCE", "600");
    let recover = command.spawn().unwrap();
    until("it asks", || site.state.lock().unwrap().asked > 0);
    signal(&recover, Signal::INT);
    let (said, code) = ended(recover);
    assert_eq!(code, Some(4), "{said}");
    for part in ["PRODUCTION IS DOWN: container shop-vllm", "is not known: a stop was asked for"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(letters(&said).contains(&letters(&folder.display().to_string())), "{said}");
    assert!(note(&site, &run).exists() && !site.is_running());
}

#[test]
fn what_is_no_plain_file_in_the_state_folder_is_said_and_nothing_waits_for_it() {
    let site = Site::new();
    let (_, run) = site.owes();
    let state = site.place.path("state");
    std::fs::create_dir_all(state.join("settled")).unwrap();
    let _none = std::fs::remove_file(state.join("id"));
    let session = format!("sessions/{run}.lock");
    let others = ["debts/x.json", "debts/y.production.json", "settled/x.json", "id", &session];
    for name in others {
        let pipe = state.join(name);
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }
    let said = words(&in_time_command(site.command(&["recover"], Some(KEY))).expect(3));
    let letters_said = letters(&said);
    for name in ["debts/x.json", "debts/y.production.json", &session] {
        assert!(letters_said.contains(name), "{name}: {said}");
    }
    assert!(said.contains("this is a pipe, not a file"), "{said}");
    assert!(said.contains("which one is not known"), "a production may be owed: {said}");
    // What can be read is followed all the same.
    assert!(site.is_running() && !note(&site, &run).exists(), "{said}");
    for arguments in
        [&["recover", "elsewhere"][..], &["doctor", "grid.yaml"], &["sweep", "grid.yaml"]]
    {
        let said = words(&in_time_command(site.command(arguments, Some(KEY))).expect(3));
        assert!(said.contains("this is a pipe, not a file"), "{arguments:?}: {said}");
    }
}
