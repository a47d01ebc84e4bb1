//! What a plan comes to on a cluster: jobs, hours of nodes, time by jobs at once, what the
//! partition has, and how configurations are spread over nodes.

use std::fmt::Write as _;

use super::wrap;
use crate::grid::plan::{AtOnce, Plan, PlannedCluster, Range, SeenPartition, range, spoken};

/// Its lines, where the grid names a cluster.
pub(super) fn text(text: &mut String, plan: &Plan<'_>, width: usize) {
    let Some(cluster) = &plan.cluster else { return };
    let PlannedCluster { jobs, node_hours, measured, at_once, partition, .. } = cluster;
    let from = if *measured { "as in earlier runs" } else { "assumed" };
    let plural = if jobs.high == 1 { "" } else { "s" };
    let line = format!(
        "on the Slurm cluster: {} job{plural}, one a launch; {} of a node's time ({from})",
        range((jobs.low, jobs.high)),
        times(*node_hours)
    );
    text.push('\n');
    wrap(text, line.split(' '), "", "  ", width);
    text.push_str("\n  jobs at once  time\n");
    // More than that can run launches.
    let fitting = partition.as_ref().map(|it| it.fitting);
    let is_room = |nodes: u32| fitting.is_none_or(|it| it > nodes as usize);
    for AtOnce { jobs, is_chosen, hours, nodes } in at_once {
        let mark = if *is_chosen { '>' } else { ' ' };
        let few = nodes.map_or_else(String::new, |it| match it {
            0 => "  (no node can run a launch)".to_owned(),
            1 => "  (only 1 node can run a launch)".to_owned(),
            it if is_room(it) => format!("  (on {it} nodes, which configurations share)"),
            it => format!("  (only {it} nodes can run a launch)"),
        });
        let _ = writeln!(text, "{mark} {jobs:>12}  {}{few}", times(*hours));
    }
    let mut line = "> `at-once`; without the time for which jobs wait in the queue".to_owned();
    if plan.least_launches.is_some() {
        line.push_str("; duels run one launch after another");
    }
    if plan.confirm.is_some() {
        line.push_str("; so does the confirmation");
    }
    wrap(text, line.split(' '), "  ", "  ", width);
    wrap(text, each_job(cluster).split(' '), "  ", "    ", width);
    wrap(text, of_partition(cluster).split(' '), "  ", "    ", width);
    wrap(text, spread(cluster, plan).split(' '), "  ", "    ", width);
}

fn times(hours: Range<f64>) -> String {
    match (spoken(hours.low * 3600.0), spoken(hours.high * 3600.0)) {
        (low, high) if low == high => low,
        (low, high) => format!("{low} to {high}"),
    }
}

/// What a job asks for.
fn each_job(cluster: &PlannedCluster<'_>) -> String {
    let slurm = cluster.slurm;
    let gres = slurm.gres.as_deref().unwrap_or("no gres");
    let from =
        if slurm.seconds.is_some() { "" } else { " (`time` by default: assumed, with slack)" };
    let alone = if slurm.exclusive { "alone on its node" } else { "beside others on its node" };
    let options = match slurm.options.as_slice() {
        [] => String::new(),
        options => format!(", {}", options.join(" ")),
    };
    let seconds = spoken(cluster.job_seconds as f64);
    format!("each job: {gres}, {alone}, at most {seconds}{from}{options}")
}

/// What the partition has, or why that is not known.
fn of_partition(cluster: &PlannedCluster<'_>) -> String {
    let named = cluster.slurm.partition.as_deref();
    let Some(seen) = &cluster.partition else {
        let name = named.map_or_else(|| "the default partition".to_owned(), of_name);
        let why = cluster.not_seen.as_deref().unwrap_or("nobody asked");
        return format!("{name}: not seen from here ({why})");
    };
    let SeenPartition { name, nodes, up, fitting, idle, limit_seconds, is_up, .. } = seen;
    let down = if *is_up { "" } else { "it is down; " };
    let asked = match (&cluster.slurm.gres, cluster.slurm.asked_of_node()) {
        (Some(gres), Some(asked)) if *gres == asked => {
            format!("{fitting} of them with that gres, ")
        }
        (_, Some(_)) => format!("{fitting} of them with what a launch asks for, "),
        (_, None) => String::new(),
    };
    let there = if *nodes == 0 {
        "`options` leave none of its nodes".to_owned()
    } else {
        let of_which = seen.of_which();
        format!("{up} of {nodes} nodes{of_which} take jobs, {asked}{idle} idle now")
    };
    let limit = match limit_seconds {
        Some(seconds) if *seconds < cluster.job_seconds => {
            let what = if cluster.slurm.seconds.is_some() { "lower" } else { "give a lower" };
            format!("a job may take {} only: {what} `time`", spoken(*seconds as f64))
        }
        Some(seconds) => format!("a job may take {}", spoken(*seconds as f64)),
        None => "a job may take any time".to_owned(),
    };
    let few = if cluster.slurm.exclusive && *fitting < cluster.slurm.at_once as usize {
        format!("; {fitting} can run at once, whatever `at-once` says")
    } else {
        String::new()
    };
    format!("{}: {down}{there}; {limit}{few}", of_name(name))
}

fn of_name(name: &str) -> String {
    format!("partition {name}")
}

/// How configurations come to nodes.
fn spread(cluster: &PlannedCluster<'_>, plan: &Plan<'_>) -> String {
    if cluster.slurm.lists_nodes() {
        return "nodes: of those that `options` allow, each launch runs on the one that the cluster \
                gives it; a node's speed is taken out as far as configurations share nodes"
            .to_owned();
    }
    if plan.launches_each_once() && cluster.slurm.at_once > 1 {
        return "nodes: each configuration is launched once, on the node that the cluster gives it: \
                nothing distinguishes it from its node"
            .to_owned();
    }
    if cluster.partition.as_ref().is_some_and(|it| it.fitting == 1) {
        return "nodes: one can run a launch now: all launches run there".to_owned();
    }
    if cluster.partition.as_ref().is_some_and(|it| it.fitting == 0) {
        return "nodes: none can run a launch now".to_owned();
    }
    let duels = if plan.least_launches.is_some() {
        ", and the second of a duel on the node of the first"
    } else {
        ""
    };
    let shared = cluster.shared;
    format!(
        "nodes: each launch is kept off the nodes that had its configuration, as long as there are \
         others{duels}; at most {shared} nodes are used, so that configurations share them: none is \
         known from one node alone, and a node's speed is taken out"
    )
}
