//! What a run knows of a cluster's nodes: which configurations each of them had, which are not
//! used again and why, what kind of machine they all are, and which version of the engine they
//! have. From it follows which nodes a launch must not run on, so that no configuration is known
//! from one node alone. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::configuration::{Configuration, Stack};
use crate::history::record::SweepRecord;
use crate::machine::Machine;
use crate::sweep::launch::TrialOrder;

/// Where a launch is to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// On this node.
    pub only: Option<String>,
    /// Not on these.
    pub exclude: Vec<String>,
}

/// Nodes, as far as a run knows them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Nodes {
    /// The nodes that had a configuration, by its name.
    had: BTreeMap<String, BTreeSet<String>>,
    /// Nodes that are not used again, with the reason.
    refused: BTreeMap<String, String>,
    /// Those of them that an earlier session refused.
    earlier: BTreeSet<String>,
    /// The kind of machine that all have to be: that of the first one.
    machine: Option<First<Machine>>,
    /// The version of the engine that all have to have, of each stack: that of the first one.
    engines: BTreeMap<Stack, First<String>>,
}

/// What the first node has, and which one it is.
#[derive(Clone, Debug, PartialEq)]
struct First<T> {
    host: String,
    has: T,
}

impl<T> First<T> {
    fn of(host: &str, has: T) -> Self {
        Self { host: host.to_owned(), has }
    }
}

impl Nodes {
    /// What the launches of a record tell.
    pub fn of(record: &SweepRecord) -> Self {
        let mut nodes = Self::default();
        let configurations = &record.manifest.configurations;
        for launch in &record.launches {
            if let Some((host, why)) = launch.refused_node() {
                nodes.refuse(host, why);
                nodes.earlier.insert(host.to_owned());
                continue;
            }
            let (Some(machine), Some(host)) = (&launch.machine, &launch.host) else { continue };
            nodes.has(&launch.configuration, host);
            if launch.measurements.is_empty() {
                continue;
            }
            nodes.machine.get_or_insert_with(|| First::of(host, (**machine).clone()));
            let version = launch.facts.as_ref().and_then(|it| it.engine_version.as_ref());
            let known = configurations.iter().find(|it| it.name == launch.configuration);
            if let Some((version, known)) = version.zip(known) {
                let first = || First::of(host, version.clone());
                nodes.engines.entry(known.stack.clone()).or_insert_with(first);
            }
        }
        nodes
    }

    /// A launch of this configuration runs on a node.
    pub fn has(&mut self, configuration: &str, host: &str) {
        self.had.entry(configuration.to_owned()).or_default().insert(host.to_owned());
    }

    /// A node is not used again.
    pub fn refuse(&mut self, host: &str, why: &str) {
        self.refused.entry(host.to_owned()).or_insert_with(|| why.to_owned());
    }

    /// Nodes that an earlier session refused may be used again: what was wrong with them may have
    /// been put right. Whether there are any.
    pub fn forgive(&mut self) -> bool {
        let earlier = std::mem::take(&mut self.earlier);
        self.refused.retain(|host, _| !earlier.contains(host));
        !earlier.is_empty()
    }

    /// Whether a node is of the kind that the others are; the first one decides. Otherwise what
    /// differs: figures of both do not mix.
    ///
    /// # Errors
    /// What differs, in words.
    pub fn same_machine(&mut self, host: &str, machine: &Machine) -> Result<(), String> {
        let first = self.machine.get_or_insert_with(|| First::of(host, machine.clone()));
        let differs: Vec<String> =
            first.has.apart(machine).iter().map(ToString::to_string).collect();
        if differs.is_empty() {
            return Ok(());
        }
        Err(format!("{} (the first node, {}, decides)", differs.join("; "), first.host))
    }

