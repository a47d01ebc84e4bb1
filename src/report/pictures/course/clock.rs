//! The time axis of a course: long pauses without launches are cut out and marked, so that
//! a sweep over several nights keeps its blocks readable. Ticks of one stretch are those of
//! the kit's time scale.

use jiff::Timestamp;
use maud::{Markup, html};

use super::super::axis::{self, Frame};
use super::super::label::{Align, LINE, text};
use super::super::mark::straight;
use super::super::scale::TimeScale;

/// Seconds of a pause that is never cut out.
const PAUSE: f64 = 1800.0;

/// A pause is cut out where it is more than this part of the time with launches.
const LONG: f64 = 0.05;

/// Units that a cut takes.
const CUT: f64 = 16.0;

/// Stretches of time next to each other.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    stretches: Vec<Stretch>,
    /// What the clock of the narrowest stretch tells is in these places.
    places: (f64, f64),
}

#[derive(Clone, Debug)]
struct Stretch {
    from: Timestamp,
    until: Timestamp,
    scale: TimeScale,
    places: (f64, f64),
}

impl Clock {
    /// Of launches with beginning and end; `None` without any.
    pub(super) fn new(ends: &[(Timestamp, Timestamp)], places: (f64, f64)) -> Option<Self> {
        let merged = stretches(ends);
        let cuts = merged.len().saturating_sub(1) as f64;
        let seconds = |it: &(Timestamp, Timestamp)| seconds(it.0, it.1).max(1.0);
        let total: f64 = merged.iter().map(seconds).sum();
        // Many cuts leave at least half of the room.
        let cut = CUT.min((places.1 - places.0) / 2.0 / cuts.max(1.0));
        let room = places.1 - places.0 - cuts * cut;
        let mut left = places.0;
        let mut stretches = Vec::with_capacity(merged.len());
        for (from, until) in merged {
            let right = (left + room * seconds(&(from, until)) / total).min(places.1);
            let scale = TimeScale::new([from, until], (left, right))?;
            stretches.push(Stretch { from, until, scale, places: (left, right) });
            left = right + cut;
        }
        (!stretches.is_empty()).then_some(Self { stretches, places })
    }

    /// Where a time stands; one inside of a pause at the end of what was before it.
    pub(super) fn at(&self, time: Timestamp) -> f64 {
        let stretch = self.stretches.iter().rfind(|it| it.from <= time);
        stretch.map_or(self.places.0, |it| it.scale.at(time))
    }

    /// The stretch that has a time in it, as its number.
    pub(super) fn stretch(&self, time: Timestamp) -> Option<usize> {
        self.stretches.iter().position(|it| it.from <= time && time <= it.until)
    }

    /// Ticks below a frame, the cuts, and what the axis shows.
    pub(super) fn axis(&self, frame: &Frame, titled: bool) -> Markup {
        html! {
            (axis::along(frame, self.ticks(axis::most_across(frame)).into_iter()))
            @for pair in self.stretches.windows(2) {
                @let (left, right) = (pair[0].places.1, pair[1].places.0);
                @let middle = f64::midpoint(left, right);
                @let y = frame.bottom;
                (straight("axis", (middle - 5.0, y + 5.0), (middle - 1.0, y - 5.0)))
                (straight("axis", (middle + 1.0, y + 5.0), (middle + 5.0, y - 5.0)))
            }
            @if titled {
                (text(frame.right, frame.bottom + 2.0 * LINE + 2.0, Align::End, "muted", "time, UTC"))
            }
        }
    }

    /// Places and texts; the first tick of a day's stretch has its date.
    fn ticks(&self, most: usize) -> Vec<(f64, String)> {
        let width = (self.places.1 - self.places.0).max(1.0);
        let mut ticks = Vec::new();
        let mut day = None;
        for stretch in &self.stretches {
            let own = (stretch.places.1 - stretch.places.0) / width;
            let fitting = (most as f64 * own).floor().max(2.0) as usize;
            for (time, clock) in stretch.scale.ticks(fitting) {
                let date = time.as_second().div_euclid(86_400);
                let first = day != Some(date);
                day = Some(date);
                let short = time.strftime("%-d %b").to_string();
                let dated = self.stretches.len() > 1 && first && clock != short;
                let text = if dated { format!("{short} {clock}") } else { clock };
                ticks.push((stretch.scale.at(time), text));
            }
        }
        ticks
    }

    /// Pauses that are cut out, in seconds.
    pub(super) fn pauses(&self) -> Vec<f64> {
        self.stretches.windows(2).map(|pair| seconds(pair[0].until, pair[1].from)).collect()
    }

    /// First and last time.
    pub(super) fn extent(&self) -> Option<(Timestamp, Timestamp)> {
        Some((self.stretches.first()?.from, self.stretches.last()?.until))
    }
}

fn seconds(from: Timestamp, until: Timestamp) -> f64 {
    until.duration_since(from).as_secs_f64()
}

/// Times with launches, parted where nothing was launched for long.
fn stretches(ends: &[(Timestamp, Timestamp)]) -> Vec<(Timestamp, Timestamp)> {
    let mut sorted = ends.to_vec();
    sorted.sort();
    let join = |pause: f64| {
        let mut joined: Vec<(Timestamp, Timestamp)> = Vec::new();
        for &(from, until) in &sorted {
            match joined.last_mut() {
                Some(last) if seconds(last.1, from) <= pause => last.1 = last.1.max(until),
                _ => joined.push((from, until)),
            }
        }
        joined
    };
    let busy: f64 = join(0.0).iter().map(|it| seconds(it.0, it.1)).sum();
    join(PAUSE.max(busy * LONG))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(minute: i64) -> Timestamp {
        Timestamp::from_second(1_764_300_000 + minute * 60).unwrap()
    }

    fn clock(ends: &[(i64, i64)]) -> Clock {
        let ends: Vec<_> = ends.iter().map(|it| (time(it.0), time(it.1))).collect();
        Clock::new(&ends, (100.0, 500.0)).unwrap()
    }

    #[test]
    fn one_night_is_one_stretch() {
        let clock = clock(&[(0, 100), (105, 200)]);
        assert!(clock.pauses().is_empty());
        assert!((clock.at(time(0)) - 100.0).abs() < 1e-9);
        assert!((clock.at(time(100)) - 300.0).abs() < 1e-9);
        assert!((clock.at(time(200)) - 500.0).abs() < 1e-9);
    }

    #[test]
    fn a_day_between_two_nights_is_cut_out() {
        let clock = clock(&[(0, 200), (1400, 1600)]);
        assert_eq!(clock.pauses(), [1200.0 * 60.0]);
        assert!((clock.at(time(200)) - 292.0).abs() < 1e-9, "{}", clock.at(time(200)));
        assert!((clock.at(time(1400)) - 308.0).abs() < 1e-9);
        // In the pause, before and after: at the nearest end, never outside.
        assert!((clock.at(time(700)) - 292.0).abs() < 1e-9);
        assert_eq!((clock.at(time(-5)), clock.at(time(9000))), (100.0, 500.0));
        assert_eq!((clock.stretch(time(700)), clock.stretch(time(1500))), (None, Some(1)));
    }

    #[test]
    fn a_hundred_pauses_and_no_length_at_all_keep_inside() {
        let many: Vec<(i64, i64)> = (0..100).map(|at| (at * 5000, at * 5000)).collect();
        let clock = clock(&many);
        for (from, _) in many {
            let at = clock.at(time(from));
            assert!((100.0..=500.0).contains(&at), "{at}");
        }
        assert!(Clock::new(&[], (0.0, 1.0)).is_none());
    }
}
