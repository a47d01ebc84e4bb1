//! Names of configurations in a narrow column: without what all of them share, then
//! without whole segments, then without the words that name an axis. Never inside a value,
//! where `util0.85` would become another one; and what is shown of two is never the same.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::text::{cut, width};

/// Names as a table shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// In the order of the rows.
    pub(super) shown: Vec<String>,
    /// What was left out of each, as one text: `qwen3-*-fp8`.
    pub(super) shared: Option<String>,
    /// Whether more than that was left out of any.
    pub(super) cut: bool,
}

impl Names {
    /// The names as they are.
    pub(super) fn whole(names: &[String]) -> Self {
        Self { shown: names.to_vec(), shared: None, cut: false }
    }

    /// Without the segments at both ends that all share; a name that lacks them, as a
    /// baseline's, stays whole where it alone lacks them.
    pub(super) fn without_shared(names: &[String], baseline: Option<usize>) -> Self {
        let others: Vec<Vec<&str>> = (0..names.len())
            .filter(|at| Some(*at) != baseline)
            .map(|at| segments(&names[at]))
            .collect();
        let Some(first) = others.first().filter(|_| others.len() > 1) else {
            return Self::whole(names);
        };
        let count = |reversed: bool| {
            let at = |name: &Vec<&str>, place: usize| {
                let place = if reversed { name.len().checked_sub(place + 1)? } else { place };
                name.get(place).map(|it| (*it).to_owned())
            };
            let same = |place: &usize| {
                let own = at(first, *place);
                own.is_some() && others.iter().all(|name| at(name, *place) == own)
            };
            (0..first.len()).take_while(same).count()
        };
        let (head, tail) = (count(false), count(true));
        // Something is left of each.
        let shortest = others.iter().map(Vec::len).min().unwrap_or(0);
        if head + tail == 0 || head + tail >= shortest {
            return Self::whole(names);
        }
        let (start, end) = (first[..head].concat(), first[first.len() - tail..].concat());
        let strip = |name: &String| {
            let rest = name.strip_prefix(&start).and_then(|rest| rest.strip_suffix(&end));
            let rest = rest.map(|rest| rest.trim_end_matches(['-', '_']));
            rest.filter(|rest| !rest.is_empty()).unwrap_or(name).to_owned()
        };
        let shown: Vec<String> = names.iter().map(strip).collect();
        if !distinct(&shown) {
            return Self::whole(names);
        }
        Self { shown, shared: Some(format!("{start}*{end}")), cut: false }
    }

    /// Without the segments that all share and the words that name an axis, where all have as many
    /// segments: `8192-64` of `batch8192-fp8-seqs64`, and the same of a baseline that is built so.
    /// `None` where nothing can go, or two names would be the same then.
    pub(super) fn without_words(names: &[String], baseline: Option<usize>) -> Option<Self> {
        let all: Vec<Vec<&str>> = names.iter().map(|name| segments(name)).collect();
        let others = || all.iter().enumerate().filter(|(at, _)| Some(*at) != baseline);
        let (_, first) = others().next()?;
        if others().count() < 2 || others().any(|(_, name)| name.len() != first.len()) {
            return None;
        }
        let left_out = |place: usize| {
            let (own, word) = (first[place], word_of(first[place]));
            let is_followed = |it: &str| {
                let rest = it.strip_prefix(word);
                rest.is_some_and(|rest| rest.starts_with(|it: char| it.is_ascii_digit()))
            };
            if others().all(|(_, name)| name[place] == own) {
                own
            } else if others().all(|(_, name)| is_followed(name[place])) {
                word
            } else {
                ""
            }
        };
        let words: Vec<&str> = (0..first.len()).map(left_out).collect();
        let strip = |(name, whole): (&Vec<&str>, &String)| {
            let parts = name.iter().zip(&words).map(|(it, word)| it.strip_prefix(word));
            let parts: Option<String> = parts.collect();
            let parts = parts.map(|it| it.trim_end_matches(['-', '_']).to_owned());
            let parts = parts.filter(|it| name.len() == words.len() && !it.is_empty());
            parts.unwrap_or_else(|| whole.clone())
        };
        let shown: Vec<String> = all.iter().zip(names).map(strip).collect();
        if words.iter().all(|word| word.is_empty()) || !distinct(&shown) {
            return None;
        }
        let shared = words.iter().zip(first).map(|(word, own)| {
            let end = if own.ends_with(['-', '_']) { &own[own.len() - 1..] } else { "" };
            if word == own { (*own).to_owned() } else { format!("{word}*{end}") }
        });
        Some(Self { shown, shared: Some(shared.collect()), cut: false })
    }

