//! A launch on its node, as a cluster's job makes it: the controller's order goes in, and what
//! comes of it is in the launch's folder. Slurm itself is not needed: its variables are set.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use vllm_grid::engine::LaunchOrder;
use vllm_grid::gate::GateOrder;
use vllm_grid::grid::{GridFile, ReadOptions};
use vllm_grid::history::folder::{Folder, create_private};
use vllm_grid::history::journal::Entry;
use vllm_grid::history::launch::{LaunchFacts, LaunchOutcome};
use vllm_grid::secret::Secrets;
use vllm_grid::strategy::Purpose;
use vllm_grid::sweep::Pass;
use vllm_grid::sweep::hosts::job::{Began, End, FORMAT, Files, JobOrder, Line, Reader};
use vllm_grid::sweep::launch::TrialOrder;
use vllm_grid::sweep::run::Sweep;

use crate::support::{CACHING, Workplace, signal, until};

/// A run with one launch to be made.
struct Ordered {
    place: Workplace,
    folder: PathBuf,
}

impl Ordered {
    /// A launch of `repeats` repeats of the grid's first configuration.
    fn of(place: Workplace, repeats: u32) -> Self {
        let path = place.path("grid.yaml");
        let grid = GridFile::read(&path, &ReadOptions::default()).unwrap().without_service();
        let run = place.path("run");
        let now = jiff::Timestamp::now();
        let sweep = Sweep::begin(&grid, Some(&run), now, &Secrets::default()).unwrap();
        let manifest = sweep.record().manifest.clone();
        let configuration = manifest.configurations[0].clone();
        let folder = sweep.folder().launch(1, &configuration.name);
        create_private(&sweep.folder().launches_path()).unwrap();
        Folder::create_launch(&folder).unwrap();
        let passes = manifest.workloads.iter().flat_map(|workload| {
            let case = workload.cases()[0].clone();
            (0..=repeats).map(move |repeat| Pass {
                workload: workload.clone(),
                case: case.clone(),
                repeat,
            })
        });
        let order = JobOrder {
            format: FORMAT,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            run_id: manifest.run_id(),
            run,
            order: TrialOrder {
                launch: LaunchOrder {
                    sweep: manifest.sweep.clone(),
                    launch: 1,
                    configuration,
                    folder: folder.clone(),
                    worked: Duration::ZERO,
                },
                trial: 0,
                purpose: Purpose::Screen,
                round: 0,
                salt: "salt".to_owned(),
                seed: 1,
                gates: GateOrder::default(),
                passes: passes.collect(),
                early: None,
            },
        };
        let ordered = Self { place, folder };
        ordered.write(&serde_json::to_value(&order).unwrap());
        ordered
    }

    fn path(&self) -> PathBuf {
        Files::of(&self.folder).order()
    }

    fn write(&self, order: &serde_json::Value) {
        std::fs::write(self.path(), order.to_string()).unwrap();
    }

    fn change(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let mut order = serde_json::from_slice(&std::fs::read(self.path()).unwrap()).unwrap();
        change(&mut order);
        self.write(&order);
    }

    /// The job's command, in the launch's folder, on the node `n1`.
    fn command(&self) -> Command {
        let mut command = self.place.command(&["launch", &self.path().display().to_string()]);
        command.current_dir(&self.folder);
        command.envs([("SLURM_JOB_ID", "77"), ("SLURMD_NODENAME", "n1")]);
        command.env_remove("CUDA_VISIBLE_DEVICES").env_remove("SLURM_RESTART_COUNT");
        command
    }

    fn start(&self) -> Child {
        self.command().spawn().unwrap()
    }

    fn run(&self, code: i32) -> String {
        said(self.command().output().unwrap(), code)
    }

    fn lines(&self) -> Vec<Line> {
        Reader::of(&self.folder).more().unwrap()
    }

    fn began(&self) -> Began {
        let began = self.lines().into_iter().find_map(|line| match line {
            Line::Began(began) => Some(began),
            _ => None,
        });
        began.expect("it began")
    }

    fn end(&self) -> End {
        end(&self.lines())
    }

    /// Why it could not be made.
    fn unable(&self) -> String {
        match self.end() {
            End::Unable { message, .. } => message,
            other => panic!("{other:?}"),
        }
    }

