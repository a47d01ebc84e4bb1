//! What is wrong with a grid is reported with file, line, column and a snippet, all
//! of it in one pass, before anything starts.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use vllm_grid::grid::{Confirm, Grid, GridErrors, GridFile, ReadOptions};

use crate::grid_schema;

/// A grid without errors, to which each case adds one.
pub(crate) const HEAD: &str =
    "name: g\nengine: {simulated: {model: Qwen/Qwen3-0.6B, gpu: rtx-4090}}\n";
const TAIL: &str = "workloads: {kv-cache: }\nobjective: {minimize: kv_cache.ttft_resent_ms}\n";

fn read(bytes: &[u8], options: &ReadOptions) -> Result<Grid, GridErrors> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("grid.yaml");
    fs::write(&path, bytes).expect("a file");
    let read = GridFile::read(&path, options).map(GridFile::without_service);
    // Stricter than the file itself are options of a command only.
    if let (Ok(text), false, None) =
        (std::str::from_utf8(bytes), options.strict, options.engine.as_ref())
    {
        grid_schema::agrees(text, read.as_ref());
    }
    read
}

pub(crate) fn read_text(text: &str) -> Result<Grid, GridErrors> {
    read(text.as_bytes(), &ReadOptions::default())
}

/// The rendering, without the folder's name.
pub(crate) fn shown(errors: &GridErrors) -> String {
    let folder = errors.file.parent().unwrap_or(Path::new("")).display().to_string();
    errors.render(160, false).replace(&format!("{folder}/"), "")
}

fn refused(text: &str) -> String {
    match read_text(text) {
        Ok(grid) => panic!("accepted, with {:?}:\n{text}", grid.configurations),
        Err(errors) => shown(&errors),
    }
}

/// Renderings of several grids: the good one with `middle` added.
fn table(cases: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (what, middle) in cases {
        let _ = writeln!(text, "## {what}\n{}", refused(&format!("{HEAD}{middle}\n{TAIL}")));
    }
    text
}

/// Renderings of whole grids.
fn whole(cases: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (what, grid) in cases {
        let _ = writeln!(text, "## {what}\n{}", refused(grid));
    }
    text
}

#[test]
fn a_grid_without_errors_is_accepted() {
    let grid = read_text(&format!("{HEAD}parameters: {{max-num-seqs: 8}}\n{TAIL}"));
    assert_eq!(grid.expect("a good grid").configurations.len(), 1);
}

#[test]
fn all_errors_are_reported_in_one_pass_in_the_order_of_the_file() {
    let text = "name: ../x\n\
                engine: {simulated: {model: m, gpu: rtx-4090, speed: 0, gups: 2}}\n\
                baselin: a\n\
                parameters:\n  gpu-memory-utilization: [0.9, 1.7, .nan]\n  max-num-seqs: [-1]\n  \
                max_num_seqs: [8]\n  port: [1]\n  block-size: []\n\
                exclude: [{kv-cache-dtype: fp9}]\n\
                workloads: {kv-cache: {promts: 3}}\n\
                objective: {minimize: ttft}\n\
                strategy: {adaptive: {probability: 2}}\n\
                budget: 8\n";
    let errors = read_text(text).expect_err("errors everywhere");
    let places: Vec<_> = errors.errors.iter().map(|error| (error.line, error.column)).collect();
    assert!(places.is_sorted(), "{places:?}");
    insta::assert_snapshot!(shown(&errors));
}

