//! Whether a sweep may be resumed: it may where its grid, what the configurations come to
//! and what is measured with are what they were, or a person accepts what changed. Files are
//! read here; what a difference means is in [`super::difference`]. Nothing is launched.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::difference::{Asks, Before, Changed, Continues, Difference, Weight, continues};
use super::measured_with::{MeasuredWith, see_production};
use crate::configuration::{Configuration, hexadecimal};
use crate::engine::compose::ComposeError;
use crate::engine::service::{self, Need};
use crate::grid::{DockerBlock, EngineBlock, Grid, GridErrors, GridFile, ReadOptions};
use crate::history::HistoryError;
use crate::history::folder::{Folder, SeenFolder};
use crate::history::journal::{JournalError, Line};
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
    /// The stored copy of the grid is not valid.
    #[error(transparent)]
    Grid(#[from] GridErrors),
    /// The compose service that the grid names cannot be read.
    #[error(transparent)]
    Service(#[from] ComposeError),
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
    /// Hash of production's container, where it was noted.
    production_sha256: Option<String>,
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
            production_sha256: self.production_sha256.as_deref(),
            production_is_baseline: baseline.is_some_and(|it| it.answers_to("production")),
        };
        differences.extend(before.differences(now));
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
    let seen = seen.map_err(HistoryError::from)?;
    let record = folder.record_of(manifest, &seen)?;
    let manifest = &record.manifest;
    let mut differences = changed_files(folder, manifest);
    let read = GridFile::read(&folder.grid_path(), &read_options(folder, manifest));
    let file = match read {
        Ok(file) => file,
        // A file that differs may be damaged, too: the change is what to report.
        Err(_) if !differences.is_empty() => return Err(changed(&record, differences).into()),
        Err(errors) => return Err(errors.into()),
    };
    service::learn(&file, secrets);
    let started = service::read(&file, Need::Sweep).await?;
    started.reveal_to(secrets);
    let mut grid = service::complete(file, &started);
    differences.extend(changed_grid(manifest, &grid, secrets));
    // What the grid leaves open is what it was: defaults of this version may be others.
    grid.strategy.clone_from(&manifest.strategy);
    let guards = matches!(&grid.engine, EngineBlock::Docker(block) if block.production.is_some());
    let production_sha256 = guards.then(|| production_sha256(seen.lines())).flatten();
    Ok(Resumable { grid, record, differences, production_sha256, seen })
}

/// The hash of production's container as the latest block saw it first.
pub(super) fn production_sha256(lines: &[Line]) -> Option<String> {
    let mut seen = None;
    for line in lines {
        see_production(&mut seen, &line.entry);
    }
    seen
}

