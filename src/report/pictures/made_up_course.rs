//! A made-up ranking with distributions, turns and a course, for the tests of these
//! pictures. No figure here was measured.

use jiff::Timestamp;

use super::Picture;
use super::fixture::{bare_ranking, bare_row};
use crate::results::analysis::{
    Course, Curve, Distribution, Figure, Quantity, Series, Span, TurnLine, Turns,
};
use crate::results::decision::Claim;
use crate::results::ranking::Ranking;
use crate::statistics::Interval;

/// Numbers from 0 to 1, the same in each run.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new() -> Self {
        Self(42)
    }

    pub(super) fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 40) as f64 / f64::from(1_u32 << 24)
    }
}

pub(super) fn time(seconds: f64) -> Timestamp {
    Timestamp::from_millisecond(1_764_367_440_000 + (seconds * 1000.0) as i64).unwrap()
}

/// The first name is the candidate, the second one the baseline.
pub(super) fn ranking(names: &[&str]) -> Ranking {
    let rows = names.iter().enumerate().map(|(at, name)| bare_row(at, name, at == 1));
    let tied = names.iter().take(4).map(|it| (*it).to_owned()).collect();
    bare_ranking(rows.collect(), tied, Claim::NoBaseline)
}

/// `prefix-seqs32`, `production`, and others.
pub(super) fn names(count: usize) -> Vec<String> {
    let name = |at: usize| match at {
        0 => "prefix-seqs32".to_owned(),
        1 => "production".to_owned(),
        _ => format!("util0.{}-seqs{}-batch{}", 80 + at % 16, 8 << (at % 5), 2048 + at),
    };
    (0..count).map(name).collect()
}

/// A distribution of `count` configurations around `median`, each a bit slower.
pub(super) fn distribution(count: usize, requests: usize) -> Distribution {
    let mut dice = Dice::new();
    let curve = |configuration: usize| {
        let shift = if configuration == 1 { 5.2 } else { 1.0 + 0.4 * dice.roll() };
        let mut values: Vec<f64> = (0..requests)
            .map(|_| {
                let bell: f64 = (0..6).map(|_| dice.roll()).sum::<f64>() / 3.0 - 1.0;
                320.0 * shift * (bell * 1.1).exp()
            })
            .collect();
        values.sort_by(f64::total_cmp);
        let step = requests.div_ceil(118).max(1);
        let kept = (0..requests).filter(|at| at % step == 0 || at + 1 == requests);
        let share = |at: usize| (values[at], (at + 1) as f64 / requests as f64);
        Curve {
            configuration,
            requests,
            points: kept.map(share).collect(),
            p50: values[requests / 2],
            p95: (requests >= 60).then(|| values[requests * 95 / 100]),
        }
    };
    Distribution {
        workload: "kv-cache".to_owned(),
        case: "concurrency=8".to_owned(),
        quantity: "time to first token",
        unit: "ms",
        curves: (0..count).map(curve).collect(),
    }
}

pub(super) fn figure(value: f64, half: f64) -> Figure {
    let interval = Some(Interval { low: value - half, high: value + half });
    Figure { value, interval, launches: 3, repeats: 9 }
}

pub(super) fn turns(count: usize, turns: usize) -> Turns {
    let mut dice = Dice::new();
    let line = |configuration: usize| {
        let (start, slope) = match configuration {
            0 => (180.0, 3.1),
            1 => (230.0, 41.0),
            other => (190.0 + 8.0 * other as f64, 4.0 + 2.0 * other as f64),
        };
        let turn = |at: usize| {
            let median = start + slope * at as f64 + 12.0 * dice.roll();
            Some((median, median * 0.96, median * (1.03 + 0.05 * dice.roll())))
        };
        TurnLine {
            configuration,
            launches: 3,
            turns: (0..turns).map(turn).collect(),
            slope: Some(figure(slope, 1.1)),
        }
    };
    Turns { case: String::new(), lines: (0..count).map(line).collect() }
}

