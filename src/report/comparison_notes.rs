//! The findings of a comparison in words, for the terminal. Which findings there are is
//! decided in [`crate::results::comparison`]; here is one sentence for each.

use crate::metric::Scale;
use crate::results::comparison::{
    Comparison, ComparisonFinding, Judgement, LaterPlace, Outcome, WorseThan,
};
use crate::results::exclusion::{Exclusion, joined};
use crate::results::number;
use crate::statistics::Interval;

/// The mark of simulated figures.
const SIMULATED: &str = "SIMULATED: every figure comes from the simulator, none from a GPU";

/// The mark of simulated figures; `None` where there are none.
pub(super) fn simulated(findings: &[ComparisonFinding]) -> Option<String> {
    findings.iter().find_map(|finding| match finding {
        ComparisonFinding::Simulated { all: true, .. } => Some(SIMULATED.to_owned()),
        ComparisonFinding::Simulated { runs, .. } => Some(format!(
            "SIMULATED: the figures of {} come from the simulator and those of the others do not: \
             a change between them says nothing about either",
            runs.join(", ")
        )),
        _ => None,
    })
}

/// What makes the comparison unsound, as a list; `None` where nothing does.
pub(super) fn unsound(
    comparison: &Comparison,
    findings: &[ComparisonFinding],
) -> Option<Vec<String>> {
    let line = |finding: &ComparisonFinding| match finding {
        ComparisonFinding::SameSweep { run, again } => Some(format!(
            "- {run} and {again} are the same sweep: launches are compared with themselves"
        )),
        ComparisonFinding::Difference(difference) => {
            let values = difference.values.iter().zip(&comparison.runs).map(|(value, run)| {
                format!("{} {}", run.label, value.as_deref().unwrap_or("(not recorded)"))
            });
            let values: Vec<String> = values.collect();
            Some(format!("- {}: {}", difference.what, values.join("; ")))
        }
        ComparisonFinding::OtherIds { configurations } => Some(format!(
            "- engine, image or model: the same flags have other ids: {}",
            configurations.join(", ")
        )),
        _ => None,
    };
    let lines: Vec<String> = findings.iter().filter_map(line).collect();
    let title = "different between the sweeps, so a part of every change below:".to_owned();
    (!lines.is_empty()).then(|| std::iter::once(title).chain(lines).collect())
}

fn reason(exclusions: &[Exclusion]) -> String {
    joined(exclusions).unwrap_or_else(|| "no reason was recorded".to_owned())
}

/// What became of the choice of the first sweep.
pub(super) fn choice(findings: &[ComparisonFinding]) -> Option<String> {
    findings.iter().find_map(|finding| {
        let ComparisonFinding::Choice { run, configuration, last, place, instead } = finding else {
            return None;
        };
        let there = match place {
            LaterPlace::Missing => format!("{last} does not have it"),
            LaterPlace::NotRanked { exclusions } => {
                format!("in {last} it is not ranked: {}", reason(exclusions))
            }
            LaterPlace::First => format!("in {last} it has rank 1"),
            LaterPlace::SharesFirst { rank_label } => {
                format!("in {last} it has rank {rank_label}, not distinguishable from its first")
            }
            LaterPlace::BehindAssumed { rank_label } => {
                format!(
                    "in {last} it has rank {rank_label}, behind its first on an assumed variance"
                )
            }
            LaterPlace::Unclaimed { rank_label } => {
                format!("in {last} it has rank {rank_label}, with too few launches for a claim")
            }
            LaterPlace::Behind { rank_label } => {
                format!("in {last} it has rank {rank_label}, shown to be behind its first")
            }
        };
        let instead = instead
            .as_ref()
            .map_or_else(String::new, |instead| format!("; {last} chooses {instead}"));
        Some(format!("{run} chooses {configuration}: {there}{instead}"))
    })
}

/// The notes below the tables, in the order of the findings. `heading`: that of the
/// column of changes, `B / A`.
pub(super) fn below(findings: &[ComparisonFinding], heading: &str) -> Vec<String> {
    findings.iter().filter_map(|finding| note(finding, heading)).collect()
}

