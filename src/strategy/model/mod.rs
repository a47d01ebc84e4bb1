//! The strategy `model`: a part of all configurations is launched, the rest is predicted by
//! what the axes do, and the best ones then meet in a second block and in the duels of
//! `adaptive`. Where the axes predict too little, every configuration is launched first. Here
//! is what is launched when; the model is in `process` and `kernel`, the choice in `screen`,
//! what the launches say in `reading`. What it reaches is in `docs/strategy-model.md`.

use std::sync::Arc;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::adaptive::bar::bar;
use super::adaptive::eligible::Eligible;
use super::adaptive::observed::Launches;
use super::adaptive::race::Race;
use super::adaptive::{SURVIVORS, before, last};
use super::{
    Action, Bar, Finished, ModelStrategy, Observation, Purpose, Remaining, Situation, Strategy,
    Task, order,
};

mod kernel;
mod memo;
mod process;
mod reading;
mod screen;

pub use super::finished::Guard;
use super::finished::Leader;

use kernel::Kernel;
use memo::Memo;
use process::Process;
use reading::Reading;

/// How many axes tell configurations apart, and join some of them, by each one's levels.
pub(super) fn axes(levels: &[Vec<usize>]) -> usize {
    Kernel::new(levels).axes()
}

/// Standard errors behind the leader from which further repeats are not worth their time: a
/// screen that has each configuration once learns more of them than a race does. Chosen by
/// simulation: `docs/strategy-model.md`.
const BEHIND: f64 = 3.0;

/// Launches of a screen at the least, by each configuration's levels: all of them where no axis
/// joins any.
pub(super) fn least_screen(levels: &[Vec<usize>]) -> usize {
    least(&Kernel::new(levels), levels.len())
}

fn least(kernel: &Kernel, configurations: usize) -> usize {
    if kernel.axes() == 0 { configurations } else { screen::first_look(kernel, configurations) }
}

/// Launches of a second block of the best ones at the least: one configuration needs none.
pub(super) fn least_second(configurations: usize) -> u32 {
    u32::from(configurations > 1)
}

/// How many numbers of trials are left out between the second block, or what was launched after
/// it, and the duels: by that a journal shows where these begin.
pub(super) const LEFT_OUT: u32 = SURVIVORS as u32;

/// A screen by a model, then a race.
#[derive(Clone, Debug)]
pub struct Modelled {
    race: Race,
    kernel: Kernel,
    /// All configurations, levels spread over them.
    order: Vec<usize>,
    /// The task's prediction where it counts, of which smaller values are better.
    predicted: Option<Vec<f64>>,
    /// What was fitted and decided before.
    memo: Arc<Memo>,
}

/// Those of a second block.
struct Finalists {
    /// All of them, in its order.
    members: Vec<usize>,
    /// Those of them that may be the best; the others gave no value in the screen.
    near: Vec<usize>,
    /// What they were chosen by; `None` where every configuration was launched.
    belief: Option<Process>,
}

impl Modelled {
    /// The screen and the race of a sweep.
    pub fn new(spec: ModelStrategy, task: Task) -> Self {
        let kernel = Kernel::new(&task.levels);
        let order = screen::spread(&kernel, task.configurations, task.baseline, spec.racing.seed);
        let predicted = reading::predicted(&task).filter(|_| spec.predicted);
        let race = Race::new(spec.racing, task);
        Self { race, kernel, order, predicted, memo: Arc::default() }
    }

    /// Whether the axes predict too little, so that every configuration is launched; `None`
    /// where they do not, and while it is not known.
    pub fn guard(&self, observations: &[Observation]) -> Option<Guard> {
        let screened = before(&observations.iter().collect::<Vec<_>>(), start(observations));
        match self.reading(&screened) {
            Reading::Whole(guard) => Some(guard),
            Reading::Open | Reading::Seen => None,
        }
    }

