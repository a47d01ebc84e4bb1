//! The server's counters and their Prometheus text, with vLLM's names, labels
//! and buckets. When something is counted is decided in `engine`; the order
//! there matters: counters change after the tokens were sent.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use super::drafts::Drafts;
use super::memory::Division;
use super::scheduler::{Plan, Produced};
use super::settings::Settings;

const LATENCIES: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
];
const FIRST_TOKENS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];
const TOKEN_GAPS: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
];
const TOKENS: &[f64] =
    &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0];
const STEP_TOKENS: &[f64] =
    &[1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0];
const PREEMPTIONS: &[f64] = &[1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0];

/// Observations in buckets.
#[derive(Clone, Debug)]
struct Histogram {
    bounds: &'static [f64],
    counts: Vec<u64>,
    count: u64,
    sum: f64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len()], count: 0, sum: 0.0 }
    }

    fn observe(&mut self, value: f64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
        }
        self.count += 1;
        self.sum += value;
    }
}

/// Why a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The answer's natural end.
    Stop,
    /// `max_tokens`, or the end of the context.
    Length,
    /// The client went away.
    Abort,
}

/// All counters of one server.
#[derive(Debug)]
pub struct Metrics {
    created: f64,
    model: String,
    cache_config: String,
    /// Whether the prefix cache is in use.
    caching: bool,
    /// Requests in the batch.
    pub running: usize,
    /// Requests in the queue.
    pub waiting: usize,
    /// Share of the KV blocks in use.
    pub cache_usage: f64,
    prefix_queries: u64,
    prefix_hits: u64,
    preemptions: u64,
    prompt_tokens: u64,
    cached_tokens: u64,
    generation_tokens: u64,
    finished: [u64; 3],
    /// `None` where nothing is drafted.
    drafts: Option<Drafts>,
    histograms: Vec<(&'static str, &'static str, Histogram)>,
}

/// Places in `Metrics::histograms`.
#[derive(Clone, Copy)]
enum Series {
    PromptTokens,
    GenerationTokens,
    StepTokens,
    MaxTokens,
    FirstToken,
    InterToken,
    PerToken,
    EndToEnd,
    Queue,
    Inference,
    Prefill,
    Decode,
    Preemptions,
    Computed,
}

fn histograms() -> Vec<(&'static str, &'static str, Histogram)> {
    // In the order of `Series`.
    [
        ("request_prompt_tokens", "Number of prefill tokens processed.", TOKENS),
        ("request_generation_tokens", "Number of generation tokens processed.", TOKENS),
        ("iteration_tokens_total", "Histogram of number of tokens per engine_step.", STEP_TOKENS),
        ("request_params_max_tokens", "Histogram of the max_tokens request parameter.", TOKENS),
        (
            "time_to_first_token_seconds",
            "Histogram of time to first token in seconds.",
            FIRST_TOKENS,
        ),
        ("inter_token_latency_seconds", "Histogram of inter-token latency in seconds.", TOKEN_GAPS),
        (
            "request_time_per_output_token_seconds",
            "Histogram of time_per_output_token_seconds per request.",
            TOKEN_GAPS,
        ),
        ("e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", LATENCIES),
        (
            "request_queue_time_seconds",
            "Histogram of time spent in WAITING phase for request.",
            LATENCIES,
        ),
        (
            "request_inference_time_seconds",
            "Histogram of time spent in RUNNING phase for request.",
            LATENCIES,
        ),
        (
            "request_prefill_time_seconds",
            "Histogram of time spent in PREFILL phase for request.",
            LATENCIES,
        ),
        (
            "request_decode_time_seconds",
            "Histogram of time spent in DECODE phase for request.",
            LATENCIES,
        ),
        (
            "request_num_preemptions",
            "Histogram of the number of times a request was preempted.",
            PREEMPTIONS,
        ),
        (
            "request_prefill_kv_computed_tokens",
            "Histogram of new KV tokens computed during prefill (excluding cached tokens).",
            TOKENS,
        ),
    ]
    .into_iter()
    .map(|(name, help, bounds)| (name, help, Histogram::new(bounds)))
    .collect()
}

