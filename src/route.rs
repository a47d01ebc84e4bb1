//! The way of a prompt into a server: as a chat, or as a plain text.

use serde::{Deserialize, Serialize};

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

impl Route {
    /// Whether it is the usual one: such a specification is written without it.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub(crate) fn is_chat(&self) -> bool {
        *self == Self::Chat
    }
}
