//! A confirmed gain in the table and in the sentence that `confirm` ends with.

use vllm_grid::history::record::SweepRecord;
use vllm_grid::report::{confirmation, table};
use vllm_grid::results::confirmed::ConfirmedGain;
use vllm_grid::results::ranking::rank;

use crate::results::reading::{claim, gain};

fn shown(record: &SweepRecord, confirmed: &[ConfirmedGain], columns: usize) -> String {
    let mut ranking = rank(record);
    ranking.confirmed = confirmed.to_vec();
    table::render(&ranking, &record.manifest, columns, true)
}

fn line<'a>(text: &'a str, part: &str) -> &'a str {
    text.lines().find(|it| it.contains(part)).expect("such a line")
}

#[test]
fn the_confirmed_gain_takes_the_place_of_the_one_that_chose_the_configuration() {
    let text = shown(&claim(), &[gain("prefix-seqs64", 1.2, 1.15, 1.25)], 80);
    assert!(line(&text, "prefix-seqs64").contains("c +20% [+15%, +25%]"), "{text}");
    assert!(line(&text, "prefix-seqs32").contains(" u +"), "{text}");
    assert!(text.contains("c from the fresh launches") && text.contains("u\n"), "{text}");
    assert!(!text.contains("unconfirmed change"), "{text}");
}

/// Filled: shown by fresh launches. One that they did not show stays hollow.
#[test]
fn bars_are_filled_where_the_gain_is_confirmed() {
    let text = shown(&claim(), &[gain("prefix-seqs64", 1.2, 1.15, 1.25)], 140);
    assert!(line(&text, "prefix-seqs64").contains('●'), "{text}");
    assert!(line(&text, "prefix-seqs32").contains('○'), "{text}");
    assert!(text.contains("● confirmed to be better by fresh launches"), "{text}");
    let open = ConfirmedGain { shown: false, ..gain("prefix-seqs64", 1.02, 0.95, 1.1) };
    assert!(!shown(&claim(), &[open], 140).contains('●'));
}

#[test]
fn a_confirmation_against_another_one_is_not_in_the_column() {
    let other = ConfirmedGain {
        baseline: "prefix-seqs32".to_owned(),
        ..gain("prefix-seqs64", 1.2, 1.15, 1.25)
    };
    let text = shown(&claim(), &[other], 80);
    assert!(text.contains("unconfirmed change") && !text.contains("c +"), "{text}");
}

/// Rank 1 is the baseline: the others' changes are explained all the same.
#[test]
fn the_legend_stays_while_the_column_does() {
    let record = best_baseline();
    let text = shown(&record, &[], 120);
    let legend = text.lines().filter(|it| it.starts_with("unconfirmed change:")).count();
    assert_eq!(legend, 1, "{text}");
}

fn best_baseline() -> SweepRecord {
    let mut record = claim();
    record.manifest.baseline = Some("prefix-seqs64".to_owned());
    record
}

#[test]
fn a_confirmation_ends_with_its_own_sentence() {
    let mut own = gain("prefix-seqs64", 1.41, 1.36, 1.46);
    own.failed.baseline = 1;
    own.from = Some("2026-11-28T22:10:00Z".parse().unwrap());
    own.until = Some("2026-11-29T01:35:00Z".parse().unwrap());
    let text = confirmation::render(&own, 80).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.starts_with("confirmation 1: prefix-seqs64 is better than production"), "{text}");
    assert!(text.contains("1 launch of production failed"), "{text}");
    assert!(text.ends_with("2026-11-28 22:10 to 2026-11-29 01:35 UTC"), "{text}");
}
