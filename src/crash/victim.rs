//! A process of the campaign: begins, continues or recovers a sweep in a world, as the
//! commands do, until it is done or killed.

use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::point::{self, Plan};
use super::world::{Did, World, WorldEngine, WorldMeasure, WorldProduction};
use crate::bench::{NoRecords, RecordSink};
use crate::event::Emit;
use crate::grid::{Grid, GridFile, ReadOptions};
use crate::history::folder::Folder;
use crate::history::journal::{Entry, Journal};
use crate::history::record::Manifest;
use crate::history::replay::production_steps;
use crate::ownership::debt::{self, ProductionOwed};
use crate::ownership::{Holder, Ledger, Owed, Session, StateFolder, Uses};
use crate::report::export;
use crate::results::ranking;
use crate::secret::Secrets;
use crate::strategy::{self, Bar, Observation, ObservedRepeat, Remaining, Situation, Strategy};
use crate::sweep::clock::Clock;
use crate::sweep::context::SweepContext;
use crate::sweep::events::{Event, Events};
use crate::sweep::production;
use crate::sweep::resume;
use crate::sweep::run::Sweep;
use crate::sweep::run::owner::{Owner, steps_owed};

/// The variable that makes the test binary a victim.
const ORDER: &str = "VLLM_GRID_CRASH_VICTIM";

/// What a victim does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Action {
    Sweep,
    Resume,
    Recover,
}

#[derive(Serialize, Deserialize)]
struct Order {
    world: PathBuf,
    action: Action,
    plan: Plan,
}

/// Starts a victim and waits for its end.
pub(super) fn start(world: &World, action: Action, plan: Plan) -> ExitStatus {
    let order = Order { world: world.path().to_owned(), action, plan };
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command
        .args(["--exact", "crash::campaign::victim", "--ignored", "--nocapture"])
        .args(["--test-threads", "1"])
        .env(ORDER, serde_json::to_string(&order).expect("data"))
        .env("VLLM_GRID_STATE", world.state_folder())
        .env("VLLM_GRID_CLAIMS", world.state_folder())
        .env("TOKIO_WORKER_THREADS", "1")
        .env("RAYON_NUM_THREADS", "1")
        .env("POLARS_MAX_THREADS", "1")
        .current_dir(world.path())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::fs::File::create(world.path().join("stderr")).expect("a file"));
    command.status().expect("started")
}

