//! Answers of a load that are looked at, since some loop only under load. They are taken by
//! number and seed, spread evenly over the requests, and no more of them are kept than a bound,
//! however many requests there are; of each its end, where a loop shows. What a text is worth
//! is judged in [`crate::gate::repetition`], after the load.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::bench::metrics::some_of;
use crate::client::Answer;
use crate::gate::repetition::{Sample, judge_answer};
use crate::metric::{MetricReasons, MetricValues};
use crate::workload::metrics::LOAD as METRICS;

/// Answers that are kept at most; half as many at the least, where there are so many.
const MOST: usize = 64;
/// Bytes of the end of each that are kept, about.
pub(crate) const KEPT: usize = 16 << 10;
/// Characters below which an answer shows no loop, as a rule.
const SHORT: usize = 120;

/// Takes the sample of one load. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sampler(Arc<Taking>);

#[derive(Debug, Default)]
struct Taking {
    seed: u64,
    /// One request of 2 to the power of this is taken.
    level: AtomicU32,
    answers: Mutex<BTreeMap<u32, Answer>>,
}

impl Sampler {
    /// Of a load of about so many requests, as far as that is known.
    pub(crate) fn new(seed: u64, requests: u64) -> Self {
        let blocks = requests.div_ceil(MOST as u64).max(1);
        let level = AtomicU32::new(blocks.next_power_of_two().trailing_zeros());
        Self(Arc::new(Taking { seed, level, answers: Mutex::default() }))
    }

    /// Whether the answer of the request of this number is to be kept: one of each block of
    /// numbers, and a sample that is thinned out later keeps some of the same.
    pub(crate) fn takes(&self, index: u32) -> bool {
        let level = self.0.level.load(Ordering::Relaxed).min(31);
        (0..level).all(|bit| {
            let block = (u64::from(bit) << 32) | (u64::from(index) >> (bit + 1));
            u64::from((index >> bit) & 1) == mixed(self.0.seed ^ mixed(block)) & 1
        })
    }

    /// Keeps an answer; every second one is let go of where there are too many.
    pub(crate) fn keep(&self, index: u32, answer: Answer) {
        let mut answers = self.0.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.takes(index) {
            return;
        }
        answers.insert(index, answer);
        while answers.len() > MOST {
            self.0.level.fetch_add(1, Ordering::Relaxed);
            answers.retain(|index, _| self.takes(*index));
        }
    }

    /// What the answers of a sampler show, judged where it delays no requests: other launches
    /// may be measured meanwhile.
    pub(crate) async fn judged_apart(sampler: Option<&Self>) -> Option<Judged> {
        let sampler = sampler?.clone();
        match tokio::task::spawn_blocking(move || sampler.judged()).await {
            Ok(judged) => Some(judged),
            // Cancelled: the program ends.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => None,
            },
        }
    }

    /// What the answers show. Short ones count like the others: where only those of them
    /// counted in which something is wrong, every share would be too large.
    pub(crate) fn judged(&self) -> Judged {
        let answers = self.0.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sample = Sample::default();
        let mut is_legible = false;
        for Answer { content, reasoning, .. } in answers.values() {
            let verdict = judge_answer(reasoning, content, 0);
            let is_long = content.chars().count().max(reasoning.chars().count()) >= SHORT;
            is_legible |= is_long || verdict.is_some();
            sample.add(verdict);
        }
        Judged { sample, is_legible }
    }
}

/// What a sample shows.
#[derive(Debug)]
pub(crate) struct Judged {
    /// The answers, counted.
    pub(crate) sample: Sample,
    /// Whether a loop could have been seen in one of them, or something else was.
    is_legible: bool,
}

/// The metrics of a sample.
pub(crate) fn metrics(judged: &Judged) -> MetricValues {
    let Judged { sample, is_legible } = judged;
    let first = sample.examples.first();
    let first = first.map(|verdict| match verdict.evidence.as_str() {
        "" => verdict.to_string(),
        evidence => format!("{verdict}: {evidence}"),
    });
    some_of!(METRICS;
        "sampled_answers": sample.judged as f64,
        "repeating_answers": sample.degenerate as f64,
        "repetition": sample.share().filter(|_| *is_legible),
        "repetition_example": first.as_deref(),
    )
}

