//! Whether a sweep may be resumed: it may where its grid, the files that its
//! prompts come from and what the configurations come to are what they were.
//! Nothing is launched here.

use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::configuration::{Configuration, hexadecimal};
use crate::engine::compose::ComposeError;
use crate::engine::service::{self, Need};
use crate::grid::{DockerBlock, EngineBlock, Grid, GridErrors, GridFile, ReadOptions};
use crate::history::HistoryError;
use crate::history::folder::Folder;
use crate::history::record::{Manifest, SweepRecord, workloads_sha256};
use crate::secret::Secrets;

/// What is not as it was when the sweep began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The grid file, or the sweep's copy of it.
    Grid(PathBuf),
    /// A file that prompts come from.
    Dataset(PathBuf),
    /// The same grid gives other configurations or workloads; the compose file
    /// is named where there is one.
    Configurations {
        /// The compose file of the grid's engine.
        compose: Option<PathBuf>,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grid(path) => {
                write!(f, "{} differs; restore it, or start a new sweep", path.display())
            }
            Self::Dataset(path) => write!(
                f,
                "{} differs: prompts come from it; restore it, or start a new sweep",
                path.display()
            ),
            Self::Configurations { compose: Some(path) } => write!(
                f,
                "{}, a variable that it uses, or the version of vllm-grid: other configurations come \
                 out; restore it, or start a new sweep",
                path.display()
            ),
            Self::Configurations { compose: None } => f.write_str(
                "this version of vllm-grid reads the same file differently; start a new sweep",
            ),
        }
    }
}

