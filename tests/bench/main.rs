//! The bench and what it reads from a server, against servers of known behaviour.

mod client;
mod counting;
mod effective;
mod kv_cache;
mod load;
mod scripted;
mod server;
mod simulated;
