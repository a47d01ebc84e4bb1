//! Who holds something: a process, so that it is told apart from a later one with its
//! number, and the run that it works on.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::process::{Process, boot_id, folder_of, recovers};
use crate::input::user_of;

/// A process that holds something, and for which run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Holder {
    /// Number of the process.
    pub pid: u32,
    /// When the process was started, in clock ticks since the machine's boot.
    pub started: u64,
    /// The machine's boot.
    pub boot_id: String,
    /// In which namespace the number counts.
    pub pid_namespace: String,
    /// Name of the host.
    pub host: String,
    /// Name of the user, or the number where there is no name.
    pub user: String,
    /// Id of the state folder in which the run's lock is.
    pub state: String,
    /// The run, where it is known already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// The run's folder when it was begun; it may have been moved since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// Whether it is a `recover`, which does not run the run.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub recovers: bool,
    /// Since when it holds it, RFC 3339 UTC.
    pub since: String,
}

/// Whether a holder's process is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is.
    Here,
    /// It is gone for certain.
    Gone,
    /// It counts its processes elsewhere, in another container for example.
    Unknown,
}

impl Holder {
    /// This process, from now on.
    pub fn this() -> Self {
        static THIS: OnceLock<Holder> = OnceLock::new();
        let this = THIS.get_or_init(|| {
            let read = |path: &str| {
                std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
            };
            Self {
                pid: std::process::id(),
                started: started(std::process::id()).unwrap_or_default(),
                boot_id: boot_id(),
                pid_namespace: pid_namespace(),
                host: read("/proc/sys/kernel/hostname"),
                user: user(),
                ..Self::default()
            }
        });
        Self { since: now(), ..this.clone() }
    }

    /// A process that is known by its number alone, as far as this user may see it.
    pub(super) fn of_process(pid: u32) -> Self {
        let Self { boot_id, pid_namespace, host, .. } = Self::this();
        let owner = std::fs::metadata(format!("/proc/{pid}")).map(|found| user_of(found.uid()));
        Self {
            pid,
            started: started(pid).unwrap_or_default(),
            boot_id,
            pid_namespace,
            host,
            user: owner.unwrap_or_else(|_| "an unknown user".to_owned()),
            folder: folder_of(pid),
            recovers: recovers(pid),
            ..Self::default()
        }
    }

    /// Where its run is, in words: the folder may have been moved since, or deleted.
    pub fn place(&self) -> Option<String> {
        let known = self.folder.as_ref()?;
        if known.exists() || self.presence() != Presence::Here {
            return Some(known.display().to_string());
        }
        Some(match folder_of(self.pid).filter(|now| now != known && now.exists()) {
            Some(now) => format!("{} (begun as {})", now.display(), known.display()),
            None => format!("{} (not there any more)", known.display()),
        })
    }

    /// The same, for a run.
    #[must_use]
    pub fn of_run(self, run_id: &str, folder: &std::path::Path) -> Self {
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        Self { run_id: Some(run_id.to_owned()), folder: Some(folder), ..self }
    }

    /// The same, with its locks in this state folder.
    #[must_use]
    pub fn in_state(self, state: &super::StateFolder) -> Self {
        Self { state: state.id().to_owned(), ..self }
    }

    /// The same, as a `recover`.
    #[must_use]
    pub fn recovering(self) -> Self {
        Self { recovers: true, ..self }
    }

    /// A `recover` in words that follow an article.
    pub fn as_recover(&self) -> String {
        let Self { pid, user, host, since, .. } = self;
        let folder = self.place().map(|place| format!(", folder {place}")).unwrap_or_default();
        let since = if since.is_empty() { String::new() } else { format!(", since {since}") };
        format!("`recover`, pid {pid} of {user}, host {host}{folder}{since}")
    }

    /// What stops it, for a message. In another container its number is another process's here.
    pub fn how_to_stop(&self) -> String {
        let of_ours = [&Self::this().pid_namespace, ""];
        if of_ours.contains(&self.pid_namespace.as_str()) {
            format!("`kill -INT {}`", self.pid)
        } else {
            format!("it is process {} in another container, which is to be stopped", self.pid)
        }
    }

    /// Whether it is, or was, on this machine. State folders may be shared by machines, as in a
    /// home on NFS. The boot decides first: containers of one machine have names of their own.
    pub fn is_here(&self) -> bool {
        let this = Self::this();
        self.boot_id == this.boot_id || self.host == this.host || self.host.is_empty()
    }

