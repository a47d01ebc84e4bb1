//! Effective values: what the running server shows that it runs with, and for each
//! requested flag how far that proves that the flag acts. An echo of the command line
//! proves only that the flag arrived. Where values are shown is read in `observed`; what
//! the server's own process adds, and what follows from it, is in `proof`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::configuration::Flags;
use crate::server::Server;
use crate::server::agreement;
use crate::server::counters::Counters;
use crate::server::http::Http;
use crate::server::observed::{ALWAYS, Shown, observe};

pub use crate::server::agreement::one_spelling;
pub use crate::server::observed::Sources;

/// How we know that a requested flag acts, and whether it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlagProof {
    /// The engine's state shows the requested value: the flag acts.
    Honoured,
    /// The server's own process has the flag with this value among its arguments.
    Passed,
    /// The server shows another value: the flag does not act.
    Overridden,
    /// Only the command line was printed back: the flag arrived, no more is known.
    Echoed,
    /// The server shows nothing of it, or the proof is of a kind that a newer version knows.
    #[serde(other)]
    Unknown,
}

impl Effective {
    /// The value as a number, where it is one or a text of digits.
    pub fn number(&self) -> Option<f64> {
        match self.value.as_ref()? {
            Value::String(text) => text.parse().ok(),
            value => value.as_f64(),
        }
    }
}

impl FlagProof {
    /// The word used in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Honoured => "honoured",
            Self::Passed => "passed",
            Self::Overridden => "overridden",
            Self::Echoed => "echoed",
            Self::Unknown => "unknown",
        }
    }
}

/// One effective value: a flag as the running server shows it, with its proof.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effective {
    /// The value shown; `None` where nothing is shown.
    pub value: Option<Value>,
    /// The proof of the flag; `None` where the flag was not requested.
    #[serde(rename = "verdict")]
    pub proof: Option<FlagProof>,
    /// Where the value was read: `metrics`, `models`, `log`, `server_info`, `inspect`,
    /// `process`.
    pub source: String,
}

/// Effective values by canonical flag name.
pub type EffectiveValues = BTreeMap<String, Effective>;

/// What the container's own record shows that was started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inspected {
    /// The image's id.
    pub image: String,
    /// The flags among its arguments, without secrets.
    pub flags: Flags,
}

/// Adds what the container's record shows to what the server shows of itself:
/// the image, and for flags of which the server shows nothing, the arguments
/// that it was started with. They are an echo: they do not prove that a flag acts.
pub fn add_inspected(values: &mut EffectiveValues, inspected: &Inspected) {
    let source = || "inspect".to_owned();
    for (name, shown) in values.iter_mut().filter(|(_, shown)| shown.value.is_none()) {
        if let Some(value) = inspected.flags.get(name) {
            let (value, proof) = (Some(value.clone()), Some(FlagProof::Echoed));
            *shown = Effective { value, proof, source: source() };
        }
    }
    let value = Some(Value::from(inspected.image.as_str()));
    values.insert("image".to_owned(), Effective { value, proof: None, source: source() });
}

/// Time for `/server_info`, which starts several processes to collect its environment.
const SERVER_INFO: Duration = Duration::from_secs(30);

/// Asks a server for what it shows, and compares it with what was requested.
/// `log` is its start-up log, where there is one.
pub async fn of(server: &Server, log: Option<&str>, requested: &Flags) -> EffectiveValues {
    let http = Http::new(&server.endpoint).ok();
    let (mut counters, mut info) = (None, None);
    if let Some(http) = &http {
        counters = Counters::scrape(http).await;
        let answer = http.get("/server_info?config_format=json", SERVER_INFO).await.ok();
        info = answer
            .filter(|answer| answer.status == 200)
            .and_then(|answer| serde_json::from_str::<Value>(&answer.body).ok());
    }
    let sources = Sources {
        counters: counters.as_ref(),
        max_model_len: server.max_model_len,
        server_info: info.as_ref(),
        log,
    };
    read(&sources, requested)
}

/// Every requested flag with what the server shows of it, and what else it
/// shows that matters. Nulls and secrets are left out.
pub fn read(sources: &Sources<'_>, requested: &Flags) -> EffectiveValues {
    let observed = observe(sources);
    let mut values: EffectiveValues = requested
        .iter()
        .filter(|(name, value)| !value.is_null() && !crate::flags::is_secret(name))
        .map(|(name, value)| (name.clone(), judge(name, value, observed.get(name))))
        .collect();
    for (name, shown) in observed {
        if shown.is_state && ALWAYS.contains(&name.as_str()) {
            let source = shown.source.to_owned();
            let value = Some(shown.value);
            values.entry(name).or_insert(Effective { value, proof: None, source });
        }
    }
    values
}

