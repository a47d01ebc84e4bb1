//! How the race stands: the leader, how far the others are behind it, and how probable it is
//! that the leader is good enough. The estimates are those of [`fit`]: the machine's own level is
//! taken out. Of many configurations only those that may matter are fitted.

use std::collections::BTreeMap;

use super::super::confirm::Noise;
use super::super::finished::Leader;
use super::super::{Observation, Task};
use super::eligible::{ENOUGH, Eligible, Judged, above};
use super::observed::Launches;
use crate::statistics::{LaunchMean, MAX_JUMPS, MachineFit, fit, fit_race};

/// Configurations that are fitted together at most, as far as others were launched once only:
/// what was launched once tells nothing of the others.
const FITTED: usize = 24;

/// Probability of keeping all bounds from which what is out may be so by mistake.
const MAY_KEEP: f64 = 0.01;

/// Standard errors behind the leader from which a configuration is out of the race.
pub(crate) const BEHIND: f64 = 2.5;

/// Standard errors by which a challenger may be better than its estimate.
const HOPE: f64 = 1.5;

/// A configuration other than the leader.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rival {
    pub(crate) configuration: usize,
    /// How much worse than the leader it is, on the scale of [`Launches`]; 0 where no chain of
    /// common hosts connects the two.
    pub(crate) gap: f64,
    /// Standard error of the gap: infinite where nothing is known of it. Then the leader
    /// beats it with a probability of one half, and no challenger promises more.
    pub(crate) error: f64,
}

impl Rival {
    /// Whether it may still be the best one.
    pub(crate) fn is_near(&self) -> bool {
        self.gap <= BEHIND * self.error
    }

    /// How much better than the leader it may be.
    fn promise(&self) -> f64 {
        HOPE * self.error - self.gap
    }
}

/// Why the leader may be wrong: probabilities, whose sum is at least that of any of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Doubt {
    /// That it breaks a bound.
    pub(super) breaks: f64,
    /// That one that is still in the race keeps its bounds and is better by more than 5 %.
    pub(super) rivals: f64,
    /// The same of those that are out: their launches are over.
    pub(super) out: f64,
}

/// How the race stands.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) leader: usize,
    /// The others that are not out and have a value, in the order of the grid.
    pub(crate) rivals: Vec<Rival>,
    /// That the leader keeps its bounds and is within 5 % of the best that does.
    pub(crate) probability: f64,
    /// What that probability lacks.
    pub(super) doubt: Doubt,
    /// Launches by configuration.
    pub(crate) launches: Vec<usize>,
    /// What launches and repeats differ by; `None` where nothing could be fitted.
    pub(crate) noise: Option<Noise>,
}

impl Standing {
    /// That of these observations; `None` while none that is in the race has a value.
    pub(crate) fn of(task: &Task, observations: &[&Observation], judged: &Judged) -> Option<Self> {
        let Judged { eligible, keeps, .. } = judged;
        let launches = Launches::of(task, observations);
        let counts = launches.counts(task.configurations);
        let (arms, far) = fitted(&launches, &counts, eligible, keeps);
        let first = Estimates::of(&launches.means, arms)?;
        let is_in = |arm: usize| eligible[arm].is_in();
        let may_lead = |arm: usize| eligible[arm] != Eligible::Hardly && is_in(arm);
        let leader = first.best(may_lead).or_else(|| first.best(is_in))?;
        let closer = first.closer(&launches.means, &counts, leader, is_in);
        let leader = closer.as_ref().and_then(|it| it.best(may_lead)).unwrap_or(leader);
        let all = (0..task.configurations).filter(|arm| *arm != leader).filter_map(|arm| {
            let by_closer = closer.as_ref().and_then(|it| it.rival(arm, leader));
            by_closer.or_else(|| first.rival(arm, leader))
        });
        let (mut rivals, out): (Vec<Rival>, Vec<Rival>) =
            all.partition(|it| is_in(it.configuration));
        add_far(&mut rivals, &out, &far);
        let margin = launches.scale.margin(launches.mean(leader)?);
        // One of those that are better must keep its bounds, and the leader its own.
        let better = |all: &[Rival]| -> f64 {
            let chance = |it: &Rival| {
                keeps[it.configuration] * above((it.gap + margin) / it.error, f64::INFINITY)
            };
            keeps[leader] * all.iter().map(chance).sum::<f64>()
        };
        let doubt =
            Doubt { breaks: 1.0 - keeps[leader], rivals: better(&rivals), out: better(&out) };
        let probability = (1.0 - doubt.breaks - doubt.rivals - doubt.out).max(0.0);
        let noise = closer.as_ref().unwrap_or(&first).noise();
        Some(Self { leader, rivals, probability, doubt, launches: counts, noise })
    }

