//! Failures as other releases and other daemons word and deliver them: what they
//! are called, what is launched after them, and what is kept.

use std::time::Duration;

use serde_json::Value;

use crate::daemon::{Daemon, End, Life};
use crate::support::{Ran, Workplace};

const LOGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/vllm-logs/");

/// A grid on the process engine whose server prints a recorded log and ends with code 1.
fn fails(log: &str, parameters: &str) -> Workplace {
    let place = Workplace::new(&format!(
        "name: fails\nengine:\n  process:\n    command: [sh, fake.sh, Qwen/Qwen3-8B]\n\
         parameters: {{{parameters}}}\n{WORK}"
    ));
    std::fs::copy(format!("{LOGS}{log}"), place.path("fail.log")).unwrap();
    std::fs::write(place.path("fake.sh"), "cat \"$(dirname \"$0\")/fail.log\"\nexit 1\n").unwrap();
    place
}

const WORK: &str = "workloads:\n  load: {concurrency: 2, requests: 8, prompt-tokens: 64, output-tokens: 8, warmup: 0}\n\
                    objective: {maximize: load.output_throughput}\nstrategy: {grid: {launches: 1, repeats: 1, seed: 1}}\n";

/// A grid on a stand-in for the Docker daemon.
fn on(daemon: &Daemon, model: &str, sequences: &str) -> (Workplace, Ran) {
    let place = Workplace::new(&format!(
        "name: docked\nengine:\n  docker: {{image: 'example:1', model: {model}, gpus: false, flags: {{max-model-len: 4096}}}}\n\
         parameters: {{max-num-seqs: {sequences}}}\n{WORK}"
    ));
    let mut command = place.command(&["sweep", "grid.yaml", "--output", "run"]);
    let ran = Ran::of(command.env("DOCKER_HOST", daemon.host()).output().unwrap());
    (place, ran)
}

/// Class of each launch that failed.
fn classes(place: &Workplace) -> Vec<String> {
    let of = |line: &Value| {
        let outcome = &line["line"]["entry"]["outcome"];
        outcome["class"].as_str().map(str::to_owned)
    };
    place.journal("run").iter().filter_map(of).collect()
}

/// The log that is kept of the first launch.
fn log_of(place: &Workplace) -> String {
    let mut folders = std::fs::read_dir(place.path("run/launches")).unwrap().flatten();
    let first = folders.find(|it| it.file_name().to_string_lossy().starts_with("1-")).unwrap();
    std::fs::read_to_string(first.path().join("engine.log")).unwrap()
}

#[test]
fn known_failures_are_known_in_other_releases_words_and_in_colour() {
    let cases = [
        ("kv-cache-0.10.1.log", "kv_cache_too_small", Some("21184")),
        ("cuda-error-0.18.0.log", "out_of_memory", None),
        ("coloured-kv-cache.log", "kv_cache_too_small", Some("21184")),
        ("coloured-bad-value.log", "bad_flag", Some("--kv-cache-dtype")),
    ];
    for (log, class, said) in cases {
        let place = fails(log, "max-model-len: [32768, 65536]");
        let ran = place.run(&["sweep", "grid.yaml", "--output", "run"]);
        assert_eq!(ran.code, Some(1), "finished, nothing to rank: {log}: {}", ran.err);
        let classes = classes(&place);
        assert!(!classes.is_empty() && classes.iter().all(|it| it == class), "{log}: {classes:?}");
        let journal = std::fs::read_to_string(place.path("run/journal.jsonl")).unwrap();
        assert!(said.is_none_or(|said| journal.contains(said)), "{log}");
        // No escape is stored or printed, raw or as JSON writes it.
        let engine = log_of(&place);
        for text in [&ran.out, &ran.err, &journal, &engine] {
            assert!(!text.contains('\u{1b}') && !text.contains("\\u001b"), "{log}: {text}");
        }
        assert!(engine.contains("(APIServer pid=1)"), "{engine}");
    }
}

#[test]
fn a_model_that_is_not_there_stops_the_sweep_at_once() {
    let place = fails("model-path-missing.log", "max-model-len: [32768, 65536, 98304]");
    let ran = place.run(&["sweep", "grid.yaml", "--output", "run"]);
    assert_eq!(ran.code, Some(3), "{}", ran.err);
    assert_eq!(classes(&place), ["environment"], "one launch");
    assert_eq!(place.entries("run", "launch_started"), 1);
    assert!(!ran.said().contains("trying once more"), "{}", ran.err);
    assert!(ran.said().contains("`/models/Qwen3-8B`"), "{}", ran.err);
}

