//! Several hosts in one sweep: which configurations hosts connect, so that they can be
//! compared at all, and how fast each host was. Each host is a block with a level of its own;
//! what is estimated of it is in `statistics`.

use std::fmt;

use serde::Serialize;

use super::arm::{self, Arm};
use super::number;
use crate::history::record::SweepRecord;
use crate::metric::{MetricRef, Scale};
use crate::statistics::{Interval, LaunchMean, MachineFit, connected};

/// What one of several hosts did while the objective was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HostReport {
    /// The host, as the journal names it.
    pub host: String,
    /// Its launches with a value.
    pub launches: usize,
    /// Probability that its speed neither drifts nor jumps.
    pub p_calm: f64,
    /// Its fastest launch over its slowest, configurations taken out; `None` of fewer than two.
    pub speed_range: Option<f64>,
    /// Compared with the fastest host; `None` of that one, where the interval does not show
    /// that this one is slower, and where no chain of common configurations connects the two.
    pub slower: Option<Slower>,
}

/// By how much a host is slower than another one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Slower {
    /// The slower one.
    pub host: String,
    /// The faster one.
    pub than: String,
    /// How much worse the objective is on it, as a fraction: a time of 1.31 times, or a rate of
    /// 0.69 times, is 0.31.
    pub by: f64,
    /// 95 %.
    pub interval: Interval,
}

impl fmt::Display for Slower {
    /// `host b is 31 % slower than host a [27 %, 35 %]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, than, by, interval } = self;
        let [by, low, high] = [*by, interval.low, interval.high].map(number::whole_percent);
        write!(f, "host {host} is {by} slower than host {than} [{low}, {high}]")
    }
}

/// The index of a host among those that are known so far, which it is added to.
pub(super) fn index(hosts: &mut Vec<String>, host: &str) -> usize {
    hosts.iter().position(|known| known == host).unwrap_or_else(|| {
        hosts.push(host.to_owned());
        hosts.len() - 1
    })
}

/// By arm, the first one that a chain of common hosts connects it with, by launches with a
/// value; none where all ran on one host, and where the objective does not depend on it.
pub(super) fn groups(
    sweep: &SweepRecord,
    arms: &[Arm<'_>],
    metric: &MetricRef,
    case: Option<&str>,
) -> Vec<usize> {
    let known = metric.known().map(|known| known.scale);
    let Some(case) = case.filter(|_| !matches!(known, Some(Scale::Share(it)) if it.asked_again))
    else {
        return Vec::new();
    };
    let (mut hosts, mut ran) = (Vec::new(), Vec::new());
    for (arm, own) in arms.iter().enumerate() {
        let gave = own.launches.iter().filter(|it| !arm::timed_values(it, metric, case).is_empty());
        ran.extend(gave.map(|it| (arm, index(&mut hosts, sweep.host_of(it)))));
    }
    if hosts.len() < 2 { Vec::new() } else { connected(arms.len(), ran) }
}

/// What each host did, in the order in which they are known.
pub(super) fn reports(
    fit: &MachineFit,
    launches: &[LaunchMean],
    hosts: &[String],
    more_is_better: bool,
) -> Vec<HostReport> {
    let worse = |a: usize, b: usize| {
        let (difference, error) = fit.between_hosts(launches, a, b)?;
        let difference = if more_is_better { -difference } else { difference };
        Some((difference, error))
    };
    let is_faster = |a: usize, b: usize| worse(a, b).is_some_and(|(by, _)| by < 0.0);
    // By how much the objective is worse, of the logarithm of its ratio.
    let by = |log: f64| if more_is_better { -(-log).exp_m1() } else { log.exp_m1() };
    let report = |host: usize| {
        let faster = (0..hosts.len()).filter(|other| is_faster(*other, host));
        let fastest = faster.reduce(|a, b| if is_faster(b, a) { b } else { a });
        let slower = fastest.and_then(|than| {
            let (log, error) = worse(host, than)?;
            let deviation = error.variance.sqrt();
            let interval = Interval::around(log, deviation, error.degrees_of_freedom);
            (interval.low > 0.0).then(|| Slower {
                host: hosts[host].clone(),
                than: hosts[than].clone(),
                by: by(log),
                interval: Interval { low: by(interval.low), high: by(interval.high) },
            })
        });
        HostReport {
            host: hosts[host].clone(),
            launches: launches.iter().filter(|it| it.host == host).count(),
            p_calm: fit.p_calm_of(host),
            speed_range: fit.state_of(launches, host).map(|state| state.range),
            slower,
        }
    };
    (0..hosts.len()).map(report).collect()
}
