//! The command `simulate`: separates its own options from vLLM's arguments, and runs a
//! stand-alone server from the first log line to the exit code. The start itself is in
//! `boot`, the server in `http`.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::drift::Drift;
use super::faults::Faults;
use super::log::{Log, LogSink, Process};
use super::script::Script;
use super::spoil::Spoiled;
use super::{BootFailure, Ending, Options, boot, profile};
use crate::flags::canonical_name;

/// An option of the simulator's own that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ArgumentError(String);

/// The simulator's own options: name, value (empty for a switch), and what it does.
pub const OPTIONS: &[(&str, &str, &str)] = &[
    ("--sim-gpu", "NAME", "the GPU (default rtx-4090)"),
    ("--sim-gpus", "N", "how many of them (default 1)"),
    ("--sim-model", "NAME", "the known model to imitate under another name"),
    ("--sim-seed", "N", "seed of answers and noise (default 1)"),
    ("--sim-launch", "N", "number of the launch: launches of one seed differ in noise"),
    ("--sim-speed", "FACTOR", "how much faster than real time (default 1)"),
    ("--sim-drift", "SPEC", "how the machine's speed moves: see below"),
    ("--sim-other-memory", "GIB", "memory in use by other programs on every GPU"),
    ("--sim-answers", "FILE", "scripted answers (JSON)"),
    ("--sim-fail", "CLASS", "provoke a failure: the start ends this way"),
    ("--sim-boot-seconds", "SECONDS", "simulated seconds of the start"),
    ("--sim-silent-boot", "", "log nothing in the middle of the start"),
    ("--sim-override", "FLAG=VALUE", "run with this value instead of the requested one"),
    ("--sim-die-after", "N", "the engine dies after N tokens"),
    ("--sim-linger", "", "the API server of a dead engine stays"),
    ("--sim-exit-after", "N", "the process ends at once after N tokens"),
    ("--sim-exit-code", "CODE", "the code that it ends with then (default 0)"),
    ("--sim-freeze-after", "N", "the engine stops stepping after so many tokens"),
    ("--sim-freeze-seconds", "SECONDS", "and continues after so many simulated seconds"),
    ("--sim-silent-after", "N", "every answer falls silent after so many tokens"),
    ("--sim-unhealthy", "", "`/health` is 503"),
    ("--sim-die-on-second-chunk", "", "the engine dies on a prompt that is too long for one step"),
    ("--sim-spoil", "KIND,OPTION=VALUE,...", "chats that are not answered well: see below"),
    ("--sim-strangers", "SECONDS", "somebody else asks so often, in simulated seconds"),
];

/// Splits `args` into vLLM's own arguments and the simulator's options, which
/// start with `--sim-`. A leading `vllm`, `serve` is dropped. Variables that
/// vLLM reads are taken from `environment`.
///
/// # Errors
/// An unknown option, a bad or missing value.
pub fn command_line(
    args: &[String],
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<(Vec<String>, Options), ArgumentError> {
    let gpu = profile::gpu("rtx-4090").expect("the table has the default GPU");
    let mut options = Options::new(gpu);
    options.environment = environment
        .into_iter()
        .filter(|(name, _)| name.starts_with("VLLM_"))
        .collect::<BTreeMap<_, _>>();
    let mut rest = Vec::new();
    let mut args = args.iter().map(String::as_str).peekable();
    args.next_if_eq(&"vllm");
    args.next_if_eq(&"serve");
    while let Some(arg) = args.next() {
        let Some(option) = arg.strip_prefix("--sim-") else {
            rest.push(arg.to_owned());
            continue;
        };
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None if set_switch(&mut options.faults, option) => continue,
            None => (option, args.next()),
        };
        let value = value.ok_or_else(|| {
            ArgumentError(format!("argument --sim-{name}: expected one argument"))
        })?;
        set(&mut options, name, value)?;
    }
    Ok((rest, options))
}

fn set(options: &mut Options, name: &str, value: &str) -> Result<(), ArgumentError> {
    match name {
        "gpu" => {
            options.gpu = profile::gpu(value).ok_or_else(|| {
                let names: Vec<_> = profile::gpu_names().collect();
                ArgumentError(format!(
                    "argument --sim-gpu: '{value}' is not known (known: {})",
                    names.join(", ")
                ))
            })?;
        }
        "gpus" => options.gpus = number(name, value, |gpus: &u32| *gpus > 0)?,
        "seed" => options.seed = number(name, value, |_| true)?,
        "launch" => options.launch = number(name, value, |_| true)?,
        "speed" => {
            options.speed = number(name, value, |speed: &f64| speed.is_finite() && *speed > 0.0)?;
        }
        "other-memory" => {
            options.other_memory_gib =
                number(name, value, |gib: &f64| gib.is_finite() && *gib >= 0.0)?;
        }
        "drift" => {
            let drift = Drift::parse(value).map_err(|faults| {
                let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                ArgumentError(format!("argument --sim-drift: {}", faults.join("; ")))
            })?;
            options.drift = Some(drift);
        }
        "answers" => options.answers = script(value)?,
        "model" => options.model = Some(value.to_owned()),
        _ => return set_fault(&mut options.faults, name, value),
    }
    Ok(())
}

/// The scripted answers in a file.
fn script(path: &str) -> Result<Script, ArgumentError> {
    let error = |text: String| ArgumentError(format!("argument --sim-answers: {path}: {text}"));
    let text = crate::input::text(std::path::Path::new(path))
        .map_err(|source| error(source.to_string()))?;
    Script::read(&text).map_err(|source| error(source.to_string()))
}

