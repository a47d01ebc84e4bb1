//! The table of vLLM's flags, read once from the data file, and look-ups in it.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::spelling::{canonical_name, nearest_word};

const DATA: &str = include_str!("vllm-flags.tsv");

/// The release whose flags the data file has.
pub const VLLM_VERSION: &str = "0.32.0";

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No value: `--flag`, and `--no-flag` where it is negatable.
    Bool,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// A text; the choices are the known ones, but a plug-in may add more.
    Text,
    /// One of the choices.
    Choice,
    /// JSON.
    Json,
    /// One or more values.
    List,
}

/// One flag of `vllm serve`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Long spelling without dashes.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Values that vLLM knows of; empty where it names none.
    pub choices: Vec<&'static str>,
    /// Further spellings without dashes (`tp`).
    pub aliases: Vec<&'static str>,
    /// Whether `--no-NAME` exists.
    pub negatable: bool,
    /// Section of the help.
    pub group: &'static str,
    /// Default as the help prints it; `None` there often means "depends".
    pub default: &'static str,
}

impl Flag {
    /// The spellings as argparse names them in its errors:
    /// `--tensor-parallel-size/-tp`.
    pub fn spellings(&self) -> String {
        let mut text = format!("--{}", self.name);
        if self.negatable {
            text.push_str("/--no-");
            text.push_str(self.name);
        }
        for alias in &self.aliases {
            text.push_str(if is_short(alias) { "/-" } else { "/--" });
            text.push_str(alias);
        }
        text
    }
}

/// Whether an alias is written with one dash: all of vLLM's have at most four letters.
pub(super) fn is_short(alias: &str) -> bool {
    alias.len() <= 4 && !alias.contains('-')
}

struct Table {
    flags: Vec<Flag>,
    by_spelling: HashMap<&'static str, usize>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let flags: Vec<Flag> = DATA
        .lines()
        .filter(|line| !line.starts_with('#'))
        .skip(1)
        .map(|line| row(line).expect("the data file is part of the build, and a test reads it"))
        .collect();
    let mut by_spelling = HashMap::new();
    for (index, flag) in flags.iter().enumerate() {
        by_spelling.insert(flag.name, index);
        for alias in &flag.aliases {
            by_spelling.entry(*alias).or_insert(index);
        }
    }
    Table { flags, by_spelling }
});

fn row(line: &'static str) -> Option<Flag> {
    let mut cells = line.split('\t');
    let mut next = || cells.next();
    let name = next()?;
    let kind = match next()? {
        "bool" => Kind::Bool,
        "int" => Kind::Int,
        "float" => Kind::Float,
        "text" => Kind::Text,
        "choice" => Kind::Choice,
        "json" => Kind::Json,
        "list" => Kind::List,
        _ => return None,
    };
    let words = |cell: &'static str, separator| {
        cell.split(separator).filter(|word| !word.is_empty()).collect::<Vec<_>>()
    };
    Some(Flag {
        name,
        kind,
        choices: words(next()?, '|'),
        aliases: words(next()?, ','),
        negatable: next()? == "yes",
        group: next()?,
        default: next()?,
    })
}

/// Every flag of the table, by section.
pub fn flags() -> &'static [Flag] {
    &TABLE.flags
}

/// The flag of that spelling (`max_num_seqs`, `--max-num-seqs`, `tp`); of a
/// dotted spelling, the JSON option that it reaches into.
pub fn lookup(spelling: &str) -> Option<&'static Flag> {
    if let Some(index) = TABLE.by_spelling.get(spelling) {
        return Some(&TABLE.flags[*index]);
    }
    let name = canonical_name(spelling);
    let (head, dotted) = match name.split_once('.') {
        Some((head, _)) => (head, true),
        None => (name.as_str(), false),
    };
    let flag = &TABLE.flags[*TABLE.by_spelling.get(head)?];
    (!dotted || flag.kind == Kind::Json).then_some(flag)
}

/// A short option with its value glued to it (`-O3`, `-tp2`), in two parts. argparse
/// itself reads only those of one letter.
pub fn glued(argument: &str) -> Option<(&'static Flag, &str)> {
    let text = argument.strip_prefix('-').filter(|text| !text.starts_with('-'))?;
    let short =
        flags().iter().flat_map(|flag| flag.aliases.iter().map(move |alias| (flag, *alias)));
    let fits = |flag: &Flag, alias: &str, value: &str| match flag.kind {
        Kind::Int | Kind::Float => value.parse::<f64>().is_ok(),
        Kind::Text | Kind::Choice => alias.len() == 1 && !value.starts_with(['-', '.']),
        Kind::Bool | Kind::Json | Kind::List => false,
    };
    short
        .filter(|(_, alias)| is_short(alias))
        .filter_map(|(flag, alias)| {
            let value = text.strip_prefix(alias).filter(|value| !value.is_empty())?;
            let value = value.strip_prefix('=').unwrap_or(value);
            fits(flag, alias, value).then_some((flag, value, alias.len()))
        })
        .max_by_key(|(_, _, length)| *length)
        .map(|(flag, value, _)| (flag, value))
}

