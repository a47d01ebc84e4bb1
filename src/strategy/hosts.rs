//! Several hosts: which of the pending launches the host that asks is given, so that no
//! configuration is known from one host alone, and how a loop asks for all of its free hosts.
//! With one host the order of launches is what it is without this module. The loop has one host
//! so far, and says nobody who asks. What a host's level does to the estimates is in `statistics`.

use std::collections::BTreeMap;

use super::{Action, Observation, Purpose, Situation, Strategy};
use crate::statistics::connected;

/// Number, configuration and purpose of a trial that may be launched.
pub(super) type Place = (u32, usize, Purpose);

/// Who asks, and what was launched where.
pub(super) struct Turn<'a> {
    asks: Option<&'a str>,
    /// Of each trial that is over or runs: its number, its configuration and its host.
    launched: Vec<(u32, usize, &'a str)>,
    /// Configuration and host of those that run.
    flying: Vec<(usize, &'a str)>,
}

impl<'a> Turn<'a> {
    pub(super) fn of(situation: &Situation<'a>) -> Self {
        let over = situation.observations.iter();
        let over = over.map(|it| (it.trial, it.configuration, it.host.as_str()));
        let runs = situation.in_flight.iter();
        let runs = runs.map(|it| (it.trial, it.configuration, it.host.as_str()));
        let flying = situation.in_flight.iter().map(|it| (it.configuration, it.host.as_str()));
        Self {
            asks: situation.host,
            launched: over.chain(runs).collect(),
            flying: flying.collect(),
        }
    }

    /// Whether more than one host is known, the one that asks included.
    pub(super) fn has_several(&self) -> bool {
        let mut hosts = self.launched.iter().map(|it| it.2).chain(self.asks);
        let first = hosts.next();
        hosts.any(|host| Some(host) != first)
    }

    /// The greatest number of a trial so far.
    pub(super) fn last(&self) -> Option<u32> {
        self.launched.iter().map(|it| it.0).max()
    }

    /// Whether a trial may still be launched: on one host they are launched in the order of
    /// their numbers, and what was passed over once is not taken up again.
    pub(super) fn is_left(&self, trial: u32) -> bool {
        if self.has_several() {
            return self.launched.iter().all(|it| it.0 != trial);
        }
        self.last().is_none_or(|last| trial > last)
    }

    /// Whether the host that asks is that of a trial: both halves of a duel run on one host.
    pub(super) fn is_on_host_of(&self, trial: u32) -> bool {
        let host = self.launched.iter().find(|it| it.0 == trial).map(|it| it.2);
        self.asks.is_none() || host.is_none() || host == self.asks
    }

    /// Whether the host that asks ran this trial.
    pub(super) fn is_own(&self, observation: &Observation) -> bool {
        self.asks.is_none_or(|host| observation.host == host)
    }

    /// The next of these trials of one block, which are in the block's order, where it is
    /// known which one it is. A configuration is not launched where the same one runs.
    /// `None` to wait. `first`: the first trial of the block.
    pub(super) fn take(&self, pending: &[Place], first: u32) -> Option<Place> {
        let runs = |place: &Place| self.flying.iter().any(|it| it.0 == place.1);
        if self.asks.is_none() || !self.has_several() {
            return pending.first().copied().filter(|place| !runs(place));
        }
        let free: Vec<Place> = pending.iter().copied().filter(|place| !runs(place)).collect();
        self.choose(&free, first)
    }

    /// The same, whatever runs.
    pub(super) fn choose(&self, pending: &[Place], first: u32) -> Option<Place> {
        let Some(own) = self.asks.filter(|_| self.has_several()) else {
            return pending.first().copied();
        };
        let tally = Tally::of(self, own, first, pending);
        let best = *pending.iter().min_by_key(|place| tally.rank(place.1))?;
        (!tally.would_leave_apart(best.1, &self.flying)).then_some(best)
    }
}

/// What each host had.
struct Tally<'a> {
    own: &'a str,
    /// How often a host had a configuration.
    times: BTreeMap<(usize, &'a str), u32>,
    /// Launches of each host in the block.
    in_block: BTreeMap<&'a str, u32>,
    /// Of each configuration the first of those that a chain of common hosts connects.
    groups: Vec<usize>,
    /// One of each host's configurations.
    on_host: BTreeMap<&'a str, usize>,
}

impl<'a> Tally<'a> {
    fn of(turn: &Turn<'a>, own: &'a str, first: u32, pending: &[Place]) -> Self {
        let (mut times, mut in_block) = (BTreeMap::new(), BTreeMap::new());
        let mut on_host = BTreeMap::new();
        let numbers = numbers(turn.launched.iter().map(|it| it.2));
        let mut ran = Vec::new();
        for &(trial, configuration, host) in &turn.launched {
            *times.entry((configuration, host)).or_default() += 1;
            *in_block.entry(host).or_default() += u32::from(trial >= first);
            on_host.insert(host, configuration);
            ran.push((configuration, numbers[host]));
        }
        let all = ran.iter().map(|it| it.0).chain(pending.iter().map(|it| it.1));
        let groups = connected(all.max().map_or(0, |it| it + 1), ran.iter().copied());
        Self { own, times, in_block, groups, on_host }
    }

    /// Whether no chain of common hosts connects a host with the one that asks. One that had
    /// nothing yet is connected with nobody.
    fn is_apart(&self, host: &str) -> bool {
        let group = |host: &str| self.on_host.get(host).map(|it| self.groups[*it]);
        host != self.own && (group(host).is_none() || group(host) != group(self.own))
    }

    /// The hosts that had a configuration.
    fn hosts_of(&self, configuration: usize) -> impl Iterator<Item = &'a str> {
        let own = (configuration, "")..(configuration + 1, "");
        self.times.range(own).map(|((_, host), _)| *host)
    }

    /// Which of the pending ones the host that asks is given, the smallest first: what it had
    /// least often; of these what connects it with another host; of these that of a host with
    /// few launches in this block, which is still to ask and must not find only its own.
    fn rank(&self, configuration: usize) -> (u32, bool, u32) {
        let had = self.times.get(&(configuration, self.own)).copied().unwrap_or_default();
        let connects = self.hosts_of(configuration).any(|host| self.is_apart(host));
        let others = self.hosts_of(configuration).filter(|host| *host != self.own);
        let load = others.map(|host| self.in_block.get(host).copied().unwrap_or_default()).min();
        (had, !connects, load.unwrap_or(u32::MAX))
    }

    /// Whether a configuration would be launched again where it alone was launched, while
    /// something runs on a host that is not connected with this one and may take it.
    fn would_leave_apart(&self, configuration: usize, flying: &[(usize, &'a str)]) -> bool {
        let mut hosts = self.hosts_of(configuration).peekable();
        hosts.peek().is_some()
            && hosts.all(|host| host == self.own)
            && flying.iter().any(|(_, host)| self.is_apart(host))
    }
}

/// Numbers of hosts, from 0, in the order in which they come.
pub(super) fn numbers<'a>(hosts: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, usize> {
    let mut numbers = BTreeMap::new();
    for host in hosts {
        let next = numbers.len();
        numbers.entry(host).or_insert(next);
    }
    numbers
}

/// What is to be done on the first of these free hosts for which there is something: each is
/// asked for in turn. Where all would wait, and nothing runs that they could wait for, the
/// first one is given what is next whatever the hosts had. `None` without a free host.
pub fn ask<'h>(
    strategy: &dyn Strategy,
    situation: Situation<'_>,
    free: &[&'h str],
) -> Option<(&'h str, Action)> {
    let asked = |host: Option<&str>| strategy.next(Situation { host, ..situation });
    for &host in free {
        let action = asked(Some(host));
        if action != Action::Wait {
            return Some((host, action));
        }
    }
    let &first = free.first()?;
    let action = if situation.in_flight.is_empty() { asked(None) } else { Action::Wait };
    Some((first, action))
}

#[cfg(test)]
#[path = "hosts_tests.rs"]
mod tests;
