//! What fits into a GPU: weights, activations and fixed parts come off
//! utilisation x memory, the rest becomes KV blocks. Too little or too much ends
//! the start with vLLM's line. Estimates per GPU, in bytes.
//!
//! The procedure is vLLM's own (`Worker.determine_available_memory`): free
//! memory is checked against the request at start-up, a profiling run measures
//! the peak of activations, what remains of the request is KV cache; CUDA
//! graphs and the CUDA context live outside the request.

use super::profile::GIB;
use super::settings::Settings;

/// CUDA context and libraries of one process, outside of the request.
const CONTEXT: f64 = 0.4 * GIB;
/// Buffers outside of PyTorch's allocator inside the request: cuBLAS, workspaces.
const LIBRARIES: f64 = 0.1 * GIB;
/// NCCL's buffers where several GPUs work together.
const NCCL: f64 = 0.35 * GIB;
/// Copies of fp32 logits in memory at the peak of sampling: logits, sorted values, probabilities.
const LOGIT_COPIES: f64 = 3.0;

/// How the memory of one GPU is divided, bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Division {
    /// Weights.
    pub weights: f64,
    /// Peak of activations in the profiling run.
    pub activations: f64,
    /// Libraries and communication buffers.
    pub fixed: f64,
    /// CUDA graphs, outside of the request.
    pub graphs: f64,
    /// What the KV cache gets.
    pub kv_cache: f64,
    /// Blocks that this gives.
    pub blocks: u64,
    /// Tokens in them.
    pub tokens: u64,
}

/// Why a launch does not fit.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MemoryError {
    /// Other programs use the memory, or too much of it is requested.
    #[error(
        "ValueError: Free memory on device cuda:0 ({free:.2}/{total:.2} GiB) on startup is less \
         than desired GPU memory utilization ({utilization}, {requested:.2} GiB). Decrease GPU \
         memory utilization or reduce GPU memory used by other processes."
    )]
    NotFree {
        /// Free memory, GiB.
        free: f64,
        /// The GPU's memory, GiB.
        total: f64,
        /// The requested utilisation.
        utilization: f64,
        /// The memory that this means, GiB.
        requested: f64,
    },
    /// The weights or the profiling run do not fit.
    #[error(
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate {tried:.2} GiB. GPU 0 has a \
         total capacity of {total:.2} GiB of which {free:.2} GiB is free."
    )]
    OutOfMemory {
        /// The allocation that failed, GiB.
        tried: f64,
        /// The GPU's memory, GiB.
        total: f64,
        /// Free memory, GiB.
        free: f64,
    },
    /// The request leaves nothing outside of it for graphs and warm-up.
    #[error(
        "RuntimeError: CUDA out of memory occurred when warming up sampler with {sequences} dummy \
         requests. Please try lowering `max_num_seqs` or `gpu_memory_utilization` when \
         initializing the engine."
    )]
    WarmUp {
        /// Sequences of the warm-up.
        sequences: u64,
    },
    /// Nothing is left for the cache.
    #[error(
        "ValueError: No available memory for the cache blocks. Try increasing \
         `gpu_memory_utilization` when initializing the engine."
    )]
    NoBlocks,
    /// Not one request of full length fits.
    #[error(
        "ValueError: To serve at least one request with the model's max seq len ({length}), \
         ({needed:.2} GiB KV cache is needed, which is larger than the available KV cache memory \
         ({available:.2} GiB). Based on the available memory, the estimated maximum model length \
         is {estimate}. Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when \
         initializing the engine."
    )]
    TooShort {
        /// `max_model_len`.
        length: u64,
        /// KV memory for it, GiB.
        needed: f64,
        /// KV memory that is there, GiB.
        available: f64,
        /// Longest context that fits, tokens.
        estimate: u64,
    },
}

