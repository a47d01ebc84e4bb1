//! The one clock of the bench: monotonic nanoseconds, stamped where bytes
//! arrive and turned into times since a repeat's start later.

use std::sync::LazyLock;
use std::time::Instant;

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds of the monotonic clock since the process first asked.
pub fn now_ns() -> u64 {
    u64::try_from(EPOCH.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// The start of a repeat, from which its records count.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin_ns: u64,
}

impl Clock {
    /// Starts now.
    pub fn start() -> Self {
        Self { origin_ns: now_ns() }
    }

    /// Nanoseconds from the start to a stamp of [`now_ns`].
    pub fn since(self, stamp_ns: u64) -> u64 {
        stamp_ns.saturating_sub(self.origin_ns)
    }

    /// Nanoseconds from the start to now.
    pub fn elapsed_ns(self) -> u64 {
        self.since(now_ns())
    }
}
