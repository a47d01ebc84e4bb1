//! Names that hold for the whole machine, whoever's process holds them: abstract Unix
//! sockets. They end with the process, whatever ends it, and every user sees them in
//! `/proc/net/unix`. A lock in a state folder is known to that folder's runs only. Another
//! network namespace has names of its own. A name is bound first and the others are looked at
//! afterwards, so no lock is needed that anybody could keep from everybody.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::listener::{self, Listener};
use super::space::{Space, short_hash};
use super::{Holder, OwnershipError, Uses};
use crate::input::user_of;

/// Where names are seen.
const TABLE: &str = "/proc/net/unix";
const PREFIX: &str = "vllm-grid";
/// Longest name of a GPU in a socket's name, which holds 107 bytes.
const LONGEST: usize = 44;
/// Longest that names are tried for while those of others come and go.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest that a name is waited for: a child that is being started has a copy of the
/// descriptor until it is another program.
const MOMENT: Duration = Duration::from_millis(200);
/// Between two tries, as milliseconds: not the same for two that meet.
const PAUSES: std::ops::Range<u64> = 4..20;

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

    /// Who it is, as far as this process may see it; `listener` is what the kernel says of
    /// who holds the name.
    fn holder(&self, listener: Option<Listener>) -> Holder {
        let this = Holder::this();
        let pid_namespace = format!("pid:[{}]", self.namespace);
        let user = listener.map(|it| user_of(it.user));
        if pid_namespace == this.pid_namespace {
            let known = Holder::of_process(listener.and_then(|it| it.pid).unwrap_or(self.pid));
            return Holder { user: user.unwrap_or(known.user), ..known };
        }
        let Holder { host, boot_id, .. } = this;
        let user = user.unwrap_or_else(|| "an unknown user".to_owned());
        let user = format!("{user}, counted in another container,");
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

/// A name of another process that is in the way.
#[derive(Debug)]
struct Blocker<T> {
    name: String,
    tail: Tail,
    what: T,
}

impl<T> Blocker<T> {
    fn holder(&self) -> Holder {
        self.tail.holder(listener::of(&self.name))
    }
}

/// Claims all of it, or nothing.
///
/// # Errors
/// Where names cannot be read or bound.
pub(super) fn claim(space: &Space, claims: &[Claim]) -> Result<Attempt, OwnershipError> {
    // As they are in names: compared with what is bound.
    let claims: Vec<Claim> = claims.iter().map(named).collect();
    let own = |tail: &Tail| claims.iter().flat_map(|it| names_of(space, it, tail)).collect();
    let bound = alone(own, |seen, tail| in_the_way(space, &claims, tail, seen))?;
    Ok(match bound {
        Ok(bound) => Attempt::Got(bound),
        Err(other) => {
            let holder = Box::new(other.holder());
            Attempt::Held(other.what, holder)
        }
    })
}

/// Holds a run for this process; `Err` within names who holds it.
///
/// # Errors
/// Where names cannot be read or bound.
pub(super) fn hold_run(run_id: &str) -> Result<Result<Vec<Bound>, Box<Holder>>, OwnershipError> {
    let own = |tail: &Tail| vec![format!("{}{tail}", of_run(run_id))];
    let bound = alone(own, |seen, tail| {
        on_run(run_id, seen).find(|other: &Blocker<()>| other.tail != *tail)
    })?;
    Ok(bound.map_err(|other| Box::new(other.holder())))
}

/// Who works on a run, whatever the state folder; `None` where nobody does. A run's id is
/// unique: it is seen from every space. A name that goes within a moment is held by nobody.
pub fn run(run_id: &str) -> Option<Holder> {
    let began = Instant::now();
    loop {
        // Where names cannot be read, none can be claimed, either: the session's lock decides.
        let seen = names().ok()?;
        let other = on_run(run_id, &seen).next()?;
        if began.elapsed() > MOMENT {
            return Some(Holder { run_id: Some(run_id.to_owned()), ..other.holder() });
        }
        pause();
    }
}

fn of_run(run_id: &str) -> String {
    format!("{PREFIX}/run/{run_id}/")
}

fn on_run(run_id: &str, seen: &BTreeSet<String>) -> impl Iterator<Item = Blocker<()>> {
    let prefix = of_run(run_id);
    seen.iter().filter_map(move |name| {
        let tail = Tail::parse(name.strip_prefix(&prefix)?)?;
        Some(Blocker { name: name.clone(), tail, what: () })
    })
}

/// Binds these names while nothing is in their way, else says what is. Of two that bind at
/// once each looks after it has bound: at least one sees the other, lets go of all its names
/// and tries again. Neither waits for anything but a name that is in its own way, and for that
/// no longer than [`PATIENCE`].
fn alone<T>(
    own: impl Fn(&Tail) -> Vec<String>,
    in_the_way: impl Fn(&BTreeSet<String>, &Tail) -> Option<Blocker<T>>,
) -> Result<Result<Vec<Bound>, Blocker<T>>, OwnershipError> {
    let began = Instant::now();
    let mut since: Option<(Tail, Instant)> = None;
    loop {
        // Another one with each try: who holds a name is told apart from who tries for it.
        let tail = Tail::new();
        let look = || Ok(in_the_way(&names().map_err(unreadable)?, &tail));
        let other = if let Some(other) = look()? {
            other
        } else {
            let bound: io::Result<Vec<Bound>> = own(&tail).iter().map(|it| bind(it)).collect();
            let bound = bound.map_err(unreadable)?;
            let Some(other) = look()? else { return Ok(Ok(bound)) };
            other
        };
        let stays = since.take().filter(|(known, _)| *known == other.tail);
        let (known, met) = stays.unwrap_or_else(|| (other.tail.clone(), Instant::now()));
        if met.elapsed() > MOMENT || began.elapsed() > PATIENCE {
            return Ok(Err(other));
        }
        since = Some((known, met));
        pause();
    }
}

fn pause() {
    std::thread::sleep(Duration::from_millis(rand::random_range(PAUSES)));
}

fn in_the_way(
    space: &Space,
    own: &[Claim],
    tail: &Tail,
    seen: &BTreeSet<String>,
) -> Option<Blocker<Claim>> {
    let collides = |one: &Claim, other: &Claim| match (one, other) {
        (Claim::Uses(one), Claim::Uses(other)) => one.overlaps(other),
        (Claim::Production(one), Claim::Production(other)) => one == other,
        _ => false,
    };
    let mut others = claims_in(space, seen).into_iter().filter(|(other, _)| other != tail);
    let (tail, what) = others.find(|(_, it)| own.iter().any(|own| collides(own, it)))?;
    let end = format!("/{tail}");
    let of_claim = names_of(space, &what, &tail);
    let name = seen.iter().find(|it| it.ends_with(&end) && of_claim.contains(it));
    Some(Blocker { name: name.cloned().unwrap_or_default(), tail, what })
}

/// All claims of a space. The GPUs of one claim count together: how they are named decides.
fn claims_in(space: &Space, names: &BTreeSet<String>) -> Vec<(Tail, Claim)> {
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
fn names() -> io::Result<BTreeSet<String>> {
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
    use std::cell::Cell;

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

    /// Whoever holds another name keeps nobody from what is free.
    #[test]
    fn no_name_but_one_of_the_same_is_in_the_way() {
        let space = space();
        let others = ["mutex", "lock", "uses", "uses/", "uses/cpu", "production/x/1"];
        let bound = others.map(|it| bind(&format!("{PREFIX}/{}/{it}", space.name())).unwrap());
        let began = Instant::now();
        assert!(is_got(&claim(&space, &uses("0")).unwrap()));
        assert!(began.elapsed() < Duration::from_secs(1), "nothing is waited for");
        drop(bound);
    }

    #[test]
    fn of_many_that_claim_at_once_one_gets_it() {
        for _ in 0..5 {
            let space = space();
            let all = std::sync::Barrier::new(6);
            let claimed = || {
                all.wait();
                claim(&space, &uses("0,1")).unwrap()
            };
            let got: Vec<Attempt> = std::thread::scope(|scope| {
                let claiming: Vec<_> = (0..6).map(|_| scope.spawn(claimed)).collect();
                claiming.into_iter().map(|it| it.join().unwrap()).collect()
            });
            assert_eq!(got.iter().filter(|it| is_got(it)).count(), 1);
        }
    }

    /// It looked before this one had bound, and binds before this one looks again.
    #[test]
    fn who_binds_between_look_and_bind_is_seen_and_waited_for_a_moment() {
        for withdrawn_at in [usize::MAX, 4] {
            let (space, claims) = (space(), uses("0"));
            let own = |tail: &Tail| names_of(&space, &claims[0], tail);
            let (looks, other) = (Cell::new(0), Cell::new(None));
            let got = alone(own, |seen, tail| {
                looks.set(looks.get() + 1);
                if looks.get() == 1 {
                    other.set(Some(bind(&own(&Tail::new())[0]).unwrap()));
                } else if looks.get() == withdrawn_at {
                    other.set(None);
                }
                in_the_way(&space, &claims, tail, seen)
            });
            assert_eq!(got.unwrap().is_ok(), withdrawn_at == 4);
        }
    }

    /// Anybody can bind a name with any number.
    #[test]
    fn a_forged_name_is_told_by_who_listens_on_it() {
        let (space, this) = (space(), Holder::this());
        let tails = [
            (format!("1-{}-0", number_of(&this.pid_namespace)), this.user.clone()),
            ("1-1-0".to_owned(), format!("{}, counted in another container,", this.user)),
        ];
        for (tail, user) in tails {
            let forged = bind(&format!("{PREFIX}/{}/uses/cpu/{tail}", space.name())).unwrap();
            let Attempt::Held(_, holder) = claim(&space, &uses("cpu")).unwrap() else {
                panic!("two have it")
            };
            assert_eq!(holder.user, user);
            assert_eq!(holder.pid, if tail == "1-1-0" { 1 } else { this.pid });
            drop(forged);
        }
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
        let copy = held[0]._socket.try_clone().unwrap();
        drop(held);
        let seen = names().unwrap();
        assert!(on_run(&run_id, &seen).next().is_some(), "the name is still there");
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
