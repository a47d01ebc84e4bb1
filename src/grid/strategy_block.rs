//! `strategy:` of a grid: how launches are chosen, and how often each configuration is
//! launched and measured. What the strategies do is decided in `strategy`; how many launches a
//! grid needs is known when it is expanded, and checked by [`enough`].

use super::error::Findings;
use super::fields::{Fields, mapping};
use super::node::{Content, Key, Node, Span};
use crate::flags::shown;
use crate::strategy::{
    AdaptiveStrategy, GridStrategy, MODELLED_TO, ModelStrategy, StrategySpec, Task,
};
use crate::workload::nearest;

/// Names of the strategies, as they are listed.
pub(super) const NAMES: [&str; 3] = ["grid", "adaptive", "model"];

/// Options of each.
pub(super) const OF_GRID: [&str; 3] = ["launches", "repeats", "seed"];
/// See [`OF_GRID`].
pub(super) const OF_ADAPTIVE: [&str; 4] = ["max-launches", "repeats", "probability", "seed"];
/// See [`OF_GRID`].
pub(super) const OF_MODEL: [&str; 5] =
    ["max-launches", "repeats", "probability", "seed", "predicted"];

/// Most launches of each configuration, and repeats, that are asked for.
pub(super) const MOST: i64 = 10_000;
/// Most launches in all that are asked for.
pub(super) const MOST_IN_ALL: i64 = 1_000_000;
/// The probability with which a race ends, at the least and at the most.
pub(super) const PROBABILITY: (f64, f64) = (0.5, 0.99);

/// How launches are chosen, as a grid says it.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// What it names; `None` where it names nothing, or nothing that there is.
    pub(super) spec: Option<StrategySpec>,
    /// Where `max-launches` is.
    max_launches: Option<Span>,
    /// Where `strategy` is.
    place: Option<Span>,
}

/// How launches are chosen.
pub(super) fn strategy(node: &Node, span: &Span, findings: &mut Findings) -> Chosen {
    let mut chosen = Chosen { place: Some(span.clone()), ..Chosen::default() };
    let entries = match &node.content {
        Content::Text(name) => {
            chosen.spec = by_name(name, &node.span, findings);
            return chosen;
        }
        _ => match mapping(node, "`strategy`", findings) {
            Some(entries) => entries,
            None => return chosen,
        },
    };
    if entries.len() != 1 {
        findings
            .error(span, "`strategy` must name one strategy")
            .help("for example `strategy: {grid: {launches: 4, repeats: 3, seed: 1}}`");
    }
    for (key, node) in entries {
        let Some(mut spec) = by_name(&key.text, &key.span, findings) else { continue };
        if !matches!(node.content, Content::Null) {
            chosen.max_launches = options(&mut spec, key, node, findings).or(chosen.max_launches);
        }
        chosen.spec = Some(spec);
    }
    chosen
}

/// Reads the options of a strategy; gives the place of `max-launches`.
fn options(
    spec: &mut StrategySpec,
    key: &Key,
    node: &Node,
    findings: &mut Findings,
) -> Option<Span> {
    let what = format!("`{}`", spec.name());
    let known: &[&str] = match spec {
        StrategySpec::Grid(_) => &OF_GRID,
        StrategySpec::Adaptive(_) => &OF_ADAPTIVE,
        StrategySpec::Model(_) => &OF_MODEL,
    };
    let fields = Fields::of(node, &what, &key.span, known, findings)?;
    match spec {
        StrategySpec::Grid(grid) => {
            grid.launches = count(&fields, "launches", MOST, findings).unwrap_or(grid.launches);
            (grid.repeats, grid.auto) = repeats(&fields, (grid.repeats, grid.auto), findings);
            grid.seed = seed(&fields, findings).unwrap_or(grid.seed);
            None
        }
        StrategySpec::Adaptive(racing) => race(racing, &fields, findings),
        StrategySpec::Model(model) => {
            let place = race(&mut model.racing, &fields, findings);
            model.predicted = fields.switch("predicted", findings).unwrap_or(model.predicted);
            place
        }
    }
}

