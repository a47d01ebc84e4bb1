//! In virtual time: nothing here waits.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::sleep;

use super::*;
use crate::event::{Notice, NoticeKind};

const SECOND: Duration = Duration::from_secs(1);

fn server() -> Server {
    Server {
        endpoint: Endpoint::new("http://127.0.0.1:1".to_owned(), None),
        model: "m".to_owned(),
        choice: crate::server::ModelChoice::Clear,
        max_model_len: None,
        version: None,
        simulated: true,
    }
}

/// A boot by the clock: what is logged when, when `/health` turns 200, when it ends.
struct Script {
    log: Vec<(u64, &'static str)>,
    healthy_at: Option<u64>,
    unhealthy_status: Option<u16>,
    ends_at: Option<(u64, Exit)>,
    proof: Result<(), String>,
    proof_seconds: u64,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            log: vec![],
            healthy_at: None,
            unhealthy_status: None,
            ends_at: None,
            proof: Ok(()),
            proof_seconds: 0,
        }
    }
}

struct Scripted {
    started: Instant,
    script: Arc<Script>,
    polls: AtomicU32,
}

#[async_trait]
impl Candidate for Scripted {
    async fn health(&self) -> Option<u16> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        match self.script.healthy_at {
            Some(at) if self.started.elapsed() >= SECOND * at as u32 => Some(200),
            _ => self.script.unhealthy_status,
        }
    }

    async fn prove(&self) -> Result<Server, String> {
        sleep(SECOND * self.script.proof_seconds as u32).await;
        self.script.proof.clone().map(|()| server())
    }
}

struct Outcome {
    result: Result<Server, NotReady>,
    seconds: f64,
    phases: Vec<String>,
    polls: u32,
}

async fn play(script: Script, cancel_at: Option<u64>) -> Outcome {
    let started = Instant::now();
    let script = Arc::new(script);
    let candidate = Scripted { started, script: script.clone(), polls: AtomicU32::new(0) };
    let phases = Arc::new(Mutex::new(Vec::new()));
    let seen = phases.clone();
    let emit = Emit::to(move |notice| {
        if let Notice { kind: NoticeKind::Phase(Phase::Booting(phase)), .. } = notice {
            seen.lock().expect("no test panics with it").push(phase.as_str().to_owned());
        }
    });
    let cancel = CancellationToken::new();
    if let Some(at) = cancel_at {
        let cancel = cancel.clone();
        tokio::spawn(async move {
            sleep(SECOND * at as u32).await;
            cancel.cancel();
        });
    }
    let ends = script.ends_at;
    let mut ended = Box::pin(async move {
        match ends {
            Some((at, exit)) => {
                sleep(SECOND * at as u32).await;
                exit
            }
            None => std::future::pending().await,
        }
    });
    let mut given = 0;
    let lines = script.clone();
    let mut new_log = move || {
        let due =
            lines.log.iter().filter(|(at, _)| started.elapsed() >= SECOND * *at as u32).count();
        let new: Vec<&str> = lines.log[given..due].iter().map(|(_, line)| *line).collect();
        given = due;
        new.join("\n")
    };
    let result = wait_until_ready(
        ended.as_mut(),
        &mut new_log,
        &candidate,
        &Limits::default(),
        &emit,
        &cancel,
    )
    .await;
    let phases = phases.lock().expect("no test panics with it").clone();
    Outcome {
        result,
        seconds: started.elapsed().as_secs_f64(),
        phases,
        polls: candidate.polls.load(Ordering::Relaxed),
    }
}

