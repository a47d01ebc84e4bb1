use indicatif::TermLike;
use vllm_grid::metric::{Constraint, MetricRef};
use vllm_grid::strategy::Purpose;
use vllm_grid::sweep::eta::{BudgetEnd, Source};
use vllm_grid::sweep::standing::{BrokenBound, MissingValue, Place};

use super::*;

fn view(running: BTreeMap<Option<u32>, LaunchView>, launches: u32) -> ProgressView {
    let sweep = (launches > 0).then(|| SweepView {
        folder: PathBuf::new(),
        name: String::new(),
        simulated: true,
        launches: (launches, launches),
        trials: six_before(),
        confirms: None,
        session: Session::Partial,
    });
    let out = Box::new(std::io::sink());
    ProgressView { bars: None, sweep, running, clock: ZonedDateTime::now, columns: || None, out }
}

/// Six trials, none of them done.
fn six_before() -> Trials {
    let mut trials = Trials::default();
    (0..6).for_each(|trial| trials.begins(trial, trial + 1));
    trials
}

fn void(case: &str, repeat: u32) -> Measurement {
    Measurement {
        workload: "load".to_owned(),
        case: case.to_owned(),
        repeat,
        status: Status::Void,
        reason: Some("foreign traffic".to_owned()),
        metrics: std::collections::BTreeMap::default(),
        metric_reasons: std::collections::BTreeMap::default(),
    }
}

#[test]
fn a_running_server_has_no_launch_to_name() {
    let mut view = view([(None, LaunchView::of(String::new(), 12))].into(), 0);
    assert_eq!(view.measuring(None, "kv-cache", "", 0), "kv-cache, warm-up (1/12)");
    view.repeat(None, &void("", 0));
    assert_eq!(
        view.measuring(None, "load", "concurrency=8", 3),
        "load concurrency=8, repeat 3 (2/12)"
    );
    let text = view.finished(None, &void("concurrency=8", 3));
    assert_eq!(text, "load concurrency=8, repeat 3 is void: foreign traffic");
}

#[test]
fn a_launch_that_is_taken_up_is_named_and_timed_from_its_beginning() {
    let mut view = view(BTreeMap::new(), 40);
    let since = (view.clock)().timestamp() - jiff::SignedDuration::from_secs(63);
    let configuration = "prefix-on".to_owned();
    view.on_event(Event::TakenUp(TakenUp {
        launch: 7,
        trial: Some(6),
        configuration,
        job: "12".to_owned(),
        since: Some(since),
        repeats: (6, 2),
    }));
    assert_eq!(view.measuring(Some(7), "load", "", 3), "[7/40] prefix-on: load, repeat 3 (3/6)");
    let lasted = view.running[&Some(7)].since.elapsed().as_secs();
    assert!((63..90).contains(&lasted), "{lasted}");
}

#[test]
fn a_sweep_names_each_launch_and_its_configuration() {
    let mut view = view(BTreeMap::new(), 40);
    for (launch, trial, configuration, planned) in [(7, 6, "prefix-on", 6), (8, 7, "prefix-off", 5)]
    {
        view.on_entry(Entry::LaunchStarted {
            launch,
            trial,
            configuration: configuration.to_owned(),
            purpose: Purpose::Screen,
            planned,
            repeats: None,
            host: None,
            bar: None,
            gpus: None,
        });
    }
    assert_eq!(
        view.measuring(Some(7), "load", "concurrency=8", 1),
        "[7/40] prefix-on: load concurrency=8, repeat 1 (1/6)"
    );
    assert_eq!(
        view.measuring(Some(8), "load", "concurrency=8", 1),
        "[8/40] prefix-off: load concurrency=8, repeat 1 (1/5)"
    );
    let text = view.finished(Some(7), &void("", 0));
    assert_eq!(text, "[7/40] prefix-on: load, warm-up is void: foreign traffic");
}

/// After a cut journal, launches have numbers behind those of the folders; after an
/// interruption and a failure, a trial has several launches.
#[test]
fn a_trial_is_counted_once_whatever_the_numbers_of_its_launches_are() {
    let mut view = view(BTreeMap::new(), 8);
    view.sweep.as_mut().unwrap().trials = Trials::done((0..6).collect());
    let mut seen = Vec::new();
    let interrupted = || LaunchOutcome::Interrupted;
    for (launch, trial, outcome) in [
        (12, 6, interrupted()),
        (13, 6, LaunchOutcome::Measured),
        (14, 7, LaunchOutcome::Measured),
        // What was done once is launched again.
        (15, 2, LaunchOutcome::Measured),
    ] {
        view.on_entry(Entry::LaunchStarted {
            launch,
            trial,
            configuration: "a".to_owned(),
            purpose: Purpose::Screen,
            planned: 1,
            repeats: None,
            host: None,
            bar: None,
            gpus: None,
        });
        view.on_entry(Entry::LaunchEnded { launch, outcome });
        let done = view.sweep.as_ref().unwrap().trials.count();
        seen.push((view.prefix_of(launch, "a"), done));
    }
    let said = |place: &str, done| (format!("[{place}/8] a: "), done);
    assert_eq!(seen, [said("7", 6), said("7", 7), said("8", 8), said("3", 8)]);
}

