//! A script with the place in it where vLLM is started: found by a shell parser
//! in any place where a simple command can stand.

use std::ops::Range;

use brush_parser::ast::{
    AndOrList, Command, CommandPrefixOrSuffixItem, CompoundCommand, CompoundList, SimpleCommand,
};
use brush_parser::{ParseError, Parser, SourceSpan};

use super::Edit;
use super::nesting::too_deep;
use super::start::{Obstacle, Start, start_of};
use super::word::{Word, options, quote};

/// A script that starts one vLLM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    source: String,
    arguments: Vec<Word>,
    /// The script's own arguments.
    positional: Vec<Word>,
    /// Byte behind the last word of the command.
    end: usize,
    line: usize,
    inner: Option<Box<Inner>>,
}

/// The script inside another that has the command.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    /// The word that holds it.
    word: Word,
    /// The words behind it that are its own arguments.
    behind: Vec<Word>,
    script: Script,
}

/// Why a script cannot be seen through. Lines count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// It is no script that the parser understands.
    #[error("line {line}: the script cannot be parsed")]
    Syntax {
        /// The line.
        line: usize,
    },
    /// No simple command of it starts vLLM.
    #[error("no command of the script starts vLLM{}", runs(.launcher.as_ref()))]
    NoStart {
        /// The program that may start it, and its line.
        launcher: Option<(usize, String)>,
    },
    /// Several do.
    #[error("several commands of the script start vLLM (lines {})", joined(.lines))]
    Several {
        /// Their lines.
        lines: Vec<usize>,
    },
    /// The script is made by the shell itself.
    #[error("line {line}: the script stands in a variable")]
    Expansion {
        /// The line.
        line: usize,
    },
}

impl ScriptError {
    /// The error of a script inside another, that begins on `line` of it.
    fn inside(self, line: usize) -> Self {
        let of = |inner: usize| line + inner.saturating_sub(1);
        match self {
            Self::Syntax { line } => Self::Syntax { line: of(line) },
            Self::Expansion { line } => Self::Expansion { line: of(line) },
            Self::Several { lines } => Self::Several { lines: lines.into_iter().map(of).collect() },
            Self::NoStart { launcher } => {
                Self::NoStart { launcher: launcher.map(|(line, name)| (of(line), name)) }
            }
        }
    }
}

fn runs(launcher: Option<&(usize, String)>) -> String {
    launcher.map_or_else(String::new, |(line, name)| format!("; line {line} runs `{name}`"))
}

