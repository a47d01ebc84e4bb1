//! Each check alone: what it finds, what it leaves alone, and its words.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const PROSE: &str = "The tide rises and falls twice a day because the Moon pulls the water on the near side more than the Earth, and the Earth more than the water on the far side. ";

fn check(text: &str) -> Option<Check> {
    judge(text).map(|verdict| verdict.check)
}

#[test]
fn answers_without_anything_to_see_are_empty() {
    for text in ["", "\n\n\n", " \t\u{a0}", "\u{200b}\u{feff}", "\u{0}\u{1}"] {
        assert_eq!(check(text), Some(Check::Empty), "{text:?}");
    }
    assert_eq!(judge("").unwrap().to_string(), "the answer is empty");
    assert_eq!(judge("\n\n").unwrap().to_string(), "the answer is 2 characters of white space");
    assert_eq!(check("7"), None);
}

#[test]
fn thinking_counts_as_answer_and_is_not_held_against_it() {
    assert_eq!(judge_answer(PROSE, "", 0), None);
    assert_eq!(judge_answer(PROSE, PROSE, 0), None);
    // A draft and its copy, where an answer followed and where the thinking was cut.
    let draft = PROSE.repeat(2);
    assert_eq!(judge_answer(&draft, "Because of the Moon.", 0), None);
    assert_eq!(judge_answer(&draft, "", 0).unwrap().check, Check::Period);
    let looping = "I have to think. ".repeat(40);
    assert_eq!(judge_answer(&looping, "", 0).unwrap().check, Check::Period);
    assert_eq!(judge_answer(&looping, "Right.", 0).unwrap().check, Check::Period);
}

#[test]
fn broken_text_is_found_and_a_character_cut_at_the_end_is_not() {
    assert_eq!(check(&format!("{PROSE}\u{fffd}\u{fffd}\u{fffd}")), None);
    // One emoji in pieces, as a server with a fault of its own streams it.
    assert_eq!(check(&format!("{PROSE}\u{fffd}\u{fffd}\u{fffd}\u{fffd} It is so.")), None);
    let found = judge(&format!("{PROSE}{} {PROSE}", "\u{fffd}x".repeat(9))).unwrap();
    assert_eq!(found.check, Check::BrokenText);
    assert!(found.evidence.contains("far side. \u{fffd}x"), "{}", found.evidence);
    assert!(found.to_string().contains("% of the characters are broken, more than 0.5%"));
    for text in ["\u{fffd}", "\u{fffd}\u{fffd}\u{fffd}", "yes \u{fffd}\u{fffd} no"] {
        assert_eq!(check(text), Some(Check::BrokenText), "{text:?}");
    }
    // Bytes that the client dropped.
    assert_eq!(judge_answer("", PROSE, 12).unwrap().check, Check::BrokenText);
    assert_eq!(judge_answer("", "", 1).unwrap().check, Check::BrokenText);
}

#[test]
fn a_wall_of_one_character_is_found_and_a_rule_is_not() {
    for text in ["!".repeat(21), "0".repeat(300), format!("{PROSE}{}", "!".repeat(101))] {
        assert_eq!(check(&text), Some(Check::RunOfCharacters), "{text}");
    }
    let found = judge(&format!("{}{}", PROSE.repeat(4), "!".repeat(500))).unwrap();
    assert_eq!((found.found, found.bound), (500.0, 100.0));
    assert_eq!(found.to_string(), "one character 500 times in a row, more than 100");
    assert_eq!(found.evidence, format!("{}…", "!".repeat(120)));
    for rule in ["-".repeat(80), "=".repeat(100), " ".repeat(190), "!".repeat(90)] {
        assert_eq!(check(&format!("{PROSE}\n{rule}\n{PROSE}x")), None, "{rule}");
    }
    let blank = format!("{PROSE}{}x", " ".repeat(201));
    assert_eq!(check(&blank), Some(Check::RunOfCharacters));
}

#[test]
fn walls_of_lines_are_found() {
    let braces = format!("{PROSE}\n{}", "    }\n".repeat(30));
    let found = judge(&braces).unwrap();
    assert_eq!((found.check, found.found), (Check::RunOfLines, 30.0));
    assert_eq!(found.evidence, "}");
    assert_eq!(check(&format!("{PROSE}\n{}", "}\n".repeat(20))), None);
    // Empty lines between do not hide them; alone they are a wall too.
    assert_eq!(check(&format!("{PROSE}\n{}", "ok\n\n".repeat(25))), Some(Check::RunOfLines));
    let newlines = judge(&format!("So:{}", "\r\n".repeat(400))).unwrap();
    assert_eq!((newlines.check, newlines.found), (Check::RunOfLines, 399.0));
    assert_eq!(newlines.evidence, "So:");
    assert_eq!(check(&format!("{PROSE}{}{PROSE}x", "\n".repeat(19))), None);
}

