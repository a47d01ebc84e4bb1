use super::*;
use crate::client::record::{RequestError, RequestErrorClass, RequestRecord};
use crate::results::analysis::reservoir::POINTS;
use crate::results::records::{ParquetRecords, file_name};
use crate::telemetry::sink::{RecordSink as _, RepeatKey};

fn filled(values: impl IntoIterator<Item = f64>, lost: usize) -> Reservoir {
    let mut reservoir = Reservoir::new(1, KEPT);
    for value in values {
        reservoir.add(value);
    }
    reservoir.lost = lost;
    reservoir
}

#[test]
fn a_curve_is_thin_and_keeps_both_ends() {
    let curve = filled((1..=5000).map(f64::from), 0).curve(3).expect("values");
    assert_eq!((curve.configuration, curve.requests), (3, 5000));
    assert!(curve.points.len() <= POINTS, "{}", curve.points.len());
    assert_eq!(curve.points.first(), Some(&(1.0, 1.0 / 5000.0)));
    assert_eq!(curve.points.last(), Some(&(5000.0, 1.0)));
    assert!(curve.points.windows(2).all(|it| it[0].0 < it[1].0 && it[0].1 < it[1].1));
    assert!((curve.p50 - 2500.5).abs() < 1e-9);
}

#[test]
fn a_percentile_needs_sixty_requests_and_equal_values_are_one_step() {
    let p95 = |n: u32| filled((0..n).map(f64::from), 0).curve(0).expect("values").p95;
    assert_eq!((p95(59), p95(60).is_some()), (None, true));
    let equal = filled([5.0, 5.0, 7.0, 5.0], 0).curve(0).expect("values");
    assert_eq!(equal.points, [(5.0, 0.75), (7.0, 1.0)]);
    assert_eq!(filled([5.0], 0).curve(0).expect("a value").points, [(5.0, 1.0)]);
    assert_eq!(filled([], 0).curve(0), None);
}

#[test]
fn failed_requests_took_for_ever() {
    let curve = filled((0..75).map(f64::from), 25).curve(0).expect("a median");
    assert_eq!(curve.requests, 100);
    assert!((curve.points.last().expect("points").1 - 0.75).abs() < 1e-12);
    assert_eq!(curve.p95, None, "it falls among the failed ones");
    assert_eq!(filled((0..40).map(f64::from), 60).curve(0), None);
}

#[test]
fn a_random_part_of_many_values_has_their_quantiles() {
    let many = 5 * KEPT;
    let curve = filled((0..many).map(|at| at as f64), 0).curve(0).expect("values");
    assert_eq!(curve.requests, many);
    for (share, value) in [(0.5, curve.p50), (0.95, curve.p95.expect("enough"))] {
        assert!((value / many as f64 - share).abs() < 0.02, "{share}: {value}");
    }
}

#[test]
fn requests_are_split_by_what_they_were_for_and_what_prepared_a_repeat_is_left_out() {
    let request = |purpose: &str, milliseconds: u64| RequestRecord {
        purpose: purpose.to_owned(),
        scheduled_ns: 1_000_000,
        sent_ns: 2_000_000,
        first_token_ns: Some((2 + milliseconds) * 1_000_000),
        ..RequestRecord::default()
    };
    let failing = |class, purpose: &str| RequestRecord {
        error: Some(RequestError { class, message: "m".to_owned() }),
        ..request(purpose, 4)
    };
    let records = [
        request("calibration", 9000),
        request("miss", 100),
        request("resent", 10),
        failing(RequestErrorClass::ServerError, "resent"),
        failing(RequestErrorClass::MissingUsage, "resent"),
        RequestRecord { first_token_ns: None, ..request("independent", 0) },
    ];
    let folder = tempfile::tempdir().unwrap();
    let key =
        RepeatKey { launch: 1, workload: "kv-cache".to_owned(), case: String::new(), repeat: 1 };
    ParquetRecords::in_launch(folder.path()).store(&key, &records).unwrap();
    let path = folder.path().join("records").join(file_name(&key));
    let split = |quantities: &[Quantity]| -> Vec<(Vec<f64>, usize)> {
        let mut kept: Vec<Reservoir> = quantities.iter().map(|_| Reservoir::new(1, KEPT)).collect();
        Requests::read(&path).unwrap().into_all(quantities, &mut kept);
        kept.into_iter().map(|it| (it.values, it.lost)).collect()
    };
    assert_eq!(split(CACHE), [(vec![100.0], 0), (vec![10.0, 4.0], 1), (vec![], 1)]);
    assert_eq!(split(SCHEDULED), [(vec![101.0, 11.0, 5.0], 2)], "from the schedule");
    std::fs::write(&path, "nonsense").unwrap();
    assert!(Requests::read(&path).is_err());
}
