//! What the parser reads is what a real `sh` passes on, and what is edited arrives.

use std::process::Command;

use proptest::prelude::*;

use super::*;

/// Runs a script with a stub called `vllm` that prints its arguments, NUL-separated.
fn run(script: &str) -> Vec<String> {
    let folder = stub();
    let output = Command::new("sh")
        .arg("-c")
        .arg(script)
        .env("PATH", format!("{}:/usr/bin:/bin", folder.display()))
        .output()
        .expect("sh runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let at = text.find('\u{1}').map_or(text.len(), |at| at + 1);
    let end = text[at..].find('\u{2}').map_or(text.len(), |e| at + e);
    text[at..end].split_terminator('\0').map(str::to_owned).collect()
}

fn stub() -> &'static std::path::Path {
    static FOLDER: std::sync::OnceLock<std::path::PathBuf> = std::sync::OnceLock::new();
    FOLDER.get_or_init(|| {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = std::env::temp_dir().join(format!("vllm-grid-stub-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("vllm");
        let text = "#!/bin/sh\nprintf '\\001'\nfor a in \"$@\"; do printf '%s\\0' \"$a\"; done\nprintf '\\002'\n";
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
        folder
    })
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9é/._:=-]{1,10}",
        "[ -~é]{0,12}",
        Just(r#"{"a": "b c", "n": 3}"#.to_owned()),
    ]
}

/// A text as somebody may have quoted it, in one or several pieces.
fn quoted() -> impl Strategy<Value = String> {
    prop::collection::vec(
        (text(), 0..4u8).prop_map(|(text, how)| match how {
            0 => quote(&text),
            1 => {
                let mut out = String::from("\"");
                for c in text.chars() {
                    if "\"\\$`".contains(c) {
                        out.push('\\');
                    }
                    out.push(c);
                }
                out + "\""
            }
            2 => text.chars().flat_map(|c| ['\\', c]).collect(),
            _ => format!("'{}'", text.replace('\'', "")),
        }),
        1..3,
    )
    .prop_map(|pieces| pieces.concat())
    .prop_filter("not empty", |raw| !raw.is_empty())
}

fn separator() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(" ".to_owned()),
        Just(" \\\n  ".to_owned()),
        // One blank, none, or a tab behind the line's end.
        Just(" \\\n ".to_owned()),
        Just(" \\\n".to_owned()),
        Just("\\\n\t".to_owned()),
        Just("\t".to_owned()),
        Just("  \\\n\\\n\t ".to_owned())
    ]
}

