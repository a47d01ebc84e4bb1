//! The block of a run that stopped production and did not prove it since, and of launches that
//! the environment did not allow for a time.

use vllm_grid::history::launch::FailureClass;
use vllm_grid::history::production::Unproven;
use vllm_grid::history::record::SweepRecord;
use vllm_grid::report::reading::render;
use vllm_grid::results::ranking::rank;
use vllm_grid::results::reading::next::NextStep;
use vllm_grid::results::reading::{Place, Reading};

use crate::results::builder::Building as _;
use crate::results::reading::{block_of, claim, place};

fn owed(started: bool) -> Place {
    let production = Unproven {
        id: "0123456789abcdef".to_owned(),
        name: "my-production".to_owned(),
        stopped_at: "2026-11-28T01:02:03Z".parse().unwrap(),
        started,
    };
    Place { production: Some(production), ..place() }
}

#[test]
fn production_that_is_not_proven_comes_first_and_so_does_what_proves_it() {
    let record = claim();
    let text = block_of(&record, &rank(&record), &owed(false));
    insta::assert_snapshot!(text);
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("stopped at 2026-11-28 01:02:03 UTC, not proven since."), "{text}");
    let started = block_of(&record, &rank(&record), &owed(true));
    assert!(started.contains("started again"), "{started}");
    let reading = Reading::of(&rank(&record), &record.manifest, &owed(true));
    let run = place().run;
    assert_eq!(reading.next[0], NextStep::Recover { run });
    assert!(reading.next.len() > 1, "what comes after it stays: {:?}", reading.next);
}

fn failed_for_a_time(at_the_end: bool) -> SweepRecord {
    let mut record = claim();
    let last = record.launches.pop().unwrap();
    let name = record.launches[0].configuration.clone();
    let message = "the Docker daemon does not answer";
    let later = if at_the_end { None } else { Some(last.clone()) };
    if at_the_end {
        record.launches.push(last);
    }
    let mut record = record.failed(&name, FailureClass::Environment, message);
    record.launches.extend(later);
    for (at, launch) in record.launches.iter_mut().enumerate() {
        launch.launch = at as u32 + 1;
    }
    record
}

#[test]
fn what_the_environment_allowed_later_needs_no_doctor() {
    let said = |record: &SweepRecord| {
        let reading = Reading::of(&rank(record), &record.manifest, &place());
        let group = reading.failed.iter().find(|it| it.ranked).expect("a launch failed");
        let flat = render(&reading, 100).split_whitespace().collect::<Vec<_>>().join(" ");
        (group.passed, group.advice, flat)
    };
    let (passed, advice, text) = said(&failed_for_a_time(true));
    assert_eq!((passed, advice), (false, Some("run doctor on the grid")), "{text}");
    let (passed, advice, text) = said(&failed_for_a_time(false));
    assert_eq!((passed, advice), (true, None), "{text}");
    assert!(text.contains("allowed no launch for a time") && !text.contains("doctor"), "{text}");
}
