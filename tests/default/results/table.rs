//! The ranking as people read it.

use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;
use vllm_grid::history::launch::FailureClass;
use vllm_grid::history::record::SweepRecord;
use vllm_grid::report::{figures, table};
use vllm_grid::results::ranking::rank;

use crate::results::builder::{Building, around, sweep};

fn rendered(record: &SweepRecord, columns: usize) -> String {
    let text = table::render(&rank(record), &record.manifest, columns, true);
    for line in text.lines() {
        assert!(line.width() <= columns, "{columns}: {line}");
    }
    text
}

fn flags(util: f64, prefix: bool, chunk: bool, seqs: Option<u32>) -> Value {
    json!({"gpu-memory-utilization": util, "enable-prefix-caching": prefix,
        "enable-chunked-prefill": chunk, "max-num-seqs": seqs})
}

/// The user's four, as they could come out.
fn validated() -> SweepRecord {
    let mut record = sweep(&[
        "chunked_only_safe",
        "safe_conservative",
        "optimized_balanced",
        "aggressive_cache",
    ])
    .flags("chunked_only_safe", flags(0.85, false, true, Some(32)))
    .flags("safe_conservative", flags(0.85, false, false, Some(32)))
    .flags("optimized_balanced", flags(0.9, true, true, Some(32)))
    .flags("aggressive_cache", flags(0.95, true, true, None))
    .baseline("chunked_only_safe")
    .constraint("kv_cache.ttft_miss_ms", None, Some(4000.0));
    record.manifest.varied = [
        "gpu-memory-utilization",
        "enable-prefix-caching",
        "enable-chunked-prefill",
        "max-num-seqs",
    ]
    .map(str::to_owned)
    .to_vec();
    for (name, resent) in [
        ("chunked_only_safe", 2390.0),
        ("safe_conservative", 2450.0),
        ("optimized_balanced", 214.0),
    ] {
        for factor in [1.0, 1.05] {
            record =
                record.launch(name, &around(resent * factor)).and("ttft_miss_ms", &around(2400.0));
        }
    }
    record.failed("aggressive_cache", FailureClass::OutOfMemory, "CUDA out of memory at 0.95")
}

#[test]
fn at_80_columns() {
    insta::assert_snapshot!(rendered(&validated(), 80));
}

/// The first width with bars: the unit, the count of failures and the bounds, which have a
/// table below, give way to them.
#[test]
fn at_100_columns() {
    insta::assert_snapshot!(rendered(&validated(), 100));
}

#[test]
fn at_140_columns() {
    insta::assert_snapshot!(rendered(&validated(), 140));
}

#[test]
fn bars_are_in_wide_terminals_alone() {
    assert!(!rendered(&validated(), 99).contains('○'));
    assert!(rendered(&validated(), 100).contains('○'));
    // One figure is no comparison.
    let alone = sweep(&["alone"]).launch("alone", &around(200.0)).launch("alone", &around(210.0));
    assert!(!rendered(&alone, 140).contains('○'));
}

#[test]
fn at_120_columns() {
    insta::assert_snapshot!(rendered(&validated(), 120));
}

#[test]
fn at_160_columns() {
    insta::assert_snapshot!(rendered(&validated(), 160));
}

#[test]
fn a_tie_from_single_launches_is_insufficient_data() {
    let record = sweep(&["prefix_only_safe", "chunked_only_safe", "combined_conservative"])
        .launch("prefix_only_safe", &[895.95])
        .launch("chunked_only_safe", &[908.67])
        .launch("combined_conservative", &[895.47]);
    insta::assert_snapshot!(rendered(&record, 80));
}

#[test]
fn long_names_are_cut_and_listed_in_full_below() {
    let long = "util0.85-prefix-nochunk-seqs32-batch8192-len131072-fp8-marlin-yarn4";
    let other =
        "数値測定設定-prefix-chunk-seqs48-batch8192-len131072-fp8-marlin-yarn4-数値測定設定";
    let mut record = sweep(&[long, other]);
    for _ in 0..2 {
        record = record.launch(long, &around(214.0)).launch(other, &around(220.0));
    }
    insta::assert_snapshot!(rendered(&record, 80));
}

/// Values that stand inside the names: `seqs8` and `seqs82` are two.
#[test]
fn no_name_above_the_figures_of_a_workload_is_cut_inside_a_value() {
    let names = ["prefix-util0.85-batch8192-seqs64", "prefix-util0.82-batch8192-seqs64"];
    let mut record = sweep(&names);
    for _ in 0..2 {
        record = record.launch(names[0], &around(214.0)).launch(names[1], &around(220.0));
    }
    let kind = record.manifest.workloads[0].kind();
    let text = figures::render(&rank(&record), &record.manifest, kind, 80, true);
    let head = text.lines().find(|line| line.contains("util0.85")).unwrap();
    assert!(head.find("util0.85") < head.find("util0.82"), "{text}");
    assert!(text.contains("#1 candidate") && text.contains("#2"), "{text}");
    assert!(text.contains("names without what all share: prefix-*batch8192-seqs64"), "{text}");
    let apart = ["util0.85-prefix-seqs64-batch4096", "util0.82-noprefix-seqs64-batch8192"];
    let mut record = sweep(&apart);
    for _ in 0..2 {
        record = record.launch(apart[0], &around(214.0)).launch(apart[1], &around(220.0));
    }
    let text = figures::render(&rank(&record), &record.manifest, kind, 80, true);
    let heads = text.lines().filter(|line| line.contains("util")).collect::<String>();
    assert!(heads.contains("util0.85-") && heads.contains("util0.82-"), "{text}");
}