/// Divides the memory of each GPU, `other` bytes of which are in use by other programs.
///
/// # Errors
/// With vLLM's line where the launch does not fit.
pub fn divide(settings: &Settings, other: f64) -> Result<Division, MemoryError> {
    let total = settings.gpu.memory_gib * GIB;
    let shards = (settings.tensor_parallel * settings.pipeline_parallel) as f64;
    let weights = settings.model.weight_bytes() / shards;
    let activations = activations(settings);
    let fixed = LIBRARIES + if shards > 1.0 { NCCL } else { 0.0 };
    let graphs = graphs(settings);
    let free = total - other - CONTEXT;
    let requested = settings.utilization * total;
    let explicit = settings.kv_cache_memory_bytes.map(|bytes| bytes as f64);
    if explicit.is_none() && free < requested {
        return Err(MemoryError::NotFree {
            free: free.max(0.0) / GIB,
            total: total / GIB,
            utilization: settings.utilization,
            requested: requested / GIB,
        });
    }
    if weights + fixed + activations > free {
        // Weights are allocated before the profiling run's activations.
        let (tried, left) = if weights + fixed > free {
            (weights, free)
        } else {
            (activations, free - weights - fixed)
        };
        return Err(MemoryError::OutOfMemory {
            tried: tried / GIB,
            total: total / GIB,
            free: left.max(0.0) / GIB,
        });
    }
    let kv_cache = explicit.unwrap_or(requested - weights - activations - fixed);
    let (blocks, tokens) = blocks(settings, kv_cache)?;
    if weights + activations + fixed + graphs + kv_cache > free {
        return Err(MemoryError::WarmUp { sequences: settings.max_num_seqs });
    }
    Ok(Division { weights, activations, fixed, graphs, kv_cache, blocks, tokens })
}

fn blocks(settings: &Settings, kv_cache: f64) -> Result<(u64, u64), MemoryError> {
    let block_bytes = settings.kv_bytes_per_token() * settings.block_size as f64;
    let fitting = (kv_cache / block_bytes).max(0.0) as u64;
    let blocks = settings.blocks_override.unwrap_or(fitting);
    if blocks == 0 {
        return Err(MemoryError::NoBlocks);
    }
    let needed = settings.max_model_len.div_ceil(settings.block_size);
    if blocks < needed {
        return Err(MemoryError::TooShort {
            length: settings.max_model_len,
            needed: needed as f64 * block_bytes / GIB,
            available: blocks as f64 * block_bytes / GIB,
            estimate: blocks * settings.block_size,
        });
    }
    Ok((blocks, blocks * settings.block_size))
}

/// Peak of activations, bytes: the profiling run pushes `max_num_batched_tokens`
/// through one layer (residual, hidden state, the widest of attention and gated
/// MLP, in 16 bit) and then samples for `max_num_seqs` sequences in fp32.
fn activations(settings: &Settings) -> f64 {
    let model = &settings.model;
    let shards = settings.tensor_parallel as f64;
    let attention = ((model.heads * 2 + model.kv_heads * 2) * model.head_dim) as f64 / shards;
    let mlp = 3.0 * model.intermediate as f64 / shards;
    let per_token = 2.0 * (2.0 * model.hidden as f64 + attention.max(mlp));
    let forward = settings.max_num_batched_tokens as f64 * per_token;
    let sampling = settings.max_num_seqs as f64 * model.vocabulary as f64 * 4.0 * LOGIT_COPIES;
    forward.max(sampling)
}

