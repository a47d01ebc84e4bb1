//! What would prevent a launch, found before the night: each finding is ok, a
//! warning or a problem, with what to do. It starts nothing but a throw-away
//! container that shows the GPUs; where the service's user is not root, it makes another one,
//! which is not started and shows the image's folders.

use std::borrow::Cow;
use std::path::Path;

use super::command_view::ImageCommand;
use super::compose::{self, ServiceSpec};
use super::devices;
use super::docker::daemon::{DaemonSettings, connect};
use super::docker::gate::{GpuMemory, Reader};
use super::docker::{self, Caches, Daemon, ImageIdentity, Located, caches, source_within};
use super::leftovers::{self, Look};
use super::service::Started;
use super::service_flags::check;
use super::service_view::{of_process, view_of};
use crate::configuration::Configuration;
use crate::flags;
use crate::grid::{DockerBlock, EngineBlock, Grid, ProcessBlock};
use crate::ownership::{Claims, Holder, StateFolder, Uses, aside};
use crate::secret::Secrets;

mod mounts;
mod production;
mod restarters;
mod stacks;

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Ok,
    /// A sweep runs, but should not be trusted blindly.
    Warning,
    /// A sweep would fail.
    Problem,
}

impl Severity {
    /// The word that a person reads.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// One line of a diagnosis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How it is to be taken.
    pub severity: Severity,
    /// What was looked at.
    pub subject: Cow<'static, str>,
    /// What was found.
    pub text: String,
    /// What to do, where something is to be done.
    pub advice: Option<String>,
}

impl Finding {
    /// Why a service of the grid cannot be started.
    pub fn of_service(text: String) -> Self {
        Self { severity: Severity::Problem, subject: "service".into(), text, advice: None }
    }
}

/// Free space below which a sweep is warned of, in GiB.
const MIN_DISK_GIB: u64 = 10;

struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, severity: Severity, subject: &'static str, text: String, advice: &str) {
        let advice = (!advice.is_empty()).then(|| advice.to_owned());
        self.0.push(Finding { severity, subject: subject.into(), text, advice });
    }

    fn ok(&mut self, subject: &'static str, text: impl Into<String>) {
        self.add(Severity::Ok, subject, text.into(), "");
    }

    fn warning(&mut self, subject: &'static str, text: impl Into<String>, advice: &str) {
        self.add(Severity::Warning, subject, text.into(), advice);
    }

    fn problem(&mut self, subject: &'static str, text: impl Into<String>, advice: &str) {
        self.add(Severity::Problem, subject, text.into(), advice);
    }
}

/// Looks at everything that the grid's engine needs; secrets that it sees become known.
/// `started` is what was read of what the grid starts.
pub async fn diagnose(grid: &Grid, started: &Started, secrets: &Secrets) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    match &grid.engine {
        EngineBlock::Docker(block) => {
            stacks::keys(&mut findings, block, started, &grid.configurations);
            Box::pin(docker_engine(&mut findings, block, grid, started, secrets)).await;
        }
        EngineBlock::Process(block) => {
            variables(&mut findings, block.api_key_env.as_deref());
            process_engine(&mut findings, block, &grid.configurations);
            others(&mut findings, &devices::of_processes(&grid.configurations), None).await;
        }
        EngineBlock::Simulated(_) => findings.ok("engine", "simulated: needs nothing"),
    }
    disk(&mut findings);
    findings.0
}

/// What a machine needs on which a sweep runs whose launches are elsewhere: room for results.
pub fn of_controller() -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    disk(&mut findings);
    findings.0
}

