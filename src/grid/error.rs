//! What is wrong with a grid, and where: collected while checking, reported all
//! at once. The file's text travels along for the snippets, with secrets struck out.

use std::fmt;
use std::path::{Path, PathBuf};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource};

use super::Warning;
use super::node::{Content, Node, Span};
use crate::secret::{is_in_text, is_secret};

/// One error of a grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GridError {
    /// What is wrong.
    pub message: String,
    /// What to do about it, where that is known.
    pub help: Option<String>,
    /// Line from 1, where there is one.
    pub line: Option<usize>,
    /// Column from 1, in characters, where there is one.
    pub column: Option<usize>,
    span: Option<Span>,
}

/// Every error of a grid, in the order of the file.
#[derive(Debug)]
pub struct GridErrors {
    /// The grid file as it was named.
    pub file: PathBuf,
    /// The errors; never empty.
    pub errors: Vec<GridError>,
    source: NamedSource<String>,
}

/// Errors that are shown of a grid: each is shown with its line, and nobody reads thousands.
const SHOWN: usize = 100;

impl GridErrors {
    /// The errors with file, line, column and snippets, for a terminal of
    /// `width` columns.
    pub fn render(&self, width: usize, color: bool) -> String {
        let theme =
            if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let mut text = String::new();
        GraphicalReportHandler::new_themed(theme)
            .with_width(width)
            .with_links(false)
            .render_report(&mut text, self)
            .expect("writing to a string does not fail");
        text
    }
}

impl fmt::Display for GridErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match self.errors.len() {
            1 => write!(f, "the grid {file} has an error"),
            count if count > SHOWN => {
                write!(f, "the grid {file} has {count} errors; the first {SHOWN} are shown")
            }
            count => write!(f, "the grid {file} has {count} errors"),
        }
    }
}

impl std::error::Error for GridErrors {}

impl Diagnostic for GridErrors {
    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(&self.source)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.errors.iter().take(SHOWN).map(|error| error as &dyn Diagnostic)))
    }
}

impl fmt::Display for GridError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for GridError {}

impl Diagnostic for GridError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.span.clone()?;
        Some(Box::new(std::iter::once(LabeledSpan::new(None, span.start, span.len()))))
    }
}

/// What checking finds: a message, what to do, and where.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) message: String,
    pub(super) help: Option<String>,
    pub(super) span: Option<Span>,
    pub(super) of_budget: bool,
}

impl Finding {
    pub(super) fn help(&mut self, help: impl Into<String>) {
        self.help = Some(help.into());
    }

    /// The same as a warning, which is one text.
    pub(super) fn into_warning(mut self) -> Self {
        if let Some(help) = self.help.take() {
            self.message = format!("{}; {help}", self.message);
        }
        self
    }
}

/// Errors and warnings, as they come.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) errors: Vec<Finding>,
    pub(super) warnings: Vec<Finding>,
}

impl Findings {
    pub(super) fn error(&mut self, span: &Span, message: impl Into<String>) -> &mut Finding {
        push(&mut self.errors, Some(span.clone()), message.into())
    }

    /// An error that has no place in the file.
    pub(super) fn error_of_file(&mut self, message: impl Into<String>) -> &mut Finding {
        push(&mut self.errors, None, message.into())
    }

    pub(super) fn warning(&mut self, span: Option<&Span>, message: impl Into<String>) {
        push(&mut self.warnings, span.cloned(), message.into());
    }

    /// A warning of what the budget allows.
    pub(super) fn warning_of_budget(&mut self, span: Option<&Span>, message: impl Into<String>) {
        push(&mut self.warnings, span.cloned(), message.into()).of_budget = true;
    }

    /// The errors with their text, if there are any.
    pub(super) fn into_errors(mut self, file: &Path, text: String) -> GridErrors {
        self.errors.sort_by_key(|error| error.span.as_ref().map_or(0, |span| span.start));
        let lines = Lines::of(&text);
        let errors = self
            .errors
            .into_iter()
            .map(|finding| {
                let place = finding.span.as_ref().map(|span| lines.place(&text, span.start));
                GridError {
                    message: finding.message,
                    help: finding.help,
                    line: place.map(|(line, _)| line),
                    column: place.map(|(_, column)| column),
                    span: finding.span,
                }
            })
            .collect();
        let name = file.display().to_string();
        GridErrors { file: file.to_owned(), errors, source: NamedSource::new(name, text) }
    }

