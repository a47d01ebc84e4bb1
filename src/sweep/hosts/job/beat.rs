//! A node's sign of life: a file that is written anew every few seconds, by a thread of its own,
//! so that a file system that answers late delays no request that is measured.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::Files;

/// How often a node says that it is alive.
pub(super) const EVERY: Duration = Duration::from_secs(5);

/// How often the thread looks whether the process runs.
const TICK: Duration = Duration::from_secs(1);

/// For how long the thread may be late: more is a process that was stopped, as a cluster does that
/// suspends jobs, or a machine that runs nothing. A busy one is late by less.
const LATE: Duration = Duration::from_secs(3);

/// For how long the process stood still since it was asked last.
#[derive(Clone, Debug, Default)]
pub(super) struct Still(Arc<AtomicU64>);

impl Still {
    fn add(&self, late: Duration) {
        if late >= LATE {
            let late = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
            self.0.fetch_max(late, Ordering::Relaxed);
        }
    }

    /// Why what ends now was not measured throughout; `None` where it was.
    pub(super) fn take(&self) -> Option<String> {
        let late = self.0.swap(0, Ordering::Relaxed);
        let seconds = late as f64 / 1e3;
        (late > 0)
            .then(|| format!("this process stood still for {seconds:.0} s: was its job suspended?"))
    }
}

/// Says it until this is dropped.
#[derive(Debug)]
pub(super) struct Beat {
    still: Still,
    _ends: Option<Sender<()>>,
}

impl Beat {
    /// Begins, for a launch in `folder`. Where there is no thread for it, it says nothing: the
    /// lines themselves are what counts.
    pub(super) fn begin(folder: &Path, every: Duration) -> Self {
        let (files, (ends, ended)) = (Files::of(folder), channel::<()>());
        let still = Still::default();
        let noted = still.clone();
        let beat = move || {
            let tick = every.min(TICK);
            let mut written: Option<Instant> = None;
            loop {
                if written.is_none_or(|at| at.elapsed() >= every) {
                    // What cannot be written is tried again.
                    let _ = write(&files);
                    written = Some(Instant::now());
                }
                let slept = Instant::now();
                match ended.recv_timeout(tick) {
                    Err(RecvTimeoutError::Timeout) => {
                        noted.add(slept.elapsed().saturating_sub(tick));
                    }
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        let thread = std::thread::Builder::new().name("heartbeat".to_owned()).spawn(beat);
        Self { still, _ends: thread.is_ok().then_some(ends) }
    }

    /// What it sees of the process.
    pub(super) fn still(&self) -> Still {
        self.still.clone()
    }
}

/// Whole or not at all; that it survives a power failure does not matter.
fn write(files: &Files) -> io::Result<()> {
    let path = files.heartbeat();
    let temporary = path.with_extension("heartbeat.tmp");
    std::fs::write(&temporary, jiff::Timestamp::now().to_string())?;
    std::fs::rename(&temporary, &path)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn read(folder: &Path) -> Option<jiff::Timestamp> {
        std::fs::read_to_string(Files::of(folder).heartbeat()).ok()?.parse().ok()
    }

    #[test]
    fn a_process_that_was_stopped_is_noted_once() {
        let still = Still::default();
        still.add(Duration::from_secs(2));
        assert_eq!(still.take(), None, "a busy machine");
        still.add(Duration::from_mins(3));
        still.add(Duration::from_secs(6));
        let said = still.take().expect("it stood still");
        assert!(said.contains("180 s"), "{said}");
        assert_eq!(still.take(), None);
    }

    #[test]
    fn it_beats_until_it_is_dropped() {
        let place = tempfile::tempdir().expect("a folder");
        let beat = Beat::begin(place.path(), Duration::from_millis(5));
        let until = Instant::now() + Duration::from_mins(1);
        let first = loop {
            assert!(Instant::now() < until, "no sign of life");
            if let Some(first) = read(place.path()) {
                break first;
            }
        };
        while read(place.path()).is_none_or(|now| now == first) {
            assert!(Instant::now() < until, "one sign of life only");
        }
        drop(beat);
        std::thread::sleep(Duration::from_millis(200));
        let last = read(place.path());
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(read(place.path()), last);
    }
}
