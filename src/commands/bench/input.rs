//! What `bench` was given: read and checked before anything is asked of the server,
//! with every error in one pass.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};
use vllm_grid::results::records;
use vllm_grid::server::{ApiKey, GpuIds, Trust};
use vllm_grid::telemetry::{gpus_seen, unknown_gpus};
use vllm_grid::workload::{Datasets, KINDS, OptionError, RequestFields, SHARED_OPTIONS, Workload};

use crate::cli::BenchArgs;
use crate::exit::{CommandError, Exit};

/// What `bench` was given.
#[derive(Debug)]
pub(super) struct BenchInput {
    pub(super) workloads: Vec<Workload>,
    /// The files with their prompts.
    pub(super) datasets: Datasets,
    pub(super) api_key: Option<ApiKey>,
    /// Which certificates are believed.
    pub(super) trust: Trust,
    /// The GPUs that are looked at; `None`: all.
    pub(super) gpus: Option<GpuIds>,
}

impl BenchInput {
    /// Reads and checks all of it.
    pub(super) async fn read(args: &BenchArgs) -> Result<Self, CommandError> {
        let mut errors = Vec::new();
        let options = options(&args.set, &mut errors);
        let common = args.request.as_deref().map(|text| request(text, &mut errors));
        let common = common.unwrap_or_default();
        let (mut workloads, datasets) = workloads(&args.workload, &options, &mut errors);
        for workload in &mut workloads {
            *workload = workload.clone().with_request(&common, &options_of(workload, &options));
            errors.extend(workload.unsent());
        }
        let api_key = args.api_key_env.as_deref().and_then(|name| api_key(name, &mut errors));
        let trust = trust(args, &mut errors);
        errors.extend(args.records.as_deref().and_then(not_writable));
        let listed = args.local_gpus.as_deref().filter(|listed| *listed != "all");
        if let Some(listed) = listed {
            let unknown = unknown_gpus(listed, &gpus_seen().await);
            errors.extend(unknown.map(|what| format!("--local-gpus {listed}: {what}")));
        }
        if errors.is_empty() {
            Ok(Self { workloads, datasets, api_key, trust, gpus: listed.map(GpuIds::listed) })
        } else {
            Err(CommandError::message(Exit::Usage, errors.join("\n")))
        }
    }
}

/// The fields of `--request`. A text that is no JSON is not shown: it may have a secret in it.
fn request(text: &str, errors: &mut Vec<String>) -> RequestFields {
    let read = match serde_json::from_str(text) {
        Ok(Value::Object(given)) => RequestFields::read(&given),
        Ok(_) => {
            errors.push("--request must be a JSON object: '{\"temperature\": 0.7}'".to_owned());
            return RequestFields::default();
        }
        Err(error) => {
            errors.push(format!("--request is no JSON: {error}"));
            return RequestFields::default();
        }
    };
    read.unwrap_or_else(|refused| {
        errors.extend(refused.into_iter().map(|error| format!("--request: {}", error.message)));
        RequestFields::default()
    })
}

/// The options that were given and that a workload knows.
fn options_of(workload: &Workload, options: &Map<String, Value>) -> Map<String, Value> {
    let its = options.iter().filter(|(option, _)| workload.kind().takes(option));
    its.map(|(option, value)| (option.clone(), value.clone())).collect()
}

/// The key comes from the environment: an argument is visible to every user of the machine.
fn api_key(name: &str, errors: &mut Vec<String>) -> Option<ApiKey> {
    let key = std::env::var(name).ok().filter(|key| !key.is_empty());
    if key.is_none() {
        errors.push(format!("the variable {name} (--api-key-env) is not set, or empty"));
    }
    key.map(ApiKey::new)
}

/// The system's authorities, and what `--ca-file` has.
fn trust(args: &BenchArgs, errors: &mut Vec<String>) -> Trust {
    let Some(path) = args.ca_file.as_deref() else { return Trust::default() };
    let is_https = args.url.get(..6).is_some_and(|it| it.eq_ignore_ascii_case("https:"));
    if !is_https {
        errors.push("--ca-file is for an address that begins with https://".to_owned());
    }
    Trust::with_file(path).unwrap_or_else(|error| {
        errors.push(format!("--ca-file {error}"));
        Trust::default()
    })
}

