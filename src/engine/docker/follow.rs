//! A container's log, copied to a file line by line while the container lives. A
//! daemon may break off a log that is followed (rotation, a restart, its own
//! errors): then it is followed again, and at the end what is missing is fetched.
//! What has been copied is known by the daemon's time stamps, or by its length
//! where the daemon gives none, so that no line is doubled or lost.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::patience::Daemon;
use super::state::{State, state};
use super::transport::{Allowance, LOG_MESSAGE};
use crate::engine::log::LogWriter;
use crate::event::Emit;

/// Longest wait for the daemon to end the log of a container that ended.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest that a container looks alive after the daemon ended its log.
const EXIT_TIMEOUT: Duration = Duration::from_millis(500);
/// Pauses between attempts to follow a log that breaks off.
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// How far back a log is asked for again: clocks of a container's two streams
/// differ by less, and the daemon takes whole seconds.
const OVERLAP: SignedDuration = SignedDuration::from_secs(3);

/// The copying of one container's log.
pub(super) struct LogCopy {
    shared: Arc<Mutex<Copied>>,
    docker: Daemon,
    id: String,
    task: JoinHandle<()>,
}

impl LogCopy {
    /// Copies the log of the container `id` to `file` from its first line on.
    pub(super) fn start(docker: &Daemon, id: &str, file: LogWriter, emit: &Emit) -> Self {
        let shared = Arc::new(Mutex::new(Copied::new(file.telling(emit))));
        let task =
            tokio::spawn(follow(docker.clone(), id.to_owned(), Arc::clone(&shared), emit.clone()));
        Self { shared, docker: docker.clone(), id: id.to_owned(), task }
    }

    /// Waits until the log of a container that ended is copied to its end.
    pub(super) async fn finish(mut self) {
        if timeout(END_TIMEOUT, &mut self.task).await.is_err() {
            self.task.abort();
            let _aborted = (&mut self.task).await;
        }
        let mut copied = self.shared.lock().await;
        // The daemon may end a log before its last lines.
        let _rest = timeout(END_TIMEOUT, copied.receive(&self.docker, &self.id, false)).await;
        // What cannot be written was said by the writer.
        let _ = copied.writer.finish();
    }
}

impl Drop for LogCopy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Follows until the container has ended.
async fn follow(docker: Daemon, id: String, shared: Arc<Mutex<Copied>>, emit: Emit) {
    let mut pause = MIN_PAUSE;
    let mut is_reported = false;
    loop {
        let before = shared.lock().await.bytes;
        if shared.lock().await.receive(&docker, &id, true).await.is_err() {
            return;
        }
        let is_running = match state_after_log(&docker, &id).await {
            State::Ended(_) | State::Removed => return,
            State::Running(_) | State::Paused => true,
            State::DaemonUnreachable(_) => false,
        };
        if is_running && !std::mem::replace(&mut is_reported, true) {
            emit.warn("the Docker daemon broke off the container's log while the container runs: it is followed again from there");
        }
        // A daemon that breaks off at the same place again gives the rest to who only asks.
        if shared.lock().await.bytes == before
            && shared.lock().await.receive(&docker, &id, false).await.is_err()
        {
            return;
        }
        let has_grown = shared.lock().await.bytes > before;
        pause = if has_grown { MIN_PAUSE } else { (pause * 2).min(MAX_PAUSE) };
        sleep(pause).await;
    }
}

/// How the container is after its log ended, which it does a moment before the container.
async fn state_after_log(docker: &Daemon, id: &str) -> State {
    let since = Instant::now();
    loop {
        match state(docker, id).await {
            State::Running(_) | State::Paused if since.elapsed() < EXIT_TIMEOUT => {
                sleep(Duration::from_millis(25)).await;
            }
            state => return state,
        }
    }
}

/// What has been copied.
struct Copied<W: io::Write = File> {
    writer: LogWriter<W>,
    /// Bytes received in all, without what the daemon adds.
    bytes: u64,
    stamps: Stamps,
}

