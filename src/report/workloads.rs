//! The workloads for a person who writes a grid or `bench --set`: what each
//! measures, and every option with its values and its default.

use serde::Serialize;

use super::text::wrap;
use crate::workload::{Kind, OptionSpec, SHARED_OPTIONS};

/// The workloads as text for a terminal of `columns` columns (at least 60 are used);
/// options that all of them have are at its end. Ends with a newline.
pub fn render(kinds: &[&Kind], columns: usize) -> String {
    let columns = columns.max(60);
    let mut blocks: Vec<String> = Vec::new();
    for kind in kinds {
        blocks.push(block(kind.name, kind.about, kind.options, columns));
    }
    blocks.push(block("every workload", "", SHARED_OPTIONS, columns));
    blocks.join("\n")
}

fn block(name: &str, about: &str, options: &[OptionSpec], columns: usize) -> String {
    let mut text = format!("{name}\n");
    let mut push = |words: &str, indent: usize| {
        for line in wrap(words, columns - indent, "").lines() {
            text.extend([" ".repeat(indent).as_str(), line, "\n"]);
        }
    };
    if !about.is_empty() {
        push(about, 2);
    }
    for option in options {
        push(option.name, 4);
        push(&format!("{}; {}", option.help, option.kind), 6);
    }
    text
}

/// One workload with its options, those that all have among them: for programs.
#[derive(Debug, Serialize)]
pub struct Described {
    /// The grid's spelling (`kv-cache`).
    pub workload: &'static str,
    /// What it measures.
    pub about: &'static str,
    /// Its options.
    pub options: Vec<DescribedOption>,
}

/// One option of a workload.
#[derive(Debug, Serialize)]
pub struct DescribedOption {
    /// The grid's spelling (`prompt-tokens`).
    pub name: &'static str,
    /// What values it takes, in words.
    pub values: String,
    /// Whether a list is taken, too.
    pub several: bool,
    /// What it does, with unit and default.
    pub help: &'static str,
}

/// The workloads as data.
pub fn describe(kinds: &[&Kind]) -> Vec<Described> {
    let option = |option: &OptionSpec| DescribedOption {
        name: option.name,
        values: option.kind.to_string(),
        several: option.kind.several(),
        help: option.help,
    };
    let one = |kind: &&Kind| Described {
        workload: kind.name,
        about: kind.about,
        options: kind.options.iter().chain(SHARED_OPTIONS).map(option).collect(),
    };
    kinds.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::KINDS;

    #[test]
    fn every_option_of_every_workload_is_shown_within_the_columns() {
        let all: Vec<&Kind> = KINDS.iter().collect();
        for columns in [60, 100] {
            let text = render(&all, columns);
            assert!(text.lines().all(|line| line.chars().count() <= columns), "{text}");
            let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
            for option in KINDS.iter().flat_map(|kind| kind.options).chain(SHARED_OPTIONS) {
                let line = format!("{} {}; {}", option.name, option.help, option.kind);
                assert!(words.contains(&line), "{line}");
            }
            assert!(KINDS.iter().all(|kind| words.contains(kind.about)));
        }
    }
}
