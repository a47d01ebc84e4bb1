//! Faults in mid-measurement of a server that was ready.

use super::faults;

/// The gate that asks each launch for some hundred tokens.
const CANARY: &str = "{canary: {}}";

faults! {
    an_engine_that_dies_once: {
        faults: &["bad@1 die-after=14"], classes: &["engine_died"], launches: 2,
    };
    an_engine_that_dies_each_time: {
        faults: &["bad die-after=14"], classes: &["engine_died", "engine_died"], launches: 2,
        is_ranked: false,
    };
    a_dead_engine_behind_a_living_api_server: {
        faults: &["bad@1 die-after=14 linger"], classes: &["engine_died"], launches: 2,
    };
    an_engine_that_dies_once_in_a_gate: {
        faults: &["bad@1 die-after=14"], gates: CANARY, classes: &["engine_died"], launches: 2,
    };
    an_engine_that_dies_in_each_gate: {
        faults: &["bad die-after=14"], gates: CANARY, classes: &["engine_died", "engine_died"],
        launches: 2, is_ranked: false,
    };
    a_dead_engine_behind_a_living_api_server_in_a_gate: {
        faults: &["bad@1 die-after=14 linger"], gates: CANARY, classes: &["engine_died"],
        launches: 2,
    };
    exit_code_137_in_a_gate: {
        faults: &["bad@1 exit-after=14 exit-code=137"], gates: CANARY, classes: &["killed"],
        launches: 2,
    };
    exit_code_0_in_mid_run: {
        faults: &["bad@1 exit-after=14"], classes: &["engine_died"], launches: 2,
    };
    exit_code_137_in_mid_run: {
        faults: &["bad@1 exit-after=14 exit-code=137"], classes: &["killed"], launches: 2,
    };
    a_kernel_that_is_compiled_in_mid_run: { faults: &["bad freeze-after=14 freeze-seconds=400"] };
    requests_of_somebody_else_once: { faults: &["bad@1 strangers=1"], launches: 2 };
    requests_of_somebody_else_each_time: {
        faults: &["bad strangers=1"], launches: 2, is_ranked: false,
    };
    status_503_for_good: {
        faults: &["bad spoil=unavailable,from=6"], is_ranked: false,
    };
    errors_on_long_prompts_only: {
        faults: &["bad spoil=error,longer-than=1000"], prompt: 2000, is_ranked: false,
    };
    // 2000 tokens are cut at 1024; the first launch and the second end so.
    a_crash_on_the_second_chunk_only: {
        faults: &["bad die-on-second-chunk"], flags: ", max-num-batched-tokens: 1024",
        prompt: 2000, classes: &["engine_died", "engine_died"], launches: 2, is_ranked: false,
    };
    answers_that_are_no_json: { faults: &["bad spoil=garbage,from=6"], is_ranked: false };
    connections_that_are_cut: { faults: &["bad spoil=reset,from=6"], is_ranked: false };
    a_key_that_is_refused_in_mid_run: {
        faults: &["bad spoil=unauthorized,from=6"], is_ranked: false,
    };
    // Some requests failed, which the row says.
    status_503_for_a_while: { faults: &["bad spoil=unavailable,from=6,count=1"] };
}
