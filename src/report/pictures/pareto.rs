//! Two metrics against each other as a picture: dots with crosses of intervals, the front
//! as a step line, dominated configurations pale.

use maud::{Markup, html};

use super::super::spoken;
use super::axis::{self, ABOVE, BELOW, Frame};
use super::label::{self, Align, Area, LINE, Label};
use super::mark::{self, Fill};
use super::palette::Palette;
use super::scale::{Scale, ends};
use super::wording::{capital, figure, heading, metric, names, rests_on, small, some, spoken_of};
use super::{Drawing, NARROW, Picture, anchor, picture, sentence, titled};
use crate::metric::Goal;
use crate::results::analysis::{Analysis, Figure, Pareto, ParetoPoint};
use crate::results::number;
use crate::results::ranking::Ranking;

/// The Pareto front; `None` where nothing is set against the objective.
pub fn pareto(analysis: &Analysis, ranking: &Ranking) -> Option<Picture> {
    let pareto = analysis.pareto.as_ref()?;
    let palette = Palette::new(ranking);
    let drawable = |it: &&ParetoPoint| it.x.value.is_finite() && it.y.value.is_finite();
    let points: Vec<&ParetoPoint> = pareto.points.iter().filter(drawable).collect();
    let view = View { pareto, ranking, palette, points };
    let title = titled(ranking.simulated, view.answer());
    if view.points.len() < 2 {
        return Some(sentence("pareto", title));
    }
    Some(picture("pareto", title, view.caption(), view.table(), |width| view.draw(width)))
}

struct View<'a> {
    pareto: &'a Pareto,
    ranking: &'a Ranking,
    palette: Palette,
    points: Vec<&'a ParetoPoint>,
}