/// Keeps what is written.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn evening() -> ZonedDateTime {
    "2026-11-28T18:33:02+01:00[+01:00]".parse().unwrap()
}

fn eta(source: Source, seconds: (f64, f64)) -> Eta {
    Eta { seconds, launches: (24, 24), source, budget: None, confirms: false }
}

#[test]
fn lines_of_a_sweep_have_clock_times_and_are_broken_between_words_at_80_columns() {
    let written = Written::default();
    let mut view = view(BTreeMap::new(), 24);
    (view.clock, view.out) = (evening, Box::new(written.clone()));
    let configuration = "gpu-memory-utilization=0.85_max-num-batched-tokens=16384".to_owned();
    view.on_entry(Entry::SessionStarted {
        schema_version: 1,
        tool_version: String::new(),
        suite_version: None,
    });
    view.on_event(Event::SoFar(SoFar::Eta(eta(Source::Assumed, (3360.0, 37440.0)))));
    view.on_entry(Entry::LaunchStarted {
        launch: 7,
        trial: 6,
        configuration: configuration.clone(),
        purpose: Purpose::Screen,
        planned: 4,
        repeats: None,
        host: None,
        bar: None,
        gpus: None,
    });
    view.on_entry(Entry::RepeatFinished { launch: 7, measurement: void("concurrency=8", 1) });
    let metric: MetricRef = "load[concurrency=64].output_throughput".parse().unwrap();
    view.on_event(Event::SoFar(SoFar::Missing(MissingValue {
        launch: 7,
        repeat: 2,
        metric: metric.clone(),
        reason: Some("at concurrency 64, 128 requests end before a steady state".to_owned()),
    })));
    let ttft: MetricRef = "load[concurrency=64].mean_ttft_ms".parse().unwrap();
    let bound = Constraint { metric: ttft, min: None, max: Some(1500.0) };
    view.on_event(Event::SoFar(SoFar::Standing(Standing {
        launch: 7,
        configuration,
        metric,
        value: Some(842.2),
        place: Some(Place { place: 2, of: 5 }),
        broken: vec![BrokenBound { bound, value: 1812.0 }],
    })));
    let budget = BudgetEnd { seconds: 31_018.0, launches: (17, 17), of: (24, 24) };
    let reported = Eta { budget: Some(budget), ..eta(Source::Measured, (40_000.0, 40_000.0)) };
    view.on_event(Event::SoFar(SoFar::Eta(reported)));
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn an_end_is_said_by_what_it_is_known_from() {
    let said = |eta: &Eta| wording::eta(eta, &evening());
    assert_eq!(
        said(&eta(Source::Measured, (4320.0, 4320.0))).unwrap(),
        "ends about 19:45, in 72 min"
    );
    assert_eq!(
        said(&eta(Source::Earlier(2), (8640.0, 8640.0))).unwrap(),
        "ends about 20:57, in 2.4 h, as 2 earlier runs of this service took"
    );
    assert_eq!(
        said(&eta(Source::Earlier(1), (90.0, 90.0))).unwrap(),
        "ends about 18:34:32, in 90 s, as 1 earlier run of this service took"
    );
    let budget = Some(BudgetEnd { seconds: 600.0, launches: (4, 6), of: (6, 6) });
    assert_eq!(
        said(&Eta { budget, ..eta(Source::Assumed, (60.0, 3000.0)) }).unwrap(),
        "the budget ends at 18:43, in 10 min, after 4 to 6 of 6 launches: assumed, nothing is \
         measured yet"
    );
    // Another day is named.
    assert_eq!(
        said(&eta(Source::Assumed, (3360.0, 37_440.0))).unwrap(),
        "ends between 19:29 and 04:57 on 29 Nov, in 56 min to 10.4 h: assumed, nothing is \
         measured yet"
    );
    assert_eq!(
        said(&eta(Source::Measured, (3360.0, 4320.0))).unwrap(),
        "ends between 19:29 and 19:45, in 56 min to 72 min; a gate's time is assumed"
    );
    assert_eq!(said(&eta(Source::Measured, (0.0, 0.0))), None);
    assert_eq!(
        wording::short_eta(&eta(Source::Measured, (60.0, 60.0)), &evening()),
        "ends about 18:34:02"
    );
    assert_eq!(wording::short_eta(&eta(Source::Assumed, (1.0, 2.0)), &evening()), "");
}

/// At a terminal of 60 columns, also when the bars are cleared; in a log at 80.
#[test]
fn warnings_are_broken_at_a_terminals_width_and_in_a_log_as_all_other_lines() {
    let said = |columns: fn() -> Option<usize>| {
        let written = Written::default();
        let mut view = view(BTreeMap::new(), 24);
        (view.clock, view.columns, view.out) = (evening, columns, Box::new(written.clone()));
        view.say(&format!("warning: {}", "a long message of others ".repeat(8).trim()));
        Progress(Arc::new(Mutex::new(view))).warn("short");
        String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
    };
    let broken = said(|| Some(60));
    assert_eq!(broken.lines().count(), 5, "{broken}");
    assert!(broken.lines().all(|line| line.len() <= 60), "{broken}");
    assert!(broken.ends_with("\nwarning: short\n"), "{broken}");
    let log = said(|| None);
    assert_eq!(log.lines().count(), 5, "{log}");
    assert!(log.lines().all(|line| line.len() <= 80), "{log}");
    let dated = log.lines().filter(|line| line.starts_with("18:33:02 warning: "));
    assert_eq!(dated.count(), 2, "{log}");
}

impl std::fmt::Debug for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("what is written")
    }
}

