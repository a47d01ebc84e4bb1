//! What is not as it was when a sweep, or its latest block, began: named one by one, with
//! what it means. Some things are only said, most refuse to continue unless the change is
//! accepted, and of a grid that changed nothing can be accepted. Pure.

use std::fmt;
use std::path::PathBuf;

use super::measured_with::MeasuredWith;
use crate::history::block::Block;
use crate::history::launch::LaunchFacts;
use crate::history::production::{Configured, changed_parts};
use crate::history::record::{LaunchRecord, SweepRecord};
use crate::machine::MachineDifference;
use crate::workload::DatasetFile;

/// What a difference means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It is said, and the sweep continues.
    Said,
    /// The sweep continues only in a new block.
    NewBlock,
    /// Another sweep is needed: names of configurations would mean something else.
    NewSweep,
}

/// One thing that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The grid file, or the sweep's copy of it.
    Grid(PathBuf),
    /// The same grid gives other configurations or workloads; the compose file
    /// is named where there is one.
    Configurations {
        /// The compose file of the grid's engine.
        compose: Option<PathBuf>,
    },
    /// A file that prompts come from.
    Dataset(PathBuf),
    /// The image, as the compose file names it: all else of the configurations is as it was.
    NamedImage {
        /// The compose file.
        compose: Option<PathBuf>,
        /// What it named.
        before: String,
        /// What it names.
        now: String,
    },
    /// The image that is launched.
    Image {
        /// Its id then.
        before: String,
        /// Its id now.
        now: String,
    },
    /// The engine's version, as the servers of one kind said it.
    Engine {
        /// What the block was measured with.
        before: String,
        /// What serves now.
        now: String,
    },
    /// A fact of the machine.
    Machine(MachineDifference),
    /// A part of the compose service that candidates are made of: a variable, a volume.
    Service {
        /// Its name, without its value.
        part: String,
        /// What became of it.
        what: &'static str,
    },
    /// The host, of a sweep that did not record the machine.
    Host {
        /// What it was.
        before: String,
        /// What it is.
        now: String,
    },
    /// The suite that measures.
    Suite {
        /// Its version then; `None` where it was not recorded.
        before: Option<u32>,
        /// Its version now.
        now: u32,
        /// The tool's version then.
        tool: String,
    },
    /// The tool, with the same suite.
    Tool {
        /// Its version then.
        before: String,
        /// Its version now.
        now: String,
    },
    /// The configuration of production's container.
    Production {
        /// Its hash then.
        before: String,
        /// Its hash now.
        now: String,
        /// What became of each part that changed; none where an older version noted no parts.
        parts: Vec<String>,
        /// Whether the baseline is production's.
        is_baseline: bool,
    },
}

impl Difference {
    /// What it means.
    pub fn weight(&self) -> Weight {
        match self {
            Self::Grid(_) | Self::Configurations { .. } => Weight::NewSweep,
            Self::Machine(it) if !it.decides => Weight::Said,
            Self::Production { is_baseline: false, .. } | Self::Tool { .. } => Weight::Said,
            Self::Dataset(_)
            | Self::NamedImage { .. }
            | Self::Image { .. }
            | Self::Engine { .. }
            | Self::Machine(_)
            | Self::Service { .. }
            | Self::Host { .. }
            | Self::Suite { .. }
            | Self::Production { .. } => Weight::NewBlock,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grid(path) => write!(f, "the grid changed: {} differs", path.display()),
            Self::Configurations { compose: Some(path) } => write!(
                f,
                "the configurations: {}, a variable that it uses, or the version of vllm-grid \
                 gives others",
                path.display()
            ),
            Self::Configurations { compose: None } => f.write_str(
                "the configurations: this version of vllm-grid reads the same grid differently",
            ),
            Self::Dataset(path) => {
                write!(f, "dataset: {} differs, and prompts come from it", path.display())
            }
            Self::NamedImage { compose, before, now } => {
                let place = compose.as_ref().map(|path| format!(" in {}", path.display()));
                write!(f, "image{}: {before} -> {now}", place.unwrap_or_default())
            }
            Self::Image { before, now } => write!(f, "image: {} -> {}", image(before), image(now)),
            Self::Engine { before, now } => write!(f, "version of the engine: {before} -> {now}"),
            Self::Machine(difference) => difference.fmt(f),
            Self::Service { part, what } => write!(f, "the service's {part}: {what}"),
            Self::Host { before, now } => write!(f, "host: {before} -> {now}"),
            Self::Suite { before: Some(before), now, .. } => {
                write!(f, "suite version: {before} -> {now} (it measures differently)")
            }
            Self::Suite { before: None, now, tool } => write!(
                f,
                "suite version: not recorded by vllm-grid {tool} -> {now} (it may measure differently)"
            ),
            Self::Tool { before, now } => {
                write!(f, "version of vllm-grid: {before} -> {now}, which measures in the same way")
            }
            Self::Production { before, now, parts, is_baseline } => {
                let is = if *is_baseline { ", which is the baseline" } else { "" };
                write!(f, "configuration of production's container{is}: ")?;
                match parts.as_slice() {
                    [] => write!(f, "{} -> {}", short(before), short(now)),
                    parts => f.write_str(&parts.join(", ")),
                }
            }
        }
    }
}

