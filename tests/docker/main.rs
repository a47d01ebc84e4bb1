//! Sweeps on a real Docker daemon, through the command: the user's compose service is
//! relaunched per configuration; production is stopped for it and runs again after every ending.
//!
//! `cargo test --test docker -- --ignored --test-threads 2`

#![allow(clippy::unwrap_used, reason = "a test ends where it is surprised")]

use std::path::Path;
use std::process::{Child, Command, Output};
use std::sync::OnceLock;

use rustix::process::{Pid, Signal, kill_process};

use site::Site;

mod apply;
mod disk;
mod faults;
mod outage;
mod ownership;
mod script;
mod site;
mod stacks;
#[path = "../support/mod.rs"]
mod support;

fn image() -> &'static str {
    static IMAGE: OnceLock<String> = OnceLock::new();
    IMAGE.get_or_init(|| {
        if let Ok(image) = std::env::var("VLLM_GRID_TEST_IMAGE") {
            return image;
        }
        remove_images_of_the_dead();
        let image = format!("vllm-grid-test:{}", std::process::id());
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docker/image.sh");
        let binary = std::env::var("VLLM_GRID_TEST_BINARY")
            .unwrap_or_else(|_| env!("CARGO_BIN_EXE_vllm-grid").to_owned());
        let made = Command::new(script).args([&binary, &image]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        image
    })
}

