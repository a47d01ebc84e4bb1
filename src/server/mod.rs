//! A server from outside: a ready vLLM-compatible endpoint, whoever started it. Its
//! models, version, counters and effective values are read here, with plain requests.
//! Starting a server is in `engine`, measuring one in `client` and `bench`.

mod agreement;
pub mod counters;
pub mod effective;
mod endpoint;
pub(crate) mod head;
pub mod health;
pub mod http;
pub(crate) mod http1;
mod message;
mod models;
mod observed;
mod open;
mod probe;
pub mod prometheus;
pub mod proof;
mod python;
mod reply;
pub mod speculation;
pub(crate) mod tls;
mod transport;
mod trust;

pub(crate) use endpoint::Address;
pub use endpoint::{ApiKey, Endpoint};
pub use health::{Health, completion_proof, health};
pub(crate) use message::{brief, error_message, error_text, is_told};
pub use models::ModelChoice;
pub use open::ServerError;
pub use probe::{GpuIds, ResourceProbe, ResourceSample};
pub use trust::{Trust, TrustError};

/// A server that answered: its endpoint and what it reports of itself.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it is.
    pub endpoint: Endpoint,
    /// The model's name as requests must give it.
    pub model: String,
    /// How it was chosen, where the server offers several.
    pub choice: ModelChoice,
    /// Context length in tokens, where `/v1/models` has it.
    pub max_model_len: Option<u64>,
    /// `/version`, where it is offered.
    pub version: Option<String>,
    /// Whether the server reports that it is simulated.
    pub simulated: bool,
}
