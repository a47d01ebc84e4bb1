//! The only place that knows signals. The first asks for a graceful stop, a
//! second exits at once; what comes with the first counts as one with it. A panic anywhere asks for a stop too, so that what
//! was started is stopped before the process ends as a bug. However the process
//! ends, its last line says where production is down.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use vllm_grid::event::NoticeKind;
use vllm_grid::history::folder::Folder;
use vllm_grid::history::production::{Down, Now};
use vllm_grid::sweep::events::{Event, Events};

use crate::exit::Exit;
use crate::output::print_error;
use crate::progress::{is_there, quoted};

/// One wish to stop may come several times: `timeout` signals its child and then the whole
/// group, and a terminal's Ctrl-C reaches a wrapper that passes it on. Nobody presses a key
/// twice as fast and means two things.
const ONE_WISH: Duration = Duration::from_millis(300);

/// Asks for a stop, and knows why.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shutdown {
    token: CancellationToken,
    panicked: Arc<AtomicBool>,
    /// The panic was that the machine gives no further thread.
    starved: Arc<AtomicBool>,
    /// When the first signal came.
    asked: Arc<OnceLock<Instant>>,
    /// Whether there is something to clean up before the process ends.
    cleans_up: Arc<AtomicBool>,
    /// Folder of the sweep that runs.
    sweep: Arc<OnceLock<PathBuf>>,
    /// Production, while it is down because of us, and how it was when an engine was asked.
    down: Arc<Mutex<Vec<(Down, Now)>>>,
}

impl Shutdown {
    /// Cancelled when a stop is asked for.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// From now on there is something to clean up: a signal only asks for a stop.
    pub(crate) fn waits(&self) {
        self.cleans_up.store(true, Ordering::SeqCst);
    }

    /// A sweep runs in this folder: the message of an immediate exit names it.
    pub(crate) fn names(&self, sweep: &Path) {
        // There is one sweep in the life of a process.
        let _ = self.sweep.set(sweep.to_owned());
    }

    /// An earlier session of the sweep left this stopped; how it is now.
    pub(crate) fn owes(&self, stopped: Down, now: Now) {
        self.down.lock().unwrap_or_else(PoisonError::into_inner).push((stopped, now));
    }

    /// The same events; what they say of production is known here from now on.
    pub(crate) fn watches(&self, events: Events) -> Events {
        let down = Arc::clone(&self.down);
        events.also(move |event| {
            let Event::Notice(notice) = event else { return };
            let mut down = down.lock().unwrap_or_else(PoisonError::into_inner);
            match &notice.kind {
                NoticeKind::ProductionDown { id, name } => {
                    down.retain(|(known, _)| known.id != *id);
                    let stopped = Down { id: id.clone(), name: name.clone() };
                    down.push((stopped, Now::Stopped));
                }
                NoticeKind::ProductionUp { id } => down.retain(|(known, _)| known.id != *id),
                _ => {}
            }
        })
    }

