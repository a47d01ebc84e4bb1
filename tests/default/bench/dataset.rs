//! Prompts from files: every form under every workload that takes one, and
//! entries that are too long for the server.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;
use vllm_grid::client::record::RequestRecord;
use vllm_grid::metric::{Measurement, Status};

use crate::bench::simulated::{Simulated, measure, number, workload};

const SMALL: &str = "Qwen/Qwen3-1.7B --sim-speed 50 --enable-prefix-caching --max-model-len";

/// Files with the same words in every form.
struct Files(TempDir);

impl Files {
    fn new(talks: &[[&str; 2]]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let share = |[one, other]: &[&str; 2]| {
            json!({"id": "x", "conversations": [
                {"from": "human", "value": one}, {"from": "gpt", "value": "never sent"},
                {"from": "human", "value": other}, {"from": "gpt", "value": "never sent"}]})
        };
        let chat = |[one, other]: &[&str; 2]| {
            json!({"messages": [
                {"role": "system", "content": "Réponds en français."},
                {"role": "user", "content": one}, {"role": "assistant", "content": "D’accord."},
                {"role": "user", "content": [{"type": "text", "text": other}]},
                {"role": "assistant", "content": "never sent"}]})
        };
        let prompt = |[one, _]: &[&str; 2]| json!({"prompt": one, "other": [1]});
        let lines = |entry: &dyn Fn(&[&str; 2]) -> Value| {
            let lines: Vec<String> = talks.iter().map(|talk| entry(talk).to_string()).collect();
            format!("\u{feff}{}\r\n\r\n", lines.join("\r\n"))
        };
        let write = |name: &str, text: String| {
            std::fs::write(folder.path().join(name), text).expect("written");
        };
        let list: Vec<Value> = talks.iter().map(share).collect();
        write("share.json", serde_json::to_string_pretty(&list).expect("JSON"));
        write("chats.jsonl", lines(&chat));
        write("prompts.jsonl", lines(&prompt));
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// Each is longer than the one before by more than salts differ.
const TALKS: [[&str; 2]; 4] = [
    ["Où vont-ils ?", "Pourquoi ?"],
    [
        "Raconte-moi l’été à la mer, s’il te plaît : le vent, le sable, les goûters de quatre heures.",
        "Et après ?",
    ],
    [
        "Tell me of bees: how they find their way home over fields and woods, how they tell each \
         other where the flowers are, and what they do in winter, when there are none. Tell it in \
         the words of somebody who keeps them, and is stung now and then.",
        "And then?",
    ],
    [
        "Why is the sky blue at noon and red in the evening? Say it as you would to a child of ten \
         who likes to know how things work, with one example from the kitchen, one from the sea \
         and one from the mountains, and do not use any word that you would not find in a book \
         for children of that age. Then say what the moon would look like from there, and \
         what colour the sky would have for somebody who stands on it and looks up at noon.",
        "Is it so on Mars?",
    ],
];

async fn one(
    simulated: &Simulated,
    name: &str,
    options: &Value,
) -> (Measurement, Vec<RequestRecord>) {
    let measured = measure(&simulated.server, &[workload(name, options)], 1).await;
    measured.ended.expect("a living server");
    let kept = measured.measurements.into_iter().next_back().expect("a repeat");
    let records = measured.records.into_iter().next_back().map(|(_, records)| records);
    (kept, records.unwrap_or_default())
}

fn prompt_tokens(records: &[RequestRecord]) -> Vec<u64> {
    records.iter().filter_map(|record| record.usage).map(|usage| usage.prompt_tokens).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_sends_every_form_in_its_own_lengths_and_nothing_is_found_in_the_cache() {
    let files = Files::new(&TALKS);
    for name in ["share.json", "chats.jsonl", "prompts.jsonl"] {
        let simulated = Simulated::start(&format!("{SMALL} 4096")).await;
        // One after another: records stand in the order in which slots were free, and of two
        // that are so at once either takes the next prompt.
        let options = json!({
            "dataset": files.path(name), "concurrency": 1, "requests": 10, "output_tokens": 4,
        });
        let (kept, records) = one(&simulated, "load", &options).await;
        let reason = kept.reason.as_deref().expect("said");
        assert_eq!(kept.status, Status::Ok, "{name}: {reason}");
        assert!(
            reason.ends_with(
                "has 4 prompts for 10 requests: it went round 3 times, each time with other salts"
            ),
            "{reason}"
        );
        assert_eq!((number(&kept, "completed"), number(&kept, "failed")), (Some(10.0), Some(0.0)));
        assert_eq!(number(&kept, "hit_tokens_share"), Some(0.0), "{name}");
        // The order is that of the seed, and round.
        let tokens = prompt_tokens(&records);
        for (place, tokens_then) in tokens.iter().enumerate() {
            let same = tokens[place % 4].abs_diff(*tokens_then) < 13;
            let others =
                (1..4).all(|other| tokens[(place + other) % 4].abs_diff(*tokens_then) >= 13);
            assert!(same && others, "{name}: {tokens:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_loop_and_a_search_take_prompts_from_a_file() {
    let files = Files::new(&TALKS);
    let simulated = Simulated::start(&format!("{SMALL} 4096")).await;
    let options = json!({
        "dataset": files.path("chats.jsonl"), "rate": 200, "find-max-rate": true,
        "slo-e2el-ms": 60_000, "requests": 12, "output_tokens": 2, "warmup": 0,
    });
    let measured = measure(&simulated.server, &[workload("load", &options)], 1).await;
    measured.ended.expect("a living server");
    for kept in &measured.measurements {
        // How late the client is depends on the machine; what it sent does not.
        assert!(number(kept, "completed") >= Some(12.0), "{kept:?}");
        assert_eq!(number(kept, "failed"), Some(0.0), "{kept:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_is_what_users_said_and_what_the_server_answered() {
    let files = Files::new(&TALKS);
    for name in ["share.json", "chats.jsonl"] {
        let simulated = Simulated::start(&format!("{SMALL} 4096")).await;
        let options = json!({
            "dataset": files.path(name), "conversations": 4, "turns": 2, "output_tokens": 8,
            "warmup": 0,
        });
        let (kept, records) = one(&simulated, "conversation", &options).await;
        assert_eq!((kept.status, kept.reason.as_deref()), (Status::Ok, None), "{name}");
        assert_eq!(number(&kept, "turns"), Some(8.0), "{name}");
        assert_eq!(records.len(), 8, "nothing but the turns was sent");
        for turns in prompt_tokens(&records).chunks(2) {
            assert!((8..40).contains(&(turns[1] - turns[0])), "{name}: {turns:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prefixes_are_filled_to_their_length_by_every_form() {
    let files = Files::new(&TALKS);
    for name in ["share.json", "chats.jsonl", "prompts.jsonl"] {
        let simulated = Simulated::start(&format!("{SMALL} 4096")).await;
        let options = json!({
            "dataset": files.path(name), "prefix_tokens": 600, "prompts": 2, "output_tokens": 4,
        });
        let (kept, records) = one(&simulated, "kv-cache", &options).await;
        assert_eq!((kept.status, kept.reason.as_deref()), (Status::Ok, None), "{name}");
        let tokens = number(&kept, "prompt_tokens").expect("reported");
        assert!((600.0..=612.0).contains(&tokens), "{name}: {tokens}");
        assert_eq!(number(&kept, "hit_tokens_share"), Some(1.0), "{name}: sent again, found again");
        assert!(prompt_tokens(&records).iter().all(|tokens| (590..=620).contains(tokens)));
    }
}

fn long(words: usize) -> String {
    "the old harbour is quiet in winter and ".repeat(words / 8)
}

#[tokio::test(flavor = "multi_thread")]
async fn prompts_that_do_not_fit_are_passed_over_and_counted() {
    let (far, wide) = (long(4000), long(1200));
    let mut talks = TALKS.to_vec();
    talks.push([&far, "And?"]);
    talks.push([&wide, "And?"]);
    let files = Files::new(&talks);
    let simulated = Simulated::start(&format!("{SMALL} 1024")).await;
    let share = files.path("share.json");
    let options = json!({
        "dataset": share, "concurrency": 2, "requests": 12, "output_tokens": 4, "warmup": 0,
    });
    let (kept, records) = one(&simulated, "load", &options).await;
    let reason = kept.reason.as_deref().expect("said");
    assert_eq!(kept.status, Status::Ok, "{reason}");
    let out = "do not fit into the context of 1024 tokens and are passed over";
    assert!(reason.starts_with("2 of 6 prompts of ") && reason.contains(out), "{reason}");
    assert!(reason.contains("has 4 prompts for 12 requests"), "{reason}");
    assert_eq!(number(&kept, "failed"), Some(0.0));
    assert!(records.iter().all(|record| record.error.is_none()), "none was even sent");

    let options = json!({
        "dataset": share, "conversations": 4, "turns": 2, "output_tokens": 8, "warmup": 0,
    });
    let (kept, _) = one(&simulated, "conversation", &options).await;
    let reason = kept.reason.as_deref().expect("said");
    assert_eq!((kept.status, number(&kept, "turns")), (Status::Ok, Some(8.0)), "{reason}");
    assert!(reason.starts_with("2 of 6 conversations of ") && reason.ends_with(out), "{reason}");

    let options = json!({"dataset": share, "conversations": 5, "turns": 2, "warmup": 0});
    let (kept, records) = one(&simulated, "conversation", &options).await;
    let reason = kept.reason.as_deref().expect("said");
    assert_eq!(kept.status, Status::Skipped);
    assert!(
        reason.contains(
            "has 4 conversations of 2 turns that fit into the context, and the workload needs 5: 2 of 6"
        ),
        "{reason}"
    );
    let purposes: Vec<&str> = records.iter().map(|record| record.purpose.as_str()).collect();
    assert_eq!(purposes, ["calibration"], "only what shows how long the texts are was sent");
}

/// What the estimate takes for short may be refused: digits are a token each.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refuses_as_too_long_is_passed_over_too() {
    let dense = "0123 ".repeat(1300);
    let sparse = "supercalifragilisticexpialidocious ".repeat(100);
    let mut talks: Vec<[&str; 2]> = vec![[&sparse, "And?"]; 30];
    talks.push([&dense, "And?"]);
    let files = Files::new(&talks);
    let simulated = Simulated::start(&format!("{SMALL} 4096")).await;
    let share = files.path("share.json");
    let options = json!({
        "dataset": share, "concurrency": 2, "requests": 31, "output_tokens": 4, "warmup": 0,
    });
    let measured = measure(&simulated.server, &[workload("load", &options)], 2).await;
    let [first, second] = &measured.measurements[..] else { panic!("two repeats") };
    let out = "1 of 31 prompts of ";
    assert!(first.reason.as_ref().is_some_and(|reason| reason.starts_with(out)), "{first:?}");
    assert_eq!((first.status, number(first, "completed")), (Status::Ok, Some(30.0)));
    assert_eq!(number(first, "failed"), Some(0.0), "a prompt that is too long is no failure");
    let refused = |repeat: usize| {
        let (_, records) = &measured.records[repeat];
        records.iter().filter(|record| record.error.is_some()).count()
    };
    assert_eq!(refused(0), 1, "its record is kept");
    assert_eq!((refused(1), number(second, "completed")), (0, Some(31.0)), "it is known now");

    let options = json!({
        "dataset": share, "conversations": 30, "turns": 2, "output_tokens": 8, "warmup": 0,
    });
    let (kept, _) = one(&simulated, "conversation", &options).await;
    assert_eq!((kept.status, number(&kept, "turns")), (Status::Ok, Some(60.0)), "{kept:?}");
}