    fn repeats(&self) -> usize {
        let is_repeat = |line: &Line| matches!(line, Line::Entry { entry, .. } if matches!(**entry, Entry::RepeatFinished { .. }));
        self.lines().iter().filter(|it| is_repeat(it)).count()
    }

    fn ready(&self) -> Option<(jiff::Timestamp, LaunchFacts)> {
        self.lines().into_iter().find_map(|line| match line {
            Line::Entry { at, entry } => match *entry {
                Entry::LaunchReady { facts, .. } => Some((at, facts)),
                _ => None,
            },
            _ => None,
        })
    }
}

fn said(output: Output, code: i32) -> String {
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    // It is wrapped for a terminal.
    said.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ")
}

fn end(lines: &[Line]) -> End {
    let ends = lines.iter().filter_map(|line| match line {
        Line::Ended { end, .. } => Some(end.clone()),
        _ => None,
    });
    let all: Vec<End> = ends.collect();
    assert!(all.len() == 1 && matches!(lines.last(), Some(Line::Ended { .. })), "{lines:?}");
    all[0].clone()
}

#[test]
fn a_job_makes_its_launch_and_leaves_what_the_controller_needs() {
    let ordered = Ordered::of(Workplace::alone(CACHING), 2);
    let started = jiff::Timestamp::now();
    ordered.run(0);
    let began = ordered.began();
    assert_eq!((began.host.as_str(), began.job.as_deref()), ("n1", Some("77")));
    assert!(began.machine.kernel.is_some() && began.machine.cores.is_some(), "{began:?}");
    assert_eq!((ordered.end(), ordered.repeats()), (End::Outcome(LaunchOutcome::Measured), 3));
    let (at, facts) = ordered.ready().expect("it was ready");
    assert!(facts.simulated);
    let before = at.duration_since(started).as_secs_f64() - facts.boot_seconds;
    println!("from the job's start to the first request, the boot left out: {before:.3} s");
    assert!((0.0..1.0).contains(&before), "{before} s besides the boot");
    let names = std::fs::read_dir(&ordered.folder).unwrap().flatten();
    let names: Vec<String> =
        names.map(|it| it.file_name().to_string_lossy().into_owned()).collect();
    for needed in ["engine.log", "telemetry.parquet", "job.heartbeat", "records"] {
        assert!(names.iter().any(|it| it == needed), "{needed}: {names:?}");
    }
    let is_passing = |it: &String| it == "job.reserve" || it.starts_with("job.heartbeat.");
    assert!(!names.iter().any(is_passing), "{names:?}");
    let journal = ordered.place.journal("run");
    assert!(
        journal.iter().all(|line| !line.to_string().contains("repeat_finished")),
        "the controller's"
    );
    // The cluster starts the job again, on another node.
    let told = ordered.lines();
    let mut again = ordered.command();
    again.env("SLURMD_NODENAME", "n2");
    let refused = said(again.output().unwrap(), 6);
    assert!(refused.contains("begun before on n1: it is not measured twice"), "{refused}");
    let mut requeued = ordered.command();
    requeued.env("SLURM_RESTART_COUNT", "1");
    assert!(said(requeued.output().unwrap(), 6).contains("restart 1"));
    assert_eq!(ordered.lines(), told, "nothing is added");
}

#[test]
fn a_job_that_is_asked_to_end_several_times_ends_once_and_keeps_what_it_finished() {
    let slow = CACHING.replace("speed: 20", "speed: 10");
    let ordered = Ordered::of(Workplace::new(&slow), 500);
    let child = ordered.start();
    until("two repeats", || ordered.repeats() >= 2);
    let asked = Instant::now();
    signal(&child, Signal::TERM);
    std::thread::sleep(Duration::from_millis(400));
    // At its limit the cluster asks once more.
    let _it_may_have_ended = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    said(child.wait_with_output().unwrap(), 4);
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    assert_eq!(ordered.end(), End::Outcome(LaunchOutcome::Interrupted));
    assert!(ordered.repeats() >= 2);
}

