//! The built program under kills, and under a long night. Sweeps are killed by SIGKILL at
//! random moments, and on Docker before and after calls of the engine, recovered and resumed
//! until they are complete, and compared with an undisturbed one: on the simulated engine, on
//! the process engine, and on Docker with a production that must run again. The soak is one sweep of many launches on Docker.
//! `cargo bench --bench crash -- [simulated|process|docker|soak]... [--count N] [--seed S]
//! [--output FOLDER]`; the count is of kills, or of the soak's launches.
//!
//! The exit status is 1 where a promise is broken. Each part writes one line of figures to
//! `FOLDER/crash-NAME.json`, or `FOLDER/soak.json`. Kills at every single point are in
//! `src/crash`, where a process can be killed between two system calls.

mod calls;
mod compared;
mod containers;
mod nights;
mod place;
mod processes;
#[allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "shared with the tests, which use more of it"
)]
#[path = "../../tests/support/proxy.rs"]
mod proxy;
mod soak;

use std::path::PathBuf;
use std::process::ExitCode;

/// The seed of what is reported.
const SEED: u64 = 20_261_128;

/// What can be asked for.
const PARTS: [&str; 4] = ["simulated", "process", "docker", "soak"];

/// What was asked for.
pub(crate) struct Asked {
    names: Vec<&'static str>,
    pub(crate) count: Option<usize>,
    pub(crate) seed: u64,
    output: Option<PathBuf>,
}

impl Asked {
    fn of(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut asked = Self { names: Vec::new(), count: None, seed: SEED, output: None };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            let number = |text: String| text.parse::<u64>().map_err(|it| format!("{text}: {it}"));
            match argument.as_str() {
                "--count" => asked.count = Some(number(value()?)? as usize),
                "--seed" => asked.seed = number(value()?)?,
                "--output" => asked.output = Some(value()?.into()),
                // What cargo adds.
                "--bench" => {}
                other => match PARTS.into_iter().find(|part| *part == other) {
                    Some(part) => asked.names.push(part),
                    None => return Err(format!("unknown argument {other}")),
                },
            }
        }
        if asked.names.is_empty() {
            asked.names = vec!["simulated", "process"];
        }
        Ok(asked)
    }

    /// Keeps a line of figures for the document.
    pub(crate) fn write(&self, name: &str, line: &serde_json::Value) {
        let Some(folder) = &self.output else { return };
        std::fs::create_dir_all(folder).expect("the output's folder can be made");
        let path = folder.join(format!("{name}.json"));
        std::fs::write(&path, format!("{line}\n")).expect("the output's folder can be written");
    }
}

fn main() -> ExitCode {
    let asked = match Asked::of(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    let mut kept = true;
    for name in &asked.names {
        kept &= match *name {
            "soak" => soak::run(&asked),
            name => nights::run(&asked, name),
        };
    }
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
