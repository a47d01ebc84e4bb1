//! Hangs: what never comes, with limits of a part of a second.

use std::time::Duration;

use vllm_grid::client;
use vllm_grid::engine::readiness;

use super::{Fault, NOTHING, short};

fn boot() -> readiness::Limits {
    let short = Duration::from_millis(700);
    let proof = Duration::from_secs(5);
    readiness::Limits {
        starting: short,
        loading: short,
        compiling: short,
        serving: short,
        hard_cap: Duration::from_secs(30),
        proof,
    }
}

async fn happens(name: &str, fault: Fault) {
    fault.happens_within(name, short(), boot()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_with_good_health() {
    let faults: &[&str] = &["bad@1 fail=no_progress"];
    let fault = Fault { faults, classes: &["no_progress"], launches: 2, ..NOTHING };
    happens("a_freeze_with_good_health", fault).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_each_time() {
    let classes: &[&str] = &["no_progress", "no_progress"];
    let faults: &[&str] = &["bad fail=no_progress"];
    let fault = Fault { faults, classes, launches: 2, is_ranked: false, ..NOTHING };
    happens("a_freeze_each_time", fault).await;
}

/// The engine is alive and works: each answer fails by itself, and no launch does.
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_fall_silent() {
    let fault = Fault { faults: &["bad silent-after=3"], is_ranked: false, ..NOTHING };
    let limits = client::Limits { silence: Duration::from_millis(300), ..short() };
    fault.happens_within("streams_that_fall_silent", limits, boot()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boot_that_never_ends() {
    let fault =
        Fault { faults: &["bad fail=timeout"], classes: &["timeout"], is_ranked: false, ..NOTHING };
    happens("a_boot_that_never_ends", fault).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_stalls() {
    let fault = Fault {
        faults: &["bad silent-boot boot-seconds=100000000"],
        classes: &["timeout"],
        is_ranked: false,
        ..NOTHING
    };
    happens("a_download_that_stalls", fault).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_gets_healthy() {
    let fault =
        Fault { faults: &["bad unhealthy"], classes: &["timeout"], is_ranked: false, ..NOTHING };
    happens("a_server_that_never_gets_healthy", fault).await;
}
