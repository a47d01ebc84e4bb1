//! What a report is made of, before it is a page or Markdown: paragraphs, lists, tables,
//! pictures, and links to configurations, launches and files. Texts are kept as they came;
//! both renderers clean and escape every one of them.

use crate::report::pictures::Picture;

/// One of the seven sections.
#[derive(Debug)]
pub(in crate::report) struct Section {
    /// Identifier in the page; it does not change between versions.
    pub(in crate::report) id: &'static str,
    /// What it is about.
    pub(in crate::report) title: &'static str,
    /// What it has, in order.
    pub(in crate::report) parts: Vec<Part>,
}

/// A part of a section.
#[derive(Debug)]
pub(in crate::report) enum Part {
    /// A heading below the section's.
    Heading(String),
    /// A paragraph.
    Text(Vec<Span>),
    /// One line for each.
    List(Vec<Vec<Span>>),
    /// Rows and columns.
    Table(Table),
    /// A picture with the table behind it.
    Picture(Picture),
    /// What is read on demand.
    Folded(String, Vec<Part>),
    /// Lines as they are.
    Code(String),
}

impl Part {
    /// A paragraph without links.
    pub(in crate::report) fn text(text: impl Into<String>) -> Self {
        Self::Text(vec![Span::text(text)])
    }

    /// A list without links.
    pub(in crate::report) fn list(lines: impl IntoIterator<Item = String>) -> Self {
        Self::List(lines.into_iter().map(|line| vec![Span::Text(line)]).collect())
    }
}

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::report) enum Span {
    /// Words.
    Text(String),
    /// What a machine reads: flags, commands.
    Code(String),
    /// What is to be seen first.
    Strong(String),
    /// Words that lead to something.
    Link(String, To),
}

impl Span {
    /// Words.
    pub(in crate::report) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}

/// Where a link leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::report) enum To {
    /// The launches of a configuration, by its index in the ranking.
    Configuration(usize),
    /// A launch, by its number.
    Launch(u32),
    /// A file of the sweep's folder, by its path in it.
    File(String),
}

/// A table; the first cell of a row is its heading.
#[derive(Debug)]
pub(in crate::report) struct Table {
    /// What it shows.
    pub(in crate::report) caption: String,
    /// Headings of the columns.
    pub(in crate::report) head: Vec<String>,
    /// As many cells in each row as there are headings.
    pub(in crate::report) rows: Vec<Vec<Cell>>,
    /// Whether its rows are of one kind, so that a reader may sort them.
    pub(in crate::report) is_sorted: bool,
}

/// Letters from which a cell is a sentence.
const LONG: usize = 48;

/// A cell of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::report) struct Cell {
    /// What stands in it.
    pub(in crate::report) spans: Vec<Span>,
    /// Whether it is a figure.
    pub(in crate::report) is_number: bool,
}

impl Cell {
    /// Words.
    pub(in crate::report) fn text(text: impl Into<String>) -> Self {
        Self { spans: vec![Span::text(text)], is_number: false }
    }

    /// What a machine reads.
    pub(in crate::report) fn code(text: impl Into<String>) -> Self {
        Self { spans: vec![Span::Code(text.into())], is_number: false }
    }

    /// Words that lead to something.
    pub(in crate::report) fn link(text: impl Into<String>, to: To) -> Self {
        Self { spans: vec![Span::Link(text.into(), to)], is_number: false }
    }

    /// A figure without what it rests on.
    pub(in crate::report) fn number(text: impl Into<String>) -> Self {
        Self { spans: vec![Span::text(text)], is_number: true }
    }

    /// A figure that leads to what it rests on.
    pub(in crate::report) fn figure(text: impl Into<String>, to: To) -> Self {
        Self { spans: vec![Span::Link(text.into(), to)], is_number: true }
    }

    /// Whether it is a sentence, which needs room.
    pub(in crate::report) fn is_long(&self) -> bool {
        self.letters() > LONG
    }

    /// Letters in it.
    pub(in crate::report) fn letters(&self) -> usize {
        let length = |span: &Span| match span {
            Span::Text(text) | Span::Code(text) | Span::Strong(text) | Span::Link(text, _) => {
                text.chars().count()
            }
        };
        self.spans.iter().map(length).sum()
    }

    /// Nothing was measured.
    pub(in crate::report) fn nothing() -> Self {
        Self::number("-")
    }
}
