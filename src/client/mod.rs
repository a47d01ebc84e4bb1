//! The streaming client: HTTP/1.1, server-sent events, streams, tool calls and
//! request records. One request on one connection, with the times at which its
//! bytes were sent and received. It contains no workload: prompts, arrivals and
//! concurrency are in `bench`.

mod answer;
mod arrival;
pub(crate) mod calls;
mod chunk;
pub mod clock;
mod connection;
pub(crate) mod error;
mod exchange;
mod failing;
pub(crate) mod flights;
mod limits;
pub(crate) mod optional;
pub mod record;
pub mod request;
mod send;
mod sse;
pub mod stream;
mod timeout;
pub mod whole;

pub use answer::Answer;
pub use calls::ToolCall;
pub use limits::{Limits, StreamLimits};
pub use send::{Client, ClientError, Order, Outcome, Slot};