/// An image's id, short.
fn image(id: &str) -> String {
    let digits = id.strip_prefix("sha256:").map(short);
    digits.map_or_else(|| id.to_owned(), |digits| format!("sha256:{digits}"))
}

/// Enough of a hash to distinguish two.
fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

/// What a sweep was measured with, as its files tell.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Before<'a> {
    pub(super) record: &'a SweepRecord,
    /// The configuration of production's container, where it was noted.
    pub(super) production: Option<&'a Configured>,
    /// Whether the baseline is production's.
    pub(super) production_is_baseline: bool,
}

impl Before<'_> {
    /// Everything that is not as it was, the grid left out.
    pub(super) fn differences(&self, now: &MeasuredWith) -> Vec<Difference> {
        let manifest = &self.record.manifest;
        let mut all = Vec::new();
        if let Some((before, now)) = image_id(self.record).zip(now.image_id.clone())
            && before != now
        {
            all.push(Difference::Image { before, now });
        }
        if let Some((before, now)) = manifest.service_parts.as_ref().zip(now.service_parts.as_ref())
        {
            let parts = changed_parts(before, now);
            all.extend(
                parts.map(|(part, what)| Difference::Service { part: part.to_owned(), what }),
            );
        }
        match &manifest.machine {
            Some(before) => {
                let now = now.machine.iter();
                let differences = now.flat_map(|now| before.differences(now));
                all.extend(differences.map(Difference::Machine));
            }
            None if manifest.host != now.host => {
                all.push(Difference::Host { before: manifest.host.clone(), now: now.host.clone() });
            }
            None => {}
        }
        let same_tool = manifest.tool_version == now.tool_version;
        let tool = manifest.tool_version.clone();
        match manifest.suite_version {
            Some(before) if before == now.suite_version => {
                let (before, now) = (tool, now.tool_version.clone());
                all.extend((!same_tool).then_some(Difference::Tool { before, now }));
            }
            // The same tool has the same suite.
            None if same_tool => {}
            before => {
                all.push(Difference::Suite { before, now: now.suite_version, tool });
            }
        }
        if let Some((before, now)) = self.production.zip(now.production.as_ref())
            && let Some(parts) = before.difference(now)
        {
            let is_baseline = self.production_is_baseline;
            let (before, now) = (before.sha256.clone(), now.sha256.clone());
            all.push(Difference::Production { before, now, parts, is_baseline });
        }
        all
    }
}

/// Another version of the engine than the latest block measured with, in this launch.
pub(super) fn engine_version(
    record: &SweepRecord,
    launch: u32,
    facts: &LaunchFacts,
) -> Option<Difference> {
    let configurations = &record.manifest.configurations;
    let stack = |it: &LaunchRecord| {
        configurations.iter().find(|known| known.name == it.configuration).map(|it| &it.stack)
    };
    let own = stack(record.launches.iter().rfind(|it| it.launch == launch)?)?;
    // One that was given up before it measured anything says nothing of what was measured.
    let measured = |it: &&LaunchRecord| {
        it.launch != launch && !it.measurements.is_empty() && stack(it) == Some(own)
    };
    let mut measured = record.launches.iter().filter(measured);
    let before = measured.find_map(|it| it.facts.as_ref()?.engine_version.clone())?;
    let now = facts.engine_version.clone().filter(|now| *now != before)?;
    Some(Difference::Engine { before, now })
}

/// The same of the last server that was seen: where it was why the sweep ended, a person who
/// accepts changes accepts this one.
pub(super) fn seen_engine_version(record: &SweepRecord) -> Option<Difference> {
    let seen = |it: &&LaunchRecord| it.facts.is_some();
    let last = record.launches.iter().rfind(seen)?;
    engine_version(record, last.launch, last.facts.as_ref()?)
}