enum Stamps {
    /// Nothing has come yet.
    Unseen,
    /// Messages with time stamps: the last ones, by stamp and content.
    Given(VecDeque<(Timestamp, u64)>),
    /// The daemon gives none, and the whole log each time.
    Lacking,
}

/// What has come already and comes again.
#[derive(Default)]
struct Again {
    messages: HashMap<(Timestamp, u64), usize>,
    bytes: u64,
}

impl<W: io::Write> Copied<W> {
    fn new(writer: LogWriter<W>) -> Self {
        Self { writer, bytes: 0, stamps: Stamps::Unseen }
    }

    /// Asks for the log from a moment before the last message, and copies what is
    /// new until the daemon ends it.
    async fn receive(&mut self, docker: &Daemon, id: &str, follow: bool) -> io::Result<()> {
        let options = LogsOptionsBuilder::new()
            .follow(follow)
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            .since(self.since())
            .build();
        let mut again = self.again();
        let mut messages = docker.logs(id, Some(options));
        let allowance = Allowance::new(LOG_MESSAGE);
        let mut has_frames = false;
        while let Some(Ok(message)) = Arc::clone(&allowance).on(messages.next()).await {
            allowance.renew();
            let is_frame = !matches!(message, LogOutput::Console { .. });
            has_frames |= is_frame;
            // The rest of a frame that was cut: it comes again whole.
            if is_frame || !has_frames {
                self.take(&message.into_bytes(), &mut again)?;
            }
        }
        Ok(())
    }

    /// The second of the daemon's clock from which the log is asked for.
    fn since(&self) -> i32 {
        let Stamps::Given(recent) = &self.stamps else { return 0 };
        // Of the last message, not the latest stamp: clocks are set back, too.
        let from = recent.back().and_then(|(last, _)| last.checked_sub(OVERLAP).ok());
        from.and_then(|from| i32::try_from(from.as_second()).ok()).unwrap_or_default()
    }

    fn again(&self) -> Again {
        let mut again = Again::default();
        match &self.stamps {
            Stamps::Unseen => {}
            Stamps::Given(recent) => {
                for message in recent {
                    *again.messages.entry(*message).or_default() += 1;
                }
            }
            Stamps::Lacking => again.bytes = self.bytes,
        }
        again
    }

    /// Takes a message, or leaves it where it has come before.
    fn take(&mut self, message: &[u8], again: &mut Again) -> io::Result<()> {
        let stamped = match self.stamps {
            Stamps::Lacking => None,
            _ => stamp(message),
        };
        let Some((stamp, text)) = stamped else {
            if matches!(self.stamps, Stamps::Unseen) {
                self.stamps = Stamps::Lacking;
            }
            let skipped = again.bytes.min(message.len() as u64);
            again.bytes -= skipped;
            return self.write(&message[usize::try_from(skipped).unwrap_or(message.len())..]);
        };
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let key = (stamp, hasher.finish());
        if let Some(count) = again.messages.get_mut(&key).filter(|count| **count > 0) {
            *count -= 1;
            return Ok(());
        }
        if !matches!(self.stamps, Stamps::Given(_)) {
            self.stamps = Stamps::Given(VecDeque::new());
        }
        if let Stamps::Given(recent) = &mut self.stamps {
            recent.push_back(key);
            // Twice the overlap: whole seconds, and stamps out of order.
            let old = |first: &(Timestamp, u64)| stamp.duration_since(first.0) > OVERLAP * 2;
            while recent.front().is_some_and(old) {
                recent.pop_front();
            }
        }
        self.write(text)
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        self.bytes += text.len() as u64;
        self.writer.write(text)
    }
}

