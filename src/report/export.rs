//! `results` and `ranking` as Parquet and CSV. Rebuilt from the sweep's record
//! alone; the same record gives the same bytes.

use std::path::{Path, PathBuf};

use polars::prelude::{CsvWriter, DataFrame, SerWriter};

use crate::results::file::{write_parquet, write_whole};
use crate::results::{ResultsError, frame, ranking};
use crate::sweep::record::SweepRecord;

/// Writes `results.parquet`, `results.csv`, `ranking.parquet` and `ranking.csv`
/// into `folder`, each whole or not at all, and returns their paths.
///
/// # Errors
/// When a file cannot be written.
pub fn write(folder: &Path, sweep: &SweepRecord) -> Result<Vec<PathBuf>, ResultsError> {
    let results = frame::results(sweep)?;
    let ranking = ranking::rank(sweep).frame()?;
    let mut paths = Vec::new();
    for (name, mut frame) in [("results", results), ("ranking", ranking)] {
        let path = folder.join(name).with_extension("parquet");
        write_parquet(&path, &mut frame)?;
        paths.push(path);
        let path = folder.join(name).with_extension("csv");
        write_csv(&path, &mut frame)?;
        paths.push(path);
    }
    Ok(paths)
}

/// CSV with a header, `.` as the decimal point, an empty field for null, the
/// shortest digits that read back as the same number.
fn write_csv(path: &Path, frame: &mut DataFrame) -> Result<(), ResultsError> {
    write_whole(path, |writer| {
        CsvWriter::new(writer).n_threads(1).finish(frame)?;
        Ok(())
    })
}