/// A server that does not end by itself, and says which GPUs it sees.
fn stubborn(place: &Workplace) -> String {
    let script = format!(
        "trap '' TERM\necho \"$CUDA_VISIBLE_DEVICES\" > '{}'\n'{}' simulate \"$@\" &\n\
         while :; do sleep 1; done\n",
        place.path("gpus").display(),
        env!("CARGO_BIN_EXE_vllm-grid")
    );
    let path = place.path("serve.sh");
    std::fs::write(&path, script).unwrap();
    path.display().to_string()
}

fn process_grid(script: &str) -> String {
    format!(
        "name: node\nengine:\n  process:\n    command: [sh, '{script}', Qwen/Qwen3-0.6B, --sim-speed, '41']\n    \
         flags: {{max-model-len: 4096}}\n    api-key-env: NODE_TEST_KEY\nparameters:\n  max-num-seqs: [8]\n\
         workloads:\n  kv-cache: {{prefix-tokens: [512], prompts: 2, output-tokens: 4}}\n\
         objective: {{minimize: kv_cache.ttft_resent_ms}}\n\
         strategy: {{grid: {{launches: 1, repeats: 1, seed: 1}}}}\n"
    )
}

/// Numbers of the processes that have this text in their command line.
fn running(text: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let named = processes.filter(|it| {
        let line = std::fs::read(it.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").contains(text)
    });
    named.map(|it| it.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_server_sees_the_gpus_that_slurm_gave_and_is_killed_in_time_where_it_does_not_end() {
    let place = Workplace::new("");
    let script = stubborn(&place);
    std::fs::write(place.path("grid.yaml"), process_grid(&script)).unwrap();
    let ordered = Ordered::of(place, 500);
    let mut command = ordered.command();
    command.envs([("CUDA_VISIBLE_DEVICES", "2,3"), ("NODE_TEST_KEY", "sk-of-the-node-1")]);
    let child = command.spawn().unwrap();
    until("a repeat", || ordered.repeats() >= 1);
    let gpus = std::fs::read_to_string(ordered.place.path("gpus")).unwrap();
    assert_eq!(gpus.trim(), "2,3");
    let asked = Instant::now();
    signal(&child, Signal::TERM);
    said(child.wait_with_output().unwrap(), 4);
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    assert_eq!(running(&script), Vec::<String>::new());
    assert_eq!(ordered.end(), End::Outcome(LaunchOutcome::Interrupted));
    let files = std::fs::read_dir(&ordered.folder).unwrap().flatten().map(|it| it.path());
    let records = std::fs::read_dir(ordered.folder.join("records")).unwrap().flatten();
    for file in files.chain(records.map(|it| it.path())).filter(|it| it.is_file()) {
        let text = std::fs::read(&file).unwrap();
        let has = String::from_utf8_lossy(&text).contains("sk-of-the-node-1");
        assert!(!has, "a secret is in {}", file.display());
    }
}

#[test]
fn what_keeps_a_node_from_launching_is_told_to_the_controller() {
    // Another version.
    let ordered = Ordered::of(Workplace::new(CACHING), 1);
    ordered.change(|order| order["tool_version"] = json!("9.9.9"));
    let said = ordered.run(3);
    assert!(said.contains("install the same version on all nodes"), "{said}");
    let told = ordered.unable();
    assert!(told.starts_with("n1: ") && told.contains("9.9.9"), "{told}");
    // A run's folder that this node does not have.
    let ordered = Ordered::of(Workplace::new(CACHING), 1);
    ordered.change(|order| order["run"] = json!("/nowhere/run"));
    ordered.run(3);
    let told = ordered.unable();
    assert!(told.contains("a file system that this node shares"), "{told}");
    assert_eq!(ordered.began().host, "n1", "where it was");
    // Another run in its place.
    let ordered = Ordered::of(Workplace::new(CACHING), 1);
    ordered.change(|order| order["run_id"] = json!("0".repeat(32)));
    ordered.run(3);
    assert!(ordered.unable().contains("and the order is of 0000"), "{}", ordered.unable());
    // The grid is not what it was.
    let ordered = Ordered::of(Workplace::new(CACHING), 1);
    let copy = ordered.place.path("run/grid.yaml");
    std::fs::write(&copy, CACHING.replace("prompts: 2", "prompts: 3")).unwrap();
    ordered.run(3);
    assert!(ordered.unable().contains("the grid changed"), "{}", ordered.unable());
    // The configuration is another one.
    let ordered = Ordered::of(Workplace::new(CACHING), 1);
    ordered.change(|order| order["order"]["launch"]["configuration"]["id"] = json!("another"));
    ordered.run(3);
    let told = ordered.unable();
    assert!(told.contains("this node differs from what the run was begun with"), "{told}");
    // A key that the job does not have.
    let place = Workplace::new("");
    std::fs::write(place.path("grid.yaml"), process_grid("/nowhere/serve.sh")).unwrap();
    let ordered = Ordered::of(place, 1);
    ordered.run(3);
    assert!(ordered.unable().contains("NODE_TEST_KEY (`api-key-env`)"), "{}", ordered.unable());
    // No order at all.
    let ordered = Ordered::of(Workplace::new(CACHING), 1);
    std::fs::remove_file(ordered.path()).unwrap();
    ordered.run(2);
    assert_eq!(ordered.lines(), []);
}

/// Runs a launch whose folder is a small disk of its own, after `prepared`; copies of its files
/// are in the folder that is given.
fn on_small_disk(ordered: &Ordered, kib: u32, prepared: &str) -> (Output, PathBuf) {
    let copies = ordered.place.path("copies");
    std::fs::create_dir(&copies).unwrap();
    let folder = ordered.folder.display();
    let script = format!(
        "set -e; cp '{folder}'/job.json '{0}'\n\
         mount -t tmpfs -o size={kib}k none '{folder}'; cp '{0}'/job.json '{folder}'/job.json\n\
         cd '{folder}'; {prepared}\n\
         set +e; '{1}' launch '{folder}/job.json'; code=$?; cp -r '{folder}'/. '{0}'; exit $code\n",
        copies.display(),
        env!("CARGO_BIN_EXE_vllm-grid")
    );
    let given = ordered.command();
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", &script]);
    for (name, value) in given.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    (command.output().unwrap(), copies)
}

fn lines_in(folder: &Path) -> Vec<Line> {
    Reader::of(folder).more().unwrap()
}

#[test]
fn a_disk_that_fills_up_ends_a_launch_as_unable_and_one_that_is_read_only_is_named() {
    let fast = CACHING.replace("speed: 20", "speed: 400");
    let ordered = Ordered::of(Workplace::new(&fast), 500);
    let (output, copies) = on_small_disk(&ordered, 256, "");
    let said_here = said(output, 3);
    let lines = lines_in(&copies);
    match end(&lines) {
        End::Unable { message, .. } => assert!(message.contains("df -h"), "{message}"),
        other => panic!("{other:?}"),
    }
    assert!(said_here.contains("df -h"), "{said_here}");
    let ordered = Ordered::of(Workplace::new(&fast), 1);
    let (output, copies) = on_small_disk(&ordered, 256, "mount -o remount,ro,size=256k none .");
    let said_here = said(output, 3);
    assert!(said_here.contains("job.taken cannot be written"), "{said_here}");
    assert!(said_here.contains("can be read only"), "{said_here}");
    assert_eq!(lines_in(&copies), []);
}

#[test]
fn a_simulated_node_may_be_slower_by_a_factor() {
    let of = |hosts: &str| {
        let engine = format!(
            "engine: {{simulated: {{model: Qwen/Qwen3-0.6B, gpu: rtx-4090, hosts: {hosts}}}}}"
        );
        crate::grid_errors::read_text(&format!(
            "name: g\n{engine}\nparameters: {{max-num-seqs: [8, 16]}}\nworkloads: {{kv-cache: }}\n\
             objective: {{minimize: kv_cache.ttft_resent_ms}}\n"
        ))
    };
    of("{n2: 1.3, gpu-07.cluster: 1}").unwrap();
    for (hosts, said) in [
        ("{n2: 0}", "`hosts.n2` must be a factor from 0.01 to 100, not 0"),
        ("{n2: fast}", "`hosts.n2`"),
        ("[n2]", "`hosts`"),
    ] {
        let errors = of(hosts).unwrap_err();
        assert!(errors.errors[0].message.contains(said), "{hosts}: {:?}", errors.errors);
    }
}
