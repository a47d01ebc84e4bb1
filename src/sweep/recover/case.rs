//! Which runs there are to recover: a run is put together from its folder, its debts and
//! its containers, as far as each of them is there. Nothing is done here.

use std::path::{Path, PathBuf};

use crate::engine::docker::cleanup::Labelled;
use crate::engine::docker::owed::{Connection, is_same_socket};
use crate::history::folder::Folder;
use crate::ownership::debt::{self, Debt, Owed, ProductionOwed};
use crate::ownership::{StateFolder, is_run_id, real_path};

/// A run, as far as it is known.
pub(super) struct Case {
    /// Its id, where its manifest, a debt or a label tells it.
    pub(super) run_id: Option<String>,
    /// Where it is, or was.
    paths: Vec<PathBuf>,
    /// Whether it is to be recovered.
    asked: bool,
    /// Whether its folder was named, and nothing showed yet that a run is there.
    unknown: bool,
    /// What it owes.
    pub(super) debts: Vec<Debt>,
    /// What it owes on other machines: paid only there.
    pub(super) elsewhere: Vec<Debt>,
    /// What it left on daemons.
    pub(super) containers: Vec<(Connection, Labelled)>,
    /// Whether only a label tells of the production that it owes.
    pub(super) by_label: bool,
}

impl Case {
    /// Its folder where that is now, else where it was.
    pub(super) fn folder(&self) -> PathBuf {
        self.existing().or(self.paths.first()).cloned().unwrap_or_default()
    }

    /// Its folder, where there is one now.
    pub(super) fn existing(&self) -> Option<&PathBuf> {
        self.paths.iter().find(|path| match run_id_in(path) {
            // Another run may be at the same place by now.
            Some(found) => self.run_id.as_ref().is_none_or(|own| *own == found),
            None => ["manifest.json", "journal.jsonl", "launches"]
                .iter()
                .any(|it| path.join(it).exists()),
        })
    }

    /// Whether it worked on another machine, and owes nothing on this one.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.debts.is_empty() && !self.elsewhere.is_empty()
    }

    /// Takes the production that it owes from a candidate's label, where nothing else is left
    /// of the run that could say whether it is owed.
    fn owe_by_label(&mut self, socket: &str, seen: &Labelled) {
        let journal = self.existing().map(|folder| folder.join("journal.jsonl"));
        let is_told = journal.is_some_and(|journal| journal.exists());
        let is_lost = self.debts.is_empty() && self.elsewhere.is_empty() && !is_told;
        let (Some(owed), Some(run_id), Some(holder)) =
            (&seen.production, &seen.run_id, &seen.holder)
        else {
            return;
        };
        if is_lost {
            self.by_label = true;
            self.debts.push(Debt {
                run_id: run_id.clone(),
                sweep: seen.sweep.clone(),
                folder: seen.folder.clone(),
                holder: holder.clone(),
                uses: seen.uses.clone().unwrap_or_default(),
                owed: Owed::Production(ProductionOwed {
                    docker: socket.to_owned(),
                    ..owed.clone()
                }),
            });
        }
    }

    /// What it owes on the daemon of a socket is owed on that of another one: it is the same.
    pub(super) fn move_debts(&mut self, from: &str, to: &str) {
        for debt in &mut self.debts {
            if let Owed::Containers { docker } | Owed::Production(ProductionOwed { docker, .. }) =
                &mut debt.owed
                && is_same_socket(docker, from)
            {
                to.clone_into(docker);
            }
        }
    }

    /// Whether something of it is owed on the daemon of this socket.
    pub(super) fn owes_on(&self, socket: &str) -> bool {
        self.debts.iter().any(|debt| is_on(debt, socket))
    }

    /// The notes of what it owes there.
    pub(super) fn notes_on(&self, state: &StateFolder, socket: &str) -> Vec<PathBuf> {
        self.debts.iter().filter(|it| is_on(it, socket)).map(|it| it.note(state)).collect()
    }

    /// Whether a container of it was seen through this socket.
    pub(super) fn left_on(&self, socket: &str) -> bool {
        self.containers.iter().any(|(docker, _)| docker.host() == socket)
    }

    /// The production that it owes.
    pub(super) fn production(&self) -> Option<(&Debt, &ProductionOwed)> {
        self.debts.iter().find_map(|debt| match &debt.owed {
            Owed::Production(owed) => Some((debt, owed)),
            _ => None,
        })
    }

    fn has(&self, run_id: Option<&str>, path: &Path) -> bool {
        match (&self.run_id, run_id) {
            (Some(own), Some(other)) => own == other,
            _ => !path.as_os_str().is_empty() && self.paths.iter().any(|own| own == path),
        }
    }
}

/// All runs that are known.
pub(super) struct Cases {
    all: Vec<Case>,
    all_asked: bool,
    /// Folders that were named and show no run id by themselves.
    bare: Vec<PathBuf>,
    /// Runs that were named by their ids.
    named: Vec<String>,
}