#[test]
fn keys_are_known_and_given_once() {
    let errors = table(&[
        ("unknown key", "parmeters: {max-num-seqs: 8}"),
        ("far from any key", "xyzzy: 1\nparameters: {max-num-seqs: 8}"),
        ("duplicate key", "parameters: {max-num-seqs: 8}\nparameters: {block-size: 16}"),
        ("duplicate flag", "parameters:\n  max-num-seqs: 8\n  max-num-seqs: 16"),
        ("both spellings", "parameters:\n  max-num-seqs: 8\n  max_num_seqs: 16"),
        ("alias of a flag", "parameters:\n  tp: 1\n  tensor-parallel-size: 2"),
        ("a flag and its key", "parameters:\n  hf-overrides: {a: 1}\n  hf-overrides.b: 2"),
        ("duplicate key inside a value", "parameters: {hf-overrides: {a: 1, a: 2}}"),
        ("negated spelling", "parameters: {no-enable-prefix-caching: true}"),
        ("not a mapping", "parameters: [1, 2]"),
    ]);
    insta::assert_snapshot!(errors);
}

#[test]
fn a_misspelt_key_is_reported_once_and_not_also_as_missing() {
    let text =
        format!("{HEAD}parameters: {{max-num-seqs: 8}}\n{TAIL}").replace("engine:", "enigne:");
    let errors = read_text(&text).expect_err("misspelt");
    let messages: Vec<&str> = errors.errors.iter().map(|it| it.message.as_str()).collect();
    assert_eq!(messages, ["unknown key `enigne` in the grid"]);
}

#[test]
fn axes_and_grids_are_not_empty() {
    let errors = table(&[
        ("empty axis", "parameters: {max-num-seqs: [], block-size: 16}"),
        ("empty grid", "parameters: {}"),
        ("no parameters at all", ""),
        ("null parameters", "parameters:"),
        ("empty list of arguments", "parameters: {cudagraph-capture-sizes: [[]]}"),
        ("null among arguments", "parameters: {cudagraph-capture-sizes: [[1, null]]}"),
    ]);
    insta::assert_snapshot!(errors);
}

#[test]
fn values_have_their_type_and_range() {
    let errors = table(&[
        ("utilisation 0", "parameters: {gpu-memory-utilization: [0, 0.9]}"),
        ("utilisation 1.7", "parameters: {gpu-memory-utilization: [0.9, 1.7]}"),
        ("not a number", "parameters: {gpu-memory-utilization: .nan}"),
        ("infinite", "parameters: {gpu-memory-utilization: 1e999}"),
        ("negative count", "parameters: {max-num-seqs: [8, -8]}"),
        ("half a sequence", "parameters: {max-num-seqs: 8.5}"),
        ("decimal comma", "parameters:\n  gpu-memory-utilization: 0,85"),
        ("decimal comma in a list", "parameters:\n  gpu-memory-utilization: [0,85]"),
        ("decimal comma in a row", "include:\n  - {name: a, gpu-memory-utilization: 0,85}"),
        ("yes", "parameters: {enable-prefix-caching: yes}"),
        ("a text for a number", "parameters: {max-num-seqs: many}"),
        ("a boolean for a number", "parameters: {max-num-seqs: true}"),
        ("control characters", "parameters: {reasoning-parser: \"a\\e[2J\"}"),
        ("control characters in a variable", "environment: {A: \"a\\e[2J\"}"),
        ("unknown choice", "parameters: {kv-cache-dtype: fp16}"),
        ("in an include", "include: [{name: a, max-num-seqs: 0}]"),
    ]);
    insta::assert_snapshot!(errors);
}

#[test]
fn names_are_unique_and_stay_in_their_folder() {
    let errors = table(&[
        ("two of one name", "include: [{name: a, max-num-seqs: 8}, {name: a, max-num-seqs: 9}]"),
        ("parent folder", "include: [{name: ../x, max-num-seqs: 8}]"),
        ("absolute", "include: [{name: /x, max-num-seqs: 8}]"),
        ("dots", "include: [{name: .., max-num-seqs: 8}]"),
        ("empty", "include: [{name: \"\", max-num-seqs: 8}]"),
        ("control characters", "include: [{name: \"a\\u001b[2J\", max-num-seqs: 8}]"),
        ("device", "include: [{name: NUL.txt, max-num-seqs: 8}]"),
        ("reserved", "include: [{name: production, max-num-seqs: 8}]"),
        (
            "too long",
            "include: [{name: a123456789a123456789a123456789a123456789a123456789a123456789a123456789a12345678901, max-num-seqs: 8}]",
        ),
    ]);
    insta::assert_snapshot!(errors);
}