    /// The same of the version of the engine that a node has for a configuration.
    ///
    /// # Errors
    /// What differs, in words.
    pub fn same_engine(
        &mut self,
        host: &str,
        configuration: &Configuration,
        version: &str,
    ) -> Result<(), String> {
        let of_stack = self.engines.entry(configuration.stack.clone());
        let first = of_stack.or_insert_with(|| First::of(host, version.to_owned()));
        if first.has == version {
            return Ok(());
        }
        let (known, first) = (&first.has, &first.host);
        Err(format!(
            "version of the engine: {known} -> {version} (the first node, {first}, decides)"
        ))
    }

    /// Where a launch is to run, out of the nodes that take jobs, as far as they are known: on
    /// that of the launch that it is compared with directly, where that can be used, all others on
    /// nodes that did not have their configuration.
    ///
    /// # Errors
    /// Why no node is left.
    pub fn placed(&self, order: &TrialOrder, up: &[String]) -> Result<Placed, String> {
        let spread = self.exclude(&order.launch.configuration.name, up)?;
        let is_up = |it: &String| up.is_empty() || up.contains(it);
        let usable = |it: &&String| is_up(it) && !self.refused.contains_key(*it);
        match order.beside.as_ref().filter(usable) {
            Some(only) => {
                let exclude = self.refused.keys().cloned().collect();
                Ok(Placed { only: Some(only.clone()), exclude })
            }
            None => Ok(Placed { only: None, exclude: spread }),
        }
    }

    /// Nodes that a launch of a configuration must not run on, out of those that take jobs:
    /// those that are refused, and those that had it already, as long as there are others.
    ///
    /// # Errors
    /// Why no node is left.
    fn exclude(&self, configuration: &str, up: &[String]) -> Result<Vec<String>, String> {
        let usable = |it: &&String| !self.refused.contains_key(*it);
        if !up.is_empty() && !up.iter().any(|it| usable(&it)) {
            let each = self.refused.iter().map(|(host, why)| format!("{host}: {why}"));
            return Err(each.collect::<Vec<_>>().join("; "));
        }
        let had = self.had.get(configuration).into_iter().flatten();
        let is_free = |it: &&String| usable(it) && !self.had_it(configuration, it);
        let spreads = up.iter().any(|it| is_free(&it));
        let refused = self.refused.keys().cloned();
        let all: BTreeSet<String> = refused.chain(had.filter(|_| spreads).cloned()).collect();
        Ok(all.into_iter().collect())
    }

    /// The same with no node kept off but those that are not used again; `None` where no other one
    /// was.
    pub fn wider(&self, placed: &Placed) -> Option<Placed> {
        let is_spread = |it: &String| !self.refused.contains_key(it);
        if placed.only.is_none() && !placed.exclude.iter().any(is_spread) {
            return None;
        }
        Some(Placed { only: None, exclude: self.refused.keys().cloned().collect() })
    }

    /// The same for a job that waits since then, where a node was refused meanwhile; `None` where
    /// none was.
    pub fn narrower(&self, placed: &Placed) -> Option<Placed> {
        if self.refused.keys().all(|it| placed.exclude.contains(it)) {
            return None;
        }
        let only = placed.only.clone().filter(|it| !self.refused.contains_key(it));
        let all: BTreeSet<&String> = placed.exclude.iter().chain(self.refused.keys()).collect();
        Some(Placed { only, exclude: all.into_iter().cloned().collect() })
    }

    /// Whether a node is not used again.
    pub fn is_refused(&self, host: &str) -> bool {
        self.refused.contains_key(host)
    }

    /// Nodes that are not used again.
    pub fn refused(&self) -> impl Iterator<Item = &String> {
        self.refused.keys()
    }

