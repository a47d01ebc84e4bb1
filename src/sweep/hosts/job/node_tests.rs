use serde_json::json;

use super::super::Reader;
use super::*;
use crate::engine::LaunchOrder;
use crate::gate::GateOrder;
use crate::history::launch::LaunchOutcome;
use crate::metric::Status;
use crate::strategy::Purpose;
use crate::sweep::Pass;
use crate::sweep::fakes::{Actions, FakeEngine, FakeMeasure, Repeated, manifest};
use crate::sweep::launch::TrialOrder;

/// An order of two repeats, its file written.
fn ordered(folder: &Path) -> JobOrder {
    let manifest = manifest(1, 1, 2);
    let workload = manifest.workloads[0].clone();
    let pass = |repeat| Pass { workload: workload.clone(), case: String::new(), repeat };
    let order = JobOrder {
        format: FORMAT,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        run_id: manifest.run_id(),
        run: folder.to_owned(),
        order: TrialOrder {
            launch: LaunchOrder {
                sweep: "s".to_owned(),
                launch: 3,
                configuration: manifest.configurations[0].clone(),
                folder: folder.to_owned(),
                worked: std::time::Duration::ZERO,
            },
            trial: 2,
            purpose: Purpose::Screen,
            round: 0,
            salt: "salt".to_owned(),
            seed: 1,
            gates: GateOrder::default(),
            passes: vec![pass(1), pass(2)],
            early: None,
        },
    };
    let text = serde_json::to_vec(&order).expect("JSON");
    std::fs::write(Files::of(folder).order(), text).expect("written");
    order
}

fn start() -> Start {
    Start { host: "n1".to_owned(), job: Some("7".to_owned()), restarts: 0 }
}

async fn launched(order: &JobOrder, measure: &FakeMeasure) -> Result<End, OrderError> {
    let engine = FakeEngine::new(&measure.actions);
    let taken = Taken::take(order.clone(), start(), &Secrets::default())?;
    taken.begin(Machine::default())?;
    taken.launch(&engine, measure, &CancellationToken::new()).await
}

/// What the lines are, in a word each.
fn words(folder: &Path) -> Vec<String> {
    let word = |line: Line| match line {
        Line::Began(began) => format!("began on {}", began.host),
        Line::Entry { entry, .. } => match *entry {
            Entry::RepeatFinished { measurement, .. } => {
                let void = if measurement.status == Status::Void { " void" } else { "" };
                format!("repeat {}{void}", measurement.repeat)
            }
            Entry::LaunchReady { .. } => "ready".to_owned(),
            other => format!("{other:?}"),
        },
        Line::Phase { .. } => "phase".to_owned(),
        Line::Warning { text } => text,
        Line::Ended { end, .. } => match end {
            End::Outcome(outcome) => format!("ended {outcome:?}"),
            End::Unable { message, .. } => format!("unable: {message}"),
            End::Unstopped { message, .. } => format!("unstopped: {message}"),
        },
    };
    let lines = Reader::of(folder).more().expect("whole lines");
    lines.into_iter().map(word).filter(|it| it != "phase").collect()
}

#[tokio::test(start_paused = true)]
async fn a_launch_is_begun_told_entry_by_entry_and_ended_and_never_made_twice() {
    let place = tempfile::tempdir().expect("a folder");
    let order = ordered(place.path());
    let measure = FakeMeasure::new(&Actions::default());
    let end = launched(&order, &measure).await.expect("it is made");
    assert_eq!(end, End::Outcome(LaunchOutcome::Measured));
    let told = words(place.path());
    assert_eq!(told, ["began on n1", "ready", "repeat 1", "repeat 2", "ended Measured"]);
    measure.actions.take();
    let again = launched(&order, &measure).await.expect_err("once");
    assert_eq!(again.to_string(), "launch 3 was begun before on n1: it is not measured twice");
    assert_eq!((words(place.path()), measure.actions.take().len()), (told, 0), "nothing is added");
    let files = Files::of(place.path());
    assert!(!files.reserve().exists() && files.taken().exists());
}

