//! What a person reads first, as data: the answers of a ranking in the order of the
//! questions. What is shown, what to use and why, whether the bounds are kept, how far to
//! trust it, what failed, what to do next. Made from the ranking alone and worded in
//! `report`; `report --format json` has it as it is here.

use std::collections::BTreeMap;

use serde::Serialize;

use super::bounded::{Bounded, ConstraintVerdict};
use super::confirmed::ConfirmedGain;
use super::decision::{Candidate, Claim, Criterion, Decision};
use super::estimate::Effect;
use super::exclusion::Exclusion;
use super::machine::{DesignLimit, Detectable, MachineReport};
use super::missing::MissingMetric;
use super::ranked::{RankedConfiguration, Ranking};
use super::reading_failed::{FailedGroup, failed};
use super::reading_next::{Hours, NextStep, explanation, next};
use super::verdict::RankingVerdict;
use crate::configuration::Configuration;
use crate::flags::argv;
use crate::history::extent::Extent;
use crate::history::record::Manifest;
use crate::metric::{Constraint, Goal, MetricRef, Scale};

/// What a reading needs besides the ranking.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The sweep's folder, as a command takes it.
    pub run: String,
    /// The grid file, as a command takes it; `None` where it is not known.
    pub grid: Option<String>,
    /// How far the sweep is; `None` where that is not known.
    pub extent: Option<Extent>,
    /// How long a confirmation takes; `None` where nothing tells.
    pub confirm: Option<Hours>,
}

/// What a person reads first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reading {
    /// Whether every figure is simulated.
    pub simulated: bool,
    /// How far the sweep is, where something of it is missing.
    pub partial: Option<Extent>,
    /// The objective's metric.
    pub metric: MetricRef,
    /// Which way is better.
    pub goal: Goal,
    /// The one sentence.
    pub result: Statement,
    /// What to use; `None` where nothing can be decided.
    #[serde(rename = "use")]
    pub choice: Option<Choice>,
    /// The bounded metrics of the candidate.
    pub bounds: Vec<Bounded>,
    /// Why nothing can be decided; empty where something can.
    pub why: Vec<Why>,
    /// How far to trust it.
    pub trust: Trust,
    /// Configurations without a rank, and launches that failed, by cause.
    pub failed: Vec<FailedGroup>,
    /// What to do.
    pub next: Vec<NextStep>,
}

/// What is shown, in one of these sentences.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Statement {
    /// A configuration is better than the baseline.
    Better {
        /// Its name.
        configuration: String,
        /// The baseline's.
        baseline: String,
        /// Whether fresh launches show it.
        confirmed: bool,
    },
    /// Fresh launches do not show that it is better.
    NotConfirmed {
        /// Its name.
        configuration: String,
        /// The baseline's.
        baseline: String,
    },
    /// No difference to the baseline is shown.
    NotShown {
        /// The baseline's name.
        baseline: String,
        /// The candidate's name.
        candidate: String,
    },
    /// The baseline is the candidate itself.
    BaselineIsBest {
        /// Its name.
        baseline: String,
        /// Ranked configurations, itself included.
        of: usize,
        /// Those that are shown to be worse.
        worse: usize,
    },
    /// The baseline has no figure to compare with.
    BaselineNotRanked {
        /// Its name.
        baseline: String,
        /// The candidate's.
        candidate: String,
        /// Why it has no rank.
        reason: Option<String>,
    },
    /// Without a baseline: one is distinguishable from all others.
    First {
        /// Its name.
        configuration: String,
        /// Ranked configurations, itself included.
        of: usize,
    },
    /// Without a baseline: several are not distinguishable.
    NotDistinguishable {
        /// Their names, best mean first.
        configurations: Vec<String>,
        /// Ranked configurations.
        of: usize,
    },
    /// One configuration alone could be ranked.
    Only {
        /// Its name.
        configuration: String,
        /// Configurations of the sweep.
        of: usize,
    },
    /// Configurations were launched once: nothing is shown of them.
    LaunchedOnce {
        /// The candidate's name.
        candidate: String,
        /// How many were launched once.
        once: u32,
        /// Ranked configurations.
        of: usize,
    },
    /// Nothing can be decided.
    NoDecision {
        /// Why not.
        cause: NoDecision,
    },
}

/// Why nothing can be decided.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum NoDecision {
    /// The sweep has no configuration.
    NoConfiguration,
    /// Nothing was measured so far.
    NotLaunched {
        /// Configurations of the sweep.
        of: usize,
    },
    /// A judged metric is missing.
    Missing(MissingMetric),
    /// All launches failed.
    AllFailed {
        /// Configurations.
        of: usize,
    },
    /// Each one breaks a bound.
    BoundsBroken {
        /// Configurations.
        of: usize,
    },
    /// Different causes: the groups of `failed` have them.
    Excluded {
        /// Configurations.
        of: usize,
    },
}

