//! How long an engine step takes: a roofline over weights and KV cache, a fixed
//! overhead, and the all-reduces of tensor parallelism. Seconds of simulated
//! time; noise is in `noise`.
//!
//! Sources: the roofline model (Williams, Waterman, Patterson, CACM 52(4), 2009)
//! applied to transformer inference as in "Efficiently Scaling Transformer
//! Inference" (Pope et al., 2022, arXiv 2211.05102): 2 FLOPs per parameter and
//! token for the linear layers, 4 x layers x heads x head_dim per pair of query
//! and key for attention; a step reads all weights once and each sequence's KV
//! cache once. All-reduce of a ring: 2 (n - 1) / n of the bytes over the slowest
//! link (Patarasuk and Yuan, 2009), two per layer (Shoeybi et al., Megatron-LM,
//! arXiv 1909.08053).

use super::profile::WeightFormat;
use super::settings::Settings;

/// Share of the peak bandwidth that streaming kernels reach.
const BANDWIDTH_EFFICIENCY: f64 = 0.82;
/// Share of the peak FLOPs that large matrix products reach.
const COMPUTE_EFFICIENCY: f64 = 0.62;
/// Attention kernels stay further below the peak.
const ATTENTION_EFFICIENCY: f64 = 0.40;
/// Unpacking 4-bit weights costs a part of the compute-bound rate (Marlin, arXiv 2408.11743).
const AWQ_EFFICIENCY: f64 = 0.85;
/// Scheduling, input preparation and sampling of a step, seconds.
const STEP_OVERHEAD: f64 = 0.9e-3;
/// The same per sequence of the batch, seconds.
const SEQUENCE_OVERHEAD: f64 = 12.0e-6;
/// Kernel launches of one layer without CUDA graphs, seconds.
const EAGER_LAYER_OVERHEAD: f64 = 0.12e-3;
/// The largest batch for which vLLM captures CUDA graphs, tokens.
const LARGEST_GRAPH: u64 = 512;
/// Launches of a layer that overlap with compute when a step is too large for a graph, seconds.
const PREFILL_LAYER_OVERHEAD: f64 = 0.03e-3;

/// What one step has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Tokens that go through the layers.
    pub tokens: u64,
    /// Sequences in the batch.
    pub sequences: u64,
    /// Sequences that get a token, for which logits are computed.
    pub sampled: u64,
    /// Sum over sequences of the tokens whose keys and values are read.
    pub context: u64,
    /// Pairs of query and key: for `n` new tokens after `c` earlier ones
    /// n c + n (n + 1) / 2.
    pub pairs: f64,
}

impl Load {
    /// Adds a sequence with `new` tokens after `computed` ones.
    pub fn add(&mut self, new: u64, computed: u64, samples: bool) {
        self.tokens += new;
        self.sequences += 1;
        self.sampled += u64::from(samples);
        self.context += computed + new;
        self.pairs += new as f64 * computed as f64 + (new * (new + 1)) as f64 / 2.0;
    }
}

/// The constants of one launch, computed once.
#[derive(Clone, Debug, PartialEq)]
pub struct CostModel {
    layer_bytes: f64,
    head_bytes: f64,
    layer_flops_per_token: f64,
    head_flops_per_token: f64,
    attention_flops_per_pair: f64,
    kv_bytes_per_token: f64,
    bandwidth: f64,
    linear_rate: f64,
    attention_rate: f64,
    layers: f64,
    eager: bool,
    all_reduces: f64,
    all_reduce_latency: f64,
    all_reduce_seconds_per_token: f64,
}

impl CostModel {
    /// The cost model of a launch.
    pub fn new(settings: &Settings) -> Self {
        let (model, gpu) = (&settings.model, &settings.gpu);
        let shards = settings.tensor_parallel as f64;
        let head = model.embedding_parameters();
        let peak = match model.weights {
            WeightFormat::Bf16 => gpu.flops_16bit,
            WeightFormat::Awq => gpu.flops_16bit * AWQ_EFFICIENCY,
            WeightFormat::Fp8 => gpu.flops_fp8.unwrap_or(gpu.flops_16bit),
        };
        let layers = model.layers as f64;
        let message = model.hidden as f64 * 2.0 * 2.0 * (shards - 1.0) / shards;
        let reduces = if shards > 1.0 { 2.0 * layers } else { 0.0 };
        Self {
            layer_bytes: model.layer_weight_bytes() / shards,
            head_bytes: head * 2.0 / shards,
            layer_flops_per_token: 2.0 * model.layer_parameters() / shards,
            head_flops_per_token: 2.0 * head / shards,
            attention_flops_per_pair: 4.0 * layers * (model.heads * model.head_dim) as f64 / shards,
            // Pipeline stages run one after another: all of the cache counts.
            kv_bytes_per_token: settings.kv_bytes_per_token() * settings.pipeline_parallel as f64,
            bandwidth: gpu.bandwidth * BANDWIDTH_EFFICIENCY,
            linear_rate: peak * COMPUTE_EFFICIENCY,
            attention_rate: gpu.flops_16bit * ATTENTION_EFFICIENCY,
            layers,
            eager: settings.enforce_eager,
            all_reduces: reduces,
            all_reduce_latency: gpu.link_latency * (shards - 1.0),
            all_reduce_seconds_per_token: message / gpu.link_bandwidth,
        }
    }

