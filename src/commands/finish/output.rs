//! What the command of `--on-finish` prints: its beginning, line by line, cleaned of what acts
//! on a terminal and without secrets. The rest is read and dropped, so that the command does
//! not wait for a reader.

use std::io::Write;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{ChildStderr, ChildStdout};
use vllm_grid::clean;

use crate::output::secrets;

/// Bytes that are shown of each of its outputs.
const MOST: usize = 64 << 10;
/// Bytes that are read at once.
const READ: usize = 16 << 10;

/// Shows both outputs on ours, until they end.
pub(super) async fn show(out: Option<ChildStdout>, err: Option<ChildStderr>) {
    tokio::join!(pass(out, std::io::stdout()), pass(err, std::io::stderr()));
}

/// Passes the beginning of `from` on.
async fn pass(from: Option<impl AsyncRead + Unpin>, to: impl Write) {
    let Some(mut from) = from else { return };
    let mut shown = Shown::new(to);
    let mut buffer = vec![0; READ];
    // What cannot be read has ended.
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        shown.take(&buffer[..length]);
    }
    shown.end();
}

/// What is shown of an output.
struct Shown<W: Write> {
    to: W,
    /// The beginning of a line.
    line: Vec<u8>,
    taken: usize,
    is_cut: bool,
}

impl<W: Write> Shown<W> {
    fn new(to: W) -> Self {
        Self { to, line: Vec::new(), taken: 0, is_cut: false }
    }

    fn take(&mut self, bytes: &[u8]) {
        let kept = &bytes[..bytes.len().min(MOST - self.taken)];
        self.taken += kept.len();
        self.line.extend_from_slice(kept);
        if let Some(end) = self.line.iter().rposition(|byte| *byte == b'\n') {
            let rest = self.line.split_off(end + 1);
            let lines = std::mem::replace(&mut self.line, rest);
            self.put(&String::from_utf8_lossy(&lines));
        }
        if kept.len() < bytes.len() && !self.is_cut {
            self.is_cut = true;
            // The beginning of a secret is one, too.
            self.line.truncate(secrets().cut(&self.line));
            self.end();
            self.put(&format!("--on-finish: ... cut after {} KiB\n", MOST >> 10));
        }
    }

    /// What is left of a line is one.
    fn end(&mut self) {
        if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            self.put(&format!("{}\n", String::from_utf8_lossy(&line)));
        }
    }

    fn put(&mut self, lines: &str) {
        let text = secrets().mask(&clean::lines(lines)).into_owned();
        // A reader that is no longer there needs nothing.
        let _ = self.to.write_all(text.as_bytes()).and_then(|()| self.to.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_cut_and_acts_on_no_terminal() {
        let mut written = Vec::new();
        let mut shown = Shown::new(&mut written);
        shown.take(b"one\x1b]0;owned\x07\x1b[2J\ntwo \x1b[31mr");
        shown.take(b"ed\x1b[0m\n");
        for _ in 0..1000 {
            shown.take(&[b'x'; 4096]);
        }
        shown.end();
        let text = String::from_utf8(written).expect("text");
        assert!(text.starts_with("one\ntwo red\nxxx"), "{}", &text[..40]);
        assert!(text.ends_with("x\n--on-finish: ... cut after 64 KiB\n"));
        assert!(text.len() < MOST + 100 && !text.contains('\u{1b}'), "{} bytes", text.len());
    }

    #[test]
    fn a_last_line_without_an_end_is_shown() {
        let mut written = Vec::new();
        let mut shown = Shown::new(&mut written);
        shown.take("é".as_bytes().split_at(1).0);
        shown.take("é".as_bytes().split_at(1).1);
        shown.end();
        assert_eq!(written, "é\n".as_bytes());
    }
}
