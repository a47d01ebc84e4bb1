//! An override of a service as the text of a compose file: what a tested configuration has in
//! the place of what the service says, and nothing else. Pure.

use std::collections::BTreeMap;

use super::files::MARK;
use crate::engine::compose::template::Template;
use crate::engine::compose::yaml::{quoted, scalar};

/// What the override says of the service.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Overriding {
    pub(super) image: Option<String>,
    pub(super) entrypoint: Option<Vec<Template>>,
    pub(super) command: Option<Vec<Template>>,
    pub(super) environment: BTreeMap<String, String>,
}

impl Overriding {
    /// The compose file; `of` says of what in one line.
    pub(super) fn text(&self, service: &str, of: &str) -> String {
        let mut text = format!("{MARK}{}\n", crate::clean::plain(of).replace(['\n', '\r'], " "));
        text.push_str(
            "# Laid over the service's own files by a further -f; made anew by each `apply`.\n",
        );
        text.extend(["services:\n  ", &quoted(service), ":\n"]);
        if let Some(image) = &self.image {
            text.extend(["    image: ", &quoted(&Template::plain(image).raw()), "\n"]);
        }
        for (key, words) in [("entrypoint", &self.entrypoint), ("command", &self.command)] {
            let Some(words) = words else { continue };
            if words.is_empty() {
                text.extend(["    ", key, ": []\n"]);
                continue;
            }
            text.extend(["    ", key, ":\n"]);
            for word in words {
                text.extend(["      - ", &scalar(&word.raw(), 8), "\n"]);
            }
        }
        if self.environment.is_empty() {
            // A service without any key is refused.
            text.push_str("    environment: {}\n");
            return text;
        }
        text.push_str("    environment:\n");
        for (name, value) in &self.environment {
            let value = scalar(&Template::plain(value).raw(), 8);
            text.extend(["      ", &quoted(name), ": ", &value, "\n"]);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::compose::parse;

    /// What the tool makes of it: each `$$` is one, which it prints doubled again.
    fn read(text: &str) -> crate::engine::compose::ServiceSpec {
        let whole = text.replacen("    environment", "    image: i\n    environment", 1);
        parse(&whole, "llm", "p").unwrap_or_else(|error| panic!("{error}\n{whole}"))
    }

    fn overriding(words: &[String], value: &str) -> Overriding {
        Overriding {
            command: Some(words.iter().map(|it| Template::plain(it)).collect()),
            environment: [("V".to_owned(), value.to_owned())].into(),
            ..Overriding::default()
        }
    }

    #[test]
    fn it_says_what_changes_and_nothing_else() {
        let words = ["--x", "yes", "$1"].map(|it| Template::of(it, |_| String::new()));
        let script = Template::of("set -e\nexec vllm serve ${M:-m} $$X\n", |_| "m".to_owned());
        let overriding = Overriding {
            image: Some("i:$1".to_owned()),
            entrypoint: Some(words.to_vec()),
            command: Some(vec![script]),
            environment: [("A".to_owned(), "1e3".to_owned())].into(),
        };
        let text = overriding.text("llm", "c\nof run");
        let (head, body) = text.split_once("services:\n").expect("it has services");
        assert!(
            head.starts_with("# vllm-grid apply: c") && head.lines().all(|it| it.starts_with('#')),
            "{head}"
        );
        assert_eq!(
            body,
            "  \"llm\":\n    image: \"i:$$1\"\n    entrypoint:\n      - \"--x\"\n      - \"yes\"\n      - \"$$1\"\n    \
             command:\n      - |\n        set -e\n        exec vllm serve ${M:-m} $$X\n    environment:\n      \"A\": \"1e3\"\n"
        );
        assert!(Overriding::default().text("llm", "").ends_with("\"llm\":\n    environment: {}\n"));
    }

    #[test]
    fn hostile_words_come_back_as_they_were() {
        let words = [
            "a b",
            "it's",
            "\"",
            "a\nb",
            "$HOME",
            "$$",
            "${A}",
            "yes",
            "1e3",
            "0o7",
            "",
            "#",
            "- x",
            "{\"a\": \"b\"}",
            "\u{7f}",
            "\t",
            "!tag",
            "&a",
            "*a",
            "%",
            "@",
            "`",
            "|",
            ">",
            "é\u{2028}",
        ];
        let words: Vec<String> = words.iter().map(|it| (*it).to_owned()).collect();
        let spec = read(&overriding(&words, "$X 'y'").text("llm", "c"));
        assert_eq!(spec.command.as_deref(), Some(&*words));
        assert_eq!(spec.environment["V"], "$X 'y'");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same_vector(
            words in proptest::collection::vec("(\\PC|[\n\t $'\"\\\\{}:#-]){0,20}", 1..6),
            value in "(\\PC|[\n\t $'\"\\\\{}:#-]){0,20}",
        ) {
            let spec = read(&overriding(&words, &value).text("llm", "c"));
            prop_assert_eq!(spec.command, Some(words));
            prop_assert_eq!(&spec.environment["V"], &value);
        }
    }
}
