//! Who else uses the server's GPUs: processes on them that are not the server's. Through
//! NVML, else through one `nvidia-smi` that keeps running. Where the server's own processes
//! are not seen on a GPU (other process numbers in a container or a virtual machine), the
//! list tells nothing of others, and there is no sample.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nvml_wrapper::Device;
use nvml_wrapper::enums::device::UsedGpuMemory;

use super::{Reading, Tape};
use crate::client::clock::now_ns;
use crate::server::GpuIds;

/// How often `nvidia-smi` lists the processes, in milliseconds.
const SMI_EACH: &str = "2000";

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

/// The `nvidia-smi` that lists processes; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Smi {
    child: Child,
}

impl Smi {
    pub(super) fn start(
        program: &Path,
        only: Option<GpuIds>,
        tape: Tape,
        stop: Arc<AtomicBool>,
        server: ServerProcesses,
    ) -> Option<Self> {
        let mut child = Command::new(program)
            .arg("--query-compute-apps=timestamp,gpu_uuid,pid,used_gpu_memory")
            .args(["--format=csv,noheader,nounits", "-lms", SMI_EACH])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let lines = BufReader::new(child.stdout.take()?).lines();
        let smi = Self { child };
        let program = program.to_owned();
        let body = move || {
            // Here, since with a broken driver the tool may never end.
            let Some(gpus) = indices(&program) else { return };
            let mut look = Look::default();
            for line in lines.map_while(Result::ok) {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let wanted =
                    |uuid: &str, index| only.as_ref().is_none_or(|ids| ids.include(index, uuid));
                let readings = look.line(&line, &gpus, &server, wanted);
                tape.put(now_ns(), readings.into_iter().map(Reading::GpuUsers));
            }
        };
        let thread = std::thread::Builder::new().name("telemetry gpu users".to_owned());
        thread.spawn(body).is_ok().then_some(smi)
    }
}

impl Drop for Smi {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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

/// The processes of one look, line by line: all have the same time.
#[derive(Debug, Default)]
struct Look {
    time: String,
    users: BTreeMap<String, Vec<User>>,
}

impl Look {
    /// The look before, where this line begins another one.
    fn line(
        &mut self,
        line: &str,
        gpus: &BTreeMap<String, u32>,
        server: &ServerProcesses,
        wanted: impl Fn(&str, u32) -> bool,
    ) -> Vec<GpuUsersReading> {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let [time, uuid, process, memory] = fields[..] else { return Vec::new() };
        let Ok(process) = process.parse() else { return Vec::new() };
        let mut readings = Vec::new();
        if time != self.time {
            for (uuid, users) in std::mem::take(&mut self.users) {
                let index = gpus.get(&uuid).copied().filter(|index| wanted(&uuid, *index));
                readings.extend(index.and_then(|index| server.others(index, &users)));
            }
            time.clone_into(&mut self.time);
        }
        let memory =
            memory.parse::<u64>().ok().and_then(|mebibytes| mebibytes.checked_mul(1 << 20));
        self.users.entry(uuid.to_owned()).or_default().push((process, memory));
        readings
    }
}

#[cfg(test)]
mod tests {
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
    fn the_lines_of_one_time_are_one_look() {
        let gpus = BTreeMap::from([("GPU-00".to_owned(), 0), ("GPU-11".to_owned(), 1)]);
        let (own, mut look) = (server(&[10]), Look::default());
        let mut all = Vec::new();
        for line in [
            "2026/08/01 12:00:00.123, GPU-00, 10, 20000",
            "2026/08/01 12:00:00.123, GPU-11, 10, [N/A]",
            "2026/08/01 12:00:00.123, GPU-11, 42, 512",
            "No running processes found",
            "2026/08/01 12:00:02.123, GPU-00, 10, 20000",
            "2026/08/01 12:00:04.123, GPU-00, 10, 20000",
        ] {
            all.extend(look.line(line, &gpus, &own, |_, _| true));
        }
        let of = |index, others, bytes| GpuUsersReading {
            index,
            others,
            others_memory_bytes: Some(bytes),
        };
        assert_eq!(all, [of(0, 0, 0), of(1, 1, 512 << 20), of(0, 0, 0)]);
    }
}
