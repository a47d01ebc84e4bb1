//! A sweep from a grid file to ranked results, on the simulated engine, through
//! the command that a person runs.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use crate::support::{CACHING, Ran, Workplace, numbers, signal, texts, until};
use rustix::process::{Pid, Signal, kill_process_group};

#[test]
fn a_grid_file_becomes_a_ranked_table_with_csv_and_parquet_all_marked_as_simulated() {
    let place = Workplace::new(CACHING);
    let ran = place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    assert!(ran.out.to_uppercase().contains("SIMULATED"), "{}", ran.out);
    for name in ["grid.yaml", "manifest.json", "journal.jsonl", "results.csv", "ranking.csv"] {
        assert!(place.path("run").join(name).is_file(), "{name}");
    }

    let results = place.results("run");
    assert_eq!(results.height(), 2 * 2 * 3, "two launches of two, a warm-up and two repeats each");
    assert!(texts(&results, "simulated").iter().all(|value| value.as_deref() == Some("true")));
    for (caching, state) in texts(&results, "flag.enable-prefix-caching")
        .iter()
        .zip(texts(&results, "kv_cache.hit_state"))
    {
        let expected =
            if caching.as_deref() == Some("true") { "certified" } else { "not_applicable" };
        assert_eq!(state.as_deref(), Some(expected));
    }

    let ranking = place.ranking("run");
    assert_eq!(texts(&ranking, "configuration"), [Some("prefix".into()), Some("noprefix".into())]);
    let resent = numbers(&ranking, "kv_cache.ttft_resent_ms.geomean");
    assert!(resent[1].unwrap() > 3.0 * resent[0].unwrap(), "caching shows: {resent:?}");
}

/// Each table is one that the others do not wait for.
#[test]
fn a_table_that_cannot_be_written_hides_no_result() {
    let place = Workplace::new(CACHING);
    let whole = place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    assert!(whole.out.contains("RESULT"), "{}", whole.out);
    for (in_the_way, other) in [("results.csv", "ranking.csv"), ("ranking.csv", "results.csv")] {
        let at = |name: &str| place.path("run").join(name);
        std::fs::remove_file(at(in_the_way)).unwrap();
        std::fs::remove_file(at(other)).unwrap();
        std::fs::create_dir(at(in_the_way)).unwrap();
        let ran = place.run(&["resume", "run"]).expect(3);
        for part in ["RESULT", "noprefix"] {
            assert!(ran.out.contains(part), "{part}: {}", ran.out);
        }
        let said = ran.err.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(in_the_way), "{said}");
        assert!(said.contains("`vllm-grid export run` writes"), "{said}");
        assert!(at(other).is_file(), "the others are written");
        std::fs::remove_dir(at(in_the_way)).unwrap();
        place.run(&["export", "run"]).expect(0);
        assert!(at(in_the_way).is_file());
    }
}

#[test]
fn requested_and_effective_values_are_columns_of_the_same_row() {
    let place = Workplace::new(CACHING);
    place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    let results = place.results("run");
    assert_eq!(
        texts(&results, "flag.enable-prefix-caching"),
        texts(&results, "effective.enable-prefix-caching")
    );
    let lengths = texts(&results, "effective.max-model-len");
    assert!(lengths.iter().all(|value| value.as_deref() == Some("8192")), "{lengths:?}");
}

#[test]
fn launches_are_ranked_and_bounded_by_what_they_are_themselves() {
    let grid = "\
name: launches
engine: {simulated: {model: Qwen/Qwen3-0.6B, gpu: rtx-4090, speed: 200}}
parameters: {gpu-memory-utilization: [0.5, 0.6, 0.9], max-model-len: 8192}
workloads: {kv-cache: {prefix-tokens: 300, prompts: 1}}
objective:
  maximize: launch.kv_cache_windows
  constraints: [{metric: launch.kv_cache_tokens, min: 100000}, {metric: launch.boot_seconds, max: 1e6}]
strategy: {grid: {launches: 2, repeats: 3}}
";
    let place = Workplace::new(grid);
    place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    let results = place.results("run");
    let tokens = numbers(&results, "launch.kv_cache_tokens");
    assert!(tokens.iter().all(Option::is_some), "in each row of the launch: {tokens:?}");
    assert!(numbers(&results, "launch.gpu_memory_mib").iter().all(Option::is_none));
    let ranking = place.ranking("run");
    let names = texts(&ranking, "configuration");
    assert!(names[0].as_deref().unwrap().contains("0.9"), "{names:?}");
    let windows = numbers(&ranking, "launch.kv_cache_windows.geomean");
    let of_tokens = numbers(&ranking, "launch.kv_cache_tokens.geomean");
    assert!(windows[0] > windows[1], "{windows:?}");
    let ratio = of_tokens[0].unwrap() / windows[0].unwrap();
    assert!((ratio - 8192.0).abs() < 1e-6, "{ratio}");
    assert!(numbers(&ranking, "launch.boot_seconds.geomean").iter().all(Option::is_some));
    // Two launches are two values, whatever their repeats.
    let report = place.run(&["report", "run", "--format", "json"]).expect(0);
    let json: serde_json::Value = serde_json::from_str(&report.out).expect("JSON");
    let text = json.to_string();
    assert!(text.contains("launch.kv_cache_windows"), "{text}");
    place.run(&["report", "run"]).expect(0);
    place.run(&["export", "run"]).expect(0);
}

