//! GPUs: through NVML, else through one `nvidia-smi` that keeps running. Where neither is
//! installed, there are no samples. What the samples of all GPUs add up to is computed in
//! `summary`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::{Device, Nvml};

use super::gpu_users::{self, ServerProcesses};
use super::{Reading, Tape, pause};
use crate::client::clock::now_ns;
use crate::server::GpuIds;

/// Samples of a GPU for each look at its processes.
const USERS_TICKS: u64 = 8;

/// How often `nvidia-smi` is started to list the processes: a start takes CPU.
const SMI_USERS: Duration = Duration::from_secs(5);

/// Time for `nvidia-smi` to list the GPUs.
const SMI: Duration = Duration::from_secs(10);

/// One sample of one GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GpuReading {
    /// Its index, as NVML has it.
    pub index: u32,
    /// Time in which kernels ran, as a share.
    pub utilization: Option<f64>,
    /// Memory in use, bytes.
    pub memory_bytes: Option<u64>,
    /// Power, watts.
    pub power_w: Option<f64>,
    /// Temperature, degrees Celsius.
    pub temperature_c: Option<f64>,
    /// Clock of the multiprocessors, MHz.
    pub sm_clock_mhz: Option<f64>,
    /// Clock of the memory, MHz.
    pub memory_clock_mhz: Option<f64>,
    /// Reasons for which clocks are lowered, as NVML's bits.
    pub throttle_reasons: Option<u64>,
}

impl GpuReading {
    /// Whether heat, power or the board slowed it down.
    pub fn is_throttled(&self) -> Option<bool> {
        let slowed = ThrottleReasons::SW_POWER_CAP
            | ThrottleReasons::HW_SLOWDOWN
            | ThrottleReasons::SW_THERMAL_SLOWDOWN
            | ThrottleReasons::HW_THERMAL_SLOWDOWN
            | ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN;
        Some(self.throttle_reasons? & slowed.bits() != 0)
    }
}

/// Whether this machine seems to have GPUs that can be sampled.
pub fn gpus_are_here() -> bool {
    let seen = Nvml::init().is_ok_and(|nvml| nvml.device_count().is_ok_and(|count| count > 0));
    let tool = || {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&paths).any(|folder| folder.join("nvidia-smi").is_file())
    };
    seen || tool()
}

/// The GPUs of this machine, by index and UUID.
pub async fn gpus_seen() -> Vec<(u32, String)> {
    // Some drivers need a second to initialise.
    let through_nvml = tokio::task::spawn_blocking(seen_through_nvml).await;
    match through_nvml {
        Ok(Some(seen)) => seen,
        _ => seen_through_smi(Path::new("nvidia-smi")).await,
    }
}

/// `None` without the library or any GPU.
fn seen_through_nvml() -> Option<Vec<(u32, String)>> {
    let nvml = Nvml::init().ok()?;
    let uuid = |index: u32| nvml.device_by_index(index).and_then(|device| device.uuid());
    let indices = 0..nvml.device_count().ok().filter(|count| *count > 0)?;
    Some(indices.map(|index| (index, uuid(index).unwrap_or_default())).collect())
}

