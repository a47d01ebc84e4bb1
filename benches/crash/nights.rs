//! Nights: a sweep is started, killed three to six times at random moments, recovered and
//! resumed, until it is complete; then it is compared with an undisturbed one.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rustix::process::{Pid, Signal, kill_process};

use crate::Asked;
use crate::calls::{Call, Calls};
use crate::compared::Outcome;
use crate::containers::{self, Project};
use crate::place::{BINARY, Place, ended, within};
use crate::processes::{self, Watch};

/// What the nights of one engine come to.
#[derive(Default)]
struct Sum {
    nights: usize,
    /// Nights by the strategy of their sweep.
    strategies: std::collections::BTreeMap<&'static str, usize>,
    kills: usize,
    /// Kills by the command that was killed.
    commands: std::collections::BTreeMap<String, usize>,
    engine_kills: usize,
    /// Kills by the engine's call before or after which they came.
    calls: std::collections::BTreeMap<String, usize>,
    entries: usize,
    rows: usize,
    faults: Vec<String>,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.nights += other.nights;
        self.kills += other.kills;
        self.engine_kills += other.engine_kills;
        self.entries += other.entries;
        self.rows += other.rows;
        for (strategy, count) in other.strategies {
            *self.strategies.entry(strategy).or_default() += count;
        }
        for (command, count) in other.commands {
            *self.commands.entry(command).or_default() += count;
        }
        for (call, count) in other.calls {
            *self.calls.entry(call).or_default() += count;
        }
        self.faults.extend(other.faults);
    }
}

/// Runs nights of one engine until there were enough kills; whether every promise was kept.
pub(crate) fn run(asked: &Asked, engine: &'static str) -> bool {
    let began = Instant::now();
    let kills = asked.count.unwrap_or(if engine == "docker" { 100 } else { 60 });
    let mut sum = Sum::default();
    let plain = Undisturbed::of(engine, "grid", &mut sum);
    // On Docker it is the engine's calls that matter, and not who chooses.
    let adaptive = (engine != "docker").then(|| Undisturbed::of(engine, "adaptive", &mut sum));
    let (next, sum) = (AtomicUsize::new(1), Mutex::new(sum));
    // What a dead sweep of one night left would be in the way of another night's sweep.
    let at_once = if engine == "simulated" { 2 } else { 1 };
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    let enough = {
                        let sum = sum.lock().expect("no panic");
                        sum.kills >= kills || sum.faults.len() > 20 || sum.nights > 2 * kills
                    };
                    if enough {
                        break;
                    }
                    let chooses = number.is_multiple_of(3);
                    let undisturbed = adaptive.as_ref().filter(|_| chooses).unwrap_or(&plain);
                    let part = night(asked.seed, number, engine, undisturbed);
                    let mut sum = sum.lock().expect("no panic");
                    sum.add(part);
                    eprintln!(
                        "{engine}: {} of {kills} kills after {:.0} s, {} faults",
                        sum.kills,
                        began.elapsed().as_secs_f64(),
                        sum.faults.len()
                    );
                }
            });
        }
    });
    if engine == "docker" {
        containers::remove_image();
    }
    let sum = sum.into_inner().expect("no panic");
    tell(asked, engine, &sum, began.elapsed())
}

fn tell(asked: &Asked, engine: &str, sum: &Sum, took: Duration) -> bool {
    println!(
        "crash {engine}: {} kills {:?}, at calls {:?}, and {} of the engine in {} nights ({:?}), {} entries and {} rows \
         compared, seed {}, {:.0} s: {} faults",
        sum.kills,
        sum.commands,
        sum.calls,
        sum.engine_kills,
        sum.nights,
        sum.strategies,
        sum.entries,
        sum.rows,
        asked.seed,
        took.as_secs_f64(),
        sum.faults.len()
    );
    for fault in &sum.faults {
        println!("FAULT {fault}");
    }
    let count = |word: &str| sum.faults.iter().filter(|fault| fault.contains(word)).count();
    let line = serde_json::json!({
        "name": format!("crash-{engine}"), "seed": asked.seed, "crashes": sum.kills,
        "commands": sum.commands, "engine_kills": sum.engine_kills, "call_kills": sum.calls,
        "worlds": sum.nights, "strategies": sum.strategies,
        "entries_compared": sum.entries, "rows_compared": sum.rows,
        "lost_repeats": count("lost:") + count("repeats are missing"),
        "leaked_candidates": count("at once") + count("left: "),
        "wrong_rows": count("rows:") + count("nobody asked for") + count("kept twice"),
        "production_down": count("production is down"), "faults": sum.faults,
        "seconds": took.as_secs_f64().round(), "ok": sum.faults.is_empty(),
    });
    asked.write(&format!("crash-{engine}"), &line);
    sum.faults.is_empty()
}

/// A place, and what watches over it.
struct Night {
    place: Place,
    mark: String,
    watch: Option<Watch>,
    project: Option<Project>,
    calls: Option<Calls>,
    /// The journal's whole lines when it was looked at last.
    known: Vec<String>,
}

