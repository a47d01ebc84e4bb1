//! `confirm` as a person runs it, on the simulated engine.

use rustix::process::Signal;

use crate::support::{CACHING, Ran, Workplace, numbers, signal, texts};

#[test]
fn a_candidate_is_confirmed_on_fresh_launches_in_the_same_run_also_after_a_stop() {
    let place = Workplace::new(&CACHING.replace("speed: 20", "speed: 100"));
    place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    let wrong = place.run(&["confirm", "run", "--configuration", "prefx"]).expect(2);
    assert!(wrong.err.contains("did you mean") && wrong.err.contains("prefix"), "{}", wrong.err);
    let plan =
        place.run(&["confirm", "run", "--claim", "100%", "--budget", "3s", "--dry-run"]).expect(0);
    assert!(plan.out.contains("confirmation 1: prefix and noprefix in turn"), "{}", plan.out);
    assert!(plan.out.contains("expected in all: about "), "{}", plan.out);
    assert!(plan.out.contains("the budget of 3 s allows about "), "{}", plan.out);
    assert_eq!(place.entries("run", "confirmation_started"), 0);

    let before = place.entries("run", "launch_ended");
    let child = place.start(&["confirm", "run", "--claim", "100%"]);
    place.wait_for("run", "launch_ended", before + 3);
    signal(&child, Signal::INT);
    let stopped = Ran::of(child.wait_with_output().unwrap()).expect(4);
    assert!(
        stopped.err.contains("vllm-grid confirm run --configuration prefix --claim 100%"),
        "{}",
        stopped.err
    );
    assert!(stopped.out.contains("The confirmation is not over"), "{}", stopped.out);
    // Under NEXT, or under FIX where the sweep's two launches were too noisy to decide.
    let next = "     vllm-grid confirm run --claim 100%    (continues)\n";
    assert!(stopped.out.contains(next), "{}", stopped.out);

    let resumed = place.run(&["resume", "run"]).expect(0);
    assert!(resumed.err.contains("continues confirmation 1"), "{}", resumed.err);
    assert!(resumed.out.contains("confirmed on fresh launches"), "{}", resumed.out);
    assert_eq!(place.entries("run", "confirmation_ended"), 1);
    // It ends with what this confirmation showed.
    let (_, last) = resumed.out.rsplit_once("\n\n").expect("paragraphs");
    assert!(last.starts_with("confirmation 1: prefix is better than noprefix"), "{last}");
    assert!(last.trim_end().ends_with("UTC"), "{last}");
    let over = place.run(&["confirm", "run", "--claim", "100%"]).expect(0);
    assert!(
        over.out.contains("vllm-grid confirm run --configuration prefix --claim 100% --again"),
        "{}",
        over.out
    );

    let ranking = place.ranking("run");
    assert_eq!(numbers(&ranking, "launches"), [Some(2.0), Some(2.0)], "those of the sweep");
    let ratio = numbers(&ranking, "confirmed_ratio")[0].unwrap();
    // Two milliseconds of a busy machine count at this speed.
    assert!(ratio < 0.7, "{ratio}");
    alternates(&place);
}

/// Each trial that confirms is of the other configuration than the one before it.
fn alternates(place: &Workplace) {
    let results = place.results("run");
    let (purposes, names) = (texts(&results, "purpose"), texts(&results, "configuration"));
    let journal = place.journal("run");
    let started = journal.iter().map(|line| &line["line"]["entry"]);
    let mut trials: Vec<(u64, &str)> = started
        .filter(|entry| entry["kind"] == "launch_started" && entry["purpose"] == "confirm")
        .map(|it| (it["slot"].as_u64().unwrap(), it["configuration"].as_str().unwrap()))
        .collect();
    trials.dedup();
    assert!(trials.len() >= 12, "{trials:?}");
    assert!(trials.windows(2).all(|it| it[0].0 + 1 == it[1].0 && it[0].1 != it[1].1), "{trials:?}");
    let confirms = purposes.iter().filter(|it| it.as_deref() == Some("confirm")).count();
    assert!(confirms >= 24 && names.len() > confirms, "{confirms} rows");
}

#[test]
fn a_run_without_a_baseline_or_with_another_grid_is_refused_before_anything_is_launched() {
    let grid = CACHING.replace("baseline: noprefix\n", "").replace("speed: 20", "speed: 200");
    let place = Workplace::new(&grid);
    place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    let none = place.run(&["confirm", "run"]).expect(2);
    assert!(none.err.contains("--baseline NAME"), "{}", none.err);
    let budget = place.run(&["confirm", "run", "--budget", "soon", "--claim", "0%"]).expect(2);
    assert!(budget.err.contains("such as 10%") || budget.err.contains("4h"), "{}", budget.err);
    std::fs::write(place.path("grid.yaml"), grid.replace("seed: 1}}", "seed: 2}}")).unwrap();
    let named = ["--configuration", "prefix", "--baseline", "noprefix"];
    let changed = place.run(&[["confirm", "run"].as_slice(), &named].concat()).expect(2);
    assert!(changed.err.contains("grid changed"), "{}", changed.err);
    let plan = [["confirm", "run", "--dry-run"].as_slice(), &named].concat();
    let planned = place.run(&plan).expect(2);
    assert!(planned.err.contains("grid changed"), "{}", planned.err);
    assert_eq!(place.entries("run", "confirmation_started"), 0);
}

/// What a person confirms may break a bound: it is fast, and not to be used.
#[test]
fn a_configuration_that_breaks_a_bound_on_fresh_launches_is_not_confirmed() {
    let bound = "objective:\n  constraints: [{metric: kv_cache.ttft_resent_ms, max: 0.001}]\n";
    let grid = CACHING.replace("speed: 20", "speed: 100").replace("objective:\n", bound);
    let place = Workplace::new(&grid);
    place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(1);
    let named = ["--configuration", "prefix", "--claim", "100%"];
    let ran = place.run(&[["confirm", "run"].as_slice(), &named].concat()).expect(1);
    let (_, last) = ran.out.rsplit_once("\n\n").expect("paragraphs");
    assert!(last.starts_with("confirmation 1: prefix breaks a bound"), "{last}");
    assert!(!ran.out.contains("confirmed on fresh launches"), "{}", ran.out);
    assert!(!ran.out.contains("Launch vLLM with the flags above"), "{}", ran.out);
    // What was known already ends so, too.
    place.run(&[["confirm", "run"].as_slice(), &named].concat()).expect(1);
}
