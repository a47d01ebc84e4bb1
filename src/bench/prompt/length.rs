//! Whether prompts and answers are as long as asked for, as the server counts them.
//! Pure; how prompts are made so is in `fitting`.

use crate::client::record::{RequestRecord, Usage};

/// Tokens by which a prompt may miss its length, at least: what a chat template and
/// a salt are, about.
const SLACK: u64 = 64;
/// The same for a part of a prompt, such as one message.
const PART_SLACK: u64 = 16;
/// Share of prompts that may miss it in a repeat of many.
const MAX_MISSED: f64 = 0.01;

/// Why a prompt of `counted` tokens is not the one of `asked`: it misses that by
/// more than 5 % and 64 tokens.
pub(crate) fn missed(counted: u64, asked: u64) -> Option<String> {
    beyond(counted, asked, SLACK)
        .then(|| format!("the server counts {counted} tokens where {asked} are asked for"))
}

/// The same of a part of a prompt: by more than 5 % and 16 tokens.
pub(crate) fn part_missed(counted: u64, asked: u64) -> Option<String> {
    beyond(counted, asked, PART_SLACK).then(|| {
        format!(
            "the server counts {counted} tokens of a part of the prompt where {asked} are asked for"
        )
    })
}

fn beyond(counted: u64, asked: u64, least: u64) -> bool {
    counted.abs_diff(asked) > least.max(asked / 20)
}

/// Why a repeat of many prompts, each with the length asked for, is not the one
/// that was asked for.
pub(crate) fn some_missed<'r>(
    prompts: impl Iterator<Item = (&'r RequestRecord, u64)>,
) -> Option<String> {
    let odd = Odd::among(prompts, |record, usage, asked| {
        let reason = missed(usage.prompt_tokens, asked)?;
        Some(format!("request {}: {reason}", record.index))
    })?;
    let Odd { count, all, first } = odd;
    (f64::from(count) > MAX_MISSED * f64::from(all))
        .then(|| format!("{count} of {all} prompts are of another length; the first: {first}"))
}

/// The remark on answers that were to have exactly so many tokens and do not: a
/// server that does not know `ignore_eos` ends them where it likes.
pub(crate) fn odd_answers<'r>(
    answers: impl Iterator<Item = (&'r RequestRecord, u64)>,
) -> Option<String> {
    let Odd { count, all, first } = Odd::among(answers, |_, usage, asked| {
        let tokens = usage.completion_tokens;
        (tokens != asked).then(|| format!("{tokens} of {asked}"))
    })?;
    Some(format!(
        "{count} of {all} answers do not have the tokens that were asked for; the first: {first}"
    ))
}

/// What is not as it was asked for.
struct Odd {
    count: u32,
    /// Of so many whose tokens are reported.
    all: u32,
    /// The remark on the first.
    first: String,
}

impl Odd {
    /// Those on which `remark` returns something; `None` where there is none.
    fn among<'r>(
        records: impl Iterator<Item = (&'r RequestRecord, u64)>,
        remark: impl Fn(&RequestRecord, Usage, u64) -> Option<String>,
    ) -> Option<Self> {
        let (mut count, mut all, mut first) = (0, 0, None);
        for (record, asked) in records {
            let Some(usage) = record.usage else { continue };
            all += 1;
            if let Some(text) = remark(record, usage, asked) {
                count += 1;
                first.get_or_insert(text);
            }
        }
        first.map(|first| Self { count, all, first })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_percent_or_some_tokens_are_near_enough() {
        for (counted, asked) in [(0, 64), (128, 64), (9500, 10_000), (10_500, 10_000)] {
            assert_eq!(missed(counted, asked), None, "{counted} {asked}");
        }
        for (counted, asked) in [(0, 65), (129, 64), (9499, 10_000), (2048, 10_000)] {
            assert!(missed(counted, asked).is_some(), "{counted} {asked}");
        }
        let reason = "the server counts 2048 tokens where 10000 are asked for";
        assert_eq!(missed(2048, 10_000).as_deref(), Some(reason));
        assert_eq!(part_missed(104, 120), None);
        assert!(part_missed(103, 120).expect("17 less").contains("of a part of the prompt"));
    }

    #[test]
    fn answers_of_another_length_are_remarked_on() {
        let record = |completion_tokens| RequestRecord {
            usage: Some(Usage { completion_tokens, ..Usage::default() }),
            ..RequestRecord::default()
        };
        let records = [record(4), RequestRecord::default(), record(7), record(4)];
        let of = |asked| odd_answers(records.iter().zip(asked));
        assert_eq!(of([4, 4, 7, 4]), None);
        let reason = "2 of 3 answers do not have the tokens that were asked for; the first: 7 of 4";
        assert_eq!(of([4, 4, 4, 5]).as_deref(), Some(reason));
    }

    #[test]
    fn one_prompt_in_a_hundred_may_be_another() {
        let record = |index, prompt_tokens| RequestRecord {
            index,
            usage: Some(Usage { prompt_tokens, ..Usage::default() }),
            ..RequestRecord::default()
        };
        let mut records: Vec<RequestRecord> = (0..100).map(|index| record(index, 1000)).collect();
        records.push(RequestRecord::default());
        let of = |records: &[RequestRecord]| some_missed(records.iter().map(|r| (r, 1000)));
        assert_eq!(of(&records), None);
        records[7] = record(7, 10);
        assert_eq!(of(&records), None);
        records[9] = record(9, 10);
        let reason = "2 of 100 prompts are of another length; the first: request 7: the server \
                    counts 10 tokens where 1000 are asked for";
        assert_eq!(of(&records).as_deref(), Some(reason));
        assert_eq!(of(&[]), None);
    }
}
