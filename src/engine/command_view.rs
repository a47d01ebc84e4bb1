//! What a container or process will run, read as one argument vector: entry point and
//! command, the image's own where the service leaves them out, seen through wrappers
//! and shell scripts to vLLM's arguments. Flags, model, port and key are read from
//! there, and a configuration's flags are put there. Pure; where the words come from
//! (compose, the daemon, a grid) is not known here.

use serde_json::Value;

use super::command::names::{self, Names};
use super::command::{self, apply, edits, flag_value, hidden_flags};
use super::shell::{Edit, Obstacle, Script, ScriptError, Start, Word, start_of};
use crate::configuration::{Configuration, Flags};
use crate::flags;
use crate::secret::Secrets;

mod changes;

pub use changes::{ScriptChange, Shown, changes};

/// What an image runs by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageCommand {
    /// Its entry point.
    pub entrypoint: Vec<String>,
    /// Its command.
    pub command: Vec<String>,
}

/// Entry point and command as one vector, with vLLM's arguments in it.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandView {
    /// The entry point; `None` where the image's is used.
    entrypoint: Option<Vec<String>>,
    /// The command; `None` where the image's is used.
    command: Option<Vec<String>>,
    /// What the image adds; `None` where it is not known.
    image: Option<ImageCommand>,
    /// The flags of its `--config` file, as far as that was read.
    config: Flags,
    form: Form,
}

#[derive(Clone, Debug, PartialEq)]
enum Form {
    /// The words from this one on are vLLM's arguments.
    Words(usize),
    /// The word at this index is a script that starts vLLM.
    Script(usize, Box<Script>),
    /// Not known.
    Unreadable(Unreadable),
}

/// Why the flags of a command cannot be read or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// What is started is not known to be vLLM.
    #[error(transparent)]
    Start(#[from] Obstacle),
    /// A script that cannot be seen through.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// Some flags are in a variable of the container.
    #[error(
        "line {line} of the script takes flags out of {word}, which only the container can expand"
    )]
    Variables {
        /// Line of the script, from 1.
        line: usize,
        /// The variable.
        word: String,
    },
}

/// Where something stands: in which key of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The entry point.
    Entrypoint,
    /// The command.
    Command,
    /// The image's own entry point or command.
    Image,
}

impl Part {
    /// The key of a compose service.
    pub fn key(self) -> &'static str {
        match self {
            Self::Entrypoint => "entrypoint",
            Self::Command => "command",
            Self::Image => "image",
        }
    }
}

impl CommandView {
    /// What a service starts. Without knowledge of the image, a command that starts
    /// nothing known is taken for vLLM's arguments, as vLLM's own images take it.
    pub fn new(
        entrypoint: Option<Vec<String>>,
        command: Option<Vec<String>>,
        image: Option<ImageCommand>,
    ) -> Self {
        let mut view =
            Self { entrypoint, command, image, config: Flags::new(), form: Form::Words(0) };
        view.form = view.read_form();
        view
    }

    /// A vector that is started as it is. Its program takes vLLM's arguments, unless
    /// it is known not to.
    pub fn of_vector(words: &[String]) -> Self {
        let view = Self::new(None, Some(words.to_vec()), Some(ImageCommand::default()));
        if let Form::Unreadable(Unreadable::Start(Obstacle::Launcher(_) | Obstacle::File(_))) =
            view.form
        {
            return Self { form: Form::Words(0), ..view };
        }
        view
    }

    fn read_form(&self) -> Form {
        let words = command::literal(&self.words());
        let entrypoint = self.effective_entrypoint();
        let first = entrypoint.map_or(0, <[String]>::len);
        let mut start = (0, start_of(&words));
        // `exec "$@"` is what entry points do as a rule; what they pass on can be seen.
        let launches = |it: &Obstacle| matches!(it, Obstacle::Launcher(_) | Obstacle::File(_));
        if first > 0 && matches!(&start.1, Start::Other(obstacle) if launches(obstacle)) {
            match start_of(&words[first..]) {
                Start::Other(_) => {}
                passed_on => start = (first, passed_on),
            }
        }
        match start {
            (from, Start::Vllm(program)) => Form::Words(from + program.arguments),
            (from, Start::Script { word }) => self.script(from + word, &words),
            (_, Start::Other(obstacle)) => {
                let is_program = matches!(obstacle, Obstacle::File(_) | Obstacle::Code(_));
                if entrypoint.is_none() && !is_program {
                    Form::Words(0)
                } else {
                    Form::Unreadable(obstacle.into())
                }
            }
        }
    }

