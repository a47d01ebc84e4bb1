//! Which of the processes that an engine sees is vLLM's server, and what it was started
//! with. Pure: argument vectors in, a reading out. A shell, a launcher or `timeout` has
//! vLLM's words among its own arguments and is not the server.

use std::collections::BTreeMap;

use super::command;
use crate::server::proof::{ProcessReading, ServerProcess};

/// A process as `/proc` shows it.
#[derive(Clone, Default)]
pub(super) struct Process {
    /// Its argument vector.
    pub arguments: Vec<String>,
    /// Of its environment the variables that were asked for; `None` where it is not readable.
    pub environment: Option<BTreeMap<String, String>>,
}

impl Process {
    /// A process of the bytes of `/proc/PID/cmdline` and, where it was read,
    /// `/proc/PID/environ`. Of the environment only `variables` are kept.
    pub(super) fn of_bytes(cmdline: &[u8], environ: Option<&[u8]>, variables: &[String]) -> Self {
        let mut arguments = texts(cmdline);
        // Each argument ends with a NUL; a thread of the kernel has none.
        if cmdline.is_empty() || cmdline.ends_with(b"\0") {
            arguments.pop();
        }
        let environment = environ.map(|environ| {
            let set = texts(environ).into_iter().filter_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                let asked = variables.iter().any(|variable| variable == name);
                asked.then(|| (name.to_owned(), value.to_owned()))
            });
            // Of a variable that is there twice the first one counts, as in libc.
            let mut kept = BTreeMap::new();
            for (name, value) in set {
                kept.entry(name).or_insert(value);
            }
            kept
        });
        Self { arguments, environment }
    }
}

fn texts(bytes: &[u8]) -> Vec<String> {
    bytes.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

/// The server among `processes`; of several with different arguments, the one that
/// listens on `port`.
pub(super) fn reading(processes: &[Process], port: u16) -> ProcessReading {
    let mut servers: Vec<(&[String], &Process)> = Vec::new();
    for process in processes {
        let Some(arguments) = server_arguments(&process.arguments) else { continue };
        // What vLLM forks shows its parent's arguments.
        match servers.iter_mut().find(|(known, _)| *known == arguments) {
            Some((_, known)) if known.environment.is_none() => *known = process,
            Some(_) => {}
            None => servers.push((arguments, process)),
        }
    }
    if servers.len() > 1 {
        let listens = |arguments: &[String]| {
            command::flag_value(&command::literal(arguments), "port")
                .is_some_and(|text| text == port.to_string())
        };
        servers.retain(|(arguments, _)| listens(arguments));
    }
    match servers.as_slice() {
        [(arguments, process)] => ProcessReading::Whole(ServerProcess {
            flags: command::read(&command::literal(arguments)).1,
            environment: process.environment.clone(),
        }),
        [] => ProcessReading::Unreadable("no process is one of vLLM's server".to_owned()),
        _ => ProcessReading::Unreadable("several processes are vLLM servers".to_owned()),
    }
}

/// What follows vLLM's own name in the argument vector of a server; `None` where the
/// process is something else.
fn server_arguments(arguments: &[String]) -> Option<&[String]> {
    let (program, rest) = arguments.split_first()?;
    let program = file_name(program);
    if program.starts_with("python") {
        return behind_python(rest);
    }
    if program == "vllm" {
        return behind_serve(rest);
    }
    // The simulated server takes the words `vllm serve` before the model, too.
    let rest = (program == "vllm-grid").then(|| rest.strip_prefix(&["simulate".to_owned()]))??;
    let rest = rest.strip_prefix(&["vllm".to_owned()]).unwrap_or(rest);
    Some(rest.strip_prefix(&["serve".to_owned()]).unwrap_or(rest))
}

/// `-m MODULE ...` or `SCRIPT ...` behind the interpreter's own options.
fn behind_python(arguments: &[String]) -> Option<&[String]> {
    let mut at = 0;
    loop {
        let word = arguments.get(at)?.as_str();
        let rest = &arguments[at + 1..];
        let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            return match file_name(word) {
                "vllm" => behind_serve(rest),
                // A module that is run as a file.
                _ => word.contains("vllm/entrypoints/").then_some(rest),
            };
        };
        // `-um MODULE`, `-mMODULE`; what follows `-c` is no server of vLLM's.
        let own = letters.find(['c', 'm', 'W', 'X']).filter(|_| !letters.starts_with('-'));
        match own.map(|place| letters.split_at(place)) {
            Some((_, "m")) => {
                let (module, rest) = rest.split_first()?;
                return behind_module(module, rest);
            }
            Some((_, glued)) if glued.starts_with('m') => return behind_module(&glued[1..], rest),
            Some((_, glued)) if glued.starts_with('c') => return None,
            Some((_, "W" | "X")) => at += 1,
            _ => {}
        }
        at += 1;
    }
}

fn behind_module<'a>(module: &str, rest: &'a [String]) -> Option<&'a [String]> {
    match module {
        "vllm" | "vllm.entrypoints.cli" | "vllm.entrypoints.cli.main" => behind_serve(rest),
        _ => module.starts_with("vllm.entrypoints.").then_some(rest),
    }
}

