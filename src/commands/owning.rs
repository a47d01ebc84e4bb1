//! What a run claims before it launches anything, and what it owes while it works. A run
//! that would be in another's way, or in the way of what a dead one left, is refused.

use std::sync::Arc;

use vllm_grid::engine::Engine;
use vllm_grid::engine::docker::{DockerProduction, owed};
use vllm_grid::engine::leftovers::{self, Look, What};
use vllm_grid::engine::production::Production as _;
use vllm_grid::grid::{DockerBlock, EngineBlock, Grid, ProductionName as Named};
use vllm_grid::history::folder::Folder;
use vllm_grid::ownership::claim::ProductionName;
use vllm_grid::ownership::debt::ProductionOwed;
use vllm_grid::ownership::{
    Claims, Holder, Ledger, Owed, OwnershipError, Session, StateFolder, Uses, aside,
};
use vllm_grid::sweep::recover;
use vllm_grid::sweep::run::Sweep;
use vllm_grid::sweep::run::owner::Owner;

use crate::exit::{CommandError, Exit};
use crate::progress::Progress;

pub(super) fn unusable(error: OwnershipError) -> CommandError {
    CommandError::new(Exit::Environment, error)
}

/// A run that this process alone works on.
pub(super) struct Held {
    run_id: String,
    _lock: Session,
}

impl Held {
    /// Its id.
    pub(super) fn run_id(&self) -> &str {
        &self.run_id
    }
}

/// Holds the run in `folder`; refused where another process works on it.
pub(super) async fn session(folder: &Folder) -> Result<Held, CommandError> {
    let state = StateFolder::of_environment().map_err(unusable)?;
    let run_id = folder.manifest()?.run_id();
    let holder = Holder::this().in_state(&state).of_run(&run_id, folder.path());
    let (run, path) = (run_id.clone(), folder.path().to_owned());
    let lock = aside(move || Session::begin(&state, &run, &path, &holder)).await;
    Ok(Held { run_id, _lock: lock.map_err(unusable)? })
}

/// What a run uses, held against every other run.
pub(super) struct Claimed {
    state: StateFolder,
    claims: Claims,
    uses: Uses,
    production: Option<ProductionOwed>,
    serves: Option<DockerProduction>,
    mark: Option<Owed>,
}

impl Claimed {
    /// Claims what the grid's candidates use and its production; `own` is the run, where it
    /// is begun already; `serves` is the production that the grid names, on its daemon.
    ///
    /// # Errors
    /// Another run holds it, or a dead one left something in the way: nothing was touched.
    pub(super) async fn take(
        grid: &Grid,
        engine: &dyn Engine,
        own: Option<&str>,
        serves: Option<DockerProduction>,
    ) -> Result<Self, CommandError> {
        let state = StateFolder::of_environment().map_err(unusable)?;
        let uses = engine.uses(&grid.configurations);
        let holder = Holder::this().in_state(&state);
        let (production, mark) = match &grid.engine {
            _ if grid.hosts.is_some() => (None, Some(Owed::Jobs)),
            EngineBlock::Docker(block) => {
                let docker = owed::socket();
                let docker = docker.map_err(|error| CommandError::new(Exit::Environment, error))?;
                (named(block, serves.as_ref()).await?, Some(Owed::Containers { docker }))
            }
            EngineBlock::Process(_) => (None, Some(Owed::Processes)),
            EngineBlock::Simulated(_) => (None, None),
        };
        let name = production
            .as_ref()
            .map(|owed| ProductionName { docker: owed.docker.clone(), name: owed.name.clone() });
        let (place, of) = (state.clone(), uses.clone());
        let claims = aside(move || Claims::take(&place, name.as_ref(), &of, &holder)).await;
        let claims = claims.map_err(unusable)?;
        let docker = match &mark {
            Some(Owed::Containers { docker }) => Some(docker.as_str()),
            _ => None,
        };
        let look = Look { state: &state, own, uses: &uses, docker };
        refuse(&leftovers::find(look).await)?;
        leftovers::settle(&state, own).await;
        Ok(Self { state, claims, uses, production, serves, mark })
    }

