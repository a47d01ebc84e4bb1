//! The suite's version and the code that measures: each change of that code needs a decision
//! whether figures change with it, in `tests/fixtures/suite-version.txt`. A wrong decision pools
//! figures that do not mix, or separates those that do.

use std::collections::BTreeMap;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use vllm_grid::configuration::hexadecimal;
use vllm_grid::workload::SUITE_VERSION;

/// What is measured, and how.
const MEASURING: [&str; 3] = ["src/bench", "src/client", "src/workload"];

const DECISIONS: &str = "tests/fixtures/suite-version.txt";

/// The variable with which the test writes a decision down: its reason.
const UPDATE: &str = "UPDATE_SUITE_VERSION";

/// One line: the hash of the code, the suite's version, and why it was raised or not.
#[derive(Debug, PartialEq)]
struct Decision {
    code: String,
    version: u32,
    reason: String,
}

fn decision(line: &str) -> Decision {
    let mut fields = line.splitn(3, ' ');
    let mut next = || fields.next().unwrap_or_else(|| panic!("three fields: {line}")).to_owned();
    Decision { code: next(), version: next().parse().expect("a version"), reason: next() }
}

/// The code of a file without what measures nothing: comments, empty lines, tests.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn files(folder: &Path, into: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).expect("a folder of this repository").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, into);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string();
            if !name.ends_with("tests.rs") {
                into.insert(name, code(&std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
}

fn measuring_code() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = BTreeMap::new();
    for folder in MEASURING {
        files(&root.join(folder), &mut all);
    }
    assert!(all.len() > 50, "the folders moved: {} files", all.len());
    let mut hash = Sha256::new();
    for (name, text) in all {
        // The version itself is what is decided.
        let text = text.replace(&format!("SUITE_VERSION: u32 = {SUITE_VERSION}"), "");
        hash.update(format!("{name}\n{text}\n"));
    }
    hexadecimal(&hash.finalize())[..16].to_owned()
}

#[test]
fn a_change_of_the_code_that_measures_is_decided_upon() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DECISIONS);
    let text = std::fs::read_to_string(&path).unwrap();
    let mut all: Vec<Decision> =
        text.lines().filter(|line| !line.starts_with('#')).map(decision).collect();
    let code = measuring_code();
    if let Ok(reason) = std::env::var(UPDATE)
        && all.last().is_none_or(|last| last.code != code)
    {
        assert!(reason.split_whitespace().count() > 2, "a reason is a sentence: {reason}");
        let reason = reason.replace('\n', " ");
        std::fs::write(&path, format!("{text}{code} {SUITE_VERSION} {reason}\n")).unwrap();
        all.push(Decision { code: code.clone(), version: SUITE_VERSION, reason });
    }
    for pair in all.windows(2) {
        assert!(pair[0].version <= pair[1].version, "a version is never taken back: {pair:?}");
    }
    let last = all.last().expect("at least one decision");
    assert!(
        last.code == code && last.version == SUITE_VERSION,
        "the code that measures ({MEASURING:?}) or SUITE_VERSION changed since the last decision \
         in {DECISIONS}. Would the same server give other figures now? Then raise SUITE_VERSION in \
         src/workload/mod.rs. Either way, write down why:\n  {UPDATE}=\"raised, because ...\" cargo \
         test --test default suite_version\n{last:?}\nnow: {code} {SUITE_VERSION}"
    );
}

#[test]
fn what_measures_nothing_needs_no_decision() {
    let text =
        "//! Doc.\nfn one() {\n    // Why.\n    1\n}\n\n#[cfg(test)]\nmod tests {\n    x\n}\n";
    assert_eq!(code(text), "fn one() {\n1\n}");
}
