//! The simulated machine that drifts: how it is asked for, that it is one machine for a
//! whole sweep, and what is shown on it and what is not.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vllm_grid::history::folder::Folder;
use vllm_grid::history::launch::LaunchOutcome;
use vllm_grid::history::record::{LaunchRecord, SweepRecord};
use vllm_grid::history::values::{kept, value};
use vllm_grid::results::decision::Decision;
use vllm_grid::results::ranking::{Ranking, rank};
use vllm_grid::simulator::drift::Drift;
use vllm_grid::statistics::{Components, GroupedValues, Prior, SIGNIFICANCE, two_sided_p};
use vllm_grid::strategy::{
    Action, GridStrategy, Observation, Situation, StrategySpec, Task, TrialOutcome,
};

use crate::results::builder::{Building, sweep};
use crate::results::noise::normal;
use crate::support::{CACHING, Workplace, signal};

fn record(place: &Workplace) -> SweepRecord {
    Folder::existing(&place.path("run")).unwrap().record().unwrap()
}

fn claims(ranking: &Ranking) -> bool {
    ranking.decision.as_ref().is_some_and(Decision::claims)
}

/// Two-sided p-value of "no difference" by the one-way analysis, which knows launches and
/// repeats and no time.
fn one_way(record: &SweepRecord, a: &str, b: &str) -> f64 {
    let metric = &record.manifest.objective.metric;
    let logs = |name: &str| {
        let own = record.launches.iter().filter(|launch| launch.configuration == name);
        let of_launch = |launch| -> Vec<f64> {
            kept(launch, &metric.workload, "")
                .filter_map(|it| Some(value(it, &metric.name)?.ln()))
                .collect()
        };
        GroupedValues::new(own.map(of_launch).collect())
    };
    let (a, b) = (logs(a), logs(b));
    let error = Components::pool([&a, &b], Prior::LOG).of_difference(&a, &b);
    let difference = a.mean().unwrap() - b.mean().unwrap();
    two_sided_p(difference / error.variance.sqrt(), error.degrees_of_freedom)
}

/// A sweep in virtual time, launched as the strategy says; the machine's speed is the
/// simulator's. What a computer that runs tests does to it is nothing.
struct Virtual<'a> {
    /// Names, each with its time as a factor; the first is the baseline.
    names: &'a [(&'a str, f64)],
    launches: u32,
    repeats: u32,
    /// SD of launches and of repeats, on log scale.
    noise: (f64, f64),
}

impl Virtual<'_> {
    fn run(&self, drift: &Drift, seed: u64) -> SweepRecord {
        let names: Vec<&str> = self.names.iter().map(|it| it.0).collect();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut machine = drift.machine(seed);
        let (launches, repeats) = (self.launches, self.repeats);
        let spec = GridStrategy { launches, repeats, auto: false, seed };
        let strategy = StrategySpec::Grid(spec).build(&Task::plain(names.len(), Some(0)));
        let mut record = sweep(&names).baseline(names[0]);
        let mut observations: Vec<Observation> = Vec::new();
        let mut now = 0.0;
        while let Action::Launch { trial, configuration, purpose, .. } =
            strategy.next(Situation { observations: &observations, ..Situation::default() })
        {
            now += random.random_range(80.0..300.0);
            let launch = self.noise.0 * normal(&mut random);
            let mut values = Vec::new();
            for _ in 0..repeats {
                let noise = launch + self.noise.1 * normal(&mut random);
                let time = 200.0 * self.names[configuration].1;
                values.push(time * noise.exp() / machine.speed(now + 30.0));
                now += 60.0;
            }
            let middle = now - 30.0 * f64::from(repeats);
            record = record.launch(names[configuration], &values).at(middle as i64);
            observations.push(Observation {
                trial,
                configuration,
                purpose,
                host: String::new(),
                started_at: None,
                duration: std::time::Duration::from_mins(5),
                repeat_seconds: Some(60.0),
                outcome: TrialOutcome::Measured,
                repeats: Vec::new(),
            });
        }
        record
    }
}

/// Whose times differ by 10 %, on a machine that falls to 55 % of its speed meanwhile.
#[test]
fn a_true_10_percent_is_shown_on_a_drifting_machine_and_not_by_the_one_way_analysis() {
    let names = &[("small", 1.0), ("whole", 0.9)];
    let night = Virtual { names, launches: 7, repeats: 2, noise: (0.02, 0.03) };
    let drift = Drift::parse("step:factor=0.55,at=35m").unwrap();
    let mut claimed = 0;
    for seed in 1..=20 {
        let record = night.run(&drift, seed);
        let p = one_way(&record, "whole", "small");
        assert!(p > SIGNIFICANCE, "seed {seed}: the drift hides nothing: p = {p}");
        let ranking = rank(&record);
        let machine = ranking.machine.as_ref().unwrap();
        assert!(machine.share > 0.7 && (1.5..2.5).contains(&machine.speed_range), "{machine:?}");
        // A step in the middle of a launch can look like two.
        assert!((1..=2).contains(&machine.jumps.len()), "seed {seed}: {machine:?}");
        if claims(&ranking) {
            claimed += 1;
            assert_eq!(ranking.decision.unwrap().candidate.configuration, "whole");
            let ratio = ranking.rows[0].baseline_ratio.unwrap();
            let interval = ratio.interval;
            assert!(interval.low < 0.94 && interval.high > 0.86, "seed {seed}: {ratio:?}");
        }
    }
    assert!(claimed >= 19, "{claimed} of 20");
}

