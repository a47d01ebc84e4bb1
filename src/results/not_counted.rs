//! Launches that no figure is made of, since they were measured with something else: those
//! of earlier blocks. Their rows are in the frame; here is how many there are, and why. A block
//! that has launches of a confirmation alone has no ranking: that is said here, too.

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

/// A block in which a confirmation was launched, and nothing of the sweep itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Unswept {
    /// Its number, from 1.
    pub block: u32,
    /// Launches of its confirmations.
    pub launches: usize,
    /// Configurations of the sweep.
    pub of: usize,
}

/// The latest block, where only confirmations were launched in it.
pub(super) fn unswept(sweep: &SweepRecord) -> Option<Unswept> {
    let launches = sweep.launches.len();
    let own = sweep.own_launches().next();
    let of = sweep.manifest.configurations.len();
    (launches > 0 && own.is_none()).then(|| Unswept { block: sweep.block(), launches, of })
}

impl fmt::Display for Unswept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { block, launches, .. } = self;
        let plural = if *launches == 1 { "" } else { "es" };
        write!(
            f,
            "block {block} has {launches} launch{plural} of a confirmation, and none of the "
        )?;
        f.write_str("sweep itself")
    }
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
