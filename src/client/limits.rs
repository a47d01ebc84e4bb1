//! Upper bounds that the client sets for a server that it does not trust: sizes of what
//! is read, and times to wait. Each bound is applied where its bytes or its time pass:
//! in `exchange`, `stream` and `timeout`.

use std::time::Duration;

/// Upper bounds on one request and its response. The sizes protect our memory, the times
/// end a request that a server will not end.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a response's head.
    pub header_bytes: usize,
    /// Bytes of an event and of a whole stream.
    pub stream: StreamLimits,
    /// Responses of 1xx before the answer.
    pub interim: u32,
    /// Bytes of an error's body; what is beyond is not read.
    pub error_bytes: usize,
    /// Time to connect.
    pub connect: Duration,
    /// Time from the send to the first token.
    pub first_token: Duration,
    /// Time without a token, after the first one.
    pub silence: Duration,
    /// Time from the send to the end, whatever comes.
    pub total: Duration,
    /// Time without a token of any answer, and without one in the server's counters, after
    /// which the server counts as wedged; three times the expected prefill where that is longer.
    pub no_progress: Duration,
    /// Time for the response to end after `[DONE]`, before the connection is given up.
    pub after_done: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 64 << 10,
            stream: StreamLimits { event: 1 << 20, total: 64 << 20 },
            interim: 32,
            error_bytes: 64 << 10,
            connect: Duration::from_secs(10),
            first_token: Duration::from_mins(10),
            silence: Duration::from_mins(2),
            total: Duration::from_hours(1),
            no_progress: Duration::from_mins(1),
            after_done: Duration::from_millis(250),
        }
    }
}

/// Upper bounds on the size of a stream, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// One event.
    pub event: usize,
    /// The whole stream.
    pub total: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_limit_is_longer_than_those_inside_it() {
        let limits = Limits::default();
        assert!(limits.connect < limits.first_token && limits.silence < limits.first_token);
        assert!(limits.first_token < limits.total && limits.after_done < limits.silence);
        assert!(limits.no_progress < limits.silence, "a wedged server is known as one");
        assert!(limits.stream.event <= limits.stream.total);
    }
}