/// Who holds what the sweep needs, and what dead runs left of it.
async fn others(findings: &mut Findings, uses: &Uses, docker: Option<&str>) {
    let state = match StateFolder::of_environment() {
        Ok(state) => state,
        Err(error) => return findings.problem("state folder", error.to_string(), ""),
    };
    // Let go of at once: a sweep that begins now tries again.
    let (own, of) = (state.clone(), uses.clone());
    let take = move || Claims::take(&own, None, &of, &Holder::this().in_state(&own)).map(drop);
    if let Err(error) = aside(take).await {
        findings.problem("other runs", error.to_string(), "");
    }
    let found = leftovers::find(Look { state: &state, own: None, uses, docker }).await;
    for leftover in &found {
        let text = leftover.to_string();
        // Production that the grid names is a finding of its own.
        if findings.0.iter().all(|known| known.text != text) {
            findings.problem("leftovers", text, &leftover.advice());
        }
    }
    if found.is_empty() {
        findings.ok("leftovers", "no dead run left anything in the way");
    }
}

/// The most that a configuration asks for; vLLM's default counts where one asks for nothing.
fn highest_utilisation(grid: &Grid) -> f64 {
    let asked = grid.configurations.iter().map(|configuration| {
        let flag = configuration.flags.get("gpu-memory-utilization");
        flag.and_then(serde_json::Value::as_f64).unwrap_or(0.9)
    });
    asked.fold(0.0, f64::max)
}

fn variables(findings: &mut Findings, api_key_env: Option<&str>) {
    match api_key_env.map(|name| (name, super::api_key(Some(name)))) {
        None => findings.ok("variables", "no API key is named"),
        Some((name, Ok(_))) => findings.ok("variables", format!("{name} is set")),
        Some((name, Err(error))) => {
            findings.problem("variables", error.to_string(), &format!("export {name}=..."));
        }
    }
}

async fn docker_engine(
    findings: &mut Findings,
    block: &DockerBlock,
    grid: &Grid,
    started: &Started,
    secrets: &Secrets,
) {
    let service = compose_service(findings, block, &grid.configurations).await;
    let uses = stacks::uses(block, service.as_ref(), started, &grid.configurations);
    let socket = docker::owed::socket().ok();
    let docker = match connect(&DaemonSettings::of_environment()).await {
        Ok(docker) => docker,
        Err(error) => {
            let advice = "its socket is the one that the `docker` command uses";
            findings.problem("daemon", error.to_string(), advice);
            // What dead runs owe is noted here, and known without it.
            return others(findings, &uses, socket.as_deref()).await;
        }
    };
    match docker.ask(|| docker.version()).await {
        Ok(version) => findings.ok(
            "daemon",
            format!(
                "Docker {} (API {})",
                version.version.unwrap_or_default(),
                version.api_version.unwrap_or_default()
            ),
        ),
        Err(error) => findings.problem("daemon", docker.words(&error), "look at `docker info`"),
    }
    // On a node nothing serves but launches.
    if grid.hosts.is_none() {
        production::look(findings, block, service.as_ref(), secrets, &docker).await;
    }
    let located = docker::named_by(block, block.service.as_deref()).ok().flatten();
    let project = located.map(|it| compose::project_name(&it.source));
    restarters::look(findings, block, project.as_deref(), &docker).await;
    others(findings, &uses, socket.as_deref()).await;
    let image = service.as_ref().map(|service| service.image.clone()).or(block.image.clone());
    if let Some(image) = &image {
        let utilisation = highest_utilisation(grid);
        Box::pin(own_image(findings, block, &docker, service, image, utilisation)).await;
    }
    stacks::look(findings, &grid.configurations, started, image, &docker).await;
}

/// The image that the engine block itself starts, and all that is seen through it.
async fn own_image(
    findings: &mut Findings,
    block: &DockerBlock,
    docker: &Daemon,
    service: Option<ServiceSpec>,
    image: &str,
    utilisation: f64,
) {
    let identity = image_identity(findings, docker, image).await;
    if let Some(service) = &service {
        let own = identity.as_ref().map(|identity| identity.own.clone());
        let (model, _) = view_of(service, own).overlaid(&block.flags).read();
        let image = identity.clone().unwrap_or_default();
        mounts::look(findings, service, &image, model.as_deref());
    }
    let Some(identity) = identity else { return };
    let service = service
        .unwrap_or_else(|| ServiceSpec::of_image(image.to_owned(), Vec::new()).with_all_gpus());
    Box::pin(gpus(findings, block, docker, &service, &identity.id, utilisation)).await;
    cache_volumes(findings, block, docker, &service, &identity).await;
}

