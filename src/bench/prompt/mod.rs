//! Prompts: generated texts, texts out of datasets, and their lengths in the
//! server's tokens. What is sent when is in [`super::workloads`].

pub(crate) mod dataset;
pub(crate) mod density;
pub(crate) mod fitting;
pub mod generate;
pub(crate) mod length;
