//! The compose service that a grid names: it is read, and its flags come under the
//! grid's. The grid itself knows no compose tool.

use super::compose::{self, ComposeError, ServiceSpec};
use super::docker::source_of;
use super::service_flags;
use crate::grid::{EngineBlock, Grid, GridFile};

/// Reads the compose service that a grid names, where it names one.
///
/// # Errors
/// When the compose tool is missing, the service cannot be read, or the grid sets
/// flags that it would ignore.
pub async fn read(file: &GridFile) -> Result<Option<ServiceSpec>, ComposeError> {
    let EngineBlock::Docker(block) = file.engine() else { return Ok(None) };
    let Some(source) = source_of(block, block.service.as_deref()) else { return Ok(None) };
    let service = compose::read(&source).await?;
    service_flags::check_script(&service, &source, &block.flags, file.configurations())?;
    Ok(Some(service))
}

/// The grid with the flags of the service that was read for it.
pub fn complete(file: GridFile, service: Option<&ServiceSpec>) -> Grid {
    match service {
        Some(service) => file.with_service(service_flags::of(service)),
        None => file.without_service(),
    }
}
