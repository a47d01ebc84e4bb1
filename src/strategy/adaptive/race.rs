//! The duels: leader and challenger are launched one right after the other, so that the
//! machine's level slows both alike. Each pair is chosen by what was over before its first
//! trial, and has two numbers of its own; so a sweep that is rebuilt from its journal goes on as
//! it would have. Both halves of a pair run on one host; other hosts wait meanwhile. The last
//! launches of a budget are kept for what a claim needs: see `kept`.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::hosts::Turn;
use super::super::{
    Action, AdaptiveStrategy, Finished, Observation, Purpose, Situation, Task, repeats,
};
use super::counts::LAUNCHES_OF_EACH;
use super::eligible::{Eligible, Judged};
use super::standing::{Doubt, Standing};
use super::{before, last};

mod kept;

/// The race of those that may be the best.
#[derive(Clone, Debug)]
pub(crate) struct Race {
    pub(crate) spec: AdaptiveStrategy,
    pub(crate) task: Task,
}

/// What is decided before a pair.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decision {
    /// Both are launched, or one alone.
    Launch(usize, Option<usize>),
    /// Nothing more is.
    Finish(Finished),
}

impl Race {
    pub(crate) fn new(spec: AdaptiveStrategy, task: Task) -> Self {
        Self { spec, task }
    }

    /// Launches at most.
    pub(crate) fn most(&self) -> u32 {
        self.spec.most(&self.task)
    }

    /// What to do where as many launches were made as there may be.
    pub(crate) fn is_spent(&self, situation: &Situation<'_>) -> Option<Action> {
        let begun = situation.observations.len() + situation.in_flight.len();
        if (begun as u32) < self.most() {
            return None;
        }
        if !situation.in_flight.is_empty() {
            return Some(Action::Wait);
        }
        let known: Vec<&Observation> = situation.observations.iter().collect();
        let standing = self.standing(&known).filter(Standing::knows_scatter);
        let leader = standing.map(|it| it.held());
        Some(Action::Finish { why: Finished::Spent { launches: begun, leader } })
    }

