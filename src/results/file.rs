//! Frames as files that are complete or not there.

use std::io::{self, Write};
use std::path::Path;

use polars::prelude::{
    Column, CsvWriter, DataFrame, ParquetWriter, PolarsResult, SerWriter, Series,
};

use super::ResultsError;
use super::columns::{column as named, list_text};
use crate::history::folder::write_whole;

/// A frame as a Parquet file. One row group after another, one thread: the same
/// frame gives the same bytes.
pub(crate) fn write_parquet(path: &Path, frame: &mut DataFrame) -> Result<(), ResultsError> {
    write(path, |file| ParquetWriter::new(file).set_parallel(false).finish(frame).map(drop))
}

/// CSV with a header, `.` as the decimal point, an empty field for null, the
/// shortest digits that read back as the same number. Lists are written as JSON.
pub(crate) fn write_csv(path: &Path, frame: &mut DataFrame) -> Result<(), ResultsError> {
    let columns = frame.columns().iter().map(flat).collect::<PolarsResult<_>>()?;
    let mut frame = DataFrame::new(frame.height(), columns)?;
    write(path, |file| CsvWriter::new(file).n_threads(1).finish(&mut frame))
}

/// A column without lists: a CSV field has none.
fn flat(column: &Column) -> PolarsResult<Column> {
    let Ok(lists) = column.list() else { return Ok(column.clone()) };
    let text = |numbers: Series| Ok(list_text(numbers.f64()?.iter()));
    let texts = (0..lists.len()).map(|row| lists.get_as_series(row).map(text).transpose());
    Ok(named(column.name(), texts.collect::<PolarsResult<_>>()?))
}

/// Polars reports an error of the file system as one of the frame: the system's own
/// error is kept, and returned.
fn write(
    path: &Path,
    content: impl FnOnce(&mut SystemErrors<'_>) -> PolarsResult<()>,
) -> Result<(), ResultsError> {
    let mut frame_error = None;
    let written = write_whole(path, |file| {
        let mut writer = SystemErrors { file, first: None };
        let done = content(&mut writer);
        match (writer.first, done) {
            (Some(error), _) => Err(error),
            (None, Ok(())) => Ok(()),
            (None, Err(error)) => {
                frame_error = Some(error);
                Err(io::ErrorKind::InvalidData.into())
            }
        }
    });
    match (frame_error, written) {
        (Some(error), _) => Err(ResultsError::Frame(error)),
        (None, written) => {
            written.map_err(|error| ResultsError::File { path: path.to_owned(), error })
        }
    }
}

/// A writer that keeps the first error of the system.
struct SystemErrors<'a> {
    file: &'a mut dyn Write,
    first: Option<io::Error>,
}

impl SystemErrors<'_> {
    fn keep<T>(&mut self, done: io::Result<T>) -> io::Result<T> {
        done.map_err(|error| {
            // The caller tries again.
            if error.kind() == io::ErrorKind::Interrupted {
                return error;
            }
            let copy = io::Error::new(error.kind(), error.to_string());
            self.first.get_or_insert(error);
            copy
        })
    }
}

impl Write for SystemErrors<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let done = self.file.write(bytes);
        self.keep(done)
    }

    fn flush(&mut self) -> io::Result<()> {
        let done = self.file.flush();
        self.keep(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::folder::DISK_IS_FULL;
    use polars::prelude::{Column, NamedFrom, Series};

    fn frame(rows: usize) -> DataFrame {
        // Of no order, so that compression leaves most of it.
        let numbers: Vec<u64> =
            (0..rows as u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
        let column: Column = Series::new("n".into(), numbers).into();
        DataFrame::new(rows, vec![column]).unwrap()
    }

    #[test]
    fn an_error_of_the_frame_is_printed_once() {
        let error = ResultsError::from(polars::error::PolarsError::NoData("no rows".into()));
        assert!(error.to_string().ends_with(": no rows"), "{error}");
        assert!(std::error::Error::source(&error).is_none());
    }

    /// The temporary file is a device that is always full.
    #[test]
    fn a_full_disk_is_reported_as_one() {
        let folder = tempfile::tempdir().unwrap();
        for rows in [3, 100_000] {
            for (name, write) in [
                ("results.parquet", write_parquet as fn(&Path, &mut DataFrame) -> _),
                ("results.csv", write_csv),
            ] {
                let path = folder.path().join(name);
                DISK_IS_FULL.set(true);
                let written = write(&path, &mut frame(rows));
                DISK_IS_FULL.set(false);
                let error: ResultsError = written.unwrap_err();
                let full = format!("{}: No space left on device (os error 28): ", path.display());
                let said = error.to_string();
                assert!(said.starts_with(&full) && said.contains("free some, and try"), "{said}");
                assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
            }
        }
    }
}
