//! How launches are spread over nodes, so that no configuration is known from one node alone and all
//! of them can be compared: each launch of a configuration goes to another node, a run uses no more
//! nodes than its configurations can share, and of these first those that connect what nothing
//! connected so far.

use std::collections::BTreeSet;

use super::{Nodes, Picture, Share};
use crate::sweep::launch::TrialOrder;

impl Nodes {
    /// Nodes that a launch is kept off only to spread configurations. Where no others are left, those
    /// that had it may be used again before one that just cut it is, and that before the run uses
    /// more nodes than it should. A cluster that never said which nodes it has may have others: what
    /// is kept off too much is let on again where a job waits for it.
    pub(super) fn spread(
        &self,
        order: &TrialOrder,
        picture: &Picture,
        share: Share,
    ) -> BTreeSet<String> {
        if picture.is_chosen {
            return BTreeSet::new();
        }
        let leaves = |off: &BTreeSet<String>| {
            let is_free = |it: &String| !self.is_refused(it) && !off.contains(it);
            picture.all.is_empty() || picture.candidates().iter().any(is_free)
        };
        let cut: BTreeSet<String> = self.cut.get(&order.trial).into_iter().cloned().collect();
        let (unwanted, unused) = (self.unwanted(order), self.unused(order, picture, share));
        let choices = [&unwanted | &unused, &cut | &unused, unwanted, cut];
        let off = choices.into_iter().find(leaves).unwrap_or_default();
        let apart = &off | &self.connected(order, picture);
        if share == Share::Used && leaves(&apart) { apart } else { off }
    }

    /// Nodes that a launch should not run on: those on which its configuration finished a repeat,
    /// failed, runs or will run, and the one that just cut it.
    pub(super) fn unwanted(&self, order: &TrialOrder) -> BTreeSet<String> {
        let (own, name) = (order.launch.launch, &order.launch.configuration.name);
        let had = [&self.had, &self.failed].into_iter().filter_map(|it| it.get(name)).flatten();
        let open =
            self.open.iter().filter(|(launch, it)| **launch != own && it.configuration == *name);
        let open = open.filter_map(|(_, it)| it.host.as_ref());
        had.chain(open).chain(self.cut.get(&order.trial)).cloned().collect()
    }

    /// Nodes that the run uses: those that configurations had or have.
    pub(super) fn used(&self) -> BTreeSet<&String> {
        let had = self.had.values().flatten();
        let open = self.open.values().filter_map(|it| it.host.as_ref());
        had.chain(open).filter(|it| !self.is_refused(it)).collect()
    }

    /// Those of them that a launch may find.
    fn used_now<'a>(&'a self, picture: &Picture) -> BTreeSet<&'a String> {
        let mut used = self.used();
        used.retain(|it| picture.candidates().contains(it));
        used
    }

    /// How many other launches may still begin on a node that the run did not use so far.
    fn adding(&self, order: &TrialOrder) -> usize {
        let own = order.launch.launch;
        self.open.iter().filter(|(launch, it)| **launch != own && it.may_add).count()
    }

    /// Nodes that the run does not use and should not: it uses as many as its configurations can
    /// share, with those that launches before this one may begin on.
    fn unused(&self, order: &TrialOrder, picture: &Picture, share: Share) -> BTreeSet<String> {
        let used = self.used_now(picture);
        let is_full = self.is_as_many(used.len() + self.adding(order));
        if !is_full || used.is_empty() || share == Share::Any {
            return BTreeSet::new();
        }
        picture.candidates().iter().filter(|it| !used.contains(it)).cloned().collect()
    }

    /// Whether a launch is to wait until it is known where those before it begin: only then it can
    /// share nodes with them.
    pub fn waits_for_others(&self, order: &TrialOrder, picture: &Picture) -> bool {
        self.is_as_many(self.adding(order))
            && !picture.is_chosen
            && order.beside.is_none()
            && self.used_now(picture).is_empty()
    }

    /// Whether so many nodes are as many as the run's configurations can share.
    fn is_as_many(&self, nodes: usize) -> bool {
        self.sharing.most > 0 && nodes >= self.sharing.most as usize
    }

    /// Whether a node that the run uses, and a launch may find, has none of its launches now.
    pub fn has_room(&self, picture: &Picture) -> bool {
        let is_busy =
            |host: &String| self.open.values().any(|it| it.runs && it.host.as_ref() == Some(host));
        self.used_now(picture).into_iter().any(|it| !is_busy(it))
    }

    /// Nodes that share configurations with those that had this launch's, as long as there are used
    /// nodes that do not: there it connects both.
    /// Early launches connect them without being sent there, and need not wait for a node.
    fn connected(&self, order: &TrialOrder, picture: &Picture) -> BTreeSet<String> {
        if order.trial < self.sharing.connects_from {
            return BTreeSet::new();
        }
        let name = &order.launch.configuration.name;
        let open = self.open.iter().filter(|(launch, _)| **launch != order.launch.launch);
        let open = open.filter_map(|(_, it)| Some((&it.configuration, it.host.as_ref()?)));
        let had = self.had.iter().flat_map(|(name, hosts)| hosts.iter().map(move |it| (name, it)));
        let ran: Vec<(&String, &String)> = had.chain(open).collect();
        let (mut names, mut hosts) = (BTreeSet::from([name]), BTreeSet::new());
        loop {
            let before = (names.len(), hosts.len());
            hosts.extend(ran.iter().filter(|it| names.contains(it.0)).map(|it| it.1));
            names.extend(ran.iter().filter(|it| hosts.contains(it.1)).map(|it| it.0));
            if (names.len(), hosts.len()) == before {
                break;
            }
        }
        if hosts.is_empty() || self.used_now(picture).iter().all(|it| hosts.contains(*it)) {
            return BTreeSet::new();
        }
        hosts.into_iter().cloned().collect()
    }
}
