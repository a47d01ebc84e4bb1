//! What a grid is after: workloads, objective and constraints, strategy, budget.

use std::path::Path;

use serde_json::Map;

use super::fault::Findings;
use super::fields::{Fields, json, list, mapping};
use super::node::{Content, Key, Node, Span};
use crate::metric::{Constraint, Direction, Form, Goal, Metric, MetricRef, Objective};
use crate::strategy::{GridStrategy, StrategySpec};
use crate::workload::{Datasets, KINDS, Workload};

/// The benchmark suite.
pub(super) fn workloads(node: &Node, key: &Key, findings: &mut Findings) -> Vec<Workload> {
    let Some(entries) = mapping(node, "`workloads`", findings) else { return Vec::new() };
    if entries.is_empty() {
        findings.fault(&key.span, "`workloads` names no workload");
    }
    let mut suite: Vec<Workload> = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for (key, node) in entries {
        let name = key.text.replace('_', "-");
        if seen.contains(&name) {
            findings.fault(&key.span, format!("workload `{name}` is given twice"));
            continue;
        }
        seen.push(name);
        let mut options = Map::new();
        let entries = match &node.content {
            Content::Null => &[][..],
            _ => match mapping(node, &format!("`{}`", key.text), findings) {
                Some(entries) => entries,
                None => continue,
            },
        };
        let faults = findings.faults.len();
        for (option, value) in entries {
            if let Some(value) = json(&option.text, value, findings)
                && options.insert(option.text.clone(), value).is_some()
            {
                findings.fault(&option.span, format!("key `{}` is given twice", option.text));
            }
        }
        match Workload::from_options(&key.text, &options) {
            Ok(workload) if findings.faults.len() == faults => suite.push(workload),
            Ok(_) => {}
            Err(refused) => {
                for fault in refused {
                    let name = fault.key.replace('_', "-");
                    let value = entries.iter().find(|(key, _)| key.text.replace('_', "-") == name);
                    let unknown = fault.message.starts_with("unknown");
                    let span = match value {
                        Some((option, _)) if unknown => &option.span,
                        Some((_, value)) => &value.span,
                        None => &key.span,
                    };
                    findings.fault(span, fault.message);
                }
            }
        }
    }
    suite
}

/// Reads the files that prompts come from, those of workloads with faulty options
/// too. `suite` holds the workloads without.
pub(super) fn datasets(
    node: &Node,
    suite: &[Workload],
    folder: &Path,
    findings: &mut Findings,
) -> Datasets {
    let mut datasets = Datasets::relative_to(folder);
    for kind in KINDS.iter().filter(|kind| kind.takes("dataset")) {
        let Some(place) = node.entry(kind.name).and_then(|options| options.entry("dataset")) else {
            continue;
        };
        let Content::Text(path) = &place.content else { continue };
        let checked = match suite.iter().find(|workload| workload.kind().name == kind.name) {
            Some(workload) => datasets.check(workload),
            None => datasets.get(Path::new(path)).map(|_| ()),
        };
        if let Err(fault) = checked {
            findings.fault(&place.span, fault.to_string()).help(fault.help());
        }
    }
    datasets
}

/// The objective with its constraints. `suite` is `None` where the workloads
/// have faults of their own, so that no fault is told twice.
pub(super) fn objective(
    node: &Node,
    span: &Span,
    suite: Option<&[Workload]>,
    findings: &mut Findings,
) -> Option<Objective> {
    let known = ["minimize", "maximize", "constraints"];
    let fields = Fields::of(node, "`objective`", span, &known, findings)?;
    let constraints = match fields.given("constraints") {
        Some((_, node)) => list(node, "`constraints`", findings)
            .unwrap_or_default()
            .iter()
            .filter_map(|item| constraint(item, suite, findings))
            .collect(),
        None => Vec::new(),
    };
    let goal = match (fields.given("minimize"), fields.given("maximize")) {
        (Some(_), None) => ("minimize", Goal::Minimize, Direction::Higher),
        (None, Some(_)) => ("maximize", Goal::Maximize, Direction::Lower),
        (Some(_), Some((key, _))) => {
            findings
                .fault(&key.span, "`minimize` and `maximize` are both given")
                .help("there is one objective: bound the other metric under `constraints`");
            return None;
        }
        (None, None) => {
            findings
                .fault(&fields.span, "`objective` needs `minimize` or `maximize`")
                .help("for example `minimize: kv_cache.ttft_resent_ms`");
            return None;
        }
    };
    let (key, goal, against) = goal;
    let (text, span) = fields.text(key, findings)?;
    let (reference, metric) = metric(text, span, suite, findings)?;
    if metric.is_some_and(|metric| metric.direction == against) {
        let better = if goal == Goal::Minimize { "more" } else { "less" };
        findings.warning(
            Some(span),
            format!("of {reference}, {better} is better, and this is `{key}`"),
        );
    }
    Some(Objective { metric: reference, goal, constraints })
}

