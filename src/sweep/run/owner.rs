//! The debts of the run: production is noted as owed before it is stopped, and no longer
//! owed once it is proven or somebody else has it. `recover` finds the notes without the
//! run's folder.

use std::sync::Arc;

use super::Sweep;
use crate::history::production::{
    PendingRestore, ProductionFacts, ProductionStep, pending_restore,
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
    /// To be called before a step is journalled.
    ///
    /// # Errors
    /// The debt cannot be noted: production is not stopped.
    pub fn before(&self, step: &ProductionStep) -> Result<(), OwnershipError> {
        let known = self.production.clone().unwrap_or_default();
        let owed = match step {
            ProductionStep::Stopping { facts } => {
                ProductionOwed { id: facts.id.clone(), name: facts.name.clone(), ..known }
            }
            ProductionStep::MadeAgain { id, .. } => match self.ledger.production() {
                Some(owed) => ProductionOwed { id: id.clone(), ..owed },
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        self.ledger.owe(Owed::Production(owed))
    }

    /// To be called after a step, whether it could be journalled or not.
    ///
    /// # Errors
    /// The note of a debt that is paid cannot be removed.
    pub fn after(&self, step: &ProductionStep) -> Result<(), OwnershipError> {
        match step {
            ProductionStep::Proven { .. } | ProductionStep::StartedBySomebody { .. } => {
                self.ledger.production_paid()
            }
            _ => Ok(()),
        }
    }
}

/// The step that a debt says was journalled.
pub(crate) fn stopping(owed: &ProductionOwed) -> ProductionStep {
    let facts = ProductionFacts {
        id: owed.id.clone(),
        name: owed.name.clone(),
        image_id: String::new(),
        started_at: String::new(),
        configuration_sha256: String::new(),
        running: true,
    };
    ProductionStep::Stopping { facts }
}

impl Sweep {
    /// The same, with debts noted. What an earlier session owes, and its journal lost, is
    /// restored by this one.
    #[must_use]
    pub fn owned_by(mut self, owner: Owner) -> Self {
        if let Some(down) = &owner.down
            && pending_restore(&self.production) == PendingRestore::Nothing
        {
            self.production.push(stopping(down));
        }
        self.owner = Some(owner);
        self
    }

    pub(super) fn before_step(&self, step: &ProductionStep) -> Result<(), SweepError> {
        let Some(owner) = &self.owner else { return Ok(()) };
        owner.before(step).map_err(SweepError::from)
    }

    pub(super) fn after_step(&self, step: &ProductionStep) {
        if let Some(owner) = &self.owner
            && let Err(error) = owner.after(step)
        {
            self.events
                .emit()
                .warn(format!("{error}; `vllm-grid recover` proves production again"));
        }
    }
}
