use serde_json::json;

use super::*;

fn settings(gpu: &str, flags: Value) -> Result<Settings, Refusal> {
    let flags: Flags = serde_json::from_value(flags).unwrap();
    let gpu = profile::gpu(gpu).unwrap();
    Settings::from_flags("Qwen/Qwen3-1.7B", &flags, &BTreeMap::new(), gpu, 2, None)
}

#[test]
fn batch_defaults_depend_on_the_gpu() {
    for (gpu, tokens, seqs) in [("rtx-4090", 2048, 256), ("a100", 2048, 256), ("h100", 8192, 1024)]
    {
        let settings = settings(gpu, json!({})).unwrap();
        assert_eq!((settings.max_num_batched_tokens, settings.max_num_seqs), (tokens, seqs));
    }
}

#[test]
fn without_chunking_the_budget_grows_to_the_context() {
    let flags = json!({"enable-chunked-prefill": false, "max-model-len": 16384});
    assert_eq!(settings("rtx-4090", flags).unwrap().max_num_batched_tokens, 16384);
    let flags = json!({"enable-chunked-prefill": false, "max-num-batched-tokens": 2048});
    let refusal = settings("rtx-4090", flags).unwrap_err();
    assert_eq!(refusal.exit_code, 1);
    assert!(
        refusal
            .to_string()
            .contains("max_num_batched_tokens (2048) is smaller than max_model_len (40960)")
    );
}

#[test]
fn values_out_of_range_are_refused_in_pydantics_words() {
    let refusal = settings("rtx-4090", json!({"gpu-memory-utilization": 1.7})).unwrap_err();
    assert_eq!(
        refusal.lines[1..],
        [
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for CacheConfig",
            "gpu_memory_utilization",
            "  Input should be less than or equal to 1 [type=less_than_equal, input_value=1.7, input_type=float]",
        ]
    );
}

#[test]
fn text_values_are_read_as_numbers_and_bad_ones_are_usage_errors() {
    let read = settings("rtx-4090", json!({"max-model-len": "16k", "max-num-seqs": "8"}));
    let read = read.unwrap();
    assert_eq!((read.max_model_len, read.max_num_seqs), (16_000, 8));
    let refusal = settings("rtx-4090", json!({"max-num-seqs": "abc"})).unwrap_err();
    assert_eq!(refusal.exit_code, 2);
    assert!(refusal.to_string().ends_with("argument --max-num-seqs: invalid int value: 'abc'"));
}

#[test]
fn yarn_extends_the_context_and_only_yarn() {
    let long = json!({"max-model-len": 131_072});
    assert!(settings("rtx-4090", long).unwrap_err().to_string().contains("is greater than"));
    let scaled = json!({
        "max-model-len": 131_072,
        "hf-overrides": {"rope_scaling": {
            "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768,
        }},
    });
    assert_eq!(settings("rtx-4090", scaled).unwrap().max_model_len, 131_072);
}

#[test]
fn more_gpus_than_there_are_is_refused() {
    let refusal = settings("rtx-4090", json!({"tensor-parallel-size": 4})).unwrap_err();
    assert!(refusal.to_string().contains("World size (4) is larger than"));
}

#[test]
fn flags_without_effect_are_known_and_all_acting_ones_exist() {
    assert!(ACTING.iter().all(|flag| crate::flags::lookup(flag).is_some()));
    assert!(acts("max-num-seqs"));
    assert!(!acts("speculative-config"));
}

#[test]
fn a_context_of_auto_is_left_to_the_memory() {
    for auto in [json!("auto"), json!(-1)] {
        let settings = settings("rtx-4090", json!({"max-model-len": auto})).unwrap();
        assert!(settings.fit_context);
        assert_eq!(settings.max_model_len, 40_960);
    }
}
