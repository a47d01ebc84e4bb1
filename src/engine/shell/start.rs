//! Where vLLM starts in a vector of words: behind `exec`, `env`, `nice`,
//! `numactl`, `timeout` and their like, or in the script of a shell's or `su`'s `-c`.
//! Which words are vLLM's own arguments is decided here alone, for what a service
//! writes and for what a process was started with.

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
    /// The same of a script in a file.
    #[error("`{0}` is not known to pass its arguments on to vLLM")]
    File(String),
    /// Program text in an argument, in another language than a shell's, or split into
    /// words by the program itself. The text is not kept: it may have a key.
    #[error("what `{0}` runs is not read")]
    Code(&'static str),
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

/// What `words` start.
pub fn start_of(words: &[Word]) -> Start {
    let mut at = 0;
    loop {
        let name = match words.get(at) {
            None => return Start::Other(Obstacle::Nothing),
            Some(Word { value: Some(value), .. }) => base(value),
            Some(word) => {
                return Start::Other(Obstacle::Expansion(shown(&word.prefix).to_owned()));
            }
        };
        if let Some(program) = vllm(words, at, name) {
            return Start::Vllm(program);
        }
        if SHELLS.contains(&name) {
            return shell(words, at);
        }
        if matches!(name, "su" | "runuser") && !words[at + 1..].is_empty() {
            return su(words, at);
        }
        at = match WRAPPERS.iter().find(|wrapper| wrapper.name == name) {
            Some(wrapper) => behind(words, at + 1, wrapper),
            None if name == "env" => match behind_env(words, at + 1) {
                Some(next) => next,
                None => return Start::Other(Obstacle::Code("env -S")),
            },
            None => return Start::Other(launcher(words, at, name)),
        };
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
    if name == "api_server.py" {
        return Some(Program { at, arguments: at + 1 });
    }
    let arguments = server_arguments(at, |index| text(words, index))?;
    Some(Program { at, arguments })
}

/// Index of the first argument of vLLM's server, where the program at `at` is that
/// server: `vllm serve`, or Python with its module or file. Words that are not known
/// are `None`.
pub fn server_arguments<'a>(at: usize, word: impl Fn(usize) -> Option<&'a str>) -> Option<usize> {
    match base(word(at)?) {
        "vllm" => behind_serve(at + 1, word),
        // The simulated server takes vLLM's own arguments, and the words before them.
        "vllm-grid" => {
            let simulate = (word(at + 1) == Some("simulate")).then_some(at + 2)?;
            let serve = simulate + usize::from(word(simulate) == Some("vllm"));
            Some(serve + usize::from(word(serve) == Some("serve")))
        }
        name if is_python(name) => behind_python(at + 1, word),
        _ => None,
    }
}

/// The command `serve` of vLLM's program; its other commands are no servers.
fn behind_serve<'a>(at: usize, word: impl Fn(usize) -> Option<&'a str>) -> Option<usize> {
    (word(at) == Some("serve")).then_some(at + 1)
}

fn is_python(name: &str) -> bool {
    name.strip_prefix("python")
        .is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

/// `-m MODULE ...` or `FILE ...` behind the interpreter's own options.
fn behind_python<'a>(mut at: usize, word: impl Fn(usize) -> Option<&'a str>) -> Option<usize> {
    loop {
        let text = word(at)?;
        let Some(letters) = text.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            return behind_file(at, text, word);
        };
        // `-um MODULE`, `-mMODULE`; what follows `-c` is no server of vLLM's.
        let own = letters.find(['c', 'm', 'W', 'X']).filter(|_| !letters.starts_with('-'));
        match own.map(|place| letters.split_at(place).1) {
            Some("m") => return behind_module(word(at + 1)?, at + 2, word),
            Some(glued) if glued.starts_with('m') => {
                return behind_module(&glued[1..], at + 1, word);
            }
            Some(glued) if glued.starts_with('c') => return None,
            Some("W" | "X") => at += 1,
            _ => {}
        }
        at += 1;
    }
}

