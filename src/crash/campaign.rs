//! The campaign itself: every point once, then random schedules of several deaths, then a
//! disk that is full at every write, then journals cut at any length. Seed, count and where
//! the figures go are variables: `VLLM_GRID_CRASH_SEED`, `VLLM_GRID_CRASHES`,
//! `VLLM_GRID_CAMPAIGN_OUT`.

use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::check::{self, Fault, Kind, Outcome};
use super::point::{Blow, Plan, WRITE};
use super::victim::{self, Action};
use super::world::{Did, World};

/// Five configurations, of which one does not fit, one boots at the second attempt, and one
/// loses a server; two workload cases; two launches of each, two repeats.
const GRID: &str = "name: crash
engine: {simulated: {model: Qwen/Qwen3-1.7B, gpu: rtx-4090}}
parameters: {max-num-seqs: [2, 4, 8, 16, 64]}
workloads: {kv-cache: {}}
objective: {minimize: kv_cache.ttft_resent_ms}
strategy: {grid: {launches: 2, repeats: 2, seed: 1}}
";

/// The same with more repeats, and a strategy that leaves out those of what is clearly behind.
const SHORTENED: &str = "name: shortened
engine: {simulated: {model: Qwen/Qwen3-1.7B, gpu: rtx-4090}}
parameters: {max-num-seqs: [2, 4, 8, 16, 64]}
workloads: {kv-cache: {prefix-tokens: [512, 2048]}}
objective: {minimize: \"kv_cache[prefix=512].ttft_resent_ms\"}
strategy: {grid: {launches: 2, repeats: 3, seed: 1}}
";

/// Launches that are chosen: one configuration is far behind and cut short, one does not fit,
/// and three are near enough for duels, and far enough for one order.
const ADAPTIVE: &str = "name: adaptive
engine: {simulated: {model: Qwen/Qwen3-1.7B, gpu: rtx-4090}}
parameters: {max-num-seqs: [4, 14, 15, 16, 64]}
workloads: {kv-cache: {prefix-tokens: [512]}}
objective: {minimize: kv_cache.ttft_resent_ms}
strategy: {adaptive: {max-launches: 18, repeats: 2, seed: SEED}}
";

/// The same by a model of two axes, which leaves configurations out.
const MODEL: &str = "name: model
engine: {simulated: {model: Qwen/Qwen3-1.7B, gpu: rtx-4090}}
parameters:
  max-num-seqs: [2, 4, 8, 16]
  max-num-batched-tokens: [2048, 4096, 8192, 16384]
workloads: {kv-cache: {prefix-tokens: [512]}}
objective: {minimize: kv_cache.ttft_resent_ms}
strategy: {model: {max-launches: 24, repeats: 1, seed: SEED}}
";

const SEED: u64 = 20_261_128;
/// Deaths of a sample, as `.ci/run` has it; `.ci/campaign` says how many it wants.
const SAMPLE: u64 = 500;
const NEVER: Plan = Plan { at: 0, blow: Blow::Kill };

#[test]
#[ignore = "a process of the crash campaign"]
fn victim() {
    victim::obey();
}

/// A part of the campaign: a few points and schedules.
#[test]
fn a_sweep_that_is_killed_is_continued_as_if_it_had_not_been() {
    let done = Campaign::of(GRID, SEED, 5, 110, 1).run();
    assert!(done.crashes >= 5 && done.faults.is_empty(), "{}", done.told());
}

/// The same of one whose launches are shortened.
#[test]
fn a_launch_that_was_shortened_is_not_measured_further_after_a_death() {
    let done = Campaign::of(SHORTENED, SEED, 4, 150, 1).run();
    assert!(done.crashes >= 4 && done.faults.is_empty(), "{}", done.told());
    assert!(done.shortened > 0, "{}", done.told());
}

/// The same of those whose launches depend on what was measured.
#[test]
fn a_sweep_that_chooses_its_launches_is_continued_as_if_it_had_not_been_killed() {
    for (grid, strategy) in [(ADAPTIVE, "adaptive"), (MODEL, "model")] {
        let done = Campaign::of(grid, SEED, 3, 400, 1).run();
        assert!(done.crashes >= 3 && done.faults.is_empty(), "{}", done.told());
        let of_strategy = done.strategies.get(strategy).copied();
        assert_eq!(of_strategy, Some(done.worlds + done.cuts), "{}", done.told());
        assert!(done.chosen > 0, "nothing was chosen: {}", done.told());
    }
}

#[test]
#[ignore = "takes minutes: the campaign, `.ci/campaign`"]
fn crash_campaign() {
    let number = |name: &str, default| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let seed = number("VLLM_GRID_CRASH_SEED", SEED);
    let crashes = number("VLLM_GRID_CRASHES", SAMPLE) as usize;
    // A sample leaves out points, too.
    let every = (1000 / crashes.clamp(1, 1000)).max(1);
    let of = |grid, part: usize| {
        let (crashes, every) = (crashes.div_ceil(part), every * part);
        Campaign::of(grid, seed, crashes, every, crashes / 10).run()
    };
    let mut done = of(GRID, 1);
    for (grid, part) in [(SHORTENED, 4), (ADAPTIVE, 8), (MODEL, 16)] {
        let other = of(grid, part);
        let is_shortened = other.shortened > 0 || grid == MODEL;
        assert!(is_shortened, "no launch is shortened: {grid}");
        done.seconds += other.seconds;
        done.add(other);
    }
    println!("{}", done.told());
    done.write(seed);
    assert!(done.crashes >= crashes && done.faults.is_empty());
}

struct Campaign {
    grid: String,
    seed: u64,
    /// Deaths in all.
    crashes: usize,
    /// Each point of so many is tried alone.
    every: usize,
    /// Lengths to which a journal is cut.
    cuts: usize,
}

/// What is done to one world, in order; then it is continued until it is complete.
#[derive(Clone, Debug)]
struct Schedule {
    name: String,
    steps: Vec<(Action, Plan)>,
    /// Whether `recover` comes before the last `resume`.
    recovers: bool,
    /// Whether the run's folder is lost after the first death: then `recover` has to do.
    loses: bool,
}

#[derive(Default)]
struct Done {
    worlds: usize,
    crashes: usize,
    /// Deaths by the point at which they came.
    points: std::collections::BTreeMap<String, usize>,
    /// Sessions that a full disk ended.
    refusals: usize,
    /// Journals that were cut and resumed, and those of them that were refused.
    cuts: usize,
    refused_cuts: usize,
    /// Folders that were lost after a death.
    folders: usize,
    /// Rows that were compared.
    rows: usize,
    /// Launches that an undisturbed sweep shortens.
    shortened: usize,
    /// Undisturbed sweeps whose launches go beyond two blocks.
    chosen: usize,
    /// Sweeps that were killed, or whose journals were cut, by their strategy.
    strategies: std::collections::BTreeMap<&'static str, usize>,
    faults: Vec<(String, Fault)>,
    seconds: f64,
}

impl Campaign {
    /// The seed is that of the strategy's choices, too, where the grid leaves it open.
    fn of(grid: &str, seed: u64, crashes: usize, every: usize, cuts: usize) -> Self {
        let grid = grid.replace("SEED", &seed.to_string());
        Self { grid, seed, crashes, every, cuts }
    }

    /// The name of its strategy.
    fn strategy(&self) -> &'static str {
        let names = ["adaptive", "model"];
        let named =
            names.into_iter().find(|name| self.grid.contains(&format!("strategy: {{{name}: ")));
        named.unwrap_or("grid")
    }

    fn run(&self) -> Done {
        let began = Instant::now();
        let place = tempfile::tempdir().expect("a folder");
        let undisturbed = World::new(&place.path().join("undisturbed"), &self.grid);
        let mut done = Done::default();
        let tell = Plan { at: 0, blow: Blow::Tell };
        match act(&undisturbed, Action::Sweep, tell, &mut done) {
            Ended::ByItself { result: Ok(result) } if result == "Complete" => {}
            other => panic!("{other:?}"),
        }
        let outcome = Outcome::of(&undisturbed).expect("a complete sweep");
        done.shortened = check::shortened(&undisturbed.log());
        done.chosen = outcome.is_chosen().into();
        for fault in check::rebuilt(&undisturbed) {
            done.faults.push(("undisturbed".to_owned(), fault));
        }
        let told = undisturbed.log().into_iter();
        let points: Vec<String> = told
            .filter_map(|did| if let Did::Struck(name) = did { Some(name) } else { None })
            .collect();
        let schedules = self.schedules(&points);
        let (next, sum) = (AtomicUsize::new(0), Mutex::new(done));
        let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        std::thread::scope(|scope| {
            for _ in 0..threads.min(8) {
                scope.spawn(|| {
                    while let Some(schedule) = schedules.get(next.fetch_add(1, Ordering::SeqCst)) {
                        // Single points first; then as many schedules as it takes.
                        let enough = sum.lock().expect("no panic").crashes >= self.crashes;
                        if enough && schedule.steps.len() > 1 {
                            continue;
                        }
                        let path = place.path().join(&schedule.name);
                        let part = carried_out(&World::new(&path, &self.grid), schedule, &outcome);
                        sum.lock().expect("no panic").add(part);
                        let _ = std::fs::remove_dir_all(path);
                    }
                });
            }
        });
        let mut done = sum.into_inner().expect("no panic");
        done.add(self.cuts(&undisturbed, &outcome));
        done.strategies.insert(self.strategy(), done.worlds + done.cuts);
        done.seconds = began.elapsed().as_secs_f64();
        done
    }

    /// The journal of a complete sweep, cut at lengths drawn at random, and resumed: it comes to
    /// the same, or it is refused and the journal is named. Nothing is written over.
    fn cuts(&self, complete: &World, undisturbed: &Outcome) -> Done {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed ^ 0xC07);
        let mut done = Done::default();
        let length = std::fs::metadata(complete.run().join("journal.jsonl")).expect("it is there");
        for number in 0..self.cuts {
            let keep = random.random_range(0..length.len());
            let path = complete.path().with_file_name(format!("cut-{number}"));
            let world = complete.copy(&path);
            let journal =
                std::fs::OpenOptions::new().write(true).open(world.run().join("journal.jsonl"));
            journal.and_then(|journal| journal.set_len(keep)).expect("cut");
            let before = world.launch_files();
            let mut found = Vec::new();
            let fault = |kind, what: String| Fault { kind, what };
            match act(&world, Action::Resume, NEVER, &mut done) {
                Ended::ByItself { result: Ok(result) } if result == "Complete" => {
                    found.extend(check::at_the_end(&world, undisturbed));
                    done.rows += undisturbed.rows();
                }
                Ended::ByItself { result: Err(what) } if what.contains("journal") => {
                    done.refused_cuts += 1;
                    found.extend(check::at_rest(&world));
                }
                other => found.push(fault(Kind::Refused, format!("{other:?}"))),
            }
            let after = world.launch_files();
            if let Some((name, _)) =
                before.iter().find(|(name, text)| after.get(*name) != Some(*text))
            {
                found.push(fault(Kind::Lost, format!("written over: {name}")));
            }
            done.cuts += 1;
            done.faults.extend(found.into_iter().map(|it| (format!("cut to {keep} bytes"), it)));
            let _ = std::fs::remove_dir_all(path);
        }
        done
    }

    /// Each point alone: by a kill, with the folder lost afterwards, by a full disk, and each
    /// write torn; then schedules of two to four deaths, enough for all that are asked for.
    fn schedules(&self, points: &[String]) -> Vec<Schedule> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut schedules = Vec::new();
        // By the count of what is tried, not of the points: a sample has every kind, too.
        for (nth, (at, point)) in (1_u64..).zip((1..).zip(points).step_by(self.every)) {
            let single = |name: String, at: u64, blow| Schedule {
                name,
                steps: vec![(Action::Sweep, Plan { at, blow })],
                recovers: nth.is_multiple_of(2),
                loses: false,
            };
            schedules.push(single(format!("kill-{at}"), at, Blow::Kill));
            if point.ends_with(WRITE) {
                let part = random.random();
                schedules.push(single(format!("torn-{at}"), at, Blow::Tear(part)));
                schedules.push(single(format!("zeros-{at}"), at, Blow::Zeros(part)));
            }
            if nth.is_multiple_of(3) {
                let single = single(format!("lost-{at}"), at, Blow::Kill);
                schedules.push(Schedule { loses: true, ..single });
            }
            let blow = if nth.is_multiple_of(2) { Blow::FullOnce } else { Blow::Full };
            schedules.push(single(format!("full-{at}"), at, blow));
        }
        for number in 0..2 * self.crashes {
            let mut steps = Vec::new();
            for step in 0..random.random_range(2..=4) {
                let action = match step {
                    0 => Action::Sweep,
                    _ if random.random_bool(0.3) => Action::Recover,
                    _ => Action::Resume,
                };
                let most = if action == Action::Recover { 24 } else { points.len() as u64 / 2 };
                let part = random.random();
                let blow = match random.random_range(0..6) {
                    0 => Blow::Tear(part),
                    1 => Blow::Zeros(part),
                    _ => Blow::Kill,
                };
                steps.push((action, Plan { at: random.random_range(1..=most), blow }));
            }
            let recovers = random.random_bool(0.5);
            let name = format!("several-{number}");
            schedules.push(Schedule { name, steps, recovers, loses: false });
        }
        schedules
    }
}