#[test]
fn every_signal_stops_cleanly_and_resume_measures_nothing_twice() {
    for (stop, code) in [(Signal::INT, 4), (Signal::TERM, 4), (Signal::HUP, 4)] {
        let place = Workplace::new(CACHING);
        let child = place.start(&["sweep", "grid.yaml", "--output", "run"]);
        place.wait_for("run", "repeat_finished", 4);
        signal(&child, stop);
        let ran = Ran::of(child.wait_with_output().unwrap()).expect(code);
        assert!(place.path("run").join("results.csv").is_file(), "kept: {}", ran.err);
        assert!(place.results("run").height() >= 4);

        place.run(&["resume", "run"]).expect(0);
        complete_and_nothing_twice(&place);
    }
}

#[test]
fn a_hangup_that_the_sweep_was_told_to_ignore_does_not_end_it() {
    let place = Workplace::new(CACHING);
    let shell = place.command(&[]);
    // As `nohup` does.
    let script = "trap '' HUP; exec \"$0\" sweep grid.yaml --output run";
    let mut ignoring = Command::new("sh");
    ignoring.arg("-c").arg(script).arg(shell.get_program()).current_dir(place.path("."));
    ignoring.envs(shell.get_envs().filter_map(|(name, value)| Some((name, value?))));
    ignoring.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = ignoring.spawn().unwrap();
    place.wait_for("run", "repeat_finished", 1);
    signal(&child, Signal::HUP);
    Ran::of(child.wait_with_output().unwrap()).expect(0);
    complete_and_nothing_twice(&place);
}

#[test]
fn a_sweep_that_was_killed_is_resumed_where_it_was() {
    let place = Workplace::new(CACHING);
    let mut child = place.start(&["sweep", "grid.yaml", "--output", "run"]);
    place.wait_for("run", "repeat_finished", 2);
    child.kill().unwrap();
    child.wait().unwrap();
    let before = place.entries("run", "repeat_finished");

    place.run(&["resume", "run"]).expect(0);
    assert!(place.entries("run", "repeat_finished") > before);
    complete_and_nothing_twice(&place);
}

#[test]
fn a_sweep_of_an_older_version_goes_on_with_its_own_launches_and_order() {
    let grid = CACHING.replace("launches: 2, repeats: 2", "launches: 1, repeats: 1");
    let place = Workplace::new(&grid.replace("speed: 20", "speed: 100"));
    place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    // As if defaults had been others when it began: the grid's text is the same.
    let path = place.path("run/manifest.json");
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    manifest["strategy"]["grid"]["launches"] = 3.into();
    manifest.as_object_mut().unwrap().remove("order").expect("it is written");
    std::fs::write(&path, manifest.to_string()).unwrap();
    place.run(&["resume", "run"]).expect(0);
    let journal = place.journal("run");
    let entries = journal.iter().map(|line| &line["line"]["entry"]);
    let order: Vec<&str> = entries
        .filter(|entry| entry["kind"] == "launch_started")
        .map(|entry| entry["configuration"].as_str().unwrap())
        .collect();
    assert_eq!(order.len(), 6, "{order:?}");
    assert!(order[1..].windows(2).any(|pair| pair[0] == pair[1]), "shuffled blocks: {order:?}");
}

