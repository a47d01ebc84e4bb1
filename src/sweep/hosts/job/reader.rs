//! Reads a launch's lines as they come, on the controller: a line counts once its end is there,
//! and a file that is not there yet is empty.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::{Files, Line};

/// Follows the lines of a launch.
#[derive(Clone, Debug)]
pub struct Reader {
    path: PathBuf,
    read: u64,
}

impl Reader {
    /// Of a launch in `folder`, from its first line on.
    pub fn of(folder: &Path) -> Self {
        Self { path: Files::of(folder).lines(), read: 0 }
    }

    /// The lines that have come since it was asked last.
    ///
    /// # Errors
    /// When the file is there and cannot be read, or a whole line is none of ours.
    pub fn more(&mut self) -> io::Result<Vec<Line>> {
        // Opened anew each time: a network file system may have another file by then.
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(Vec::new());
        };
        let whole = &bytes[..=end];
        let lines = whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let lines: Result<Vec<Line>, _> = lines.map(serde_json::from_slice).collect();
        let lines = lines.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        self.read += whole.len() as u64;
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Writer;
    use super::*;

    #[test]
    fn a_line_counts_once_its_end_is_there() {
        let place = tempfile::tempdir().expect("a folder");
        let mut reader = Reader::of(place.path());
        assert_eq!(reader.more().expect("none yet"), []);
        let writer = Writer::open(place.path()).expect("open");
        let line = |text: &str| Line::Warning { text: text.to_owned() };
        writer.write(&line("one")).expect("written");
        writer.write(&line("two")).expect("written");
        assert_eq!(reader.more().expect("read"), [line("one"), line("two")]);
        let path = Files::of(place.path()).lines();
        let whole = std::fs::read(&path).expect("read");
        let torn = [&whole[..], b"{\"warning\":{\"te"].concat();
        std::fs::write(&path, &torn).expect("written");
        assert_eq!(reader.more().expect("torn"), []);
        std::fs::write(&path, [&torn[..], b"xt\":\"three\"}}\n"].concat()).expect("written");
        assert_eq!(reader.more().expect("whole"), [line("three")]);
    }
}
