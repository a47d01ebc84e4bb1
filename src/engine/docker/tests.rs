//! On the real daemon, with an image of our own binary (`tests/docker/image.sh`):
//! `cargo build && cargo test --lib docker -- --ignored`. `VLLM_GRID_TEST_BINARY`
//! names another binary, `VLLM_GRID_TEST_IMAGE` an image that is there.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use bollard::models::ContainerCreateBody;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::daemon::{DaemonSettings, connect};
use super::*;
use crate::configuration::{Configuration, Flags};
use crate::engine::compose::GpuRequest;
use crate::engine::readiness::over_http;

pub(super) fn image() -> &'static str {
    static IMAGE: OnceLock<String> = OnceLock::new();
    IMAGE.get_or_init(|| {
        if let Ok(image) = std::env::var("VLLM_GRID_TEST_IMAGE") {
            return image;
        }
        let binary = std::env::var("VLLM_GRID_TEST_BINARY").map_or_else(
            |_| {
                let test = std::env::current_exe().expect("a path");
                test.ancestors().nth(2).expect("target/debug").join("vllm-grid")
            },
            PathBuf::from,
        );
        assert!(binary.exists(), "build {} first (`cargo build`)", binary.display());
        let image = format!("vllm-grid-test:{}", std::process::id());
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docker/image.sh");
        let made = Command::new(script).arg(&binary).arg(&image).output().expect("a shell");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        image
    })
}

/// The `docker` command, as anybody else would use it on our containers.
pub(super) fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().expect("the docker command");
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "docker {arguments:?}: {printed}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub(crate) struct Place {
    pub(super) docker: Daemon,
    pub(super) folder: tempfile::TempDir,
    sweep: String,
}

impl Place {
    pub(crate) async fn new(test: &str) -> Self {
        Self {
            docker: connect(&DaemonSettings::of_environment()).await.expect("a daemon"),
            folder: tempfile::tempdir().expect("a folder"),
            sweep: format!("test-{test}-{}", std::process::id()),
        }
    }

    pub(crate) fn order(&self, flags: &Value) -> LaunchOrder {
        let flags: Flags = flags.as_object().expect("flags").clone().into_iter().collect();
        let folder = self.folder.path().join("run/launches/1-c");
        std::fs::create_dir_all(&folder).expect("made, as a launch makes it");
        LaunchOrder {
            sweep: self.sweep.clone(),
            launch: 1,
            configuration: Configuration {
                name: "c".to_owned(),
                aliases: Vec::new(),
                id: "0".to_owned(),
                varied: flags.clone(),
                flags,
                environment: BTreeMap::new(),
                ..Default::default()
            },
            folder,
            worked: std::time::Duration::ZERO,
        }
    }

    pub(crate) async fn engine(
        &self,
        extra: &[&str],
        adjust: impl FnOnce(&mut DockerSpec),
    ) -> DockerEngine {
        let mut command = vec!["Qwen/Qwen3-0.6B", "--max-model-len", "4096", "--sim-speed", "100"];
        command.extend(extra);
        let command = command.into_iter().map(str::to_owned).collect();
        let mut spec = DockerSpec::new(ServiceSpec::of_image(image(), command));
        spec.caches = false;
        adjust(&mut spec);
        DockerEngine::new(self.docker.clone(), spec, over_http()).await.expect("the image is there")
    }

    pub(crate) async fn launch(
        &self,
        engine: &mut DockerEngine,
        flags: &Value,
    ) -> Result<Box<dyn Launched>, LaunchFailure> {
        engine.launch(&self.order(flags), &Emit::nowhere(), &CancellationToken::new()).await
    }

    /// Ids of the containers of this sweep, exited ones included.
    pub(crate) fn containers(&self) -> Vec<String> {
        let filter = format!("label={}={}", label::SWEEP, self.sweep);
        docker(&["ps", "-aq", "--no-trunc", "--filter", &filter])
            .lines()
            .map(str::to_owned)
            .collect()
    }

