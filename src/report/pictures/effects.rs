//! What each axis of the grid does as a picture: one panel for each axis, an estimate with
//! its interval for each value. Interactions have pictures of their own, where they are
//! shown to be there.

use maud::{Markup, html};

use super::axis::{self, BELOW, Frame};
use super::label::{Align, LINE, text, text_width};
use super::mark::{self, Fill};
use super::palette::{Palette, Shape, cut, shown};
use super::scale::{Scale, ends};
use super::wording::{figure, heading, metric, names, p_value, rests_on, some};
use super::{Drawing, NARROW, Picture, picture, picture_anchor, sentence, titled};
use crate::results::analysis::{Analysis, Axis, Figure, Interaction};
use crate::results::number;
use crate::results::ranking::Ranking;
use crate::statistics::SIGNIFICANCE;

/// Units of one value's row, and between panels.
const ROW: f64 = 24.0;
const GAP: f64 = 14.0;

/// Main effects, then each interaction that is shown.
pub fn effects(analysis: &Analysis, ranking: &Ranking) -> Vec<Picture> {
    let effects = &analysis.effects;
    let values = effects.axes.iter().map(|it| it.values.len()).sum::<usize>();
    if values < 2 {
        let reason = effects.without.as_deref().map(shown);
        let reason =
            reason.unwrap_or_else(|| "no axis has two values that were measured".to_owned());
        let title = format!("Nothing can be said of the grid's axes: {reason}");
        return vec![sentence("effects", titled(ranking.simulated, title))];
    }
    let main = main_effects(analysis, ranking);
    let shown = effects.interactions.iter().filter(|it| it.p < SIGNIFICANCE && it.cells.len() > 1);
    let further = shown.enumerate().map(|(at, it)| interaction(at, it, ranking));
    [main].into_iter().chain(further).collect()
}

/// Rows under one heading.
struct Panel {
    heading: String,
    rows: Vec<(String, Figure, String)>,
}

fn main_effects(analysis: &Analysis, ranking: &Ranking) -> Picture {
    let effects = &analysis.effects;
    let objective = &ranking.objective.metric;
    let unit = if effects.ratios { "" } else { number::unit(objective) };
    let panel = |axis: &Axis| {
        let p = axis.p.map_or_else(String::new, |p| format!(" ({})", p_value(p)));
        let row = |it: &crate::results::analysis::AxisValue| {
            let value = shown(&it.value);
            let title = format!(
                "{} = {value}: {}; {}, {}",
                shown(&axis.name),
                said(&it.effect, effects.ratios, unit),
                some(it.configurations, "configuration"),
                rests_on(&it.effect),
            );
            (value, it.effect, title)
        };
        Panel { heading: shown(&axis.name) + &p, rows: axis.values.iter().map(row).collect() }
    };
    let panels: Vec<Panel> = effects.axes.iter().map(panel).collect();
    let against = if effects.ratios {
        "change against the axis's mean"
    } else {
        "difference to the axis's mean"
    };
    let left_out = if effects.left_out.is_empty() {
        String::new()
    } else {
        let names = names(&Palette::new(ranking), &effects.left_out);
        format!(" Left out, since each alone has a value of several axes: {names}.")
    };
    let caption = format!(
        "{}: {against} for each value, the other axes held, with 95% intervals (n: {} over {}). \
         p is adjusted over the axes (Holm).{left_out}",
        metric(objective),
        some(effects.axes.len(), "axis"),
        some(effects.configurations, "configuration"),
    );
    let head = ["axis", "value", &heading("effect", unit), "configurations", "n"]
        .map(str::to_owned)
        .to_vec();
    let rows = effects.axes.iter().flat_map(|axis| {
        axis.values.iter().map(move |it| {
            let effect = said(&it.effect, effects.ratios, "");
            vec![
                shown(&axis.name),
                shown(&it.value),
                effect,
                it.configurations.to_string(),
                rests_on(&it.effect),
            ]
        })
    });
    let table = [head].into_iter().chain(rows).collect();
    let title =
        titled(ranking.simulated, answer(&effects.axes, &metric(objective), ranking.is_carried()));
    let zero = if effects.ratios { 1.0 } else { 0.0 };
    picture("effects", title, caption, table, |width| {
        draw(width, "effects", &panels, Some(zero), effects.ratios, (against, unit))
    })
}

/// `-12% [-15%, -9%]`, or the difference.
fn said(effect: &Figure, ratios: bool, unit: &str) -> String {
    match effect.interval {
        Some(interval) if ratios => number::percent(effect.value, interval),
        None if ratios => {
            let change = (effect.value - 1.0) * 100.0;
            let decimals = usize::from((0.05..1.0).contains(&change.abs()));
            format!("{change:+.decimals$}%")
        }
        _ => figure(effect, unit),
    }
}

fn answer(axes: &[Axis], objective: &str, carried: bool) -> String {
    let list = |some: &mut dyn Iterator<Item = &Axis>| {
        some.map(|it| cut(&shown(&it.name), 300.0)).collect::<Vec<_>>().join(", ")
    };
    let is_shown = |it: &&Axis| it.p.is_some_and(|p| p < SIGNIFICANCE);
    let changes = list(&mut axes.iter().filter(is_shown));
    let others = list(&mut axes.iter().filter(|it| !is_shown(it)));
    match (changes.is_empty(), others.is_empty()) {
        (true, _) => format!("No axis is shown to change {objective}: {others}"),
        // Where nothing is decided between configurations, nothing is of their axes.
        (false, _) if !carried => format!(
            "The measurement does not carry that an axis changes {objective}: only {changes} seems to"
        ),
        (false, true) => format!("Shown to change {objective}: {changes}"),
        (false, false) => format!("Shown to change {objective}: {changes}; not shown: {others}"),
    }
}

