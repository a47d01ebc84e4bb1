//! The one stream of what happens in a sweep: every line of the journal, once
//! it is written, and the notices that no journal keeps.

use std::sync::Arc;

use crate::event::{Emit, Notice};
use crate::history::journal::Line;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A line is in the journal.
    Written(Line),
    /// Something that is not journalled.
    Notice(Notice),
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

    /// A line is in the journal.
    pub(super) fn written(&self, line: Line) {
        (self.0)(Event::Written(line));
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