impl Cases {
    /// The runs in `folders`; a run id is as good as a folder.
    pub(super) fn of(folders: &[PathBuf], all_asked: bool) -> Self {
        let mut cases = Self { all: Vec::new(), all_asked, bare: Vec::new(), named: Vec::new() };
        for folder in folders {
            let text = folder.to_string_lossy();
            if is_run_id(&text) && !folder.exists() {
                cases.named.push(text.into_owned());
                continue;
            }
            let path = real_path(folder);
            let run_id = run_id_in(&path);
            if cases.all.iter().any(|case| case.has(run_id.as_deref(), &path)) {
                continue;
            }
            if run_id.is_none() {
                cases.bare.push(path.clone());
            }
            let unknown =
                !path.join("manifest.json").exists() && !path.join("journal.jsonl").exists();
            cases.all.push(Case {
                run_id,
                paths: vec![path],
                asked: true,
                unknown,
                debts: Vec::new(),
                elsewhere: Vec::new(),
                containers: Vec::new(),
                by_label: false,
            });
        }
        cases
    }

    /// Adds debts of this machine to their runs, and those of others.
    pub(super) fn debts(&mut self, state: &StateFolder, here: Vec<Debt>) {
        for debt in here {
            self.noted(&debt).debts.push(debt);
        }
        for debt in debt::elsewhere(state) {
            self.noted(&debt).elsewhere.push(debt);
        }
    }

    fn noted(&mut self, debt: &Debt) -> &mut Case {
        self.case(Some(&debt.run_id), &real_path(&debt.folder))
    }

    /// Adds a container to its run.
    pub(super) fn container(&mut self, docker: Connection, socket: &str, seen: Labelled) {
        let folder = if seen.folder.as_os_str().is_empty() {
            PathBuf::new()
        } else {
            real_path(&seen.folder)
        };
        let run_id = seen.run_id.clone();
        let case = self.case(run_id.as_deref(), &folder);
        if !case.containers.iter().any(|(_, known)| known.id == seen.id) {
            case.owe_by_label(socket, &seen);
            case.containers.push((docker, seen));
        }
    }

    /// Adds a run that only its processes tell of.
    pub(super) fn processes(&mut self, run_id: &str) {
        self.case(Some(run_id), Path::new(""));
    }

    fn case(&mut self, run_id: Option<&str>, folder: &Path) -> &mut Case {
        let at = self.all.iter().position(|case| case.has(run_id, folder)).unwrap_or_else(|| {
            let is_named = run_id.is_some_and(|id| self.named.iter().any(|it| it == id));
            let asked = self.all_asked || is_named || self.bare.iter().any(|it| it == folder);
            self.all.push(Case {
                run_id: None,
                paths: Vec::new(),
                asked,
                unknown: false,
                debts: Vec::new(),
                elsewhere: Vec::new(),
                containers: Vec::new(),
                by_label: false,
            });
            self.all.len() - 1
        });
        let case = &mut self.all[at];
        case.unknown = false;
        if case.run_id.is_none() {
            case.run_id = run_id.map(str::to_owned);
        }
        if !folder.as_os_str().is_empty() && !case.paths.iter().any(|own| own == folder) {
            case.paths.push(folder.to_owned());
        }
        case
    }

    /// The runs that are to be recovered.
    pub(super) fn asked(&self) -> impl Iterator<Item = &Case> {
        self.all.iter().filter(|case| case.asked && !case.unknown)
    }

    /// The same, to be changed.
    pub(super) fn asked_mut(&mut self) -> impl Iterator<Item = &mut Case> {
        self.all.iter_mut().filter(|case| case.asked && !case.unknown)
    }

    /// What was named, and no run is there.
    pub(super) fn unknown(&self) -> impl Iterator<Item = &Path> {
        let folders = self.all.iter().filter(|case| case.unknown && case.asked);
        let folders = folders.filter_map(|case| case.paths.first().map(PathBuf::as_path));
        let known = |id: &&String| self.all.iter().any(|case| case.run_id.as_ref() == Some(*id));
        folders.chain(self.named.iter().filter(move |id| !known(id)).map(Path::new))
    }

    /// Daemons on which runs worked.
    pub(super) fn sockets(&self) -> Vec<String> {
        let debts = self.all.iter().filter(|case| case.asked).flat_map(|case| &case.debts);
        let sockets = debts.filter_map(|debt| match &debt.owed {
            Owed::Containers { docker } | Owed::Production(ProductionOwed { docker, .. }) => {
                Some(docker.clone())
            }
            _ => None,
        });
        sockets.collect()
    }

    /// Whether a run that is to be recovered worked on this daemon; `here`: it is this
    /// environment's.
    pub(super) fn used(&self, socket: &str, here: bool) -> bool {
        let by_engine = |case: &Case| {
            let manifest = case.existing().and_then(|path| Folder::existing(path).ok());
            manifest.and_then(|it| it.manifest().ok()).is_some_and(|it| it.engine == "docker")
        };
        self.sockets().iter().any(|known| is_same_socket(known, socket))
            || here && !self.all_asked && self.asked().any(by_engine)
    }
}

/// Whether something is owed on the daemon of this socket.
fn is_on(debt: &Debt, socket: &str) -> bool {
    match &debt.owed {
        Owed::Containers { docker } | Owed::Production(ProductionOwed { docker, .. }) => {
            is_same_socket(docker, socket)
        }
        _ => false,
    }
}

/// The id of the run in a folder, where its manifest can be read.
fn run_id_in(folder: &Path) -> Option<String> {
    Folder::existing(folder).ok()?.manifest().ok().map(|manifest| manifest.run_id())
}
