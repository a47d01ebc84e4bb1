//! What the gates of a sweep say to who reads its ranking: that there were none, or on which
//! prompts the baseline fails, so that nobody is judged there. A configuration that failed
//! a gate has no rank: that is in `eligibility`.

use std::fmt;

use serde::Serialize;

use super::arm::Arm;
use super::exclusion::Exclusion;
use crate::gate::{BaselineFailures, Gate};
use crate::history::launch::{FailureClass, LaunchOutcome};
use crate::history::record::SweepRecord;

/// What is to be known of a sweep's gates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "gates", rename_all = "snake_case")]
pub enum Gated {
    /// The grid switched them off.
    Off,
    /// The baseline fails on some prompts.
    BaselineFails {
        /// The baseline.
        baseline: String,
        /// Gates, each with the prompts.
        prompts: Vec<(Gate, Vec<String>)>,
    },
}

/// `None` where gates ran and the baseline passed, and of a version without gates.
pub(super) fn gated(sweep: &SweepRecord) -> Option<Gated> {
    if sweep.manifest.gates.as_ref()?.is_off() {
        return Some(Gated::Off);
    }
    let name = sweep.manifest.baseline.as_deref()?;
    let configurations = &sweep.manifest.configurations;
    let baseline = configurations.iter().find(|known| known.answers_to(name))?;
    let launches = sweep.launches.iter().filter(|it| it.configuration == baseline.name);
    let failures = BaselineFailures::of(launches.flat_map(|it| &it.gates));
    let mut prompts: Vec<(Gate, Vec<String>)> = Vec::new();
    for (gate, prompt) in failures.iter() {
        match prompts.last_mut() {
            Some((last, names)) if *last == gate => names.push(prompt.to_owned()),
            _ => prompts.push((gate, vec![prompt.to_owned()])),
        }
    }
    let baseline = baseline.name.clone();
    (!prompts.is_empty()).then_some(Gated::BaselineFails { baseline, prompts })
}

/// Why a configuration has no rank, where a gate ended one of its launches: however the
/// others were measured, it answers so at times.
pub(super) fn failed(arm: &Arm<'_>) -> Option<Exclusion> {
    let mut messages = arm.launches.iter().filter_map(|launch| match &launch.outcome {
        Some(LaunchOutcome::Failed(failure)) if failure.class == FailureClass::GateFailed => {
            Some(&failure.message)
        }
        _ => None,
    });
    Some(Exclusion::GateFailed { message: messages.next()?.clone() })
}

impl fmt::Display for Gated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("gates: off, so what was answered was not looked at"),
            Self::BaselineFails { baseline, prompts } => {
                let each: Vec<String> = prompts
                    .iter()
                    .map(|(gate, names)| format!("`{gate}` on {}", names.join(", ")))
                    .collect();
                let each = each.join(" and ");
                write!(f, "the baseline {baseline} fails {each}: nobody is judged there")
            }
        }
    }
}
