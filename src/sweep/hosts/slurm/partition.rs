//! What a partition has of what a launch asks for, by one question to the cluster: for a plan and
//! for a check. What a job comes to that asks for too much is `loss`'s.

use super::hostlist;
use super::reading::{Node, nodes};
use super::request;
use super::tool::Tool;
use crate::grid::SlurmBlock;
use crate::grid::plan::SeenPartition;

/// Why a partition was not seen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unseen {
    /// The cluster's command is not here, or its controller does not answer.
    #[error("{0}")]
    NoAnswer(String),
    /// The cluster has no such partition.
    #[error("the cluster has no partition `{0}`")]
    NoPartition(String),
    /// The grid names none, and the cluster has no default.
    #[error("the cluster has no default partition: name one by `partition`")]
    NoDefault,
}

/// Asks for the grid's partition, or the default one.
///
/// # Errors
/// Why it was not seen.
pub async fn see(tool: &dyn Tool, block: &SlurmBlock) -> Result<SeenPartition, Unseen> {
    let answer = tool.run(&request::partition(block.partition.as_deref())).await;
    let answer = answer.map_err(|error| Unseen::NoAnswer(error.to_string()))?;
    if !answer.is_done() {
        return Err(Unseen::NoAnswer(format!("sinfo: {}", answer.why())));
    }
    let (name, own) = own(&answer.out, block)?;
    let Some(first) = own.first() else { return Err(Unseen::NoPartition(name)) };
    let (limit_seconds, is_up) = (first.limit, first.is_open);
    let all = own.len();
    let own: Vec<Node> = own.into_iter().filter(|node| is_allowed(node, block)).collect();
    let fitting: Vec<&Node> = own.iter().filter(|node| fits(node, block)).collect();
    Ok(SeenPartition {
        nodes: own.len(),
        left_out: all - own.len(),
        up: own.iter().filter(|node| node.is_up()).count(),
        fitting: fitting.len(),
        idle: fitting.iter().filter(|node| node.state == "idle").count(),
        limit_seconds,
        is_up,
        name,
    })
}

/// The grid's partition, or the default one, by the answer of `sinfo`: its name and its nodes.
///
/// # Errors
/// The grid names none, and the cluster has no default.
pub(super) fn own(answer: &str, block: &SlurmBlock) -> Result<(String, Vec<Node>), Unseen> {
    let (all, default) = nodes(answer);
    let name = block.partition.clone().or(default).ok_or(Unseen::NoDefault)?;
    let own = all.into_iter().filter(|node| node.partition == name).collect();
    Ok((name, own))
}

/// Whether a node takes jobs and has what a launch gets.
pub(super) fn fits(node: &Node, block: &SlurmBlock) -> bool {
    node.is_up() && has_asked(node, block)
}

/// Whether a node has what a launch gets, whether it takes jobs or not.
pub(super) fn has_asked(node: &Node, block: &SlurmBlock) -> bool {
    let asked = block.gres.as_deref();
    let has_gres = asked.is_none_or(|asked| has(node.gres.as_deref().unwrap_or(""), asked));
    has_gres && !is_less(node.memory, block.memory()) && !is_less(node.cpus, block.cpus())
}

/// Whether something is known to be less than what is asked for.
fn is_less(there: Option<u64>, asked: Option<u64>) -> bool {
    there.zip(asked).is_some_and(|(there, asked)| there < asked)
}

/// Whether `options` let a launch run on a node.
pub(super) fn is_allowed(node: &Node, block: &SlurmBlock) -> bool {
    let mut named = block.named_nodes().map(hostlist::names).peekable();
    let is_named = named.peek().is_none() || named.flatten().any(|it| it == node.name);
    is_named && !block.excluded().flat_map(hostlist::names).any(|it| it == node.name)
}

/// Whether a node with this gres has what is asked for, each part of it.
fn has(gres: &str, asked: &str) -> bool {
    let there: Vec<Part<'_>> = gres.split(',').filter_map(Part::of).collect();
    asked.split(',').filter_map(Part::of).all(|asked| {
        let same = |it: &&Part<'_>| {
            it.name == asked.name && (asked.kind.is_none() || asked.kind == it.kind)
        };
        there.iter().filter(same).map(|it| it.count).sum::<u64>() >= asked.count
    })
}

/// One part of a gres: `name`, `name:count`, `name:type` or `name:type:count`.
struct Part<'a> {
    name: &'a str,
    kind: Option<&'a str>,
    count: u64,
}

