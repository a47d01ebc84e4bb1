//! Why a launch came to nothing on a cluster, by what is known of its job: never the
//! configuration's failure, except where it took too much memory again and again. Pure.

use super::state::Ended;
use crate::history::loss::Loss;

/// How a job that is over without a result was lost.
pub fn of(ended: Option<Ended>) -> Loss {
    match ended {
        Some(Ended::NodeFailed) => Loss::NodeFailed,
        Some(Ended::Preempted) => Loss::Preempted,
        Some(Ended::TimedOut) => Loss::TimedOut,
        Some(Ended::OutOfMemory) => Loss::OutOfMemory,
        Some(Ended::Cancelled) => Loss::Cancelled,
        Some(Ended::Completed | Ended::Failed) | None => Loss::NoResult,
    }
}

/// Reasons of a job that waits which mean that it never starts as it was asked for.
const NEVER: [(&str, &str); 7] = [
    ("PartitionTimeLimit", "lower `time` below the partition's limit"),
    ("PartitionConfig", "no node of the partition has what a launch asks for"),
    ("PartitionNodeLimit", "no node of the partition has what a launch asks for"),
    ("BadConstraints", "no node has what a launch asks for"),
    ("DependencyNeverSatisfied", "take the dependency out of `options`"),
    ("InvalidAccount", "name another account in `options`"),
    ("InvalidQOS", "name another QOS in `options`"),
];

/// What to do about a job that waits for a reason which does not pass by itself; `None` where it
/// may.
pub fn never_starts(reason: &str) -> Option<&'static str> {
    let advice = NEVER.iter().find(|(word, _)| reason == *word).map(|(_, advice)| *advice);
    advice.or(cannot_start(reason)
        .then_some("ask the cluster's administrator why jobs fail to be launched"))
}

/// Whether a job waits since its node could not start it.
pub fn cannot_start(reason: &str) -> bool {
    reason.starts_with("launch failed requeued held")
}

/// Whether a refused submission may be accepted later.
pub fn is_passing(why: &str) -> bool {
    const PASSING: [&str; 8] = [
        "Resource temporarily unavailable",
        "Unable to contact slurm controller",
        "Socket timed out",
        "temporarily unable to accept job",
        "Protocol authentication error",
        "Slurm backup controller in standby mode",
        "Job violates accounting/QOS policy",
        "Zero Bytes were transmitted",
    ];
    PASSING.iter().any(|it| why.contains(it))
}

/// Whether a failed submission may have been accepted all the same.
pub fn may_be_accepted(why: &str) -> bool {
    why.contains("Socket timed out") || why.contains("Zero Bytes were transmitted")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_pass_by_itself_has_an_advice() {
        assert!(never_starts("PartitionTimeLimit").is_some_and(|it| it.contains("`time`")));
        assert!(never_starts("launch failed requeued held").is_some());
        for passing in ["Priority", "Resources", "JobHeldUser", "BeginTime", "PartitionDown", ""] {
            assert_eq!(never_starts(passing), None, "{passing}");
        }
        let down = "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher \
                    priority partitions";
        assert_eq!(never_starts(down), None);
    }

    #[test]
    fn a_full_queue_and_a_controller_that_is_down_pass_and_a_wrong_partition_does_not() {
        assert!(is_passing("Batch job submission failed: Resource temporarily unavailable"));
        assert!(is_passing("Unable to contact slurm controller (connect failure)"));
        assert!(!is_passing("Batch job submission failed: Invalid partition name specified"));
        assert!(may_be_accepted("Socket timed out on send/recv operation"));
        assert!(!may_be_accepted("Resource temporarily unavailable"));
    }
}