fn note(finding: &ComparisonFinding, heading: &str) -> Option<String> {
    Some(match finding {
        ComparisonFinding::Simulated { .. }
        | ComparisonFinding::SameSweep { .. }
        | ComparisonFinding::Difference(_)
        | ComparisonFinding::OtherIds { .. }
        | ComparisonFinding::Choice { .. } => return None,
        ComparisonFinding::NoCommonFigure => {
            "no configuration has a figure in the first and in the last sweep".to_owned()
        }
        ComparisonFinding::Changes { scale: Scale::Ratios } => format!(
            "{heading}: ratio of the geometric means; its interval has the variance of both, each \
             as its own sweep pooled it (launches and repeats), with Welch's degrees of freedom"
        ),
        ComparisonFinding::Changes { .. } => format!(
            "{heading}: difference of the arithmetic means, its interval from those of both (Zou \
             and Donner)"
        ),
        ComparisonFinding::Tested { configurations } => format!(
            "shown: at the 5% level, Holm-adjusted over {configurations} configurations; - is not \
             shown, which is no proof of no change"
        ),
        ComparisonFinding::NightsNotSeparable => {
            "variation from night to night is in every change and in no interval: two sweeps do \
             not separate it from a change of the engine"
                .to_owned()
        }
        ComparisonFinding::SharedShift { shift, beyond } => {
            let interval = Interval { low: shift.low, high: shift.high };
            let all = number::ratio(shift.value, interval);
            let beyond = if beyond.is_empty() { "none".to_owned() } else { beyond.join(", ") };
            format!(
                "all {} configurations changed alike by {all}: the night, or what differs; changed \
                 beyond it: {beyond}",
                shift.configurations
            )
        }
        ComparisonFinding::ChoiceFavoursItself { run } => format!(
            "the choice of {run} comes from its own launches, so it tends to look worse in others \
             though nothing changed"
        ),
        ComparisonFinding::VarianceAssumed => {
            "~ assumed: rests on a launch-to-launch variance that a sweep did not measure"
                .to_owned()
        }
        ComparisonFinding::TooFewLaunches { configurations, needed } => format!(
            "nothing is claimed of {}: a sweep chose its launches, and has fewer than {needed} of \
             them",
            configurations.join(", ")
        ),
        ComparisonFinding::NotCounted { run, launches } => format!("{run}: {launches}"),
        ComparisonFinding::NotRecorded { what } => {
            format!("not recorded by all sweeps, so not compared: {}", what.join(", "))
        }
        ComparisonFinding::OtherFlags { configuration, runs, other, differs_in } => format!(
            "{configuration} asks for something else in {other} than in {} ({}), so it is not \
             compared",
            runs.join(", "),
            differs_in.join(", ")
        ),
        ComparisonFinding::OnlyIn { runs, configurations } => {
            format!("only in {}: {}", runs.join(", "), configurations.join(", "))
        }
        ComparisonFinding::NotRanked { runs, configurations, exclusions } => {
            let reason = reason(exclusions);
            format!("not ranked in {}: {}: {reason}", runs.join(", "), configurations.join(", "))
        }
    })
}

/// Whether the last sweep is shown to be worse by more than a share: the answer, then what
/// it rests on, a line for each configuration that decides it.
pub(super) fn worse_than(worse: &WorseThan, scale: Scale) -> Vec<String> {
    let share = number::whole_percent(worse.share);
    let claimed: Vec<&Judgement> = worse.judged.iter().filter(|it| it.worse).collect();
    let k = worse.judged.len();
    let together =
        if k == 1 { String::new() } else { format!(" over {k} configurations together") };
    let answer = match worse.outcome {
        Outcome::Worse => format!(
            "WORSE  by more than {share}, shown at the 5% level{together}: {}",
            claimed.iter().map(|it| it.configuration.as_str()).collect::<Vec<_>>().join(", ")
        ),
        Outcome::NotShown => format!(
            "NOT SHOWN  that any of {k} configurations is worse by more than {share} (5% level): no \
             proof that none is"
        ),
        Outcome::NotComparable if k == 0 => {
            format!("NOT COMPARABLE  no configuration can be judged against a limit of {share}")
        }
        Outcome::NotComparable => format!(
            "NOT COMPARABLE  whether the sweep is worse by more than {share} cannot be answered"
        ),
    };
    let what = if scale == Scale::Ratios { "change" } else { "difference" };
    let bounds = claimed.iter().map(|it| {
        let side = if it.bound > it.limit { "at least" } else { "at most" };
        let (bound, limit) = (rounded(it.bound), rounded(it.limit));
        format!("{}: {what} is {side} {bound}, and {limit} is allowed", it.configuration)
    });
    let others = worse.not_judged.iter();
    let others = others.map(|it| format!("not judged: {}: {}", it.configuration, it.reason));
    std::iter::once(answer).chain(bounds).chain(others).collect()
}

/// Four significant digits: a bound and its limit are often near each other.
fn rounded(value: f64) -> String {
    let decimals = number::decimals(value) + 1;
    format!("{value:.decimals$}")
}
