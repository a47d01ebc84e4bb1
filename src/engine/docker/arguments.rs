//! What the server's process in a container was started with, read from `/proc` by one
//! command in the container. For an image without a shell or `cat` the daemon's `top`
//! names the processes: this machine's `/proc` has their arguments where it is the
//! daemon's host, else only the text of `top` is left, which joins the words. Which
//! process is the server is decided in `engine::server_process`.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::query_parameters::TopOptionsBuilder;
use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::patience::Daemon;
use crate::engine::server_process::{Process, joined_reading, reading};
use crate::server::proof::ProcessReading;

/// Longest that one command in the container may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(20);
/// Limit of what is read of one command, in bytes.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Prints each process but itself: a mark, its arguments as they are, and where variables
/// are asked for, a mark and the environment of those that have to do with vLLM. `$1` is
/// the mark, `$2` is `1` where variables are asked for. Nothing but a shell and `cat` is
/// needed; what ends meanwhile is not readable, and no harm.
const SCRIPT: &str = r#"exec 2>/dev/null
for p in /proc/[0-9]*; do
  [ "$p" = "/proc/$$" ] && continue
  printf '%sp' "$1"
  cat "$p/cmdline"
  [ "$2" = 1 ] || continue
  case "$(cat "$p/cmdline")" in
    *vllm*) printf '%se' "$1"; cat "$p/environ" || printf '%sx' "$1" ;;
  esac
done
printf '%s.' "$1"
"#;

/// Reads the server's process in a running container; `port` is the one it listens on.
pub(super) async fn read(
    docker: &Daemon,
    id: &str,
    port: u16,
    variables: &[String],
) -> ProcessReading {
    let mark = mark();
    let asked = if variables.is_empty() { "0" } else { "1" };
    let by_shell = run(docker, id, &["sh", "-c", SCRIPT, "sh", &mark, asked]).await;
    let processes = by_shell.as_ref().ok().and_then(|out| parse(out, mark.as_bytes(), variables));
    if let Some(processes) = processes.filter(|all| all.iter().any(|it| !it.arguments.is_empty())) {
        return reading(&processes, port);
    }
    // Without a shell the server is the container's first process, or nobody's guess.
    if let Ok(cmdline) = run(docker, id, &["cat", "/proc/1/cmdline"]).await
        && !cmdline.is_empty()
    {
        let environ = match asked {
            "1" => run(docker, id, &["cat", "/proc/1/environ"]).await.ok(),
            _ => None,
        };
        let first = Process::of_bytes(&cmdline, environ.as_deref(), variables);
        if let whole @ ProcessReading::Whole(_) = reading(&[first], port) {
            return whole;
        }
    }
    let reason = by_shell.err().unwrap_or_else(|| "the image has no `cat`".to_owned());
    let shown = top(docker, id).await.unwrap_or_default();
    let on_host: Vec<Process> =
        shown.iter().filter_map(|(pid, text)| of_host(pid, text, variables)).collect();
    if let whole @ ProcessReading::Whole(_) = reading(&on_host, port) {
        return whole;
    }
    let texts: Vec<String> = shown.into_iter().map(|(_, text)| text).collect();
    joined_reading(&texts).unwrap_or(ProcessReading::Unreadable(reason))
}

/// The process of this number on this machine, where it is the one that `top` shows: the
/// daemon may be on another machine.
fn of_host(pid: &str, text: &str, variables: &[String]) -> Option<Process> {
    let pid: u32 = pid.trim().parse().ok()?;
    let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).ok();
    let cmdline = read("cmdline")?;
    let environ = if variables.is_empty() { None } else { read("environ") };
    let process = Process::of_bytes(&cmdline, environ.as_deref(), variables);
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    (words(&process.arguments.join(" ")) == words(text)).then_some(process)
}

/// A text that no argument of another process has.
fn mark() -> String {
    format!("vllm-grid-{:032x}-", rand::random::<u128>())
}

/// The processes that [`SCRIPT`] printed; `None` where its end is missing.
fn parse(printed: &[u8], mark: &[u8], variables: &[String]) -> Option<Vec<Process>> {
    let mut parts: Vec<(u8, &[u8])> = Vec::new();
    let mut rest = printed;
    while let Some(at) = memchr::memmem::find(rest, mark) {
        if let Some((_, part)) = parts.last_mut() {
            *part = &rest[..at];
        }
        let (kind, behind) = rest[at + mark.len()..].split_first()?;
        parts.push((*kind, behind));
        rest = behind;
    }
    (parts.pop()?.0 == b'.').then_some(())?;
    let mut processes = Vec::new();
    for (at, (kind, bytes)) in parts.iter().enumerate() {
        let next = |by: usize| parts.get(at + by).map(|(kind, bytes)| (*kind, *bytes));
        if *kind == b'p' {
            let environ = next(1)
                .filter(|(kind, _)| *kind == b'e' && next(2).is_none_or(|(kind, _)| kind != b'x'));
            processes.push(Process::of_bytes(bytes, environ.map(|(_, bytes)| bytes), variables));
        }
    }
    Some(processes)
}

