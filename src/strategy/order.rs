//! The order of launches: blocks of all configurations, so that a machine whose speed
//! moves slows all of them alike. Two configurations alternate strictly; more are
//! shuffled in each block, and none begins a block that ended the last. From
//! [`BASELINE_TWICE`] on, the baseline is launched again in each block's middle, since
//! every comparison with it is only as good as its own launches. Seeded.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::Purpose;

/// Configurations from which the baseline is launched twice in each block.
pub const BASELINE_TWICE: usize = 7;

/// The rule that orders launches. A sweep keeps the one that it began with: a trial's
/// number means the same configuration in every session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Each block is a shuffle of its own. Older manifests name no order: theirs is this.
    #[default]
    Shuffled,
    /// As [`Opened`](Self::Opened), but of two configurations either may be first.
    Separated,
    /// What this module's first lines say.
    Opened,
}

impl Order {
    fn separates(self) -> bool {
        matches!(self, Self::Separated | Self::Opened)
    }

    /// Whether a baseline is launched twice in each block of so many configurations.
    pub(super) fn has_baseline_twice(self, configurations: usize) -> bool {
        self.separates() && configurations >= BASELINE_TWICE
    }

    /// Launches of one block.
    pub(crate) fn per_block(self, configurations: usize, baseline: bool) -> usize {
        configurations + usize::from(baseline && self.has_baseline_twice(configurations))
    }
}

/// Configuration and purpose of each trial. The baseline opens the first block: what does not
/// work with flags that are known to work is not worth a night, and what gates find in it
/// fails nobody else.
pub(super) fn blocks(
    launches: u32,
    seed: u64,
    configurations: usize,
    baseline: Option<usize>,
    rule: Order,
) -> Vec<(usize, Purpose)> {
    let mut order: Vec<(usize, Purpose)> = Vec::new();
    for block in 0..launches {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(u64::from(block));
        let last = order.last().map(|(configuration, _)| *configuration);
        let last = last.filter(|_| rule.separates());
        let members = match configurations {
            2 if rule.separates() => {
                let opening = baseline.filter(|_| rule == Order::Opened);
                pair(last, opening, &mut random)
            }
            _ => shuffled(configurations, last, baseline.filter(|_| block == 0), &mut random),
        };
        let twice = baseline.filter(|_| rule.has_baseline_twice(configurations));
        match twice {
            Some(baseline) => order.extend(with_middle(members, baseline, last)),
            None => order.extend(members.into_iter().map(|member| (member, Purpose::Screen))),
        }
    }
    order
}

/// Always the one that did not run last; in the first block the `opening` one.
fn pair(last: Option<usize>, opening: Option<usize>, random: &mut impl Rng) -> Vec<usize> {
    let any = || opening.unwrap_or_else(|| usize::from(!random.random::<bool>()));
    let first = last.map_or_else(any, |last| 1 - last);
    vec![first, 1 - first]
}

/// A shuffled block that `opening` opens, or anything but `last`.
pub(super) fn shuffled(
    configurations: usize,
    last: Option<usize>,
    opening: Option<usize>,
    random: &mut impl Rng,
) -> Vec<usize> {
    let mut members: Vec<usize> = (0..configurations).collect();
    members.shuffle(random);
    if let Some(opening) = opening {
        members.retain(|member| *member != opening);
        members.insert(0, opening);
    }
    if configurations > 1 && members.first().copied() == last {
        let other = random.random_range(1..configurations);
        members.swap(0, other);
    }
    members
}

/// A block with the baseline once more in its middle, and not beside itself. `last` ended
/// the block before.
fn with_middle(
    mut members: Vec<usize>,
    baseline: usize,
    last: Option<usize>,
) -> Vec<(usize, Purpose)> {
    let middle = members.len().div_ceil(2);
    let own = members.iter().position(|member| *member == baseline).unwrap_or_default();
    // Its neighbours in the middle are the members before and at `middle`.
    if own == middle || own + 1 == middle {
        let to = if last == Some(baseline) { members.len() - 1 } else { 0 };
        // What then opens the block may have ended the last one: it goes where the baseline was.
        members.swap(own, to);
    }
    let mut block: Vec<(usize, Purpose)> =
        members.into_iter().map(|member| (member, Purpose::Screen)).collect();
    block.insert(middle, (baseline, Purpose::Sentinel));
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(
        launches: u32,
        seed: u64,
        configurations: usize,
        baseline: Option<usize>,
    ) -> Vec<usize> {
        let all = blocks(launches, seed, configurations, baseline, Order::Separated);
        all.into_iter().map(|(it, _)| it).collect()
    }

    #[test]
    fn two_configurations_alternate_strictly_from_a_random_start() {
        for seed in 0..20 {
            let order = order(4, seed, 2, Some(1));
            assert!(order.windows(2).all(|pair| pair[0] != pair[1]), "{order:?}");
        }
        let starts: usize = (0..100).map(|seed| order(1, seed, 2, Some(1))[0]).sum();
        assert!((30..70).contains(&starts), "{starts} of 100");
    }

    #[test]
    fn no_block_begins_with_what_ended_the_last() {
        for configurations in 2..14 {
            for seed in 0..40 {
                for baseline in [None, Some(0), Some(configurations - 1)] {
                    let order = order(6, seed, configurations, baseline);
                    assert!(
                        order.windows(2).all(|pair| pair[0] != pair[1]),
                        "{configurations} by {seed}: {order:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn from_seven_on_the_baseline_is_launched_again_in_the_middle() {
        let order = blocks(5, 3, 9, Some(4), Order::Separated);
        assert_eq!(order.len(), 5 * Order::Separated.per_block(9, true));
        assert_eq!(order[0].0, 4);
        for block in order.chunks(10) {
            assert_eq!(block[5], (4, Purpose::Sentinel));
            let mut members: Vec<usize> = block.iter().map(|(it, _)| *it).collect();
            members.remove(5);
            members.sort_unstable();
            assert_eq!(members, (0..9).collect::<Vec<_>>());
        }
        assert_eq!(order_len(6, Some(0)), 6);
        assert_eq!(order_len(7, None), 7);
    }

    fn order_len(configurations: usize, baseline: Option<usize>) -> usize {
        blocks(1, 1, configurations, baseline, Order::Separated).len()
    }

    #[test]
    fn older_sweeps_keep_their_shuffled_blocks() {
        let older = |configurations, baseline| -> Vec<usize> {
            let order = blocks(2, 1, configurations, baseline, Order::Shuffled);
            assert!(order.iter().all(|(_, purpose)| *purpose == Purpose::Screen));
            order.into_iter().map(|(it, _)| it).collect()
        };
        // As the journal of the example sweep had them before orders were written.
        let journal = [7, 3, 8, 5, 2, 1, 6, 0, 4, 6, 5, 2, 8, 0, 4, 7, 1, 3];
        assert_eq!(older(9, Some(7)), journal);
        assert_eq!(older(7, Some(0)).len(), 14);
    }
}
