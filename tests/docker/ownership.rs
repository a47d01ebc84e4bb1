//! What a killed sweep left on a real daemon: removed before anything is launched beside it,
//! found without the run's folder, and in nobody's hands while its run lives.

use rustix::process::Signal;

use crate::{Site, docker, signal, text};

/// A sweep that was killed when its first candidate was ready.
fn killed(site: &Site) -> String {
    let mut sweep = site.sweep();
    site.until_journalled("launch_ready", 1);
    signal(&sweep, Signal::KILL);
    sweep.wait().unwrap();
    assert!(!site.production_runs());
    let left = site.candidates();
    assert_eq!(left.len(), 1);
    left[0].clone()
}

#[test]
#[ignore = "needs Docker"]
fn a_resumed_sweep_removes_what_its_dead_session_left_before_it_launches() {
    let site = Site::alone("");
    let orphan = killed(&site);
    let mut resumed = site.command(&["resume", "run"]).spawn().unwrap();
    let mut most = 0;
    while resumed.try_wait().unwrap().is_none() {
        let now = site.candidates();
        most = most.max(now.len());
        let begun = site.journal().matches("\"kind\":\"session_started\"").count() > 1;
        assert!(!begun || !now.contains(&orphan), "{now:?}");
    }
    let printed = text(&resumed.wait_with_output().unwrap());
    assert_eq!(most, 1, "{printed}");
    assert!(printed.contains("removed container"), "{printed}");
    site.assert_as_found();
}

#[test]
#[ignore = "needs Docker"]
fn nothing_is_launched_beside_a_dead_run_and_its_folder_is_not_needed_to_recover_it() {
    let site = Site::alone("");
    killed(&site);
    let labels = docker(&["inspect", "-f", "{{json .Config.Labels}}", &site.candidates()[0]]);
    for label in ["vllm-grid.run", "vllm-grid.holder", "vllm-grid.uses\":\"cpu\""] {
        assert!(labels.contains(label), "{label}: {labels}");
    }
    let other = site.command(&["sweep", "grid.yaml", "--output", "other"]).output().unwrap();
    let printed = text(&other);
    assert_eq!(other.status.code(), Some(3), "{printed}");
    assert!(
        printed.contains("PRODUCTION IS DOWN") && printed.contains("that run is dead"),
        "{printed}"
    );
    let doctor = site.command(&["doctor", "grid.yaml"]).output().unwrap();
    let printed = text(&doctor);
    assert_eq!(doctor.status.code(), Some(3), "{printed}");
    assert!(
        printed.contains("PRODUCTION IS DOWN") && !printed.contains("not changed"),
        "{printed}"
    );

    std::fs::remove_dir_all(site.run()).unwrap();
    let folder = site.run().display().to_string();
    let mut recover = site.command(&["recover", &folder]);
    let recovered = recover.current_dir("/").output().unwrap();
    let printed = text(&recovered);
    assert!(recovered.status.success(), "{printed}");
    assert!(printed.contains("production runs and answers again"), "{printed}");
    assert!(site.production_runs() && site.candidates().is_empty());
    let again = site.command(&["recover"]).output().unwrap();
    assert!(text(&again).contains("nothing to recover"), "{}", text(&again));
}

#[test]
#[ignore = "needs Docker"]
fn a_living_sweep_is_not_touched_wherever_its_folder_is_and_excludes_others() {
    let site = Site::alone("");
    let mut sweep = site.sweep();
    site.until_journalled("launch_ready", 1);
    // Stopped, so that it neither ends nor notices the move meanwhile: reading the compose file
    // takes the second one seconds.
    signal(&sweep, Signal::STOP);
    let second = site.command(&["sweep", "grid.yaml", "--output", "other"]).output().unwrap();
    let printed = text(&second);
    assert_eq!(second.status.code(), Some(3), "{printed}");
    assert!(
        printed.contains("is in use") && printed.contains(&sweep.id().to_string()),
        "{printed}"
    );
    let moved = site.folder.path().join("moved");
    std::fs::rename(site.run(), &moved).unwrap();
    let recovered = site.command(&["recover", "moved"]).output().unwrap();
    let printed = text(&recovered);
    assert!(printed.contains("not touched, it is running"), "{printed}");
    assert!(!site.production_runs() && site.candidates().len() == 1, "{printed}");
    signal(&sweep, Signal::KILL);
    sweep.wait().unwrap();
    let recovered = site.command(&["recover", "moved"]).output().unwrap();
    let printed = text(&recovered);
    assert!(recovered.status.success() && printed.contains("removed container"), "{printed}");
    assert!(site.production_runs() && site.candidates().is_empty());
}

#[test]
#[ignore = "needs Docker"]
fn a_confirmation_that_is_killed_is_recovered_and_continued() {
    let site = Site::alone("baseline: noprefix\n");
    let swept = site.command(&["sweep", "grid.yaml", "--output", "run"]).output().unwrap();
    assert!(swept.status.success(), "{}", text(&swept));
    let asked = ["confirm", "run", "--claim", "100%", "--configuration", "prefix"];
    let launched = site.journal().matches("\"kind\":\"launch_ready\"").count();
    let mut confirm = site.command(&asked).spawn().unwrap();
    site.until_journalled("launch_ready", launched + 1);

    let living = site.command(&["recover", "run"]).output().unwrap();
    assert!(text(&living).contains("not touched, it is running"), "{}", text(&living));
    assert!(confirm.try_wait().unwrap().is_none() && site.candidates().len() == 1);
    signal(&confirm, Signal::KILL);
    confirm.wait().unwrap();
    assert!(!site.production_runs() && site.candidates().len() == 1);

    let recovered = site.command(&["recover", "run"]).output().unwrap();
    assert!(recovered.status.success(), "{}", text(&recovered));
    site.assert_as_found();
    let resumed = site.command(&["resume", "run"]).output().unwrap();
    let printed = text(&resumed);
    assert!(printed.contains("continues confirmation 1: prefix against "), "{printed}");
    assert!(site.journal().contains("\"kind\":\"confirmation_ended\""), "{printed}");
    site.assert_as_found();
}
