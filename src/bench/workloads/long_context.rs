//! The workload `long-context`: a code hidden in a long text, to be repeated. One
//! request for each depth, answered to its natural end; what was cut off is wrong.

use serde_json::json;

use crate::bench::error::BenchError;
use crate::bench::metrics::all_of;
use crate::bench::outcome::{RepeatOutcome, RepeatResult};
use crate::bench::prompt::density::PromptError;
use crate::bench::prompt::fitting::{LengthTarget, fit};
use crate::bench::prompt::generate::{derive, salt, text};
use crate::bench::repeat::RepeatContext;
use crate::bench::sequence::{Reply, RequestSequence, Stop};
use crate::client::request::{Input, RequestSpec};
use crate::metric::MetricValues;
use crate::statistics::distribution::Distribution;
use crate::workload::LongContext;
use crate::workload::metrics::LONG_CONTEXT as METRICS;

/// What the answers add up to.
#[derive(Debug, Default)]
struct Tally {
    correct: u32,
    asked: u32,
    truncated: u32,
    ttft_ms: Vec<f64>,
    e2e_ms: Vec<f64>,
    tpot_ms: Vec<f64>,
    prefill: Vec<f64>,
    prompt_tokens: Vec<f64>,
}

/// Runs one repeat of the case `target`; a warm-up asks once.
pub(crate) async fn repeat(
    repeat: &mut RepeatContext<'_>,
    spec: &LongContext,
    target: u64,
) -> Result<RepeatResult, BenchError> {
    // The fit may be half a percent above what was asked for.
    let needed = target + (target / 200).max(8) + spec.max_tokens;
    if let Some(longest) = repeat.session.server().max_model_len
        && needed > longest
    {
        let answer = spec.max_tokens;
        let reason = format!(
            "{target} tokens and an answer of {answer} do not fit into the context of {longest}"
        );
        return Ok(RepeatResult::without_requests(
            RepeatOutcome::Skipped(reason),
            MetricValues::new(),
        ));
    }
    let purpose = format!("long-context {target}");
    let (salt, requests) = (repeat.salt_number(&[&purpose]), repeat.target().clone());
    let make = move |bytes, name: &str| {
        let salt = derive(&[&salt.to_string(), name]);
        let needle = Needle { salt, seed: 1, depth: 0.5 };
        RequestSpec::speed(needle.input(bytes), 1).prepare(&requests)
    };
    let bytes = match fit(repeat, LengthTarget::new(&purpose, target), make).await {
        Ok(bytes) => bytes,
        Err(error) => return PromptError::from(error).into_result(MetricValues::new()),
    };
    let depths = if repeat.is_warmup() { &spec.depths[..1] } else { &spec.depths };
    let mut sequence = RequestSequence::start(repeat).await;
    let mut tally = Tally::default();
    let mut ended = Ok(());
    for depth in depths {
        let name = format!("depth={depth}");
        let needle = Needle::of(sequence.repeat, target, *depth);
        let asked = ask(&mut sequence, spec, &name, needle, bytes).await;
        ended = asked.and_then(|reply| {
            tally.note(&needle, &reply);
            reply.check_length(target)
        });
        if ended.is_err() {
            break;
        }
    }
    let (requests, failed) = (sequence.requests(), sequence.failed());
    sequence.end(ended, tally.values(requests, failed))
}

async fn ask(
    sequence: &mut RequestSequence<'_, '_>,
    spec: &LongContext,
    name: &str,
    needle: Needle,
    bytes: usize,
) -> Result<Reply, Stop> {
    let (spec, cache_salt) =
        (spec.clone(), sequence.repeat.session.cache_salt().then_some(needle.salt));
    let make = move || request(&spec, &needle, bytes).salted(cache_salt);
    let request = sequence.repeat.session.make(make).await.ok_or(Stop::Cancelled)?;
    sequence.ask_cold(name, request).await
}