impl Night {
    fn new(engine: &'static str, strategy: &str, number: usize) -> Self {
        // The speed tells one night's servers from another's.
        let speed = format!("60.{:05}", std::process::id() % 100 * 1000 + number as u32 % 1000);
        let mark = format!("--sim-speed {speed}");
        let mut place = Place::new(&grid(engine, strategy, &speed));
        let watch = (engine == "process").then(|| Watch::of(&mark));
        let project = (engine == "docker").then(|| Project::up(&place));
        let calls = project.as_ref().map(|it| Calls::of(&mut place, it.production()));
        Self { place, mark, watch, project, calls, known: Vec::new() }
    }

    /// Entries that were in the file stay where they are, whatever happened since.
    fn look(&mut self, sum: &mut Sum) {
        let lines = self.place.lines();
        if !lines.starts_with(&self.known) {
            let kept = lines.iter().zip(&self.known).take_while(|(a, b)| a == b).count();
            sum.faults.push(format!(
                "lost: {} of {} entries",
                self.known.len() - kept,
                self.known.len()
            ));
        }
        sum.entries += self.known.len();
        self.known = lines;
    }

    /// Runs a command to its end.
    fn finish(&mut self, sum: &mut Sum, arguments: &[&str]) -> Option<i32> {
        let mut child = self.place.start(arguments);
        let code = ended(&mut child).and_then(|status| status.code());
        if code != Some(0) {
            let said = self.place.said();
            sum.faults.push(format!("{} ended with {code:?}: {said}", arguments[0]));
        }
        self.look(sum);
        code
    }

    /// Starts a command and kills it after `time`; whether it was killed.
    fn kill(&mut self, sum: &mut Sum, arguments: &[&str], time: Duration) -> bool {
        let mut child = self.place.start(arguments);
        let ended = within(&mut child, time);
        let killed = ended.is_none();
        if killed {
            child.kill().expect("our own child");
            child.wait().expect("our own child");
            sum.kills += 1;
            *sum.commands.entry(arguments[0].to_owned()).or_default() += 1;
        } else if let Some(status) = ended
            && !status.success()
            && self.place.has_begun()
        {
            let said = self.place.said();
            sum.faults.push(format!("{} ended with {status}: {said}", arguments[0]));
        }
        self.look(sum);
        killed
    }

    /// Starts a command and kills it at a call of its engine, on Docker; whether it was killed.
    fn kill_at(&mut self, sum: &mut Sum, arguments: &[&str], call: &Call) -> bool {
        let Some(calls) = &self.calls else { return false };
        let mut child = self.place.start(arguments);
        let struck = calls.arm(child.id(), call);
        let status = ended(&mut child);
        calls.disarm();
        let killed = struck.load(Ordering::SeqCst);
        if killed {
            sum.kills += 1;
            *sum.commands.entry(arguments[0].to_owned()).or_default() += 1;
            *sum.calls.entry(call.name()).or_default() += 1;
        } else if !status.is_some_and(|status| status.success()) {
            let said = self.place.said();
            sum.faults.push(format!("{} ended with {status:?}: {said}", arguments[0]));
        }
        self.look(sum);
        killed
    }

    /// Kills the server of the candidate that runs; whether one did.
    fn kill_engine(&self) -> bool {
        if let Some(project) = &self.project {
            let Some(candidate) = project.candidates().into_iter().next() else { return false };
            let killed = std::process::Command::new("docker").args(["kill", &candidate]).output();
            return killed.is_ok_and(|it| it.status.success());
        }
        let pid = processes::with(&self.mark).into_iter().next();
        let pid = pid.and_then(|pid| Pid::from_raw(pid.cast_signed()));
        pid.is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok())
    }

    /// What is left, and what was seen meanwhile.
    fn end(self, sum: &mut Sum) {
        if let Some(watch) = self.watch {
            sum.faults.extend(watch.end());
            let left = processes::with(&self.mark);
            if !left.is_empty() {
                sum.faults.push(format!("left: processes {left:?}"));
            }
            for pid in left {
                let _ = Pid::from_raw(pid.cast_signed()).map(|pid| kill_process(pid, Signal::KILL));
            }
        }
        if let Some(project) = self.project {
            let left = project.candidates();
            if !left.is_empty() {
                sum.faults.push(format!("left: containers {left:?}"));
            }
            if !project.production_runs() {
                sum.faults.push("production is down at the end".to_owned());
            }
            if !self.known.iter().any(|line| line.contains("\"step\":\"proven\"")) {
                sum.faults.push("production is down or not proven".to_owned());
            }
            sum.faults.extend(project.faults());
        }
    }
}

/// What a sweep comes to that nobody disturbs.
struct Undisturbed {
    strategy: &'static str,
    outcome: Outcome,
    lasts: Duration,
}

impl Undisturbed {
    fn of(engine: &'static str, strategy: &'static str, sum: &mut Sum) -> Self {
        let number = usize::from(strategy != "grid") * 999;
        let mut night = Night::new(engine, strategy, number);
        let started = Instant::now();
        night.finish(sum, &["sweep", "grid.yaml", "--output", "run"]);
        let lasts = started.elapsed();
        let outcome = Outcome::of(&night.place, &mut sum.faults);
        night.end(sum);
        if outcome.rows() == 0 {
            sum.faults.push("the undisturbed sweep has no rows".to_owned());
        }
        Self { strategy, outcome, lasts }
    }
}

