//! `results` and `ranking` as Parquet and CSV. Rebuilt from the sweep's record
//! alone; the same record gives the same bytes.

use std::path::{Path, PathBuf};

use crate::history::record::SweepRecord;
use crate::results::file::{write_csv, write_parquet};
use crate::results::{ResultsError, frame, ranking};

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