#[tokio::test(start_paused = true)]
async fn a_boot_goes_through_its_phases_and_ends_ready() {
    let outcome = play(
        Script {
            log: vec![
                (1, "INFO version 0.32.0"),
                (5, "INFO Starting to load model x"),
                (60, "INFO Loading weights took 55.0 seconds"),
                (200, "INFO Capturing CUDA graphs"),
                (400, "INFO:     Application startup complete."),
            ],
            healthy_at: Some(400),
            ..Script::default()
        },
        None,
    )
    .await;
    assert!(outcome.result.is_ok(), "{:?}", outcome.result);
    assert!((400.0..401.0).contains(&outcome.seconds), "{}", outcome.seconds);
    assert_eq!(
        outcome.phases,
        [
            "starting",
            "loading weights",
            "compiling and capturing graphs",
            "waiting for the first completion"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn an_exit_ends_the_wait_at_once() {
    let exit = Exit { code: Some(2), oom_killed: false };
    let outcome = play(Script { ends_at: Some((7, exit)), ..Script::default() }, None).await;
    assert_eq!(outcome.result.expect_err("it ended"), NotReady::Ended(exit));
    assert!((7.0..7.01).contains(&outcome.seconds), "an event, not a poll: {}", outcome.seconds);
}

#[tokio::test(start_paused = true)]
async fn graph_capture_may_be_silent_for_long_and_starting_may_not() {
    let capture = |healthy_at| Script {
        log: vec![(5, "Loading weights took 3 s"), (10, "Capturing CUDA graphs")],
        healthy_at,
        ..Script::default()
    };
    assert!(play(capture(Some(29 * 60)), None).await.result.is_ok());

    let outcome = play(capture(None), None).await;
    assert_eq!(
        outcome.result.expect_err("silent"),
        NotReady::Silent { phase: BootPhase::Compiling, allowed: SECOND * 1800 }
    );
    assert!((1810.0..1811.0).contains(&outcome.seconds), "{}", outcome.seconds);

    let outcome = play(Script { healthy_at: Some(29 * 60), ..Script::default() }, None).await;
    assert!(matches!(
        outcome.result.expect_err("silent"),
        NotReady::Silent { phase: BootPhase::Starting, .. }
    ));
    assert!((600.0..601.0).contains(&outcome.seconds), "{}", outcome.seconds);
}

#[tokio::test(start_paused = true)]
async fn our_own_polls_in_its_log_are_no_sign_of_life() {
    let mut log = vec![(1, "INFO:     Application startup complete.")];
    log.extend(
        (2..3000)
            .map(|at| (at, "INFO: 127.0.0.1:1 - \"GET /health HTTP/1.1\" 503 Service Unavailable")),
    );
    let outcome =
        play(Script { log, unhealthy_status: Some(503), ..Script::default() }, None).await;
    assert!(matches!(
        outcome.result.expect_err("503 for ever"),
        NotReady::Silent { phase: BootPhase::Serving, .. }
    ));
    assert!((121.0..122.0).contains(&outcome.seconds), "{}", outcome.seconds);
}

#[tokio::test(start_paused = true)]
async fn a_talkative_boot_that_never_ends_meets_the_hard_cap() {
    let log = (0..80).map(|at| (at * 60, "Loading safetensors checkpoint shards")).collect();
    let outcome = play(Script { log, ..Script::default() }, None).await;
    assert_eq!(
        outcome.result.expect_err("for ever"),
        NotReady::TooLong { phase: BootPhase::Loading, cap: SECOND * 3600 }
    );
    assert!((3600.0..3601.0).contains(&outcome.seconds), "{}", outcome.seconds);
}

#[tokio::test(start_paused = true)]
async fn health_alone_is_not_ready() {
    let refused = Script {
        healthy_at: Some(3),
        proof: Err("401 from /v1/models".to_owned()),
        ..Script::default()
    };
    assert_eq!(
        play(refused, None).await.result.expect_err("no key"),
        NotReady::NotServing("401 from /v1/models".to_owned())
    );
    let frozen = Script { healthy_at: Some(3), proof_seconds: 100_000, ..Script::default() };
    let outcome = play(frozen, None).await;
    assert!(matches!(outcome.result.expect_err("frozen"), NotReady::NotServing(_)));
    assert!((183.0..184.0).contains(&outcome.seconds), "{}", outcome.seconds);

    let dies = Script {
        healthy_at: Some(3),
        proof_seconds: 100_000,
        ends_at: Some((9, Exit { code: Some(0), oom_killed: false })),
        ..Script::default()
    };
    assert!(matches!(play(dies, None).await.result.expect_err("died"), NotReady::Ended(_)));
}

#[tokio::test(start_paused = true)]
async fn polls_are_quick_at_first_and_seldom_later() {
    let quick = play(Script { healthy_at: Some(0), ..Script::default() }, None).await;
    assert_eq!(quick.polls, 1);
    let long = play(Script { healthy_at: Some(500), ..Script::default() }, None).await;
    assert!((900..1200).contains(&long.polls), "{}", long.polls);
}

#[tokio::test(start_paused = true)]
async fn cancelling_ends_the_wait() {
    let outcome = play(Script::default(), Some(4)).await;
    assert_eq!(outcome.result.expect_err("cancelled"), NotReady::Cancelled);
    assert!((4.0..4.01).contains(&outcome.seconds), "{}", outcome.seconds);
}

/// A server that answers everything with one list of models.
fn offering(list: &'static str) -> Endpoint {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let base_url = format!("http://{}", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let length = list.len();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
            let _ = write!(stream, "{head}content-length: {length}\r\n\r\n{list}");
        }
    });
    Endpoint::new(base_url, None)
}

#[tokio::test]
async fn the_model_that_is_expected_must_be_offered() {
    let wait = async |list: &'static str, names: &[&str]| {
        let mut candidate = over_http()(offering(list));
        candidate.expect_one_of(names.iter().map(|it| (*it).to_owned()).collect());
        let mut ended = Box::pin(std::future::pending());
        let (limits, emit) = (Limits::default(), Emit::to(|_| {}));
        let cancel = CancellationToken::new();
        let mut no_log = String::new;
        let ready = wait_until_ready(
            ended.as_mut(),
            &mut no_log,
            candidate.as_ref(),
            &limits,
            &emit,
            &cancel,
        );
        let not_ready = ready.await.expect_err("it completes nothing");
        LaunchFailure::of_not_ready("", &not_ready)
    };
    let list =
        r#"{"data":[{"id":"base","root":"/m"},{"id":"adapter","root":"/l","parent":"base"}]}"#;
    let other = wait(list, &["asked"]).await;
    assert_eq!(other.class, FailureClass::NotServing);
    let says = "does not serve the model `asked`; it serves `base`, `adapter`";
    assert!(other.message.ends_with(says), "{}", other.message);
    // What is offered goes on to the completion; so does what nobody knows the name of.
    for names in [&["base"][..], &["adapter"], &["asked", "base"], &[]] {
        let offered = wait(list, names).await.message;
        assert!(offered.contains("does not serve completions"), "{names:?}: {offered}");
    }
}
