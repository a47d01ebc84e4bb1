//! The workload `conversation`: a closed loop of one. Each turn sends the whole
//! history, with the answers that the server really gave, and one more message.
//!
//! Conversations follow one another and are not interleaved: with interleaved
//! ones the number of the turn would run with the time of the repeat, and any
//! drift of the machine would be read as growth with the history.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

use crate::bench::dataset::Dataset;
use crate::bench::dialogue::{Dialogue, Reply, Stop, mean};
use crate::bench::kv_cache::median;
use crate::bench::prompts::{derive, salt, text};
use crate::bench::request::{Input, RequestSpec};
use crate::bench::suite::{Bench, BenchError, Repeat, Verdict};
use crate::bench::traffic::Lookup;
use crate::metric::{MetricValue, MetricValues};
use crate::statistics::slope;
use crate::workload::Conversation;

/// Bytes of the first text that is sent to a server: its tokens per byte are not known yet.
const FIRST_SIZE: usize = 1500;

/// What every message of the user ends with.
const CLOSING: &str = "\nWhat do you say?";

/// What the users say.
#[derive(Debug, PartialEq)]
enum Said {
    /// Texts of a length.
    FromSeed,
    /// These texts, conversation by conversation.
    InFile(Vec<Vec<String>>),
}

impl Said {
    /// Reads the dataset, where there is one; picks by the seed, the same for
    /// every configuration.
    async fn of(spec: &Conversation, bench: &Bench<'_>) -> Result<Self, String> {
        let Some(path) = spec.dataset.clone() else { return Ok(Self::FromSeed) };
        let shown = path.display().to_string();
        let read = tokio::task::spawn_blocking(move || Dataset::read(&path)).await;
        let dataset =
            read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let mut long = dataset.conversations(spec.turns as usize);
        if (long.len() as u64) < spec.conversations {
            return Err(format!(
                "{shown} has {} conversations of at least {} turns, {} are asked for",
                long.len(),
                spec.turns,
                spec.conversations
            ));
        }
        let seed = derive(&[&bench.seed().to_string(), &bench.repeat_name(), "conversation"]);
        long.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        long.truncate(spec.conversations as usize);
        Ok(Self::InFile(long.into_iter().map(<[String]>::to_vec).collect()))
    }
}

/// What the turns add up to.
#[derive(Debug, Default)]
struct Tally {
    turns: Vec<Turn>,
    caching_off: bool,
    requests: usize,
    failed: usize,
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
    prompt_tokens: u64,
    /// Tokens from the cache; `None`: not told.
    cached: Option<u64>,
}

/// Runs one repeat.
pub(crate) async fn repeat(
    bench: &mut Bench<'_>,
    spec: &Conversation,
) -> Result<Repeat, BenchError> {
    if let Some(longest) = bench.server().max_model_len
        && spec.dataset.is_none()
        && spec.longest() > longest
    {
        let reason = format!(
            "{} turns of {} + {} tokens do not fit into the context of {longest}",
            spec.turns, spec.turn_tokens, spec.output_tokens
        );
        return Ok(Repeat::without_requests(Verdict::Skipped(reason), Tally::default().values()));
    }
    let said = match Said::of(spec, bench).await {
        Ok(said) => said,
        Err(reason) => {
            let values = Tally::default().values();
            return Ok(Repeat::without_requests(Verdict::Skipped(reason), values));
        }
    };
    let mut dialogue = Dialogue::start(bench).await;
    let mut tally = Tally::default();
    let ended = all(&mut dialogue, spec, &said, &mut tally).await;
    tally.requests = dialogue.requests();
    tally.failed = dialogue.failed();
    dialogue.end(ended, tally.values())
}

async fn all(
    dialogue: &mut Dialogue<'_, '_>,
    spec: &Conversation,
    said: &Said,
    tally: &mut Tally,
) -> Result<(), Stop> {
    if *said == Said::FromSeed {
        calibrate(dialogue).await?;
    }
    for number in 0..spec.conversations {
        converse(dialogue, spec, said, number, tally).await?;
    }
    Ok(())
}

/// Learns how many tokens a byte of text is, where nothing was sent yet.
async fn calibrate(dialogue: &mut Dialogue<'_, '_>) -> Result<(), Stop> {
    if dialogue.bench.tokens_per_byte().is_some() {
        return Ok(());
    }
    let salt = dialogue.bench.salt_number(&["conversation", "calibration"]);
    let messages = crate::bench::prompts::messages(salt, salt, FIRST_SIZE);
    let reply = dialogue.ask("calibration", &RequestSpec::speed(Input::Chat(messages), 1)).await?;
    let tokens = reply.record.usage.map_or(0, |usage| usage.prompt_tokens);
    dialogue.bench.set_tokens_per_byte(tokens as f64 / FIRST_SIZE as f64);
    Ok(())
}

