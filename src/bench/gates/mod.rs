//! Asks a launch's server what the gates want to know, before anything is measured. What is
//! asked of it and what an answer is worth is [`crate::gate`]'s; what a failed gate means for
//! the launch is the sweep's. No figure of a workload comes from here.

mod canary;
mod function;
mod survival;

use std::time::Duration;

use tokio::time::timeout;

use crate::bench::error::BenchError;
use crate::bench::liveness;
use crate::bench::session::Session;
use crate::client::Answer;
use crate::client::clock::Clock;
use crate::client::record::{RequestErrorClass, RequestRecord};
use crate::client::request::{Prepared, RequestSpec, Target};
use crate::client::{Order, Slot};
use crate::event::Phase;
use crate::gate::{Gate, GateOrder, GateReport};

/// How long a broken connection is given before its request is sent once more.
const AGAIN: Duration = Duration::from_secs(2);

/// Goes through one gate.
///
/// # Errors
/// A stop, a lack of something here, or an engine that was lost where that is not what the
/// gate looks for: a server that answers nothing says nothing of its configuration.
pub(crate) async fn run(
    session: &Session,
    gate: Gate,
    order: &GateOrder,
) -> Result<GateReport, BenchError> {
    session.emit().phase(Phase::Gate(gate));
    let report = match gate {
        Gate::Canary => canary::ask(session, order).await,
        Gate::Survival => survival::ask(session, order).await,
        Gate::Function => function::ask(session, order).await,
    };
    if session.cancel().is_cancelled() {
        return Err(BenchError::Cancelled);
    }
    if let Some(what) = session.shortage() {
        return Err(BenchError::Shortage(what.to_owned()));
    }
    if gate.is_of_death() || report.is_clean() {
        return Ok(report);
    }
    match liveness::down(session.http()).await {
        Some(what) => Err(BenchError::LostInGate(what)),
        None => Ok(report),
    }
}

/// What came back of one request.
struct Reply {
    record: RequestRecord,
    answer: Answer,
}

impl Reply {
    /// Why there is no answer; that its tokens were not counted does not matter here.
    fn failure(&self) -> Option<&str> {
        let failure = self.record.failure()?;
        (failure.class != RequestErrorClass::MissingUsage).then_some(failure.message.as_str())
    }

    /// Whether the server does not offer this form of a request.
    fn is_refused(&self) -> bool {
        self.failure().is_some() && matches!(self.record.http_status, Some(400 | 404 | 405 | 422))
    }
}

/// Sends one request on a connection of its own, and once more where the connection broke.
/// It has the fields of the grid's requests, but for what the gate itself sets.
async fn send(
    session: &Session,
    order: &GateOrder,
    purpose: &str,
    spec: RequestSpec,
    patience: Duration,
) -> Reply {
    let fields = order.request.clone().keeping(|name, _| {
        !spec.extra.contains_key(name) && (name != "temperature" || spec.temperature.is_none())
    });
    let target = Target::new(&session.server().model).with_fields(fields.fields().clone());
    let prepared = spec.prepare(&target);
    let reply = send_once(session, purpose, &prepared, patience).await;
    let class = reply.record.failure().map(|failure| failure.class);
    let is_broken = matches!(class, Some(RequestErrorClass::Connect | RequestErrorClass::Cut));
    if !is_broken || session.cancel().is_cancelled() {
        return reply;
    }
    session.cancel().run_until_cancelled(tokio::time::sleep(AGAIN)).await;
    send_once(session, purpose, &prepared, patience).await
}

async fn send_once(
    session: &Session,
    purpose: &str,
    prepared: &Prepared,
    patience: Duration,
) -> Reply {
    // Its own stop, so that one that takes too long ends without the others.
    let (stop, mut slot) = (session.cancel().child_token(), Slot::default());
    let order = Order { index: 0, purpose, scheduled_ns: None };
    let mut sending =
        std::pin::pin!(session.client().send(&mut slot, prepared, order, Clock::start(), &stop));
    let (outcome, is_late) = if let Ok(outcome) = timeout(patience, &mut sending).await {
        (outcome, false)
    } else {
        stop.cancel();
        (sending.await, true)
    };
    let mut record = outcome.record;
    if let Some(error) = record.error.as_mut().filter(|_| is_late) {
        error.message = format!("no whole answer within {} s", patience.as_secs());
    }
    Reply { record, answer: outcome.answer.unwrap_or_default() }
}
