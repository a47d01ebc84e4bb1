//! What failed launches say of configurations that are not yet launched: which of them
//! must fail, too, and for how long that may be believed. A failure that may pass says
//! nothing. A failure for lack of memory counts when it was seen twice, since boots are a
//! lottery where others use the memory. A success revokes what it contradicts. What is
//! done about it (skip, launch after all) is [`super::relaunch`]'s. Pure.

use crate::configuration::Configuration;
use crate::engine::failure::{is_local, prunes};
use crate::history::launch::{FailureClass, LaunchFailure, LaunchOutcome};
use crate::history::record::{LaunchRecord, SweepRecord};

/// What the failed launches of a record say, without what a success revoked.
pub(super) struct Conclusions<'a> {
    failed: Vec<Failed<'a>>,
}

/// Failures of one configuration by one class that nothing contradicts.
struct Failed<'a> {
    configuration: &'a Configuration,
    class: FailureClass,
    times: u32,
}

/// How often a failure must be seen before it is believed; `None` where it may pass,
/// however often it is seen.
fn sightings(failure: &LaunchFailure) -> Option<u32> {
    // A folder does not appear by itself; a hub may answer next time.
    let is_missing = failure.missing_path.as_deref().is_some_and(is_local);
    match failure.class.sightings() {
        None if is_missing => Some(1),
        by_class => by_class,
    }
}

impl<'a> Conclusions<'a> {
    /// Of all launches of a record, whatever they were made for.
    pub(super) fn of(record: &'a SweepRecord) -> Self {
        Self::of_first(record, record.launches.len())
    }

    /// Of so many first launches of a record: what was concluded when the last of them ended.
    pub(super) fn of_first(record: &'a SweepRecord, launches: usize) -> Self {
        let launches = &record.launches[..launches.min(record.launches.len())];
        let named = |name: &str| record.manifest.configurations.iter().find(|it| it.name == name);
        let mut failed: Vec<(Failed<'a>, bool)> = Vec::new();
        for launch in launches {
            let Some(LaunchOutcome::Failed(failure)) = &launch.outcome else { continue };
            let Some(configuration) = named(&launch.configuration) else { continue };
            if sightings(failure).is_none() {
                continue;
            }
            let served = launch.facts.is_some();
            let known = failed.iter_mut().find(|(known, was_ready)| {
                known.configuration.id == configuration.id
                    && known.class == failure.class
                    && *was_ready == served
            });
            match known {
                Some((known, _)) => known.times += 1,
                None => {
                    failed.push((Failed { configuration, class: failure.class, times: 1 }, served));
                }
            }
        }
        failed.retain(|(failed, was_ready)| !is_contradicted(record, launches, failed, *was_ready));
        Self { failed: failed.into_iter().map(|(failed, _)| failed).collect() }
    }

    /// Why a configuration would fail; `None` where that is not known.
    pub(super) fn against(&self, candidate: &Configuration) -> Option<String> {
        let own = |it: &&Failed<'_>| it.configuration.id == candidate.id;
        let shows = |it: &&Failed<'_>| prunes(it.configuration, it.class, candidate);
        for first in &self.failed {
            let needed = first.class.sightings().unwrap_or(1);
            let of_class = || self.failed.iter().filter(|it| it.class == first.class);
            let count = |them: &mut dyn Iterator<Item = &Failed<'a>>| -> u32 {
                them.map(|it| it.times).sum()
            };
            if own(&first) && count(&mut of_class().filter(own)) >= needed {
                return Some("failed in an earlier launch, and would fail so again".to_owned());
            }
            if !own(&first) && !shows(&first) {
                continue;
            }
            if count(&mut of_class().filter(|it| own(it) || shows(it))) >= needed {
                let mut names: Vec<String> = of_class()
                    .filter(|it| own(it) || shows(it))
                    .map(|it| format!("`{}`", it.configuration.name))
                    .collect();
                names.dedup();
                names.truncate(needed as usize);
                let (names, class) = (names.join(" and "), first.class.as_str());
                return Some(format!("{names} failed ({class}), and this one would fail so, too"));
            }
        }
        None
    }
}

/// Whether something served that could not have, if the failure were the configuration's
/// own: the configuration itself, or one that the rule says must fail as well. A failure
/// of a server that was ready is contradicted only by one that was measured to the end.
fn is_contradicted(
    record: &SweepRecord,
    launches: &[LaunchRecord],
    failed: &Failed<'_>,
    was_ready: bool,
) -> bool {
    let succeeded = |launch: &LaunchRecord| {
        if was_ready {
            launch.outcome == Some(LaunchOutcome::Measured) && !launch.measurements.is_empty()
        } else {
            launch.facts.is_some()
        }
    };
    launches.iter().filter(|launch| succeeded(launch)).any(|launch| {
        let mut known = record.manifest.configurations.iter();
        known.find(|it| it.name == launch.configuration).is_some_and(|it| {
            it.id == failed.configuration.id || prunes(failed.configuration, failed.class, it)
        })
    })
}

#[cfg(test)]
#[path = "conclusions_tests.rs"]
mod tests;
