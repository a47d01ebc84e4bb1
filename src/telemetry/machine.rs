//! What machine this is: read once, before anything is launched. GPUs through NVML, else
//! through `nvidia-smi`; the rest from the system. What cannot be read is not known, which is
//! something else than absent. What the facts mean is not decided here.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nvml_wrapper::{Device, Nvml, cuda_driver_version_major, cuda_driver_version_minor};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

use super::kernel;
use crate::machine::{Gpu, Machine};

/// Time for one answer of `nvidia-smi`: with a broken driver it may never end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Columns of `nvidia-smi` that every driver has.
const QUERY: &str = "--query-gpu=index,name,uuid,memory.total,power.limit,driver_version";

/// The machine that this program runs on.
pub async fn machine() -> Machine {
    let through_nvml = tokio::task::spawn_blocking(of_nvml).await.ok().flatten();
    let of_gpus = match through_nvml {
        Some(known) => known,
        None => of_smi(Path::new("nvidia-smi")).await,
    };
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (release, version) = (read("/proc/sys/kernel/osrelease"), read("/proc/version"));
    with_host(of_gpus, is_wsl(&release, &version, std::env::var_os("WSL_DISTRO_NAME").as_deref()))
}

/// Whether this is a Linux of Windows; not known where the kernel does not say its version.
fn is_wsl(release: &str, version: &str, distribution: Option<&OsStr>) -> Option<bool> {
    let named = distribution.is_some_and(|name| !name.is_empty());
    let is_known = named || !release.is_empty() || !version.is_empty();
    is_known.then(|| named || kernel::is_wsl(release, version))
}

/// The same with what the system says of itself.
fn with_host(of_gpus: Machine, wsl: Option<bool>) -> Machine {
    let kind = RefreshKind::nothing()
        .with_cpu(CpuRefreshKind::nothing())
        .with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(kind).ok();
    let cpus = system.as_ref().map_or(&[][..], System::cpus);
    let some = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    Machine {
        os: System::long_os_version().ok().as_deref().and_then(some),
        kernel: System::kernel_version().ok().as_deref().and_then(some),
        wsl,
        architecture: some(&System::cpu_arch()),
        cpu: cpus.first().and_then(|cpu| some(cpu.brand())),
        cores: u32::try_from(cpus.len()).ok().filter(|cores| *cores > 0),
        memory_mib: system.as_ref().map(|it| it.total_memory() >> 20).filter(|mib| *mib > 0),
        ..of_gpus
    }
}

/// GPUs and driver; `None` without the library or any GPU.
fn of_nvml() -> Option<Machine> {
    let nvml = Nvml::init().ok()?;
    let count = nvml.device_count().ok().filter(|count| *count > 0)?;
    let gpu = |index: u32| nvml.device_by_index(index).ok().map(|device| of_device(index, &device));
    let cuda = nvml.sys_cuda_driver_version().ok().filter(|version| *version > 0);
    Some(Machine {
        // One that cannot be asked is there all the same.
        gpus: Some(
            (0..count).map(|at| gpu(at).unwrap_or(Gpu { index: at, ..Gpu::default() })).collect(),
        ),
        driver: nvml.sys_driver_version().ok(),
        cuda: cuda.map(|version| {
            let (major, minor) =
                (cuda_driver_version_major(version), cuda_driver_version_minor(version));
            format!("{major}.{minor}")
        }),
        ..Machine::default()
    })
}

fn of_device(index: u32, device: &Device<'_>) -> Gpu {
    let limit = device.power_management_limit().or_else(|_| device.enforced_power_limit());
    let capability = device.cuda_compute_capability().ok();
    Gpu {
        index,
        name: device.name().ok(),
        uuid: device.uuid().ok(),
        memory_mib: device.memory_info().ok().map(|memory| memory.total >> 20),
        power_limit_w: limit.ok().map(|milliwatts| f64::from(milliwatts) / 1e3),
        compute_capability: capability.map(|it| format!("{}.{}", it.major, it.minor)),
    }
}

/// What `nvidia-smi` knows. Without the tool there is no GPU; one that fails hides them.
async fn of_smi(program: &Path) -> Machine {
    let listed = match ask(program, &[QUERY, "--format=csv,noheader,nounits"]).await {
        Answer::Said(text) => text,
        Answer::NoTool => return Machine { gpus: Some(Vec::new()), ..Machine::default() },
        Answer::Failed => return Machine::default(),
    };
    let rows: Vec<(Gpu, Option<String>)> = listed.lines().filter_map(row_of_smi).collect();
    if rows.is_empty() {
        return Machine::default();
    }
    // No column has the CUDA version: the table's heading does.
    let cuda = match ask(program, &[]).await {
        Answer::Said(text) => cuda_of_heading(&text),
        _ => None,
    };
    let driver = rows.iter().find_map(|(_, driver)| driver.clone());
    let gpus = Some(rows.into_iter().map(|(gpu, _)| gpu).collect());
    Machine { gpus, driver, cuda, ..Machine::default() }
}

