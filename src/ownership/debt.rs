//! What a run owes: production to be started again, containers and processes to be
//! removed. A debt is noted, durably, before it is incurred, and removed when it is paid,
//! so after a crash the notes that are left say what is still to be done, wherever the
//! run's folder is. How it is paid is not known here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Holder, OfJob, OwnershipError, StateFolder, Uses, is_run_id, settled, state};
use crate::input;

/// Something that a run owes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debt {
    /// The run.
    pub run_id: String,
    /// Its name.
    #[serde(default)]
    pub sweep: String,
    /// Its folder when the debt was noted.
    pub folder: PathBuf,
    /// The process that worked on it.
    pub holder: Holder,
    /// What its candidates use.
    #[serde(default)]
    pub uses: Uses,
    /// What is owed.
    pub owed: Owed,
}

/// What is owed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Owed {
    /// Production to be started again and proven.
    Production(ProductionOwed),
    /// Containers with the run's label, on this daemon's socket.
    Containers {
        /// The daemon's socket.
        docker: String,
    },
    /// Processes with the run's id in their environment.
    Processes,
    /// A process group.
    Group(GroupOwed),
    /// Jobs of a cluster, as its journal has them.
    Jobs,
}

/// Production as it can be started again without any file of the run. No secret is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProductionOwed {
    /// The daemon's socket.
    pub docker: String,
    /// The container's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Name of the variable with the key that it asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_variable: Option<String>,
    /// Compose files of its service, where it is one: it is made again from these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compose: Vec<PathBuf>,
    /// Files of variables in place of `.env`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env_files: Vec<PathBuf>,
    /// What relative paths in the compose files refer to, where that is not their folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_directory: Option<PathBuf>,
    /// Profiles of the compose file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    /// Its service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Its compose project: an exported variable names it, which nobody may have later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// What was stopped with it and is started after it: names by ids.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub paused: BTreeMap<String, String>,
}

/// A process group of a launch, so that it is told apart from a later one with its number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupOwed {
    /// The launch.
    pub launch: u32,
    /// Number of the group, and of the process that leads it.
    pub group: i32,
    /// When that process was started, in clock ticks since the machine's boot.
    pub started: Option<u64>,
    /// The session that it is in.
    pub session: Option<i32>,
    /// The machine's boot.
    pub boot_id: String,
    /// The process that started it: its number and start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launcher: Option<(i32, u64)>,
    /// Members that were seen: number and start of each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<(i32, u64)>,
}

impl Owed {
    /// What is in the name of its file.
    fn word(&self) -> String {
        match self {
            Self::Production(_) => PRODUCTION.to_owned(),
            Self::Containers { .. } => "containers".to_owned(),
            Self::Processes => "processes".to_owned(),
            Self::Jobs => "jobs".to_owned(),
            Self::Group(group) => format!("launch-{}", group.launch),
        }
    }
}

const PRODUCTION: &str = "production";
/// No note takes so long to be written.
const LONG_AGO: Duration = Duration::from_hours(1);

/// The debts of one run, as the process notes them that works on it.
#[derive(Clone, Debug)]
pub struct Ledger {
    state: StateFolder,
    about: Debt,
    job: Option<OfJob>,
}

impl Ledger {
    /// The debts of a run that uses this.
    pub fn of_run(state: &StateFolder, sweep: &str, holder: &Holder, uses: &Uses) -> Self {
        let about = Debt {
            run_id: holder.run_id.clone().unwrap_or_default(),
            sweep: sweep.to_owned(),
            folder: holder.folder.clone().unwrap_or_default(),
            holder: holder.clone(),
            uses: uses.clone(),
            owed: Owed::Processes,
        };
        Self { state: state.clone(), about, job: None }
    }

    /// The same in a job of a cluster, which notes no debts: its node may not see the state
    /// folder of who runs the run.
    #[must_use]
    pub fn in_job(self, job: &OfJob) -> Self {
        Self { job: Some(job.clone()), ..self }
    }

