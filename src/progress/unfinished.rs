//! How a person continues what a session left: a sweep, or a confirmation.

use super::{Session, SweepView, is_there, quoted};

/// How a confirmation is continued.
#[derive(Clone, Debug)]
pub(crate) struct Confirms {
    /// The options by which `confirm` continues it.
    pub(crate) options: String,
    /// Whether the grid asks for it: then `resume` continues it within the grid's budget.
    pub(crate) of_grid: bool,
}

impl SweepView {
    /// What to do with what is not complete.
    pub(super) fn unfinished(&self) -> String {
        let folder = quoted(&self.folder);
        match &self.confirms {
            // What is not there, or not whole, cannot be continued there.
            _ if !is_there(&self.folder) => format!(
                "the sweep is not complete, and {folder} is not there any more as it was: restore \
                 it, or where it was moved, `vllm-grid resume` with its new place continues it"
            ),
            // Its budget counts the sessions before, and the grid is not to change.
            None if self.session == Session::Spent => {
                "the sweep is not complete, and its budget is spent: \
                give the grid a larger `budget` and start a new sweep"
                    .to_owned()
            }
            None if self.session == Session::Refused => format!(
                "the sweep is not complete: correct `hosts` in the grid and start a new sweep; where \
                 the cluster is what changed, `vllm-grid resume {folder}` continues this one"
            ),
            None => {
                format!("the sweep is not complete: `vllm-grid resume {folder}` continues it")
            }
            Some(Confirms { of_grid: true, .. }) if self.session == Session::Partial => {
                format!(
                    "the confirmation is not complete: `vllm-grid resume {folder}` continues it"
                )
            }
            // What it measured decides how: with a larger budget, or not at all.
            Some(_) if self.session == Session::Spent => {
                "the confirmation is not complete, and its budget is spent: NEXT says how to go on"
                    .to_owned()
            }
            Some(Confirms { options, .. }) => format!(
                "the confirmation is not complete: `vllm-grid confirm {folder}{options}` \
                 continues it"
            ),
        }
    }
}
