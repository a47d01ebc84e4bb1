//! Texts inside a drawing: how much room they take, and where direct labels stand so
//! that none covers another. Labels at the ends of lines are moved up and down, with a
//! leader; labels beside dots are tried on all sides. What finds no room is counted.

use maud::{Markup, html};

use super::super::text::width;
use super::{COLUMN, mark, px};

/// Height of letters in units; both drawings have the same.
pub const SIZE: f64 = 13.0;

/// From one line of text to the next.
pub const LINE: f64 = 16.0;

/// Units that a text takes at most.
pub fn text_width(text: &str) -> f64 {
    width(text) as f64 * COLUMN
}

/// Where a text begins from its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// It begins there.
    Start,
    /// It is centred there.
    Middle,
    /// It ends there.
    End,
}

/// A text; `y` is its middle, not its base line.
pub fn text(x: f64, y: f64, align: Align, class: &str, content: &str) -> Markup {
    let anchor = match align {
        Align::Start => None,
        Align::Middle => Some("middle"),
        Align::End => Some("end"),
    };
    // Letters hang below the middle by about a third of their size.
    html! { text class=[(!class.is_empty()).then_some(class)] x=(px(x)) y=(px(y + SIZE * 0.36)) text-anchor=[anchor] { (content) } }
}

/// A rectangle in units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    /// Left edge.
    pub left: f64,
    /// Upper edge.
    pub top: f64,
    /// Right edge.
    pub right: f64,
    /// Lower edge.
    pub bottom: f64,
}

impl Area {
    /// Whether both have a point in common.
    pub fn meets(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    /// Whether the other one is inside.
    pub fn holds(&self, other: &Self) -> bool {
        self.left <= other.left
            && other.right <= self.right
            && self.top <= other.top
            && other.bottom <= self.bottom
    }

    /// Around a point.
    pub fn around(x: f64, y: f64, radius: f64) -> Self {
        Self { left: x - radius, top: y - radius, right: x + radius, bottom: y + radius }
    }
}

/// A label that wants to stand beside a point.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// The point.
    pub x: f64,
    /// The point.
    pub y: f64,
    /// What it says.
    pub text: String,
    /// Class of the text: `name`, or a configuration's.
    pub class: &'static str,
}

/// A label that has found its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// Where its text is.
    pub area: Area,
    /// What it says.
    pub text: String,
    /// Class of the text.
    pub class: &'static str,
    /// From the point to the text, where it does not stand beside it.
    pub leader: Option<((f64, f64), (f64, f64))>,
}

/// Labels with their places, and how many found none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Labels {
    /// Those that are drawn.
    pub placed: Vec<Placed>,
    /// How many are not.
    pub more: usize,
}

/// Labels at the ends of lines: in one column that begins at `x`, between `top` and
/// `bottom`, in the order of their points. Earlier labels come first where there is no room
/// for all.
pub fn at_ends(labels: &[Label], x: f64, top: f64, bottom: f64) -> Labels {
    let room = ((bottom - top) / LINE).floor().max(0.0) as usize;
    let (kept, more) = if labels.len() <= room {
        (labels.len(), 0)
    } else {
        // One line says how many more there are.
        let kept = room.saturating_sub(1);
        (kept, labels.len() - kept)
    };
    let mut order: Vec<&Label> = labels[..kept].iter().collect();
    order.sort_by(|a, b| a.y.total_cmp(&b.y));
    let low = top + LINE / 2.0;
    let high = bottom - LINE / 2.0 - if more > 0 { LINE } else { 0.0 };
    let mut places: Vec<f64> = Vec::with_capacity(order.len());
    for label in &order {
        let least = places.last().map_or(low, |last| last + LINE);
        places.push(label.y.max(least));
    }
    let mut most = high;
    for place in places.iter_mut().rev() {
        *place = place.min(most);
        most = *place - LINE;
    }
    let put = |(label, y): (&&Label, &f64)| {
        let moved = (label.y - y).abs() > 3.0 || x - label.x > 14.0;
        let leader = moved.then_some(((label.x + 4.0, label.y), (x - 3.0, *y)));
        let area = Area {
            left: x,
            top: y - LINE / 2.0,
            right: x + text_width(&label.text),
            bottom: y + LINE / 2.0,
        };
        Placed { area, text: label.text.clone(), class: label.class, leader }
    };
    Labels { placed: order.iter().zip(&places).map(put).collect(), more }
}

/// Labels beside dots, inside of `bounds`, away from `taken` and from each other. Earlier
/// labels come first. `gap`: from the point to the text.
pub fn beside(labels: &[Label], bounds: Area, taken: &[Area], gap: f64) -> Labels {
    let mut taken = taken.to_vec();
    let mut found = Labels::default();
    for label in labels {
        let free = |area: &Area| bounds.holds(area) && !taken.iter().any(|it| it.meets(area));
        let place = places(label, gap).into_iter().find(|(area, _)| free(area));
        let Some((area, far)) = place else {
            found.more += 1;
            continue;
        };
        taken.push(area);
        let leader = far.then(|| ((label.x, label.y), nearest(&area, label.x, label.y)));
        let (text, class) = (label.text.clone(), label.class);
        found.placed.push(Placed { area, text, class, leader });
    }
    found
}

/// Where a label may stand, best first, and whether it is so far that it needs a leader.
fn places(label: &Label, gap: f64) -> Vec<(Area, bool)> {
    let wide = text_width(&label.text);
    let at = |left: f64, middle: f64| Area {
        left,
        top: middle - LINE / 2.0,
        right: left + wide,
        bottom: middle + LINE / 2.0,
    };
    let (right, left, centre) = (label.x + gap, label.x - gap - wide, label.x - wide / 2.0);
    let near = gap + LINE / 2.0;
    let mut places = vec![
        (at(right, label.y), false),
        (at(left, label.y), false),
        (at(centre, label.y - near), false),
        (at(centre, label.y + near), false),
    ];
    for far in [1.0, 1.75, 2.5, 3.5, 5.0] {
        for side in [-1.0, 1.0] {
            let middle = label.y + side * far * LINE;
            let away = if far > 1.0 { gap } else { 0.0 };
            for place in [right + away, left - away, centre] {
                let clear = place.to_bits() != centre.to_bits() || far > 1.5;
                if clear {
                    places.push((at(place, middle), true));
                }
            }
        }
    }
    places
}

/// The point of an area's edge that is nearest to a point.
fn nearest(area: &Area, x: f64, y: f64) -> (f64, f64) {
    (x.clamp(area.left, area.right), y.clamp(area.top + 2.0, area.bottom - 2.0))
}

impl Labels {
    /// Leaders and texts.
    pub fn draw(&self) -> Markup {
        html! {
            @for placed in &self.placed {
                @if let Some((from, to)) = placed.leader { (mark::straight("leader", from, to)) }
            }
            @for Placed { area, text: content, class, .. } in &self.placed {
                (text(area.left, f64::midpoint(area.top, area.bottom), Align::Start, class, content))
            }
        }
    }

    /// The same with `3 more` at a place, where labels found none.
    pub fn draw_with_rest(&self, x: f64, y: f64, align: Align) -> Markup {
        html! {
            (self.draw())
            @if self.more > 0 { (text(x, y, align, "muted", &format!("{} more", self.more))) }
        }
    }
}

#[cfg(test)]
#[path = "label_tests.rs"]
mod tests;
