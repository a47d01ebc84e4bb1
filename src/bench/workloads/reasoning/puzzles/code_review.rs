//! Code review: a short function, the rules that it is to follow, and one line
//! that does not. The program is run, not only written: a single line exists
//! whose repair makes the function follow its rules.

use rand::Rng;
use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};

use super::{Form, Puzzle};

/// An input of the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variable {
    Pieces,
    Weight,
    Distance,
    Years,
}

use Variable::{Distance, Pieces, Weight, Years};

const VARIABLES: [Variable; 4] = [Pieces, Weight, Distance, Years];

impl Variable {
    fn name(self) -> &'static str {
        match self {
            Pieces => "pieces",
            Weight => "weight_kg",
            Distance => "distance_km",
            Years => "customer_years",
        }
    }

    fn of(self, inputs: &[i64; 5]) -> i64 {
        inputs[VARIABLES.iter().position(|variable| *variable == self).unwrap_or(0)]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    AtLeast,
    MoreThan,
    LessThan,
    AtMost,
}

impl Compare {
    const ALL: [Self; 4] = [Self::AtLeast, Self::MoreThan, Self::LessThan, Self::AtMost];

    fn holds(self, left: i64, right: i64) -> bool {
        match self {
            Self::AtLeast => left >= right,
            Self::MoreThan => left > right,
            Self::LessThan => left < right,
            Self::AtMost => left <= right,
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Self::AtLeast => ">=",
            Self::MoreThan => ">",
            Self::LessThan => "<",
            Self::AtMost => "<=",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::AtLeast => "at least",
            Self::MoreThan => "more than",
            Self::LessThan => "less than",
            Self::AtMost => "at most",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Condition {
    variable: Variable,
    compare: Compare,
    bound: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Add(i64),
    Subtract(i64),
    /// So much for each unit of a variable.
    AddPer(Variable, i64),
    PercentOff(i64),
    PercentMore(i64),
}

impl Action {
    fn apply(self, total: i64, inputs: &[i64; 5]) -> i64 {
        match self {
            Self::Add(amount) => total + amount,
            Self::Subtract(amount) => total - amount,
            Self::AddPer(variable, amount) => total + variable.of(inputs) * amount,
            Self::PercentOff(percent) => total - (total * percent).div_euclid(100),
            Self::PercentMore(percent) => total + (total * percent).div_euclid(100),
        }
    }

    fn code(self) -> String {
        match self {
            Self::Add(amount) => format!("total = total + {amount}"),
            Self::Subtract(amount) => format!("total = total - {amount}"),
            Self::AddPer(variable, amount) => {
                format!("total = total + {} * {amount}", variable.name())
            }
            Self::PercentOff(percent) => format!("total = total - total * {percent} // 100"),
            Self::PercentMore(percent) => format!("total = total + total * {percent} // 100"),
        }
    }

    fn words(self) -> String {
        match self {
            Self::Add(amount) => format!("add {amount} cents"),
            Self::Subtract(amount) => format!("subtract {amount} cents"),
            Self::AddPer(variable, amount) => {
                format!("add {amount} cents for each unit of {}", variable.name())
            }
            Self::PercentOff(percent) => {
                format!("take {percent} percent of the running total off it")
            }
            Self::PercentMore(percent) => {
                format!("add {percent} percent of the running total to it")
            }
        }
    }

    /// The same line with one mistake.
    fn mistaken(self) -> Vec<Self> {
        match self {
            Self::Add(amount) => {
                vec![Self::Subtract(amount), Self::Add(amount * 10), Self::Add(amount + 5)]
            }
            Self::Subtract(amount) => {
                vec![Self::Add(amount), Self::Subtract(amount * 10), Self::Subtract(amount + 5)]
            }
            Self::AddPer(variable, amount) => VARIABLES
                .into_iter()
                .filter(|other| *other != variable)
                .map(|other| Self::AddPer(other, amount))
                .chain([Self::AddPer(variable, amount + 1), Self::AddPer(variable, amount * 10)])
                .collect(),
            Self::PercentOff(percent) => {
                vec![Self::PercentMore(percent), Self::PercentOff(percent + 5)]
            }
            Self::PercentMore(percent) => {
                vec![Self::PercentOff(percent), Self::PercentMore(percent + 5)]
            }
        }
    }
}

impl Condition {
    fn mistaken(self) -> Vec<Self> {
        let compares = Compare::ALL.into_iter().filter(|other| *other != self.compare);
        let variables = VARIABLES.into_iter().filter(|other| *other != self.variable);
        compares
            .map(|compare| Self { compare, ..self })
            .chain(variables.map(|variable| Self { variable, ..self }))
            .chain([Self { bound: self.bound * 10, ..self }])
            .collect()
    }
}

/// `total = pieces * price`, then rules one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Program {
    rules: Vec<(Condition, Action)>,
}

const RULES: usize = 5;
/// The first rule's condition stands here: `def` and the first total come before.
const FIRST_LINE: usize = 3;

impl Program {
    fn random(random: &mut impl Rng) -> Self {
        let rules = (0..RULES).map(|_| {
            let variable = *VARIABLES.choose(random).expect("there are four");
            let compare = *Compare::ALL.choose(random).expect("there are four");
            let condition = Condition { variable, compare, bound: random.random_range(2..=40) };
            let amount = random.random_range(2..=18) * 50;
            let percent = random.random_range(2..=15);
            let per = *VARIABLES.choose(random).expect("there are four");
            let action = match random.random_range(0..5) {
                0 => Action::Add(amount),
                1 => Action::Subtract(amount),
                2 => Action::AddPer(per, random.random_range(2..=30)),
                3 => Action::PercentOff(percent),
                _ => Action::PercentMore(percent),
            };
            (condition, action)
        });
        Self { rules: rules.collect() }
    }

    fn run(&self, inputs: &[i64; 5]) -> i64 {
        self.rules.iter().fold(Pieces.of(inputs) * inputs[4], |total, (condition, action)| {
            if condition.compare.holds(condition.variable.of(inputs), condition.bound) {
                action.apply(total, inputs)
            } else {
                total
            }
        })
    }

    /// The program with one mistake in this line, in every way that is known.
    fn mistaken(&self, line: usize) -> Vec<Self> {
        let Some(place) = line.checked_sub(FIRST_LINE) else { return Vec::new() };
        let Some((condition, action)) = self.rules.get(place / 2).copied() else {
            return Vec::new();
        };
        let with = |rule| {
            let mut changed = self.clone();
            changed.rules[place / 2] = rule;
            changed
        };
        if place.is_multiple_of(2) {
            condition.mistaken().into_iter().map(|condition| with((condition, action))).collect()
        } else {
            action.mistaken().into_iter().map(|action| with((condition, action))).collect()
        }
    }

    fn lines() -> std::ops::Range<usize> {
        FIRST_LINE..FIRST_LINE + 2 * RULES
    }

    fn code(&self) -> String {
        let names: Vec<&str> = VARIABLES.iter().map(|variable| variable.name()).collect();
        let mut lines = vec![
            format!("def price({}, cents_per_piece):", names.join(", ")),
            "    total = pieces * cents_per_piece".to_owned(),
        ];
        for (Condition { variable, compare, bound }, action) in &self.rules {
            lines.push(format!("    if {} {} {bound}:", variable.name(), compare.sign()));
            lines.push(format!("        {}", action.code()));
        }
        lines.push("    return total".to_owned());
        let numbered = lines.iter().enumerate().map(|(at, line)| format!("{:>2}  {line}", at + 1));
        numbered.collect::<Vec<_>>().join("\n")
    }

    fn words(&self) -> String {
        let rules = self.rules.iter().enumerate().map(|(at, (condition, action))| {
            format!(
                "{}. If {} is {} {}: {}.",
                at + 1,
                condition.variable.name(),
                condition.compare.words(),
                condition.bound,
                action.words()
            )
        });
        rules.collect::<Vec<_>>().join("\n")
    }
}

/// Inputs on both sides of every bound, and at it.
fn inputs(programs: [&Program; 2], random: &mut impl Rng) -> Vec<[i64; 5]> {
    let bounds = programs.into_iter().flat_map(|program| &program.rules);
    let mut values: Vec<i64> = bounds
        .flat_map(|(condition, _)| [condition.bound - 1, condition.bound, condition.bound + 1])
        .chain([0, 1, 7, 500])
        .collect();
    values.sort_unstable();
    values.dedup();
    let mut pick = || *values.choose(random).expect("there are four and more");
    (0..400).map(|_| [pick(), pick(), pick(), pick(), pick() * 10 + 3]).collect()
}

/// A program that follows its rules, one with a mistake, and the mistake's line.
fn broken(random: &mut impl Rng) -> (Program, Program, usize) {
    loop {
        let right = Program::random(random);
        let mut lines: Vec<usize> = Program::lines().collect();
        lines.shuffle(random);
        let Some(wrong) = right.mistaken(lines[0]).choose(random).cloned() else { continue };
        let inputs = inputs([&right, &wrong], random);
        let follows =
            |program: &Program| inputs.iter().all(|input| program.run(input) == right.run(input));
        // The repair must be the only one, and each other line must matter.
        let repaired_elsewhere =
            lines[1..].iter().any(|line| wrong.mistaken(*line).iter().any(&follows));
        let idle = lines.iter().any(|line| right.mistaken(*line).iter().all(&follows));
        if !follows(&wrong) && !repaired_elsewhere && !idle {
            return (right, wrong, lines[0]);
        }
    }
}

pub(super) fn puzzle(random: &mut impl Rng) -> Puzzle {
    let (right, wrong, line) = broken(random);
    let prompt = format!(
        "Review this function. It is to compute a price in cents: pieces times cents_per_piece, \
         then these rules, one after another, each on the running total (percentages are rounded \
         down):\n{}\n\n```python\n{}\n```\n\nExactly one line does not do what its rule says. \
         Which? End with one line of this form, the number as printed beside the code:\n\
         ANSWER: NUMBER",
        right.words(),
        wrong.code()
    );
    Puzzle { prompt, answer: line.to_string(), form: Form::Number }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// The program with another program's line in place of its own.
    fn with_line_of(program: &Program, other: &Program, line: usize) -> Program {
        let place = line - FIRST_LINE;
        let mut changed = program.clone();
        if place.is_multiple_of(2) {
            changed.rules[place / 2].0 = other.rules[place / 2].0;
        } else {
            changed.rules[place / 2].1 = other.rules[place / 2].1;
        }
        changed
    }

    #[test]
    fn the_repair_of_one_line_and_of_no_other_follows_the_rules() {
        for seed in 0..10 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let (right, wrong, line) = broken(&mut random);
            let inputs = inputs([&right, &wrong], &mut random);
            let follows = |program: &Program| {
                inputs.iter().all(|input| program.run(input) == right.run(input))
            };
            assert!(!follows(&wrong), "seed {seed}: the mistake shows");
            for repaired in Program::lines() {
                // Its own line put right, and any mistake elsewhere as a second repair.
                let fixed = follows(&with_line_of(&wrong, &right, repaired));
                assert_eq!(fixed, repaired == line, "seed {seed}, line {repaired}");
                let other = wrong.mistaken(repaired).iter().any(follows);
                assert!(repaired == line || !other, "seed {seed}, line {repaired}");
            }
        }
    }

    #[test]
    fn the_text_differs_from_the_rules_in_the_answers_line_alone() {
        for seed in 0..10 {
            let (right, wrong, line) = broken(&mut ChaCha8Rng::seed_from_u64(seed));
            let (right, wrong) = (right.code(), wrong.code());
            let different: Vec<usize> = right
                .lines()
                .zip(wrong.lines())
                .zip(1..)
                .filter(|((right, wrong), _)| right != wrong)
                .map(|(_, number)| number)
                .collect();
            assert_eq!(different, [line], "seed {seed}");
            let numbered = wrong.lines().nth(line - 1).expect("it is there");
            assert!(numbered.trim_start().starts_with(&line.to_string()));
        }
    }
}
