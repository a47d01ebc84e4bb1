//! The files of a sweep's launches, and the threads that read them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::history::record::LaunchRecord;
use crate::metric::Measurement;
use crate::results::records::file_name;
use crate::telemetry::sink::RepeatKey;

/// Threads at most: a report is often made while something else works.
const THREADS: usize = 4;

/// The folders of a sweep's launches.
pub(super) struct Files {
    by_launch: HashMap<u32, PathBuf>,
}

impl Files {
    /// Of a sweep's folder; without any where it cannot be read.
    pub(super) fn of(folder: &Path) -> Self {
        let entries = std::fs::read_dir(folder.join("launches")).into_iter().flatten().flatten();
        let numbered = entries.filter_map(|entry| {
            let name = entry.file_name();
            let number = name.to_string_lossy().split_once('-')?.0.parse().ok()?;
            Some((number, entry.path()))
        });
        Self { by_launch: numbered.collect() }
    }

    /// Whether there is no folder of any launch.
    pub(super) fn is_empty(&self) -> bool {
        self.by_launch.is_empty()
    }

    /// The samples of a launch.
    pub(super) fn telemetry(&self, launch: u32) -> Option<PathBuf> {
        Some(self.by_launch.get(&launch)?.join("telemetry.parquet"))
    }

    /// The request records of a repeat.
    pub(super) fn records(&self, launch: &LaunchRecord, repeat: &Measurement) -> Option<PathBuf> {
        let key = RepeatKey {
            launch: launch.launch,
            workload: repeat.workload.clone(),
            case: repeat.case.clone(),
            repeat: repeat.repeat,
        };
        Some(self.by_launch.get(&launch.launch)?.join("records").join(file_name(&key)))
    }
}

/// `make` of each number below `count`, in their order, by several threads.
pub(super) fn parallel<T: Send>(count: usize, make: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = cores.min(THREADS).min(count);
    if threads <= 1 {
        return (0..count).map(make).collect();
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut made = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return made;
            }
            made.push((number, make(number)));
        }
    };
    let mut all: Vec<(usize, T)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let ended = threads.into_iter().map(|thread| match thread.join() {
            Ok(made) => made,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        ended.flatten().collect()
    });
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, made)| made).collect()
}

/// Files that could not be read, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unread {
    /// Not there.
    pub(super) missing: usize,
    /// There, and not readable.
    pub(super) damaged: usize,
}

impl Unread {
    /// Counts a file.
    pub(super) fn count(&mut self, path: Option<&Path>) {
        if path.is_some_and(Path::exists) {
            self.damaged += 1;
        } else {
            self.missing += 1;
        }
    }

    /// Both counts of both.
    pub(super) fn add(&mut self, other: Self) {
        self.missing += other.missing;
        self.damaged += other.damaged;
    }

    /// What is to be said of it; `what`: `records`.
    pub(super) fn notes(self, what: &str) -> Vec<String> {
        let files = |n: usize| if n == 1 { "file" } else { "files" };
        let note =
            |n: usize, why: &str| (n > 0).then(|| format!("{n} {} of {what} {why}", files(n)));
        let is_one =
            |n: usize, one: &'static str, more: &'static str| if n == 1 { one } else { more };
        let missing = is_one(self.missing, "is missing", "are missing");
        [note(self.missing, missing), note(self.damaged, "could not be read")]
            .into_iter()
            .flatten()
            .collect()
    }
}
