//! What noise does to the verdict of a race: configurations that are all the same, raced by
//! hand on a machine that is calm, drifts or jumps, in virtual time with fixed seeds. The best
//! of many looks better than it is, and so does who happened to meet a fast machine.

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vllm_grid::results::decision::Decision;
use vllm_grid::results::ranking::{Ranking, RankingVerdict, rank_judged};
use vllm_grid::statistics::SIGNIFICANCE;
use vllm_grid::strategy::Purpose;

use crate::results::noise::normal;
use crate::results::race::Race;

/// How the machine's speed moves, on log scale.
#[derive(Clone, Copy, Debug)]
enum Machine {
    Calm,
    /// SD 25 %, a time constant of an hour.
    Drifts,
    /// Between two states, x1.8 apart, every hour or so.
    Jumps,
}

/// Seconds of a launch.
const LAUNCH: f64 = 600.0;
const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

struct Night<'a> {
    random: &'a mut ChaCha8Rng,
    machine: Machine,
    level: f64,
    /// The mean of each on log scale, and its launches' logs so far.
    means: Vec<f64>,
    logs: Vec<Vec<f64>>,
    race: Race,
}

impl Night<'_> {
    fn launch(&mut self, one: usize, purpose: Purpose) {
        match self.machine {
            Machine::Calm => self.level = 0.0,
            Machine::Drifts => {
                let stays = (-LAUNCH / 3600.0).exp();
                let step = 0.25 * (1.0 - stays * stays).sqrt() * normal(self.random);
                self.level = stays * self.level + step;
            }
            Machine::Jumps if self.random.random::<f64>() < LAUNCH / 3600.0 => {
                self.level = if self.level > 0.0 { 0.0 } else { 1.8_f64.ln() };
            }
            Machine::Jumps => {}
        }
        let own = self.means[one] + self.level + 0.03 * normal(self.random);
        let values: Vec<f64> =
            (0..2).map(|_| 100.0 * (own + 0.05 * normal(self.random)).exp()).collect();
        self.logs[one].push(values.iter().map(|it| it.ln()).sum::<f64>() / 2.0);
        let race = std::mem::replace(&mut self.race, Race::of(&[]));
        self.race = race.launched(NAMES[one], purpose, &values);
    }

    /// Leader and challenger by plain means: the more a method is fooled, the more there is
    /// to be taken back.
    fn pair(&self) -> [usize; 2] {
        let mean = |one: usize| self.logs[one].iter().sum::<f64>() / self.logs[one].len() as f64;
        let all = || 0..self.logs.len();
        let leader = all().min_by(|a, b| mean(*a).total_cmp(&mean(*b))).unwrap();
        let hope = |one: usize| mean(one) - 1.5 * 0.05 / (self.logs[one].len() as f64).sqrt();
        let others = all().filter(|it| *it != leader);
        [leader, others.min_by(|a, b| hope(*a).total_cmp(&hope(*b))).unwrap()]
    }
}

/// Two shuffled blocks, or one and another of the best half, then duels.
fn raced(
    random: &mut ChaCha8Rng,
    machine: Machine,
    means: Vec<f64>,
    second: usize,
    duels: usize,
) -> Ranking {
    let count = means.len();
    let race = Race::of(&NAMES[..count]);
    let logs = vec![Vec::new(); count];
    let mut night = Night { random, machine, level: 0.0, means, logs, race };
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(night.random);
    for one in order.clone() {
        night.launch(one, Purpose::Screen);
    }
    order.sort_by(|a, b| night.logs[*a][0].total_cmp(&night.logs[*b][0]));
    order.truncate(second);
    order.shuffle(night.random);
    let mut last = usize::MAX;
    for one in order {
        night.launch(one, Purpose::Screen);
        last = one;
    }
    for _ in 0..duels {
        let [mut first, mut then] = night.pair();
        if first == last {
            (first, then) = (then, first);
        }
        night.launch(first, Purpose::Final);
        night.launch(then, Purpose::Final);
        last = then;
    }
    let mut record = night.race.ended(true, "");
    record.manifest.baseline = Some(NAMES[0].to_owned());
    rank_judged(&record)
}

fn claims_something(ranking: &Ranking) -> bool {
    let below = |p: Option<f64>| p.is_some_and(|p| p < SIGNIFICANCE);
    matches!(ranking.verdict, RankingVerdict::First { .. })
        || ranking.decision.as_ref().is_some_and(Decision::claims)
        || ranking.rows.iter().any(|row| below(row.p_first) || below(row.p_baseline))
}

/// In how many of so many races something is claimed, though all are the same.
fn false_claims(machine: Machine, count: usize, second: usize, duels: usize, races: u64) -> usize {
    let claimed = |seed: u64| {
        let mut random = ChaCha8Rng::seed_from_u64(150_000 + seed);
        claims_something(&raced(&mut random, machine, vec![0.0; count], second, duels))
    };
    (0..races).filter(|seed| claimed(*seed)).count()
}

#[test]
fn of_300_races_of_one_configuration_at_most_21_claim_anything() {
    let _turn = crate::support::alone::beside();
    let machines = [Machine::Calm, Machine::Drifts, Machine::Jumps];
    let found = machines.map(|machine| false_claims(machine, 6, 6, 6, 100));
    let all: usize = found.iter().sum();
    assert!(all <= 21, "{found:?} of 100 each");
    // What this is about: they are raced long enough for a claim.
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let ranking = raced(&mut random, Machine::Calm, vec![0.0; 6], 6, 6);
    assert!(ranking.chosen.is_some_and(|it| it.in_claims >= 2));
}

#[test]
#[ignore = "prints a table, for drift.md's figures"]
fn false_claims_of_races() {
    for (count, second, duels) in [(6, 6, 8), (12, 12, 8), (12, 5, 12), (4, 4, 8)] {
        for machine in [Machine::Calm, Machine::Drifts, Machine::Jumps] {
            let found = false_claims(machine, count, second, duels, 100);
            eprintln!(
                "{count} configurations, {second}, {duels} duels, {machine:?}: {found} of 100"
            );
        }
    }
}

#[test]
fn the_best_by_10_percent_is_never_shown_to_be_worse() {
    let _turn = crate::support::alone::beside();
    let (mut right, mut wrong) = (0, 0);
    for seed in 0..40 {
        let mut random = ChaCha8Rng::seed_from_u64(160_000 + seed);
        let means = vec![0.0, -0.1, 0.0, 0.0, 0.0, 0.0];
        let ranking = raced(&mut random, Machine::Drifts, means, 6, 10);
        let best = ranking.rows.iter().find(|row| row.name == "b").unwrap();
        assert!(best.p_first.is_none_or(|p| p >= SIGNIFICANCE), "{seed}: {:?}", best.p_first);
        if let RankingVerdict::First { name } = &ranking.verdict {
            *(if name == "b" { &mut right } else { &mut wrong }) += 1;
        }
    }
    // Who races by plain means on such a machine drops the best one now and then.
    assert!(wrong <= 2 && right > 5 * wrong, "{right} right, {wrong} wrong");
}
