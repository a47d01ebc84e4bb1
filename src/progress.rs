//! Shows a person at the terminal what happens: events become indicatif bars,
//! or plain lines where the output is not a terminal. Everything goes to
//! standard error, so that standard output holds results alone. Plain lines begin with
//! the local time. What is said of a sweep fits 80 columns; messages of others stay on
//! one line there, so that a log can be searched for them. A terminal breaks them at its width.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

mod trials;
mod unfinished;
mod wording;
mod writing;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::ZonedDateTime;
use vllm_grid::clean;
use vllm_grid::event::{BootPhase, Emit, Notice, NoticeKind, Phase};
use vllm_grid::gate::{Effect, GateReport};
use vllm_grid::history::folder::Folder;
use vllm_grid::history::journal::{Entry, is_budget_spent, is_refused};
use vllm_grid::history::launch::LaunchOutcome;
use vllm_grid::metric::{Measurement, Status};
use vllm_grid::sweep::eta::Eta;
use vllm_grid::sweep::events::{Event, Events, SoFar, TakenUp};
use vllm_grid::sweep::run::Sweep;
use vllm_grid::sweep::standing::Standing;

use crate::lines::{self, wrapped};
use crate::output::secrets;
use trials::Trials;
pub(crate) use unfinished::Confirms;

/// Listens to events and shows them.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Mutex<ProgressView>>);

struct ProgressView {
    bars: Option<Bars>,
    /// The sweep's, where there is a sweep.
    sweep: Option<SweepView>,
    /// What runs, by launch; `None` is a server that no sweep launched.
    running: BTreeMap<Option<u32>, LaunchView>,
    /// The local time.
    clock: fn() -> ZonedDateTime,
    /// Columns of the terminal that all goes to, where it is one.
    columns: fn() -> Option<usize>,
    /// Where lines go that are no bars.
    out: Box<dyn Write + Send>,
}

struct SweepView {
    folder: PathBuf,
    name: String,
    simulated: bool,
    /// Launches that are planned, one for each trial: at the least and at the most.
    launches: (u32, u32),
    /// Trials of what is worked on.
    trials: Trials,
    /// How it is continued, where it is a confirmation.
    confirms: Option<Confirms>,
    session: Session,
}

/// How far this session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Session {
    NotBegun,
    /// Not everything planned is done.
    Partial,
    /// The budget ended it.
    Spent,
    /// The cluster refuses what the grid asks for.
    Refused,
    Complete,
}

struct LaunchView {
    configuration: String,
    repeats: u32,
    done: u32,
    since: Instant,
}

impl LaunchView {
    fn of(configuration: String, repeats: u32) -> Self {
        Self { configuration, repeats, done: 0, since: Instant::now() }
    }
}

struct Bars {
    all: MultiProgress,
    overall: ProgressBar,
    launch: ProgressBar,
}

impl Progress {
    /// For a sweep of so many launches, at the least and at the most: bars on a terminal, plain
    /// lines elsewhere.
    pub(crate) fn of_sweep(sweep: &Sweep, launches: (u32, u32)) -> Self {
        let manifest = &sweep.record().manifest;
        let view = SweepView {
            folder: sweep.folder().path().to_owned(),
            name: manifest.sweep.clone(),
            simulated: manifest.simulated,
            launches,
            trials: Trials::done(sweep.settled()),
            confirms: None,
            session: Session::NotBegun,
        };
        Self::of(|target| Bars::new("launches", "{wide_msg}", target), Some(view))
    }

    /// For so many repeats on a server that runs already.
    pub(crate) fn of_repeats(repeats: u32) -> Self {
        let bars = |target| {
            let bars = Bars::new("repeats", "about {eta_precise} left", target);
            bars.overall.set_length(u64::from(repeats));
            bars
        };
        let progress = Self::of(bars, None);
        progress.view().running.insert(None, LaunchView::of(String::new(), repeats));
        progress
    }

    fn of(bars: impl FnOnce(ProgressDrawTarget) -> Bars, sweep: Option<SweepView>) -> Self {
        let columns = lines::of_errors;
        let bars = columns().map(|_| bars(ProgressDrawTarget::stderr()));
        let (running, clock) = (BTreeMap::new(), ZonedDateTime::now);
        let out = Box::new(std::io::stderr());
        let view = ProgressView { bars, sweep, running, clock, columns, out };
        Self(Arc::new(Mutex::new(view)))
    }

    /// Where a sweep's events go.
    pub(crate) fn events(&self) -> Events {
        let this = self.clone();
        Events::to(move |event| this.view().on_event(event))
    }

    /// Where notices go, where there is no sweep.
    pub(crate) fn emit(&self) -> Emit {
        let this = self.clone();
        Emit::to(move |notice| this.view().on_notice(notice))
    }

