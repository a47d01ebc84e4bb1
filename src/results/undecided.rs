//! When a comparison is not decided although it was measured: where others saturated the
//! host and the design cannot separate that from a configuration, where they met one
//! configuration only, where the client itself was late, where configurations ran on hosts that
//! nothing connects, or where even a large difference would not have been seen. Being marked alone condemns nothing: on a machine that others
//! use evenly, configurations can be compared.

use super::disturbance::{DisturbedRepeats, Inseparable, LateRepeats, Undecided};
use super::disturbance::{late_repeats, of_arm};
use super::evidence::Evidence;
use super::machine::{Conclusion, Detectable, MachineReport};
use super::ranked::RankedConfiguration;
use super::verdict::RankingVerdict;
use crate::metric::Scale;

/// Part of a configuration's repeats from which they can decide its mean.
const QUARTER: f64 = 0.25;
/// Difference of the marked parts of two configurations that makes them incomparable.
const UNEVEN: f64 = 0.5;
/// A difference that is not seen although it is this large, as a fraction, decides nothing.
const TOO_WIDE: f64 = 1.0;

/// What keeps the verdict on these arms, best first, from being decided.
pub(super) fn undecided(
    evidence: &Evidence<'_>,
    compared: &[usize],
    machine: Option<&MachineReport>,
    detectable: Option<&Detectable>,
) -> Vec<Undecided> {
    let disturbed = by_others(evidence, compared, machine);
    let late: Vec<LateRepeats> =
        compared.iter().filter_map(|index| late_repeats(evidence, *index)).collect();
    let late = (!late.is_empty()).then_some(Undecided::ClientLate { configurations: late });
    let wide = too_wide(evidence, compared, machine, detectable);
    let apart = apart(evidence, compared);
    apart.into_iter().chain(disturbed).chain(late).chain(wide).collect()
}

/// Those that no chain of common hosts connects with the first one.
fn apart(evidence: &Evidence<'_>, compared: &[usize]) -> Option<Undecided> {
    let (&first, others) = compared.split_first()?;
    let name = |index: &usize| evidence.arms[*index].configuration.name.clone();
    let apart = others.iter().filter(|it| !evidence.measured[0].is_comparable(first, **it));
    let configurations: Vec<String> = apart.map(name).collect();
    (!configurations.is_empty()).then(|| Undecided::Apart { first: name(&first), configurations })
}

/// Where not even a factor of two is seen: by the analysis behind the table's intervals where
/// the design lets it separate machine and configuration, or else by the launches' own spread.
fn too_wide(
    evidence: &Evidence<'_>,
    compared: &[usize],
    machine: Option<&MachineReport>,
    detectable: Option<&Detectable>,
) -> Option<Undecided> {
    let (detectable, machine) = (detectable?, machine?);
    let separated = machine.limits.is_empty() && machine.conclusion != Conclusion::Unknown;
    let (&first, others) = compared.split_first()?;
    let nearest = others.first().filter(|_| !separated);
    let alone = nearest.and_then(|&other| evidence.measured[0].by_launches_alone(first, other));
    let (difference, half) = alone.unwrap_or_default();
    let factor = half.exp().max(1.0 + detectable.difference);
    (factor >= 1.0 + TOO_WIDE).then(|| Undecided::TooWide {
        factor,
        launches: detectable.launches,
        hides_rank_1: half.exp() >= 1.0 + TOO_WIDE && difference.abs() < half,
    })
}

/// What keeps a claim against the baseline from being made, judged by the two that it compares
/// and by no other: what the first ranks carry among themselves is another question.
pub(super) fn of_claim(
    evidence: &Evidence<'_>,
    candidate: usize,
    baseline: usize,
) -> Vec<Undecided> {
    let (pair, objective) = ([candidate, baseline], &evidence.measured[0]);
    let machine = objective.machine(&pair, Some(baseline));
    let detectable = objective.detectable(candidate, &[baseline]).filter(|it| it.launches > 1);
    let mut causes = undecided(evidence, &pair, machine.as_ref(), detectable.as_ref());
    causes.retain(Undecided::overrules_claims);
    causes
}

fn by_others(
    evidence: &Evidence<'_>,
    compared: &[usize],
    machine: Option<&MachineReport>,
) -> Option<Undecided> {
    // What the server answers does not depend on who else computes.
    if matches!(evidence.measured[0].scale(), Scale::Share(counted) if counted.asked_again) {
        return None;
    }
    let marked: Vec<(usize, DisturbedRepeats)> =
        compared.iter().filter_map(|index| Some((*index, of_arm(evidence, *index)?))).collect();
    let part = |index: usize| {
        let own = marked.iter().find(|(at, _)| *at == index);
        own.map_or(0.0, |(_, it)| it.disturbed as f64 / it.repeats as f64)
    };
    let (&first, others) = compared.split_first()?;
    let uneven = others.iter().any(|other| (part(first) - part(*other)).abs() >= UNEVEN);
    let enough = compared.iter().any(|index| part(*index) >= QUARTER);
    let because = match machine {
        _ if uneven => Inseparable::Uneven,
        Some(machine) if enough && !machine.limits.is_empty() => {
            Inseparable::Design { limits: machine.limits.clone() }
        }
        None if enough => Inseparable::NoTimeEffect,
        _ => return None,
    };
    let configurations = marked.into_iter().map(|(_, it)| it).collect();
    Some(Undecided::Disturbed { configurations, because })
}

/// Arms whose comparison the verdict rests on, rank 1 first: those that share its rank, or
/// else what it is compared with.
pub(super) fn compared(
    verdict: &RankingVerdict,
    order: &[usize],
    rows: &[RankedConfiguration],
    baseline: Option<usize>,
) -> Vec<usize> {
    let Some((&first, others)) = order.split_first() else { return Vec::new() };
    if let RankingVerdict::Tie { names, .. } = verdict {
        return order.iter().copied().filter(|index| names.contains(&rows[*index].name)).collect();
    }
    let next = others.first().copied();
    let other = baseline.filter(|base| *base != first && Some(*base) != next);
    std::iter::once(first).chain(next).chain(other).collect()
}

/// The verdict, where nothing keeps it from being decided.
pub(super) fn decided(verdict: RankingVerdict, causes: &[Undecided]) -> RankingVerdict {
    let strong = causes.iter().any(Undecided::overrules_claims);
    let causes = causes.to_vec();
    match verdict {
        RankingVerdict::Tie { names, ranks } if !causes.is_empty() => {
            RankingVerdict::Undecided { names, ranks, causes }
        }
        RankingVerdict::First { name } if strong => {
            RankingVerdict::Undecided { names: vec![name], ranks: vec![1], causes }
        }
        verdict => verdict,
    }
}