/// Why nothing can be decided.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Why {
    /// What a measurement says.
    Reason {
        /// In its own words, without what it asks for.
        text: String,
    },
    /// A bound that all break, with the configuration that is nearest to it.
    Bound {
        /// Its name.
        configuration: String,
        /// Its figure.
        bounded: Bounded,
    },
}

/// What to use.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Choice {
    /// What to use now.
    pub configuration: String,
    /// Whether it is the baseline.
    pub is_baseline: bool,
    /// What to confirm where the baseline is kept.
    pub candidate: Option<String>,
    /// The candidate compared with the baseline.
    pub gain: Option<Gain>,
    /// How the candidate is launched: what the grid varied of it.
    pub launch: Varied,
    /// Probability that the candidate is less than 5 % from the best; `None` where no
    /// probability was computed, and after a confirmation.
    pub p_within_5_percent: Option<f64>,
    /// What decided between those that are within 1 % of the best mean.
    pub criterion: Criterion,
    /// Ranked configurations within 1 % of the best mean, itself included.
    pub within_1_percent: usize,
    /// Ranked configurations.
    pub of: usize,
}

/// A gain over the baseline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gain {
    /// By how much.
    pub effect: Effect,
    /// Whether it comes from fresh launches, which did not choose the candidate.
    pub confirmed: bool,
    /// Whether the estimate is on the better side.
    pub better: bool,
}

/// What a grid varied of a configuration, as it is launched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Varied {
    /// Arguments of `vllm serve`, unquoted.
    pub arguments: Vec<String>,
    /// Flags of the baseline that are not passed.
    pub without: Vec<String>,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
}

/// How far to trust a reading.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trust {
    /// Fewest and most launches of a ranked configuration.
    pub launches: Option<(usize, usize)>,
    /// Repeats of a launch, where all have as many.
    pub repeats: Option<usize>,
    /// The smallest difference that can be seen.
    pub detectable: Option<Detectable>,
    /// The launches that confirmed, or did not.
    pub confirmation: Option<ConfirmedGain>,
    /// What the machine did.
    pub machine: Option<MachineReport>,
    /// What the design does not separate.
    pub limits: Vec<DesignLimit>,
    /// SD between launches on log scale that is assumed, since nothing was launched twice.
    pub assumed_deviation: Option<f64>,
    /// Ranked configurations that were launched once: they are in no claim.
    pub launched_once: u32,
    /// Whether a time effect was looked for: not in shares, counts, and what was zero.
    pub time_effect: bool,
    /// Judged metrics that are missing in part.
    pub missing: Vec<MissingMetric>,
}

impl Reading {
    /// The reading of a ranking.
    pub fn of(ranking: &Ranking, manifest: &Manifest, place: &Place) -> Self {
        let groups = failed(ranking, manifest);
        let last = confirmation(ranking);
        let (confirmed, pending) = (last.filter(|it| it.complete), last.filter(|it| !it.complete));
        let result = statement(ranking, confirmed, &groups);
        let decided = !matches!(result, Statement::NoDecision { .. });
        let choice = choice(ranking, manifest, confirmed).filter(|_| decided);
        let partial = place.extent.clone().filter(Extent::is_partial);
        let next = next(&result, pending, manifest, place);
        let bounds = candidate(ranking, confirmed).filter(|_| decided);
        Self {
            simulated: ranking.simulated,
            partial,
            metric: ranking.objective.metric.clone(),
            goal: ranking.objective.goal,
            bounds: bounds.map_or_else(Vec::new, |row| row.constraints.clone()),
            trust: trust(ranking, last),
            why: why(ranking, &result),
            failed: groups,
            result,
            choice,
            next,
        }
    }
}

/// The confirmation that counts: the candidate's last one, or the last one at all.
fn confirmation(ranking: &Ranking) -> Option<&ConfirmedGain> {
    let chosen = ranking.decision.as_ref().map(|it| it.candidate.configuration.as_str());
    let all = || ranking.confirmed.iter().rev();
    all().find(|it| chosen == Some(it.candidate.as_str())).or_else(|| all().next())
}

/// The row of what is used, or to be confirmed.
fn candidate<'a>(
    ranking: &'a Ranking,
    confirmed: Option<&ConfirmedGain>,
) -> Option<&'a RankedConfiguration> {
    let chosen = ranking.decision.as_ref().map(|it| it.candidate.configuration.as_str());
    let name = confirmed.map(|it| it.candidate.as_str()).or(chosen)?;
    ranking.rows.iter().find(|row| row.name == name)
}

