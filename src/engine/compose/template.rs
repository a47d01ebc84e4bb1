//! A text of a compose file before the tool fills in variables: its plain parts and its
//! expressions (`${VAR:-default}`), each with the value that the tool gives it. Such a text
//! follows a change of what it comes to, and keeps the expressions that the change leaves
//! alone. Pure; where texts and values come from is not known here.

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text that stays as it is; a `$` is one.
    Text(String),
    /// What the tool fills in.
    Expression {
        /// As the file writes it, `$` included.
        raw: String,
        /// What it comes to.
        value: String,
    },
}

/// A text with expressions in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

/// What is aligned: a letter, or an expression as a whole.
#[derive(Clone, Copy, Debug)]
enum Unit<'a> {
    Letter(char),
    Expression(&'a str, &'a str),
}

impl Unit<'_> {
    fn letters(&self) -> usize {
        match self {
            Self::Letter(_) => 1,
            Self::Expression(_, value) => value.chars().count(),
        }
    }

    /// Whether `text` has it at `at`.
    fn is_at(&self, text: &[char], at: usize) -> bool {
        match self {
            Self::Letter(letter) => text.get(at) == Some(letter),
            Self::Expression(_, value) => {
                value.chars().enumerate().all(|(by, letter)| text.get(at + by) == Some(&letter))
            }
        }
    }
}

/// Cells of an alignment at most; of a text with larger changes the middle is written out.
const MOST: usize = 16 << 20;

/// The expressions of a text as its file writes it, in their order.
pub fn expressions(raw: &str) -> Vec<&str> {
    split(raw)
        .into_iter()
        .filter_map(|(part, is_expression)| is_expression.then_some(part))
        .collect()
}

/// Plain text (with doubled `$`) and expressions, in their order.
fn split(raw: &str) -> Vec<(&str, bool)> {
    let mut parts = Vec::new();
    let (mut from, mut at) = (0, 0);
    while let Some(dollar) = raw[at..].find('$').map(|by| at + by) {
        let behind = &raw[dollar + 1..];
        let length = match behind.chars().next() {
            Some('{') => behind[1..].find(is_first).filter(|by| *by == 0).and(braced(behind)),
            Some(first) if is_first(first) => {
                Some(behind.find(|it| !is_of_name(it)).unwrap_or(behind.len()))
            }
            _ => None,
        };
        match length {
            Some(length) => {
                parts.push((&raw[from..dollar], false));
                at = dollar + 1 + length;
                parts.push((&raw[dollar..at], true));
                from = at;
            }
            None => at = dollar + 1 + usize::from(behind.starts_with('$')),
        }
    }
    parts.push((&raw[from..], false));
    parts.retain(|(part, _)| !part.is_empty());
    parts
}