/// Runs a command in the container; what it printed, or why it could not be run.
async fn run(docker: &Daemon, id: &str, command: &[&str]) -> Result<Vec<u8>, String> {
    // Only reads: it may be run again where the daemon broke off. One that hangs would again.
    let run = || async {
        match timeout(COMMAND_TIMEOUT, output(docker, id, command)).await {
            Ok(ended) => ended.map(Some),
            Err(_) => Ok(None),
        }
    };
    let output = docker.ask(run).await.map_err(|error| docker.words(&error))?;
    let (printed, code) = output.ok_or("a command in the container did not end")?;
    match code {
        Some(0) => Ok(printed),
        // The runtime's codes for a program that is not there.
        Some(126 | 127) => Err(format!("the image has no `{}`", command[0])),
        _ => Err(format!("`{}` in the container failed", command[0])),
    }
}

async fn output(
    docker: &Daemon,
    id: &str,
    command: &[&str],
) -> Result<(Vec<u8>, Option<i64>), Error> {
    let options = CreateExecOptions {
        attach_stdout: Some(true),
        cmd: Some(command.to_vec()),
        ..CreateExecOptions::default()
    };
    let exec = docker.create_exec(id, options).await?.id;
    let mut printed = Vec::new();
    let started = docker.start_exec(&exec, None::<StartExecOptions>).await?;
    if let StartExecResults::Attached { mut output, .. } = started {
        while let Some(part) = output.next().await {
            if let LogOutput::StdOut { message } = part?
                && printed.len() < MAX_BYTES
            {
                printed.extend_from_slice(&message);
            }
        }
    }
    let code = docker.inspect_exec(&exec).await?.exit_code;
    Ok((printed, code))
}

/// Number on the daemon's host and arguments of each process, the words joined.
async fn top(docker: &Daemon, id: &str) -> Result<Vec<(String, String)>, Error> {
    let options = TopOptionsBuilder::new().ps_args("-eo pid,args").build();
    let shown = docker.ask(|| docker.top_processes(id, Some(options.clone()))).await?;
    let lines = shown.processes.unwrap_or_default();
    let pairs = lines.into_iter().filter_map(|line| match line.as_slice() {
        [pid, text] => Some((pid.clone(), text.clone())),
        _ => None,
    });
    Ok(pairs.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_script_prints_is_read_whole_or_not_at_all() {
        let printed = b"#pvllm\0serve\0m\0#eA=1\0B=2\0#psh\0-c\0x\0#ppython\0vllm\0#e#x#.";
        let variables = ["A".to_owned()];
        let read = parse(printed, b"#", &variables).expect("its end is there");
        let arguments: Vec<&[String]> = read.iter().map(|it| it.arguments.as_slice()).collect();
        assert_eq!(
            arguments,
            [&["vllm", "serve", "m"][..], &["sh", "-c", "x"], &["python", "vllm"]]
        );
        let of = |at: usize| read[at].environment.as_ref().map(std::collections::BTreeMap::len);
        assert_eq!((of(0), of(1), of(2)), (Some(1), None, None), "the last is not readable");
        assert!(parse(b"#pvllm\0serve\0", b"#", &variables).is_none(), "cut short");
        assert!(parse(b"", b"#", &variables).is_none());
    }

    #[test]
    fn a_process_of_this_machine_is_taken_only_where_it_is_the_one_that_top_shows() {
        let pid = std::process::id().to_string();
        let own: Vec<String> = std::env::args().collect();
        let read = of_host(&pid, &own.join("  "), &[]).expect("it is this test");
        assert_eq!(read.arguments, own);
        assert!(of_host(&pid, "vllm serve m", &[]).is_none());
        assert!(of_host("0", "vllm serve m", &[]).is_none());
    }

    /// The script in a real shell, on the processes of this machine.
    #[test]
    fn the_script_finds_this_process_and_not_itself() {
        let mark = mark();
        let printed = std::process::Command::new("sh")
            .args(["-c", SCRIPT, "sh", &mark, "1"])
            .output()
            .expect("a shell");
        let read = parse(&printed.stdout, mark.as_bytes(), &[]).expect("its end is there");
        let own: Vec<String> = std::env::args().collect();
        assert!(read.iter().any(|it| it.arguments == own), "this test: {own:?}");
        assert!(!read.iter().any(|it| it.arguments.contains(&mark)), "the script itself");
    }
}
