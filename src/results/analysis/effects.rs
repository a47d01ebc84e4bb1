//! What each axis of the grid does to the objective, by a model in which the effects of
//! axes add up (on log scale, where ratios are compared). A value is a configuration's mean
//! with the machine's level taken out. The error is what the model leaves between
//! configurations, and never less than what launches of one configuration differ by.

use std::collections::BTreeMap;

use super::source::Source;
use super::{Axis, AxisValue, Effects, Figure, Interaction};
use crate::configuration::{Configuration, canonical};
use crate::flags::is_secret;
use crate::metric::Scale;
use crate::results::measured::Measured;
use crate::results::sheet;
use crate::statistics::{
    Additive, Components, Factor, Interval, Prior, SIGNIFICANCE, Uncertainty, holm,
};

/// What an axis has where its flag is not passed.
const NOT_SET: &str = "not set";
/// Values times squared parameters from which a fit takes too long.
const MAX_WORK: f64 = 2e9;

/// A configuration's mean on the scale of the comparison.
struct Mean {
    row: usize,
    value: f64,
    error: Option<Uncertainty>,
    launches: usize,
    repeats: usize,
}

/// An axis, and which of its values each mean has.
struct Design {
    names: Vec<String>,
    values: Vec<Vec<String>>,
    factors: Vec<Factor>,
}

/// The effects, and what is not estimable.
pub(super) fn effects(source: &Source<'_>) -> Effects {
    let ratios = source.ranking.scale == Scale::Ratios;
    let without = |why: String| Effects { without: Some(why), ratios, ..Effects::default() };
    let mut means = means(source, ratios);
    let varied = axes(source);
    let whole = Design::of(source, &means, &varied);
    let left_out = settle(source, &mut means, &varied);
    let design = Design::of(source, &means, &varied);
    if design.names.is_empty() {
        return Effects { left_out, ..without(nothing(&whole)) };
    }
    let parameters: usize = design.factors.iter().map(|it| it.levels).sum();
    if means.len() as f64 * (parameters as f64).powi(2) > MAX_WORK {
        return without("the grid has too many values for this analysis".to_owned());
    }
    let values: Vec<f64> = means.iter().map(|it| it.value).collect();
    let model = Additive::fit(&values, &design.factors, least(&means));
    let (mut axes, mut confounded) = (Vec::new(), Vec::new());
    for (at, name) in design.names.iter().enumerate() {
        match model.effect(at) {
            Some(effect) => axes.push(Axis {
                name: name.clone(),
                values: axis_values(&design, at, &effect.levels, &means, ratios),
                p: effect.p,
            }),
            None => confounded.push(name.clone()),
        }
    }
    // An axis of which no configuration is left in the model.
    let lost = whole.names.iter().filter(|name| !design.names.contains(name)).cloned();
    confounded.extend(lost);
    let raw: Vec<f64> = axes.iter().filter_map(|axis| axis.p).collect();
    let mut adjusted = holm(&raw).into_iter();
    for axis in &mut axes {
        axis.p = axis.p.and_then(|_| adjusted.next());
    }
    if axes.is_empty() {
        return Effects { left_out, ..without(nothing(&whole)) };
    }
    let interactions = interactions(&model, &design, &means, ratios);
    let configurations = means.len();
    Effects { axes, interactions, without: None, confounded, configurations, left_out, ratios }
}

fn nothing(whole: &Design) -> String {
    if whole.names.is_empty() {
        "no axis has two values that were measured".to_owned()
    } else {
        let names = whole.names.join(", ");
        format!("the values of the axes always change together, so no axis is estimable: {names}")
    }
}

/// What each configuration comes to, of those that ran as they were asked to.
fn means(source: &Source<'_>, ratios: bool) -> Vec<Mean> {
    let metric = &source.record.manifest.objective.metric;
    let read = sheet::read_one(&source.record.manifest, &source.arms, metric);
    let measured = Measured::new(&source.arms, read);
    let of_row = |row: usize| {
        let arm = source.arm(row)?;
        if arm.same_as.is_some() || !arm.overrides.is_empty() {
            return None;
        }
        let estimate = source.estimate(row, 0)?;
        let value = if ratios { estimate.mean.ln() } else { estimate.mean };
        let index = source.arm_index(row)?;
        let error = error(source, &measured, index, ratios);
        let (launches, repeats) = (estimate.launches, estimate.repeats);
        value.is_finite().then_some(Mean { row, value, error, launches, repeats })
    };
    (0..source.count()).filter_map(of_row).collect()
}

