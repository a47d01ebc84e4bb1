//! What a run knows of a cluster's nodes: which configurations each of them had, which are not
//! used again and why, and what kind of machine they all are. From it follows which nodes a
//! launch must not run on, so that no configuration is known from one node alone. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::launch::LaunchOutcome;
use crate::history::record::LaunchRecord;
use crate::machine::Machine;
use crate::strategy::Purpose;
use crate::sweep::launch::TrialOrder;

/// Where a launch is to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// On this node.
    pub only: Option<String>,
    /// Not on these.
    pub exclude: Vec<String>,
}

/// The pair that an order is one of: a duel, or a pair of a confirmation.
fn pair(order: &TrialOrder) -> Option<(Purpose, u32)> {
    let is_one = matches!(order.purpose, Purpose::Final | Purpose::Confirm);
    is_one.then_some((order.purpose, order.round))
}

/// Nodes, as far as a run knows them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Nodes {
    /// The nodes that had a configuration, by its name.
    had: BTreeMap<String, BTreeSet<String>>,
    /// Nodes that are not used again, with the reason.
    refused: BTreeMap<String, String>,
    /// The node of the first launch of each pair that is compared directly.
    pairs: BTreeMap<(Purpose, u32), String>,
    /// The kind of machine that all have to be: that of the first one.
    machine: Option<Machine>,
}

impl Nodes {
    /// What launches so far tell.
    pub fn of<'a>(launches: impl IntoIterator<Item = &'a LaunchRecord>) -> Self {
        let mut nodes = Self::default();
        for launch in launches {
            let (Some(machine), Some(host)) = (&launch.machine, &launch.host) else { continue };
            match &launch.outcome {
                Some(LaunchOutcome::Lost { loss, message }) if loss.is_of_node() => {
                    nodes.refuse(host, message);
                }
                _ => {
                    nodes.machine.get_or_insert_with(|| (**machine).clone());
                    nodes.has(&launch.configuration, host);
                }
            }
        }
        nodes
    }

    /// A launch of this configuration runs on a node.
    pub fn has(&mut self, configuration: &str, host: &str) {
        self.had.entry(configuration.to_owned()).or_default().insert(host.to_owned());
    }

    /// The same of what an order asks for: where it is one of a pair, the other one follows it.
    pub fn has_order(&mut self, order: &TrialOrder, host: &str) {
        self.has(&order.launch.configuration.name, host);
        if let Some(pair) = pair(order) {
            self.pairs.entry(pair).or_insert_with(|| host.to_owned());
        }
    }

    /// A node is not used again.
    pub fn refuse(&mut self, host: &str, why: &str) {
        self.refused.entry(host.to_owned()).or_insert_with(|| why.to_owned());
    }

    /// Whether a node is of the kind that the others are; the first one decides. Otherwise what
    /// differs: figures of both do not mix.
    ///
    /// # Errors
    /// What differs, in words.
    pub fn same_machine(&mut self, machine: &Machine) -> Result<(), String> {
        let known = self.machine.get_or_insert_with(|| machine.clone());
        let differs: Vec<String> = known.apart(machine).iter().map(ToString::to_string).collect();
        if differs.is_empty() { Ok(()) } else { Err(differs.join("; ")) }
    }

    /// Where a launch is to run, out of the nodes that take jobs: both of a pair on one node, all
    /// others on nodes that did not have their configuration.
    ///
    /// # Errors
    /// Why no node is left.
    pub fn placed(&self, order: &TrialOrder, up: &[String]) -> Result<Placed, String> {
        let spread = self.exclude(&order.launch.configuration.name, up)?;
        let Some(pair) = pair(order) else { return Ok(Placed { only: None, exclude: spread }) };
        let only =
            self.pairs.get(&pair).filter(|it| up.contains(it) && !self.refused.contains_key(*it));
        Ok(Placed { only: only.cloned(), exclude: self.refused.keys().cloned().collect() })
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
    use crate::configuration::Configuration;
    use crate::engine::LaunchOrder;
    use crate::gate::GateOrder;
    use crate::history::loss::Loss;

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

    fn order(configuration: &str, purpose: Purpose, round: u32) -> TrialOrder {
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
            purpose,
            round,
            salt: String::new(),
            seed: 0,
            gates: GateOrder::default(),
            passes: Vec::new(),
            early: None,
        }
    }

    #[test]
    fn both_of_a_pair_run_on_one_node_whatever_they_had_before() {
        let mut nodes = Nodes::default();
        nodes.has("b", "n1");
        let all = up(&["n1", "n2"]);
        let (first, second) = (order("a", Purpose::Final, 3), order("b", Purpose::Final, 3));
        let anywhere = Placed::default();
        assert_eq!(nodes.placed(&first, &all), Ok(anywhere.clone()));
        nodes.has_order(&first, "n1");
        let only = Placed { only: Some("n1".to_owned()), exclude: Vec::new() };
        assert_eq!(nodes.placed(&second, &all), Ok(only));
        assert_eq!(nodes.placed(&order("b", Purpose::Final, 4), &all), Ok(anywhere.clone()));
        assert_eq!(nodes.placed(&second, &up(&["n2"])), Ok(anywhere), "n1 is down");
        let spread = Placed { only: None, exclude: up(&["n1"]) };
        assert_eq!(nodes.placed(&order("b", Purpose::Screen, 3), &all), Ok(spread));
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
    fn the_first_node_says_what_machines_are_and_a_journal_says_the_same_again() {
        let mut nodes = Nodes::default();
        assert_eq!(nodes.same_machine(&driver("550.1")), Ok(()));
        assert_eq!(nodes.same_machine(&driver("550.1")), Ok(()));
        let other = nodes.same_machine(&driver("560.2")).unwrap_err();
        assert_eq!(other, "driver: 550.1 -> 560.2");
        let launch = |host: &str, version: &str, outcome| LaunchRecord {
            configuration: "a".to_owned(),
            host: Some(host.to_owned()),
            machine: Some(Box::new(driver(version))),
            outcome: Some(outcome),
            ..LaunchRecord::default()
        };
        let lost = LaunchOutcome::Lost { loss: Loss::OtherMachine, message: other };
        let launches =
            [launch("n2", "560.2", lost), launch("n1", "550.1", LaunchOutcome::Measured)];
        let again = Nodes::of(&launches);
        assert_eq!(again.machine, Some(driver("550.1")), "that of a refused node does not count");
        assert_eq!(again.exclude("a", &up(&["n1", "n2", "n3"])), Ok(up(&["n1", "n2"])));
    }
}
