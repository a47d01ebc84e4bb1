//! Points at which a process of the campaign may be killed or refused by its disk. They are
//! in the code of tests alone, and do nothing unless a process armed them.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// What happens at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Blow {
    /// Nothing: each point is told.
    Tell,
    /// SIGKILL.
    Kill,
    /// SIGKILL; of a line that is being written, this part (in 256ths) is in the file.
    Tear(u8),
    /// The same as after a loss of power: the rest of the line is NUL bytes.
    Zeros(u8),
    /// The disk is full for one write, and half of it is in the file.
    FullOnce,
    /// The disk is full from here on.
    Full,
}

/// What happens at the point of this number, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) at: u64,
    pub(super) blow: Blow,
}

/// How the names of points in front of a write end.
pub(super) const WRITE: &str = ": before write";

/// Hears of the points that strike.
type Told = fn(&str);

static PLAN: OnceLock<(Plan, Told)> = OnceLock::new();
static PASSED: AtomicU64 = AtomicU64::new(0);

/// From now on points are counted and `plan` is carried out; `told` hears of the point.
pub(super) fn arm(plan: Plan, told: Told) {
    assert!(PLAN.set((plan, told)).is_ok(), "armed once");
}

/// How many points were passed.
pub(super) fn passed() -> u64 {
    PASSED.load(Ordering::SeqCst)
}

/// A point in front of or behind a step; the process may end here.
///
/// # Errors
/// Where the plan is that the disk is full.
pub(crate) fn point(name: &str) -> io::Result<()> {
    match struck(name) {
        None | Some(Blow::Tell) => Ok(()),
        Some(Blow::FullOnce | Blow::Full) => Err(io::ErrorKind::StorageFull.into()),
        Some(_) => kill(name),
    }
}

/// The point in front of a write of `bytes` to a file of this kind (`journal`), of which a part
/// may be written.
///
/// # Errors
/// Where the plan is that the disk is full.
pub(crate) fn before_write(kind: &str, file: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let name = &format!("{kind}{WRITE}");
    let part = |of: u8| bytes.len() * usize::from(of) / 256;
    match struck(name) {
        None | Some(Blow::Tell) => Ok(()),
        Some(Blow::Kill) => kill(name),
        Some(Blow::Tear(of)) => {
            file.write_all(&bytes[..part(of)])?;
            kill("within a write")
        }
        Some(Blow::Zeros(of)) => {
            file.write_all(&bytes[..part(of)])?;
            file.write_all(&vec![0; bytes.len() - part(of)])?;
            kill("power lost within a write")
        }
        Some(Blow::FullOnce | Blow::Full) => {
            file.write_all(&bytes[..bytes.len() / 2])?;
            Err(io::ErrorKind::StorageFull.into())
        }
    }
}

/// Counts a point; what happens at it.
fn struck(name: &str) -> Option<Blow> {
    let (plan, told) = PLAN.get()?;
    let number = PASSED.fetch_add(1, Ordering::SeqCst) + 1;
    let strikes = match plan.blow {
        Blow::Full => number >= plan.at,
        Blow::Tell => true,
        _ => number == plan.at,
    };
    if strikes && (number == plan.at || plan.blow == Blow::Tell) {
        told(name);
    }
    strikes.then_some(plan.blow)
}

fn kill(name: &str) -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    unreachable!("killed at {name}")
}
