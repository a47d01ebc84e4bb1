//! Labelled lines: a label, text from column ten (behind a label of more than eight letters
//! one column after it), further lines below it. Words are never broken; texts that came from outside are made plain first.

use super::spoken::GLUE;
use super::text::{cut, plain, width};

/// Columns of the labels.
const LABEL: usize = 9;

/// More columns than these are not used: long lines are hard to read.
const MOST: usize = 100;

/// Labelled lines as they grow.
pub(super) struct Block {
    columns: usize,
    entries: Vec<Entry>,
}

/// What stands behind one label, before it is broken into lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The label; empty for a line as it is.
    pub(super) label: &'static str,
    /// What comes before parts that stay whole.
    pub(super) prefix: Option<&'static str>,
    /// Sentences, or parts that stay whole: commands, arguments.
    pub(super) parts: Vec<String>,
    /// Whether these are parts that stay whole.
    pub(super) whole: bool,
}

impl Entry {
    /// The words that no line breaks.
    fn words(&self) -> Vec<&str> {
        let parts = self.parts.iter().map(String::as_str);
        if self.whole {
            return self.prefix.into_iter().chain(parts).collect();
        }
        parts.flat_map(|part| part.split(' ')).filter(|word| !word.is_empty()).collect()
    }
}

impl Block {
    pub(super) fn of(columns: usize) -> Self {
        Self { columns: columns.clamp(40, MOST), entries: Vec::new() }
    }

    /// A line as it is.
    pub(super) fn raw(&mut self, line: &str) {
        let parts = vec![line.to_owned()];
        self.entries.push(Entry { label: "", prefix: None, parts, whole: true });
    }

    /// One line from outside, cut to what a few lines hold.
    pub(super) fn plain(&self, text: &str) -> String {
        cut(&plain(text), (self.columns - LABEL) * 3)
    }

    /// Sentences, broken at spaces. A label is written once.
    pub(super) fn put(&mut self, label: &'static str, sentences: &[String]) {
        let parts = sentences.to_vec();
        self.entries.push(Entry { label, prefix: None, parts, whole: false });
    }

    /// Parts that stay whole, behind a prefix.
    pub(super) fn whole(
        &mut self,
        label: &'static str,
        prefix: Option<&'static str>,
        parts: &[String],
    ) {
        self.entries.push(Entry { label, prefix, parts: parts.to_vec(), whole: true });
    }

    /// What was put, in its order.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// All lines. Ends with a newline.
    pub(super) fn text(&self) -> String {
        let mut lines = Vec::new();
        let mut last = "";
        for entry in &self.entries {
            if entry.label.is_empty() {
                lines.extend(entry.parts.iter().cloned());
                continue;
            }
            let label = if entry.label == last { "" } else { entry.label };
            self.fill(&mut lines, label, &entry.words());
            last = entry.label;
        }
        lines.join("\n") + "\n"
    }

    fn fill(&self, lines: &mut Vec<String>, label: &str, words: &[&str]) {
        // The first row begins later behind a long label.
        let longer = (label.len() + 1).saturating_sub(LABEL);
        let mut rows: Vec<String> = vec![String::new()];
        for word in words {
            let space = self.columns - LABEL - if rows.len() == 1 { longer } else { 0 };
            let row = rows.last_mut().expect("starts with a row, only grows");
            if row.is_empty() {
                row.push_str(word);
            } else if width(row) + 1 + width(word) <= space {
                row.push(' ');
                row.push_str(word);
            } else {
                rows.push(word.trim_start_matches(GLUE).to_owned());
            }
        }
        for (at, row) in rows.iter().enumerate() {
            let (label, column) = if at == 0 { (label, LABEL + longer) } else { ("", LABEL) };
            let row = row.replace(GLUE, " ");
            lines.push(format!("{label:column$}{}", row.trim_end()));
        }
    }
}
