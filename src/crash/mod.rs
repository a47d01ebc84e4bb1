//! The crash campaign: whole sweeps in a world on disk, killed at every point where
//! something could be lost, and continued. A victim is a process of its own and dies of
//! SIGKILL; candidates and production are files that survive it, as containers do.
//! Time is virtual, so a crash costs milliseconds. Nothing of it is in the program.

mod campaign;
mod check;
mod cluster;
mod point;
mod victim;
mod world;

pub(crate) use point::{before_write, point};