enum Answer {
    Said(String),
    NoTool,
    Failed,
}

async fn ask(program: &Path, arguments: &[&str]) -> Answer {
    let asked = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(output)) if output.status.success() => {
            Answer::Said(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Answer::NoTool,
        _ => Answer::Failed,
    }
}

/// A line of [`QUERY`]: the GPU, and the driver. Values that are not available are texts in
/// brackets.
fn row_of_smi(line: &str) -> Option<(Gpu, Option<String>)> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let text = |at: usize| {
        let text = fields.get(at).filter(|text| !text.is_empty() && !text.starts_with('['))?;
        Some((*text).to_owned())
    };
    let gpu = Gpu {
        index: fields.first()?.parse().ok()?,
        name: text(1),
        uuid: text(2),
        memory_mib: text(3).and_then(|mib| mib.parse().ok()),
        power_limit_w: text(4).and_then(|watts| watts.parse().ok()),
        compute_capability: None,
    };
    Some((gpu, text(5)))
}

/// `12.4` of `| NVIDIA-SMI 550.54  Driver Version: 550.54  CUDA Version: 12.4 |`.
fn cuda_of_heading(table: &str) -> Option<String> {
    let (_, rest) = table.split_once("CUDA Version:")?;
    let version: String =
        rest.trim_start().chars().take_while(|it| it.is_ascii_digit() || *it == '.').collect();
    (!version.is_empty()).then_some(version)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// An `nvidia-smi` that is this shell script.
    fn tool(script: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("nvidia-smi");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("written");
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("its mode");
        (folder, program)
    }

    #[tokio::test]
    async fn the_tool_says_what_the_gpus_are() {
        let (_folder, program) = tool(
            "case \"$1\" in --query-gpu=*)\n\
             echo '0, NVIDIA GeForce RTX 4090, GPU-00, 24564, 450.00, 550.54.15'\n\
             echo '1, NVIDIA GeForce RTX 4090, GPU-11, 24564, [N/A], 550.54.15'; exit;; esac\n\
             echo '| NVIDIA-SMI 550.54.15   Driver Version: 550.54.15   CUDA Version: 12.4     |'",
        );
        let known = of_smi(&program).await;
        let gpus = known.gpus.expect("two");
        assert_eq!(gpus[0].name.as_deref(), Some("NVIDIA GeForce RTX 4090"));
        assert_eq!((gpus[1].index, gpus[1].uuid.as_deref()), (1, Some("GPU-11")));
        assert_eq!((gpus[0].memory_mib, gpus[0].power_limit_w), (Some(24_564), Some(450.0)));
        assert_eq!(gpus[1].power_limit_w, None, "not available is not 0");
        assert_eq!(known.driver.as_deref(), Some("550.54.15"));
        assert_eq!(known.cuda.as_deref(), Some("12.4"));
    }

    #[tokio::test]
    async fn without_the_tool_there_is_no_gpu_and_one_that_fails_hides_them() {
        let none = of_smi(Path::new("/no/such/tool")).await;
        assert_eq!(none, Machine { gpus: Some(Vec::new()), ..Machine::default() });
        let (_folder, broken) = tool("echo \"NVIDIA-SMI has failed\"; exit 9");
        assert_eq!(of_smi(&broken).await, Machine::default());
        let (_folder, strange) = tool("echo 'No devices were found'");
        assert_eq!(of_smi(&strange).await.gpus, None);
    }

    #[test]
    fn a_linux_of_windows_is_known_by_its_kernel_or_by_its_name() {
        assert_eq!(is_wsl("5.15.167.4-microsoft-standard-WSL2", "", None), Some(true));
        assert_eq!(is_wsl("6.8.0-own-kernel", "", Some(OsStr::new("Ubuntu"))), Some(true));
        assert_eq!(is_wsl("6.8.0-45-generic", "Linux version 6.8.0", None), Some(false));
        assert_eq!(is_wsl("", "", None), None);
    }

    #[test]
    fn the_host_itself_is_known() {
        let host = with_host(Machine::default(), Some(false));
        assert!(host.kernel.is_some() && host.os.is_some(), "{host:?}");
        assert!(host.cores.expect("cores") > 0 && host.memory_mib.expect("RAM") > 0);
        assert_eq!((host.gpus, host.driver), (None, None));
    }
}