/// How a victim ended.
#[derive(Debug)]
enum Ended {
    Killed,
    ByItself { result: Result<String, String> },
    Otherwise(String),
}

/// Starts a victim; what was done is counted.
fn act(world: &World, action: Action, plan: Plan, done: &mut Done) -> Ended {
    let status = victim::start(world, action, plan);
    let mut log = world.log();
    if status.signal() == Some(9) {
        done.crashes += 1;
        if let Some(Did::Struck(point)) = log.iter().rfind(|did| matches!(did, Did::Struck(_))) {
            *done.points.entry(point.clone()).or_default() += 1;
        }
        return Ended::Killed;
    }
    match log.pop() {
        Some(Did::Ended { result, .. }) if status.success() => Ended::ByItself { result },
        last => {
            let said = std::fs::read_to_string(world.path().join("stderr")).unwrap_or_default();
            Ended::Otherwise(format!("{status}, after {last:?}: {said}"))
        }
    }
}

/// Whether the sweep of a world has begun: a manifest is there.
fn has_begun(world: &World) -> bool {
    world.run().join("manifest.json").is_file()
}

fn carried_out(world: &World, schedule: &Schedule, undisturbed: &Outcome) -> Done {
    let mut done = Done { worlds: 1, ..Done::default() };
    let mut found: Vec<Fault> = Vec::new();
    let fault = |kind, what: String| Fault { kind, what };
    let mut last = schedule.steps.clone();
    if schedule.recovers {
        last.push((Action::Recover, NEVER));
    }
    last.extend([(Action::Resume, NEVER); 2]);
    let mut complete = false;
    for (action, plan) in last {
        // What never came to be is begun again, as a person would.
        let action = if has_begun(world) { action } else { Action::Sweep };
        if action == Action::Sweep && world.run().exists() {
            if has_begun(world) {
                continue;
            }
            std::fs::remove_dir_all(world.run()).expect("removed");
        }
        if complete && action == Action::Resume {
            break;
        }
        match act(world, action, plan, &mut done) {
            Ended::Killed => {
                found.extend(check::at_any_time(world));
                if schedule.loses && found.is_empty() {
                    done.faults = named(schedule, without_folder(world, &mut done));
                    return done;
                }
            }
            Ended::ByItself { result } => {
                let is_full = matches!(plan.blow, Blow::Full | Blow::FullOnce) && plan != NEVER;
                match &result {
                    Ok(result) => complete |= result == "Complete",
                    Err(_) if is_full => done.refusals += 1,
                    Err(what) => found.push(fault(Kind::Refused, format!("{action:?}: {what}"))),
                }
                if is_full || (action == Action::Recover && result.is_ok()) {
                    found.extend(check::at_rest(world));
                }
            }
            Ended::Otherwise(what) => found.push(fault(Kind::Refused, what)),
        }
        if !found.is_empty() {
            break;
        }
    }
    if found.is_empty() && !complete {
        found.push(fault(Kind::Refused, "it is not complete after two times".to_owned()));
    }
    if found.is_empty() {
        found = check::at_the_end(world, undisturbed);
        done.rows += undisturbed.rows();
    }
    found.dedup_by(|a, b| a.kind == b.kind && a.what == b.what);
    done.faults = named(schedule, found);
    done
}

