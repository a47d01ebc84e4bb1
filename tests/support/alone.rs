//! Who runs beside whom: tests of one process share the machine's cores, and what a test
//! asserts of a measurement may depend on having them. Each test that keeps the machine busy
//! holds a [`Beside`] for as long as it does; a few hold it alone. Within a thread it may be
//! taken again and again. Nothing here knows what a test does.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{ThreadId, current};

/// All that is held in this process.
static TURNS: Turns = Turns::new();

/// Held while the machine is kept busy.
#[derive(Debug)]
pub struct Beside {
    turns: &'static Turns,
    /// Whose it is, also where another thread drops it.
    thread: ThreadId,
}

/// Beside all others that are not alone.
#[must_use]
pub fn beside() -> Beside {
    TURNS.beside()
}

/// Alone: waits until no other thread holds any. What this thread takes from then on is alone,
/// too, until it has dropped all of it.
#[must_use]
pub fn alone() -> Beside {
    TURNS.alone()
}

/// Who holds what.
#[derive(Debug)]
pub struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// How many each thread holds.
    held: BTreeMap<u64, usize>,
    is_alone: bool,
    /// Threads that wait to be alone: others do not begin before them.
    waiting: usize,
}

/// A number of the thread: its identifier has no order.
fn number(thread: ThreadId) -> u64 {
    let text = format!("{thread:?}");
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    digits.parse().expect("`ThreadId(7)`")
}

impl Turns {
    /// Nobody holds any.
    pub const fn new() -> Self {
        let state = State { held: BTreeMap::new(), is_alone: false, waiting: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that failed elsewhere is no reason for another one to.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`beside`].
    #[must_use]
    pub fn beside(&'static self) -> Beside {
        let thread = current().id();
        let mut state = self.lock();
        while !state.held.contains_key(&number(thread)) && (state.is_alone || state.waiting > 0) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.taken(state, thread)
    }

    /// As [`alone`].
    #[must_use]
    pub fn alone(&'static self) -> Beside {
        let thread = current().id();
        let mut state = self.lock();
        let has_some = state.held.contains_key(&number(thread));
        // Two such would wait for each other.
        assert!(!has_some || state.is_alone, "what is to be alone is taken first");
        if !has_some {
            state.waiting += 1;
            while !state.held.is_empty() {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.waiting -= 1;
            state.is_alone = true;
        }
        self.taken(state, thread)
    }

    fn taken(&'static self, mut state: MutexGuard<'_, State>, thread: ThreadId) -> Beside {
        *state.held.entry(number(thread)).or_default() += 1;
        Beside { turns: self, thread }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let mut state = self.turns.lock();
        let thread = number(self.thread);
        let left = state.held.get(&thread).map_or(0, |held| held - 1);
        if left > 0 {
            state.held.insert(thread, left);
            return;
        }
        state.held.remove(&thread);
        if state.held.is_empty() {
            state.is_alone = false;
        }
        self.turns.changed.notify_all();
    }
}
