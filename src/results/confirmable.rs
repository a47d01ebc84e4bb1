//! What a confirmation is to compare, and what it will take: decided and refused before
//! anything is launched, from what the sweep measured.

use std::fmt;

use super::arm::{self, Arm};
use super::bounded::ConstraintVerdict;
use super::chosen::CLAIMED_FROM;
use super::level::Level;
use super::number::whole_percent;
use super::ranked::{RankedConfiguration, Ranking};
use crate::flags::nearest_word;
use crate::grid::plan::spoken;
use crate::history::launch::LaunchOutcome;
use crate::history::record::{LaunchRecord, SweepRecord};
use crate::history::values::case_of;
use crate::metric::{MetricRef, Scale};
use crate::strategy::best_repeats;
use crate::strategy::confirm::{Cost, Expected, MAX_PAIRS, Noise, expected};

/// What a confirmation compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Name of the configuration to confirm.
    pub candidate: String,
    /// Name of the one that it is compared with.
    pub baseline: String,
    /// What a person should know of them.
    pub warnings: Vec<String>,
}

/// Why nothing can be confirmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A name that no configuration has.
    #[error("no configuration is named `{name}`{help}")]
    Unknown {
        /// The name.
        name: String,
        /// The nearest one, or all.
        help: String,
    },
    /// The grid names no baseline.
    #[error("the grid names no baseline, so there is nothing to compare with; there are {names}")]
    NoBaseline {
        /// The names that there are.
        names: String,
    },
    /// The named configuration is the baseline.
    #[error("`{0}` is what it would be compared with: name another configuration")]
    IsBaseline(String),
    /// The ranking's candidate is the baseline.
    #[error("nothing better than the baseline `{0}` was found, so there is nothing to confirm")]
    NothingBetter(String),
    /// Both ran as one.
    #[error("`{name}` ran as `{counted_as}`: both are one configuration, so name that one")]
    RanAs {
        /// What was named.
        name: String,
        /// What it ran as.
        counted_as: String,
    },
    /// There is no candidate.
    #[error("nothing could be ranked, so there is no candidate")]
    NothingRanked,
    /// Whether the ranking's candidate keeps a bound is not known.
    #[error(
        "`{name}` leads, but whether it keeps its bounds is not known from {launches} of the 3 \
         launches that this takes: nothing is confirmed"
    )]
    BoundOpen {
        /// The candidate.
        name: String,
        /// How often it was launched.
        launches: u32,
    },
    /// No ratio can be taken of the objective.
    #[error(
        "`confirm` needs a ratio, and {0} has none: it is a share or a count, or was zero. More \
         `launches` in the grid make the ranking itself more precise"
    )]
    NoRatio(MetricRef),
}

impl Refusal {
    /// The command that does what a person may want all the same; `run` is the sweep's folder as a
    /// command takes it.
    pub fn advice(&self, run: &str) -> Option<String> {
        let named = |option: &str, name: &str| {
            format!("`vllm-grid confirm {run} --{option} {}`", shell_words::quote(name))
        };
        Some(match self {
            Self::NoBaseline { .. } => {
                format!("{} compares with another configuration", named("baseline", "NAME"))
            }
            Self::NothingBetter(_) => format!(
                "{} confirms another configuration all the same",
                named("configuration", "NAME")
            ),
            Self::NothingRanked => format!(
                "`vllm-grid report {run}` says why; {} confirms a configuration all the same",
                named("configuration", "NAME")
            ),
            Self::BoundOpen { name, .. } => {
                format!("{} confirms it all the same", named("configuration", name))
            }
            _ => return None,
        })
    }
}

