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