    /// That production is down, and what starts it, where it is: a line for each.
    pub(crate) fn production_down(&self) -> Option<String> {
        let folder = self.sweep.get().map(PathBuf::as_path);
        let down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<String> = down.iter().map(|(it, now)| it.message_now(now, folder)).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// Folder of the sweep that runs or ran.
    pub(crate) fn sweep(&self) -> Option<&Path> {
        self.sweep.get().map(PathBuf::as_path)
    }

    /// Whether something panicked.
    pub(crate) fn panicked(&self) -> bool {
        self.panicked.load(Ordering::SeqCst)
    }

    /// How the process ends after a panic.
    fn exit_of_panic(&self) -> Exit {
        if self.starved.load(Ordering::SeqCst) { Exit::Environment } else { Exit::Bug }
    }

    /// How the process ends, where its work came to `exit`. Nothing else decides it.
    pub(crate) fn last_exit(&self, exit: Exit) -> Exit {
        if self.panicked() {
            return self.exit_of_panic();
        }
        match exit {
            Exit::Done | Exit::NothingRanked | Exit::Interrupted
                if self.production_down().is_some() =>
            {
                Exit::Environment
            }
            other => other,
        }
    }

    /// A panic is a bug: it is reported as one, and everything is asked to stop. Libraries
    /// panic, too, where the system gives no thread: that is the environment's.
    pub(crate) fn stop_on_panic(&self) {
        let shutdown = self.clone();
        std::panic::set_hook(Box::new(move |panic| {
            let is_first = !shutdown.panicked.swap(true, Ordering::SeqCst);
            shutdown.token.cancel();
            if is_thread_refused(&panic.to_string()) {
                // What follows from a missing thread is no bug either.
                if is_first {
                    shutdown.starved.store(true, Ordering::SeqCst);
                }
                print_error(THREAD_REFUSED);
                return;
            }
            print_error(&format!("vllm-grid has a bug: {panic}\nPlease report it with this text."));
        }));
    }

    /// Listens for Ctrl-C, SIGTERM and SIGHUP from now on; Ctrl-C and SIGHUP stay ignored where
    /// they were when the process was started. A command that has nothing
    /// to clean up ends with the first one; one that is `killed_at_last` by whoever asks
    /// goes on with its cleaning up.
    pub(crate) fn listen(&self, cleans_up: bool, killed_at_last: bool) {
        self.cleans_up.fetch_or(cleans_up, Ordering::SeqCst);
        // A file that reaches its limit (`ulimit -f`) is an error of the write, not the end of
        // the process, which would leave production stopped: who listens is not killed.
        let _ = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()));
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        // Whoever starts a job that is to outlive its terminal (`nohup`, a shell's `&`) has these
        // ignored. SIGTERM is a request in any case: production depends on it.
        let may_be_ignored =
            [(SignalKind::interrupt(), Signal::INT), (SignalKind::hangup(), Signal::HUP)];
        let heard = may_be_ignored.into_iter().filter(|(_, it)| !is_ignored(&status, *it));
        for kind in heard.map(|(kind, _)| kind).chain([SignalKind::terminate()]) {
            // A signal that cannot be listened for keeps its default: the process ends.
            let Ok(mut stream) = signal(kind) else { continue };
            let shutdown = self.clone();
            tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    if !shutdown.cleans_up.load(Ordering::SeqCst) {
                        std::process::exit(Exit::Interrupted as i32);
                    }
                    match shutdown.heard(Instant::now()) {
                        Heard::First => {}
                        Heard::Again => continue,
                        Heard::Second if killed_at_last => continue,
                        Heard::Second => shutdown.exit_at_once(),
                    }
                    if killed_at_last {
                        let _ = writeln!(std::io::stderr(), "asked to end: stopping");
                        shutdown.token.cancel();
                        continue;
                    }
                    let down = if shutdown.production_down().is_some() {
                        ", and leaves production down"
                    } else {
                        ""
                    };
                    let _ = writeln!(
                        std::io::stderr(),
                        "stopping; a second signal exits at once{down}"
                    );
                    shutdown.token.cancel();
                }
            });
        }
    }

    /// What a signal means that comes now.
    fn heard(&self, now: Instant) -> Heard {
        // Signals of several kinds are heard by several tasks at once: one of them is first.
        if self.asked.set(now).is_ok() {
            return if self.token.is_cancelled() { Heard::Second } else { Heard::First };
        }
        let first = self.asked.get().copied().unwrap_or(now);
        let is_same = now.saturating_duration_since(first) < ONE_WISH;
        if is_same { Heard::Again } else { Heard::Second }
    }

    fn exit_at_once(&self) -> ! {
        print_error(&exit_message(self.sweep.get().map(PathBuf::as_path)));
        if let Some(down) = self.production_down() {
            print_error(&down);
        }
        std::process::exit(Exit::ExitedAtOnce as i32);
    }
}

/// Whether a signal is ignored, by `/proc/self/status`: a mask of bits, the first one SIGHUP's.
fn is_ignored(status: &str, signal: Signal) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal.as_raw() - 1) & 1 == 1)
}

/// What a signal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// A stop is asked for.
    First,
    /// The same wish once more.
    Again,
    /// Leave at once.
    Second,
}

/// What to do where no thread can be had.
const THREAD_REFUSED: &str = "the system gives no further thread or no memory for one: raise the limits \
    of processes and of address space (`ulimit -u`, `ulimit -v`), or free memory, and try again";

/// Whether a panic says that a thread could not be started.
fn is_thread_refused(panic: &str) -> bool {
    let of_thread = ["spawn", "ThreadPoolBuildError"].iter().any(|it| panic.contains(it));
    let refused = ["code: 11,", "os error 11", "code: 12,", "os error 12"];
    of_thread && refused.iter().any(|it| panic.contains(it))
}

