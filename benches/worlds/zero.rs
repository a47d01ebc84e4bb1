//! Objectives that may be zero: whether one that is twice as good among twelve is shown.

use rand_chacha::ChaCha8Rng;
use serde_json::json;
use vllm_grid::metric::{Goal as Towards, MetricRef, MetricValue};
use vllm_grid::results::decision::Decision;
use vllm_grid::results::ranking::{RankingVerdict, rank};
use vllm_grid::workload::Workload;

use crate::Run;
use crate::table::{Figure, Goal, Table, parallel};
use crate::world::{Machine, Night, Noise, Sweep, index, normal, random};

/// What a sweep says of the one that is better.
struct Said {
    claimed: bool,
    first: bool,
}

fn goodput(effects: Vec<f64>) -> Sweep {
    let options = json!({"rate": 4, "slo_ttft_ms": 500});
    let options = options.as_object().expect("an object");
    let workload = Workload::from_options("load", options).expect("a good load");
    Sweep::of(effects, workload, MetricRef::of("load", "request_goodput"), Towards::Maximize)
}

/// Seconds of a window in which good requests are counted.
const WINDOW: f64 = 60.0;

/// Turns each value around 200 into a rate of counted requests around `rate`.
fn count(sweep: &mut Sweep, rate: f64, random: &mut ChaCha8Rng) {
    for launch in &mut sweep.record.launches {
        for measurement in &mut launch.measurements {
            for value in measurement.metrics.values_mut() {
                let Some(MetricValue::Number(number)) = value else { continue };
                let expected = *number / 200.0 * rate * WINDOW;
                // Counts as large as these are normal but for their whole numbers.
                let counted = (expected + expected.sqrt() * normal(random)).round().max(0.0);
                *number = counted / WINDOW;
            }
        }
    }
}

pub(crate) fn run(run: &Run, table: &mut Table) {
    Table::item("f. Goodput, one of 12 better by 100 %: shown in most sweeps");
    for (launches, repeats) in [(2, 5), (4, 3)] {
        for repeat in [0.05, 0.20] {
            for (rate, gain) in [(2.0, 2.0_f64), (0.2, 2.0), (2.0, 1.0)] {
                let noise = Noise { launch: 0.04, repeat };
                let cell = format!("{launches}x{repeats} {rate}/s {noise} x{gain}");
                if !run.wants("goodput", &cell) {
                    continue;
                }
                let machine = Machine::Calm;
                let night = Night { machine, noise, launches, repeats, hours: None };
                let said = parallel(run.worlds, |world| {
                    let mut random = random(run.seed, &cell, world);
                    let mut effects = vec![0.0; 12];
                    effects[5] = gain.ln();
                    let mut sweep = goodput(effects).night(&night, &mut random);
                    count(&mut sweep, rate, &mut random);
                    let ranking = rank(&sweep.record);
                    let first = matches!(ranking.verdict, RankingVerdict::First { .. });
                    let decision = ranking.decision.filter(Decision::claims);
                    let claimed = decision
                        .is_some_and(|it| gain <= 1.0 || index(&it.candidate.configuration) == 5);
                    Said { claimed, first }
                });
                let goal = if gain > 1.0 { Goal::AtLeast(0.5) } else { Goal::AtMost(0.07) };
                table.row(&cell, "claimed", Figure::share(said.iter().map(|it| it.claimed)), goal);
                let first = Figure::share(said.iter().map(|it| it.first));
                table.row(&cell, "  first, not tied", first, Goal::Shown);
            }
        }
    }
}
