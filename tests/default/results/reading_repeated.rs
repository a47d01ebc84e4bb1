//! The block of confirmations that were repeated, of ties with the baseline, and of single launches.

use vllm_grid::metric::MetricValue;
use vllm_grid::results::confirmed::ConfirmedGain;
use vllm_grid::results::ranking::rank;
use vllm_grid::results::reading::Reading;

use crate::results::reading::{block, block_of, claim, flags, four, gain, place, served};

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn fresh_launches_that_show_the_opposite_say_so() {
    let record = claim();
    let mut ranking = rank(&record);
    ranking.confirmed = vec![gain("prefix-seqs64", 0.78, 0.74, 0.81)];
    let text = block_of(&record, &ranking, &place());
    assert!(text.contains("Fresh launches show that prefix-seqs64 is slower than"), "{text}");
    ranking.confirmed = vec![gain("prefix-seqs64", 0.98, 0.94, 1.01)];
    let text = block_of(&record, &ranking, &place());
    assert!(text.contains("Fresh launches do not show that"), "{text}");
}

#[test]
fn a_confirmation_that_was_repeated_is_counted() {
    let record = claim();
    let mut ranking = rank(&record);
    let second = ConfirmedGain { number: 2, ..gain("prefix-seqs64", 1.41, 1.36, 1.46) };
    ranking.confirmed = vec![gain("prefix-seqs64", 1.03, 0.98, 1.08), second];
    let text = block_of(&record, &ranking, &place());
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = "This is confirmation 2 of 2 of this pair; the first gave +3% [-2%, +8%].";
    assert!(text.contains(said), "{text}");
    ranking.confirmed.remove(0);
    assert!(!block_of(&record, &ranking, &place()).contains("This is confirmation"));
}

#[test]
fn a_confirmation_of_what_was_launched_once_is_continued() {
    let mut record = flags();
    for (name, mean) in [("production", 1000.0), ("prefix-seqs64", 1400.0)] {
        record = served(record, name, mean, 800.0);
    }
    let mut ranking = rank(&record);
    let swept = block_of(&record, &ranking, &place());
    assert!(swept.contains("launched once") && swept.contains("sweep again"), "{swept}");
    let begun = gain("prefix-seqs64", 1.41, 1.2, 1.6);
    ranking.confirmed = vec![ConfirmedGain { ended: None, effect: None, pairs: 2, ..begun }];
    let text = block_of(&record, &ranking, &place());
    assert!(text.contains("(continues)") && !text.contains("sweep again"), "{text}");
}

#[test]
fn the_spread_that_is_assumed_is_named() {
    let mut record = flags();
    for (name, mean) in [("production", 1000.0), ("prefix-seqs64", 1400.0)] {
        record = served(record, name, mean, 800.0);
    }
    let reading = Reading::of(&rank(&record), &record.manifest, &place());
    assert!(reading.trust.assumed_deviation.is_some_and(|it| it > 0.0));
    let text = words(&block(&record));
    assert!(text.contains("% between launches is assumed: nothing was launched twice."), "{text}");
}

#[test]
fn a_tie_with_the_baseline_in_front_says_so_and_a_lead_says_how_large() {
    let means = [("production", 1010.0), ("prefix-seqs64", 1000.0), ("prefix-seqs32", 990.0)];
    let text = words(&block(&four(flags(), &means)));
    assert!(text.contains("Nothing better than production was found."), "{text}");
    assert!(text.contains("3 of 3 configurations are not distinguishable."), "{text}");
    let means = [("production", 1000.0), ("prefix-seqs64", 700.0), ("prefix-seqs32", 500.0)];
    let text = words(&block(&four(flags(), &means)));
    assert!(
        text.contains("2 of 2 others are shown to be worse. The next is prefix-seqs64: -"),
        "{text}"
    );
}

#[test]
fn first_repeats_that_are_not_warm_are_cured_before_a_night_is_spent_on_confirming() {
    let record = claim();
    assert!(block(&record).contains("vllm-grid confirm"), "what this test is about");
    let mut cold = record;
    let measurements = cold.launches.iter_mut().flat_map(|it| &mut it.measurements);
    for measurement in measurements.filter(|it| it.repeat == 1) {
        for (name, value) in &mut measurement.metrics {
            if let (true, Some(MetricValue::Number(rate))) = (name == "output_throughput", value) {
                *rate *= 0.6;
            }
        }
    }
    let text = words(&block(&cold));
    assert!(text.contains("prefix-seqs64: the first kept repeat is worse by"), "{text}");
    assert!(text.contains("NEXT Raise `warmup` in the grid, and sweep again"), "{text}");
    assert!(!text.contains("vllm-grid confirm"), "{text}");
}
