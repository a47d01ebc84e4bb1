//! What each configuration asked for, and how far its servers are proven to have run with it:
//! the weakest proof of its launches counts.

use std::collections::BTreeMap;

use super::parts::{Cell, Part, Table, To};
use super::{Input, shown};
use crate::history::record::LaunchRecord;

/// What is known of one flag over the launches of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proven {
    /// The weakest proof, as files have it.
    proof: &'static str,
    /// Where that was read.
    source: String,
    /// What the server showed then; `None` where it showed nothing.
    pub(super) value: Option<String>,
    /// Launches whose server was ready.
    pub(super) launches: usize,
}

impl Proven {
    /// Whether it is shown that the flag acts, or at least that the process has it.
    pub(super) fn is_proven(&self) -> bool {
        matches!(self.proof, "honoured" | "passed")
    }

    /// Whether the server shows another value.
    pub(super) fn is_overridden(&self) -> bool {
        self.proof == "overridden"
    }

    /// `honoured (log)`.
    pub(super) fn words(&self) -> String {
        if self.source == "none" {
            return word(self.proof).to_owned();
        }
        format!("{} ({})", word(self.proof), self.source)
    }
}

/// Proofs from the strongest to the weakest.
const STRENGTHS: [&str; 5] = ["honoured", "passed", "echoed", "unknown", "overridden"];

fn weakness(proof: &str) -> usize {
    STRENGTHS.iter().position(|known| *known == proof).unwrap_or(3)
}

/// A proof in a word that says what is known.
fn word(proof: &'static str) -> &'static str {
    match proof {
        "echoed" => "echoed only",
        "unknown" => "not shown",
        known => known,
    }
}

/// What is known of each flag and variable that a configuration asked for.
pub(super) fn of<'a>(launches: impl Iterator<Item = &'a LaunchRecord>) -> BTreeMap<String, Proven> {
    let mut all: BTreeMap<String, Proven> = BTreeMap::new();
    for launch in launches.filter(|it| it.facts.is_some()) {
        for (name, effective) in &launch.effective {
            let Some(proof) = effective.proof else { continue };
            let proof = proof.as_str();
            let value = effective.value.as_ref().map(|it| shown(Some(it)));
            let source = effective.source.clone();
            let new = Proven { proof, source, value, launches: 1 };
            match all.get_mut(name) {
                None => drop(all.insert(name.clone(), new)),
                Some(known) => {
                    let launches = known.launches + 1;
                    if weakness(proof) > weakness(known.proof) {
                        *known = new;
                    }
                    known.launches = launches;
                }
            }
        }
    }
    all
}

pub(super) fn parts(input: &Input<'_>) -> Vec<Part> {
    let manifest = &input.record.manifest;
    let variables = manifest.configurations.iter().flat_map(|it| it.environment.keys());
    let mut variables: Vec<String> = variables.map(|it| format!("environment.{it}")).collect();
    variables.sort();
    variables.dedup();
    let columns: Vec<String> = manifest.varied.iter().cloned().chain(variables).collect();
    let mut rows = Vec::new();
    for (index, row) in input.rows() {
        let proven = of(input.counted(index));
        let ready = input.counted(index).filter(|it| it.facts.is_some()).count();
        let mut cells = vec![Cell::link(row.name.clone(), To::Configuration(index))];
        for name in &columns {
            let asked = match name.strip_prefix("environment.") {
                Some(variable) => {
                    let set =
                        input.configuration(index).and_then(|it| it.environment.get(variable));
                    set.cloned().unwrap_or_else(|| "not set".to_owned())
                }
                None => shown(row.varied.get(name)),
            };
            cells.push(Cell::text(match proven.get(name) {
                Some(it) if it.is_overridden() => {
                    let ran = it.value.as_deref().unwrap_or("another value");
                    format!("{asked}: {}, ran with {ran}", it.words())
                }
                Some(it) => format!("{asked}: {}", it.words()),
                None => asked,
            }));
        }
        cells.push(Cell::number(ready.to_string()));
        rows.push(cells);
    }
    let mut head = vec!["configuration".to_owned()];
    head.extend(columns.iter().map(|it| match it.strip_prefix("environment.") {
        Some(variable) => variable.to_owned(),
        None => format!("--{it}"),
    }));
    head.push("launches that were ready".to_owned());
    let note = "honoured: the engine's state shows the value. passed: the server's process has it. \
                echoed only: the command line was printed back. not shown: the server shows nothing \
                of it. Without a word: not asked for, or no server was ready. The weakest proof \
                of all launches counts.";
    vec![
        Part::Heading("Effective flags, with proofs".to_owned()),
        Part::Table(Table {
            caption: "What differs between configurations".to_owned(),
            head,
            rows,
            is_sorted: true,
        }),
        Part::text(note),
        shared(input, &columns),
    ]
}

