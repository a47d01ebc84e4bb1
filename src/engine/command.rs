//! The arguments of a server that somebody else wrote, with a configuration's flags
//! put in the place of those that they name. Pure: words in, changes of words out;
//! nothing else changes. Where the words come from (a vector of arguments, a script)
//! is [`super::command_view`]'s.

use serde_json::Value;

use super::shell::{Edit, Word};
use crate::configuration::Flags;
use crate::flags::{self, Kind};

mod difference;
pub mod names;
mod read;

pub use difference::{Change, Secret, diff, redacted, secret_words};
pub use read::read;

/// The words of a vector of arguments that no shell touches.
pub fn literal(arguments: &[String]) -> Vec<Word> {
    arguments.iter().map(|argument| Word::literal(argument)).collect()
}

/// What `overlaid` changes in some arguments, and what it appends to them. Every flag
/// that it names is replaced, however it was spelt (`--flag value`, `--flag=value`,
/// `_` or `-`, `-O3`, `--no-flag`, a boolean followed by `true` or `false`); those
/// that are not there are appended. A `null` takes a flag away. All else stays as it
/// is, in its order.
///
/// A flag that occurs stays at its first place; further occurrences go.
pub fn edits(arguments: &[Word], overlaid: &Flags) -> (Vec<Edit>, Vec<String>) {
    let mut edits = Vec::new();
    let mut pending = overlaid.clone();
    let mut at = 0;
    while at < arguments.len() {
        let words = occurrence(arguments, at, overlaid);
        at += words.as_ref().map_or(1, |(_, count)| *count);
        if let Some((name, count)) = words {
            let value = pending.remove(&name);
            let with = value.map(|value| flags::argv(&Flags::from([(name, value)])));
            edits.push(Edit { words: at - count..at, with: with.unwrap_or_default() });
        }
    }
    (edits, flags::argv(&pending))
}

/// What another model changes in some arguments, and what it appends to them: its place is
/// that of the model that they have, as an option or as the word before the first option.
pub fn model_edits(arguments: &[Word], model: &str) -> (Vec<Edit>, Vec<String>) {
    let option = Flags::from([("model".to_owned(), Value::from(model))]);
    let (edits, appended) = edits(arguments, &option);
    if !edits.is_empty() {
        return (edits, Vec::new());
    }
    match read::positional_model(arguments) {
        Some(at) => (vec![Edit { words: at..at + 1, with: vec![model.to_owned()] }], Vec::new()),
        None => (Vec::new(), appended),
    }
}

/// The same for a vector of arguments, carried out.
pub fn overlay(command: &[String], overlaid: &Flags) -> Vec<String> {
    let (edits, appended) = edits(&literal(command), overlaid);
    apply(command, &edits, &appended)
}

/// A vector of arguments with `edits` carried out.
pub fn apply(command: &[String], edits: &[Edit], appended: &[String]) -> Vec<String> {
    let mut result = Vec::with_capacity(command.len() + appended.len());
    let mut kept = 0;
    for edit in edits {
        result.extend_from_slice(&command[kept..edit.words.start]);
        result.extend_from_slice(&edit.with);
        kept = edit.words.end;
    }
    result.extend_from_slice(&command[kept..]);
    result.extend_from_slice(appended);
    result
}

/// The value that the arguments pass for `flag` (canonical name) as text; the last
/// one counts. `None` also where only the container can expand it.
pub fn flag_value(arguments: &[Word], flag: &str) -> Option<String> {
    let mut found = None;
    for (at, word) in arguments.iter().enumerate() {
        let (name, inline) = spelling(word.known());
        if name.as_deref() == Some(flag) {
            found = match inline {
                Some(value) => word.value.as_ref().map(|_| value.to_owned()),
                None => arguments
                    .get(at + 1)
                    .and_then(|next| next.value.clone())
                    .filter(|next| !begins(next)),
            };
        }
    }
    found
}

