//! The objective's launches in the order of time, with the machine's own level taken
//! out: what differs between configurations, and what the machine did. The model is
//! [`fit`]; here is which launches go into it.

use jiff::Timestamp;

use super::arm::{self, Arm};
use super::hosts::{self, HostReport};
use super::machine::{
    Conclusion, DesignLimit, Detectable, Jump, LevelAt, MachineCourse, MachineReport,
};
use crate::history::record::{LaunchRecord, SweepRecord};
use crate::metric::{Goal, MetricRef};
use crate::statistics::{
    LaunchMean, MAX_JUMPS, MachineFit, Uncertainty, fit, fit_race, t_quantile,
};
use crate::strategy::confirm::{LEAST_PAIRS, Noise};

/// Seconds between launches whose times are not known: only their order counts then.
const UNKNOWN_GAP: f64 = 300.0;

/// Launches of a configuration from which the machine can be separated from it.
pub(super) const SEPARABLE: usize = LEAST_PAIRS as usize;

/// Jumps of the machine at most in the final analysis of a race.
const JUMPS_OF_RACES: usize = 8;

/// A difference that a reader would like to see: 5 %.
const WANTED: f64 = 1.05;

/// Launches fitted with the machine's level.
pub(super) struct Level {
    fit: MachineFit,
    launches: Vec<LaunchMean>,
    /// Number and time of each launch.
    marks: Vec<(u32, Option<Timestamp>)>,
    /// Index in the fit by arm.
    places: Vec<Option<usize>>,
    /// The uncertainty of each mean, by index in the fit; `None` where it can be compared
    /// with no other one.
    errors: Vec<Option<Uncertainty>>,
    /// Names of the hosts, by index in the fit.
    hosts: Vec<String>,
    /// Whether larger values are better.
    more_is_better: bool,
    /// Whether launches were chosen by what was measured.
    is_race: bool,
}

/// A launch with its configuration's effect taken out: the machine's level, and noise.
pub(super) struct Residual {
    /// Number of the launch.
    pub(super) launch: u32,
    /// Index of its configuration in the fit.
    pub(super) place: usize,
    /// What is left, on log scale.
    pub(super) left: f64,
}

/// A launch before it is put in order.
struct Timed {
    place: usize,
    host: usize,
    number: u32,
    at: Option<Timestamp>,
    logs: Vec<f64>,
}

