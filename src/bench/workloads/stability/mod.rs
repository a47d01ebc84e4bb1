//! The workload `stability`: blocks of the same mix of lengths, one request at a
//! time. Both halves have the same lengths, and every comparison is between
//! requests of one length.

use self::outages::Outages;
use self::sending::{Length, Sending, Sequence, failures, prompt};
use crate::bench::error::BenchError;
use crate::bench::outcome::{RepeatOutcome, RepeatResult};
use crate::bench::prompt::density::PromptError;
use crate::bench::prompt::fitting::{FitError, LengthTarget, fit};
use crate::bench::prompt::generate::derive;
use crate::bench::prompt::length::{odd_answers, some_missed};
use crate::bench::repeat::RepeatContext;
use crate::bench::standing::{SEVERAL, several_processes, started_in_turn};
use crate::bench::traffic::{Settled, restarts, settle};
use crate::metric::MetricValues;
use crate::server::counters::Counters;
use crate::telemetry::summary::EngineActivity;
use crate::telemetry::watch::{Readings, Watch};
use crate::workload::{Route, Stability};

mod figures;
mod outages;
mod sending;

/// Runs one repeat; a warm-up is one block.
pub(crate) async fn repeat(
    repeat: &mut RepeatContext<'_>,
    spec: &Stability,
) -> Result<RepeatResult, BenchError> {
    let longest = repeat.session.server().max_model_len.unwrap_or(u64::MAX);
    let mut remarks = Vec::new();
    let mix = fitting_mix(spec, longest, &mut remarks);
    if mix.is_empty() {
        let reason = format!("no length of the mix fits into the context of {longest}");
        return Ok(RepeatResult::without_requests(
            RepeatOutcome::Skipped(reason),
            MetricValues::new(),
        ));
    }
    let lengths = match fitted(repeat, spec.endpoint, &mix, &mut remarks).await {
        Ok(lengths) => lengths,
        Err(error) => return PromptError::from(error).into_result(MetricValues::new()),
    };
    let cancel = repeat.session.cancel().clone();
    let before = repeat.session.counters().await.ok_or(BenchError::Cancelled)?;
    let watch = Watch::start(repeat.session.http().clone(), before.is_some());
    repeat.begins();
    let sequence = Sequence::new(Outages::new(spec.patience(repeat.session.is_in_sweep())));
    let sending = Sending { repeat: &mut *repeat, spec, lengths: &lengths, sequence };
    let mut sequence = sending.all().await;
    let (mut readings, ended_ns) = (watch.stop(), repeat.clock().elapsed_ns());
    let engine = repeat.engine_activity();
    let counted = counted_restarts(repeat, before.as_ref(), &mut readings).await;
    repeat.session.record_counters(&readings);
    let restarts = engine.restarts.max(counted);
    let restarts = restarts.filter(|count| *count > 0 || !sequence.outages.is_down());
    // What is not measured again is reported as far as it came: it may be hours.
    let stopped = cancel.is_cancelled();
    if stopped && (repeat.session.is_in_sweep() || sequence.records.is_empty()) {
        return Err(BenchError::Cancelled);
    }
    remarks.extend(restarts.filter(|count| *count > 0).map(|count| {
        format!("restarts of the server: {count}; foreign traffic is not detected across them")
    }));
    remarks.extend(outage_remark(&sequence.outages, ended_ns));
    let settled = match restarts {
        Some(1..) => Settled::Unknown,
        // It failed or was stopped, whoever else was served.
        _ if sequence.gave_up || stopped => Settled::Unknown,
        _ => settle(repeat.session, before.as_ref(), sequence.sent()).await,
    };
    let outcome = match settled {
        Settled::Cancelled => return Err(BenchError::Cancelled),
        _ if stopped => {
            remarks.insert(0, format!("stopped after {} requests", sequence.records.len()));
            RepeatOutcome::Void(remarks.join("; "))
        }
        _ if sequence.gave_up => {
            remarks.insert(0, failures(&sequence.records));
            RepeatOutcome::Failed(remarks.join("; "))
        }
        Settled::Not(reason) => RepeatOutcome::Void(reason),
        Settled::Ours(_) | Settled::Unknown => judge(&sequence, &lengths, remarks),
    };
    let seen = Seen { readings: &readings, engine: &engine, restarts, ended_ns };
    let metrics = figures::metrics(&sequence, &seen);
    repeat.keep_aside(std::mem::take(&mut sequence.while_down));
    let reasons = figures::reasons(&sequence);
    Ok(RepeatResult { outcome, metrics, reasons, records: sequence.records })
}

