//! How much the streaming client adds of its own: `cargo bench --bench client`.
//!
//! A server of known timing, in a process of its own, keeps its own record of
//! every request; the error of the client is the difference between the two
//! records. `--peer PATH` puts a column beside it, from a binary that takes the
//! options of `vllm bench serve`. The figures want a quiet machine.

mod measure;
mod peer;
mod scenario;
mod server;
#[path = "../../tests/support/tls.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests use all of it")]
mod tls;

use std::path::Path;
use std::process::ExitCode;

use scenario::{Known, SCENARIOS, Scenario};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["serve", name, authority] => {
            print!("{}", server::serve(scenario(name), Path::new(authority)));
            Ok(())
        }
        _ if words.contains(&"--bench") => table(peer_of(&words)),
        _ => {
            println!("run with: cargo bench --bench client [-- --peer PATH]");
            Ok(())
        }
    }
    .map_or_else(
        |error| {
            eprintln!("{error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

type Fallible = Result<(), Box<dyn std::error::Error>>;

fn scenario(name: &str) -> &'static Scenario {
    SCENARIOS.iter().find(|scenario| scenario.name == name).expect("named by ourselves")
}

fn peer_of<'a>(words: &[&'a str]) -> Option<&'a str> {
    let at = words.iter().position(|word| *word == "--peer")?;
    words.get(at + 1).copied()
}

fn table(peer_path: Option<&str>) -> Fallible {
    println!("| | goal | measured |{}", if peer_path.is_some() { " peer |" } else { "" });
    println!("|---|---|---|{}", if peer_path.is_some() { "---|" } else { "" });
    let (mut known, mut others) = (Known::new(), Known::new());
    for scenario in SCENARIOS {
        let ours = |url: &str, authority: &Path| measure::ours(scenario, url, authority);
        let ours = scenario::rows(scenario, &mut known, ours)?;
        // Others are given no certificates.
        let peer_path = peer_path.filter(|_| scenario.tls.is_none());
        let theirs = match peer_path {
            Some(path) => Some(scenario::rows(scenario, &mut others, |url, _| {
                peer::theirs(scenario, path, url)
            })?),
            None => None,
        };
        for (row, (what, goal)) in scenario.rows.iter().enumerate() {
            let other = theirs.as_ref().map(|rows| format!(" {} |", rows[row]));
            println!("| {what} | {goal} | {} |{}", ours[row], other.unwrap_or_default());
        }
    }
    Ok(())
}
