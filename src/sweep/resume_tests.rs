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
        machine: Some(crate::machine::Machine::default()),
        image_id: None,
        production: None,
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
        happened_at: None,
        entry,
    };
    let facts = serde_json::from_value(serde_json::json!({
        "id": "1", "name": "p", "image_id": "i", "started_at": "", "running": true,
        "configuration_sha256": "a",
    }));
    let facts = facts.expect("facts");
    let stopping = Entry::Production { production: ProductionStep::Stopping { facts } };
    let mut lines = vec![line(1, stopping)];
    let noted = |lines: &[Line]| noted_production(lines).map(|it| it.sha256);
    assert_eq!(noted(&lines).as_deref(), Some("a"));
    let resumable = begun(|_, _| {}).await.expect("nothing changed");
    let mut now = with();
    now.host = "there".to_owned();
    now.machine.as_mut().expect("known").kernel = Some("6.8.0".to_owned());
    now.suite_version += 1;
    now.production = Some(Configured { sha256: "b".to_owned(), ..Configured::default() });
    let block = resumable.continues(&now, true).expect("accepted").block.expect("a block");
    let block = Box::new(block);
    lines.push(line(2, Entry::BlockStarted { block }));
    assert_eq!(noted(&lines).as_deref(), Some("b"));
    assert_eq!(noted(&[]), None);
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
async fn a_lost_copy_of_the_grid_is_named_with_what_replaces_it() {
    let lost = |_: &Path, folder: &Folder| {
        std::fs::remove_file(folder.grid_path()).expect("removed");
    };
    let said = begun(lost).await.expect_err("it is lost").to_string();
    assert!(said.contains("grid.yaml is missing") && said.contains("`cp "), "{said}");
    let both = |path: &Path, folder: &Folder| {
        lost(path, folder);
        std::fs::write(path, "name: another").expect("written");
    };
    let said = begun(both).await.expect_err("it is lost").to_string();
    assert!(said.contains("from a backup") && !said.contains("`cp "), "{said}");
}

#[tokio::test]
async fn what_changed_is_named() {
    let write = |path: &Path| std::fs::write(path, GRID.replace("[1, 2]", "[1, 3]"));
    let original = found(begun(|path, _| write(path).expect("written")).await);
    let [Difference::Grid(path)] = original.as_slice() else { panic!("{original:?}") };
    assert!(path.ends_with("g.yaml"), "{path:?}");
    let copy = found(begun(|_, folder| write(&folder.grid_path()).expect("written")).await);
    assert!(matches!(&copy[..], [Difference::Grid(_)]), "what follows is not listed: {copy:?}");
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
    let manifest = |grid: &Grid| Manifest::of(grid, "s".to_owned(), jiff::Timestamp::UNIX_EPOCH);
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
        production: None,
        seen,
    };
    assert!(resumable.refused(false).is_some());
    assert!(resumable.refused(true).is_none(), "an engine is asked");
    let now = MeasuredWith { machine: Some(Machine::default()), ..with() };
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
    assert!(matches!(&found[..], [Difference::Configurations { .. }]), "not recorded: {found:?}");
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
