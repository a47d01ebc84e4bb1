//! The systemd units that run `recover` at boot are valid, by systemd's own check.

use std::path::Path;
use std::process::Command;

#[test]
#[ignore = "needs systemd-analyze"]
fn the_systemd_units_are_valid() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/systemd");
    let place = tempfile::tempdir().unwrap();
    for (manager, file, unit) in [
        ("--system", "system/vllm-grid-recover@.service", "vllm-grid-recover@root.service"),
        ("--user", "user/vllm-grid-recover.service", "vllm-grid-recover.service"),
    ] {
        let text = std::fs::read_to_string(units.join(file)).unwrap();
        let program = text.lines().find_map(|it| it.strip_prefix("ExecStart=")).unwrap();
        let (program, arguments) = program.split_once(' ').unwrap();
        assert_eq!(arguments, "recover");
        // The program as it is here: a unit whose program is missing is not valid.
        let text = text.replace(program, env!("CARGO_BIN_EXE_vllm-grid"));
        let path = place.path().join(unit);
        std::fs::write(&path, &text).unwrap();
        let mut verify = Command::new("systemd-analyze");
        let verify = verify.args([manager, "verify", "--man=no"]).arg(&path);
        let verified = verify.env("XDG_RUNTIME_DIR", place.path()).output().unwrap();
        let said = String::from_utf8_lossy(&verified.stderr).into_owned();
        assert!(verified.status.success() && !said.contains(unit), "{unit}: {said}");
    }
}