/// Sets an option without a value; false where it is not one of these.
pub(super) fn set_switch(faults: &mut Faults, name: &str) -> bool {
    match name {
        "silent-boot" => faults.silent_boot = true,
        "unhealthy" => faults.unhealthy = true,
        "linger" => faults.lingers = true,
        "die-on-second-chunk" => faults.dies_on_second_chunk = true,
        _ => return false,
    }
    true
}

pub(super) fn set_fault(faults: &mut Faults, name: &str, value: &str) -> Result<(), ArgumentError> {
    let tokens = || number(name, value, |_| true).map(Some);
    let seconds = || number(name, value, |s: &f64| s.is_finite() && *s >= 0.0);
    match name {
        "fail" if !faults.fail(value) => {
            let classes: Vec<_> = super::faults::classes().collect();
            return Err(ArgumentError(format!(
                "argument --sim-fail: '{value}' is not known (known: {})",
                classes.join(", ")
            )));
        }
        "fail" => {}
        "boot-seconds" => faults.boot_seconds = Some(seconds()?),
        "freeze-seconds" => faults.freeze_seconds = Some(seconds()?),
        "strangers" => {
            faults.strangers = Some(number(name, value, |s: &f64| s.is_finite() && *s > 0.0)?);
        }
        "exit-after" => faults.exit_after = tokens()?,
        "exit-code" => faults.exit_code = number(name, value, |code| (0..256).contains(code))?,
        "spoil" => {
            let spoiled = Spoiled::parse(value)
                .map_err(|error| ArgumentError(format!("argument --sim-spoil: {error}")))?;
            faults.spoiled.push(spoiled);
        }
        "die-after" => faults.die_after = tokens()?,
        "freeze-after" => faults.freeze_after = tokens()?,
        "silent-after" => faults.silent_after = tokens()?,
        "override" => {
            let (flag, value) = value.split_once('=').ok_or_else(|| {
                ArgumentError("argument --sim-override: expected FLAG=VALUE".into())
            })?;
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            faults.overridden.insert(canonical_name(flag), value);
        }
        _ => {
            let known: Vec<&str> = OPTIONS.iter().map(|(name, _, _)| *name).collect();
            let known = known.join(", ");
            return Err(ArgumentError(format!(
                "unrecognized option --sim-{name} (known: {known})"
            )));
        }
    }
    Ok(())
}

fn number<T: std::str::FromStr>(
    name: &str,
    text: &str,
    valid: impl Fn(&T) -> bool,
) -> Result<T, ArgumentError> {
    text.parse()
        .ok()
        .filter(valid)
        .ok_or_else(|| ArgumentError(format!("argument --sim-{name}: invalid value: '{text}'")))
}

/// Runs a stand-alone server: starts it, serves on its host and port until
/// `cancel`, and returns the process's exit code.
pub async fn run(
    args: &[String],
    environment: impl IntoIterator<Item = (String, String)>,
    log: LogSink,
    cancel: CancellationToken,
) -> i32 {
    let (argv, options) = match command_line(args, environment) {
        Ok(split) => split,
        Err(error) => {
            log(&format!("vllm-grid simulate: error: {error}"));
            return 2;
        }
    };
    let booted = match boot(&argv, &options, LogSink::clone(&log), &cancel).await {
        Ok(booted) => booted,
        Err(BootFailure::Exited(code)) => return code,
        Err(BootFailure::Cancelled) => return 0,
    };
    let address = (booted.settings().host.clone(), booted.settings().port);
    let lines = Log::new(log);
    let failed = |error: std::io::Error| {
        lines.line(Process::ApiServer, "ERROR", "launcher.py:380", &format!("OSError: {error}"));
        1
    };
    match TcpListener::bind(address).await {
        Ok(listener) => booted.serve(listener, cancel).await.map_or_else(failed, Ending::code),
        Err(error) => failed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Result<(Vec<String>, Options), ArgumentError> {
        let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        command_line(&args, [("VLLM_API_KEY".into(), "k".into()), ("HOME".into(), "/".into())])
    }

    #[test]
    fn own_options_are_removed_and_the_rest_is_for_vllm() {
        let (rest, options) = split(
            "serve Qwen/Qwen3-8B --sim-gpu h100 --max-num-seqs 8 --sim-speed=10 --sim-gpus 2",
        )
        .unwrap();
        assert_eq!(rest, ["Qwen/Qwen3-8B", "--max-num-seqs", "8"]);
        assert_eq!((options.gpu.name, options.gpus, options.speed), ("h100", 2, 10.0));
        assert_eq!(options.environment.len(), 1, "only what vLLM reads");
    }

    #[test]
    fn errors_name_the_option() {
        for (line, message) in [
            ("m --sim-gpu rtx-3090", "argument --sim-gpu: 'rtx-3090' is not known"),
            ("m --sim-speed 0", "argument --sim-speed: invalid value: '0'"),
            ("m --sim-speed", "argument --sim-speed: expected one argument"),
            ("m --sim-drift wlak:sd=1%", "argument --sim-drift: `wlak` is no kind of drift"),
            ("m --sim-drift step:at=1,factor=x", "argument --sim-drift: `factor` must be"),
            ("m --sim-spoil loop,perod=3", "argument --sim-spoil: `perod` is not known of `loop`"),
            ("m --sim-sped 3", "unrecognized option --sim-sped"),
        ] {
            let error = split(line).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn every_listed_option_exists() {
        for (name, value, about) in OPTIONS {
            let line = format!("m {name} {}", if value.is_empty() { "" } else { "x=1" });
            let error = split(line.trim_end()).err().map(|error| error.to_string());
            let unknown = error.is_some_and(|error| error.starts_with("unrecognized"));
            assert!(!unknown && !about.is_empty(), "{name}");
        }
    }
}