#[test]
fn exclusions_match_something_but_not_everything() {
    let axes = "parameters: {max-num-seqs: [8, 16], enable-prefix-caching: [true, false]}";
    let with = |exclude: &str| format!("{axes}\nexclude: {exclude}");
    let cases = [
        ("no such value", with("[{max-num-seqs: 32}]")),
        ("not varied", with("[{block-size: 16}]")),
        (
            "only in an include",
            "include: [{max-num-seqs: 8}]\nexclude: [{max-num-seqs: 8}]".to_owned(),
        ),
        ("everything", "parameters: {max-num-seqs: 8}\nexclude: [{max-num-seqs: 8}]".to_owned()),
        ("everything together", with("[{max-num-seqs: 8}, {max-num-seqs: 16}]")),
        ("an empty row", with("[{}]")),
        ("not a list", with("{max-num-seqs: 8}")),
    ];
    let cases: Vec<(&str, &str)> =
        cases.iter().map(|(what, text)| (*what, text.as_str())).collect();
    insta::assert_snapshot!(table(&cases));
}

#[test]
fn objectives_and_constraints_name_metrics_that_the_suite_yields() {
    let grid = |workloads: &str, objective: &str| {
        format!(
            "{HEAD}parameters: {{max-num-seqs: 8}}\nworkloads: {workloads}\nobjective: {objective}\n"
        )
    };
    let two = "{kv-cache: {prefix-tokens: [1024, 4096]}}";
    let cases = [
        ("unknown metric", grid("{kv-cache: }", "{minimize: kv_cache.ttft_resend_ms}")),
        ("workload that is not run", grid("{kv-cache: }", "{maximize: load.output_throughput}")),
        ("no metric at all", grid("{kv-cache: }", "{minimize: ttft}")),
        ("a text", grid("{kv-cache: }", "{minimize: kv_cache.hit_state}")),
        ("a list", grid("{conversation: }", "{minimize: conversation.ttft_by_turn_ms}")),
        ("ambiguous", grid(two, "{minimize: kv_cache.ttft_resent_ms}")),
        ("no such case", grid(two, "{minimize: \"kv_cache[prefix=1].ttft_resent_ms\"}")),
        (
            "a case where there is one only",
            grid("{kv-cache: }", "{minimize: \"kv_cache[prefix=4096].ttft_resent_ms\"}"),
        ),
        (
            "constraints",
            grid(
                "{kv-cache: }",
                "\n  minimize: kv_cache.ttft_resent_ms\n  constraints:\n    - {metric: kv_cache.nope, \
                 max: 1}\n    - {metric: kv_cache.tpot_ms}\n    - {max: 3}\n    - {metric: \
                 kv_cache.tpot_ms, min: 3, max: 2}\n    - {metric: kv_cache.tpot_ms, max: 0,5}\n",
            ),
        ),
        (
            "both goals",
            grid("{kv-cache: }", "{minimize: kv_cache.tpot_ms, maximize: kv_cache.tpot_ms}"),
        ),
        ("no goal", grid("{kv-cache: }", "{}")),
        ("unknown workload", grid("{kv-cash: }", "{minimize: kv_cache.tpot_ms}")),
        ("unknown option", grid("{kv-cache: {prefix: 3}}", "{minimize: kv_cache.tpot_ms}")),
        ("bad option", grid("{kv-cache: {prompts: 0}}", "{minimize: kv_cache.tpot_ms}")),
        (
            "options that do not go together",
            grid(
                "{load: {dataset: none.json, prompt_tokens: 64, shared-prefix-tokens: 32}}",
                "{minimize: load.mean_ttft_ms}",
            ),
        ),
        ("no workload", grid("{}", "{minimize: kv_cache.tpot_ms}")),
    ];
    let cases: Vec<(&str, &str)> =
        cases.iter().map(|(what, text)| (*what, text.as_str())).collect();
    insta::assert_snapshot!(whole(&cases));
}

