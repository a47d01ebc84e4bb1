//! Children here are `sh` scripts; what they would serve is answered by stubs.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::engine::process::noted::{Killed, NOTE, kill_noted};
use crate::engine::readiness::Candidate;

struct Stub {
    healthy: bool,
    base_url: String,
}

#[async_trait]
impl Candidate for Stub {
    async fn health(&self) -> Option<u16> {
        self.healthy.then_some(200)
    }

    async fn prove(&self) -> Result<Server, String> {
        Ok(Server {
            endpoint: Endpoint::new(self.base_url.clone(), None),
            model: "m".to_owned(),
            choice: crate::server::ModelChoice::Clear,
            max_model_len: None,
            version: Some("0.0".to_owned()),
            simulated: true,
        })
    }
}

fn engine(script: &str, healthy: bool, adjust: impl FnOnce(&mut ProcessSpec)) -> ProcessEngine {
    let command = ["sh", "-c", script, "serve"].map(str::to_owned).to_vec();
    let mut spec = ProcessSpec::new(command);
    spec.grace = Duration::from_secs(20);
    adjust(&mut spec);
    let connect: Connect =
        Arc::new(move |endpoint| Box::new(Stub { healthy, base_url: endpoint.base_url }));
    ProcessEngine::new(spec, connect).expect("a good command")
}

fn order(folder: &Path) -> LaunchOrder {
    LaunchOrder {
        sweep: "s".to_owned(),
        launch: 1,
        configuration: Configuration {
            name: "c".to_owned(),
            aliases: Vec::new(),
            id: "0".to_owned(),
            flags: Flags::from([("max-num-seqs".to_owned(), json!(32))]),
            varied: Flags::new(),
            environment: BTreeMap::from([("EXTRA".to_owned(), "extra value".to_owned())]),
            ..Default::default()
        },
        folder: folder.to_owned(),
        worked: std::time::Duration::ZERO,
    }
}

async fn launch(
    engine: &mut ProcessEngine,
    folder: &Path,
) -> Result<Box<dyn Launched>, LaunchFailure> {
    engine.launch(&order(folder), &Emit::nowhere(), &CancellationToken::new()).await
}

/// Whether a process that a script noted in `pid` still runs.
fn runs(folder: &Path) -> bool {
    let pid = std::fs::read_to_string(folder.join("pid")).expect("the script noted it");
    match std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())) {
        Ok(stat) => !stat.contains(") Z "),
        Err(_) => false,
    }
}

async fn until(what: impl Fn() -> bool) {
    for _ in 0..1000 {
        if what() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing after 10 s");
}

#[tokio::test]
async fn exits_before_ready_are_classified() {
    let cases = [
        (
            "echo 'vllm serve: error: argument --max-num-seqs: invalid int value'; exit 2",
            FailureClass::BadFlag,
            Some(2),
        ),
        (
            "echo 'ValueError: No available memory for the cache blocks.' >&2; exit 1",
            FailureClass::KvCacheTooSmall,
            Some(1),
        ),
        ("kill -9 $$", FailureClass::Killed, Some(137)),
        ("exit 0", FailureClass::EngineDied, Some(0)),
        ("echo odd; exit 9", FailureClass::Unknown, Some(9)),
    ];
    for (script, class, code) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        let failure =
            launch(&mut engine(script, false, |_| {}), folder.path()).await.err().expect("it ends");
        assert_eq!((failure.class, failure.exit_code), (class, code), "{script}: {failure:?}");
        assert!(folder.path().join("engine.log").exists());
        assert!(!folder.path().join(NOTE).exists(), "nothing is left to recover");
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_is_the_environment() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut engine =
        engine("", false, |spec| spec.command = vec!["no-such-program-at-all".to_owned()]);
    let failure = launch(&mut engine, folder.path()).await.err().expect("it cannot start");
    assert_eq!(failure.class, FailureClass::Environment);
    assert!(failure.message.contains("no-such-program-at-all"), "{}", failure.message);
}

#[tokio::test]
async fn flags_environment_and_key_reach_the_child_and_the_key_is_not_an_argument() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = "echo \"args: $*\"; echo \"extra: $EXTRA dev: $VLLM_SERVER_DEV_MODE\"; \
                  echo \"key: $VLLM_API_KEY\"; exit 7";
    let mut engine = engine(script, false, |spec| {
        spec.api_key = Some(ApiKey::new("sk-hidden"));
        spec.introspect = true;
    });
    let failure = launch(&mut engine, folder.path()).await.err().expect("it ends");
    let args = &failure.log_lines[0];
    assert!(args.starts_with("args: --host 127.0.0.1 --max-num-seqs 32 --port "), "{args}");
    assert_eq!(failure.log_lines[1], "extra: extra value dev: 1");
    assert_eq!(failure.log_lines[2], "key: ***", "it arrived, and is not logged");
}

