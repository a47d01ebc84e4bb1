//! Where launches are to run, by what the cluster says of its nodes: that is asked for once in a while
//! for all of them. Which nodes a launch is kept off is decided in `nodes`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::super::{Making, SweepError};
use super::cluster::Cluster;
use super::nodes::{Picture, Placed, Share};
use super::reading::Node;
use super::submit::environment;
use super::tool::Answer;
use super::{partition, request};
use crate::event::Phase;

/// Least time between two questions for the partition's nodes.
const NODES_EVERY: Duration = Duration::from_secs(30);
/// The same where an older answer would let a launch run where its configuration ran.
const NODES_SOON: Duration = Duration::from_secs(5);
/// How long a launch waits for the answer.
const NODES_WITHIN: Duration = Duration::from_secs(10);

impl Cluster {
    /// Where a launch is to run, which is noted: the next one of its configuration goes elsewhere.
    pub(super) async fn placed(&self, making: &Making<'_>) -> Result<Placed, SweepError> {
        let order = making.order;
        let mut picture = self.picture(NODES_EVERY).await;
        let mut is_said = false;
        while self.nodes().waits_for_others(order, &picture) {
            if !std::mem::replace(&mut is_said, true) {
                let what = "waits until it is known where the launches before it run";
                let emit = making.emit.of_launch(order.launch.launch);
                emit.phase(Phase::Elsewhere(what.to_owned()));
            }
            sleep(Duration::from_secs(1)).await;
            picture = self.picture(NODES_EVERY).await;
        }
        let is_clear = {
            let nodes = self.nodes();
            let placed = nodes.placed(order, &picture, Share::Used);
            placed.is_ok_and(|it| nodes.is_spread(order, &it))
        };
        // A node may have come back since.
        if !is_clear {
            picture = self.picture(NODES_SOON).await;
        }
        let placed = {
            let mut nodes = self.nodes();
            let placed = nodes.placed(order, &picture, Share::Used).or_else(|why| {
                let is_forgiven = nodes.forgive();
                if is_forgiven { nodes.placed(order, &picture, Share::Used) } else { Err(why) }
            });
            let name = &order.launch.configuration.name;
            placed.inspect(|it| nodes.sent(order.launch.launch, name, it, Some(&picture)))
        };
        placed.map_err(|why| {
            environment(format!(
                "no node is left that can make launches: {why}. `vllm-grid resume` continues when \
                 that is put right"
            ))
        })
    }

    /// Notes where a launch may run now; without a picture what was known of its node stays.
    pub(super) fn is_sent(&self, making: &Making<'_>, placed: &Placed, picture: Option<&Picture>) {
        let order = &making.order.launch;
        self.nodes().sent(order.launch, &order.configuration.name, placed, picture);
    }

    /// The nodes of the partition that the grid's options allow, as they were so long ago at most.
    /// What else these ask for is not known here: where no other node has that, the cluster says so,
    /// and what kept a launch off nodes is left out.
    async fn picture(&self, within: Duration) -> Arc<Picture> {
        let mut seen = self.seen.lock().await;
        if let Some((at, picture)) = seen.as_ref() {
            // One that does not answer is not asked again soon: launches wait for each question.
            let within = if picture.up.is_some() { within } else { NODES_EVERY };
            if at.elapsed() < within {
                return Arc::clone(picture);
            }
        }
        let words = request::partition(self.block.partition.as_deref());
        let answer = timeout(NODES_WITHIN, self.tool.run(&words)).await;
        let answer = answer.ok().and_then(Result::ok).filter(Answer::is_done);
        let own = answer.and_then(|it| partition::own(&it.out, &self.block).ok());
        let is_chosen = self.block.lists_nodes();
        let picture = if let Some((_, nodes)) = own.filter(|(_, nodes)| !nodes.is_empty()) {
            let usable = |it: &Node| {
                partition::is_allowed(it, &self.block) && partition::has_asked(it, &self.block)
            };
            let usable: Vec<Node> = nodes.into_iter().filter(usable).collect();
            let up = usable.iter().filter(|it| it.is_up()).map(|it| it.name.clone()).collect();
            let all = usable.into_iter().map(|it| it.name).collect();
            Picture { up: Some(up), all, is_chosen }
        } else {
            let all = seen.as_ref().map(|(_, picture)| picture.all.clone());
            Picture { up: None, all: all.unwrap_or_default(), is_chosen }
        };
        let picture = Arc::new(picture);
        *seen = Some((Instant::now(), Arc::clone(&picture)));
        picture
    }

    /// Has the partition's nodes known as they were when the launch was submitted, or, where nodes
    /// changed, as they are now; unless a stop comes first.
    pub(super) async fn looks_at_nodes(&self, making: &Making<'_>, changed: bool) {
        let within = if changed { NODES_SOON } else { NODES_EVERY };
        tokio::select! {
            biased;
            () = making.cancel.cancelled() => {}
            _ = self.picture(within) => {}
        }
    }

    /// The nodes of the partition by its last answer, and when that was, where nobody asks for them
    /// just now.
    pub(super) fn last_picture(&self) -> Option<(Instant, Arc<Picture>)> {
        self.seen.try_lock().ok()?.clone()
    }
}
