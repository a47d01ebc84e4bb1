//! Tells a person at the terminal what happens: events become indicatif bars,
//! or plain lines where the output is not a terminal. Everything goes to
//! standard error, so that standard output holds results alone.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use vllm_grid::event::{Emit, Event, Phase};
use vllm_grid::metric::{Measurement, MetricValue, Status};

/// Listens to events and tells a person.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Mutex<Teller>>);

struct Teller {
    bars: Option<Bars>,
    launches: u32,
    launch: u32,
    configuration: String,
    repeats: u32,
    done: u32,
    since: Instant,
}

struct Bars {
    all: MultiProgress,
    overall: ProgressBar,
    launch: ProgressBar,
}

impl Progress {
    /// Bars on a terminal, plain lines elsewhere.
    pub(crate) fn new() -> Self {
        let bars = std::io::stderr().is_terminal().then(Bars::new);
        Self(Arc::new(Mutex::new(Teller {
            bars,
            launches: 0,
            launch: 0,
            configuration: String::new(),
            repeats: 0,
            done: 0,
            since: Instant::now(),
        })))
    }

    /// Where the library's events go.
    pub(crate) fn emit(&self) -> Emit {
        let teller = Arc::clone(&self.0);
        Emit::to(move |event| {
            // A poisoned teller still tells: its state is only what it printed.
            teller.lock().unwrap_or_else(PoisonError::into_inner).hear(event);
        })
    }

    /// Clears the bars, so that results are printed on a clean screen.
    pub(crate) fn close(&self) {
        let mut teller = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bars) = teller.bars.take() {
            bars.launch.finish_and_clear();
            bars.overall.finish_and_clear();
        }
    }
}

impl Bars {
    fn new() -> Self {
        let style = |template: &str| {
            ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("=> ")
        };
        let all = MultiProgress::new();
        let overall = all.add(ProgressBar::no_length());
        overall.set_style(style(
            "launches {pos}/{len} [{bar:24}] {elapsed_precise} gone, about {eta_precise} to go",
        ));
        let launch = all.add(ProgressBar::no_length());
        launch.set_style(style("  {spinner} {wide_msg} {elapsed}"));
        launch.enable_steady_tick(Duration::from_millis(200));
        Self { all, overall, launch }
    }
}

impl Teller {
    fn hear(&mut self, event: Event) {
        match event {
            Event::SweepStarted { sweep, launches, done, simulated } => {
                self.launches = launches;
                if let Some(bars) = &self.bars {
                    bars.overall.set_length(u64::from(launches));
                    bars.overall.set_position(u64::from(done));
                    bars.overall.reset_eta();
                }
                let mark = if simulated { " (SIMULATED engine)" } else { "" };
                let gone_on =
                    if done > 0 { format!(", {done} done before") } else { String::new() };
                self.line(&format!("sweep {sweep}{mark}: {launches} launches{gone_on}"));
            }
            Event::LaunchStarted { launch, configuration, repeats } => {
                self.launch = launch;
                self.configuration = configuration;
                self.repeats = repeats;
                self.done = 0;
                self.since = Instant::now();
                if let Some(bars) = &self.bars {
                    bars.launch.reset_elapsed();
                }
                self.now("starting");
            }
            Event::Phase(phase) => self.phase(phase),
            Event::RepeatFinished(measurement) => self.repeat(&measurement),
            Event::LaunchFinished { .. } => self.ended("measured"),
            Event::LaunchFailed { class, message, .. } => {
                self.ended(&format!("failed ({class}): {message}"));
            }
            Event::LaunchSkipped { launch, configuration, reason } => {
                self.launch = launch;
                self.configuration = configuration;
                self.ended(&format!("skipped: {reason}"));
            }
            Event::Warning(text) => self.line(&format!("warning: {text}")),
            Event::Interrupted => self.line("stopping: what was measured is kept"),
            Event::SweepFinished { complete } => {
                if let Some(bars) = &self.bars {
                    bars.launch.finish_and_clear();
                }
                if !complete {
                    self.line("the sweep is not complete: `vllm-grid resume` goes on with it");
                }
            }
        }
    }

    fn phase(&mut self, phase: Phase) {
        match phase {
            // The launch itself was told as starting.
            Phase::Starting(what) if what == "starting" => {}
            Phase::Starting(what) => self.now(&format!("starting: {what}")),
            Phase::Ready { seconds } => self.now(&format!("ready after {seconds:.1} s")),
            Phase::Measuring { workload, case, repeat } => {
                let case = if case.is_empty() { case } else { format!(" {case}") };
                let repeat =
                    if repeat == 0 { "warm-up".to_owned() } else { format!("repeat {repeat}") };
                let text =
                    format!("{workload}{case}, {repeat} ({}/{})", self.done + 1, self.repeats);
                // One line per repeat would bury a log; the finished ones are told.
                if let Some(bars) = &self.bars {
                    bars.launch.set_message(format!("{}: {text}", self.title()));
                }
            }
            Phase::Stopping => self.now("stopping"),
        }
    }

    fn repeat(&mut self, measurement: &Measurement) {
        self.done += 1;
        if measurement.status == Status::Ok {
            return;
        }
        let reason = measurement.reason.as_deref().unwrap_or("no reason given");
        let text = format!(
            "{}: {} repeat {} is {}: {reason}",
            self.title(),
            measurement.workload,
            measurement.repeat,
            measurement.status.as_str()
        );
        self.line(&text);
    }

    fn ended(&mut self, how: &str) {
        let seconds = self.since.elapsed().as_secs_f64();
        self.line(&format!("{}: {how} ({seconds:.1} s)", self.title()));
        if let Some(bars) = &self.bars {
            bars.overall.inc(1);
        }
    }

    fn title(&self) -> String {
        format!("[{}/{}] {}", self.launch, self.launches.max(self.launch), self.configuration)
    }

    /// What is going on: the bar's message, or a line.
    fn now(&self, what: &str) {
        let text = format!("{}: {what}", self.title());
        match &self.bars {
            Some(bars) => bars.launch.set_message(text),
            None => self.line(&text),
        }
    }

    fn line(&self, text: &str) {
        match &self.bars {
            // `println` fails only where the terminal is gone: nobody is left to tell.
            Some(bars) => drop(bars.all.println(text)),
            None => drop(writeln!(std::io::stderr(), "{text}")),
        }
    }
}

/// A metric value as a person reads it.
pub(crate) fn show(value: Option<&MetricValue>) -> String {
    match value {
        None => "-".to_owned(),
        Some(MetricValue::Text(text)) => text.clone(),
        Some(MetricValue::Number(number)) if number.abs() >= 100.0 => format!("{number:.0}"),
        Some(MetricValue::Number(number)) => {
            let text = format!("{number:.2}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    }
}
