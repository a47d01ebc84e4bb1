//! The architecture, read off the sources: which room may import which, no circles
//! between files, no file too long, no name of a file that is not here. The table
//! in `docs/architecture.md` is the same as [`ARROWS`].

mod checker;
mod graph;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use graph::Graph;

/// Rooms that everybody may use: data and arithmetic.
const WORDS: [&str; 13] = [
    "clean",
    "configuration",
    "event",
    "flags",
    "gate",
    "input",
    "machine",
    "metric",
    "route",
    "secret",
    "shortage",
    "statistics",
    "workload",
];

/// What each room may import, besides itself. A row of an inner room (`engine/simulated`)
/// adds to that of its room; an inner room on the right (`history/launch`) allows no more
/// than that.
const ARROWS: [(&str, &str); 17] = [
    ("words", "words"),
    ("strategy", "words"),
    ("grid", "strategy, simulator/drift, simulator/fault_plan, words"),
    ("server", "words"),
    ("client", "server, clean, configuration, event, flags, metric, route, shortage, statistics"),
    ("telemetry", "client, server, words"),
    ("bench", "client, telemetry, server, words"),
    ("simulator", "configuration, flags, input"),
    ("ownership", "configuration, input"),
    ("history", "grid, strategy, server, words"),
    (
        "engine",
        "history/launch, history/journal, history/production, ownership, grid, server, words",
    ),
    ("engine/simulated", "simulator"),
    ("prediction", "engine/service_flags, engine/service_view, simulator, grid, strategy, words"),
    (
        "sweep",
        "engine, bench, telemetry, client, history, ownership, strategy, grid, server, words",
    ),
    ("results", "history, grid, strategy, telemetry, client, server, words"),
    ("report", "results, history, grid, words"),
    ("main", "everything"),
];

/// Crates that stay in the rooms they were taken for.
const CRATES: [(&str, &str); 8] = [
    ("axum", "simulator"),
    ("bollard", "engine"),
    ("brush_parser", "engine"),
    ("indicatif", "main"),
    ("polars", "results, report"),
    ("rustls", "server"),
    ("rustls_native_certs", "server"),
    ("url", "server"),
];

const MAX_LINES: usize = 520;

#[test]
fn rooms_import_what_they_may() {
    report(&forbidden_imports(&Graph::of(&sources())));
}

#[test]
fn crates_stay_in_their_rooms() {
    report(&strayed_crates(&Graph::of(&sources())));
}

#[test]
fn no_circles_between_files_and_rooms() {
    report(&circles(&Graph::of(&sources())));
}

#[test]
fn no_file_is_too_long() {
    report(&long_files(&sources()));
}

#[test]
fn comments_name_files_that_are_here() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = BTreeSet::new();
    walk(root, &mut |path| {
        names.extend(path.file_name().map(|it| it.to_string_lossy().into_owned()));
    });
    report(&unknown_files(&sources(), &names));
}

#[test]
fn the_document_holds_the_same_arrows() {
    let path = "docs/architecture.md";
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
    report(&document_errors(&text.unwrap_or_else(|error| panic!("{path}: {error}"))));
}

/// Fails with all errors at once.
fn report(errors: &[String]) {
    assert!(errors.is_empty(), "{} errors:\n\n{}\n", errors.len(), errors.join("\n\n"));
}

/// All files of `src`, by their paths from the repository's root.
fn sources() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts = BTreeMap::new();
    walk(&root.join("src"), &mut |path| {
        if path.extension().is_some_and(|it| it == "rs") {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            texts.insert(name, std::fs::read_to_string(path).unwrap());
        }
    });
    texts
}

/// Visits every file but those of builds, git and sweeps.
fn walk(folder: &Path, visit: &mut impl FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let skipped = ["target", ".git", "runs"].iter().any(|name| path.ends_with(name));
        if path.is_dir() && !skipped {
            walk(&path, visit);
        } else if path.is_file() {
            visit(&path);
        }
    }
}

/// Whether a room is one of a list, or inside of one.
fn is_in(room: &str, list: &str) -> bool {
    let inside =
        |of: &str| room == of || room.strip_prefix(of).is_some_and(|it| it.starts_with('/'));
    list.split(", ").any(|entry| match entry {
        "everything" => true,
        "words" => WORDS.iter().any(|word| inside(word)),
        entry => inside(entry),
    })
}

/// What the rows of a room and of its outer rooms allow.
fn allowed(room: &str) -> Vec<&'static str> {
    let rows = ARROWS.iter().filter(|(of, _)| is_in(room, of));
    rows.map(|(_, may)| *may).collect()
}

fn forbidden_imports(graph: &Graph) -> Vec<String> {
    let mut errors: BTreeMap<String, String> = BTreeMap::new();
    for edge in &graph.edges {
        let (from, to) = (graph.files[edge.from].room(), graph.files[edge.to].room());
        let outer = |room: &str| room.split('/').next().unwrap_or_default().to_owned();
        // The root of the library is nobody's room: it lists the modules.
        if from.is_empty() || to.is_empty() || outer(&from) == outer(&to) {
            continue;
        }
        let may = allowed(&from);
        if may.is_empty() {
            let error = format!(
                "`{from}` is no room of the table ARROWS in tests/default/architecture/mod.rs: \
                 add it there and in docs/architecture.md"
            );
            errors.insert(outer(&from), error);
        } else if !may.iter().any(|list| is_in(&to, list)) {
            let error = format!(
                "{}\n  `{from}` may not import `{to}`. It may import: {}.\n  Move what both need \
                 below both, hand it in as a value, or turn the import around.",
                graph.describe(edge),
                may.join(", ")
            );
            errors.insert(format!("{}:{:5}", graph.files[edge.from].path, edge.line), error);
        }
    }
    errors.into_values().collect()
}

