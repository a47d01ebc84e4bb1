//! Who is not to serve although fresh launches gain: what fails a gate or dies in its confirmation,
//! and what was confirmed against something else than the baseline.

use serde_json::json;
use vllm_grid::history::launch::FailureClass;
use vllm_grid::history::record::SweepRecord;
use vllm_grid::report::reading::render;
use vllm_grid::results::analysis::Use;
use vllm_grid::results::applicable::{Refusal, chosen};
use vllm_grid::results::confirmed::{Standing, Unfit};
use vllm_grid::results::ranking::rank;
use vllm_grid::results::reading::{Place, Reading, Statement};
use vllm_grid::strategy::Purpose;
use vllm_grid::strategy::confirm::Ended;

use crate::results::analysis::{loads, of, row};
use crate::results::builder::{Building, configuration};
use crate::results::confirmed::{confirming, opened, repeats};

fn reading(record: &SweepRecord) -> Reading {
    let place = Place { run: "run".to_owned(), ..Place::default() };
    Reading::of(&rank(record), &record.manifest, &place)
}

/// So many further launches of it fail.
fn failing(
    mut record: SweepRecord,
    name: &str,
    class: FailureClass,
    (times, confirmation): (u32, Option<u32>),
) -> SweepRecord {
    for _ in 0..times {
        record = record.failed(name, class, "canary: the answer to `french` loops");
        let launch = record.launches.last_mut().unwrap();
        launch.confirmation = confirmation;
        launch.purpose = if confirmation.is_some() { Purpose::Confirm } else { Purpose::Screen };
        launch.trial = 1_000_000 + launch.launch;
    }
    record
}

fn standing(record: &SweepRecord) -> Standing {
    rank(record).confirmed[0].standing()
}

const FRESH: Option<u32> = Some(1);

#[test]
fn what_fails_a_gate_in_its_confirmation_is_not_deployed_however_fast_it_is() {
    let good = confirming(70.0, 7, Some(Ended::Precise));
    let record = failing(good.clone(), "a", FailureClass::GateFailed, (2, FRESH));
    let (ranking, reading) = (rank(&record), reading(&record));
    assert!(ranking.confirmed[0].shown && standing(&record) == Standing::Unfit);
    assert!(
        matches!(&reading.result, Statement::Unfit { cause: Unfit::GateFailed { .. }, .. }),
        "{:?}",
        reading.result
    );
    let choice = reading.choice.as_ref().unwrap();
    assert_eq!((choice.configuration.as_str(), choice.is_baseline), ("production", true));
    let refused = chosen(&record, &ranking, &reading, None).unwrap_err();
    assert!(matches!(refused, Refusal::Keep { .. }), "{refused}");
    // Also where a person names it.
    let refused = chosen(&record, &ranking, &reading, Some("a")).unwrap_err();
    assert!(matches!(refused, Refusal::Failed { .. }), "{refused}");
    let said = render(&reading, 80).split_whitespace().collect::<Vec<_>>().join(" ");
    let expected =
        "RESULT Not confirmed: a failed a gate. WHY Canary: the answer to `french` loops.";
    assert!(said.contains(expected), "{said}");
    // What the machine did to single launches says nothing of the answers.
    let died = failing(good, "a", FailureClass::EngineDied, (2, FRESH));
    assert_eq!(standing(&died), Standing::Confirmed);
}

#[test]
fn what_failed_a_gate_in_the_sweep_is_not_confirmed_where_a_person_names_it() {
    let record = confirming(70.0, 7, Some(Ended::Precise));
    let record = failing(record, "a", FailureClass::GateFailed, (1, None));
    assert_eq!(standing(&record), Standing::Unfit);
    let reading = reading(&record);
    assert!(!matches!(reading.result, Statement::Better { .. }), "{:?}", reading.result);
    assert!(chosen(&record, &rank(&record), &reading, None).is_err());
}

#[test]
fn a_gate_that_fails_in_all_fresh_launches_is_a_result_too() {
    let record = confirming(70.0, 0, Some(Ended::Failing));
    let record = failing(record, "a", FailureClass::GateFailed, (3, FRESH));
    assert_eq!(standing(&record), Standing::Unfit);
    assert!(matches!(reading(&record).result, Statement::Unfit { .. }));
}

#[test]
fn what_dies_in_its_confirmation_is_not_confirmed() {
    let good = confirming(70.0, 4, Some(Ended::Failing));
    let record = failing(good.clone(), "a", FailureClass::EngineDied, (3, FRESH));
    assert_eq!(rank(&record).confirmed[0].unfit, Some(Unfit::Failing));
    assert!(matches!(reading(&record).result, Statement::Unfit { cause: Unfit::Failing, .. }));
    assert!(chosen(&record, &rank(&record), &reading(&record), None).is_err());
    // That the other one died says nothing of it.
    let other = failing(good, "production", FailureClass::EngineDied, (3, FRESH));
    assert_eq!(standing(&other), Standing::Confirmed);
}

