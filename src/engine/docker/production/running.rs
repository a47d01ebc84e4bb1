//! What the container of a service runs with: its address and key, the image, the arguments
//! of the server's own process. Nothing of it is changed.

use std::collections::BTreeMap;

use super::super::arguments;
use super::DockerProduction;
use super::address::{address, own_key, started_by};
use crate::engine::command_view::CommandView;
use crate::engine::production::ProductionError;
use crate::secret::Secrets;
use crate::server::Endpoint;
use crate::server::effective::Inspected;
use crate::server::proof::ProcessReading;

/// What runs.
pub struct Running {
    /// The container's name.
    pub name: String,
    /// Where the server can be asked; `None` where it has no address.
    pub endpoint: Option<Endpoint>,
    /// The image and the flags of the container's record.
    pub inspected: Inspected,
    /// The model of the container's record, where it shows.
    pub model: Option<String>,
    /// What the server's process was started with.
    pub process: ProcessReading,
    /// Variables of the container's record, of those that were asked for.
    pub environment: BTreeMap<String, String>,
}

impl DockerProduction {
    /// What runs, with these variables of its environment; `None` where it does not run. Its
    /// secrets become known.
    ///
    /// # Errors
    /// It is not there: what was looked for and what runs. Or the daemon's error.
    pub async fn running(
        &self,
        variables: &[String],
        secrets: &Secrets,
    ) -> Result<Option<Running>, ProductionError> {
        use crate::engine::production::Production as _;
        let Some(facts) = self.find().await? else { return Err(self.missing().await) };
        let Some(seen) = self.inspect(&facts.id).await? else { return Err(self.missing().await) };
        if !facts.running {
            return Ok(None);
        }
        let config = seen.config.clone().unwrap_or_default();
        let pairs = config.env.clone().unwrap_or_default();
        secrets.add_pairs(pairs.iter().map(String::as_str));
        let words = config.entrypoint.iter().chain(&config.cmd).flatten().cloned();
        let words: Vec<String> = words.collect();
        secrets.add_arguments(words.iter().map(String::as_str));
        let api_key = self.api_key.clone().or_else(|| own_key(&seen));
        let (model, flags) = CommandView::of_vector(&words).read();
        let port = started_by(&config).port();
        let process = arguments::read(&self.docker, &facts.id, port, variables).await;
        let asked = pairs.iter().filter_map(|pair| pair.split_once('='));
        let asked = asked.filter(|(name, _)| variables.iter().any(|it| it == name));
        Ok(Some(Running {
            name: facts.name,
            endpoint: address(&seen).map(|base_url| Endpoint::new(base_url, api_key)),
            inspected: Inspected { image: facts.image_id, flags },
            model,
            process,
            environment: asked.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        }))
    }
}
