//! Exit codes, and errors at the edge: what a person reads, and which code the
//! process ends with.

use std::io::Write;
use std::process::ExitCode;

use rustix::io::Errno;
use vllm_grid::clean;
use vllm_grid::engine::service::Faults;
use vllm_grid::history::HistoryError;
use vllm_grid::history::journal::JournalError;
use vllm_grid::shortage;
use vllm_grid::sweep::SweepError;

use crate::masked;
use crate::output::{Masked, print_error, secrets};

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done; a tie or a spent budget too.
    Done = 0,
    /// Finished, but nothing could be ranked, or what was confirmed breaks a bound; of `compare --fail-if-worse`: the last sweep is
    /// shown to be worse.
    NothingRanked = 1,
    /// Wrong input or usage.
    Usage = 2,
    /// The environment is the cause.
    Environment = 3,
    /// A stop was asked for.
    Interrupted = 4,
    /// The engine failed.
    Engine = 5,
    /// A cluster's job was started again: its launch is made once.
    BegunBefore = 6,
    /// A bug of ours.
    Bug = 70,
    /// A second signal.
    ExitedAtOnce = 130,
}

impl Exit {
    /// What was compared differs: the code of a finished command without the good result.
    pub(crate) const DIFFERENT: Self = Self::NothingRanked;
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error with its exit code.
#[derive(Debug)]
pub(crate) struct CommandError {
    exit: Exit,
    report: miette::Report,
}

impl CommandError {
    /// Any error.
    pub(crate) fn new(exit: Exit, error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { exit, report: miette::Report::from_err(error) }
    }

    /// An error that explains itself with snippets and help.
    pub(crate) fn explained(
        exit: Exit,
        diagnostic: impl miette::Diagnostic + Send + Sync + 'static,
    ) -> Self {
        Self { exit, report: miette::Report::new(diagnostic) }
    }

    /// A sentence.
    pub(crate) fn message(exit: Exit, text: impl std::fmt::Display) -> Self {
        Self { exit, report: miette::Report::msg(clean::lines(&text.to_string()).into_owned()) }
    }

    /// How the process ends by it.
    pub(crate) fn exit(&self) -> Exit {
        if self.shortage(&[Errno::MFILE, Errno::NFILE]).is_some() {
            Exit::Environment
        } else {
            self.exit
        }
    }

    /// What this process itself lacks, where the error comes of one of `errnos`: whatever could
    /// not be opened for it, nothing is wrong with it. A message has its cause in it as text.
    fn shortage(&self, errnos: &[Errno]) -> Option<String> {
        let text = self.report.to_string();
        errnos.iter().find_map(|errno| {
            let named = format!("(os error {})", errno.raw_os_error());
            shortage::of(&(*errno).into()).filter(|_| text.contains(&named))
        })
    }

    /// What to do about that, where the message does not say it.
    fn advice(&self) -> Option<String> {
        let all =
            [Errno::MFILE, Errno::NFILE, Errno::NOSPC, Errno::DQUOT, Errno::FBIG, Errno::ROFS];
        self.shortage(&all).filter(|what| !self.report.to_string().contains(what))
    }

    /// Prints it and returns the exit code.
    pub(crate) fn print(self) -> Exit {
        let (exit, advice) = (self.exit(), self.advice());
        print_error(&masked::render(self.report.as_ref(), secrets()));
        if let Some(what) = advice {
            print_error(&what);
        }
        exit
    }
}

impl std::fmt::Display for CommandError {
    /// Its sentence, without what explains it further.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.report)
    }
}

impl From<SweepError> for CommandError {
    fn from(error: SweepError) -> Self {
        let exit = match &error {
            SweepError::History(error) => exit_of_history(error),
            SweepError::Changed(_) => Exit::Usage,
            SweepError::ProductionDown(_)
            | SweepError::Unstopped { .. }
            | SweepError::Ownership(_)
            | SweepError::Refused(_)
            | SweepError::Stopped { environment: true, .. } => Exit::Environment,
            SweepError::Stopped { .. } => Exit::Engine,
        };
        if let SweepError::Changed(changed) = &error {
            let help = clean::lines(&changed.advice()).into_owned();
            let text = clean::lines(&error.to_string()).into_owned();
            return Self { exit, report: miette::miette!(help = help, "{text}") };
        }
        if let SweepError::Stopped { log_lines, .. } = &error
            && !log_lines.is_empty()
        {
            let log_lines = log_lines.join("\n");
            let help = format!("the engine's log says:\n{}", clean::lines(&log_lines));
            return Self { exit, report: miette::miette!(help = help, "{error}") };
        }
        Self::new(exit, error)
    }
}