    /// All forms of the names, longest first.
    pub(super) fn forms(names: &[String], baseline: Option<usize>) -> Vec<Self> {
        let shared = Self::without_shared(names, baseline);
        let words = Self::without_words(&shared.shown, baseline);
        let both = words.map(|words| {
            let around = shared.shared.as_deref().unwrap_or("*");
            let shared = words.shared.as_deref().map(|it| around.replacen('*', it, 1));
            Self { shared, ..words }
        });
        [Self::whole(names), shared].into_iter().chain(both).collect()
    }

    /// Of at most so many columns: `…` stands for whole segments. `None` where two names
    /// would be the same then, or one segment alone is wider.
    pub(super) fn within(&self, columns: usize) -> Option<Self> {
        let shown: Vec<String> = self
            .shown
            .iter()
            .map(|name| elided(name, columns))
            .collect::<Option<Vec<String>>>()
            .filter(|shown| distinct(shown))?;
        let cut = shown != self.shown;
        Some(Self { shown, cut, ..self.clone() })
    }

    /// Columns that they take.
    pub(super) fn width(&self) -> usize {
        self.shown.iter().map(|name| width(name)).max().unwrap_or(0)
    }
}

/// Names of the fewest columns, from the range, that cut none inside a segment; the words that
/// name an axis go where there are none, and it is more columns where two would be the same.
pub(super) fn narrow(
    names: &[String],
    baseline: Option<usize>,
    columns: RangeInclusive<usize>,
) -> Names {
    let forms = Names::forms(names, baseline);
    let (named, without_words) = forms.split_at(2);
    let whole = named.iter().find(|names| names.width() <= *columns.start()).cloned();
    let within = |forms: &[Names]| {
        columns.clone().find_map(|most| forms.iter().find_map(|names| names.within(most)))
    };
    let shorter = || within(named).or_else(|| within(without_words));
    whole.or_else(shorter).unwrap_or_else(|| forced(&forms, *columns.end()))
}

/// Names of as many columns, inside segments where nothing else helps; of more where two of them
/// would be the same.
pub(super) fn forced(forms: &[Names], columns: usize) -> Names {
    let whole = forms.iter().map(Names::width).max().unwrap_or(0);
    let at = |most: usize| {
        forms.iter().find_map(|names| names.within(most)).or_else(|| {
            let cut_at = |names: &Names| {
                let shown: Vec<String> = names.shown.iter().map(|it| cut(it, most)).collect();
                distinct(&shown).then(|| Names { shown, cut: true, ..names.clone() })
            };
            forms.iter().rev().find_map(cut_at)
        })
    };
    // Names that are the same are so in full.
    (columns..=whole).find_map(at).unwrap_or_else(|| forms[0].clone())
}

/// One name of at most so many columns.
pub(super) fn short(name: &str, columns: usize) -> String {
    elided(name, columns).unwrap_or_else(|| cut(name, columns))
}

/// A name whose middle segments are left out, as few as possible.
fn elided(name: &str, columns: usize) -> Option<String> {
    if width(name) <= columns {
        return Some(name.to_owned());
    }
    let parts = segments(name);
    // All ways to keep segments at both ends, those that keep most first.
    (1..parts.len())
        .rev()
        .flat_map(|kept| (0..=kept).rev().map(move |head| (head, kept - head)))
        .map(|(head, tail)| {
            let (start, end) = (parts[..head].concat(), parts[parts.len() - tail..].concat());
            format!("{start}…{end}")
        })
        .find(|text| width(text) <= columns)
}