impl<'a> Part<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let text = text.split('(').next()?.trim().trim_start_matches("gres/");
        let mut words = text.split([':', '=']);
        let name = words.next().filter(|name| !name.is_empty())?;
        let rest: Vec<&str> = words.collect();
        let (kind, count) = match rest[..] {
            [] => (None, None),
            [one] => one.parse().map_or((Some(one), None), |count| (None, Some(count))),
            [kind, .., count] => (Some(kind), count.parse().ok()),
        };
        Some(Self { name, kind, count: count.unwrap_or(1) })
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::super::tool::{Answer, ToolError};
    use super::*;

    struct Says(Result<Answer, ToolError>);

    #[async_trait]
    impl Tool for Says {
        async fn run(&self, words: &[String]) -> Result<Answer, ToolError> {
            assert_eq!(words[0], "sinfo");
            self.0.clone()
        }
    }

    fn block(partition: Option<&str>, gres: Option<&str>) -> SlurmBlock {
        SlurmBlock {
            partition: partition.map(str::to_owned),
            gres: gres.map(str::to_owned),
            at_once: 4,
            seconds: None,
            exclusive: true,
            options: Vec::new(),
        }
    }

    async fn seen(out: &str, block: &SlurmBlock) -> Result<SeenPartition, Unseen> {
        let answer = Answer { code: Some(0), out: out.to_owned(), ..Answer::default() };
        see(&Says(Ok(answer)), block).await
    }

    const NODES: &str = "n1|gpu*|idle|gpu:rtx4090:2(S:0-1)|1:00:00|8|16000|up\n\
                         n2|gpu*|mixed|gpu:rtx4090:1|1:00:00|8|16000\n\
                         n3|gpu*|drained|gpu:rtx4090:2|1:00:00|8|16000\n\
                         n1|short|idle|gpu:rtx4090:2|1:00|8|16000|down\n";

    #[tokio::test]
    async fn nodes_are_counted_by_what_they_have_and_whether_they_take_jobs() {
        let asks = block(None, Some("gpu:rtx4090:2"));
        let expected = SeenPartition {
            name: "gpu".to_owned(),
            nodes: 3,
            left_out: 0,
            up: 2,
            fitting: 1,
            idle: 1,
            limit_seconds: Some(3600),
            is_up: true,
        };
        assert_eq!(seen(NODES, &asks).await, Ok(expected));
        let any = seen(NODES, &block(Some("short"), None)).await.expect("a partition");
        assert_eq!((any.nodes, any.fitting, any.limit_seconds), (1, 1, Some(60)));
        assert!(!any.is_up);
    }

    #[tokio::test]
    async fn what_was_not_seen_has_its_reason() {
        let named = block(Some("nowhere"), None);
        assert_eq!(seen("", &named).await, Err(Unseen::NoPartition("nowhere".to_owned())));
        let none = seen("n1|gpu|idle|(null)|infinite|8|16000\n", &block(None, None)).await;
        assert_eq!(none, Err(Unseen::NoDefault));
        let down = Answer {
            code: Some(1),
            err: "slurm_load_partitions: Unable to contact slurm controller (connect failure)\n"
                .to_owned(),
            ..Answer::default()
        };
        let why = see(&Says(Ok(down)), &named).await.expect_err("no answer").to_string();
        assert!(why.starts_with("sinfo: ") && why.contains("Unable to contact"), "{why}");
    }

    #[tokio::test]
    async fn nodes_that_options_exclude_or_that_have_too_little_can_run_no_launch() {
        let fitting = async |options: &[&str]| {
            let options = options.iter().map(|&it| it.to_owned()).collect();
            let seen = seen(NODES, &SlurmBlock { options, ..block(None, None) }).await;
            let seen = seen.expect("a partition");
            assert_eq!(seen.nodes + seen.left_out, 3, "all of the partition");
            (seen.nodes, seen.up, seen.fitting)
        };
        assert_eq!(fitting(&[]).await, (3, 2, 2));
        assert_eq!(fitting(&["--exclude=n2"]).await, (2, 1, 1));
        assert_eq!(fitting(&["--exclude=n[1-2],x"]).await, (1, 0, 0));
        assert_eq!(fitting(&["--nodelist=n2"]).await, (1, 1, 1));
        assert_eq!(fitting(&["--mem=900G"]).await, (3, 2, 0));
        assert_eq!(fitting(&["--mem=16000"]).await, (3, 2, 2));
        assert_eq!(fitting(&["--cpus-per-task=9"]).await, (3, 2, 0));
        // Nothing is left, and the partition is there all the same.
        assert_eq!(fitting(&["--exclude=n[1-3]"]).await, (0, 0, 0));
    }

    #[test]
    fn a_node_has_what_is_asked_for_by_name_type_and_number() {
        for (asked, is_had) in [
            ("gpu", true),
            ("gpu:2", true),
            ("gpu:3", true),
            ("gpu:4", false),
            ("gpu:rtx4090:2", true),
            ("gpu:rtx4090:3", false),
            ("gpu:h100:1", false),
            ("gpu:rtx4090:2,fpga:1", false),
            ("shard:1", false),
        ] {
            assert_eq!(has("gpu:rtx4090:2(S:0-1),gpu:a100:1", asked), is_had, "{asked}");
        }
        assert!(!has("", "gpu:1"));
    }
}
