//! One word of a command: what the program receives for it, where that can be
//! known without running the shell, and how a text is quoted to become one word.

use std::ops::Range;

use brush_parser::ParserOptions;
use brush_parser::word::{WordPiece, WordPieceWithSource, parse};

/// One argument as it stands in a script or in a vector of arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// What the program receives: quoting removed. `None` where only the shell in
    /// the container can tell (variables, substitutions, patterns).
    pub value: Option<String>,
    /// The literal text that it begins with: all of it where `value` is known, else
    /// what stands before the first expansion (`--port=` of `--port=$PORT`).
    pub prefix: String,
    /// As it is written, with its quoting.
    pub raw: String,
    /// Whether it is exactly one argument, whatever its value is.
    pub is_one: bool,
    /// Of a word that `"$@"` brings into a script: its index among the script's own arguments.
    pub positional: Option<usize>,
    /// Bytes of the script that it fills; empty outside of scripts.
    pub span: Range<usize>,
    /// Line of the script, from 1.
    pub line: usize,
}

impl Word {
    /// An argument that no shell touches.
    pub fn literal(text: &str) -> Self {
        Self {
            value: Some(text.to_owned()),
            prefix: text.to_owned(),
            raw: text.to_owned(),
            is_one: true,
            positional: None,
            span: 0..0,
            line: 1,
        }
    }

    /// The word whose text in the script is `raw`.
    pub(super) fn of_shell(raw: &str, span: Range<usize>, line: usize) -> Self {
        let mut reader = Unquoted::default();
        match parse(raw, &options()) {
            Ok(pieces) => reader.add(&pieces, false),
            Err(_) => reader.unknown(true),
        }
        let value = (!reader.unknown).then(|| reader.text.clone());
        Self {
            value,
            prefix: reader.text,
            raw: raw.to_owned(),
            is_one: !reader.splits,
            positional: None,
            span,
            line,
        }
    }

    /// What is known of it: its value, else the literal text that it begins with.
    pub fn known(&self) -> &str {
        self.value.as_deref().unwrap_or(&self.prefix)
    }

    /// Whether it is all arguments of the script.
    pub(super) fn is_all_arguments(&self) -> bool {
        matches!(self.raw.as_str(), "\"$@\"" | "\"${@}\"" | "$@" | "${@}")
    }
}

/// How scripts are parsed: what bash knows and POSIX does not is rare in them, and
/// reads the same in both where it is not used.
pub(super) fn options() -> ParserOptions {
    ParserOptions { enable_extended_globbing: false, ..ParserOptions::default() }
}

/// The text so far, until the first part that is not known.
#[derive(Default)]
struct Unquoted {
    text: String,
    unknown: bool,
    splits: bool,
}

impl Unquoted {
    fn add(&mut self, pieces: &[WordPieceWithSource], quoted: bool) {
        for piece in pieces {
            match &piece.piece {
                WordPiece::Text(text) if quoted => self.push(text),
                WordPiece::Text(text) => self.plain(text),
                WordPiece::SingleQuotedText(text) => self.push(text),
                WordPiece::DoubleQuotedSequence(inner) => self.add(inner, true),
                WordPiece::EscapeSequence(text) => self.escape(text),
                // Its expansion may be several words, or none, where it is not quoted.
                _ => self.unknown(!quoted || text_of_all(&piece.piece)),
            }
        }
    }

    fn push(&mut self, text: &str) {
        if !self.unknown {
            self.text.push_str(text);
        }
    }

    /// Text outside of quotes: patterns are the container's to expand.
    fn plain(&mut self, text: &str) {
        let braces = text.contains('{') && (text.contains(',') || text.contains(".."));
        if text.contains(['*', '?', '[']) || braces {
            self.unknown(true);
        }
        self.push(text);
    }

    /// A backslash and what follows it; before a line's end both vanish.
    fn escape(&mut self, text: &str) {
        match text.strip_prefix('\\') {
            Some("\n") => {}
            Some(rest) => self.push(rest),
            None => self.push(text),
        }
    }

    fn unknown(&mut self, splits: bool) {
        self.unknown = true;
        self.splits |= splits;
    }
}

/// `"$@"` is many words although it is quoted.
fn text_of_all(piece: &WordPiece) -> bool {
    use brush_parser::word::{Parameter, ParameterExpr, SpecialParameter};
    matches!(
        piece,
        WordPiece::ParameterExpansion(ParameterExpr::Parameter {
            parameter: Parameter::Special(SpecialParameter::AllPositionalParameters { .. }),
            ..
        })
    )
}

/// `text` as one word of a POSIX shell.
pub fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}
