//! What a person reads while a sweep runs, and how long a plan says that it takes.

use crate::support::{CACHING, Workplace};

/// The text with what differs from run to run masked: times, durations, figures.
fn masked(text: &str) -> String {
    let line = |line: &str| {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        for place in 0..words.len() {
            let word = words[place].trim_end_matches([',', ';', ')', ':']).to_owned();
            let tail = words[place][word.len()..].to_owned();
            let digits = word.trim_start_matches('(');
            let is_clock = word.matches(':').count() > 0 && digits.starts_with(char::is_numeric);
            let follows = words.get(place + 1).map_or("", |next| next.trim_end_matches([',', ')']));
            let is_amount = digits.parse::<f64>().is_ok() && matches!(follows, "s" | "min" | "ms");
            if is_clock {
                words[place] = format!("HH:MM:SS{tail}");
            } else if is_amount {
                let open = &word[..word.len() - digits.len()];
                words[place] = format!("{open}N{tail}");
            } else if word.starts_with("(UTC") {
                "(UTC+HH:MM)".clone_into(&mut words[place]);
            } else if let Some((name, _)) = word.split_once("-2") {
                words[place] = format!("{name}-TIME{tail}");
            }
        }
        words.join(" ")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Two bounds: one that the configuration without a cache breaks, and none that is missing.
fn bounded() -> String {
    let bounds = "  constraints:\n    - {metric: kv_cache.ttft_resent_ms, max: 18}\n";
    CACHING.replace("strategy:", &format!("{bounds}strategy:"))
}

#[test]
fn a_plain_log_has_clock_times_values_places_broken_bounds_and_the_end() {
    // Whether a bound of 18 ms is kept, and which notes there are, depends on the cores.
    let place = Workplace::alone(&bounded());
    let log = place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0).err;
    // Warnings are searched for, so they stay on one line.
    let own: Vec<&str> = log.lines().filter(|line| !line.contains("warning: ")).collect();
    assert!(own.iter().all(|line| line.len() <= 80), "{log}");
    let mut lines: Vec<String> = Vec::new();
    for line in own {
        match (line.strip_prefix("           "), lines.last_mut()) {
            (Some(rest), Some(last)) => last.extend([" ", rest]),
            _ => lines.push(line.to_owned()),
        }
    }
    // How far a boot is seen to come depends on when it is looked at, and a night's
    // end can be on another day.
    lines.retain(|line| !line.contains(": starting: "));
    let masked: Vec<String> = lines.iter().map(|line| masked(line)).collect();
    let cut = |line: &String| match line.strip_prefix("HH:MM:SS ends ") {
        Some(rest) => format!("HH:MM:SS ends {} ...", rest.split(' ').next().unwrap()),
        None => line.clone(),
    };
    insta::assert_snapshot!(masked.iter().map(cut).collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_plan_reckons_with_earlier_runs_of_the_same_service_and_of_no_other() {
    let grid = CACHING.replace("speed: 20", "speed: 100");
    let place = Workplace::new(&grid);
    let plan = |grid: &str| {
        std::fs::write(place.path("next.yaml"), grid).unwrap();
        place.run(&["plan", "next.yaml"]).expect(0).out
    };
    assert!(plan(&grid).contains("(assumed, not measured)"));
    place.run(&["sweep", "grid.yaml"]).expect(0);
    let known = plan(&grid);
    assert!(known.contains("4 launches, from 1 earlier run of this service: about "), "{known}");
    let assumed = ["assumed, not measured", "assumed: "];
    assert!(assumed.iter().all(|it| !known.contains(it)), "{known}");
    assert!(known.contains("time: as in earlier runs of this service"), "{known}");
    let other = plan(&grid.replace("Qwen/Qwen3-8B", "Qwen/Qwen3-4B"));
    assert!(other.contains("(assumed, not measured)"), "{other}");
    // A configuration more: the others' times stand for its own. The budget is respected.
    let more = grid.replace("strategy:", "budget: 1s\nstrategy:");
    let more = more.replace("baseline: noprefix\n", "").replace(
        "  enable-prefix-caching: [true, false]",
        "  enable-prefix-caching: [true, false]\n  max-num-seqs: [null, 32]",
    );
    let wider = more;
    let more = plan(&wider);
    let said = more.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("(2 of 4 configurations are new: the others' times stand"), "{more}");
    assert!(said.contains("budget 1 s: ends the sweep after about "), "{more}");

    // Whole journals are read: the newest ten are enough.
    let run = std::fs::read_dir(place.path("runs")).unwrap().next().unwrap().unwrap().path();
    for copy in 0..11 {
        let folder = place.path(&format!("runs/copy-{copy}"));
        std::fs::create_dir(&folder).unwrap();
        for file in ["manifest.json", "journal.jsonl", "grid.yaml"] {
            if run.join(file).is_file() {
                std::fs::copy(run.join(file), folder.join(file)).unwrap();
            }
        }
    }
    let many = plan(&grid);
    assert!(many.contains("from 10 earlier runs of this service"), "{many}");
    std::fs::write(place.path("next.yaml"), &wider).unwrap();
    for copy in 0..11 {
        std::fs::remove_dir_all(place.path(&format!("runs/copy-{copy}"))).unwrap();
    }

    let json = place.run(&["plan", "next.yaml", "--format", "json"]).expect(0).out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let earlier = &json["earlier_runs"];
    assert_eq!(earlier["runs"], 1, "{earlier}");
    assert_eq!(earlier["unknown_configurations"], 2, "{earlier}");
    // As long as such a sweep took: not a guess of minutes.
    let seconds = earlier["hours"].as_f64().unwrap() * 3600.0;
    assert!((1.0..120.0).contains(&seconds), "{seconds}");

    // A sweep says it before its first launch ends.
    let log = place.run(&["sweep", "grid.yaml"]).expect(0).err;
    let log = log.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(log.contains("as 1 earlier run of this service took"), "{log}");
}

/// It has not failed, and there are no tables yet to read its reasons in.
#[test]
fn a_report_tells_a_launch_that_runs_from_one_that_was_interrupted() {
    let place = Workplace::new(
        "
name: slow
engine:
  simulated: {model: Qwen/Qwen3-0.6B, gpu: rtx-4090, speed: 400, flags: {max-model-len: 4096},
              faults: [slow silent-boot boot-seconds=100000000]}
include: [{name: slow, max-num-seqs: 8}]
workloads:
  kv-cache: {prefix-tokens: [512], prompts: 2, output-tokens: 4, warmup: 0}
objective: {minimize: kv_cache.ttft_resent_ms}
strategy: {grid: {launches: 1, repeats: 1, seed: 1}}
",
    );
    let said = || {
        let report = place.run(&["report", "run"]).expect(1).out;
        assert!(!report.contains("FAILED") && !report.contains("results.csv"), "{report}");
        report.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let mut sweep = place.start(&["sweep", "grid.yaml", "--output", "run"]);
    place.wait_for("run", "launch_started", 1);
    let runs = said();
    assert!(runs.contains("The sweep is running. Running, not finished: slow."), "{runs}");
    sweep.kill().unwrap();
    sweep.wait().unwrap();
    let killed = said();
    let interrupted = "The sweep was interrupted. Interrupted, not finished: slow.";
    assert!(killed.contains(interrupted), "{killed}");
}
