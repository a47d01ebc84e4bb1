//! The figures that the analysis has to reach, in simulated worlds whose truth is known:
//! how good the candidate is, how often a claim is false, how often an interval covers, how
//! wide it is, what a confirmation gives, and how long the analysis takes.
//! `cargo bench --bench worlds -- [ITEM] [--worlds N] [--seed S] [--cell TEXT] [--quick]`.
//!
//! The whole path runs: rows, ranking, candidate and claim, by orders of the real strategy.
//! Every goal is printed with its figure and what so few worlds leave unknown; the exit
//! status is 1 where a goal is missed. What was found is in `docs/worlds.md`.

mod candidate;
mod claims;
mod confirmation;
mod intervals;
mod speed;
mod strategies;
mod table;
mod world;
mod zero;

use std::process::ExitCode;
use std::time::Instant;

use table::Table;

/// The seed of what is reported. The analysis was mended by the worlds of other ones.
const SEED: u64 = 20_261_128;

/// What was asked for.
pub(crate) struct Run {
    /// Worlds of a cell.
    pub(crate) worlds: usize,
    pub(crate) seed: u64,
    /// The item that is wanted alone.
    item: Option<String>,
    /// A part of the name of an item or a cell.
    cell: Option<String>,
    /// A few worlds of a few cells.
    pub(crate) quick: bool,
}

impl Run {
    fn of(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut run = Self { worlds: 0, seed: SEED, item: None, cell: None, quick: false };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            let number = |text: String| text.parse::<u64>().map_err(|it| format!("{text}: {it}"));
            match argument.as_str() {
                "--worlds" => run.worlds = number(value()?)? as usize,
                "--seed" => run.seed = number(value()?)?,
                "--cell" => run.cell = Some(value()?),
                "--quick" => run.quick = true,
                // What cargo adds.
                "--bench" => {}
                word if !word.starts_with('-') => run.item = Some(word.to_owned()),
                other => return Err(format!("unknown argument {other}")),
            }
        }
        if run.worlds == 0 {
            run.worlds = if run.quick { 60 } else { 400 };
        }
        Ok(run)
    }

    pub(crate) fn wants(&self, item: &str, cell: &str) -> bool {
        let wanted = |text: &String| item.contains(text.as_str()) || cell.contains(text.as_str());
        self.item.as_ref().is_none_or(|it| item.contains(it.as_str()))
            && self.cell.as_ref().is_none_or(wanted)
    }

    /// Whether an item that takes hours was asked for.
    pub(crate) fn names(&self, item: &str) -> bool {
        self.item.as_deref() == Some(item)
    }

    /// Worlds where one takes long.
    pub(crate) fn few(&self) -> usize {
        if self.quick { self.worlds.div_ceil(4) } else { self.worlds }
    }

    /// Worlds where something rare is counted.
    pub(crate) fn many(&self) -> usize {
        self.worlds * 5 / 2
    }
}

fn main() -> ExitCode {
    let run = match Run::of(std::env::args().skip(1)) {
        Ok(run) => run,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    let began = Instant::now();
    println!("seed {}, {} worlds a cell; ± is one standard error", run.seed, run.worlds);
    // So few worlds miss a goal by chance.
    let mut table = Table::new(if run.quick { 3.0 } else { 0.0 });
    let items: [fn(&Run, &mut Table); 7] = [
        candidate::run,
        claims::run,
        intervals::run,
        confirmation::run,
        speed::run,
        zero::run,
        strategies::run,
    ];
    for item in items {
        item(&run, &mut table);
    }
    println!("\n{:.0} s", began.elapsed().as_secs_f64());
    for missed in table.missed() {
        println!("MISSED {missed}");
    }
    if table.missed().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
