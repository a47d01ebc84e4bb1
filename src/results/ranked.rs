//! The ranking as data: what `ranking` computes, and what the frame, the
//! findings and every renderer read.

use std::mem::discriminant;

use super::bounded::{Bounded, ConstraintVerdict};
use super::chosen::Chosen;
use super::confirmed::ConfirmedGain;
use super::decision::Decision;
use super::disturbance::Undecided;
use super::estimate::{Effect, Estimate, Ratio};
use super::exclusion::{self, Exclusion, MissingValue};
use super::front::Front;
use super::gated::Gated;
use super::machine::{Detectable, MachineCourse, MachineReport};
use super::missing::MissingMetric;
use super::not_again::{Dropped, NotAgain};
use super::not_counted::{NotCounted, Unswept};
use super::remark::Remark;
use super::taken::Taken;
use super::verdict::RankingVerdict;
use super::witness::WitnessReport;
use crate::configuration::Flags;
use crate::history::production::Replaced;
use crate::metric::{MetricRef, Objective, Scale};
use crate::statistics::{Chances, Components, Interval};

/// The ranking of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking {
    /// The sweep's name.
    pub sweep: String,
    /// Whether every figure is simulated.
    pub simulated: bool,
    /// What was sought.
    pub objective: Objective,
    /// Metrics with an estimate: the objective, the constraints, then the
    /// others of the catalogue that have a direction and are no count.
    pub metrics: Vec<MetricRef>,
    /// Metrics with a bound, in the grid's order.
    pub constrained: Vec<MetricRef>,
    /// Ranked configurations by rank, then the others in the grid's order.
    pub rows: Vec<RankedConfiguration>,
    /// What the first rank carries.
    pub verdict: RankingVerdict,
    /// How the objective is compared.
    pub scale: Scale,
    /// Variance components of the objective on log scale by a one-way analysis, used where
    /// there is one configuration; `None` where nothing was measured, and where it is not
    /// compared by logarithms.
    pub components: Option<Components>,
    /// Launch-to-launch SD and SD of a repeat on log scale, with the machine's level taken out.
    pub deviations: Option<(f64, f64)>,
    /// What to take, and what is shown of it; `None` where nothing is ranked.
    pub decision: Option<Decision>,
    /// What fresh launches show of single configurations, in the order of the confirmations.
    pub confirmed: Vec<ConfirmedGain>,
    /// Launches of earlier blocks, which no figure is made of.
    pub not_counted: Vec<NotCounted>,
    /// Launches that a cluster took; `None` where it took none.
    pub taken: Option<Taken>,
    /// Whether a launch was measured after the last one that the environment did not allow.
    pub environment_works: bool,
    /// Containers that serve production in place of what the sweep stopped.
    pub replaced: Vec<Replaced>,
    /// The latest block, where it has launches of confirmations alone: nothing is ranked.
    pub unswept: Option<Unswept>,
    /// What is to be known of its gates.
    pub gated: Option<Gated>,
    /// Judged metrics that configurations lack, the objective first.
    pub missing: Vec<MissingMetric>,
    /// What the machine did; `None` where no time effect is taken out: of shares, counts
    /// and objectives that were zero, and with one configuration.
    pub machine: Option<MachineReport>,
    /// Its level over the launches, which is taken out; `None` likewise.
    pub course: Option<MachineCourse>,
    /// What explains the time effect of a machine that moved, where a witness does.
    pub witness: Option<WitnessReport>,
    /// What keeps the comparison of the first ranks from being decided.
    pub undecided: Vec<Undecided>,
    /// What keeps the candidate from being claimed to be better than the baseline, although
    /// its p-value would show it; empty otherwise.
    pub overruled: Vec<Undecided>,
    /// The smallest difference that the sweep can show; `None` likewise.
    pub detectable: Option<Detectable>,
    /// Whether every value of the objective is 0 in every ranked configuration.
    pub all_zero: bool,
    /// How launches were chosen, where they were chosen by what was measured.
    pub chosen: Option<Chosen>,
    /// The Pareto front, where there are several objectives.
    pub front: Option<Front>,
}

impl Ranking {
    /// What the last finished confirmation of a configuration against the grid's baseline shows.
    pub fn confirmed_of(&self, configuration: &str) -> Option<&ConfirmedGain> {
        self.confirmations().rfind(|it| it.candidate == configuration && it.is_result())
    }

    /// The confirmation that counts: the candidate's last one with a result, or the last one
    /// that showed another configuration to be better, where the candidate has none or is not to
    /// be used.
    pub fn confirmation(&self) -> Option<&ConfirmedGain> {
        let candidate = self.decision.as_ref().map(|it| it.candidate.configuration.as_str());
        let is_own = |it: &&ConfirmedGain| Some(it.candidate.as_str()) == candidate;
        let other = || self.confirmations().rfind(|it| it.is_confirmed() && !is_own(it));
        match candidate.and_then(|it| self.confirmed_of(it)) {
            Some(gain) if gain.is_refuted() => other().or(Some(gain)),
            Some(gain) => Some(gain),
            None if self.confirmations().any(|it| is_own(&it)) => None,
            None => other(),
        }
    }

