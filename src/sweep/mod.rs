//! A sweep: one execution of a grid. The one loop, the journal, the folder.

pub mod record;