fn is_first(letter: char) -> bool {
    letter.is_ascii_alphabetic() || letter == '_'
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// Bytes of a text in braces, which may have others in it.
fn braced(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    let mut before = ' ';
    for (at, letter) in text.char_indices() {
        match letter {
            '{' if at == 0 || before == '$' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(at + 1);
        }
        before = letter;
    }
    None
}

impl Template {
    /// A text without expressions.
    pub fn plain(text: &str) -> Self {
        Self(if text.is_empty() { Vec::new() } else { vec![Piece::Text(text.to_owned())] })
    }

    /// A text as its file writes it; `value` says what an expression comes to.
    pub fn of(raw: &str, mut value: impl FnMut(&str) -> String) -> Self {
        let pieces = split(raw).into_iter().map(|(part, is_expression)| {
            if is_expression {
                Piece::Expression { raw: part.to_owned(), value: value(part) }
            } else {
                Piece::Text(part.replace("$$", "$"))
            }
        });
        Self(pieces.collect())
    }

    /// What it comes to.
    pub fn text(&self) -> String {
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Text(text) | Piece::Expression { value: text, .. } => text.as_str(),
        });
        pieces.collect()
    }

    /// As a compose file writes it: expressions as they are, any other `$` doubled.
    pub fn raw(&self) -> String {
        self.written(|text| text.replace('$', "$$"))
    }

    /// For a person: expressions as they are, and each `$` once.
    pub fn shown(&self) -> String {
        self.written(str::to_owned)
    }

    fn written(&self, plain: impl Fn(&str) -> String) -> String {
        let pieces = self.0.iter().enumerate().map(|(at, piece)| match piece {
            Piece::Text(text) => plain(text),
            Piece::Expression { raw, .. } => match (raw.strip_prefix('$'), self.0.get(at + 1)) {
                // What follows would be read as a part of the name: in its file a quote stood
                // between them.
                (Some(name), Some(Piece::Text(text)))
                    if !name.starts_with('{') && text.starts_with(is_of_name) =>
                {
                    format!("${{{name}}}")
                }
                _ => raw.clone(),
            },
        });
        pieces.collect()
    }

    /// Whether it has an expression.
    pub fn has_expressions(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Expression { .. }))
    }

    fn units(&self) -> Vec<Unit<'_>> {
        let mut units = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => units.extend(text.chars().map(Unit::Letter)),
                Piece::Expression { raw, value } => units.push(Unit::Expression(raw, value)),
            }
        }
        units
    }

    /// A text that comes to `target`, with the expressions of this one that stand in a part
    /// that is the same in both. One whose neighbours changed is written out: its value may
    /// be there by chance.
    #[must_use]
    pub fn followed_by(&self, target: &str) -> Self {
        if !self.has_expressions() {
            return Self::plain(target);
        }
        let (units, letters) = (self.units(), target.chars().collect::<Vec<char>>());
        let places = aligned(&units, &letters);
        let ends = |at: usize| Some(places[at]? + units[at].letters());
        let is_kept = |at: usize| {
            let Some(place) = places[at] else { return false };
            let before = match at.checked_sub(1) {
                None => place == 0,
                Some(before) => ends(before) == Some(place),
            };
            let end = place + units[at].letters();
            let behind = match places.get(at + 1) {
                None => end == letters.len(),
                Some(behind) => *behind == Some(end),
            };
            before && behind
        };
        let mut kept: Vec<(usize, &str, &str)> = Vec::new();
        for (at, unit) in units.iter().enumerate() {
            if let (Unit::Expression(raw, value), true) = (unit, is_kept(at)) {
                kept.extend(places[at].map(|place| (place, *raw, *value)));
            }
        }
        let mut result = Self::default();
        let mut from = 0;
        for (place, raw, value) in kept {
            result.push_text(&letters[from..place].iter().collect::<String>());
            result.0.push(Piece::Expression { raw: raw.to_owned(), value: value.to_owned() });
            from = place + value.chars().count();
        }
        result.push_text(&letters[from..].iter().collect::<String>());
        result
    }

    fn push_text(&mut self, text: &str) {
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some(Piece::Text(last)) => last.push_str(text),
            _ => self.0.push(Piece::Text(text.to_owned())),
        }
    }

    /// Its words as the compose tool splits a command that is one text, and the expressions
    /// that are written out because their values are not a part of one word. `None` where its
    /// quotes do not end.
    pub fn words(&self) -> Option<(Vec<Self>, Vec<String>)> {
        let mut split = Split::default();
        for (at, piece) in self.0.iter().enumerate() {
            match piece {
                Piece::Text(text) => text.chars().for_each(|letter| split.letter(letter, None)),
                Piece::Expression { value, .. } => value
                    .chars()
                    .enumerate()
                    .for_each(|(by, letter)| split.letter(letter, Some((at, by)))),
            }
        }
        let words = split.end()?;
        let mut whole = Vec::new();
        let templates = words.iter().map(|word| self.of_word(word, &mut whole)).collect();
        let lost = self.0.iter().enumerate().filter_map(|(at, piece)| match piece {
            Piece::Expression { raw, .. } if !whole.contains(&at) => Some(raw.clone()),
            _ => None,
        });
        Some((templates, lost.collect()))
    }

    /// A word of these letters; `whole` learns the expressions that are all in it.
    fn of_word(&self, word: &[Letter], whole: &mut Vec<usize>) -> Self {
        let mut result = Self::default();
        let mut at = 0;
        while let Some((letter, origin)) = word.get(at) {
            if let Some((piece, 0)) = origin
                && let Some(Piece::Expression { raw, value }) = self.0.get(*piece)
            {
                let length = value.chars().count();
                let all = (0..length).all(|by| {
                    word.get(at + by).is_some_and(|(_, origin)| *origin == Some((*piece, by)))
                });
                if all {
                    result.0.push(Piece::Expression { raw: raw.clone(), value: value.clone() });
                    whole.push(*piece);
                    at += length;
                    continue;
                }
            }
            result.push_text(letter.encode_utf8(&mut [0; 4]));
            at += 1;
        }
        result
    }
}

