//! `--on-finish`: a command that is told how a sweep ended, whatever the ending. It is
//! started without a shell, has a minute with all that it starts, and gets everything by its
//! environment; no secret is in it. What it does changes nothing of how the process ends; what
//! it prints is shown by `finish/output.rs`, and what it leaves is ended by `finish/left.rs`.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use vllm_grid::clean;
use vllm_grid::history::folder::Folder;
use vllm_grid::history::journal::{self, Entry, Line};
use vllm_grid::history::production::{Down, Now, PendingRestore, ProductionStep, pending_restore};
use vllm_grid::history::record::SweepRecord;
use vllm_grid::history::replay::production_steps;
use vllm_grid::report::reading;
use vllm_grid::results::ranking;
use vllm_grid::results::reading::{Place, Reading};
use vllm_grid::secret;

use crate::exit::{CommandError, Exit};
use crate::output::{print_error, secrets};
use crate::signals::Shutdown;

mod left;
mod output;

/// Longest that the command, and what it starts, may run.
const LIMIT: Duration = Duration::from_mins(1);
/// Longest wait for the end of its output when all of it has ended: a pipe may be elsewhere.
const DRAIN: Duration = Duration::from_secs(1);
/// Longest value that it gets, in characters: an environment has a limit of its own.
const MAX_VALUE: usize = 2_000;

/// What is run when a sweep has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OnFinish {
    program: PathBuf,
    arguments: Vec<String>,
}

/// What the command is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    verdict: String,
    exit_code: u8,
    ending: &'static str,
    run: Option<PathBuf>,
    best: Option<String>,
    production: &'static str,
}

impl OnFinish {
    /// Reads the words of a command, as a shell would split them, and finds its program.
    ///
    /// # Errors
    /// When there is none, or it cannot be started: nothing is launched then.
    pub(crate) fn read(text: &str) -> Result<Self, CommandError> {
        let refused =
            |what: String| CommandError::message(Exit::Usage, format!("--on-finish: {what}"));
        let words = shell_words::split(text).map_err(|error| {
            refused(format!("{error}: write one command, quoted as for a shell"))
        })?;
        let Some((name, arguments)) = words.split_first().filter(|(name, _)| !name.is_empty())
        else {
            return Err(refused("there is no command".to_owned()));
        };
        let program = found(name, std::env::var_os("PATH").as_deref()).ok_or_else(|| {
            refused(format!(
                "`{name}` is no program that can be started: give its path, or install it"
            ))
        })?;
        Ok(Self { program, arguments: arguments.to_vec() })
    }

    /// Runs it, and says on stderr where it fails or takes too long.
    pub(crate) async fn run(&self, shutdown: &Shutdown, outcome: &Result<Exit, CommandError>) {
        let told = told(shutdown, outcome, asked(shutdown).await.as_deref());
        if let Err(what) = self.start(&told, LIMIT).await {
            print_error(&format!("--on-finish: `{}` {what}", self.program.display()));
        }
    }

    async fn start(&self, told: &Told, limit: Duration) -> Result<(), String> {
        let mut command = std::process::Command::new(&self.program);
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let is_secret =
            |name: &str, value: &str| secret::is_secret(name) || secrets().find(value).is_some();
        for (name, value) in std::env::vars_os() {
            if is_secret(&name.to_string_lossy(), &value.to_string_lossy()) {
                command.env_remove(name);
            }
        }
        for (name, value) in told.variables() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let family = left::Family::begin();
        let mut child = tokio::process::Command::from(command)
            .spawn()
            .map_err(|error| format!("cannot be started: {error}"))?;
        // Beside it from the start: it must not wait for a reader.
        let mut shown = tokio::spawn(output::show(child.stdout.take(), child.stderr.take()));
        let deadline = Instant::now() + limit;
        let ended = timeout_at(deadline, child.wait()).await;
        // It may have left something behind: that has what is left of the time.
        let has_left = timeout_at(deadline, family.is_gone()).await.is_err();
        if has_left {
            family.kill().await;
        }
        // What is another user's, or hangs in the kernel, is not to be killed.
        let is_killed = ended.is_ok() || timeout(DRAIN, child.wait()).await.is_ok();
        if timeout(DRAIN, &mut shown).await.is_err() {
            shown.abort();
        }
        let seconds = limit.as_secs_f64();
        match ended {
            Err(_) if is_killed => Err(format!("took more than {seconds} s and was killed")),
            Err(_) => Err(format!("took more than {seconds} s and cannot be killed: it runs on")),
            Ok(Err(error)) => Err(format!("cannot be waited for: {error}")),
            Ok(Ok(status)) if !status.success() => Err(format!("failed ({status})")),
            Ok(Ok(_)) if has_left => {
                Err(format!("left processes that ran for more than {seconds} s: they were killed"))
            }
            Ok(Ok(_)) => Ok(()),
        }
    }
}

