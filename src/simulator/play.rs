//! A whole load in virtual time: what a launch answers to requests that are sent as a benchmark
//! sends them, without noise, clock or sockets. The scheduler is the served one; steps of
//! decoding that differ in nothing are taken together. What is read off the answers is the
//! caller's; single requests with noise are replayed in `pace`.

use std::collections::VecDeque;

use super::cost::{CostModel, Load};
use super::kv_cache::KvCache;
use super::memory::Division;
use super::scheduler::{Limits, Plan, Request, Scheduler};
use super::settings::Settings;
use super::text::mix;

/// Steps after which a load has not come to its end.
const MOST_STEPS: u32 = 1_000_000;

/// A launch, as far as requests notice it: equal ones answer alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    cost: CostModel,
    limits: Limits,
    blocks: u64,
    block_size: u64,
    caching: bool,
}

impl Server {
    /// That of a launch whose memory is divided so.
    pub fn of(settings: &Settings, division: &Division) -> Self {
        Self {
            cost: CostModel::new(settings),
            limits: Limits::of(settings),
            blocks: division.blocks,
            block_size: settings.block_size,
            caching: settings.prefix_caching,
        }
    }

    /// Whether it keeps prefixes.
    pub fn caches(&self) -> bool {
        self.caching
    }

    /// The same without what these requests cannot notice: places and blocks beyond those that
    /// they fill, a cache of what they do not share.
    #[must_use]
    pub fn seen_by(mut self, traffic: &Traffic) -> Self {
        let flying = traffic.flying();
        self.caching &= traffic.shares();
        self.limits.sequences = self.limits.sequences.min(flying);
        // A watermark is a share of all blocks.
        if self.limits.watermark <= 0.0 {
            let kept = if self.caching { traffic.requests() } else { flying };
            let each = traffic.longest().div_ceil(self.block_size) + 1;
            self.blocks = self.blocks.min(kept.saturating_mul(each));
        }
        self
    }
}

/// The texts of requests.
#[derive(Clone, Debug)]
pub enum Texts {
    /// Prompts of one length that open alike.
    Alike {
        /// Tokens of each prompt.
        prompt: u64,
        /// Those of them that all have in common.
        shared: u64,
        /// Tokens of each answer.
        output: u64,
    },
    /// These, in this order.
    Listed(Vec<Request>),
}

/// When requests are sent.
#[derive(Clone, Debug)]
pub enum Sending {
    /// Each slot sends its next one when the one before has ended.
    Slots {
        /// Slots.
        slots: u64,
        /// Seconds over which their first requests are spread.
        ramp: f64,
        /// Requests in all.
        requests: u64,
    },
    /// At these seconds, in order.
    At(Vec<f64>),
}

/// What is sent.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// The texts.
    pub texts: Texts,
    /// When they are sent.
    pub sending: Sending,
}

impl Traffic {
    /// Requests one after another.
    pub fn in_turn(requests: Vec<Request>) -> Self {
        let sending = Sending::Slots { slots: 1, ramp: 0.0, requests: requests.len() as u64 };
        Self { texts: Texts::Listed(requests), sending }
    }

    fn requests(&self) -> u64 {
        match &self.sending {
            Sending::Slots { requests, .. } => *requests,
            Sending::At(times) => times.len() as u64,
        }
    }

    /// In flight at once, at most.
    fn flying(&self) -> u64 {
        match &self.sending {
            Sending::Slots { slots, requests, .. } => *slots.min(requests),
            Sending::At(times) => times.len() as u64,
        }
    }

    fn shares(&self) -> bool {
        match &self.texts {
            Texts::Alike { shared, .. } => *shared > 0,
            Texts::Listed(_) => true,
        }
    }

    /// Tokens of the longest request with its answer.
    fn longest(&self) -> u64 {
        match &self.texts {
            Texts::Alike { prompt, output, .. } => prompt + output,
            Texts::Listed(all) => {
                let of = |it: &Request| it.prompt.len() as u64 + it.output_tokens;
                all.iter().map(of).max().unwrap_or(0)
            }
        }
    }

    fn request(&self, number: u64) -> Option<Request> {
        match &self.texts {
            Texts::Listed(all) => {
                let request = all.get(usize::try_from(number).ok()?)?;
                Some(Request { id: number, ..request.clone() })
            }
            Texts::Alike { prompt, shared, output } => {
                let own = *shared..*prompt;
                let mut tokens: Vec<u32> = (0..*shared).map(|at| mix(1, at) as u32).collect();
                // What nothing has in common is never looked at.
                let of = |at| if *shared > 0 { mix(2 + number, at) as u32 } else { 0 };
                tokens.extend(own.map(of));
                Some(Request {
                    id: number,
                    prompt: tokens,
                    cache_salt: None,
                    output_seed: number,
                    output_tokens: *output,
                })
            }
        }
    }
}