/// Each configuration has twice two kept repeats, each (trial, repeat) once.
fn complete_and_nothing_twice(place: &Workplace) {
    let journal = place.journal("run");
    let entries = || journal.iter().map(|line| &line["line"]["entry"]);
    let trial = |launch: &serde_json::Value| {
        let started =
            entries().find(|entry| entry["kind"] == "launch_started" && entry["launch"] == *launch);
        started.unwrap()["slot"].as_u64().unwrap()
    };
    let mut seen = HashSet::new();
    for entry in entries().filter(|entry| entry["kind"] == "repeat_finished") {
        let repeat = entry["measurement"]["repeat"].as_u64().unwrap();
        if repeat > 0 {
            assert!(seen.insert((trial(&entry["launch"]), repeat)), "measured twice: {entry}");
        }
    }
    assert_eq!(seen.len(), 2 * 2 * 2);
    let ranking = place.ranking("run");
    assert_eq!(numbers(&ranking, "repeats"), [Some(4.0), Some(4.0)]);
}

#[test]
fn resume_refuses_when_the_grid_changed() {
    let place = Workplace::new(CACHING);
    place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    std::fs::write(place.path("grid.yaml"), CACHING.replace("seed: 1}}", "seed: 2}}")).unwrap();
    let ran = place.run(&["resume", "run"]).expect(2);
    assert!(ran.err.contains("grid changed"), "{}", ran.err);
}

#[test]
fn the_original_is_found_from_any_folder() {
    let place = Workplace::new(CACHING);
    place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    std::fs::write(place.path("grid.yaml"), CACHING.replace("seed: 1}}", "seed: 2}}")).unwrap();
    let mut command = place.command(&["resume", place.path("run").to_str().unwrap()]);
    Ran::of(command.current_dir("/").output().unwrap()).expect(2);
}

#[test]
fn what_the_simulator_does_not_know_is_reported_before_anything_runs() {
    for (known, unknown) in [("rtx-4090", "rtx-9999"), ("Qwen3-8B", "Llama-9")] {
        let place = Workplace::new(&CACHING.replace(known, unknown));
        for command in ["plan", "sweep"] {
            let ran = place.run(&[command, "grid.yaml"]).expect(2);
            assert!(ran.err.contains(unknown) && ran.err.contains("it knows"), "{}", ran.err);
        }
        assert!(!place.path("runs").exists());
    }
}

#[test]
fn a_sweep_has_one_writer() {
    let place = Workplace::new(CACHING);
    let child = place.start(&["sweep", "grid.yaml", "--output", "run"]);
    place.wait_for("run", "repeat_finished", 1);
    let ran = place.run(&["resume", "run"]).expect(3);
    assert!(ran.err.contains(&format!("process {}", child.id())), "{}", ran.err);
    // A report disturbs nobody.
    let ran = place.run(&["report", "run"]);
    assert!(ran.out.contains("launches are over. The sweep is running."), "{}", ran.out);
    assert!(ran.out.contains("vllm-grid report run"), "{}", ran.out);
    let data = place.run(&["report", "run", "--format", "json"]);
    let data: serde_json::Value = serde_json::from_str(&data.out).unwrap();
    assert_eq!(data["extent"]["state"], "running", "{data}");
    signal(&child, Signal::INT);
    let stopped = Ran::of(child.wait_with_output().unwrap()).expect(4);
    let report = place.run(&["report", "run"]);
    for out in [&stopped.out, &report.out] {
        assert!(out.contains("launches are over. The sweep was interrupted."), "{out}");
        assert!(out.contains("NEXT     vllm-grid resume run    ("), "{out}");
    }
}

#[test]
fn a_second_signal_ends_the_process_at_once_and_says_how_to_continue() {
    // A server that does not end when it is asked to is what a person is impatient with.
    let script = "echo $$ > server.pid; trap : TERM; while :; do sleep 0.1; done";
    let process = "process: {command: [sh, server.sh], flags: {max-model-len: 8192}}";
    let grid = CACHING.lines().map(|line| {
        if line.starts_with("  simulated:") { format!("  {process}") } else { line.to_owned() }
    });
    let place = Workplace::new(&grid.collect::<Vec<_>>().join("\n"));
    std::fs::write(place.path("server.sh"), script).unwrap();
    let mut child = place.start(&["sweep", "grid.yaml", "--output", "run"]);
    let server = || std::fs::read_to_string(place.path("server.pid")).ok()?.trim().parse().ok();
    until("the server runs", || server().is_some());
    signal(&child, Signal::INT);
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut err = String::new();
    while !err.contains("a second signal exits at once") {
        assert!(said.read_line(&mut err).unwrap() > 0, "it ended: {err}");
    }
    // What comes within 300 ms counts as the same wish.
    std::thread::sleep(std::time::Duration::from_millis(400));
    signal(&child, Signal::INT);
    said.read_to_string(&mut err).unwrap();
    let server = Pid::from_raw(server().unwrap()).unwrap();
    kill_process_group(server, Signal::KILL).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{err}");
    assert!(err.contains("resume"), "{err}");
}