impl Told {
    fn variables(&self) -> [(&'static str, Option<OsString>); 6] {
        [
            ("VLLM_GRID_VERDICT", Some(value(&self.verdict).into())),
            ("VLLM_GRID_EXIT_CODE", Some(self.exit_code.to_string().into())),
            ("VLLM_GRID_ENDING", Some(self.ending.into())),
            // A path is one only as it is, whatever is in it.
            ("VLLM_GRID_RUN", self.run.clone().map(PathBuf::into_os_string)),
            ("VLLM_GRID_BEST", self.best.as_deref().map(|best| value(best).into())),
            ("VLLM_GRID_PRODUCTION", Some(self.production.into())),
        ]
    }
}

/// Text as the command may get it: one line, no control characters, no secrets.
fn value(text: &str) -> String {
    let text = clean::plain(text);
    let masked = secrets().mask(&text);
    let line = masked.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|it| !it.is_control()).take(MAX_VALUE).collect()
}

/// The folder of the run, and its journal.
fn read(shutdown: &Shutdown) -> (Option<Folder>, Vec<Line>) {
    let folder = shutdown.sweep().and_then(|run| Folder::existing(run).ok());
    let lines = folder.as_ref().and_then(|it| journal::read(&it.journal_path()).ok());
    (folder, lines.unwrap_or_default())
}

/// What the command is to be told of production that is owed by the journal alone: a sentence.
/// Somebody may have started it again, or another process may work on the run.
async fn asked(shutdown: &Shutdown) -> Option<String> {
    let (folder, lines) = read(shutdown);
    let (folder, steps) = (folder?, production_steps(&lines));
    let stopped = Down::of(&steps).filter(|_| shutdown.production_down().is_none())?;
    if journal::is_written_in(folder.path()) {
        return Some("another process works on this run".to_owned());
    }
    let now = super::production::now(&folder, &stopped).await;
    let started = matches!(pending_restore(&steps), PendingRestore::Proof(_));
    Some(match now {
        Now::Runs | Now::Unknown(_) if started => stopped.message_started(folder.path()),
        now => stopped.message_now(&now, Some(folder.path())),
    })
}

/// `asked`: what is said of production that the journal alone tells of.
fn told(shutdown: &Shutdown, outcome: &Result<Exit, CommandError>, asked: Option<&str>) -> Told {
    let run = shutdown.sweep();
    let (folder, lines) = read(shutdown);
    let is_down = shutdown.production_down().is_some();
    let production = if is_down { "down" } else { production(&production_steps(&lines)) };
    let worked = outcome.as_ref().map_or_else(CommandError::exit, |exit| *exit);
    let exit = shutdown.last_exit(worked);
    let record = folder.as_ref().and_then(|it| it.record().ok());
    let (mut verdict, best) =
        record.map_or_else(|| ("nothing was measured".to_owned(), None), |it| result(&it));
    if let Err(error) = outcome {
        verdict = error.to_string();
    }
    if let Some(asked) = asked {
        verdict = format!("{asked}. {verdict}");
    } else if production == "down" && !verdict.contains("PRODUCTION IS DOWN") {
        let recover = run.map_or_else(String::new, |run| {
            format!(": `vllm-grid recover {}`", crate::progress::quoted(run))
        });
        verdict = format!("PRODUCTION IS DOWN{recover}. {verdict}");
    }
    Told {
        verdict,
        exit_code: exit as u8,
        ending: ending(&lines, if shutdown.panicked() { exit } else { worked }, outcome.is_err()),
        run: run.map(|run| std::path::absolute(run).unwrap_or_else(|_| run.to_owned())),
        best,
        production,
    }
}

