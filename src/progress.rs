//! Tells a person at the terminal what happens: events become indicatif bars,
//! or plain lines where the output is not a terminal. Everything goes to
//! standard error, so that standard output holds results alone.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use vllm_grid::event::{Emit, Event, Phase};
use vllm_grid::metric::{Measurement, Status};

/// Listens to events and tells a person.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Mutex<ProgressView>>);

struct ProgressView {
    bars: Option<Bars>,
    /// The sweep's, where there is a sweep.
    folder: Option<PathBuf>,
    launches: u32,
    /// 0 where nothing is launched: `bench` measures a server that runs already.
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
    /// For a sweep, launch by launch: bars on a terminal, plain lines elsewhere.
    pub(crate) fn of_sweep(folder: &Path) -> Self {
        let progress = Self::of(|| Bars::new("launches"), 0);
        progress.view().folder = Some(folder.to_owned());
        progress
    }

    /// For so many repeats on a server that runs already.
    pub(crate) fn of_repeats(repeats: u32) -> Self {
        let bars = || {
            let bars = Bars::new("repeats");
            bars.overall.set_length(u64::from(repeats));
            bars
        };
        Self::of(bars, repeats)
    }

    fn of(bars: impl FnOnce() -> Bars, repeats: u32) -> Self {
        let bars = std::io::stderr().is_terminal().then(bars);
        Self(Arc::new(Mutex::new(ProgressView::new(bars, repeats))))
    }

    /// Where the library's events go.
    pub(crate) fn emit(&self) -> Emit {
        let this = self.clone();
        Emit::to(move |event| this.view().on_event(event))
    }

    /// A poisoned view still tells: its state is only what it printed.
    fn view(&self) -> MutexGuard<'_, ProgressView> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Clears the bars, so that results are printed on a clean screen.
    pub(crate) fn close(&self) {
        let mut view = self.view();
        if let Some(bars) = view.bars.take() {
            bars.launch.finish_and_clear();
            bars.overall.finish_and_clear();
        }
    }
}

impl Bars {
    /// The upper bar counts `what`.
    fn new(what: &str) -> Self {
        let style = |template: &str| {
            ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("=> ")
        };
        let all = MultiProgress::new();
        let overall = all.add(ProgressBar::no_length());
        // With four digits each it fits into 80 columns.
        overall.set_style(style(&format!(
            "{what} {{pos}}/{{len}} [{{bar:20}}] {{elapsed_precise}} gone, about {{eta_precise}} to go"
        )));
        let launch = all.add(ProgressBar::no_length());
        launch.set_style(style("  {spinner} {wide_msg} {elapsed}"));
        launch.enable_steady_tick(Duration::from_millis(200));
        Self { all, overall, launch }
    }
}

impl ProgressView {
    fn new(bars: Option<Bars>, repeats: u32) -> Self {
        Self {
            bars,
            folder: None,
            launches: 0,
            launch: 0,
            configuration: String::new(),
            repeats,
            done: 0,
            since: Instant::now(),
        }
    }

    fn on_event(&mut self, event: Event) {
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
            Event::LaunchInterrupted { .. } => self.ended("interrupted"),
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
                if let (false, Some(folder)) = (complete, &self.folder) {
                    let folder = quoted(folder);
                    self.line(&format!(
                        "the sweep is not complete: `vllm-grid resume {folder}` goes on with it"
                    ));
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
            // One line per repeat would bury a log; what went wrong is told.
            Phase::Measuring { workload, case, repeat } => {
                if let Some(bars) = &self.bars {
                    bars.launch.set_message(self.measuring(&workload, &case, repeat));
                    if self.launch == 0 {
                        bars.launch.reset_elapsed();
                    }
                }
            }
            Phase::Stopping => self.now("stopping"),
        }
    }

    fn measuring(&self, workload: &str, case: &str, repeat: u32) -> String {
        let what = named(workload, case, repeat);
        format!("{}{what} ({}/{})", self.prefix(), self.done + 1, self.repeats)
    }

    fn repeat(&mut self, measurement: &Measurement) {
        self.done += 1;
        if measurement.status != Status::Ok {
            self.line(&self.finished(measurement));
        }
        if let (Some(bars), 0) = (&self.bars, self.launch) {
            bars.overall.inc(1);
        }
    }

    fn finished(&self, measurement: &Measurement) -> String {
        let Measurement { workload, case, repeat, status, reason, .. } = measurement;
        let what = named(workload, case, *repeat);
        let reason = reason.as_deref().unwrap_or("no reason given");
        format!("{}{what} is {}: {reason}", self.prefix(), status.as_str())
    }

    fn ended(&mut self, how: &str) {
        let seconds = self.since.elapsed().as_secs_f64();
        self.line(&format!("{}{how} ({seconds:.1} s)", self.prefix()));
        if let Some(bars) = &self.bars {
            bars.overall.inc(1);
        }
    }

    /// Which launch it is; nothing where nothing is launched.
    fn prefix(&self) -> String {
        if self.launch == 0 {
            return String::new();
        }
        let launches = self.launches.max(self.launch);
        format!("[{}/{launches}] {}: ", self.launch, self.configuration)
    }

    /// What is going on: the bar's message, or a line.
    fn now(&self, what: &str) {
        let text = format!("{}{what}", self.prefix());
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

/// A path as it can be typed.
pub(crate) fn quoted(path: &Path) -> String {
    shell_words::quote(&path.to_string_lossy()).into_owned()
}

/// A repeat as a person names it.
fn named(workload: &str, case: &str, repeat: u32) -> String {
    let case = if case.is_empty() { String::new() } else { format!(" {case}") };
    match repeat {
        0 => format!("{workload}{case}, warm-up"),
        _ => format!("{workload}{case}, repeat {repeat}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn void(case: &str, repeat: u32) -> Measurement {
        Measurement {
            workload: "load".to_owned(),
            case: case.to_owned(),
            repeat,
            status: Status::Void,
            reason: Some("foreign traffic".to_owned()),
            metrics: std::collections::BTreeMap::default(),
        }
    }

    #[test]
    fn a_running_server_has_no_launch_to_name() {
        let mut view = ProgressView::new(None, 12);
        assert_eq!(view.measuring("kv-cache", "", 0), "kv-cache, warm-up (1/12)");
        view.repeat(&void("", 0));
        assert_eq!(
            view.measuring("load", "concurrency=8", 3),
            "load concurrency=8, repeat 3 (2/12)"
        );
        let told = view.finished(&void("concurrency=8", 3));
        assert_eq!(told, "load concurrency=8, repeat 3 is void: foreign traffic");
    }

    #[test]
    fn a_sweep_names_the_launch_and_its_configuration() {
        let mut view = ProgressView::new(None, 0);
        view.launches = 40;
        let configuration = "prefix-on".to_owned();
        view.on_event(Event::LaunchStarted { launch: 7, configuration, repeats: 6 });
        assert_eq!(
            view.measuring("load", "concurrency=8", 1),
            "[7/40] prefix-on: load concurrency=8, repeat 1 (1/6)"
        );
        let told = view.finished(&void("", 0));
        assert_eq!(told, "[7/40] prefix-on: load, warm-up is void: foreign traffic");
    }
}
