//! How many launches a race has: of its first block, of each configuration before the duels,
//! and in all at the most. Numbers alone; what is launched is decided in `blocks` and `race`.

/// Configurations up to which the second block has all of them.
pub const SMALL: usize = 12;

/// Configurations at most of the second block, where it has not all of them.
pub const SURVIVORS: usize = 8;

/// Launches of others between two of the baseline, where there are more.
pub(super) const BETWEEN: usize = 12;

/// Launches at most of a configuration, where there are few; and from which a leader that may
/// break a bound is launched no more for that.
pub(super) const LAUNCHES_OF_EACH: u32 = 8;

/// Further launches at most after the first block, where there are many.
const AFTER_BLOCK: u32 = 90;

/// Launches of the first block of so many configurations, and how many of them are the
/// baseline's again.
pub fn opening_launches(configurations: usize, baseline: bool) -> (u32, u32) {
    let has_sentinels = baseline && configurations > SMALL;
    let again = if has_sentinels { (configurations - 1) / BETWEEN } else { 0 };
    ((configurations + again) as u32, again as u32)
}

/// Launches of one configuration of so many that are known beforehand.
pub fn launches_of(configurations: usize, is_baseline: bool) -> u32 {
    let (_, again) = opening_launches(configurations, is_baseline);
    1 + again + u32::from(configurations <= SMALL)
}

/// Launches at most, where the grid does not say.
pub fn most_launches(configurations: usize, baseline: bool) -> u32 {
    let (opening, _) = opening_launches(configurations, baseline);
    (LAUNCHES_OF_EACH * configurations as u32).min(opening + AFTER_BLOCK)
}
