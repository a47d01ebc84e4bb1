//! Prompts of a load: fitted to a length before the clock, or a dataset's, built by a thread of
//! their own a bounded number ahead, so that neither memory nor the timed path
//! contains them all.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use super::selection::Selection;
use crate::bench::prompt::dataset::salted;
use crate::bench::prompt::generate::{derive, salt, text};
use crate::client::request::{Input, Prepared, RequestSpec, Target};
use crate::workload::Route;

/// Bytes of prompts that are built ahead at most.
const AHEAD_BYTES: usize = 16 << 20;

/// What the prompts of one repeat have in common.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    /// Unique to the repeat and case: no prompt of another one has its salts.
    pub(crate) salt: u64,
    /// The same for every configuration.
    pub(crate) seed: String,
    pub(crate) texts: Texts,
    pub(crate) route: Route,
    /// Tokens generated.
    pub(crate) output_tokens: u64,
    /// What all of them have in common.
    pub(crate) target: Target,
}

/// Where their texts come from.
#[derive(Clone, Debug)]
pub(crate) enum Texts {
    /// Ours, in an order from the seed.
    Seeded {
        /// What every prompt opens with, from the repeat's salt on.
        shared: Option<Shared>,
        /// Bytes of each prompt's own text.
        own_bytes: usize,
    },
    /// Those of a file.
    Dataset(Arc<Selection>),
}

/// The part that prompts share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shared {
    /// Bytes of its text, behind a salt.
    pub(crate) bytes: usize,
    /// Its length as the server counts it, the salt included; `None` where it does not report it.
    pub(crate) tokens: Option<u64>,
}

/// Bytes of a request around a text of a dataset, about.
const AROUND: usize = 400;

impl Recipe {
    /// The request of this name, which has its salt to itself, and of this place in the repeat.
    pub(crate) fn prepare(&self, name: &str, place: usize) -> Prepared {
        let own_salt = derive(&[&self.salt.to_string(), name]);
        let own = |bytes| text(derive(&[&self.seed, name]), bytes);
        self.request(match &self.texts {
            Texts::Seeded { shared: None, own_bytes } => {
                messages(&opening(own_salt), &own(*own_bytes))
            }
            Texts::Seeded { shared: Some(shared), own_bytes } => {
                let shared = self.shared(self.salt, shared.bytes);
                messages(&shared, &format!("{}. {}", salt(own_salt), own(*own_bytes)))
            }
            Texts::Dataset(selection) => salted(selection.prompt(place), &salt(own_salt)),
        })
    }

    /// A request of little but the part that prompts share, as long as with so many
    /// bytes, with a salt of this name; `None`: one word in its place.
    pub(crate) fn prepare_shared(&self, name: &str, bytes: Option<usize>) -> Prepared {
        let own_salt = derive(&[&self.salt.to_string(), name]);
        let system = bytes.map_or_else(|| "a".to_owned(), |bytes| self.shared(own_salt, bytes));
        self.request(messages(&system, "a"))
    }

    /// The same with salts of its own: what is sent to prepare a load leaves nothing
    /// of its prompts in the cache.
    pub(crate) fn aside(&self) -> Self {
        Self { salt: derive(&[&self.salt.to_string(), "aside"]), ..self.clone() }
    }

    /// Tokens that all prompts of the repeat open with.
    pub(crate) fn shared_tokens(&self) -> Option<u64> {
        match &self.texts {
            Texts::Seeded { shared, .. } => shared.and_then(|shared| shared.tokens),
            Texts::Dataset(_) => None,
        }
    }

    /// What prompts share: a salt and a text.
    fn shared(&self, salt: u64, bytes: usize) -> String {
        format!("{} {}", opening(salt), text(derive(&[&self.seed, "shared"]), bytes))
    }

    fn request(&self, messages: Vec<Value>) -> Prepared {
        let input = Input::new(self.route, messages);
        RequestSpec::speed(input, self.output_tokens).prepare(&self.target)
    }

    /// Bytes of a request, on average.
    fn bytes(&self) -> usize {
        match &self.texts {
            Texts::Seeded { .. } => self.prepare("size", 0).body.len(),
            Texts::Dataset(selection) => selection.mean_bytes() + AROUND,
        }
    }
}

fn opening(number: u64) -> String {
    format!("{}. You continue texts.", salt(number))
}

fn messages(system: &str, user: &str) -> Vec<Value> {
    let user = format!("{user}\nContinue this text.");
    vec![json!({"role": "system", "content": system}), json!({"role": "user", "content": user})]
}

/// Prompts in their order, each given once. Cheap to share.
#[derive(Clone, Debug)]
pub(crate) struct Prompts(Arc<Mutex<mpsc::Receiver<(u32, Prepared)>>>);

/// How many prompts there are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Amount {
    /// So many.
    Exactly(u32),
    /// As many as are asked for, this many at a guess; no more are built ahead.
    About(u64),
}

