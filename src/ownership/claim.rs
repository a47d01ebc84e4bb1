//! What a run claims before it launches anything: each of its GPUs, or the machine's CPU,
//! and its production. Always in the same order, so that two runs never wait for each
//! other: one of them is refused at once. File locks in the state folder tell who and
//! where; names of `machine` hold against other users and state folders.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::lock::{Attempt, Lock, taken};
use super::machine::{self, Bound, Claim};
use super::uses::Names;
use super::{Held, Holder, OwnershipError, StateFolder, Uses};
use crate::configuration::hexadecimal;

/// Held together by runs that name GPUs in one way.
const UUIDS: &str = "gpus-by-uuid.lock";
const INDICES: &str = "gpus-by-index.lock";
const CPU: &str = "this machine's CPU (candidates without a GPU)";

/// A production as its lock knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductionName {
    /// The daemon's socket.
    pub docker: String,
    /// The container's name, or what the grid calls it where there is no container.
    pub name: String,
}

/// Claims of this process, held until this is dropped.
#[derive(Debug, Default)]
pub struct Claims(Vec<Lock>, Vec<Bound>);

impl Claims {
    /// Claims a production and what candidates use.
    ///
    /// # Errors
    /// Another run holds a part of it, or the state folder cannot be used.
    pub fn take(
        state: &StateFolder,
        production: Option<&ProductionName>,
        uses: &Uses,
        holder: &Holder,
    ) -> Result<Self, OwnershipError> {
        let mut claims = Self::in_folder(state, production, uses, holder)?;
        claims.1 = on_machine(state, production, uses)?;
        Ok(claims)
    }

    /// Against the runs of the same state folder.
    fn in_folder(
        state: &StateFolder,
        production: Option<&ProductionName>,
        uses: &Uses,
        holder: &Holder,
    ) -> Result<Self, OwnershipError> {
        let folder = folder(state)?;
        let mut claims = Self::default();
        if let Some(production) = production {
            let what = format!("production ({})", production.name);
            claims.0.push(alone(&folder.join(file_of(production)), &what, holder)?);
        }
        match uses {
            Uses::Nothing => {}
            Uses::Cpu => {
                claims.0.push(alone(&folder.join("cpu.lock"), CPU, holder)?);
            }
            Uses::AllGpus => claims.0.push(all_gpus(&folder, holder)?),
            Uses::Gpus(names) => {
                let (own, other) = match Names::of(names) {
                    Names::Uuids => (UUIDS, INDICES),
                    Names::Indices => (INDICES, UUIDS),
                    Names::Both => {
                        claims.0.push(all_gpus(&folder, holder)?);
                        return Ok(claims);
                    }
                };
                let path = folder.join("gpus.lock");
                let shared =
                    Lock::shared(&path).map_err(|error| OwnershipError::io(&path, error))?;
                match shared {
                    Attempt::Got(lock) => claims.0.push(lock),
                    Attempt::Held(holder) => return Err(held("every GPU of this machine", holder)),
                }
                claims.0.push(named_alike(&folder, own, other, holder)?);
                for name in names {
                    let path = folder.join(gpu_file(name));
                    claims.0.push(alone(&path, &format!("GPU {name}"), holder)?);
                }
            }
        }
        Ok(claims)
    }

    /// Writes for which run they are held, once that is known.
    ///
    /// # Errors
    /// Where the state folder cannot be written.
    pub fn tell(&self, holder: &Holder) -> Result<(), std::io::Error> {
        self.0.iter().try_for_each(|lock| lock.tell(holder))
    }
}

/// A boot of one machine has a folder of its own: locks do not outlive it, and the state
/// folder may be shared by machines.
fn folder(state: &StateFolder) -> Result<PathBuf, OwnershipError> {
    let folder = state.locks().join(super::state::boot());
    super::state::private_folder(&folder)?;
    Ok(folder)
}

