//! A run over a cluster in the hands of another user than its own: the cluster is asked for one's
//! own jobs, so that nothing is known of this run's, and nothing is claimed of them.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use jiff::Timestamp;
use vllm_grid::grid::SlurmBlock;
use vllm_grid::history::folder::Folder;
use vllm_grid::history::journal::{Entry, Journal};
use vllm_grid::history::record::SCHEMA_VERSION;
use vllm_grid::secret::Secrets;
use vllm_grid::strategy::Purpose;

use crate::results::builder::sweep;
use crate::slurm_plan::Cluster;

/// A user of no name.
const ANOTHER: u32 = 65_533;

/// A run whose controller is dead, and whose only job may run; gives what a node is writing.
fn left(run: &Path) -> std::path::PathBuf {
    let now = Timestamp::now();
    let (folder, _) = Folder::create("g", now, Some(run)).unwrap();
    let mut manifest = sweep(&["a"]).manifest;
    manifest.hosts = Some(SlurmBlock {
        partition: None,
        gres: None,
        at_once: 1,
        seconds: None,
        exclusive: true,
        options: Vec::new(),
    });
    folder.write_manifest(&manifest, &Secrets::default()).unwrap();
    let (mut journal, _) = Journal::open(&folder.journal_path()).unwrap();
    let begun = Entry::SessionStarted {
        schema_version: SCHEMA_VERSION,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        suite_version: None,
    };
    let launch = Entry::LaunchStarted {
        launch: 1,
        trial: 0,
        configuration: "a".to_owned(),
        purpose: Purpose::Screen,
        planned: 1,
        repeats: None,
        host: None,
        bar: None,
        gpus: None,
    };
    let job = Entry::JobSubmitted { launch: 1, job: "7".to_owned() };
    for entry in [begun, launch, job] {
        journal.append(now, entry).unwrap();
    }
    let launch = folder.launch(1, "a");
    Folder::create_launch(&launch).unwrap();
    let writes = launch.join(".effective.json.0123456789abcdef.tmp");
    fs::write(&writes, "{").unwrap();
    writes
}

#[test]
fn a_run_of_another_user_is_left_to_that_user() {
    // Only root can give a file to somebody.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let cluster = Cluster::new();
    for command in ["squeue", "scancel"] {
        cluster.command(command, "exit 0");
    }
    let run = cluster.path().join("run");
    let writes = left(&run);
    let give = |user: u32| chown(run.join("journal.jsonl"), Some(user), None).unwrap();
    give(ANOTHER);
    let ran = cluster.run(&["recover", "run"]).expect(3);
    assert!(ran.out.contains("it belongs to 65533, and jobs are asked for"), "{}", ran.out);
    assert!(ran.out.contains("/run` as 65533"), "{}", ran.out);
    assert!(writes.exists(), "a node may be writing it");
    assert!(!cluster.path().join("state/settled").exists(), "nothing is noted as settled");
    for arguments in [&["resume", "run"][..], &["resume", "run", "--accept-change"]] {
        let said = cluster.run(arguments).expect(2).said();
        assert!(said.contains("run belongs to 65533: its launches are jobs"), "{said}");
    }
    // Its own user is told what the cluster says.
    give(0);
    let ran = cluster.run(&["recover", "run"]).expect(0);
    assert_eq!(ran.out, "nothing to recover\n");
    assert!(!writes.exists());
    assert!(cluster.path().join("state/settled").exists());
}
