//! What speculative decoding did, as the server counts it: tokens that were drafted, and
//! those of them that the model accepted, at each position of a draft. vLLM has had two
//! words for drafted tokens, and some of its pages leave `_total` out; all are read. What a
//! server does not show is absent.

use serde::{Deserialize, Serialize};

use crate::server::prometheus::{Scrape, whole};

/// What opens the names of all these counters.
const PREFIX: &str = "vllm:spec_decode_";
const DRAFTS: &[&str] = &["num_drafts"];
const DRAFT_TOKENS: &[&str] = &["num_draft_tokens", "num_drafted_tokens"];
const ACCEPTED: &[&str] = &["num_accepted_tokens"];
const ACCEPTED_AT: &[&str] = &["num_accepted_tokens_per_pos"];
/// Positions of a draft that are believed: vLLM drafts a handful.
const MAX_POSITIONS: usize = 256;

/// Counters of speculative decoding: since the server's start, or between two readings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Speculation {
    /// Drafts that were made.
    pub drafts: Option<u64>,
    /// Tokens in them.
    pub draft_tokens: Option<u64>,
    /// Tokens of them that the model accepted.
    pub accepted_tokens: Option<u64>,
    /// Accepted tokens at each position of a draft, from the first on; empty where the
    /// server does not show them.
    pub accepted_at: Vec<u64>,
}

impl Speculation {
    /// What a scrape shows.
    pub(super) fn of(scrape: &Scrape) -> Self {
        let count = |names: &[&str]| whole(scrape.sum(&shown(scrape, names)?)?);
        Self {
            drafts: count(DRAFTS),
            draft_tokens: count(DRAFT_TOKENS),
            accepted_tokens: count(ACCEPTED),
            accepted_at: accepted_at(scrape).unwrap_or_default(),
        }
    }

    /// What was added since an earlier reading; absent where a counter went back.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let grown = |now: Option<u64>, before: Option<u64>| now?.checked_sub(before?);
        // A position that was not shown before had nothing yet.
        let at = |(place, now): (usize, &u64)| {
            now.checked_sub(before.accepted_at.get(place).copied().unwrap_or(0))
        };
        let is_shorter = self.accepted_at.len() < before.accepted_at.len();
        let accepted_at = self.accepted_at.iter().enumerate().map(at).collect::<Option<Vec<_>>>();
        Self {
            drafts: grown(self.drafts, before.drafts),
            draft_tokens: grown(self.draft_tokens, before.draft_tokens),
            accepted_tokens: grown(self.accepted_tokens, before.accepted_tokens),
            accepted_at: accepted_at.filter(|_| !is_shorter).unwrap_or_default(),
        }
    }

    /// Accepted tokens as a share of those drafted; absent where none was.
    pub fn acceptance(&self) -> Option<f64> {
        let drafted = self.draft_tokens.filter(|tokens| *tokens > 0)?;
        Some(self.accepted_tokens? as f64 / drafted as f64)
    }

    /// The share of the drafts whose token at each position was accepted; absent where none
    /// was made, or their number is not shown.
    pub fn acceptance_by_position(&self) -> Option<Vec<f64>> {
        let drafts = self.drafts.filter(|drafts| *drafts > 0)? as f64;
        let share = |accepted: &u64| *accepted as f64 / drafts;
        (!self.accepted_at.is_empty()).then(|| self.accepted_at.iter().map(share).collect())
    }
}

/// The whole name under which one of these is shown.
fn shown(scrape: &Scrape, names: &[&str]) -> Option<String> {
    let spelt = |name: &&str| [format!("{PREFIX}{name}_total"), format!("{PREFIX}{name}")];
    names.iter().flat_map(spelt).find(|name| scrape.named(name).next().is_some())
}

