//! Which nodes launches are kept off, and which are not used again.

use super::*;
use crate::engine::LaunchOrder;
use crate::gate::GateOrder;
use crate::history::launch::{FailureClass, LaunchFacts, LaunchFailure, LaunchOutcome};
use crate::history::loss::Loss;
use crate::history::record::LaunchRecord;
use crate::metric::{Measurement, MetricReasons, Status};
use crate::strategy::Purpose;
use crate::sweep::fakes::manifest;

fn up(all: &[&str]) -> Vec<String> {
    all.iter().map(|&it| it.to_owned()).collect()
}

fn driver(version: &str) -> Machine {
    Machine { driver: Some(version.to_owned()), ..Machine::default() }
}

fn seen(up_now: &[&str], all: &[&str]) -> Picture {
    Picture { up: Some(up(up_now)), all: up(all), is_chosen: false }
}

/// All of them take jobs.
fn all_of(nodes: &[&str]) -> Picture {
    seen(nodes, nodes)
}

/// The cluster does not answer any more.
fn silent(all: &[&str]) -> Picture {
    Picture { up: None, all: up(all), is_chosen: false }
}

/// Nodes that the next launch of a configuration is kept off.
fn off(nodes: &Nodes, configuration: &str, picture: &Picture) -> Vec<String> {
    nodes.exclude(&order(configuration, None), picture, Share::Used).expect("a node is left")
}

#[test]
fn a_configuration_goes_to_nodes_that_did_not_have_it_as_long_as_there_are_any() {
    let mut nodes = Nodes::default();
    nodes.has("a", "n1");
    let all = all_of(&["n1", "n2"]);
    assert_eq!(off(&nodes, "a", &all), up(&["n1"]));
    assert_eq!(off(&nodes, "b", &all), up(&[]));
    assert_eq!(off(&nodes, "a", &seen(&["n1"], &["n1", "n2"])), up(&[]), "n2 is down");
    assert_eq!(off(&nodes, "a", &seen(&[], &["n1", "n2"])), up(&["n1"]), "any may come back");
    // Without an answer its last one counts, and without any there may be others.
    assert_eq!(off(&nodes, "a", &silent(&["n1", "n2"])), up(&["n1"]));
    assert_eq!(off(&nodes, "a", &silent(&[])), up(&["n1"]));
    let chosen = Picture { is_chosen: true, ..all.clone() };
    assert_eq!(off(&nodes, "a", &chosen), up(&[]), "the grid's options decide");
    nodes.has("a", "n2");
    assert_eq!(off(&nodes, "a", &all), up(&[]));
    assert_eq!(off(&nodes, "a", &silent(&["n1", "n2"])), up(&[]));
}

#[test]
fn launches_that_run_or_can_run_on_one_node_only_count_until_they_are_over() {
    let mut nodes = Nodes::default();
    let all = all_of(&["n1", "n2", "n3"]);
    nodes.runs(7, "a", "n1");
    assert_eq!(off(&nodes, "a", &all), up(&["n1"]));
    let of = |exclude: &[&str]| Placed { exclude: up(exclude), ..Placed::default() };
    nodes.sent(8, "a", &of(&["n1"]), Some(&all));
    assert_eq!(off(&nodes, "a", &all), up(&["n1"]), "n2 or n3");
    nodes.sent(8, "a", &of(&["n1", "n3"]), Some(&all));
    assert_eq!(off(&nodes, "a", &all), up(&["n1", "n2"]));
    nodes.over(8);
    nodes.over(7);
    assert_eq!(off(&nodes, "a", &all), up(&[]), "none of them finished a repeat");
}

#[test]
fn a_launch_that_was_cut_is_kept_off_its_node_once_and_other_trials_are_not() {
    let mut nodes = Nodes::default();
    let all = all_of(&["n1", "n2"]);
    let n1 = "n1".to_owned();
    let cut = LaunchOutcome::Lost { loss: Loss::Preempted, message: String::new() };
    nodes.ended(0, "a", &cut, Some(&n1));
    // One that waited until it was cancelled came to no node.
    nodes.ended(0, "a", &cut, None);
    assert_eq!(off(&nodes, "a", &all), up(&["n1"]));
    let other = TrialOrder { trial: 1, ..order("a", None) };
    assert_eq!(nodes.exclude(&other, &all, Share::Used), Ok(up(&[])));
    nodes.has("a", "n2");
    assert_eq!(off(&nodes, "a", &all), up(&["n1"]), "rather again on n2");
    assert_eq!(off(&nodes, "a", &all_of(&["n1"])), up(&[]));
    nodes.ended(0, "a", &LaunchOutcome::Measured, Some(&n1));
    assert_eq!(off(&nodes, "a", &all), up(&["n2"]));
}