    /// Something that a person should read, in one line.
    pub(crate) fn warn(&self, text: &str) {
        self.view().say(&format!("warning: {text}"));
    }

    /// It is a confirmation.
    pub(crate) fn confirms(&self, how: Confirms) {
        if let Some(sweep) = &mut self.view().sweep {
            sweep.confirms = Some(how);
        }
    }

    /// A part of so many launches begins, at the least and at the most, whose trials these are
    /// done before.
    pub(crate) fn begins_part(&self, launches: (u32, u32), done: BTreeSet<u32>) {
        let mut view = self.view();
        if let Some(sweep) = &mut view.sweep {
            (sweep.launches, sweep.trials) = (launches, Trials::done(done));
        }
        // When the part before would have ended says nothing of it.
        if let Some(bars) = &view.bars {
            bars.overall.set_message("");
        }
    }

    /// Something of our own that a person asked for.
    pub(crate) fn say(&self, text: &str) {
        self.view().say(text);
    }

    /// A poisoned view still works: its state is only what it printed.
    fn view(&self) -> MutexGuard<'_, ProgressView> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Clears the bars, so that results are printed on a clean screen, and says
    /// how a sweep that is not complete can be continued; what comes `first` takes its place.
    pub(crate) fn close(&self, first: Option<&str>) {
        let mut view = self.view();
        if let Some(bars) = view.bars.take() {
            bars.launch.finish_and_clear();
            bars.overall.finish_and_clear();
        }
        if let Some(first) = first {
            view.last(first);
            return;
        }
        let left =
            |sweep: &&SweepView| !matches!(sweep.session, Session::NotBegun | Session::Complete);
        if let Some(sweep) = view.sweep.as_ref().filter(left) {
            let line = sweep.unfinished();
            view.say(&line);
        }
    }
}

impl Bars {
    /// The upper bar counts `what`, and says when it `ends`.
    fn new(what: &str, ends: &str, target: ProgressDrawTarget) -> Self {
        let style = |template: &str| {
            let style = ProgressStyle::with_template(template);
            style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
        };
        let all = MultiProgress::with_draw_target(target);
        let overall = all.add(ProgressBar::no_length());
        // With four digits each it fits into 80 columns; a message that does not is cut.
        overall.set_style(style(&format!(
            "{what} {{pos}}/{{len}} [{{bar:12}}] {{elapsed_precise}} elapsed, {ends}"
        )));
        let launch = all.add(ProgressBar::no_length());
        launch.set_style(style("  {spinner} {wide_msg} {elapsed}"));
        launch.enable_steady_tick(Duration::from_millis(200));
        Self { all, overall, launch }
    }
}

/// Whether a run can be continued in its folder: its manifest and journal are there.
pub(crate) fn is_there(folder: &Path) -> bool {
    Folder::existing(folder).is_ok_and(|it| it.journal_path().is_file())
}

impl ProgressView {
    fn on_event(&mut self, event: Event) {
        match event {
            Event::Written(line) => self.on_entry(line.entry),
            Event::SoFar(SoFar::Standing(standing)) => self.standing(&standing),
            Event::SoFar(SoFar::Missing(missing)) => {
                self.say(&format!("{}{missing}", self.prefix(Some(missing.launch))));
            }
            Event::SoFar(SoFar::Behind(behind)) => {
                self.say(&format!("{}{behind}", self.prefix(Some(behind.launch))));
            }
            Event::SoFar(SoFar::Eta(eta)) => self.eta(&eta),
            Event::TakenUp(it) => self.taken_up(it),
            Event::Notice(notice) => self.on_notice(notice),
        }
    }

    /// A launch that an earlier session began: its lines are named and timed as any other's.
    fn taken_up(&mut self, it: TakenUp) {
        if let (Some(sweep), Some(trial)) = (&mut self.sweep, it.trial) {
            sweep.trials.begins(trial, it.launch);
        }
        let now = (self.clock)().timestamp();
        let ago = it.since.and_then(|since| Duration::try_from(now.duration_since(since)).ok());
        let since = ago.and_then(|ago| Instant::now().checked_sub(ago));
        let (repeats, done) = it.repeats;
        let since = since.unwrap_or_else(Instant::now);
        let view = LaunchView { configuration: it.configuration, repeats, done, since };
        self.running.insert(Some(it.launch), view);
        if it.trial.is_some() {
            self.now(Some(it.launch), &format!("job {} is taken up", it.job));
        }
    }

