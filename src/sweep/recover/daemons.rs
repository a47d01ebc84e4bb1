//! Which daemons are asked for what dead runs left: this environment's, and those on which
//! runs worked. A daemon may have another socket now than when that was noted: it is known by
//! a container of the run. What cannot be asked is said.

use super::case::{Case, Cases};
use super::{Recovery, Scope};
use crate::engine::docker::cleanup;
use crate::engine::docker::owed::{self, Connection};
use crate::ownership::StateFolder;
use crate::ownership::debt::ProductionOwed;

/// A daemon that answers, and its socket.
pub(super) type Asked = (Connection, String);

/// Connects to the daemons, and adds their containers to the runs.
pub(super) async fn ask(
    state: &StateFolder,
    cases: &mut Cases,
    scope: Scope,
    recovery: &mut Recovery,
) -> Vec<Asked> {
    let mut asked = Vec::new();
    let here = owed::socket();
    let used = here.as_ref().is_ok_and(|socket| cases.used(socket, true));
    match &here {
        Ok(socket) => match owed::connect_to(socket).await {
            Ok(docker) => add(cases, &mut asked, (docker, socket.clone()), recovery).await,
            // It is connected to for longer below.
            Err(_) if used => {}
            Err(error) if scope.asks_labels => unasked(socket, &error.to_string(), recovery),
            Err(_) => {}
        },
        Err(error) if scope.asks_labels => recovery.problems.push(not_asked(&error.to_string())),
        Err(_) => {}
    }
    // With whether a run used it by its engine alone, which no note tells.
    let mut silent: Vec<(String, bool)> =
        here.into_iter().filter(|_| used && asked.is_empty()).map(|it| (it, true)).collect();
    for socket in cases.sockets() {
        let is_known = |known: &String| owed::is_same_socket(known, &socket);
        if asked.iter().any(|(_, known)| is_known(known))
            || silent.iter().any(|(known, _)| is_known(known))
        {
            continue;
        }
        match owed::connect_to(&socket).await {
            Ok(docker) => add(cases, &mut asked, (docker, socket), recovery).await,
            Err(_) => silent.push((socket, false)),
        }
    }
    for (socket, is_here) in silent {
        move_from(cases, &socket, &asked).await;
        if !cases.used(&socket, is_here) {
            continue;
        }
        match owed::connect_to_starting(&socket).await {
            Ok(docker) => add(cases, &mut asked, (docker, socket), recovery).await,
            Err(error) => recovery.problems.push(gone(state, cases, &socket, &error.to_string())),
        }
    }
    asked
}

async fn add(cases: &mut Cases, asked: &mut Vec<Asked>, new: Asked, recovery: &mut Recovery) {
    match cleanup::ours(&new.0).await {
        Ok(all) => {
            for seen in all {
                cases.container(new.0.clone(), &new.1, seen);
            }
            recovery.listed.push(new.1.clone());
        }
        Err(error) => recovery.problems.push(error),
    }
    asked.push(new);
}

/// What runs owe on a daemon whose socket does not answer, they owe on the one that shows
/// their production by its id, or a candidate of theirs.
async fn move_from(cases: &mut Cases, silent: &str, asked: &[Asked]) {
    for case in cases.asked_mut().filter(|case| case.owes_on(silent)) {
        for (docker, socket) in asked {
            if shows(docker, socket, case).await {
                case.move_debts(silent, socket);
                break;
            }
        }
    }
}

async fn shows(docker: &Connection, socket: &str, case: &Case) -> bool {
    if case.left_on(socket) {
        return true;
    }
    let Some((_, owed)) = case.production() else { return false };
    // A name may be another container's there.
    let by_id = ProductionOwed { id: owed.id.clone(), ..ProductionOwed::default() };
    matches!(owed::runs(docker, &by_id).await, Ok(Some(_)))
}

/// This environment's daemon does not answer, and no run that is known used it.
fn unasked(socket: &str, error: &str, recovery: &mut Recovery) {
    if owed::is_expected(socket) {
        recovery.problems.push(not_asked(error));
    } else {
        recovery.no_daemon = Some(format!("no Docker daemon was asked: {socket} is not there"));
    }
}

fn not_asked(error: &str) -> String {
    format!(
        "{error}: what dead runs left there, and what production they owe by the labels of their \
         containers, is not known; run `vllm-grid recover` again when it answers"
    )
}

/// A daemon on which runs worked does not answer.
fn gone(state: &StateFolder, cases: &Cases, socket: &str, error: &str) -> String {
    let notes = cases.asked().flat_map(|case| case.notes_on(state, socket));
    let notes: Vec<String> = notes.map(|note| note.display().to_string()).collect();
    if notes.is_empty() {
        return error.to_owned();
    }
    format!(
        "{error}. Where it has another socket now, set DOCKER_HOST to that one and run `vllm-grid \
         recover` again; where it is gone for good, remove {}",
        notes.join(", ")
    )
}
