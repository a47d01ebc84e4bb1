//! Prompts from a file: ShareGPT-like JSON (`conversations` with `from` and
//! `value`), or JSON lines with `prompt` or `messages`. Reads and checks; what is
//! done with the texts is the workloads'.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// Files beyond this are no prompts but a mistake.
const LARGEST: u64 = 2 << 30;

/// What users said, conversation by conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    conversations: Vec<Vec<String>>,
}

/// Why a file gives no prompts.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It holds something else.
    #[error("{}: {place}: {reason}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// `line 3` or `entry 3`, from 1.
        place: String,
        /// What is wrong there.
        reason: String,
    },
    /// No entry has a text of a user.
    #[error("{}: no entry has a text of a user", .0.display())]
    Empty(PathBuf),
}

impl Dataset {
    /// Reads a file. Entries in which no user says anything are passed over, as
    /// ShareGPT has many of them.
    ///
    /// # Errors
    /// A file that cannot be read, has another form, or no prompt at all.
    pub fn read(path: &Path) -> Result<Self, DatasetError> {
        let failed = |source| DatasetError::Read { path: path.to_owned(), source };
        let length = std::fs::metadata(path).map_err(failed)?.len();
        if length > LARGEST {
            let reason = format!("{length} bytes are more than {LARGEST}");
            return Err(failed(std::io::Error::other(reason)));
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let conversations = parse(&text).map_err(|(place, reason)| DatasetError::Form {
            path: path.to_owned(),
            place,
            reason,
        })?;
        if conversations.is_empty() {
            return Err(DatasetError::Empty(path.to_owned()));
        }
        Ok(Self { conversations })
    }

    /// The first text of a user in every conversation: single prompts.
    pub fn prompts(&self) -> impl Iterator<Item = &str> {
        self.conversations.iter().filter_map(|texts| texts.first()).map(String::as_str)
    }

    /// What users said in the conversations of at least so many turns.
    pub fn conversations(&self, turns: usize) -> Vec<&[String]> {
        let long = self.conversations.iter().filter(|texts| texts.len() >= turns);
        long.map(|texts| &texts[..turns]).collect()
    }
}

/// The users' texts; the place and the reason of a fault.
fn parse(text: &str) -> Result<Vec<Vec<String>>, (String, String)> {
    let text = text.trim_start_matches('\u{feff}');
    let mut conversations = Vec::new();
    let mut take = |place: String, entry: &Value| -> Result<(), (String, String)> {
        let texts = users_texts(entry).map_err(|reason| (place, reason))?;
        if !texts.is_empty() {
            conversations.push(texts);
        }
        Ok(())
    };
    if text.trim_start().starts_with('[') {
        let entries: Vec<Value> = serde_json::from_str(text)
            .map_err(|error| (format!("line {}", error.line()), error.to_string()))?;
        for (at, entry) in entries.iter().enumerate() {
            take(format!("entry {}", at + 1), entry)?;
        }
    } else {
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let place = || format!("line {}", at + 1);
            let entry: Value =
                serde_json::from_str(line).map_err(|error| (place(), error.to_string()))?;
            take(place(), &entry)?;
        }
    }
    Ok(conversations)
}

fn users_texts(entry: &Value) -> Result<Vec<String>, String> {
    if let Some(prompt) = entry.get("prompt") {
        let text = prompt.as_str().ok_or("`prompt` is no text")?;
        return Ok(vec![text.to_owned()]);
    }
    let list = ["messages", "conversations", "conversation"]
        .iter()
        .find_map(|key| entry.get(key))
        .ok_or("neither `prompt` nor `messages` nor `conversations`")?;
    let messages = list.as_array().ok_or("the messages are no list")?;
    let mut texts = Vec::new();
    for message in messages {
        let field = |names: [&str; 2]| names.iter().find_map(|name| message.get(name));
        let role = field(["role", "from"]).and_then(Value::as_str);
        let role = role.ok_or("a message has neither `role` nor `from`")?;
        if !["user", "human"].contains(&role) {
            continue;
        }
        let text = match field(["content", "value"]) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => {
                parts.iter().filter_map(|part| part.get("text")?.as_str()).collect()
            }
            _ => return Err("a message has no text in `content` or `value`".to_owned()),
        };
        if !text.trim().is_empty() {
            texts.push(text);
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_gives_what_users_said() {
        let share = r#"[
            {"id": "a", "conversations": [
                {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"},
                {"from": "human", "value": "And?"}]},
            {"id": "b", "conversations": [{"from": "gpt", "value": "Alone"}]}]"#;
        assert_eq!(parse(share), Ok(vec![vec!["Hi".to_owned(), "And?".to_owned()]]));
        let lines = "\u{feff}{\"prompt\": \"One\"}\n\n\
            {\"messages\": [{\"role\": \"system\", \"content\": \"S\"}, \
            {\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"Two\"}]}]}\r\n";
        assert_eq!(parse(lines), Ok(vec![vec!["One".to_owned()], vec!["Two".to_owned()]]));
    }

    #[test]
    fn faults_are_told_with_their_place() {
        let fault = |text: &str| parse(text).expect_err("no dataset");
        let (place, reason) = fault("{\"prompt\": \"a\"}\n{\"text\": \"b\"}");
        assert_eq!(
            (place.as_str(), reason.as_str()),
            ("line 2", "neither `prompt` nor `messages` nor `conversations`")
        );
        assert_eq!(fault("[{\"prompt\": \"a\"}, {\"prompt\": 3}]").0, "entry 2");
        assert_eq!(fault("{\"prompt\": \"a\"}\n{broken").0, "line 2");
        assert_eq!(fault("[\n{\"prompt\": \"a\"},\n]").0, "line 3");
        assert!(fault("{\"messages\": [{\"content\": \"x\"}]}").1.contains("`role`"));
    }

    #[test]
    fn conversations_are_as_long_as_asked() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("some.jsonl");
        let of = |turns: usize| {
            let user = |turn| serde_json::json!({"role": "user", "content": format!("{turn}")});
            serde_json::json!({"messages": (0..turns).map(user).collect::<Vec<_>>()}).to_string()
        };
        std::fs::write(&file, [of(3), of(1), of(5)].join("\n")).expect("written");
        let dataset = Dataset::read(&file).expect("a dataset");
        let lengths: Vec<usize> = dataset.conversations(3).iter().map(|one| one.len()).collect();
        assert_eq!(lengths, [3, 3]);
        assert_eq!(dataset.prompts().count(), 3);
        std::fs::write(&file, "\n").expect("written");
        assert!(matches!(Dataset::read(&file), Err(DatasetError::Empty(_))));
        assert!(matches!(Dataset::read(folder.path()), Err(DatasetError::Read { .. })));
    }
}
