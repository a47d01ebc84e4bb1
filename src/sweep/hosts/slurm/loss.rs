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
    let advice = advice.or(is_limit_of_one_job(reason).then_some(TOO_MUCH));
    advice.or(cannot_start(reason)
        .then_some("ask the cluster's administrator why jobs fail to be launched"))
}

/// Whether a job waits since none of the nodes that it may run on has what it asks for.
pub fn lacks_nodes(reason: &str) -> bool {
    ["PartitionConfig", "PartitionNodeLimit", "BadConstraints"].contains(&reason)
}

/// What to do where one job asks for more than a QOS or an account allows.
const TOO_MUCH: &str =
    "lower `time` or what `gres` asks for, or name another QOS or account in `options`";

/// Whether a word names a limit of one job's time or size, by an account or a QOS: that does not
/// pass, and one of how many jobs there are does.
fn is_limit_of_one_job(word: &str) -> bool {
    let of_policy = word.starts_with("QOS") || word.starts_with("Assoc");
    let of_one = ["PerJob", "PerNode", "QOSMin"].iter().any(|it| word.contains(it));
    of_policy && of_one
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
    let is_too_much = why.split([' ', ';', ':']).any(is_limit_of_one_job);
    !is_too_much && PASSING.iter().any(|it| why.contains(it))
}

/// Whether a cluster takes no further job for now.
pub fn is_full(why: &str) -> bool {
    ["temporarily unable to accept job", "Resource temporarily unavailable"]
        .iter()
        .any(|it| why.contains(it))
}

/// Whether a failed submission may have been accepted all the same.
pub fn may_be_accepted(why: &str) -> bool {
    why.contains("Socket timed out") || why.contains("Zero Bytes were transmitted")
}

#[cfg(test)]
mod tests {
    use super::super::tool::Answer;
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

    fn captured(name: &str) -> String {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/captures/slurm/");
        let text = std::fs::read_to_string(format!("{folder}{name}")).expect("a capture");
        Answer { code: Some(1), err: text, ..Answer::default() }.why()
    }

    #[test]
    fn a_limit_of_how_many_jobs_passes_and_one_of_a_jobs_time_does_not() {
        for passes in ["acct-refused-submit-limit.err", "acct-refused-submit-limit-account.err"] {
            assert!(is_passing(&captured(passes)), "{passes}");
        }
        for never in [
            "acct-refused-wall.err",
            "acct-refused-account.err",
            "acct-refused-qos.err",
            "acct-refused-qos-of-others.err",
        ] {
            assert!(!is_passing(&captured(never)), "{never}");
        }
        for never in ["QOSMaxWallDurationPerJobLimit", "QOSMaxGRESPerJob", "QOSMinGRES"] {
            assert_eq!(never_starts(never), Some(TOO_MUCH), "{never}");
        }
        for passes in ["QOSMaxJobsPerUserLimit", "AssocGrpGRES", "AssocMaxJobsLimit"] {
            assert_eq!(never_starts(passes), None, "{passes}");
        }
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
