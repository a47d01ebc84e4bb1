//! What a service's own command asks for, as flags: the base that a grid's flags
//! are laid over. Other than vLLM's parser it refuses nothing: an image may be of
//! another release than the table of flags. Keys never come out of here, nor
//! what the tool sets itself (address, model, served name). Pure.

use std::collections::BTreeSet;

use serde_json::Value;

use super::command::{is_option, spelling};
use super::compose::{ComposeError, ComposeSource, ServiceSpec};
use crate::configuration::{Configuration, Flags};
use crate::flags;
use crate::grid::ServiceBase;

/// Words that may stand before the model.
const PROGRAM: &[&str] = &["vllm", "serve"];

/// What a compose service asks for by itself. A shell script is not read.
pub fn of(service: &ServiceSpec) -> ServiceBase {
    let command = service.command.as_deref().unwrap_or_default();
    let (model, flags) = match service.script_key() {
        Some(_) => (None, Flags::new()),
        None => read(command),
    };
    ServiceBase { image: service.image.clone(), model, flags }
}

/// Refuses flags of the grid (those of its engine block, `own`, too) for a service
/// whose command is a shell script: the shell would ignore them, and all
/// configurations would be the same.
///
/// # Errors
/// The service, the place of its script and the flags.
pub fn check_script(
    service: &ServiceSpec,
    source: &ComposeSource,
    own: &Flags,
    configurations: &[Configuration],
) -> Result<(), ComposeError> {
    let Some(key) = service.script_key() else { return Ok(()) };
    let varied = configurations.iter().flat_map(|it| it.varied.keys());
    let flags: BTreeSet<&String> = own.keys().chain(varied).collect();
    if flags.is_empty() {
        return Ok(());
    }
    Err(ComposeError::FlagsOfScript {
        service: source.service.clone(),
        place: source.place_of(key),
        key,
        flags: flags.into_iter().cloned().collect(),
    })
}

/// The model and the flags of a command.
pub fn read(command: &[String]) -> (Option<String>, Flags) {
    let first = command.iter().position(|word| begins(word)).unwrap_or(command.len());
    let leading = command[..first].last().filter(|word| !PROGRAM.contains(&word.as_str()));
    let mut flags = Flags::new();
    let mut known: Vec<&[String]> = Vec::new();
    for option in options(&command[first..]) {
        let (Some(name), inline) = spelling(&option[0]) else { continue };
        let positive = name.strip_prefix("no-").unwrap_or(&name);
        if positive.split('.').any(flags::is_secret) {
            continue;
        }
        // A key of a JSON option stays one, so that the grid can replace it alone.
        if !name.contains('.') && flags::parse_argv(option).is_ok() {
            known.push(option);
            continue;
        }
        let (name, value) = match values(inline, &option[1..]) {
            Some(value) => (name, value),
            None if name == positive => (name, Value::Bool(true)),
            None => (positive.to_owned(), Value::Bool(false)),
        };
        flags.insert(name, value);
    }
    // Together where they can be: an option that is repeated adds up.
    let line = match flags::parse_argv(&known.concat()) {
        Ok(line) => vec![line],
        Err(_) => known.iter().filter_map(|option| flags::parse_argv(option).ok()).collect(),
    };
    let mut model = None;
    for part in line {
        model = part.model.or(model);
        flags.extend(part.flags);
    }
    flags.retain(|name, _| !flags::is_owned(name) && !flags::is_secret(name));
    (model.or(leading.cloned()), flags)
}

/// An option with the words that follow it, one after another.
fn options(command: &[String]) -> impl Iterator<Item = &[String]> {
    command.chunk_by(|_, next| !begins(next))
}

/// Whether an option begins here; one with `=` may have spaces in its value.
fn begins(word: &str) -> bool {
    is_option(word) || spelling(word).0.is_some()
}

