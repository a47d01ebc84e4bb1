//! The fuzzing campaign: `cargo bench --bench fuzz -- --seed 1 --cases 10000000`. Every
//! reader of text from outside gets inputs that are nearly right, in processes of their own,
//! so that an abort and a hang are findings, too. Exit code 1: there are findings.
//!
//! `--target NAME` runs one target, `--output FILE` writes a JSON line for each target,
//! `--jobs N` runs N processes at once, `--case N` with `--target` prints the input of a case.

mod case;
mod checks;
mod mutate;
mod targets;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

use targets::{TARGETS, Target};

#[global_allocator]
static PEAK: PeakAlloc = PeakAlloc;

/// Bytes that one case may have at once: its input is 64 KiB at most.
const MAX_MEMORY: usize = 128 << 20;
/// Address space of a process: what would fill the machine ends the process instead.
const ADDRESSES: u64 = 8 << 30;
/// A process that stays at one case for so long hangs.
const HANG: Duration = Duration::from_secs(30);
/// Findings of a target that are printed and made smaller.
const SHOWN: u64 = 5;
/// Cases that a process runs before another one takes over.
const SLICE: u64 = 50_000;

/// What was asked for.
#[derive(Clone, Debug)]
struct Asked {
    seed: u64,
    cases: u64,
    target: Option<String>,
    output: Option<String>,
    jobs: usize,
    case: Option<u64>,
    /// First and last case of a process, and the file in which it counts.
    worker: Option<(u64, u64, String)>,
}

impl Asked {
    fn read() -> Result<Self, String> {
        let jobs = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let (target, output, case, worker) = (None, None, None, None);
        let mut asked = Self { seed: 1, cases: 1_000_000, target, output, jobs, case, worker };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            if word == "--bench" {
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
            let number = || value.parse::<u64>().map_err(|_| format!("{word} {value}: no number"));
            match word.as_str() {
                "--seed" => asked.seed = number()?,
                "--cases" => asked.cases = number()?,
                "--jobs" => asked.jobs = number()?.clamp(1, 256) as usize,
                "--case" => asked.case = Some(number()?),
                "--target" => asked.target = Some(value),
                "--output" => asked.output = Some(value),
                "--worker" => {
                    let parts: Vec<&str> = value.splitn(3, ',').collect();
                    let [from, to, file] = parts[..] else { return Err("--worker".to_owned()) };
                    let place = |text: &str| text.parse().map_err(|_| "--worker".to_owned());
                    asked.worker = Some((place(from)?, place(to)?, file.to_owned()));
                }
                _ => return Err(format!("{word} is not known")),
            }
        }
        Ok(asked)
    }

    fn targets(&self) -> Result<Vec<&'static Target>, String> {
        let chosen: Vec<&Target> = TARGETS
            .iter()
            .filter(|it| self.target.as_ref().is_none_or(|name| name == it.name))
            .collect();
        let names: Vec<&str> = TARGETS.iter().map(|it| it.name).collect();
        if chosen.is_empty() {
            Err(format!("targets are {}", names.join(", ")))
        } else {
            Ok(chosen)
        }
    }
}

/// What a process says of its cases, and what they add up to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Tally {
    target: String,
    seed: u64,
    cases: u64,
    seconds: f64,
    findings: u64,
    longest_seconds: f64,
    peak_bytes: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.cases += other.cases;
        self.seconds += other.seconds;
        self.findings += other.findings;
        self.longest_seconds = self.longest_seconds.max(other.longest_seconds);
        self.peak_bytes = self.peak_bytes.max(other.peak_bytes);
    }
}