/// Why a sweep may not be resumed.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// The sweep's files cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// Something is not as it was when the sweep began.
    #[error("{0}")]
    Changed(Difference),
    /// The stored copy of the grid is not valid.
    #[error(transparent)]
    Grid(#[from] GridErrors),
    /// The compose service that the grid names cannot be read.
    #[error(transparent)]
    Service(#[from] ComposeError),
}

/// What a sweep is resumed with.
#[derive(Debug)]
pub struct Resumable {
    /// The grid, which comes to what it came to when the sweep began.
    pub grid: Grid,
    /// The image that earlier sessions used: another one is refused.
    pub image_id: Option<String>,
}

/// Reads the grid of a sweep again, its compose service included, and checks that
/// the sweep may be resumed with it. Secrets that it leads to are added to `secrets`.
///
/// # Errors
/// Why it may not.
pub async fn check(folder: &Folder, secrets: &Secrets) -> Result<Resumable, ResumeError> {
    let manifest = folder.manifest()?;
    check_files(folder, &manifest).map_err(ResumeError::Changed)?;
    let file = GridFile::read(&folder.grid_path(), &read_options(folder, &manifest))?;
    service::learn(&file, secrets);
    let started = service::read(&file, Need::Sweep).await?;
    if let Some(service) = &started.service {
        service.reveal_to(secrets);
    }
    let mut grid = service::complete(file, &started);
    check_grid(&manifest, &grid, secrets).map_err(ResumeError::Changed)?;
    // What the grid leaves open is what it was: defaults of this version may be others.
    grid.strategy.clone_from(&manifest.strategy);
    Ok(Resumable { grid, image_id: image_id(&folder.record()?) })
}

/// Compares the stored copy of the grid and the original with what the sweep
/// began with. The original may be missing, or on another machine: the copy is enough.
///
/// # Errors
/// Which file differs.
fn check_files(folder: &Folder, manifest: &Manifest) -> Result<(), Difference> {
    for path in [folder.grid_path(), folder.original_grid(manifest)] {
        let Ok(bytes) = std::fs::read(&path) else { continue };
        if hexadecimal(&Sha256::digest(&bytes)) != manifest.grid_sha256 {
            return Err(Difference::Grid(path));
        }
    }
    Ok(())
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

/// Compares what the grid comes to now with what it came to.
///
/// # Errors
/// What differs.
fn check_grid(manifest: &Manifest, grid: &Grid, secrets: &Secrets) -> Result<(), Difference> {
    let files = grid.datasets.files();
    if let Some(file) = manifest.datasets.iter().find(|file| !files.contains(file)) {
        return Err(Difference::Dataset(grid.datasets.path_of(&file.path)));
    }
    // The manifest was written without the secrets that were known then, and others are
    // known now: what is compared was computed before anything was masked.
    let request = |it: &Configuration| (it.name.clone(), it.aliases.clone(), it.id.clone());
    let before = manifest.configurations.iter().map(request);
    let workloads_are_same = match &manifest.workloads_sha256 {
        Some(before) => workloads_sha256(&grid.workloads).as_ref() == Some(before),
        None => secrets.masked(grid.workloads.clone()).is_ok_and(|it| it == manifest.workloads),
    };
    let same = grid.configurations.iter().map(request).eq(before) && workloads_are_same;
    if !same {
        let compose = match &grid.engine {
            EngineBlock::Docker(DockerBlock { compose, .. }) => compose.clone(),
            _ => None,
        };
        return Err(Difference::Configurations { compose });
    }
    Ok(())
}

/// The image that earlier sessions used: a resume on another one is refused.
fn image_id(record: &SweepRecord) -> Option<String> {
    let facts = record.launches.iter().rev().filter_map(|launch| launch.facts.as_ref());
    facts.into_iter().find_map(|facts| facts.image_id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::service::Started;
    use crate::sweep::run::Sweep;

    const GRID: &str = "name: g\nengine: {simulated: {model: Qwen/Qwen3-1.7B, gpu: rtx-4090}}\nparameters: {max-num-seqs: [1, 2], tokenizer: [/m/word-of-a-path]}\n\
        workloads: {kv-cache: {}}\nobjective: {minimize: kv_cache.ttft_resent_ms}\n";

    async fn begun(change: impl FnOnce(&Path, &Folder)) -> Result<Resumable, ResumeError> {
        let place = tempfile::tempdir().expect("a folder");
        let path = place.path().join("g.yaml");
        std::fs::write(&path, GRID).expect("a grid");
        let file = GridFile::read(&path, &ReadOptions::default()).expect("a valid grid");
        let grid = service::complete(file, &Started::default());
        let output = place.path().join("run");
        let sweep =
            Sweep::begin(&grid, Some(&output), jiff::Timestamp::UNIX_EPOCH, &Secrets::default());
        drop(sweep.expect("a new sweep"));
        let folder = Folder::existing(&output).expect("a sweep");
        change(&path, &folder);
        check(&folder, &Secrets::default()).await
    }

    #[tokio::test]
    async fn a_sweep_is_resumed_with_the_grid_that_it_began_with() {
        let resumable = begun(|_, _| {}).await.expect("nothing changed");
        assert_eq!((resumable.grid.configurations.len(), resumable.image_id), (2, None));
        let without = begun(|path, _| std::fs::remove_file(path).expect("removed")).await;
        assert!(without.is_ok(), "the stored copy is enough");
    }

    #[tokio::test]
    async fn a_sweep_keeps_the_strategy_that_it_began_with() {
        use crate::strategy::{GridStrategy, StrategySpec};
        // Defaults of an older version: the grid itself names no strategy.
        let spec = GridStrategy { launches: 2, repeats: 5, auto: false, seed: 1 };
        let older = StrategySpec::Grid(spec);
        let resumed = begun(|_, folder| {
            let mut manifest = folder.manifest().expect("a manifest");
            assert_ne!(manifest.strategy, older);
            manifest.strategy = older.clone();
            folder.write_manifest(&manifest, &Secrets::default()).expect("written");
        });
        assert_eq!(resumed.await.expect("it may").grid.strategy, older);
    }

    #[tokio::test]
    async fn what_changed_is_named() {
        let write = |path: &Path| std::fs::write(path, GRID.replace("[1, 2]", "[1, 3]"));
        let original = begun(|path, _| write(path).expect("written")).await;
        let Err(ResumeError::Changed(Difference::Grid(path))) = original else {
            panic!("{original:?}")
        };
        assert!(path.ends_with("g.yaml"), "{path:?}");
        let copy = begun(|_, folder| write(&folder.grid_path()).expect("written")).await;
        assert!(matches!(copy, Err(ResumeError::Changed(Difference::Grid(_)))), "{copy:?}");
        let other = begun(|_, folder| {
            let mut manifest = folder.manifest().expect("a manifest");
            manifest.configurations.pop();
            folder.write_manifest(&manifest, &Secrets::default()).expect("written");
        });
        let other = other.await;
        let expected = Difference::Configurations { compose: None };
        assert!(matches!(&other, Err(ResumeError::Changed(it)) if *it == expected), "{other:?}");
    }

    #[tokio::test]
    async fn secrets_that_are_known_only_then_change_nothing() {
        let resumed = begun(|_, folder| {
            let secrets = Secrets::default();
            secrets.add("word-of-a-path");
            let manifest = folder.manifest().expect("a manifest");
            folder.write_manifest(&manifest, &secrets).expect("written");
            let masked = folder.manifest().expect("a manifest");
            assert_ne!(masked.configurations, manifest.configurations);
        });
        let resumed = resumed.await;
        assert!(resumed.is_ok(), "{resumed:?}");
    }

    #[tokio::test]
    async fn other_workloads_are_refused() {
        let other = begun(|_, folder| {
            let mut manifest = folder.manifest().expect("a manifest");
            assert!(manifest.workloads_sha256.is_some());
            manifest.workloads_sha256 = Some("0".to_owned());
            folder.write_manifest(&manifest, &Secrets::default()).expect("written");
        });
        let other = other.await;
        assert!(
            matches!(&other, Err(ResumeError::Changed(Difference::Configurations { .. }))),
            "{other:?}"
        );
        let older = begun(|_, folder| {
            let mut manifest = folder.manifest().expect("a manifest");
            manifest.workloads_sha256 = None;
            folder.write_manifest(&manifest, &Secrets::default()).expect("written");
        });
        assert!(older.await.is_ok(), "an older version wrote no hash");
    }
}
