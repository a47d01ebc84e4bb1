//! vLLM's V1 scheduler: which tokens of which requests go into the next step.
//! Pure and deterministic: time is an argument, nothing is random.
//!
//! Running requests come first, in order, then waiting ones in order, within
//! one budget of tokens; prefill and decode share steps. When blocks run out the
//! last running request is preempted and recomputed later. How long a step takes
//! is in `pace`, the contents of blocks in `kv_cache`.

use std::collections::{HashMap, VecDeque};

use super::cost::Load;
use super::kv_cache::{BlockId, HashChain, KvCache};
use super::settings::Settings;
use super::text;

mod leap;

/// Identifies a request within one engine.
pub type RequestId = u64;

/// A request as the scheduler sees it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its number.
    pub id: RequestId,
    /// The prompt's tokens, at least one.
    pub prompt: Vec<u32>,
    /// Separates its blocks from those of other salts.
    pub cache_salt: Option<String>,
    /// What the answer's tokens are drawn from.
    pub output_seed: u64,
    /// Tokens to generate, at least one.
    pub output_tokens: u64,
}

/// Limits of the scheduler.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Token budget of a step.
    pub batched_tokens: u64,
    /// Requests that may run at once.
    pub sequences: u64,
    /// Whether prompts may be cut.
    pub chunked: bool,
    /// Cap on one request's tokens in a step, 0 for none.
    pub long_prefill: u64,
    /// Whether a prompt is admitted only when all of it fits into the cache.
    pub reserve_full_prompt: bool,
    /// Share of the blocks that an admission must leave free.
    pub watermark: f64,
}

impl Limits {
    /// The limits that a launch runs with.
    pub fn of(settings: &Settings) -> Self {
        Self {
            batched_tokens: settings.max_num_batched_tokens,
            sequences: settings.max_num_seqs,
            chunked: settings.chunked_prefill,
            long_prefill: settings.long_prefill_token_threshold,
            reserve_full_prompt: settings.reserve_full_prompt,
            watermark: settings.watermark,
        }
    }
}

/// One request's part of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// The request.
    pub id: RequestId,
    /// Tokens computed in this step.
    pub tokens: u64,
    /// Tokens computed before.
    pub computed: u64,
    /// Whether it gets a token at the end of the step.
    pub samples: bool,
    /// Whether prompt tokens are among them.
    pub prefill: bool,
}

/// A request that was admitted for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The request.
    pub id: RequestId,
    /// Tokens of its prompt.
    pub prompt_tokens: u64,
    /// Those found in the prefix cache.
    pub cached_tokens: u64,
}

/// One step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Who computes how much, in the order of scheduling.
    pub work: Vec<Work>,
    /// First admissions of this step.
    pub admitted: Vec<Admission>,
    /// Requests that lost their blocks.
    pub preempted: Vec<RequestId>,
    /// What the cost model needs.
    pub load: Load,
}

/// When things happened to a request, in the scheduler's time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times {
    /// Arrival.
    pub arrived: f64,
    /// First admission.
    pub admitted: f64,
    /// First token.
    pub first_token: f64,
    /// Latest token.
    pub last_token: f64,
}

/// A token that a step produced.
#[derive(Clone, Debug, PartialEq)]
pub struct Produced {
    /// The request.
    pub id: RequestId,
    /// Number of the token in its answer, from 0.
    pub index: u64,
    /// Whether it is the request's last one.
    pub finished: bool,
    /// The token before it, in the scheduler's time; the arrival for the first.
    pub previous: f64,
    /// Times up to and including this token.
    pub times: Times,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Those that the prefix cache had at the first admission.
    pub cached_tokens: u64,
    /// How often it was preempted so far.
    pub preemptions: u64,
}

#[derive(Debug)]
struct State {
    prompt_tokens: u64,
    output_seed: u64,
    output_tokens: u64,
    chain: HashChain,
    generated: u64,
    computed: u64,
    blocks: Vec<BlockId>,
    published: usize,
    preemptions: u64,
    cached_tokens: u64,
    admitted: bool,
    times: Times,
}

impl State {
    fn known_tokens(&self) -> u64 {
        self.prompt_tokens + self.generated
    }
}

/// The scheduler of one engine.
#[derive(Debug)]
pub struct Scheduler {
    limits: Limits,
    cache: KvCache,
    states: HashMap<RequestId, State>,
    running: Vec<RequestId>,
    waiting: VecDeque<RequestId>,
}

