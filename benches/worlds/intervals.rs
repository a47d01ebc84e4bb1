//! How often intervals of the gain over the baseline cover the truth, how wide they are, how
//! often a true 10 % is claimed, and how often a calm machine is said to have moved.

use vllm_grid::results::decision::Decision;
use vllm_grid::results::machine::Conclusion;
use vllm_grid::results::ranking::{Ranking, rank};
use vllm_grid::statistics::{Components, GroupedValues, Prior, t_quantile};

use crate::Run;
use crate::table::{Figure, Goal, Table, parallel};
use crate::world::{
    BURSTS, JUMPS, Machine, Night, Noise, OU3_90, OU25_60, OU25_120, Sweep, index, random,
};

/// Enough launches for any night.
const LAUNCHES: u32 = 60;

/// A true gain of 10 %.
const GAIN: f64 = 1.10;

const USUAL: Noise = Noise { launch: 0.03, repeat: 0.05 };

/// What one night shows; configurations do not differ.
struct Seen {
    /// Part of the intervals over the baseline that contain no gain.
    covered: f64,
    /// Mean half width on log scale.
    half: f64,
    /// The same of the one-way analysis of the same launches, without a floor of its launch SD.
    one_way: f64,
    /// That with the floor of 4 %.
    floored: f64,
    claims: bool,
    /// Whether a gain of 10 % is claimed of the configuration that has it.
    shown: Option<bool>,
    moved: bool,
}

/// Worlds of one cell.
struct Cell {
    configurations: usize,
    night: Night,
    name: String,
}

impl Cell {
    fn new(configurations: usize, machine: Machine, hours: f64, noise: Noise) -> Self {
        let name = format!("{configurations}, {machine}, {hours:.0} h, {noise}");
        let hours = Some(hours);
        let night = Night { machine, noise, launches: LAUNCHES, repeats: 3, hours };
        Self { configurations, night, name }
    }

    fn nights(&self, run: &Run, power: bool) -> Vec<Seen> {
        parallel(run.worlds, |world| {
            let mut random = random(run.seed, &self.name, world);
            let sweep = Sweep::new(vec![0.0; self.configurations]).night(&self.night, &mut random);
            seen(&sweep, power)
        })
    }
}

fn seen(sweep: &Sweep, power: bool) -> Seen {
    let ranking = rank(&sweep.record);
    let ratios: Vec<(f64, f64)> = ranking
        .rows
        .iter()
        .filter_map(|row| row.baseline_ratio)
        .map(|it| (it.interval.low.ln(), it.interval.high.ln()))
        .collect();
    let n = ratios.len() as f64;
    let covered = ratios.iter().filter(|(low, high)| (*low..=*high).contains(&0.0)).count();
    Seen {
        covered: covered as f64 / n,
        half: ratios.iter().map(|(low, high)| (high - low) / 2.0).sum::<f64>() / n,
        one_way: one_way(sweep, Prior { launch_sd: 1e-9, ..Prior::LOG }),
        floored: one_way(sweep, Prior::LOG),
        claims: ranking.decision.as_ref().is_some_and(Decision::claims),
        shown: power.then(|| shows_gain(sweep)),
        moved: ranking.machine.is_some_and(|it| it.conclusion == Conclusion::Moved),
    }
}

/// Whether the sweep claims what is better by 10 %, when that is so.
fn shows_gain(sweep: &Sweep) -> bool {
    let mut effects = sweep.effects.clone();
    effects[1] -= GAIN.ln();
    let Ranking { decision, .. } = rank(&sweep.with_effects(effects).record);
    decision.is_some_and(|it| it.claims() && index(&it.candidate.configuration) == 1)
}

/// Mean half width over the baseline where launches are taken as they are.
fn one_way(sweep: &Sweep, prior: Prior) -> f64 {
    let mut arms = vec![Vec::new(); sweep.effects.len()];
    for launch in &sweep.record.launches {
        let kept = launch.measurements.iter().filter(|it| it.repeat > 0);
        let values = kept.flat_map(|it| it.metrics.values()).filter_map(|value| match value {
            Some(vllm_grid::metric::MetricValue::Number(number)) => Some(number.ln()),
            _ => None,
        });
        arms[index(&launch.configuration)].push(values.collect::<Vec<f64>>());
    }
    let arms: Vec<GroupedValues> = arms.into_iter().map(GroupedValues::new).collect();
    let components = Components::pool(&arms, prior);
    let half = |arm: &GroupedValues| {
        let of = components.of_difference(&arms[0], arm);
        t_quantile(0.975, of.degrees_of_freedom) * of.variance.sqrt()
    };
    arms[1..].iter().map(half).sum::<f64>() / (arms.len() - 1) as f64
}

