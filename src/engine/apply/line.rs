//! A tested configuration as one line of a shell: of the process engine's command, or of a
//! container of a plain image. Pure.

use crate::configuration::Configuration;
use crate::engine::command::overlay;
use crate::engine::service_view;
use crate::flags::{self, is_secret};
use crate::grid::{DockerBlock, ProcessBlock};
use crate::secret::{Secrets, is_in_arguments, is_masked};

use super::ApplyError;

/// What starts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// As it is now, where something starts already.
    pub before: Option<String>,
    /// As it was tested.
    pub line: String,
}

/// Where vLLM's server reads its key.
const KEY: &str = "VLLM_API_KEY";

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
    let own = variables(configuration, secrets)?;
    let mut all: Vec<String> = own.iter().map(Variable::before_a_command).collect();
    if let Some(name) = &block.api_key_env {
        all.push(format!("{KEY}=\"${name}\""));
    }
    all.extend(words.iter().map(|word| quoted(word)));
    let before = block.command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    Ok(Line { before: Some(before), line: all.join(" ") })
}

/// The command line that runs a container of a plain image with the arguments, the variables
/// and the published address of the sweep's. Secrets are taken from the shell by their names:
/// what stands in the arguments, every user of the machine can read.
///
/// # Errors
/// A secret stands in the arguments.
pub fn of_image(
    block: &DockerBlock,
    takes_model: bool,
    configuration: &Configuration,
    secrets: &Secrets,
) -> Result<Line, ApplyError> {
    let mut all = Vec::new();
    let key = block.api_key_env.as_deref();
    if let Some(name) = key.filter(|name| *name != KEY) {
        all.push(format!("{KEY}=\"${name}\""));
    }
    all.push("docker run".to_owned());
    if block.gpus.unwrap_or(true) {
        all.push("--gpus all".to_owned());
    }
    // Without the address the server is open to the network.
    all.push("-p 127.0.0.1:8000:8000".to_owned());
    for variable in variables(configuration, secrets)? {
        all.push(format!("-e {}", variable.for_docker()));
    }
    all.extend(key.map(|_| format!("-e {KEY}")));
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
    if words.iter().any(|word| is_masked(word)) {
        return Err(ApplyError::Masked("the value of a flag".to_owned()));
    }
    if is_found {
        let what = "the value of a secret".to_owned();
        return Err(ApplyError::Secret { place: place.to_owned(), what, advice: ADVICE });
    }
    Ok(())
}

/// A variable that the configuration sets.
enum Variable<'a> {
    Plain(&'a str, &'a str),
    /// Its value is the shell's.
    Secret(&'a str),
}

impl Variable<'_> {
    fn before_a_command(&self) -> String {
        match self {
            Self::Plain(name, value) => format!("{name}={}", quoted(value)),
            Self::Secret(name) => format!("{name}=\"${name}\""),
        }
    }

    fn for_docker(&self) -> String {
        match self {
            Self::Plain(name, value) => format!("{name}={}", quoted(value)),
            Self::Secret(name) => (*name).to_owned(),
        }
    }
}

fn variables<'a>(
    configuration: &'a Configuration,
    secrets: &Secrets,
) -> Result<Vec<Variable<'a>>, ApplyError> {
    let variable = |(name, value): (&'a String, &'a String)| {
        if is_secret(name) {
            return Ok(Variable::Secret(name));
        }
        if is_masked(value) {
            return Err(ApplyError::Masked(format!("the value of {name}")));
        }
        if secrets.find(value).is_some() {
            let (place, what) = ("the grid".to_owned(), format!("the value of {name}"));
            return Err(ApplyError::Secret { place, what, advice: ADVICE });
        }
        Ok(Variable::Plain(name, value))
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
    use crate::secret::MASK;

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
            "docker run --gpus all -p 127.0.0.1:8000:8000 -e A='$1' vllm:1 org/m --host 0.0.0.0 --port 8000 \
             --max-num-seqs 8 --speculative-config '{\"method\":\"it'\\''s\"}'"
        );
        let old = DockerBlock { gpus: Some(false), ..block };
        let line = of_image(&old, false, &own, &Secrets::default()).expect("no secret").line;
        assert!(
            line.starts_with("docker run -p 127.0.0.1:8000:8000 ")
                && line.contains(" --model org/m "),
            "{line}"
        );
    }

    #[test]
    fn a_container_takes_secrets_by_name_and_none_stands_in_its_arguments() {
        let block = DockerBlock {
            image: Some("vllm:1".to_owned()),
            api_key_env: Some("SERVE_KEY".to_owned()),
            ..DockerBlock::default()
        };
        let of = |block: &DockerBlock| {
            of_image(block, true, &configuration(), &Secrets::default()).expect("no secret").line
        };
        let line = of(&block);
        let head = "VLLM_API_KEY=\"$SERVE_KEY\" docker run --gpus all ";
        let arguments = line.strip_prefix(head).expect("the key stands before the command");
        assert!(arguments.contains(" -e A='x y' -e HF_TOKEN -e VLLM_API_KEY vllm:1 "), "{line}");
        assert!(!arguments.contains('$'), "{line}");
        let own = DockerBlock { api_key_env: Some("VLLM_API_KEY".to_owned()), ..block };
        let line = of(&own);
        assert!(line.starts_with("docker run ") && line.contains(" -e VLLM_API_KEY "), "{line}");
    }

    #[test]
    fn a_value_that_is_masked_in_part_is_refused() {
        let block = DockerBlock { image: Some("vllm:1".to_owned()), ..DockerBlock::default() };
        let partly = format!("https://{MASK}@host/x");
        let flags = Flags::from([("override".to_owned(), json!(partly))]);
        let environment = [("A".to_owned(), partly)].into();
        for own in [
            Configuration { flags, ..Configuration::default() },
            Configuration { environment, ..Configuration::default() },
        ] {
            let refused = of_image(&block, true, &own, &Secrets::default());
            assert!(matches!(refused, Err(ApplyError::Masked(_))), "{refused:?}");
        }
    }
}
