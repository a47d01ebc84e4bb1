//! Who imports whom: finds the files behind the paths of [`super::source`], and the
//! circles between them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::source::{Reference, Scope, Source};

/// How a crate names the library; in the library itself it is `crate`.
const LIBRARY: &str = "vllm_grid";

/// A file of the crate.
pub(crate) struct File {
    /// From the root of the repository, e.g. `src/engine/mod.rs`.
    pub(crate) path: String,
    /// Its module, `lib` or `main` first.
    pub(crate) module: Vec<String>,
    pub(crate) source: Source,
}

impl File {
    /// The room with its inner rooms, e.g. `engine/simulated`; `main` for the binary.
    pub(crate) fn room(&self) -> String {
        if self.module[0] == "main" { "main".to_owned() } else { self.module[1..].join("/") }
    }

    fn is_kin_of(&self, other: &Self) -> bool {
        self.module.starts_with(&other.module) || other.module.starts_with(&self.module)
    }
}

/// A path in one file that leads to another one.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) line: usize,
    pub(crate) written: String,
}

/// All files of library and binary that are no tests, and what they import.
pub(crate) struct Graph {
    pub(crate) files: Vec<File>,
    pub(crate) edges: Vec<Edge>,
    /// A module's file and scope.
    modules: BTreeMap<Vec<String>, (usize, usize)>,
}

impl Graph {
    /// `texts` are all files by their paths; modules are followed from `src/lib.rs`
    /// and `src/main.rs`, so that tests and strays stay out.
    pub(crate) fn of(texts: &BTreeMap<String, String>) -> Self {
        let mut graph = Self { files: Vec::new(), edges: Vec::new(), modules: BTreeMap::new() };
        for root in ["lib", "main"] {
            let path = format!("src/{root}.rs");
            if texts.contains_key(&path) {
                graph.add(texts, path, vec![root.to_owned()]);
            }
        }
        for from in 0..graph.files.len() {
            for scope in &graph.files[from].source.scopes {
                let module = [&graph.files[from].module[..], &scope.path[..]].concat();
                for reference in &scope.references {
                    let edges = graph.edges_of(from, &module, reference);
                    graph.edges.extend(edges);
                }
            }
        }
        graph
    }

    fn add(&mut self, texts: &BTreeMap<String, String>, path: String, module: Vec<String>) {
        let source = Source::read(&texts[&path]);
        let folder = if ["/lib.rs", "/main.rs", "/mod.rs"].iter().any(|end| path.ends_with(end)) {
            path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned()
        } else {
            path.trim_end_matches(".rs").to_owned()
        };
        let mut children = Vec::new();
        for (number, scope) in source.scopes.iter().enumerate() {
            let inner = [&module[..], &scope.path[..]].concat();
            self.modules.insert(inner.clone(), (self.files.len(), number));
            let folder = [std::slice::from_ref(&folder), &scope.path[..]].concat().join("/");
            for child in &scope.children {
                let ways = [format!("{folder}/{child}.rs"), format!("{folder}/{child}/mod.rs")];
                let found = ways.iter().find(|way| texts.contains_key(*way));
                let file = found.unwrap_or_else(|| panic!("{path}: no file for `mod {child};`"));
                children.push((file.clone(), [&inner[..], std::slice::from_ref(child)].concat()));
            }
        }
        self.files.push(File { path, module, source });
        for (file, module) in children {
            self.add(texts, file, module);
        }
    }

    fn edges_of(&self, from: usize, module: &[String], reference: &Reference) -> Vec<Edge> {
        let mut files = BTreeSet::new();
        self.resolve(module, &reference.segments, &mut files, 0);
        files.remove(&from);
        let written = reference.segments.join("::");
        let edge = |to| Edge { from, to, line: reference.line, written: written.clone() };
        files.into_iter().map(edge).collect()
    }

    /// Collects the file that a path leads to, and those that pass it on with a
    /// `use` of their own.
    fn resolve(
        &self,
        module: &[String],
        path: &[String],
        files: &mut BTreeSet<usize>,
        depth: usize,
    ) {
        let Some((first, mut rest)) = path.split_first() else { return };
        // A name can stand for itself: `use name::name` of another crate.
        if depth > 8 {
            return;
        }
        let mut here = match &**first {
            "crate" => module[..1].to_vec(),
            LIBRARY if module[0] == "main" => vec!["lib".to_owned()],
            "self" => module.to_vec(),
            "super" if module.len() > 1 => module[..module.len() - 1].to_vec(),
            _ => {
                let mut child = module.to_vec();
                child.push(first.clone());
                if !self.modules.contains_key(&child) {
                    if let Some(stands_for) = self.scope(module).and_then(|it| it.names.get(first))
                        && stands_for != path
                    {
                        let path = [&stands_for[..], rest].concat();
                        self.resolve(module, &path, files, depth + 1);
                    }
                    return;
                }
                child
            }
        };
        while let Some((next, after)) = rest.split_first() {
            let mut child = here.clone();
            child.push(next.clone());
            if next == "super" {
                here.pop();
            } else if self.modules.contains_key(&child) {
                here = child;
            } else {
                if let Some(stands_for) = self.scope(&here).and_then(|it| it.names.get(next)) {
                    let path = [&stands_for[..], after].concat();
                    self.resolve(&here, &path, files, depth + 1);
                }
                break;
            }
            rest = after;
        }
        files.extend(self.modules.get(&here).map(|(file, _)| *file));
    }

