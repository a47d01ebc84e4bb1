//! Runs Slurm's commands, each within a limit of time: a controller that does not answer is
//! asked again, and nothing waits for it for ever. The order in which commands are run for a
//! job is in `cluster`.

use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

/// How long a command may take: one that cannot reach the controller gives up by itself after
/// about as long.
const LIMIT: Duration = Duration::from_mins(1);

/// What a command answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Its exit status; `None` where a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub out: String,
    /// What it reported.
    pub err: String,
}

impl Answer {
    /// Whether it did what was asked.
    pub fn is_done(&self) -> bool {
        self.code == Some(0)
    }

    /// What it reported, without Slurm's own names before it.
    pub fn why(&self) -> String {
        let lines = self.err.lines().chain(self.out.lines()).map(str::trim);
        let told: Vec<&str> = lines
            .filter(|line| !line.is_empty())
            .map(|line| {
                let rest = line.split_once(": error: ").map(|(_, rest)| rest);
                rest.unwrap_or(line)
            })
            .collect();
        if told.is_empty() { format!("exit status {:?}", self.code) } else { told.join("; ") }
    }
}

/// Why a command gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ToolError {
    /// It is not there, or may not be run.
    #[error("{command} cannot be run: {why}")]
    NotRun {
        /// The command.
        command: String,
        /// Why.
        why: String,
    },
    /// It did not end.
    #[error("{command} did not answer within {seconds} s{}", printed(.said))]
    Silent {
        /// The command.
        command: String,
        /// The limit.
        seconds: u64,
        /// What it reported until then; empty where that was nothing.
        said: String,
    },
}

fn printed(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

/// Runs commands of a cluster.
#[async_trait]
pub trait Tool: Send + Sync {
    /// Runs one to its end.
    ///
    /// # Errors
    /// Where it gave no answer.
    async fn run(&self, words: &[String]) -> Result<Answer, ToolError>;
}

/// Runs a command that has to succeed.
///
/// # Errors
/// Where it did not, with its name.
pub async fn done(tool: &dyn Tool, words: &[String]) -> Result<Answer, String> {
    let answer = tool.run(words).await.map_err(|error| error.to_string())?;
    if answer.is_done() {
        return Ok(answer);
    }
    let command = words.first().map_or("", String::as_str);
    Err(format!("{command}: {}", answer.why()))
}

/// The commands of this machine's `PATH`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Commands;

#[async_trait]
impl Tool for Commands {
    async fn run(&self, words: &[String]) -> Result<Answer, ToolError> {
        let (program, arguments) = words.split_first().ok_or_else(|| ToolError::NotRun {
            command: String::new(),
            why: "no command".to_owned(),
        })?;
        let child = Command::new(program)
            .args(arguments)
            // Messages are read: they must be Slurm's own, not a translation's.
            .env("LC_ALL", "C")
            .env("SLURM_TIME_FORMAT", "standard")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C of the terminal is for the sweep, not for what it runs.
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        let not_run = |error: std::io::Error| ToolError::NotRun {
            command: program.clone(),
            why: error.to_string(),
        };
        let mut child = child.map_err(not_run)?;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = {
            let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
            let all = async { tokio::join!(read(stdout, &mut out), read(stderr, &mut err)) };
            let ended = async { tokio::join!(all, child.wait()).1 };
            timeout(LIMIT, ended).await
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&out), text(&err));
        let Ok(status) = status else {
            // What it waits for is often said: a queue that is full, for one.
            let said = if err.is_empty() { err } else { Answer { code: None, out, err }.why() };
            return Err(ToolError::Silent {
                command: program.clone(),
                seconds: LIMIT.as_secs(),
                said,
            });
        };
        Ok(Answer { code: status.map_err(not_run)?.code(), out, err })
    }
}

/// Reads all that comes, into a place that keeps it where the reading is given up.
async fn read(from: Option<impl AsyncRead + Unpin>, to: &mut Vec<u8>) {
    if let Some(mut from) = from {
        let _ = from.read_to_end(to).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_reports_has_no_names_of_programs() {
        let answer = Answer {
            code: Some(1),
            out: String::new(),
            err: "sbatch: error: invalid partition specified: nowhere\nsbatch: error: Batch job \
                  submission failed: Invalid partition name specified\n"
                .to_owned(),
        };
        assert_eq!(
            answer.why(),
            "invalid partition specified: nowhere; Batch job submission failed: Invalid partition \
             name specified"
        );
        assert_eq!(Answer { code: Some(3), ..Answer::default() }.why(), "exit status Some(3)");
    }
}