    /// The candidate's last confirmation, where it has no result, or none yet.
    pub fn without_result(&self) -> Option<&ConfirmedGain> {
        let candidate = &self.decision.as_ref()?.candidate.configuration;
        let last = self.confirmations().rfind(|it| it.candidate == *candidate);
        last.filter(|it| !it.is_result())
    }

    /// Those that compare with the grid's baseline; all where it names none. What is better than
    /// another configuration need not be better than what serves.
    fn confirmations(&self) -> impl DoubleEndedIterator<Item = &ConfirmedGain> {
        self.confirmed.iter().filter(|it| {
            self.is_baseline(&it.baseline) || !self.rows.iter().any(|row| row.baseline)
        })
    }

    /// Whether this is the grid's baseline, or what that ran as.
    pub fn is_baseline(&self, name: &str) -> bool {
        let baseline = self.rows.iter().find(|row| row.baseline);
        let ran_as = |row: &RankedConfiguration| row.counted_as().is_some_and(|it| it == name);
        baseline.is_some_and(|row| row.name == name || ran_as(row))
    }

    /// Why a baseline is not to be kept where nothing else is confirmed, said after its name;
    /// `None` where nothing is known against it.
    pub fn not_kept(&self, baseline: &str) -> Option<&'static str> {
        let row = self.rows.iter().find(|row| row.name == baseline)?;
        row.exclusions.iter().find_map(|it| match it {
            Exclusion::Violated { .. } => Some("breaks a bound"),
            Exclusion::GateFailed { .. } => Some("failed a gate"),
            Exclusion::LoopsUnderLoad(_) => Some("loops under load"),
            Exclusion::FailedLaunches { .. } => Some("fails too often"),
            _ => None,
        })
    }

    /// Whether a configuration has no figures only since it was not measured so far.
    pub fn is_pending(&self, name: &str) -> bool {
        let row = self.rows.iter().find(|row| row.name == name);
        let is_so_far = |it: &Exclusion| {
            let Exclusion::NotMeasured { cause, .. } = it else { return false };
            let not_begun = matches!(cause, MissingValue::NotLaunched | MissingValue::Cut { .. });
            not_begun || matches!(cause, MissingValue::NotFinished { .. })
        };
        row.is_some_and(|row| !row.exclusions.is_empty() && row.exclusions.iter().all(is_so_far))
    }

    /// Whether the measurement carries what its statistics show: false where the verdict is
    /// undecided or a claim is overruled, and no claim against the baseline stands.
    pub fn is_carried(&self) -> bool {
        let undecided = matches!(self.verdict, RankingVerdict::Undecided { .. });
        let claims = self.decision.as_ref().is_some_and(Decision::claims);
        claims || (!undecided && self.overruled.is_empty())
    }

    /// Whether a row has enough launches to be in a claim.
    pub fn is_in_claims(&self, row: &RankedConfiguration) -> bool {
        let launches = || row.estimates.first().and_then(|it| Some(it.as_ref()?.launches));
        self.chosen
            .as_ref()
            .is_none_or(|it| launches().is_some_and(|launches| launches >= it.claimed_from))
    }

    /// Whether a row is what the launches of the sweep itself choose.
    pub fn is_candidate(&self, row: &RankedConfiguration) -> bool {
        self.decision.as_ref().is_some_and(|it| it.candidate.configuration == row.name)
    }

    /// What the result is about: the one of the confirmation that counts, or what to confirm.
    pub fn subject(&self) -> Option<&str> {
        let confirmed = self.confirmation().map(|it| it.candidate.as_str());
        let chosen = || self.decision.as_ref().map(|it| it.candidate.configuration.as_str());
        confirmed.or_else(chosen)
    }

    /// The mark of a row that the result is about; `None` of another one.
    pub fn mark(&self, row: &RankedConfiguration) -> Option<&'static str> {
        let is_confirmed = || self.confirmation().is_some_and(ConfirmedGain::is_confirmed);
        let is_subject = self.subject() == Some(row.name.as_str());
        is_subject.then(|| if is_confirmed() { "confirmed" } else { "candidate" })
    }

    /// What keeps the comparison from being decided: a cause of each kind, those that overrule
    /// the claim first.
    pub fn not_decided_by(&self) -> Vec<&Undecided> {
        let mut causes: Vec<&Undecided> = Vec::new();
        for cause in self.overruled.iter().chain(&self.undecided) {
            if !causes.iter().any(|known| discriminant(*known) == discriminant(cause)) {
                causes.push(cause);
            }
        }
        causes
    }
}

