//! A plan on a cluster: how many jobs, how many hours of nodes, how long it takes with so many
//! jobs at once, and what the partition has, where somebody saw it. The time for which jobs wait
//! in the cluster's queue is nobody's to know, and in no figure here.

use serde::Serialize;

use super::super::{Grid, SlurmBlock, Warning};
use super::{Plan, PlannedConfirmation, Range, spoken};
use crate::strategy::Remaining;
use crate::strategy::StrategySpec;

/// Jobs at once that each plan shows, besides the grid's own number.
const SHOWN: [u32; 3] = [1, 4, 16];

/// What a grid comes to on a cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedCluster<'a> {
    /// What the grid asks for.
    pub slurm: &'a SlurmBlock,
    /// Seconds that each job may take: the grid's `time`, else by assumption with slack.
    pub job_seconds: u64,
    /// Jobs, one a launch: those of the confirmation among them, where one follows. A launch
    /// that the cluster cuts is a job more.
    pub jobs: Range<u64>,
    /// Hours of nodes, of all launches together.
    pub node_hours: Range<f64>,
    /// Whether the hours come from earlier runs; else they are assumed.
    pub measured: bool,
    /// Hours on the clock by the number of jobs at once, without waiting in the queue.
    pub at_once: Vec<AtOnce>,
    /// Nodes that launches use at most, so that configurations share them.
    pub shared: u32,
    /// The partition, where the cluster showed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<SeenPartition>,
    /// Why it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_seen: Option<String>,
}

/// How long so many jobs at once take.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AtOnce {
    /// Jobs in flight at most.
    pub jobs: u32,
    /// Whether it is the grid's own number.
    #[serde(rename = "chosen")]
    pub is_chosen: bool,
    /// Hours: those of as many jobs as nodes can run, where there are fewer nodes.
    pub hours: Range<f64>,
    /// Nodes that can run a launch, or that configurations can share, where there are fewer than
    /// jobs and each is alone on one; 0 where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<u32>,
}

/// A partition as the cluster showed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SeenPartition {
    /// Its name.
    pub name: String,
    /// Its nodes, without those that the grid's `options` leave out.
    pub nodes: usize,
    /// Its nodes that `options` leave out.
    pub left_out: usize,
    /// Those that take jobs, now or when others have ended.
    pub up: usize,
    /// Those of them that have what a launch asks for.
    pub fitting: usize,
    /// Those of them on which nobody is.
    pub idle: usize,
    /// Seconds that a job may take; `None` without a limit.
    pub limit_seconds: Option<u64>,
    /// Whether it takes jobs and starts them.
    pub is_up: bool,
}

impl SeenPartition {
    /// Which of its nodes are counted, in words that follow them.
    pub fn of_which(&self) -> &'static str {
        if self.left_out > 0 { " that `options` allow" } else { "" }
    }

    /// For how many jobs at once it has nodes, where each is alone on its node, or there is none.
    fn room(&self, slurm: &SlurmBlock) -> Option<u32> {
        let fitting = u32::try_from(self.fitting).ok();
        fitting.filter(|it| *it == 0 || slurm.exclusive)
    }

    /// What keeps launches of a grid from being started here.
    fn refusals(&self, slurm: &SlurmBlock, job_seconds: u64) -> Vec<String> {
        let Self { name, nodes, up, fitting, limit_seconds, is_up, .. } = self;
        let of_which = self.of_which();
        let state = if !is_up {
            Some(format!("partition {name} is down: no launch begins"))
        } else if *nodes == 0 {
            Some(format!("`options` leave no node of partition {name}: no launch begins"))
        } else if *up == 0 {
            Some(format!("no node of partition {name}{of_which} takes jobs: no launch begins"))
        } else {
            let asked = slurm.asked_of_node().filter(|_| *fitting == 0);
            let none = format!("no node of partition {name}{of_which}");
            asked.map(|it| format!("{none} has {it}: no launch begins"))
        };
        let limit = limit_seconds.filter(|it| *it < job_seconds).map(|limit| {
            format!(
                "a job of partition {name} may take {}, and a launch asks for {}: none begins; \
                 lower `time`",
                spoken(limit as f64),
                spoken(job_seconds as f64)
            )
        });
        state.into_iter().chain(limit).collect()
    }
}

