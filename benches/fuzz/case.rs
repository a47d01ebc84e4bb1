//! One case: run with its time and its panic, and made smaller where something is wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::checks::Wrong;
use super::targets::Target;

/// A case that takes longer is a finding.
pub(crate) const SLOW: Duration = Duration::from_secs(1);
/// Tries of making an input smaller.
const TRIES: usize = 400;
/// Time for it.
const PATIENCE: Duration = Duration::from_secs(5);

static PANIC: Mutex<String> = Mutex::new(String::new());

/// Keeps what a panic says, in place of printing it.
pub(crate) fn keep_panics() {
    std::panic::set_hook(Box::new(|panic| {
        if let Ok(mut kept) = PANIC.lock() {
            *kept = panic.to_string();
        }
    }));
}

fn caught(run: impl FnOnce() -> Wrong) -> Wrong {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(outcome) => outcome,
        Err(_) => {
            Err(format!("panic: {}", PANIC.lock().map(|kept| kept.clone()).unwrap_or_default()))
        }
    }
}

/// What a case came to.
pub(crate) struct Ran {
    pub(crate) took: Duration,
    pub(crate) wrong: Option<String>,
}

/// Runs the case `number`. A case that is slow is run again: the machine may have been busy.
pub(crate) fn run(
    target: &Target,
    seed: u64,
    number: u64,
    seeds: &[Vec<u8>],
    input: &mut Vec<u8>,
) -> Ran {
    let mut took = Duration::MAX;
    for _ in 0..3 {
        let started = Instant::now();
        let outcome = caught(|| target.run(seed, number, seeds, input));
        took = took.min(started.elapsed());
        if outcome.is_err() || took < SLOW {
            return Ran { took, wrong: outcome.err() };
        }
    }
    Ran { took, wrong: Some(format!("it takes {:.1} s", took.as_secs_f64())) }
}

/// The smallest input found that is wrong in the same way; the input itself where what is
/// wrong depends on more than the input.
pub(crate) fn smaller(target: &Target, input: &[u8], wrong: &str) -> Vec<u8> {
    let kind = |text: &str| text.chars().take_while(|letter| *letter != ':').collect::<String>();
    let is_same = |bytes: &[u8]| {
        let started = Instant::now();
        match caught(|| target.read(bytes)) {
            Err(found) => kind(&found) == kind(wrong),
            Ok(()) => wrong.starts_with("it takes") && started.elapsed() > SLOW,
        }
    };
    let mut small = input.to_vec();
    if !is_same(&small) {
        return small;
    }
    let (mut step, mut tries, started) = (small.len() / 2, 0, Instant::now());
    while step > 0 && tries < TRIES && started.elapsed() < PATIENCE {
        let mut at = 0;
        while at < small.len() && tries < TRIES && started.elapsed() < PATIENCE {
            let mut shorter = small.clone();
            shorter.drain(at..(at + step).min(shorter.len()));
            tries += 1;
            if is_same(&shorter) { small = shorter } else { at += step }
        }
        step /= 2;
    }
    small
}
