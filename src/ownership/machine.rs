//! Names that hold for the whole machine, whoever's process holds them: abstract Unix
//! sockets. They end with the process, whatever ends it, and every user sees them in
//! `/proc/net/unix`. A lock in a state folder is known to that folder's runs only. Another
//! network namespace has names of its own.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::space::{Space, short_hash};
use super::{Holder, OwnershipError, Uses};

/// Where names are seen.
const TABLE: &str = "/proc/net/unix";
const PREFIX: &str = "vllm-grid";
/// Longest name of a GPU in a socket's name, which holds 107 bytes.
const LONGEST: usize = 44;
/// Longest wait for another process that looks and binds at this moment.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest that a name is waited for: a child that is being started has a copy of the
/// descriptor until it is another program.
const MOMENT: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(10);

/// What is claimed by one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// What candidates use.
    Uses(Uses),
    /// A production, by its hash.
    Production(String),
}

/// A name that is held until this is dropped.
#[derive(Debug)]
pub struct Bound {
    /// The descriptor is closed in every program that we start.
    _socket: UnixListener,
}

/// Who holds a name, by the name's end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tail {
    pid: u32,
    /// Number of the namespace in which the process is counted.
    namespace: String,
    /// Distinguishes what one process holds.
    count: u64,
}

impl Tail {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let this = Holder::this();
        let namespace = number_of(&this.pid_namespace);
        Self { pid: this.pid, namespace, count: COUNT.fetch_add(1, Ordering::Relaxed) }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '-');
        let pid = parts.next()?.parse().ok()?;
        let namespace = parts.next()?.to_owned();
        Some(Self { pid, namespace, count: parts.next()?.parse().ok()? })
    }

    /// Who it is, as far as this process may see it.
    fn holder(&self) -> Holder {
        let this = Holder::this();
        let pid_namespace = format!("pid:[{}]", self.namespace);
        if pid_namespace == this.pid_namespace {
            return Holder::of_process(self.pid);
        }
        let Holder { host, boot_id, .. } = this;
        let user = "an unknown user, counted in another container,".to_owned();
        Holder { pid: self.pid, host, boot_id, pid_namespace, user, ..Holder::default() }
    }
}

impl std::fmt::Display for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.pid, self.namespace, self.count)
    }
}

/// What another process has of what is asked for.
#[derive(Debug)]
pub(super) enum Attempt {
    /// All of it is held now.
    Got(Vec<Bound>),
    /// This is another's, and whose.
    Held(Claim, Box<Holder>),
}

/// Claims all of it, or nothing: looked at and bound while no other process does.
///
/// # Errors
/// Where names cannot be read or bound.
pub(super) fn claim(space: &Space, claims: &[Claim]) -> Result<Attempt, OwnershipError> {
    // As they are in names: compared with what is bound.
    let claims: Vec<Claim> = claims.iter().map(named).collect();
    let began = Instant::now();
    loop {
        let mutex = alone(space)?;
        let Some((claim, holder)) = in_the_way(space, &claims, &names().map_err(unreadable)?)
        else {
            let tail = Tail::new();
            let names = claims.iter().flat_map(|claim| names_of(space, claim, &tail));
            let bound: io::Result<Vec<Bound>> = names.map(|name| bind(&name)).collect();
            return bound.map(Attempt::Got).map_err(unreadable);
        };
        drop(mutex);
        if began.elapsed() > MOMENT {
            return Ok(Attempt::Held(claim, Box::new(holder)));
        }
        std::thread::sleep(PAUSE);
    }
}

/// Holds a run for this process; `Err` within names who holds it.
///
/// # Errors
/// Where names cannot be read or bound.
pub(super) fn hold_run(run_id: &str) -> Result<Result<Bound, Box<Holder>>, OwnershipError> {
    let machine = Space::of(b"");
    let began = Instant::now();
    loop {
        let mutex = alone(&machine)?;
        match held_now(run_id).map_err(unreadable)? {
            None => {
                let name = format!("{PREFIX}/run/{run_id}/{}", Tail::new());
                return bind(&name).map(Ok).map_err(unreadable);
            }
            Some(holder) if began.elapsed() > MOMENT => return Ok(Err(Box::new(holder))),
            Some(_) => drop(mutex),
        }
        std::thread::sleep(PAUSE);
    }
}

