//! The proof that a configuration arrived: what the server's own process has among its
//! arguments and in its environment, compared with what was asked for. What the server
//! shows of itself is read in `effective`; how a process is found and read is the
//! engine's. A varied flag that did not arrive makes everything that would be measured
//! the figures of something else, so it is returned here and fails the launch.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::configuration::{Configuration, Flags};
use crate::flags;
use crate::server::agreement;
use crate::server::effective::{Effective, EffectiveValues, FlagProof};
use crate::server::observed::{echoed, unknown_variables};

/// What the server's own process has, secrets left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerProcess {
    /// The flags among its arguments.
    pub flags: Flags,
    /// The variables that were asked for, as far as they are set; `None` where its
    /// environment cannot be read.
    pub environment: Option<BTreeMap<String, String>>,
}

/// How far the server's own process could be read.
#[derive(Clone, Debug, PartialEq)]
pub enum ProcessReading {
    /// The server has no process of its own.
    None,
    /// Its argument vector was read whole.
    Whole(ServerProcess),
    /// Its arguments are known as one text, in which the ends of words are lost.
    Joined(Flags),
    /// It cannot be read, or not be found, for this reason.
    Unreadable(String),
}

/// One thing that was asked for and did not arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotApplied {
    /// What was asked for: `--max-num-seqs 32`.
    pub asked: String,
    /// What the process or its log has instead.
    pub seen: String,
}

impl fmt::Display for NotApplied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} did not reach vLLM: {}", self.asked, self.seen)
    }
}

/// What is proven of one launch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Proof {
    /// The effective values, each with its proof. A variable's name is `environment.NAME`.
    pub values: EffectiveValues,
    /// What is varied and did not arrive; with any of it nothing may be measured.
    pub not_applied: Vec<NotApplied>,
    /// What a person should know, one sentence each.
    pub notes: Vec<String>,
}

impl Proof {
    /// Why nothing may be measured, and what to do; `None` where everything arrived.
    pub fn failure(&self) -> Option<String> {
        if self.not_applied.is_empty() {
            return None;
        }
        let all: Vec<String> = self.not_applied.iter().map(NotApplied::to_string).collect();
        Some(format!(
            "{}. Check that the entrypoint or launcher passes its arguments and environment on \
             to vLLM, or write the flags where it reads them",
            all.join("; ")
        ))
    }
}

/// Completes the effective values of a server by what its process has, and compares all of
/// it with the configuration. `log` is the start-up log, where there is one.
pub fn prove(
    configuration: &Configuration,
    values: EffectiveValues,
    log: Option<&str>,
    reading: &ProcessReading,
) -> Proof {
    let (process, joined) = match reading {
        ProcessReading::Whole(process) => (Some(process), None),
        ProcessReading::Joined(flags) => (None, Some(flags)),
        ProcessReading::None | ProcessReading::Unreadable(_) => (None, None),
    };
    let evidence = Evidence { process, joined, echo: log.and_then(echoed) };
    let mut proof = Proof { values, ..Proof::default() };
    if let ProcessReading::Unreadable(reason) = reading {
        proof.notes.push(format!(
            "the arguments of the vLLM process cannot be read: {reason}; flags are proven only by \
             what the server and its log show"
        ));
    }
    evidence.judge_flags(configuration, &mut proof);
    evidence.judge_environment(configuration, &mut proof);
    if let Some(log) = log {
        note_unknown_variables(configuration, log, &mut proof);
    }
    proof
}

/// What shows which arguments arrived.
struct Evidence<'a> {
    process: Option<&'a ServerProcess>,
    joined: Option<&'a Flags>,
    /// The log's `non-default args`.
    echo: Option<Flags>,
}

