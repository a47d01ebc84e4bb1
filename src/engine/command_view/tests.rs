use serde_json::{Value, json};

use super::*;
use crate::engine::command::Change;

fn words(text: &str) -> Vec<String> {
    shell_words::split(text).expect("the test quotes well")
}

fn set(pairs: &Value) -> Flags {
    pairs.as_object().expect("a mapping").clone().into_iter().collect()
}

fn script(text: &str) -> CommandView {
    CommandView::new(Some(words("/bin/sh -c")), Some(vec![text.to_owned()]), None)
}

fn image(entrypoint: &str, command: &str) -> ImageCommand {
    ImageCommand { entrypoint: words(entrypoint), command: words(command) }
}

fn flags(view: &CommandView) -> Value {
    serde_json::to_value(view.read().1).expect("JSON")
}

fn configuration(varied: &Value) -> Configuration {
    let varied = set(varied);
    Configuration {
        name: "c".to_owned(),
        aliases: Vec::new(),
        id: "0".to_owned(),
        flags: varied.clone(),
        varied,
        environment: std::collections::BTreeMap::new(),
        ..Default::default()
    }
}

/// A service as its owner writes it today: a guard loop, flags on continued lines,
/// quoting across variables, a watchdog beside it.
const GUARD: &str = r#"set -e
# Attend que le dépôt soit monté (« fantôme » sinon)
i=0
while ! find /hf -size +4G | grep -q .; do
  i=$((i+1)); [ "$i" -gt 60 ] && { echo "dépôt absent: vllm serve n'est pas lancé" >&2; exit 1; }
  sleep 1
done
watchdog --every 30 &
exec vllm serve "${MODEL:-/hf/modèle}" \
  --host 0.0.0.0 --port 8080 \
  --api-key "$KEY" \
  --max-num-seqs 32 \
  --kv-cache-dtype ${KV_DTYPE:-fp8} \
  --speculative-config '{"method":"mtp","num_speculative_tokens":'"${MTP_TOKENS:-3}"'}' \
  --enable-prefix-caching \
  --max-model-len 131072 2>&1
"#;

/// Of a service whose model the grid leaves as it is.
fn changes(view: &CommandView, own: &Flags, configuration: &Configuration) -> Shown {
    super::changes(view, view, own, configuration)
}

