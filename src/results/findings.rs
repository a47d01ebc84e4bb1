//! What a ranking says and what it does not, as a list of typed findings with their
//! figures. Everything that a reader must know is decided here, once; a renderer
//! only words the list and lays it out.

use serde::Serialize;

use super::bounded::ConstraintVerdict;
use super::chosen::Chosen;
use super::confirmed::ConfirmedGain;
use super::decision::{Criterion, Decision};
use super::disturbance::Undecided;
use super::estimate::Effect;
use super::exclusion::Exclusion;
use super::front::Front;
use super::gated::Gated;
use super::machine::{DesignLimit, Detectable, MachineReport};
use super::missing::MissingMetric;
use super::not_counted::Unswept;
use super::ranked::{RankedConfiguration, Ranking};
use super::remark::Remark;
use super::verdict::RankingVerdict;
use super::witness::WitnessReport;
use crate::history::production::Replaced;
use crate::metric::{MetricRef, Scale};
use crate::statistics::{Components, Prior, SIGNIFICANCE, is_too_large};

/// One thing that a reader of a ranking must know.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum Finding {
    /// Every figure comes from the simulator.
    Simulated,
    /// What the first rank carries.
    Verdict(RankingVerdict),
    /// What to take, and what is shown of it against the baseline.
    Decision(Decision),
    /// How launches were chosen, where they were chosen by what was measured.
    Chosen(Chosen),
    /// The Pareto front of several objectives.
    Front(Front),
    /// What is to be known of its gates.
    Gated(Gated),
    /// The latest block has launches of confirmations alone.
    Unswept(Unswept),
    /// What fresh launches show of a configuration.
    Confirmed(Box<ConfirmedGain>),
    /// A judged metric that configurations lack, in whole or in part.
    ValuesMissing(MissingMetric),
    /// Launches of the candidate or of the baseline that failed.
    Lived {
        /// Its name.
        configuration: String,
        /// Launches that booted and lived until they were stopped.
        lived: u32,
        /// Of how many.
        launches: u32,
    },
    /// What the machine did, and that it is taken out.
    Machine(MachineReport),
    /// What explains what the machine did.
    Witness(WitnessReport),
    /// What besides too few launches keeps the comparison from being decided.
    NothingDecided {
        /// Why not.
        causes: Vec<Undecided>,
    },
    /// Every value of the objective is 0 in every ranked configuration.
    AllZero {
        /// The objective.
        metric: MetricRef,
    },
    /// No time effect is taken out: the objective is a share, a count, or was zero.
    NoTimeEffect,
    /// No time effect is taken out: the sweep is too large for it.
    TooLargeForTimeEffect {
        /// Configurations with values.
        configurations: usize,
        /// Their launches.
        launches: usize,
    },
    /// The design cannot separate machine and configuration.
    NotSeparable {
        /// Why not.
        limits: Vec<DesignLimit>,
    },
    /// The smallest difference that the sweep can show.
    Detectable(Detectable),
    /// Bounds that the first rank is not shown to be within.
    ConstraintNotShown {
        /// The first rank.
        configuration: String,
        /// The bounded metrics.
        metrics: Vec<MetricRef>,
    },
    /// Repeats of the first rank that failed.
    FailedRepeats {
        /// The first rank.
        configuration: String,
        /// How many.
        repeats: u32,
    },
    /// The configuration that the others are compared with.
    Baseline {
        /// Its name.
        configuration: String,
    },
    /// What the intervals of the objective are of, and where they come from.
    Intervals(IntervalSource),
    /// A variance that was not measured.
    VarianceAssumed(AssumedVariance),
    /// Ranks below the first group differ from rank 1, not necessarily from each other.
    OrderBelowFirst {
        /// Ranks that are not distinguishable from the first, itself included.
        group: usize,
        /// The level that the adjusted p-values of the others are below.
        significance: f64,
    },
    /// The first rank compared with the baseline.
    FirstToBaseline {
        /// The first rank.
        configuration: String,
        /// By how much it differs.
        effect: Effect,
    },
    /// The effect comes from the launches that chose the first rank.
    GainUnconfirmed {
        /// The first rank.
        configuration: String,
    },
    /// Which of the configurations within 1 % of rank 1 to take.
    Preferred {
        /// Its name.
        configuration: String,
        /// What decides, in this order.
        criteria: &'static [Criterion],
    },
    /// A configuration without a rank.
    NotRanked {
        /// Its name.
        configuration: String,
        /// Why.
        exclusions: Vec<Exclusion>,
    },
    /// What is to be known of a configuration with a rank.
    Remarks {
        /// Its name.
        configuration: String,
        /// Bounds that it is not shown to be within first.
        remarks: Vec<Remark>,
    },
    /// Another container serves production than the one that the sweep stopped.
    ProductionReplaced(Replaced),
    /// A configuration with several names.
    Aliases {
        /// Its name.
        configuration: String,
        /// Its other names.
        aliases: Vec<String>,
    },
}