    fn only(&self) -> String {
        let ids = self.containers();
        assert_eq!(ids.len(), 1, "{ids:?}");
        ids[0].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker"]
async fn a_container_lives_from_launch_to_stop_and_is_removed_after() {
    let place = Place::new("life").await;
    let mut engine = place.engine(&[], |_| {}).await;
    let mut launched = place.launch(&mut engine, &json!({"max-num-seqs": 7})).await.expect("ready");
    assert_eq!(launched.server().model, "Qwen/Qwen3-0.6B");
    assert!(launched.server().simulated);
    assert_eq!(launched.facts().image_id.as_deref(), Some(engine.image().id.as_str()));
    assert!(launched.log().contains("'max_num_seqs': 7"), "{}", launched.log());
    launched.check().await.expect("nobody touched it");

    let id = place.only();
    let seen: Value = serde_json::from_str(&docker(&["inspect", &id])).expect("JSON");
    let seen = &seen[0];
    assert_eq!(seen["HostConfig"]["RestartPolicy"]["Name"], "no");
    assert_eq!(seen["Config"]["Healthcheck"]["Test"], json!(["NONE"]));
    assert_eq!(seen["Config"]["StopTimeout"], 60);
    assert_eq!(seen["HostConfig"]["LogConfig"]["Config"]["max-size"], "50m");
    assert_eq!(seen["NetworkSettings"]["Ports"]["8000/tcp"][0]["HostIp"], "127.0.0.1");
    assert_eq!(seen["Config"]["Labels"][label::CONFIGURATION], "c");
    assert_eq!(seen["Config"]["Labels"][label::LAUNCH], "1");
    let folder = place.folder.path().join("run");
    assert_eq!(seen["Config"]["Labels"][label::FOLDER], folder.to_str().expect("text"));

    launched.stop().await.expect("stopped");
    assert!(place.containers().is_empty());
    let log = std::fs::read_to_string(place.folder.path().join("run/launches/1-c/engine.log"));
    assert!(log.expect("kept").contains("shutdown"), "its last words are there");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker"]
async fn failures_before_ready_have_their_class_and_leave_nothing() {
    let place = Place::new("failures").await;
    let cases = [
        (json!({"no-such-flag": 3}), FailureClass::BadFlag, Some(2)),
        (json!({"gpu-memory-utilization": 0.06}), FailureClass::KvCacheTooSmall, Some(1)),
        (json!({"max-num-seqs": "abc"}), FailureClass::BadFlag, Some(2)),
    ];
    for (flags, class, code) in cases {
        let mut engine = place.engine(&[], |_| {}).await;
        let failure = place.launch(&mut engine, &flags).await.err().expect("it fails");
        assert_eq!((failure.class, failure.exit_code), (class, code), "{failure:?}");
        assert!(!failure.log_lines.is_empty());
        assert!(place.containers().is_empty(), "{flags}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker"]
async fn an_image_that_is_not_there_is_an_error_and_another_one_is_known_by_its_id() {
    let place = Place::new("image").await;
    let spec = DockerSpec::new(ServiceSpec::of_image("vllm-grid-test/not-there:1", Vec::new()));
    let error =
        DockerEngine::new(place.docker.clone(), spec, over_http()).await.err().expect("no image");
    assert!(matches!(&error, DockerError::NoImage(image) if image == "vllm-grid-test/not-there:1"));
    let spec = DockerSpec::new(ServiceSpec::of_image(image(), Vec::new()));
    let engine = DockerEngine::new(place.docker.clone(), spec, over_http()).await;
    let engine = engine.expect("the image is here");
    let id = identity(&place.docker, image()).await.expect("the image is here").id;
    assert_eq!(engine.image_id(), Some(id));
    let runtime = engine.runtime().await.expect("the daemon answers");
    assert!(runtime.starts_with("Docker "), "{runtime}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker"]
async fn gpus_that_the_daemon_cannot_give_are_reported_and_can_be_switched_off() {
    let place = Place::new("gpus").await;
    let ask = |spec: &mut DockerSpec| {
        spec.service.gpus = vec![GpuRequest {
            count: Some(-1),
            capabilities: vec!["gpu".to_owned()],
            ..GpuRequest::default()
        }];
    };
    let mut engine = place.engine(&[], ask).await;
    let failure = place.launch(&mut engine, &json!({})).await.err().expect("no GPU here");
    assert_eq!(failure.class, FailureClass::NoGpu, "{failure:?}");
    assert!(place.containers().is_empty());

    let mut engine = place
        .engine(&[], |spec| {
            ask(spec);
            spec.gpus = false;
        })
        .await;
    let launched = place.launch(&mut engine, &json!({})).await.expect("ready");
    launched.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker"]
async fn what_others_do_to_a_serving_container_is_found() {
    let place = Place::new("others").await;
    let cases = [
        (&["kill", "-s", "KILL"][..], FailureClass::Killed, "code 137"),
        (&["pause"], FailureClass::Killed, "paused"),
        (&["restart", "-t", "1"], FailureClass::Killed, "restarted"),
        (&["rm", "-f"], FailureClass::Killed, "removed"),
        (&["stop", "-t", "5"], FailureClass::EngineDied, "code 0"),
    ];
    for (action, class, word) in cases {
        let mut engine = place.engine(&[], |_| {}).await;
        let mut launched = place.launch(&mut engine, &json!({})).await.expect("ready");
        let id = place.only();
        docker(&[action, &[&id]].concat());
        let failure = launched.check().await.expect_err("it is not what it was");
        assert_eq!(failure.class, class, "{action:?}: {failure:?}");
        assert!(failure.message.contains(word), "{action:?}: {}", failure.message);
        launched.stop().await.expect("stopped");
        assert!(place.containers().is_empty(), "{action:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker"]
async fn what_others_do_to_a_booting_container_ends_the_launch() {
    let place = Place::new("booting").await;
    for (action, word) in [
        (&["rm", "-f"][..], "removed"),
        (&["kill"], "code 137"),
        (&["restart", "-t", "1"], "restarted"),
    ] {
        // At real speed it boots for 15 s.
        let engine = place.engine(&["--sim-speed", "1"], |_| {}).await;
        let (order, emit, cancel) =
            (place.order(&json!({})), Emit::nowhere(), CancellationToken::new());
        let launch = engine.launch(&order, &emit, &cancel);
        let action = async {
            while place.containers().is_empty() {
                sleep(Duration::from_millis(50)).await;
            }
            sleep(Duration::from_secs(2)).await;
            docker(&[action, &[&place.only()]].concat());
        };
        let (launched, ()) = tokio::join!(launch, action);
        let failure = launched.err().expect("it ended");
        assert_eq!(failure.class, FailureClass::Killed, "{failure:?}");
        assert!(failure.message.contains(word), "{}", failure.message);
        assert!(place.containers().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker"]
async fn a_container_out_of_memory_is_known_by_the_daemon_s_word() {
    let place = Place::new("memory").await;
    let mut engine = place.engine(&[], |_| {}).await;
    let mut launched = place.launch(&mut engine, &json!({})).await.expect("ready");
    let id = place.only();
    docker(&["update", "--memory", "9m", "--memory-swap", "9m", &id]);
    // Bodies make it touch its memory.
    let big = place.folder.path().join("big");
    std::fs::write(&big, vec![b'x'; 1_900_000]).expect("written");
    let url = format!("{}/v1/chat/completions", launched.server().endpoint.base_url);
    let post = || {
        let data = format!("@{}", big.display());
        Command::new("curl")
            .args(["-s", "-m", "2", "-o", "/dev/null", "--data-binary", &data, &url])
            .spawn()
    };
    let mut failure = None;
    for _ in 0..30 {
        let posts: Vec<_> = (0..8).filter_map(|_| post().ok()).collect();
        for mut post in posts {
            let _answer = post.wait();
        }
        failure = launched.check().await.err();
        if failure.is_some() {
            break;
        }
    }
    let failure = failure.expect("9 MB are not enough");
    assert_eq!(
        (failure.class, failure.exit_code),
        (FailureClass::HostMemory, Some(137)),
        "{failure:?}"
    );
    launched.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker"]
async fn cancelling_a_boot_leaves_nothing() {
    let place = Place::new("cancel").await;
    let engine = place.engine(&["--sim-speed", "1"], |_| {}).await;
    let cancel = CancellationToken::new();
    let (order, emit) = (place.order(&json!({})), Emit::nowhere());
    let launch = engine.launch(&order, &emit, &cancel);
    let stop = async {
        while place.containers().is_empty() {
            sleep(Duration::from_millis(50)).await;
        }
        cancel.cancel();
    };
    let (launched, ()) = tokio::join!(launch, stop);
    assert!(launched.err().expect("given up").cancelled);
    assert!(place.containers().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker"]
async fn a_name_is_free_again_once_its_container_is_removed() {
    let place = Place::new("name").await;
    let body = || ContainerCreateBody {
        image: Some(image().to_owned()),
        ..ContainerCreateBody::default()
    };
    let name = format!("vllm-grid-{}", place.sweep);
    let mut first = Container::create(&place.docker, &name, body()).await.expect("created");
    let removal = async {
        sleep(Duration::from_secs(1)).await;
        first.stop_and_remove(0).await.expect("removed");
    };
    let (second, ()) = tokio::join!(Container::create(&place.docker, &name, body()), removal);
    second.expect("created, too").stop_and_remove(0).await.expect("removed");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker"]
async fn recovery_touches_only_what_a_dead_sweep_made() {
    let place = Place::new("recover").await;
    let folder = |name: &str| place.folder.path().join(name);
    let run = |name: &str, labels: &[String]| {
        let mut arguments = vec!["create", "--name", name];
        arguments.extend(labels.iter().flat_map(|label| ["--label", label.as_str()]));
        arguments.push(image());
        docker(&arguments)
    };
    let ours = |name: &str| {
        [
            format!("{}={}", label::SWEEP, place.sweep),
            format!("{}={}", label::FOLDER, folder(name).display()),
        ]
    };
    let name = |what: &str| format!("vllm-grid-{}-{what}", place.sweep);
    let dead = run(&name("dead"), &ours("dead"));
    let living = run(&name("living"), &ours("living"));
    let sibling = run(&name("sibling"), &[format!("{}x={}", label::SWEEP, place.sweep)]);
    let stranger = run(&name("stranger"), &["com.docker.compose.service=vllm".to_owned()]);

    let seen = cleanup::ours(&place.docker).await.expect("listed");
    let of = |id: &str| seen.iter().find(|it| it.id == id);
    assert!(of(&sibling).is_none() && of(&stranger).is_none(), "not ours");
    let found = of(&living).expect("it has our labels");
    assert_eq!((found.run_id.as_deref(), &found.holder), (None, &None), "an older version's");
    for _ in 0..2 {
        let leftover = of(&dead).expect("it has our labels");
        cleanup::remove(&place.docker, leftover).await.expect("any number of times");
    }
    let again = cleanup::ours(&place.docker).await.expect("listed");
    assert!(again.iter().all(|it| it.id != dead) && again.iter().any(|it| it.id == living));
    for id in [&living, &sibling, &stranger] {
        docker(&["inspect", id]);
        docker(&["rm", id]);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker"]
async fn a_daemon_that_goes_away_is_the_environment() {
    let place = Place::new("daemon").await;
    let socket = place.folder.path().join("docker.sock");
    let proxy = tokio::spawn(proxy(socket.clone()));
    while !socket.exists() {
        sleep(Duration::from_millis(10)).await;
    }
    let here = DaemonSettings {
        docker_host: Some(format!("unix://{}", socket.display())),
        patience: Some(Duration::from_millis(500)),
        ..DaemonSettings::default()
    };
    let docker = connect(&here).await.expect("through the proxy");
    let through = Place {
        docker,
        folder: tempfile::tempdir().expect("a folder"),
        sweep: place.sweep.clone(),
    };
    let mut engine = through.engine(&[], |_| {}).await;
    let mut launched = through.launch(&mut engine, &json!({})).await.expect("ready");
    proxy.abort();
    std::fs::remove_file(&socket).expect("removed");
    let failure = launched.check().await.expect_err("out of sight");
    assert_eq!(failure.class, FailureClass::Environment, "{failure:?}");
    let left = launched.stop().await.expect_err("it cannot be stopped");
    assert!(left.message.contains("vllm-grid recover"), "{}", left.message);
    let folder = through.folder.path().join("run");
    let mut removed = cleanup::ours(&place.docker).await.expect("listed");
    removed.retain(|it| it.folder == folder);
    for it in &removed {
        cleanup::remove(&place.docker, it).await.expect("removed");
    }
    assert_eq!(removed.len(), 1);
}

/// Forwards to the real daemon until it is aborted, and cuts everything then.
async fn proxy(socket: PathBuf) {
    let real = DaemonSettings::of_environment().socket().expect("a local daemon");
    let real = real.trim_start_matches("unix://").to_owned();
    let listener = tokio::net::UnixListener::bind(socket).expect("bound");
    let mut open = tokio::task::JoinSet::new();
    loop {
        let Ok((mut near, _)) = listener.accept().await else { return };
        let real = real.clone();
        open.spawn(async move {
            if let Ok(mut far) = tokio::net::UnixStream::connect(real).await {
                let _cut = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker"]
async fn caches_are_added_labelled_and_kept() {
    let place = Place::new("caches").await;
    let mut engine = place.engine(&[], |spec| spec.caches = true).await;
    let launched = place.launch(&mut engine, &json!({})).await.expect("ready");
    let id = place.only();
    let seen: Value = serde_json::from_str(&docker(&["inspect", &id])).expect("JSON");
    let mounts: HashMap<&str, &str> = seen[0]["Mounts"]
        .as_array()
        .expect("mounts")
        .iter()
        .filter_map(|mount| Some((mount["Destination"].as_str()?, mount["Name"].as_str()?)))
        .collect();
    assert_eq!(mounts["/root/.cache/huggingface"], "vllm-grid-huggingface");
    assert!(mounts["/root/.cache/vllm"].starts_with("vllm-grid-vllm-"));
    launched.stop().await.expect("stopped");
    let kept = caches::list(&place.docker).await.expect("volumes");
    assert!(kept.iter().any(|name| name == mounts["/root/.cache/vllm"]), "{kept:?}");

    let corrupt = LaunchFailure::new(FailureClass::CompileCache, "corrupt");
    let configuration = Configuration::default();
    engine.clean_up(&configuration, &corrupt, &Emit::nowhere()).await;
    let kept = caches::list(&place.docker).await.expect("volumes");
    assert!(kept.iter().any(|name| name == "vllm-grid-huggingface"));
    assert!(!kept.iter().any(|name| name == mounts["/root/.cache/vllm"]), "{kept:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker"]
async fn the_service_s_own_key_is_used_and_never_logged() {
    let place = Place::new("key").await;
    let mut engine = place
        .engine(&[], |spec| {
            spec.service
                .environment
                .insert("VLLM_API_KEY".to_owned(), "sk-of-the-service".to_owned());
        })
        .await;
    let launched =
        place.launch(&mut engine, &json!({})).await.expect("ready, so the key was right");
    assert!(launched.server().endpoint.api_key.is_some());
    launched.stop().await.expect("stopped");

    let mut engine = place
        .engine(&["--api-key", "right"], |spec| spec.api_key = Some(ApiKey::new("wrong")))
        .await;
    let failure = place.launch(&mut engine, &json!({})).await.err().expect("the key is wrong");
    assert_eq!(failure.class, FailureClass::NotServing);
    let printed = format!("{failure:?}");
    assert!(!printed.contains("wrong\"") && printed.contains("API key"), "{printed}");
    assert!(place.containers().is_empty());
}

#[test]
fn a_key_in_a_mounted_config_file_is_the_services_own() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("c.yaml"), "api-key: sk-0123456789\n").expect("written");
    let mount = crate::engine::compose::Mount {
        kind: crate::engine::compose::MountKind::Bind,
        source: Some(folder.path().display().to_string()),
        target: "/etc/vllm".to_owned(),
        read_only: true,
        create_host_path: false,
        ..Mount::default()
    };
    let command = ["vllm", "serve", "m", "--config", "/etc/vllm/c.yaml"].map(str::to_owned);
    let service =
        ServiceSpec { mounts: vec![mount], ..ServiceSpec::of_image("i", command.to_vec()) };
    assert_eq!(service_key(&service).as_ref().map(ApiKey::reveal), Some("sk-0123456789"));
    let secrets = Secrets::default();
    view_of(&service, None).reveal_config_to(&secrets);
    assert_eq!(secrets.mask("a sk-0123456789 b"), "a *** b");
}
