//! The text of an answer while it comes in. Where it is only looked at for what its end shows,
//! no more than its last bytes are kept, so that many streams at once stay small. Times and
//! counts are in `record`; what a chunk contains is in `chunk`.

use serde::{Deserialize, Serialize};

use crate::client::calls::ToolCall;
use crate::client::chunk::TextKind;

/// What a server answered, put together from its chunks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The answer's text.
    pub content: String,
    /// The text of thinking.
    pub reasoning: String,
    /// Tool calls, in the order in which they began.
    pub tool_calls: Vec<ToolCall>,
}

impl Answer {
    /// Adds text; of more than twice `most` bytes the last `most` are kept, so that each byte
    /// is moved once at the most, on average.
    pub(crate) fn push(&mut self, kind: TextKind, text: &str, most: usize) {
        let kept = match kind {
            TextKind::Content => &mut self.content,
            TextKind::Reasoning => &mut self.reasoning,
        };
        kept.push_str(text);
        if kept.len() > most.saturating_mul(2) {
            let from = kept.len() - most;
            let from = (from..=kept.len()).find(|at| kept.is_char_boundary(*at));
            kept.drain(..from.unwrap_or(kept.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_of_a_text_are_kept_in_whole_characters() {
        let mut answer = Answer::default();
        for number in 0..1000 {
            answer.push(TextKind::Content, &format!("é{number} "), 50);
            answer.push(TextKind::Reasoning, "all of it ", usize::MAX);
            assert!(answer.content.len() <= 100, "{}", answer.content.len());
        }
        assert!(answer.content.ends_with("é998 é999 ") && answer.content.len() >= 50);
        assert_eq!(answer.reasoning.len(), 10_000);
    }
}