#[test]
fn four_names_of_one_configuration_have_a_claim_in_at_most_17_of_200_drifting_sweeps() {
    let _turn = crate::support::alone::beside();
    let drifts = ["walk:sd=25%,tau=60m", "two-state:factor=1.8,dwell=40m"];
    let drifts = drifts.map(|text| Drift::parse(text).unwrap());
    let names = &[("a", 1.0), ("b", 1.0), ("c", 1.0), ("d", 1.0)];
    let same = Virtual { names, launches: 4, repeats: 3, noise: (0.03, 0.05) };
    let one = |seed: u64| same.run(&drifts[(seed % 2) as usize], 5000 + seed);
    assert_eq!(one(0).launches.len(), 16);
    let claimed = (0..200).filter(|seed| claims(&rank(&one(*seed))));
    let claimed = claimed.count();
    // 5 % with its sampling error.
    assert!(claimed <= 17, "{claimed} of 200");
}

#[test]
fn a_resumed_sweep_goes_on_with_the_same_machine() {
    let grid = CACHING.replace("speed: 20", "speed: 100, drift: \"walk:sd=25%,tau=60m,seed=9\"");
    let place = Workplace::new(&grid);
    let child = place.start(&["sweep", "grid.yaml", "--output", "run"]);
    place.wait_for("run", "launch_ended", 1);
    signal(&child, rustix::process::Signal::INT);
    child.wait_with_output().unwrap();
    place.run(&["resume", "run"]).expect(0);
    let machine = record(&place).manifest.simulated_machine.unwrap();
    assert_eq!(
        (machine.drift.as_str(), machine.seed, machine.speed),
        ("walk:sd=25%,tau=60m,seed=9", 9, 100.0)
    );
    // Every engine says what is simulated. One that was stopped may have written no line, or one.
    let measured = |it: &&LaunchRecord| matches!(it.outcome, Some(LaunchOutcome::Measured));
    let record = record(&place);
    let measured: Vec<u32> = record.launches.iter().filter(measured).map(|it| it.launch).collect();
    assert_eq!(measured.len(), 4, "{:?}", record.launches);
    let mut read = 0;
    for entry in std::fs::read_dir(place.path("run/launches")).unwrap() {
        let folder = entry.unwrap();
        let name = folder.file_name().into_string().unwrap();
        if !measured.iter().any(|launch| name.starts_with(&format!("{launch}-"))) {
            continue;
        }
        read += 1;
        let log = std::fs::read_to_string(folder.path().join("engine.log")).unwrap();
        let said = "SIMULATED: the machine's speed moves: walk:sd=25%,tau=60m,seed=9 (seed 9)";
        assert!(log.contains(said), "{log}");
    }
    assert_eq!(read, measured.len());
}

#[test]
fn everything_that_is_wrong_with_a_drift_is_said_with_its_place_before_anything_runs() {
    let drift = "drift: \"two-stat:factor=2,dwell=1h\"";
    let place = Workplace::new(&CACHING.replace("speed: 20", drift));
    let ran = place.run(&["sweep", "grid.yaml"]).expect(2);
    assert!(ran.err.contains("did you mean `two-state`?"), "{}", ran.err);
    let drift = "speed: 0, drift: \"step:factor=1,att=2h\"";
    let place = Workplace::new(&CACHING.replace("speed: 20", drift));
    for command in ["plan", "sweep"] {
        let ran = place.run(&[command, "grid.yaml"]).expect(2);
        for said in [
            "has 4 errors",
            "`speed` must be above 0",
            "`drift`: `att` is no part of the drift `step`",
            "did you mean `at`?",
            "`drift`: `factor` must be a factor from 0.01 to 100 other than 1",
            "`drift`: `at` is missing",
            "grid.yaml:4:",
        ] {
            assert!(ran.err.contains(said), "{said}: {}", ran.err);
        }
    }
    assert!(!place.path("runs").exists());
}

#[test]
fn the_command_takes_the_same_drift_and_its_help_has_the_forms() {
    let place = Workplace::new("");
    let bad = ["simulate", "Qwen/Qwen3-0.6B", "--sim-drift", "walk:sd=25%,tua=1h"];
    let ran = place.run(&bad).expect(2);
    assert!(ran.err.contains("argument --sim-drift: `tua` is no part"), "{}", ran.err);
    assert!(ran.err.contains("`tau` is missing"), "{}", ran.err);
    let help = place.run(&["simulate", "--help"]).expect(0).out;
    for said in ["--sim-drift SPEC", "two-state:factor=1.8,dwell=40m", "seed=N"] {
        assert!(help.contains(said), "{help}");
    }
    assert!(help.lines().all(|line| line.len() <= 100), "{help}");
}
