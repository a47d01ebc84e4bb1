//! The server's own counters from `/metrics`: they certify a cache hit, show foreign
//! traffic, and contain the configuration of the cache. The text format is read in
//! `prometheus`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::server::http::Http;
use crate::server::prometheus::{Scrape, whole};
use crate::server::speculation::Speculation;

const METRICS: Duration = Duration::from_secs(10);
const RESIDENT: &str = "process_resident_memory_bytes";
const STARTED: &str = "process_start_time_seconds";
/// Seconds by which the reported start of one process may vary: some servers compute it
/// from a clock that is adjusted.
const START_TOLERANCE: f64 = 2.0;
const REQUESTS: &str = "vllm:request_success_total";
const CACHE_CONFIG: &str = "vllm:cache_config_info";

/// One reading of `/metrics`. What a server does not support is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// Prompt tokens looked up in the prefix cache, since the start.
    pub prefix_queries: Option<u64>,
    /// Prompt tokens found in the prefix cache, since the start.
    pub prefix_hits: Option<u64>,
    /// Prompt tokens processed, since the start.
    pub prompt_tokens: Option<u64>,
    /// Tokens generated, since the start.
    pub generation_tokens: Option<u64>,
    /// Requests finished, for whatever reason, since the start.
    pub requests: Option<u64>,
    /// Preemptions, since the start.
    pub preemptions: Option<u64>,
    /// Requests that are being processed.
    pub running: Option<f64>,
    /// Requests that wait.
    pub waiting: Option<f64>,
    /// Share of the KV cache in use, of the fullest engine.
    pub kv_usage: Option<f64>,
    /// Seconds that finished requests waited in all, since the start.
    pub queue_seconds: Option<f64>,
    /// Requests that `queue_seconds` is the sum of.
    pub queued: Option<u64>,
    /// What speculative decoding did since the start; all absent without it.
    #[serde(default)]
    pub speculation: Speculation,
    /// Resident memory of the server's API process, bytes.
    pub resident_bytes: Option<f64>,
    /// When the server's API process began, in seconds since the Unix epoch.
    pub started: Option<f64>,
    /// Labels of `vllm:cache_config_info`; empty where there is none.
    pub cache_config: BTreeMap<String, String>,
    /// The engines that the counters are sums over, by their label; each has a cache of its
    /// own.
    #[serde(default)]
    pub engines: BTreeSet<String>,
}

impl Counters {
    /// Reads Prometheus text.
    pub fn parse(text: &str) -> Self {
        let scrape = Scrape::parse_where(text, |name| {
            [RESIDENT, STARTED].contains(&name)
                || (name.starts_with("vllm:")
                    && !name.ends_with("_bucket")
                    && !name.ends_with("_created"))
        });
        let count = |names: &[&str]| whole(names.iter().find_map(|name| scrape.sum(name))?);
        let gauge = |sum: Option<f64>| sum.filter(|value| value.is_finite());
        Self {
            prefix_queries: count(&[
                "vllm:prefix_cache_queries_total",
                "vllm:gpu_prefix_cache_queries_total",
            ]),
            prefix_hits: count(&[
                "vllm:prefix_cache_hits_total",
                "vllm:gpu_prefix_cache_hits_total",
            ]),
            prompt_tokens: count(&["vllm:prompt_tokens_total"]),
            generation_tokens: count(&["vllm:generation_tokens_total"]),
            requests: count(&[REQUESTS]),
            preemptions: count(&["vllm:num_preemptions_total"]),
            running: gauge(scrape.sum("vllm:num_requests_running")),
            waiting: gauge(scrape.sum("vllm:num_requests_waiting")),
            kv_usage: gauge(
                scrape
                    .max("vllm:kv_cache_usage_perc")
                    .or_else(|| scrape.max("vllm:gpu_cache_usage_perc")),
            ),
            queue_seconds: gauge(scrape.sum("vllm:request_queue_time_seconds_sum")),
            queued: count(&["vllm:request_queue_time_seconds_count"]),
            speculation: Speculation::of(&scrape),
            resident_bytes: gauge(scrape.sum(RESIDENT)),
            started: gauge(scrape.max(STARTED)),
            cache_config: scrape
                .named(CACHE_CONFIG)
                .next()
                .map(|sample| sample.labels.iter().cloned().collect())
                .unwrap_or_default(),
            engines: scrape.labels(REQUESTS, "engine").map(str::to_owned).collect(),
        }
    }