impl Amount {
    /// So many, as far as they can be numbered.
    pub(crate) fn exactly(count: u64) -> Self {
        Self::Exactly(u32::try_from(count).unwrap_or(u32::MAX))
    }
}

impl Prompts {
    /// Builds prompts numbered from `first`; ready when so many are built that the
    /// clock can start.
    pub(crate) async fn build(recipe: Recipe, first: u32, amount: Amount) -> Self {
        let (count, guess) = match amount {
            Amount::Exactly(count) => (count, u64::from(count)),
            Amount::About(guess) => (u32::MAX - first, guess),
        };
        let ahead = (AHEAD_BYTES / recipe.bytes().max(1)).clamp(16, 65_536);
        let ahead = ahead.min(usize::try_from(guess).unwrap_or(usize::MAX).max(1));
        let (sender, receiver) = mpsc::channel(ahead);
        tokio::task::spawn_blocking(move || {
            for index in first..first + count {
                let prompt = recipe.prepare(&index.to_string(), (index - first) as usize);
                // Nobody wants any more.
                if sender.blocking_send((index, prompt)).is_err() {
                    break;
                }
            }
        });
        while receiver.len() < ahead.min(count as usize) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Self(Arc::new(Mutex::new(receiver)))
    }

    /// Those of a builder that is not ours.
    #[cfg(test)]
    pub(crate) fn from_builder(receiver: mpsc::Receiver<(u32, Prepared)>) -> Self {
        Self(Arc::new(Mutex::new(receiver)))
    }

    /// `Err` when the next one is still being built.
    fn take(&self) -> Result<Option<(u32, Prepared)>, ()> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).try_recv() {
            Ok(prompt) => Ok(Some(prompt)),
            Err(TryRecvError::Disconnected) => Ok(None),
            Err(TryRecvError::Empty) => Err(()),
        }
    }

    /// The next prompt and its number; `None` after the last. Takes one that is
    /// there without waiting in line for it: a thousand slots do so at once.
    pub(crate) async fn next(&self) -> Option<(u32, Prepared)> {
        loop {
            match self.take() {
                Ok(prompt) => return prompt,
                Err(()) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }

    /// As [`Prompts::next`], on a thread that may block.
    pub(crate) fn blocking_next(&self) -> Option<(u32, Prepared)> {
        loop {
            match self.take() {
                Ok(prompt) => return prompt,
                Err(()) => std::thread::sleep(Duration::from_micros(100)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(shared: Option<usize>) -> Recipe {
        let shared = shared.map(|bytes| Shared { bytes, tokens: None });
        Recipe {
            salt: 7,
            seed: "1".to_owned(),
            texts: Texts::Seeded { shared, own_bytes: 200 },
            route: Route::Chat,
            output_tokens: 4,
            target: Target::new("m"),
        }
    }

    fn contents(prompt: &Prepared) -> (String, String) {
        let body: Value = serde_json::from_slice(&prompt.body).unwrap();
        let content = |at: &str| body.pointer(at).and_then(Value::as_str).unwrap().to_owned();
        (content("/messages/0/content"), content("/messages/1/content"))
    }

    #[test]
    fn prompts_share_nothing_unless_asked() {
        let [one, other] = ["0", "1"].map(|name| contents(&recipe(None).prepare(name, 0)));
        let words = |text: &str| text.split(' ').take(8).map(str::to_owned).collect::<Vec<_>>();
        assert_ne!(words(&one.0), words(&other.0));
        let [one, other] = ["0", "1"].map(|name| contents(&recipe(Some(900)).prepare(name, 0)));
        assert_eq!(one.0, other.0);
        assert!(one.0.len() > 900);
        assert_ne!(words(&one.1), words(&other.1));
        let aside = contents(&recipe(Some(900)).aside().prepare("0", 0));
        assert_ne!(words(&one.0), words(&aside.0), "nothing of it is in the cache before");
        let elsewhere = Recipe { salt: 8, ..recipe(Some(900)) };
        assert_ne!(words(&one.0), words(&contents(&elsewhere.prepare("0", 0)).0));
    }

    #[tokio::test]
    async fn each_is_given_once_in_order() {
        let prompts = Prompts::build(recipe(None), 3, Amount::Exactly(3)).await;
        let mut numbers = Vec::new();
        while let Some((number, _)) = prompts.next().await {
            numbers.push(number);
        }
        assert_eq!(numbers, [3, 4, 5]);
    }

    #[tokio::test]
    async fn no_more_are_built_ahead_than_are_likely_to_be_asked_for() {
        let prompts = Prompts::build(recipe(None), 0, Amount::About(5)).await;
        assert_eq!(prompts.0.lock().unwrap().len(), 5);
        for number in 0..20 {
            assert_eq!(prompts.next().await.map(|(its, _)| its), Some(number), "and no fewer");
        }
    }
}
