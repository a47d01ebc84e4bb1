//! Whose claims are known to each other: all of this machine, unless a variable sets some
//! apart. What is claimed, and how, is [`super::machine`]'s.

use std::os::unix::ffi::OsStrExt as _;

use sha2::{Digest as _, Sha256};

use crate::configuration::hexadecimal;

/// Sets claims of some processes apart from the machine's: for tests, and for containers that
/// share a network namespace and no GPU.
pub const VARIABLE: &str = "VLLM_GRID_CLAIMS";
/// Whose claims are known to each other: the whole machine's, unless set apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space(String);

impl Space {
    /// What [`VARIABLE`] says, else the machine's.
    pub fn of_environment() -> Self {
        let set = std::env::var_os(VARIABLE);
        Self::of(set.as_deref().unwrap_or_default().as_bytes())
    }

    /// Its part of a name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The one of this text; an empty one means the machine's.
    pub fn of(text: &[u8]) -> Self {
        if text.is_empty() { Self("machine".to_owned()) } else { Self(short_hash(text)) }
    }
}

pub(super) fn short_hash(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))[..12].to_owned()
}
