//! What a cluster is asked for while a job is followed: to end it, and where it may run. What its
//! node writes is read meanwhile.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::super::cluster::Cluster;
use super::super::nodes::{Picture, Placed, Share};
use super::super::request;
use super::{ENDS_WITHIN, Following};

/// How often a cluster is asked again for what it may not have heard.
const AGAIN: Duration = Duration::from_secs(10);
/// How long a job waits for nodes that the run uses and somebody else has, before it may run on
/// others.
const PATIENCE: Duration = Duration::from_mins(10);
/// How long a cluster may take to look again at a job that may run elsewhere now.
const SETTLES: Duration = Duration::from_mins(2);

/// What a cluster is asked for until it does it: it may not have heard it.
#[derive(Debug, Default)]
pub(super) struct Repeated {
    pub(super) is_done: bool,
    last: Option<Instant>,
}

impl Repeated {
    /// Whether it is to be asked for now, which then it is.
    pub(super) fn is_due(&mut self) -> bool {
        let is_due = !self.is_done && self.last.is_none_or(|at| at.elapsed() >= AGAIN);
        if is_due {
            self.last = Some(Instant::now());
        }
        is_due
    }
}

/// What is known of where a job that waits may run.
#[derive(Debug, Default)]
pub(super) struct Moving {
    /// By what it was decided last that it stays there.
    pub(super) by: Option<(u64, Option<Instant>, Share)>,
    /// Whether that is not known: an earlier session said it.
    pub(super) unplaced: bool,
    /// Since when it waits although a node that the run uses has none of its launches.
    pub(super) starved: Option<Instant>,
}

/// Ends when the cluster has answered, where it was asked for something.
pub(super) async fn answered(asking: &mut Option<BoxFuture<'_, ()>>) {
    match asking {
        Some(asking) => asking.await,
        None => std::future::pending().await,
    }
}

