//! What configurations start in place of what the engine block names, such as the services of
//! a grid's rows: its image and its bind mounts. What cannot be read of it is a fault of the
//! reading itself, and not looked for here.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Findings, image_identity, mounts};
use crate::configuration::{Configuration, Stack};
use crate::engine::compose::{ComposeError, ServiceSpec};
use crate::engine::devices;
use crate::engine::docker::{self, Daemon, ImageIdentity};
use crate::engine::service::{ReadStack, Started};
use crate::grid::{DockerBlock, EngineBlock};
use crate::ownership::Uses;

/// Configurations that are named of many.
const NAMED: usize = 5;

/// What to do about a service that cannot be read.
pub(super) fn advice(error: &ComposeError) -> &'static str {
    match error {
        ComposeError::Unset(_) => "set the variables, or write them into `.env` next to the file",
        ComposeError::Refused { .. } => {
            "take the keys out of the service, or describe a second one for the sweep"
        }
        ComposeError::Tool { .. } | ComposeError::NoService { .. } => "see `docker compose config`",
        _ => "",
    }
}

/// What all that is launched uses; `service` is the engine block's own.
pub(super) fn uses(
    block: &DockerBlock,
    service: Option<&ServiceSpec>,
    started: &Started,
    all: &[Configuration],
) -> Uses {
    // What a service that is not known would be given.
    let any = ServiceSpec::of_image(String::new(), Vec::new()).with_all_gpus();
    let of = |block: &DockerBlock, service: Option<&ServiceSpec>, own: &[Configuration]| {
        devices::of_service(service.unwrap_or(&any), block.gpus.unwrap_or(true), own)
    };
    let of_stack = |stack: &Stack| {
        let own: Vec<_> = all.iter().filter(|it| it.stack == *stack).cloned().collect();
        let read = started.stacks.get(stack);
        match read.map(|it| (&it.block, it.service.as_ref())) {
            Some((EngineBlock::Docker(block), read)) => of(block, read.map(|it| &it.spec), &own),
            _ if stack.is_own() => of(block, service, &own),
            _ => of(block, None, &own),
        }
    };
    let stacks: BTreeSet<&Stack> = all.iter().map(|it| &it.stack).collect();
    let uses = stacks.into_iter().map(of_stack).reduce(Uses::and);
    uses.unwrap_or_else(|| of(block, service, &[]))
}

/// Looks for the key of all that is launched, and of production, as they do: in the environment,
/// else in the files of variables of each one's compose file.
pub(super) fn keys(
    findings: &mut Findings,
    block: &DockerBlock,
    started: &Started,
    all: &[Configuration],
) {
    let Some(name) = &block.api_key_env else {
        return findings.ok("variables", "no API key is named");
    };
    let read = started.service.as_ref().map(|it| it.source.clone());
    let source =
        read.or_else(|| Some(docker::named_by(block, block.service.as_deref()).ok()??.source));
    let is_asked = all.iter().any(|it| it.stack.is_own())
        || block.production.is_some()
        || started.stacks.is_empty();
    let own = is_asked.then(|| docker::key_of(block, source.as_ref()));
    let stacks = started.stacks.values().filter_map(|read| {
        let EngineBlock::Docker(block) = &read.block else { return None };
        Some(docker::key_of(block, read.service.as_ref().map(|it| &it.source)))
    });
    match own.into_iter().chain(stacks).find_map(Result::err) {
        None => findings.ok("variables", format!("{name} is set")),
        Some(error) => {
            let advice =
                format!("export {name}=..., or write it into `.env` next to the compose file");
            findings.problem("variables", error.to_string(), &advice);
        }
    }
}

/// Looks at the image and the bind mounts of each; `own` is the engine block's image, which was
/// looked at.
pub(super) async fn look(
    findings: &mut Findings,
    configurations: &[Configuration],
    started: &Started,
    own: Option<String>,
    docker: &Daemon,
) {
    let mut images: BTreeMap<String, ImageIdentity> = BTreeMap::new();
    if let Some(own) = own {
        let identity = docker::identity(docker, &own).await.unwrap_or_default();
        images.insert(own, identity);
    }
    let mut seen: Vec<(Finding, Vec<String>)> = Vec::new();
    for (stack, read) in &started.stacks {
        let of_stack = configurations.iter().filter(|it| it.stack == *stack);
        let names: Vec<String> = of_stack.flat_map(|it| it.names().map(str::to_owned)).collect();
        let Some(image) = image_of(read).filter(|_| !names.is_empty()) else { continue };
        if !images.contains_key(&image) {
            let identity = image_identity(findings, docker, &image).await.unwrap_or_default();
            images.insert(image.clone(), identity);
        }
        let identity = &images[&image];
        let found = mounts_of(stack, read, identity).into_iter();
        for finding in found {
            match seen.iter_mut().find(|(known, _)| *known == finding) {
                Some((_, of)) => of.extend(names.iter().cloned()),
                None => seen.push((finding, names.clone())),
            }
        }
    }
    for (finding, names) in seen {
        // The engine block's own is the same.
        if !findings.0.contains(&finding) {
            let text = format!("{}: {}", named(&names), finding.text);
            findings.0.push(Finding { text, ..finding });
        }
    }
}

