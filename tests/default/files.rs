//! `docs/files.md` and the files agree: every column is described, and nothing that is
//! described is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use polars::prelude::DataFrame;
use serde_json::{Value, json};
use vllm_grid::bench::{RecordSink as _, RepeatKey};
use vllm_grid::gate::{Gate, GateReport, GateVerdict};
use vllm_grid::history::record::{Manifest, SweepRecord};
use vllm_grid::results::frame::results;
use vllm_grid::results::ranking::rank;
use vllm_grid::results::records::ParquetRecords;
use vllm_grid::server::effective::FlagProof;

use crate::results::builder::{Building as _, around, sweep};
use crate::support::parquet;

/// What the page describes of a file, by the name behind `columns:`.
fn described(name: &str) -> BTreeSet<String> {
    let page = include_str!("../../docs/files.md");
    let start = page.find(&format!("<!-- columns: {name} -->")).expect("a table");
    let table = page[start..].split("<!-- /columns -->").next().unwrap();
    let cells = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = cells.map(|line| line.split(" |").next().unwrap());
    cells.flat_map(|cell| cell.split(", ")).map(|word| word.trim_matches('`').to_owned()).collect()
}

/// Whether a column is of a description: `<...>` stands for any text.
fn fits(description: &str, column: &str) -> bool {
    let Some((head, open)) = description.split_once('<') else { return description == column };
    let (_, rest) = open.split_once('>').expect("a closed name");
    let Some(column) = column.strip_prefix(head) else { return false };
    let ends = column.char_indices().skip(1).map(|(at, _)| at).chain([column.len()]);
    !column.is_empty() && ends.into_iter().any(|end| fits(rest, &column[end..]))
}

fn agree(name: &str, columns: &BTreeSet<String>) {
    let described = described(name);
    for column in columns {
        let known = described.iter().any(|it| fits(it, column));
        assert!(known, "docs/files.md does not describe `{column}` of {name}");
    }
    for description in &described {
        let there = columns.iter().any(|column| fits(description, column));
        assert!(there, "docs/files.md describes `{description}` of {name}, which there is not");
    }
}

fn names(frames: &[DataFrame]) -> BTreeSet<String> {
    frames.iter().flat_map(DataFrame::get_column_names).map(ToString::to_string).collect()
}

/// A sweep with everything that makes a column.
fn record() -> SweepRecord {
    let mut record = sweep(&["a", "b"])
        .flags("b", json!({"max-num-seqs": 8}))
        .baseline("a")
        .constraint("kv_cache.tpot_ms", None, Some(50.0));
    for _ in 0..2 {
        record = record.launch("a", &around(300.0)).launch("b", &around(200.0));
        record = record.shown("max-num-seqs", json!(8), FlagProof::Passed);
    }
    record.manifest.hosts = Some(vllm_grid::grid::SlurmBlock {
        partition: None,
        gres: None,
        at_once: 3,
        seconds: None,
        exclusive: true,
        options: Vec::new(),
    });
    let b = &mut record.manifest.configurations[1];
    b.environment = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
    b.stack.variables = BTreeMap::from([("TAG".to_owned(), "x".to_owned())]);
    record.launches[0].gates.push(GateReport {
        gate: Gate::Canary,
        verdict: GateVerdict::Passed,
        reason: None,
        findings: Vec::new(),
        metrics: BTreeMap::from([("canary.right".to_owned(), 1.0)]),
    });
    record
}

#[test]
fn every_column_of_results_is_described() {
    agree("results", &names(&[results(&record()).unwrap()]));
}

#[test]
fn every_column_of_ranking_is_described() {
    let ratios = record();
    // An objective that may be zero has differences in the place of ratios.
    let mut differences = record();
    differences.manifest.objective.metric = "kv_cache.failed".parse().unwrap();
    let frame = |record: &SweepRecord| rank(record).frame_with_flags(record).unwrap();
    agree("ranking", &names(&[frame(&ratios), frame(&differences)]));
}

#[test]
fn every_column_of_records_and_telemetry_is_described() {
    let folder = tempfile::tempdir().unwrap();
    let sink = ParquetRecords::in_launch(folder.path());
    let (workload, case) = ("load".to_owned(), String::new());
    sink.store(&RepeatKey { launch: 1, workload, case, repeat: 1 }, &[]).unwrap();
    agree("records", &names(&[parquet(&folder.path().join("records/load-1.parquet"))]));
    sink.store_telemetry(1, &[]).unwrap();
    agree("telemetry", &names(&[parquet(&folder.path().join("telemetry.parquet"))]));
}

#[test]
fn every_key_of_a_manifest_and_kind_of_an_entry_is_described() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("runs/example");
    let keys = |manifest: &Value| -> BTreeSet<String> {
        manifest.as_object().unwrap().keys().cloned().collect()
    };
    let described_keys = described("manifest");
    let text = std::fs::read_to_string(example.join("manifest.json")).unwrap();
    let written: Value = serde_json::from_str(&text).unwrap();
    for key in keys(&written) {
        assert!(described_keys.contains(&key), "docs/files.md does not describe `{key}`");
    }
    // What is described is read: a manifest of these keys alone, each with a wrong value.
    for key in &described_keys {
        let mut wrong = written.clone();
        wrong[key] = json!(-1.5);
        let read = serde_json::from_value::<Manifest>(wrong);
        assert!(read.is_err(), "a manifest has no key `{key}`");
    }
    let journal = std::fs::read_to_string(example.join("journal.jsonl")).unwrap();
    let kinds = described("journal");
    for line in journal.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let kind = line["line"]["entry"]["kind"].as_str().unwrap();
        assert!(kinds.contains(kind), "docs/files.md does not describe the entry `{kind}`");
    }
    for kind in &kinds {
        let entry = json!({"kind": kind});
        // One without its fields is refused; one that no version knows is skipped.
        let read = serde_json::from_value::<vllm_grid::history::journal::Entry>(entry);
        assert!(read.is_err(), "a journal has no entry `{kind}`");
    }
}

/// The files below a folder, relative to it.
fn files(folder: &Path, root: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, root, found);
        } else {
            found.push(path.strip_prefix(root).unwrap().display().to_string());
        }
    }
}

#[test]
fn every_file_of_a_sweep_is_described() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("runs/example");
    let mut found = Vec::new();
    files(&example, &example, &mut found);
    assert!(found.len() > 20, "{found:?}");
    let described = described("files");
    for file in found {
        let known = described.iter().any(|it| fits(it, &file));
        assert!(known, "docs/files.md does not describe {file}");
    }
}

#[test]
fn descriptions_stand_for_names_with_dots() {
    assert!(fits("flag.<name>", "flag.a.b") && !fits("flag.<name>", "flag."));
    assert!(fits("<metric>.low", "load[rate=0.5].x.low") && !fits("<metric>.low", ".low"));
    assert!(fits("rank", "rank") && !fits("rank", "rank_label"));
    assert!(fits("<n>-<c>/records/<w>-<r>.parquet", "1-a-b/records/load-1.parquet"));
    assert!(fits("<workload>.<metric>", "load.x") && !fits("<workload>.<metric>", "load"));
}
