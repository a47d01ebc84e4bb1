//! A script with the place in it where vLLM is started: found by a shell parser
//! in any place where a simple command can stand.

use std::ops::Range;

use brush_parser::ast::{
    AndOrList, Command, CommandPrefixOrSuffixItem, CompoundCommand, CompoundList, SimpleCommand,
};
use brush_parser::{ParseError, Parser, SourceSpan};

use super::Edit;
use super::start::{Obstacle, Start, start_of};
use super::word::{Word, options, quote};

/// A script that starts one vLLM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    source: String,
    arguments: Vec<Word>,
    /// The script's own arguments.
    positional: Vec<String>,
    /// Byte behind the last word of the command.
    end: usize,
    line: usize,
    /// The script inside this one that has the command, and the word that holds it.
    inner: Option<Box<(Word, Script)>>,
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
    #[error("the script stands in a variable")]
    Expansion,
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
        let mut found = Vec::new();
        let mut launcher = None;
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
                Start::Script { word } => match words[word].value.as_deref() {
                    Some(text) => match Self::read(text, &[]) {
                        Ok(inner) => found.push(Self {
                            source: source.to_owned(),
                            line: words[word].line,
                            end: words[word].span.end,
                            positional: positional.to_vec(),
                            arguments: inner.arguments.clone(),
                            inner: Some(Box::new((words[word].clone(), inner))),
                        }),
                        Err(ScriptError::Several { .. }) => {
                            let line = words[word].line;
                            return Err(ScriptError::Several { lines: vec![line, line] });
                        }
                        Err(_) => {}
                    },
                    None => return Err(ScriptError::Expansion),
                },
                Start::Other(Obstacle::Launcher(name) | Obstacle::File(name))
                    if may_start(&words) =>
                {
                    launcher = Some((words[0].line, name));
                }
                Start::Other(Obstacle::Code(name)) if may_start(&words) => {
                    launcher = Some((words[0].line, name.to_owned()));
                }
                Start::Other(_) => {}
            }
        }
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => Err(ScriptError::NoStart { launcher }),
            _ => Err(ScriptError::Several { lines: found.iter().map(|it| it.line).collect() }),
        }
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
        if let Some(inner) = &self.inner {
            let (word, inner) = &**inner;
            let (changed, _) = inner.edited(edits, appended);
            let mut text = self.source.clone();
            if changed != inner.source {
                text.replace_range(word.span.clone(), &quote(&changed));
            }
            return (text, self.positional.clone());
        }
        let mut replaced: Vec<(Range<usize>, String)> = Vec::new();
        let mut positional: Vec<Vec<String>> =
            self.positional.iter().map(|word| vec![word.clone()]).collect();
        for edit in edits {
            let mut with = edit.with.clone();
            for word in &self.arguments[edit.words.clone()] {
                let with = std::mem::take(&mut with);
                match (word.positional, replaced.last_mut()) {
                    (Some(index), _) => positional[index] = with,
                    // Words of one edit go together, with what is between them.
                    (None, Some((span, _))) if self.follows(edit, span, word) => {
                        span.end = word.span.end;
                    }
                    (None, _) => replaced.push((word.span.clone(), quoted(&with))),
                }
            }
        }
        let mut text = String::with_capacity(self.source.len() + 64);
        let mut kept = 0;
        for (span, with) in replaced {
            text.push_str(&self.source[kept..span.start]);
            text.push_str(&with);
            kept = span.end;
        }
        text.push_str(&self.source[kept..self.end]);
        if !appended.is_empty() {
            text.push(' ');
            text.push_str(&quoted(appended));
        }
        text.push_str(&self.source[self.end..]);
        (text, positional.concat())
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
fn with_positional(commands: Vec<Simple>, positional: &[String]) -> Vec<Vec<Word>> {
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
        let of = |(index, text): (usize, &String)| Word {
            positional: Some(index),
            span: word.span.clone(),
            line: word.line,
            ..Word::literal(text)
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
    let program = Parser::new(source.as_bytes(), &options()).parse_program().map_err(|error| {
        let line = match error {
            ParseError::ParsingNear(at) => Some(at.line),
            ParseError::Tokenizing { position, .. } => position.map(|at| at.line),
            ParseError::ParsingAtEndOfInput => None,
        };
        ScriptError::Syntax { line: line.unwrap_or_else(|| source.lines().count().max(1)) }
    })?;
    let mut walk =
        Walk { source, offsets: offsets(source), in_function: false, commands: Vec::new() };
    for list in &program.complete_commands {
        walk.list(list);
    }
    Ok(walk.commands)
}

/// The byte at which each character begins: the parser counts characters.
fn offsets(source: &str) -> Vec<usize> {
    source.char_indices().map(|(at, _)| at).chain([source.len()]).collect()
}

struct Walk<'a> {
    source: &'a str,
    offsets: Vec<usize>,
    in_function: bool,
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
        let suffix = simple.suffix.iter().flat_map(|suffix| &suffix.0);
        let suffix = suffix.filter_map(|item| match item {
            CommandPrefixOrSuffixItem::Word(word)
            | CommandPrefixOrSuffixItem::AssignmentWord(_, word) => Some(word),
            _ => None,
        });
        let words: Vec<Word> = simple
            .word_or_name
            .iter()
            .chain(suffix)
            .filter_map(|word| self.word(word.loc.as_ref()?))
            .collect();
        if !words.is_empty() {
            self.commands.push(Simple { words, in_function: self.in_function });
        }
    }

    fn word(&self, at: &SourceSpan) -> Option<Word> {
        let (start, end) = (*self.offsets.get(at.start.index)?, *self.offsets.get(at.end.index)?);
        // The parser counts blanks behind a continued line as part of the next word.
        let raw = without_lead(self.source.get(start..end)?);
        let start = end - raw.len();
        let line = self.source[..start].matches('\n').count() + 1;
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