#[test]
fn metrics_are_checked_next_to_refused_workloads() {
    let grid = |workloads: &str, objective: &str| {
        format!(
            "{HEAD}parameters: {{max-num-seqs: 8}}\nworkloads: {workloads}\nobjective: {objective}\n"
        )
    };
    let refused_for = |workloads: &str, objective: &str| -> Vec<String> {
        let errors = read_text(&grid(workloads, objective)).expect_err("errors");
        errors.errors.into_iter().map(|error| error.message).collect()
    };
    let bad = "{kv-cache: {prompts: 0, prefix-tokens: [1024, 4096]}}";
    let option = "option `prompts` must be a whole number from 1 to 1000, not `0`";
    assert_eq!(
        refused_for(
            bad,
            "{minimize: kv_cache.nonsense, constraints: [{metric: loda.x, max: 1}, {metric: load.failed, max: 0}]}"
        ),
        [
            option,
            "`kv-cache` yields no metric `nonsense`",
            "no workload of this grid yields `loda.x`",
            "no workload of this grid yields `load.failed`"
        ]
    );
    // Its cases are not known.
    assert_eq!(refused_for(bad, "{minimize: \"kv_cache[prefix=1].ttft_resent_ms\"}"), [option]);
    // What a misspelt name means is known as far as it is near.
    let misspelt = refused_for("{kv-cash: }", "{minimize: kv_cache.nonsense}");
    assert_eq!(misspelt[1..], ["`kv-cache` yields no metric `nonsense`"]);
    assert_eq!(refused_for("{xyzzy: }", "{maximize: load.output_throughput}").len(), 1);
    assert_eq!(refused_for("{xyzzy: }", "{maximize: load.output_thruput}").len(), 2);
    let none = refused_for("{}", "{minimize: kv_cache.nonsense}");
    assert_eq!(none[1..], ["`kv-cache` yields no metric `nonsense`"]);
}

#[test]
fn metrics_that_no_night_can_measure_are_errors() {
    let text = |workloads: &str, objective: &str| {
        format!(
            "{HEAD}parameters: {{enable-prefix-caching: true}}\nworkloads: {workloads}\nobjective: {objective}\n"
        )
    };
    let cases = [
        ("a percentile", text("{load: {concurrency: [8]}}", "{minimize: load.p99_ttft_ms}")),
        ("goodput", text("{load: }", "{maximize: load.request_goodput}")),
        ("a schedule", text("{load: }", "{minimize: load.mean_scheduled_ttft_ms}")),
        ("no program", text("{command: }", "{minimize: command.mean_ttft_ms}")),
        (
            "a constraint",
            text(
                "{load: }",
                "{maximize: load.output_throughput, constraints: [{metric: load.max_rate, min: 2}]}",
            ),
        ),
        (
            "no steady state",
            text("{load: {concurrency: 64, requests: 128}}", "{maximize: load.output_throughput}"),
        ),
        (
            "more than so few requests can show",
            text(
                "{stability: }",
                "{minimize: stability.median_e2el_ms, constraints: [{metric: stability.failure_rate_high, max: 0.1}]}",
            ),
        ),
        (
            "per cent",
            text(
                "{kv-cache: , reasoning: {kinds: logic}}",
                "{minimize: kv_cache.ttft_resent_ms, constraints: [{metric: reasoning.accuracy, min: 95}]}",
            ),
        ),
    ];
    let cases: Vec<(&str, &str)> =
        cases.iter().map(|(what, text)| (*what, text.as_str())).collect();
    insta::assert_snapshot!(whole(&cases));
    let grid = read_text(&text(
        "{kv-cache: , reasoning: {kinds: logic}}",
        "{minimize: kv_cache.ttft_resent_ms, constraints: [{metric: reasoning.accuracy, max: 95}]}",
    ));
    let warnings = grid.expect("a bound that binds nobody").warnings;
    assert!(warnings[0].message.ends_with("every value is within bounds; write 0.95 for 95%"));
}

