//! The fuzzing campaign in small: the inputs that were findings, and a few cases of each
//! target. `cargo bench --bench fuzz` runs millions.

#[path = "../../benches/fuzz/checks.rs"]
mod checks;
#[path = "../../benches/fuzz/mutate.rs"]
mod mutate;
#[path = "../../benches/fuzz/targets.rs"]
#[allow(dead_code, reason = "the campaign needs more of it")]
mod targets;

use std::path::Path;

use targets::TARGETS;

/// Cases of each target: reading is slow without optimisation.
const CASES: u64 = 50;

/// Findings of the campaign, each mended: a folder for each target.
#[test]
fn what_was_found_stays_mended() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fuzz/cases");
    let mut read = 0;
    for target in TARGETS {
        let Ok(cases) = std::fs::read_dir(folder.join(target.name)) else { continue };
        for case in cases.flatten() {
            let input = std::fs::read(case.path()).expect("a case");
            let outcome = target.read(&input);
            assert_eq!(outcome, Ok(()), "{}: {}", target.name, case.path().display());
            read += 1;
        }
    }
    assert!(read > 0, "no case in {}", folder.display());
}

#[test]
fn a_few_cases_of_each_target_find_nothing() {
    let _turn = crate::support::alone::beside();
    std::thread::scope(|scope| {
        for target in TARGETS {
            scope.spawn(move || {
                let (seeds, mut input) = (target.seeds(), Vec::new());
                assert!(!seeds.is_empty(), "{}", target.name);
                for number in 0..CASES {
                    let outcome = target.run(7, number, &seeds, &mut input);
                    let name = target.name;
                    assert_eq!(outcome, Ok(()), "{name} {number}: {}", input.escape_ascii());
                }
            });
        }
    });
}