/// The pair that was asked for: the ranking's candidate and the grid's baseline, where
/// nothing is named.
///
/// # Errors
/// Everything that speaks against it.
pub fn pair(
    sweep: &SweepRecord,
    ranking: &Ranking,
    candidate: Option<&str>,
    baseline: Option<&str>,
) -> Result<Pair, Vec<Refusal>> {
    let mut refusals = Vec::new();
    if ranking.scale != Scale::Ratios {
        refusals.push(Refusal::NoRatio(ranking.objective.metric.clone()));
    }
    let baseline = match baseline.or(sweep.manifest.baseline.as_deref()) {
        Some(name) => named(ranking, name),
        None => Err(Refusal::NoBaseline { names: names(ranking) }),
    };
    let is_named = candidate.is_some();
    let candidate = match (candidate, &ranking.decision) {
        (Some(name), _) => named(ranking, name),
        (None, Some(decision)) => named(ranking, &decision.candidate.configuration),
        (None, None) => Err(Refusal::NothingRanked),
    };
    let (candidate, baseline) = match (candidate, baseline) {
        (Ok(candidate), Ok(baseline)) => (candidate, baseline),
        (candidate, baseline) => {
            refusals.extend(candidate.err());
            refusals.extend(baseline.err());
            return Err(refusals);
        }
    };
    if candidate.name == baseline.name {
        let name = candidate.name.clone();
        refusals.push(if is_named {
            Refusal::IsBaseline(name)
        } else {
            Refusal::NothingBetter(name)
        });
    }
    if !is_named && is_to_be_named(ranking, candidate) {
        let (name, launches) = (candidate.name.clone(), candidate.launches);
        refusals.push(Refusal::BoundOpen { name, launches });
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let mut warnings: Vec<String> =
        [candidate, baseline].into_iter().filter_map(without_rank).collect();
    warnings.extend(open_bounds(candidate));
    let (candidate, baseline) = (candidate.name.clone(), baseline.name.clone());
    Ok(Pair { candidate, baseline, warnings })
}

/// Whether a candidate is confirmed only where it is named: launches were chosen, and too few of
/// its own say whether it keeps its bounds.
pub(super) fn is_to_be_named(ranking: &Ranking, candidate: &RankedConfiguration) -> bool {
    let is_open = candidate.constraints.iter().any(|it| it.verdict != ConstraintVerdict::Holds);
    // Fresh launches show it better than any of the sweep's own.
    let too_few = (candidate.launches as usize) < CLAIMED_FROM
        && ranking.confirmed_of(&candidate.name).is_none();
    ranking.chosen.is_some() && is_open && too_few
}

/// The row that a name or an alias means.
pub(super) fn named<'a>(
    ranking: &'a Ranking,
    name: &str,
) -> Result<&'a RankedConfiguration, Refusal> {
    // What ran as another configuration has a row of its own: that comes before aliases.
    let rows = || ranking.rows.iter();
    let found = rows()
        .find(|row| row.name == name)
        .or_else(|| rows().find(|row| row.aliases.iter().any(|alias| alias == name)));
    let Some(row) = found else {
        let all: Vec<&str> = rows().map(|row| row.name.as_str()).collect();
        let help = match nearest_word(name, &all) {
            Some(near) => format!("; did you mean `{near}`?"),
            None => format!("; there are {}", names(ranking)),
        };
        return Err(Refusal::Unknown { name: name.to_owned(), help });
    };
    match row.counted_as().map(str::to_owned) {
        Some(counted_as) => Err(Refusal::RanAs { name: row.name.clone(), counted_as }),
        None => Ok(row),
    }
}

/// Names for a message, not more than a person reads.
fn names(ranking: &Ranking) -> String {
    const MOST: usize = 12;
    let mut names: Vec<&str> =
        ranking.rows.iter().take(MOST).map(|row| row.name.as_str()).collect();
    let more = ranking.rows.len().saturating_sub(MOST);
    let further = format!("{more} more");
    if more > 0 {
        names.push(&further);
    }
    names.join(", ")
}

fn without_rank(row: &RankedConfiguration) -> Option<String> {
    let reason = row.reason()?;
    Some(format!("{} has no rank in the sweep ({reason}): it is launched all the same", row.name))
}

fn open_bounds(row: &RankedConfiguration) -> Option<String> {
    let open: Vec<String> = row.all_remarks().iter().map(ToString::to_string).collect();
    (!open.is_empty()).then(|| format!("{}: {}", row.name, open.join("; ")))
}

/// What a confirmation will take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlook {
    /// Kept repeats of each launch.
    pub repeats: u32,
    /// Who says so.
    pub repeats_from: RepeatsFrom,
    /// Launches and time; `None` where the sweep does not show them.
    pub expected: Option<Expected>,
    /// The claim, as a fraction.
    pub claim: f64,
}

/// Who says how many repeats a launch has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepeatsFrom {
    /// What makes the most of the time, by what the sweep measured.
    Measured,
    /// The grid's strategy.
    Grid,
    /// The objective's workload.
    Workload,
}

