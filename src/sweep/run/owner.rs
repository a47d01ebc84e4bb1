//! The debts of the run: production is noted as owed before it is stopped, and no longer
//! owed once it is proven, whoever started it. `recover` finds the notes without the
//! run's folder.

use std::sync::Arc;

use super::Sweep;
use crate::history::production::{
    Companion, PendingRestore, ProductionFacts, ProductionStep, pending_restore,
};
use crate::ownership::debt::ProductionOwed;
use crate::ownership::{Ledger, Owed, OwnershipError};
use crate::sweep::SweepError;

/// Where the debts of a run are noted.
#[derive(Clone, Debug)]
pub struct Owner {
    /// The run's debts.
    pub ledger: Arc<Ledger>,
    /// Production as far as it is known before its container is looked at.
    pub production: Option<ProductionOwed>,
    /// Production that an earlier session of the run owes and that does not run.
    pub down: Option<ProductionOwed>,
}

impl Owner {
    /// To be called before a step is journalled; whether a debt is noted that was not before.
    ///
    /// # Errors
    /// The debt cannot be noted: production is not stopped.
    pub fn before(&self, step: &ProductionStep) -> Result<bool, OwnershipError> {
        let known = self.production.clone().unwrap_or_default();
        let earlier = self.ledger.production();
        let is_new = earlier.is_none();
        let owed = match (step, earlier) {
            (ProductionStep::Stopping { facts }, _) => {
                let ProductionFacts { id, name, paused, .. } = facts.clone();
                let paused = paused.into_iter().map(|it| (it.id, it.name)).collect();
                ProductionOwed { id, name, paused, ..known }
            }
            (
                ProductionStep::MadeAgain { id, .. } | ProductionStep::Replaced { id, .. },
                Some(owed),
            ) => ProductionOwed { id: id.clone(), ..owed },
            _ => return Ok(false),
        };
        self.ledger.owe(Owed::Production(owed)).map(|()| is_new)
    }

    /// To be called after a step, whether it could be journalled or not; `not_incurred`: it
    /// could not, and its debt is new: production is not stopped then.
    ///
    /// # Errors
    /// The note of a debt that is paid cannot be removed.
    pub fn after(&self, step: &ProductionStep, not_incurred: bool) -> Result<(), OwnershipError> {
        match step {
            ProductionStep::Proven { .. } => self.ledger.production_paid(),
            _ if not_incurred => self.ledger.production_paid(),
            _ => Ok(()),
        }
    }

    /// What an earlier session owes, as steps, where its journal tells of nothing.
    fn left(&self) -> Vec<ProductionStep> {
        if let Some(down) = &self.down {
            return vec![stopping(down)];
        }
        // It ended between the proof and the removal of its note, for example.
        let runs = self
            .ledger
            .production()
            .map(|owed| vec![stopping(&owed), ProductionStep::StartedNotProven { id: owed.id }]);
        runs.unwrap_or_default()
    }
}

/// The step that a debt says was journalled.
pub(crate) fn stopping(owed: &ProductionOwed) -> ProductionStep {
    let facts = ProductionFacts {
        id: owed.id.clone(),
        name: owed.name.clone(),
        running: true,
        paused: owed
            .paused
            .iter()
            .map(|(id, name)| Companion { id: id.clone(), name: name.clone() })
            .collect(),
        ..ProductionFacts::default()
    };
    ProductionStep::Stopping { facts }
}

/// The steps to be finished: those that were journalled, unless a debt says otherwise. It is
/// noted before each step, and outlives the run's folder.
pub(crate) fn steps_owed(
    steps: Vec<ProductionStep>,
    debt: Option<&ProductionOwed>,
) -> Vec<ProductionStep> {
    let pending = match pending_restore(&steps) {
        PendingRestore::Start(id) | PendingRestore::Proof(id) => Some(id),
        PendingRestore::Nothing => None,
    };
    match debt {
        Some(owed) if pending.as_ref() != Some(&owed.id) => vec![stopping(owed)],
        _ => steps,
    }
}