impl Evidence<'_> {
    fn argument(&self, name: &str) -> Option<&Value> {
        self.process?.flags.get(name)
    }

    fn echo(&self, name: &str) -> Option<&Value> {
        self.echo.as_ref()?.get(name)
    }

    fn judge_flags(&self, configuration: &Configuration, proof: &mut Proof) {
        let passed = configuration.flags.iter().filter(|(_, value)| !value.is_null());
        for (name, requested) in passed.filter(|(name, _)| !is_hidden(name)) {
            let shown = proof.values.entry(name.clone()).or_insert_with(|| Effective {
                value: None,
                proof: None,
                source: "none".to_owned(),
            });
            let varied = configuration.varied.contains_key(name);
            self.complete(name, requested, varied, shown);
            if varied {
                proof.not_applied.extend(self.not_applied(name, requested));
            } else if self.process.is_some()
                && self.argument(name).is_none()
                && self.echo(name).is_none()
                // The file may have it: what it has is not among the arguments.
                && self.argument("config").is_none()
            {
                proof.notes.push(format!(
                    "--{name} of the engine block or the service is not among the arguments of \
                     the vLLM process"
                ));
            }
        }
        let left_out = configuration.varied.iter().filter(|(_, value)| value.is_null());
        proof.not_applied.extend(left_out.filter_map(|(name, _)| self.not_left_out(name)));
    }

    /// Adds what the process has to what the server shows: an argument is a proof where the
    /// engine's state is none.
    fn complete(&self, name: &str, requested: &Value, varied: bool, shown: &mut Effective) {
        if matches!(shown.proof, Some(FlagProof::Honoured | FlagProof::Overridden)) {
            return;
        }
        let echoed = self.echo(name).is_some();
        let found = |value: Option<&Value>, proof: FlagProof, source: &str| Effective {
            value: value.cloned(),
            proof: Some(proof),
            source: source.to_owned(),
        };
        if let Some(argument) = self.argument(name) {
            match agreement::passed(name, requested, argument, varied) {
                // The log has the value that was asked for, and is written later.
                Some(false) if echoed => {}
                Some(false) => *shown = found(Some(argument), FlagProof::Overridden, "process"),
                // What the engine chose for `auto` says more than the word.
                Some(true)
                    if shown.proof == Some(FlagProof::Unknown)
                        && is_scalar(requested)
                        && shown.value.is_some() =>
                {
                    shown.proof = Some(FlagProof::Passed);
                }
                Some(true) => *shown = found(Some(argument), FlagProof::Passed, "process"),
                // An argument that cannot be compared is shown, and proves nothing.
                None if shown.value.is_none() => {
                    *shown = found(Some(argument), FlagProof::Unknown, "process");
                }
                None => {}
            }
        } else if self.process.is_some() && !echoed {
            // The container's record has it, and the process does not.
            if shown.proof == Some(FlagProof::Echoed) {
                *shown = found(None, FlagProof::Unknown, "none");
            }
        } else if let Some(argument) = self.joined.and_then(|flags| flags.get(name))
            && shown.value.is_none()
            && agreement::passed(name, requested, argument, varied) == Some(true)
        {
            // Words that were joined do not show that a value is another one.
            *shown = found(Some(argument), FlagProof::Echoed, "process");
        }
    }

    /// Whether a varied flag with a value did not arrive.
    fn not_applied(&self, name: &str, requested: &Value) -> Option<NotApplied> {
        let asked = || words(name, requested);
        let echo = self.echo(name);
        let by_echo = echo.map(|shown| agreement::echoed(name, requested, shown, true));
        if let (Some(shown), Some(Some(false))) = (echo, by_echo) {
            let seen = format!("its log shows {}", words(name, shown));
            return Some(NotApplied { asked: asked(), seen });
        }
        self.process?;
        let seen = match self.argument(name) {
            // What cannot be compared is not shown to differ: `complete` leaves it unknown.
            Some(argument) if agreement::passed(name, requested, argument, true) != Some(false) => {
                return None;
            }
            _ if echo.is_some() => return None,
            Some(argument) => format!("its process runs with {}", words(name, argument)),
            None => "neither the arguments of its process nor its log has the flag".to_owned(),
        };
        Some(NotApplied { asked: asked(), seen })
    }

    /// Whether a flag that was to be left out (`null`) is passed all the same.
    fn not_left_out(&self, name: &str) -> Option<NotApplied> {
        if is_hidden(name) {
            return None;
        }
        let seen = match (self.argument(name), self.echo(name)) {
            (Some(argument), _) => format!("its process runs with {}", words(name, argument)),
            (None, Some(shown)) => format!("its log shows {}", words(name, shown)),
            (None, None) => return None,
        };
        Some(NotApplied { asked: format!("the configuration without --{name}"), seen })
    }

    fn judge_environment(&self, configuration: &Configuration, proof: &mut Proof) {
        let environment = self.process.and_then(|process| process.environment.as_ref());
        if self.process.is_some() && environment.is_none() && !configuration.environment.is_empty()
        {
            let note =
                "the environment of the vLLM process cannot be read: variables are not proven";
            proof.notes.push(note.to_owned());
        }
        for (name, asked) in &configuration.environment {
            let secret = flags::is_secret(name);
            let found = environment.map(|environment| environment.get(name));
            let (kind, source) = match found {
                Some(Some(value)) if value == asked => (FlagProof::Passed, "process"),
                None => (FlagProof::Unknown, "none"),
                Some(other) => {
                    proof.not_applied.push(variable_not_applied(name, asked, other, secret));
                    (FlagProof::Overridden, "process")
                }
            };
            if !secret {
                let value = found.flatten().map(|value| Value::from(value.as_str()));
                let shown = Effective { value, proof: Some(kind), source: source.to_owned() };
                proof.values.insert(format!("environment.{name}"), shown);
            }
        }
    }
}

fn variable_not_applied(
    name: &str,
    asked: &str,
    found: Option<&String>,
    secret: bool,
) -> NotApplied {
    let seen = match found {
        None => "its process does not have the variable".to_owned(),
        Some(_) if secret => "its process has another value".to_owned(),
        Some(value) => format!("its process has {name}={value}"),
    };
    let asked = if secret {
        format!("the variable {name}")
    } else {
        format!("the variable {name}={asked}")
    };
    NotApplied { asked, seen }
}

fn note_unknown_variables(configuration: &Configuration, log: &str, proof: &mut Proof) {
    let unknown = unknown_variables(log);
    let (varied, others): (Vec<&str>, Vec<&str>) =
        unknown.into_iter().partition(|name| configuration.environment.contains_key(*name));
    if !varied.is_empty() {
        proof.notes.push(format!(
            "this release of vLLM does not know the variable {}: it has no effect",
            varied.join(", ")
        ));
    }
    if !others.is_empty() {
        proof
            .notes
            .push(format!("vLLM warns of variables that it does not know: {}", others.join(", ")));
    }
}

/// Whether a flag's value never comes out of what is read.
fn is_hidden(name: &str) -> bool {
    name.split('.').any(flags::is_secret)
}

fn is_scalar(value: &Value) -> bool {
    !value.is_array() && !value.is_object()
}

/// A flag as it is passed; its value as it is where the flag takes none.
fn words(name: &str, value: &Value) -> String {
    let passed = flags::argv(&Flags::from_iter([(name.to_owned(), value.clone())]));
    if passed.is_empty() { format!("--{name} {value}") } else { passed.join(" ") }
}

#[cfg(test)]
#[path = "proof_tests.rs"]
mod tests;