/// The reason may be the node's: a process of somebody else that holds the GPU's memory.
#[test]
fn a_configuration_that_failed_on_a_node_is_tried_on_another_one() {
    let mut nodes = Nodes::default();
    let failed = LaunchOutcome::Failed(LaunchFailure::new(FailureClass::OutOfMemory, "x"));
    nodes.ended(0, "a", &failed, Some(&"n1".to_owned()));
    let all = all_of(&["n1", "n2"]);
    assert_eq!(off(&nodes, "a", &all), up(&["n1"]));
    let other = TrialOrder { trial: 1, ..order("a", None) };
    assert_eq!(nodes.exclude(&other, &all, Share::Used), Ok(up(&["n1"])));
    let of_b = TrialOrder { trial: 1, ..order("b", None) };
    assert_eq!(nodes.exclude(&of_b, &all, Share::Used), Ok(up(&[])));
}

fn sharing(most: u32, connects_from: u32) -> Nodes {
    Nodes::default().sharing(Sharing { most, connects_from })
}

#[test]
fn a_run_uses_no_more_nodes_than_its_configurations_can_share() {
    let mut nodes = sharing(2, 9);
    let all = all_of(&["n1", "n2", "n3", "n4"]);
    let of = |trial: u32, name: &str| TrialOrder {
        trial,
        launch: LaunchOrder { launch: trial + 1, ..order(name, None).launch },
        ..order(name, None)
    };
    let place = |nodes: &mut Nodes, order: &TrialOrder| {
        let placed = nodes.placed(order, &all, Share::Used).expect("a node is left");
        let launch = &order.launch;
        nodes.sent(launch.launch, &launch.configuration.name, &placed, Some(&all));
        placed
    };
    // Two may begin anywhere; where the third one may is known once one of them began.
    assert_eq!(place(&mut nodes, &of(0, "a")).exclude, up(&[]));
    assert!(!nodes.waits_for_others(&of(1, "b"), &all));
    assert_eq!(place(&mut nodes, &of(1, "b")).exclude, up(&[]));
    assert!(nodes.waits_for_others(&of(2, "a"), &all));
    nodes.runs(1, "a", "n3");
    assert!(!nodes.waits_for_others(&of(2, "c"), &all));
    let third = of(2, "c");
    let placed = place(&mut nodes, &third);
    assert_eq!(placed.exclude, up(&["n1", "n2", "n4"]));
    // It follows where the second one began.
    nodes.runs(2, "b", "n1");
    let moved = nodes.moved(&third, &placed, Some(&all), Share::Used).expect("another place");
    assert_eq!(moved.exclude, up(&["n2", "n4"]));
    assert_eq!(nodes.moved(&third, &moved, Some(&all), Share::Used), None);
    // The other one of the two, then where it ran, and never on a third one.
    assert_eq!(place(&mut nodes, &of(3, "a")).exclude, up(&["n2", "n3", "n4"]));
    nodes.has("a", "n3");
    nodes.has("a", "n1");
    assert_eq!(place(&mut nodes, &of(4, "a")).exclude, up(&["n2", "n4"]));
    // Unless these are down, or somebody else has them for long.
    let down = seen(&["n2", "n4"], &["n1", "n2", "n3", "n4"]);
    assert_eq!(nodes.exclude(&of(4, "a"), &down, Share::Used), Ok(up(&["n1", "n3"])));
    assert_eq!(nodes.exclude(&of(4, "a"), &all, Share::Any), Ok(up(&["n1", "n3"])));
    assert!(!nodes.has_room(&all), "both are taken by its own launches");
    nodes.over(1);
    assert!(nodes.has_room(&all), "what only waits for a node does not have it");
}