async fn seen_through_smi(program: &Path) -> Vec<(u32, String)> {
    let asked = tokio::process::Command::new(program)
        .args(["--query-gpu=index,uuid", "--format=csv,noheader"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    // With a broken driver the tool may never end.
    let Ok(Ok(output)) = tokio::time::timeout(SMI, asked).await else { return Vec::new() };
    let text = String::from_utf8_lossy(&output.stdout);
    let gpu = |line: &str| {
        let (index, uuid) = line.split_once(',')?;
        Some((index.trim().parse().ok()?, uuid.trim().to_owned()))
    };
    text.lines().filter_map(gpu).collect()
}

/// What is wrong with a list of ids with commas: some are none of the GPUs `seen`,
/// or there is none.
pub fn unknown_gpus(listed: &str, seen: &[(u32, String)]) -> Option<String> {
    let ids = || listed.split(',').map(str::trim).filter(|id| !id.is_empty());
    let is_seen = |id: &str| {
        let ids = GpuIds::new([id.to_owned()]);
        seen.iter().any(|(index, uuid)| ids.include(*index, uuid))
    };
    let unknown: Vec<&str> = ids().filter(|id| !is_seen(id)).collect();
    if unknown.is_empty() {
        return ids().next().is_none().then(|| "it lists no GPU".to_owned());
    }
    let there: Vec<String> = seen.iter().map(|(index, uuid)| format!("{index} ({uuid})")).collect();
    let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
    Some(format!("no GPU {} on this machine, which has {there}", unknown.join(", ")))
}

/// What samples the GPUs; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Gpus {
    smi: Option<Child>,
}

impl Gpus {
    /// Begins to sample these GPUs, or all; `None` without any.
    pub(super) fn watch(
        only: Option<GpuIds>,
        each: Duration,
        tape: Tape,
        stop: Arc<AtomicBool>,
        server: Option<ServerProcesses>,
    ) -> Option<Self> {
        if only.as_ref().is_some_and(GpuIds::is_empty) {
            return None;
        }
        if let Ok(nvml) = Nvml::init()
            && nvml.device_count().is_ok_and(|count| count > 0)
        {
            return through_nvml(nvml, only.as_ref(), each, tape, stop, server);
        }
        let program = Path::new("nvidia-smi");
        let (users_tape, users_stop) = (tape.clone(), Arc::clone(&stop));
        let users_of = only.clone();
        let gpus = through_smi(program, only, each, tape, stop)?;
        if let Some(server) = server {
            let program = program.to_owned();
            gpu_users::through_smi(program, SMI_USERS, users_of, users_tape, users_stop, server);
        }
        Some(gpus)
    }
}

impl Drop for Gpus {
    fn drop(&mut self) {
        if let Some(smi) = &mut self.smi {
            // It may have ended by itself.
            let _ = smi.kill();
            let _ = smi.wait();
        }
    }
}

fn spawn(body: impl FnOnce() + Send + 'static) -> bool {
    std::thread::Builder::new().name("telemetry gpu".to_owned()).spawn(body).is_ok()
}

fn is_wanted(only: Option<&GpuIds>, index: u32, uuid: &str) -> bool {
    only.is_none_or(|ids| ids.include(index, uuid))
}

fn through_nvml(
    nvml: Nvml,
    only: Option<&GpuIds>,
    each: Duration,
    tape: Tape,
    stop: Arc<AtomicBool>,
    server: Option<ServerProcesses>,
) -> Option<Gpus> {
    let uuid = |index: u32| nvml.device_by_index(index).and_then(|device| device.uuid());
    let indices = 0..nvml.device_count().ok()?;
    let wanted: Vec<u32> = indices
        .filter(|index| is_wanted(only, *index, &uuid(*index).unwrap_or_default()))
        .collect();
    if wanted.is_empty() {
        return None;
    }
    spawn(move || {
        for tick in 0_u64.. {
            let at = now_ns();
            let sample = |index: &u32| {
                let device = nvml.device_by_index(*index).ok()?;
                Some(Reading::Gpu(reading(&device, *index)))
            };
            // Read before the tape is locked.
            let readings: Vec<Reading> = wanted.iter().filter_map(sample).collect();
            tape.put(at, readings);
            if let (Some(server), true) = (&server, tick.is_multiple_of(USERS_TICKS)) {
                let users = |index: &u32| {
                    let listed = gpu_users::of_device(&nvml.device_by_index(*index).ok()?)?;
                    server.others(*index, &listed)
                };
                let users: Vec<Reading> =
                    wanted.iter().filter_map(users).map(Reading::GpuUsers).collect();
                tape.put(at, users);
            }
            if !pause(each, &stop) {
                break;
            }
        }
    })
    .then_some(Gpus { smi: None })
}

fn reading(device: &Device<'_>, index: u32) -> GpuReading {
    let clock = |clock| device.clock_info(clock).ok().map(f64::from);
    GpuReading {
        index,
        utilization: device.utilization_rates().ok().map(|u| f64::from(u.gpu) / 100.0),
        memory_bytes: device.memory_info().ok().map(|memory| memory.used),
        power_w: device.power_usage().ok().map(|milliwatts| f64::from(milliwatts) / 1e3),
        temperature_c: device.temperature(TemperatureSensor::Gpu).ok().map(f64::from),
        sm_clock_mhz: clock(Clock::SM),
        memory_clock_mhz: clock(Clock::Memory),
        throttle_reasons: device.current_throttle_reasons().ok().map(|reasons| reasons.bits()),
    }
}

/// One process for all samples: starting it costs more than a sample.
fn through_smi(
    program: &Path,
    only: Option<GpuIds>,
    each: Duration,
    tape: Tape,
    stop: Arc<AtomicBool>,
) -> Option<Gpus> {
    let mut smi = Command::new(program)
        .arg(format!("--query-gpu={QUERY}"))
        .args(["--format=csv,noheader,nounits", "-lms", &each.as_millis().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let lines = BufReader::new(smi.stdout.take()?).lines();
    let reads = spawn(move || {
        for line in lines.map_while(Result::ok) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let parsed = line_of_smi(&line);
            let wanted = parsed.filter(|(uuid, gpu)| is_wanted(only.as_ref(), gpu.index, uuid));
            tape.put(now_ns(), wanted.map(|(_, gpu)| Reading::Gpu(gpu)));
        }
    });
    // Dropped, it ends the process either way.
    let gpus = Gpus { smi: Some(smi) };
    reads.then_some(gpus)
}

/// Newer drivers call throttle reasons event reasons, and take the older name, too.
const QUERY: &str = "index,uuid,utilization.gpu,memory.used,power.draw,temperature.gpu,\
                     clocks.sm,clocks.mem,clocks_throttle_reasons.active";

/// A line of `nvidia-smi`, in the order of [`QUERY`], with the GPU's UUID. Values that are
/// not available are texts in brackets.
fn line_of_smi(line: &str) -> Option<(&str, GpuReading)> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let number = |at: usize| fields.get(at)?.parse::<f64>().ok();
    let reasons = fields.get(8).and_then(|text| text.strip_prefix("0x"));
    let reading = GpuReading {
        index: fields.first()?.parse().ok()?,
        utilization: number(2).map(|percent| percent / 100.0),
        memory_bytes: number(3).map(|mebibytes| (mebibytes * f64::from(1 << 20)) as u64),
        power_w: number(4),
        temperature_c: number(5),
        sm_clock_mhz: number(6),
        memory_clock_mhz: number(7),
        throttle_reasons: reasons.and_then(|digits| u64::from_str_radix(digits, 16).ok()),
    };
    Some((fields.get(1)?, reading))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn lines_of_nvidia_smi() {
        let of = |line| line_of_smi(line).expect("a GPU");
        let (uuid, busy) =
            of("1, GPU-5a77, 34, 20480, 312.55, 71, 2520, 10501, 0x0000000000000004");
        assert_eq!((busy.index, uuid), (1, "GPU-5a77"));
        assert_eq!((busy.utilization, busy.memory_bytes), (Some(0.34), Some(20 << 30)));
        assert_eq!((busy.power_w, busy.temperature_c), (Some(312.55), Some(71.0)));
        assert_eq!((busy.sm_clock_mhz, busy.memory_clock_mhz), (Some(2520.0), Some(10501.0)));
        assert_eq!(busy.is_throttled(), Some(true), "the software power cap");
        let (_, idle) =
            of("0, GPU-00, [N/A], 11, [Not Supported], 35, 210, 405, 0x0000000000000001");
        assert_eq!((idle.utilization, idle.power_w), (None, None));
        assert_eq!(idle.is_throttled(), Some(false), "idle is not slowed down");
        let unknown = of("0, GPU-00, [N/A], [N/A], [N/A], [Unknown Error], [N/A], [N/A], [N/A]").1;
        assert_eq!(unknown, GpuReading::default());
        assert_eq!(unknown.is_throttled(), None);
        assert_eq!(line_of_smi("Failed to initialize NVML"), None);
    }

    #[test]
    fn an_unknown_id_is_named_with_those_that_exist() {
        let seen = [(0, "GPU-00".to_owned()), (1, "GPU-5a77".to_owned())];
        for good in ["0", "1, 0", "GPU-5a", "0,GPU-5a77,"] {
            assert_eq!(unknown_gpus(good, &seen), None, "{good}");
        }
        let expected = "no GPU 7, GPU-6 on this machine, which has 0 (GPU-00), 1 (GPU-5a77)";
        assert_eq!(unknown_gpus("0,1,7,GPU-6", &seen).as_deref(), Some(expected));
        let expected = "no GPU -1 on this machine, which has 0 (GPU-00), 1 (GPU-5a77)";
        assert_eq!(unknown_gpus("0,-1,1", &seen).as_deref(), Some(expected));
        let none = "no GPU 0 on this machine, which has none";
        assert_eq!(unknown_gpus("0", &[]).as_deref(), Some(none));
        assert_eq!(unknown_gpus(",", &seen).as_deref(), Some("it lists no GPU"));
    }

    #[tokio::test]
    async fn the_tool_lists_gpus() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = tool(folder.path());
        let seen = seen_through_smi(&program).await;
        assert_eq!(seen.len(), 3);
        assert_eq!(seen[1], (1, "GPU-11".to_owned()));
        assert!(seen_through_smi(Path::new("/no/such/tool")).await.is_empty());
    }

    /// A fake `nvidia-smi` that logs its arguments and its process id, and prints three GPUs.
    fn tool(folder: &Path) -> PathBuf {
        let program = folder.join("nvidia-smi");
        let notes = folder.join("started");
        let script = format!(
            "#!/bin/sh\n\
             case \"$1\" in *=index,uuid)\n\
             printf '0, GPU-00\\n1, GPU-11\\n2, GPU-22\\n'; exit;;\n\
             esac\n\
             echo \"$$ $*\" >> {}\nwhile :; do\n\
             echo '0, GPU-00, 50, 1024, 100.00, 60, 2520, 10501, 0x0000000000000000'\n\
             echo '1, GPU-11, [N/A], 1024, [N/A], 71, 2520, 10501, [N/A]'\n\
             echo '2, GPU-22, 70, 1024, 300.00, 61, 2520, 10501, 0x0000000000000000'\n\
             sleep 0.02\ndone\n",
            notes.display()
        );
        std::fs::write(&program, script).expect("written");
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("its mode");
        program
    }

    #[test]
    fn one_tool_runs_until_the_end_and_only_assigned_gpus_are_sampled() {
        let folder = tempfile::tempdir().expect("a folder");
        let (tape, stop) = (Tape::new(), Arc::new(AtomicBool::new(false)));
        let only = Some(GpuIds::listed("1,GPU-2"));
        let each = Duration::from_millis(250);
        let program = tool(folder.path());
        let gpus = through_smi(&program, only, each, tape.clone(), Arc::clone(&stop));
        let gpus = gpus.expect("it starts");
        let waited = std::time::Instant::now();
        while tape.all().len() < 20 {
            assert!(waited.elapsed() < Duration::from_secs(30), "{:?}", tape.all());
            std::thread::sleep(Duration::from_millis(5));
        }
        let notes = std::fs::read_to_string(folder.path().join("started")).expect("noted");
        let lines: Vec<&str> = notes.lines().collect();
        assert_eq!(lines.len(), 1, "started once: {notes}");
        assert!(lines[0].ends_with("--format=csv,noheader,nounits -lms 250"), "{notes}");
        let of = |wanted: u32| -> Vec<GpuReading> {
            let gpu = |sample: &super::super::Sample| match sample.reading {
                Reading::Gpu(gpu) if gpu.index == wanted => Some(gpu),
                _ => None,
            };
            tape.all().iter().filter_map(gpu).collect()
        };
        assert_eq!(of(0), [], "it is not assigned");
        assert!(of(1).iter().all(|gpu| gpu.power_w.is_none() && gpu.temperature_c == Some(71.0)));
        assert!(of(2).iter().all(|gpu| gpu.power_w == Some(300.0)) && !of(2).is_empty());

        stop.store(true, Ordering::Relaxed);
        drop(gpus);
        let process = lines[0].split(' ').next().expect("its number");
        assert!(!Path::new("/proc").join(process).exists(), "it ends with the watch");
        let seen = tape.all().len();
        std::thread::sleep(Duration::from_millis(100));
        assert!(tape.all().len() <= seen + 1, "the line that was being read, at most");
    }

    #[test]
    fn without_an_assigned_gpu_nothing_runs_and_a_missing_tool_is_no_error() {
        let (tape, stop) = (Tape::new(), Arc::new(AtomicBool::new(false)));
        let each = Duration::from_millis(250);
        let none = Some(GpuIds::default());
        assert!(Gpus::watch(none, each, tape.clone(), Arc::clone(&stop), None).is_none());
        assert!(through_smi(Path::new("/no/such/tool"), None, each, tape, stop).is_none());
    }
}
