//! Which launches a prediction is of: the GPUs as the machine reports them, model and flags of
//! each configuration, and what the simulator makes of them. Starts that it refuses have its
//! own words as the reason.

use crate::configuration::{Configuration, Flags};
use crate::engine::service_flags;
use crate::engine::service_view::of_process;
use crate::flags;
use crate::grid::{EngineBlock, ServiceBase};
use crate::machine::{self, Machine};
use crate::simulator::play::Server;
use crate::simulator::{Options, boot, profile};

/// Part by which a GPU's memory may differ from what is known of its kind.
const MEMORY: f64 = 0.05;

/// Words of a GPU's name by which it is another, slower kind.
const OTHERS: [&str; 5] = ["laptop", "max-q", "d", "mig", "nvl"];

/// The GPUs that launches run on.
#[derive(Clone, Debug)]
pub(super) struct Gpus {
    pub(super) kind: profile::Gpu,
    pub(super) count: u32,
    /// GiB of each that something else uses.
    other_memory_gib: f64,
}

/// A launch that the simulator expects to start.
pub(super) struct Launch {
    /// The model as it is asked for.
    pub(super) model: String,
    /// Tokens of context.
    pub(super) context: u64,
    pub(super) server: Server,
}

impl Gpus {
    /// Those of the engine's own machine.
    pub(super) fn of(engine: &EngineBlock, machine: Option<&Machine>) -> Result<Self, String> {
        if let EngineBlock::Simulated(block) = engine {
            let kind = profile::gpu(&block.gpu).ok_or_else(|| unknown(&block.gpu))?;
            let other_memory_gib = block.other_memory_gib;
            return Ok(Self { kind, count: block.gpus, other_memory_gib });
        }
        let gpus = machine.and_then(|it| it.gpus.as_deref());
        let gpus = gpus.ok_or("the GPUs that launches run on are not known here")?;
        let (first, others) =
            gpus.split_first().ok_or("this machine has no GPU that the driver reports")?;
        let kind = kind(first)?;
        for other in others {
            if self::kind(other)?.name != kind.name {
                return Err("this machine has GPUs of several kinds".to_owned());
            }
        }
        Ok(Self { kind, count: gpus.len() as u32, other_memory_gib: 0.0 })
    }

    /// The launch of a configuration; the simulator's own words where it would not start.
    pub(super) fn launch(
        &self,
        engine: &EngineBlock,
        configuration: &Configuration,
    ) -> Result<Launch, String> {
        let (model, given) = asked(engine, configuration)?;
        if profile::model(&model).is_none() {
            return Err(format!(
                "the simulator knows no model `{model}`; it knows {}",
                profile::model_names().collect::<Vec<_>>().join(", ")
            ));
        }
        let mut argv = vec![model.clone()];
        argv.extend(flags::argv(&given));
        let options = Options {
            gpus: self.count,
            other_memory_gib: self.other_memory_gib,
            environment: configuration.environment.clone(),
            ..Options::new(self.kind.clone())
        };
        let start = boot::script(&argv, &options);
        let (settings, division) = start.outcome.map_err(|code| {
            let said = start.lines.last().map_or("", |line| line.text.as_str());
            format!("the simulator expects `{}` to exit with {code}: {said}", configuration.name)
        })?;
        let server = Server::of(&settings, &division);
        Ok(Launch { model, context: settings.max_model_len, server })
    }
}

/// Model and flags that a configuration asks for.
fn asked(engine: &EngineBlock, configuration: &Configuration) -> Result<(String, Flags), String> {
    let (model, mut given) = match engine {
        EngineBlock::Simulated(block) => (Some(block.model.clone()), configuration.flags.clone()),
        EngineBlock::Docker(_) => {
            let model = configuration.model.as_deref().or(engine.model());
            (model.map(str::to_owned), configuration.flags.clone())
        }
        EngineBlock::Process(block) => {
            let base: ServiceBase = service_flags::of("", &of_process(&block.command));
            let mut given = base.flags;
            given.extend(configuration.flags.clone());
            given.retain(|name, _| configuration.varied.get(name).is_none_or(|it| !it.is_null()));
            (base.model, given)
        }
    };
    let named = given.get("model").and_then(|it| it.as_str()).map(str::to_owned);
    // A server is reached at the tool's own address, whatever is asked for.
    given.retain(|name, _| !["model", "host", "port"].contains(&name.as_str()));
    let model = named.or(model);
    Ok((model.ok_or("which model is served is not known before it is launched")?, given))
}

/// The kind of a GPU as its driver names it.
fn kind(gpu: &machine::Gpu) -> Result<profile::Gpu, String> {
    let name = gpu.name.as_deref().ok_or("the kind of this machine's GPU is not known")?;
    let lower = name.to_ascii_lowercase();
    let words: Vec<&str> = lower.split([' ', '-', '_']).collect();
    let has = |word: &str| words.contains(&word);
    let is_other = OTHERS.iter().any(|word| has(word)) || (has("h100") && has("pcie"));
    let known = profile::gpu_names().filter_map(profile::gpu).find(|kind| {
        let own = kind.name.rsplit('-').next().unwrap_or(kind.name);
        let gib = gpu.memory_mib.map(|mib| mib as f64 / 1024.0);
        has(own) && gib.is_none_or(|gib| (gib / kind.memory_gib - 1.0).abs() <= MEMORY)
    });
    known.filter(|_| !is_other).ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> String {
    let known: Vec<&str> = profile::gpu_names().collect();
    format!("the simulator knows no GPU `{name}`; it knows {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(name: &str, gib: u64) -> machine::Gpu {
        let (name, memory_mib) = (Some(name.to_owned()), Some(gib * 1024));
        machine::Gpu { name, memory_mib, ..machine::Gpu::default() }
    }

    #[test]
    fn a_gpu_is_known_by_its_drivers_name_and_its_memory() {
        for (name, gib, known) in [
            ("NVIDIA GeForce RTX 4090", 24, "rtx-4090"),
            ("NVIDIA A100-SXM4-80GB", 80, "a100"),
            ("NVIDIA H100 80GB HBM3", 80, "h100"),
        ] {
            assert_eq!(kind(&gpu(name, gib)).expect(name).name, known);
        }
        for (name, gib) in [
            ("NVIDIA GeForce RTX 4090 Laptop GPU", 16),
            ("NVIDIA GeForce RTX 4090 D", 24),
            ("NVIDIA A100-PCIE-40GB", 40),
            ("NVIDIA H100 PCIe", 80),
            ("NVIDIA H200", 141),
        ] {
            let why = kind(&gpu(name, gib)).expect_err(name);
            assert!(why.contains(name) && why.contains("it knows rtx-4090, a100, h100"), "{why}");
        }
    }
}