    /// The warnings in the order of the file.
    pub(super) fn take_warnings(&mut self, file: &Path, text: &str) -> Vec<Warning> {
        let mut warnings = std::mem::take(&mut self.warnings);
        warnings.sort_by_key(|warning| warning.span.as_ref().map_or(usize::MAX, |span| span.start));
        let lines = Lines::of(text);
        warnings
            .into_iter()
            .map(|finding| {
                let place = finding.span.map(|span| lines.place(text, span.start));
                Warning {
                    file: file.to_owned(),
                    line: place.map(|(line, _)| line),
                    column: place.map(|(_, column)| column),
                    message: finding.message,
                    of_budget: finding.of_budget,
                }
            })
            .collect()
    }
}

fn push(into: &mut Vec<Finding>, span: Option<Span>, message: String) -> &mut Finding {
    into.push(Finding { message, help: None, span, of_budget: false });
    into.last_mut().expect("something was just pushed")
}

/// Line and column, from 1, of a byte of a text.
pub(super) fn place(text: &str, byte: usize) -> (usize, usize) {
    Lines::of(text).place(text, byte)
}

/// Where each line begins.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(std::iter::once(0).chain(starts.map(|(at, _)| at + 1)).collect())
    }

    /// Line and column from 1; columns count characters.
    fn place(&self, text: &str, byte: usize) -> (usize, usize) {
        let line = self.0.partition_point(|start| *start <= byte);
        let start = self.0[line - 1];
        let column = text.get(start..byte).map_or(1, |before| before.chars().count() + 1);
        (line, column)
    }
}

/// The text with every secret's value struck out, each character by one of the
/// same length in bytes, so that places stay the same.
pub(super) fn strike_secrets(text: &str, root: &Node) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut strike = |span: &Span| {
        if let Some(value) = bytes.get_mut(span.clone()) {
            value.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b'*');
        }
    };
    visit_secrets(root, &mut strike);
    String::from_utf8(bytes).unwrap_or_default()
}

/// The same for a text that could not be read: what follows a secret's name is
/// struck out up to the end of its line.
pub(super) fn strike_secret_lines(text: &str) -> String {
    let word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    let mut struck = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let mut secret = false;
        for part in line.split_inclusive(|letter: char| !word(letter)) {
            let name = part.trim_end_matches(|letter: char| !word(letter));
            if secret {
                struck.extend(part.chars().map(|letter| match letter {
                    '\n' | '\r' => String::from(letter),
                    _ => "*".repeat(letter.len_utf8()),
                }));
            } else {
                struck.push_str(part);
            }
            secret |= names_secret(name.trim_start_matches('-'));
        }
    }
    struck
}

/// Whether what follows this key may be a secret: of `api-key-env` it should be a name.
fn names_secret(key: &str) -> bool {
    is_secret(key.trim_end_matches("env"))
}

fn visit_secrets(node: &Node, strike: &mut impl FnMut(&Span)) {
    match &node.content {
        Content::Map(entries) => {
            for (key, value) in entries {
                let shown = match &value.content {
                    Content::Text(name) => key.text.ends_with("env") && is_variable(name),
                    _ => false,
                };
                let has_words = ["command", "options"].contains(&key.text.as_str());
                let secret = names_secret(&key.text) || (has_words && mentions_secret(value));
                if secret && !shown {
                    strike_all(value, strike);
                } else {
                    visit_secrets(value, strike);
                }
            }
        }
        Content::List(items) => items.iter().for_each(|item| visit_secrets(item, strike)),
        Content::Text(text) if is_in_text(text) => strike(&node.span),
        _ => {}
    }
}

/// Whether a command passes a secret to a flag.
fn mentions_secret(node: &Node) -> bool {
    match &node.content {
        Content::Text(text) => text
            .split(['=', ' ', '\n'])
            .any(|word| word.starts_with("--") && is_secret(&crate::flags::resolve(word))),
        Content::List(items) => items.iter().any(mentions_secret),
        _ => false,
    }
}

fn strike_all(node: &Node, strike: &mut impl FnMut(&Span)) {
    match &node.content {
        Content::Map(entries) => entries.iter().for_each(|(_, value)| strike_all(value, strike)),
        Content::List(items) => items.iter().for_each(|item| strike_all(item, strike)),
        _ => strike(&node.span),
    }
}

/// Whether a text can be the name of an environment variable.
pub(super) fn is_variable(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

#[cfg(test)]
mod tests {
    use super::strike_secret_lines;

    #[test]
    fn secrets_of_an_unreadable_text_are_struck_out_in_place() {
        let text = "a: 1\napi_key: sk-é x\nb: [--api-key, y]\nmax-num-seqs: 3\n";
        let struck = strike_secret_lines(text);
        assert_eq!(struck, "a: 1\napi_key:********\nb: [--api-key,***\nmax-num-seqs: 3\n");
        assert_eq!(struck.len(), text.len());
    }
}
