//! Launches as jobs of a Slurm cluster: Slurm places, limits, kills and requeues; what is
//! launched and what it means is the loop's. One job a launch, found by its id alone. Here are
//! submitting, following and ending them; what a launch does on its node is `vllm-grid launch`.

pub mod check;
pub mod cluster;
#[cfg(test)]
pub(crate) mod fake;
mod follow;
mod hostlist;
pub mod loss;
pub mod nodes;
pub mod own;
pub mod partition;
mod place;
mod placing;
pub mod reading;
pub mod request;
pub mod state;
mod submit;
pub mod tool;
pub mod watch;
