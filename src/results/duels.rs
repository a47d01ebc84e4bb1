//! The duels of a sweep that chose its launches, in what it recorded: which of its launches were
//! duels, which arms the last ones were of. How a strategy chooses them is not known here.

use std::collections::{BTreeMap, BTreeSet};

use super::arm::Arm;
use super::evidence::Evidence;
use crate::history::launch::LaunchOutcome;
use crate::history::record::{LaunchRecord, SweepRecord};
use crate::strategy::{Numbered, Purpose, is_kept};

/// Launches of the last two duels: who has one of them was in the race when it ended.
const LAST_DUELS: usize = 4;

/// The first trial of the duels, where there is any.
pub(super) fn first_duel(sweep: &SweepRecord) -> Option<u32> {
    let trials: BTreeMap<u32, Numbered<'_>> =
        sweep.own_launches().map(|it| (it.trial, it.numbered())).collect();
    sweep.manifest.strategy.first_duel(trials.into_values())
}

/// The launches of the last two duels so far; none before any. A model's second block, which is
/// launched to decide, too, is no duel, nor is what a claim lacked at the end of a budget.
pub(super) fn last_duels(evidence: &Evidence<'_>) -> Vec<u32> {
    let Some(first) = first_duel(evidence.sweep) else { return Vec::new() };
    let finals = evidence.sweep.own_launches().filter(|it| it.purpose == Purpose::Final);
    let trials: BTreeSet<u32> = evidence.sweep.own_launches().map(|it| it.trial).collect();
    let is_duel = |it: &&LaunchRecord| {
        it.trial >= first && !is_kept(|trial| trials.contains(&trial), it.trial)
    };
    let duels = finals.rev().filter(|it| is_started(it)).filter(is_duel);
    duels.take(LAST_DUELS).map(|it| it.launch).collect()
}

/// Whether an arm had one of these launches.
pub(super) fn took_part(arm: &Arm<'_>, launches: &[u32]) -> bool {
    started(arm).any(|it| launches.contains(&it.launch))
}

/// The launches of an arm that were begun.
pub(super) fn started<'a>(arm: &'a Arm<'_>) -> impl Iterator<Item = &'a LaunchRecord> {
    arm.launches.iter().copied().filter(|it| is_started(it))
}

/// Whether a launch was begun.
pub(super) fn is_started(launch: &LaunchRecord) -> bool {
    !matches!(launch.outcome, Some(LaunchOutcome::Skipped { .. }))
}
