//! A sweep by a real strategy in a simulated world: what is true, what launches cost and
//! give, and when each was over.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vllm_grid::history::launch::LaunchOutcome;
use vllm_grid::history::record::LaunchRecord;
use vllm_grid::strategy::{
    Action, Bar, Limits, Observation, ObservedRepeat, Purpose, Situation, Strategy, StrategySpec,
    Task, TrialOutcome,
};

use crate::world::{BOOT, Machine, Noise, REPEAT, Speed, Sweep, WARMUP, clock, normal, uniform};

/// A typical value of the objective.
const TYPICAL: f64 = 200.0;

/// A launch that gives nothing for once.
const FAILS: f64 = 0.03;
/// A configuration that never works.
const NEVER_WORKS: f64 = 0.05;

/// What worlds of a cell have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    pub(crate) configurations: usize,
    /// SD of the true logarithms.
    pub(crate) spread: f64,
    pub(crate) machine: Machine,
    pub(crate) noise: Noise,
    /// Whether axes add up, one of them without an effect.
    pub(crate) factorial: bool,
    /// Whether there is a bound that about half keep: what is fast breaks it more often.
    pub(crate) bounded: bool,
    /// Whether launches fail.
    pub(crate) failing: bool,
}

/// What is true in one world.
pub(crate) struct Truth {
    /// Logarithms of the objective.
    pub(crate) effects: Vec<f64>,
    /// Logarithms of the bounded metric; the bound is 0.
    bounded: Vec<f64>,
    works: Vec<bool>,
    pub(crate) task: Task,
}

/// The levels of so many configurations' axes; the last axis has no effect.
fn axes(configurations: usize) -> &'static [usize] {
    match configurations {
        4 => &[2, 2],
        12 => &[3, 2, 2],
        48 => &[4, 3, 2, 2],
        200 => &[5, 5, 4, 2],
        _ => &[],
    }
}

/// The part of the variance that axes do not add up to.
const INTERACTION: f64 = 0.1;

impl Truth {
    pub(crate) fn new(scene: &Scene, random: &mut ChaCha8Rng) -> Self {
        let n = scene.configurations;
        let axes = axes(n);
        let mut levels = vec![Vec::new(); n];
        let mut rest = 1;
        for &axis in axes {
            for (configuration, levels) in levels.iter_mut().enumerate() {
                levels.push(configuration / rest % axis);
            }
            rest *= axis;
        }
        let effects: Vec<f64> = if scene.factorial && !axes.is_empty() {
            factorial(scene.spread, axes, &levels, random)
        } else {
            (0..n).map(|_| scene.spread * normal(random)).collect()
        };
        let bounded = effects
            .iter()
            .map(|it| if scene.bounded { 0.3 * normal(random) - 0.3 * it } else { 0.0 })
            .collect();
        let works = (0..n)
            .map(|it| it == 0 || !scene.failing || random.random::<f64>() >= NEVER_WORKS)
            .collect();
        let mut task = Task { levels, ..Task::plain(n, Some(0)) };
        if scene.bounded {
            task.constraints = vec![Limits { min: None, max: Some(1.0) }];
        }
        Self { effects, bounded, works, task }
    }

    /// Whether a configuration may win.
    fn may_win(&self, configuration: usize) -> bool {
        self.works[configuration] && self.bounded[configuration] <= 0.0
    }

    /// How much worse than the best of those that may win a pick is; infinite where it may
    /// not win itself. `None` where nothing can be picked.
    pub(crate) fn regret(&self, pick: Option<usize>) -> Option<f64> {
        let all = (0..self.effects.len()).filter(|it| self.may_win(*it));
        let best = all.map(|it| self.effects[it]).reduce(f64::min)?;
        let pick = pick.filter(|it| self.may_win(*it));
        Some(pick.map_or(f64::INFINITY, |pick| self.effects[pick] - best))
    }
}

fn factorial(
    spread: f64,
    axes: &[usize],
    levels: &[Vec<usize>],
    random: &mut ChaCha8Rng,
) -> Vec<f64> {
    let active = &axes[..axes.len() - 1];
    let sd = spread * ((1.0 - INTERACTION) / active.len() as f64).sqrt();
    let of: Vec<Vec<f64>> =
        active.iter().map(|axis| (0..*axis).map(|_| sd * normal(random)).collect()).collect();
    let combinations: usize = active.iter().product();
    let together: Vec<f64> =
        (0..combinations).map(|_| spread * INTERACTION.sqrt() * normal(random)).collect();
    let effect = |(configuration, levels): (usize, &Vec<usize>)| {
        let sum: f64 = of.iter().zip(levels).map(|(of, level)| of[*level]).sum();
        sum + together[configuration % combinations]
    };
    levels.iter().enumerate().map(effect).collect()
}

/// How repeats are measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Warmup {
    /// The first repeat is discarded.
    Discarded,
    /// It counts as the others.
    Kept,
}

/// What came of a world.
pub(crate) struct Night {
    pub(crate) observations: Vec<Observation>,
    /// When each was over, s.
    ends: Vec<f64>,
}

impl Night {
    /// Hours that it took.
    pub(crate) fn hours(&self) -> f64 {
        self.ends.last().copied().unwrap_or_default() / 3600.0
    }

