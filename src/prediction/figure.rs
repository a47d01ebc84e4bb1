//! What a prediction is of: the objective's workload and case as requests, and its metric as
//! something to be read off their answers. Requests are fewer than a repeat has: without noise
//! further ones show nothing new. What has no time in it is not predicted.

use super::reading::{Latency, Rate, Reading, Statistic, of_slots, open_window};
use crate::grid::{EngineBlock, Grid};
use crate::simulator::play::{Played, Sending, Server, Texts, Traffic, play};
use crate::simulator::scheduler::Request;
use crate::simulator::text::{mix, token_id, uniform};
use crate::workload::{Arrivals, Conversation, KvCache, Load, LoadCase, LongContext, Spec};

/// Requests of an open loop at most.
const OPEN: u64 = 600;

/// Requests at each rate of a search for the highest one.
const SEARCHED: u64 = 150;

/// Doublings of a rate, and halvings of the step between the last two.
const DOUBLINGS: u32 = 12;
const BISECTIONS: u32 = 6;

/// What is sought of each configuration.
#[derive(Clone, Debug)]
pub(super) struct Figure<'a> {
    sent: Sent<'a>,
    reading: Reading,
    context: u64,
    /// The server's seconds in one of the client: 1 but for a simulated engine.
    speed: f64,
}

/// What is sent.
#[derive(Clone, Debug)]
enum Sent<'a> {
    /// Prompts of so many tokens.
    Load {
        spec: &'a Load,
        case: LoadCase,
        prompt: u64,
    },
    /// Prefixes of so many tokens.
    KvCache {
        spec: &'a KvCache,
        prefix: u64,
    },
    /// A prompt of so many tokens.
    LongContext {
        spec: &'a LongContext,
        prompt: u64,
    },
    Conversation(&'a Conversation),
}

impl<'a> Figure<'a> {
    /// That of a grid's objective.
    pub(super) fn of(grid: &'a Grid) -> Result<Self, String> {
        let metric = &grid.objective.metric;
        let none = || {
            format!(
                "{metric} is nothing that the simulator predicts: it predicts latencies and \
                 throughput of load, kv-cache, long-context and conversation"
            )
        };
        let workload = grid.workload_of(metric).ok_or_else(none)?;
        let case = metric.case.as_deref().unwrap_or_default();
        let unread = |path: &std::path::Path| {
            format!("the prompts come from {}, which was not read", path.display())
        };
        let sent = match &workload.spec {
            Spec::Load(spec) => {
                let prompt = match &spec.dataset {
                    None => spec.prompt_tokens,
                    Some(path) => {
                        let known = grid.datasets.known(path).ok_or_else(|| unread(path))?;
                        known.prompt_tokens().max(1)
                    }
                };
                Sent::Load { spec, case: spec.case(case).ok_or_else(none)?, prompt }
            }
            Spec::KvCache(spec) => {
                let place = workload.cases().iter().position(|it| it == case).ok_or_else(none)?;
                Sent::KvCache { spec, prefix: spec.prefix_tokens[place] }
            }
            Spec::LongContext(spec) => {
                let prompt = spec.context_of(case).ok_or_else(none)?;
                Sent::LongContext { spec, prompt }
            }
            Spec::Conversation(spec) if spec.dataset.is_none() => Sent::Conversation(spec),
            Spec::Conversation(_) => {
                return Err("conversations of a dataset are not predicted".to_owned());
            }
            _ => return Err(none()),
        };
        let reading = sent.reading(&metric.name).ok_or_else(none)?;
        let context = workload.context_needed(case).unwrap_or(0);
        let speed = match &grid.engine {
            EngineBlock::Simulated(block) => block.speed,
            EngineBlock::Docker(_) | EngineBlock::Process(_) => 1.0,
        };
        Ok(Self { sent, reading, context, speed })
    }

    /// Tokens of context that it needs.
    pub(super) fn context_needed(&self) -> u64 {
        self.context
    }

    /// A server as far as what is sent can notice it.
    pub(super) fn seen_by(&self, server: &Server) -> Server {
        match &self.sent {
            Sent::Load { spec, case: LoadCase::Concurrency(slots), prompt } => {
                server.clone().seen_by(&closed(spec, *slots, *prompt, 0.0))
            }
            Sent::Load { spec, case: LoadCase::Rate(rate), prompt } => {
                server.clone().seen_by(&open(spec, *rate, *prompt, requests(spec, *rate)))
            }
            Sent::Load { spec, case: LoadCase::MaxRate, prompt } => {
                server.clone().seen_by(&open(spec, 1.0, *prompt, SEARCHED))
            }
            Sent::KvCache { spec, prefix } => {
                server.clone().seen_by(&pair(*prefix, spec.output_tokens))
            }
            Sent::LongContext { spec, prompt } => {
                server.clone().seen_by(&alone(*prompt, spec.max_tokens / 4))
            }
            Sent::Conversation(spec) => server.clone().seen_by(&conversation(spec)),
        }
    }

