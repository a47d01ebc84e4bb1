//! Variables of a grid that cannot have an effect where they stand: of the compose file, and
//! of the server itself. What a service is read from is not known here.

use std::collections::BTreeSet;

use crate::configuration::{Configuration, Stack};
use crate::engine::compose::{ComposeSource, ServiceSpec, VariableUse};

/// Variables of a stack that its compose files do not use.
pub(super) fn idle(stack: &Stack, used: &[VariableUse], source: &ComposeSource) -> Vec<String> {
    let is_idle = |name: &&String| !used.iter().any(|it| it.name == **name);
    let files = source.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>();
    let idle = stack.variables.keys().filter(is_idle);
    idle.map(|name| {
        format!(
            "`variables`: {name} is not used by the service `{}` in {}: it has no effect there; what \
             the server itself reads belongs under `environment`",
            source.service,
            files.join(", ")
        )
    })
    .collect()
}

/// Variables of the server's environment that the compose files use and the container does
/// not get: whoever varies such a one means the other kind.
pub(super) fn misplaced(
    configurations: &[Configuration],
    used: &[VariableUse],
    spec: &ServiceSpec,
) -> Vec<String> {
    let names: BTreeSet<&String> =
        configurations.iter().flat_map(|it| it.environment.keys()).collect();
    let is_misplaced = |name: &&&String| {
        used.iter().any(|it| it.name == ***name) && !spec.environment.contains_key(**name)
    };
    names
        .iter()
        .filter(is_misplaced)
        .map(|name| {
            format!(
                "`environment`: {name} is a variable of the compose file: as a variable of the \
                 container it does not change what the file says; write it under `variables`"
            )
        })
        .collect()
}
