//! The engine blocks of a grid. All are checked; one is chosen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::{Findings, is_variable};
use super::fields::{Fields, list, mapping, number};
use super::flag_map::FlagReader;
use super::image_name;
use super::node::{Content, Key, Node, Span};
use super::{ComposeFiles, DockerBlock, EngineBlock, ProcessBlock, ProductionName, SimulatedBlock};
use crate::configuration::Flags;
use crate::simulator::drift::Drift;
use crate::simulator::fault_plan::FaultPlan;

/// The engines that a grid can name.
const ENGINES: &[&str] = &["docker", "process", "simulated"];

pub(super) const DOCKER_KEYS: &[&str] = &[
    "compose",
    "env-file",
    "project-directory",
    "service",
    "image",
    "model",
    "flags",
    "api-key-env",
    "production",
    "profiles",
    "gpus",
    "caches",
    "introspect",
];
pub(super) const PROCESS_KEYS: &[&str] = &["command", "flags", "api-key-env", "introspect"];
pub(super) const SIMULATED_KEYS: &[&str] =
    &["model", "gpu", "gpus", "other-memory", "seed", "speed", "hosts", "drift", "faults", "flags"];

/// How much slower or faster than the others a simulated host may be.
const MIN_FACTOR: f64 = 0.01;
const MAX_FACTOR: f64 = 100.0;

/// Reads engine blocks.
pub(super) struct EngineReader<'a> {
    /// The grid's folder.
    pub(super) folder: &'a Path,
    /// The engine that was asked for by name.
    pub(super) wanted: Option<&'a str>,
    pub(super) flags: &'a mut FlagReader,
    pub(super) findings: &'a mut Findings,
}