    /// Whether something was launched twice, so that it was measured what launches differ by.
    pub(super) fn knows_scatter(&self) -> bool {
        self.launches.iter().any(|launches| *launches > 1)
    }

    /// What is held for the best.
    pub(crate) fn held(&self) -> Leader {
        Leader { configuration: self.leader, probability: self.probability }
    }

    /// The one that is to be launched beside the leader.
    pub(crate) fn challenger(&self) -> Option<usize> {
        let best = self.rivals.iter().max_by(|a, b| a.promise().total_cmp(&b.promise()));
        best.map(|it| it.configuration)
    }

    /// Those that may be the best, at most so many, the leader among them.
    pub(crate) fn near(&self, most: usize) -> Vec<usize> {
        let mut near: Vec<&Rival> = self.rivals.iter().filter(|it| it.is_near()).collect();
        near.sort_by(|a, b| a.gap.total_cmp(&b.gap));
        near.truncate(most.saturating_sub(1));
        std::iter::once(self.leader).chain(near.into_iter().map(|it| it.configuration)).collect()
    }

    /// Whether a configuration has launches enough for a claim.
    pub(crate) fn has_enough(&self, configuration: usize) -> bool {
        self.launches[configuration] >= ENOUGH
    }
}

/// Estimates of some configurations.
struct Estimates {
    /// Their indices in the grid, by place in the fit.
    arms: Vec<usize>,
    /// `None` of one alone.
    fit: Option<MachineFit>,
}

impl Estimates {
    /// Of these configurations, each of which has a launch; `None` of none.
    fn of(launches: &[LaunchMean], arms: Vec<usize>) -> Option<Self> {
        if arms.is_empty() {
            return None;
        }
        let own = only(launches, &arms);
        let mut counts = vec![0_usize; arms.len()];
        for launch in &own {
            counts[launch.configuration] += 1;
        }
        counts.sort_unstable();
        // After two launches of most a jump is told from what differs between configurations.
        let fit = if counts[counts.len() / 2] >= 2 {
            fit_race(&own, arms.len(), MAX_JUMPS)
        } else {
            fit(&own, arms.len(), MAX_JUMPS)
        };
        (fit.is_some() || arms.len() == 1).then_some(Self { arms, fit })
    }

    fn place(&self, arm: usize) -> Option<usize> {
        self.arms.iter().position(|it| *it == arm)
    }

    /// The best one; where not all can be compared, of the most that can.
    fn best(&self, counts: impl Fn(usize) -> bool) -> Option<usize> {
        let effect = |place: usize| self.fit.as_ref().map_or(0.0, |fit| fit.effects()[place]);
        let group = |place: usize| self.fit.as_ref().map_or(0, |fit| fit.groups()[place]);
        let places = || (0..self.arms.len()).filter(|place| counts(self.arms[*place]));
        let size = |of: usize| places().filter(|place| group(*place) == of).count();
        let largest = places().map(group).rev().max_by_key(|of| size(*of))?;
        let places = places().filter(|place| group(*place) == largest);
        let best = places.min_by(|a, b| effect(*a).total_cmp(&effect(*b)));
        best.map(|place| self.arms[place])
    }

