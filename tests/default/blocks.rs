//! What changed since a sweep began: refused with everything named, or accepted as a new block
//! that is never pooled with what was measured before.

use serde_json::{Value, json};

use crate::daemon::{Daemon, Life};
use crate::support::{CACHING, Ran, Workplace, compose_tool, numbers, texts};

/// One launch of each of two configurations, quick.
fn quick() -> String {
    CACHING
        .replace("launches: 2, repeats: 2", "launches: 1, repeats: 1")
        .replace("speed: 20", "speed: 200")
}

fn manifest(place: &Workplace) -> Value {
    serde_json::from_slice(&std::fs::read(place.path("run/manifest.json")).unwrap()).unwrap()
}

/// As if the sweep had begun with something else.
fn began_with(place: &Workplace, change: impl FnOnce(&mut Value)) {
    let mut manifest = manifest(place);
    change(&mut manifest);
    std::fs::write(place.path("run/manifest.json"), manifest.to_string()).unwrap();
}

/// What was printed, without the folding of lines.
fn flat(text: &str) -> String {
    text.replace(['│', '×'], " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn swept() -> Workplace {
    let place = Workplace::new(&quick());
    place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    place
}

#[test]
fn everything_that_changed_is_named_at_once_and_nothing_is_launched() {
    let place = swept();
    let written = manifest(&place);
    assert!(written["machine"]["kernel"].is_string(), "{written}");
    assert!(written["machine"]["cores"].as_u64() > Some(0), "{written}");
    assert!(written["machine"]["memory_mib"].as_u64() > Some(0), "{written}");
    assert!(written["suite_version"].as_u64() > Some(0), "{written}");
    let before = place.journal("run").len();
    began_with(&place, |manifest| {
        manifest["machine"]["kernel"] = json!("2.6.32-old");
        manifest["machine"]["cores"] = json!(7);
        manifest["suite_version"] = json!(0);
    });
    let named = ["confirm", "run", "--configuration", "prefix", "--dry-run"];
    for command in [&["resume", "run"][..], &named[..4], &named] {
        let refused = place.run(command).expect(2);
        let said = flat(&refused.err);
        for named in [
            "- kernel: 2.6.32-old -> ",
            "- CPU cores: 7 -> ",
            "- suite version: 0 -> ",
            "restore it, or start a new sweep, or add --accept-change: block 2 begins",
            "the 2 launches of block 1 stay in results.* and are not counted",
        ] {
            assert!(said.contains(named), "{named}: {said}");
        }
    }
    assert_eq!(place.journal("run").len(), before, "nothing was written");
    // Another version of the tool that measures in the same way is said.
    began_with(&place, |manifest| {
        *manifest = written.clone();
        manifest["tool_version"] = json!("0.0.9");
    });
    let said = place.run(&["resume", "run"]).expect(0).err;
    assert!(flat(&said).contains("version of vllm-grid: 0.0.9 -> "), "{said}");
    assert_eq!(place.entries("run", "block_started"), 0);
}

#[test]
fn an_accepted_change_begins_a_block_and_what_was_measured_before_enters_no_figure() {
    let place = swept();
    // As if everything had been slower by far before.
    let journal = place.path("run/journal.jsonl");
    assert!(journal.is_file());
    let of_sweep = |column: &str| numbers(&place.ranking("run"), column);
    let first = of_sweep("kv_cache.ttft_resent_ms.geomean");
    began_with(&place, |manifest| manifest["machine"]["driver"] = json!("550.54"));
    began_with(&place, |manifest| manifest["machine"]["kernel"] = json!("2.6.32-old"));
    let accepted = place.run(&["resume", "run", "--accept-change"]).expect(0);
    let said = flat(&accepted.err);
    assert!(said.contains("block 2 begins: everything is measured again"), "{said}");
    assert!(said.contains("accepted: kernel: 2.6.32-old -> "), "{said}");
    assert!(said.contains("2 launches of block 1 are not counted"), "{said}");

    let results = place.results("run");
    let launches = || numbers(&results, "launch").into_iter().zip(numbers(&results, "block"));
    let block_of = |launch: f64| launches().find(|it| it.0 == Some(launch)).unwrap().1;
    assert_eq!([1.0, 2.0, 3.0, 4.0].map(block_of), [1.0, 1.0, 2.0, 2.0].map(Some));
    assert_eq!(of_sweep("launches"), [Some(1.0), Some(1.0)], "those of block 2 alone");
    let names = texts(&place.ranking("run"), "configuration");
    let resent = numbers(&results, "kv_cache.ttft_resent_ms");
    let rows: Vec<(Option<String>, Option<f64>)> =
        texts(&results, "configuration").into_iter().zip(numbers(&results, "block")).collect();
    let (repeats, means) =
        (numbers(&results, "repeat"), of_sweep("kv_cache.ttft_resent_ms.geomean"));
    for (name, mean) in names.iter().zip(&means) {
        let own = (0..resent.len())
            .find(|&at| rows[at] == (name.clone(), Some(2.0)) && repeats[at] == Some(1.0));
        let own = resent[own.unwrap()].unwrap();
        assert!((mean.unwrap() - own).abs() < 1e-9 * own, "one launch, one repeat: {mean:?} {own}");
    }
    assert_eq!(first.len(), means.len());

    let report = place.run(&["report", "run"]).expect(0);
    assert!(!report.err.contains("lost"), "the journal knows every launch: {}", report.err);
    assert!(flat(&report.out).contains("2 launches of block 1 are not counted; then changed: "));
    let data: Value =
        serde_json::from_str(&place.run(&["report", "run", "--format", "json"]).expect(0).out)
            .unwrap();
    assert_eq!(data["reading"]["trust"]["not_counted"][0]["launches"], 2);
    assert_eq!(data["extent"], json!({"done": 2, "of": 2, "state": "complete"}));

    // What was accepted is as it was from then on, and can change once more.
    let again = place.run(&["resume", "run"]).expect(0);
    assert!(!again.err.contains("block") && !again.err.contains("lost"), "{}", again.err);
    let nothing = place.run(&["resume", "run", "--accept-change"]).expect(0);
    assert!(flat(&nothing.err).contains("nothing changed that needs it"), "{}", nothing.err);
    assert_eq!(place.entries("run", "launch_started"), 4);
    assert_eq!(place.entries("run", "block_started"), 1);
    let trials: Vec<u64> = place
        .journal("run")
        .iter()
        .filter_map(|line| line["line"]["entry"]["slot"].as_u64())
        .collect();
    assert_eq!(trials, [0, 1, 2, 3], "no trial has the number of another block's");
}

#[test]
fn a_changed_dataset_can_be_accepted_and_a_changed_grid_cannot() {
    let grid =
        quick().replace("{prefix-tokens: [4096]", "{dataset: prompts.jsonl, prefix-tokens: [400]");
    let place = Workplace::new(&grid);
    let prompt = |text: &str| format!("{}\n", json!({"prompt": text}));
    std::fs::write(place.path("prompts.jsonl"), prompt("The harbour is quiet in winter.")).unwrap();
    place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    std::fs::write(place.path("prompts.jsonl"), prompt("The harbour is full in summer.")).unwrap();
    let refused = place.run(&["resume", "run"]).expect(2);
    assert!(flat(&refused.err).contains("prompts.jsonl differs"), "{}", refused.err);
    place.run(&["resume", "run", "--accept-change"]).expect(0);
    place.run(&["resume", "run"]).expect(0);
    assert_eq!(place.entries("run", "launch_started"), 4);

    std::fs::write(place.path("grid.yaml"), grid.replace("true, false", "false, true")).unwrap();
    std::fs::write(place.path("prompts.jsonl"), prompt("The harbour is old.")).unwrap();
    let refused = place.run(&["resume", "run", "--accept-change"]).expect(2);
    let said = flat(&refused.err);
    assert!(said.contains("grid changed") && said.contains("prompts.jsonl differs"), "{said}");
    assert!(said.contains("--accept-change cannot accept another grid"), "{said}");
    assert_eq!(place.entries("run", "block_started"), 1);
}

#[test]
fn a_confirmation_that_a_change_interrupts_begins_anew_in_the_new_block() {
    let place = swept();
    let asked =
        ["confirm", "run", "--claim", "100%", "--configuration", "prefix", "--budget", "1s"];
    // One launch is begun in any case: the budget of a second ends it.
    place.run(&asked);
    let begun = place.entries("run", "confirmation_started");
    assert_eq!(begun, 1);
    began_with(&place, |manifest| manifest["machine"]["kernel"] = json!("2.6.32-old"));
    place.run(&asked).expect(2);
    let fresh: Vec<&str> = asked[..6].iter().copied().chain(["--accept-change"]).collect();
    let done = place.run(&fresh).expect(0);
    assert!(flat(&done.err).contains("block 2 begins"), "{}", done.err);
    assert!(flat(&done.err).contains("confirmation 2: prefix and noprefix"), "{}", done.err);
    let results = place.results("run");
    let of: Vec<(Option<f64>, Option<f64>)> =
        numbers(&results, "confirmation").into_iter().zip(numbers(&results, "block")).collect();
    assert!(of.iter().all(|it| it.0 != Some(1.0) || it.1 == Some(1.0)), "{of:?}");
    assert!(of.contains(&(Some(2.0), Some(2.0))), "{of:?}");
    assert!(!of.contains(&(Some(2.0), Some(1.0))), "{of:?}");
}

#[test]
fn compare_says_what_the_machines_differ_in_before_any_figure() {
    let place = swept();
    place.run(&["sweep", "grid.yaml", "--output", "other"]).expect(0);
    began_with(&place, |manifest| {
        manifest["machine"]["driver"] = json!("550.54");
        manifest["machine"]["gpus"] =
            json!([{"index": 0, "name": "NVIDIA H100", "uuid": "GPU-7", "power_limit_w": 700.0}]);
        manifest["machine"]["cuda"] = json!("12.4");
        manifest["suite_version"] = json!(0);
    });
    let out = place.run(&["compare", "run", "other"]).expect(0).out;
    let said = flat(&out);
    for named in [
        "- GPU: A NVIDIA H100 (GPU-7); B ",
        "- power limit: A 700 W; B ",
        "- driver: A 550.54; B ",
        "- CUDA version: A 12.4; B ",
        "- suite version: A 0; B 1",
    ] {
        assert!(said.contains(named), "{named}: {out}");
    }
    assert!(!said.contains("- kernel"), "the same: {out}");
    assert!(out.find("- driver") < out.find("rank A"), "before the figures: {out}");
    began_with(&place, |manifest| {
        manifest.as_object_mut().unwrap().remove("machine");
    });
    let out = place.run(&["compare", "run", "other"]).expect(0).out;
    assert!(
        flat(&out).contains("not recorded by all sweeps, so not compared: GPU, driver"),
        "{out}"
    );
}

#[test]
fn another_image_in_the_compose_file_can_be_accepted_and_another_flag_cannot() {
    let place = Workplace::new(
        "name: served\nengine:\n  docker: {compose: compose.yaml, service: llm, gpus: false, caches: false}\n\
         parameters: {max-num-seqs: [16]}\n\
         workloads:\n  kv-cache: {prefix-tokens: [512], prompts: 2, output-tokens: 2, warmup: 0}\n\
         objective: {minimize: kv_cache.ttft_resent_ms}\n\
         strategy: {grid: {launches: 1, repeats: 1, seed: 1}}\n",
    );
    let daemon = Daemon::start(|_| Life::Serves);
    let service = |tag: &str, flags: &str| {
        let command = format!("Qwen/Qwen3-0.6B --max-model-len 4096{flags}");
        let text = format!(
            "services:\n  llm:\n    image: vllm/vllm-openai:{tag}\n    command: {command}\n"
        );
        std::fs::write(place.path("compose.yaml"), text).unwrap();
    };
    let run = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        command.env("PATH", compose_tool(&place)).env("DOCKER_HOST", daemon.host());
        Ran::of(command.output().unwrap())
    };
    service("v0.10.1", "");
    run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    let named = "compose.yaml: vllm/vllm-openai:v0.10.1 -> vllm/vllm-openai:v0.11.0";
    // Long names are folded anywhere.
    let names = |said: &str, named: &str| said.replace(' ', "").contains(&named.replace(' ', ""));

    service("v0.11.0", " --block-size 32");
    for arguments in [&["resume", "run"][..], &["resume", "run", "--accept-change"]] {
        let said = flat(&run(arguments).expect(2).err);
        assert!(said.contains("the configurations: ") && names(&said, named), "{said}");
        assert!(said.contains("--accept-change cannot accept this"), "{said}");
    }
    service("v0.11.0", "");
    let said = flat(&run(&["resume", "run"]).expect(2).err);
    assert!(names(&said, named) && !said.contains("the configurations"), "{said}");
    assert!(said.contains("add --accept-change: block 2 begins"), "{said}");
    let said = flat(&run(&["resume", "run", "--accept-change"]).expect(0).err);
    assert!(said.contains("accepted: image in ") && names(&said, named), "{said}");

    let ids = texts(&place.results("run"), "configuration_id");
    assert_ne!(ids[0], ids[1], "the image is a part of what is requested");
    run(&["resume", "run"]).expect(0);
    assert_eq!(place.entries("run", "launch_started"), 2);
    assert_eq!(place.entries("run", "block_started"), 1);
    let said = flat(&run(&["report", "run"]).expect(0).out);
    assert!(said.contains("block 1 is not counted; then changed: image in "), "{said}");
    service("v0.10.1", "");
    let said = flat(&run(&["resume", "run"]).expect(2).err);
    assert!(names(&said, "v0.11.0 -> vllm/vllm-openai:v0.10.1"), "what block 2 ran: {said}");
}

