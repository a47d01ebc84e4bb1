//! Who else uses the server's GPUs: processes on them that are not the server's. Through
//! NVML, else through an `nvidia-smi` for each look. Where the server's own processes
//! are not seen on a GPU (other process numbers in a container or a virtual machine), the
//! list tells nothing of others, and there is no sample.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nvml_wrapper::Device;
use nvml_wrapper::enums::device::UsedGpuMemory;

use super::{Reading, Tape, pause};
use crate::client::clock::now_ns;
use crate::server::GpuIds;

/// Processes on one GPU that are not the server's.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GpuUsersReading {
    /// The GPU's index, as NVML has it.
    pub index: u32,
    /// How many there are.
    pub others: u32,
    /// Their memory, bytes; `None` where one of them does not tell.
    pub others_memory_bytes: Option<u64>,
}

/// A process on a GPU: its number, and its memory there in bytes.
pub(super) type User = (u32, Option<u64>);

/// Numbers of the server's processes; nothing where they are not known.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerProcesses(Arc<Mutex<Option<BTreeSet<u32>>>>);

impl ServerProcesses {
    pub(super) fn set(&self, processes: Option<Vec<u32>>) {
        let processes = processes.map(|processes| processes.into_iter().collect());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = processes;
    }

    /// Those of a GPU's processes that are not the server's; `None` where none is.
    pub(super) fn others(&self, index: u32, listed: &[User]) -> Option<GpuUsersReading> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = known.as_ref()?;
        // A process that both computes and draws is listed twice.
        let all: BTreeMap<u32, Option<u64>> = listed.iter().copied().collect();
        if !all.keys().any(|process| own.contains(process)) {
            return None;
        }
        let others: Vec<Option<u64>> =
            all.iter().filter(|(process, _)| !own.contains(process)).map(|it| *it.1).collect();
        Some(GpuUsersReading {
            index,
            others: u32::try_from(others.len()).unwrap_or(u32::MAX),
            others_memory_bytes: others.iter().try_fold(0, |sum: u64, it| sum.checked_add((*it)?)),
        })
    }
}

/// The processes of a GPU; `None` where they cannot be listed.
pub(super) fn of_device(device: &Device<'_>) -> Option<Vec<User>> {
    let mut listed = device.running_compute_processes().ok()?;
    listed.extend(device.running_graphics_processes().unwrap_or_default());
    let user = |process: nvml_wrapper::struct_wrappers::device::ProcessInfo| {
        let memory = match process.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes),
            UsedGpuMemory::Unavailable => None,
        };
        (process.pid, memory)
    };
    Some(listed.into_iter().map(user).collect())
}