#[test]
fn late_launches_go_where_they_connect_what_nothing_connects() {
    let mut nodes = sharing(4, 4);
    for (name, host) in [("a", "n1"), ("b", "n1"), ("c", "n2"), ("a", "n3"), ("d", "n2")] {
        nodes.has(name, host);
    }
    let all = all_of(&["n1", "n2", "n3", "n4"]);
    let of = |trial: u32| TrialOrder { trial, ..order("b", None) };
    assert_eq!(nodes.exclude(&of(3), &all, Share::Used), Ok(up(&["n1"])), "early");
    assert_eq!(nodes.exclude(&of(4), &all, Share::Used), Ok(up(&["n1", "n3"])));
    assert_eq!(
        nodes.exclude(&of(4), &seen(&["n1", "n3"], &["n1", "n2", "n3"]), Share::Used),
        Ok(up(&["n1"])),
        "n2 is down"
    );
    assert_eq!(nodes.exclude(&of(4), &all, Share::Any), Ok(up(&["n1"])), "n2 is taken for long");
    // Its own place is none that it had: it stays the only one that connects.
    nodes.sent(1, "b", &Placed { exclude: up(&["n1", "n3"]), ..Placed::default() }, Some(&all));
    assert_eq!(nodes.exclude(&of(4), &all, Share::Used), Ok(up(&["n1", "n3"])));
    nodes.has("c", "n3");
    assert_eq!(nodes.exclude(&of(4), &all, Share::Used), Ok(up(&["n1"])), "all are connected");
}

fn order(configuration: &str, beside: Option<&str>) -> TrialOrder {
    TrialOrder {
        launch: LaunchOrder {
            sweep: "s".to_owned(),
            launch: 1,
            configuration: Configuration {
                name: configuration.to_owned(),
                ..Configuration::default()
            },
            folder: "runs/s/launches/1-a".into(),
            worked: std::time::Duration::ZERO,
        },
        trial: 0,
        purpose: Purpose::Final,
        round: 0,
        salt: String::new(),
        seed: 0,
        gates: GateOrder::default(),
        passes: Vec::new(),
        beside: beside.map(str::to_owned),
        early: None,
    }
}

#[test]
fn both_of_a_pair_run_on_one_node_whatever_they_had_before() {
    let mut nodes = Nodes::default();
    nodes.has("b", "n1");
    let all = all_of(&["n1", "n2"]);
    let only = Placed { only: Some("n1".to_owned()), ..Placed::default() };
    assert_eq!(nodes.placed(&order("b", Some("n1")), &all, Share::Used), Ok(only.clone()));
    assert_eq!(
        nodes.placed(&order("b", Some("n1")), &silent(&[]), Share::Used),
        Ok(only),
        "nobody says what is up"
    );
    let spread = Placed { exclude: up(&["n1"]), ..Placed::default() };
    assert_eq!(nodes.placed(&order("b", None), &all, Share::Used), Ok(spread.clone()));
    let elsewhere = nodes.placed(&order("b", Some("n1")), &all_of(&["n2"]), Share::Used);
    assert_eq!(elsewhere, Ok(spread), "n1 is down");
    nodes.refuse("n1", "its disk is full");
    let other = Placed { exclude: up(&["n1"]), ..Placed::default() };
    assert_eq!(nodes.placed(&order("a", Some("n1")), &all, Share::Used), Ok(other));
}

#[test]
fn a_refused_node_is_never_used_and_without_another_one_nothing_is_launched() {
    let mut nodes = Nodes::default();
    nodes.has("a", "n1");
    nodes.refuse("n2", "its disk is full");
    let all = all_of(&["n1", "n2"]);
    assert_eq!(off(&nodes, "a", &all), up(&["n2"]), "again on n1 rather than on n2");
    nodes.refuse("n1", "another driver");
    let none = nodes.exclude(&order("b", None), &all, Share::Used);
    assert_eq!(none, Err("n1: another driver; n2: its disk is full".to_owned()));
}

#[test]
fn a_job_that_waits_is_kept_off_nodes_that_were_refused_meanwhile() {
    let mut nodes = Nodes::default();
    let placed = |only: Option<&str>, exclude: &[&str]| Placed {
        only: only.map(str::to_owned),
        exclude: up(exclude),
        anywhere: false,
    };
    let a = order("a", None);
    let all = all_of(&["n1", "n2", "n3"]);
    let moved = |nodes: &Nodes, it: &Placed| nodes.moved(&a, it, Some(&all), Share::Used);
    nodes.has("a", "n1");
    assert_eq!(moved(&nodes, &placed(None, &["n1"])), None);
    nodes.refuse("n2", "its disk is full");
    let both = Some(placed(None, &["n1", "n2"]));
    assert_eq!(moved(&nodes, &placed(None, &["n1"])), both);
    assert_eq!(nodes.moved(&a, &placed(None, &["n1"]), None, Share::Used), both);
    assert_eq!(moved(&nodes, &placed(None, &["n1", "n2"])), None);
    // Otherwise it would wait for good.
    assert_eq!(moved(&nodes, &placed(Some("n2"), &[])), Some(placed(None, &["n2"])));
    assert_eq!(moved(&nodes, &placed(Some("n1"), &[])), Some(placed(Some("n1"), &["n2"])));
    // Another launch of its configuration began since it waits.
    assert_eq!(moved(&nodes, &placed(None, &["n2"])), both);
    let anywhere = Placed { anywhere: true, ..placed(None, &["n2"]) };
    assert_eq!(moved(&nodes, &anywhere), None, "it was let on it");
}

