//! Which launches belong to which configuration, and which of their values
//! count. An arm is what really ran: two configurations whose requested flags,
//! overlaid with what is proven of the server, are equal are one arm.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::configuration::{Configuration, canonical};
use crate::history::launch::{FailureClass, LaunchOutcome};
use crate::history::record::{LaunchRecord, SweepRecord};
use crate::history::values::{kept, number, timed, value};
use crate::metric::{Counted, MetricRef};
use crate::server::effective::{FlagProof, one_spelling};
use crate::statistics::Share;

/// A flag that ran with another value than the requested one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OverriddenFlag {
    /// Its name.
    pub flag: String,
    /// The value asked for; `None` where the flag was not passed.
    pub requested: Option<Value>,
    /// The value that the server shows.
    pub shown: Option<Value>,
}

impl fmt::Display for OverriddenFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text =
            |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), canonical);
        write!(f, "{}={} (asked: {})", self.flag, text(&self.shown), text(&self.requested))
    }
}

/// A configuration and the launches that its figures come from.
#[derive(Debug)]
pub(super) struct Arm<'a> {
    pub(super) configuration: &'a Configuration,
    /// Its own launches, and those of the configurations that are it in truth.
    pub(super) launches: Vec<&'a LaunchRecord>,
    /// Flags that were not honoured.
    pub(super) overrides: Vec<OverriddenFlag>,
    /// Indices of the configurations that ran as this one.
    pub(super) further: Vec<usize>,
    /// Index of the configuration that this one ran as.
    pub(super) same_as: Option<usize>,
}

/// One arm per configuration, in the manifest's order. Launches that confirm something are
/// not of the ranking: what they are for is one comparison.
///
/// Of configurations that ran as one, the baseline has the launches of all names, else
/// the first that asked for what ran; the others point to it. Where no configuration
/// asked for what ran, each keeps its own launches.
pub(super) fn arms(sweep: &SweepRecord) -> Vec<Arm<'_>> {
    let mut by_name: BTreeMap<&str, Vec<&LaunchRecord>> = BTreeMap::new();
    for launch in sweep.own_launches() {
        by_name.entry(&launch.configuration).or_default().push(launch);
    }
    let mut arms: Vec<Arm<'_>> = sweep
        .manifest
        .configurations
        .iter()
        .map(|configuration| {
            let launches = by_name.remove(configuration.name.as_str()).unwrap_or_default();
            let overrides = overrides(configuration, &launches);
            Arm { configuration, launches, overrides, further: Vec::new(), same_as: None }
        })
        .collect();
    let asked: BTreeSet<&str> =
        arms.iter().flat_map(|arm| arm.configuration.flags.keys()).map(String::as_str).collect();
    let mut equal: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, arm) in arms.iter().enumerate() {
        equal.entry(as_run(arm, &asked)).or_default().push(index);
    }
    let baseline = sweep.manifest.baseline.as_deref();
    for group in equal.values().filter(|group| group.len() > 1) {
        let requested = |index: &usize| {
            let configuration = arms[*index].configuration;
            (canonical_flags(configuration), &configuration.environment, &configuration.stack)
        };
        // What asks for the same differs in something else, which no flag shows.
        if group.iter().map(requested).collect::<BTreeSet<_>>().len() < group.len() {
            continue;
        }
        let as_asked = || group.iter().copied().filter(|&index| arms[index].overrides.is_empty());
        let is_baseline = |index: &usize| {
            baseline.is_some_and(|name| arms[*index].configuration.answers_to(name))
        };
        let Some(owner) = as_asked().find(is_baseline).or_else(|| as_asked().next()) else {
            continue;
        };
        for &index in group.iter().filter(|&&index| index != owner) {
            arms[index].same_as = Some(owner);
            let launches = arms[index].launches.clone();
            arms[owner].launches.extend(launches);
            arms[owner].further.push(index);
        }
    }
    arms
}

fn overrides(configuration: &Configuration, launches: &[&LaunchRecord]) -> Vec<OverriddenFlag> {
    let mut found: BTreeMap<&str, OverriddenFlag> = BTreeMap::new();
    for (flag, shown) in counted(launches).flat_map(|launch| &launch.effective) {
        if shown.proof == Some(FlagProof::Overridden) {
            found.entry(flag).or_insert_with(|| OverriddenFlag {
                flag: flag.clone(),
                requested: configuration.flags.get(flag).cloned(),
                shown: shown.value.clone(),
            });
        }
    }
    found.into_values().collect()
}

