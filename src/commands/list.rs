//! The command that lists the runs below a folder.

use vllm_grid::report;
use vllm_grid::results::listed;

use super::show::{print_json, width};
use crate::cli::{Format, ListArgs};
use crate::exit::{CommandError, Exit, print};

/// `list`: the runs, newest first.
pub(crate) fn list(args: &ListArgs) -> Result<Exit, CommandError> {
    let listed = listed::below(&args.folder, &jiff::ZonedDateTime::now()).map_err(|error| {
        let what = format!("the folder {} cannot be read: {error}", args.folder.display());
        CommandError::message(Exit::Usage, what)
    })?;
    match args.format {
        Format::Json => print_json(&listed)?,
        Format::Text => print(&report::list::render(&listed, width()))?,
    }
    Ok(Exit::Done)
}