/// Against every other process of the machine.
fn on_machine(
    state: &StateFolder,
    production: Option<&ProductionName>,
    uses: &Uses,
) -> Result<Vec<Bound>, OwnershipError> {
    let mut claims: Vec<Claim> =
        production.map(|it| Claim::Production(hash_of(it))).into_iter().collect();
    if *uses != Uses::Nothing {
        claims.push(Claim::Uses(uses.clone()));
    }
    if claims.is_empty() {
        return Ok(Vec::new());
    }
    let (claim, holder) = match machine::claim(state.claims(), &claims)? {
        machine::Attempt::Got(bound) => return Ok(bound),
        machine::Attempt::Held(claim, holder) => (claim, holder),
    };
    let what = match claim {
        Claim::Production(_) => {
            format!("production ({})", production.map_or("", |it| it.name.as_str()))
        }
        Claim::Uses(Uses::Gpus(names)) => {
            let names: Vec<String> = names.into_iter().collect();
            format!("GPU {}", names.join(", "))
        }
        Claim::Uses(Uses::Cpu | Uses::Nothing) => CPU.to_owned(),
        Claim::Uses(Uses::AllGpus) => "every GPU of this machine".to_owned(),
    };
    Err(held(&what, Some(*holder)))
}

fn gpu_file(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    format!("gpu-{}.lock", name.chars().map(safe).collect::<String>())
}

fn file_of(production: &ProductionName) -> String {
    format!("production-{}.lock", hash_of(production))
}

fn hash_of(production: &ProductionName) -> String {
    let ProductionName { docker, name } = production;
    let docker = real_socket(docker);
    let mut text = docker.as_os_str().as_bytes().to_vec();
    text.extend_from_slice(format!("\n{name}").as_bytes());
    hexadecimal(&Sha256::digest(&text))[..24].to_owned()
}

/// Where a daemon's socket is, whatever links lead to it: `/var/run` is a link to `/run`.
pub fn real_socket(socket: &str) -> PathBuf {
    let path = Path::new(socket.strip_prefix("unix://").unwrap_or(socket));
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn alone(path: &Path, what: &str, holder: &Holder) -> Result<Lock, OwnershipError> {
    match Lock::exclusive(path, holder).map_err(|error| OwnershipError::io(path, error))? {
        Attempt::Got(lock) => Ok(lock),
        Attempt::Held(holder) => Err(held(what, holder)),
    }
}

/// Runs that know GPUs by UUIDs and runs that know them by indices never work side by side:
/// an index may be any of the UUIDs. Held before it is looked for the other: of two that
/// begin at once none overlooks the other.
fn named_alike(
    folder: &Path,
    own: &str,
    other: &str,
    holder: &Holder,
) -> Result<Lock, OwnershipError> {
    let (own, other) = (folder.join(own), folder.join(other));
    let busy = || match single(folder) {
        Some((gpu, holder)) => held(&format!("GPU {gpu}"), holder),
        None => held("a GPU of this machine", None),
    };
    let lock = match Lock::shared(&own).map_err(|error| OwnershipError::io(&own, error))? {
        Attempt::Got(lock) => lock,
        Attempt::Held(_) => return Err(busy()),
    };
    match Lock::exclusive(&other, holder).map_err(|error| OwnershipError::io(&other, error))? {
        Attempt::Got(_let_go) => Ok(lock),
        Attempt::Held(_) => Err(busy()),
    }
}

/// A GPU that a run holds, and which run.
fn single(folder: &Path) -> Option<(String, Option<Holder>)> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let single = files.filter_map(|file| {
        let name = file.file_name().to_string_lossy().into_owned();
        let gpu = name.strip_prefix("gpu-")?.strip_suffix(".lock")?.to_owned();
        Some((gpu, taken(&file.path())?.0))
    });
    single.min_by(|one, other| one.0.cmp(&other.0))
}