fn named(schedule: &Schedule, found: Vec<Fault>) -> Vec<(String, Fault)> {
    found.into_iter().map(|it| (format!("{schedule:?}"), it)).collect()
}

/// The folder of a dead run is lost: `recover` goes by what is outside of it.
fn without_folder(world: &World, done: &mut Done) -> Vec<Fault> {
    done.folders += 1;
    let _there_may_be_none = std::fs::remove_dir_all(world.run());
    match act(world, Action::Recover, NEVER, done) {
        Ended::ByItself { result: Ok(_) } => check::settled(world),
        other => vec![Fault { kind: Kind::Refused, what: format!("{other:?}") }],
    }
}

impl Done {
    fn add(&mut self, other: Self) {
        self.worlds += other.worlds;
        self.crashes += other.crashes;
        self.refusals += other.refusals;
        self.cuts += other.cuts;
        self.refused_cuts += other.refused_cuts;
        self.folders += other.folders;
        self.rows += other.rows;
        self.shortened += other.shortened;
        self.chosen += other.chosen;
        for (strategy, count) in other.strategies {
            *self.strategies.entry(strategy).or_default() += count;
        }
        for (point, count) in other.points {
            *self.points.entry(point).or_default() += count;
        }
        self.faults.extend(other.faults);
    }