impl Level {
    /// Fits the arms that have values, all of them positive; `None` with fewer than two, and
    /// where none was launched twice.
    pub(super) fn new(
        arms: &[Arm<'_>],
        metric: &MetricRef,
        case: &str,
        sweep: &SweepRecord,
    ) -> Option<Self> {
        Self::fitted(arms, metric, case, sweep, false)
    }

    /// The same where launches were chosen by what was measured: most have one or two.
    pub(super) fn of_race(
        arms: &[Arm<'_>],
        metric: &MetricRef,
        case: &str,
        sweep: &SweepRecord,
    ) -> Option<Self> {
        Self::fitted(arms, metric, case, sweep, true)
    }

    fn fitted(
        arms: &[Arm<'_>],
        metric: &MetricRef,
        case: &str,
        sweep: &SweepRecord,
        is_race: bool,
    ) -> Option<Self> {
        // Seconds of the machine in one of the journal.
        let pace = sweep.manifest.machine_pace();
        let mut hosts: Vec<String> = Vec::new();
        let mut launches = Vec::new();
        let mut places = vec![None; arms.len()];
        let mut count = 0;
        for (index, arm) in arms.iter().enumerate().filter(|(_, arm)| arm.same_as.is_none()) {
            let own = arm.launches.iter().filter_map(|it| {
                let own = timed(it, metric, case, count)?;
                Some(Timed { host: hosts::index(&mut hosts, sweep.host_of(it)), ..own })
            });
            let own: Vec<Timed> = own.collect();
            let finite = |it: &Timed| it.logs.iter().all(|log| log.is_finite());
            if own.is_empty() || !own.iter().all(finite) {
                continue;
            }
            launches.extend(own);
            places[index] = Some(count);
            count += 1;
        }
        // Where nothing was launched twice, a launch and its configuration are one.
        if launches.len() == count {
            return None;
        }
        launches.sort_by_key(|it| (it.at, it.number));
        let known = launches.iter().all(|it| it.at.is_some());
        if !known {
            launches.sort_by_key(|it| it.number);
        }
        let start = launches.first().and_then(|it| it.at).unwrap_or_default();
        let seconds = |at: usize, it: &Timed| match it.at {
            Some(time) if known => time.duration_since(start).as_secs_f64() * pace,
            _ => at as f64 * UNKNOWN_GAP,
        };
        let means: Vec<LaunchMean> =
            launches.iter().enumerate().map(|(at, it)| it.mean(seconds(at, it))).collect();
        let fit = if is_race {
            fit_race(&means, count, JUMPS_OF_RACES)?
        } else {
            fit(&means, count, MAX_JUMPS)?
        };
        let marks = launches.iter().map(|it| (it.number, it.at.filter(|_| known))).collect();
        let mut errors = vec![None; count];
        for group in 0..count {
            let members: Vec<usize> = (0..count).filter(|it| fit.groups()[*it] == group).collect();
            for (member, error) in members.iter().zip(fit.errors(&members).into_iter().flatten()) {
                errors[*member] = Some(error);
            }
        }
        let more_is_better = sweep.manifest.objective.goal == Goal::Maximize;
        Some(Self { fit, launches: means, marks, places, errors, hosts, more_is_better, is_race })
    }

    fn of_arm(&self, arm: usize) -> impl Iterator<Item = usize> + '_ {
        let place = self.places[arm];
        (0..self.launches.len()).filter(move |at| Some(self.launches[*at].configuration) == place)
    }

    /// The arm's mean on log scale, at the mean speed of the machine over all launches of those
    /// that it can be compared with.
    pub(super) fn mean(&self, arm: usize) -> Option<f64> {
        let place = self.places[arm]?;
        let left = |it: &LaunchMean| it.mean - self.fit.effects()[it.configuration];
        let own =
            || self.launches.iter().filter(|it| self.fit.is_comparable(it.configuration, place));
        let level = own().map(left).sum::<f64>() / own().count() as f64;
        Some(self.fit.effects()[place] + level)
    }

    /// Arm `a` minus arm `b` on log scale.
    pub(super) fn difference(&self, a: usize, b: usize) -> Option<(f64, Uncertainty)> {
        self.fit.difference(self.places[a]?, self.places[b]?)
    }

    /// The uncertainty of each arm's own mean; `None` where an arm is not in the fit.
    pub(super) fn errors(&self, arms: &[usize]) -> Option<Vec<Uncertainty>> {
        let places: Option<Vec<usize>> = arms.iter().map(|&arm| self.places[arm]).collect();
        self.fit.errors(&places?)
    }

    /// The uncertainty of one arm's mean among all that are in the fit.
    pub(super) fn error(&self, arm: usize) -> Option<Uncertainty> {
        self.errors.get(self.places[arm]?).copied().flatten()
    }

    /// Launch-to-launch SD and SD of a repeat, on log scale.
    pub(super) fn deviations(&self) -> (f64, f64) {
        (self.fit.launch_sd, self.fit.repeat_variance.sqrt())
    }

    /// What launches and repeats differ by, and how fast the machine drifts.
    pub(super) fn noise(&self) -> Noise {
        Noise {
            launch: self.fit.launch_sd.powi(2),
            repeat: self.fit.repeat_variance,
            drift: self.fit.drift.powi(2) / 3600.0,
        }
    }

    /// The level over the launches, and how well each arm's mean is known.
    pub(super) fn course(&self) -> MachineCourse {
        let levels = self.fit.smoothed(&self.launches);
        let mean = levels.iter().map(|(level, _)| level).sum::<f64>() / levels.len() as f64;
        let at = |((launch, at), (level, variance)): (&(u32, Option<Timestamp>), (f64, f64))| {
            LevelAt { launch: *launch, at: *at, level: level - mean, error: variance.sqrt() }
        };
        MachineCourse {
            levels: self.marks.iter().zip(levels).map(at).collect(),
            noise: self.noise(),
            errors: (0..self.places.len()).map(|arm| self.error(arm)).collect(),
        }
    }

    /// Launches of an arm, each with what is left when configuration and machine are
    /// taken out, on log scale.
    pub(super) fn rests(&self, arm: usize) -> Vec<f64> {
        let levels = self.fit.levels(&self.launches);
        let rest = |at: usize| {
            let launch = &self.launches[at];
            launch.mean - self.fit.effects()[launch.configuration] - levels[at]
        };
        self.of_arm(arm).map(rest).collect()
    }

    /// What is left of each launch, in the order of time; where there were several hosts,
    /// around the mean of its host.
    pub(super) fn residuals(&self) -> Vec<Residual> {
        let left = |it: &LaunchMean| it.mean - self.fit.effects()[it.configuration];
        let mean = |host: usize| {
            let own = || self.launches.iter().filter(|it| it.host == host);
            own().map(left).sum::<f64>() / own().count().max(1) as f64
        };
        let several = self.hosts.len() > 1;
        let means: Vec<f64> =
            (0..self.hosts.len()).map(|host| if several { mean(host) } else { 0.0 }).collect();
        let residual = |(it, mark): (&LaunchMean, &(u32, Option<Timestamp>))| Residual {
            launch: mark.0,
            place: it.configuration,
            left: left(it) - means[it.host],
        };
        self.launches.iter().zip(&self.marks).map(residual).collect()
    }

    /// What the machine did. `ranked`: the arms that are compared, best first;
    /// `baseline`: the one that they are compared with.
    pub(super) fn report(&self, ranked: &[usize], baseline: Option<usize>) -> MachineReport {
        let state = self.fit.state(&self.launches);
        let mut counts: Vec<usize> = ranked.iter().map(|&arm| self.of_arm(arm).count()).collect();
        counts.sort_unstable();
        let median = counts.get(counts.len() / 2).copied().unwrap_or_default();
        let (launches, separable) = if self.is_race {
            // Who has few launches is in no claim, so what most of them have limits nothing.
            (median, self.fit.enough_for_jumps)
        } else if self.fit.enough_for_jumps {
            (median, median >= SEPARABLE)
        } else {
            // Most of all that are fitted have too few, though the ranked ones may have enough.
            (median.min(self.fewest()), false)
        };
        let conclusion = match (state.moved, separable) {
            (true, _) => Conclusion::Moved,
            (false, true) => Conclusion::Calm,
            (false, false) => Conclusion::Unknown,
        };
        let mut limits = Vec::new();
        let other = baseline.filter(|it| ranked.first() != Some(it));
        let other = other.or_else(|| ranked.get(1).copied());
        if let (Some(&first), Some(other)) = (ranked.first(), other)
            && self.sequential(first, other)
        {
            limits.push(DesignLimit::OneAfterTheOther);
        }
        if !separable && ranked.len() > 1 {
            limits.push(DesignLimit::FewLaunches { launches });
        }
        let mut jumps = self.fit.jumps.clone();
        jumps.sort_unstable();
        let number = |at: &usize| self.marks[*at].0;
        MachineReport {
            conclusion,
            p_calm: self.fit.p_calm,
            speed_range: state.range,
            deviation: state.deviation,
            share: state.share,
            time_constant_minutes: state.time_constant,
            jumps: jumps.iter().map(|at| self.jump(*at)).collect(),
            moved_inside: self.fit.moved_inside.iter().map(number).collect(),
            hosts: self.by_host(),
            limits,
        }
    }

    /// What each host did, where there were several.
    fn by_host(&self) -> Vec<HostReport> {
        if self.hosts.len() < 2 {
            return Vec::new();
        }
        hosts::reports(&self.fit, &self.launches, &self.hosts, self.more_is_better)
    }

    /// Launches of the arm in the fit that has fewest.
    fn fewest(&self) -> usize {
        let arms = (0..self.places.len()).filter(|arm| self.places[*arm].is_some());
        arms.map(|arm| self.of_arm(arm).count()).min().unwrap_or_default()
    }

    /// In the middle between two launches of its host.
    fn jump(&self, at: usize) -> Jump {
        let host = self.launches[at].host;
        let before = (0..at).rev().find(|before| self.launches[*before].host == host);
        let (before, after) = (before.and_then(|before| self.marks[before].1), self.marks[at].1);
        let middle = before
            .zip(after)
            .and_then(|(before, after)| before.checked_add(after.duration_since(before) / 2).ok());
        Jump { before_launch: self.marks[at].0, at: middle }
    }

    /// Whether all launches of one come before all launches of the other, so that the
    /// machine and the configuration changed only once, together.
    fn sequential(&self, a: usize, b: usize) -> bool {
        let ends = |arm: usize| Some((self.of_arm(arm).next()?, self.of_arm(arm).last()?));
        let (Some(a), Some(b)) = (ends(a), ends(b)) else { return false };
        a.1 < b.0 || b.1 < a.0
    }

    /// The smallest difference to `first` that these launches can show, as a rule.
    pub(super) fn detectable(&self, first: usize, others: &[usize]) -> Option<Detectable> {
        let half = |&other: &usize| {
            let error = self.difference(first, other)?.1;
            Some(t_quantile(0.975, error.degrees_of_freedom) * error.variance.sqrt())
        };
        let mut halves: Vec<f64> = others.iter().filter_map(half).collect();
        halves.sort_by(f64::total_cmp);
        let half = *halves.get(halves.len() / 2)?;
        let mut counts: Vec<usize> = others.iter().map(|&arm| self.of_arm(arm).count()).collect();
        counts.push(self.of_arm(first).count());
        counts.sort_unstable();
        let launches = *counts.get(counts.len() / 2)?;
        let needed = (launches as f64 * (half / WANTED.ln()).powi(2)).ceil() as usize;
        Some(Detectable {
            difference: half.exp_m1(),
            launches,
            wanted: WANTED - 1.0,
            needed_launches: needed.max(launches),
        })
    }
}

impl Timed {
    fn mean(&self, time: f64) -> LaunchMean {
        LaunchMean::of(self.place, time, &self.logs).on(self.host)
    }
}

/// A launch that gave values, at the mean time of its repeats.
fn timed(launch: &LaunchRecord, metric: &MetricRef, case: &str, place: usize) -> Option<Timed> {
    let values = arm::timed_values(launch, metric, case);
    if values.is_empty() {
        return None;
    }
    let times: Option<Vec<Timestamp>> = values.iter().map(|(at, _)| *at).collect();
    let at = times.and_then(|times| mean_time(&times)).or_else(|| started(launch));
    let logs = values.iter().map(|(_, value)| value.ln()).collect();
    Some(Timed { place, host: 0, number: launch.launch, at, logs })
}

fn mean_time(times: &[Timestamp]) -> Option<Timestamp> {
    let first = *times.first()?;
    let seconds = |at: &Timestamp| at.duration_since(first).as_secs_f64();
    let mean = times.iter().map(seconds).sum::<f64>() / times.len() as f64;
    first.checked_add(jiff::SignedDuration::from_secs_f64(mean)).ok()
}

/// When a launch was started, where its repeats have no times.
fn started(launch: &LaunchRecord) -> Option<Timestamp> {
    let facts = launch.facts.as_ref();
    launch.started_at.or_else(|| facts?.started_at.parse().ok())
}
