//! What a specification of `load` says of itself before anything runs: the cost of
//! closed loops, open loops and the search for the highest rate, and the metrics that
//! each of them has.

use std::path::Path;

use super::cost::{PREFILL, TOKEN, Work};
use super::load::{FOR_P95, FOR_P99, KIND, Load, LoadCase};
use super::specification::{Absence, Decided, Specification};
use super::{Concurrency, Dataset, Kind, OptionError, Options};

/// Rates that a search for the highest one may try, by experience, steps that confirm one
/// and how many times as long each is, requests that are
/// in flight on average at one of them, and request times that each takes at least:
/// its arrivals last three and a half, and the last one comes to its end.
const SEARCH: u64 = 10;
const CONFIRMING: u64 = 2 * 6;
const IN_FLIGHT: u64 = 8;
const STEP: u64 = 5;
/// Requests of an open loop's warm-up at least.
const OPEN_WARMUP: u64 = 32;

impl Specification for Load {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn cases(&self) -> Vec<String> {
        match self.named_cases() {
            one if one.len() == 1 => vec![String::new()],
            several => several.into_iter().map(|(_, name)| name).collect(),
        }
    }

    fn dataset(&self) -> Option<&Path> {
        self.dataset.as_deref()
    }

    fn concurrency(&self, case: Option<&str>) -> Concurrency {
        let named = self.named_cases();
        let asked = named.iter().filter(|(_, name)| case.is_none_or(|case| case == name));
        let alone = asked.map(|(case, _)| *case == LoadCase::Concurrency(1));
        if alone.reduce(|a, b| a && b) == Some(true) { Concurrency::One } else { Concurrency::Many }
    }

    fn contradictions(&self, options: &Options) -> Vec<OptionError> {
        let mut errors = options.idle_with_dataset(&["prompt-tokens", "shared-prefix-tokens"]);
        let mut add = |key: &str, message: &str| {
            errors.push(OptionError::of(key, message));
        };
        if self.find_max_rate && self.slo.is_empty() {
            add(
                "find-max-rate",
                "`find-max-rate` needs an SLO: set `slo-ttft-ms`, `slo-tpot-ms` or `slo-e2el-ms`",
            );
        }
        if self.requests.is_some() && self.duration.is_some() {
            add("duration", "give `requests` or `duration`, not both");
        }
        let shared = self.shared_prefix_tokens.filter(|_| self.dataset.is_none());
        if shared.is_some_and(|shared| shared >= self.prompt_tokens) {
            add(
                "shared-prefix-tokens",
                "`shared-prefix-tokens` must be less than `prompt-tokens`: each prompt has a part of its own",
            );
        }
        errors
    }

    fn cost(&self, dataset: Option<&Dataset>, is_warmup: bool) -> Vec<Work> {
        let prompt = dataset.map_or(self.prompt_tokens, Dataset::prompt_tokens);
        let cases = self.named_cases().into_iter();
        cases.map(|(case, _)| work(self, case, prompt, is_warmup)).collect()
    }

    fn unmeasurable(&self, case: Option<&str>, metric: &str) -> Option<Absence> {
        absence(self, self.case(case.unwrap_or_default())?, metric)
    }

    fn decided(&self, case: Option<&str>, metric: &str) -> Option<Decided> {
        decided(self, self.case(case.unwrap_or_default())?, metric)
    }

    fn context_needed(&self, _case: &str) -> Option<u64> {
        self.dataset.is_none().then_some(self.prompt_tokens + self.output_tokens)
    }

    fn is_of_cache(&self, metric: &str) -> bool {
        metric == "hit_tokens_share"
    }

    fn shares_nothing(&self, _metric: &str) -> bool {
        self.shared_prefix_tokens.is_none()
    }
}

