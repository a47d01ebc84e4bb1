//! Distributions of requests as ECDF pictures: one for each workload, case and quantity, a
//! step line for each configuration on a logarithmic axis. What is pooled in a curve is
//! decided in [`crate::results::analysis`].

use maud::{Markup, html};

use super::axis::{self, Frame};
use super::label::{self, Align, Area, LINE, Label};
use super::mark::{self, Fill};
use super::palette::Palette;
use super::scale::{Scale, short};
use super::{Drawing, Picture, WIDE, anchor, compact, picture, px, sentence, titled};
use crate::results::analysis::{Curve, Distribution};
use crate::results::number;
use crate::results::ranking::Ranking;

/// Points of a curve whose configuration is not named.
const PALE_POINTS: usize = 14;

/// More than so many configurations are not listed with their n in the caption.
const LISTED: usize = 8;

/// One picture for each distribution, or a sentence where no curve has two points.
pub fn pictures(
    distributions: &[Distribution],
    ranking: &Ranking,
    palette: &Palette,
) -> Vec<Picture> {
    let drawn = |(at, distribution)| one(at, distribution, ranking, palette);
    distributions.iter().enumerate().map(drawn).collect()
}

fn one(at: usize, whole: &Distribution, ranking: &Ranking, palette: &Palette) -> Picture {
    let id = format!("distribution-{}", at + 1);
    let curves: Vec<&Curve> = whole.curves.iter().filter(|it| drawable(it)).collect();
    let place = place(whole);
    if curves.is_empty() {
        let title = format!("{place}: too few requests for a distribution of {}", whole.quantity);
        return sentence(&id, titled(ranking.simulated, title));
    }
    let title = titled(ranking.simulated, title(&place, whole, &curves, ranking, palette));
    let caption = caption(whole, &curves, palette);
    let table = table(whole, palette);
    picture(&id, title, caption, table, |width| draw(whole, &curves, palette, width))
}

/// At least two different places, all finite.
fn drawable(curve: &Curve) -> bool {
    let finite = |it: &(f64, f64)| it.0.is_finite() && it.1.is_finite();
    curve.points.len() > 1 && curve.points.iter().all(finite) && curve.p50.is_finite()
}

fn place(whole: &Distribution) -> String {
    let case = if whole.case.is_empty() { String::new() } else { format!(" {}", whole.case) };
    super::palette::shown(&format!("{}{case}", whole.workload))
}

/// `kv-cache: half of the requests of X have a time to first token of at most 412 ms; of
/// production, of at most 800 ms`.
fn title(
    place: &str,
    whole: &Distribution,
    curves: &[&Curve],
    ranking: &Ranking,
    palette: &Palette,
) -> String {
    let baseline = |it: &&&Curve| ranking.rows.get(it.configuration).is_some_and(|it| it.baseline);
    let candidate = |it: &&&Curve| palette.look(it.configuration).class == "k1";
    let other = curves.iter().find(baseline);
    let first = curves.iter().find(candidate);
    let first = first.or_else(|| curves.iter().find(|it| !baseline(it))).or(other);
    let Some(first) = first else { return place.to_owned() };
    let name = |curve: &Curve| palette.short_name(curve.configuration, 320.0);
    let own = format!(
        "{place}: half of the requests of {} have a {} of at most {}",
        name(first),
        whole.quantity,
        figure(first.p50, whole.unit)
    );
    match other.filter(|it| it.configuration != first.configuration) {
        Some(other) => {
            format!("{own}; of {}, of at most {}", name(other), figure(other.p50, whole.unit))
        }
        None => own,
    }
}

fn figure(value: f64, unit: &str) -> String {
    let decimals = number::decimals(value);
    let space = if unit.is_empty() { "" } else { " " };
    if number::is_huge(value) {
        return format!("{value:.2e}{space}{unit}");
    }
    format!("{value:.decimals$}{space}{unit}")
}

