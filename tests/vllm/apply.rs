//! The command line that `apply` prints starts vLLM itself, which runs with what was tested.

use std::process::{Command, Stdio};

use crate::site::{ENVIRONMENT, FLAGS, alone, model, programs};
use crate::support::{Ran, Workplace};

#[test]
#[ignore = "needs vLLM"]
fn the_printed_command_line_starts_what_was_tested() {
    let _turn = alone();
    let environment = ENVIRONMENT.map(|(name, value)| format!("{name}: '{value}'")).join(", ");
    let grid = format!(
        "
name: vllm-apply
engine:
  process: {{command: vllm serve {} --served-model-name tiny {FLAGS}}}
baseline: few
include:
  - {{name: few, max-num-seqs: 4, environment: {{{environment}}}}}
  - {{name: more, max-num-seqs: 8, environment: {{{environment}}}}}
workloads:
  kv-cache: {{prefix-tokens: [1024], prompts: 2, output-tokens: 4}}
objective: {{minimize: kv_cache.ttft_resent_ms}}
strategy: {{grid: {{launches: 1, repeats: 1, seed: 1}}}}
gates: off
",
        model().display()
    );
    let place = Workplace::new(&grid);
    let path = format!("{}:{}", programs().display(), std::env::var("PATH").unwrap());
    let run =
        |arguments: &[&str]| Ran::of(place.command(arguments).env("PATH", &path).output().unwrap());
    run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    let printed = run(&["apply", "run", "--configuration", "more"]).expect(0).out;
    let line = printed.trim_end().lines().last().unwrap().to_owned();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let check = ["apply", "--check", "run", "--configuration", "more", "--url", &url];
    for (line, code) in
        [(line.clone(), 0), (line.replace("--max-num-seqs 8", "--max-num-seqs 7"), 1)]
    {
        let mut server = Command::new("bash")
            .args(["-c", &format!("exec env {line} --port {port}")])
            .env("PATH", &path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // A start takes half a minute, and several where a compiler runs beside it.
        let until = std::time::Instant::now() + std::time::Duration::from_mins(6);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(std::time::Instant::now() < until, "it does not listen");
            std::thread::sleep(std::time::Duration::from_millis(500));
        }
        let ran = run(&check).expect(code);
        assert!(ran.out.contains("--max-num-seqs"), "{}", ran.out);
        server.kill().unwrap();
        server.wait().unwrap();
    }
}
