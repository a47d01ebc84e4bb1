//! A configuration: one set of launch flags and environment, with a name, and what it
//! starts where that is not what the engine block names.
//!
//! Its identity is the hash of its canonical *requested* content, so that the
//! same request has the same id in every sweep, on every machine. How flags are
//! spelt and checked is in [`crate::flags`]; where configurations come from is
//! in `grid`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

mod stack;

pub use stack::Stack;

pub use crate::flags::{Flags, canonical};
use crate::flags::{is_secret, write_canonical};

/// One set of launch flags and environment, with a name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// What it starts in place of what the engine block names.
    #[serde(default, skip_serializing_if = "Stack::is_own")]
    pub stack: Stack,
    /// The image that it starts, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The model that it asks for, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

impl Configuration {
    /// Its name and its aliases.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name.as_str()).chain(self.aliases.iter().map(String::as_str))
    }

    /// GPUs that its server takes, as its flags ask for them: tensor times pipeline times data
    /// parallel; one where they say nothing.
    pub fn gpus(&self) -> u32 {
        let sizes = ["tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size"];
        let size = |name: &str| self.flags.get(name).and_then(serde_json::Value::as_u64);
        let sizes =
            sizes.into_iter().filter_map(size).map(|it| u32::try_from(it).unwrap_or(u32::MAX));
        sizes.fold(1, |all: u32, size| all.saturating_mul(size.max(1)))
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
    /// What differs from the engine block besides image and model.
    pub stack: &'a Stack,
}

impl Identity<'_> {
    /// The first 16 hexadecimal digits of the SHA-256 of the canonical content.
    pub fn id(&self) -> String {
        hexadecimal(&self.digest())
    }

    /// The eight bytes that [`Identity::id`] writes.
    pub(crate) fn digest(&self) -> [u8; 8] {
        let mut content = String::with_capacity(256);
        part(&mut content, self.engine);
        for optional in [self.image, self.model] {
            match optional {
                Some(text) => part(&mut content, text),
                None => content.push_str("-;"),
            }
        }
        let mut buffer = String::new();
        for (name, value) in self.flags {
            if !value.is_null() && !is_secret(name) {
                part(&mut content, name);
                buffer.clear();
                write_canonical(&mut buffer, value);
                part(&mut content, &buffer);
            }
        }
        content.push('|');
        for (name, value) in self.environment {
            if !is_secret(name) {
                part(&mut content, name);
                part(&mut content, value);
            }
        }
        let parts = self.stack.parts();
        // Without any, ids are what they were before configurations had them.
        if !parts.is_empty() {
            content.push('|');
        }
        for text in parts {
            part(&mut content, text);
        }
        let mut first = [0; 8];
        first.copy_from_slice(&Sha256::digest(content.as_bytes())[..8]);
        first
    }
}

/// A text with its length before it, so that no two contents look the same.
fn part(content: &mut String, text: &str) {
    let _ = write!(content, "{}:", text.len());
    content.push_str(text);
    content.push(';');
}

/// Bytes as hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn gpus_are_the_product_of_what_is_parallel() {
        let gpus = |flags: Value| {
            let flags = flags.as_object().cloned().unwrap_or_default().into_iter().collect();
            Configuration { flags, ..Configuration::default() }.gpus()
        };
        assert_eq!(gpus(json!({"max-num-seqs": 8})), 1);
        assert_eq!(gpus(json!({"tensor-parallel-size": 2, "pipeline-parallel-size": 3})), 6);
        assert_eq!(gpus(json!({"tensor-parallel-size": 2, "data-parallel-size": 4})), 8);
        assert_eq!(gpus(json!({"tensor-parallel-size": null, "data-parallel-size": 0})), 1);
    }

    fn id(flags: &Flags, environment: &[(&str, &str)]) -> String {
        let environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Identity {
            engine: "docker",
            image: Some("i"),
            model: None,
            flags,
            environment: &environment.collect(),
            stack: &Stack::default(),
        }
        .id()
    }

    #[test]
    fn ids_leave_out_nulls_and_secrets_and_keep_texts_apart() {
        let flags = |flags: &[(&str, Value)]| -> Flags {
            flags.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
        };
        let one = flags(&[("a", json!(1))]);
        assert_eq!(id(&one, &[]), id(&flags(&[("a", json!(1.0)), ("b", Value::Null)]), &[]));
        assert_eq!(id(&one, &[]), id(&one, &[("HF_TOKEN", "x")]));
        assert_ne!(id(&one, &[]), id(&one, &[("A", "x")]));
        assert_ne!(
            id(&flags(&[("a", json!("1"))]), &[]),
            id(&flags(&[("a", json!("1;1:b"))]), &[])
        );
    }
}
