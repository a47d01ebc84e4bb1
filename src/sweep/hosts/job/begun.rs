//! What a run was begun with, as a node sees it: the grid is read again from the run's folder,
//! and the engine is asked what it would launch. Where that is not what the run was begun with,
//! the node is refused, because its figures would be those of something else.

use std::collections::BTreeMap;

use super::JobOrder;
use crate::configuration::{Configuration, Stack};
use crate::engine::Engine;
use crate::grid::{EngineBlock, Grid};
use crate::history::HistoryError;
use crate::history::folder::Folder;
use crate::history::production::changed_parts;
use crate::history::record::{Manifest, SweepRecord, workloads_sha256};
use crate::history::replay::{IllegalEntry, replay};
use crate::secret::Secrets;
use crate::sweep::difference::image_id;
use crate::sweep::resume::{ResumeError, read_for_stack};

/// Variables by which a cluster gives GPUs to a job: they differ from job to job.
const OF_JOBS: [&str; 2] =
    ["environment: CUDA_VISIBLE_DEVICES", "environment: NVIDIA_VISIBLE_DEVICES"];

/// Why a node cannot launch for a run.
#[derive(Debug, thiserror::Error)]
pub enum BegunError {
    /// The run's folder cannot be read from here.
    #[error("{0}: the run's folder must be on a file system that this node shares")]
    Folder(#[from] HistoryError),
    /// Another run is in the folder.
    #[error("{folder} holds the run {found}, and the order is of {ordered}")]
    Run {
        /// The folder.
        folder: String,
        /// The id of its run.
        found: String,
        /// The order's.
        ordered: String,
    },
    /// The grid cannot be read as it was begun.
    #[error("the grid cannot be read on this node: {}", said(.0))]
    Grid(#[from] ResumeError),
    /// Something is not what the run was begun with.
    #[error("this node differs from what the run was begun with:{}", listed(.0))]
    Differs(Vec<String>),
}

/// An error with all that a person needs: those of a grid have theirs beside the sentence.
fn said(error: &ResumeError) -> String {
    let ResumeError::Grid(errors) = error else { return error.to_string() };
    let each = errors.errors.iter().map(|it| match it.line {
        Some(line) => format!("line {line}: {}", it.message),
        None => it.message.clone(),
    });
    format!("{errors}:{}", listed(&each.collect::<Vec<_>>()))
}

fn listed(differences: &[String]) -> String {
    differences.iter().fold(String::new(), |text, it| format!("{text}\n- {it}"))
}

/// What a launch is made of, read on its node.
#[derive(Debug)]
pub struct Begun {
    /// The grid, with the configurations of the launch's stack.
    pub grid: Grid,
    /// The configuration, from the grid: an order may have lost secrets of it.
    pub configuration: Configuration,
    record: SweepRecord,
}

impl Begun {
    /// Reads what an order is of. Secrets that it leads to are added to `secrets`.
    ///
    /// # Errors
    /// When it cannot be read here, or is not what the run was begun with.
    pub async fn read(order: &JobOrder, secrets: &Secrets) -> Result<Self, BegunError> {
        let folder = Folder::existing(&order.run)?;
        // Of the latest block: a change may have been accepted. What this node's file system does
        // not show yet of the journal is of launches.
        let seen = folder.see().map_err(HistoryError::from)?;
        let damaged = |illegal: IllegalEntry| illegal.in_journal(folder.journal_path());
        let record = replay(folder.manifest()?, seen.lines());
        let record = record.map_err(|illegal| HistoryError::from(damaged(illegal)))?;
        let found = record.manifest.run_id();
        if found != order.run_id {
            let (folder, ordered) = (order.run.display().to_string(), order.run_id.clone());
            return Err(BegunError::Run { folder, found, ordered });
        }
        let ordered = &order.order.launch.configuration;
        let grid = read_for_stack(&folder, &record.manifest, &ordered.stack, secrets).await?;
        let differences = of_grid(&record.manifest, &grid, ordered);
        let configuration = grid.configurations.iter().find(|it| it.name == ordered.name).cloned();
        match configuration.filter(|_| differences.is_empty()) {
            Some(configuration) => Ok(Self { grid, configuration, record }),
            None => Err(BegunError::Differs(differences)),
        }
    }

    /// Whether an engine launches here what the run was begun with.
    ///
    /// # Errors
    /// Everything that differs.
    pub fn check(&self, engine: &dyn Engine) -> Result<(), BegunError> {
        let manifest = &self.record.manifest;
        let stacks = manifest.configurations.iter().map(|it| &it.stack);
        let several = stacks.clone().any(|it| *it != self.configuration.stack);
        let stack = several.then_some(&self.configuration.stack);
        let mut before = manifest.service_parts.clone().map(|parts| of_stack(parts, stack));
        let image = match &mut before {
            Some(parts) if several => parts.remove("image id"),
            _ if several => None,
            _ => image_id(&self.record),
        };
        let mut differences = Vec::new();
        if let Some((before, now)) = image.zip(engine.image_id()).filter(|(a, b)| a != b) {
            differences.push(format!("image: {before} -> {now}: load the same one on all nodes"));
        }
        let is_process = matches!(self.grid.engine, EngineBlock::Process(_));
        if let Some((before, now)) = before.zip(engine.service_parts()) {
            differences.extend(of_parts(&before, &now, is_process));
        }
        if differences.is_empty() { Ok(()) } else { Err(BegunError::Differs(differences)) }
    }
}

/// In what the grid differs as it is read here.
fn of_grid(manifest: &Manifest, grid: &Grid, ordered: &Configuration) -> Vec<String> {
    let mut all = Vec::new();
    let same = |it: &Configuration| it.name == ordered.name && it.id == ordered.id;
    if !grid.configurations.iter().any(same) {
        all.push(format!(
            "configuration {}: a compose file, a variable that it uses, or an image gives another one \
             here",
            ordered.name
        ));
    }
    if manifest
        .workloads_sha256
        .as_ref()
        .is_some_and(|it| workloads_sha256(&grid.workloads).as_ref() != Some(it))
    {
        all.push("the workloads".to_owned());
    }
    let files = grid.datasets.files();
    let lost = manifest.datasets.iter().filter(|it| !files.contains(it));
    all.extend(lost.map(|it| format!("dataset: {}", grid.datasets.path_of(&it.path).display())));
    all
}

/// The parts of one stack of several, by their own names.
fn of_stack(parts: BTreeMap<String, String>, stack: Option<&Stack>) -> BTreeMap<String, String> {
    let Some(stack) = stack else { return parts };
    let mark = format!(" ({stack})");
    let own = parts.into_iter().filter_map(|(name, hash)| {
        let name = match (stack.is_own(), name.strip_suffix(&mark)) {
            (true, _) if !name.ends_with(')') => name,
            (false, Some(own)) => own.to_owned(),
            _ => return None,
        };
        Some((name, hash))
    });
    own.collect()
}

/// In what the parts of what is launched differ. What a cluster sets for each job does not
/// count; of a process neither what is on the nodes alone: a login node may lack the program, and
/// nodes may have variables of their own.
fn of_parts(
    before: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
    is_process: bool,
) -> Vec<String> {
    let is_new = |part: &str| is_process && !before.contains_key(part);
    let changed = changed_parts(before, now);
    let counted = changed.filter(|(part, _)| !(is_process && OF_JOBS.contains(part)));
    let counted = counted.filter(|(part, _)| !is_new(part));
    counted.map(|(part, what)| format!("the service's {part}: {what}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        all.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn what_a_cluster_sets_for_a_job_is_no_difference_and_another_program_is() {
        let before = parts(&[("environment: VLLM_USE_V1", "1"), ("program", "a")]);
        let now = parts(&[
            ("environment: CUDA_VISIBLE_DEVICES", "x"),
            ("environment: LD_LIBRARY_PATH", "y"),
            ("environment: VLLM_USE_V1", "1"),
            ("program", "a"),
        ]);
        assert_eq!(of_parts(&before, &now, true), Vec::<String>::new());
        assert_eq!(of_parts(&before, &now, false).len(), 2, "a service is described by its files");
        let other = parts(&[("program", "b")]);
        assert_eq!(
            of_parts(&before, &other, true),
            [
                "the service's environment: VLLM_USE_V1: it was removed",
                "the service's program: it has another value",
            ]
        );
        assert_eq!(of_parts(&parts(&[]), &other, true), Vec::<String>::new(), "on a login node");
    }

    #[test]
    fn parts_of_a_stack_are_compared_by_their_own_names() {
        let stack = Stack { image: Some("b".to_owned()), ..Stack::default() };
        let mark = format!("gpus ({stack})");
        let all = parts(&[("gpus", "own"), (&mark, "other")]);
        assert_eq!(of_stack(all.clone(), None), all);
        assert_eq!(of_stack(all.clone(), Some(&stack)), parts(&[("gpus", "other")]));
        assert_eq!(of_stack(all, Some(&Stack::default())), parts(&[("gpus", "own")]));
    }
}
