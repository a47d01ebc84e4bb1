//! Reads a command line as `vllm serve` does (argparse behind vLLM's
//! `FlexibleArgumentParser`), with the errors that it prints. Ranges are not
//! checked here: vLLM, too, checks them later, in its configuration classes.

use serde_json::{Map, Value};

use super::map::Flags;
use super::table::{Flag, Kind, flags, is_short, lookup};

/// A command line that was understood.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CommandLine {
    /// The positional model, or the one given by `--model`.
    pub model: Option<String>,
    /// Flags by canonical name; what was not given is not there.
    pub flags: Flags,
}

/// A command line that vLLM refuses with exit code 2.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{program}: error: {message}")]
pub struct ArgvError {
    /// Who complains: `vllm serve`, or `vllm` for arguments that nobody knows.
    pub program: &'static str,
    /// The message as vLLM prints it.
    pub message: String,
}

impl ArgvError {
    fn new(message: String) -> Self {
        Self { program: "vllm serve", message }
    }

    fn argument(flag: &Flag, what: &str) -> Self {
        Self::new(format!("argument {}: {what}", flag.spellings()))
    }
}

/// Understands the arguments that follow `vllm serve`.
///
/// One spelling more than vLLM takes is read, because compose files have it:
/// a boolean followed by `true` or `false`.
///
/// # Errors
/// The first error, in vLLM's words.
pub fn parse_argv(args: &[String]) -> Result<CommandLine, ArgvError> {
    let mut reader = Reader { args, at: 0, line: CommandLine::default(), unknown: Vec::new() };
    let mut dotted: Vec<(&'static Flag, Map<String, Value>)> = Vec::new();
    while let Some(arg) = reader.next() {
        if arg == "--" {
            while let Some(rest) = reader.next() {
                reader.positional(rest);
            }
        } else if !looks_like_option(arg) {
            reader.positional(arg);
        } else if let Some((flag, keys, value)) = reader.dotted(arg)? {
            match dotted.iter_mut().find(|(known, _)| known.name == flag.name) {
                Some((_, object)) => merge(object, nest(&keys, value)),
                None => dotted.push((flag, nest(&keys, value))),
            }
        } else {
            reader.option(arg)?;
        }
    }
    // vLLM appends what the dotted keys made at the end: it wins over the flag itself.
    for (flag, object) in dotted {
        reader.line.flags.insert(flag.name.to_owned(), Value::Object(object));
    }
    reader.finish()
}

struct Reader<'a> {
    args: &'a [String],
    at: usize,
    line: CommandLine,
    unknown: Vec<String>,
}

/// An option as it was found: the flag, `--no-`, and the value after `=`.
struct Found<'a> {
    flag: &'static Flag,
    negated: bool,
    value: Option<&'a str>,
}

