//! Times that never go back: a journal's time stamps are the wall clock's, which people
//! and time servers set, and which jumps when a machine wakes. How long things took comes
//! from the monotonic clock, which each line has beside it. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::journal::{Entry, Line};

/// The time of each line, in the journal's order: the session's begin by the wall clock,
/// and from there on by the monotonic clock. No line is before the one above it. Lines of
/// older versions have the wall clock alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Steady {
    began: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl Steady {
    /// The time of the next line.
    pub fn next(&mut self, line: &Line) -> Timestamp {
        let not_before = |at: Timestamp, last: Option<Timestamp>| last.map_or(at, |it| it.max(at));
        if matches!(line.entry, Entry::SessionStarted { .. }) {
            self.began = Some(not_before(line.at, self.last));
        }
        let by_session = self.began.zip(line.elapsed_ms).and_then(|(began, elapsed)| {
            let elapsed = jiff::SignedDuration::try_from(Duration::from_millis(elapsed)).ok()?;
            began.checked_add(elapsed).ok()
        });
        let at = not_before(by_session.unwrap_or(line.at), self.last);
        self.last = Some(at);
        at
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(begins: bool, wall: i64, elapsed_ms: Option<u64>) -> Line {
        let entry = if begins {
            Entry::SessionStarted {
                schema_version: 1,
                tool_version: String::new(),
                suite_version: None,
            }
        } else {
            Entry::SessionEnded { complete: false, reason: String::new() }
        };
        let at = Timestamp::from_second(1_800_000_000 + wall).expect("a time");
        Line { sequence: 1, at, elapsed_ms, happened_at: None, entry }
    }

    fn times(lines: &[Line]) -> Vec<i64> {
        let mut steady = Steady::default();
        lines.iter().map(|it| steady.next(it).as_second() - 1_800_000_000).collect()
    }

    #[test]
    fn a_clock_that_is_set_in_mid_session_changes_no_duration() {
        let set_back = [
            line(true, 0, Some(0)),
            line(false, -3600, Some(10_000)),
            line(false, -3590, Some(20_000)),
        ];
        assert_eq!(times(&set_back), [0, 10, 20]);
        let woken = [line(true, 0, Some(0)), line(false, 30_000, Some(10_000))];
        assert_eq!(times(&woken), [0, 10]);
    }

    #[test]
    fn a_session_that_begins_before_the_last_one_ended_follows_it() {
        let lines = [
            line(true, 0, Some(0)),
            line(false, 100, Some(100_000)),
            line(true, 40, Some(0)),
            line(false, 50, Some(10_000)),
        ];
        assert_eq!(times(&lines), [0, 100, 100, 110]);
    }

    #[test]
    fn lines_of_older_versions_have_the_wall_clock_and_never_go_back() {
        let lines = [line(true, 0, None), line(false, 60, None), line(false, 30, None)];
        assert_eq!(times(&lines), [0, 60, 60]);
    }

    proptest! {
        #[test]
        fn no_time_is_before_the_one_above_it(
            lines in proptest::collection::vec(
                (any::<bool>(), -100_000_i64..100_000, proptest::option::of(any::<u64>())), 0..30,
            ),
        ) {
            let lines: Vec<Line> =
                lines.into_iter().map(|(begins, wall, ms)| line(begins, wall, ms)).collect();
            let times = times(&lines);
            prop_assert!(times.is_sorted(), "{times:?}");
        }
    }
}