/// What an interval of the objective is of, and how it is made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "interval", rename_all = "snake_case")]
pub enum IntervalSource {
    /// The geometric mean, by t on logarithms, from pooled standard deviations.
    GeometricMean {
        /// Between launches.
        launches: PooledDeviation,
        /// Between the repeats of a launch.
        repeats: PooledDeviation,
    },
    /// A share of questions of which each counts once, by Clopper and Pearson.
    ShareOfQuestions,
    /// A share, by Clopper and Pearson or by the spread, whichever is wider.
    Share,
    /// The arithmetic mean of counts, by Poisson or by the spread, whichever is wider.
    Events,
    /// The arithmetic mean, by t from each configuration's own spread.
    ArithmeticMean,
    /// The geometric mean at the mean speed of the machine, by t on logarithms.
    MeanSpeed {
        /// SD between launches, the machine's level taken out.
        launches: PooledDeviation,
        /// SD between the repeats of a launch; `None` where no launch has two.
        repeats: Option<PooledDeviation>,
    },
}

/// A standard deviation of logarithms, pooled over all configurations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PooledDeviation {
    /// As a fraction of the mean.
    pub deviation: f64,
    /// Whether it is assumed, since it was not measured.
    pub assumed: bool,
    /// Whether less was measured than the floor that is used.
    pub floored: bool,
}

/// A variance that is assumed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "variance", rename_all = "snake_case")]
pub enum AssumedVariance {
    /// Between launches: no configuration was launched twice.
    BetweenLaunches,
    /// Between repeats: no launch has two.
    BetweenRepeats,
    /// Between the launches of a configuration that was launched once.
    OfSingleLaunches {
        /// The assumed deviation as a fraction of the mean.
        deviation: f64,
    },
}