/// The first word that stands in the place of an option, or among them, and that only
/// the container can expand: what flags it brings is not known. The model and the
/// values of options may be such words.
pub fn hidden_flags(arguments: &[Word]) -> Option<&Word> {
    let mut values = Values::None;
    let mut has_model =
        arguments.iter().any(|it| spelling(it.known()).0.as_deref() == Some("model"));
    for word in arguments {
        let known = word.known();
        let (name, inline) = spelling(known);
        if begins(known) {
            if word.value.is_none() && inline.is_none() {
                return Some(word);
            }
            let kind = name.as_deref().and_then(flags::lookup).map(|flag| flag.kind);
            values = match kind {
                Some(Kind::Bool) => Values::None,
                _ if inline.is_some() => Values::None,
                Some(Kind::List) => Values::Several { begun: false },
                _ => Values::One,
            };
            continue;
        }
        let is_unknown = word.value.is_none();
        match values {
            Values::One => values = Values::None,
            // Further values cannot be distinguished from flags where the shell splits them.
            Values::Several { begun } if !begun || word.is_one || !is_unknown => {
                values = Values::Several { begun: true };
            }
            Values::Several { .. } => return Some(word),
            Values::None if is_unknown && (has_model || names_flags(&word.raw)) => {
                return Some(word);
            }
            Values::None => has_model = true,
        }
    }
    None
}

/// The values that an option may still take.
enum Values {
    None,
    One,
    Several { begun: bool },
}

/// Whether an expansion is that of flags by its name (`$EXTRA_ARGS`, `"$@"`).
fn names_flags(raw: &str) -> bool {
    let raw = raw.to_ascii_uppercase();
    ["ARG", "OPT", "FLAG", "EXTRA", "PARAM", "$@", "$*", "{@", "{*"]
        .iter()
        .any(|it| raw.contains(it))
}

/// The flag of `overlaid` that occurs at `at`, and the number of its words.
fn occurrence(arguments: &[Word], at: usize, overlaid: &Flags) -> Option<(String, usize)> {
    let (name, inline) = spelling(arguments[at].known());
    let (name, negated) = name.and_then(|name| {
        if overlaid.contains_key(&name) {
            return Some((name, false));
        }
        // A key of a JSON option that is replaced whole would win over it.
        if let Some((whole, _)) = name.split_once('.')
            && overlaid.contains_key(whole)
        {
            return Some((whole.to_owned(), false));
        }
        let positive = name.strip_prefix("no-")?;
        overlaid.contains_key(positive).then(|| (positive.to_owned(), true))
    })?;
    let count = match inline {
        Some(_) => 0,
        None => values(&name, &overlaid[&name], negated, &arguments[at + 1..]),
    };
    Some((name, count + 1))
}

/// How many of the words after a flag belong to it. What kind of flag it is
/// shows in the value that takes its place, else in vLLM's own table.
fn values(name: &str, replacement: &Value, negated: bool, following: &[Word]) -> usize {
    let is_boolean_word = |word: &Word| {
        let is = |text: &str| word.value.as_ref().is_some_and(|it| it.eq_ignore_ascii_case(text));
        is("true") || is("false")
    };
    let kind = flags::lookup(name).map(|flag| flag.kind);
    let plain = following.iter().take_while(|word| !begins(word.known())).count();
    if replacement.is_boolean() || negated || kind == Some(Kind::Bool) {
        usize::from(following.first().is_some_and(is_boolean_word))
    } else if replacement.is_array() || kind == Some(Kind::List) {
        plain
    } else {
        plain.min(1)
    }
}

/// The canonical name of an argument that is an option, and its `=value` or the value
/// glued to it. Of the options with one dash only vLLM's own abbreviations (`-tp`)
/// are known.
fn spelling(argument: &str) -> (Option<String>, Option<&str>) {
    let (option, value) = match argument.split_once('=') {
        Some((option, value)) => (option, Some(value)),
        None => (argument, None),
    };
    let long = option.starts_with("--") && option.len() > 2;
    let short = !long
        && option.len() > 1
        && option.starts_with('-')
        && flags::lookup(&option[1..]).is_some();
    if !long && !short {
        return match flags::glued(argument) {
            Some((flag, value)) => (Some(flag.name.to_owned()), Some(value)),
            None => (None, None),
        };
    }
    let name = flags::canonical_name(option);
    let name = match name.strip_prefix("no-") {
        Some(positive) if flags::lookup(&name).is_none() => {
            format!("no-{}", flags::resolve(positive))
        }
        _ => flags::resolve(&name),
    };
    (Some(name), value)
}

/// argparse's rule: a leading dash makes an option, unless it is a number.
fn is_option(argument: &str) -> bool {
    argument.len() > 1
        && argument.starts_with('-')
        && argument.parse::<f64>().is_err()
        && !argument.contains(' ')
}