/// How well a mean is known by its own launches; `None` where that would be assumed.
fn error(
    source: &Source<'_>,
    measured: &Measured,
    index: usize,
    ratios: bool,
) -> Option<Uncertainty> {
    if let Some(course) = &source.ranking.course {
        return course.errors.get(index).copied().flatten();
    }
    let values = measured.values(index)?;
    if ratios {
        let pooled = measured.components().filter(|it| !it.assumed())?;
        return Some(pooled.of_mean(&values.log()?));
    }
    let own = Components::pool([values], Prior::around(values.mean()?));
    (!own.assumed()).then(|| own.of_mean(values))
}

/// The error of one value on average.
fn least(means: &[Mean]) -> Option<Uncertainty> {
    let errors: Vec<Uncertainty> = means.iter().filter_map(|it| it.error).collect();
    if errors.is_empty() {
        return None;
    }
    let variance = errors.iter().map(|it| it.variance).sum::<f64>() / errors.len() as f64;
    let degrees = errors.iter().map(|it| it.degrees_of_freedom).fold(f64::INFINITY, f64::min);
    Some(Uncertainty { variance, degrees_of_freedom: degrees })
}

/// How an axis is read off a configuration.
enum AxisOf {
    Flag(String),
    Variable(String),
    StackVariable(String),
    Service,
    Image,
    Model,
}

impl AxisOf {
    fn name(&self) -> String {
        match self {
            Self::Flag(name) | Self::Variable(name) | Self::StackVariable(name) => name.clone(),
            Self::Service => "service".to_owned(),
            Self::Image => "image".to_owned(),
            Self::Model => "model".to_owned(),
        }
    }

    fn value(&self, of: &Configuration) -> Option<String> {
        match self {
            Self::Flag(name) => of.flags.get(name).filter(|it| !it.is_null()).map(canonical),
            Self::Variable(name) => of.environment.get(name).cloned(),
            Self::StackVariable(name) => of.stack.variables.get(name).cloned(),
            Self::Service => of.stack.service_label(),
            Self::Image => of.image.clone(),
            Self::Model => of.model.clone(),
        }
    }
}

/// Whatever may differ between configurations, in the grid's order; no secrets.
fn axes(source: &Source<'_>) -> Vec<AxisOf> {
    let manifest = &source.record.manifest;
    let mut axes: Vec<AxisOf> = manifest.varied.iter().cloned().map(AxisOf::Flag).collect();
    let mut named: BTreeMap<&str, bool> = BTreeMap::new();
    for configuration in &manifest.configurations {
        named.extend(configuration.environment.keys().map(|name| (name.as_str(), true)));
        named.extend(configuration.stack.variables.keys().map(|name| (name.as_str(), false)));
    }
    axes.extend(named.into_iter().map(|(name, in_environment)| {
        let name = name.to_owned();
        if in_environment { AxisOf::Variable(name) } else { AxisOf::StackVariable(name) }
    }));
    axes.extend([AxisOf::Service, AxisOf::Image, AxisOf::Model]);
    axes.retain(|axis| !is_secret(&axis.name()));
    axes
}

impl Design {
    /// The axes with at least two values among these means.
    fn of(source: &Source<'_>, means: &[Mean], varied: &[AxisOf]) -> Self {
        let mut design = Self { names: Vec::new(), values: Vec::new(), factors: Vec::new() };
        let text = |axis: &AxisOf, row: usize| {
            let value = source.arm(row).and_then(|arm| axis.value(arm.configuration));
            value.unwrap_or_else(|| NOT_SET.to_owned())
        };
        let in_order: Vec<usize> = {
            let mut places: Vec<(usize, usize)> =
                means.iter().filter_map(|it| Some((source.arm_index(it.row)?, it.row))).collect();
            places.sort_unstable();
            places.into_iter().map(|(_, row)| row).collect()
        };
        for axis in varied {
            let mut values: Vec<String> = Vec::new();
            for &row in &in_order {
                let value = text(axis, row);
                if !values.contains(&value) {
                    values.push(value);
                }
            }
            if values.len() < 2 {
                continue;
            }
            let level = |it: &Mean| {
                let own = text(axis, it.row);
                values.iter().position(|value| *value == own).unwrap_or_default()
            };
            let of = means.iter().map(level).collect();
            design.factors.push(Factor { levels: values.len(), of });
            design.names.push(axis.name());
            design.values.push(values);
        }
        design
    }
}

