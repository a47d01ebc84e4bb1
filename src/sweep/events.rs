//! The one stream of what happens in a sweep: every line of the journal, once
//! it is written, what it says about the sweep so far, and the notices that no
//! journal keeps.

use std::sync::Arc;

use super::eta::Eta;
use super::standing::{self, BehindBest, MissingValue, Standing};
use crate::event::{Emit, Notice};
use crate::history::journal::Line;
use crate::history::record::SweepRecord;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A line is in the journal.
    Written(Line),
    /// What the lines so far say.
    SoFar(SoFar),
    /// A launch that an earlier session began is gone on with, or is about to be ended.
    TakenUp(TakenUp),
    /// Something that is not journalled.
    Notice(Notice),
}

/// A launch whose job an earlier session submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenUp {
    /// Its number.
    pub launch: u32,
    /// Its trial; `None` where that is not worked on: the job is ended.
    pub trial: Option<u32>,
    /// The configuration's name.
    pub configuration: String,
    /// The job's id.
    pub job: String,
    /// When it began.
    pub since: Option<jiff::Timestamp>,
    /// Repeats that it is to make in all, and those that are journalled.
    pub repeats: (u32, u32),
}

/// What the journal's lines say while the sweep runs. Computed from them, never stored.
#[derive(Clone, Debug, PartialEq)]
pub enum SoFar {
    /// What a launch gave; it follows the line that ended the launch.
    Standing(Standing),
    /// A repeat lacks a value that is asked for; it follows the repeat's line.
    Missing(MissingValue),
    /// A launch is clearly behind; it follows the line that says so.
    Behind(BehindBest),
    /// When the sweep will end: when a session begins, and after each launch.
    Eta(Eta),
}

/// Where events go. Cheap to clone; must not block.
#[derive(Clone)]
pub struct Events(Arc<dyn Fn(Event) + Send + Sync>);

impl Events {
    /// Events go to `listener`.
    pub fn to(listener: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    /// Events go nowhere.
    pub fn nowhere() -> Self {
        Self::to(|_| {})
    }

    /// The same, where `listener` hears each event before.
    #[must_use]
    pub fn also(self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        Self::to(move |event| {
            listener(&event);
            (self.0)(event);
        })
    }

    /// A line is in the journal and part of the record: the line, and what it says.
    pub(super) fn written(&self, line: Line, record: &SweepRecord) {
        let missing = standing::missing_after(record, &line.entry);
        let behind = BehindBest::after(record, &line.entry);
        let ended = standing::ended(&line.entry);
        (self.0)(Event::Written(line));
        for missing in missing {
            self.so_far(SoFar::Missing(missing));
        }
        if let Some(behind) = behind {
            self.so_far(SoFar::Behind(behind));
        }
        if let Some(standing) = ended.and_then(|launch| Standing::of(record, launch)) {
            self.so_far(SoFar::Standing(standing));
        }
    }

    /// A job of an earlier session is followed, or is about to be ended.
    pub(super) fn taken_up(&self, it: TakenUp) {
        (self.0)(Event::TakenUp(it));
    }

    /// When the sweep will end.
    pub(super) fn eta(&self, eta: Eta) {
        self.so_far(SoFar::Eta(eta));
    }

    fn so_far(&self, so_far: SoFar) {
        (self.0)(Event::SoFar(so_far));
    }

    /// Where notices go so that they come into this stream.
    pub fn emit(&self) -> Emit {
        let listener = Arc::clone(&self.0);
        Emit::to(move |notice| listener(Event::Notice(notice)))
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events")
    }
}