impl<'a> Following<'a> {
    /// Ends the job: one that waits is cancelled, one that runs is asked to end, and cancelled
    /// where it does not.
    pub(super) fn end(&mut self) {
        let asked = *self.asked.get_or_insert_with(Instant::now);
        // Again and again: the cluster may not have heard it.
        if self.over.is_some() || self.asking.is_some() || !self.ending.is_due() {
            return;
        }
        let (cluster, job): (&'a Cluster, String) = (self.cluster, self.job.clone());
        if self.host.is_some() && asked.elapsed() <= ENDS_WITHIN {
            self.asking = Some(Box::pin(async move {
                if cluster.is_ours(&job).await {
                    let _ = cluster.tool.run(&request::ask_to_end(&job)).await;
                }
            }));
            return;
        }
        // It may have started a moment ago: a cancelled batch script gets a SIGTERM as well.
        if self.host.is_some() && !std::mem::replace(&mut self.cancelled, true) {
            self.emit.warn(format!("job {} does not end: it is cancelled", self.job));
        }
        self.asking = Some(Box::pin(async move { cluster.cancel(&job).await }));
    }

    /// Whether a job that waits since no node has what it asks for was let on nodes that it was kept
    /// off only to spread configurations, and the cluster is still to look at it.
    pub(super) async fn is_widened(&mut self, reason: &str) -> bool {
        // What an earlier session kept it off is not known here.
        let of_earlier = self.making.taken_up.is_some() && self.widened.is_none();
        let wider = {
            let nodes = self.cluster.nodes();
            nodes.wider(&self.placed).or_else(|| of_earlier.then(|| nodes.anywhere()))
        };
        if let Some(wider) = wider
            && self.widening.is_due()
        {
            // The cluster may not have heard it: it is asked again.
            self.widened.get_or_insert_with(Instant::now);
            if self.places(wider, true).await {
                self.cluster.says_wider(&self.emit, reason);
                self.widened = Some(Instant::now());
            }
        }
        self.widened.is_some_and(|at| at.elapsed() < SETTLES)
    }

    /// Where a job that waits may run follows what nodes do meanwhile: where the others are down, on
    /// those that had its configuration, and not on those that were refused or have it now.
    pub(super) async fn moves(&mut self, reason: &str) {
        // Where the grid names nodes, none was kept off by us, and its choice stays.
        let is_short = is_short_of_nodes(reason) && !self.cluster.block.lists_nodes();
        if is_short {
            self.cluster.looks_at_nodes(self.making, true).await;
        }
        let is_moved = self.follows_nodes().await;
        if is_short && !is_moved && self.goes_anywhere.is_due() {
            let placed = self.cluster.nodes().anywhere();
            self.goes_anywhere.is_done = self.places(placed, true).await;
        }
    }

    /// Has the job placed anew where nodes changed; whether there was another place for it.
    async fn follows_nodes(&mut self) -> bool {
        let picture = self.cluster.last_picture();
        let at = picture.as_ref().map(|it| it.0);
        let picture = picture.as_ref().map(|it| &*it.1);
        // Each of many jobs is looked at each second: what did not change is not reckoned again.
        let is_known = |version, share| self.moving.by == Some((version, at, share));
        let version = self.cluster.nodes().version();
        let due = self.moving.starved.is_some_and(|since| since.elapsed() > PATIENCE);
        if is_known(version, if due { Share::Any } else { Share::Used }) {
            return false;
        }
        let share = self.share(picture);
        let order = self.making.order;
        let placed = {
            let mut nodes = self.cluster.nodes();
            let moved = match picture.filter(|_| self.moving.unplaced) {
                Some(picture) => nodes.placed(order, picture, share).ok(),
                None => nodes.moved(order, &self.placed, picture, share),
            };
            let Some(placed) = moved else {
                self.moving.by = Some((version, at, share));
                return false;
            };
            if !self.keeps_off.is_due() {
                return true;
            }
            // Noted before the cluster is asked: other jobs that wait are placed by it.
            let launch = &order.launch;
            nodes.sent(launch.launch, &launch.configuration.name, &placed, picture);
            placed
        };
        let anywhere = placed.only.is_none() && self.placed.only.is_some();
        if self.places(placed, anywhere).await {
            self.moving.unplaced = false;
        } else {
            self.cluster.is_sent(self.making, &self.placed, picture);
        }
        true
    }

    /// Whether the job may run on nodes that the run does not use so far: somebody else has those,
    /// and it waited for long.
    fn share(&mut self, picture: Option<&Picture>) -> Share {
        let Some(picture) = picture else { return Share::Used };
        if !self.cluster.nodes().has_room(picture) {
            self.moving.starved = None;
            return Share::Used;
        }
        let since = *self.moving.starved.get_or_insert_with(Instant::now);
        if since.elapsed() > PATIENCE { Share::Any } else { Share::Used }
    }

    /// Whether the cluster changed where the job may run, which is known then.
    async fn places(&mut self, placed: Placed, anywhere: bool) -> bool {
        let Self { cluster, job, .. } = self;
        // The nodes that a grid lists stay its choice.
        let anywhere = anywhere && !cluster.block.lists_nodes();
        let words = request::exclude(&cluster.block, job, &placed.exclude, anywhere);
        let cancel = self.making.cancel;
        // A stop does not wait for a cluster that hangs.
        let is_done = tokio::select! {
            biased;
            () = cancel.cancelled() => false,
            is_done = self.does(&words) => is_done,
        };
        if is_done {
            let picture = self.cluster.last_picture();
            self.cluster.is_sent(self.making, &placed, picture.as_ref().map(|it| &*it.1));
            self.placed = placed;
        }
        is_done
    }

    /// Whether the cluster did what was asked.
    pub(super) async fn does(&mut self, words: &[String]) -> bool {
        self.cluster.tool.run(words).await.is_ok_and(|answer| answer.is_done())
    }
}

/// Whether a job waits for nodes that are not there.
fn is_short_of_nodes(reason: &str) -> bool {
    reason.contains("DOWN, DRAINED") || reason.starts_with("ReqNodeNotAvail")
}
