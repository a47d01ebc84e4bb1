//! Kills in front of and behind the calls of the engine: a proxy before the daemon's socket
//! ends the program where it asks for a container to be made, started, stopped or removed,
//! either before the daemon hears of it, or once it is done and nobody hears the answer.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use rustix::process::{Pid, Signal, kill_process};

use crate::place::Place;
use crate::proxy::{Fault, Proxy};

/// What is called, and for whom.
const CALLS: [&str; 6] = [
    "candidate create",
    "candidate start",
    "candidate stop",
    "candidate remove",
    "production stop",
    "production start",
];

/// A call at which a process is to be killed.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    what: &'static str,
    /// The first one of its kind, or a later one.
    nth: u32,
    /// Once it is done, not before.
    after: bool,
}

impl Call {
    /// One that the command makes, drawn at random.
    pub(crate) fn of(command: &str, random: &mut ChaCha8Rng) -> Self {
        let from = if command == "recover" { &CALLS[3..] } else { &CALLS[..] };
        let what = loop {
            let what = from[random.random_range(0..from.len())];
            if command != "recover" || what != "production stop" {
                break what;
            }
        };
        // A command stops and starts production once.
        let most = if what.starts_with("candidate") && command != "recover" { 3 } else { 1 };
        Self { what, nth: random.random_range(1..=most), after: random.random_bool(0.5) }
    }

    pub(crate) fn name(&self) -> String {
        format!("{} {}", if self.after { "after" } else { "before" }, self.what)
    }
}

/// The way to the daemon.
pub(crate) struct Calls {
    proxy: Proxy,
    production: String,
}

impl Calls {
    /// From now on the programs of a place ask the daemon through it.
    pub(crate) fn of(place: &mut Place, production: &str) -> Self {
        let proxy = Proxy::start(place.path("d.sock"), Path::new("/var/run/docker.sock"));
        place.daemon = Some(proxy.host());
        Self { proxy, production: production.to_owned() }
    }

    /// The process is killed at that call; the value says whether it was.
    pub(crate) fn arm(&self, process: u32, call: &Call) -> Arc<AtomicBool> {
        let struck = Arc::new(AtomicBool::new(false));
        let (at, seen) = (call.clone(), AtomicU32::new(0));
        let (production, done) = (self.production.clone(), Arc::clone(&struck));
        let kill = move || {
            done.store(true, Ordering::SeqCst);
            let process = Pid::from_raw(process.cast_signed());
            let _ = process.map(|process| kill_process(process, Signal::KILL));
        };
        if call.after {
            self.proxy.when_lost(kill.clone());
        }
        self.proxy.by_request(move |line| {
            let is_it = kind(line, &production) == Some(at.what)
                && seen.fetch_add(1, Ordering::SeqCst) + 1 == at.nth;
            match (is_it, at.after) {
                (false, _) => Fault::None,
                (true, true) => Fault::LoseAnswer,
                (true, false) => {
                    kill();
                    Fault::Reset
                }
            }
        });
        struck
    }

    /// Nobody is killed any more.
    pub(crate) fn disarm(&self) {
        self.proxy.by_request(|_| Fault::None);
    }
}

/// Which call a request is, by its first line.
fn kind(line: &str, production: &str) -> Option<&'static str> {
    let (method, path) = line.split_once(' ')?;
    let path = path.split('?').next()?.strip_prefix("/containers/")?;
    let (id, verb) = path.split_once('/').unwrap_or((path, ""));
    let is_production = id == production;
    Some(match (method, verb) {
        ("POST", "") if id == "create" => "candidate create",
        ("POST", "start") if is_production => "production start",
        ("POST", "stop") if is_production => "production stop",
        ("POST", "start") => "candidate start",
        ("POST", "stop") => "candidate stop",
        ("DELETE", "") => "candidate remove",
        _ => return None,
    })
}
