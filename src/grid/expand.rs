//! From axes and rows to configurations: the product, what is left out of it,
//! what is added by name, and the merging of equals.

use std::collections::hash_map;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use itertools::Itertools;
use serde_json::Value;

use super::EngineBlock;
use super::error::Findings;
use super::name;
use super::node::Span;
use crate::configuration::{Configuration, Flags, Identity, Stack, hexadecimal};
use crate::flags::Entry;

/// Configurations for which there is room from the start.
const RESERVED: usize = 10_000;

/// The name of the configuration with the engine block's own flags.
pub(super) const PRODUCTION: &str = "production";

/// What is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A flag of vLLM.
    Flag,
    /// A variable of the server's environment.
    Environment,
    /// An interpolation variable of the compose file.
    Variable,
    /// The image.
    Image,
    /// The model.
    Model,
}

impl Kind {
    /// Whether it changes what is started, not how.
    pub(super) fn is_of_stack(self) -> bool {
        matches!(self, Self::Variable | Self::Image | Self::Model)
    }
}

/// A flag or variable and its values.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) values: Vec<Value>,
    pub(super) span: Span,
}

/// A setting of a row.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) value: Value,
    pub(super) span: Span,
}

/// A row of `include` or `exclude`.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) name: Option<String>,
    pub(super) settings: Vec<Setting>,
    /// The service that it names; nothing where it is the engine block's.
    pub(super) service: Stack,
    pub(super) span: Span,
}

/// Puts what a setting names into a stack; null leaves what is there.
fn replace(stack: &mut Stack, kind: Kind, name: &str, value: &Value) {
    let Value::String(text) = value else { return };
    match kind {
        Kind::Variable => {
            stack.variables.insert(name.to_owned(), text.clone());
        }
        Kind::Image => stack.image = Some(text.clone()),
        Kind::Model => stack.model = Some(text.clone()),
        Kind::Flag | Kind::Environment => {}
    }
}

fn word(kind: Kind, name: &str, value: &Value) -> String {
    match kind {
        Kind::Flag => name::word(name, value),
        Kind::Environment | Kind::Variable => name::variable_word(name, value),
        Kind::Image | Kind::Model => name::image_word(name, value),
    }
}

impl Row {
    /// What it starts in place of what the engine block names.
    pub(super) fn stack(&self) -> Stack {
        let mut stack = self.service.clone();
        for it in &self.settings {
            replace(&mut stack, it.kind, &it.name, &it.value);
        }
        stack
    }

    fn generated_name(&self) -> String {
        let service = self.service.service_label().map(|label| name::label_word(&label));
        let settings = self.settings.iter().map(|it| word(it.kind, &it.name, &it.value));
        let words: Vec<String> = service.into_iter().chain(settings).collect();
        name::join(words.iter().map(String::as_str))
    }
}

/// What the file asks for, checked piece by piece.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    pub(super) axes: Vec<Axis>,
    pub(super) include: Vec<Row>,
    pub(super) exclude: Vec<Row>,
}

/// What a draft expands to.
#[derive(Debug, Default)]
pub(super) struct Expansion {
    pub(super) configurations: Vec<Configuration>,
    /// Flags that differ between configurations, in the order of the file.
    pub(super) varied: Vec<String>,
    /// Names that rows have and generated configurations were to have, each with the name
    /// that the configuration has instead.
    pub(super) renamed: Vec<(String, String)>,
}

impl Draft {
    /// The flags that are set somewhere, and where first, in the order of the file.
    pub(super) fn settable(&self) -> Vec<(String, Span)> {
        let axes = self.axes.iter().map(|axis| (axis.kind, &axis.name, &axis.span));
        let rows = self.include.iter().flat_map(|row| &row.settings);
        axes.chain(rows.map(|setting| (setting.kind, &setting.name, &setting.span)))
            .filter(|(kind, _, _)| *kind == Kind::Flag)
            .unique_by(|(_, name, _)| *name)
            .map(|(_, name, span)| (name.clone(), span.clone()))
            .collect()
    }

    /// How many configurations there would be before exclusion and merging;
    /// `u128::MAX` means more than can be counted.
    pub(super) fn count(&self) -> u128 {
        let product = self.axes.iter().map(|axis| axis.values.len() as u128);
        let product =
            if self.axes.is_empty() { 0 } else { product.fold(1_u128, u128::saturating_mul) };
        product.saturating_add(self.include.len() as u128)
    }

    /// For each exclusion, which values of which axis it matches; `None` where
    /// the axis does not matter to it.
    pub(super) fn masks(&self, engine: &EngineBlock, findings: &mut Findings) -> Vec<Mask> {
        let mut masks = Vec::new();
        for row in &self.exclude {
            if let Some(mask) = self.mask(row, engine, findings) {
                masks.push(mask);
            }
        }
        masks
    }

