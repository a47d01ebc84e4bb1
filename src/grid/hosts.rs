//! `hosts:` of a grid: that launches are jobs of a cluster, and what each of them asks for.
//! Here it is read and checked; jobs are submitted by the sweep. Words for `sbatch` are judged in
//! [`options`], what several hosts come to in a plan is reckoned in [`super::plan`]. Pure.

use serde::{Deserialize, Serialize};

use super::duration::{self, spoken};
use super::error::Findings;
use super::estimate::Estimate;
use super::fields::Fields;
use super::node::{Content, Node, Span};
use super::{EngineBlock, Grid, some};
use crate::configuration::Configuration;
use crate::strategy::{StrategySpec, Task};

mod options;

/// The keys of `slurm`.
pub(super) const SLURM_KEYS: [&str; 6] =
    ["partition", "gres", "at-once", "time", "exclusive", "options"];

/// Jobs in flight that a grid can ask for.
pub(super) const AT_ONCE: (i64, i64) = (1, 1000);

/// Nodes that launches may be spread over although fewer are made at once.
const FEW_NODES: u32 = 3;

/// Seconds of one launch that a grid can allow: Slurm counts in minutes.
const TIMES: (u64, u64) = (60, 30 * 86_400);

/// The option that excludes nodes: the sweep has nodes of its own to exclude, and `sbatch` takes
/// the last one only.
const EXCLUDE: &str = "--exclude=";

/// What a boot may last beyond what is assumed: a download, or a slow compilation.
const BOOT: f64 = 900.0;

/// The least that is allowed to a launch of which the grid does not say how long it may take.
const LEAST: f64 = 600.0;

/// Launches as jobs of a Slurm cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SlurmBlock {
    /// The partition; the cluster's default where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// What one launch gets, such as `gpu:rtx4090:2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gres: Option<String>,
    /// Jobs in flight at most.
    pub at_once: u32,
    /// Seconds of one launch at most; by the plan's estimate where the grid does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// Whether nobody else is on the node while it is measured.
    pub exclusive: bool,
    /// Further options of `sbatch`, a word each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

/// How the configurations of a run share the nodes of a cluster, so that they can be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sharing {
    /// Nodes that are used at most, as far as more are there; 0 for any number.
    pub most: u32,
    /// The first trial that is sent to a node which connects what nothing connected so far.
    pub connects_from: u32,
}

impl Sharing {
    /// Each node beyond the first one takes a launch beyond the first ones to be connected: at most
    /// half of those are spent for that. And never many more nodes than launches at once.
    pub(crate) fn of(strategy: &StrategySpec, sizes: &Task, at_once: u32) -> Self {
        let (first, further) = (strategy.first_block(sizes), strategy.shared(sizes));
        let at_once = at_once.max(FEW_NODES);
        let most = further.map_or(at_once, |it| at_once.min((it / 2 + 1).max(2)));
        Self { most, connects_from: first + further.unwrap_or_default() / 2 }
    }
}

impl SlurmBlock {
    /// Seconds that a launch may take: what the grid says, else twice what the longest one takes
    /// by assumption, with what its boot may last beyond that. Then in whole five minutes.
    pub fn seconds_or(&self, longest: f64, boot: f64) -> u64 {
        let slack = || {
            let seconds = (2.0 * longest + boot).max(LEAST);
            ((seconds / 300.0).ceil() as u64).saturating_mul(300).min(TIMES.1)
        };
        self.seconds.unwrap_or_else(slack)
    }

    /// The cluster as the place of launches, for a person.
    pub fn named(&self) -> String {
        match &self.partition {
            Some(partition) => format!("nodes of a Slurm cluster, partition {partition}"),
            None => "nodes of a Slurm cluster".to_owned(),
        }
    }

    /// The nodes that `options` exclude, as they name them.
    pub fn excluded(&self) -> impl Iterator<Item = &str> {
        self.options.iter().filter_map(|it| it.strip_prefix(EXCLUDE))
    }

    /// The nodes that `options` name as the only ones, as they name them.
    pub fn named_nodes(&self) -> impl Iterator<Item = &str> {
        self.options.iter().filter_map(|it| it.strip_prefix("--nodelist="))
    }