/// A file that is given to Python: vLLM's own program, or its server as a file.
fn behind_file<'a>(
    at: usize,
    path: &str,
    word: impl Fn(usize) -> Option<&'a str>,
) -> Option<usize> {
    if base(path) == "vllm" || path.ends_with("vllm/entrypoints/cli/main.py") {
        return behind_serve(at + 1, word);
    }
    (path.contains("vllm/entrypoints/") && path.ends_with("_server.py")).then_some(at + 1)
}

/// A module that is given to Python; `at` is the word behind it.
fn behind_module<'a>(
    module: &str,
    at: usize,
    word: impl Fn(usize) -> Option<&'a str>,
) -> Option<usize> {
    match module {
        "vllm" | "vllm.entrypoints.cli" | "vllm.entrypoints.cli.main" => behind_serve(at, word),
        _ => {
            let is_server = module.starts_with("vllm.entrypoints.") && module.ends_with("_server");
            is_server.then_some(at)
        }
    }
}

/// What a program that is not known is: a script in a file, code in an argument, or
/// anything else.
fn launcher(words: &[Word], at: usize, name: &str) -> Obstacle {
    let first = text(words, at + 1).unwrap_or_default();
    let is_code = |letters: &str| {
        !letters.starts_with('-')
            && letters.find(['c', 'm']).is_some_and(|at| letters[at..].starts_with('c'))
    };
    match name {
        _ if is_python(name) && first.strip_prefix('-').is_some_and(is_code) => {
            Obstacle::Code("python -c")
        }
        "perl" if first.starts_with("-e") => Obstacle::Code("perl -e"),
        _ if is_python(name) => Obstacle::File(format!("{name} {}", shown(first))),
        _ if matches!(name.rsplit_once('.'), Some((_, "sh" | "py"))) => {
            Obstacle::File(shown(name).to_owned())
        }
        _ => Obstacle::Launcher(shown(name).to_owned()),
    }
}

/// A program's name for a message; a text with blanks may be a script with a key.
fn shown(name: &str) -> &str {
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && !"'\"=;&|".contains(c);
    if name.len() <= 80 && name.chars().all(is_plain) { name } else { "..." }
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

/// The same for `env`: options, then `NAME=value`. `None` where it splits a text itself.
fn behind_env(words: &[Word], mut at: usize) -> Option<usize> {
    while let Some(word) = words.get(at) {
        match word.value.as_deref() {
            Some("-u" | "--unset" | "-C" | "--chdir") => at += 2,
            Some(option) if splits(option) => return None,
            Some(text) if text.starts_with('-') || is_assignment(text) => at += 1,
            None if is_assignment(&word.prefix) => at += 1,
            _ => return Some(at),
        }
    }
    Some(at)
}

/// `-S`, `-vS`, `-S"bash -c"`, `--split-string=...`; what follows `-u` and `-C` is a value.
fn splits(option: &str) -> bool {
    let Some(letters) = option.strip_prefix('-') else { return false };
    match letters.strip_prefix('-') {
        Some(long) => long.starts_with('s'),
        None => letters.find(['S', 'u', 'C']).is_some_and(|at| letters[at..].starts_with('S')),
    }
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
        Some(word) => Start::Other(Obstacle::File(format!("{name} {}", shown(word.known())))),
        None => Start::Other(Obstacle::Launcher(name)),
    }
}

/// The script of `su`'s `-c`, which it gives to a shell; the user stands before or
/// behind it. What else follows would be arguments of that script.
fn su(words: &[Word], at: usize) -> Start {
    let is_option = |word: &Word| matches!(word.known(), "-c" | "--command");
    let Some(option) = words[at..].iter().position(is_option).map(|place| at + place) else {
        return Start::Other(Obstacle::Code("su"));
    };
    match words.len() {
        len if len == option + 2 => Start::Script { word: option + 1 },
        // `su -c SCRIPT USER`
        len if len == option + 3 && option == at + 1 => Start::Script { word: option + 1 },
        _ => Start::Other(Obstacle::Code("su")),
    }
}