    fn rival(&self, arm: usize, leader: usize) -> Option<Rival> {
        let (place, first) = (self.place(arm)?, self.place(leader)?);
        let known = self.fit.as_ref()?.difference(place, first);
        let known = known.map(|(gap, error)| (gap, error.variance.sqrt().max(f64::EPSILON)));
        let (gap, error) = known.unwrap_or((0.0, f64::INFINITY));
        Some(Rival { configuration: arm, gap, error })
    }

    /// Whether all of them can be compared.
    fn connects_all(&self) -> bool {
        self.fit.as_ref().is_none_or(|fit| fit.groups().iter().all(|group| *group == 0))
    }

    fn noise(&self) -> Option<Noise> {
        self.fit.as_ref().map(|fit| Noise {
            launch: fit.launch_sd.powi(2),
            repeat: fit.repeat_variance,
            drift: fit.drift.powi(2) / 3600.0,
        })
    }

    /// A fit of those alone that are in the race or have launches enough: where most of all
    /// have too few, jumps of the machine are looked for among these. `None` where that finds
    /// nothing more.
    fn closer(
        &self,
        launches: &[LaunchMean],
        counts: &[usize],
        leader: usize,
        is_in: impl Fn(usize) -> bool,
    ) -> Option<Self> {
        let whole = self.fit.as_ref()?;
        if whole.enough_for_jumps || whole.p_calm > 0.5 {
            return None;
        }
        let near = |arm: usize| {
            arm == leader || (is_in(arm) && self.rival(arm, leader).is_some_and(|it| it.is_near()))
        };
        let arms: Vec<usize> =
            self.arms.iter().copied().filter(|&arm| counts[arm] >= ENOUGH || near(arm)).collect();
        let closer = Self::of(launches, arms)?;
        // What connects the others must not be among those that are left out.
        let is_as_connected = closer.connects_all() || !self.connects_all();
        let finds = closer.fit.as_ref().is_some_and(|fit| !fit.jumps.is_empty());
        (finds && is_as_connected).then_some(closer)
    }
}

/// The launches of these configurations, by place.
fn only(launches: &[LaunchMean], arms: &[usize]) -> Vec<LaunchMean> {
    let placed = launches.iter().filter_map(|it| {
        let configuration = arms.iter().position(|arm| *arm == it.configuration)?;
        Some(LaunchMean { configuration, ..*it })
    });
    placed.collect()
}

/// A configuration that is not fitted, and how much worse it is than another one that is.
struct Far {
    configuration: usize,
    than: usize,
    by: f64,
}

/// The configurations that are fitted: what was launched more than once, since it shows what
/// the machine did, and the best of the others that are not out or may be so by mistake. The
/// rest is compared with the last of these.
fn fitted(
    launches: &Launches,
    counts: &[usize],
    eligible: &[Eligible],
    keeps: &[f64],
) -> (Vec<usize>, Vec<Far>) {
    let counts_for = |arm: usize| eligible[arm].is_in() || keeps[arm] >= MAY_KEEP;
    let arms = 0..counts.len();
    let mut all: Vec<usize> = arms.clone().filter(|arm| counts[*arm] > 1).collect();
    let once: Vec<usize> = arms.filter(|arm| counts[*arm] == 1 && counts_for(*arm)).collect();
    let room = FITTED.saturating_sub(all.len()).max(1);
    let mut far = Vec::new();
    if once.len() <= room {
        all.extend(once);
    } else {
        let level = level(launches, &all, once.first().copied());
        let own = launches.means.iter().filter(|it| once.contains(&it.configuration));
        let mut rough: Vec<(f64, usize)> =
            own.map(|it| (it.mean - level(it), it.configuration)).collect();
        rough.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (last, than) = rough[room - 1];
        let beyond = rough.split_off(room).into_iter().filter(|(_, arm)| eligible[*arm].is_in());
        far.extend(beyond.map(|(it, configuration)| Far { configuration, than, by: it - last }));
        all.extend(rough.into_iter().map(|(_, arm)| arm));
    }
    all.sort_unstable();
    (all, far)
}