    fn count(&self, kinds: &[Kind]) -> usize {
        self.faults.iter().filter(|(_, fault)| kinds.contains(&fault.kind)).count()
    }

    fn told(&self) -> String {
        let strategies: Vec<String> =
            self.strategies.iter().map(|(name, count)| format!("{count} {name}")).collect();
        let mut text = format!(
            "crash: {} deaths and {} full disks in {} worlds, {} journals cut ({} refused; sweeps: \
             {}), {} folders lost, {} rows compared, {:.0} s: {} faults\n",
            self.crashes,
            self.refusals,
            self.worlds,
            self.cuts,
            self.refused_cuts,
            strategies.join(", "),
            self.folders,
            self.rows,
            self.seconds,
            self.faults.len()
        );
        for (point, count) in &self.points {
            let _ = writeln!(text, "  {count:5}  {point}");
        }
        for (schedule, fault) in self.faults.iter().take(20) {
            let _ = writeln!(text, "FAULT {fault}\n      {schedule}");
        }
        text
    }

    /// One line of figures for the document.
    fn write(&self, seed: u64) {
        let Ok(folder) = std::env::var("VLLM_GRID_CAMPAIGN_OUT") else { return };
        let line = serde_json::json!({
            "name": "crash", "seed": seed, "worlds": self.worlds, "crashes": self.crashes,
            "full_disks": self.refusals, "cut_journals": self.cuts,
            "refused_cuts": self.refused_cuts, "strategies": self.strategies, "lost_folders": self.folders,
            "rows_compared": self.rows,
            "lost_repeats": self.count(&[Kind::Lost]),
            "leaked_candidates": self.count(&[Kind::Leaked]),
            "wrong_rows": self.count(&[Kind::Rows]),
            "production_down": self.count(&[Kind::Down]),
            "repeated_work": self.count(&[Kind::Order, Kind::Relaunched]),
            "refused": self.count(&[Kind::Refused]),
            "seconds": self.seconds.round(), "points": self.points, "ok": self.faults.is_empty(),
        });
        let path = std::path::Path::new(&folder).join("crash.json");
        std::fs::write(path, format!("{line}\n")).expect("written");
    }
}
