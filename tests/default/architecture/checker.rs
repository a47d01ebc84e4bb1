//! The checks of the architecture find what they look for: made-up sources with
//! one error each, and ones without.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::Graph;
use super::source::Source;
use super::{
    arrow_table, circles, document_errors, forbidden_imports, long_files, strayed_crates,
    unknown_files,
};

fn texts(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

fn graph(files: &[(&str, &str)]) -> Graph {
    Graph::of(&texts(files))
}

/// Errors about the imports of one file, `room`, with this text.
fn imports(room: &str, text: &str) -> Vec<String> {
    let lib = "pub mod engine; pub mod history; pub mod metric; pub mod sweep;";
    let mut files = vec![
        ("src/lib.rs", lib),
        ("src/engine.rs", "pub mod simulated;"),
        ("src/engine/simulated.rs", ""),
        ("src/history.rs", "pub mod launch; pub mod replay; pub use launch::Launch;"),
        ("src/history/launch.rs", "pub struct Launch;"),
        ("src/history/replay.rs", ""),
        ("src/metric.rs", ""),
        ("src/sweep.rs", ""),
    ];
    files.retain(|(path, _)| *path != room);
    files.push((room, text));
    forbidden_imports(&graph(&files))
}

#[test]
fn an_import_against_the_arrows_is_named_with_its_line() {
    let errors = imports("src/metric.rs", "\n\nuse crate::sweep::Loop;");
    let error = errors.join("");
    assert!(
        error.starts_with("src/metric.rs:3 uses `crate::sweep::Loop` (src/sweep.rs)"),
        "{error}"
    );
    assert!(error.contains("`metric` may not import `sweep`. It may import: words."), "{error}");
}

#[test]
fn every_way_of_importing_is_seen() {
    for text in [
        "use crate::sweep::Loop;",
        "pub(crate) use crate::{metric::Metric, sweep::{Loop, run}};",
        "use crate::sweep as other;",
        "fn f() { crate::sweep::run(); }",
        "fn f(l: &super::sweep::Loop) {}",
        "mod inner { use super::super::sweep; }",
        "fn f() { use crate::sweep; }",
        "impl Trait for crate::sweep::Loop {}",
        "fn quote(it: char) -> bool { it == '\"' } use crate::sweep; const Q: char = '\"';",
        "const A: &str = r#\"\"#; use crate::sweep::Loop;",
        "#[cfg(not(test))] use crate::sweep::Loop;",
        "#[cfg(test)] mod tests { } use crate::sweep;",
        "fn f() { for it in crate::sweep::ALL {} }",
        "const A: Range<u32> = 0..crate::sweep::END;",
        "fn f() -> Loop { Loop { ..crate::sweep::Loop::default() } }",
    ] {
        assert_eq!(imports("src/metric.rs", text).len(), 1, "{text}");
    }
}

#[test]
fn what_is_no_import_is_passed_over() {
    for text in [
        "// use crate::sweep::Loop;\n/* use crate::sweep; /* crate::sweep::Loop */ */",
        "/// As [`Loop`](crate::sweep::Loop).\npub fn f() {}",
        "const A: &str = \"use crate::sweep::Loop;\";",
        "const A: &str = r##\"use crate::sweep::Loop; \"# \"##;",
        "#[cfg(test)] use crate::sweep::Loop;",
        "#[cfg(test)] mod tests { use crate::sweep::Loop; }",
        "#[cfg(test)] #[allow(x)] pub fn f<A, B>() -> A { crate::sweep::run() }",
        "struct A { #[cfg(test)] a: crate::sweep::Loop, b: u32 }",
        "pub(in crate::sweep) fn f<'a>(it: &'a str) -> impl Fn() + use<'a> { || () }",
        "use sweep::Loop; fn f() { sweep::run(); }",
    ] {
        assert_eq!(imports("src/metric.rs", text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn files_that_only_tests_compile_are_left_out() {
    let files = [
        ("src/lib.rs", "mod metric; mod sweep; #[cfg(test)] mod other;"),
        ("src/metric.rs", "#[cfg(test)]\nmod tests;"),
        ("src/metric/tests.rs", "use crate::sweep::Loop;"),
        ("src/other.rs", "use crate::sweep::Loop;"),
        ("src/sweep.rs", ""),
    ];
    assert_eq!(graph(&files).files.len(), 3);
    assert_eq!(forbidden_imports(&graph(&files)), Vec::<String>::new());
}

#[test]
fn inner_rooms_narrow_and_widen() {
    let text = "use crate::history::launch::Launch;";
    assert_eq!(imports("src/engine.rs", text).len(), 0);
    // Through the parent it could be anything of the room.
    assert_eq!(imports("src/engine.rs", "use crate::history::Launch;").len(), 1);
    assert_eq!(imports("src/engine.rs", "use crate::history::replay::replay;").len(), 1);
    let files = |of: &'static str| {
        graph(&[
            ("src/lib.rs", "pub mod engine; pub mod simulator;"),
            (
                "src/engine/mod.rs",
                if of == "outer" {
                    "mod simulated; use crate::simulator::boot;"
                } else {
                    "mod simulated;"
                },
            ),
            (
                "src/engine/simulated.rs",
                if of == "inner" { "use crate::simulator::boot;" } else { "" },
            ),
            ("src/simulator.rs", ""),
        ])
    };
    assert_eq!(forbidden_imports(&files("inner")).len(), 0);
    assert_eq!(forbidden_imports(&files("outer")).len(), 1);
}

#[test]
fn a_name_that_another_room_passes_on_leads_to_its_file() {
    let files = [
        ("src/lib.rs", "pub mod client; pub mod server; pub mod workload;"),
        ("src/client.rs", "use crate::server::Route;"),
        ("src/server.rs", "pub use crate::workload::Route;"),
        ("src/workload.rs", "pub struct Route;"),
    ];
    let errors = forbidden_imports(&graph(&files));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("src/client.rs:1") && errors[0].contains("(src/workload.rs)"));
}

#[test]
fn the_binary_may_use_everything_and_an_unknown_room_is_reported() {
    let files = [
        ("src/lib.rs", "pub mod sweep; pub mod cellar; pub mod metric;"),
        ("src/main.rs", "mod exit; use vllm_grid::sweep::Loop; use crate::exit::Exit;"),
        ("src/exit.rs", "use vllm_grid::cellar;"),
        ("src/sweep.rs", ""),
        ("src/metric.rs", ""),
        ("src/cellar.rs", "use crate::metric::Metric;"),
    ];
    let errors = forbidden_imports(&graph(&files));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("`cellar` is no room of the table"), "{errors:?}");
}

#[test]
fn a_circle_is_named_with_the_lines_that_tie_it() {
    let files = [
        ("src/lib.rs", "mod a; mod b; mod c; mod d;"),
        ("src/a.rs", "use crate::b::B;"),
        ("src/b.rs", "\nuse crate::c;\nfn f() { c::g(); }"),
        ("src/c.rs", "fn g() { super::a::f(); }"),
        ("src/d.rs", "use crate::a::A;"),
    ];
    let errors = circles(&graph(&files));
    // The same three files are rooms too.
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].starts_with("3 files import each other in circles:"), "{errors:?}");
    for line in [
        "src/a.rs:1 uses `crate::b::B` (src/b.rs)",
        "src/b.rs:2 uses `crate::c` (src/c.rs)",
        "src/c.rs:1 uses `super::a::f` (src/a.rs)",
    ] {
        assert!(errors[0].contains(line), "{line}: {errors:?}");
    }
    assert!(!errors[0].contains("src/d.rs"), "{errors:?}");
    assert!(errors[0].contains("All of them: src/a.rs, src/b.rs, src/c.rs."), "{errors:?}");
}

