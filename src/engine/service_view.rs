//! What a service or the command of the process engine starts, with the flags of its
//! `--config` file where this machine has that.

use super::command_view::{CommandView, ImageCommand};
use super::compose::ServiceSpec;
use super::config_file;

/// What a service starts, with the flags of its `--config` file where this machine has it.
pub fn view_of(spec: &ServiceSpec, image: Option<ImageCommand>) -> CommandView {
    let view = spec.view(image);
    let path = view.value("config").and_then(|inside| config_file::host_path(spec, &inside));
    match path.and_then(|path| config_file::read(&path)) {
        Some(flags) => view.with_config(flags),
        None => view,
    }
}

/// What the process engine starts.
pub fn of_process(command: &[String]) -> CommandView {
    let view = CommandView::of_vector(command);
    match view.value("config").and_then(|path| config_file::read(path.as_ref())) {
        Some(flags) => view.with_config(flags),
        None => view,
    }
}
