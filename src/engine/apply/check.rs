//! What runs compared with what was tested: each flag with the value that is shown and its
//! proof, each variable, the image. It looks, and changes nothing.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::configuration::Configuration;
use crate::engine::compose::ComposeSource;
use crate::engine::docker::daemon::{DaemonSettings, connect};
use crate::engine::docker::{DockerError, DockerProduction, Running, key_of};
use crate::engine::process::server_of_machine;
use crate::engine::production::ProductionError;
use crate::engine::readiness::over_http;
use crate::engine::{EngineError, api_key};
use crate::flags::{is_owned, is_secret};
use crate::grid::{DockerBlock, ProductionName};
use crate::secret::Secrets;
use crate::server::effective::{self, Effective, EffectiveValues, FlagProof, add_inspected};
use crate::server::proof::{ProcessReading, Proof, prove};
use crate::server::{Endpoint, Server, ServerError};

/// Why nothing can be compared.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It does not run.
    #[error("{0} does not run")]
    NotRunning(String),
    /// It does not run, or the daemon does not answer.
    #[error(transparent)]
    Production(#[from] ProductionError),
    /// The daemon cannot be asked.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// A key that is not set.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The server does not answer.
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// One thing that was tested, and what runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// Its name: `--max-num-seqs`, `NCCL_P2P_DISABLE`, `image`.
    pub name: String,
    /// As it was tested; `None` where it was not a part of that.
    pub tested: Option<String>,
    /// As it runs, as far as that is shown.
    pub runs: Option<String>,
    /// How it is known.
    pub proof: &'static str,
    /// Whether it is shown to be another one.
    pub differs: bool,
}

/// What runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// What was looked at.
    pub what: String,
    /// All that was tested, and what runs besides.
    pub all: Vec<Compared>,
    /// What a person should know, one sentence each.
    pub notes: Vec<String>,
}

impl Checked {
    /// What of it is shown.
    pub fn shown(&self) -> impl Iterator<Item = &Compared> {
        self.all.iter().filter(|it| it.proof != FlagProof::Unknown.as_str())
    }

    /// Whether all of it is shown, and nothing differs.
    pub fn is_equal(&self) -> bool {
        !self.all.is_empty()
            && self.differences().next().is_none()
            && self.shown().count() == self.all.len()
    }

    /// What is shown to differ.
    pub fn differences(&self) -> impl Iterator<Item = &Compared> {
        self.all.iter().filter(|it| it.differs)
    }
}

/// The running container of a service.
///
/// # Errors
/// It does not run, or cannot be asked.
pub async fn of_service(
    block: &DockerBlock,
    source: ComposeSource,
    configuration: &Configuration,
    image_id: Option<&str>,
    secrets: &Secrets,
) -> Result<Checked, CheckError> {
    let docker = connect(&DaemonSettings::of_environment()).await.map_err(DockerError::from)?;
    let key = key_of(block, Some(&source)).unwrap_or_default();
    let service = source.service.clone();
    let name = ProductionName::Service(service.clone());
    let container = DockerProduction::new(docker, name, Some(source), key, over_http());
    let variables: Vec<String> = configuration.environment.keys().cloned().collect();
    let seen = container.running(&variables, secrets).await?;
    let seen = seen.ok_or_else(|| CheckError::NotRunning(format!("the service `{service}`")))?;
    let (values, answers) = values(seen.endpoint.clone(), configuration).await;
    let mut checked = compared(&seen, values, configuration, image_id);
    checked.what = format!("container {}", seen.name);
    if let Some(why) = answers {
        // What starts for minutes can be compared by its arguments, but is not ready.
        checked.notes.push(format!("the server does not answer: {why}"));
    }
    Ok(checked)
}

async fn values(
    endpoint: Option<Endpoint>,
    configuration: &Configuration,
) -> (EffectiveValues, Option<String>) {
    let Some(endpoint) = endpoint else {
        return (EffectiveValues::new(), Some("it has no address".to_owned()));
    };
    match Server::open(endpoint, None).await {
        Ok(server) => (effective::of(&server, None, &configuration.flags).await, None),
        Err(error) => (EffectiveValues::new(), Some(error.to_string())),
    }
}