fn constraint(
    node: &Node,
    suite: Option<&[Workload]>,
    findings: &mut Findings,
) -> Option<Constraint> {
    let what = "a constraint";
    let fields = Fields::of(node, what, &node.span, &["metric", "min", "max"], findings)?;
    let min = fields.number("min", findings);
    let max = fields.number("max", findings);
    let bound = fields.given("max").or_else(|| fields.given("min"));
    let named = fields.given("metric").map(|(key, _)| key.span.clone());
    match (&bound, named) {
        (None, Some(span)) => {
            findings.fault(&span, "this constraint has neither `min` nor `max`");
        }
        (None, None) => {
            findings.fault(&node.span, "a constraint needs `metric`, and `min` or `max`");
        }
        (Some((key, _)), None) => {
            findings.fault(&key.span, "this constraint names no `metric`");
        }
        (Some((key, _)), Some(_)) if matches!((min, max), (Some(min), Some(max)) if min > max) => {
            findings.fault(&key.span, "no value is above `min` and below `max`");
        }
        _ => {}
    }
    let (text, span) = fields.text("metric", findings)?;
    let (metric, _) = metric(text, span, suite, findings)?;
    Some(Constraint { metric, min, max })
}

/// A metric that the suite yields, exactly once.
fn metric(
    text: &str,
    span: &Span,
    suite: Option<&[Workload]>,
    findings: &mut Findings,
) -> Option<(MetricRef, Option<&'static Metric>)> {
    let reference: MetricRef = match text.parse() {
        Ok(reference) => reference,
        Err(fault) => {
            let fault = format!("{fault}");
            findings.fault(span, fault);
            return None;
        }
    };
    let Some(suite) = suite else { return Some((reference, None)) };
    let Some(workload) = suite.iter().find(|it| it.kind().key == reference.workload) else {
        let keys: Vec<&str> = suite.iter().map(|workload| workload.kind().key).collect();
        let exists = crate::workload::KINDS.iter().any(|kind| kind.key == reference.workload);
        let help = match crate::workload::nearest(&reference.workload, &keys) {
            Some(near) => format!("did you mean `{near}`?"),
            None if exists => format!("add it to `workloads`, which has: {}", keys.join(", ")),
            None => format!("workloads of this grid: {}", keys.join(", ")),
        };
        let message = format!("no workload of this grid yields `{reference}`");
        findings.fault(span, message).help(help);
        return None;
    };
    let kind = workload.kind();
    let Some(metric) = kind.all_metrics().find(|metric| metric.name == reference.name) else {
        let names: Vec<&str> = kind.metrics.iter().map(|metric| metric.name).collect();
        let help = match crate::workload::nearest(&reference.name, &names) {
            Some(near) => format!("did you mean `{}.{near}`?", kind.key),
            None => format!("its metrics: {}", names.join(", ")),
        };
        let message = format!("`{}` yields no metric `{}`", kind.name, reference.name);
        findings.fault(span, message).help(help);
        return None;
    };
    let what = match metric.form() {
        Form::Number => None,
        Form::Text => Some("a text"),
        Form::List => Some("a list of numbers"),
    };
    if let Some(what) = what {
        findings.fault(span, format!("`{reference}` is {what}: it has no order"));
        return None;
    }
    let cases = workload.cases();
    let single = cases == [""];
    let written = |case: &str| format!("{}[{case}].{}", kind.key, metric.name);
    match &reference.case {
        None if cases.len() > 1 => {
            let all: Vec<String> = cases.iter().map(|case| written(case)).collect();
            let message =
                format!("`{reference}` is ambiguous: `{}` has {} cases", kind.name, cases.len());
            findings.fault(span, message).help(format!("write one of {}", all.join(", ")));
            return None;
        }
        Some(case) if single => {
            let message = format!("`{}` has one case only, so `{case}` is not in use", kind.name);
            findings.fault(span, message).help(format!("write `{}.{}`", kind.key, metric.name));
            return None;
        }
        Some(case) if !cases.contains(case) => {
            let message = format!("`{}` has no case `{case}`", kind.name);
            findings.fault(span, message).help(format!("its cases: {}", cases.join(", ")));
            return None;
        }
        _ => {}
    }
    Some((reference, Some(metric)))
}