impl Metrics {
    /// Counters at zero.
    pub fn new(settings: &Settings, division: &Division) -> Self {
        Self {
            created: unix_seconds(),
            model: settings.served_names[0].clone(),
            cache_config: cache_config(settings, division),
            caching: settings.prefix_caching,
            running: 0,
            waiting: 0,
            cache_usage: 0.0,
            prefix_queries: 0,
            prefix_hits: 0,
            preemptions: 0,
            prompt_tokens: 0,
            cached_tokens: 0,
            generation_tokens: 0,
            finished: [0; 3],
            drafts: Drafts::of(&settings.given),
            histograms: histograms(),
        }
    }

    /// Tokens of prompts and answers so far.
    pub fn throughput_tokens(&self) -> (u64, u64) {
        (self.prompt_tokens, self.generation_tokens)
    }

    /// Share of queried prompt tokens that were cached; `None` without queries.
    pub fn hit_rate(&self) -> Option<f64> {
        (self.prefix_queries > 0).then(|| self.prefix_hits as f64 / self.prefix_queries as f64)
    }

    fn observe(&mut self, series: Series, value: f64) {
        self.histograms[series as usize].2.observe(value);
    }

    /// Counts a step that has ended.
    pub fn count_step(&mut self, plan: &Plan, produced: &[Produced]) {
        self.preemptions += plan.preempted.len() as u64;
        self.observe(Series::StepTokens, plan.load.tokens as f64);
        for admission in plan.admitted.iter().filter(|_| self.caching) {
            self.prefix_queries += admission.prompt_tokens;
            self.prefix_hits += admission.cached_tokens;
        }
        self.generation_tokens += produced.len() as u64;
        if let Some(drafts) = &mut self.drafts {
            drafts.count(produced.iter().filter(|token| token.index > 0).count() as u64);
        }
        for token in produced {
            let gap = token.times.last_token - token.previous;
            if token.index == 0 {
                self.prompt_tokens += token.prompt_tokens;
                self.cached_tokens += token.cached_tokens;
                self.observe(Series::FirstToken, gap);
            } else {
                self.observe(Series::InterToken, gap);
            }
        }
    }

    /// Counts the end of a request; `last` is its last token, which a client
    /// that went away before the first one does not have.
    pub fn count_finish(&mut self, finish: Finish, last: Option<&Produced>, max_tokens: u64) {
        self.finished[finish as usize] += 1;
        let Some(last) = last else { return };
        let times = last.times;
        let tokens = last.index + 1;
        let decode = times.last_token - times.first_token;
        self.observe(Series::PromptTokens, last.prompt_tokens as f64);
        self.observe(Series::GenerationTokens, tokens as f64);
        self.observe(Series::MaxTokens, max_tokens as f64);
        self.observe(Series::EndToEnd, times.last_token - times.arrived);
        self.observe(Series::Queue, times.admitted - times.arrived);
        self.observe(Series::Inference, times.last_token - times.admitted);
        self.observe(Series::Prefill, times.first_token - times.admitted);
        self.observe(Series::Decode, decode);
        self.observe(Series::Preemptions, last.preemptions as f64);
        self.observe(Series::Computed, (last.prompt_tokens - last.cached_tokens) as f64);
        if tokens > 1 {
            self.observe(Series::PerToken, decode / (tokens - 1) as f64);
        }
    }

    /// The exposition text.
    pub fn render(&self) -> String {
        let mut page = Page {
            text: String::with_capacity(32_768),
            model: escaped(&self.model),
            created: self.created,
        };
        page.process();
        page.gauges(self);
        page.counters(self);
        for (name, help, histogram) in &self.histograms {
            page.histogram(name, help, histogram);
        }
        page.text.push_str(&self.cache_config);
        page.text
    }
}

struct Page {
    text: String,
    model: String,
    created: f64,
}

