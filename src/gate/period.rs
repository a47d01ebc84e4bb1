//! The exact loops of a text: stretches where every character is the one `p` before it. The
//! bounds of what counts as a loop stand here, in characters and in periods; what a loop
//! means is said in [`super::repetition`]. The search is bounded by the length times the
//! longest period, and for natural text it is some characters for each period.

/// 60 words of a long-winded language, and more.
const LONGEST_PERIOD: usize = 1200;

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
    let length = equal + period;
    let least = if period < 8 { 200 } else { 300 };
    let bound = least.max(period + period.div_ceil(4) * 3);
    // A short answer that says nothing else.
    let least_of_all = 40.max(period * 8);
    let is_all = length * 10 >= text.len() * 9 && length >= least_of_all;
    let bound = if is_all { least_of_all.min(bound) } else { bound };
    let end = text.len();
    (length >= bound).then(|| Loop { period, start: end - length, end, bound })
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
            text += &format!("{} ", number * number);
            if text.len() >= characters {
                break;
            }
        }
        text.truncate(characters);
        text
    }

    #[test]
    fn a_loop_at_the_end_is_found_with_its_place_and_one_less_is_none() {
        for (unit, bound) in [("ab ", 200), ("twelve chars", 300), (&plain(1000, 300)[..], 525)] {
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
            let length = run + period;
            let bound = (if period < 8 { 200 } else { 300 }).max(period + period.div_ceil(4) * 3);
            let is_all = length * 10 >= text.len() * 9 && length >= 40.max(period * 8);
            has_inside || length >= bound || is_all
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
