//! Prompts from a file: ShareGPT-like JSON (`conversations` with `from` and
//! `value`), or JSON lines with `prompt` or `messages`. A file is read once per
//! process and checked on the way: rows that cannot be used are left out and counted.
//! Which of its texts are sent, and how, is `bench`'s.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Spec, Workload};
use row::Unusable;

mod read;
mod row;

/// Bytes of a token, about: what a length is estimated by where no server has counted.
const BYTES_PER_TOKEN: usize = 4;

/// What users said, entry by entry.
#[derive(PartialEq, Eq)]
pub struct Dataset {
    entries: Vec<Entry>,
    left_out: LeftOut,
    sha256: String,
}

/// Rows of a file that cannot be used, by why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut(Vec<Left>);

/// Rows that cannot be used for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Left {
    why: &'static str,
    count: usize,
    /// Where the first one is, and what is wrong with it, where that is more.
    place: String,
    detail: Option<String>,
}

impl LeftOut {
    fn add(&mut self, why: Unusable, place: impl Fn() -> String) {
        let (why, detail) = match why {
            Unusable::Characters => ("with broken characters", None),
            Unusable::Silent => ("without a text of a user", None),
            Unusable::Media => ("with pictures, sound or video", None),
            Unusable::Form(reason) => ("of another form", Some(reason)),
        };
        match self.0.iter_mut().find(|left| left.why == why) {
            Some(left) => left.count += 1,
            None => self.0.push(Left { why, count: 1, place: place(), detail }),
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.iter().map(|left| left.count).sum()
    }
}

/// `2 with broken characters (the first: line 2), 1 of another form (line 7: ...)`.
impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Left { why, count, place, detail }) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            let first = if *count == 1 { "" } else { "the first: " };
            write!(f, "{comma}{count} {why} ({first}{place}")?;
            match detail {
                Some(detail) => write!(f, ": {})", crate::clean::plain(detail))?,
                None => f.write_str(")")?,
            }
        }
        Ok(())
    }
}

/// One entry in which a user says something.
#[derive(Debug, PartialEq, Eq)]
enum Entry {
    /// What users said; never empty.
    Said(Vec<Box<str>>),
    /// A chat.
    Chat {
        /// Its messages up to the last one of a user, as they are in the file.
        json: Box<str>,
        /// Bytes of text in each message of a user among them.
        said: Box<[u32]>,
        /// Bytes of text in all of them.
        bytes: usize,
    },
}

/// An entry as a single prompt.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt<'a> {
    /// What a user says first.
    Text(&'a str),
    /// Messages up to the last one of a user.
    Messages(Vec<Value>),
}

/// Why a file gives no prompts, or not the ones that are needed.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// It cannot be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// It contains something else.
    #[error("{}, {place}: {reason}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// `line 3` or `entry 3`, from 1.
        place: String,
        /// What is wrong there.
        reason: String,
    },
    /// No entry can be used.
    #[error("{}: no entry can be used{}", path.display(), of(left_out))]
    Empty {
        /// The file.
        path: PathBuf,
        /// Why not.
        left_out: LeftOut,
    },
    /// Too few long conversations.
    #[error("{}: {found} of its conversations have {turns} turns or more, and the workload needs {wanted}", path.display())]
    TooFew {
        /// The file.
        path: PathBuf,
        /// Conversations that are long enough.
        found: usize,
        /// Turns that are asked for.
        turns: u64,
        /// Conversations that are asked for.
        wanted: u64,
    },
}

/// What is said of rows behind an error.
fn of(left_out: &LeftOut) -> String {
    if left_out.0.is_empty() { String::new() } else { format!(": {left_out}") }
}

impl DatasetError {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Read { error, .. } if error.kind() == std::io::ErrorKind::NotFound => {
                "paths are relative to the grid's file"
            }
            Self::Read { .. } => "give a file that can be read",
            Self::Form { .. } | Self::Empty { .. } => {
                "a file is a JSON list or JSON lines; an entry has `prompt`, `messages`, or \
                 `conversations` with `from` and `value`, and nothing but text"
            }
            Self::TooFew { .. } => "lower `turns` or `conversations`, or give another file",
        }
    }
}

impl Dataset {
    /// Reads a file. Rows that cannot be used are passed over and counted, as ShareGPT has
    /// many of them.
    ///
    /// # Errors
    /// A file that cannot be read, or has no prompt at all.
    pub fn read(path: &Path) -> Result<Self, DatasetError> {
        Self::of(read::file(path)?, path)
    }

