//! Metrics of answers' texts in characters, for configurations whose tokens are not one
//! unit: models with different tokenizers. Every workload has them that reads answers one
//! by one; `load` has a throughput of its own, and `command` reads none.

use super::{Absence, command, load};
use crate::metric::{Direction, Metric};

/// The metrics; the workload's key is filled in.
pub(super) const METRICS: &[Metric] = &[
    Metric::new(
        "",
        SPEED,
        "chars/s",
        Direction::Higher,
        "Characters of an answer per second, from its first token to its last one (those of the first chunk left out): median of the answers that ended. Thinking and tool calls count; an answer in one piece has none.",
        "client clock",
    ),
    Metric::new(
        "",
        "mean_output_characters",
        "chars",
        Direction::Neutral,
        "Mean characters of the answers that ended, thinking and tool calls included.",
        "answers",
    ),
];

const SPEED: &str = "characters_per_second";

/// The metrics, for the workload of this key.
pub(super) fn of(workload: &'static str) -> impl Iterator<Item = Metric> {
    let has = ![load::KIND.key, command::KIND.key].contains(&workload);
    METRICS.iter().filter(move |_| has).map(move |metric| Metric { workload, ..*metric })
}

/// Why a metric of answers' texts will be absent, where each has so many tokens at most.
pub(super) fn unmeasurable(metric: &str, most_tokens: u64) -> Option<Absence> {
    (metric == SPEED && most_tokens == 1).then(Absence::of_one_token)
}
