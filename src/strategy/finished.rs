//! Why a strategy launches nothing more, as data: configurations are known by their index
//! here. Whoever knows their names has it worded with them.

/// What is held for the best.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leader {
    /// Index of the configuration.
    pub configuration: usize,
    /// That it keeps its bounds and is within 5 % of the best that does.
    pub probability: f64,
}

/// The model predicts too little: every configuration is launched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guard {
    /// Share of the variance that was predicted of launches that were left out, at most 1; 0
    /// where nothing can be predicted: no axes, or values that are not positive.
    pub r2: f64,
    /// Launches after which that was found.
    pub launched: u32,
}

/// Why nothing more is launched.
#[derive(Clone, Debug, PartialEq)]
pub enum Finished {
    /// Every configuration had its launches.
    AllLaunched,
    /// The leader is good enough with the probability that was asked for.
    GoodEnough(Leader),
    /// It is not, and further launches do not change it: what keeps a bound is too uncertain.
    Uncertain(Leader),
    /// No other configuration is left.
    OnlyOne {
        /// Index of the one that is.
        configuration: usize,
    },
    /// Configurations are left, and none of them has a value.
    NoValues,
    /// Each configuration fails, or breaks a bound.
    NothingLeft,
    /// As many launches were made as there may be.
    Spent {
        /// Their number.
        launches: usize,
        /// What is held for the best; `None` where nothing has a value, and where nothing was
        /// launched twice: what launches differ by is not known then, and no probability is.
        leader: Option<Leader>,
    },
    /// A model predicted too little, so that every configuration was launched before the end.
    Whole {
        /// The end.
        then: Box<Self>,
        /// What the model predicted.
        guard: Guard,
        /// How many were not launched all the same.
        never: usize,
    },
    /// A model left configurations unlaunched.
    Untried {
        /// The end.
        then: Box<Self>,
        /// How many were never launched.
        never: usize,
        /// How many there are.
        of: usize,
        /// That one of them is more than 5 % better than what is held for the best, at most;
        /// `None` while nothing is believed of them.
        doubt: Option<f64>,
    },
    /// The budget ended it, for this reason.
    Budget(String),
    /// A confirmation ended, for this reason.
    Confirmed(String),
}

impl Finished {
    /// The sentence for a person, without a full stop; `name` is that of a configuration.
    pub fn said(&self, name: &impl Fn(usize) -> String) -> String {
        let good = |it: &Leader| {
            format!(
                "{} is within 5% of the best of those launched with probability {}",
                name(it.configuration),
                probable(it.probability)
            )
        };
        match self {
            Self::AllLaunched => "every configuration had its launches".to_owned(),
            Self::GoodEnough(leader) => good(leader),
            Self::Uncertain(leader) => format!(
                "{}: further launches would not raise it, since bounds lie within what the values \
                 vary by",
                good(leader)
            ),
            Self::OnlyOne { configuration } => {
                format!("{} is the only one left", name(*configuration))
            }
            Self::NoValues => {
                "no configuration gave values of the objective that can be compared".to_owned()
            }
            Self::NothingLeft => {
                "no configuration is left: each one fails, or breaks a bound".to_owned()
            }
            Self::Spent { launches, leader } => {
                let so_far =
                    leader.as_ref().map_or_else(String::new, |it| format!("; {}", good(it)));
                format!("{launches} launches are made, and no more may be{so_far}")
            }
            Self::Whole { then, guard: Guard { r2, launched }, never } => {
                let whole = match never {
                    0 => "every configuration was launched".to_owned(),
                    never => format!(
                        "every configuration was to be launched, and {never} were not any more"
                    ),
                };
                format!(
                    "{}; {whole}, since the axes predicted {:.0}% of the differences between \
                     {launched} launches",
                    then.said(name),
                    100.0 * r2.max(0.0)
                )
            }
            Self::Untried { then, never, of, doubt } => {
                let better = doubt.map_or_else(String::new, |doubt| {
                    format!(
                        ": one of them is more than 5% better with probability {} at most, by what \
                         the axes do",
                        probable(doubt)
                    )
                });
                let then = then.said(name);
                format!("{then}; {never} of {of} configurations were never launched{better}")
            }
            Self::Budget(reason) => reason.clone(),
            Self::Confirmed(ended) => format!("confirmation: {ended}"),
        }
    }
}

/// A probability with two digits, and never as certain: `0.97`, `above 0.99`.
pub(crate) fn probable(p: f64) -> String {
    match p {
        _ if p < 0.005 => "below 0.01".to_owned(),
        _ if p >= 0.995 => "above 0.99".to_owned(),
        _ => format!("{p:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_names_the_configuration() {
        let name = |configuration: usize| ["production", "seqs16"][configuration].to_owned();
        let leader = Leader { configuration: 1, probability: 0.934 };
        let good = "seqs16 is within 5% of the best of those launched with probability 0.93";
        assert_eq!(Finished::GoodEnough(leader).said(&name), good);
        let spent = Finished::Spent { launches: 13, leader: Some(leader) };
        assert_eq!(spent.said(&name), format!("13 launches are made, and no more may be; {good}"));
        let guard = Guard { r2: 0.123, launched: 20 };
        let only = Box::new(Finished::OnlyOne { configuration: 0 });
        assert_eq!(
            Finished::Whole { then: only, guard, never: 0 }.said(&name),
            "production is the only one left; every configuration was launched, since the axes \
             predicted 12% of the differences between 20 launches"
        );
        let spent = Box::new(Finished::AllLaunched);
        let short = Finished::Whole { then: spent, guard, never: 7 }.said(&name);
        assert!(short.contains("was to be launched, and 7 were not any more, since"), "{short}");
        let uncertain = Finished::Uncertain(leader).said(&name);
        assert!(uncertain.starts_with(&format!("{good}: further launches")), "{uncertain}");
        let then = Box::new(Finished::GoodEnough(leader));
        let untried = Finished::Untried { then, never: 30, of: 48, doubt: Some(0.071) };
        assert_eq!(
            untried.said(&name),
            format!(
                "{good}; 30 of 48 configurations were never launched: one of them is more than 5% \
                 better with probability 0.07 at most, by what the axes do"
            )
        );
        let then = Box::new(Finished::Budget("budget spent: 3 launches".to_owned()));
        let cut = Finished::Untried { then, never: 45, of: 48, doubt: None };
        assert_eq!(
            cut.said(&name),
            "budget spent: 3 launches; 45 of 48 configurations were never launched"
        );
    }
}
