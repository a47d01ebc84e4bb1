//! The start of production and its proof: tried for minutes, and again where it ends before it
//! is proven. What serves in place of what was stopped is found or made. What is owed, and
//! when it is restored, is the guard's.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::companions::resume;
use super::{GuardError, MAX_PAUSE, MIN_PAUSE, Note, down_notice, may_pass};
use crate::engine::production::{Production, ProductionError};
use crate::event::{Emit, NoticeKind};
use crate::history::production::{Companion, Down, ProductionFacts, ProductionStep};

/// Longest that production may take to answer a completion: cold boots of 10
/// minutes are usual, graph capture can take 30.
pub(super) const PROOF: Duration = Duration::from_mins(45);
/// The same from when a stop is asked for: it is started and journalled so before, and a second
/// signal ends the process at once.
const PROOF_WHEN_STOPPED: Duration = Duration::from_mins(10);

/// How often it is said that production is still down.
const REMINDER: Duration = Duration::from_mins(1);

/// Starts what was stopped, then proves it. Any number of times: what runs is only proven.
/// What ends before it is proven, as where memory is not free yet or where it was about to
/// stop when it was looked at, is started again as long as that may help.
pub(super) async fn restore<E>(
    production: &dyn Production,
    stopped: &Down,
    before: Option<&ProductionFacts>,
    note: Note<'_, E>,
    emit: &Emit,
    stop: &CancellationToken,
) -> Result<(), GuardError<E>> {
    // A journal that cannot be written must not keep production down: the error is returned after.
    let mut unwritten = None;
    let mut noted = |step| {
        if let Err(error) = note(step) {
            unwritten.get_or_insert(error);
        }
    };
    let paused = before.map_or(&[][..], |before| &before.paused);
    let mut stopped = stopped.clone();
    let (mut until, mut pause) = (Instant::now() + production.patience(), MIN_PAUSE);
    let (mut prove_until, mut has_ended) = (None, false);
    loop {
        let (facts, made) = start(production, &stopped, until, emit).await?;
        emit.emit(NoticeKind::ProductionUp { id: stopped.id.clone() });
        noted(started(&stopped, before, &facts, made, emit));
        stopped = Down { id: facts.id, name: facts.name };
        let prove_until = prove_until.get_or_insert_with(|| Instant::now() + PROOF);
        let proven = prove(production, &stopped.id, prove_until, stop).await;
        let runs = production.look(&stopped.id).await.map(|it| it.is_some_and(|it| it.running));
        let why = match (proven, runs) {
            // A daemon that does not answer says nothing about what answered.
            (Ok(()), Ok(true) | Err(_)) => break,
            (Err(why), Ok(true)) => {
                let why = match Companion::names(paused) {
                    names if names.is_empty() => why,
                    names => format!("{why}; until it is, {names} stays stopped"),
                };
                return Err(GuardError::NotProven { name: stopped.name, why });
            }
            (Err(why), Err(unseen)) => {
                let why = format!("{why}; whether it runs is not known: {unseen}");
                return Err(GuardError::NotProven { name: stopped.name, why });
            }
            (Ok(()), Ok(false)) => "it answered, and ended".to_owned(),
            (Err(why), Ok(false)) => why,
        };
        noted(ProductionStep::Stopped { id: stopped.id.clone() });
        emit.emit(down_notice(&stopped));
        if !std::mem::replace(&mut has_ended, true) {
            until = Instant::now() + production.patience();
        }
        let left = until.saturating_duration_since(Instant::now());
        if left < pause {
            let why = format!(
                "it ends each time that it is started: {why}; `docker logs {}` shows more",
                stopped.name
            );
            return Err(GuardError::Down { down: stopped, why });
        }
        emit.warn(format!(
            "PRODUCTION IS DOWN: {} was started and does not run any more: {why}; its start is tried \
             for {} s more",
            stopped.who(),
            left.as_secs()
        ));
        sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
    // Before the step that ends what is owed: after a death here `recover` does it.
    resume(production, paused, emit).await?;
    noted(ProductionStep::Proven { id: stopped.id });
    unwritten.map_or(Ok(()), |error| Err(GuardError::Journal(error)))
}

/// Proves it until `until`, which a stop that is asked for meanwhile brings nearer.
async fn prove(
    production: &dyn Production,
    id: &str,
    until: &mut Instant,
    stop: &CancellationToken,
) -> Result<(), String> {
    let nearer = |until: Instant| until.min(Instant::now() + PROOF_WHEN_STOPPED);
    if stop.is_cancelled() {
        *until = nearer(*until);
    }
    let mut proof = production.prove(id, until.saturating_duration_since(Instant::now()));
    tokio::select! {
        biased;
        proven = &mut proof => return proven,
        () = stop.cancelled() => *until = nearer(*until),
    }
    let minutes = PROOF_WHEN_STOPPED.as_secs() / 60;
    let too_late =
        |_| Err(format!("no completion within {minutes} min after a stop was asked for"));
    timeout_at(*until, proof).await.unwrap_or_else(too_late)
}

/// The step of a start: of what was stopped, or of what was made in its place.
fn started(
    stopped: &Down,
    before: Option<&ProductionFacts>,
    facts: &ProductionFacts,
    made: bool,
    emit: &Emit,
) -> ProductionStep {
    if facts.id == stopped.id {
        return ProductionStep::StartedNotProven { id: facts.id.clone() };
    }
    let step = in_place_of(stopped, before, facts, made);
    emit.warn(step.replaced().map_or_else(String::new, |it| it.to_string()));
    step
}

/// The step of a container that is there in place of what was stopped; `made` by us.
pub(super) fn in_place_of(
    stopped: &Down,
    before: Option<&ProductionFacts>,
    now: &ProductionFacts,
    made: bool,
) -> ProductionStep {
    let (removed, id) = (stopped.id.clone(), now.id.clone());
    let differences = before.map_or_else(Vec::new, |before| before.differences(now));
    if made {
        ProductionStep::MadeAgain { removed, id, differences }
    } else {
        ProductionStep::Replaced { removed, id, differences }
    }
}

/// Starts what was stopped: at once, and again with pauses until `until` as long as that may
/// help. Whether a stop was asked for meanwhile does not matter here: production comes first.
async fn start<E>(
    production: &dyn Production,
    stopped: &Down,
    until: Instant,
    emit: &Emit,
) -> Result<(ProductionFacts, bool), GuardError<E>> {
    let mut pause = MIN_PAUSE;
    let mut reminded: Option<Instant> = None;
    loop {
        let error = match start_once(production, stopped).await {
            Ok(started) => return Ok(started),
            Err(error) => error,
        };
        let left = until.saturating_duration_since(Instant::now());
        if !may_pass(&error) || left < pause {
            return Err(GuardError::Down { down: stopped.clone(), why: error.to_string() });
        }
        if reminded.is_none_or(|at| at.elapsed() >= REMINDER) {
            reminded = Some(Instant::now());
            emit.warn(format!(
                "PRODUCTION IS DOWN: {} is not started: {error}; its start is tried for {} s more",
                stopped.who(),
                left.as_secs()
            ));
        }
        sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// The container that runs in the end: the one of this id, or what serves in its place where
/// somebody removed it; and whether it was made for that.
async fn start_once(
    production: &dyn Production,
    stopped: &Down,
) -> Result<(ProductionFacts, bool), ProductionError> {
    let mut facts = production.look(&stopped.id).await?;
    if facts.is_none() {
        facts = production.find().await?;
    }
    if facts.is_none() {
        // Made by other means than the one that was stopped, it still has its name, and another
        // one beside it would be a second production.
        let named = production.look(&stopped.name).await?;
        facts = named.filter(|it| it.name == stopped.name);
    }
    match facts {
        Some(facts) if facts.running => Ok((facts, false)),
        Some(facts) => production.start(&facts.id).await.map(|()| (facts, false)),
        None => production.make_again().await.map(|facts| (facts, true)),
    }
}
