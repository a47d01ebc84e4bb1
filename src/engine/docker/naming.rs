//! Names and labels of our containers: they alone show what is ours, whose it is, and
//! which GPUs it uses.

use std::collections::BTreeMap;
use std::path::Path;

use crate::engine::LaunchOrder;
use crate::ownership::space::Space;
use crate::ownership::{Holder, Ledger};

/// Labels of our containers.
pub mod label {
    /// The sweep's name.
    pub const SWEEP: &str = "vllm-grid.sweep";
    /// The configuration's name.
    pub const CONFIGURATION: &str = "vllm-grid.configuration";
    /// Number of the launch in the sweep.
    pub const LAUNCH: &str = "vllm-grid.launch";
    /// The sweep's folder when it was launched; it may have been moved since.
    pub const FOLDER: &str = "vllm-grid.folder";
    /// The run's id: whether that run lives decides what becomes of the container.
    pub const RUN: &str = "vllm-grid.run";
    /// The process that launched it, as JSON.
    pub const HOLDER: &str = "vllm-grid.holder";
    /// What the run's candidates use: `cpu`, `all`, or GPUs with commas.
    pub const USES: &str = "vllm-grid.uses";
    /// Whose claims the run's are known to.
    pub const CLAIMS: &str = "vllm-grid.claims";
    /// The cluster's job that launched it; there is none without a cluster.
    pub const JOB: &str = "vllm-grid.job";
    /// The node of that job.
    pub const NODE: &str = "vllm-grid.node";
    /// Production that the run stopped and is to start again, as JSON, without secrets: where
    /// run folder and state folder are lost, it is known from here.
    pub const PRODUCTION: &str = "vllm-grid.production";
}

pub(super) fn labels(order: &LaunchOrder, owner: Option<&Ledger>) -> BTreeMap<String, String> {
    // launches/N-NAME lies in the sweep's folder.
    let folder = order.folder.parent().and_then(Path::parent).unwrap_or(&order.folder);
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let mut labels = BTreeMap::from([
        (label::SWEEP.to_owned(), order.sweep.clone()),
        (label::CONFIGURATION.to_owned(), order.configuration.name.clone()),
        (label::LAUNCH.to_owned(), order.launch.to_string()),
        (label::FOLDER.to_owned(), folder.to_string_lossy().into_owned()),
    ]);
    match owner {
        Some(owner) => {
            labels.extend([
                (label::RUN.to_owned(), owner.run_id().to_owned()),
                (label::HOLDER.to_owned(), holder_label(owner.holder())),
                (label::USES.to_owned(), owner.uses().to_string()),
                (label::CLAIMS.to_owned(), Space::of_environment().name().to_owned()),
            ]);
            if let Some(job) = owner.job() {
                labels.insert(label::JOB.to_owned(), job.id.clone());
                labels.insert(label::NODE.to_owned(), job.node.clone());
            }
            let owed = owner.production().and_then(|owed| serde_json::to_string(&owed).ok());
            labels.extend(owed.map(|owed| (label::PRODUCTION.to_owned(), owed)));
        }
        None => labels.extend([(label::HOLDER.to_owned(), holder_label(&Holder::this()))]),
    }
    labels
}

/// Labels of a container that is no launch, and lives as long as we do: it is found by
/// `recover` where we are killed meanwhile.
pub(super) fn aside_labels(what: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (label::SWEEP.to_owned(), what.to_owned()),
        (label::FOLDER.to_owned(), String::new()),
        (label::HOLDER.to_owned(), holder_label(&Holder::this())),
    ])
}

/// A holder as a label; its run and folder have labels of their own.
pub(super) fn holder_label(holder: &Holder) -> String {
    let alone = Holder { run_id: None, folder: None, ..holder.clone() };
    serde_json::to_string(&alone).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ownership::debt::ProductionOwed;
    use crate::ownership::{Owed, StateFolder, Uses, new_run_id};

    #[test]
    fn a_candidate_names_the_production_that_its_run_owes_and_never_a_key() {
        let place = tempfile::tempdir().expect("a folder");
        let state = StateFolder::at(place.path()).expect("a state folder");
        let holder = Holder::this().in_state(&state).of_run(&new_run_id(), Path::new("/runs/a"));
        let ledger = Ledger::of_run(&state, "a", &holder, &Uses::Cpu);
        let order = LaunchOrder {
            sweep: "a".to_owned(),
            launch: 1,
            configuration: crate::configuration::Configuration {
                name: "c".to_owned(),
                aliases: Vec::new(),
                id: "0".to_owned(),
                flags: crate::configuration::Flags::default(),
                varied: crate::configuration::Flags::default(),
                environment: BTreeMap::new(),
                ..Default::default()
            },
            folder: "/runs/a/launches/1-c".into(),
            worked: std::time::Duration::ZERO,
        };
        assert!(!labels(&order, Some(&ledger)).contains_key(label::PRODUCTION), "none is owed");
        let owed = ProductionOwed {
            docker: "unix:///d".to_owned(),
            id: "p1".to_owned(),
            name: "vllm".to_owned(),
            key_variable: Some("PATH".to_owned()),
            ..ProductionOwed::default()
        };
        ledger.owe(Owed::Production(owed.clone())).expect("noted");
        let label = labels(&order, Some(&ledger))[label::PRODUCTION].clone();
        assert_eq!(serde_json::from_str::<ProductionOwed>(&label).expect("JSON"), owed);
        let value = std::env::var("PATH").expect("a value");
        assert!(label.contains("PATH") && !label.contains(&value), "{label}");
    }
}