fn main() -> ExitCode {
    let outcome = Asked::read().and_then(|asked| {
        let targets = asked.targets()?;
        match (&asked.worker, asked.case) {
            (Some((from, to, file)), _) => work(&asked, targets[0], *from..*to, Path::new(file)),
            (None, Some(number)) => show(&asked, targets[0], number),
            (None, None) => supervise(&asked, &targets),
        }
    });
    match outcome {
        Ok(code) => code,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

/// Prints the input of a case and what is wrong with it.
fn show(asked: &Asked, target: &Target, number: u64) -> Result<ExitCode, String> {
    let seeds = target.seeds();
    // Before it runs: it may end this process.
    let mut input = target.input(asked.seed, number, &seeds);
    let mut out = std::io::stdout();
    out.write_all(&input).and_then(|()| out.flush()).map_err(|error| error.to_string())?;
    case::keep_panics();
    let ran = case::run(target, asked.seed, number, &seeds, &mut input);
    println!("\n{:?} {:?}", ran.took, ran.wrong);
    Ok(ExitCode::SUCCESS)
}

/// Runs cases in this process.
fn work(
    asked: &Asked,
    target: &Target,
    cases: std::ops::Range<u64>,
    file: &Path,
) -> Result<ExitCode, String> {
    let limit = Rlimit { current: Some(ADDRESSES), maximum: Some(ADDRESSES) };
    setrlimit(Resource::As, limit).map_err(|error| error.to_string())?;
    case::keep_panics();
    let place = File::options().write(true).open(file).map_err(|error| error.to_string())?;
    let seeds = target.seeds();
    let mut tally = Tally { target: target.name.to_owned(), seed: asked.seed, ..Tally::default() };
    let (started, mut input) = (Instant::now(), Vec::new());
    for number in cases {
        place.write_all_at(&number.to_le_bytes(), 0).map_err(|error| error.to_string())?;
        PEAK.reset_peak_usage();
        let before = PEAK.current_usage();
        let ran = case::run(target, asked.seed, number, &seeds, &mut input);
        let peak = PEAK.peak_usage().saturating_sub(before);
        tally.cases += 1;
        tally.longest_seconds = tally.longest_seconds.max(ran.took.as_secs_f64());
        tally.peak_bytes = tally.peak_bytes.max(peak as u64);
        let wrong = ran
            .wrong
            .or_else(|| (peak > MAX_MEMORY).then(|| format!("it has {} MiB at once", peak >> 20)));
        if let Some(wrong) = wrong {
            tally.findings += 1;
            if tally.findings <= SHOWN {
                let small = case::smaller(target, &input, &wrong);
                println!("{}", finding(target, number, &wrong, &small));
            }
        }
    }
    tally.seconds = started.elapsed().as_secs_f64();
    println!("{}", serde_json::to_string(&tally).map_err(|error| error.to_string())?);
    Ok(ExitCode::SUCCESS)
}

fn finding(target: &Target, number: u64, wrong: &str, input: &[u8]) -> String {
    let wrong: String = wrong.chars().take(1500).collect::<String>().replace('\n', " ");
    let shown = &input[..input.len().min(600)];
    format!(
        "FINDING {} case {number}: {wrong}; input of {} bytes: {}",
        target.name,
        input.len(),
        shown.escape_ascii()
    )
}

/// Cases that a process is to run.
struct Slice {
    target: &'static Target,
    cases: std::ops::Range<u64>,
}

/// Runs the campaign in processes of their own.
fn supervise(asked: &Asked, targets: &[&'static Target]) -> Result<ExitCode, String> {
    let weights: u64 = targets.iter().map(|it| it.weight).sum();
    let mut slices = VecDeque::new();
    for target in targets {
        let cases = (asked.cases * target.weight).div_ceil(weights);
        let starts = (0..cases).step_by(SLICE as usize);
        slices.extend(starts.map(|from| Slice { target, cases: from..(from + SLICE).min(cases) }));
    }
    let (slices, tallies) = (Mutex::new(slices), Mutex::new(Vec::<Tally>::new()));
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for job in 0..asked.jobs {
            let (slices, tallies, failed) = (&slices, &tallies, &failed);
            scope.spawn(move || {
                while let Some(slice) = slices.lock().expect("no panic").pop_front() {
                    match oversee(asked, slice, job) {
                        Ok(tally) => tallies.lock().expect("no panic").push(tally),
                        Err(error) => *failed.lock().expect("no panic") = Some(error),
                    }
                }
            });
        }
    });
    if let Some(error) = failed.into_inner().expect("no panic") {
        return Err(error);
    }
    report(asked, targets, &tallies.into_inner().expect("no panic"))
}

/// Runs a slice to its end: after an abort or a hang, what is behind it.
fn oversee(asked: &Asked, slice: Slice, job: usize) -> Result<Tally, String> {
    let Slice { target, mut cases } = slice;
    let file = std::env::temp_dir().join(format!("vllm-grid-fuzz-{}-{job}", std::process::id()));
    let mut tally = Tally::default();
    while !cases.is_empty() {
        std::fs::write(&file, cases.start.to_le_bytes()).map_err(|error| error.to_string())?;
        let worker = format!("{},{},{}", cases.start, cases.end, file.display());
        let mut child = Command::new(std::env::current_exe().map_err(|error| error.to_string())?)
            .args(["--target", target.name, "--seed", &asked.seed.to_string()])
            .args(["--worker", &worker])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let output = child.stdout.take().map(BufReader::new);
        let reader = std::thread::spawn(move || lines(output));
        let ended = wait(&mut child, &file)?;
        for line in reader.join().unwrap_or_default() {
            match serde_json::from_str::<Tally>(&line) {
                Ok(of_child) => tally.add(&of_child),
                Err(_) => println!("{line}"),
            }
        }
        let Some(what) = ended else { break };
        let at = place_of(&file)?;
        println!("FINDING {} case {at}: {what}; see it with --case {at}", target.name);
        tally.findings += 1;
        tally.cases += at + 1 - cases.start;
        cases.start = at + 1;
    }
    let _ = std::fs::remove_file(&file);
    target.name.clone_into(&mut tally.target);
    Ok(tally)
}

fn lines(output: Option<BufReader<std::process::ChildStdout>>) -> Vec<String> {
    output.into_iter().flat_map(|output| output.lines().map_while(Result::ok)).collect()
}

/// The case that a process is at.
fn place_of(file: &Path) -> Result<u64, String> {
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    bytes.try_into().map(u64::from_le_bytes).map_err(|_| "a file without a number".to_owned())
}

/// Waits for the end of a process; how it ended, where that is a finding.
fn wait(child: &mut Child, file: &Path) -> Result<Option<String>, String> {
    let (mut seen, mut since) = (place_of(file)?, Instant::now());
    loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return Ok((!status.success()).then(|| format!("the process ended: {status}")));
        }
        std::thread::sleep(Duration::from_millis(20));
        let now = place_of(file)?;
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
        if since.elapsed() > HANG {
            child.kill().and_then(|()| child.wait()).map_err(|error| error.to_string())?;
            return Ok(Some(format!("a hang of more than {} s", HANG.as_secs())));
        }
    }
}

