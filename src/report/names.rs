//! Names of configurations in a narrow column: without what all of them share, then
//! without whole segments. Never inside a segment, where `util0.85` would become another
//! value.

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

    /// The same by force, inside segments where nothing else helps.
    pub(super) fn forced(&self, columns: usize) -> Self {
        self.within(columns).unwrap_or_else(|| {
            let shown = self.shown.iter().map(|name| cut(name, columns)).collect();
            Self { shown, cut: true, ..self.clone() }
        })
    }

    /// Columns that they take.
    pub(super) fn width(&self) -> usize {
        self.shown.iter().map(|name| width(name)).max().unwrap_or(0)
    }
}

/// Names of the fewest columns, from the range, that cut none inside a segment.
pub(super) fn narrow(
    names: &[String],
    baseline: Option<usize>,
    columns: RangeInclusive<usize>,
) -> Names {
    let forms = [Names::whole(names), Names::without_shared(names, baseline)];
    let whole = forms.iter().find(|names| names.width() <= *columns.start()).cloned();
    let mut widths = columns.clone();
    let within = || widths.find_map(|most| forms.iter().find_map(|names| names.within(most)));
    whole.or_else(within).unwrap_or_else(|| forms[1].forced(*columns.end()))
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
        assert!(same.forced(14).shown.iter().all(|name| width(name) <= 14));
        assert_eq!(Names::whole(&names(&["数値測定-設定"])).within(6).unwrap().shown, ["…設定"]);
    }
}
