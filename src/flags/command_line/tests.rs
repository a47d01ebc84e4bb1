//! Command lines as vLLM 0.32.0 reads them, and the way there and back.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn parse(args: &[&str]) -> Result<CommandLine, String> {
    let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    parse_argv(&args).map_err(|error| error.to_string())
}

fn flags_of(args: &[&str]) -> Value {
    serde_json::to_value(parse(args).expect("understood").flags).expect("flags are JSON")
}

#[test]
fn every_spelling_of_the_parser_is_read() {
    let expected = json!({"max-num-seqs": 7, "enable-prefix-caching": false});
    for args in [
        &["m", "--max-num-seqs", "7", "--no-enable-prefix-caching"][..],
        &["m", "--max_num_seqs=7", "--no_enable_prefix_caching"],
        &["--no-enable-prefix-caching", "--max-num-seqs", " 7 ", "m"],
        &["--model", "m", "--max-num-seqs", "5", "--max-num-seqs=7", "--no-enable-prefix-c"],
        &["m", "--enable-prefix-caching", "false", "--max-num-seq", "7"],
    ] {
        let line = parse(args).expect("understood");
        assert_eq!(line.model.as_deref(), Some("m"), "{args:?}");
        assert_eq!(serde_json::to_value(&line.flags).expect("JSON"), expected, "{args:?}");
    }
}

#[test]
fn aliases_suffixes_json_and_lists_are_read() {
    assert_eq!(
        flags_of(&["m", "-tp", "2", "-q=awq_marlin", "-O3", "--max-model-len", "16k"]),
        json!({"tensor-parallel-size": 2, "quantization": "awq_marlin",
               "optimization-level": "3", "max-model-len": 16000})
    );
    assert_eq!(
        flags_of(&["m", "--hf-overrides.a.b", "3", "--hf_overrides.a.c_d=x", "-cc.mode=3"]),
        json!({"hf-overrides": {"a": {"b": 3, "c_d": "x"}}, "compilation-config": {"mode": 3}})
    );
    assert_eq!(
        flags_of(&["m", "--served-model-name", "a", "b", "--enable-chunked-prefill", "true"]),
        json!({"served-model-name": ["a", "b"], "enable-chunked-prefill": true})
    );
    assert_eq!(
        flags_of(&["m", "--middleware", "a", "--middleware=b", "--max-model-len", "-1"]),
        json!({"middleware": ["a", "b"], "max-model-len": "auto"})
    );
}

/// Expected texts were printed by vLLM 0.32.0 for the same arguments.
#[test]
fn errors_are_in_the_words_of_vllm() {
    for (args, words) in [
        (
            &["m", "--max-num-seqs", "abc"][..],
            "vllm serve: error: argument --max-num-seqs: invalid int value: 'abc'",
        ),
        (
            &["m", "--max-num-seqs"],
            "vllm serve: error: argument --max-num-seqs: expected one argument",
        ),
        (
            &["m", "--max-num-seqs", "--enforce-eager"],
            "vllm serve: error: argument --max-num-seqs: expected one argument",
        ),
        (&["m", "--nope", "3"], "vllm: error: unrecognized arguments: --nope 3"),
        (
            &["m", "--nope=3", "--also", "x"],
            "vllm: error: unrecognized arguments: --nope=3 --also x",
        ),
        (&["m", "--rope_scaling", "{}"], "vllm: error: unrecognized arguments: --rope-scaling {}"),
        (&["m", "m2"], "vllm: error: unrecognized arguments: m2"),
        (&["m", "-tp2"], "vllm: error: unrecognized arguments: -tp2"),
        (
            &["m", "--no-max-num-seqs", "3"],
            "vllm: error: unrecognized arguments: --no-max-num-seqs 3",
        ),
        (
            &["m", "--gpu-memory-utilization", "0,85"],
            "vllm serve: error: argument --gpu-memory-utilization/--device-memory-utilization: \
          invalid float value: '0,85'",
        ),
        (
            &["m", "--enable-chunked-prefill=true"],
            "vllm serve: error: argument --enable-chunked-prefill/--no-enable-chunked-prefill: \
          ignored explicit argument 'true'",
        ),
        (
            &["m", "--max-model-len", "16x"],
            "vllm serve: error: argument --max-model-len: invalid human_readable_int_or_auto \
          value: '16x'",
        ),
        (
            &["m", "--max-model-len", "1.5K"],
            "vllm serve: error: argument --max-model-len: Decimals are not allowed with binary \
          suffixes like K. Did you mean to use 1.5k instead?",
        ),
        (
            &["m", "--tensor-parallel-size", ""],
            "vllm serve: error: argument --tensor-parallel-size/-tp: invalid int value: ''",
        ),
        (
            &["m", "--dtype", "zz"],
            "vllm serve: error: argument --dtype: invalid choice: 'zz' (choose from 'auto', \
          'bfloat16', 'float', 'float16', 'float32', 'half')",
        ),
        (
            &["m", "--api-key"],
            "vllm serve: error: argument --api-key: expected at least one argument",
        ),
        (
            &["m", "--max-num-s", "3"],
            "vllm serve: error: ambiguous option: --max-num-s could match \
          --max-num-scheduled-tokens, --max-num-seqs",
        ),
    ] {
        assert_eq!(parse(args).expect_err("refused"), words, "{args:?}");
    }
}

#[test]
fn ranges_are_left_to_vllms_configuration_classes() {
    assert_eq!(
        flags_of(&["m", "--gpu-memory-utilization", "1.7", "--max-num-seqs", "-1"]),
        json!({"gpu-memory-utilization": 1.7, "max-num-seqs": -1})
    );
}

fn known_flag() -> impl Strategy<Value = (String, Value)> {
    let number = 1..1_000_000_i64;
    let word = "-?[a-z][a-z0-9_/.]{0,12}";
    (0..flags().len(), any::<bool>(), number, 0.01..1.0_f64, word).prop_map(
        |(index, truth, number, fraction, word)| {
            let flag = &flags()[index];
            let value = match flag.kind {
                Kind::Bool => Value::from(truth || !flag.negatable),
                Kind::Int => Value::from(number),
                Kind::Float => Value::from(fraction),
                Kind::Text => Value::from(word),
                Kind::Choice => Value::from(flag.choices[index % flag.choices.len()]),
                Kind::Json => json!({ word: [number, {"deep": truth}], "float": fraction }),
                Kind::List if flag.choices.is_empty() => {
                    json!([word.trim_start_matches('-'), number])
                }
                Kind::List => json!([flag.choices[0]]),
            };
            (flag.name.to_owned(), value)
        },
    )
}

proptest! {
    #[test]
    fn what_is_passed_is_read_again(
        given in prop::collection::btree_map(any::<u8>(), known_flag(), 0..12)
    ) {
        let flags: Flags =
            given.into_values().filter(|(name, _)| name != "model").collect();
        let line = parse_argv(&super::super::argv(&flags)).expect("our own arguments");
        prop_assert_eq!(line.model, None);
        prop_assert_eq!(line.flags, flags);
    }
}