fn work(spec: &Load, case: LoadCase, prompt: u64, is_warmup: bool) -> Work {
    let all = spec.requests_of(case);
    let of = |requests: u64, rounds: u64, scheduled: f64| Work {
        prompts: requests as f64 * prompt as f64,
        tokens: rounds as f64 * spec.output_tokens as f64,
        scheduled,
        readings: 1.0,
        ..Work::default()
    };
    let warmup = |requests: u64| all.map_or(requests, |all| all.min(requests));
    let duration = spec.duration.unwrap_or(0.0);
    match (all, case) {
        (_, LoadCase::Concurrency(count)) if is_warmup => of(warmup(count), 1, 0.0),
        // Twice as many as are in flight at the slowest server.
        (_, LoadCase::Rate(rate)) if is_warmup => {
            let alone =
                prompt as f64 / 1000.0 * PREFILL.high + spec.output_tokens as f64 * TOKEN.high;
            let requests = warmup(OPEN_WARMUP.max((2.0 * rate * alone).ceil() as u64));
            of(requests, 1, requests as f64 / rate)
        }
        // A burst, rates that double from one request at a time on, and a burst.
        (_, LoadCase::MaxRate) if is_warmup => {
            let requests = warmup(OPEN_WARMUP);
            of(SEARCH * requests, 2 * requests, 0.0)
        }
        // Begun in that time or in what requests need, and the last one comes to its end.
        (None, LoadCase::MaxRate) => {
            let scheduled = (SEARCH + CONFIRMING) as f64 * duration;
            of((SEARCH + CONFIRMING) * STEP * IN_FLIGHT, SEARCH * STEP, scheduled)
        }
        (None, _) => of(1, 1, duration),
        (Some(requests), LoadCase::Concurrency(count)) => {
            of(requests, requests.div_ceil(count), 0.0)
        }
        (Some(requests), LoadCase::Rate(rate)) => of(requests, 1, requests as f64 / rate),
        // The first rate is that of one request at a time, and each is twice the one
        // before: together they last as long as twice as many requests, one at a time.
        (Some(requests), LoadCase::MaxRate) => {
            let prompts = (SEARCH + CONFIRMING) * requests.max(STEP * IN_FLIGHT);
            // Those that confirm come at a rate of some in flight.
            let confirming = CONFIRMING * requests / IN_FLIGHT;
            of(prompts, 2 * requests + SEARCH * STEP + confirming, 0.0)
        }
    }
}

/// What the specification itself decides, whatever serves it.
fn decided(spec: &Load, case: LoadCase, name: &str) -> Option<Decided> {
    let closed = "take a case of `concurrency`, `find-max-rate`, or a latency of this one";
    match (case, name) {
        (
            LoadCase::Rate(rate),
            "request_throughput"
            | "output_throughput"
            | "output_characters_throughput"
            | "total_token_throughput"
            | "request_goodput",
        ) => Some(Decided {
            why: format!(
                "at {rate} requests/s it is what is offered, of every configuration that keeps up"
            ),
            help: closed.to_owned(),
        }),
        (LoadCase::Rate(rate), "duration") => Some(Decided {
            why: format!("arrivals at {rate} requests/s decide how long a repeat lasts"),
            help: closed.to_owned(),
        }),
        (_, "duration") if spec.duration.is_some() => Some(Decided {
            why: "`duration` is what the grid itself asks for".to_owned(),
            help: "take `output_throughput`".to_owned(),
        }),
        (_, "window") => Some(Decided {
            why: "how long throughput is counted follows from the load".to_owned(),
            help: "take `output_throughput`".to_owned(),
        }),
        _ => None,
    }
}

