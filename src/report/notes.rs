//! The findings of a ranking in words, for the terminal. Which findings there are is
//! decided in [`crate::results::findings`]; here is one sentence for each.

use itertools::Itertools as _;

use super::spoken::{GLUE, change};
use crate::history::launch::FailureClass;
use crate::results::findings::{AssumedVariance, Finding, IntervalSource, PooledDeviation};
use crate::results::not_again::WhyNotAgain;
use crate::results::number;
use crate::results::ranking::{Effect, Exclusion, MissingValue, RankingVerdict, Remark};

/// Heading of the column of changes against the baseline where none is confirmed.
pub(super) const UNCONFIRMED: &str = "unconfirmed change";

/// Its heading where some are: `c` and `u` mark them.
pub(super) const CHANGE: &str = "change";

/// What the tables above the notes show already.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "one for each column or table")]
pub(super) struct Shown {
    /// The effect against the baseline.
    pub(super) effect: bool,
    /// Whether some of these effects come from fresh launches.
    pub(super) confirmed: bool,
    /// `*` beside the baseline's name.
    pub(super) star: bool,
    /// Launches and repeats.
    pub(super) numbers: bool,
    /// Whether some launches have more repeats than others of the same configuration.
    pub(super) uneven: bool,
    /// Repeats that failed.
    pub(super) lost: bool,
    /// The figures of the bounded metrics.
    pub(super) bounds: bool,
}

/// The notes below the tables, the most important first: single configurations, then how
/// the figures are to be read. What the block above the tables said is not repeated.
pub(super) fn below(findings: &[Finding], shown: Shown) -> Vec<String> {
    let mut notes = not_ranked(findings);
    notes.extend(undecided(findings));
    // The block above has the candidate's confirmation.
    let candidate = findings.iter().find_map(|finding| match finding {
        Finding::Decision(decision) => Some(&decision.candidate.configuration),
        _ => None,
    });
    let confirmed = findings.iter().filter_map(|finding| match finding {
        Finding::Confirmed(gain) if Some(&gain.candidate) != candidate => Some(gain.to_string()),
        _ => None,
    });
    notes.extend(confirmed);
    let of = |wanted: usize| {
        findings.iter().filter(move |it| place(it) == wanted).filter_map(move |it| note(it, shown))
    };
    notes.extend((0..REMARKS).flat_map(of));
    notes.extend(remarks(findings, shown));
    notes.extend(is_searched(findings).then(|| SEARCHED.to_owned()));
    notes.extend((REMARKS + 1..PLACES - 1).flat_map(of));
    let legend = match (shown.effect, shown.confirmed) {
        (true, true) => Some(
            "change against the baseline: c from the fresh launches of its confirmation; u \
             unconfirmed, from the launches that chose rank 1: expect less of fresh ones"
                .to_owned(),
        ),
        (true, false) => Some(format!(
            "{UNCONFIRMED}: against the baseline, from the launches that chose rank 1; expect \
             less of fresh ones"
        )),
        (false, _) => None,
    };
    notes.extend(legend);
    notes.extend(of(PLACES - 1));
    if shown.lost {
        notes.push("lost: repeats that failed; failed launches are counted separately".to_owned());
    }
    notes
}

/// What is not decided among the first ranks although the candidate's claim stands: the block
/// above has the claim alone.
fn undecided(findings: &[Finding]) -> Option<String> {
    let claims = |it: &Finding| matches!(it, Finding::Decision(it) if it.claims());
    findings.iter().any(claims).then_some(())?;
    findings.iter().find_map(|it| match it {
        Finding::Verdict(verdict @ RankingVerdict::Undecided { .. }) => Some(verdict.to_string()),
        _ => None,
    })
}

/// What the intervals of the sentences are that say why a configuration was launched no more.
const SEARCHED: &str = "intervals of what was not launched again are adjusted for how many were \
                        compared (Bonferroni)";

/// Whether any of these sentences has one.
fn is_searched(findings: &[Finding]) -> bool {
    let behind = |remark: &Remark| match remark {
        Remark::NotLaunchedAgain(it) => {
            matches!(it.why, WhyNotAgain::Behind { effect: Effect::Ratio(_), .. })
        }
        _ => false,
    };
    findings.iter().any(|finding| match finding {
        Finding::Remarks { remarks, .. } => remarks.iter().any(behind),
        _ => false,
    })
}

/// What is to be known of ranked configurations; those of which it is the same are named together.
fn remarks(findings: &[Finding], shown: Shown) -> Vec<String> {
    let mut groups = Groups::default();
    for finding in findings {
        let Finding::Remarks { configuration, remarks } = finding else { continue };
        let open = |remark: &&Remark| match remark {
            Remark::BoundNotShown(_) => !shown.bounds,
            Remark::FailedLaunches { .. } => false,
            _ => true,
        };
        let remarks = remarks.iter().filter(open).join("; ");
        if !remarks.is_empty() {
            groups.add(remarks, configuration);
        }
    }
    groups.lines().map(|(names, remarks)| format!("{names}: {remarks}")).collect()
}

/// Names by what is said of them, in the order in which that is said first.
#[derive(Default)]
struct Groups<'a>(Vec<(String, Vec<&'a str>)>);

impl<'a> Groups<'a> {
    fn add(&mut self, said: String, name: &'a str) {
        match self.0.iter_mut().find(|(known, _)| *known == said) {
            Some((_, names)) => names.push(name),
            None => self.0.push((said, vec![name])),
        }
    }

