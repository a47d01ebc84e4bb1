//! One launch as the journal's lines add up to it: what was asked of it, where it ran, what it
//! gave, how it ended. What a sweep has besides its launches is in `record`.

use serde::{Deserialize, Serialize};

use super::launch::{Behind, LaunchFacts, LaunchOutcome};
use super::loss;
use crate::gate::GateReport;
use crate::machine::Machine;
use crate::metric::{Measurement, Status};
use crate::server::effective::EffectiveValues;
use crate::strategy::{Bar, Numbered, Purpose};

/// One launch and what it gave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LaunchRecord {
    /// Number of the launch in the sweep, from 1.
    pub launch: u32,
    /// The strategy's trial that it serves: an interrupted trial is served again
    /// by a later launch, which measures what the trial still lacks.
    #[serde(default, rename = "slot")]
    pub trial: u32,
    /// What the trial is for.
    #[serde(default)]
    pub purpose: Purpose,
    /// Number of the confirmation that it is made for: the ranking does not count it.
    #[serde(default)]
    pub confirmation: Option<u32>,
    /// When its first entry was journalled.
    #[serde(default)]
    pub started_at: Option<jiff::Timestamp>,
    /// When its last entry was journalled, once it is over.
    #[serde(default)]
    pub ended_at: Option<jiff::Timestamp>,
    /// When its server was ready and its flags were proven.
    pub ready_at: Option<jiff::Timestamp>,
    /// The configuration's name.
    pub configuration: String,
    /// Kept repeats of each case that its trial is to have, where that is journalled.
    #[serde(default)]
    pub repeats: Option<u32>,
    /// Beyond which value its trial is clearly behind, where its strategy gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bar: Option<Bar>,
    /// Why further repeats of its trial were left out, where they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<Behind>,
    /// GPUs that its flags ask for, where that is journalled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<u32>,
    /// The host that it ran on, where that is journalled; see [`host_of`](super::record::SweepRecord::host_of).
    #[serde(default)]
    pub host: Option<String>,
    /// Id of the job that makes it, where a cluster does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// The machine that it ran on, where that is not the manifest's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Box<Machine>>,
    /// What is known of its server; `None` where it never became ready.
    pub facts: Option<LaunchFacts>,
    /// What the server showed that it ran with.
    pub effective: EffectiveValues,
    /// What its gates said, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<GateReport>,
    /// When each of them was journalled, in the same order; empty where not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gated_at: Vec<jiff::Timestamp>,
    /// In the order of measuring, warm-ups included.
    pub measurements: Vec<Measurement>,
    /// When each of them was journalled, in the same order; empty where not known.
    #[serde(default)]
    pub measured_at: Vec<jiff::Timestamp>,
    /// The metrics of the launch itself, from the other fields; see [`super::of_launch`].
    #[serde(default, skip)]
    pub own: Option<Measurement>,
    /// How it ended; `None` while it runs.
    pub outcome: Option<LaunchOutcome>,
}

impl LaunchRecord {
    /// Its trial, as a strategy's duels are found by.
    pub(crate) fn numbered(&self) -> Numbered<'_> {
        let is_final = self.purpose == Purpose::Final;
        Numbered { trial: self.trial, is_final, configuration: &self.configuration }
    }

    /// Whether it has an end that says something: one that was interrupted has none.
    pub fn is_over(&self) -> bool {
        self.outcome.as_ref().is_some_and(LaunchOutcome::is_settled)
    }

    /// Whether it finished a kept repeat that can be used.
    pub fn has_kept(&self) -> bool {
        self.measurements.iter().any(Self::is_kept)
    }

    /// The node that is not used again since this launch was lost there, and why.
    pub fn refused_node(&self) -> Option<(&str, &str)> {
        let Some(LaunchOutcome::Lost { loss, message }) = &self.outcome else { return None };
        match &self.host {
            Some(host) if loss.is_of_node() => {
                let why = message.strip_prefix(host.as_str()).and_then(|it| it.strip_prefix(": "));
                Some((host.as_str(), why.unwrap_or(message)))
            }
            _ => loss::refused(message),
        }
    }

    /// Whether a repeat is kept: neither a warm-up nor void.
    pub fn is_kept(measurement: &Measurement) -> bool {
        measurement.repeat > 0 && measurement.status != Status::Void
    }

    /// Whether it has neither a job nor an end: where a cluster makes launches, its submission may
    /// have been accepted all the same.
    pub fn may_be_submitted(&self) -> bool {
        self.job.is_none() && self.outcome.is_none()
    }

    /// Whether a job of a cluster makes it, and has no end yet: it outlives the process that
    /// submitted it.
    pub fn runs_on(&self) -> bool {
        self.job.is_some() && self.outcome.is_none()
    }

    /// Entries of its job that are journalled: what the server showed, gates, repeats, and that
    /// further ones were left out.
    pub fn entries_of_job(&self) -> usize {
        let (ready, behind) = (self.facts.is_some(), self.behind.is_some());
        usize::from(ready) + self.gates.len() + self.measurements.len() + usize::from(behind)
    }

    /// Status and reason of the row of a launch that gave no measurement.
    pub fn status(&self) -> (Status, Option<String>) {
        match &self.outcome {
            Some(LaunchOutcome::Failed(failure)) => (Status::Failed, Some(failure.message.clone())),
            Some(LaunchOutcome::Skipped { reason, .. }) => (Status::Skipped, Some(reason.clone())),
            Some(LaunchOutcome::Interrupted) | None => {
                (Status::Void, Some("interrupted".to_owned()))
            }
            Some(LaunchOutcome::Lost { loss, .. }) => {
                (Status::Void, Some(loss.as_str().to_owned()))
            }
            Some(LaunchOutcome::Unknown) => (Status::Void, Some("unknown outcome".to_owned())),
            Some(LaunchOutcome::Measured) => (Status::Ok, None),
        }
    }
}