    fn script(&self, at: usize, words: &[Word]) -> Form {
        let all = self.words();
        // The word behind the script is its name.
        let positional = all.get(at + 2..).unwrap_or_default();
        match Script::read(words[at].known(), positional) {
            Ok(script) => match hidden_flags(script.arguments()) {
                Some(word) => Form::Unreadable(Unreadable::Variables {
                    line: word.line,
                    word: variable(word),
                }),
                None => Form::Script(at, Box::new(script)),
            },
            Err(error) => Form::Unreadable(error.into()),
        }
    }

    /// The entry point that counts; `None` where only the image has it and is not known.
    fn effective_entrypoint(&self) -> Option<&[String]> {
        let own = self.entrypoint.as_deref();
        own.or_else(|| Some(self.image.as_ref()?.entrypoint.as_slice()))
    }

    /// The command that counts. A service's entry point takes the image's command away.
    fn effective_command(&self) -> &[String] {
        match (&self.command, &self.entrypoint, &self.image) {
            (Some(command), _, _) if !command.is_empty() => command,
            (_, None, Some(image)) => &image.command,
            _ => &[],
        }
    }

    /// All words, as far as they are known.
    pub fn words(&self) -> Vec<String> {
        let entrypoint = self.effective_entrypoint().unwrap_or_default();
        entrypoint.iter().chain(self.effective_command()).cloned().collect()
    }

    /// The entry point that a container is created with; `None` leaves the image's.
    pub fn entrypoint(&self) -> Option<&[String]> {
        self.entrypoint.as_deref()
    }

    /// The command that a container is created with; `None` leaves the image's.
    pub fn command(&self) -> Option<&[String]> {
        self.command.as_deref()
    }

    /// Why its flags can neither be read nor changed; `None` where they can.
    pub fn unreadable(&self) -> Option<&Unreadable> {
        match &self.form {
            Form::Unreadable(why) => Some(why),
            _ => None,
        }
    }

    /// The key that holds what starts vLLM, or what hides it.
    pub fn part(&self) -> Part {
        let first = self.effective_entrypoint().map_or(0, <[String]>::len);
        let at = match &self.form {
            Form::Script(at, _) => Some(*at),
            Form::Words(_) => None,
            Form::Unreadable(_) => match start_of(&command::literal(&self.words())) {
                Start::Script { word } => Some(word),
                _ => (first > 0).then_some(0),
            },
        };
        match at {
            Some(at) if at < first && self.entrypoint.is_some() => Part::Entrypoint,
            Some(at) if at < first => Part::Image,
            _ if self.command.is_some() => Part::Command,
            _ if self.entrypoint.is_some() => Part::Entrypoint,
            _ => Part::Image,
        }
    }

    /// vLLM's arguments, as far as they can be seen.
    pub fn arguments(&self) -> Vec<Word> {
        match &self.form {
            Form::Words(first) => command::literal(self.words().get(*first..).unwrap_or_default()),
            Form::Script(_, script) => script.arguments().to_vec(),
            // A launcher may pass its arguments on: good enough for an address, not for flags.
            Form::Unreadable(Unreadable::Start(_)) => command::literal(&self.words()),
            Form::Unreadable(_) => Vec::new(),
        }
    }

    /// The model and the flags; none where they cannot be read.
    pub fn read(&self) -> (Option<String>, Flags) {
        if self.unreadable().is_some() {
            return (None, Flags::new());
        }
        let (model, own) = command::read(&self.arguments());
        let mut flags = self.config.clone();
        flags.retain(|name, _| !flags::is_owned(name) && !flags::is_secret(name));
        flags.extend(own);
        (model.or_else(|| self.of_config("model")), flags)
    }