    fn mask(&self, row: &Row, engine: &EngineBlock, findings: &mut Findings) -> Option<Mask> {
        let mut mask: Mask = vec![None; self.axes.len()];
        for setting in &row.settings {
            let axis = self
                .axes
                .iter()
                .position(|axis| axis.kind == setting.kind && axis.name == setting.name);
            let Some(axis) = axis else {
                let fixed = match setting.kind {
                    Kind::Flag => engine.flags().get(&setting.name),
                    _ => None,
                };
                if fixed == Some(&setting.value) {
                    continue;
                }
                let message = format!(
                    "this `exclude` matches nothing: `{}` is not among the parameters",
                    setting.name
                );
                findings.error(&setting.span, message);
                return None;
            };
            let matches: Vec<bool> =
                self.axes[axis].values.iter().map(|value| *value == setting.value).collect();
            if !matches.contains(&true) {
                let message = format!(
                    "this `exclude` matches nothing: `{}` never has that value",
                    setting.name
                );
                findings.error(&setting.span, message);
                return None;
            }
            mask[axis] = Some(matches);
        }
        let everything = mask.iter().flatten().all(|matches| !matches.contains(&false));
        if everything {
            findings.error(&row.span, "this `exclude` matches every combination");
            return None;
        }
        Some(mask)
    }

    /// Expands the draft, which must not be larger than what fits into memory.
    /// `masks` come from [`Draft::masks`].
    pub(super) fn expand(&self, engine: &EngineBlock, masks: &[Mask]) -> Expansion {
        let mut collector = Collector::new(engine);
        // What is excluded or equal to another takes no place.
        collector.reserve(usize::try_from(self.count()).unwrap_or(0).min(RESERVED));
        let explicit: HashSet<&str> =
            self.include.iter().filter_map(|row| row.name.as_deref()).collect();
        self.product(&mut collector, &explicit, masks);
        for row in &self.include {
            let name = match &row.name {
                Some(name) => name.clone(),
                None => collector.free(row.generated_name(), &explicit),
            };
            let entries: Vec<(Kind, Arc<Entry>)> = row
                .settings
                .iter()
                .map(|it| (it.kind, Arc::new((it.name.clone(), it.value.clone()))))
                .collect();
            collector.add(name, &row.service, entries.iter().map(|(kind, entry)| (*kind, entry)));
        }
        let varied = self.varied(&collector.configurations);
        let renamed = collector.settle_names();
        Expansion { configurations: collector.configurations, varied, renamed }
    }

    fn product(&self, collector: &mut Collector<'_>, explicit: &HashSet<&str>, masks: &[Mask]) {
        if self.axes.is_empty() {
            return;
        }
        let words = self.words();
        let own = Stack::default();
        // Each value of each axis once, shared by all configurations that have it.
        let entries: Vec<Vec<Arc<Entry>>> = self
            .axes
            .iter()
            .map(|axis| {
                let entry = |value: &Value| Arc::new((axis.name.clone(), value.clone()));
                axis.values.iter().map(entry).collect()
            })
            .collect();
        let indices = self.axes.iter().map(|axis| 0..axis.values.len());
        for combination in indices.multi_cartesian_product() {
            if masks.iter().any(|mask| excludes(mask, &combination)) {
                continue;
            }
            let parts = combination
                .iter()
                .zip(&words)
                .filter_map(|(index, words)| words.get(*index).map(String::as_str));
            let name = collector.free(name::join(parts), explicit);
            let settings = self.axes.iter().zip(&entries).zip(&combination);
            let settings = settings.map(|((axis, entries), index)| (axis.kind, &entries[*index]));
            collector.add(name, &own, settings);
        }
    }

    /// The word of each value of each axis; none for axes that do not vary,
    /// unless no axis does.
    fn words(&self) -> Vec<Vec<String>> {
        let any = self.axes.iter().any(|axis| axis.values.len() > 1);
        self.axes
            .iter()
            .map(|axis| {
                if any && axis.values.len() == 1 {
                    return Vec::new();
                }
                let mut words = HashSet::new();
                axis.values
                    .iter()
                    .map(|value| {
                        let word = word(axis.kind, &axis.name, value);
                        free(word, |word| words.insert(word.to_owned()))
                    })
                    .collect()
            })
            .collect()
    }

    fn varied(&self, configurations: &[Configuration]) -> Vec<String> {
        let differs =
            |name: &String| !configurations.iter().map(|it| it.flags.get(name)).all_equal();
        self.settable().into_iter().map(|(name, _)| name).filter(differs).collect()
    }
}

/// Which values of each axis an exclusion matches.
pub(super) type Mask = Vec<Option<Vec<bool>>>;

fn excludes(mask: &Mask, combination: &[usize]) -> bool {
    mask.iter()
        .zip(combination)
        .all(|(matches, index)| matches.as_ref().is_none_or(|matches| matches[*index]))
}

/// `wanted`, or `wanted-2` and so on where it is taken.
fn free(wanted: String, mut take: impl FnMut(&str) -> bool) -> String {
    if take(&wanted) {
        return wanted;
    }
    let mut number = 2_usize;
    loop {
        let name = format!("{wanted}-{number}");
        if take(&name) {
            return name;
        }
        number += 1;
    }
}

