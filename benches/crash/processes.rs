//! Servers of the process engine: found by a word in their command line, whatever happened
//! to the process that started them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Processes whose command line has this text.
pub(crate) fn with(mark: &str) -> BTreeSet<u32> {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    processes
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .filter(|pid| has(*pid, mark))
        .collect()
}

fn has(pid: u32, mark: &str) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ").contains(mark)
}

/// Looks all the time whether two servers live at once.
pub(crate) struct Watch {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<String>>,
}

impl Watch {
    pub(crate) fn of(mark: &str) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (ends, mark) = (Arc::clone(&over), mark.to_owned());
        let thread = std::thread::spawn(move || {
            let mut faults = Vec::new();
            while !ends.load(Ordering::SeqCst) {
                let found = with(&mark);
                // One of them may have ended while the others were looked at.
                if found.len() > 1 && found.iter().all(|pid| has(*pid, &mark)) {
                    faults.push(format!("two servers at once: {found:?}"));
                    break;
                }
                std::thread::sleep(Duration::from_millis(15));
            }
            faults
        });
        Self { over, thread }
    }

    pub(crate) fn end(self) -> Vec<String> {
        self.over.store(true, Ordering::SeqCst);
        self.thread.join().expect("no panic")
    }
}
