//! On which nodes of a cluster launches run: none on one whose engine has another version, and both
//! halves of a pair on one.

use super::*;

/// The engine of n2 has another version than that of the other nodes.
fn upgraded(slurm: FakeSlurm) -> FakeSlurm {
    slurm.engines(|host| {
        let version = if host == "n2" { "0.11.1" } else { "0.11.0" };
        let mut engine = FakeEngine::new(&Actions::default());
        engine.version = Some(version.to_owned());
        Arc::new(engine)
    })
}

#[tokio::test(start_paused = true)]
async fn a_node_with_another_version_of_the_engine_is_kept_out_and_the_others_go_on() {
    let (setup, slurm) = on(&["n1", "n2", "n3"], Setup::new(2, 2));
    let slurm = upgraded(slurm);
    // n1 alone at first, so that it says what nodes have.
    slurm.takes_jobs("n2", false);
    slurm.takes_jobs("n3", false);
    after(BOOT + 2, &slurm, |it| {
        it.takes_jobs("n2", true);
        it.takes_jobs("n3", true);
    });
    let ran = with(setup, &slurm, 2).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    measured_once(&ran, 4);
    assert_eq!(losses(&ran), [Loss::OtherMachine]);
    let lost = ran.record.launches.iter().find_map(|it| match &it.outcome {
        Some(LaunchOutcome::Lost { message, .. }) => Some(message.as_str()),
        _ => None,
    });
    let what = "n2: version of the engine: 0.11.0 -> 0.11.1 (the first node, n1, decides)";
    assert_eq!(lost, Some(what));
    let measured = ran.record.launches.iter().filter(|it| !it.measurements.is_empty());
    let versions: BTreeSet<_> =
        measured.filter_map(|it| it.facts.as_ref()?.engine_version.clone()).collect();
    assert_eq!(versions.len(), 1, "{:#?}", ran.entries());
}

#[tokio::test(start_paused = true)]
async fn where_no_node_is_left_the_sweep_ends_with_the_reasons_and_another_session_looks_again() {
    let (setup, slurm) = on(&["n1", "n2"], Setup::new(2, 2));
    let slurm = upgraded(slurm);
    after(LAUNCH, &slurm, |it| it.takes_jobs("n1", false));
    let ran = with(setup, &slurm, 1).run().await;
    let Err(SweepError::Stopped { message, environment: true, .. }) = &ran.ending else {
        panic!("{:?}", ran.ending)
    };
    let what =
        "no node is left that can make launches: n2: version of the engine: 0.11.0 -> 0.11.1";
    assert!(message.starts_with(what), "{message}");
    slurm.takes_jobs("n1", true);
    let again = Setup { folder: ran.folder, ..Setup::new(2, 2) };
    let ran = with(again, &slurm, 1).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    measured_once(&ran, 4);
}

/// Asks for both halves of a pair at once.
struct Pair;

impl Strategy for Pair {
    fn next(&self, situation: Situation<'_>) -> Action {
        let begun = situation.observations.len() + situation.in_flight.len();
        let (trial, purpose) = (begun as u32, crate::strategy::Purpose::Final);
        match begun {
            0 | 1 => Action::Launch { trial, configuration: begun, purpose, repeats: 2 },
            _ if situation.in_flight.is_empty() => Action::Finish { why: Finished::AllLaunched },
            _ => Action::Wait,
        }
    }

    fn trials(&self) -> u32 {
        2
    }
}

fn pair(nodes: &[&str]) -> (Setup, FakeSlurm) {
    let (mut setup, slurm) = on(nodes, Setup::new(2, 1));
    setup.manifest.strategy =
        crate::strategy::StrategySpec::Adaptive(crate::strategy::AdaptiveStrategy::default());
    setup.strategy = Some(Box::new(Pair));
    (with(setup, &slurm, 2), slurm)
}