    /// MiB of memory that `options` ask for on a node; `None` where they do not say.
    pub fn memory(&self) -> Option<u64> {
        let text = self.last("--mem=")?;
        let number = text.trim_end_matches(|it: char| it.is_ascii_alphabetic());
        let size: u64 = number.parse().ok()?;
        match text[number.len()..].to_ascii_uppercase().trim_end_matches('B') {
            "" | "M" => Some(size),
            "K" => Some(size.div_ceil(1024)),
            "G" => size.checked_mul(1024),
            "T" => size.checked_mul(1024 * 1024),
            _ => None,
        }
    }

    /// Processors that `options` ask for; `None` where they do not say.
    pub fn cpus(&self) -> Option<u64> {
        self.last("--cpus-per-task=")?.parse().ok()
    }

    /// What a launch asks for of a node, for a person; `None` where that is nothing.
    pub fn asked_of_node(&self) -> Option<String> {
        let gres = self.gres.clone();
        let options = [("--mem=", self.memory()), ("--cpus-per-task=", self.cpus())];
        let options = options.into_iter().filter(|(_, it)| it.is_some());
        let options = options.filter_map(|(name, _)| Some(format!("{name}{}", self.last(name)?)));
        let all: Vec<String> = gres.into_iter().chain(options).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }

    /// The value of an option; of several `sbatch` takes the last.
    fn last(&self, name: &str) -> Option<&str> {
        self.options.iter().rev().find_map(|it| it.strip_prefix(name))
    }

    /// Whether `options` list nodes that a launch is to run on.
    pub fn lists_nodes(&self) -> bool {
        self.options.iter().any(|it| it.starts_with("--nodelist="))
    }

    /// The other words of `options`.
    pub fn other_options(&self) -> impl Iterator<Item = &String> {
        self.options.iter().filter(|it| !it.starts_with(EXCLUDE))
    }

    /// GPUs that a launch gets; `None` where no `gres` says it.
    pub fn gpus(&self) -> Option<u32> {
        self.gres.as_deref().map(gpus)
    }
}

impl Grid {
    /// How configurations share the nodes of a cluster with so many launches at once.
    pub fn sharing(&self, at_once: u32) -> Sharing {
        Sharing::of(&self.strategy, &self.sizes(), at_once)
    }

    /// Seconds that the job of one launch may take on the grid's cluster, where it names one.
    pub fn job_seconds(&self) -> Option<u64> {
        let is_simulated = matches!(self.engine, EngineBlock::Simulated(_));
        let boot = if is_simulated { 0.0 } else { BOOT };
        self.hosts.as_ref().map(|it| it.seconds_or(Estimate::of(self).longest_seconds, boot))
    }
}

/// GPUs of one node or of one request, as `gpu:rtx4090:2(S:0-1)` and `gpu:2` have them.
fn gpus(gres: &str) -> u32 {
    let each = gres.split(',').filter_map(|it| {
        let it = it.split('(').next()?.trim();
        let mut parts = it.split([':', '=']);
        let name = parts.next()?;
        (name.strip_prefix("gres/").unwrap_or(name) == "gpu").then_some(())?;
        Some(parts.next_back().map_or(1, |last| last.parse().unwrap_or(1)))
    });
    each.fold(0, u32::saturating_add)
}

