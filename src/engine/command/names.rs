//! The names under which a server offers its model, as its arguments say: requests give
//! one of them. Whether the server offers them is asked by who waits for it.

use super::{begins, read, spelling};
use crate::engine::shell::Word;

/// The option that gives the names.
pub const SERVED: &str = "served-model-name";

/// What some arguments say of the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// Nothing: the model's own is used.
    Unsaid,
    /// Only the container can expand them.
    Hidden,
    /// These.
    Known(Vec<String>),
}

/// The names that some arguments give; the last ones count.
pub fn served(arguments: &[Word]) -> Names {
    let mut found = Names::Unsaid;
    for (at, word) in arguments.iter().enumerate() {
        let (name, inline) = spelling(word.known());
        // vLLM's parser accepts the beginning of a name.
        let is_it = |name: String| name.starts_with("served") && SERVED.starts_with(&name);
        if !name.is_some_and(is_it) {
            continue;
        }
        let values = arguments[at + 1..].iter().take_while(|word| !begins(word.known()));
        let names: Option<Vec<String>> = match inline {
            Some(value) => word.value.as_ref().map(|_| vec![value.to_owned()]),
            None => values.map(|word| word.value.clone()).collect(),
        };
        let names = names.filter(|it| !it.is_empty() && it.iter().all(|name| !name.is_empty()));
        found = names.map_or(Names::Hidden, Names::Known);
    }
    found
}

/// The model that some arguments name, where it is known.
pub fn model(arguments: &[Word]) -> Option<String> {
    let model = read(arguments).0.filter(|model| !model.is_empty())?;
    let is_hidden = |word: &Word| word.value.is_none() && word.raw.ends_with(&model);
    (!arguments.iter().any(is_hidden)).then_some(model)
}

#[cfg(test)]
mod tests {
    use super::super::literal;
    use super::*;

    #[test]
    fn the_last_names_count_however_they_are_spelt() {
        let of = |text: &str| served(&literal(&shell_words::split(text).expect("quoted well")));
        let known = |names: &[&str]| Names::Known(names.iter().map(|it| (*it).into()).collect());
        assert_eq!(of("m --max-num-seqs 8"), Names::Unsaid);
        assert_eq!(of("m --served-model-name a b --port 1"), known(&["a", "b"]));
        assert_eq!(of("--served_model_name=a m"), known(&["a"]));
        assert_eq!(of("m --served-model-name a --served-model b"), known(&["b"]));
        assert_eq!(of("m --served-model-name"), Names::Hidden);
        assert_eq!(of("m --served-model-name '' --port 1"), Names::Hidden);
    }
}
