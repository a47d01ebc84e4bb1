//! `report --format json`: its structure, and that its documentation names every key.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use vllm_grid::history::extent::State;
use vllm_grid::history::launch::FailureClass;
use vllm_grid::history::record::SweepRecord;
use vllm_grid::report::document::Document;
use vllm_grid::results::confirmed::ConfirmedGain;
use vllm_grid::results::ranking::rank;
use vllm_grid::results::reading::{Place, Reading};

use crate::results::blocks::unswept;
use crate::results::builder::{Building, around, sweep};
use crate::results::reading::{candidate_only, claim, extent, gain, missing, moved, place};

fn document(record: &SweepRecord, confirmed: &[ConfirmedGain], state: State) -> Value {
    let mut ranking = rank(record);
    ranking.confirmed = confirmed.to_vec();
    let extent = extent(state);
    let place = Place { extent: Some(extent.clone()), ..place() };
    let reading = Reading::of(&ranking, &record.manifest, &place);
    let document = Document::of(&ranking, &record.manifest, &reading, &place.run, Some(&extent));
    serde_json::to_value(&document).unwrap()
}

/// Documents that have, together, every key that there is.
fn documents() -> Vec<Value> {
    let complete = |record: &SweepRecord| document(record, &[], State::Complete);
    let mut failing = claim().failed("prefix-seqs32", FailureClass::OutOfMemory, "no memory");
    failing.manifest.objective.constraints[0].max = Some(810.0);
    let mut bounded = claim();
    bounded.manifest.objective.constraints[0].max = Some(100.0);
    let mut once = sweep(&["a", "b"]).baseline("a");
    once = once.launch("a", &around(100.0)).launch("b", &around(101.0));
    let mut shares = sweep(&["plain", "good"]).baseline("plain");
    shares.manifest.objective.metric = "kv_cache.hit_tokens_share".parse().unwrap();
    for _ in 0..3 {
        shares = shares.launch_of("plain", "hit_tokens_share", &[0.0, 0.1]);
        shares = shares.launch_of("good", "hit_tokens_share", &[0.5, 0.6]);
    }
    let stopped = State::Stopped { reason: "5 launches failed".to_owned() };
    let mut all = vec![
        document(&claim(), &[gain("prefix-seqs64", 1.41, 1.36, 1.46)], State::Complete),
        document(&claim(), &[], State::Running),
        document(&claim(), &[], stopped),
        document(&claim(), &[], State::Waiting),
    ];
    let others = [claim(), candidate_only(), missing(), moved(), failing, bounded, once, shares];
    all.extend(others.iter().map(complete));
    all.push(complete(&unswept()));
    all.push(complete(&sweep(&["a", "b"]).failed("a", FailureClass::Timeout, "no answer")));
    all
}

/// Keys whose own keys are names that the grid gives.
const NAMES: [&str; 2] = ["varied", "environment"];

/// Every key with its path, `[]` for the entries of a list.
fn paths(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(keys) => {
            for (key, value) in keys {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                found.insert(path.clone());
                if !NAMES.contains(&key.as_str()) {
                    paths(value, &path, found);
                }
            }
        }
        Value::Array(values) => {
            for value in values {
                paths(value, &format!("{path}[]"), found);
            }
        }
        _ => {}
    }
}

fn all_paths() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for document in documents() {
        paths(&document, "", &mut found);
    }
    found
}

#[test]
fn the_structure_is_stable() {
    let mut found = all_paths();
    // Findings, exclusions and remarks are open lists: their kinds have their own tests.
    let open = [".exclusions[]", ".remarks[]", "findings[]"];
    found.retain(|path| !open.iter().any(|it| path.contains(it)));
    insta::assert_snapshot!(found.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn the_documentation_names_every_key() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/report-json.md");
    let text = std::fs::read_to_string(path).unwrap();
    let found = all_paths();
    let last = |path: &String| path.rsplit('.').next().unwrap_or_default().to_owned();
    let keys: BTreeSet<String> = found.iter().map(last).collect();
    let lost: Vec<&String> =
        keys.iter().filter(|key| !text.contains(&format!("`{key}`"))).collect();
    assert!(lost.is_empty(), "docs/report-json.md does not name {lost:?}");
    assert!(keys.len() > 100, "{}", keys.len());
}

#[test]
fn the_document_says_what_the_block_says() {
    let found = document(&claim(), &[], State::Running);
    assert_eq!(found["schema_version"], 1);
    assert_eq!(found["extent"], json!({"done": 12, "of": 48, "state": "running"}));
    assert_eq!(found["reading"]["partial"]["done"], 12);
    assert_eq!(found["reading"]["result"]["configuration"], "prefix-seqs64");
    assert_eq!(found["reading"]["next"][0]["next"], "wait");
    let first = &found["configurations"][0];
    assert_eq!((&first["rank"], &first["candidate"]), (&json!(1), &json!(true)));
    let metrics = first["estimates"].as_array().unwrap();
    let metric = |name: &str| metrics.iter().find(|it| it["metric"] == name);
    let ttft = metric("load[concurrency=8].median_ttft_ms").expect("measured");
    assert_eq!((&ttft["unit"], &ttft["launches"]), (&json!("ms"), &json!(4)));
    assert!(ttft["interval"]["low"].as_f64() < ttft["mean"].as_f64(), "{ttft}");
    // What was not measured is not listed, and never 0.
    assert!(metrics.iter().all(|it| it["mean"] != 0));
}
