//! Whether a sweep may be resumed: it may where its grid, what the configurations come to
//! and what is measured with are what they were, or a person accepts what changed. Files are
//! read here; what a difference means is in [`super::difference`]. Nothing is launched.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::difference::{
    Asks, Before, Changed, Continues, Difference, Weight, continues, seen_engine_version,
};
use super::measured_with::{MeasuredWith, see_production};
use crate::configuration::{Configuration, Stack, hexadecimal};
use crate::engine::service::{self, Faults, Need};
use crate::grid::{DockerBlock, EngineBlock, Grid, GridErrors, GridFile, ReadOptions};
use crate::history::HistoryError;
use crate::history::folder::{Folder, SeenFolder, other_owner};
use crate::history::journal::{JournalError, Line};
use crate::history::production::Configured;
use crate::history::record::{Manifest, SweepRecord, workloads_sha256};
use crate::input;
use crate::secret::Secrets;

/// Why a sweep may not be resumed.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// The sweep's files cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// Something is not as it was.
    #[error(transparent)]
    Changed(#[from] Changed),
    /// It is another user's, and its launches are jobs of a cluster.
    #[error(
        "{run} belongs to {owner}: its launches are jobs of a cluster, which are asked for as their \
         own user; continue it as {owner}"
    )]
    OfAnother {
        /// The run's folder.
        run: PathBuf,
        /// Whose it is.
        owner: String,
    },
    /// The stored copy of the grid is not there.
    #[error(
        "{copy} is missing: it is the copy of the grid that the sweep began with, and the sweep \
         cannot be continued without it: {advice}"
    )]
    NoGrid {
        /// Where it was.
        copy: PathBuf,
        /// What to do.
        advice: String,
    },
    /// The stored copy of the grid is not valid.
    #[error(transparent)]
    Grid(#[from] GridErrors),
    /// The compose services that the grid names cannot be read.
    #[error(transparent)]
    Service(#[from] Faults),
}

/// What a sweep is resumed with, as its files tell.
#[derive(Debug)]
pub struct Resumable {
    /// The grid, read again.
    pub grid: Grid,
    /// What was launched so far.
    record: SweepRecord,
    /// What differs between the grid and what it was.
    differences: Vec<Difference>,
    /// The configuration of production's container, where it was noted.
    production: Option<Configured>,
    /// The journal as it was read.
    seen: SeenFolder,
}

impl Resumable {
    /// The grid, and the journal for who opens it.
    pub fn into_parts(self) -> (Grid, SeenFolder) {
        (self.grid, self.seen)
    }

    /// How it continues with what is measured with now; `accept`: whether a person accepts
    /// what changed.
    ///
    /// # Errors
    /// Why it does not: everything that differs.
    pub fn continues(&self, now: &MeasuredWith, accept: bool) -> Result<Continues, Changed> {
        let mut differences = self.differences.clone();
        let baseline = self.grid.baseline_index().map(|at| &self.grid.configurations[at]);
        let before = Before {
            record: &self.record,
            production: self.production.as_ref(),
            production_is_baseline: baseline.is_some_and(|it| it.answers_to("production")),
        };
        differences.extend(before.differences(now));
        // It shows only in a launch: without `accept` the next one is looked at.
        differences.extend(accept.then(|| seen_engine_version(&self.record)).flatten());
        continues(&self.record, differences, now, self.asks(), accept)
    }

    /// What the grid asks for now.
    fn asks(&self) -> Asks {
        let is_named = |it: &Difference| matches!(it, Difference::NamedImage { .. });
        let another = self.differences.iter().any(is_named);
        let ids = self.grid.configurations.iter().filter(|_| another).map(|it| it.id.clone());
        Asks {
            datasets: self.grid.datasets.files(),
            image: self.grid.engine.image().filter(|_| another),
            ids: ids.collect(),
        }
    }

    /// What is known to refuse it before an engine can be asked; `None` where nothing is, and
    /// where a person accepts what is.
    pub fn refused(&self, accept: bool) -> Option<Changed> {
        let differences = self.differences.clone();
        let weight = differences.iter().map(Difference::weight).max()?;
        let refuses = !accept || weight == Weight::NewSweep;
        refuses.then(|| changed(&self.record, differences))
    }
}

fn changed(record: &SweepRecord, differences: Vec<Difference>) -> Changed {
    Changed { differences, block: record.block(), launches: record.launches.len() }
}

/// Reads the grid of a sweep again, its compose service included, and finds what of it is
/// not as it was. Secrets that it leads to are added to `secrets`.
///
/// # Errors
/// When it cannot be read.
pub async fn check(folder: &Folder, secrets: &Secrets) -> Result<Resumable, ResumeError> {
    check_seen(folder, folder.see(), secrets).await
}

/// The same of a journal that was read.
///
/// # Errors
/// When it, or anything else, cannot be read.
pub async fn check_seen(
    folder: &Folder,
    seen: Result<SeenFolder, JournalError>,
    secrets: &Secrets,
) -> Result<Resumable, ResumeError> {
    let manifest = folder.manifest()?;
    if let Some(owner) = other_owner(folder.path()).filter(|_| manifest.hosts.is_some()) {
        return Err(ResumeError::OfAnother { run: folder.path().to_owned(), owner });
    }
    let seen = seen.map_err(HistoryError::from)?;
    let record = folder.record_of(manifest, &seen)?;
    let manifest = &record.manifest;
    if !folder.grid_path().exists() {
        return Err(no_grid(folder, manifest));
    }
    let mut differences = changed_files(folder, manifest);
    let read = GridFile::read(&folder.grid_path(), &read_options(folder, manifest));
    let file = match read {
        Ok(file) => file,
        // A file that differs may be damaged, too: the change is what to report.
        Err(_) if !differences.is_empty() => return Err(changed(&record, differences).into()),
        Err(errors) => return Err(errors.into()),
    };
    service::learn(&file, secrets);
    let started = service::read(&file, Need::Sweep).await;
    started.reveal_to(secrets);
    let started = started.sound(&file)?;
    // What the grid leaves open is what it was: defaults of this version may be others.
    let grid = service::complete(file.with_strategy(manifest.strategy.clone()), &started);
    // Of another grid other configurations are no second difference.
    let copy = Difference::Grid(folder.grid_path());
    let follows = |it: &Difference| matches!(it, Difference::Configurations { .. });
    let found = changed_grid(manifest, &grid, secrets);
    let is_copy_changed = differences.contains(&copy);
    differences.extend(found.into_iter().filter(|it| !(is_copy_changed && follows(it))));
    let guards = matches!(&grid.engine, EngineBlock::Docker(block) if block.production.is_some());
    let production = guards.then(|| noted_production(seen.lines())).flatten();
    Ok(Resumable { grid, record, differences, production, seen })
}

/// The grid of a run as it was begun, read for the launches of one stack only: no other
/// configuration is in it. Secrets that it leads to are added to `secrets`.
///
/// # Errors
/// When it cannot be read, or is not what the run was begun with.
pub async fn read_for_stack(
    folder: &Folder,
    manifest: &Manifest,
    stack: &Stack,
    secrets: &Secrets,
) -> Result<Grid, ResumeError> {
    let copy = folder.grid_path();
    if !copy.exists() {
        return Err(no_grid(folder, manifest));
    }
    if is_as_begun(&copy, manifest) != Some(true) {
        let differences = vec![Difference::Grid(copy)];
        return Err(Changed { differences, block: 1, launches: 0 }.into());
    }
    let file = GridFile::read(&copy, &read_options(folder, manifest))?.of_stack(stack);
    service::learn(&file, secrets);
    let started = service::read(&file, Need::Sweep).await;
    started.reveal_to(secrets);
    let started = started.sound(&file)?;
    Ok(service::complete(file.with_strategy(manifest.strategy.clone()), &started))
}

/// What is to be done where the copy of the grid is lost: the original is as good where it is
/// what the sweep began with.
fn no_grid(folder: &Folder, manifest: &Manifest) -> ResumeError {
    let (copy, original) = (folder.grid_path(), folder.original_grid(manifest));
    let quoted = |path: &Path| shell_words::quote(&path.to_string_lossy()).into_owned();
    let advice = if is_as_begun(&original, manifest) == Some(true) {
        format!("`cp {} {}`, then try again", quoted(&original), quoted(&copy))
    } else {
        format!(
            "restore it from a backup; {} is not, or no longer, what the sweep began with. \
             `vllm-grid report {}` works without it",
            original.display(),
            quoted(folder.path())
        )
    };
    ResumeError::NoGrid { copy, advice }
}

/// Whether a file is the grid that the sweep began with; `None` where it cannot be read.
fn is_as_begun(path: &Path, manifest: &Manifest) -> Option<bool> {
    let bytes = input::read(path, input::MAX_TEXT).ok()?;
    Some(hexadecimal(&Sha256::digest(&bytes)) == manifest.grid_sha256)
}

/// The configuration of production's container as the latest block saw it first.
pub(super) fn noted_production(lines: &[Line]) -> Option<Configured> {
    let mut seen = None;
    for line in lines {
        see_production(&mut seen, &line.entry);
    }
    seen
}

/// The stored copy of the grid and the original, where they are not what the sweep began
/// with. The original may be missing, or on another machine: the copy is enough.
fn changed_files(folder: &Folder, manifest: &Manifest) -> Vec<Difference> {
    let differs = |path: &PathBuf| is_as_begun(path, manifest) == Some(false);
    let paths = [folder.grid_path(), folder.original_grid(manifest)];
    paths.into_iter().filter(differs).map(Difference::Grid).collect()
}

/// How the stored copy of the grid is read: with the sweep's engine, and paths
/// relative to the original.
fn read_options(folder: &Folder, manifest: &Manifest) -> ReadOptions {
    ReadOptions {
        engine: Some(manifest.engine.clone()),
        base: folder.original_grid(manifest).parent().map(Path::to_owned),
        max_configurations: usize::MAX,
        ..ReadOptions::default()
    }
}

/// What differs between what the grid comes to now and what it came to.
fn changed_grid(manifest: &Manifest, grid: &Grid, secrets: &Secrets) -> Vec<Difference> {
    let files = grid.datasets.files();
    let datasets = manifest.datasets.iter().filter(|file| !files.contains(file));
    let mut all: Vec<Difference> =
        datasets.map(|file| Difference::Dataset(grid.datasets.path_of(&file.path))).collect();
    // The manifest was written without the secrets that were known then, and others are
    // known now: what is compared was computed before anything was masked.
    let request = |it: &Configuration| (it.name.clone(), it.aliases.clone(), it.id.clone());
    let before = manifest.configurations.iter().map(request);
    let workloads_are_same = match &manifest.workloads_sha256 {
        Some(before) => workloads_sha256(&grid.workloads).as_ref() == Some(before),
        None => secrets.masked(grid.workloads.clone()).is_ok_and(|it| it == manifest.workloads),
    };
    let compose = match &grid.engine {
        EngineBlock::Docker(DockerBlock { compose, .. }) => compose.files.first().cloned(),
        _ => None,
    };
    let named = other_image(manifest, &grid.engine);
    // With the image of then they are what they were: the image alone is another one.
    let as_then = |it: &Configuration| {
        let id = match &named {
            // What starts another image has that in its own id.
            Some((before, now)) if it.image.as_ref() == Some(now) => {
                grid.engine.id_with(Some(before), it)
            }
            _ => it.id.clone(),
        };
        (it.name.clone(), it.aliases.clone(), id)
    };
    if !(grid.configurations.iter().map(as_then).eq(before) && workloads_are_same) {
        all.push(Difference::Configurations { compose: compose.clone() });
    }
    if let Some((before, now)) = named {
        all.push(Difference::NamedImage { compose, before, now });
    }
    all
}

/// The image as it was named, and as the compose file names it now, where these differ. A
/// grid that names it itself is another grid then.
fn other_image(manifest: &Manifest, engine: &EngineBlock) -> Option<(String, String)> {
    let EngineBlock::Docker(DockerBlock { base: Some(_), image: None, .. }) = engine else {
        return None;
    };
    let both = manifest.image.clone().zip(engine.image());
    both.filter(|(before, now)| before != now)
}

#[cfg(test)]
#[path = "resume_tests.rs"]
mod tests;
