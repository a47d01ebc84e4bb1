//! What a server's counters are worth: whether they count our requests at all, and whether
//! they are of one process. Behind a balancer one look shows one process and the next
//! another: nothing can be compared then, and nothing was restarted. Comparing them with
//! requests is done in `traffic`.

use tokio_util::sync::CancellationToken;

use crate::server::counters::Counters;
use crate::server::http::Http;

/// Looks after one that does not fit, until it is taken for what it looks like.
const LOOKS: usize = 8;

/// What is said where looks show several processes.
pub(crate) const SEVERAL: &str = "looks at `/metrics` show several processes in turn: neither \
     cache hits nor foreign traffic nor restarts can be known";

/// What was learnt of the counters during a launch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    /// They have grown by exactly our requests.
    pub(crate) agreed: bool,
    /// Why they cannot be compared with our requests.
    pub(crate) unusable: Option<String>,
}

/// Whether a process comes back in these readings, one after another, after another one
/// was seen.
pub(crate) fn comes_back(readings: &[Counters]) -> bool {
    readings.iter().enumerate().any(|(at, first)| {
        let mut later = readings[at + 1..].iter().skip_while(|it| !it.is_restarted_since(first));
        later.any(|it| !it.is_restarted_since(first) && it.is_of_process(first))
    })
}

/// The same of many readings, by the times at which their processes began.
pub(crate) fn started_in_turn<'c>(readings: impl IntoIterator<Item = &'c Counters>) -> bool {
    let mut seen: Vec<&Counters> = Vec::new();
    for reading in readings.into_iter().filter(|reading| reading.started.is_some()) {
        if seen.last().is_some_and(|last| reading.is_of_process(last)) {
            continue;
        }
        if seen.iter().any(|earlier| reading.is_of_process(earlier)) {
            return true;
        }
        seen.push(reading);
    }
    false
}

/// Whether further looks show that `now`, which does not fit to `before`, is of another
/// process than `before`, and both are there.
pub(crate) async fn several_processes(
    http: &Http,
    cancel: &CancellationToken,
    before: &Counters,
    now: Counters,
) -> bool {
    let mut readings = vec![before.clone(), now];
    for _ in 0..LOOKS {
        if comes_back(&readings) {
            return true;
        }
        match cancel.run_until_cancelled(Counters::scrape(http)).await.flatten() {
            Some(next) => readings.push(next),
            None => return false,
        }
    }
    comes_back(&readings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(requests: u64, started: Option<f64>) -> Counters {
        let (requests, prompt_tokens) = (Some(requests), Some(100 * requests));
        Counters { prompt_tokens, requests, started, ..Counters::default() }
    }

    #[test]
    fn a_process_that_comes_back_was_not_restarted() {
        let of = |pairs: &[(u64, f64)]| {
            let readings: Vec<Counters> =
                pairs.iter().map(|(requests, began)| reading(*requests, Some(*began))).collect();
            (comes_back(&readings), started_in_turn(&readings))
        };
        assert_eq!(of(&[(900, 50.0), (20, 90.0), (900, 50.0)]), (true, true));
        assert_eq!(of(&[(20, 90.0), (900, 50.0), (21, 90.0), (900, 50.0)]), (true, true));
        // The clock of one process moves a little.
        assert_eq!(of(&[(5, 50.0), (6, 51.0), (7, 50.0)]), (false, false));
        // Restarted once, and twice.
        assert_eq!(of(&[(900, 50.0), (0, 90.0), (5, 90.0)]), (false, false));
        assert_eq!(of(&[(900, 50.0), (0, 90.0), (950, 140.0)]), (false, false));
    }

    #[test]
    fn without_times_of_start_values_that_come_back_show_it() {
        let of = |requests: &[u64]| {
            let readings: Vec<Counters> =
                requests.iter().map(|requests| reading(*requests, None)).collect();
            comes_back(&readings)
        };
        assert!(of(&[20, 900, 20, 900]) && of(&[900, 20, 900]) && of(&[7, 5, 6, 5, 7]));
        assert!(!of(&[20, 30, 40]) && !of(&[900, 0, 1, 2]) && !of(&[9]) && !of(&[]));
    }
}
