//! What a dataset's texts become for a server: messages behind a salt, a text of
//! a size, and the entries that fit into its context. Reading and checking the
//! file is [`crate::workload::Dataset`]'s.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::bench::prompt::generate::derive;
use crate::workload::{Dataset, DatasetError, Datasets, Prompt, around};

/// Bytes of the text that shows how many tokens a byte is.
const SAMPLE: usize = 8192;
/// Bytes that one entry gives to it at most: entries differ.
const SAMPLE_OF_ONE: usize = 512;
/// Entries differ in tokens per byte: one is sent only where it would fit with so
/// many times the tokens of the sample.
const MARGIN: f64 = 1.25;

/// Datasets as one server knows them.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    datasets: Datasets,
    known: BTreeMap<PathBuf, Source>,
}

/// A dataset as one server knows it.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    dataset: Arc<Dataset>,
    tokens_per_byte: Option<f64>,
    /// Entries that the server refused as too long.
    refused: BTreeSet<usize>,
}

/// What is sent besides an entry's text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overhead {
    /// Messages in all.
    pub(crate) messages: u64,
    /// Tokens that are generated.
    pub(crate) output_tokens: u64,
}

impl Sources {
    /// Of files that were read before; others are read when they are first asked for.
    pub(crate) fn of(datasets: Datasets) -> Self {
        Self { datasets, known: BTreeMap::new() }
    }

    /// The dataset of a path.
    pub(crate) async fn get(&mut self, path: &Path) -> Result<&mut Source, DatasetError> {
        if !self.known.contains_key(path) {
            let file = self.datasets.path_of(path);
            let (mut datasets, name) = (self.datasets.clone(), path.to_owned());
            let read = tokio::task::spawn_blocking(move || datasets.get(&name)).await;
            let died = |error: tokio::task::JoinError| DatasetError::Read {
                path: file.clone(),
                error: error.into(),
            };
            let dataset = read.map_err(died)??;
            let source = Source { dataset, tokens_per_byte: None, refused: BTreeSet::new() };
            self.known.insert(path.to_owned(), source);
        }
        Ok(self.known.get_mut(path).expect("it was put there"))
    }

    /// From now on an entry is left out: the server refused it as too long.
    pub(crate) fn refuse(&mut self, path: &Path, entry: usize) {
        if let Some(source) = self.known.get_mut(path) {
            source.refused.insert(entry);
        }
    }
}

impl Source {
    /// Tokens per byte of its texts, where a request showed them.
    pub(crate) fn tokens_per_byte(&self) -> Option<f64> {
        self.tokens_per_byte
    }

    pub(crate) fn set_tokens_per_byte(&mut self, value: Option<f64>) {
        self.tokens_per_byte = value;
    }

    /// Its texts.
    pub(crate) fn dataset(&self) -> &Arc<Dataset> {
        &self.dataset
    }

    /// Whether an entry, sent as `bytes` of text, fits into a context of `longest` tokens,
    /// as far as that can be known before it is sent.
    pub(crate) fn accepts(
        &self,
        entry: usize,
        bytes: usize,
        overhead: Overhead,
        longest: Option<u64>,
    ) -> bool {
        !self.refused.contains(&entry) && self.fits(bytes, overhead, longest)
    }

    /// The same of any text of so many bytes.
    pub(crate) fn fits(&self, bytes: usize, overhead: Overhead, longest: Option<u64>) -> bool {
        let Some(longest) = longest else { return true };
        // A token is at least one byte.
        let most = bytes as f64;
        let tokens =
            self.tokens_per_byte.map_or(most, |per_byte| most.min(most * per_byte * MARGIN));
        let around = around(overhead.messages);
        around.saturating_add(overhead.output_tokens).saturating_add(tokens as u64) <= longest
    }

    /// The entries in an order from the seed.
    pub(crate) fn order(&self, seed: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.dataset.count()).collect();
        let seed = derive(&[&seed.to_string(), "dataset"]);
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        order
    }

    /// A text of a little from many entries, which shows how many tokens a byte is; of
    /// `space` bytes at most.
    pub(crate) fn sample(&self, seed: u64, space: usize) -> String {
        let size = SAMPLE.min(space);
        let mut text = String::new();
        for entry in self.order(seed) {
            for said in self.dataset.said(entry) {
                let space = (size - text.len()).min(SAMPLE_OF_ONE);
                text.push_str(&said[..said.floor_char_boundary(space)]);
            }
            if text.len() + SAMPLE_OF_ONE / 2 > size {
                break;
            }
        }
        text
    }
}

/// The users' texts of a dataset, put together to texts of any size.
#[derive(Clone, Debug)]
pub(crate) struct Filling {
    dataset: Arc<Dataset>,
    order: Arc<[usize]>,
}

impl Filling {
    /// Entries are taken in the order of the seed.
    pub(crate) fn new(source: &Source, seed: u64) -> Self {
        Self { dataset: Arc::clone(source.dataset()), order: source.order(seed).into() }
    }

    /// A text of `size` bytes, less a few: the last part is cut between two letters.
    /// The same size gives the same parts, the seed their order: such texts are as
    /// long as each other to a few tokens.
    pub(crate) fn text(&self, seed: u64, size: usize) -> String {
        let mut parts: Vec<Cow<'_, str>> = Vec::new();
        let mut left = size;
        let entries = self.order.iter().cycle();
        'full: for part in entries.flat_map(|entry| self.dataset.said(*entry)) {
            if part.len() >= left {
                parts.push(Cow::Owned(part[..part.floor_char_boundary(left)].to_owned()));
                break 'full;
            }
            left -= part.len() + 1;
            parts.push(part);
        }
        parts.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        parts.join("\n")
    }
}

