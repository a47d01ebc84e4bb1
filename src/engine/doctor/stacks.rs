//! What configurations start in place of what the engine block names, such as the services of
//! a grid's rows: its image and its bind mounts. What cannot be read of it is a fault of the
//! reading itself, and not looked for here.

use std::collections::BTreeMap;

use super::{Finding, Findings, image_identity, mounts};
use crate::configuration::{Configuration, Stack};
use crate::engine::compose::ComposeError;
use crate::engine::devices;
use crate::engine::docker::{self, Daemon, ImageIdentity};
use crate::engine::service::{ReadStack, Started};
use crate::grid::EngineBlock;
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

/// What each of them uses.
pub(super) fn uses<'a>(
    started: &'a Started,
    all: &'a [Configuration],
) -> impl Iterator<Item = Uses> + 'a {
    started.stacks.iter().filter_map(move |(stack, read)| {
        let EngineBlock::Docker(block) = &read.block else { return None };
        let service = read.service.as_ref()?;
        let own = all.iter().filter(|it| it.stack == *stack).cloned().collect::<Vec<_>>();
        Some(devices::of_service(&service.spec, block.gpus.unwrap_or(true), &own))
    })
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
