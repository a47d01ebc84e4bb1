//! A tested configuration, applied with the real compose tool: the override that `apply`
//! writes is deployed by the command that it prints, and what runs is what was tested.

use std::process::Command;

use crate::script;
use crate::{Site, code, docker, read, text};

/// What a command prints, and how it ends.
fn ran(site: &Site, arguments: &[&str], expected: i32) -> String {
    let output = site.command(arguments).output().unwrap();
    let printed = text(&output);
    assert_eq!(output.status.code(), Some(expected), "{arguments:?}: {printed}");
    printed
}

/// Runs the command that `apply` printed.
fn deploy(site: &Site, printed: &str) {
    let line = printed.lines().find_map(|line| line.strip_prefix("deploy:  ")).unwrap();
    let up =
        Command::new("sh").args(["-c", line]).current_dir(site.folder.path()).output().unwrap();
    assert!(up.status.success(), "{line}: {}", text(&up));
}

/// Waits until the check ends with this code: what was just made starts for a moment.
fn checked(site: &Site, name: &str, expected: i32) -> String {
    let check = ["apply", "--check", "run", "--configuration", name];
    site.until("the check", |site| {
        let output = site.command(&check).output().unwrap();
        output.status.code() == Some(expected) && !text(&output).contains("does not answer")
    });
    ran(site, &check, expected)
}

#[test]
#[ignore = "needs Docker"]
fn a_candidate_is_applied_and_what_runs_is_what_was_tested() {
    let site = Site::new("");
    let (ended, printed) = code(site.sweep());
    assert_eq!(ended, Some(0), "{printed}");
    let compose = read(&site.folder.path().join("compose.yaml"));
    ran(&site, &["apply", "run"], 2);
    let noprefix = ["apply", "run", "--configuration", "noprefix"];
    let printed = ran(&site, &noprefix, 0);
    assert!(printed.contains("+--no-enable-prefix-caching"), "{printed}");
    // The service as it stands lacks the flag.
    ran(&site, &["apply", "--check", "run", "--configuration", "noprefix"], 1);
    deploy(&site, &printed);
    let equal = checked(&site, "noprefix", 0);
    assert!(equal.contains("equal: container ") && equal.contains("--max-num-seqs"), "{equal}");
    assert!(!equal.contains("sk-site"), "{equal}");
    assert_eq!(read(&site.folder.path().join("compose.yaml")), compose, "it is the user's");
    // Made from both files, the same is written again.
    let over = site.run().join("apply/compose.vllm-grid.yaml");
    let before = read(&over);
    ran(&site, &noprefix, 0);
    assert_eq!(read(&over), before);
    // One flag that somebody changes is found.
    std::fs::write(&over, before.replace("\"--max_num_seqs=64\"", "\"--max-num-seqs=63\""))
        .unwrap();
    deploy(&site, &printed);
    let differs = checked(&site, "noprefix", 1);
    assert!(
        differs.contains("--max-num-seqs") && differs.contains("runs 63, tested 64"),
        "{differs}"
    );
    docker(&["stop", "-t", "1", &format!("{}-production", site.name())]);
    ran(&site, &["apply", "--check", "run", "--configuration", "noprefix"], 3);
}

#[test]
#[ignore = "needs Docker"]
fn a_script_is_applied_whole_with_its_variables_as_they_are_written() {
    let site = script::site(script::GRID);
    let (ended, printed) = code(site.sweep());
    assert_eq!(ended, Some(0), "{printed}");
    let manifest = read(&site.run().join("manifest.json"));
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let all = manifest["configurations"].as_array().unwrap();
    let mut named = all.iter().map(|it| it["name"].as_str().unwrap());
    let name = named.rfind(|name| *name != "production").unwrap().to_owned();
    let printed = ran(&site, &["apply", "run", "--configuration", &name], 0);
    assert!(!printed.contains(script::KEY), "{printed}");
    let over = read(&site.run().join("apply/compose.vllm-grid.yaml"));
    for kept in [
        "--kv-cache-dtype ${KV_DTYPE_OF_THE_SITE:-fp8} \\",
        "[ \"$$i\" -gt 60 ] && { echo \"dépôt absent : vllm serve n'est pas lancé\" >&2; exit 1; }",
        "--api-key \"$$SERVE_KEY\" \\",
    ] {
        assert!(over.lines().any(|line| line.trim() == kept), "{kept}: {over}");
    }
    assert!(!over.contains("entrypoint") && !over.contains(script::KEY), "{over}");
    deploy(&site, &printed);
    let equal = checked(&site, &name, 0);
    assert!(equal.contains("--speculative-config") && !equal.contains(script::KEY), "{equal}");
}