const OUT_OF_MEMORY: &str = "(APIServer pid=1) INFO 11-20 02:10:08 [utils.py:1233] vLLM API server version 0.18.0
(EngineCore_DP0 pid=301) INFO 11-20 02:10:40 [gpu_model_runner.py:4000] Starting to load model example/model-8b...
(EngineCore_DP0 pid=301) INFO the same line twice
(EngineCore_DP0 pid=301) INFO the same line twice
(EngineCore_DP0 pid=301) INFO 11-20 02:11:30 [gpu_model_runner.py:4120] Model loading took 15.27 GiB memory and 21.4 seconds
(EngineCore_DP0 pid=301) ERROR 11-20 02:11:52 [core.py:880] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.37 GiB.
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore_DP0': 1}
";

#[test]
fn a_log_that_breaks_off_is_followed_again_and_is_whole_at_the_end() {
    for stamps in [false, true] {
        for cut in [0, 190, 600] {
            let end = End {
                log: OUT_OF_MEMORY,
                code: 1,
                lives: Duration::from_millis(900),
                cut: Some(cut),
                stamps,
            };
            let daemon = Daemon::start(move |_| Life::Ends(end));
            let (place, ran) = on(&daemon, "example/model-8b", "[4]");
            // Once more in the end: it may have been others' memory.
            assert_eq!(classes(&place), ["out_of_memory"; 2], "{stamps} {cut}: {}", ran.err);
            assert_eq!(log_of(&place), OUT_OF_MEMORY, "stamps {stamps}, cut {cut}");
            assert_eq!(ran.err.matches("broke off").count(), 2, "{}", ran.err);
            assert!(daemon.logs().iter().filter(|path| path.contains("follow=true")).count() > 1);
            assert!(daemon.is_empty(), "removed");
        }
    }
    let end = End {
        log: OUT_OF_MEMORY,
        code: 1,
        lives: Duration::from_millis(200),
        cut: None,
        stamps: true,
    };
    let daemon = Daemon::start(move |_| Life::Ends(end));
    let (place, ran) = on(&daemon, "example/model-8b", "[4]");
    assert_eq!(log_of(&place), OUT_OF_MEMORY);
    assert!(!ran.said().contains("broke off"), "{}", ran.err);
}

const HUB: &str = "(APIServer pid=1) INFO 11-20 02:10:08 [utils.py:1233] vLLM API server version 0.18.0
(APIServer pid=1) huggingface_hub.errors.LocalEntryNotFoundError: Cannot find the requested files in the disk cache and outgoing traffic has been disabled. To enable hf.co look-ups and downloads online, set 'HF_HUB_OFFLINE' to '0'
(APIServer pid=1) OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the cached files.
";

fn is_offline(body: &Value) -> bool {
    body["Env"].as_array().is_some_and(|all| all.iter().any(|it| it == "HF_HUB_OFFLINE=1"))
}

#[test]
fn a_model_that_asks_the_hub_at_each_start_is_launched_with_the_hub() {
    let end = End { log: HUB, code: 1, lives: Duration::ZERO, cut: None, stamps: true };
    let daemon =
        Daemon::start(move |body| if is_offline(body) { Life::Ends(end) } else { Life::Serves });
    let (place, ran) = on(&daemon, "Qwen/Qwen3-0.6B", "[4, 8, 16]");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(classes(&place), [""; 0], "every launch was measured");
    let offline: Vec<bool> = daemon.created().iter().map(is_offline).collect();
    assert_eq!(offline[..4], [false, true, false, false], "tried once, and left out then");
    assert!(!offline[4..].contains(&true), "{offline:?}");
    assert!(ran.said().contains("HF_HUB_OFFLINE=1, which vllm-grid had set"), "{}", ran.err);
}

#[test]
fn the_hub_is_switched_off_only_for_models_that_come_from_it() {
    for (model, expected) in [("Qwen/Qwen3-0.6B", true), ("/models/Qwen3-0.6B", false)] {
        let daemon = Daemon::start(|_| Life::Serves);
        let (_place, ran) = on(&daemon, model, "[4, 8]");
        assert_eq!(ran.code, Some(0), "{model}: {}", ran.err);
        let offline: Vec<bool> = daemon.created().iter().map(is_offline).collect();
        // A launch may be made again where another test took its port.
        assert_eq!(offline.first(), Some(&false), "{model}: {}", ran.err);
        assert_eq!(offline.last(), Some(&expected), "{model}: {}", ran.err);
        assert_eq!(offline.contains(&true), expected, "{model}: {offline:?} {}", ran.err);
    }
}
