//! The models and GPUs of the cost model: architecture figures from the models' published
//! `config.json`, hardware figures from NVIDIA's data sheets. Durations are computed in
//! `cost`, memory in `memory`.

/// Bytes in a GiB.
pub const GIB: f64 = 1_073_741_824.0;

/// How the weights of the linear layers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightFormat {
    /// Two bytes per parameter.
    Bf16,
    /// 4-bit AWQ in groups of 128: half a byte, an fp16 scale and a 4-bit zero
    /// point per group. Embeddings and the output head stay in 16 bit.
    Awq,
    /// One byte per parameter (a scale per channel is neglected).
    Fp8,
}

impl WeightFormat {
    /// Bytes per parameter of a linear layer.
    pub fn bytes_per_parameter(self) -> f64 {
        match self {
            Self::Bf16 => 2.0,
            Self::Awq => 0.5 + (2.0 + 0.5) / 128.0,
            Self::Fp8 => 1.0,
        }
    }
}

/// A dense decoder-only transformer with grouped-query attention and a gated MLP.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The name on the Hugging Face hub.
    pub name: &'static str,
    /// `num_hidden_layers`.
    pub layers: u64,
    /// `hidden_size`.
    pub hidden: u64,
    /// `num_attention_heads`.
    pub heads: u64,
    /// `num_key_value_heads`.
    pub kv_heads: u64,
    /// `head_dim`.
    pub head_dim: u64,
    /// `intermediate_size`.
    pub intermediate: u64,
    /// `vocab_size`.
    pub vocabulary: u64,
    /// Whether the output head shares the embedding's weights (`tie_word_embeddings`).
    pub tied_embeddings: bool,
    /// Context length the configuration file states (`max_position_embeddings`).
    pub max_position_embeddings: u64,
    /// How the linear layers are stored.
    pub weights: WeightFormat,
}

impl Model {
    /// Parameters of all layers without embedding and output head: projections
    /// of attention (q, k, v, o), the three matrices of the MLP, the norms.
    pub fn layer_parameters(&self) -> f64 {
        let query = self.hidden * self.heads * self.head_dim;
        let key_value = 2 * self.hidden * self.kv_heads * self.head_dim;
        let mlp = 3 * self.hidden * self.intermediate;
        let norms = 2 * self.hidden + 2 * self.head_dim;
        (self.layers * (2 * query + key_value + mlp + norms)) as f64
    }

    /// Parameters of the embedding, which the output head repeats or shares.
    pub fn embedding_parameters(&self) -> f64 {
        (self.vocabulary * self.hidden) as f64
    }

    /// Bytes of all weights over all GPUs.
    pub fn weight_bytes(&self) -> f64 {
        let copies = if self.tied_embeddings { 1.0 } else { 2.0 };
        self.layer_weight_bytes() + copies * self.embedding_parameters() * 2.0
    }

    /// Bytes of the layers' weights: what every step reads, besides the output head.
    pub fn layer_weight_bytes(&self) -> f64 {
        self.layer_parameters() * self.weights.bytes_per_parameter()
    }

    /// Elements of keys and values that one token leaves in the cache.
    pub fn kv_elements_per_token(&self) -> u64 {
        2 * self.layers * self.kv_heads * self.head_dim
    }
}

/// The models that are known. Figures: `config.json` of each repository on the
/// Hugging Face hub (Qwen3 technical report, arXiv 2505.09388, table 1).
const MODELS: [Model; 7] = [
    qwen3("Qwen/Qwen3-0.6B", 28, 1024, 16, 3072, true, WeightFormat::Bf16),
    qwen3("Qwen/Qwen3-1.7B", 28, 2048, 16, 6144, true, WeightFormat::Bf16),
    qwen3("Qwen/Qwen3-4B", 36, 2560, 32, 9728, true, WeightFormat::Bf16),
    qwen3("Qwen/Qwen3-8B", 36, 4096, 32, 12288, false, WeightFormat::Bf16),
    qwen3("Qwen/Qwen3-14B", 40, 5120, 40, 17408, false, WeightFormat::Bf16),
    qwen3("Qwen/Qwen3-32B", 64, 5120, 64, 25600, false, WeightFormat::Bf16),
    qwen3("Qwen/Qwen3-32B-AWQ", 64, 5120, 64, 25600, false, WeightFormat::Awq),
];

const fn qwen3(
    name: &'static str,
    layers: u64,
    hidden: u64,
    heads: u64,
    intermediate: u64,
    tied_embeddings: bool,
    weights: WeightFormat,
) -> Model {
    Model {
        name,
        layers,
        hidden,
        heads,
        kv_heads: 8,
        head_dim: 128,
        intermediate,
        vocabulary: 151_936,
        tied_embeddings,
        max_position_embeddings: 40_960,
        weights,
    }
}