    fn had_it(&self, configuration: &str, host: &str) -> bool {
        self.had.get(configuration).is_some_and(|it| it.contains(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::LaunchOrder;
    use crate::gate::GateOrder;
    use crate::history::launch::{LaunchFacts, LaunchOutcome};
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

    #[test]
    fn a_configuration_goes_to_nodes_that_did_not_have_it_as_long_as_there_are_any() {
        let mut nodes = Nodes::default();
        nodes.has("a", "n1");
        let all = up(&["n1", "n2"]);
        assert_eq!(nodes.exclude("a", &all), Ok(up(&["n1"])));
        assert_eq!(nodes.exclude("b", &all), Ok(Vec::new()));
        assert_eq!(nodes.exclude("a", &up(&["n1"])), Ok(Vec::new()), "the other one is down");
        nodes.has("a", "n2");
        assert_eq!(nodes.exclude("a", &all), Ok(Vec::new()));
        // Without an answer of the cluster nobody knows whether there is another one.
        assert_eq!(nodes.exclude("a", &[]), Ok(Vec::new()));
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
        let all = up(&["n1", "n2"]);
        let only = Placed { only: Some("n1".to_owned()), exclude: Vec::new() };
        assert_eq!(nodes.placed(&order("b", Some("n1")), &all), Ok(only.clone()));
        assert_eq!(nodes.placed(&order("b", Some("n1")), &[]), Ok(only), "nobody says what is up");
        let spread = Placed { only: None, exclude: up(&["n1"]) };
        assert_eq!(nodes.placed(&order("b", None), &all), Ok(spread.clone()));
        let elsewhere = nodes.placed(&order("b", Some("n1")), &up(&["n2"]));
        assert_eq!(elsewhere, Ok(spread), "n1 is down");
        nodes.refuse("n1", "its disk is full");
        let other = Placed { only: None, exclude: up(&["n1"]) };
        assert_eq!(nodes.placed(&order("a", Some("n1")), &all), Ok(other));
    }

    #[test]
    fn a_refused_node_is_never_used_and_without_another_one_nothing_is_launched() {
        let mut nodes = Nodes::default();
        nodes.has("a", "n1");
        nodes.refuse("n2", "its disk is full");
        let all = up(&["n1", "n2"]);
        assert_eq!(nodes.exclude("a", &all), Ok(up(&["n2"])), "again on n1 rather than on n2");
        nodes.refuse("n1", "another driver");
        let none = nodes.exclude("b", &all);
        assert_eq!(none, Err("n1: another driver; n2: its disk is full".to_owned()));
    }

    #[test]
    fn a_job_that_waits_is_kept_off_nodes_that_were_refused_meanwhile() {
        let mut nodes = Nodes::default();
        let placed = |only: Option<&str>, exclude: &[&str]| Placed {
            only: only.map(str::to_owned),
            exclude: up(exclude),
        };
        assert_eq!(nodes.narrower(&placed(None, &["n1"])), None);
        nodes.refuse("n2", "its disk is full");
        assert_eq!(nodes.narrower(&placed(None, &["n1"])), Some(placed(None, &["n1", "n2"])));
        assert_eq!(nodes.narrower(&placed(None, &["n1", "n2"])), None);
        // Otherwise it would wait for good.
        assert_eq!(nodes.narrower(&placed(Some("n2"), &[])), Some(placed(None, &["n2"])));
        assert_eq!(nodes.narrower(&placed(Some("n1"), &[])), Some(placed(Some("n1"), &["n2"])));
    }

    #[test]
    fn what_is_only_for_spreading_can_be_left_out_and_refused_nodes_cannot() {
        let mut nodes = Nodes::default();
        nodes.refuse("n2", "its disk is full");
        let of = |only: Option<&str>, exclude: &[&str]| {
            let only = only.map(str::to_owned);
            nodes.wider(&Placed { only, exclude: up(exclude) })
        };
        let bare = Some(Placed { only: None, exclude: up(&["n2"]) });
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
        let left = again.exclude("c0", &up(&["n1", "n2", "n3"]));
        assert_eq!(left, Ok(up(&["n1", "n2"])));
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
        let all = up(&["n1", "n2", "n3"]);
        assert_eq!(again.exclude(&configuration.name, &all), Ok(up(&["n1", "n2"])));
        // Where no other one is left, it is looked at again.
        assert!(again.exclude("other", &up(&["n2"])).is_err());
        assert!(again.forgive() && !again.forgive());
        assert_eq!(again.exclude("other", &up(&["n2"])), Ok(Vec::new()));
    }
}