fn strayed_crates(graph: &Graph) -> Vec<String> {
    let mut errors = Vec::new();
    for file in &graph.files {
        let references = file.source.scopes.iter().flat_map(|scope| &scope.references);
        for reference in references {
            for (name, rooms) in CRATES {
                if reference.segments[0] == name && !is_in(&file.room(), rooms) {
                    errors.push(format!(
                        "{}:{} uses `{}`\n  The crate `{name}` stays in: {rooms}.",
                        file.path,
                        reference.line,
                        reference.segments.join("::")
                    ));
                }
            }
        }
    }
    errors
}

fn circles(graph: &Graph) -> Vec<String> {
    let describe = |what: &str, knot: &graph::Knot| {
        let mut error = format!("{} {what} import each other in circles:", knot.nodes.len());
        for circle in &knot.circles {
            for edge in circle {
                write!(error, "\n  {}", graph.describe(edge)).unwrap();
            }
            error += "\n";
        }
        write!(error, "  All of them: {}.", knot.nodes.join(", ")).unwrap();
        error + "\n  Move what both ends need into a file below them, or into their parent module."
    };
    let files = graph.circles();
    let files = files.iter().map(|knot| describe("files", knot));
    let rooms = graph.room_circles();
    files.chain(rooms.iter().map(|knot| describe("rooms", knot))).collect()
}

fn long_files(texts: &BTreeMap<String, String>) -> Vec<String> {
    let counted = texts.iter().map(|(path, text)| (path, text.lines().count()));
    let long = counted.filter(|(_, lines)| *lines > MAX_LINES);
    long.map(|(path, lines)| {
        format!(
            "{path} has {lines} lines, at most {MAX_LINES} are allowed: split it by what it does"
        )
    })
    .collect()
}

/// Documents, sources and tables that a comment names and the repository lacks. Files
/// that are written at run time have other endings.
fn unknown_files(texts: &BTreeMap<String, String>, known: &BTreeSet<String>) -> Vec<String> {
    let mut errors = Vec::new();
    for (path, text) in texts {
        for (first, comment) in source::Source::read(text).comments {
            for (line, text) in comment.lines().enumerate() {
                let is_part = |it: char| it.is_alphanumeric() || "_-./".contains(it);
                for word in text.split(|it| !is_part(it)) {
                    let word = word.trim_end_matches('.');
                    let name = word.rsplit('/').next().unwrap_or_default();
                    let ending = name
                        .rsplit_once('.')
                        .map_or("", |(stem, ending)| if stem.is_empty() { "" } else { ending });
                    if ["md", "rs", "sh", "tsv", "txt"].contains(&ending) && !known.contains(name) {
                        errors.push(format!(
                            "{path}:{} names `{word}`, and no file of the repository is called so: \
                             say what it says, or name the file in docs/",
                            first + line
                        ));
                    }
                }
            }
        }
    }
    errors
}

/// The table as it stands in the document.
fn arrow_table() -> String {
    let mut table = "| room | may import |\n|---|---|\n".to_owned();
    for (room, may) in ARROWS {
        writeln!(table, "| {room} | {may} |").unwrap();
    }
    table
}

fn document_errors(text: &str) -> Vec<String> {
    let (open, close) = ("<!-- arrows -->", "<!-- /arrows -->");
    let table = text.split_once(open).and_then(|(_, rest)| rest.split_once(close));
    let Some((table, _)) = table else {
        return vec![format!(
            "docs/architecture.md has no table between {open} and {close}. It is:\n\n{}",
            arrow_table()
        )];
    };
    let rows = |table: &str| -> Vec<String> {
        let cells = |row: &str| {
            let cells = row.trim().trim_matches('|').split('|');
            cells
                .map(|cell| cell.replace('`', "").trim().to_owned())
                .collect::<Vec<_>>()
                .join(" | ")
        };
        table.lines().filter(|row| !row.trim().is_empty()).map(cells).skip(2).collect()
    };
    let (theirs, ours) = (rows(table), rows(&arrow_table()));
    let missing = ours.iter().filter(|row| !theirs.contains(row)).map(|row| {
        format!("docs/architecture.md lacks this row of ARROWS (tests/default/architecture/mod.rs):\n  | {row} |")
    });
    let extra = theirs.iter().filter(|row| !ours.contains(row)).map(|row| {
        format!("docs/architecture.md has a row that ARROWS (tests/default/architecture/mod.rs) lacks:\n  | {row} |")
    });
    let mut errors: Vec<String> = missing.chain(extra).collect();
    if errors.is_empty() && theirs != ours {
        errors.push(format!("docs/architecture.md: another order than\n\n{}", arrow_table()));
    }
    errors
}