#[tokio::test(start_paused = true)]
async fn the_second_of_a_pair_is_submitted_for_the_node_of_the_first_once_that_is_known() {
    let (setup, slurm) = pair(&["n1", "n2"]);
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    measured_once(&ran, 2);
    one_node(&ran);
    let entries = ran.entries();
    let at = |what: &str| entries.iter().position(|it| it.starts_with(what)).expect(what);
    assert!(at("placed 1") < at("start 2"), "{entries:#?}");
    assert!(at("start 2") < at("end 1"), "it waits in the cluster's queue, not here");
    assert!(slurm.ran("sbatch")[1].contains("--nodelist=n1"));
}

#[tokio::test(start_paused = true)]
async fn a_pair_whose_first_launch_is_lost_before_it_is_placed_ends_up_on_one_node() {
    let (setup, slurm) = pair(&["n1", "n2"]);
    slurm.takes_jobs("n1", false);
    slurm.takes_jobs("n2", false);
    // The first one waits; it is cancelled, made again, and only then placed.
    after(60, &slurm, FakeSlurm::cancels_waiting);
    after(120, &slurm, |it| it.takes_jobs("n2", true));
    after(125, &slurm, |it| it.takes_jobs("n1", true));
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    assert_eq!(losses(&ran), [Loss::Cancelled]);
    measured_once(&ran, 2);
    one_node(&ran);
}

/// Nodes on which no launch can begin.
fn lacks_program(slurm: FakeSlurm, bad: &'static [&'static str]) -> FakeSlurm {
    slurm.starts(|host| !bad.contains(&host))
}

#[tokio::test(start_paused = true)]
async fn nodes_that_cannot_launch_are_kept_out_while_another_one_measures() {
    let bad = &["n1", "n2", "n3"];
    let (setup, slurm) = on(&["n1", "n2", "n3", "n4"], Setup::new(4, 1));
    let slurm = lacks_program(slurm, bad);
    let ran = with(setup, &slurm, 4).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    measured_once(&ran, 4);
    let lost = losses(&ran);
    assert!(lost.len() >= 3 && lost.iter().all(|it| *it == Loss::NodeUnable), "{lost:?}");
    let measured = ran.record.launches.iter().filter(|it| !it.measurements.is_empty());
    assert!(measured.clone().all(|it| it.host.as_deref() == Some("n4")), "{:?}", hosts(&ran));
    // Those that nothing else was asked of are not asked again, nor in another session.
    let lost = ran.record.launches.iter().filter_map(|it| match &it.outcome {
        Some(LaunchOutcome::Lost { message, .. }) => crate::history::loss::refused(message),
        _ => None,
    });
    let refused: BTreeSet<&str> = lost.map(|(node, _)| node).collect();
    assert_eq!(refused, bad.iter().copied().collect());
}

