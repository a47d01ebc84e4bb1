//! Launches of an earlier block enter no figure: whatever they were, the ranking is that of
//! the latest block alone.

use proptest::prelude::{ProptestConfig, prop, prop_assert, prop_assert_eq, proptest};
use vllm_grid::history::block::Block;
use vllm_grid::history::launch::FailureClass;
use vllm_grid::history::record::SweepRecord;
use vllm_grid::report::table;
use vllm_grid::results::frame::results;
use vllm_grid::results::ranking::{Ranking, rank};

use crate::results::builder::{Building, around, sweep};
use crate::results::reading;

fn block(record: &SweepRecord) -> Block {
    Block {
        number: record.block() + 1,
        first_trial: record.next_first_trial(),
        differences: vec!["driver: 550 -> 560".to_owned()],
        tool_version: "0.1.0".to_owned(),
        suite_version: 1,
        host: "a test".to_owned(),
        machine: None,
        image_id: None,
        image: None,
        ids: Vec::new(),
        production_sha256: None,
        production_parts: std::collections::BTreeMap::default(),
        service_parts: None,
        datasets: Vec::new(),
    }
}

/// Launches of both in turn; a value below 0 is a launch that failed for good.
fn launched(mut record: SweepRecord, values: &[f64]) -> SweepRecord {
    for (at, value) in values.iter().enumerate() {
        let name = ["a", "b"][at % 2];
        record = if *value < 0.0 {
            record.failed(name, FailureClass::OutOfMemory, "it does not fit")
        } else {
            record.launch(name, &around(*value))
        };
    }
    record
}

/// A sweep that is over, and a block after it in which a confirmation alone was launched.
pub(crate) fn unswept() -> SweepRecord {
    let mut record = launched(sweep(&["a", "b"]).baseline("a"), &[100.0, 90.0, 101.0, 91.0]);
    let begun = block(&record);
    record.begin_block(&begun);
    let mut record = launched(record, &[100.0, 90.0]);
    for launch in &mut record.launches {
        launch.confirmation = Some(1);
    }
    record
}

#[test]
fn a_block_without_launches_of_the_sweep_says_so_in_place_of_an_empty_table() {
    let record = unswept();
    let ranking = rank(&record);
    assert!(ranking.rows.iter().all(|row| row.rank.is_none()));
    let said = "block 2 has 2 launches of a confirmation, and none of the sweep itself";
    let table = table::render(&ranking, &record.manifest, 100, true);
    assert!(table.contains(&format!("no ranking: {said}\n")), "{table}");
    assert!(!table.contains("not launched so far"), "{table}");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = words(&reading::block(&record));
    assert!(text.contains(&format!("RESULT No decision: {said}.")), "{text}");
    assert!(text.contains("4 launches of block 1 are not counted"), "{text}");
    assert!(text.contains("NEXT vllm-grid resume"), "{text}");
    // With its sweep it is a block as every other.
    let swept = launched(record, &[100.0, 90.0]);
    assert_eq!(rank(&swept).unswept, None);
    assert!(table::render(&rank(&swept), &swept.manifest, 100, true).contains("configuration"));
}

/// Everything of a ranking besides what is said of earlier blocks.
fn counted(record: &SweepRecord) -> String {
    let ranking = rank(record);
    format!("{:?}", Ranking { not_counted: Vec::new(), ..ranking })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn two_blocks_of_different_speed_are_never_pooled(
        earlier in prop::collection::vec(-1.0..5.0_f64, 0..7),
        speed in 0.001..1000.0_f64,
        latest in prop::collection::vec(100.0..900.0_f64, 0..7),
    ) {
        let scaled: Vec<f64> = earlier.iter().map(|it| it.signum() * it.exp() * speed).collect();
        let mut record = launched(sweep(&["a", "b"]).baseline("a"), &scaled);
        let before = results(&record).unwrap().height();
        let next = block(&record);
        record.begin_block(&next);
        let alone = launched(sweep(&["a", "b"]).baseline("a"), &latest);
        let both = launched(record, &latest);
        prop_assert_eq!(counted(&both), counted(&alone));
        // Every row is kept, with its block.
        let frame = results(&both).unwrap();
        prop_assert_eq!(frame.height(), before + results(&alone).unwrap().height());
        let blocks = frame.column("block").unwrap().u32().unwrap();
        prop_assert_eq!(blocks.iter().filter(|it| *it == Some(1)).count(), before);
        prop_assert!(blocks.iter().all(|it| matches!(it, Some(1 | 2))));
        let not_counted = rank(&both).not_counted;
        prop_assert_eq!(not_counted.iter().map(|it| it.launches).sum::<usize>(), earlier.len());
    }
}
