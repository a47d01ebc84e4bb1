//! The prompts of a load that come from a dataset: which of its entries are sent,
//! in which order, and the remarks on those that were not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bench::prompt::dataset::Overhead;
use crate::bench::prompt::density::{PromptError, with_density_where_tight};
use crate::bench::repeat::RepeatContext;
use crate::client::error::is_too_long;
use crate::client::record::RequestRecord;
use crate::workload::{Dataset, Load, Prompt};

/// Entries of a dataset in the order in which they are sent.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    path: PathBuf,
    dataset: Arc<Dataset>,
    /// Those that fit into the context, the same for every repeat.
    entries: Vec<usize>,
    longest: Option<u64>,
}

impl Selection {
    /// The entries that fit, as far as that can be known; `Err` has the reason
    /// where none does.
    pub(crate) async fn of(
        repeat: &mut RepeatContext<'_>,
        path: &Path,
        spec: &Load,
    ) -> Result<Result<Self, String>, PromptError> {
        let longest = repeat.session.server().max_model_len;
        let largest = |dataset: &Dataset| {
            (0..dataset.count()).map(|entry| dataset.prompt_bytes(entry)).max().unwrap_or(0)
        };
        // A chat of many messages is rare: its text counts for more.
        let overhead = Overhead { messages: 2, output_tokens: spec.output_tokens };
        let source =
            with_density_where_tight(repeat, path, spec.endpoint, largest, overhead).await?;
        let dataset = Arc::clone(source.dataset());
        let fits =
            |entry: &usize| source.accepts(*entry, dataset.prompt_bytes(*entry), overhead, longest);
        let entries: Vec<usize> =
            source.order(repeat.session.seed()).into_iter().filter(fits).collect();
        let selection = Self { path: path.to_owned(), dataset, entries, longest };
        Ok(if selection.entries.is_empty() { Err(selection.left_out(0)) } else { Ok(selection) })
    }

    fn entry(&self, place: usize) -> usize {
        self.entries[place % self.entries.len()]
    }

    /// The prompt of a place in the repeat; after the last entry comes the first again.
    pub(crate) fn prompt(&self, place: usize) -> Prompt<'_> {
        self.dataset.prompt(self.entry(place))
    }

    /// Bytes of a prompt, on average.
    pub(crate) fn mean_bytes(&self) -> usize {
        let bytes = self.entries.iter().map(|entry| self.dataset.prompt_bytes(*entry));
        bytes.sum::<usize>() / self.entries.len()
    }

    /// Takes the requests out that the server refused as too long: their prompts
    /// are no measurement, and are passed over from now on. `first` is the number
    /// of the request of the first entry.
    pub(crate) fn take_refused(
        &self,
        repeat: &mut RepeatContext<'_>,
        records: &mut Vec<RequestRecord>,
        first: u32,
    ) -> Vec<RequestRecord> {
        let refused = |record: &mut RequestRecord| record.error.as_ref().is_some_and(is_too_long);
        let refused: Vec<RequestRecord> = records.extract_if(.., refused).collect();
        for record in &refused {
            self.refuse(repeat, record.index.saturating_sub(first) as usize);
        }
        refused
    }

    /// The same for one prompt.
    pub(crate) fn refuse(&self, repeat: &mut RepeatContext<'_>, place: usize) {
        repeat.session.sources().refuse(&self.path, self.entry(place));
    }

    /// The remarks on a repeat that sent `requests`, of which the server
    /// refused some.
    pub(crate) fn remarks(
        &self,
        requests: usize,
        refused: &[RequestRecord],
        first: u32,
    ) -> Vec<String> {
        let place = |record: &RequestRecord| record.index.saturating_sub(first) as usize;
        let refused: BTreeSet<usize> =
            refused.iter().map(|record| self.entry(place(record))).collect();
        let mut remarks = Vec::new();
        if refused.len() + self.entries.len() < self.dataset.count() || !refused.is_empty() {
            remarks.push(self.left_out(refused.len()));
        }
        let fit = self.entries.len();
        if requests > fit {
            remarks.push(format!(
                "{} has {fit} prompts for {requests} requests: it went round {} times, each time \
                 with other salts",
                self.path.display(),
                requests.div_ceil(fit)
            ));
        }
        remarks
    }

    fn left_out(&self, refused: usize) -> String {
        let all = self.dataset.count();
        let context =
            self.longest.map_or_else(String::new, |longest| format!(" of {longest} tokens"));
        format!(
            "{} of {all} prompts of {} do not fit into the context{context} and are passed over",
            all - self.entries.len() + refused,
            self.path.display()
        )
    }
}
