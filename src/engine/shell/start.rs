//! Where vLLM starts in a vector of words: behind `exec`, `env`, `nice`,
//! `numactl`, `timeout` and their like, or in the script of a shell's `-c`.

use super::word::Word;

/// What a vector of words starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// vLLM itself.
    Vllm(Program),
    /// A shell that runs the script in this word.
    Script {
        /// Index of the word.
        word: usize,
    },
    /// Something else.
    Other(Obstacle),
}

/// vLLM in a vector of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// Index of the first word of the program itself.
    pub at: usize,
    /// Index of its first argument.
    pub arguments: usize,
}

/// Why a vector of words cannot be seen through.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// Nothing is started.
    #[error("nothing is started")]
    Nothing,
    /// A program that is not known to pass its arguments on.
    #[error("`{0}` is not known to pass its arguments on to vLLM")]
    Launcher(String),
    /// A word that only the container can expand stands where the program's name is needed.
    #[error("what is started stands in a variable (`{0}...`)")]
    Expansion(String),
}

/// Options of a wrapper that take the next word as their value.
struct Wrapper {
    name: &'static str,
    valued: &'static [&'static str],
    /// Words that it takes before the command, options left out.
    operands: usize,
}

const WRAPPERS: &[Wrapper] = &[
    Wrapper { name: "exec", valued: &["-a"], operands: 0 },
    Wrapper { name: "command", valued: &[], operands: 0 },
    Wrapper { name: "busybox", valued: &[], operands: 0 },
    Wrapper { name: "nvidia_entrypoint.sh", valued: &[], operands: 0 },
    Wrapper { name: "uv", valued: &["--with", "--python", "-p", "--project"], operands: 1 },
    Wrapper { name: "time", valued: &["-f", "-o"], operands: 0 },
    Wrapper { name: "nohup", valued: &[], operands: 0 },
    Wrapper { name: "setsid", valued: &[], operands: 0 },
    Wrapper { name: "nice", valued: &["-n", "--adjustment"], operands: 0 },
    Wrapper { name: "ionice", valued: &["-c", "-n", "-p", "--class", "--classdata"], operands: 0 },
    Wrapper { name: "stdbuf", valued: &["-i", "-o", "-e"], operands: 0 },
    Wrapper { name: "timeout", valued: &["-k", "--kill-after", "-s", "--signal"], operands: 1 },
    Wrapper { name: "taskset", valued: &[], operands: 1 },
    Wrapper { name: "chrt", valued: &["-T", "-P", "-D"], operands: 1 },
    Wrapper {
        name: "numactl",
        valued: &[
            "-N",
            "--cpunodebind",
            "-m",
            "--membind",
            "-C",
            "--physcpubind",
            "-i",
            "--interleave",
            "-p",
            "--preferred",
        ],
        operands: 0,
    },
    Wrapper { name: "tini", valued: &["-p", "-e"], operands: 0 },
    Wrapper { name: "dumb-init", valued: &["-r", "--rewrite"], operands: 0 },
    Wrapper { name: "gosu", valued: &[], operands: 1 },
    Wrapper { name: "su-exec", valued: &[], operands: 1 },
    Wrapper { name: "sudo", valued: &["-u", "--user", "-g", "--group"], operands: 0 },
];

const SHELLS: &[&str] = &["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh"];

/// Modules that take vLLM's server arguments.
const MODULES: &[&str] =
    &["vllm.entrypoints.openai.api_server", "vllm.entrypoints.cli.main", "vllm"];

/// What `words` start.
pub fn start_of(words: &[Word]) -> Start {
    let mut at = 0;
    loop {
        let name = match words.get(at) {
            None => return Start::Other(Obstacle::Nothing),
            Some(Word { value: Some(value), .. }) => base(value),
            Some(word) => return Start::Other(Obstacle::Expansion(word.prefix.clone())),
        };
        if let Some(program) = vllm(words, at, name) {
            return Start::Vllm(program);
        }
        if SHELLS.contains(&name) {
            return shell(words, at);
        }
        let next = match WRAPPERS.iter().find(|wrapper| wrapper.name == name) {
            Some(wrapper) => behind(words, at + 1, wrapper),
            None if name == "env" => behind_env(words, at + 1),
            None => return Start::Other(Obstacle::Launcher(name.to_owned())),
        };
        at = next;
    }
}

