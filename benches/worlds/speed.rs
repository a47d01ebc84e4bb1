//! How long the analysis takes.

use vllm_grid::metric::MetricValue;
use vllm_grid::results::frame;
use vllm_grid::results::ranking::rank;

use crate::Run;
use crate::table::{Figure, Goal, Table};
use crate::world::{JUMPS, Night, Noise, Sweep, normal, random};

/// Each is the slowest of so many.
const TIMES: usize = 3;

/// Ticks of `/proc/self/stat` in a second, on every Linux.
const TICKS: f64 = 100.0;

/// Processor time of all threads so far, s: what else the machine does is no part of it.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = |at: usize| -> f64 {
        let field = after_name.split_whitespace().nth(at);
        field.and_then(|text| text.parse().ok()).expect("proc(5)")
    };
    (ticks(11) + ticks(12)) / TICKS
}

/// A second; a quick run shares its machine with others, whatever its speed is: it finds
/// what became slower by a factor.
pub(crate) fn goal(run: &Run) -> Goal {
    Goal::AtMost(if run.quick { 2.5 } else { 1.0 })
}

pub(crate) fn slowest(mut run: impl FnMut()) -> Figure {
    let mut once = || {
        let began = processor_seconds();
        run();
        processor_seconds() - began
    };
    Figure::once((0..TIMES).map(|_| once()).fold(0.0, f64::max))
}

fn sweep(run: &Run, configurations: usize, launches: usize, repeats: u32) -> Sweep {
    let mut random = random(run.seed, "speed", configurations);
    let noise = Noise { launch: 0.03, repeat: 0.05 };
    let night = Night { machine: JUMPS, noise, launches: 5, repeats, hours: None };
    let effects = (0..configurations).map(|_| 0.1 * normal(&mut random)).collect();
    let mut sweep = Sweep::new(effects).night(&night, &mut random);
    sweep.record.launches.truncate(launches);
    sweep
}

pub(crate) fn run(run: &Run, table: &mut Table) {
    Table::item("e. Processor time of the analysis, s, the slowest of three");
    if !run.wants("speed", "seconds") {
        return;
    }
    let large = sweep(run, 48, 200, 3);
    let ranked = slowest(|| assert!(rank(&large.record).decision.is_some()));
    table.row("48 configurations, 200 launches", "seconds", ranked, goal(run));
    let mut long = sweep(run, 48, 200, 50);
    fill(&mut long);
    let repeats: usize = long.record.launches.iter().map(|it| it.measurements.len() - 1).sum();
    assert_eq!(repeats, 10_000);
    let ranked = slowest(|| {
        frame::results(&long.record).expect("rows");
        rank(&long.record).frame().expect("a ranking");
    });
    table.row("10,000 repeats to ranked frame", "seconds", ranked, goal(run));
}

/// Every metric of the workload in every repeat, as a real sweep has them.
fn fill(sweep: &mut Sweep) {
    let kind = sweep.record.manifest.workloads[0].kind();
    let names: Vec<String> = kind.all_metrics().map(|it| it.name.to_owned()).collect();
    for launch in &mut sweep.record.launches {
        for measurement in &mut launch.measurements {
            for name in &names {
                let number = || Some(MetricValue::Number(1.5));
                measurement.metrics.entry(name.clone()).or_insert_with(number);
            }
        }
    }
}
