//! What Linux says of the machine in `/proc` and `/sys`, as text: CPU times, pressure,
//! memory, load, and how often a CPU limit held a control group back. Pure; `host` reads
//! the files. What a kernel is too old for is `None`, and so is what cannot be read.

/// CPU times of all cores since the machine's start, in clock ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CpuTimes {
    total: u64,
    idle: u64,
    /// Since Linux 2.5.41.
    iowait: Option<u64>,
    /// Since Linux 2.6.11.
    steal: Option<u64>,
    /// Cores that are online.
    pub(super) cores: usize,
}

/// What the cores did between two looks, as shares of their time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct CpuShares {
    /// Neither idle nor waiting for a disk; steal is in it.
    pub(super) busy: f64,
    pub(super) iowait: Option<f64>,
    pub(super) steal: Option<f64>,
}

impl CpuTimes {
    /// From `/proc/stat`.
    pub(super) fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        // Guest times are in the user's times already.
        let ticks: Vec<u64> =
            line.split_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
        let is_core = |line: &&str| {
            line.strip_prefix("cpu")
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        Some(Self {
            total: ticks.iter().try_fold(0_u64, |sum, ticks| sum.checked_add(*ticks))?,
            idle: *ticks.get(3)?,
            iowait: ticks.get(4).copied(),
            steal: ticks.get(7).copied(),
            cores: stat.lines().filter(is_core).count(),
        })
    }

    /// What was done since an earlier look; `None` where no time passed, or counts went back.
    pub(super) fn since(&self, before: &Self) -> Option<CpuShares> {
        let total = self.total.checked_sub(before.total).filter(|ticks| *ticks > 0)? as f64;
        let idle = self.idle.checked_sub(before.idle)? as f64;
        // The kernel's count of waiting goes back at times.
        let of = |now: Option<u64>, before: Option<u64>| Some(now?.saturating_sub(before?) as f64);
        let iowait = of(self.iowait, before.iowait);
        let busy = (total - idle - iowait.unwrap_or_default()) / total;
        let share = |ticks: f64| (ticks / total).min(1.0);
        Some(CpuShares {
            busy: busy.clamp(0.0, 1.0),
            iowait: iowait.map(share),
            steal: of(self.steal, before.steal).map(share),
        })
    }
}

/// Microseconds in which something waited for a core, from `/proc/pressure/cpu`.
pub(super) fn pressure_us(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    line.split_whitespace().find_map(|field| field.strip_prefix("total="))?.parse().ok()
}

/// Bytes that programs can have without swapping, from `/proc/meminfo` (since Linux 3.14).
pub(super) fn available_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The load average of one minute, from `/proc/loadavg`.
pub(super) fn load(loadavg: &str) -> Option<f64> {
    let load: f64 = loadavg.split_whitespace().next()?.parse().ok()?;
    (load.is_finite() && load >= 0.0).then_some(load)
}

/// Periods of a CPU limit since a control group was made, and those in which it held the
/// group back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Throttling {
    periods: u64,
    throttled: u64,
}

impl Throttling {
    /// From a control group's `cpu.stat`, of either version.
    pub(super) fn parse(stat: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = stat.lines().find_map(|line| line.strip_prefix(name))?;
            line.strip_prefix(' ')?.trim().parse().ok()
        };
        Some(Self { periods: field("nr_periods")?, throttled: field("nr_throttled")? })
    }

    /// Share of the periods since an earlier look; 0 where none passed.
    pub(super) fn since(&self, before: &Self) -> Option<f64> {
        let periods = self.periods.checked_sub(before.periods)?;
        let throttled = self.throttled.checked_sub(before.throttled)?;
        Some(if periods == 0 { 0.0 } else { throttled as f64 / periods as f64 })
    }
}

/// Where the `cpu.stat` of a process may be, likeliest first; `cgroup` is its
/// `/proc/PID/cgroup`.
pub(super) fn cpu_stat_files(cgroup: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in cgroup.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let path = path.trim_end_matches('/');
        if controllers.is_empty() {
            files.push(format!("/sys/fs/cgroup{path}/cpu.stat"));
            files.push("/sys/fs/cgroup/cpu.stat".to_owned());
        } else if controllers.split(',').any(|controller| controller == "cpu") {
            files.push(format!("/sys/fs/cgroup/{controllers}{path}/cpu.stat"));
            files.push(format!("/sys/fs/cgroup/cpu{path}/cpu.stat"));
            files.push("/sys/fs/cgroup/cpu/cpu.stat".to_owned());
        }
    }
    files
}