fn absence(spec: &Load, case: LoadCase, name: &str) -> Option<Absence> {
    let is_open = !matches!(case, LoadCase::Concurrency(_));
    match name {
        "request_goodput" | "good_share" if spec.slo.is_empty() => Some(Absence::certain(
            "there is no SLO that makes a request good",
            "set `slo-ttft-ms`, `slo-tpot-ms` or `slo-e2el-ms`",
        )),
        "max_rate" if case != LoadCase::MaxRate => Some(Absence::certain(
            "no rate is looked for here",
            if spec.find_max_rate {
                "write `load[max-rate].max_rate`"
            } else {
                "set `find-max-rate: true`, and an SLO"
            },
        )),
        "shared_prefix_tokens" if spec.shared_prefix_tokens.is_none() => {
            Some(Absence::certain("its prompts share nothing", "set `shared-prefix-tokens`"))
        }
        "slot_idle_share" if is_open => Some(Absence::certain(
            "an open loop has no slots",
            "name a case of `concurrency`, or take `max_send_lag_ms`",
        )),
        "p99_send_lag_ms" | "max_send_lag_ms" if !is_open => Some(Absence::certain(
            "a closed loop has no schedule to be late for",
            "name a case of `rate`",
        )),
        name if name.contains("_scheduled_") && !is_open => Some(Absence::certain(
            "a closed loop has no schedule to be measured from",
            format!("name a case of `rate`, or take `{}`", name.replace("scheduled_", "")),
        )),
        "request_throughput"
        | "output_throughput"
        | "output_characters_throughput"
        | "total_token_throughput"
        | "request_goodput"
        | "window" => never_busy(spec, case),
        name if is_per_token(name) && spec.output_tokens == 1 => Some(Absence::of_one_token()),
        name => too_few(spec, case, name),
    }
}

/// Whether a latency is one between tokens.
fn is_per_token(name: &str) -> bool {
    name.ends_with("_tpot_ms") || name.ends_with("_itl_ms")
}

/// Requests that a closed loop needs so that its slots are all busy for long enough:
/// four each, and two times as many as must end in the window.
pub(crate) fn steady_requests(slots: u64) -> u64 {
    (4 * slots).max(10)
}

/// Throughput is counted while all slots of a closed loop are busy. They are filled one
/// after another within one request's time, and end so: of two requests each, the slots
/// are all busy for about one request's time, and of two and a half for one and a half.
fn never_busy(spec: &Load, case: LoadCase) -> Option<Absence> {
    let (LoadCase::Concurrency(slots), Some(requests)) = (case, spec.requests) else { return None };
    let is_certain = if slots > 1 { requests <= 2 * slots } else { requests < MIN_ENDED };
    if !is_certain && (2 * requests >= 5 * slots || slots == 1) {
        return None;
    }
    let end = if is_certain { "end" } else { "may end" };
    Some(Absence {
        is_certain,
        why: format!("at concurrency {slots}, {requests} requests {end} before a steady state"),
        help: format!("raise `requests` ({} would do)", steady_requests(slots)),
    })
}

/// Requests that must end in a window of throughput.
const MIN_ENDED: u64 = 5;

/// A percentile of fewer values than carry it.
fn too_few(spec: &Load, case: LoadCase, name: &str) -> Option<Absence> {
    let (percentile, latency) = name.split_once('_')?;
    let needed = match percentile {
        "p95" => FOR_P95,
        "p99" => FOR_P99,
        _ => return None,
    };
    // Gaps are as many as tokens at most, less the first one of each answer.
    let each = if latency == "itl_ms" { spec.output_tokens.saturating_sub(1) } else { 1 };
    let requests = needed.div_ceil(each.max(1));
    let help = if latency == "send_lag_ms" {
        format!("set `requests` to {requests} or more, or take `max_send_lag_ms`")
    } else {
        format!("set `requests` to {requests} or more, or take `median_{latency}`")
    };
    match (spec.requests_of(case), spec.duration, case) {
        (Some(sent), _, _) if sent * each < needed => Some(Absence {
            // A search sends more of them where they take long.
            is_certain: case != LoadCase::MaxRate,
            why: format!("it needs {needed} values, and a repeat has {}", sent * each),
            help,
        }),
        // Arrivals are drawn by chance: some more or less than these.
        (None, Some(seconds), LoadCase::Rate(rate)) => {
            let values = (rate * seconds).floor() * each as f64;
            (values < needed as f64).then(|| Absence {
                is_certain: false,
                why: format!(
                    "it needs {needed} values, and {seconds} s at {rate} requests/s give about \
                     {values}"
                ),
                help,
            })
        }
        _ => None,
    }
}