    /// What is held for the best by these observations; `None` while nothing has a value. After
    /// the screen only those that went on to the duels count.
    pub fn leader(&self, observations: &[Observation]) -> Option<Leader> {
        let known: Vec<&Observation> = observations.iter().collect();
        let begin = start(observations);
        let own: Vec<&Observation> = if begin == u32::MAX {
            let field = self.field(&known, &[]);
            if let Some(belief) = self.belief(&known) {
                let configuration = field.leader(&belief)?;
                let probability = 1.0 - screen::doubt(&belief, configuration, &field.allowed);
                return Some(Leader { configuration, probability: probability.max(0.0) });
            }
            known
        } else {
            let finalists = self.finalists(&before(&known, begin));
            let is_open = finalists.is_open(&self.race.eligible(&known));
            let runs = |it: &&Observation| {
                is_open
                    || it.purpose == Purpose::Final
                    || finalists.members.contains(&it.configuration)
            };
            known.into_iter().filter(runs).collect()
        };
        Some(self.race.standing(&own)?.held())
    }

    /// What is launched in the screen; `None` where it is over.
    fn screen(&self, situation: &Situation<'_>) -> Option<Action> {
        let known: Vec<&Observation> = situation.observations.iter().collect();
        let flying: Vec<usize> = situation.in_flight.iter().map(|it| it.configuration).collect();
        let field = self.field(&known, &flying);
        let opening = screen::opening(&self.kernel, self.race.task.configurations);
        let chosen = match self.reading(&known) {
            Reading::Seen => None,
            Reading::Open if known.len() >= opening => {
                let belief = self.belief(&known);
                belief.map_or_else(|| field.open.first().copied(), |it| field.next(&it))
            }
            Reading::Open | Reading::Whole(_) => field.open.first().copied(),
        };
        match chosen {
            Some(configuration) => {
                let trial = last(situation).map_or(0, |last| last + 1);
                Some(self.launch(trial, configuration, Purpose::Screen))
            }
            // What still runs may change what is believed.
            None => (!situation.in_flight.is_empty()).then_some(Action::Wait),
        }
    }

    /// Those that may be the best by the screen, and those that gave no value in it: one launch
    /// without says nothing of them.
    fn finalists(&self, screened: &[&Observation]) -> Finalists {
        let belief = match self.reading(screened) {
            Reading::Seen => self.belief(screened),
            Reading::Whole(_) | Reading::Open => None,
        };
        let field = self.field(screened, &[]);
        let near = if let Some(belief) = &belief {
            field.survivors(belief)
        } else {
            let standing = self.race.standing(screened);
            standing.map(|it| it.near(SURVIVORS)).unwrap_or_default()
        };
        let values = Launches::of(&self.race.task, screened).counts(self.race.task.configurations);
        let lost = |it: &usize| values[*it] == 0 && !field.open.contains(it);
        let mut members = near.clone();
        members.extend(field.allowed.iter().copied().filter(lost));
        members.sort_unstable();
        members.dedup();
        let place = |of: usize| members.iter().position(|it| *it == of);
        let last = screened.iter().max_by_key(|it| it.trial).map(|it| it.configuration);
        // Whatever is claimed is over the baseline: without a value it is needed most.
        let opening = self.race.task.baseline.filter(lost).and_then(place);
        let mut random = ChaCha8Rng::seed_from_u64(self.race.spec.seed);
        random.set_stream(1);
        let places = order::shuffled(members.len(), last.and_then(place), opening, &mut random);
        let members = places.into_iter().map(|place| members[place]).collect();
        Finalists { members, near, belief }
    }

    /// The second block, from the trial `start` on, and the duels.
    fn race(&self, situation: &Situation<'_>, start: u32) -> Action {
        let known: Vec<&Observation> = situation.observations.iter().collect();
        let finalists = self.finalists(&before(&known, start));
        let eligible = self.race.eligible(&known);
        let observations = self.in_duels(situation.observations, &finalists, &eligible);
        let own = Situation { observations: &observations, ..*situation };
        let duels = self.duels(start);
        if let Some(configuration) =
            next_of(&finalists.members, situation, (start, duels), &eligible)
        {
            let trial = last(situation).map_or(start, |last| last + 1);
            return self.launch(trial, configuration, Purpose::Final);
        }
        // What is believed by all launches costs a fit: it is asked for where it is needed.
        if finalists.is_lost(&eligible)
            && let Some(action) = self.anew(situation, &known, duels)
        {
            return action;
        }
        let action = self.race.next(&own, duels);
        self.with_remark(action, situation.observations)
    }