#[test]
fn baselines_strategies_and_budgets_exist() {
    let errors = table(&[
        (
            "no such baseline",
            "baseline: chunked_olny\ninclude: [{name: chunked_only, max-num-seqs: 8}]",
        ),
        ("no such strategy", "parameters: {max-num-seqs: 8}\nstrategy: random"),
        (
            "options of the strategy",
            "parameters: {max-num-seqs: 8}\nstrategy: {grid: {launches: 0, repeats: many, sed: 1}}",
        ),
        ("budget without unit", "parameters: {max-num-seqs: 8}\nbudget: 8"),
    ]);
    insta::assert_snapshot!(errors);
}

/// Eight configurations, of which the baseline is launched twice in a block.
const EIGHT: &str = "baseline: seqs1\nparameters: {max-num-seqs: [1, 2, 3, 4, 5, 6, 7, 8]}\n";

#[test]
fn strategies_are_known_and_take_what_they_have() {
    let with = |strategy: &str| format!("{EIGHT}strategy: {strategy}");
    let cases = [
        ("a misspelt name", "adaptiv"),
        ("a misspelt name with options", "{modell: {seed: 1}}"),
        ("two of them", "{grid: , adaptive: }"),
        ("a list", "[adaptive]"),
        ("options of another one", "{adaptive: {launches: 9, predicted: true}}"),
        (
            "every option wrong, in one pass",
            "{model: {max-launches: 0, repeats: many, probability: 1, seed: -1, predicted: 1}}",
        ),
        ("a probability that is no number", "{adaptive: {probability: high}}"),
        ("too few launches for one of each", "{adaptive: {max_launches: 7}}"),
        ("the same of a model", "{model: {max-launches: 4}}"),
    ]
    .map(|(what, strategy)| (what, with(strategy)));
    let cases: Vec<(&str, &str)> = cases.iter().map(|(what, text)| (*what, &**text)).collect();
    insta::assert_snapshot!(table(&cases));
}

#[test]
fn a_strategy_is_named_alone_or_with_its_options() {
    use vllm_grid::strategy::{AdaptiveStrategy, ModelStrategy, StrategySpec};
    let read = |strategy: &str| {
        let text = format!("{HEAD}{EIGHT}strategy: {strategy}\n{TAIL}");
        read_text(&text).unwrap_or_else(|errors| panic!("{}", shown(&errors))).strategy
    };
    let racing = AdaptiveStrategy::default();
    assert_eq!((racing.probability, racing.repeats, racing.max_launches), (0.9, 3, None));
    for text in ["adaptive", "{adaptive: }", "{adaptive: {}}"] {
        assert_eq!(read(text), StrategySpec::Adaptive(racing.clone()), "{text}");
    }
    assert_eq!(read("model"), StrategySpec::Model(ModelStrategy::default()));
    let all = "max-launches: 9, repeats: 2, probability: .5, seed: 7";
    let chosen = AdaptiveStrategy {
        max_launches: Some(9),
        repeats: 2,
        auto: false,
        probability: 0.5,
        seed: 7,
    };
    assert_eq!(read(&format!("{{adaptive: {{{all}}}}}")), StrategySpec::Adaptive(chosen.clone()));
    let model = ModelStrategy { racing: chosen, predicted: true };
    assert_eq!(read(&format!("{{model: {{{all}, predicted: true}}}}")), StrategySpec::Model(model));
    // They choose their repeats where nothing else is said.
    let fixed = AdaptiveStrategy { auto: false, ..racing.clone() };
    assert_eq!(read("{adaptive: {repeats: 3}}"), StrategySpec::Adaptive(fixed.clone()));
    let model = ModelStrategy { racing: fixed, predicted: false };
    assert_eq!(read("{model: {repeats: 3}}"), StrategySpec::Model(model));
    for text in ["{adaptive: {repeats: auto}}", "{adaptive: {repeats: }}"] {
        assert_eq!(read(text), StrategySpec::Adaptive(racing.clone()), "{text}");
    }
    let grid = read_text(&format!("{HEAD}{EIGHT}{TAIL}")).expect("a grid");
    assert!(grid.is_default_strategy && grid.strategy == StrategySpec::Adaptive(racing));
    assert!(
        !read_text(&format!("{HEAD}{EIGHT}strategy: grid\n{TAIL}"))
            .expect("a grid")
            .is_default_strategy
    );
}