    /// For a sweep that has just begun.
    pub(super) async fn begin(
        self,
        sweep: &Sweep,
        engine: &dyn Engine,
    ) -> Result<Owning, CommandError> {
        let held = session(sweep.folder()).await?;
        self.owning(held, sweep, engine)
    }

    /// For a run that is continued: what its dead sessions left is removed.
    pub(super) async fn resume(
        self,
        held: Held,
        sweep: &Sweep,
        engine: &dyn Engine,
    ) -> Result<Owning, CommandError> {
        // What jobs started ends with them.
        if matches!(self.mark, Some(Owed::Jobs)) {
            return self.owning(held, sweep, engine);
        }
        let docker = matches!(self.mark, Some(Owed::Containers { .. }));
        let (done, down) = Box::pin(recover::own(&self.state, sweep.folder().path(), docker)).await;
        if !done.problems.is_empty() {
            let text = format!(
                "nothing was launched: what an earlier session of this run left is in the way: {}",
                done.problems.join("\n  also: ")
            );
            return Err(CommandError::message(Exit::Environment, text));
        }
        let mut owning = self.owning(held, sweep, engine)?;
        let of = "of an earlier session, which is dead";
        owning.said.extend(done.removed.iter().map(|it| format!("removed container {it} {of}")));
        owning.said.extend(done.killed.iter().map(|it| format!("killed the process of {it} {of}")));
        owning.owner.down = down;
        Ok(owning)
    }

    fn owning(
        self,
        held: Held,
        sweep: &Sweep,
        engine: &dyn Engine,
    ) -> Result<Owning, CommandError> {
        let Self { state, claims, uses, production, serves, mark } = self;
        let folder = sweep.folder().path();
        let holder = Holder::this().in_state(&state).of_run(&held.run_id, folder);
        let told = claims.tell(&holder);
        told.map_err(|error| {
            CommandError::message(Exit::Environment, format!("{}: {error}", state.path().display()))
        })?;
        let name = &sweep.record().manifest.sweep;
        let ledger = Arc::new(Ledger::of_run(&state, name, &holder, &uses));
        if let Some(mark) = &mark {
            ledger.owe(mark.clone()).map_err(unusable)?;
        }
        engine.owned_by(&ledger);
        let owner = Owner { ledger, production, down: None };
        Ok(Owning {
            owner,
            said: Vec::new(),
            serves,
            mark,
            has_begun: false,
            _held: held,
            _claims: claims,
        })
    }
}

/// The production of a grid by its container's name, so that two grids that call it
/// differently mean one production.
async fn named(
    block: &DockerBlock,
    production: Option<&DockerProduction>,
) -> Result<Option<ProductionOwed>, CommandError> {
    let template =
        owed::of_block(block).await.map_err(|error| CommandError::new(Exit::Environment, error))?;
    let Some(template) = template else { return Ok(None) };
    let Some(production) = production else { return Ok(None) };
    let found = production.find().await;
    let found = found.map_err(|error| CommandError::new(Exit::Environment, error))?;
    let name = match (found, &block.production) {
        (Some(facts), _) => facts.name,
        (None, Some(Named::Container(name) | Named::Service(name))) => name.clone(),
        (None, None) => String::new(),
    };
    Ok(Some(ProductionOwed { name, ..template }))
}