/// What became of a request, seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Answer {
    /// The slot that sent it; its own number where there are none.
    pub slot: u64,
    /// When it was sent.
    pub sent: f64,
    /// When its first token came.
    pub first: f64,
    /// When its last one came.
    pub last: f64,
    /// Tokens of the prompt.
    pub prompt: u64,
    /// Tokens of the answer.
    pub tokens: u64,
}

/// Tokens that came from one time to another, evenly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Seconds.
    pub from: f64,
    /// Seconds.
    pub to: f64,
    /// How many.
    pub tokens: u64,
}

/// What became of a load.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Played {
    /// In the order of sending.
    pub answers: Vec<Answer>,
    /// Tokens over time.
    pub spans: Vec<Span>,
    /// Gaps between tokens of one answer, in seconds, each with how often it was.
    pub gaps: Vec<(f64, u64)>,
}

/// Plays a load to its end; `None` where it has none, since a request does not fit.
pub fn play(server: &Server, traffic: &Traffic) -> Option<Played> {
    let mut player = Player::new(server, traffic);
    for _ in 0..MOST_STEPS {
        player.send()?;
        let Some(plan) = player.scheduler.schedule(player.now) else {
            match player.upcoming.front() {
                Some((at, _)) => player.now = *at,
                None if player.scheduler.waiting() == 0 => return Some(player.played),
                None => return None,
            }
            continue;
        };
        player.step(&server.cost, &plan);
        player.leap(&server.cost, &plan);
    }
    None
}

/// Times and slots of the first requests.
fn first_sends(sending: &Sending) -> VecDeque<(f64, u64)> {
    match sending {
        Sending::Slots { slots, ramp, requests } => {
            let first = (*slots).min(*requests);
            (0..first).map(|slot| (ramp * slot as f64 / *slots as f64, slot)).collect()
        }
        Sending::At(times) => times.iter().copied().zip(0..).collect(),
    }
}

struct Player<'a> {
    scheduler: Scheduler,
    traffic: &'a Traffic,
    /// Times at which slots send, in order.
    upcoming: VecDeque<(f64, u64)>,
    sent: u64,
    now: f64,
    played: Played,
}

impl<'a> Player<'a> {
    fn new(server: &Server, traffic: &'a Traffic) -> Self {
        // Texts that share nothing have none: a cache would find them alike.
        let caching = server.caching && traffic.shares();
        let cache = KvCache::new(server.blocks, server.block_size, caching);
        Self {
            scheduler: Scheduler::new(server.limits.clone(), cache),
            traffic,
            upcoming: first_sends(&traffic.sending),
            sent: 0,
            now: 0.0,
            played: Played::default(),
        }
    }

    /// Sends what is due; `None` where there is no such request.
    fn send(&mut self) -> Option<()> {
        while let Some((at, slot)) = self.upcoming.front().copied().filter(|it| it.0 <= self.now) {
            self.upcoming.pop_front();
            if self.sent == self.traffic.requests() {
                continue;
            }
            let request = self.traffic.request(self.sent)?;
            self.scheduler.add(&request, at);
            let prompt = request.prompt.len() as u64;
            self.played.answers.push(Answer { slot, sent: at, prompt, ..Answer::default() });
            self.sent += 1;
        }
        Some(())
    }

    fn step(&mut self, cost: &CostModel, plan: &Plan) {
        let from = self.now;
        self.now += cost.step_seconds(&plan.load);
        let produced = self.scheduler.complete(plan, self.now);
        let is_closed = matches!(self.traffic.sending, Sending::Slots { .. });
        for token in &produced {
            let answer = &mut self.played.answers[token.id as usize];
            if token.index == 0 {
                answer.first = self.now;
            } else {
                push_gap(&mut self.played.gaps, self.now - token.previous, 1);
            }
            (answer.last, answer.tokens) = (self.now, token.index + 1);
            if token.finished && is_closed {
                let place = self.upcoming.partition_point(|(at, _)| *at <= self.now);
                self.upcoming.insert(place, (self.now, answer.slot));
            }
        }
        self.played.spans.push(Span { from, to: self.now, tokens: produced.len() as u64 });
    }

