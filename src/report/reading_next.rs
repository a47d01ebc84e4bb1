//! NEXT and FIX: what to do, as commands that can be copied. A command stands on a line of
//! its own and is never broken inside a word.

use super::reading_lines::Block;
use super::spoken::{self, GLUE, glued};
use crate::clean::counted;
use crate::results::reading::Reading;
use crate::results::reading::next::{Change, NextStep};

pub(super) fn put(block: &mut Block, label: &'static str, reading: &Reading) {
    let mut changes: Vec<String> = Vec::new();
    // What follows can be done in place of it.
    let mut confirms = false;
    for step in &reading.next {
        match step {
            NextStep::Recover { run } => {
                let remark = glued("starts and proves production");
                command(block, label, vec!["recover".to_owned(), word(run)], Some(remark));
            }
            NextStep::Change { change } if confirms => {
                let change = self::change(block, reading, change);
                changes.push(format!("Or choose by more launches: {}", lower(&change)));
            }
            NextStep::Change { change } => changes.push(self::change(block, reading, change)),
            NextStep::Sweep { grid } => {
                sweep(block, label, &changes, grid.as_deref());
                changes.clear();
                confirms = true;
            }
            NextStep::Apply { run } => {
                command(block, label, vec!["apply".to_owned(), word(run)], None);
            }
            NextStep::UseFlags => {
                block.put(label, &["Launch vLLM with the flags above.".to_owned()]);
            }
            NextStep::Confirm { run, configuration, baseline, claim, hours, goes_on, again } => {
                let or = || "Or compare it with another configuration:".to_owned();
                let first = confirms.then(or).or_else(|| {
                    (!changes.is_empty()).then(|| format!("{}, then:", changes.join(" ")))
                });
                if let Some(first) = first {
                    block.put(label, &[first]);
                }
                changes.clear();
                confirms = true;
                let named = configuration.as_ref();
                let named = named.map(|name| format!("--configuration {}", word(name)));
                let baseline = baseline.as_ref().map(|name| format!("--baseline {}", word(name)));
                let time = hours.map(spoken::hours);
                let time = if *goes_on { Some(glued("continues")) } else { time };
                let claim = claim.map(|claim| format!("--claim {}%", (claim * 1e4).round() / 1e2));
                let words = ["confirm".to_owned(), word(run)].into_iter();
                let again = again.then(|| "--again".to_owned());
                let words = words.chain(named).chain(baseline).chain(claim).chain(again);
                command(block, label, words.collect(), time);
            }
            NextStep::Resume { run, left, confirmation } => {
                let words = vec!["resume".to_owned(), word(run)];
                let first = glued("continues the confirmation");
                let remark = if *confirmation { first } else { are_left(*left) };
                command(block, label, words, Some(remark));
            }
            NextStep::Wait { run, left, confirmation } => {
                let words = vec!["report".to_owned(), word(run)];
                let runs = glued("a confirmation is not over");
                let why = if *confirmation { runs } else { are_left(*left) };
                command(block, label, words, Some(format!("later: {why}")));
            }
        }
    }
}

fn are_left(left: u32) -> String {
    let are = if left == 1 { "is" } else { "are" };
    glued(&format!("{} {are} left", counted(left, "launch")))
}

/// `vllm-grid confirm RUN    (about 2.5 h)`.
fn command(block: &mut Block, label: &'static str, words: Vec<String>, remark: Option<String>) {
    let mut parts = vec!["vllm-grid".to_owned()];
    parts.extend(words);
    let mut whole = vec![parts.join(&GLUE.to_string())];
    whole.extend(remark.map(|it| format!("{}({it})", glued("   "))));
    block.whole(label, None, &whole);
}

fn sweep(block: &mut Block, label: &'static str, changes: &[String], grid: Option<&str>) {
    let first = changes.join(" ");
    match grid {
        Some(grid) => {
            block.put(label, &[format!("{first}, and sweep again:")]);
            command(block, label, vec!["sweep".to_owned(), word(grid)], None);
        }
        None => block.put(label, &[format!("{first}, and sweep again.")]),
    }
}

fn change(block: &Block, reading: &Reading, change: &Change) -> String {
    // The grid may name no strategy: then there is no place yet where it could be written.
    let strategy = reading.trust.chosen.as_ref().map_or("grid", |it| it.strategy);
    let of_strategy = |key: &str| glued(&format!("`strategy: {{{strategy}: {{{key}: ...}}}}`"));
    match change {
        Change::Launches { launches } => {
            format!("Set `launches:{GLUE}{launches}` or more in the grid")
        }
        Change::Warmup => "Raise `warmup` in the grid".to_owned(),
        Change::Budget => "Raise `budget` in the grid".to_owned(),
        Change::MaxLaunches => {
            format!("Raise `max-launches` in the grid ({})", of_strategy("max-launches"))
        }
        Change::Probability { asked } => format!(
            "Raise `probability` above {asked} in the grid ({})",
            of_strategy("probability")
        ),
        Change::Disturbance { launches: Some(launches) } => format!(
            "Stop what else uses the machine, set `launches:{GLUE}{launches}` or more in the grid"
        ),
        Change::Disturbance { launches: None } => "Stop what else uses the machine".to_owned(),
        Change::Client => "Leave the client more CPU, or lower the load in the grid".to_owned(),
        Change::Baseline => "Name a `baseline` in the grid, so that gains can be stated".to_owned(),
        Change::OtherBaseline { configuration } => format!(
            "Name another `baseline` in the grid, since this one breaks a bound ({} does not)",
            block.plain(configuration)
        ),
        Change::Configurations => "Add other values to the grid".to_owned(),
        Change::Bounds => "Widen the bounds in the grid, or add other values".to_owned(),
        Change::Reason { text } => {
            let text = block.plain(text);
            let mut letters = text.trim_end_matches('.').chars();
            let first = letters.next().map(|it| it.to_uppercase().to_string());
            format!("{}{} in the grid", first.unwrap_or_default(), letters.as_str())
        }
        Change::Cluster => {
            "Correct what the grid's `hosts` ask for (resume would be refused again, as a run keeps \
             its `hosts`)"
                .to_owned()
        }
        Change::Failures => "Correct what FAILED names".to_owned(),
        Change::Values { configuration } => format!(
            "Correct what {} fails by, as its launches' engine.log says",
            spoken::name_of(configuration)
        ),
    }
}

/// A sentence as a part of another one.
fn lower(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|it| it.to_lowercase().to_string()).unwrap_or_default();
    first + letters.as_str()
}

/// A word of a command as a shell takes it.
fn word(text: &str) -> String {
    spoken::clean(&shell_words::quote(text))
}
