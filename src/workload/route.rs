//! The option `endpoint`, shared by the workloads that can send prompts either way.

use super::options::{OptionKind, OptionSpec, Options};
use crate::route::Route;

/// The option `endpoint`.
pub(super) const OPTION: OptionSpec = OptionSpec {
    name: "endpoint",
    kind: OptionKind::Word(&["chat", "completions"]),
    help: "`chat` (default): messages to /v1/chat/completions; `completions`: plain text to /v1/completions, for models without a chat template",
};

/// The route that the option `endpoint` names.
pub(super) fn read(options: &Options) -> Route {
    match options.text(OPTION.name).as_deref() {
        Some("completions") => Route::Completions,
        _ => Route::Chat,
    }
}