fn interaction(at: usize, interaction: &Interaction, ranking: &Ranking) -> Picture {
    let id = format!("interaction-{at}");
    let objective = &ranking.objective.metric;
    let unit = number::unit(objective);
    let (first, second) = (shown(&interaction.first), shown(&interaction.second));
    let name = |value: &str, of: &str| cut(&format!("{of} {}", shown(value)), 300.0);
    let mut panels: Vec<Panel> = Vec::new();
    for (one, other, cell) in &interaction.cells {
        let heading = name(one, &first);
        let title = format!(
            "{heading}, {}: {}; {}",
            name(other, &second),
            figure(cell, unit),
            rests_on(cell)
        );
        let row = (name(other, &second), *cell, title);
        match panels.iter_mut().find(|it| it.heading == heading) {
            Some(panel) => panel.rows.push(row),
            None => panels.push(Panel { heading, rows: vec![row] }),
        }
    }
    let (depends, not) = if ranking.is_carried() {
        ("depends", "")
    } else {
        ("seems to depend", "; the measurement does not carry it")
    };
    let title =
        format!("The effect of {first} {depends} on {second} ({}){not}", p_value(interaction.p));
    let caption = format!(
        "{} for each combination, with 95% intervals (n: {}).",
        heading(&metric(objective), unit).replace(" [95%]", ""),
        some(interaction.cells.len(), "combination"),
    );
    let head = [first.as_str(), second.as_str(), &heading(&metric(objective), unit), "n"];
    let row = |(one, other, cell): &(String, String, Figure)| {
        vec![shown(one), shown(other), figure(cell, ""), rests_on(cell)]
    };
    let head = head.map(str::to_owned).to_vec();
    let table = [head].into_iter().chain(interaction.cells.iter().map(row)).collect();
    let what = metric(objective);
    picture(&id, titled(ranking.simulated, title), caption, table, |width| {
        draw(width, &id, &panels, None, false, (&what, unit))
    })
}

/// Panels below each other on a narrow page, else in two columns; one horizontal scale.
fn draw(
    width: f64,
    id: &str,
    panels: &[Panel],
    zero: Option<f64>,
    ratios: bool,
    (what, unit): (&str, &str),
) -> Drawing {
    let columns = if width <= NARROW || panels.len() == 1 { 1 } else { 2 };
    let wide = (width - GAP * 2.0 * (columns - 1) as f64) / columns as f64;
    let texts =
        panels.iter().flat_map(|it| &it.rows).map(|it| text_width(&it.0)).fold(0.0, f64::max);
    let room = texts.min(wide * 0.4) + 10.0;
    // Ratios are drawn as changes in per cent.
    let shown = |value: f64| if ratios { (value - 1.0) * 100.0 } else { value };
    let figures = panels.iter().flat_map(|it| &it.rows).map(|it| &it.1);
    let ends = figures.flat_map(|it| ends(it.value, it.interval));
    let values: Vec<f64> = ends.chain(zero).map(shown).collect();
    let unit = if ratios { "%" } else { unit };
    let mut tops = vec![0.0; columns];
    let body = html! {
        @for (at, panel) in panels.iter().enumerate() {
            @let column = at % columns;
            @let left = column as f64 * (wide + GAP * 2.0);
            @let top: f64 = tops[column];
            @let bottom = top + LINE + 10.0 + panel.rows.len() as f64 * ROW;
            @let frame = Frame { left: left + room, right: left + wide - 20.0, top: top + LINE + 8.0, bottom };
            @let scale = if zero.is_some() { Scale::linear(values.iter().copied(), frame.across()) } else { Scale::positions(values.iter().copied(), frame.across()) };
            @let () = tops[column] = bottom + BELOW + GAP;
            (text(left, top + LINE / 2.0 + 1.0, Align::Start, "strong", &cut(&panel.heading, wide)))
            (rows(id, panel, &frame, &scale, room - 8.0, &shown))
            @if let Some(zero) = zero {
                @let x = scale.at(shown(zero));
                (mark::straight("rule", (x, frame.top), (x, frame.bottom)))
            }
            (axis::across(&frame, &scale, &axis::title(what, unit, &scale)))
        }
    };
    Drawing { height: tops.iter().copied().fold(0.0, f64::max), body }
}

fn rows(
    id: &str,
    panel: &Panel,
    frame: &Frame,
    scale: &Scale,
    room: f64,
    shown: &dyn Fn(f64) -> f64,
) -> Markup {
    html! {
        @for (at, (value, figure, title)) in panel.rows.iter().enumerate() {
            @let y = frame.top + (at as f64 + 0.5) * ROW;
            @let x = scale.at(shown(figure.value));
            (mark::straight("grid", (frame.left, y), (frame.right, y)))
            (text(frame.left - 6.0, y, Align::End, "", &cut(value, room)))
            @let body = html! {
                @if let Some(it) = figure.interval { (mark::across(scale.at(shown(it.low)), scale.at(shown(it.high)), y)) }
                (mark::dot(Shape::Circle, x, y, 4.5, Fill::Full))
            };
            (mark::linked(&picture_anchor(id), title, "k1", &body))
        }
    }
}
