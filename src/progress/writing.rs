//! Lines of the progress: broken at the terminal's width, or at that of a log, with their time and
//! without secrets. What they say is decided in the parent.

use std::io::Write as _;

use super::{ProgressView, clean, lines, secrets, wrapped};

impl ProgressView {
    /// A line: it is broken between words where it is too long, a message of others, too.
    pub(super) fn say(&mut self, text: &str) {
        self.write(text, Some(lines::WIDTH));
    }

    /// The line that says what a run ended with: a log has it as one, for who looks for it.
    pub(super) fn last(&mut self, text: &str) {
        self.write(text, None);
    }

    fn write(&mut self, text: &str, width: Option<usize>) {
        let text = clean::lines(text);
        let text = secrets().mask(&text);
        if let Some(columns) = (self.columns)() {
            let text = wrapped(&text, columns, "  ");
            // It fails only where there is no terminal any more, and so no reader.
            let _ = match &self.bars {
                Some(bars) => bars.all.println(text),
                None => writeln!(self.out, "{text}"),
            };
            return;
        }
        // The time opens a line; what continues it is below the text.
        let time = match &self.sweep {
            Some(_) => (self.clock)().strftime("%H:%M:%S ").to_string(),
            None => String::new(),
        };
        let indent = " ".repeat(time.len() + 2);
        let text = format!("{time}{text}");
        let text = match width {
            Some(width) => wrapped(&text, width, &indent),
            None => text,
        };
        // A reader that went away does not end the sweep.
        let _ = writeln!(self.out, "{text}");
    }
}
