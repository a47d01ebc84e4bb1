//! What a grid is after: workloads, objective and constraints, strategy.

use std::path::Path;

use serde_json::{Map, Value};

use super::error::Findings;
use super::fields::{Fields, json, list, mapping};
use super::node::{Content, Key, Node, Span};
use super::{request, unmeasured};
use crate::metric::{Constraint, Direction, Form, Goal, Metric, MetricRef, Objective};
use crate::statistics::{CONFIDENCE, upper_bound};
use crate::workload::{
    Datasets, Decided, KINDS, Kind, LAUNCH, LAUNCH_METRICS, RequestFields, Spec, Stability,
    Workload, nearest,
};

/// The benchmark suite, as far as it could be read.
#[derive(Debug, Default)]
pub(super) struct Suite {
    /// The workloads without errors.
    pub(super) workloads: Vec<Workload>,
    /// Every kind that the file names, or probably means.
    named: Vec<&'static Kind>,
    /// Whether these are all that it names: what is not among them is not run.
    is_known: bool,
}

impl Suite {
    fn keys(&self) -> Vec<&'static str> {
        self.named.iter().map(|kind| kind.key).collect()
    }

    /// Notes what a key of `workloads` names.
    fn name(&mut self, name: &str) {
        let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        let meant = if known.contains(&name) { Some(name) } else { nearest(name, &known) };
        match KINDS.iter().find(|kind| Some(kind.name) == meant) {
            Some(kind) => self.named.push(kind),
            None => self.is_known = false,
        }
    }
}

/// The benchmark suite.
/// `common`: the fields that the requests of all of them are to have.
pub(super) fn workloads(
    node: &Node,
    key: &Key,
    common: &RequestFields,
    findings: &mut Findings,
) -> Suite {
    let mut suite = Suite::default();
    let Some(entries) = mapping(node, "`workloads`", findings) else { return suite };
    if entries.is_empty() {
        findings.error(&key.span, "`workloads` names no workload");
    }
    suite.is_known = !entries.is_empty();
    let mut seen: Vec<String> = Vec::new();
    for (key, node) in entries {
        let name = key.text.replace('_', "-");
        if seen.contains(&name) {
            findings.error(&key.span, format!("workload `{name}` is given twice"));
            continue;
        }
        suite.name(&name);
        seen.push(name);
        let mut options = Map::new();
        let entries = match &node.content {
            Content::Null => &[][..],
            _ => match mapping(node, &format!("`{}`", key.text), findings) {
                Some(entries) => entries,
                None => continue,
            },
        };
        let errors = findings.errors.len();
        for (option, value) in entries {
            if let Some(value) = json(&option.text, value, findings)
                && options.insert(option.text.clone(), value).is_some()
            {
                findings.error(&option.span, format!("key `{}` is given twice", option.text));
            }
        }
        match Workload::from_options(&key.text, &options) {
            Ok(workload) if findings.errors.len() == errors => {
                let options = spelled(options);
                suite.workloads.push(workload.with_request(common, &options));
            }
            Ok(_) => {}
            Err(refused) => {
                for error in refused {
                    let name = error.key.replace('_', "-");
                    let value = entries.iter().find(|(key, _)| key.text.replace('_', "-") == name);
                    let unknown = error.message.starts_with("unknown");
                    let span = match value {
                        Some((option, value)) if !error.inside.is_empty() => {
                            request::place(option, value, &error.inside)
                        }
                        Some((option, _)) if unknown => &option.span,
                        Some((_, value)) => &value.span,
                        None => &key.span,
                    };
                    findings.error(span, error.message);
                }
            }
        }
    }
    suite
}

/// Options with their names spelled alike.
fn spelled(options: Map<String, Value>) -> Map<String, Value> {
    options.into_iter().map(|(name, value)| (name.replace('_', "-"), value)).collect()
}

/// Reads the files that prompts come from, those of workloads with options in error
/// too. `suite` has the workloads without.
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
        if let Err(error) = checked {
            findings.error(&place.span, error.to_string()).help(error.help());
        }
        if let Some(remark) = datasets.remark(Path::new(path)) {
            findings.warning(Some(&place.span), format!("{}: {remark}", kind.name));
        }
    }
    datasets
}