fn compared(
    seen: &Running,
    mut values: EffectiveValues,
    configuration: &Configuration,
    image_id: Option<&str>,
) -> Checked {
    add_inspected(&mut values, &seen.inspected);
    let proof = prove(configuration, values, None, &seen.process);
    let mut all = Vec::new();
    if let Some(tested) = image_id {
        all.push(exact("image", tested, &seen.inspected.image, "inspected"));
    }
    if let (Some(tested), Some(runs)) = (&configuration.model, &seen.model) {
        all.push(exact("model", tested, runs, "inspected"));
    }
    rows(configuration, &proof, &seen.process, &mut all);
    for row in &mut all {
        // Without the process's own environment the container's record has it. That is whole:
        // what is not in it was not set.
        let is_variable = configuration.environment.contains_key(&row.name);
        if is_variable && row.proof == FlagProof::Unknown.as_str() {
            let value = seen.environment.get(&row.name);
            row.differs = row.tested.as_ref() != value;
            (row.runs, row.proof) = (value.cloned(), "inspected");
        }
    }
    Checked { what: String::new(), all, notes: proof.notes }
}

fn exact(name: &str, tested: &str, runs: &str, proof: &'static str) -> Compared {
    Compared {
        name: name.to_owned(),
        tested: Some(tested.to_owned()),
        runs: Some(runs.to_owned()),
        proof,
        differs: tested != runs,
    }
}

/// A server at an address. Its process is looked for where that is on this machine.
///
/// # Errors
/// It does not answer, or its key is not set.
pub async fn of_url(
    url: &str,
    key_variable: Option<&str>,
    configuration: &Configuration,
    secrets: &Secrets,
) -> Result<Checked, CheckError> {
    let key = api_key(key_variable)?;
    if let Some(key) = &key {
        secrets.add(key.reveal());
    }
    let endpoint = Endpoint::new(url, key);
    let server = Server::open(endpoint, None).await?;
    let values = effective::of(&server, None, &configuration.flags).await;
    let variables: Vec<String> = configuration.environment.keys().cloned().collect();
    let process = if server.endpoint.is_loopback() {
        server_of_machine(&server.endpoint.base_url, &variables).await
    } else {
        ProcessReading::Unreadable("it is on another machine".to_owned())
    };
    let proof = prove(configuration, values, None, &process);
    let mut all = Vec::new();
    rows(configuration, &proof, &process, &mut all);
    Ok(Checked { what: server.endpoint.base_url, all, notes: proof.notes })
}

/// Each flag and variable that was tested, and the flags that run besides.
fn rows(
    configuration: &Configuration,
    proof: &Proof,
    process: &ProcessReading,
    all: &mut Vec<Compared>,
) {
    let of_process = match process {
        ProcessReading::Whole(process) => Some(&process.flags),
        _ => None,
    };
    for (name, value) in configuration.flags.iter().filter(|(_, value)| !value.is_null()) {
        if is_hidden(name) {
            continue;
        }
        let shown = proof.values.get(name);
        let is_lost = of_process
            .is_some_and(|flags| !flags.contains_key(name) && !flags.contains_key("config"));
        all.push(row(format!("--{name}"), text(value), shown, is_lost));
    }
    for (name, value) in configuration.environment.iter().filter(|(name, _)| !is_secret(name)) {
        let shown = proof.values.get(&format!("environment.{name}"));
        all.push(row(name.clone(), value.clone(), shown, false));
    }
    // A varied flag that was left out, and others that nobody tested.
    let tested: BTreeSet<&String> =
        configuration.flags.iter().filter(|(_, it)| !it.is_null()).map(|(name, _)| name).collect();
    for (name, value) in of_process.into_iter().flatten() {
        if !tested.contains(name) && !is_hidden(name) && !is_owned(name) && name != "model" {
            all.push(Compared {
                name: format!("--{name}"),
                tested: None,
                runs: Some(text(value)),
                proof: FlagProof::Passed.as_str(),
                differs: true,
            });
        }
    }
}

fn row(name: String, tested: String, shown: Option<&Effective>, is_lost: bool) -> Compared {
    let proof = shown.and_then(|it| it.proof).unwrap_or(FlagProof::Unknown);
    let runs = shown.and_then(|it| it.value.as_ref()).map(text);
    let unproven = matches!(proof, FlagProof::Unknown | FlagProof::Echoed);
    let differs = proof == FlagProof::Overridden || (is_lost && unproven);
    Compared { name, tested: Some(tested), runs, proof: proof.as_str(), differs }
}

