//! Throughput against latency as a picture: the path of each configuration along the
//! load, the load at its points, the bound as a line. Where a path ends, the load ends.

use maud::{Markup, html};

use super::axis::{self, ABOVE, BELOW, Frame};
use super::label::{self, Align, Area, LINE, Label, text};
use super::mark::{self, Fill};
use super::palette::{Palette, cut, shown};
use super::scale::{Scale, ends};
use super::wording::{figure, heading, load, metric, names, rests_on, some, spoken_of};
use super::{Drawing, NARROW, Picture, anchor, picture, sentence, titled};
use crate::results::analysis::{Analysis, Ladder, Path, Step};
use crate::results::number;
use crate::results::ranking::Ranking;

/// Units between the frame and the names at the ends of paths.
const GAP: f64 = 26.0;

/// Throughput against latency; `None` where no load was measured.
pub fn ladder(analysis: &Analysis, ranking: &Ranking) -> Option<Picture> {
    let ladder = analysis.ladder.as_ref()?;
    let palette = Palette::new(ranking);
    let view = View { ladder, ranking, palette };
    let title = titled(ranking.simulated, view.answer());
    if view.steps().count() < 2 {
        return Some(sentence("ladder", title));
    }
    Some(picture("ladder", title, view.caption(), view.table(), |width| view.draw(width)))
}

struct View<'a> {
    ladder: &'a Ladder,
    ranking: &'a Ranking,
    palette: Palette,
}

fn drawable(step: &Step) -> bool {
    step.throughput.value.is_finite() && step.latency.value.is_finite()
}