    /// The value of a flag as text, where it is known.
    pub fn value(&self, flag: &str) -> Option<String> {
        flag_value(&self.arguments(), flag).or_else(|| self.of_config(flag))
    }

    /// The names under which the server offers its model, one of which it must offer:
    /// those that it is given, else the model itself. `None` where that is not known, as of a
    /// launcher, whatever it is called with.
    pub fn served_names(&self) -> Option<Vec<String>> {
        // A form that was only assumed proves nothing.
        if self.image.is_none() || matches!(self.read_form(), Form::Unreadable(_)) {
            return None;
        }
        let arguments = self.arguments();
        match names::served(&arguments) {
            Names::Known(names) => return Some(names),
            Names::Hidden => return None,
            Names::Unsaid => {}
        }
        let texts = |value: &Value| match value {
            Value::String(name) => Some(vec![name.clone()]),
            Value::Array(names) => names.iter().map(|it| it.as_str().map(str::to_owned)).collect(),
            _ => None,
        };
        if let Some(value) = self.config.get(names::SERVED) {
            return texts(value).filter(|names| !names.is_empty());
        }
        // A file that was not read may name anything.
        if self.config.is_empty() && self.has("config") {
            return None;
        }
        let of_config = || self.config.get("model").and_then(Value::as_str).map(str::to_owned);
        let model = match command::read(&arguments).0 {
            Some(_) => names::model(&arguments),
            None => of_config(),
        };
        model.map(|model| vec![model])
    }

    fn of_config(&self, flag: &str) -> Option<String> {
        self.config.get(flag).map(|value| match value {
            Value::String(text) => text.clone(),
            // Each of several keys opens the server.
            Value::Array(items) if flags::is_secret(flag) => {
                items.iter().find_map(Value::as_str).unwrap_or_default().to_owned()
            }
            other => other.to_string(),
        })
    }

    /// The view with the flags of the file that `--config` names.
    #[must_use]
    pub fn with_config(self, config: Flags) -> Self {
        Self { config, ..self }
    }

    /// The flags of the file that `--config` names, as far as it was read.
    pub fn config(&self) -> &Flags {
        &self.config
    }

    /// Adds the secrets of the file that `--config` names.
    pub fn reveal_config_to(&self, secrets: &Secrets) {
        for (name, value) in &self.config {
            match value {
                Value::String(text) => secrets.add_environment([(name.as_str(), text.as_str())]),
                Value::Array(items) => {
                    let texts = items.iter().filter_map(Value::as_str);
                    secrets.add_environment(texts.map(|text| (name.as_str(), text)));
                }
                other => secrets.add_text(&other.to_string()),
            }
        }
    }