fn text(words: &[Word], at: usize) -> Option<&str> {
    words.get(at).and_then(|word| word.value.as_deref())
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// vLLM, where the word at `at` (called `name`) starts it.
fn vllm(words: &[Word], at: usize, name: &str) -> Option<Program> {
    match name {
        "vllm" => {
            (text(words, at + 1) == Some("serve")).then_some(Program { at, arguments: at + 2 })
        }
        // The simulated server takes vLLM's own arguments.
        "vllm-grid" => {
            (text(words, at + 1) == Some("simulate")).then_some(Program { at, arguments: at + 2 })
        }
        _ if is_python(name) => python(words, at),
        _ if name == "api_server.py" => Some(Program { at, arguments: at + 1 }),
        _ => None,
    }
}

fn is_python(name: &str) -> bool {
    name.strip_prefix("python")
        .is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

fn python(words: &[Word], at: usize) -> Option<Program> {
    let mut next = at + 1;
    loop {
        let option = text(words, next)?;
        if option == "-m" {
            let module = text(words, next + 1)?;
            if !MODULES.contains(&module) {
                return None;
            }
            let serve = module != "vllm.entrypoints.openai.api_server";
            if serve && text(words, next + 2) != Some("serve") {
                return None;
            }
            return Some(Program { at, arguments: next + 2 + usize::from(serve) });
        }
        if matches!(option, "-X" | "-W") {
            next += 2;
        } else if option.starts_with('-') && option.len() > 1 {
            next += 1;
        } else {
            // A script by its path: vLLM's own server, or its command line.
            let path = option;
            if path.ends_with("vllm/entrypoints/openai/api_server.py") {
                return Some(Program { at, arguments: next + 1 });
            }
            let serve = base(path) == "vllm" && text(words, next + 1) == Some("serve");
            return serve.then_some(Program { at, arguments: next + 2 });
        }
    }
}

/// Index of the command behind a wrapper's options and operands.
fn behind(words: &[Word], mut at: usize, wrapper: &Wrapper) -> usize {
    let mut operands = wrapper.operands;
    while let Some(word) = text(words, at) {
        if word == "--" {
            return at + 1 + operands;
        }
        if word.starts_with('-') && word.len() > 1 {
            at += if wrapper.valued.contains(&word) { 2 } else { 1 };
        } else if operands > 0 {
            operands -= 1;
            at += 1;
        } else {
            return at;
        }
    }
    at
}

/// The same for `env`: options, then `NAME=value`.
fn behind_env(words: &[Word], mut at: usize) -> usize {
    while let Some(word) = words.get(at) {
        match word.value.as_deref() {
            Some("-u" | "--unset" | "-C" | "--chdir") => at += 2,
            Some(text) if text.starts_with('-') || is_assignment(text) => at += 1,
            None if is_assignment(&word.prefix) => at += 1,
            _ => return at,
        }
    }
    at
}

fn is_assignment(text: &str) -> bool {
    let Some((name, _)) = text.split_once('=') else { return false };
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The script of a shell's `-c`, in whatever form its options are written.
fn shell(words: &[Word], at: usize) -> Start {
    let name = base(text(words, at).unwrap_or_default()).to_owned();
    let mut next = at + 1;
    let mut reads_script = false;
    while let Some(word) = text(words, next) {
        match word {
            "-o" | "+o" | "-O" | "+O" | "--rcfile" | "--init-file" => next += 2,
            "--" => {
                next += 1;
                break;
            }
            long if long.starts_with("--") => next += 1,
            // Letters together, `-ec`: one that ends in `o` takes a value, too.
            short if short.starts_with(['-', '+']) && short.len() > 1 => {
                reads_script |= short.starts_with('-') && short.contains('c');
                next += if short.ends_with('o') { 2 } else { 1 };
            }
            _ => break,
        }
    }
    match words.get(next) {
        Some(_) if reads_script => Start::Script { word: next },
        Some(word) => {
            let path = word.value.clone().unwrap_or_else(|| word.prefix.clone());
            Start::Other(Obstacle::Launcher(format!("{name} {path}")))
        }
        None => Start::Other(Obstacle::Launcher(name)),
    }
}
