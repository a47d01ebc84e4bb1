//! Production that a dead run owes, in each state that its files can be in: against a
//! stand-in for the Docker daemon, whose container is served by our own `simulate`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use vllm_grid::history::journal::{Entry, Journal};
use vllm_grid::history::production::{ProductionFacts, ProductionStep};
use vllm_grid::ownership::debt::ProductionOwed;
use vllm_grid::ownership::{Holder, Ledger, Owed, StateFolder, Uses, new_run_id};

use crate::support::{Ran, Workplace};

mod again;
mod companions;
mod lost;
mod stop;

const ID: &str = "abababababababababababababababababababababababababababababababab";
const CANDIDATE: &str = "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";
const COMPANION: &str = "efefefefefefefefefefefefefefefefefefefefefefefefefefefefefefefef";
const KEY: &str = "sk-owed-production";

const GRID: &str = "
name: site
engine:
  docker: {image: 'i:1', model: m, production: {container: shop-vllm}, gpus: false, caches: false}
parameters: {max-num-seqs: [16, 64]}
workloads:
  kv-cache: {prefix-tokens: [512], prompts: 2, output-tokens: 4}
objective: {minimize: kv_cache.ttft_resent_ms}
";

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a stand-in")]
struct State {
    running: bool,
    /// Whether requests are read, and never answered.
    stalls: bool,
    /// Whether production restarts by its policy each time that it ends.
    crashes: bool,
    /// Whether production can be started.
    broken: bool,
    /// How often its start was refused.
    refused: usize,
    /// How many requests came.
    asked: usize,
    /// Whether a companion of production is there, and whether it runs.
    companion: Option<bool>,
    /// Labels of a candidate, where there is one.
    candidate: Option<Value>,
    /// What was done, in order.
    done: Vec<String>,
}

/// A daemon with a production that is stopped, and the server that is reached through it.
struct Site {
    place: Workplace,
    state: Arc<Mutex<State>>,
    server: Child,
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ended = self.server.kill();
        let _reaped = self.server.wait();
    }
}

impl Site {
    fn new() -> Self {
        Self::of(GRID)
    }

    fn of(grid: &str) -> Self {
        let place = Workplace::new(grid);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Command::new(env!("CARGO_BIN_EXE_vllm-grid"));
        server.args(["simulate", "Qwen/Qwen3-0.6B", "--sim-speed", "500", "--port"]);
        server.arg(port.to_string()).env("VLLM_API_KEY", KEY);
        let server = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let listener = UnixListener::bind(place.path("d.sock")).unwrap();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &state, port));
            }
        });
        Self { place, state, server }
    }

    fn socket(&self) -> String {
        format!("unix://{}", self.place.path("d.sock").display())
    }

    fn run(&self, arguments: &[&str], key: Option<&str>) -> Ran {
        Ran::of(self.command(arguments, key).output().unwrap())
    }

    fn command(&self, arguments: &[&str], key: Option<&str>) -> Command {
        let mut command = self.place.command(arguments);
        command.env("DOCKER_HOST", self.socket()).env("VLLM_GRID_DAEMON_PATIENCE", "1");
        command.env_remove("VLLM_API_KEY");
        command.envs(key.map(|key| ("VLLM_API_KEY", key)));
        command
    }

    fn is_running(&self) -> bool {
        self.state.lock().unwrap().running
    }

    /// A run that stopped production and died: its folder and its id.
    fn owes(&self) -> (PathBuf, String) {
        self.owes_in(&self.place, Holder { started: 1, ..Holder::this() })
    }

    /// The same of another process, noted in this site's state folder.
    fn owes_as(&self, holder: Holder) -> (PathBuf, String) {
        self.owes_in(&self.place, holder)
    }

    /// The same, noted in another site's state folder.
    fn owes_in(&self, place: &Workplace, holder: Holder) -> (PathBuf, String) {
        self.owes_with(place, holder, &[])
    }

    /// The same with what was stopped with production: ids and names.
    fn owes_with(
        &self,
        place: &Workplace,
        holder: Holder,
        paused: &[(&str, &str)],
    ) -> (PathBuf, String) {
        let state = StateFolder::at(&place.path("state")).unwrap();
        let (run, folder) = (new_run_id(), self.place.path("gone"));
        let holder = holder.in_state(&state).of_run(&run, &folder);
        let ledger = Ledger::of_run(&state, "gone", &holder, &Uses::Cpu);
        let owed = ProductionOwed {
            docker: self.socket(),
            id: ID.to_owned(),
            name: "shop-vllm".to_owned(),
            key_variable: Some("VLLM_API_KEY".to_owned()),
            paused: paused.iter().map(|(id, name)| ((*id).into(), (*name).into())).collect(),
            ..ProductionOwed::default()
        };
        ledger.owe(Owed::Production(owed)).unwrap();
        (folder, run)
    }
}