/// A letter, and the expression that it comes of with its place in the value.
type Letter = (char, Option<(usize, usize)>);

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    #[default]
    Between,
    Word,
    Single,
    Double,
    Comment,
    /// Behind a backslash, within double quotes or not.
    Escaped(bool),
    /// Behind a backslash that begins a word.
    EscapedFirst,
}

/// Splits into words as a shell does, letter by letter.
#[derive(Default)]
struct Split {
    state: State,
    word: Vec<Letter>,
    words: Vec<Vec<Letter>>,
}

impl Split {
    #[expect(clippy::match_same_arms, reason = "one line for each step of the shell")]
    fn letter(&mut self, letter: char, origin: Option<(usize, usize)>) {
        let mut keep = false;
        self.state = match (self.state, letter) {
            (State::Between, ' ' | '\t' | '\n') => State::Between,
            (State::Between, '#') => State::Comment,
            (State::Comment, '\n') => State::Between,
            (State::Comment, _) => State::Comment,
            (State::Word, ' ' | '\t' | '\n') => {
                self.words.push(std::mem::take(&mut self.word));
                State::Between
            }
            (State::Between | State::Word, '\'') => State::Single,
            (State::Between | State::Word, '"') => State::Double,
            (State::Between, '\\') => State::EscapedFirst,
            (State::Word, '\\') => State::Escaped(false),
            (State::Single, '\'') | (State::Double, '"') => State::Word,
            (State::Double, '\\') => State::Escaped(true),
            // A line that is continued.
            (State::EscapedFirst, '\n') => State::Between,
            (State::Escaped(false), '\n') => State::Word,
            (State::Escaped(true), '\n') => State::Double,
            (State::Escaped(true), it) if !"$`\"\\".contains(it) => {
                self.word.push(('\\', None));
                keep = true;
                State::Double
            }
            (state, _) => {
                keep = true;
                match state {
                    State::Single => State::Single,
                    State::Double | State::Escaped(true) => State::Double,
                    _ => State::Word,
                }
            }
        };
        if keep {
            self.word.push((letter, origin));
        }
    }

    fn end(mut self) -> Option<Vec<Vec<Letter>>> {
        match self.state {
            State::Word => self.words.push(self.word),
            State::EscapedFirst | State::Escaped(false) => {
                self.word.push(('\\', None));
                self.words.push(self.word);
            }
            State::Between | State::Comment => {}
            State::Single | State::Double | State::Escaped(true) => return None,
        }
        Some(self.words)
    }
}

