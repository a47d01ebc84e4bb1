//! Reads one Rust file as far as the architecture needs it: modules, `use` lines,
//! paths and comments, without what is compiled for tests only. A lexer and a walk
//! over its tokens; no full parser, which would be a dependency for four checks.

use std::collections::BTreeMap;

/// One word or sign of a file.
#[derive(Debug, PartialEq)]
struct Token {
    text: String,
    line: usize,
}

/// A path in the code, e.g. `crate::engine::Engine`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reference {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
}

/// A module: the file's own, or one that is written out inside it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Scope {
    /// Where it is inside the file; empty for the file's own module.
    pub(crate) path: Vec<String>,
    /// Child modules with a file of their own (`mod name;`).
    pub(crate) children: Vec<String>,
    /// Names that `use` lines bring in, and what they stand for.
    pub(crate) names: BTreeMap<String, Vec<String>>,
    /// Every path, those of `use` lines included.
    pub(crate) references: Vec<Reference>,
}

/// What a file contains.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) scopes: Vec<Scope>,
    /// Text of comments with the line on which each begins.
    pub(crate) comments: Vec<(usize, String)>,
    pub(crate) lines: usize,
}

impl Source {
    pub(crate) fn read(text: &str) -> Self {
        let (tokens, comments) = lex(text);
        let mut walk = Walk { tokens: &tokens, at: 0, scopes: vec![Scope::default()] };
        walk.module(0);
        Self { scopes: walk.scopes, comments, lines: text.lines().count() }
    }
}

fn is_word(it: char) -> bool {
    it.is_alphanumeric() || it == '_'
}

/// Tokens and comments. Text inside of quotes gives no token but `"`.
fn lex(text: &str) -> (Vec<Token>, Vec<(usize, String)>) {
    let characters: Vec<char> = text.chars().collect();
    let (mut tokens, mut comments) = (Vec::new(), Vec::new());
    let (mut at, mut line) = (0, 1);
    while at < characters.len() {
        let rest = &characters[at..];
        let (text, length) = match rest {
            ['/', '/', ..] => {
                let length = rest.iter().position(|it| *it == '\n').unwrap_or(rest.len());
                comments.push((line, rest[..length].iter().collect()));
                (None, length)
            }
            ['/', '*', ..] => {
                let length = block_comment(rest);
                comments.push((line, rest[..length].iter().collect()));
                (None, length)
            }
            ['r', '#', next, ..] if is_word(*next) => (None, 2),
            ['r' | 'b' | 'c', ..] if raw_string(rest).is_some() => {
                (Some("\"".to_owned()), raw_string(rest).expect("just seen"))
            }
            ['"', ..] => (Some("\"".to_owned()), string(rest)),
            ['\'', ..] => quote(rest),
            [':', ':', ..] => (Some("::".to_owned()), 2),
            [first, ..] if is_word(*first) => {
                let length = rest.iter().position(|it| !is_word(*it)).unwrap_or(rest.len());
                (Some(rest[..length].iter().collect()), length)
            }
            [first, ..] if first.is_whitespace() => (None, 1),
            [first, ..] => (Some(first.to_string()), 1),
            [] => break,
        };
        tokens.extend(text.map(|text| Token { text, line }));
        line += rest[..length].iter().filter(|it| **it == '\n').count();
        at += length;
    }
    (tokens, comments)
}

/// Length of a comment that may contain others.
fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Length of `r"..."`, `br#"..."#`, `cr"..."`, if that is what comes.
fn raw_string(rest: &[char]) -> Option<usize> {
    let start = match rest {
        ['r', ..] => 1,
        ['b' | 'c', 'r', ..] => 2,
        _ => return None,
    };
    let hashes = rest[start..].iter().take_while(|it| **it == '#').count();
    let mut at = start + hashes;
    if rest.get(at) != Some(&'"') {
        return None;
    }
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    at += 1;
    while at < rest.len() && !rest[at..].starts_with(&end) {
        at += 1;
    }
    Some((at + end.len()).min(rest.len()))
}

fn string(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// A character, or the quote of a lifetime.
fn quote(rest: &[char]) -> (Option<String>, usize) {
    match rest {
        [_, '\\', ..] => {
            let end = rest[3..].iter().position(|it| *it == '\'').map_or(rest.len(), |it| it + 4);
            (None, end)
        }
        [_, _, '\'', ..] => (None, 3),
        _ => (Some("'".to_owned()), 1),
    }
}

/// Words that begin an item, which ends with `;` or a block. What else an attribute
/// can stand before (a field, an arm, a statement) may end with a comma too.
const ITEMS: [&str; 16] = [
    "pub",
    "fn",
    "mod",
    "struct",
    "enum",
    "impl",
    "use",
    "const",
    "static",
    "type",
    "trait",
    "async",
    "unsafe",
    "extern",
    "macro_rules",
    "union",
];

struct Walk<'a> {
    tokens: &'a [Token],
    at: usize,
    scopes: Vec<Scope>,
}

