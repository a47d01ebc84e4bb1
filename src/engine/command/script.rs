//! Whether a command is a shell script (`sh -c "..."`). Arguments behind a script
//! are the shell's, not the server's, unless the script passes them on; so its
//! flags can neither be read nor varied, and its text may hold a key. What else
//! the script does is not read here.

use crate::configuration::Configuration;
use crate::history::launch::{FailureClass, LaunchFailure};

/// Programs that run their argument behind `-c` as a script.
const SHELLS: &[&str] = &["sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "fish"];
/// Long options of the shells that are followed by a value.
const WITH_VALUE: &[&str] = &["--rcfile", "--init-file", "--init-command"];

/// A shell script in a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShellScript {
    /// Its position among the arguments; their number where the script itself is missing.
    pub at: usize,
    /// Whether it passes on what is appended to the command: it uses `"$@"`, and
    /// the shell's `$0` is already there.
    pub forwards: bool,
}

/// The script in `arguments` (entry point and command together); `None` where no
/// shell runs one. Words before the shell (`env`, `tini --`) are launchers.
pub fn shell_script<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Option<ShellScript> {
    let arguments: Vec<&str> = arguments.into_iter().collect();
    let launchers = arguments.iter().take_while(|word| !is_server(word));
    let shells = launchers.enumerate().filter(|(_, word)| SHELLS.contains(&file_name(word)));
    let at = shells.map(|(at, _)| at + 1).find_map(|at| script_behind(&arguments, at))?;
    let text = arguments.get(at).copied().unwrap_or_default();
    let uses_arguments = ["$@", "${@", "$*", "${*"].iter().any(|it| text.contains(it));
    Some(ShellScript { at, forwards: uses_arguments && at + 1 < arguments.len() })
}

/// Refuses flags for an image whose command is a script: the shell would ignore
/// them, and something other than what was asked would be measured.
///
/// # Errors
/// A failure of the class `bad_flag`.
pub fn check_image<'a>(
    arguments: impl IntoIterator<Item = &'a str>,
    configuration: &Configuration,
    image: &str,
) -> Result<(), LaunchFailure> {
    let reaches = shell_script(arguments).is_none_or(|script| script.forwards);
    if reaches || configuration.flags.is_empty() {
        return Ok(());
    }
    let message = format!(
        "the command of image {image} is a shell script, and flags in a script cannot be varied yet"
    );
    Err(LaunchFailure::new(FailureClass::BadFlag, message))
}

fn file_name(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// Behind the server's own name a word that looks like a shell is a value.
fn is_server(word: &str) -> bool {
    file_name(word) == "vllm" || word.starts_with("vllm.")
}

/// The first word behind the shell's options, when one of these is `-c`.
fn script_behind(arguments: &[&str], first: usize) -> Option<usize> {
    let mut at = first;
    let mut runs_text = false;
    while let Some(&word) = arguments.get(at) {
        at += 1;
        if word == "--" || word == "-" {
            break;
        }
        if let Some(letters) = word.strip_prefix(['-', '+']).filter(|it| !it.starts_with('-')) {
            runs_text |= word.starts_with('-') && letters.contains('c');
            // `-o pipefail`, also in `-euo pipefail`.
            at += letters.matches(['o', 'O']).count();
        } else if word.starts_with("--") {
            runs_text |= word == "--command" || word.starts_with("--command=");
            at += usize::from(WITH_VALUE.contains(&word));
        } else {
            at -= 1;
            break;
        }
    }
    runs_text.then_some(at.min(arguments.len()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;
    use crate::configuration::Flags;

    fn position(line: &str) -> Option<usize> {
        let words = shell_words::split(line).expect("the test quotes well");
        shell_script(words.iter().map(String::as_str)).map(|script| script.at)
    }

    #[test]
    fn a_script_can_pass_on_what_follows_it() {
        for (line, forwards) in [
            (r#"sh -c 'exec vllm serve "$@"' name"#, true),
            (r#"sh -c 'exec vllm serve "${@}"' -- m --seed 1"#, true),
            // The first argument behind the script is `$0`: it does not arrive.
            (r#"sh -c 'exec vllm serve "$@"'"#, false),
            ("sh -c 'exec vllm serve m' -- --seed 1", false),
        ] {
            let words = shell_words::split(line).expect("the test quotes well");
            let script = shell_script(words.iter().map(String::as_str)).expect("a script");
            assert_eq!((script.at, script.forwards), (2, forwards), "{line}");
        }
    }

    #[test]
    fn a_script_is_found_behind_every_spelling_of_the_shell() {
        for (line, at) in [
            ("sh -c 'vllm serve m'", 2),
            ("/bin/sh -c 'vllm serve m'", 2),
            ("bash -lc 'vllm serve m'", 2),
            ("/usr/bin/bash -ec 'vllm serve m'", 2),
            ("bash -l -c 'vllm serve m'", 3),
            ("bash --login -c 'vllm serve m'", 3),
            ("bash --rcfile /x -c 'vllm serve m'", 4),
            ("bash -o pipefail -c 'vllm serve m'", 4),
            ("bash -euo pipefail -c 'vllm serve m'", 4),
            ("bash -euxo pipefail -c 'vllm serve m' name", 4),
            ("bash -ceuo pipefail 'vllm serve m'", 3),
            ("sh +x -c -- 'vllm serve m'", 4),
            ("/usr/bin/env A=b bash -c 'vllm serve m'", 4),
            ("tini -- /bin/bash -c 'vllm serve m'", 4),
            ("busybox sh -c 'vllm serve m'", 3),
            ("sh -c vllm serve m", 2),
            ("sh -c", 2),
        ] {
            assert_eq!(position(line), Some(at), "{line}");
        }
    }

    #[test]
    fn flags_for_an_image_that_runs_a_script_are_refused() {
        let configuration = |flags: Flags| Configuration {
            name: "c".to_owned(),
            aliases: Vec::new(),
            id: "0".to_owned(),
            varied: flags.clone(),
            flags,
            environment: BTreeMap::new(),
        };
        let flags = configuration(Flags::from([("seed".to_owned(), Value::from(1))]));
        let script = ["/bin/sh", "-c", "exec vllm serve m"];
        let failure = check_image(script, &flags, "i:1").expect_err("ignored by the shell");
        assert_eq!(failure.class, FailureClass::BadFlag);
        assert!(failure.message.contains("image i:1 is a shell script"), "{}", failure.message);
        assert_eq!(check_image(script, &configuration(Flags::new()), "i:1"), Ok(()));
        assert_eq!(check_image(["vllm", "serve"], &flags, "i:1"), Ok(()));
    }

    #[test]
    fn other_commands_are_no_scripts() {
        for line in [
            "",
            "vllm serve m --max-num-seqs 4",
            "m --max-num-seqs 4",
            "python3 -m vllm.entrypoints.openai.api_server --model m",
            "bash /start.sh -c x",
            "sh",
            "/opt/bash-it -c x",
            "vllm serve m --served-model-name sh -cc x",
            "python3 -m vllm.entrypoints.openai.api_server --served-model-name sh -cc x",
        ] {
            assert_eq!(position(line), None, "{line}");
        }
    }
}