impl Ranking {
    /// Everything that a reader must know, in this order: the verdict and its limits,
    /// how the figures are to be read, then single configurations in the ranking's order.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        findings.extend(self.simulated.then_some(Finding::Simulated));
        findings.extend(self.gated.clone().map(Finding::Gated));
        findings.extend(self.unswept.map(Finding::Unswept));
        findings.push(Finding::Verdict(self.verdict.clone()));
        let causes: Vec<Undecided> = match self.verdict {
            // It has them itself.
            RankingVerdict::Undecided { .. } => Vec::new(),
            RankingVerdict::Insufficient { .. } | RankingVerdict::Unclaimed { .. } => {
                self.not_decided_by().into_iter().cloned().collect()
            }
            _ => self.overruled.clone(),
        };
        findings.extend((!causes.is_empty()).then_some(Finding::NothingDecided { causes }));
        findings.extend(self.decision.clone().map(Finding::Decision));
        findings.extend(self.front.clone().map(Finding::Front));
        findings.extend(self.chosen.clone().map(Finding::Chosen));
        findings.extend(self.confirmed.iter().cloned().map(|it| Finding::Confirmed(Box::new(it))));
        let metric = || self.objective.metric.clone();
        findings.extend(self.all_zero.then(|| Finding::AllZero { metric: metric() }));
        findings.extend(self.missing.iter().cloned().map(Finding::ValuesMissing));
        findings.extend(self.replaced.iter().cloned().map(Finding::ProductionReplaced));
        findings.extend(self.lived());
        findings.extend(self.rows.first().into_iter().flat_map(|row| self.limits(row)));
        let baseline = self.rows.iter().find(|row| row.baseline);
        findings.extend(baseline.map(|row| Finding::Baseline { configuration: row.name.clone() }));
        findings.extend(self.about_machine());
        findings.extend(self.about_figures());
        let preferred = self.rows.iter().find(|row| row.preferred);
        findings.extend(preferred.map(|row| Finding::Preferred {
            configuration: row.name.clone(),
            criteria: Criterion::ALL,
        }));
        findings.extend(self.about_configurations());
        findings
    }

    /// Failed launches of what is compared in the decision.
    fn lived(&self) -> Vec<Finding> {
        let candidate = self.decision.as_ref().map(|it| it.candidate.configuration.as_str());
        let compared = |row: &&RankedConfiguration| {
            (row.baseline || candidate == Some(row.name.as_str())) && row.lived < row.settled
        };
        let rows = self.rows.iter().filter(compared);
        rows.map(|row| Finding::Lived {
            configuration: row.name.clone(),
            lived: row.lived,
            launches: row.settled,
        })
        .collect()
    }

    fn about_machine(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some(machine) = &self.machine {
            findings.push(Finding::Machine(machine.clone()));
            findings.extend(self.witness.clone().map(Finding::Witness));
            let limits = machine.limits.clone();
            findings.extend((!limits.is_empty()).then_some(Finding::NotSeparable { limits }));
        } else if self.scale != Scale::Ratios && self.decision.is_some() {
            findings.push(Finding::NoTimeEffect);
        } else {
            findings.extend(self.too_large());
        }
        findings.extend(self.detectable.map(Finding::Detectable));
        findings
    }

    /// Where ratios have no time effect since fitting it would take too long.
    fn too_large(&self) -> Option<Finding> {
        let own: Vec<usize> =
            self.rows.iter().filter_map(|row| Some(row.estimates[0]?.launches)).collect();
        let (configurations, launches) = (own.len(), own.iter().sum());
        let is_repeated = self.scale == Scale::Ratios && launches > configurations;
        (is_repeated && is_too_large(launches, configurations))
            .then_some(Finding::TooLargeForTimeEffect { configurations, launches })
    }

    /// What the verdict does not carry.
    fn limits(&self, first: &RankedConfiguration) -> Vec<Finding> {
        if !first.eligible {
            return Vec::new();
        }
        let configuration = || first.name.clone();
        let open = |(_, verdict): &(&MetricRef, ConstraintVerdict)| {
            *verdict == ConstraintVerdict::NotShown
        };
        let verdicts = first.constraints.iter().map(|bounded| bounded.verdict);
        let metrics: Vec<MetricRef> = self
            .constrained
            .iter()
            .zip(verdicts)
            .filter(open)
            .map(|(metric, _)| metric.clone())
            .collect();
        let mut limits = Vec::new();
        if !metrics.is_empty() {
            limits.push(Finding::ConstraintNotShown { configuration: configuration(), metrics });
        }
        if first.failed_repeats > 0 {
            let repeats = first.failed_repeats;
            limits.push(Finding::FailedRepeats { configuration: configuration(), repeats });
        }
        limits
    }

    /// How the figures are to be read; nothing where there is none.
    fn about_figures(&self) -> Vec<Finding> {
        let has_figure =
            |row: &RankedConfiguration| row.estimates.first().is_some_and(Option::is_some);
        let (source, assumed) = match self.components {
            Some(_) if self.deviations.is_some() => self.at_mean_speed(),
            Some(components) => of_ratios(&components),
            None if self.scale != Scale::Ratios && self.rows.iter().any(has_figure) => {
                self.of_plain_means()
            }
            None => return Vec::new(),
        };
        let mut findings = vec![Finding::Intervals(source)];
        findings.extend(assumed.map(Finding::VarianceAssumed));
        let ranked = self.rows.iter().filter(|row| row.eligible && self.is_in_claims(row)).count();
        let group = match &self.verdict {
            RankingVerdict::Tie { names, .. } | RankingVerdict::Undecided { names, .. } => {
                names.len()
            }
            _ => 1,
        };
        let says_nothing = matches!(
            self.verdict,
            RankingVerdict::Insufficient { .. } | RankingVerdict::Unclaimed { .. }
        );
        if ranked > group + 1 && !says_nothing {
            findings.push(Finding::OrderBelowFirst { group, significance: SIGNIFICANCE });
        }
        let first = self.rows.first().filter(|row| row.eligible);
        if let Some((first, effect)) = first.and_then(|row| Some((row, row.effect()?))) {
            let configuration = first.name.clone();
            findings.push(Finding::FirstToBaseline { configuration, effect });
            let unconfirmed = self.confirmed_of(&first.name).is_none();
            let configuration = first.name.clone();
            findings.extend(unconfirmed.then_some(Finding::GainUnconfirmed { configuration }));
        }
        findings
    }

    /// Of ratios, with the machine's level taken out.
    fn at_mean_speed(&self) -> (IntervalSource, Option<AssumedVariance>) {
        let (launch, repeat) = self.deviations.unwrap_or_default();
        let estimates = || self.rows.iter().filter_map(|row| row.estimates[0]);
        let assumed = estimates().all(|estimate| estimate.launches < 2);
        let of = |deviation, assumed| PooledDeviation { deviation, assumed, floored: false };
        let several = estimates().any(|estimate| estimate.repeats > estimate.launches);
        let source = IntervalSource::MeanSpeed {
            launches: of(launch, assumed),
            repeats: several.then(|| of(repeat, false)),
        };
        let once = estimates().any(|estimate| estimate.launches < 2);
        let single = AssumedVariance::OfSingleLaunches { deviation: launch };
        let assumed =
            if assumed { Some(AssumedVariance::BetweenLaunches) } else { once.then_some(single) };
        (source, assumed)
    }

    /// Of an objective that may be zero or negative.
    fn of_plain_means(&self) -> (IntervalSource, Option<AssumedVariance>) {
        let source = match self.scale {
            Scale::Share(counted) if counted.asked_again => IntervalSource::ShareOfQuestions,
            Scale::Share(_) => IntervalSource::Share,
            Scale::Events => IntervalSource::Events,
            Scale::Ratios | Scale::Differences => IntervalSource::ArithmeticMean,
        };
        let assumed = self.rows.iter().any(|row| row.estimates[0].is_some_and(|e| e.assumed));
        let deviation = Prior::LOG.launch_sd;
        (source, assumed.then_some(AssumedVariance::OfSingleLaunches { deviation }))
    }

    fn about_configurations(&self) -> Vec<Finding> {
        let (ranked, excluded): (Vec<_>, Vec<_>) = self.rows.iter().partition(|row| row.eligible);
        let excluded = excluded.into_iter().map(|row| Finding::NotRanked {
            configuration: row.name.clone(),
            exclusions: row.exclusions.clone(),
        });
        let remarks = ranked.into_iter().filter_map(|row| {
            let remarks = row.all_remarks();
            let configuration = row.name.clone();
            (!remarks.is_empty()).then_some(Finding::Remarks { configuration, remarks })
        });
        let named = self.rows.iter().filter(|row| !row.aliases.is_empty());
        let named = named.map(|row| Finding::Aliases {
            configuration: row.name.clone(),
            aliases: row.aliases.clone(),
        });
        excluded.chain(remarks).chain(named).collect()
    }
}

fn of_ratios(components: &Components) -> (IntervalSource, Option<AssumedVariance>) {
    let source = IntervalSource::GeometricMean {
        launches: PooledDeviation {
            deviation: components.launch_variance.sqrt(),
            assumed: components.launch_assumed,
            floored: components.floored(),
        },
        repeats: PooledDeviation {
            deviation: components.repeat_variance.sqrt(),
            assumed: components.repeat_assumed,
            floored: false,
        },
    };
    let assumed = if components.launch_assumed {
        Some(AssumedVariance::BetweenLaunches)
    } else if components.assumed() {
        Some(AssumedVariance::BetweenRepeats)
    } else {
        None
    };
    (source, assumed)
}