async fn compose_service(
    findings: &mut Findings,
    block: &DockerBlock,
    configurations: &[Configuration],
) -> Option<ServiceSpec> {
    // That the daemon does not answer is a finding of its own.
    let located = source_within(block, block.service.as_deref(), docker::LIMIT).await;
    let Located { source, notes, .. } = match located {
        Ok(located) => located?,
        Err(error) => {
            findings.problem("service", error.to_string(), "name the file by `compose`");
            return None;
        }
    };
    for note in notes {
        findings.warning("service", note, "");
    }
    let Some((tool, version)) = compose::find_tool().await else {
        let advice = "install Docker's compose plugin";
        findings.problem("compose tool", compose::ComposeError::NoTool.to_string(), advice);
        return None;
    };
    findings.ok("compose tool", format!("`{}` {version}", tool.as_str()));
    match compose::read(&source).await {
        Ok(service) => {
            let text = format!(
                "`{}`; replaced on purpose: {}",
                source.service,
                if service.replaced.is_empty() {
                    "nothing".to_owned()
                } else {
                    service.replaced.join(", ")
                }
            );
            let own = own_command(&service.image).await;
            let view = view_of(&service, own);
            let place = source.place_of(view.part().key());
            match check(&view, &place.to_string(), &block.flags, configurations) {
                Ok(None) => findings.ok("service", text),
                Ok(Some(unknown)) => {
                    findings.ok("service", text);
                    findings.warning("service", format!("{place}: {unknown}"), "");
                }
                Err(error) => findings.problem("service", error.to_string(), ""),
            }
            Some(service)
        }
        // Each configuration gives them values.
        Err(compose::ComposeError::Unset(_))
            if !configurations.iter().any(|it| it.stack.is_own()) =>
        {
            None
        }
        Err(error) => {
            findings.problem("service", error.to_string(), stacks::advice(&error));
            None
        }
    }
}

/// What an image runs by itself, where a daemon has it.
async fn own_command(image: &str) -> Option<ImageCommand> {
    let docker = connect(&DaemonSettings::of_environment()).await.ok()?;
    docker::identity(&docker, image).await.ok().map(|identity| identity.own)
}

async fn image_identity(
    findings: &mut Findings,
    docker: &Daemon,
    image: &str,
) -> Option<ImageIdentity> {
    match docker::identity(docker, image).await {
        Ok(identity) => {
            let digest = identity.digest.as_ref().map(|digest| format!(", {digest}"));
            findings
                .ok("image", format!("{image} is {}{}", identity.id, digest.unwrap_or_default()));
            if image.ends_with(":latest")
                || !image.rsplit('/').next().unwrap_or(image).contains([':', '@'])
            {
                let advice = "name a version, so that the result means the same next month";
                findings.warning("image", format!("{image} has no fixed tag"), advice);
            }
            Some(identity)
        }
        Err(error) => {
            findings.problem("image", error.to_string(), &format!("docker pull {image}"));
            None
        }
    }
}

async fn gpus(
    findings: &mut Findings,
    block: &DockerBlock,
    docker: &Daemon,
    service: &ServiceSpec,
    image_id: &str,
    utilisation: f64,
) {
    if block.gpus == Some(false) {
        findings.ok("GPU", "switched off (`gpus: false`)");
        return;
    }
    if service.gpus.is_empty() && service.runtime.is_none() {
        let advice = "reserve GPUs in the service, or write `gpus: false` for a CPU image";
        findings.warning("GPU", "the service asks for no GPU", advice);
        return;
    }
    let reader = Reader::new(docker.clone(), service, image_id);
    let Some(seen) = reader.by_container().await else {
        let advice = "check `docker run --rm --gpus all IMAGE nvidia-smi`, the NVIDIA container toolkit and the service's reservation; `gpus: false` is for CPU images";
        findings.problem("GPU", "no GPU is visible in a container of the image", advice);
        return;
    };
    for gpu in &seen {
        free_memory(findings, gpu, utilisation);
    }
    match reader.users() {
        None => findings.warning("GPU users", "not visible from this host (no NVML)", "look at `nvidia-smi`"),
        Some(0) => findings.ok("GPU users", "nobody else uses the GPUs"),
        Some(count) => findings.warning(
            "GPU users",
            format!("{count} processes hold GPU memory now"),
            "production is stopped by the sweep where the grid names it; everything else stays and disturbs",
        ),
    }
}