    /// The job, where it works in one.
    pub fn job(&self) -> Option<&OfJob> {
        self.job.as_ref()
    }

    /// The run.
    pub fn run_id(&self) -> &str {
        &self.about.run_id
    }

    /// Where its debts are noted.
    pub fn state(&self) -> &StateFolder {
        &self.state
    }

    /// The process that works on it.
    pub fn holder(&self) -> &Holder {
        &self.about.holder
    }

    /// What its candidates use.
    pub fn uses(&self) -> &Uses {
        &self.about.uses
    }

    /// Notes a debt; it is on the disk when this returns.
    ///
    /// # Errors
    /// Where it cannot be noted: then it must not be incurred.
    pub fn owe(&self, owed: Owed) -> Result<(), OwnershipError> {
        let debt = Debt { owed, ..self.about.clone() };
        let path = path_of(&self.state, &debt.run_id, &debt.owed.word());
        let was_owed = path.exists();
        state::write(&path, &debt).inspect_err(|_| {
            // It may be there, and not durable: what is not incurred is not owed.
            if !was_owed {
                let _the_first_error_counts = state::remove(&path);
            }
        })
    }

    /// A debt of this kind is paid.
    ///
    /// # Errors
    /// Where its note cannot be removed.
    pub fn paid(&self, owed: &Owed) -> Result<(), OwnershipError> {
        remove(&self.state, &self.about, &owed.word())
    }

    /// Production runs again and is proven, or somebody else started it.
    ///
    /// # Errors
    /// Where its note cannot be removed.
    pub fn production_paid(&self) -> Result<(), OwnershipError> {
        remove(&self.state, &self.about, PRODUCTION)
    }

    /// The run has ended and owes nothing, where no note says otherwise.
    pub fn settled(&self) {
        settled::note(&self.state, &self.about.run_id, &self.about.folder);
    }

    /// What the run owes of production, also what an earlier session of it noted.
    pub fn production(&self) -> Option<ProductionOwed> {
        let path = path_of(&self.state, &self.about.run_id, PRODUCTION);
        match read(&path).ok().filter(Debt::is_here)?.owed {
            Owed::Production(owed) => Some(owed),
            _ => None,
        }
    }
}

impl Debt {
    /// Whether it is owed on this machine: the state folder may be shared by machines, and a
    /// daemon's socket and a container's name are the same on each.
    pub fn is_here(&self) -> bool {
        self.holder.is_here()
    }

    /// The file of its note.
    pub fn note(&self, state: &StateFolder) -> PathBuf {
        path_of(state, &self.run_id, &self.owed.word())
    }

    /// Notes it again, where its note was lost and something else tells of it.
    ///
    /// # Errors
    /// Where it cannot be noted.
    pub fn note_again(&self, state: &StateFolder) -> Result<(), OwnershipError> {
        state::write(&self.note(state), self)
    }

    /// Removes its note: it is paid.
    ///
    /// # Errors
    /// Where it cannot be removed.
    pub fn paid(&self, state: &StateFolder) -> Result<(), OwnershipError> {
        remove(state, self, &self.owed.word())
    }
}

/// A note that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Its file.
    pub path: PathBuf,
    /// Why.
    pub why: String,
    /// Whether it is about production.
    pub production: bool,
}

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (path, why) = (self.path.display(), &self.why);
        if self.production {
            write!(
                f,
                "{path} cannot be read ({why}): a run stopped production, and which one is not known. \
                 Look at `docker ps -a`, start it by `docker start NAME`, and remove this file"
            )
        } else {
            write!(
                f,
                "{path} cannot be read ({why}): see that no candidate runs, and remove this file"
            )
        }
    }
}

/// Every debt on this machine, in the order of their files, and the notes that cannot be read.
pub fn all(state: &StateFolder) -> (Vec<Debt>, Vec<Damaged>) {
    let (mut debts, damaged) = noted(state);
    debts.retain(Debt::is_here);
    (debts, damaged)
}

