//! Launches that no figure is made of, since they were measured with something else: those
//! of earlier blocks. Their rows are in the frame; here is how many there are, and why.

use std::fmt;

use serde::Serialize;

use crate::history::record::SweepRecord;

/// More differences than these are counted only.
const NAMED: usize = 3;

/// A block that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotCounted {
    /// Its number, from 1.
    pub block: u32,
    /// Its launches.
    pub launches: usize,
    /// What changed after it, each as a sentence.
    pub differences: Vec<String>,
}

/// The earlier blocks that have launches, oldest first.
pub(super) fn not_counted(sweep: &SweepRecord) -> Vec<NotCounted> {
    let earlier = sweep.earlier.iter().filter(|it| !it.launches.is_empty());
    earlier
        .map(|it| NotCounted {
            block: it.number,
            launches: it.launches.len(),
            differences: it.next.differences.clone(),
        })
        .collect()
}

impl fmt::Display for NotCounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { block, launches, differences } = self;
        let (noun, verb) = if *launches == 1 { ("launch", "is") } else { ("launches", "are") };
        let named = differences.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>();
        let more = match differences.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        write!(f, "{launches} {noun} of block {block} {verb} not counted; then changed: ")?;
        write!(f, "{}{more}", named.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_counted_is_said_with_what_changed_after_it() {
        let of = |launches, differences: &[&str]| NotCounted {
            block: 1,
            launches,
            differences: differences.iter().map(|&it| it.to_owned()).collect(),
        };
        let said = "12 launches of block 1 are not counted; then changed: driver: 550 -> 560";
        assert_eq!(of(12, &["driver: 550 -> 560"]).to_string(), said);
        let said = "1 launch of block 1 is not counted; then changed: a; b; c and 2 more";
        assert_eq!(of(1, &["a", "b", "c", "d", "e"]).to_string(), said);
    }
}