#[test]
fn each_part_of_a_budget_is_checked_in_one_pass() {
    let of = |budget: &str| {
        refused(&format!("{HEAD}parameters: {{max-num-seqs: 8}}\nbudget: {budget}\n{TAIL}"))
    };
    let errors = of("{time: 8, launches: 0, gpu_hours: -1, gpuhours: 3}");
    for part in [
        "`time` must be a duration, not 8",
        "`launches` must be a whole number, 1 to 1000000, not 0",
        "`gpu-hours` must be above 0 and at most 1000000, not -1",
        "unknown key `gpuhours` in `budget`",
        "grid.yaml:4:16",
    ] {
        assert!(errors.contains(part), "{part}: {errors}");
    }
    for nothing in ["{}", "{launches: }"] {
        assert!(of(nothing).contains("`budget` limits nothing"), "{nothing}");
    }
}

#[test]
fn each_option_of_a_confirmation_is_checked_in_one_pass() {
    let with = |confirm: &str| {
        format!("{HEAD}parameters: {{max-num-seqs: 8}}\nconfirm: {confirm}\n{TAIL}")
    };
    let errors = refused(&with("{claim: 300%, share: 95%, claims: 10%, share: 1}"));
    for part in [
        "`claim` must be a share from 1% to 100%, not",
        "`share` must be a share from 5% to 90%, not",
        "unknown key `claims` in `confirm`",
        "key `share` is given twice in `confirm`",
        "grid.yaml:4:18",
    ] {
        assert!(errors.contains(part), "{part}: {errors}");
    }
    for wrong in ["yes please", "10%", "[true]", "1"] {
        let refusal = "`confirm` must be true, false or a mapping, not ";
        assert!(refused(&with(wrong)).contains(refusal), "{wrong}");
    }
    for wrong in ["10", "1", "1.0", "0.5%", "ten", "0", "-10%", "1e1%", "true"] {
        let refusal = "`claim` must be a share from 1% to 100%";
        assert!(refused(&with(&format!("{{claim: {wrong}}}"))).contains(refusal), "{wrong}");
    }
    let read = |confirm: &str| read_text(&with(confirm)).expect("a grid").confirm;
    let of = |claim, share| Some(Confirm { claim, share });
    for (confirm, expected) in [
        ("true", of(0.1, 0.25)),
        ("{}", of(0.1, 0.25)),
        ("{claim: 4%, share: 0.5}", of(0.04, 0.5)),
        ("{claim: 12.5 %, share: 90%}", of(0.125, 0.9)),
        ("{claim: 100%, share: }", of(1.0, 0.25)),
        ("false", None),
        ("", None),
    ] {
        assert_eq!(read(confirm), expected, "{confirm}");
    }
}