/// Where another run shares the lock of all GPUs, the GPU that it holds names it.
fn all_gpus(folder: &Path, holder: &Holder) -> Result<Lock, OwnershipError> {
    let path = folder.join("gpus.lock");
    match Lock::exclusive(&path, holder).map_err(|error| OwnershipError::io(&path, error))? {
        Attempt::Got(lock) => Ok(lock),
        Attempt::Held(known) => match single(folder) {
            Some((gpu, holder)) => Err(held(&format!("GPU {gpu}"), holder)),
            None => Err(held("every GPU of this machine", known)),
        },
    }
}

fn held(what: &str, holder: Option<Holder>) -> OwnershipError {
    OwnershipError::Held(Box::new(Held { what: what.to_owned(), holder }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ownership::new_run_id;

    fn take(state: &StateFolder, uses: &str, run: &str) -> Result<Claims, String> {
        let holder = Holder { folder: Some(run.into()), ..Holder::this() };
        let uses = Uses::from(uses.to_owned());
        Claims::take(state, None, &uses, &holder).map_err(|error| error.to_string())
    }

    #[test]
    fn sets_of_gpus_collide_where_they_share_one() {
        let place = tempfile::tempdir().unwrap();
        let state = StateFolder::at(place.path()).unwrap();
        let first = take(&state, "0,1", "/runs/a").unwrap();
        let refused = take(&state, "1,2", "/runs/b").unwrap_err();
        assert!(refused.contains("GPU 1 is in use") && refused.contains("/runs/a"), "{refused}");
        let refused = take(&state, "all", "/runs/b").unwrap_err();
        assert!(refused.contains("GPU 0 is in use") && refused.contains("/runs/a"), "{refused}");
        let other = take(&state, "2", "/runs/b").expect("they are not in each other's way");
        let cpu = take(&state, "cpu", "/runs/c").expect("neither is this one");
        assert!(take(&state, "cpu", "/runs/d").unwrap_err().contains("CPU"));
        take(&state, "nothing", "/runs/d").unwrap();
        drop((first, other, cpu));
        let all = take(&state, "all", "/runs/b").unwrap();
        let refused = take(&state, "2", "/runs/a").unwrap_err();
        assert!(refused.contains("every GPU") && refused.contains("/runs/b"), "{refused}");
        drop(all);
        take(&state, "2", "/runs/a").unwrap();
    }

    /// As [`Uses::overlaps`] says it.
    #[test]
    fn an_index_may_be_any_uuid() {
        let place = tempfile::tempdir().unwrap();
        let state = StateFolder::at(place.path()).unwrap();
        for (one, other) in [
            ("0", "1"),
            ("GPU-a", "GPU-b"),
            ("GPU-a", "0"),
            ("0", "GPU-a"),
            ("0,GPU-a", "GPU-b"),
            ("GPU-b", "1,GPU-a"),
            ("GPU-a", "cpu"),
        ] {
            let of = |text: &str| Uses::from(text.to_owned());
            let first = take(&state, one, "/runs/a").unwrap();
            let second = take(&state, other, "/runs/b");
            assert_eq!(second.is_err(), of(one).overlaps(&of(other)), "{one} and {other}");
            if let Err(refused) = second {
                assert!(refused.contains("in use"), "{refused}");
            }
            drop(first);
        }
        let _first = take(&state, "GPU-a", "/runs/a").unwrap();
        let refused = take(&state, "0", "/runs/b").unwrap_err();
        assert!(
            refused.contains("GPU GPU-a is in use") && refused.contains("/runs/a"),
            "{refused}"
        );
    }

    #[test]
    fn a_claim_that_is_refused_in_part_is_not_kept_in_part() {
        let place = tempfile::tempdir().unwrap();
        let state = StateFolder::at(place.path()).unwrap();
        let first = take(&state, "1", "/runs/a").unwrap();
        take(&state, "0,1", "/runs/b").unwrap_err();
        drop(first);
        take(&state, "all", "/runs/c").unwrap();
    }

    /// Another user's, or one's own with another VLLM_GRID_STATE.
    #[test]
    fn a_claim_holds_against_other_state_folders_of_the_machine() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let space = crate::ownership::space::Space::of(new_run_id().as_bytes());
        let state = |place: &Path| StateFolder::at(place).unwrap().with_claims(&space);
        let (one, other) = (state(one.path()), state(other.path()));
        let production =
            Some(ProductionName { docker: "/run/d.sock".to_owned(), name: "vllm".to_owned() });
        let this = Holder::this();
        let _first =
            Claims::take(&one, production.as_ref(), &Uses::from("0,1".to_owned()), &this).unwrap();
        for (uses, what) in [("1", "GPU 0, 1"), ("all", "GPU 0, 1"), ("GPU-a", "GPU 0, 1")] {
            let refused = take(&other, uses, "/runs/b").unwrap_err();
            let by = format!("{what} is in use: process {} of {}", this.pid, this.user);
            assert!(refused.contains(&by), "{refused}");
        }
        let refused = Claims::take(&other, production.as_ref(), &Uses::Nothing, &this).unwrap_err();
        assert!(refused.to_string().contains("production (vllm) is in use: process"), "{refused}");
        take(&other, "2", "/runs/b").expect("it is in nobody's way");
    }

    #[test]
    fn the_folder_of_locks_is_private_as_all_else() {
        use std::os::unix::fs::PermissionsExt as _;

        let place = tempfile::tempdir().unwrap();
        let state = StateFolder::at(place.path()).unwrap();
        let locks = state.locks().join(crate::ownership::state::boot());
        std::fs::create_dir(&locks).unwrap();
        std::fs::set_permissions(&locks, std::fs::Permissions::from_mode(0o755)).unwrap();
        drop(take(&state, "cpu", "/runs/a").unwrap());
        assert_eq!(std::fs::metadata(&locks).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::remove_dir_all(&locks).unwrap();
        drop(take(&state, "cpu", "/runs/a").unwrap());
        assert_eq!(std::fs::metadata(&locks).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_production_is_one_by_daemon_and_name() {
        let place = tempfile::tempdir().unwrap();
        let state = StateFolder::at(place.path()).unwrap();
        let take = |docker: &str, name: &str| {
            let production = ProductionName { docker: docker.to_owned(), name: name.to_owned() };
            Claims::take(&state, Some(&production), &Uses::Nothing, &Holder::this())
        };
        let _first = take("unix:///a", "vllm").unwrap();
        let refused = take("unix:///a", "vllm").unwrap_err().to_string();
        assert!(refused.contains("production (vllm) is in use"), "{refused}");
        take("unix:///b", "vllm").unwrap();
        take("unix:///a", "other").unwrap();
    }

    #[test]
    fn a_daemon_is_one_whatever_links_lead_to_its_socket() {
        let place = tempfile::tempdir().unwrap();
        let state = StateFolder::at(&place.path().join("state")).unwrap();
        std::fs::create_dir(place.path().join("run")).unwrap();
        std::fs::write(place.path().join("run/d.sock"), "").unwrap();
        std::os::unix::fs::symlink("run", place.path().join("var")).unwrap();
        let take = |folder: &str| {
            let docker = format!("unix://{}/{folder}/d.sock", place.path().display());
            let production = ProductionName { docker, name: "vllm".to_owned() };
            Claims::take(&state, Some(&production), &Uses::Nothing, &Holder::this())
        };
        let _first = take("run").unwrap();
        let refused = take("var").unwrap_err().to_string();
        assert!(refused.contains("production (vllm) is in use"), "{refused}");
    }

    #[test]
    fn the_run_is_told_once_it_has_a_folder() {
        let place = tempfile::tempdir().unwrap();
        let state = StateFolder::at(place.path()).unwrap();
        let claims = Claims::take(&state, None, &Uses::Cpu, &Holder::this()).unwrap();
        let holder = Holder { folder: Some("/runs/late".into()), ..Holder::this() };
        claims.tell(&holder).unwrap();
        let refused = take(&state, "cpu", "/runs/b").unwrap_err();
        assert!(refused.contains("/runs/late"), "{refused}");
    }
}
