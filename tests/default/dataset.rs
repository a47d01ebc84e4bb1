//! Files with prompts, from the commands' side: what is wrong with one is
//! printed before anything starts, and a sweep continues with the same ones only.

use crate::support::Workplace;

/// All three workloads that take prompts from a file, one of each form.
const GRID: &str = "name: from-files
engine:
  simulated: {model: Qwen/Qwen3-1.7B, gpu: rtx-4090, speed: 100, flags: {max-model-len: 2048}}
parameters:
  max-num-seqs: [8, 16]
workloads:
  load:
    concurrency: 2
    requests: 12
    output-tokens: 2
    dataset: data/share.json
  conversation: {dataset: data/chats.jsonl, conversations: 1, turns: 2, output-tokens: 4}
  kv-cache: {dataset: data/prompts.jsonl, prefix-tokens: 300, prompts: 1, output-tokens: 2}
objective:
  maximize: load.output_throughput
strategy: {grid: {launches: 1, repeats: 1, seed: 1}}
";

const SHARE: &str = "[\r\n  {\"conversations\": [{\"from\": \"human\", \"value\": \"Où va l’été ?\"},\
     {\"from\": \"gpt\", \"value\": \"-\"}]}\r\n]\r\n";
const CHATS: &str = "\u{feff}{\"messages\": [{\"role\": \"user\", \"content\": \"Bonjour\"}, \
     {\"role\": \"assistant\", \"content\": \"-\"}, {\"role\": \"user\", \"content\": \"Et ?\"}]}\r\n\r\n";
const PROMPTS: &str = "{\"prompt\": \"The harbour is quiet in winter.\"}\n";

fn place() -> Workplace {
    let place = Workplace::new(GRID);
    std::fs::create_dir(place.path("data")).unwrap();
    for (name, text) in [("share.json", SHARE), ("chats.jsonl", CHATS), ("prompts.jsonl", PROMPTS)]
    {
        std::fs::write(place.path("data").join(name), text).unwrap();
    }
    place
}

fn spoil(place: &Workplace) {
    std::fs::write(place.path("data/share.json"), "[{\"prompt\": \"a\"}, {\"text\": \"b\"}]")
        .unwrap();
    let more_turns = GRID.replace("turns: 2", "turns: 3").replace("load.output", "load.outputt");
    std::fs::write(place.path("grid.yaml"), more_turns).unwrap();
    std::fs::remove_file(place.path("data/prompts.jsonl")).unwrap();
}

#[test]
fn every_error_is_reported_in_one_pass_before_anything_starts() {
    let place = place();
    place.run(&["plan", "grid.yaml"]).expect(0);
    spoil(&place);
    let printed = place.run(&["plan", "grid.yaml"]).expect(2).err;
    insta::assert_snapshot!(printed);
    for command in [&["doctor", "grid.yaml"][..], &["sweep", "grid.yaml", "--output", "run"]] {
        assert_eq!(place.run(command).expect(2).err, printed);
    }
    assert!(!place.path("run").exists(), "nothing was begun");
}

#[test]
fn bench_refuses_a_file_before_it_looks_for_the_server() {
    let place = place();
    spoil(&place);
    let nobody = "http://127.0.0.1:9";
    let bench = |workload: &str, options: &[&str]| {
        let mut arguments = vec!["bench", nobody, "--workload", workload];
        arguments.extend(options.iter().flat_map(|option| ["--set", option]));
        let printed = place.run(&arguments).expect(2).err;
        // As one line, whatever the terminal's width.
        printed.replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let printed = bench("load", &["dataset=data/share.json"]);
    let neither = "load: data/share.json, entry 2: neither `prompt` nor `messages` nor";
    assert!(printed.contains(neither), "{printed}");
    let printed = bench("kv-cache", &["dataset=data/prompts.jsonl"]);
    assert!(printed.contains("kv-cache: data/prompts.jsonl: No such file"), "{printed}");
    let printed = bench("conversation", &["dataset=data/chats.jsonl", "turns=3"]);
    assert!(printed.contains("0 of its conversations have 3 turns or more"), "{printed}");
    let printed = bench("load", &["dataset=data/chats.jsonl", "prompt_tokens=64"]);
    assert!(printed.contains("`prompt-tokens` does not apply with `dataset`"), "{printed}");
}

#[test]
fn a_sweep_takes_its_prompts_from_files_and_goes_on_with_the_same_ones_only() {
    let place = place();
    place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    let results = place.results("run");
    assert!(crate::support::texts(&results, "status").iter().all(|it| it.as_deref() == Some("ok")));
    let manifest = std::fs::read_to_string(place.path("run/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let paths: Vec<_> =
        manifest["datasets"].as_array().unwrap().iter().map(|it| &it["path"]).collect();
    assert_eq!(paths, ["data/chats.jsonl", "data/prompts.jsonl", "data/share.json"]);

    // From any folder: paths are relative to the grid.
    let mut elsewhere = place.command(&["resume", place.path("run").to_str().unwrap()]);
    crate::support::Ran::of(elsewhere.current_dir("/").output().unwrap()).expect(0);
    std::fs::write(place.path("data/prompts.jsonl"), PROMPTS.replace("winter", "summer")).unwrap();
    let printed = place.run(&["resume", "run"]).expect(2).err;
    assert!(
        printed.contains("prompts.jsonl differs") && printed.contains("--accept-change"),
        "{printed}"
    );
    std::fs::remove_file(place.path("data/prompts.jsonl")).unwrap();
    let printed = place.run(&["resume", "run"]).expect(2).err;
    assert!(printed.contains("prompts.jsonl: No such file"), "{printed}");
    // What it measured is reported without them, and production is restored.
    place.run(&["report", "run"]).expect(0);
    place.run(&["recover", "run"]).expect(0);
}