fn is_hidden(name: &str) -> bool {
    name.split('.').any(is_secret)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::configuration::Flags;
    use crate::server::effective::Inspected;
    use crate::server::proof::ServerProcess;

    fn configuration() -> Configuration {
        let flags =
            Flags::from([("max-num-seqs".to_owned(), json!(8)), ("seed".to_owned(), json!(1))]);
        Configuration {
            varied: Flags::from([("max-num-seqs".to_owned(), json!(8))]),
            flags,
            environment: [("A".to_owned(), "1".to_owned())].into(),
            model: Some("m".to_owned()),
            ..Configuration::default()
        }
    }

    fn running(flags: &[(&str, Value)], variable: &str) -> Checked {
        let flags: Flags =
            flags.iter().map(|(name, it)| ((*name).to_owned(), it.clone())).collect();
        let environment = Some([("A".to_owned(), variable.to_owned())].into());
        let seen = Running {
            name: "c".to_owned(),
            endpoint: None,
            inspected: Inspected { image: "sha256:1".to_owned(), flags: flags.clone() },
            model: Some("m".to_owned()),
            process: ProcessReading::Whole(ServerProcess { flags, environment }),
            environment: std::collections::BTreeMap::new(),
        };
        compared(&seen, EffectiveValues::new(), &configuration(), Some("sha256:1"))
    }

    /// One whose process cannot be read, with what the container's record has.
    fn recorded(variables: &[(&str, &str)]) -> Checked {
        let flags = Flags::from([("max-num-seqs".to_owned(), json!(8))]);
        let own = variables.iter().map(|(name, it)| ((*name).to_owned(), (*it).to_owned()));
        let seen = Running {
            name: "c".to_owned(),
            endpoint: None,
            inspected: Inspected { image: "sha256:1".to_owned(), flags },
            model: Some("m".to_owned()),
            process: ProcessReading::Unreadable("another user's".to_owned()),
            environment: own.collect(),
        };
        compared(&seen, EffectiveValues::new(), &configuration(), Some("sha256:1"))
    }

    #[test]
    fn a_variable_that_the_container_s_record_lacks_differs() {
        let checked = recorded(&[]);
        assert_eq!(differing(&checked), ["A"]);
        let row = checked.differences().next().expect("one");
        assert_eq!((row.runs.as_deref(), row.proof), (None, "inspected"));
        assert_eq!(differing(&recorded(&[("A", "2")])), ["A"]);
        assert_eq!(differing(&recorded(&[("A", "1")])), [""; 0]);
    }

    #[test]
    fn what_is_not_all_shown_is_not_equal() {
        let whole = running(&[("max-num-seqs", json!(8)), ("seed", json!(1))], "1");
        assert!(whole.is_equal(), "{whole:?}");
        let part = recorded(&[("A", "1")]);
        assert!(!part.is_equal() && part.differences().next().is_none(), "{part:?}");
        assert!(part.shown().count() < part.all.len(), "nothing shows the flags");
        let nothing = Checked { all: Vec::new(), ..part };
        assert!(!nothing.is_equal(), "nothing is shown");
    }

    fn differing(checked: &Checked) -> Vec<&str> {
        checked.differences().map(|it| it.name.as_str()).collect()
    }

    #[test]
    fn what_runs_as_it_was_tested_is_equal_and_all_of_it_is_listed() {
        let checked = running(&[("max-num-seqs", json!(8)), ("seed", json!(1))], "1");
        let names: Vec<&str> = checked.all.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["image", "model", "--max-num-seqs", "--seed", "A"]);
        assert_eq!(differing(&checked), [""; 0], "{checked:?}");
        assert!(checked.all.iter().all(|it| it.proof != "unknown"), "{checked:?}");
    }

    #[test]
    fn another_value_a_lost_flag_and_one_that_nobody_tested_differ() {
        let checked = running(&[("max-num-seqs", json!(16)), ("dtype", json!("half"))], "2");
        assert_eq!(differing(&checked), ["--max-num-seqs", "--seed", "A", "--dtype"]);
    }
}
