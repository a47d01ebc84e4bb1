//! Planning: jobs of known length, done one at a time without a pause, under
//! rules that a single order keeps.

use rand::Rng;
use rand::RngExt;
use rand::seq::SliceRandom;

use super::{Form, Puzzle, orders};

const JOBS: [&str; 12] = [
    "unload the lorry",
    "paint the fence",
    "repair the pump",
    "sort the mail",
    "clean the kitchen",
    "water the garden",
    "stack the firewood",
    "wash the car",
    "mend the roof",
    "bake the bread",
    "feed the horses",
    "test the alarm",
];
const COUNT: usize = 6;

/// A rule on the order of jobs, which are named by their indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Before(usize, usize),
    DirectlyBefore(usize, usize),
    NotNext(usize, usize),
    FinishedBy(usize, u32),
    NotStartedBefore(usize, u32),
}

impl Rule {
    fn holds(self, order: &[usize], hours: &[u32]) -> bool {
        let place = |job: usize| order.iter().position(|at| *at == job).unwrap_or(usize::MAX);
        let start = |job: usize| order[..place(job)].iter().map(|at| hours[*at]).sum::<u32>();
        match self {
            Self::Before(a, b) => place(a) < place(b),
            Self::DirectlyBefore(a, b) => place(a) + 1 == place(b),
            Self::NotNext(a, b) => place(a).abs_diff(place(b)) != 1,
            Self::FinishedBy(a, hour) => start(a) + hours[a] <= hour,
            Self::NotStartedBefore(a, hour) => start(a) >= hour,
        }
    }

    fn words(self) -> String {
        match self {
            Self::Before(a, b) => format!("{} comes at some time before {}.", letter(a), letter(b)),
            Self::DirectlyBefore(a, b) => {
                format!("{} comes directly before {}, with nothing between.", letter(a), letter(b))
            }
            Self::NotNext(a, b) => {
                format!("{} and {} do not follow each other directly.", letter(a), letter(b))
            }
            Self::FinishedBy(a, hour) => format!("{} is finished by hour {hour}.", letter(a)),
            Self::NotStartedBefore(a, hour) => {
                format!("{} does not start before hour {hour}.", letter(a))
            }
        }
    }
}

fn letter(job: usize) -> char {
    char::from(b'A' + job as u8)
}

fn orders_that_keep(rules: &[Rule], hours: &[u32]) -> Vec<Vec<usize>> {
    orders(hours.len()).filter(|order| rules.iter().all(|rule| rule.holds(order, hours))).collect()
}

/// Rules that this order keeps, in random order.
fn rules_of(order: &[usize], hours: &[u32], random: &mut impl Rng) -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut clock = 0;
    for (place, job) in order.iter().enumerate() {
        rules.push(Rule::NotStartedBefore(*job, clock));
        clock += hours[*job];
        rules.push(Rule::FinishedBy(*job, clock + random.random_range(0..2)));
        for (later, other) in order.iter().enumerate().skip(place + 1) {
            rules.push(Rule::Before(*job, *other));
            rules.push(match later - place {
                1 => Rule::DirectlyBefore(*job, *other),
                _ => Rule::NotNext(*job, *other),
            });
        }
    }
    rules.retain(|rule| *rule != Rule::NotStartedBefore(order[0], 0));
    rules.shuffle(random);
    rules
}

pub(super) fn puzzle(random: &mut impl Rng) -> Puzzle {
    let (rules, hours, order) = plan(random);
    let mut jobs = JOBS;
    jobs.shuffle(random);
    let list: Vec<String> = (0..COUNT)
        .map(|job| format!("{}: {} ({} hours)", letter(job), jobs[job], hours[job]))
        .collect();
    let rules: Vec<String> = rules.iter().map(|rule| format!("- {}", rule.words())).collect();
    let answer: Vec<String> = order.iter().map(|job| letter(*job).to_string()).collect();
    let prompt = format!(
        "One person has {COUNT} jobs to do, one at a time, without a pause, from hour 0 on:\n{}\n\n\
         Rules:\n{}\n\nExactly one order keeps all the rules. Find it. End with one line of this \
         form, the letters in the order of the work:\nANSWER: B, A, C, ...",
        list.join("\n"),
        rules.join("\n")
    );
    Puzzle { prompt, answer: answer.join(", "), form: Form::Letters }
}

/// Rules without a needless one, the hours of the jobs, and the one order.
fn plan(random: &mut impl Rng) -> (Vec<Rule>, Vec<u32>, Vec<usize>) {
    let hours: Vec<u32> = (0..COUNT).map(|_| random.random_range(1..=4)).collect();
    let mut order: Vec<usize> = (0..COUNT).collect();
    order.shuffle(random);
    let mut rules: Vec<Rule> = Vec::new();
    let mut left = orders_that_keep(&[], &hours);
    for rule in rules_of(&order, &hours, random) {
        let narrowed: Vec<_> =
            left.iter().filter(|order| rule.holds(order, &hours)).cloned().collect();
        if narrowed.len() < left.len() {
            rules.push(rule);
            left = narrowed;
        }
        if left.len() == 1 {
            break;
        }
    }
    // "Before" of all pairs fixes any order, so the loop above ends with one.
    let mut index = 0;
    while index < rules.len() {
        let mut fewer = rules.clone();
        fewer.remove(index);
        if orders_that_keep(&fewer, &hours).len() == 1 {
            rules = fewer;
        } else {
            index += 1;
        }
    }
    (rules, hours, order)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn one_order_keeps_the_rules_and_none_is_needless() {
        for seed in 0..30 {
            let (rules, hours, order) = plan(&mut ChaCha8Rng::seed_from_u64(seed));
            assert_eq!(orders_that_keep(&rules, &hours), [order], "seed {seed}");
            assert!(rules.len() >= 3, "seed {seed}: {rules:?}");
            for without in 0..rules.len() {
                let mut fewer = rules.clone();
                fewer.remove(without);
                assert!(orders_that_keep(&fewer, &hours).len() > 1, "seed {seed}");
            }
        }
    }

    #[test]
    fn rules_mean_what_their_words_say() {
        let (order, hours) = ([2, 0, 1], [3, 1, 2]);
        let holds = |rule: Rule| rule.holds(&order, &hours);
        assert!(holds(Rule::Before(2, 1)) && !holds(Rule::Before(1, 2)));
        assert!(holds(Rule::DirectlyBefore(2, 0)) && !holds(Rule::DirectlyBefore(2, 1)));
        assert!(holds(Rule::NotNext(1, 2)) && !holds(Rule::NotNext(0, 2)));
        assert!(holds(Rule::FinishedBy(0, 5)) && !holds(Rule::FinishedBy(0, 4)));
        assert!(holds(Rule::NotStartedBefore(1, 5)) && !holds(Rule::NotStartedBefore(1, 6)));
    }
}