/// The time stamp that the daemon put before a message, and the message.
fn stamp(message: &[u8]) -> Option<(Timestamp, &[u8])> {
    let space = message.iter().take(40).position(|byte| *byte == b' ')?;
    let stamp = std::str::from_utf8(&message[..space]).ok()?;
    // `2026-11-28T05:16:00.123456789Z`: nothing shorter is the daemon's.
    (stamp.len() >= 20 && stamp.as_bytes()[10] == b'T')
        .then(|| stamp.parse().ok())
        .flatten()
        .map(|stamp| (stamp, &message[space + 1..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::secret::Secrets;

    const SECOND: &str = "2026-11-28T05:16:0";

    /// What is copied of `sessions`, each the messages that the daemon sent in one.
    fn copied(sessions: &[Vec<Vec<u8>>]) -> String {
        let mut copied = Copied::new(LogWriter::new(Vec::new(), Secrets::default()));
        for session in sessions {
            let mut again = copied.again();
            for message in session {
                copied.take(message, &mut again).expect("written");
            }
        }
        copied.writer.finish().expect("written");
        String::from_utf8(copied.writer.into_inner()).expect("text")
    }

    fn bytes(messages: &[&str]) -> Vec<Vec<u8>> {
        messages.iter().map(|message| message.as_bytes().to_vec()).collect()
    }

    #[test]
    fn equal_lines_of_one_moment_are_as_many_as_they_were() {
        let line = |second: u8, text: &str| format!("{SECOND}{second}.000000001Z {text}\n");
        let (a, b, c) = (line(1, "same"), line(1, "same"), line(2, "end"));
        let first = bytes(&[&a, &b]);
        assert_eq!(copied(&[first.clone(), bytes(&[&a, &b, &c])]), "same\nsame\nend\n");
        let third = line(1, "same");
        assert_eq!(copied(&[first, bytes(&[&a, &b, &third, &c])]), "same\nsame\nsame\nend\n");
    }

    #[test]
    fn without_stamps_the_length_shows_what_has_come() {
        let sessions =
            [bytes(&["one\ntw"]), bytes(&["one\ntw"]), bytes(&["one\ntwo\nthr", "ee\n"])];
        assert_eq!(copied(&sessions), "one\ntwo\nthree\n");
    }

    #[test]
    fn only_the_daemon_s_stamp_is_taken_off() {
        assert_eq!(copied(&[bytes(&["2026-11-28 05:16 a line\n"])]), "2026-11-28 05:16 a line\n");
        let nested = format!("{SECOND}1Z {SECOND}0Z of the engine\n");
        assert_eq!(copied(&[bytes(&[&nested])]), format!("{SECOND}0Z of the engine\n"));
    }

    proptest! {
        #[test]
        fn no_line_is_doubled_or_lost_wherever_the_log_breaks_off(
            lines in prop::collection::vec((0u8..9, 0u8..3), 1..40),
            cuts in prop::collection::vec(0usize..40, 0..6),
        ) {
            // Stamps in order, many of them equal; texts as well.
            let mut stamps: Vec<u8> = lines.iter().map(|(second, _)| *second).collect();
            stamps.sort_unstable();
            let all: Vec<Vec<u8>> = stamps
                .iter()
                .zip(&lines)
                .map(|(second, (_, text))| format!("{SECOND}{second}.5Z line {text}\n").into_bytes())
                .collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| (*cut).min(all.len())).collect();
            cuts.sort_unstable();
            let mut kept = Copied::new(LogWriter::new(Vec::new(), Secrets::default()));
            for cut in cuts.into_iter().chain([all.len()]) {
                // As the daemon does: what is not before the second that is asked for.
                let since = kept.since();
                let mut again = kept.again();
                for message in &all[..cut] {
                    let (at, _) = stamp(message).expect("stamped");
                    if at.as_second() >= i64::from(since) {
                        kept.take(message, &mut again).expect("written");
                    }
                }
            }
            kept.writer.finish().expect("written");
            let text = String::from_utf8(kept.writer.into_inner()).expect("text");
            let whole: Vec<String> =
                lines.iter().map(|(_, text)| format!("line {text}\n")).collect();
            prop_assert_eq!(text, whole.concat());
        }
    }
}