#[test]
fn a_confirmation_whose_baseline_dies_ended_without_a_result_and_is_not_continued() {
    let record = confirming(70.0, 1, Some(Ended::Failing));
    let record = failing(record, "production", FailureClass::EngineDied, (3, FRESH));
    assert_eq!(standing(&record), Standing::Unfinished);
    let gain = &rank(&record).confirmed[0];
    assert_eq!((gain.can_go_on(), gain.unfit.as_ref()), (false, None));
    let said = render(&reading(&record), 80).split_whitespace().collect::<Vec<_>>().join(" ");
    let ended = "The confirmation ended without a result: production gave no values any more.";
    assert!(said.contains(ended), "{said}");
    let next = "NEXT Correct what production fails by, as its launches' engine.log says, then: \
                vllm-grid confirm run --again";
    assert!(said.contains(next), "{said}");
    let sentence = gain.to_string();
    assert!(sentence.contains("ended without a result"), "{sentence}");
}

#[test]
fn a_candidate_that_gives_nothing_in_its_confirmation_is_a_result() {
    let record = confirming(70.0, 0, Some(Ended::Failing));
    let record = failing(record, "a", FailureClass::EngineDied, (3, FRESH));
    assert_eq!(standing(&record), Standing::Unfit);
    // Stopped before it can say anything.
    let gain = &rank(&confirming(70.0, 1, None)).confirmed[0];
    assert!(gain.to_string().contains("too short to say anything (1 + 1 launches"), "{gain}");
}

/// What is better than a slow configuration need not be better than what serves.
#[test]
fn a_confirmation_against_another_one_than_the_baseline_is_none_of_the_gain() {
    let mut record = confirming(70.0, 7, Some(Ended::Precise));
    record.manifest.configurations.push(configuration("b", &json!({})));
    for (at, off) in (0..).zip([1.0, 1.02, 0.99]) {
        record = record.launch("b", &repeats(80.0 * off)).at(1200 * at + 300);
    }
    assert!(rank(&record).confirmed_of("a").is_some(), "production is the baseline");
    record.manifest.baseline = Some("b".to_owned());
    let ranking = rank(&record);
    assert!(ranking.confirmed[0].is_confirmed() && ranking.confirmed_of("a").is_none());
    let reading = reading(&record);
    assert!(
        !matches!(reading.result, Statement::Better { confirmed: true, .. }),
        "{:?}",
        reading.result
    );
    assert!(chosen(&record, &ranking, &reading, None).is_err());
}

/// Throughput is the objective, and `a` has half as much again in the sweep; in fresh launches as
/// much as this one.
pub(crate) fn used(like: &str) -> SweepRecord {
    let mut record = loads(&[("production", &[(8, 100.0, 50.0)]), ("a", &[(8, 150.0, 50.0)])])
        .baseline("production");
    let own = record.launches.clone();
    for turn in 0..4 {
        for name in ["production", "a"] {
            let source = if name == "a" { like } else { name };
            let mut of = own.iter().filter(|it| it.configuration == source).skip(turn % 2);
            let mut launch = of.next().unwrap().clone();
            name.clone_into(&mut launch.configuration);
            launch.launch = record.launches.len() as u32 + 1;
            (launch.confirmation, launch.purpose) = (FRESH, Purpose::Confirm);
            launch.trial = 1_000_000 + launch.launch;
            record.launches.push(launch);
        }
    }
    opened(record, 1, Some(Ended::Budget))
}

fn throughput(record: &SweepRecord) -> Use {
    of(record).uses.into_iter().find(|it| it.name == "throughput").unwrap()
}

#[test]
fn a_use_recommends_what_is_confirmed_and_not_what_fresh_launches_refute() {
    let record = used("a");
    let it = throughput(&record);
    let a = Some(row(&rank(&record), "a"));
    assert_eq!((it.best, it.shown, it.confirmed), (a, true, Some(true)), "{it:?}");
    let record = used("production");
    let it = throughput(&record);
    assert_eq!((it.shown, it.confirmed), (false, Some(false)), "{it:?}");
    assert!((it.ratio.unwrap().value - 1.0).abs() < 0.01, "by the fresh launches");
    let record = failing(used("a"), "a", FailureClass::GateFailed, (1, FRESH));
    let it = throughput(&record);
    assert_eq!(it.best, Some(row(&rank(&record), "production")), "{it:?}");
}
