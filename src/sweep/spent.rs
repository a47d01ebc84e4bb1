//! How long the sessions of a sweep worked, by its journal: a budget counts that, and a
//! simulated machine's time is that. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::history::journal::{Entry, Line};

/// Time that earlier sessions worked: from each one's first line to its last.
pub(super) fn spent(lines: &[Line]) -> Duration {
    let mut sessions: BTreeMap<usize, (jiff::Timestamp, jiff::Timestamp)> = BTreeMap::new();
    let mut session = 0;
    for line in lines {
        if matches!(line.entry, Entry::SessionStarted { .. }) {
            session += 1;
        }
        sessions.entry(session).or_insert((line.at, line.at)).1 = line.at;
    }
    sessions
        .values()
        .map(|(first, last)| Duration::try_from(last.duration_since(*first)).unwrap_or_default())
        .sum()
}