    /// The first trial of the duels, where the second block begins with `start`: behind all that
    /// may be launched before them, each configuration once.
    fn duels(&self, start: u32) -> u32 {
        let most = self.race.task.configurations + SURVIVORS;
        start.saturating_add(u32::try_from(most).unwrap_or(u32::MAX)).saturating_add(LEFT_OUT + 1)
    }

    /// What the duels are decided by: all, or what the last ones and the baseline gave.
    fn in_duels(
        &self,
        observations: &[Observation],
        finalists: &Finalists,
        eligible: &[Eligible],
    ) -> Vec<Observation> {
        let is_open = finalists.is_open(eligible);
        // What was launched once and is believed to be behind is no rival.
        let runs = |c: usize| {
            is_open || finalists.members.contains(&c) || self.race.task.baseline == Some(c)
        };
        // What was launched as one of the last is never hidden: its number is taken.
        let counts = |it: &&Observation| it.purpose == Purpose::Final || runs(it.configuration);
        observations.iter().filter(counts).cloned().collect()
    }

    /// The screen once more, with all launches: what may be the best of those that were not
    /// launched. `None` where they are hardly better than what is left.
    fn anew(
        &self,
        situation: &Situation<'_>,
        known: &[&Observation],
        duels: u32,
    ) -> Option<Action> {
        let field = self.field(known, &[]);
        let belief = self.belief(known)?;
        let leader = field.leader(&belief)?;
        let chosen = if field.open.contains(&leader) {
            leader
        } else if field.is_seen(&belief) {
            return None;
        } else {
            field.next(&belief)?
        };
        if !situation.in_flight.is_empty() {
            return Some(Action::Wait);
        }
        let trial = last(situation).map_or(0, |last| last + 1);
        // Among the duels it is alone, as what is launched for a claim is: a pair of numbers is left
        // out before it.
        let among = trial.checked_sub(duels).filter(|place| *place > 0);
        let trial = among.map_or(trial, |place| duels + place.next_multiple_of(2) + 2);
        Some(self.launch(trial, chosen, Purpose::Final))
    }

    fn decide(&self, situation: &Situation<'_>) -> Action {
        if let Some(action) = self.race.is_spent(situation) {
            return self.with_remark(action, situation.observations);
        }
        match begun(situation) {
            Some(start) => self.race(situation, start),
            None => self.screen(situation).unwrap_or_else(|| {
                self.race(situation, last(situation).map_or(0, |last| last + 1))
            }),
        }
    }

    fn launch(&self, trial: u32, configuration: usize, purpose: Purpose) -> Action {
        Action::Launch { trial, configuration, purpose, repeats: self.race.spec.repeats }
    }
}

impl Modelled {
    /// The end with what else is to be known of it.
    fn with_remark(&self, action: Action, observations: &[Observation]) -> Action {
        match action {
            Action::Finish { why } => Action::Finish { why: self.remarked(why, observations) },
            action => action,
        }
    }

    /// The end, and why every configuration was launched, or what those may be that never were.
    fn remarked(&self, why: Finished, observations: &[Observation]) -> Finished {
        let known: Vec<&Observation> = observations.iter().collect();
        let open = self.field(&known, &[]).open;
        if let Some(guard) = self.guard(observations) {
            return Finished::Whole { then: Box::new(why), guard, never: open.len() };
        }
        if open.is_empty() {
            return why;
        }
        let leader = self.leader(observations).map(|it| it.configuration);
        let believed = leader.zip(self.belief(&known));
        Finished::Untried {
            then: Box::new(why),
            never: open.len(),
            of: self.race.task.configurations,
            doubt: believed.map(|(leader, belief)| screen::doubt(&belief, leader, &open).min(1.0)),
        }
    }
}