fn free_memory(findings: &mut Findings, gpu: &GpuMemory, utilisation: f64) {
    let text = format!(
        "GPU {}: {:.0} of {:.0} MiB free, {utilisation} of it is asked for",
        gpu.index, gpu.free, gpu.total
    );
    if gpu.free >= gpu.total * utilisation {
        findings.ok("GPU memory", text);
    } else {
        let advice = "fine if production frees it; else lower gpu-memory-utilization";
        findings.warning("GPU memory", text, advice);
    }
}

async fn cache_volumes(
    findings: &mut Findings,
    block: &DockerBlock,
    docker: &Daemon,
    service: &ServiceSpec,
    image: &ImageIdentity,
) {
    let caches = Caches::find(docker, service, image).await;
    let view = view_of(service, Some(image.own.clone())).overlaid(&block.flags);
    let key = |model: String| caches::model_key(&model, &service.mounts, &service.environment);
    let missing = caches.volumes(view.read().0.map(key).as_deref());
    let there = caches::list(docker).await.unwrap_or_default();
    if caches.is_empty() {
        findings.ok("cache volumes", "the service has its own");
    } else if block.caches == Some(false) {
        let advice = "every launch compiles again, and may load the model again";
        findings.warning("cache volumes", "none, and ours are switched off", advice);
    } else {
        let existing = missing.iter().filter(|cache| there.contains(&cache.volume)).count();
        let text = format!("{} of ours are used, {existing} of them exist already", missing.len());
        findings.ok("cache volumes", text);
        if let Some(why) = caches.left_out {
            findings.warning("cache volumes", why, "");
        }
    }
    let offline = service.environment.get("HF_HUB_OFFLINE").is_some_and(|value| value == "1");
    if offline {
        findings.ok("model cache", "HF_HUB_OFFLINE=1: nothing is downloaded in a sweep");
    } else {
        let advice = "download the model once, then set HF_HUB_OFFLINE=1 in the service: a download during a sweep costs hours";
        findings.warning("model cache", "the hub is asked at every launch", advice);
    }
}

fn process_engine(findings: &mut Findings, block: &ProcessBlock, configurations: &[Configuration]) {
    let Some(program) = block.command.first() else { return };
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = if program.contains('/') {
        Path::new(program).is_file()
    } else {
        std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
    };
    if found {
        findings.ok("program", format!("`{program}` is there"));
    } else {
        findings.problem(
            "program",
            format!("`{program}` is not on PATH"),
            "activate its environment, or give its path",
        );
    }
    let view = of_process(&block.command);
    match check(&view, "the engine's command", &block.flags, configurations) {
        Ok(None) => {}
        Ok(Some(unknown)) => findings.warning("command", unknown, ""),
        Err(error) => findings.problem("command", error.to_string(), ""),
    }
    let unknown: Vec<&String> =
        block.flags.keys().filter(|name| flags::lookup(name).is_none()).collect();
    if !unknown.is_empty() {
        let text = format!("unknown to vLLM {}: {unknown:?}", flags::VLLM_VERSION);
        findings.warning("flags", text, "they are passed on as they are");
    }
}

fn disk(findings: &mut Findings) {
    let Ok(here) = rustix::fs::statvfs(".") else { return };
    let gibibytes = here.f_bavail.saturating_mul(here.f_frsize) >> 30;
    let text = format!("{gibibytes} GiB free for results");
    if gibibytes < MIN_DISK_GIB {
        findings.warning("disk", text, "a model of 20 GB and its caches need more");
    } else {
        findings.ok("disk", text);
    }
}
