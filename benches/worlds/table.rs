//! Goals and figures: one row each, with the error that so few worlds leave.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a figure is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// Shown, not judged.
    Shown,
}

/// A figure of many worlds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    pub(crate) value: f64,
    /// Standard error over worlds.
    pub(crate) error: f64,
    pub(crate) worlds: usize,
}

impl Figure {
    /// The mean of one number for each world.
    pub(crate) fn mean(values: impl IntoIterator<Item = f64>) -> Self {
        let values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        let n = values.len() as f64;
        let value = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|it| (it - value).powi(2)).sum();
        let error = (squares / (n - 1.0).max(1.0) / n).sqrt();
        Self { value, error, worlds: values.len() }
    }

    /// How often something is.
    pub(crate) fn share(values: impl IntoIterator<Item = bool>) -> Self {
        Self::mean(values.into_iter().map(|it| f64::from(u8::from(it))))
    }

    /// Something that was measured once.
    pub(crate) fn once(value: f64) -> Self {
        Self { value, error: 0.0, worlds: 1 }
    }
}

/// What is printed, and whether anything was missed.
pub(crate) struct Table {
    /// Standard errors that a figure may be beyond its goal: 0 where there are enough worlds.
    slack: f64,
    missed: Vec<String>,
}

impl Table {
    pub(crate) fn new(slack: f64) -> Self {
        Self { slack, missed: Vec::new() }
    }

    pub(crate) fn item(title: &str) {
        println!("\n{title}");
        println!("{:34} {:22} {:>15} {:>9} {:>7}", "world", "figure", "", "goal", "worlds");
    }

    pub(crate) fn row(&mut self, world: &str, what: &str, figure: Figure, goal: Goal) {
        let Figure { value, error, worlds } = figure;
        let (text, held) = match goal {
            Goal::AtLeast(goal) => (format!(">= {goal:.3}"), value >= goal - self.slack * error),
            Goal::AtMost(goal) => (format!("<= {goal:.3}"), value <= goal + self.slack * error),
            Goal::Shown => (String::new(), true),
        };
        let verdict = match (goal, held) {
            (Goal::Shown, _) => "",
            (_, true) => "pass",
            (_, false) => "MISSED",
        };
        let figure = format!("{value:.3} ± {error:.3}");
        println!("{world:34} {what:22} {figure:>15} {text:>9} {worlds:>7}  {verdict}");
        if !held {
            self.missed.push(format!("{world}: {what} {value:.3}, not {text}"));
        }
    }

    pub(crate) fn missed(&self) -> &[String] {
        &self.missed
    }
}

/// One result for each world, computed on all cores, in the order of the worlds.
pub(crate) fn parallel<T: Send>(worlds: usize, one: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(worlds)));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let world = next.fetch_add(1, Ordering::Relaxed);
                    if world >= worlds {
                        break;
                    }
                    let result = one(world);
                    done.lock().expect("no panic").push((world, result));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no panic");
    done.sort_by_key(|(world, _)| *world);
    done.into_iter().map(|(_, result)| result).collect()
}
