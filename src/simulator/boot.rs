//! A start, computed before it is played: which log lines are written when, and whether it
//! ends in a server or in an exit. Times are simulated seconds; `boot` in the parent
//! waits for them.

use serde_json::Value;

use super::faults::{Exit, Faults};
use super::log::{Process, python, thousands};
use super::memory::{self, Division, MemoryError};
use super::profile::GIB;
use super::settings::{Refusal, Settings, acts};
use super::{Options, VERSION};
use crate::flags::{CommandLine, is_secret, parse_argv};

/// Seconds until Python has imported what it needs and parsed the command line.
const IMPORTS: f64 = 6.0;
/// Seconds from there to an engine process that starts loading.
const PROCESSES: f64 = 6.0;
/// Bytes per second at which weights come from a warm disk cache.
const LOADING: f64 = 1.2e9;
/// Seconds of a profiling run.
const PROFILING: f64 = 2.0;
/// Seconds per layer that compiling takes with a warm compile cache, and capturing graphs.
const COMPILING_PER_LAYER: f64 = 0.25;
const CAPTURING_PER_LAYER: f64 = 0.2;

/// One line of the start.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Seconds since the start.
    pub at: f64,
    /// Who writes it.
    pub process: Process,
    /// `INFO`, `WARNING`, `ERROR`.
    pub level: &'static str,
    /// File and line of vLLM's source.
    pub place: &'static str,
    /// The text.
    pub text: String,
}

/// A whole start.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// Lines in the order of time.
    pub lines: Vec<Line>,
    /// Seconds until it serves or exits.
    pub seconds: f64,
    /// What serves, or the exit code.
    pub outcome: Result<(Settings, Division), i32>,
}

/// Writes the start of a launch with these arguments (without `vllm serve`).
pub fn script(argv: &[String], options: &Options) -> Script {
    let mut writer = Writer { lines: Vec::new(), now: 0.0 };
    let outcome = writer.start(argv, options);
    let mut script = Script { lines: writer.lines, seconds: writer.now, outcome };
    script.disturb(&options.faults);
    script
}

impl Script {
    /// Applies the faults that lengthen or silence the start.
    fn disturb(&mut self, faults: &Faults) {
        let ready = self.seconds;
        if faults.silent_boot {
            self.lines.retain(|line| line.at < IMPORTS || line.at >= ready);
        }
        if let Some(seconds) = faults.boot_seconds {
            let factor = seconds / ready.max(f64::MIN_POSITIVE);
            self.lines.iter_mut().for_each(|line| line.at *= factor);
            self.seconds = seconds;
        }
    }
}

struct Writer {
    lines: Vec<Line>,
    now: f64,
}

impl Writer {
    fn write(&mut self, process: Process, place: &'static str, text: impl Into<String>) {
        self.push(process, "INFO", place, text.into());
    }

    fn plain(&mut self, text: impl Into<String>) {
        self.push(Process::Plain, "INFO", "", text.into());
    }

    fn push(&mut self, process: Process, level: &'static str, place: &'static str, text: String) {
        self.lines.push(Line { at: self.now, process, level, place, text });
    }

    fn start(&mut self, argv: &[String], options: &Options) -> Result<(Settings, Division), i32> {
        self.plain(format!(
            "SIMULATED: no GPU and no model; times come from a cost model ({} x {}, seed {}, \
             speed {:?})",
            options.gpus, options.gpu.name, options.seed, options.speed
        ));
        if let Some(drift) = &options.drift {
            let (text, seed) = (drift.text(), drift.seed(options.seed));
            self.plain(format!("SIMULATED: the machine's speed moves: {text} (seed {seed})"));
        }
        self.now = IMPORTS / 2.0;
        let line = parse_argv(argv).map_err(|error| {
            let usage = match error.program {
                "vllm" => {
                    "usage: vllm [-h] [-v]\n            {chat,complete,serve,launch,bench,...}"
                }
                _ => "usage: vllm serve [model_tag] [options]",
            };
            self.refuse(&Refusal { exit_code: 2, lines: vec![usage.into(), error.to_string()] })
        })?;
        let model = line.model.clone().unwrap_or_else(|| "Qwen/Qwen3-0.6B".into());
        self.banner(&model, &line);
        self.now = IMPORTS;
        let mut flags = line.flags.clone();
        flags.extend(options.faults.overridden.clone());
        let mut settings = Settings::from_flags(
            &model,
            &flags,
            &options.environment,
            options.gpu.clone(),
            options.gpus,
            options.model.as_deref(),
        )
        .map_err(|refusal| self.refuse(&refusal))?;
        self.configured(&settings);
        self.now += PROCESSES;
        if let Some(exit) = options.faults.exit {
            return Err(self.injected(exit));
        }
        let fit = self.fit(&mut settings, options.other_memory_gib * GIB);
        if let Err(error @ MemoryError::NotFree { .. }) = fit {
            return Err(self.engine_failed(&error.to_string()));
        }
        self.load(&settings, &fit)?;
        let division = self.measure(&settings, fit)?;
        self.ready(&settings);
        Ok((settings, division))
    }

