//! Several objectives in a grid: a list in place of one mapping.

use vllm_grid::metric::Goal;

use crate::grid_errors::{read_text, shown};

fn grid(objective: &str) -> String {
    format!(
        "name: g\nengine: {{simulated: {{model: Qwen/Qwen3-0.6B, gpu: rtx-4090}}}}\n\
         parameters: {{max-num-seqs: [8, 16]}}\nworkloads: {{kv-cache: {{}}, load: {{concurrency: [8]}}}}\n\
         objective: {objective}\n"
    )
}

#[test]
fn the_first_ranks_and_has_the_constraints_and_the_others_follow() {
    let text = grid(
        "[{minimize: kv_cache.ttft_resent_ms, constraints: [{metric: load.failed, max: 0}]}, \
         {maximize: load.output_throughput}]",
    );
    let objective = read_text(&text).unwrap_or_else(|it| panic!("{}", shown(&it))).objective;
    assert_eq!(objective.metric.to_string(), "kv_cache.ttft_resent_ms");
    assert_eq!((objective.goal, objective.constraints.len()), (Goal::Minimize, 1));
    assert_eq!(objective.further.len(), 1);
    assert_eq!(objective.further[0].metric.to_string(), "load.output_throughput");
    assert_eq!(objective.further[0].goal, Goal::Maximize);
    // What a manifest has is what was read, and one objective is stored as it always was.
    let stored = serde_json::to_string(&objective).unwrap();
    assert_eq!(serde_json::from_str::<vllm_grid::metric::Objective>(&stored).unwrap(), objective);
    let one = read_text(&grid("[{minimize: kv_cache.ttft_resent_ms}]")).unwrap().objective;
    assert_eq!(one, read_text(&grid("{minimize: kv_cache.ttft_resent_ms}")).unwrap().objective);
    assert!(!serde_json::to_string(&one).unwrap().contains("further"));
}

#[test]
fn each_fault_of_a_list_is_said_where_it_stands() {
    let refused = |objective: &str| match read_text(&grid(objective)) {
        Ok(_) => panic!("accepted: {objective}"),
        Err(errors) => shown(&errors),
    };
    let faults = [
        ("[]", "`objective` names nothing"),
        ("[{minimize: kv_cache.ttft_resent_ms}, {minimize: load.nothing}]", "load"),
        (
            "[{minimize: kv_cache.ttft_resent_ms}, {maximize: kv_cache.ttft_resent_ms}]",
            "is an objective twice",
        ),
        (
            "[{minimize: kv_cache.ttft_resent_ms}, {maximize: load.output_throughput, \
             constraints: []}]",
            "unknown key `constraints`",
        ),
        ("[{}, {minimise: load.failed}]", "did you mean `minimize`"),
    ];
    for (objective, said) in faults {
        let text = refused(objective);
        assert!(text.contains(said), "{objective}: {text}");
    }
}