#[test]
fn a_knot_of_many_files_is_one_error() {
    let files = [
        ("src/lib.rs", "mod a;"),
        ("src/a/mod.rs", "mod b; mod c; mod d; mod e;"),
        ("src/a/b.rs", "use super::c::C;"),
        ("src/a/c.rs", "use super::{b::B, d::D};"),
        ("src/a/d.rs", "use super::e::E;"),
        ("src/a/e.rs", "use super::{d::D, b::B};"),
    ];
    let errors = circles(&graph(&files));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("4 files"), "{errors:?}");
    assert!(errors[0].contains("b.rs:1 uses `super::c::C`"), "{errors:?}");
    assert!(errors[0].contains("d.rs:1 uses `super::e::E`"), "{errors:?}");
}

#[test]
fn a_parent_and_its_children_are_no_circle_and_siblings_are() {
    let family = |first: &'static str, second: &'static str| {
        circles(&graph(&[
            ("src/lib.rs", "mod a;"),
            ("src/a/mod.rs", "mod b; mod c; pub use b::B; pub use c::C; pub struct Own;"),
            ("src/a/b.rs", first),
            ("src/a/c.rs", second),
        ]))
    };
    assert_eq!(
        family("use super::Own; pub struct B;", "use super::{Own, b};"),
        Vec::<String>::new()
    );
    assert_eq!(family("use super::c::C;", "use super::b::B;").len(), 1);
    // Through the parent's names it is the same circle.
    assert_eq!(family("use super::C;", "use crate::a::B;").len(), 1);
    assert_eq!(family("use super::*; use super::c;", "use super::{self, B};").len(), 1);
}