impl Strategy for Modelled {
    fn next(&self, situation: Situation<'_>) -> Action {
        let limited = self.race.limited(situation);
        self.memo.action(&limited, || self.decide(&limited))
    }

    fn trials(&self) -> u32 {
        self.race.most()
    }

    fn opens_pair(&self, situation: Situation<'_>, trial: u32) -> bool {
        let Some(start) = begun(&situation) else { return false };
        let known: Vec<&Observation> = situation.observations.iter().collect();
        let finalists = self.finalists(&before(&known, start));
        let own = self.in_duels(situation.observations, &finalists, &self.race.eligible(&known));
        let own = Situation { observations: &own, ..situation };
        self.race.opens_pair(&own, trial, self.duels(start))
    }

    fn stopped(&self, observations: &[Observation], why: Finished) -> Finished {
        self.remarked(why, observations)
    }

    fn remaining(&self, situation: Situation<'_>) -> Remaining {
        let over = (situation.observations.len() + situation.in_flight.len()) as u32;
        let high = self.trials().saturating_sub(over);
        let configurations = self.race.task.configurations;
        let screen = least(&self.kernel, configurations) as u32;
        if begun(&situation).is_none() && over < screen {
            let second = least_second(configurations);
            return Remaining { low: (screen - over + second).min(high), high };
        }
        match self.next(situation) {
            Action::Finish { .. } => Remaining { low: 0, high: 0 },
            _ => Remaining { low: 1.min(high), high },
        }
    }

    fn bar(&self, observations: &[Observation], configuration: usize) -> Option<Bar> {
        let known: Vec<&Observation> = observations.iter().collect();
        // In the second block and in duels each repeat counts.
        let screens = start(observations) == u32::MAX;
        screens.then(|| bar(&self.race.task, &known, configuration, BEHIND))?
    }
}

impl Finalists {
    /// Whether none of those that may be the best is left.
    fn is_lost(&self, eligible: &[Eligible]) -> bool {
        self.near.iter().all(|it| !eligible[*it].is_in())
    }

    /// Whether every configuration that was launched is in the race, and not only these.
    fn is_open(&self, eligible: &[Eligible]) -> bool {
        self.belief.is_none() || self.is_lost(eligible)
    }
}

/// The next one of a second block, which has the trials from `start` up to the `duels`; `None`
/// where it is over.
fn next_of(
    members: &[usize],
    situation: &Situation<'_>,
    (start, duels): (u32, u32),
    eligible: &[Eligible],
) -> Option<usize> {
    if last(situation).is_some_and(|last| last >= duels) {
        return None;
    }
    let over = situation.observations.iter().map(|it| (it.trial, it.configuration));
    let flying = situation.in_flight.iter().map(|it| (it.trial, it.configuration));
    let begun: Vec<usize> = over.chain(flying).filter(|it| it.0 >= start).map(|it| it.1).collect();
    members.iter().copied().find(|it| eligible[*it].is_in() && !begun.contains(it))
}

/// The first trial after the screen; the greatest number while there is none.
fn start(observations: &[Observation]) -> u32 {
    after_screen(observations.iter().map(|it| (it.trial, it.purpose))).unwrap_or(u32::MAX)
}

/// The same, of what runs too; `None` while there is none.
fn begun(situation: &Situation<'_>) -> Option<u32> {
    let over = situation.observations.iter().map(|it| (it.trial, it.purpose));
    after_screen(over.chain(situation.in_flight.iter().map(|it| (it.trial, it.purpose))))
}

/// The trial after the last one of the screen, where any was launched after it: not all of a
/// second block is, where the budget ends in it.
fn after_screen(trials: impl Iterator<Item = (u32, Purpose)>) -> Option<u32> {
    let (mut is_over, mut next) = (false, 0);
    for (trial, purpose) in trials {
        if purpose == Purpose::Final {
            is_over = true;
        } else {
            next = next.max(trial + 1);
        }
    }
    is_over.then_some(next)
}

#[cfg(test)]
mod tests;