    /// What a server gives, by the client's clock; `None` where it gives no such value.
    pub(super) fn value(&self, server: &Server) -> Option<f64> {
        let value = self.by_servers_clock(server)?;
        Some(if self.reading.is_rate() { value * self.speed } else { value / self.speed })
    }

    fn by_servers_clock(&self, server: &Server) -> Option<f64> {
        match &self.sent {
            Sent::Load { spec, case, prompt } => self.under_load(server, spec, *case, *prompt),
            Sent::KvCache { spec, prefix } => {
                if self.reading == (Reading::Resent { certified: true }) && !server.caches() {
                    return None;
                }
                self.reading.of(&play(server, &pair(*prefix, spec.output_tokens))?, None)
            }
            Sent::LongContext { spec, prompt } => {
                let played = play(server, &alone(*prompt, spec.max_tokens / 4))?;
                self.reading.of(&played, None)
            }
            Sent::Conversation(spec) => self.reading.of(&play(server, &conversation(spec))?, None),
        }
    }

    fn under_load(&self, server: &Server, spec: &Load, case: LoadCase, prompt: u64) -> Option<f64> {
        // Its time spreads the first requests, as the benchmark's own first one does.
        let one = play(server, &alone(prompt, spec.output_tokens))?;
        let alone = one.answers[0].last;
        match case {
            LoadCase::Concurrency(slots) => {
                let played = play(server, &closed(spec, slots, prompt, alone))?;
                self.reading.of(&played, of_slots(&played, slots))
            }
            LoadCase::Rate(rate) => {
                let traffic = open(spec, rate / self.speed, prompt, requests(spec, rate));
                let played = play(server, &traffic)?;
                self.reading.of(&played, open_window(&played))
            }
            LoadCase::MaxRate => highest(server, (spec, self.speed), prompt, 1.0 / alone),
        }
    }
}

impl Sent<'_> {
    /// What a metric is read as; `None` of one that has no time in it, or a length that the
    /// model decides.
    fn reading(&self, name: &str) -> Option<Reading> {
        let first = |statistic| Some(Reading::Latency(statistic, Latency::First));
        match (self, name) {
            (Self::Load { case: LoadCase::MaxRate, .. }, "max_rate") => {
                Some(Reading::Rate(Rate::Requests))
            }
            (Self::Load { case: LoadCase::MaxRate, .. }, _) => None,
            (Self::Load { .. }, "output_throughput") => Some(Reading::Rate(Rate::Output)),
            (Self::Load { .. }, "request_throughput") => Some(Reading::Rate(Rate::Requests)),
            (Self::Load { .. }, "total_token_throughput") => Some(Reading::Rate(Rate::Tokens)),
            (Self::Load { .. }, name) => {
                let (statistic, rest) = name.split_once('_')?;
                let latency = Latency::named(rest.strip_suffix("_ms")?)?;
                Some(Reading::Latency(Statistic::named(statistic)?, latency))
            }
            (Self::KvCache { .. }, "ttft_miss_ms" | "ttft_independent_ms")
            | (Self::LongContext { .. }, "max_ttft_ms") => first(Statistic::Max),
            (Self::KvCache { .. }, "ttft_resent_ms") => Some(Reading::Resent { certified: false }),
            (Self::KvCache { .. }, "ttft_hit_ms") => Some(Reading::Resent { certified: true }),
            (Self::LongContext { .. } | Self::Conversation(_), "median_ttft_ms") => {
                first(Statistic::Median)
            }
            (Self::Conversation(_), "mean_ttft_ms") => first(Statistic::Mean),
            (Self::Conversation(_), "ttft_first_ms") => Some(Reading::Turn { last: false }),
            (Self::Conversation(_), "ttft_last_ms") => Some(Reading::Turn { last: true }),
            (Self::KvCache { .. }, "tpot_ms")
            | (Self::LongContext { .. }, "median_tpot_ms")
            | (Self::Conversation(_), "mean_tpot_ms") => {
                Some(Reading::Latency(Statistic::Mean, Latency::PerToken))
            }
            (Self::LongContext { .. }, "prefill_throughput") => Some(Reading::Prefill),
            _ => None,
        }
    }
}

fn texts(spec: &Load, prompt: u64) -> Texts {
    let shared = spec.shared_prefix_tokens.unwrap_or(0).min(prompt - 1);
    Texts::Alike { prompt, shared, output: spec.output_tokens }
}

/// One request.
fn alone(prompt: u64, output: u64) -> Traffic {
    let texts = Texts::Alike { prompt, shared: 0, output: output.max(1) };
    Traffic { texts, sending: Sending::Slots { slots: 1, ramp: 0.0, requests: 1 } }
}

