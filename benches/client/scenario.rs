//! What is measured, and how the records of both sides become figures.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
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
    /// Behind https; the scenario of the same load over http, measured before, is named.
    pub(crate) tls: Option<&'static str>,
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
        tls: None,
        rows: &[("mean / p99 TTFT error, 100 streams", "<= 0.5 / 2 ms")],
    },
    Scenario {
        name: "thousand",
        streams: 1000,
        requests: 4000,
        tokens: 64,
        first: Duration::from_millis(50),
        gap: Duration::from_millis(50),
        tls: None,
        rows: &[
            ("mean / p99 TTFT error, 1000 streams", "<= 2 / 10 ms"),
            ("client CPU for those 256,000 tokens", "<= 2.5 s"),
            ("peak memory at 1000 streams, whole process", "<= 96 MB"),
        ],
    },
    Scenario {
        name: "thousand-tls",
        streams: 1000,
        requests: 4000,
        tokens: 64,
        first: Duration::from_millis(50),
        gap: Duration::from_millis(50),
        tls: Some("thousand"),
        rows: &[
            ("mean / p99 TTFT error, 1000 streams over https", "mean <= 0.5 ms"),
            ("client CPU over https, to that over http", "<= 1.6 x"),
        ],
    },
    Scenario {
        name: "ten-thousand",
        streams: 10_000,
        requests: 10_000,
        tokens: 16,
        first: Duration::from_millis(50),
        gap: Duration::from_millis(50),
        tls: None,
        rows: &[
            ("mean / p99 TTFT error, 10,000 streams", "mean <= 5 ms, or said to be late"),
            ("peak memory at 10,000 streams, whole process", "<= 400 MB"),
        ],
    },
    Scenario {
        name: "unpaced",
        streams: 64,
        requests: 2048,
        tokens: 512,
        first: Duration::ZERO,
        gap: Duration::ZERO,
        tls: None,
        rows: &[("unpaced ceiling, 64 streams of 512 tokens", ">= 1.0 M tokens/s")],
    },
];

/// One side's record of every request, and the figures of a client's process.
pub(crate) struct Side {
    pub(crate) ttft_ms: BTreeMap<u64, f64>,
    pub(crate) summary: BTreeMap<String, f64>,
    /// What the client itself says against what it measured.
    pub(crate) remark: Option<String>,
}

/// Reads lines of `ID MILLISECONDS`.
fn read_side(text: &str) -> Side {
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    let number = "numbers that our own server wrote";
    let ttft_ms =
        pairs.map(|(id, ms)| (id.parse().expect(number), ms.parse().expect(number))).collect();
    Side { ttft_ms, summary: BTreeMap::new(), remark: None }
}

/// The server of a scenario in a process of its own; it ends with its standard input.
pub(crate) struct Serving {
    child: Child,
    pub(crate) url: String,
    /// Where its certificate's authority is written, behind https.
    folder: tempfile::TempDir,
}

impl Serving {
    pub(crate) fn start(scenario: &Scenario) -> std::io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", scenario.name])
            .arg(folder.path().join("ca.pem"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut url = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        output.read_line(&mut url)?;
        child.stdout = Some(output.into_inner());
        Ok(Self { child, url: url.trim().to_owned(), folder })
    }

    /// The file with the authority of its certificate.
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
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

/// CPU seconds of the client by the scenario's name, so far.
pub(crate) type Known = BTreeMap<&'static str, f64>;

/// Runs a client against the scenario's server, at an address and with the file of its
/// authority; a text for each row.
pub(crate) fn rows(
    scenario: &'static Scenario,
    known: &mut Known,
    client: impl FnOnce(&str, &Path) -> Result<Side, Box<dyn std::error::Error>>,
) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let serving = Serving::start(scenario)?;
    let client = client(&serving.url, &serving.authority());
    let server = serving.stop()?;
    let client = client?;
    let mut errors: Vec<f64> = client
        .ttft_ms
        .iter()
        .filter_map(|(id, ms)| Some((ms - server.ttft_ms.get(id)?).abs()))
        .collect();
    if errors.len() != scenario.requests && client.remark.is_none() || errors.is_empty() {
        return Err(format!("{} of {} requests", errors.len(), scenario.requests).into());
    }
    errors.sort_by(f64::total_cmp);
    let mean = errors.iter().sum::<f64>() / errors.len() as f64;
    let p99 = errors[(errors.len() * 99).div_ceil(100) - 1];
    let remark = client.remark.map(|what| format!("; the client says: {what}"));
    let error = format!("{mean:.2} / {p99:.2} ms{}", remark.unwrap_or_default());
    let cpu = client.summary.get("cpu_seconds").copied().unwrap_or(f64::NAN);
    known.insert(scenario.name, cpu);
    Ok(figures(scenario, &error, &client.summary, known))
}

/// The rows of a scenario from an error and a summary.
fn figures(
    scenario: &Scenario,
    error: &str,
    summary: &BTreeMap<String, f64>,
    known: &Known,
) -> Vec<String> {
    let value = |name: &str| summary.get(name).copied().unwrap_or(f64::NAN);
    if scenario.gap.is_zero() {
        return vec![format!("{:.2} M tokens/s", value("tokens_per_second") / 1e6)];
    }
    if let Some(plain) = scenario.tls {
        let (cpu, plain) = (value("cpu_seconds"), known.get(plain).copied().unwrap_or(f64::NAN));
        return vec![error.to_owned(), format!("{:.2} x ({cpu:.2} s)", cpu / plain)];
    }
    let memory = format!("{:.0} MB", value("peak_mb"));
    if scenario.rows.len() == 2 {
        return vec![error.to_owned(), memory];
    }
    let all = [
        error.to_owned(),
        format!("{:.2} s ({:.2} in the kernel)", value("cpu_seconds"), value("kernel_seconds")),
        memory,
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
    // 1: the client ended well, and does not vouch for what it measured.
    if matches!(status.code(), Some(0 | 1)) {
        Ok(last)
    } else {
        Err(format!("{command:?} ended with {status}").into())
    }
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
