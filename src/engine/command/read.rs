//! What a command asks for, as flags. Other than vLLM's parser this refuses
//! nothing: an image may be of another release than the table of flags. Keys
//! never come out of here, nor what the tool sets itself (address, model, served
//! name).

use serde_json::Value;

use super::{begins, spelling};
use crate::configuration::Flags;
use crate::engine::shell::Word;
use crate::flags;

/// Words that may come before the model.
const PROGRAM: &[&str] = &["vllm", "serve"];

/// The model and the flags of some arguments. What only the container can expand is
/// as it is written (`$N`): [`flags::is_unexpanded`] recognises it.
pub fn read(arguments: &[Word]) -> (Option<String>, Flags) {
    let command: Vec<String> =
        arguments.iter().map(|it| it.value.as_ref().unwrap_or(&it.raw).clone()).collect();
    let command = command.as_slice();
    let first = command.iter().position(|word| begins(word)).unwrap_or(command.len());
    let leading = command[..first].last().filter(|word| !PROGRAM.contains(&word.as_str()));
    let mut flags = Flags::new();
    let mut known: Vec<&[String]> = Vec::new();
    for option in options(&command[first..]) {
        let (Some(name), inline) = spelling(&option[0]) else { continue };
        let positive = name.strip_prefix("no-").unwrap_or(&name);
        if positive.split('.').any(flags::is_secret) {
            continue;
        }
        // A key of a JSON option stays one, so that the grid can replace it alone.
        if !name.contains('.') && flags::parse_argv(option).is_ok() {
            known.push(option);
            continue;
        }
        let (name, value) = match values(inline, &option[1..]) {
            Some(value) => (name, value),
            None if name == positive => (name, Value::Bool(true)),
            None => (positive.to_owned(), Value::Bool(false)),
        };
        flags.insert(name, value);
    }
    // Together where they can be: an option that is repeated adds up.
    let line = match flags::parse_argv(&known.concat()) {
        Ok(line) => vec![line],
        Err(_) => known.iter().filter_map(|option| flags::parse_argv(option).ok()).collect(),
    };
    let mut model = None;
    for part in line {
        model = part.model.or(model);
        flags.extend(part.flags);
    }
    flags.retain(|name, _| !flags::is_owned(name) && !flags::is_secret(name));
    (model.or(leading.cloned()), flags)
}

/// Where the model stands before the first option.
pub(super) fn positional_model(arguments: &[Word]) -> Option<usize> {
    let known = |word: &Word| word.value.as_ref().unwrap_or(&word.raw).clone();
    let first = arguments.iter().position(|word| begins(&known(word))).unwrap_or(arguments.len());
    let last = first.checked_sub(1)?;
    (!PROGRAM.contains(&known(&arguments[last]).as_str())).then_some(last)
}

/// An option with the words that follow it, one after another.
fn options(command: &[String]) -> impl Iterator<Item = &[String]> {
    command.chunk_by(|_, next| !begins(next))
}

/// The value of an option that the table does not know, as YAML would type it.
fn values(inline: Option<&str>, following: &[String]) -> Option<Value> {
    let typed = |text: &str| match serde_json::from_str(text) {
        Ok(Value::String(_) | Value::Null) | Err(_) => Value::from(text),
        Ok(value) => value,
    };
    match (inline, following) {
        (Some(text), _) => Some(typed(text)),
        (None, []) => None,
        (None, [text]) => Some(typed(text)),
        (None, texts) => Some(texts.iter().map(|text| typed(text)).collect()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::literal;
    use super::*;

    fn read_text(text: &str) -> (Option<String>, Value) {
        let (model, flags) =
            read(&literal(&shell_words::split(text).expect("the test quotes well")));
        (model, serde_json::to_value(flags).expect("JSON"))
    }

    #[test]
    fn a_production_command_is_read_without_its_key_and_its_address() {
        let (model, flags) = read_text(
            "Qwen/Qwen3-32B-AWQ --host 0.0.0.0 --port 5002 --api-key sk-1 sk-2 -tp 2 --max_model_len=131072 \
             --gpu-memory-utilization 0.85 --enable-prefix-caching --no-enable_chunked_prefill \
             --served-model-name q --hf-overrides '{\"a\": {\"b c\": 1.5}}' --max-num-seqs 32",
        );
        assert_eq!(model.as_deref(), Some("Qwen/Qwen3-32B-AWQ"));
        assert_eq!(
            flags,
            json!({
                "enable-chunked-prefill": false, "enable-prefix-caching": true,
                "gpu-memory-utilization": 0.85, "hf-overrides": {"a": {"b c": 1.5}},
                "max-model-len": 131_072, "max-num-seqs": 32, "tensor-parallel-size": 2
            })
        );
    }

    #[test]
    fn a_command_of_another_release_is_read_as_far_as_it_goes() {
        let (model, flags) = read_text(
            "serve --model m --gone_flag 3 --gone-text x --no-gone --gone-switch --enable-prefix-caching true \
             --compilation_config.level 3 --middleware a --middleware b --hf_token=t --max-num-seqs 4",
        );
        assert_eq!(model.as_deref(), Some("m"));
        assert_eq!(
            flags,
            json!({
                "compilation-config.level": 3, "enable-prefix-caching": true, "gone": false,
                "gone-flag": 3, "gone-switch": true, "gone-text": "x", "max-num-seqs": 4,
                "middleware": ["a", "b"]
            })
        );
    }

    #[test]
    fn no_command_has_no_flags() {
        assert_eq!(read_text(""), (None, json!({})));
        assert_eq!(read_text("vllm serve"), (None, json!({})));
        assert_eq!(read_text("vllm serve m"), (Some("m".to_owned()), json!({})));
    }
}