/// The messages of a prompt behind a salt: it opens the first one, a system
/// message, with the prompt's own system message behind it.
pub(crate) fn salted(prompt: Prompt<'_>, salt: &str) -> Vec<Value> {
    let mut messages = match prompt {
        Prompt::Text(text) => vec![json!({"role": "user", "content": text})],
        Prompt::Messages(messages) => messages,
    };
    match messages.first_mut() {
        Some(first) if is_system(first) => match first.get_mut("content") {
            Some(Value::Array(parts)) => {
                parts.insert(0, json!({"type": "text", "text": format!("{salt}. ")}));
            }
            Some(content) => {
                *content = format!("{salt}. {}", content.as_str().unwrap_or_default()).into();
            }
            None => first["content"] = format!("{salt}.").into(),
        },
        _ => {
            let opening = format!("{salt}. You answer.");
            messages.insert(0, json!({"role": "system", "content": opening}));
        }
    }
    messages
}

fn is_system(message: &Value) -> bool {
    let role = message.get("role").and_then(Value::as_str);
    role.is_some_and(|role| ["system", "developer"].contains(&role))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(lines: &[Value]) -> Source {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("some.jsonl");
        let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
        std::fs::write(&path, lines.join("\r\n")).expect("written");
        let dataset = Arc::new(Dataset::read(&path).expect("a dataset"));
        Source { dataset, tokens_per_byte: None, refused: BTreeSet::new() }
    }

    fn talk(topic: usize) -> Value {
        let said = format!("Été {topic} : {}", "ça va très bien, ".repeat(topic % 7));
        json!({"messages": [{"role": "user", "content": said}, {"role": "assistant", "content": "-"},
                            {"role": "user", "content": "Et après ?"}]})
    }

    #[test]
    fn the_salt_opens_the_system_message() {
        let plain = salted(Prompt::Text("Bonjour"), "red sun");
        assert_eq!(
            plain,
            [
                json!({"role": "system", "content": "red sun. You answer."}),
                json!({"role": "user", "content": "Bonjour"})
            ]
        );
        let user = json!({"role": "user", "content": "x"});
        let behind =
            |system: Value| salted(Prompt::Messages(vec![system, user.clone()]), "red sun");
        let messages = behind(json!({"role": "system", "content": "Sois bref."}));
        assert_eq!(messages[0], json!({"role": "system", "content": "red sun. Sois bref."}));
        assert_eq!(messages[1], user);
        let parts =
            behind(json!({"role": "developer", "content": [{"type": "text", "text": "a"}]}));
        let first = json!({"type": "text", "text": "red sun. "});
        assert_eq!(parts[0]["content"], json!([first, {"type": "text", "text": "a"}]));
        let empty = behind(json!({"role": "system"}));
        assert_eq!(empty[0]["content"], "red sun.");
        assert_eq!(salted(Prompt::Messages(vec![user.clone()]), "red sun")[1], user);
    }

    #[test]
    fn orders_come_from_the_seed() {
        let source = source(&(0..20).map(talk).collect::<Vec<_>>());
        let order = source.order(1);
        assert_eq!(order, source.order(1));
        assert_ne!(order, source.order(2));
        let mut sorted = order;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn fillings_of_one_size_differ_in_order_alone_and_end_between_letters() {
        let filling = Filling::new(&source(&(0..9).map(talk).collect::<Vec<_>>()), 1);
        // Also more than the whole file has.
        for size in (1..200).chain([5000]) {
            let (one, other) = (filling.text(1, size), filling.text(2, size));
            assert!((size.saturating_sub(4)..=size).contains(&one.len()), "{size}: {one}");
            let sorted = |text: &str| {
                let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
                lines.sort_unstable();
                lines
            };
            assert_eq!(sorted(&one), sorted(&other));
        }
        assert_ne!(filling.text(1, 5000), filling.text(2, 5000));
    }

    #[test]
    fn what_fits_is_known_for_certain_by_bytes_and_about_by_tokens() {
        let mut source = source(&[json!({"prompt": "a"})]);
        let overhead = Overhead { messages: 2, output_tokens: 100 };
        let accepts = |source: &Source, bytes| source.accepts(0, bytes, overhead, Some(1000));
        // 64 and twice 8 around it, 100 of answer.
        assert!(accepts(&source, 820) && !accepts(&source, 821));
        source.tokens_per_byte = Some(0.25);
        assert!(accepts(&source, 820 * 16 / 5) && !accepts(&source, 820 * 16 / 5 + 4));
        assert!(source.accepts(0, 1 << 30, overhead, None), "the context is unknown");
        source.refused.insert(0);
        assert!(!accepts(&source, 1));
    }

    #[test]
    fn a_sample_is_a_little_of_many() {
        let long = json!({"prompt": "é".repeat(4000)});
        let lines: Vec<Value> = (0..40).map(|_| long.clone()).collect();
        let text = source(&lines).sample(1, SAMPLE);
        assert!((SAMPLE - SAMPLE_OF_ONE..=SAMPLE).contains(&text.len()), "{}", text.len());
        assert_eq!(source(&[json!({"prompt": "short"})]).sample(1, SAMPLE), "short");
    }
}
