//! Makes a [`Reading`] from a ranking: what each of its parts says is decided here.

use super::confirmation;
use super::failed::{Cause, FailedGroup, failed, unfinished};
use super::next::{After, explanation, names_failed, next};
use super::{
    Behind, Choice, FewLaunches, Gain, NamedRemark, NoDecision, Place, Reading, Statement, Trust,
    Varied, Why,
};
use crate::configuration::Configuration;
use crate::flags::argv;
use crate::history::extent::{Extent, State};
use crate::history::record::Manifest;
use crate::metric::{Constraint, Scale};
use crate::results::bounded::ConstraintVerdict;
use crate::results::chosen::CLAIMED_FROM;
use crate::results::confirmed::{ConfirmedGain, Unfit};
use crate::results::decision::{Candidate, Claim, Criterion, Decision};
use crate::results::disturbance::Undecided;
use crate::results::estimate::Effect;
use crate::results::exclusion::Exclusion;
use crate::results::missing::MissingMetric;
use crate::results::ranked::{RankedConfiguration, Ranking};
use crate::results::remark::Remark;
use crate::results::verdict::RankingVerdict;

impl Reading {
    /// The reading of a ranking.
    pub fn of(ranking: &Ranking, manifest: &Manifest, place: &Place) -> Self {
        let groups = failed(ranking, manifest, place.exported);
        let (confirmed, begun) = (ranking.confirmation(), ranking.without_result());
        let result = statement(ranking, confirmed, &groups);
        let decided = !matches!(result, Statement::NoDecision { .. });
        let choice = choice(ranking, manifest, confirmed).filter(|_| decided);
        let runs = place.extent.as_ref().is_some_and(|it| it.state == State::Running);
        let partial = place.extent.clone().filter(Extent::is_partial);
        let next = next(
            &result,
            &After {
                ranking,
                groups: &groups,
                confirmed,
                begun,
                manifest,
                place,
                cold: is_cold(ranking),
            },
        );
        let advised = |group: &FailedGroup| !is_said(group, &result) || names_failed(&next);
        let row = candidate(ranking, confirmed).filter(|_| decided);
        Self {
            simulated: ranking.simulated,
            run: place.run.clone(),
            partial,
            unfinished: unfinished(ranking, runs),
            production: place.production.clone(),
            metric: ranking.objective.metric.clone(),
            goal: ranking.objective.goal,
            front: ranking.front.clone(),
            bounds: row.map_or_else(Vec::new, |row| confirmation::bounds(row, confirmed)),
            trust: trust(ranking, confirmed.or(begun)),
            why: why(ranking, &result),
            confirmable: ranking.scale == Scale::Ratios,
            failed: groups.iter().filter(|it| advised(it)).cloned().collect(),
            result,
            choice,
            next,
        }
    }
}

