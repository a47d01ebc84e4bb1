//! What a launch is to measure: the repeats that its trial still lacks, with
//! warm-ups before each case. Pure.

use serde::{Deserialize, Serialize};

use crate::history::behind::behind;
use crate::history::record::SweepRecord;
use crate::history::replay;
use crate::metric::Status;
use crate::workload::Workload;

/// One repeat of one case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pass {
    /// The workload.
    pub workload: Workload,
    /// The case; empty where there is one only.
    pub case: String,
    /// 0 is a warm-up.
    pub repeat: u32,
}

/// What a trial still lacks, where each case is to have `repeats` unless its
/// workload says another number. A void repeat is lacking: nobody can use it. What was left
/// out of a trial that is behind is not.
pub(super) fn missing(record: &SweepRecord, trial: u32, repeats: u32) -> Vec<Pass> {
    let done = replay::measured(record, trial);
    let most = behind(record, trial).map(|it| it.repeats as usize);
    let mut passes = Vec::new();
    for workload in &record.manifest.workloads {
        let repeats = workload.repeats.unwrap_or(u64::from(repeats));
        for case in workload.cases() {
            let is_kept = |repeat: &u32| {
                done.iter().any(|known| {
                    known.workload == workload.kind().name
                        && known.case == case
                        && known.repeat == *repeat
                        && known.status != Status::Void
                })
            };
            let (kept, mut lacking): (Vec<u32>, Vec<u32>) = (1..=repeats as u32).partition(is_kept);
            if let Some(most) = most {
                lacking.truncate(most.saturating_sub(kept.len()));
            }
            if lacking.is_empty() {
                continue;
            }
            let warmups = std::iter::repeat_n(0, workload.warmup as usize);
            for repeat in warmups.chain(lacking) {
                passes.push(Pass { workload: workload.clone(), case: case.clone(), repeat });
            }
        }
    }
    passes
}