fn judge(name: &str, requested: &Value, shown: Option<&Shown>) -> Effective {
    let Some(shown) = shown else {
        let proof = Some(FlagProof::Unknown);
        return Effective { value: None, proof, source: "none".to_owned() };
    };
    let proof = if shown.is_state {
        match agreement::state(name, requested, &shown.value) {
            Some(true) => FlagProof::Honoured,
            Some(false) => FlagProof::Overridden,
            // `auto` leaves the choice to the engine: its choice proves nothing.
            None => FlagProof::Unknown,
        }
    } else if agreement::echoed(name, requested, &shown.value, false) == Some(false) {
        FlagProof::Overridden
    } else {
        FlagProof::Echoed
    };
    Effective {
        value: Some(shown.value.clone()),
        proof: Some(proof),
        source: shown.source.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn flags(value: &Value) -> Flags {
        value.as_object().expect("an object").clone().into_iter().collect()
    }

    fn proofs(log: &str, requested: &Value) -> BTreeMap<String, Option<FlagProof>> {
        let sources = Sources { log: Some(log), ..Sources::default() };
        read(&sources, &flags(requested)).into_iter().map(|(k, v)| (k, v.proof)).collect()
    }

    const ENGINE: &str = "(EngineCore pid=1) INFO [core.py:1] Initializing a V1 LLM engine (v0.11.0) \
        with config: model='m', dtype=torch.bfloat16, max_seq_len=8192, quantization=None, \
        x=Cfg(enable_chunked_prefill=False), enable_prefix_caching=True, enable_chunked_prefill=True, seed=0";

    #[test]
    fn an_override_is_shown_and_an_echo_proves_nothing() {
        let log = format!(
            "non-default args: {{'max_num_seqs': 8, 'enable_chunked_prefill': False, 'api_key': '***'}}\n{ENGINE}\n"
        );
        let seen = proofs(
            &log,
            &json!({"enable-chunked-prefill": false, "max-num-seqs": 8, "enable-prefix-caching": true,
                   "dtype": "bfloat16", "api-key": "sk", "swap-space": 4, "seed": null}),
        );
        assert_eq!(seen["enable-chunked-prefill"], Some(FlagProof::Overridden));
        assert_eq!(seen["max-num-seqs"], Some(FlagProof::Echoed));
        assert_eq!(seen["enable-prefix-caching"], Some(FlagProof::Honoured));
        assert_eq!(seen["dtype"], Some(FlagProof::Honoured));
        assert_eq!(seen["swap-space"], Some(FlagProof::Unknown));
        assert_eq!(seen["max-model-len"], None, "shown, not requested");
        assert!(!seen.contains_key("api-key") && !seen.contains_key("seed"));
    }

    #[test]
    fn a_proof_is_stored_under_the_key_of_older_files() {
        let unknown =
            Effective { value: None, proof: Some(FlagProof::Unknown), source: "none".to_owned() };
        let stored = json!({"value": null, "verdict": "unknown", "source": "none"});
        assert_eq!(serde_json::to_value(&unknown).expect("JSON"), stored);
    }

    #[test]
    fn the_container_record_completes_what_the_server_shows() {
        let sources = Sources { log: Some(ENGINE), ..Sources::default() };
        let mut values =
            read(&sources, &flags(&json!({"swap-space": 4, "dtype": "bfloat16", "seed": 1})));
        let inspected = Inspected {
            image: "sha256:1".to_owned(),
            flags: flags(&json!({"swap-space": 4, "dtype": "float16", "seed": 1})),
        };
        add_inspected(&mut values, &inspected);
        let shown = |name: &str| (values[name].proof, values[name].source.as_str());
        assert_eq!(shown("swap-space"), (Some(FlagProof::Echoed), "inspect"));
        assert_eq!(shown("dtype"), (Some(FlagProof::Honoured), "log"), "proof is not overwritten");
        assert_eq!(shown("image"), (None, "inspect"));
        assert_eq!(values["image"].value, Some(json!("sha256:1")));
    }

    #[test]
    fn the_last_start_in_a_log_counts() {
        let log =
            format!("{ENGINE}\n{}", ENGINE.replace("prefix_caching=True", "prefix_caching=False"));
        let seen = proofs(&log, &json!({"enable-prefix-caching": true}));
        assert_eq!(seen["enable-prefix-caching"], Some(FlagProof::Overridden));
    }
}
