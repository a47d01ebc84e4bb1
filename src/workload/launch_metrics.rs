//! Metrics of a launch itself, which no workload measures: how long its server took to be
//! ready, and how much space its KV cache has. One value for each launch; how they are read
//! is in `history`.

use crate::metric::{Direction, Metric};

/// What opens their names: `launch.boot_seconds`.
pub const LAUNCH: &str = "launch";

/// Where figures of the KV cache come from.
const CACHE: &str = "the server's `vllm:cache_config_info`, or its log";

/// The metrics of launches.
pub const LAUNCH_METRICS: &[Metric] = &[
    Metric::new(
        LAUNCH,
        "boot_seconds",
        "s",
        Direction::Lower,
        "From the start of the engine to its first answered completion.",
        "clock",
    ),
    Metric::new(
        LAUNCH,
        "kv_cache_tokens",
        "tokens",
        Direction::Higher,
        "Tokens that the KV cache holds; where the server does not say so, its blocks times their size. Null where it shows neither.",
        CACHE,
    ),
    Metric::new(
        LAUNCH,
        "kv_cache_windows",
        "ratio",
        Direction::Higher,
        "Tokens that the KV cache holds over the context length: how many requests of the longest kind fit at once.",
        CACHE,
    ),
    Metric::new(
        LAUNCH,
        "max_concurrency",
        "requests",
        Direction::Higher,
        "Requests of the full context that the engine says it can hold at once. It differs from `kv_cache_windows` where layers keep less than the context (sliding windows).",
        CACHE,
    ),
    Metric::new(
        LAUNCH,
        "gpu_memory_mib",
        "MiB",
        Direction::Lower,
        "GPU memory in use after the server was ready: mean over the launch's first repeat, sum of the GPUs. Null where no GPU was sampled.",
        "NVML, or nvidia-smi",
    ),
];
