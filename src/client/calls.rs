//! Assembles tool calls from the pieces of a stream. By OpenAI's specification a piece
//! has the index of its call, and only the first has an id and a name. Servers leave
//! the index out, give every call the same one, or repeat names and ids. Where pieces
//! come from is in `chunk`.

use serde::{Deserialize, Serialize};

/// More tool calls than any model makes: an untrusted server must not fill the memory.
const MAX_CALLS: usize = 1024;

/// One tool call, put together from its pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The server's identifier of the call.
    pub id: String,
    /// Name of the function.
    pub name: String,
    /// Arguments as the model wrote them: JSON, if it did well.
    pub arguments: String,
}

/// A piece of a call; what is absent is empty.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    pub(crate) index: Option<u32>,
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) arguments: &'a str,
}

/// Calls in the order in which they began.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    calls: Vec<Begun>,
}

/// A call as far as it was received.
#[derive(Clone, Debug, Default)]
struct Begun {
    index: Option<u32>,
    call: ToolCall,
    object: Object,
}

impl Calls {
    /// Takes a piece; `Err` when there are more calls than can be.
    pub(crate) fn push(&mut self, piece: Piece<'_>) -> Result<(), TooManyCalls> {
        let place = match self.place_of(piece) {
            Some(place) => place,
            None if self.calls.len() == MAX_CALLS => return Err(TooManyCalls),
            None => {
                self.calls.push(Begun { index: piece.index, ..Begun::default() });
                self.calls.len() - 1
            }
        };
        let Begun { call, object, .. } = &mut self.calls[place];
        if call.id.is_empty() {
            piece.id.clone_into(&mut call.id);
        }
        if call.name != piece.name {
            call.name.push_str(piece.name);
        }
        call.arguments.push_str(piece.arguments);
        object.take(piece.arguments);
        Ok(())
    }

    pub(crate) fn into_calls(self) -> Vec<ToolCall> {
        self.calls.into_iter().map(|begun| begun.call).collect()
    }

    /// The call that a piece continues; `None` where it begins another.
    fn place_of(&self, piece: Piece<'_>) -> Option<usize> {
        let mut own = self.calls.iter().enumerate().rev().filter(|(_, begun)| {
            // Without an index, the last call continues.
            piece.index.is_none() || begun.index.is_none() || begun.index == piece.index
        });
        let known = |begun: &Begun| !piece.id.is_empty() && begun.call.id == piece.id;
        if let Some((place, _)) = own.clone().find(|(_, begun)| known(begun)) {
            return Some(place);
        }
        let (place, last) = own.next()?;
        (!last.is_followed_by(piece)).then_some(place)
    }
}

impl Begun {
    /// Whether a piece that could continue this call begins another one instead.
    fn is_followed_by(&self, piece: Piece<'_>) -> bool {
        if !piece.id.is_empty() && !self.call.id.is_empty() {
            // Some give every piece an id of its own, but a name to the first alone.
            return !piece.name.is_empty() || piece.arguments.is_empty();
        }
        if piece.name.is_empty() || self.call.arguments.is_empty() {
            return false;
        }
        // Without ids: names come before arguments, and a call ends with its arguments.
        self.call.name != piece.name || (!piece.arguments.is_empty() && self.object.is_closed())
    }
}

/// Whether the braces of a JSON object are closed, followed piece by piece.
#[derive(Clone, Copy, Debug, Default)]
struct Object {
    depth: u32,
    has_braces: bool,
    in_text: bool,
    is_escaped: bool,
}