#[tokio::test]
async fn a_polite_server_ends_on_sigterm() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.02; done";
    let mut launched =
        launch(&mut engine(script, true, |_| {}), folder.path()).await.expect("ready");
    assert_eq!(launched.facts().engine_version.as_deref(), Some("0.0"));
    until(|| launched.log().contains("up")).await;
    launched.check().await.expect("it runs");
    assert!(folder.path().join(NOTE).exists());
    launched.stop().await.expect("stopped");
    let log = std::fs::read_to_string(folder.path().join("engine.log")).expect("kept");
    assert!(log.contains("bye"), "{log}");
    assert!(!folder.path().join(NOTE).exists());
}

#[tokio::test]
async fn a_stubborn_group_is_killed_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let pid = folder.path().join("pid");
    let script = format!(
        "trap '' TERM; sh -c \"trap '' TERM; while :; do sleep 0.05; done\" & echo $! > {}; wait; while :; do sleep 0.05; done",
        pid.display()
    );
    let mut engine = engine(&script, true, |spec| spec.grace = Duration::from_millis(200));
    let launched = launch(&mut engine, folder.path()).await.expect("ready");
    until(|| pid.exists() && runs(folder.path())).await;
    launched.stop().await.expect("stopped");
    assert!(!runs(folder.path()), "the grandchild, too");
}

#[tokio::test]
async fn workers_that_survive_their_parent_are_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let pid = folder.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; exit 0", pid.display());
    let failure =
        launch(&mut engine(&script, false, |_| {}), folder.path()).await.err().expect("it ends");
    assert_eq!(failure.class, FailureClass::EngineDied);
    assert!(!runs(folder.path()));
}

#[tokio::test]
async fn an_exit_after_ready_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = "echo 'EngineDeadError: EngineCore encountered an issue.'; exit 0";
    // Readiness looks at the exit first: it ends only after it was ready.
    let go = folder.path().join("go");
    let script = format!("until [ -e {} ]; do sleep 0.02; done; {script}", go.display());
    let mut launched =
        launch(&mut engine(&script, true, |_| {}), folder.path()).await.expect("ready");
    std::fs::write(go, "").expect("written");
    let mut failure = None;
    for _ in 0..1000 {
        failure = launched.check().await.err();
        if failure.is_some() {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    let failure = failure.expect("it ended");
    assert_eq!((failure.class, failure.exit_code), (FailureClass::EngineDied, Some(0)));
    launched.stop().await.expect("nothing left to stop");
}

#[tokio::test]
async fn cancelling_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let pid = folder.path().join("pid");
    let script = format!("echo $$ > {}; while :; do sleep 0.05; done", pid.display());
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let noted = pid.clone();
    tokio::spawn(async move {
        until(|| noted.exists()).await;
        stop.cancel();
    });
    let failure = engine(&script, false, |_| {})
        .launch(&order(folder.path()), &Emit::nowhere(), &cancel)
        .await
        .err()
        .expect("cancelled");
    assert!(failure.cancelled);
    assert!(!runs(folder.path()));
}

