//! What throughput is counted in: the time in which all slots of a closed loop are
//! busy, or the pipe of an open one is full. Where that is too short there is none,
//! and a reason. Pure.

use super::figures::is_complete;
use crate::client::record::RequestRecord;
use crate::statistics::distribution::Distribution;
use crate::workload::steady_requests;

/// Requests that end in a window at the least; it lasts one median request time at
/// the least, too.
const MIN_ENDED: usize = 5;

/// From and to, nanoseconds since the repeat's start.
pub(crate) type Window = (u64, u64);

/// From one median request time after the first arrival, when the pipe is full, to
/// the last arrival; `Err` has the reason where there is none.
pub(crate) fn open(records: &[RequestRecord]) -> Result<Window, String> {
    let (Some((first, last)), Some(median)) = (arrivals(records), median(records)) else {
        return Err("no request came to its end".to_owned());
    };
    let full = first + median;
    if last < full + median {
        return Err(format!(
            "arrivals lasted {:.1} s, less than two median request times of {:.1} s: raise \
             `requests` or `duration`",
            seconds(last - first),
            seconds(median)
        ));
    }
    with_enough(records, (full, last))
}

/// The time in which all slots were busy, where that is enough.
pub(crate) fn closed(
    records: &[RequestRecord],
    busy: Option<Window>,
    slots: u64,
) -> Result<Window, String> {
    let requests = records.len() as u64;
    let enough = steady_requests(slots);
    let enough = if requests < enough { enough } else { 2 * requests };
    let early = |why: String| {
        format!(
            "at concurrency {slots}, {requests} requests end before a steady state ({why}); raise \
             `requests` ({enough} would do) or `duration`"
        )
    };
    let Some((from, to)) = busy else {
        return Err(early("the slots were never all busy".to_owned()));
    };
    let median = median(records).ok_or("no request came to its end")?;
    if to < from + median {
        return Err(early(format!(
            "the slots were all busy for {:.1} s, less than a median request time of {:.1} s",
            seconds(to - from),
            seconds(median)
        )));
    }
    with_enough(records, (from, to)).map_err(early)
}

fn with_enough(records: &[RequestRecord], (from, to): Window) -> Result<Window, String> {
    let ends = records.iter().filter(|record| is_complete(record)).filter_map(|r| r.last_token_ns);
    let ended = ends.filter(|at| (from..=to).contains(at)).count();
    if ended < MIN_ENDED {
        return Err(format!(
            "{ended} requests ended in its window of {:.1} s, and {MIN_ENDED} are the least",
            seconds(to - from)
        ));
    }
    Ok((from, to))
}

/// The first arrival and the last one, as they were scheduled.
pub(crate) fn arrivals(records: &[RequestRecord]) -> Option<(u64, u64)> {
    let due = || records.iter().map(|record| record.scheduled_ns);
    due().min().zip(due().max())
}

/// Arrivals per second, as they were scheduled.
pub(crate) fn arrival_rate(records: &[RequestRecord]) -> Option<f64> {
    let (first, last) = arrivals(records).filter(|(first, last)| last > first)?;
    Some((records.len() - 1) as f64 / seconds(last - first))
}

/// Median time of a request that came to its end, in nanoseconds.
fn median(records: &[RequestRecord]) -> Option<u64> {
    let done = records.iter().filter(|record| is_complete(record));
    let times = Distribution::of(done.filter_map(RequestRecord::e2e_ms));
    Some((times.median()? * 1e6) as u64)
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Due at `due` ms, and `lasting` ms long.
    fn record(due: u64, lasting: u64) -> RequestRecord {
        let at = |ms: u64| ms * 1_000_000;
        RequestRecord {
            scheduled_ns: at(due),
            sent_ns: at(due),
            first_token_ns: Some(at(due + lasting)),
            last_token_ns: Some(at(due + lasting)),
            end_ns: Some(at(due + lasting)),
            ..RequestRecord::default()
        }
    }

    fn each(gap: u64, count: u64, lasting: u64) -> Vec<RequestRecord> {
        (0..count).map(|number| record(gap * number, lasting)).collect()
    }

    #[test]
    fn a_pipe_is_full_for_as_long_as_it_took_to_fill() {
        // 32 a second for 9.3 s, each of 4 s.
        let (from, to) = open(&each(31, 300, 4000)).expect("long enough");
        assert_eq!((from, to), (4_000_000_000, 9_269_000_000));
        // At 9.1 s a sliver of the arrivals' time would be left, at 12 s none of it.
        for lasting in [9100, 12_000] {
            let reason = open(&each(31, 300, lasting)).expect_err("no window");
            assert!(reason.starts_with("arrivals lasted 9.3 s, less than two median"), "{reason}");
            assert!(reason.ends_with(": raise `requests` or `duration`"), "{reason}");
        }
        assert!(open(&[]).is_err() && open(&[record(0, 5)]).is_err());
    }

    #[test]
    fn a_window_has_some_ends_in_it() {
        assert!(open(&each(100, 8, 200)).is_ok());
        let reason = open(&each(100, 5, 140)).expect_err("few");
        assert_eq!(reason, "3 requests ended in its window of 0.3 s, and 5 are the least");
    }

    #[test]
    fn slots_are_all_busy_for_one_request_at_the_least() {
        let records = each(10, 9, 80);
        let ms = |from: u64, to: u64| Some((from * 1_000_000, to * 1_000_000));
        assert_eq!(closed(&records, ms(80, 160), 8), Ok((80_000_000, 160_000_000)));
        let reason = closed(&records, ms(70, 80), 8).expect_err("a sliver");
        assert!(reason.contains("the slots were all busy for 0.0 s, less than"), "{reason}");
        let reason = closed(&records, None, 8).expect_err("never");
        assert_eq!(
            reason,
            "at concurrency 8, 9 requests end before a steady state (the slots were never all \
             busy); raise `requests` (32 would do) or `duration`"
        );
    }
}
