//! A configuration: one set of launch flags and environment, with a name.
//!
//! Its identity is the hash of its canonical *requested* content, so that the
//! same request has the same id in every sweep, on every machine. How flags are
//! spelt and checked is in [`crate::flags`]; where configurations come from is
//! in [`crate::grid`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Launch flags by canonical name (kebab-case, no leading dashes).
///
/// `null` means "not passed"; booleans become `--flag` or `--no-flag`; a list is
/// several arguments of one flag; a mapping is passed as JSON.
pub type Flags = BTreeMap<String, Value>;

/// One set of launch flags and environment, with a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Configuration {
    /// The first name that the grid gave, or one generated from what differs.
    pub name: String,
    /// Further names of the same content, in the order of the grid.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Hash of the canonical requested content, 16 hexadecimal digits.
    pub id: String,
    /// Every flag that the tool passes: the engine block's own flags overlaid
    /// by those that the grid varies; nulls dropped.
    pub flags: Flags,
    /// What the grid sets for this configuration, nulls kept: what differs.
    pub varied: Flags,
    /// Environment variables that the grid sets.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

impl Configuration {
    /// Its name and its aliases.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name.as_str()).chain(self.aliases.iter().map(String::as_str))
    }

    /// Whether it bears that name.
    pub fn answers_to(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }
}

/// What a configuration's id is computed from.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// Name of the engine: `docker`, `process` or `simulated`.
    pub engine: &'a str,
    /// Image or command as the grid or the compose file names it.
    pub image: Option<&'a str>,
    /// Model, where the grid names it.
    pub model: Option<&'a str>,
    /// All flags; nulls are dropped, secrets are left out.
    pub flags: &'a Flags,
    /// Environment variables that the grid sets.
    pub environment: &'a BTreeMap<String, String>,
}

impl Identity<'_> {
    /// The first 16 hexadecimal digits of the SHA-256 of the canonical content.
    pub fn id(&self) -> String {
        let flags: BTreeMap<&str, String> = self
            .flags
            .iter()
            .filter(|(name, value)| !value.is_null() && !crate::flags::is_secret(name))
            .map(|(name, value)| (name.as_str(), canonical(value)))
            .collect();
        let environment: BTreeMap<&str, &str> = self
            .environment
            .iter()
            .filter(|(name, _)| !crate::flags::is_secret(name))
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let content = format!(
            "{:?}|{:?}|{:?}|{flags:?}|{environment:?}",
            self.engine, self.image, self.model
        );
        let digest = Sha256::digest(content.as_bytes());
        hexadecimal(&digest[..8])
    }
}

/// Bytes as hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// JSON with sorted keys and one spelling per number.
pub fn canonical(value: &Value) -> String {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => {
                format!("{float:.0}")
            }
            _ => number.to_string(),
        },
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let items: Vec<String> = keys
                .into_iter()
                .map(|key| format!("{}:{}", Value::from(key.as_str()), canonical(&map[key])))
                .collect();
            format!("{{{}}}", items.join(","))
        }
        other => other.to_string(),
    }
}