/// The image that a stack starts.
fn image_of(read: &ReadStack) -> Option<String> {
    let EngineBlock::Docker(block) = &read.block else { return None };
    read.service.as_ref().map(|it| it.spec.image.clone()).or_else(|| block.image.clone())
}

/// What is found of a stack's service.
fn mounts_of(stack: &Stack, read: &ReadStack, image: &ImageIdentity) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    let (EngineBlock::Docker(block), Some(service)) = (&read.block, &read.service) else {
        return findings.0;
    };
    if stack.has_service() {
        findings.ok("service", format!("`{}` ({stack}) can be read", service.source.service));
    }
    let (model, _) = service.view.overlaid(&block.flags).read();
    mounts::look(&mut findings, &service.spec, image, model.as_deref());
    findings.0
}

/// Some configurations by their names.
fn named(names: &[String]) -> String {
    let shown = names.iter().take(NAMED).map(|name| format!("`{name}`")).collect::<Vec<_>>();
    let more = names.len().checked_sub(NAMED).filter(|more| *more > 0);
    let more = more.map_or(String::new(), |more| format!(" and {more} more"));
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::compose::{ComposeSource, GpuRequest, Place};
    use crate::engine::doctor::Severity;
    use crate::engine::service::ReadService;
    use crate::grid::ComposeFiles;

    fn configuration(image: Option<&str>) -> Configuration {
        let stack = Stack { image: image.map(str::to_owned), ..Stack::default() };
        Configuration { stack, ..Configuration::default() }
    }

    fn on_gpu(id: &str) -> ServiceSpec {
        let request = GpuRequest { device_ids: vec![id.to_owned()], ..GpuRequest::default() };
        ServiceSpec { gpus: vec![request], ..ServiceSpec::of_image("i", Vec::new()) }
    }

    /// What was started of a stack whose service is this one.
    fn started(stack: &Stack, service: Option<ServiceSpec>) -> Started {
        let service = service.map(|spec| ReadService {
            view: spec.view(None),
            described: spec.view(None),
            spec,
            place: Place { file: "compose.yaml".into(), line: None },
            source: ComposeSource::default(),
            variables: Vec::new(),
        });
        let block = EngineBlock::Docker(DockerBlock::default());
        let stacks = [(stack.clone(), ReadStack { block, service })].into();
        Started { stacks, ..Started::default() }
    }

    #[test]
    fn what_is_not_launched_uses_nothing() {
        let (own, other) = (configuration(None), configuration(Some("other")));
        let block = DockerBlock::default();
        let is = |uses: Uses, id: &str| {
            let of = devices::of_service(&on_gpu(id), true, &[]);
            assert_eq!(uses, of);
        };
        let reading = started(&other.stack, Some(on_gpu("1")));
        is(uses(&block, None, &reading, std::slice::from_ref(&other)), "1");
        is(uses(&block, Some(&on_gpu("0")), &reading, std::slice::from_ref(&own)), "0");
        let both = uses(&block, Some(&on_gpu("0")), &reading, &[own, other.clone()]);
        let each = ["0", "1"].map(|id| devices::of_service(&on_gpu(id), true, &[]));
        assert_eq!(Some(both), each.into_iter().reduce(Uses::and));
        // What cannot be read may use any.
        let unread = uses(&block, Some(&on_gpu("0")), &Started::default(), &[other]);
        assert_eq!(unread, Uses::AllGpus);
    }

    #[test]
    fn a_key_is_looked_for_where_a_launch_finds_it() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("compose.yaml"), "services: {vllm: {image: i}}")
            .expect("written");
        let variable = "VLLM_GRID_TEST_KEY_OF_NOBODY";
        let block = DockerBlock {
            api_key_env: Some(variable.to_owned()),
            service: Some("vllm".to_owned()),
            compose: ComposeFiles {
                files: vec![folder.path().join("compose.yaml")],
                folder: folder.path().to_owned(),
                ..ComposeFiles::default()
            },
            ..DockerBlock::default()
        };
        let found = || {
            let mut findings = Findings(Vec::new());
            keys(&mut findings, &block, &Started::default(), &[configuration(None)]);
            findings.0.remove(0)
        };
        let missing = found();
        assert_eq!(missing.severity, Severity::Problem, "{missing:?}");
        assert!(missing.advice.as_deref().unwrap_or_default().contains("`.env`"), "{missing:?}");
        std::fs::write(folder.path().join(".env"), format!("{variable}=sk-of-a-file\n"))
            .expect("written");
        let there = found();
        assert_eq!(there.severity, Severity::Ok, "{there:?}");
        assert!(!there.text.contains("sk-of-a-file"), "{there:?}");
    }
}