/// Every debt on other machines with this state folder: only there can it be paid.
pub fn elsewhere(state: &StateFolder) -> Vec<Debt> {
    let mut debts = noted(state).0;
    debts.retain(|debt| !debt.is_here());
    debts
}

fn noted(state: &StateFolder) -> (Vec<Debt>, Vec<Damaged>) {
    let files = std::fs::read_dir(state.debts()).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = files.map(|file| file.path()).collect();
    paths.sort();
    let (mut debts, mut damaged) = (Vec::new(), Vec::new());
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') || path.extension().is_none_or(|it| it != "json") {
            continue;
        }
        match read(&path) {
            Ok(debt) => debts.push(debt),
            // It was paid since the folder was listed.
            Err(_) if path.symlink_metadata().is_err() => {}
            Err(why) => {
                let production = name.ends_with(&format!(".{PRODUCTION}.json"));
                damaged.push(Damaged { path, why, production });
            }
        }
    }
    (debts, damaged)
}

/// Removes what processes that were killed left of notes that they were writing.
pub fn remove_torn(state: &StateFolder) {
    for file in std::fs::read_dir(state.debts()).into_iter().flatten().flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            continue;
        }
        let Some(text) = name.strip_suffix(".tmp") else { continue };
        let (text, pid) = text.rsplit_once('.').unwrap_or((text, ""));
        let is_of_this_boot = text.ends_with(&format!(".{}", state::boot()));
        let is_torn = if is_of_this_boot {
            !Path::new("/proc").join(pid).exists()
        } else {
            // Another machine may be writing it.
            let age = file.metadata().and_then(|it| it.modified()).map(|it| it.elapsed());
            age.is_ok_and(|age| age.is_ok_and(|age| age > LONG_AGO))
        };
        if is_torn {
            let _another_was_faster = std::fs::remove_file(file.path());
        }
    }
}

fn read(path: &Path) -> Result<Debt, String> {
    let text = input::text(path).map_err(|error| error.to_string())?;
    if text.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    let debt: Debt = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    if is_run_id(&debt.run_id) { Ok(debt) } else { Err("it names no run".to_owned()) }
}

fn path_of(state: &StateFolder, run_id: &str, word: &str) -> PathBuf {
    state.debts().join(format!("{run_id}.{word}.json"))
}

