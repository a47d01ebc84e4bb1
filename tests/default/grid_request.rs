//! What a grid says of `request` and of metrics of launches, with the place of each error.

use crate::grid_errors::{HEAD, read_text, shown};

#[test]
fn fields_of_requests_that_measuring_sets_are_refused_where_they_stand() {
    let text = "name: g\n\
                engine: {simulated: {model: Qwen/Qwen3-0.6B, gpu: rtx-4090}}\n\
                parameters: {max-num-seqs: 8}\n\
                request:\n  temperature: 0.7\n  stream: false\n  max_tokens: 5\n  top-k: 3\n  \
                chat_template_kwargs: {hf_token: hf_abcdefghij}\n\
                workloads:\n  kv-cache: {request: {n: 2, top_p: 0.9}}\n  \
                load: {request: 3}\n  \
                reasoning: {temperature: 0.1, request: {temperature: 0.2}}\n  \
                command: {command: [x], request: {top_k: 2}}\n\
                objective: {minimize: kv_cache.ttft_resent_ms}\n";
    let errors = read_text(text).expect_err("errors everywhere");
    let places: Vec<String> = errors
        .errors
        .iter()
        .map(|it| format!("{}:{}", it.line.unwrap_or(0), it.column.unwrap_or(0)))
        .collect();
    let expected = ["6:3", "7:3", "8:3", "9:26", "11:24", "12:19", "13:43", "14:36"];
    assert_eq!(places, expected, "{}", shown(&errors));
    insta::assert_snapshot!(shown(&errors));
    assert!(!shown(&errors).contains("abcdefghij"));
}

#[test]
fn metrics_of_launches_are_known_and_have_no_cases() {
    let of = |metric: &str| {
        let grid = format!("{HEAD}parameters: {{max-num-seqs: 8}}\nworkloads: {{load: }}\n");
        read_text(&format!("{grid}objective: {{minimize: '{metric}'}}\n"))
    };
    assert_eq!(of("launch.boot_seconds").expect("good").objective.metric.name, "boot_seconds");
    let said = |metric| shown(&of(metric).expect_err("no such metric"));
    assert!(said("launch.bot_seconds").contains("did you mean `launch.boot_seconds`?"));
    assert!(said("launch[a=1].boot_seconds").contains("a launch has no cases"));
}
