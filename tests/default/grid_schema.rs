//! The schema of a grid agrees with the reader: what the reader accepts, the schema accepts;
//! what it refuses, the schema refuses, as far as a schema can know it. `grid_errors` gives
//! each of its grids to [`agrees`].

use std::path::Path;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::Value;
use vllm_grid::grid::{GridErrors, schema};

/// Parts of messages about what no schema knows, with the reason.
const UNKNOWABLE: &[(&str, &str)] = &[
    ("given twice", "JSON has no repeated keys: an editor's parser reports them"),
    ("are the same flag", "two spellings of one key are two keys"),
    ("and its key", "a relation of two keys whose names are not known before"),
    ("two configurations are named", "a relation of two rows"),
    ("is a device on Windows", "a list of names in any case, for one platform"),
    ("the baseline `", "depends on the expanded configurations"),
    ("every combination", "depends on the expanded configurations"),
    ("`max-launches` is", "depends on the expanded configurations"),
    ("no combination", "depends on the expanded configurations"),
    ("matches nothing", "depends on the expanded configurations"),
    ("no workload of this grid yields", "a relation of objective and workloads"),
    ("is ambiguous", "depends on the cases that a workload's options make"),
    ("has one case only", "depends on the cases that a workload's options make"),
    ("has no case", "depends on the cases that a workload's options make"),
    ("is never measured", "depends on the workload's options"),
    ("is an objective twice", "compares two entries of a list"),
    ("no repeat keeps this", "depends on the workload's options"),
    ("is a share, from 0 to 1", "depends on the metric that is bounded"),
    ("no value is above `min` and below `max`", "compares two values"),
    ("does not apply with", "depends on other options of the workload"),
    ("is also the option", "depends on other options of the workload"),
    ("is a secret", "the reader's list of words, in any case"),
    ("contains a secret", "what looks like a secret is judged by its content"),
    ("has control characters", "an editor's parser shows them"),
    ("must be a finite number", "JSON has no such numbers"),
    ("before exclusion", "a product of the axes"),
    ("do not fit into memory", "a product of the axes"),
    ("can be counted", "a product of the axes"),
    ("is no name of an image", "the grammar of images is the reader's"),
    ("the engine `", "depends on the engine that is chosen"),
    ("is a variable of a compose file", "depends on the engine that is chosen"),
    ("`pause` names", "a relation of two keys"),
    ("are both given: production is on this machine", "a relation of two blocks"),
    ("`window` and `hosts`", "a relation of two keys"),
    ("is not for here", "the options of sbatch, which may be cut short"),
    ("has no value", "the options of sbatch, which may be cut short"),
    ("`time` must be 60 s", "a duration within bounds"),
    ("`gres` must be", "the grammar of a cluster's resources is the reader's"),
    ("there is no `compose` file", "a relation of two blocks"),
    ("this row names a service, but", "depends on the engine that is chosen"),
    ("has a quote that is not closed", "the grammar of a shell"),
    ("`drift`", "the grammar of a drift is the simulator's"),
    ("`faults`", "the grammar of faults is the simulator's"),
    ("not readable as YAML", "no document"),
    ("the file is", "no document"),
    ("No such file or directory", "another file"),
];

static SCHEMA: LazyLock<Validator> =
    LazyLock::new(|| jsonschema::validator_for(&schema::schema()).expect("a schema"));

/// Compares the reader's answer with the schema's.
pub(crate) fn agrees<T>(text: &str, read: Result<&T, &GridErrors>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let parsed = parsed(text);
    match (parsed, read) {
        (Ok(grid), Ok(_)) => {
            let errors = errors(&grid);
            assert!(errors.is_empty(), "refused by the schema: {errors:?}\n{text}");
        }
        (Ok(grid), Err(errors)) => {
            let is_knowable =
                |message: &str| !UNKNOWABLE.iter().any(|(part, _)| message.contains(part));
            let knowable: Vec<&str> = errors
                .errors
                .iter()
                .map(|error| error.message.as_str())
                .filter(|message| is_knowable(message))
                .collect();
            let refused = knowable.is_empty() || !SCHEMA.is_valid(&grid);
            assert!(refused, "accepted by the schema: {knowable:?}\n{text}");
        }
        (Err(error), Ok(_)) => panic!("not read as JSON: {error}\n{text}"),
        (Err(_), Err(_)) => {}
    }
}

/// A document as JSON. As the reader and editors have it: YAML 1.2, in which `n` is a text.
fn parsed(text: &str) -> Result<Value, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        underscored_numbers_as_strings: true,
        leading_zero_numbers_as_strings: true,
    };
    serde_saphyr::from_str_with_options(text, options)
}

