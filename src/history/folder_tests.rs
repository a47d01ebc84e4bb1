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
