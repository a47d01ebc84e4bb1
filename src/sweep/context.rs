//! What the loop works with. The command, the benchmarks and the tests set it up
//! here, each with what it needs besides a grid and an engine.

use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::eta::Foreknown;
use super::events::Events;
use super::hosts::{Here, Hosts};
use super::launch::Measure;
use super::measure::SuiteMeasure;
use super::measured_with::{ReadMachine, this_machine};
use super::part::Decide;
use crate::bench::RecordSink;
use crate::engine::Engine;
use crate::engine::production::Production;
use crate::grid::{Grid, Window};
use crate::history::timing::Timing;
use crate::strategy::Strategy;

/// What the loop works with.
pub struct SweepContext {
    /// Starts and stops servers, where launches are made in this process.
    pub engine: Arc<dyn Engine>,
    /// Measures them.
    pub measure: Arc<dyn Measure>,
    /// Where launches are made; in this process where there is none.
    pub elsewhere: Option<Arc<dyn Hosts>>,
    /// Decides what to launch.
    pub strategy: Box<dyn Strategy>,
    /// What serves production and is stopped during the sweep, where the grid names it.
    pub production: Option<Box<dyn Production>>,
    /// Who hears of it.
    pub events: Events,
    /// Asks for a stop.
    pub cancel: CancellationToken,
    /// Where time stamps come from.
    pub clock: Clock,
    /// What is known beforehand of how long it takes.
    pub foreknown: Foreknown,
    /// Decides what follows the strategy's part, where something may.
    pub next: Option<Decide>,
    /// Times of the day in which it may launch; always where there is none.
    pub window: Option<Window>,
    /// How the machine is read again before a night that was waited for; it is not where there
    /// is none.
    pub machine: Option<ReadMachine>,
}

impl SweepContext {
    /// The grid's own strategy and datasets, on `engine`; `records` makes the
    /// sink of a launch's request records from its folder. Without production,
    /// and nobody listens.
    pub fn of(
        grid: &Grid,
        engine: Arc<dyn Engine>,
        records: impl Fn(&Path) -> Box<dyn RecordSink> + Send + Sync + 'static,
    ) -> Self {
        Self {
            engine,
            measure: Arc::new(SuiteMeasure::new(grid.datasets.clone(), Box::new(records))),
            elsewhere: None,
            strategy: grid.strategy.build(&grid.task()),
            production: None,
            events: Events::nowhere(),
            cancel: CancellationToken::new(),
            clock: Clock::system(),
            foreknown: Foreknown::assumed(grid),
            next: None,
            window: grid.window,
            machine: Some(this_machine()),
        }
    }

    /// Where launches are made.
    pub(super) fn hosts(&self) -> Arc<dyn Hosts> {
        let here = || Arc::new(Here::new(self.engine.clone(), self.measure.clone())) as _;
        self.elsewhere.clone().unwrap_or_else(here)
    }

    /// The same with launches made elsewhere.
    #[must_use]
    pub fn with_hosts(self, elsewhere: Option<Arc<dyn Hosts>>) -> Self {
        Self { elsewhere, ..self }
    }

    /// The same with somebody who listens.
    #[must_use]
    pub fn with_events(self, events: Events) -> Self {
        Self { events, ..self }
    }

    /// The same with production to be stopped and restored.
    #[must_use]
    pub fn with_production(self, production: Option<Box<dyn Production>>) -> Self {
        Self { production, ..self }
    }

    /// The same with what earlier sweeps of the same service took.
    #[must_use]
    pub fn with_earlier(self, earlier: Timing) -> Self {
        Self { foreknown: self.foreknown.with(earlier), ..self }
    }

    /// The same with another strategy than the grid's.
    #[must_use]
    pub fn with_strategy(self, strategy: Box<dyn Strategy>) -> Self {
        Self { strategy, ..self }
    }

    /// The same with what follows the strategy's part.
    #[must_use]
    pub fn with_next(self, next: Decide) -> Self {
        Self { next: Some(next), ..self }
    }

    /// The same with a way to stop it.
    #[must_use]
    pub fn with_cancel(self, cancel: CancellationToken) -> Self {
        Self { cancel, ..self }
    }
}

impl std::fmt::Debug for SweepContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SweepContext").field("engine", &self.engine.name()).finish_non_exhaustive()
    }
}