fn joined(lines: &[usize]) -> String {
    lines.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Script {
    /// Reads a script; `positional` are its own arguments, which `"$@"` passes on.
    ///
    /// # Errors
    /// Where not exactly one command of it starts vLLM.
    pub fn read(source: &str, positional: &[String]) -> Result<Self, ScriptError> {
        let positional: Vec<Word> = positional.iter().map(|word| Word::literal(word)).collect();
        Self::read_words(source, &positional)
    }

    fn read_words(source: &str, positional: &[Word]) -> Result<Self, ScriptError> {
        let mut found = Vec::new();
        let mut reason = Reason::default();
        for words in with_positional(commands(source)?, positional) {
            match start_of(&words) {
                Start::Vllm(program) => found.push(Self {
                    source: source.to_owned(),
                    line: words[program.at].line,
                    end: words.last().map_or(0, |word| word.span.end),
                    positional: positional.to_vec(),
                    arguments: words[program.arguments..].to_vec(),
                    inner: None,
                }),
                Start::Script { word } => match Self::inside(source, positional, &words, word) {
                    Ok(script) => found.push(script),
                    Err(error @ ScriptError::Several { .. }) => return Err(error),
                    // A second start may be in what is not read.
                    Err(error @ (ScriptError::Expansion { .. } | ScriptError::Syntax { .. }))
                        if words[word].raw.contains("vllm") =>
                    {
                        return Err(error);
                    }
                    Err(ScriptError::NoStart { launcher: None }) => {}
                    Err(error) => reason.add(&words, error),
                },
                Start::Other(obstacle) if may_start(&words) => {
                    let name = match obstacle {
                        Obstacle::Launcher(name) | Obstacle::File(name) => name,
                        Obstacle::Code(name) => name.to_owned(),
                        Obstacle::Expansion(_) => expanded(&words).to_owned(),
                        Obstacle::Nothing => continue,
                    };
                    let launcher = Some((words[0].line, name));
                    reason.add(&words, ScriptError::NoStart { launcher });
                }
                Start::Other(_) => {}
            }
        }
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => Err(reason.error.unwrap_or(ScriptError::NoStart { launcher: None })),
            _ => Err(ScriptError::Several { lines: found.iter().map(|it| it.line).collect() }),
        }
    }

    /// The script of `source` whose command is in another script: that of `words[at]`.
    fn inside(
        source: &str,
        positional: &[Word],
        words: &[Word],
        at: usize,
    ) -> Result<Self, ScriptError> {
        let word = words[at].clone();
        let line = word.line;
        let Some(text) = &word.value else { return Err(ScriptError::Expansion { line }) };
        // The word behind a script is its name.
        let behind = words.get(at + 2..).unwrap_or_default().to_vec();
        let script = Self::read_words(text, &behind).map_err(|error| error.inside(line))?;
        // What it takes from outside has its place there.
        let place = |argument: &Word| match argument.positional {
            Some(index) => behind[index].clone(),
            None => argument.clone(),
        };
        Ok(Self {
            source: source.to_owned(),
            line,
            end: word.span.end,
            positional: positional.to_vec(),
            arguments: script.arguments.iter().map(place).collect(),
            inner: Some(Box::new(Inner { word, behind, script })),
        })
    }

    /// vLLM's arguments: the words behind `vllm serve`.
    pub fn arguments(&self) -> &[Word] {
        &self.arguments
    }

    /// The line on which vLLM is started, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The script with some of the arguments replaced, and others appended at the
    /// end of the command; with it the script's own arguments. No other byte changes.
    ///
    /// `edits` are in the order of the words and do not overlap.
    pub fn edited(&self, edits: &[Edit], appended: &[String]) -> (String, Vec<String>) {
        let (text, positional) = self.changed(edits, appended);
        let words =
            self.positional.iter().zip(positional).flat_map(|(word, changed)| {
                changed.unwrap_or_else(|| vec![word.known().to_owned()])
            });
        (text, words.collect())
    }

    /// The same; of the script's own arguments, what stands in the place of each that
    /// is changed.
    fn changed(&self, edits: &[Edit], appended: &[String]) -> (String, Vec<Option<Vec<String>>>) {
        if let Some(inner) = &self.inner {
            return self.changed_inside(inner, edits, appended);
        }
        let mut replaced: Vec<(Range<usize>, String)> = Vec::new();
        let mut positional = vec![None; self.positional.len()];
        for edit in edits {
            let mut with = edit.with.clone();
            for word in &self.arguments[edit.words.clone()] {
                let with = std::mem::take(&mut with);
                match (word.positional, replaced.last_mut()) {
                    (Some(index), _) => positional[index] = Some(with),
                    // Words of one edit go together, with what is between them.
                    (None, Some((span, _))) if self.follows(edit, span, word) => {
                        span.end = word.span.end;
                    }
                    (None, _) => replaced.push((word.span.clone(), quoted(&with))),
                }
            }
        }
        if !appended.is_empty() {
            replaced.push((self.end..self.end, format!(" {}", quoted(appended))));
        }
        (self.with_replaced(replaced), positional)
    }

    /// The same where the command is in a script inside this one.
    fn changed_inside(
        &self,
        inner: &Inner,
        edits: &[Edit],
        appended: &[String],
    ) -> (String, Vec<Option<Vec<String>>>) {
        let (text, behind) = inner.script.changed(edits, appended);
        let text = (text != inner.script.source).then(|| vec![text]);
        let mut replaced = Vec::new();
        let mut positional = vec![None; self.positional.len()];
        let words = std::iter::once(&inner.word).chain(&inner.behind);
        for (word, with) in words.zip(std::iter::once(text).chain(behind)) {
            match (word.positional, with) {
                (_, None) => {}
                (Some(index), with) => positional[index] = with,
                (None, Some(with)) => replaced.push((word.span.clone(), quoted(&with))),
            }
        }
        (self.with_replaced(replaced), positional)
    }

    /// The text with some parts of it replaced, in their order.
    fn with_replaced(&self, replaced: Vec<(Range<usize>, String)>) -> String {
        let mut text = String::with_capacity(self.source.len() + 64);
        let mut kept = 0;
        for (span, with) in replaced {
            text.push_str(&self.source[kept..span.start]);
            text.push_str(&with);
            // Digits right before a redirection would be its descriptor: `8<file`.
            if !with.is_empty() && self.source[span.end..].starts_with(['<', '>']) {
                text.push(' ');
            }
            kept = span.end;
        }
        text.push_str(&self.source[kept..]);
        text
    }

    /// Whether `span` is that of the word before `word` in the same edit.
    fn follows(&self, edit: &Edit, span: &Range<usize>, word: &Word) -> bool {
        let words = &self.arguments[edit.words.clone()];
        words.windows(2).any(|pair| {
            pair[0].positional.is_none()
                && pair[0].span.end == span.end
                && pair[1].span == word.span
        })
    }
}