/// The key `hosts`.
pub(super) fn read(node: &Node, key: &Span, findings: &mut Findings) -> Option<SlurmBlock> {
    let fields = Fields::of(node, "`hosts`", key, &["slurm"], findings)?;
    let Some((key, node)) = fields.given("slurm") else {
        if fields.misspelt.is_empty() {
            findings
                .error(&fields.span, "`hosts` names no cluster")
                .help("write `slurm:` with what a launch asks for; without `hosts`, this machine");
        }
        return None;
    };
    let errors = findings.errors.len();
    let fields = Fields::of(node, "`slurm`", &key.span, &SLURM_KEYS, findings)?;
    let misspelt = fields.misspelt.iter().any(|meant| meant == "at-once");
    if fields.given("at-once").is_none() && !misspelt {
        findings
            .error(&fields.span, "`slurm` needs `at-once`: how many jobs may be in flight")
            .help("for example `at-once: 4`; `plan` shows how long 1, 4 and 16 take");
    }
    let at_once = fields.count("at-once", AT_ONCE.0, AT_ONCE.1, findings);
    let partition = partition(&fields, findings);
    let gres = gres(&fields, findings);
    let seconds = time(&fields, findings);
    let exclusive = fields.switch("exclusive", findings).unwrap_or(true);
    let options = fields.given("options").map(|(_, node)| options::read(node, findings));
    if findings.errors.len() > errors {
        return None;
    }
    if !exclusive {
        let place = fields.given("exclusive").map(|(key, _)| &key.span);
        let message = "`exclusive: false`: other jobs, this sweep's own among them, may run on a \
                       node while it is measured, and disturb what is measured";
        findings.warning(place, message);
    }
    Some(SlurmBlock {
        partition,
        gres,
        at_once: at_once.and_then(|it| u32::try_from(it).ok())?,
        seconds,
        exclusive,
        options: options.unwrap_or_default(),
    })
}

fn partition(fields: &Fields<'_>, findings: &mut Findings) -> Option<String> {
    let (name, span) = fields.text("partition", findings)?;
    if !is_word(name) {
        findings.error(span, "`partition` has blanks or control characters");
        return None;
    }
    if name.contains(',') {
        findings
            .error(span, "`partition` names several partitions")
            .help("name one: what is compared runs on the same kind of node");
        return None;
    }
    Some(name.to_owned())
}

fn gres(fields: &Fields<'_>, findings: &mut Findings) -> Option<String> {
    let (gres, span) = fields.text("gres", findings)?;
    let is_part = |part: &str| {
        let words: Vec<&str> = part.split([':', '=']).collect();
        let last = words.last().copied().unwrap_or_default();
        // With a type and a word more, that word is the number: `K` and so on may follow it.
        let digits = last.trim_end_matches(|it: char| "kKmMgGtTpP".contains(it));
        let is_number = last.len() - digits.len() <= 1 && digits.parse::<u64>().is_ok();
        words.iter().all(|word| !word.is_empty())
            && words.len() <= 3
            && (words.len() < 3 || is_number)
            && last.parse() != Ok(0_u64)
    };
    if is_word(gres) && gres.split(',').all(is_part) {
        return Some(gres.to_owned());
    }
    findings
        .error(span, "`gres` must be names with numbers, as `sbatch --gres` takes them")
        .help("write for example `\"gpu:2\"` or `\"gpu:rtx4090:2\"`");
    None
}

fn time(fields: &Fields<'_>, findings: &mut Findings) -> Option<u64> {
    let (_, node) = fields.given("time")?;
    let seconds = match &node.content {
        Content::Text(text) => duration::read(text),
        _ => None,
    };
    let (least, most) = TIMES;
    match seconds {
        Some(seconds) if (least..=most).contains(&seconds) => return Some(seconds),
        Some(_) => {
            let bounds = format!("{} to {}", spoken(least as f64), spoken(most as f64));
            let message = format!("`time` must be {bounds}, not {}", node.describe());
            findings.error(&node.span, message).help("it is the limit of one launch");
        }
        None => {
            let message = format!("`time` must be a duration, not {}", node.describe());
            findings.error(&node.span, message).help("write for example `40m` or `1h30m`");
        }
    }
    None
}

/// Whether a text is one word that may stand in an argument.
fn is_word(text: &str) -> bool {
    !text.contains(|letter: char| letter.is_whitespace() || letter.is_control())
}

/// Keys that are of one machine: production and the night on it have no meaning on a cluster.
pub(super) fn refuse_with(
    engine: &EngineBlock,
    window: Option<&Span>,
    key: &Span,
    findings: &mut Findings,
) {
    if matches!(engine, EngineBlock::Docker(block) if block.production.is_some()) {
        findings
            .error(key, "`hosts` and `production` are both given: production is on this machine, and launches are on nodes")
            .help("take `production` out: nothing on this machine is stopped for a cluster's jobs");
    }
    if let Some(window) = window {
        findings
            .error(window, "`window` and `hosts` are both given: when a job starts is the cluster's")
            .help("for the night, ask the cluster: a partition, a reservation or a QOS for it, or `--begin` in `options`");
    }
}

