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
    crate::secret::is_secret(name)
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