/// Accepted tokens by the label `position`, summed over engines; `None` where a value is no
/// count, or a position is left out.
fn accepted_at(scrape: &Scrape) -> Option<Vec<u64>> {
    let name = shown(scrape, ACCEPTED_AT)?;
    let mut sums: Vec<Option<u64>> = Vec::new();
    for sample in scrape.named(&name) {
        let position = sample.labels.iter().find(|(label, _)| label == "position");
        let place: usize = position?.1.parse().ok().filter(|place| *place < MAX_POSITIONS)?;
        sums.resize(sums.len().max(place + 1), None);
        sums[place] = Some(sums[place].unwrap_or(0).checked_add(whole(sample.value)?)?);
    }
    sums.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn read(text: &str) -> Speculation {
        Speculation::of(&Scrape::parse(text))
    }

    /// A page of two engines; `drafted` is its word, `total` what ends its names.
    fn page(drafted: &str, total: &str, values: [[u64; 5]; 2]) -> String {
        let mut text = String::new();
        for (engine, [drafts, draft_tokens, accepted, first, second]) in
            values.into_iter().enumerate()
        {
            let labels = format!("engine=\"{engine}\",model_name=\"m\"");
            let at = |place: u32, count: u64| {
                format!(
                    "vllm:spec_decode_num_accepted_tokens_per_pos{total}{{{labels},\
                     position=\"{place}\"}} {count}.0\n"
                )
            };
            let _ = write!(
                text,
                "# TYPE vllm:spec_decode_num_drafts{total} counter\n\
                 vllm:spec_decode_num_drafts{total}{{{labels}}} {drafts}.0\n\
                 vllm:spec_decode_num_drafts_created{{{labels}}} 1.795e+09\n\
                 vllm:spec_decode_num_{drafted}_tokens{total}{{{labels}}} {draft_tokens}.0\n\
                 vllm:spec_decode_num_{drafted}_tokens_created{{{labels}}} 1.795e+09\n\
                 vllm:spec_decode_num_accepted_tokens{total}{{{labels}}} {accepted}.0\n\
                 vllm:spec_decode_num_accepted_tokens_created{{{labels}}} 1.795e+09\n"
            );
            text += &at(1, second);
            text += &at(0, first);
        }
        text
    }

    #[test]
    fn every_spelling_is_read_and_engines_are_summed() {
        let expected = Speculation {
            drafts: Some(12),
            draft_tokens: Some(24),
            accepted_tokens: Some(13),
            accepted_at: vec![9, 4],
        };
        for drafted in ["draft", "drafted"] {
            for total in ["_total", ""] {
                let text = page(drafted, total, [[10, 20, 11, 8, 3], [2, 4, 2, 1, 1]]);
                assert_eq!(read(&text), expected, "{drafted} {total}");
            }
        }
        assert_eq!(read("vllm:request_success_total 1.0\n"), Speculation::default());
    }

    #[test]
    fn what_is_between_two_readings_has_its_own_shares() {
        let before = read(&page("draft", "_total", [[10, 20, 11, 8, 3], [0; 5]]));
        let after = read(&page("draft", "_total", [[18, 36, 17, 14, 3], [0; 5]]));
        let between = after.since(&before);
        assert_eq!(between.draft_tokens, Some(16));
        assert_eq!(between.acceptance(), Some(6.0 / 16.0));
        assert_eq!(between.acceptance_by_position(), Some(vec![0.75, 0.0]));
        // The server was started again: nothing is known.
        assert_eq!(before.since(&after).draft_tokens, None);
        assert_eq!(before.since(&after).acceptance_by_position(), None);
        // Nothing was drafted: that is no acceptance of 0.
        let none = after.since(&after);
        assert_eq!((none.draft_tokens, none.accepted_tokens), (Some(0), Some(0)));
        assert_eq!((none.acceptance(), none.acceptance_by_position()), (None, None));
    }

    #[test]
    fn what_is_no_count_is_absent_and_never_zero() {
        let text = page("draft", "_total", [[10, 20, 11, 8, 3], [0; 5]]);
        let odd = [
            ("} 20.0", "} NaN"),
            ("} 8.0", "} -1"),
            ("position=\"0\"", "position=\"x\""),
            ("position=\"0\"", "position=\"99999999999\""),
            ("position=\"0\"", "position=\"2\""),
        ];
        for (good, bad) in odd {
            let seen = read(&text.replace(good, bad));
            let is_absent = seen.draft_tokens.is_none() || seen.accepted_at.is_empty();
            assert!(is_absent && seen.drafts == Some(10), "{bad}: {seen:?}");
        }
    }
}
