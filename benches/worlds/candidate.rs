//! How good what is named as candidate is: within 5 % of the true best as often as rank 1,
//! although preferences decide between near ones.

use rand_chacha::ChaCha8Rng;
use vllm_grid::results::ranking::rank;

use crate::Run;
use crate::table::{Figure, Goal, Table, parallel};
use crate::world::{JUMPS, Machine, Night, Noise, OU25_60, Sweep, index, normal, random};

/// True differences between configurations: SD of the logarithm.
const SPREAD: f64 = 0.10;

/// A mean within this part of the best is as good.
const NEAR: f64 = 1.05;

/// What a world's ranking named.
struct Named {
    candidate_near: bool,
    first_near: bool,
    /// How often `p_within_5_percent` says it is.
    said: f64,
    preferred: bool,
}

fn named(configurations: usize, night: &Night, random: &mut ChaCha8Rng) -> Option<Named> {
    let effects: Vec<f64> = (0..configurations).map(|_| SPREAD * normal(random)).collect();
    let best = effects.iter().copied().fold(f64::INFINITY, f64::min);
    let near = |at: usize| effects[at] - best < NEAR.ln();
    let sweep = Sweep::new(effects.clone()).night(night, random);
    let ranking = rank(&sweep.record);
    let candidate = ranking.decision?.candidate;
    let first = &ranking.rows[0].name;
    Some(Named {
        candidate_near: near(index(&candidate.configuration)),
        first_near: near(index(first)),
        said: candidate.p_within_5_percent.unwrap_or(f64::NAN),
        preferred: candidate.configuration != *first,
    })
}

pub(crate) fn run(run: &Run, table: &mut Table) {
    Table::item(
        "a. The candidate is within 5 % of the best as often as rank 1 less 2 points (spread 10 %)",
    );
    let mut cells = Vec::new();
    for configurations in [4, 12, 48] {
        for launch in [0.04, 0.08] {
            for repeat in [0.05, 0.20] {
                let night = Night {
                    machine: Machine::Calm,
                    noise: Noise { launch, repeat },
                    launches: 2,
                    repeats: 5,
                    hours: None,
                };
                cells.push((configurations, night));
            }
        }
    }
    for machine in [OU25_60, JUMPS] {
        let noise = Noise { launch: 0.03, repeat: 0.05 };
        cells.push((12, Night { machine, noise, launches: 4, repeats: 3, hours: None }));
    }
    let mut all = Vec::new();
    for (configurations, night) in cells {
        let Night { machine, noise, launches, repeats, .. } = night;
        let cell = format!("{configurations} of {launches}x{repeats} {machine} {noise}");
        if !run.wants("candidate", &cell) {
            continue;
        }
        let worlds = if configurations > 12 { run.few() } else { run.many() };
        let named = parallel(worlds, |world| {
            named(configurations, &night, &mut random(run.seed, &cell, world))
        });
        let named: Vec<Named> = named.into_iter().flatten().collect();
        let first = Figure::share(named.iter().map(|it| it.first_near));
        table.row(&cell, "rank 1 within 5 %", first, Goal::Shown);
        let candidate = Figure::share(named.iter().map(|it| it.candidate_near));
        table.row(&cell, "candidate within 5 %", candidate, Goal::Shown);
        let one = |it: bool| f64::from(u8::from(it));
        let lost = named.iter().map(|it| one(it.first_near) - one(it.candidate_near));
        let lost = Figure::mean(lost);
        table.row(&cell, "  lost to rank 1", lost, Goal::AtMost(0.02));
        all.push(lost.value);
        let said = Figure::mean(named.iter().map(|it| it.said));
        table.row(&cell, "  probability said", said, Goal::Shown);
        let preferred = Figure::share(named.iter().map(|it| it.preferred));
        table.row(&cell, "  not rank 1 itself", preferred, Goal::Shown);
        if named.len() < worlds {
            table.row(
                &cell,
                "  with a candidate",
                Figure::once(named.len() as f64),
                Goal::AtLeast(worlds as f64),
            );
        }
    }
    if !all.is_empty() {
        // The rule inside a tie: over 5 % worse at most one point more often than rank 1.
        let cells = format!("mean of {} cells", all.len());
        table.row(&cells, "  lost to rank 1", Figure::mean(all), Goal::AtMost(0.01));
    }
}