fn statement(
    ranking: &Ranking,
    confirmed: Option<&ConfirmedGain>,
    groups: &[FailedGroup],
) -> Statement {
    let of = ranking.rows.iter().filter(|row| row.eligible).count();
    if let Some(gain) = confirmed {
        let (configuration, baseline) = (gain.candidate.clone(), gain.baseline.clone());
        return if gain.shown {
            Statement::Better { configuration, baseline, confirmed: true }
        } else {
            Statement::NotConfirmed { configuration, baseline }
        };
    }
    let Some(Decision { candidate, claim }) = &ranking.decision else {
        return Statement::NoDecision { cause: cause(ranking, groups) };
    };
    let name = || candidate.configuration.clone();
    match (claim, &ranking.verdict) {
        (Claim::Better { baseline, .. }, _) => Statement::Better {
            configuration: name(),
            baseline: baseline.clone(),
            confirmed: false,
        },
        (Claim::BaselineNotRanked { baseline, reason }, _) => {
            let lost = ranking.missing.iter().find(|missing| missing.baseline);
            match lost {
                Some(lost) => Statement::NoDecision { cause: NoDecision::Missing(lost.clone()) },
                None => Statement::BaselineNotRanked {
                    baseline: baseline.clone(),
                    candidate: name(),
                    reason: reason.clone(),
                },
            }
        }
        (_, RankingVerdict::Only { .. }) => {
            Statement::Only { configuration: name(), of: ranking.rows.len() }
        }
        (_, RankingVerdict::Insufficient { more_launches, .. }) => {
            Statement::LaunchedOnce { candidate: name(), once: *more_launches, of }
        }
        (Claim::NotShown { baseline, .. }, _) => {
            Statement::NotShown { baseline: baseline.clone(), candidate: name() }
        }
        (Claim::IsBaseline, _) => {
            let group = in_first_group(ranking);
            Statement::BaselineIsBest { baseline: name(), of, worse: of.saturating_sub(group) }
        }
        (Claim::NoBaseline, RankingVerdict::Tie { names, .. }) => {
            Statement::NotDistinguishable { configurations: names.clone(), of }
        }
        (Claim::NoBaseline, _) => Statement::First { configuration: name(), of },
    }
}

/// Configurations that are not distinguishable from rank 1, itself included.
fn in_first_group(ranking: &Ranking) -> usize {
    match &ranking.verdict {
        RankingVerdict::Tie { names, .. } => names.len(),
        _ => 1,
    }
}

fn cause(ranking: &Ranking, groups: &[FailedGroup]) -> NoDecision {
    let of = ranking.rows.len();
    if of == 0 {
        return NoDecision::NoConfiguration;
    }
    if let Some(missing) = ranking.missing.first() {
        return NoDecision::Missing(missing.clone());
    }
    let all = |excluded: &dyn Fn(&Exclusion) -> bool| {
        ranking.rows.iter().all(|row| row.exclusions.iter().any(excluded))
    };
    if ranking.rows.iter().all(|row| row.launches == 0) {
        NoDecision::NotLaunched { of }
    } else if all(&|it| matches!(it, Exclusion::Violated(_))) {
        NoDecision::BoundsBroken { of }
    } else if groups.iter().filter(|it| it.cause.is_launch()).map(|it| it.count()).sum::<usize>()
        == of
    {
        NoDecision::AllFailed { of }
    } else {
        NoDecision::Excluded { of }
    }
}

/// Why nothing can be decided, as far as `failed` does not say it.
fn why(ranking: &Ranking, result: &Statement) -> Vec<Why> {
    let Statement::NoDecision { cause } = result else { return Vec::new() };
    match cause {
        NoDecision::Missing(missing) => {
            let reason = missing.first_reason.as_deref().map(|it| explanation(it).to_owned());
            reason.map(|text| Why::Reason { text }).into_iter().collect()
        }
        NoDecision::BoundsBroken { .. } => {
            (0..ranking.constrained.len()).filter_map(|at| nearest(ranking, at)).collect()
        }
        _ => Vec::new(),
    }
}

/// The configuration whose broken bound is nearest to being kept.
fn nearest(ranking: &Ranking, at: usize) -> Option<Why> {
    let broken = |row: &&RankedConfiguration| {
        row.constraints[at].verdict == ConstraintVerdict::Violated
            && row.constraints[at].estimate.is_some()
    };
    let below = |row: &&RankedConfiguration| {
        let bounded = &row.constraints[at];
        let mean = bounded.estimate.map_or(f64::INFINITY, |it| it.mean);
        let beyond = |bound: &Constraint| {
            let over = bound.max.map_or(0.0, |max| mean - max);
            over.max(bound.min.map_or(0.0, |min| min - mean))
        };
        bounded.bounds.iter().map(beyond).fold(0.0, f64::max)
    };
    let rows = ranking.rows.iter().filter(broken);
    let row = rows.min_by(|a, b| below(a).total_cmp(&below(b)))?;
    let bounded = row.constraints[at].clone();
    Some(Why::Bound { configuration: row.name.clone(), bounded })
}