    /// Takes the steps together that follow this one and are like it.
    fn leap(&mut self, cost: &CostModel, plan: &Plan) {
        let alike = self.scheduler.steps_alike(plan);
        let sequences = plan.load.sequences;
        // One like the last one is what the next turn makes anyway.
        if alike < 2 {
            return;
        }
        let seconds_of = |steps: u64| {
            // The middle one: each sequence is longer by one token from step to step.
            let longer = sequences * (steps + 1) / 2;
            let pairs = plan.load.pairs + longer as f64;
            cost.step_seconds(&Load { context: plan.load.context + longer, pairs, ..plan.load })
        };
        let until = self.upcoming.front().map_or(f64::INFINITY, |(at, _)| *at);
        let before = ((until - self.now) / seconds_of(1)).ceil();
        let steps = if before < alike as f64 { before.max(0.0) as u64 } else { alike };
        if steps == 0 {
            return;
        }
        let (from, each) = (self.now, seconds_of(steps));
        self.now += each * steps as f64;
        self.scheduler.leap(steps, self.now);
        let tokens = steps * sequences;
        push_gap(&mut self.played.gaps, each, tokens);
        self.played.spans.push(Span { from, to: self.now, tokens });
    }
}

/// As many gaps; equal ones in a row are one entry.
fn push_gap(gaps: &mut Vec<(f64, u64)>, seconds: f64, count: u64) {
    match gaps.last_mut() {
        Some((last, known)) if (*last - seconds).abs() < f64::EPSILON => *known += count,
        _ => gaps.push((seconds, count)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::simulator::{memory, profile};

    fn server(flags: &Value) -> Server {
        let mut given = json!({"max-model-len": 8192});
        given.as_object_mut().unwrap().extend(flags.as_object().unwrap().clone());
        let flags = serde_json::from_value(given).unwrap();
        let gpu = profile::gpu("rtx-4090").unwrap();
        let (environment, model) = (BTreeMap::new(), "Qwen/Qwen3-8B");
        let settings = Settings::from_flags(model, &flags, &environment, gpu, 1, None).unwrap();
        Server::of(&settings, &memory::divide(&settings, 0.0).unwrap())
    }

    fn alike(prompt: u64, shared: u64, output: u64) -> Texts {
        Texts::Alike { prompt, shared, output }
    }

    /// The same step by step, as the served scheduler goes.
    fn step_by_step(server: &Server, traffic: &Traffic) -> Played {
        let mut player = Player::new(server, traffic);
        loop {
            player.send().unwrap();
            match (player.scheduler.schedule(player.now), player.upcoming.front()) {
                (Some(plan), _) => player.step(&server.cost, &plan),
                (None, Some((at, _))) => player.now = *at,
                (None, None) => return player.played,
            }
        }
    }

    #[test]
    fn steps_that_are_taken_together_give_what_they_give_one_by_one() {
        let slots = |slots, requests| Sending::Slots { slots, ramp: 1.5, requests };
        let times = (0..40).map(|at| 0.11 * f64::from(at)).collect();
        let small = json!({"max-num-seqs": 4, "max-num-batched-tokens": 256});
        let full = json!({"gpu-memory-utilization": 0.84, "max-num-seqs": 64});
        for (flags, texts, sending) in [
            (&json!({}), alike(512, 0, 128), slots(8, 40)),
            (&small, alike(700, 256, 90), slots(12, 30)),
            (&full, alike(600, 0, 800), slots(64, 70)),
            (&json!({}), alike(300, 0, 60), Sending::At(times)),
        ] {
            let (server, traffic) = (server(flags), Traffic { texts, sending });
            let (whole, single) =
                (play(&server, &traffic).unwrap(), step_by_step(&server, &traffic));
            // As a server that lacks only what the requests cannot notice.
            assert_eq!(play(&server.clone().seen_by(&traffic), &traffic), Some(whole.clone()));
            assert!(5 * whole.spans.len() < 4 * single.spans.len(), "{flags}");
            assert_eq!(whole.answers.len(), single.answers.len());
            for (a, b) in whole.answers.iter().zip(&single.answers) {
                assert_eq!((a.slot, a.prompt, a.tokens), (b.slot, b.prompt, b.tokens));
                for (a, b) in [(a.first - a.sent, b.first - b.sent), (a.last, b.last)] {
                    assert!((a - b).abs() < 0.02 * b + 0.02, "{flags}: {a}, not {b}");
                }
            }
            let tokens = |it: &Played| it.gaps.iter().map(|(_, count)| count).sum::<u64>();
            assert_eq!(tokens(&whole), tokens(&single));
        }
    }

    #[test]
    fn a_shared_beginning_is_found_again_and_what_never_fits_has_no_end() {
        let sending = || Sending::Slots { slots: 1, ramp: 0.0, requests: 3 };
        let shared = Traffic { texts: alike(4096, 4000, 4), sending: sending() };
        let ttft = |caching: bool| {
            let server = server(&json!({"enable-prefix-caching": caching}));
            let played = play(&server.seen_by(&shared), &shared).unwrap();
            played.answers[2].first - played.answers[2].sent
        };
        assert!(ttft(false) > 5.0 * ttft(true), "{} {}", ttft(false), ttft(true));
        let long = Traffic { texts: alike(60_000, 0, 4), sending: sending() };
        assert_eq!(play(&server(&json!({})), &long), None);
    }
}
