//! The workloads whose answers matter: `conversation`, `reasoning` and
//! `tool-calling`, against the simulated server.

mod conversation;
mod harness;
mod reasoning;
mod tool_calling;