/// The place of each unit in `letters` in a longest alignment; `None` for those that it lacks.
fn aligned(units: &[Unit<'_>], letters: &[char]) -> Vec<Option<usize>> {
    let mut places = vec![None; units.len()];
    let (mut head, mut from) = (0, 0);
    while head < units.len() && units[head].is_at(letters, from) {
        places[head] = Some(from);
        from += units[head].letters();
        head += 1;
    }
    let (mut tail, mut until) = (units.len(), letters.len());
    while tail > head {
        let length = units[tail - 1].letters();
        let Some(place) = until.checked_sub(length).filter(|place| *place >= from) else { break };
        if !units[tail - 1].is_at(letters, place) {
            break;
        }
        (tail, until) = (tail - 1, place);
        places[tail] = Some(place);
    }
    let (middle, between) = (&units[head..tail], &letters[from..until]);
    if middle.is_empty() || between.is_empty() || middle.len().saturating_mul(between.len()) > MOST
    {
        return places;
    }
    let width = between.len() + 1;
    let mut best = vec![0_u32; (middle.len() + 1) * width];
    let taken = |best: &[u32], at: usize, of: usize| -> Option<u32> {
        let length = middle[at].letters();
        let fits = of + length <= between.len() && middle[at].is_at(between, of);
        fits.then(|| best[(at + 1) * width + of + length] + length as u32)
    };
    for at in (0..middle.len()).rev() {
        for of in (0..width).rev() {
            let skipped = best[(at + 1) * width + of];
            let passed = if of + 1 < width { best[at * width + of + 1] } else { 0 };
            let with = taken(&best, at, of).unwrap_or(0);
            best[at * width + of] = skipped.max(passed).max(with);
        }
    }
    let (mut at, mut of) = (0, 0);
    while at < middle.len() {
        let here = best[at * width + of];
        if taken(&best, at, of) == Some(here) {
            places[head + at] = Some(from + of);
            of += middle[at].letters();
            at += 1;
        } else if of + 1 < width && best[at * width + of + 1] == here {
            of += 1;
        } else {
            at += 1;
        }
    }
    places
}

/// Words that come to `target`, with the expressions of `own` in those that are the same, and
/// in the unchanged parts of those that changed.
pub fn words_followed_by(own: &[Template], target: &[String]) -> Vec<Template> {
    let texts: Vec<String> = own.iter().map(Template::text).collect();
    let pairs = common(&texts, target);
    let mut result: Vec<Template> = Vec::with_capacity(target.len());
    let (mut at, mut of) = (0, 0);
    for (own_at, target_at) in pairs.iter().copied().chain([(own.len(), target.len())]) {
        let alike = own_at - at == target_at - of;
        for (by, word) in target[of..target_at].iter().enumerate() {
            result.push(if alike { own[at + by].followed_by(word) } else { Template::plain(word) });
        }
        if let (Some(word), Some(text)) = (own.get(own_at), target.get(target_at)) {
            // A value belongs to the option before it.
            let is_option = word.shown().starts_with('-');
            let follows = at == own_at && of == target_at;
            let keeps = is_option || follows || !word.has_expressions();
            result.push(if keeps { word.clone() } else { Template::plain(text) });
        }
        (at, of) = (own_at + 1, target_at + 1);
    }
    result
}

/// Pairs of places of equal words, in a longest common sequence.
fn common(own: &[String], target: &[String]) -> Vec<(usize, usize)> {
    let width = target.len() + 1;
    let mut best = vec![0_u32; (own.len() + 1) * width];
    for at in (0..own.len()).rev() {
        for of in (0..target.len()).rev() {
            best[at * width + of] = if own[at] == target[of] {
                best[(at + 1) * width + of + 1] + 1
            } else {
                best[(at + 1) * width + of].max(best[at * width + of + 1])
            };
        }
    }
    let (mut at, mut of) = (0, 0);
    let mut pairs = Vec::new();
    while at < own.len() && of < target.len() {
        if own[at] == target[of] {
            pairs.push((at, of));
            (at, of) = (at + 1, of + 1);
        } else if best[(at + 1) * width + of] >= best[at * width + of + 1] {
            at += 1;
        } else {
            of += 1;
        }
    }
    pairs
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