impl EngineReader<'_> {
    /// The chosen block: the one that was asked for, else the first.
    pub(super) fn read(&mut self, node: &Node, span: &Span) -> Option<EngineBlock> {
        let fields = Fields::of(node, "`engine`", span, ENGINES, self.findings)?;
        let entries = mapping(node, "`engine`", self.findings)?;
        let mut chosen = None;
        let mut found = Vec::new();
        for (key, _) in entries {
            let Some((key, block)) = fields.get(&key.text) else { continue };
            if found.contains(&key.text.as_str()) {
                continue;
            }
            found.push(key.text.as_str());
            let block = match key.text.as_str() {
                "docker" => self.docker(block, &key.span).map(EngineBlock::Docker),
                "process" => self.process(block, &key.span).map(EngineBlock::Process),
                _ => self.simulated(block, &key.span).map(EngineBlock::Simulated),
            };
            let is_wanted = self.wanted.is_none_or(|wanted| wanted == key.text);
            if is_wanted && chosen.is_none() {
                chosen = block;
            }
        }
        if entries.is_empty() {
            self.findings
                .error(span, "`engine` names no engine")
                .help(format!("known engines: {}", ENGINES.join(", ")));
        }
        if let Some(wanted) = self.wanted
            && !found.contains(&wanted)
        {
            let message = if ENGINES.contains(&wanted) {
                format!("the grid has no block for the engine `{wanted}`")
            } else {
                format!("there is no engine `{wanted}`")
            };
            let help = format!("engines of this grid: {}", found.join(", "));
            self.findings.error(span, message).help(help);
        }
        if let Some(EngineBlock::Docker(block)) = &chosen {
            let place = fields.get("docker").map(|(key, _)| &key.span);
            for compose in block.compose.files.iter().filter(|it| !it.is_file()) {
                let message = format!("the compose file {} is not there", compose.display());
                self.findings.warning(place, message);
            }
        }
        chosen
    }

    fn docker(&mut self, node: &Node, span: &Span) -> Option<DockerBlock> {
        let fields = Fields::of(node, "`docker`", span, DOCKER_KEYS, self.findings)?;
        let compose = self.compose(&fields);
        let service = fields.text("service", self.findings);
        let image = fields.text("image", self.findings);
        if let Some((why, span)) =
            image.and_then(|(name, at)| Some((image_name::refusal(name)?, at)))
        {
            self.findings.error(span, why);
        }
        let model = fields.text("model", self.findings);
        let given = |name| fields.given(name).map(|(key, _)| &key.span);
        match (given("compose"), given("service"), given("image")) {
            (Some(_), _, Some(place)) => {
                self.findings
                    .error(place, "`image` and `compose` are both given")
                    .help("the compose service names its own image: keep one of them");
            }
            (Some(place), None, None) => {
                self.findings
                    .error(place, "`compose` is given, but no `service`")
                    .help("name the service that runs vLLM");
            }
            (None, Some(_), Some(place)) => {
                self.findings
                    .error(place, "`image` and `service` are both given")
                    .help("the service names its own image: keep one of them");
            }
            (None, None, None) => {
                self.findings.error(span, "`docker` needs `compose` and `service`, or `image`");
            }
            _ => {}
        }
        let (production, pause) = self.production(&fields);
        Some(DockerBlock {
            compose,
            service: service.map(|(name, _)| name.to_owned()),
            image: image.map(|(name, _)| name.to_owned()),
            model: model.map(|(name, _)| name.to_owned()),
            flags: self.flags(&fields),
            api_key_env: self.api_key_env(&fields),
            production,
            pause,
            profiles: self.texts(&fields, "profiles"),
            gpus: fields.switch("gpus", self.findings),
            caches: fields.switch("caches", self.findings),
            introspect: fields.switch("introspect", self.findings).unwrap_or(false),
            base: None,
        })
    }

    /// `compose`, `env-file` and `project-directory`.
    fn compose(&mut self, fields: &Fields<'_>) -> ComposeFiles {
        let exact = matches!(fields.given("compose"), Some((_, node)) if matches!(node.content, Content::List(_)));
        let env_files = self.paths(fields, "env-file");
        for file in env_files.iter().filter(|file| !file.is_file()) {
            let place = fields.given("env-file").map(|(_, node)| &node.span);
            let message = format!("the env-file {} is not there", file.display());
            self.findings.warning(place, message);
        }
        let directory = fields.text("project-directory", self.findings);
        ComposeFiles {
            files: self.paths(fields, "compose"),
            exact,
            env_files,
            project_directory: directory.map(|(path, _)| self.folder.join(path)),
            folder: self.folder.to_owned(),
            variables: BTreeMap::new(),
            located: false,
        }
    }

    /// One path, or a list of paths.
    fn paths(&mut self, fields: &Fields<'_>, name: &str) -> Vec<PathBuf> {
        let Some((key, node)) = fields.given(name) else { return Vec::new() };
        let texts = match &node.content {
            Content::List(items) if items.is_empty() => {
                self.findings.error(&key.span, format!("`{name}` is an empty list"));
                Vec::new()
            }
            Content::List(_) => self.texts(fields, name),
            _ => fields
                .text(name, self.findings)
                .map(|(path, _)| path.to_owned())
                .into_iter()
                .collect(),
        };
        texts.into_iter().map(|path| self.folder.join(path)).collect()
    }

    /// What serves production, and what is stopped with it.
    fn production(&mut self, fields: &Fields<'_>) -> (Option<ProductionName>, Vec<ProductionName>) {
        let Some((key, node)) = fields.given("production") else { return (None, Vec::new()) };
        let known = &["container", "service", "pause"];
        let named = Fields::of(node, "`production`", &key.span, known, self.findings);
        let Some(named) = named else { return (None, Vec::new()) };
        let has_compose = fields.given("compose").is_some() || fields.given("service").is_some();
        let served_by = self.served_by(&named, has_compose, key);
        let pause = self.pause(&named, has_compose, served_by.as_ref());
        (served_by, pause)
    }

    fn served_by(
        &mut self,
        named: &Fields<'_>,
        has_compose: bool,
        key: &Key,
    ) -> Option<ProductionName> {
        let container = named.text("container", self.findings).map(|(name, _)| name.to_owned());
        let service = named.text("service", self.findings).map(|(name, _)| name.to_owned());
        match (container, service) {
            (Some(name), None) => Some(ProductionName::Container(name)),
            (None, Some(name)) => {
                if !has_compose {
                    let message = "`production` names a service, but there is no `compose` file";
                    self.findings.error(&key.span, message);
                }
                Some(ProductionName::Service(name))
            }
            _ => {
                let message = "`production` needs one of `container` and `service`";
                self.findings.error(&key.span, message);
                None
            }
        }
    }

    /// What is stopped with production: services by name, or `container: NAME`.
    fn pause(
        &mut self,
        named: &Fields<'_>,
        has_compose: bool,
        production: Option<&ProductionName>,
    ) -> Vec<ProductionName> {
        let Some((_, node)) = named.given("pause") else { return Vec::new() };
        let items = list(node, "`pause`", self.findings).unwrap_or_default();
        let mut pause: Vec<ProductionName> = Vec::new();
        for item in items {
            let Some(name) = self.companion(item, has_compose) else { continue };
            if production == Some(&name) {
                let message = format!("`pause` names production itself ({name})");
                let error = self.findings.error(&item.span, message);
                error.help("it is stopped anyhow, after what `pause` names: take it out");
            } else if pause.contains(&name) {
                let message = format!("`pause` names the {name} twice: it counts once");
                self.findings.warning(Some(&item.span), message);
            } else {
                pause.push(name);
            }
        }
        pause
    }

    fn companion(&mut self, item: &Node, has_compose: bool) -> Option<ProductionName> {
        match &item.content {
            Content::Text(name) if !name.trim().is_empty() => {
                if !has_compose {
                    let message = format!(
                        "`pause` names the service `{name}`, but there is no `compose` file"
                    );
                    let error = self.findings.error(&item.span, message);
                    error.help("name a container: `{container: NAME}`");
                    return None;
                }
                Some(ProductionName::Service(name.clone()))
            }
            Content::Map(_) => {
                let fields = Fields::of(
                    item,
                    "an item of `pause`",
                    &item.span,
                    &["container"],
                    self.findings,
                )?;
                let (name, _) = fields.text("container", self.findings)?;
                Some(ProductionName::Container(name.to_owned()))
            }
            _ => {
                let message = format!(
                    "an item of `pause` must be a service's name or `{{container: NAME}}`, not {}",
                    item.describe()
                );
                self.findings.error(&item.span, message);
                None
            }
        }
    }

    fn texts(&mut self, fields: &Fields<'_>, name: &str) -> Vec<String> {
        let Some((_, node)) = fields.given(name) else { return Vec::new() };
        let what = format!("`{name}`");
        let Some(items) = list(node, &what, self.findings) else { return Vec::new() };
        let mut texts = Vec::new();
        for item in items {
            if let Content::Text(text) = &item.content {
                texts.push(text.clone());
            } else {
                let message = format!("{what} contains {}, not a text", item.describe());
                self.findings.error(&item.span, message);
            }
        }
        texts
    }

    fn process(&mut self, node: &Node, span: &Span) -> Option<ProcessBlock> {
        let fields = Fields::of(node, "`process`", span, PROCESS_KEYS, self.findings)?;
        let mut command = Vec::new();
        if let Some((key, node)) = fields.given("command") {
            match &node.content {
                Content::Text(text) => match shell_words::split(text) {
                    Ok(words) => command = words,
                    Err(_) => {
                        self.findings.error(&node.span, "`command` has a quote that is not closed");
                    }
                },
                _ => {
                    for item in list(node, "`command`", self.findings)? {
                        match &item.content {
                            Content::Text(text) => command.push(text.clone()),
                            Content::Int(number) => command.push(number.to_string()),
                            _ => {
                                let what = item.describe();
                                let message =
                                    format!("a word of `command` must be a text, not {what}");
                                self.findings.error(&item.span, message);
                            }
                        }
                    }
                }
            }
            if command.is_empty() {
                self.findings.error(&key.span, "`command` is empty");
            }
            let secret = |word: &String| {
                let name = word.split('=').next().unwrap_or(word);
                name.starts_with("--") && crate::flags::is_secret(&crate::flags::resolve(name))
            };
            let within = crate::secret::is_in_arguments(command.iter().map(String::as_str));
            if within || command.iter().any(secret) {
                self.findings
                    .error(&key.span, "`command` contains a secret: it does not belong in a grid")
                    .help("put the key into a variable, and its name into `api-key-env`");
            }
        } else {
            self.findings
                .error(span, "`process` needs `command`")
                .help("for example `command: [vllm, serve, Qwen/Qwen3-0.6B]`");
        }
        Some(ProcessBlock {
            command,
            flags: self.flags(&fields),
            api_key_env: self.api_key_env(&fields),
            introspect: fields.switch("introspect", self.findings).unwrap_or(false),
        })
    }

    fn simulated(&mut self, node: &Node, span: &Span) -> Option<SimulatedBlock> {
        let fields = Fields::of(node, "`simulated`", span, SIMULATED_KEYS, self.findings)?;
        for needed in ["model", "gpu"] {
            if fields.given(needed).is_none() {
                self.findings.error(span, format!("`simulated` needs `{needed}`"));
            }
        }
        let model = fields.text("model", self.findings);
        let gpu = fields.text("gpu", self.findings);
        let gpus = fields.count("gpus", 1, 64, self.findings);
        let seed = fields.count("seed", 0, i64::MAX, self.findings);
        let other_memory = self.at_least(&fields, "other-memory", 0.0, true);
        let speed = self.at_least(&fields, "speed", 0.0, false);
        Some(SimulatedBlock {
            model: model.map_or_else(String::new, |(model, _)| model.to_owned()),
            gpu: gpu.map_or_else(String::new, |(gpu, _)| gpu.to_owned()),
            gpus: gpus.and_then(|gpus| u32::try_from(gpus).ok()).unwrap_or(1),
            other_memory_gib: other_memory.unwrap_or(0.0),
            seed: seed.and_then(|seed| u64::try_from(seed).ok()).unwrap_or(1),
            speed: speed.unwrap_or(1.0),
            hosts: self.slow_hosts(&fields),
            drift: self.drift(&fields),
            faults: self.faults(&fields),
            flags: self.flags(&fields),
        })
    }

    /// By what times are multiplied on some hosts.
    fn slow_hosts(&mut self, fields: &Fields<'_>) -> BTreeMap<String, f64> {
        let Some((_, node)) = fields.given("hosts") else { return BTreeMap::new() };
        let entries = mapping(node, "`hosts`", self.findings).unwrap_or_default();
        let mut factors = BTreeMap::new();
        for (host, node) in entries {
            let name = format!("hosts.{}", host.text);
            let Some(factor) = number(&name, node, self.findings) else { continue };
            if !(MIN_FACTOR..=MAX_FACTOR).contains(&factor) {
                let message = format!(
                    "`{name}` must be a factor from {MIN_FACTOR} to {MAX_FACTOR}, not {factor}"
                );
                self.findings.error(&node.span, message);
            } else if factors.insert(host.text.clone(), factor).is_some() {
                self.findings.error(&host.span, format!("`{name}` is given twice"));
            }
        }
        factors
    }

    fn drift(&mut self, fields: &Fields<'_>) -> Option<Drift> {
        let (text, span) = fields.text("drift", self.findings)?;
        let faults = Drift::parse(text).map_err(|faults| {
            for fault in faults {
                let error = self.findings.error(span, format!("`drift`: {}", fault.message));
                if let Some(help) = fault.help {
                    error.help(help);
                }
            }
        });
        faults.ok()
    }

    fn faults(&mut self, fields: &Fields<'_>) -> FaultPlan {
        let mut plan = FaultPlan::default();
        let Some((_, node)) = fields.given("faults") else { return plan };
        let items = list(node, "`faults`", self.findings).unwrap_or_default();
        for item in items {
            let fault = match &item.content {
                Content::Text(text) => plan.add(text).map_err(|fault| format!("`{text}`: {fault}")),
                _ => Err(format!("it contains {}, not a text", item.describe())),
            };
            if let Err(fault) = fault {
                self.findings
                    .error(&item.span, format!("`faults`: {fault}"))
                    .help("write NAME, or NAME@START, and options of `simulate` without `--sim-`");
            }
        }
        plan
    }

    fn at_least(
        &mut self,
        fields: &Fields<'_>,
        name: &str,
        min: f64,
        inclusive: bool,
    ) -> Option<f64> {
        let number = fields.number(name, self.findings)?;
        if number > min || (inclusive && number >= min) {
            return Some(number);
        }
        let (_, node) = fields.given(name)?;
        let bound = if inclusive { format!("{min} or more") } else { format!("above {min}") };
        self.findings.error(&node.span, format!("`{name}` must be {bound}, not {number}"));
        None
    }

    fn flags(&mut self, fields: &Fields<'_>) -> Flags {
        let Some((_, node)) = fields.given("flags") else { return Flags::new() };
        let Some(entries) = mapping(node, "`flags`", self.findings) else { return Flags::new() };
        let mut flags = Flags::new();
        // Clients ask for the name that is served: it may be fixed, not varied.
        let named = self.flags.names(entries, &[], &["served-model-name"], self.findings);
        for (name, _, node) in named {
            if let Some(value) = FlagReader::value(&name, node, self.findings) {
                flags.insert(name, value);
            }
        }
        flags
    }

    fn api_key_env(&mut self, fields: &Fields<'_>) -> Option<String> {
        let (name, span) = fields.text("api-key-env", self.findings)?;
        if is_variable(name) {
            return Some(name.to_owned());
        }
        self.findings.error(span, "`api-key-env` must be the name of a variable").help(
            "the key itself does not belong in a grid: put it into a variable, and its name here",
        );
        None
    }
}
