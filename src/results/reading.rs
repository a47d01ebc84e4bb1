//! What a person reads first, as data: the answers of a ranking in the order of the
//! questions. What is shown, what to use and why, whether the bounds are kept, how far to
//! trust it, what failed, what to do next. Made from the ranking alone and worded in
//! `report`; `report --format json` has it as it is here.

use std::collections::BTreeMap;

use serde::Serialize;

use super::bounded::Bounded;
use super::chosen::Chosen;
use super::confirmed::{ConfirmedGain, Unfit};
use super::decision::{Criterion, PassedOver};
use super::estimate::Effect;
use super::front::Front;
use super::gated::Gated;
use super::machine::{DesignLimit, Detectable, MachineReport};
use super::missing::MissingMetric;
use super::not_counted::{NotCounted, Unswept};
use super::remark::Remark;
use super::taken::Taken;
use super::witness::WitnessReport;
use crate::configuration::Stack;
use crate::history::extent::Extent;
use crate::history::production::{Replaced, Unproven};
use crate::metric::{Goal, MetricRef};

mod build;
mod confirmation;
pub mod failed;
pub mod next;

use failed::FailedGroup;
use next::{Hours, NextStep};

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
    /// Production that the run stopped and that is not proven since, where nobody works on the
    /// run: else it is stopped on purpose.
    pub production: Option<Unproven>,
    /// Configurations that `confirm` refuses to launch, since they would fail again.
    pub not_launched: Vec<String>,
    /// Whether the tables are in the sweep's folder: none is named that is not there.
    pub exported: bool,
}

/// What a person reads first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reading {
    /// Whether every figure is simulated.
    pub simulated: bool,
    /// The sweep's folder, as a command takes it.
    #[serde(skip)]
    pub run: String,
    /// How far the sweep is, where something of it is missing.
    pub partial: Option<Extent>,
    /// Configurations without a value whose launch has no end. They have not failed.
    pub unfinished: Unfinished,
    /// Production that the run stopped and did not prove since; whether it runs now is not in
    /// the files.
    pub production: Option<Unproven>,
    /// The objective's metric.
    pub metric: MetricRef,
    /// Which way is better.
    pub goal: Goal,
    /// The one sentence.
    pub result: Statement,
    /// The Pareto front, where there are several objectives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub front: Option<Front>,
    /// What to use; `None` where nothing can be decided.
    #[serde(rename = "use")]
    pub choice: Option<Choice>,
    /// The bounded metrics of the candidate.
    pub bounds: Vec<Bounded>,
    /// Why nothing can be decided, or what a gate found in the one that was confirmed; empty
    /// otherwise.
    pub why: Vec<Why>,
    /// How far to trust it.
    pub trust: Trust,
    /// Configurations without a rank, and launches that failed, by cause.
    pub failed: Vec<FailedGroup>,
    /// Whether `confirm` can be asked: it needs an objective of which ratios are taken.
    pub confirmable: bool,
    /// What to do.
    pub next: Vec<NextStep>,
}

/// Configurations without a value whose launch has no end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unfinished {
    /// It is under way.
    pub running: Vec<String>,
    /// It was stopped or killed.
    pub interrupted: Vec<String>,
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
        /// Bounded metrics of which they do not show whether it keeps the bounds; none while
        /// it is not confirmed.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        open: Vec<MetricRef>,
    },
    /// A configuration that was confirmed, or was to be, breaks a bound.
    BoundBroken {
        /// Its name.
        configuration: String,
        /// The baseline's.
        baseline: String,
        /// The metrics whose bounds it breaks.
        metrics: Vec<MetricRef>,
        /// Whether fresh launches show that it is better than the baseline.
        better: bool,
        /// Why the baseline is not to be kept either, said after its name.
        #[serde(skip_serializing_if = "Option::is_none")]
        not_kept: Option<&'static str>,
    },
    /// A configuration that was confirmed, or was to be, is not to serve.
    Unfit {
        /// Its name.
        configuration: String,
        /// The baseline's.
        baseline: String,
        /// Why.
        #[serde(flatten)]
        cause: Unfit,
        /// Why the baseline is not to be kept either, said after its name.
        #[serde(skip_serializing_if = "Option::is_none")]
        not_kept: Option<&'static str>,
    },
    /// Fresh launches do not show that it is better.
    NotConfirmed {
        /// Its name.
        configuration: String,
        /// The baseline's.
        baseline: String,
        /// Whether they show that it is worse.
        worse: bool,
        /// Why the baseline is not to be kept either, said after its name.
        #[serde(skip_serializing_if = "Option::is_none")]
        not_kept: Option<&'static str>,
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
        /// Ranked configurations that can be in a claim, itself included.
        of: usize,
        /// Ranked configurations with too few launches for a claim.
        #[serde(skip_serializing_if = "is_zero")]
        unclaimed: usize,
        /// Those that are shown to be worse than the best mean.
        worse: usize,
        /// Whose mean that is, where it is not the baseline's.
        best: Option<String>,
        /// The best one of those that are shown to be worse, compared with it.
        behind: Option<Behind>,
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
        /// Ranked configurations that can be in a claim, itself included.
        of: usize,
        /// Ranked configurations with too few launches for a claim.
        #[serde(skip_serializing_if = "is_zero")]
        unclaimed: usize,
    },
    /// Without a baseline: several are not distinguishable.
    NotDistinguishable {
        /// Their names, best mean first.
        configurations: Vec<String>,
        /// Ranked configurations that can be in a claim.
        of: usize,
        /// Ranked configurations with too few launches for a claim.
        #[serde(skip_serializing_if = "is_zero")]
        unclaimed: usize,
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
    /// Launches were chosen by what was measured, and too few configurations have enough of
    /// them for a claim.
    NoClaim {
        /// The candidate's name.
        candidate: String,
        /// The baseline with which it would be compared; `None` where it is itself the
        /// baseline, and without one.
        baseline: Option<String>,
        /// Of these two, or of the candidate alone, those with too few launches.
        few: Vec<FewLaunches>,
        /// Launches of each that a claim needs.
        needed: usize,
        /// Ranked configurations with too few.
        unclaimed: usize,
        /// Ranked configurations.
        of: usize,
    },
    /// Nothing can be decided.
    NoDecision {
        /// Why not.
        cause: NoDecision,
    },
}

