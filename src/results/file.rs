//! Files that are complete or not there.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use polars::prelude::{DataFrame, ParquetWriter};

use super::ResultsError;
use crate::sweep::journal::sync_folder;

/// Writes a file under a temporary name in the same folder, makes it durable
/// and renames it: whoever reads `path` sees the old file or the whole new one.
pub(crate) fn write_whole(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<File>) -> Result<(), ResultsError>,
) -> Result<(), ResultsError> {
    let fault = |source| ResultsError::File { path: path.to_owned(), source };
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.ok_or_else(|| fault(std::io::ErrorKind::InvalidFilename.into()))?;
    let temporary = path.with_file_name(format!(".{name}.tmp"));
    let write = || {
        let mut writer = BufWriter::new(File::create(&temporary).map_err(fault)?);
        content(&mut writer)?;
        writer.flush().map_err(fault)?;
        writer.get_ref().sync_all().map_err(fault)?;
        std::fs::rename(&temporary, path).map_err(fault)?;
        sync_folder(path).map_err(fault)
    };
    write().inspect_err(|_| {
        // What is left of it is of no use, and the first error is the one to tell.
        let _ = std::fs::remove_file(&temporary);
    })
}

/// A frame as a Parquet file. One row group after another, one thread: the same
/// frame gives the same bytes.
pub(crate) fn write_parquet(path: &Path, frame: &mut DataFrame) -> Result<(), ResultsError> {
    write_whole(path, |writer| {
        ParquetWriter::new(writer).set_parallel(false).finish(frame)?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.csv");
        std::fs::write(&path, "old").unwrap();
        let failed = write_whole(&path, |writer| {
            writer.write_all(b"half").unwrap();
            Err(ResultsError::Content { path: path.clone(), fault: "stopped".to_owned() })
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        write_whole(&path, |writer| {
            writer.write_all(b"new").unwrap();
            Ok(())
        })
        .unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
