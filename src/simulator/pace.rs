//! From a step's plan to its duration: the cost model with the launch's noise.
//! Also plays given arrivals in virtual time, without clock or sockets, which is
//! how the physics is tested and how statistics can be tried at no cost.

use std::collections::HashMap;

use super::cost::CostModel;
use super::noise::Noise;
use super::scheduler::{Plan, Request, RequestId, Scheduler};

/// Tells how long steps take.
#[derive(Debug)]
pub struct Pace {
    cost: CostModel,
    noise: Noise,
    /// Requests whose prefill is the first of its size.
    slow: HashMap<RequestId, f64>,
}

impl Pace {
    /// The pace of one launch.
    pub fn new(cost: CostModel, noise: Noise) -> Self {
        Self { cost, noise, slow: HashMap::new() }
    }

    /// Simulated seconds that this step takes.
    pub fn step_seconds(&mut self, plan: &Plan) -> f64 {
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
        self.cost.step_seconds(&plan.load) * self.noise.step() * slowest
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
    /// When each token came.
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
        now += pace.step_seconds(&plan);
        for token in scheduler.complete(&plan, now) {
            let trace = &mut traces[places[&token.id]];
            trace.tokens.push(now);
            trace.admitted = token.times.admitted;
            trace.cached_tokens = token.cached_tokens;
            trace.preemptions = token.preemptions;
        }
    }
}