fn frame() -> impl Strategy<Value = (&'static str, &'static str)> {
    prop_oneof![
        Just(("", "")),
        Just((
            "set -e\n# prêt: 'é\ni=0\nwhile [ $i -lt 2 ]; do i=$((i+1)); done\nexec ",
            " 2>&1\n"
        )),
        Just(("true && ", " &\nwait")),
        Just(("exec ", "</dev/null\n")),
        Just(("if true; then\n  ", "\nelse echo \"vllm serve\"; fi")),
        Just(("f() { env A='é b' nice ", "; }\nf")),
        Just(("( cat <<E >/dev/null\nvllm 'serve\nE\n", " | cat )")),
        Just(("case x in x) timeout 9 ", ";; *) exit 1;; esac")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn words_are_those_that_a_shell_passes_and_edits_change_nothing_else(
        words in prop::collection::vec((separator(), quoted()), 1..7),
        (before, after) in frame(),
        with in prop::collection::vec(text(), 0..3),
        at in any::<prop::sample::Index>(),
        run_of in 1..4usize,
        appended in prop::collection::vec(text(), 0..3),
    ) {
        let body: String = words.iter().flat_map(|(space, word)| [space.clone(), word.clone()]).collect();
        let script = format!("{before}vllm serve{body}{after}");
        let read = Script::read(&script, &[]).map_err(|e| TestCaseError::fail(format!("{e}\n{script}")))?;
        let passed = run(&script);
        prop_assert_eq!(passed.first().map(String::as_str), Some("serve"), "{}", script);
        let values: Vec<Option<String>> = read.arguments().iter().map(|word| word.value.clone()).collect();
        prop_assert_eq!(values.len(), passed.len() - 1, "{}", script);
        for (value, passed) in values.iter().zip(&passed[1..]) {
            if let Some(value) = value { prop_assert_eq!(value, passed, "{}", &script); }
        }
        prop_assert_eq!(read.edited(&[], &[]).0, script.clone());
        let at = at.index(values.len());
        let end = (at + run_of).min(values.len());
        let edit = Edit { words: at..end, with: with.clone() };
        let (changed, _) = read.edited(&[edit], &appended);
        let mut expected = passed.clone();
        expected.splice(at + 1..=end, with);
        expected.extend(appended);
        prop_assert_eq!(run(&changed), expected, "{}", changed);
    }
}

#[test]
fn a_number_before_a_redirection_is_no_descriptor() {
    let read = Script::read("vllm serve m \\<</dev/null\n", &[]).expect("a script");
    let (changed, _) = read.edited(&[], &["--max-num-seqs".to_owned(), "8".to_owned()]);
    assert_eq!(changed, "vllm serve m \\< --max-num-seqs 8 </dev/null\n");
}

/// The words of a script's arguments, `None` where only a shell knows them.
fn values(script: &Script) -> Vec<Option<&str>> {
    script.arguments().iter().map(|word| word.value.as_deref()).collect()
}

#[test]
fn a_script_in_a_variable_does_not_hide_the_command_beside_it() {
    let watchdog = "bash -c \"while sleep 30; do curl localhost:$PORT/health || kill 1; done\" &\n";
    let script = format!("{watchdog}exec vllm serve m --seed 1");
    let read = Script::read(&script, &[]).expect("the last line starts vLLM");
    assert_eq!((read.line(), read.arguments().len()), (2, 3));
    assert_eq!(Script::read(watchdog, &[]), Err(ScriptError::Expansion { line: 1 }));
    // What names vLLM may be a second start.
    let script = format!("true\nbash -c \"$ENV vllm serve n\" &\n{script}");
    assert_eq!(Script::read(&script, &[]), Err(ScriptError::Expansion { line: 2 }));
}

#[test]
fn the_first_command_that_may_start_vllm_is_named_and_rather_one_with_exec() {
    let reason = |script: &str| Script::read(script, &[]).expect_err(script).to_string();
    let script = "/tools/vllm-check a\n/tools/wait --for vllm\n";
    assert!(reason(script).ends_with("line 1 runs `vllm-check`"), "{}", reason(script));
    let script = format!("{script}exec \"$CMD\" --key sk-1\nexec /later.sh\n");
    assert!(reason(&script).ends_with("line 3 runs `$CMD`"), "{}", reason(&script));
    let script = "exec ${CMD:-/start --key sk-1}";
    assert!(reason(script).ends_with("line 1 runs `...`"), "{}", reason(script));
    // The reason is that of the script inside.
    let script = "true\nbash -c '\nexec /launch.sh'";
    assert!(reason(script).ends_with("line 3 runs `launch.sh`"), "{}", reason(script));
    let script = "true\nexec bash -c 'if'";
    assert_eq!(Script::read(script, &[]), Err(ScriptError::Syntax { line: 2 }));
}

#[test]
fn a_script_inside_a_script_has_the_arguments_behind_it() {
    let script =
        r#"cd / && exec bash -c 'exec vllm serve "$@" --seed 1' _ m --max-num-seqs 4 "$X" > /log"#;
    let read = Script::read(script, &[]).expect("it is seen through");
    let words = [Some("m"), Some("--max-num-seqs"), Some("4"), None, Some("--seed"), Some("1")];
    assert_eq!(values(&read), words);
    let edit = Edit { words: 1..3, with: vec!["--max-num-seqs".to_owned(), "8 9".to_owned()] };
    let (changed, _) = read.edited(&[edit], &["--b".to_owned()]);
    let x = "X=x; ";
    assert_eq!(
        run(&format!("{x}{changed}").replace(" > /log", "")),
        ["serve", "m", "--max-num-seqs", "8 9", "x", "--seed", "1", "--b"],
        "{changed}"
    );
    assert_eq!(read.edited(&[], &[]).0, script);

    // The outer script's own arguments, passed through.
    let outer = r#"exec bash -c 'exec vllm serve "$@"' _ "$@""#;
    let own = ["m", "--seed", "1"].map(str::to_owned);
    let read = Script::read(outer, &own).expect("it is seen through");
    assert_eq!(values(&read), [Some("m"), Some("--seed"), Some("1")]);
    let edit = Edit { words: 1..3, with: vec!["--seed".to_owned(), "2".to_owned()] };
    let expected = ["m", "--seed", "2"].map(str::to_owned).to_vec();
    assert_eq!(read.edited(&[edit], &[]), (outer.to_owned(), expected));
}

#[test]
fn a_process_substitution_is_a_word() {
    let script = "exec vllm serve --chat-template <(cat /é) m --seed 1 2> >(tee /log)";
    let read = Script::read(script, &[]).expect("it is seen through");
    let words = [Some("--chat-template"), None, Some("m"), Some("--seed"), Some("1")];
    assert_eq!(values(&read), words);
    assert_eq!(read.arguments()[1].raw, "<(cat /é)");
    let edit = Edit { words: 0..2, with: Vec::new() };
    let changed = read.edited(&[edit], &["--b".to_owned()]).0;
    assert_eq!(changed, "exec vllm serve  m --seed 1 --b 2> >(tee /log)");
}