impl Walk<'_> {
    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| &token.text)
    }

    /// Walks to the end of a block, or of the file.
    fn module(&mut self, scope: usize) {
        let mut depth = 0;
        while self.at < self.tokens.len() {
            match self.text(self.at) {
                "#" => self.attribute(),
                "mod" if self.text(self.at + 2) == ";" => {
                    let name = self.text(self.at + 1).to_owned();
                    self.scopes[scope].children.push(name);
                    self.at += 3;
                }
                "mod" if self.text(self.at + 2) == "{" => {
                    let name = self.text(self.at + 1).to_owned();
                    let path = [&self.scopes[scope].path[..], &[name]].concat();
                    self.scopes.push(Scope { path, ..Scope::default() });
                    self.at += 3;
                    self.module(self.scopes.len() - 1);
                }
                "use" if self.text(self.at + 1) != "<" => {
                    self.at += 1;
                    self.tree(scope, &[]);
                }
                "{" => (depth, self.at) = (depth + 1, self.at + 1),
                "}" if depth == 0 => {
                    self.at += 1;
                    return;
                }
                "}" => (depth, self.at) = (depth - 1, self.at + 1),
                _ => self.path(scope),
            }
        }
    }

    /// Steps over an attribute, and over what it keeps for tests.
    fn attribute(&mut self) {
        let start = self.at;
        self.at += 1;
        if self.text(self.at) == "!" {
            self.at += 1;
        }
        self.group();
        let words: Vec<&str> = self.tokens[start..self.at].iter().map(|it| &*it.text).collect();
        if words.get(2) != Some(&"cfg") || !words.contains(&"test") || words.contains(&"not") {
            return;
        }
        while self.text(self.at) == "#" {
            self.at += 1;
            self.group();
        }
        let is_item = ITEMS.contains(&self.text(self.at));
        while self.at < self.tokens.len() {
            match self.text(self.at) {
                "{" => return self.group(),
                "(" | "[" => self.group(),
                "}" => return,
                ";" => {
                    self.at += 1;
                    return;
                }
                "," if !is_item => {
                    self.at += 1;
                    return;
                }
                _ => self.at += 1,
            }
        }
    }

    /// Steps over one pair of brackets and what is inside.
    fn group(&mut self) {
        let mut depth = 0;
        while self.at < self.tokens.len() {
            match self.text(self.at) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }

    /// A tree of a `use` line, up to the sign that ends it.
    fn tree(&mut self, scope: usize, before: &[String]) {
        let mut segments = before.to_vec();
        let line = self.tokens.get(self.at).map_or(0, |token| token.line);
        let mut alias = None;
        while self.at < self.tokens.len() {
            match self.text(self.at) {
                "::" => self.at += 1,
                "{" => {
                    self.at += 1;
                    while !["}", ""].contains(&self.text(self.at)) {
                        self.tree(scope, &segments);
                        if self.text(self.at) == "," {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                ";" | "," | "}" => break,
                "as" => {
                    alias = Some(self.text(self.at + 1).to_owned());
                    self.at += 2;
                }
                word => {
                    let word = word.to_owned();
                    // `use a::b::{self}` brings in `b`.
                    if word != "self" || segments.is_empty() {
                        segments.push(word);
                    }
                    self.at += 1;
                }
            }
        }
        if segments.last().is_some_and(|last| last == "*") {
            segments.pop();
        } else if let Some(name) = alias.or_else(|| segments.last().cloned()) {
            self.scopes[scope].names.insert(name, segments.clone());
        }
        self.scopes[scope].references.push(Reference { segments, line });
    }

    /// One path in the code, or one token that is none.
    fn path(&mut self, scope: usize) {
        let start = self.at;
        let mut segments = vec![self.text(start).to_owned()];
        self.at += 1;
        while self.text(self.at) == "::" && self.text(self.at + 1).starts_with(is_word) {
            segments.push(self.text(self.at + 1).to_owned());
            self.at += 2;
        }
        let follows = start.checked_sub(1).map_or("", |before| self.text(before));
        // `pub(in crate::engine)` names a place and uses nothing of it.
        let is_place = follows == "in" && start >= 3 && self.text(start - 3) == "pub";
        if segments.len() > 1 && follows != "::" && !is_place {
            let line = self.tokens[start].line;
            self.scopes[scope].references.push(Reference { segments, line });
        }
    }
}
