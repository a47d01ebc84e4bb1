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