/// Who works on a run, whatever the state folder; `None` where nobody does. A run's id is
/// unique: it is seen from every space. A name that goes within a moment is held by nobody.
pub fn run(run_id: &str) -> Option<Holder> {
    let began = Instant::now();
    loop {
        // Where names cannot be read, none can be claimed, either: the session's lock decides.
        let holder = held_now(run_id).ok()??;
        if began.elapsed() > MOMENT {
            return Some(holder);
        }
        std::thread::sleep(PAUSE);
    }
}

fn held_now(run_id: &str) -> io::Result<Option<Holder>> {
    let prefix = format!("{PREFIX}/run/{run_id}/");
    let names = names()?;
    let tail = names.iter().find_map(|name| Tail::parse(name.strip_prefix(&prefix)?));
    Ok(tail.map(|tail| Holder { run_id: Some(run_id.to_owned()), ..tail.holder() }))
}

fn alone(space: &Space) -> Result<Bound, OwnershipError> {
    let name = format!("{PREFIX}/{}/mutex", space.name());
    let began = Instant::now();
    loop {
        match bind(&name) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && began.elapsed() < PATIENCE => {
                std::thread::sleep(PAUSE);
            }
            Err(error) => return Err(OwnershipError::Names { name, error }),
            Ok(bound) => return Ok(bound),
        }
    }
}

fn in_the_way(space: &Space, own: &[Claim], names: &[String]) -> Option<(Claim, Holder)> {
    let all = claims_in(space, names);
    let collides = |one: &Claim, other: &Claim| match (one, other) {
        (Claim::Uses(one), Claim::Uses(other)) => one.overlaps(other),
        (Claim::Production(one), Claim::Production(other)) => one == other,
        _ => false,
    };
    let found = all.into_iter().find(|(_, it)| own.iter().any(|own| collides(own, it)))?;
    Some((found.1, found.0.holder()))
}

/// All claims of a space. The GPUs of one claim count together: how they are named decides.
fn claims_in(space: &Space, names: &[String]) -> Vec<(Tail, Claim)> {
    let prefix = format!("{PREFIX}/{}/", space.name());
    let mut uses: BTreeMap<Tail, Uses> = BTreeMap::new();
    let mut all = Vec::new();
    for name in names.iter().filter_map(|name| name.strip_prefix(&prefix)) {
        let Some((what, tail)) = name.rsplit_once('/') else { continue };
        let Some(tail) = Tail::parse(tail) else { continue };
        if let Some(hash) = what.strip_prefix("production/") {
            all.push((tail, Claim::Production(hash.to_owned())));
        } else if let Some(text) = what.strip_prefix("uses/") {
            let known = uses.remove(&tail).unwrap_or_default();
            uses.insert(tail, known.and(Uses::from(text.to_owned())));
        }
    }
    all.extend(uses.into_iter().map(|(tail, uses)| (tail, Claim::Uses(uses))));
    all
}

fn names_of(space: &Space, claim: &Claim, tail: &Tail) -> Vec<String> {
    let whats = match claim {
        Claim::Production(hash) => vec![format!("production/{hash}")],
        Claim::Uses(Uses::Nothing) => Vec::new(),
        Claim::Uses(Uses::Gpus(names)) => names.iter().map(|name| format!("uses/{name}")).collect(),
        Claim::Uses(uses) => vec![format!("uses/{uses}")],
    };
    whats.into_iter().map(|what| format!("{PREFIX}/{}/{what}/{tail}", space.name())).collect()
}

fn named(claim: &Claim) -> Claim {
    match claim {
        Claim::Uses(Uses::Gpus(names)) => {
            Claim::Uses(Uses::Gpus(names.iter().map(|name| in_name(name)).collect()))
        }
        other => other.clone(),
    }
}

/// A GPU's name as a part of a socket's name. A UUID stays one.
fn in_name(gpu: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if gpu.len() <= LONGEST && !gpu.is_empty() && gpu.chars().all(safe) {
        return gpu.to_owned();
    }
    let kind = if gpu.starts_with("GPU-") { "GPU-" } else { "" };
    format!("{kind}{}", short_hash(gpu.as_bytes()))
}

/// Every name of ours that is bound now.
fn names() -> io::Result<Vec<String>> {
    let table = std::fs::read(TABLE)?;
    let lines = String::from_utf8_lossy(&table).into_owned();
    let name = |line: &str| {
        let name = line.split_whitespace().nth(7)?.strip_prefix('@')?;
        name.starts_with(PREFIX).then(|| name.to_owned())
    };
    Ok(lines.lines().filter_map(name).collect())
}