/// A dotted option: the flag, the keys below it, the value.
type Dotted = (&'static Flag, Vec<String>, Value);

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let arg = self.args.get(self.at)?;
        self.at += 1;
        Some(arg)
    }

    fn next_value(&mut self) -> Option<&'a str> {
        let arg = self.args.get(self.at).filter(|arg| !looks_like_option(arg))?;
        self.at += 1;
        Some(arg)
    }

    fn positional(&mut self, arg: &'a str) {
        if self.line.model.is_none() {
            self.line.model = Some(arg.to_owned());
        } else {
            self.unknown.push(arg.to_owned());
        }
    }

    fn finish(mut self) -> Result<CommandLine, ArgvError> {
        if !self.unknown.is_empty() {
            let message = format!("unrecognized arguments: {}", self.unknown.join(" "));
            return Err(ArgvError { program: "vllm", message });
        }
        // As vLLM does: `--model` is moved to the front, where it is the positional one.
        if let Some(Value::String(model)) = self.line.flags.remove("model") {
            self.line.model = Some(model);
        }
        Ok(self.line)
    }

    /// `--hf-overrides.key.key value`: a key of a JSON option.
    fn dotted(&mut self, arg: &'a str) -> Result<Option<Dotted>, ArgvError> {
        let (spelling, inline) = split_value(arg);
        let Some((head, keys)) = spelling.split_once('.') else { return Ok(None) };
        let Some(found) = find(head, None)? else { return Ok(None) };
        if found.flag.kind != Kind::Json {
            return Ok(None);
        }
        // Here vLLM takes whatever follows, a leading dash or not.
        let text = match inline {
            Some(text) => text,
            None => self
                .next()
                .ok_or_else(|| ArgvError::argument(found.flag, "expected one argument"))?,
        };
        let (keys, value) = match keys.strip_suffix('+') {
            Some(keys) => (keys, Value::from(text.split(',').collect::<Vec<_>>())),
            None => (keys, json_or_text(text)),
        };
        Ok(Some((found.flag, keys.split('.').map(str::to_owned).collect(), value)))
    }

    fn option(&mut self, arg: &'a str) -> Result<(), ArgvError> {
        let (spelling, inline) = split_value(arg);
        let Some(found) = find(spelling, inline)? else {
            match super::glued(arg) {
                // argparse glues values to options of one letter only.
                Some((flag, text))
                    if arg.get(1..2).is_some_and(|it| flag.aliases.contains(&it)) =>
                {
                    self.line.flags.insert(flag.name.to_owned(), value(flag, text)?);
                }
                _ => self.unknown.push(dashed(arg)),
            }
            return Ok(());
        };
        let flag = found.flag;
        let value = match flag.kind {
            Kind::Bool => {
                if let Some(value) = found.value {
                    let what = format!("ignored explicit argument '{value}'");
                    return Err(ArgvError::argument(flag, &what));
                }
                Value::Bool(self.boolean() != found.negated)
            }
            Kind::List => self.list(&found)?,
            _ => {
                let text = match found.value {
                    Some(text) => text,
                    None => self
                        .next_value()
                        .ok_or_else(|| ArgvError::argument(flag, "expected one argument"))?,
                };
                value(flag, text)?
            }
        };
        self.line.flags.insert(flag.name.to_owned(), value);
        Ok(())
    }

    /// The word after a boolean, where it is `true` or `false`.
    fn boolean(&mut self) -> bool {
        let word = self.args.get(self.at).map(|word| word.to_ascii_lowercase());
        match word.as_deref() {
            Some("true") => self.at += 1,
            Some("false") => {
                self.at += 1;
                return false;
            }
            _ => {}
        }
        true
    }

    fn list(&mut self, found: &Found<'a>) -> Result<Value, ArgvError> {
        let flag = found.flag;
        let repeated = super::REPEATED.contains(&flag.name);
        let mut items: Vec<Value> = found.value.map(item).into_iter().collect();
        while found.value.is_none() && !(repeated && items.len() == 1) {
            let Some(text) = self.next_value() else { break };
            items.push(item(text));
        }
        if items.is_empty() {
            let what =
                if repeated { "expected one argument" } else { "expected at least one argument" };
            return Err(ArgvError::argument(flag, what));
        }
        for item in &items {
            let text = super::argument(item);
            if !flag.choices.is_empty() && !flag.choices.contains(&text.as_str()) {
                return Err(bad_choice(flag, &text));
            }
        }
        match self.line.flags.remove(flag.name) {
            Some(Value::Array(mut before)) if repeated => {
                before.append(&mut items);
                Ok(Value::Array(before))
            }
            _ => Ok(Value::Array(items)),
        }
    }
}

/// argparse: an argument with a leading dash is an option, unless it is a
/// number or has a space in it (and no `=` before that).
fn looks_like_option(arg: &str) -> bool {
    if !arg.starts_with('-') || arg.len() == 1 {
        return false;
    }
    if arg == "--" {
        return true;
    }
    let (spelling, _) = split_value(arg);
    if matches!(find(spelling, None), Ok(Some(_)) | Err(_)) {
        return true;
    }
    arg.parse::<f64>().is_err() && !arg.contains(' ')
}

/// An unknown argument as vLLM complains of it: `_` in its name read as `-`.
fn dashed(arg: &str) -> String {
    let (spelling, value) = split_value(arg);
    let Some(name) = spelling.strip_prefix("--") else { return arg.to_owned() };
    let name = super::canonical_name(name);
    value.map_or_else(|| format!("--{name}"), |value| format!("--{name}={value}"))
}

fn split_value(arg: &str) -> (&str, Option<&str>) {
    match arg.split_once('=') {
        Some((spelling, value)) => (spelling, Some(value)),
        None => (arg, None),
    }
}