/// A journal of a run that stopped production and died.
fn journal(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let (mut journal, _) = Journal::open(&folder.join("journal.jsonl")).unwrap();
    let facts = ProductionFacts {
        id: ID.to_owned(),
        name: "shop-vllm".to_owned(),
        image_id: String::new(),
        started_at: String::new(),
        command_sha256: String::new(),
        configuration_sha256: String::new(),
        running: true,
        paused: Vec::new(),
    };
    let stopped = ProductionStep::Stopped { id: ID.to_owned() };
    for production in [ProductionStep::Stopping { facts }, stopped] {
        journal.append(jiff::Timestamp::now(), Entry::Production { production }).unwrap();
    }
}

fn serve(stream: UnixStream, state: &Mutex<State>, port: u16) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let (mut request, mut length) = (String::new(), 0);
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        reader.read_exact(&mut vec![0; length]).unwrap();
        state.lock().unwrap().asked += 1;
        if state.lock().unwrap().stalls {
            std::thread::sleep(crate::support::PATIENCE);
        }
        let (status, body) = answer(&request, &mut state.lock().unwrap(), port);
        let text = if status == 204 { String::new() } else { body.to_string() };
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\napi-version: 1.44\r\n\
             content-length: {}\r\n\r\n{text}",
            text.len()
        );
        if stream.write_all(head.as_bytes()).is_err() {
            return;
        }
    }
}

fn answer(request: &str, state: &mut State, port: u16) -> (u16, Value) {
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let is = |what: &str| path.contains(what);
    if is("/_ping") {
        return (200, json!("OK"));
    }
    if is("/version") {
        return (200, json!({"Version": "29.0.0", "ApiVersion": "1.44", "MinAPIVersion": "1.24"}));
    }
    if is("/images/") {
        let config = json!({"Env": [], "Entrypoint": ["vllm", "serve"], "Cmd": null});
        return (200, json!({"Id": "sha256:aa", "RepoDigests": [], "Config": config}));
    }
    if is("/containers/json") {
        let ours = state.candidate.iter().filter(|_| is("vllm-grid.sweep"));
        let list = ours.map(|it| json!({"Id": CANDIDATE, "Names": ["/left-behind"], "Labels": it}));
        return (200, list.collect());
    }
    if is(CANDIDATE) {
        if method == "DELETE" {
            state.done.push("removed".to_owned());
            state.candidate = None;
        }
        return match state.candidate {
            Some(_) => (200, json!({"Id": CANDIDATE})),
            None => (404, json!({"message": "no such container"})),
        };
    }
    if is(COMPANION) && state.companion.is_some() {
        if is("/start") {
            state.done.push("started the companion".to_owned());
            state.companion = Some(true);
            return (204, Value::Null);
        }
        return (
            200,
            seen(COMPANION, "shop-watchdog", state.companion == Some(true), 0, &Value::Null),
        );
    }
    if !is(ID) && !is("/containers/shop-vllm/") {
        return (404, json!({"message": "no such container"}));
    }
    if is("/start") {
        if state.broken {
            state.refused += 1;
            return (500, json!({"message": "the disk is full"}));
        }
        state.done.push("started".to_owned());
        state.running = true;
        return (204, Value::Null);
    }
    let restarts = if state.crashes { 7 } else { 0 };
    let ports = json!({"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": port.to_string()}]});
    (200, seen(ID, "shop-vllm", state.running, restarts, &ports))
}

/// A container as it is inspected; one with restarts restarts now.
fn seen(id: &str, name: &str, running: bool, restarts: u32, ports: &Value) -> Value {
    json!({
        "Id": id, "Name": format!("/{name}"), "Image": "sha256:aa", "RestartCount": restarts, "Args": [],
        "Config": {"Image": "i:1", "Env": [], "Entrypoint": ["vllm", "serve"], "Cmd": ["m"], "Labels": {}},
        "State": {"Status": if running { "running" } else { "exited" }, "Running": running,
                  "Restarting": restarts > 0,
                  "Paused": false, "OOMKilled": false, "ExitCode": 0, "StartedAt": "2026-01-01T00:00:00Z"},
        "NetworkSettings": {"Ports": ports, "Networks": {}},
    })
}

