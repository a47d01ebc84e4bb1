//! What is said while a sweep runs, and how long it has worked.

use super::*;

/// What was said of launches and repeats, in words, and the ends of launches.
pub(super) fn said(ran: &Ran) -> Vec<String> {
    let seen = ran.seen.lock().expect("no panic");
    let said = seen.iter().filter_map(|event| match event {
        Event::Written(line) => match &line.entry {
            Entry::LaunchEnded { launch, .. } => Some(format!("end {launch}")),
            _ => None,
        },
        Event::SoFar(SoFar::Standing(it)) => Some(format!("{} {it}", it.configuration)),
        Event::SoFar(SoFar::Missing(it)) => Some(format!("{} {it}", it.launch)),
        Event::SoFar(SoFar::Behind(it)) => Some(format!("{} {it}", it.launch)),
        Event::SoFar(SoFar::Eta(_)) => Some("eta".to_owned()),
        Event::TakenUp(_) | Event::Notice(_) => None,
    });
    said.collect()
}

#[tokio::test(start_paused = true)]
async fn each_launch_is_followed_by_its_value_and_place_and_by_the_end_of_the_sweep() {
    let repeats = |launch, repeat| match (launch, repeat) {
        (2, 2) => Repeated::Value(f64::NAN),
        (2, _) => Repeated::Value(50.0),
        _ => Repeated::Value(100.0),
    };
    let ran = Setup::new(2, 1).repeats(repeats).run().await;
    assert_eq!(
        said(&ran),
        [
            "eta",
            "end 1",
            "c0 ttft_resent_ms 100 ms",
            "eta",
            "2 ttft_resent_ms is missing in repeat 2",
            "end 2",
            "c1 ttft_resent_ms 50.0 ms, place 1 of 2 so far",
            "eta",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn an_order_has_the_time_that_all_sessions_worked() {
    let times: Arc<Mutex<Vec<u64>>> = Arc::default();
    let keeping = |times: &Arc<Mutex<Vec<u64>>>| {
        let times = Arc::clone(times);
        move |order: &LaunchOrder, _| {
            times.lock().expect("no panic").push((order.worked.as_secs_f64() + 0.5) as u64);
            None
        }
    };
    let setup = Setup::new(2, 2).boots(keeping(&times));
    let cancel = setup.cancel.clone();
    tokio::spawn(async move {
        // In the second launch's boot.
        sleep(Duration::from_secs(LAUNCH + 1)).await;
        cancel.cancel();
    });
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Interrupted);
    sleep(Duration::from_hours(10)).await;
    let ran = ran.again(Setup::new(2, 2).boots(keeping(&times))).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    // The time between sessions does not count; the second of the launch that was stopped
    // in its boot does.
    let times: Vec<u64> = times.lock().expect("no panic").clone();
    let near = |seconds: u64, expected: u64| (expected..=expected + 1).contains(&seconds);
    assert_eq!((times.len(), times[0]), (4, 0), "{times:?}");
    assert!(near(times[1], LAUNCH + 1), "{times:?}");
    assert!(times[1..].windows(2).all(|pair| near(pair[1] - pair[0], LAUNCH)), "{times:?}");
}
