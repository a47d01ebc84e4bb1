//! From a step's plan to its duration: the cost model with the launch's noise. It also
//! replays arrivals in virtual time, without clock or sockets: so the physics is tested,
//! and statistics can be tried at no cost.

use std::collections::HashMap;

use super::cost::CostModel;
use super::drift::Machine;
use super::noise::Noise;
use super::scheduler::{Plan, Request, RequestId, Scheduler};

/// Computes how long steps take.
#[derive(Debug)]
pub struct Pace {
    cost: CostModel,
    noise: Noise,
    /// Requests whose prefill is the first of its size.
    slow: HashMap<RequestId, f64>,
    /// A machine whose speed moves.
    machine: Option<Machine>,
    /// The machine's time when the launch began to serve, simulated seconds.
    since: f64,
}

impl Pace {
    /// The pace of one launch.
    pub fn new(cost: CostModel, noise: Noise) -> Self {
        Self { cost, noise, slow: HashMap::new(), machine: None, since: 0.0 }
    }

    /// The same on a machine whose speed moves; `since` is the machine's time when the
    /// launch begins to serve, simulated seconds.
    #[must_use]
    pub fn on(self, machine: Option<Machine>, since: f64) -> Self {
        Self { machine, since, ..self }
    }

    /// Simulated seconds that this step takes. It begins so many simulated seconds
    /// after the launch began to serve.
    pub fn step_seconds(&mut self, plan: &Plan, begins: f64) -> f64 {
        for admission in &plan.admitted {
            let factor = self.noise.prompt(admission.prompt_tokens);
            if factor > 1.0 {
                self.slow.insert(admission.id, factor);
            }
        }
        let mut slowest: f64 = 1.0;
        if !self.slow.is_empty() {
            for work in plan.work.iter().filter(|work| work.prefill) {
                slowest = slowest.max(self.slow.get(&work.id).copied().unwrap_or(1.0));
                if work.samples {
                    self.slow.remove(&work.id);
                }
            }
        }
        let seconds = self.cost.step_seconds(&plan.load) * self.noise.step() * slowest;
        match &mut self.machine {
            Some(machine) => seconds / machine.speed(self.since + begins),
            None => seconds,
        }
    }
}

/// What happened to a request in virtual time, seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// The request.
    pub id: RequestId,
    /// Arrival.
    pub arrived: f64,
    /// First admission.
    pub admitted: f64,
    /// When each token was generated.
    pub tokens: Vec<f64>,
    /// Prompt tokens found in the prefix cache.
    pub cached_tokens: u64,
    /// How often it was preempted.
    pub preemptions: u64,
}

impl Trace {
    /// Seconds from arrival to the first token.
    pub fn time_to_first_token(&self) -> f64 {
        self.tokens.first().map_or(f64::NAN, |first| first - self.arrived)
    }

    /// The longest gap between two tokens, seconds.
    pub fn longest_gap(&self) -> f64 {
        self.tokens.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max)
    }
}

