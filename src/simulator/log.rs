//! The log in vLLM's form. Lines go to a sink that the caller passes in; nothing is printed
//! here. The lines of a start are composed in `boot`.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

/// Takes one line of the log, without its end of line.
pub type LogSink = Arc<dyn Fn(&str) + Send + Sync>;

/// Which of vLLM's processes a line is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// The HTTP server.
    ApiServer,
    /// The scheduler's process.
    EngineCore,
    /// The first GPU's process.
    Worker,
    /// No prefix: uvicorn, Python itself.
    Plain,
}

/// Writes lines to a sink.
#[derive(Clone)]
pub struct Log {
    sink: LogSink,
    pid: u32,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("pid", &self.pid).finish_non_exhaustive()
    }
}

impl Log {
    /// A log into this sink.
    pub fn new(sink: LogSink) -> Self {
        Self { sink, pid: std::process::id() }
    }

    /// A line of vLLM's logger. `place` is file and line of the source.
    pub fn line(&self, process: Process, level: &str, place: &str, message: &str) {
        let (name, offset) = match process {
            Process::ApiServer => ("APIServer", 0),
            Process::EngineCore => ("EngineCore", 1),
            Process::Worker => ("Worker", 2),
            Process::Plain => return self.plain(message),
        };
        let time = jiff::Timestamp::now().strftime("%m-%d %H:%M:%S");
        let pid = self.pid + offset;
        (self.sink)(&format!("({name} pid={pid}) {level} {time} [{place}] {message}"));
    }

    /// A line as it is.
    pub fn plain(&self, line: &str) {
        (self.sink)(line);
    }
}

/// A value as Python prints it.
pub fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => {
            let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
            let mut quoted = String::from(quote);
            for character in text.chars() {
                match character {
                    '\\' => quoted.push_str("\\\\"),
                    '\n' => quoted.push_str("\\n"),
                    character if character == quote => {
                        quoted.push('\\');
                        quoted.push(character);
                    }
                    character => quoted.push(character),
                }
            }
            quoted.push(quote);
            quoted
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(python).collect::<Vec<_>>().join(", "))
        }
        Value::Object(entries) => {
            let entries: Vec<_> = entries
                .iter()
                .map(|(key, value)| {
                    format!("{}: {}", python(&Value::String(key.clone())), python(value))
                })
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// A number with commas between thousands.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_spelt_as_python_spells_them() {
        let value = json!({"a": [true, null, 0.85], "b": "it's", "c": {"d": 8192}});
        assert_eq!(python(&value), r#"{'a': [True, None, 0.85], 'b': "it's", 'c': {'d': 8192}}"#);
        assert_eq!(thousands(6_872_576), "6,872,576");
        assert_eq!(thousands(12), "12");
    }
}