#[tokio::test]
async fn a_dropped_launch_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let pid = folder.path().join("pid");
    let script = format!("echo $$ > {}; while :; do sleep 0.05; done", pid.display());
    let launched = launch(&mut engine(&script, true, |_| {}), folder.path()).await.expect("ready");
    until(|| pid.exists() && runs(folder.path())).await;
    drop(launched);
    until(|| !runs(folder.path())).await;
}

#[tokio::test]
async fn a_probe_looks_at_the_whole_group_and_ends_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    // A worker that holds 16 MiB and computes.
    let script = "sh -c 'x=0123456789abcdef; i=0; \
                  while [ $i -lt 20 ]; do x=$x$x; i=$((i+1)); done; while :; do :; done' & wait";
    let launched = launch(&mut engine(script, true, |_| {}), folder.path()).await.expect("ready");
    let probe = launched.probe().expect("processes can be looked at");
    let first = probe.sample().await.expect("it lives");
    assert_eq!(first.cpu_cores, None, "there is no time between one look and itself");
    assert_eq!((first.restarts, first.memory_limit_bytes), (None, None));
    let mut last = first;
    for _ in 0..1000 {
        sleep(Duration::from_millis(20)).await;
        last = probe.sample().await.expect("it lives");
        let holds = last.memory_bytes.is_some_and(|bytes| bytes > 16 << 20);
        if holds && last.cpu_cores.is_some_and(|cores| cores > 0.0) {
            break;
        }
    }
    assert!(last.memory_bytes > Some(16 << 20) && last.cpu_cores > Some(0.0), "{last:?}");
    launched.stop().await.expect("stopped");
    assert_eq!(probe.sample().await, None, "nothing is left to look at");
}

#[tokio::test]
async fn what_a_dead_sweep_noted_is_killed_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child =
        Command::new("sleep").arg("1000").process_group(0).spawn().expect("sleep is there");
    let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it runs");
    Noted::start(folder.path(), None, 1, id);
    // Somebody waits for it, as the system's first process does for an orphan.
    let (killed, exit) = tokio::join!(kill_noted(folder.path()), exit_of(&mut child));
    assert_eq!(killed, Killed::Ended);
    assert_eq!(kill_noted(folder.path()).await, Killed::Nothing, "any number of times");
    assert_eq!(exit.code, Some(137));

    // The number belongs to another process by now.
    let note = json!({"group": std::process::id(), "started": 1});
    std::fs::write(folder.path().join(NOTE), note.to_string()).expect("written");
    assert_eq!(kill_noted(folder.path()).await, Killed::Nothing);
}

#[test]
fn a_key_on_the_command_line_is_refused() {
    let connect: Connect =
        Arc::new(|endpoint| Box::new(Stub { healthy: true, base_url: endpoint.base_url }));
    for argument in ["--api-key", "--api_key=x"] {
        let spec = ProcessSpec::new(vec!["vllm".to_owned(), argument.to_owned()]);
        assert_eq!(
            ProcessEngine::new(spec, connect.clone()).err(),
            Some(ProcessError::KeyInCommand)
        );
    }
    assert_eq!(
        ProcessEngine::new(ProcessSpec::new(vec![]), connect).err(),
        Some(ProcessError::Empty)
    );
}

#[test]
fn a_key_in_a_config_file_is_used_and_masked() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("c.yaml");
    std::fs::write(&path, "api-key: [sk-0123456789]\nhf-token: hf_0123456789\nmax-num-seqs: 16\n")
        .expect("written");
    let mut spec = ProcessSpec::new(vec![
        "vllm".to_owned(),
        "serve".to_owned(),
        "m".to_owned(),
        format!("--config={}", path.display()),
    ]);
    let secrets = Secrets::default();
    spec.secrets = secrets.clone();
    let connect: Connect =
        Arc::new(|endpoint| Box::new(Stub { healthy: true, base_url: endpoint.base_url }));
    let engine = ProcessEngine::new(spec, connect).expect("the key is on no command line");
    assert_eq!(engine.spec.api_key.as_ref().map(ApiKey::reveal), Some("sk-0123456789"));
    assert_eq!(secrets.mask("sk-0123456789 hf_0123456789"), "*** ***");
}

