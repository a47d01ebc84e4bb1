//! The workloads of the suite, one file or folder each: what is sent, in which
//! order, and which figures come of it. What they are asked for is in
//! [`crate::workload`]; who calls them is [`super::suite`].

pub(crate) mod command;
pub(crate) mod conversation;
pub(crate) mod kv_cache;
pub(crate) mod load;
pub(crate) mod long_context;
pub mod reasoning;
pub(crate) mod stability;
pub mod tool_calling;