impl Scheduler {
    /// A scheduler over an empty cache.
    pub fn new(limits: Limits, cache: KvCache) -> Self {
        Self {
            limits,
            cache,
            states: HashMap::new(),
            running: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Puts a request at the end of the queue.
    pub fn add(&mut self, request: &Request, now: f64) {
        let mut chain = HashChain::new(self.cache.block_size(), request.cache_salt.as_deref());
        if self.cache.caching() {
            chain.extend(&request.prompt);
        }
        self.states.insert(
            request.id,
            State {
                prompt_tokens: request.prompt.len() as u64,
                output_seed: request.output_seed,
                output_tokens: request.output_tokens.max(1),
                chain,
                generated: 0,
                computed: 0,
                blocks: Vec::new(),
                published: 0,
                preemptions: 0,
                cached_tokens: 0,
                admitted: false,
                times: Times { arrived: now, ..Times::default() },
            },
        );
        self.waiting.push_back(request.id);
    }

    /// Forgets a request and frees its blocks. False where it is not known (any more).
    pub fn abort(&mut self, id: RequestId) -> bool {
        let Some(state) = self.states.remove(&id) else { return false };
        self.cache.release(&state.blocks);
        self.running.retain(|other| *other != id);
        self.waiting.retain(|other| *other != id);
        true
    }

    /// Requests in the batch.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Requests in the queue.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Tokens of one prompt in one step at most.
    pub fn longest_chunk(&self) -> u64 {
        self.capped(self.limits.batched_tokens)
    }

    /// Share of the blocks in use.
    pub fn cache_usage(&self) -> f64 {
        self.cache.usage()
    }

    /// Empties the prefix cache; false while requests run.
    pub fn reset_prefix_cache(&mut self) -> bool {
        self.cache.reset()
    }

    /// The next step; `None` where nothing can be done.
    pub fn schedule(&mut self, now: f64) -> Option<Plan> {
        let mut plan = Plan::default();
        let mut budget = self.limits.batched_tokens;
        self.schedule_running(&mut plan, &mut budget);
        // With every request preempted the step would be empty: the queue is admitted at once.
        if plan.preempted.is_empty() || plan.work.is_empty() {
            self.schedule_waiting(&mut plan, &mut budget, now);
        }
        (!plan.work.is_empty()).then_some(plan)
    }

    fn schedule_running(&mut self, plan: &mut Plan, budget: &mut u64) {
        let mut position = 0;
        while position < self.running.len() && *budget > 0 {
            let id = self.running[position];
            let state = self.state(id);
            let tokens = self.capped(state.known_tokens() - state.computed).min(*budget);
            if !self.allocate_or_preempt(id, tokens, plan) {
                break;
            }
            self.push_work(plan, id, tokens);
            *budget -= tokens;
            position += 1;
        }
    }

    /// Allocates blocks for a running request, at the cost of those behind it.
    fn allocate_or_preempt(&mut self, id: RequestId, tokens: u64, plan: &mut Plan) -> bool {
        while !self.allocate(id, tokens) {
            let Some(victim) = self.running.pop() else { return false };
            self.preempt(victim);
            plan.preempted.push(victim);
            if victim == id {
                return false;
            }
        }
        true
    }

    fn preempt(&mut self, id: RequestId) {
        let state = state_mut(&mut self.states, id);
        self.cache.release(&state.blocks);
        state.blocks.clear();
        state.published = 0;
        state.computed = 0;
        state.preemptions += 1;
        self.waiting.push_front(id);
    }

    fn schedule_waiting(&mut self, plan: &mut Plan, budget: &mut u64, now: f64) {
        while *budget > 0 && (self.running.len() as u64) < self.limits.sequences {
            let Some(id) = self.waiting.front().copied() else { break };
            let found = self.cached_prefix(id);
            let cached = found.len() as u64 * self.cache.block_size();
            let wanted = self.capped(self.state(id).known_tokens() - cached);
            if !self.limits.chunked && wanted > *budget {
                break;
            }
            let tokens = wanted.min(*budget);
            if !self.admit(id, &found, tokens) {
                break;
            }
            self.waiting.pop_front();
            self.running.push(id);
            self.note_admission(plan, id, cached, now);
            self.push_work(plan, id, tokens);
            *budget -= tokens;
        }
    }

    /// Blocks of the longest cached prefix; the last token is always computed,
    /// since its logits are needed.
    fn cached_prefix(&self, id: RequestId) -> Vec<BlockId> {
        let state = self.state(id);
        let usable = ((state.known_tokens() - 1) / self.cache.block_size()) as usize;
        let hashes = state.chain.hashes();
        self.cache.lookup(&hashes[..usable.min(hashes.len())])
    }

    fn admit(&mut self, id: RequestId, found: &[BlockId], tokens: u64) -> bool {
        let size = self.cache.block_size();
        let cached = found.len() as u64 * size;
        let state = self.state(id);
        let reserved =
            if self.limits.reserve_full_prompt { state.known_tokens() } else { cached + tokens };
        let needed = reserved.div_ceil(size) as usize - found.len();
        // With no running request the mark would keep a fitting request out for ever.
        let mark = if self.running.is_empty() { 0.0 } else { self.limits.watermark };
        let kept = (mark * self.cache.blocks() as f64) as usize;
        if needed + self.cache.unreferenced(found) + kept > self.cache.free_blocks() {
            return false;
        }
        self.cache.share(found);
        let state = state_mut(&mut self.states, id);
        state.blocks = found.to_vec();
        state.published = found.len();
        state.computed = cached;
        self.allocate(id, tokens)
    }

    /// Takes the blocks that `tokens` more tokens need and makes those findable
    /// that get full. False, and nothing done, where there are not enough.
    fn allocate(&mut self, id: RequestId, tokens: u64) -> bool {
        let size = self.cache.block_size();
        let state = state_mut(&mut self.states, id);
        let end = state.computed + tokens;
        let missing = (end.div_ceil(size) as usize).saturating_sub(state.blocks.len());
        let Some(taken) = self.cache.take(missing) else { return false };
        state.blocks.extend(taken);
        let hashes = state.chain.hashes();
        let full = ((end / size) as usize).min(hashes.len());
        let new = state.published.min(full)..full;
        for (block, hash) in state.blocks[new.clone()].iter().zip(&hashes[new]) {
            self.cache.publish(*block, *hash);
        }
        state.published = state.published.max(full);
        true
    }

    fn note_admission(&mut self, plan: &mut Plan, id: RequestId, cached: u64, now: f64) {
        let state = state_mut(&mut self.states, id);
        if state.admitted {
            return;
        }
        state.admitted = true;
        state.cached_tokens = cached;
        // A schedule that lags behind the clock must not admit before the arrival.
        state.times.admitted = now.max(state.times.arrived);
        plan.admitted.push(Admission {
            id,
            prompt_tokens: state.prompt_tokens,
            cached_tokens: cached,
        });
    }

    fn push_work(&self, plan: &mut Plan, id: RequestId, tokens: u64) {
        let state = self.state(id);
        let samples = state.computed + tokens == state.known_tokens();
        plan.load.add(tokens, state.computed, samples);
        plan.work.push(Work {
            id,
            tokens,
            computed: state.computed,
            samples,
            prefill: state.computed < state.prompt_tokens,
        });
    }

    fn capped(&self, tokens: u64) -> u64 {
        match self.limits.long_prefill {
            0 => tokens,
            cap => tokens.min(cap),
        }
    }

    /// Books the end of a step at `now` and returns the tokens it produced.
    pub fn complete(&mut self, plan: &Plan, now: f64) -> Vec<Produced> {
        let mut produced = Vec::with_capacity(plan.work.len());
        let mut finished = Vec::new();
        for work in &plan.work {
            let Some(state) = self.states.get_mut(&work.id) else { continue };
            state.computed += work.tokens;
            if !work.samples {
                continue;
            }
            if self.cache.caching() {
                state.chain.extend(&[text::token_id(state.output_seed, state.generated)]);
            }
            let index = state.generated;
            state.generated += 1;
            let previous = if index == 0 { state.times.arrived } else { state.times.last_token };
            if index == 0 {
                state.times.first_token = now;
            }
            state.times.last_token = now;
            let last = state.generated >= state.output_tokens;
            if last {
                finished.push(work.id);
            }
            produced.push(Produced {
                id: work.id,
                index,
                finished: last,
                previous,
                times: state.times,
                prompt_tokens: state.prompt_tokens,
                cached_tokens: state.cached_tokens,
                preemptions: state.preemptions,
            });
        }
        for id in finished {
            self.abort(id);
        }
        produced
    }

    fn state(&self, id: RequestId) -> &State {
        self.states.get(&id).expect("queued and running requests have a state")
    }
}

fn state_mut(states: &mut HashMap<RequestId, State>, id: RequestId) -> &mut State {
    states.get_mut(&id).expect("queued and running requests have a state")
}

#[cfg(test)]
mod tests;
