//! The last launches of a sweep whose launches are limited: a claim is of the leader, over the
//! baseline, and needs some launches of each. Where no more are left than they lack, they are
//! launched, one at a time, instead of another duel. What is launched so leaves out a pair of
//! numbers before its own: by that a journal shows that nothing else belongs to it.

use super::super::super::{Observation, Situation, TrialOutcome, is_kept};
use super::super::eligible::ENOUGH;
use super::Race;

/// Launches that two can lack for a claim, and those of a pair before.
pub(super) const MOST: u32 = 2 * ENOUGH as u32 + 2;

/// About how many launches the budget leaves time for: as long as they took on average, or as
/// the last one did. `None` without a limit, and where nothing is known of their time.
pub(super) fn fitting(situation: &Situation<'_>) -> Option<u32> {
    let left = situation.budget_left?.as_secs_f64();
    let measured = || {
        let all = situation.observations.iter();
        all.filter(|it| it.outcome == TrialOutcome::Measured).map(|it| it.duration.as_secs_f64())
    };
    let mean = measured().sum::<f64>() / measured().count() as f64;
    let each = mean.max(measured().next_back()?);
    (each > 0.0).then(|| (left / each) as u32)
}

/// For about how many trials the launches last that a budget leaves: some trials took more than
/// one so far, as the numbers of their launches show. `None` without a limit.
pub(super) fn trials_of(situation: &Situation<'_>) -> Option<u32> {
    let left = situation.launches_left?;
    let trials = situation.observations.len() as u32;
    let repeats = || situation.observations.iter().flat_map(|it| &it.repeats).map(|it| it.launch);
    let Some((first, last)) = repeats().min().zip(repeats().max()) else { return Some(left) };
    let launches = (last - first + 1).max(trials);
    Some((u64::from(left) * u64::from(trials) / u64::from(launches.max(1))) as u32)
}

/// What is launched alone instead of what is `decided` by these observations: the one of leader
/// and baseline that lacks more; of both alike the baseline, where it did not run last. `None`
/// where the launches that are left are enough for that, too.
pub(super) fn next(
    race: &Race,
    situation: &Situation<'_>,
    observations: &[&Observation],
    decided: (usize, Option<usize>),
) -> Option<usize> {
    let left = situation.launches_left? as usize;
    let standing = race.standing(observations)?;
    let lacks = |it: usize| ENOUGH.saturating_sub(standing.launches[it]);
    let leader = standing.leader;
    let eligible = race.eligible(observations);
    let baseline = race.task.baseline.filter(|it| eligible[*it].is_in());
    let other = baseline.filter(|it| *it != leader);
    if lacks(leader) + other.map_or(0, lacks) == 0 {
        return None;
    }
    let (a, b) = decided;
    let then = |it: usize| lacks(it).saturating_sub(usize::from(it == a || Some(it) == b));
    // Either one may lead after a duel.
    let leads = [Some(leader), Some(a), b].into_iter().flatten().filter(|it| Some(*it) != baseline);
    let afterwards = leads.map(then).max().unwrap_or_default() + baseline.map_or(0, then);
    if 1 + usize::from(b.is_some()) + afterwards <= left {
        return None;
    }
    let ran = observations.iter().max_by_key(|it| it.trial).map(|it| it.configuration);
    let is_next = |it: &usize| {
        let is_turn = left < 2 || ran != Some(*it);
        lacks(*it) > lacks(leader) || (lacks(*it) == lacks(leader) && is_turn)
    };
    other.filter(|it| lacks(*it) > 0).filter(is_next).or(Some(leader))
}

/// The number of what is launched alone, where `trial` is next.
pub(super) fn number(trial: u32) -> u32 {
    trial + 2
}

/// Whether a trial of the duels, of which `start` is the first, was launched alone so, or would be.
pub(super) fn is_alone(situation: &Situation<'_>, start: u32, trial: u32) -> bool {
    let is_there = |number: u32| {
        situation.observations.iter().any(|it| it.trial == number)
            || situation.in_flight.iter().any(|it| it.trial == number)
    };
    trial.checked_sub(2).is_some_and(|pair| pair >= start) && is_kept(is_there, trial)
}
