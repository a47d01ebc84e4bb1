//! Production as the grid names it: whether it is there and runs, how it differs from its
//! service, and whether what is stopped with it is there.

use super::Findings;
use crate::engine::compose::ServiceSpec;
use crate::engine::docker::{self, Daemon};
use crate::engine::production::ProductionError;
use crate::engine::{EngineError, leftovers};
use crate::grid::DockerBlock;
use crate::ownership::StateFolder;
use crate::secret::Secrets;

/// Looks at it.
pub(super) async fn look(
    findings: &mut Findings,
    block: &DockerBlock,
    service: Option<&ServiceSpec>,
    secrets: &Secrets,
    daemon: &Daemon,
) {
    let found = docker::compare_production(block, service, secrets).await;
    let named = block.production.is_some();
    if !named && !matches!(found, Ok(Some(_))) {
        findings.warning(
            "production",
            "the grid names none",
            "whatever serves now keeps its GPU memory during the sweep",
        );
        return;
    }
    match found {
        Ok(None) => {}
        Ok(Some(found)) => {
            match (named, found.running) {
                (false, _) => {
                    let text = format!("the grid names none, but {} runs", found.name);
                    let advice =
                        "it keeps its GPU memory during the sweep: name it as `production`";
                    findings.warning("production", text, advice);
                }
                (true, true) if found.restarts.is_some() => {
                    let times = found.restarts.unwrap_or_default();
                    let text = format!("{} restarts again and again ({times} times)", found.name);
                    let advice = format!(
                        "see why by `docker logs {}`: a sweep stops it, and could not prove it at its end",
                        found.name
                    );
                    findings.problem("production", text, &advice);
                }
                (true, true) => {
                    let text = format!("{} runs; the sweep stops and starts it", found.name);
                    findings.ok("production", text);
                }
                (true, false) => {
                    if let Some((text, advice)) = stopped_by(&found.name, daemon).await {
                        findings.problem("production", text, &advice);
                    } else {
                        let text = format!("{} does not run", found.name);
                        findings.warning("production", text, "it is not changed");
                    }
                }
            }
            let advice = "the baseline is what the file says, not what the container runs with";
            for difference in found.differences {
                findings.warning("production", format!("{}: {difference}", found.name), advice);
            }
        }
        Err(error) => {
            let advice = match error {
                EngineError::Production(ProductionError::Missing { .. }) => {
                    "start it, name what runs, or take `production` out of the grid"
                }
                _ => "",
            };
            findings.problem("production", error.to_string(), advice);
        }
    }
    if let Err(error) = docker::find_companions(block).await {
        let text = error.to_string();
        if findings.0.iter().all(|known| known.text != text) {
            findings.problem("production", text, "");
        }
    }
}

/// Who stopped production, where a run did.
async fn stopped_by(name: &str, daemon: &Daemon) -> Option<(String, String)> {
    leftovers::stopped_by(&StateFolder::of_environment().ok()?, name, Some(daemon)).await
}