    fn on_entry(&mut self, entry: Entry) {
        match entry {
            Entry::SessionStarted { .. } => self.session_started(),
            Entry::LaunchStarted { launch, trial, configuration, planned, .. } => {
                if let Some(sweep) = &mut self.sweep {
                    sweep.trials.begins(trial, launch);
                }
                self.running.insert(Some(launch), LaunchView::of(configuration, planned));
                if let Some(bars) = &self.bars {
                    bars.launch.reset_elapsed();
                }
                // Nothing is planned for a launch that is skipped.
                if planned > 0 {
                    self.now(Some(launch), "starting");
                }
            }
            Entry::RepeatFinished { launch, measurement } => {
                self.repeat(Some(launch), &measurement);
            }
            Entry::GateFinished { launch, report } => self.gate(launch, &report),
            Entry::LaunchEnded { launch, outcome } => self.ended(launch, &outcome),
            Entry::SessionEnded { complete, reason } => {
                if let Some(sweep) = &mut self.sweep {
                    sweep.session = match complete {
                        true => Session::Complete,
                        false if is_budget_spent(&reason) => Session::Spent,
                        false if is_refused(&reason) => Session::Refused,
                        false => Session::Partial,
                    };
                }
            }
            // What was accepted is said before anything is launched.
            Entry::BlockStarted { .. }
            | Entry::LaunchReady { .. }
            | Entry::JobSubmitted { .. }
            | Entry::LaunchPlaced { .. }
            // What it lost to is said with it.
            | Entry::LaunchShortened { .. }
            | Entry::Production { .. }
            | Entry::ConfirmationStarted { .. }
            | Entry::ConfirmationEnded { .. }
            | Entry::NothingToConfirm { .. }
            | Entry::Unknown => {}
        }
    }

    fn on_notice(&mut self, notice: Notice) {
        match notice.kind {
            NoticeKind::Phase(phase) => self.phase(notice.launch, phase),
            NoticeKind::Warning(text) => self.say(&format!("warning: {text}")),
            NoticeKind::RepeatFinished(measurement) => self.repeat(notice.launch, &measurement),
            NoticeKind::Waits { window, until } => {
                let here = (self.clock)().time_zone().clone();
                let until = until.to_zoned_datetime(here).strftime("%a %H:%M").to_string();
                self.say(&format!(
                    "outside the window {window}: the next launch begins at {until}"
                ));
            }
            NoticeKind::Interrupted => self.say("stopping: what was measured is kept"),
            // Said where it matters: by the guard's warnings, and at the process's end.
            NoticeKind::ProductionDown { .. } | NoticeKind::ProductionUp { .. } => {}
        }
    }

    fn session_started(&mut self) {
        let Some(sweep) = &mut self.sweep else { return };
        sweep.session = Session::Partial;
        if let Some(bars) = &self.bars {
            bars.overall.set_length(u64::from(sweep.launches.1));
            bars.overall.set_position(sweep.trials.count());
            bars.overall.reset_eta();
        }
        let mark = if sweep.simulated { " (SIMULATED engine)" } else { "" };
        let done = match sweep.trials.count() {
            0 => String::new(),
            done => format!(", {done} done before"),
        };
        let (what, about) = match &sweep.confirms {
            Some(_) => ("confirmation of sweep", "about "),
            None => ("sweep", ""),
        };
        let (name, launches) = (&sweep.name, wording::range(sweep.launches, " to "));
        let unit = clean::plural(sweep.launches.1, "launch");
        let text = format!("{what} {name}{mark}: {about}{launches} {unit}{done}");
        self.say(&text);
        if self.bars.is_none() {
            let offset = (self.clock)().strftime("UTC%:z").to_string();
            self.say(&format!("clock times are local ({offset})"));
        }
    }

    /// What a launch gave, and which bounds it broke.
    fn standing(&mut self, standing: &Standing) {
        let prefix = self.prefix_of(standing.launch, &standing.configuration);
        self.say(&format!("{prefix}{standing}"));
        for broken in &standing.broken {
            self.say(&format!("{prefix}{broken}"));
        }
    }

    fn eta(&mut self, eta: &Eta) {
        if let Some(sweep) = &mut self.sweep {
            sweep.launches = eta.launches;
            if let Some(bars) = &self.bars {
                bars.overall.set_length(u64::from(eta.launches.1));
            }
        }
        let Some(text) = wording::eta(eta, &(self.clock)()) else { return };
        if let Some(bars) = &self.bars {
            bars.overall.set_message(wording::short_eta(eta, &(self.clock)()));
        }
        self.say(&text);
    }

    fn phase(&mut self, launch: Option<u32>, phase: Phase) {
        match phase {
            // The launch itself was shown as starting.
            Phase::Booting(BootPhase::Starting) => {}
            Phase::Booting(boot) => self.now(launch, &format!("starting: {}", boot.as_str())),
            Phase::Ready { seconds } => self.now(launch, &format!("ready after {seconds:.1} s")),
            // One line per repeat would bury a log; what went wrong is shown.
            Phase::Measuring { workload, case, repeat } => {
                if let Some(bars) = &self.bars {
                    bars.launch.set_message(self.measuring(launch, &workload, &case, repeat));
                    if launch.is_none() {
                        bars.launch.reset_elapsed();
                    }
                }
            }
            Phase::Gate(gate) => self.now(launch, &format!("the gate `{gate}`")),
            Phase::Stopping => self.now(launch, "stopping"),
            Phase::Elsewhere(what) => self.now(launch, &what),
        }
    }

