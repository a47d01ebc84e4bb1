//! The one enum between doing and telling. Everybody who does something emits
//! events; [`crate::progress`] alone tells a person. Nothing here prints.

use std::sync::Arc;

use crate::metric::Measurement;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A sweep starts or goes on.
    SweepStarted {
        /// The sweep's name (its folder's).
        sweep: String,
        /// Launches in all, as far as the strategy knows.
        launches: u32,
        /// Launches that an earlier run has already done.
        done: u32,
        /// Whether figures are simulated.
        simulated: bool,
    },
    /// An engine is about to be started.
    LaunchStarted {
        /// Number of the launch in the sweep, from 1.
        launch: u32,
        /// The configuration's name.
        configuration: String,
        /// Repeats that the launch will measure, warm-ups included.
        repeats: u32,
    },
    /// The present launch came to another phase.
    Phase(Phase),
    /// One repeat of one case is done.
    RepeatFinished(Measurement),
    /// The present launch is over, measured and stopped.
    LaunchFinished {
        /// Number of the launch.
        launch: u32,
        /// The configuration's name.
        configuration: String,
    },
    /// A stop ended the present launch.
    LaunchInterrupted {
        /// Number of the launch.
        launch: u32,
        /// The configuration's name.
        configuration: String,
    },
    /// The present launch gave nothing.
    LaunchFailed {
        /// Number of the launch.
        launch: u32,
        /// The configuration's name.
        configuration: String,
        /// The failure's class.
        class: String,
        /// What happened, in one line.
        message: String,
    },
    /// A configuration is not launched.
    LaunchSkipped {
        /// Number of the launch.
        launch: u32,
        /// The configuration's name.
        configuration: String,
        /// Why not.
        reason: String,
    },
    /// Something that a person should read, in one line.
    Warning(String),
    /// A stop was asked for; what runs is being put away.
    Interrupted,
    /// The sweep is over.
    SweepFinished {
        /// Whether everything planned was done.
        complete: bool,
    },
}

/// What a launch is doing.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// The engine starts; the text says what it shows of itself.
    Starting(String),
    /// The server answered its first completion; seconds since the start.
    Ready {
        /// Seconds from the start of the engine to the first answered completion.
        seconds: f64,
    },
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
}

/// Where events go. Cheap to clone; must not block.
#[derive(Clone)]
pub struct Emit(Arc<dyn Fn(Event) + Send + Sync>);

impl Emit {
    /// Events go to `listener`.
    pub fn to(listener: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    /// Events go nowhere.
    pub fn nowhere() -> Self {
        Self::to(|_| {})
    }

    /// Tells the listener.
    pub fn emit(&self, event: Event) {
        (self.0)(event);
    }

    /// Tells the listener that the present launch came to another phase.
    pub fn phase(&self, phase: Phase) {
        self.emit(Event::Phase(phase));
    }
}

impl std::fmt::Debug for Emit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Emit")
    }
}
