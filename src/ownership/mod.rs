//! Who holds what on this machine, and what dead runs owe. Claims and living runs are names
//! that the whole machine sees; holders, debts and what was settled are small files in one
//! folder per user, readable after a kill or a power loss. Whether a run lives is decided
//! here, by these names, its lock and its process, never by a path. What is done about a
//! dead run is `sweep/recover.rs`'s.

use std::path::{Path, PathBuf};

pub mod claim;
pub mod debt;
pub mod holder;
mod listener;
pub mod lock;
pub mod machine;
pub mod process;
pub mod session;
pub mod settled;
pub mod space;
pub mod state;
pub mod uses;

pub use claim::Claims;
pub use debt::{Debt, Ledger, Owed};
pub use holder::Holder;
pub use session::{Liveness, Session};
pub use state::{Makeshift, StateFolder};
pub use uses::Uses;

/// Why nothing can be held, or noted.
#[derive(Debug, thiserror::Error)]
pub enum OwnershipError {
    /// No variable says where the state folder is.
    #[error(
        "there is no place for the state folder: set VLLM_GRID_STATE, XDG_STATE_HOME or HOME to a \
         folder of yours"
    )]
    NoPlace,
    /// It would be another folder in another working folder.
    #[error(
        "VLLM_GRID_STATE is relative ({0}): where a run's debts are noted would depend on the working \
         folder; set it to an absolute path"
    )]
    Relative(PathBuf),
    /// The variable is set, and to nothing.
    #[error(
        "VLLM_GRID_STATE is set to an empty text: set it to the absolute path of a folder of yours, or \
         unset it"
    )]
    Empty,
    /// What the variable names cannot be used.
    #[error(
        "the state folder cannot be used: VLLM_GRID_STATE is {place}: {why}; set it to the absolute path \
         of a folder of yours that can be written, or unset it"
    )]
    Named {
        /// What it is set to.
        place: PathBuf,
        /// Why it cannot be used.
        why: String,
    },
    /// The state folder is another user's.
    #[error(
        "the state folder {path} belongs to the user {owner}: set VLLM_GRID_STATE to a folder of yours"
    )]
    NotOurs {
        /// The folder.
        path: PathBuf,
        /// Number of the user that owns it.
        owner: u32,
    },
    /// The file system refused.
    #[error("the state folder cannot be used: {path}: {error}; VLLM_GRID_STATE names another one")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The kernel shows, or takes, no names for the whole machine.
    #[error(
        "what other runs of this machine use is not known: {name}: {error}; try again in a moment, and \
         see that /proc/net/unix can be read"
    )]
    Names {
        /// The name, or the file in which names are seen.
        name: String,
        /// Why.
        error: std::io::Error,
    },
    /// Another run holds it.
    #[error("{0}")]
    Held(Box<Held>),
}

impl OwnershipError {
    pub(crate) fn io(path: &Path, error: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), error }
    }
}

/// The job of a cluster in which a candidate was launched: its run lives elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfJob {
    /// The job's id.
    pub id: String,
    /// The node that it runs on.
    pub node: String,
}

/// What another run holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What it is, as the beginning of a sentence.
    pub what: String,
    /// By whom, where that can be read.
    pub holder: Option<Holder>,
}

impl Held {
    /// The same for who recovers: it launches nothing.
    pub fn to_recover(&self) -> String {
        let Some(holder) = self.holder.as_ref().filter(|it| it.recovers) else {
            return self.to_string();
        };
        format!(
            "{} is in use: another {}; wait until it ends, or stop it: {}",
            self.what,
            holder.as_recover(),
            holder.how_to_stop()
        )
    }
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = &self.what;
        match &self.holder {
            Some(holder) => write!(
                f,
                "{what} is in use: {holder}; nothing was launched. Wait until {} ends, or stop it: {}",
                if holder.recovers { "it" } else { "that run" },
                holder.how_to_stop()
            ),
            None => write!(
                f,
                "{what} is in use by another process; nothing was launched. Wait until it ends, or \
                 stop it"
            ),
        }
    }
}

/// Does what may wait for a lock or a name on a thread that may wait: what runs beside it in
/// an asynchronous program is not kept.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // The runtime is being shut down: nobody waits for it any more.
        Err(Err(_)) => std::future::pending().await,
    }
}

/// A path by which folders are compared, also of one that is not there any more.
pub fn real_path(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let parent = absolute.parent().and_then(|it| it.canonicalize().ok());
    match (absolute.canonicalize(), parent, absolute.file_name()) {
        (Ok(real), _, _) => real,
        (Err(_), Some(parent), Some(name)) => parent.join(name),
        _ => absolute,
    }
}

/// A new run id: 128 random bits as hexadecimal digits.
pub fn new_run_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Whether a text from outside has the form of a run id, and can be a file's name.
pub fn is_run_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_is_random_and_nothing_else_has_its_form() {
        let (one, other) = (new_run_id(), new_run_id());
        assert!(is_run_id(&one) && is_run_id(&other) && one != other);
        for text in [
            "",
            "../../etc/passwd",
            &one[1..],
            &one.to_uppercase().replace(|c: char| c.is_ascii_digit(), "A"),
        ] {
            assert!(!is_run_id(text), "{text}");
        }
    }

    #[test]
    fn who_holds_it_and_what_to_do_is_in_the_message() {
        let holder = Holder { folder: Some("/runs/a".into()), ..Holder::this() };
        let held = Held { what: "GPU 0".to_owned(), holder: Some(holder.clone()) };
        let text = held.to_string();
        for part in ["GPU 0 is in use", "/runs/a", &holder.pid.to_string(), &holder.host, "since"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.contains("until that run ends"), "{text}");
        let held = Held { what: "the run /runs/a".to_owned(), holder: Some(holder.recovering()) };
        let pid = std::process::id();
        for text in [held.to_string(), held.to_recover()] {
            let who = format!("`recover`, pid {pid} of ");
            assert!(text.contains(&who) && text.contains("folder /runs/a"), "{text}");
            assert!(!text.contains("that run") && text.contains("until it ends"), "{text}");
        }
        assert!(held.to_recover().contains("another `recover`"), "{}", held.to_recover());
        let unknown = Held { what: "GPU 0".to_owned(), holder: None }.to_string();
        assert!(unknown.contains("another process"), "{unknown}");
    }
}
