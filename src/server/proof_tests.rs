//! What is proven of a launch, and what fails it.

use serde_json::json;

use super::*;
use crate::server::effective::{Sources, read};

fn flags_of(value: &Value) -> Flags {
    value.as_object().expect("an object").clone().into_iter().collect()
}

/// A configuration that varies `varied`, beside fixed flags.
fn configuration(fixed: &Value, varied: &Value) -> Configuration {
    let (fixed, varied) = (flags_of(fixed), flags_of(varied));
    let mut flags = fixed;
    flags.extend(varied.iter().map(|(name, value)| (name.clone(), value.clone())));
    flags.retain(|_, value| !value.is_null());
    Configuration {
        name: "c".to_owned(),
        aliases: Vec::new(),
        id: "0".to_owned(),
        flags,
        varied,
        environment: BTreeMap::new(),
        ..Default::default()
    }
}

fn whole(flags: &Value) -> ProcessReading {
    ProcessReading::Whole(ServerProcess { flags: flags_of(flags), environment: None })
}

fn proven(configuration: &Configuration, log: &str, reading: &ProcessReading) -> Proof {
    let sources = Sources { log: Some(log), ..Sources::default() };
    prove(configuration, read(&sources, &configuration.flags), Some(log), reading)
}

fn seen(proof: &Proof) -> Vec<String> {
    proof.not_applied.iter().map(NotApplied::to_string).collect()
}

const STATE: &str = "Initializing a V1 LLM engine (v0) with config: enable_prefix_caching=True, \
                     dtype=torch.bfloat16";

#[test]
fn an_argument_of_the_process_is_a_proof_and_the_state_a_stronger_one() {
    let asked = json!({"max-num-seqs": 8, "enable-prefix-caching": true, "dtype": "auto",
                       "speculative-config": {"method": "mtp", "num_speculative_tokens": 3}});
    let configuration = configuration(&json!({"seed": 0}), &asked);
    let mut arguments = asked.clone();
    arguments["seed"] = json!(0);
    let log = format!("non-default args: {{'max_num_seqs': 8}}\n{STATE}\n");
    let proof = proven(&configuration, &log, &whole(&arguments));
    let of = |name: &str| (proof.values[name].proof, proof.values[name].source.as_str());
    assert_eq!(of("max-num-seqs"), (Some(FlagProof::Passed), "process"));
    assert_eq!(of("seed"), (Some(FlagProof::Passed), "process"), "a default is not echoed");
    assert_eq!(of("enable-prefix-caching"), (Some(FlagProof::Honoured), "log"));
    assert_eq!(of("speculative-config"), (Some(FlagProof::Passed), "process"));
    assert_eq!(of("dtype"), (Some(FlagProof::Passed), "log"));
    assert_eq!(proof.values["dtype"].value, Some(json!("torch.bfloat16")), "what was chosen");
    assert_eq!((proof.failure(), proof.notes.as_slice()), (None, &[][..]));
}

#[test]
fn a_flag_that_is_nowhere_did_not_arrive() {
    let configuration = configuration(&json!({}), &json!({"max-num-seqs": 32}));
    let proof = proven(&configuration, "non-default args: {'seed': 1}\n", &whole(&json!({})));
    assert_eq!(
        seen(&proof),
        ["--max-num-seqs 32 did not reach vLLM: neither the arguments of its process nor its log \
          has the flag"]
    );
    let other = proven(&configuration, "", &whole(&json!({"max-num-seqs": 16})));
    assert_eq!(
        seen(&other),
        ["--max-num-seqs 32 did not reach vLLM: its process runs with --max-num-seqs 16"]
    );
    assert_eq!(other.values["max-num-seqs"].proof, Some(FlagProof::Overridden));
    let failure = other.failure().expect("nothing is measured");
    assert!(failure.contains("entrypoint or launcher passes its arguments"), "{failure}");
}

#[test]
fn the_state_does_not_replace_an_argument_that_was_dropped() {
    let configuration = configuration(&json!({}), &json!({"enable-prefix-caching": true}));
    let proof = proven(&configuration, STATE, &whole(&json!({})));
    assert_eq!(proof.values["enable-prefix-caching"].proof, Some(FlagProof::Honoured));
    assert_eq!(proof.not_applied.len(), 1, "it is so by default, whatever is asked for");
}

