//! Effective values: what the running server shows that it runs with, held
//! against what was asked for. An echo of the command line is no proof.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How far a requested flag is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The engine's state shows the requested value.
    Honoured,
    /// The engine's state shows another value.
    Overridden,
    /// Only the command line was printed back.
    Echoed,
    /// The server shows nothing of it.
    Unknown,
}

/// One flag as the running server shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effective {
    /// The value shown; `None` where nothing is shown.
    pub value: Option<Value>,
    /// How far the request is proven; `None` where the flag was not requested.
    pub verdict: Option<Verdict>,
    /// Where the value was read: `metrics`, `models`, `log`, `server_info`, `inspect`.
    pub source: String,
}

/// Effective values by canonical flag name.
pub type EffectiveValues = BTreeMap<String, Effective>;