    /// The first names and how many more there are, with what is said of them.
    fn lines(self) -> impl Iterator<Item = (String, String)> + use<'a> {
        self.0.into_iter().map(|(said, names)| {
            let more = names.len().saturating_sub(NAMES);
            let named = names.iter().take(NAMES).join(", ");
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            (format!("{named}{more}"), said)
        })
    }
}

/// Places of [`place`].
const PLACES: usize = 5;

/// That of single configurations.
const REMARKS: usize = 1;

/// Where a finding stands among the notes.
fn place(finding: &Finding) -> usize {
    match finding {
        Finding::ValuesMissing(_) | Finding::NothingDecided { .. } | Finding::AllZero { .. } => 0,
        Finding::Remarks { .. } => REMARKS,
        Finding::Verdict(_)
        | Finding::OrderBelowFirst { .. }
        | Finding::NoTimeEffect
        | Finding::TooLargeForTimeEffect { .. } => 2,
        Finding::Aliases { .. } => 4,
        _ => 3,
    }
}

/// Configurations without a rank; those with the same reason are named together.
fn not_ranked(findings: &[Finding]) -> Vec<String> {
    let mut groups = Groups::default();
    for finding in findings {
        let Finding::NotRanked { configuration, exclusions } = finding else { continue };
        if exclusions.iter().all(is_told) {
            continue;
        }
        groups.add(exclusions.iter().join("; "), configuration);
    }
    groups.lines().map(|(names, reason)| format!("not ranked: {names}: {reason}")).collect()
}

/// Whether the block above tells all of a reason: its words and its advice are those of
/// the class.
fn is_told(exclusion: &Exclusion) -> bool {
    let Exclusion::NotMeasured { cause: MissingValue::LaunchFailed { class, .. }, .. } = exclusion
    else {
        return false;
    };
    matches!(
        class,
        FailureClass::KvCacheTooSmall
            | FailureClass::OutOfMemory
            | FailureClass::SharedMemory
            | FailureClass::HostMemory
            | FailureClass::Credentials
            | FailureClass::NoGpu
            | FailureClass::CompileCache
    )
}

/// Names of a group that are written out.
const NAMES: usize = 6;

/// One finding as a sentence; `None` where the block above or a table has it.
fn note(finding: &Finding, shown: Shown) -> Option<String> {
    Some(match finding {
        Finding::Simulated
        | Finding::Gated(_)
        | Finding::Front(_)
        | Finding::Unswept(_)
        | Finding::ProductionReplaced(_)
        | Finding::Decision(_)
        | Finding::Confirmed(_)
        | Finding::Lived { .. }
        | Finding::ConstraintNotShown { .. }
        | Finding::FailedRepeats { .. }
        | Finding::FirstToBaseline { .. }
        | Finding::GainUnconfirmed { .. }
        | Finding::Machine(_)
        | Finding::Witness(_)
        | Finding::NotSeparable { .. }
        | Finding::Detectable(_)
        | Finding::Preferred { .. }
        | Finding::NotRanked { .. }
        | Finding::Remarks { .. }
        | Finding::VarianceAssumed(AssumedVariance::BetweenLaunches) => return None,
        Finding::Verdict(verdict) => match verdict {
            RankingVerdict::Tie { .. } => {
                let text = verdict.to_string();
                text.strip_prefix("tie: ").map_or(text.clone(), str::to_owned)
            }
            _ => return None,
        },
        Finding::ValuesMissing(missing) => {
            return missing.first_reason.as_ref().map(|_| missing.to_string());
        }
        Finding::AllZero { metric } => {
            format!("every value of {metric} is 0: nothing was counted, and the order says nothing")
        }
        Finding::Chosen(chosen) => {
            return (chosen.unclaimed > 0).then(|| few_launches(chosen.claimed_from));
        }
        Finding::NothingDecided { causes } => causes.iter().join("; "),
        Finding::Baseline { configuration } => {
            format!("{}baseline: {configuration}", if shown.star { "* " } else { "" })
        }
        Finding::Intervals(source) if shown.numbers => {
            let uneven = if shown.uneven { ", or launches:all repeats" } else { "" };
            format!("n: launches x repeats{uneven}; [95%]: interval {}", interval(source))
        }
        Finding::Intervals(source) => format!("[95%]: interval {}", interval(source)),
        Finding::VarianceAssumed(variance) => format!("~ assumed: {}", assumed(variance)),
        Finding::OrderBelowFirst { significance, .. } => format!(
            "ranks below the first differ from rank 1 (Holm-adjusted, {}), not necessarily from \
             each other",
            whole_percent(*significance)
        ),
        Finding::NoTimeEffect => {
            "no time effect is taken out: the objective is a share or a count, or was zero"
                .to_owned()
        }
        Finding::TooLargeForTimeEffect { configurations, launches } => format!(
            "no time effect is taken out: {launches} launches of {configurations} configurations \
             are too many for it"
        ),
        Finding::Aliases { configuration, aliases } => {
            format!("{configuration} is also {}", aliases.join(", "))
        }
    })
}

/// What a rank in brackets means.
pub(super) fn few_launches(claimed_from: usize) -> String {
    format!("(rank): launched fewer than {claimed_from} times: place by mean alone, in no claim")
}

/// `-17% [-21%, -12%]` of a ratio, `+12 [-3, 27]` of a difference.
pub(super) fn effect(effect: Effect) -> String {
    match effect {
        Effect::Ratio(ratio) => change(ratio.ratio, ratio.interval).replace(GLUE, " "),
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
