//! Small panels on the night's time axis: the machine's estimated level with its band, and
//! samples of host and GPUs. A quantity without samples has no panel and is named in the
//! caption.

use maud::{Markup, html};

use super::super::axis::Frame;
use super::super::label::{Align, LINE, text};
use super::super::mark::{self, straight};
use super::super::palette::{cut, shown};
use super::super::scale::Scale;
use super::super::{compact, label};
use super::clock::Clock;
use crate::results::analysis::{Course, Quantity, Series};

/// Units of a panel's height.
const HEIGHT: f64 = 46.0;

/// More lines than these in a panel have no names at their ends.
const LABELLED: usize = 3;

/// Units between two points of a line at least.
const APART: f64 = 1.5;

const QUANTITIES: [Quantity; 5] = [
    Quantity::HostCpu,
    Quantity::GpuMemory,
    Quantity::GpuPower,
    Quantity::GpuTemperature,
    Quantity::KvUsage,
];

/// Name and unit as they are shown.
pub(super) fn words(quantity: Quantity) -> (&'static str, &'static str) {
    match quantity {
        Quantity::HostCpu => ("host CPU in use", "%"),
        Quantity::GpuMemory => ("GPU memory", "GiB"),
        Quantity::GpuPower => ("GPU power", "W"),
        Quantity::GpuTemperature => ("GPU temperature", "°C"),
        Quantity::KvUsage => ("KV cache in use", "%"),
    }
}

/// A sample in the unit that is shown.
pub(super) fn shown_value(quantity: Quantity, value: f64) -> f64 {
    match quantity {
        Quantity::HostCpu | Quantity::KvUsage => value * 100.0,
        Quantity::GpuMemory => value / 1_073_741_824.0,
        Quantity::GpuPower | Quantity::GpuTemperature => value,
    }
}

/// Quantities that have at least two samples in one series, in the order of the panels.
pub(super) fn sampled(course: &Course) -> Vec<(Quantity, Vec<&Series>)> {
    let of = |quantity: Quantity| {
        let series = course.series.iter().filter(move |it| it.quantity == quantity);
        let series: Vec<&Series> =
            series.filter(|it| it.points.iter().flatten().count() > 1).collect();
        (!series.is_empty()).then_some((quantity, series))
    };
    QUANTITIES.into_iter().filter_map(of).collect()
}

fn is_labelled(series: &[&Series]) -> bool {
    (2..=LABELLED).contains(&series.len())
}

/// Whether lines have names at their ends.
pub(super) fn has_labels(course: &Course) -> bool {
    sampled(course).iter().any(|(_, series)| is_labelled(series))
}

/// A panel that is drawn, and where it ends.
pub(super) struct Panel {
    pub(super) bottom: f64,
    pub(super) body: Markup,
}

/// The frame of a panel that begins at `top`, and its axis. A wide drawing has the name in
/// two lines on the left, a narrow one above.
fn framed(
    (left, right): (f64, f64),
    top: f64,
    wide: bool,
    scale: impl Fn(&Frame) -> Scale,
    (name, unit): (&str, &str),
) -> (Frame, Scale, Markup) {
    let top = if wide { top } else { top + LINE };
    let frame = Frame { left, right, top, bottom: top + HEIGHT };
    let scale = scale(&frame);
    let middle = f64::midpoint(frame.top, frame.bottom);
    let body = html! {
        @for (value, label) in scale.labelled_ticks(2) {
            @let y = scale.at(value);
            (straight("grid", (left, y), (right, y)))
            (text(left - 6.0, y, Align::End, "tick", &label))
        }
        @if wide {
            (text(0.0, middle - LINE / 2.0, Align::Start, "", &cut(name, left - 36.0)))
            (text(0.0, middle + LINE / 2.0, Align::Start, "muted", unit))
        } @else {
            (text(0.0, top - LINE / 2.0 - 2.0, Align::Start, "", &format!("{name}, {unit}")))
        }
    };
    (frame, scale, body)
}

