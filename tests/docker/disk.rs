//! Disks that fill up or become read-only while a sweep runs: real ones, which need the
//! right to mount. The engine is the simulated one.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{CACHING, Ran, Workplace};
use crate::words;

/// A file system of its own below a folder, gone with the value.
struct Disk(PathBuf);

impl Disk {
    fn new(path: PathBuf, size: &str) -> Self {
        std::fs::create_dir(&path).unwrap();
        let options = format!("size={size}");
        mount(&["-t", "tmpfs", "-o", &options, "tmpfs"], &path);
        Self(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn mount(arguments: &[&str], path: &Path) {
    let status = Command::new("mount").args(arguments).arg(path).status().unwrap();
    assert!(status.success(), "mount {arguments:?} needs the right to mount");
}

/// Takes all the space that is left.
fn fill(path: &Path) {
    let mut source = std::fs::File::open("/dev/zero").unwrap();
    let mut file = std::fs::File::create(path).unwrap();
    let error = std::io::copy(&mut source, &mut file).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
}

#[test]
#[ignore = "needs Docker"]
fn a_disk_that_fills_up_in_mid_sweep_loses_nothing_that_was_finished() {
    let place = Workplace::new(CACHING);
    let disk = Disk::new(place.path("disk"), "24m");
    let child = place.start(&["sweep", "grid.yaml", "--output", "disk/run"]);
    place.wait_for("disk/run", "repeat_finished", 2);
    fill(&disk.0.join("filler"));
    let ran = Ran::of(child.wait_with_output().unwrap()).expect(3);
    let said = words(&ran.err);
    assert!(
        said.contains("the disk is full") || said.contains("No space left on device"),
        "{}",
        ran.err
    );
    // The reserve held the end: the session ended in good order.
    assert_eq!(place.entries("disk/run", "session_ended"), 1);
    let kept = place.entries("disk/run", "repeat_finished");
    assert!(kept >= 2, "{kept}");
    let reported = place.run(&["report", "disk/run"]);
    assert!(reported.code.is_some_and(|code| code < 2), "{}", reported.err);

    // Nothing is launched while it is full, and production would not be touched.
    let ran = place.run(&["resume", "disk/run"]).expect(3);
    assert!(words(&ran.err).contains("are free on its disk"), "{}", ran.err);
    std::fs::remove_file(disk.0.join("filler")).unwrap();
    place.run(&["resume", "disk/run"]).expect(0);
    // Warm-ups are made again, kept repeats are not.
    let finished = place.entries("disk/run", "repeat_finished");
    assert!((12..=13).contains(&finished), "{finished}");
}

#[test]
#[ignore = "needs Docker"]
fn a_folder_that_cannot_be_written_is_an_error_before_anything_is_launched() {
    let place = Workplace::new(CACHING);
    let disk = Disk::new(place.path("disk"), "24m");
    let child = place.start(&["sweep", "grid.yaml", "--output", "disk/run"]);
    place.wait_for("disk/run", "repeat_finished", 2);
    crate::support::signal(&child, rustix::process::Signal::INT);
    Ran::of(child.wait_with_output().unwrap()).expect(4);
    let before = place.journal("disk/run");
    mount(&["-o", "remount,ro"], &disk.0);
    for arguments in
        [&["resume", "disk/run"][..], &["sweep", "grid.yaml", "--output", "disk/other"]]
    {
        let ran = place.run(arguments).expect(3);
        assert!(words(&ran.err).contains("Read-only file system"), "{}", ran.err);
    }
    let reported = place.run(&["report", "disk/run"]);
    assert!(reported.code.is_some_and(|code| code < 2), "{}", reported.err);
    mount(&["-o", "remount,rw"], &disk.0);
    assert_eq!(place.journal("disk/run"), before);
    place.run(&["resume", "disk/run"]).expect(0);
}