/// The image of the latest block: that of its launches, else the one that it began with.
pub(super) fn image_id(record: &SweepRecord) -> Option<String> {
    let launched = record.launches.iter().rev().filter_map(|launch| launch.facts.as_ref());
    let launched = launched.into_iter().find_map(|facts| facts.image_id.clone());
    launched.or_else(|| record.manifest.image_id.clone())
}

/// How a sweep continues.
#[derive(Clone, Debug, PartialEq)]
pub struct Continues {
    /// The block that begins, where a change was accepted.
    pub block: Option<Block>,
    /// What a person is to know before anything is launched.
    pub said: Vec<String>,
}

/// Why a sweep does not continue: everything that differs, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not what block {block} of the sweep was measured with:{}", listed(.differences))]
pub struct Changed {
    /// Everything that differs, what is only said too.
    pub differences: Vec<Difference>,
    /// The latest block.
    pub block: u32,
    /// Its launches.
    pub launches: usize,
}

fn listed(differences: &[Difference]) -> String {
    differences.iter().fold(String::new(), |text, it| format!("{text}\n- {it}"))
}

impl Changed {
    /// What to do, as sentences.
    pub fn advice(&self) -> String {
        let has = |is: fn(&Difference) -> bool| self.differences.iter().any(is);
        if has(|it| matches!(it, Difference::Configurations { .. })) {
            return "restore it, or start a new sweep. --accept-change cannot accept this: the \
                    same names would mean other configurations"
                .to_owned();
        }
        if has(|it| matches!(it, Difference::Grid(_))) {
            return "restore it, or start a new sweep. --accept-change cannot accept another \
                    grid, whatever changed in it: a sweep's results belong to the grid that it \
                    began with"
                .to_owned();
        }
        let Self { block, launches, .. } = self;
        let next = block + 1;
        let counted = match launches {
            0 => String::new(),
            1 => format!("; the launch of block {block} stays in results.* and is not counted"),
            _ => format!(
                "; the {launches} launches of block {block} stay in results.* and are not counted"
            ),
        };
        format!(
            "restore it, or start a new sweep, or add --accept-change: block {next} begins, in \
             which everything is measured again{counted}"
        )
    }
}

/// What the grid asks for now, as a new block keeps it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Asks {
    /// The files that prompts come from.
    pub(super) datasets: Vec<DatasetFile>,
    /// The image's name, where it is another one.
    pub(super) image: Option<String>,
    /// Then the configurations' ids.
    pub(super) ids: Vec<String>,
}

/// How a sweep continues in spite of these differences.
///
/// # Errors
/// Why it does not: a change that is not accepted, or cannot be.
pub(super) fn continues(
    record: &SweepRecord,
    differences: Vec<Difference>,
    now: &MeasuredWith,
    asks: Asks,
    accept: bool,
) -> Result<Continues, Changed> {
    let weight = differences.iter().map(Difference::weight).max().unwrap_or(Weight::Said);
    let sentences: Vec<String> = differences.iter().map(ToString::to_string).collect();
    match weight {
        Weight::NewBlock if accept => {}
        Weight::Said => {
            let mut said: Vec<String> =
                sentences.iter().map(|it| format!("changed, and continues: {it}")).collect();
            if accept {
                said.push("--accept-change: nothing changed that needs it".to_owned());
            }
            return Ok(Continues { block: None, said });
        }
        _ => {
            let (block, launches) = (record.block(), record.launches.len());
            return Err(Changed { differences, block, launches });
        }
    }
    let number = record.block() + 1;
    let mut said = vec![format!("block {number} begins: everything is measured again")];
    said.extend(sentences.iter().map(|it| format!("accepted: {it}")));
    let launches = match record.launches.len() {
        0 => None,
        1 => Some(format!("1 launch of block {} is not counted", record.block())),
        several => Some(format!("{several} launches of block {} are not counted", record.block())),
    };
    said.extend(launches);
    if record.manifest.budget_seconds.is_some() || !record.manifest.budget.is_empty() {
        said.push("what earlier blocks took is spent of the budget".to_owned());
    }
    let block = Block {
        number,
        first_trial: record.next_first_trial(),
        differences: sentences,
        tool_version: now.tool_version.clone(),
        suite_version: now.suite_version,
        host: now.host.clone(),
        machine: now.machine.clone(),
        image_id: now.image_id.clone(),
        image: asks.image,
        ids: asks.ids,
        production_sha256: now.production.as_ref().map(|it| it.sha256.clone()),
        production_parts: now.production.clone().unwrap_or_default().parts,
        service_parts: now.service_parts.clone(),
        datasets: asks.datasets,
    };
    Ok(Continues { block: Some(block), said })
}

#[cfg(test)]
#[path = "difference_tests.rs"]
mod tests;
