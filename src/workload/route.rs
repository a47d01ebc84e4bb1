//! The way of a prompt into a server: as a chat, or as a plain text.

use serde::{Deserialize, Serialize};

use super::options::{OptionKind, OptionSpec, Options};

/// Where the requests of a speed workload go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// Messages to `/v1/chat/completions`.
    #[default]
    Chat,
    /// The same texts, as one, to `/v1/completions`: for models without a chat template.
    Completions,
}

/// The option `endpoint`.
pub(super) const OPTION: OptionSpec = OptionSpec {
    name: "endpoint",
    kind: OptionKind::Word(&["chat", "completions"]),
    help: "`chat` (default): messages to /v1/chat/completions; `completions`: plain text to /v1/completions, for models without a chat template",
};

impl Route {
    /// As the option `endpoint` says.
    pub(super) fn read(options: &Options) -> Self {
        match options.text(OPTION.name).as_deref() {
            Some("completions") => Self::Completions,
            _ => Self::Chat,
        }
    }

    /// Whether it is the usual one: such a specification is written without it.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub(super) fn is_chat(&self) -> bool {
        *self == Self::Chat
    }
}
