//! The last launches of a sweep whose launches are limited: a claim is of the leader, over the
//! baseline, and needs some launches of each. Where no more are left than they lack, they are
//! launched, one at a time, instead of another duel; not in the blocks: what has been launched once
//! is no leader to claim anything of. What is launched so leaves out a pair of numbers before its
//! own: by that a journal shows that nothing else belongs to it.

use super::super::super::{Observation, Situation, TrialOutcome, is_kept};
use super::super::eligible::{ENOUGH, Judged};
use super::super::standing::{Rival, Standing};
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
/// one so far. `None` without a limit.
pub(super) fn trials_of(situation: &Situation<'_>) -> Option<u32> {
    let left = situation.launches_left?;
    let over = situation.observations.iter().filter(|it| it.outcome != TrialOutcome::Skipped);
    let trials = over.count() as u32;
    let launches = situation.launches_made.unwrap_or(trials).max(trials).max(1);
    let each = if trials == 0 { 1 } else { trials };
    Some((u64::from(left) * u64::from(each) / u64::from(launches.max(each))) as u32)
}

/// What leader and baseline lack for a claim.
struct Lacking {
    standing: Standing,
    baseline: Option<usize>,
    /// What runs counts as launched.
    flying: Vec<usize>,
    left: usize,
}

impl Lacking {
    /// `None` where launches are not few, and while nothing has a value.
    fn of(race: &Race, situation: &Situation<'_>, observations: &[&Observation]) -> Option<Self> {
        let left = situation.launches_left? as usize;
        let judged = Judged::of(&race.task, observations);
        let standing = Standing::of(&race.task, observations, &judged)?;
        let baseline = judged.reference(&race.task);
        let flying = situation.in_flight.iter().map(|it| it.configuration).collect();
        Some(Self { standing, baseline, flying, left })
    }

    fn of_one(&self, configuration: usize) -> usize {
        let flying = self.flying.iter().filter(|it| **it == configuration).count();
        ENOUGH.saturating_sub(self.standing.launches[configuration] + flying)
    }

    /// For a claim of this one over the baseline.
    fn of_claim(&self, configuration: usize) -> usize {
        let other = self.baseline.filter(|it| *it != configuration);
        self.of_one(configuration) + other.map_or(0, |it| self.of_one(it))
    }

    /// The one that a claim can still be of: the leader, else the best one near it for which the
    /// launches are enough. The leader may be another one after each launch.
    fn claimed(&self) -> Option<usize> {
        let is_other = |it: &&Rival| it.is_near() && Some(it.configuration) != self.baseline;
        let mut near: Vec<&Rival> = self.standing.rivals.iter().filter(is_other).collect();
        near.sort_by(|a, b| a.gap.total_cmp(&b.gap));
        let mut all = std::iter::once(self.standing.leader)
            .chain(near.into_iter().map(|it| it.configuration));
        all.find(|it| self.of_claim(*it) <= self.left)
    }

    /// What is launched alone for a claim of this one instead of what is `decided`: the one that
    /// lacks more; of both alike the baseline. Not what ran last, where there is a choice. `None`
    /// where the launches that are left are enough for what is decided, too.
    fn next(
        &self,
        claimed: usize,
        decided: (usize, Option<usize>),
        ran: Option<usize>,
    ) -> Option<usize> {
        if self.of_claim(claimed) == 0 {
            return None;
        }
        let (a, b) = decided;
        let is_launched = |it: usize| it == a || Some(it) == b;
        let then = |it: usize| self.of_one(it).saturating_sub(usize::from(is_launched(it)));
        // Either one may lead after it.
        let leads = [Some(claimed), Some(a), b].into_iter().flatten();
        let leads = leads.filter(|it| Some(*it) != self.baseline).map(then);
        let afterwards = leads.max().unwrap_or_default() + self.baseline.map_or(0, then);
        if 1 + usize::from(b.is_some()) + afterwards <= self.left {
            return None;
        }
        let other = self.baseline.filter(|it| *it != claimed);
        let mut lacking: Vec<usize> = std::iter::once(claimed).chain(other).collect();
        lacking.retain(|it| self.of_one(*it) > 0);
        if lacking.len() > 1 && self.left > 1 {
            lacking.retain(|it| Some(*it) != ran);
        }
        lacking.into_iter().max_by_key(|it| self.of_one(*it))
    }
}

/// What is launched alone instead of the duel that is `decided` by these observations, or of one
/// alone.
pub(super) fn next(
    race: &Race,
    situation: &Situation<'_>,
    observations: &[&Observation],
    decided: (usize, Option<usize>),
) -> Option<usize> {
    let lacking = Lacking::of(race, situation, observations)?;
    let claimed = lacking.claimed().unwrap_or(lacking.standing.leader);
    lacking.next(claimed, decided, ran(observations))
}

/// What ran last.
fn ran(observations: &[&Observation]) -> Option<usize> {
    observations.iter().max_by_key(|it| it.trial).map(|it| it.configuration)
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