/// The machine's level with its band; `None` with fewer than two points.
pub(super) fn level(
    course: &Course,
    clock: &Clock,
    across: (f64, f64),
    top: f64,
    wide: bool,
) -> Option<Panel> {
    let finite = |it: &&(_, f64, crate::statistics::Interval)| {
        it.1.is_finite() && it.2.low.is_finite() && it.2.high.is_finite()
    };
    let points: Vec<_> = course.level.iter().filter(finite).collect();
    let points: Vec<_> = points.into_iter().filter(|it| clock.stretch(it.0).is_some()).collect();
    if points.len() < 2 {
        return None;
    }
    let values = points.iter().flat_map(|it| [it.1, it.2.low, it.2.high]);
    let values: Vec<f64> = values.chain([1.0]).collect();
    let scale = |frame: &Frame| Scale::linear(values.iter().copied(), frame.upwards());
    let words = ("machine's level", "ratio");
    let (frame, scale, body) = framed(across, top, wide, scale, words);
    let place = |it: &&(jiff::Timestamp, f64, crate::statistics::Interval)| {
        (clock.at(it.0), scale.at(it.2.low), scale.at(it.2.high), scale.at(it.1))
    };
    let last = points[points.len() - 1];
    let title = format!(
        "machine's level, ratio to its mean: {} estimates, the last one {:.3} [{:.3}, {:.3}]",
        points.len(),
        last.1,
        last.2.low,
        last.2.high
    );
    let runs = points.chunk_by(|a, b| clock.stretch(a.0) == clock.stretch(b.0));
    let drawn = html! {
        @for run in runs {
            @let places: Vec<_> = run.iter().map(place).collect();
            (mark::band(&places.iter().map(|it| (it.0, it.1, it.2)).collect::<Vec<_>>(), ""))
            path class="sample" d=(compact::line(&places.iter().map(|it| (it.0, it.3)).collect::<Vec<_>>())) {}
        }
    };
    let body = html! { (body) (named("k1", &title, &drawn)) };
    Some(Panel { bottom: frame.bottom, body })
}

/// Not a link: a line over the whole night belongs to no launch. It can be focused.
fn named(class: &str, title: &str, body: &Markup) -> Markup {
    html! {
        g class=(format!("mark {class}")) role="img" tabindex="0" aria-label=(title) {
            title { (title) }
            (body)
        }
    }
}

/// A panel for each quantity that has samples, from `top` on.
pub(super) fn below(
    course: &Course,
    clock: &Clock,
    across: (f64, f64),
    top: f64,
    wide: bool,
) -> Vec<Panel> {
    let mut top = top;
    let mut panels = Vec::new();
    for (quantity, series) in sampled(course) {
        let panel = samples(quantity, &series, clock, (across, top), wide);
        top = panel.bottom + if wide { super::GAP } else { super::GAP / 2.0 };
        panels.push(panel);
    }
    panels
}

fn samples(
    quantity: Quantity,
    series: &[&Series],
    clock: &Clock,
    (across, top): ((f64, f64), f64),
    wide: bool,
) -> Panel {
    let values = series.iter().flat_map(|it| it.points.iter().flatten());
    let values = values.flat_map(|it| [it.1, it.2]).filter(|it| it.is_finite());
    let values: Vec<f64> = values.map(|it| shown_value(quantity, it)).collect();
    let scale = |frame: &Frame| Scale::linear(values.iter().copied(), frame.upwards());
    let (frame, scale, body) = framed(across, top, wide, scale, words(quantity));
    let mut labels = Vec::new();
    let body = html! {
        (body)
        @for one in series {
            @let runs = thinned(one, clock);
            @let place = |it: f64| scale.at(shown_value(quantity, it));
            @let drawn = html! {
                @for run in &runs {
                    @let means: Vec<_> = run.iter().map(|it| (it.0, place(it.1))).collect();
                    @let peaks: Vec<_> = run.iter().map(|it| (it.0, place(it.2))).collect();
                    @if means != peaks { path class="peak" d=(compact::line(&peaks)) {} }
                    path class="sample" d=(compact::line(&drawable(means))) {}
                }
            };
            (named("", &summary(quantity, one), &drawn))
            @if let Some((x, mean, _)) = runs.last().and_then(|run| run.last()) {
                @let text = cut(&end_name(&one.name), 46.0);
                @let () = labels.push(label::Label { x: *x, y: place(*mean), text, class: "tick" });
            }
        }
        @if is_labelled(series) {
            (label::at_ends(&labels, across.1 + 6.0, frame.top - 4.0, frame.bottom + 4.0).draw())
        }
    };
    Panel { bottom: frame.bottom, body }
}