/// Leaves out configurations that alone have a value of several axes: each of these axes
/// could be what makes the difference. Returns their rows.
fn settle(source: &Source<'_>, means: &mut Vec<Mean>, varied: &[AxisOf]) -> Vec<usize> {
    let mut left_out = Vec::new();
    loop {
        let design = Design::of(source, means, varied);
        let alone = |at: usize| {
            let is_alone = |factor: &&Factor| {
                factor.of.iter().filter(|level| **level == factor.of[at]).count() == 1
            };
            // With one axis each value may well have one configuration.
            design.factors.iter().filter(is_alone).count() > 1
        };
        let keep: Vec<bool> = (0..means.len()).map(|at| !alone(at)).collect();
        if keep.iter().all(|keep| *keep) {
            left_out.sort_unstable();
            return left_out;
        }
        left_out.extend(means.iter().zip(&keep).filter(|(_, keep)| !**keep).map(|(it, _)| it.row));
        let mut keep = keep.into_iter();
        means.retain(|_| keep.next().unwrap_or(true));
    }
}

fn axis_values(
    design: &Design,
    axis: usize,
    levels: &[(f64, Option<Uncertainty>)],
    means: &[Mean],
    ratios: bool,
) -> Vec<AxisValue> {
    let factor = &design.factors[axis];
    let values = design.values[axis].iter().zip(levels).enumerate();
    let made = values.map(|(level, (value, (effect, error)))| {
        let own = || means.iter().zip(&factor.of).filter(|(_, at)| **at == level);
        AxisValue {
            value: value.clone(),
            configurations: own().count(),
            effect: figure(*effect, *error, own().map(|(mean, _)| mean), ratios),
        }
    });
    made.collect()
}

/// A figure in ratios or in the metric's unit.
fn figure<'m>(
    value: f64,
    error: Option<Uncertainty>,
    of: impl Iterator<Item = &'m Mean>,
    ratios: bool,
) -> Figure {
    let (launches, repeats) =
        of.fold((0, 0), |(launches, repeats), it| (launches + it.launches, repeats + it.repeats));
    let interval =
        error.map(|it| Interval::around(value, it.variance.sqrt(), it.degrees_of_freedom));
    let (value, interval) =
        if ratios { (value.exp(), interval.map(Interval::exp)) } else { (value, interval) };
    Figure { value, interval, launches, repeats }
}

/// Pairs of axes that are shown not to add up, over all pairs that could be tested.
fn interactions(
    model: &Additive<'_>,
    design: &Design,
    means: &[Mean],
    ratios: bool,
) -> Vec<Interaction> {
    let count = design.names.len();
    let pairs = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b)));
    let tested: Vec<(usize, usize, f64)> =
        pairs.filter_map(|(a, b)| Some((a, b, model.interaction(a, b)?))).collect();
    let adjusted = holm(&tested.iter().map(|(.., p)| *p).collect::<Vec<_>>());
    let shown = tested.iter().zip(adjusted).filter(|(_, p)| *p < SIGNIFICANCE);
    let made = shown.map(|((a, b, _), p)| Interaction {
        first: design.names[*a].clone(),
        second: design.names[*b].clone(),
        p,
        cells: cells(design, (*a, *b), means, ratios),
    });
    made.collect()
}

/// The mean of each combination, in the objective's unit, by the errors of its own
/// configurations.
fn cells(
    design: &Design,
    (a, b): (usize, usize),
    means: &[Mean],
    ratios: bool,
) -> Vec<(String, String, Figure)> {
    let mut cells = Vec::new();
    for (of_a, first) in design.values[a].iter().enumerate() {
        for (of_b, second) in design.values[b].iter().enumerate() {
            let own: Vec<&Mean> = (0..means.len())
                .filter(|at| design.factors[a].of[*at] == of_a && design.factors[b].of[*at] == of_b)
                .map(|at| &means[at])
                .collect();
            if own.is_empty() {
                continue;
            }
            let n = own.len() as f64;
            let value = own.iter().map(|it| it.value).sum::<f64>() / n;
            let errors: Option<Vec<Uncertainty>> = own.iter().map(|it| it.error).collect();
            let sum = errors.and_then(|it| it.into_iter().reduce(Uncertainty::plus));
            let error = sum.map(|it| Uncertainty { variance: it.variance / (n * n), ..it });
            let figure = figure(value, error, own.into_iter(), ratios);
            cells.push((first.clone(), second.clone(), figure));
        }
    }
    cells
}