/// The value of an option that the table does not know, as YAML would type it.
fn values(inline: Option<&str>, following: &[String]) -> Option<Value> {
    let typed = |text: &str| match serde_json::from_str(text) {
        Ok(Value::String(_) | Value::Null) | Err(_) => Value::from(text),
        Ok(value) => value,
    };
    match (inline, following) {
        (Some(text), _) => Some(typed(text)),
        (None, []) => None,
        (None, [text]) => Some(typed(text)),
        (None, texts) => Some(texts.iter().map(|text| typed(text)).collect()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_text(text: &str) -> (Option<String>, Value) {
        let (model, flags) = read(&shell_words::split(text).expect("the test quotes well"));
        (model, serde_json::to_value(flags).expect("JSON"))
    }

    #[test]
    fn a_production_command_is_read_without_its_key_and_its_address() {
        let (model, flags) = read_text(
            "Qwen/Qwen3-32B-AWQ --host 0.0.0.0 --port 5002 --api-key sk-1 sk-2 -tp 2 --max_model_len=131072 \
             --gpu-memory-utilization 0.85 --enable-prefix-caching --no-enable_chunked_prefill \
             --served-model-name q --hf-overrides '{\"a\": {\"b c\": 1.5}}' --max-num-seqs 32",
        );
        assert_eq!(model.as_deref(), Some("Qwen/Qwen3-32B-AWQ"));
        assert_eq!(
            flags,
            json!({
                "enable-chunked-prefill": false, "enable-prefix-caching": true,
                "gpu-memory-utilization": 0.85, "hf-overrides": {"a": {"b c": 1.5}},
                "max-model-len": 131_072, "max-num-seqs": 32, "tensor-parallel-size": 2
            })
        );
    }

    #[test]
    fn a_command_of_another_release_is_read_as_far_as_it_goes() {
        let (model, flags) = read_text(
            "serve --model m --gone_flag 3 --gone-text x --no-gone --gone-switch --enable-prefix-caching true \
             --compilation_config.level 3 --middleware a --middleware b --hf_token=t --max-num-seqs 4",
        );
        assert_eq!(model.as_deref(), Some("m"));
        assert_eq!(
            flags,
            json!({
                "compilation-config.level": 3, "enable-prefix-caching": true, "gone": false,
                "gone-flag": 3, "gone-switch": true, "gone-text": "x", "max-num-seqs": 4,
                "middleware": ["a", "b"]
            })
        );
    }

    fn script(entrypoint: &str, command: &str) -> ServiceSpec {
        let words = |text: &str| shell_words::split(text).expect("the test quotes well");
        ServiceSpec {
            image: "i:1".to_owned(),
            entrypoint: (!entrypoint.is_empty()).then(|| words(entrypoint)),
            command: (!command.is_empty()).then(|| words(command)),
            ..ServiceSpec::default()
        }
    }

    fn configuration(varied: &Value, environment: &[(&str, &str)]) -> Configuration {
        let varied: Flags = varied.as_object().expect("flags").clone().into_iter().collect();
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Configuration {
            name: "c".to_owned(),
            aliases: Vec::new(),
            id: "0".to_owned(),
            flags: varied.clone(),
            varied,
            environment: environment.iter().map(pair).collect(),
        }
    }

    #[test]
    fn a_script_is_not_read_as_flags() {
        for service in [
            script("/bin/bash -c", "'vllm serve m --port 8080 --api-key k --max-num-seqs 32'"),
            script("", "/bin/sh -c 'exec vllm serve m --max-num-seqs 32'"),
            script("sh -c", "vllm serve m --max-num-seqs 32"),
        ] {
            let base = of(&service);
            assert_eq!((base.model, base.flags), (None, Flags::new()), "{service:?}");
        }
    }

    #[test]
    fn flags_for_a_script_are_refused_with_the_service_and_its_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("c.yaml");
        let text = "services:\n  llm:\n    entrypoint: [/bin/sh, -c]\n    command:\n      - exec vllm serve m\n";
        std::fs::write(&file, text).expect("written");
        let source = ComposeSource {
            files: vec![file.clone()],
            profiles: Vec::new(),
            service: "llm".to_owned(),
        };
        let refusal = |service: &ServiceSpec, own: &Value, varied: &Value| {
            let own: Flags = own.as_object().expect("flags").clone().into_iter().collect();
            let all = [configuration(&json!({}), &[("A", "1")]), configuration(varied, &[])];
            check_script(service, &source, &own, &all).map_err(|error| error.to_string())
        };
        let (none, varied) = (json!({}), json!({"seed": 1, "max-num-seqs": null}));
        let place = file.display();
        let in_command = script("/bin/sh -c", "'exec vllm serve m --api-key k'");
        assert_eq!(
            refusal(&in_command, &none, &varied),
            Err(format!(
                "{place}:4: `command` of the service `llm` is a shell script, and flags in a script \
                 cannot be varied yet; take `max-num-seqs`, `seed` out of the grid, or write the \
                 command without a shell"
            ))
        );
        let in_entrypoint = script("bash -lc 'exec vllm serve m'", "");
        let refused = refusal(&in_entrypoint, &json!({"seed": 1}), &none).expect_err("refused");
        assert!(refused.starts_with(&format!("{place}:3: `entrypoint` of")), "{refused}");
        assert!(refused.contains("take `seed` out"), "{refused}");
        assert_eq!(refusal(&in_command, &none, &none), Ok(()), "only the environment is varied");
        assert_eq!(refusal(&script("vllm serve", "m"), &none, &varied), Ok(()));
        let passes_on = script("sh -c 'exec vllm serve \"$@\"' name", "m --seed 3");
        assert_eq!(refusal(&passes_on, &none, &varied), Ok(()), "flags arrive");
    }

    #[test]
    fn no_command_has_no_flags() {
        assert_eq!(read_text(""), (None, json!({})));
        assert_eq!(read_text("vllm serve"), (None, json!({})));
        assert_eq!(read_text("vllm serve m"), (Some("m".to_owned()), json!({})));
    }
}
