//! The findings of a ranking in words, for the terminal. Which findings there are is
//! decided in [`crate::results::findings`]; here is one sentence for each.

use itertools::Itertools as _;

use crate::results::decision::Claim;
use crate::results::findings::{AssumedVariance, Finding, IntervalSource, PooledDeviation};
use crate::results::machine::Conclusion;
use crate::results::number;
use crate::results::ranking::{Effect, Remark};

/// The mark of simulated figures.
pub(super) const SIMULATED: &str =
    "SIMULATED: every figure comes from the simulator, none from a GPU";

/// What the tables above the notes show already.
#[derive(Clone, Copy)]
pub(super) struct Shown {
    /// The effect against the baseline.
    pub(super) effect: bool,
    /// The figures of the bounded metrics.
    pub(super) bounds: bool,
}

/// The verdict and its limits, as one line.
pub(super) fn headline(findings: &[Finding]) -> String {
    let part = |finding: &Finding| match finding {
        Finding::Verdict(verdict) => Some(verdict.to_string()),
        // Rank 1 is the candidate where there is nothing to compare it with.
        Finding::Decision(decision) => (decision.claim != Claim::NoBaseline
            || decision.candidate.rank > 1)
            .then(|| decision.to_string()),
        Finding::ValuesMissing(missing) => Some(missing.to_string()),
        Finding::Lived { configuration, lived, launches } => {
            Some(format!("{configuration} booted and lived {lived} of {launches}"))
        }
        Finding::NothingDecided { causes } => Some(causes.iter().join("; ")),
        Finding::ConstraintNotShown { metrics, .. } => {
            Some(format!("not shown to be within bounds: {}", metrics.iter().join(", ")))
        }
        Finding::FailedRepeats { repeats, .. } => {
            let plural = if *repeats == 1 { "" } else { "s" };
            Some(format!("{repeats} repeat{plural} of it failed"))
        }
        _ => None,
    };
    findings.iter().filter_map(part).join("; ")
}

/// The notes below the tables, in the order of the findings. `lost`: whether the table
/// has a column of failed repeats.
pub(super) fn below(findings: &[Finding], shown: Shown, lost: bool) -> Vec<String> {
    let mut notes = Vec::new();
    let mut legend = lost
        .then(|| "lost: repeats that failed; failed launches are counted separately".to_owned());
    for finding in findings {
        // The columns are explained before single configurations.
        if is_of_configurations(finding) {
            notes.extend(legend.take());
        }
        notes.extend(note(finding, shown));
    }
    notes.extend(legend);
    notes
}

fn is_of_configurations(finding: &Finding) -> bool {
    matches!(
        finding,
        Finding::Preferred { .. }
            | Finding::NotRanked { .. }
            | Finding::Remarks { .. }
            | Finding::Aliases { .. }
    )
}

