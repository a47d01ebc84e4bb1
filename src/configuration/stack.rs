//! What a configuration starts in place of what the engine block names: another service,
//! values of the compose file's variables, another image, another model. Data alone; who
//! makes a server of it is in `engine`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::flags::is_secret;

/// What differs from the engine block; all of it is empty where nothing does.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Stack {
    /// Compose files as the grid writes them, relative to its folder.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compose: Vec<String>,
    /// Whether `compose` is a list in the grid: then no override beside it is read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub exact: bool,
    /// Files of variables as the grid writes them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env_files: Vec<String>,
    /// What relative paths in the compose files refer to, as the grid writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_directory: Option<String>,
    /// Name of the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Interpolation variables of the compose files, without secrets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
    /// Image in place of the service's, or of the engine block's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Model in place of that of the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

impl Stack {
    /// Whether it is what the engine block names.
    pub fn is_own(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it names a service of its own, by files, folder or name.
    pub fn has_service(&self) -> bool {
        !self.compose.is_empty()
            || !self.env_files.is_empty()
            || self.project_directory.is_some()
            || self.service.is_some()
    }

    /// How its service is written in columns: `FILES#SERVICE`, as far as it names them.
    pub fn service_label(&self) -> Option<String> {
        let service = self.service.as_deref().unwrap_or_default();
        match (self.compose.as_slice(), service) {
            ([], "") if self.env_files.is_empty() => None,
            ([], "") => Some(format!("({})", self.env_files.join(","))),
            ([], service) => Some(service.to_owned()),
            (files, "") => Some(files.join(",")),
            (files, service) => Some(format!("{}#{service}", files.join(","))),
        }
    }

    /// Each part behind the key that it has in a grid: what an id is computed from. Image and
    /// model are not among them, as an id has them where they are known.
    pub(super) fn parts(&self) -> Vec<&str> {
        let compose = if self.exact { "compose" } else { "compose file" };
        let mut parts = Vec::new();
        parts.extend(self.compose.iter().flat_map(|it| [compose, it]));
        parts.extend(self.env_files.iter().flat_map(|it| ["env-file", it]));
        parts.extend(self.project_directory.iter().flat_map(|it| ["project-directory", it]));
        parts.extend(self.service.iter().flat_map(|it| ["service", it]));
        let variables = self.variables.iter().filter(|(name, _)| !is_secret(name));
        parts.extend(variables.flat_map(|(name, value)| ["variables", name, value]));
        parts
    }

    /// What differs, for a person, one part each: `image vllm:2`, `MODEL_DIR=/m`.
    pub fn shown(&self) -> Vec<String> {
        let service = self.service_label().map(|it| format!("service {it}"));
        let image = self.image.as_ref().map(|it| format!("image {it}"));
        let model = self.model.as_ref().map(|it| format!("model {it}"));
        let variables = self.variables.iter().map(|(name, value)| format!("{name}={value}"));
        service.into_iter().chain(image).chain(model).chain(variables).collect()
    }
}

/// Its parts with commas between them.
impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_says_what_differs_and_nothing_else() {
        let own = Stack::default();
        assert!(own.is_own() && !own.has_service() && own.service_label().is_none());
        assert_eq!(serde_json::to_string(&own).expect("JSON"), "{}");
        let stack = Stack {
            compose: vec!["b.yaml".to_owned()],
            service: Some("llm".to_owned()),
            variables: BTreeMap::from([("TAG".to_owned(), "2".to_owned())]),
            model: Some("m".to_owned()),
            ..Stack::default()
        };
        assert!(stack.has_service());
        assert_eq!(stack.to_string(), "service b.yaml#llm, model m, TAG=2");
        let read: Stack =
            serde_json::from_str(&serde_json::to_string(&stack).expect("JSON")).expect("the same");
        assert_eq!(read, stack);
    }
}