/// Gathers configurations, equals as one.
struct Collector<'a> {
    engine: &'a EngineBlock,
    configurations: Vec<Configuration>,
    /// The digest of what is asked for; and, as long as the service's own flags
    /// are not known, the flags that are taken away from them.
    by_digest: HashMap<([u8; 8], Vec<String>), usize>,
    generated: HashSet<String>,
    /// Names that rows have, and what generated configurations are called in their place.
    renamed: Vec<(String, String)>,
}

impl<'a> Collector<'a> {
    fn new(engine: &'a EngineBlock) -> Self {
        Self {
            engine,
            configurations: Vec::new(),
            by_digest: HashMap::new(),
            generated: HashSet::new(),
            renamed: Vec::new(),
        }
    }

    fn reserve(&mut self, configurations: usize) {
        self.configurations.reserve(configurations);
        self.by_digest.reserve(configurations);
        self.generated.reserve(configurations);
    }

    /// A generated name that is not taken yet.
    fn free(&mut self, wanted: String, explicit: &HashSet<&str>) -> String {
        let given = explicit.contains(wanted.as_str()).then(|| wanted.clone());
        let generated = &mut self.generated;
        let name = free(wanted, |name| {
            !explicit.contains(name) && name != PRODUCTION && generated.insert(name.to_owned())
        });
        self.renamed.extend(given.map(|given| (given, name.clone())));
        name
    }

    /// Takes the second name from those that turned out to be what the row of the first one
    /// asks for. Gives the others.
    fn settle_names(&mut self) -> Vec<(String, String)> {
        let mut renamed = std::mem::take(&mut self.renamed);
        renamed.retain(|(given, name)| {
            let named = self.configurations.iter_mut().find(|it| it.name == *given);
            let Some(named) = named.filter(|it| it.aliases.contains(name)) else { return true };
            named.aliases.retain(|alias| alias != name);
            false
        });
        renamed
    }

    fn add<'s>(
        &mut self,
        name: String,
        service: &Stack,
        settings: impl ExactSizeIterator<Item = (Kind, &'s Arc<Entry>)>,
    ) {
        let mut flags = self.engine.flags().with_space(settings.len());
        let mut varied = Flags::new().with_space(settings.len());
        let mut environment = BTreeMap::new();
        let mut stack = service.clone();
        for (kind, entry) in settings {
            match (kind, &entry.1) {
                (Kind::Flag, value) => {
                    if value.is_null() {
                        flags.remove(&entry.0);
                    } else {
                        flags.share(entry);
                    }
                    varied.share(entry);
                }
                (Kind::Environment, Value::String(text)) => {
                    environment.insert(entry.0.clone(), text.clone());
                }
                (kind, value) => replace(&mut stack, kind, &entry.0, value),
            }
        }
        flags.retain(|_, value| !value.is_null());
        let (image, model) = self.engine.started(&stack, None);
        let identity = Identity {
            engine: self.engine.name(),
            image: image.as_deref(),
            model: model.as_deref(),
            flags: &flags,
            environment: &environment,
            stack: &stack,
        };
        let digest = identity.digest();
        let unread = self.engine.lacks_service() || stack.has_service();
        let taken_away = if unread { nulls(&varied) } else { Vec::new() };
        match self.by_digest.entry((digest, taken_away)) {
            hash_map::Entry::Occupied(known) => {
                let known = &mut self.configurations[*known.get()];
                // A name that a person gave comes before a generated one.
                let chosen = !self.generated.contains(&name);
                if chosen && self.generated.contains(&known.name) {
                    known.aliases.push(std::mem::replace(&mut known.name, name));
                } else {
                    known.aliases.push(name);
                }
            }
            hash_map::Entry::Vacant(vacant) => {
                let id = hexadecimal(&vacant.key().0);
                vacant.insert(self.configurations.len());
                self.configurations.push(Configuration {
                    name,
                    aliases: Vec::new(),
                    id,
                    flags,
                    varied,
                    environment,
                    stack,
                    image,
                    model,
                });
            }
        }
    }
}

fn nulls(flags: &Flags) -> Vec<String> {
    flags.iter().filter(|(_, value)| value.is_null()).map(|(name, _)| name.clone()).collect()
}

/// Makes `production` one of the configurations: the one that equals the engine
/// block's own flags, or a further one, put first. Gives its name.
pub(super) fn add_production(engine: &EngineBlock, into: &mut Vec<Configuration>) -> String {
    let mut collector = Collector::new(engine);
    collector.add(PRODUCTION.to_owned(), &Stack::default(), std::iter::empty());
    let Some(production) = collector.configurations.pop() else { return PRODUCTION.to_owned() };
    let is_same = |known: &&mut Configuration| {
        known.id == production.id && (!engine.lacks_service() || nulls(&known.varied).is_empty())
    };
    if let Some(known) = into.iter_mut().find(is_same) {
        known.aliases.push(production.name);
        return known.name.clone();
    }
    into.insert(0, production);
    PRODUCTION.to_owned()
}
