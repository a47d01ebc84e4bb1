//! The circuit breaker: stops a sweep in which nothing works, so that a night is
//! not spent on launches that fail for a reason that is not their own. Pure.

use super::SweepError;
use crate::history::launch::{FailureClass, LaunchFailure};

/// How many launches in a row may fail for reasons that are not their own.
const IN_A_ROW: usize = 3;

/// What failed since a launch last succeeded.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: Vec<LaunchFailure>,
}

impl Breaker {
    /// A launch succeeded.
    pub(super) fn reset(&mut self) {
        self.failures.clear();
    }

    /// A launch failed.
    ///
    /// # Errors
    /// When the next one would fail too: no credentials, no GPU, or three
    /// failures in a row that are not the configurations' own.
    pub(super) fn failed(&mut self, failure: LaunchFailure) -> Result<(), SweepError> {
        // A configuration that does not fit says nothing about the next one.
        if failure.class.is_deterministic() {
            self.failures.clear();
            return Ok(());
        }
        self.failures.push(failure);
        let Some(last) = self.failures.last() else { return Ok(()) };
        let hopeless = matches!(last.class, FailureClass::Credentials | FailureClass::NoGpu);
        if !hopeless && self.failures.len() < IN_A_ROW {
            return Ok(());
        }
        let times = match self.failures.len() {
            1 => String::new(),
            several => format!("{several} launches in a row failed, the last so: "),
        };
        Err(SweepError::Stopped {
            message: format!("{times}{} ({})", last.message, last.class.as_str()),
            log_lines: last.log_lines.clone(),
            environment: hopeless,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(class: FailureClass) -> LaunchFailure {
        LaunchFailure::new(class, "it failed")
    }

    #[test]
    fn three_failures_in_a_row_that_are_not_their_own_stop_the_sweep() {
        let mut breaker = Breaker::default();
        assert!(breaker.failed(failure(FailureClass::EngineDied)).is_ok());
        assert!(breaker.failed(failure(FailureClass::Unknown)).is_ok());
        let stopped = breaker.failed(failure(FailureClass::Environment)).unwrap_err();
        assert!(stopped.to_string().contains("3 launches in a row"), "{stopped}");
        assert!(matches!(stopped, SweepError::Stopped { environment: false, .. }));
    }

    #[test]
    fn a_success_or_an_infeasible_configuration_in_between_starts_the_count_again() {
        let mut breaker = Breaker::default();
        for _ in 0..3 {
            assert!(breaker.failed(failure(FailureClass::Unknown)).is_ok());
            assert!(breaker.failed(failure(FailureClass::Unknown)).is_ok());
            assert!(breaker.failed(failure(FailureClass::OutOfMemory)).is_ok());
            assert!(breaker.failed(failure(FailureClass::Unknown)).is_ok());
            breaker.reset();
        }
    }

    #[test]
    fn without_credentials_or_a_gpu_nothing_will_work() {
        for class in [FailureClass::Credentials, FailureClass::NoGpu] {
            let stopped = Breaker::default().failed(failure(class)).unwrap_err();
            assert!(matches!(stopped, SweepError::Stopped { environment: true, .. }));
        }
    }
}
