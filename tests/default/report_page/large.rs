//! A sweep of 200 configurations and 10,000 repeats: how large its page is, and how long it takes.

use std::time::{Duration, Instant};

use vllm_grid::history::record::SweepRecord;

use super::made::Made;

/// So many configurations, each launched five times with ten repeats.
fn large(configurations: usize) -> SweepRecord {
    let mut record = Made::example().record;
    let pattern = record.launches.iter().find(|it| it.measurements.len() >= 3).unwrap().clone();
    let known = record.manifest.configurations[0].clone();
    record.manifest.configurations.clear();
    record.launches.clear();
    for at in 0..configurations {
        let mut one = known.clone();
        one.name = format!("prefix-util{:.2}-seqs{}", 0.5 + at as f64 / 500.0, 8 + at);
        one.id = format!("{at:016x}");
        one.varied.insert("max-num-seqs".to_owned(), (8 + at).into());
        record.manifest.configurations.push(one);
    }
    record.manifest.baseline = Some(record.manifest.configurations[0].name.clone());
    for launch in 0..5 * configurations {
        let mut one = pattern.clone();
        one.launch = launch as u32 + 1;
        one.trial = launch as u32;
        one.configuration.clone_from(&record.manifest.configurations[launch % configurations].name);
        let kept = pattern.measurements[1].clone();
        one.measurements = (1..=10)
            .map(|repeat| {
                let mut measurement = kept.clone();
                measurement.repeat = repeat;
                let slower = 1.0 + (launch % configurations) as f64 / 1000.0;
                for value in measurement.metrics.values_mut().flatten() {
                    if let vllm_grid::metric::MetricValue::Number(number) = value {
                        *number *= slower
                            * (1.0 + f64::from((launch as u32 * 7 + repeat * 13) % 17) / 500.0);
                    }
                }
                measurement
            })
            .collect();
        one.measured_at = vec![one.started_at.unwrap(); 10];
        record.launches.push(one);
    }
    record
}

#[test]
#[ignore = "a figure: its time says nothing on a loaded machine or without optimisation"]
fn a_large_sweep_has_a_page_of_at_most_3_mb() {
    let record = large(200);
    let repeats: usize = record.launches.iter().map(|it| it.measurements.len()).sum();
    assert_eq!(repeats, 10_000);
    let ranked = Instant::now();
    let made = Made::of(record, None);
    let (ranked, begun) = (ranked.elapsed(), Instant::now());
    let page = made.page();
    let (took, size) = (begun.elapsed(), page.len());
    if let Some(path) = std::env::var_os("VLLM_GRID_TEST_LARGE_PAGE") {
        std::fs::write(path, &page).unwrap();
    }
    let markdown = made.markdown().len();
    println!(
        "ranked and analysed in {ranked:?}, rendered in {took:?}: {size} bytes, Markdown {markdown}"
    );
    assert!(size <= 3_000_000, "{size} bytes");
    assert!(took < Duration::from_secs(5), "{took:?}");
}