    /// The situation with the launches that may still be begun, where they are few: by their
    /// greatest number, by what the budget counts, and about as many as it leaves time for.
    pub(crate) fn limited<'a>(&self, situation: Situation<'a>) -> Situation<'a> {
        let begun = situation.observations.len() + situation.in_flight.len();
        let by_number = self.most().saturating_sub(begun as u32);
        let by_time = kept::fitting(&situation);
        let counted = kept::trials_of(&situation);
        let left = counted.into_iter().chain(by_time).fold(by_number, u32::min);
        let launches_left = (left <= kept::MOST).then_some(left);
        Situation { launches_left, budget_left: None, ..situation }
    }

    pub(crate) fn eligible(&self, observations: &[&Observation]) -> Vec<Eligible> {
        Judged::of(&self.task, observations).eligible
    }

    pub(crate) fn standing(&self, observations: &[&Observation]) -> Option<Standing> {
        Standing::of(&self.task, observations, &Judged::of(&self.task, observations))
    }

    /// The next trial of the duels, of which `start` is the first.
    pub(crate) fn next(&self, situation: &Situation<'_>, start: u32) -> Action {
        let known: Vec<&Observation> = situation.observations.iter().collect();
        let turn = Turn::of(situation);
        let begun = last(situation).and_then(|last| last.checked_sub(start));
        let mut pair = begun.map_or(0, |begun| begun / 2 + 1);
        if let Some(begun) = begun.filter(|begun| begun.is_multiple_of(2)) {
            let first = start + begun;
            if situation.in_flight.iter().any(|it| it.trial != first) {
                return Action::Wait;
            }
            if let Some(action) = self.second(situation, &known, (start, first)) {
                return if turn.is_on_host_of(first) { action } else { Action::Wait };
            }
            pair = begun / 2 + 1;
        }
        if !situation.in_flight.is_empty() {
            return Action::Wait;
        }
        let trial = start + 2 * pair;
        let earlier = before(&known, trial);
        match self.decide(&earlier) {
            Decision::Finish(why) => Action::Finish { why },
            Decision::Launch(a, b) => {
                if let Some(alone) = kept::next(self, situation, &earlier, (a, b)) {
                    let is_first = !kept::is_alone(situation, start, trial.saturating_sub(2));
                    return if is_first || turn.is_on_host_of(trial - 2) {
                        self.launch(kept::number(trial), alone, &earlier)
                    } else {
                        Action::Wait
                    };
                }
                let on_host = known.iter().filter(|it| turn.is_own(it));
                let ran = on_host.max_by_key(|it| it.trial).map(|it| it.configuration);
                let configuration = match b {
                    Some(b) if Some(a) == ran => b,
                    Some(b) if Some(b) != ran && self.is_turned(trial) => b,
                    _ => a,
                };
                self.launch(trial, configuration, &earlier)
            }
        }
    }

    /// Whether a trial of the duels, of which `start` is the first, is the first of a pair.
    pub(crate) fn opens_pair(&self, situation: &Situation<'_>, trial: u32, start: u32) -> bool {
        let known: Vec<&Observation> = situation.observations.iter().collect();
        let is_first = trial.checked_sub(start).is_some_and(|place| place.is_multiple_of(2))
            && !kept::is_alone(situation, start, trial);
        let decided = || self.decide(&before(&known, trial));
        is_first && matches!(decided(), Decision::Launch(_, Some(_)))
    }

    /// The other one of the pair whose `first` trial was launched; `None` where there is none,
    /// or it is out.
    fn second(
        &self,
        situation: &Situation<'_>,
        known: &[&Observation],
        (start, first): (u32, u32),
    ) -> Option<Action> {
        if kept::is_alone(situation, start, first) {
            return None;
        }
        let over = known.iter().find(|it| it.trial == first).map(|it| it.configuration);
        let flying = situation.in_flight.iter().find(|it| it.trial == first);
        let launched = over.or(flying.map(|it| it.configuration))?;
        let earlier = before(known, first);
        let Decision::Launch(a, Some(b)) = self.decide(&earlier) else { return None };
        let other = if launched == a { b } else { a };
        let judged = Judged::of(&self.task, known);
        let goes_on = judged.eligible[other].is_in() || judged.reference(&self.task) == Some(other);
        goes_on.then(|| self.launch(first + 1, other, &earlier))
    }

    fn launch(&self, trial: u32, configuration: usize, earlier: &[&Observation]) -> Action {
        let repeats = self.repeats(earlier);
        Action::Launch { trial, configuration, purpose: Purpose::Final, repeats }
    }

    /// Kept repeats of a pair.
    fn repeats(&self, earlier: &[&Observation]) -> u32 {
        if !self.spec.auto {
            return self.spec.repeats;
        }
        let noise = self.standing(earlier).and_then(|it| it.noise);
        let chosen = noise.zip(repeats::cost(earlier));
        chosen.map_or(self.spec.repeats, |(noise, cost)| repeats::best(cost, noise))
    }

    /// Whether the challenger is launched first, where neither ran last.
    fn is_turned(&self, trial: u32) -> bool {
        let mut random = ChaCha8Rng::seed_from_u64(self.spec.seed);
        random.set_stream(2 + u64::from(trial));
        random.random()
    }

    /// What is launched after these observations.
    pub(super) fn decide(&self, observations: &[&Observation]) -> Decision {
        let judged = Judged::of(&self.task, observations);
        let eligible = &judged.eligible;
        let Some(standing) = Standing::of(&self.task, observations, &judged) else {
            let is_left = eligible.iter().any(|it| it.is_in());
            let why = if is_left { Finished::NoValues } else { Finished::NothingLeft };
            return Decision::Finish(why);
        };
        let leader = standing.leader;
        let is_sure = eligible[leader] == Eligible::Yes || standing.has_enough(leader);
        let challenger = standing.challenger();
        if let Some(decision) = self.lacks(&standing, challenger) {
            return decision;
        }
        // What is claimed afterwards is of the leader, over the baseline.
        let reference = judged.reference(&self.task).filter(|it| *it != leader);
        let baseline = reference.filter(|it| !standing.has_enough(*it));
        // Without another one nothing is claimed of the leader.
        let is_claimed = challenger.or(reference).is_some();
        let is_known = is_sure && (standing.has_enough(leader) || !is_claimed);
        match (is_known, baseline) {
            (false, None) => Decision::Launch(leader, challenger),
            (false, baseline) => Decision::Launch(leader, baseline),
            (true, Some(baseline)) => Decision::Launch(baseline, None),
            (true, None) if challenger.is_none() => {
                Decision::Finish(Finished::OnlyOne { configuration: leader })
            }
            (true, None) if standing.probability < self.spec.probability => {
                Decision::Finish(Finished::Uncertain(standing.held()))
            }
            (true, None) => Decision::Finish(Finished::GoodEnough(standing.held())),
        }
    }

    /// Whether further launches of the leader may show whether it keeps its bounds, and that is
    /// needed.
    fn is_doubted(&self, standing: &Standing) -> bool {
        let Doubt { breaks, rivals, .. } = standing.doubt;
        let is_worth = standing.launches[standing.leader] < LAUNCHES_OF_EACH as usize;
        breaks > 0.0 && breaks + rivals > 1.0 - self.spec.probability && is_worth
    }

    /// What is launched while the leader is not known well enough; `None` where it is, and where
    /// no further launch makes it so. What is out stays so: it lowers what is said in the end.
    fn lacks(&self, standing: &Standing, challenger: Option<usize>) -> Option<Decision> {
        let Doubt { breaks, rivals, .. } = standing.doubt;
        let leader = standing.leader;
        if self.is_doubted(standing) {
            let alone = breaks > rivals;
            return Some(Decision::Launch(leader, challenger.filter(|_| !alone)));
        }
        let is_open = rivals > 1.0 - self.spec.probability;
        is_open.then_some(Decision::Launch(leader, challenger))
    }
}