/// Does what the variable orders, where it is there.
pub(super) fn obey() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let order: Order = serde_json::from_str(&order).expect("an order");
    let world = World::at(&order.world);
    world.did(&Did::Began(format!("{:?}", order.action)));
    point::arm(order.plan, |name| {
        World::at(&std::env::current_dir().expect("a folder")).did(&Did::Struck(name.to_owned()));
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let done = runtime.block_on(async {
        match order.action {
            Action::Sweep => Box::pin(sweep(&world)).await,
            Action::Resume => Box::pin(resume(&world)).await,
            Action::Recover => recover(&world).await,
        }
    });
    let result = done.map_err(|error| format!("{error}: {error:?}"));
    world.did(&Did::Ended { points: point::passed(), result });
    // The harness has nothing to say.
    std::process::exit(0);
}

type Done = Result<String, Box<dyn std::error::Error>>;

async fn sweep(world: &World) -> Done {
    let grid = GridFile::read(&world.grid(), &ReadOptions::default())?.without_service();
    let now = "2026-11-24T06:00:00Z".parse()?;
    let state = StateFolder::of_environment()?;
    let sweep = Sweep::begin(&grid, Some(&world.run()), now, &Secrets::default())?;
    let (_session, holder) = held(&state, sweep.folder())?;
    run(world, &grid, sweep, now, &Ledger::of_run(&state, "crash", &holder, &Uses::Nothing)).await
}

/// Holds the run in `folder`, and who does.
fn held(
    state: &StateFolder,
    folder: &Folder,
) -> Result<(Session, Holder), Box<dyn std::error::Error>> {
    let run_id = folder.manifest()?.run_id();
    let holder = Holder::this().in_state(state).of_run(&run_id, folder.path());
    Ok((Session::begin(state, &run_id, folder.path(), &holder)?, holder))
}

async fn resume(world: &World) -> Done {
    let folder = Folder::existing(&world.run())?;
    let grid = resume::check(&folder, &Secrets::default()).await?.grid;
    let state = StateFolder::of_environment()?;
    let (_session, holder) = held(&state, &folder)?;
    let sweep = Sweep::resume(folder.clone(), &Secrets::default())?.with_configurations(&grid);
    world.remove_candidates();
    let last = crate::history::journal::read(&folder.journal_path())?.last().map(|line| line.at);
    let last = last.unwrap_or("2026-11-24T06:00:00Z".parse()?);
    let now = last + jiff::SignedDuration::from_mins(10);
    run(world, &grid, sweep, now, &Ledger::of_run(&state, "crash", &holder, &Uses::Nothing)).await
}

async fn run(
    world: &World,
    grid: &Grid,
    sweep: Sweep,
    now: jiff::Timestamp,
    ledger: &Ledger,
) -> Done {
    // Candidates are owed before the first is launched.
    ledger.owe(Owed::Processes)?;
    let owner = Owner {
        ledger: Arc::new(ledger.clone()),
        production: Some(ProductionOwed { docker: "none".to_owned(), ..Default::default() }),
        // A look at the container tells whether what is owed runs.
        down: ledger.production().filter(|_| !world.state().running),
    };
    let mut sweep = sweep.owned_by(owner);
    let engine = Arc::new(WorldEngine(world.clone()));
    let nowhere = |_: &std::path::Path| Box::new(NoRecords) as Box<dyn RecordSink>;
    let log = world.clone();
    let events = Events::to(move |event| {
        if let Event::Written(line) = event {
            log.did(&Did::Acked(Box::new(line)));
        }
    });
    let context = SweepContext {
        measure: Arc::new(WorldMeasure(world.clone())),
        strategy: strategy(&sweep.record().manifest),
        production: Some(Box::new(WorldProduction(world.clone()))),
        clock: Clock::from(now),
        ..SweepContext::of(grid, engine, nowhere).with_events(events)
    };
    let ending = sweep.run(&context).await;
    ledger.paid(&Owed::Processes)?;
    let record = sweep.folder().record()?;
    export::write(sweep.folder().path(), &record, &ranking::rank(&record))?;
    Ok(format!("{:?}", ending?))
}

/// The grid's strategy; in a world of that name with a bar a quarter above the best mean so far.
/// One that chooses sees times as no death has them.
pub(super) fn strategy(manifest: &Manifest) -> Box<dyn Strategy> {
    let strategy = manifest.build_strategy();
    match manifest.grid.as_str() {
        "shortened" => Box::new(Barred(strategy)),
        _ if manifest.strategy.chooses() => Box::new(Even(strategy)),
        _ => strategy,
    }
}

/// A strategy that chooses allows for a machine that changes with time, and a sweep that was
/// killed took longer: by its times it may rightly choose otherwise. So each trial has here the
/// times, and the one launch, that it would have by its number, and what is chosen depends on
/// what was measured alone.
struct Even(Box<dyn Strategy>);

impl Even {
    fn seen(observations: &[Observation]) -> Vec<Observation> {
        let seen = |it: &Observation| {
            let began = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(10 * i64::from(it.trial));
            let repeat = |repeat: &ObservedRepeat| ObservedRepeat {
                launch: it.trial,
                at: Some(began + SignedDuration::from_secs(60 * i64::from(repeat.repeat))),
                ..repeat.clone()
            };
            Observation {
                started_at: Some(began),
                duration: Duration::from_mins(5),
                repeat_seconds: it.repeat_seconds.map(|_| 60.0),
                repeats: it.repeats.iter().map(repeat).collect(),
                ..it.clone()
            }
        };
        observations.iter().map(seen).collect()
    }
}

impl Strategy for Even {
    fn next(&self, situation: Situation<'_>) -> strategy::Action {
        let observations = Self::seen(situation.observations);
        self.0.next(Situation { observations: &observations, ..situation })
    }

    fn trials(&self) -> u32 {
        self.0.trials()
    }

    fn remaining(&self, situation: Situation<'_>) -> Remaining {
        let observations = Self::seen(situation.observations);
        self.0.remaining(Situation { observations: &observations, ..situation })
    }

    fn bar(&self, observations: &[Observation], configuration: usize) -> Option<Bar> {
        self.0.bar(&Self::seen(observations), configuration)
    }
}

struct Barred(Box<dyn Strategy>);

impl Strategy for Barred {
    fn next(&self, situation: Situation<'_>) -> strategy::Action {
        self.0.next(situation)
    }

    fn trials(&self) -> u32 {
        self.0.trials()
    }

    fn bar(&self, observations: &[Observation], _: usize) -> Option<Bar> {
        let mean = |it: &Observation| {
            let values: Vec<f64> = it.repeats.iter().filter_map(|it| it.objective).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let best = observations.iter().filter_map(mean).reduce(f64::min)?;
        Some(Bar { value: best * 1.25, repeats: 1 })
    }
}

/// As `recover` does it: what is left of candidates, then production, by the debt or else by
/// the journal.
async fn recover(world: &World) -> Done {
    let state = StateFolder::of_environment()?;
    debt::remove_torn(&state);
    let debts = debt::all(&state).0;
    let folder = Folder::existing(&world.run()).ok();
    let known = folder.as_ref().and_then(|folder| Some(folder.manifest().ok()?.run_id()));
    let run_id = known.or_else(|| debts.first().map(|debt| debt.run_id.clone()));
    let holder = Holder::this().in_state(&state);
    let begin = |run: &str| Session::begin(&state, run, &world.run(), &holder);
    let _session = run_id.as_deref().map(begin).transpose()?;
    world.remove_candidates();
    let journal = folder.map(|folder| folder.journal_path()).filter(|path| path.is_file());
    let (mut journal, lines) = match journal.as_deref().map(Journal::open_damaged).transpose()? {
        Some((journal, lines)) => (Some(journal), lines),
        None => (None, Vec::new()),
    };
    let owed = debts.iter().find_map(|debt| match &debt.owed {
        Owed::Production(owed) => Some(owed),
        _ => None,
    });
    let steps = steps_owed(production_steps(&lines), owed);
    let log = world.clone();
    let mut note = |step| {
        let Some(journal) = &mut journal else { return Ok(()) };
        let line =
            journal.append(jiff::Timestamp::now(), Entry::Production { production: step })?;
        log.did(&Did::Acked(Box::new(line)));
        Ok::<(), crate::history::journal::JournalError>(())
    };
    let (production, never) = (WorldProduction(world.clone()), CancellationToken::new());
    let done =
        production::recover(&production, &steps, &mut note, &Emit::nowhere(), &never).await?;
    for debt in &debts {
        debt.paid(&state)?;
    }
    Ok(if done { "recovered" } else { "nothing to recover" }.to_owned())
}
