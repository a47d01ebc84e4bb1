//! What the server's process of a launch was started with, by `/proc`: the launched
//! process or one that descends from it. Which one is the server is decided in
//! `engine::server_process`.

use rustix::process::Pid;

use super::table::{self, members};
use crate::engine::command::{flag_value, literal};
use crate::engine::server_process::{Process, reading};
use crate::server::proof::ProcessReading;

/// Where vLLM listens that is told nothing.
const DEFAULT_PORT: u16 = 8000;

/// Reads the server's process of the group; `port` is the one it listens on.
pub(super) async fn read(group: Pid, port: u16, variables: &[String]) -> ProcessReading {
    let (group, variables) = (group.as_raw_nonzero().get(), variables.to_vec());
    // A file for each process of the machine: not on a thread that serves streams.
    let read = tokio::task::spawn_blocking(move || {
        let processes: Vec<Process> =
            members(group).into_iter().filter_map(|id| process(id, &variables)).collect();
        reading(&processes, port)
    });
    read.await.unwrap_or_else(|error| ProcessReading::Unreadable(error.to_string()))
}

/// Reads the process of a server of this machine by its address, as far as it can be seen:
/// others of vLLM's listen elsewhere.
pub async fn server_of_machine(base_url: &str, variables: &[String]) -> ProcessReading {
    let port = base_url.rsplit_once(':').and_then(|(_, rest)| rest.split('/').next()?.parse().ok());
    let (port, variables) = (port.unwrap_or(80), variables.to_vec());
    let read = tokio::task::spawn_blocking(move || {
        let ids = table::all().into_iter().filter(|it| !it.ended).map(|it| it.id);
        let all = ids.filter_map(|id| process(id, &variables));
        let listens = |it: &Process| {
            let said = flag_value(&literal(&it.arguments), "port");
            said.map_or(Some(DEFAULT_PORT), |port| port.parse().ok()) == Some(port)
        };
        let processes: Vec<Process> = all.filter(listens).collect();
        reading(&processes, port)
    });
    read.await.unwrap_or_else(|error| ProcessReading::Unreadable(error.to_string()))
}

fn process(id: i32, variables: &[String]) -> Option<Process> {
    let read = |name: &str| std::fs::read(format!("/proc/{id}/{name}")).ok();
    let cmdline = read("cmdline")?;
    let environ = if variables.is_empty() { None } else { read("environ") };
    Some(Process::of_bytes(&cmdline, environ.as_deref(), variables))
}
