//! The window of the day in which a sweep may launch: local times of the day, over
//! midnight where the second one is the earlier. When it opens and closes on a given day
//! is the calendar's, so that the nights on which clocks are put forward or back are an
//! hour shorter or longer. Pure: the time comes in as a value. What is done in it is the
//! sweep's.

use std::fmt;

use jiff::civil::{Date, Time};
use jiff::{Timestamp, ToSpan as _, ZonedDateTime};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::Findings;
use super::node::{Content, Node};

/// A window of the day, such as `23:00-06:30`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    from: Time,
    to: Time,
}

impl Window {
    /// Reads `HH:MM-HH:MM`; `None` where it is something else, or both times are the same.
    pub fn read(text: &str) -> Option<Self> {
        let (from, to) = times(text)?;
        (from != to).then_some(Self { from, to })
    }

    /// When the window in which `now` is closes; `None` outside of one.
    pub fn closes(&self, now: &ZonedDateTime) -> Option<Timestamp> {
        self.around(now)
            .find(|(opens, closes)| *opens <= now.timestamp() && now.timestamp() < *closes)
            .map(|(_, closes)| closes)
    }

    /// When it opens next after `now`; the far future only at the end of the calendar.
    pub fn opens_after(&self, now: &ZonedDateTime) -> Timestamp {
        let after = self.around(now).map(|(opens, _)| opens).find(|it| *it > now.timestamp());
        after.unwrap_or(Timestamp::MAX)
    }

    /// Seconds that it is open, on a day whose clocks are not put forward or back.
    pub fn seconds(&self) -> f64 {
        let of = |time: Time| f64::from(time.hour()) * 3600.0 + f64::from(time.minute()) * 60.0;
        (of(self.to) - of(self.from)).rem_euclid(86_400.0)
    }

    /// Seconds from `now` until so many seconds of work are done in it, of which the last
    /// `kept` of each opening are not worked in.
    pub fn seconds_until_done(&self, now: &ZonedDateTime, work: f64, kept: f64) -> f64 {
        let seconds = |at: Timestamp| at.duration_since(now.timestamp()).as_secs_f64();
        let usable = (self.seconds() - kept).max(60.0);
        let mut left = work;
        if let Some(closes) = self.closes(now) {
            let tonight = (seconds(closes) - kept).max(0.0);
            if left <= tonight {
                return left;
            }
            left -= tonight;
        }
        // Whole nights are alike; the calendar has the last one's opening.
        let nights = (left / usable).floor();
        seconds(self.opens_after(now)) + nights * 86_400.0 + (left - nights * usable)
    }

    /// The windows of the days around one, in their order.
    fn around(&self, now: &ZonedDateTime) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let (this, today, zone) = (*self, now.date(), now.time_zone().clone());
        let at = move |date: Date, time: Time| {
            let there = date.to_datetime(time).to_zoned_datetime(zone.clone());
            there.ok().map(|it| it.timestamp())
        };
        (-1_i32..=2).filter_map(move |days| {
            let date = today.checked_add(days.days()).ok()?;
            let end = if this.to > this.from { date } else { date.tomorrow().ok()? };
            let (opens, closes) = (at(date, this.from)?, at(end, this.to)?);
            // Where clocks are put forward it can close before it opens: not on that day.
            (opens < closes).then_some((opens, closes))
        })
    }
}

/// Two times of the day, which may be the same.
fn times(text: &str) -> Option<(Time, Time)> {
    let (from, to) = text.split_once('-')?;
    Some((time(from)?, time(to)?))
}

fn time(text: &str) -> Option<Time> {
    let (hour, minute) = text.trim().split_once(':')?;
    let digits = |text: &str, most: usize| {
        let is_number =
            (1..=most).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_digit());
        is_number.then(|| text.parse().ok()).flatten()
    };
    let minute = if minute.len() == 2 { digits(minute, 2)? } else { return None };
    Time::new(digits(hour, 2)?, minute, 0, 0).ok()
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.from, self.to);
        write!(f, "{:02}:{:02}-{:02}:{:02}", from.hour(), from.minute(), to.hour(), to.minute())
    }
}

impl Serialize for Window {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let unknown = || serde::de::Error::custom(format!("`{text}` is no window of the day"));
        Self::read(&text).ok_or_else(unknown)
    }
}