#[test]
fn what_all_names_share_is_shown_whole() {
    let shared = "gpu-memory-utilization0.85-max-num-batched-tokens8192-enable-prefix-caching-on";
    let names = [format!("{shared}-a"), format!("{shared}-a-b")];
    let mut record = sweep(&[&names[0], &names[1]]);
    for _ in 0..2 {
        record = record.launch(&names[0], &around(214.0)).launch(&names[1], &around(220.0));
    }
    let text = rendered(&record, 80);
    let words = text.split_whitespace().collect::<String>();
    assert!(words.contains(&format!("{shared}-")) && !text.contains('…'), "{text}");
}

#[test]
fn simulated_figures_are_marked_and_others_are_not() {
    let mut record = validated();
    assert!(rendered(&record, 80).starts_with("SIMULATED"));
    record.manifest.simulated = false;
    assert!(!rendered(&record, 80).contains("SIMULATED"));
}

#[test]
fn nothing_is_called_a_winner() {
    for columns in [60, 80, 120, 160, 400] {
        assert!(!rendered(&validated(), columns).to_lowercase().contains("winner"));
    }
}

#[test]
fn an_empty_sweep_says_so() {
    insta::assert_snapshot!(rendered(&sweep(&[]), 80));
}

#[test]
fn many_configurations_are_not_explained_one_by_one() {
    let names: Vec<String> = (0..200).map(|n| format!("{}-{n}", "long-name".repeat(9))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut record = sweep(&names);
    for name in &names {
        record = record.launch(name, &around(200.0));
    }
    let text = rendered(&record, 80);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("names without what all share: long-"), "{text}");
    // A line each in the table, no second one below it.
    assert!(text.lines().count() < 300, "{text}");
}

#[test]
fn what_a_server_logged_cannot_write_to_the_terminal() {
    let message = "\u{1b}[31mout of memory\u{1b}[0m\n\tat step 3";
    let record = sweep(&["big"]).failed("big", FailureClass::Unknown, message);
    let text = rendered(&record, 80);
    assert!(!text.contains('\u{1b}'), "{text}");
    assert!(text.contains("out of memory"));
}

/// Five bounds, of which two are not met everywhere.
fn bounded() -> SweepRecord {
    let mut record = sweep(&["prefix-seqs64-and-a-long-name-to-be-cut", "plain", "slow"]);
    for (metric, max) in [
        ("kv_cache.ttft_miss_ms", 4000.0),
        ("kv_cache.ttft_resent_ms", 2500.0),
        ("kv_cache.ttft_independent_ms", 5000.0),
        ("kv_cache.tpot_ms", 40.0),
        ("kv_cache.failed", 0.0),
    ] {
        record = record.constraint(metric, None, Some(max));
    }
    let names: Vec<String> =
        record.manifest.configurations.iter().map(|c| c.name.clone()).collect();
    for (name, ms) in names.iter().zip([220.0, 2450.0, 6000.0]) {
        for factor in [1.0, 1.05] {
            record = record
                .launch(name, &around(ms * factor))
                .and("ttft_miss_ms", &around(2400.0))
                .and("ttft_independent_ms", &around(2500.0))
                .and("tpot_ms", &around(21.5))
                .and("failed", &[0.0; 5]);
        }
    }
    record
}

#[test]
fn bounds_are_shown_with_the_figures_compared_with_them() {
    insta::assert_snapshot!(rendered(&bounded(), 80));
    rendered(&bounded(), 60);
}

#[test]
fn the_figures_of_one_workload_are_shown_for_every_configuration() {
    let record = bounded();
    let kind = record.manifest.workloads[0].kind();
    let tables = |columns| {
        let text = figures::render(&rank(&record), &record.manifest, kind, columns, true);
        assert!(text.lines().all(|line| line.width() <= columns), "{text}");
        text
    };
    insta::assert_snapshot!(tables(80));
    tables(60);
}

#[test]
fn an_objective_that_may_be_zero_is_shown_as_a_difference() {
    let mut record = sweep(&["calm", "busy"]).baseline("busy");
    record.manifest.objective.metric = "kv_cache.failed".parse().unwrap();
    for _ in 0..2 {
        record = record.launch_of("calm", "failed", &[0.0; 5]);
        record = record.launch_of("busy", "failed", &[21.0, 25.0, 24.0, 20.0, 25.0]);
    }
    insta::assert_snapshot!(rendered(&record, 100));
    rendered(&record, 60);
}