#[test]
fn flags_of_the_tool_and_secrets_are_refused_and_never_shown() {
    let text = table(&[
        ("port", "parameters: {port: [8000, 8001]}"),
        ("certificate", "parameters: {ssl_keyfile: x.pem}"),
        ("model", "parameters: {model: [a, b]}"),
        ("key", "parameters: {api-key: sk-verysecret}"),
        ("key in an include", "include:\n  - {name: a, api_key: sk-verysecret, max-num-seqs: 0}"),
        ("token", "parameters: {hf-token: sk-verysecret}"),
        (
            "token in the environment",
            "parameters: {max-num-seqs: 8}\nenvironment: {HF_TOKEN: sk-verysecret}",
        ),
    ]) + &whole(&[
        (
            "key in place of a variable's name",
            &format!(
                "name: g\nengine: {{docker: {{image: i, api-key-env: sk-verysecret}}}}\n\
                 parameters: {{max-num-seqs: 8}}\n{TAIL}"
            ),
        ),
        (
            "key in a command",
            &format!(
                "name: g\nengine:\n  process: {{command: [vllm, serve, m, --api-key, sk-verysecret]}}\n\
                 parameters: {{max-num-seqs: 8}}\n{TAIL}"
            ),
        ),
    ]);
    assert!(!text.contains("sk-verysecret"), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn engines_are_known_and_complete() {
    let grid = |engine: &str| {
        format!("name: g\nengine: {engine}\nparameters: {{max-num-seqs: 8}}\n{TAIL}")
    };
    let cases = [
        ("unknown engine", grid("{dokcer: {image: i}}")),
        ("none", grid("{}")),
        ("a word", grid("simulated")),
        ("docker without source", grid("{docker: {}}")),
        ("docker with two sources", grid("{docker: {image: i, compose: c.yaml, service: s}}")),
        ("compose without service", grid("{docker: {compose: c.yaml}}")),
        ("process without command", grid("{process: {flags: {max-num-seqs: 0}}}")),
        (
            "simulated without model",
            grid("{simulated: {gpu: rtx-4090, speed: 0, other-memory: -1}}"),
        ),
        ("every block is checked", grid("{simulated: {model: m, gpu: g}, docker: {imaje: i}}")),
    ];
    let cases: Vec<(&str, &str)> =
        cases.iter().map(|(what, text)| (*what, text.as_str())).collect();
    let mut text = whole(&cases);
    for engine in ["docker", "dokcer"] {
        let options = ReadOptions { engine: Some(engine.to_owned()), ..ReadOptions::default() };
        let good = format!("{HEAD}parameters: {{max-num-seqs: 8}}\n{TAIL}");
        let errors = read(good.as_bytes(), &options).expect_err("no such engine");
        let _ = writeln!(text, "## --engine {engine}\n{}", shown(&errors));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn what_is_no_grid_file_is_said_to_be_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = ReadOptions::default();
    let mut text = String::new();
    let missing = folder.path().join("missing.yaml");
    let errors = GridFile::read(&missing, &options).expect_err("missing");
    let _ = writeln!(text, "## missing\n{}", shown(&errors));
    let inside = folder.path().join("folder");
    fs::create_dir(&inside).expect("a folder");
    let errors = GridFile::read(&inside, &options).expect_err("a folder");
    let _ = writeln!(text, "## folder\n{}", shown(&errors));
    for (what, bytes) in [
        ("not UTF-8", &b"name: g\nbaseline: caf\xe9\n"[..]),
        ("UTF-16", b"\xff\xfen\0a\0"),
        ("empty", b""),
        ("only a comment", b"# nothing\n"),
        ("a list", b"- 1\n"),
        ("two documents", b"name: a\n---\nname: b\n"),
        ("no YAML", b"name: [a\nengine: }\n"),
        ("no YAML, with a secret", b"name: g\napi-key: sk-verysecret\nengine: [}\n"),
        ("a tab", b"name: a\nengine:\n\tsimulated: 1\n"),
        ("unknown alias", b"name: *a\n"),
    ] {
        let errors = read(bytes, &options).expect_err(what);
        let _ = writeln!(text, "## {what}\n{}", shown(&errors));
    }
    assert!(!text.contains("sk-verysecret"), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn a_byte_order_mark_is_accepted() {
    let text = format!("\u{feff}{HEAD}parameters: {{max-num-seqs: 8}}\n{TAIL}");
    assert_eq!(read_text(&text).expect("a good grid").name, "g");
}

#[test]
fn line_ends_of_windows_are_accepted_and_counted() {
    let text = format!("{HEAD}parameters: {{max-num-seqs: 8}}\n{TAIL}").replace('\n', "\r\n");
    assert_eq!(read_text(&text).expect("a good grid").name, "g");
    let errors = read_text(&text.replace('8', "0")).expect_err("a bad value");
    assert_eq!((errors.errors[0].line, errors.errors[0].column), (Some(3), Some(28)), "{errors}");
}

#[test]
fn anchors_and_merge_keys_are_followed() {
    let text = format!(
        "{HEAD}include:\n  - &base {{name: a, max-num-seqs: 8, block-size: 32}}\n  - {{<<: *base, name: \
         b, max-num-seqs: 16}}\n{TAIL}"
    );
    let grid = read_text(&text).expect("a good grid");
    let rows: Vec<String> =
        grid.configurations.iter().map(|it| format!("{} {:?}", it.name, it.flags)).collect();
    insta::assert_snapshot!(rows.join("\n"));
}

#[test]
fn an_alias_bomb_is_refused_at_once() {
    let mut bomb = String::from("a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n");
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        let _ = writeln!(bomb, "a{level}: &a{level} [{items}]");
    }
    let errors = read_text(&bomb).expect_err("a bomb");
    assert_eq!(errors.errors.len(), 1);
    assert!(errors.errors[0].message.contains("alias"), "{}", errors.errors[0].message);
    assert!(errors.errors[0].line.is_some());
    let nested = format!("name: {}{}\n", "[".repeat(100_000), "]".repeat(100_000));
    assert!(read_text(&nested).is_err());
}

#[test]
fn unknown_flags_are_warned_of_or_refused_when_strict() {
    let text = format!(
        "{HEAD}parameters: {{max-num-sequences: [1, 2], rope_scaling: 1}}\n\
         include: [{{max-num-sequences: 3}}]\n{TAIL}"
    );
    let grid = read_text(&text).expect("passed on");
    let warnings: Vec<String> = grid
        .warnings
        .iter()
        .map(|it| format!("{:?}:{:?} {}", it.line, it.column, it.message))
        .collect();
    insta::assert_snapshot!(warnings.join("\n"));
    let strict = ReadOptions { strict: true, ..ReadOptions::default() };
    insta::assert_snapshot!(shown(&read(text.as_bytes(), &strict).expect_err("refused")));
}

#[test]
fn large_products_are_counted_and_never_built() {
    let mut axes = String::from("parameters:\n");
    for axis in 0..40 {
        let _ = writeln!(axes, "  unknown-{axis}: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]");
    }
    let mut text = refused(&format!("{HEAD}{axes}{TAIL}"));
    text += &table(&[(
        "10,100",
        &format!(
            "parameters:\n  max-num-seqs: {:?}\n  block-size: {:?}",
            (1..=101).collect::<Vec<_>>(),
            (1..=100).collect::<Vec<_>>()
        ),
    )]);
    let lines: Vec<&str> =
        text.lines().filter(|line| line.contains('×') || line.contains("help")).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

/// Each is shown with its line: of one line with thousands of errors that would be
/// hundreds of megabytes.
#[test]
fn of_thousands_of_errors_in_one_line_the_first_are_shown() {
    let rows = "requ64, ".repeat(3000);
    let text = refused(&format!("{HEAD}include: [{rows}]\n{TAIL}"));
    assert!(text.contains("errors; the first 100 are shown"), "{}", &text[..200]);
    assert!(text.len() < 20 << 20, "{} bytes", text.len());
}
