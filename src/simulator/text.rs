//! The text of the simulated model: seeded words, each exactly one token of
//! `tokens`, so that an answer sent back as history gives the tokens
//! that generation left in the cache.

use super::tokens::piece_id;

/// Common words of at most six letters.
const WORDS: [&str; 96] = [
    "the", "of", "and", "to", "in", "is", "was", "that", "for", "it", "with", "as", "his", "on",
    "be", "at", "by", "had", "not", "are", "but", "from", "or", "have", "an", "they", "which",
    "one", "you", "were", "all", "her", "she", "there", "would", "their", "we", "him", "been",
    "has", "when", "who", "will", "no", "more", "if", "out", "so", "up", "said", "what", "its",
    "about", "than", "into", "them", "can", "only", "other", "time", "new", "some", "could",
    "these", "two", "may", "first", "then", "do", "any", "like", "my", "now", "over", "such",
    "our", "man", "me", "even", "most", "made", "after", "also", "did", "many", "off", "before",
    "must", "well", "back", "years", "much", "where", "your", "way", "down",
];

/// Every so many tokens a sentence ends.
const SENTENCE: u64 = 14;

/// A well-mixed 64-bit value of a seed and an index (SplitMix64).
pub fn mix(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The same from 0 to 1.
pub fn uniform(seed: u64, index: u64) -> f64 {
    (mix(seed, index) >> 11) as f64 / (1u64 << 53) as f64
}

/// The text of an answer's token.
pub fn token(seed: u64, index: u64) -> String {
    if index % SENTENCE == SENTENCE - 1 {
        return ".".into();
    }
    let word = word(seed, index);
    if index == 0 { word.into() } else { format!(" {word}") }
}

/// A word of at most six letters.
pub fn word(seed: u64, index: u64) -> &'static str {
    WORDS[(mix(seed, index) % WORDS.len() as u64) as usize]
}

/// The id of that token.
pub fn token_id(seed: u64, index: u64) -> u32 {
    piece_id(&token(seed, index))
}

/// How long an answer would be if nothing cut it: log-normal with a median of
/// 180 tokens, between 8 and 4000.
pub fn natural_length(seed: u64) -> u64 {
    log_normal(seed ^ 0x6c65_6e67_7468)
}

/// How long the thinking before it is: the same distribution.
pub fn thinking_length(seed: u64) -> u64 {
    log_normal(seed ^ 0x0074_6869_6e6b)
}

fn log_normal(seed: u64) -> u64 {
    let radius = (-2.0 * (1.0 - uniform(seed, 0)).ln()).sqrt();
    let normal = radius * (std::f64::consts::TAU * uniform(seed, 1)).cos();
    ((180f64.ln() + 0.6 * normal).exp() as u64).clamp(8, 4000)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::simulator::tokens::tokenize;

    #[test]
    fn an_answer_tokenises_to_the_ids_that_were_generated() {
        let text: String = (0..200).map(|index| token(7, index)).collect();
        let ids: Vec<u32> = (0..200).map(|index| token_id(7, index)).collect();
        assert_eq!(tokenize(&text), ids);
    }

    /// Gates must find nothing in answers of a server without faults.
    #[test]
    fn an_answer_does_not_repeat_itself() {
        for seed in 0..200 {
            let words: Vec<String> = (0..300).map(|index| token(seed, index)).collect();
            let grams: HashSet<&[String]> = words.windows(4).collect();
            assert!(grams.len() > 290, "{} different 4-grams with seed {seed}", grams.len());
            let equal = |(a, b): (&String, &String)| a == b;
            let run = words.iter().zip(&words[1..]).map(equal).collect::<Vec<_>>();
            let longest = run.split(|equal| !equal).map(<[bool]>::len).max();
            assert!(longest < Some(4), "a word {longest:?} times with seed {seed}");
        }
    }

    #[test]
    fn seeds_make_different_answers_of_different_lengths() {
        let say = |seed| (0..20).map(|index| token(seed, index)).collect::<String>();
        assert_ne!(say(1), say(2));
        let mut lengths: Vec<u64> = (0..999).map(natural_length).collect();
        lengths.sort_unstable();
        assert!((150..220).contains(&lengths[499]), "median {}", lengths[499]);
        assert!(lengths[0] < 60 && lengths[998] > 600);
    }
}