/// Two configurations that work, and one that does not. Launches that are chosen are the same
/// whatever is measured: both blocks, then a pair, in which the one that ran last is second;
/// and of one repeat nothing is left out.
fn grid(engine: &str, strategy: &str, speed: &str) -> String {
    let strategy = match strategy {
        "adaptive" => "adaptive: {max-launches: 7, repeats: 1, seed: 1}",
        _ => "grid: {launches: 2, repeats: 2, seed: 1}",
    };
    let engine = match engine {
        "simulated" => "simulated: {model: Qwen/Qwen3-8B, gpu: rtx-4090, seed: 1, speed: 80, \
                        flags: {max-model-len: 8192}}"
            .to_owned(),
        "process" => format!(
            "process:\n    command: ['{BINARY}', simulate, Qwen/Qwen3-0.6B, --sim-speed, '{speed}']\n    \
             flags: {{max-model-len: 4096}}"
        ),
        _ => "docker:\n    compose: compose.yaml\n    service: vllm\n    production: {service: vllm}\n    \
              gpus: false\n    caches: false"
            .to_owned(),
    };
    format!(
        "name: night\nengine:\n  {engine}\nparameters:\n  enable-prefix-caching: [true, false]\n\
         include:\n  - {{name: too_small, gpu-memory-utilization: 0.06}}\nworkloads:\n  \
         kv-cache: {{prefix-tokens: [512], prompts: 2, output-tokens: 4}}\n\
         objective: {{minimize: kv_cache.ttft_resent_ms}}\n\
         strategy: {{{strategy}}}\n"
    )
}

/// One night; it ends with a complete sweep.
fn night(seed: u64, number: usize, engine: &'static str, undisturbed: &Undisturbed) -> Sum {
    let &Undisturbed { strategy, ref outcome, lasts } = undisturbed;
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ ((number as u64) << 20));
    let mut night = Night::new(engine, strategy, number);
    let strategies = [(strategy, 1)].into();
    let mut sum = Sum { nights: 1, strategies, ..Sum::default() };
    let mut complete = false;
    for _ in 0..random.random_range(3..=6) {
        let begun = night.place.has_begun();
        let recovers = begun && random.random_bool(0.25);
        let of = if recovers {
            Duration::from_millis(if engine == "docker" { 1500 } else { 60 })
        } else {
            lasts
        };
        let time = of.mul_f64(random.random_range(0.02..0.9));
        let command: &[&str] = match (recovers, begun) {
            (true, _) => &["recover", "run"],
            (false, true) => &["resume", "run"],
            (false, false) => &["sweep", "grid.yaml", "--output", "run"],
        };
        if !begun {
            // A folder in which nothing has begun is in the way of a new sweep.
            let _ = std::fs::remove_dir_all(night.place.run());
        }
        let killed = if night.calls.is_some() && random.random_bool(0.6) {
            let call = Call::of(command[0], &mut random);
            night.kill_at(&mut sum, command, &call)
        } else {
            night.kill(&mut sum, command, time)
        };
        complete |= !recovers && !killed;
        if complete || !sum.faults.is_empty() {
            break;
        }
    }
    let kills_engine = engine != "simulated" && number % 4 == 1;
    if sum.faults.is_empty() && random.random_bool(0.5) && night.place.has_begun() {
        night.finish(&mut sum, &["recover", "run"]);
        night.finish(&mut sum, &["recover", "run"]);
        if !night.place.said().contains("nothing to recover") {
            sum.faults.push(format!("recover, once more: {}", night.place.said()));
        }
    }
    if sum.faults.is_empty() {
        if !night.place.has_begun() {
            let _ = std::fs::remove_dir_all(night.place.run());
            night.finish(&mut sum, &["sweep", "grid.yaml", "--output", "run"]);
        } else if kills_engine && !complete {
            finish_without_engine(
                &mut night,
                &mut sum,
                lasts.mul_f64(random.random_range(0.1..0.4)),
            );
        } else {
            night.finish(&mut sum, &["resume", "run"]);
        }
    }
    outcome.compare(&Outcome::of(&night.place, &mut sum.faults), &mut sum.faults);
    sum.rows += outcome.rows();
    night.end(&mut sum);
    for fault in &mut sum.faults {
        *fault = format!("night {number}: {fault}");
    }
    sum
}

/// Resumes; the candidate's server is killed meanwhile, once.
fn finish_without_engine(night: &mut Night, sum: &mut Sum, after: Duration) {
    let mut child = night.place.start(&["resume", "run"]);
    let mut wait = after;
    while within(&mut child, wait).is_none() {
        // Between two launches there is none.
        if night.kill_engine() {
            sum.engine_kills += 1;
            break;
        }
        wait = Duration::from_millis(30);
    }
    let code = ended(&mut child).and_then(|status| status.code());
    if code != Some(0) {
        sum.faults
            .push(format!("resume without its engine ended with {code:?}: {}", night.place.said()));
    }
    night.look(sum);
}