fn remove(folder: &StateFolder, debt: &Debt, word: &str) -> Result<(), OwnershipError> {
    state::remove(&path_of(folder, &debt.run_id, word))?;
    settled::note(folder, &debt.run_id, &debt.folder);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ownership::new_run_id;

    fn ledger(place: &Path) -> (StateFolder, Ledger) {
        let state = StateFolder::at(place).unwrap();
        let run = new_run_id();
        let holder = Holder::this().in_state(&state).of_run(&run, Path::new("/runs/a"));
        let ledger = Ledger::of_run(&state, "a", &holder, &Uses::Cpu);
        (state, ledger)
    }

    fn production(id: &str) -> Owed {
        Owed::Production(ProductionOwed {
            docker: "unix:///d".to_owned(),
            id: id.to_owned(),
            name: "vllm".to_owned(),
            ..ProductionOwed::default()
        })
    }

    #[test]
    fn what_is_owed_stays_noted_until_it_is_paid() {
        let place = tempfile::tempdir().unwrap();
        let (state, ledger) = ledger(place.path());
        ledger.owe(production("1")).unwrap();
        ledger.owe(production("2")).unwrap();
        ledger.owe(Owed::Containers { docker: "unix:///d".to_owned() }).unwrap();
        let group = Owed::Group(GroupOwed { launch: 3, group: 77, ..GroupOwed::default() });
        ledger.owe(group.clone()).unwrap();
        let (debts, damaged) = all(&state);
        assert_eq!((debts.len(), damaged.len()), (3, 0), "production is owed once");
        assert_eq!(ledger.production().map(|owed| owed.id), Some("2".to_owned()));
        assert!(debts.iter().all(|debt| debt.folder == Path::new("/runs/a")));
        ledger.production_paid().unwrap();
        ledger.production_paid().unwrap();
        ledger.paid(&group).unwrap();
        let (debts, _) = all(&state);
        assert!(matches!(debts.as_slice(), [Debt { owed: Owed::Containers { .. }, .. }]));
        debts[0].paid(&state).unwrap();
        assert_eq!(all(&state), (Vec::new(), Vec::new()));
    }

    #[test]
    fn a_note_that_is_empty_or_torn_is_reported() {
        let place = tempfile::tempdir().unwrap();
        let (state, ledger) = ledger(place.path());
        ledger.owe(production("1")).unwrap();
        let path = path_of(&state, ledger.run_id(), PRODUCTION);
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let (debts, damaged) = all(&state);
            assert!(debts.is_empty() && damaged.len() == 1 && damaged[0].production, "{length}");
        }
        let said = all(&state).1[0].to_string();
        assert!(said.contains("docker ps -a") && said.contains("production"), "{said}");
        // What a crash leaves of a note that was being written.
        let note = |boot: &str, pid: u32| {
            let path = state.debts().join(format!(".x.production.json.{boot}.{pid}.tmp"));
            std::fs::write(&path, "{").unwrap();
            path
        };
        let torn = note(&state::boot(), u32::MAX);
        let written = note(&state::boot(), std::process::id());
        let before_the_boot = note("another", 77);
        let long_ago = std::time::SystemTime::now() - 2 * LONG_AGO;
        std::fs::File::options()
            .write(true)
            .open(&before_the_boot)
            .and_then(|file| file.set_modified(long_ago))
            .unwrap();
        let elsewhere = note("another", 78);
        std::fs::write(&path, whole).unwrap();
        assert_eq!(all(&state).0.len(), 1);
        assert_eq!(all(&state).1, []);
        remove_torn(&state);
        assert!(!torn.exists() && !before_the_boot.exists());
        assert!(written.exists() && elsewhere.exists(), "who writes it lives");
    }

    #[test]
    fn a_note_that_is_no_plain_file_is_reported_and_nothing_waits_for_it() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};

        let place = tempfile::tempdir().unwrap();
        let (state, ledger) = ledger(place.path());
        ledger.owe(Owed::Processes).unwrap();
        let file = |name: &str| state.debts().join(name);
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, file("x.json"), FileType::Fifo, mode, 0).unwrap();
        std::fs::create_dir(file("y.production.json")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", file("z.json")).unwrap();
        std::os::unix::fs::symlink("nowhere", file("zz.production.json")).unwrap();
        let (debts, damaged) = all(&state);
        assert_eq!(debts.len(), 1);
        let found: Vec<(&str, bool)> =
            damaged.iter().map(|it| (it.why.as_str(), it.production)).collect();
        assert_eq!(
            found,
            [
                ("this is a pipe, not a file", false),
                ("this is a folder, not a file", true),
                ("this is a device, not a file", false),
                ("there is no such file", true),
            ]
        );
    }

    #[test]
    fn what_is_owed_on_another_machine_is_not_owed_here() {
        let place = tempfile::tempdir().unwrap();
        let (state, ledger) = ledger(place.path());
        let holder =
            Holder { host: "gpu1".to_owned(), boot_id: "b".to_owned(), ..ledger.about.holder };
        let theirs = Ledger::of_run(&state, "a", &holder, &Uses::Cpu);
        theirs.owe(production("1")).unwrap();
        theirs.owe(Owed::Processes).unwrap();
        assert_eq!(all(&state), (Vec::new(), Vec::new()));
        assert_eq!(elsewhere(&state).len(), 2);
        assert_eq!(theirs.production(), None, "its container is not this daemon's");
    }
}
