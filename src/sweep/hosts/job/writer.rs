//! Writes a launch's lines on its node: each is on the disk before the launch goes on, so that
//! a node that dies loses at most the repeat that ran.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::{Files, Line};

/// Appends lines.
#[derive(Debug)]
pub struct Writer {
    file: Mutex<File>,
}

impl Writer {
    /// For a launch in `folder`.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let path = Files::of(folder).lines();
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { file: Mutex::new(file) })
    }

    /// Appends a line, and returns once it is durable.
    ///
    /// # Errors
    /// When it cannot be written: the launch has to end.
    pub fn write(&self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_string(line).map_err(io::Error::other)?;
        text.push('\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(text.as_bytes())?;
        file.sync_data()
    }
}
