//! Launches that a cluster took: how many, by class. They cost their configurations nothing; here
//! is only what they say of the cluster.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::clean::counted;
use crate::history::launch::LaunchOutcome;
use crate::history::loss::Loss;
use crate::history::record::{LaunchRecord, SweepRecord};

/// Launches of a block that were lost to its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// All of them.
    pub launches: usize,
    /// The same by class, the most frequent one first.
    pub by_class: Vec<(Loss, usize)>,
}

/// `None` where none was lost.
pub(super) fn taken(sweep: &SweepRecord) -> Option<Taken> {
    of(&sweep.launches)
}

fn of(launches: &[LaunchRecord]) -> Option<Taken> {
    let losses = launches.iter().filter_map(|it| match &it.outcome {
        Some(LaunchOutcome::Lost { loss, .. }) => Some(*loss),
        _ => None,
    });
    let mut counts: BTreeMap<Loss, usize> = BTreeMap::new();
    losses.for_each(|loss| *counts.entry(loss).or_default() += 1);
    let mut by_class: Vec<(Loss, usize)> = counts.into_iter().collect();
    by_class.sort_by_key(|it| std::cmp::Reverse(it.1));
    let launches = by_class.iter().map(|it| it.1).sum();
    (launches > 0).then_some(Taken { launches, by_class })
}

impl fmt::Display for Taken {
    /// `5 launches were lost to the cluster: 3 preempted, 2 node failed`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let were = if self.launches == 1 { "was" } else { "were" };
        let all: Vec<String> =
            self.by_class.iter().map(|(loss, count)| format!("{count} {}", loss.short())).collect();
        let launches = counted(self.launches, "launch");
        write!(f, "{launches} {were} lost to the cluster: {}", all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_counted_by_class_the_most_frequent_one_first() {
        assert_eq!(of(&[]), None);
        let lost = |loss| LaunchRecord {
            outcome: Some(LaunchOutcome::Lost { loss, message: String::new() }),
            ..LaunchRecord::default()
        };
        let mut launches = vec![lost(Loss::NodeFailed)];
        let said = |launches: &[LaunchRecord]| of(launches).expect("some").to_string();
        assert_eq!(said(&launches), "1 launch was lost to the cluster: 1 node failed");
        let measured =
            LaunchRecord { outcome: Some(LaunchOutcome::Measured), ..LaunchRecord::default() };
        launches.extend([lost(Loss::Preempted), lost(Loss::Preempted), measured]);
        let several = "3 launches were lost to the cluster: 2 preempted, 1 node failed";
        assert_eq!(said(&launches), several);
    }
}
