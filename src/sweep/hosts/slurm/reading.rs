//! What Slurm's commands answer, as data: the id of a job that was submitted, the states of
//! jobs, the nodes of a partition. Pure. What a state means for a launch is in `state`.

use std::collections::BTreeMap;

use super::request::of_comment;
use super::state::{Ended, State};

/// A job as `squeue` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its state.
    pub state: State,
    /// The node that it runs or ran on.
    pub node: Option<String>,
    /// How often it was started anew.
    pub restarts: u32,
    /// How its program ended, as the kernel counts it: a status times 256, or a signal. Slurm has
    /// numbers of its own beyond them.
    pub exit: Option<u32>,
    /// Why it waits, in Slurm's words.
    pub reason: Option<String>,
    /// Run and launch, where its comment is one of ours.
    pub ours: Option<(String, u32)>,
}

/// The id that `sbatch --parsable` answers; `None` where it is none. A cluster's name may follow
/// it.
pub fn submitted(out: &str) -> Option<String> {
    let id = out.lines().next_back()?.trim().split(';').next()?;
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    is_id.then(|| id.to_owned())
}

/// Jobs by their ids, as `squeue` lists them by the fields that are asked for. Lines that are not
/// of that form are left out.
pub fn jobs(out: &str) -> BTreeMap<String, Job> {
    out.lines().filter_map(job).collect()
}

fn job(line: &str) -> Option<(String, Job)> {
    let line = line.trim_end().strip_suffix('|')?;
    let fields: Vec<&str> = line.splitn(6, '|').map(str::trim).collect();
    let [id, state, node, restarts, exit, rest] = fields[..] else { return None };
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    // A reason may have the sign, too: the comment is what follows the last one.
    let (reason, comment) = rest.rsplit_once('|')?;
    let some = |text: &str| (!text.is_empty() && text != "(null)").then(|| text.to_owned());
    let job = Job {
        state: State::of(state),
        node: some(node),
        restarts: restarts.parse().unwrap_or(0),
        exit: exit.parse().ok(),
        reason: some(reason.trim()).filter(|it| it != "None"),
        ours: of_comment(comment.trim()).map(|(run, launch)| (run.to_owned(), launch)),
    };
    is_id.then(|| (id.to_owned(), job))
}

/// How a job ended, as `sacct` lists it; `None` where it does not know the job, or not its end.
pub fn accounted(out: &str, job: &str) -> Option<Ended> {
    let line = out.lines().map(|line| line.split('|').collect::<Vec<_>>());
    let mut of_job = line.filter(|fields| fields.first().is_some_and(|id| id.trim() == job));
    match State::of(of_job.next_back()?.get(1)?) {
        State::Ended(ended) => Some(ended),
        _ => None,
    }
}

/// A node of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its partition, without the mark of the default one.
    pub partition: String,
    /// Its state, in Slurm's words without marks.
    pub state: String,
    /// What it has besides processors and memory, such as `gpu:rtx4090:2`.
    pub gres: Option<String>,
    /// Its processors, where the answer has them.
    pub cpus: Option<u64>,
    /// Its memory in MiB, where the answer has it.
    pub memory: Option<u64>,
    /// Seconds that a job may take; `None` without a limit.
    pub limit: Option<u64>,
    /// Whether its partition takes jobs and starts them.
    pub is_open: bool,
}

impl Node {
    /// Whether it takes jobs, now or when others have ended.
    pub fn is_up(&self) -> bool {
        ["idle", "mixed", "allocated", "completing", "planned", "reserved", "maint"]
            .contains(&self.state.as_str())
    }
}

/// The nodes that `sinfo` lists, those of the default partition marked by `*` in its answer: its
/// name is the second value.
pub fn nodes(out: &str) -> (Vec<Node>, Option<String>) {
    let mut default = None;
    let nodes = out.lines().filter_map(|line| {
        let fields: Vec<&str> = line.trim_end().split('|').map(str::trim).collect();
        let [name, partition, state, gres, limit, ref rest @ ..] = fields[..] else { return None };
        let named = partition.trim_end_matches('*');
        if named.len() < partition.len() {
            default = Some(named.to_owned());
        }
        let state = state.trim_end_matches(|c: char| !c.is_ascii_alphabetic());
        let gres = (!gres.is_empty() && gres != "(null)").then(|| gres.to_owned());
        Some(Node {
            name: name.to_owned(),
            partition: named.to_owned(),
            state: state.to_ascii_lowercase(),
            gres,
            limit: seconds(limit),
            cpus: rest.first().and_then(|it| it.parse().ok()),
            memory: rest.get(1).and_then(|it| it.parse().ok()),
            // After processors and memory.
            is_open: rest.get(2).is_none_or(|it| *it == "up"),
        })
    });
    let nodes = nodes.collect();
    (nodes, default)
}