/// What confirming `names` by this claim (a fraction) will take, by what the sweep
/// measured of them. `repeats` is what an earlier session of it had.
pub fn outlook(sweep: &SweepRecord, names: [&str; 2], claim: f64, repeats: Option<u32>) -> Outlook {
    let metric = &sweep.manifest.objective.metric;
    let of_metric = |kind: &str| kind == metric.workload;
    let workloads = sweep.manifest.workloads.iter();
    let fixed = workloads
        .filter(|it| of_metric(it.kind().key))
        .find_map(|it| it.repeats)
        .map(|repeats| u32::try_from(repeats).unwrap_or(u32::MAX));
    let measured = cost(sweep, names).zip(noise(sweep));
    let (repeats, repeats_from) = match (fixed, repeats, measured) {
        (Some(fixed), ..) => (fixed, RepeatsFrom::Workload),
        (None, Some(repeats), _) => (repeats, RepeatsFrom::Measured),
        (None, None, Some((cost, noise))) => (best_repeats(cost, noise), RepeatsFrom::Measured),
        (None, None, None) => (sweep.manifest.strategy.repeats(), RepeatsFrom::Grid),
    };
    let expected = measured.map(|(cost, noise)| expected(cost, noise, repeats, claim));
    Outlook { repeats, repeats_from, expected, claim }
}

/// What launches of the two cost, or those of all where none of the two was measured.
pub(super) fn cost(sweep: &SweepRecord, names: [&str; 2]) -> Option<Cost> {
    let measured =
        || sweep.own_launches().filter(|it| matches!(it.outcome, Some(LaunchOutcome::Measured)));
    let of_pair: Vec<(f64, f64)> = measured()
        .filter(|it| names.contains(&it.configuration.as_str()))
        .filter_map(cost_of)
        .collect();
    let all = if of_pair.is_empty() { measured().filter_map(cost_of).collect() } else { of_pair };
    let n = all.len() as f64;
    let sum = |read: fn(&(f64, f64)) -> f64| all.iter().map(read).sum::<f64>();
    (!all.is_empty()).then(|| Cost { boot: sum(|it| it.0) / n, repeat: sum(|it| it.1) / n })
}

/// Boot with warm-ups and stop, and one kept repeat of the whole suite, in seconds.
fn cost_of(launch: &LaunchRecord) -> Option<(f64, f64)> {
    let whole = launch.ended_at?.duration_since(launch.started_at?).as_secs_f64();
    let (mut seconds, mut repeats) = (0.0, std::collections::BTreeSet::new());
    let ends = launch.measured_at.windows(2).zip(launch.measurements.iter().skip(1));
    for (pair, measurement) in ends.filter(|(_, it)| it.repeat > 0) {
        seconds += pair[1].duration_since(pair[0]).as_secs_f64();
        repeats.insert(measurement.repeat);
    }
    (!repeats.is_empty()).then(|| ((whole - seconds).max(0.0), seconds / repeats.len() as f64))
}

/// What values of the objective differ by. Launches cost seconds of the journal, so drift
/// is in the same: a simulated machine lives `pace` seconds in each.
fn noise(sweep: &SweepRecord) -> Option<Noise> {
    let metric = &sweep.manifest.objective.metric;
    let case = case_of(&sweep.manifest, metric)?;
    let arms: Vec<Arm<'_>> = arm::arms(sweep);
    let pace = sweep.manifest.machine_pace();
    let level = if sweep.manifest.strategy.chooses() { Level::of_race } else { Level::new };
    let noise = level(&arms, metric, &case, sweep)?.noise();
    Some(Noise { drift: noise.drift * pace, ..noise })
}

impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(it) = self.expected else {
            return write!(f, "up to {} launches; how long is not known", 2 * MAX_PAIRS);
        };
        let hours = |pairs: u32| spoken(2.0 * f64::from(pairs) * it.launch_seconds);
        if let Some(reachable) = it.reachable {
            let (most, time) = (2 * MAX_PAIRS, hours(MAX_PAIRS));
            let (reached, wanted) = (whole_percent(reachable), whole_percent(self.claim / 2.0));
            return write!(
                f,
                "{time} for {most} launches, which reach about ±{reached} in place of ±{wanted}"
            );
        }
        let (low, high) = (2 * it.pairs_low, 2 * it.pairs_high);
        let launches = if low == high { format!("{low}") } else { format!("{low} to {high}") };
        write!(f, "about {} ({launches} launches)", hours(it.pairs))
    }
}