fn words(ran: &Ran) -> String {
    let text = format!("{} {}", ran.out, ran.err);
    let drawn = |c: char| c.is_whitespace() || "│×╰─▶".contains(c);
    text.split(drawn).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Without blanks: a path may be wrapped.
fn letters(text: &str) -> String {
    text.split(' ').collect()
}

#[test]
fn production_of_a_run_whose_folder_is_gone_is_named_started_and_proven() {
    let site = Site::new();
    let (folder, run) = site.owes();
    let down = "PRODUCTION IS DOWN: container shop-vllm (abababababab)";
    let advice = letters(&format!("vllm-grid recover {}", folder.display()));
    for arguments in [&["sweep", "grid.yaml"][..], &["recover", "elsewhere"]] {
        let said = words(&site.run(arguments, Some(KEY)).expect(3));
        assert!(said.contains(down) && letters(&said).contains(&advice), "{arguments:?}: {said}");
        assert!(!said.contains("nothing to recover"), "{said}");
    }
    assert!(!site.place.path("runs").exists(), "nothing was begun");
    let doctor = site.run(&["doctor", "grid.yaml"], Some(KEY)).expect(3);
    assert!(doctor.out.contains("problem  production: PRODUCTION IS DOWN"), "{}", doctor.out);
    assert!(!doctor.out.contains("it is not changed"), "{}", doctor.out);
    let plan = words(&site.run(&["plan", "grid.yaml"], Some(KEY)).expect(0));
    assert!(plan.contains("PRODUCTION IS DOWN") && !plan.contains("it is not changed"), "{plan}");
    assert!(!site.is_running());

    // Started first, though it cannot be proven without its key.
    let said = words(&site.run(&["recover", &run], None).expect(3));
    assert!(site.is_running(), "{said}");
    assert!(said.contains("not proven: VLLM_API_KEY is not set"), "{said}");
    assert!(!said.contains("IS DOWN"), "{said}");
    let path = folder.display().to_string();
    let said = words(&site.run(&["recover", &path], Some(KEY)).expect(0));
    assert!(said.contains("production runs and answers again"), "{said}");
    for arguments in [&["recover"][..], &["recover", "--caches"][..1]] {
        assert_eq!(site.run(arguments, None).expect(0).out, "nothing to recover\n");
    }
}

/// Each question has its patience, and a command asks many.
#[test]
fn a_daemon_that_stalls_hides_no_production_and_is_waited_for_once() {
    let site = Site::new();
    site.owes();
    site.state.lock().unwrap().stalls = true;
    let down = "PRODUCTION IS DOWN: container shop-vllm (abababababab)";
    for arguments in [&["doctor", "grid.yaml"][..], &["sweep", "grid.yaml"], &["recover"]] {
        let begun = std::time::Instant::now();
        let said = words(&site.run(arguments, Some(KEY)).expect(3));
        assert!(said.contains(down) && said.contains("does not answer"), "{arguments:?}: {said}");
        // Its patience is a second.
        assert!(begun.elapsed().as_secs_f64() < 4.0, "{arguments:?}: {:?}", begun.elapsed());
    }
}

#[test]
fn production_that_restarts_again_and_again_is_no_production_that_runs() {
    let site = Site::new();
    {
        let mut state = site.state.lock().unwrap();
        (state.running, state.crashes) = (true, true);
    }
    let doctor = words(&site.run(&["doctor", "grid.yaml"], Some(KEY)).expect(3));
    let text = "problem production: shop-vllm restarts again and again (7 times)";
    assert!(doctor.contains(text), "{doctor}");
    // What a dead run owes is not back by that.
    site.owes();
    let doctor = words(&site.run(&["doctor", "grid.yaml"], Some(KEY)).expect(3));
    assert!(doctor.contains("PRODUCTION IS DOWN: container shop-vllm"), "{doctor}");
}

/// The state folder may be in a home that machines share. Each of them has its own daemon, and
/// on each a container may have this name.
#[test]
fn what_a_run_owes_on_another_machine_is_left_to_that_machine() {
    let site = Site::new();
    let boot_id = "another-boot".to_owned();
    let holder = Holder { host: "gpu1".to_owned(), boot_id, started: 1, ..Holder::this() };
    let (folder, run) = site.owes_as(holder.clone());
    let note = site.place.path(&format!("state/debts/{run}.production.json"));
    let said = words(&site.run(&["recover"], Some(KEY)).expect(0));
    for part in ["not touched:", "gpu1", "container shop-vllm", &format!("recover {run}")] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let path = folder.display().to_string();
    for name in [&run, &path] {
        let said = words(&site.run(&["recover", name], Some(KEY)).expect(3));
        assert!(said.contains("not done:") && said.contains("gpu1"), "{said}");
    }
    let plan = words(&site.run(&["plan", "grid.yaml"], Some(KEY)).expect(0));
    assert!(!plan.contains("PRODUCTION IS DOWN"), "it was stopped by nobody here: {plan}");
    assert!(!site.is_running() && note.exists(), "nothing was done");
    // The same machine after a power cut.
    let holder = Holder { host: Holder::this().host, ..holder };
    let (_, again) = site.owes_as(holder);
    site.run(&["recover", &again], Some(KEY)).expect(0);
    assert!(site.is_running() && note.exists());
}

#[test]
fn production_that_cannot_be_started_stays_owed_until_it_is() {
    let site = Site::new();
    let (folder, _) = site.owes();
    site.state.lock().unwrap().broken = true;
    let path = folder.display().to_string();
    for arguments in [&["recover"][..], &["recover", &path]] {
        let ran = site.run(arguments, Some(KEY)).expect(3);
        let said = words(&ran);
        for part in
            ["PRODUCTION IS DOWN", "shop-vllm", "docker start shop-vllm", "the disk is full"]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
        // Before the last line, how to start it is said once.
        assert_eq!(ran.out.matches("docker start shop-vllm").count(), 1, "{said}");
    }
    site.state.lock().unwrap().broken = false;
    site.run(&["recover"], Some(KEY)).expect(0);
    assert!(site.is_running());
    assert!(site.run(&["recover", &path], Some(KEY)).expect(0).out.contains("nothing is owed"));
}

#[test]
fn a_journal_alone_is_enough_also_a_damaged_one() {
    for damaged in [false, true] {
        let site = Site::new();
        let folder = site.place.path("run");
        journal(&folder);
        let path = folder.join("journal.jsonl");
        if damaged {
            let whole = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, format!("{{\"torn\": 1\n{whole}")).unwrap();
        }
        // No manifest, no debt.
        let said = words(&site.run(&["recover", "run"], None).expect(3));
        assert!(site.is_running(), "{said}");
        assert!(said.contains("shop-vllm") && said.contains("not proven"), "{said}");
        let said = words(&site.run(&["recover", "run"], Some(KEY)).expect(0));
        assert!(said.contains("production runs and answers again"), "{said}");
    }
}

