//! Columns of a terminal table, and how they are drawn.

use comfy_table::{CellAlignment, ContentArrangement, Table, TableComponent, presets};

use super::text::{cut, width};

/// Spaces between columns.
pub(super) const PADDING: usize = 2;

/// One column before it is laid out.
pub(super) struct Field {
    pub(super) header: String,
    pub(super) cells: Vec<String>,
    right: bool,
}

impl Field {
    pub(super) fn new(header: impl Into<String>, cells: Vec<String>) -> Self {
        Self { header: header.into(), cells, right: false }
    }

    /// Aligned to the right, as numbers are.
    pub(super) fn right(self) -> Self {
        Self { right: true, ..self }
    }

    pub(super) fn is_right(&self) -> bool {
        self.right
    }

    pub(super) fn width(&self) -> usize {
        self.cells.iter().chain([&self.header]).map(|cell| width(cell)).max().unwrap_or(0)
    }

    pub(super) fn cut(&mut self, columns: usize) {
        for cell in self.cells.iter_mut().chain([&mut self.header]) {
            *cell = cut(cell, columns);
        }
    }
}

/// The columns side by side, all of as many cells.
pub(super) fn draw(fields: &[&Field]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_style(TableComponent::HeaderLines, '─');
    table.set_header(fields.iter().map(|field| field.header.as_str()));
    for row in 0..fields.first().map_or(0, |field| field.cells.len()) {
        table.add_row(fields.iter().map(|field| field.cells[row].as_str()));
    }
    let last = fields.len().saturating_sub(1);
    for (at, (field, column)) in fields.iter().zip(table.column_iter_mut()).enumerate() {
        // Nothing stands right of the last one.
        column.set_padding((0, if at == last { 0 } else { PADDING as u16 }));
        if field.right {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Tables of at most `columns` columns, below each other: `label` in each, and as
/// many of the others as fit, one at least.
pub(super) fn folded(label: &Field, others: &[Field], columns: usize) -> String {
    let own = label.width() + PADDING;
    let mut tables = Vec::new();
    let mut shown = vec![label];
    let mut used = own;
    for field in others {
        if shown.len() > 1 && used + field.width() > columns {
            tables.push(draw(&shown));
            (shown, used) = (vec![label], own);
        }
        shown.push(field);
        used += field.width() + PADDING;
    }
    tables.push(draw(&shown));
    tables.join("\n\n")
}