impl Grid {
    /// Warns of what keeps launches from being started in the partition, as it is now.
    pub fn warn_of_partition(&mut self, seen: &SeenPartition) {
        let asked = self.hosts.as_ref().zip(self.job_seconds());
        let found = asked.map_or_else(Vec::new, |(slurm, seconds)| seen.refusals(slurm, seconds));
        for message in found {
            self.warn_of_cluster(message);
        }
    }

    /// Warns of something about its cluster.
    pub fn warn_of_cluster(&mut self, message: String) {
        let place = self.place_of(&["hosts"]);
        let (line, column) = place.map_or((None, None), |it| (Some(it.0), Some(it.1)));
        self.warnings.push(Warning {
            file: self.path.clone(),
            line,
            column,
            message,
            of_budget: false,
        });
    }
}

impl Plan<'_> {
    /// Whether each configuration is launched once, so that nothing distinguishes it from its node.
    pub fn launches_each_once(&self) -> bool {
        self.chosen()
            .is_some_and(|it| matches!(&it.spec, StrategySpec::Grid(it) if it.launches == 1))
    }
}

impl<'a> Plan<'a> {
    /// The same with what it comes to on the grid's cluster, where it names one. `seen`: its
    /// partition, or why nobody saw it.
    #[must_use]
    pub fn with_cluster(mut self, grid: &'a Grid, seen: Result<SeenPartition, String>) -> Self {
        let Some((slurm, job_seconds)) = grid.hosts.as_ref().zip(grid.job_seconds()) else {
            return self;
        };
        let hours = match self.earlier_runs {
            Some(earlier) => (earlier.least_hours.unwrap_or(earlier.hours), earlier.hours),
            None => (self.estimated_hours.low, self.estimated_hours.high),
        };
        let (least, most) = self.launch_range();
        let each = Range { low: hours.0 / least.max(1) as f64, high: hours.1 / most.max(1) as f64 };
        let confirm = self.confirm.as_ref().map_or(Range { low: 0.0, high: 0.0 }, |it| it.hours);
        let room = seen.as_ref().ok().and_then(|it| it.room(slurm));
        let of = |jobs: u32| {
            // Jobs of one node may run beside each other where they do not have it alone.
            let shared = Some(grid.sharing(jobs).most);
            let shared = shared.filter(|_| slurm.exclusive && !slurm.lists_nodes());
            let nodes = room.into_iter().chain(shared).min().filter(|it| *it < jobs);
            // Without any the time is that of the jobs, had they nodes.
            let beside = nodes.filter(|it| *it > 0).or(shared).map_or(jobs, |it| it.min(jobs));
            let Remaining { low, high } = grid.strategy.rounds(&grid.sizes(), beside);
            let hours = Range {
                low: f64::from(low) * each.low + confirm.low,
                high: f64::from(high) * each.high + confirm.high,
            };
            AtOnce { jobs, is_chosen: jobs == slurm.at_once, hours, nodes }
        };
        let mut at_once: Vec<u32> = SHOWN.into_iter().chain([slurm.at_once]).collect();
        at_once.sort_unstable();
        at_once.dedup();
        let jobs = PlannedConfirmation::after(self.confirm.as_ref(), (least, most));
        let (partition, not_seen) = match seen {
            Ok(seen) => (Some(seen), None),
            Err(why) => (None, Some(why)),
        };
        self.cluster = Some(PlannedCluster {
            slurm,
            job_seconds,
            jobs: Range { low: jobs.0, high: jobs.1 },
            node_hours: Range { low: hours.0 + confirm.low, high: hours.1 + confirm.high },
            measured: self.earlier_runs.is_some(),
            at_once: at_once.into_iter().map(of).collect(),
            shared: grid.sharing(slurm.at_once).most,
            partition,
            not_seen,
        });
        self
    }
}