/// A code and where it lies.
#[derive(Clone, Copy, Debug)]
struct Needle {
    /// Opens the prompt, so that no part of it was sent before.
    salt: u64,
    /// Of the text and the code: the same for every configuration.
    seed: u64,
    depth: f64,
}

impl Needle {
    fn of(repeat: &RepeatContext<'_>, target: u64, depth: f64) -> Self {
        let (case, at) = (target.to_string(), depth.to_string());
        Self {
            salt: repeat.salt_number(&["long-context", &case, &at]),
            seed: repeat.seed_number(&["long-context", &case, &at]),
            depth,
        }
    }

    /// Two groups of four digits: no text of ours contains them.
    fn code(&self) -> String {
        let number = derive(&[&self.seed.to_string(), "code"]);
        format!("{:04}-{:04}", number % 10_000, (number / 10_000) % 10_000)
    }

    fn input(&self, bytes: usize) -> Input {
        let system = format!(
            "{} (a label without meaning). You read texts with care and answer exactly.",
            salt(self.salt)
        );
        let hay = text(self.seed, bytes);
        let at = place(&hay, self.depth);
        let (before, after) = hay.split_at(at);
        let user = format!(
            "{before}The access code of the archive is {}. {after}\n\nWhat is the access code of \
             the archive? Answer with the code alone.",
            self.code()
        );
        Input::Chat(vec![
            json!({"role": "system", "content": system}),
            json!({"role": "user", "content": user}),
        ])
    }

    /// Whether the last code of an answer is the right one: of several, it is the
    /// one that the model settles on.
    fn is_found_in(&self, answer: &str) -> bool {
        codes(answer).pop().is_some_and(|code| code == self.code())
    }
}

/// The codes of an answer: two groups of digits with a dash between them,
/// of whatever kind, spaced or emphasised, or eight digits and more without one.
fn codes(answer: &str) -> Vec<String> {
    let is_joint = |c: char| DASHES.contains(&c) || c.is_whitespace() || "*_`".contains(c);
    let digits: Vec<(usize, &str)> = answer
        .match_indices(|c: char| c.is_ascii_digit())
        .map(|(at, _)| at)
        .filter(|at| !answer[..*at].ends_with(|c: char| c.is_ascii_digit()))
        .map(|at| {
            let rest = &answer[at..];
            (at, &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())])
        })
        .collect();
    let joined = |pair: &[(usize, &str)]| {
        let between = &answer[pair[0].0 + pair[0].1.len()..pair[1].0];
        between.contains(DASHES) && between.chars().all(is_joint)
    };
    // A chain of groups with dashes between them is one code or none.
    let chains = digits.chunk_by(|one, next| joined(&[*one, *next]));
    chains
        .filter_map(|chain| match *chain {
            [(_, whole)] if whole.len() >= 8 => Some(format!("{}-{}", &whole[..4], &whole[4..])),
            [(_, first), (_, second)] if first.len() >= 4 && second.len() >= 4 => {
                Some(format!("{first}-{second}"))
            }
            _ => None,
        })
        .collect()
}

/// Models write any of them.
const DASHES: [char; 6] = ['-', '\u{2010}', '\u{2011}', '\u{2012}', '\u{2013}', '\u{2212}'];

/// The start of the sentence nearest behind a share of the text.
fn place(text: &str, depth: f64) -> usize {
    let earliest = (text.len() as f64 * depth) as usize;
    let starts = text.match_indices(". ").map(|(at, _)| at + 2);
    std::iter::once(0).chain(starts).find(|start| *start >= earliest).unwrap_or(text.len())
}

fn request(spec: &LongContext, needle: &Needle, bytes: usize) -> RequestSpec {
    let request = RequestSpec {
        ignore_eos: false,
        keep_answer: true,
        ..RequestSpec::speed(needle.input(bytes), spec.max_tokens)
    };
    request.thinking(spec.thinking)
}