#[test]
fn rooms_in_a_circle_are_found_where_files_are_none() {
    let files = [
        ("src/lib.rs", "mod flags; mod metric;"),
        ("src/flags/mod.rs", "mod a; mod b;"),
        ("src/flags/a.rs", "use crate::metric::c::C;"),
        ("src/flags/b.rs", ""),
        ("src/metric/mod.rs", "mod c; mod d;"),
        ("src/metric/c.rs", ""),
        ("src/metric/d.rs", "use crate::flags::b::B;"),
    ];
    let errors = circles(&graph(&files));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("2 rooms import each other in circles:"), "{errors:?}");
}

#[test]
fn crates_long_files_and_unknown_names_are_found() {
    let files = [
        ("src/lib.rs", "mod engine; mod grid;"),
        ("src/engine.rs", "use bollard::Docker;"),
        ("src/grid.rs", "\nfn f() -> polars::prelude::DataFrame {}"),
    ];
    let errors = strayed_crates(&graph(&files));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("src/grid.rs:2 uses `polars::prelude::DataFrame`"), "{errors:?}");

    assert_eq!(long_files(&texts(&[("src/a.rs", &"\n".repeat(520))])).len(), 0);
    let errors = long_files(&texts(&[("src/a.rs", &"\n".repeat(521))]));
    assert!(errors[0].starts_with("src/a.rs has 521 lines"), "{errors:?}");

    let known = BTreeSet::from(["figures.md".to_owned()]);
    let text = "//! See `docs/figures.md`, and\n//! (`selection.md`, policy A).\nconst A: &str = \"b.md\"; // engine.log";
    let errors = unknown_files(&texts(&[("src/a.rs", text)]), &known);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("src/a.rs:2 names `selection.md`"), "{errors:?}");
}

#[test]
fn a_document_with_another_table_is_corrected() {
    let document = |table: &str| format!("# Rooms\n\n<!-- arrows -->\n{table}<!-- /arrows -->\n");
    let table = arrow_table();
    assert_eq!(document_errors(&document(&table)), Vec::<String>::new());
    assert_eq!(document_errors(&document(&table.replace("| grid |", "| `grid` |"))).len(), 0);
    assert_eq!(document_errors("# Rooms\n").len(), 1);
    let errors =
        document_errors(&document(&table.replace("| server | words |", "| server | bench |")));
    assert!(errors[0].contains("lacks this row") && errors[0].contains("| server | words |"));
    assert!(errors[1].contains("has a row") && errors[1].contains("| server | bench |"));
    assert_eq!(errors.len(), 2);
}

#[test]
fn a_use_tree_gives_each_of_its_names() {
    let text = "use crate::a::{self, b::{C, D as E}, f::*};\nuse std::fmt;";
    let source = Source::read(text);
    let names = &source.scopes[0].names;
    let stands_for = |name: &str| names.get(name).map(|path| path.join("::"));
    assert_eq!(stands_for("a").as_deref(), Some("crate::a"));
    assert_eq!(stands_for("C").as_deref(), Some("crate::a::b::C"));
    assert_eq!(stands_for("E").as_deref(), Some("crate::a::b::D"));
    assert_eq!(stands_for("D"), None);
    let paths: Vec<_> =
        source.scopes[0].references.iter().map(|it| it.segments.join("::")).collect();
    assert_eq!(paths, ["crate::a", "crate::a::b::C", "crate::a::b::D", "crate::a::f", "std::fmt"]);
    assert_eq!(source.lines, 2);
}