/// The command `serve` of vLLM's program; its other commands are no servers.
fn behind_serve(arguments: &[String]) -> Option<&[String]> {
    arguments.strip_prefix(&["serve".to_owned()])
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// What `docker top` shows: the arguments of each process as one text. A server's flags
/// are read from its words, as far as these are whole.
pub(super) fn joined_reading(processes: &[String]) -> Option<ProcessReading> {
    let split = |text: &String| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let all: Vec<Vec<String>> = processes.iter().map(split).collect();
    let mut servers: Vec<&[String]> = all.iter().filter_map(|it| server_arguments(it)).collect();
    servers.dedup();
    match servers.as_slice() {
        [arguments] => Some(ProcessReading::Joined(command::read(&command::literal(arguments)).1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn vector(line: &str) -> Vec<String> {
        shell_words::split(line).expect("the test quotes well")
    }

    fn process(line: &str) -> Process {
        Process { arguments: vector(line), environment: None }
    }

    #[test]
    fn a_server_is_found_however_python_runs_it() {
        for line in [
            "vllm serve m --seed 3",
            "/opt/venv/bin/vllm serve m --seed 3",
            "/usr/bin/python3 /usr/local/bin/vllm serve m --seed 3",
            "python3.12 -u -X dev /usr/local/bin/vllm serve m --seed 3",
            "python -m vllm.entrypoints.openai.api_server m --seed 3",
            "python3 -um vllm.entrypoints.openai.api_server m --seed 3",
            "python3 -mvllm.entrypoints.openai.api_server m --seed 3",
            "python3 -W ignore -m vllm.entrypoints.cli.main serve m --seed 3",
            "python3 /src/vllm/entrypoints/openai/api_server.py m --seed 3",
            "/bin/vllm-grid simulate m --seed 3",
            "vllm-grid simulate vllm serve m --seed 3",
        ] {
            let arguments = vector(line);
            let found = server_arguments(&arguments).map(<[String]>::to_vec);
            assert_eq!(found, Some(vector("m --seed 3")), "{line}");
        }
    }

    #[test]
    fn what_stands_before_the_server_is_not_the_server() {
        for line in [
            "",
            "sh -c 'vllm serve m'",
            "/bin/sh /opt/vllm serve m",
            "timeout 1h vllm serve m",
            "python3 -c 'from multiprocessing.spawn import spawn_main' vllm serve",
            "python3 /opt/launch.py vllm serve m",
            "python3",
            "vllm bench serve --model m",
            "VLLM::EngineCore",
            "vllm-grid sweep grid.yaml",
            "python3 -m vllm_launcher serve",
        ] {
            assert_eq!(server_arguments(&vector(line)), None, "{line}");
        }
    }

    #[test]
    fn the_vector_keeps_its_words_and_the_environment_only_what_was_asked_for() {
        let cmdline = b"vllm\0serve\0m\0--hf-overrides\0{\"a\": 1}\0--served-model-name\0\0";
        let environ = b"SECRET=s\0NCCL_P2P_DISABLE=1\0A=b=c\0A=d\0PATH=/bin\0";
        let asked = ["NCCL_P2P_DISABLE", "A", "NONE"].map(str::to_owned);
        let read = Process::of_bytes(cmdline, Some(environ), &asked);
        assert_eq!(read.arguments.len(), 7, "the last one is empty: {:?}", read.arguments);
        let kept = read.environment.clone().expect("it was readable");
        let pairs: Vec<(&str, &str)> =
            kept.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("A", "b=c"), ("NCCL_P2P_DISABLE", "1")]);
        let ProcessReading::Whole(process) = reading(&[read], 1) else { panic!("a server") };
        assert_eq!(process.flags.get("hf-overrides"), Some(&json!({"a": 1})));
    }

    #[test]
    fn forks_are_one_server_and_of_two_servers_the_port_decides() {
        let seed = |reading: &ProcessReading| match reading {
            ProcessReading::Whole(process) => process.flags.get("seed").cloned(),
            _ => None,
        };
        let own = process("vllm serve m --port 9000 --seed 1");
        let other = process("python3 -m vllm.entrypoints.openai.api_server --port=9001 --seed 2");
        let shell = process("sh -c 'vllm serve m --port 9000 --seed 3'");
        let all = [shell.clone(), own.clone(), own.clone(), other];
        assert_eq!(seed(&reading(&all[..3], 1)), Some(json!(1)), "its port is not looked at");
        assert_eq!(seed(&reading(&all, 9001)), Some(json!(2)));
        assert!(matches!(reading(&all, 1), ProcessReading::Unreadable(_)));
        assert!(matches!(reading(&[shell], 1), ProcessReading::Unreadable(_)));
    }

    #[test]
    fn joined_words_are_read_as_far_as_they_are_whole() {
        let lines =
            ["sh /launch.sh", "python3 /usr/bin/vllm serve m --seed 3 --hf-overrides {\"a\": 1}"];
        let lines = lines.map(str::to_owned);
        let Some(ProcessReading::Joined(flags)) = joined_reading(&lines) else {
            panic!("a server")
        };
        assert_eq!(flags.get("seed"), Some(&json!(3)));
        assert_eq!(joined_reading(&lines[..1]), None);
    }
}
