//! What is fuzzed: each target has good inputs, the words of its language, and a check that
//! runs one case. A check returns what is wrong beyond a panic: something that must be the
//! same is not, or something is larger than its limit. How cases run is not known here.

use std::fs;
use std::path::{Path, PathBuf};

use super::checks::{
    Wrong, compose_output, dataset, dotenv, grid, http, journal_lines, log, manifest, prometheus,
    response, shell, sse, text, whole_lines,
};
use super::mutate::Mutator;

/// Something that reads input from outside.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Its share of all cases: cheap ones have more.
    pub(crate) weight: u64,
    /// Files with good inputs, or folders of them.
    seeds: &'static [&'static str],
    words: &'static [&'static str],
    /// Makes the input of a case.
    make: fn(&mut Mutator<'_>) -> Vec<u8>,
    /// Runs it; `Mutator` is for choices beside the input.
    check: fn(&[u8], &mut Mutator<'_>) -> Wrong,
}

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "grid",
        weight: 4,
        seeds: &["grids", "runs/example/grid.yaml", "tests/fixtures/fuzz/seeds/grid"],
        words: &[
            "&a",
            "*a",
            "<<: *a",
            "- ",
            "|\n",
            ">-\n",
            "!!binary ",
            "~",
            "parameters:",
            "include:",
            "exclude:",
            "workloads:",
            "load:",
            "kv-cache:",
            "flags:",
            "environment:",
            "budget: 8h",
            "repeats: auto",
            "launches:",
            "baseline: production",
            "constraints:",
            "[1, 2, 3]",
            "{a: 1}",
            "max-num-seqs",
            "true",
            ".inf",
            "0x10",
            "1_0",
            "---\n",
            "...\n",
            "? ",
        ],
        make: near,
        check: grid,
    },
    Target {
        name: "shell",
        weight: 4,
        seeds: &["tests/fixtures/fuzz/seeds/shell"],
        words: &[
            "vllm serve m",
            "exec ",
            "sh -c '",
            "\"$@\"",
            "${A:-b}",
            "$(",
            "`",
            "<<EOF\n",
            "EOF\n",
            "&&",
            "||",
            ";",
            "|",
            "if ",
            "; then ",
            "fi",
            "case x in ",
            "esac",
            "for i in ",
            "do ",
            "done",
            "--port=8000",
            "\\\n",
            "python -m vllm.entrypoints.openai.api_server",
            "$((",
            "env A=1 ",
            "{ ",
            "; }",
            "( ",
            " )",
            "!",
            "&",
            ">",
            "2>&1",
            "function f ",
            "[[ ",
        ],
        make: near,
        check: shell,
    },
    Target {
        name: "journal",
        weight: 2,
        seeds: &["runs/example/journal.jsonl"],
        words: &[
            "\"kind\":",
            "\"sequence\":1",
            "\"launch_started\"",
            "\"repeat_finished\"",
            "\"launch_ended\"",
            "\"session_started\"",
            "\"trial\":0",
            "\"launch\":4294967295",
            "null",
            "{}",
            "[]",
            "\"at\":\"2026-01-01T00:00:00Z\"",
            "\"status\":\"void\"",
        ],
        make: whole_lines,
        check: journal_lines,
    },
    Target {
        name: "sse",
        weight: 30,
        seeds: &["tests/captures/sse-chat-think.txt", "tests/fixtures/fuzz/seeds/sse"],
        words: EVENT_WORDS,
        make: near,
        check: sse,
    },
    Target {
        name: "http",
        weight: 20,
        seeds: &[
            "tests/captures/sse-chat-nothink.txt",
            "tests/captures/sse-tool-required.txt",
            "tests/fixtures/fuzz/seeds/http",
        ],
        words: EVENT_WORDS,
        make: response,
        check: http,
    },
    Target {
        name: "prometheus",
        weight: 12,
        seeds: &["tests/captures/metrics-initial.txt"],
        words: &[
            "{",
            "}",
            "=\"",
            "\",",
            "\\\"",
            "# HELP ",
            "# TYPE ",
            " 1e400",
            " +Inf",
            "vllm:",
            "_total",
            "vllm:request_success_total",
            "vllm:cache_config_info{",
            " NaN",
        ],
        make: near,
        check: prometheus,
    },
    Target {
        name: "compose",
        weight: 2,
        seeds: &[
            "tests/fixtures/compose/production.v1.yaml",
            "tests/fixtures/compose/production.v2.yaml",
            "compose",
        ],
        words: &[
            "services:",
            "vllm:",
            "command:",
            "ports:",
            "volumes:",
            "deploy:",
            "ulimits:",
            "devices:",
            "- ",
            "type: bind",
            "shm_size: 10gb",
            "99999999999gb",
            "published:",
            "target: 0",
            "networks:",
            "&a",
            "*a",
            "<<: *a",
            "null",
            "gpus: all",
            "count: -1",
        ],
        make: near,
        check: compose_output,
    },
    Target {
        name: "dataset",
        weight: 10,
        seeds: &["tests/fixtures/fuzz/seeds/dataset"],
        words: &[
            "\"prompt\":",
            "\"messages\":",
            "\"conversations\":",
            "\"from\":\"human\"",
            "\"role\":\"user\"",
            "\"content\":",
            "[{",
            "}]",
            "\"\\ud800\"",
            "\\u0000",
            "\n",
        ],
        make: near,
        check: dataset,
    },
    Target {
        name: "dotenv",
        weight: 10,
        seeds: &["tests/fixtures/fuzz/seeds/dotenv"],
        words: &["API_KEY=", "export ", "HF_TOKEN='", "=\"", "\\\"", " # ", "\n", "${A}", "'\n"],
        make: near,
        check: dotenv,
    },
    Target {
        name: "manifest",
        weight: 2,
        seeds: &["runs/example/manifest.json"],
        words: &[
            "\"launches\":",
            "\"repeats\":",
            "\"auto\"",
            "\"seed\":",
            "\"order\":",
            "null",
            "[]",
            "{}",
            "\"configurations\":[]",
            "4294967295",
            "\"minimize\":",
        ],
        make: near,
        check: manifest,
    },
    Target {
        name: "log",
        weight: 3,
        seeds: &["tests/fixtures/vllm-logs", "tests/captures/startup-prefix-on.log"],
        words: &[
            "non-default args: {",
            "with config: ",
            "KV cache size: ",
            "ERROR ",
            "Traceback",
            "error: unrecognized arguments: ",
            "CUDA out of memory",
            "ValueError: ",
            "'",
            "the estimated maximum model length is ",
            "argument --",
            "invalid choice: ",
        ],
        make: near,
        check: log,
    },
    Target {
        name: "text",
        weight: 30,
        seeds: &["tests/fixtures/vllm-logs/coloured-bad-value.log"],
        words: &["\x1b[", "\x1b]", "\x1b\\", "\u{9b}", "\u{9d}", "\u{90}", "\u{202e}", "31m", ";"],
        make: |mutator| mutator.text(300).into_bytes(),
        check: text,
    },
];