/// One finding as a sentence; `None` where the headline or a table has it.
fn note(finding: &Finding, shown: Shown) -> Option<String> {
    Some(match finding {
        Finding::Simulated
        | Finding::Verdict(_)
        | Finding::Decision(_)
        | Finding::ValuesMissing(_)
        | Finding::NothingDecided { .. }
        | Finding::Lived { .. }
        | Finding::ConstraintNotShown { .. }
        | Finding::FailedRepeats { .. } => return None,
        Finding::FirstToBaseline { .. } if shown.effect => return None,
        Finding::Baseline { configuration } => format!("* baseline: {configuration}"),
        Finding::Intervals(source) => {
            format!("n: launches x repeats; [95%]: interval {}", interval(source))
        }
        Finding::VarianceAssumed(variance) => format!("~ assumed: {}", assumed(variance)),
        Finding::OrderBelowFirst { significance, .. } => format!(
            "ranks below the first differ from rank 1 (Holm-adjusted, {}), not necessarily from \
             each other",
            whole_percent(*significance)
        ),
        Finding::FirstToBaseline { effect: of, .. } => {
            let form = match of {
                Effect::Ratio(_) => "ratio",
                Effect::Difference { .. } => "difference",
            };
            format!("rank 1 to the baseline, as a {form}: {}", effect(*of))
        }
        Finding::GainUnconfirmed { .. } => {
            "the gain of rank 1 over the baseline comes from the launches that chose it: expect \
             less until fresh launches confirm it"
                .to_owned()
        }
        // What is not separable says so.
        Finding::Machine(machine) if machine.conclusion == Conclusion::Unknown => return None,
        Finding::Machine(machine) => machine.to_string(),
        Finding::Witness(witness) => witness.to_string(),
        Finding::NoTimeEffect => {
            "no time effect is taken out: the objective is a share or a count, or was zero"
                .to_owned()
        }
        Finding::NotSeparable { limits } => limits.iter().join("; "),
        Finding::Detectable(detectable) => detectable.to_string(),
        Finding::Preferred { configuration, criteria } => format!(
            "of those within 1% of rank 1 take {configuration}: {}",
            criteria.iter().join(", then ")
        ),
        Finding::NotRanked { configuration, exclusions } => {
            format!("not ranked: {configuration}: {}", exclusions.iter().join("; "))
        }
        Finding::Remarks { configuration, remarks } => {
            let has_table =
                |remark: &&Remark| !(shown.bounds && matches!(remark, Remark::BoundNotShown(_)));
            let remarks = remarks.iter().filter(has_table).join("; ");
            return (!remarks.is_empty()).then(|| format!("{configuration}: {remarks}"));
        }
        Finding::Aliases { configuration, aliases } => {
            format!("{configuration} is also {}", aliases.join(", "))
        }
    })
}

/// `0.83 [0.79, 0.88]` of a ratio, `+12 [-3, 27]` of a difference.
pub(super) fn effect(effect: Effect) -> String {
    match effect {
        Effect::Ratio(ratio) => number::ratio(ratio.ratio, ratio.interval),
        Effect::Difference { difference, interval } => number::difference(difference, interval),
    }
}

fn interval(source: &IntervalSource) -> String {
    let pooled = |pooled: &PooledDeviation| {
        let floor = if pooled.floored { " (floor: less was measured)" } else { "" };
        let assumed = if pooled.assumed { " (assumed)" } else { "" };
        format!("{:.1}%{floor}{assumed}", pooled.deviation * 100.0)
    };
    match source {
        IntervalSource::GeometricMean { launches, repeats } => format!(
            "of the geometric mean (t on logs); pooled SD {} between launches, {} between repeats",
            pooled(launches),
            pooled(repeats)
        ),
        IntervalSource::MeanSpeed { launches, repeats } => {
            let repeats = repeats.as_ref().map(|it| format!(", {} between repeats", pooled(it)));
            format!(
                "of the geometric mean at the mean speed of the machine (t on logs); SD {} between \
                 launches{}",
                pooled(launches),
                repeats.unwrap_or_default()
            )
        }
        IntervalSource::ShareOfQuestions => {
            "of the share (Clopper-Pearson, a question counted once however often it was asked)"
                .to_owned()
        }
        IntervalSource::Share => "of the share (Clopper-Pearson, or the spread of launches and \
                                  repeats where that is wider)"
            .to_owned(),
        IntervalSource::Events => "of the arithmetic mean (Poisson, or the spread of launches and \
                                   repeats where that is wider)"
            .to_owned(),
        IntervalSource::ArithmeticMean => {
            "of the arithmetic mean (t, each configuration from its own spread)".to_owned()
        }
    }
}

fn assumed(variance: &AssumedVariance) -> String {
    match variance {
        AssumedVariance::BetweenLaunches => {
            "no configuration was launched twice, so the launch-to-launch variance is not measured"
                .to_owned()
        }
        AssumedVariance::BetweenRepeats => "no launch has two repeats".to_owned(),
        AssumedVariance::OfSingleLaunches { deviation } => format!(
            "launched once, so the launch-to-launch spread is taken as {} of the mean",
            whole_percent(*deviation)
        ),
    }
}

fn whole_percent(fraction: f64) -> String {
    format!("{:.0}%", fraction * 100.0)
}