/// What the servers show of one name.
#[derive(Default)]
struct Besides {
    /// How weak the proof is; `None` where no launch asked for it.
    weakness: Option<usize>,
    /// The weakest proof of all launches, and where that was read.
    proof: String,
    /// All values.
    values: Vec<String>,
}

/// What launches show of everything that does not differ: all values, the weakest proof.
fn besides<'a>(
    launches: impl Iterator<Item = &'a LaunchRecord>,
    varied: &[String],
) -> BTreeMap<String, Besides> {
    let mut all: BTreeMap<String, Besides> = BTreeMap::new();
    for launch in launches.filter(|it| it.facts.is_some()) {
        for (name, effective) in launch.effective.iter().filter(|(name, _)| !varied.contains(name))
        {
            let value = shown(effective.value.as_ref());
            let proof = effective.proof.map_or("shown, not asked for", |it| word(it.as_str()));
            let weak = effective.proof.map(|it| weakness(it.as_str()));
            let entry = all.entry(name.clone()).or_default();
            if entry.values.is_empty() || weak > entry.weakness {
                entry.proof = format!("{proof} ({})", effective.source);
                entry.weakness = weak;
            }
            if !entry.values.contains(&value) {
                entry.values.push(value);
            }
        }
    }
    all
}

/// What all configurations share, as the servers that were ready show it.
fn shared(input: &Input<'_>, varied: &[String]) -> Part {
    let all = besides(input.record.own_launches(), varied);
    let rows = all.into_iter().map(|(name, Besides { proof, values, .. })| {
        let more = values.len().saturating_sub(8);
        let mut text = values.into_iter().take(8).collect::<Vec<_>>().join(", ");
        if more > 0 {
            text.push_str(&format!(" and {more} more"));
        }
        vec![Cell::code(name), Cell::text(text), Cell::text(proof)]
    });
    let table = Table {
        caption: "What the servers show besides".to_owned(),
        head: ["flag or value", "values over all launches", "weakest proof"]
            .map(str::to_owned)
            .to_vec(),
        rows: rows.collect(),
        is_sorted: true,
    };
    Part::Folded(
        "Flags that do not differ, and what else the servers show".to_owned(),
        vec![Part::Table(table)],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::effective::{Effective, FlagProof};

    fn launch(proof: Option<FlagProof>, value: u32) -> LaunchRecord {
        let effective = Effective { value: Some(value.into()), proof, source: "log".to_owned() };
        LaunchRecord {
            facts: Some(crate::history::launch::LaunchFacts::default()),
            effective: [("max-model-len".to_owned(), effective)].into(),
            ..LaunchRecord::default()
        }
    }

    #[test]
    fn the_weakest_proof_stands_beside_all_values() {
        let overridden = launch(Some(FlagProof::Overridden), 1024);
        let honoured = launch(Some(FlagProof::Honoured), 4096);
        let unasked = launch(None, 4096);
        for launches in [[&overridden, &honoured, &unasked], [&unasked, &honoured, &overridden]] {
            let all = besides(launches.into_iter(), &[]);
            let it = &all["max-model-len"];
            assert_eq!(it.proof, "overridden (log)");
            assert_eq!(it.values.len(), 2);
        }
        let all = besides([&unasked].into_iter(), &[]);
        assert_eq!(all["max-model-len"].proof, "shown, not asked for (log)");
        assert!(besides([&unasked].into_iter(), &["max-model-len".to_owned()]).is_empty());
    }
}
