//! Files that other tools read.

use std::fs::File;
use std::path::{Path, PathBuf};

use polars::prelude::{ParquetReader, SerReader};
use serde_json::json;
use vllm_grid::history::launch::FailureClass;
use vllm_grid::history::record::SweepRecord;
use vllm_grid::report::export;
use vllm_grid::results::ResultsError;
use vllm_grid::results::ranking::rank;

use crate::results::builder::{Building, around, conversations, sweep};

fn record() -> SweepRecord {
    let mut record = sweep(&["on", "off", "big"])
        .flags("on", json!({"enable-prefix-caching": true, "gpu-memory-utilization": 0.85}))
        .flags("off", json!({"enable-prefix-caching": false, "gpu-memory-utilization": 0.85}))
        .flags("big", json!({"enable-prefix-caching": true, "gpu-memory-utilization": 0.99}))
        .launch("on", &[214.125, 200.1])
        .launch("off", &around(2000.0))
        .failed("big", FailureClass::OutOfMemory, "no \"memory\",\nat all");
    record.manifest.configurations[0].aliases = vec!["also".to_owned(), "and".to_owned()];
    record
}

fn write(folder: &Path, record: &SweepRecord) -> Result<Vec<PathBuf>, ResultsError> {
    export::write(folder, record, &rank(record))
}

#[test]
fn four_files_are_written_and_nothing_else_stays() {
    let folder = tempfile::tempdir().unwrap();
    let paths = write(folder.path(), &record()).unwrap();
    let mut found: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    assert_eq!(found, ["ranking.csv", "ranking.parquet", "results.csv", "results.parquet"]);
    assert_eq!(paths.len(), 4);
}

#[test]
fn two_exports_of_one_record_are_the_same_bytes() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // The record as the journal would give it back.
    let text = serde_json::to_string(&record()).unwrap();
    let again: SweepRecord = serde_json::from_str(&text).unwrap();
    write(one.path(), &record()).unwrap();
    write(two.path(), &again).unwrap();
    for name in ["ranking.csv", "ranking.parquet", "results.csv", "results.parquet"] {
        let read = |folder: &tempfile::TempDir| std::fs::read(folder.path().join(name)).unwrap();
        assert!(read(&one) == read(&two), "{name}");
    }
}

#[test]
fn parquet_holds_the_frame() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &record()).unwrap();
    let read = |name: &str| {
        ParquetReader::new(File::open(folder.path().join(name)).unwrap()).finish().unwrap()
    };
    let results = vllm_grid::results::frame::results(&record()).unwrap();
    assert!(read("results.parquet").equals_missing(&results));
    let ranking = rank(&record()).frame_with_flags(&record()).unwrap();
    assert!(read("ranking.parquet").equals_missing(&ranking));
}

#[test]
fn csv_has_decimal_points_and_empty_fields_for_what_was_not_measured() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &record()).unwrap();
    let results = std::fs::read_to_string(folder.path().join("results.csv")).unwrap();
    insta::assert_snapshot!("results.csv", results);
    let ranking = std::fs::read_to_string(folder.path().join("ranking.csv")).unwrap();
    assert!(ranking.contains(",also|and,"), "{ranking}");
    assert!(!ranking.contains("NaN") && !ranking.contains(",inf,"), "{ranking}");
}

/// The columns of `ranking.csv` of a sweep.
fn columns(record: &SweepRecord) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), record).unwrap();
    let text = std::fs::read_to_string(folder.path().join("ranking.csv")).unwrap();
    text.lines().next().unwrap().split(',').map(str::to_owned).collect()
}

#[test]
fn the_csv_of_the_ranking_has_what_says_something_in_a_reader_s_order() {
    let record = record().baseline("off").constraint("kv_cache.ttft_miss_ms", None, Some(9000.0));
    let columns = columns(&record);
    insta::assert_snapshot!(columns.join("\n"));
    let full = rank(&record).frame_with_flags(&record).unwrap();
    for name in &columns {
        assert!(full.column(name).is_ok(), "{name}");
    }
    assert!(columns.len() < full.width());
}

