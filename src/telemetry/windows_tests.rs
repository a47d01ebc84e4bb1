use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use super::*;

/// A fake `powershell.exe` that notes its number, its input's end, and does as it is told.
struct Fake {
    folder: tempfile::TempDir,
}

impl Fake {
    fn new(body: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("powershell.exe");
        let notes = folder.path().join("pid");
        let script = format!("#!/bin/sh\necho $$ > {}\n{body}\n", notes.display());
        std::fs::write(&program, script).expect("written");
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("its mode");
        Self { folder }
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("powershell.exe")
    }

    fn process(&self) -> Option<PathBuf> {
        let text = std::fs::read_to_string(self.folder.path().join("pid")).ok()?;
        let number = text.trim();
        (!number.is_empty()).then(|| Path::new("/proc").join(number))
    }

    /// Samples until there are `wanted`, or for a while; the readings.
    fn run(&self, wanted: usize) -> Vec<WindowsReading> {
        let (tape, stop) = (Tape::new(), Arc::new(AtomicBool::new(false)));
        let windows = Windows::through(&self.program(), tape.clone(), Arc::clone(&stop));
        let windows = windows.expect("it starts");
        let began = Instant::now();
        let limit = Duration::from_secs(if wanted == 0 { 1 } else { 30 });
        while (tape.all().len() < wanted || wanted == 0 || self.process().is_none())
            && began.elapsed() < limit
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        stop.store(true, Ordering::Relaxed);
        let ending = Instant::now();
        drop(windows);
        assert!(ending.elapsed() < Duration::from_secs(5), "it holds nothing up");
        let process = self.process().expect("noted");
        assert!(!process.exists(), "neither an orphan nor a zombie: {process:?}");
        let of = |sample: &super::super::Sample| match sample.reading {
            Reading::Windows(reading) => Some(reading),
            _ => None,
        };
        tape.all().iter().filter_map(of).collect()
    }
}

/// Two seconds of 8 processors, 75 % busy; 4 of them are the virtual machine's.
const LINES: [&str; 2] = [
    "vllm-grid-windows 134000000000000000 500000000000 8 700000000000",
    "vllm-grid-windows 134000000020000000 500040000000 8 700080000000",
];

fn print(lines: &[&str], end: &str) -> String {
    let printed: Vec<String> =
        lines.iter().map(|line| format!("printf '%s{end}' '{line}'\n")).collect();
    printed.concat()
}

/// Waits, as the real one does, until its input closes.
const WAITS: &str = "cat > /dev/null";

#[track_caller]
fn is_three_quarters(readings: &[WindowsReading]) {
    let [reading] = readings else { panic!("{readings:?}") };
    let near = |value: Option<f64>, wanted: f64| (value.expect("read") - wanted).abs() < 1e-6;
    assert!(near(reading.cpu, 0.75), "{reading:?}");
    assert!(near(reading.vmmem_cpu_cores, 4.0), "{reading:?}");
    assert!(near(reading.cpu_others, 0.25), "{reading:?}");
}

#[test]
fn two_lines_are_one_sample_whatever_their_form() {
    is_three_quarters(&Fake::new(&format!("{}{WAITS}", print(&LINES, "\\n"))).run(1));
    let with_noise = format!("echo 'Windows PowerShell'; echo; {}{WAITS}", print(&LINES, "\\r\\n"));
    is_three_quarters(&Fake::new(&with_noise).run(1));
    let decimals: Vec<String> = LINES.iter().map(|line| format!("{line},0")).collect();
    let decimals: Vec<&str> = decimals.iter().map(String::as_str).collect();
    is_three_quarters(&Fake::new(&format!("{}{WAITS}", print(&decimals, "\\n"))).run(1));
}

#[test]
fn utf_16_with_a_mark_of_the_byte_order_is_read() {
    let fake = Fake::new("cat \"$(dirname \"$0\")/utf16\"; cat > /dev/null");
    let text = format!("\u{feff}{}\r\n{}\r\n", LINES[0], LINES[1]);
    let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(fake.folder.path().join("utf16"), bytes).expect("written");
    is_three_quarters(&fake.run(1));
}

#[test]
fn without_the_virtual_machines_counter_only_the_host_is_known() {
    let lines = LINES.map(|line| format!("{} -", line.rsplit_once(' ').expect("fields").0));
    let lines = lines.each_ref().map(String::as_str);
    let readings = Fake::new(&format!("{}{WAITS}", print(&lines, "\\n"))).run(1);
    assert_eq!((readings[0].cpu_others, readings[0].vmmem_cpu_cores), (None, None));
    assert!(readings[0].cpu.is_some());
}

#[test]
fn one_that_dies_hangs_or_prints_garbage_gives_no_more_samples() {
    is_three_quarters(&Fake::new(&format!("{}exit 3", print(&LINES, "\\n"))).run(1));
    for body in [
        // Hangs, also when its input closes.
        "trap '' TERM; while :; do sleep 1; done",
        "head -c 100000 /dev/urandom; cat > /dev/null",
        "echo 'Get-CimInstance : Zugriff verweigert' >&2; exit 1",
        "printf 'vllm-grid-windows 1 2\\nvllm-grid-windows a b c d\\nvllm-grid-windows 5 5 0 -\\n'",
        "printf 'vllm-grid-windows 9 9 4 -\\nvllm-grid-windows 9 9 4 -\\nvllm-grid-windows 8 9 4 -\\n'",
    ] {
        assert_eq!(Fake::new(body).run(0), [], "{body}");
    }
}

#[test]
fn its_input_closes_with_this_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let end = folder.path().join("ended");
    let fake = Fake::new(&format!("{WAITS}\necho ended > {}", end.display()));
    fake.run(0);
    assert!(end.exists(), "it ended by itself and was not killed");
}

#[test]
fn an_absent_one_is_no_error() {
    assert_eq!(program(std::ffi::OsStr::new("/no/such:/folder")), None);
    let fake = Fake::new("exit 0");
    let path = std::env::join_paths([Path::new("/no/such"), fake.folder.path()]).expect("a path");
    assert_eq!(program(&path), Some(fake.program()));
    let (tape, stop) = (Tape::new(), Arc::new(AtomicBool::new(false)));
    assert!(Windows::through(Path::new("/no/such/tool"), tape, stop).is_none());
}
