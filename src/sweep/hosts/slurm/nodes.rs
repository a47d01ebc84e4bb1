//! What a run knows of a cluster's nodes: which configurations each of them had, which are not
//! used again and why, what kind of machine they all are, and which version of the engine they
//! have. How launches are spread over nodes is in `spread`. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::configuration::{Configuration, Stack};
use crate::grid::Sharing;
use crate::history::launch::LaunchOutcome;
use crate::history::record::SweepRecord;
use crate::machine::Machine;
use crate::sweep::launch::TrialOrder;

mod spread;

/// Where a launch is to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// On this node.
    pub only: Option<String>,
    /// Not on these.
    pub exclude: Vec<String>,
    /// Whether it may run where its configuration ran: the other nodes are down, or lack what it asks
    /// for.
    pub anywhere: bool,
}

/// The nodes of a partition that a launch may run on, as the cluster says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// Those that take jobs; `None` where it does not answer.
    pub up: Option<Vec<String>>,
    /// All of them, by its last answer: none where it never gave one.
    pub all: Vec<String>,
    /// Whether the grid names the nodes to be used: then none is kept off by us.
    pub is_chosen: bool,
}

impl Picture {
    /// Those of them that are not among these.
    fn left<'a>(&'a self, exclude: &'a [String]) -> impl Iterator<Item = &'a String> {
        self.candidates().iter().filter(|it| !exclude.contains(it))
    }

    /// Those that a launch may find: where none takes jobs, or nobody says, any may come back.
    fn candidates(&self) -> &[String] {
        match &self.up {
            Some(up) if !up.is_empty() => up,
            _ => &self.all,
        }
    }
}

/// Which nodes a launch may add to those that its run uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// None beyond as many as its configurations can share.
    Used,
    /// Any: it waited for long, and others have the nodes that the run uses.
    Any,
}

/// A launch that is not over.
#[derive(Clone, Debug, PartialEq)]
struct Open {
    configuration: String,
    /// The node that it runs on, or the only one that it may run on.
    host: Option<String>,
    /// Whether it runs there.
    runs: bool,
    /// Whether it may begin on a node that the run did not use so far.
    may_add: bool,
}