    /// Scrapes `/metrics`; `None` where it is not supported or not reachable.
    pub async fn scrape(http: &Http) -> Option<Self> {
        let answer = http.get("/metrics", METRICS).await.ok()?;
        (answer.status == 200).then(|| Self::parse(&answer.body))
    }

    /// Whether the server shows enough to certify requests.
    pub fn can_certify(&self) -> bool {
        self.requests.is_some() && self.prompt_tokens.is_some()
    }

    /// Whether these are of a server that was restarted since `before`: a counter
    /// went back, or its process is another one.
    pub fn is_restarted_since(&self, before: &Self) -> bool {
        let back =
            |now: Option<u64>, before: Option<u64>| now.zip(before).is_some_and(|(n, b)| n < b);
        let began = self.started.zip(before.started);
        back(self.requests, before.requests)
            || back(self.prompt_tokens, before.prompt_tokens)
            || began.is_some_and(|(now, before)| now - before > START_TOLERANCE)
    }

    /// Whether both are of one process, as far as its time of start shows.
    pub fn is_of_process(&self, other: &Self) -> bool {
        let began = self.started.zip(other.started);
        began.is_none_or(|(one, other)| (one - other).abs() <= START_TOLERANCE)
    }

    /// Tokens per KV block, where it is shown.
    pub fn block_size(&self) -> Option<u64> {
        self.cache_config.get("block_size")?.parse().ok().filter(|size| *size > 0)
    }

    /// Whether prefix caching is on, where it is shown.
    pub fn prefix_caching(&self) -> Option<bool> {
        match self.cache_config.get("enable_prefix_caching").map(String::as_str) {
            Some("True" | "true") => Some(true),
            Some("False" | "false") => Some(false),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as vLLM 0.32.0 wrote them.
    const TEXT: &str = r#"
vllm:num_requests_running{engine="0",model_name="m"} 1.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.5
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 80116.0
vllm:prefix_cache_queries_total{engine="1",model_name="m"} 4.0
vllm:prefix_cache_queries_created{engine="0",model_name="m"} 1.795500806328309e+09
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 17024.0
vllm:prompt_tokens_total{engine="0",model_name="m"} 80116.0
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 1.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 26.0
vllm:request_success_created{engine="0",finished_reason="length",model_name="m"} 1.7955008062286902e+09
vllm:request_prompt_tokens_bucket{engine="0",le="1.0",model_name="m"} 0.0
vllm:spec_decode_num_draft_tokens_total{engine="0",model_name="m"} 96.0
vllm:cache_config_info{block_size="128",enable_prefix_caching="True",engine="0",kv_cache_dtype_skip_layers="[]"} 1.0
"#;

    #[test]
    fn sums_over_engines_and_reasons() {
        let counters = Counters::parse(TEXT);
        assert_eq!(counters.prefix_queries, Some(80120));
        assert_eq!(counters.prefix_hits, Some(17024));
        assert_eq!(counters.requests, Some(27));
        assert_eq!(counters.running, Some(1.0));
        assert_eq!(counters.engines.iter().collect::<Vec<_>>(), ["0"]);
        assert_eq!(counters.kv_usage, Some(0.5));
        assert_eq!(counters.preemptions, None);
        assert_eq!(counters.speculation.draft_tokens, Some(96));
        assert_eq!((counters.block_size(), counters.prefix_caching()), (Some(128), Some(true)));
        assert!(counters.can_certify());
    }

    #[test]
    fn a_server_without_them_shows_nothing() {
        let counters = Counters::parse("llamacpp:prompt_tokens_total 4\n");
        assert_eq!(counters, Counters::default());
        assert!(!counters.can_certify());
    }

    #[test]
    fn a_restart_is_a_counter_that_went_back_or_another_process() {
        let read = |requests: u64, started: f64| {
            Counters::parse(&format!(
                "vllm:request_success_total {requests}.0\nvllm:prompt_tokens_total 9.0\n\
                 process_start_time_seconds {started:e}\n"
            ))
        };
        let before = read(5, 1.795_501_505_53e9);
        assert!(!read(6, 1.795_501_506_53e9).is_restarted_since(&before), "a clock was set");
        assert!(read(4, 1.795_501_505_53e9).is_restarted_since(&before));
        assert!(read(6, 1.795_501_525_53e9).is_restarted_since(&before));
        assert!(!Counters::default().is_restarted_since(&before), "nothing is shown");
    }
}