/// Lists the processes through `nvidia-smi` until the end. Each look is a process of its own:
/// one that keeps running prints nothing while no process uses a GPU. Should this program be
/// killed, it would never notice that nobody reads it.
pub(super) fn through_smi(
    program: PathBuf,
    each: Duration,
    only: Option<GpuIds>,
    tape: Tape,
    stop: Arc<AtomicBool>,
    server: ServerProcesses,
) -> bool {
    let body = move || {
        // Here, since with a broken driver the tool may never end.
        let Some(gpus) = indices(&program) else { return };
        let wanted = |uuid: &str, index| only.as_ref().is_none_or(|ids| ids.include(index, uuid));
        while !stop.load(Ordering::Relaxed) {
            let at = now_ns();
            let Some(listed) = listed(&program) else { return };
            let readings = look(&listed, &gpus, &server, wanted);
            tape.put(at, readings.into_iter().map(Reading::GpuUsers));
            if !pause(each, &stop) {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("telemetry gpu users".to_owned());
    thread.spawn(body).is_ok()
}

/// What the tool prints of the processes.
fn listed(program: &Path) -> Option<String> {
    let output = Command::new(program)
        .arg("--query-compute-apps=gpu_uuid,pid,used_gpu_memory")
        .arg("--format=csv,noheader,nounits")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Indices by UUID.
fn indices(program: &Path) -> Option<BTreeMap<String, u32>> {
    let output = Command::new(program)
        .args(["--query-gpu=index,uuid", "--format=csv,noheader"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let gpu = |line: &str| {
        let (index, uuid) = line.split_once(',')?;
        Some((uuid.trim().to_owned(), index.trim().parse().ok()?))
    };
    Some(text.lines().filter_map(gpu).collect())
}

/// Who uses the wanted GPUs besides the server, of what the tool printed.
fn look(
    listed: &str,
    gpus: &BTreeMap<String, u32>,
    server: &ServerProcesses,
    wanted: impl Fn(&str, u32) -> bool,
) -> Vec<GpuUsersReading> {
    let mut users: BTreeMap<&str, Vec<User>> = BTreeMap::new();
    for line in listed.lines() {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let [uuid, process, memory] = fields[..] else { continue };
        let Ok(process) = process.parse() else { continue };
        let memory =
            memory.parse::<u64>().ok().and_then(|mebibytes| mebibytes.checked_mul(1 << 20));
        users.entry(uuid).or_default().push((process, memory));
    }
    let reading = |(uuid, users): (&str, Vec<User>)| {
        let index = gpus.get(uuid).copied().filter(|index| wanted(uuid, *index))?;
        server.others(index, &users)
    };
    users.into_iter().filter_map(reading).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn server(processes: &[u32]) -> ServerProcesses {
        let known = ServerProcesses::default();
        known.set(Some(processes.to_vec()));
        known
    }

    #[test]
    fn others_are_who_is_not_the_server() {
        let own = server(&[10, 11]);
        let listed = [(10, Some(8)), (77, Some(3)), (77, Some(3)), (78, Some(4))];
        let reading = own.others(1, &listed).expect("the server is seen");
        assert_eq!(reading, GpuUsersReading { index: 1, others: 2, others_memory_bytes: Some(7) });
        let alone = own.others(1, &[(11, None)]).expect("the server is seen");
        assert_eq!((alone.others, alone.others_memory_bytes), (0, Some(0)));
        let silent = own.others(0, &[(10, None), (77, None)]).expect("the server is seen");
        assert_eq!((silent.others, silent.others_memory_bytes), (1, None));
        assert_eq!(own.others(0, &[(77, Some(3))]), None, "other process numbers than ours");
        assert_eq!(own.others(0, &[]), None);
        assert_eq!(ServerProcesses::default().others(0, &listed), None, "not guessed");
    }

    #[test]
    fn what_the_tool_prints_is_one_look() {
        let gpus = BTreeMap::from([("GPU-00".to_owned(), 0), ("GPU-11".to_owned(), 1)]);
        let own = server(&[10]);
        let listed = "GPU-00, 10, 20000\nGPU-11, 10, [N/A]\nGPU-11, 42, 512\nGPU-99, 10, 1\n";
        let of = |index, others, bytes| GpuUsersReading {
            index,
            others,
            others_memory_bytes: Some(bytes),
        };
        let all = look(listed, &gpus, &own, |_, _| true);
        assert_eq!(all, [of(0, 0, 0), of(1, 1, 512 << 20)]);
        assert_eq!(look(listed, &gpus, &own, |_, index| index == 0), [of(0, 0, 0)]);
        assert_eq!(look("No running processes found\n", &gpus, &own, |_, _| true), []);
    }

    /// A tool that keeps running prints nothing on an idle GPU, and outlives this program.
    #[test]
    fn no_tool_keeps_running() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("nvidia-smi");
        let started = folder.path().join("started");
        let script = format!(
            "#!/bin/sh\ncase \"$1\" in *=index,uuid) echo '0, GPU-00'; exit;; esac\n\
             echo \"$*\" >> {}\n\
             case \"$*\" in *-l*) sleep 3600;; esac\n\
             echo 'GPU-00, 10, 8'\necho 'GPU-00, 77, 4'\n",
            started.display()
        );
        std::fs::write(&program, script).expect("written");
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("its mode");
        let (tape, stop) = (Tape::new(), Arc::new(AtomicBool::new(false)));
        let each = Duration::from_millis(5);
        let begun =
            through_smi(program, each, None, tape.clone(), Arc::clone(&stop), server(&[10]));
        assert!(begun);
        let waited = std::time::Instant::now();
        while tape.all().len() < 3 {
            assert!(waited.elapsed() < Duration::from_secs(30), "{:?}", tape.all());
            std::thread::sleep(Duration::from_millis(5));
        }
        stop.store(true, Ordering::Relaxed);
        let seen = tape.all();
        let reading = GpuUsersReading { index: 0, others: 1, others_memory_bytes: Some(4 << 20) };
        assert!(seen.iter().all(|it| it.reading == Reading::GpuUsers(reading)), "{seen:?}");
        let lines = std::fs::read_to_string(started).expect("noted").lines().count();
        assert!(lines >= seen.len(), "one start for each look: {lines}");
    }
}
