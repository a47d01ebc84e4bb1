//! The workload `conversation`: a closed loop of one. Each turn sends the whole
//! history, with the answers that the server really gave, and one more message.
//!
//! Conversations follow one another and are not interleaved: with interleaved
//! ones the number of the turn would run with the time of the repeat, and any
//! drift of the machine would be read as growth with the history.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::bench::error::BenchError;
use crate::bench::lookups::Lookup;
use crate::bench::metrics::all_of;
use crate::bench::outcome::{RepeatOutcome, RepeatResult};
use crate::bench::prompt::dataset::Overhead;
use crate::bench::prompt::density::{PromptError, with_density_where_tight};
use crate::bench::prompt::fitting::{FitError, LengthTarget, fit_added};
use crate::bench::prompt::generate::{derive, salt, text};
use crate::bench::prompt::length::{odd_answers, part_missed};
use crate::bench::repeat::RepeatContext;
use crate::bench::sequence::{Reply, RequestSequence, Stop, mean};
use crate::client::record::RequestRecord;
use crate::client::request::{Input, RequestSpec};
use crate::metric::MetricValues;
use crate::statistics::{median, slope};
use crate::workload::metrics::CONVERSATION as METRICS;
use crate::workload::{Conversation, Dataset, Route};

/// What every message of the user ends with.
const CLOSING: &str = "\nWhat do you say?";

/// The texts of the user.
#[derive(Debug)]
enum UserTexts {
    /// Texts of this size in bytes.
    FromSeed(usize),
    /// Those in these conversations of a dataset.
    InFile(Candidates),
}

/// Conversations that fit, in the order in which they are tried.
#[derive(Debug)]
struct Candidates {
    path: PathBuf,
    dataset: Arc<Dataset>,
    /// Those that fit into the context, as far as that is known.
    entries: Vec<usize>,
    /// Those that have enough turns.
    long: usize,
    longest: Option<u64>,
}

impl Candidates {
    /// Picked by the seed, the same for every configuration.
    async fn of(
        repeat: &mut RepeatContext<'_>,
        spec: &Conversation,
        path: &Path,
    ) -> Result<Self, PromptError> {
        let turns = spec.turns;
        let overhead =
            Overhead { messages: 2 * turns + 1, output_tokens: turns * spec.output_tokens };
        let largest = |dataset: &Dataset| {
            let long = dataset.conversations(turns).into_iter();
            long.map(|entry| dataset.said_bytes(entry, turns)).max().unwrap_or(0)
        };
        let source = with_density_where_tight(repeat, path, Route::Chat, largest, overhead).await?;
        let (dataset, longest) =
            (Arc::clone(source.dataset()), repeat.session.server().max_model_len);
        let mut entries = dataset.conversations(turns);
        let long = entries.len();
        entries.retain(|entry| {
            source.accepts(*entry, dataset.said_bytes(*entry, turns), overhead, longest)
        });
        let seed = repeat.seed_number(&["conversation"]);
        entries.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        Ok(Self { path: path.to_owned(), dataset, entries, long, longest })
    }

    /// What is remarked of those that do not fit; the server refused some.
    fn left_out(&self, refused: usize) -> Option<String> {
        let out = self.long - self.entries.len() + refused;
        let context =
            self.longest.map_or_else(String::new, |longest| format!(" of {longest} tokens"));
        (out > 0).then(|| {
            format!(
                "{out} of {} conversations of {} do not fit into the context{context} and are \
                 passed over",
                self.long,
                self.path.display()
            )
        })
    }

    /// Why there are not as many as are asked for.
    fn too_few(&self, spec: &Conversation, refused: usize) -> String {
        let left_out = self.left_out(refused).map_or_else(String::new, |text| format!(": {text}"));
        format!(
            "{} has {} conversations of {} turns that fit into the context, and the workload needs {}{left_out}",
            self.path.display(),
            self.entries.len() - refused,
            spec.turns,
            spec.conversations
        )
    }
}

/// What the turns add up to.
#[derive(Debug, Default)]
struct Tally {
    turns: Vec<Turn>,
    caching_off: bool,
    requests: usize,
    failed: usize,
    /// Conversations that the server refused to continue, as too long.
    refused: usize,
}

/// One answered turn.
#[derive(Debug)]
struct Turn {
    conversation: u64,
    /// From 1.
    number: u64,
    is_last: bool,
    ttft_ms: Option<f64>,
    tpot_ms: Option<f64>,
    /// `None`: not reported.
    prompt_tokens: Option<u64>,
    /// Tokens from the cache; `None`: not reported.
    cached: Option<u64>,
}

