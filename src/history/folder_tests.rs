use super::*;

#[test]
fn a_failed_write_leaves_the_old_file_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results.csv");
    std::fs::write(&path, "old").unwrap();
    let failed = write_whole(&path, |file| {
        file.write_all(b"half")?;
        Err(io::Error::other("stopped"))
    });
    assert_eq!(failed.unwrap_err().to_string(), "stopped");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    write_whole(&path, |file| file.write_all(b"new")).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn two_writers_of_one_file_do_not_disturb_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    // The second writes and renames while the first is in the middle of it.
    write_whole(&path, |file| {
        file.write_all(b"the first, ")?;
        write_whole(&path, |file| file.write_all(b"the second"))?;
        assert_eq!(std::fs::read_to_string(&path)?, "the second");
        file.write_all(b"whole")
    })
    .unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "the first, whole");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_link_under_a_name_that_can_be_guessed_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    let theirs = folder.path().join("theirs");
    std::fs::write(&theirs, "theirs").unwrap();
    std::os::unix::fs::symlink(&theirs, folder.path().join(".report.html.tmp")).unwrap();
    write_whole(&path, |file| file.write_all(b"ours")).unwrap();
    assert_eq!(std::fs::read_to_string(&theirs).unwrap(), "theirs");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "ours");
}

#[test]
fn a_manifest_of_another_version_is_not_called_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = |text: String| {
        std::fs::write(folder.path().join("manifest.json"), text).unwrap();
        Folder(folder.path().to_owned()).manifest().unwrap_err().to_string()
    };
    let of = |version: &str| format!(r#"{{"schema_version": 1, "tool_version": "{version}"}}"#);
    let other = manifest(of("99.0.0"));
    assert!(other.contains("version 99.0.0") && !other.contains("damaged"), "{other}");
    let own = manifest(of(env!("CARGO_PKG_VERSION")));
    assert!(own.contains("it is damaged (missing field"), "{own}");
    let newer = manifest(r#"{"schema_version": 99}"#.to_owned());
    assert!(newer.contains("a newer version wrote it"), "{newer}");
}

#[test]
fn a_run_that_lost_its_manifest_is_said_to_have_lost_it_with_what_is_left() {
    let place = tempfile::tempdir().unwrap();
    let run = place.path().join("a run");
    std::fs::create_dir(&run).unwrap();
    let refused = || Folder::existing(&run).unwrap_err();
    assert!(matches!(refused(), HistoryError::NoSweep(_)), "{}", refused());
    std::fs::create_dir(run.join("launches")).unwrap();
    let said = refused().to_string();
    assert!(said.contains("a run/manifest.json: it is missing: restore it from a copy"), "{said}");
    let recover = format!("`vllm-grid recover '{}'` needs none", run.display());
    assert!(said.contains(&recover) && !said.contains("grid.yaml"), "{said}");
    for (file, part) in
        [("grid.yaml", "its grid is in "), ("journal.jsonl", "its measurements are in ")]
    {
        std::fs::write(run.join(file), "").unwrap();
        let said = refused().to_string();
        let part = format!("{part}{}", run.join(file).display());
        assert!(said.contains(&part), "{part}: {said}");
    }
    std::fs::remove_dir(run.join("launches")).unwrap();
    std::fs::remove_file(run.join("journal.jsonl")).unwrap();
    assert!(matches!(refused(), HistoryError::NoSweep(_)), "a grid alone is no run");
    std::fs::write(run.join("journal.saved-20261128T000000Z"), "").unwrap();
    assert!(refused().to_string().contains("restore it from a copy"), "{}", refused());
}

#[test]
fn whether_a_file_can_be_written_is_found_out_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.parquet");
    can_write(&path).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    std::fs::write(&path, "old").unwrap();
    can_write(&path).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
    let kind = |path: &Path| can_write(path).unwrap_err().kind();
    assert_eq!(kind(folder.path()), io::ErrorKind::IsADirectory);
    assert_eq!(kind(&folder.path().join("no/records.parquet")), io::ErrorKind::NotFound);
    assert_eq!(kind(&path.join("x")), io::ErrorKind::NotADirectory);
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn only_its_user_can_look_into_a_run() {
    let place = tempfile::tempdir().unwrap();
    let output = place.path().join("nights/one");
    let (folder, _) = Folder::create("g", jiff::Timestamp::UNIX_EPOCH, Some(&output)).unwrap();
    assert_eq!(mode(folder.path()), 0o700);
    let launch = folder.launch(1, "a");
    Folder::create_launch(&launch).unwrap();
    assert_eq!((mode(&launch), mode(&folder.launches_path())), (0o700, 0o700));
    let path = folder.path().join("results.csv");
    write_whole(&path, |file| file.write_all(b"x")).unwrap();
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn a_launch_never_gets_the_folder_of_another_or_makes_a_run_again() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder(place.path().to_owned());
    let launch = folder.launch(1, "a");
    Folder::create_launch(&launch).unwrap();
    let error = Folder::create_launch(&launch).unwrap_err();
    assert!(
        matches!(&error, HistoryError::Io { error, .. } if error.kind() == io::ErrorKind::AlreadyExists)
    );
    assert_eq!(folder.launches(), [(1, "1-a".to_owned())]);
    let gone = Folder(place.path().join("gone"));
    assert!(Folder::create_launch(&gone.launch(1, "a")).is_err());
    assert!(!gone.path().exists());
}

#[test]
fn whatever_a_configuration_is_called_its_launch_stays_in_the_run() {
    let folder = Folder("run".into());
    let long = "x".repeat(5000);
    let names =
        ["../../x", "/x", "..", "a/b", "a\0b", "a\u{1b}]0;t\u{7}", "x.", "a b", "é", "", &long];
    let mut all: Vec<PathBuf> = names.iter().map(|name| folder.launch(1, name)).collect();
    for path in &all {
        assert_eq!(path.parent(), Some(Path::new("run/launches")), "{path:?}");
        assert!(path.components().all(|part| matches!(part, Component::Normal(_))), "{path:?}");
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name.len() < 200 && name.starts_with("1-"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_graphic()), "{name}");
    }
    all.push(folder.launch(1, &"x".repeat(4999)));
    all.sort();
    all.dedup();
    assert_eq!(all.len(), names.len() + 1, "no two meet");
    assert_eq!(folder.launch(7, "util0.85-prefix"), Path::new("run/launches/7-util0.85-prefix"));
}

#[test]
fn a_folder_that_may_not_be_looked_into_is_said_to_be_another_users() {
    let place = tempfile::tempdir().unwrap();
    let own = input::user_of(rustix::process::geteuid().as_raw());
    // The second one is not even seen: the folder around it tells whose it is.
    for folder in [place.path().to_owned(), place.path().join("hidden/run")] {
        let said = |kind: io::ErrorKind| {
            let refused = InputError::Io(io::Error::from(kind));
            holds_none(&folder, &folder.join("manifest.json"), refused)
        };
        let denied = said(io::ErrorKind::PermissionDenied);
        assert!(matches!(&denied, HistoryError::Denied { path, .. } if *path == folder));
        let expected =
            format!("{} cannot be read: permission denied (it belongs to {own})", folder.display());
        assert_eq!(denied.to_string(), expected);
        let other = said(io::ErrorKind::NotADirectory);
        assert!(matches!(other, HistoryError::NoSweep(_)), "{other}");
    }
}
