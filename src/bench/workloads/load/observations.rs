//! What is seen during one loop: what the server counted of it, and when it ran. Of
//! a search each step has its own.

use std::future::Future;

use super::generate::Generated;
use super::{Run, Stop};
use crate::bench::traffic::{Sent, Settled, settle};
use crate::client::clock::now_ns;
use crate::server::counters::Counters;
use crate::telemetry::watch::{Readings, Watch};

/// What was seen during a loop.
#[derive(Debug, Default)]
pub(crate) struct LoadObservations {
    /// The counters with nothing in flight, before and after; `None` where the
    /// server does not count, or not only our requests.
    pub(crate) counters: Option<(Counters, Counters)>,
    /// The counters each second.
    pub(crate) readings: Readings,
    /// When it ran, on the bench's clock.
    pub(crate) ran: Option<(u64, u64)>,
    /// What shows somebody else's requests.
    pub(crate) foreign: Option<String>,
}

impl Run<'_, '_> {
    /// Runs a loop and reads its counters meanwhile. The counters after one loop are
    /// those before the next: what was served between them is foreign.
    pub(super) async fn watched(
        &mut self,
        running: impl Future<Output = Generated>,
    ) -> Result<(Generated, LoadObservations), Stop> {
        let watch = Watch::start(self.repeat.session.http().clone(), self.counters.is_some());
        let began_ns = now_ns();
        let generated = running.await;
        let ran = Some((began_ns, now_ns()));
        let mut readings = watch.stop();
        if self.repeat.session.cancel().is_cancelled() {
            return Err(Stop::Cancelled);
        }
        let (before, sent) = (self.counters.as_ref(), Sent::of(&generated.records));
        let (counters, foreign) = match settle(self.repeat.session, before, sent).await {
            Settled::Ours(after) => (self.counters.replace(*after.clone()).zip(Some(*after)), None),
            Settled::Unknown => (None, None),
            Settled::Not(reason) => (None, Some(reason)),
            Settled::Cancelled => return Err(Stop::Cancelled),
        };
        if self.repeat.session.standing().unusable.is_some() {
            // They are of one process or another.
            readings.clear();
        }
        self.repeat.session.record_counters(&readings);
        Ok((generated, LoadObservations { counters, readings, ran, foreign }))
    }
}