#[test]
fn results_are_rebuilt_from_the_journal_alone() {
    let place = Workplace::new(CACHING);
    let ran = place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    let names = ["results.csv", "results.parquet", "ranking.csv", "ranking.parquet"];
    let read = |name: &str| std::fs::read(place.path("run").join(name)).unwrap();
    let first: Vec<Vec<u8>> = names.iter().map(|name| read(name)).collect();
    for name in names {
        std::fs::remove_file(place.path("run").join(name)).unwrap();
    }
    place.run(&["export", "run"]).expect(0);
    place.run(&["export", "run", "--output", "a/new/folder"]).expect(0);
    let again: Vec<Vec<u8>> = names.iter().map(|name| read(name)).collect();
    assert!(first == again, "the same journal gives the same files, to the byte");
    let report = place.run(&["report", "run"]).expect(0);
    // The block comes first in a report, and is the last thing that a sweep prints.
    let (block, table) = report.out.split_once("\n\n").unwrap();
    assert_eq!(ran.out, format!("{table}\nresults: run\n\n{block}\n"));
    assert!(!block.contains("PARTIAL"), "{block}");
}

#[test]
fn a_configuration_that_does_not_fit_is_a_row_with_its_class_and_is_not_tried_again() {
    let grid = CACHING
        .replace("enable-prefix-caching: [true, false]", "gpu-memory-utilization: [0.05, 0.9]");
    let place = Workplace::new(&grid.replace("baseline: noprefix\n", ""));
    place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    let results = place.results("run");
    let classes = texts(&results, "failure_class");
    assert!(classes.contains(&Some("kv_cache_too_small".to_owned())), "{classes:?}");
    let status = texts(&results, "status");
    assert!(status.contains(&Some("failed".into())) && status.contains(&Some("skipped".into())));
    let log = std::fs::read_dir(place.path("run/launches")).unwrap().any(|folder| {
        let log = std::fs::read_to_string(folder.unwrap().path().join("engine.log"));
        log.is_ok_and(|log| log.contains("No available memory for the cache blocks"))
    });
    assert!(log, "the whole log is kept");
}

#[test]
fn a_sweep_that_ranks_nothing_says_so() {
    let grid = CACHING.replace("flags: {", "flags: {gpu-memory-utilization: 0.05, ");
    let place = Workplace::new(&grid);
    place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(1);
}

#[test]
fn a_sweep_never_writes_over_anything() {
    let place = Workplace::new(CACHING);
    std::fs::create_dir(place.path("run")).unwrap();
    std::fs::write(place.path("run").join("mine.txt"), "mine").unwrap();
    let ran = place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(2);
    assert!(ran.err.contains("not empty"), "{}", ran.err);
}

/// GNU `timeout` signals its child and then the whole group; a terminal and a wrapper do the same.
#[test]
fn a_stop_that_is_delivered_twice_at_once_is_one() {
    let place = Workplace::new(CACHING);
    let child = place.start(&["sweep", "grid.yaml", "--output", "run"]);
    place.wait_for("run", "repeat_finished", 1);
    for stop in [Signal::TERM, Signal::INT, Signal::TERM, Signal::HUP] {
        signal(&child, stop);
    }
    let ran = Ran::of(child.wait_with_output().unwrap()).expect(4);
    assert_eq!(ran.err.matches("a second signal exits at once").count(), 1, "{}", ran.err);
    assert!(place.path("run/results.csv").is_file(), "{}", ran.err);
}

#[test]
fn an_output_that_can_be_no_folder_is_named_with_the_grid_s_faults_before_anything_is_launched() {
    let place = Workplace::new(CACHING);
    std::fs::write(place.path("file"), "").unwrap();
    std::fs::write(place.path("wrong.yaml"), CACHING.replace("minimize:", "minimise:")).unwrap();
    for output in ["file", "file/below"] {
        let said = place.run(&["sweep", "grid.yaml", "--output", output]).expect(2).err;
        assert!(said.contains("--output") && said.contains("no folder"), "{said}");
        let said = place.run(&["sweep", "wrong.yaml", "--output", output]).expect(2).err;
        assert!(said.contains("--output") && said.contains("minimise"), "{said}");
    }
    let left = std::fs::read_dir(place.folder.path()).unwrap().count();
    assert_eq!(left, 3, "nothing was begun, and no state folder was made");
}