/// The result in a sentence, and the configuration to use by it.
fn result(record: &SweepRecord) -> (String, Option<String>) {
    let ranking = ranking::rank(record);
    reading::in_short(&Reading::of(&ranking, &record.manifest, &Place::default()))
}

fn ending(lines: &[Line], exit: Exit, is_error: bool) -> &'static str {
    let reason = lines.iter().rev().find_map(|line| match &line.entry {
        Entry::SessionEnded { reason, .. } => Some(reason.as_str()),
        _ => None,
    });
    match exit {
        Exit::Interrupted | Exit::ExitedAtOnce => "interrupted",
        _ if is_error => "failed",
        Exit::Done | Exit::NothingRanked if reason.is_some_and(journal::is_budget_spent) => {
            "budget_spent"
        }
        Exit::Done | Exit::NothingRanked => "complete",
        _ => "failed",
    }
}

/// Whether production runs, by what was journalled; what is not proven counts as down.
fn production(steps: &[ProductionStep]) -> &'static str {
    match (steps.last(), pending_restore(steps)) {
        (_, PendingRestore::Start(_) | PendingRestore::Proof(_)) => "down",
        (None | Some(ProductionStep::NotRunning | ProductionStep::Unknown), _) => "none",
        (Some(_), PendingRestore::Nothing) => "running",
    }
}