    /// Seconds that a step takes.
    pub fn step_seconds(&self, load: &Load) -> f64 {
        let tokens = load.tokens as f64;
        let layers = (self.layer_bytes / self.bandwidth)
            .max(self.layer_flops_per_token * tokens / self.linear_rate);
        let head = (self.head_bytes / self.bandwidth)
            .max(self.head_flops_per_token * load.sampled as f64 / self.linear_rate);
        let attention = (self.kv_bytes_per_token * load.context as f64 / self.bandwidth)
            .max(self.attention_flops_per_pair * load.pairs / self.attention_rate);
        let reduces = self.all_reduces
            * (self.all_reduce_latency + self.all_reduce_seconds_per_token * tokens);
        let launches = if self.eager {
            self.layers * EAGER_LAYER_OVERHEAD
        } else if load.tokens > LARGEST_GRAPH {
            self.layers * PREFILL_LAYER_OVERHEAD
        } else {
            0.0
        };
        // Without graphs the GPU waits for launches only where it has less to do.
        let device = (layers + head + attention).max(launches);
        STEP_OVERHEAD + SEQUENCE_OVERHEAD * load.sequences as f64 + device + reduces
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::simulator::profile;

    fn cost(model: &str, gpu: &str, flags: Value) -> CostModel {
        let flags = serde_json::from_value(flags).unwrap();
        let gpu = profile::gpu(gpu).unwrap();
        CostModel::new(
            &Settings::from_flags(model, &flags, &BTreeMap::new(), gpu, 2, None).unwrap(),
        )
    }

    fn step(cost: &CostModel, new: u64, computed: u64) -> f64 {
        let mut load = Load::default();
        load.add(new, computed, true);
        cost.step_seconds(&load)
    }

    /// The user measured 55 tokens a second with this model on two 4090s.
    #[test]
    fn the_users_machine_decodes_at_about_the_measured_rate() {
        let flags = json!({"tensor-parallel-size": 2, "kv-cache-dtype": "fp8"});
        let rate = 1.0 / step(&cost("Qwen/Qwen3-32B-AWQ", "rtx-4090", flags), 1, 500);
        assert!((45.0..65.0).contains(&rate), "{rate} tokens/s");
    }

    #[test]
    fn decode_is_bound_by_bandwidth_and_prefill_by_compute() {
        let cost = cost("Qwen/Qwen3-8B", "rtx-4090", json!({"max-model-len": 8192}));
        let one = step(&cost, 1, 100);
        let mut batch = Load::default();
        (0..32).for_each(|_| batch.add(1, 100, true));
        assert!(cost.step_seconds(&batch) < 1.2 * one, "32 sequences cost hardly more than one");
        let (half, whole) = (step(&cost, 1024, 0), step(&cost, 2048, 0));
        assert!((1.8..2.3).contains(&(whole / half)), "prefill grows with its tokens");
    }

    #[test]
    fn faster_memory_decodes_faster_and_eager_mode_slower() {
        let decode = |gpu, flags| step(&cost("Qwen/Qwen3-1.7B", gpu, flags), 1, 1000);
        let (ada, ampere, hopper) =
            (decode("rtx-4090", json!({})), decode("a100", json!({})), decode("h100", json!({})));
        assert!(ada > ampere && ampere > hopper);
        assert!(decode("h100", json!({"enforce-eager": true})) > 1.5 * hopper);
    }

    #[test]
    fn a_slow_link_makes_tensor_parallelism_expensive_in_prefill() {
        let prefill = |gpu, size: u64| {
            let flags = json!({"tensor-parallel-size": size, "max-model-len": 8192});
            step(&cost("Qwen/Qwen3-8B", gpu, flags), 2048, 0)
        };
        let gain = |gpu| prefill(gpu, 1) / prefill(gpu, 2);
        assert!(gain("h100") > 1.6, "{}", gain("h100"));
        assert!(gain("rtx-4090") < 1.5, "{}", gain("rtx-4090"));
    }
}
