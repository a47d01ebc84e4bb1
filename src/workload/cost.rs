//! What one repeat of a workload asks of a server, and how long the fastest and the
//! slowest server that one may have would need for it. Assumed, not measured: a plan
//! says so.

use std::ops::{Add, Mul};

/// Seconds that something may take, by assumption.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seconds {
    /// If everything is as fast as can be assumed.
    pub low: f64,
    /// If everything is as slow as can be assumed.
    pub high: f64,
}

/// Prefill of 1000 tokens, on anything from an H100 to two RTX 4090 with a 32B model.
pub const PREFILL: Seconds = Seconds { low: 0.05, high: 0.8 };
/// One output token.
pub const TOKEN: Seconds = Seconds { low: 0.005, high: 0.06 };
/// What the client does around a request: reading the server's counters.
const AROUND: Seconds = Seconds { low: 0.02, high: 0.5 };

impl Add for Seconds {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { low: self.low + other.low, high: self.high + other.high }
    }
}

impl Mul<f64> for Seconds {
    type Output = Self;

    fn mul(self, factor: f64) -> Self {
        Self { low: self.low * factor, high: self.high * factor }
    }
}

impl std::iter::Sum for Seconds {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// What one repeat of a case asks of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Prompt tokens. They are read one after another, whoever asks: reading one
    /// prompt keeps all of a GPU busy.
    pub prompts: f64,
    /// Tokens that are generated one after another; those of requests in flight
    /// together count once.
    pub tokens: f64,
    /// Seconds in which requests are begun, where a rate or a duration decides.
    pub scheduled: f64,
    /// Requests that the client reads the server's counters for.
    pub readings: f64,
    /// Seconds at most of a program of others, whose time nobody knows.
    pub program: f64,
}

impl Work {
    /// Requests one at a time, each of so many prompt and output tokens.
    pub(super) fn alone(requests: u64, prompt: u64, output: u64) -> Self {
        let requests = requests as f64;
        Self {
            prompts: requests * prompt as f64,
            tokens: requests * output as f64,
            readings: requests,
            ..Self::default()
        }
    }

    /// How long it takes a server that is `speed` times as fast as a real one.
    pub fn seconds(&self, speed: f64) -> Seconds {
        let side = |prefill: f64, token: f64, around: f64| {
            let read = self.prompts / 1000.0 * prefill;
            let served = (read + self.tokens * token) / speed;
            served.max(self.scheduled) + self.readings * around
        };
        Seconds {
            low: side(PREFILL.low, TOKEN.low, AROUND.low),
            high: side(PREFILL.high, TOKEN.high, AROUND.high) + self.program,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::workload::{Datasets, Workload};

    /// Seconds of a repeat, fast and slow, of a server at speed 10.
    fn repeat(workloads: &Value, is_warmup: bool) -> (f64, f64) {
        let all = workloads.as_object().expect("a mapping");
        let (name, options) = all.iter().next().expect("one");
        let options = options.as_object().cloned().unwrap_or_default();
        let workload = Workload::from_options(name, &options).expect("good options");
        let works = workload.cost(&Datasets::default(), is_warmup).into_iter();
        let Seconds { low, high } = works.map(|work| work.seconds(10.0)).sum();
        (low, high)
    }

    fn near(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-9, "{value} is not {expected}");
    }

    #[test]
    fn under_load_prompts_are_read_one_after_another_and_answers_written_side_by_side() {
        let load = json!({"load": {"concurrency": 64, "requests": 256, "prompt-tokens": 1000,
                                   "output-tokens": 100}});
        let (low, high) = repeat(&load, false);
        near(low, (256.0 * PREFILL.low + 400.0 * TOKEN.low) / 10.0 + AROUND.low);
        near(high, (256.0 * PREFILL.high + 400.0 * TOKEN.high) / 10.0 + AROUND.high);
        // As wide as the load, once.
        near(
            repeat(&load, true).1,
            (64.0 * PREFILL.high + 100.0 * TOKEN.high) / 10.0 + AROUND.high,
        );
    }

    #[test]
    fn a_rate_and_a_duration_take_their_time_however_fast_the_server_is() {
        let open = json!({"load": {"rate": 2, "requests": 300, "prompt-tokens": 100,
                                   "output-tokens": 10}});
        near(repeat(&open, false).0, 150.0 + AROUND.low);
        let closed = json!({"load": {"concurrency": 2, "duration": 60}});
        near(repeat(&closed, false).0, 60.0 + AROUND.low);
        let search = json!({"load": {"find-max-rate": true, "slo-ttft-ms": 500, "duration": 60}});
        // Ten rates, and two steps of six times as long that confirm one.
        near(repeat(&search, false).0, 1320.0 + AROUND.low);
        // However few are asked for, each is kept up for some request times.
        let few = json!({"load": {"find-max-rate": true, "slo-ttft-ms": 500, "requests": 3,
                                  "prompt-tokens": 1000, "output-tokens": 512}});
        let rounds = (2.0 * 3.0 + 50.0 + 4.0) * 512.0 * TOKEN.high;
        near(repeat(&few, false).1, (880.0 * PREFILL.high + rounds) / 10.0 + AROUND.high);
        // 76.8 + 600 ms at the slowest: 271 requests fill the pipe, and are in flight as long again.
        let wide = json!({"load": {"rate": 200, "requests": 3000, "prompt-tokens": 96,
                                   "output-tokens": 10}});
        near(repeat(&wide, true).0, 271.0 / 200.0 + AROUND.low);
        let hours = json!({"stability": {"duration": 7200}});
        near(repeat(&hours, false).1, 7200.0 + AROUND.high);
        assert!(repeat(&hours, true).1 < 60.0, "a warm-up is one block");
    }

    #[test]
    fn a_warm_up_asks_once_where_a_repeat_asks_several_times() {
        for (workload, times) in [
            (json!({"reasoning": {"instances": 5, "kinds": "logic"}}), 5.0),
            (json!({"tool-calling": {"instances": 3, "scenarios": "chain"}}), 3.0),
            (json!({"long-context": {"contexts": [10_000], "depths": [0.1, 0.9]}}), 2.0),
            (json!({"kv-cache": null}), 1.0),
        ] {
            let (kept, warmup) = (repeat(&workload, false), repeat(&workload, true));
            near(kept.1, times * warmup.1);
            near(kept.0, times * warmup.0);
        }
    }
}