#[test]
fn what_is_only_for_spreading_can_be_left_out_and_refused_nodes_cannot() {
    let mut nodes = Nodes::default();
    nodes.refuse("n2", "its disk is full");
    let of = |only: Option<&str>, exclude: &[&str]| {
        let only = only.map(str::to_owned);
        nodes.wider(&Placed { only, exclude: up(exclude), anywhere: false })
    };
    let bare = Some(Placed { only: None, exclude: up(&["n2"]), anywhere: true });
    assert_eq!(of(None, &["n1", "n2"]), bare);
    assert_eq!(of(Some("n1"), &["n2"]), bare);
    assert_eq!(of(None, &["n2"]), None);
    assert_eq!(of(None, &[]), None);
}

#[test]
fn a_node_on_which_no_launch_began_is_refused_in_the_next_session_too() {
    let mut record = SweepRecord::new(manifest(1, 1, 1));
    let lost = |loss, message: &str| LaunchRecord {
        configuration: "c0".to_owned(),
        outcome: Some(LaunchOutcome::Lost { loss, message: message.to_owned() }),
        ..LaunchRecord::default()
    };
    record.launches = vec![
        lost(Loss::NodeUnable, "n1: the disk is full"),
        lost(Loss::NoResult, "n2: the job ended without a result (job 2 on n2)"),
        lost(Loss::NoResult, "the job ended without a result (job 3 on n3)"),
    ];
    let again = Nodes::of(&record);
    let left = off(&again, "c0", &all_of(&["n1", "n2", "n3"]));
    assert_eq!(left, up(&["n1", "n2"]));
}

fn measurement() -> Measurement {
    Measurement {
        workload: "kv-cache".to_owned(),
        case: String::new(),
        repeat: 1,
        status: Status::Ok,
        reason: None,
        metrics: BTreeMap::new(),
        metric_reasons: MetricReasons::new(),
    }
}

#[test]
fn the_first_node_says_what_machines_are_and_a_journal_says_the_same_again() {
    let mut nodes = Nodes::default();
    assert_eq!(nodes.same_machine("n1", &driver("550.1")), Ok(()));
    assert_eq!(nodes.same_machine("n2", &driver("550.1")), Ok(()));
    let other = nodes.same_machine("n2", &driver("560.2")).unwrap_err();
    assert_eq!(other, "driver: 550.1 -> 560.2 (the first node, n1, decides)");
    let mut record = SweepRecord::new(manifest(1, 1, 1));
    let configuration = record.manifest.configurations[0].clone();
    assert_eq!(nodes.same_engine("n2", &configuration, "0.11.0"), Ok(()));
    let engine = nodes.same_engine("n1", &configuration, "0.11.1").unwrap_err();
    let what = "version of the engine: 0.11.0 -> 0.11.1 (the first node, n2, decides)";
    assert_eq!(engine, what);
    let launch = |host: &str, version: &str, outcome| LaunchRecord {
        configuration: configuration.name.clone(),
        host: Some(host.to_owned()),
        machine: Some(Box::new(driver(version))),
        facts: Some(LaunchFacts {
            engine_version: Some(format!("of {version}")),
            ..LaunchFacts::default()
        }),
        outcome: Some(outcome),
        measurements: vec![measurement()],
        ..LaunchRecord::default()
    };
    let lost = LaunchOutcome::Lost { loss: Loss::OtherMachine, message: other };
    record.launches =
        vec![launch("n2", "560.2", lost), launch("n1", "550.1", LaunchOutcome::Measured)];
    let mut again = Nodes::of(&record);
    let first = First::of("n1", driver("550.1"));
    assert_eq!(again.machine, Some(first), "that of a refused node does not count");
    assert_eq!(again.same_engine("n3", &configuration, "of 550.1"), Ok(()));
    again.same_engine("n3", &configuration, "of 560.2").unwrap_err();
    let all = all_of(&["n1", "n2", "n3"]);
    assert_eq!(off(&again, &configuration.name, &all), up(&["n1", "n2"]));
    // Where no other one is left, it is looked at again.
    assert!(again.exclude(&order("other", None), &all_of(&["n2"]), Share::Used).is_err());
    assert!(again.forgive() && !again.forgive());
    assert_eq!(off(&again, "other", &all_of(&["n2"])), up(&[]));
}
