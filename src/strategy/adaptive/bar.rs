//! Where a launch is behind after its first kept repeat: by more than some standard errors of the
//! gap, as the noise of launches and repeats is known. The leader is compared as it was measured,
//! without the machine's level: a launch that is judged wrongly loses repeats, not its place.

use super::super::{Bar, Observation, Task};
use super::eligible::{Eligible, Judged};
use super::observed::{Launches, Scale};
use crate::statistics::{Components, GroupedValues, LaunchMean, Prior};

/// Standard errors behind the leader from which further repeats are not worth their time in a
/// race.
pub(super) const BEHIND: f64 = 1.5;

/// The bar for the next launch of a configuration, so many standard errors behind the leader;
/// `None` where no ratio can be taken, while the leader may break a bound, and where there were
/// several hosts.
pub(crate) fn bar(
    task: &Task,
    observations: &[&Observation],
    configuration: usize,
    behind: f64,
) -> Option<Bar> {
    if task.baseline == Some(configuration) {
        return None;
    }
    let launches = Launches::of(task, observations);
    // On a slower host everything is behind what was measured on another one.
    if launches.scale != Scale::Logs || launches.has_several_hosts() {
        return None;
    }
    let eligible = Judged::of(task, observations).eligible;
    let known = (0..task.configurations).filter_map(|arm| Some((arm, launches.mean(arm)?)));
    let in_race = known.filter(|(arm, _)| eligible[*arm].is_in());
    let (leader, mean) = in_race.min_by(|a, b| a.1.total_cmp(&b.1))?;
    if leader == configuration || eligible[leader] != Eligible::Yes {
        return None;
    }
    let of_leader = launches.means.iter().filter(|it| it.configuration == leader);
    let repeats: u32 = of_leader.map(|it| it.repeats).sum();
    let within = repeat_variance(&launches.means);
    let between = launch_variance(&launches.means, task.configurations, within);
    let error = (within + within / f64::from(repeats) + 2.0 * between).sqrt();
    let value = launches.scale.back(mean + behind * error, task.goal);
    Some(Bar { value, repeats: 1 })
}

/// Variance of a repeat within a launch, pooled with its prior.
fn repeat_variance(launches: &[LaunchMean]) -> f64 {
    let Prior { repeat_sd, repeat_df, .. } = Prior::LOG;
    let degrees = |it: &LaunchMean| f64::from(it.repeats - 1);
    let squares: f64 = launches.iter().map(|it| it.variance * degrees(it)).sum();
    let total: f64 = launches.iter().map(degrees).sum();
    (repeat_sd.powi(2) * repeat_df + squares) / (repeat_df + total)
}

/// Variance between launches of one configuration beyond that of their repeats (`within`),
/// not below its prior.
fn launch_variance(launches: &[LaunchMean], configurations: usize, within: f64) -> f64 {
    let arm = |arm: usize| {
        let own = launches.iter().filter(|it| it.configuration == arm);
        GroupedValues::new(own.map(|it| vec![it.mean]).collect())
    };
    let arms: Vec<GroupedValues> = (0..configurations).map(arm).collect();
    let means = Components::pool(&arms, Prior { repeat_sd: 0.0, ..Prior::LOG }).launch_variance;
    let share = launches.iter().map(|it| 1.0 / f64::from(it.repeats)).sum::<f64>();
    (means - within * share / launches.len() as f64).max(Prior::LOG.launch_sd.powi(2))
}
