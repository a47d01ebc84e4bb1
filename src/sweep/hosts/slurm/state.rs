//! The states of Slurm's jobs, and what they mean for a launch: it waits, runs, or is over, and
//! then why. Pure.

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits to be started, held or not.
    Waits,
    /// It has a node that is not up yet.
    Boots,
    /// It runs, or its node is prepared for it.
    Runs,
    /// It is stopped for a time, and holds its node.
    Stopped,
    /// It is being ended, and holds its node.
    Ending,
    /// It is over.
    Ended(Ended),
    /// A state that this version does not know.
    Unknown,
}

/// Why a job is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its program ended with status 0.
    Completed,
    /// Its program ended with another status, or by a signal.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
    /// It reached its limit of time.
    TimedOut,
    /// A job of a higher priority took its node.
    Preempted,
    /// Its node failed, or could not be started.
    NodeFailed,
    /// It used more memory than it may.
    OutOfMemory,
}

impl State {
    /// As Slurm writes it, short or long.
    pub fn of(text: &str) -> Self {
        // `CANCELLED by 0` and `COMPLETING+` are written, too.
        let word = text.split_whitespace().next().unwrap_or_default().trim_end_matches('+');
        match word {
            "PENDING" | "PD" | "REQUEUED" | "RQ" | "REQUEUE_HOLD" | "RH" | "REQUEUE_FED" | "RF"
            | "RESV_DEL_HOLD" | "RD" | "SPECIAL_EXIT" | "SE" => Self::Waits,
            "RUNNING" | "R" | "RESIZING" | "RS" | "SIGNALING" | "SI" => Self::Runs,
            // Its node is booting, which may take longer than a launch may be silent.
            "CONFIGURING" | "CF" => Self::Boots,
            "SUSPENDED" | "S" | "STOPPED" | "ST" => Self::Stopped,
            "COMPLETING" | "CG" | "STAGE_OUT" | "SO" => Self::Ending,
            "COMPLETED" | "CD" => Self::Ended(Ended::Completed),
            "FAILED" | "F" => Self::Ended(Ended::Failed),
            "CANCELLED" | "CA" | "REVOKED" | "RV" => Self::Ended(Ended::Cancelled),
            "TIMEOUT" | "TO" | "DEADLINE" | "DL" => Self::Ended(Ended::TimedOut),
            "PREEMPTED" | "PR" => Self::Ended(Ended::Preempted),
            "NODE_FAIL" | "NF" | "BOOT_FAIL" | "BF" => Self::Ended(Ended::NodeFailed),
            "OUT_OF_MEMORY" | "OOM" => Self::Ended(Ended::OutOfMemory),
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_long_short_and_with_additions() {
        for (text, state) in [
            ("PENDING", State::Waits),
            ("PD", State::Waits),
            ("REQUEUE_HOLD", State::Waits),
            ("CONFIGURING", State::Boots),
            ("COMPLETING", State::Ending),
            ("SUSPENDED", State::Stopped),
            ("CANCELLED by 1000", State::Ended(Ended::Cancelled)),
            ("CANCELLED+", State::Ended(Ended::Cancelled)),
            ("BOOT_FAIL", State::Ended(Ended::NodeFailed)),
            ("OUT_OF_MEMORY", State::Ended(Ended::OutOfMemory)),
            ("SOMETHING_NEW", State::Unknown),
            ("", State::Unknown),
        ] {
            assert_eq!(State::of(text), state, "{text}");
        }
    }
}