/// The flag of a spelling with its dashes; abbreviations as argparse takes them.
fn find<'a>(spelling: &str, value: Option<&'a str>) -> Result<Option<Found<'a>>, ArgvError> {
    let Some(long) = spelling.strip_prefix("--") else {
        let alias = spelling.strip_prefix('-').unwrap_or(spelling);
        let flag = flags().iter().find(|flag| flag.aliases.contains(&alias) && is_short(alias));
        return Ok(flag.map(|flag| Found { flag, negated: false, value }));
    };
    let name = super::canonical_name(long);
    if let Some(flag) = lookup(&name)
        && (flag.name == name || (flag.aliases.contains(&name.as_str()) && !is_short(&name)))
    {
        return Ok(Some(Found { flag, negated: false, value }));
    }
    if let Some(flag) = name.strip_prefix("no-").and_then(lookup)
        && flag.negatable
        && name.ends_with(flag.name)
    {
        return Ok(Some(Found { flag, negated: true, value }));
    }
    abbreviation(&name, value)
}

fn abbreviation<'a>(name: &str, value: Option<&'a str>) -> Result<Option<Found<'a>>, ArgvError> {
    if name.is_empty() {
        return Ok(None);
    }
    let mut matches: Vec<(String, &'static Flag, bool)> = Vec::new();
    for flag in flags() {
        let long_aliases = flag.aliases.iter().copied().filter(|alias| !is_short(alias));
        for spelling in std::iter::once(flag.name).chain(long_aliases) {
            if spelling.starts_with(name) {
                matches.push((format!("--{spelling}"), flag, false));
            }
        }
        let negated = name.strip_prefix("no-").is_some_and(|rest| flag.name.starts_with(rest));
        if flag.negatable && negated {
            matches.push((format!("--no-{}", flag.name), flag, true));
        }
    }
    match matches.as_slice() {
        [] => Ok(None),
        [(_, flag, negated)] => Ok(Some(Found { flag, negated: *negated, value })),
        several => {
            let names: Vec<&str> = several.iter().map(|(name, _, _)| name.as_str()).collect();
            Err(ArgvError::new(format!(
                "ambiguous option: --{name} could match {}",
                names.join(", ")
            )))
        }
    }
}

/// The value of a flag that takes one, converted as vLLM's parser converts it.
fn value(flag: &Flag, text: &str) -> Result<Value, ArgvError> {
    match flag.kind {
        Kind::Int => int(flag, text),
        Kind::Float => text
            .trim()
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite())
            .map(Value::from)
            .ok_or_else(|| ArgvError::argument(flag, &format!("invalid float value: '{text}'"))),
        Kind::Choice if !flag.choices.contains(&text) => Err(bad_choice(flag, text)),
        Kind::Json => super::check::json(flag, text).ok_or_else(|| {
            let what = format!("Value {text} cannot be converted to <function loads>.");
            ArgvError::argument(flag, &what)
        }),
        _ => Ok(Value::from(text)),
    }
}

fn bad_choice(flag: &Flag, text: &str) -> ArgvError {
    let choices: Vec<String> = flag.choices.iter().map(|choice| format!("'{choice}'")).collect();
    let what = format!("invalid choice: '{text}' (choose from {})", choices.join(", "));
    ArgvError::argument(flag, &what)
}

fn int(flag: &Flag, text: &str) -> Result<Value, ArgvError> {
    use super::check::{Human, human, human_int};
    let suffixed = || human_int(text).map_err(|what| ArgvError::argument(flag, &what));
    let (number, converter) = match human(flag.name) {
        Human::No => (super::check::plain_int(text), "int"),
        Human::Suffixes => (suffixed()?, "human_readable_int"),
        Human::SuffixesOrAuto if ["-1", "auto"].contains(&text.trim().to_lowercase().as_str()) => {
            return Ok(Value::from("auto"));
        }
        Human::SuffixesOrAuto => (suffixed()?, "human_readable_int_or_auto"),
    };
    number
        .map(Value::from)
        .ok_or_else(|| ArgvError::argument(flag, &format!("invalid {converter} value: '{text}'")))
}

fn json_or_text(text: &str) -> Value {
    let suffixed = || super::check::human_int(text).ok().flatten().map(Value::from);
    serde_json::from_str(text).ok().or_else(suffixed).unwrap_or_else(|| Value::from(text))
}

/// One value of a list: a whole number where it is spelt as one.
fn item(text: &str) -> Value {
    super::check::list_item(Value::from(text))
}

fn nest(keys: &[String], value: Value) -> Map<String, Value> {
    let mut object = Map::new();
    if let Some((first, rest)) = keys.split_first() {
        let value = if rest.is_empty() { value } else { Value::Object(nest(rest, value)) };
        object.insert(first.clone(), value);
    }
    object
}

fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (Some(Value::Array(old)), Value::Array(mut new)) => old.append(&mut new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests;