/// Plays `arrivals` (time and request, in order of time) until all are answered.
pub fn replay(
    scheduler: &mut Scheduler,
    pace: &mut Pace,
    arrivals: &[(f64, Request)],
) -> Vec<Trace> {
    let mut traces: Vec<Trace> = arrivals
        .iter()
        .map(|(arrived, request)| Trace { id: request.id, arrived: *arrived, ..Trace::default() })
        .collect();
    let places: HashMap<_, _> =
        traces.iter().enumerate().map(|(place, trace)| (trace.id, place)).collect();
    let mut upcoming = arrivals.iter().peekable();
    let mut now = 0.0;
    loop {
        while let Some((arrived, request)) = upcoming.next_if(|(arrived, _)| *arrived <= now) {
            scheduler.add(request, *arrived);
        }
        let Some(plan) = scheduler.schedule(now) else {
            match upcoming.peek() {
                Some((arrived, _)) => now = *arrived,
                None => return traces,
            }
            continue;
        };
        now += pace.step_seconds(&plan, now);
        for token in scheduler.complete(&plan, now) {
            let trace = &mut traces[places[&token.id]];
            trace.tokens.push(now);
            trace.admitted = token.times.admitted;
            trace.cached_tokens = token.cached_tokens;
            trace.preemptions = token.preemptions;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::simulator::drift::Drift;
    use crate::simulator::kv_cache::KvCache;
    use crate::simulator::memory;
    use crate::simulator::profile;
    use crate::simulator::scheduler::Limits;
    use crate::simulator::settings::Settings;
    use crate::simulator::text::mix;

    /// Plays arrivals on a launch with these flags, on one RTX 4090.
    fn play(seed: u64, flags: &Value, arrivals: &[(f64, Request)]) -> Vec<Trace> {
        play_on(None, seed, flags, arrivals)
    }

    /// The same on a machine that drifts, at a time of its own.
    fn play_on(
        machine: Option<(Machine, f64)>,
        seed: u64,
        flags: &Value,
        arrivals: &[(f64, Request)],
    ) -> Vec<Trace> {
        let mut given = json!({"max-model-len": 16384});
        given.as_object_mut().unwrap().extend(flags.as_object().unwrap().clone());
        let flags = serde_json::from_value(given).unwrap();
        let gpu = profile::gpu("rtx-4090").unwrap();
        let environment = BTreeMap::new();
        let settings =
            Settings::from_flags("Qwen/Qwen3-8B", &flags, &environment, gpu, 1, None).unwrap();
        let division = memory::divide(&settings, 0.0).unwrap();
        let cache = KvCache::new(division.blocks, settings.block_size, settings.prefix_caching);
        let mut scheduler = Scheduler::new(Limits::of(&settings), cache);
        let pace = Pace::new(CostModel::new(&settings), Noise::new(seed, 0));
        let mut pace = match machine {
            Some((machine, since)) => pace.on(Some(machine), since),
            None => pace,
        };
        replay(&mut scheduler, &mut pace, arrivals)
    }

    fn request(id: RequestId, text: u64, prompt: u64, output: u64) -> Request {
        Request {
            id,
            prompt: (0..prompt).map(|index| mix(text, index) as u32).collect(),
            cache_salt: None,
            output_seed: id,
            output_tokens: output,
        }
    }

    /// `count` requests at once.
    fn burst(count: u64, prompt: u64, output: u64) -> Vec<(f64, Request)> {
        (0..count).map(|id| (0.0, request(id, id, prompt, output))).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule_and_another_one_another() {
        let arrivals: Vec<_> =
            (0..40).map(|id| (id as f64 * 0.05, request(id, id, 300 + 50 * id, 40))).collect();
        let first = play(1, &json!({}), &arrivals);
        assert_eq!(first, play(1, &json!({}), &arrivals));
        assert_ne!(first, play(2, &json!({}), &arrivals));
    }

    #[test]
    fn a_drifting_machine_slows_prefill_and_decode_alike_and_one_that_does_not_changes_no_bit() {
        let arrivals = [(0.0, request(0, 1, 4096, 40)), (10.0, request(1, 2, 4096, 40))];
        let on = |drift: &str, since: f64| {
            let machine = Drift::parse(drift).unwrap().machine(1);
            play_on(Some((machine, since)), 1, &json!({}), &arrivals)
        };
        let calm = play(1, &json!({}), &arrivals);
        assert_eq!(on("step:factor=0.5,at=100d", 0.0), calm);
        // The machine's time is not the launch's: its step comes 5 s after the launch began.
        let stepped = on("step:factor=0.5,at=1h", 3595.0);
        assert_eq!(stepped[0], calm[0]);
        let ratio = |of: fn(&Trace) -> f64| of(&stepped[1]) / of(&calm[1]);
        let decode = |trace: &Trace| trace.tokens[39] - trace.tokens[0];
        assert!((ratio(Trace::time_to_first_token) - 2.0).abs() < 1e-9);
        assert!((ratio(decode) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn a_resent_prefix_is_faster_only_with_caching_on() {
        // A warm-up of the same size, then the same prompt twice.
        let arrivals = [
            (0.0, request(0, 9, 4096, 4)),
            (10.0, request(1, 7, 4096, 4)),
            (20.0, request(2, 7, 4096, 4)),
        ];
        let ratio = |caching: bool| {
            let traces = play(1, &json!({"enable-prefix-caching": caching}), &arrivals);
            assert_eq!(traces[2].cached_tokens, if caching { 4080 } else { 0 });
            traces[1].time_to_first_token() / traces[2].time_to_first_token()
        };
        assert!(ratio(true) > 10.0, "{}", ratio(true));
        assert!((0.9..1.1).contains(&ratio(false)), "{}", ratio(false));
    }

    #[test]
    fn the_first_prompt_of_a_launch_is_slow() {
        let arrivals = [(0.0, request(0, 1, 4096, 4)), (10.0, request(1, 2, 4096, 4))];
        let traces = play(3, &json!({}), &arrivals);
        let ratio = traces[0].time_to_first_token() / traces[1].time_to_first_token();
        assert!((1.3..2.0).contains(&ratio), "{ratio}");
    }

    #[test]
    fn chunking_bounds_the_gap_between_tokens_while_a_long_prompt_arrives() {
        let arrivals = [
            (0.0, request(0, 1, 12000, 1)),
            (10.0, request(1, 2, 100, 300)),
            (11.0, request(2, 3, 12000, 4)),
        ];
        let gap = |flags: Value| play(1, &flags, &arrivals)[1].longest_gap();
        let small = gap(json!({"max-num-batched-tokens": 512}));
        let whole = gap(json!({"enable-chunked-prefill": false}));
        assert!(whole > 5.0 * small, "whole {whole} s, in chunks of 512 {small} s");
    }

    #[test]
    fn more_memory_means_fewer_preemptions_under_load() {
        let arrivals = burst(60, 600, 800);
        let preemptions = |utilization: f64| -> u64 {
            let flags = json!({
                "gpu-memory-utilization": utilization, "max-model-len": 4096,
                "max-num-seqs": 60,
            });
            let traces = play(1, &flags, &arrivals);
            assert!(traces.iter().all(|trace| trace.tokens.len() == 800), "all are answered");
            traces.iter().map(|trace| trace.preemptions).sum()
        };
        let counts: Vec<u64> = [0.80, 0.88, 0.95].into_iter().map(preemptions).collect();
        assert!(counts[0] > counts[1] && counts[1] > counts[2], "{counts:?}");
    }

    #[test]
    fn fewer_sequences_mean_more_queueing_and_less_throughput() {
        let arrivals = burst(64, 200, 100);
        let run = |sequences: u64| {
            let traces = play(1, &json!({"max-num-seqs": sequences}), &arrivals);
            let queued = traces.iter().map(|t| t.admitted - t.arrived).sum::<f64>() / 64.0;
            let end = traces.iter().filter_map(|t| t.tokens.last()).fold(0.0_f64, |a, b| a.max(*b));
            (queued, end)
        };
        let (few, many) = (run(4), run(64));
        assert!(few.0 > 5.0 * many.0, "queued {few:?} {many:?}");
        assert!(few.1 > 3.0 * many.1, "finished {few:?} {many:?}");
    }

    #[test]
    fn an_answer_sent_back_as_history_is_found_in_the_cache() {
        let first = request(0, 5, 1000, 120);
        let mut second = request(1, 5, 1000, 8);
        second.prompt.extend((0..120).map(|index| super::super::text::token_id(0, index)));
        second.prompt.extend((0..50).map(|index| mix(6, index) as u32));
        let traces = play(1, &json!({}), &[(0.0, first), (60.0, second)]);
        // The last generated token is never computed: 1119 tokens are, in 69 blocks.
        assert_eq!(traces[1].cached_tokens, 69 * 16);
    }
}