    /// Whether its process is there.
    pub fn presence(&self) -> Presence {
        let this = Self::this();
        if self.boot_id != this.boot_id {
            return Presence::Gone;
        }
        if self.pid_namespace != this.pid_namespace {
            return Presence::Unknown;
        }
        if started(self.pid) == Some(self.started) { Presence::Here } else { Presence::Gone }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.recovers {
            return write!(f, "a {}", self.as_recover());
        }
        let Self { pid, user, host, since, .. } = self;
        write!(f, "process {pid} of {user} on {host}")?;
        if let Some(place) = self.place() {
            write!(f, ", run {place}")?;
        }
        // By its name alone it is not known.
        if since.is_empty() { Ok(()) } else { write!(f, ", since {since}") }
    }
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// When a living process was started, in clock ticks since the machine's boot.
fn started(pid: u32) -> Option<u64> {
    let process = Process::read(pid.try_into().ok()?)?;
    (!process.ended).then_some(process.started)
}

fn pid_namespace() -> String {
    let link = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    link.to_string_lossy().into_owned()
}

/// The name of the user that this process acts for.
fn user() -> String {
    user_of(rustix::process::geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_apart_from_a_later_one_with_its_number() {
        let this = Holder::this();
        assert_eq!(this.presence(), Presence::Here);
        let later = Holder { started: this.started + 1, ..this.clone() };
        assert_eq!(later.presence(), Presence::Gone);
        let before_the_boot = Holder { boot_id: "other".to_owned(), ..this.clone() };
        assert_eq!(before_the_boot.presence(), Presence::Gone);
        let elsewhere = Holder { pid_namespace: "pid:[1]".to_owned(), ..this };
        assert_eq!(elsewhere.presence(), Presence::Unknown);
    }

    #[test]
    fn a_run_is_named_where_it_is_now() {
        let place = tempfile::tempdir().unwrap();
        let (begun, moved) = (place.path().join("run"), place.path().join("moved"));
        std::fs::create_dir(&begun).unwrap();
        let mut sleep = std::process::Command::new("sleep")
            .arg("100")
            .stdin(std::fs::File::create(begun.join("journal.jsonl")).unwrap())
            .spawn()
            .unwrap();
        let holder = Holder { folder: Some(begun.clone()), ..Holder::of_process(sleep.id()) };
        let said = |holder: &Holder| holder.to_string();
        assert!(said(&holder).contains(&format!("run {}", begun.display())), "{holder}");
        std::fs::rename(&begun, &moved).unwrap();
        let now = format!("run {} (begun as {})", moved.display(), begun.display());
        assert!(said(&holder).contains(&now), "{holder}");
        std::fs::remove_dir_all(&moved).unwrap();
        let gone = format!("run {} (not there any more)", begun.display());
        assert!(said(&holder).contains(&gone), "{holder}");
        sleep.kill().unwrap();
        sleep.wait().unwrap();
    }

    #[test]
    fn a_machine_is_known_by_its_boot_and_by_its_name() {
        let this = Holder::this();
        let boot_id = "another".to_owned();
        let host = format!("{}-2", this.host);
        assert!(this.is_here());
        assert!(Holder { boot_id: boot_id.clone(), ..this.clone() }.is_here(), "it was restarted");
        assert!(Holder { host: host.clone(), ..this.clone() }.is_here(), "another container");
        assert!(!Holder { boot_id, host, ..this }.is_here());
        assert!(Holder::default().is_here(), "an older note");
    }

    #[test]
    fn one_that_ended_and_is_not_waited_for_is_gone() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        while !std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") Z ") {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert_eq!(started(pid), None);
        child.wait().unwrap();
    }

    #[test]
    fn what_an_older_version_wrote_is_read() {
        let elsewhere = Holder { pid_namespace: "pid:[1]".to_owned(), ..Holder::this() };
        assert!(!elsewhere.how_to_stop().contains("kill"), "it would be another process");
        let pid = std::process::id();
        assert_eq!(Holder::this().how_to_stop(), format!("`kill -INT {pid}`"));
        let read: Holder = serde_json::from_str(r#"{"pid": 4, "new": true}"#).unwrap();
        assert_eq!((read.pid, read.folder), (4, None));
    }
}