/// The stored copy of the grid and the original, where they are not what the sweep began
/// with. The original may be missing, or on another machine: the copy is enough.
fn changed_files(folder: &Folder, manifest: &Manifest) -> Vec<Difference> {
    let differs = |path: &PathBuf| {
        let bytes = input::read(path, input::MAX_TEXT).ok();
        bytes.is_some_and(|bytes| hexadecimal(&Sha256::digest(&bytes)) != manifest.grid_sha256)
    };
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
mod tests {
    use super::*;
    use crate::engine::service::Started;
    use crate::grid::ServiceBase;
    use crate::history::journal::Entry;
    use crate::history::production::ProductionStep;
    use crate::machine::Machine;
    use crate::sweep::run::Sweep;

    const GRID: &str = "name: g\nengine: {simulated: {model: Qwen/Qwen3-1.7B, gpu: rtx-4090}}\nparameters: {max-num-seqs: [1, 2], tokenizer: [/m/word-of-a-path]}\n\
        workloads: {kv-cache: {}}\nobjective: {minimize: kv_cache.ttft_resent_ms}\n";

    fn with() -> MeasuredWith {
        MeasuredWith {
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            suite_version: crate::workload::SUITE_VERSION,
            host: crate::history::record::host(),
            machine: crate::machine::Machine::default(),
            image_id: None,
            production_sha256: None,
            service_parts: None,
        }
    }

    /// A sweep that was begun, and then changed. What differs is an error.
    async fn begun(change: impl FnOnce(&Path, &Folder)) -> Result<Resumable, ResumeError> {
        let place = tempfile::tempdir().expect("a folder");
        let path = place.path().join("g.yaml");
        std::fs::write(&path, GRID).expect("a grid");
        let file = GridFile::read(&path, &ReadOptions::default()).expect("a valid grid");
        let grid = service::complete(file, &Started::default());
        let output = place.path().join("run");
        let (now, secrets) = (jiff::Timestamp::UNIX_EPOCH, Secrets::default());
        let sweep = Sweep::begin_with(&grid, Some(&output), now, &secrets, Some(with()));
        drop(sweep.expect("a new sweep"));
        let folder = Folder::existing(&output).expect("a sweep");
        change(&path, &folder);
        let resumable = check(&folder, &Secrets::default()).await?;
        resumable.continues(&with(), false)?;
        Ok(resumable)
    }

    /// What differs.
    fn found(result: Result<Resumable, ResumeError>) -> Vec<Difference> {
        match result {
            Err(ResumeError::Changed(changed)) => changed.differences,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_sweep_is_resumed_with_the_grid_that_it_began_with() {
        let resumable = begun(|_, _| {}).await.expect("nothing changed");
        assert_eq!(resumable.grid.configurations.len(), 2);
        assert!(resumable.refused(false).is_none());
        let without = begun(|path, _| std::fs::remove_file(path).expect("removed")).await;
        assert!(without.is_ok(), "the stored copy is enough");
    }

    #[tokio::test]
    async fn production_is_compared_with_what_the_latest_block_saw() {
        let line = |sequence, entry| Line {
            sequence,
            at: jiff::Timestamp::UNIX_EPOCH,
            elapsed_ms: None,
            entry,
        };
        let facts = serde_json::from_value(serde_json::json!({
            "id": "1", "name": "p", "image_id": "i", "started_at": "", "running": true,
            "configuration_sha256": "a",
        }));
        let facts = facts.expect("facts");
        let stopping = Entry::Production { production: ProductionStep::Stopping { facts } };
        let mut lines = vec![line(1, stopping)];
        assert_eq!(production_sha256(&lines).as_deref(), Some("a"));
        let resumable = begun(|_, _| {}).await.expect("nothing changed");
        let mut now = with();
        now.host = "there".to_owned();
        now.machine.kernel = Some("6.8.0".to_owned());
        now.suite_version += 1;
        now.production_sha256 = Some("b".to_owned());
        let block = resumable.continues(&now, true).expect("accepted").block.expect("a block");
        let block = Box::new(block);
        lines.push(line(2, Entry::BlockStarted { block }));
        assert_eq!(production_sha256(&lines).as_deref(), Some("b"));
        assert_eq!(production_sha256(&[]), None);
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
        let original = found(begun(|path, _| write(path).expect("written")).await);
        let [Difference::Grid(path)] = original.as_slice() else { panic!("{original:?}") };
        assert!(path.ends_with("g.yaml"), "{path:?}");
        let copy = found(begun(|_, folder| write(&folder.grid_path()).expect("written")).await);
        assert!(matches!(&copy[0], Difference::Grid(_)), "{copy:?}");
        let damaged = |path: &Path| std::fs::write(path, "name: [");
        let copy = begun(|_, folder| damaged(&folder.grid_path()).expect("written")).await;
        assert!(matches!(&found(copy)[..], [Difference::Grid(_)]), "it cannot be read, too");
        let other = found(
            begun(|_, folder| {
                let mut manifest = folder.manifest().expect("a manifest");
                manifest.configurations.pop();
                folder.write_manifest(&manifest, &Secrets::default()).expect("written");
            })
            .await,
        );
        assert_eq!(other, [Difference::Configurations { compose: None }]);
    }

    const SERVED: &str = "name: g\nengine: {docker: {compose: c.yaml, service: llm}}\nparameters: {max-num-seqs: [16, 64]}\n\
        workloads: {kv-cache: {}}\nobjective: {minimize: kv_cache.ttft_resent_ms}\n";

    /// The grid of a service with that image and those flags in its command.
    fn served(image: &str, flags: &[(&str, i64)]) -> Grid {
        let place = tempfile::tempdir().expect("a folder");
        let path = place.path().join("g.yaml");
        std::fs::write(&path, SERVED).expect("a grid");
        let file = GridFile::read(&path, &ReadOptions::default()).expect("a valid grid");
        let flags = flags.iter().map(|(name, value)| ((*name).to_owned(), (*value).into()));
        let (image, model) = (image.to_owned(), Some("m".to_owned()));
        file.with_service(ServiceBase { image, model, flags: flags.collect() })
    }

    fn changed_to(before: &SweepRecord, now: &Grid) -> Vec<Difference> {
        changed_grid(&before.manifest, now, &Secrets::default())
    }

    #[test]
    fn another_image_in_the_compose_file_is_named_and_accepted_and_nothing_else_is() {
        let seed = [("seed", 1)];
        let manifest =
            |grid: &Grid| Manifest::of(grid, "s".to_owned(), jiff::Timestamp::UNIX_EPOCH);
        let first = served("vllm/vllm-openai:v0.10.1", &seed);
        let mut record = SweepRecord::new(manifest(&first));
        assert!(changed_to(&record, &first).is_empty());
        let then: Vec<String> = first.configurations.iter().map(|it| it.id.clone()).collect();

        let newer = served("vllm/vllm-openai:v0.11.0", &seed);
        let differences = changed_to(&record, &newer);
        let [named] = differences.as_slice() else { panic!("{differences:?}") };
        assert_eq!(named.weight(), Weight::NewBlock);
        let text = named.to_string();
        assert!(
            text.ends_with("c.yaml: vllm/vllm-openai:v0.10.1 -> vllm/vllm-openai:v0.11.0"),
            "{text}"
        );
        assert!(text.starts_with("image in "), "{text}");
        let place = tempfile::tempdir().expect("a folder");
        let output = place.path().join("run");
        let made = Folder::create("g", jiff::Timestamp::UNIX_EPOCH, Some(&output));
        let seen = made.expect("a new folder").0.see().expect("no journal yet");
        let resumable = Resumable {
            grid: newer.clone(),
            record: record.clone(),
            differences,
            production_sha256: None,
            seen,
        };
        assert!(resumable.refused(false).is_some());
        assert!(resumable.refused(true).is_none(), "an engine is asked");
        let now = MeasuredWith { machine: Machine::default(), ..with() };
        let refused = resumable.continues(&now, false).expect_err("refused");
        assert!(refused.advice().contains("add --accept-change"), "{}", refused.advice());
        let block = resumable.continues(&now, true).expect("accepted").block.expect("a block");

        // The block is that image's, and so is what the next session is compared with.
        record.begin_block(&block);
        assert!(changed_to(&record, &newer).is_empty());
        let back = changed_to(&record, &first);
        assert!(back[0].to_string().ends_with("v0.11.0 -> vllm/vllm-openai:v0.10.1"), "{back:?}");
        let configuration = &record.manifest.configurations[0];
        assert_eq!(configuration.id, newer.configurations[0].id);
        assert_eq!(
            (record.id_in(1, configuration), &record.id_in(2, configuration)),
            (then[0].clone(), &configuration.id)
        );

        for (image, flags) in [
            ("vllm/vllm-openai:v0.11.0", &[("seed", 2)][..]),
            ("vllm/vllm-openai:v0.11.0", &[("seed", 1), ("max-model-len", 4096)]),
            ("vllm/vllm-openai:v0.12.0", &[("seed", 2)]),
            ("vllm/vllm-openai:v0.12.0", &[]),
        ] {
            let found = changed_to(&record, &served(image, flags));
            assert_eq!(found[0].weight(), Weight::NewSweep, "{image} {flags:?}");
            let names_image = found.iter().any(|it| matches!(it, Difference::NamedImage { .. }));
            assert_eq!(names_image, image.ends_with("v0.12.0"), "{found:?}");
        }
        let mut older = record;
        older.manifest.image = None;
        let found = changed_to(&older, &first);
        assert!(
            matches!(&found[..], [Difference::Configurations { .. }]),
            "not recorded: {found:?}"
        );
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
        let other = found(other.await);
        assert!(matches!(&other[..], [Difference::Configurations { .. }]), "{other:?}");
        let older = begun(|_, folder| {
            let mut manifest = folder.manifest().expect("a manifest");
            manifest.workloads_sha256 = None;
            folder.write_manifest(&manifest, &Secrets::default()).expect("written");
        });
        assert!(older.await.is_ok(), "an older version wrote no hash");
    }
}
