//! A node's sign of life: a file that is written anew every few seconds, by a thread of its own,
//! so that a file system that answers late delays no request that is measured.

use std::io;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::Files;

/// How often a node says that it is alive.
pub(super) const EVERY: Duration = Duration::from_secs(5);

/// Says it until this is dropped.
#[derive(Debug)]
pub(super) struct Beat {
    _ends: Option<Sender<()>>,
}

impl Beat {
    /// Begins, for a launch in `folder`. Where there is no thread for it, it says nothing: the
    /// lines themselves are what counts.
    pub(super) fn begin(folder: &Path, every: Duration) -> Self {
        let (files, (ends, ended)) = (Files::of(folder), channel::<()>());
        let beat = move || {
            loop {
                // What cannot be written is tried again.
                let _ = write(&files);
                match ended.recv_timeout(every) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        let thread = std::thread::Builder::new().name("heartbeat".to_owned()).spawn(beat);
        Self { _ends: thread.is_ok().then_some(ends) }
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