impl Tally {
    fn note(&mut self, needle: &Needle, reply: &Reply) {
        let record = &reply.record;
        let content = reply.answer.content.as_str();
        // Where the server does not separate the thinking.
        let answer = content.rsplit_once("</think>").map_or(content, |(_, answer)| answer);
        self.asked += 1;
        self.truncated += u32::from(reply.truncated);
        self.correct += u32::from(!reply.truncated && needle.is_found_in(answer));
        self.ttft_ms.extend(record.ttft_ms());
        self.e2e_ms.extend(record.e2e_ms());
        self.tpot_ms.extend(record.tpot_ms());
        if let Some(usage) = record.usage {
            self.prompt_tokens.push(usage.prompt_tokens as f64);
            let ttft = record.ttft_ms().filter(|ttft| *ttft > 0.0);
            self.prefill.extend(ttft.map(|ttft| usage.prompt_tokens as f64 * 1e3 / ttft));
        }
    }

    fn values(&self, requests: usize, failed: usize) -> MetricValues {
        let of = |values: &[f64]| Distribution::of(values.iter().copied());
        let asked = f64::from(self.asked);
        all_of!(METRICS;
            "accuracy": (self.asked > 0).then(|| f64::from(self.correct) / asked),
            "correct": Some(f64::from(self.correct)),
            "asked": Some(asked),
            "truncated": Some(f64::from(self.truncated)),
            "median_ttft_ms": of(&self.ttft_ms).median(),
            "max_ttft_ms": of(&self.ttft_ms).max(),
            "median_e2el_ms": of(&self.e2e_ms).median(),
            "median_tpot_ms": of(&self.tpot_ms).median(),
            "prefill_throughput": of(&self.prefill).median(),
            "prompt_tokens": of(&self.prompt_tokens).median(),
            "requests": Some(requests as f64),
            "failed": Some(failed as f64),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_needle_lies_where_it_should_between_sentences() {
        for depth in [0.0, 0.1, 0.5, 0.9, 1.0] {
            let needle = Needle { salt: 1, seed: 2, depth };
            let Input::Chat(messages) = needle.input(20_000) else { panic!("a chat") };
            let user = messages[1]["content"].as_str().expect("a text");
            let at = user.find("The access code").expect("hidden");
            let share = at as f64 / 20_000.0;
            assert!((share - depth).abs() < 0.03, "{share} {depth}");
            assert!(at == 0 || user[..at].ends_with(". ") || depth > 0.99);
            assert_eq!(user.matches(&needle.code()).count(), 1);
        }
        let other = Needle { salt: 1, seed: 3, depth: 0.5 };
        assert_ne!(other.code(), Needle { salt: 1, seed: 2, depth: 0.5 }.code());
    }

    #[test]
    fn only_the_code_is_right() {
        let needle = Needle { salt: 1, seed: 2, depth: 0.5 };
        let code = needle.code();
        let (first, second) = code.split_once('-').expect("two groups");
        for right in [
            code.clone(),
            format!("The code is **{code}**."),
            code.replace('-', "–"),
            format!("{first} - {second}"),
            format!("**{first}**-**{second}**"),
            format!("{first}{second}"),
            format!("1111-2222? No: the access code is {code}, as of 2027-03-04 (page 12)."),
        ] {
            assert!(needle.is_found_in(&right), "{right}");
        }
        let mut wrong = code.clone();
        let last = if code.ends_with('0') { '1' } else { '0' };
        wrong.pop();
        wrong.push(last);
        for wrong in [
            wrong.clone(),
            format!("{code}7"),
            format!("7{code}"),
            format!("{code}-7777"),
            format!("It may be {code}, or {wrong}."),
            format!("{first} {second}"),
            format!("{first} or {second}"),
            String::new(),
            "I do not know".to_owned(),
        ] {
            assert!(!needle.is_found_in(&wrong), "{wrong}");
        }
    }
}
