//! What an analysis read of a sweep's files, kept for the next analysis of the same sweep: a
//! report that is written after each launch reads the files of new launches only. It is bounded
//! however long the sweep is.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Quantity;
use super::reservoir::Reservoir;

/// Times of requests that are kept of all curves together: 32 MiB.
const MOST: usize = 4 << 20;
/// Of one curve at least: enough for 120 points.
const FEWEST: usize = 240;

/// What was read of the files of one sweep. Of a curve with more requests than a single analysis
/// keeps, or of a sweep with very many curves, it is a random part of them.
#[derive(Debug, Default)]
pub struct Records {
    /// By configuration's name.
    pub(super) requests: HashMap<String, Vec<Kept>>,
    /// By launch, of those that are over.
    pub(super) samples: HashMap<u32, OfLaunch>,
    /// Files that were read, in all.
    pub(super) files: usize,
}

/// The requests of one configuration's repeats of one case.
#[derive(Debug)]
pub(super) struct Kept {
    /// Launches and repeats that are in it.
    pub(super) repeats: BTreeSet<(u32, u32)>,
    /// By quantity.
    pub(super) values: Vec<Reservoir>,
}

/// A quantity, of one GPU where it is of one.
pub(super) type Key = (Quantity, u32);

/// The samples of one launch, thinned out.
#[derive(Clone, Debug)]
pub(super) struct OfLaunch {
    /// Points that it was thinned out to.
    pub(super) points: usize,
    pub(super) series: BTreeMap<Key, Vec<Around>>,
}

/// What is known around one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Around {
    pub(super) at: f64,
    pub(super) mean: f64,
    pub(super) most: f64,
    pub(super) samples: f64,
}

impl Records {
    /// How many files were read for it, in all.
    pub fn files_read(&self) -> usize {
        self.files
    }
}

/// Values of one curve, where there are so many.
pub(super) fn room(curves: usize, most: usize) -> usize {
    (MOST / curves.max(1)).clamp(FEWEST, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_curves_together_have_a_limit() {
        assert_eq!(room(0, 10_000), 10_000);
        assert_eq!(room(400, 10_000), 10_000);
        assert_eq!(room(4_096, 10_000), 1_024);
        assert_eq!(room(1 << 20, 10_000), FEWEST);
    }
}
