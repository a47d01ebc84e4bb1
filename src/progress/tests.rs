use vllm_grid::strategy::Purpose;

use super::*;

fn view(running: BTreeMap<Option<u32>, LaunchView>, launches: u32) -> ProgressView {
    let sweep = (launches > 0).then(|| SweepView {
        folder: PathBuf::new(),
        name: String::new(),
        simulated: true,
        launches,
        done: 0,
        begun: true,
        complete: false,
    });
    let out = Box::new(std::io::sink());
    ProgressView { bars: None, sweep, running, clock: ZonedDateTime::now, out }
}

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
fn a_sweep_names_each_launch_and_its_configuration() {
    let mut view = view(BTreeMap::new(), 40);
    for (launch, configuration, planned) in [(7, "prefix-on", 6), (8, "prefix-off", 5)] {
        view.on_entry(Entry::LaunchStarted {
            launch,
            trial: 0,
            configuration: configuration.to_owned(),
            purpose: Purpose::Screen,
            planned,
            repeats: None,
            host: None,
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