    /// Divides the memory; a context that was left to vLLM gets as short as needed.
    fn fit(&mut self, settings: &mut Settings, other: f64) -> Result<Division, MemoryError> {
        match memory::divide(settings, other) {
            Err(MemoryError::TooShort { length, estimate, .. }) if settings.fit_context => {
                settings.max_model_len = estimate;
                let text = format!(
                    "Auto-fit max_model_len: reduced from {length} to {estimate} to fit in \
                     available GPU memory"
                );
                self.write(Process::EngineCore, "kv_cache_utils.py:1950", text);
                memory::divide(settings, other)
            }
            divided => divided,
        }
    }

    fn refuse(&mut self, refusal: &Refusal) -> i32 {
        for line in refusal.lines.iter().flat_map(|line| line.lines()) {
            self.plain(line);
        }
        refusal.exit_code
    }

    fn banner(&mut self, model: &str, line: &CommandLine) {
        let place = "api_utils.py:347";
        for text in [
            String::new(),
            "       █     █     █▄   ▄█".into(),
            format!(" ▄▄ ▄█ █     █     █ ▀▄▀ █  version {VERSION}"),
            format!("  █▄█▀ █     █     █     █  model   {model}"),
            "   ▀▀  ▀▀▀▀▀ ▀▀▀▀▀ ▀     ▀".into(),
            String::new(),
        ] {
            self.write(Process::ApiServer, place, text);
        }
        let mut given = serde_json::Map::new();
        given.insert("model_tag".into(), Value::from(model));
        given.insert("model".into(), Value::from(model));
        for (name, value) in &line.flags {
            let shown = if is_secret(name) { Value::from("***") } else { value.clone() };
            given.insert(name.replace('-', "_"), shown);
        }
        let text = format!("non-default args: {}", python(&Value::Object(given)));
        self.write(Process::ApiServer, "api_utils.py:286", text);
        let idle: Vec<_> =
            line.flags.keys().filter(|flag| !acts(flag)).map(|flag| format!("--{flag}")).collect();
        if !idle.is_empty() {
            self.plain(format!("SIMULATED: accepted, without effect: {}", idle.join(", ")));
        }
    }

    fn configured(&mut self, settings: &Settings) {
        let api = Process::ApiServer;
        self.write(api, "model.py:733", "Resolved architecture: Qwen3ForCausalLM");
        self.write(api, "model.py:2152", format!("Using max model len {}", settings.max_model_len));
        if settings.chunked_prefill {
            let text = format!(
                "Chunked prefill is enabled with max_num_batched_tokens={}.",
                settings.max_num_batched_tokens
            );
            self.write(api, "scheduler.py:290", text);
        }
        if settings.enforce_eager {
            let text = "Enforce eager set, disabling torch.compile, CUDAGraphs, and JIT kernel \
                        warmup. This is equivalent to setting -cc.mode=none \
                        -cc.cudagraph_mode=none and --kernel_config.enable_jit_warmup=False";
            self.push(api, "WARNING", "vllm.py:1703", text.into());
        }
        let truth = |on: bool| if on { "True" } else { "False" };
        let text = format!(
            "Initializing a V1 LLM engine (v{VERSION}) with config: model='{model}', \
             tokenizer='{model}', dtype=torch.bfloat16, max_seq_len={}, tensor_parallel_size={}, \
             pipeline_parallel_size={}, quantization={}, enforce_eager={}, kv_cache_dtype={}, \
             device_config=cuda, seed=0, served_model_name={}, enable_prefix_caching={}, \
             enable_chunked_prefill={}, pooler_config=None",
            settings.max_model_len,
            settings.tensor_parallel,
            settings.pipeline_parallel,
            settings.quantization.as_deref().unwrap_or("None"),
            truth(settings.enforce_eager),
            settings.kv_cache_dtype,
            settings.served_names[0],
            truth(settings.prefix_caching),
            truth(settings.chunked_prefill),
            model = settings.model_argument,
        );
        self.write(Process::EngineCore, "core.py:133", text);
    }

    fn load(
        &mut self,
        settings: &Settings,
        fit: &Result<Division, MemoryError>,
    ) -> Result<(), i32> {
        let text = format!("Starting to load model {}...", settings.model_argument);
        self.write(Process::Worker, "gpu_model_runner.py:4210", text);
        let bytes = settings.model.weight_bytes();
        let shards = (bytes / 4e9).ceil().max(1.0) as u64;
        let seconds = bytes / LOADING;
        let begin = self.now;
        for shard in 0..=shards {
            self.now = begin + seconds * shard as f64 / shards as f64;
            self.plain(format!(
                "Loading safetensors checkpoint shards: {:>3}% Completed | {shard}/{shards}",
                100 * shard / shards
            ));
        }
        if let Err(error @ MemoryError::OutOfMemory { .. }) = fit {
            return Err(self.engine_failed(&error.to_string()));
        }
        let place = "default_loader.py:501";
        self.write(Process::Worker, place, format!("Loading weights took {seconds:.2} seconds"));
        let per_gpu = bytes / (settings.tensor_parallel * settings.pipeline_parallel) as f64 / GIB;
        let text = format!("Model loading took {per_gpu:.2} GiB memory and {seconds:.2} seconds");
        self.write(Process::Worker, "gpu_model_runner.py:4307", text);
        Ok(())
    }