impl<'a> View<'a> {
    fn steps(&self) -> impl Iterator<Item = &'a Step> {
        self.ladder.paths.iter().flat_map(|it| &it.steps).filter(|it| drawable(it))
    }

    fn units(&self) -> (&'static str, &'static str) {
        (number::unit(&self.ladder.throughput), number::unit(&self.ladder.latency))
    }

    /// Of candidate and baseline: the greatest throughput, within the bound where there is one.
    fn answer(&self) -> String {
        let (baseline, candidate) = spoken_of(self.ranking);
        let unit = self.units().0;
        let path =
            |of: Option<usize>| self.ladder.paths.iter().find(|it| Some(it.configuration) == of);
        let said = |path: &Path| {
            let name = names(&self.palette, &[path.configuration]);
            match self.most(path) {
                Some(step) => {
                    let reached = figure(&step.throughput, unit);
                    format!("{name} reaches {reached} at {}", load(&step.case))
                }
                None => format!("{name} is not shown to be within it at any load"),
            }
        };
        let mut parts: Vec<String> =
            [path(candidate), path(baseline)].into_iter().flatten().map(said).collect();
        if parts.is_empty() {
            parts.extend(self.ladder.paths.first().map(said));
        }
        if parts.is_empty() {
            return "No configuration was measured along the load".to_owned();
        }
        let (name, parts) = (metric(&self.ladder.latency), parts.join(", "));
        if !self.ladder.limits.is_empty() {
            return format!("With {name} bounded at {} alone, {parts}", self.bounds());
        }
        match self.ladder.limit {
            Some(limit) => {
                let limit = number::given(limit);
                format!("Shown to keep {name} within {limit} {}: {parts}", self.units().1)
            }
            None => format!("Without a bound on {name}, {parts}"),
        }
    }

    /// `8 in flight (500 ms)`, for each load that has a bound of its own.
    fn bounds(&self) -> String {
        let one = |(case, limit): &(String, f64)| {
            format!("{} ({} {})", load(case), number::given(*limit), self.units().1)
        };
        self.ladder.limits.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// The step with the greatest throughput of those that are shown to be within their bound.
    fn most<'p>(&self, path: &'p Path) -> Option<&'p Step> {
        let within = |step: &&Step| match self.ladder.limit_of(&step.case) {
            Some(limit) => step.latency.interval.is_some_and(|it| it.high <= limit),
            None => true,
        };
        let within = path.steps.iter().filter(|it| drawable(it)).filter(within);
        within.max_by(|a, b| a.throughput.value.total_cmp(&b.throughput.value))
    }

    fn caption(&self) -> String {
        let launches = self.steps().map(|it| it.latency.launches).max().unwrap_or_default();
        let bound = if !self.ladder.limits.is_empty() {
            format!(" A dashed line is the bound at one load: {}.", self.bounds())
        } else if self.ladder.limit.is_some() {
            " The dashed line is the bound.".to_owned()
        } else {
            String::new()
        };
        format!(
            "{} against {}, means with 95% intervals, along the load: the number at a point is the load, \
             and a path ends where the load that was measured ends (n: {}, up to {} each).{bound}",
            metric(&self.ladder.throughput),
            metric(&self.ladder.latency),
            some(self.steps().count(), "step"),
            some(launches, "launch"),
        )
    }

    fn table(&self) -> Vec<Vec<String>> {
        let (x, y) = self.units();
        let first = heading(&metric(&self.ladder.throughput), x);
        let second = heading(&metric(&self.ladder.latency), y);
        let head = ["configuration", "load", &first, "n", &second, "n"].map(str::to_owned).to_vec();
        let row = |path: &Path, it: &Step| {
            vec![
                self.palette.name(path.configuration).to_owned(),
                load(&it.case),
                figure(&it.throughput, ""),
                rests_on(&it.throughput),
                figure(&it.latency, ""),
                rests_on(&it.latency),
            ]
        };
        let rows = self
            .ladder
            .paths
            .iter()
            .flat_map(|path| path.steps.iter().map(move |it| row(path, it)));
        [head].into_iter().chain(rows).collect()
    }

    fn draw(&self, width: f64) -> Drawing {
        let high = if width <= NARROW { 320.0 } else { 420.0 };
        let named = |it: &&Path| self.palette.look(it.configuration).named;
        let names = self.ladder.paths.iter().filter(named);
        let names = names.map(|it| label::text_width(self.palette.name(it.configuration)));
        let share = if width <= NARROW { 0.32 } else { 0.27 };
        let room = names.fold(0.0, f64::max).min(width * share);
        let right = width - room - GAP - 4.0;
        let mut frame = Frame { left: 0.0, right, top: ABOVE + 6.0, bottom: ABOVE + high };
        let limits = self.limits();
        let y = Scale::positions(
            self.steps()
                .flat_map(|it| ends(it.latency.value, it.latency.interval))
                .chain(limits.iter().map(|it| it.0)),
            frame.upwards(),
        );
        frame.left = axis::room_for(&y, axis::most_upwards(&frame));
        let x = Scale::positions(
            self.steps().flat_map(|it| ends(it.throughput.value, it.throughput.interval)),
            frame.across(),
        );
        let (x_unit, y_unit) = self.units();
        let (named, pale): (Vec<&Path>, Vec<&Path>) = self.ladder.paths.iter().partition(named);
        let body = html! {
            (axis::upwards(&frame, &y, &axis::title(&metric(&self.ladder.latency), y_unit, &y)))
            (Self::lines(&limits, &frame, &y))
            @for path in pale.iter().chain(named.iter().rev()) { (self.path(path, &x, &y)) }
            (self.labels(&named, &frame, &x, &y, room))
            (axis::across(&frame, &x, &axis::title(&metric(&self.ladder.throughput), x_unit, &x)))
        };
        Drawing { height: frame.bottom + BELOW, body }
    }

    /// Bounds that are drawn, each with its words, the greatest first.
    fn limits(&self) -> Vec<(f64, String)> {
        let words = |limit: f64| format!("bound {} {}", number::given(limit), self.units().1);
        let at = |(case, limit): &(String, f64)| {
            (*limit, format!("{} at {}", words(*limit), load(case)))
        };
        let of_all = self.ladder.limit.map(|limit| (limit, words(limit)));
        let mut all: Vec<(f64, String)> =
            self.ladder.limits.iter().map(at).chain(of_all).filter(|it| it.0.is_finite()).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        all
    }

    /// A line for each bound; its words where they cover no other ones, the caption has all.
    fn lines(limits: &[(f64, String)], frame: &Frame, y: &Scale) -> Markup {
        let mut free = f64::NEG_INFINITY;
        html! {
            @for (limit, words) in limits {
                @let at = y.at(*limit);
                @let above = if at - LINE < frame.top { LINE / 2.0 + 2.0 } else { -LINE / 2.0 - 1.0 };
                (mark::straight("limit", (frame.left, at), (frame.right, at)))
                @if at + above - LINE / 2.0 >= free {
                    @let () = free = at + above + LINE / 2.0;
                    (text(frame.left + 4.0, at + above, Align::Start, "muted", words))
                }
            }
        }
    }

    fn path(&self, path: &Path, x: &Scale, y: &Scale) -> Markup {
        let look = self.palette.look(path.configuration);
        let steps: Vec<&Step> = path.steps.iter().filter(|it| drawable(it)).collect();
        let at = |step: &Step| (x.at(step.throughput.value), y.at(step.latency.value));
        let points: Vec<(f64, f64)> = steps.iter().map(|it| at(it)).collect();
        if !look.named {
            // One mark for the whole path: there may be hundreds of them.
            let title = steps.last().map_or_else(String::new, |it| self.title_of(path, it));
            let body = html! { (mark::line(&points, look)) };
            return mark::link(&anchor(path.configuration), &title, look, &body);
        }
        html! {
            (mark::line(&points, look))
            @for step in steps {
                @let (across, up) = at(step);
                @let body = html! {
                    @if let Some(it) = step.throughput.interval { (mark::across(x.at(it.low), x.at(it.high), up)) }
                    @if let Some(it) = step.latency.interval { (mark::upright(across, y.at(it.low), y.at(it.high))) }
                    (mark::dot(look.shape, across, up, 4.5, Fill::Full))
                };
                (mark::link(&anchor(path.configuration), &self.title_of(path, step), look, &body))
            }
        }
    }

    fn title_of(&self, path: &Path, step: &Step) -> String {
        let (x, y) = self.units();
        format!(
            "{} at {}: {} {}, {} {}; {}",
            self.palette.name(path.configuration),
            load(&step.case),
            metric(&self.ladder.throughput),
            figure(&step.throughput, x),
            metric(&self.ladder.latency),
            figure(&step.latency, y),
            rests_on(&step.latency),
        )
    }

    /// Names in a column beside the ends of paths, and the load at points of candidate and
    /// baseline.
    fn labels(&self, named: &[&Path], frame: &Frame, x: &Scale, y: &Scale, room: f64) -> Markup {
        let at = |step: &Step| (x.at(step.throughput.value), y.at(step.latency.value));
        let (baseline, candidate) = spoken_of(self.ranking);
        let spoken = |path: &Path| [baseline, candidate].contains(&Some(path.configuration));
        let mut order = named.to_vec();
        order.sort_by_key(|it| !spoken(it));
        let name = |path: &&Path| {
            let (x, y) = at(path.steps.iter().rfind(|it| drawable(it))?);
            Some(Label { x, y, text: self.palette.short_name(path.configuration, room), class: "" })
        };
        let names: Vec<Label> = order.iter().filter_map(name).collect();
        let column = frame.right + GAP;
        let names = label::at_ends(&names, column, frame.top, frame.bottom);
        let points = named.iter().flat_map(|it| &it.steps).filter(|it| drawable(it)).map(at);
        let mut taken: Vec<Area> = points.map(|(x, y)| Area::around(x, y, 5.0)).collect();
        for (limit, words) in self.limits() {
            let wide = label::text_width(&words).max(146.0) + 4.0;
            let (left, right, at) = (frame.left, frame.left + wide, y.at(limit));
            taken.push(Area { left, right, top: at - LINE, bottom: at + LINE });
        }
        let loads = order.iter().filter(|it| spoken(it));
        let loads = loads.flat_map(|it| it.steps.iter().filter(|it| drawable(it))).map(|step| {
            let (x, y) = at(step);
            let number = step.case.split_once('=').map_or(step.case.as_str(), |it| it.1);
            Label { x, y, text: cut(&shown(number), 70.0), class: "muted" }
        });
        let loads: Vec<Label> = loads.collect();
        let mut loads = label::beside(&loads, frame.area(), &taken, 7.0);
        // A number far from its point says nothing; the point's title has it.
        loads.placed.retain(|it| it.leader.is_none());
        html! {
            (loads.draw())
            (names.draw_with_rest(column, frame.bottom - LINE / 2.0, Align::Start))
        }
    }
}