/// Memory of captured CUDA graphs, bytes: vLLM reports 0.3 to 0.7 GiB for models
/// of this range, growing with the layers; none with `--enforce-eager`.
fn graphs(settings: &Settings) -> f64 {
    if settings.enforce_eager {
        return 0.0;
    }
    (0.25 + 0.005 * settings.model.layers as f64) * GIB
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::configuration::Flags;
    use crate::simulator::profile;

    fn fit(
        model: &str,
        gpu: &str,
        gpus: u32,
        other: f64,
        flags: Value,
    ) -> Result<Division, MemoryError> {
        let flags: Flags = serde_json::from_value(flags).unwrap();
        let gpu = profile::gpu(gpu).unwrap();
        let environment = BTreeMap::new();
        let settings = Settings::from_flags(model, &flags, &environment, gpu, gpus, None).unwrap();
        divide(&settings, other * GIB)
    }

    #[test]
    fn the_users_model_fits_two_4090s_over_the_range_of_utilisations() {
        let mut before = 0;
        for utilization in [0.80, 0.85, 0.90, 0.92, 0.95] {
            for chunked in [true, false] {
                let flags = json!({
                    "tensor-parallel-size": 2, "max-model-len": 16384,
                    "gpu-memory-utilization": utilization, "enable-chunked-prefill": chunked,
                });
                let division = fit("Qwen/Qwen3-32B-AWQ", "rtx-4090", 2, 0.0, flags).unwrap();
                if chunked {
                    assert!(division.tokens > before, "more memory, more tokens");
                    before = division.tokens;
                } else {
                    assert!(division.tokens < before, "whole prompts need more activations");
                }
            }
        }
    }

    #[test]
    fn half_of_a_4090_is_too_small() {
        let flags = json!({"gpu-memory-utilization": 0.5, "max-model-len": 16384});
        let error = fit("Qwen/Qwen3-32B-AWQ", "rtx-4090", 1, 0.0, flags).unwrap_err();
        assert!(error.to_string().contains("No available memory for the cache blocks"), "{error}");
    }

    #[test]
    fn a_context_that_does_not_fit_is_answered_with_one_that_does() {
        let flags = json!({"gpu-memory-utilization": 0.85});
        let error = fit("Qwen/Qwen3-8B", "rtx-4090", 1, 0.0, flags).unwrap_err();
        let MemoryError::TooShort { length, estimate, .. } = error else { panic!("{error}") };
        assert_eq!(length, 40960);
        let flags = json!({"gpu-memory-utilization": 0.85, "max-model-len": estimate});
        assert!(fit("Qwen/Qwen3-8B", "rtx-4090", 1, 0.0, flags).is_ok());
        let text = error.to_string();
        assert!(
            text.contains("To serve at least one request with the model's max seq len (40960)")
        );
        assert!(text.contains(&format!("estimated maximum model length is {estimate}")));
    }

    /// The user's machine: a desktop on GPU 0, 0.92 was the ceiling.
    #[test]
    fn a_desktop_on_the_gpu_lowers_the_ceiling() {
        let flags = |utilization: f64| {
            json!({
                "tensor-parallel-size": 2, "max-model-len": 16384,
                "gpu-memory-utilization": utilization,
            })
        };
        let model = "Qwen/Qwen3-32B-AWQ";
        assert!(fit(model, "rtx-4090", 2, 0.6, flags(0.92)).is_ok());
        let error = fit(model, "rtx-4090", 2, 0.6, flags(0.95)).unwrap_err();
        assert!(matches!(error, MemoryError::WarmUp { .. }), "{error}");
        let error = fit(model, "rtx-4090", 2, 2.0, flags(0.95)).unwrap_err();
        assert!(error.to_string().contains("on startup is less than desired GPU memory"));
    }

    #[test]
    fn weights_that_do_not_fit_run_out_of_memory() {
        let error = fit("Qwen/Qwen3-32B", "rtx-4090", 1, 0.0, json!({})).unwrap_err();
        assert!(error.to_string().starts_with("torch.OutOfMemoryError: CUDA out of memory"));
    }

    #[test]
    fn fp8_doubles_the_cache_and_an_explicit_size_overrides_utilisation() {
        let tokens =
            |flags: Value| fit("Qwen/Qwen3-1.7B", "rtx-4090", 1, 0.0, flags).unwrap().tokens;
        let plain = tokens(json!({}));
        let fp8 = tokens(json!({"kv-cache-dtype": "fp8"}));
        assert!(fp8.abs_diff(2 * plain) <= 32);
        let small = json!({"kv-cache-memory-bytes": 1_073_741_824u64, "max-model-len": 4096});
        assert_eq!(tokens(small), 9360, "1 GiB / (112 KiB x 16) = 585 blocks");
    }
}