    /// Reads the content of a file; `path` is its name.
    ///
    /// # Errors
    /// As [`Dataset::read`].
    pub fn parse(content: &[u8], path: &Path) -> Result<Self, DatasetError> {
        Self::of(read::content(content, path)?, path)
    }

    fn of(rows: read::Rows, path: &Path) -> Result<Self, DatasetError> {
        let read::Rows { entries, left_out, sha256 } = rows;
        if entries.is_empty() {
            return Err(DatasetError::Empty { path: path.to_owned(), left_out });
        }
        Ok(Self { entries, left_out, sha256 })
    }

    /// What to say of the rows that are left out; `path` is the file's name.
    fn remark(&self, path: &Path) -> Option<String> {
        let (out, left_out) = (self.left_out.count(), &self.left_out);
        let all = out + self.entries.len();
        (out > 0).then(|| {
            format!("{out} of {all} entries of {} are left out: {left_out}", path.display())
        })
    }

    /// Entries in which a user says something; never 0.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// SHA-256 of the file, hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// An entry as a single prompt.
    pub fn prompt(&self, entry: usize) -> Prompt<'_> {
        match &self.entries[entry] {
            Entry::Said(texts) => Prompt::Text(texts.first().map_or("", |text| text)),
            Entry::Chat { json, .. } => Prompt::Messages(row::messages(json)),
        }
    }

    /// Bytes of text in an entry's single prompt.
    pub fn prompt_bytes(&self, entry: usize) -> usize {
        match &self.entries[entry] {
            Entry::Said(texts) => texts.first().map_or(0, |text| text.len()),
            Entry::Chat { bytes, .. } => *bytes,
        }
    }

    /// What users say in an entry, in order.
    pub fn said(&self, entry: usize) -> Vec<Cow<'_, str>> {
        match &self.entries[entry] {
            Entry::Said(texts) => texts.iter().map(|text| Cow::Borrowed(&**text)).collect(),
            Entry::Chat { json, .. } => {
                row::said(&row::messages(json)).into_iter().map(Cow::Owned).collect()
            }
        }
    }

    /// Bytes of what users say in the first `turns` turns of an entry.
    pub fn said_bytes(&self, entry: usize, turns: u64) -> usize {
        let turns = usize::try_from(turns).unwrap_or(usize::MAX);
        match &self.entries[entry] {
            Entry::Said(texts) => texts.iter().take(turns).map(|text| text.len()).sum(),
            Entry::Chat { said, .. } => said.iter().take(turns).map(|bytes| *bytes as usize).sum(),
        }
    }

    /// Entries in which users speak at least so often.
    pub fn conversations(&self, turns: u64) -> Vec<usize> {
        let of = |entry: &Entry| match entry {
            Entry::Said(texts) => texts.len(),
            Entry::Chat { said, .. } => said.len(),
        };
        let long = self.entries.iter().enumerate().filter(|(_, entry)| of(entry) as u64 >= turns);
        long.map(|(index, _)| index).collect()
    }

    /// Tokens of an entry's single prompt, on average and about.
    pub fn prompt_tokens(&self) -> u64 {
        mean_tokens((0..self.count()).map(|entry| self.prompt_bytes(entry)))
    }

    /// The same for what users say in conversations of `turns` turns.
    pub fn conversation_tokens(&self, turns: u64) -> u64 {
        let long = self.conversations(turns).into_iter();
        mean_tokens(long.map(|entry| self.said_bytes(entry, turns)))
    }
}

fn mean_tokens(bytes: impl ExactSizeIterator<Item = usize>) -> u64 {
    let count = bytes.len().max(1);
    (bytes.sum::<usize>() / count / BYTES_PER_TOKEN) as u64
}

impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dataset({} entries, {})", self.entries.len(), self.sha256)
    }
}

/// Files that workloads take their prompts from, each read once. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Datasets {
    folder: PathBuf,
    /// By their path as the workload spells it.
    read: BTreeMap<PathBuf, Arc<Dataset>>,
}

/// A dataset as a sweep remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetFile {
    /// Its path as the grid spells it: relative to the grid's file.
    pub path: PathBuf,
    /// SHA-256 of its bytes.
    pub sha256: String,
}