impl Page {
    fn push(&mut self, arguments: std::fmt::Arguments) {
        self.text.write_fmt(arguments).expect("writing to a string does not fail");
        self.text.push('\n');
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.push(format_args!("# HELP {name} {help}"));
        self.push(format_args!("# TYPE {name} {kind}"));
    }

    /// The labels of every series and one more, in the order of their names.
    fn labels(&self, extra: Option<(&str, &str)>) -> String {
        let mut labels = vec![("engine", "0"), ("model_name", &self.model)];
        labels.extend(extra);
        labels.sort_unstable();
        let labels: Vec<_> =
            labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        labels.join(",")
    }

    fn gauge(&mut self, name: &str, help: &str, series: &[(Option<(&str, &str)>, f64)]) {
        self.head(&format!("vllm:{name}"), "gauge", help);
        for (label, value) in series {
            let labels = self.labels(*label);
            self.push(format_args!("vllm:{name}{{{labels}}} {value:?}"));
        }
    }

    /// A counter with its `_created` twin.
    fn counter(&mut self, name: &str, help: &str, series: &[(Option<(&str, &str)>, u64)]) {
        let created = self.created;
        for (suffix, kind) in [("total", "counter"), ("created", "gauge")] {
            self.head(&format!("vllm:{name}_{suffix}"), kind, help);
            for (label, value) in series {
                let value = if suffix == "total" { *value as f64 } else { created };
                let labels = self.labels(*label);
                self.push(format_args!("vllm:{name}_{suffix}{{{labels}}} {value:?}"));
            }
        }
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(&format!("vllm:{name}"), "histogram", help);
        let mut sum = 0;
        for (bound, count) in histogram.bounds.iter().zip(&histogram.counts) {
            sum += count;
            self.bucket(name, &format!("{bound:?}"), sum);
        }
        self.bucket(name, "+Inf", histogram.count);
        let labels = self.labels(None);
        let count = histogram.count as f64;
        self.push(format_args!("vllm:{name}_count{{{labels}}} {count:?}"));
        self.push(format_args!("vllm:{name}_sum{{{labels}}} {:?}", histogram.sum));
        let created = self.created;
        self.head(&format!("vllm:{name}_created"), "gauge", help);
        self.push(format_args!("vllm:{name}_created{{{labels}}} {created:?}"));
    }

    fn bucket(&mut self, name: &str, bound: &str, count: u64) {
        let labels = self.labels(Some(("le", bound)));
        self.push(format_args!("vllm:{name}_bucket{{{labels}}} {:?}", count as f64));
    }

    fn process(&mut self) {
        if let Some(bytes) = resident_bytes() {
            let name = "process_resident_memory_bytes";
            self.head(name, "gauge", "Resident memory size in bytes.");
            self.push(format_args!("{name} {bytes:?}"));
        }
        let name = "process_start_time_seconds";
        self.head(name, "gauge", "Start time of the process since unix epoch in seconds.");
        let created = self.created;
        self.push(format_args!("{name} {created:?}"));
    }

    fn gauges(&mut self, metrics: &Metrics) {
        let waiting = metrics.waiting as f64;
        self.gauge(
            "num_requests_running",
            "Number of requests in model execution batches.",
            &[(None, metrics.running as f64)],
        );
        self.gauge(
            "num_requests_waiting",
            "Number of requests waiting to be processed.",
            &[(None, waiting)],
        );
        self.gauge(
            "num_requests_waiting_by_reason",
            "Number of waiting requests by reason.",
            &[(Some(("reason", "capacity")), waiting), (Some(("reason", "deferred")), 0.0)],
        );
        self.gauge(
            "kv_cache_usage_perc",
            "KV-cache usage. 1 means 100 percent usage.",
            &[(None, metrics.cache_usage)],
        );
    }