    fn measuring(&self, launch: Option<u32>, workload: &str, case: &str, repeat: u32) -> String {
        let what = wording::named(workload, case, repeat);
        let count = self.running.get(&launch).map(|launch| (launch.done + 1, launch.repeats));
        let count = count.map(|(one, all)| format!(" ({one}/{all})")).unwrap_or_default();
        format!("{}{what}{count}", self.prefix(launch))
    }

    fn repeat(&mut self, launch: Option<u32>, measurement: &Measurement) {
        if let Some(running) = self.running.get_mut(&launch) {
            running.done += 1;
        }
        if measurement.status != Status::Ok {
            let text = self.finished(launch, measurement);
            self.say(&text);
        }
        if let (Some(bars), None) = (&self.bars, launch) {
            bars.overall.inc(1);
        }
    }

    /// What a gate found, where it fails nobody: a failure is the launch's end.
    fn gate(&mut self, launch: u32, report: &GateReport) {
        let prefix = self.prefix(Some(launch));
        if let Some(reason) = &report.reason {
            let (gate, verdict) = (report.gate, report.verdict);
            self.say(&format!("{prefix}the gate `{gate}` is {verdict}: {reason}"));
        }
        for finding in report.findings.iter().filter(|it| it.effect == Effect::AsBaseline) {
            self.say(&format!("{prefix}`{}`: {finding}", report.gate));
        }
    }

    fn finished(&self, launch: Option<u32>, measurement: &Measurement) -> String {
        let Measurement { workload, case, repeat, status, reason, .. } = measurement;
        let what = wording::named(workload, case, *repeat);
        let reason = reason.as_deref().unwrap_or("no reason given");
        format!("{}{what} is {}: {reason}", self.prefix(launch), status.as_str())
    }

    fn ended(&mut self, launch: u32, outcome: &LaunchOutcome) {
        let how = match outcome {
            LaunchOutcome::Measured => "measured".to_owned(),
            LaunchOutcome::Failed(failure) => {
                format!("failed ({}): {}", failure.class.as_str(), failure.message)
            }
            LaunchOutcome::Skipped { reason, .. } => format!("skipped: {reason}"),
            LaunchOutcome::Interrupted => "interrupted".to_owned(),
            LaunchOutcome::Lost { message, .. } => format!("lost: {message}"),
            LaunchOutcome::Unknown => "ended".to_owned(),
        };
        if let Some(sweep) = &mut self.sweep {
            sweep.trials.ends(launch, outcome);
        }
        let launch = Some(launch);
        let since = self.running.get(&launch).map(|launch| launch.since);
        let seconds = since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        let text = format!("{}{how} ({seconds:.1} s)", self.prefix(launch));
        self.say(&text);
        self.running.remove(&launch);
        if let (Some(bars), Some(sweep)) = (&self.bars, &self.sweep) {
            bars.overall.set_position(sweep.trials.count());
        }
    }

    /// Which launch it is; nothing where nothing is launched.
    fn prefix(&self, launch: Option<u32>) -> String {
        let Some(number) = launch else { return String::new() };
        let name = self.running.get(&launch).map_or("", |launch| launch.configuration.as_str());
        self.prefix_of(number, name)
    }

    fn prefix_of(&self, number: u32, name: &str) -> String {
        let sweep = self.sweep.as_ref();
        let place = sweep.and_then(|it| it.trials.place_of(number)).unwrap_or(number);
        // A confirmation says only about how many it takes.
        let (least, most) = sweep.map_or((0, 0), |it| it.launches);
        let launches = wording::range((least.max(place), most.max(place)), "-");
        let part = if sweep.is_some_and(|it| it.confirms.is_some()) { "confirm " } else { "" };
        format!("[{part}{place}/{launches}] {name}: ")
    }

    /// What happens now: the bar's message, or a line.
    fn now(&mut self, launch: Option<u32>, what: &str) {
        let text = format!("{}{what}", self.prefix(launch));
        let text = clean::plain(&text).into_owned();
        match &self.bars {
            Some(bars) => bars.launch.set_message(secrets().mask(&text).into_owned()),
            None => self.say(&text),
        }
    }
}

/// A path as it can be typed.
pub(crate) fn quoted(path: &Path) -> String {
    shell_words::quote(&path.to_string_lossy()).into_owned()
}

#[cfg(test)]
mod tests;
