use super::*;

/// `${A}` is `3`, `${MODEL:-m}` is `org/m`, `${EXTRA}` is `--x 1 --y 2`, `${NONE}` is empty.
fn value(raw: &str) -> String {
    let name: String = raw.chars().filter(|it| is_of_name(*it)).take(4).collect();
    match name.as_str() {
        "MODE" => "org/m",
        "EXTR" => "--x 1 --y 2",
        "NONE" => "",
        "QUOT" => "a 'b c'",
        _ => "3",
    }
    .to_owned()
}

fn template(raw: &str) -> Template {
    Template::of(raw, value)
}

fn words(raw: &[&str], target: &[&str]) -> Vec<String> {
    let own: Vec<Template> = raw.iter().map(|it| template(it)).collect();
    let target: Vec<String> = target.iter().map(|it| (*it).to_owned()).collect();
    let followed = words_followed_by(&own, &target);
    assert_eq!(followed.iter().map(Template::text).collect::<Vec<_>>(), target);
    followed.iter().map(Template::raw).collect()
}

#[test]
fn expressions_are_found_as_the_tool_finds_them() {
    let raw = "a $A ${B:-x${C}y} $$D $1 ${1} $ é${E?m}$F_1.";
    assert_eq!(expressions(raw), ["$A", "${B:-x${C}y}", "${E?m}", "$F_1"]);
    assert_eq!(template(raw).text(), "a 3 3 $D $1 ${1} $ é33.");
    assert_eq!(template("${A} $$X").raw(), "${A} $$X");
    assert_eq!(expressions("${open"), [""; 0]);
}

#[test]
fn what_is_not_changed_keeps_its_expression() {
    let own = template(
        "exec vllm serve ${MODEL:-m} \\\n  --seqs ${A} --depth '{\"n\":'\"${A}\"'}' $$X\n",
    );
    let text = own.text();
    assert_eq!(own.followed_by(&text), own);
    let longer = text.replace("--seqs 3", "--seqs 64");
    assert_eq!(own.followed_by(&longer).raw(), own.raw().replace("--seqs ${A}", "--seqs 64"));
    let appended = text.replace("$X\n", "$X --seed '$1'\n");
    assert_eq!(own.followed_by(&appended).raw(), own.raw().replace("$$X\n", "$$X --seed '$$1'\n"));
}

#[test]
fn a_value_that_is_there_by_chance_is_written_out() {
    let own = template("--x ${A} --y 5");
    assert_eq!(own.followed_by("--x 13 --y 5").raw(), "--x 13 --y 5");
    assert_eq!(own.followed_by("--x 32 --y 5").raw(), "--x 32 --y 5");
    assert_eq!(own.followed_by("--x 3 --y 6").raw(), "--x ${A} --y 6");
    assert_eq!(words(&["--a", "${A}", "--b", "4"], &["--b", "3"]), ["--b", "3"]);
}

#[test]
fn words_keep_what_they_had() {
    let own = ["serve", "${MODEL:-m}", "--seqs", "${A}", "--kv=${A}", "--seed", "1"];
    let changed = ["serve", "org/m", "--seqs", "8", "--kv=3", "--seed", "2", "--cost", "$5"];
    assert_eq!(
        words(&own, &changed),
        ["serve", "${MODEL:-m}", "--seqs", "8", "--kv=${A}", "--seed", "2", "--cost", "$$5"]
    );
    assert_eq!(words(&own, &["serve", "org/m"]), ["serve", "${MODEL:-m}"]);
    assert_eq!(words(&["${A}"], &[]), [""; 0]);
}

#[test]
fn a_text_is_split_as_a_shell_splits_it_and_loses_what_is_no_part_of_a_word() {
    let own = template(
        "vllm serve ${MODEL:-m} ${EXTRA} ${NONE} --n '{\"n\":'\"${A}\"'}' a\\ b \"\\$$z\" ''",
    );
    let (words, lost) = own.words().expect("its quotes end");
    let raw: Vec<String> = words.iter().map(Template::raw).collect();
    let expected = [
        "vllm",
        "serve",
        "${MODEL:-m}",
        "--x",
        "1",
        "--y",
        "2",
        "--n",
        "{\"n\":${A}}",
        "a b",
        "$$z",
        "",
    ];
    assert_eq!(raw, expected);
    assert_eq!(lost, ["${EXTRA}", "${NONE}"]);
    let texts: Vec<String> = words.iter().map(Template::text).collect();
    assert_eq!(texts, shell_words::split(&own.text()).expect("quoted well"));
    assert_eq!(template("a ${QUOTES}").words().expect("it ends").1, ["${QUOTES}"]);
    assert!(template("a 'b").words().is_none());
}

#[test]
fn a_name_ends_where_its_quotes_ended() {
    let own = template("--name $A\"b\" $A'_c' $A\"-d\" \"$A\"$A");
    let (words, lost) = own.words().expect("its quotes end");
    let raw: Vec<String> = words.iter().map(Template::raw).collect();
    assert_eq!(raw, ["--name", "${A}b", "${A}_c", "$A-d", "$A$A"]);
    assert_eq!(lost, [""; 0]);
    for (word, raw) in words.iter().zip(&raw) {
        assert_eq!(template(raw).text(), word.text(), "it is read as it was");
    }
    assert_eq!(words[1].shown(), "${A}b");
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_comes_to_what_it_follows(raw in "[a-c$ {}A'\"\\\\\n-]{0,40}", target in "\\PC{0,40}") {
            let own = template(&raw);
            prop_assert_eq!(own.followed_by(&target).text(), target);
            prop_assert_eq!(own.followed_by(&own.text()).raw(), own.raw());
            prop_assert_eq!(template(&own.raw()).text(), own.text());
        }

        #[test]
        fn words_come_to_what_they_follow(
            raw in proptest::collection::vec("(--)?[ab]{1,2}|\\$\\{A\\}|3|--a=\\$A", 0..8),
            target in proptest::collection::vec("(--)?[ab]{1,2}|3|--a=3|\\PC{0,6}", 0..8),
        ) {
            let own: Vec<Template> = raw.iter().map(|it| template(it)).collect();
            let followed = words_followed_by(&own, &target);
            prop_assert_eq!(followed.iter().map(Template::text).collect::<Vec<_>>(), target);
        }

        #[test]
        fn words_are_read_as_they_were(raw in "[ab '\"\\\\$A{}-]{0,30}") {
            for word in template(&raw).words().map(|(words, _)| words).unwrap_or_default() {
                prop_assert_eq!(template(&word.raw()).text(), word.text(), "{}", word.raw());
            }
        }

        #[test]
        fn it_splits_as_a_shell_does(raw in "[ab #'\"\\\\\n\t$A{}-]{0,30}") {
            let own = template(&raw);
            let split = own.words().map(|(words, _)| words.iter().map(Template::text).collect::<Vec<_>>());
            prop_assert_eq!(split, shell_words::split(&own.text()).ok());
        }
    }
}
