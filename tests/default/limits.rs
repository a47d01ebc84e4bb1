//! Limits of our own process: what fails for them is the environment's, and is said with the
//! limit and what raises it. Nothing is concluded of a configuration.

use crate::support::{CACHING, Ran, Workplace};

/// Runs with so many descriptors as soft and hard limit.
fn with_descriptors(place: &Workplace, limit: &str, arguments: &str) -> Ran {
    let command = place.command(&[]);
    let mut shell = std::process::Command::new("sh");
    let script = format!("ulimit {limit}; exec \"$0\" {arguments}");
    shell.args(["-c", &script]).arg(command.get_program());
    shell.current_dir(place.folder.path()).stdin(std::process::Stdio::null());
    for (name, value) in command.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    Ran::of(shell.output().unwrap())
}

fn of_load(options: &str) -> Workplace {
    let kv = "kv-cache: {prefix-tokens: [4096], prompts: 2, output-tokens: 4}";
    let grid = CACHING.replace(kv, &format!("load: {{{options}}}"));
    let grid = grid.replace("minimize: kv_cache.ttft_resent_ms", "minimize: load.median_ttft_ms");
    Workplace::new(&grid.replace("max-model-len: 8192", "max-model-len: 8192, max-num-seqs: 8"))
}

#[test]
fn what_the_workloads_need_is_checked_before_anything_is_launched() {
    let place = of_load("concurrency: 64, requests: 256, prompt-tokens: 64, output-tokens: 4");
    let ran = with_descriptors(&place, "-n 120", "sweep grid.yaml --output run").expect(3);
    let said = ran.err.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        said.contains("64 connections") && said.contains("may have 120 (`ulimit -n`)"),
        "{said}"
    );
    assert!(!place.path("run").exists(), "nothing was begun");
}

#[test]
fn a_soft_limit_is_raised_as_far_as_it_may_be() {
    let place = of_load("concurrency: 40, requests: 80, prompt-tokens: 64, output-tokens: 1");
    with_descriptors(&place, "-Sn 40", "plan grid.yaml").expect(0);
    let place =
        Workplace::new(&CACHING.replace("launches: 2, repeats: 2", "launches: 1, repeats: 1"));
    with_descriptors(&place, "-Sn 40", "sweep grid.yaml --output run").expect(0);
}

#[test]
fn descriptors_that_run_out_in_mid_measurement_say_nothing_of_a_configuration() {
    // More arrive than are answered: nobody knows before how many will be in flight.
    let load = "rate: [400], requests: 400, prompt-tokens: 512, output-tokens: 128";
    let place = of_load(load);
    let ran = with_descriptors(&place, "-n 96", "sweep grid.yaml --output run").expect(3);
    let said = ran.err.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("its limit is 96 (`ulimit -n`)"), "{said}");
    let journal = place.journal("run");
    let ended: Vec<_> = journal
        .iter()
        .map(|line| &line["line"]["entry"])
        .filter(|it| it["kind"] == "launch_ended" || it["kind"] == "repeat_finished")
        .collect();
    assert!(!ended.is_empty(), "{said}");
    for entry in ended {
        assert_eq!(entry["outcome"]["outcome"], "interrupted", "{entry}");
    }
}

/// A message without the frame that is drawn around it.
fn words(said: &str) -> String {
    let is_frame = |c: char| c.is_whitespace() || "│×".contains(c);
    said.split(is_frame).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_size_of_the_first_threads_stack_makes_no_difference() {
    let place =
        Workplace::new(&CACHING.replace("launches: 2, repeats: 2", "launches: 1, repeats: 1"));
    for limit in ["-s 64", "-s 256", "-s unlimited"] {
        let folder = limit.replace(' ', "");
        with_descriptors(&place, limit, "plan grid.yaml").expect(0);
        with_descriptors(&place, limit, &format!("sweep grid.yaml --output run{folder}")).expect(0);
        with_descriptors(&place, limit, "metrics --unknown").expect(2);
    }
}

#[test]
fn a_file_that_may_not_grow_is_named_with_what_raises_the_limit() {
    let place = Workplace::new(CACHING);
    // In blocks of 512 bytes: more than the manifest, less than a journal.
    for (limit, is_begun) in [("-f 1", false), ("-f 40", true)] {
        let folder = format!("run{}", limit.replace(' ', ""));
        let ran = with_descriptors(&place, limit, &format!("sweep grid.yaml --output {folder}"));
        let said = words(&ran.expect(3).err);
        let bytes = limit[3..].parse::<u64>().unwrap() * 512;
        assert!(said.contains("may write no larger file"), "{said}");
        assert!(said.contains(&format!("its limit is {bytes} bytes (`ulimit -f`)")), "{said}");
        assert_eq!(said.matches("may write no larger file").count(), 1, "{said}");
        assert_eq!(place.path(&folder).join("journal.jsonl").exists(), is_begun, "{said}");
    }
}

/// Once a launch is measured, everything that launches wrote is removed.
#[test]
fn launches_that_are_removed_in_mid_sweep_are_named_with_what_is_left() {
    let place =
        Workplace::new(&CACHING.replace("launches: 2, repeats: 2", "launches: 2, repeats: 9"));
    let mut child = place.command(&["sweep", "grid.yaml", "--output", "run"]).spawn().unwrap();
    let launches = place.path("run/launches");
    let is_measured = || {
        let folders = std::fs::read_dir(&launches).into_iter().flatten().flatten();
        folders.into_iter().any(|it| it.path().join("records").exists())
    };
    while !is_measured() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // What is written meanwhile may be in the way of it.
    while std::fs::remove_dir_all(&launches).is_err() && launches.exists() {}
    let ran = Ran::of(child.wait_with_output().unwrap()).expect(3);
    // Long names are broken at hyphens.
    let said = words(&ran.err).replace("- ", "-");
    assert!(said.contains("somebody removed it or a part of it"), "{said}");
    assert!(said.contains("`vllm-grid resume` measures what is missing"), "{said}");
    place.command(&["resume", "run"]).output().map(Ran::of).unwrap().expect(0);
}
