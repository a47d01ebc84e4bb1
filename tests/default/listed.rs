//! `list`: the runs below a folder.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{CACHING, Workplace};

fn example() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("runs/example")
}

/// A run of the place: the shipped one, begun at this time.
fn run(place: &Workplace, name: &str, created_at: &str) {
    let folder = place.path(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(example().join("journal.jsonl"), folder.join("journal.jsonl")).unwrap();
    let text = std::fs::read_to_string(example().join("manifest.json")).unwrap();
    let mut manifest: Value = serde_json::from_str(&text).unwrap();
    manifest["created_at"] = json!(created_at);
    std::fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
}

#[test]
fn runs_are_listed_newest_first_and_broken_ones_with_the_reason() {
    let place = Workplace::new(CACHING);
    run(&place, "runs/old", "2026-11-01T01:02:03Z");
    run(&place, "runs/host/new", "2026-11-28T23:59:00Z");
    // Half of its journal was never written: it was killed.
    run(&place, "runs/killed", "2026-11-20T00:00:00Z");
    let journal = place.path("runs/killed/journal.jsonl");
    let text = std::fs::read_to_string(&journal).unwrap();
    let half: Vec<&str> = text.lines().take(30).collect();
    std::fs::write(&journal, half.join("\n") + "\n").unwrap();
    run(&place, "runs/damaged", "2026-11-10T00:00:00Z");
    std::fs::write(place.path("runs/damaged/journal.jsonl"), "{\"x\":\n{}\n").unwrap();
    std::fs::create_dir_all(place.path("runs/lost/launches")).unwrap();
    std::fs::write(place.path("runs/lost/journal.jsonl"), "").unwrap();
    std::fs::create_dir_all(place.path("runs/notes")).unwrap();
    let ran = place.run(&["list", "--format", "json"]).expect(0);
    let listed: Value = serde_json::from_str(&ran.out).unwrap();
    let runs = listed["runs"].as_array().unwrap();
    let names: Vec<&str> = runs.iter().map(|run| run["run"].as_str().unwrap()).collect();
    let expected = ["runs/host/new", "runs/killed", "runs/damaged", "runs/old", "runs/lost"];
    assert_eq!(names, expected);
    let new = &runs[0];
    assert_eq!((&new["simulated"], &new["engine"]), (&json!(true), &json!("simulated")));
    assert_eq!(new["extent"]["state"], "complete");
    assert_eq!(new["verdict"]["result"], "better");
    assert_eq!(
        (&new["candidate"], &new["confirmed"]),
        (&json!("prefix-util0.82-seqs64"), &json!(false))
    );
    assert_eq!(runs[1]["extent"]["state"], "interrupted");
    for broken in [&runs[2], &runs[4]] {
        assert!(broken["error"].is_string() && broken.get("verdict").is_none(), "{broken}");
    }
    assert_eq!(runs[2]["created_at"], "2026-11-10T00:00:00Z", "its manifest can be read");
    let text = place.run(&["list"]).expect(0).out;
    assert!(text.contains("2026-11-28 23:59") && text.contains("SIMULATED"), "{text}");
    assert!(text.contains("prefix-util0.82-seqs64 (unconfirmed)"), "{text}");
    assert!(text.contains("better than plain, unconfirmed"), "{text}");
    assert!(text.contains("cannot be read"), "{text}");
    assert!(text.contains("runs/lost: "), "{text}");
}

/// A container or a process can hold the simulator: its launches say so, not the manifest.
#[test]
fn a_run_whose_servers_were_the_simulator_is_listed_as_simulated() {
    let place = Workplace::new(CACHING);
    run(&place, "runs/process", "2026-11-01T01:02:03Z");
    run(&place, "runs/damaged", "2026-11-01T01:02:04Z");
    for name in ["runs/process", "runs/damaged"] {
        let path = place.path(name).join("manifest.json");
        let mut manifest: Value =
            serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        manifest["simulated"] = json!(false);
        manifest["engine"] = json!("process");
        std::fs::write(&path, manifest.to_string()).unwrap();
    }
    std::fs::write(place.path("runs/damaged/journal.jsonl"), "{\"x\":\n{}\n").unwrap();
    let ran = place.run(&["list", "--format", "json"]).expect(0);
    let listed: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(listed["runs"][1]["simulated"], json!(true));
    // Nobody knows what the servers of a journal were that cannot be read.
    assert_eq!(listed["runs"][0]["simulated"], Value::Null);
}

#[test]
fn a_run_itself_can_be_named_and_a_folder_without_runs_says_so() {
    let place = Workplace::new(CACHING);
    let ran = place.run(&["list", example().to_str().unwrap(), "--format", "json"]).expect(0);
    let listed: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(listed["runs"].as_array().unwrap().len(), 1);
    std::fs::create_dir(place.path("empty")).unwrap();
    assert_eq!(place.run(&["list", "empty"]).expect(0).out, "no run below empty\n");
    assert!(place.run(&["list", "missing"]).expect(2).err.contains("missing"));
}
