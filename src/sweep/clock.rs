//! What time it is, as a value, so that a sweep runs in virtual time too: the wall clock
//! for time stamps and windows, the monotonic clock for durations, and whether the two
//! went apart, which shows that the machine slept or that its clock was set.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ZonedDateTime};
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// How far the wall clock may move ahead of the monotonic one during a repeat: time
/// servers slew by less.
const AHEAD: SignedDuration = SignedDuration::from_secs(5);
/// Shortest sleep of the machine that counts as one.
const SLEEP: Duration = Duration::from_millis(500);
/// How far clocks may be read apart, and how often that is tried.
const TOGETHER: Duration = Duration::from_millis(10);
const READS: u32 = 50;

/// Where times come from.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Virtual { origin: Timestamp, began: Instant, moved: Arc<Mutex<Moved>> },
}

/// What was done to a virtual clock.
#[derive(Clone, Copy, Debug, Default)]
struct Moved {
    set: SignedDuration,
    slept: Duration,
}

/// All clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    wall: Timestamp,
    /// Does not count sleep.
    monotonic: Duration,
    /// Counts it.
    boot: Duration,
}

impl Clock {
    /// The machine's clocks.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that shows `origin` now and advances with tokio's time, which a
    /// test can drive. Its time zone is UTC.
    pub fn from(origin: Timestamp) -> Self {
        Self(Source::Virtual { origin, began: Instant::now(), moved: Arc::default() })
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        self.read().wall
    }

    /// The same in the local time zone.
    pub fn local(&self) -> ZonedDateTime {
        let zone = match &self.0 {
            Source::System => TimeZone::system(),
            Source::Virtual { .. } => TimeZone::UTC,
        };
        self.now().to_zoned_datetime(zone)
    }

    /// All clocks.
    pub fn read(&self) -> Reading {
        match &self.0 {
            Source::System => {
                let of = |id| {
                    let time = clock_gettime(id);
                    Duration::new(
                        u64::try_from(time.tv_sec).unwrap_or_default(),
                        u32::try_from(time.tv_nsec).unwrap_or_default(),
                    )
                };
                let others = || (Timestamp::now(), of(ClockId::Boottime));
                let (monotonic, (wall, boot)) = together(|| of(ClockId::Monotonic), others);
                Reading { wall, monotonic, boot }
            }
            Source::Virtual { origin, began, moved, .. } => {
                let moved = *moved.lock().unwrap_or_else(PoisonError::into_inner);
                let (elapsed, slept) = (began.elapsed(), moved.slept);
                let wall = origin
                    .checked_add(elapsed)
                    .and_then(|at| at.checked_add(slept))
                    .and_then(|at| at.checked_add(moved.set));
                Reading {
                    wall: wall.unwrap_or(Timestamp::MAX),
                    monotonic: elapsed,
                    boot: elapsed + slept,
                }
            }
        }
    }

    /// Sets a virtual clock ahead or back, as a person or a time server does.
    #[cfg(test)]
    pub(super) fn set_by(&self, by: SignedDuration) {
        if let Source::Virtual { moved, .. } = &self.0 {
            moved.lock().unwrap_or_else(PoisonError::into_inner).set += by;
        }
    }

    /// Lets a virtual machine sleep.
    #[cfg(test)]
    pub(super) fn sleep(&self, time: Duration) {
        if let Source::Virtual { moved, .. } = &self.0 {
            moved.lock().unwrap_or_else(PoisonError::into_inner).slept += time;
        }
    }
}

/// Reads the other clocks at one moment of the monotonic one: a pause between two reads is
/// no sleep of the machine. Where pauses never end, the shortest one.
fn together<T>(
    mut monotonic: impl FnMut() -> Duration,
    mut others: impl FnMut() -> T,
) -> (Duration, T) {
    let mut read = || {
        let before = monotonic();
        let others = others();
        (monotonic().saturating_sub(before), (before, others))
    };
    let (mut apart, mut best) = read();
    for _ in 1..READS {
        if apart <= TOGETHER {
            break;
        }
        let (again, reading) = read();
        if again < apart {
            (apart, best) = (again, reading);
        }
    }
    best
}

impl Reading {
    /// Why nothing that was measured between an earlier reading and this one can be used:
    /// the machine slept, or its clock jumped ahead, as that of a virtual machine does
    /// whose host slept. A clock that was set back disturbs nothing: durations do not come
    /// from it.
    pub fn disturbed_since(&self, earlier: &Self) -> Option<String> {
        let passed = self.monotonic.saturating_sub(earlier.monotonic);
        let slept = self.boot.saturating_sub(earlier.boot).saturating_sub(passed);
        if slept >= SLEEP {
            return Some(format!("the machine slept for {} during it", spoken(slept)));
        }
        let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
        let ahead = self.wall.duration_since(earlier.wall).saturating_sub(passed);
        (ahead >= AHEAD).then(|| {
            let by = spoken(ahead.unsigned_abs());
            format!("the clock jumped ahead by {by} during it: the machine may have slept")
        })
    }
}

fn spoken(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        ..120.0 => format!("{seconds:.1} s"),
        ..7_200.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3_600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(wall: i64, monotonic: u64, boot: u64) -> Reading {
        Reading {
            wall: Timestamp::from_second(wall).expect("a time"),
            monotonic: Duration::from_secs(monotonic),
            boot: Duration::from_secs(boot),
        }
    }

    #[test]
    fn a_sleep_and_a_jump_ahead_disturb_and_a_clock_that_is_set_back_does_not() {
        let before = reading(1_000_000, 100, 100);
        for (after, said) in [
            (reading(1_000_060, 160, 160), None),
            (reading(1_000_064, 160, 160), None),
            (reading(996_460, 160, 160), None),
            (reading(1_010_860, 160, 10_960), Some("the machine slept for 3.0 h during it")),
            (
                reading(1_000_160, 160, 160),
                Some("the clock jumped ahead by 100.0 s during it: the machine may have slept"),
            ),
        ] {
            assert_eq!(after.disturbed_since(&before).as_deref(), said, "{after:?}");
        }
    }

    #[test]
    fn a_pause_between_two_clocks_that_are_read_is_no_sleep() {
        // Both clocks show the same; the process does not run for a second at each of these reads.
        let paused = |pauses: &[u32]| {
            let (now, reads) = (std::cell::Cell::new(Duration::ZERO), std::cell::Cell::new(0));
            let read = || {
                reads.set(reads.get() + 1);
                let pause = if pauses.contains(&reads.get()) { 1000 } else { 1 };
                now.set(now.get() + Duration::from_millis(pause));
                now.get()
            };
            let (monotonic, boot) = together(read, read);
            boot.abs_diff(monotonic)
        };
        for pauses in [&[][..], &[2], &[3], &[1, 2, 3], &[2, 5, 8], &[1, 3, 5, 7, 9]] {
            assert!(paused(pauses) <= TOGETHER, "{pauses:?}");
        }
        let always: Vec<u32> = (0..1000).collect();
        assert_eq!(paused(&always), Duration::from_secs(1), "it ends all the same");
    }

    #[test]
    fn the_machine_s_own_clocks_agree_while_it_is_awake() {
        let before = Clock::system().read();
        assert_eq!(Clock::system().read().disturbed_since(&before), None);
    }
}
