//! Prompts from a seed, in real words (English and French, written for this
//! crate), as long as asked for in tokens *as the server counts them*.
//!
//! No tokeniser is needed: prompts of one size have the same sentences in
//! another order, so they are as long as each other to a few tokens, and the
//! size is fitted to what the server's `usage` reports.

use std::sync::LazyLock;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const ENGLISH: &str = include_str!("text/english.txt");
const FRENCH: &str = include_str!("text/french.txt");
/// 256 short words, most of them one token: a byte each.
const WORDS: &str = include_str!("text/words.txt");

/// Both languages in turn, so that every size has about the same share of each.
static SENTENCES: LazyLock<Vec<&str>> =
    LazyLock::new(|| itertools::interleave(ENGLISH.lines(), FRENCH.lines()).collect());
static SALT_WORDS: LazyLock<Vec<&str>> = LazyLock::new(|| WORDS.split_whitespace().collect());

/// A word of each length, from one letter.
const FILL: &[&str] = &[
    "a",
    "we",
    "the",
    "that",
    "there",
    "before",
    "because",
    "remember",
    "important",
    "everything",
    "information",
    "conversation",
];

/// A number that is the same everywhere for the same parts.
pub fn derive(parts: &[&str]) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let digest: [u8; 32] = hash.finalize().into();
    let (head, _) = digest.split_at(8);
    head.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Eight words that no other number has: the opening of a system message, so
/// that no block of its prompt is another prompt's. They are as long as each
/// other, in tokens, where a common word is one token.
pub fn salt(number: u64) -> String {
    let words: Vec<&str> =
        number.to_be_bytes().iter().map(|byte| SALT_WORDS[usize::from(*byte)]).collect();
    words.join(" ")
}

/// A text of `size` bytes, less one or a few. The same size
/// gives the same sentences, the seed their order.
pub fn text(seed: u64, size: usize) -> String {
    let mut chosen: Vec<&str> = Vec::new();
    let mut left = size;
    let mut source = SENTENCES.iter().cycle();
    let last = loop {
        let Some(sentence) = source.next() else { break "" };
        if sentence.len() + 1 > left {
            break sentence;
        }
        left -= sentence.len() + 1;
        chosen.push(sentence);
    };
    chosen.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let mut text = String::with_capacity(size);
    for sentence in chosen {
        text.push_str(sentence);
        text.push(' ');
    }
    for word in last.split_whitespace() {
        if word.len() + 1 > left {
            break;
        }
        left -= word.len() + 1;
        text.push_str(word);
        text.push(' ');
    }
    // One more word that just fills it: the length moves in steps of a byte.
    if let Some(word) =
        left.checked_sub(2).and_then(|letters| FILL.get(letters.min(FILL.len() - 1)))
    {
        text.push_str(word);
        text.push(' ');
    }
    text.pop();
    text
}

/// A chat whose system message opens with the salt, about a text from the seed.
pub fn messages(salt_number: u64, seed: u64, size: usize) -> Vec<Value> {
    messages_about(salt_number, &text(seed, size))
}

/// The same about any text.
pub fn messages_about(salt_number: u64, text: &str) -> Vec<Value> {
    let system = format!("{}. You continue texts.", salt(salt_number));
    let user = format!("{text}\nContinue this text.");
    vec![json!({"role": "system", "content": system}), json!({"role": "user", "content": user})]
}

/// Fits the size of a text in bytes to a length in tokens, from what the server
/// counts. Whatever it counts, sizes stay within bounds. Made once per server and
/// length; its fit is valid for its model.
#[derive(Clone, Debug)]
pub struct Calibration {
    target: u64,
    size: usize,
    /// No text is larger, in bytes.
    most: usize,
    previous: Option<(usize, u64)>,
    fitted: bool,
    /// Another size would show nothing new.
    exhausted: bool,
    /// Tokens above the target that are still close.
    tolerance: u64,
}

/// Prompts aim this many tokens above the target, so that few fall below it.
const AIM: u64 = 3;
/// Bytes per token that no text has: where a server counts fewer tokens, its count
/// does not follow the text.
pub(crate) const MAX_BYTES_PER_TOKEN: usize = 16;
/// A text grows so many times at most from one observation to the next.
const GROWTH: usize = 3;
/// A count that grows by less than this share of what the text grew by does not
/// follow it: a server that cuts prompts, or does not count.
const MIN_SHARE: f64 = 0.125;

/// Tokens above a target that are close, unless another tolerance is set.
pub(crate) fn usual_tolerance(target: u64) -> u64 {
    (target / 200).max(8)
}

impl Calibration {
    /// Aims at `target` tokens, at first by a guess of tokens per byte.
    pub fn new(target: u64, tokens_per_byte: f64) -> Self {
        let most = usize::try_from(target).unwrap_or(usize::MAX).saturating_add(64);
        let most = most.saturating_mul(MAX_BYTES_PER_TOKEN);
        let size = ((target as f64 / tokens_per_byte.max(0.01)) as usize).clamp(1, most);
        let tolerance = usual_tolerance(target);
        let (previous, fitted, exhausted) = (None, false, false);
        Self { target, size, most, previous, fitted, exhausted, tolerance }
    }