/// Runs one repeat.
pub(crate) async fn repeat(
    repeat: &mut RepeatContext<'_>,
    spec: &Conversation,
) -> Result<RepeatResult, BenchError> {
    if let Some(longest) = repeat.session.server().max_model_len
        && spec.dataset.is_none()
        && spec.longest() > longest
    {
        let reason = format!(
            "{} turns of {} + {} tokens, and some {} around them, do not fit into the context of \
             {longest}",
            spec.turns,
            spec.turn_tokens,
            spec.output_tokens,
            spec.around()
        );
        return Ok(RepeatResult::without_requests(
            RepeatOutcome::Skipped(reason),
            Tally::default().values(),
        ));
    }
    let user_texts = match &spec.dataset {
        None => match message_size(repeat, spec).await {
            Ok(size) => UserTexts::FromSeed(size),
            Err(error) => return PromptError::from(error).into_result(Tally::default().values()),
        },
        Some(path) => match Candidates::of(repeat, spec, path).await {
            Ok(candidates) => UserTexts::InFile(candidates),
            Err(error) => return error.into_result(Tally::default().values()),
        },
    };
    let mut sequence = RequestSequence::start(repeat).await;
    let mut tally = Tally::default();
    let ended = all(&mut sequence, spec, &user_texts, &mut tally).await;
    tally.requests = sequence.requests();
    tally.failed = sequence.failed();
    let left_out = match &user_texts {
        UserTexts::FromSeed(_) => None,
        UserTexts::InFile(candidates) => candidates.left_out(tally.refused),
    };
    let odd = odd_answers(sequence.records().iter().map(|record| (record, spec.output_tokens)));
    for remark in left_out.into_iter().chain(odd) {
        sequence.remark(remark);
    }
    sequence.end(ended, tally.values())
}

async fn all(
    sequence: &mut RequestSequence<'_, '_>,
    spec: &Conversation,
    user_texts: &UserTexts,
    tally: &mut Tally,
) -> Result<(), Stop> {
    let candidates = match user_texts {
        UserTexts::FromSeed(size) => {
            for number in 0..spec.conversations {
                let name = format!("conversation {number}");
                let planned = Planned { number, name, texts: Texts::OfSize(*size) };
                converse(sequence, spec, &planned, tally).await?;
            }
            return Ok(());
        }
        UserTexts::InFile(candidates) => candidates,
    };
    let mut number = 0;
    for (tried, entry) in candidates.entries.iter().enumerate() {
        if number == spec.conversations
            || ((candidates.entries.len() - tally.refused) as u64) < spec.conversations
        {
            break;
        }
        let texts = Texts::These(candidates.dataset.said(*entry));
        let planned = Planned { number, name: format!("conversation {tried}"), texts };
        match converse(sequence, spec, &planned, tally).await {
            // How long the answers and the template make it, the server alone knows.
            Err(Stop::TooLong(_)) => {
                sequence.repeat.session.sources().refuse(&candidates.path, *entry);
                tally.refuse(number);
            }
            ended => {
                ended?;
                number += 1;
            }
        }
    }
    if number < spec.conversations {
        return Err(Stop::Skipped(candidates.too_few(spec, tally.refused)));
    }
    Ok(())
}

/// One conversation.
struct Planned<'a> {
    /// From 0, among those that came to their end.
    number: u64,
    /// Unique in the repeat: its salt.
    name: String,
    texts: Texts<'a>,
}

/// The texts of the user in it.
enum Texts<'a> {
    /// Texts from the seed, of so many bytes each.
    OfSize(usize),
    These(Vec<Cow<'a, str>>),
}

/// The size of a text of the user with which its message, as the server counts it,
/// is `turn_tokens` long.
async fn message_size(
    repeat: &mut RepeatContext<'_>,
    spec: &Conversation,
) -> Result<usize, FitError> {
    let purpose = format!("conversation {} {}", spec.turn_tokens, spec.thinking);
    let (salt, requests) = (repeat.salt_number(&[&purpose]), repeat.target().clone());
    let (target, spec) = (LengthTarget::new(&purpose, spec.turn_tokens), spec.clone());
    let prompt = move |name: &str, message: String| {
        let salt = derive(&[&salt.to_string(), name]);
        let history = [opening(salt), json!({"role": "user", "content": message})];
        RequestSpec { max_tokens: 1, keep_answer: false, ..request(&spec, &history) }
            .prepare(&requests)
    };
    let around = prompt("around", "a".to_owned());
    let make = move |size, name: &str| prompt(name, spoken(1, size));
    fit_added(repeat, target, &around, make).await
}