/// The lengths of the mix that fit into the context, answers included; of the others
/// `remarks` says so.
fn fitting_mix(spec: &Stability, longest: u64, remarks: &mut Vec<String>) -> Vec<(u64, u64)> {
    // The fit may be half a percent above what was asked for.
    let fits = |(prompt, output): &(u64, u64)| prompt + prompt / 200 + 8 + output <= longest;
    let (mix, too_long): (Vec<_>, Vec<_>) = spec.mix().into_iter().partition(fits);
    if !too_long.is_empty() {
        let count = too_long.len();
        remarks.push(format!(
            "{count} lengths of the mix do not fit into the context of {longest} and are left out"
        ));
    }
    mix
}

/// What was seen during the requests.
#[derive(Clone, Copy, Debug)]
struct Seen<'s> {
    readings: &'s Readings,
    engine: &'s EngineActivity,
    restarts: Option<u64>,
    /// When the last request was over, or nobody waited any more.
    ended_ns: u64,
}

/// Restarts of the server over the repeat, as its counters show. Readings of several
/// processes in turn show none, and are taken away.
async fn counted_restarts(
    repeat: &mut RepeatContext<'_>,
    before: Option<&Counters>,
    readings: &mut Readings,
) -> Option<u64> {
    let last = repeat.session.counters().await.flatten();
    let read = readings.iter().map(|(_, counters)| counters);
    let all: Vec<&Counters> = before.into_iter().chain(read).chain(last.as_ref()).collect();
    let counted = restarts(all.iter().copied());
    let is_in_turn = match (before, &last) {
        (Some(before), Some(last)) if counted > Some(0) => {
            let (http, cancel) = (repeat.session.http(), repeat.session.cancel());
            started_in_turn(all.iter().copied())
                || several_processes(http, cancel, before, last.clone()).await
        }
        _ => false,
    };
    if is_in_turn {
        repeat.session.distrust_counters(SEVERAL.to_owned());
    }
    if repeat.session.standing().unusable.is_some() {
        readings.clear();
        return None;
    }
    // None so far are not none where nobody saw the end.
    counted.filter(|count| last.is_some() || *count > 0)
}

/// The remark on outages.
fn outage_remark(outages: &Outages, ended_ns: u64) -> Option<String> {
    let longest = outages.longest_ns(ended_ns)? as f64 / 1e9;
    let last = if outages.is_down() { "; it was not back at the end" } else { "" };
    Some(format!("outages of the server: {}, of up to {longest:.1} s{last}", outages.count()))
}

/// The outcome of what came to its end.
fn judge(sequence: &Sequence, lengths: &[Length], mut remarks: Vec<String>) -> RepeatOutcome {
    let records = &sequence.records;
    let asked = |tokens: fn(&Length) -> u64| {
        records.iter().zip(sequence.lengths.iter().map(move |place| tokens(&lengths[*place])))
    };
    if let Some(reason) = some_missed(asked(|length| length.prompt_tokens)) {
        return RepeatOutcome::Void(reason);
    }
    remarks.extend(odd_answers(asked(|length| length.output_tokens)));
    if records.iter().any(|record| record.failure().is_some()) {
        remarks.insert(0, failures(records));
    }
    RepeatOutcome::Ok((!remarks.is_empty()).then(|| remarks.join("; ")))
}

/// The lengths of the mix that can be met; `remarks` names the others.
async fn fitted(
    repeat: &mut RepeatContext<'_>,
    route: Route,
    mix: &[(u64, u64)],
    remarks: &mut Vec<String>,
) -> Result<Vec<Length>, FitError> {
    let (mut lengths, mut unmet) = (Vec::new(), None);
    for (prompt_tokens, output_tokens) in mix {
        let purpose = format!("stability {prompt_tokens}");
        let (salt, target) = (repeat.salt_number(&[&purpose]), repeat.target().clone());
        let cache_salt = repeat.session.cache_salt();
        let make = move |bytes, name: &str| {
            let salt = derive(&[&salt.to_string(), name]);
            prompt(route, (salt, 1, bytes), 1, cache_salt, &target)
        };
        let (prompt_tokens, output_tokens) = (*prompt_tokens, *output_tokens);
        match fit(repeat, LengthTarget::new(&purpose, prompt_tokens), make).await {
            Ok(bytes) => lengths.push(Length { bytes, prompt_tokens, output_tokens }),
            Err(FitError::Unmet(reason)) => {
                unmet.get_or_insert(reason);
            }
            Err(error) => return Err(error),
        }
    }
    let Some(reason) = unmet else { return Ok(lengths) };
    if lengths.is_empty() {
        return Err(FitError::Unmet(reason));
    }
    let count = mix.len() - lengths.len();
    remarks.push(format!("{count} lengths of the mix are left out: {reason}"));
    Ok(lengths)
}