fn caption(whole: &Distribution, curves: &[&Curve], palette: &Palette) -> String {
    let unit = if whole.unit.is_empty() { String::new() } else { format!(" in {}", whole.unit) };
    let mut text = format!(
        "Share of the requests whose {}{unit} is at most the value on the axis; all launches and \
         kept repeats pooled. Dot: median of all of them together, which differs from the tables' mean of \
         the repeats' medians; upright stroke: 95th percentile.",
        whole.quantity
    );
    let names = |of: &dyn Fn(&&&Curve) -> bool| -> Vec<String> {
        curves.iter().filter(of).map(|it| palette.short_name(it.configuration, 320.0)).collect()
    };
    let few = names(&|it| it.p95.is_none());
    if !few.is_empty() {
        let of = if few.len() > LISTED {
            format!("{} configurations", few.len())
        } else {
            few.join(", ")
        };
        text.push_str(&format!(" No 95th percentile of {of}: fewer than 60 requests."));
    }
    let pale = curves.iter().filter(|it| !palette.look(it.configuration).named).count();
    if pale > 0 {
        text.push_str(&format!(
            " {pale} further configurations are pale; names on hover and focus."
        ));
    }
    text.push_str(&format!(" n: {}.", requests(curves, palette)));
    text
}

/// Requests of each, or the least and the most of them.
fn requests(curves: &[&Curve], palette: &Palette) -> String {
    if curves.len() <= LISTED {
        let each = |it: &&Curve| {
            format!("{} requests of {}", it.requests, palette.short_name(it.configuration, 320.0))
        };
        return curves.iter().map(each).collect::<Vec<_>>().join(", ");
    }
    let counts = || curves.iter().map(|it| it.requests);
    let (least, most) = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
    let n = if least == most { least.to_string() } else { format!("{least} to {most}") };
    format!("{n} requests of each configuration")
}

fn table(whole: &Distribution, palette: &Palette) -> Vec<Vec<String>> {
    let unit = if whole.unit.is_empty() { String::new() } else { format!(", {}", whole.unit) };
    let heads = ["configuration".to_owned(), "requests".to_owned()];
    let heads =
        heads.into_iter().chain([format!("median{unit}"), format!("95th percentile{unit}")]);
    let row = |curve: &Curve| {
        vec![
            palette.name(curve.configuration).to_owned(),
            curve.requests.to_string(),
            figure(curve.p50, ""),
            curve.p95.map_or("-".to_owned(), |it| figure(it, "")),
        ]
    };
    std::iter::once(heads.collect()).chain(whole.curves.iter().map(row)).collect()
}

fn draw(whole: &Distribution, curves: &[&Curve], palette: &Palette, width: f64) -> Drawing {
    let wide = width >= WIDE;
    let height = if wide { 300.0 } else { 270.0 };
    let top = axis::ABOVE;
    let frame = Frame { left: 40.0, right: width - 8.0, top, bottom: top + height };
    let values = curves.iter().flat_map(|it| it.points.iter().map(|it| it.0));
    let across = Scale::logarithmic(values, frame.across());
    let upwards = Scale::exact(0.0, 100.0, frame.upwards());
    let paths: Vec<Vec<(f64, f64)>> =
        curves.iter().map(|it| path(it, palette, &across, &upwards)).collect();
    let mut order: Vec<usize> = (0..curves.len()).collect();
    // What is spoken of lies above the others.
    order.sort_by_key(|at| {
        let look = palette.look(curves[*at].configuration);
        (look.named, look.class == "k0", look.class == "k1")
    });
    let labels = labels(whole, curves, &paths, palette, (&across, &upwards), &frame);
    let title = axis::title(whole.quantity, whole.unit, &across);
    let body = html! {
        (axis::upwards(&frame, &upwards, "share of the requests, %"))
        (axis::across(&frame, &across, &title))
        @for at in order {
            (curve(whole, curves[at], &paths[at], palette, (&across, &upwards)))
        }
        (labels.draw_with_rest(frame.right, frame.bottom - LINE, Align::End))
    };
    Drawing { height: frame.bottom + axis::BELOW, body }
}

/// Places of a curve: from the axis up, then its points, few of a pale one.
fn path(curve: &Curve, palette: &Palette, across: &Scale, upwards: &Scale) -> Vec<(f64, f64)> {
    let named = palette.look(curve.configuration).named;
    let last = curve.points.len() - 1;
    let step = if named { 1 } else { curve.points.len().div_ceil(PALE_POINTS) };
    let kept = |at: &usize| at.is_multiple_of(step) || *at == last;
    let start = (across.at(curve.points[0].0), upwards.at(0.0));
    let points = (0..=last).filter(kept).map(|at| {
        let (value, share) = curve.points[at];
        (across.at(value), upwards.at(share * 100.0))
    });
    std::iter::once(start).chain(points).collect()
}

