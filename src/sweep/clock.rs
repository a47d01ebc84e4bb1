//! What time it is: the journal's time stamps come in as values, so that a
//! sweep runs in virtual time too.

use tokio::time::Instant;

/// Where time stamps come from.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Option<(jiff::Timestamp, Instant)>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that shows `origin` now and advances with tokio's time, which a
    /// test can drive.
    pub fn from(origin: jiff::Timestamp) -> Self {
        Self(Some((origin, Instant::now())))
    }

    /// What time it is.
    pub fn now(self) -> jiff::Timestamp {
        let Some((origin, began)) = self.0 else { return jiff::Timestamp::now() };
        origin.checked_add(began.elapsed()).unwrap_or(jiff::Timestamp::MAX)
    }
}