/// What is sought, and where the file names it.
pub(super) struct Sought {
    pub(super) objective: Objective,
    /// The metrics of the objective and of its constraints.
    pub(super) named: Vec<(MetricRef, Span)>,
    /// The key `objective`.
    pub(super) span: Span,
}

/// A metric as the file names it.
struct Named<'f> {
    reference: MetricRef,
    metric: &'static Metric,
    span: &'f Span,
}

/// The objective with its constraints. Of workloads that have errors of their own
/// only the metrics' names are checked: their cases are not known. `known`: its keys.
pub(super) fn objective(
    node: &Node,
    span: &Span,
    known: &[&str],
    suite: &Suite,
    findings: &mut Findings,
) -> Option<Sought> {
    let fields = Fields::of(node, "`objective`", span, known, findings)?;
    let (constraints, mut named): (Vec<_>, Vec<_>) = match fields.given("constraints") {
        Some((_, node)) => list(node, "`constraints`", findings)
            .unwrap_or_default()
            .iter()
            .filter_map(|item| constraint(item, suite, findings))
            .unzip(),
        None => (Vec::new(), Vec::new()),
    };
    let (key, goal) = match (fields.given("minimize"), fields.given("maximize")) {
        (Some(_), None) => ("minimize", Goal::Minimize),
        (None, Some(_)) => ("maximize", Goal::Maximize),
        (Some(_), Some((key, _))) => {
            findings
                .error(&key.span, "`minimize` and `maximize` are both given")
                .help("there is one objective: bound the other metric under `constraints`");
            return None;
        }
        (None, None) => {
            findings
                .error(&fields.span, "`objective` needs `minimize` or `maximize`")
                .help("for example `minimize: kv_cache.ttft_resent_ms`");
            return None;
        }
    };
    let (text, place) = fields.text(key, findings)?;
    let one = metric(text, place, suite, findings)?;
    direction(&one, goal, key, findings);
    decided(&one, suite, findings);
    named.insert(0, (one.reference.clone(), one.span.clone()));
    let objective = Objective { metric: one.reference, goal, constraints, further: Vec::new() };
    Some(Sought { objective, named, span: span.clone() })
}

/// Warns of an objective of which the opposite, or neither way, is better.
fn direction(one: &Named<'_>, goal: Goal, key: &str, findings: &mut Findings) {
    let Named { reference, metric, span } = one;
    let is_own = KINDS.iter().any(|kind| kind.metrics.contains(metric));
    let message = match (metric.direction, goal) {
        (Direction::Higher, Goal::Minimize) => {
            format!("of {reference}, more is better, and this is `{key}`")
        }
        (Direction::Lower, Goal::Maximize) => {
            format!("of {reference}, less is better, and this is `{key}`")
        }
        // What the machine uses, and how long a given number of requests takes, may
        // well be sought.
        (Direction::Neutral, _) if is_own && metric.unit != "s" => format!(
            "of {reference}, neither less nor more is better by itself: it is no merit to rank by \
             (`vllm-grid metrics` shows each metric's direction)"
        ),
        _ => return,
    };
    findings.warning(Some(span), message);
}

/// Warns of an objective that the workload decides itself, whatever serves it.
fn decided(one: &Named<'_>, suite: &Suite, findings: &mut Findings) {
    let Named { reference, span, .. } = one;
    let Some(workload) = suite.workloads.iter().find(|it| it.kind().key == reference.workload)
    else {
        return;
    };
    if let Some(Decided { why, help }) =
        workload.decided(reference.case.as_deref(), &reference.name)
    {
        findings.warning(
            Some(span),
            format!("{reference} does not tell configurations apart: {why}; {help}"),
        );
    }
}