/// The file of a program, by its path or by `PATH`.
fn found(name: &str, path: Option<&std::ffi::OsStr>) -> Option<PathBuf> {
    let can_run = |file: &PathBuf| {
        file.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
    };
    if name.contains('/') {
        return std::path::absolute(name).ok().filter(can_run);
    }
    std::env::split_paths(path?).map(|folder| folder.join(name)).find(can_run)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One command at a time: what descends from a test's process is taken for the command's.
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    #[test]
    fn a_command_is_words_and_its_program_must_be_there() {
        let read = OnFinish::read("sh -c 'echo \"$VLLM_GRID_VERDICT\"'").expect("a command");
        assert!(read.program.is_absolute());
        assert_eq!(read.arguments, ["-c", "echo \"$VLLM_GRID_VERDICT\""]);
        for text in
            ["", "  ", "''", "sh -c 'open", "no-such-program-anywhere", "/no/such/file", "/tmp"]
        {
            let refused = OnFinish::read(text).unwrap_err();
            assert_eq!(refused.print(), Exit::Usage, "{text}");
        }
    }

    #[test]
    fn values_have_one_line_and_no_control_characters() {
        assert_eq!(value("a\u{1b}[31mb\r\nc\u{7}\u{202e}d\0").matches(char::is_control).count(), 0);
        assert_eq!(value("one\n  two\tthree"), "one two three");
        assert_eq!(value(&"x".repeat(10_000)).len(), MAX_VALUE);
    }

    #[test]
    fn the_run_s_path_is_told_as_it_is() {
        use std::os::unix::ffi::OsStringExt as _;

        let name = OsString::from_vec([&b"/runs/my  night \xff"[..], &[b'x'; 3_000]].concat());
        let told = Told { run: Some(name.clone().into()), ..Told::default() };
        let variables = told.variables();
        let run = variables.iter().find(|(variable, _)| *variable == "VLLM_GRID_RUN").unwrap();
        assert_eq!(run.1.as_ref(), Some(&name));
        // What marks the processes of a run is another variable.
        let marks = vllm_grid::engine::process::noted::VARIABLE;
        assert!(variables.iter().all(|(variable, _)| *variable != marks));
    }

    #[test]
    fn the_exit_code_is_the_one_that_the_process_ends_with() {
        let shutdown = Shutdown::default();
        let code = |outcome| {
            let told = told(&shutdown, &outcome, None);
            (told.exit_code, told.ending, told.production)
        };
        assert_eq!(code(Ok(Exit::Done)), (0, "complete", "none"));
        shutdown.owes(Down { id: "a".to_owned(), name: "vllm".to_owned() }, Now::Stopped);
        assert_eq!(code(Ok(Exit::Done)), (3, "complete", "down"));
        assert_eq!(code(Ok(Exit::Interrupted)), (3, "interrupted", "down"));
        let refused = || Err(CommandError::message(Exit::Usage, "no"));
        assert_eq!(code(refused()), (2, "failed", "down"));
        let runs = "production runs again";
        let verdict = told(&shutdown, &Ok(Exit::Done), Some(runs)).verdict;
        assert!(verdict.starts_with("production runs again. "), "{verdict}");
        let told = told(&shutdown, &Ok(Exit::Done), None);
        assert!(told.verdict.starts_with("PRODUCTION IS DOWN"), "{}", told.verdict);
    }

    #[tokio::test]
    async fn what_takes_too_long_is_killed_with_what_it_started() {
        let _alone = ALONE.lock().await;
        let folder = tempfile::tempdir().expect("a folder");
        let mark = folder.path().join("still-there");
        let script = format!("(sleep 1; touch '{}') & sleep 30", mark.display());
        let command =
            OnFinish { program: "/bin/sh".into(), arguments: vec!["-c".to_owned(), script] };
        let said = command.start(&Told::default(), Duration::from_millis(200)).await;
        assert!(said.unwrap_err().contains("was killed"));
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert!(!mark.exists(), "its group is killed");
    }

    #[tokio::test]
    async fn what_leaves_its_group_session_and_parents_is_killed_too() {
        let _alone = ALONE.lock().await;
        for ends in ["sleep 30", "exit 0"] {
            let folder = tempfile::tempdir().expect("a folder");
            let file = |name: &str| folder.path().join(name).display().to_string();
            // Its own session and environment, and its parent has ended.
            let child = format!("echo $$ > '{}'; sleep 3; touch '{}'", file("id"), file("there"));
            let script = format!(
                "(setsid env -i PATH=\"$PATH\" sh -c \"{}\" &) ; {ends}",
                child.replace("$$", "\\$\\$")
            );
            let command =
                OnFinish { program: "/bin/sh".into(), arguments: vec!["-c".to_owned(), script] };
            let limit = Duration::from_secs(1);
            let said = command.start(&Told::default(), limit).await.unwrap_err();
            assert!(said.contains("killed"), "{said}");
            let id = std::fs::read_to_string(file("id")).expect("it ran");
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", id.trim()));
            // A zombie is one that nobody waited for.
            assert!(stat.is_err() || stat.is_ok_and(|it| it.contains(") Z ")), "{ends}");
            assert!(!folder.path().join("there").exists(), "{ends}");
        }
    }

    #[tokio::test]
    async fn a_failure_is_said_with_its_code() {
        let _alone = ALONE.lock().await;
        let command =
            OnFinish { program: "/bin/sh".into(), arguments: vec!["-c".into(), "exit 7".into()] };
        let said = command.start(&Told::default(), LIMIT).await.unwrap_err();
        assert!(said.contains("failed") && said.contains('7'), "{said}");
    }

    #[test]
    fn production_is_down_until_it_is_proven() {
        let id = || "p".to_owned();
        let (stopped, started) =
            (ProductionStep::Stopped { id: id() }, ProductionStep::StartedNotProven { id: id() });
        let proven = ProductionStep::Proven { id: id() };
        assert_eq!(production(&[]), "none");
        assert_eq!(production(&[ProductionStep::NotRunning]), "none");
        assert_eq!(production(std::slice::from_ref(&stopped)), "down");
        assert_eq!(production(&[stopped.clone(), started.clone()]), "down");
        assert_eq!(production(&[stopped, started, proven]), "running");
    }
}
