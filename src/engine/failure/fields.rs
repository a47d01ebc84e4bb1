//! Which flag a refusal names. argparse names flags; pydantic names the fields of
//! vLLM's configuration classes, some of which have another name on the command
//! line.

use crate::flags::canonical_name;

/// Fields whose flag has another name: class, field, flag. vLLM's `arg_utils.py`
/// maps them so, release after release.
const FIELDS: &[(&str, &str, &str)] = &[
    ("CacheConfig", "cache_dtype", "kv-cache-dtype"),
    ("CacheConfig", "kv_cache_memory", "kv-cache-memory-bytes"),
    ("CompilationConfig", "level", "optimization-level"),
    ("DecodingConfig", "backend", "guided-decoding-backend"),
    ("LoadConfig", "use_tqdm", "use-tqdm-on-load"),
    ("MultiModalConfig", "limit_per_prompt", "limit-mm-per-prompt"),
    ("MultiModalConfig", "processor_cache_gb", "mm-processor-cache-gb"),
    ("ParallelConfig", "data_parallel_master_ip", "data-parallel-address"),
    ("ParallelConfig", "world_size", "tensor-parallel-size"),
    ("ParallelConfig", "num_ubatches", "ubatch-size"),
    ("SchedulerConfig", "chunked_prefill_enabled", "enable-chunked-prefill"),
    ("SchedulerConfig", "policy", "scheduling-policy"),
    ("StructuredOutputsConfig", "reasoning_parser", "reasoning-parser"),
    ("AttentionConfig", "backend", "attention-backend"),
];

/// Classes that are one flag with keys of its own.
const OBJECTS: &[(&str, &str)] = &[
    ("CompilationConfig", "compilation-config"),
    ("EPLBConfig", "eplb-config"),
    ("KVEventsConfig", "kv-events-config"),
    ("KVTransferConfig", "kv-transfer-config"),
    ("KernelConfig", "kernel-config"),
    ("PoolerConfig", "pooler-config"),
    ("ProfilerConfig", "profiler-config"),
    ("SpeculativeConfig", "speculative-config"),
    ("StructuredOutputsConfig", "structured-outputs-config"),
];

/// The flag of a field of a configuration class, as a command line names it.
fn flag_of(class: Option<&str>, field: &str) -> String {
    let (head, rest) =
        field.split_once('.').map_or((field, None), |(head, rest)| (head, Some(rest)));
    let is_of = |known: &str| class.is_none_or(|class| class == known);
    let renamed =
        FIELDS.iter().find(|(known, name, _)| is_of(known) && *name == head).map(|known| known.2);
    let object = class
        .and_then(|class| OBJECTS.iter().find(|(known, _)| *known == class))
        .map(|(_, flag)| format!("{flag}.{}", head.replace('_', "-")));
    let flag = renamed.map(str::to_owned).or(object).unwrap_or_else(|| canonical_name(head));
    match rest {
        Some(rest) => format!("{flag}.{}", rest.replace('_', "-")),
        None => flag,
    }
}

/// The flag that the explaining lines of a refusal name.
pub(super) fn refused_name(lines: &[String]) -> Option<String> {
    let name = |text: &str| -> Option<String> {
        let end = text
            .find(|letter: char| !(letter.is_ascii_alphanumeric() || "-_.".contains(letter)))
            .unwrap_or(text.len());
        let name = canonical_name(&text[..end]);
        (!name.is_empty()).then_some(name)
    };
    lines.iter().enumerate().find_map(|(at, line)| {
        if let Some((_, rest)) = line.split_once("unrecognized arguments: ") {
            return rest.split_whitespace().find(|word| word.starts_with('-')).and_then(name);
        }
        if let Some((_, rest)) = line.split_once("error: argument ") {
            // `-O/--optimization-level`: the long one says more.
            let words = rest.split([':', ' ']).next().unwrap_or(rest);
            return name(words.rsplit('/').next().unwrap_or(words));
        }
        if let Some((_, rest)) = line.split_once("error: ambiguous option: ") {
            return name(rest);
        }
        if let Some((_, rest)) = line.split_once("KeyError: 'invalid ") {
            return match rest.split_once(" parser")?.0 {
                "tool call" => Some("tool-call-parser".to_owned()),
                "reasoning" => Some("reasoning-parser".to_owned()),
                _ => None,
            };
        }
        if line.contains("max_num_batched_tokens (") {
            return Some("max-num-batched-tokens".to_owned());
        }
        // Pydantic names the field on the line before, or the whole object: then none is named.
        let field = lines.get(at.checked_sub(1)?)?.trim();
        let is_field = line.contains("[type=") && !field.is_empty() && !field.contains(' ');
        is_field.then(|| flag_of(lines[..at].iter().rev().find_map(|it| class_of(it)), field))
    })
}

/// The class of `1 validation error for CacheConfig`.
fn class_of(line: &str) -> Option<&str> {
    let (_, class) = line
        .split_once("validation error for ")
        .or_else(|| line.split_once("validation errors for "))?;
    Some(class.trim())
}

/// Whether a line opens pydantic's list of what it refuses.
pub(super) fn opens_refusal(line: &str) -> bool {
    class_of(line).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_the_names_of_their_flags() {
        let cases = [
            (Some("CacheConfig"), "cache_dtype", "kv-cache-dtype"),
            (None, "cache_dtype", "kv-cache-dtype"),
            (Some("CacheConfig"), "gpu_memory_utilization", "gpu-memory-utilization"),
            (Some("SchedulerConfig"), "policy", "scheduling-policy"),
            (Some("SchedulerConfig"), "max_num_seqs", "max-num-seqs"),
            (
                Some("SpeculativeConfig"),
                "num_speculative_tokens",
                "speculative-config.num-speculative-tokens",
            ),
            (Some("ModelConfig"), "hf_overrides.rope_scaling", "hf-overrides.rope-scaling"),
        ];
        for (class, field, flag) in cases {
            assert_eq!(flag_of(class, field), flag);
        }
    }

    #[test]
    fn argparse_and_pydantic_name_it() {
        let named = |text: &str| {
            refused_name(&text.lines().map(str::to_owned).collect::<Vec<_>>()).unwrap_or_default()
        };
        assert_eq!(
            named("vllm: error: argument -O/--optimization-level: bad"),
            "optimization-level"
        );
        assert_eq!(named("vllm: error: ambiguous option: --max-num could match"), "max-num");
        let list = "pydantic_core._pydantic_core.ValidationError: 2 validation errors for CacheConfig\n\
                    cache_dtype\n  Input should be 'auto' [type=literal_error, input_value='x']";
        assert_eq!(named(list), "kv-cache-dtype");
        let whole = "ValidationError: 1 validation error for ModelConfig\n  Value error, no [type=value_error, input_value=1]";
        assert_eq!(named(whole), "");
    }
}
