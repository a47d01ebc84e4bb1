//! Metrics of speculative decoding, which every workload has besides its own. They are null
//! where the server shows no such counters: it drafts nothing, or is none of vLLM's. How
//! they are read is in `server`, and which requests they are of in `bench`.

use crate::metric::{Direction, Metric, Scale};

const COUNTERS: &str = "/metrics";

/// The metrics; the workload's key is filled in.
pub(super) const METRICS: &[Metric] = &[
    // 0 where the draft model did not load.
    Metric::new(
        "",
        "draft_tokens",
        "tokens",
        Direction::Neutral,
        "Tokens that speculative decoding drafted during the repeat. Null where the server shows no such counters.",
        COUNTERS,
    )
    .on(Scale::Differences),
    Metric::new(
        "",
        "accepted_tokens",
        "tokens",
        Direction::Neutral,
        "Tokens of these drafts that the model accepted; 0 where the draft model did not load.",
        COUNTERS,
    )
    .on(Scale::Differences),
    Metric::new(
        "",
        "acceptance",
        "share",
        Direction::Neutral,
        "Accepted tokens as a share of those drafted; null where none was.",
        COUNTERS,
    ),
    Metric::new(
        "",
        "acceptance_by_position",
        "share[]",
        Direction::Neutral,
        "Share of the drafts whose token at each position was accepted, from the first position on: a list.",
        COUNTERS,
    ),
];

/// The metrics, for the workload of this key.
pub(super) fn of(workload: &'static str) -> impl Iterator<Item = Metric> {
    METRICS.iter().map(move |metric| Metric { workload, ..*metric })
}