#[test]
fn a_guarded_script_is_read_and_changed_at_its_places_only() {
    let view = script(GUARD);
    assert_eq!(view.unreadable(), None);
    assert_eq!((view.port(), view.part()), (8080, Part::Command));
    assert!(view.has("api-key"));
    let (model, read) = view.read();
    assert_eq!(model.as_deref(), Some(r#""${MODEL:-/hf/modèle}""#));
    assert_eq!(read["max-num-seqs"], json!(32));
    assert_eq!(read["enable-prefix-caching"], json!(true));
    assert!(flags::is_unexpanded(&read["kv-cache-dtype"]), "{read:?}");
    assert!(flags::is_unexpanded(&read["speculative-config"]), "{read:?}");
    assert!(!read.contains_key("api-key") && !read.contains_key("port"));

    let changed = view.configured(&configuration(&json!({
        "max-num-seqs": 64,
        "enable-prefix-caching": null,
        "speculative-config": {"method": "mtp", "num_speculative_tokens": 8},
        "served-name-x": "l'été"
    })));
    let text = &changed.command().expect("a command")[0];
    let expected = GUARD
        .replace("--max-num-seqs 32", "--max-num-seqs 64")
        .replace("--enable-prefix-caching", "")
        .replace(
            r#"'{"method":"mtp","num_speculative_tokens":'"${MTP_TOKENS:-3}"'}'"#,
            r#"'{"method":"mtp","num_speculative_tokens":8}'"#,
        )
        .replace("131072 2>&1", r"131072 --served-name-x 'l'\''été' 2>&1");
    assert_eq!(*text, expected);
    assert_eq!(changed.entrypoint(), Some(words("/bin/sh -c").as_slice()));
}

#[test]
fn only_changed_lines_of_a_script_are_shown_and_no_secret() {
    let text = GUARD.replace("--api-key \"$KEY\" \\\n", "--api-key sk-abc --max-num-seqs 16 \\\n");
    let shown =
        changes(&script(&text), &Flags::new(), &configuration(&json!({"max-num-seqs": 64})));
    let Shown::Lines(lines) = shown else { panic!("a script: {shown:?}") };
    let lines: Vec<(usize, Change)> = lines.into_iter().map(|it| (it.line, it.change)).collect();
    assert_eq!(
        lines,
        [
            (11, Change::Removed("  --api-key *** --max-num-seqs 16 \\".to_owned())),
            (12, Change::Removed("  --max-num-seqs 32 \\".to_owned())),
            (11, Change::Added("  --api-key *** --max-num-seqs 64 \\".to_owned())),
            (12, Change::Added("   \\".to_owned())),
        ]
    );
    let same = changes(&script(GUARD), &Flags::new(), &configuration(&json!({})));
    assert_eq!(same, Shown::Lines(Vec::new()));
}

#[test]
fn a_long_script_is_compared_where_it_changes() {
    let guard = "echo a line of the script\n".repeat(5_000);
    let view = script(&format!("{guard}vllm serve m --seed 1\n{guard}"));
    let Shown::Lines(lines) = changes(&view, &Flags::new(), &configuration(&json!({"seed": 2})))
    else {
        panic!("a script")
    };
    let lines: Vec<(usize, Change)> = lines.into_iter().map(|it| (it.line, it.change)).collect();
    let line = |seed: u32| format!("vllm serve m --seed {seed}");
    let expected = [Change::Removed(line(1)), Change::Added(line(2))];
    assert_eq!(lines, expected.map(|change| (5_001, change)));
}

#[test]
fn a_long_line_is_shown_around_its_change() {
    let text =
        format!("cd / && VLLM_API_KEY='sk 1' vllm serve m {} --seed 1", "--x yz ".repeat(30));
    let shown = changes(&script(&text), &Flags::new(), &configuration(&json!({"seed": 2})));
    let Shown::Lines(lines) = shown else { panic!("a script: {shown:?}") };
    let texts: Vec<&String> = lines
        .iter()
        .map(|it| match &it.change {
            Change::Removed(text) | Change::Added(text) => text,
        })
        .collect();
    assert!(texts[0].starts_with("... ") && texts[0].ends_with("--seed 1"), "{texts:?}");
    assert!(texts[1].ends_with("--seed 2") && texts[1].len() < 60, "{texts:?}");
    let nested = script("bash -ec 'exec vllm serve m --api-key sk-1 --seed 1'");
    let shown = changes(&nested, &Flags::new(), &configuration(&json!({"seed": 2})));
    let shown = format!("{shown:?}");
    assert!(shown.contains("--seed 2") && !shown.contains("sk-1"), "{shown}");
    let text = "VLLM_API_KEY='sk 1' vllm serve m --hf-token=t --seed 1";
    let shown = changes(&script(text), &Flags::new(), &configuration(&json!({"seed": 2})));
    assert!(
        !format!("{shown:?}").contains("sk 1") && !format!("{shown:?}").contains("=t"),
        "{shown:?}"
    );
}

#[test]
fn a_flag_is_one_in_all_spellings() {
    for spelt in ["-O3", "-O 3", "-O=3", "--optimization-level 3", "--optimization_level=3"] {
        let view =
            CommandView::new(None, Some(words(&format!("--model m {spelt} --seed 1"))), None);
        assert_eq!(flags(&view), json!({"optimization-level": "3", "seed": 1}), "{spelt}");
        let same = view.configured(&configuration(&json!({"optimization-level": "0"})));
        assert_eq!(same.words(), words("--model m --optimization-level 0 --seed 1"), "{spelt}");
        let gone = view.configured(&configuration(&json!({"optimization-level": null})));
        assert_eq!(gone.words(), words("--model m --seed 1"), "{spelt}");
    }
}

#[test]
fn entry_point_and_command_are_one_vector_with_the_image_s_own() {
    // Flags in the entry point are replaced there, and it may become shorter.
    let view = CommandView::new(
        Some(words("vllm serve m --max-num-seqs 32 --seed 1")),
        Some(words("--port 9000")),
        None,
    );
    assert_eq!((view.port(), flags(&view)), (9000, json!({"max-num-seqs": 32, "seed": 1})));
    let changed = view.overlaid(&set(&json!({"max-num-seqs": null, "seed": 2, "x": 1})));
    assert_eq!(changed.entrypoint(), Some(words("vllm serve m --seed 2").as_slice()));
    assert_eq!(changed.command(), Some(words("--port 9000 --x 1").as_slice()));
    // The image's command counts where the service has neither.
    let view = CommandView::new(None, None, Some(image("vllm serve", "m --seed 1")));
    assert_eq!(view.read().0.as_deref(), Some("m"));
    let changed = view.overlaid(&set(&json!({"seed": 2})));
    assert_eq!(
        (changed.entrypoint(), changed.command()),
        (None, Some(words("m --seed 2").as_slice()))
    );
    // A service's entry point takes it away.
    let view = CommandView::new(
        Some(words("vllm serve n")),
        None,
        Some(image("vllm serve", "m --seed 1")),
    );
    assert_eq!((view.read().0.as_deref(), flags(&view)), (Some("n"), json!({})));
    // An image that runs a script by itself.
    let view =
        CommandView::new(None, None, Some(image("/bin/sh -c 'exec vllm serve m --seed 1'", "")));
    let changed = view.overlaid(&set(&json!({"seed": 2})));
    assert_eq!(
        changed.entrypoint(),
        Some(words("/bin/sh -c 'exec vllm serve m --seed 2'").as_slice())
    );
}

#[test]
fn arguments_of_a_script_reach_vllm_through_its_words() {
    let view = CommandView::new(
        Some(words(r#"sh -c 'exec vllm serve m --seed 1 "$@"' name"#)),
        Some(words("--max-num-seqs 8 --port 81")),
        None,
    );
    assert_eq!((view.port(), flags(&view)), (81, json!({"max-num-seqs": 8, "seed": 1})));
    let changed = view.overlaid(&set(&json!({"max-num-seqs": 16, "seed": 2, "x": 3})));
    assert_eq!(
        changed.words(),
        words(r#"sh -c 'exec vllm serve m --seed 2 "$@" --x 3' name --max-num-seqs 16 --port 81"#)
    );
    // The first word behind a script is its name.
    let view = CommandView::of_vector(&words(r#"sh -c 'exec vllm serve "$@"' m --seed 1"#));
    assert_eq!(flags(&view), json!({"seed": 1}));
    assert_eq!(view.read().0, None);
}

#[test]
fn what_cannot_be_seen_through_is_named_with_its_line() {
    for (text, expected) in [
        (
            "exec vllm serve m\n vllm serve n",
            "several commands of the script start vLLM (lines 1, 2)",
        ),
        (
            "set -e\nexec /launch.sh m",
            "no command of the script starts vLLM; line 2 runs `launch.sh`",
        ),
        ("if then", "line 1: the script cannot be parsed"),
        (
            "true\nexec vllm serve m $EXTRA_ARGS",
            "line 2 of the script takes flags out of `$EXTRA_ARGS`, which only the container can expand",
        ),
        (
            "exec vllm serve m --api-key k $EXTRA",
            "line 1 of the script takes flags out of `$EXTRA`, which only the container can expand",
        ),
        (
            "f() { vllm serve m \"$@\"; }\nf --seed 1",
            "line 1 of the script takes flags out of `$@`, which only the container can expand",
        ),
    ] {
        let view = script(text);
        let why = view.unreadable().map(ToString::to_string);
        assert_eq!(why.as_deref(), Some(expected), "{text}");
        assert_eq!(flags(&view), json!({}));
        assert_eq!(view.overlaid(&set(&json!({"seed": 1}))), view, "it is not changed");
    }
    let launcher = CommandView::new(Some(words("/bin/sh /launch.sh")), Some(Vec::new()), None);
    let why = launcher.unreadable().map(ToString::to_string);
    assert_eq!(
        why.as_deref(),
        Some("`sh /launch.sh` is not known to pass its arguments on to vLLM")
    );
    assert_eq!(launcher.part(), Part::Entrypoint);
    // One that gets the whole command line passes it on.
    let view =
        CommandView::new(Some(words("/entry.sh")), Some(words("vllm serve m --seed 1")), None);
    assert_eq!(flags(&view), json!({"seed": 1}));
    // In the process engine the program itself takes the arguments.
    assert_eq!(CommandView::of_vector(&words("./serve.py m --seed 1")).unreadable(), None);
}

#[test]
fn values_out_of_variables_are_no_flags_out_of_variables() {
    for text in [
        r#"vllm serve "$MODEL" --max-num-seqs $N --port=$PORT --served-model-name $A "$B""#,
        "vllm serve $MODEL --max-num-seqs \"$N\"",
        "vllm serve --model $MODEL --seed 1 # $EXTRA_ARGS",
        "vllm serve m --api-key $KEY",
        "vllm serve m --api-key $KEY \"$OLD_KEY\" --seed 1",
    ] {
        assert_eq!(script(text).unreadable(), None, "{text}");
    }
    let view = script(r#"vllm serve "$MODEL" --max-num-seqs $N --port=$PORT"#);
    assert_eq!((view.port(), view.value("max-num-seqs")), (8000, None));
    assert_eq!(view.variable("port").as_deref(), Some("PORT"));
    assert_eq!(view.variable("max-num-seqs").as_deref(), Some("N"));
    let view = script(r#"vllm serve m --api-key "${KEY}" --seed "${SEED:-1}" --x 1"#);
    assert_eq!(view.variable("api-key").as_deref(), Some("KEY"));
    assert_eq!((view.variable("seed"), view.variable("x")), (None, None));
    let view = script(r#"vllm serve "$MODEL" --max-num-seqs $N --port=$PORT"#);
    let changed = view.overlaid(&set(&json!({"max-num-seqs": 4})));
    assert_eq!(changed.words()[2], r#"vllm serve "$MODEL" --max-num-seqs 4 --port=$PORT"#);
}

#[test]
fn a_config_file_counts_under_the_command_line() {
    let config = set(&json!({"model": "m", "max-num-seqs": 8, "seed": 7, "port": 9000}));
    let view =
        CommandView::new(None, Some(words("--config c.yaml --seed 1")), None).with_config(config);
    assert_eq!((view.port(), view.read().0.as_deref()), (9000, Some("m")));
    assert_eq!(flags(&view), json!({"max-num-seqs": 8, "seed": 1}));
    let changed = view.configured(&configuration(&json!({"max-num-seqs": 16})));
    assert_eq!(changed.words(), words("--config c.yaml --seed 1 --max-num-seqs 16"));
}

#[test]
fn a_script_of_su_is_changed_like_one_of_a_shell() {
    for text in [
        "su -c 'exec vllm serve m --seed 1'",
        "su - user -c 'exec vllm serve m --seed 1'",
        "runuser -c 'exec vllm serve m --seed 1' user",
    ] {
        let view = CommandView::new(None, Some(words(text)), None);
        assert_eq!(flags(&view), json!({"seed": 1}), "{text}");
        let changed = view.configured(&configuration(&json!({"seed": 2})));
        assert_eq!(changed.words(), words(&text.replace("--seed 1", "--seed 2")), "{text}");
    }
}

#[test]
fn arguments_that_a_script_passes_on_are_its_flags_and_joined_ones_are_not() {
    let view = CommandView::of_vector(&words("sh -c 'exec vllm serve m \"$@\"' -- --seed 1"));
    assert_eq!(flags(&view), json!({"seed": 1}));
    let changed = view.configured(&configuration(&json!({"seed": 2, "max-num-seqs": 4})));
    assert_eq!(
        changed.words(),
        words("sh -c 'exec vllm serve m \"$@\" --max-num-seqs 4' -- --seed 2")
    );
    for text in ["\"$*\"", "$*"] {
        let view = script(&format!("exec vllm serve m {text}"));
        let why = view.unreadable().map(ToString::to_string);
        assert!(why.is_some_and(|why| why.contains("takes flags out of `$*`")), "{text}");
    }
}

#[test]
fn program_text_that_is_not_a_shell_s_is_refused_and_never_repeated() {
    for text in [
        r#"env -S"bash -c" "vllm serve m --api-key SECRETKEY9 --port 8000""#,
        r#"/usr/bin/env -S "sh -c 'vllm serve m --api-key SECRETKEY9'""#,
        r#"env -vS "vllm serve m --api-key SECRETKEY9""#,
        r#"env "--split-string=vllm serve m --api-key SECRETKEY9""#,
        r#"python3 -c "os.system('vllm serve m --api-key SECRETKEY9')""#,
        r#"python3 -uc "os.system('vllm serve m --api-key SECRETKEY9')""#,
        r#"su user -c "vllm serve m --api-key SECRETKEY9" name extra"#,
        r#"perl -e "exec 'vllm serve m --api-key SECRETKEY9'""#,
        r"bash /start.sh",
        r"/start.sh",
        r#"sh -c "exec 'vllm serve m --api-key SECRETKEY9'""#,
        r#"sh -c "exec '/bin/vllm serve m --api-key SECRETKEY9'\$X""#,
    ] {
        for view in [
            CommandView::new(None, Some(words(text)), None),
            CommandView::new(Some(words(text)), None, None),
        ] {
            let why = view.unreadable().unwrap_or_else(|| panic!("not read: {text}")).to_string();
            assert!(!why.contains("SECRETKEY9"), "{why}");
            assert_eq!(view.read(), (None, Flags::new()), "{text}");
            let shown = crate::engine::command::redacted(&view.words()).join(" ");
            assert!(!shown.contains("SECRETKEY9"), "{shown}");
        }
    }
}

#[test]
fn the_names_of_a_model_are_known_where_what_is_started_is_known() {
    let image = || Some(ImageCommand::default());
    let names = |words: &[&str]| {
        let words = words.iter().map(|it| (*it).to_owned()).collect();
        CommandView::new(None, Some(words), image()).served_names().map(|it| it.join(" "))
    };
    let of_script = |text: &str| names(&["sh", "-c", text]);
    assert_eq!(names(&["vllm", "serve", "org/m", "--port", "1"]).as_deref(), Some("org/m"));
    let named = ["vllm", "serve", "org/m", "--served-model-name", "a", "b"];
    assert_eq!(names(&named).as_deref(), Some("a b"));
    assert_eq!(of_script("exec vllm serve org/m --served-model-name a").as_deref(), Some("a"));
    assert_eq!(of_script("exec vllm serve \"$MODEL\" --port 1"), None);
    assert_eq!(of_script("exec vllm serve --model=${MODEL:-org/m}"), None);
    assert_eq!(of_script("exec vllm serve org/m --served-model-name \"$NAME\""), None);
    assert_eq!(names(&["vllm", "serve"]), None);
    assert_eq!(names(&["/opt/launch", "org/m", "--served-model-name", "a"]), None, "a launcher");
    let words: Vec<String> = ["./launch", "org/m"].map(str::to_owned).to_vec();
    assert_eq!(CommandView::of_vector(&words).served_names(), None, "taken for vLLM only");
    let by_file = |flags: &serde_json::Value, words: &[&str]| {
        let words: Vec<String> = words.iter().map(|it| (*it).to_owned()).collect();
        let flags = flags.as_object().expect("a map").clone().into_iter().collect();
        CommandView::new(None, Some(words), image()).with_config(flags).served_names()
    };
    let config = ["vllm", "serve", "--config", "/c.yaml"];
    assert_eq!(by_file(&json!({}), &config), None, "it was not read");
    assert_eq!(by_file(&json!({"model": "m"}), &config), Some(vec!["m".to_owned()]));
    let file = json!({"model": "m", "served-model-name": ["a"]});
    assert_eq!(by_file(&file, &config), Some(vec!["a".to_owned()]));
    let own = ["vllm", "serve", "--config", "/c.yaml", "--served-model-name", "b"];
    assert_eq!(by_file(&file, &own), Some(vec!["b".to_owned()]));
}
