//! A process of the campaign: begins, continues or recovers a sweep in a world, as the
//! commands do, until it is done or killed.

use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::point::{self, Plan};
use super::world::{Did, World, WorldEngine, WorldMeasure, WorldProduction};
use crate::bench::{NoRecords, RecordSink};
use crate::event::Emit;
use crate::grid::{Grid, GridFile, ReadOptions};
use crate::history::folder::Folder;
use crate::history::journal::{Entry, Journal};
use crate::history::replay::production_steps;
use crate::report::export;
use crate::results::ranking;
use crate::secret::Secrets;
use crate::sweep::clock::Clock;
use crate::sweep::context::SweepContext;
use crate::sweep::events::{Event, Events};
use crate::sweep::production;
use crate::sweep::resume;
use crate::sweep::run::Sweep;

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
        .env("VLLM_GRID_STATE", world.path().join("state"))
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
            Action::Sweep => sweep(&world).await,
            Action::Resume => resume(&world).await,
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
    let sweep = Sweep::begin(&grid, Some(&world.run()), now, &Secrets::default())?;
    run(world, &grid, sweep, now).await
}

async fn resume(world: &World) -> Done {
    let folder = Folder::existing(&world.run())?;
    let grid = resume::check(&folder, &Secrets::default()).await?.grid;
    let sweep = Sweep::resume(folder.clone(), &Secrets::default())?.with_configurations(&grid);
    world.remove_candidates();
    let last = crate::history::journal::read(&folder.journal_path())?.last().map(|line| line.at);
    let last = last.unwrap_or("2026-11-24T06:00:00Z".parse()?);
    run(world, &grid, sweep, last + jiff::SignedDuration::from_mins(10)).await
}

async fn run(world: &World, grid: &Grid, mut sweep: Sweep, now: jiff::Timestamp) -> Done {
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
        strategy: sweep.record().manifest.build_strategy(),
        production: Some(Box::new(WorldProduction(world.clone()))),
        clock: Clock::from(now),
        ..SweepContext::of(grid, engine, nowhere).with_events(events)
    };
    let ending = sweep.run(&context).await;
    let record = sweep.folder().record()?;
    export::write(sweep.folder().path(), &record, &ranking::rank(&record))?;
    Ok(format!("{:?}", ending?))
}

/// As `recover` does it: what is left of candidates, then production.
async fn recover(world: &World) -> Done {
    world.remove_candidates();
    let Ok(folder) = Folder::existing(&world.run()) else {
        return Ok("nothing to recover".to_owned());
    };
    if !folder.journal_path().is_file() {
        return Ok("nothing to recover".to_owned());
    }
    let (mut journal, lines) = Journal::open(&folder.journal_path())?;
    let steps = production_steps(&lines);
    let log = world.clone();
    let mut note = |step| {
        let line =
            journal.append(jiff::Timestamp::now(), Entry::Production { production: step })?;
        log.did(&Did::Acked(Box::new(line)));
        Ok::<(), crate::history::journal::JournalError>(())
    };
    let production = WorldProduction(world.clone());
    let done = production::recover(&production, &steps, &mut note, &Emit::nowhere()).await?;
    Ok(if done { "recovered" } else { "nothing to recover" }.to_owned())
}
