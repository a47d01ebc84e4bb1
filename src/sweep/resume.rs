//! Whether a sweep may be resumed: it may where its grid, the files that its
//! prompts come from and what the configurations come to are what they were.
//! Nothing is launched here.

use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::configuration::hexadecimal;
use crate::grid::{DockerBlock, EngineBlock, Grid, ReadOptions};
use crate::history::folder::Folder;
use crate::history::record::{Manifest, SweepRecord};
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

/// Compares the stored copy of the grid and the original with what the sweep
/// began with. The original may be missing, or on another machine: the copy is enough.
///
/// # Errors
/// Which file differs.
pub fn check_files(folder: &Folder, manifest: &Manifest) -> Result<(), Difference> {
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
pub fn read_options(folder: &Folder, manifest: &Manifest) -> ReadOptions {
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
pub fn check_grid(manifest: &Manifest, grid: &Grid, secrets: &Secrets) -> Result<(), Difference> {
    let files = grid.datasets.files();
    if let Some(file) = manifest.datasets.iter().find(|file| !files.contains(file)) {
        return Err(Difference::Dataset(grid.datasets.path_of(&file.path)));
    }
    // The manifest was written without secrets.
    let same =
        secrets.masked(grid.configurations.clone()).is_ok_and(|it| it == manifest.configurations)
            && secrets.masked(grid.workloads.clone()).is_ok_and(|it| it == manifest.workloads);
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
pub fn image_id(record: &SweepRecord) -> Option<String> {
    let facts = record.launches.iter().rev().filter_map(|launch| launch.facts.as_ref());
    facts.into_iter().find_map(|facts| facts.image_id.clone())
}