/// A terminal that moves nothing: what is drawn is there one below the other.
impl TermLike for Written {
    fn width(&self) -> u16 {
        80
    }

    fn move_cursor_up(&self, _: usize) -> std::io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> std::io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> std::io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> std::io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> std::io::Result<()> {
        self.write_str(&format!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> std::io::Result<()> {
        self.0.lock().unwrap().extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn clear_line(&self) -> std::io::Result<()> {
        self.write_line("")
    }

    fn flush(&self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn bars_have_one_line_each_however_long_their_messages_are() {
    let written = Written::default();
    let target = ProgressDrawTarget::term_like(Box::new(written.clone()));
    let bars = Bars::new("launches", "{wide_msg}", target);
    bars.overall.set_length(1234);
    bars.overall.set_position(1000);
    bars.overall.set_message("budget ends 03:10 on 29 Nov, and much more is said of it");
    bars.launch.set_message("[1000/1234] a: ".repeat(9));
    bars.overall.force_draw();
    bars.launch.force_draw();
    let drawn = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    assert!(drawn.contains("budget ends 03:10 on 29 Nov"), "{drawn}");
    // Both are drawn one behind the other, and the first one fills its line.
    let longest = drawn.lines().map(|line| line.chars().count()).max();
    assert_eq!(longest, Some(2 * 80), "{drawn}");
}

#[test]
fn only_what_is_there_is_offered_to_be_resumed() {
    let place = tempfile::tempdir().unwrap();
    let run = place.path().join("run");
    let said = || {
        let path = place.path().join("said");
        let mut view = view(BTreeMap::new(), 2);
        view.sweep.as_mut().unwrap().folder.clone_from(&run);
        view.out = Box::new(std::fs::File::create(&path).unwrap());
        Progress(Arc::new(Mutex::new(view))).close(None);
        let text = std::fs::read_to_string(path).unwrap();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let resume = format!("`vllm-grid resume {}`", run.display());
    assert!(!said().contains(&resume), "it was removed or moved: {}", said());
    assert!(said().contains("is not there any more"), "{}", said());
    std::fs::create_dir(&run).unwrap();
    std::fs::write(run.join("manifest.json"), "").unwrap();
    assert!(!said().contains(&resume), "its journal was: {}", said());
    std::fs::write(run.join("journal.jsonl"), "").unwrap();
    assert!(said().contains(&resume), "{}", said());
}

/// As where the strategy ends when the best one is known.
#[test]
fn launches_that_are_chosen_are_a_range() {
    let written = Written::default();
    let mut view = view(BTreeMap::new(), 30);
    view.out = Box::new(written.clone());
    view.clock = || "2026-11-28T18:33:02+01:00[+01:00]".parse().unwrap();
    let ranged =
        |launches, budget, seconds| Eta { launches, budget, ..eta(Source::Measured, seconds) };
    view.on_event(Event::SoFar(SoFar::Eta(ranged((30, 52), None, (3360.0, 9120.0)))));
    assert_eq!(view.prefix_of(3, "a"), "[3/30-52] a: ");
    let budget = BudgetEnd { seconds: 6000.0, launches: (30, 41), of: (30, 52) };
    view.on_event(Event::SoFar(SoFar::Eta(ranged((30, 52), Some(budget), (3360.0, 9120.0)))));
    // In the end one number is left.
    view.on_event(Event::SoFar(SoFar::Eta(ranged((33, 33), None, (120.0, 120.0)))));
    assert_eq!(view.prefix_of(3, "a"), "[3/33] a: ");
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    insta::assert_snapshot!(text);
}
