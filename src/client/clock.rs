//! The one clock of all measurements: monotonic nanoseconds, read where bytes arrive and
//! converted into times since a repeat's start later. The kernel stamps with wall-clock
//! time, which is converted here.

use std::cell::Cell;
use std::sync::LazyLock;
use std::time::{Instant, SystemTime};

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The two clocks are compared again when they seem to differ by more than this.
const DRIFT_NS: u64 = 20_000;

thread_local! {
    /// Wall-clock time minus that of [`now_ns`].
    static OFFSET_NS: Cell<i64> = const { Cell::new(0) };
}

/// Nanoseconds of the monotonic clock since the process first asked.
pub fn now_ns() -> u64 {
    u64::try_from(EPOCH.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// A wall-clock stamp, nanoseconds since 1970, in time of [`now_ns`]: never in the
/// future, even if the wall clock was set since.
pub(crate) fn of_wall(stamp_ns: u64) -> u64 {
    let now_ns = now_ns();
    let difference = wall_ns().wrapping_sub(now_ns).cast_signed();
    let mut offset = OFFSET_NS.get();
    // Beyond that the clock was set or is being adjusted, or this thread was interrupted.
    if difference.abs_diff(offset) > DRIFT_NS {
        offset = measure_offset();
        OFFSET_NS.set(offset);
    }
    stamp_ns.wrapping_sub(offset.cast_unsigned()).min(now_ns)
}

/// Wall-clock time minus that of [`now_ns`], from the reading with the least delay.
fn measure_offset() -> i64 {
    let readings = (0..5).map(|_| {
        let before_ns = now_ns();
        let wall_ns = wall_ns();
        let took_ns = now_ns() - before_ns;
        (took_ns, wall_ns.wrapping_sub(before_ns + took_ns / 2).cast_signed())
    });
    readings.min().map_or(0, |(_, offset)| offset)
}

fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_clock_stamps_become_monotonic_time() {
        let (before_ns, stamp_ns, after_ns) = (now_ns(), wall_ns(), now_ns());
        let at_ns = of_wall(stamp_ns);
        assert!((before_ns.saturating_sub(DRIFT_NS)..=after_ns + DRIFT_NS).contains(&at_ns));
        assert!(of_wall(stamp_ns + 1_000_000_000_000) <= now_ns(), "no stamp is in the future");
    }
}
