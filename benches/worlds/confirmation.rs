//! Confirmations by the real rule: fresh launches of two, looked at after each pair, until
//! the interval is narrow enough. Whether that interval covers although it chose its own
//! end, whether the gain is right on average, and how many launches it takes.

use std::time::Duration;

use jiff::Timestamp;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use vllm_grid::history::record::LaunchRecord;
use vllm_grid::metric::MetricValue;
use vllm_grid::statistics::LaunchMean;
use vllm_grid::strategy::confirm::{BASELINE, CANDIDATE, CLAIM, Confirm, MAX_PAIRS, look};
use vllm_grid::strategy::{
    Action, Observation, ObservedRepeat, Purpose, Situation, Strategy, TrialOutcome,
};

use crate::Run;
use crate::table::{Figure, Goal, Table, parallel};
use crate::world::{BURSTS, JUMPS, Machine, Night, Noise, OU25_60, OU25_120, Speed, Sweep, random};

/// True gains that are confirmed.
const GAINS: [f64; 2] = [1.0, 1.10];

/// What a confirmation came to.
struct Confirmed {
    launches: usize,
    hours: f64,
    /// Whether the interval contains the true gain.
    covered: bool,
    /// The gain minus the true one, on log scale.
    off: f64,
    /// Whether the interval leaves out "no gain", on the better side.
    shown: bool,
    /// Whether it ended by being narrow enough.
    precise: bool,
}

fn confirmed(gain: f64, night: &Night, random: &mut ChaCha8Rng) -> Confirmed {
    let confirm = Confirm {
        candidate: 1,
        baseline: 0,
        first_trial: 0,
        repeats: night.repeats,
        claim: CLAIM,
        seed: random.random(),
        pace: 1.0,
    };
    let mut sweep = Sweep::new(vec![0.0, gain.ln()]);
    let mut speed = Speed::new(night.machine, random);
    let (mut observations, mut time) = (Vec::new(), 0.0);
    while let Action::Launch { trial, configuration, .. } = confirm.next(Situation {
        observations: &observations,
        in_flight: &[],
        ..Situation::default()
    }) {
        let end = sweep.launch(configuration, time, &mut speed, night, random);
        let launch = sweep.record.launches.last().expect("just launched");
        observations.push(observation(trial, configuration, end - time, launch));
        time = end;
    }
    let look = look(&means(&sweep)).expect("both have launches");
    let off = look.effect - gain.ln();
    let launches = sweep.record.launches.len();
    Confirmed {
        launches,
        hours: time / 3600.0,
        covered: off.abs() <= look.half_width,
        off,
        shown: look.effect > look.half_width,
        precise: launches < 2 * MAX_PAIRS as usize || look.half_width <= CLAIM / 2.0,
    }
}

fn kept(launch: &LaunchRecord) -> impl Iterator<Item = (Timestamp, f64)> + '_ {
    let timed = launch.measurements.iter().zip(&launch.measured_at);
    timed.filter(|(it, _)| it.repeat > 0).filter_map(|(it, at)| match it.metrics.values().next() {
        Some(Some(MetricValue::Number(number))) => Some((*at, *number)),
        _ => None,
    })
}

fn observation(
    trial: u32,
    configuration: usize,
    seconds: f64,
    launch: &LaunchRecord,
) -> Observation {
    let repeats = (1..).zip(kept(launch)).map(|(repeat, (at, value))| ObservedRepeat {
        launch: launch.launch,
        repeat,
        at: Some(at),
        objective: Some(value),
        constraints: Vec::new(),
    });
    Observation {
        trial,
        configuration,
        purpose: Purpose::Confirm,
        host: String::new(),
        started_at: launch.started_at,
        duration: Duration::from_secs_f64(seconds),
        repeat_seconds: Some(45.0),
        outcome: TrialOutcome::Measured,
        repeats: repeats.collect(),
    }
}

fn means(sweep: &Sweep) -> Vec<LaunchMean> {
    let start = Timestamp::UNIX_EPOCH;
    let mean = |launch: &LaunchRecord| {
        let arm = if launch.configuration == "c0" { BASELINE } else { CANDIDATE };
        let (times, logs): (Vec<f64>, Vec<f64>) = kept(launch)
            .map(|(at, value)| (at.duration_since(start).as_secs_f64(), value.ln()))
            .unzip();
        LaunchMean::of(arm, times.iter().sum::<f64>() / times.len() as f64, &logs)
    };
    sweep.record.launches.iter().map(mean).collect()
}

pub(crate) fn run(run: &Run, table: &mut Table) {
    Table::item("d. Confirmation: A B A B, a look after each pair from the 6th, claim 10 %");
    let usual = Noise { launch: 0.03, repeat: 0.05 };
    let mut cells: Vec<(Machine, Noise)> =
        [Machine::Calm, OU25_120, OU25_60, JUMPS, BURSTS].map(|machine| (machine, usual)).to_vec();
    for machine in [Machine::Calm, OU25_60] {
        cells.push((machine, Noise { launch: 0.08, ..usual }));
    }
    cells.push((Machine::Calm, Noise { repeat: 0.20, ..usual }));
    for (machine, noise) in cells {
        let cell = format!("{machine} {noise}");
        if !run.wants("confirmation", &cell) || (run.quick && machine != OU25_60) {
            continue;
        }
        let night = Night { machine, noise, launches: 0, repeats: 3, hours: None };
        let worlds = parallel(run.worlds, |world| {
            let mut random = random(run.seed, &cell, world);
            GAINS.map(|gain| confirmed(gain, &night, &mut random))
        });
        let all = || worlds.iter().flatten();
        let usual = noise.launch < 0.05;
        let covered = Goal::AtLeast(if usual { 0.94 } else { 0.93 });
        table.row(&cell, "coverage", Figure::share(all().map(|it| it.covered)), covered);
        let off = Figure::mean(all().map(|it| it.off));
        let bias = Figure { value: off.value.abs(), ..off };
        let allowed = Goal::AtMost(if usual { 0.005 } else { 0.01 });
        table.row(&cell, "  |bias|", bias, allowed);
        let launches = Figure::mean(all().map(|it| it.launches as f64));
        let most = if machine == OU25_60 && usual { Goal::AtMost(42.0) } else { Goal::Shown };
        table.row(&cell, "  launches", launches, most);
        table.row(&cell, "  hours", Figure::mean(all().map(|it| it.hours)), Goal::Shown);
        let precise = Figure::share(all().map(|it| it.precise));
        table.row(&cell, "  narrow enough", precise, Goal::Shown);
        let without = Figure::share(worlds.iter().map(|it| it[0].shown));
        table.row(&cell, "  without a gain shown", without, Goal::AtMost(0.05));
        let with = Figure::share(worlds.iter().map(|it| it[1].shown));
        table.row(&cell, "  10 % shown", with, Goal::Shown);
    }
}