#[test]
fn a_candidate_of_a_dead_run_is_removed_before_production_is_started() {
    let site = Site::new();
    let (folder, run) = site.owes();
    let holder = Holder { started: 1, ..Holder::this() };
    let labels = json!({
        "vllm-grid.sweep": "gone", "vllm-grid.folder": folder, "vllm-grid.run": run,
        "vllm-grid.uses": "cpu", "vllm-grid.holder": serde_json::to_string(&holder).unwrap(),
    });
    site.state.lock().unwrap().candidate = Some(labels);
    let said = words(&site.run(&["sweep", "grid.yaml"], Some(KEY)).expect(3));
    assert!(said.contains("container left-behind (cdcdcdcdcdcd)"), "{said}");
    let said = words(&site.run(&["recover"], Some(KEY)).expect(0));
    assert!(said.contains("removed container left-behind"), "{said}");
    assert_eq!(site.state.lock().unwrap().done, ["removed", "started"]);
}

#[test]
fn a_production_that_does_not_answer_keeps_no_other_one_down() {
    let mut sites = [Site::new(), Site::new()];
    for site in &mut sites {
        site.server.kill().unwrap();
    }
    for site in &sites {
        site.owes_in(&sites[0].place, Holder { started: 1, ..Holder::this() });
    }
    let mut command = sites[0].place.command(&["recover"]);
    command.env("DOCKER_HOST", sites[0].socket()).env("VLLM_API_KEY", KEY);
    let mut recover = command.spawn().unwrap();
    // A proof may take 45 minutes.
    crate::support::until("both are started", || sites.iter().all(Site::is_running));
    recover.kill().unwrap();
    recover.wait().unwrap();
}

#[test]
fn runs_that_owe_the_same_production_restore_it_one_after_another() {
    let site = Site::new();
    let owed = [site.owes(), site.owes()];
    let said = words(&site.run(&["recover"], Some(KEY)).expect(0));
    assert_eq!(said.matches("production runs and answers again").count(), owed.len(), "{said}");
    assert_eq!(site.state.lock().unwrap().done, ["started"]);
    assert_eq!(site.run(&["recover"], None).expect(0).out, "nothing to recover\n");
}

#[test]
fn a_candidate_of_another_user_s_living_run_is_not_touched() {
    let site = Site::of(&GRID.replace("gpus: false", "gpus: true"));
    // Of a state folder that is not this one, by a process that lives: this test.
    let holder = Holder { state: new_run_id(), ..Holder::this() };
    let labels = json!({
        "vllm-grid.sweep": "theirs", "vllm-grid.folder": "/home/other/run",
        "vllm-grid.run": new_run_id(), "vllm-grid.uses": "1",
        "vllm-grid.holder": serde_json::to_string(&holder).unwrap(),
    });
    site.state.lock().unwrap().candidate = Some(labels);
    site.state.lock().unwrap().running = true;
    let said = words(&site.run(&["recover"], Some(KEY)).expect(0));
    assert!(said.contains("not touched, it is running: /home/other/run"), "{said}");
    let said = words(&site.run(&["sweep", "grid.yaml"], Some(KEY)).expect(3));
    assert!(said.contains(&format!("process {}", std::process::id())), "{said}");
    assert_eq!(site.state.lock().unwrap().done, Vec::<String>::new());
}
