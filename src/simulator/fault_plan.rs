//! Which start of which configuration has which faults: what a grid says under `faults`, so
//! that one configuration of a sweep can fail and the others are measured. What a fault does
//! is in the siblings.

use super::command::{set_fault, set_switch};
use super::faults::Faults;

/// Faults by configuration and start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultPlan(Vec<Planned>);

#[derive(Clone, Debug, PartialEq)]
struct Planned {
    configuration: String,
    /// Which starts of it, from 1; all where there are none.
    starts: Vec<u32>,
    faults: Faults,
}

impl FaultPlan {
    /// Adds `NAME[@START[,START]...] OPTION[=VALUE]...`: the options are those of
    /// `simulate --sim-OPTION`.
    ///
    /// # Errors
    /// What is not understood.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        let mut words = text.split_whitespace();
        let name = words.next().ok_or("it names no configuration")?;
        let (configuration, starts) = match name.rsplit_once('@') {
            None => (name, Vec::new()),
            Some((name, starts)) => {
                let number = |text: &str| text.parse().ok().filter(|number| *number > 0);
                let starts: Option<Vec<u32>> = starts.split(',').map(number).collect();
                (name, starts.ok_or("behind `@` are numbers of starts, from 1")?)
            }
        };
        let mut faults = Faults::default();
        for word in words {
            if set_switch(&mut faults, word) {
                continue;
            }
            let (option, value) =
                word.split_once('=').ok_or_else(|| format!("`{word}` has no value"))?;
            set_fault(&mut faults, option, value).map_err(|error| error.to_string())?;
        }
        if faults == Faults::default() {
            return Err("it names no fault".to_owned());
        }
        self.0.push(Planned { configuration: configuration.to_owned(), starts, faults });
        Ok(())
    }

    /// The faults of a configuration's start, from 1: the first that fit.
    pub fn of(&self, configuration: &str, start: u32) -> Faults {
        let fits = |planned: &&Planned| {
            planned.configuration == configuration
                && (planned.starts.is_empty() || planned.starts.contains(&start))
        };
        self.0.iter().find(fits).map(|planned| planned.faults.clone()).unwrap_or_default()
    }

    /// The configurations that have faults.
    pub fn configurations(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|planned| planned.configuration.as_str())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_that_of_one_configuration_and_of_some_of_its_starts() {
        let mut plan = FaultPlan::default();
        plan.add("bad@1,3 die-after=100 linger").expect("good");
        plan.add("odd fail=out_of_memory").expect("good");
        let first = plan.of("bad", 1);
        assert_eq!((first.die_after, first.lingers), (Some(100), true));
        assert_eq!(plan.of("bad", 3), first);
        assert_eq!((plan.of("bad", 2), plan.of("other", 1)), Default::default());
        assert_eq!(plan.of("odd", 9).exit.map(|exit| exit.class), Some("out_of_memory"));
        assert_eq!(plan.configurations().collect::<Vec<_>>(), ["bad", "odd"]);
        for bad in [
            "",
            "a",
            "a@0 linger",
            "a@x linger",
            "a die-after",
            "a di-after=3",
            "a fail=x",
            "a spoil=loop,period=0",
            "a spoil=loop,character=!",
        ] {
            assert!(plan.add(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_configuration_has_several_kinds_of_spoiled_chats() {
        let mut plan = FaultPlan::default();
        plan.add("bad spoil=loop,word=tides spoil=error,longer-than=16 die-on-second-chunk")
            .expect("good");
        let faults = plan.of("bad", 1);
        let hit: Vec<_> =
            faults.spoiled.iter().map(|it| (it.word.as_deref(), it.longer_than)).collect();
        assert_eq!(hit, [(Some("tides"), 0), (None, 16)]);
        assert!(faults.dies_on_second_chunk);
    }
}