/// A process in a group of its own, with this in its environment.
fn sleeper(variables: &[(&str, &str)]) -> (Child, Pid) {
    let variables = variables.iter().copied();
    let mut command = Command::new("sleep");
    let child = command.arg("1000").envs(variables).process_group(0).spawn();
    let child = child.expect("sleep is there");
    let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it runs");
    (child, id)
}

#[tokio::test]
async fn what_a_stop_could_not_kill_is_killed_by_a_later_attempt() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = engine("exit 0", false, |_| {});
    engine.end_left().await.expect("nothing is left");
    let (mut child, id) = sleeper(&[]);
    keep(&engine.left, Noted::start(folder.path(), None, 1, id));
    let killed = timeout(Duration::from_secs(20), exit_of(&mut child));
    let (ended, exit) = tokio::join!(engine.end_left(), killed);
    ended.expect("it is killed");
    assert_eq!(exit.expect("it was killed").code, Some(137));
    assert!(!folder.path().join(NOTE).exists());
    assert!(engine.left.lock().expect("no panic").is_empty());
}

#[tokio::test]
async fn a_launch_begins_once_nothing_of_its_run_lives() {
    use crate::ownership::{Holder, StateFolder, new_run_id};

    let folder = tempfile::tempdir().expect("a folder");
    let state = StateFolder::at(&folder.path().join("state")).expect("a state folder");
    let run = new_run_id();
    let holder = Holder { run_id: Some(run.clone()), ..Holder::this() };
    let mut engine = engine("exit 0", false, |_| {});
    engine.owned_by(&Arc::new(Ledger::of_run(&state, "s", &holder, &Uses::Cpu)));
    let (mut child, _) = sleeper(&[(noted::VARIABLE, &run)]);
    let killed = timeout(Duration::from_secs(20), exit_of(&mut child));
    let (failed, exit) = tokio::join!(launch(&mut engine, folder.path()), killed);
    assert_eq!(failed.err().expect("it ends").class, FailureClass::EngineDied);
    assert_eq!(exit.expect("it was killed").code, Some(137));
}

/// What a cluster's users start vLLM by, with the flags that a launch adds.
#[test]
fn commands_of_a_cluster_s_node_get_the_flags_where_vllm_reads_them() {
    let argv = |command: &str| {
        let words = shell_words::split(command).expect("words");
        let connect: Connect =
            Arc::new(|endpoint| Box::new(Stub { healthy: true, base_url: endpoint.base_url }));
        let engine = ProcessEngine::new(ProcessSpec::new(words), connect).expect("a command");
        let flags = Flags::from([("max-num-seqs".to_owned(), json!(32))]);
        engine.argv(&flags, 4711).join(" ")
    };
    let commands = [
        "/shared/venv/bin/vllm serve Qwen/Qwen3-8B",
        "bash -lc 'module load vllm/0.11 && exec vllm serve Qwen/Qwen3-8B \"$@\"' vllm",
        "apptainer exec --nv --bind /scratch /shared/vllm.sif vllm serve Qwen/Qwen3-8B",
        "srun --overlap --container-image=/shared/vllm.sqsh --container-mounts=/scratch:/scratch \
         vllm serve Qwen/Qwen3-8B",
    ];
    insta::assert_snapshot!(commands.map(argv).join("\n"));
}

#[tokio::test]
async fn a_server_that_does_not_end_has_less_time_once_a_stop_is_asked_for() {
    let place = tempfile::tempdir().expect("a folder");
    let cancel = CancellationToken::new();
    let haste = Haste::after(&cancel, Duration::from_millis(300));
    let script = "trap '' TERM; while :; do sleep 0.1; done";
    let engine = engine(script, true, |spec| spec.haste = haste);
    let launched = engine.launch(&order(place.path()), &Emit::nowhere(), &cancel).await;
    let launched = launched.expect("it is ready");
    let began = Instant::now();
    cancel.cancel();
    launched.stop().await.expect("it is killed");
    assert!(began.elapsed() < Duration::from_secs(10), "20 s are usual: {:?}", began.elapsed());
}