/// A maximum of the failure rate's upper bound that not even a repeat without a failure
/// keeps.
fn failure_bound(
    reference: &MetricRef,
    max: Option<f64>,
    node: &Node,
    suite: &Suite,
    findings: &mut Findings,
) {
    let spec = suite.workloads.iter().find_map(|it| match &it.spec {
        Spec::Stability(spec) => Some(spec),
        _ => None,
    });
    let (Some(max), Some(requests)) = (max, spec.and_then(Stability::sent)) else { return };
    let least = |requests: u64| upper_bound(0, requests).unwrap_or(1.0);
    if reference.name != "failure_rate_high" || max >= least(requests) || max <= 0.0 {
        return;
    }
    let needed = (1.0 - CONFIDENCE).ln() / (-max).ln_1p();
    findings
        .error(
            &node.span,
            format!(
                "no repeat keeps this: of {requests} requests the upper bound is at least {:.1}%",
                100.0 * least(requests)
            ),
        )
        .help(format!(
            "set `requests` to {} or more, or bound `stability.failure_rate`, which counts the \
             requests of all repeats",
            needed.ceil()
        ));
}

fn constraint(
    node: &Node,
    suite: &Suite,
    findings: &mut Findings,
) -> Option<(Constraint, (MetricRef, Span))> {
    let what = "a constraint";
    let fields = Fields::of(node, what, &node.span, &["metric", "min", "max"], findings)?;
    let min = fields.number("min", findings);
    let max = fields.number("max", findings);
    let bound = fields.given("max").or_else(|| fields.given("min"));
    let named = fields.given("metric").map(|(key, _)| key.span.clone());
    match (&bound, named) {
        (None, Some(span)) => {
            findings.error(&span, "this constraint has neither `min` nor `max`");
        }
        (None, None) => {
            findings.error(&node.span, "a constraint needs `metric`, and `min` or `max`");
        }
        (Some((key, _)), None) => {
            findings.error(&key.span, "this constraint names no `metric`");
        }
        (Some((key, _)), Some(_)) if matches!((min, max), (Some(min), Some(max)) if min > max) => {
            findings.error(&key.span, "no value is above `min` and below `max`");
        }
        _ => {}
    }
    let (text, span) = fields.text("metric", findings)?;
    let Named { reference, metric, span } = metric(text, span, suite, findings)?;
    if let Some((_, node)) = fields.given("max") {
        failure_bound(&reference, max, node, suite, findings);
    }
    if metric.unit == "share" {
        for name in ["min", "max"] {
            if let Some((_, node)) = fields.given(name) {
                share(&reference, name, node, if name == "min" { min } else { max }, findings);
            }
        }
    }
    Some((Constraint { metric: reference.clone(), min, max }, (reference, span.clone())))
}

/// A bound on a share that every share keeps, or none can.
fn share(
    reference: &MetricRef,
    name: &str,
    node: &Node,
    bound: Option<f64>,
    findings: &mut Findings,
) {
    let Some(bound) = bound.filter(|bound| !(0.0..=1.0).contains(bound)) else { return };
    let message = format!("{reference} is a share, from 0 to 1, and `{name}` is {bound}");
    let help =
        (1.0..=100.0).contains(&bound).then(|| format!("write {} for {bound}%", bound / 100.0));
    // The other side of the range is a bound that does not bind.
    if (name == "min") == (bound > 1.0) {
        let error = findings.error(&node.span, format!("{message}: no value is within bounds"));
        error.help = help;
    } else {
        let help = help.map_or(String::new(), |help| format!("; {help}"));
        findings
            .warning(Some(&node.span), format!("{message}: every value is within bounds{help}"));
    }
}

