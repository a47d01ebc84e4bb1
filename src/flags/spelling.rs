//! Names as people write them: one spelling of each, which of them are secret, and
//! the name that a misspelt one probably means.

/// The canonical name of a flag: no leading dashes, `_` read as `-`
/// (the part after a dot is a key of a JSON option and stays as it is).
pub fn canonical_name(spelling: &str) -> String {
    let bare = spelling.trim_start_matches('-');
    match bare.split_once('.') {
        Some((head, tail)) => format!("{}.{tail}", head.replace('_', "-")),
        None => bare.replace('_', "-"),
    }
}

/// Whether the value of a flag or variable of this name must never be written down.
pub fn is_secret(name: &str) -> bool {
    let same = |a: u8, b: u8| a.eq_ignore_ascii_case(&b) || (a == b'_' && b == b'-');
    let equal = |text: &[u8], word: &str| {
        text.len() == word.len() && text.iter().zip(word.bytes()).all(|(a, b)| same(*a, b))
    };
    let name = name.as_bytes();
    ["api-key", "token", "secret", "password"].iter().any(|word| {
        let Some(rest) = name.len().checked_sub(word.len() + 1) else { return equal(name, word) };
        (same(name[rest], b'-') && equal(&name[rest + 1..], word))
            || (same(name[word.len()], b'-') && equal(&name[..word.len()], word))
    })
}

/// The nearest of `known` to `word`, when it is near enough to be meant.
pub fn nearest_word<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), *candidate))
        .filter(|(score, _)| *score >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// A text as it may appear in a message: without what acts on a terminal.
pub(crate) fn shown(text: &str) -> String {
    text.chars()
        .map(|letter| {
            if letter.is_control() { letter.escape_debug().to_string() } else { letter.to_string() }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::is_secret;

    #[test]
    fn secrets_are_recognised_by_their_names() {
        for name in [
            "api-key",
            "API_KEY",
            "hf-token",
            "HF_TOKEN",
            "token",
            "vllm_api_key",
            "secret-x",
            "db_Password",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "max-num-batched-tokens",
            "tokenizer",
            "tokens-only",
            "return-tokens-as-token-ids",
            "key",
            "",
            "xtoken",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