#[test]
fn an_echo_that_contradicts_fails_even_where_no_process_can_be_read() {
    let configuration = configuration(&json!({}), &json!({"max-num-seqs": 32}));
    let log = "non-default args: {'max_num_seqs': 16}\n";
    for reading in
        [ProcessReading::None, ProcessReading::Unreadable("r".to_owned()), whole(&json!({}))]
    {
        let proof = proven(&configuration, log, &reading);
        assert_eq!(
            seen(&proof),
            ["--max-num-seqs 32 did not reach vLLM: its log shows --max-num-seqs 16"]
        );
    }
}

#[test]
fn an_echo_is_read_to_its_last_bracket_and_a_cut_one_not_at_all() {
    let configuration = configuration(&json!({}), &json!({"max-num-seqs": 32}));
    let coloured = "\u{1b}[36m(APIServer pid=1)\u{1b}[0m non-default args: {'seed': 1, \
                    'max_num_seqs': 32}\u{1b}[0m\n";
    assert_eq!(proven(&configuration, coloured, &ProcessReading::None).failure(), None);
    let cut = "non-default args: {'seed': 1, 'max_num_seqs': 3";
    assert_eq!(proven(&configuration, cut, &ProcessReading::None).failure(), None);
}

#[test]
fn an_echo_is_enough_where_the_argument_came_out_of_a_file() {
    let configuration = configuration(&json!({}), &json!({"max-num-seqs": 32}));
    let log = "non-default args: {'config': 'c.yaml', 'max_num_seqs': 32}\n";
    let proof = proven(&configuration, log, &whole(&json!({})));
    assert_eq!(
        (proof.failure(), proof.values["max-num-seqs"].proof),
        (None, Some(FlagProof::Echoed))
    );
}

#[test]
fn what_is_unreadable_is_unknown_and_noted() {
    let configuration = configuration(&json!({}), &json!({"max-num-seqs": 32, "seed": null}));
    let unreadable = ProcessReading::Unreadable("the image has no `sh`".to_owned());
    let proof = proven(&configuration, "", &unreadable);
    assert_eq!(proof.failure(), None);
    assert_eq!(proof.values["max-num-seqs"].proof, Some(FlagProof::Unknown));
    assert!(proof.notes[0].contains("the image has no `sh`"), "{:?}", proof.notes);
    let none = proven(&configuration, "", &ProcessReading::None);
    assert_eq!((none.failure(), none.notes.len()), (None, 0), "an embedded server has no process");
    let joined = ProcessReading::Joined(flags_of(&json!({"max-num-seqs": 32})));
    let proof = proven(&configuration, "", &joined);
    assert_eq!(proof.values["max-num-seqs"].proof, Some(FlagProof::Echoed));
    let joined = ProcessReading::Joined(flags_of(&json!({"max-num-seqs": 16})));
    assert_eq!(proven(&configuration, "", &joined).failure(), None, "its words may be cut");
}

#[test]
fn a_flag_that_was_to_be_left_out_is_not_there() {
    let configuration = configuration(&json!({}), &json!({"max-num-seqs": null}));
    let by_process = proven(&configuration, "", &whole(&json!({"max-num-seqs": 16})));
    assert_eq!(
        seen(&by_process),
        ["the configuration without --max-num-seqs did not reach vLLM: its process runs with \
          --max-num-seqs 16"]
    );
    let by_file =
        proven(&configuration, "non-default args: {'max_num_seqs': 4}", &whole(&json!({})));
    assert!(seen(&by_file)[0].ends_with("its log shows --max-num-seqs 4"), "{:?}", seen(&by_file));
    assert_eq!(proven(&configuration, "non-default args: {}", &whole(&json!({}))).failure(), None);
}

#[test]
fn a_fixed_flag_that_differs_is_overridden_and_one_that_is_missing_is_noted() {
    let configuration = configuration(&json!({"max-model-len": 4096, "seed": 3}), &json!({}));
    let proof = proven(&configuration, "", &whole(&json!({"max-model-len": 8192})));
    assert_eq!(proof.failure(), None, "nothing is varied");
    assert_eq!(proof.values["max-model-len"].proof, Some(FlagProof::Overridden));
    assert_eq!(proof.values["seed"].proof, Some(FlagProof::Unknown));
    assert!(proof.notes[0].starts_with("--seed of the engine block"), "{:?}", proof.notes);
    let with_file = whole(&json!({"max-model-len": 8192, "config": "c.yaml"}));
    let proof = proven(&configuration, "", &with_file);
    assert_eq!(proof.notes, [""; 0], "the file may have it");
    assert_eq!(proof.values["seed"].proof, Some(FlagProof::Unknown));
}