/// What the schema says against a document.
fn errors(grid: &Value) -> Vec<String> {
    let errors = SCHEMA.iter_errors(grid);
    errors.map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn root(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn the_copy_that_grids_refer_to_is_the_schema() {
    let path = root("docs/grid.schema.json");
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, schema::text()).unwrap();
    }
    let copy = std::fs::read_to_string(&path).unwrap();
    assert!(copy == schema::text(), "write it anew: vllm-grid schema > docs/grid.schema.json");
}

#[test]
fn every_shipped_grid_is_valid_and_refers_to_the_schema() {
    for entry in std::fs::read_dir(root("grids")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let first = text.lines().next().unwrap();
        assert_eq!(first, "# yaml-language-server: $schema=../docs/grid.schema.json", "{path:?}");
        let errors = errors(&parsed(&text).unwrap());
        assert!(errors.is_empty(), "{path:?}: {errors:?}");
    }
}

/// A grid with every key of every block, and one fault more each time.
#[test]
fn what_an_editor_marks() {
    const GRID: &str = "name: g\n\
        engine:\n  simulated: {model: m, gpu: rtx-4090, gpus: 2, other_memory: 1, speed: 2.5, seed: 0, drift: null, faults: []}\n  \
        docker: {compose: [a.yaml, b.yaml], env-file: .env, service: s, production: {service: s, pause: [{container: c}]}}\n  \
        process: {command: vllm serve m, flags: {served-model-name: x, seed: 1}}\n\
        baseline: production\n\
        parameters:\n  max_num_seqs: [8, null]\n  tp: 1\n  max-model-len: [8k, auto, 4096]\n  \
        compilation-config.level: 3\n  cudagraph-capture-sizes: [[1, 2], 4]\n  unheard-of: [1, x]\n\
        environment: {A: [1, b]}\nmodel: [m, n]\n\
        include: [{name: a, max-num-seqs: 16, environment: {B: x}, model: n}]\n\
        exclude: [{max-num-seqs: 8, tp: 1}]\n\
        workloads:\n  kv_cache: {prefix_tokens: [1024, 4096], request: {temperature: 0.5}}\n  load:\n\
        request: {top_p: 0.9}\n\
        objective: {minimize: \"kv_cache[prefix=1024].ttft_resent_ms\", constraints: [{metric: load.failed, max: 0}]}\n\
        strategy: {grid: {launches: 3, repeats: auto}}\nbudget: 1h 30m\n\
        gates: {canary: {}, survival: {prompt-tokens: [1000]}, function: off}\nwindow: 23:00-06:30\n";
    let valid = |text: &str| errors(&parsed(text).unwrap());
    assert_eq!(valid(GRID), [""; 0]);
    let parts = "budget: {time: 8h, launches: 40, gpu_hours: 1.5}";
    assert_eq!(valid(&GRID.replacen("budget: 1h 30m", parts, 1)), [""; 0]);
    for (was, is) in [
        ("name: g", "name: ../x"),
        ("gpus: 2", "gpus: 0"),
        ("speed: 2.5", "speed: 0"),
        ("service: s, production", "image: s, production"),
        ("pause: [{container: c}]", "pause: [{box: c}]"),
        ("{command: vllm serve m, ", "{"),
        ("max_num_seqs: [8, null]", "max_num_seqs: [0]"),
        ("max-model-len: [8k,", "max-model-len: [8.5K,"),
        ("tp: 1\n", "tp: 0.5\n"),
        ("unheard-of: [1, x]", "unheard-of: []"),
        ("unheard-of:", "no-enable-prefix-caching:"),
        ("unheard-of:", "port:"),
        ("A: [1, b]", "A: [true]"),
        ("environment: {A:", "environment: {A-B:"),
        ("name: a, ", "name: production, "),
        ("exclude: [{max-num-seqs: 8, tp: 1}]", "exclude: [{}]"),
        ("prefix_tokens: [1024, 4096]", "prefix_tokens: [1024, 1024]"),
        ("temperature: 0.5", "max_tokens: 5"),
        ("ttft_resent_ms", "ttft_resend_ms"),
        ("minimize:", "minimise:"),
        (", max: 0}", "}"),
        ("repeats: auto", "repeats: many"),
        ("budget: 1h 30m", "budget: 0h"),
        ("budget: 1h 30m", "budget: {}"),
        ("budget: 1h 30m", "budget: {time: 8}"),
        ("budget: 1h 30m", "budget: {launches: 1.5}"),
        ("budget: 1h 30m", "budget: {gpu-hours: 0}"),
        ("budget: 1h 30m", "budget: {hours: 8}"),
        ("window: 23:00-06:30", "window: 23:00-24:30"),
        ("function: off", "funktion: off"),
        ("\nobjective: ", "\nobjektive: "),
    ] {
        assert!(GRID.contains(was), "{was}");
        assert_ne!(valid(&GRID.replacen(was, is, 1)), [""; 0], "{is}");
    }
}