impl From<Faults> for CommandError {
    fn from(faults: Faults) -> Self {
        let exit = if faults.is_mistake() { Exit::Usage } else { Exit::Environment };
        Self::new(exit, faults)
    }
}

impl From<HistoryError> for CommandError {
    fn from(error: HistoryError) -> Self {
        SweepError::from(error).into()
    }
}

fn exit_of_history(error: &HistoryError) -> Exit {
    match error {
        HistoryError::NotEmpty(_)
        | HistoryError::Output { .. }
        | HistoryError::NoSweep(_)
        | HistoryError::Denied { .. }
        | HistoryError::Manifest { .. }
        | HistoryError::Journal(JournalError::Newer { .. }) => Exit::Usage,
        HistoryError::Io { .. } | HistoryError::Journal(_) => Exit::Environment,
    }
}

/// Prints to standard output, secrets masked. A closed pipe is no error.
pub(crate) fn print(text: &str) -> Result<(), CommandError> {
    // Names and messages come from outside; what we print ourselves has no escapes.
    print_with(|out| out.write_all(clean::lines(text).as_bytes()))
}

/// Prints what `write` writes, in pieces of 64 KiB.
pub(crate) fn print_with(
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), CommandError> {
    let out = std::io::BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    let mut out = Masked::new(out);
    let written = write(&mut out).and_then(|()| out.flush());
    // What is left after an error must not be written again.
    let (_out, _rest) = out.into_inner().into_parts();
    match written {
        Ok(()) => Ok(()),
        // Whoever reads has seen enough. How the command ends does not depend on it.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(CommandError::new(Exit::Environment, error)),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use vllm_grid::bench::suite::BenchError;
    use vllm_grid::results::ResultsError;

    fn printed(failure: &CommandError) -> String {
        format!("{:?}", failure.report)
    }

    #[test]
    fn what_could_not_be_opened_for_a_limit_of_ours_is_the_environments() {
        let open = |errno: Errno| {
            CommandError::new(
                Exit::Usage,
                HistoryError::Io { path: "grid.yaml".into(), error: errno.into() },
            )
        };
        assert_eq!(open(Errno::MFILE).exit(), Exit::Environment);
        assert!(open(Errno::MFILE).to_string().contains("ulimit -n"));
        assert_eq!(open(Errno::MFILE).print(), Exit::Environment);
        assert_eq!((open(Errno::NOENT).exit(), open(Errno::NOENT).advice()), (Exit::Usage, None));
    }

    #[test]
    fn what_to_do_about_a_shortage_is_said_once() {
        for (errno, names) in
            [(Errno::NOSPC, "`df -h`"), (Errno::FBIG, "`ulimit -f"), (Errno::MFILE, "`ulimit -n`")]
        {
            let error = || io::Error::from(errno);
            let bare = CommandError::message(Exit::Environment, format!("f: {}", error()));
            assert!(bare.advice().is_some_and(|it| it.contains(names)), "{errno:?}");
            for failure in [
                HistoryError::Io { path: "run".into(), error: error() }.into(),
                HistoryError::Journal(JournalError::Io { path: "run".into(), error: error() })
                    .into(),
                CommandError::new(Exit::Environment, BenchError::from(error())),
                CommandError::new(
                    Exit::Environment,
                    ResultsError::File { path: "run".into(), error: error() },
                ),
            ] {
                assert!(failure.to_string().contains(names), "{failure}");
                assert_eq!(failure.advice(), None, "{failure}");
            }
        }
    }

    #[test]
    fn a_cause_is_printed_once() {
        let error = || io::Error::other("disk quota exceeded");
        let path = || std::path::PathBuf::from("run");
        let journal = JournalError::Io { path: path(), error: error() };
        for failure in [
            HistoryError::Io { path: path(), error: error() }.into(),
            HistoryError::Journal(journal).into(),
            CommandError::new(
                Exit::Environment,
                ResultsError::File { path: path(), error: error() },
            ),
            CommandError::new(Exit::Environment, BenchError::from(error())),
        ] {
            let text = printed(&failure);
            assert_eq!(text.matches("disk quota exceeded").count(), 1, "{text}");
        }
    }
}