/// Launches that say how the configuration runs: one whose flags did not arrive is not of it.
fn counted<'a>(launches: &[&'a LaunchRecord]) -> impl Iterator<Item = &'a LaunchRecord> {
    launches.iter().copied().filter(|launch| {
        !matches!(&launch.outcome, Some(LaunchOutcome::Failed(failure))
            if failure.class == FailureClass::FlagNotApplied)
    })
}

/// What an arm ran with of the flags that any configuration `asked` for, and its
/// environment and stack: the proven value, else the requested one.
fn as_run(arm: &Arm<'_>, asked: &BTreeSet<&str>) -> String {
    let overrides = arm.overrides.iter().map(|over| (over.flag.as_str(), over.shown.as_ref()));
    let overridden: BTreeMap<&str, Option<&Value>> = overrides.collect();
    let names: BTreeSet<&str> = asked.iter().copied().chain(overridden.keys().copied()).collect();
    let flags: BTreeMap<&str, String> = names
        .into_iter()
        .filter_map(|name| {
            let value = match overridden.get(name) {
                Some(shown) => *shown,
                None => proven(arm, name).or_else(|| arm.configuration.flags.get(name)),
            };
            let value = value.filter(|value| !value.is_null())?;
            Some((name, one_spelling(name, value)))
        })
        .collect();
    let Configuration { environment, stack, image, model, .. } = arm.configuration;
    format!("{flags:?}{environment:?}{stack:?}{image:?}{model:?}")
}

fn canonical_flags(configuration: &Configuration) -> Vec<(&str, String)> {
    let passed = configuration.flags.iter().filter(|(_, value)| !value.is_null());
    passed.map(|(name, value)| (name.as_str(), canonical(value))).collect()
}

/// The value of a flag that all launches of an arm prove, also where it was not asked for;
/// `None` where they prove nothing, or not the same.
fn proven<'a>(arm: &Arm<'a>, flag: &str) -> Option<&'a Value> {
    let mut values = counted(&arm.launches)
        .filter_map(|launch| launch.effective.get(flag))
        // What is shown without having been asked for is the engine's state.
        .filter(|shown| matches!(shown.proof, None | Some(FlagProof::Honoured | FlagProof::Passed)))
        .filter_map(|shown| shown.value.as_ref());
    let first = values.next()?;
    let spelling = one_spelling(flag, first);
    values.all(|value| one_spelling(flag, value) == spelling).then_some(first)
}

/// The values of one launch that count, each with the time at which its repeat ended.
pub(super) fn timed_values(
    launch: &LaunchRecord,
    metric: &MetricRef,
    case: &str,
) -> Vec<(Option<jiff::Timestamp>, f64)> {
    let all = timed(launch, &metric.workload, case);
    all.filter_map(|(at, m)| Some((at, value(m, &metric.name)?))).collect()
}

/// A share by its counts, of the repeats that count; `None` where a repeat that has
/// the share does not have them.
///
/// Where every launch asks the same again, repeat number *r* is the same questions
/// in each launch: their number counts once, and what was right is the mean over
/// the launches. Asking twice makes no more of them.
pub(super) fn share(
    launches: &[&LaunchRecord],
    metric: &MetricRef,
    case: &str,
    counted: Counted,
) -> Option<Share> {
    share_of(launches, metric, case, counted, |_, _| true)
}

/// The same of those repeats of a launch that are wanted.
pub(super) fn share_of(
    launches: &[&LaunchRecord],
    metric: &MetricRef,
    case: &str,
    counted: Counted,
    is_wanted: impl Fn(&LaunchRecord, u32) -> bool,
) -> Option<Share> {
    // Happened, tried and launches by repeat number.
    let mut groups: BTreeMap<u32, (f64, f64, f64)> = BTreeMap::new();
    let all = launches.iter().flat_map(|launch| {
        let repeats = kept(launch, &metric.workload, case);
        repeats.filter(|it| is_wanted(launch, it.repeat))
    });
    for m in all {
        let Some(value) = value(m, &metric.name) else { continue };
        let tried = counted.of.iter().map(|name| number(m, name)).sum::<Option<f64>>()?;
        let group = groups.entry(m.repeat).or_default();
        group.0 += (value * tried).round();
        group.1 += tried;
        group.2 += 1.0;
    }
    let (mut happened, mut tried) = (0.0, 0.0);
    for (of_happened, of_tried, passes) in groups.into_values() {
        let passes = if counted.asked_again { passes } else { 1.0 };
        happened += of_happened / passes;
        tried += of_tried / passes;
    }
    let tried = tried.floor() as u64;
    (tried > 0).then(|| Share { happened: happened.min(tried as f64), tried })
}