/// Checks from outside rely on them, whether or not there is a value.
#[test]
fn columns_of_the_contract_are_always_in_the_csv() {
    let nothing = sweep(&["a"]).constraint("kv_cache.tpot_ms", None, Some(9.0));
    let columns = columns(&nothing);
    for name in [
        "rank",
        "rank_label",
        "configuration",
        "configuration_id",
        "aliases",
        "baseline",
        "simulated",
        "eligible",
        "reason",
        "launches",
        "repeats",
        "failures",
        "kv_cache.ttft_resent_ms.geomean",
        "kv_cache.ttft_resent_ms.low",
        "kv_cache.ttft_resent_ms.high",
        "kv_cache.tpot_ms.geomean",
        "constraint.kv_cache.tpot_ms",
    ] {
        assert!(columns.iter().any(|column| column == name), "{name}: {columns:?}");
    }
    assert!(!columns.iter().any(|column| column.starts_with("kv_cache.ttft_miss_ms")));
}

/// A configuration's flags stand in its row, with what its servers showed.
#[test]
fn flags_of_the_ranking_have_what_was_shown_and_the_proof() {
    use vllm_grid::server::effective::FlagProof;

    let record = sweep(&["a", "b"])
        .flags("a", json!({"max-num-seqs": 8}))
        .flags("b", json!({"max-num-seqs": 16}))
        .launch("a", &around(200.0))
        .shown("max-num-seqs", json!(8), FlagProof::Passed)
        .shown("num-gpu-blocks", json!(2000), FlagProof::Honoured)
        .launch("a", &around(200.0))
        .shown("max-num-seqs", json!(8), FlagProof::Honoured)
        .shown("num-gpu-blocks", json!(2001), FlagProof::Honoured)
        .launch("b", &around(300.0));
    let frame = rank(&record).frame_with_flags(&record).unwrap();
    let numbers = |name: &str| -> Vec<Option<i64>> {
        frame.column(name).unwrap().i64().unwrap().iter().collect()
    };
    let texts = |name: &str| -> Vec<Option<String>> {
        let column = frame.column(name).unwrap().str().unwrap();
        column.iter().map(|text| text.map(str::to_owned)).collect()
    };
    assert_eq!(numbers("flag.max-num-seqs"), [Some(8), Some(16)]);
    assert_eq!(numbers("effective.max-num-seqs"), [Some(8), None]);
    assert_eq!(texts("verdict.max-num-seqs"), [Some("honoured|passed".to_owned()), None]);
    // Its launches showed different ones: `results` has each.
    assert_eq!(numbers("effective.num-gpu-blocks"), [None, None]);
}

#[test]
fn a_list_stays_one_in_parquet_and_in_the_journal_and_is_json_in_csv() {
    let record = conversations([Some(vec![Some(12.5), None, Some(13.0)]), None]);
    let text = serde_json::to_string(&record).unwrap();
    assert!(text.contains(r#""ttft_by_turn_ms":[12.5,null,13.0]"#), "{text}");
    let again: SweepRecord = serde_json::from_str(&text).unwrap();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &again).unwrap();
    let file = File::open(folder.path().join("results.parquet")).unwrap();
    let frame = vllm_grid::results::frame::results(&record).unwrap();
    assert!(ParquetReader::new(file).finish().unwrap().equals_missing(&frame));
    let csv = std::fs::read_to_string(folder.path().join("results.csv")).unwrap();
    let rows: Vec<&str> = csv.lines().collect();
    assert!(rows[1].contains("\"[12.5,null,13.0]\""), "{}", rows[1]);
    assert!(!rows[2].contains('['), "not measured: {}", rows[2]);
}

#[test]
fn the_error_of_a_missing_folder_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let error = write(&folder.path().join("gone"), &record()).unwrap_err();
    assert!(error.to_string().contains("gone"), "{error}");
}
