//! The phases of a launch, from the times that are known: boot, warm-up, measuring, drain.
//! A time that is not known parts no phases, and one out of order is not used: nothing is
//! estimated here.

use jiff::Timestamp;

use crate::results::analysis::Span;

/// What a launch is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Until the server is ready and proven.
    Boot,
    /// Gates and warm-up.
    WarmUp,
    /// Repeats.
    Measuring,
    /// From the last repeat to the end.
    Drain,
    /// Several of these, and when one became the other is not known.
    Undivided,
}

impl Phase {
    /// Those that a complete launch has, in their order.
    pub(super) const ALL: [Self; 4] = [Self::Boot, Self::WarmUp, Self::Measuring, Self::Drain];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::WarmUp => "warm-up",
            Self::Measuring => "measuring",
            Self::Drain => "drain",
            Self::Undivided => "not divided",
        }
    }

    /// Class of the style.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Boot => "p0",
            Self::WarmUp => "p1",
            Self::Measuring => "p2",
            Self::Drain => "p3",
            Self::Undivided => "p4",
        }
    }
}

/// One phase of a launch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Part {
    pub(super) phase: Phase,
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

impl Part {
    pub(super) fn seconds(&self) -> f64 {
        self.until.duration_since(self.from).as_secs_f64()
    }
}

/// What is known of a launch in time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Phases {
    /// In their order, each beginning where the one before it ends.
    pub(super) parts: Vec<Part>,
    /// First and last known time; `None` without any.
    pub(super) extent: Option<(Timestamp, Timestamp)>,
}

impl Phases {
    /// Seconds of one phase; `None` where it is not known.
    pub(super) fn seconds(&self, phase: Phase) -> Option<f64> {
        let of = |it: &&Part| it.phase == phase;
        self.parts.iter().find(of).map(Part::seconds)
    }

    /// Seconds of all of it.
    pub(super) fn total(&self) -> f64 {
        self.extent.map_or(0.0, |(from, until)| until.duration_since(from).as_secs_f64())
    }
}

/// The phases of one launch.
pub(super) fn phases(span: &Span) -> Phases {
    let times = [span.started, span.ready, span.warm, span.measured];
    let mut known: Vec<(usize, Timestamp)> = Vec::new();
    for (at, time) in times.into_iter().enumerate() {
        let Some(time) = time else { continue };
        if known.last().is_none_or(|(_, last)| *last <= time) {
            known.push((at, time));
        }
    }
    let mut parts: Vec<Part> = known
        .windows(2)
        .map(|pair| {
            let ((first, from), (next, until)) = (pair[0], pair[1]);
            let phase = if next == first + 1 { Phase::ALL[first] } else { Phase::Undivided };
            Part { phase, from, until }
        })
        .collect();
    let last = known.last().copied();
    let ended = span.ended.filter(|end| last.is_none_or(|(_, last)| last <= *end));
    if let Some(((at, from), until)) = last.zip(ended) {
        // One that broke off did so in the phase that had begun.
        let broke_off = span.failure.is_some() || span.unfinished;
        let phase = if at == 3 || broke_off { Phase::ALL[at] } else { Phase::Undivided };
        parts.push(Part { phase, from, until });
    }
    let first = known.first().map(|it| it.1).or(ended);
    let extent = first.zip(ended.or(last.map(|it| it.1)));
    Phases { parts, extent }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(minute: i64) -> Timestamp {
        Timestamp::from_second(1_764_300_000 + minute * 60).unwrap()
    }

    fn span(times: [Option<i64>; 5]) -> Span {
        let [started, ready, warm, measured, ended] = times.map(|it| it.map(time));
        Span {
            launch: 1,
            block: 1,
            name: "a".to_owned(),
            configuration: Some(0),
            confirms: false,
            started,
            ready,
            warm,
            measured,
            ended,
            failure: None,
            failed_gates: Vec::new(),
            unfinished: false,
        }
    }

    fn named(span: &Span) -> Vec<(&'static str, f64)> {
        phases(span).parts.iter().map(|it| (it.phase.name(), it.seconds() / 60.0)).collect()
    }

    #[test]
    fn a_complete_launch_has_four_phases() {
        let whole = span([0, 3, 4, 12, 13].map(Some));
        let expected = [("boot", 3.0), ("warm-up", 1.0), ("measuring", 8.0), ("drain", 1.0)];
        assert_eq!(named(&whole), expected);
        assert!((phases(&whole).total() - 780.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_not_known_divides_nothing() {
        assert_eq!(
            named(&span([Some(0), None, Some(4), Some(12), Some(13)])),
            [("not divided", 4.0), ("measuring", 8.0), ("drain", 1.0)]
        );
        assert_eq!(named(&span([Some(0), None, None, None, Some(13)])), [("not divided", 13.0)]);
        assert_eq!(named(&span([None; 5])), []);
        assert_eq!(phases(&span([None; 5])).extent, None);
    }

    #[test]
    fn a_failed_launch_ends_in_the_phase_that_had_begun() {
        let failed = |times| Span { failure: Some("out_of_memory"), ..span(times) };
        assert_eq!(named(&failed([Some(0), None, None, None, Some(2)])), [("boot", 2.0)]);
        let during = failed([Some(0), Some(3), Some(4), None, Some(6)]);
        assert_eq!(named(&during), [("boot", 3.0), ("warm-up", 1.0), ("measuring", 2.0)]);
    }

    #[test]
    fn times_out_of_order_are_not_used() {
        let turned = span([Some(5), Some(3), Some(6), Some(12), Some(11)]);
        assert_eq!(named(&turned), [("not divided", 1.0), ("measuring", 6.0)]);
        let extent = phases(&turned).extent.unwrap();
        assert_eq!((extent.0, extent.1), (time(5), time(12)));
        // An end before the beginning is no end.
        assert_eq!(named(&span([Some(5), None, None, None, Some(1)])), []);
    }
}
