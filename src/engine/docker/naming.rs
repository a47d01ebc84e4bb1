//! Names and labels of our containers: they alone show what is ours.

use std::collections::BTreeMap;
use std::path::Path;

use crate::engine::LaunchOrder;

/// Labels of our containers.
pub mod label {
    /// The sweep's name.
    pub const SWEEP: &str = "vllm-grid.sweep";
    /// The configuration's name.
    pub const CONFIGURATION: &str = "vllm-grid.configuration";
    /// Number of the launch in the sweep.
    pub const LAUNCH: &str = "vllm-grid.launch";
    /// The sweep's folder: `recover` asks there whether the sweep lives.
    pub const FOLDER: &str = "vllm-grid.folder";
}

pub(super) fn labels(order: &LaunchOrder) -> BTreeMap<String, String> {
    // launches/N-NAME lies in the sweep's folder.
    let folder = order.folder.parent().and_then(Path::parent).unwrap_or(&order.folder);
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    BTreeMap::from([
        (label::SWEEP.to_owned(), order.sweep.clone()),
        (label::CONFIGURATION.to_owned(), order.configuration.name.clone()),
        (label::LAUNCH.to_owned(), order.launch.to_string()),
        (label::FOLDER.to_owned(), folder.to_string_lossy().into_owned()),
    ])
}

/// A name that no other launch has, within what Docker allows.
pub(super) fn container_name(order: &LaunchOrder) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);

    let sweep: String = order
        .sweep
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '-' })
        .take(80)
        .collect();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("vllm-grid-{sweep}-{}-{:x}-{count}", order.launch, std::process::id())
}
