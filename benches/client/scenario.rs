//! What is measured, and how the records of both sides become figures.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Figures of one load.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) streams: usize,
    pub(crate) requests: usize,
    pub(crate) tokens: usize,
    /// Time to the first token; the server's own record says how long it took indeed.
    pub(crate) first: Duration,
    /// Time between tokens; zero: as fast as the socket takes them.
    pub(crate) gap: Duration,
    /// Rows of the table: what and goal.
    pub(crate) rows: &'static [(&'static str, &'static str)],
}

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "hundred",
        streams: 100,
        requests: 1000,
        tokens: 64,
        first: Duration::from_millis(50),
        gap: Duration::from_millis(10),
        rows: &[("mean / p99 TTFT error, 100 streams", "<= 0.5 / 2 ms")],
    },
    Scenario {
        name: "thousand",
        streams: 1000,
        requests: 4000,
        tokens: 64,
        first: Duration::from_millis(50),
        gap: Duration::from_millis(50),
        rows: &[
            ("mean / p99 TTFT error, 1000 streams", "<= 2 / 10 ms"),
            ("client CPU for those 256,000 tokens", "<= 2.5 s"),
            ("peak memory at 1000 streams, whole process", "<= 96 MB"),
        ],
    },
    Scenario {
        name: "unpaced",
        streams: 64,
        requests: 2048,
        tokens: 512,
        first: Duration::ZERO,
        gap: Duration::ZERO,
        rows: &[("unpaced ceiling, 64 streams of 512 tokens", ">= 1.0 M tokens/s")],
    },
];

/// One side's record of every request, and the figures of a client's process.
pub(crate) struct Side {
    pub(crate) ttft_ms: BTreeMap<u64, f64>,
    pub(crate) summary: BTreeMap<String, f64>,
}

/// Reads lines of `ID MILLISECONDS`.
fn read_side(text: &str) -> Side {
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    let number = "numbers that our own server wrote";
    let ttft_ms =
        pairs.map(|(id, ms)| (id.parse().expect(number), ms.parse().expect(number))).collect();
    Side { ttft_ms, summary: BTreeMap::new() }
}

/// The server of a scenario in a process of its own; it ends with its standard input.
pub(crate) struct Serving {
    child: Child,
    pub(crate) url: String,
}

impl Serving {
    pub(crate) fn start(scenario: &Scenario) -> std::io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", scenario.name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut url = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        output.read_line(&mut url)?;
        child.stdout = Some(output.into_inner());
        Ok(Self { child, url: url.trim().to_owned() })
    }

    /// Ends it; its record of every request.
    pub(crate) fn stop(mut self) -> std::io::Result<Side> {
        drop(self.child.stdin.take());
        let mut text = String::new();
        self.child.stdout.take().expect("piped").read_to_string(&mut text)?;
        self.child.wait()?;
        Ok(read_side(&text))
    }
}

/// Runs a client against the scenario's server; a text for each row.
pub(crate) fn rows(
    scenario: &Scenario,
    client: impl FnOnce(&str) -> Result<Side, Box<dyn std::error::Error>>,
) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let serving = Serving::start(scenario)?;
    let client = client(&serving.url);
    let server = serving.stop()?;
    let client = client?;
    let mut errors: Vec<f64> = client
        .ttft_ms
        .iter()
        .filter_map(|(id, ms)| Some((ms - server.ttft_ms.get(id)?).abs()))
        .collect();
    if errors.len() != scenario.requests {
        return Err(format!("{} of {} requests", errors.len(), scenario.requests).into());
    }
    errors.sort_by(f64::total_cmp);
    let mean = errors.iter().sum::<f64>() / errors.len() as f64;
    let p99 = errors[(errors.len() * 99).div_ceil(100) - 1];
    Ok(figures(scenario, &format!("{mean:.2} / {p99:.2} ms"), &client.summary))
}

/// The rows of a scenario from an error and a summary.
fn figures(scenario: &Scenario, error: &str, summary: &BTreeMap<String, f64>) -> Vec<String> {
    let value = |name: &str| summary.get(name).copied().unwrap_or(f64::NAN);
    if scenario.gap.is_zero() {
        return vec![format!("{:.2} M tokens/s", value("tokens_per_second") / 1e6)];
    }
    let all = [
        error.to_owned(),
        format!("{:.2} s ({:.2} in the kernel)", value("cpu_seconds"), value("kernel_seconds")),
        format!("{:.0} MB", value("peak_mb")),
    ];
    all.into_iter().take(scenario.rows.len()).collect()
}

impl Spent {
    /// As a summary tells it.
    pub(crate) fn figures(&self) -> BTreeMap<String, f64> {
        let figures = [
            ("cpu_seconds", self.cpu_seconds),
            ("kernel_seconds", self.kernel_seconds),
            ("peak_mb", self.peak_mb),
        ];
        figures.map(|(name, value)| (name.to_owned(), value)).into()
    }
}

/// What a whole process spent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    /// Of all its threads, the kernel's work for them included.
    pub(crate) cpu_seconds: f64,
    /// The kernel's alone.
    pub(crate) kernel_seconds: f64,
    pub(crate) peak_mb: f64,
}

/// Runs a command to its end. Its figures are those of the last look at it, at
/// most 10 ms before its end.
pub(crate) fn waited(mut command: Command) -> Result<Spent, Box<dyn std::error::Error>> {
    let mut child = command.spawn()?;
    let process = child.id().to_string();
    let mut last = Spent::default();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        last = spent(&process).unwrap_or(last);
        std::thread::sleep(Duration::from_millis(10));
    };
    if status.success() { Ok(last) } else { Err(format!("{command:?} ended with {status}").into()) }
}

fn spent(process: &str) -> Option<Spent> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // Linux counts in hundredths of a second, whatever the kernel's own rate.
    let seconds = |ticks: &str| Some(ticks.parse::<f64>().ok()? / 100.0);
    let (own, kernel_seconds) = (seconds(fields[11])?, seconds(fields[12])?);
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kb: f64 = peak.split_whitespace().next()?.parse().ok()?;
    Some(Spent { cpu_seconds: own + kernel_seconds, kernel_seconds, peak_mb: kb / 1000.0 })
}
