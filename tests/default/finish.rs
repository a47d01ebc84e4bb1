//! `--on-finish`, and stops in phases that only the whole command has.

use rustix::process::Signal;

use crate::support::{CACHING, Ran, Workplace, signal};

/// Writes what it was told, one line each, in the order of the names.
const TELLS: &str = "sh -c 'env | grep -a ^VLLM_GRID_ | sort > told; env > all'";

fn told(place: &Workplace) -> String {
    std::fs::read_to_string(place.path("told")).unwrap()
}

fn fast() -> String {
    CACHING
        .replace("speed: 20", "speed: 200")
        .replace("launches: 2, repeats: 2", "launches: 1, repeats: 1")
}

#[test]
fn a_command_is_told_how_a_sweep_ended_and_gets_no_secret() {
    let place = Workplace::new(&fast());
    let mut command =
        place.command(&["sweep", "grid.yaml", "--output", "run", "--on-finish", TELLS]);
    command.env("HF_TOKEN", "hf_abcdefghijklmnop").env("COPY_OF_IT", "hf_abcdefghijklmnop");
    Ran::of(command.output().unwrap()).expect(0);
    let told = told(&place);
    assert!(told.contains("VLLM_GRID_EXIT_CODE=0\n"), "{told}");
    assert!(told.contains("VLLM_GRID_ENDING=complete\n"), "{told}");
    assert!(told.contains("VLLM_GRID_PRODUCTION=none\n"), "{told}");
    // One launch each: either may be in front.
    let best = told.lines().find_map(|line| line.strip_prefix("VLLM_GRID_BEST=")).unwrap();
    assert!(["prefix", "noprefix"].contains(&best), "{told}");
    assert!(told.contains("VLLM_GRID_VERDICT="), "{told}");
    let run = format!("VLLM_GRID_RUN={}\n", place.path("run").canonicalize().unwrap().display());
    assert!(told.contains(&run), "{told}");
    let all = std::fs::read_to_string(place.path("all")).unwrap();
    assert!(!all.contains("hf_abcdefghijklmnop"), "{all}");
}

#[test]
fn it_is_run_after_errors_too_and_its_own_failure_changes_nothing() {
    let place = Workplace::new("name: [");
    let ran = place.run(&["sweep", "grid.yaml", "--on-finish", TELLS]).expect(2);
    let told = told(&place);
    assert!(told.contains("VLLM_GRID_ENDING=failed\n"), "{told}{}", ran.err);
    assert!(told.contains("VLLM_GRID_EXIT_CODE=2\n") && !told.contains("VLLM_GRID_RUN="), "{told}");
    let ran = place.run(&["sweep", "grid.yaml", "--on-finish", "sh -c 'exit 9'"]).expect(2);
    assert!(ran.err.contains("--on-finish: ") && ran.err.contains('9'), "{}", ran.err);
}

#[test]
fn a_command_that_cannot_be_started_is_an_error_before_anything_is_launched() {
    let place = Workplace::new(CACHING);
    for command in ["sh -c 'open", "", "no-such-program-anywhere --at-all"] {
        let ran = place.run(&["sweep", "grid.yaml", "--output", "run", "--on-finish", command]);
        let ran = ran.expect(2);
        assert!(ran.err.contains("--on-finish"), "{}", ran.err);
        assert!(!place.path("run").exists());
    }
}

#[test]
fn a_stop_during_a_boot_or_while_it_waits_for_its_window_ends_in_good_order() {
    // A boot of minutes.
    let slow = CACHING.replace("speed: 20", "speed: 0.5");
    let place = Workplace::new(&slow);
    let child = place.start(&["sweep", "grid.yaml", "--output", "run", "--on-finish", TELLS]);
    place.wait_for("run", "launch_started", 1);
    signal(&child, Signal::TERM);
    Ran::of(child.wait_with_output().unwrap()).expect(4);
    assert!(told(&place).contains("VLLM_GRID_ENDING=interrupted\n"), "{}", told(&place));

    // A window of a minute, twelve hours from now.
    let later =
        jiff::ZonedDateTime::now().checked_add(jiff::SignedDuration::from_hours(12)).unwrap();
    let end = later.checked_add(jiff::SignedDuration::from_mins(30)).unwrap();
    let window = format!("window: {}-{}\n", later.strftime("%H:%M"), end.strftime("%H:%M"));
    let place = Workplace::new(&format!("{CACHING}{window}"));
    let child = place.start(&["sweep", "grid.yaml", "--output", "run"]);
    crate::support::until("a journal", || place.path("run/journal.jsonl").exists());
    std::thread::sleep(std::time::Duration::from_millis(300));
    signal(&child, Signal::HUP);
    let ran = Ran::of(child.wait_with_output().unwrap()).expect(4);
    assert_eq!(place.entries("run", "launch_started"), 0);
    assert!(ran.err.contains("outside the window"), "{}", ran.err);
}

#[test]
fn a_plan_shows_the_window_and_its_nights_and_a_wrong_one_is_an_error() {
    let place = Workplace::new(&format!("{CACHING}window: 23:00-06:30\n"));
    let ran = place.run(&["plan", "grid.yaml"]).expect(0);
    assert!(ran.out.contains("window 23:00-06:30: one night"), "{}", ran.out);
    let place = Workplace::new(&format!("{CACHING}window: 06:00-06:01\n"));
    let ran = place.run(&["plan", "grid.yaml"]).expect(0);
    assert!(ran.out.contains("no launch fits into it"), "{}", ran.out);
    let place = Workplace::new(&format!("{CACHING}window: at night\n"));
    let ran = place.run(&["plan", "grid.yaml"]).expect(2);
    assert!(ran.err.contains("23:00-06:30") && ran.err.contains("window"), "{}", ran.err);
    let place = Workplace::new(&format!("{CACHING}window: 06:00-6:00\n"));
    let ran = place.run(&["plan", "grid.yaml"]).expect(2);
    assert!(ran.err.contains("opens and closes at the same time"), "{}", ran.err);
}

#[test]
fn what_it_prints_is_cut_and_acts_on_no_terminal() {
    let place = Workplace::new("name: [");
    let floods = "sh -c 'printf \"a\\033]0;owned\\007\\033[2Jb $HOME\\n\"; head -c 30000000 /dev/zero | \
                  tr \"\\\\0\" x; echo the end >&2; exit 7'";
    let ran = place.run(&["sweep", "grid.yaml", "--on-finish", floods]).expect(2);
    assert!(ran.out.starts_with("ab "), "{:?}", ran.out.get(..80));
    assert!(ran.out.ends_with("--on-finish: ... cut after 64 KiB\n"), "{} bytes", ran.out.len());
    assert!(ran.out.len() < 80_000 && !ran.out.contains('\u{1b}'), "{} bytes", ran.out.len());
    // It was not kept waiting, and came to its own end.
    assert!(ran.err.contains("the end\n") && ran.err.contains("exit status: 7"), "{}", ran.err);
}
