use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use bollard::models::{ContainerCreateBody, ContainerInspectResponse};
use bollard::query_parameters::InspectContainerOptions;

use super::super::container::{self, Container};
use super::super::scripted::{Fate, Scripted, ready_after};
use super::*;
use crate::engine::production::{Production as _, ProductionError};

/// What a daemon that is not there for a while may do.
const OUTAGES_OF: &[Fate] = &[
    Fate::Reset,
    Fate::AnswerLost,
    Fate::Stalled,
    Fate::Refused(503, ""),
    Fate::Refused(502, "bad gateway"),
    Fate::Refused(500, "server error"),
    Fate::Refused(500, "dial unix /run/containerd.sock: no such file or directory"),
];

async fn inspect(daemon: &Daemon) -> Result<ContainerInspectResponse, Error> {
    daemon.ask(|| daemon.inspect_container("a", None::<InspectContainerOptions>)).await
}

fn until(end: Duration, fate: Fate) -> impl Fn(Duration, &str) -> Fate + Send + Sync {
    move |at, _| if at < end { fate } else { Fate::Answered }
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_up_to_two_minutes_is_waited_for() {
    for fate in OUTAGES_OF {
        for seconds in [0.5, 20.0, 85.0] {
            let end = Duration::from_secs_f64(seconds);
            let scripted = Scripted::new(true, until(end, *fate));
            let begun = Instant::now();
            let answer = inspect(&scripted.daemon).await;
            assert!(answer.is_ok(), "{fate:?} for {seconds} s: {answer:?}");
            let late = begun.elapsed().saturating_sub(end);
            assert!(late < QUESTION + MAX_PAUSE + PING, "{fate:?} for {seconds} s: {late:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_daemon_is_given_up_once_for_all_and_found_again() {
    for fate in OUTAGES_OF {
        let end = Duration::from_mins(10);
        let scripted = Scripted::new(true, until(end, *fate));
        let begun = Instant::now();
        let error = inspect(&scripted.daemon).await.expect_err("it is silent");
        let waited = begun.elapsed();
        let longest = PATIENCE + QUESTION + MAX_PAUSE;
        assert!((PATIENCE / 2..longest).contains(&waited), "{fate:?}: {waited:?}");
        let words = scripted.daemon.words(&error);
        for part in
            ["the Docker daemon at unix://", "does not answer: ", "; start Docker, or look at"]
        {
            assert!(words.contains(part), "{fate:?}: {words}");
        }
        assert!(!words.contains("hyper") && !words.contains("client"), "{words}");
        // Whoever asks next, by whatever call, needs not wait so long again.
        let begun = Instant::now();
        container::remove(&scripted.daemon, "a").await.expect_err("it is silent");
        container::stop(&scripted.daemon, "a", 60).await.expect_err("it is silent");
        assert!(begun.elapsed() < PING * 4, "{fate:?}: {:?}", begun.elapsed());
        sleep(end).await;
        inspect(&scripted.daemon).await.expect("it is there again");
        assert_eq!(scripted.daemon.silence().since, None);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_daemon_explains_is_its_answer() {
    for (code, message) in [
        (404, "No such container: a"),
        (409, "removal of container a is already in progress"),
        (500, "driver failed programming external connectivity: port is already allocated"),
        (500, "OCI runtime create failed: nvidia-container-cli: timeout"),
        (500, "could not select device driver \"nvidia\""),
    ] {
        let explained = message.contains("cli: timeout");
        let scripted = Scripted::new(true, move |_, _| Fate::Refused(code, message));
        let error = inspect(&scripted.daemon).await.expect_err("refused");
        let words = scripted.daemon.words(&error);
        if explained {
            // A time-out may pass, whoever reports it.
            assert!(words.contains("does not answer"), "{words}");
        } else {
            assert_eq!(scripted.known.lock().expect("no panic").requests, 1, "{message}");
            assert_eq!(words, message);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_always_fails_ends_where_others_are_answered() {
    let script = |_: Duration, request: &str| {
        if request.contains("/a/json") {
            Fate::Refused(500, "server error")
        } else {
            Fate::Answered
        }
    };
    let scripted = Scripted::new(true, script);
    let daemon = scripted.daemon.clone();
    let other = tokio::spawn(async move {
        loop {
            daemon.ask(|| daemon.ping()).await.expect("answered");
            sleep(Duration::from_secs(1)).await;
        }
    });
    let begun = Instant::now();
    inspect(&scripted.daemon).await.expect_err("refused for ever");
    assert!(begun.elapsed() <= PATIENCE + MAX_PAUSE, "{:?}", begun.elapsed());
    other.abort();
}

/// The daemon works on a request though nobody waits for its answer any more.
#[tokio::test(start_paused = true)]
async fn a_container_that_is_made_after_we_looked_for_it_is_found() {
    // The first answer is lost; so long the daemon does not show what it makes.
    for hidden in [1, 3] {
        for slow in [false, true] {
            let (asked, looked) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let scripted = Scripted::new(false, move |_, request| {
                if request.ends_with("/create") && asked.fetch_add(1, Ordering::SeqCst) == 0 {
                    return if slow { Fate::StalledAfter } else { Fate::AnswerLost };
                }
                let looks = request == "GET /containers/n/json";
                if looks && looked.fetch_add(1, Ordering::SeqCst) < hidden {
                    return Fate::Refused(404, "No such container: n");
                }
                Fate::Answered
            });
            let labels = HashMap::from([("vllm-grid.sweep".to_owned(), "s".to_owned())]);
            let body =
                ContainerCreateBody { labels: Some(labels), ..ContainerCreateBody::default() };
            let made = Container::create(&scripted.daemon, "n", body).await;
            let mut made = made.unwrap_or_else(|failure| panic!("{hidden} {slow}: {failure:?}"));
            assert_eq!(made.id(), "a");
            made.forget();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_whose_creation_was_not_answered_is_made_once() {
    for fate in [Fate::AnswerLost, Fate::Reset, Fate::Refused(503, "")] {
        let asked = AtomicUsize::new(0);
        let scripted = Scripted::new(false, move |_, request| {
            let is_first =
                request.ends_with("/create") && asked.fetch_add(1, Ordering::SeqCst) == 0;
            if is_first { fate } else { Fate::Answered }
        });
        let labels = HashMap::from([("vllm-grid.sweep".to_owned(), "s".to_owned())]);
        let body = ContainerCreateBody { labels: Some(labels), ..ContainerCreateBody::default() };
        let mut made = Container::create(&scripted.daemon, "vllm-grid-s-1-a-0", body.clone())
            .await
            .unwrap_or_else(|failure| panic!("{fate:?}: {failure:?}"));
        assert_eq!(made.id(), "a");
        assert_eq!(scripted.actions(), "create", "{fate:?}: not a second one");
        // One that somebody else made under that name is not ours.
        let scripted = Scripted::new(false, move |at, request| {
            let is_first = request.ends_with("/create") && at.is_zero();
            if is_first { Fate::AnswerLost } else { Fate::Answered }
        });
        let other = ContainerCreateBody { labels: None, ..body.clone() };
        let theirs = Container::create(&scripted.daemon, "n", other).await.expect("made");
        let refused = Container::create(&scripted.daemon, "n", body).await;
        assert!(refused.is_err(), "the name is taken");
        made.forget();
        let mut theirs = theirs;
        theirs.forget();
    }
}

#[tokio::test(start_paused = true)]
async fn a_port_that_somebody_took_is_named_with_who_has_it() {
    for (message, by) in [
        (
            "driver failed programming external connectivity on endpoint prod (ab12): \
             Bind for 127.0.0.1:8000 failed: port is already allocated",
            "its port 8000 is taken by the container squatter",
        ),
        (
            "driver failed programming external connectivity on endpoint prod: Error starting \
             userland proxy: listen tcp4 127.0.0.1:9000: bind: address already in use",
            "its port 9000 is taken by another process of this host",
        ),
        (
            "failed to set up container networking: failed to bind host port \
             127.0.0.1:8000/tcp: address already in use",
            "its port 8000 is taken by the container squatter",
        ),
    ] {
        let scripted = Scripted::new(false, move |_, request| {
            if request.ends_with("/start") { Fate::Refused(500, message) } else { Fate::Answered }
        });
        let production = scripted.production(ready_after(Duration::ZERO), None);
        let error = production.start("a").await.expect_err("the port is taken");
        assert!(matches!(error, ProductionError::PortTaken { .. }), "{error:?}");
        assert!(error.to_string().contains(by), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_during_the_proof_is_not_a_lack_of_proof() {
    for fate in [Fate::Reset, Fate::Stalled, Fate::Refused(503, "")] {
        // Longer than the patience with one question.
        for (from, to) in [(0, 30), (2, 150)] {
            let (from, to) = (Duration::from_secs(from), Duration::from_secs(to));
            let scripted =
                Scripted::new(
                    true,
                    move |at, _| {
                        if (from..to).contains(&at) { fate } else { Fate::Answered }
                    },
                );
            let production = scripted.production(ready_after(Duration::from_secs(160)), None);
            let proven = production.prove("a", Duration::from_mins(45)).await;
            assert_eq!(proven, Ok(()), "{fate:?} from {from:?} to {to:?}");
        }
    }
    // What ends or is removed is still seen.
    let scripted = Scripted::new(false, |_, _| Fate::Answered);
    let production = scripted.production(ready_after(Duration::from_mins(17)), None);
    let why = production.prove("a", Duration::from_mins(45)).await.expect_err("it ended");
    assert_eq!(why, "it ended with code 0");
    let why = production.prove("z", Duration::from_mins(45)).await.expect_err("removed");
    assert_eq!(why, "it was removed");
}

/// Between two ends it looks like one that runs, and its server is never ready.
#[tokio::test(start_paused = true)]
async fn production_that_its_policy_restarts_again_and_again_is_not_waited_for() {
    let scripted = Scripted::new(true, |_, _| Fate::Answered);
    scripted.known.lock().expect("no panic").restarts = 40;
    let production = scripted.production(ready_after(Duration::from_mins(1)), None);
    let proven = production.prove("a", Duration::from_mins(45)).await;
    assert_eq!(proven, Ok(()), "restarts of another day say nothing");
    scripted.known.lock().expect("no panic").crashes = true;
    let production = scripted.production(ready_after(Duration::from_hours(9)), None);
    let begun = Instant::now();
    let why = production.prove("a", Duration::from_mins(45)).await.expect_err("it crashes");
    assert!(why.starts_with("it restarts again and again (4"), "{why}");
    assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());
}

/// A command asks many questions, over connections of its own: it waits for one of them.
#[tokio::test(start_paused = true)]
async fn a_daemon_that_stalls_is_waited_for_once_in_all_questions() {
    let scripted = Scripted::new(true, |_, _| Fate::Stalled);
    let begun = Instant::now();
    for _ in 0..20 {
        inspect(&scripted.daemon).await.expect_err("it stalls");
        let error = scripted.daemon.clone().negotiated().await.expect_err("it stalls");
        assert!(scripted.daemon.words(&error).contains("no answer in time"), "{error}");
    }
    assert!(begun.elapsed() <= PATIENCE + QUESTION, "{:?}", begun.elapsed());
    // Whoever tries for minutes finds it again.
    sleep(GIVEN_UP).await;
    let asked = scripted.known.lock().expect("no panic").requests;
    inspect(&scripted.daemon).await.expect_err("it stalls");
    assert!(scripted.known.lock().expect("no panic").requests > asked, "it is asked again");
}

/// What this process itself is short of is no outage: nobody was asked.
#[tokio::test(start_paused = true)]
async fn our_own_limit_is_named_and_not_waited_for_as_a_daemon_is() {
    let scripted = Scripted::new(true, |_, _| Fate::Answered);
    let daemon = &scripted.daemon;
    let full = || Error::IOError { err: rustix::io::Errno::MFILE.into() };
    let begun = Instant::now();
    let error = daemon.ask(|| async { Err::<(), _>(full()) }).await.expect_err("full");
    assert!(begun.elapsed() <= SHORT, "{:?}", begun.elapsed());
    let words = daemon.words(&error);
    assert!(words.contains(" could not be asked: ") && words.contains("`ulimit -n`"), "{words}");
    assert_eq!(daemon.silence().since, None, "it says nothing of the daemon");
    // What lets go of something in time is waited for.
    let tries = AtomicUsize::new(0);
    let ask = || {
        let is_full = tries.fetch_add(1, Ordering::SeqCst) < 3;
        async move { if is_full { Err(full()) } else { Ok(()) } }
    };
    daemon.ask(ask).await.expect("there is room again");
}
