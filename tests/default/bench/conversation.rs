//! The workload `conversation` against a server whose count of tokens is known.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use vllm_grid::metric::Status;
use vllm_grid::server::Server;

use crate::bench::counting::{Behaviour, Counting};
use crate::bench::simulated::{measure, workload};

/// 300 tokens around every prompt are not the message's: a share of all tokens per
/// byte would make messages half as long as they should be.
#[tokio::test(flavor = "multi_thread")]
async fn a_turn_is_as_long_as_asked_for_whatever_stands_around_it() {
    let miss = Duration::from_millis(1);
    let behaviour = Behaviour { miss, preamble: 300, ..Behaviour::default() };
    for turn_tokens in [16, 120, 700] {
        let counting = Counting::start(behaviour.clone()).await;
        let server = Server::open(counting.endpoint(), None).await.expect("it serves");
        let before = counting.openings().len();
        let options = json!({"conversations": 2, "turns": 4, "turn_tokens": turn_tokens,
                             "output_tokens": 2, "warmup": 0});
        let measured = measure(&server, &[workload("conversation", &options)], 1).await;
        measured.ended.expect("a living server");
        let (_, records) = &measured.records[0];
        let turns: Vec<_> =
            records.iter().filter(|record| record.purpose != "calibration").collect();
        for conversation in turns.chunks(4) {
            let tokens = |turn: usize| conversation[turn].usage.expect("reported").prompt_tokens;
            for turn in 1..4 {
                // The answer is a letter; five bytes are a token.
                let grown = tokens(turn) - tokens(turn - 1);
                let most = turn_tokens + turn_tokens / 20 + 4;
                assert!((turn_tokens..=most).contains(&grown), "{grown} of {turn_tokens}");
            }
        }
        // No prompt opens as another one does, but for the turns of one conversation.
        let openings: BTreeSet<String> = counting.openings()[before..].iter().cloned().collect();
        assert_eq!(openings.len(), records.len() - turns.len() + 2, "{openings:?}");
    }
}

/// Salt, system message and template need room, too: it is known before the first turn.
#[tokio::test(flavor = "multi_thread")]
async fn what_stands_around_the_messages_counts_in_the_context() {
    let options = json!({"conversations": 1, "turns": 4, "turn_tokens": 120, "output_tokens": 100,
                         "warmup": 0});
    let texts = 4 * (120 + 100);
    for (around, expected) in [(100, Status::Skipped), (64 + 8 * 8, Status::Ok)] {
        let behaviour = Behaviour { context: texts + around, ..Behaviour::default() };
        let counting = Counting::start(behaviour).await;
        let server = Server::open(counting.endpoint(), None).await.expect("it serves");
        let measured = measure(&server, &[workload("conversation", &options)], 1).await;
        let row = &measured.measurements[0];
        assert_eq!(row.status, expected, "{:?}", row.reason);
        assert_eq!(counting.served() == 0, expected == Status::Skipped, "nothing was sent");
    }
}