/// What a person should know of launches on a cluster, once all flags are known.
pub(super) fn advise(grid: &Grid, findings: &mut Findings) {
    let Some(block) = &grid.hosts else { return };
    let place = grid.places.hosts.as_ref();
    let wants_gpu = match &grid.engine {
        EngineBlock::Docker(block) => block.gpus != Some(false),
        EngineBlock::Process(_) => true,
        EngineBlock::Simulated(_) => false,
    };
    let once = matches!(&grid.strategy, StrategySpec::Grid(spec) if spec.launches == 1);
    if once && block.at_once > 1 && grid.configurations.len() > 1 {
        let message = "each configuration is launched once: on several nodes nothing distinguishes \
                       a configuration from its node, and those of different nodes are not \
                       compared; give `grid` two `launches` or more, or write `at-once: 1` and one \
                       node in `options` (`--nodelist=NODE`)";
        findings.warning(place, message);
    }
    time_is_short(grid, block, findings);
    let Some(gpus) = block.gpus().filter(|gpus| *gpus > 0) else {
        if wants_gpu {
            let message = "no `gres` names GPUs: the cluster gives a launch none of its own, and \
                           the engine may take all that it sees on the node, or none";
            findings.warning(place, message);
        }
        return;
    };
    let short = |it: &&Configuration| wants_gpu && it.gpus() > gpus;
    let short: Vec<&Configuration> = grid.configurations.iter().filter(short).collect();
    if let Some(most) = short.iter().map(|it| it.gpus()).max() {
        let message = format!(
            "{} asks for up to {most} GPUs, and `gres` gives a launch {gpus}: it cannot start",
            some(&short)
        );
        findings.warning(place, message);
    }
}

/// A limit that a launch is expected to reach.
fn time_is_short(grid: &Grid, block: &SlurmBlock, findings: &mut Findings) {
    let Some(seconds) = block.seconds.map(|it| it as f64) else { return };
    let (least, longest) = (grid.assumed_launch_seconds().0, grid.longest_launch_seconds());
    let takes = if least > seconds {
        format!(
            "takes at least {}, by assumption: `time` of {} ends",
            spoken(least),
            spoken(seconds)
        )
    } else if longest > seconds {
        format!(
            "may take {}, by assumption: `time` of {} may end",
            spoken(longest),
            spoken(seconds)
        )
    } else {
        return;
    };
    findings
        .warning(grid.places.hosts.as_ref(), format!("a launch {takes} it before it is measured"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(seconds: Option<u64>) -> SlurmBlock {
        SlurmBlock {
            partition: None,
            gres: Some("gpu:rtx4090:2".to_owned()),
            at_once: 4,
            seconds,
            exclusive: true,
            options: Vec::new(),
        }
    }

    #[test]
    fn a_launch_may_take_what_the_grid_says_else_twice_its_estimate_with_its_boot() {
        assert_eq!(block(Some(60)).seconds_or(1e6, 900.0), 60);
        let of = |longest, boot| block(None).seconds_or(longest, boot);
        assert_eq!(of(0.5, 0.0), 600, "at least ten minutes");
        assert_eq!(of(1000.0, 900.0), 3000, "2900 s in whole five minutes");
        assert_eq!(of(f64::MAX, 900.0), 30 * 86_400, "no longer than a grid may say");
    }

    #[test]
    fn gpus_are_counted_in_all_forms() {
        assert_eq!(block(None).gpus(), Some(2));
        assert_eq!(gpus("gpu:a100:4(S:0-1),gpu:h100:2,license:x:9"), 6);
        assert_eq!((gpus("gpu"), gpus("gpu:a100"), gpus("gres/gpu=3")), (1, 1, 3));
        assert_eq!(gpus("(null)"), 0);
    }
}