    fn counters(&mut self, metrics: &Metrics) {
        self.counter(
            "prefix_cache_queries",
            "Prefix cache queries, in terms of number of queried tokens.",
            &[(None, metrics.prefix_queries)],
        );
        self.counter(
            "prefix_cache_hits",
            "Prefix cache hits, in terms of number of cached tokens.",
            &[(None, metrics.prefix_hits)],
        );
        self.counter(
            "num_preemptions",
            "Cumulative number of preemption from the engine.",
            &[(None, metrics.preemptions)],
        );
        self.counter(
            "prompt_tokens",
            "Number of prefill tokens processed.",
            &[(None, metrics.prompt_tokens)],
        );
        self.counter(
            "prompt_tokens_by_source",
            "Number of prompt tokens by source.",
            &[
                (Some(("source", "local_compute")), metrics.prompt_tokens - metrics.cached_tokens),
                (Some(("source", "local_cache_hit")), metrics.cached_tokens),
                (Some(("source", "external_kv_transfer")), 0),
            ],
        );
        self.counter(
            "prompt_tokens_cached",
            "Number of cached prompt tokens (local + external).",
            &[(None, metrics.cached_tokens)],
        );
        self.counter(
            "generation_tokens",
            "Number of generation tokens processed.",
            &[(None, metrics.generation_tokens)],
        );
        let [stop, length, abort] = metrics.finished;
        self.counter(
            "request_success",
            "Count of successfully processed requests.",
            &[
                (Some(("finished_reason", "stop")), stop),
                (Some(("finished_reason", "length")), length),
                (Some(("finished_reason", "abort")), abort),
                (Some(("finished_reason", "error")), 0),
                (Some(("finished_reason", "repetition")), 0),
            ],
        );
        if let Some(drafts) = &metrics.drafts {
            self.drafts(drafts);
        }
    }

    fn drafts(&mut self, drafts: &Drafts) {
        for (name, help, count) in [
            ("num_drafts", "Number of spec decoding drafts.", drafts.made),
            ("num_draft_tokens", "Number of draft tokens.", drafts.drafted()),
            ("num_accepted_tokens", "Number of accepted tokens.", drafts.accepted()),
        ] {
            self.counter(&format!("spec_decode_{name}"), help, &[(None, count)]);
        }
        let places: Vec<String> = (0..drafts.accepted_at.len()).map(|at| at.to_string()).collect();
        let counts = places.iter().zip(&drafts.accepted_at);
        let series: Vec<_> =
            counts.map(|(place, count)| (Some(("position", &**place)), *count)).collect();
        let help = "Accepted tokens per draft position.";
        self.counter("spec_decode_num_accepted_tokens_per_pos", help, &series);
    }
}

fn cache_config(settings: &Settings, division: &Division) -> String {
    let python = |on: bool| if on { "True" } else { "False" };
    let concurrency = division.tokens as f64 / settings.max_model_len as f64;
    let bytes = settings.kv_cache_memory_bytes.map_or("None".into(), |bytes| bytes.to_string());
    let blocks_override = settings.blocks_override.map_or("None".into(), |n| n.to_string());
    let name = "vllm:cache_config_info";
    format!(
        "# HELP {name} Information of the LLMEngine CacheConfig\n# TYPE {name} gauge\n\
         {name}{{_block_size_resolved=\"True\",block_size=\"{}\",cache_dtype=\"{}\",\
         effective_attention_block_size=\"{}\",enable_prefix_caching=\"{}\",engine=\"0\",\
         gpu_memory_utilization=\"{:?}\",is_attention_free=\"False\",\
         kv_cache_max_concurrency=\"{concurrency:?}\",kv_cache_memory_bytes=\"{bytes}\",\
         kv_cache_size_tokens=\"{}\",num_cpu_blocks=\"None\",num_gpu_blocks=\"{}\",\
         num_gpu_blocks_override=\"{blocks_override}\",prefix_caching_hash_algo=\"sha256\",\
         simulated=\"True\",sliding_window=\"None\",user_specified_block_size=\"{}\"}} 1.0\n",
        settings.block_size,
        escaped(&settings.kv_cache_dtype),
        settings.block_size,
        python(settings.prefix_caching),
        settings.utilization,
        division.tokens,
        division.blocks,
        python(settings.given.contains_key("block-size")),
    )
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

/// Resident memory of this process; `None` where the system does not report it.
fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kilobytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024.0)
}