fn quoted(words: &[String]) -> String {
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

/// Why nothing was found: the first command that may have started vLLM, and rather
/// one that the script becomes (`exec`).
#[derive(Default)]
struct Reason {
    error: Option<ScriptError>,
    is_last: bool,
}

impl Reason {
    fn add(&mut self, words: &[Word], error: ScriptError) {
        let is_last = words[0].known() == "exec";
        if self.error.is_none() || (is_last && !self.is_last) {
            *self = Self { error: Some(error), is_last };
        }
    }
}

/// The variable that a command is, for a message; more of it may hold a secret.
fn expanded(words: &[Word]) -> &str {
    let word = words.iter().find(|word| word.value.is_none());
    let name = word.map_or("", |word| word.raw.trim_matches('"'));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_${}".contains(c);
    if !name.is_empty() && name.chars().all(is_plain) { name } else { "..." }
}

/// Whether a command that is no known wrapper may start vLLM: it names it, or is
/// what a script becomes (`exec PROGRAM`).
fn may_start(words: &[Word]) -> bool {
    let is = |word: &Word, name: &str| word.value.as_deref() == Some(name);
    is(&words[0], "exec") || words.iter().any(|word| word.prefix.contains("vllm"))
}

/// A simple command; in a function, `"$@"` is not the script's own.
struct Simple {
    words: Vec<Word>,
    in_function: bool,
}

/// The words of every command, with the script's own arguments in the place of `"$@"`.
fn with_positional(commands: Vec<Simple>, positional: &[Word]) -> Vec<Vec<Word>> {
    let changes = |it: &Simple| match it.words[0].known() {
        "shift" => true,
        "set" => it.words.get(1).is_some_and(|word| word.known() == "--"),
        _ => false,
    };
    let known = !commands.iter().any(changes);
    let expanded = |in_function: bool, word: Word| -> Vec<Word> {
        if in_function || !known || !word.is_all_arguments() {
            return vec![word];
        }
        let of = |(index, own): (usize, &Word)| Word {
            positional: Some(index),
            span: word.span.clone(),
            line: word.line,
            ..own.clone()
        };
        positional.iter().enumerate().map(of).collect()
    };
    let commands = commands.into_iter().map(|Simple { words, in_function }| {
        words.into_iter().flat_map(|word| expanded(in_function, word)).collect::<Vec<_>>()
    });
    commands.filter(|words| !words.is_empty()).collect()
}

/// The words of every simple command of a script.
fn commands(source: &str) -> Result<Vec<Simple>, ScriptError> {
    if let Some(line) = too_deep(source) {
        return Err(ScriptError::Syntax { line });
    }
    let program = Parser::new(source.as_bytes(), &options()).parse_program().map_err(|error| {
        let line = match error {
            ParseError::ParsingNear(at) => Some(at.line),
            ParseError::Tokenizing { position, .. } => position.map(|at| at.line),
            ParseError::ParsingAtEndOfInput => None,
        };
        ScriptError::Syntax { line: line.unwrap_or_else(|| source.lines().count().max(1)) }
    })?;
    let mut walk = Walk {
        source,
        offsets: offsets(source),
        lines: source.match_indices('\n').map(|(at, _)| at).collect(),
        in_function: false,
        without_place: None,
        commands: Vec::new(),
    };
    for list in &program.complete_commands {
        walk.list(list);
    }
    match walk.without_place {
        Some(line) => Err(ScriptError::Syntax { line }),
        None => Ok(walk.commands),
    }
}

/// The byte at which each character begins: the parser counts characters.
fn offsets(source: &str) -> Vec<usize> {
    source.char_indices().map(|(at, _)| at).chain([source.len()]).collect()
}

struct Walk<'a> {
    source: &'a str,
    offsets: Vec<usize>,
    /// The bytes at which lines end.
    lines: Vec<usize>,
    in_function: bool,
    /// The line near a word whose place is not known: the command is not whole without it.
    without_place: Option<usize>,
    commands: Vec<Simple>,
}