/// A point alone is a short stroke.
fn drawable(mut points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    if let [(x, y)] = points[..] {
        points.push((x + 3.0, y));
    }
    points
}

/// `GPU 0` of `GPU 0 memory`.
fn end_name(name: &str) -> String {
    let name = shown(name);
    name.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

fn summary(quantity: Quantity, series: &Series) -> String {
    let (_, unit) = words(quantity);
    let points = series.points.iter().flatten().filter(|it| it.1.is_finite() && it.2.is_finite());
    let (mut count, mut sum, mut most) = (0.0, 0.0, f64::NEG_INFINITY);
    for (_, mean, peak) in points {
        (count, sum, most) = (count + 1.0, sum + mean, most.max(*peak));
    }
    let shown_as = |it: f64| format!("{:.1}", shown_value(quantity, it));
    let name = shown(&series.name);
    if count == 0.0 {
        return format!("{name}: no sample");
    }
    format!("{name}: mean {} {unit}, greatest {} {unit}", shown_as(sum / count), shown_as(most))
}

/// Runs of points in places: `(x, mean, greatest)`, at least [`APART`] from each other.
fn thinned(series: &Series, clock: &Clock) -> Vec<Vec<(f64, f64, f64)>> {
    let mut runs: Vec<Vec<(f64, f64, f64)>> = Vec::new();
    // What the last point is the mean of.
    let mut count = 1.0;
    let mut stretch = None;
    for point in &series.points {
        let Some((time, mean, peak)) = point.filter(|it| it.1.is_finite() && it.2.is_finite())
        else {
            stretch = None;
            continue;
        };
        let Some(within) = clock.stretch(time) else { continue };
        let x = clock.at(time);
        if stretch != Some(within) {
            stretch = Some(within);
            runs.push(Vec::new());
        }
        let Some(run) = runs.last_mut() else { continue };
        match run.last_mut() {
            Some(last) if (x - last.0).abs() < APART => {
                last.1 = (last.1 * count + mean) / (count + 1.0);
                last.2 = last.2.max(peak);
                count += 1.0;
            }
            _ => {
                run.push((x, mean, peak));
                count = 1.0;
            }
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

/// What the panels show, and what was not sampled.
pub(super) fn caption(course: &Course) -> String {
    let mut text = String::new();
    if course.level.len() > 1 {
        text.push_str(" Machine's level: estimated ratio to its mean with the 95% band.");
    } else {
        text.push_str(" The machine's level is not estimated.");
    }
    let sampled = sampled(course);
    if !sampled.is_empty() {
        text.push_str(" Samples: mean, and pale the greatest value around each time");
        let unnamed = sampled.iter().any(|(_, it)| it.len() > LABELLED);
        text.push_str(if unnamed {
            "; a line for each GPU, named on hover and focus."
        } else {
            "."
        });
    }
    let has = |quantity: &Quantity| sampled.iter().any(|it| it.0 == *quantity);
    let absent: Vec<&str> =
        QUANTITIES.iter().filter(|it| !has(it)).map(|it| words(*it).0).collect();
    if !absent.is_empty() {
        text.push_str(&format!(" Without samples: {}.", absent.join(", ")));
    }
    text
}
