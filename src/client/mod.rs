//! The streaming client: HTTP/1.1, server-sent events, streams, tool calls and
//! request records. One request on one connection, with the times at which its
//! bytes passed. Knows no workload: arrivals and concurrency are in `bench`.

mod arrival;
mod calls;
mod chunk;
pub mod clock;
mod connection;
pub(crate) mod error;
mod exchange;
mod http1;
pub mod record;
pub mod request;
mod send;
mod silence;
mod sse;
pub mod stream;

pub use send::{Client, ClientError, Limits, Order, Outcome, Slot};