/// Seconds of a limit: `minutes`, `minutes:seconds`, `hours:minutes:seconds`, with `days-` before;
/// `None` of `infinite` and of what is no time.
pub fn seconds(limit: &str) -> Option<u64> {
    let (days, rest) = match limit.split_once('-') {
        Some((days, rest)) => (days.parse::<u64>().ok()?, rest),
        None => (0, limit),
    };
    let parts: Vec<u64> =
        rest.split(':').map(|it| it.parse().ok()).collect::<Option<Vec<u64>>>()?;
    let rest = match (parts[..].len(), limit.contains('-')) {
        (1, false) => parts[0] * 60,
        (1, true) => parts[0] * 3600,
        (2, false) => parts[0] * 60 + parts[1],
        (2, true) => parts[0] * 3600 + parts[1] * 60,
        (3, _) => parts[0] * 3600 + parts[1] * 60 + parts[2],
        _ => return None,
    };
    Some(days * 86_400 + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_last_line_with_or_without_its_cluster() {
        assert_eq!(submitted("4711\n").as_deref(), Some("4711"));
        assert_eq!(submitted("4711;mini\n").as_deref(), Some("4711"));
        assert_eq!(submitted("sbatch: lua: be kind\n12\n").as_deref(), Some("12"));
        for none in ["", "Submitted batch job 2x", "\n", "-1"] {
            assert_eq!(submitted(none), None, "{none}");
        }
    }

    #[test]
    fn jobs_are_read_whatever_stands_in_a_reason() {
        let all = jobs(
            "7|RUNNING|n1|1|0|None|vllm-grid:0123:4|\n\
             8|PENDING||0|0|Nodes required for job are DOWN, DRAINED or a|b|(null)|\n\
             9|NODE_FAIL|n2|0|9|NodeFail|vllm-grid:0123:5|\n\
             a line end in somebody's comment|\n\
             garbage\n",
        );
        assert_eq!(all.len(), 3);
        let of = |id: &str| all[id].clone();
        assert_eq!((of("7").state, of("7").restarts), (State::Runs, 1));
        assert_eq!(of("7").ours, Some(("0123".to_owned(), 4)));
        assert_eq!((of("8").node, of("8").ours), (None, None));
        let why = "Nodes required for job are DOWN, DRAINED or a|b";
        assert_eq!(of("8").reason.as_deref(), Some(why));
        assert_eq!(of("9").state, State::Ended(Ended::NodeFailed));
        assert_eq!(of("9").exit, Some(9));
    }

    #[test]
    fn accounting_says_how_a_job_ended_that_the_queue_forgot() {
        let out = include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/captures/slurm/acct-sacct.out"
        ));
        for (job, ended) in [
            ("4", Some(Ended::Failed)),
            ("5", Some(Ended::Cancelled)),
            ("6", Some(Ended::Completed)),
            ("7", Some(Ended::Preempted)),
            ("9999", None),
        ] {
            assert_eq!(accounted(out, job), ended, "{job}");
        }
        // Its data base is late.
        assert_eq!(accounted("12|RUNNING|n1\n", "12"), None);
        assert_eq!(accounted("", "12"), None);
    }

    #[test]
    fn nodes_have_their_partition_state_gpus_and_limit() {
        let (all, default) = nodes(
            "n1|gpu*|idle|gpu:rtx4090:2(S:0-1)|infinite|2|1000|up\n\
             n2|gpu*|drained*|gpu:rtx4090:2|1-00:00:00|2|1000\n\
             n2|night|mixed|(null)|30:00|2|1000|down\n",
        );
        assert_eq!((all.len(), default.as_deref()), (3, Some("gpu")));
        assert_eq!(all.iter().map(Node::is_up).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(
            all.iter().map(|it| it.limit).collect::<Vec<_>>(),
            [None, Some(86_400), Some(1800)]
        );
        assert_eq!(all.iter().map(|it| it.is_open).collect::<Vec<_>>(), [true, true, false]);
        let gres: Vec<_> = all.iter().map(|it| it.gres.as_deref()).collect();
        assert_eq!(gres, [Some("gpu:rtx4090:2(S:0-1)"), Some("gpu:rtx4090:2"), None]);
    }

    #[test]
    fn limits_are_read_in_all_forms() {
        let of =
            [("5", 300), ("5:30", 330), ("1:00:00", 3600), ("2-3", 183_600), ("1-1:30", 91_800)];
        for (text, value) in of {
            assert_eq!(seconds(text), Some(value), "{text}");
        }
        assert_eq!(seconds("1-01:01:01"), Some(90_061));
        for none in ["infinite", "UNLIMITED", "n/a", "", "1:2:3:4"] {
            assert_eq!(seconds(none), None, "{none}");
        }
    }
}