async fn converse(
    sequence: &mut RequestSequence<'_, '_>,
    spec: &Conversation,
    planned: &Planned<'_>,
    tally: &mut Tally,
) -> Result<(), Stop> {
    let mut tokens = 0;
    let salt_number = sequence.repeat.salt_number(&["conversation", &planned.name]);
    let cache_salt = sequence.repeat.session.cache_salt().then_some(salt_number);
    let mut history = vec![opening(salt_number)];
    for number in 1..=spec.turns {
        let message = match &planned.texts {
            Texts::OfSize(size) => {
                Cow::Owned(message(sequence.repeat, &planned.name, number, *size))
            }
            Texts::These(texts) => texts.get(number as usize - 1).cloned().unwrap_or_default(),
        };
        history.push(json!({"role": "user", "content": message}));
        let (purpose, request) = (format!("turn {number}"), request(spec, &history));
        let request = request.salted(cache_salt);
        let reply = match number {
            1 => sequence.ask_cold(&purpose, request).await?,
            _ => sequence.ask(&purpose, request).await?,
        };
        let is_partial = is_partial(sequence.repeat, &reply.record);
        let (place, is_last) = ((planned.number, number), number == spec.turns);
        tally.note(place, is_last, is_partial, &reply);
        if !is_partial {
            check_growth(&reply.record, &mut tokens, planned.least_growth(spec))?;
        }
        history.push(json!({"role": "assistant", "content": reply.answer.content}));
    }
    Ok(())
}

impl Planned<'_> {
    /// Tokens that a turn adds to the prompt at least.
    fn least_growth(&self, spec: &Conversation) -> u64 {
        match self.texts {
            Texts::OfSize(_) => spec.turn_tokens,
            Texts::These(_) => 1,
        }
    }
}

/// Whether the server counts a prompt without what came from its cache.
fn is_partial(repeat: &RepeatContext<'_>, record: &RequestRecord) -> bool {
    let known = repeat.session.counts_new_alone();
    record.usage.is_some_and(|usage| usage.leaves_out_cached(known))
}

/// A server that cuts a history in silence is found out: each turn adds its message,
/// and the answer before it. `tokens` are those of the turn before.
fn check_growth(record: &RequestRecord, tokens: &mut u64, least: u64) -> Result<(), Stop> {
    let Some(usage) = record.usage else { return Ok(()) };
    let before = std::mem::replace(tokens, usage.prompt_tokens);
    let grown = usage.prompt_tokens.saturating_sub(before);
    let missed = part_missed(grown.min(least), least).or_else(|| {
        (grown == 0).then(|| "the server counts no more tokens than a turn before".to_owned())
    });
    let located = |reason| format!("request {} ({}): {reason}", record.index, record.purpose);
    missed.map_or(Ok(()), |reason| Err(Stop::Void(located(reason))))
}

/// The system message: no two conversations share a block.
fn opening(salt_number: u64) -> Value {
    let text = format!("{}. You talk with a friend.", salt(salt_number));
    json!({"role": "system", "content": text})
}

/// A text of the user, from the seed: the same for every configuration.
fn message(repeat: &RepeatContext<'_>, name: &str, turn: u64, size: usize) -> String {
    spoken(repeat.seed_number(&["conversation", name, &turn.to_string()]), size)
}

fn spoken(seed: u64, size: usize) -> String {
    format!("{}{CLOSING}", text(seed, size))
}

fn request(spec: &Conversation, history: &[Value]) -> RequestSpec {
    let request = RequestSpec {
        keep_answer: true,
        ..RequestSpec::speed(Input::Chat(history.to_vec()), spec.output_tokens)
    };
    request.thinking((!spec.thinking).then_some(false))
}

impl Tally {
    /// `is_partial`: its prompt is counted without what came from the cache.
    fn note(
        &mut self,
        (conversation, number): (u64, u64),
        is_last: bool,
        is_partial: bool,
        reply: &Reply,
    ) {
        let record = &reply.record;
        self.caching_off |= reply.lookup == Lookup::Off;
        self.turns.push(Turn {
            conversation,
            number,
            is_last,
            ttft_ms: record.ttft_ms(),
            tpot_ms: record.tpot_ms(),
            prompt_tokens: record.usage.filter(|_| !is_partial).map(|usage| usage.prompt_tokens),
            cached: match reply.lookup {
                Lookup::Found(found) => Some(found),
                // Of a first turn there is nothing to be found.
                Lookup::Unmoved if number == 1 => Some(0),
                Lookup::Unmoved | Lookup::Off | Lookup::Unknown => None,
            },
        });
    }

