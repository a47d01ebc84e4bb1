//! The runs below a folder, each with what it showed and how far it is. Read from manifests
//! and journals alone: no request record and no telemetry is opened. A folder that looks
//! like a run and cannot be read is an entry with the reason.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::ZonedDateTime;
use serde::Serialize;

use super::ranking::{self, Ranking};
use super::reading::{Gain, Place, Reading, Statement};
use crate::history::HistoryError;
use crate::history::extent::Extent;
use crate::history::folder::Folder;
use crate::history::journal;
use crate::history::record::SCHEMA_VERSION;

/// Folders below the named one that are looked into: a run in a folder of runs in a folder.
const DEPTH: usize = 3;

/// What makes a folder look like a run, though its manifest is missing.
const TRACES: [&str; 2] = ["journal.jsonl", "launches"];

/// The runs below a folder.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listed {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The folder that was named.
    pub folder: String,
    /// Newest first; those whose beginning is not known come last.
    pub runs: Vec<ListedRun>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ListedRun {
    /// Its folder, as a command takes it.
    pub run: String,
    /// When it was started, RFC 3339 UTC; `None` where the manifest cannot be read.
    pub created_at: Option<String>,
    /// The grid's name; `None` likewise.
    pub grid: Option<String>,
    /// `docker`, `process` or `simulated`; `None` likewise.
    pub engine: Option<String>,
    /// Whether figures are simulated, as the manifest or any server says; `None` where neither
    /// can be read, or the journal cannot and the manifest does not say so.
    pub simulated: Option<bool>,
    /// What it showed; `None` where the run cannot be read.
    #[serde(flatten)]
    pub shown: Option<Shown>,
    /// Why it cannot be read.
    pub error: Option<String>,
}

/// What a run showed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shown {
    /// The one sentence of its report.
    pub verdict: Statement,
    /// What to take, or to confirm; `None` where nothing is ranked.
    pub candidate: Option<String>,
    /// Whether it is the baseline itself.
    pub candidate_is_baseline: bool,
    /// Whether fresh launches confirmed its gain.
    pub confirmed: bool,
    /// The candidate compared with the baseline.
    pub gain: Option<Gain>,
    /// How far the run is.
    pub extent: Extent,
}

/// The runs at and below a folder.
///
/// # Errors
/// When the folder itself cannot be read.
pub fn below(folder: &Path, now: &ZonedDateTime) -> Result<Listed, std::io::Error> {
    let mut found = Vec::new();
    if looks_like_a_run(folder) {
        found.push(folder.to_owned());
    } else {
        std::fs::read_dir(folder)?;
        search(folder, DEPTH, &mut found);
    }
    let mut runs = read_all(&found, now);
    // A beginning is written as RFC 3339 in UTC: its text has the order of time.
    runs.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| a.run.cmp(&b.run)));
    Ok(Listed { schema_version: SCHEMA_VERSION, folder: folder.display().to_string(), runs })
}

fn looks_like_a_run(folder: &Path) -> bool {
    folder.join("manifest.json").is_file() || TRACES.iter().all(|it| folder.join(it).exists())
}

/// Folders that look like runs; nothing is searched inside of one.
fn search(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut folders: Vec<PathBuf> =
        entries.flatten().map(|it| it.path()).filter(|it| it.is_dir()).collect();
    folders.sort();
    for path in folders {
        if looks_like_a_run(&path) {
            found.push(path);
        } else if depth > 1 {
            search(&path, depth - 1, found);
        }
    }
}

/// Reads the runs with as many threads as there are processors: a long sweep's ranking
/// takes tens of milliseconds.
fn read_all(folders: &[PathBuf], now: &ZonedDateTime) -> Vec<ListedRun> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut runs = Vec::new();
        while let Some(folder) = folders.get(next.fetch_add(1, Ordering::Relaxed)) {
            runs.push(read(folder, now));
        }
        runs
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (1..threads.min(folders.len())).map(|_| scope.spawn(work)).collect();
        let mut runs = work();
        for worker in workers {
            // A panic of one is a panic of all.
            runs.extend(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        runs
    })
}

fn read(path: &Path, now: &ZonedDateTime) -> ListedRun {
    let mut run = ListedRun {
        run: path.display().to_string(),
        created_at: None,
        grid: None,
        engine: None,
        simulated: None,
        shown: None,
        error: None,
    };
    match shown(path, &mut run, now) {
        Ok(shown) => run.shown = Some(shown),
        Err(error) => run.error = Some(error.to_string()),
    }
    run
}

/// What a run showed; what the manifest says is noted in `run` before the journal is read.
fn shown(path: &Path, run: &mut ListedRun, now: &ZonedDateTime) -> Result<Shown, HistoryError> {
    let folder = Folder::existing(path)?;
    let manifest = folder.manifest()?;
    run.created_at = Some(manifest.created_at.clone());
    run.grid = Some(manifest.grid.clone());
    run.engine = Some(manifest.engine.clone());
    // The journal can still show that a server was the simulator.
    run.simulated = manifest.simulated.then_some(true);
    let seen = folder.see()?;
    let record = folder.record_of(manifest, &seen)?;
    run.simulated = Some(record.manifest.simulated);
    let is_written = || journal::is_written(&folder.journal_path());
    let extent = Extent::of(&record, seen.lines(), now, is_written);
    let ranking = ranking::rank_judged(&record);
    let place = Place { extent: Some(extent.clone()), ..Place::default() };
    let reading = Reading::of(&ranking, &record.manifest, &place);
    Ok(Shown::of(&ranking, reading, extent))
}

impl Shown {
    /// What a reading of a ranking shows.
    pub fn of(ranking: &Ranking, reading: Reading, extent: Extent) -> Self {
        // What the result is about: another one than the ranking's where that was confirmed.
        let choice = reading.choice.as_ref();
        let taken = choice.map(|it| it.candidate.as_ref().unwrap_or(&it.configuration));
        let of_ranking = ranking.decision.as_ref().map(|it| &it.candidate.configuration);
        let candidate = taken.or(of_ranking).cloned();
        let row = ranking.rows.iter().find(|row| Some(&row.name) == candidate.as_ref());
        Self {
            candidate_is_baseline: row.is_some_and(|row| row.baseline),
            candidate,
            confirmed: matches!(reading.result, Statement::Better { confirmed: true, .. }),
            gain: reading.choice.and_then(|choice| choice.gain),
            verdict: reading.result,
            extent,
        }
    }
}
