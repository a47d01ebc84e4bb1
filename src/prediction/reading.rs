//! What is read off the answers of a load in virtual time, as the metrics of `bench` define it.
//! Seconds become milliseconds here.

use crate::simulator::play::{Answer, Played};

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Reading {
    /// So much in a second of the window.
    Rate(Rate),
    /// One of many latencies, ms.
    Latency(Statistic, Latency),
    /// Time to the first token of a prompt that was sent before, ms; whether only where the
    /// cache has it.
    Resent { certified: bool },
    /// Time to the first token of the first or of the last turn, ms.
    Turn { last: bool },
    /// Prompt tokens per second until the first token.
    Prefill,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rate {
    Requests,
    Output,
    Tokens,
}

/// Which of many values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Statistic {
    Mean,
    Median,
    Quantile(f64),
    Min,
    Max,
}

/// A latency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Latency {
    First,
    PerToken,
    Gap,
    Whole,
}

impl Statistic {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "mean" => Some(Self::Mean),
            "median" => Some(Self::Median),
            "p95" => Some(Self::Quantile(0.95)),
            "p99" => Some(Self::Quantile(0.99)),
            "min" => Some(Self::Min),
            "max" => Some(Self::Max),
            _ => None,
        }
    }

    /// Of values, each with how often it was; `None` of none.
    fn of(self, mut values: Vec<(f64, u64)>) -> Option<f64> {
        let count: u64 = values.iter().map(|(_, count)| count).sum();
        if count == 0 {
            return None;
        }
        values.sort_by(|a, b| a.0.total_cmp(&b.0));
        let at = |part: f64| {
            let wanted = (part * (count - 1) as f64).round() as u64;
            let mut passed = 0;
            let found = values.iter().find(|(_, count)| {
                passed += count;
                passed > wanted
            });
            found.map(|(value, _)| *value)
        };
        match self {
            Self::Mean => {
                let sum: f64 = values.iter().map(|(value, count)| value * *count as f64).sum();
                Some(sum / count as f64)
            }
            Self::Median => at(0.5),
            Self::Quantile(part) => at(part),
            Self::Min => at(0.0),
            Self::Max => at(1.0),
        }
    }
}

impl Latency {
    /// By its name in a metric; what is measured from the schedule is the same here, where
    /// nothing is sent late.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "ttft" | "scheduled_ttft" => Some(Self::First),
            "tpot" => Some(Self::PerToken),
            "itl" => Some(Self::Gap),
            "e2el" | "scheduled_e2el" => Some(Self::Whole),
            _ => None,
        }
    }

    fn of(self, played: &Played) -> Vec<(f64, u64)> {
        let each = |read: fn(&Answer) -> Option<f64>| {
            played.answers.iter().filter_map(read).map(|value| (value, 1)).collect()
        };
        match self {
            Self::First => each(|it| Some(it.first - it.sent)),
            Self::Whole => each(|it| Some(it.last - it.sent)),
            Self::PerToken => {
                each(|it| (it.tokens > 1).then(|| (it.last - it.first) / (it.tokens - 1) as f64))
            }
            Self::Gap => played.gaps.clone(),
        }
    }
}

impl Reading {
    /// Whether it is so much in a second, and not seconds.
    pub(super) fn is_rate(self) -> bool {
        matches!(self, Self::Rate(_) | Self::Prefill)
    }

    /// Its value, where the load gives one. `window`: from and to, in which rates are counted.
    pub(super) fn of(self, played: &Played, window: Option<(f64, f64)>) -> Option<f64> {
        let first = |it: &Answer| 1e3 * (it.first - it.sent);
        match self {
            Self::Rate(rate) => rate.of(played, window?),
            Self::Latency(statistic, latency) => Some(1e3 * statistic.of(latency.of(played))?),
            Self::Resent { .. } => played.answers.get(1).map(first),
            Self::Turn { last: false } => played.answers.first().map(first),
            Self::Turn { last: true } => played.answers.last().map(first),
            Self::Prefill => {
                let answer = played.answers.first()?;
                Some(answer.prompt as f64 / (answer.first - answer.sent))
            }
        }
    }
}

impl Rate {
    fn of(self, played: &Played, (from, to): (f64, f64)) -> Option<f64> {
        let is_in = |at: f64| (from..=to).contains(&at);
        let ended = || played.answers.iter().filter(|it| is_in(it.last)).count() as f64;
        let output = || -> f64 {
            let part = |it: &crate::simulator::play::Span| {
                let inside = it.to.min(to) - it.from.max(from);
                it.tokens as f64 * (inside / (it.to - it.from)).clamp(0.0, 1.0)
            };
            played.spans.iter().map(part).sum()
        };
        let prompts = || -> f64 {
            played.answers.iter().filter(|it| is_in(it.first)).map(|it| it.prompt as f64).sum()
        };
        let sum = match self {
            Self::Requests => ended(),
            Self::Output => output(),
            Self::Tokens => output() + prompts(),
        };
        (to > from).then(|| sum / (to - from))
    }
}

/// When all slots of a closed loop are busy: from the last one's first request to the first
/// one's last.
pub(super) fn of_slots(played: &Played, slots: u64) -> Option<(f64, f64)> {
    let (mut from, mut to) = (0.0_f64, f64::INFINITY);
    for slot in 0..slots {
        let mut own = played.answers.iter().filter(|it| it.slot == slot);
        let first = own.next()?;
        from = from.max(first.sent);
        to = to.min(own.next_back().unwrap_or(first).last);
    }
    (to > from).then_some((from, to))
}

/// When the pipe of an open loop is full: from one median request time on, to the last arrival.
pub(super) fn open_window(played: &Played) -> Option<(f64, f64)> {
    let whole = Statistic::Median.of(Latency::Whole.of(played))?;
    let (from, to) = (played.answers.first()?.sent + whole, played.answers.last()?.sent);
    (to > from).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_count_each_value_as_often_as_it_was() {
        let values = || vec![(4.0, 1), (1.0, 6), (2.0, 3)];
        let of = |name| Statistic::named(name).unwrap().of(values()).unwrap();
        assert_eq!((of("min"), of("median"), of("max"), of("p95")), (1.0, 1.0, 4.0, 4.0));
        assert!((of("mean") - 1.6).abs() < 1e-12);
        assert_eq!(Statistic::Mean.of(Vec::new()), None);
        assert!(Statistic::named("std").is_none() && Latency::named("queue").is_none());
    }

    #[test]
    fn rates_are_counted_where_every_slot_is_busy() {
        let answer = |slot, sent, last| Answer {
            slot,
            sent,
            first: sent + 0.1,
            last,
            prompt: 100,
            tokens: 10,
        };
        let played = Played {
            answers: vec![answer(0, 0.0, 2.0), answer(1, 1.0, 3.0), answer(0, 2.0, 4.0)],
            spans: vec![crate::simulator::play::Span { from: 0.0, to: 4.0, tokens: 40 }],
            gaps: Vec::new(),
        };
        let window = of_slots(&played, 2);
        assert_eq!(window, Some((1.0, 3.0)));
        let rate = |rate| Reading::Rate(rate).of(&played, window).unwrap();
        assert!((rate(Rate::Output) - 10.0).abs() < 1e-9);
        assert!((rate(Rate::Requests) - 1.0).abs() < 1e-9);
        assert!((rate(Rate::Tokens) - 110.0).abs() < 1e-9);
        assert_eq!(of_slots(&played, 3), None, "a slot that sent nothing");
    }
}
