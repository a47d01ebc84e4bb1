//! What each gate asks of a server, in tokens, so that a plan can say about how long it takes.
//! By assumption: what a gate took is in the journal. The first prompt of a length may compile
//! for minutes more, which nobody knows before.

use super::{Gate, Gates};
use crate::workload::Work;

/// Prompts of the canary at both temperatures, and tokens of one of them.
const CANARY: (f64, f64) = (16.0, 60.0);
/// Tokens of an answer of the canary: they are written side by side.
const CANARY_ANSWER: f64 = super::canary::MAX_TOKENS as f64;
/// Checks of the function gate, tokens of a prompt and of an answer: most succeed at once.
const FUNCTION: (f64, f64, f64) = (7.0, 150.0, 120.0);
/// Tokens of the answers to a long prompt and to the short one that follows it.
const SURVIVAL_ANSWER: f64 = 9.0;

impl Gates {
    /// What a gate asks of a server; one that is off asks nothing.
    pub fn work(&self, gate: Gate) -> Work {
        match gate {
            Gate::Canary if self.canary.is_some() => {
                Work { prompts: CANARY.0 * CANARY.1, tokens: CANARY_ANSWER, ..Work::default() }
            }
            Gate::Survival => self.survival.as_ref().map_or_else(Work::default, |settings| {
                let tokens: f64 = settings.prompt_tokens.iter().copied().map(f64::from).sum();
                // Each twice; those that the server's limits add are not known yet.
                let sent = 2.0 * settings.prompt_tokens.len() as f64;
                Work { prompts: 2.0 * tokens, tokens: sent * SURVIVAL_ANSWER, ..Work::default() }
            }),
            Gate::Function if self.function.is_some() => Work {
                prompts: FUNCTION.0 * FUNCTION.1,
                tokens: FUNCTION.0 * FUNCTION.2,
                ..Work::default()
            },
            Gate::Canary | Gate::Function => Work::default(),
        }
    }

    /// Whether a gate is on.
    pub fn has(&self, gate: Gate) -> bool {
        self.of_launch(|_| false).contains(&gate)
    }
}

impl Gate {
    /// Whether every launch goes through it; else a configuration's first one.
    pub const fn is_of_each_launch(self) -> bool {
        matches!(self, Self::Canary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{FunctionSettings, SurvivalSettings};

    #[test]
    fn a_gate_takes_seconds_and_one_that_is_off_none() {
        let gates = Gates {
            survival: Some(SurvivalSettings::default()),
            function: Some(FunctionSettings {}),
            ..Gates::default()
        };
        let high = |gate| gates.work(gate).seconds(1.0).high;
        assert!((10.0..25.0).contains(&high(Gate::Canary)), "{}", high(Gate::Canary));
        assert!((200.0..240.0).contains(&high(Gate::Survival)), "{}", high(Gate::Survival));
        assert!((30.0..60.0).contains(&high(Gate::Function)), "{}", high(Gate::Function));
        for gate in Gate::ALL {
            assert!(gates.has(gate) && !Gates::off().has(gate));
            assert!(Gates::off().work(gate).seconds(1.0).high < f64::EPSILON, "{gate}");
        }
    }
}