/// The options of a race; gives the place of `max-launches`.
fn race(
    racing: &mut AdaptiveStrategy,
    fields: &Fields<'_>,
    findings: &mut Findings,
) -> Option<Span> {
    racing.max_launches = count(fields, "max-launches", MOST_IN_ALL, findings);
    (racing.repeats, racing.auto) = repeats(fields, (racing.repeats, racing.auto), findings);
    let range = PROBABILITY.0..=PROBABILITY.1;
    if let Some(probability) = fields.number("probability", findings) {
        if range.contains(&probability) {
            racing.probability = probability;
        } else if let Some((_, node)) = fields.given("probability") {
            let (least, most) = PROBABILITY;
            let message = format!("`probability` must be {least} to {most}, not {probability}");
            findings.error(&node.span, message);
        }
    }
    racing.seed = seed(fields, findings).unwrap_or(racing.seed);
    let (_, node) = fields.given("max-launches")?;
    racing.max_launches.map(|_| node.span.clone())
}

fn count(fields: &Fields<'_>, name: &str, most: i64, findings: &mut Findings) -> Option<u32> {
    let count = fields.count(name, 1, most, findings)?;
    u32::try_from(count).ok()
}

fn seed(fields: &Fields<'_>, findings: &mut Findings) -> Option<u64> {
    let seed = fields.count("seed", 0, i64::MAX, findings)?;
    u64::try_from(seed).ok()
}

/// Kept repeats, and whether the sweep chooses them itself: then these are the first.
fn repeats(fields: &Fields<'_>, default: (u32, bool), findings: &mut Findings) -> (u32, bool) {
    let is_auto = |node: &Node| matches!(&node.content, Content::Text(text) if text == "auto");
    if fields.get("repeats").is_some_and(|(_, node)| is_auto(node)) {
        return (default.0, true);
    }
    if let Some((_, node)) = fields.get("repeats")
        && matches!(node.content, Content::Text(_))
    {
        let message = format!(
            "`repeats` must be a whole number, 1 to {MOST}, or `auto`, not {}",
            node.describe()
        );
        findings.error(&node.span, message);
        return default;
    }
    count(fields, "repeats", MOST, findings).map_or(default, |fixed| (fixed, false))
}

/// The strategy of that name with its defaults.
fn by_name(name: &str, span: &Span, findings: &mut Findings) -> Option<StrategySpec> {
    match name {
        "grid" => return Some(StrategySpec::Grid(GridStrategy::default())),
        "adaptive" => return Some(StrategySpec::Adaptive(AdaptiveStrategy::default())),
        "model" => return Some(StrategySpec::Model(ModelStrategy::default())),
        _ => {}
    }
    let meant = nearest(name, &NAMES).map(|near| format!("did you mean `{near}`? "));
    findings.error(span, format!("there is no strategy `{}`", shown(name))).help(format!(
        "{}the strategies are `grid`, `adaptive` and `model`",
        meant.unwrap_or_default()
    ));
    None
}

/// Whether a model can decide between so many, and whether the launches are enough to begin
/// with: the first block, or a model's first part.
pub(super) fn enough(chosen: &Chosen, task: &Task, findings: &mut Findings) {
    let Some(spec) = &chosen.spec else { return };
    let models = matches!(spec, StrategySpec::Model(_)) && task.configurations > MODELLED_TO;
    if let Some(place) = chosen.place.as_ref().filter(|_| models) {
        let message = format!(
            "`model` takes at most {MODELLED_TO} configurations, and there are {}",
            task.configurations
        );
        findings.error(place, message).help("name `adaptive`, or leave configurations out");
    }
    let Some(span) = &chosen.max_launches else { return };
    let (racing, what) = match spec {
        StrategySpec::Grid(_) => return,
        StrategySpec::Adaptive(racing) => (racing, "its first block, with each configuration,"),
        StrategySpec::Model(model) => (&model.racing, "the first part of its screen"),
    };
    let (fewest, most) = (spec.fewest(task), racing.most(task));
    if most < fewest {
        let name = spec.name();
        findings
            .error(span, format!("`max-launches` is {most}, and `{name}` needs {fewest} or more"))
            .help(format!(
                "{what} has {fewest} launches for {} configurations",
                task.configurations
            ));
    }
}
