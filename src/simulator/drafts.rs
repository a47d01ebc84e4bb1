//! Speculative decoding as its counters show it: which tokens of an answer a draft would
//! have given. It is counted alone, and changes no time: how fast drafts are depends on
//! models that are not simulated. The draft of number n has n modulo (tokens + 1) accepted
//! tokens, which is half of them on average.

use serde_json::Value;

use crate::configuration::Flags;

const FLAG: &str = "speculative-config";
const TOKENS: &str = "num_speculative_tokens";
/// Tokens of a draft at most.
const MOST: u64 = 64;

/// Counters of drafts since the start.
#[derive(Debug, PartialEq, Eq)]
pub struct Drafts {
    /// Tokens of each.
    tokens: u64,
    /// Drafts so far.
    pub made: u64,
    /// Accepted tokens so far, by position.
    pub accepted_at: Vec<u64>,
    /// Tokens of answers that belong to the next draft.
    pending: u64,
}

impl Drafts {
    /// At zero; `None` where nothing is drafted.
    pub fn of(flags: &Flags) -> Option<Self> {
        let dotted = flags.get(&format!("{FLAG}.{TOKENS}")).cloned();
        let tokens = dotted.or_else(|| object(flags.get(FLAG)?)?.get(TOKENS).cloned())?;
        let tokens = tokens.as_u64().or_else(|| tokens.as_str()?.parse().ok())?;
        let tokens = Some(tokens).filter(|tokens| (1..=MOST).contains(tokens))?;
        let accepted_at = vec![0; tokens as usize];
        Some(Self { tokens, made: 0, accepted_at, pending: 0 })
    }

    /// Counts tokens of answers after their first ones: each draft gives its accepted
    /// tokens and one of the model itself.
    pub fn count(&mut self, produced: u64) {
        self.pending += produced;
        loop {
            let accepted = self.made % (self.tokens + 1);
            if self.pending <= accepted {
                return;
            }
            self.pending -= accepted + 1;
            self.made += 1;
            for count in &mut self.accepted_at[..accepted as usize] {
                *count += 1;
            }
        }
    }

    /// Tokens in all drafts so far.
    pub fn drafted(&self) -> u64 {
        self.made * self.tokens
    }

    /// Accepted tokens so far.
    pub fn accepted(&self) -> u64 {
        self.accepted_at.iter().sum()
    }
}

/// JSON as a value or as text.
fn object(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) => serde_json::from_str(text).ok(),
        other => Some(other.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(flags: &Value) -> Option<Drafts> {
        let flags = flags.as_object().expect("flags").clone();
        Drafts::of(&flags.into_iter().collect())
    }

    #[test]
    fn every_spelling_of_the_flag_is_read_and_none_drafts_nothing() {
        for flags in [
            json!({"speculative-config": {"num_speculative_tokens": 3}}),
            json!({"speculative-config": "{\"num_speculative_tokens\": 3}"}),
            json!({"speculative-config.num_speculative_tokens": "3"}),
        ] {
            assert_eq!(of(&flags).expect("drafts").tokens, 3, "{flags}");
        }
        for flags in [json!({}), json!({"speculative-config": {"num_speculative_tokens": 0}})] {
            assert_eq!(of(&flags), None, "{flags}");
        }
    }

    #[test]
    fn tokens_are_those_of_drafts_and_of_the_model() {
        let mut drafts =
            of(&json!({"speculative-config": {"num_speculative_tokens": 3}})).expect("drafts");
        drafts.count(1);
        drafts.count(12);
        // 1, 2, 3 and 4 tokens, and three that the next two drafts give.
        assert_eq!((drafts.made, drafts.drafted(), drafts.accepted()), (6, 18, 7));
        assert_eq!(drafts.accepted_at, [4, 2, 1]);
    }
}