    /// What is known after so many hours.
    pub(crate) fn until(&self, hours: f64) -> &[Observation] {
        let over = self.ends.iter().take_while(|end| **end <= hours * 3600.0).count();
        &self.observations[..over]
    }
}

/// Runs a strategy, at most for so many hours.
pub(crate) fn run(
    strategy: &dyn Strategy,
    scene: &Scene,
    truth: &Truth,
    (warmup, most): (Warmup, f64),
    random: &mut ChaCha8Rng,
) -> Night {
    // A launch has numbers of its own, so that what is launched otherwise meets the same noise.
    let base: u64 = random.random();
    let mut speed = Speed::new(scene.machine, random);
    let mut night = Night { observations: Vec::new(), ends: Vec::new() };
    let mut time = 0.0;
    while time < most * 3600.0 {
        let observations = &night.observations;
        let situation = Situation { observations, in_flight: &[], ..Situation::default() };
        let (trial, configuration, purpose, repeats) = match strategy.next(situation) {
            Action::Launch { trial, configuration, purpose, repeats } => {
                (trial, configuration, purpose, repeats)
            }
            Action::Finish { .. } => break,
            other => panic!("nothing is in flight: {other:?}"),
        };
        let bar = strategy.bar(observations, configuration);
        let asked = Asked { trial, configuration, purpose, repeats, bar };
        let own = observations.iter().filter(|it| it.configuration == configuration).count();
        let mut own = of_launch(base, configuration, own);
        let pace = (time, &mut speed, &mut *random);
        let (observation, end) = launch(&asked, scene, truth, warmup, pace, &mut own);
        night.observations.push(observation);
        night.ends.push(end);
        time = end;
    }
    night
}

/// Random numbers of a configuration's launch after so many others of it.
fn of_launch(base: u64, configuration: usize, earlier: usize) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(base);
    random.set_stream(((configuration as u64) << 32) + earlier as u64);
    random
}

struct Asked {
    trial: u32,
    configuration: usize,
    purpose: Purpose,
    repeats: u32,
    bar: Option<Bar>,
}

fn launch(
    asked: &Asked,
    scene: &Scene,
    truth: &Truth,
    warmup: Warmup,
    (start, speed, of_speed): (f64, &mut Speed, &mut ChaCha8Rng),
    random: &mut ChaCha8Rng,
) -> (Observation, f64) {
    let Asked { trial, configuration, purpose, .. } = *asked;
    let mut time = start + uniform(BOOT, random);
    let mut observation = Observation {
        trial,
        configuration,
        purpose,
        host: "a simulated world".to_owned(),
        started_at: Some(clock(start)),
        duration: Duration::from_secs_f64(time - start),
        repeat_seconds: None,
        outcome: TrialOutcome::Measured,
        repeats: Vec::new(),
    };
    if !truth.works[configuration] {
        observation.outcome = TrialOutcome::Infeasible;
        return (observation, time);
    }
    if scene.failing && random.random::<f64>() < FAILS {
        observation.outcome = TrialOutcome::Failed;
        return (observation, time);
    }
    let offset = scene.noise.launch * normal(random);
    let own = |random: &mut ChaCha8Rng| offset + scene.noise.repeat * normal(random);
    let mut spent = 0.0;
    let first = u32::from(warmup == Warmup::Kept);
    for repeat in first..=asked.repeats {
        let end = time + uniform(REPEAT, random);
        let level = speed.between(time, end, of_speed);
        let slow = if repeat == first { WARMUP } else { 1.0 };
        let value =
            |effect: f64, random: &mut ChaCha8Rng| slow * (effect + level + own(random)).exp();
        let objective = TYPICAL * value(truth.effects[configuration], random);
        let bounded = truth.task.constraints.first().map(|_| truth.bounded[configuration]);
        let constraints = bounded.map(|it| Some(value(it, random))).into_iter().collect();
        let took = end - time;
        time = end;
        if repeat == 0 {
            continue;
        }
        spent += took;
        let (launch, at, objective) = (trial + 1, Some(clock(end)), Some(objective));
        observation.repeats.push(ObservedRepeat { launch, repeat, at, objective, constraints });
        let is_behind = |bar: &Bar| repeat >= bar.repeats && objective > Some(bar.value);
        if asked.bar.as_ref().is_some_and(is_behind) {
            break;
        }
    }
    observation.repeat_seconds = Some(spent / observation.repeats.len() as f64);
    observation.duration = Duration::from_secs_f64(time - start);
    (observation, time)
}

/// The record that such a sweep leaves, without what is bounded.
pub(crate) fn record(truth: &Truth, spec: StrategySpec, observations: &[Observation]) -> Sweep {
    let mut sweep = Sweep::new(truth.effects.clone());
    // What may be claimed depends on whether launches were chosen by what was measured.
    sweep.record.manifest.strategy = spec;
    for observation in observations {
        let mut launch = LaunchRecord {
            launch: observation.trial + 1,
            trial: observation.trial,
            purpose: observation.purpose,
            started_at: observation.started_at,
            configuration: format!("c{}", observation.configuration),
            outcome: Some(LaunchOutcome::Measured),
            ..LaunchRecord::default()
        };
        for repeat in &observation.repeats {
            let Some((value, at)) = repeat.objective.zip(repeat.at) else { continue };
            launch.measurements.push(sweep.measurement(repeat.repeat, value));
            launch.measured_at.push(at);
        }
        sweep.record.launches.push(launch);
    }
    sweep
}
