//! Why a repeat gave no measurement that a launch can continue from.

use crate::client::ClientError;
use crate::metric::Measurement;
use crate::shortage;

/// Why a repeat gave no measurement that a launch can continue from.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A stop was asked for.
    #[error("a stop was asked for")]
    Cancelled,
    /// The server can no longer be measured.
    #[error("the engine is unreachable: {message}")]
    EngineDied {
        /// The failed repeat, as far as it came.
        measurement: Box<Measurement>,
        /// The evidence of it.
        message: String,
    },
    /// The server is alive and makes no progress.
    #[error("the engine makes no progress: {message}")]
    NoProgress {
        /// The repeat, void.
        measurement: Box<Measurement>,
        /// The evidence of it.
        message: String,
    },
    /// The server was lost during a gate that does not look for that.
    #[error("the engine was lost in a gate: {0}")]
    LostInGate(String),
    /// This process itself lacked something: nothing is known of the server.
    #[error("nothing can be measured: {0}")]
    Shortage(String),
    /// The records could not be stored.
    #[error("request records could not be stored: {0}{advice}", advice = shortage::advice(.0))]
    Records(std::io::Error),
    /// No request can be sent to the server's address.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A case that the workload does not have.
    #[error("the workload `{workload}` has no case `{case}`")]
    NoSuchCase {
        /// The workload's name.
        workload: String,
        /// The case that was asked for.
        case: String,
    },
}

impl BenchError {
    /// The repeat during which the server was lost, as far as it came.
    pub fn measurement(&self) -> Option<&Measurement> {
        match self {
            Self::EngineDied { measurement, .. } | Self::NoProgress { measurement, .. } => {
                Some(measurement)
            }
            _ => None,
        }
    }
}

impl From<std::io::Error> for BenchError {
    fn from(error: std::io::Error) -> Self {
        Self::Records(error)
    }
}