/// Whether an option begins here: one with `=` may have blanks in its value, but none
/// in its name.
fn begins(word: &str) -> bool {
    is_option(word) || spelling(word).0.is_some_and(|name| !name.contains(' '))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        shell_words::split(text).expect("the test quotes well")
    }

    fn set(pairs: &Value) -> Flags {
        let pairs = pairs.as_object().expect("a mapping");
        pairs.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    #[test]
    fn a_flag_is_replaced_however_it_was_spelt() {
        for spelt in [
            "--max-num-seqs 64",
            "--max-num-seqs=64",
            "--max_num_seqs 64",
            "--max_num_seqs=64",
            "--max-num-seqs 64 --max_num_seqs=128",
        ] {
            let command = words(&format!("serve m {spelt} --port 8000"));
            let result = overlay(&command, &set(&json!({"max-num-seqs": 32})));
            assert_eq!(result, words("serve m --max-num-seqs 32 --port 8000"), "{spelt}");
        }
        for spelt in [
            "--enable-chunked-prefill",
            "--no-enable-chunked-prefill",
            "--enable-chunked-prefill true",
            "--enable_chunked_prefill False",
            "--enable-chunked-prefill=true",
            "--no_enable_chunked_prefill",
        ] {
            let command = words(&format!("serve m {spelt} --port 8000"));
            let result = overlay(&command, &set(&json!({"enable-chunked-prefill": false})));
            assert_eq!(result, words("serve m --no-enable-chunked-prefill --port 8000"), "{spelt}");
        }
    }

    #[test]
    fn json_negative_numbers_and_lists_are_whole_values() {
        let command = words(
            r#"m --rope_scaling '{"rope_type":"yarn","factor":4.0}' --x -1 --lora-modules a=b c=d --y"#,
        );
        let flags = set(&json!({"x": 3, "lora-modules": ["e=f"]}));
        assert_eq!(
            overlay(&command, &flags),
            words(
                r#"m --rope_scaling '{"rope_type":"yarn","factor":4.0}' --x 3 --lora-modules e=f --y"#
            )
        );
        let flags = set(&json!({"rope-scaling": {"factor": 2.0}}));
        assert_eq!(
            overlay(&command, &flags),
            words(r#"m --rope-scaling '{"factor":2.0}' --x -1 --lora-modules a=b c=d --y"#)
        );
    }

    #[test]
    fn a_list_ends_before_an_option_with_blanks_in_its_value() {
        let flags = set(&json!({"lora-modules": ["e=f"]}));
        for option in [r#"'--hf-overrides={"a": 1}'"#, r#"'-cc={"mode": 0}'"#, "--a_b='c d'"] {
            let command = words(&format!("m --lora-modules a=b c=d {option} --seed 1"));
            let expected = words(&format!("m --lora-modules e=f {option} --seed 1"));
            assert_eq!(overlay(&command, &flags), expected, "{option}");
        }
        // argparse takes a text with a blank for a value, unless it is `--option=...`.
        let command = words("m --lora-modules '--a b' --seed 1");
        assert_eq!(overlay(&command, &flags), words("m --lora-modules e=f --seed 1"));
        let command = words(r#"m --port '--hf-overrides={"a": 1}'"#);
        assert_eq!(flag_value(&literal(&command), "port"), None);
    }

    #[test]
    fn abbreviations_and_dotted_keys_are_the_same_flag() {
        let flags = set(&json!({"tensor-parallel-size": 1}));
        for spelt in ["-tp 2", "--tensor_parallel_size=2", "-tp=2", "-tp2"] {
            let command = words(&format!("m {spelt} --seed 1"));
            assert_eq!(
                overlay(&command, &flags),
                words("m --tensor-parallel-size 1 --seed 1"),
                "{spelt}"
            );
        }
        let flags = set(&json!({"compilation-config": {"mode": 0}}));
        let command = words("m --compilation_config.level 3 --compilation-config.a=b --seed 1");
        assert_eq!(
            overlay(&command, &flags),
            words(r#"m --compilation-config '{"mode":0}' --seed 1"#)
        );
    }

    #[test]
    fn null_takes_a_flag_away_and_what_is_not_there_is_appended() {
        let command = words("m --max-num-seqs 64 --enable-prefix-caching");
        assert_eq!(
            overlay(&command, &set(&json!({"max-num-seqs": null, "seed": 1}))),
            words("m --enable-prefix-caching --seed 1")
        );
        assert_eq!(overlay(&command, &Flags::new()), command);
    }

    #[test]
    fn a_longer_name_is_another_flag() {
        let command = words("m --max-num-seqs-x 64 --no-max-num");
        let flags = set(&json!({"max-num-seqs": 1}));
        assert_eq!(
            overlay(&command, &flags),
            words("m --max-num-seqs-x 64 --no-max-num --max-num-seqs 1")
        );
    }

    #[test]
    fn values_are_read() {
        let command = words("m --port=9000 --served_model_name a --port 9001");
        assert_eq!(flag_value(&literal(&command), "port").as_deref(), Some("9001"));
        assert_eq!(flag_value(&literal(&command), "served-model-name").as_deref(), Some("a"));
        assert_eq!(flag_value(&literal(&command), "host"), None);
    }

    /// An option that the grid does not touch, as it may occur in a command.
    fn foreign() -> impl Strategy<Value = Vec<String>> {
        let value = prop_oneof![
            "[a-zA-Z0-9/._:-]{1,12}".prop_filter("a value", |text| !text.starts_with('-')),
            Just(r#"{"a": "b c", "d": 1}"#.to_owned()),
            Just("-1".to_owned()),
            Just("true".to_owned()),
        ];
        ("--f[a-z_-]{0,8}", prop::option::of(value), any::<bool>()).prop_map(
            |(name, value, inline)| match value {
                None => vec![name],
                Some(value) if inline => vec![format!("{name}={value}")],
                Some(value) => vec![name, value],
            },
        )
    }

    /// One of the grid's flags in one of its spellings.
    fn ours() -> impl Strategy<Value = Vec<String>> {
        prop_oneof![
            (0..500u32).prop_map(|n| vec!["--max-num-seqs".to_owned(), n.to_string()]),
            (0..500u32).prop_map(|n| vec![format!("--max_num_seqs={n}")]),
            Just(vec!["--enable-prefix-caching".to_owned()]),
            Just(vec!["--no-enable_prefix_caching".to_owned()]),
            Just(vec!["--enable_prefix_caching".to_owned(), "True".to_owned()]),
            Just(vec!["--enable-prefix-caching=false".to_owned()]),
            prop::collection::vec("[a-z]{1,3}=[a-z/]{1,5}", 1..3)
                .prop_map(|modules| { [vec!["--lora_modules".to_owned()], modules].concat() }),
        ]
    }

    proptest! {
        #[test]
        fn replacing_flags_changes_nothing_else(
            options in prop::collection::vec(
                prop_oneof![foreign().prop_map(|o| (false, o)), ours().prop_map(|o| (true, o))],
                0..12,
            ),
            sequences in prop::option::of(1..1000u32),
            caching in any::<bool>(),
            modules in prop::option::of(prop::collection::vec("[a-z]{1,3}=[a-z/]{1,5}", 1..3)),
        ) {
            let model = vec!["serve".to_owned(), "model".to_owned()];
            let all = options.iter().map(|(_, option)| option.clone());
            let command: Vec<String> = std::iter::once(model.clone()).chain(all).flatten().collect();
            let untouched: Vec<String> = std::iter::once(model)
                .chain(options.iter().filter(|(ours, _)| !ours).map(|(_, option)| option.clone()))
                .flatten()
                .collect();
            let flags = set(&json!({
                "max-num-seqs": sequences, "enable-prefix-caching": caching, "lora-modules": modules,
            }));
            let result = overlay(&command, &flags);

            // Each of ours is there as asked, once; without them, the rest is what it was.
            let boolean = if caching { "--enable-prefix-caching" } else { "--no-enable-prefix-caching" };
            prop_assert_eq!(result.iter().filter(|a| *a == boolean).count(), 1);
            let mut rest = result.clone();
            rest.retain(|argument| argument != boolean);
            if let Some(at) = rest.iter().position(|argument| argument == "--max-num-seqs") {
                prop_assert_eq!(Some(rest[at + 1].clone()), sequences.map(|n| n.to_string()));
                rest.drain(at..=at + 1);
            } else {
                prop_assert_eq!(sequences, None);
            }
            let at = rest.iter().position(|argument| argument.replace('_', "-") == "--lora-modules");
            let expected = modules.as_deref();
            prop_assert_eq!(at.map(|at| at + 1), expected.is_some().then(|| at.unwrap_or(0) + 1));
            if let (Some(at), Some(modules)) = (at, expected) {
                prop_assert_eq!(&rest[at + 1..=at + modules.len()], modules);
                rest.drain(at..=at + modules.len());
            }
            prop_assert_eq!(rest, untouched);
            // And it is stable.
            prop_assert_eq!(overlay(&result, &flags), result);
        }
    }
}
