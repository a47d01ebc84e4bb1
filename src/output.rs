//! What the program prints, without secrets. Standard output and standard error are
//! one each in a process, and so is what must not appear there: the secrets of the
//! environment, and those that commands learn from grids, services and containers.

use std::io::Write;
use std::sync::LazyLock;

use tracing_subscriber::fmt::MakeWriter;
use vllm_grid::secret::Secrets;

use crate::lines;

static SECRETS: LazyLock<Secrets> = LazyLock::new(|| {
    let secrets = Secrets::default();
    for (name, value) in std::env::vars_os() {
        if let (Some(name), Some(value)) = (name.to_str(), value.to_str()) {
            secrets.add_environment([(name, value)]);
        }
    }
    secrets
});

/// What must not be printed or written.
pub(crate) fn secrets() -> &'static Secrets {
    &SECRETS
}

/// Writes a line to standard error.
pub(crate) fn print_error(text: &str) {
    // A reader that is no longer there needs nothing.
    let _ = writeln!(std::io::stderr(), "{}", SECRETS.mask(text));
}

/// Writes something that a person should read, in lines of a terminal's width where it goes to
/// one, else in one line.
pub(crate) fn remark(text: &str) {
    // Before it is broken: a secret in two lines would not be found.
    let text = SECRETS.mask(text);
    match lines::of_errors() {
        Some(columns) => print_error(&lines::wrapped(&text, columns, "  ")),
        None => print_error(&text),
    }
}

/// Writes line by line, secrets masked.
pub(crate) struct Masked<W: Write> {
    out: W,
    /// The beginning of a line.
    line: Vec<u8>,
}

impl<W: Write> Masked<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, line: Vec::new() }
    }

    /// Where it writes to.
    pub(crate) fn into_inner(self) -> W {
        self.out
    }

    /// Writes the first `length` bytes of what waits; what cannot be written is dropped.
    fn put(&mut self, length: usize) -> std::io::Result<()> {
        let rest = self.line.split_off(length);
        let bytes = std::mem::replace(&mut self.line, rest);
        let text = String::from_utf8_lossy(&bytes);
        self.out.write_all(SECRETS.mask(&text).as_bytes())
    }
}

impl<W: Write> Write for Masked<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if let Some(end) = self.line.iter().rposition(|byte| *byte == b'\n') {
            self.put(end + 1)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.put(self.line.len())?;
        self.out.flush()
    }
}

/// Standard error for what is traced.
pub(crate) struct Traced;

impl<'a> MakeWriter<'a> for Traced {
    type Writer = TracedLine;

    fn make_writer(&'a self) -> Self::Writer {
        TracedLine(Masked::new(std::io::stderr()))
    }
}

/// One traced event.
pub(crate) struct TracedLine(Masked<std::io::Stderr>);

impl Write for TracedLine {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl Drop for TracedLine {
    fn drop(&mut self) {
        let _ = self.flush();
    }
}