/// A configuration with too few launches for a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FewLaunches {
    /// Its name.
    pub configuration: String,
    /// How many it has.
    pub launches: usize,
}

/// One that is behind the baseline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Behind {
    /// Its name.
    pub configuration: String,
    /// By how much.
    pub effect: Effect,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(count: &usize) -> bool {
    *count == 0
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
    /// The latest block has launches of confirmations alone.
    Unswept(Unswept),
    /// A judged metric is missing.
    Missing(MissingMetric),
    /// All launches failed.
    AllFailed {
        /// Configurations.
        of: usize,
        /// Those of them that were not launched, since what failed concerns them, too.
        not_launched: usize,
    },
    /// Each one breaks a bound.
    BoundsBroken {
        /// Configurations.
        of: usize,
    },
    /// The measurement does not carry an order: others disturbed it, the client was late, or
    /// even a large difference would not have been seen.
    NotCarried {
        /// Those that it does not separate, best mean first.
        configurations: Vec<String>,
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
    /// The best mean, where that is not taken since it has too few launches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passed_over: Option<PassedOver>,
    /// Ranked configurations.
    pub of: usize,
    /// Whether every value of the objective is 0: no mean is the best then.
    pub all_zero: bool,
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
    /// What it starts in place of what the engine block names.
    #[serde(skip_serializing_if = "Stack::is_own")]
    pub stack: Stack,
}

/// How far to trust a reading.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trust {
    /// Fewest and most launches of a ranked configuration.
    pub launches: Option<(usize, usize)>,
    /// How launches were chosen, where they were chosen by what was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen: Option<Chosen>,
    /// Repeats of a launch, where all have as many.
    pub repeats: Option<usize>,
    /// The smallest difference that can be seen.
    pub detectable: Option<Detectable>,
    /// The launches that confirmed, or did not.
    pub confirmation: Option<ConfirmedGain>,
    /// Results of the same pair before that one, oldest first: one that is repeated until it
    /// passes shows less.
    pub confirmed_before: Vec<ConfirmedGain>,
    /// What the machine did.
    pub machine: Option<MachineReport>,
    /// What explains what the machine did, where something is shown to.
    pub witness: Option<WitnessReport>,
    /// What the design does not separate.
    pub limits: Vec<DesignLimit>,
    /// SD between launches on log scale that is assumed, since nothing was launched twice.
    pub assumed_deviation: Option<f64>,
    /// Ranked configurations that were launched once: they are in no claim.
    pub launched_once: u32,
    /// Whether a time effect was looked for: not in shares, counts, and what was zero, nor
    /// with one configuration, nor where nothing was launched twice.
    pub time_effect: bool,
    /// Launches of earlier blocks, which were measured with something else.
    pub not_counted: Vec<NotCounted>,
    /// Launches that a cluster took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken: Option<Taken>,
    /// Containers that serve production in place of what the sweep stopped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<Replaced>,
    /// What is to be known of its gates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gated: Option<Gated>,
    /// Judged metrics that are missing in part.
    pub missing: Vec<MissingMetric>,
    /// What the means of the candidate and the baseline hide.
    pub remarks: Vec<NamedRemark>,
}

/// A remark on a configuration that the result names.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NamedRemark {
    /// The configuration.
    pub configuration: String,
    /// The remark.
    pub remark: Remark,
}