/// Whether this Linux is one of Windows: `osrelease` and `version` of `/proc`.
pub(super) fn is_wsl(osrelease: &str, version: &str) -> bool {
    [osrelease, version].iter().any(|text| text.to_ascii_lowercase().contains("microsoft"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  36752 8194 14667 26603 398 0 60 70 5 0\n\
                        cpu0 18003 4172 6898 14174 91 0 4 29 0 0\n\
                        cpu1 18748 4022 7769 12429 307 0 56 40 0 0\n\
                        intr 12 0\nctxt 1\nbtime 1790000000\n";

    fn times(ticks: &str) -> CpuTimes {
        CpuTimes::parse(&format!("cpu  {ticks}\ncpu0 1 1 1 1\n")).expect("times")
    }

    #[test]
    fn times_of_cores_become_shares() {
        let before = CpuTimes::parse(STAT).expect("times");
        assert_eq!((before.cores, before.iowait, before.steal), (2, Some(398), Some(70)));
        assert_eq!(before.total, 86_744, "guest times are in the user's");
        let now = times("36802 8194 14687 26703 408 0 60 90 5 0");
        let shares = now.since(&before).expect("time passed");
        assert!((shares.busy - 90.0 / 200.0).abs() < 1e-9, "{shares:?}");
        assert_eq!((shares.iowait, shares.steal), (Some(0.05), Some(0.1)));
        assert_eq!(before.since(&before), None, "no time passed");
        assert_eq!(before.since(&now), None, "counts went back");
        let back = times("36902 8194 14667 26703 390 0 60 70 5 0");
        assert_eq!(back.since(&before).expect("time passed").iowait, Some(0.0));
    }

    #[test]
    fn old_kernels_have_fewer_fields_and_garbage_is_nothing() {
        let old = times("100 0 50 850");
        assert_eq!((old.iowait, old.steal), (None, None));
        let shares = times("150 0 100 950").since(&old).expect("time passed");
        assert_eq!(shares, CpuShares { busy: 0.5, iowait: None, steal: None });
        let middle = times("1 2 3 4 5 6 7");
        assert_eq!((middle.iowait, middle.steal), (Some(5), None));
        for garbage in ["", "cpu  ", "cpu  1 2 3", "cpu  1 2 x 4", "cpu0 1 2 3 4", "\u{0}\u{1}"] {
            assert_eq!(CpuTimes::parse(garbage), None, "{garbage:?}");
        }
    }

    #[test]
    fn pressure_memory_and_load() {
        let text = "some avg10=70.05 avg60=41.54 avg300=15.63 total=64559482\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        assert_eq!(pressure_us(text), Some(64_559_482));
        for none in ["", "full avg10=0 total=5", "some avg10=1", "some total=x"] {
            assert_eq!(pressure_us(none), None, "{none}");
        }
        let meminfo = "MemTotal:       24684084 kB\nMemFree:         7946220 kB\n\
                       MemAvailable:   22752780 kB\n";
        assert_eq!(available_bytes(meminfo), Some(22_752_780 << 10));
        assert_eq!(available_bytes("MemTotal: 1 kB\nMemFree: 1 kB\n"), None, "an old kernel");
        assert_eq!(available_bytes("MemAvailable: lots kB"), None);
        assert_eq!(load("3.71 1.91 0.82 5/150 17144\n"), Some(3.71));
        for none in ["", "NaN 1", "-1 0", "x"] {
            assert_eq!(load(none), None, "{none}");
        }
    }

    #[test]
    fn throttling_of_both_versions() {
        let v2 = "usage_usec 900\nuser_usec 500\nsystem_usec 400\nnr_periods 100\n\
                  nr_throttled 30\nthrottled_usec 12345\n";
        let v1 = "nr_periods 120\nnr_throttled 45\nthrottled_time 99\n";
        let (before, now) = (Throttling::parse(v2).unwrap(), Throttling::parse(v1).unwrap());
        assert_eq!(now.since(&before), Some(0.75));
        assert_eq!(now.since(&now), Some(0.0), "nothing was held back");
        assert_eq!(before.since(&now), None);
        assert_eq!(Throttling::parse("usage_usec 9\n"), None, "the root has no limit");
    }

    #[test]
    fn the_file_of_a_control_group() {
        let v2 = cpu_stat_files("0::/user.slice/session-2.scope\n");
        assert_eq!(v2[0], "/sys/fs/cgroup/user.slice/session-2.scope/cpu.stat");
        let v1 = cpu_stat_files("12:memory:/docker/a\n4:cpu,cpuacct:/docker/a\n1:name=systemd:/\n");
        assert_eq!(v1[0], "/sys/fs/cgroup/cpu,cpuacct/docker/a/cpu.stat");
        assert_eq!(cpu_stat_files("0::/\n")[0], "/sys/fs/cgroup/cpu.stat");
        assert!(cpu_stat_files("garbage").is_empty());
    }

    #[test]
    fn wsl_is_known_by_its_kernel() {
        assert!(is_wsl("5.15.167.4-microsoft-standard-WSL2\n", ""));
        assert!(is_wsl("", "Linux version 4.4.0-19041-Microsoft (Microsoft@Microsoft.com)"));
        assert!(!is_wsl("6.8.0-45-generic", "Linux version 6.8.0-45-generic (buildd@lcy02)"));
    }
}
