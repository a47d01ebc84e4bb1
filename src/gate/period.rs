//! The exact loops of a text: stretches where every character is the one `p` before it. The
//! bounds of what counts as a loop stand here, in characters and in periods; what a loop
//! means is said in [`super::repetition`]. The search is bounded by the length times the
//! longest period, and for natural text it is some characters for each period.

/// 60 words, of a table's long ones too.
const LONGEST_PERIOD: usize = 3000;

/// A stretch that repeats itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loop {
    pub(super) period: usize,
    pub(super) start: usize,
    pub(super) end: usize,
    /// From this length on it is one.
    pub(super) bound: usize,
}

/// The loop of the shortest period. `goes_on`: nothing came after the text, so that a loop
/// at its end may have no other end.
pub(super) fn find_loop(text: &[char], goes_on: bool) -> Option<Loop> {
    let longest = LONGEST_PERIOD.min(text.len().saturating_sub(1));
    (1..=longest).find_map(|period| {
        let last = if goes_on { at_end(text, period) } else { None };
        last.or_else(|| inside(text, period))
    })
}

/// A loop that goes on to the end.
fn at_end(text: &[char], period: usize) -> Option<Loop> {
    let later = text.iter().rev();
    let equal = later.zip(text.iter().rev().skip(period)).take_while(|(a, b)| a == b).count();
    let (length, end) = (equal + period, text.len());
    let bound = bound_at_end(text, period, equal)?.min(length);
    Some(Loop { period, start: end - length, end, bound })
}

/// The length from which on a text whose last `equal` characters are those `period` before
/// them ends in a loop; `None` where it does not. Three quarters of the period must have come
/// back, in characters or in words, for words differ in length.
fn bound_at_end(text: &[char], period: usize, equal: usize) -> Option<usize> {
    let length = equal + period;
    // A short answer that says nothing else.
    let least = 40.max(period * 8);
    if length >= least && length * 10 >= text.len() * 9 {
        return Some(least);
    }
    if equal * 2 < period {
        return None;
    }
    let spaces = |last: usize| text[text.len() - last..].iter().filter(|it| **it == ' ').count();
    let has_come_back = |again: usize, once: usize| once > 0 && again * 4 >= once * 3;
    if !has_come_back(equal, period) && !has_come_back(spaces(equal), spaces(period)) {
        return None;
    }
    // Code and tables repeat cells and statements; 80 short words are more than they do.
    let least = if period < 8 { 200 } else { 280 };
    let least = if spaces(length) >= 80 { 160 } else { least };
    (length >= least).then(|| least.max(period + period.div_ceil(4) * 3))
}

/// A loop that ends before the text does: poems have refrains, code has tables.
fn inside(text: &[char], period: usize) -> Option<Loop> {
    let bound = 400.max(period * 3);
    let equal = |at: usize| text[at] == text[at - period];
    // Every stretch of so many equal characters has one of these places in it.
    let mut places = (period..text.len()).step_by(bound - period);
    places.find_map(|place| {
        if !equal(place) {
            return None;
        }
        let start = (period..=place).rev().take_while(|at| equal(*at)).last()? - period;
        let end = (place..text.len()).take_while(|at| equal(*at)).last()? + 1;
        (end - start >= bound).then_some(Loop { period, start, end, bound })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn letters(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    fn found_in(text: &str) -> Option<Loop> {
        find_loop(&letters(text), true)
    }

    /// Text without any loop: numbers that grow.
    fn plain(from: u32, characters: usize) -> String {
        let mut text = String::new();
        for number in from.. {
            text.extend([(number * number).to_string().as_str(), " "]);
            if text.len() >= characters {
                break;
            }
        }
        text.truncate(characters);
        text
    }

    #[test]
    fn a_loop_at_the_end_is_found_with_its_place_and_one_less_is_none() {
        let numbers = plain(1000, 300).replace(' ', ",");
        let units = [("ab ", 200), ("thirty-six characters that come back", 280), (&numbers, 525)];
        for (unit, bound) in units {
            let head = plain(7, 700);
            let units = unit.repeat(400);
            let found = found_in(&format!("{head}{}", &units[..bound]));
            let found = found.unwrap_or_else(|| panic!("{unit} is not found"));
            assert_eq!((found.period, found.end), (unit.len(), head.len() + bound));
            assert!(found.start <= head.len() && head.len() - found.start < 4, "{found:?}");
            let short = format!("{head}#{}", &units[..bound - 1]);
            assert_eq!(found_in(&short), None, "{unit}");
        }
    }

    #[test]
    fn words_count_where_they_are_short_or_of_unequal_length() {
        let head = plain(7, 700);
        let cells = "1 | 2 | no | ".repeat(40);
        let found = |length: usize| found_in(&format!("{head}#{}", &cells[..length]));
        // 80 spaces among 200 characters and more, and fewer.
        assert_eq!(found(160), None);
        assert_eq!(found(208).unwrap().period, 13);
        // Five of six words came back, and little more than half of the characters.
        let unit = format!("{} {} ", plain(1000, 150).trim(), "characteristically".repeat(5));
        let words = unit.matches(' ').count();
        let again: Vec<_> = unit.split(' ').take(words * 5 / 6 + 1).collect();
        let text = format!("{head}#{unit}{}", again.join(" "));
        assert_eq!(found_in(&text).unwrap().period, unit.len());
    }

    #[test]
    fn a_loop_that_ends_needs_more() {
        let unit = plain(1000, 150);
        let text = |length: usize| {
            format!("{}#{}#{}", plain(7, 500), &unit.repeat(4)[..length], plain(2000, 500))
        };
        let found = found_in(&text(450)).unwrap();
        assert_eq!((found.period, found.start, found.end), (150, 501, 951));
        assert_eq!(found_in(&text(449)), None);
    }

    #[test]
    fn what_something_came_after_is_no_loop_for_being_said_twice() {
        let twice = letters(&plain(1000, 300).repeat(2));
        assert_eq!(find_loop(&twice, true).unwrap().period, 300);
        assert_eq!(find_loop(&twice, false), None);
        let thrice = letters(&plain(1000, 300).repeat(3));
        assert_eq!(find_loop(&thrice, false).unwrap().period, 300);
    }

    #[test]
    fn a_short_answer_that_is_nothing_else_is_a_loop() {
        assert_eq!(found_in(&"No. ".repeat(11)).unwrap().period, 4);
        // Three times is a way of speaking.
        assert_eq!(found_in("Never, never, never, never, never!"), None);
    }

    /// As the definition has it, character by character.
    fn slow(text: &[char]) -> Option<usize> {
        (1..text.len().min(LONGEST_PERIOD + 1)).find(|&period| {
            let mut run = 0;
            let has_inside = (period..text.len()).any(|at| {
                run = if text[at] == text[at - period] { run + 1 } else { 0 };
                run + period >= 400.max(period * 3)
            });
            has_inside || bound_at_end(text, period, run).is_some()
        })
    }

    proptest! {
        #[test]
        fn nothing_is_skipped(
            head in "[ab]{0,30}", unit in "[ab]{1,90}", length in 0_usize..700, tail in "[abc]{0,30}",
        ) {
            let text = letters(&format!("{head}{}{tail}", &unit.repeat(700)[..length]));
            prop_assert_eq!(find_loop(&text, true).map(|it| it.period), slow(&text));
        }
    }
}
