//! Faults of real processes: what a supervisor, a killer or a stranger does to them.

use super::{Fault, NOTHING};

#[test]
fn a_supervisor_that_restarts_the_server_in_place() {
    let fault = Fault { classes: &["engine_died"], launches: 2, ..NOTHING };
    let script = "if [ $name$start = bad1 ]; then \"$bin\" simulate \"$@\" --sim-exit-after 14; fi";
    fault.happens_to_process("a_supervisor_that_restarts_the_server_in_place", script);
}

#[test]
fn a_process_that_is_killed() {
    let fault = Fault { classes: &["killed"], launches: 2, ..NOTHING };
    let script = "if [ $name$start = bad1 ]; then\n  \"$bin\" simulate \"$@\" --sim-exit-after 14\n  \
                  kill -9 $$\nfi";
    fault.happens_to_process("a_process_that_is_killed", script);
}

#[test]
fn a_process_that_ends_with_code_0() {
    let fault = Fault { classes: &["engine_died"], launches: 2, ..NOTHING };
    let script =
        "if [ $name$start = bad1 ]; then exec \"$bin\" simulate \"$@\" --sim-die-after 14; fi";
    fault.happens_to_process("a_process_that_ends_with_code_0", script);
}

#[test]
fn a_program_that_is_not_there() {
    let fault = Fault { classes: &["environment"], is_ranked: false, ..NOTHING };
    let script = "if [ $name = bad ]; then exec /nowhere/vllm serve \"$@\"; fi";
    fault.happens_to_process("a_program_that_is_not_there", script);
}
