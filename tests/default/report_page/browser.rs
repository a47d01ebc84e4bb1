//! Pages in a real browser: `tests/browser/prepare.sh` installs it, `tests/browser/check.py` does
//! the looking.

use std::path::{Path, PathBuf};
use std::process::Command;

use vllm_grid::history::extent::State;

use super::made::Made;

#[test]
#[ignore = "needs a browser"]
fn pages_hold_in_a_browser() {
    let folder = tempfile::tempdir().unwrap();
    // Its links lead to files: it lies where a run's page lies.
    let run = folder.path().join("run");
    std::fs::create_dir(&run).unwrap();
    std::os::unix::fs::symlink(
        Path::new("runs/example/launches").canonicalize().unwrap(),
        run.join("launches"),
    )
    .unwrap();
    let put = |name: &str, made: &Made| {
        let path = run.join(name);
        std::fs::write(&path, made.page()).unwrap();
        path
    };
    let example = Made::example();
    let drawn: Vec<&str> =
        example.pictures.iter().filter(|it| it.svg.is_some()).map(|it| it.id.as_str()).collect();
    let screenshots = std::env::var_os("VLLM_GRID_TEST_SCREENSHOTS")
        .map_or_else(|| folder.path().join("screenshots"), PathBuf::from);
    check(&screenshots, &["--pictures", &drawn.join(",")], &put("example.html", &example));
    check(&screenshots, &[], &put("hostile.html", &Made::hostile()));
    check(&screenshots, &["--partial"], &put("partial.html", &Made::partial(State::Running)));
}

fn check(screenshots: &Path, options: &[&str], page: &Path) {
    let home = std::env::var_os("VLLM_GRID_TEST_BROWSER")
        .map_or_else(|| PathBuf::from("/opt/vllm-grid-browser"), PathBuf::from);
    let output = Command::new(home.join("venv/bin/python"))
        .arg("tests/browser/check.py")
        .arg("--into")
        .arg(screenshots)
        .args(options)
        .arg(page)
        .output()
        .expect("tests/browser/prepare.sh installs it");
    let (said, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}:\n{said}{errors}", page.display());
}