/// What is in no configuration's id: the service's variables, its volumes, its memory.
#[test]
fn another_variable_or_volume_of_the_compose_service_is_named_and_can_be_accepted() {
    let place = Workplace::new(
        "name: served\nengine:\n  docker: {compose: compose.yaml, service: llm, gpus: false, caches: false}\n\
         parameters: {max-num-seqs: [16]}\n\
         workloads:\n  kv-cache: {prefix-tokens: [512], prompts: 2, output-tokens: 2, warmup: 0}\n\
         objective: {minimize: kv_cache.ttft_resent_ms}\n\
         strategy: {grid: {launches: 1, repeats: 1, seed: 1}}\n",
    );
    let daemon = Daemon::start(|_| Life::Serves);
    let service = |more: &str| {
        let text = format!(
            "services:\n  llm:\n    image: i:1\n    command: Qwen/Qwen3-0.6B --max-model-len 4096\n{more}"
        );
        std::fs::write(place.path("compose.yaml"), text).unwrap();
    };
    let run = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        command.env("PATH", compose_tool(&place)).env("DOCKER_HOST", daemon.host());
        Ran::of(command.output().unwrap())
    };
    let with = |threads: u32, token: &str| {
        service(&format!(
            "    environment: {{OMP_NUM_THREADS: '{threads}', HF_TOKEN: {token}}}\n    shm_size: '1073741824'\n"
        ));
    };
    with(4, "hf_first-of-all-keys");
    run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    with(4, "hf_second-of-the-keys");
    let said = flat(&run(&["resume", "run"]).expect(0).err);
    assert!(!said.contains("changed"), "another key measures the same: {said}");

    with(8, "hf_second-of-the-keys");
    let said = flat(&run(&["resume", "run"]).expect(2).err);
    assert!(said.contains("environment: OMP_NUM_THREADS: it has another value"), "{said}");
    assert!(said.contains("add --accept-change: block 2 begins"), "{said}");
    service("    environment: {OMP_NUM_THREADS: '4', HF_TOKEN: hf_first-of-all-keys}\n");
    let said = flat(&run(&["resume", "run"]).expect(2).err);
    assert!(said.contains("shm_size: it was removed"), "{said}");
    assert_eq!(place.entries("run", "launch_started"), 1, "nothing was launched");

    with(8, "hf_second-of-the-keys");
    run(&["resume", "run", "--accept-change"]).expect(0);
    run(&["resume", "run"]).expect(0);
    assert_eq!(place.entries("run", "launch_started"), 2);
    with(4, "hf_first-of-all-keys");
    let said = flat(&run(&["resume", "run"]).expect(2).err);
    assert!(said.contains("OMP_NUM_THREADS"), "what block 2 ran with counts: {said}");
    let written = std::fs::read_to_string(place.path("run/manifest.json")).unwrap();
    assert!(!written.contains("hf_first"), "{written}");
}
