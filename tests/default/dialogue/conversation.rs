//! `conversation`: the history is the server's own, and what the cache saves of
//! it is certified.

use serde_json::json;
use vllm_grid::metric::{Measurement, Status};

use crate::dialogue::harness::{Simulated, list, measure, number, text, workload};

async fn converse(flags: &str) -> (Measurement, Vec<vllm_grid::client::record::RequestRecord>) {
    let simulated = Simulated::start(flags).await;
    let options = json!({"conversations": 2, "turns": 6, "turn-tokens": 100, "output-tokens": 40,
                         "warmup": 0});
    let mut measured = measure(&simulated.server, &workload("conversation", &options)).await;
    measured.ended.expect("a living server");
    let (_, records) = measured.records.pop().expect("stored");
    (measured.measurements.pop().expect("one repeat"), records)
}

#[tokio::test]
async fn the_history_grows_by_message_and_answer_and_is_found_in_the_cache() {
    // An answer lasts longer than a busy machine keeps its pieces back.
    let (kept, records) = converse("--sim-speed 4 --enable-prefix-caching").await;
    assert_eq!((kept.status, kept.reason.as_deref()), (Status::Ok, None));
    let purposes: Vec<&str> = records.iter().map(|record| record.purpose.as_str()).collect();
    let turns = ["turn 1", "turn 2", "turn 3", "turn 4", "turn 5", "turn 6"];
    let first = purposes.iter().take_while(|purpose| **purpose == "calibration").count();
    assert_eq!(purposes[first..], [turns, turns].concat());
    let records = &records[first..];
    let tokens: Vec<u64> =
        records[..6].iter().map(|record| record.usage.expect("reported").prompt_tokens).collect();
    let others: Vec<u64> =
        records[6..].iter().map(|record| record.usage.expect("reported").prompt_tokens).collect();
    for pair in tokens.windows(2) {
        // The user's 100 tokens, the answer's 40, and the template's few.
        assert!((120..=190).contains(&(pair[1] - pair[0])), "{tokens:?}");
    }
    assert_eq!(text(&kept, "cache_state"), Some("certified"));
    // All but the newest message and answer comes from the cache.
    let share = number(&kept, "cache_share").expect("certified");
    assert!((0.5..0.9).contains(&share), "{share}");
    assert!(number(&kept, "cache_share_last").expect("certified") > share);
    let last = records[11].usage.expect("reported").cached_tokens.expect("certified");
    assert!(last > records[7].usage.expect("reported").cached_tokens.expect("certified"));
    assert_eq!((number(&kept, "turns"), number(&kept, "requests")), (Some(12.0), Some(12.0)));
    let by_turn = |name: &str| list(&kept, name);
    assert_eq!(by_turn("ttft_by_turn_ms").len(), 6);
    let first = number(&kept, "ttft_first_ms").expect("measured");
    assert!((by_turn("ttft_by_turn_ms")[0] - first).abs() < 1e-9);
    assert!(by_turn("tpot_by_turn_ms").iter().all(|tpot| *tpot > 0.0));
    let mean = |turn: usize| (tokens[turn] + others[turn]) as f64 / 2.0;
    assert_eq!(by_turn("prompt_tokens_by_turn"), (0..6).map(mean).collect::<Vec<_>>());
    let shares = by_turn("cache_share_by_turn");
    assert!(shares[0] < 0.1, "nobody had sent it before: {shares:?}");
    assert!(shares[1] < shares[5], "{shares:?}");
    assert_eq!(shares.last().copied(), number(&kept, "cache_share_last"));
    let slope = number(&kept, "ttft_slope_ms_per_turn").expect("twelve turns");
    let end = |name| number(&kept, name).expect("an interval");
    assert!(end("ttft_slope_low") < slope && slope < end("ttft_slope_high"));
}

#[tokio::test]
async fn without_caching_the_share_is_absent_and_not_zero() {
    let (kept, _) = converse("--sim-speed 200 --no-enable-prefix-caching").await;
    assert_eq!((kept.status, text(&kept, "cache_state")), (Status::Ok, Some("not_applicable")));
    assert_eq!((number(&kept, "cache_share"), number(&kept, "cache_share_last")), (None, None));
    assert!(number(&kept, "ttft_last_ms").is_some());
    assert_eq!(kept.metrics["cache_share_by_turn"], None);
}

#[tokio::test]
async fn a_conversation_longer_than_the_context_is_skipped() {
    let simulated = Simulated::start("--sim-speed 1000").await;
    let options = json!({"turns": 100, "turn-tokens": 1000});
    let measured = measure(&simulated.server, &workload("conversation", &options)).await;
    assert_eq!(measured.measurements.len(), 2);
    assert!(measured.measurements.iter().all(|row| row.status == Status::Skipped));
    let reason = measured.measurements[1].reason.as_deref().expect("said");
    assert_eq!(
        reason,
        "100 turns of 1000 + 100 tokens, and some 1664 around them, do not fit into the context of 16384"
    );
    assert!(measured.records.is_empty(), "nothing was sent");
}

#[tokio::test]
async fn users_may_speak_from_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("share.json");
    let message = |from: &str, value: &str| json!({"from": from, "value": value});
    let talk = |topic: &str| {
        json!({"conversations": [
            message("human", &format!("Tell me of {topic}.")), message("gpt", "never sent"),
            message("human", "And then?"), message("gpt", "never sent"),
        ]})
    };
    std::fs::write(&file, json!([talk("bees"), talk("tides")]).to_string()).expect("written");
    let simulated = Simulated::start("--sim-speed 200").await;
    let options = |turns: u64| {
        json!({"dataset": file.to_str(), "conversations": 2, "turns": turns, "output-tokens": 20,
               "warmup": 0})
    };
    let measured = measure(&simulated.server, &workload("conversation", &options(2))).await;
    measured.ended.expect("a living server");
    let kept = &measured.measurements[0];
    assert_eq!((kept.status, number(kept, "turns")), (Status::Ok, Some(4.0)));
    // Salt and system message, then eight tokens of the user with the template's.
    assert!(number(kept, "prompt_tokens_first").expect("reported") < 50.0);
    let measured = measure(&simulated.server, &workload("conversation", &options(3))).await;
    let reason = measured.measurements[0].reason.clone().expect("said");
    assert_eq!(measured.measurements[0].status, Status::Skipped);
    assert!(
        reason.ends_with(
            "has 0 conversations of 3 turns that fit into the context, and the workload needs 2"
        ),
        "{reason}"
    );
}