/// Known only in the end, it would cost what was measured.
fn not_writable(path: &Path) -> Option<String> {
    records::check_place(path).err().map(|error| format!("--records {error}"))
}

/// The workloads named, or all, and the files with their prompts; options go to
/// those that know them.
fn workloads(
    named: &[String],
    options: &Map<String, Value>,
    errors: &mut Vec<String>,
) -> (Vec<Workload>, Datasets) {
    let names: Vec<String> = if named.is_empty() {
        KINDS.iter().map(|kind| kind.name.to_owned()).collect()
    } else {
        named.to_vec()
    };
    let (mut workloads, mut datasets) = (Vec::new(), Datasets::default());
    let mut wanted: BTreeSet<&String> = options.keys().collect();
    for name in &names {
        // Of several workloads each takes the options that it knows; one alone must know all.
        let kind = KINDS.iter().find(|kind| kind.name == name.replace('_', "-"));
        let knows = |option: &String| {
            let all = kind.map_or(&[][..], |kind| kind.options).iter().chain(SHARED_OPTIONS);
            names.len() == 1 || all.into_iter().any(|known| known.name == option)
        };
        let its: Map<String, Value> = options
            .iter()
            .filter(|(option, _)| knows(option))
            .map(|(option, value)| (option.clone(), value.clone()))
            .collect();
        wanted.retain(|option| !its.contains_key(*option));
        let read = Workload::from_options(name, &its).or_else(|found| {
            let rest = without(&its, &found);
            errors.extend(found.into_iter().map(|error| error.message));
            rest.and_then(|rest| Workload::from_options(name, &rest).ok()).ok_or(())
        });
        if let Ok(workload) = read {
            let checked = datasets.check(&workload);
            errors.extend(checked.err().map(|error| format!("{name}: {error}")));
            workloads.push(workload);
        }
    }
    for option in wanted {
        errors.push(format!("no workload of these has an option `{option}`: {}", names.join(", ")));
    }
    (workloads, datasets)
}

/// Options without those that have errors, so that the file among them is looked at,
/// too.
fn without(options: &Map<String, Value>, errors: &[OptionError]) -> Option<Map<String, Value>> {
    let mut rest = options.clone();
    rest.retain(|option, _| errors.iter().all(|error| error.key != *option));
    (rest.len() < options.len()).then_some(rest)
}

fn options(set: &[String], errors: &mut Vec<String>) -> Map<String, Value> {
    let mut options = Map::new();
    for text in set {
        let Some((name, value)) = text.split_once('=') else {
            errors.push(format!("--set {text}: write it as name=value"));
            continue;
        };
        let name = name.replace('_', "-");
        let value = read(value, takes_several(&name));
        if options.insert(name.clone(), value).is_some() {
            errors.push(format!("--set {name} is given twice"));
        }
    }
    options
}

/// Whether an option of this name takes several values, in any workload.
fn takes_several(name: &str) -> bool {
    let all = KINDS.iter().flat_map(|kind| kind.options).chain(SHARED_OPTIONS);
    all.filter(|option| option.name == name).any(|option| option.kind.several())
}

/// A value as JSON, or as a text; `8,16` where several are taken. A list of texts that
/// have commas is written as JSON: `["a,b","c"]`.
fn read(text: &str, several: bool) -> Value {
    let one =
        |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
    match one(text) {
        Value::String(_) if several && text.contains(',') => text.split(',').map(one).collect(),
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn commas_part_the_values_of_options_that_take_several() {
        let given = [
            "concurrency=8,16",
            "dataset=a,b.jsonl",
            r#"command=["sh","-c","a,b"]"#,
            "prompt_tokens=64",
            "scenarios=single,chain",
        ];
        let mut errors = Vec::new();
        let read = options(&given.map(str::to_owned), &mut errors);
        assert_eq!(errors, [""; 0]);
        assert_eq!(
            Value::Object(read),
            json!({
                "concurrency": [8, 16], "dataset": "a,b.jsonl", "command": ["sh", "-c", "a,b"],
                "prompt-tokens": 64, "scenarios": ["single", "chain"],
            })
        );
    }
}