#[test]
fn what_the_owner_saw_is_a_loop() {
    let text = format!("{PROSE}for i in range({}", "1, ".repeat(150));
    let found = judge(&text).unwrap();
    assert_eq!((found.check, found.period), (Check::Period, Some(3)));
    assert!(found.evidence.starts_with("1, 1, 1") || found.evidence.starts_with(", 1, 1"));
    assert!(found.evidence.chars().count() <= 121);
    assert!(found.to_string().contains("repeat themselves every 3, 160 or more are a loop"));
    assert_eq!(check(&format!("Sure!{}", "!".repeat(160))), Some(Check::RunOfCharacters));
}

#[test]
fn a_loop_is_found_in_any_white_space_and_with_a_cut_character_after_it() {
    for separator in [" ", "\n", "\n\n", "\t \r\n"] {
        let text = format!("{PROSE}{}\u{fffd}", format!("the same again{separator}").repeat(25));
        assert!(matches!(check(&text), Some(Check::Period | Check::RunOfLines)), "{separator:?}");
    }
}

#[test]
fn a_loop_that_is_not_exact_is_found_by_its_4_grams() {
    let line = |number: usize| {
        format!(
            "Entry {number} has been checked and nothing was wrong with it, so go on to the one that comes after it in the long list of all entries. "
        )
    };
    let text: String = (100..120).map(line).collect();
    let found = judge(&text).unwrap();
    assert_eq!((found.check, found.bound), (Check::RepeatedFourGrams, 0.7));
    assert!(found.evidence.split(' ').count() == 4, "{}", found.evidence);
    // One that begins late shows in the last words alone.
    let before: String =
        (0..400_u32).flat_map(|number| [(number * number).to_string(), " ".to_owned()]).collect();
    // Two phrases in an order without a period.
    let phrase = |number: u64| match ((number * number * 2_654_435_761) >> 17) & 1 {
        0 => "yes it is so ",
        _ => "no it is not ",
    };
    let late: String = (100..135).map(phrase).collect();
    let found = judge(&format!("{before}{late}")).unwrap();
    assert_eq!((found.check, found.bound), (Check::RepeatedFourGrams, 0.75));
}

#[test]
fn four_grams_are_counted_as_the_formula_has_it() {
    // 64 words, 61 4-grams: of eight words in a circle 8 are distinct.
    let text = "a b c d e f g h ".repeat(8);
    assert_eq!(repeated_4grams(&text), Some(1.0 - 8.0 / 61.0));
    assert_eq!(repeated_4grams(&"a b c d e f g h ".repeat(7)), None);
    assert_eq!(words("L'eau, C3PO! 潮汐は x_1"), ["l", "eau", "c3po", "潮", "汐", "は", "x", "1"]);
}

#[test]
fn evidence_has_nothing_that_acts_on_a_terminal() {
    let found = judge(&"\u{1b}[31mred\u{202e} ".repeat(90)).unwrap();
    assert_eq!(found.check, Check::Period);
    assert!(!found.evidence.chars().any(|it| it.is_control() || it == '\u{202e}'));
    assert!(found.evidence.contains("red red"), "{}", found.evidence);
}

#[test]
fn a_sample_counts_and_keeps_few_examples() {
    let mut sample = Sample::default();
    assert_eq!(sample.share(), None);
    for number in 0..10 {
        sample.add(if number < 4 { judge("") } else { judge(PROSE) });
    }
    assert_eq!((sample.share(), sample.examples.len()), (Some(0.4), 3));
    let text = serde_json::to_string(&sample).unwrap();
    assert!(text.contains(r#""check":"empty""#), "{text}");
    assert_eq!(serde_json::from_str::<Sample>(&text).unwrap(), sample);
}

#[test]
fn names_of_checks_are_those_of_the_files() {
    for check in Check::ALL {
        assert_eq!(serde_json::to_string(&check).unwrap(), format!("\"{check}\""));
    }
}

#[test]
fn a_megabyte_takes_no_time_worth_naming() {
    let million = 1_000_000;
    // Worst for the periods: equal for long, and then not.
    let blocks: String = (0..million / 250)
        .flat_map(|number| ["a".repeat(90), "b".repeat(90 + number % 61)])
        .collect();
    let texts =
        ["x".repeat(million), "ab ".repeat(million / 3), PROSE.repeat(million / 160), blocks];
    for text in texts {
        let start = Instant::now();
        let verdict = judge(&text);
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}: {verdict:?}", start.elapsed());
    }
}

proptest! {
    #[test]
    fn no_text_is_too_odd(thinking in any::<String>(), text in any::<String>(), broken in 0_u64..3) {
        if let Some(verdict) = judge_answer(&thinking, &text, broken) {
            prop_assert!(verdict.evidence.chars().count() <= EVIDENCE + 1);
            prop_assert!(!verdict.to_string().is_empty());
        }
    }

    #[test]
    fn bytes_of_any_kind_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let text = String::from_utf8_lossy(&bytes);
        let verdict = judge(&text);
        // Random bytes are mostly no UTF-8.
        prop_assert!(bytes.len() < 200 || verdict.unwrap().check == Check::BrokenText);
    }

    #[test]
    fn a_repeated_unit_is_found_whatever_it_is(unit in "\\PC{1,40}", times in 20_usize..60) {
        let text = format!("{unit} ").repeat(times);
        prop_assume!(text.len() > 400 && !is_blank(&unit));
        prop_assert!(judge(&text).is_some(), "{:?}", unit);
    }
}