    /// With another tolerance, in tokens above the target.
    #[must_use]
    pub fn within(self, tolerance: u64) -> Self {
        Self { tolerance, ..self }
    }

    /// Size of the next text in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether the last observation was close: not below the target, and above
    /// it by 8 tokens or half a percent, unless another tolerance was set.
    pub fn is_fitted(&self) -> bool {
        self.fitted
    }

    /// Whether nothing is left to be observed: it is fitted, or it cannot be.
    pub fn is_over(&self) -> bool {
        self.fitted || self.exhausted
    }

    /// Starts from a smaller text, for a target near the longest possible prompt.
    pub fn be_careful(&mut self) {
        self.size = ((self.size as f64 * 0.9) as usize).max(1);
    }

    /// A prompt of the present size had `tokens` tokens.
    pub fn observe(&mut self, tokens: u64) {
        self.fitted = (self.target..=self.target + self.tolerance).contains(&tokens);
        if self.fitted {
            return;
        }
        let overall = tokens.max(1) as f64 / self.size as f64;
        let slope = match self.previous {
            // The chat template counts too: two sizes show the text's own share.
            Some((size, count)) if size.abs_diff(self.size) * 20 > self.size => {
                let slope = (tokens as f64 - count as f64) / (self.size as f64 - size as f64);
                slope.clamp(overall / 2.0, overall * 2.0)
            }
            _ => overall,
        };
        let missing = (self.target + AIM) as f64 - tokens as f64;
        let needed = (self.size as f64 + missing / slope).round() as usize;
        let next = needed.clamp(1, self.most.min(self.size.saturating_mul(GROWTH)));
        self.exhausted = next == self.size || !self.follows(tokens);
        self.previous = Some((self.size, tokens));
        self.size = next;
    }

    /// A prompt of the present size was refused as too long: the next ones are shorter.
    pub fn refused(&mut self) {
        self.most = (self.size - 1).max(1);
        self.size = (self.size * 4 / 5).max(1);
        self.exhausted = self.most == 1;
    }

    /// Whether the count moved with the text, as far as it was moved.
    fn follows(&self, tokens: u64) -> bool {
        let Some((size, count)) = self.previous.filter(|(_, count)| *count > 0) else {
            return true;
        };
        let moved = (self.size as f64 - size as f64) / size as f64;
        let counted = (tokens as f64 - count as f64) / count as f64;
        moved.abs() < 0.25 || counted / moved >= MIN_SHARE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_of_one_size_differ_in_order_alone() {
        let (one, other) = (text(1, 9000), text(2, 9000));
        assert_ne!(one, other);
        assert_eq!(one, text(1, 9000));
        let sorted = |text: &str| {
            let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
            words.sort_unstable();
            words
        };
        assert_eq!(sorted(&one), sorted(&other));
        assert!((8997..=9000).contains(&one.len()), "{}", one.len());
    }

    #[test]
    fn salts_are_unique_and_stable() {
        assert_eq!(SALT_WORDS.len(), 256);
        let mut unique = SALT_WORDS.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), 256);
        assert_eq!(salt(0), "apple apple apple apple apple apple apple apple");
        assert_ne!(derive(&["ab", "c"]), derive(&["a", "bc"]));
        assert_eq!(
            salt(derive(&["sweep", "1", "0", "2"])),
            "flower rain red artist morning salary gray plan"
        );
    }

    proptest! {
        /// Whatever a server's tokeniser does, a few observations suffice.
        #[test]
        fn calibration_converges(
            target in 256u64..60_000,
            overhead in 5u64..60,
            per_byte in 0.15f64..1.1,
            guess in 0.15f64..1.1,
        ) {
            let count = |size: usize| overhead + (text(7, size).len() as f64 * per_byte) as u64;
            let mut calibration = Calibration::new(target, guess);
            for _ in 0..6 {
                calibration.observe(count(calibration.size()));
                if calibration.is_fitted() { break; }
            }
            prop_assert!(calibration.is_fitted(), "{calibration:?} {}", count(calibration.size()));
        }

        /// Whatever a server says, texts stay within bounds.
        #[test]
        fn sizes_are_bounded(
            target in 1u64..100_000,
            guess in 0.0f64..2.0,
            counts in proptest::collection::vec(any::<u64>(), 6),
        ) {
            let mut calibration = Calibration::new(target, guess);
            let mut before = calibration.size();
            for tokens in counts {
                prop_assert!((1..=(target as usize + 64) * 16).contains(&calibration.size()));
                prop_assert!(calibration.size() <= before * 3);
                before = calibration.size();
                calibration.observe(tokens);
            }
        }
    }

    #[test]
    fn a_count_that_does_not_follow_the_text_is_seen_after_two() {
        let observe = |target: u64, counts: &[u64]| {
            let mut calibration = Calibration::new(target, 0.3);
            for (number, tokens) in counts.iter().enumerate() {
                assert!(!calibration.is_over(), "{number}: {calibration:?}");
                calibration.observe(*tokens);
            }
            calibration
        };
        for same in [1, 2048] {
            let cut = observe(10_000, &[same, same]);
            assert!(cut.is_over() && !cut.is_fitted(), "{cut:?}");
        }
        // Half of it stands around the text.
        let half = observe(1000, &[1500, 1170, 1005]);
        assert!(half.is_fitted(), "{half:?}");
    }
}