/// Prints the table and writes the output.
fn report(
    asked: &Asked,
    targets: &[&'static Target],
    tallies: &[Tally],
) -> Result<ExitCode, String> {
    let mut output = match &asked.output {
        Some(path) => Some(File::create(path).map_err(|error| format!("{path}: {error}"))?),
        None => None,
    };
    println!(
        "{:<11} {:>10} {:>9} {:>8} {:>12} {:>10}",
        "target", "cases", "cases/s", "findings", "longest (ms)", "peak (MiB)"
    );
    let mut all = Tally { target: "all".to_owned(), seed: asked.seed, ..Tally::default() };
    let mut sums: Vec<Tally> = Vec::new();
    for target in targets {
        let mut sum =
            Tally { target: target.name.to_owned(), seed: asked.seed, ..Tally::default() };
        tallies.iter().filter(|it| it.target == target.name).for_each(|it| sum.add(it));
        all.add(&sum);
        sums.push(sum);
    }
    for sum in sums.iter().chain([&all]) {
        println!(
            "{:<11} {:>10} {:>9.0} {:>8} {:>12.1} {:>10.1}",
            sum.target,
            sum.cases,
            sum.cases as f64 / sum.seconds.max(1e-9),
            sum.findings,
            sum.longest_seconds * 1e3,
            sum.peak_bytes as f64 / f64::from(1 << 20)
        );
        if let Some(output) = &mut output {
            let line = serde_json::to_string(sum).map_err(|error| error.to_string())?;
            writeln!(output, "{line}").map_err(|error| error.to_string())?;
        }
    }
    Ok(if all.findings == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