#[test]
fn variables_are_compared_by_name_and_a_secret_is_not_shown() {
    let mut asked = configuration(&json!({}), &json!({}));
    for (name, value) in [("NCCL_P2P_DISABLE", "1"), ("VLLM_X", "a"), ("HF_TOKEN", "hf-asked")] {
        asked.environment.insert(name.to_owned(), value.to_owned());
    }
    let with = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let environment = Some(pairs.collect());
        ProcessReading::Whole(ServerProcess { flags: Flags::new(), environment })
    };
    let good = with(&[("NCCL_P2P_DISABLE", "1"), ("VLLM_X", "a"), ("HF_TOKEN", "hf-asked")]);
    let proof = proven(&asked, "", &good);
    assert_eq!(proof.failure(), None);
    assert_eq!(proof.values["environment.VLLM_X"].proof, Some(FlagProof::Passed));
    assert!(!proof.values.contains_key("environment.HF_TOKEN"));
    let proof = proven(&asked, "", &with(&[("VLLM_X", "b"), ("HF_TOKEN", "hf-other")]));
    assert_eq!(
        seen(&proof),
        [
            "the variable HF_TOKEN did not reach vLLM: its process has another value",
            "the variable NCCL_P2P_DISABLE=1 did not reach vLLM: its process does not have the variable",
            "the variable VLLM_X=a did not reach vLLM: its process has VLLM_X=b",
        ]
    );
    let proof = proven(&asked, "", &whole(&json!({})));
    assert_eq!(proof.failure(), None, "not readable is not missing");
    assert_eq!(proof.values["environment.VLLM_X"].proof, Some(FlagProof::Unknown));
    assert!(proof.notes[0].starts_with("the environment of the vLLM process cannot be read"));
}

#[test]
fn variables_that_vllm_does_not_know_are_reported() {
    let mut asked = configuration(&json!({}), &json!({}));
    asked.environment.insert("VLLM_ATENTION".to_owned(), "x".to_owned());
    let log = "(APIServer pid=1) WARNING 05-30 07:09:38 [envs.py:2057] Unknown vLLM environment \
               variable detected: VLLM_ATENTION\nUnknown vLLM environment variable detected: \
               VLLM_BUILD_COMMIT\n";
    let proof = proven(&asked, log, &ProcessReading::None);
    assert_eq!(
        proof.notes,
        [
            "this release of vLLM does not know the variable VLLM_ATENTION: it has no effect",
            "vLLM warns of variables that it does not know: VLLM_BUILD_COMMIT",
        ]
    );
}

#[test]
fn nothing_of_a_secret_flag_is_judged_or_shown() {
    let configuration = configuration(&json!({}), &json!({"hf-token": "hf-1", "a.token": "t"}));
    let proof =
        proven(&configuration, "non-default args: {'hf_token': 'hf-2'}", &whole(&json!({})));
    assert_eq!((proof.failure(), proof.values.contains_key("hf-token")), (None, false));
}

#[test]
fn an_argument_that_cannot_be_compared_is_not_proven() {
    let configuration = configuration(
        &json!({"max-model-len": "$N"}),
        &json!({"speculative-config": {"method": "mtp"}, "tokenizer": "/m/A"}),
    );
    let arguments = json!({"max-model-len": 4096, "speculative-config": "other",
                           "tokenizer": "/m/A"});
    let proof = proven(&configuration, "", &whole(&arguments));
    for name in ["max-model-len", "speculative-config"] {
        let shown = &proof.values[name];
        assert_eq!((shown.proof, shown.source.as_str()), (Some(FlagProof::Unknown), "process"));
        assert_eq!(shown.value.as_ref(), arguments.get(name));
    }
    assert_eq!(proof.values["tokenizer"].proof, Some(FlagProof::Passed));
    assert_eq!(proof.failure(), None);
}

#[test]
fn a_varied_path_in_another_case_or_expanded_did_not_arrive() {
    for (asked, argument) in [("/m/A", "/m/a"), ("$M/a", "/m/a")] {
        let configuration = configuration(&json!({}), &json!({"tokenizer": asked}));
        let proof = proven(&configuration, "", &whole(&json!({"tokenizer": argument})));
        assert_eq!(proof.not_applied.len(), 1, "{asked}");
        assert_eq!(proof.values["tokenizer"].proof, Some(FlagProof::Overridden));
    }
}