fn cells(run: &Run) -> Vec<Cell> {
    let sizes: &[(usize, f64)] = if run.quick {
        &[(2, 2.0), (4, 4.0)]
    } else {
        &[(2, 2.0), (2, 4.0), (2, 8.0), (4, 2.0), (4, 4.0), (4, 8.0), (12, 4.0), (12, 8.0)]
    };
    let noises = [USUAL, Noise { launch: 0.08, ..USUAL }, Noise { repeat: 0.20, ..USUAL }];
    let machines = [Machine::Calm, OU3_90, OU25_60, OU25_120, JUMPS, BURSTS, Machine::Ramp(0.30)];
    let mut cells = Vec::new();
    for &(configurations, hours) in sizes {
        for machine in machines {
            for noise in noises {
                cells.push(Cell::new(configurations, machine, hours, noise));
            }
        }
    }
    cells
}

pub(crate) fn run(run: &Run, table: &mut Table) {
    coverage(run, table);
    widths(run, table);
}

fn coverage(run: &Run, table: &mut Table) {
    Table::item("c. 95 % intervals over the baseline: coverage, false claims, false alarms");
    let mut all = Vec::new();
    for cell in cells(run).iter().filter(|cell| run.wants("coverage", &cell.name)) {
        let nights = cell.nights(run, false);
        let covered = Figure::mean(nights.iter().map(|it| it.covered));
        table.row(&cell.name, "coverage", covered, Goal::AtLeast(0.90));
        all.push(covered.value);
        let claims = Figure::share(nights.iter().map(|it| it.claims));
        let allowed = if cell.night.noise.launch > 0.05 { 0.09 } else { 0.07 };
        table.row(&cell.name, "  claims", claims, Goal::AtMost(allowed));
        let moved = Figure::share(nights.iter().map(|it| it.moved));
        let goal =
            if cell.night.machine == Machine::Calm { Goal::AtMost(0.03) } else { Goal::Shown };
        table.row(&cell.name, "  said to have moved", moved, goal);
    }
    if !all.is_empty() {
        let cells = format!("mean of {} cells", all.len());
        table.row(&cells, "coverage", Figure::mean(all), Goal::AtLeast(0.945));
    }
}

fn widths(run: &Run, table: &mut Table) {
    Table::item("c. Half widths (log) and power for +10 %");
    for (configurations, machine, hours, half, power) in [
        (2, Machine::Calm, 2.0, Some(0.042), None),
        (2, OU25_60, 4.0, Some(0.052), None),
        (2, JUMPS, 2.0, Some(0.046), None),
        (4, OU25_60, 8.0, None, Some(0.80)),
        (4, JUMPS, 4.0, None, Some(0.93)),
        (2, BURSTS, 2.0, None, None),
        (4, BURSTS, 4.0, None, None),
    ] {
        let cell = Cell::new(configurations, machine, hours, USUAL);
        if !run.wants("widths", &cell.name) {
            continue;
        }
        let nights = cell.nights(run, true);
        let halves = Figure::mean(nights.iter().map(|it| it.half));
        table.row(&cell.name, "half width", halves, half.map_or(Goal::Shown, Goal::AtMost));
        let one_way = Figure::mean(nights.iter().map(|it| it.floored));
        table.row(&cell.name, "  one-way", one_way, Goal::Shown);
        let shown = Figure::share(nights.iter().filter_map(|it| it.shown));
        table.row(&cell.name, "power", shown, power.map_or(Goal::Shown, Goal::AtLeast));
    }
    for launches in [3, 4, 6] {
        for configurations in [2, 4, 12] {
            let name = format!("{configurations} of {launches}x3 calm {USUAL}");
            if !run.wants("one-way", &name) {
                continue;
            }
            let (machine, noise) = (Machine::Calm, USUAL);
            let night = Night { machine, noise, launches, repeats: 3, hours: None };
            let cell = Cell { configurations, night, name };
            let nights = cell.nights(run, false);
            let mean = |read: fn(&Seen) -> f64| Figure::mean(nights.iter().map(read)).value;
            let over = |one_way: f64| Figure {
                value: mean(|it| it.half) / one_way,
                ..Figure::mean(nights.iter().map(|it| it.half / one_way))
            };
            table.row(&cell.name, "over one-way", over(mean(|it| it.floored)), Goal::AtMost(1.05));
            table.row(&cell.name, "  without its floor", over(mean(|it| it.one_way)), Goal::Shown);
        }
    }
}
