//! Marks: dots in seven shapes, intervals, lines and steps, and the link that a mark is:
//! focusable, with a title, leading to its rows in the page. Where a mark stands is
//! decided by each picture.

use std::f64::consts::TAU;

use maud::{Markup, html};

use super::palette::{Look, Shape};
use super::px;

/// How the inside of a dot is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Confirmed, or no question.
    Full,
    /// Not confirmed, or failed.
    Hollow,
}

/// A mark that leads to `anchor` in the page. `title` is shown on hover and read out on
/// focus: name, figure with unit, interval, n.
pub fn link(anchor: &str, title: &str, look: Look, body: &Markup) -> Markup {
    linked(anchor, title, look.class, body)
}

/// The same with a class of one's own in place of a configuration's.
pub fn linked(anchor: &str, title: &str, class: &str, body: &Markup) -> Markup {
    html! {
        a class=(format!("mark {class}")) href=(format!("#{anchor}")) aria-label=(title) {
            title { (title) }
            (body)
        }
    }
}

/// A dot of about `radius` units.
pub fn dot(shape: Shape, x: f64, y: f64, radius: f64, fill: Fill) -> Markup {
    let class = match fill {
        Fill::Full => "full",
        Fill::Hollow => "hollow",
    };
    if shape == Shape::Circle {
        return html! { circle class=(class) cx=(px(x)) cy=(px(y)) r=(px(radius)) {} };
    }
    html! { path class=(class) d=(outline(shape, x, y, radius)) {} }
}

/// An X: something failed here.
pub fn crossed(x: f64, y: f64, radius: f64) -> Markup {
    let half = radius * 0.8;
    let (left, right, top, bottom) = (px(x - half), px(x + half), px(y - half), px(y + half));
    html! { path class="cross" d=(format!("M{left} {top}L{right} {bottom}M{left} {bottom}L{right} {top}")) {} }
}

/// The outline as a path; all have about the same area.
fn outline(shape: Shape, x: f64, y: f64, radius: f64) -> String {
    let regular = |corners: u32, turned: f64, radius: f64| {
        let corner = |at: u32| {
            let angle = turned + TAU * f64::from(at) / f64::from(corners);
            (x + radius * angle.sin(), y - radius * angle.cos())
        };
        (0..corners).map(corner).collect::<Vec<_>>()
    };
    let corners = match shape {
        Shape::Circle => regular(24, 0.0, radius),
        Shape::Diamond => regular(4, 0.0, radius * 1.25),
        Shape::Square => regular(4, TAU / 8.0, radius * 1.25),
        Shape::Triangle => regular(3, 0.0, radius * 1.35),
        Shape::Tip => regular(3, TAU / 2.0, radius * 1.35),
        Shape::Pentagon => regular(5, 0.0, radius * 1.15),
        Shape::Plus => {
            let (arm, half) = (radius * 1.15, radius * 0.4);
            let turns = [(half, arm), (half, half), (arm, half)];
            let turns = turns.iter().flat_map(|(a, b)| [(*a, *b)]);
            let quarter: Vec<(f64, f64)> = turns.collect();
            // The corners of one quarter, in each of the four.
            [(1.0, -1.0, false), (1.0, 1.0, true), (-1.0, 1.0, false), (-1.0, -1.0, true)]
                .into_iter()
                .flat_map(|(across, down, reversed)| {
                    let mut corners: Vec<_> =
                        quarter.iter().map(|(a, b)| (x + across * a, y + down * b)).collect();
                    if reversed {
                        corners.reverse();
                    }
                    corners
                })
                .collect()
        }
    };
    line_through(&corners) + "Z"
}

/// `M1 2L3 4`: the path through some points; empty without any.
pub fn line_through(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (at, (x, y)) in points.iter().enumerate() {
        path.push(if at == 0 { 'M' } else { 'L' });
        path.push_str(&px(*x));
        path.push(' ');
        path.push_str(&px(*y));
    }
    path
}

/// The path through some points as steps: across first, then up or down.
pub fn steps_through(points: &[(f64, f64)]) -> String {
    let mut corners: Vec<(f64, f64)> = Vec::with_capacity(points.len() * 2);
    for point in points {
        if let Some(last) = corners.last().copied() {
            corners.push((point.0, last.1));
        }
        corners.push(*point);
    }
    line_through(&corners)
}

/// A configuration's line; not a link by itself.
pub fn line(points: &[(f64, f64)], look: Look) -> Markup {
    html! { path class=(format!("line {}", look.class)) stroke-dasharray=[look.dash] d=(line_through(points)) {} }
}

/// The area between two lines that have the same places across: `(x, low, high)`.
pub fn band(points: &[(f64, f64, f64)], class: &str) -> Markup {
    let lower = points.iter().map(|(x, low, _)| (*x, *low));
    let upper = points.iter().rev().map(|(x, _, high)| (*x, *high));
    let corners: Vec<(f64, f64)> = lower.chain(upper).collect();
    if corners.is_empty() {
        return html! {};
    }
    html! { path class=(format!("band {class}")) d=(line_through(&corners) + "Z") {} }
}

/// A horizontal interval with small caps.
pub fn across(low: f64, high: f64, y: f64) -> Markup {
    let path = format!(
        "M{low} {top}V{bottom}M{high} {top}V{bottom}M{low} {middle}H{high}",
        low = px(low),
        high = px(high),
        top = px(y - 3.0),
        bottom = px(y + 3.0),
        middle = px(y),
    );
    html! { path class="interval" d=(path) {} }
}

/// A vertical interval with small caps.
pub fn upright(x: f64, low: f64, high: f64) -> Markup {
    let path = format!(
        "M{left} {low}H{right}M{left} {high}H{right}M{middle} {low}V{high}",
        low = px(low),
        high = px(high),
        left = px(x - 3.0),
        right = px(x + 3.0),
        middle = px(x),
    );
    html! { path class="interval" d=(path) {} }
}

/// A straight line of a class of the style: `rule` (a reference), `limit` (a bound),
/// `grid`, `leader`.
pub fn straight(class: &str, from: (f64, f64), to: (f64, f64)) -> Markup {
    html! { line class=(class) x1=(px(from.0)) y1=(px(from.1)) x2=(px(to.0)) y2=(px(to.1)) {} }
}