/// The grid's key `window`.
pub(super) fn window(node: &Node, findings: &mut Findings) -> Option<Window> {
    let text = match &node.content {
        Content::Text(text) => Some(text),
        _ => None,
    };
    let window = text.and_then(|text| Window::read(text));
    if text.is_some_and(|text| times(text).is_some()) && window.is_none() {
        let message = format!("the window {} opens and closes at the same time", node.describe());
        findings.error(&node.span, message).help("leave `window` out to launch at any time");
    } else if window.is_none() {
        let message = format!("`window` must be two times of the day, not {}", node.describe());
        findings
            .error(&node.span, message)
            .help("write for example `23:00-06:30`: local time, over midnight where need be");
    }
    window
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;

    fn window(text: &str) -> Window {
        Window::read(text).expect("a window")
    }

    /// As in Paris, without a database of time zones.
    const PARIS: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

    fn zone(posix: &str) -> TimeZone {
        TimeZone::posix(posix).expect("a time zone")
    }

    fn at(time: &str, posix: &str) -> ZonedDateTime {
        let time: jiff::civil::DateTime = time.parse().expect("a time");
        time.to_zoned_datetime(zone(posix)).expect("a time")
    }

    fn open_hours(window: Window, time: &str, zone: &str) -> Option<f64> {
        let now = at(time, zone);
        let closes = window.closes(&now)?;
        Some(closes.duration_since(now.timestamp()).as_secs_f64() / 3600.0)
    }

    #[test]
    fn two_times_of_the_day_are_read_and_everything_else_is_not() {
        for (text, shown) in [
            ("23:00-06:30", "23:00-06:30"),
            ("9:05 - 17:00", "09:05-17:00"),
            ("0:00-23:59", "00:00-23:59"),
        ] {
            assert_eq!(window(text).to_string(), shown);
        }
        for text in [
            "",
            "23:00",
            "23-6",
            "24:00-06:00",
            "23:60-06:00",
            "23:0-6:0",
            "06:00-06:00",
            "-1:00-06:00",
            "a:bc-d:ef",
            "23:00-06:30-07:00",
        ] {
            assert_eq!(Window::read(text), None, "{text}");
        }
    }

    #[test]
    fn a_window_over_midnight_is_open_on_both_days() {
        let night = window("23:00-06:30");
        let open = |time| open_hours(night, time, PARIS);
        assert_eq!(open("2026-11-28T22:59:59"), None);
        assert_eq!(open("2026-11-28T23:00:00"), Some(7.5));
        assert_eq!(open("2026-11-29T00:30:00"), Some(6.0));
        assert_eq!(open("2026-11-29T06:30:00"), None, "it closes then");
        let next = night.opens_after(&at("2026-11-29T06:30:00", PARIS));
        assert_eq!(next, at("2026-11-29T23:00:00", PARIS).timestamp());
        assert!((night.seconds() - 7.5 * 3600.0).abs() < 1e-9);
    }

    #[test]
    fn work_goes_on_in_the_nights_that_follow() {
        let night = window("23:00-06:00");
        let minutes = |time, work: f64| {
            (night.seconds_until_done(&at(time, PARIS), work * 3600.0, 3600.0) / 60.0).round()
                as i64
        };
        assert_eq!(minutes("2026-11-28T23:00:00", 6.0), 6 * 60);
        assert_eq!(minutes("2026-11-28T23:00:00", 7.0), 25 * 60);
        assert_eq!(minutes("2026-11-28T20:00:00", 1.0), 4 * 60);
        assert_eq!(minutes("2026-11-28T20:00:00", 13.0), (3 + 48 + 1) * 60);
    }

    #[test]
    fn nights_on_which_clocks_are_put_forward_or_back_are_shorter_or_longer() {
        let night = window("23:00-06:30");
        assert_eq!(open_hours(night, "2026-03-28T23:00:00", PARIS), Some(6.5));
        assert_eq!(open_hours(night, "2026-10-24T23:00:00", PARIS), Some(8.5));
        // The time at which it opens does not exist on that day: it opens an hour later.
        let early = window("02:30-08:00");
        let next = early.opens_after(&at("2026-03-29T00:00:00", PARIS));
        assert_eq!(next, at("2026-03-29T03:30:00", PARIS).timestamp());
        // Opening at 03:30 and closing at 03:15, it is not open at all on that day.
        for never in ["02:30-03:15", "02:30-03:30"] {
            let never = window(never);
            let next = never.opens_after(&at("2026-03-29T00:00:00", PARIS));
            assert_eq!(next, at("2026-03-30T02:30:00", PARIS).timestamp());
            assert_eq!(open_hours(never, "2026-03-29T03:30:00", PARIS), None);
        }
    }

    proptest! {
        #[test]
        fn it_opens_within_two_days_and_is_open_then(
            from in 0..1440_i32, to in 0..1440_i32, second in 1_700_000_000_i64..1_900_000_000,
        ) {
            prop_assume!(from != to);
            let text = format!("{}:{:02}-{}:{:02}", from / 60, from % 60, to / 60, to % 60);
            let now = Timestamp::from_second(second).expect("a time").to_zoned_datetime(zone(PARIS));
            let window = window(&text);
            let opens = window.opens_after(&now);
            // On the day on which clocks are put forward it may not open.
            let until = opens.duration_since(now.timestamp()).as_secs();
            prop_assert!((1..=48 * 3600).contains(&until), "{text}: {until}");
            let opens = opens.to_zoned_datetime(zone(PARIS));
            prop_assert!(window.closes(&opens).is_some(), "{text}: not open at {opens}");
            if let Some(closes) = window.closes(&now) {
                let left = closes.duration_since(now.timestamp()).as_secs_f64();
                prop_assert!(left > 0.0 && left <= window.seconds() + 3600.0, "{text}: {left}");
            }
        }
    }
}