/// `rounds` launches of each of `names` in turn, with samples, some failures, two jumps.
pub(super) fn course(names: &[&str], rounds: usize, gpus: usize) -> Course {
    let mut dice = Dice::new();
    let mut now = 0.0;
    let mut launches = Vec::new();
    for round in 0..rounds {
        for (configuration, name) in names.iter().enumerate() {
            let launch = launches.len() as u32 + 1;
            let boot = 60.0 + 120.0 * dice.roll();
            let warm = boot + 20.0 + 10.0 * dice.roll();
            let measured = warm + 150.0 + 100.0 * dice.roll();
            let failed = launch % 17 == 5;
            let ended = if failed { 40.0 } else { measured + 6.0 };
            let known = |it: f64| (!failed).then(|| time(now + it));
            launches.push(Span {
                launch,
                block: if round * 2 > rounds { 2 } else { 1 },
                name: (*name).to_owned(),
                configuration: Some(configuration),
                confirms: round + 1 == rounds && configuration < 2,
                started: Some(time(now)),
                ready: known(boot),
                warm: known(warm),
                measured: known(measured),
                ended: Some(time(now + ended)),
                failure: failed.then_some("out_of_memory"),
                failed_gates: if launch % 13 == 4 {
                    vec!["function".to_owned()]
                } else {
                    Vec::new()
                },
                unfinished: false,
            });
            now += ended + 8.0;
        }
    }
    if let Some(last) = launches.last_mut() {
        (last.unfinished, last.ended, last.failure) = (true, None, None);
    }
    let level = launches.iter().enumerate().map(|(at, span)| {
        let ratio =
            1.0 + 0.03 * (at as f64 / 9.0).sin() + if at * 2 > launches.len() { 0.05 } else { 0.0 };
        (span.started.unwrap(), ratio, Interval { low: ratio - 0.02, high: ratio + 0.02 })
    });
    let mut series = vec![("host CPU".to_owned(), Quantity::HostCpu, 0.2, 0.5)];
    for gpu in 0..gpus {
        series.push((format!("GPU {gpu} memory"), Quantity::GpuMemory, 7.0e10, 1.0e10));
        series.push((format!("GPU {gpu} power"), Quantity::GpuPower, 180.0, 400.0));
        series.push((format!("GPU {gpu} temperature"), Quantity::GpuTemperature, 48.0, 25.0));
    }
    let series = series.into_iter().map(|(name, quantity, base, range)| {
        let point = |at: usize| {
            let mean = base + range * (0.5 + 0.4 * (at as f64 / 7.0).sin() + 0.1 * dice.roll());
            (at % 50 != 49).then(|| (time(now * at as f64 / 600.0), mean, mean + range * 0.1))
        };
        Series { name, quantity, points: (0..600).map(point).collect() }
    });
    Course {
        series: series.collect(),
        level: level.collect(),
        jumps: vec![time(now * 0.51), time(now * 0.8)],
        launches,
    }
}

/// The numbers of a drawing's paths and places lie inside of its view box; texts too.
pub(super) fn assert_inside(picture: &Picture) {
    let svg = picture.svg.as_ref().expect("drawn").clone().into_string();
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", picture.id);
    // One that is not closed would have all that follows inside of it.
    for element in ["path", "line", "circle", "rect"] {
        let (opened, closed) = (format!("<{element} "), format!("</{element}>"));
        assert_eq!(svg.matches(&opened).count(), svg.matches(&closed).count(), "{element}");
    }
    for drawing in svg.split("<svg").skip(1) {
        let view = attribute(drawing, "viewBox").next().expect("a view box");
        let view: Vec<f64> = view.split(' ').map(|it| it.parse().unwrap()).collect();
        let inside = |x: f64, y: f64| {
            assert!((-0.1..=view[2] + 0.1).contains(&x), "{}: x {x} of {view:?}", picture.id);
            assert!((-0.1..=view[3] + 0.1).contains(&y), "{}: y {y} of {view:?}", picture.id);
        };
        for path in attribute(drawing, "d") {
            for (x, y) in places(path) {
                inside(x, y);
            }
        }
        for [across, down] in [["cx", "cy"], ["x1", "y1"], ["x2", "y2"], ["x", "y"]] {
            let of = |name| attribute(drawing, name).map(|it| it.parse::<f64>().expect("a number"));
            for (x, y) in of(across).zip(of(down)) {
                inside(x, y);
            }
        }
    }
}

fn attribute<'a>(svg: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let start = format!(" {name}=\"");
    let starts: Vec<usize> = svg.match_indices(&start).map(|(at, it)| at + it.len()).collect();
    starts.into_iter().map(|at| svg[at..].split('"').next().unwrap_or_default())
}

/// The corners of a path of `M`, `L`, `H`, `V`, `Z` and their relative forms.
fn places(path: &str) -> Vec<(f64, f64)> {
    let mut places = Vec::new();
    let (mut x, mut y) = (0.0, 0.0);
    for (command, numbers) in commands(path) {
        match command {
            'M' | 'L' => (x, y) = (numbers[0], numbers[1]),
            'l' => (x, y) = (x + numbers[0], y + numbers[1]),
            'H' => x = numbers[0],
            'h' => x += numbers[0],
            'V' => y = numbers[0],
            'v' => y += numbers[0],
            'z' | 'Z' => continue,
            other => panic!("{other} in {path}"),
        }
        places.push((x, y));
    }
    places
}

fn commands(path: &str) -> Vec<(char, Vec<f64>)> {
    let mut commands: Vec<(char, String)> = Vec::new();
    for letter in path.chars() {
        if letter.is_ascii_alphabetic() {
            commands.push((letter, String::new()));
        } else if let Some((_, numbers)) = commands.last_mut() {
            // A sign parts numbers too.
            if letter == '-' {
                numbers.push(' ');
            }
            numbers.push(letter);
        }
    }
    let parsed = |numbers: String| {
        numbers.split_whitespace().map(|it| it.parse().expect("a number")).collect()
    };
    commands.into_iter().map(|(command, numbers)| (command, parsed(numbers))).collect()
}
