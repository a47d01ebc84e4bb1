//! Servers as they are: what public reports show of their streams, counters and refusals,
//! and others of the same kind. Nothing is measured wrong, and nothing is lost that can be
//! measured.

use std::fmt::Write as _;

use serde_json::{Value, json};
use vllm_grid::client::record::RequestErrorClass::{Cut, InStream};
use vllm_grid::metric::{Measurement, MetricValue, Status};
use vllm_grid::workload::Workload;

use crate::bench::simulated::{number, workload};
use crate::bench::spoken::{
    Ask, DONE, Measured, Memory, Said, Speak, chunk, data, measure, start, usage, whole, whole_of,
    word, words,
};

fn load() -> Workload {
    workload(
        "load",
        &json!({"concurrency": 2, "requests": 12, "prompt-tokens": 200, "output-tokens": 8,
                "warmup": 0}),
    )
}

fn kv_cache(prefix: u64) -> Workload {
    workload(
        "kv-cache",
        &json!({"prefix-tokens": prefix, "prompts": 1, "output-tokens": 4, "warmup": 0}),
    )
}

fn stability() -> Workload {
    workload(
        "stability",
        &json!({"requests": 8, "prompt-tokens": 64, "output-tokens": 8, "warmup": 0}),
    )
}

fn reason(row: &Measurement) -> &str {
    row.reason.as_deref().unwrap_or_default()
}

fn text<'m>(row: &'m Measurement, name: &str) -> Option<&'m str> {
    match row.metrics.get(name)?.as_ref()? {
        MetricValue::Text(text) => Some(text),
        _ => None,
    }
}

async fn one(speak: Speak, workload: Workload) -> (Measurement, Measured) {
    let (server, _) = start(speak, None).await;
    let mut measured = measure(&server, &[workload]).await;
    let row = measured.rows.pop().expect("one repeat");
    (row, measured)
}

/// Every third answer of more than a token ends so, after two tokens.
fn breaks(memory: &mut Memory, ask: &Ask, end: &str) -> Said {
    memory.counts[0] += u64::from(ask.is_measured());
    if !ask.is_measured() || !memory.counts[0].is_multiple_of(3) {
        return whole(ask, words(ask));
    }
    Said::Pieces(vec![word(), word(), end.to_owned(), DONE.to_owned()])
}

const FAULT: &str = r#"{"code":500,"message":"the slot has no cache left","type":"server_error"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_any_line_of_a_stream_is_a_failed_request_in_the_servers_words() {
    let ends: [Speak; 7] = [
        |memory, ask| breaks(memory, ask, &format!("error: {FAULT}\n\n")),
        |memory, ask| breaks(memory, ask, &format!("event: error\ndata: {FAULT}\n\n")),
        |memory, ask| breaks(memory, ask, &format!("data: {{\"error\":{FAULT}}}\n\n")),
        |memory, ask| breaks(memory, ask, "data: {\"detail\":\"the slot has no cache left\"}\n\n"),
        |memory, ask| breaks(memory, ask, "data: {\"message\":\"the slot has no cache left\"}\n\n"),
        |memory, ask| breaks(memory, ask, &format!("{{\"error\":{FAULT}}}\n")),
        |memory, ask| {
            let choice = json!({"delta": {}, "finish_reason": "error",
                                "error": {"message": "the slot has no cache left"}});
            breaks(memory, ask, &data(&json!({"choices": [choice]})))
        },
    ];
    for (number, speak) in ends.into_iter().enumerate() {
        let (row, measured) = one(speak, load()).await;
        assert_eq!(row.status, Status::Failed, "{number}: {row:?}");
        let expected = "4 of 12 requests failed; the first: the slot has no cache left";
        assert_eq!(reason(&row), expected, "{number}");
        let failed = measured.records.iter().filter_map(|record| record.failure());
        assert!(failed.into_iter().all(|error| error.class == InStream), "{number}");
    }
}

