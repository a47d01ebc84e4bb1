//! How many tokens a byte of a dataset is, which a request shows before the first
//! repeat that needs to know. What follows for its entries is in [`super::dataset`].

use std::path::Path;

use crate::bench::error::BenchError;
use crate::bench::outcome::{RepeatOutcome, RepeatResult};
use crate::bench::prompt::dataset::{Overhead, Source, salted};
use crate::bench::prompt::fitting::{FitError, length};
use crate::bench::prompt::generate::salt;
use crate::bench::repeat::RepeatContext;
use crate::client::request::{Input, RequestSpec};
use crate::metric::MetricValues;
use crate::workload::{Dataset, DatasetError, Prompt, Route};

/// Why a repeat cannot begin.
#[derive(Debug)]
pub(crate) enum PromptError {
    /// The file is missing or damaged; it was checked before, and was not then.
    Dataset(DatasetError),
    /// No prompt of the length that was asked for.
    Fit(FitError),
}

impl PromptError {
    /// The repeat that ends with it, unless a stop was asked for.
    pub(crate) fn into_result(self, metrics: MetricValues) -> Result<RepeatResult, BenchError> {
        match self {
            Self::Dataset(error) => Ok(RepeatResult::without_requests(
                RepeatOutcome::Skipped(error.to_string()),
                metrics,
            )),
            Self::Fit(FitError::Cancelled) => Err(BenchError::Cancelled),
            Self::Fit(FitError::Unmet(reason)) => {
                Ok(RepeatResult::without_requests(RepeatOutcome::Skipped(reason), metrics))
            }
            Self::Fit(FitError::Failed(reason)) => {
                Ok(RepeatResult::without_requests(RepeatOutcome::Failed(reason), metrics))
            }
        }
    }
}

impl From<FitError> for PromptError {
    fn from(error: FitError) -> Self {
        Self::Fit(error)
    }
}

/// The dataset of a path, after a request has shown how many tokens a byte of it is.
pub(crate) async fn with_density(
    repeat: &mut RepeatContext<'_>,
    path: &Path,
    route: Route,
) -> Result<Source, PromptError> {
    let (seed, longest) = (repeat.session.seed(), repeat.session.server().max_model_len);
    let source = repeat.session.sources().get(path).await.map_err(PromptError::Dataset)?;
    if source.tokens_per_byte().is_some() {
        return Ok(source.clone());
    }
    // A token is at least one byte.
    let space = longest.map_or(usize::MAX, |longest| longest as usize / 2);
    let text = source.sample(seed, space);
    let number = repeat.salt_number(&["dataset", &path.display().to_string()]);
    let messages = salted(Prompt::Text(&text), &salt(number));
    let prompt = RequestSpec::speed(Input::new(route, messages), 1).prepare(repeat.target());
    let tokens = length(repeat, &prompt).await?;
    let source = repeat.session.sources().get(path).await.map_err(PromptError::Dataset)?;
    let counted = tokens.filter(|tokens| *tokens > 0);
    source.set_tokens_per_byte(counted.map(|tokens| tokens as f64 / text.len().max(1) as f64));
    Ok(source.clone())
}

/// The same, where an entry of up to `largest` bytes may not fit into the context;
/// else nothing is sent.
pub(crate) async fn with_density_where_tight(
    repeat: &mut RepeatContext<'_>,
    path: &Path,
    route: Route,
    largest: impl Fn(&Dataset) -> usize,
    overhead: Overhead,
) -> Result<Source, PromptError> {
    let longest = repeat.session.server().max_model_len;
    let source = repeat.session.sources().get(path).await.map_err(PromptError::Dataset)?;
    if source.fits(largest(source.dataset()), overhead, longest) {
        return Ok(source.clone());
    }
    with_density(repeat, path, route).await
}
