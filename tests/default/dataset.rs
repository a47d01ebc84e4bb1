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
    std::fs::write(place.path("data/share.json"), "[{\"text\": \"a\"}, {\"text\": \"b\"}]")
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
    let neither = "load: data/share.json: no entry can be used: 2 of another form (the first: entry \
                   1: neither `prompt` nor `messages` nor";
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

const PICTURES: &str = r#"{"messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]}]}"#;
const PLACEHOLDER: &str =
    r#"{"image": "p/0.jpg", "conversations": [{"from": "human", "value": "<image>\nWhat?"}]}"#;

/// `load` alone, from a file with these lines.
fn of_lines(lines: &[&str]) -> Workplace {
    let grid = "name: rows
engine:
  simulated: {model: Qwen/Qwen3-0.6B, gpu: rtx-4090, speed: 50}
parameters:
  max-num-seqs: [8]
workloads:
  load: {concurrency: 2, requests: 8, output-tokens: 8, dataset: rows.jsonl, warmup: 0}
objective: {maximize: load.output_throughput}
strategy: {grid: {launches: 1, repeats: 1, seed: 1}}
";
    let place = Workplace::new(grid);
    std::fs::write(place.path("rows.jsonl"), lines.join("\n")).unwrap();
    place
}

/// As one line, whatever the terminal's width.
fn folded(text: &str) -> String {
    text.replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn rows_that_cannot_be_used_are_counted_by_plan_and_never_sent() {
    let good = [r#"{"prompt": "Why is the sky blue?"}"#, r#"{"prompt": "Où va l’été ?"}"#];
    let bad =
        [PICTURES, PLACEHOLDER, r#"{"prompt": null}"#, r#"{"prompt": "caf\ud83d"}"#, "{broken"];
    let place = of_lines(&[&good[..], &bad[..], &[r#"{"prompt": " "}"#][..]].concat());
    let planned = place.run(&["plan", "grid.yaml"]).expect(0);
    let said = folded(&format!("{} {}", planned.out, planned.err));
    for words in [
        "load: 6 of 8 entries of rows.jsonl are left out",
        "2 with pictures, sound or video (the first: line 3)",
        "2 of another form (the first: line 5: neither",
        "1 with broken characters (line 6)",
        "1 without a text of a user (line 8)",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    let results = place.results("run");
    assert_eq!(crate::support::texts(&results, "status"), [Some("ok".to_owned())]);
    // All that is sent is what can be used.
    let bench = place.run(&[
        "bench",
        "http://127.0.0.1:9",
        "--workload",
        "load",
        "--set",
        "dataset=rows.jsonl",
    ]);
    assert!(!folded(&bench.err).contains("rows.jsonl: "), "{}", bench.err);
}

#[test]
fn a_file_is_refused_only_where_nothing_of_it_is_left() {
    let place = of_lines(&[PICTURES, PLACEHOLDER, PICTURES]);
    let said = folded(&place.run(&["plan", "grid.yaml"]).expect(2).err);
    let words = "rows.jsonl: no entry can be used: 3 with pictures, sound or video";
    assert!(said.contains(words), "{said}");
    of_lines(&[PICTURES, r#"{"prompt": "a"}"#]).run(&["plan", "grid.yaml"]).expect(0);
}