/// Nodes, as far as a run knows them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Nodes {
    /// How configurations are to share nodes.
    sharing: Sharing,
    /// How often anything of this changed.
    version: u64,
    /// The nodes on which a configuration finished a repeat, by its name.
    had: BTreeMap<String, BTreeSet<String>>,
    /// The nodes on which a launch of it failed: the reason may be the node's.
    failed: BTreeMap<String, BTreeSet<String>>,
    /// Launches that are not over, by their numbers: the configuration will have had their nodes.
    open: BTreeMap<u32, Open>,
    /// The node on which the last launch of a trial was cut: its next one is kept off it.
    cut: BTreeMap<u32, String>,
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
            if launch.has_kept() {
                nodes.has(&launch.configuration, host);
            }
            if let Some(outcome) = &launch.outcome {
                nodes.ended(launch.trial, &launch.configuration, outcome, Some(host));
            }
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

    /// Changes whenever anything of it does.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// A launch of this configuration finished a repeat on a node.
    pub fn has(&mut self, configuration: &str, host: &str) {
        self.version += 1;
        self.had.entry(configuration.to_owned()).or_default().insert(host.to_owned());
    }

    /// A launch of this configuration runs on a node.
    pub fn runs(&mut self, launch: u32, configuration: &str, host: &str) {
        let (configuration, host) = (configuration.to_owned(), Some(host.to_owned()));
        self.version += 1;
        self.open.insert(launch, Open { configuration, host, runs: true, may_add: false });
    }

    /// The same where configurations are to share nodes so.
    #[must_use]
    pub fn sharing(self, sharing: Sharing) -> Self {
        Self { sharing, ..self }
    }

    /// A launch of this configuration may run there: where that leaves one node, it counts as one
    /// that the configuration has. Without a picture what was known of it stays.
    pub fn sent(
        &mut self,
        launch: u32,
        configuration: &str,
        placed: &Placed,
        picture: Option<&Picture>,
    ) {
        let (host, may_add) = if let Some(picture) = picture {
            let left: Vec<&String> = picture.left(&placed.exclude).collect();
            let one = left.first().filter(|_| left.len() == 1).map(|it| (*it).clone());
            let used = self.used();
            // Where nobody says which nodes there are, there may be any.
            let may_add = picture.all.is_empty() || left.iter().any(|it| !used.contains(*it));
            (one, may_add)
        } else {
            let known = self.open.get(&launch);
            (known.and_then(|it| it.host.clone()), known.is_none_or(|it| it.may_add))
        };
        let host = placed.only.clone().or(host);
        let (configuration, may_add) = (configuration.to_owned(), may_add && host.is_none());
        self.version += 1;
        self.open.insert(launch, Open { configuration, host, runs: false, may_add });
    }

    /// A launch is over, or was never made.
    pub fn over(&mut self, launch: u32) {
        self.version += 1;
        self.open.remove(&launch);
    }

    /// A launch of a trial ended so, on this node where it came to one. What was cut there, or
    /// failed, is not made there again at once.
    pub fn ended(
        &mut self,
        trial: u32,
        configuration: &str,
        outcome: &LaunchOutcome,
        on: Option<&String>,
    ) {
        self.version += 1;
        match (outcome, on) {
            (LaunchOutcome::Lost { .. }, Some(host)) => {
                self.cut.insert(trial, host.clone());
            }
            (LaunchOutcome::Failed(_), Some(host)) => {
                self.cut.insert(trial, host.clone());
                let failed = self.failed.entry(configuration.to_owned()).or_default();
                failed.insert(host.clone());
            }
            // One that never came to a node says nothing of those before it.
            (LaunchOutcome::Lost { .. } | LaunchOutcome::Failed(_), None) => {}
            _ => {
                self.cut.remove(&trial);
            }
        }
    }

    /// A node is not used again.
    pub fn refuse(&mut self, host: &str, why: &str) {
        self.version += 1;
        self.refused.entry(host.to_owned()).or_insert_with(|| why.to_owned());
    }

    /// Nodes that an earlier session refused may be used again: what was wrong with them may have
    /// been put right. Whether there are any.
    pub fn forgive(&mut self) -> bool {
        self.version += 1;
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

    /// Where a launch is to run: on the node of the launch that it is compared with directly, where
    /// that can be used, all others on nodes that did not have their configuration.
    ///
    /// # Errors
    /// Why no node is left.
    pub fn placed(
        &self,
        order: &TrialOrder,
        picture: &Picture,
        share: Share,
    ) -> Result<Placed, String> {
        let exclude = self.exclude(order, picture, share)?;
        let takes_jobs = |it: &String| match &picture.up {
            Some(up) if !up.is_empty() => up.contains(it),
            _ => true,
        };
        let usable = |it: &&String| takes_jobs(it) && !self.is_refused(it);
        match order.beside.as_ref().filter(usable) {
            Some(only) => {
                let exclude = self.refused.keys().cloned().collect();
                Ok(Placed { only: Some(only.clone()), exclude, anywhere: false })
            }
            None => Ok(Placed { only: None, exclude, anywhere: false }),
        }
    }

    /// Whether a launch is kept off all nodes that it should not run on; a picture that is a little
    /// older may be the reason why not.
    pub fn is_spread(&self, order: &TrialOrder, placed: &Placed) -> bool {
        placed.only.is_some() || self.unwanted(order).iter().all(|it| placed.exclude.contains(it))
    }

    /// Nodes that a launch must not run on: those that are refused, and those that had its
    /// configuration or just cut it, as long as there are others.
    ///
    /// # Errors
    /// Why no node is left.
    fn exclude(
        &self,
        order: &TrialOrder,
        picture: &Picture,
        share: Share,
    ) -> Result<Vec<String>, String> {
        let is_none = |up: &Vec<String>| !up.is_empty() && up.iter().all(|it| self.is_refused(it));
        if picture.up.as_ref().is_some_and(is_none) {
            let each = self.refused.iter().map(|(host, why)| format!("{host}: {why}"));
            return Err(each.collect::<Vec<_>>().join("; "));
        }
        let mut all: BTreeSet<String> = self.refused.keys().cloned().collect();
        all.extend(self.spread(order, picture, share));
        Ok(all.into_iter().collect())
    }

    /// The same with no node kept off but those that are not used again; `None` where no other one
    /// was.
    pub fn wider(&self, placed: &Placed) -> Option<Placed> {
        let is_spread = |it: &String| !self.refused.contains_key(it);
        if placed.only.is_none() && !placed.exclude.iter().any(is_spread) {
            return None;
        }
        Some(self.anywhere())
    }

    /// On any node that is not refused.
    pub fn anywhere(&self) -> Placed {
        Placed { only: None, exclude: self.refused.keys().cloned().collect(), anywhere: true }
    }

    /// The same for a job that waits since then, where that is another place now: a node was
    /// refused meanwhile, or, unless it was let on them, its configuration began on one, or the
    /// run uses other nodes; `None` where nothing changed.
    pub fn moved(
        &self,
        order: &TrialOrder,
        placed: &Placed,
        picture: Option<&Picture>,
        share: Share,
    ) -> Option<Placed> {
        let mut all: BTreeSet<String> = self.refused.keys().cloned().collect();
        match picture.filter(|_| placed.only.is_none() && !placed.anywhere) {
            Some(picture) => all.extend(self.spread(order, picture, share)),
            None => all.extend(placed.exclude.iter().cloned()),
        }
        let exclude: Vec<String> = all.into_iter().collect();
        if exclude == placed.exclude {
            return None;
        }
        let only = placed.only.clone().filter(|it| !self.refused.contains_key(it));
        Some(Placed { only, exclude, anywhere: placed.anywhere })
    }

    /// Whether a node is not used again.
    pub fn is_refused(&self, host: &str) -> bool {
        self.refused.contains_key(host)
    }

    /// Nodes that are not used again.
    pub fn refused(&self) -> impl Iterator<Item = &String> {
        self.refused.keys()
    }
}

#[cfg(test)]
mod tests;
