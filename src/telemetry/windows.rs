//! The Windows host of a WSL2 machine: its CPU, and that of the virtual machine which
//! Linux runs in. One PowerShell lives as long as the telemetry and prints raw counters as
//! whole numbers, so that neither the language of Windows nor its decimal sign matters.
//! It ends when its input closes, also when this program is killed. Whatever it does
//! wrong means no samples, and is no error.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Reading, Tape, kernel};
use crate::client::clock::now_ns;

/// Where Windows keeps it, for a `PATH` without Windows' own.
const USUAL: &str = "/mnt/c/Windows/System32/WindowsPowerShell/v1.0/powershell.exe";

/// What each line of counters begins with.
const MARK: &str = "vllm-grid-windows";

/// A longer line is none of ours.
const LONGEST: u64 = 4096;

/// How long it may take to end by itself.
const PATIENCE: Duration = Duration::from_millis(300);

/// Prints every 2 s: time (100 ns), idle time summed over the processors (100 ns), the number
/// of processors, and the virtual machine's CPU time (100 ns) or `-`. Class and property names
/// are the same in every language. The wait ends when the input closes. It has no double
/// quotes: nobody must escape them.
const SCRIPT: &str = "\
$ErrorActionPreference='SilentlyContinue';\
$in=[Console]::OpenStandardInput();$b=New-Object byte[] 1;$end=$in.ReadAsync($b,0,1);\
$c=[Globalization.CultureInfo]::InvariantCulture;\
do{\
$p=@(Get-CimInstance Win32_PerfRawData_PerfOS_Processor|Where-Object{$_.Name -ne '_Total'});\
$v=@(Get-CimInstance Win32_PerfRawData_PerfProc_Process -Filter ('Name LIKE '+[char]39+'vmmem%'+[char]39));\
if($p.Count -gt 0){\
[decimal]$i=0;foreach($x in $p){$i+=$x.PercentProcessorTime};\
$w='-';if($v.Count -gt 0){[decimal]$w=0;foreach($x in $v){$w+=$x.PercentProcessorTime};$w=$w.ToString('F0',$c)};\
[Console]::Out.WriteLine('vllm-grid-windows '+([decimal]$p[0].Timestamp_Sys100NS).ToString('F0',$c)+' '\
+$i.ToString('F0',$c)+' '+$p.Count.ToString($c)+' '+$w);[Console]::Out.Flush()};\
[void]$end.Wait(2000)}until($end.IsCompleted)";

/// One sample of the Windows host, since the sample before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WindowsReading {
    /// CPU in use, as a share of all of Windows' processors.
    pub cpu: Option<f64>,
    /// The part of it that is not the virtual machine's.
    pub cpu_others: Option<f64>,
    /// CPU of the virtual machine, in processors.
    pub vmmem_cpu_cores: Option<f64>,
}

/// Counters of one line.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Counters {
    /// Time, in units of 100 ns, as are the others.
    time: f64,
    idle: f64,
    processors: f64,
    vmmem: Option<f64>,
}

impl Counters {
    /// A line as it came: perhaps UTF-16, with a mark of the byte order, with CR.
    fn parse(line: &[u8]) -> Option<Self> {
        let ascii = line.iter().filter(|byte| byte.is_ascii() && **byte != 0);
        let text: String = ascii.map(|byte| char::from(*byte)).collect();
        let fields: Vec<&str> = text.trim().strip_prefix(MARK)?.split_whitespace().collect();
        let [time, idle, processors, vmmem] = fields[..] else { return None };
        let number = |field: &str| {
            let number: f64 = field.replace(',', ".").parse().ok()?;
            (number.is_finite() && number >= 0.0).then_some(number)
        };
        let (time, idle, processors) = (number(time)?, number(idle)?, number(processors)?);
        (processors >= 1.0).then_some(Self { time, idle, processors, vmmem: number(vmmem) })
    }

    /// `None` where no time passed, or a counter went back.
    fn since(&self, before: &Self) -> Option<WindowsReading> {
        let (passed, idle) = (self.time - before.time, self.idle - before.idle);
        if passed <= 0.0 || idle < 0.0 {
            return None;
        }
        let cpu = (1.0 - idle / passed / self.processors).clamp(0.0, 1.0);
        let vmmem = self.vmmem.zip(before.vmmem).map(|(now, then)| (now - then) / passed);
        let vmmem = vmmem.filter(|cores| *cores >= 0.0);
        let of_others = |cores: f64| (cpu - cores / self.processors).max(0.0);
        Some(WindowsReading {
            cpu: Some(cpu),
            cpu_others: vmmem.map(of_others),
            vmmem_cpu_cores: vmmem,
        })
    }
}

/// The PowerShell that samples the Windows host; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Windows {
    shell: Child,
}

impl Windows {
    /// Begins where this is a Linux of Windows; `None` elsewhere, and without PowerShell.
    pub(super) fn watch(tape: Tape, stop: Arc<AtomicBool>) -> Option<Self> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        if !kernel::is_wsl(&read("/proc/sys/kernel/osrelease"), &read("/proc/version")) {
            return None;
        }
        Self::through(&program(std::env::var_os("PATH").unwrap_or_default().as_ref())?, tape, stop)
    }

    fn through(program: &Path, tape: Tape, stop: Arc<AtomicBool>) -> Option<Self> {
        let mut shell = Command::new(program)
            .args(["-NoLogo", "-NoProfile", "-NonInteractive"])
            // It must not read its input itself: the script waits for the end of it.
            .args(["-InputFormat", "None", "-Command", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A Ctrl-C is not for it: what is measured until the end is kept.
            .process_group(0)
            .spawn()
            .ok()?;
        let lines = BufReader::new(shell.stdout.take()?);
        let reading = std::thread::Builder::new().name("telemetry windows".to_owned());
        // Without the thread there are no samples; dropped, it ends the process.
        let windows = Self { shell };
        reading.spawn(move || read(lines, &tape, &stop)).is_ok().then_some(windows)
    }
}

impl Drop for Windows {
    fn drop(&mut self) {
        // Its input closes: on Windows' side, too, where a signal would not arrive.
        drop(self.shell.stdin.take());
        let step = Duration::from_millis(20);
        let mut waited = Duration::ZERO;
        while waited < PATIENCE && matches!(self.shell.try_wait(), Ok(None)) {
            std::thread::sleep(step);
            waited += step;
        }
        // It may have ended by itself.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// The first `powershell.exe` of a `PATH`, or where it usually is.
fn program(path: &std::ffi::OsStr) -> Option<PathBuf> {
    let folders = std::env::split_paths(path).map(|folder| folder.join("powershell.exe"));
    folders.chain([PathBuf::from(USUAL)]).find(|program| program.is_file())
}

fn read(mut lines: impl BufRead, tape: &Tape, stop: &AtomicBool) {
    let mut before: Option<Counters> = None;
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut lines).take(LONGEST).read_until(b'\n', &mut line);
        if !matches!(read, Ok(1..)) || stop.load(Ordering::Relaxed) {
            return;
        }
        let Some(now) = Counters::parse(&line) else { continue };
        if let Some(reading) = before.and_then(|before| now.since(&before)) {
            tape.put(now_ns(), [Reading::Windows(reading)]);
        }
        before = Some(now);
    }
}

#[cfg(test)]
#[path = "windows_tests.rs"]
mod tests;