/// The model of that name, with or without its organisation, in any case; a
/// path's last part counts. `None` for models that are not known.
pub fn model(name: &str) -> Option<Model> {
    let wanted = last_part(name);
    MODELS.iter().find(|model| last_part(model.name).eq_ignore_ascii_case(wanted)).cloned()
}

/// The names of all known models.
pub fn model_names() -> impl Iterator<Item = &'static str> {
    MODELS.iter().map(|model| model.name)
}

fn last_part(name: &str) -> &str {
    name.trim_end_matches('/').rsplit('/').next().unwrap_or(name)
}

/// One GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu {
    /// The name used on the command line.
    pub name: &'static str,
    /// Memory that CUDA reports, GiB (a little below the nominal size).
    pub memory_gib: f64,
    /// Memory bandwidth, bytes per second.
    pub bandwidth: f64,
    /// Peak of dense 16-bit matrix products with fp32 accumulation, FLOP/s.
    pub flops_16bit: f64,
    /// The same in fp8, `None` where the tensor cores have no fp8.
    pub flops_fp8: Option<f64>,
    /// Usable bandwidth of an all-reduce between two GPUs, bytes per second.
    pub link_bandwidth: f64,
    /// Latency of one small all-reduce, seconds.
    pub link_latency: f64,
    /// vLLM's `max_num_batched_tokens` and `max_num_seqs` where none are given:
    /// 8192 / 1024 from 70 GiB on except on A100, else 2048 / 256.
    pub default_batch: (u64, u64),
}

/// The GPUs that are known. Sources: NVIDIA Ada GPU architecture whitepaper
/// (RTX 4090: 24 GB, 1008 GB/s, 165.2 TFLOPS fp16 with fp32 accumulation, 330.3
/// fp8, PCIe 4.0 x16 without peer access), A100 80GB SXM data sheet (2039 GB/s,
/// 312 TFLOPS, NVLink 600 GB/s), H100 SXM data sheet (3350 GB/s, 989.4 TFLOPS
/// dense, 1978.9 fp8, NVLink 900 GB/s). Link figures are the one-way rates,
/// reduced to what NCCL's all-reduce reaches in practice; without peer access it
/// goes through host memory, so that small messages take longest there.
const GPUS: [Gpu; 3] = [
    Gpu {
        name: "rtx-4090",
        memory_gib: 23.64,
        bandwidth: 1.008e12,
        flops_16bit: 165.2e12,
        flops_fp8: Some(330.3e12),
        link_bandwidth: 12.0e9,
        link_latency: 45.0e-6,
        default_batch: (2048, 256),
    },
    Gpu {
        name: "a100",
        memory_gib: 79.25,
        bandwidth: 2.039e12,
        flops_16bit: 312.0e12,
        flops_fp8: None,
        link_bandwidth: 230.0e9,
        link_latency: 9.0e-6,
        default_batch: (2048, 256),
    },
    Gpu {
        name: "h100",
        memory_gib: 79.11,
        bandwidth: 3.350e12,
        flops_16bit: 989.4e12,
        flops_fp8: Some(1978.9e12),
        link_bandwidth: 360.0e9,
        link_latency: 8.0e-6,
        default_batch: (8192, 1024),
    },
];

/// The GPU of that name: `rtx-4090`, `a100`, `h100`, in any case, `_` for `-`.
pub fn gpu(name: &str) -> Option<Gpu> {
    let wanted = name.to_ascii_lowercase().replace(['_', ' '], "-");
    GPUS.iter().find(|gpu| gpu.name == wanted).cloned()
}

/// The names of all known GPUs.
pub fn gpu_names() -> impl Iterator<Item = &'static str> {
    GPUS.iter().map(|gpu| gpu.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The model cards state the parameters without embeddings.
    #[test]
    fn parameters_match_the_model_cards() {
        for (name, billions) in [
            ("Qwen/Qwen3-0.6B", 0.44),
            ("qwen3-1.7b", 1.4),
            ("Qwen3-4B", 3.6),
            ("Qwen3-8B", 6.95),
            ("/models/Qwen3-14B/", 13.2),
            ("Qwen3-32B-AWQ", 31.2),
        ] {
            let parameters = model(name).unwrap().layer_parameters() / 1e9;
            assert!((parameters / billions - 1.0).abs() < 0.02, "{name}: {parameters}");
        }
    }

    #[test]
    fn the_awq_checkpoint_has_the_size_of_the_published_one() {
        // 19.3 GB of safetensors on the hub.
        let gigabytes = model("Qwen/Qwen3-32B-AWQ").unwrap().weight_bytes() / 1e9;
        assert!((gigabytes - 19.3).abs() < 0.3, "{gigabytes}");
    }

    #[test]
    fn unknown_names_are_none() {
        assert_eq!(model("Qwen/Qwen9-1B"), None);
        assert_eq!(gpu("rtx-3090"), None);
        assert_eq!(gpu("RTX_4090").unwrap().name, "rtx-4090");
    }
}