/// One configuration and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct RankedConfiguration {
    /// Place by mean, from 1; `None` where not eligible.
    pub rank: Option<u32>,
    /// What the place carries: `1`, or `1-3` for those that are not distinguishable from
    /// rank 1; `1,4` where those between are shown to be worse; `(7)` for one that has too
    /// few launches for a claim, since they were chosen by what was measured.
    pub rank_label: Option<String>,
    /// The configuration's name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Further names of the same content, requested or run.
    pub aliases: Vec<String>,
    /// Whether the others are compared with it.
    pub baseline: bool,
    /// What the grid varied of it.
    pub varied: Flags,
    /// Whether it has a rank.
    pub eligible: bool,
    /// Why not, where not; [`reason`](Self::reason) is their text.
    pub exclusions: Vec<Exclusion>,
    /// What a reader should know of an eligible one besides its bounds;
    /// [`all_remarks`](Self::all_remarks) has those too.
    pub remarks: Vec<Remark>,
    /// Launches that were started, failed ones too.
    pub launches: u32,
    /// Repeats of the objective that count.
    pub repeats: u32,
    /// Launches that failed.
    pub failures: u32,
    /// Repeats of any workload and case that failed.
    pub failed_repeats: u32,
    /// Repeats of any workload and case that were void.
    pub void_repeats: u32,
    /// Valid repeats without a value of the objective or of a bounded metric: lost too.
    pub missing_repeats: u32,
    /// Launches that booted and lived until they were stopped.
    pub lived: u32,
    /// These and those that failed for a reason of the configuration's own.
    pub settled: u32,
    /// Class of the last failure.
    pub failure_class: Option<&'static str>,
    /// Estimates, parallel to [`Ranking::metrics`].
    pub estimates: Vec<Option<Estimate>>,
    /// Its bounded metrics, parallel to [`Ranking::constrained`].
    pub constraints: Vec<Bounded>,
    /// Adjusted p-value of the difference to rank 1
    /// ([`adjusted_to_first`](crate::statistics::adjusted_to_first)); `None` for rank 1 and without a rank.
    pub p_first: Option<f64>,
    /// Probability that it is the best of the ranked ones, and that it is less than
    /// 5 % from it ([`chances`](crate::statistics::chances)); `None` without a rank,
    /// and where the objective may be zero.
    pub chances: Option<Chances>,
    /// Whether it is the one to take of several first ones that are not distinguishable:
    /// the candidate of [`Ranking::decision`].
    pub preferred: bool,
    /// Objective as a ratio to the baseline's; `None` for the baseline itself.
    pub baseline_ratio: Option<Ratio>,
    /// The same as a difference, where means may be zero, with its 95 % interval.
    pub baseline_difference: Option<(f64, Interval)>,
    /// p-value of "better than the baseline", by Holm over all that are compared with it;
    /// `None` where one of both was launched once.
    pub p_baseline: Option<f64>,
    /// The same before it was adjusted: for who adjusts over more than the ranking.
    pub p_baseline_alone: Option<f64>,
}

impl RankedConfiguration {
    /// The configuration that has its launches, where it ran as another one.
    pub fn counted_as(&self) -> Option<&str> {
        self.exclusions.iter().find_map(|it| match it {
            Exclusion::RanAs { counted_as }
            | Exclusion::Overridden { counted_as: Some(counted_as), .. } => {
                Some(counted_as.as_str())
            }
            _ => None,
        })
    }

    /// Why it has no rank, as text; `None` where it has one.
    pub fn reason(&self) -> Option<String> {
        exclusion::joined(&self.exclusions)
    }

    /// What a reader should know of an eligible one, bounds that it is not shown to be
    /// within first.
    pub fn all_remarks(&self) -> Vec<Remark> {
        let open =
            |bounded: &&Bounded| self.eligible && bounded.verdict == ConstraintVerdict::NotShown;
        let bounds = self.constraints.iter().filter(open);
        let bounds = bounds.map(|bounded| Remark::BoundNotShown(bounded.clone()));
        bounds.chain(self.remarks.iter().cloned()).collect()
    }

    /// Why a sweep that chose its launches launched it no more.
    pub fn not_again(&self) -> Option<&NotAgain> {
        self.remarks.iter().find_map(|it| match it {
            Remark::NotLaunchedAgain(it) => Some(it),
            _ => None,
        })
    }

    /// The same in a word, with the last launch before; of one that fails or breaks a bound, too.
    pub(super) fn dropped(&self) -> Option<(&'static str, Dropped)> {
        let unranked = self.exclusions.iter().find_map(Exclusion::dropped);
        self.not_again().map(|it| (it.why.as_str(), it.dropped)).or(unranked)
    }

    /// The objective compared with the baseline's: a ratio, or a difference where
    /// means may be zero.
    pub fn effect(&self) -> Option<Effect> {
        let difference = self.baseline_difference;
        let difference =
            difference.map(|(difference, interval)| Effect::Difference { difference, interval });
        self.baseline_ratio.map(Effect::Ratio).or(difference)
    }
}