/// What to do after an immediate exit.
fn exit_message(sweep: Option<&Path>) -> String {
    let Some(path) = sweep else { return "exited at once".to_owned() };
    let folder = quoted(path);
    let manifest = Folder::existing(path).ok().and_then(|it| it.manifest().ok());
    if manifest.is_some_and(|it| it.hosts.is_some()) && is_there(path) {
        return format!(
            "exited at once: the journal holds every finished repeat, and jobs of the cluster may \
             still run. `vllm-grid resume {folder}` takes them up and continues the sweep; \
             `vllm-grid recover {folder}` cancels them"
        );
    }
    let recover =
        format!("`vllm-grid recover {folder}` starts production again and removes what is left");
    if !is_there(path) {
        return format!(
            "exited at once: {folder} is not there any more as it was; {recover} all the same"
        );
    }
    format!(
        "exited at once: the journal holds every finished repeat. {recover}; \
         `vllm-grid resume {folder}` continues the sweep"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_at_once_are_one_wish_and_a_later_one_is_the_second() {
        let shutdown = Shutdown::default();
        let first = Instant::now();
        let after = |milliseconds| first + Duration::from_millis(milliseconds);
        assert_eq!(shutdown.heard(first), Heard::First);
        shutdown.token.cancel();
        assert_eq!(shutdown.heard(after(1)), Heard::Again);
        assert_eq!(shutdown.heard(after(299)), Heard::Again);
        assert_eq!(shutdown.heard(after(300)), Heard::Second);
        // After a panic the first signal leaves at once.
        let panicked = Shutdown::default();
        panicked.token.cancel();
        assert_eq!(panicked.heard(first), Heard::Second);
    }

    #[test]
    fn what_was_ignored_at_the_start_is_read_from_a_mask() {
        let of = |mask: &str, signal| is_ignored(&format!("Name:\tx\nSigIgn:\t{mask}\n"), signal);
        let all = [Signal::HUP, Signal::INT, Signal::TERM];
        assert_eq!(all.map(|it| of("0000000000000001", it)), [true, false, false]);
        assert_eq!(all.map(|it| of("0000000000000003", it)), [true, true, false]);
        assert_eq!(all.map(|it| of("0000000000005000", it)), [false, false, true]);
        assert_eq!(all.map(|it| is_ignored("", it)), [false; 3], "nothing is known");
    }

    #[test]
    fn a_refused_thread_is_no_bug() {
        for panic in [
            "panicked at x.rs:1:2:\nOS can't spawn worker thread: Resource temporarily unavailable (os error 11)",
            "failed to spawn thread: Os { code: 11, kind: WouldBlock, message: \"Resource temporarily unavailable\" }",
            "`Err` value: ThreadPoolBuildError { kind: IOError(Os { code: 12, kind: OutOfMemory, message: \"\" }) }",
        ] {
            assert!(is_thread_refused(panic), "{panic}");
        }
        assert!(!is_thread_refused("index out of bounds: the len is 11"));
        assert!(!is_thread_refused("failed to spawn a child: Os { code: 2, kind: NotFound }"));
    }

    #[test]
    fn an_immediate_exit_names_the_sweep_that_ran() {
        let place = tempfile::tempdir().expect("a folder");
        let run = place.path().join("my night");
        let gone = exit_message(Some(&run));
        assert!(
            gone.contains("/my night'` starts production") && !gone.contains("resume"),
            "{gone}"
        );
        std::fs::create_dir(&run).expect("made");
        for file in ["manifest.json", "journal.jsonl"] {
            std::fs::write(run.join(file), "").expect("written");
        }
        let text = exit_message(Some(&run));
        for verb in ["recover", "resume"] {
            assert!(text.contains(&format!("`vllm-grid {verb} '{}'`", run.display())), "{text}");
        }
        assert_eq!(exit_message(None), "exited at once");
    }

    #[test]
    fn production_that_is_down_and_a_panic_decide_how_the_process_ends() {
        let shutdown = Shutdown::default();
        let all = [Exit::Done, Exit::NothingRanked, Exit::Interrupted, Exit::Usage, Exit::Engine];
        assert_eq!(all.map(|exit| shutdown.last_exit(exit)), all);
        shutdown.owes(Down { id: "a".to_owned(), name: "vllm".to_owned() }, Now::Stopped);
        let down = Exit::Environment;
        let last = all.map(|exit| shutdown.last_exit(exit));
        assert_eq!(last, [down, down, down, Exit::Usage, Exit::Engine]);
        shutdown.panicked.store(true, Ordering::SeqCst);
        assert_eq!(shutdown.last_exit(Exit::Engine), Exit::Bug);
    }

    #[test]
    fn production_that_is_down_is_known_until_it_runs() {
        let shutdown = Shutdown::default();
        let emit = shutdown.watches(Events::nowhere()).emit();
        assert_eq!(shutdown.production_down(), None);
        let (id, name) = ("0123456789abcdef".to_owned(), "shop vllm".to_owned());
        emit.emit(NoticeKind::ProductionDown { id, name });
        shutdown.names(Path::new("runs/my night"));
        emit.warn("something else");
        assert_eq!(
            shutdown.production_down().as_deref(),
            Some(
                "PRODUCTION IS DOWN: container shop vllm (0123456789ab); start it: \
                 `vllm-grid recover 'runs/my night'`, or by hand: `docker start 'shop vllm'`"
            )
        );
        emit.emit(NoticeKind::ProductionUp { id: "another".to_owned() });
        assert!(shutdown.production_down().is_some());
        emit.emit(NoticeKind::ProductionUp { id: "0123456789abcdef".to_owned() });
        assert_eq!(shutdown.production_down(), None);
    }
}
