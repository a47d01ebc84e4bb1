//! What the launches of a screen say: whether the model predicts, whether the screen has seen
//! enough, and what is believed of every configuration. A function of the observations, looked
//! at after fixed numbers of launches, so that every session finds the same.

use super::Modelled;
use super::memo::Look;
use super::process::{self, Launch, Process};
use super::screen::{self, Field};
use crate::metric::Goal;
use crate::strategy::adaptive::eligible::Eligible;
use crate::strategy::adaptive::observed::{Launches, Scale};
use crate::strategy::finished::Guard;
use crate::strategy::{Observation, Task, TrialOutcome};

/// Share of the differences that axes must predict, of launches that were left out: below it
/// every configuration is launched. Chosen by simulation: `docs/strategy-model.md`.
const POOR: f64 = 0.35;

/// The same before there are twice the launches of the opening: below it neither is decided.
const GOOD: f64 = 0.55;

/// Repeat SD that is assumed while launches have one repeat each, and what it counts for.
const REPEAT_SD: f64 = 0.05;
const REPEAT_DF: f64 = 1.0;

/// How far a screen is.
pub(super) enum Reading {
    /// Every configuration is to be launched.
    Whole(Guard),
    /// More launches are worth their time, or show whether the model predicts.
    Open,
    /// The model predicts, and it has seen enough.
    Seen,
}

impl Modelled {
    /// How far the screen is by these observations.
    pub(super) fn reading(&self, known: &[&Observation]) -> Reading {
        let launched = |known: &[&Observation]| {
            known.iter().filter(|it| it.outcome != TrialOutcome::Skipped).count() as u32
        };
        if self.kernel.axes() == 0 || self.launches(known).is_none() {
            return Reading::Whole(Guard { r2: 0.0, launched: launched(known) });
        }
        let configurations = self.race.task.configurations;
        let opening = screen::opening(&self.kernel, configurations);
        let looks = screen::looks(&self.kernel, configurations);
        // A screen that is far beyond the early looks did not end at one of them.
        let is_late = known.len() > 3 * opening;
        let looks = looks.skip_while(|size| is_late && *size < 2 * opening);
        for size in looks.take_while(|size| *size <= known.len()) {
            let Some(Look { r2, is_seen }) = self.look(&known[..size]) else { continue };
            let is_early = size < 2 * opening;
            if r2 < POOR && !is_early {
                return Reading::Whole(Guard { r2, launched: launched(&known[..size]) });
            }
            let least = if is_early { GOOD } else { POOR };
            if r2 >= least && is_seen {
                return Reading::Seen;
            }
        }
        Reading::Open
    }

    /// What the axes predict of these launches, and whether the others may be better.
    fn look(&self, known: &[&Observation]) -> Option<Look> {
        self.memo.look(known, || {
            let launches = self.launches(known)?;
            let configurations = self.race.task.configurations;
            let predicted = self.predicted.as_deref();
            let found =
                process::predictive_share(&self.kernel, configurations, &launches, predicted);
            let (belief, r2) = found?;
            Some(Look { r2, is_seen: self.field(known, &[]).is_seen(&belief) })
        })
    }

    /// What is believed of all configurations; `None` while nothing is known.
    pub(super) fn belief(&self, known: &[&Observation]) -> Option<Process> {
        let launches = self.launches(known)?;
        self.memo.belief(&launches, || {
            let configurations = self.race.task.configurations;
            Process::fit(&self.kernel, configurations, &launches, self.predicted.as_deref())
        })
    }

    /// Which configurations are left; `flying` ones are launched already.
    pub(super) fn field(&self, known: &[&Observation], flying: &[usize]) -> Field {
        let eligible = self.race.eligible(known);
        let is_launched =
            |c: usize| flying.contains(&c) || known.iter().any(|it| it.configuration == c);
        let all = self.order.iter().copied().filter(|c| eligible[*c].is_in());
        Field {
            open: all.clone().filter(|c| !is_launched(*c)).collect(),
            sound: all.clone().filter(|c| eligible[*c] != Eligible::Hardly).collect(),
            allowed: all.collect(),
        }
    }

    /// The launches as the process takes them; `None` where ratios cannot be taken. Drift is of
    /// each host by itself.
    fn launches(&self, known: &[&Observation]) -> Option<Vec<Launch>> {
        let task = &self.race.task;
        let all = Launches::of(task, known);
        if all.scale != Scale::Logs {
            return None;
        }
        let degrees = |repeats: u32| f64::from(repeats) - 1.0;
        let squares: f64 = all.means.iter().map(|it| it.variance * degrees(it.repeats)).sum();
        let total: f64 = all.means.iter().map(|it| degrees(it.repeats)).sum();
        let variance = (REPEAT_DF * REPEAT_SD.powi(2) + squares) / (REPEAT_DF + total);
        let mut hosts: Vec<&str> = known.iter().map(|it| it.host.as_str()).collect();
        hosts.sort_unstable();
        hosts.dedup();
        let mut launches = Vec::new();
        for (host, name) in hosts.into_iter().enumerate() {
            let own: Vec<&Observation> =
                known.iter().copied().filter(|it| it.host == name).collect();
            launches.extend(Launches::of(task, &own).means.into_iter().map(|it| Launch {
                configuration: it.configuration,
                host,
                time: it.time / 3600.0,
                cost: it.mean,
                noise: variance / f64::from(it.repeats),
            }));
        }
        Some(launches)
    }
}

/// The prediction where smaller is better, as costs of launches are; `None` where it is not of
/// every configuration.
pub(super) fn predicted(task: &Task) -> Option<Vec<f64>> {
    let predicted = task.predicted.as_deref()?;
    let is_whole = predicted.len() == task.configurations;
    let sign = match task.goal {
        Goal::Minimize => 1.0,
        Goal::Maximize => -1.0,
    };
    (is_whole && predicted.iter().all(|it| it.is_finite()))
        .then(|| predicted.iter().map(|it| sign * it).collect())
}
