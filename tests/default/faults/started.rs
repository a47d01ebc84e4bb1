//! Faults of the start.

use super::faults;

faults! {
    nothing_happens: {};
    a_bad_flag: {
        faults: &["bad fail=bad_flag"], classes: &["bad_flag"], is_ranked: false,
    };
    a_bad_value: {
        faults: &["bad fail=bad_value"], classes: &["bad_flag"], is_ranked: false,
    };
    a_value_that_vllm_refuses: {
        flags: ", tool-call-parser: nonsense, enable-auto-tool-choice: true",
        classes: &["bad_flag"], is_ranked: false,
    };
    out_of_memory_at_boot: {
        // Counts when seen twice: boot is a lottery for some.
        faults: &["bad fail=out_of_memory"], classes: &["out_of_memory", "out_of_memory"],
        launches: 2, is_ranked: false,
    };
    a_kv_cache_that_does_not_fit: {
        flags: ", gpu-memory-utilization: 0.06", classes: &["kv_cache_too_small"], is_ranked: false,
    };
    out_of_host_memory: {
        faults: &["bad fail=host_memory"], classes: &["host_memory", "host_memory"],
        launches: 2, is_ranked: false,
    };
    killed_at_boot: {
        faults: &["bad fail=killed"], classes: &["killed"], is_ranked: false,
    };
    killed_at_the_first_boot: { faults: &["bad@1 fail=killed"] };
    exit_code_0_at_boot: {
        faults: &["bad fail=engine_died"], classes: &["engine_died"], is_ranked: false,
    };
    exit_code_0_at_the_first_boot: { faults: &["bad@1 fail=engine_died"] };
    memory_that_does_not_drain: {
        faults: &["bad fail=memory_not_free"], classes: &["memory_not_free"], is_ranked: false,
    };
    memory_that_drains_late: { faults: &["bad@1 fail=memory_not_free"] };
    memory_that_others_freed_meanwhile: { faults: &["bad@1 fail=gpu_memory_changed"] };
    a_corrupt_compile_cache: { faults: &["bad@1 fail=compile_cache"] };
    a_compile_cache_that_stays_corrupt: {
        faults: &["bad fail=compile_cache"], classes: &["compile_cache"], is_ranked: false,
    };
    shared_memory_that_is_too_small: {
        faults: &["bad fail=shared_memory"], classes: &["shared_memory"], is_ranked: false,
    };
    a_full_disk: {
        faults: &["bad fail=environment"], classes: &["environment"], is_ranked: false,
    };
    a_port_that_is_taken_once: { faults: &["bad@1 fail=port_taken"] };
    a_cause_that_is_not_known: {
        faults: &["bad fail=unknown"], classes: &["unknown"], is_ranked: false,
    };
    // Nothing would work: the sweep stops.
    credentials: {
        faults: &["bad fail=credentials"], classes: &["credentials"], is_ranked: false,
        others: false, code: 3,
    };
    no_gpu: {
        faults: &["bad fail=no_gpu"], classes: &["no_gpu"], is_ranked: false, others: false, code: 3,
    };
    a_server_that_answers_500: {
        faults: &["bad fail=not_serving"], classes: &["not_serving"], is_ranked: false,
    };
    a_key_that_is_refused: {
        faults: &["bad spoil=unauthorized"], classes: &["not_serving"], is_ranked: false,
    };
    a_model_of_another_name: {
        faults: &["bad spoil=not-found"], classes: &["not_serving"], is_ranked: false,
    };
    a_flag_that_is_overridden: {
        flags: ", enable-prefix-caching: true",
        faults: &["bad override=enable-prefix-caching=false"], is_ranked: false,
    };
}
