//! The bench and what it reads from a server, against servers of known behaviour.

mod arrivals;
mod catalogue;
mod client;
mod cold;
mod command;
mod completions;
mod connections;
mod conversation;
mod counting;
mod dataset;
mod effective;
mod fitting;
mod given;
mod kv_cache;
mod load;
mod long_context;
mod records;
mod scripted;
mod search;
mod server;
mod simulated;
mod stability;
mod stops;
mod strangers;
mod telemetry;
mod warmup;