/// The parts of a name, each with the mark that ends it.
fn segments(name: &str) -> Vec<&str> {
    name.split_inclusive(['-', '_']).collect()
}

/// The letters before the value of a segment: `util` of `util0.85`.
fn word_of(segment: &str) -> &str {
    let end = segment.find(|it: char| !it.is_alphabetic());
    &segment[..end.unwrap_or(0)]
}

fn distinct(names: &[String]) -> bool {
    names.iter().collect::<BTreeSet<_>>().len() == names.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_all_share_is_left_out() {
        let all = names(&["qwen-util0.85-a-fp8", "qwen-util0.9-b-fp8", "production"]);
        let short = Names::without_shared(&all, Some(2));
        assert_eq!(short.shown, ["util0.85-a", "util0.9-b", "production"]);
        assert_eq!(short.shared.as_deref(), Some("qwen-*fp8"));
        // Never inside a segment, and never all of a name.
        for same in [&["util=0.85", "util=0.8"][..], &["a", "a-b"], &["alone-a"]] {
            let same = names(same);
            assert_eq!(Names::without_shared(&same, None), Names::whole(&same));
        }
    }

    #[test]
    fn whole_segments_give_way() {
        let all = Names::whole(&names(&["gpu-memory-utilization=0.85-seqs8", "plain"]));
        let narrow = all.within(22).unwrap();
        assert_eq!(narrow.shown, ["gpu-memory-…seqs8", "plain"]);
        assert!(narrow.cut);
        assert_eq!(all.within(40), Some(all.clone()));
        // What would be the same is not shortened.
        let same = Names::whole(&names(&["prefix-util0.85-seqs8", "prefix-util0.80-seqs8"]));
        assert_eq!(same.within(14), None);
        let forced = forced(&[same], 14);
        assert_eq!(forced.shown, ["prefix-…5-seqs8", "prefix-…0-seqs8"], "one more, to differ");
        assert_eq!(Names::whole(&names(&["数値測定-設定"])).within(6).unwrap().shown, ["…設定"]);
    }

    /// A grid of 3 x 4 x 3 x 2 with the baseline in it: nothing of a name can go but the words.
    fn factorial() -> Vec<String> {
        let mut names = vec!["noprefix-batch8192-seqs64-util0.9*".to_owned()];
        for prefix in ["prefix", "noprefix"] {
            for batch in [512, 1024, 2048, 8192] {
                for seqs in [8, 32, 64] {
                    for util in ["0.85", "0.9"] {
                        names.push(format!("{prefix}-batch{batch}-seqs{seqs}-util{util}"));
                    }
                }
            }
        }
        names.retain(|name| name != "noprefix-batch8192-seqs64-util0.9");
        names
    }

    #[test]
    fn words_give_way_before_two_names_are_the_same() {
        let all = factorial();
        for columns in [21, 24, 28, 32] {
            let short = narrow(&all, Some(0), columns..=columns);
            assert!(short.width() <= 24, "{short:?}");
            assert!(distinct(&short.shown), "{short:?}");
            assert_eq!(short.shown[0], "noprefix-8192-64-0.9*");
            assert_eq!(short.shared.as_deref(), Some("*-batch*-seqs*-util*"));
        }
        assert_eq!(narrow(&all, Some(0), 40..=40), Names::whole(&all));
        // What all share in the middle goes, too.
        let all = names(&["a-common-x8", "b-common-x16", "a-common-x16", "base"]);
        let words = Names::without_words(&all, Some(3)).unwrap();
        assert_eq!(words.shown, ["a-8", "b-16", "a-16", "base"]);
        assert_eq!(words.shared.as_deref(), Some("*-common-x*"));
    }

    #[test]
    fn the_column_grows_where_two_names_would_be_the_same() {
        for columns in [3, 5, 9, 12] {
            let short = narrow(&factorial(), Some(0), columns..=columns);
            assert!(distinct(&short.shown), "{columns}: {short:?}");
        }
        let same = names(&["aaaaaaaaaaaa1bbbbbbbbbbbb", "aaaaaaaaaaaa2bbbbbbbbbbbb"]);
        assert!(distinct(&narrow(&same, None, 8..=8).shown));
    }
}