async fn converse(
    dialogue: &mut Dialogue<'_, '_>,
    spec: &Conversation,
    said: &Said,
    conversation: u64,
    tally: &mut Tally,
) -> Result<(), Stop> {
    let name = format!("conversation {conversation}");
    let salted = salt(dialogue.bench.salt_number(&["conversation", &name]));
    let opening = format!("{salted}. You talk with a friend.");
    let mut history = vec![json!({"role": "system", "content": opening})];
    for number in 1..=spec.turns {
        let message = match said {
            Said::FromSeed => message(dialogue, spec, &name, number),
            Said::InFile(conversations) => conversations
                .get(conversation as usize)
                .and_then(|texts| texts.get(number as usize - 1))
                .cloned()
                .unwrap_or_default(),
        };
        history.push(json!({"role": "user", "content": message}));
        let reply = dialogue.ask(&format!("turn {number}"), &request(spec, &history)).await?;
        tally.note(conversation, number, number == spec.turns, &reply);
        history.push(json!({"role": "assistant", "content": reply.answer.content}));
    }
    Ok(())
}

/// What the user says, from the seed: the same for every configuration.
fn message(dialogue: &Dialogue<'_, '_>, spec: &Conversation, name: &str, turn: u64) -> String {
    let bench = &dialogue.bench;
    let parts = [bench.seed().to_string(), bench.repeat_name(), turn.to_string()];
    let seed = derive(&[&parts[0], &parts[1], "conversation", name, &parts[2]]);
    let per_byte = bench.tokens_per_byte().unwrap_or(0.3).max(0.01);
    let size = (spec.turn_tokens as f64 / per_byte) as usize;
    format!("{}{CLOSING}", text(seed, size.saturating_sub(CLOSING.len()).max(8)))
}

fn request(spec: &Conversation, history: &[Value]) -> RequestSpec {
    let mut extra = Map::new();
    if !spec.thinking {
        extra.insert("chat_template_kwargs".to_owned(), json!({"enable_thinking": false}));
    }
    RequestSpec {
        extra,
        keep_answer: true,
        ..RequestSpec::speed(Input::Chat(history.to_vec()), spec.output_tokens)
    }
}

impl Tally {
    fn note(&mut self, conversation: u64, number: u64, is_last: bool, reply: &Reply) {
        let record = &reply.record;
        self.caching_off |= reply.lookup == Lookup::Off;
        self.turns.push(Turn {
            conversation,
            number,
            is_last,
            ttft_ms: record.ttft_ms(),
            tpot_ms: record.tpot_ms(),
            prompt_tokens: record.usage.map_or(0, |usage| usage.prompt_tokens),
            cached: match reply.lookup {
                Lookup::Found(found) => Some(found),
                Lookup::Off | Lookup::Unknown => None,
            },
        });
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

    /// The share of prompt tokens from the cache, if all of these turns tell it.
    fn cache_share(&self, keep: impl Fn(&Turn) -> bool) -> Option<f64> {
        let kept: Vec<&Turn> = self.turns.iter().filter(|turn| keep(turn)).collect();
        let cached: Vec<u64> = kept.iter().map(|turn| turn.cached).collect::<Option<_>>()?;
        let tokens: u64 = kept.iter().map(|turn| turn.prompt_tokens).sum();
        (tokens > 0).then(|| cached.iter().sum::<u64>() as f64 / tokens as f64)
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
        let tokens = |turn: &Turn| Some(turn.prompt_tokens as f64);
        let first = |turn: &Turn| turn.number == 1;
        let last = |turn: &Turn| turn.is_last;
        let numbers = [
            ("mean_ttft_ms", mean(&ttft)),
            ("median_ttft_ms", median(&ttft)),
            ("ttft_first_ms", self.mean_of(first, |turn| turn.ttft_ms)),
            ("ttft_last_ms", self.mean_of(last, |turn| turn.ttft_ms)),
            ("ttft_slope_ms_per_turn", slope.map(|(slope, _)| slope)),
            ("ttft_slope_low", slope.map(|(_, interval)| interval.low)),
            ("ttft_slope_high", slope.map(|(_, interval)| interval.high)),
            ("mean_tpot_ms", self.mean_of(|_| true, |turn| turn.tpot_ms)),
            ("cache_share", self.cache_share(|turn| turn.number > 1)),
            ("cache_share_last", self.cache_share(last)),
            ("prompt_tokens_first", self.mean_of(first, tokens)),
            ("prompt_tokens_last", self.mean_of(last, tokens)),
            ("turns", Some(self.turns.len() as f64)),
            ("requests", Some(self.requests as f64)),
            ("failed", Some(self.failed as f64)),
        ];
        let mut values: MetricValues = numbers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.map(MetricValue::Number)))
            .collect();
        let state = self.cache_state().map(|state| MetricValue::Text(state.to_owned()));
        values.insert("cache_state".to_owned(), state);
        values
    }
}