/// Why there is no share.
pub(crate) fn reasons(judged: &Judged) -> MetricReasons {
    let reason = format!("no sampled answer has {SHORT} characters: a loop could not be seen");
    let reason = (!judged.is_legible).then_some(("repetition".to_owned(), reason));
    reason.into_iter().collect()
}

/// `SplitMix64`: neighbouring numbers give bits that do not depend on each other.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(content: &str) -> Answer {
        Answer { content: content.to_owned(), ..Answer::default() }
    }

    fn taken(sampler: &Sampler, requests: u32) -> Vec<u32> {
        (0..requests).filter(|index| sampler.takes(*index)).collect()
    }

    #[test]
    fn a_fixed_number_is_taken_by_seed_and_evenly() {
        for (requests, level) in [(1, 0), (64, 0), (65, 1), (1000, 4), (100_000, 11)] {
            let sampler = Sampler::new(7, requests);
            let taken = taken(&sampler, u32::try_from(requests).unwrap());
            assert!(taken.len() <= MOST, "{requests}: {}", taken.len());
            let wanted = (requests as usize).min(MOST / 2);
            assert!(taken.len() >= wanted, "{requests}: {}", taken.len());
            // One of each block.
            let blocks: Vec<u32> = taken.iter().map(|index| index >> level).collect();
            assert!(blocks.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{blocks:?}");
        }
        let [one, same, other] = [7, 7, 8].map(|seed| taken(&Sampler::new(seed, 1000), 1000));
        assert_eq!(one, same);
        assert_ne!(one, other);
        // Slots come in turn: no residue is preferred.
        let odd = one.iter().filter(|index| *index % 2 == 1).count();
        assert!((15..=48).contains(&odd), "{odd} of {}", one.len());
    }

    #[test]
    fn a_load_of_unknown_length_keeps_no_more() {
        let sampler = Sampler::new(3, 8);
        for index in 0..100_000 {
            if sampler.takes(index) {
                sampler.keep(index, answer("good"));
                assert!(sampler.0.answers.lock().unwrap().len() <= MOST);
            }
        }
        let kept: Vec<u32> = sampler.0.answers.lock().unwrap().keys().copied().collect();
        assert_eq!(kept, taken(&sampler, 100_000), "the same as if it had been known");
        assert!(kept.len() >= MOST / 2, "{}", kept.len());
    }

    #[test]
    fn what_repeats_is_counted_with_an_example() {
        let sampler = Sampler::new(1, 4);
        let prose = "The lamp burned through the night while the keeper read the letter again; \
                     he had not expected a word from that island, least of all in her hand.";
        for (index, text) in (0..).zip([prose, "short", &"la la ".repeat(60), prose]) {
            sampler.keep(index, answer(text));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let judged = runtime.block_on(Sampler::judged_apart(Some(&sampler))).unwrap();
        assert_eq!((judged.sample.judged, judged.sample.degenerate), (4, 1));
        let metrics = metrics(&judged);
        let number = |name: &str| match metrics[name] {
            Some(crate::metric::MetricValue::Number(number)) => number,
            _ => panic!("{name}"),
        };
        assert!((number("repetition") - 0.25).abs() < 1e-9);
        let Some(crate::metric::MetricValue::Text(example)) = &metrics["repetition_example"] else {
            panic!("{metrics:?}");
        };
        assert!(example.contains("repeat themselves every 3") && example.contains(": la la"));
        assert!(reasons(&judged).is_empty());

        let none = Sampler::new(1, 4);
        none.keep(0, answer("short"));
        let none = none.judged();
        assert_eq!(super::metrics(&none)["repetition"], None);
        assert_eq!(
            (none.sample.judged, none.sample.degenerate),
            (1, 0),
            "it is compared with others"
        );
        assert!(reasons(&none)["repetition"].contains("120 characters"));
        // What is empty is not too short to be judged.
        let empty = Sampler::new(1, 4);
        empty.keep(0, answer(" "));
        assert_eq!(empty.judged().sample.share(), Some(1.0));
    }
}