impl Walk<'_> {
    fn list(&mut self, list: &CompoundList) {
        for item in &list.0 {
            self.and_or(&item.0);
        }
    }

    fn and_or(&mut self, list: &AndOrList) {
        for (_, pipeline) in list {
            for command in &pipeline.seq {
                self.command(command);
            }
        }
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::Simple(simple) => self.simple(simple),
            Command::Compound(compound, _) => self.compound(compound),
            Command::Function(function) => {
                let outside = std::mem::replace(&mut self.in_function, true);
                self.compound(&function.body.0);
                self.in_function = outside;
            }
            Command::ExtendedTest(..) => {}
        }
    }

    fn compound(&mut self, compound: &CompoundCommand) {
        match compound {
            CompoundCommand::Arithmetic(_) => {}
            CompoundCommand::ArithmeticForClause(it) => self.list(&it.body.list),
            CompoundCommand::BraceGroup(it) => self.list(&it.list),
            CompoundCommand::Subshell(it) => self.list(&it.list),
            CompoundCommand::ForClause(it) => self.list(&it.body.list),
            CompoundCommand::CaseClause(it) => {
                for list in it.cases.iter().filter_map(|case| case.cmd.as_ref()) {
                    self.list(list);
                }
            }
            CompoundCommand::IfClause(it) => {
                self.list(&it.condition);
                self.list(&it.then);
                for other in it.elses.iter().flatten() {
                    other.condition.iter().for_each(|list| self.list(list));
                    self.list(&other.body);
                }
            }
            CompoundCommand::WhileClause(it) | CompoundCommand::UntilClause(it) => {
                self.list(&it.0);
                self.list(&it.1.list);
            }
            CompoundCommand::Coprocess(it) => self.command(&it.body),
        }
    }

    fn simple(&mut self, simple: &SimpleCommand) {
        let name = simple.word_or_name.iter().map(|word| self.word(word.loc.as_ref()?));
        let suffix = simple.suffix.iter().flat_map(|suffix| &suffix.0);
        let suffix = suffix.filter_map(|item| match item {
            CommandPrefixOrSuffixItem::Word(word)
            | CommandPrefixOrSuffixItem::AssignmentWord(_, word) => {
                Some(word.loc.as_ref().and_then(|at| self.word(at)))
            }
            CommandPrefixOrSuffixItem::ProcessSubstitution(_, command) => {
                Some(self.substitution(&command.loc))
            }
            CommandPrefixOrSuffixItem::IoRedirect(_) => None,
        });
        let all: Vec<Option<Word>> = name.chain(suffix).collect();
        let count = all.len();
        let words: Vec<Word> = all.into_iter().flatten().collect();
        if words.len() < count {
            let before = self.commands.last().and_then(|it| it.words.last());
            let near = words.first().or(before).map_or(1, |word| word.line);
            self.without_place.get_or_insert(near);
        }
        if !words.is_empty() {
            self.commands.push(Simple { words, in_function: self.in_function });
        }
    }

    /// `<(...)`: one argument, the path of a pipe. Its place begins behind the `<`.
    fn substitution(&self, at: &SourceSpan) -> Option<Word> {
        let inside = self.word(at)?;
        let start = inside.span.start.checked_sub(1)?;
        let span = start..inside.span.end;
        let raw = self.source.get(span.clone())?.to_owned();
        Some(Word { value: None, prefix: String::new(), raw, is_one: true, span, ..inside })
    }

    fn word(&self, at: &SourceSpan) -> Option<Word> {
        let (start, end) = (*self.offsets.get(at.start.index)?, *self.offsets.get(at.end.index)?);
        // The parser counts blanks behind a continued line as part of the next word.
        let raw = without_lead(self.source.get(start..end)?);
        let start = end - raw.len();
        let line = self.lines.partition_point(|end| *end < start) + 1;
        Some(Word::of_shell(raw, start..end, line))
    }
}

fn without_lead(mut raw: &str) -> &str {
    loop {
        // After exactly one blank, it counts the line's end, too.
        let rest = raw.trim_start_matches([' ', '\t', '\n']);
        let rest = rest.strip_prefix("\\\n").unwrap_or(rest);
        if rest.len() == raw.len() {
            return raw;
        }
        raw = rest;
    }
}