/// Adds what is not fitted: as far behind those that are as it seems, and known no better
/// than the least known of them, of those of which anything is known.
fn add_far(rivals: &mut Vec<Rival>, out: &[Rival], far: &[Far]) {
    let known = rivals.iter().map(|it| it.error).filter(|it| it.is_finite());
    let error = known.reduce(f64::max).unwrap_or(f64::INFINITY);
    let than = |than: usize| rivals.iter().chain(out).find(|it| it.configuration == than);
    let found: Vec<Rival> = far
        .iter()
        .filter(|_| !rivals.is_empty())
        .map(|it| {
            let other = than(it.than);
            let error = other.map_or(error, |other| error.max(other.error));
            let gap = other.map_or(0.0, |other| other.gap) + it.by;
            Rival { configuration: it.configuration, gap, error }
        })
        .collect();
    rivals.extend(found);
    rivals.sort_by_key(|it| it.configuration);
}

/// The machine's level at any launch, as what was launched more than once on its host shows
/// it; 0 where nothing was on any.
fn level(
    launches: &Launches,
    again: &[usize],
    another: Option<usize>,
) -> impl Fn(&LaunchMean) -> f64 + use<> {
    let mut arms = again.to_vec();
    if let [_] = again {
        // A fit needs two, and one that was launched once changes nothing in it.
        arms.extend(another);
    }
    let own = only(&launches.means, &arms);
    let found = fit(&own, arms.len(), MAX_JUMPS).filter(|_| !again.is_empty());
    let levels = found.map(|fit| fit.levels(&own)).unwrap_or_default();
    let known: Vec<(usize, f64, f64)> =
        own.iter().zip(levels).map(|(it, level)| (it.host, it.time, level)).collect();
    let offset = offsets(launches, &known);
    move |launch| {
        let of_host = || known.iter().filter(|it| it.0 == launch.host);
        let before = of_host().take_while(|it| it.1 < launch.time).last();
        let after = of_host().find(|it| it.1 >= launch.time);
        match (before, after) {
            (Some(&(_, t0, l0)), Some(&(_, t1, l1))) if t1 > t0 => {
                l0 + (l1 - l0) * (launch.time - t0) / (t1 - t0)
            }
            (Some(&(_, _, level)), _) | (None, Some(&(_, _, level))) => level,
            (None, None) => offset.get(&launch.host).copied().unwrap_or_default(),
        }
    }
}

/// The levels of hosts of which no launch is among the `known` ones, roughly: their launches
/// are as good on average as those of the other hosts. Nothing with one host.
fn offsets(launches: &Launches, known: &[(usize, f64, f64)]) -> BTreeMap<usize, f64> {
    if !launches.has_several_hosts() {
        return BTreeMap::new();
    }
    let mut by_host: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
    for launch in &launches.means {
        let (sum, count) = by_host.entry(launch.host).or_default();
        (*sum, *count) = (*sum + launch.mean, *count + 1.0);
    }
    // What launches are above their host's level on average, where that is known.
    let (mut above, mut hosts) = (0.0, 0.0);
    for (host, (sum, count)) in &by_host {
        let levels: Vec<f64> = known.iter().filter(|it| it.0 == *host).map(|it| it.2).collect();
        if !levels.is_empty() {
            above += sum / count - levels.iter().sum::<f64>() / levels.len() as f64;
            hosts += 1.0;
        }
    }
    let above = if hosts > 0.0 { above / hosts } else { 0.0 };
    by_host.into_iter().map(|(host, (sum, count))| (host, sum / count - above)).collect()
}
