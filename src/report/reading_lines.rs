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
    lines: Vec<String>,
    last: &'static str,
}

impl Block {
    pub(super) fn of(columns: usize) -> Self {
        Self { columns: columns.clamp(40, MOST), lines: Vec::new(), last: "" }
    }

    /// A line as it is.
    pub(super) fn raw(&mut self, line: &str) {
        self.lines.push(line.to_owned());
    }

    /// One line from outside, cut to what a few lines hold.
    pub(super) fn plain(&self, text: &str) -> String {
        cut(&plain(text), (self.columns - LABEL) * 3)
    }

    /// Sentences, broken at spaces. A label is written once.
    pub(super) fn put(&mut self, label: &'static str, sentences: &[String]) {
        let text = sentences.join(" ");
        let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
        self.fill(label, &words);
    }

    /// Parts that stay whole, behind a prefix.
    pub(super) fn whole(&mut self, label: &'static str, prefix: Option<&str>, parts: &[String]) {
        let words: Vec<&str> = prefix.into_iter().chain(parts.iter().map(String::as_str)).collect();
        self.fill(label, &words);
    }

    fn fill(&mut self, label: &'static str, words: &[&str]) {
        let label = if self.last == label { "" } else { label };
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
            self.lines.push(format!("{label:column$}{}", row.trim_end()));
        }
        if !label.is_empty() {
            self.last = label;
        }
    }

    /// All lines. Ends with a newline.
    pub(super) fn text(&self) -> String {
        self.lines.join("\n") + "\n"
    }
}