impl Object {
    fn take(&mut self, piece: &str) {
        for byte in piece.bytes() {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = self.in_text,
                b'"' => self.in_text = !self.in_text,
                b'{' if !self.in_text => (self.depth, self.has_braces) = (self.depth + 1, true),
                b'}' if !self.in_text => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    fn is_closed(self) -> bool {
        self.has_braces && self.depth == 0
    }
}

/// More calls than any model makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream has more than {MAX_CALLS} tool calls")]
pub(crate) struct TooManyCalls;

#[cfg(test)]
mod tests {
    use super::*;

    type RawPiece<'a> = (Option<u32>, &'a str, &'a str, &'a str);

    fn put_together(pieces: &[RawPiece<'_>]) -> Vec<(String, String, String)> {
        let mut calls = Calls::default();
        for (index, id, name, arguments) in pieces.iter().copied() {
            calls.push(Piece { index, id, name, arguments }).expect("few");
        }
        calls.into_calls().into_iter().map(|call| (call.id, call.name, call.arguments)).collect()
    }

    fn two(first: (&str, &str), second: (&str, &str)) -> Vec<(String, String, String)> {
        let call = |id: &str, name: &str, city: &str| {
            (id.to_owned(), name.to_owned(), format!("{{\"city\":\"{city}\"}}"))
        };
        vec![call(first.0, first.1, "Lyon"), call(second.0, second.1, "Oslo")]
    }

    const LYON: &str = r#"{"city":"Lyon"}"#;
    const OSLO: &str = r#"{"city":"Oslo"}"#;

    #[test]
    fn pieces_by_the_specification_in_any_order() {
        let pieces: &[RawPiece<'_>] = &[
            (Some(0), "a", "weather", ""),
            (Some(0), "", "", r#"{"city":"#),
            (Some(1), "b", "weather", r#"{"city":"#),
            (Some(0), "", "", r#""Lyon"}"#),
            (Some(1), "", "", r#""Oslo"}"#),
        ];
        assert_eq!(put_together(pieces), two(("a", "weather"), ("b", "weather")));
        // An index that does not begin at 0 makes no empty call.
        assert_eq!(put_together(&[(Some(1), "a", "f", "{}")]).len(), 1);
    }

    #[test]
    fn another_id_at_a_used_index_is_another_call() {
        let expected = two(("a", "weather"), ("b", "weather"));
        for index in [Some(0), None] {
            // Ollama: each call whole, all of them number 0, or without a number.
            let whole = [(index, "a", "weather", LYON), (index, "b", "weather", OSLO)];
            assert_eq!(put_together(&whole), expected);
            // Older SGLang and vLLM: in pieces, with the id in all or in the first.
            for (first, second) in [("a", "b"), ("", "")] {
                let pieces = [
                    (index, "a", "weather", ""),
                    (index, first, "", LYON),
                    (index, "b", "weather", ""),
                    (index, second, "", OSLO),
                ];
                assert_eq!(put_together(&pieces), expected);
            }
        }
        let interleaved =
            [(None, "a", "weather", ""), (None, "b", "weather", OSLO), (None, "a", "", LYON)];
        assert_eq!(put_together(&interleaved), expected);
        // A call without arguments.
        assert_eq!(put_together(&[(Some(0), "a", "now", ""), (Some(0), "b", "now", "")]).len(), 2);
    }

    #[test]
    fn calls_without_ids_end_with_their_arguments() {
        for index in [Some(0), None] {
            let whole = [(index, "", "weather", LYON), (index, "", "weather", OSLO)];
            assert_eq!(put_together(&whole), two(("", "weather"), ("", "weather")));
            let pieces = [
                (index, "", "weather", ""),
                (index, "", "", LYON),
                (index, "", "forecast", ""),
                (index, "", "", OSLO),
            ];
            assert_eq!(put_together(&pieces), two(("", "weather"), ("", "forecast")));
        }
    }

    #[test]
    fn braces_inside_strings_close_nothing() {
        let closed = |arguments: &str| {
            let mut object = Object::default();
            arguments.chars().for_each(|c| object.take(c.encode_utf8(&mut [0; 4])));
            object.is_closed()
        };
        for text in ["{}", r#"{"a": {"b": "}\"{"}} "#, r#"{"é": "\\"}"#] {
            assert!(closed(text), "{text}");
        }
        for text in ["", "true", "{", r#"{"a": "}"#, r#"{"a": "\"}"#, r#"{"a": {}"#] {
            assert!(!closed(text), "{text}");
        }
    }

    #[test]
    fn repeated_names_and_ids_are_kept_once() {
        let expected = vec![("a".to_owned(), "get_weather".to_owned(), LYON.to_owned())];
        let repeated = [
            (Some(0), "a", "get_weather", r#"{"city":"#),
            (Some(0), "a", "get_weather", r#""Lyon"}"#),
            (Some(0), "a", "get_weather", ""),
        ];
        assert_eq!(put_together(&repeated), expected);
        let without_ids = repeated.map(|(index, _, name, arguments)| (index, "", name, arguments));
        assert_eq!(put_together(&without_ids)[0].1, "get_weather");
        assert_eq!(put_together(&without_ids).len(), 1);
        // An id of its own for every piece.
        let numbered = [
            (Some(0), "a", "get_weather", ""),
            (Some(0), "x", "", r#"{"city":"#),
            (Some(0), "y", "", r#""Lyon"}"#),
        ];
        assert_eq!(put_together(&numbered), expected);
        // A name in pieces.
        let named =
            [(Some(0), "a", "get_", ""), (Some(0), "", "weather", ""), (None, "", "", LYON)];
        assert_eq!(put_together(&named), expected);
    }

    #[test]
    fn the_number_of_calls_is_limited() {
        let mut calls = Calls::default();
        let piece = Piece { index: None, id: "", name: "f", arguments: "{}" };
        for _ in 0..MAX_CALLS {
            calls.push(piece).expect("as many as there may be");
        }
        assert_eq!(calls.push(piece), Err(TooManyCalls));
    }
}