#[tokio::test(start_paused = true)]
async fn where_no_node_makes_launches_the_third_loss_ends_the_sweep() {
    let (setup, slurm) = on(&["n1", "n2", "n3", "n4"], Setup::new(4, 1));
    let slurm = lacks_program(slurm, &["n1", "n2", "n3", "n4"]);
    let ran = with(setup, &slurm, 1).run().await;
    let Err(SweepError::Stopped { message, environment: true, .. }) = &ran.ending else {
        panic!("{:?}", ran.ending)
    };
    assert!(message.starts_with("3 launches in a row were lost"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_is_kept_off_a_node_that_is_refused_meanwhile() {
    let (setup, slurm) = on(&["n1", "n2"], Setup::new(4, 1));
    let slurm = slurm.machines(|host| Machine {
        driver: Some(if host == "n2" { "560" } else { "550" }.to_owned()),
        ..Machine::default()
    });
    after(1, &slurm, |it| it.takes_jobs("n2", true));
    slurm.takes_jobs("n2", false);
    // Four jobs at once for two nodes: those that wait were submitted before n2 was refused.
    let ran = with(setup, &slurm, 4).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    measured_once(&ran, 4);
    // One may start there before the cluster hears of it, and not both that waited.
    let lost = losses(&ran);
    assert!((1..=2).contains(&lost.len()), "{lost:?}");
    let updates = slurm.ran("scontrol update");
    assert!(updates.iter().any(|it| it.ends_with("ExcNodeList=n2")), "{updates:?}");
}

#[tokio::test(start_paused = true)]
async fn where_only_some_nodes_have_what_is_asked_for_launches_go_there_and_that_is_said() {
    let (setup, slurm) = on(&["n1", "n2", "n3"], Setup::new(3, 3));
    slurm.fits_only(&["n1", "n2"]);
    let ran = with(setup, &slurm, 2).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    measured_once(&ran, 9);
    let warned: Vec<String> =
        ran.seen.lock().expect("no panic").iter().filter_map(submissions::warning).collect();
    let said = warned.iter().filter(|it| it.contains("has no other node for this launch"));
    assert_eq!(said.count(), 1, "once: {warned:?}");
    // Both of them had both configurations, before one was used twice.
    let mut had = hosts(&ran);
    had.sort();
    had.dedup();
    assert_eq!(had.len(), 6, "{had:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_no_node_fits_is_refused_with_what_was_asked_for() {
    let (setup, slurm) = on(&["n1"], Setup::new(1, 1));
    slurm.fits_only(&["n9"]);
    slurm.takes_jobs("n9", false);
    let (setup, slurm) = (with(setup, &slurm, 1), slurm);
    slurm.answers("sbatch", FakeSlurm::refusal("Requested node configuration is not available"));
    let ran = setup.run().await;
    let Err(SweepError::Refused(message)) = &ran.ending else { panic!("{:?}", ran.ending) };
    assert!(message.contains("Requested node configuration"), "{message}");
    assert_eq!(slurm.ran("sbatch").len(), 1, "no node was kept off by us");
}

/// A set-up whose journal says on which nodes each configuration was.
fn apart(ran: &Ran) {
    let mut had = hosts(ran);
    had.sort();
    had.dedup();
    let pairs = [("c0", "n1"), ("c0", "n2"), ("c1", "n1"), ("c1", "n2")];
    assert_eq!(had, pairs.map(|(a, b)| (a.to_owned(), b.to_owned())), "{:#?}", ran.entries());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_came_back_after_the_cluster_was_asked_last_is_used_to_spread() {
    let (setup, slurm) = on(&["n1", "n2"], Setup::new(1, 2));
    let setup = with(setup, &slurm, 1);
    slurm.takes_jobs("n2", false);
    // Asked before the first launch; the second one is submitted within half a minute of that.
    after(5, &slurm, |it| it.takes_jobs("n2", true));
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    measured_once(&ran, 2);
    let had: Vec<_> = hosts(&ran).into_iter().map(|it| it.1).collect();
    assert_eq!(had, ["n1", "n2"], "{:#?}", slurm.ran("sinfo"));
}

#[tokio::test(start_paused = true)]
async fn configurations_are_spread_although_the_cluster_does_not_say_which_nodes_it_has() {
    let (setup, slurm) = sweep(&["n1", "n2"], 2);
    for _ in 0..20 {
        slurm.answers("sinfo", FakeSlurm::refusal("Unable to contact slurm controller"));
    }
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    measured_once(&ran, 4);
    apart(&ran);
}

#[tokio::test(start_paused = true)]
async fn what_is_cut_while_the_cluster_hangs_is_not_made_again_on_that_node() {
    let (setup, slurm) = sweep(&["n1", "n2"], 1);
    after(BOOT + REPEAT + 4, &slurm, |it| {
        it.ends("n1", "PREEMPTED", 5);
        for _ in 0..20 {
            it.answers("sinfo", FakeSlurm::refusal("Unable to contact slurm controller"));
        }
    });
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    measured_once(&ran, 4);
    assert_eq!(losses(&ran), [Loss::Preempted]);
    let own: Vec<_> = hosts(&ran).into_iter().take(2).map(|it| it.1).collect();
    assert_eq!(own, ["n1", "n2"]);
}

#[tokio::test(start_paused = true)]
async fn launches_that_begin_at_once_are_spread_too() {
    // The other two are submitted once it is known where the first two began.
    let (setup, _) = sweep(&["n1", "n2"], 4);
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    measured_once(&ran, 4);
    apart(&ran);
}

/// Whether all configurations are connected by the nodes that they share.
fn connected(ran: &Ran) -> bool {
    let had = hosts(ran);
    let names: Vec<&String> =
        had.iter().map(|it| &it.0).collect::<BTreeSet<_>>().into_iter().collect();
    let nodes: Vec<&String> =
        had.iter().map(|it| &it.1).collect::<BTreeSet<_>>().into_iter().collect();
    let at = |all: &[&String], it: &String| all.iter().position(|one| *one == it).expect("known");
    let ran = had.iter().map(|(name, node)| (at(&names, name), at(&nodes, node)));
    crate::statistics::connected(names.len(), ran).iter().all(|group| *group == 0)
}

#[tokio::test(start_paused = true)]
async fn with_a_node_for_each_launch_configurations_share_nodes_all_the_same() {
    for (configurations, launches, at_once, most) in [(2, 2, 4, 2), (8, 2, 16, 5), (4, 3, 16, 5)] {
        let names: Vec<String> = (1..=20).map(|it| format!("n{it}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (setup, slurm) = on(&names, Setup::new(configurations, launches));
        let ran = with(setup, &slurm, at_once).run().await;
        assert_eq!(ran.ending(), Ending::Complete);
        let used: BTreeSet<String> = hosts(&ran).into_iter().map(|it| it.1).collect();
        assert!(used.len() <= most, "{configurations} x {launches}: {used:?}");
        assert!(connected(&ran), "{configurations} x {launches}: {:#?}", hosts(&ran));
        // Each launch of a configuration on another one, as far as there are so many.
        for one in hosts(&ran) {
            let own: Vec<_> = hosts(&ran).into_iter().filter(|it| it.0 == one.0).collect();
            let on = own.iter().collect::<BTreeSet<_>>().len();
            assert_eq!(on, own.len().min(most), "{own:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_that_somebody_else_has_for_long_are_not_waited_for() {
    // Two nodes are enough to share; then somebody has one of them for long, or both.
    for taken in [&["n2"][..], &["n1", "n2"]] {
        let (setup, slurm) = on(&["n1", "n2", "n3"], Setup::new(2, 2));
        after(LAUNCH - 2, &slurm, move |it| taken.iter().for_each(|one| it.occupies(one, true)));
        let ran = with(setup, &slurm, 2).run().await;
        assert_eq!(ran.ending(), Ending::Complete);
        measured_once(&ran, 4);
        assert!(hosts(&ran).iter().any(|it| it.1 == "n3"), "{:?}", hosts(&ran));
    }
}

#[tokio::test(start_paused = true)]
async fn jobs_that_wait_are_spread_by_the_session_that_takes_them_up() {
    let (setup, slurm) = on(&["n1", "n2"], Setup::new(1, 2));
    slurm.occupies("n1", true);
    slurm.occupies("n2", true);
    // Both wait when the controller dies, and one begins before the next one is there.
    let folder = Box::pin(killed(with(setup, &slurm, 2), 10)).await;
    slurm.occupies("n1", false);
    sleep(Duration::from_secs(3)).await;
    // n1 is free again before n2 is.
    after(3 * LAUNCH, &slurm, |it| it.occupies("n2", false));
    let setup = Setup { folder, ..Setup::new(1, 2) };
    let ran = with(setup, &slurm, 2).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    measured_once(&ran, 2);
    let had: Vec<_> = hosts(&ran).into_iter().map(|it| it.1).collect();
    assert_eq!(had, ["n1", "n2"]);
}

#[tokio::test(start_paused = true)]
async fn the_second_of_a_pair_that_waits_stays_with_the_first_one_after_a_death() {
    let (setup, slurm) = pair(&["n1", "n2"]);
    // The first one runs, and the second one waits for its node.
    let folder = Box::pin(killed(setup, BOOT + 5)).await;
    let (mut setup, _) = on(&["n1", "n2"], Setup::new(2, 1));
    setup.manifest.strategy =
        crate::strategy::StrategySpec::Adaptive(crate::strategy::AdaptiveStrategy::default());
    setup.strategy = Some(Box::new(Pair));
    let ran = with(Setup { folder, ..setup }, &slurm, 2).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    measured_once(&ran, 2);
    one_node(&ran);
    let updates = slurm.ran("scontrol update");
    assert!(updates.is_empty(), "{updates:?}");
}
