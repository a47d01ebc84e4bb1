//! `results` and `ranking` as Parquet and CSV, and how a page is written. Rebuilt from the sweep's record
//! alone; the same record gives the same bytes.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::history::folder::write_whole;
use crate::history::record::SweepRecord;
use crate::results::file::{write_csv, write_parquet};
use crate::results::ranking::Ranking;
use crate::results::{ResultsError, frame};

/// Writes `results.parquet`, `results.csv`, `ranking.parquet` and `ranking.csv`
/// of a sweep and its ranking into `folder`, each whole or not at all, and returns their
/// paths. One that cannot be written keeps no other from it. The ranking is handed in: who writes it shows it, too, and it takes time.
///
/// # Errors
/// When a file cannot be written.
pub fn write(
    folder: &Path,
    sweep: &SweepRecord,
    ranking: &Ranking,
) -> Result<Vec<PathBuf>, ResultsError> {
    let results = frame::results(sweep)?;
    let ranked = ranking.frame_with_flags(sweep)?;
    let mut written = Vec::new();
    // What a person opens has the columns of the ranking that say something, in a reader's order.
    let table = ranking.table(&ranked)?;
    for (name, mut parquet, csv) in [("results", results, None), ("ranking", ranked, Some(table))] {
        let path = folder.join(name).with_extension("parquet");
        written.push(write_parquet(&path, &mut parquet).map(|()| path));
        let path = folder.join(name).with_extension("csv");
        written.push(write_csv(&path, &mut csv.unwrap_or(parquet)).map(|()| path));
    }
    written.into_iter().collect()
}

/// Writes a page or a Markdown file, whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub fn write_text(path: &Path, text: &str) -> Result<(), ResultsError> {
    write_whole(path, |file| file.write_all(text.as_bytes()))
        .map_err(|error| ResultsError::File { path: path.to_owned(), error })
}