/// How launches are chosen.
pub(super) fn strategy(node: &Node, span: &Span, findings: &mut Findings) -> StrategySpec {
    let default = StrategySpec::Grid(GridStrategy::default());
    let entries = match &node.content {
        Content::Text(name) => {
            strategy_name(name, &node.span, findings);
            return default;
        }
        _ => match mapping(node, "`strategy`", findings) {
            Some(entries) => entries,
            None => return default,
        },
    };
    let mut spec = GridStrategy::default();
    if entries.len() != 1 {
        findings
            .fault(span, "`strategy` must name one strategy")
            .help("for example `strategy: {grid: {launches: 2, repeats: 5, seed: 1}}`");
    }
    for (key, node) in entries {
        if !strategy_name(&key.text, &key.span, findings) || matches!(node.content, Content::Null) {
            continue;
        }
        let known = ["launches", "repeats", "seed"];
        let Some(fields) = Fields::of(node, "`grid`", &key.span, &known, findings) else {
            continue;
        };
        let mut count = |name, default: u32| {
            let count = fields.count(name, 1, 10_000, findings);
            count.and_then(|count| u32::try_from(count).ok()).unwrap_or(default)
        };
        spec.launches = count("launches", spec.launches);
        spec.repeats = count("repeats", spec.repeats);
        let seed = fields.count("seed", 0, i64::MAX, findings);
        spec.seed = seed.and_then(|seed| u64::try_from(seed).ok()).unwrap_or(spec.seed);
    }
    StrategySpec::Grid(spec)
}

fn strategy_name(name: &str, span: &Span, findings: &mut Findings) -> bool {
    if name == "grid" {
        return true;
    }
    let fault = if name == "adaptive" {
        findings.fault(span, "the strategy `adaptive` does not exist yet")
    } else {
        findings.fault(span, format!("there is no strategy `{name}`"))
    };
    fault.help("the strategy there is: `grid`");
    false
}

/// Seconds of a budget such as `8h`, `90m`, `1h30m`.
pub(super) fn budget(node: &Node, findings: &mut Findings) -> Option<u64> {
    let seconds = match &node.content {
        Content::Text(text) => duration(text),
        _ => None,
    };
    if seconds.is_none() {
        let message = format!("`budget` must be a duration, not {}", node.describe());
        findings.fault(&node.span, message).help("write for example `8h`, `90m` or `1h30m`");
    }
    seconds
}

/// Seconds of a duration in whole days, hours, minutes and seconds, larger
/// units first; `None` where it is none, or 0.
fn duration(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut seconds = 0_u64;
    let mut units = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)].into_iter();
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].chars().next()?;
        let (_, factor) = units.find(|(known, _)| *known == unit)?;
        seconds = seconds.checked_add(number.checked_mul(factor)?)?;
        rest = rest[digits + unit.len_utf8()..].trim_start();
    }
    (seconds > 0).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_are_read_in_hours_minutes_and_seconds() {
        for (text, seconds) in [
            ("8h", Some(28_800)),
            ("90m", Some(5400)),
            ("1h30m", Some(5400)),
            ("1h 30m", Some(5400)),
            ("1d", Some(86_400)),
            ("45s", Some(45)),
            ("0h", None),
            ("8", None),
            ("h", None),
            ("30m1h", None),
            ("1,5h", None),
            ("99999999999999999999h", None),
            ("", None),
        ] {
            assert_eq!(duration(text), seconds, "{text}");
        }
    }
}
