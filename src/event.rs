//! What happens besides the journal: the phases of a launch, and what a person
//! should read. What a sweep journals is an event of its own, the journal's
//! line: see `sweep/events.rs`. Nothing here prints.

use std::sync::Arc;

use crate::gate::Gate;
use crate::metric::Measurement;

/// Something that happened and that no journal keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Number of the launch that it belongs to; `None` outside of one.
    pub launch: Option<u32>,
    /// What happened.
    pub kind: NoticeKind,
}

/// What a notice says.
#[derive(Clone, Debug, PartialEq)]
pub enum NoticeKind {
    /// The launch came to another phase.
    Phase(Phase),
    /// Something that a person should read, in one line.
    Warning(String),
    /// A repeat is done on a server that no sweep launched; in a sweep the
    /// journal's entry says it.
    RepeatFinished(Measurement),
    /// A stop was asked for; what runs is being stopped.
    Interrupted,
    /// Production is about to be stopped by us, or an earlier session left it stopped.
    ProductionDown {
        /// The container's id.
        id: String,
        /// Its name.
        name: String,
    },
    /// Production runs again, by us or by somebody else.
    ProductionUp {
        /// The id of the container that had been stopped.
        id: String,
    },
    /// Nothing is launched before the window opens again.
    Waits {
        /// The window, as the grid has it.
        window: String,
        /// When it opens.
        until: jiff::Timestamp,
    },
}

/// What a launch is doing.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// The engine boots.
    Booting(BootPhase),
    /// The server answered its first completion.
    Ready {
        /// Seconds from the start of the engine to the first answered completion.
        seconds: f64,
    },
    /// A gate looks at the server.
    Gate(Gate),
    /// A repeat of a case runs.
    Measuring {
        /// The workload's name.
        workload: String,
        /// The case; empty where there is one only.
        case: String,
        /// 0 is a warm-up.
        repeat: u32,
    },
    /// The engine is being stopped.
    Stopping,
    /// It is made on another machine, or waits for one: how far it is, in words.
    Elsewhere(String),
}

/// How far a boot has come, as the engine's log shows it. Only forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BootPhase {
    /// Python starts, flags are read.
    Starting,
    /// Weights are loaded.
    Loading,
    /// Compilation, profiling and graph capture: can be silent for 30 minutes (vLLM #52682).
    Compiling,
    /// The API server says that it listens.
    Serving,
}

impl BootPhase {
    /// The phase in words for a person.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Loading => "loading weights",
            Self::Compiling => "compiling and capturing graphs",
            Self::Serving => "waiting for the first completion",
        }
    }
}

/// Where notices go. Cheap to clone; must not block.
#[derive(Clone)]
pub struct Emit {
    listener: Arc<dyn Fn(Notice) + Send + Sync>,
    launch: Option<u32>,
}

impl Emit {
    /// Notices go to `listener`.
    pub fn to(listener: impl Fn(Notice) + Send + Sync + 'static) -> Self {
        Self { listener: Arc::new(listener), launch: None }
    }

    /// Notices go nowhere.
    pub fn nowhere() -> Self {
        Self::to(|_| {})
    }

    /// The same, for a launch: every notice carries its number.
    #[must_use]
    pub fn of_launch(&self, launch: u32) -> Self {
        Self { listener: Arc::clone(&self.listener), launch: Some(launch) }
    }

    /// Passes a notice on.
    pub fn emit(&self, kind: NoticeKind) {
        (self.listener)(Notice { launch: self.launch, kind });
    }

    /// The launch came to another phase.
    pub fn phase(&self, phase: Phase) {
        self.emit(NoticeKind::Phase(phase));
    }

    /// Something that a person should read, in one line.
    pub fn warn(&self, text: impl AsRef<str>) {
        let line = crate::clean::plain(text.as_ref()).into_owned();
        self.emit(NoticeKind::Warning(line));
    }
}

impl std::fmt::Debug for Emit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emit").field("launch", &self.launch).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn every_notice_of_a_launch_carries_its_number() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let emit = Emit::to(move |notice| kept.lock().expect("no panic").push(notice));
        emit.warn("outside of a launch");
        let of_launch = emit.of_launch(7);
        of_launch.phase(Phase::Stopping);
        of_launch.clone().warn("inside");
        let launches: Vec<Option<u32>> =
            seen.lock().expect("no panic").iter().map(|notice| notice.launch).collect();
        assert_eq!(launches, [None, Some(7), Some(7)]);
    }
}
