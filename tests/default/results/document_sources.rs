//! Every kind and key that the code can write into `report --format json`, read from the
//! declarations of its types: what no crafted sweep shows is documented, too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Types of which a report has values outside of `src/results`.
const OTHERS: [(&str, &[&str]); 6] = [
    ("src/report/document.rs", &["Document", "Row", "Measured"]),
    ("src/history/extent.rs", &["Extent", "State"]),
    ("src/history/launch.rs", &["FailureClass"]),
    ("src/statistics/interval.rs", &["Interval"]),
    ("src/strategy/confirm.rs", &["Ended"]),
    ("src/metric.rs", &["Objective", "Constraint", "Goal"]),
];

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a source file")
}

/// Kinds and keys of the serialised types of one file; of these types alone where some are
/// named.
fn declared(text: &str, types: &[&str], found: &mut BTreeSet<String>) {
    let mut serialised = false;
    let mut inside: Option<&str> = None;
    let mut attribute = String::new();
    for line in text.lines() {
        if line.starts_with("#[derive(") {
            serialised = line.contains("Serialize");
        }
        let item = line.trim_start_matches("pub ").trim_start_matches("pub(super) ");
        if let Some((kind, rest)) = item.split_once(' ')
            && ["struct", "enum"].contains(&kind)
            && !line.starts_with(' ')
        {
            let name = rest.split([' ', '<', '(', ';']).next().unwrap_or_default();
            let wanted = types.is_empty() || types.contains(&name);
            inside = (serialised && wanted && line.ends_with('{')).then_some(kind);
            serialised = false;
            continue;
        }
        if line == "}" {
            inside = None;
        }
        let Some(kind) = inside else { continue };
        let word = line.trim();
        if word.starts_with("#[serde(") {
            word.clone_into(&mut attribute);
            continue;
        }
        if word.starts_with("//") || word.starts_with('#') || word.is_empty() {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let is_variant = kind == "enum" && indent == 4;
        if is_variant && word.starts_with(char::is_uppercase) {
            let name = word.split([' ', ',', '(']).next().unwrap_or_default();
            found.insert(snake(name));
        } else if let Some((name, _)) = word.split_once(':')
            && !attribute.contains("skip)")
            && !attribute.contains("flatten")
        {
            let name = name.rsplit(' ').next().unwrap_or_default();
            let renamed = attribute.split_once("rename = \"").map(|(_, it)| it);
            let renamed = renamed.and_then(|it| it.split('"').next());
            found.insert(renamed.unwrap_or(name).to_owned());
        }
        attribute.clear();
    }
}

fn snake(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

/// What `compare` and `list` print are other documents.
fn is_of_others(path: &Path) -> bool {
    let of_others = |name: &str| name.starts_with("compar") || name == "listed.rs";
    path.file_name().is_some_and(|it| of_others(&it.to_string_lossy()))
}

#[test]
fn the_documentation_names_every_kind_and_key_that_is_declared() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    for folder in ["src/results", "src/results/reading"] {
        let files = std::fs::read_dir(root.join(folder)).expect("the folder");
        let files = files.map(|it| it.expect("an entry").path());
        let files: Vec<PathBuf> = files.filter(|it| it.extension().is_some()).collect();
        for file in files.iter().filter(|it| !is_of_others(it)) {
            declared(&read(file), &[], &mut found);
        }
    }
    for (file, types) in OTHERS {
        declared(&read(&root.join(file)), types, &mut found);
    }
    for known in ["two_groups", "client_late", "hides_rank_1", "shared_memory", "use", "of"] {
        assert!(found.contains(known), "{known} was not read: {found:?}");
    }
    assert!(found.len() > 200, "{}", found.len());
    let text = read(&root.join("docs/report-json.md"));
    let lost: Vec<&String> =
        found.iter().filter(|key| !text.contains(&format!("`{key}`"))).collect();
    assert!(lost.is_empty(), "docs/report-json.md does not name {lost:?}");
}