    /// The variable that is the whole value of a flag (`--api-key "$KEY"`).
    pub fn variable(&self, flag: &str) -> Option<String> {
        let arguments = self.arguments();
        let named = Flags::from([(flag.to_owned(), Value::Null)]);
        let (edits, _) = edits(&arguments, &named);
        let word = &arguments[edits.last()?.words.end - 1];
        if word.value.is_some() {
            return None;
        }
        let raw = word.raw.split_once('=').map_or(word.raw.as_str(), |(_, value)| value);
        let name = raw.trim_matches('"').strip_prefix('$')?;
        let name = match name.strip_prefix('{') {
            Some(name) => name.strip_suffix('}')?,
            None => name,
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        (!name.is_empty() && name.chars().all(is_name)).then(|| name.to_owned())
    }

    /// Whether a flag is passed, with whatever value.
    pub fn has(&self, flag: &str) -> bool {
        let named = Flags::from([(flag.to_owned(), Value::Null)]);
        !edits(&self.arguments(), &named).0.is_empty()
    }

    /// The port that the server listens on: `--port`, else 8000.
    pub fn port(&self) -> u16 {
        self.value("port").and_then(|port| port.parse().ok()).unwrap_or(8000)
    }

    /// The flags that a configuration lays over the command: what the grid sets for
    /// it, and what else differs from the command's own; as `null`, what it takes
    /// away. What the command says already stays as it is spelt.
    pub fn flags_of(&self, configuration: &Configuration) -> Flags {
        let (_, own) = self.read();
        let mut flags = configuration.flags.clone();
        flags.retain(|name, value| {
            configuration.varied.contains_key(name) || own.get(name) != Some(value)
        });
        let taken_away = configuration.varied.iter().filter(|(_, value)| value.is_null());
        flags.extend(taken_away.map(|(name, value)| (name.clone(), value.clone())));
        flags
    }

    /// The same with `flags` in the place of those that it has, and others appended.
    /// What cannot be read is not changed.
    #[must_use]
    pub fn overlaid(&self, flags: &Flags) -> Self {
        if flags.is_empty() {
            return self.clone();
        }
        let (edits, appended) = edits(&self.arguments(), flags);
        self.edited(&edits, &appended)
    }

    /// The same with another model. What cannot be read is not changed.
    #[must_use]
    pub fn with_model(&self, model: &str) -> Self {
        let (edits, appended) = command::model_edits(&self.arguments(), model);
        self.edited(&edits, &appended)
    }

    /// The same with vLLM's arguments edited.
    fn edited(&self, edits: &[Edit], appended: &[String]) -> Self {
        let words = self.words();
        let entrypoint = self.effective_entrypoint().map_or(0, <[String]>::len);
        let (changed, entrypoint) = match &self.form {
            Form::Unreadable(_) => return self.clone(),
            Form::Words(first) => {
                let own = &words[*first..];
                // Arguments in the entry point that go make it shorter.
                let inside = entrypoint.saturating_sub(*first);
                let within = || edits.iter().filter(|edit| edit.words.start < inside);
                let shorter: usize =
                    within().map(|edit| edit.words.len().min(inside - edit.words.start)).sum();
                let longer: usize = within().map(|edit| edit.with.len()).sum();
                let mut changed = words[..*first].to_vec();
                changed.extend(apply(own, edits, appended));
                (changed, entrypoint + longer - shorter)
            }
            Form::Script(at, script) => {
                let (text, positional) = script.edited(edits, appended);
                let mut changed = words.clone();
                changed[*at] = text;
                changed.truncate(at + 2);
                changed.extend(positional);
                let removed = words.len().saturating_sub(changed.len());
                (changed, if entrypoint > at + 2 { entrypoint - removed } else { entrypoint })
            }
        };
        let (before, behind) = changed.split_at(entrypoint.min(changed.len()));
        // An image's own entry point stays the image's, unless it changed.
        let own = self.image.as_ref().map(|image| image.entrypoint.as_slice());
        let keeps = self.entrypoint.is_none() && (own.is_none() || own == Some(before));
        let entrypoint = (!keeps).then(|| before.to_vec());
        let command = (!behind.is_empty() || self.command.is_some()).then(|| behind.to_vec());
        let changed = Self::new(entrypoint, command, self.image.clone());
        changed.with_config(self.config.clone()).assuming(&self.form)
    }

    /// The form of a view that was taken for vLLM's arguments, kept.
    fn assuming(self, before: &Form) -> Self {
        match (before, &self.form) {
            (Form::Words(first), Form::Unreadable(_)) => Self { form: Form::Words(*first), ..self },
            _ => self,
        }
    }

    /// The command for a configuration.
    #[must_use]
    pub fn configured(&self, configuration: &Configuration) -> Self {
        self.overlaid(&self.flags_of(configuration))
    }

    /// The script, where one starts vLLM.
    pub fn script_text(&self) -> Option<&Script> {
        match &self.form {
            Form::Script(_, script) => Some(script),
            _ => None,
        }
    }
}

/// The name of a variable, without a default that may be a secret.
fn variable(word: &Word) -> String {
    let Some((_, behind)) = word.raw.split_once('$') else { return "a pattern".to_owned() };
    let name: String = behind
        .trim_start_matches('{')
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || "_@*".contains(*c))
        .collect();
    if name.is_empty() { "a substitution".to_owned() } else { format!("`${name}`") }
}

#[cfg(test)]
mod tests;