    /// A conversation that was too long counts for nothing.
    fn refuse(&mut self, conversation: u64) {
        self.turns.retain(|turn| turn.conversation != conversation);
        self.refused += 1;
    }

    /// A mean over the turns that `keep` picks.
    fn mean_of(
        &self,
        keep: impl Fn(&Turn) -> bool,
        value: impl Fn(&Turn) -> Option<f64>,
    ) -> Option<f64> {
        let values: Vec<f64> =
            self.turns.iter().filter(|turn| keep(turn)).filter_map(value).collect();
        mean(&values)
    }

    /// The share of prompt tokens from the cache, if it is known of all these turns.
    fn cache_share(&self, keep: impl Fn(&Turn) -> bool) -> Option<f64> {
        let kept: Vec<&Turn> = self.turns.iter().filter(|turn| keep(turn)).collect();
        let cached: Vec<u64> = kept.iter().map(|turn| turn.cached).collect::<Option<_>>()?;
        let tokens: u64 = kept.iter().map(|turn| turn.prompt_tokens).sum::<Option<u64>>()?;
        (tokens > 0).then(|| cached.iter().sum::<u64>() as f64 / tokens as f64)
    }

    /// A value for each turn that was answered, in their order; `None` where no turn
    /// has one.
    fn by_turn(
        &self,
        value: impl Fn(&dyn Fn(&Turn) -> bool) -> Option<f64>,
    ) -> Option<Vec<Option<f64>>> {
        let last = self.turns.iter().map(|turn| turn.number).max()?;
        let values: Vec<_> =
            (1..=last).map(|number| value(&|turn: &Turn| turn.number == number)).collect();
        values.iter().any(Option::is_some).then_some(values)
    }

    fn cache_state(&self) -> Option<&'static str> {
        if self.turns.is_empty() {
            None
        } else if self.caching_off {
            Some("not_applicable")
        } else if self.turns.iter().all(|turn| turn.cached.is_some()) {
            Some("certified")
        } else {
            Some("unknown")
        }
    }

    fn slope(&self) -> Option<(f64, crate::statistics::Interval)> {
        let conversations = self.turns.iter().map(|turn| turn.conversation).max()?;
        let groups: Vec<Vec<(f64, f64)>> = (0..=conversations)
            .map(|conversation| {
                let own = self.turns.iter().filter(|turn| turn.conversation == conversation);
                own.filter_map(|turn| Some((turn.number as f64, turn.ttft_ms?))).collect()
            })
            .collect();
        slope(&groups)
    }

    fn values(&self) -> MetricValues {
        let ttft: Vec<f64> = self.turns.iter().filter_map(|turn| turn.ttft_ms).collect();
        let slope = self.slope();
        let tokens = |turn: &Turn| turn.prompt_tokens.map(|tokens| tokens as f64);
        let first = |turn: &Turn| turn.number == 1;
        let last = |turn: &Turn| turn.is_last;
        all_of!(METRICS;
            "mean_ttft_ms": mean(&ttft),
            "median_ttft_ms": median(&ttft),
            "ttft_first_ms": self.mean_of(first, |turn| turn.ttft_ms),
            "ttft_last_ms": self.mean_of(last, |turn| turn.ttft_ms),
            "ttft_slope_ms_per_turn": slope.map(|(slope, _)| slope),
            "ttft_slope_low": slope.map(|(_, interval)| interval.low),
            "ttft_slope_high": slope.map(|(_, interval)| interval.high),
            "mean_tpot_ms": self.mean_of(|_| true, |turn| turn.tpot_ms),
            "cache_share": self.cache_share(|turn| turn.number > 1),
            "cache_share_last": self.cache_share(last),
            "prompt_tokens_first": self.mean_of(first, tokens),
            "prompt_tokens_last": self.mean_of(last, tokens),
            "turns": Some(self.turns.len() as f64),
            "requests": Some(self.requests as f64),
            "failed": Some(self.failed as f64),
            "ttft_by_turn_ms": self.by_turn(|turn| self.mean_of(turn, |turn| turn.ttft_ms)),
            "tpot_by_turn_ms": self.by_turn(|turn| self.mean_of(turn, |turn| turn.tpot_ms)),
            "cache_share_by_turn": self.by_turn(|turn| self.cache_share(turn)),
            "prompt_tokens_by_turn": self.by_turn(|turn| self.mean_of(turn, tokens)),
            "cache_state": self.cache_state(),
        )
    }
}