fn bind(name: &str) -> io::Result<Bound> {
    let address = SocketAddr::from_abstract_name(name)?;
    Ok(Bound { _socket: UnixListener::bind_addr(&address)? })
}

fn unreadable(error: io::Error) -> OwnershipError {
    OwnershipError::Names { name: TABLE.to_owned(), error }
}

fn number_of(namespace: &str) -> String {
    namespace.chars().filter(char::is_ascii_digit).collect()
}

/// The network namespace of a process, this one's by default, in which its names are; `None`
/// where this user may not see it.
pub fn network(pid: Option<u32>) -> Option<PathBuf> {
    let pid = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    std::fs::read_link(format!("/proc/{pid}/ns/net")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> Space {
        Space::of(crate::ownership::new_run_id().as_bytes())
    }

    fn uses(text: &str) -> [Claim; 1] {
        [Claim::Uses(Uses::from(text.to_owned()))]
    }

    fn is_got(attempt: &Attempt) -> bool {
        matches!(attempt, Attempt::Got(_))
    }

    #[test]
    fn what_one_claims_no_other_gets_as_far_as_they_overlap() {
        let long = format!("GPU-{}", "a/b c".repeat(40));
        for (one, other) in [
            ("0", "1"),
            ("0,1", "1,2"),
            ("GPU-a", "GPU-b"),
            ("GPU-a", "0"),
            ("0,GPU-a", "GPU-b"),
            (&long, "GPU-b"),
            (&long, &long),
            (&long, "0"),
            ("all", "3"),
            ("all", "cpu"),
            ("cpu", "cpu"),
        ] {
            let space = space();
            let first = claim(&space, &uses(one)).unwrap();
            assert!(is_got(&first));
            let of = |text: &str| Uses::from(text.to_owned());
            let second = is_got(&claim(&space, &uses(other)).unwrap());
            assert_eq!(second, !of(one).overlaps(&of(other)), "{one} and {other}");
            drop(first);
            assert!(is_got(&claim(&space, &uses(other)).unwrap()), "{one} and {other}");
        }
    }

    #[test]
    fn who_holds_it_is_told_by_the_name_alone() {
        let space = space();
        let _first = claim(&space, &uses("0,1")).unwrap();
        let Attempt::Held(claim, holder) = claim(&space, &uses("1")).unwrap() else {
            panic!("two have it")
        };
        assert_eq!(claim, uses("0,1")[0]);
        let this = Holder::this();
        assert_eq!((holder.pid, &holder.user), (this.pid, &this.user));
        assert_eq!(holder.presence(), super::super::holder::Presence::Here);
    }

    /// An engine that outlives its run holds no claim of it.
    #[test]
    fn a_program_that_is_started_holds_nothing() {
        let space = space();
        let first = claim(&space, &uses("0")).unwrap();
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        drop(first);
        let again = claim(&space, &uses("0")).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_got(&again));
    }

    /// As a child's, until it is another program.
    #[test]
    #[allow(clippy::used_underscore_binding, reason = "only a test copies it")]
    fn a_copy_that_goes_in_a_moment_keeps_no_run_alive() {
        let run_id = crate::ownership::new_run_id();
        let held = hold_run(&run_id).unwrap().unwrap();
        assert_eq!(run(&run_id).map(|it| it.pid), Some(Holder::this().pid));
        let copy = held._socket.try_clone().unwrap();
        drop(held);
        assert!(held_now(&run_id).unwrap().is_some(), "the name is still there");
        let child = std::thread::spawn(move || {
            std::thread::sleep(MOMENT / 4);
            drop(copy);
        });
        assert_eq!(run(&run_id), None);
        child.join().unwrap();
    }

    #[test]
    fn a_name_fits_a_socket_s_whatever_the_gpu_is_called() {
        let tail = Tail { pid: u32::MAX, namespace: "4026531836".to_owned(), count: 99_999_999 };
        for gpu in ["0", "GPU-12345678-1234-1234-1234-123456789012", &"x".repeat(500)] {
            let claim = named(&Claim::Uses(Uses::gpus([gpu.to_owned()])));
            for name in names_of(&space(), &claim, &tail) {
                assert!(name.len() <= 107, "{name}");
            }
        }
        assert_eq!(Tail::parse(&tail.to_string()), Some(tail));
    }
}