/// Whether the result says of a group what is to be said.
fn is_said(group: &FailedGroup, result: &Statement) -> bool {
    match (result, &group.cause) {
        (
            Statement::NoDecision { cause: NoDecision::Missing(missing) },
            Cause::NotMeasured { metric } | Cause::Values { metric },
        ) => missing.metric == *metric,
        (
            Statement::NoDecision { cause: NoDecision::BoundsBroken { .. } },
            Cause::BoundBroken { .. },
        ) => true,
        _ => false,
    }
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
    let ranked = ranking.rows.iter().filter(|row| row.eligible).count();
    let unclaimed = ranking.chosen.as_ref().map_or(0, |it| it.unclaimed);
    // What is shown is shown of these.
    let of = ranked - unclaimed;
    if let Some(gain) = confirmed {
        return confirmation::statement(ranking, gain);
    }
    let Some(Decision { candidate, claim }) = &ranking.decision else {
        return Statement::NoDecision { cause: cause(ranking, groups) };
    };
    if let Some(configurations) = not_carried(ranking, candidate, claim) {
        return Statement::NoDecision { cause: NoDecision::NotCarried { configurations } };
    }
    let name = || candidate.configuration.clone();
    match (claim, &ranking.verdict) {
        (Claim::Better { baseline, .. }, _) => Statement::Better {
            configuration: name(),
            baseline: baseline.clone(),
            confirmed: false,
            open: Vec::new(),
        },
        (Claim::BaselineNotRanked { baseline, reason }, _) => {
            match excluded_by_missing(ranking, |row| row.name == *baseline) {
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
            Statement::LaunchedOnce { candidate: name(), once: *more_launches, of: ranked }
        }
        (Claim::TooFewLaunches { .. }, _) | (_, RankingVerdict::Unclaimed { .. }) => {
            no_claim(ranking, candidate, claim, ranked)
        }
        (Claim::NotShown { baseline, .. }, _) => {
            Statement::NotShown { baseline: baseline.clone(), candidate: name() }
        }
        (Claim::IsBaseline, _) => {
            let group = in_first_group(ranking);
            // p-values are of rank 1, and the baseline can be another one of the first.
            let best = ranking.rows.first().map(|row| row.name.clone());
            let (best, worse) = (best.filter(|it| *it != name()), of.saturating_sub(group));
            let behind = behind(ranking, group).filter(|_| best.is_none());
            Statement::BaselineIsBest { baseline: name(), of, unclaimed, worse, best, behind }
        }
        (Claim::NoBaseline, RankingVerdict::Tie { names, .. }) => {
            Statement::NotDistinguishable { configurations: names.clone(), of, unclaimed }
        }
        (Claim::NoBaseline, _) => Statement::First { configuration: name(), of, unclaimed },
    }
}

/// Where launches were chosen and too few have enough of them.
fn no_claim(ranking: &Ranking, candidate: &Candidate, claim: &Claim, of: usize) -> Statement {
    let needed = ranking.chosen.as_ref().map_or(CLAIMED_FROM, |it| it.claimed_from);
    let baseline = match claim {
        Claim::TooFewLaunches { baseline, .. } | Claim::NotShown { baseline, .. } => {
            Some(baseline.clone())
        }
        _ => None,
    };
    let launches = |name: &String| {
        let row = ranking.rows.iter().find(|row| row.name == *name)?;
        row.estimates.first()?.map(|it| it.launches)
    };
    let of_claim = |name: &String| match claim {
        Claim::TooFewLaunches { of_candidate, .. } if *name == candidate.configuration => {
            Some(*of_candidate)
        }
        // It may have run as another one, whose launches count.
        Claim::TooFewLaunches { of_baseline, .. } => Some(*of_baseline),
        _ => launches(name),
    };
    let named = std::iter::once(&candidate.configuration).chain(&baseline);
    let few = named.filter_map(|name| {
        let launches = of_claim(name).filter(|launches| *launches < needed)?;
        Some(FewLaunches { configuration: name.clone(), launches })
    });
    Statement::NoClaim {
        few: few.collect(),
        needed,
        unclaimed: ranking.chosen.as_ref().map_or(0, |it| it.unclaimed),
        of,
        candidate: candidate.configuration.clone(),
        baseline,
    }
}

/// The best one that is not of the first group, compared with the baseline.
fn behind(ranking: &Ranking, group: usize) -> Option<Behind> {
    let in_claims = |row: &&RankedConfiguration| row.eligible && ranking.is_in_claims(row);
    let row = ranking.rows.iter().filter(in_claims).nth(group)?;
    Some(Behind { configuration: row.name.clone(), effect: row.effect()? })
}

/// Those between which the measurement decides nothing; `None` where it decides, and where it
/// shows the candidate to be better than the baseline all the same.
fn not_carried(ranking: &Ranking, candidate: &Candidate, claim: &Claim) -> Option<Vec<String>> {
    match (claim, &ranking.verdict) {
        (Claim::Better { .. }, _) => None,
        (_, RankingVerdict::Undecided { names, .. }) => Some(names.clone()),
        (Claim::NotShown { baseline, .. }, _) if !ranking.overruled.is_empty() => {
            Some(vec![candidate.configuration.clone(), baseline.clone()])
        }
        _ => None,
    }
}

/// The metric for whose missing values some of these rows have no rank, the objective first.
fn excluded_by_missing(
    ranking: &Ranking,
    of: impl Fn(&RankedConfiguration) -> bool,
) -> Option<&MissingMetric> {
    ranking.missing.iter().find(|missing| {
        let excludes = |exclusion: &Exclusion| match exclusion {
            Exclusion::NotMeasured { metric, .. } => *metric == missing.metric,
            Exclusion::MissingValues(values) => values.metric == missing.metric,
            _ => false,
        };
        let rows = ranking.rows.iter().filter(|row| of(row));
        let mut lacking = rows.filter(|row| missing.configurations.contains(&row.name));
        lacking.any(|row| row.exclusions.iter().any(excludes))
    })
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
    let all = |excluded: &dyn Fn(&Exclusion) -> bool| {
        ranking.rows.iter().all(|row| row.exclusions.iter().any(excluded))
    };
    if let Some(unswept) = ranking.unswept {
        NoDecision::Unswept(unswept)
    } else if ranking.rows.iter().all(|row| row.launches == 0) {
        NoDecision::NotLaunched { of }
    } else if all(&|it| matches!(it, Exclusion::Violated { .. })) {
        NoDecision::BoundsBroken { of }
    } else if groups.iter().filter(|it| it.cause.is_launch()).map(FailedGroup::count).sum::<usize>()
        == of
    {
        let skipped = groups.iter().filter(|it| matches!(it.cause, Cause::Skipped { .. }));
        NoDecision::AllFailed { of, not_launched: skipped.map(FailedGroup::count).sum() }
    } else if let Some(missing) = excluded_by_missing(ranking, |_| true) {
        NoDecision::Missing(missing.clone())
    } else {
        NoDecision::Excluded { of }
    }
}

/// Why nothing can be decided, as far as `failed` does not say it, and what a gate found.
fn why(ranking: &Ranking, result: &Statement) -> Vec<Why> {
    if let Statement::Unfit { cause: Unfit::GateFailed { message }, .. } = result {
        return vec![Why::Reason { text: message.clone() }];
    }
    let Statement::NoDecision { cause } = result else { return Vec::new() };
    match cause {
        NoDecision::Missing(missing) => {
            let reason = missing.first_reason.as_deref().map(|it| explanation(it).to_owned());
            reason.map(|text| Why::Reason { text }).into_iter().collect()
        }
        NoDecision::BoundsBroken { .. } => {
            (0..ranking.constrained.len()).filter_map(|at| nearest(ranking, at)).collect()
        }
        NoDecision::NotCarried { .. } => {
            let causes = ranking.not_decided_by().into_iter();
            // What happened, and why that counts, are two sentences.
            let texts = causes.map(ToString::to_string);
            let parts = |text: String| -> Vec<String> {
                match text.rsplit_once(", and ") {
                    Some((what, why)) => vec![what.to_owned(), why.to_owned()],
                    None => vec![text],
                }
            };
            texts.flat_map(parts).map(|text| Why::Reason { text }).collect()
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
    // Neither of the two is to be used then.
    let is_none = |it: &ConfirmedGain| it.is_refuted() && ranking.not_kept(&it.baseline).is_some();
    if confirmed.is_some_and(is_none) {
        return None;
    }
    let of = ranking.rows.iter().filter(|row| row.eligible).count();
    let chosen: Option<&Candidate> =
        decision.map(|it| &it.candidate).filter(|it| it.configuration == row.name);
    let gain = gain(ranking, decision, confirmed);
    let kept = match (confirmed, decision.map(|it| &it.claim)) {
        (Some(confirmed), _) => {
            let is_kept =
                !confirmed.is_confirmed() && ranking.not_kept(&confirmed.baseline).is_none();
            is_kept.then(|| confirmed.baseline.clone())
        }
        (None, Some(Claim::NotShown { baseline, .. } | Claim::TooFewLaunches { baseline, .. })) => {
            Some(baseline.clone())
        }
        // Nothing speaks against it yet.
        (None, Some(Claim::BaselineNotRanked { baseline, .. })) if ranking.is_pending(baseline) => {
            Some(baseline.clone())
        }
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
        passed_over: chosen.filter(|_| confirmed.is_none()).and_then(|it| it.passed_over.clone()),
        of,
        all_zero: ranking.all_zero,
    })
}

fn gain(
    ranking: &Ranking,
    decision: Option<&Decision>,
    confirmed: Option<&ConfirmedGain>,
) -> Option<Gain> {
    let (effect, confirmed) = match (confirmed, decision.map(|it| &it.claim)) {
        (Some(gain), _) => (Effect::Ratio(gain.effect?), true),
        (None, Some(Claim::Better { effect, .. })) => (*effect, false),
        (None, Some(Claim::NotShown { effect, .. } | Claim::TooFewLaunches { effect, .. })) => {
            ((*effect)?, false)
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
        stack: configuration.stack.clone(),
    }
}

/// SD between launches on log scale that is assumed while nothing was launched twice.
fn assumed(ranking: &Ranking) -> Option<f64> {
    let pooled = ranking.components.filter(|it| it.launch_assumed);
    let pooled = pooled.map(|it| it.launch_variance.sqrt());
    ranking.deviations.map(|(launch, _)| launch).or(pooled)
}

/// Results of the same pair that are older than this one.
fn before(ranking: &Ranking, this: &ConfirmedGain) -> Vec<ConfirmedGain> {
    let same = |it: &&ConfirmedGain| {
        it.candidate == this.candidate && it.baseline == this.baseline && it.number < this.number
    };
    ranking.confirmed.iter().filter(same).filter(|it| it.is_result()).cloned().collect()
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
    let meanwhile = confirmed.filter(|it| it.is_result()).and_then(|it| it.machine.as_ref());
    let machine = meanwhile.or(ranking.machine.as_ref());
    Trust {
        launches: launches.clone().min().zip(launches.max()),
        chosen: ranking.chosen.clone(),
        repeats: same,
        detectable: ranking.detectable.filter(|it| !is_wider(ranking, it.difference)),
        confirmation: confirmed.cloned(),
        confirmed_before: confirmed.map_or_else(Vec::new, |it| before(ranking, it)),
        machine: machine.cloned(),
        witness: ranking.witness.clone().filter(|_| meanwhile.is_none()),
        limits: machine.map_or_else(Vec::new, |it| it.limits.clone()),
        assumed_deviation: assumed(ranking).filter(|_| all_once),
        launched_once: once as u32,
        time_effect: machine.is_some(),
        not_counted: ranking.not_counted.clone(),
        taken: ranking.taken.clone(),
        replaced: ranking.replaced.clone(),
        gated: ranking.gated.clone(),
        missing: ranking.missing.clone(),
        remarks: if meanwhile.is_some() { Vec::new() } else { named_remarks(ranking) },
    }
}

/// A first kept repeat that is worse by this changes what is to be done next; less is a
/// remark below the table.
const COLD: f64 = 1.25;

/// What the means of the candidate and the baseline hide.
fn named_remarks(ranking: &Ranking) -> Vec<NamedRemark> {
    let candidate = ranking.decision.as_ref().map(|it| &it.candidate.configuration);
    let hidden = |it: &Remark| match it {
        Remark::SlowFirstRepeat { ratio } => *ratio >= COLD,
        Remark::TwoGroups { .. } | Remark::LoopsUnderLoad(_) => true,
        _ => false,
    };
    let named =
        |row: &&RankedConfiguration| row.eligible && (row.baseline || Some(&row.name) == candidate);
    let of = |row: &RankedConfiguration| -> Vec<NamedRemark> {
        let remarks = row.remarks.iter().filter(|it| hidden(it)).cloned();
        remarks.map(|remark| NamedRemark { configuration: row.name.clone(), remark }).collect()
    };
    ranking.rows.iter().filter(named).flat_map(of).collect()
}

/// Whether the result rests on a coarser limit than this, found by the launches alone: two
/// figures for what can be seen would contradict each other.
fn is_wider(ranking: &Ranking, difference: f64) -> bool {
    ranking.not_decided_by().iter().any(|cause| {
        matches!(cause, Undecided::TooWide { factor, .. } if *factor > 1.0 + difference + 1e-9)
    })
}

/// Whether the first kept repeats of the candidate or the baseline were not warm yet.
fn is_cold(ranking: &Ranking) -> bool {
    named_remarks(ranking).iter().any(|it| matches!(it.remark, Remark::SlowFirstRepeat { .. }))
}