/// A test binary has no end at which its own image could be removed.
fn remove_images_of_the_dead() {
    let listed = docker(&["images", "--format", "{{.Tag}}", "vllm-grid-test"]);
    for tag in listed.lines().filter(|it| it.parse::<u32>().is_ok()) {
        if !Path::new("/proc").join(tag).exists() {
            let image = format!("vllm-grid-test:{tag}");
            let _used = Command::new("docker").args(["rmi", &image]).output();
        }
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    assert!(output.status.success(), "docker {arguments:?}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn code(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), text(&output))
}

fn words(text: &str) -> String {
    text.replace('│', "").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), signal).unwrap();
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
#[ignore = "needs Docker"]
fn a_service_is_relaunched_per_configuration_and_production_runs_again() {
    let site = Site::new("include:\n  - {name: too_small, gpu-memory-utilization: 0.06}\n");
    let sibling =
        docker(&["run", "-d", "--label", "vllm-grid.sweepy=1", image(), "Qwen/Qwen3-0.6B"]);
    let sweep = site.sweep();
    site.until_journalled("launch_ready", 1);
    assert!(!site.production_runs(), "its GPUs are free");
    let (code, printed) = code(sweep);
    assert_eq!(code, Some(0), "{printed}");
    site.assert_as_found();
    assert_eq!(docker(&["inspect", "-f", "{{.State.Running}}", &sibling]), "true");
    docker(&["rm", "-f", &sibling]);

    let results = read(&site.run().join("results.csv"));
    let too_small: Vec<&str> = results.lines().filter(|line| line.contains("too_small")).collect();
    assert!(too_small.iter().any(|line| line.contains("kv_cache_too_small")), "{results}");
    assert!(
        results.lines().skip(1).all(|line| line.contains(",true,docker,")),
        "simulated, and marked so"
    );
    // At this speed times are noise; the counters are not.
    let hits = |name: &str, state: &str| {
        let name = format!(",{name},");
        let rows = results.lines().filter(|line| line.contains(&name) && line.contains(",ok,"));
        rows.clone().count() > 0 && rows.clone().all(|line| line.contains(state))
    };
    assert!(hits("prefix", ",certified,") && hits("noprefix", ",not_applicable,"), "{results}");
    let ranking = read(&site.run().join("ranking.csv"));
    let ranked = ranking.lines().filter(|line| line.starts_with(['1', '2'])).count();
    assert_eq!(ranked, 2, "{ranking}");
    // The command is the service's, with the grid's flags in it.
    let mut launches = site.run().join("launches").read_dir().unwrap().flatten();
    let log = launches.next().unwrap().path().join("engine.log");
    let log = read(&log);
    assert!(log.contains("'max_num_seqs': 64") && log.contains("enable_prefix_caching"), "{log}");
    // The configuration is the whole request: the service's flags under the grid's, no key.
    let manifest = read(&site.run().join("manifest.json"));
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let flags = &manifest["configurations"][0]["flags"];
    assert_eq!((&flags["max-model-len"], &flags["max-num-seqs"]), (&4096.into(), &64.into()));
    assert!(!manifest.to_string().contains("sk-site"));
    // What was proven can be recovered again without harm.
    let again = site.command(&["recover", "run"]).output().unwrap();
    assert!(again.status.success(), "{}", text(&again));
    assert!(site.production_runs());
}

#[test]
#[ignore = "needs Docker"]
fn a_signal_ends_the_sweep_with_production_back() {
    let site = Site::new("");
    for which in [Signal::INT, Signal::TERM, Signal::HUP] {
        let sweep = site.sweep();
        site.until_journalled("repeat_finished", 1);
        signal(&sweep, which);
        let (code, printed) = code(sweep);
        assert_eq!(code, Some(4), "{printed}");
        site.assert_as_found();
        std::fs::remove_dir_all(site.run()).unwrap();
    }
}

#[test]
#[ignore = "needs Docker"]
fn a_kill_is_recovered_any_number_of_times_and_the_sweep_resumed() {
    let site = Site::alone("");
    let mut sweep = site.sweep();
    site.until_journalled("repeat_finished", 1);
    signal(&sweep, Signal::KILL);
    sweep.wait().unwrap();
    assert!(!site.production_runs());
    assert_eq!(site.candidates().len(), 1);
    let recovered = site.command(&["recover", "run"]).output().unwrap();
    assert!(recovered.status.success(), "{}", text(&recovered));
    let locks = read(Path::new("/proc/locks"));
    assert!(text(&recovered).contains("removed container"), "{}{locks}", text(&recovered));
    site.assert_as_found();
    let again = site.command(&["recover", "run"]).output().unwrap();
    assert!(
        again.status.success() && text(&again).contains("nothing to recover"),
        "{}",
        text(&again)
    );

    let resumed = site.command(&["resume", "run"]).output().unwrap();
    assert_eq!(resumed.status.code(), Some(0), "{}", text(&resumed));
    site.assert_as_found();
}

#[test]
#[ignore = "needs Docker"]
fn a_sweep_in_which_nothing_works_stops_with_production_back() {
    // Every candidate is killed while it boots, as by the kernel.
    let site = Site::new("  sim-fail: [killed]\n");
    let (code, printed) = code(site.sweep());
    assert_eq!(code, Some(5), "{printed}");
    assert!(words(&printed).contains("launches in a row failed"), "{printed}");
    assert!(site.journal().contains("\"class\":\"killed\""), "{}", site.journal());
    site.assert_as_found();
}

#[test]
#[ignore = "needs Docker"]
fn somebody_who_starts_production_ends_the_sweep_and_it_runs_on() {
    let site = Site::new("");
    let sweep = site.sweep();
    site.until_journalled("launch_ready", 1);
    docker(&["start", &site.production]);
    let (code, printed) = code(sweep);
    assert_eq!(code, Some(3), "{printed}");
    assert!(words(&printed).contains("somebody started production"), "{printed}");
    assert!(site.production_runs() && site.candidates().is_empty());
    assert!(site.journal().contains("started_by_somebody"));
}

#[test]
#[ignore = "needs Docker"]
fn somebody_who_removes_production_costs_a_new_one() {
    let site = Site::new("");
    let sweep = site.sweep();
    site.until_journalled("launch_ready", 1);
    docker(&["rm", "-f", &site.production]);
    let (code, printed) = code(sweep);
    assert_eq!(code, Some(0), "{printed}");
    assert!(words(&printed).contains("production was removed by somebody"), "{printed}");
    assert!(site.journal().contains("made_again"));
    let name = site.folder.path().file_name().unwrap().to_str().unwrap();
    assert_eq!(
        docker(&["inspect", "-f", "{{.State.Running}}", &format!("{name}-production")]),
        "true"
    );
}

#[test]
#[ignore = "needs Docker"]
fn doctor_says_what_is_there_and_what_is_missing() {
    let site = Site::new("");
    let diagnosis = site.command(&["doctor", "grid.yaml"]).output().unwrap();
    let printed = text(&diagnosis);
    assert_eq!(diagnosis.status.code(), Some(0), "{printed}");
    for line in [
        "ok       compose tool:",
        "ok       service:",
        "ok       daemon:",
        "ok       image:",
        "ok       GPU: switched off",
        "ok       production:",
    ] {
        assert!(printed.contains(line), "{line} in\n{printed}");
    }
    let compose = site.folder.path().join("compose.yaml");
    let broken = read(&compose).replace("--port 9000", "--port ${GRID_NO_SUCH_PORT}");
    std::fs::write(&compose, broken).unwrap();
    let diagnosis = site.command(&["doctor", "grid.yaml"]).output().unwrap();
    let printed = text(&diagnosis);
    assert_eq!(diagnosis.status.code(), Some(3), "{printed}");
    assert!(
        printed.contains("compose.yaml:6:") && printed.contains("GRID_NO_SUCH_PORT is not set"),
        "{printed}"
    );
    // The original again, so that the project can be taken down.
    let mended = read(&compose).replace("${GRID_NO_SUCH_PORT}", "9000");
    std::fs::write(&compose, mended).unwrap();
}

#[test]
#[ignore = "needs Docker"]
fn a_plan_shows_what_changes_in_the_service_s_command() {
    let site = Site::new("include:\n  - {name: bare, max-num-seqs: null}\n");
    let plan = site.command(&["plan", "grid.yaml"]).output().unwrap();
    let printed = text(&plan);
    assert!(plan.status.success(), "{printed}");
    let (_, changes) =
        printed.split_once("changes to the command of the service `vllm`\n").unwrap();
    let of = |name: &str| -> Vec<String> {
        let lines = changes.lines().skip_while(|line| line.trim() != name).skip(1);
        lines
            .take_while(|line| line.starts_with("    "))
            .map(|line| line.trim().to_owned())
            .collect()
    };
    assert_eq!(of("prefix"), ["+ --enable-prefix-caching"], "{printed}");
    assert_eq!(of("noprefix"), ["+ --no-enable-prefix-caching"], "{printed}");
    assert_eq!(of("bare"), ["- --max_num_seqs=64"], "{printed}");
}

/// The service of today: a script with a guard loop that ends in the server.
#[test]
#[ignore = "needs Docker"]
fn flags_in_a_script_are_varied_at_their_places() {
    let site = Site::new("");
    let compose = site.folder.path().join("compose.yaml");
    let before = read(&compose);
    let (head, rest) = before.split_once("    command:").unwrap();
    let (_, rest) = rest.split_once('\n').unwrap();
    let script = "    entrypoint: [/bin/sh, -c]\n    command:\n      - |\n        set -e\n        \
                  # Attend que le d\u{e9}p\u{f4}t soit mont\u{e9} (\u{ab} fant\u{f4}me \u{bb})\n        \
                  i=0; while [ $$i -lt 3 ]; do i=$$((i+1)); done\n        \
                  PORT=9000 LIMIT=64; exec /bin/vllm-grid simulate Qwen/Qwen3-0.6B \\\n          \
                  --max-model-len 4096 --max_num_seqs=\"$$LIMIT\" \\\n          \
                  --no-enable-prefix-caching --sim-speed 20 --port $$PORT 2>&1\n";
    std::fs::write(&compose, format!("{head}{script}{rest}")).unwrap();
    let planned = site.command(&["plan", "grid.yaml"]).output().unwrap();
    let planned = text(&planned);
    assert!(planned.contains("--enable-prefix-caching --sim-speed 20"), "{planned}");
    let (code, printed) = code(site.sweep());
    assert_eq!(code, Some(0), "{printed}");
    site.assert_as_found();
    let journal = site.journal();
    let ready: Vec<&str> =
        journal.lines().filter(|line| line.contains("\"kind\":\"launch_ready\"")).collect();
    for value in ["true", "false"] {
        let shown = format!("\"enable-prefix-caching\":{{\"value\":{value}");
        assert!(ready.iter().any(|line| line.contains(&shown)), "{value}: {ready:?}");
    }
    assert!(ready.iter().all(|line| !line.contains("overridden")), "{ready:?}");
}

/// Next to the server of each candidate a shell holds 64 MiB and computes.
#[test]
#[ignore = "needs Docker"]
fn what_the_container_uses_is_in_the_telemetry_of_a_repeat() {
    let site = Site::new("");
    let busy = "    entrypoint: [/bin/sh, -c, '(x=0123456789abcdef; i=0; while [ $$i -lt 22 ]; do x=$$x$$x; \
                i=$$((i+1)); done; while :; do :; done) & exec /bin/vllm-grid simulate \"$$@\"', sh]\n    command:";
    let compose = site.folder.path().join("compose.yaml");
    std::fs::write(&compose, read(&compose).replace("    command:", busy)).unwrap();
    let grid = site.folder.path().join("grid.yaml");
    let text = read(&grid);
    let (head, _) = text.split_once("workloads:").unwrap();
    let measured = "workloads:\n  load: {concurrency: 2, duration: 4, prompt-tokens: 64, output-tokens: 16}\n  \
                    stability: {duration: 3, prompt-tokens: 64, output-tokens: 16}\n\
                    objective: {maximize: load.output_throughput}\nstrategy: {grid: {launches: 1, repeats: 1, seed: 1}}\n";
    std::fs::write(&grid, format!("{head}{measured}")).unwrap();
    let (code, printed) = code(site.sweep());
    assert_eq!(code, Some(0), "{printed}");
    site.assert_as_found();

    let results = support::parquet(&site.run().join("results.parquet"));
    let repeats = support::numbers(&results, "repeat");
    // Of the kept repeats: a warm-up may be over before the next look.
    let of = |column: &str| -> Vec<f64> {
        let rows = support::numbers(&results, column).into_iter().zip(&repeats);
        rows.filter_map(|(value, repeat)| value.filter(|_| *repeat > Some(0.0))).collect()
    };
    for column in ["load.engine_memory_max", "stability.engine_memory_mean"] {
        let memory = of(column);
        assert_eq!(memory.len(), 2, "two candidates: {column}: {memory:?}");
        let expected = f64::from(64 << 20)..f64::from(1 << 30);
        assert!(memory.iter().all(|bytes| expected.contains(bytes)), "{column}: {memory:?}");
    }
    let cores = of("load.engine_cpu_max");
    assert!(cores.len() == 2 && cores.iter().all(|cores| *cores > 0.1), "{cores:?}");
    let restarts = of("stability.restarts");
    assert!(restarts.len() == 2 && restarts.iter().all(|count| *count == 0.0), "{restarts:?}");
    let whose = support::texts(&results, "stability.memory_growth_of");
    assert!(whose.iter().flatten().filter(|whose| *whose == "engine").count() >= 2, "{whose:?}");
    assert_eq!(of("stability.memory_growth_bytes").len(), 2);

    for launch in std::fs::read_dir(site.run().join("launches")).unwrap() {
        let samples = support::parquet(&launch.unwrap().path().join("telemetry.parquet"));
        let memory = support::numbers(&samples, "engine.memory_bytes");
        let limits = support::numbers(&samples, "engine.memory_limit_bytes");
        // Seven seconds are measured.
        assert!(memory.iter().flatten().count() >= 5, "about each second: {memory:?}");
        assert!(limits.iter().flatten().all(|limit| *limit > f64::from(64 << 20)), "{limits:?}");
        let cores = support::numbers(&samples, "engine.cpu_cores");
        assert!(cores.iter().flatten().all(|cores| (0.0..256.0).contains(cores)), "{cores:?}");
    }
}

fn executable(program: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A launcher whose server is a child, so that the container's first process is a shell. It
/// ends at SIGTERM: a first process that handles no signal is waited for a whole minute.
const PARENT: &str = "#!/bin/sh\nshift\n/bin/vllm-grid simulate \"$@\" &\n\
                      trap 'kill $!' TERM\nwait $!\n";

/// Puts a launcher of this text in the place of the image's own program.
fn launch_by(site: &Site, text: &str) {
    let launcher = site.folder.path().join("vllm");
    std::fs::write(&launcher, text).unwrap();
    executable(&launcher);
    let compose = site.folder.path().join("compose.yaml");
    let own =
        "    entrypoint: [/bin/vllm, serve]\n    volumes: ['./vllm:/bin/vllm:ro']\n    command:";
    std::fs::write(&compose, read(&compose).replace("    command:", own)).unwrap();
}

fn column(site: &Site, name: &str) -> Vec<Option<String>> {
    let results = support::parquet(&site.run().join("results.parquet"));
    let mut values = support::texts(&results, name);
    values.sort();
    values.dedup();
    values
}

#[test]
#[ignore = "needs Docker"]
fn a_launcher_that_drops_its_arguments_gives_no_ranking() {
    let site = Site::new("");
    launch_by(
        &site,
        "#!/bin/sh\nexec /bin/vllm-grid simulate Qwen/Qwen3-0.6B --max-model-len 4096 \\\n  \
         --max-num-seqs 64 --sim-speed 20 --port 9000\n",
    );
    let (code, printed) = code(site.sweep());
    assert_eq!(code, Some(1), "{printed}");
    site.assert_as_found();
    let classes: Vec<String> = column(&site, "failure_class").into_iter().flatten().collect();
    assert_eq!(classes, ["flag_not_applied"], "a configuration's second launch is skipped");
    assert!(!site.journal().contains("\"kind\":\"repeat_finished\""), "nothing is measured");
    assert!(words(&printed).contains("enable-prefix-caching did not reach vLLM"), "{printed}");
}

#[test]
#[ignore = "needs Docker"]
fn flags_and_variables_behind_a_launcher_are_proven_in_the_process() {
    let site = Site::new("environment:\n  NCCL_P2P_DISABLE: ['1']\n");
    let grid = site.folder.path().join("grid.yaml");
    let axis = "enable-prefix-caching: [true, false]\n  max-num-seqs: [8]\n";
    let text = read(&grid).replace("enable-prefix-caching: [true, false]\n", axis);
    std::fs::write(&grid, text.replace("launches: 2, repeats: 2", "launches: 1, repeats: 1"))
        .unwrap();
    launch_by(&site, PARENT);
    let (code, printed) = code(site.sweep());
    assert_eq!(code, Some(0), "{printed}");
    site.assert_as_found();
    let some = |word: &str| [Some(word.to_owned())];
    assert_eq!(column(&site, "verdict.max-num-seqs"), some("passed"), "{printed}");
    assert_eq!(column(&site, "verdict.enable-prefix-caching"), some("honoured"));
    assert_eq!(column(&site, "verdict.environment.NCCL_P2P_DISABLE"), some("passed"));
}
