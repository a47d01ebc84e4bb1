//! What lives for one repeat, made anew for each: its clock, its name, when what is
//! measured began and ended, and the requests that no metric is of. Workloads are
//! given it, and the launch's session through it.

use crate::bench::prompt::generate::derive;
use crate::bench::session::Session;
use crate::client::clock::{Clock, now_ns};
use crate::client::record::RequestRecord;
use crate::client::request::{Prepared, Target};
use crate::client::{Order, Outcome};
use crate::server::counters::Counters;
use crate::telemetry::Telemetry;
use crate::telemetry::summary::{self, EngineActivity};
use crate::workload::Workload;

/// One repeat while it runs.
#[derive(Debug)]
pub(crate) struct RepeatContext<'s> {
    /// The launch that it is part of.
    pub(crate) session: &'s mut Session,
    is_warmup: bool,
    name: String,
    /// What all its requests have in common.
    target: Target,
    /// Its number among all repeats of the launch: what makes its salts unique.
    serial: u32,
    clock: Clock,
    /// When what is measured began.
    began_ns: u64,
    /// When it ended, where that was before the repeat did.
    ended_ns: Option<u64>,
    counted: Counted,
    aside: Vec<RequestRecord>,
}

/// Between which readings of the server's counters lies what is measured.
#[derive(Debug)]
pub(crate) enum Counted {
    /// Those before and after the whole repeat.
    WholeRepeat,
    /// These; `None` where the counters are not of our requests alone.
    Between(Option<Box<(Counters, Counters)>>),
}

/// What is left of a repeat that is over.
#[derive(Debug)]
pub(crate) struct EndedRepeat {
    /// The clock from which its records count.
    pub(crate) clock: Clock,
    /// From and to: what is measured, in times of [`now_ns`].
    pub(crate) window: (u64, u64),
    /// What the server counted of it.
    pub(crate) counted: Counted,
    /// Requests that no metric is of.
    pub(crate) aside: Vec<RequestRecord>,
}

impl<'s> RepeatContext<'s> {
    /// Starts a repeat of a workload and its clock; `number` 0 is a warm-up.
    pub(crate) fn start(session: &'s mut Session, workload: &Workload, number: u32) -> Self {
        let fields = workload.request.fields().clone();
        let target = Target::new(&session.server().model)
            .with_fields(fields)
            .leaving_out(session.client().left_out().clone());
        let serial = session.next_serial();
        let is_warmup = number == 0;
        // Warm-ups differ by their serial number, kept repeats by their own.
        let name = if is_warmup { format!("warm-up {serial}") } else { number.to_string() };
        let (clock, began_ns) = (Clock::start(), now_ns());
        Self {
            session,
            is_warmup,
            name,
            target,
            serial,
            clock,
            began_ns,
            ended_ns: None,
            counted: Counted::WholeRepeat,
            aside: Vec::new(),
        }
    }

    /// It is over, unless [`RepeatContext::measured`] has said when.
    pub(crate) fn end(self) -> EndedRepeat {
        let window = (self.began_ns, self.ended_ns.unwrap_or_else(now_ns));
        EndedRepeat { clock: self.clock, window, counted: self.counted, aside: self.aside }
    }

    /// Whether it is discarded.
    pub(crate) fn is_warmup(&self) -> bool {
        self.is_warmup
    }

    /// Its name: the same in every launch for a kept repeat.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What all its requests have in common: the model, and the fields of `request`.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// The clock from which its records count.
    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// What is measured begins now: what came before was to prepare it.
    pub(crate) fn begins(&mut self) {
        self.began_ns = now_ns();
    }

    /// What is measured ran between these times of [`now_ns`]; the rest of the repeat
    /// prepared it, or is not reported.
    pub(crate) fn measured(&mut self, from_ns: u64, to_ns: u64) {
        (self.began_ns, self.ended_ns) = (from_ns, Some(to_ns));
    }

    /// What the server counted of what is measured, before and after: where that is only a
    /// part of the repeat. `None` where the counters are not of our requests alone.
    pub(crate) fn counted(&mut self, counters: Option<(Counters, Counters)>) {
        self.counted = Counted::Between(counters.map(Box::new));
    }

    /// What the engine's samples show since [`RepeatContext::begins`].
    pub(crate) fn engine_activity(&self) -> EngineActivity {
        let samples = self.session.telemetry().map(Telemetry::samples).unwrap_or_default();
        summary::engine(&samples, (self.began_ns, now_ns()))
    }

    /// Sends one request on the connection of a closed loop of one.
    pub(crate) async fn send(&mut self, prompt: &Prepared, order: Order<'_>) -> Outcome {
        let cancel = self.session.cancel().clone();
        let (client, slot) = self.session.connection();
        client.send(slot, prompt, order, self.clock, &cancel).await
    }

    /// Keeps requests that were sent and that no metric is of: to learn a length
    /// or a pace, or at a rate that is not the one reported.
    pub(crate) fn keep_aside(&mut self, records: impl IntoIterator<Item = RequestRecord>) {
        self.aside.extend(records);
    }

    /// Position of the next request, where `measured` ones were sent by the workload
    /// and none is in flight.
    pub(crate) fn position(&self, measured: usize) -> u32 {
        u32::try_from(self.aside.len() + measured).unwrap_or(u32::MAX)
    }

    /// A number unique to (sweep, launch, repeat, `parts`).
    pub(crate) fn salt_number(&self, parts: &[&str]) -> u64 {
        let settings = self.session.settings();
        let (launch, serial) = (settings.launch.to_string(), self.serial.to_string());
        let mut all = vec![settings.salt.as_str(), &launch, &serial];
        all.extend(parts);
        derive(&all)
    }

    /// A number unique to (seed, repeat, `parts`): the same for every configuration.
    pub(crate) fn seed_number(&self, parts: &[&str]) -> u64 {
        let seed = self.session.seed().to_string();
        let mut all = vec![seed.as_str(), &self.name];
        all.extend(parts);
        derive(&all)
    }
}
