//! What a cache hit gains: `kv-cache`'s time to first token of a prompt that was never sent
//! against that of the same prompt sent again, where the server's counters certify that it
//! came from the cache.

use std::collections::BTreeSet;

use super::source::{Source, metric};
use super::{HitPair, Hits};
use crate::history::record::LaunchRecord;
use crate::history::values::kept;
use crate::metric::{Measurement, MetricValue, Status};

const WORKLOAD: &str = "kv_cache";

/// What a hit gains, of the case that the objective is of, else of the longest prefix.
pub(super) fn hits(source: &Source<'_>) -> Hits {
    let Some(case) = case(source) else { return Hits::default() };
    let place = |name: &str| source.place(&metric(WORKLOAD, &case, name));
    let (miss, hit) = (place("ttft_miss_ms"), place("ttft_hit_ms"));
    let mut hits = Hits { case, ..Hits::default() };
    for row in 0..source.count() {
        if source.is_another(row) {
            continue;
        }
        let figure = |place: Option<usize>| source.figure(row, place?);
        match (figure(miss), figure(hit)) {
            (Some(miss), Some(hit)) => hits.pairs.push(HitPair { configuration: row, miss, hit }),
            (miss, _) => {
                let reason = reason(source.launches(row), &hits.case, miss.is_some());
                hits.without.push((row, reason));
            }
        }
    }
    hits
}

fn case(source: &Source<'_>) -> Option<String> {
    let cases = source.cases(WORKLOAD);
    let objective = &source.record.manifest.objective.metric;
    let of_objective = objective.case.as_ref().filter(|_| objective.workload == WORKLOAD);
    let tokens = |case: &&String| {
        case.rsplit('=').next().and_then(|it| it.parse::<u64>().ok()).unwrap_or_default()
    };
    let known = of_objective.filter(|case| cases.contains(case));
    known.or_else(|| cases.iter().max_by_key(tokens)).cloned()
}

/// Why there is no figure.
fn reason(launches: &[&LaunchRecord], case: &str, has_miss: bool) -> String {
    let repeats = || launches.iter().flat_map(|launch| kept(launch, WORKLOAD, case));
    let valid = || repeats().filter(|it| it.status == Status::Ok);
    if !has_miss {
        return "not measured: no repeat is valid".to_owned();
    }
    let states: BTreeSet<&str> = valid().filter_map(state).collect();
    let explained = valid().find_map(|it| it.metric_reasons.get("ttft_hit_ms"));
    let state = states.into_iter().collect::<Vec<_>>().join(", ");
    match (state.as_str(), explained) {
        ("", Some(why)) => format!("not certified: {why}"),
        ("", None) => "not certified: the server's counters do not show it".to_owned(),
        ("not_applicable", _) => "not_applicable: prefix caching is off".to_owned(),
        (state, Some(why)) => format!("{state}: {why}"),
        (state, None) => format!("{state}: the server's counters do not certify the hits"),
    }
}

fn state(repeat: &Measurement) -> Option<&str> {
    match repeat.metrics.get("hit_state")? {
        Some(MetricValue::Text(state)) => Some(state),
        _ => None,
    }
}