impl View<'_> {
    fn answer(&self) -> String {
        let what = format!("{} and {}", metric(&self.pareto.x), metric(&self.pareto.y));
        if self.points.len() < 2 {
            return format!(
                "Fewer than two configurations have both {what}: there is no trade-off to show"
            );
        }
        let front: Vec<usize> =
            self.points.iter().filter(|it| it.on_front).map(|it| it.configuration).collect();
        if let [one] = front.as_slice() {
            let name = names(&self.palette, &[*one]);
            return format!("{name} has the best means of both {what}");
        }
        format!(
            "{} of {} configurations are on the front of {what} by their means: {}",
            capital(front.len()),
            small(self.points.len()),
            names(&self.palette, &front),
        )
    }

    fn caption(&self) -> String {
        let repeats = |of: &dyn Fn(&ParetoPoint) -> usize| -> usize {
            self.points.iter().map(|it| of(it)).sum()
        };
        let (first, second) = (repeats(&|it| it.x.repeats), repeats(&|it| it.y.repeats));
        let n = if first == second {
            format!("{} of each metric", some(first, "repeat"))
        } else {
            format!("{} of the one metric, {second} of the other", some(first, "repeat"))
        };
        format!(
            "{} ({}) against {} ({}), means with 95% intervals (n: {}, {n}). The step line \
             is the front: nothing measured is better in one and as good in the other. By means: where \
             crosses overlap, which one is on the front is not shown. Pale: not on the front.",
            metric(&self.pareto.x),
            spoken::wanted(self.pareto.x_goal),
            metric(&self.pareto.y),
            spoken::wanted(self.pareto.y_goal),
            some(self.points.len(), "configuration"),
        )
    }

    fn units(&self) -> (&'static str, &'static str) {
        (number::unit(&self.pareto.x), number::unit(&self.pareto.y))
    }

    fn table(&self) -> Vec<Vec<String>> {
        let (x, y) = self.units();
        let (first, second) =
            (heading(&metric(&self.pareto.x), x), heading(&metric(&self.pareto.y), y));
        let head = ["configuration", &first, "n", &second, "n", "on the front"];
        let row = |it: &&ParetoPoint| {
            vec![
                self.palette.name(it.configuration).to_owned(),
                figure(&it.x, ""),
                rests_on(&it.x),
                figure(&it.y, ""),
                rests_on(&it.y),
                if it.on_front { "yes" } else { "no" }.to_owned(),
            ]
        };
        [head.map(str::to_owned).to_vec()].into_iter().chain(self.points.iter().map(row)).collect()
    }

    fn draw(&self, width: f64) -> Drawing {
        let high = if width <= NARROW { 300.0 } else { 400.0 };
        let ends = |it: &Figure| ends(it.value, it.interval);
        let mut frame =
            Frame { left: 0.0, right: width - 20.0, top: ABOVE + 6.0, bottom: ABOVE + high };
        let y = Scale::positions(self.points.iter().flat_map(|it| ends(&it.y)), frame.upwards());
        frame.left = axis::room_for(&y, axis::most_upwards(&frame));
        let x = Scale::positions(self.points.iter().flat_map(|it| ends(&it.x)), frame.across());
        let (x_unit, y_unit) = self.units();
        // Pale ones first, so that the others lie above them.
        let mut order = self.points.clone();
        order.sort_by_key(|it| (self.palette.look(it.configuration).named, it.on_front));
        let body = html! {
            (axis::upwards(&frame, &y, &axis::title(&metric(&self.pareto.y), y_unit, &y)))
            (self.front(&x, &y))
            @for point in order { (self.mark(point, &x, &y)) }
            (self.labels(&frame, &x, &y))
            (axis::across(&frame, &x, &axis::title(&metric(&self.pareto.x), x_unit, &x)))
        };
        Drawing { height: frame.bottom + BELOW, body }
    }

    /// Across first: from the best of the horizontal metric to the worst.
    fn front(&self, x: &Scale, y: &Scale) -> Markup {
        let mut front: Vec<&&ParetoPoint> = self.points.iter().filter(|it| it.on_front).collect();
        front.sort_by(|a, b| a.x.value.total_cmp(&b.x.value));
        if self.pareto.x_goal == Goal::Maximize {
            front.reverse();
        }
        let corners: Vec<(f64, f64)> =
            front.iter().map(|it| (x.at(it.x.value), y.at(it.y.value))).collect();
        html! { @if corners.len() > 1 { path class="front" d=(mark::steps_through(&corners)) {} } }
    }

    fn mark(&self, point: &ParetoPoint, x: &Scale, y: &Scale) -> Markup {
        let look = self.palette.look(point.configuration);
        let (across, up) = (x.at(point.x.value), y.at(point.y.value));
        let (x_unit, y_unit) = self.units();
        let title = format!(
            "{}: {} {} ({}), {} {} ({}); {}",
            self.palette.name(point.configuration),
            metric(&self.pareto.x),
            figure(&point.x, x_unit),
            rests_on(&point.x),
            metric(&self.pareto.y),
            figure(&point.y, y_unit),
            rests_on(&point.y),
            if point.on_front { "on the front" } else { "not on the front" },
        );
        let radius = if look.named { 5.0 } else { 3.5 };
        let body = html! {
            @if let Some(it) = point.x.interval { (mark::across(x.at(it.low), x.at(it.high), up)) }
            @if let Some(it) = point.y.interval { (mark::upright(across, y.at(it.low), y.at(it.high))) }
            (mark::dot(look.shape, across, up, radius, Fill::Full))
        };
        let class =
            if point.on_front { look.class.to_owned() } else { format!("{} pale", look.class) };
        mark::linked(&anchor(point.configuration), &title, &class, &body)
    }

    /// Names of the coloured ones: baseline and candidate first, then the front.
    fn labels(&self, frame: &Frame, x: &Scale, y: &Scale) -> Markup {
        let (baseline, candidate) = spoken_of(self.ranking);
        let mut named: Vec<&&ParetoPoint> =
            self.points.iter().filter(|it| self.palette.look(it.configuration).named).collect();
        let rank = |it: &ParetoPoint| match Some(it.configuration) {
            at if at == candidate => 0,
            at if at == baseline => 1,
            _ if it.on_front => 2,
            _ => 3,
        };
        named.sort_by_key(|it| rank(it));
        let most = frame.width() * 0.4;
        let label = |it: &&&ParetoPoint| Label {
            x: x.at(it.x.value),
            y: y.at(it.y.value),
            text: self.palette.short_name(it.configuration, most.min(210.0)),
            class: "",
        };
        let labels: Vec<Label> = named.iter().map(label).collect();
        let mut taken: Vec<Area> = self
            .points
            .iter()
            .map(|it| Area::around(x.at(it.x.value), y.at(it.y.value), 5.0))
            .collect();
        // Names keep off the crosses of those that have one.
        for it in &named {
            let (across, up) = (x.at(it.x.value), y.at(it.y.value));
            taken.extend(it.x.interval.map(|it| Area {
                left: x.at(it.low) - 3.0,
                right: x.at(it.high) + 3.0,
                top: up - 2.0,
                bottom: up + 2.0,
            }));
            taken.extend(it.y.interval.map(|it| Area {
                left: across - 2.0,
                right: across + 2.0,
                top: y.at(it.high) - 3.0,
                bottom: y.at(it.low) + 3.0,
            }));
        }
        taken.push(axis::rest(frame));
        let placed = label::beside(&labels, frame.area(), &taken, 9.0);
        placed.draw_with_rest(frame.right, frame.top + LINE / 2.0, Align::End)
    }
}