/// Without `usage`, all that shows it is the missing end.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_an_end_has_broken_off_where_others_have_one() {
    fn speak(memory: &mut Memory, ask: &Ask) -> Said {
        memory.counts[0] += u64::from(ask.is_measured());
        let mut pieces = words(ask);
        if ask.is_measured() && memory.counts[0].is_multiple_of(3) {
            pieces.truncate(2);
        } else {
            pieces.push(chunk(&json!({}), Some("length")));
        }
        pieces.push(DONE.to_owned());
        Said::Pieces(pieces)
    }
    let (row, measured) = one(speak, load()).await;
    assert_eq!(row.status, Status::Failed, "{row:?}");
    assert!(reason(&row).starts_with("4 of 12 requests failed; the first: the answer broke off"));
    let failed = measured.records.iter().filter_map(|record| record.failure());
    assert!(failed.into_iter().all(|error| error.class == Cut));
    // Where none has one, nothing is missing.
    let (row, _) = one(
        |_, ask| {
            let end = data(&json!({"choices": [], "usage": usage(ask.prompt_tokens, 4)}));
            Said::Pieces([words(ask), vec![end, DONE.to_owned()]].concat())
        },
        load(),
    )
    .await;
    assert_eq!((row.status, number(&row, "failed")), (Status::Ok, Some(0.0)), "{row:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_is_too_long_is_skipped_also_when_the_stream_says_so() {
    let ways: [Speak; 3] = [
        |_, ask| {
            too_long(ask, "data: {\"error\":{\"message\":\"the context length is 1500\"}}\n\n")
        },
        |_, ask| too_long(ask, "error: {\"message\":\"exceeds the available context size\"}\n\n"),
        |_, ask| {
            let code = "{\"message\":\"no\",\"code\":\"context_length_exceeded\"}";
            too_long(ask, &format!("event: error\ndata: {code}\n\n"))
        },
    ];
    let long = json!({"concurrency": 2, "requests": 4, "prompt-tokens": 2000, "warmup": 0});
    for (number, speak) in ways.into_iter().enumerate() {
        let (server, _) = start(speak, None).await;
        let measured = measure(&server, &[kv_cache(2000), workload("load", &long)]).await;
        for row in &measured.rows {
            assert_eq!(row.status, Status::Skipped, "{number}: {row:?}");
            assert!(reason(row).contains("context"), "{number}: {row:?}");
        }
    }
}

fn too_long(ask: &Ask, end: &str) -> Said {
    if ask.prompt_tokens <= 1500 {
        return whole(ask, words(ask));
    }
    Said::Pieces(vec![end.to_owned(), DONE.to_owned()])
}

#[tokio::test(flavor = "multi_thread")]
async fn content_in_parts_is_read_and_thinking_is_told_from_the_answer() {
    fn speak(_: &mut Memory, ask: &Ask) -> Said {
        let half = ask.max_tokens / 2;
        let pieces = (0..ask.max_tokens).map(|number| {
            let part = |part: Value| chunk(&json!({"content": part}), None);
            match number {
                number if number < half => {
                    let inner = json!([{"type": "text", "text": "hm "}]);
                    part(json!([{"type": "thinking", "thinking": inner}]))
                }
                number if number % 2 == 0 => part(json!([{"type": "text", "text": "word "}])),
                _ => part(json!({"type": "text", "text": "word "})),
            }
        });
        whole(ask, pieces)
    }
    let (row, measured) = one(speak, load()).await;
    assert_eq!((row.status, number(&row, "failed")), (Status::Ok, Some(0.0)), "{row:?}");
    assert!(number(&row, "median_tpot_ms").is_some());
    let mut answers = measured.records.iter().filter(|record| record.purpose == "load");
    let record = answers.next().expect("sent");
    assert_eq!(record.chunks.len(), 8, "both are tokens");
    assert!(record.first_token_ns < record.first_answer_ns, "{record:?}");
}