/// The canonical name of a spelling, aliases replaced by the long name.
pub fn resolve(spelling: &str) -> String {
    let name = canonical_name(spelling);
    match (lookup(&name), name.split_once('.')) {
        (Some(flag), Some((_, keys))) => format!("{}.{keys}", flag.name),
        (Some(flag), None) => flag.name.to_owned(),
        (None, _) => name,
    }
}

/// The known flag that is nearest to an unknown name, where one is near enough
/// to be meant.
pub fn nearest(name: &str) -> Option<&'static str> {
    let name = canonical_name(name);
    let names: Vec<&'static str> = TABLE.flags.iter().map(|flag| flag.name).collect();
    nearest_word(name.strip_prefix("no-").unwrap_or(&name), &names)
}

/// What took the place of a flag that older releases had.
pub fn successor(name: &str) -> Option<&'static str> {
    match canonical_name(name).as_str() {
        "rope-scaling" | "rope-theta" => {
            Some("vLLM has dropped it: write `hf-overrides: {rope_parameters: {...}}`")
        }
        "task" => Some("vLLM has dropped it: see `runner` and `convert`"),
        _ => None,
    }
}

/// Flags that the tool itself sets, or whose change would make the server
/// unreachable: no grid may vary them.
pub const OWNED: &[&str] = &[
    "api-key",
    "config",
    "enable-ssl-refresh",
    "grpc",
    "grpc-port",
    "headless",
    "host",
    "model",
    "port",
    "root-path",
    "served-model-name",
    "uds",
];

/// Whether a flag belongs to the tool, so that a grid must not set it.
pub fn is_owned(name: &str) -> bool {
    let name = resolve(name);
    let head = name.split('.').next().unwrap_or(&name);
    OWNED.contains(&head) || head.starts_with("ssl-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_file_names_its_version_and_every_row_is_read() {
        let head = DATA.lines().next().unwrap_or_default();
        assert!(head.starts_with(&format!("# vLLM {VLLM_VERSION}, ")), "{head}");
        let count = format!(", {} flags;", flags().len());
        assert!(head.contains(&count), "{head} against {count}");
    }

    #[test]
    fn dashes_underscores_and_aliases_find_the_same_flag() {
        for spelling in
            ["tensor-parallel-size", "tensor_parallel_size", "--tensor-parallel-size", "tp"]
        {
            assert_eq!(resolve(spelling), "tensor-parallel-size");
        }
        assert_eq!(resolve("hf_overrides.rope_parameters"), "hf-overrides.rope_parameters");
        assert_eq!(resolve("-cc.cudagraph_mode"), "compilation-config.cudagraph_mode");
        assert!(lookup("max-num-seqs.x").is_none(), "only JSON options have keys");
    }

    #[test]
    fn a_value_may_be_glued_to_a_short_option() {
        let read = |text| glued(text).map(|(flag, value)| (flag.name, value));
        for (text, flag, value) in [
            ("-O3", "optimization-level", "3"),
            ("-O=3", "optimization-level", "3"),
            ("-tp2", "tensor-parallel-size", "2"),
            ("-tp=2", "tensor-parallel-size", "2"),
            ("-dpl2", "data-parallel-size-local", "2"),
            ("-qawq", "quantization", "awq"),
        ] {
            assert_eq!(read(text), Some((flag, value)), "{text}");
        }
        for text in ["-O", "-tp", "--tp2", "-tpx", "-dp", "-dpl", "-1", "-cc.mode=0", "3", "-"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_slip_finds_its_neighbour() {
        assert_eq!(nearest("gpu-memory-utilisation"), Some("gpu-memory-utilization"));
        assert_eq!(nearest("max-num-sequences"), Some("max-num-seqs"));
        assert_eq!(nearest("zzzzqqq"), None);
    }

    #[test]
    fn errors_name_flags_as_argparse_does() {
        let name = |flag| lookup(flag).map(Flag::spellings).unwrap_or_default();
        assert_eq!(name("tp"), "--tensor-parallel-size/-tp");
        assert_eq!(
            name("gpu-memory-utilization"),
            "--gpu-memory-utilization/--device-memory-utilization"
        );
        assert_eq!(
            name("enable-chunked-prefill"),
            "--enable-chunked-prefill/--no-enable-chunked-prefill"
        );
    }

    #[test]
    fn the_tool_owns_what_makes_a_server_reachable() {
        for name in ["port", "ssl_keyfile", "served-model-name", "api-key", "--uds"] {
            assert!(is_owned(name), "{name}");
        }
        assert!(!is_owned("max-num-seqs"));
    }
}