fn choice(
    ranking: &Ranking,
    manifest: &Manifest,
    confirmed: Option<&ConfirmedGain>,
) -> Option<Choice> {
    let decision = ranking.decision.as_ref();
    let row = candidate(ranking, confirmed)?;
    let of = ranking.rows.iter().filter(|row| row.eligible).count();
    let chosen: Option<&Candidate> =
        decision.map(|it| &it.candidate).filter(|it| it.configuration == row.name);
    let gain = gain(ranking, decision, confirmed);
    let kept = match (confirmed, decision.map(|it| &it.claim)) {
        (Some(confirmed), _) => (!confirmed.shown).then(|| confirmed.baseline.clone()),
        (None, Some(Claim::NotShown { baseline, .. })) => Some(baseline.clone()),
        (None, Some(Claim::BaselineNotRanked { baseline, .. })) => Some(baseline.clone()),
        _ => None,
    };
    let baseline = baseline(manifest);
    let configuration = manifest.configurations.iter().find(|it| it.name == row.name);
    Some(Choice {
        is_baseline: kept.is_some() || row.baseline,
        candidate: kept.is_some().then(|| row.name.clone()),
        configuration: kept.unwrap_or_else(|| row.name.clone()),
        gain,
        launch: configuration.map_or_else(Varied::default, |it| varied(it, baseline)),
        p_within_5_percent: chosen
            .filter(|_| confirmed.is_none())
            .and_then(|it| it.p_within_5_percent),
        criterion: chosen.map_or(Criterion::Mean, |it| it.criterion),
        within_1_percent: chosen.map_or(1, |it| it.within_1_percent),
        of,
    })
}

fn gain(
    ranking: &Ranking,
    decision: Option<&Decision>,
    confirmed: Option<&ConfirmedGain>,
) -> Option<Gain> {
    let (effect, confirmed) = match (confirmed, decision.map(|it| &it.claim)) {
        (Some(gain), _) => (gain.effect, true),
        (None, Some(Claim::Better { effect, .. } | Claim::NotShown { effect, .. })) => {
            (*effect, false)
        }
        _ => return None,
    };
    Some(Gain { effect, confirmed, better: effect.is_better(ranking.objective.goal) })
}

/// The configuration that the others are compared with.
fn baseline(manifest: &Manifest) -> Option<&Configuration> {
    let name = manifest.baseline.as_deref()?;
    manifest.configurations.iter().find(|it| it.answers_to(name))
}

/// What the grid varied of a configuration.
fn varied(configuration: &Configuration, baseline: Option<&Configuration>) -> Varied {
    let mut passed = configuration.varied.clone();
    passed.retain(|_, value| !value.is_null());
    let dropped = |flag: &&String| {
        let known = baseline.is_some_and(|baseline| baseline.flags.contains_key(flag));
        known && !configuration.flags.contains_key(flag)
    };
    let null = configuration.varied.iter().filter(|(_, value)| value.is_null());
    Varied {
        arguments: argv(&passed),
        without: null.map(|(flag, _)| flag).filter(dropped).cloned().collect(),
        environment: configuration.environment.clone(),
    }
}

fn trust(ranking: &Ranking, confirmed: Option<&ConfirmedGain>) -> Trust {
    let estimates = || {
        ranking
            .rows
            .iter()
            .filter(|row| row.eligible)
            .filter_map(|row| row.estimates.first().copied().flatten())
    };
    let launches = estimates().map(|it| it.launches);
    let each: Vec<Option<usize>> = estimates()
        .map(|it| {
            (it.launches > 0 && it.repeats % it.launches == 0).then(|| it.repeats / it.launches)
        })
        .collect();
    let same =
        each.first().copied().flatten().filter(|one| each.iter().all(|it| *it == Some(*one)));
    let once = estimates().filter(|it| it.launches < 2).count();
    let all_once = once > 0 && once == estimates().count();
    let machine = ranking.machine.as_ref();
    let decided = ranking.decision.is_some();
    Trust {
        launches: launches.clone().min().zip(launches.max()),
        repeats: same,
        detectable: ranking.detectable,
        confirmation: confirmed.cloned(),
        machine: machine.cloned(),
        limits: machine.map_or_else(Vec::new, |it| it.limits.clone()),
        assumed_deviation: ranking.deviations.filter(|_| all_once).map(|(launch, _)| launch),
        launched_once: once as u32,
        time_effect: !decided || machine.is_some() || ranking.scale == Scale::Ratios,
        missing: ranking.missing.clone(),
    }
}