    fn measure(
        &mut self,
        settings: &Settings,
        fit: Result<Division, MemoryError>,
    ) -> Result<Division, i32> {
        let began = self.now;
        let layers = settings.model.layers as f64;
        if !settings.enforce_eager {
            self.now += COMPILING_PER_LAYER * layers;
            let text = format!("torch.compile took {:.2} s in total", COMPILING_PER_LAYER * layers);
            self.write(Process::Worker, "monitor.py:48", text);
        }
        self.now += PROFILING;
        let fits = match fit {
            Err(error @ (MemoryError::NoBlocks | MemoryError::TooShort { .. })) => {
                return Err(self.engine_failed(&error.to_string()));
            }
            other => other,
        };
        if let Ok(division) = &fits {
            let text = format!("Available KV cache memory: {:.2} GiB", division.kv_cache / GIB);
            self.write(Process::Worker, "gpu_worker.py:424", text);
            let text = format!(
                "GPU KV cache size: {} tokens, Maximum concurrency for {} tokens per request: \
                 {:.2}x",
                thousands(division.tokens),
                thousands(settings.max_model_len),
                division.tokens as f64 / settings.max_model_len as f64
            );
            self.write(Process::EngineCore, "kv_cache_utils.py:2327", text);
        }
        if !settings.enforce_eager {
            self.now += CAPTURING_PER_LAYER * layers;
        }
        let division = fits.map_err(|error| self.engine_failed(&error.to_string()))?;
        if !settings.enforce_eager {
            let text = format!(
                "Graph capturing finished in {:.0} secs, took {:.2} GiB",
                CAPTURING_PER_LAYER * layers,
                division.graphs / GIB
            );
            self.write(Process::Worker, "gpu_model_runner.py:5333", text);
        }
        let text = format!(
            "init engine (profile, create kv cache, warmup model) took {:.2} s",
            self.now - began
        );
        self.write(Process::EngineCore, "core.py:402", text);
        Ok(division)
    }

    fn ready(&mut self, settings: &Settings) {
        self.now += 1.0;
        let api = Process::ApiServer;
        self.write(api, "entry.py:136", "Supported tasks: ['generate']");
        if settings.dev_mode {
            let text = "SECURITY WARNING: Development endpoints are enabled! This should NOT be \
                        used in production!";
            self.push(api, "WARNING", "__init__.py:44", text.into());
        }
        let text = format!("Starting vLLM server on http://{}:{}", settings.host, settings.port);
        self.write(api, "entry.py:140", text);
        self.plain("INFO:     Waiting for application startup.");
        self.plain("INFO:     Application startup complete.");
    }

    /// The exit of an injected fault.
    fn injected(&mut self, exit: Exit) -> i32 {
        for (process, text) in exit.lines {
            match process {
                Process::EngineCore => {
                    self.engine_failed(text);
                }
                other => self.push(*other, "ERROR", "launcher.py:380", (*text).to_owned()),
            }
        }
        exit.code
    }

    /// The engine process dies of this, and the API process after it.
    fn engine_failed(&mut self, error: &str) -> i32 {
        let core = Process::EngineCore;
        let place = "core.py:1510";
        for text in [
            "EngineCore failed to start.".to_owned(),
            "Traceback (most recent call last):".to_owned(),
            error.to_owned(),
        ] {
            self.push(core, "ERROR", place, text);
        }
        self.plain("Traceback (most recent call last):");
        self.plain(
            "RuntimeError: Engine core initialization failed. See root cause above. Failed core \
             proc(s): {'EngineCore': 1}",
        );
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::profile;

    fn played(line: &str) -> (String, Script) {
        let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let script = script(&argv, &Options::new(profile::gpu("rtx-4090").unwrap()));
        let lines: Vec<_> =
            script.lines.iter().map(|line| format!("{:6.1} {}", line.at, line.text)).collect();
        (lines.join("\n"), script)
    }

    #[test]
    fn a_start_that_succeeds_reads_like_vllms() {
        let line =
            "Qwen/Qwen3-1.7B --max-model-len 16384 --api-key secret --uvicorn-log-level info";
        let (text, script) = played(line);
        assert!(!text.contains("secret"));
        assert!(script.outcome.is_ok());
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_start_that_fails_reads_like_vllms() {
        let (text, script) = played("Qwen/Qwen3-8B --gpu-memory-utilization 0.85");
        assert_eq!(script.outcome, Err(1));
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_context_of_auto_gets_as_short_as_memory_needs() {
        let (text, script) =
            played("Qwen/Qwen3-8B --gpu-memory-utilization 0.85 --max-model-len auto");
        let (settings, division) = script.outcome.unwrap();
        assert!(text.contains("Auto-fit max_model_len"));
        assert!(settings.max_model_len < 40_960);
        assert_eq!(settings.max_model_len, division.tokens);
    }
}
