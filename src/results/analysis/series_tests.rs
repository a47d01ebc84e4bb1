use super::*;
use crate::results::telemetry::write;
use crate::telemetry::{GpuReading, HostReading, Reading, Sample, ServerReading};

fn sample(second: i64, reading: Reading) -> Sample {
    Sample { at_unix_ms: 1_000_000 + second * 1000, at_ns: 0, reading }
}

fn host(second: i64, cpu: f64) -> Sample {
    sample(second, Reading::Host(HostReading { cpu: Some(cpu), ..HostReading::default() }))
}

fn gpu(second: i64, index: u32, bytes: u64) -> Sample {
    let reading = GpuReading { index, memory_bytes: Some(bytes), ..GpuReading::default() };
    sample(second, Reading::Gpu(reading))
}

#[test]
fn samples_are_averaged_around_times_and_the_greatest_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("telemetry.parquet");
    let mut samples: Vec<Sample> =
        (0..100).map(|second| host(second, if second == 70 { 0.9 } else { 0.1 })).collect();
    samples.extend([gpu(0, 0, 100), gpu(0, 1, 300), gpu(99, 1, 500)]);
    let server = ServerReading { kv_usage: Some(0.25), ..ServerReading::default() };
    samples.push(sample(50, Reading::Server(server)));
    write(&path, &samples).unwrap();
    let found = of_launch(&path, 2).unwrap();
    let figures = |quantity, gpu| -> Vec<(f64, f64)> {
        let points: &[Around] = found.get(&(quantity, gpu)).map_or(&[], Vec::as_slice);
        points.iter().map(|it| (it.mean, it.most)).collect()
    };
    let cpu = figures(Quantity::HostCpu, 0);
    assert_eq!(cpu.len(), 2);
    assert!((cpu[0].0 - 0.1).abs() < 1e-9 && (cpu[1].1 - 0.9).abs() < 1e-9, "{cpu:?}");
    assert_eq!(figures(Quantity::GpuMemory, 0), [(100.0, 100.0)]);
    assert_eq!(figures(Quantity::GpuMemory, 1), [(300.0, 300.0), (500.0, 500.0)]);
    assert_eq!(figures(Quantity::KvUsage, 0), [(0.25, 0.25)]);
    assert_eq!(figures(Quantity::GpuPower, 0), [], "what was not sampled has no series");
    std::fs::write(&path, "nonsense").unwrap();
    assert!(of_launch(&path, 2).is_err());
}

#[test]
fn launches_have_gaps_between_them_until_there_are_too_many() {
    let around = |at: f64| Around { at, mean: at, most: at, samples: 1.0 };
    let two = joined(vec![vec![around(1.0), around(2.0)], vec![], vec![around(3.0)]]);
    let shown: Vec<Option<f64>> = two.iter().map(|it| it.map(|(_, mean, _)| mean)).collect();
    assert_eq!(shown, [Some(1.0), Some(2.0), None, Some(3.0)]);
    let many = joined((0..2000).map(|at| vec![around(f64::from(at))]).collect());
    assert!(many.len() <= POINTS && many.iter().all(Option::is_some), "{}", many.len());
    assert!(many.last().copied().flatten().expect("a point").2 >= 1999.0);
}

#[test]
fn each_launch_has_points_by_its_part_of_the_time() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let span = |started: Option<i64>, ended: Option<i64>| Span {
        launch: 1,
        block: 1,
        name: "a".to_owned(),
        configuration: None,
        confirms: false,
        started: started.map(at),
        ready: None,
        warm: None,
        measured: None,
        ended: ended.map(at),
        failure: None,
        failed_gates: Vec::new(),
        unfinished: false,
    };
    let points = shares(&[span(Some(0), Some(300)), span(Some(300), Some(400)), span(None, None)]);
    assert!(points[0] > 2 * points[1] && points[2] > points[1], "{points:?}");
    assert!(points.iter().sum::<usize>() + points.len() <= POINTS, "{points:?}");
    let many = vec![span(None, None); 1000];
    assert_eq!(shares(&many), [1; 1000]);
}