const EVENT_WORDS: &[&str] = &[
    "data: ",
    "data:",
    "data",
    ": ping",
    "event: ",
    "id: ",
    "retry: ",
    "\n\n",
    "\r\n\r\n",
    "\r\r",
    "[DONE]",
    "{\"choices\":[",
    "\"delta\":{",
    "\"content\":\"",
    "\"tool_calls\":[{",
    "\"index\":0",
    "\"finish_reason\":\"stop\"",
    "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}",
    "\"function\":{\"name\":\"f\",\"arguments\":\"{",
    "\"reasoning\":\"",
    "\"error\":{\"message\":",
    "null",
    "\\ud83d",
    "\\u0000",
    "content-length: 5\r\n",
    "transfer-encoding: chunked\r\n",
    "HTTP/1.1 103 Early\r\n\r\n",
    "HTTP/1.1 200 OK\r\n",
    "connection: close\r\n",
    "ffffffffffffff\r\n",
];

impl Target {
    /// Its good inputs.
    pub(crate) fn seeds(&self) -> Vec<Vec<u8>> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        self.seeds.iter().flat_map(|seed| files(&root.join(seed))).collect()
    }

    /// Another number for each target.
    fn place(&self) -> usize {
        TARGETS.iter().position(|it| it.name == self.name).unwrap_or(TARGETS.len())
    }

    /// The input of the case `number`.
    pub(crate) fn input(&self, seed: u64, number: u64, seeds: &[Vec<u8>]) -> Vec<u8> {
        (self.make)(&mut Mutator::new(seed, self.place(), number, seeds, self.words))
    }

    /// Runs the case `number`; its input is put into `input` before it is read.
    pub(crate) fn run(
        &self,
        seed: u64,
        number: u64,
        seeds: &[Vec<u8>],
        input: &mut Vec<u8>,
    ) -> Wrong {
        let mut mutator = Mutator::new(seed, self.place(), number, seeds, self.words);
        *input = (self.make)(&mut mutator);
        (self.check)(input, &mut mutator)
    }

    /// Reads an input that is known.
    pub(crate) fn read(&self, input: &[u8]) -> Wrong {
        let mut mutator = Mutator::new(0, 0, input.len() as u64, &[], self.words);
        (self.check)(input, &mut mutator)
    }
}

/// The file, or every file of a folder, in the order of their names.
fn files(path: &Path) -> Vec<Vec<u8>> {
    if let Ok(content) = fs::read(path) {
        return vec![content];
    }
    let Ok(entries) = fs::read_dir(path) else { panic!("no seed at {}", path.display()) };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().filter_map(|path| fs::read(path).ok()).collect()
}

/// An input that is nearly right, and nothing else.
fn near(mutator: &mut Mutator<'_>) -> Vec<u8> {
    mutator.input()
}