/// An error before anything is launched, with the production that dead runs owe on the grid's
/// daemon: who reads that it does not answer must not miss it.
pub(super) async fn with_owed(grid: &Grid, own: Option<&str>, error: CommandError) -> CommandError {
    if error.exit() != Exit::Environment || !matches!(grid.engine, EngineBlock::Docker(_)) {
        return error;
    }
    let (Ok(state), Ok(docker)) = (StateFolder::of_environment(), owed::socket()) else {
        return error;
    };
    let look = Look { state: &state, own, uses: &Uses::Nothing, docker: Some(&docker) };
    let text = error.to_string();
    let mut lines = vec![text.clone()];
    for leftover in leftovers::find(look).await {
        let down = leftover.to_string();
        let is_owed = matches!(leftover.what, What::Production(..) | What::Companion(..));
        if is_owed && !text.contains(&down) {
            lines.extend([down, format!("  -> {}", leftover.advice())]);
        }
    }
    if lines.len() == 1 {
        return error;
    }
    CommandError::message(Exit::Environment, lines.join("\n"))
}

/// Nothing is launched beside what dead runs left.
fn refuse(found: &[leftovers::Leftover]) -> Result<(), CommandError> {
    if found.is_empty() {
        return Ok(());
    }
    let mut lines = vec!["nothing was launched:".to_owned()];
    for leftover in found {
        lines.push(leftover.to_string());
        let advice = leftover.advice();
        if !advice.is_empty() && !lines.contains(&format!("  -> {advice}")) {
            lines.push(format!("  -> {advice}"));
        }
    }
    Err(CommandError::message(Exit::Environment, lines.join("\n")))
}

/// What a run holds and owes while it works.
pub(super) struct Owning {
    /// Where its debts are noted.
    pub(super) owner: Owner,
    /// What was done before anything is launched.
    pub(super) said: Vec<String>,
    /// The production that the grid names, on its daemon: whoever launches takes it.
    pub(super) serves: Option<DockerProduction>,
    /// What is noted of its candidates; taken out when it is known what became of them.
    mark: Option<Owed>,
    has_begun: bool,
    _held: Held,
    _claims: Claims,
}

impl Owning {
    /// Its work is over. What may be left of it stays noted.
    pub(super) async fn end(mut self, progress: &Progress) {
        let Some(mark) = self.mark.take() else { return self.owner.ledger.settled() };
        if let Some(why) = Box::pin(leftovers::of_run(self.owner.ledger.run_id(), &mark)).await {
            progress.warn(&format!("it stays noted what this run owes: {why}"));
        } else if let Err(error) = self.owner.ledger.paid(&mark) {
            progress.warn(&error.to_string());
        }
    }

    /// From now on something may be launched.
    pub(super) fn begin(&mut self) {
        self.has_begun = true;
    }
}

impl Drop for Owning {
    /// Where an error came before anything was launched, nothing is owed. Where a panic came
    /// later, nobody knows.
    fn drop(&mut self) {
        if let Some(mark) = self.mark.take().filter(|_| !self.has_begun) {
            let _in_nobody_s_way = self.owner.ledger.paid(&mark);
        }
    }
}

#[cfg(test)]
mod tests {
    use vllm_grid::ownership::{debt, new_run_id};

    use super::*;

    #[test]
    fn what_ends_before_anything_is_launched_owes_nothing() {
        let place = tempfile::tempdir().unwrap();
        let state = StateFolder::at(place.path()).unwrap();
        for begins in [false, true] {
            let run = new_run_id();
            let holder = Holder::this().in_state(&state).of_run(&run, place.path());
            let ledger = Arc::new(Ledger::of_run(&state, "s", &holder, &Uses::Nothing));
            ledger.owe(Owed::Processes).unwrap();
            let lock = Session::begin(&state, &run, place.path(), &holder).unwrap();
            let mut owning = Owning {
                owner: Owner { ledger, production: None, down: None },
                said: Vec::new(),
                serves: None,
                mark: Some(Owed::Processes),
                has_begun: false,
                _held: Held { run_id: run, _lock: lock },
                _claims: Claims::default(),
            };
            if begins {
                owning.begin();
            }
            drop(owning);
            assert_eq!(debt::all(&state).0.len(), usize::from(begins));
        }
    }
}