/// A metric that the suite yields, exactly once.
fn metric<'f>(
    text: &str,
    span: &'f Span,
    suite: &Suite,
    findings: &mut Findings,
) -> Option<Named<'f>> {
    let reference: MetricRef = match text.parse() {
        Ok(reference) => reference,
        Err(error) => {
            let error = format!("{error}");
            findings.error(span, error);
            return None;
        }
    };
    if reference.workload == LAUNCH {
        return of_launch(reference, span, findings);
    }
    let kind = kind_of(&reference, span, suite, findings)?;
    let Some(metric) = kind.all_metrics().find(|metric| metric.name == reference.name) else {
        let names: Vec<&str> = kind.metrics.iter().map(|metric| metric.name).collect();
        let help = match nearest(&reference.name, &names) {
            Some(near) => format!("did you mean `{}.{near}`?", kind.key),
            None => format!("its metrics: {}", names.join(", ")),
        };
        let message = format!("`{}` yields no metric `{}`", kind.name, reference.name);
        findings.error(span, message).help(help);
        return None;
    };
    let what = match metric.form() {
        Form::Number => None,
        Form::Text => Some("a text"),
        Form::List => Some("a list of numbers"),
    };
    if let Some(what) = what {
        findings.error(span, format!("`{reference}` is {what}: it has no order"));
        return None;
    }
    if let Some(workload) = suite.workloads.iter().find(|it| it.kind().key == kind.key) {
        case(&reference, span, workload, findings)?;
        unmeasured::by_options(&reference, span, workload, findings);
    }
    Some(Named { reference, metric, span })
}

/// A metric of launches, which every sweep has.
fn of_launch<'f>(
    reference: MetricRef,
    span: &'f Span,
    findings: &mut Findings,
) -> Option<Named<'f>> {
    if let Some(case) = &reference.case {
        let message = format!("a launch has no cases, so `{case}` is not in use");
        findings
            .error(span, message)
            .help(format!("write `{}.{}`", reference.workload, reference.name));
        return None;
    }
    let Some(metric) = reference.known() else {
        let names: Vec<&str> = LAUNCH_METRICS.iter().map(|metric| metric.name).collect();
        let help = match nearest(&reference.name, &names) {
            Some(near) => format!("did you mean `{LAUNCH}.{near}`?"),
            None => format!("its metrics: {}", names.join(", ")),
        };
        findings.error(span, format!("a launch has no metric `{}`", reference.name)).help(help);
        return None;
    };
    Some(Named { reference, metric, span })
}

/// The kind of workload that a metric is of, where this grid runs one.
fn kind_of(
    reference: &MetricRef,
    span: &Span,
    suite: &Suite,
    findings: &mut Findings,
) -> Option<&'static Kind> {
    let kind = KINDS.iter().find(|kind| kind.key == reference.workload);
    let keys = suite.keys();
    if let Some(kind) = kind
        && (keys.contains(&kind.key) || !suite.is_known)
    {
        return Some(kind);
    }
    let help = match nearest(&reference.workload, &keys) {
        Some(near) => format!("did you mean `{near}`?"),
        None if kind.is_some() => format!("add it to `workloads`, which has: {}", keys.join(", ")),
        None if keys.is_empty() => {
            let known: Vec<&str> = KINDS.iter().map(|kind| kind.key).collect();
            format!("known workloads: {}", known.join(", "))
        }
        None => format!("workloads of this grid: {}", keys.join(", ")),
    };
    let message = format!("no workload of this grid yields `{reference}`");
    findings.error(span, message).help(help);
    None
}

/// Checks that a metric names a case, where there are several, and one that exists.
fn case(
    reference: &MetricRef,
    span: &Span,
    workload: &Workload,
    findings: &mut Findings,
) -> Option<()> {
    let kind = workload.kind();
    let cases = workload.cases();
    let single = cases == [""];
    let written = |case: &str| format!("{}[{case}].{}", kind.key, reference.name);
    match &reference.case {
        None if cases.len() > 1 => {
            let all: Vec<String> = cases.iter().map(|case| written(case)).collect();
            let message =
                format!("`{reference}` is ambiguous: `{}` has {} cases", kind.name, cases.len());
            findings.error(span, message).help(format!("write one of {}", all.join(", ")));
        }
        Some(case) if single => {
            let message = format!("`{}` has one case only, so `{case}` is not in use", kind.name);
            findings.error(span, message).help(format!("write `{}.{}`", kind.key, reference.name));
        }
        Some(case) if !cases.contains(case) => {
            let message = format!("`{}` has no case `{case}`", kind.name);
            findings.error(span, message).help(format!("its cases: {}", cases.join(", ")));
        }
        _ => return Some(()),
    }
    None
}