/// A closed loop, long enough for all slots to be busy for a while.
fn closed(spec: &Load, slots: u64, prompt: u64, ramp: f64) -> Traffic {
    let all = spec.requests_of(LoadCase::Concurrency(slots)).unwrap_or(u64::MAX);
    let requests = all.min(3 * slots + 2);
    Traffic { texts: texts(spec, prompt), sending: Sending::Slots { slots, ramp, requests } }
}

/// Requests of an open loop.
fn requests(spec: &Load, rate: f64) -> u64 {
    let by_time = || (rate * spec.duration.unwrap_or(f64::INFINITY)).ceil() as u64;
    spec.requests_of(LoadCase::Rate(rate)).unwrap_or_else(by_time).clamp(1, OPEN)
}

/// An open loop of this rate: arrivals are the same for every configuration, and last as long
/// as their rate says.
fn open(spec: &Load, rate: f64, prompt: u64, requests: u64) -> Traffic {
    let gap = |at: u64| match spec.arrivals {
        Arrivals::Constant => 1.0,
        Arrivals::Poisson => -(1.0 - uniform(1, at)).ln(),
    };
    let gaps: Vec<f64> = (0..requests).map(gap).collect();
    let scale = requests as f64 / (rate * gaps.iter().sum::<f64>());
    let mut now = 0.0;
    let mut times = Vec::with_capacity(gaps.len());
    for gap in gaps {
        times.push(now);
        now += gap * scale;
    }
    Traffic { texts: texts(spec, prompt), sending: Sending::At(times) }
}

/// A prompt, and the same again.
fn pair(prompt: u64, output: u64) -> Traffic {
    let request = Request {
        id: 0,
        prompt: (0..prompt).map(|at| mix(1, at) as u32).collect(),
        cache_salt: None,
        output_seed: 1,
        output_tokens: output,
    };
    Traffic::in_turn(vec![request.clone(), request])
}

/// The turns of a conversation, each with all before it.
fn conversation(spec: &Conversation) -> Traffic {
    let mut history: Vec<u32> = Vec::new();
    let mut said = 0;
    let mut say = |history: &mut Vec<u32>, tokens: u64| {
        history.extend((said..said + tokens).map(|at| mix(3, at) as u32));
        said += tokens;
    };
    let around = spec.around() / spec.turns.max(1);
    let mut turns = Vec::new();
    for turn in 0..spec.turns {
        say(&mut history, spec.turn_tokens + around);
        let request = Request {
            id: turn,
            prompt: history.clone(),
            cache_salt: None,
            output_seed: turn,
            output_tokens: spec.output_tokens,
        };
        turns.push(request);
        history.extend((0..spec.output_tokens).map(|at| token_id(turn, at)));
    }
    Traffic::in_turn(turns)
}

/// The highest rate within the SLO; from this one on it is doubled, then halved between.
fn highest(server: &Server, (spec, speed): (&Load, f64), prompt: u64, first: f64) -> Option<f64> {
    let holds = |rate: f64| {
        let traffic = open(spec, rate, prompt, SEARCHED);
        play(server, &traffic).is_some_and(|played| is_within(&played, spec, speed))
    };
    let mut rate = first;
    let (mut low, mut high) = if holds(rate) {
        loop {
            if rate > first * f64::from(2_u32.pow(DOUBLINGS)) {
                return None;
            }
            if !holds(2.0 * rate) {
                break (rate, 2.0 * rate);
            }
            rate *= 2.0;
        }
    } else {
        loop {
            if rate < first / f64::from(2_u32.pow(DOUBLINGS)) {
                return None;
            }
            rate /= 2.0;
            if holds(rate) {
                break (rate, 2.0 * rate);
            }
        }
    };
    for _ in 0..BISECTIONS {
        let middle = (low * high).sqrt();
        if holds(middle) { low = middle } else { high = middle }
    }
    Some(low)
}

/// Whether enough requests are good, once the pipe is full, and all of them keep up.
fn is_within(played: &Played, spec: &Load, speed: f64) -> bool {
    let Some((from, to)) = open_window(played) else { return false };
    let within =
        |value: f64, bound: Option<f64>| bound.is_none_or(|bound| 1e3 * value <= speed * bound);
    let judged: Vec<_> = played.answers.iter().filter(|it| it.sent >= from).collect();
    let good = judged.iter().filter(|it| {
        let each = (it.last - it.first) / (it.tokens.max(2) - 1) as f64;
        within(it.first - it.sent, spec.slo.ttft_ms)
            && within(each, spec.slo.tpot_ms)
            && within(it.last - it.sent, spec.slo.e2el_ms)
    });
    let ended = played.answers.iter().filter(|it| (from..=to).contains(&it.last)).count();
    let keeps_up = ended as f64 >= 0.9 * judged.len() as f64;
    keeps_up && good.count() as f64 >= spec.slo_share * judged.len() as f64
}