/// A form that nobody knows is one failed request; a field that nobody knows is none.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_form_fails_its_own_request_alone() {
    fn speak(memory: &mut Memory, ask: &Ask) -> Said {
        memory.counts[0] += u64::from(ask.is_measured());
        let mut pieces = words(ask);
        if memory.counts[0] == 7 {
            pieces[1] = chunk(&json!({"content": 7}), None);
        }
        pieces.insert(0, "x-note: hello\nhello\n".to_owned());
        pieces.insert(1, data(&json!({"type": "ping"})));
        pieces.insert(
            2,
            chunk(&json!({"content": "", "surprise": [{"a": 1}], "tool_calls": 4}), None),
        );
        whole(ask, pieces)
    }
    let options = json!({"concurrency": 2, "requests": 120, "prompt-tokens": 100,
                         "output-tokens": 4, "warmup": 0});
    let (row, _) = one(speak, workload("load", &options)).await;
    assert_eq!((row.status, number(&row, "failed")), (Status::Ok, Some(1.0)), "{row:?}");
    assert!(reason(&row).contains("1 of 120 requests failed"), "{row:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_done_is_complete_when_its_end_or_its_usage_came() {
    let ways: [Speak; 4] = [
        // As TGI of early 2024: both in the last chunk.
        |_, ask| {
            let mut last =
                json!({"choices": [{"delta": {"content": ""}, "finish_reason": "length"}]});
            last["usage"] = usage(ask.prompt_tokens, ask.max_tokens);
            Said::Pieces([words(ask), vec![data(&last)]].concat())
        },
        |_, ask| {
            let last = json!({"choices": [], "usage": usage(ask.prompt_tokens, ask.max_tokens)});
            Said::Pieces([words(ask), vec![data(&last)]].concat())
        },
        |_, ask| Said::Pieces([words(ask), vec![chunk(&json!({}), Some("length"))]].concat()),
        // The last line end is missing, too.
        |_, ask| {
            let last = json!({"choices": [], "usage": usage(ask.prompt_tokens, ask.max_tokens)});
            Said::Pieces([words(ask), vec![data(&last).trim_end().to_owned()]].concat())
        },
    ];
    for (way, speak) in ways.into_iter().enumerate() {
        let (row, _) = one(speak, load()).await;
        assert_eq!((row.status, number(&row, "failed")), (Status::Ok, Some(0.0)), "{way}: {row:?}");
    }
    // Neither came: it was cut.
    let (row, measured) = one(|_, ask| Said::Pieces(words(ask)), load()).await;
    assert_eq!(row.status, Status::Failed, "{row:?}");
    let error = measured.records.iter().find_map(|record| record.failure()).expect("failed");
    assert_eq!((error.class, error.message.as_str()), (Cut, "the stream ended without `[DONE]`"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tool_calls_and_arguments_as_objects_are_read() {
    let ways: [Speak; 2] = [
        |_, ask| {
            let pieces = [r#"{"city""#, r#": "Lyon"}"#].iter().enumerate().map(|(at, piece)| {
                let name = (at == 0).then_some("get_weather");
                let function = json!({"name": name, "arguments": piece});
                let call = json!({"index": 0, "id": "", "type": "function", "function": function});
                chunk(&json!({"role": "assistant", "tool_calls": call}), None)
            });
            whole(ask, pieces)
        },
        |_, ask| {
            let function = json!({"name": "get_weather", "arguments": {"city": "Lyon"}});
            let call = json!({"index": 0, "id": "0", "type": "function", "function": function});
            whole(ask, [chunk(&json!({"tool_calls": [call]}), None)])
        },
    ];
    for (way, speak) in ways.into_iter().enumerate() {
        let options = json!({"scenarios": "balanced", "instances": 2, "warmup": 0});
        let (row, _) = one(speak, workload("tool-calling", &options)).await;
        assert_eq!(row.status, Status::Ok, "{way}: {row:?}");
        let (asked, made) = (number(&row, "asked"), number(&row, "calls_made"));
        assert!(made > Some(0.0) && asked > Some(0.0), "{way}: {row:?}");
        assert_eq!(number(&row, "failed"), Some(0.0), "{way}: {row:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_tokens_that_are_not_counted_are_said_and_summed_up_nowhere() {
    let ways: [Speak; 3] = [
        |_, ask| partial(ask, 0, true),
        |_, ask| partial(ask, 30, true),
        // Nothing but the small number shows it.
        |_, ask| partial(ask, 30, false),
    ];
    for (way, speak) in ways.into_iter().enumerate() {
        let (server, _) = start(speak, None).await;
        let measured = measure(&server, &[kv_cache(400), load()]).await;
        let [kept, load] = &measured.rows[..] else { panic!("{:?}", measured.rows) };
        assert_eq!(kept.status, Status::Ok, "{way}: {kept:?}");
        let said = "the server's `usage` leaves out what came from its cache";
        assert!(reason(kept).contains(said), "{way}: {kept:?}");
        let tokens = number(kept, "prompt_tokens").expect("known from the first time");
        assert!((390.0..=420.0).contains(&tokens), "{way}: {tokens}");
        assert_eq!(text(kept, "hit_state"), Some("unknown"), "{way}: {kept:?}");
        assert_eq!(load.status, Status::Ok, "{way}: {load:?}");
        // It says of each prompt that nothing came from the cache, or nothing at all.
        let is_whole = way < 2;
        assert_eq!(number(load, "total_input_tokens").is_some(), is_whole, "{way}: {load:?}");
        assert!(number(load, "total_output_tokens").is_some(), "{way}: {load:?}");
    }
}

fn partial(ask: &Ask, rest: u64, details: bool) -> Said {
    let counted = if ask.known { rest } else { ask.prompt_tokens };
    let mut usage = usage(counted, ask.max_tokens);
    if details {
        let cached = if ask.known { ask.prompt_tokens } else { 0 };
        usage["prompt_tokens_details"] = json!({"cached_tokens": cached});
    }
    whole_of(ask, words(ask), &usage)
}

/// Counters as vLLM's, with these of the prefix cache.
fn counted(memory: &Memory, started: f64, [queries, hits]: [u64; 2]) -> String {
    format!(
        "vllm:request_success_total{{engine=\"0\",finished_reason=\"length\"}} {}.0\n\
         vllm:prompt_tokens_total{{engine=\"0\"}} {}.0\n\
         vllm:gpu_prefix_cache_queries_total{{engine=\"0\"}} {queries}.0\n\
         vllm:gpu_prefix_cache_hits_total{{engine=\"0\"}} {hits}.0\n\
         vllm:cache_config_info{{block_size=\"16\",enable_prefix_caching=\"True\"}} 1.0\n\
         process_start_time_seconds {started:e}\n",
        memory.requests, memory.prompt_tokens
    )
}

/// Answers, and counts look-ups in blocks.
fn in_blocks(memory: &mut Memory, ask: &Ask) -> Said {
    memory.counts[0] += ask.prompt_tokens / 16;
    memory.counts[1] += if ask.known { (ask.prompt_tokens - 1) / 16 } else { 0 };
    whole(ask, words(ask))
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_in_blocks_are_recognised_and_others_leave_the_times() {
    let blocks = |memory: &Memory| counted(memory, 1.79e9, [memory.counts[0], memory.counts[1]]);
    let (server, _) = start(in_blocks, Some(blocks)).await;
    let row = measure(&server, &[kv_cache(1000)]).await.rows.remove(0);
    assert_eq!((row.status, text(&row, "hit_state")), (Status::Ok, Some("certified")), "{row:?}");
    assert_eq!(number(&row, "hit_tokens_share"), Some(1.0));

    let odd = |memory: &Memory| counted(memory, 1.79e9, [memory.counts[0] / 3, 5]);
    let (server, _) = start(in_blocks, Some(odd)).await;
    let row = measure(&server, &[kv_cache(1000)]).await.rows.remove(0);
    assert_eq!((row.status, text(&row, "hit_state")), (Status::Ok, Some("unknown")), "{row:?}");
    assert!(reason(&row).contains("count something else"), "{row:?}");
    assert!(number(&row, "ttft_resent_ms").is_some());

    // What is found is never counted.
    let still = |memory: &Memory| counted(memory, 1.79e9, [memory.counts[0], 0]);
    let (server, _) = start(in_blocks, Some(still)).await;
    let row = measure(&server, &[kv_cache(1000)]).await.rows.remove(0);
    assert_eq!((row.status, text(&row, "hit_state")), (Status::Ok, Some("unknown")), "{row:?}");
    assert!(reason(&row).contains("never moved"), "{row:?}");
    assert_eq!(number(&row, "hit_tokens_share"), None, "nothing is known, and not nothing found");
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_that_do_not_follow_our_requests_are_said_once_and_times_are_kept() {
    let still = |_: &Memory| counted(&Memory::default(), 1.79e9, [0, 0]);
    let (server, _) = start(|_, ask| whole(ask, words(ask)), Some(still)).await;
    let measured = measure(&server, &[kv_cache(400), load(), stability()]).await;
    for row in &measured.rows {
        assert_eq!(row.status, Status::Ok, "{row:?}");
    }
    assert_eq!(text(&measured.rows[0], "hit_state"), Some("unknown"));
    assert!(reason(&measured.rows[0]).contains("do not follow our requests"));
    assert_eq!(measured.warnings.len(), 1, "{:?}", measured.warnings);
}

/// Two processes: counts 0 to 2 are the first one's, 3 to 5 the other's.
fn by_turns(memory: &mut Memory, ask: &Ask) -> Said {
    memory.counts[6] += 1;
    let place = if memory.counts[6].is_multiple_of(2) { 0 } else { 3 };
    memory.counts[place] += 1;
    memory.counts[place + 1] += ask.prompt_tokens;
    whole(ask, words(ask))
}

fn replica(memory: &Memory, began: [f64; 2], base: [u64; 2]) -> String {
    let which = (memory.looks % 2) as usize;
    let requests = base[which] + memory.counts[3 * which];
    let tokens = 700 * base[which] + memory.counts[3 * which + 1];
    let one = Memory { requests, prompt_tokens: tokens, ..Memory::default() };
    let text = counted(&one, began[which], [0, 0]).replace("prefix_cache", "other");
    if began[0] > 0.0 { text } else { text.replace("process_start", "no_start") }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_behind_one_address_are_no_restart_and_times_are_kept() {
    let ways: [fn(&Memory) -> String; 3] = [
        |memory| replica(memory, [1.79e9, 1.79e9 + 5000.0], [900, 20]),
        |memory| replica(memory, [1.79e9 + 5000.0, 1.79e9], [900, 20]),
        // As several API servers are counted together: no time of start.
        |memory| replica(memory, [0.0, 0.0], [900, 20]),
    ];
    for (way, count) in ways.into_iter().enumerate() {
        let (server, _) = start(by_turns, Some(count)).await;
        let measured = measure(&server, &[stability(), kv_cache(400), load()]).await;
        for row in &measured.rows {
            assert_eq!(row.status, Status::Ok, "{way}: {row:?}");
            assert!(!reason(row).contains("restart of"), "{way}: {row:?}");
        }
        assert_eq!(number(&measured.rows[0], "restarts"), None, "{way}: nobody knows");
        assert_eq!(text(&measured.rows[1], "hit_state"), Some("unknown"), "{way}");
        assert!(number(&measured.rows[2], "median_ttft_ms").is_some(), "{way}");
        assert_eq!(measured.warnings.len(), 1, "{way}: {:?}", measured.warnings);
        assert!(measured.warnings[0].contains("several processes in turn"), "{way}");
    }
}

/// Four engines, each with a cache of its own: counts 0 to 3 are look-ups, 4 to 7 hits.
fn over_engines(memory: &mut Memory, ask: &Ask, sticks: bool) -> Said {
    let engine = if sticks { 0 } else { (memory.requests % 4) as usize };
    memory.counts[engine] += ask.prompt_tokens;
    let finds = ask.known && sticks;
    memory.counts[engine + 4] += if finds { 16 * ((ask.prompt_tokens - 1) / 16) } else { 0 };
    whole(ask, words(ask))
}

fn engines(memory: &Memory) -> String {
    let mut text = "process_start_time_seconds 1.79e+09\n".to_owned();
    for engine in 0..4u64 {
        let share = |all: u64| if engine == 0 { all } else { 0 };
        let label = format!("engine=\"{engine}\",model_name=\"m\"");
        let counts = &memory.counts;
        let _ = write!(
            text,
            "vllm:request_success_total{{finished_reason=\"length\",{label}}} {}.0\n\
             vllm:prompt_tokens_total{{{label}}} {}.0\n\
             vllm:prefix_cache_queries_total{{{label}}} {}.0\n\
             vllm:prefix_cache_hits_total{{{label}}} {}.0\n\
             vllm:cache_config_info{{block_size=\"16\",enable_prefix_caching=\"True\",{label}}} 1.0\n",
            share(memory.requests),
            share(memory.prompt_tokens),
            counts[engine as usize],
            counts[engine as usize + 4],
        );
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn several_engines_are_named_and_hits_are_judged_by_their_sum() {
    let (server, _) = start(|memory, ask| over_engines(memory, ask, false), Some(engines)).await;
    let row = measure(&server, &[kv_cache(400)]).await.rows.remove(0);
    assert_eq!((row.status, text(&row, "hit_state")), (Status::Ok, Some("unknown")), "{row:?}");
    assert!(reason(&row).contains("hits unknown: 4 engines (0, 1, 2, 3)"), "{row:?}");

    let (server, _) = start(|memory, ask| over_engines(memory, ask, true), Some(engines)).await;
    let row = measure(&server, &[kv_cache(400)]).await.rows.remove(0);
    assert_eq!((row.status, text(&row, "hit_state")), (Status::Ok, Some("certified")), "{row:?}");
}

/// Refuses a field that it does not know, in the words of `refuse`.
fn strict(ask: &Ask, known: &[&str], refuse: fn(&[&String]) -> (u16, Value)) -> Said {
    let all = ["model", "messages", "max_tokens", "stream", "tools", "tool_choice"];
    let fields = ask.body.as_object().expect("an object");
    let is_known = |name: &str| all.contains(&name) || known.contains(&name);
    let extra: Vec<&String> = fields.keys().filter(|name| !is_known(name)).collect();
    if extra.is_empty() {
        return whole(ask, words(ask));
    }
    let (status, body) = refuse(&extra);
    Said::Refused(status, body)
}

fn pydantic(extra: &[&String]) -> (u16, Value) {
    let of = |name: &&String| {
        json!({"type": "extra_forbidden", "loc": ["body", name], "input": true,
               "msg": "Extra inputs are not permitted"})
    };
    (422, json!({"detail": extra.iter().map(of).collect::<Vec<_>>()}))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_optional_field_that_is_refused_is_left_out_once_and_said() {
    let ways: [(Speak, &[&str]); 4] = [
        (
            |_, ask| strict(ask, &["stream_options", "temperature", "seed"], pydantic),
            &["ignore_eos"],
        ),
        (
            |_, ask| strict(ask, &["seed"], pydantic),
            &["ignore_eos", "stream_options", "temperature"],
        ),
        (
            // As serde says it, with what it expected.
            |_, ask| {
                strict(ask, &["stream_options", "temperature"], |extra| {
                    let message = format!("unknown field `{}`, expected `temperature`", extra[0]);
                    (400, json!({"error": {"message": message}}))
                })
            },
            &["ignore_eos"],
        ),
        (
            |_, ask| {
                strict(ask, &["stream_options"], |extra| {
                    let message = format!("property '{}' is unsupported", extra[0]);
                    (400, json!({"error": {"message": message}}))
                })
            },
            &["ignore_eos", "temperature"],
        ),
    ];
    for (way, (speak, left_out)) in ways.into_iter().enumerate() {
        let (server, memory) = start(speak, None).await;
        let measured = measure(&server, &[load(), kv_cache(400), stability()]).await;
        for row in &measured.rows {
            assert_eq!(
                (row.status, number(row, "failed")),
                (Status::Ok, Some(0.0)),
                "{way}: {row:?}"
            );
            for name in left_out {
                let said = format!("the server refuses `{name}`, which is left out");
                assert_eq!(reason(row).matches(&said).count(), 1, "{way}: {row:?}");
            }
            let count = reason(row).matches("the server refuses").count();
            assert_eq!(count, left_out.len(), "{way}: {row:?}");
        }
        let refused = memory.lock().expect("no panic").refused;
        assert_eq!(refused, left_out.len() as u64, "{way}: each is found out once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_leaving_out_does_not_mend_leaves_nothing_out() {
    // It repeats the whole body, whatever is wrong with it.
    let echoes: Speak = |_, ask| {
        let message = format!("bad request: {}", ask.body);
        Said::Refused(400, json!({"error": {"message": message}}))
    };
    let (row, _) = one(echoes, load()).await;
    assert_eq!(row.status, Status::Failed, "{row:?}");
    assert!(!reason(&row).contains("is left out"), "{row:?}");
    // What measuring cannot do without is said.
    let needs: Speak = |_, _| {
        let detail = json!([{"type": "extra_forbidden", "loc": ["body", "max_tokens"],
                             "msg": "Extra inputs are not permitted"}]);
        Said::Refused(422, json!({ "detail": detail }))
    };
    let (row, _) = one(needs, load()).await;
    assert_eq!(row.status, Status::Failed, "{row:?}");
    assert!(reason(&row).contains("measuring cannot do without `max_tokens`"), "{row:?}");
}
