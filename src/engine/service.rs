//! The compose service that a grid names: it is read, and its flags come under the
//! grid's. The grid itself knows no compose tool.

use super::compose::{self, ComposeError, ServiceSpec};
use super::docker::source_of;
use super::service_flags;
use crate::grid::{EngineBlock, Grid, GridFile};

/// Reads the compose service of an engine block, where it names one.
///
/// # Errors
/// When the compose tool is missing, or the service cannot be read.
pub async fn read(engine: &EngineBlock) -> Result<Option<ServiceSpec>, ComposeError> {
    let EngineBlock::Docker(block) = engine else { return Ok(None) };
    match source_of(block, block.service.as_deref()) {
        Some(source) => compose::read(&source).await.map(Some),
        None => Ok(None),
    }
}

/// The grid with the flags of the service that was read for it.
pub fn complete(file: GridFile, service: Option<&ServiceSpec>) -> Grid {
    match service {
        Some(service) => file.with_service(service_flags::of(service)),
        None => file.without_service(),
    }
}
