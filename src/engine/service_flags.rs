//! What a compose service asks for by itself: the base that a grid's flags are
//! laid over, and whether the service's command can take flags at all. Pure.

use std::collections::BTreeSet;

use super::command;
use super::compose::{ComposeError, ComposeSource, ServiceSpec};
use crate::configuration::{Configuration, Flags};
use crate::grid::ServiceBase;
use crate::secret::is_in_value;

/// What a compose service asks for by itself. A shell script is not read.
pub fn of(service: &ServiceSpec) -> ServiceBase {
    let command = service.command.as_deref().unwrap_or_default();
    let (model, flags) = match service.script_key() {
        Some(_) => (None, Flags::new()),
        None => command::read(command),
    };
    // What holds a secret stays in the service's own command, and only there.
    let flags = flags.into_iter().filter(|(_, value)| !is_in_value(value)).collect();
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

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
}
