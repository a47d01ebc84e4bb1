use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn a_name_is_secret_by_a_whole_word() {
    for name in [
        "api-key",
        "API_KEY",
        "apiKey",
        "APIKey",
        "hf-token",
        "HF_TOKEN",
        "hfToken",
        "token",
        "key",
        "vllm_api_key",
        "secret-x",
        "db_Password",
        "AWS_ACCESS_KEY_ID",
        "aws.secret.access",
        "GOOGLE_CREDENTIAL",
        "--hf_token",
        "MY_SECRET_NAME",
        "OPENAI_APIKEY",
    ] {
        assert!(is_secret(name), "{name}");
    }
    for name in [
        "max-num-batched-tokens",
        "tokenizer",
        "tokens-only",
        "return-tokens-as-token-ids",
        "MAX_TOKENS",
        "TOKENIZERS_PARALLELISM",
        "",
        "xtoken",
        "monkey",
        "keyfile",
        "secretary",
        "long-prefill-token-threshold",
        "dbo-decode-token-threshold",
        "api-key-env",
        "eos_token_ids",
    ] {
        assert!(!is_secret(name), "{name}");
    }
}

fn masked(text: &str) -> String {
    Secrets::default().mask(text).into_owned()
}

#[test]
fn a_short_value_is_masked_where_its_name_stands() {
    for (text, expected) in [
        ("--api-key x --seed 1", "--api-key *** --seed 1"),
        ("--api-key=x --seed 1", "--api-key=*** --seed 1"),
        (
            "exec vllm serve m --api-key \\\n  'k 1' --seed 1",
            "exec vllm serve m --api-key \\\n  '***' --seed 1",
        ),
        ("KEY=x vllm", "KEY=*** vllm"),
        ("export HF_TOKEN=\"x y\"; a", "export HF_TOKEN=\"***\"; a"),
        (r#"{"api_key": "x", "n": 1}"#, r#"{"api_key": "***", "n": 1}"#),
        (r#"{\"api_key\":\"x\",\"n\":1}"#, r#"{\"api_key\":\"***\",\"n\":1}"#),
        ("{'api_key': ['x', 'y'], 'z': 'w'}", "{'api_key': ['***', '***'], 'z': 'w'}"),
        ("['--api-key', 'x', '--seed', '1']", "['--api-key', '***', '--seed', '1']"),
        ("Namespace(hf_token='x', n=1)", "Namespace(hf_token='***', n=1)"),
        (
            "http://u:x@h:1/a http://h/?api_key=x&b=1",
            "http://u:***@h:1/a http://h/?api_key=***&b=1",
        ),
        ("Authorization: Bearer x", "Authorization: Bearer ***"),
        ("HF_TOKEN: x", "HF_TOKEN: ***"),
        ("--api-key ${KEY:-x} -b", "--api-key ${KEY:-***} -b"),
        ("é --api-key é1 é", "é --api-key *** é"),
    ] {
        assert_eq!(masked(text), expected);
    }
}

#[test]
fn what_is_no_secret_stays() {
    for text in [
        "--max-num-seqs 64 --return-tokens-as-token-ids --seed 1",
        "--api-key $KEY --hf-token ${HF_TOKEN} --api-key --seed",
        "{'api_key': None, 'token': 5, \"key\": null, \"secret\": true}",
        "unexpected token: eof; the key is missing; key=5",
        "the variable VLLM_API_KEY (`api-key-env`) is not set",
        "generated tokens=12345678 max_tokens: 10",
        "http://127.0.0.1:8000/v1/models user@host a==b",
        "Bearer authentication is required",
        "",
    ] {
        assert_eq!(masked(text), text);
        assert!(matches!(Secrets::default().mask(text), Cow::Borrowed(_)), "{text}");
    }
}

#[test]
fn a_value_is_masked_wherever_it_appears() {
    let secrets = Secrets::default();
    let elsewhere = secrets.clone();
    secrets.add_environment([("HF_TOKEN", "hf_0123456789"), ("URL", "http://u:pass-word-1@h/")]);
    secrets.add_arguments(
        [
            "m",
            "--api-key",
            "sk-first-1",
            "sk-second-2",
            "--x",
            r#"{"a": {"api_key": "sk-third-3"}}"#,
        ]
        .into_iter()
        .chain(["--hf_token=sk-fourth-4", "exec vllm --api-key 'sk fifth-number-5' --seed 1"]),
    );
    secrets.add_text("services:\n  a:\n    environment:\n      db_password: sk-sixth-6\n      - KEY=sk-seventh-7\n");
    for value in [
        "hf_0123456789",
        "pass-word-1",
        "sk-first-1",
        "sk-second-2",
        "sk-third-3",
        "sk-fourth-4",
        "sk fifth-number-5",
        "fifth-number-5",
        "sk-sixth-6",
        "sk-seventh-7",
    ] {
        assert_eq!(elsewhere.mask(&format!("é{value}é")), "é***é", "{value}");
    }
    secrets.add_text(
        "command:\n  - --api-key\n  - sk-eighth-8\n  - 'sk-ninth-9'\n  - --seed\n  - unmasked-1\n",
    );
    assert_eq!(secrets.mask("sk-eighth-8 sk-ninth-9 unmasked-1"), "*** *** unmasked-1");
    assert_eq!(secrets.mask("u h m services"), "u h m services");
}

#[test]
fn numbers_booleans_short_values_and_names_are_not_masked_by_value() {
    let secrets = Secrets::default();
    secrets.add_pairs(["KEY=1234567890", "TOKEN=true", "SECRET=short", "PASSWORD=production"]);
    secrets.keep(["production"]);
    let text = "1234567890 true short production 1e10";
    assert_eq!(secrets.mask(text), text);
}

#[test]
fn ordinary_words_around_a_secret_are_no_secrets() {
    let secrets = Secrets::default();
    let text = "HF_TOKEN=hf_0123456789  # required for gated models on production\n\
                # API_KEY: documentation\nVLLM_API_KEY=${KEY:?missing - see documentation}\n\
                OTHER_KEY=${KEY:-sk-0123456789}\nPASSWORD='correct-horse battery-staple on production'\n";
    secrets.add_dotenv(text);
    secrets.add_text(text);
    secrets.add_text(
        "environment:\n  # HF_TOKEN: required\n  HF_TOKEN: ${HF_TOKEN:?required - documentation}\n  \
         KEY: ${KEY?documentation} # TOKEN=production\n",
    );
    let words =
        "required for gated models on production: missing, see documentation, battery-staple";
    assert_eq!(secrets.mask(words), words);
    assert_eq!(secrets.find(words), None);
    assert_eq!(secrets.mask("hf_0123456789 sk-0123456789"), "*** ***");
    assert_eq!(secrets.mask("a correct-horse battery-staple on production b"), "a *** b");
    secrets.add_text("echo '# a' ; KEY=sk-behind-a-quote");
    assert_eq!(secrets.mask("sk-behind-a-quote"), "***");
}

#[test]
fn the_lines_of_a_long_key_are_masked_but_not_found() {
    let secrets = Secrets::default();
    secrets
        .add_dotenv("TLS_KEY=\"-----BEGIN KEY-----\nabcdefghij\nklmnopqrst\n-----END KEY-----\"\n");
    assert_eq!(secrets.mask("-----BEGIN KEY-----\n  abcdefghij\n"), "-----BEGIN KEY-----\n  ***\n");
    assert_eq!(secrets.find("klmnopqrst"), None);
}

#[test]
fn a_model_behind_a_secrets_value_is_no_secret() {
    assert!(takes_several("--api_key") && !takes_several("--hf-token"));
    let secrets = Secrets::default();
    secrets.add_arguments(["serve", "--hf-token", "hf_0123456789", "Qwen/Qwen3-32B-AWQ"]);
    secrets.add_text("command:\n  - --hf-token\n  - hf_9876543210\n  - Qwen/Qwen3-0.6B\n");
    let text = "Qwen/Qwen3-32B-AWQ Qwen/Qwen3-0.6B";
    assert_eq!(secrets.mask(text), text);
    assert_eq!(secrets.mask("hf_0123456789 hf_9876543210"), "*** ***");
}

#[test]
fn a_choice_of_a_type_is_kept_where_it_is_a_secret_elsewhere() {
    use serde::Deserialize;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Choice {
        Production,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Line {
        choice: Choice,
        text: String,
    }
    let secrets = Secrets::default();
    secrets.add("production");
    let line = Line { choice: Choice::Production, text: "a production".to_owned() };
    let expected = Line { choice: Choice::Production, text: "a ***".to_owned() };
    assert_eq!(secrets.masked(line).expect("JSON"), expected);
}

#[test]
fn below_what_the_user_names_no_name_is_ours() {
    let secrets = Secrets::default();
    secrets.add("sk-0123456789");
    let mut value = json!({
        "varied": {"name": "sk-0123456789", "x": {"kind": "sk-0123456789"}},
        "environment": {"engine": "sk-0123456789"}, "name": "sk-0123456789"
    });
    assert!(secrets.mask_json(&mut value));
    assert_eq!(
        value,
        json!({
            "varied": {"name": "***", "x": {"kind": "***"}},
            "environment": {"engine": "***"}, "name": "sk-0123456789"
        })
    );
}

#[test]
fn other_spellings_of_a_value_are_masked() {
    let secrets = Secrets::default();
    secrets.add("a\"b'c$d/e");
    for text in ["a\\\"b'c$d/e", "a\"b'\\''c$d/e", "a%22b%27c%24d%2Fe", "a\"b'c$$d/e"] {
        assert_eq!(secrets.mask(text), "***", "{text}");
    }
}

#[test]
fn of_json_only_texts_are_masked_and_names_stay() {
    let secrets = Secrets::default();
    secrets.add("sk-0123456789");
    let mut value = json!({
        "name": "sk-0123456789", "id": "sk-0123456789", "n": 12,
        "flags": {"x": ["a sk-0123456789"], "api_key": "k", "token": 5},
        "message": "--api-key k"
    });
    assert!(secrets.mask_json(&mut value));
    assert_eq!(
        value,
        json!({
            "name": "sk-0123456789", "id": "sk-0123456789", "n": 12,
            "flags": {"x": ["a ***"], "api_key": "***", "token": 5},
            "message": "--api-key ***"
        })
    );
    assert!(!secrets.mask_json(&mut json!({"a": [1, "b", null]})));
}

#[test]
fn a_flags_value_with_a_secret_in_it_is_recognised() {
    assert!(is_in_value(&json!({"a": [{"api_key": "x"}]})));
    assert!(is_in_value(&json!(r#"{"api_key": "x"}"#)));
    assert!(is_in_value(&json!("http://u:x@h")));
    assert!(!is_in_value(&json!({"a": "b", "eos_token": 5, "api_key": ""})));
    assert!(!is_in_value(&json!("http://h:8000")));
}

#[test]
fn a_secret_in_a_file_is_found_as_a_whole_word() {
    let secrets = Secrets::default();
    secrets.add("sk-0123456789");
    assert_eq!(secrets.find("a: sk-0123456789\n"), Some(3));
    assert_eq!(secrets.find("a: xsk-0123456789\n"), None);
}

#[test]
fn a_file_of_many_variables_is_learned_at_once_and_all_of_it_is_masked() {
    let line =
        |at: u32| format!("KEY_{at}_TOKEN='value of {at}$x'\nURL_{at}=http://u:pass{at}word@h\n");
    let text: String = (0..10_000).map(line).collect();
    let secrets = Secrets::default();
    let began = std::time::Instant::now();
    secrets.add_dotenv(&text);
    secrets.add_text(&text);
    let log = "a line of a log with a value of 9999$x in it, and pass77word, as servers write it\n";
    let log = log.repeat(100);
    let masked = secrets.mask(&log);
    let took = began.elapsed();
    assert_eq!(masked.matches("a *** in it, and ***, as").count(), 100, "{}", &masked[..200]);
    // What grows with the square of the lines takes minutes.
    assert!(took < std::time::Duration::from_secs(10), "{took:?}");
}

proptest! {
    #[test]
    fn no_text_makes_it_fail_and_no_secret_is_left(
        text in r#"(--api-key|KEY|[a-z é"'=:{}\[\],\\$@/\n]|secret-value){0,40}"#
    ) {
        let secrets = Secrets::default();
        secrets.add("secret-value");
        secrets.add_text(&text);
        let masked = secrets.mask(&text).into_owned();
        prop_assert!(!masked.contains("secret-value"));
    }
}
