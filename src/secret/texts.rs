//! Many secret texts at once: each is kept once, the longest first, and a text is searched
//! for all of them in one pass where they are many. Which texts are secrets is decided
//! elsewhere.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use super::MIN_LENGTH;

/// So many are searched for one after another: that is faster than a look at each byte.
const FEW: usize = 32;

/// Texts of [`MIN_LENGTH`] characters or more.
#[derive(Default)]
pub(super) struct Texts {
    /// The longest first.
    all: BTreeSet<(Reverse<usize>, Arc<str>)>,
    /// By their first bytes.
    heads: HashMap<[u8; MIN_LENGTH], Vec<Arc<str>>>,
}

impl Texts {
    /// Adds one, where it is new.
    pub(super) fn insert(&mut self, text: &str) {
        let Some(head) = text.as_bytes().first_chunk() else { return };
        let shared: Arc<str> = text.into();
        if self.all.insert((Reverse(text.len()), Arc::clone(&shared))) {
            self.heads.entry(*head).or_default().push(shared);
        }
    }

    /// All, the longest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|(_, text)| &**text)
    }

    /// Where any of them stands in a text.
    pub(super) fn places(&self, text: &str) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        if self.all.len() <= FEW {
            for one in self.iter().filter(|one| one.len() <= text.len()) {
                found.extend(text.match_indices(one).map(|(at, it)| at..at + it.len()));
            }
            return found;
        }
        let bytes = text.as_bytes();
        for (at, head) in bytes.windows(MIN_LENGTH).enumerate() {
            let Some(ones) = self.heads.get(head) else { continue };
            let here = ones.iter().filter(|one| bytes[at..].starts_with(one.as_bytes()));
            found.extend(here.map(|one| at..at + one.len()));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_are_found_where_few_are() {
        let text = "a: word-number-7, é:word-number-77; word-number-777word-number-7";
        let (mut few, mut many) = (Texts::default(), Texts::default());
        for number in 0..1000 {
            let word = format!("word-number-{number}");
            if text.contains(&word) {
                few.insert(&word);
            }
            many.insert(&word);
            many.insert(&word);
        }
        assert!(few.all.len() <= FEW && many.all.len() == 1000);
        let sorted = |texts: &Texts| {
            let mut places = texts.places(text);
            places.sort_by_key(|place| (place.start, place.end));
            places
        };
        assert_eq!(sorted(&few), sorted(&many));
        assert_eq!(sorted(&few).len(), 7);
        let lengths: Vec<usize> = many.iter().map(str::len).collect();
        assert!(lengths.is_sorted_by(|a, b| a >= b), "the longest first");
        assert!(many.places("short").is_empty());
    }
}
