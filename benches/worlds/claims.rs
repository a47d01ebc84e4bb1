//! Configurations that do not differ at all: how often something is claimed to be better
//! than the baseline.

use vllm_grid::results::ranking::rank;

use crate::Run;
use crate::table::{Figure, Goal, Table, parallel};
use crate::world::{BURSTS, JUMPS, Machine, Night, Noise, OU25_60, OU25_120, Sweep, random};

/// 68 of 1,000 allow for the sampling error of a true 5 %.
const ERRORS: f64 = 2.612;

pub(crate) fn run(run: &Run, table: &mut Table) {
    Table::item("b. No difference: a claim over the baseline in at most 5 % (68 of 1,000)");
    let usual = Noise { launch: 0.03, repeat: 0.05 };
    let mut cells = Vec::new();
    for configurations in [2, 4, 12] {
        for launches in [2, 3, 4] {
            for machine in [Machine::Calm, OU25_60, OU25_120, JUMPS, BURSTS] {
                cells.push((configurations, launches, 3, machine, usual));
            }
        }
    }
    for noise in [Noise { launch: 0.08, repeat: 0.05 }, Noise { launch: 0.04, repeat: 0.20 }] {
        for (configurations, launches) in [(2, 2), (4, 4), (12, 4)] {
            cells.push((configurations, launches, 3, Machine::Calm, noise));
            cells.push((configurations, launches, 3, OU25_60, noise));
        }
    }
    for (configurations, launches, repeats, machine, noise) in cells {
        let cell = format!("{configurations} of {launches}x{repeats} {machine} {noise}");
        if !run.wants("claims", &cell) {
            continue;
        }
        let night = Night { machine, noise, launches, repeats, hours: None };
        let worlds = run.many();
        let claims = parallel(worlds, |world| {
            let mut random = random(run.seed, &cell, world);
            let sweep = Sweep::new(vec![0.0; configurations]).night(&night, &mut random);
            rank(&sweep.record).decision.is_some_and(|decision| decision.claims())
        });
        let allowed = 0.05 + ERRORS * (0.05 * 0.95 / worlds as f64).sqrt();
        table.row(&cell, "claims", Figure::share(claims), Goal::AtMost(allowed));
    }
}