fn curve(
    whole: &Distribution,
    curve: &Curve,
    path: &[(f64, f64)],
    palette: &Palette,
    (across, upwards): (&Scale, &Scale),
) -> Markup {
    let look = palette.look(curve.configuration);
    let name = palette.name(curve.configuration);
    let p95 = curve.p95.filter(|it| it.is_finite());
    let title = match p95 {
        _ if !look.named => format!("{name}: median {}", figure(curve.p50, whole.unit)),
        Some(p95) => format!(
            "{name}: median {}, 95th percentile {}, n {}",
            figure(curve.p50, whole.unit),
            figure(p95, whole.unit),
            curve.requests
        ),
        None => format!("{name}: median {}, n {}", figure(curve.p50, whole.unit), curve.requests),
    };
    let class = if look.named { "line" } else { "line faint" };
    // Few points of a pale one: steps between them would be blocks.
    let outline = if look.named { compact::steps(path) } else { compact::line(path) };
    let body = html! {
        path class=(class) stroke-dasharray=[look.dash.filter(|_| look.named)] d=(outline) {}
        @if look.named {
            @if let Some(p95) = p95 {
                @let (x, y) = (across.at(p95), upwards.at(95.0));
                path class="stroke" d=(format!("M{} {}v12", px(x), px(y - 6.0))) {}
            }
            (mark::dot(look.shape, across.at(curve.p50), upwards.at(50.0), 4.5, Fill::Full))
        }
    };
    mark::link(&anchor(curve.configuration), &title, look, &body)
}

/// Names with medians beside the medians, away from all named curves.
fn labels(
    whole: &Distribution,
    curves: &[&Curve],
    paths: &[Vec<(f64, f64)>],
    palette: &Palette,
    (across, upwards): (&Scale, &Scale),
    frame: &Frame,
) -> label::Labels {
    let named = |at: &usize| palette.look(curves[*at].configuration).named;
    let mut order: Vec<usize> = (0..curves.len()).filter(named).collect();
    // The candidate and the baseline first: they have a label in any case.
    order.sort_by_key(|at| {
        let class = palette.look(curves[*at].configuration).class;
        (class != "k1", class != "k0", curves[*at].configuration)
    });
    let taken: Vec<Area> = order.iter().flat_map(|at| along(&paths[*at])).collect();
    let room = (frame.width() / 2.0).min(230.0);
    let medians: Vec<String> =
        order.iter().map(|at| short_figure(curves[*at].p50, whole.unit)).collect();
    let widest = medians.iter().map(|it| label::text_width(it)).fold(0.0, f64::max);
    let shown: Vec<usize> = order.iter().map(|at| curves[*at].configuration).collect();
    let names = palette.distinct_names(&shown, room - widest);
    let wanted: Vec<Label> = order
        .iter()
        .zip(medians.iter().zip(&names))
        .map(|(at, (median, name))| {
            let curve = curves[*at];
            let (x, y) = (across.at(curve.p50), upwards.at(50.0));
            Label { x, y, text: format!("{name} {median}"), class: "name" }
        })
        .collect();
    let apart = label::beside(&wanted, frame.area(), &taken, 9.0);
    if apart.more == 0 {
        return apart;
    }
    // Letters can be read over a line; over the medians they would hide what they name.
    let dots: Vec<Area> = wanted.iter().map(|it| Area::around(it.x, it.y, 6.0)).collect();
    let over = label::beside(&wanted, frame.area(), &dots, 9.0);
    if over.more < apart.more { over } else { apart }
}

fn short_figure(value: f64, unit: &str) -> String {
    if value.abs() >= 1e4 { format!("{} {unit}", short(value, value)) } else { figure(value, unit) }
}

/// Small areas along a step line.
fn along(path: &[(f64, f64)]) -> Vec<Area> {
    let mut areas = Vec::new();
    for pair in path.windows(2) {
        let ((x, y), (to, end)) = (pair[0], pair[1]);
        let (across, up) = (((to - x) / 10.0).abs().ceil(), ((end - y) / 10.0).abs().ceil());
        let across =
            (0..=across as usize).map(|at| (x + (to - x) * at as f64 / across.max(1.0), y));
        let up = (0..=up as usize).map(|at| (to, y + (end - y) * at as f64 / up.max(1.0)));
        areas.extend(across.chain(up).map(|(x, y)| Area::around(x, y, 2.5)));
    }
    areas
}

#[cfg(test)]
#[path = "distributions_tests.rs"]
mod tests;