impl Sweep {
    /// The same, with debts noted. What an earlier session owes, and its journal lost, is
    /// restored by this one.
    #[must_use]
    pub fn owned_by(mut self, owner: Owner) -> Self {
        if pending_restore(&self.production) == PendingRestore::Nothing {
            self.production.extend(owner.left());
        }
        self.owner = Some(owner);
        self
    }

    pub(super) fn before_step(&self, step: &ProductionStep) -> Result<bool, SweepError> {
        let Some(owner) = &self.owner else { return Ok(false) };
        owner.before(step).map_err(SweepError::from)
    }

    pub(super) fn after_step(&self, step: &ProductionStep, not_incurred: bool) {
        if let Some(owner) = &self.owner
            && let Err(error) = owner.after(step, not_incurred)
        {
            self.events
                .emit()
                .warn(format!("{error}; `vllm-grid recover` proves production again"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ownership::{Holder, StateFolder, Uses, debt, new_run_id};

    fn owner(place: &std::path::Path) -> (StateFolder, Owner) {
        let state = StateFolder::at(place).unwrap();
        let run = new_run_id();
        let holder = Holder::this().in_state(&state).of_run(&run, std::path::Path::new("/runs/a"));
        let ledger = Arc::new(Ledger::of_run(&state, "a", &holder, &Uses::Cpu));
        let known = ProductionOwed {
            key_variable: Some("KEY".to_owned()),
            name: "vllm".to_owned(),
            ..ProductionOwed::default()
        };
        (state, Owner { ledger, production: Some(known), down: None })
    }

    fn owed(state: &StateFolder) -> Option<ProductionOwed> {
        debt::all(state).0.into_iter().find_map(|debt| match debt.owed {
            Owed::Production(owed) => Some(owed),
            _ => None,
        })
    }

    #[test]
    fn production_is_owed_from_before_it_is_stopped_until_it_is_proven() {
        let place = tempfile::tempdir().unwrap();
        let (state, owner) = owner(place.path());
        let id = || "p1".to_owned();
        let first = ProductionOwed { id: id(), name: "vllm".to_owned(), ..Default::default() };
        owner.before(&stopping(&first)).unwrap();
        assert_eq!(
            owed(&state).map(|it| (it.id, it.key_variable)),
            Some((id(), Some("KEY".to_owned())))
        );
        let made = ProductionStep::MadeAgain {
            removed: id(),
            id: "p2".to_owned(),
            differences: Vec::new(),
        };
        let steps = [
            (ProductionStep::Stopped { id: id() }, Some("p1")),
            (ProductionStep::StartedBySomebody { id: id() }, Some("p1")),
            (ProductionStep::StartedNotProven { id: id() }, Some("p1")),
            (made, Some("p2")),
            (ProductionStep::Proven { id: "p2".to_owned() }, None),
        ];
        for (step, left) in steps {
            assert!(!owner.before(&step).unwrap(), "it is known: {step:?}");
            owner.after(&step, false).unwrap();
            assert_eq!(owed(&state).map(|it| it.id).as_deref(), left, "{step:?}");
        }
        // A step that could not be journalled is not taken.
        let is_new = owner.before(&stopping(&first)).unwrap();
        owner.after(&stopping(&first), is_new).unwrap();
        assert_eq!(owed(&state), None);
    }

    #[test]
    fn what_cannot_be_noted_is_an_error_before_production_is_stopped() {
        let place = tempfile::tempdir().unwrap();
        let (_, owner) = owner(place.path());
        std::fs::remove_dir_all(place.path().join("debts")).unwrap();
        std::fs::write(place.path().join("debts"), "").unwrap();
        let error = owner.before(&stopping(&ProductionOwed::default())).unwrap_err();
        assert!(error.to_string().contains("VLLM_GRID_STATE"), "{error}");
    }
}