    fn scope(&self, module: &[String]) -> Option<&Scope> {
        let (file, scope) = self.modules.get(module)?;
        self.files[*file].source.scopes.get(*scope)
    }

    /// Knots of files. A module and what is inside it may use each other.
    pub(crate) fn circles(&self) -> Vec<Knot<'_>> {
        let strangers = |edge: &&Edge| !self.files[edge.from].is_kin_of(&self.files[edge.to]);
        let edges: Vec<&Edge> = self.edges.iter().filter(strangers).collect();
        knots(&edges, |file| self.files[file].path.clone())
    }

    /// Knots of rooms.
    pub(crate) fn room_circles(&self) -> Vec<Knot<'_>> {
        let room = |file: usize| self.files[file].room().split('/').next().unwrap_or("").to_owned();
        let edges: Vec<&Edge> =
            self.edges.iter().filter(|edge| room(edge.from) != room(edge.to)).collect();
        knots(&edges, room)
    }

    /// `src/a.rs:3 uses crate::b::B (src/b.rs)`
    pub(crate) fn describe(&self, edge: &Edge) -> String {
        let (from, to) = (&self.files[edge.from].path, &self.files[edge.to].path);
        format!("{from}:{} uses `{}` ({to})", edge.line, edge.written)
    }
}

/// Nodes that all lead to each other, and shortest circles through them.
pub(crate) struct Knot<'a> {
    pub(crate) nodes: Vec<String>,
    /// No two share a node.
    pub(crate) circles: Vec<Vec<&'a Edge>>,
}

/// Knots of nodes, each of which is what `node` makes of a file.
fn knots<'a>(edges: &[&'a Edge], node: impl Fn(usize) -> String) -> Vec<Knot<'a>> {
    let mut from: Arrows<'a> = BTreeMap::new();
    for edge in edges {
        from.entry(node(edge.from)).or_default().push((node(edge.to), edge));
    }
    let reached: BTreeMap<&String, BTreeSet<String>> =
        from.keys().map(|start| (start, reachable(&from, start))).collect();
    let mut circles: Vec<_> = from.keys().filter_map(|start| way_back(&from, start)).collect();
    circles.sort_by_key(Vec::len);
    let (mut found, mut seen): (Vec<Knot<'a>>, BTreeSet<String>) = (Vec::new(), BTreeSet::new());
    for circle in circles {
        let nodes: Vec<String> = circle.iter().map(|edge| node(edge.from)).collect();
        if nodes.iter().any(|it| seen.contains(it)) {
            continue;
        }
        if let Some(knot) = found.iter_mut().find(|knot| knot.nodes.contains(&nodes[0])) {
            knot.circles.push(circle);
        } else {
            let first = &nodes[0];
            let back = |it: &&String| reached.get(it).is_some_and(|to| to.contains(first));
            let nodes = reached[first].iter().filter(back).cloned().collect();
            found.push(Knot { nodes, circles: vec![circle] });
        }
        seen.extend(nodes);
    }
    found
}

type Arrows<'a> = BTreeMap<String, Vec<(String, &'a Edge)>>;

fn reachable(from: &Arrows, start: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut next = vec![start];
    while let Some(node) = next.pop() {
        for (to, _) in from.get(node).into_iter().flatten() {
            if reached.insert(to.clone()) {
                next.push(to);
            }
        }
    }
    reached
}

/// The shortest way from a node to itself.
fn way_back<'a>(from: &Arrows<'a>, start: &String) -> Option<Vec<&'a Edge>> {
    let mut came: BTreeMap<String, (String, &'a Edge)> = BTreeMap::new();
    let mut next = VecDeque::from([start.clone()]);
    while let Some(node) = next.pop_front() {
        for (to, edge) in from.get(&node).into_iter().flatten() {
            if came.contains_key(to) {
                continue;
            }
            came.insert(to.clone(), (node.clone(), edge));
            if to != start {
                next.push_back(to.clone());
                continue;
            }
            let mut way = Vec::new();
            let mut at = start.clone();
            loop {
                let (before, edge) = &came[&at];
                way.insert(0, *edge);
                at = before.clone();
                if at == *start {
                    return Some(way);
                }
            }
        }
    }
    None
}
