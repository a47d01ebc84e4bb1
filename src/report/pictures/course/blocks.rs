//! A launch as a block: one part for each phase, the taller the nearer to measuring, with
//! what failed as marks. Each block leads to its launch in the page.

use maud::{Markup, html};

use super::super::label::{Align, LINE, text, text_width};
use super::super::mark::{self, crossed};
use super::super::palette::{cut, shown};
use super::super::{compact, launch_anchor, px};
use super::clock::Clock;
use super::phases::{Phase, Phases};
use super::rows::{Lane, Row};
use super::words::duration;
use crate::results::analysis::Span;

/// Units of a block at least.
const LEAST: f64 = 1.2;

/// Parts of fewer units are not drawn in a block.
const SEEN: f64 = 0.4;

/// Part of a row's height.
pub(super) fn share(phase: Phase) -> f64 {
    match phase {
        Phase::Measuring | Phase::Undivided => 1.0,
        Phase::WarmUp => 0.8,
        Phase::Boot => 0.6,
        Phase::Drain => 0.35,
    }
}

/// Left, right and class of the parts of a block.
fn parts(phases: &Phases, clock: &Clock) -> Vec<(f64, f64, Phase)> {
    let place =
        |part: &super::phases::Part| (clock.at(part.from), clock.at(part.until), part.phase);
    let parts = phases.parts.iter().map(place);
    parts.filter(|(left, right, _)| right - left >= SEEN).collect()
}

/// One launch; `brief`: with a short title, where there are many.
pub(super) fn block(
    span: &Span,
    phases: &Phases,
    clock: &Clock,
    (row, lane): (&Row, Lane),
    brief: bool,
) -> Markup {
    let Some((from, until)) = phases.extent else { return html! {} };
    let left = clock.at(from);
    let least = if span.unfinished && lane.named { 4.0 } else { LEAST };
    let right = clock.at(until).max(left + least);
    let (top, bottom) = (lane.top, lane.top + lane.height);
    let parts = parts(phases, clock);
    let middle = (f64::midpoint(left, right), lane.middle());
    let whole = |class: &str| html! { path class=(class) d=(compact::rectangle(left, top, right, bottom)) {} };
    let body = html! {
        @if span.unfinished {
            (whole("open"))
        } @else if parts.is_empty() {
            (whole(phases.parts.last().map_or("p4", |it| it.phase.class())))
        } @else {
            @for (from, until, phase) in parts {
                @let top = bottom - lane.height * share(phase);
                path class=(phase.class()) d=(compact::rectangle(from, top, until.max(from + 0.4), bottom)) {}
            }
        }
        @if span.confirms { (whole("confirms")) }
        @if span.failure.is_some() { (crossed(middle.0, middle.1, if lane.named { 6.0 } else { 3.0 })) }
        @if !span.failed_gates.is_empty() { (gate(middle.0, top, lane.named)) }
    };
    let class =
        if lane.named { row.look.class.to_owned() } else { format!("{} thin", row.look.class) };
    mark::linked(&launch_anchor(span.launch), &title(span, phases, &row.name, brief), &class, &body)
}

/// A triangle on its tip above a block.
fn gate(x: f64, top: f64, large: bool) -> Markup {
    let size = if large { 4.0 } else { 2.0 };
    let (left, right) = (px(x - size), px(x + size));
    let (high, low) = (px(top - size * 0.6), px(top + size * 1.2));
    html! { path class="gate" d=(format!("M{left} {high}H{right}L{} {low}Z", px(x))) {} }
}

/// `launch 12, seqs32: boot 3.1 min, warm-up 40 s, measuring 8.2 min, drain 4 s`.
fn title(span: &Span, phases: &Phases, name: &str, brief: bool) -> String {
    let name = cut(name, if brief { 150.0 } else { 300.0 });
    let part = |it: &super::phases::Part| format!("{} {}", it.phase.name(), duration(it.seconds()));
    let times = match phases.parts.as_slice() {
        [] => "no duration is known".to_owned(),
        _ if brief => duration(phases.total()),
        parts => parts.iter().map(part).collect::<Vec<_>>().join(", "),
    };
    let mut text = format!("launch {}, {name}: {times}", span.launch);
    if let Some(class) = span.failure {
        text.push_str("; failed: ");
        text.push_str(class);
    }
    if !span.failed_gates.is_empty() {
        let gates: Vec<String> = span.failed_gates.iter().map(|it| shown(it)).collect();
        text.push_str("; gates failed: ");
        text.push_str(&gates.join(", "));
    }
    if span.unfinished {
        text.push_str("; unfinished");
    }
    if span.confirms {
        text.push_str("; confirmation");
    }
    text
}

/// The four tints with their names, in the first line.
pub(super) fn key(width: f64) -> Markup {
    let step = |phase: Phase| text_width(phase.name()) + 26.0;
    let all: f64 = Phase::ALL.into_iter().map(step).sum();
    let mut left = (width - all).max(0.0);
    let y = LINE / 2.0;
    html! {
        g class="k1" {
            @for phase in Phase::ALL {
                @let bottom = y + 5.0;
                path class=(phase.class()) d=(compact::rectangle(left, bottom - 11.0 * share(phase), left + 12.0, bottom)) {}
                (text(left + 16.0, y, Align::Start, "muted", phase.name()))
                @let () = left += step(phase);
            }
        }
    }
}