impl Datasets {
    /// Those whose paths are relative to `folder`; none is read yet.
    pub fn relative_to(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), read: BTreeMap::new() }
    }

    /// The dataset of a path.
    ///
    /// # Errors
    /// When it is read for the first time and gives no prompts.
    pub fn get(&mut self, path: &Path) -> Result<Arc<Dataset>, DatasetError> {
        if let Some(dataset) = self.read.get(path) {
            return Ok(Arc::clone(dataset));
        }
        let dataset = Arc::new(Dataset::read(&self.path_of(path))?);
        self.read.insert(path.to_owned(), Arc::clone(&dataset));
        Ok(dataset)
    }

    /// The dataset of a path, where it was read.
    pub fn known(&self, path: &Path) -> Option<&Dataset> {
        self.read.get(path).map(|dataset| &**dataset)
    }

    /// Reads a workload's dataset, where it has one, and checks that it suffices.
    ///
    /// # Errors
    /// When it cannot be read, or has too few conversations of the turns asked for.
    pub fn check(&mut self, workload: &Workload) -> Result<(), DatasetError> {
        let Some(path) = workload.dataset() else { return Ok(()) };
        let dataset = self.get(path)?;
        if let Spec::Conversation(spec) = &workload.spec {
            let (turns, wanted) = (spec.turns, spec.conversations);
            let found = dataset.conversations(turns).len();
            if (found as u64) < wanted {
                let path = self.path_of(path);
                return Err(DatasetError::TooFew { path, found, turns, wanted });
            }
        }
        Ok(())
    }

    /// What to say of the rows of a file that cannot be used, where it was read.
    pub fn remark(&self, path: &Path) -> Option<String> {
        self.read.get(path)?.remark(path)
    }

    /// Where the file of a path is.
    pub fn path_of(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// Paths and sums of those that were read.
    pub fn files(&self) -> Vec<DatasetFile> {
        let file = |(path, dataset): (&PathBuf, &Arc<Dataset>)| DatasetFile {
            path: path.clone(),
            sha256: dataset.sha256.clone(),
        };
        self.read.iter().map(file).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(text: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("some.jsonl");
        std::fs::write(&path, text).expect("written");
        (folder, path)
    }

    fn talk(turns: usize) -> Value {
        let user = |turn| json!({"role": "user", "content": format!("{turn}")});
        json!({"messages": (0..turns).map(user).collect::<Vec<_>>()})
    }

    #[test]
    fn a_file_is_read_once_and_known_by_its_sum() {
        let (folder, path) = written(b"{\"prompt\": \"abc\"}");
        let mut datasets = Datasets::relative_to(folder.path());
        let first = datasets.get(Path::new("some.jsonl")).expect("a dataset");
        std::fs::remove_file(&path).expect("removed");
        let again = datasets.get(Path::new("some.jsonl")).expect("it was read");
        assert!(Arc::ptr_eq(&first, &again));
        let [file] = &datasets.files()[..] else { panic!("one file") };
        // `printf '{"prompt": "abc"}' | sha256sum`
        assert_eq!(
            (file.path.to_str(), &file.sha256[..16]),
            (Some("some.jsonl"), "6841d5f1c399cca7")
        );
    }

    #[test]
    fn conversations_are_as_long_as_asked() {
        let lines = [3, 1, 5].map(|turns| talk(turns).to_string()).join("\n");
        let (folder, _) = written(lines.as_bytes());
        let mut datasets = Datasets::relative_to(folder.path());
        let dataset = datasets.get(Path::new("some.jsonl")).expect("a dataset");
        assert_eq!(dataset.conversations(3), [0, 2]);
        assert_eq!(dataset.said(2), ["0", "1", "2", "3", "4"]);
        assert_eq!((dataset.said_bytes(2, 3), dataset.prompt_bytes(2)), (3, 5));
        let checked = |datasets: &mut Datasets, conversations: u64| {
            let options =
                json!({"dataset": "some.jsonl", "turns": 3, "conversations": conversations});
            let options = options.as_object().expect("a mapping");
            let workload = Workload::from_options("conversation", options).expect("good options");
            datasets.check(&workload).map_err(|error| error.to_string())
        };
        assert_eq!(checked(&mut datasets, 2), Ok(()));
        let error = checked(&mut datasets, 4).expect_err("two are too few");
        assert!(
            error
                .ends_with("2 of its conversations have 3 turns or more, and the workload needs 4"),
            "{error}"
        );
    }

    #[test]
    fn what_is_no_file_or_holds_nothing_is_an_error() {
        let (folder, path) = written(b"\n \r\n");
        assert!(matches!(Dataset::read(&path), Err(DatasetError::Empty { .. })));
        let error = Dataset::read(folder.path()).expect_err("a folder").to_string();
        assert!(error.ends_with("this is a folder, not a file"), "{error}");
        let missing = Dataset::read(&folder.path().join("none")).expect_err("nothing there");
        assert!(matches!(missing, DatasetError::Read { .. }));
        assert!(missing.help().contains("relative"));
    }
}
