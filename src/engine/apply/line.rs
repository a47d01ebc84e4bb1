//! A tested configuration as one line of a shell: of the process engine's command, or of a
//! container of a plain image. Pure.

use crate::configuration::Configuration;
use crate::engine::command::overlay;
use crate::engine::service_view;
use crate::flags::{self, is_secret};
use crate::grid::{DockerBlock, ProcessBlock};
use crate::secret::{MASK, Secrets, is_in_arguments};

use super::ApplyError;

/// What starts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// As it is now, where something starts already.
    pub before: Option<String>,
    /// As it was tested.
    pub line: String,
}

const ADVICE: &str = "put it into a variable of the environment";

/// The process engine's command line: variables before it, those of secrets by their names.
///
/// # Errors
/// A secret stands in the command.
pub fn of_process(
    block: &ProcessBlock,
    configuration: &Configuration,
    secrets: &Secrets,
) -> Result<Line, ApplyError> {
    let view = service_view::of_process(&block.command);
    let asked = view.flags_of(configuration);
    let words = match view.unreadable() {
        None => view.overlaid(&asked).words(),
        Some(_) => overlay(&block.command, &asked),
    };
    let place = "the command of the engine `process`";
    check(&words, place, secrets)?;
    let mut all = variables(configuration, secrets)?;
    if let Some(name) = &block.api_key_env {
        all.push(format!("VLLM_API_KEY=\"${name}\""));
    }
    all.extend(words.iter().map(|word| quoted(word)));
    let before = block.command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    Ok(Line { before: Some(before), line: all.join(" ") })
}

/// The command line that runs a container of a plain image, as the sweep does.
///
/// # Errors
/// A secret stands in the arguments.
pub fn of_image(
    block: &DockerBlock,
    takes_model: bool,
    configuration: &Configuration,
    secrets: &Secrets,
) -> Result<Line, ApplyError> {
    let mut all = vec!["docker run".to_owned()];
    if block.gpus.unwrap_or(true) {
        all.push("--gpus all".to_owned());
    }
    all.push("-p 8000:8000".to_owned());
    for variable in variables(configuration, secrets)? {
        all.push(format!("-e {variable}"));
    }
    if let Some(name) = &block.api_key_env {
        all.push(format!("-e VLLM_API_KEY=\"${name}\""));
    }
    all.push(quoted(block.image.as_deref().unwrap_or_default()));
    let mut words = Vec::new();
    if let Some(model) = &block.model {
        words.extend((!takes_model).then(|| "--model".to_owned()));
        words.push(model.clone());
    }
    words.extend(["--host", "0.0.0.0", "--port", "8000"].map(str::to_owned));
    words.extend(flags::argv(&configuration.flags));
    check(&words, "the grid", secrets)?;
    all.extend(words.iter().map(|word| quoted(word)));
    Ok(Line { before: None, line: all.join(" ") })
}

fn check(words: &[String], place: &str, secrets: &Secrets) -> Result<(), ApplyError> {
    let is_found = is_in_arguments(words.iter().map(String::as_str))
        || words.iter().any(|word| secrets.find(word).is_some());
    if words.iter().any(|word| word == MASK) {
        return Err(ApplyError::Masked("the value of a flag".to_owned()));
    }
    if is_found {
        let what = "the value of a secret".to_owned();
        return Err(ApplyError::Secret { place: place.to_owned(), what, advice: ADVICE });
    }
    Ok(())
}

/// `NAME=value` of each variable that the configuration sets.
fn variables(configuration: &Configuration, secrets: &Secrets) -> Result<Vec<String>, ApplyError> {
    let variable = |(name, value): (&String, &String)| {
        if is_secret(name) {
            return Ok(format!("{name}=\"${name}\""));
        }
        if value == MASK {
            return Err(ApplyError::Masked(format!("the value of {name}")));
        }
        if secrets.find(value).is_some() {
            let (place, what) = ("the grid".to_owned(), format!("the value of {name}"));
            return Err(ApplyError::Secret { place, what, advice: ADVICE });
        }
        Ok(format!("{name}={}", quoted(value)))
    };
    configuration.environment.iter().map(variable).collect()
}

fn quoted(word: &str) -> String {
    shell_words::quote(word).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::configuration::Flags;

    fn configuration() -> Configuration {
        let flags = Flags::from([
            ("max-num-seqs".to_owned(), json!(8)),
            ("speculative-config".to_owned(), json!({"method": "it's"})),
        ]);
        let environment =
            [("A".to_owned(), "x y".to_owned()), ("HF_TOKEN".to_owned(), MASK.to_owned())];
        Configuration {
            varied: flags.clone(),
            flags,
            environment: environment.into(),
            ..Configuration::default()
        }
    }

    #[test]
    fn a_process_has_its_variables_before_it_and_secrets_by_name() {
        let block = ProcessBlock {
            command: ["vllm", "serve", "m", "--max-num-seqs", "4", "--seed", "1"]
                .map(str::to_owned)
                .into(),
            api_key_env: Some("SERVE_KEY".to_owned()),
            ..ProcessBlock::default()
        };
        let line = of_process(&block, &configuration(), &Secrets::default()).expect("no secret");
        assert_eq!(line.before.as_deref(), Some("vllm serve m --max-num-seqs 4 --seed 1"));
        assert_eq!(
            line.line,
            "A='x y' HF_TOKEN=\"$HF_TOKEN\" VLLM_API_KEY=\"$SERVE_KEY\" vllm serve m --max-num-seqs 8 \
             --seed 1 --speculative-config '{\"method\":\"it'\\''s\"}'"
        );
        let open = ProcessBlock {
            command: ["vllm", "serve", "m", "--hf-token", "hf_abcdefgh"].map(str::to_owned).into(),
            ..block
        };
        let refused = of_process(&open, &configuration(), &Secrets::default());
        assert!(matches!(refused, Err(ApplyError::Secret { .. })), "{refused:?}");
    }

    #[test]
    fn a_container_of_an_image_is_run_as_the_sweep_runs_it() {
        let block = DockerBlock {
            image: Some("vllm:1".to_owned()),
            model: Some("org/m".to_owned()),
            ..DockerBlock::default()
        };
        let own = Configuration {
            environment: [("A".to_owned(), "$1".to_owned())].into(),
            ..configuration()
        };
        let line = of_image(&block, true, &own, &Secrets::default()).expect("no secret").line;
        assert_eq!(
            line,
            "docker run --gpus all -p 8000:8000 -e A='$1' vllm:1 org/m --host 0.0.0.0 --port 8000 \
             --max-num-seqs 8 --speculative-config '{\"method\":\"it'\\''s\"}'"
        );
        let old = DockerBlock { gpus: Some(false), ..block };
        let line = of_image(&old, false, &own, &Secrets::default()).expect("no secret").line;
        assert!(
            line.starts_with("docker run -p 8000:8000 ") && line.contains(" --model org/m "),
            "{line}"
        );
    }
}