#[test]
fn a_job_that_was_started_again_takes_nothing() {
    let place = tempfile::tempdir().expect("a folder");
    let order = ordered(place.path());
    let again = Start { restarts: 1, ..start() };
    let error = Taken::take(order.clone(), again, &Secrets::default()).expect_err("refused");
    assert!(error.to_string().contains("restart 1"), "{error}");
    assert_eq!(words(place.path()), Vec::<String>::new());
    Taken::take(order, start(), &Secrets::default()).expect("the first one may");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_stored_and_a_bug_are_not_the_configuration_s() {
    for (repeated, said) in [
        (Repeated::Full, "unable: "),
        (Repeated::Panic, "unable: vllm-grid has a bug: the job's log has the report"),
    ] {
        let place = tempfile::tempdir().expect("a folder");
        let order = ordered(place.path());
        let mut measure = FakeMeasure::new(&Actions::default());
        measure.repeats =
            Box::new(move |_, repeat| if repeat == 1 { Repeated::Value(1.0) } else { repeated });
        launched(&order, &measure).await.expect("it is told");
        let told = words(place.path());
        assert_eq!(told[..3], ["began on n1", "ready", "repeat 1"], "what was finished is kept");
        assert!(told[3].starts_with(said), "{told:?}");
    }
}

#[test]
fn a_full_disk_is_named_where_nothing_can_be_told() {
    let place = tempfile::tempdir().expect("a folder");
    let order = ordered(place.path());
    std::os::unix::fs::symlink("/dev/full", Files::of(place.path()).lines()).expect("a link");
    let taken = Taken::take(order, start(), &Secrets::default()).expect("taken");
    let error = taken.begin(Machine::default()).expect_err("it is full").to_string();
    assert!(
        error.contains("job.lines.jsonl cannot be written") && error.contains("df -h"),
        "{error}"
    );
    let place = tempfile::tempdir().expect("a folder");
    let order = ordered(place.path());
    std::fs::create_dir(Files::of(place.path()).lines()).expect("in the way");
    let error = Taken::take(order, start(), &Secrets::default()).expect_err("no file");
    assert!(matches!(error, OrderError::Unwritable { .. }), "{error}");
}

#[test]
fn an_order_is_of_this_version_and_of_its_own_folder() {
    let place = tempfile::tempdir().expect("a folder");
    let path = Files::of(place.path()).order();
    let moved = JobOrder { run: "/elsewhere".into(), ..ordered(place.path()) };
    let mut json = serde_json::to_value(&moved).expect("JSON");
    json["order"]["launch"]["folder"] = json!("launches/3-c0");
    let write =
        |json: &serde_json::Value| std::fs::write(&path, json.to_string()).expect("written");
    write(&json);
    assert_eq!(order(&path).expect("it is ours").order.launch.folder, place.path());
    for (key, value) in [("tool_version", json!("9.9.9")), ("format", json!(FORMAT + 1))] {
        let mut other = json.clone();
        (other[key], other["order"]) = (value, json!("something new"));
        write(&other);
        let error = order(&path).expect_err("another version's");
        assert!(matches!(error, OrderError::Version { .. }), "{error}");
    }
    std::fs::write(&path, "{").expect("written");
    assert!(matches!(order(&path), Err(OrderError::Unreadable { .. })));
}

#[test]
fn an_order_that_is_refused_is_told_unless_another_start_took_it() {
    let place = tempfile::tempdir().expect("a folder");
    let path = Files::of(place.path()).order();
    let why = OrderError::Unreadable { path: path.clone(), error: "torn".to_owned() };
    refuse(&path, &start(), &why).expect("there is nobody to tell");
    assert!(!Files::of(place.path()).lines().exists(), "no order is there");
    let order = ordered(place.path());
    refuse(&path, &start(), &why).expect("told");
    let told = words(place.path());
    assert!(told.len() == 1 && told[0].starts_with("unable: n1: the order"), "{told:?}");
    std::fs::remove_file(Files::of(place.path()).lines()).expect("removed");
    Taken::take(order, start(), &Secrets::default()).expect("taken");
    refuse(&path, &start(), &why).expect("not told");
    assert_eq!(words(place.path()), Vec::<String>::new());
}
